"""A programme with tiers: what a customer does in one calendar year decides the tier of the next."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from loyalty_research.i18n import message
from loyalty_research.mechanisms import Tiers
from loyalty_research.simulate._members import MemberTruth, window_sums
from loyalty_research.simulate._points import average_customer, earned_by, ledger_facts, redeemers
from loyalty_research.simulate._population import LAUNCH, MOST_YEARS, Orders, merge_orders, year_starts
from loyalty_research.simulate._programme_tables import (
    Entries,
    costs_table,
    ledger_frame,
    spell_ends,
    used_up,
)
from loyalty_research.simulate._scheme import Scheme
from loyalty_research.simulate._tier_spells import tier_memberships
from loyalty_research.simulate._truth import number, stream, whole
from loyalty_research.simulate._world import Course

if TYPE_CHECKING:
    import pandas as pd

    from loyalty_research.simulate._population import Bools, Floats, Ints
    from loyalty_research.simulate._scheme import Shop

__all__ = ["TierCourse", "TiersScheme", "TiersTruth"]

POINT = 0.01
OVER = 0.05  # those who are pulled end at most this share of the line above it


@dataclass(frozen=True, kw_only=True)
class TiersTruth(MemberTruth):
    """Parameters of the programme with tiers, beside those of its members.

    Every customer's spending counts, from the first day on; the year before the launch places
    members at the start. A tier that last year's spending gives is carried into a year, and one
    that this year's spending reaches is held from there on.

    Attributes:
        tier_effect: Change of a member's purchase rate per tier above the lowest that is carried
            into a year, a fraction, on top of ``rate_effect``.
        demotion_effect: Change of a member's purchase rate after losing a tier on 1 January.
        demotion_days: How long that lasts.
        pull_share: Share of members who push their spending over the line, of those who are a
            little below it on the last day of a year.
        pull_reach: How little, as a share of the line.
        redeem_share: Share of members who use their points.
        reward_points: Points of one reward.
        years: Years from 2023 on; the programme is launched with the second, and tiers can be lost
            from the third on.
    """

    tier_effect: float = number(0.1, -0.9, 5)
    demotion_effect: float = number(-0.2, -1, 5)
    demotion_days: int = whole(180, 1, 365)
    pull_share: float = number(0.3, 0, 1)
    pull_reach: float = number(0.1, 0, 0.5)
    redeem_share: float = number(0.7, 0, 1)
    reward_points: int = whole(500, 1, 1_000_000)
    years: int = whole(3, 2, MOST_YEARS)


@dataclass(frozen=True, kw_only=True)
class TierCourse(Course):
    """A course with tiers.

    Attributes:
        carried: Position of the tier that last year gives, one row per year, one column per customer.
        demoted: Year (its position) in which a member first began with a tier less, 0 for none.
        pulled: Customers who pushed their spending over a line: one row per year and line.
        pulled_spend: What they spent for it.
    """

    carried: Ints
    demoted: Ints
    pulled: Ints
    pulled_spend: float


class TiersScheme(Scheme[TiersTruth, TierCourse]):
    """Members buy more at higher tiers, less after losing one, and stretch to reach a line."""

    kind: ClassVar[str] = "tiers"
    steady: ClassVar[bool] = False

    @classmethod
    def default_rules(cls, truth: TiersTruth) -> Tiers:
        """Return three tiers with lines at 400 and 1,000 points."""
        del truth
        return Tiers(
            names=("base", "silver", "gold"), lines=(0, 400, 1000), multipliers=(1, 1.5, 2), point_value=POINT
        )

    @property
    def tiers(self) -> Tiers:
        """The rules."""
        return cast("Tiers", self.rules)

    def description(self) -> str:
        """Return one sentence that says what the data are."""
        return message(
            "Simulated shop that launches a programme with tiers, with members, non-members and invitations drawn "
            "at random; the truth behind it is disclosed."
        )

    def top(self) -> float:
        """Return the most that a member's rate rises at any time."""
        truth = self.truth
        steps = (1 + max(truth.tier_effect, 0.0)) ** (len(self.tiers.names) - 1)
        return (1 + truth.rate_effect) * steps * (1 + max(truth.demotion_effect, 0.0)) - 1

    def course(self, joined: Floats, stop: int, *, start: int = 0) -> TierCourse:
        """Play out days [start, stop) when customers join on the days ``joined``."""
        course = self.play(joined, stop, self.truth.demotion_effect)
        within = course.orders.between(start, stop)
        return replace(course, orders=course.orders.keep(within), member=course.member[within])

    def play(self, joined: Floats, stop: int, demotion_effect: float) -> TierCourse:
        """Play out years up to ``stop``, one after the other, since each gives the next its tiers."""
        world, truth = self.world, self.truth
        size = world.people.size
        gone = world.gone(joined)
        starts = year_starts(truth.years)
        carried = np.zeros((truth.years + 1, size), dtype=np.int64)
        first = np.zeros(size, dtype=np.int64)
        fell = np.zeros(size, dtype=bool)
        pulled = np.zeros((truth.years, len(self.tiers.names)), dtype=np.int64)
        parts: list[tuple[Orders, Bools]] = []
        spent = 0.0
        for year, (begin, end) in enumerate(itertools.pairwise(starts)):
            if begin >= stop:
                break
            rank = carried[year]

            def factor(
                who: Ints, moment: Floats, rank: Ints = rank, fell: Bools = fell, at: int = begin
            ) -> Floats:
                hurt = fell[who] & (moment < at + truth.demotion_days)
                rate = (1 + truth.rate_effect) * (1 + truth.tier_effect) ** rank[who]
                return np.where(hurt, rate * (1 + demotion_effect), rate)

            played = world.between(begin, min(end, stop)).play(joined, factor=factor)
            parts.append((played.orders, played.member))
            total = _spent(played.orders, size)
            if begin >= LAUNCH and end <= stop:
                push, lines = self._push(year, end, total, (joined < end - 1) & (gone >= end))
                total = total + _spent(push, size)
                pulled[year] = np.bincount(lines, minlength=pulled.shape[1])
                spent += float(push.amount.sum())
                parts.append((push, np.ones(len(push.customer), dtype=bool)))
            carried[year + 1] = self._rank(total)
            fell = (carried[year + 1] < rank) & (joined < end)
            first = np.where(fell & (first == 0), year + 1, first)
        orders, member = merge_orders(*parts)
        return TierCourse(
            orders=orders,
            gone=gone,
            member=member,
            carried=carried,
            demoted=first,
            pulled=pulled,
            pulled_spend=spent,
        )

    def _rank(self, spend: Floats) -> Ints:
        """Return the position of the tier that a year's spending reaches."""
        lines = np.array(self.tiers.lines)
        points = spend * self.tiers.points_per_unit
        return np.asarray(np.searchsorted(lines, points + 1e-9, side="right") - 1, dtype=np.int64)

    def _push(self, year: int, end: int, total: Floats, can: Bools) -> tuple[Orders, Ints]:
        """Return the orders of the last day that lift spending over the next line, and which line."""
        truth, lines = self.truth, np.array(self.tiers.lines) / self.tiers.points_per_unit
        rng = stream(self.seed, f"pull-in {year}")
        luck, over, hour = rng.random((3, len(total)))
        aim = np.minimum(self._rank(total) + 1, len(lines) - 1)
        gap = lines[aim] - total
        near = can & (gap > 1e-6) & (gap <= truth.pull_reach * lines[aim]) & (luck < truth.pull_share)
        who = np.flatnonzero(near)
        amount = np.ceil((gap[who] + OVER * lines[aim[who]] * over[who]) * 100) / 100
        return Orders(who, end - 1 + 0.95 + 0.05 * hour[who], amount), aim[who]

    def leaves(self, shop: Shop[TierCourse]) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
        """Return spells of tiers, the ledger and costs; what losing a tier and the lines did."""
        course, rules = shop.course, self.tiers
        ends = spell_ends(shop, self.truth, self.seed)
        parts = self._movements(shop)
        cost = self.truth.reward_points * (
            rules.point_cost if rules.point_cost is not None else rules.point_value or 0.0
        )
        tables = {
            "memberships": tier_memberships(shop, rules, year_starts(self.truth.years), ends),
            "points_ledger": ledger_frame(shop.people, parts),
            "costs": costs_table(("reward", "voucher", "per_redemption", cost)),
        }
        average = average_customer(self.truth)
        promised = {f"days_to_{name}": rules.days_to_tier(name, **average) for name in rules.names[1:]} | {
            f"reach_{name}": rules.reach_probability(name, **average) for name in rules.names[1:]
        }
        years = [str(2023 + y) for y in range(self.truth.years)]
        pulled = {
            year: {name: int(n) for name, n in zip(rules.names[1:], row[1:], strict=True)}
            for year, row in zip(years, course.pulled, strict=True)
            if year != "2023"
        }
        facts = {"pulled": pulled, "pulled_spend": course.pulled_spend}
        return tables, ledger_facts(parts) | promised | facts | self._demotion(shop, ends)

    def _movements(self, shop: Shop[TierCourse]) -> list[Entries]:
        """Return points used and earned, in the order of one moment."""
        orders = shop.course.orders
        rules = self.tiers if self.tiers.point_value is not None else replace(self.tiers, point_value=0.0)
        joins = (shop.joined < shop.world.horizon)[orders.customer]
        points, _ = earned_by(rules, orders.keep(joins))
        now = shop.course.member[joins]
        mine, points = orders.keep(joins).keep(now), np.round(points[now], 4)
        uses = redeemers(shop.people.size, self.truth.redeem_share, self.seed)[mine.customer]
        price = self.truth.reward_points
        used = used_up(mine.customer, points, price) * uses * price
        spent, earned = np.flatnonzero(used > 0), np.flatnonzero(points > 0)
        return [
            Entries("redeem", mine.customer[spent], mine.moment[spent], used[spent]),
            Entries("earn", mine.customer[earned], mine.moment[earned], points[earned]),
        ]

    def _demotion(self, shop: Shop[TierCourse], ends: Floats) -> dict[str, Any]:
        """Return what first losing a tier changed in the days after it, on those who lost one."""
        truth, course, size = self.truth, shop.course, shop.people.size
        without = self.play(shop.joined, shop.world.horizon, 0.0)
        starts = year_starts(truth.years)
        count, gains = 0, {"orders": 0.0, "spend": 0.0}
        for year in range(2, truth.years):
            who = (course.demoted == year) & (ends > starts[year])
            count += int(who.sum())
            window = starts[year], starts[year] + truth.demotion_days
            with_, free = (window_sums(c.orders, size, *window) for c in (course, without))
            for name in gains:
                gains[name] += float((with_[name] - free[name])[who].sum())
        facts: dict[str, Any] = {"demoted": count}
        for name, total in gains.items():
            facts[f"demotion_{name}"] = total / count if count else float("nan")
        return facts


def _spent(orders: Orders, size: int) -> Floats:
    """Return spending per customer."""
    return np.asarray(np.bincount(orders.customer, weights=orders.amount, minlength=size), dtype=float)
