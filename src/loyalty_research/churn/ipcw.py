"""Outcomes seen through censoring: checked arrays, censoring weights, and their share of the error.

An observation that ends at ``T`` with the event is seen only when it was not censored before
``T``, so it is weighted by 1 / G(T-), the chance of being uncensored *just before* T; weighting
by G(T) instead is biased where times are tied (weeks, months). Events come before censoring at
the same time.

References:
    Robins, Finkelstein (2000), Biometrics 56; Gerds, Schumacher (2006), Biometrical Journal 48.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from loyalty_research.churn.intervals import where
from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Estimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

__all__ = [
    "Censoring",
    "Observed",
    "censoring",
    "column",
    "estimate_from",
    "horizons",
    "observed",
    "predicted",
    "refuse_entry",
    "standard_error",
]


@dataclass(frozen=True, slots=True)
class Observed:
    """Durations as they were seen.

    Attributes:
        time: End of each observation, shape ``(n,)``.
        event: True where the event ended it.
        mass: Case weights; 1 where none were given.
        cluster: Cluster codes, or None.
    """

    time: Floats
    event: Flags
    mass: Floats
    cluster: Ints | None

    @property
    def n(self) -> int:
        """Observations."""
        return len(self.time)


def column(values: ArrayLike, name: str, n: int | None = None) -> Floats:
    """Return a finite one-dimensional column of floats, or raise.

    Raises:
        ContractError: When it has another shape, or values that are missing or infinite.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iufb":
        raise ContractError(f"{name} is {array.dtype}, not numbers")
    array = array.astype(np.float64)
    if array.ndim != 1 or not len(array):
        raise ContractError(f"{name} must be one-dimensional and not empty; it has shape {array.shape}")
    if n is not None and len(array) != n:
        raise ContractError(f"{name} has {len(array):,} values for {n:,} durations; give one per duration")
    bad = ~np.isfinite(array)
    if bad.any():
        raise ContractError(f"{name} is missing or infinite in {where(bad)}; fill or leave them out")
    return array


def observed(
    event_times: ArrayLike,
    events: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    name: str = "event_times",
) -> Observed:
    """Return durations, events, weights and clusters as arrays that fit together.

    Raises:
        ContractError: On values that are missing, negative or no 0/1 events.
    """
    time = column(event_times, name)
    early = time < 0
    if early.any():
        raise ContractError(f"{name} is negative in {where(early)}; durations are 0 or more")
    said = name.replace("event_times", "events").replace("train_times", "train_events")
    flag = column(events, said, len(time))
    odd = ~np.isin(flag, (0.0, 1.0))
    if odd.any():
        raise ContractError(f"{said} must be 0 (still there) or 1 (left); it is neither in {where(odd)}")
    mass = np.ones(len(time)) if weights is None else column(weights, "weights", len(time))
    light = mass <= 0
    if light.any():
        raise ContractError(f"weights must be positive; they are not in {where(light)}")
    codes = None
    if cluster is not None:
        labels = np.asarray(cluster)
        if labels.shape != time.shape:
            raise ContractError(f"cluster has shape {labels.shape}, {name} has {time.shape}")
        codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return Observed(time, flag == 1.0, mass, codes)


def refuse_entry(entry: ArrayLike | None, n: int, what: str) -> None:
    """Raise where late entry is given to a figure that weights by censoring.

    Raises:
        DesignError: When anybody enters after 0.
    """
    if entry is None:
        return
    late = column(entry, "entry", n) > 0
    if late.any():
        raise DesignError(
            f"{what} cannot weight for censoring under delayed entry ({where(late)} enter after 0): those who "
            "left before they came into view are missing. Restart every clock at entry: give the time since "
            "entry and predictions given alive at entry"
        )


def horizons(times: ArrayLike, obs: Observed, *, strictly: bool = False) -> Floats:
    """Return ascending times at which to judge predictions.

    Raises:
        ArgumentError: When one is negative, repeated, or after everybody was last seen.
    """
    asked = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if asked.ndim != 1 or not len(asked) or not np.isfinite(asked).all() or (asked < 0).any():
        raise ArgumentError("times must be days on the clock, 0 or later")
    if (np.diff(asked) <= 0).any():
        raise ArgumentError("times must ascend")
    last = float(obs.time.max())
    beyond = asked >= last if strictly else asked > last
    if beyond.any():
        raise ArgumentError(
            f"times reach to {float(asked[-1]):g}, and nobody is watched after {last:g}; nothing can be said "
            "about later times"
        )
    return asked


def predicted(survival: ArrayLike, n: int, k: int, name: str = "survival") -> Floats:
    """Return predicted probabilities of shape ``(n, k)``.

    Raises:
        ContractError: On another shape, or values that are missing or outside 0 to 1.
    """
    array = np.asarray(survival, dtype=np.float64)
    if array.ndim == 1 and k == 1:
        array = array[:, None]
    if array.shape != (n, k):
        raise ContractError(
            f"{name} has shape {array.shape}; it needs one row per duration and one column per "
            f"time, ({n}, {k})"
        )
    gaps = np.asarray(np.isnan(array).any(axis=1))
    if gaps.any():
        raise ContractError(
            f"{name} is missing in {where(gaps)}: a model says nothing beyond the days it was fitted on; choose "
            "earlier times or leave those rows out of the comparison"
        )
    bad = np.asarray(((array < 0) | (array > 1)).any(axis=1))
    if bad.any():
        raise ContractError(f"{name} must be probabilities from 0 to 1; they are not in {where(bad)}")
    return array


@dataclass(frozen=True, slots=True)
class Censoring:
    """Kaplan-Meier estimate of staying uncensored, G.

    Attributes:
        times: Distinct times at which somebody was censored, ascending, shape ``(k,)``.
        at_risk: Weighted number who could be censored at each (events at that time are gone).
        hazard: Share of them who were.
        steps: G before the first time and after each, shape ``(k + 1,)``.
        own: True when it was estimated from the outcomes it weights.
    """

    times: Floats
    at_risk: Floats
    hazard: Floats
    steps: Floats
    own: bool

    def reach_before(self, time: Floats) -> Ints:
        """Return how many censoring times lie before each time."""
        return np.searchsorted(self.times, time, side="left")

    def reach_upto(self, time: Floats) -> Ints:
        """Return how many censoring times lie at or before each time."""
        return np.searchsorted(self.times, time, side="right")

    def influence(self, obs: Observed, terms: Floats, reach: Ints) -> Floats:
        """Return what estimating G adds to each observation's influence on a weighted sum.

        Args:
            obs: The observations, also those G was estimated from.
            terms: Each one's weighted term of the sum, of which 1 / G is a factor.
            reach: How many of G's steps that factor holds, from :meth:`reach_before` or
                :meth:`reach_upto`.
        """
        if not self.own or not len(self.times):
            return np.zeros(obs.n)
        k = len(self.times)
        held = np.bincount(reach, terms, minlength=k + 1)
        beyond = np.cumsum(held[::-1])[::-1][1:]
        left = self.at_risk * (1.0 - self.hazard)
        # where everybody left is censored at once nothing is weighted beyond, so the term is 0
        pull = np.divide(beyond, left, out=np.zeros(k), where=left > 1e-12 * self.at_risk)
        drift = np.concatenate([[0.0], np.cumsum(pull * self.hazard)])
        upto = np.where(obs.event, self.reach_before(obs.time), self.reach_upto(obs.time))
        out = -drift[upto]
        gone = ~obs.event
        out[gone] += pull[upto[gone] - 1]
        return out * obs.mass


def censoring(obs: Observed, *, own: bool = True) -> Censoring:
    """Estimate the chance of staying uncensored.

    Args:
        obs: Durations as they were seen.
        own: Whether the outcomes to weight are these.
    """
    times = np.unique(obs.time[~obs.event])
    k = len(times)
    slot = np.searchsorted(times, obs.time, side="right")
    # an event at a censoring time comes first, so it is no longer at risk of being censored
    upto = np.where(obs.event, np.searchsorted(times, obs.time, side="left"), slot)
    tally = np.bincount(upto, obs.mass, minlength=k + 1)
    at_risk = np.cumsum(tally[::-1])[::-1][1:].astype(np.float64)
    lost = np.bincount(slot[~obs.event] - 1, obs.mass[~obs.event], minlength=k)[:k] if k else np.zeros(0)
    hazard = lost / at_risk
    return Censoring(times, at_risk, hazard, np.concatenate([[1.0], np.cumprod(1.0 - hazard)]), own)


def standard_error(influence: Floats, cluster: Ints | None) -> float:
    """Return the root of the summed squared influences, clusters taken together."""
    parts = influence if cluster is None else np.bincount(cluster, influence)
    return math.sqrt(float((parts**2).sum()))


def estimate_from(
    value: float,
    error: float,
    *,
    level: float,
    n: int,
    scale: Literal["plain", "log", "logit"] = "plain",
    method: str = "infinitesimal jackknife",
    unit: str | None = None,
    null: float | None = None,
) -> Estimate:
    """Return an estimate with the normal interval of its standard error on a scale.

    Args:
        value: The figure.
        error: Its standard error.
        level: Confidence level.
        n: Observations behind it.
        scale: Where the interval is symmetric; ``"log"`` and ``"logit"`` keep it in its range.
        method: Name of the method.
        unit: Unit of the figure.
        null: Value of no effect, tested on the plain scale.
    """
    from scipy.special import expit, ndtr, ndtri

    z = float(ndtri(0.5 + level / 2))
    inside = value > 0 and (scale != "logit" or value < 1)
    if scale == "log" and inside:
        factor = math.exp(z * error / value)
        low, high = value / factor, value * factor
    elif scale == "logit" and inside:
        centre, width = math.log(value / (1 - value)), z * error / (value * (1 - value))
        low, high = float(expit(centre - width)), float(expit(centre + width))
    else:
        low, high = value - z * error, value + z * error
        if scale != "plain":
            low, high = (math.nan, math.nan) if not inside else (low, high)
    p = None if null is None or not error > 0 else float(2 * ndtr(-abs(value - null) / error))
    named = method if scale == "plain" else f"{method}, {scale}"
    return Estimate(float(value), float(low), float(high), level, named, n, unit, p)
