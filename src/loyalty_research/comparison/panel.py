"""Before and after, with and without: difference-in-differences for staggered starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import narwhals as nw
import numpy as np
from scipy import stats

from loyalty_research.comparison._panel import (
    NEVER,
    average,
    cohorts_of,
    group_time_effects,
)
from loyalty_research.comparison.metrics import Mean, Proportion
from loyalty_research.comparison.result import (
    ComparisonResult,
    Statement,
    capital,
    change,
    change_interval,
    slug,
)
from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.stats.line_jump import need_clusters
from loyalty_research.stats.simultaneous import joint_test, simultaneous_quantile
from loyalty_research.summaries._frames import as_lazy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.comparison._panel import Averages, Controls, GroupTimes
    from loyalty_research.comparison.design import Comparison
    from loyalty_research.comparison.metrics import Metric

    Array = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = [
    "ON_THE_TREATED",
    "DifferenceInDifferences",
    "PanelResult",
    "difference_in_differences",
    "event_study",
]

ON_THE_TREATED = "ATT"
"""Estimand of a difference in differences: the effect on those who were treated."""

METHOD = "group-time differences in differences"
_ALPHA = 0.001
_LEAST_COHORT = 5  # the fewest units of a cohort whose spread says how sure its effect is
_CONTROLS = ("not-yet", "never")


@dataclass(frozen=True, repr=False)
class DifferenceInDifferences(Result):
    """Effects after a start that came at different times for different units.

    Attributes:
        metric: What is compared.
        unit: Unit of the outcome.
        overall: Average effect on the treated over cohorts and their periods since the start.
        lead: Periods since the start of each event-time effect; negative before it, shape (m,).
        effect: Average effect at each lead, shape (m,).
        error: Standard error of each, shape (m,).
        treated: Treated units behind each, shape (m,).
        quantile: How many standard errors cover all leads at once.
        level: Coverage the intervals aim at.
        group_times: Effect of every cohort in every period: columns ``cohort``, ``period``, ``lead``,
            ``effect``, ``standard_error``, ``units``, ``controls``.
        sizes: Treated units, and units never treated.
        dropped: Reason to the units left out.
    """

    title: ClassVar[str] = "Difference-in-differences"

    metric: str
    unit: str | None
    overall: Estimate
    lead: Integers
    effect: Array
    error: Array
    treated: Integers
    quantile: float
    level: float
    group_times: pd.DataFrame
    sizes: tuple[int, int]
    dropped: Mapping[str, int] = field(default_factory=dict)

    def row(self, *, role: str = "primary") -> Row:
        """Return the overall effect as a line of a result."""
        group = message("treated v not yet treated")
        return Row(self.metric, self.overall, group, ON_THE_TREATED, {"role": role})

    def lead_rows(self, *, role: str = "primary") -> tuple[Row, ...]:
        """Return the effect at every lead, with bands that cover all of them at once."""
        out = []
        for lead, effect, error, n in zip(
            self.lead.tolist(), self.effect.tolist(), self.error.tolist(), self.treated.tolist(), strict=True
        ):
            half = self.quantile * error
            estimate = Estimate(
                effect, effect - half, effect + half, self.level, f"{METHOD}, simultaneous", n, self.unit
            )
            group = message("{lead} periods from the start", lead=f"{lead:+d}")
            out.append(Row(self.metric, estimate, group, "ATT by period", {"role": role, "lead": lead}))
        return tuple(out)

    def _rows(self) -> Iterator[Row]:
        yield self.row()
        yield from self.lead_rows()

    def _verdict(self) -> str:
        e = self.overall
        words = {
            "metric": capital(self.metric),
            "difference": change(e, signed=True),
            "interval": change_interval(e),
        }
        if e.low <= 0 <= e.high:
            return message(
                "{metric}: after the start the data are consistent with no change at all, and with one of {difference} a "
                "period ({interval}), measured against those not yet treated.",
                **words,
            )
        return message(
            "{metric}: after the start the data are consistent with a change of {difference} a period ({interval}) for "
            "those treated, if they would otherwise have moved like those not yet treated.",
            **words,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the event study: effects by periods since the start, with simultaneous bands.

        Args:
            ax: Axes to draw on; new ones when None.
        """
        from loyalty_research.plots.comparison import event_study as draw

        half = self.quantile * self.error
        scale = 100.0 if self.unit == "fraction" else 1.0
        shown = message("percentage points") if self.unit == "fraction" else self.unit
        return draw(
            self.lead,
            scale * self.effect,
            scale * (self.effect - half),
            scale * (self.effect + half),
            xlabel=message("Periods since the start"),
            ylabel=message(
                "Change in {metric}{unit}", metric=self.metric, unit=f", {shown}" if shown else ""
            ),
            ax=ax,
        )


@dataclass(frozen=True, slots=True)
class _Panel:
    """Units in rows and periods in columns."""

    outcomes: Array
    first: Integers
    clusters: Integers | None
    periods: tuple[Any, ...]
    dropped: dict[str, int]


def _collect(
    table: Any, *, outcome: str, unit: str, period: str, first_treated: str, cluster: str | None
) -> pd.DataFrame:
    """Fetch the columns, checked before anything is estimated."""
    frame = as_lazy(table, "panel")
    schema = frame.collect_schema()
    wanted = list(dict.fromkeys([unit, period, first_treated, outcome, *([cluster] if cluster else [])]))
    lacking = [c for c in wanted if c not in schema]
    if lacking:
        raise ContractError(
            f"panel has no column {', '.join(map(repr, lacking))}; it has {', '.join(schema)}"
        )
    if not (schema[outcome].is_numeric() or schema[outcome] == nw.Boolean):
        raise ContractError(f"panel.{outcome} holds {schema[outcome]}, not numbers")
    found: pd.DataFrame = frame.select(wanted).collect(backend="pandas").to_native()
    if not len(found):
        raise ContractError("panel is empty: there is nothing to compare")
    for name in (unit, period, *([cluster] if cluster else [])):
        missing = np.flatnonzero(found[name].isna().to_numpy())
        if len(missing):
            raise ContractError(f"panel.{name} is missing in {at_rows(missing.tolist())}")
    _check_outcome(found[outcome].to_numpy(dtype=np.float64, na_value=np.nan), outcome)
    twice = np.flatnonzero(found.duplicated([unit, period]).to_numpy())
    if len(twice):
        raise ContractError(
            f"panel has {len(twice):,} rows more for a unit and period ({at_rows(twice.tolist())}): sum them to one row"
        )
    codes, first = _units(found, unit)
    for name in (first_treated, *([cluster] if cluster else [])):
        values = found[name].factorize()[0]
        several = len(np.unique(codes[values != values[first][codes]]))
        if several:
            raise ContractError(f"panel.{name} changes within {several:,} units: it must be one value a unit")
    return found


def _check_outcome(values: NDArray[Any], name: str) -> None:
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise ContractError(f"panel.{name} is infinite in {at_rows(infinite.tolist())}")
    seen = values[~np.isnan(values)]
    if len(seen) and seen.min() == seen.max():
        raise ContractError(f"panel.{name} does not vary: there is nothing to compare")


def _units(frame: pd.DataFrame, unit: str) -> tuple[Integers, Integers]:
    """Return the number of each row's unit, and the first row of each unit."""
    codes = frame[unit].factorize()[0].astype(np.int64)
    return codes, np.unique(codes, return_index=True)[1].astype(np.int64)


def _codes(values: pd.Series, periods: NDArray[Any], name: str) -> Integers:
    """Return the place of each first treated period among the periods; later ones count as never."""
    missing = values.isna().to_numpy()
    given = values[~missing].to_numpy()
    try:
        place = np.searchsorted(periods, given.astype(periods.dtype), side="left")
    except (TypeError, ValueError):
        raise ContractError(
            f"panel.{name} holds {values.dtype}, but periods hold {periods.dtype}: give both alike"
        ) from None
    # whoever started before the first period has no period without treatment
    place = np.where(given.astype(periods.dtype) < periods[0], 0, place)
    codes = np.full(len(values), NEVER, dtype=np.int64)
    codes[~missing] = np.where(place >= len(periods), NEVER, place)
    return codes


def _panel(
    table: Any,
    *,
    outcome: str,
    unit: str,
    period: str,
    first_treated: str,
    cluster: str | None,
    anticipation: int,
) -> _Panel:
    frame = _collect(
        table, outcome=outcome, unit=unit, period=period, first_treated=first_treated, cluster=cluster
    )
    codes, rows = _units(frame, unit)
    traits = frame.iloc[rows]
    periods, place = np.unique(frame[period].to_numpy(), return_inverse=True)
    wide = np.full((len(rows), len(periods)), np.nan)
    wide[codes, place] = frame[outcome].to_numpy(dtype=float)
    first = _codes(traits[first_treated], periods, first_treated)
    whole = ~np.isnan(wide).any(axis=1)
    early = first <= anticipation
    cohort = np.unique(first, return_inverse=True)[1]
    size = np.bincount(cohort[whole], minlength=int(cohort.max()) + 1)[cohort]
    few = whole & ~early & (first != NEVER) & (size < _LEAST_COHORT)
    kept = whole & ~early & ~few
    dropped = {
        message("units without a value in every period"): int((~whole).sum()),
        message("units treated from the first period on"): int((whole & early).sum()),
        message("units of cohorts of fewer than 5"): int(few.sum()),
    }
    if not (kept & (first != NEVER)).any():
        raise DesignError(
            f"no {_LEAST_COHORT} units start together after the first period with a value in every period: there is no "
            "before and after"
        )
    clusters = None
    if cluster is not None:
        clusters = traits[cluster][kept].factorize()[0].astype(np.int64)
        if clusters.max() < 1:
            raise DesignError(
                f"panel.{cluster} has one cluster: at least 2 are needed to see how clusters vary"
            )
        ever = first[kept] != NEVER
        groups = {"units that start": ever, "units that never start": ~ever}
        need_clusters(clusters, {k: v for k, v in groups.items() if v.any()}, f"panel.{cluster}")
    return _Panel(wide[kept], first[kept], clusters, tuple(periods), dropped)


def difference_in_differences(
    panel: Any,
    *,
    outcome: str,
    unit: str,
    period: str,
    first_treated: str,
    controls: Controls = "not-yet",
    anticipation: int = 0,
    cluster: str | None = None,
    level: float = 0.95,
    seed: int = 0,
    metric: str | None = None,
    shown_unit: str | None = None,
) -> DifferenceInDifferences:
    """Estimate what changed for those who started something, when starts are staggered.

    Every cohort of starters is compared, period by period, with units that have not started by
    then, from its last period before on; effects are averaged afterwards. A regression with unit
    and period effects would also compare late starters with early ones and is not offered.

    Args:
        panel: One row per unit and period: pandas, Polars, a DuckDB relation or a narwhals frame.
            Units lacking a period, units treated from the first period on, and cohorts of fewer
            than 5 units, whose spread says too little, are left out and counted.
        outcome: Numeric column.
        unit: Column that identifies a unit.
        period: Column with the period: numbers, dates or sortable text, evenly spaced.
        first_treated: Column with the first period under treatment, constant within a unit; missing
            for units that never start.
        controls: ``"not-yet"`` treated units serve as controls until they start, or only
            ``"never"`` treated ones.
        anticipation: Periods before the start in which effects may already show.
        cluster: Column of groups that vary together, constant within a unit; units by default.
        level: Coverage of the interval, and of the bands of the event study all together.
        seed: Of the draws behind the bands.
        metric: Name of the outcome for tables; the column by default.
        shown_unit: Unit of the outcome.

    Returns:
        The overall effect, effects by periods since the start with simultaneous bands, effects by
        cohort and period, and a test of the trends before.

    Raises:
        ArgumentError: When an option is out of range.
        ContractError: When columns are absent, doubled or hold what they cannot.
        DesignError: When there is no before and after, or nobody to compare with.

    References:
        Callaway and Sant'Anna (2021), Journal of Econometrics 225, 200-230.

    Examples:
        >>> import pandas as pd
        >>> rows = [(u, t, 3 if u % 2 else None, u % 5 + t + (2.0 if u % 2 and t >= 3 else 0))
        ...         for u in range(40) for t in range(1, 5)]
        >>> panel = pd.DataFrame(rows, columns=["customer", "month", "joined", "spend"])
        >>> difference_in_differences(panel, outcome="spend", unit="customer", period="month",
        ...                           first_treated="joined").overall.value
        2.0
    """
    check_level(level)
    if controls not in _CONTROLS:
        raise ArgumentError(f"controls is 'not-yet' or 'never'; got {controls!r}")
    if not (isinstance(anticipation, int) and anticipation >= 0):
        raise ArgumentError(f"anticipation is a number of periods, 0 or more; got {anticipation!r}")
    found = _panel(
        panel,
        outcome=outcome,
        unit=unit,
        period=period,
        first_treated=first_treated,
        cluster=cluster,
        anticipation=anticipation,
    )
    effects = group_time_effects(
        cohorts_of(found.outcomes, found.first, found.clusters), controls=controls, anticipation=anticipation
    )
    label = metric or outcome
    leads = np.unique(effects.lead)
    by_lead = average(effects, [effects.lead == lead for lead in leads])
    after = effects.lead >= -anticipation
    whole = average(effects, [after])
    law = stats.norm() if found.clusters is None else stats.t(int(found.clusters.max()))
    overall = _overall(whole, len(found.first), law, level, shown_unit)
    treated = int((found.first != NEVER).sum())
    return DifferenceInDifferences(
        metric=label,
        unit=shown_unit,
        overall=overall,
        lead=leads,
        effect=by_lead.effect,
        error=np.sqrt(np.diag(by_lead.covariance)),
        treated=by_lead.units,
        quantile=simultaneous_quantile(by_lead.covariance, level=level, seed=seed),
        level=level,
        group_times=_frame(effects, found.periods),
        sizes=(treated, len(found.first) - treated),
        dropped=found.dropped,
        checks=(_trend_check(leads, by_lead, anticipation), _controls_check(effects)),
    )


def event_study(panel: Any, **options: Any) -> DifferenceInDifferences:
    """Return :func:`difference_in_differences`, which holds the event study; plot it with ``.plot()``."""
    return difference_in_differences(panel, **options)


def _overall(whole: Averages, n: int, law: Any, level: float, unit: str | None) -> Estimate:
    value, error = float(whole.effect[0]), float(np.sqrt(whole.covariance[0, 0]))
    half = float(law.isf((1 - level) / 2)) * error
    p_value = float(2 * law.sf(abs(value) / error)) if error > 0 else None
    return Estimate(value, value - half, value + half, level, METHOD, n, unit, p_value)


def _frame(effects: GroupTimes, periods: tuple[Any, ...]) -> pd.DataFrame:
    import pandas as pd

    sizes = dict(zip(effects.cohorts.first.tolist(), effects.cohorts.size.tolist(), strict=True))
    return pd.DataFrame(
        {
            "cohort": [periods[c] for c in effects.cohort],
            "period": [periods[t] for t in effects.period],
            "lead": effects.lead,
            "effect": effects.effect,
            "standard_error": np.sqrt(np.diag(effects.covariance())),
            "units": [int(sizes[c]) for c in effects.cohort.tolist()],
            "controls": effects.controls,
        }
    )


def _trend_check(leads: Integers, averages: Averages, anticipation: int) -> Check:
    """Test that trends were parallel before: a gate, since all else rests on it."""
    name = message("parallel trends before the start")
    before = leads < -1 - anticipation
    if not before.any():
        return Check(
            name,
            "not measurable",
            message("there is one period before the start only, so trends before it cannot be compared"),
            gate=True,
        )
    effect, covariance = averages.effect[before], averages.covariance[np.ix_(before, before)]
    statistic, rank, p_value = joint_test(effect, covariance)
    status: Literal["passed", "warning", "failed"] = (
        "failed" if p_value < _ALPHA else "warning" if p_value < 0.05 else "passed"
    )
    detail = message(
        "{count} periods before the start: Wald {statistic} on {rank} degrees of freedom, p = {p}; a test that finds "
        "nothing does not prove the trends parallel",
        count=int(before.sum()),
        statistic=number(statistic),
        rank=rank,
        p=number(p_value, digits=4),
    )
    return Check(name, status, detail, gate=True, p_value=p_value)


def _controls_check(effects: GroupTimes) -> Check:
    least = int(effects.controls[effects.lead >= 0].min())
    return Check(
        message("units to compare with"),
        "passed" if least >= 30 else "warning",
        message("at least {n} units not yet treated behind every effect", n=f"{least:,}"),
    )


@dataclass(frozen=True, repr=False)
class PanelResult(ComparisonResult):
    """Differences in differences of several metrics.

    Attributes:
        studies: One per metric, in order.
    """

    studies: tuple[DifferenceInDifferences, ...] = ()

    def study(self, metric: str | None = None) -> DifferenceInDifferences:
        """Return the study of a metric; of the first when None."""
        chosen = [s for s in self.studies if metric in (None, s.metric)]
        if not chosen:
            raise ContractError(
                f"there is no metric {metric!r}; there is {', '.join(s.metric for s in self.studies)}"
            )
        return chosen[0]

    def plot_event_study(self, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
        """Draw the event study of a metric; see :meth:`DifferenceInDifferences.plot`."""
        return self.study(metric).plot(ax)


def analyse_panel(plan: Comparison, table: Any) -> PanelResult:
    """Compare before and after among treated and not yet treated; see :class:`Comparison`."""
    for metric in plan.metrics:
        _check_metric(metric)
    studies = [
        difference_in_differences(
            table,
            outcome=metric.outcomes[0],
            unit=str(plan.unit),
            period=str(plan.period),
            first_treated=plan.assignment,
            cluster=plan.cluster,
            level=plan.level,
            seed=plan.seed,
            metric=metric.label,
            shown_unit=metric.shown_unit,
        )
        for metric in plan.metrics
    ]
    main = studies[0]
    control, arm = message("not treated"), message("treated")
    checks = tuple(
        check
        if len(studies) == 1
        else Check(f"{check.name}: {s.metric}", check.status, check.detail, check.gate, check.p_value)
        for s in studies
        for check in s.checks
    )
    return PanelResult(
        design="panel",
        estimand=message("average effect on those treated, in the periods since they started (ATT)"),
        control=control,
        arms=(arm,),
        level=plan.level,
        metrics=plan.metrics,
        rows=tuple(
            row
            for metric, s in zip(plan.metrics, studies, strict=True)
            for row in (s.row(role=metric.role), *s.lead_rows(role=metric.role))
        ),
        sizes={control: main.sizes[1], arm: main.sizes[0]},
        statements=tuple(
            Statement(slug(f"{s.metric} since the start"), s._verdict(), s.overall, caution=True)  # noqa: SLF001  # without its gate, which this result holds
            for metric, s in zip(plan.metrics, studies, strict=True)
            if metric.role == "primary"
        ),
        dropped=main.dropped,
        checks=checks,
        studies=tuple(studies),
    )


def _check_metric(metric: Metric) -> None:
    if not isinstance(metric, Mean | Proportion):
        raise DesignError(f"{metric.label}: design='panel' takes Mean and Proportion; use Mean of the parts")
    if metric.cap is not None or metric.covariates:
        raise DesignError(f"{metric.label}: design='panel' takes no cap and no covariates")
