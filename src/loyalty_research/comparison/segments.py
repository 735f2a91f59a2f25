"""Does an effect differ between segments? Read with the number of segments in mind."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from scipy import stats

from loyalty_research.comparison._arms import treated_arms
from loyalty_research.comparison.metrics import Quantile
from loyalty_research.comparison.randomised import differences
from loyalty_research.comparison.result import capital, change, change_interval
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Result, Row
from loyalty_research.i18n import message, number
from loyalty_research.stats.multiplicity import adjust_p_values
from loyalty_research.summaries import arm_moments

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from matplotlib.axes import Axes

    from loyalty_research.comparison.design import Comparison
    from loyalty_research.comparison.metrics import Metric
    from loyalty_research.comparison.randomised import Difference
    from loyalty_research.estimates import Estimate
    from loyalty_research.summaries import ArmMoments

__all__ = ["SegmentResult", "effects_by_segment"]

_LEAST = 5


@dataclass(frozen=True, repr=False)
class SegmentResult(Result):
    """Effect of one arm on one metric in every segment.

    Attributes:
        metric: What is compared.
        arm: The treated arm.
        control: The arm compared with.
        by: Column of the segments.
        overall: Effect over all units.
        effects: Segment to its effect; intervals hold for all segments together.
        p_adjusted: Segment to its p-value adjusted for the number of segments.
        heterogeneity: Cochran's Q, its degrees of freedom and p-value: do the effects differ at all?
        left_out: Segments with too few units to show.
    """

    title: ClassVar[str] = "Effects by segment"

    metric: str
    arm: str
    control: str
    by: str
    overall: Estimate
    effects: dict[str, Estimate]
    p_adjusted: dict[str, float]
    heterogeneity: tuple[float, int, float]
    left_out: int

    def _rows(self) -> Iterator[Row]:
        group = f"{self.arm} v {self.control}"
        yield Row(self.metric, self.overall, group, "ITT", {"segment": message("everybody")})
        for segment, e in self.effects.items():
            extra = {"segment": segment, "p_adjusted": self.p_adjusted[segment]}
            yield Row(self.metric, e, group, "ITT", extra)

    def _verdict(self) -> str:
        q, dof, p = self.heterogeneity
        words = {
            "metric": capital(self.metric),
            "count": len(self.effects),
            "by": self.by,
            "q": number(q),
            "dof": dof,
            "p": number(p, digits=4),
        }
        if p >= 1 - self.overall.level:
            return message(
                "{metric}: effects in the {count} segments of {by} do not clearly differ (Q = {q} on {dof} degrees of "
                "freedom, p = {p}); the effect over all, {difference} ({interval}), is the best guess for each.",
                difference=change(self.overall, signed=True),
                interval=change_interval(self.overall),
                **words,
            )
        top = max(self.effects, key=lambda s: self.effects[s].value)
        bottom = min(self.effects, key=lambda s: self.effects[s].value)
        return message(
            "{metric}: effects differ between the segments of {by} (Q = {q} on {dof} degrees of freedom, p = {p}), from "
            "{least} in “{bottom}” to {most} in “{top}”; the extremes are overstated by being picked.",
            least=change(self.effects[bottom], signed=True),
            most=change(self.effects[top], signed=True),
            bottom=bottom,
            top=top,
            **words,
        )

    def table(self) -> pd.DataFrame:
        """Return the effects as text for a page, everybody first."""
        import pandas as pd

        lines: list[tuple[str, Estimate, float | None]] = [(message("everybody"), self.overall, None)]
        lines += [(name, e, self.p_adjusted[name]) for name, e in self.effects.items()]
        return pd.DataFrame(
            [
                {
                    message("Segment"): name,
                    message("Difference"): change(e, signed=True),
                    message("Interval"): change_interval(e),
                    message("p, adjusted"): "–" if p is None else number(p, digits=4),
                    message("n"): f"{e.n:,}",
                }
                for name, e, p in lines
            ]
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the effects of all segments with the effect over all as a line.

        Args:
            ax: Axes to draw on; new ones when None.
        """
        from loyalty_research.plots.comparison import forest

        scale = 100.0 if self.overall.unit == "fraction" else 1.0
        unit = message("percentage points") if self.overall.unit == "fraction" else self.overall.unit
        found = list(self.effects.items())
        return forest(
            [name for name, _ in found],
            [scale * e.value for _, e in found],
            [scale * e.low for _, e in found],
            [scale * e.high for _, e in found],
            annotations=[change(e, signed=True) for _, e in found],
            reference=(scale * self.overall.value, message("everybody")),
            xlabel=message(
                "Difference in {metric}{unit}, all segments at once",
                metric=self.metric,
                unit=f", {unit}" if unit else "",
            ),
            ax=ax,
        )


def effects_by_segment(
    plan: Comparison,
    table: Any,
    *,
    by: str,
    metric: str | None = None,
    arm: str | None = None,
) -> SegmentResult:
    """Estimate the effect in every segment, and test first whether segments differ at all.

    With many segments some will look different by chance. So one test asks whether they differ
    (Cochran's Q), intervals are wide enough to hold in all segments at once (Sidak), and p-values
    are adjusted (Holm). A segment must be known before assignment.

    Args:
        plan: A comparison of design ``"randomised"``; its metrics, covariates, clusters and level
            are used.
        table: One row per unit, as for :meth:`Comparison.analyse`.
        by: Column of the segments, measured before assignment.
        metric: Label of the metric; the first primary one when None.
        arm: Treated arm; the only one when None.

    Returns:
        The effects with everybody's beside them. Segments with fewer than 5 units in an arm are
        left out and counted.

    Raises:
        ArgumentError: When the metric or arm is unknown, or is needed.
        ContractError: When columns are absent or hold what they cannot.
        DesignError: When the design draws no lots, or fewer than two segments are left.

    References:
        Cochran (1954), Biometrics 10, 101-129 (Q); Sidak (1967), JASA 62, 626-633.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.comparison import Comparison, Mean
        >>> units = pd.DataFrame({"arm": ["a", "b"] * 60, "region": ["n"] * 60 + ["s"] * 60})
        >>> units["spend"] = [i % 7 + 2.0 * (i % 2) for i in range(120)]
        >>> plan = Comparison(Mean("spend"), design="randomised", assignment="arm", control="a")
        >>> found = effects_by_segment(plan, units, by="region")
        >>> list(found.effects), found.heterogeneity[1]
        (['n', 's'], 1)
    """
    if plan.design != "randomised":
        raise DesignError(
            f"effects by segment need design='randomised'; got {plan.design!r}: elsewhere compare within a segment by "
            "analysing its units alone"
        )
    chosen = _metric(plan, metric)
    if by in (plan.assignment, *chosen.outcomes):
        raise ArgumentError(f"by={by!r} is the assignment or an outcome: a segment is known before")
    moments = arm_moments(table, [chosen], arm=plan.assignment, strata=by, cluster=plan.cluster)
    whole = arm_moments(table, [chosen], arm=plan.assignment, cluster=plan.cluster)
    control, arms = treated_arms(moments, plan.control, plan.assignment)
    if arm is None and len(arms) > 1:
        raise ArgumentError(f"arm= is needed: which of {', '.join(arms)}?")
    treated = arms[0] if arm is None else arm
    if treated not in arms:
        raise ArgumentError(f"there is no arm {treated!r}; there is {', '.join(arms)}")
    cells = moments.metrics[chosen.label].cells
    shown = [
        s
        for s in moments.strata
        if all(
            (a, s) in cells and cells[a, s].n >= _LEAST and cells[a, s].rows >= 2 for a in (treated, control)
        )
    ]
    if len(shown) < 2:
        raise DesignError(
            f"units.{by}: {len(shown)} segments have at least {_LEAST} units with a value in both arms; two are needed"
        )
    level = plan.level ** (1 / len(shown))
    found = {s: _within(chosen, moments, s, treated, control, level, plan.level) for s in shown}
    weights = [1 / d.standard_error**2 for d in found.values()]
    centre = sum(w * d.estimate.value for w, d in zip(weights, found.values(), strict=True)) / sum(weights)
    q = sum(w * (d.estimate.value - centre) ** 2 for w, d in zip(weights, found.values(), strict=True))
    dof = len(shown) - 1
    raw = [d.estimate.p_value if d.estimate.p_value is not None else 1.0 for d in found.values()]
    adjusted = adjust_p_values(raw, method="holm")
    p = float(stats.chi2.sf(q, dof))
    return SegmentResult(
        metric=chosen.label,
        arm=treated,
        control=control,
        by=by,
        overall=differences(whole, [chosen], control, [treated], plan.level)[0].estimate,
        effects={s: d.estimate for s, d in found.items()},
        p_adjusted={s: float(v) for s, v in zip(shown, adjusted, strict=True)},
        heterogeneity=(float(q), dof, p),
        left_out=len(moments.strata) - len(shown),
        checks=(_left_out_check(len(moments.strata) - len(shown), by),),
    )


def _metric(plan: Comparison, label: str | None) -> Metric:
    metrics = [m.adjusted_for(plan.covariates) for m in plan.metrics if not isinstance(m, Quantile)]
    chosen = [m for m in metrics if (m.role == "primary" if label is None else m.label == label)]
    if not chosen:
        raise ArgumentError(
            f"there is no such metric to look at by segment; there is {', '.join(m.label for m in metrics)}"
        )
    return chosen[0]


def _within(
    metric: Metric,
    moments: ArmMoments,
    segment: str,
    treated: str,
    control: str,
    level: float,
    nominal: float,
) -> Difference:
    """Compare the arms in one segment, at the level that holds in all."""
    own = moments.metrics[metric.label]
    cells = {(a, ""): c for (a, s), c in own.cells.items() if s == segment}
    part = replace(
        moments,
        strata=("",),
        units={(a, ""): n for (a, s), n in moments.units.items() if s == segment},
        metrics={metric.label: replace(own, cells=cells)},
    )
    (found,) = differences(part, [metric], control, [treated], level)
    if not (math.isfinite(found.standard_error) and found.standard_error > 0):
        raise DesignError(f"{metric.label} does not vary in a segment: leave that segment out")
    e = found.estimate
    return replace(found, estimate=replace(e, level=nominal, method=f"{e.method}, all segments at once"))


def _left_out_check(count: int, by: str) -> Check:
    return Check(
        message("segments shown"),
        "warning" if count else "passed",
        message("{count} segments of {by} have too few units to show", count=count, by=by),
    )
