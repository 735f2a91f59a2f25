"""Invitation by chance, joining by choice: what the invitation did, and joining for those it moved."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
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
from loyalty_research.comparison.metrics import Ratio
from loyalty_research.comparison.randomised import (
    adjusted_p_values,
    differences,
    margin_sentences,
    missing_counts,
    need_primary,
)
from loyalty_research.comparison.result import (
    NOT_AN_EFFECT,
    ComparisonResult,
    Statement,
    as_numbers,
    capital,
    change,
    change_interval,
    shown,
    slug,
)
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Check, Estimate, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.arm_contrasts import (
    arm_means,
    contrast,
    mean_of_first,
    ratio_of_first_two,
    t_limits,
)
from loyalty_research.summaries import arm_moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from loyalty_research.comparison.design import Comparison
    from loyalty_research.comparison.metrics import Metric
    from loyalty_research.comparison.randomised import Difference
    from loyalty_research.stats.arm_contrasts import Contrast
    from loyalty_research.summaries import ArmMoments

__all__ = [
    "AndersonRubinSet",
    "Effect",
    "Joined",
    "analyse_encouragement",
    "anderson_rubin_set",
    "effect_of_joining",
    "wald_estimate",
]

_WEAK_F = 10.0


@dataclass(frozen=True, slots=True)
class AndersonRubinSet:
    """Values of the effect that the data do not reject.

    Attributes:
        kind: ``"interval"``, ``"two rays"`` (everything except a bounded gap) or ``"whole line"``.
        parts: The set as (low, high) pairs in order.
        level: Coverage aimed at.
    """

    kind: str
    parts: tuple[tuple[float, float], ...]
    level: float

    def __contains__(self, value: float) -> bool:
        return any(low <= value <= high for low, high in self.parts)

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the set; infinite where it is unbounded."""
        return self.parts[0][0], self.parts[-1][1]

    def text(self) -> str:
        """Return the set in words."""
        if self.kind == "whole line":
            return message("any value")
        if self.kind == "interval":
            return message("{low} to {high}", low=_short(self.parts[0][0]), high=_short(self.parts[0][1]))
        return message(
            "below {low} or above {high}", low=_short(self.parts[0][1]), high=_short(self.parts[1][0])
        )


def _short(value: float) -> str:
    return number(value, digits=1 if abs(value) >= 10 else None)


def _covariance(given: Any) -> NDArray[np.float64]:
    matrix = np.asarray(given, dtype=float)
    ok = matrix.shape == (2, 2) and bool(np.all(np.isfinite(matrix)))
    # who joined may be certain, when everybody did what they were invited to
    ok = ok and bool(matrix[0, 0] > 0) and bool(matrix[1, 1] >= 0)
    if not ok or not math.isclose(matrix[0, 1], matrix[1, 0], rel_tol=1e-9, abs_tol=1e-300):
        raise ArgumentError(
            "covariance is a finite symmetric 2 x 2 matrix with a positive variance of the outcome's effect"
        )
    return matrix


def wald_estimate(
    outcome: float, received: float, *, covariance: Any, n: int, level: float = 0.95, unit: str | None = None
) -> Estimate:
    """Return the effect of joining on those whom the invitation moved (CACE, Wald's ratio).

    Args:
        outcome: Effect of the invitation on the outcome.
        received: Effect of the invitation on the share that joined.
        covariance: Covariance of the two, shape (2, 2).
        n: Units.
        level: Coverage aimed at.
        unit: Unit of the outcome.

    Returns:
        The ratio with its delta-method interval, which misleads when ``received`` is not far from
        zero: read it with :func:`anderson_rubin_set`.

    Raises:
        ArgumentError: When ``received`` is zero or the covariance is not one.

    References:
        Imbens and Angrist (1994), Econometrica 62, 467-475; Angrist, Imbens and Rubin (1996).

    Examples:
        >>> wald_estimate(12.8, 0.15, covariance=[[9.0, 0.0], [0.0, 0.0001]], n=10_000).value
        85.33...
    """
    v = _covariance(covariance)
    if received == 0:
        raise ArgumentError(
            "the invitation moved nobody to join, so there is no effect of joining to estimate"
        )
    ratio = outcome / received
    variance = (v[0, 0] - 2 * ratio * v[0, 1] + ratio**2 * v[1, 1]) / received**2
    half = float(stats.norm.isf((1 - check_level(level)) / 2)) * math.sqrt(max(float(variance), 0.0))
    p_value = float(2 * stats.norm.sf(abs(outcome) / math.sqrt(v[0, 0])))
    return Estimate(ratio, ratio - half, ratio + half, level, "Wald, delta method", n, unit, p_value)


def anderson_rubin_set(
    outcome: float, received: float, *, covariance: Any, level: float = 0.95, dof: float = math.inf
) -> AndersonRubinSet:
    """Return every effect of joining that the invitation's effects do not reject.

    It covers however weakly the invitation moved people, and so it may be unbounded: an
    interval, two rays or the whole line. It is never cut to look like an interval. With one
    invitation and one outcome it always holds Wald's ratio, so it is never empty.

    Args:
        outcome: Effect of the invitation on the outcome.
        received: Effect of the invitation on the share that joined.
        covariance: Covariance of the two, shape (2, 2).
        level: Coverage aimed at.
        dof: Degrees of freedom of the critical value; normal when infinite.

    Raises:
        ArgumentError: When the covariance is not one.

    References:
        Anderson and Rubin (1949), Annals of Mathematical Statistics 20, 46-63; Fieller (1954).

    Examples:
        >>> anderson_rubin_set(12.8, 0.15, covariance=[[9.0, 0.0], [0.0, 0.0001]]).text()
        '45.7 to 127.9'
        >>> anderson_rubin_set(12.8, 0.001, covariance=[[9.0, 0.0], [0.0, 0.0001]]).kind
        'two rays'
    """
    v = _covariance(covariance)
    critical = float(stats.t.isf((1 - check_level(level)) / 2, dof)) ** 2
    # (outcome - b received)^2 <= critical Var(outcome - b received), a quadratic in b
    a = received**2 - critical * v[1, 1]
    b = outcome * received - critical * v[0, 1]
    c = outcome**2 - critical * v[0, 0]
    gap = b * b - a * c
    if a > 0:
        root = math.sqrt(max(gap, 0.0))
        return AndersonRubinSet("interval", ((float((b - root) / a), float((b + root) / a)),), level)
    if a < 0 and gap > 0:
        root = math.sqrt(gap)
        ends = float((b + root) / a), float((b - root) / a)
        return AndersonRubinSet("two rays", ((-math.inf, ends[0]), (ends[1], math.inf)), level)
    return AndersonRubinSet("whole line", ((-math.inf, math.inf),), level)


@dataclass(frozen=True, slots=True)
class Joined:
    """A metric together with who joined, so that one query gives their joint moments."""

    metric: Metric
    received: str

    @property
    def label(self) -> str:
        """Name of the metric."""
        return self.metric.label

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The metric's outcomes, and last who joined."""
        return (*self.metric.outcomes, self.received)

    @property
    def domains(self) -> tuple[str, ...]:
        """Who joined is 0 or 1 and never missing."""
        return (*self.metric.domains, "indicator")

    @property
    def covariates(self) -> tuple[str, ...]:
        """Covariates of the metric."""
        return self.metric.covariates

    @property
    def cap(self) -> float | None:
        """Cap of the metric."""
        return self.metric.cap


def _joint(metric: Metric) -> Any:
    """Return a functional of (outcomes, received): the metric's value, then the share that joined."""
    first = ratio_of_first_two if isinstance(metric, Ratio) else mean_of_first

    def functional(outcomes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        value, gradient = first(outcomes)
        last = np.zeros((1, len(outcomes)))
        last[0, -1] = 1.0
        return np.append(value, outcomes[-1]), np.vstack([gradient, last])

    return functional


@dataclass(frozen=True, slots=True)
class Effect:
    """Everything about one metric and one invited arm."""

    metric: Metric
    arm: str
    both: Contrast
    wald: Estimate
    ar: AndersonRubinSet
    f_statistic: float


def _without_received(moments: ArmMoments, metrics: Sequence[Metric]) -> ArmMoments:
    """Return the moments of the metrics alone: a margin of the joint ones, so no second query."""
    kept = {}
    for metric in metrics:
        joint, position = moments.metrics[metric.label], len(metric.outcomes)
        cells = {
            key: replace(
                cell,
                mean=np.delete(cell.mean, position),
                cov=np.delete(np.delete(cell.cov, position, axis=0), position, axis=1),
            )
            for key, cell in joint.cells.items()
        }
        columns = (*joint.columns[:position], *joint.columns[position + 1 :])
        kept[metric.label] = replace(
            joint, columns=columns, shift=np.delete(joint.shift, position), cells=cells
        )
    return replace(moments, metrics=kept)


def effect_of_joining(
    metric: Metric, moments: ArmMoments, arm: str, control: str, received: str, level: float
) -> Effect:
    """Estimate the invitation's effects on outcome and joining, and their ratio."""
    cells = moments.metrics[metric.label]
    weights = stratum_weights(cells)
    both = contrast(
        arm_means(cells, arm, weights),
        arm_means(cells, control, weights),
        _joint(metric),
        outcomes=len(metric.outcomes) + 1,
        covariates=metric.covariates,
    )
    moved, variance = float(both.difference[1]), float(both.covariance[1, 1])
    if moved == 0:
        raise ContractError(
            f"units.{received}: the invitation moved nobody, so there is no effect of joining to estimate"
        )
    wald = wald_estimate(
        float(both.difference[0]),
        moved,
        covariance=both.covariance,
        n=both.n,
        level=level,
        unit=metric.shown_unit,
    )
    ar = anderson_rubin_set(
        float(both.difference[0]),
        moved,
        covariance=both.covariance,
        level=level,
        dof=float(np.nanmin(both.dof)),
    )
    return Effect(metric, arm, both, wald, ar, moved**2 / variance if variance > 0 else math.inf)


def _effect_rows(effect: Effect, itt: Difference, adjusted: float, control: str) -> list[Row]:
    group = f"{effect.arm} v {control}"
    low, high = effect.ar.limits
    ar = replace(effect.wald, low=low, high=high, method="Anderson-Rubin set", p_value=None)
    extra = as_numbers(
        treated=itt.treated,
        control=itt.control,
        relative=itt.relative[0],
        relative_low=itt.relative[1],
        relative_high=itt.relative[2],
        p_adjusted=adjusted,
        nulls=itt.nulls,
    )
    words = {"role": effect.metric.role}
    # limits say it all when the set is an interval
    odd = {} if effect.ar.kind == "interval" else {"set": effect.ar.text()}
    return [
        Row(effect.metric.label, itt.estimate, group, "ITT", {**words, **extra}),
        Row(effect.metric.label, ar, group, "CACE", words | odd),
        Row(effect.metric.label, effect.wald, group, "CACE", words),
    ]


def _first_stage_row(effect: Effect, received: str, control: str, level: float) -> Row:
    moved, error = float(effect.both.difference[1]), math.sqrt(float(effect.both.covariance[1, 1]))
    low, high, p_value = moved, moved, 0.0
    if error > 0:
        low, high, p_value = t_limits(moved, error, float(effect.both.dof[1]), level)
    method = "Welch t" if error > 0 else "certain"
    estimate = Estimate(moved, low, high, level, method, effect.both.n, "fraction", p_value)
    extra = as_numbers(
        treated=effect.both.treated[1], control=effect.both.control[1], f_statistic=effect.f_statistic
    )
    return Row(
        received,
        estimate,
        f"{effect.arm} v {control}",
        "share moved to join",
        {"role": "first stage", **extra},
    )


def _first_stage_check(effect: Effect) -> Check:
    weak = effect.f_statistic < _WEAK_F
    share = percent(float(effect.both.difference[1]))
    if math.isinf(effect.f_statistic):
        detail = message("everybody did as invited: the invitation moved {share} to join", share=share)
    else:
        detail = message(
            "F = {f}: the invitation moved {share} to join",
            f=number(effect.f_statistic, digits=1),
            share=share,
        )
    if weak:
        detail += "; " + message("too few for the Wald interval, so read the Anderson-Rubin set alone")
    return Check(message("first stage, “{arm}”", arm=effect.arm), "warning" if weak else "passed", detail)


def _naive(table: Any, plan: Comparison, metrics: Sequence[Metric], received: str) -> list[Difference]:
    """Compare those who joined with those who did not, whatever they were assigned to."""
    bare = [replace(m, covariates=()) for m in metrics]
    moments = arm_moments(table, bare, arm=received)
    if len(moments.arms) != 2:
        raise ContractError(f"units.{received} must hold both 0 and 1; it holds {', '.join(moments.arms)}")
    return differences(moments, bare, moments.arms[0], moments.arms[1:], plan.level)


def _itt_sentence(effect: Effect, itt: Difference, adjusted: float, control: str) -> str:
    e = itt.estimate
    parts = {
        "metric": capital(effect.metric.label),
        "treated": shown(itt.treated, e.unit),
        "base": shown(itt.control, e.unit),
        "arm": effect.arm,
        "control": control,
        "difference": change(e, signed=True),
        "interval": change_interval(e),
    }
    if adjusted < 1 - e.level:
        return message(
            "{metric}: {treated} among those assigned to “{arm}” against {base} in “{control}”, a difference of "
            "{difference} made by the invitation ({interval}).",
            **parts,
        )
    if not e.low <= 0 <= e.high:
        return message(
            "{metric}: the effect of the invitation “{arm}”, {difference} ({interval}), is not clear once the other "
            "primary comparisons are allowed for.",
            **parts,
        )
    return message("{metric}: no clear effect of the invitation “{arm}” ({difference}; {interval}).", **parts)


def _statements(
    effect: Effect, itt: Difference, adjusted: float, control: str, naive: Difference
) -> list[Statement]:
    """Return what the invitation did, what joining did to those it moved, and what the raw gap is."""
    name = slug(f"{effect.metric.label} {effect.arm}")
    first = Statement(name, _itt_sentence(effect, itt, adjusted, control), itt.estimate)
    if effect.ar.kind == "interval":
        ar = replace(
            effect.wald, low=effect.ar.limits[0], high=effect.ar.limits[1], method="Anderson-Rubin set"
        )
        text = message(
            "For those who joined because they were invited, joining made a difference of about {cace} ({interval}).",
            cace=change(effect.wald, signed=True),
            interval=change_interval(ar),
        )
        second = Statement(f"{name}-joining", text, ar)
    else:
        text = message("The invitation moved too few to say what joining does to those it moved.")
        second = Statement(f"{name}-joining", text, caution=True)
    gap = message(
        "The raw gap between those who joined and those who did not, {gap}, is not an effect: it mixes what "
        "joining does with who joins.",
        gap=change(naive.estimate, signed=True),
    )
    return [first, second, Statement(f"{name}-raw-gap", gap, naive.estimate, caution=True)]


def analyse_encouragement(plan: Comparison, table: Any) -> ComparisonResult:
    """Compare invited with control; see :class:`loyalty_research.comparison.Comparison`."""
    received = str(plan.received)
    metrics = tuple(m.adjusted_for(plan.covariates) for m in plan.metrics)
    need_primary(metrics)
    own = [m.label for m in metrics if received in m.outcomes]
    if own:
        raise ArgumentError(f"{', '.join(own)}: who joined cannot be an outcome too; its row is always shown")
    joined = [Joined(m, received) for m in metrics]
    moments = arm_moments(table, joined, arm=plan.assignment, strata=plan.strata, cluster=plan.cluster)
    control, arms = treated_arms(moments, plan.control, plan.assignment)
    sizes = arm_counts(moments)
    planned = planned_ratio(plan.ratio, control, arms, sizes)
    checks = [sample_ratio_check(moments, planned), *cluster_check(moments), *missing_checks(moments)]

    itt = differences(_without_received(moments, metrics), metrics, control, arms, plan.level)
    adjusted = adjusted_p_values(itt, method=plan.adjust)
    naive = {d.metric.label: d for d in _naive(table, plan, metrics, received)}
    pairs = [(m, arm) for m in metrics for arm in arms]
    effects = [effect_of_joining(m, moments, arm, control, received, plan.level) for m, arm in pairs]

    rows = [_first_stage_row(e, received, control, plan.level) for e in effects[: len(arms)]]
    statements: list[Statement] = []
    for effect, difference, p in zip(effects, itt, adjusted, strict=True):
        label = effect.metric.label
        rows += _effect_rows(effect, difference, p, control)
        if effect.arm == arms[-1]:
            gap = naive[label]
            extra = as_numbers(treated=gap.treated, control=gap.control, nulls=gap.nulls)
            group = message("joined v not, whatever was assigned")
            rows.append(Row(label, gap.estimate, group, NOT_AN_EFFECT, {"role": effect.metric.role, **extra}))
        if effect.metric.role == "primary":
            statements += _statements(effect, difference, p, control, naive[label])
    return ComparisonResult(
        design="encouragement",
        estimand=message(
            "effect of the invitation (ITT), and of joining on those who joined because they were invited (CACE)"
        ),
        control=control,
        arms=arms,
        level=plan.level,
        metrics=metrics,
        rows=tuple(rows),
        sizes={arm: sizes[arm] for arm in (control, *arms)},
        statements=(*statements, *margin_sentences(itt)),
        dropped=missing_counts(moments),
        checks=(*checks, *(_first_stage_check(e) for e in effects[: len(arms)]), _assumptions()),
    )


def _assumptions() -> Check:
    return Check(
        message("the invitation works only through joining"),
        "not measurable",
        message(
            "if the invitation itself changes what people do, the effect of joining is not what is shown"
        ),
    )
