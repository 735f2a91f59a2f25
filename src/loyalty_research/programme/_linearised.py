"""Limits from how much each customer moves an estimate: on the log scale for ratios, plain for differences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.estimates import Estimate
from loyalty_research.i18n import message

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["FEWEST", "UNKNOWN", "few", "log_limits", "mean_count", "plain_limits", "unknown"]

FEWEST = 5
UNKNOWN = "not measurable"
_LOG = "log, linearised by customer"
_PLAIN = "normal, linearised by customer"


def _critical(level: float, freedom: float) -> float:
    from scipy.special import ndtri, stdtrit

    tail = 0.5 + level / 2
    return float(ndtri(tail) if math.isinf(freedom) else stdtrit(freedom, tail))


def few(count: int) -> str:
    """Return a count for a sentence; one that concerns a handful of customers is not shown.

    Examples:
        >>> few(1200), few(3), few(0)
        ('1,200', 'fewer than 5', '0')
    """
    return message("fewer than {fewest}", fewest=FEWEST) if 0 < count < FEWEST else f"{count:,}"


def unknown(level: float, *, n: int = 0, unit: str | None = None) -> Estimate:
    """Return the estimate of what the data cannot show."""
    return Estimate(math.nan, math.nan, math.nan, level, UNKNOWN, n, unit)


def log_limits(
    value: float,
    spread: float,
    *,
    level: float,
    n: int,
    unit: str | None = None,
    less: float = 0.0,
    freedom: float = math.inf,
    method: str = _LOG,
) -> Estimate:
    """Return a positive estimate with limits that are symmetric on the log scale.

    Args:
        value: The estimate, above 0.
        spread: Standard error of its logarithm.
        level: Confidence level.
        n: Observations behind it.
        unit: Unit of the estimate.
        less: What is taken off value and limits at the end, such as 1 to turn a ratio into growth.
        freedom: Degrees of freedom of the standard error; infinite for the normal.
        method: Name of the method.

    Examples:
        >>> found = log_limits(2.0, 0.1, level=0.95, n=50, less=1.0)
        >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
        (1.0, 0.644, 1.433)
    """
    factor = math.exp(_critical(level, freedom) * spread) if spread > 0 else math.nan
    return Estimate(value - less, value / factor - less, value * factor - less, level, method, n, unit)


def plain_limits(
    value: float,
    spread: float,
    *,
    level: float,
    n: int,
    unit: str | None = None,
    freedom: float = math.inf,
    method: str = _PLAIN,
) -> Estimate:
    """Return an estimate with limits that are symmetric around it; without limits where nothing varies."""
    half = _critical(level, freedom) * spread if spread > 0 else math.nan
    return Estimate(value, value - half, value + half, level, method, n, unit)


def mean_count(counts: Any, *, level: float) -> Estimate:
    """Return the mean of counts over customers.

    Where nothing was counted, the upper limit is the exact one of a Poisson mean.

    Args:
        counts: Whole numbers from 0, shape (n,).
        level: Confidence level.

    Examples:
        >>> mean_count([0] * 90 + [1] * 10, level=0.95)
        0.1000 (95% interval 0.0555 to 0.1800; log, linearised by customer; n = 100)
        >>> mean_count([0] * 100, level=0.95)
        0.00 (95% interval 0.00 to 0.0369; poisson, none seen; n = 100)
    """
    values: Array = np.asarray(counts, dtype=float)
    n, total = int(values.size), float(values.sum())
    if total == 0:
        top = -math.log((1 - level) / 2) / n
        return Estimate(0.0, 0.0, top, level, "poisson, none seen", n)
    moved = values / total - 1 / n
    return log_limits(total / n, float(np.sqrt(moved @ moved)), level=level, n=n)
