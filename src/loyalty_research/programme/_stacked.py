"""A stacked event study: each event's units beside those of the same moment without it. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.errors import DesignError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["StackedEffects", "stacked_effects"]


@dataclass(frozen=True, slots=True)
class StackedEffects:
    """Differences in change, averaged over stacks in proportion to their events.

    Attributes:
        effect: Per column, shape (m,).
        covariance: Of the effects, clustered, shape (m, m).
        treated: Rows with the event.
        controls: Rows without it.
        clusters: Clusters behind the covariance.
    """

    effect: Array
    covariance: Array
    treated: int
    controls: int
    clusters: int


def stacked_effects(changes: Array, treated: Mask, stack: Integers, clusters: Integers) -> StackedEffects:
    """Compare changes within stacks and average over stacks.

    Args:
        changes: Change of each row from its own base, one column per period, shape (n, m).
        treated: Rows with the event, shape (n,).
        stack: Stack of each row, from 0; each holds rows of both kinds, shape (n,).
        clusters: Unit of each row, from 0; a unit may stand in several stacks, shape (n,).

    Returns:
        Effects with a covariance in which the rows of a unit vary together and the sizes of stacks are
        estimated too.

    Raises:
        DesignError: When rows with or without the event come from fewer than two units.

    Examples:
        >>> changes = np.array([[-3.0], [-1.0], [0.0], [2.0]])
        >>> found = stacked_effects(changes, np.array([True, True, False, False]), np.zeros(4, dtype=int),
        ...     np.arange(4))
        >>> found.effect.tolist(), found.treated
        ([-3.0], 2)

    References:
        Cengiz, Dube, Lindner, Zipperer (2019), Quarterly Journal of Economics 134, 1405-1454, appendix D
        (stacks); Liang, Zeger (1986), Biometrika 73, 13-22 (clustered variance).
    """
    for words, rows in (("with", treated), ("without", ~treated)):
        if len(np.unique(clusters[rows])) < 2:
            raise DesignError(f"rows {words} the event come from fewer than two customers")
    size = int(stack.max()) + 1
    means, counts = [], []
    for rows in (treated, ~treated):
        count = np.bincount(stack[rows], minlength=size).astype(float)
        sums = np.zeros((size, changes.shape[1]))
        np.add.at(sums, stack[rows], changes[rows])
        counts.append(count)
        means.append(sums / count[:, None])
    events, others = counts
    weight = events / events.sum()
    by_stack = means[0] - means[1]
    effect: Array = weight @ by_stack
    away = changes - np.where(treated[:, None], means[0][stack], means[1][stack])
    scale = np.where(treated, 1 / events[stack], -1 / others[stack]) * weight[stack]
    score = away * scale[:, None]
    # which stacks hold many events is drawn as well
    score[treated] += (by_stack[stack[treated]] - effect) / events.sum()
    total = np.zeros((int(clusters.max()) + 1, changes.shape[1]))
    np.add.at(total, clusters, score)
    used = len(np.unique(clusters))
    covariance = total.T @ total * (used / (used - 1))
    return StackedEffects(effect, covariance, int(treated.sum()), int((~treated).sum()), used)
