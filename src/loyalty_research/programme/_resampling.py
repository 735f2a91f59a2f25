"""Bootstrap over customers, many resamples at a time and without drawing a single customer twice over.

A resample is how often each customer counts. Sums of a resample are then a product of a matrix of
counts with a few columns, and only customers near the line that parts the top from the rest need be
looked at one by one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["gini_draws", "resampled", "studentised_pivots", "top_draws"]

EXACT = 10_000  # up to so many customers every resample has as many as there are
_CELLS = 4_000_000  # counts held at a time
_BLOCK = 262_144  # fits the processor's cache


def _poisson(generator: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Return Poisson(1) counts, each by the place of two random bytes among the steps of its distribution.

    Comparing whole blocks with each step is several times faster than drawing or looking up one by one.
    """
    edges = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(8)])
    steps = [np.uint16(min(round(65_536 * edge), 65_535)) for edge in edges]
    places = generator.integers(0, 2**64, -(-size // 4), dtype=np.uint64).view(np.uint16)[:size]
    counts = np.empty(size, dtype=np.float32)
    for start in range(0, size, _BLOCK):
        block = places[start : start + _BLOCK]
        found = np.zeros(len(block), dtype=np.int8)
        for step in steps:
            found += (block >= step).view(np.int8)
        counts[start : start + _BLOCK] = found
    return counts


def resampled(n: int, resamples: int, seed: int) -> Iterator[Array]:
    """Give how often each of ``n`` customers counts in each resample, some resamples at a time.

    Up to 10,000 customers the counts of a resample add up to ``n``. Beyond, each count is a Poisson draw of
    its own with mean 1, which for ratios comes to the same and takes a fraction of the time.

    Args:
        n: Customers.
        resamples: Resamples.
        seed: Seed.

    Yields:
        Counts, shape (resamples of this part, n).

    Examples:
        >>> [part.sum(axis=1).tolist() for part in resampled(4, 3, 1)]
        [[4.0, 4.0, 4.0]]

    References:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 6.2; Chamandy, Muralidharan,
        Najmi and Naidu (2012), Estimating uncertainty for massive data streams, section 3, for the Poisson counts.
    """
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS // n)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        if n <= EXACT:
            drawn = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
            yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(float)
        else:
            yield _poisson(generator, rows * n).reshape(rows, n)


def scheme(n: int) -> str:
    """Return what the name of a method adds about the counts of :func:`resampled`."""
    return "" if n <= EXACT else ", Poisson weights"


def studentised_pivots(parts: Array, base: Array, *, seed: int, resamples: int) -> tuple[Array, Array, Array]:
    """Return ratios of sums of ``parts`` to ``base``, their linearised errors, and the pivots of resamples.

    Args:
        parts: Numerators, shape (n, k).
        base: Denominator, positive, shape (n,).
        seed: Seed.
        resamples: Resamples.

    Returns:
        Ratios (k,), standard errors (k,), pivots (resamples, k), NaN where a resample has no spread.
    """
    n, k = parts.shape
    ratio = parts.sum(axis=0) / base.sum()
    unit = base / base.mean()
    off = (parts - np.outer(base, ratio)) / base.mean()
    se = np.sqrt((off**2).sum(axis=0)) / n
    columns = np.column_stack([unit, unit**2, off, off**2, off * unit[:, None]])
    pivots = []
    for counts in resampled(n, resamples, seed):
        sums = np.asarray(counts @ columns.astype(counts.dtype, copy=False), dtype=float)
        total, square = sums[:, :1], sums[:, 1:2]
        moved, own, cross = (sums[:, 2 + j * k : 2 + (j + 1) * k] for j in range(3))
        shift = moved / total
        # squared deviations from the resample's own ratio, in terms of those from the ratio of all
        spread = own - 2 * shift * cross + shift**2 * square
        live = spread > 1e-9 * own
        pivots.append(np.where(live, moved / np.sqrt(np.where(live, spread, 1.0)), math.nan))
    return ratio, se, np.concatenate(pivots)


def top_draws(ranked: Array, brought: Sequence[Array], share: float, *, seed: int, resamples: int) -> Array:
    """Return what the top share brings in each resample, as a share of what all bring.

    Those equal at the line share what is left of the top, as in
    :func:`loyalty_research.programme.revenue.top_weights`.

    Args:
        ranked: What ranks customers, ascending, shape (n,).
        brought: What is added up, each of shape (n,).
        share: Share of customers that is top.
        seed: Seed.
        resamples: Resamples.

    Returns:
        Shape (resamples, number of ``brought``); NaN where a resample brings nothing.
    """
    n = len(ranked)
    columns = np.column_stack([np.ones(n), *brought])
    drawn = []
    for counts in resampled(n, resamples, seed):
        near = _near(ranked, share)
        found = _top_part(counts, ranked, columns, share, near)
        if found is None:  # a resample whose line is nowhere near
            found = _top_part(counts, ranked, columns, share, (0, n))
        drawn.append(found)
    return np.concatenate([part for part in drawn if part is not None])


def _near(ranked: Array, share: float) -> tuple[int, int]:
    """Return the ranks between which the line of nearly every resample lies, whole ties included."""
    n = len(ranked)
    line, wide = n * (1 - share), 8 * math.sqrt(n * share * (1 - share)) + 2
    low, high = max(int(line - wide), 0), min(int(line + wide), n - 1)
    return int(np.searchsorted(ranked, ranked[low])), int(np.searchsorted(ranked, ranked[high], side="right"))


def _top_part(
    counts: Array, ranked: Array, columns: Array, share: float, near: tuple[int, int]
) -> Array | None:
    """Return shares of some resamples, or None where the line of one is not among the ranks given."""
    low, high = near
    typed = columns.astype(counts.dtype, copy=False)
    above = np.asarray(counts[:, high:] @ typed[high:], dtype=float)
    total = above + np.asarray(counts[:, :high] @ typed[:high], dtype=float)
    wanted = share * total[:, 0]
    middle = counts[:, low:high].astype(float)
    # sums from the lowest of these ranks up, beginning with nothing
    sums = np.zeros((columns.shape[1], len(counts), high - low + 1))
    for j, column in enumerate(columns.T):
        np.cumsum(middle * column[low:high], axis=1, out=sums[j, :, 1:])
    weight = sums[0]
    beyond = above[:, :1] + weight[:, -1:] - weight[:, 1:]
    if (beyond[:, -1] >= wanted).any() or (low > 0 and (beyond[:, 0] + middle[:, 0] < wanted).any()):
        return None
    line = ranked[low + np.argmax(beyond < wanted[:, None], axis=1)]
    first, last = (np.searchsorted(ranked, line, side=s) - low for s in ("left", "right"))
    rows = np.arange(len(counts))
    at, over = sums[:, rows, last] - sums[:, rows, first], sums[:, :, -1] - sums[:, rows, last] + above.T
    kept = over[1:] + at[1:] * ((wanted - over[0]) / at[0])
    brought = total[:, 1:]
    return np.where(brought > 0, kept.T / np.where(brought > 0, brought, 1.0), math.nan)


def gini_draws(ranked: Array, *, seed: int, resamples: int) -> Array:
    """Return the Gini coefficient of each resample.

    Args:
        ranked: Revenue, ascending, shape (n,).
        seed: Seed.
        resamples: Resamples.

    Returns:
        Shape (resamples,).
    """
    drawn = []
    for counts in resampled(len(ranked), resamples, seed):
        part = counts * ranked
        upper = np.cumsum(part, axis=1, dtype=float)
        area = np.einsum("ij,ij->i", counts, upper - part / 2, dtype=float)
        drawn.append(1 - 2 * area / (counts.sum(axis=1, dtype=float) * upper[:, -1]))
    return np.concatenate(drawn)
