"""One year of a shop under a programme: what members and others buy, for what-if comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special, stats

from loyalty_research.errors import ArgumentError
from loyalty_research.simulate._population import (
    HORIZON,
    LAST_DAY,
    LAUNCH,
    PopulationTruth,
    cents,
    draw_orders,
    merge_orders,
    moments,
)
from loyalty_research.simulate._truth import read_truth, stream
from loyalty_research.simulate._world import Effects, make_world

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from loyalty_research.simulate._population import Orders
    from loyalty_research.simulate._world import World

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

__all__ = ["ProgrammeYear", "programme_year", "read_population"]


LEAST_HAZARD = 0.5


@dataclass(frozen=True)
class ProgrammeYear:
    """What happened from the launch to the last day, 366 days.

    Attributes:
        spend: Spending of all customers in the shop in the year, members or not.
        member_orders: Orders placed as members: ``customer_id``, ``transacted_at``, ``amount``; in
            a coalition with those at its partners, and with ``partner_id``.
        customers: Customers who were active at the launch.
        members: How many of them joined.
        active: How many of them were still active after the year.
    """

    spend: float
    member_orders: pd.DataFrame
    customers: int
    members: int
    active: int

    @property
    def last_day(self) -> dt.date:
        """Last day of the year."""
        return LAST_DAY


def read_population(parameters: Mapping[str, Any] | PopulationTruth | None = None) -> PopulationTruth:
    """Return parameters of customers, checked.

    Args:
        parameters: Those that differ from the defaults of ``PopulationTruth``, by name; a
            ``PopulationTruth`` is checked as well; None gives the defaults.

    Raises:
        ArgumentError: When a name is unknown or a value out of its range.

    Examples:
        >>> read_population({"r": 0.5, "alpha": 60}).alpha
        60.0
    """
    if parameters is None:
        return PopulationTruth()
    if isinstance(parameters, PopulationTruth):
        given = {name: getattr(parameters, name) for name in PopulationTruth.__dataclass_fields__}
    elif isinstance(parameters, Mapping):
        given = dict(parameters)
    else:
        raise ArgumentError(
            f"population must be a PopulationTruth or its parameters by name; got {parameters!r}"
        )
    return read_truth(PopulationTruth, "population", given)


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
    response_cv: float = 0.0,
    among: Collection[int] | None = None,
    home: str = "",
    partners: Mapping[str, float] | None = None,
) -> ProgrammeYear:
    """Play out a year in which some customers join at the launch and then behave differently.

    The same seed gives the same people, lives and base orders whatever the programme does to them
    (common random numbers), so differences between programmes are free of most of the noise. A
    larger effect on the purchase rate keeps the extra orders of a smaller one and adds to them.

    Args:
        population: Parameters of the customers.
        customers: How many there ever were, some of whom are gone at the launch.
        seed: Seed of the random numbers.
        join_share: Probability that an average customer joins.
        selection: Change of the log odds of joining per standard deviation of latent engagement.
        rate_effect: Change of the average member's purchase rate, a fraction.
        spend_effect: Change of the average member's order values, a fraction.
        hazard_ratio: Dropout hazard of a member over that of the same person as no member.
        response_cv: How much members differ in their response: the effects on rate and order value
            are multiplied by a gamma variable of mean 1 with this coefficient of variation.
        among: Customers who may join, as they are numbered in ``member_orders``; None: all.
        home: Name of this shop among the partners of a coalition.
        partners: Orders at each other partner per order that the same customer would place here
            without a programme; None: no coalition.

    Returns:
        The year.

    Examples:
        >>> from loyalty_research.simulate import PopulationTruth
        >>> year = programme_year(PopulationTruth(), customers=200, seed=1, join_share=0.0)
        >>> year.members, len(year.member_orders)
        (0, 0)
    """
    # a world with room for longer lives serves most hazard ratios, and is asked for again and again
    room = min(LEAST_HAZARD, hazard_ratio)
    world = replace(
        _launch_world(population, customers, seed, room), effects=Effects(hazard_ratio=hazard_ratio)
    )
    people = world.people
    here = people.gone > LAUNCH
    chance = special.expit(special.logit(join_share) + selection * people.engagement)
    joins = here & (stream(seed, "joining").random(people.size) < chance)
    if among is not None:
        joins &= np.isin(np.arange(people.size), np.fromiter(among, dtype=np.int64, count=len(among)))
    own = _responses(people.size, response_cv, seed)
    layers = partial(_layer, population, customers, seed)
    course = _respond(world, joins, rate_effect * own, layers).play(np.where(joins, float(LAUNCH), np.inf))
    factor = np.where(course.member, np.maximum(1 + spend_effect * own[course.orders.customer], 0.0), 1.0)
    orders = replace(course.orders, amount=cents(course.orders.amount * factor))
    mine = orders.keep(course.member)
    return ProgrammeYear(
        spend=float(orders.amount.sum()),
        member_orders=_member_orders(
            mine, _elsewhere(world, population, joins, course.gone, partners, seed), home
        ),
        customers=int(here.sum()),
        members=int(joins.sum()),
        active=int((here & (course.gone >= HORIZON)).sum()),
    )


@lru_cache(maxsize=64)
def _launch_world(population: PopulationTruth, customers: int, seed: int, hazard_ratio: float) -> World:
    """Return people with the orders of the year that they could place."""
    world = make_world(population, Effects(hazard_ratio=hazard_ratio), customers, seed)
    return world.between(LAUNCH, HORIZON)


@lru_cache(maxsize=64)
def _layer(population: PopulationTruth, customers: int, seed: int, layer: int) -> tuple[Orders, Floats]:
    """Return orders that a member whose rate doubles adds, each with a uniform number."""
    people = _launch_world(population, customers, seed, LEAST_HAZARD).people
    rng = stream(seed, f"extra orders {layer}")
    found = draw_orders(people, population, rng, people.rate, np.full(people.size, float(LAUNCH)))
    return found, rng.random(len(found.customer))


def _responses(size: int, cv: float, seed: int) -> Floats:
    """Return how strongly each customer would respond, 1 on average."""
    if cv == 0:
        return np.ones(size)
    luck = np.clip(stream(seed, "response").random(size), 1e-12, 1 - 1e-12)
    return np.asarray(stats.gamma.ppf(luck, 1 / cv**2, scale=cv**2), dtype=float)


def _respond(
    world: World, joins: Bools, effect: Floats, layers: Callable[[int], tuple[Orders, Floats]]
) -> World:
    """Return the world with the orders that members add, or without those that they drop."""
    base, mark = world.base, world.mark
    member = joins[base.customer] & (base.moment >= LAUNCH)
    kept = ~member | (mark < 1 + effect[base.customer])
    added = []
    # one layer of extra orders per doubling of a member's rate, thinned: nested for nested effects
    for layer in range(int(np.ceil(max(effect[joins].max(initial=0.0), 0.0)))):
        found, luck = layers(layer)
        taken = joins[found.customer] & (luck < effect[found.customer] - layer)
        added.append((found.keep(taken), found.moment[taken]))
    extra = merge_orders(*added)[0] if added else world.extra
    return replace(world, base=base.keep(kept), mark=mark[kept], extra=extra, extra_mark=None)


def _elsewhere(
    world: World,
    truth: PopulationTruth,
    joins: Bools,
    gone: Floats,
    partners: Mapping[str, float] | None,
    seed: int,
) -> dict[str, Orders] | None:
    """Return members' orders at the other partners of a coalition."""
    if partners is None:
        return None
    people = world.people
    launch = np.full(people.size, float(LAUNCH))
    out = {}
    for name, share in partners.items():
        found = draw_orders(people, truth, stream(seed, f"partner {name}"), people.rate * share, launch)
        found = found.keep(joins[found.customer] & (found.moment < gone[found.customer]))
        out[name] = replace(found, amount=cents(found.amount))
    return out


def _member_orders(mine: Orders, elsewhere: Mapping[str, Orders] | None, home: str) -> pd.DataFrame:
    parts = {home: mine} | dict(elsewhere or {})
    table = pd.concat(
        [
            pd.DataFrame(
                {
                    "customer_id": orders.customer,
                    "transacted_at": moments(orders.moment),
                    "amount": orders.amount,
                    "partner_id": name,
                }
            )
            for name, orders in parts.items()
        ],
        ignore_index=True,
    )
    return table.drop(columns="partner_id") if elsewhere is None else table
