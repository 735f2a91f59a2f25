"""Baseline, survival and remaining time of given customers from a discrete-time fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from loyalty_research.churn import discrete_core as core
from loyalty_research.churn import intervals, prediction

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.churn.discrete import DiscreteState
    from loyalty_research.stats.survival import Interval

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["baseline_columns", "baseline_frame", "remaining", "survival"]


def baseline_columns(kind: str, degrees: int, periods: Ints, top: int) -> Floats:
    """Return the baseline's columns: a constant, then a polynomial or natural spline of tenure.

    Args:
        kind: ``"polynomial"`` or ``"spline"``.
        degrees: Columns beside the constant.
        periods: Where, shape ``(K,)``.
        top: Last period of the data.
    """
    u = periods / max(top, 1)
    if kind == "polynomial":
        columns: Floats = np.polynomial.legendre.legvander(2 * u - 1, degrees).astype(np.float64)
        return columns
    knots = np.linspace(0, 1, degrees + 1)

    def bend(knot: float) -> Floats:
        """Return the truncated cubic that is linear beyond the last knot (Hastie et al., eq. 5.4)."""
        over = np.maximum(u - knot, 0.0) ** 3 - np.maximum(u - knots[-1], 0.0) ** 3
        kept: Floats = over / (knots[-1] - knot)
        return kept

    last = bend(float(knots[-2]))
    inner = [bend(float(k)) - last for k in knots[:-2]]
    return np.column_stack([np.ones_like(u), u, *inner])


def baseline_frame(state: DiscreteState) -> pd.DataFrame:
    """Return the hazard of an average customer by period; see :attr:`DiscreteFit.baseline_`."""
    from scipy.special import ndtri

    options, table = state.options, state.table
    base = np.eye(table.q) if table.base is None else table.base
    eta = base @ state.beta[: table.q]
    error = np.sqrt(((base @ state.covariance[: table.q, : table.q]) * base).sum(1))
    width = float(ndtri(0.5 + options.level / 2)) * error
    n = len(state.at_risk)
    hazard, low, high = np.where(state.events > 0, 1.0, 0.0), np.full(n, np.nan), np.full(n, np.nan)
    for part, at in ((hazard, eta), (low, eta - width), (high, eta + width)):
        part[table.periods] = core.hazard(options.link, at)[0]
    start = np.arange(n) * options.width
    frame = pd.DataFrame(
        {
            "start": start,
            "stop": start + options.width,
            "at_risk": state.at_risk,
            "events": state.events,
            "hazard": hazard,
            "low": low,
            "high": high,
        }
    )
    return frame[frame["at_risk"] > 0].reset_index(drop=True)


def _prepared(state: DiscreteState, df: pd.DataFrame) -> tuple[Floats, Ints]:
    """Return the different covariate rows asked for, and which of them each row is."""
    intervals.need(df, list(state.design.inputs), "df")
    state.design.check(df, "df")
    z = (state.design.matrix(df, "df") - state.mean) / state.spread
    if not z.shape[1]:
        return z[:1], np.zeros(len(df), dtype=np.int64)
    different, which = np.unique(z, axis=0, return_inverse=True)
    return different, which.reshape(-1).astype(np.int64)


def _parts_of_periods(state: DiscreteState, day: float, times: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return how much of each used period lies in ``(day, time]``, and where hazard 1 lies in it."""
    width = state.options.width
    periods = np.arange(len(state.at_risk))
    upper = np.minimum((periods + 1) * width, np.maximum(times, day)[:, None])
    lower = np.maximum(periods * width, day)
    share = np.clip((upper - lower) / width, 0.0, 1.0)
    sure = (state.events > 0) & (state.table.of[: len(periods)] < 0)
    return share[:, state.table.periods], (share[:, sure] > 0).any(axis=1)


def _stay(state: DiscreteState, z: Floats) -> tuple[Floats, Floats]:
    """Return log(1 - hazard) of each used period and its derivative, rows by periods."""
    eta = state.table.linear(state.beta, z)
    _, stay, tilt = core.hazard(state.options.link, eta)
    return stay.T, tilt.T


def _variance(state: DiscreteState, pull: Floats, z: Floats) -> Floats:
    """Return the variance of sums of ``pull`` (derivatives per period in eta), last axis periods."""
    head = pull if state.table.base is None else pull @ state.table.base
    total = pull.sum(axis=-1)[..., None]
    shaped = z.reshape(len(z), *([1] * (pull.ndim - 2)), z.shape[1])
    gradient = np.concatenate([head, total * shaped], axis=-1)
    found: Floats = ((gradient @ state.covariance) * gradient).sum(axis=-1)
    return found


def survival(
    state: DiscreteState,
    df: pd.DataFrame,
    *,
    times: ArrayLike,
    alive_at: ArrayLike,
    level: float,
    interval: Interval,
) -> pd.DataFrame:
    """Return survival per row and time; see :meth:`DiscreteFit.predict_survival`."""
    days, given = prediction.checked_times(times), prediction.checked_alive(alive_at, len(df))
    different, which = _prepared(state, df)
    n, k = len(df), len(days)
    curve, variance = np.empty((n, k)), np.empty((n, k))
    for day in np.unique(given):
        rows = np.flatnonzero(given == day)
        shapes, back = np.unique(which[rows], return_inverse=True)
        share, sure = _parts_of_periods(state, float(day), days)
        found = np.empty((2, len(shapes), k))
        for block in prediction.blocks(len(shapes), 2 * k * len(state.beta)):
            z = different[shapes[block]]
            stay, tilt = _stay(state, z)
            found[0, block] = np.exp(stay @ share.T)
            found[1, block] = _variance(state, tilt[:, None, :] * share, z)
        found[0][:, sure], found[1][:, sure] = 0.0, np.nan
        curve[rows], variance[rows] = found[0][back], found[1][back]
    last = np.full(n, float(state.data.stop.max()))
    return prediction.survival_frame(df.index, days, curve, variance, last, level=level, interval=interval)


def remaining(
    state: DiscreteState, df: pd.DataFrame, *, alive_at: ArrayLike, horizon: float, level: float
) -> pd.DataFrame:
    """Return expected remaining time per row; see :meth:`DiscreteFit.expected_remaining`."""
    ahead, given = prediction.checked_horizon(horizon), prediction.checked_alive(alive_at, len(df))
    different, which = _prepared(state, df)
    n = len(df)
    mean, variance = np.empty(n), np.empty(n)
    steps = np.arange(np.ceil(ahead))
    mass = np.minimum(ahead - steps, 1.0)
    for day in np.unique(given):
        rows = np.flatnonzero(given == day)
        shapes, back = np.unique(which[rows], return_inverse=True)
        share, sure = _parts_of_periods(state, float(day), day + steps)
        found = np.empty((2, len(shapes)))
        for block in prediction.blocks(len(shapes), 2 * (len(steps) + len(state.beta))):
            z = different[shapes[block]]
            stay, tilt = _stay(state, z)
            area = np.where(sure, 0.0, np.exp(stay @ share.T)) * mass
            found[0, block] = area.sum(1)
            found[1, block] = _variance(state, tilt * (area @ share), z)
        mean[rows], variance[rows] = found[0][back], found[1][back]
    last = np.full(n, float(state.data.stop.max()))
    return prediction.remaining_frame(df.index, given, ahead, mean, variance, last, level=level)
