"""From a table of units to checked arrays of two groups."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
from scipy import stats

from loyalty_research.comparison._propensity import covariate_matrix
from loyalty_research.comparison._weights import difference_limits
from loyalty_research.comparison.metrics import Mean
from loyalty_research.comparison.weighting import cluster_codes
from loyalty_research.errors import ContractError, at_rows, listed
from loyalty_research.estimates import Estimate
from loyalty_research.summaries import group_label
from loyalty_research.summaries._frames import as_lazy

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.comparison._propensity import Covariates
    from loyalty_research.comparison._weights import Potential
    from loyalty_research.comparison.design import Comparison
    from loyalty_research.comparison.metrics import Metric

    Array = NDArray[np.float64]

__all__ = [
    "Sample",
    "collect_units",
    "group_labels",
    "in_both_groups",
    "nearer_ratio_limit",
    "regression_t",
    "sample_of",
    "welch_gap",
    "within_spread",
]


_MOST_LEFT_OUT = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """Units of two groups with every outcome of one metric."""

    design: Covariates
    treated: Array
    outcomes: tuple[Array, ...]
    clusters: NDArray[np.int64] | None


def collect_units(table: Any, plan: Comparison) -> pd.DataFrame:
    """Fetch the columns of the plan as a pandas frame with numeric outcomes checked."""
    frame = as_lazy(table, "units")
    schema = frame.collect_schema()
    outcomes = list(dict.fromkeys(c for m in plan.metrics for c in m.outcomes))
    extra = [c for c in (plan.placebo, plan.cluster) if c is not None]
    covariates = [*plan.covariates, *(c for m in plan.metrics for c in m.covariates)]
    wanted = list(dict.fromkeys([plan.assignment, *outcomes, *covariates, *extra]))
    lacking = [c for c in wanted if c not in schema]
    if lacking:
        raise ContractError(
            f"units has no column {', '.join(map(repr, lacking))}; it has {', '.join(schema)}"
        )
    for name in [*outcomes, *([plan.placebo] if plan.placebo else [])]:
        if not (schema[name].is_numeric() or schema[name] == nw.Boolean):
            raise ContractError(f"units.{name} holds {schema[name]}, not numbers")
    found: pd.DataFrame = frame.select(wanted).collect(backend="pandas").to_native().copy()
    if not len(found):
        raise ContractError("units is empty: there is nothing to compare")
    for name in covariates:
        kind = schema[name]
        if kind.is_decimal():
            found[name] = found[name].astype(float)
    for name in [*outcomes, *([plan.placebo] if plan.placebo else [])]:
        found[name] = found[name].astype(float)
    _check_outcomes(found, plan)
    missing = np.flatnonzero(found[plan.assignment].isna().to_numpy())
    if len(missing):
        raise ContractError(f"units.{plan.assignment} is missing in {at_rows(missing.tolist())}")
    return found


def _check_outcomes(frame: pd.DataFrame, plan: Comparison) -> None:
    problems = []
    placebo = () if plan.placebo is None else (Mean(plan.placebo),)
    for metric in (*plan.metrics, *placebo):
        for name, domain in zip(metric.outcomes, metric.domains, strict=True):
            values = frame[name].to_numpy()
            bad = np.isinf(values)
            word = "infinite"
            if not bad.any() and domain == "binary":
                bad, word = ~np.isnan(values) & (values != 0) & (values != 1), "neither 0 nor 1"
            if not bad.any() and domain == "nonnegative":
                bad, word = values < 0, "negative (an exposure cannot be)"
            if bad.any():
                problems.append(f"units.{name} is {word} in {at_rows(np.flatnonzero(bad).tolist())}")
        if np.isnan(frame[list(metric.outcomes)].to_numpy()).any(axis=1).all():
            problems.append(f"{metric.label} has no value in any unit")
        elif np.nanmax(frame[metric.outcomes[0]]) == np.nanmin(frame[metric.outcomes[0]]):
            problems.append(f"{metric.label} does not vary: there is nothing to compare")
    if problems:
        raise ContractError("; ".join(dict.fromkeys(problems)))


def group_labels(frame: pd.DataFrame, plan: Comparison) -> tuple[Any, str, dict[str, int]]:
    labels = frame[plan.assignment].map(group_label)
    counts = {str(k): int(v) for k, v in sorted(labels.value_counts().items())}
    control = group_label(plan.control)
    seen = listed(f"{name} ({n:,})" for name, n in counts.items())
    if control not in counts:
        raise ContractError(f"units.{plan.assignment} has no control {control!r}; it holds {seen}")
    if len(counts) < 2:
        raise ContractError(f"units.{plan.assignment} holds only {seen}: there is nobody to compare with")
    return labels.to_numpy(), control, counts


def in_both_groups(frame: pd.DataFrame, treated: Array, columns: Sequence[str]) -> NDArray[np.bool_]:
    """Return which units belong to categories that both groups have.

    A rare category that one group lacks would otherwise separate the groups as a whole. Where this
    would take more than a tenth of a group, or all but one category of a column, nobody is left
    out: then the groups do not overlap, and that is for the gate to say.
    """
    kept = np.ones(len(frame), dtype=bool)
    words = [c for c in columns if frame[c].dtype.kind not in "biuf" and frame[c].notna().all()]
    while True:
        before = int(kept.sum())
        for name in words:
            codes, levels = frame[name].astype(str).factorize()
            held = [np.bincount(codes[kept & (treated == g)], minlength=len(levels)) > 0 for g in (0, 1)]
            shared = held[0] & held[1]
            if shared.sum() < 2:
                return np.ones(len(frame), dtype=bool)
            kept &= shared[codes]
        if kept.sum() == before:
            break
    shares = [kept[treated == g].mean() for g in (0, 1)]
    return kept if min(shares) >= 1 - _MOST_LEFT_OUT else np.ones(len(frame), dtype=bool)


def sample_of(
    frame: pd.DataFrame, treated: Array, metric: Metric, covariates: Sequence[str], cluster: str | None
) -> Sample:
    kept = frame[list(metric.outcomes)].notna().all(axis=1).to_numpy()
    part = frame.loc[kept].reset_index(drop=True)
    if not 0 < treated[kept].sum() < kept.sum():
        raise ContractError(f"{metric.label} has no value in one of the groups")
    columns = [part[c].to_numpy(dtype=float) for c in metric.outcomes]
    if metric.cap is not None:
        columns[0] = np.minimum(columns[0], np.quantile(columns[0], metric.cap))
    return Sample(
        design=covariate_matrix(part, covariates),
        treated=treated[kept],
        outcomes=tuple(columns),
        clusters=cluster_codes(part, cluster, treated[kept]),
    )


def welch_gap(one: Array, zero: Array, *, level: float, method: str, unit: str | None) -> Estimate:
    """Return the plain difference of two means with Welch's interval."""
    test = stats.ttest_ind(one, zero, equal_var=False)
    low, high = test.confidence_interval(level)
    value, n = float(one.mean() - zero.mean()), len(one) + len(zero)
    return Estimate(value, float(low), float(high), level, method, n, unit, float(test.pvalue))


def nearer_ratio_limit(best: Potential, sample: Sample, level: float) -> float:
    """Return the limit of the risk ratio that is nearer to 1; 1 where the interval holds it."""
    if best.control <= 0 or best.treated <= 0:
        return math.nan
    value = math.log(best.treated / best.control)
    influence = best.influence_treated / best.treated - best.influence_control / best.control
    _, low, high, _ = difference_limits(value, influence, sample.clusters, level)
    limit = low if value > 0 else high
    return math.exp(limit) if limit * value > 0 else 1.0


def _linearised(sample: Sample) -> Array:
    """Return the outcome; for a ratio each unit's share in its variation about the pooled ratio."""
    y = sample.outcomes[0]
    if len(sample.outcomes) == 1:
        return y
    exposure = sample.outcomes[1]
    spread: Array = (y - y.sum() / exposure.sum() * exposure) / exposure.mean()
    return spread


def within_spread(sample: Sample) -> float:
    """Return the outcome's standard deviation within groups; of the linearised ratio for ratios."""
    y = _linearised(sample)
    groups = [y[sample.treated == g] for g in (1, 0)]
    return math.sqrt(sum(float(np.sum((v - v.mean()) ** 2)) for v in groups) / max(len(y) - 2, 1))


def regression_t(sample: Sample) -> tuple[float, int]:
    """Return t and residual degrees of freedom of the group in a linear regression on the covariates."""
    y = _linearised(sample)
    x = np.column_stack([sample.treated, sample.design.matrix])
    gram = x.T @ x
    beta = np.linalg.solve(gram, x.T @ y)
    residual = y - x @ beta
    dof = len(y) - x.shape[1]
    variance = float(residual @ residual) / dof * float(np.linalg.inv(gram)[0, 0])
    return float(beta[0]) / math.sqrt(variance), dof
