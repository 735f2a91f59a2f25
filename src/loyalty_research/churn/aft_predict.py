"""Survival, median and remaining time of given customers from a parametric fit."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.churn import aft_core as core
from loyalty_research.churn import intervals, prediction
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, percent
from loyalty_research.stats.survival import kaplan_meier, survival_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.churn.aft import AFTState
    from loyalty_research.stats.survival import Interval

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["median", "remaining", "shape_check", "survival"]

_STEP = 1e-5
_NODES = 80


def _z(state: AFTState, df: pd.DataFrame, rows: Any) -> Floats:
    return (state.design.matrix(df.iloc[rows], "df") - state.mean) / state.spread


def _prepared(state: AFTState, df: pd.DataFrame) -> None:
    intervals.need(df, list(state.design.inputs), "df")
    state.design.check(df, "df")


def _support(state: AFTState, n: int, *, extrapolate: bool) -> Floats:
    return np.full(n, np.inf if extrapolate else float(state.data.stop.max()))


def _log_survival(state: AFTState, theta: list[Floats], times: Floats) -> Floats:
    """Return log S, shape of ``times`` ``(n, k)``; 0 at time 0."""
    there = times > 0
    y = np.log(np.where(there, times, 1.0))
    full = [np.broadcast_to(t[:, None], y.shape) for t in theta]
    log_s = state.family.log_survival(y.ravel(), [f.ravel() for f in full]).reshape(y.shape)
    return np.where(there, log_s, 0.0)


def _moved(theta: list[Floats], i: int, by: float) -> list[Floats]:
    return [t + by if j == i else t for j, t in enumerate(theta)]


def _variance(state: AFTState, z: Floats, slopes: list[Floats]) -> Floats:
    """Return the variance of a function of theta, given its derivatives, each ``(n, ...)``."""
    first = slopes[0][..., None]
    shaped = z.reshape(len(z), *([1] * (slopes[0].ndim - 1)), z.shape[1])
    columns = [first * shaped]
    if state.family.intercept:
        columns.append(first)
    columns += [s[..., None] for s in slopes[1:]]
    gradient = np.concatenate(columns, axis=-1)
    found: Floats = ((gradient @ state.covariance) * gradient).sum(axis=-1)
    return found


def _full_theta(state: AFTState, z: Floats) -> list[Floats]:
    return [np.broadcast_to(t, (len(z),)).copy() for t in core.thetas(state.family, state.beta, z)]


def survival(
    state: AFTState,
    df: pd.DataFrame,
    *,
    times: ArrayLike,
    alive_at: ArrayLike,
    level: float,
    interval: Interval,
    extrapolate: bool,
) -> pd.DataFrame:
    """Return survival per row and time; see :meth:`AFTFit.predict_survival`."""
    _prepared(state, df)
    days, given = prediction.checked_times(times), prediction.checked_alive(alive_at, len(df))
    n, k = len(df), len(days)
    curve, variance = np.empty((n, k)), np.empty((n, k))
    for rows in prediction.blocks(n, k * (len(state.beta) + 4)):
        z = _z(state, df, rows)
        theta, since = _full_theta(state, z), given[rows][:, None]
        at = np.maximum(days[None, :], since)

        def gap(theta: list[Floats], at: Floats = at, since: Floats = since) -> Floats:
            kept: Floats = _log_survival(state, theta, at) - _log_survival(state, theta, since)
            return kept

        curve[rows] = np.exp(gap(theta))
        slopes = _slopes(gap, theta)
        variance[rows] = _variance(state, z, slopes)
    last = _support(state, n, extrapolate=extrapolate)
    return prediction.survival_frame(df.index, days, curve, variance, last, level=level, interval=interval)


def _slopes(value: Callable[[list[Floats]], Floats], theta: list[Floats]) -> list[Floats]:
    """Return central differences of ``value`` in each parameter."""
    return [
        (value(_moved(theta, i, _STEP)) - value(_moved(theta, i, -_STEP))) / (2 * _STEP)
        for i in range(len(theta))
    ]


def median(
    state: AFTState, df: pd.DataFrame, *, alive_at: ArrayLike, level: float, extrapolate: bool
) -> pd.DataFrame:
    """Return the conditional median per row; see :meth:`AFTFit.predict_median`."""
    from scipy.special import ndtri

    _prepared(state, df)
    given = prediction.checked_alive(alive_at, len(df))
    n = len(df)
    found, error = np.empty(n), np.empty(n)
    for rows in prediction.blocks(n, 60 * (len(state.beta) + 2)):
        z = _z(state, df, rows)
        theta, since = _full_theta(state, z), given[rows][:, None]

        def over(theta: list[Floats], y: Floats, since: Floats = since) -> Floats:
            """Return log S(exp(y)) less half of S(since), on the log scale."""
            now = _log_survival(state, theta, np.exp(y)[:, None])
            kept: Floats = (now - _log_survival(state, theta, since))[:, 0] + np.log(2.0)
            return kept

        y = _bisected(partial(over, theta), float(state.data.stop.max()), len(z))
        tilt = (over(theta, y + _STEP) - over(theta, y - _STEP)) / (2 * _STEP)
        slopes = [-s / tilt for s in _slopes(partial(over, y=y), theta)]
        found[rows], error[rows] = y, np.sqrt(_variance(state, z, slopes))
    width = float(ndtri(0.5 + level / 2)) * error
    last = _support(state, n, extrapolate=extrapolate)
    day = np.exp(found)
    hidden = np.where(day > last, np.nan, 1.0)
    return pd.DataFrame(
        {
            "row": df.index.to_numpy(),
            "alive_at": given,
            "estimate": day * hidden,
            "low": np.exp(found - width) * hidden,
            "high": np.exp(found + width) * hidden,
            "reason": prediction.reasons(day[:, None] > last[:, None], last),
        }
    )


def _bisected(over: Any, last: float, n: int) -> Floats:
    """Return the log time at which a falling function of it is 0."""
    low, high = np.full(n, np.log(last) - 40.0), np.full(n, np.log(last) + 40.0)
    for _ in range(70):
        middle = (low + high) / 2
        above = over(middle) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    kept: Floats = (low + high) / 2
    return kept


def remaining(
    state: AFTState,
    df: pd.DataFrame,
    *,
    alive_at: ArrayLike,
    horizon: float,
    level: float,
    extrapolate: bool,
) -> pd.DataFrame:
    """Return expected remaining time per row; see :meth:`AFTFit.expected_remaining`."""
    _prepared(state, df)
    ahead, given = prediction.checked_horizon(horizon), prediction.checked_alive(alive_at, len(df))
    n = len(df)
    # survival can fall steeply right after the start: nodes gather there
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    v = (nodes + 1) / 2
    days, mass = ahead * v**3, weights / 2 * ahead * 3 * v**2
    mean, variance = np.empty(n), np.empty(n)
    for rows in prediction.blocks(n, _NODES * 4):
        z = _z(state, df, rows)
        theta, since = _full_theta(state, z), given[rows][:, None]

        def area(theta: list[Floats], since: Floats = since) -> Floats:
            gap = _log_survival(state, theta, since + days) - _log_survival(state, theta, since)
            kept: Floats = (np.exp(gap) @ mass).astype(np.float64)
            return kept

        mean[rows] = area(theta)
        variance[rows] = _variance(state, z, _slopes(area, theta))
    last = _support(state, n, extrapolate=extrapolate)
    return prediction.remaining_frame(df.index, given, ahead, mean, variance, last, level=level)


def shape_check(state: AFTState, z: Floats, pattern: Ints | None) -> tuple[Check, ...]:
    """Return how far the mean curve strays from Kaplan-Meier, where all enter at 0 and keep their values."""
    data = state.data
    if data.start.any() or data.n_customers < len(data.stop):
        return ()
    curve = kaplan_meier(data.stop, data.event, weights=data.weights)
    times = np.unique(np.quantile(data.stop, np.linspace(0.1, 0.9, 9)))
    row = np.arange(len(z)) if pattern is None else pattern
    share = np.bincount(row, data.weights, minlength=len(z)).astype(np.float64)
    mean = np.zeros(len(times))
    for rows in prediction.blocks(len(z), 4 * len(times)):
        theta = _full_theta(state, z[rows])
        grid = np.broadcast_to(times, (len(theta[0]), len(times)))
        mean += share[rows] @ np.exp(_log_survival(state, theta, grid))
    gap = float(np.abs(mean / share.sum() - survival_at(curve, times)).max())
    detail = message(
        "The mean curve of the model differs from the Kaplan-Meier curve by {gap} at most (days at the deciles of "
        "follow-up).",
        gap=percent(gap),
    )
    return (Check(message("Shape of the distribution"), "warning" if gap > 0.05 else "passed", detail),)
