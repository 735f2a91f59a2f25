"""Intervals of means and of ratios of sums over customers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from loyalty_research.estimates import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["mean_estimate", "relative_bias"]


def _quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))


def mean_estimate(values: Array, level: float, unit: str | None = None) -> Estimate:
    """Return a mean with its t interval."""
    from scipy.special import stdtrit

    n, mean = len(values), float(values.mean())
    if n < 2:
        return Estimate(mean, math.nan, math.nan, level, "t", n, unit=unit)
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * float(values.std(ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - reach, mean + reach, level, "t", n, unit=unit)


def relative_bias(expected: Array, actual: Array, level: float) -> Estimate:
    """Return sum(expected)/sum(actual) - 1 with the delta-method interval of a ratio."""
    n, total = len(actual), float(actual.sum())
    if total <= 0 or n < 2:
        return Estimate(math.nan, math.nan, math.nan, level, "ratio, delta method", n, unit="fraction")
    ratio = float(expected.sum()) / total
    residual = expected - ratio * actual
    error = float(residual.std(ddof=1)) * math.sqrt(n) / total
    reach = _quantile(level) * error
    return Estimate(
        ratio - 1, ratio - 1 - reach, ratio - 1 + reach, level, "ratio, delta method", n, unit="fraction"
    )
