"""Tables that a programme leaves behind: memberships, contacts, points, costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special

from loyalty_research.simulate._keys import constant, labelled, numbered_rows
from loyalty_research.simulate._population import CURRENCY, FIRST_DAY, LAUNCH, moments
from loyalty_research.simulate._truth import stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from loyalty_research.simulate._members import MemberTruth
    from loyalty_research.simulate._population import Bools, Floats, Ints, Population
    from loyalty_research.simulate._scheme import Shop

    Moments = NDArray[np.datetime64]

__all__ = [
    "NEVER",
    "START",
    "Entries",
    "contacts_table",
    "costs_table",
    "ledger_frame",
    "memberships_table",
    "midnights",
    "spell_ends",
    "used_up",
]

START = np.datetime64(FIRST_DAY, "us")
NEVER = np.datetime64("NaT", "us")


def midnights(days: Floats) -> Moments:
    """Turn whole days since the first day into local midnights, infinite ones into NaT."""
    known = np.isfinite(days)
    since = np.where(known, days, 0).astype("timedelta64[D]")
    return np.asarray(np.where(known, START + since, NEVER), dtype="datetime64[us]")


def spell_ends(shop: Shop[Any], truth: MemberTruth, seed: int) -> Floats:
    """Return on which day each membership ends: for some the day after dropout, else never (infinite)."""
    cancels = stream(seed, "cancelling").random(shop.people.size) < truth.cancel_share
    last = np.floor(shop.course.gone) + 1
    return np.where(cancels & (shop.joined < shop.world.horizon) & (last < shop.world.horizon), last, np.inf)


def memberships_table(shop: Shop[Any], truth: MemberTruth, programme: str, seed: int) -> pd.DataFrame:
    """Return spells from midnight of the joining day; some end the day after dropout."""
    member = np.flatnonzero(shop.joined < shop.world.horizon)
    return pd.DataFrame(
        {
            "customer_id": shop.people.keys(member),
            "valid_from": midnights(shop.joined[member]),
            "valid_to": midnights(spell_ends(shop, truth, seed)[member]),
            "programme_id": programme,
            "reason": "enrol",
        }
    )


def contacts_table(people: Population, invited: Bools, seed: int) -> tuple[pd.DataFrame, Moments]:
    """Return the invitation's events, and per customer when they opened it (NaT: never)."""
    rng = stream(seed, "contacts")
    size = people.size
    delivered = invited & (rng.random(size) < 0.97)
    opened = delivered & (rng.random(size) < special.expit(-0.3 + 0.6 * people.engagement))
    clicked = opened & (rng.random(size) < 0.35)
    left = opened & ~clicked & (rng.random(size) < 0.02)
    sent_at = np.full(size, LAUNCH + 8 / 24)
    opened_at = sent_at + 0.02 + rng.exponential(1.0, size)
    times = {
        "sent": (invited, sent_at),
        "delivered": (delivered, sent_at + 0.001),
        "open": (opened, opened_at),
        "click": (clicked, opened_at + 0.002),
        "opt_out": (left, opened_at + 0.003),
    }
    who = np.concatenate([np.flatnonzero(flag) for flag, _ in times.values()])
    when = np.concatenate([time[flag] for flag, time in times.values()])
    event = np.repeat(np.arange(len(times)), [int(flag.sum()) for flag, _ in times.values()])
    order = np.lexsort((np.arange(len(who)), when, who))
    table = pd.DataFrame(
        {
            "contact_id": numbered_rows("k", len(who)),
            "customer_id": people.keys(who[order]),
            "campaign_id": constant("invitation", len(who)),
            "sent_at": _clock(when[order]),
            "channel": constant("email", len(who)),
            "event": labelled(event[order], list(times)),
            "has_consent": True,
        }
    )
    return table, np.where(opened, _clock(opened_at), NEVER)


def _clock(days: Floats) -> Moments:
    """Turn fractional days into local moments, in whole seconds of the full day."""
    return START + np.floor(days * 86_400).astype("timedelta64[s]")


@dataclass(frozen=True)
class Entries:
    """Movements of points of one type; arrays have one entry each.

    Attributes:
        kind: ``earn``, ``redeem``, ``expire``, ``adjust``.
        customer: Whose account.
        moment: When, days since the first day.
        points: How many, above 0; the type says which way they go.
        expires: When earned points lapse, as known at earning; None: never.
        extra: Further columns.
        midnight: Whether the movement is booked at the midnight that begins its day.
    """

    kind: str
    customer: Ints
    moment: Floats
    points: Floats
    expires: Moments | None = None
    extra: Mapping[str, NDArray[Any]] | None = None
    midnight: bool = False

    @property
    def when(self) -> Moments:
        """Local moments of the movements."""
        return midnights(np.floor(self.moment)) if self.midnight else moments(self.moment)


def ledger_frame(people: Population, parts: Sequence[Entries]) -> pd.DataFrame:
    """Put movements together by customer and moment; at one moment, earlier parts come first."""
    parts = [part for part in parts if len(part.customer)]
    if not parts:
        return pd.DataFrame()
    sizes = [len(part.customer) for part in parts]
    rank = np.repeat(np.arange(len(parts)), sizes)
    customer = np.concatenate([part.customer for part in parts])
    order = np.lexsort((rank, np.concatenate([part.moment for part in parts]), customer))
    sign = np.where(np.isin([part.kind for part in parts], ("redeem", "expire")), -1.0, 1.0)
    never = [np.full(size, NEVER) for size in sizes]
    columns = {
        "occurred_at": np.concatenate([part.when for part in parts]),
        "points": np.concatenate([part.points for part in parts]) * sign[rank],
        "expires_at": np.concatenate(
            [none if part.expires is None else part.expires for part, none in zip(parts, never, strict=True)]
        ),
    }
    for name in sorted({name for part in parts for name in part.extra or {}}):
        blank = [np.full(size, None, dtype=object) for size in sizes]
        columns[name] = np.concatenate(
            [(part.extra or {}).get(name, none) for part, none in zip(parts, blank, strict=True)]
        )
    return pd.DataFrame(
        {
            "entry_id": numbered_rows("p", len(order)),
            "customer_id": people.keys(customer[order]),
            **{name: values[order] for name, values in columns.items()},
            "type": labelled(rank[order], [part.kind for part in parts]),
        }
    )


def used_up(customer: Ints, points: Floats, price: float, starts: Bools | None = None) -> Floats:
    """Return rewards taken at each order: those that the points of earlier orders have paid for.

    Args:
        customer: Whose order, in runs.
        points: What each order earns.
        price: Points of a reward.
        starts: Where a balance begins anew; by default at each customer's first order.
    """
    if len(customer) == 0:
        return np.zeros(0)
    first = np.r_[True, customer[1:] != customer[:-1]]
    begin = np.flatnonzero(first if starts is None else first | starts)
    total = np.cumsum(points)
    base = np.repeat((total - points)[begin], np.diff(np.r_[begin, len(customer)]))
    paid = np.floor((total - points - base) / price + 1e-9)
    earlier = np.r_[0.0, paid[:-1]]
    earlier[begin] = 0
    return np.asarray(paid - earlier, dtype=float)


def costs_table(*rates: tuple[str, str, str, float]) -> pd.DataFrame:
    """Return what the programme costs, an invitation among it.

    Args:
        *rates: Key, reward, unit and amount of each cost.
    """
    rows: list[tuple[Any, ...]] = [(key, None, reward, unit, amount) for key, reward, unit, amount in rates]
    rows.append(("invitation", "invitation", None, "per_contact", 0.05))
    columns = dict(
        zip(("cost_id", "campaign_id", "reward_id", "unit", "amount"), zip(*rows, strict=True), strict=True)
    )
    return pd.DataFrame({name: list(values) for name, values in columns.items()}).assign(currency=CURRENCY)
