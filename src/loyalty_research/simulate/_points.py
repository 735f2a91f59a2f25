"""A points programme: points per order, a reward whenever there are enough, lapses where nothing is bought."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from loyalty_research.i18n import message
from loyalty_research.mechanisms import Points, StoredValue
from loyalty_research.simulate._members import MemberTruth
from loyalty_research.simulate._population import moments
from loyalty_research.simulate._programme_tables import (
    Entries,
    costs_table,
    ledger_frame,
)
from loyalty_research.simulate._rules import member_sales
from loyalty_research.simulate._scheme import Scheme
from loyalty_research.simulate._truth import number, stream, whole
from loyalty_research.simulate._world import Course

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from loyalty_research.simulate._population import Bools, Floats, Ints, Orders
    from loyalty_research.simulate._scheme import Shop

__all__ = ["PointsScheme", "PointsTruth", "average_customer", "earned_by", "ledger_facts", "redeemers"]

VOUCHER = 5.0


@dataclass(frozen=True, kw_only=True)
class PointsTruth(MemberTruth):
    """Parameters of the points programme, beside those of its members.

    Attributes:
        redeem_share: Share of members who use their points.
        reward_points: Points of one reward; one point is earned per EUR.
        expiry_days: Days without an order after which points lapse.
    """

    redeem_share: float = number(0.7, 0, 1)
    reward_points: int = whole(300, 1, 1_000_000)
    expiry_days: int = whole(365, 1, 100_000)


class PointsScheme(Scheme[PointsTruth, Course]):
    """Members earn points, and use them with the order after the one that completed a reward."""

    kind: ClassVar[str] = "points"
    figures: ClassVar[tuple[str, ...]] = ("reward_points", "expiry_days")

    @classmethod
    def default_rules(cls, truth: PointsTruth) -> Points:
        """Return a point per EUR, worth a voucher whenever there are enough."""
        return Points(reward_points=truth.reward_points, reward_value=VOUCHER, expiry_days=truth.expiry_days)

    def description(self) -> str:
        """Return one sentence that says what the data are."""
        return message(
            "Simulated shop that launches a points programme, with members, non-members and invitations drawn "
            "at random; the truth behind it is disclosed."
        )

    def course(self, joined: Floats, stop: int, *, start: int = 0) -> Course:
        """Play out days [start, stop) when customers join on the days ``joined``."""
        return self.world.between(start, stop).play(joined)

    def leaves(self, shop: Shop[Course]) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
        """Return the ledger and what a reward costs; what was earned, used and lapsed."""
        rules, parts = cast("Points", self.rules), self.movements(shop)
        cost = next((c for c in (rules.reward_cost, rules.reward_value) if c is not None), VOUCHER)
        tables = {
            "points_ledger": ledger_frame(shop.people, parts),
            "costs": costs_table(("reward", "voucher", "per_redemption", cost)),
        }
        average = average_customer(self.truth)
        promised = {
            "days_to_reward": rules.days_to_reward(**average),
            "reward_within_365": rules.reach_probability(days=365, **average),
        }
        return tables, ledger_facts(parts) | promised | self._on_cards(shop.course)

    def order_columns(self, shop: Shop[Course]) -> dict[str, Any]:
        """Return the money loaded with each order, where members pay from a card."""
        stored = cast("Points", self.rules).stored
        if not isinstance(stored, StoredValue):
            return {}
        column = np.zeros(len(shop.course.member))
        column[shop.course.member] = _loads(shop.course, stored)[0] * stored.load
        return {"loaded": column}

    def _on_cards(self, course: Course) -> dict[str, float]:
        """Return the money loaded, the bonus on it and what is left on cards."""
        stored = cast("Points", self.rules).stored
        if not isinstance(stored, StoredValue):
            return {}
        loads, left = _loads(course, stored)
        money = float(loads.sum()) * stored.load
        return {
            "money_loaded": money,
            "bonus_given": money * stored.bonus,
            "money_on_cards": float(left.sum()),
        }

    def movements(self, shop: Shop[Course]) -> list[Entries]:
        """Return points that lapse, are used and are earned, in the order of one moment.

        A reward is booked at the order after the one that made up its points, so a balance is never
        negative. Some members never use their points.
        """
        rules = cast("Points", self.rules)
        mine = shop.course.orders.keep(shop.course.member)
        if not len(mine.customer):
            return []
        who, day = mine.customer, mine.day
        # one unit of value per reward, so that the rules say how many fall due with each order
        plain = replace(rules, reward_value=1.0, reward_cost=1.0, stored=None)
        points, due = earned_by(plain, mine)
        first = np.r_[True, who[1:] != who[:-1]]
        starts = first.copy()
        if rules.expiry_days is not None:
            starts |= np.diff(day, prepend=day[0]) > rules.expiry_days
        uses = redeemers(shop.people.size, self.truth.redeem_share, self.seed)[who]
        used = np.where(starts, 0.0, np.r_[0.0, due[:-1]]) * uses * rules.reward_points
        welcome = np.where(first, rules.welcome_points, 0.0)
        lapse = self._lapses(mine, points + welcome - used, starts, shop.world.horizon)
        when = moments(mine.moment)
        earned, spent, given = (np.flatnonzero(v > 0) for v in (points, used, welcome))
        ends = None if rules.expiry_days is None else when + np.timedelta64(rules.expiry_days, "D")

        def part(kind: str, row: Ints, amount: Floats) -> Entries:
            lasts = None if ends is None or kind == "redeem" else ends[row]
            return Entries(kind, who[row], mine.moment[row], amount[row], lasts)

        return [
            *lapse,
            part("adjust", given, welcome),
            # the reward is handed out before the points of the same order are booked
            part("redeem", spent, used),
            part("earn", earned, points),
        ]

    def _lapses(self, mine: Orders, net: Floats, starts: Bools, horizon: int) -> list[Entries]:
        """Return what lapses at the midnight after the days without an order are over."""
        days = cast("Points", self.rules).expiry_days
        if days is None:
            return []
        begin = np.flatnonzero(starts)
        left = np.add.reduceat(net, begin)
        last = np.r_[begin[1:], len(net)] - 1
        at = mine.day[last] + days + 1.0
        over = (left > 0) & (at < horizon)
        return [Entries("expire", mine.customer[last[over]], at[over], left[over], midnight=True)]


def ledger_facts(parts: Sequence[Entries]) -> dict[str, Any]:
    """Return the points given, used, lapsed and still open."""
    sums = dict.fromkeys(("earn", "adjust", "redeem", "expire"), 0.0)
    for part in parts:
        sums[part.kind] += float(part.points.sum())
    given = sums["earn"] + sums["adjust"]
    return {
        "points_given": given,
        "points_used": sums["redeem"],
        "points_lapsed": sums["expire"],
        "points_open": given - sums["redeem"] - sums["expire"],
    }


def average_customer(truth: MemberTruth) -> dict[str, float]:
    """Return rate, mean order and its variation of a customer with average rates who never leaves."""
    return {
        "orders_per_day": truth.r / truth.alpha,
        "mean_order": truth.p * truth.v / (truth.q - 1),
        "cv": truth.p**-0.5,
    }


def earned_by(rules: Any, orders: Orders, **columns: Any) -> tuple[Floats, Floats]:
    """Apply rules to orders; return the units earned and the value due with each."""
    if not len(orders.customer):
        return np.zeros(0), np.zeros(0)
    found = rules.earn(member_sales(orders, **columns))
    return found["earned"].to_numpy(), found["value"].to_numpy()


def _loads(course: Course, stored: StoredValue) -> tuple[Floats, Floats]:
    """Return how often a card is loaded with each order of a member, and what is left on each card.

    Members pay from the card and load it, as often as it takes, when the money on it is too little.
    """
    mine = course.orders.keep(course.member)
    if not len(mine.customer):
        return np.zeros(0), np.zeros(0)
    begin = np.flatnonzero(np.r_[True, mine.customer[1:] != mine.customer[:-1]])
    spent = np.cumsum(mine.amount)
    spent = spent - np.repeat((spent - mine.amount)[begin], np.diff(np.r_[begin, len(spent)]))
    size = stored.load * (1 + stored.bonus)
    needed = np.ceil(np.round(spent / size, 9))
    before = np.r_[0.0, needed[:-1]]
    before[begin] = 0.0
    last = np.r_[begin[1:], len(spent)] - 1
    return needed - before, needed[last] * size - spent[last]


def redeemers(size: int, share: float, seed: int) -> Bools:
    """Draw who uses points."""
    return stream(seed, "redeeming").random(size) < share
