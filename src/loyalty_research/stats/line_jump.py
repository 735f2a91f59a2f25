"""The jump of an outcome at a line, units beside it compared: what two analyses share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

from loyalty_research.errors import DesignError
from loyalty_research.estimates import Estimate
from loyalty_research.stats.local_polynomial import Side, jump, mse_bandwidths, nearest_residuals, summed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from loyalty_research.stats.local_polynomial import Jump, Kernel

    Array = NDArray[np.float64]

__all__ = [
    "LEAST",
    "METHOD",
    "LineFit",
    "Lined",
    "fit_line_jump",
    "need_clusters",
    "need_clusters_beside",
]

METHOD: Final = "local linear, bias-corrected robust"
LEAST: Final = 20
"""Fewest units on a side of the line."""


def need_clusters(
    clusters: NDArray[np.int64] | None, groups: Mapping[str, NDArray[np.bool_]], where: str
) -> None:
    """Refuse groups that lie in fewer than two clusters: errors would come out far too small.

    Args:
        clusters: Number of each unit's cluster, shape (n,); nothing is checked when None.
        groups: Words for a group to which units are in it, shape (n,).
        where: What messages call the clusters.

    Raises:
        DesignError: Naming the groups and their clusters.
    """
    if clusters is None:
        return
    counts = {words: len(np.unique(clusters[rows])) for words, rows in groups.items()}
    lone = [f"{words} ({count})" for words, count in counts.items() if count < 2]
    if lone:
        raise DesignError(
            f"{where} has fewer than two clusters among {' and '.join(lone)}: how clusters vary cannot be seen"
        )


@dataclass(frozen=True, slots=True)
class Lined:
    """Units sorted by their distance from the line.

    Attributes:
        x: Distance, rising, shape (n,).
        y: Outcome, shape (n,).
        clusters: Codes of groups that vary together, shape (n,); None where units are independent.
    """

    x: Array
    y: Array
    clusters: NDArray[np.int64] | None

    def part(self, keep: NDArray[np.bool_]) -> Lined:
        """Return the units for which ``keep`` holds."""
        return Lined(self.x[keep], self.y[keep], None if self.clusters is None else self.clusters[keep])

    def moved(self, line: float) -> Lined:
        """Return the same units measured from another line."""
        return Lined(self.x - line, self.y, self.clusters)


@dataclass(frozen=True, slots=True)
class LineFit:
    """A jump with the bandwidths it was estimated at.

    Attributes:
        jump: The jump.
        bandwidth: Of the level.
        bias_bandwidth: Of the curvature.
    """

    jump: Jump
    bandwidth: float
    bias_bandwidth: float

    def estimate(self, level: float, n: int, unit: str | None) -> Estimate:
        """Return the bias-corrected jump with its robust interval."""
        value, error = self.jump.corrected, self.jump.robust_error
        half = float(stats.norm.isf((1 - level) / 2)) * error
        p_value = float(2 * stats.norm.sf(abs(value) / error)) if error > 0 else math.nan
        return Estimate(value, value - half, value + half, level, METHOD, n, unit, p_value)


def need_clusters_beside(units: Lined, used: NDArray[np.bool_]) -> None:
    """Refuse a side of the line whose units that count are all of one cluster.

    Args:
        units: Units by their distance from the line.
        used: Which of them count, shape (n,).

    Raises:
        DesignError: Naming the side.
    """
    sides = {"units below the line": (units.x < 0) & used, "units above it": (units.x >= 0) & used}
    need_clusters(units.clusters, {words: rows for words, rows in sides.items() if rows.any()}, "cluster")


def fit_line_jump(units: Lined, *, kernel: Kernel = "triangular", bandwidth: float | None = None) -> LineFit:
    """Estimate the jump of an outcome at zero by a local line on either side, its bias taken out.

    Args:
        units: Units sorted by their distance from the line.
        kernel: How weights fall with distance.
        bandwidth: Units farther away weigh nothing; when None, the one that makes the mean squared
            error smallest.

    Raises:
        DesignError: When a side holds fewer than 20 units or too few distinct values, the outcome does
            not vary, or the units that count are all of one cluster.

    References:
        Calonico, Cattaneo and Titiunik (2014), Econometrica 82, 2295-2326.
    """
    below = units.x < 0
    if min(int(below.sum()), int((~below).sum())) < LEAST:
        raise DesignError(
            f"{int(below.sum()):,} units below the line and {int((~below).sum()):,} at or above it: at least {LEAST} "
            "are needed on either side"
        )
    residuals = np.empty(len(units.x))
    sides = []
    for rows in (below, ~below):
        residuals[rows] = nearest_residuals(units.x[rows], units.y[rows])
        codes = None if units.clusters is None else units.clusters[rows]
        sides.append(_side(units.x[rows], units.y[rows], residuals[rows], codes))
    if bandwidth is None:
        h, b = mse_bandwidths(sides[0], sides[1], order=1, derivative=0, kernel=kernel, spread=units.x)
        if not math.isfinite(h):
            raise DesignError("the outcome does not vary around the line: there is nothing to estimate")
    else:
        h = b = bandwidth

    def joint(under: Array, over: Array) -> float:
        weights = np.concatenate([-under, over])
        need_clusters_beside(units, weights != 0)
        return summed(weights * residuals, units.clusters)

    found = jump(sides[0], sides[1], order=1, bandwidth=h, bias_bandwidth=b, kernel=kernel, joint=joint)
    if not found.robust_error > 0:
        raise DesignError("the outcome does not vary around the line: there is nothing to estimate")
    return LineFit(found, h, b)


def _side(x: Array, y: Array, residuals: Array, clusters: NDArray[np.int64] | None) -> Side:
    return Side(x, y, lambda weights: summed(weights * residuals, clusters))
