"""A tier line as a design: what changes for those right at it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.comparison._observed import collect_units, welch_gap
from loyalty_research.comparison.discontinuity import line_text, regression_discontinuity
from loyalty_research.comparison.metrics import Proportion, Ratio
from loyalty_research.comparison.result import NOT_AN_EFFECT, ComparisonResult, Statement, capital, slug
from loyalty_research.errors import ContractError, DesignError, at_rows
from loyalty_research.estimates import Check, Row
from loyalty_research.i18n import message
from loyalty_research.stats.proportions import difference_in_proportions

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.comparison.design import Comparison
    from loyalty_research.comparison.discontinuity import Discontinuity
    from loyalty_research.comparison.metrics import Metric
    from loyalty_research.estimates import Estimate

    Array = NDArray[np.float64]

__all__ = ["ThresholdResult", "analyse_threshold"]


@dataclass(frozen=True, repr=False)
class ThresholdResult(ComparisonResult):
    """Jumps of metrics at a line.

    Attributes:
        jumps: One per metric, in order.
    """

    jumps: tuple[Discontinuity, ...] = ()

    def jump(self, metric: str | None = None) -> Discontinuity:
        """Return the jump of a metric; of the first when None."""
        chosen = [j for j in self.jumps if metric in (None, j.metric)]
        if not chosen:
            raise ContractError(
                f"there is no metric {metric!r}; there is {', '.join(j.metric for j in self.jumps)}"
            )
        return chosen[0]

    def plot_jump(self, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
        """Draw binned means and the jump of a metric; see :meth:`Discontinuity.plot`."""
        return self.jump(metric).plot(ax)


def _running(frame: pd.DataFrame, plan: Comparison) -> Array:
    column = frame[plan.assignment]
    try:
        values = column.to_numpy(dtype=float)
    except (TypeError, ValueError):
        raise ContractError(
            f"units.{plan.assignment} holds {column.dtype}, not numbers: under design='threshold' assignment= names "
            "the column that the line is drawn in, such as spend of the qualifying year"
        ) from None
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ContractError(f"units.{plan.assignment} is infinite in {at_rows(bad.tolist())}")
    return values


def _raw(metric: Metric, y: Array, above: NDArray[np.bool_], level: float) -> tuple[Estimate, float, float]:
    """Return the plain gap between the two sides, which is no effect."""
    one, zero = y[above], y[~above]
    if isinstance(metric, Proportion):
        gap = difference_in_proportions(
            int(one.sum()), len(one), int(zero.sum()), len(zero), method="newcombe", level=level
        )
        return replace(gap, method="raw gap"), float(one.mean()), float(zero.mean())
    gap = welch_gap(one, zero, level=level, method="raw gap", unit=metric.shown_unit)
    return gap, float(one.mean()), float(zero.mean())


def _covariate_check(frame: pd.DataFrame, x: Array, plan: Comparison, covariates: tuple[str, ...]) -> Check:
    """What was measured before must not jump: the line cannot have moved it."""
    name = message("nothing from before jumps at the line")
    found = []
    for column in covariates:
        y = frame[column].to_numpy(dtype=float)
        kept = np.isfinite(y)
        try:
            one = regression_discontinuity(
                y[kept],
                x[kept],
                cutoff=plan.line,
                bandwidth=plan.bandwidth,
                donut=plan.donut,
                level=plan.level,
            )
        except DesignError:
            continue
        found.append((column, one.estimate))
    if not found:
        return Check(name, "not measurable", message("no covariate varies around the line"))
    worst = min(e.p_value if e.p_value is not None else 1.0 for _, e in found)
    said = "; ".join(f"{column} {e.format(signed=True)} ({e.interval(signed=True)})" for column, e in found)
    jumps = worst < (1 - plan.level) / len(found)
    return Check(name, "warning" if jumps else "passed", said, p_value=worst)


def _numeric(frame: pd.DataFrame, plan: Comparison) -> tuple[str, ...]:
    names = tuple(dict.fromkeys([*plan.covariates, *(c for m in plan.metrics for c in m.covariates)]))
    words = [c for c in names if frame[c].dtype.kind not in "biuf"]
    if words:
        raise DesignError(
            f"{', '.join(words)}: under design='threshold' covariates are looked at for jumps and must be numbers"
        )
    return names


def analyse_threshold(plan: Comparison, table: Any) -> ThresholdResult:
    """Estimate jumps at a line; see :class:`loyalty_research.comparison.Comparison`."""
    ratios = [m.label for m in plan.metrics if isinstance(m, Ratio)]
    if ratios:
        raise DesignError(
            f"{', '.join(ratios)}: a ratio has no level at the line of its own; use Mean of its parts"
        )
    frame = collect_units(table, plan)
    x = _running(frame, plan)
    covariates = _numeric(frame, plan)
    above = x >= plan.line
    low, high = (
        message("below {line}", line=line_text(plan.line)),
        message("at or above {line}", line=line_text(plan.line)),
    )
    rows: list[Row] = []
    checks: list[Check] = []
    jumps: list[Discontinuity] = []
    statements: list[Statement] = []
    dropped: dict[str, int] = {}
    for metric in plan.metrics:
        y = frame[metric.outcomes[0]].to_numpy(dtype=float)
        kept = ~np.isnan(y)
        values = y[kept] if metric.cap is None else np.minimum(y[kept], np.quantile(y[kept], metric.cap))
        found = regression_discontinuity(
            values,
            x[kept],
            cutoff=plan.line,
            bandwidth=plan.bandwidth,
            donut=plan.donut,
            cluster=None if plan.cluster is None else frame.loc[kept, plan.cluster].to_numpy(),
            level=plan.level,
            metric=metric.label,
            running_name=plan.assignment,
            unit=metric.shown_unit,
        )
        jumps.append(found)
        gap, one, zero = _raw(metric, values, above[kept], plan.level)
        rows.append(found.row(role=metric.role))
        extra = {"role": metric.role, "treated": one, "control": zero}
        rows.append(Row(metric.label, gap, rows[-1].group, NOT_AN_EFFECT, extra))
        # the density belongs to the line, not to a metric: it is looked at once
        checks += [
            replace(check, name=check.name if check.gate else f"{check.name}: {metric.label}")
            for check in found.checks
            if not (check.gate and any(c.gate for c in checks))
        ]
        if metric.role == "primary":
            statements.append(
                Statement(slug(f"{metric.label} at the line"), capital(found._verdict()), found.estimate)  # noqa: SLF001  # without its gate, which this result holds
            )
        dropped[message("units without {metric}", metric=metric.label)] = int((~kept).sum())
    if covariates:
        checks.append(_covariate_check(frame, x, plan, covariates))
    return ThresholdResult(
        design="threshold",
        estimand=message("effect of being above the line, on those right at the line (LATE at the line)"),
        control=low,
        arms=(high,),
        level=plan.level,
        metrics=plan.metrics,
        rows=tuple(rows),
        sizes={low: int((~above).sum()), high: int(above.sum())},
        statements=tuple(statements),
        dropped=dropped,
        checks=tuple(checks),
        jumps=tuple(jumps),
    )
