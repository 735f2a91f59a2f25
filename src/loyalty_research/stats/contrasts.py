"""Weighted sums of several independent proportions: intervals, trend test, power."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, stats

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, check_level
from loyalty_research.stats.proportions import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["contrast_of_proportions", "contrast_power", "trend_test", "trend_weights"]


def _read(x: Sequence[int], n: Sequence[int], weights: Sequence[float]) -> tuple[Floats, Floats, Floats]:
    successes, trials, w = (np.asarray(v, dtype=float) for v in (x, n, weights))
    if not (successes.ndim == 1 and successes.shape == trials.shape == w.shape):
        raise ArgumentError("x, n and weights need one entry per arm each")
    if not ((trials >= 1) & (successes >= 0) & (successes <= trials)).all():
        raise ArgumentError("every arm needs at least one trial and successes from 0 to its trials")
    if not (np.isfinite(w).all() and (w != 0).any()):
        raise ArgumentError("weights must be finite and not all zero")
    return successes, trials, w


def _mover(x: Floats, n: Floats, w: Floats, level: float) -> tuple[float, float]:
    p = x / n
    low, high = wilson_interval(x, n, level=level)
    value = float(w @ p)
    below = w * p - np.minimum(w * low, w * high)
    above = np.maximum(w * low, w * high) - w * p
    return value - float(np.sqrt(below @ below)), value + float(np.sqrt(above @ above))


def contrast_of_proportions(
    x: Sequence[int], n: Sequence[int], weights: Sequence[float], *, level: float = 0.95
) -> Estimate:
    """Return a weighted sum of independent proportions with its interval.

    The interval recovers each arm's variance at its Wilson limits (MOVER); for two arms with
    weights 1 and -1 it is Newcombe's.

    Args:
        x: Successes per arm, shape ``(arms,)``.
        n: Trials per arm.
        weights: Weight of each arm's rate.
        level: Coverage aimed at.

    Returns:
        Unit ``"fraction"``; the p-value is one minus the level at which the interval touches 0.

    Raises:
        ArgumentError: On impossible counts, or weights of another length.

    Examples:
        >>> contrast_of_proportions([51, 28], [150, 150], [1, -1])
        15.3% (95% interval 5.4% to 24.9%; mover-wilson; n = 300)

    References:
        Zou, Huang and Zhang (2009), A note on confidence interval estimation for a linear function
        of binomial proportions, Computational Statistics and Data Analysis 53, 1080-1085.
    """
    successes, trials, w = _read(x, n, weights)
    level = check_level(level)
    low, high = _mover(successes, trials, w, level)
    value = float(w @ (successes / trials))

    def reach(z: float) -> float:
        ends = _mover(successes, trials, w, 1 - 2 * float(stats.norm.sf(z)))
        return ends[0] if value > 0 else -ends[1]

    p_value = 1.0
    if reach(1e-9) > 0:
        # levels beyond z = 8 round to 1, where Wilson's limits are 0 and 1
        z = 8.0 if reach(8.0) > 0 else float(optimize.brentq(reach, 1e-9, 8.0, xtol=1e-12))
        p_value = 2 * float(stats.norm.sf(z))
    used = int(trials[w != 0].sum())
    return Estimate(value, low, high, level, "mover-wilson", used, "fraction", p_value)


def trend_weights(scores: Sequence[float], n: Sequence[int]) -> Floats:
    """Return the weights that give the least-squares slope of rates on scores, arms weighted by size.

    Args:
        scores: Score of each arm, such as its stamps given.
        n: Trials per arm.

    Raises:
        ArgumentError: When all scores are equal.

    Examples:
        >>> trend_weights([0, 1, 2], [50, 50, 50]).tolist()
        [-0.5, 0.0, 0.5]
    """
    s, size = np.asarray(scores, dtype=float), np.asarray(n, dtype=float)
    off = s - float(size @ s) / size.sum()
    spread = float(size @ off**2)
    if not spread > 0:
        raise ArgumentError("a trend needs arms with different scores")
    return np.asarray(size * off / spread)


def trend_test(x: Sequence[int], n: Sequence[int], scores: Sequence[float]) -> tuple[float, float]:
    """Test for a linear trend of proportions over scores (Cochran-Armitage).

    Args:
        x: Successes per arm, shape ``(arms,)``.
        n: Trials per arm.
        scores: Score of each arm.

    Returns:
        z (positive where rates rise) and the two-sided p-value; NaN and 1 without variation.

    Raises:
        ArgumentError: On impossible counts, or scores that are all equal.

    Examples:
        >>> z, p = trend_test([28, 36, 45, 51], [150, 140, 155, 150], [0, 1, 2, 3])
        >>> round(z, 3), round(p, 5)
        (3.048, 0.0023)

    References:
        Armitage (1955), Tests for linear trends in proportions and frequencies, Biometrics 11, 375-386.
    """
    w = trend_weights(scores, n)
    successes, trials, w = _read(x, n, w.tolist())
    pooled = successes.sum() / trials.sum()
    variance = float(pooled * (1 - pooled) * (w**2 / trials).sum())
    if variance == 0:
        return math.nan, 1.0
    z = float(w @ (successes / trials)) / math.sqrt(variance)
    return z, 2 * float(stats.norm.sf(abs(z)))


def contrast_power(
    rates: Sequence[float], weights: Sequence[float], *, n: float, level: float = 0.95, pooled: bool = True
) -> float:
    """Return the power of a two-sided test of a weighted sum of proportions, arms of equal size.

    Args:
        rates: True rate per arm, shape ``(arms,)``.
        weights: Weight of each arm's rate.
        n: Units per arm.
        level: One minus the two-sided test size.
        pooled: Whether the test's variance takes one common rate, as for a difference of two arms
            or a trend; an interaction does not.

    Examples:
        >>> round(contrast_power([0.34, 28 / 150], [1, -1], n=150), 3)
        0.858

    References:
        Fleiss, Levin and Paik (2003), ch. 4; Nam (1987), Biometrics 43, 701-705, for the trend.
    """
    p, w = np.asarray(rates, dtype=float), np.asarray(weights, dtype=float)
    true = math.sqrt(float((w**2 * p * (1 - p)).sum()) / n)
    null = true
    if pooled:
        common = float(p[w != 0].mean())
        null = math.sqrt(common * (1 - common) * float((w**2).sum()) / n)
    critical, shift = float(stats.norm.isf((1 - level) / 2)), abs(float(w @ p))
    above = stats.norm.sf((critical * null - shift) / true)
    return float(above + stats.norm.cdf((-critical * null - shift) / true))
