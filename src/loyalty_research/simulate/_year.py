"""One year of a shop under a programme: what members and others buy, for what-if comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from loyalty_research.simulate._points import Effects, PointsTruth, make_world
from loyalty_research.simulate._population import HORIZON, LAUNCH, moments
from loyalty_research.simulate._truth import stream

if TYPE_CHECKING:
    from loyalty_research.simulate._population import PopulationTruth

__all__ = ["ProgrammeYear", "programme_year"]


@dataclass(frozen=True)
class ProgrammeYear:
    """What happened from the launch to the last day, 366 days.

    Attributes:
        spend: Spending of all customers in the year, members or not.
        member_orders: Orders placed as members: ``customer_id``, ``transacted_at``, ``amount``.
        customers: Customers who were active at the launch.
        members: How many of them joined.
        active: How many of them were still active after the year.
    """

    spend: float
    member_orders: pd.DataFrame
    customers: int
    members: int
    active: int


def programme_year(
    population: PopulationTruth,
    *,
    customers: int,
    seed: int,
    join_share: float,
    selection: float = 1.0,
    rate_effect: float = 0.0,
    spend_effect: float = 0.0,
    hazard_ratio: float = 1.0,
) -> ProgrammeYear:
    """Play out a year in which some customers join at the launch and then behave differently.

    The same seed gives the same people, lives and base orders whatever the programme does to them
    (common random numbers), so differences between programmes are free of most of the noise.

    Args:
        population: Parameters of the customers.
        customers: How many there ever were, some of whom are gone at the launch.
        seed: Seed of the random numbers.
        join_share: Probability that an average customer joins.
        selection: Change of the log odds of joining per standard deviation of latent engagement.
        rate_effect: Change of a member's purchase rate, a fraction.
        spend_effect: Change of a member's order values, a fraction.
        hazard_ratio: Dropout hazard of a member over that of the same person as no member.

    Returns:
        The year.

    Examples:
        >>> from loyalty_research.simulate import PopulationTruth
        >>> year = programme_year(PopulationTruth(), customers=200, seed=1, join_share=0.0)
        >>> year.members, len(year.member_orders)
        (0, 0)
    """
    shared = {name: getattr(population, name) for name in type(population).__dataclass_fields__}
    truth = PointsTruth(**shared)
    world = make_world(truth, Effects(rate_effect, spend_effect, hazard_ratio), customers, seed)
    people = world.people
    here = people.gone > LAUNCH
    chance = special.expit(special.logit(join_share) + selection * people.engagement)
    joins = here & (stream(seed, "joining").random(people.size) < chance)
    course = world.play(np.where(joins, float(LAUNCH), np.inf))
    now = course.orders.moment >= LAUNCH
    mine = course.orders.keep(now & course.member)
    table = pd.DataFrame(
        {"customer_id": mine.customer, "transacted_at": moments(mine.moment), "amount": mine.amount}
    )
    return ProgrammeYear(
        spend=float(course.orders.amount[now].sum()),
        member_orders=table,
        customers=int(here.sum()),
        members=int(joins.sum()),
        active=int((here & (course.gone >= HORIZON)).sum()),
    )
