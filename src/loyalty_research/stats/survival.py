"""Survival counts and curves as pure functions on arrays.

Time runs over intervals ``(entry, duration]``: an observation is at risk at ``t`` when
``entry < t <= duration``. Without late entry everybody is at risk at 0 too, so that a duration
of 0 counts, as in R. Weights are case counts: weight 2 and two copies of a row give the
same numbers. Every function agrees with R's ``survival`` (3.5) where R has it.

References:
    Kalbfleisch, Prentice (2002), The Statistical Analysis of Failure Time Data, 2nd ed.
    Therneau, Grambsch (2000), Modeling Survival Data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from loyalty_research.errors import ArgumentError, at_rows
from loyalty_research.estimates import check_level

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "Interval",
    "RiskCounts",
    "Steps",
    "SurvivalCurve",
    "checked_columns",
    "curve_at",
    "curve_from_counts",
    "curve_interval",
    "curve_quantile",
    "kaplan_meier",
    "mass_from",
    "restricted_mean",
    "risk_counts",
    "step_interval",
    "step_limits",
    "survival_at",
]

Interval = Literal["log-log", "log", "plain"]

_TIE = math.sqrt(np.finfo(float).eps)


@dataclass(frozen=True, slots=True)
class RiskCounts:
    """Counts at each distinct time at which an observation ends.

    Attributes:
        times: Distinct end times, ascending, shape ``(k,)``.
        at_risk: Weighted number at risk just before each time.
        events: Weighted number of events at each time.
        censored: Weighted number that leave at each time without an event.
        n: Number of observations (rows), unweighted.
        first: Earliest entry.
    """

    times: Floats
    at_risk: Floats
    events: Floats
    censored: Floats
    n: int
    first: float


@dataclass(frozen=True, slots=True)
class SurvivalCurve:
    """Kaplan-Meier and Nelson-Aalen steps.

    Attributes:
        times: Distinct end times, ascending, shape ``(k,)``; the last is where the data stop.
        at_risk: Weighted number at risk just before each time.
        events: Weighted number of events at each time.
        censored: Weighted number that leave at each time without an event.
        survival: Kaplan-Meier estimate just after each time.
        variance: Greenwood variance of ``survival``; NaN once ``survival`` is 0.
        log_variance: Greenwood variance of ``log(survival)``; infinite once ``survival`` is 0.
        cumulative_hazard: Nelson-Aalen estimate.
        hazard_variance: Variance of ``cumulative_hazard``, the sum of d / n^2.
        n: Number of observations (rows), unweighted.
        first: Earliest entry; the curve is 1 there.
    """

    times: Floats
    at_risk: Floats
    events: Floats
    censored: Floats
    survival: Floats
    variance: Floats
    log_variance: Floats
    cumulative_hazard: Floats
    hazard_variance: Floats
    n: int
    first: float

    @property
    def last(self) -> float:
        """The last time anybody was observed."""
        return float(self.times[-1])


class Steps(Protocol):
    """Anything that steps at ``times`` and is known from ``first`` to ``last``."""

    @property
    def times(self) -> Floats:
        """When it steps, ascending."""

    @property
    def first(self) -> float:
        """From when it is known."""

    @property
    def last(self) -> float:
        """Until when it is known."""


def _where(bad: NDArray[np.bool_]) -> str:
    return at_rows(np.flatnonzero(bad).tolist())


def checked_columns(
    duration: ArrayLike, event: ArrayLike, entry: ArrayLike | None, weights: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[Any] | None, Floats | None]:
    """Return duration, event, entry and weights as arrays that fit together, or raise ArgumentError."""
    stop = np.asarray(duration)
    if stop.ndim != 1 or not len(stop):
        raise ArgumentError("duration must be a one-dimensional array with at least one observation")
    happened = np.asarray(event)
    start = None if entry is None else np.asarray(entry)
    mass = None if weights is None else np.asarray(weights, dtype=np.float64)
    for name, column in (("event", happened), ("entry", start), ("weights", mass)):
        if column is not None and column.shape != stop.shape:
            raise ArgumentError(f"{name} has shape {column.shape}, duration has {stop.shape}")
    for name, column in (("duration", stop), ("entry", start), ("weights", mass)):
        if column is not None and column.dtype.kind == "f" and not np.isfinite(column).all():
            raise ArgumentError(f"{name} is not finite in {_where(~np.isfinite(column))}")
    if happened.dtype != bool:
        odd = ~np.isin(happened, (0, 1))
        if odd.any():
            raise ArgumentError(f"event must be 0 or 1; it is not in {_where(odd)}")
        happened = happened.astype(bool)
    _check_lengths(stop, start)
    if mass is not None and (mass < 0).any():
        raise ArgumentError(f"weights must not be negative; they are in {_where(mass < 0)}")
    return stop, happened, start, mass


def _check_lengths(stop: NDArray[Any], start: NDArray[Any] | None) -> None:
    if start is None:
        if (stop < 0).any():
            raise ArgumentError(f"duration must not be negative; it is in {_where(stop < 0)}")
    elif (stop <= start).any():
        raise ArgumentError(f"duration must exceed entry; it does not in {_where(stop <= start)}")


def _whole(values: NDArray[Any], n: int) -> NDArray[np.int64] | None:
    """Return values as small non-negative integers where that is what they are."""
    if values.dtype.kind in "iu":
        whole = values.astype(np.int64, copy=False)
    else:
        if values.max() > 2**31 or values.min() < 0:
            return None
        whole = values.astype(np.int64)
        if not np.array_equal(whole, values):
            return None
    if whole.min() < 0 or whole.max() > 100_000 + 4 * n:
        return None
    return whole


def risk_counts(
    duration: ArrayLike, event: ArrayLike, *, entry: ArrayLike | None = None, weights: ArrayLike | None = None
) -> RiskCounts:
    """Count who is at risk, has the event, or leaves, at each distinct end time.

    Args:
        duration: End of each observation, shape ``(n,)``, in any one unit.
        event: 1 or True where the event ended it, shape ``(n,)``.
        entry: When each observation came under watch (0 for all by default), shape ``(n,)``.
        weights: Case weights, shape ``(n,)``.

    Raises:
        ArgumentError: On mismatched shapes, non-finite values, events other than 0 and 1,
            durations that do not exceed entry, or negative weights.

    Examples:
        >>> counts = risk_counts([5, 8, 8, 12], [1, 1, 0, 1])
        >>> counts.times, counts.at_risk, counts.events
        (array([ 5.,  8., 12.]), array([4., 3., 1.]), array([1., 1., 1.]))
    """
    stop, happened, start, mass = checked_columns(duration, event, entry, weights)
    n = len(stop)
    first = 0.0 if start is None else float(start.min())
    days = _whole(stop, n)
    entered = None if start is None else _whole(start, n)
    if days is not None and (start is None or entered is not None):
        return _counts_by_day(days, happened, entered, mass, first)
    times, inverse = np.unique(stop, return_inverse=True)
    k = len(times)
    ended = np.bincount(inverse, weights=mass, minlength=k).astype(np.float64)
    chosen = None if mass is None else mass[happened]
    events = np.bincount(inverse[happened], weights=chosen, minlength=k).astype(np.float64)
    at_risk: Floats = np.cumsum(ended[::-1])[::-1]
    if start is not None:
        # an entry in [times[j-1], times[j]) is not yet at risk at times up to j-1
        slot = np.searchsorted(times, start, side="right")
        came = np.bincount(slot, weights=mass, minlength=k + 1).astype(np.float64)
        at_risk = at_risk - np.cumsum(came[::-1])[::-1][1:]
    return RiskCounts(times.astype(np.float64), at_risk, events, ended - events, n, first)


def _counts_by_day(
    days: NDArray[np.int64],
    happened: NDArray[np.bool_],
    entered: NDArray[np.int64] | None,
    mass: Floats | None,
    first: float,
) -> RiskCounts:
    """Count by whole days; no sorting, exact for integer weights."""
    size = int(days.max()) + 1
    rows = np.bincount(days, minlength=size)
    ended = np.bincount(days, weights=mass, minlength=size).astype(np.float64)
    counted = happened if mass is None else mass * happened
    events = np.bincount(days, weights=counted, minlength=size).astype(np.float64)
    at_risk: Floats = np.cumsum(ended[::-1])[::-1]
    if entered is not None:
        came = np.bincount(entered, weights=mass, minlength=size).astype(np.float64)
        at_risk = at_risk - np.cumsum(came[::-1])[::-1]
    kept = np.flatnonzero(rows)
    return RiskCounts(
        kept.astype(np.float64), at_risk[kept], events[kept], (ended - events)[kept], len(days), first
    )


def mass_from(
    ends: NDArray[Any], mass: Floats, times: Floats, *, side: Literal["left", "right"] = "left"
) -> Floats:
    """Return the mass of ``ends`` at or after each time, or with ``side="right"`` after it.

    Examples:
        >>> mass_from(np.array([1, 2, 2]), np.ones(3), np.array([2.0]))
        array([2.])
    """
    order = np.argsort(ends, kind="stable")
    tail = np.concatenate([np.cumsum(mass[order][::-1])[::-1], [0.0]])
    kept: Floats = tail[np.searchsorted(ends[order], times, side=side)]
    return kept


def kaplan_meier(
    duration: ArrayLike, event: ArrayLike, *, entry: ArrayLike | None = None, weights: ArrayLike | None = None
) -> SurvivalCurve:
    """Estimate survival and cumulative hazard without a model.

    Args:
        duration: End of each observation, shape ``(n,)``, in any one unit.
        event: 1 or True where the event ended it, shape ``(n,)``.
        entry: When each observation came under watch (0 for all by default), shape ``(n,)``.
        weights: Case weights, shape ``(n,)``.

    Returns:
        The steps with Greenwood's variance; see :func:`curve_at` and :func:`curve_interval`.

    Raises:
        ArgumentError: As :func:`risk_counts`.

    Examples:
        >>> curve = kaplan_meier([5, 8, 8, 12], [1, 1, 0, 1])
        >>> curve.survival
        array([0.75, 0.5 , 0.  ])

    References:
        Kaplan, Meier (1958), JASA 53. Greenwood (1926). Nelson (1969). Aalen (1978).
    """
    return curve_from_counts(risk_counts(duration, event, entry=entry, weights=weights))


def curve_from_counts(counts: RiskCounts) -> SurvivalCurve:
    """Estimate survival and cumulative hazard from counts per time.

    Args:
        counts: Counts whose times ascend.

    Examples:
        >>> curve_from_counts(risk_counts([5, 8, 8, 12], [1, 1, 0, 1])).survival
        array([0.75, 0.5 , 0.  ])
    """
    n, d = counts.at_risk, counts.events
    live = d > 0
    # a time where weights sum to zero has nobody at risk and no event: it is no step
    safe = np.where(live, n, 1.0)
    kept: Floats = np.divide(n - d, n, out=np.ones_like(n), where=live)
    survival = np.multiply.accumulate(kept)
    with np.errstate(divide="ignore"):
        log_variance = np.cumsum(np.where(live, d / (safe * np.where(live, n - d, 1.0)), 0.0))
    with np.errstate(invalid="ignore"):
        variance = survival**2 * log_variance
    return SurvivalCurve(
        times=counts.times,
        at_risk=n,
        events=d,
        censored=counts.censored,
        survival=survival,
        variance=variance,
        log_variance=log_variance,
        cumulative_hazard=np.cumsum(np.where(live, d / safe, 0.0)),
        hazard_variance=np.cumsum(np.where(live, d / safe**2, 0.0)),
        n=counts.n,
        first=counts.first,
    )


def step_interval(
    survival: ArrayLike, log_variance: ArrayLike, *, level: float = 0.95, kind: Interval = "log-log"
) -> tuple[Floats, Floats]:
    """Return pointwise limits of a survival probability.

    Args:
        survival: Estimates of S(t).
        log_variance: Variance of log S(t), same shape.
        level: Confidence level.
        kind: Scale on which the interval is symmetric: ``"log-log"`` (complementary log-log,
            never leaves [0, 1]), ``"log"`` (R's default; upper limit cut at 1) or ``"plain"``
            (cut at 0 and 1).

    Returns:
        Lower and upper limits: 1 and 1 before the first event, NaN once survival is 0.

    Raises:
        ArgumentError: When ``level`` or ``kind`` is not one of the above.

    Examples:
        >>> low, high = step_interval([0.5], [0.04])
        >>> float(low[0].round(4)), float(high[0].round(4))
        (0.2952, 0.6745)

    References:
        Kalbfleisch, Prentice (2002), eq. 1.14; Borgan, Liestol (1990).
    """
    from scipy.special import ndtri

    z = float(ndtri(0.5 + check_level(level) / 2))
    with np.errstate(invalid="ignore"):
        reach = z * np.sqrt(np.asarray(log_variance, dtype=np.float64))
    return step_limits(survival, reach, kind=kind)


def step_limits(
    survival: ArrayLike, reach: ArrayLike, *, kind: Interval = "log-log"
) -> tuple[Floats, Floats]:
    """Return limits of a survival probability that reach a given way on the log scale.

    Args:
        survival: Estimates of S(t).
        reach: Critical value times the standard error of log S(t), same shape.
        kind: Scale on which the limits are symmetric; see :func:`step_interval`.

    Returns:
        Lower and upper limits: 1 and 1 before the first event, NaN once survival is 0.

    Raises:
        ArgumentError: When ``kind`` is unknown.

    Examples:
        >>> low, high = step_limits([0.5], [0.4], kind="log")
        >>> low.round(4), high.round(4)
        (array([0.3352]), array([0.7459]))
    """
    if kind not in ("log-log", "log", "plain"):
        raise ArgumentError(f"interval must be 'log-log', 'log' or 'plain'; got {kind!r}")
    s, error = np.asarray(survival, dtype=np.float64), np.asarray(reach, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "log-log":
            log_s = np.log(s)
            width = error / log_s
            low, high = np.exp(log_s * np.exp(-width)), np.exp(log_s * np.exp(width))
        elif kind == "log":
            low, high = s * np.exp(-error), np.minimum(s * np.exp(error), 1.0)
        else:
            low, high = np.maximum(s - s * error, 0.0), np.minimum(s + s * error, 1.0)
    certain, gone = s == 1.0, s == 0.0
    low = np.where(certain, 1.0, np.where(gone, np.nan, low))
    high = np.where(certain, 1.0, np.where(gone, np.nan, high))
    return low, high


def curve_interval(
    curve: SurvivalCurve, *, level: float = 0.95, kind: Interval = "log-log"
) -> tuple[Floats, Floats]:
    """Return pointwise limits at each of the curve's times; see :func:`step_interval`.

    Examples:
        >>> low, high = curve_interval(kaplan_meier([5, 8, 8, 12], [1, 1, 0, 1]), kind="plain")
        >>> low.round(3), high.round(3)
        (array([0.326, 0.01 ,   nan]), array([1.  , 0.99,   nan]))
    """
    return step_interval(curve.survival, curve.log_variance, level=level, kind=kind)


def curve_at(curve: Steps, values: ArrayLike, times: ArrayLike, *, before: float) -> Floats:
    """Read a right-continuous step function at given times.

    Args:
        curve: The curve whose ``times`` carry the steps.
        values: What to read, one per time of the curve, such as ``curve.cumulative_hazard``.
        times: When to read it.
        before: Value from the curve's first entry until its first time (1 for survival, 0 for
            a hazard or a variance).

    Returns:
        Values; NaN before the first entry and beyond the last time observed.

    Examples:
        >>> curve = kaplan_meier([5, 8, 8, 12], [1, 1, 0, 0])
        >>> curve_at(curve, curve.survival, [0, 5, 11.9, 13], before=1.0)
        array([1.  , 0.75, 0.5 ,  nan])
    """
    asked = np.asarray(times, dtype=np.float64)
    slot = np.searchsorted(curve.times, asked, side="right")
    steps = np.concatenate([[before], np.asarray(values, dtype=np.float64)])
    read: Floats = np.where((asked >= curve.first) & (asked <= curve.last), steps[slot], np.nan)
    return read


def survival_at(curve: SurvivalCurve, times: ArrayLike) -> Floats:
    """Read survival at given times: 1 at the first entry, NaN beyond the data.

    Once the curve has come down to 0 it stays there, so it is 0 beyond the data too.

    Examples:
        >>> survival_at(kaplan_meier([5, 8], [1, 1]), [0, 5, 20])
        array([1. , 0.5, 0. ])
    """
    read = curve_at(curve, curve.survival, times, before=1.0)
    if curve.survival[-1] == 0:
        read = np.where(np.asarray(times, dtype=np.float64) > curve.last, 0.0, read)
    return read


def curve_quantile(
    curve: SurvivalCurve, *, share: float = 0.5, level: float = 0.95, kind: Interval = "log-log"
) -> tuple[float, float, float]:
    """Return the time by which ``share`` have had the event, with its interval.

    Args:
        curve: A survival curve.
        share: Fraction of the population; 0.5 for the median.
        level: Confidence level.
        kind: Interval of the curve that is inverted.

    Returns:
        Value, low, high. A value or lower limit the data do not reach is NaN; an upper limit
        they do not reach is infinite.

    Raises:
        ArgumentError: When ``share`` is not strictly between 0 and 1.

    Examples:
        >>> curve_quantile(kaplan_meier([5, 8, 8, 12], [1, 1, 0, 1]))[0]
        10.0

    References:
        Brookmeyer, Crowley (1982), Biometrics 38. Where the curve is flat at the share, its
        midpoint is taken, as in R's ``quantile.survfit``.
    """
    if not 0 < share < 1:
        raise ArgumentError(f"share must lie strictly between 0 and 1; got {share!r}")
    low, high = curve_interval(curve, level=level, kind=kind)
    value = _first_below(curve.times, curve.survival, 1 - share)
    lower = _first_below(curve.times, np.nan_to_num(low, nan=0.0), 1 - share)
    upper = _first_below(curve.times, np.nan_to_num(high, nan=1.0), 1 - share)
    return value, lower, math.inf if math.isnan(upper) else upper


def _first_below(times: Floats, steps: Floats, target: float) -> float:
    reached = np.flatnonzero(steps <= target + _TIE)
    if not len(reached):
        return math.nan
    first = reached[0]
    flat = np.flatnonzero(np.abs(steps - target) <= _TIE)
    later = np.flatnonzero(steps < target - _TIE)
    if len(flat) and len(later):
        return float((times[first] + times[later[0]]) / 2)
    return float(times[first])


def restricted_mean(curve: SurvivalCurve, tau: float) -> tuple[float, float]:
    """Return the mean time without the event up to ``tau``, and its standard error.

    Args:
        curve: A survival curve that starts at 0.
        tau: Horizon, in the unit of the curve.

    Returns:
        The area under the curve from 0 to ``tau`` and its Greenwood-type standard error.

    Raises:
        ArgumentError: When ``tau`` is not positive, or lies beyond the data while some are
            still there, since the curve is not known there.

    Examples:
        >>> restricted_mean(kaplan_meier([5, 8, 8, 12], [1, 1, 0, 1]), 10)[0]
        8.25

    References:
        Andersen et al. (1993), eq. 4.3.25; survRM2 (Uno et al. 2014). The variance is the sum
        over event times of (area beyond)^2 d / (n (n - d)).
    """
    if not (math.isfinite(tau) and tau > 0):
        raise ArgumentError(f"tau must be a positive number; got {tau!r}")
    if tau > curve.last and curve.survival[-1] > 0:
        raise ArgumentError(f"tau = {tau:g} lies beyond the last time observed ({curve.last:g})")
    inside = curve.times < tau
    grid = np.concatenate([[0.0], curve.times[inside], [tau]])
    steps = np.concatenate([[1.0], curve.survival[inside]])
    pieces = np.diff(grid) * steps
    beyond = np.cumsum(pieces[::-1])[::-1][1:]
    n, d = curve.at_risk[inside], curve.events[inside]
    live = (d > 0) & (n > d)
    variance = np.sum(beyond[live] ** 2 * d[live] / (n[live] * (n[live] - d[live])))
    return float(pieces.sum()), float(np.sqrt(variance))
