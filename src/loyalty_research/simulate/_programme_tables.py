"""Tables that a programme leaves behind: memberships, contacts, points, costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from loyalty_research.simulate._population import CURRENCY, FIRST_DAY, HORIZON, LAUNCH, moments, numbered
from loyalty_research.simulate._truth import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.simulate._points import PointsTruth
    from loyalty_research.simulate._population import Bools, Floats, Ints, Orders, Population

__all__ = ["contacts_table", "costs_table", "ledger_table", "memberships_table"]

START = np.datetime64(FIRST_DAY, "us")
EXPIRY = np.timedelta64(365, "D")


def memberships_table(
    people: Population, joined: Floats, gone: Floats, truth: PointsTruth, seed: int
) -> pd.DataFrame:
    """Return spells from midnight of the joining day; some end the day after dropout."""
    member = np.flatnonzero(joined < HORIZON)
    cancels = stream(seed, "cancelling").random(people.size) < truth.cancel_share
    last = np.floor(gone[member])
    ends = cancels[member] & (last + 1 < HORIZON)
    days = np.where(ends, last + 1, 0).astype("timedelta64[D]")
    return pd.DataFrame(
        {
            "customer_id": people.ids[member],
            "valid_from": START + joined[member].astype("timedelta64[D]"),
            "valid_to": np.where(ends, START + days, np.datetime64("NaT", "us")),
            "programme_id": "points",
            "reason": "enrol",
        }
    )


def contacts_table(
    people: Population, invited: Bools, seed: int
) -> tuple[pd.DataFrame, NDArray[np.datetime64]]:
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
    event = np.repeat(np.array(list(times), dtype=object), [int(flag.sum()) for flag, _ in times.values()])
    order = np.lexsort((np.arange(len(who)), when, who))
    table = pd.DataFrame(
        {
            "contact_id": numbered("k", len(who)),
            "customer_id": people.ids[who[order]],
            "campaign_id": "invitation",
            "sent_at": _clock(when[order]),
            "channel": "email",
            "event": event[order],
            "has_consent": True,
        }
    )
    return table, np.where(opened, _clock(opened_at), np.datetime64("NaT", "us"))


def _clock(days: Floats) -> NDArray[np.datetime64]:
    """Turn fractional days into local moments, in whole seconds of the full day."""
    return START + np.floor(days * 86_400).astype("timedelta64[s]")


def ledger_table(
    people: Population, orders: Orders, member: Bools, truth: PointsTruth, seed: int
) -> pd.DataFrame:
    """Return points: one per whole EUR of a member's order, spent as soon as they make a reward.

    A reward is booked at the order after the one that made up its points, so a balance is never
    negative. Some members never use their points.
    """
    mine = orders.keep(member)
    points = np.floor(mine.amount).astype(np.int64)
    uses = stream(seed, "redeeming").random(people.size) < truth.redeem_share
    rewards = _rewards(mine.customer, points, truth.reward_points) * uses[mine.customer]
    earned, spent = np.flatnonzero(points > 0), np.flatnonzero(rewards > 0)
    row = np.concatenate([earned, spent])
    is_earn = np.arange(len(row)) < len(earned)
    # the reward is handed out before the points of the same order are booked
    order = np.lexsort((is_earn, mine.moment[row], mine.customer[row]))
    row, is_earn = row[order], is_earn[order]
    when = moments(mine.moment[row])
    return pd.DataFrame(
        {
            "entry_id": numbered("p", len(row)),
            "customer_id": people.ids[mine.customer[row]],
            "occurred_at": when,
            "points": np.where(is_earn, points[row], -truth.reward_points * rewards[row]).astype(float),
            "type": np.where(is_earn, "earn", "redeem").astype(object),
            "expires_at": np.where(is_earn, when + EXPIRY, np.datetime64("NaT", "us")),
        }
    )


def _rewards(customer: Ints, points: Ints, price: int) -> Ints:
    """Return rewards taken at each order: those that the points of earlier orders have paid for."""
    if len(customer) == 0:
        return np.zeros(0, dtype=np.int64)
    total = np.cumsum(points)
    first = np.flatnonzero(np.r_[True, customer[1:] != customer[:-1]])
    base = np.repeat((total - points)[first], np.diff(np.r_[first, len(customer)]))
    before = total - points - base
    paid = before // price
    earlier = np.r_[0, paid[:-1]]
    earlier[first] = 0
    return np.asarray(paid - earlier, dtype=np.int64)


def costs_table() -> pd.DataFrame:
    """Return what the programme costs: a reward, and an invitation."""
    return pd.DataFrame(
        {
            "cost_id": ["reward", "invitation"],
            "campaign_id": [None, "invitation"],
            "reward_id": ["voucher", None],
            "unit": ["per_redemption", "per_contact"],
            "amount": [5.0, 0.05],
            "currency": CURRENCY,
        }
    )
