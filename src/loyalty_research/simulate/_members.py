"""Who joins a programme: the parameters that all programmes share, and how joining is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from loyalty_research.errors import ArgumentError
from loyalty_research.simulate._population import HORIZON, LAUNCH, MOST_YEARS, REGIONS, PopulationTruth
from loyalty_research.simulate._truth import choice, number, stream, whole
from loyalty_research.simulate._world import Effects

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.simulate._population import Bools, Floats, Ints, Orders, Population
    from loyalty_research.simulate._world import World

__all__ = ["Joining", "MemberTruth", "draw_arms", "draw_joining", "window_sums"]


@dataclass(frozen=True, kw_only=True)
class MemberTruth(PopulationTruth):
    """Parameters of a programme with members, beside those of the customers.

    Attributes:
        rate_effect: Change of the purchase rate of a member, a fraction: 0.15 is 15% more orders.
        spend_effect: Change of a member's order values, a fraction.
        hazard_ratio: Dropout hazard of a member over that of the same person as no member.
        invited_share: Share of customers who are invited.
        assign_by: ``"customer"``, drawn within strata, or ``"store"``: all customers of a shop.
        join_invited: Probability that an average customer joins when invited.
        join_control: Probability that an average customer joins without invitation.
        selection_engagement: Change of the log odds of joining per standard deviation of latent
            engagement, which no table shows.
        selection_spend: Change of the log odds of joining per standard deviation of log spend in the
            pre-period, which the tables show.
        join_delay: Mean days from launch to joining of an average customer.
        early_joining: How much sooner engaged customers join: log of the mean delay falls by this
            per standard deviation of engagement.
        window_days: Length of the outcome window from the launch.
        pre_days: Length of the pre-period before the launch.
        cancel_share: Share of members who cancel the membership when they drop out.
        years: Years from 2023 on; the programme is launched with the second.
        satisfaction_engagement: Correlation of satisfaction with latent engagement.
        survey_share: Share of those who still buy who are asked in each survey.
        answer_share: Probability that a customer of average satisfaction answers.
        answer_satisfaction: Change of the log odds of answering per standard deviation of
            satisfaction.
        cases_per_year: Service cases a year of a customer who still buys.
        on_time_share: Share of service cases solved within the three days promised.
        in_full_share: Share of service cases solved completely.
        referrals_per_year: Referrals a year of a customer who still buys, that bring nobody.
        cart_abandonment: Share of carts that are not ordered.
    """

    rate_effect: float = number(0.15, -1, 10)
    spend_effect: float = number(0.05, -1, 10)
    hazard_ratio: float = number(0.8, 0, 100, open_low=True)
    invited_share: float = number(0.5, 0.02, 0.98)
    assign_by: str = choice("customer", "customer", "store")
    join_invited: float = number(0.35, 0, 1)
    join_control: float = number(0.04, 0, 1)
    selection_engagement: float = number(1.0)
    selection_spend: float = number(0.8)
    join_delay: float = number(14.0, 0, 365)
    early_joining: float = number(0.3, -5, 5)
    window_days: int = whole(180, 1, HORIZON - LAUNCH)
    pre_days: int = whole(90, 1, 95)
    cancel_share: float = number(0.3, 0, 1)
    years: int = whole(2, 2, MOST_YEARS)
    satisfaction_engagement: float = number(0.5, -1, 1)
    survey_share: float = number(0.25, 0, 1)
    answer_share: float = number(0.25, 0, 1)
    answer_satisfaction: float = number(0.7, -10, 10)
    cases_per_year: float = number(0.3, 0, 100)
    on_time_share: float = number(0.85, 0, 1)
    in_full_share: float = number(0.9, 0, 1)
    referrals_per_year: float = number(0.1, 0, 100)
    cart_abandonment: float = number(0.7, 0, 0.95)

    @property
    def effects(self) -> Effects:
        """What membership changes at all times."""
        return Effects(self.rate_effect, self.spend_effect, self.hazard_ratio)

    def check(self) -> None:
        """Raise where parameters contradict one another.

        Raises:
            ArgumentError: When an invitation would keep customers from joining.
        """
        if self.join_control > self.join_invited:
            raise ArgumentError(
                f"join_control {self.join_control:g} is above join_invited {self.join_invited:g}: an invitation "
                "would keep customers from joining"
            )


@dataclass(frozen=True)
class Joining:
    """Who joins when, in either arm; arrays have one entry per customer.

    Attributes:
        day: Day on which the customer would join, if at all.
        if_invited: Whether they join when invited.
        if_control: Whether they join uninvited; these join when invited too (no defiers).
    """

    day: Floats
    if_invited: Bools
    if_control: Bools

    def days(self, joins: Bools) -> Floats:
        """Return joining days, infinite for those who do not join."""
        return np.where(joins, self.day, np.inf)


def window_sums(orders: Orders, size: int, start: int, stop: int) -> dict[str, NDArray[np.float64]]:
    """Return spend, orders and whether there was any, per customer, of days [start, stop)."""
    within = (orders.day >= start) & (orders.day < stop)
    who = orders.customer[within]
    count = np.bincount(who, minlength=size).astype(float)
    spend = np.bincount(who, weights=orders.amount[within], minlength=size)
    return {"spend": spend, "orders": count, "converted": (count > 0).astype(float)}


def draw_joining(
    world: World, truth: MemberTruth, pre_spend: Floats, seed: int, reasons: Floats | float = 0.0
) -> Joining:
    """Draw who would join in either arm, and when.

    Args:
        world: The people.
        truth: Parameters.
        pre_spend: Spend of the pre-period per customer.
        seed: Seed of the random numbers.
        reasons: What the kind of programme adds to the log odds of joining.
    """
    people, rng = world.people, stream(seed, "joining")
    logs = np.log1p(pre_spend)
    spread = logs.std()
    score = truth.selection_engagement * people.engagement + reasons
    if spread > 0:
        score = score + truth.selection_spend * (logs - logs.mean()) / spread
    luck = rng.random(people.size)
    mean_delay = truth.join_delay * np.exp(-truth.early_joining * people.engagement)
    day = LAUNCH + np.floor(rng.exponential(size=people.size) * mean_delay)
    alive = (day < people.gone) & (day < world.horizon)

    def joins(share: float) -> Bools:
        return alive & (luck < special.expit(special.logit(share) + score))

    return Joining(day, joins(truth.join_invited), joins(truth.join_control))


def draw_arms(people: Population, truth: MemberTruth, strata: Ints, seed: int) -> Bools:
    """Draw who is invited: a fixed share of each stratum, or of the shops of each region."""
    rng = stream(seed, "arms")
    if truth.assign_by == "customer":
        return _share_within(strata, truth.invited_share, rng)
    stores = np.arange(truth.stores)
    return _share_within(stores % len(REGIONS), truth.invited_share, rng)[people.store]


def _share_within(groups: Ints, share: float, rng: np.random.Generator) -> Bools:
    """Choose a fixed share of each group at random; a fraction of a unit is drawn too."""
    chosen = np.zeros(len(groups), dtype=bool)
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        count = int(np.floor(share * len(members) + rng.random()))
        chosen[members[:count]] = True
    return chosen
