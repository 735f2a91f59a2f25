"""A points programme: who joins, what joining changes, and what would have been without it."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from loyalty_research.data import Dataset
from loyalty_research.errors import ArgumentError
from loyalty_research.i18n import message
from loyalty_research.simulate._population import (
    CURRENCY,
    FIRST_DAY,
    HORIZON,
    LAST_DAY,
    LAUNCH,
    REGIONS,
    ZONE,
    PopulationTruth,
    cents,
    customers_table,
    draw_orders,
    draw_population,
    first_orders,
    merge_orders,
    population_facts,
    transactions_table,
)
from loyalty_research.simulate._programme_tables import (
    contacts_table,
    costs_table,
    ledger_table,
    memberships_table,
)
from loyalty_research.simulate._truth import choice, disclosed, number, stream, whole

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.simulate._population import Bools, Floats, Ints, Orders, Population

__all__ = ["PointsTruth", "no_programme", "points_programme", "points_tables"]

CONTROL, INVITED = "control", "invited"
OUTCOMES = ("spend", "orders", "converted")


@dataclass(frozen=True, kw_only=True)
class PointsTruth(PopulationTruth):
    """Parameters of the points programme, beside those of the customers.

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
        redeem_share: Share of members who use their points.
        reward_points: Points of one reward; one point is earned per EUR.
        cancel_share: Share of members who cancel the membership when they drop out.
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
    redeem_share: float = number(0.7, 0, 1)
    reward_points: int = whole(300, 1, 1_000_000)
    cancel_share: float = number(0.3, 0, 1)


@dataclass(frozen=True)
class Effects:
    """What membership changes; the defaults change nothing."""

    rate: float = 0.0
    spend: float = 0.0
    hazard_ratio: float = 1.0


@dataclass(frozen=True)
class Course:
    """What happens to a population when each customer joins on a given day or never.

    Attributes:
        orders: Orders up to dropout, sorted by customer and moment.
        gone: Moment of dropout.
        member: Per order, whether it was placed as a member.
    """

    orders: Orders
    gone: Floats
    member: Bools


@dataclass(frozen=True)
class World:
    """One set of people and random numbers in which any joining days can be played out.

    Attributes:
        people: The customers.
        effects: What membership changes.
        base: Orders of a life without dropout and membership.
        mark: Uniform number per base order; where members buy less, it decides which are lost.
        extra: Orders that only members place, from the launch on.
    """

    people: Population
    effects: Effects
    base: Orders
    mark: Floats
    extra: Orders

    def between(self, start: int, stop: int) -> World:
        """Return the same world with the orders of days [start, stop) only."""
        base, extra = ((o.moment >= start) & (o.moment < stop) for o in (self.base, self.extra))
        return replace(self, base=self.base.keep(base), mark=self.mark[base], extra=self.extra.keep(extra))

    def play(self, joined: Floats) -> Course:
        """Play out the course where customers join on the days ``joined`` (infinite: never).

        The same person with the same joining day has the same orders in every course.
        """
        gone = self._gone(joined)
        member = self.base.moment >= joined[self.base.customer]
        kept = self.base.moment < gone[self.base.customer]
        if self.effects.rate < 0:
            kept &= ~member | (self.mark < 1 + self.effects.rate)
        gained = (self.extra.moment >= joined[self.extra.customer]) & (
            self.extra.moment < gone[self.extra.customer]
        )
        orders, is_member = merge_orders(
            (self.base.keep(kept), member[kept]),
            (self.extra.keep(gained), np.ones(int(gained.sum()), dtype=bool)),
        )
        factor = np.where(is_member, 1 + self.effects.spend, 1.0)
        return Course(replace(orders, amount=cents(orders.amount * factor)), gone, is_member)

    def _gone(self, joined: Floats) -> Floats:
        """Return moments of dropout: what is left of a life at joining is stretched by 1 / hazard ratio."""
        gone = self.people.gone.copy()
        joins = joined < gone
        gone[joins] = joined[joins] + (gone[joins] - joined[joins]) / self.effects.hazard_ratio
        return gone

    def never(self) -> Floats:
        """Joining days of a course in which nobody joins."""
        return np.full(self.people.size, np.inf)


def latest_dropout(gone: Floats, hazard_ratio: float) -> Floats:
    """Return when each customer drops out who joins on the first day of the programme."""
    return np.where(gone > LAUNCH, LAUNCH + (gone - LAUNCH) / hazard_ratio, gone)


def make_world(truth: PopulationTruth, effects: Effects, customers: int, seed: int) -> World:
    """Draw the people and all orders they could place."""
    people = draw_population(truth, customers, seed)
    repeat = draw_orders(people, truth, stream(seed, "orders"), people.rate, people.born)
    first = first_orders(people, truth, seed)
    base, _ = merge_orders((first, first.moment), (repeat, repeat.moment))
    latest = latest_dropout(people.gone, min(effects.hazard_ratio, 1.0))
    base = base.keep(base.moment < latest[base.customer])
    launch = np.full(customers, float(LAUNCH))
    extra = draw_orders(
        people, truth, stream(seed, "extra orders"), people.rate * max(effects.rate, 0.0), launch
    )
    return World(people, effects, base, stream(seed, "lost orders").random(len(base.customer)), extra)


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


def draw_joining(world: World, truth: PointsTruth, pre_spend: Floats, seed: int) -> Joining:
    """Draw who would join in either arm, and when."""
    people, rng = world.people, stream(seed, "joining")
    logs = np.log1p(pre_spend)
    spread = logs.std()
    score = truth.selection_engagement * people.engagement
    if spread > 0:
        score = score + truth.selection_spend * (logs - logs.mean()) / spread
    luck = rng.random(people.size)
    mean_delay = truth.join_delay * np.exp(-truth.early_joining * people.engagement)
    day = LAUNCH + np.floor(rng.exponential(size=people.size) * mean_delay)
    alive = (day < people.gone) & (day < HORIZON)

    def joins(share: float) -> Bools:
        return alive & (luck < special.expit(special.logit(share) + score))

    return Joining(day, joins(truth.join_invited), joins(truth.join_control))


def draw_arms(people: Population, truth: PointsTruth, strata: Ints, seed: int) -> Bools:
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


def _effects(world: World, joining: Joining, joined: Floats, truth: PointsTruth) -> dict[str, float]:
    """Return the true effects on the people at hand, from the courses they did not take as well."""
    stop = LAUNCH + truth.window_days
    window = world.between(LAUNCH, stop)

    def sums(days: Floats) -> dict[str, Floats]:
        return window_sums(window.play(days).orders, world.people.size, LAUNCH, stop)

    invited = sums(joining.days(joining.if_invited))
    control = sums(joining.days(joining.if_control))
    seen = sums(joined)
    never = sums(world.never())
    everyone = sums(joining.days((joining.day < world.people.gone) & (joining.day < HORIZON)))
    in_window = joining.day < stop
    complier = joining.if_invited & ~joining.if_control & in_window
    member = joined < stop
    out = {
        "complier_share": float(complier.mean()),
        "always_taker_share": float((joining.if_control & in_window).mean()),
        "member_share": float(member.mean()),
    }
    for name in OUTCOMES:
        end = "" if name == "spend" else f"_{name}"
        gain = invited[name] - control[name]
        out[f"itt{end}"] = float(gain.mean())
        out[f"effect_per_member{end}"] = _mean(gain[complier])
        out[f"att{end}"] = _mean((seen[name] - never[name])[member])
        out[f"ate{end}"] = float((everyone[name] - never[name]).mean())
        out[f"naive_gap{end}"] = _mean(seen[name][member]) - _mean(seen[name][~member])
        out[f"selection{end}"] = out[f"naive_gap{end}"] - out[f"att{end}"]
    return out


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _future(
    world: World, course: Course, joined: Floats, truth: PointsTruth, days: int = 365
) -> dict[str, float]:
    """Return what the customers are expected to order in the days after the last, given who is left."""
    people = world.people
    left = course.gone >= HORIZON
    member = joined < HORIZON
    hazard = people.hazard * np.where(member, truth.hazard_ratio, 1.0)
    rate = people.rate * np.where(member, 1 + truth.rate_effect, 1.0)
    value = truth.p / people.value_rate * np.where(member, 1 + truth.spend_effect, 1.0)
    orders = np.where(left, rate * -np.expm1(-hazard * days) / hazard, 0.0)
    return {
        "active_share": float(left.mean()),
        f"future_orders_{days}": float(orders.mean()),
        f"future_spend_{days}": float((orders * value).mean()),
    }


def _units_table(
    people: Population,
    arms: NDArray[np.object_],
    strata: NDArray[np.object_],
    member: Bools,
    before: dict[str, Floats],
    after: dict[str, Floats],
) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "unit_id": people.ids,
            "arm": arms,
            "strata": strata,
            "cluster_id": _stores(people),
            "is_member": member,
            "age": people.age.astype(float),
            "region": np.array(REGIONS, dtype=object)[people.region],
            "pre_spend": np.round(before["spend"], 2),
            "pre_orders": before["orders"].astype(np.int64),
            "spend": np.round(after["spend"], 2),
            "orders": after["orders"].astype(np.int64),
            "converted": after["converted"].astype(np.int64),
        }
    )


def _stores(people: Population) -> NDArray[np.object_]:
    return np.array([f"s{i:03d}" for i in range(1, people.store.max() + 2)], dtype=object)[people.store]


def points_tables(
    truth: PointsTruth, customers: int, seed: int
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Return the tables of the shop with the programme, and the truth behind them."""
    if truth.join_control > truth.join_invited:
        raise ArgumentError(
            f"join_control {truth.join_control:g} is above join_invited {truth.join_invited:g}: an invitation "
            "would keep customers from joining"
        )
    effects = Effects(truth.rate_effect, truth.spend_effect, truth.hazard_ratio)
    world = make_world(truth, effects, customers, seed)
    people = world.people
    first = LAUNCH - truth.pre_days
    past = world.between(first, LAUNCH).play(world.never()).orders
    before = window_sums(past, customers, first, LAUNCH)
    joining = draw_joining(world, truth, before["spend"], seed)
    recent = before["orders"] > 0
    invited = draw_arms(people, truth, people.region * 2 + recent, seed)
    joined = joining.days(np.where(invited, joining.if_invited, joining.if_control))
    course = world.play(joined)
    after = window_sums(course.orders, customers, LAUNCH, LAUNCH + truth.window_days)

    regions = np.array(REGIONS, dtype=object)[people.region]
    strata = np.where(recent, regions + " recent", regions + " lapsed")
    if truth.assign_by == "store":
        strata = regions
    arms = np.where(invited, INVITED, CONTROL).astype(object)
    contacts, opened = contacts_table(people, invited, seed)
    tables = {
        "customers": customers_table(people),
        "transactions": transactions_table(people, course.orders),
        "assignments": _assignments_table(people, truth, invited, arms, strata, opened),
        "memberships": memberships_table(people, joined, course.gone, truth, seed),
        "contacts": contacts,
        "points_ledger": ledger_table(people, course.orders, course.member, truth, seed),
        "costs": costs_table(),
        "units": _units_table(people, arms, strata, joined < LAUNCH + truth.window_days, before, after),
    }
    facts = (
        asdict(truth)
        | population_facts(truth)
        | _effects(world, joining, joined, truth)
        | _future(world, course, joined, truth)
    )
    return tables, facts


def points_programme(truth: PointsTruth, *, customers: int, seed: int) -> Dataset:
    """Simulate the shop with the programme."""
    tables, facts = points_tables(truth, customers, seed)
    text = message(
        "Simulated shop that launches a points programme, with members, non-members and invitations drawn "
        "at random; the truth behind it is disclosed."
    )
    return _dataset("points", tables, facts, text)


def _assignments_table(
    people: Population,
    truth: PointsTruth,
    invited: Bools,
    arms: NDArray[np.object_],
    strata: NDArray[np.object_],
    opened: NDArray[np.datetime64],
) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "experiment_id": "invitation",
            "customer_id": people.ids,
            "arm": arms,
            "assigned_at": np.datetime64(FIRST_DAY, "us") + np.timedelta64(LAUNCH * 24 + 6, "h"),
            "exposed_at": opened,
            "strata": strata,
            "cluster_id": _stores(people),
            "assignment_probability": np.where(invited, truth.invited_share, 1 - truth.invited_share),
        }
    )


def no_programme(truth: PopulationTruth, *, customers: int, seed: int) -> Dataset:
    """Simulate the same customers in a shop without a programme."""
    world = make_world(truth, Effects(), customers, seed)
    course = world.play(world.never())
    tables = {
        "customers": customers_table(world.people),
        "transactions": transactions_table(world.people, course.orders),
    }
    facts = asdict(truth) | population_facts(truth) | {"active_share": float((course.gone >= HORIZON).mean())}
    return _dataset(
        "none",
        tables,
        facts,
        message("Simulated shop without a loyalty programme; the truth behind it is disclosed."),
    )


def _dataset(name: str, tables: dict[str, pd.DataFrame], facts: dict[str, Any], text: str) -> Dataset:
    return Dataset.from_frames(
        name,
        # a shop that nobody joins leaves no memberships and no points
        {table: frame for table, frame in tables.items() if len(frame)},
        description=text,
        kind="simulated",
        currency=CURRENCY,
        timezone=ZONE,
        as_of=LAST_DAY,
        calibration_end=FIRST_DAY + dt.timedelta(days=LAUNCH - 1),
        notices=(
            message("Every customer and order is made up; the true parameters are in the dataset's truth."),
        ),
        truth=disclosed(facts),
    )
