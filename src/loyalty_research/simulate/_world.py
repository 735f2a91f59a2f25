"""People and orders in which any joining days can be played out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.simulate._population import (
    HORIZON,
    LAUNCH,
    begin_with,
    cents,
    draw_orders,
    draw_population,
    first_orders,
    merge_orders,
    year_starts,
)
from loyalty_research.simulate._truth import stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from loyalty_research.simulate._population import (
        Bools,
        Floats,
        Ints,
        Orders,
        Population,
        PopulationTruth,
    )

    Factor = Callable[[Ints, Floats], Floats]

__all__ = ["Course", "Effects", "World", "latest_dropout", "make_world"]


@dataclass(frozen=True)
class Effects:
    """What membership changes; the defaults change nothing."""

    rate: float = 0.0
    spend: float = 0.0
    hazard_ratio: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Course:
    """What happens to a population when each customer joins on a given day or never.

    Attributes:
        orders: Orders up to dropout, sorted by customer and moment.
        gone: Moment of dropout.
        member: Per order, whether it was placed as a member.
        label: Per order, what the world labels it with.
    """

    orders: Orders
    gone: Floats
    member: Bools
    label: Ints | None = None


@dataclass(frozen=True)
class World:
    """One set of people and random numbers in which any joining days can be played out.

    Attributes:
        people: The customers.
        effects: What membership changes.
        base: Orders of a life without dropout and membership.
        mark: Uniform number per base order; where members buy less, it decides which are lost.
        extra: Orders that only members place, from the launch on.
        horizon: The day after the last, days since the first day.
        extra_mark: Uniform number per extra order; where the rate of a member changes, it decides
            which are placed.
        top: Rate of the extra orders, a fraction of the base rate.
        labels: A label per base order, and one per extra order, such as where it is placed.
    """

    people: Population
    effects: Effects
    base: Orders
    mark: Floats
    extra: Orders
    horizon: int = HORIZON
    extra_mark: Floats | None = None
    top: float = 0.0
    labels: tuple[Ints, Ints] | None = None

    def between(self, start: int, stop: int) -> World:
        """Return the same world with the orders of days [start, stop) only."""
        base, extra = (o.between(start, stop) for o in (self.base, self.extra))
        return replace(
            self,
            base=self.base.keep(base),
            mark=self.mark[base],
            extra=self.extra.keep(extra),
            extra_mark=None if self.extra_mark is None else self.extra_mark[extra],
            labels=None if self.labels is None else (self.labels[0][base], self.labels[1][extra]),
        )

    def play(self, joined: Floats, *, until: Floats | None = None, factor: Factor | None = None) -> Course:
        """Play out the course where customers join on the days ``joined`` (infinite: never).

        The same person with the same joining day has the same orders in every course.

        Args:
            joined: Joining day per customer.
            until: Moment at which each ceases to be a member; by default never.
            factor: Purchase rate of members over their own rate without membership, for customers at
                moments, at most ``1 + top``; by default the effect on the rate at all times.
        """
        gone, member, kept, gained = self._happens(joined, until, factor)
        notes = member[kept].astype(np.int64), np.ones(int(gained.sum()), dtype=np.int64)
        if self.labels is not None:
            notes = (notes[0] + 2 * self.labels[0][kept], notes[1] + 2 * self.labels[1][gained])
        orders, found = merge_orders((self.base.keep(kept), notes[0]), (self.extra.keep(gained), notes[1]))
        is_member = found % 2 == 1
        scale = np.where(is_member, 1 + self.effects.spend, 1.0)
        label = None if self.labels is None else found // 2
        orders = replace(orders, amount=cents(orders.amount * scale))
        return Course(orders=orders, gone=gone, member=is_member, label=label)

    def tally(self, joined: Floats) -> tuple[Floats, Floats]:
        """Return spend and orders per customer where customers join on the days ``joined``."""
        _, member, kept, gained = self._happens(joined, None, None)
        scale = 1 + self.effects.spend
        spend, count = np.zeros(self.people.size), np.zeros(self.people.size)
        for orders, is_member, happens in (
            (self.base, member, kept),
            (self.extra, np.ones(len(gained), dtype=bool), gained),
        ):
            who = orders.customer[happens]
            amount = cents(orders.amount[happens] * np.where(is_member[happens], scale, 1.0))
            spend += np.bincount(who, weights=amount, minlength=self.people.size)
            count += np.bincount(who, minlength=self.people.size)
        return spend, count

    def _happens(
        self, joined: Floats, until: Floats | None, factor: Factor | None
    ) -> tuple[Floats, Bools, Bools, Bools]:
        """Return dropout, who orders as a member, and which base and extra orders are placed."""
        gone = self.gone(joined, until)
        member, inside = (self._member(o, joined, until) for o in (self.base, self.extra))
        kept = self.base.moment < gone[self.base.customer]
        gained = inside & (self.extra.moment < gone[self.extra.customer])
        if factor is not None:
            kept &= ~member | (self.mark < factor(self.base.customer, self.base.moment))
            gained &= self._placed(factor)
        elif self.effects.rate < 0:
            kept &= ~member | (self.mark < 1 + self.effects.rate)
        return gone, member, kept, gained

    def _member(self, orders: Orders, joined: Floats, until: Floats | None) -> Bools:
        member = orders.moment >= joined[orders.customer]
        return member if until is None else member & (orders.moment < until[orders.customer])

    def _placed(self, factor: Factor) -> Bools:
        if self.extra_mark is None or not len(self.extra_mark):
            return np.ones(len(self.extra.moment), dtype=bool)
        more = factor(self.extra.customer, self.extra.moment) - 1
        return np.asarray(self.extra_mark * self.top < more, dtype=np.bool_)

    def gone(self, joined: Floats, until: Floats | None = None) -> Floats:
        """Return moments of dropout: what is left of a life at joining is stretched by 1 / hazard ratio."""
        gone, ratio = self.people.gone.copy(), self.effects.hazard_ratio
        joins = joined < gone
        gone[joins] = joined[joins] + (gone[joins] - joined[joins]) / ratio
        if until is not None:
            # what is left of the stretched life when membership ends shrinks to its own pace again
            over = joins & (until < gone)
            gone[over] = until[over] + (gone[over] - until[over]) * ratio
        return gone

    def never(self) -> Floats:
        """Joining days of a course in which nobody joins."""
        return np.full(self.people.size, np.inf)


def latest_dropout(gone: Floats, hazard_ratio: float) -> Floats:
    """Return when each customer drops out who joins on the first day of the programme."""
    return np.where(gone > LAUNCH, LAUNCH + (gone - LAUNCH) / hazard_ratio, gone)


def make_world(
    truth: PopulationTruth,
    effects: Effects,
    customers: int,
    seed: int,
    *,
    years: int = 2,
    top: float | None = None,
) -> World:
    """Draw the people and all orders they could place.

    Args:
        truth: Parameters of the customers.
        effects: What membership changes.
        customers: How many.
        seed: Seed of the random numbers.
        years: Years from the first day on; the first two are the same however many follow.
        top: Most that the purchase rate of a member rises at any time, a fraction; by default the
            effect on the rate.
    """
    people = draw_population(truth, customers, seed)
    repeat = draw_orders(people, truth, stream(seed, "orders"), people.rate, people.born)
    first = first_orders(people, truth, seed)
    base = begin_with(first, repeat)
    latest = latest_dropout(people.gone, min(effects.hazard_ratio, 1.0))
    base = base.keep(base.moment < latest[base.customer])
    mark = stream(seed, "lost orders").random(len(base.customer))
    launch = np.full(customers, float(LAUNCH))
    more = max(effects.rate if top is None else top, 0.0)
    extra = draw_orders(people, truth, stream(seed, "extra orders"), people.rate * more, launch)
    extra_mark = stream(seed, "extra marks").random(len(extra.customer))
    horizon = year_starts(years)[-1]
    if years > 2:
        start = np.full(customers, float(HORIZON))
        late = draw_orders(people, truth, stream(seed, "later orders"), people.rate, start, horizon)
        late = late.keep(late.moment < latest[late.customer])
        late_mark = stream(seed, "later lost orders").random(len(late.customer))
        base, mark = merge_orders((base, mark), (late, late_mark))
        rng = stream(seed, "later extra orders")
        late = draw_orders(people, truth, rng, people.rate * more, start, horizon)
        late_mark = stream(seed, "later extra marks").random(len(late.customer))
        extra, extra_mark = merge_orders((extra, extra_mark), (late, late_mark))
    return World(people, effects, base, mark, extra, horizon, extra_mark, more)
