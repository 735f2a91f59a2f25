"""Mean cumulative functions on arrays: steps, influences of clusters, and the robust score test.

A customer's influence on M(t) is the sum over its days at risk of (dN - dM) / Y, with Y the
number at risk; squared and summed over customers it is Lawless and Nadeau's variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Rows", "Steps", "counts", "influence", "mean_at", "score_test", "steps"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Intervals at risk.

    Attributes:
        start: Starts.
        stop: Ends.
        event: True where the interval ended in an event.
        weights: Case weights, or None.
        group: Group of each.
        cluster: Cluster of each.
    """

    start: NDArray[Any]
    stop: NDArray[Any]
    event: NDArray[np.bool_]
    weights: Floats | None
    group: Ints
    cluster: Ints

    @property
    def mass(self) -> Floats:
        """Case weights, 1 where there are none."""
        return np.ones(len(self.stop)) if self.weights is None else self.weights


@dataclass(frozen=True, slots=True)
class Steps:
    """One group's function.

    Attributes:
        times: Event times, ascending, shape ``(k,)``.
        at_risk: Weighted number at risk at each.
        events: Weighted number of events at each.
        mean: The function just after each.
        last: The last day anybody of the group is watched.
    """

    times: Floats
    at_risk: Floats
    events: Floats
    mean: Floats
    last: float


def _at_risk(start: NDArray[Any], stop: NDArray[Any], mass: Floats, times: Floats) -> Floats:
    """Return the mass with ``start < t <= stop`` at each time."""
    ends, begins = np.argsort(stop, kind="stable"), np.argsort(start, kind="stable")

    def upto(values: NDArray[Any], order: Ints) -> Floats:
        total = np.concatenate([[0.0], np.cumsum(mass[order])])
        kept: Floats = total[np.searchsorted(values[order], times, side="left")]
        return kept

    return upto(start, begins) - upto(stop, ends)


def steps(
    start: NDArray[Any],
    stop: NDArray[Any],
    event: NDArray[np.bool_],
    weights: Floats | None,
    group: Ints,
    groups: int,
) -> tuple[Steps, ...]:
    """Return each group's function."""
    mass = np.ones(len(stop)) if weights is None else weights
    found = []
    for g in range(groups):
        own = group == g
        times, place = np.unique(stop[own & event], return_inverse=True)
        died = np.bincount(place, mass[own & event], minlength=len(times)).astype(np.float64)
        risk = _at_risk(start[own], stop[own], mass[own], times.astype(np.float64))
        found.append(
            Steps(times.astype(np.float64), risk, died, np.cumsum(died / risk), float(stop[own].max()))
        )
    return tuple(found)


def mean_at(own: Steps, times: Floats) -> Floats:
    """Read the function at some times; NaN beyond the last day."""
    read = np.concatenate([[0.0], own.mean])[np.searchsorted(own.times, times, side="right")]
    return np.where(times <= own.last, read, np.nan)


def influence(rows: Rows, own: Steps, group: int, time: float) -> Floats:
    """Return each cluster's influence on the function at a time, shape ``(clusters,)``.

    Args:
        rows: Intervals at risk of every group.
        own: The group's function.
        group: Its number.
        time: Day.
    """
    size = int(rows.cluster.max()) + 1
    mine = np.flatnonzero(rows.group == group)
    upto = int(np.searchsorted(own.times, time, side="right"))
    drift = np.concatenate([[0.0], np.cumsum(own.events[:upto] / own.at_risk[:upto] ** 2)])
    first = np.searchsorted(own.times[:upto], rows.start[mine], side="right")
    last = np.searchsorted(own.times[:upto], rows.stop[mine], side="right")
    share = drift[first] - drift[last]
    gone = np.flatnonzero(rows.event[mine] & (rows.stop[mine] <= time))
    share[gone] += 1.0 / own.at_risk[last[gone] - 1]
    return np.bincount(rows.cluster[mine], rows.mass[mine] * share, minlength=size).astype(np.float64)


def counts(rows: Rows, group: int, times: Floats) -> pd.DataFrame:
    """Return ``time, at_risk, events`` of one group; at 0 those at risk from the start."""
    own = rows.group == group
    start, stop, mass = rows.start[own], rows.stop[own], rows.mass[own]
    first = float(start.min())
    at_risk = _at_risk(start, stop, mass, times)
    at_risk = np.where(times <= first, mass[start == first].sum() * (times == first), at_risk)
    gone = rows.event[own]
    order = np.argsort(stop[gone], kind="stable")
    total = np.concatenate([[0.0], np.cumsum(mass[gone][order])])
    events = total[np.searchsorted(stop[gone][order], times, side="right")]
    frame = pd.DataFrame({"time": times, "at_risk": at_risk, "events": events})
    if rows.weights is None:
        frame = frame.round({"at_risk": 0, "events": 0}).astype({"at_risk": np.int64, "events": np.int64})
    return frame


def score_test(rows: Rows, groups: int) -> tuple[float, int, float]:
    """Return the robust score statistic of equal rates, its degrees of freedom and p-value.

    References:
        Lawless, Nadeau (1995), section 4; equal to the robust score test of R's ``coxph`` with
        Breslow ties and ``cluster``.
    """
    from scipy.special import chdtrc

    mass = rows.mass
    times = np.unique(rows.stop[rows.event]).astype(np.float64)
    risk = np.column_stack(
        [
            _at_risk(rows.start[own], rows.stop[own], mass[own], times)
            for own in (rows.group == g for g in range(groups))
        ]
    )
    share = risk / risk.sum(axis=1, keepdims=True)
    died = np.bincount(np.searchsorted(times, rows.stop[rows.event]), mass[rows.event], minlength=len(times))
    hazard = died / risk.sum(axis=1)
    total = np.concatenate([[0.0], np.cumsum(hazard)])
    mean = np.vstack([np.zeros(groups), np.cumsum(share * hazard[:, None], axis=0)])
    first = np.searchsorted(times, rows.start, side="right")
    last = np.searchsorted(times, rows.stop, side="right")
    mine = np.eye(groups)[rows.group]
    score = -(mine * (total[last] - total[first])[:, None] - (mean[last] - mean[first]))
    gone = rows.event
    score[gone] += mine[gone] - share[last[gone] - 1]
    size = int(rows.cluster.max()) + 1
    summed = np.column_stack(
        [np.bincount(rows.cluster, mass * score[:, g], minlength=size) for g in range(1, groups)]
    )
    slope, spread = summed.sum(axis=0), summed.T @ summed
    statistic = float(slope @ np.linalg.pinv(spread) @ slope)
    freedom = int(np.linalg.matrix_rank(spread))
    return statistic, freedom, float(chdtrc(freedom, statistic))
