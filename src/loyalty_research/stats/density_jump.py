"""Does the density of a running variable jump at the line? It should not, unless people push over it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

from loyalty_research.errors import DesignError
from loyalty_research.stats.local_polynomial import Side, mse_bandwidths, weights_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.stats.local_polynomial import Kernel

    Array = NDArray[np.float64]

__all__ = ["DensityJump", "density_jump"]

_ORDER: Final = 2


@dataclass(frozen=True, slots=True)
class DensityJump:
    """Density below and above the line.

    Attributes:
        below: Units per unit of the running variable just below, as a share of all.
        above: The same just above.
        statistic: Robust z of the difference.
        p_value: Two-sided.
        bandwidth: Units farther away weigh nothing.
    """

    below: float
    above: float
    statistic: float
    p_value: float
    bandwidth: float


def _variance(weights: Array, first: NDArray[np.int64]) -> float:
    """Return the variance of a weighted sum of the empirical distribution.

    Every unit adds the weights of all units at or above its value; ``first`` is where they begin.
    """
    added = np.cumsum(weights[::-1])[::-1][first]
    return float(np.sum((added - added.mean()) ** 2)) / len(added) ** 2


def density_jump(x: Array, *, kernel: Kernel = "triangular", bandwidth: float | None = None) -> DensityJump:
    """Test whether the density jumps at zero.

    The empirical distribution is fitted by a quadratic on either side, whose slope at the line is
    the density; the test uses the cubic, at the bandwidth that suits the quadratic, so that bias
    does not pass for a jump.

    Args:
        x: Distance from the line, sorted, shape (n,).
        kernel: How weights fall with distance.
        bandwidth: The same on both sides; chosen by mean squared error when None.

    Raises:
        DesignError: When a side holds too few distinct values.

    References:
        Cattaneo, Jansson and Ma (2020), Journal of the American Statistical Association 115,
        1449-1455, theorem 1 and section 3.
    """
    n, split = len(x), int(np.searchsorted(x, 0.0))
    rank = np.searchsorted(x, x, side="right") / n
    first = np.searchsorted(x, x, side="left")

    def spread_of(rows: slice) -> Side:
        def variance(weights: Array) -> float:
            whole = np.zeros(n)
            whole[rows] = weights
            return _variance(whole, first)

        return Side(x[rows], rank[rows], variance)

    sides = [spread_of(slice(0, split)), spread_of(slice(split, n))]
    if bandwidth is None:
        bandwidth, _ = mse_bandwidths(
            sides[0], sides[1], order=_ORDER, derivative=1, kernel=kernel, spread=x, integrated=1
        )
    found, whole = [], np.zeros(n)
    for side, rows, sign in zip(sides, (slice(0, split), slice(split, n)), (-1, 1), strict=True):
        weights = weights_of(side.x, order=_ORDER + 1, derivative=1, bandwidth=bandwidth, kernel=kernel)
        found.append(float(weights @ side.y))
        whole[rows] = sign * weights
    error = math.sqrt(_variance(whole, first))
    if not error > 0:
        raise DesignError("the running variable has too few distinct values at the line to test its density")
    statistic = (found[1] - found[0]) / error
    return DensityJump(found[0], found[1], statistic, float(2 * stats.norm.sf(abs(statistic))), bandwidth)
