"""Limits of a survival curve whose observations share customers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from loyalty_research.stats.survival import curve_quantile, step_interval, survival_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.stats.survival import SurvivalCurve

    Array = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Codes = NDArray[np.int64]

__all__ = ["clustered_at", "clustered_log_variance", "clustered_median"]

KIND: Literal["log-log"] = "log-log"
_CELLS = 2e7


def clustered_log_variance(
    curve: SurvivalCurve, duration: Array, event: Bools, codes: Codes, times: Array
) -> Array:
    """Return the variance of log S(t) with observations of one customer taken together.

    It is the infinitesimal jackknife by customer; with one observation each it is Greenwood's.

    Args:
        curve: The Kaplan-Meier curve of the observations.
        duration: End of each observation, shape (n,).
        event: Whether the event ended it, shape (n,).
        codes: Customer of each observation, from 0, shape (n,).
        times: When it is wanted, shape (k,).

    Returns:
        Shape (k,); NaN once the curve is at 0.

    Examples:
        >>> from loyalty_research.stats.survival import kaplan_meier
        >>> time, seen = np.array([5.0, 8, 8, 12]), np.array([True, True, False, True])
        >>> curve = kaplan_meier(time, seen)
        >>> own = clustered_log_variance(curve, time, seen, np.arange(4), np.array([5.0, 8.0]))
        >>> bool(np.allclose(own, curve.log_variance[:2]))
        True

    References:
        Greenwood (1926); Therneau and Grambsch (2000), Modeling Survival Data, section 2.2.
    """
    left = curve.at_risk - curve.events
    with np.errstate(divide="ignore", invalid="ignore"):
        jump = np.where(left > 0, 1 / left, np.nan)
        step = np.where(curve.events > 0, curve.events / (curve.at_risk * left), 0.0)
    total = np.concatenate([[0.0], np.cumsum(step)])
    slot = np.searchsorted(curve.times, duration)
    own = np.where(event, jump[slot], 0.0)
    found = np.empty(len(times))
    for i, time in enumerate(times):
        last = int(np.searchsorted(curve.times, time, side="right"))
        moved = np.where(slot < last, own, 0.0) - total[np.minimum(slot + 1, last)]
        by_customer = np.bincount(codes, weights=moved)
        found[i] = float(by_customer @ by_customer)
    return found


def clustered_at(
    curve: SurvivalCurve, duration: Array, event: Bools, codes: Codes, time: float, *, level: float
) -> tuple[float, float, float]:
    """Return S(t) with log-log limits by customer; all NaN beyond the time observed.

    Args:
        curve: The Kaplan-Meier curve of the observations.
        duration: End of each observation, shape (n,).
        event: Whether the event ended it, shape (n,).
        codes: Customer of each observation, from 0, shape (n,).
        time: When it is wanted.
        level: Confidence level.
    """
    value = float(survival_at(curve, [time])[0])
    if math.isnan(value):
        return math.nan, math.nan, math.nan
    variance = clustered_log_variance(curve, duration, event, codes, np.array([time]))
    low, high = step_interval([value], variance, level=level, kind=KIND)
    # before the first event nothing has been seen to vary
    return (value, math.nan, math.nan) if value == 1 else (value, float(low[0]), float(high[0]))


def clustered_median(
    curve: SurvivalCurve, duration: Array, event: Bools, codes: Codes, *, level: float
) -> tuple[float, float, float]:
    """Return the median with the limits of the inverted log-log interval by customer.

    Args:
        curve: The Kaplan-Meier curve of the observations.
        duration: End of each observation, shape (n,).
        event: Whether the event ended it, shape (n,).
        codes: Customer of each observation, from 0, shape (n,).
        level: Confidence level.

    Returns:
        Value, low, high; what the data do not reach is NaN, an upper limit infinite.

    References:
        Brookmeyer and Crowley (1982), Biometrics 38.
    """
    value, low, high = curve_quantile(curve, level=level, kind=KIND)
    if codes.max() + 1 == len(codes):
        return value, low, high
    steps = np.flatnonzero(curve.events > 0)
    most = max(int(_CELLS / len(duration)), 50)
    if len(steps) > most:  # a limit is then exact to one part in so many
        steps = steps[np.linspace(0, len(steps) - 1, most).round().astype(int)]
    times = curve.times[steps]
    variance = clustered_log_variance(curve, duration, event, codes, times)
    lows, highs = step_interval(curve.survival[steps], variance, level=level, kind=KIND)
    down = np.flatnonzero(np.nan_to_num(lows, nan=0.0) <= 0.5)
    up = np.flatnonzero(np.nan_to_num(highs, nan=1.0) <= 0.5)
    return (
        value,
        float(times[down[0]]) if len(down) else math.nan,
        float(times[up[0]]) if len(up) else math.inf,
    )
