"""Maximise a Cox likelihood, and follow its profile, by safeguarded Newton steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from loyalty_research.churn import cox_core as core
from loyalty_research.errors import ConvergenceError, DesignError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.churn.risk_sets import Carrier, Events

    Floats = NDArray[np.float64]

__all__ = ["Fit", "Objective", "OnRows", "Partial", "maximise", "profile_limits"]


class Objective(Protocol):
    """A log likelihood, penalised or not, of coefficients of standardised columns."""

    @property
    def reach(self) -> Floats:
        """Range of each column, shape ``(p,)``."""

    @property
    def mass(self) -> float:
        """Weighted number of events."""

    @property
    def precision(self) -> float:
        """Newton decrement, relative to the likelihood, at which one last step is taken."""

    def at(self, beta: Floats) -> tuple[float, Any] | None:
        """Return the value and what derivatives need, or None on overflow."""

    def slopes(self, spot: Any) -> tuple[Floats, Floats]:
        """Return the gradient and the matrix Newton's step divides by."""


@dataclass(frozen=True, slots=True)
class OnRows:
    """What likelihoods on rows or cells share.

    Attributes:
        data: Rows or cells.
        events: Event times.
    """

    data: Carrier
    events: Events

    @property
    def reach(self) -> Floats:
        """Range of each column."""
        kept: Floats = np.ptp(self.data.z, axis=0).astype(np.float64)
        return kept

    @property
    def mass(self) -> float:
        """Weighted number of events."""
        return float((self.events.weight * self.events.deaths).sum())


@dataclass(frozen=True, slots=True)
class Partial(OnRows):
    """Log partial likelihood after Breslow or Efron, less an L2 penalty if there is one.

    Attributes:
        ridge: Takes ``ridge * beta^2 / 2`` off per column, shape ``(p,)``, or None.
    """

    ridge: Floats | None = None

    @property
    def precision(self) -> float:
        """Newton steps double the digits, so one step past this is exact."""
        return 1e-12

    def at(self, beta: Floats) -> tuple[float, core.Point] | None:
        """Return the penalised value and the point, or None on overflow."""
        found = core.point(self.data, self.events, beta)
        if found is None:
            return None
        penalty = 0.0 if self.ridge is None else 0.5 * float(self.ridge @ beta**2)
        return found.value - penalty, found

    def slopes(self, spot: core.Point) -> tuple[Floats, Floats]:
        """Return the gradient and minus the Hessian."""
        gradient, bend = core.slope(self.data, spot), core.information(self.data, spot)
        if self.ridge is not None:
            gradient, bend = gradient - self.ridge * spot.beta, bend + np.diag(self.ridge)
        return gradient, bend


@dataclass(frozen=True, slots=True)
class Fit:
    """Where the maximisation ended.

    Attributes:
        beta: Coefficients on the scale of the columns.
        value: The (penalised) log likelihood there.
        null: The same with all coefficients 0.
        information: Minus the Hessian of the (ridge-penalised) log likelihood.
        running: True for each coefficient that still moves although the likelihood no longer
            does: it has no finite maximum (separation).
        iterations: Newton steps taken.
    """

    beta: Floats
    value: float
    null: float
    information: Floats
    running: NDArray[np.bool_]
    iterations: int


def maximise(
    objective: Objective,
    *,
    start: Floats | None = None,
    free: NDArray[np.bool_] | None = None,
    most: int = 200,
) -> Fit:
    """Maximise by Newton steps that are halved until they do not lose.

    Args:
        objective: The likelihood.
        start: First coefficients; 0 by default.
        free: Coefficients that may move; all by default.
        most: Newton steps allowed.

    Raises:
        ConvergenceError: When the optimum is not reached.
        DesignError: When the information matrix is singular at the start.
    """
    reach = objective.reach
    beta = np.zeros(len(reach)) if start is None else start.copy()
    moving = np.ones(len(reach), dtype=bool) if free is None else free
    first = objective.at(beta)
    if first is None:
        raise ConvergenceError("the partial likelihood overflows at its start; rescale the covariates")
    best, spot = first
    null = best
    gradient, bend = objective.slopes(spot)
    if start is None:
        _check_identified(bend, objective.mass)
    for iteration in range(most):
        step = np.zeros(len(reach))
        step[moving] = _solve(bend[np.ix_(moving, moving)], gradient[moving])
        decrement = float(gradient[moving] @ step[moving])
        settled = decrement <= objective.precision * (1.0 + abs(best))
        size = 1.0
        while True:
            ahead = objective.at(beta + size * step)
            if ahead is not None and ahead[0] >= best - 1e-10 * (1.0 + abs(best)):
                break
            size /= 2
            if size < 1e-10:
                raise ConvergenceError(
                    f"the Cox model stopped short of its optimum after {iteration} Newton steps "
                    f"(decrement {decrement:.2g}); check covariates for extreme values"
                )
        beta = beta + size * step
        best, spot = ahead
        gradient, bend = objective.slopes(spot)
        if settled:
            running = np.abs(step) * reach > 0.05
            return Fit(beta, best, null, bend, running, iteration + 1)
    raise ConvergenceError(f"the Cox model did not converge in {most} Newton steps")


def _check_identified(information: Floats, mass: float) -> None:
    """Raise where the risk sets say nothing on some direction (columns have unit variance)."""
    size = np.diag(information)
    scale = np.sqrt(np.maximum(size, 1e-300))
    if len(size) and (
        size.min() < 1e-11 * mass or np.linalg.eigvalsh(information / np.outer(scale, scale))[0] < 1e-10
    ):
        raise DesignError(
            "the covariates do not identify the Cox model: within the risk sets (or strata) some column "
            "does not vary, or is a combination of others"
        )


def _solve(information: Floats, gradient: Floats) -> Floats:
    if not len(gradient):
        return gradient
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    scaled = information / np.outer(scale, scale)
    try:
        factor = np.linalg.cholesky(scaled)
    except np.linalg.LinAlgError:
        # towards a separated optimum the information fades in that direction
        kept: Floats = np.linalg.solve(scaled + 1e-8 * np.eye(len(scale)), gradient / scale) / scale
        return kept
    inner = np.linalg.solve(factor, gradient / scale)
    answer: Floats = np.linalg.solve(factor.T, inner) / scale
    return answer


def profile_limits(objective: Objective, found: Fit, j: int, *, level: float) -> tuple[float, float, float]:
    """Return the profile-likelihood limits of one coefficient, and the likelihood without it.

    Args:
        objective: The likelihood.
        found: Its optimum.
        j: The coefficient.
        level: Confidence level.

    References:
        Venzon, Moolgavkar (1988), Applied Statistics 37; Heinze, Schemper (2001), Biometrics 57.
    """
    from scipy.special import chdtri

    free = np.arange(len(found.beta)) != j
    drop = float(chdtri(1, 1 - level)) / 2

    def value(b: float) -> float:
        beta = np.where(free, found.beta, b)
        if not free.any():
            at = objective.at(beta)
            return -math.inf if at is None else at[0]
        return maximise(objective, start=beta, free=free).value

    def short(b: float) -> float:
        return value(b) - (found.value - drop)

    error = 1 / math.sqrt(max(float(found.information[j, j]), 1e-300))
    pace = max(1.0, abs(float(found.beta[j]))) if found.running[j] else error
    way = float(np.sign(found.beta[j])) if found.running[j] else 0.0
    low = -math.inf if way < 0 else _crossing(short, float(found.beta[j]), -pace)
    high = math.inf if way > 0 else _crossing(short, float(found.beta[j]), pace)
    return low, high, value(0.0)


def _crossing(short: Any, centre: float, pace: float) -> float:
    """Return where ``short`` turns negative on the way from ``centre``, or an infinity."""
    from scipy.optimize import brentq

    near, far = centre, centre + pace
    while short(far) > 0:
        near, far = far, far + 1.5 * (far - near)
        if abs(far) > 1e3:
            return math.copysign(math.inf, pace)
    return float(brentq(short, min(near, far), max(near, far), xtol=1e-9, rtol=1e-12))
