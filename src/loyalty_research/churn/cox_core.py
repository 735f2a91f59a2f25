"""Cox partial likelihood on arrays: exact gradient, Hessian, residuals, hazards.

One pass over event times serves Breslow and Efron ties, delayed entry, strata, case weights
and time-varying intervals. With S0, S1 the weighted sums of exp(eta) and z exp(eta) over those
at risk, E0, E1 the same over the deaths of a tied time, and f = k/d, k = 0..d-1 (0 under
Breslow), Efron's denominators are S0 - f E0. All second-moment sums collapse to one weight per
row, so no (times x columns x columns) array is ever made.

References:
    Efron (1977), JASA 72; Therneau, Grambsch (2000), ch. 3 and 7; Lin, Wei (1989), JASA 84.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.churn.risk_sets import Carrier, Events, Slots

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "HazardSteps",
    "Point",
    "hazard_steps",
    "information",
    "point",
    "schoenfeld_sums",
    "score_residuals",
    "slope",
]


@dataclass(frozen=True, slots=True)
class _Steps:
    """Sums over the deaths of each event time; see the module's notation."""

    log: Floats
    a0: Floats
    a1: Floats
    b0: Floats
    b1: Floats
    b2: Floats


def _steps(events: Events, s0: Floats, e0: Floats) -> _Steps | None:
    """Return the sums, or None where a denominator is not positive."""
    f = events.fraction
    denominator = s0[events.step] - f * e0[events.step]
    # a square beyond 1e300 overflows; the caller then takes a shorter step
    if not (denominator > 1e-150).all():
        return None
    inverse = 1.0 / denominator

    def total(v: Floats) -> Floats:
        kept: Floats = np.add.reduceat(v, events.offset) * events.weight
        return kept

    squared = inverse**2
    return _Steps(
        log=total(np.log(denominator)),
        a0=total(inverse),
        a1=total(f * inverse),
        b0=total(squared),
        b1=total(f * squared),
        b2=total(f**2 * squared),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """Everything that depends on the coefficients, computed once.

    Attributes:
        beta: Coefficients, shape ``(p,)``.
        shift: Taken off the linear predictor before it is exponentiated.
        r: exp(eta - shift) per row or pattern, case weights included where rows carry them.
        steps: Sums over deaths.
        s1: Weighted covariate sums of those at risk, ``(K, p)``.
        e1: The same of the deaths.
        value: Log partial likelihood.
    """

    beta: Floats
    shift: float
    r: Floats
    steps: _Steps
    s1: Floats
    e1: Floats
    value: float


def point(data: Carrier, events: Events, beta: Floats) -> Point | None:
    """Evaluate the likelihood at some coefficients, or return None on overflow.

    Args:
        data: Rows or cells.
        events: Event times.
        beta: Coefficients, shape ``(p,)``.
    """
    eta = data.z @ beta
    shift = float(eta.max()) if len(eta) else 0.0
    r = data.risk(eta - shift)
    steps = _steps(events, *data.sums(r))
    if steps is None:
        return None
    s1, e1 = data.moments(r)
    mass = float((events.weight * events.deaths).sum())
    value = float(data.dead.sum(0) @ beta) - shift * mass - float(steps.log.sum())
    return Point(beta, shift, r, steps, s1, e1, value)


def slope(data: Carrier, at: Point) -> Floats:
    """Return the gradient of the log partial likelihood."""
    kept: Floats = schoenfeld_sums(data, at).sum(0)
    return kept


def information(data: Carrier, at: Point, *, over_time: Floats | None = None) -> Floats:
    """Return minus the Hessian.

    Args:
        data: Rows or cells.
        at: Where.
        over_time: Multiplies each event time's share, shape ``(K,)``.
    """
    g = 1.0 if over_time is None else over_time
    steps, s1, e1 = at.steps, at.s1, at.e1
    second = data.gram(data.back(at.r, g * steps.a0, g * steps.a1))
    cross = s1.T @ ((g * steps.b1)[:, None] * e1)
    first = s1.T @ ((g * steps.b0)[:, None] * s1) + e1.T @ ((g * steps.b2)[:, None] * e1)
    kept: Floats = second - first + cross + cross.T
    return kept


@dataclass(frozen=True, slots=True)
class HazardSteps:
    """Baseline hazard at z = 0, per event time.

    Attributes:
        hazard: Increment of the cumulative baseline hazard (Efron's under Efron ties).
        variance: Increment of its variance with coefficients known.
        mean: Increment of the integral of the covariate mean against the hazard, ``(K, p)``.
    """

    hazard: Floats
    variance: Floats
    mean: Floats


def hazard_steps(at: Point) -> HazardSteps:
    """Return the baseline hazard that matches the tie method.

    References:
        Therneau, Grambsch (2000), section 10.2; R's ``agsurv5``.
    """
    scale = np.exp(-at.shift)
    return HazardSteps(
        hazard=at.steps.a0 * scale,
        variance=at.steps.b0 * scale**2,
        mean=(at.s1 * at.steps.b0[:, None] - at.e1 * at.steps.b1[:, None]) * scale,
    )


def schoenfeld_sums(data: Carrier, at: Point) -> Floats:
    """Return, per event time, the deaths' covariates less their expectation, ``(K, p)``."""
    kept: Floats = data.dead - at.steps.a0[:, None] * at.s1 + at.steps.a1[:, None] * at.e1
    return kept


def score_residuals(
    at: Point,
    events: Events,
    slots: Slots,
    z: Floats,
    weights: Floats | None,
    *,
    pattern: Ints | None = None,
) -> Floats:
    """Return each row's weighted contribution to the score, shape ``(n, p)``.

    Args:
        at: The fit.
        events: Event times.
        slots: Where each row is at risk.
        z: Covariates of each row, or of each pattern when ``pattern`` is given.
        weights: Case weights or None.
        pattern: Pattern of each row.

    References:
        Therneau, Grambsch (2000), eq. 4.24; ties after Efron as in R's ``coxscore2``.
    """
    steps, s1, e1 = at.steps, at.s1, at.e1
    mass = 1.0 if weights is None else weights
    eta = z @ at.beta - at.shift
    risk = np.exp(eta if pattern is None else eta[pattern])
    hazard = np.concatenate([[0.0], np.cumsum(steps.a0)])
    dead, when = slots.dead, slots.last[slots.dead] - 1
    spread = hazard[slots.last] - hazard[slots.first]
    spread[dead] -= steps.a1[when]
    lone = events.weight[when]
    out = np.empty((len(risk), z.shape[1]))
    for j in range(z.shape[1]):
        own = z[:, j] if pattern is None else z[pattern, j]
        mean = s1[:, j] * steps.b0 - e1[:, j] * steps.b1
        total = np.concatenate([[0.0], np.cumsum(mean)])
        pull = total[slots.last] - total[slots.first]
        pull[dead] -= (s1[:, j] * steps.b1 - e1[:, j] * steps.b2)[when]
        residual = -risk * (own * spread - pull)
        average = (s1[:, j] * steps.a0 - e1[:, j] * steps.a1)[when] / (lone * events.deaths[when])
        residual[dead] += own[dead] - average
        out[:, j] = residual * mass
    return out
