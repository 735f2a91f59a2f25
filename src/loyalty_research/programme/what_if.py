"""What if: mechanisms played out on the same simulated customers, under declared assumptions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import stats

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message
from loyalty_research.mechanisms import Mechanism, NoProgramme, Points, StampCard
from loyalty_research.simulate import PopulationTruth, programme_year

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.simulate import ProgrammeYear

__all__ = ["AssumptionTornado", "MechanismComparison", "Scenario", "assumption_tornado", "compare_mechanisms"]

OUTCOMES = ("profit", "retention", "reach", "liability")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A mechanism with what it is assumed to do to those who join.

    The cost of the rewards follows from the rules; how customers respond does not, and is assumed
    here in the open.

    Attributes:
        mechanism: The rules.
        name: Label; by default the kind of the mechanism.
        join_share: Probability that an average customer joins.
        rate_effect: Change of a member's purchase rate, a fraction: 0.05 is 5% more orders.
        spend_effect: Change of a member's order values, a fraction.
        hazard_ratio: Dropout hazard of a member over that of the same person as no member.

    Raises:
        ArgumentError: When an assumption is out of its range.

    Examples:
        >>> Scenario(mechanism=NoProgramme()).label
        'none'
    """

    mechanism: Mechanism
    name: str | None = None
    join_share: float = 0.0
    rate_effect: float = 0.0
    spend_effect: float = 0.0
    hazard_ratio: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.mechanism, Mechanism):
            raise ArgumentError(f"mechanism must be one that mechanism(kind) returns; got {self.mechanism!r}")
        if self.mechanism.needs_partner:
            raise ArgumentError("a coalition needs the sales of its partners, and one shop is simulated here")
        limits = {
            "join_share": (0, 1),
            "rate_effect": (-1, 10),
            "spend_effect": (-1, 10),
            "hazard_ratio": (0.01, 100),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ArgumentError(f"{name} must be a number in [{low:g}, {high:g}]; got {value!r}")

    @property
    def label(self) -> str:
        """Name in tables."""
        return self.mechanism.kind if self.name is None else self.name


@dataclass(frozen=True, repr=False)
class MechanismComparison(Result):
    """Result of :func:`compare_mechanisms`.

    Attributes:
        rows: Outcomes by scenario, then their differences from the first one.
        reference: Label of the first scenario.
        runs: One row per seed and scenario: ``seed``, ``scenario`` and the outcomes.
    """

    title: ClassVar[str] = "Mechanisms compared"

    rows: tuple[Row, ...]
    reference: str
    runs: pd.DataFrame

    def _rows(self) -> Iterable[Row]:
        return self.rows

    def difference(self, scenario: str, *, outcome: str = "profit") -> Estimate:
        """Return the difference of a scenario from the reference.

        Args:
            scenario: Label.
            outcome: ``"profit"``, ``"retention"``, ``"reach"`` or ``"liability"``.

        Raises:
            ArgumentError: When there is no such difference.
        """
        for row in self.rows:
            if row.metric == outcome and row.group == scenario and row.estimand is not None:
                return row.estimate
        raise ArgumentError(f"no difference in {outcome!r} is known for {scenario!r}")

    def _verdict(self) -> str:
        gains = [r for r in self.rows if r.metric == "profit" and r.estimand is not None]
        best = max(gains, key=lambda r: r.estimate.value)
        fields = {
            "name": best.group,
            "gain": best.estimate.format(signed=True),
            "interval": best.estimate.interval(signed=True),
            "reference": self.reference,
        }
        if best.estimate.low > 0:
            text = message(
                "Under these assumptions {name} comes out highest: {gain} per customer and year against "
                "{reference} ({interval}).",
                **fields,
            )
        elif all(row.estimate.high < 0 for row in gains):
            text = message(
                "Under these assumptions every mechanism earns less than {reference}; the nearest is {name} with "
                "{gain} per customer and year ({interval}).",
                **fields,
            )
        else:
            text = message(
                "Under these assumptions no mechanism is shown to earn more than {reference}; {name} comes to {gain} "
                "per customer and year ({interval}).",
                **fields,
            )
        return text + " " + message("The interval is that of the simulation, not of the assumptions.")


@dataclass(frozen=True, repr=False)
class AssumptionTornado(Result):
    """Result of :func:`assumption_tornado`.

    Attributes:
        rows: Gain in profit at the low and the high end of each assumption, widest swing first.
        scenario: Label of the scenario.
    """

    title: ClassVar[str] = "What the gain hangs on"

    rows: tuple[Row, ...]
    scenario: str

    def _rows(self) -> Iterable[Row]:
        return self.rows

    def _verdict(self) -> str:
        low, high = (row.estimate for row in self.rows[:2])
        return message(
            "The gain of {name} hangs most on {assumption}: {low} per customer and year at one end, {high} at the "
            "other.",
            name=self.scenario,
            assumption=self.rows[0].metric,
            low=low.format(signed=True),
            high=high.format(signed=True),
        )


def compare_mechanisms(
    scenarios: Sequence[Scenario],
    *,
    population: PopulationTruth | None = None,
    seeds: Sequence[int],
    margin: float,
    customers: int = 1000,
    level: float = 0.95,
) -> MechanismComparison:
    """Play mechanisms out on the same simulated customers and compare what they bring.

    Every seed is one shop of customers who differ in how often they buy, how long they stay and
    whether they join; all scenarios meet the same people (common random numbers). A year is
    played from the launch. Rewards that fall due are all taken.

    Args:
        scenarios: Two or more, the reference first, such as ``Scenario(mechanism=NoProgramme())``.
        population: Parameters of the customers; the defaults of ``PopulationTruth`` when None.
        seeds: Two or more different whole numbers.
        margin: Margin before rewards, a fraction of spend.
        customers: Customers per shop, of whom some have left by the launch.
        level: Coverage of the intervals.

    Returns:
        Per scenario, and as difference from the first: profit per customer (margin on all sales
        less rewards, plus fees), retention (still active after the year), reach (joined) and
        liability per customer (worth of points or stamps still open). Means over seeds with
        Student's t intervals, paired for differences.

    Raises:
        ArgumentError: When scenarios, seeds or an option cannot be used.

    References:
        Law (2015), Simulation Modeling and Analysis, section 11.2 (common random numbers).

    Examples:
        >>> from loyalty_research.mechanisms import Points
        >>> card = Points(reward_points=50, reward_value=5)
        >>> found = compare_mechanisms(
        ...     [Scenario(mechanism=NoProgramme()), Scenario(mechanism=card, join_share=0.5)],
        ...     seeds=[1, 2, 3], margin=0.3, customers=200)
        >>> found.difference("points").high < 0  # rewards for what they would have bought anyway
        True
    """
    import pandas as pd

    check_level(level)
    shops = PopulationTruth() if population is None else population
    _check(scenarios, shops, seeds, margin, customers)
    records = [
        {"seed": int(seed), "scenario": s.label, **_outcomes(s, shops, seed, margin, customers)}
        for seed in seeds
        for s in scenarios
    ]
    runs = pd.DataFrame(records)
    by = {s.label: runs[runs["scenario"] == s.label].reset_index(drop=True) for s in scenarios}
    first = scenarios[0].label
    rows, blind = [], []
    for outcome in OUTCOMES:
        for label, part in by.items():
            if part[outcome].isna().any():
                blind.append(label)
                continue
            rows.append(Row(outcome, _mean(part[outcome].to_numpy(), outcome, level), group=label))
    for outcome in OUTCOMES:
        for label, part in by.items():
            gap = (part[outcome] - by[first][outcome]).to_numpy()
            if label != first and not np.isnan(gap).any():
                estimand = f"difference from {first}, same customers"
                rows.append(Row(outcome, _mean(gap, outcome, level), group=label, estimand=estimand))
    return MechanismComparison(tuple(rows), first, runs, checks=_checks(blind))


def assumption_tornado(
    scenario: Scenario,
    *,
    swings: Mapping[str, tuple[float, float]],
    seeds: Sequence[int],
    margin: float,
    population: PopulationTruth | None = None,
    customers: int = 1000,
    level: float = 0.95,
) -> AssumptionTornado:
    """Return how the gain in profit over no programme moves with each assumption alone.

    Args:
        scenario: The mechanism with its assumptions in the middle.
        swings: Assumption to its low and high value: ``join_share``, ``rate_effect``,
            ``spend_effect`` or ``hazard_ratio``.
        seeds: As for :func:`compare_mechanisms`.
        margin: Margin before rewards, a fraction of spend.
        population: Parameters of the customers.
        customers: Customers per shop.
        level: Coverage of the intervals.

    Returns:
        Two rows per assumption, widest swing first.

    Raises:
        ArgumentError: When an assumption is unknown or out of its range.
    """
    known = ("join_share", "rate_effect", "spend_effect", "hazard_ratio")
    strange = [name for name in swings if name not in known]
    if strange or not swings:
        raise ArgumentError(f"swings must name some of {', '.join(known)}; got {', '.join(swings) or 'none'}")
    ends = {(name, i): (swings[name][i]) for name in swings for i in (0, 1)}
    moved: list[Scenario] = []
    for (name, i), value in ends.items():
        change: dict[str, Any] = {name: value, "name": f"{name}/{i}"}
        moved.append(replace(scenario, **change))
    found = compare_mechanisms(
        [Scenario(mechanism=NoProgramme()), *moved],
        population=population,
        seeds=seeds,
        margin=margin,
        customers=customers,
        level=level,
    )
    pairs = {name: [found.difference(f"{name}/{i}") for i in (0, 1)] for name in swings}
    order = sorted(pairs, key=lambda name: -abs(pairs[name][1].value - pairs[name][0].value))
    rows = tuple(
        Row(name, pairs[name][i], group=("low", "high")[i], extra={"assumed": ends[name, i]})
        for name in order
        for i in (0, 1)
    )
    return AssumptionTornado(rows, scenario.label)


def _check(
    scenarios: Sequence[Scenario],
    population: PopulationTruth,
    seeds: Sequence[int],
    margin: float,
    customers: int,
) -> None:
    if len(scenarios) < 2 or not all(isinstance(s, Scenario) for s in scenarios):
        raise ArgumentError("scenarios must be two or more of Scenario, the reference first")
    labels = [s.label for s in scenarios]
    if len(set(labels)) < len(labels):
        raise ArgumentError(f"scenarios need different names; got {', '.join(labels)}")
    if not isinstance(population, PopulationTruth):
        raise ArgumentError(f"population must be a PopulationTruth; got {population!r}")
    good = all(isinstance(s, (int, np.integer)) and not isinstance(s, bool) and s >= 0 for s in seeds)
    if not good or len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise ArgumentError(f"seeds must be two or more different whole numbers from 0; got {list(seeds)!r}")
    if not 0 <= margin <= 1:
        raise ArgumentError(f"margin must be a fraction in [0, 1]; got {margin!r}")
    if isinstance(customers, bool) or not isinstance(customers, int) or customers < 20:
        raise ArgumentError(f"customers must be a whole number, at least 20; got {customers!r}")


def _outcomes(
    scenario: Scenario, population: PopulationTruth, seed: int, margin: float, customers: int
) -> dict[str, float]:
    year = programme_year(
        population,
        customers=customers,
        seed=int(seed),
        join_share=scenario.join_share,
        rate_effect=scenario.rate_effect,
        spend_effect=scenario.spend_effect,
        hazard_ratio=scenario.hazard_ratio,
    )
    cost, owed = _rewards(scenario.mechanism, year)
    return {
        "profit": (margin * year.spend - cost) / year.customers,
        "retention": year.active / year.customers,
        "reach": year.members / year.customers,
        "liability": owed / year.customers,
    }


def _rewards(rules: Mechanism, year: ProgrammeYear) -> tuple[float, float]:
    """Return the cost of rewards taken and the worth of what is still open (NaN: not known)."""
    if isinstance(rules, NoProgramme) or not year.members:
        return 0.0, 0.0
    cost = value = units = 0.0
    if len(year.member_orders):
        earned = rules.earn(year.member_orders)
        cost, value, units = (float(earned[c].sum()) for c in ("cost", "value", "earned"))
    if isinstance(rules, Points) and rules.expiry_days is None and rules.reward_value is not None:
        issued = units + rules.welcome_points * year.members
        return cost, issued / rules.reward_points * rules.reward_value - value
    if isinstance(rules, StampCard) and rules.expiry_days is None and rules.reward_value is not None:
        return cost, units / rules.paid_visits * rules.reward_value - value
    return cost, math.nan


def _mean(values: NDArray[np.float64], outcome: str, level: float) -> Estimate:
    n = len(values)
    half = float(stats.t.isf((1 - level) / 2, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    middle = float(values.mean())
    unit = "fraction" if outcome in ("retention", "reach") else None
    return Estimate(middle, middle - half, middle + half, level=level, method="t over seeds", n=n, unit=unit)


def _checks(blind: Sequence[str]) -> tuple[Check, ...]:
    assumed = Check(
        message("Responses are assumed"),
        "warning",
        message("how customers respond to each mechanism is an input here, not a finding"),
    )
    if not blind:
        return (assumed,)
    why = message(
        "{names}: what is still open follows only from points and stamps that do not lapse",
        names=", ".join(blind),
    )
    return (assumed, Check(message("Liability"), "not measurable", why))
