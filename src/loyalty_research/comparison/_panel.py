"""Effects by cohort and period from repeated measurements, with their joint covariance.

Everything derives from three things a cohort: its size, the means of its periods and their
cross-products. Units themselves are looked at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from loyalty_research.errors import DesignError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = [
    "NEVER",
    "Averages",
    "Cohorts",
    "Controls",
    "GroupTimes",
    "average",
    "cohorts_of",
    "group_time_effects",
]

NEVER: Final[int] = int(np.iinfo(np.int64).max)
"""First treated period of units that are never treated."""

Controls = Literal["not-yet", "never"]


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Moments of units that were first treated in the same period.

    Attributes:
        first: First treated period of each cohort, sorted, :data:`NEVER` last, shape (h,).
        size: Units of each, shape (h,).
        mean: Mean outcome by period, shape (h, periods).
        cross: Cross-products about the mean, shape (h, periods, periods).
        sums: Sums about the mean by cluster, shape (clusters, h, periods); None without clusters.
        counts: Units by cluster, shape (clusters, h); None without clusters.
    """

    first: Integers
    size: Array
    mean: Array
    cross: Array
    sums: Array | None
    counts: Array | None


def cohorts_of(outcomes: Array, first: Integers, clusters: Integers | None = None) -> Cohorts:
    """Reduce a panel to the moments of its cohorts.

    Args:
        outcomes: One row per unit, one column per period, shape (n, periods).
        first: First treated period of each unit, counted from 0, shape (n,).
        clusters: Cluster of each unit, from 0, shape (n,).
    """
    values, code = np.unique(first, return_inverse=True)
    h, periods = len(values), outcomes.shape[1]
    size = np.bincount(code, minlength=h).astype(float)
    mean, cross = np.empty((h, periods)), np.empty((h, periods, periods))
    for place in range(h):
        own = outcomes[code == place]
        mean[place] = own.mean(axis=0)
        away = own - mean[place]
        cross[place] = away.T @ away
    if clusters is None:
        return Cohorts(values, size, mean, cross, None, None)
    rows = int(clusters.max()) + 1
    key = clusters * h + code
    sums: Array = np.stack(
        [
            np.bincount(key, outcomes[:, t] - mean[code, t], minlength=rows * h).reshape(rows, h)
            for t in range(periods)
        ],
        axis=2,
    )
    counts = np.bincount(key, minlength=rows * h).reshape(rows, h).astype(float)
    return Cohorts(values, size, mean, cross, sums, counts)


@dataclass(frozen=True, slots=True)
class GroupTimes:
    """Effects of every cohort in every period.

    A unit of cohort h adds ``levers[k, h] @ (outcomes - mean of h) + shifts[k, h]`` to effect k.

    Attributes:
        cohort: First treated period of each effect, counted from 0, shape (k,).
        period: Period of each effect, shape (k,).
        effect: Average effect on the cohort in the period, shape (k,).
        controls: Units compared with, shape (k,).
        levers: Shape (k, h, periods).
        shifts: Shape (k, h).
        cohorts: What they were made from.
    """

    cohort: Integers
    period: Integers
    effect: Array
    controls: Integers
    levers: Array
    shifts: Array
    cohorts: Cohorts

    @property
    def lead(self) -> Integers:
        """Periods since the first treated one; negative before it."""
        return self.period - self.cohort

    def covariance(self) -> Array:
        """Return the covariance of the effects, shape (k, k)."""
        return _covariance(self.levers, self.shifts, self.cohorts)


def _covariance(levers: Array, shifts: Array, cohorts: Cohorts) -> Array:
    """Sum squared influences over units, or over clusters."""
    k = len(shifts)
    if cohorts.sums is None or cohorts.counts is None:
        out = (shifts * cohorts.size) @ shifts.T
        for place in range(len(cohorts.first)):
            out = out + levers[:, place] @ cohorts.cross[place] @ levers[:, place].T
        return out
    rows = len(cohorts.counts)
    scores = cohorts.sums.reshape(rows, -1) @ levers.reshape(k, -1).T + cohorts.counts @ shifts.T
    whole: Array = scores.T @ scores * (rows / (rows - 1))
    return whole


def group_time_effects(
    cohorts: Cohorts, *, controls: Controls = "not-yet", anticipation: int = 0
) -> GroupTimes:
    """Estimate the effect on each cohort in each period against units not treated by then.

    Each compares the change since the last period before treatment with the same change among
    controls; before treatment it shows how far trends differ.

    Args:
        cohorts: Moments of the cohorts.
        controls: ``"not-yet"`` treated by the period (or the base), or ``"never"`` treated.
        anticipation: Periods before treatment in which effects may already show.

    Raises:
        DesignError: When no cohort has a period before treatment and somebody to compare with.

    References:
        Callaway and Sant'Anna (2021), Journal of Econometrics 225, 200-230, equation 2.8 and
        theorem 2 (no covariates, one base period a cohort).
    """
    h, periods = cohorts.mean.shape
    found: list[tuple[int, int, int]] = []
    effects: list[float] = []
    levers: list[Array] = []
    shifts: list[Array] = []
    for place, first in enumerate(cohorts.first.tolist()):
        base = first - 1 - anticipation
        if first == NEVER or base < 0:
            continue
        for period in range(periods):
            if period == base:
                continue
            late = NEVER - 1 if controls == "never" else max(period, base) + anticipation
            others = cohorts.first > late
            others[place] = False
            total = float(cohorts.size[others].sum())
            if not total:
                continue
            change = cohorts.mean[:, period] - cohorts.mean[:, base]
            untreated = float(cohorts.size[others] @ change[others]) / total
            weight = np.zeros(h)
            weight[place] = 1 / cohorts.size[place]
            weight[others] = -1 / total
            lever = np.zeros((h, periods))
            lever[:, period], lever[:, base] = weight, -weight
            levers.append(lever)
            shifts.append(np.where(others, -(change - untreated) / total, 0.0))
            effects.append(float(change[place]) - untreated)
            found.append((first, period, round(total)))
    if not any(period >= first for first, period, _ in found):
        raise DesignError(
            "no group has both a period before it was treated and units not yet treated to compare with"
        )
    table = np.array(found, dtype=np.int64)
    return GroupTimes(
        cohort=table[:, 0],
        period=table[:, 1],
        effect=np.array(effects),
        controls=table[:, 2],
        levers=np.array(levers),
        shifts=np.array(shifts),
        cohorts=cohorts,
    )


@dataclass(frozen=True, slots=True)
class Averages:
    """Averages of group-time effects.

    Attributes:
        effect: Shape (m,).
        covariance: Shape (m, m).
        units: Treated units behind each, shape (m,).
    """

    effect: Array
    covariance: Array
    units: Integers


def average(found: GroupTimes, parts: Sequence[NDArray[np.bool_]]) -> Averages:
    """Average effects over cohorts in proportion to their sizes, the periods of a cohort alike.

    Args:
        found: Effects of cohorts in periods.
        parts: For each average, which effects are in it, shape (k,) each.

    Returns:
        The averages; their covariance accounts for the sizes of cohorts being estimated.

    References:
        Callaway and Sant'Anna (2021), equations 3.4 and 3.7, corollary 2.
    """
    cohorts = found.cohorts
    effects, units, weights, own = [], [], [], []
    for part in parts:
        weight, extra = np.zeros(len(part)), np.zeros(len(cohorts.first))
        members = np.isin(cohorts.first, found.cohort[part])
        whole = float(cohorts.size[members].sum())
        means = np.zeros(len(cohorts.first))
        for place in np.flatnonzero(members):
            inside = part & (found.cohort == cohorts.first[place])
            means[place] = found.effect[inside].mean()
            weight[inside] = cohorts.size[place] / whole / inside.sum()
        effect = float(weight @ found.effect)
        extra[members] = (means[members] - effect) / whole
        effects.append(effect)
        units.append(round(whole))
        weights.append(weight)
        own.append(extra)
    mixing = np.array(weights)
    levers = np.tensordot(mixing, found.levers, axes=1)
    covariance = _covariance(levers, mixing @ found.shifts + np.array(own), cohorts)
    return Averages(np.array(effects), covariance, np.array(units, dtype=np.int64))
