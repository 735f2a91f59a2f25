"""The log-rank family of tests as pure functions on arrays.

Intervals and weights are those of :mod:`loyalty_research.stats.survival`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from loyalty_research.errors import ArgumentError
from loyalty_research.stats.survival import checked_columns, curve_from_counts, mass_from, risk_counts

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.stats.survival import RiskCounts

    Floats = NDArray[np.float64]

__all__ = ["LogRank", "Weighting", "logrank"]

Weighting = Literal["logrank", "wilcoxon", "tarone-ware", "peto", "fleming-harrington"]


@dataclass(frozen=True, slots=True)
class LogRank:
    """A k-sample test of equal hazards.

    Attributes:
        statistic: Chi-square statistic.
        degrees_of_freedom: Groups minus one.
        p_value: Upper tail of chi-square.
        groups: Labels in the order of ``observed`` and ``expected``.
        observed: Weighted events per group (log-rank weights applied).
        expected: Their expectation under equal hazards.
        covariance: Covariance of ``observed - expected``, shape ``(groups, groups)``.
    """

    statistic: float
    degrees_of_freedom: int
    p_value: float
    groups: tuple[Any, ...]
    observed: Floats
    expected: Floats
    covariance: Floats


def logrank(
    duration: ArrayLike,
    event: ArrayLike,
    group: ArrayLike,
    *,
    entry: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    weighting: Weighting = "logrank",
    p: float = 1.0,
    q: float = 0.0,
) -> LogRank:
    """Test whether hazards are equal across groups.

    Args:
        duration: End of each observation, shape ``(n,)``.
        event: 1 or True where the event ended it, shape ``(n,)``.
        group: Group of each observation, shape ``(n,)``; at least two distinct values.
        entry: When each observation came under watch, shape ``(n,)``.
        weights: Case weights, shape ``(n,)``.
        strata: Compare within these strata only and add up, shape ``(n,)``.
        weighting: Weight of each event time: 1 (``"logrank"``), the number at risk
            (``"wilcoxon"``), its root (``"tarone-ware"``), the pooled survival just before it
            (``"peto"``, R's ``rho = 1``), or S^p (1 - S)^q (``"fleming-harrington"``).
        p: Power of survival for Fleming-Harrington.
        q: Power of one minus survival for Fleming-Harrington.

    Raises:
        ArgumentError: As :func:`risk_counts`, on an unknown weighting, fewer than two groups,
            or when no event time has two groups at risk.

    Examples:
        >>> test = logrank([1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 1], list("aaabbb"))
        >>> round(test.statistic, 3), round(test.p_value, 3)
        (5.052, 0.025)

    References:
        Harrington, Fleming (1982), Biometrika 69; Klein, Moeschberger (2003), eq. 7.3.1-7.3.5.
    """
    from scipy.special import chdtrc

    if weighting not in ("logrank", "wilcoxon", "tarone-ware", "peto", "fleming-harrington"):
        raise ArgumentError(
            "weights must be 'logrank', 'wilcoxon', 'tarone-ware', 'peto' or 'fleming-harrington'; "
            f"got {weighting!r}"
        )
    stop, happened, start, mass = checked_columns(duration, event, entry, weights)
    labels, codes = np.unique(np.asarray(group), return_inverse=True)
    layers = (
        np.zeros(len(stop), dtype=np.int64)
        if strata is None
        else np.unique(np.asarray(strata), return_inverse=True)[1]
    )
    if len(codes) != len(stop) or len(layers) != len(stop):
        raise ArgumentError("group and strata must have one value per observation")
    k = len(labels)
    if k < 2:
        raise ArgumentError(f"a log-rank test needs two groups or more; there is {k}")
    observed, expected, covariance = np.zeros(k), np.zeros(k), np.zeros((k, k))
    for layer in range(int(layers.max()) + 1):
        rows = layers == layer
        part = _logrank_layer(
            stop[rows],
            happened[rows],
            codes[rows],
            k,
            None if start is None else start[rows],
            None if mass is None else mass[rows],
            weighting,
            p,
            q,
        )
        observed += part[0]
        expected += part[1]
        covariance += part[2]
    gap = (observed - expected)[:-1]
    inner = covariance[:-1, :-1]
    if np.linalg.matrix_rank(inner) < k - 1:
        raise ArgumentError("some group is never at risk together with the others when an event happens")
    statistic = float(gap @ np.linalg.solve(inner, gap))
    return LogRank(
        statistic,
        k - 1,
        float(chdtrc(k - 1, statistic)),
        tuple(labels.tolist()),
        observed,
        expected,
        covariance,
    )


def _logrank_layer(
    stop: NDArray[Any],
    happened: NDArray[np.bool_],
    codes: NDArray[np.int64],
    k: int,
    start: NDArray[Any] | None,
    mass: Floats | None,
    weighting: Weighting,
    p: float,
    q: float,
) -> tuple[Floats, Floats, Floats]:
    pooled = risk_counts(stop, happened, entry=start, weights=mass)
    at = np.flatnonzero(pooled.events > 0)
    times, n, d = pooled.times[at], pooled.at_risk[at], pooled.events[at]
    by_n, by_d = np.zeros((len(at), k)), np.zeros((len(at), k))
    for g in range(k):
        rows = codes == g
        if not rows.any():
            continue
        own_stop, own_mass = stop[rows], np.ones(int(rows.sum())) if mass is None else mass[rows]
        by_n[:, g] = mass_from(own_stop, own_mass, times)
        if start is not None:
            by_n[:, g] -= mass_from(start[rows], own_mass, times)
        mine = happened[rows]
        by_d[:, g] = np.bincount(
            np.searchsorted(times, own_stop[mine]), weights=own_mass[mine], minlength=len(at)
        )[: len(at)]
    w = _time_weights(pooled, at, weighting, p, q)
    share = by_n / n[:, None]
    # hypergeometric variance; one at risk leaves nothing to chance
    spread = w**2 * d * np.divide(n - d, n - 1, out=np.zeros_like(n), where=n > 1)
    covariance = np.diag((spread[:, None] * share).sum(0)) - (share * spread[:, None]).T @ share
    return (w[:, None] * by_d).sum(0), (w * d) @ share, covariance


def _time_weights(
    pooled: RiskCounts, at: NDArray[np.int64], weighting: Weighting, p: float, q: float
) -> Floats:
    n = pooled.at_risk[at]
    if weighting == "logrank":
        return np.ones(len(at))
    if weighting == "wilcoxon":
        return n
    if weighting == "tarone-ware":
        return np.sqrt(n)
    before = np.concatenate([[1.0], curve_from_counts(pooled).survival[at][:-1]])
    if weighting == "peto":
        return before
    # 0 ** 0 is 1: with q = 0 the first event counts in full
    weights: Floats = before**p * (1 - before) ** q
    return weights
