"""Limits of a ratio of two estimates."""

from __future__ import annotations

import math

__all__ = ["fieller"]


def fieller(
    numerator: float, denominator: float, v_n: float, v_d: float, covariance: float, critical: float
) -> tuple[float, float]:
    """Return Fieller's limits of a ratio; NaN where the set is not an interval.

    The set is an interval only when the denominator differs from zero at the same level.

    References:
        Fieller (1954), JRSS B 16, 175-185.

    Examples:
        >>> low, high = fieller(1.0, 10.0, 0.25, 0.25, 0.0, 1.96)
        >>> round(low, 4), round(high, 4)
        (0.002, 0.1999)
    """
    g = critical**2 * v_d / denominator**2 if denominator else math.inf
    if g >= 1:
        return math.nan, math.nan
    ratio = numerator / denominator
    # the quadratic (numerator - r denominator)^2 = critical^2 Var, solved for r
    a = denominator**2 - critical**2 * v_d
    b = numerator * denominator - critical**2 * covariance
    c = numerator**2 - critical**2 * v_n
    root = math.sqrt(max(b * b - a * c, 0.0))
    low, high = (b - root) / a, (b + root) / a
    return min(low, ratio), max(high, ratio)
