"""Which cards are judged, until when, and what happened to each in that time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.endowed_progress import _checks
from loyalty_research.endowed_progress.cards import NEVER
from loyalty_research.endowed_progress.timing import Spells
from loyalty_research.errors import DesignError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, messages
from loyalty_research.stats.counts import check_whole

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.endowed_progress.cards import Cards
    from loyalty_research.endowed_progress.timing import What

    Bools = NDArray[np.bool_]
    Days = NDArray[np.int64]
    Floats = NDArray[np.float64]

__all__ = [
    "Window",
    "card_life",
    "card_sizes",
    "followed_cards",
    "holder_courses",
    "judged_cards",
    "per_holder",
    "return_days",
]


@dataclass(frozen=True)
class Window:
    """The first cards that are judged, and until when.

    Attributes:
        kept: Whether each first card is judged, shape ``(first cards,)``.
        until: Last day that counts for each, never later than the data.
        said: By when, in words.
        check: What the choice left out.
    """

    kept: Bools
    until: Days
    said: str
    check: Check


def judged_cards(cards: Cards, first: pd.DataFrame, by_day: int | None) -> Window:
    """Choose the first cards that were followed to the end.

    They are chosen by their day of issue alone, which the draw does not touch: a card that was
    completed early is left out like its neighbours when it was issued too late.

    Args:
        cards: All cards.
        first: First cards.
        by_day: Days from issue; None for expiry, or the end of the data where no card expired.

    Raises:
        ArgumentError: When ``by_day`` is no positive whole number.
        DesignError: When an arm has no such card.
    """
    issued, last, still_open = first["issued"].to_numpy(), cards.as_of, 0
    if by_day is not None:
        until = issued + check_whole(by_day, "by_day", least=1)
        kept, said = until <= last, message("within {days} days", days=int(by_day))
    elif (cards.expires < NEVER).any():
        until = cards.expires[first.index]
        kept, said = until <= last, message("before expiry")
    else:
        until = np.full(len(first), last)
        kept, said = np.ones(len(first), dtype=bool), message("so far")
        shut = np.minimum(first["completed"].to_numpy(), first["lost"].to_numpy()) <= last
        still_open = int((~shut).sum())
    for arm in cards.arms:
        if not (kept & (first["arm"] == arm).to_numpy()).any():
            raise DesignError(
                f"no card of the arm {arm} was followed to the end; give by_day= a shorter time"
            )
    check = _checks.open_cards(still_open, int((~kept).sum()), len(first))
    return Window(kept, np.minimum(until, last), said, check)


def return_days(cards: Cards) -> Days:
    """Return the day of each card's first stamp after the day of issue."""
    later = cards.stamp_day > cards.table["issued"].to_numpy()[cards.stamp_card]
    back = np.full(len(cards.table), NEVER, dtype=np.int64)
    # days ascend within a card, so the reversed order leaves the first
    back[cards.stamp_card[later][::-1]] = cards.stamp_day[later][::-1]
    return back


def followed_cards(
    cards: Cards, first: pd.DataFrame, *, what: What, cluster: Days | None
) -> tuple[Spells, Check]:
    """Return the time from issue to an event, censored by expiry, loss and the end of the data.

    Args:
        cards: All cards.
        first: First cards.
        what: The event.
        cluster: Cluster code of each first card, or None.
    """
    issued, done = first["issued"].to_numpy(), first["completed"].to_numpy()
    ends = np.minimum.reduce(
        [first["expired"].to_numpy(), first["lost"].to_numpy(), np.full(len(first), cards.as_of)]
    )
    when = done if what == "completion" else return_days(cards)[first.index]
    event = when <= ends
    if what == "first return":
        ends = np.minimum(ends, np.maximum(done, issued))  # a card full on the day of issue waits for nothing
    days = np.where(event, when, ends) - issued
    seen = event | (days > 0)
    arm_of = np.asarray(first["arm"].map({a: i for i, a in enumerate(cards.arms)}), dtype=np.int64)
    spells = Spells(
        days=np.maximum(days[seen], 0.5).astype(float),
        event=event[seen],
        arm_of=arm_of[seen],
        cluster=None if cluster is None else cluster[seen],
    )
    left = int((~seen).sum())
    detail = messages(
        "{count} card was not followed for a day and is left out",
        "{count} cards were not followed for a day and are left out",
        left,
    )
    return spells, Check(message("followed for a day"), "passed" if left == 0 else "warning", detail)


def card_life(cards: Cards) -> float:
    """Return the longest life of a card in days; infinite where none expired."""
    known = cards.expires < NEVER
    return float((cards.expires - cards.table["issued"].to_numpy())[known].max()) if known.any() else math.inf


def card_sizes(first: pd.DataFrame) -> dict[str, tuple[int, int]] | None:
    """Return arm to (required, endowed), or None where the cards of an arm differ."""
    sizes = first[["arm", "required", "endowed"]].drop_duplicates()
    if sizes["arm"].duplicated().any():
        return None
    return {str(arm): (int(r), int(e)) for arm, r, e in sizes.itertuples(index=False)}


def holder_courses(
    cards: Cards, first: pd.DataFrame, kept: Bools, days: Days, *, values: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return visits and rewards of the holder of each kept card up to some days since the first issue.

    Args:
        cards: All cards.
        first: First cards.
        kept: Which first cards are wanted.
        days: Days since issue, ascending, shape ``(days,)``.
        values: What to add up for each visit in the place of 1, such as what was paid.

    Returns:
        Visits and rewards, shape ``(kept cards, days)`` each; holders of several first cards share
        theirs out between these.

    Raises:
        DesignError: When stamps are not recorded.
    """
    if not cards.has_stamps:
        raise DesignError("card_events holds no stamp events, so visits are not known")
    holders, customer = first["customer"].to_numpy(), cards.table["customer"].to_numpy()
    size = int(customer.max()) + 1
    start = np.full(size, NEVER, dtype=np.int64)
    np.minimum.at(start, holders, first["issued"].to_numpy())

    def course(owner: Days, day: Days, each: Floats | None = None) -> Floats:
        slot = np.searchsorted(days, day - start[owner], side="left")
        inside = slot < len(days)
        flat = owner[inside] * len(days) + slot[inside]
        weights = None if each is None else each[inside]
        counts = np.bincount(flat, weights, minlength=size * len(days)).reshape(size, len(days))
        return np.asarray(counts.cumsum(axis=1), dtype=float)

    taken = cards.table["redeemed" if (cards.table["redeemed"] < NEVER).any() else "completed"].to_numpy()
    chosen, shared = holders[kept], np.bincount(holders, minlength=size)[holders[kept], None]
    visits = course(customer[cards.stamp_card], cards.stamp_day, values)
    rewards = course(customer, taken)
    return visits[chosen] / shared, rewards[chosen] / shared


def per_holder(
    cards: Cards, first: pd.DataFrame, window: Window, *, values: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return visits and rewards of the holder of each judged card, over all the holder's cards.

    Holders of several first cards share theirs out between these. ``values`` are added up for
    each visit in the place of 1, where they are given.

    Raises:
        DesignError: When stamps are not recorded.
    """
    if not cards.has_stamps:
        raise DesignError("card_events holds no stamp events, so visits are not known")
    holders, customer = first["customer"].to_numpy(), cards.table["customer"].to_numpy()
    size = int(customer.max()) + 1
    shared = np.bincount(holders, minlength=size)
    limit = np.full(size, -1, dtype=np.int64)
    np.maximum.at(limit, holders, window.until)
    owner = customer[cards.stamp_card]
    inside = cards.stamp_day <= limit[owner]
    weights = None if values is None else values[inside]
    visits: Floats = np.bincount(owner[inside], weights, minlength=size).astype(float)
    taken = "redeemed" if (cards.table["redeemed"] < NEVER).any() else "completed"
    day = cards.table[taken].to_numpy()
    rewards: Floats = np.bincount(customer[day <= limit[customer]], minlength=size).astype(float)
    chosen = holders[window.kept]
    return visits[chosen] / shared[chosen], rewards[chosen] / shared[chosen]
