"""What if: mechanisms played out on the same simulated customers, under declared assumptions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import stats

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages, number, percent
from loyalty_research.mechanisms import Coalition, Mechanism, NoProgramme
from loyalty_research.programme.scenarios import Scenario, assumed_scenario, play_year
from loyalty_research.simulate import read_population

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.simulate import PopulationTruth

    Floats = NDArray[np.float64]

__all__ = [
    "MARGIN",
    "MechanismComparison",
    "check_shop",
    "compare_mechanisms",
    "mean_over_seeds",
    "read_seeds",
    "seeds_needed",
]

OUTCOMES = ("profit", "retention", "reach", "liability")
MARGIN = 0.3
MOST_SEEDS = 100_000


@dataclass(frozen=True, repr=False)
class MechanismComparison(Result):
    """Result of :func:`compare_mechanisms`.

    Attributes:
        rows: Outcomes by scenario, then their differences from the reference.
        reference: Label of the scenario that the others are held against.
        runs: One row per seed and scenario: ``seed``, ``scenario``, the outcomes, and what profit is
            made of (``spend``, ``rewards``, ``fees``, ``running``), money per customer.
        scenarios: What was compared, with every assumption.
        margin: Margin before rewards.
        level: Coverage of the intervals.
    """

    title: ClassVar[str] = "Mechanisms compared"

    rows: tuple[Row, ...]
    reference: str
    runs: pd.DataFrame
    scenarios: tuple[Scenario, ...]
    margin: float
    level: float

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

    @property
    def assumptions(self) -> pd.DataFrame:
        """What was assumed: one row per scenario, one column per assumption, and where they are from."""
        import pandas as pd

        records = [
            {
                "scenario": s.label,
                **s.assumptions,
                "responses": message("convention") if s.assumed else message("stated"),
            }
            for s in self.scenarios
        ]
        return pd.DataFrame(records)

    @property
    def profits(self) -> pd.DataFrame:
        """Profit per customer: one row per seed, one column per scenario, in their order."""
        wide = self.runs.pivot_table(index="seed", columns="scenario", values="profit", sort=False)
        return wide[[s.label for s in self.scenarios]]

    @property
    def ranking(self) -> tuple[str, ...]:
        """Labels, the highest mean profit first."""
        means = self.profits.mean()
        return tuple(str(label) for label in means.sort_values(ascending=False, kind="stable").index)

    @property
    def best_is_clear(self) -> bool:
        """Whether the highest profit is told apart from every other (Bonferroni over the others)."""
        return all(gap.low > 0 for gap in _gaps_to_best(self.profits, self.ranking, self.level))

    def ahead(self, scenario: str) -> Estimate:
        """Return the share of simulated shops in which a scenario earns more than the reference.

        Args:
            scenario: Label.

        Returns:
            A share with its Wilson interval. Where the mean says what to expect, this says how often
            a shop of this size would see it.

        Raises:
            ArgumentError: When there is no such scenario.
        """
        from loyalty_research.stats.proportions import proportion

        wide = self.profits
        if scenario not in wide:
            raise ArgumentError(f"there is no scenario {scenario!r}; there is {', '.join(wide.columns)}")
        won = int((wide[scenario] > wide[self.reference]).sum())
        return proportion(won, len(wide), level=self.level)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw each scenario's gain in profit over the reference, with its interval.

        Args:
            ax: Axes to draw on; new ones when None.
        """
        from loyalty_research.plots.comparison import forest

        gains = [r for r in self.rows if r.metric == "profit" and r.estimand is not None]
        gains.sort(key=lambda r: -r.estimate.value)
        return forest(
            [str(r.group) for r in gains],
            [r.estimate.value for r in gains],
            [r.estimate.low for r in gains],
            [r.estimate.high for r in gains],
            annotations=[r.estimate.format(signed=True) for r in gains],
            xlabel=message("profit per customer and year against {reference}", reference=self._against),
            title=message("What each mechanism would add"),
            ax=ax,
        )

    @property
    def _against(self) -> str:
        """The reference in words."""
        bare = next(s for s in self.scenarios if s.label == self.reference)
        unnamed = isinstance(bare.mechanism, NoProgramme) and self.reference == bare.mechanism.kind
        return message("no programme") if unnamed else self.reference

    def _verdict(self) -> str:
        gains = [r for r in self.rows if r.metric == "profit" and r.estimand is not None]
        best = max(gains, key=lambda r: r.estimate.value)
        fields = {
            "name": best.group,
            "gain": best.estimate.format(signed=True),
            "interval": best.estimate.interval(signed=True),
            "reference": self._against,
        }
        if best.estimate.low > 0 and self.best_is_clear:
            text = message(
                "Under these assumptions {name} comes out highest: {gain} per customer and year against "
                "{reference} ({interval}).",
                **fields,
            )
        elif best.estimate.low > 0:
            text = message(
                "Under these assumptions {name} earns more than {reference}, {gain} per customer and year "
                "({interval}), but these simulations do not tell it apart from the next.",
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


def compare_mechanisms(
    mechanisms: Sequence[Mechanism | Scenario] | Mapping[str, Mechanism | Scenario],
    *,
    population: PopulationTruth | Mapping[str, Any] | None = None,
    seeds: Sequence[int] | int = 20,
    margin: float = MARGIN,
    customers: int = 1000,
    reference: str | None = None,
    currency: str | None = None,
    level: float = 0.95,
) -> MechanismComparison:
    """Play mechanisms out on the same simulated customers and compare what they bring.

    Every seed is one shop of customers who differ in how often they buy, how long they stay,
    whether they join (frequent buyers sooner) and how they respond; all scenarios meet the same
    people (common random numbers). A year is played from the launch.

    Args:
        mechanisms: What to compare: mechanisms, whose responses are then those of
            :func:`assumed_scenario`, or scenarios with responses of your own; as a sequence, or by
            label. Where there is no programme of the kind ``"none"`` among them and ``reference``
            is None, it is put first.
        population: Parameters of the customers, as a ``PopulationTruth`` or by name; its defaults
            when None.
        seeds: Different whole numbers, two or more, or how many (then 0, 1, ...).
        margin: Margin before rewards, a fraction of spend; 0.3 is a convention, state your own.
        customers: Customers per shop, of whom some have left by the launch.
        reference: Label of the scenario that the others are held against; by default the one
            without a programme.
        currency: ISO 4217 code of the money, for display.
        level: Coverage of the intervals.

    Returns:
        Per scenario, and as difference from the reference: profit per customer (margin on all sales
        less rewards taken and running costs, plus fees), retention (still active after the year),
        reach (joined) and liability per customer (worth of what is promised and still open; of a
        coalition it is owed by its pool). Means over seeds with Student's t intervals, paired for
        differences. A check says whether the seeds suffice to tell the best two apart, and about
        how many would.

    Raises:
        ArgumentError: When mechanisms, seeds or an option cannot be used, or rules lack a figure.

    Notes:
        Measured over 2,000 sets of 10 seeds with shops of 60 customers, 95% intervals of differences
        held the mean over all seeds in 95.4% (profit), 93.6% (retention, where such shops often do
        not differ at all), 94.9% (reach) and 95.0% (liability) of sets.

    References:
        Law (2015), Simulation Modeling and Analysis, sections 9.4 and 10.2 (comparison of systems by
        paired replications), 11.2 (common random numbers).

    Examples:
        >>> from loyalty_research.mechanisms import Points
        >>> card = Points(reward_points=50, reward_value=5)
        >>> found = compare_mechanisms([card], seeds=3, customers=200)
        >>> found.reference, found.difference("points").high < 0  # mostly for what they bought anyway
        ('none', True)
    """
    import pandas as pd

    check_level(level)
    shops = read_population(population)
    order = read_seeds(seeds)
    check_shop(margin, customers)
    scenarios, first = _read_scenarios(mechanisms, shops, reference)
    records = [
        {
            "seed": seed,
            "scenario": s.label,
            **play_year(s, shops, customers=customers, seed=seed).outcomes(margin),
        }
        for seed in order
        for s in scenarios
    ]
    runs = pd.DataFrame(records)
    by = {s.label: runs[runs["scenario"] == s.label].reset_index(drop=True) for s in scenarios}
    rows = [
        Row(
            outcome,
            mean_over_seeds(part[outcome].to_numpy(), level, unit=_unit(outcome, currency)),
            group=label,
        )
        for outcome in OUTCOMES
        for label, part in by.items()
    ]
    estimand = f"difference from {first}, same customers"
    rows += [
        Row(
            outcome,
            mean_over_seeds(
                (part[outcome] - by[first][outcome]).to_numpy(),
                level,
                unit=_unit(outcome, currency),
                paired=True,
            ),
            group=label,
            estimand=estimand,
        )
        for outcome in OUTCOMES
        for label, part in by.items()
        if label != first
    ]
    found = MechanismComparison(tuple(rows), first, runs, scenarios, margin, level)
    return replace(found, checks=_checks(found))


def _read_scenarios(
    mechanisms: Sequence[Mechanism | Scenario] | Mapping[str, Mechanism | Scenario],
    population: PopulationTruth,
    reference: str | None,
) -> tuple[tuple[Scenario, ...], str]:
    """Return scenarios with different labels, and the label of the reference."""
    if isinstance(mechanisms, (str, bytes, Mechanism, Scenario)) or not hasattr(mechanisms, "__iter__"):
        raise ArgumentError(f"mechanisms must be a sequence or a mapping of them; got {mechanisms!r}")
    named: list[tuple[str | None, Mechanism | Scenario]] = (
        list(mechanisms.items()) if isinstance(mechanisms, Mapping) else [(None, m) for m in mechanisms]
    )
    strange = [type(m).__name__ for _, m in named if not isinstance(m, (Mechanism, Scenario))]
    if strange or not named:
        raise ArgumentError(
            "mechanisms must be what mechanism(kind) or preset(name) returns, or Scenario; got "
            f"{', '.join(strange) or 'none'}"
        )
    rules = [m.mechanism if isinstance(m, Scenario) else m for _, m in named]
    if reference is None and not any(isinstance(r, NoProgramme) for r in rules):
        named = [(None, NoProgramme()), *named]
    plain = _labels([(name, m) for name, m in named if isinstance(m, Mechanism)])
    scenarios = tuple(
        (replace(m, name=name) if name is not None else m)
        if isinstance(m, Scenario)
        else assumed_scenario(m, population=population, name=plain.pop(0))
        for name, m in named
    )
    labels = [s.label for s in scenarios]
    if len(labels) < 2:
        raise ArgumentError("two or more scenarios are needed, the reference among them")
    if len(set(labels)) < len(labels):
        raise ArgumentError(f"scenarios need different names; got {', '.join(labels)}")
    if reference is None:
        reference = next(s.label for s in scenarios if isinstance(s.mechanism, NoProgramme))
    if reference not in labels:
        raise ArgumentError(f"reference must be one of {', '.join(labels)}; got {reference!r}")
    return scenarios, reference


def _labels(named: list[tuple[str | None, Mechanism]]) -> list[str | None]:
    """Name mechanisms by their kind, numbered where there are several of one."""
    kinds = [m.kind for name, m in named if name is None]
    seen: dict[str, int] = {}
    out: list[str | None] = []
    for name, rules in named:
        if name is None and kinds.count(rules.kind) > 1:
            seen[rules.kind] = seen.get(rules.kind, 0) + 1
            out.append(f"{rules.kind} {seen[rules.kind]}")
        else:
            out.append(name)
    return out


def read_seeds(seeds: Sequence[int] | int) -> tuple[int, ...]:
    """Return seeds as whole numbers; a number of seeds gives 0, 1, ...

    Raises:
        ArgumentError: When there are fewer than two different seeds.
    """
    if isinstance(seeds, (int, np.integer)) and not isinstance(seeds, bool):
        seeds = range(int(seeds))
    if isinstance(seeds, (str, bytes, bool)) or not hasattr(seeds, "__iter__"):
        raise ArgumentError(f"seeds must be whole numbers, or how many; got {seeds!r}")
    listed = list(seeds)
    good = all(isinstance(s, (int, np.integer)) and not isinstance(s, bool) and s >= 0 for s in listed)
    if not good or len(listed) < 2 or len(set(listed)) < len(listed):
        raise ArgumentError(
            f"seeds must be two or more different whole numbers from 0, or how many; got {listed!r}"
        )
    return tuple(int(s) for s in listed)


def check_shop(margin: float, customers: int) -> None:
    """Refuse a margin that is no fraction and a shop of fewer than 20 customers."""
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0 <= margin <= 1:
        raise ArgumentError(f"margin must be a fraction in [0, 1]; got {margin!r}")
    if isinstance(customers, bool) or not isinstance(customers, int) or customers < 20:
        raise ArgumentError(f"customers must be a whole number, at least 20; got {customers!r}")


def _unit(outcome: str, currency: str | None) -> str | None:
    return "fraction" if outcome in ("retention", "reach") else currency


def mean_over_seeds(
    values: Floats, level: float, *, unit: str | None = None, paired: bool = False
) -> Estimate:
    """Return the mean over simulations with its Student t interval.

    Args:
        values: One value, or one difference, per seed, two or more.
        level: Coverage of the interval.
        unit: Unit of the values.
        paired: Whether they are differences between the same customers.
    """
    n = len(values)
    half = float(stats.t.isf((1 - level) / 2, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    middle = float(values.mean())
    method = "t over seeds, paired" if paired else "t over seeds"
    return Estimate(middle, middle - half, middle + half, level=level, method=method, n=n, unit=unit)


def _gaps_to_best(wide: pd.DataFrame, ranking: Sequence[str], level: float) -> list[Estimate]:
    """Return how far the best is ahead of each other scenario, at a level shared among them."""
    best, *others = ranking
    shared = 1 - (1 - level) / len(others)
    return [mean_over_seeds((wide[best] - wide[o]).to_numpy(), shared, paired=True) for o in others]


def seeds_needed(gaps: Floats, level: float) -> int | None:
    """Return about how many seeds tell a mean difference like this one from 0; None: too many to say.

    Args:
        gaps: Differences, one per seed.
        level: Coverage of the interval that must leave 0 out.

    Examples:
        >>> seeds_needed(np.array([1.0, 3.0]), 0.95)
        5
    """
    middle, spread = abs(float(gaps.mean())), float(gaps.std(ddof=1))
    low, high = 2, MOST_SEEDS

    def apart(n: int) -> bool:
        return float(stats.t.isf((1 - level) / 2, n - 1)) * spread / math.sqrt(n) < middle

    if not apart(high):
        return None
    while low < high:
        mid = (low + high) // 2
        low, high = (low, mid) if apart(mid) else (mid + 1, high)
    return low


def _checks(found: MechanismComparison) -> tuple[Check, ...]:
    names = "; ".join(_convention(s) for s in found.scenarios if s.assumed and s.mechanism.kind != "none")
    detail = message(
        "how customers respond to each mechanism is an input here, not a finding; so is a margin of {margin}",
        margin=percent(found.margin),
    )
    if names:
        detail += ". " + message("By convention, for want of better ones: {names}", names=names)
    checks = [Check(message("Responses are assumed"), "warning", detail), _apart(found)]
    pooled = [s.label for s in found.scenarios if isinstance(s.mechanism, Coalition)]
    if pooled:
        said = message("what {names} owes is owed by its pool and not by this shop", names=", ".join(pooled))
        checks.append(Check(message("Who owes"), "passed", said))
    return tuple(checks)


def _convention(scenario: Scenario) -> str:
    """Say what a convention comes to for one mechanism."""
    return message(
        "{name} ({join} join, {orders} more orders, dropout {hazard} times, {redeemed} of rewards taken)",
        name=scenario.label,
        join=percent(scenario.join_share, digits=0),
        orders=percent(scenario.rate_effect),
        hazard=number(scenario.hazard_ratio, digits=2),
        redeemed=percent(scenario.redeemed, digits=0),
    )


def _apart(found: MechanismComparison) -> Check:
    """Say whether the seeds tell the best two apart."""
    name, wide = message("Seeds suffice to tell the best two apart"), found.profits
    best, second = found.ranking[:2]
    gaps = (wide[best] - wide[second]).to_numpy()
    unit = next(r.estimate.unit for r in found.rows if r.metric == "profit")
    gap = mean_over_seeds(gaps, found.level, unit=unit, paired=True)
    fields = {
        "best": best,
        "second": second,
        "gap": gap.format(signed=True),
        "interval": gap.interval(signed=True),
    }
    seen = message("{best} against {second}: {gap} per customer ({interval})", **fields)
    if gap.low > 0:
        return Check(name, "passed", seen)
    if not gaps.any():
        return Check(
            name, "warning", message("{best} and {second} come out the same in every shop", **fields)
        )
    needed = seeds_needed(gaps, found.level)
    if needed is None:
        return Check(name, "warning", seen + "; " + message("more seeds would hardly help"))
    more = messages(
        "about {count} seed would, were the difference as seen",
        "about {count} seeds would, were the difference as seen",
        needed,
    )
    return Check(name, "warning", f"{seen}; {more}")
