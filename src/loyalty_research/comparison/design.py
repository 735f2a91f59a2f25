"""A comparison that knows how its groups came about."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

import narwhals as nw

from loyalty_research.comparison.encouragement import analyse_encouragement
from loyalty_research.comparison.metrics import Metric, Quantile
from loyalty_research.comparison.observational import analyse_observational
from loyalty_research.comparison.panel import analyse_panel
from loyalty_research.comparison.randomised import analyse_randomised
from loyalty_research.comparison.threshold import analyse_threshold
from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import check_level
from loyalty_research.stats.multiplicity import MULTIPLICITY_METHODS
from loyalty_research.summaries._frames import as_lazy
from loyalty_research.summaries._moments import bad_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from loyalty_research.comparison.looks import Anytime, Looks
    from loyalty_research.comparison.registration import ComparisonCard
    from loyalty_research.comparison.result import ComparisonResult

__all__ = ["DESIGNS", "Comparison"]

Design = Literal["randomised", "encouragement", "observational", "panel", "threshold"]

_ANALYSES: dict[str, Callable[[Comparison, Any], ComparisonResult]] = {
    "randomised": analyse_randomised,
    "encouragement": analyse_encouragement,
    "observational": analyse_observational,
    "panel": analyse_panel,
    "threshold": analyse_threshold,
}
DESIGNS = {
    "randomised": "chance decided who is in which arm",
    "encouragement": "chance decided who was invited, and people chose whether to join (received=)",
    "observational": "nobody drew lots: groups are compared among units alike in what was measured before",
    "panel": "units were measured before and after they started (unit=, period=), at different times",
    "threshold": "a line decided (cutoff=), and those right at it are alike",
}
"""How groups can have come about, each with its meaning."""

_CHANCE: Final = ("randomised", "encouragement")
_OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "ratio": _CHANCE,
    "strata": _CHANCE,
    "received": ("encouragement",),
    "placebo": ("observational",),
    "assigned_at": (*_CHANCE, "observational"),
    "measured_at": (*_CHANCE, "observational"),
    "looks": ("randomised",),
    "registered": _CHANCE,
    "period": ("panel",),
    "cutoff": ("threshold",),
    "bandwidth": ("threshold",),
    "donut": ("threshold",),
}


def _designs() -> str:
    return "; ".join(f"{name!r}: {meaning}" for name, meaning in DESIGNS.items())


class Comparison:
    """Compare groups of units by the estimator that fits how the groups came about.

    Args:
        metrics: One or more of :class:`Mean`, :class:`Proportion`, :class:`Ratio` and :class:`Quantile`.
        design: How the groups came about; there is no default, since nothing in the data says it.
        assignment: Column with the arm or group; under ``"threshold"`` the column the line is drawn in;
            under ``"panel"`` the first period under treatment, missing for units never treated.
        control: Label of the group the others are compared with; designs with groups need it.
        ratio: Planned sizes of the arms, by label or in order (control first, then the others by
            name), or one number when all are equal; the sample-ratio gate needs it. Designs with chance only.
        assigned_at: Column with the day or time each unit was assigned; needs ``measured_at``.
        measured_at: Column of a covariate, placebo or outcome to the column of the day or time it was
            measured. Covariates of after the assignment are refused, and outcomes of before it.
            Designs with chance, and observational.
        unit: Column that identifies a unit; checked to occur once, under ``"panel"`` once a period.
        received: Column of 0 and 1 that says who joined. Encouragement only.
        covariates: Columns measured before assignment. With chance they sharpen the estimate (numbers
            only); without it they are what makes the groups comparable (numbers or categories).
        strata: Column or columns within which chance decided. Designs with chance only.
        cluster: Column of the groups that were assigned, or that vary, as a whole.
        placebo: Column with an outcome from before; the estimator is run on it, and should find
            nothing. Observational only; taken out of the covariates for that run.
        looks: :class:`Looks` planned before (Lan-DeMets bounds) or :class:`Anytime` (confidence
            sequences), when data are looked at more than once. Randomised only.
        adjust: How p-values of a family are adjusted for one another: ``"holm"``, ``"hochberg"``,
            ``"benjamini-hochberg"`` or ``"bonferroni"``. Designs with chance only.
        horizon_days: Days of outcome from assignment, for a design card and its check.
        registered: A card of :func:`design_card`; deviations from it stand among the checks.
        period: Column with the period of each row. Panel only.
        cutoff: Where the line is; units at or above it are on the upper side. Threshold only.
        bandwidth: Units farther from the line weigh nothing; chosen by mean squared error when
            None. Threshold only.
        donut: Units nearer to the line than this are left out. Threshold only.
        level: Coverage the intervals aim at.
        seed: Of the draws behind quantiles and simultaneous bands.

    Raises:
        ArgumentError: When an option is out of range.
        DesignError: When the design is missing or unknown, or an option belongs to another design.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.comparison import Proportion
        >>> units = pd.DataFrame({"arm": ["a"] * 300 + ["b"] * 300,
        ...                       "visited": [1] * 60 + [0] * 240 + [1] * 90 + [0] * 210})
        >>> plan = Comparison([Proportion("visited")], design="randomised", assignment="arm", control="a",
        ...                   ratio=(1, 1))
        >>> print(plan.analyse(units).verdict())
        Visited: 30.0% in “b” against 20.0% in “a”, 10.00 points higher (95% interval 3.07 to 16.81 points).
    """

    def __init__(
        self,
        metrics: Metric | Sequence[Metric],
        *,
        design: Design | None = None,
        assignment: str,
        control: object = None,
        ratio: float | Sequence[float] | Mapping[str, float] | None = None,
        assigned_at: str | None = None,
        measured_at: Mapping[str, str] | None = None,
        unit: str | None = None,
        received: str | None = None,
        covariates: Sequence[str] = (),
        strata: str | Sequence[str] | None = None,
        cluster: str | None = None,
        placebo: str | None = None,
        looks: Looks | Anytime | None = None,
        adjust: str = "holm",
        horizon_days: int | None = None,
        registered: ComparisonCard | None = None,
        period: str | None = None,
        cutoff: float | None = None,
        bandwidth: float | None = None,
        donut: float = 0.0,
        level: float = 0.95,
        seed: int = 0,
    ) -> None:
        if design is None:
            raise DesignError(
                f"design= has no default, since no data say how groups came about: {_designs()}"
            )
        if design not in DESIGNS:
            raise DesignError(f"unknown design {design!r}; the designs are {_designs()}")
        self.metrics: tuple[Metric, ...] = (metrics,) if isinstance(metrics, Metric) else tuple(metrics)
        if not self.metrics or not all(isinstance(m, Metric) for m in self.metrics):
            raise ArgumentError("metrics are one or more of Mean, Proportion, Ratio and Quantile")
        self.design = str(design)
        self.assignment, self.control, self.unit, self.received = assignment, control, unit, received
        self.covariates = (covariates,) if isinstance(covariates, str) else tuple(covariates)
        self.strata = strata if isinstance(strata, str) else tuple(strata) if strata else None
        self.assigned_at, self.measured_at = assigned_at, None if measured_at is None else dict(measured_at)
        self.ratio, self.cluster, self.placebo = ratio, cluster, placebo
        self.period, self.cutoff, self.bandwidth, self.donut = period, cutoff, bandwidth, donut
        self.looks, self.adjust, self.seed = looks, adjust, seed
        self.horizon_days, self.registered = horizon_days, registered
        self.level = check_level(level)
        self._check_options()

    @property
    def line(self) -> float:
        """Where the line is, under ``"threshold"``."""
        return math.nan if self.cutoff is None else float(self.cutoff)

    @property
    def _before(self) -> set[str]:
        """Columns that are measured before the assignment."""
        return {*self.covariates, *(c for metric in self.metrics for c in metric.covariates)}

    def _check_times_named(self) -> None:
        if (self.assigned_at is None) != (self.measured_at is None):
            raise ArgumentError("assigned_at= and measured_at= are needed together: one says nothing alone")
        known = {*self._before, *(c for m in self.metrics for c in m.outcomes), self.placebo}
        strangers = sorted(set(self.measured_at or ()) - known)
        if strangers:
            raise ArgumentError(
                f"measured_at= names {', '.join(strangers)}, which is no covariate, placebo or outcome of the plan"
            )

    def _check_options(self) -> None:
        if self.received is not None and self.design == "randomised":
            raise DesignError(
                "received= under design='randomised' would be a per-protocol comparison: those who joined "
                "differ from those who did not in more than the assignment. Leave it out for the effect of "
                "assignment, or use design='encouragement' for the effect on those who joined because of it"
            )
        for name, designs in _OPTIONS.items():
            given = self.donut != 0 if name == "donut" else getattr(self, name) is not None
            if given and self.design not in designs:
                raise DesignError(
                    f"{name}= belongs to design={' or '.join(map(repr, designs))}, not to {self.design!r}"
                )
        if self.adjust not in MULTIPLICITY_METHODS:
            raise ArgumentError(f"adjust is one of {', '.join(MULTIPLICITY_METHODS)}; got {self.adjust!r}")
        ordered = [m.label for m in self.metrics if isinstance(m, Quantile)]
        if ordered and self.design != "randomised":
            raise DesignError(f"{', '.join(ordered)}: quantiles are compared under design='randomised' only")
        self._check_needs()
        columns = [self.assignment, *(m for metric in self.metrics for m in metric.outcomes)]
        before = self._before
        both = sorted(before & {*columns, self.received})
        if both:
            raise ArgumentError(
                f"{', '.join(both)} cannot be a covariate: it is an outcome or the assignment, and a covariate is "
                "measured before"
            )
        if self.placebo in columns:
            raise ArgumentError(
                f"placebo= is {self.placebo!r}, which is compared already: a placebo is an outcome of before"
            )
        self._check_times_named()
        if self.cluster is not None and self.cluster == self.assignment:
            raise DesignError(
                f"cluster= is {self.cluster!r}, the assignment itself, so each group would be one cluster: name the "
                "column of what was assigned, or varies, as a whole"
            )

    def _check_needs(self) -> None:
        if self.received is None and self.design == "encouragement":
            raise DesignError("design='encouragement' needs received=, the column that says who joined")
        if self.design == "threshold":
            if self.cutoff is None or not math.isfinite(self.line):
                raise DesignError(
                    f"design='threshold' needs cutoff=, the line in {self.assignment}; got {self.cutoff!r}"
                )
        elif self.design == "panel":
            if self.unit is None or self.period is None:
                raise DesignError("design='panel' needs unit= and period=, the columns that identify a row")
            if self.covariates:
                raise DesignError(
                    "design='panel' takes no covariates: units are compared with their own past"
                )
        elif self.control is None:
            raise ArgumentError("control= is needed: the label of the group the others are compared with")
        if self.design == "observational" and not self.covariates:
            raise DesignError(
                "design='observational' needs covariates= measured before: without them the raw gap is all "
                "there is, and that is not an effect"
            )

    def analyse(self, table: Any) -> ComparisonResult:
        """Check a table of units and compare its groups.

        Args:
            table: One row per unit: pandas, Polars, a DuckDB relation or a narwhals frame.

        Returns:
            The estimates with their estimands, the checks and a verdict that claims no more than
            the design allows.

        Raises:
            ContractError: When columns are absent or hold values they cannot have; every count is named.
            DesignError: When the data cannot carry the design.
        """
        if self.unit is not None and self.design != "panel":
            check_units(table, self.unit, self.assignment)
        if self.assigned_at is not None and self.measured_at is not None:
            before = {*self._before, self.placebo}
            check_times(table, self.assigned_at, self.measured_at, before)
        found = _ANALYSES[self.design](self, table)
        if self.registered is None:
            return found
        return replace(found, checks=(*found.checks, *self.registered.deviations(self, found.sizes)))


def check_units(table: Any, unit: str, assignment: str) -> None:
    """Refuse a table in which a unit is missing, occurs twice or sits in two arms.

    Raises:
        ContractError: Naming how many.
    """
    frame = as_lazy(table, "units")
    names = frame.collect_schema().names()
    for name in (unit, assignment):
        if name not in names:
            raise ContractError(f"units has no column {name!r}; it has {', '.join(names)}")
    per_unit = frame.group_by(unit, drop_null_keys=False).agg(
        nw.len().alias("_rows"), nw.col(assignment).n_unique().alias("_arms")
    )
    found = per_unit.select(
        nw.when(nw.col("_arms") > 1).then(nw.lit(1)).count().alias("arms"),
        nw.when(nw.col("_rows") > 1).then(nw.lit(1)).count().alias("rows"),
        nw.when(nw.col(unit).is_null()).then(nw.col("_rows")).sum().alias("missing"),
    )
    row = found.collect().rows(named=True)[0]
    if int(row["missing"] or 0):
        raise ContractError(f"units.{unit} is missing in {int(row['missing']):,} rows")
    if row["arms"]:
        raise ContractError(
            f"{row['arms']:,} units of units.{unit} are in more than one arm of {assignment}: find out which "
            "assignment came first, and leave out units that saw both"
        )
    if row["rows"]:
        raise ContractError(
            f"{row['rows']:,} units of units.{unit} have more than one row: sum their outcomes to one row a unit, or "
            f"pass cluster={unit!r} and no unit="
        )


def check_times(
    table: Any, assigned_at: str, measured_at: Mapping[str, str], before: Collection[str | None]
) -> None:
    """Refuse covariates measured after the assignment, and outcomes measured before it.

    Args:
        table: One row per unit.
        assigned_at: Column of the assignment's day or time.
        measured_at: Measured column to the column of its day or time; a missing one is passed over.
        before: Measured columns that must be of before the assignment, or of its day.

    Raises:
        ContractError: Naming columns, how many rows and where.
    """
    frame = as_lazy(table, "units")
    schema = dict(frame.collect_schema())
    lacking = [c for c in dict.fromkeys([assigned_at, *measured_at.values()]) if c not in schema]
    if lacking:
        raise ContractError(
            f"units has no column {', '.join(map(repr, lacking))}; it has {', '.join(schema)}"
        )
    kinds = {c: (type(schema[c]), getattr(schema[c], "time_zone", None)) for c in schema}
    unlike = sorted({c for c in measured_at.values() if kinds[c] != kinds[assigned_at]})
    if unlike:
        raise ContractError(
            f"units.{assigned_at} holds {schema[assigned_at]}, but {', '.join(unlike)} does not: make them one type"
        )
    assigned = nw.col(assigned_at)
    wrong = {f"units.{assigned_at} is missing": assigned.is_null()}
    for name, when in measured_at.items():
        if name in before:
            said = f"units.{name} was measured after {assigned_at}, so the assignment may have moved it,"
            wrong[said] = nw.col(when) > assigned
        else:
            said = f"units.{name}, an outcome, was measured before {assigned_at}"
            wrong[said] = nw.col(when) < assigned
    row = frame.select(
        nw.when(found).then(nw.lit(1)).count().alias(f"_wrong{i}") for i, found in enumerate(wrong.values())
    )
    counts = [int(n) for n in row.collect().rows()[0]]
    problems = [
        f"{said} in {bad_rows(frame, found, count)}"
        for (said, found), count in zip(wrong.items(), counts, strict=True)
        if count
    ]
    if problems:
        raise ContractError("; ".join(problems))
