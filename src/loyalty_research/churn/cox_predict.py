"""Survival curves of given customers from a Cox fit, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.churn import cox_core as core
from loyalty_research.churn import intervals
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.i18n import message, number
from loyalty_research.stats.survival import step_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.churn.cox_state import State
    from loyalty_research.stats.survival import Interval

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["predict_survival"]


def predict_survival(
    state: State, df: pd.DataFrame, *, times: Floats, alive_at: Floats, level: float, interval: Interval
) -> pd.DataFrame:
    """Return survival per row of ``df`` and time; see :meth:`CoxFit.predict_survival`."""
    intervals.need(df, state.layers, "df")
    if not (np.isfinite(times).all() and (times >= 0).all() and len(times)):
        raise ArgumentError("times must be days on the clock, 0 or later")
    given = np.broadcast_to(alive_at, (len(df),)).astype(np.float64)
    if not (np.isfinite(given).all() and (given >= 0).all()):
        raise ArgumentError("alive_at must be a day on the clock, 0 or later")
    z = (state.design.matrix(df, "df") - state.mean) / state.spread
    layer = _layers(state, df)
    steps = core.hazard_steps(state.at)
    parts = [_curves(state, steps, int(s), z, layer, times, given) for s in np.unique(layer)]
    order = np.concatenate([np.flatnonzero(layer == s) for s in np.unique(layer)])
    back = np.argsort(order, kind="stable")
    survival, variance, last = (np.concatenate([p[i] for p in parts])[back] for i in range(3))
    low, high = step_interval(survival, variance, level=level, kind=interval)
    beyond = times[None, :] > last[:, None]
    low, high = (np.where(np.isnan(variance) & (survival < 1), np.nan, v) for v in (low, high))
    frame = pd.DataFrame(
        {
            "row": np.repeat(df.index.to_numpy(), len(times)),
            "time": np.tile(times, len(df)),
            "estimate": np.where(beyond, np.nan, survival).ravel(),
            "low": np.where(beyond, np.nan, low).ravel(),
            "high": np.where(beyond, np.nan, high).ravel(),
        }
    )
    words = [message("beyond the last day observed ({day})", day=number(float(d), digits=0)) for d in last]
    frame["reason"] = np.where(beyond, np.array(words, dtype=object)[:, None], "").ravel()
    return frame


def _layers(state: State, df: pd.DataFrame) -> Ints:
    if state.strata is None:
        return np.zeros(len(df), dtype=np.int64)
    if len(state.layers) == 1:
        asked = pd.Index(df[state.layers[0]])
        known = pd.Index(list(state.strata_labels))
    else:
        asked = pd.MultiIndex.from_frame(df[list(state.layers)])
        known = pd.MultiIndex.from_tuples(list(state.strata_labels))
    codes = known.get_indexer(asked)
    if (codes < 0).any():
        raise ContractError(
            f"df holds strata the model has not seen in {intervals.where(codes < 0)} ({', '.join(state.layers)})"
        )
    return np.asarray(codes, dtype=np.int64)


def _curves(
    state: State,
    steps: core.HazardSteps,
    stratum: int,
    z: Floats,
    layer: Ints,
    times: Floats,
    given: Floats,
) -> tuple[Floats, Floats, Floats]:
    """Return survival, variance of its log, and the last day, for the rows of one stratum."""
    own = state.events.stratum == stratum
    when = state.events.times[own]
    rows = layer == stratum
    inside = slice(None) if state.strata is None else state.strata == stratum
    last = float(state.data.stop[inside].max())
    at = np.searchsorted(when, np.maximum(times[None, :], given[rows][:, None]), side="right")
    since = np.searchsorted(when, given[rows], side="right")

    def between(increments: Floats) -> Floats:
        total = np.concatenate([np.zeros((1, *increments.shape[1:])), np.cumsum(increments, axis=0)])
        gap: Floats = total[at] - total[since][:, None]
        return gap

    hazard, known = between(steps.hazard[own]), between(steps.variance[own])
    risk = np.exp(z[rows] @ state.at.beta)[:, None]
    pull = z[rows][:, None, :] * hazard[:, :, None] - between(steps.mean[own])
    free = ~state.running
    covariance = state.covariance[np.ix_(free, free)]
    slope = pull[:, :, free]
    uncertain = np.einsum("ijk,kl,ijl->ij", slope, covariance, slope)
    variance: Floats = risk**2 * (known + uncertain)
    # a term without a finite estimate has no standard error to pass on
    touched = np.abs(pull[:, :, ~free]) > 1e-3 * hazard[:, :, None]
    variance = np.where(touched.any(axis=2), np.nan, variance)
    survival: Any = np.exp(-hazard * risk)
    return survival, variance, np.full(int(rows.sum()), last)
