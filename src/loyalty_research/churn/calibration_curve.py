"""The calibration curve as arithmetic on counts: a spline Cox model of outcomes on predictions.

Predictions and times are taken as they are while there are few of them, and put into groups of
like ones else, so a resample costs the same for a thousand customers as for a million.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.churn.ipcw import Observed

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "COARSE",
    "FINE",
    "Cells",
    "Table",
    "cells_of",
    "curve_of",
    "errors",
    "observed_risk",
    "slope",
    "spline",
]

FINE = (1000, 1000)
"""Most predictions and most times told apart for the figures."""
COARSE = (100, 150)
"""The same for resamples and the drawn curve."""
_KNOTS = (0.05, 0.35, 0.65, 0.95)


@dataclass(frozen=True, slots=True)
class Table:
    """Weighted counts up to the day judged.

    Attributes:
        at_risk: Number at risk at each event time, by prediction, shape ``(K, P)``.
        died: Number that left, shape ``(K, P)``.
        total: Mass per prediction, shape ``(P,)``.
    """

    at_risk: Floats
    died: Floats
    total: Floats

    def left_by_end(self) -> float:
        """Return the share that left by the day judged, by Kaplan-Meier."""
        risk, died = self.at_risk.sum(axis=1), self.died.sum(axis=1)
        live = died > 0
        return 1.0 - float(np.prod(1.0 - died[live] / risk[live]))


@dataclass(frozen=True, slots=True)
class Cells:
    """Where each observation falls.

    Attributes:
        risk: Predicted chance of leaving per distinct prediction, ascending, shape ``(P,)``.
        x: The predicted log cumulative hazard.
        basis: Its spline columns, standardised, shape ``(P, q)``.
        place: Each observation's prediction, shape ``(n,)``.
        slot: Number of event times at or before the end of each observation.
        own: Each leaver's event time, and K for the others.
        times: Number of event times K.
        mass: Mass of each observation.
    """

    risk: Floats
    x: Floats
    basis: Floats
    place: Ints
    slot: Ints
    own: Ints
    times: int
    mass: Floats

    @property
    def varies(self) -> bool:
        """Whether there is more than one prediction."""
        return len(self.risk) > 1

    def table(self, mass: Floats) -> Table:
        """Count with some mass per observation."""
        k, p = self.times, len(self.risk)
        ends = np.bincount(self.slot * p + self.place, mass, minlength=(k + 1) * p).reshape(k + 1, p)
        died = np.bincount(self.own * p + self.place, mass, minlength=(k + 1) * p).reshape(k + 1, p)[:k]
        at_risk = np.cumsum(ends[::-1], axis=0)[::-1]
        return Table(at_risk[1:].astype(np.float64), died.astype(np.float64), at_risk[0].astype(np.float64))


def cells_of(obs: Observed, survival: Floats, day: float, *, most: tuple[int, int] = FINE) -> Cells:
    """Lay observations out by prediction and event time, follow-up cut at ``day``.

    Args:
        obs: Durations as they were seen.
        survival: Predicted chance of still being there on ``day``.
        day: The day judged.
        most: Predictions and times told apart; beyond that, like ones are put together.
    """
    most_values, most_times = most
    left = obs.event & (obs.time <= day)
    ends = np.minimum(obs.time, day)
    values, place = np.unique(1.0 - survival, return_inverse=True)
    if len(values) > most_values:
        order = np.searchsorted(np.sort(1.0 - survival), 1.0 - survival, side="left")
        _, place = np.unique(order * most_values // obs.n, return_inverse=True)
        weight = np.bincount(place, obs.mass)
        values = np.bincount(place, obs.mass * (1.0 - survival)) / weight
    times = np.unique(ends[left])
    if len(times) > most_times:
        times = np.unique(np.quantile(times, np.linspace(0, 1, most_times), method="higher"))
    own = np.full(obs.n, len(times), dtype=np.int64)
    own[left] = np.searchsorted(times, ends[left], side="left")
    slot = np.searchsorted(times, ends, side="right")
    slot[left] = own[left] + 1
    # log(-log S) of a certain prediction is infinite; a millionth is as good
    x = np.log(-np.log1p(-np.clip(values, 1e-6, 1 - 1e-6)))
    return Cells(values, x, spline(x, x[place]), place.astype(np.int64), slot, own, len(times), obs.mass)


def spline(x: Floats, sample: Floats) -> Floats:
    """Return restricted cubic spline columns of ``x``, standardised; straight outside the end knots.

    Args:
        x: Where, shape ``(P,)``.
        sample: Values whose quantiles (5, 35, 65, 95%) are the knots.

    References:
        Harrell (2015), Regression Modeling Strategies, 2nd ed., eq. 2.25 and table 2.3.
    """
    knots = np.unique(np.quantile(sample, _KNOTS))
    columns = [x]
    if len(np.unique(x)) > 3 and len(knots) > 2:
        last, before = knots[-1], knots[-2]
        for knot in knots[:-2]:
            bend = np.maximum(x - knot, 0) ** 3
            bend -= np.maximum(x - before, 0) ** 3 * (last - knot) / (last - before)
            bend += np.maximum(x - last, 0) ** 3 * (before - knot) / (last - before)
            columns.append(bend / (last - knots[0]) ** 2)
    z = np.column_stack(columns)
    spread = z.std(axis=0)
    kept: Floats = (z - z.mean(axis=0))[:, spread > 1e-12] / spread[spread > 1e-12]
    return kept


def curve_of(table: Table, cells: Cells, *, groups: int = 10) -> tuple[Floats, int]:
    """Return the chance of leaving by the end per prediction, and which way it was found.

    The spline is tried first (0), then a straight line (1); where neither has a finite optimum,
    Kaplan-Meier within groups of like predictions (2).
    """
    line = ((cells.x - cells.x.mean()) / cells.x.std())[:, None]
    for way, basis in enumerate((cells.basis, line)):
        curve = observed_risk(table, basis)
        if np.isfinite(curve).all():
            return curve, way
    share = np.cumsum(table.total) / table.total.sum()
    code = np.minimum((groups * (share - 1e-12)).astype(np.int64), groups - 1)
    steps = np.zeros(groups)
    for g in np.unique(code):
        own = code == g
        part = Table(table.at_risk[:, own], table.died[:, own], table.total[own])
        steps[g] = part.left_by_end()
    return steps[code], 2


def observed_risk(table: Table, basis: Floats) -> Floats:
    """Return the chance of leaving by the end per prediction, from a Cox fit on the basis.

    NaN where the fit has no finite optimum.
    """
    beta = _cox(table, basis)
    if not np.isfinite(beta).all():
        return np.full(len(basis), np.nan)
    ties = _ties(_live(table), basis, beta)
    kept: Floats = -np.expm1(-float(ties.once.sum()) * ties.ratio)
    return kept


def slope(table: Table, x: Floats) -> float:
    """Return the coefficient of the predicted log cumulative hazard in a Cox fit."""
    spread = float(x.std())
    return float(_cox(table, ((x - x.mean()) / spread)[:, None])[0] / spread)


def errors(predicted: Floats, observed: Floats, mass: Floats) -> tuple[float, float, float]:
    """Return the mean, the median and the ninth decile of absolute gaps."""
    gap = np.abs(predicted - observed)
    if not np.isfinite(gap).all():
        return np.nan, np.nan, np.nan
    order = np.argsort(gap, kind="stable")
    share = np.cumsum(mass[order]) / mass.sum()
    at = [float(gap[order][np.searchsorted(share, q - 1e-12)]) for q in (0.5, 0.9)]
    return float(np.average(gap, weights=mass)), at[0], at[1]


@dataclass(frozen=True, slots=True)
class _Ties:
    """Efron's sums over the leavers of each time, j from 0 to d - 1 with u = j / d, by gamma functions.

    Attributes:
        value: Log partial likelihood.
        ratio: exp(z beta) per prediction.
        once: Sum of 1 / (S0 - u SD), the step of the baseline hazard.
        shared: Sum of u / (S0 - u SD).
        squares: Sums of 1, u and u^2 over (S0 - u SD)^2.
    """

    value: float
    ratio: Floats
    once: Floats
    shared: Floats
    squares: tuple[Floats, Floats, Floats]


def _live(table: Table) -> Table:
    live = table.died.sum(axis=1) > 0
    return Table(table.at_risk[live], table.died[live], table.total)


def _ties(table: Table, z: Floats, beta: Floats) -> _Ties:
    """Return Efron's likelihood and sums; d may be any mass, as in resamples.

    Breslow's sums would draw slopes to 0 and curves down where many leave on one day, as one-time
    buyers do.
    """
    from scipy.special import digamma, gammaln, polygamma

    # too long a step overflows; the value is then no number, and the caller takes a shorter one
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        r = np.exp(z @ beta)
        dead = table.died.sum(axis=1)
        there, gone = table.at_risk @ r, table.died @ r
        top = dead * there / gone + 1
        end = np.maximum(top - dead, 1.0)
        value = (
            table.died.sum(axis=0) @ (z @ beta)
            - (dead * np.log(gone / dead) + gammaln(top) - gammaln(end)).sum()
        )
        once = dead / gone * (digamma(top) - digamma(end))
        shared = (there * once - dead) / gone
        plain = (dead / gone) ** 2 * (polygamma(1, end) - polygamma(1, top))
        linear = (there * plain - once) / gone
        return _Ties(float(value), r, once, shared, (plain, linear, (there * linear - shared) / gone))


def _cox(table: Table, z: Floats, *, most: int = 60) -> Floats:
    """Return Efron's coefficients by safeguarded Newton steps; NaN without a finite optimum."""
    q = z.shape[1]
    nothing = np.full(q, np.nan)
    table = _live(table)
    if not len(table.died):
        return nothing
    deaths = float(table.died.sum())
    beta = np.zeros(q)
    ties = _ties(table, z, beta)
    for _ in range(most):
        slope_, bend = _derivatives(table, z, ties)
        if not np.isfinite(bend).all() or np.linalg.eigvalsh(bend)[0] < 1e-9 * deaths:
            return nothing
        step = np.linalg.solve(bend, slope_)
        if float(slope_ @ step) < 1e-12 * (1 + abs(ties.value)):
            return beta + step
        size = 1.0
        ahead = _ties(table, z, beta + step)
        while not ahead.value >= ties.value - 1e-10 * (1 + abs(ties.value)):
            size /= 2
            if size < 1e-8:
                return nothing
            ahead = _ties(table, z, beta + size * step)
        beta, ties = beta + size * step, ahead
    return nothing


def _derivatives(table: Table, z: Floats, ties: _Ties) -> tuple[Floats, Floats]:
    """Return the score and the information."""
    heavy = ties.ratio[:, None] * z
    there, gone = table.at_risk @ heavy, table.died @ heavy
    score = table.died.sum(axis=0) @ z - ties.once @ there + ties.shared @ gone
    back = ties.ratio * (ties.once @ table.at_risk - ties.shared @ table.died)
    plain, linear, square = (v[:, None] for v in ties.squares)
    cross = there.T @ (linear * gone)
    outer = there.T @ (plain * there) - cross - cross.T + gone.T @ (square * gone)
    return score, (z * back[:, None]).T @ z - outer
