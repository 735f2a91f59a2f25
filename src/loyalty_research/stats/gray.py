"""Gray's test of equal cumulative incidence, as pure functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.errors import ArgumentError
from loyalty_research.stats.survival import checked_columns, risk_counts

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["GrayScores", "gray"]


@dataclass(frozen=True, slots=True)
class GrayScores:
    """A k-sample test of equal cumulative incidence.

    Attributes:
        statistic: Chi-square statistic.
        degrees_of_freedom: Groups minus one.
        p_value: Upper tail of chi-square.
        groups: Labels in the order of ``scores``.
        scores: Weighted events of the cause minus their expectation, per group.
        covariance: Covariance of ``scores``, shape ``(groups, groups)``.
    """

    statistic: float
    degrees_of_freedom: int
    p_value: float
    groups: tuple[Any, ...]
    scores: Floats
    covariance: Floats


def gray(
    duration: ArrayLike,
    cause: ArrayLike,
    group: ArrayLike,
    *,
    strata: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    rho: float = 0.0,
) -> GrayScores:
    """Test whether the cumulative incidence of cause 1 is the same in all groups.

    Args:
        duration: End of each observation, shape ``(n,)``.
        cause: 0 where it was censored, 1 for the cause of interest, 2 for any other.
        group: Group of each observation, shape ``(n,)``; at least two distinct values.
        strata: Compare within these only and add up, shape ``(n,)``.
        weights: Case weights, shape ``(n,)``; weight k is k copies.
        rho: Power of one minus the pooled incidence that weighs each time; 0 weighs all alike.

    Raises:
        ArgumentError: On fewer than two groups, or where the groups cannot be compared.

    Examples:
        >>> test = gray([1, 2, 3, 4, 5, 6], [1, 2, 1, 1, 0, 2], list("aaabbb"))
        >>> test.degrees_of_freedom, round(test.statistic, 4)
        (1, 2.1654)

    References:
        Gray (1988), Annals of Statistics 16, with the tie corrections of R's ``cmprsk``.
    """
    from scipy.special import chdtrc

    code = np.asarray(cause).astype(np.int64)
    stop, _, _, mass = checked_columns(duration, code > 0, None, weights)
    labels, codes = np.unique(np.asarray(group), return_inverse=True)
    k = len(labels)
    if k < 2:
        raise ArgumentError(f"Gray's test needs two groups or more; there is {k}")
    layers = (
        np.zeros(len(stop), dtype=np.int64)
        if strata is None
        else np.unique(np.asarray(strata), return_inverse=True)[1]
    )
    scores, covariance = np.zeros(k), np.zeros((k, k))
    for layer in range(int(layers.max()) + 1):
        rows = layers == layer
        part = _layer(
            _Tables.of(stop[rows], code[rows], codes[rows], k, None if mass is None else mass[rows]), rho
        )
        scores += part[0]
        covariance += part[1]
    inner = covariance[:-1, :-1]
    if np.linalg.matrix_rank(inner) < k - 1:
        raise ArgumentError("some group is never at risk together with the others when somebody leaves")
    gap = scores[:-1]
    statistic = float(gap @ np.linalg.solve(inner, gap))
    return GrayScores(
        statistic, k - 1, float(chdtrc(k - 1, statistic)), tuple(labels.tolist()), scores, covariance
    )


@dataclass(frozen=True, slots=True)
class _Tables:
    """Counts per group at each time somebody leaves, shape ``(groups, times)``."""

    at_risk: Floats
    mine: Floats
    others: Floats

    @classmethod
    def of(cls, stop: NDArray[Any], code: Ints, codes: Ints, k: int, mass: Floats | None) -> _Tables:
        pooled = risk_counts(stop, code > 0, weights=mass)
        at = np.flatnonzero(pooled.events > 0)
        times, size = pooled.times, len(pooled.times)
        slot = np.searchsorted(times, stop)

        def count(rows: NDArray[np.bool_]) -> Floats:
            own = None if mass is None else mass[rows]
            counts: Floats = np.bincount(slot[rows], own, minlength=size).astype(np.float64)
            return counts

        at_risk = np.array([np.cumsum(count(codes == g)[::-1])[::-1] for g in range(k)])
        mine = np.array([count((codes == g) & (code == 1)) for g in range(k)])
        others = np.array([count((codes == g) & (code > 1)) for g in range(k)])
        return cls(at_risk[:, at], mine[:, at], others[:, at])


def _before(values: Floats, start: float) -> Floats:
    """Shift curves to what held just before each time."""
    return np.concatenate([np.full((*values.shape[:-1], 1), start), values[..., :-1]], axis=-1)


def _divide(top: Floats, bottom: Floats, otherwise: float = 0.0) -> Floats:
    top, bottom = np.broadcast_arrays(top, bottom)
    ratio: Floats = np.divide(top, bottom, out=np.full(top.shape, otherwise), where=bottom > 0)
    return ratio


def _layer(tables: _Tables, rho: float) -> tuple[Floats, Floats]:
    """Return scores and covariance within one stratum; the names are the paper's."""
    n, d1, d2 = tables.at_risk, tables.mine, tables.others
    k = len(n)
    if not d1.any():
        return np.zeros(k), np.zeros((k, k))
    survival = np.multiply.accumulate(np.where(n > 0, 1 - _divide(d1 + d2, n), 1.0), axis=1)
    before = _before(survival, 1.0)
    incidence = np.cumsum(before * _divide(d1, n), axis=1)
    h = np.where(n > 0, _divide(n, before), 0.0)
    at_risk = h * (1 - _before(incidence, 0.0))
    total, h_total = d1.sum(axis=0), h.sum(axis=0)
    pooled = np.cumsum(total / h_total)
    pooled_before = _before(pooled, 0.0)
    weight = (1 - pooled_before) ** rho
    scores = (weight * (d1 - total * at_risk / at_risk.sum(axis=0))).sum(axis=1)

    jump = total / h_total
    a = weight * h[:, None, :] * (np.eye(k)[:, :, None] - h[None, :, :] / h_total)
    drift = np.cumsum(a * jump / (1 - pooled_before), axis=2)
    # what an event still has ahead of it
    ahead = drift[:, :, -1:] - drift

    of_cause = 1 - _divide(np.broadcast_to(1 - pooled, n.shape), survival)
    of_cause = np.where(survival > 0, of_cause, 1.0)
    tied = np.where(total > 1, 1 - _divide(np.broadcast_to(total - 1, n.shape), h_total * before - 1), 1.0)
    mass = np.where(n > 0, tied * before * _divide(np.broadcast_to(jump, n.shape), n), 0.0)
    first = a + of_cause * ahead
    covariance = np.einsum("ikt,jkt,kt->ij", first, first, mass)

    of_others = _divide(np.broadcast_to(1 - pooled, n.shape), survival)
    tied = np.where(d2 > 1, 1 - _divide(d2 - 1, n - 1), 1.0)
    mass = np.where(survival > 0, tied * before**2 * _divide(d2, n**2), 0.0)
    second = of_others * ahead
    covariance += np.einsum("ikt,jkt,kt->ij", second, second, mass)
    return scores, covariance
