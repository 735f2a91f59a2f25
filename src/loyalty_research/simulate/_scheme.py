"""What every programme with members leaves behind, and the truth of what membership did."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from loyalty_research.data import Dataset
from loyalty_research.i18n import message
from loyalty_research.simulate._keys import constant, labelled
from loyalty_research.simulate._members import (
    MemberTruth,
    draw_arms,
    draw_joining,
    window_sums,
)
from loyalty_research.simulate._population import (
    CURRENCY,
    FIRST_DAY,
    LAUNCH,
    REGIONS,
    ZONE,
    customers_table,
    population_facts,
    transactions_table,
)
from loyalty_research.simulate._programme_tables import contacts_table, memberships_table
from loyalty_research.simulate._service import carts_table, referrals_table, tickets_table
from loyalty_research.simulate._surveys import surveys_table
from loyalty_research.simulate._truth import disclosed
from loyalty_research.simulate._world import Course, make_world

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.mechanisms import Mechanism
    from loyalty_research.simulate._members import Joining
    from loyalty_research.simulate._population import Bools, Floats, Population, Text
    from loyalty_research.simulate._world import World

__all__ = ["Scheme", "Shop", "make_dataset"]

CONTROL, INVITED = "control", "invited"
OUTCOMES = ("spend", "orders", "converted")

AROUND = {
    "surveys": surveys_table,
    "tickets": tickets_table,
    "referrals": referrals_table,
    "carts": carts_table,
}

T = TypeVar("T", bound=MemberTruth)
C = TypeVar("C", bound=Course)


@dataclass(frozen=True)
class Shop(Generic[C]):
    """What happened in the shop; arrays have one entry per customer.

    Attributes:
        world: The people and the orders they could place.
        joining: Who would join in either arm, and when.
        invited: Who was invited.
        recent: Who ordered in the pre-period.
        joined: Day of joining, infinite for those who did not.
        course: What they did.
        before: Spend, orders and whether there was any in the pre-period.
        after: The same in the outcome window.
    """

    world: World
    joining: Joining
    invited: Bools
    recent: Bools
    joined: Floats
    course: C
    before: dict[str, Floats]
    after: dict[str, Floats]

    @property
    def people(self) -> Population:
        """The customers."""
        return self.world.people


class Scheme(Generic[T, C]):
    """A kind of programme: its parameters and rules, and how customers respond to it.

    A subclass says what membership does to the course of events, which tables it adds and which
    truths follow; all else is shared.

    Attributes:
        truth: Parameters.
        rules: Rules of the mechanism.
        customers: How many there are.
        seed: Seed of the random numbers.
    """

    kind: ClassVar[str]
    figures: ClassVar[tuple[str, ...]] = ()  # parameters that the rules fix where they are given
    steady: ClassVar[bool] = True  # what membership changes is the same at all times

    def __init__(self, truth: T, rules: Mechanism, customers: int, seed: int) -> None:
        truth.check()
        self.truth, self.rules, self.customers, self.seed = truth, rules, customers, seed

    @classmethod
    def default_rules(cls, truth: T) -> Mechanism:
        """Return the rules of the kind where none are given."""
        raise TypeError(f"{cls.__name__} has no rules for {truth}")

    def description(self) -> str:
        """Return one sentence that says what the data are."""
        raise TypeError(f"{type(self).__name__} says nothing of itself")

    def top(self) -> float | None:
        """Return the most that a member's rate rises at any time; None: the effect on the rate."""
        return None

    def course(self, joined: Floats, stop: int, *, start: int = 0) -> C:
        """Play out days [start, stop) when customers join on the days ``joined``."""
        raise TypeError(f"{type(self).__name__} has no course of days {start} to {stop} for {len(joined)}")

    def reasons(self) -> Floats | float:
        """Return what the kind adds to each customer's log odds of joining."""
        return 0.0

    def leaves(self, shop: Shop[C]) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
        """Return tables of the kind, some in the place of the shared ones, and truths of the kind."""
        del shop
        return {}, {}

    def order_columns(self, shop: Shop[C]) -> dict[str, Any]:
        """Return further columns of orders, a value per order of the course."""
        del shop
        return {}

    @cached_property
    def world(self) -> World:
        """The people and the orders they could place."""
        truth = self.truth
        return make_world(truth, truth.effects, self.customers, self.seed, years=truth.years, top=self.top())

    def sums(self, joined: Floats, start: int, stop: int) -> dict[str, Floats]:
        """Return outcomes per customer of days [start, stop)."""
        if self.steady:
            spend, count = self.world.between(start, stop).tally(joined)
            return {"spend": spend, "orders": count, "converted": (count > 0).astype(float)}
        return window_sums(self.course(joined, stop, start=start).orders, self.customers, start, stop)

    def open(self) -> Shop[C]:
        """Let customers join and buy to the last day."""
        truth, world, seed = self.truth, self.world, self.seed
        first = LAUNCH - truth.pre_days
        before = self.sums(world.never(), first, LAUNCH)
        joining = draw_joining(world, truth, before["spend"], seed, self.reasons())
        recent = before["orders"] > 0
        invited = draw_arms(world.people, truth, world.people.region * 2 + recent, seed)
        joined = joining.days(np.where(invited, joining.if_invited, joining.if_control))
        course = self.course(joined, world.horizon)
        after = window_sums(course.orders, self.customers, LAUNCH, LAUNCH + truth.window_days)
        return Shop(world, joining, invited, recent, joined, course, before, after)

    def build(self) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
        """Return the tables of the shop with the programme, and the truth behind them."""
        shop, truth = self.open(), self.truth
        own, known = self.leaves(shop)
        shared = _shared_tables(self, shop)
        if "assignments" in own:
            own["assignments"] = _both(shared["assignments"], own["assignments"])
        tables, known = shared | own, dict(known)
        for name, make in AROUND.items():
            tables[name], more = make(shop, truth, self.seed)
            known |= more
        facts = asdict(truth) | population_facts(truth) | self._effects(shop)
        facts["active_share"] = float((shop.course.gone >= shop.world.horizon).mean())
        if self.steady:
            facts |= _future(shop, truth)
        return tables, facts | _stated(self.rules) | known

    def _effects(self, shop: Shop[C]) -> dict[str, float]:
        """Return the true effects on the people at hand, from the courses they did not take as well."""
        truth, joining, joined = self.truth, shop.joining, shop.joined
        stop = LAUNCH + truth.window_days
        never_days = shop.world.never()
        invited = self.sums(joining.days(joining.if_invited), LAUNCH, stop)
        control = self.sums(joining.days(joining.if_control), LAUNCH, stop)
        never = self.sums(never_days, LAUNCH, stop)
        could = (joining.day < shop.people.gone) & (joining.day < shop.world.horizon)
        everyone = self.sums(joining.days(could), LAUNCH, stop)
        seen = shop.after
        complier = joining.if_invited & ~joining.if_control & (joining.day < stop)
        member = joined < stop
        out = {
            "complier_share": float(complier.mean()),
            "always_taker_share": float((joining.if_control & (joining.day < stop)).mean()),
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
        out["naive_ratio"] = _over(_mean(seen["spend"][member]), _mean(seen["spend"][~member]))
        out["true_ratio"] = _over(float(seen["spend"][member].sum()), float(never["spend"][member].sum()))
        stays = (shop.course.gone >= shop.world.horizon).astype(float) - (
            shop.people.gone >= shop.world.horizon
        )
        out["att_active"] = _mean(stays[joined < shop.world.horizon])
        return out


def _both(shared: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Return the invitation and an experiment of the kind in one table."""
    import pandas as pd

    if not len(own):
        return shared
    words = dict.fromkeys(("experiment_id", "customer_id", "arm", "strata", "cluster_id"), object)
    own = own.reindex(columns=shared.columns)
    return pd.concat([shared.astype(words), own.astype(words)], ignore_index=True)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _over(top: float, bottom: float) -> float:
    return top / bottom if bottom else float("nan")


def _stated(rules: Mechanism) -> dict[str, Any]:
    """Return the rules that hold, in words and figures."""
    figures = {
        name: dict(value) if isinstance(value, dict) else list(value) if isinstance(value, tuple) else value
        for name, value in rules.rules().items()
        if value is None or isinstance(value, (bool, int, float, str, tuple, dict))
    }
    return {"mechanism": rules.sentence(), "rules": figures}


def _future(shop: Shop[Any], truth: MemberTruth, days: int = 365) -> dict[str, float]:
    """Return what the customers are expected to order in the days after the last, given who is left."""
    people, effects, last = shop.people, shop.world.effects, shop.world.horizon
    left = shop.course.gone >= last
    member = shop.joined < last
    hazard = people.hazard * np.where(member, effects.hazard_ratio, 1.0)
    rate = people.rate * np.where(member, 1 + effects.rate, 1.0)
    value = truth.p / people.value_rate * np.where(member, 1 + effects.spend, 1.0)
    orders = np.where(left, rate * -np.expm1(-hazard * days) / hazard, 0.0)
    return {
        f"future_orders_{days}": float(orders.mean()),
        f"future_spend_{days}": float((orders * value).mean()),
    }


def _shared_tables(scheme: Scheme[Any, Any], shop: Shop[Any]) -> dict[str, pd.DataFrame]:
    truth, people = scheme.truth, shop.people
    strata = _strata(shop, by_store=truth.assign_by == "store")
    arms = labelled(shop.invited.astype(np.int32), [CONTROL, INVITED])
    contacts, opened = contacts_table(people, shop.invited, scheme.seed)
    return {
        "customers": customers_table(people),
        "transactions": transactions_table(people, shop.course.orders, **scheme.order_columns(shop)),
        "assignments": _assignments_table(shop, truth, arms, strata, opened),
        "memberships": memberships_table(shop, truth, scheme.kind, scheme.seed),
        "contacts": contacts,
        "units": _units_table(shop, arms, strata, LAUNCH + truth.window_days),
    }


def _strata(shop: Shop[Any], *, by_store: bool) -> Text:
    """Return the strata of the draw: region, and whether there was an order in the pre-period."""
    if by_store:
        return labelled(shop.people.region, REGIONS)
    names = [f"{region} {state}" for region in REGIONS for state in ("lapsed", "recent")]
    return labelled(shop.people.region * 2 + shop.recent, names)


def _units_table(shop: Shop[Any], arms: Text, strata: Text, stop: int) -> pd.DataFrame:
    import pandas as pd

    people, before, after = shop.people, shop.before, shop.after
    return pd.DataFrame(
        {
            "unit_id": people.ids,
            "arm": arms,
            "strata": strata,
            "cluster_id": people.stores(),
            "is_member": shop.joined < stop,
            "age": people.age.astype(float),
            "region": labelled(people.region, REGIONS),
            "pre_spend": np.round(before["spend"], 2),
            "pre_orders": before["orders"].astype(np.int64),
            "spend": np.round(after["spend"], 2),
            "orders": after["orders"].astype(np.int64),
            "converted": after["converted"].astype(np.int64),
        }
    )


def _assignments_table(
    shop: Shop[Any],
    truth: MemberTruth,
    arms: Text,
    strata: Text,
    opened: NDArray[np.datetime64],
) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "experiment_id": constant("invitation", shop.people.size),
            "customer_id": shop.people.ids,
            "arm": arms,
            "assigned_at": np.datetime64(FIRST_DAY, "us") + np.timedelta64(LAUNCH * 24 + 6, "h"),
            "exposed_at": opened,
            "strata": strata,
            "cluster_id": shop.people.stores(),
            "assignment_probability": np.where(shop.invited, truth.invited_share, 1 - truth.invited_share),
        }
    )


def make_dataset(
    name: str, tables: dict[str, pd.DataFrame], facts: dict[str, Any], text: str, *, last: int
) -> Dataset:
    """Return the dataset of a shop up to the day before ``last``."""
    return Dataset.from_frames(
        name,
        # a shop that nobody joins leaves no memberships and no points
        {table: frame for table, frame in tables.items() if len(frame)},
        description=text,
        kind="simulated",
        currency=CURRENCY,
        timezone=ZONE,
        as_of=FIRST_DAY + dt.timedelta(days=last - 1),
        calibration_end=FIRST_DAY + dt.timedelta(days=LAUNCH - 1),
        notices=(
            message("Every customer and order is made up; the true parameters are in the dataset's truth."),
        ),
        truth=disclosed(facts),
    )
