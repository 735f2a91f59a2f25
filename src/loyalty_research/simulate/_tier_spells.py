"""Spells of membership at one tier each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from loyalty_research.simulate._population import moments
from loyalty_research.simulate._programme_tables import midnights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from loyalty_research.mechanisms import Tiers
    from loyalty_research.simulate._population import Floats, Ints
    from loyalty_research.simulate._scheme import Shop
    from loyalty_research.simulate._tiers import TierCourse

__all__ = ["tier_memberships"]

SECOND = np.timedelta64(1, "s")


@dataclass(frozen=True)
class _States:
    """Who is at which position of the tiers from when on, and whether that is by enrolment."""

    who: Ints
    when: NDArray[np.datetime64]
    rank: Ints
    enrols: NDArray[np.bool_]

    def take(self, rows: Ints) -> _States:
        """Return these rows."""
        return _States(self.who[rows], self.when[rows], self.rank[rows], self.enrols[rows])


def tier_memberships(
    shop: Shop[TierCourse], rules: Tiers, starts: Sequence[int], ends: Floats
) -> pd.DataFrame:
    """Return half-open spells: a tier begins right after the order that reaches it, or on 1 January.

    Args:
        shop: The shop.
        rules: The tiers.
        starts: First days of the years, and the day after the last.
        ends: Day on which each customer's membership ends, infinite for never.
    """
    member = np.flatnonzero(shop.joined < shop.world.horizon)
    states = _states(shop, rules, starts, member)
    states = states.take(np.lexsort((states.enrols, states.when, states.who)))
    # a member enrols at the tier of the state before, which is there: everybody begins a year
    enrolled = np.flatnonzero(states.enrols)
    states.rank[enrolled] = states.rank[enrolled - 1]
    until = midnights(ends)[states.who]
    kept = states.when >= midnights(shop.joined)[states.who]
    kept[enrolled - 1] = False
    kept &= np.isnat(until) | (states.when < until)
    states = states.take(np.flatnonzero(kept))
    before = np.r_[-1, states.rank[:-1]]
    turn = np.flatnonzero(states.enrols | (states.rank != before))
    states, before = states.take(turn), before[turn]
    last = np.r_[np.diff(states.who) != 0, True]
    reason = np.where(states.enrols, "enrol", np.where(states.rank > before, "upgrade", "downgrade"))
    return pd.DataFrame(
        {
            "customer_id": shop.people.keys(states.who),
            "valid_from": states.when,
            "valid_to": np.where(last, midnights(ends)[states.who], np.roll(states.when, -1)),
            "programme_id": "tiers",
            "tier": np.array(rules.names, dtype=object)[states.rank],
            "reason": reason.astype(object),
        }
    )


def _states(shop: Shop[TierCourse], rules: Tiers, starts: Sequence[int], member: Ints) -> _States:
    """Return the tier of members after orders, on 1 January, and at enrolment (there not known yet)."""
    course, size = shop.course, shop.people.size
    is_member = np.zeros(size, dtype=bool)
    is_member[member] = True
    orders = course.orders.keep(is_member[course.orders.customer])
    year = np.searchsorted(starts, orders.day, side="right") - 1
    total = np.cumsum(orders.amount)
    first = np.r_[True, (np.diff(orders.customer) != 0) | (np.diff(year) != 0)]
    begin = np.flatnonzero(first[: len(total)])
    total = total - np.repeat((total - orders.amount)[begin], np.diff(np.r_[begin, len(total)]))
    lines = np.array(rules.lines)
    # sums of cents: to the nearest ten thousandth, so that a sum exactly at the line reaches it
    points = np.round(total * rules.points_per_unit, 4)
    reached = np.maximum(
        np.searchsorted(lines, points, side="right") - 1, course.carried[year, orders.customer]
    )
    years = len(starts) - 1
    edges = midnights(np.array(starts[:-1], dtype=float))
    whos = [orders.customer, np.tile(member, years), member]
    whens = [moments(orders.moment) + SECOND, np.repeat(edges, len(member)), midnights(shop.joined[member])]
    ranks = [reached, course.carried[:years, member].ravel(), np.zeros(len(member), dtype=np.int64)]
    enrols = np.repeat([False, False, True], [len(orders.customer), years * len(member), len(member)])
    return _States(np.concatenate(whos), np.concatenate(whens), np.concatenate(ranks), enrols)
