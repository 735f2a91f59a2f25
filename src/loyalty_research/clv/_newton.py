"""Safeguarded Newton for a handful of log parameters, with a BFGS fallback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from loyalty_research.errors import ConvergenceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from loyalty_research.clv._core import Derivatives

    Array = NDArray[Any]
    Objective = Callable[[Array], tuple[float, Array, Array]]

__all__ = ["Optimum", "in_logs", "less_penalty", "maximise", "penalised"]

_DECREMENT = 1e-14  # in squared standard errors: the next step would move parameters by 1e-7 of one
_CLOSE = 1e-8  # a ten-thousandth of a standard error away
_EDGE = 15.0  # a log parameter this far out (3e6 times the mean time or spend) is on its way to infinity
_WIDE = 30.0  # standard error of a log parameter that says nothing: a factor of e to the sixty each way
_STEP = 2.0  # longest step in a log parameter: a factor of 7.4


class Optimum(NamedTuple):
    """Where the climb ended.

    Attributes:
        theta: Log parameters, shape (k,).
        value: Objective there.
        information: Negative Hessian there, shape (k, k), positive definite.
        iterations: Newton steps taken.
        route: ``"newton"`` or ``"bfgs"`` when the fallback was needed.
    """

    theta: Array
    value: float
    information: Array
    iterations: int
    route: str


def in_logs(derivatives: Derivatives) -> Objective:
    """Turn a function of natural parameters into one of their logs.

    Args:
        derivatives: Natural parameters (k,) to value, gradient (k,) and Hessian (k, k).
    """

    def objective(theta: Array) -> tuple[float, Array, Array]:
        natural = np.exp(theta)
        value, gradient, hessian = derivatives(natural)
        slope = natural * gradient
        return value, slope, np.outer(natural, natural) * hessian + np.diag(slope)

    return objective


def less_penalty(objective: Objective, strength: float) -> Objective:
    """Subtract a penalty on the squares from a function of log parameters."""

    def penalised(theta: Array) -> tuple[float, Array, Array]:
        value, slope, bend = objective(theta)
        value -= strength * float(theta @ theta)
        return value, slope - 2 * strength * theta, bend - 2 * strength * np.eye(len(theta))

    return penalised


def penalised(derivatives: Derivatives, strength: float) -> Objective:
    """Turn a log-likelihood of natural parameters into an objective of their logs.

    Args:
        derivatives: Natural parameters (k,) to value, gradient (k,) and Hessian (k, k).
        strength: Penalty on the squared log parameters.
    """
    return less_penalty(in_logs(derivatives), strength)


def _ascent(gradient: Array, hessian: Array) -> tuple[Array, float]:
    """Return the Newton step with negative curvature turned round, and the squared decrement."""
    roots, vectors = np.linalg.eigh(-hessian)
    floor = max(1e-12 * float(np.abs(roots).max()), np.finfo(float).tiny)
    along = vectors.T @ gradient
    stretched = along / np.maximum(np.abs(roots), floor)
    # where the surface curves the wrong way the decrement says nothing about the distance left
    decrement = float(along @ stretched) if roots.min() > 0 else np.inf
    return vectors @ stretched, decrement


def _newton(objective: Objective, start: Array, most: int) -> tuple[Array, float, Array, int, bool]:
    theta, before = start, np.inf
    value, gradient, hessian = objective(theta)
    for count in range(1, most + 1):
        if not (np.isfinite(value) and np.isfinite(gradient).all() and np.isfinite(hessian).all()):
            break
        step, decrement = _ascent(gradient, hessian)
        longest = float(np.abs(step).max())
        if longest > _STEP:
            step *= _STEP / longest
        # close to the top each step squares the distance; when it no longer shrinks, rounding is reached
        close = decrement < _CLOSE
        if decrement <= _DECREMENT or (close and decrement > before / 4):
            final = theta + step
            value, gradient, hessian = objective(final)
            return final, value, hessian, count, True
        reached = _search(objective, theta, step, value, 0.0 if close else float(gradient @ step))
        if reached is None:
            break
        theta, (value, gradient, hessian) = reached
        before = decrement if close else np.inf
    return theta, value, hessian, most, False


def _search(
    objective: Objective, theta: Array, step: Array, value: float, slope: float
) -> tuple[Array, tuple[float, Array, Array]] | None:
    """Halve a step until it climbs; None when no part of it does.

    With a ``slope`` of 0 the point is close to the top, where gains drown in rounding.
    """
    slack = (1e-9 if slope == 0 else 1e-14) * max(1.0, abs(value))
    size = 1.0
    while size > 1e-10:
        trial = theta + size * step
        if np.abs(trial).max() <= _EDGE:
            found = objective(trial)
            if np.isfinite(found[0]) and found[0] >= value + 1e-4 * size * slope - slack:
                return trial, found
        size /= 2
    return None


def maximise(
    objective: Objective, start: Array, *, names: Sequence[str], model: str, most: int = 100
) -> Optimum:
    """Climb to the maximum of a smooth objective of log parameters.

    The stop rule is the Newton decrement, the squared distance to the optimum in standard
    errors, which means the same at a hundred and at a million customers; a bound on the
    gradient does not.

    Args:
        objective: Returns value, gradient (k,) and Hessian (k, k) at log parameters (k,).
        start: Log parameters to start from, shape (k,).
        names: Names of the parameters, for messages.
        model: Name of the model, for messages.
        most: Newton steps allowed.

    Raises:
        ConvergenceError: When neither Newton nor BFGS reaches an inner maximum.

    References:
        Nocedal and Wright, Numerical Optimization (2006), chapter 3; Boyd and Vandenberghe,
        Convex Optimization (2004), section 9.5.1 (the decrement).
    """
    theta, value, hessian, steps, done = _newton(objective, start, most)
    route = "newton"
    if not done:
        from scipy.optimize import minimize

        route = "bfgs"

        def downhill(point: Array) -> tuple[float, Array]:
            height, uphill, _ = objective(np.clip(point, -_EDGE, _EDGE))
            return -height, -uphill

        found = minimize(downhill, theta, jac=True, method="BFGS", options={"maxiter": 500})
        again = np.clip(np.asarray(found.x, dtype=float), -_EDGE, _EDGE)
        theta, value, hessian, more, done = _newton(objective, again, most)
        steps += more
    if not (done and _is_peak(hessian) and _is_narrow(hessian)):
        raise ConvergenceError(
            f"{model} did not converge: {_reason(theta, names, steps)}; fit more customers or a longer "
            "observation, or set penalizer= to a small value such as 0.01"
        )
    return Optimum(theta, value, -hessian, steps, route)


def _is_peak(hessian: Array) -> bool:
    """Whether the surface falls in every direction, by more than rounding."""
    roots = np.linalg.eigvalsh(-hessian)
    return bool(roots.min() > 1e-12 * roots.max())


def _is_narrow(hessian: Array) -> bool:
    """Whether every parameter is held at all: on its way to infinity the surface only seems to end."""
    return bool(np.diag(np.linalg.inv(-hessian)).max() < _WIDE**2)


def _reason(theta: Array, names: Sequence[str], steps: int) -> str:
    away = [name for name, at in zip(names, theta, strict=True) if abs(at) > 0.5 * _EDGE]
    if not away:
        return f"no maximum was reached in {steps} Newton steps"
    where = "infinity" if theta[int(np.abs(theta).argmax())] > 0 else "zero"
    verb = "runs off" if len(away) == 1 else "run off"
    return (
        f"{' and '.join(away)} {verb} to {where}, so in these data customers do not differ, or do not leave, "
        "enough to estimate every parameter"
    )
