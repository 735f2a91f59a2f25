"""What the chain ladder assumes, tested on the triangle: arrays in, figures out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["TriangleTest", "calendar_test", "correlation_test"]


@dataclass(frozen=True, slots=True)
class TriangleTest:
    """A statistic beside what it should be.

    Attributes:
        statistic: As seen.
        expected: If the assumption holds.
        variance: Of the statistic, if it holds; 0 where nothing can be tested.
    """

    statistic: float
    expected: float
    variance: float

    @property
    def p_value(self) -> float:
        """Two-sided, from the normal distribution; NaN where nothing can be tested."""
        from scipy.special import ndtr

        if not self.variance > 0:
            return math.nan
        return float(2 * ndtr(-abs(self.statistic - self.expected) / math.sqrt(self.variance)))


def _ratios(triangle: Any) -> Floats:
    """Return individual development factors, NaN where there are none."""
    table = np.array(triangle, dtype=float)
    before, after = table[:, :-1], table[:, 1:]
    out = np.full(before.shape, np.nan)
    np.divide(after, before, out=out, where=(before > 0) & np.isfinite(after))
    return out


def calendar_test(triangle: Any) -> TriangleTest:
    """Test for effects of calendar periods: diagonals of factors that are mostly large or mostly small.

    In every column, factors above the median count as large, below it as small. Where a calendar
    period matters, its diagonal holds many more of one kind, so the sum of the lesser counts is small.
    Counts are few: at 5%, 4 to 10% of 1,500 triangles of 6 to 12 cohorts without an effect were rejected.

    Args:
        triangle: Cohorts by ages, cumulative; NaN where not yet seen.

    Examples:
        >>> found = calendar_test([[10, 20, 22, 23], [12, 25, 27, np.nan], [9, 17, np.nan, np.nan],
        ...     [11, np.nan, np.nan, np.nan]])
        >>> found.statistic, found.expected
        (0.0, 1.0)

    References:
        Mack (1994), Measuring the variability of chain ladder reserve estimates, Casualty Actuarial
        Society Forum, Spring 1994, appendix H.
    """
    ratios = _ratios(triangle)
    known = np.isfinite(ratios)
    columns = known.any(axis=0)
    middle = np.full(ratios.shape[1], np.nan)
    middle[columns] = np.nanmedian(ratios[:, columns], axis=0)
    kind = np.where(known, np.sign(ratios - middle), 0)
    period = np.add.outer(np.arange(ratios.shape[0]), np.arange(ratios.shape[1]))
    large = np.bincount(period.ravel(), (kind > 0).ravel())
    small = np.bincount(period.ravel(), (kind < 0).ravel())
    statistic = expected = variance = 0.0
    for s, n in zip(np.minimum(large, small).tolist(), (large + small).astype(int).tolist(), strict=True):
        if n < 2:
            continue
        chance = math.comb(n - 1, (n - 1) // 2) / 2**n
        mean = n / 2 - chance * n
        statistic += s
        expected += mean
        variance += n * (n - 1) / 4 - chance * n * (n - 1) + mean - mean**2
    return TriangleTest(statistic, expected, variance)


def correlation_test(triangle: Any) -> TriangleTest:
    """Test whether a cohort's factors hang on the one before: large ones followed by small, or by large.

    Spearman's rank correlations of neighbouring columns are averaged, weighted by their cohorts less 1.

    Args:
        triangle: Cohorts by ages, cumulative; NaN where not yet seen.

    References:
        Mack (1994), as for :func:`calendar_test`, appendix G.
    """
    from scipy.stats import rankdata

    ratios = _ratios(triangle)
    total = weights = 0.0
    for k in range(ratios.shape[1] - 1):
        pair = ratios[:, k : k + 2]
        pair = pair[np.isfinite(pair).all(axis=1)]
        n = len(pair)
        if n < 2:
            continue
        ranks = rankdata(pair, axis=0)
        total += (n - 1) * (1 - 6 * float(np.sum((ranks[:, 0] - ranks[:, 1]) ** 2)) / (n**3 - n))
        weights += n - 1
    if not weights:
        return TriangleTest(math.nan, 0.0, 0.0)
    return TriangleTest(total / weights, 0.0, 1 / weights)
