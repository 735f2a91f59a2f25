"""Chains of tiers: arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["OrderTest", "order_test", "reach", "settled_mix"]


@dataclass(frozen=True, slots=True)
class OrderTest:
    """Whether the state before last adds anything.

    Attributes:
        statistic: Likelihood ratio of order 2 against order 1.
        degrees_of_freedom: From the rows and columns that were seen.
        p_value: From the chi-square distribution; NaN without degrees of freedom.
        triples: Runs of three states counted.
    """

    statistic: float
    degrees_of_freedom: int
    p_value: float
    triples: int


def order_test(counts: Ints) -> OrderTest:
    """Test a chain of order 1 against order 2.

    Args:
        counts: Runs of three states: before last, last, next.

    Examples:
        >>> memory = np.zeros((2, 2, 2), dtype=np.int64)
        >>> memory[0, 0], memory[1, 0] = [30, 10], [10, 30]
        >>> found = order_test(memory)
        >>> round(found.statistic, 2), found.degrees_of_freedom
        (20.93, 1)

    References:
        Anderson, Goodman (1957), Annals of Mathematical Statistics 28, 89-110, section 3.3.
    """
    from scipy.special import chdtrc, xlogy

    table = np.asarray(counts, dtype=float)
    before = table.sum(axis=2, keepdims=True)  # i, j
    after = table.sum(axis=0, keepdims=True)  # j, k
    last = table.sum(axis=(0, 2))[None, :, None]
    seen = table > 0
    wide = np.broadcast_to(before, table.shape)[seen], np.broadcast_to(after, table.shape)[seen]
    expected = wide[0] * wide[1] / np.broadcast_to(last, table.shape)[seen]
    statistic = max(0.0, float(2 * xlogy(table[seen], table[seen] / expected).sum()))
    rows = (before[:, :, 0] > 0).sum(axis=0)
    columns = (after[0] > 0).sum(axis=1)
    freedom = int(np.sum(np.maximum(rows - 1, 0) * np.maximum(columns - 1, 0)))
    p = float(chdtrc(freedom, statistic)) if freedom else float("nan")
    return OrderTest(statistic, freedom, p, int(table.sum()))


def reach(matrix: Any, target: int, left: int | None) -> tuple[Floats, Floats]:
    """Return the chance of reaching a state before leaving, and the mean periods of those who do.

    Args:
        matrix: Transition matrices, shape (..., states, states).
        target: State to reach.
        left: State that counts as gone for good, or None.

    Returns:
        Two arrays of shape (..., states): chances and mean periods. At the target they are 1 and 0,
        at ``left`` 0 and NaN.

    Examples:
        >>> chance, periods = reach([[0.8, 0.2], [0.1, 0.9]], 1, None)
        >>> chance.round(2).tolist(), periods.round(2).tolist()
        ([1.0, 1.0], [5.0, 0.0])

    References:
        Kemeny, Snell (1976), Finite Markov Chains, theorems 3.2.4 and 3.3.7; for those who reach it,
        the chain conditioned on reaching (Doob's transform).
    """
    table = np.asarray(matrix, dtype=float)
    states = table.shape[-1]
    moving = [s for s in range(states) if s not in (target, left)]
    between = table[..., moving, :][..., moving]
    away = np.eye(len(moving)) - between
    goes = np.linalg.solve(away, table[..., moving, target][..., None])[..., 0]
    # weighted by the chance to arrive, the same equations give the mean time of those who arrive
    time = np.linalg.solve(away, goes[..., None])[..., 0]
    chances, periods = np.zeros(table.shape[:-1]), np.full(table.shape[:-1], np.nan)
    chances[..., target], periods[..., target] = 1.0, 0.0
    chances[..., moving], periods[..., moving] = goes, time / goes
    return chances, periods


def settled_mix(matrix: Any, entry: Any, left: int | None) -> Floats:
    """Return the mix of states in the long run.

    With ``left``, everyone who leaves is replaced by an entrant, so that the membership stays as
    large as it is; without it, this is the chain's stationary distribution.

    Args:
        matrix: Transition matrices, shape (..., states, states).
        entry: Shares of entrants by state, shape (..., states), 0 at ``left``.
        left: State that counts as gone for good, or None.

    Examples:
        >>> settled_mix([[0.8, 0.2], [0.1, 0.9]], [1.0, 0.0], None).round(3).tolist()
        [0.333, 0.667]
        >>> settled_mix([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0, 0, 1]], [1.0, 0, 0], 2).round(3).tolist()
        [0.667, 0.333, 0.0]
    """
    table = np.array(matrix, dtype=float)
    states = table.shape[-1]
    kept = [s for s in range(states) if s != left]
    among = table[..., kept, :][..., kept]
    if left is not None:
        start = np.asarray(entry, dtype=float)[..., kept]
        among = among + table[..., kept, left][..., :, None] * start[..., None, :]
    # pi (P - I) = 0 with one equation replaced by "shares sum to 1"
    system = np.swapaxes(among, -1, -2) - np.eye(len(kept))
    system[..., -1, :] = 1.0
    right = np.zeros((*system.shape[:-1], 1))
    right[..., -1, 0] = 1.0
    mix = np.zeros(table.shape[:-1])
    mix[..., kept] = np.linalg.solve(system, right)[..., 0]
    return mix
