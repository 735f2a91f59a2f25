"""Survival curves and remaining time of given customers from a Cox fit, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.churn import cox_core as core
from loyalty_research.churn import intervals, prediction
from loyalty_research.errors import ContractError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.churn.cox_state import State
    from loyalty_research.stats.survival import Interval

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["expected_remaining", "predict_survival"]


@dataclass(frozen=True, slots=True)
class _Baseline:
    """Cumulative sums over the event times of one stratum, each with a leading 0.

    Attributes:
        times: Event times, shape ``(K,)``.
        hazard: Shape ``(K + 1,)``.
        variance: Shape ``(K + 1,)``.
        mean: Shape ``(K + 1, p)``.
        last: Last day on which anybody was watched.
    """

    times: Floats
    hazard: Floats
    variance: Floats
    mean: Floats
    last: float


def _baselines(state: State) -> dict[int, _Baseline]:
    steps = core.hazard_steps(state.at)
    out = {}
    for stratum in np.unique(state.events.stratum):
        own = state.events.stratum == stratum
        inside = slice(None) if state.strata is None else state.strata == stratum
        out[int(stratum)] = _Baseline(
            times=state.events.times[own],
            hazard=_summed(steps.hazard[own]),
            variance=_summed(steps.variance[own]),
            mean=_summed(steps.mean[own]),
            last=float(state.data.stop[inside].max()),
        )
    return out


def _summed(increments: Floats) -> Floats:
    return np.concatenate([np.zeros((1, *increments.shape[1:])), np.cumsum(increments, axis=0)])


def _layers(state: State, df: pd.DataFrame) -> Ints:
    if state.strata is None:
        return np.zeros(len(df), dtype=np.int64)
    if len(state.layers) == 1:
        asked = pd.Index(df[state.layers[0]])
        known = pd.Index(list(state.strata_labels))
    else:
        asked = pd.MultiIndex.from_frame(df[list(state.layers)])
        known = pd.MultiIndex.from_tuples(list(state.strata_labels))
    codes = np.asarray(known.get_indexer(asked), dtype=np.int64)
    if (codes < 0).any():
        raise ContractError(
            f"df holds strata the model has not seen in {intervals.where(codes < 0)} ({', '.join(state.layers)})"
        )
    without = ~np.isin(codes, state.events.stratum)
    if without.any():
        raise ContractError(
            f"df holds strata in which nobody left in {intervals.where(without)}; they have no curve to predict"
        )
    return codes


def _prepared(state: State, df: pd.DataFrame) -> Ints:
    intervals.need(df, state.layers, "df")
    return _layers(state, df)


def _z(state: State, df: pd.DataFrame, rows: NDArray[Any]) -> Floats:
    return (state.design.matrix(df.iloc[rows], "df") - state.mean) / state.spread


def predict_survival(
    state: State, df: pd.DataFrame, *, times: ArrayLike, alive_at: ArrayLike, level: float, interval: Interval
) -> pd.DataFrame:
    """Return survival per row of ``df`` and time; see :meth:`CoxFit.predict_survival`."""
    layer = _prepared(state, df)
    days, given = prediction.checked_times(times), prediction.checked_alive(alive_at, len(df))
    state.design.check(df, "df")
    n, k, p = len(df), len(days), len(state.at.beta)
    survival, variance, last = np.empty((n, k)), np.empty((n, k)), np.empty(n)
    for stratum, base in _baselines(state).items():
        inside = np.flatnonzero(layer == stratum)
        last[inside] = base.last
        for block in prediction.blocks(len(inside), k * (p + 4)):
            rows = inside[block]
            survival[rows], variance[rows] = _curves(state, base, _z(state, df, rows), days, given[rows])
    return prediction.survival_frame(df.index, days, survival, variance, last, level=level, interval=interval)


def _curves(state: State, base: _Baseline, z: Floats, times: Floats, given: Floats) -> tuple[Floats, Floats]:
    """Return survival and the variance of its log for rows of one stratum."""
    at = np.searchsorted(base.times, np.maximum(times[None, :], given[:, None]), side="right")
    since = np.searchsorted(base.times, given, side="right")

    def between(total: Floats) -> Floats:
        gap: Floats = total[at] - total[since][:, None]
        return gap

    hazard = between(base.hazard)
    risk = np.exp(z @ state.at.beta)[:, None]
    pull = z[:, None, :] * hazard[:, :, None] - between(base.mean)
    variance = risk**2 * (between(base.variance) + _from_coefficients(state, pull))
    # a term without a finite estimate has no standard error to pass on
    touched = np.abs(pull[:, :, state.running]) > 1e-3 * hazard[:, :, None]
    return np.exp(-hazard * risk), np.where(touched.any(axis=2), np.nan, variance)


def _from_coefficients(state: State, pull: Floats) -> Floats:
    """Return the variance that uncertain coefficients add, given derivatives ``(..., p)``."""
    free = ~state.running
    slope = pull[..., free]
    added: Floats = ((slope @ state.covariance[np.ix_(free, free)]) * slope).sum(axis=-1)
    return added


def expected_remaining(
    state: State, df: pd.DataFrame, *, alive_at: ArrayLike, horizon: float, level: float
) -> pd.DataFrame:
    """Return expected remaining time per row; see :meth:`CoxFit.expected_remaining`."""
    layer = _prepared(state, df)
    ahead, given = prediction.checked_horizon(horizon), prediction.checked_alive(alive_at, len(df))
    state.design.check(df, "df")
    n, p = len(df), len(state.at.beta)
    mean, variance, last = np.empty(n), np.empty(n), np.empty(n)
    for stratum, base in _baselines(state).items():
        inside = np.flatnonzero(layer == stratum)
        last[inside] = base.last
        # customers known to be there on the same day share their event times
        for day in np.unique(given[inside]):
            here = inside[given[inside] == day]
            first, end = np.searchsorted(base.times, [day, day + ahead], side="right")
            for block in prediction.blocks(len(here), 4 * (end - first + 1) + p):
                rows = here[block]
                found = _remaining(state, base, _z(state, df, rows), (first, end), day, ahead)
                mean[rows], variance[rows] = found
    return prediction.remaining_frame(df.index, given, ahead, mean, variance, last, level=level)


def _remaining(
    state: State, base: _Baseline, z: Floats, window: tuple[int, int], day: float, ahead: float
) -> tuple[Floats, Floats]:
    """Return the area under conditional survival up to the horizon, and its variance.

    The area left of each event time, A, is what a step of the hazard there takes away, so the
    variance is that of the sum of A times the steps (as for a restricted mean).
    """
    first, end = window
    when = np.concatenate([[day], base.times[first:end], [day + ahead]])
    risk = np.exp(z @ state.at.beta)
    survival = np.exp(-risk[:, None] * (base.hazard[first : end + 1] - base.hazard[first]))
    areas = survival * np.diff(when)
    left = np.cumsum(areas[:, ::-1], axis=1)[:, ::-1]
    after = left[:, 1:]
    known = after**2 @ np.diff(base.variance[first : end + 1])
    steps = np.diff(base.hazard[first : end + 1])
    pull = z * (after @ steps)[:, None] - after @ np.diff(base.mean[first : end + 1], axis=0)
    variance = risk**2 * (known + _from_coefficients(state, pull))
    touched = (np.abs(pull[:, state.running]) > 1e-3 * (after @ steps)[:, None]).any(axis=1)
    return left[:, 0], np.where(touched, np.nan, variance)
