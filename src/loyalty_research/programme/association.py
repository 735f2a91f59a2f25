"""One figure for how far two ways to divide the same customers agree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from loyalty_research.errors import DesignError
from loyalty_research.estimates import Estimate, check_level

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["adjusted_rand_index", "cramers_v"]

_METHOD = "delta, Fisher z"


def cramers_v(table: NDArray[np.float64], *, level: float = 0.95) -> Estimate:
    """Return Cramér's V of a table of counts, with a large-sample interval.

    The limits are the delta method's on Fisher's z scale. They suit association well above 0, as
    between a segment and the same segment later; near 0, V is biased upwards and the limits with it.

    Args:
        table: Counts, shape ``(rows, columns)``, at least two of each with customers.
        level: Coverage aimed at.

    Returns:
        V from 0 to 1, with the p-value of Pearson's test of no association; without limits where V
        is 0 or 1.

    Raises:
        DesignError: When fewer than two rows or columns hold customers.

    Examples:
        >>> round(cramers_v(np.array([[40.0, 10], [20, 30]])).value, 4)
        0.4082

    References:
        Cramér (1946), section 21.9; Bishop, Fienberg and Holland (1975), section 11.3 (delta method).
    """
    check_level(level)
    counts = np.asarray(table, dtype=float)
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(counts.shape) < 2:
        raise DesignError("association needs at least two segments with customers at both times")
    n = counts.sum()
    p = counts / n
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    ratio = p / np.outer(rows, columns)
    squared = float((p * ratio).sum()) - 1
    most = min(counts.shape) - 1
    value = math.sqrt(max(squared, 0.0) / most)
    dof = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    p_value = float(stats.chi2.sf(n * squared, dof))
    # gradient of phi squared in each cell's probability
    slope = (
        2 * ratio - ((ratio * p).sum(axis=1) / rows)[:, None] - ((ratio * p).sum(axis=0) / columns)[None, :]
    )
    spread = float((p * slope**2).sum() - (p * slope).sum() ** 2)
    if not 1e-12 < value < 1 - 1e-12 or not spread > 0:
        return Estimate(value, math.nan, math.nan, level, _METHOD, int(n), None, p_value)
    error = math.sqrt(spread / n) / (2 * value * most)
    low, high = _fisher(value, error, level)
    return Estimate(value, max(low, 0.0), high, level, _METHOD, int(n), None, p_value)


def _fisher(value: float, error: float, level: float) -> tuple[float, float]:
    """Return limits made on Fisher's z scale, where errors are nearly normal."""
    half = float(stats.norm.isf((1 - level) / 2)) * error / (1 - value**2)
    centre = math.atanh(value)
    return math.tanh(centre - half), math.tanh(centre + half)


def _pairs(counts: NDArray[np.float64]) -> float:
    return float((counts * (counts - 1)).sum()) / 2


def adjusted_rand_index(table: NDArray[np.float64], *, level: float = 0.95) -> Estimate:
    """Return the adjusted Rand index of a table of counts, with a large-sample interval.

    Of all pairs of customers, some are together in both divisions or apart in both. The index is the
    share of such agreement beyond what chance gives: 0 for two divisions that have nothing to do with
    one another, 1 for two that are the same but for names. The limits are the delta method's for customers
    drawn at random, on Fisher's z scale; they aim at the index of the population the customers stand for.
    At an index of 0 they are too narrow: limits at 95% held it in 87 of 100 simulated tables.

    Args:
        table: Counts of customers, shape ``(rows, columns)``, at least two of each with customers.
        level: Coverage aimed at.

    Returns:
        The index; without limits where it is 1.

    Raises:
        DesignError: When fewer than two rows or columns hold customers.

    Examples:
        >>> found = adjusted_rand_index(np.array([[40.0, 10], [20, 30]]))
        >>> round(found.value, 4), found.n
        (0.1518, 100)

    References:
        Hubert and Arabie (1985), Journal of Classification 2, 193-218, equation 5; the variance is the delta
        method's for multinomial counts (Agresti 2013, section 16.1).
    """
    check_level(level)
    counts = np.asarray(table, dtype=float)
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(counts.shape) < 2:
        raise DesignError("agreement needs at least two segments with customers in both divisions")
    n = counts.sum()
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    together, chance = _pairs(counts), _pairs(rows) * _pairs(columns) / (n * (n - 1) / 2)
    value = float((together - chance) / ((_pairs(rows) + _pairs(columns)) / 2 - chance))
    error = _rand_error(counts / n) / math.sqrt(n)
    if not (error > 1e-12 and value < 1 - 1e-12):
        return Estimate(value, math.nan, math.nan, level, _METHOD, int(n))
    low, high = _fisher(value, error, level)
    return Estimate(value, low, high, level, _METHOD, int(n))


def _rand_error(p: NDArray[np.float64]) -> float:
    """Return the standard deviation of one customer's pull on the index, from cell probabilities."""
    r, c = p.sum(axis=1)[:, None], p.sum(axis=0)[None, :]
    both, one, two = float((p**2).sum()), float((r**2).sum()), float((c**2).sum())
    above, below = both - one * two, (one + two) / 2 - one * two
    above_slope = 2 * (p - r * two - c * one)
    below_slope = r + c - 2 * (r * two + c * one)
    slope = (above_slope - above / below * below_slope) / below
    return math.sqrt(max(float((p * slope**2).sum()) - float((p * slope).sum()) ** 2, 0.0))
