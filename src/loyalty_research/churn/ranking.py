"""Counting, for a million points, how many of some range lie below a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["below"]


def below(rank: Ints, mass: Floats, low: Ints, high: Ints, bound: Ints) -> Floats:
    """Return, per query, the mass at positions ``low <= p < high`` whose rank is under ``bound``.

    A wavelet matrix read level by level: time and memory grow as n log(ranks) and n.

    Args:
        rank: Rank at each position, 0 or more, shape ``(n,)``.
        mass: Mass at each position, shape ``(n,)``.
        low: First position of each query, shape ``(q,)``.
        high: Position after its last, ``low <= high <= n``.
        bound: Rank under which mass is counted.

    Examples:
        >>> below(np.array([2, 0, 1]), np.ones(3), np.array([0, 1]), np.array([3, 3]), np.array([2, 1]))
        array([2., 1.])

    References:
        Claude, Navarro, Ordonez (2015), Information Systems 47.
    """
    total = np.zeros(len(low))
    if not len(rank):
        return total
    bits = max(int(max(rank.max(), bound.max(initial=0))).bit_length(), 1)
    for bit in range(bits - 1, -1, -1):
        zero = (rank >> bit) & 1 == 0
        counted = np.concatenate([[0], np.cumsum(zero)])
        summed = np.concatenate([[0.0], np.cumsum(np.where(zero, mass, 0.0))])
        one = (bound >> bit) & 1 == 1
        total += np.where(one, summed[high] - summed[low], 0.0)
        low_zero, high_zero = counted[low], counted[high]
        low = np.where(one, counted[-1] + low - low_zero, low_zero)
        high = np.where(one, counted[-1] + high - high_zero, high_zero)
        order = np.concatenate([np.flatnonzero(zero), np.flatnonzero(~zero)])
        rank, mass = rank[order], mass[order]
    return total
