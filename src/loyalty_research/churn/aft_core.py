"""Parametric likelihoods on grouped rows: cells, Newton steps, scores, lifelines' starting point."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.churn.aft_families import Parts
from loyalty_research.errors import ConvergenceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.churn.aft_families import Family, LocationScale
    from loyalty_research.churn.data import ChurnData

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "AFTCells",
    "AFTFound",
    "AFTGrid",
    "cells_of",
    "grid_of",
    "lifelines_start",
    "maximise",
    "plain_start",
    "row_scores",
    "spline_start",
    "thetas",
]

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class AFTCells:
    """Distinct (start, stop, event, pattern) with their weight.

    Attributes:
        y: Log of the end, shape ``(c,)``.
        entry: Log of the start (-inf at 0), or None where all start at 0.
        event: Whether the customer left.
        weight: Weighted number of intervals.
        row: Pattern of each cell, shape ``(c,)``.
        z: Columns of each pattern, standardised, shape ``(P, p)``.
        of: Cell of each interval, shape ``(n,)``.
    """

    y: Floats
    entry: Floats | None
    event: NDArray[np.bool_]
    weight: Floats
    row: Ints
    z: Floats
    of: Ints


def cells_of(data: ChurnData, z: Floats, pattern: Ints | None) -> AFTCells:
    """Group intervals that have the same likelihood."""
    n = len(data.stop)
    late = bool(data.start.any())
    row = np.arange(n) if pattern is None else pattern
    if pattern is None:
        first, of = np.arange(n), np.arange(n)
    else:
        ends, end = np.unique(data.stop, return_inverse=True)
        key = (end * len(z) + pattern) * 2 + data.event
        size = len(ends) * len(z) * 2
        if late:
            starts, begin = np.unique(data.start, return_inverse=True)
            key, size = key * len(starts) + begin, size * len(starts)
        first, of = _distinct(key, size)
    weight = np.bincount(of, data.weights, minlength=len(first)).astype(np.float64)
    with np.errstate(divide="ignore"):
        entry = np.log(data.start[first].astype(np.float64)) if late else None
    y = np.log(data.stop[first].astype(np.float64))
    return AFTCells(y, entry, data.event[first], weight, row[first], z, of)


def _distinct(key: Ints, size: int) -> tuple[Ints, Ints]:
    """Return a row that shows each distinct key, and each row's place among them."""
    if size > 8 * len(key) + 1024:
        _, first, of = np.unique(key, return_index=True, return_inverse=True)
        return first, of.astype(np.int64)
    found = np.flatnonzero(np.bincount(key, minlength=size))
    place = np.full(size, -1, dtype=np.int64)
    place[found] = np.arange(len(found))
    of = place[key]
    first = np.empty(len(found), dtype=np.int64)
    first[of] = np.arange(len(key))
    return first, of


def thetas(family: Family, beta: Floats, z: Floats) -> list[Floats]:
    """Return theta of rows: columns (and an intercept, last) times coefficients, then constants."""
    p = z.shape[1]
    first = z @ beta[:p] + (beta[p] if family.intercept else 0.0)
    rest = beta[p + family.intercept :]
    return [first, *(np.full(1, v) for v in rest)]


@dataclass(frozen=True, slots=True)
class AFTGrid:
    """Counts by time and pattern, for hazards that are a power of time.

    The cumulative hazard of such a model is a function of time times one of the pattern, so three
    sums over times per pattern hold the likelihood with its derivatives, however many rows there
    are.

    Attributes:
        y: Log of each time, shape ``(K,)``.
        net: Weighted number that ended at each time less those that began there, ``(K, P)``.
        left: Weighted number who left, shape ``(P,)``.
        left_y: Their summed log times.
        row: ``0 .. P - 1``.
        weight: Ones; each pattern counts once.
        z: Columns of each pattern.
    """

    y: Floats
    net: Floats
    left: Floats
    left_y: Floats
    row: Ints
    weight: Floats
    z: Floats

    def parts(self, theta: list[Floats]) -> Parts:
        """Return the log likelihood of each pattern with its derivatives."""
        sigma = float(np.exp(theta[1][0])) if len(theta) > 1 else 1.0
        mu, top = theta[0], float(self.y.max())
        power = np.exp((self.y - top) / sigma)
        around = self.y - top
        # moments of the standardised time w = (y - mu) / sigma under the hazard
        m0, m1, m2 = (self.net.T @ (power * around**j) for j in range(3))
        scale, gap = np.exp((top - mu) / sigma), (top - mu) / sigma
        r0 = scale * m0
        r1 = scale * (m1 / sigma + gap * m0)
        r2 = scale * (m2 / sigma**2 + 2 * gap * m1 / sigma + gap**2 * m0)
        w = (self.left_y - mu * self.left) / sigma
        value = w - r0 - self.left * np.log(sigma) - self.left_y
        m = len(theta)
        slope, bend = np.empty((m, len(mu))), np.empty((m, m, len(mu)))
        slope[0], bend[0, 0] = (r0 - self.left) / sigma, -r0 / sigma**2
        if m > 1:
            slope[1], bend[1, 1] = r1 - w - self.left, w - r1 - r2
            bend[0, 1] = bend[1, 0] = (self.left - r0 - r1) / sigma
        return Parts(value, slope, bend)


def grid_of(data: ChurnData, z: Floats, pattern: Ints | None) -> AFTGrid | None:
    """Count by time and pattern, or return None where the counts would be as many as the rows."""
    if pattern is None:
        return None
    width = len(z)
    times, at = np.unique(np.concatenate([data.stop, data.start[data.start > 0]]), return_inverse=True)
    if len(times) * width > min(4_000_000, 1000 + 8 * len(pattern)):
        return None
    n, late = len(pattern), data.start > 0
    size = len(times) * width

    def tally(key: Ints, mass: Floats | None) -> Floats:
        return np.bincount(key, mass, minlength=size).astype(np.float64, copy=False)

    net = tally(at[:n] * width + pattern, data.weights)
    if late.any():
        gone = None if data.weights is None else data.weights[late]
        net = net - tally(at[n:] * width + pattern[late], gone)
    y = np.log(times.astype(np.float64))
    dead = np.flatnonzero(data.event)
    mass = np.ones(len(dead)) if data.weights is None else data.weights[dead]
    left = np.bincount(pattern[dead], mass, minlength=width).astype(np.float64, copy=False)
    left_y = np.bincount(pattern[dead], mass * y[at[dead]], minlength=width).astype(np.float64, copy=False)
    return AFTGrid(y, net.reshape(len(times), width), left, left_y, np.arange(width), np.ones(width), z)


def _parts(family: Family, cells: AFTCells | AFTGrid, beta: Floats) -> Parts:
    if isinstance(cells, AFTGrid):
        with np.errstate(over="ignore", invalid="ignore"):
            return cells.parts(thetas(family, beta, cells.z))
    theta = thetas(family, beta, cells.z)
    with np.errstate(over="ignore", invalid="ignore"):
        return family.parts(cells.y, cells.event, cells.entry, [theta[0][cells.row], *theta[1:]])


def _value(parts: Parts, cells: AFTCells | AFTGrid) -> float:
    return float(parts.value @ cells.weight)


def _collect(family: Family, cells: AFTCells | AFTGrid, parts: Parts) -> tuple[Floats, Floats]:
    """Return gradient and minus the Hessian in the coefficients."""
    z, rows = cells.z, len(cells.z)
    p, own = z.shape[1], int(family.intercept)
    m = len(family.names)
    size = p + own + m - 1

    def per_row(v: Floats) -> Floats:
        kept: Floats = np.bincount(cells.row, v * cells.weight, minlength=rows).astype(np.float64, copy=False)
        return kept

    def spread(v: Floats) -> Floats:
        """Return z and the intercept times a value per row."""
        return np.concatenate([z.T @ v, [v.sum()] * own])

    gradient, bend = np.empty(size), np.empty((size, size))
    gradient[: p + own] = spread(per_row(parts.slope[0]))
    curve = per_row(parts.bend[0, 0])
    for at in range(0, rows, _CHUNK):
        part = z[at : at + _CHUNK]
        added = part.T @ (part * curve[at : at + _CHUNK, None])
        bend[:p, :p] = added if at == 0 else bend[:p, :p] + added
    if own:
        bend[p, : p + 1] = bend[: p + 1, p] = spread(curve)
    for i in range(1, m):
        k = p + own + i - 1
        gradient[k] = parts.slope[i] @ cells.weight
        bend[k, : p + own] = bend[: p + own, k] = spread(per_row(parts.bend[0, i]))
        for j in range(1, m):
            bend[k, p + own + j - 1] = parts.bend[i, j] @ cells.weight
    return gradient, -bend


@dataclass(frozen=True, slots=True)
class AFTFound:
    """Where the maximisation ended: coefficients of standardised columns, and what follows."""

    beta: Floats
    value: float
    information: Floats
    running: NDArray[np.bool_]
    iterations: int


def maximise(family: Family, cells: AFTCells | AFTGrid, start: Floats, *, most: int = 200) -> AFTFound:
    """Maximise the log likelihood by safeguarded Newton steps.

    Args:
        family: The distribution.
        cells: Grouped rows.
        start: First coefficients, then the intercept if any, then the constants.
        most: Newton steps allowed.

    Raises:
        ConvergenceError: When the optimum is not reached.
    """
    beta = start.copy()
    parts = _parts(family, cells, beta)
    best = _value(parts, cells)
    if not np.isfinite(best):
        raise ConvergenceError("the likelihood is not finite at its start; check durations for extremes")
    reach = np.ones(len(beta))
    reach[: cells.z.shape[1]] = np.ptp(cells.z, axis=0)
    for iteration in range(most):
        gradient, bend = _collect(family, cells, parts)
        step = _ascent(bend, gradient)
        decrement = float(gradient @ step)
        settled = decrement <= 1e-13 * (1.0 + abs(best))
        size = min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-300))
        while True:
            ahead = _parts(family, cells, beta + size * step)
            reached = _value(ahead, cells)
            if np.isfinite(reached) and reached >= best - 1e-10 * (1.0 + abs(best)):
                break
            size /= 2
            if size < 1e-10:
                raise ConvergenceError(
                    f"the model stopped short of its optimum after {iteration} Newton steps "
                    f"(decrement {decrement:.2g}); check durations and covariates for extremes"
                )
        beta, parts, best = beta + size * step, ahead, reached
        if settled:
            bend = _collect(family, cells, parts)[1]
            running = np.abs(step) * reach > 0.05
            if not running.any() and not _positive(bend):
                raise ConvergenceError("the likelihood is flat at its optimum, so no errors can be given")
            return AFTFound(beta, best, bend, running, iteration + 1)
    raise ConvergenceError(f"the model did not converge in {most} Newton steps")


def _positive(bend: Floats) -> bool:
    scale = np.sqrt(np.abs(np.diag(bend)))
    return bool((np.diag(bend) > 0).all() and np.linalg.eigvalsh(bend / np.outer(scale, scale))[0] > 1e-10)


def _ascent(bend: Floats, gradient: Floats) -> Floats:
    """Return Newton's step, bent towards the gradient where the likelihood is not concave."""
    scale = np.sqrt(np.maximum(np.abs(np.diag(bend)), 1e-300))
    values, vectors = np.linalg.eigh(bend / np.outer(scale, scale))
    values = np.maximum(np.abs(values), 1e-10)
    step: Floats = vectors @ ((vectors.T @ (gradient / scale)) / values) / scale
    return step


def row_scores(family: Family, cells: AFTCells, beta: Floats, weights: Floats | None) -> Floats:
    """Return each interval's weighted score, shape ``(n, coefficients)``."""
    parts = _parts(family, cells, beta)
    mass = 1.0 if weights is None else weights
    first = parts.slope[0][cells.of] * mass
    z = cells.z[cells.row[cells.of]]
    columns = [z * first[:, None]]
    if family.intercept:
        columns.append(first[:, None])
    columns += [(parts.slope[i][cells.of] * mass)[:, None] for i in range(1, len(family.names))]
    return np.concatenate(columns, axis=1)


def plain_start(family: LocationScale, cells: AFTCells | AFTGrid) -> Floats:
    """Return a constant rate: no covariate matters and log sigma is 0."""
    if isinstance(cells, AFTGrid):
        exposure, left = float((np.exp(cells.y) @ cells.net).sum()), float(cells.left.sum())
    else:
        begin = 0.0 if cells.entry is None else np.exp(cells.entry)
        exposure = float(cells.weight @ (np.exp(cells.y) - begin))
        left = float(cells.weight @ cells.event)
    start = np.zeros(cells.z.shape[1] + len(family.names))
    start[cells.z.shape[1]] = np.log(exposure / left)
    return start


def spline_start(weibull: Floats, knots: int) -> dict[str, Floats]:
    """Return a Weibull fit as a spline without bends, by lifelines' names."""
    rate = np.exp(-weibull[-1])
    bends = {f"gamma{i}_": np.zeros(1) for i in range(2, knots)}
    level = np.array([-weibull[-2] * rate])
    return {"beta_": weibull[:-2], "gamma0_": level, "gamma1_": np.array([rate]), **bends}


def lifelines_start(
    fitter: Any, family: Family, cells: AFTCells, *, first_point: dict[str, Floats] | None = None
) -> Floats:
    """Let a fitter of lifelines find the optimum of the grouped rows; return it in our order.

    Args:
        fitter: lifelines' model of the family.
        family: The family.
        cells: Grouped rows.
        first_point: Where lifelines is to begin, by its names; its own choice by default.

    Raises:
        ConvergenceError: When lifelines does not find it.
    """
    from lifelines.exceptions import ConvergenceError as NotFound

    names = [f"x{j}" for j in range(cells.z.shape[1])]
    frame = pd.DataFrame(cells.z[cells.row], columns=names)
    frame["T"], frame["E"], frame["W"] = np.exp(cells.y), cells.event, cells.weight
    options: dict[str, Any] = {}
    if cells.entry is not None:
        frame["entry"] = np.exp(cells.entry)
        options["entry_col"] = "entry"
    first = " + ".join([*names, *(["1"] if family.intercept else [])]) or "1"
    if not family.intercept:
        first += " - 1"
    regressors = {family.names[0]: first, **dict.fromkeys(family.names[1:], "1")}
    # lifelines would add an intercept that the spline's level already is
    fitter.fit_intercept = family.intercept
    if hasattr(fitter, "_primary_parameter_name"):
        options["formula"] = first
    else:
        options["regressors"] = regressors
    if first_point is not None:
        options["initial_point"] = first_point
    with warnings.catch_warnings():
        # lifelines warns of weights that are no counts; its own errors are not used
        warnings.simplefilter("ignore")
        try:
            fitter.fit(frame, "T", event_col="E", weights_col="W", **options)
        except (NotFound, ValueError, AssertionError) as error:
            raise ConvergenceError(
                "lifelines did not find the optimum of this distribution: "
                f"{' '.join(str(error).split())[:200]}; try another distribution"
            ) from error
    found = fitter.params_
    order = [(family.names[0], n) for n in names]
    order += [(family.names[0], "Intercept")] if family.intercept else []
    order += [(name, "Intercept") for name in family.names[1:]]
    start: Floats = np.array([float(found[key]) for key in order])
    if family.names in (("lambda_", "rho_"), ("alpha_", "beta_")):
        start[-1] = -start[-1]
    return start
