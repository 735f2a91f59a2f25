"""Differences of quantiles by a bootstrap that draws no samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.errors import ContractError
from loyalty_research.estimates import Estimate
from loyalty_research.summaries import group_label
from loyalty_research.summaries._frames import as_lazy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.comparison.metrics import Quantile

    Array = NDArray[np.float64]

__all__ = ["outcomes_by_arm", "quantile_difference"]

_DRAWS = 10_000


def outcomes_by_arm(table: Any, metric: Quantile, assignment: str) -> dict[str, tuple[Array, int]]:
    """Return the sorted outcomes of every arm and how many are missing: the one column it takes.

    Raises:
        ContractError: When the column holds what it cannot.
    """
    frame = as_lazy(table, "units")
    schema = frame.collect_schema()
    if metric.column not in schema or not schema[metric.column].is_numeric():
        raise ContractError(f"units.{metric.column} is absent or not numeric")
    found = frame.select(assignment, metric.column).collect(backend="pandas").to_native()
    values = found[metric.column].to_numpy(dtype=float, na_value=np.nan)
    labels = found[assignment].map(group_label).to_numpy()
    out = {}
    for arm in sorted(set(labels.tolist())):
        own = values[labels == arm]
        kept = own[~np.isnan(own)]
        if np.isinf(kept).any():
            raise ContractError(f"units.{metric.column} is infinite in {int(np.isinf(kept).sum()):,} rows")
        if len(kept) < 2:
            raise ContractError(
                f"{metric.label}: arm {arm} has {len(kept)} units with a value; at least 2 are needed"
            )
        out[arm] = np.sort(kept), len(own) - len(kept)
    if len({end for kept, _ in out.values() for end in (kept[0], kept[-1])}) == 1:
        raise ContractError(f"{metric.label} does not vary: there is nothing to compare")
    return out


def _drawn(ordered: Array, q: float, rng: np.random.Generator) -> Array:
    """Draw quantiles of bootstrap samples: the order statistic whose number is binomial."""
    n = len(ordered)
    place = np.clip(rng.binomial(n + 1, q, _DRAWS), 1, n)
    out: Array = ordered[place - 1]
    return out


def quantile_difference(
    treated: Array, control: Array, *, q: float, level: float, seed: int, unit: str | None
) -> tuple[Estimate, float, float, float]:
    """Compare a quantile of two arms.

    Args:
        treated: Sorted outcomes, shape (n,).
        control: Sorted outcomes, shape (m,).
        q: Which quantile, a fraction.
        level: Coverage the interval aims at.
        seed: Of the draws.
        unit: Unit of the outcome.

    Returns:
        The difference with its percentile interval, both quantiles, and the standard deviation of
        the bootstrap.

    References:
        Schultzberg and Ankargren (2022), Resampling-free bootstrap inference for quantiles, theorem 1:
        in a bootstrap sample of n the number of the order statistic is nearly binomial (n + 1, q).
    """
    rng = np.random.default_rng(seed)
    one, zero = float(np.quantile(treated, q)), float(np.quantile(control, q))
    drawn = _drawn(treated, q, rng) - _drawn(control, q, rng)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    side = min(float(np.mean(drawn <= 0)), float(np.mean(drawn >= 0)))
    # a bootstrap of so many draws says no more than one in as many
    p_value = min(1.0, 2 * max(side, 1 / _DRAWS))
    value = one - zero
    estimate = Estimate(
        value,
        min(float(low), value),
        max(float(high), value),
        level,
        "bootstrap of order statistics",
        len(treated) + len(control),
        unit,
        p_value,
    )
    return estimate, one, zero, float(np.std(drawn, ddof=1))
