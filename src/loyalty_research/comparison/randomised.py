"""Randomised arms: differences by intention to treat."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scipy import stats

from loyalty_research.comparison._arms import (
    arm_counts,
    cluster_check,
    missing_checks,
    planned_ratio,
    sample_ratio_check,
    stratum_weights,
    treated_arms,
)
from loyalty_research.comparison.looks import Looks
from loyalty_research.comparison.metrics import Mean, Proportion, Quantile, Ratio
from loyalty_research.comparison.quantiles import outcomes_by_arm, quantile_difference
from loyalty_research.comparison.result import (
    ComparisonResult,
    Statement,
    capital,
    change,
    change_interval,
    shown,
    slug,
)
from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Estimate, Row
from loyalty_research.i18n import message
from loyalty_research.stats.arm_contrasts import (
    arm_means,
    contrast,
    fieller,
    mean_of_first,
    ratio_of_first_two,
    t_limits,
)
from loyalty_research.stats.multiplicity import adjust_p_values
from loyalty_research.stats.proportions import difference_in_proportions
from loyalty_research.summaries import arm_moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loyalty_research.comparison.design import Comparison
    from loyalty_research.comparison.looks import Anytime
    from loyalty_research.comparison.metrics import Metric
    from loyalty_research.stats.arm_contrasts import ArmMeans, Contrast
    from loyalty_research.summaries import ArmMoments, MetricMoments

__all__ = ["analyse_randomised"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric in one arm against control.

    Attributes:
        metric: The declaration.
        arm: Label of the treated arm.
        estimate: Treated minus control.
        treated: Treated value, adjusted where the difference is.
        control: Control value, likewise.
        relative: Difference over control with Fieller limits; NaN where control is not clearly positive.
        nulls: Units of both arms left out because the outcome is missing.
        standard_error: Of the difference.
        inner: Limits at twice the error, those that equivalence is judged by.
    """

    metric: Metric
    arm: str
    estimate: Estimate
    treated: float
    control: float
    relative: tuple[float, float, float]
    nulls: int
    standard_error: float
    inner: tuple[float, float]


def _inner(level: float) -> float:
    """Return the level whose two-sided interval holds two one-sided tests (Schuirmann 1987)."""
    return max(2 * level - 1, 1e-9)


def _relative(c: Contrast, critical: float) -> tuple[float, float, float]:
    base = float(c.control[0])
    if base <= 0:
        return math.nan, math.nan, math.nan
    low, high = fieller(
        float(c.difference[0]),
        base,
        float(c.covariance[0, 0]),
        float(c.control_variance[0]),
        float(c.covariance_with_control[0]),
        critical,
    )
    return float(c.difference[0]) / base, low, high


def _check_ratio(metric: Metric, means: Sequence[ArmMeans]) -> None:
    if isinstance(metric, Ratio) and any(m.mean[1] <= 0 for m in means):
        raise ContractError(
            f"{metric.label}: {metric.denominator} adds up to 0 in an arm, so the ratio has no value"
        )


def _method(metric: Metric, moments: ArmMoments) -> str:
    parts = ["delta method" if isinstance(metric, Ratio) else "Welch t"]
    if metric.covariates:
        parts.append(f"adjusted for {', '.join(metric.covariates)}")
    if len(moments.strata) > 1:
        parts.append("post-stratified")
    if moments.clusters is not None:
        parts.append("clusters")
    if metric.cap is not None:
        parts.append(f"capped at percentile {100 * metric.cap:g}")
    return ", ".join(parts)


def _no_variation(metric: Metric) -> ContractError:
    return ContractError(
        f"{metric.label} does not vary within the arms: there is nothing to measure a difference against"
    )


def _counted(metric: Metric, cells: MetricMoments, arm: str, control: str, level: float) -> Difference:
    """Compare two plain proportions by Newcombe's interval."""
    one, zero = cells.cells[arm, ""], cells.cells[control, ""]
    for label, cell in ((arm, one), (control, zero)):
        if cell.n < 1:
            raise ContractError(f"{metric.label}: arm {label} has no unit with a value")
    rates = [float(cells.shift[0] + c.mean[0]) for c in (one, zero)]
    hits = [round(rate * c.n) for rate, c in zip(rates, (one, zero), strict=True)]
    if sum(hits) in (0, one.n + zero.n):
        raise _no_variation(metric)
    estimate = difference_in_proportions(hits[0], one.n, hits[1], zero.n, method="newcombe", level=level)
    inner = difference_in_proportions(hits[0], one.n, hits[1], zero.n, method="newcombe", level=_inner(level))
    variances = [rate * (1 - rate) / c.n for rate, c in zip(rates, (one, zero), strict=True)]
    relative = (math.nan, math.nan, math.nan)
    if hits[1]:
        low, high = fieller(
            estimate.value,
            rates[1],
            sum(variances),
            variances[1],
            -variances[1],
            float(stats.norm.isf((1 - level) / 2)),
        )
        relative = (estimate.value / rates[1], low, high)
    return Difference(
        metric,
        arm,
        estimate,
        rates[0],
        rates[1],
        relative,
        one.nulls + zero.nulls,
        math.sqrt(sum(variances)),
        (inner.low, inner.high),
    )


def _modelled(metric: Metric, moments: ArmMoments, arm: str, control: str, level: float) -> Difference:
    """Compare means or ratios through their moments."""
    cells = moments.metrics[metric.label]
    weights = stratum_weights(cells)
    treated, base = arm_means(cells, arm, weights), arm_means(cells, control, weights)
    _check_ratio(metric, (treated, base))
    functional = ratio_of_first_two if isinstance(metric, Ratio) else mean_of_first
    c = contrast(treated, base, functional, outcomes=len(metric.outcomes), covariates=metric.covariates)
    variance, dof = float(c.covariance[0, 0]), float(c.dof[0])
    if not variance > 0:
        raise _no_variation(metric)
    error = math.sqrt(variance)
    low, high, p_value = t_limits(float(c.difference[0]), error, dof, level)
    estimate = Estimate(
        float(c.difference[0]), low, high, level, _method(metric, moments), c.n, metric.shown_unit, p_value
    )
    nulls = sum(cell.nulls for (a, _), cell in cells.cells.items() if a in (arm, control))
    relative = _relative(c, float(stats.t.isf((1 - level) / 2, dof)))
    inner = t_limits(estimate.value, error, dof, _inner(level))[:2]
    return Difference(
        metric, arm, estimate, float(c.treated[0]), float(c.control[0]), relative, nulls, error, inner
    )


def _ordered(
    plan: Comparison, table: Any, metric: Quantile, control: str, arms: Sequence[str], level: float
) -> list[Difference]:
    """Compare a quantile of every arm with control's."""
    if plan.strata is not None or plan.cluster is not None:
        raise DesignError(f"{metric.label}: quantiles take no strata= and no cluster=; compare means there")
    by_arm = outcomes_by_arm(table, metric, plan.assignment)
    out = []
    for arm in arms:
        (one, lost_one), (zero, lost_zero) = by_arm[arm], by_arm[control]
        found, inner = (
            quantile_difference(one, zero, q=metric.q, level=at, seed=plan.seed, unit=metric.shown_unit)
            for at in (level, _inner(level))
        )
        estimate, treated, base, error = found
        out.append(
            Difference(
                metric,
                arm,
                estimate,
                treated,
                base,
                (estimate.value / base if base > 0 else math.nan, math.nan, math.nan),
                lost_one + lost_zero,
                error,
                (inner[0].low, inner[0].high),
            )
        )
    return out


def differences(
    moments: ArmMoments, metrics: Sequence[Metric], control: str, arms: Sequence[str], level: float
) -> list[Difference]:
    """Compare every metric of every arm with control, in order."""
    out = []
    for metric in metrics:
        plain = isinstance(metric, Proportion) and not metric.covariates
        plain = plain and len(moments.strata) == 1 and moments.clusters is None
        for arm in arms:
            if plain:
                out.append(_counted(metric, moments.metrics[metric.label], arm, control, level))
            else:
                out.append(_modelled(metric, moments, arm, control, level))
    return out


def adjusted_p_values(found: Sequence[Difference], *, method: str = "holm") -> list[float]:
    """Adjust p-values within each family over metrics and arms; NaN for metrics of no family."""
    families: dict[str, list[int]] = {}
    for i, d in enumerate(found):
        if d.metric.family is not None or d.metric.role == "primary":
            families.setdefault(d.metric.family or "", []).append(i)
    out = [math.nan] * len(found)
    for places in families.values():
        given = [found[i].estimate.p_value for i in places]
        values = adjust_p_values([1.0 if p is None else p for p in given], method=method)
        for i, value in zip(places, values, strict=True):
            out[i] = float(value)
    return out


def equivalent(d: Difference) -> bool | None:
    """Return whether two one-sided tests hold the difference within the margin; None unless asked."""
    if not d.metric.equivalence or d.metric.margin is None:
        return None
    return -d.metric.margin < d.inner[0] and d.inner[1] < d.metric.margin


def no_worse(d: Difference) -> bool | None:
    """Return whether the interval excludes a loss beyond the margin; None without a margin."""
    if d.metric.margin is None:
        return None
    return (
        d.estimate.low > -d.metric.margin if d.metric.direction == "up" else d.estimate.high < d.metric.margin
    )


def worse(d: Difference) -> bool:
    """Return whether the whole interval lies on the bad side of zero."""
    return d.estimate.high < 0 if d.metric.direction == "up" else d.estimate.low > 0


def _row(d: Difference, adjusted: float, control: str, estimand: str) -> Row:
    extra: dict[str, Any] = {
        "role": d.metric.role,
        "treated": d.treated,
        "control": d.control,
        "relative": d.relative[0],
        "relative_low": d.relative[1],
        "relative_high": d.relative[2],
        "p_adjusted": adjusted,
        "nulls": d.nulls,
    }
    if d.metric.margin is not None:
        extra["margin"], extra["no_worse"] = d.metric.margin, no_worse(d)
    if d.metric.equivalence:
        extra["equivalent"] = equivalent(d)
    return Row(d.metric.label, d.estimate, f"{d.arm} v {control}", estimand, extra)


def _sentence(d: Difference, adjusted: float, control: str) -> str:
    e = d.estimate
    parts: dict[str, Any] = {
        "metric": capital(d.metric.label),
        "arm": d.arm,
        "control": control,
        "treated": shown(d.treated, e.unit),
        "base": shown(d.control, e.unit),
        "interval": change_interval(e),
        "size": change(Estimate(abs(e.value), math.nan, math.nan, e.level, e.method, e.n, e.unit)),
    }
    if adjusted >= 1 - e.level and not e.low <= 0 <= e.high:
        return message(
            "{metric}: {treated} in “{arm}” against {base} in “{control}”; the difference of {difference} ({interval}) is "
            "not clear once the other primary comparisons are allowed for.",
            difference=change(e, signed=True),
            **parts,
        )
    if adjusted >= 1 - e.level:
        return message(
            "{metric}: {treated} in “{arm}” against {base} in “{control}”, no clear difference ({difference}; {interval}).",
            difference=change(e, signed=True),
            **parts,
        )
    if e.value > 0:
        text = message(
            "{metric}: {treated} in “{arm}” against {base} in “{control}”, {size} higher ({interval}).",
            **parts,
        )
    else:
        text = message(
            "{metric}: {treated} in “{arm}” against {base} in “{control}”, {size} lower ({interval}).",
            **parts,
        )
    if worse(d):
        text += " " + message("That is a change for the worse.")
    return text


def _equivalence_statement(d: Difference, *, same: bool) -> Statement:
    e, unit = d.estimate, d.metric.shown_unit
    words = {
        "metric": capital(d.metric.label),
        "arm": d.arm,
        "margin": change(Estimate(d.metric.margin or 0.0, 0, 0, e.level, "", 0, unit)),
        "interval": change_interval(
            replace(e, low=d.inner[0], high=d.inner[1], level=round(_inner(e.level), 12))
        ),
    }
    if same:
        text = message(
            "{metric} in “{arm}” differs from control by less than the tolerated {margin} either way ({interval}).",
            **words,
        )
    else:
        text = message(
            "{metric} in “{arm}” may differ from control by more than the tolerated {margin} ({interval}).",
            **words,
        )
    return Statement(slug(f"{d.metric.label} {d.arm} equivalence"), text, e)


def _looked_at(d: Difference, looks: Looks | Anytime, level: float) -> Difference:
    """Widen the interval and raise the p-value to what several looks allow."""
    e = d.estimate
    method = f"{e.method}, {looks.method}"
    if isinstance(looks, Looks):
        # limits are at the bound of this look already
        p = None if e.p_value is None else looks.p_value(e.p_value)
        return replace(d, estimate=replace(e, level=level, method=method, p_value=p))
    half = looks.half_width(d.standard_error, e.n, level)
    wide = looks.half_width(d.standard_error, e.n, _inner(level))
    p = looks.p_value(e.value, d.standard_error, e.n, level)
    relative = (d.relative[0], math.nan, math.nan)
    return replace(
        d,
        estimate=replace(e, low=e.value - half, high=e.value + half, method=method, p_value=p),
        relative=relative,
        inner=(e.value - wide, e.value + wide),
    )


def _compared(
    plan: Comparison,
    table: Any,
    moments: ArmMoments,
    metrics: Sequence[Metric],
    control: str,
    arms: Sequence[str],
) -> list[Difference]:
    """Compare every metric of every arm with control, at the level this look allows."""
    looks = plan.looks
    level = 1 - looks.alpha(1 - plan.level) if isinstance(looks, Looks) else plan.level
    out: list[Difference] = []
    for metric in metrics:
        if isinstance(metric, Quantile):
            out += _ordered(plan, table, metric, control, arms, level)
        else:
            out += differences(moments, [metric], control, arms, level)
    return out if looks is None else [_looked_at(d, looks, plan.level) for d in out]


def margin_sentences(found: Sequence[Difference]) -> list[Statement]:
    """Return a sentence for each margin, and for each guardrail that got worse."""
    out = []
    for d in found:
        within, same = no_worse(d), equivalent(d)
        if same is not None:
            out.append(_equivalence_statement(d, same=same))
        elif within is not None:
            margin = change(
                Estimate(d.metric.margin or 0.0, 0, 0, d.estimate.level, "", 0, d.metric.shown_unit)
            )
            if within:
                text = message(
                    "{metric} in “{arm}” is no worse than the tolerated {margin}.",
                    metric=capital(d.metric.label),
                    arm=d.arm,
                    margin=margin,
                )
            else:
                text = message(
                    "{metric} in “{arm}” may be worse by more than the tolerated {margin} ({interval}).",
                    metric=capital(d.metric.label),
                    arm=d.arm,
                    margin=margin,
                    interval=change_interval(d.estimate),
                )
            out.append(Statement(slug(f"{d.metric.label} {d.arm} margin"), text, d.estimate))
        elif d.metric.role == "guardrail" and worse(d):
            text = message(
                "{metric} got worse in “{arm}”: {difference} ({interval}).",
                metric=capital(d.metric.label),
                arm=d.arm,
                difference=change(d.estimate, signed=True),
                interval=change_interval(d.estimate),
            )
            out.append(Statement(slug(f"{d.metric.label} {d.arm} guardrail"), text, d.estimate))
    return out


def need_primary(metrics: Sequence[Metric]) -> None:
    """Refuse a comparison that nothing decides."""
    if not any(m.role == "primary" for m in metrics):
        raise ArgumentError("no metric has role='primary': say which one decides")


def analyse_randomised(plan: Comparison, table: Any) -> ComparisonResult:
    """Compare randomised arms; see :class:`loyalty_research.comparison.Comparison`."""
    metrics = tuple(m.adjusted_for(plan.covariates) for m in plan.metrics)
    need_primary(metrics)
    # of a quantile's column only sizes and missing values come from moments
    summed = [Mean(m.column, name=m.label) if isinstance(m, Quantile) else m for m in metrics]
    moments = arm_moments(table, summed, arm=plan.assignment, strata=plan.strata, cluster=plan.cluster)
    control, arms = treated_arms(moments, plan.control, plan.assignment)
    sizes = arm_counts(moments)
    planned = planned_ratio(plan.ratio, control, arms, sizes)
    checks = [sample_ratio_check(moments, planned), *cluster_check(moments), *missing_checks(moments)]
    if isinstance(plan.looks, Looks):
        checks.append(plan.looks.check(1 - plan.level))
    elif plan.looks is not None:
        checks.append(plan.looks.check(sum(sizes.values())))
    found = _compared(plan, table, moments, metrics, control, arms)
    adjusted = adjusted_p_values(found, method=plan.adjust)
    rows = tuple(_row(d, p, control, "ITT") for d, p in zip(found, adjusted, strict=True))
    statements = [
        Statement(slug(f"{d.metric.label} {d.arm}"), _sentence(d, p, control), d.estimate)
        for d, p in zip(found, adjusted, strict=True)
        if d.metric.role == "primary"
    ]
    statements += margin_sentences(found)
    return ComparisonResult(
        design="randomised",
        estimand=message(
            "effect of being assigned to the arm, whatever was done with it (intention to treat, ITT)"
        ),
        control=control,
        arms=arms,
        level=plan.level,
        metrics=metrics,
        rows=rows,
        sizes={arm: sizes[arm] for arm in (control, *arms)},
        statements=tuple(statements),
        dropped=missing_counts(moments),
        checks=tuple(checks),
    )


def missing_counts(moments: ArmMoments) -> dict[str, int]:
    """Return how many units each metric leaves out."""
    return {
        message("units without {metric}", metric=label): sum(cell.nulls for cell in m.cells.values())
        for label, m in moments.metrics.items()
    }
