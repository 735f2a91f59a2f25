"""A paid membership: those who expect to use it pay the fee, and pay again if it was worth it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from scipy import special

from loyalty_research.i18n import message
from loyalty_research.mechanisms import PaidMembership
from loyalty_research.simulate._members import MemberTruth
from loyalty_research.simulate._population import LAUNCH, MOST_YEARS, moments
from loyalty_research.simulate._programme_tables import (
    costs_table,
    memberships_table,
    midnights,
    spell_ends,
)
from loyalty_research.simulate._rules import member_sales
from loyalty_research.simulate._scheme import Scheme
from loyalty_research.simulate._truth import number, stream, whole
from loyalty_research.simulate._world import Course

if TYPE_CHECKING:
    import pandas as pd

    from loyalty_research.simulate._population import Bools, Floats, Ints
    from loyalty_research.simulate._scheme import Shop

__all__ = ["PaidCourse", "PaidScheme", "PaidTruth"]


@dataclass(frozen=True, kw_only=True)
class PaidTruth(MemberTruth):
    """Parameters of the paid membership, beside those of its members.

    A fee falls due with a member's first order, and with the first order after each period has run
    out. Who declines to pay again is a member no longer, and buys and leaves as before.

    Attributes:
        selection_use: Change of the log odds of joining per unit of the logarithm of a customer's
            expected savings of a period over its fee.
        renewal_share: Probability that a member pays again whose savings were as much as the fee.
        renewal_use: Change of the log odds of paying again per unit of the logarithm of the savings
            of the period over the fee.
    """

    rate_effect: float = number(0.3, -1, 10)
    spend_effect: float = number(0.0, -1, 10)
    join_control: float = number(0.1, 0, 1)
    selection_engagement: float = number(0.3)
    selection_spend: float = number(0.0)
    selection_use: float = number(1.0, -20, 20)
    renewal_share: float = number(0.8, 0, 1)
    renewal_use: float = number(1.0, -20, 20)
    years: int = whole(3, 2, MOST_YEARS)


@dataclass(frozen=True, kw_only=True)
class PaidCourse(Course):
    """A course with fees.

    Attributes:
        until: Moment at which a member declined to pay again, infinite for never.
    """

    until: Floats


class PaidScheme(Scheme[PaidTruth, PaidCourse]):
    """Members buy more while they have paid, and decide anew after each period."""

    kind: ClassVar[str] = "paid"
    steady: ClassVar[bool] = False

    @classmethod
    def default_rules(cls, truth: PaidTruth) -> PaidMembership:
        """Return a fee of 99 a year that saves 6 on every order."""
        del truth
        return PaidMembership(fee=99, order_saving=6, order_cost=5)

    @property
    def plan(self) -> PaidMembership:
        """The rules."""
        return cast("PaidMembership", self.rules)

    def description(self) -> str:
        """Return one sentence that says what the data are."""
        return message(
            "Simulated shop that launches a paid membership, with members, non-members and invitations drawn at "
            "random; the truth behind it is disclosed."
        )

    def reasons(self) -> Floats:
        """Return what a customer's expected savings add to the log odds of joining."""
        people, plan = self.world.people, self.plan
        saving = plan.order_saving + plan.discount * self.truth.p / people.value_rate
        use = np.maximum(people.rate * plan.period_days * saving / plan.fee, 1e-6)
        return np.asarray(self.truth.selection_use * np.log(use), dtype=float)

    def course(self, joined: Floats, stop: int, *, start: int = 0) -> PaidCourse:
        """Play out days [start, stop) when customers join on the days ``joined``."""
        until = self._until(joined, stop)
        played = self.world.between(start, stop).play(joined, until=until)
        return PaidCourse(orders=played.orders, gone=played.gone, member=played.member, until=until)

    def _until(self, joined: Floats, stop: int) -> Floats:
        """Return when each member declines to pay again, one period after the other."""
        truth, plan, size = self.truth, self.plan, len(joined)
        until = np.full(size, np.inf)
        if stop <= LAUNCH + plan.period_days:
            return until
        world = self.world.between(LAUNCH, stop)
        luck = stream(self.seed, "renewals").random((2 + (stop - LAUNCH) // plan.period_days, size))
        for period in range(len(luck)):
            played = world.play(joined, until=until)
            mine, pays = played.orders.keep(played.member), self.pays(played)
            if not len(pays):
                break
            begins = np.flatnonzero(np.r_[True, mine.customer[1:] != mine.customer[:-1]])
            count = np.cumsum(pays)
            nth: Ints = count - np.repeat(count[begins] - pays[begins], np.diff(np.r_[begins, len(pays)]))
            again = np.flatnonzero(pays & (nth == period + 2))
            if not len(again):
                break
            who = mine.customer[again]
            within: Bools = nth == period + 1
            saved = plan.order_saving + plan.discount * mine.amount
            use = np.bincount(mine.customer[within], weights=saved[within], minlength=size)[who] / plan.fee
            odds = special.logit(truth.renewal_share) + truth.renewal_use * np.log(np.maximum(use, 1e-6))
            leaves = luck[period, who] >= special.expit(odds)
            until[who[leaves]] = mine.moment[again[leaves]]
        return until

    def pays(self, course: Course) -> Bools:
        """Return whether a fee falls due with each order of a member."""
        sales = member_sales(course.orders, course.member)
        if not len(sales):
            return np.zeros(0, dtype=bool)
        saved = self.plan.order_saving + self.plan.discount * sales["amount"].to_numpy()
        return np.asarray(saved - self.plan.earn(sales)["value"].to_numpy() > self.plan.fee / 2)

    def order_columns(self, shop: Shop[PaidCourse]) -> dict[str, Any]:
        """Return what members saved on their orders."""
        course, plan = shop.course, self.plan
        saved = np.round(plan.order_saving + plan.discount * course.orders.amount, 2)
        return {"discount_amount": np.where(course.member, saved, 0.0)}

    def leaves(self, shop: Shop[PaidCourse]) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
        """Return memberships that end where nobody paid again, and what fees and benefits came to."""
        course, plan = shop.course, self.plan
        until = course.until
        spells = memberships_table(shop, self.truth, self.kind, self.seed)
        member = np.flatnonzero(shop.joined < shop.world.horizon)
        ends = spell_ends(shop, self.truth, self.seed)
        declined = until < ends
        stops = moments(np.where(np.isfinite(until), until, 0.0))
        spells["valid_to"] = np.where(declined, stops, midnights(ends))[member]
        pays = self.pays(course)
        orders = int(course.member.sum())
        mine = course.orders.amount[course.member]
        cost = plan.order_saving + plan.discount * mine if plan.order_cost is None else plan.order_cost
        benefit = float(np.sum(cost * np.ones(orders)))
        payers = np.bincount(course.orders.customer[course.member], weights=pays, minlength=shop.people.size)
        again = float((payers - 1).clip(0).sum())
        turned = int(np.isfinite(until).sum())
        facts = {
            "fees": int(pays.sum()),
            "fee_revenue": float(plan.fee * pays.sum()),
            "benefit_cost": benefit,
            "surplus": float(plan.fee * pays.sum()) - benefit,
            "renewal_rate": again / (again + turned) if again + turned else float("nan"),
            "declined": turned,
            "orders_to_pay_off": plan.orders_to_pay_off(
                mean_order=self.truth.p * self.truth.v / (self.truth.q - 1)
            ),
        }
        each = plan.order_cost if plan.order_cost is not None else plan.order_saving
        rates = [("benefit", "benefit", "per_redemption", round(each, 2))]
        return {"memberships": spells, "costs": costs_table(*rates)}, facts
