"""Covariate matrices and the logistic propensity model: pure functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "Covariates",
    "NoOverlapError",
    "Propensity",
    "covariate_matrix",
    "fit_propensity",
    "weighted_gram",
]

# rows whose weighted copy fits the processor's cache
_CHUNK = 8192
_MOST_LEVELS = 50
_PILOT = 20_000
_WORTHWHILE = 5


class NoOverlapError(DesignError):
    """The covariates tell the groups apart so well that nobody is comparable."""


@dataclass(frozen=True, slots=True)
class Covariates:
    """A design matrix.

    Attributes:
        matrix: Intercept, then standardised columns; shape (n, p).
        names: Names of the p - 1 columns; levels of a category are ``"column=level"``.
        centre: Mean of each column before standardising, shape (p - 1,).
        scale: Standard deviation of each column before standardising, shape (p - 1,).
    """

    matrix: NDArray[np.float64]
    names: tuple[str, ...]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Propensity:
    """A fitted propensity model.

    Attributes:
        probability: Fitted probability of being treated, shape (n,).
        coefficients: On the standardised columns, intercept first, shape (p,).
        information: Observed information at the optimum (a sum over rows), shape (p, p).
    """

    probability: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    information: NDArray[np.float64]


def _dummies(frame: pd.DataFrame, name: str) -> tuple[list[str], list[NDArray[np.float64]]]:
    values = frame[name].astype(str).to_numpy()
    levels = sorted(set(values.tolist()))
    if len(levels) > _MOST_LEVELS:
        raise ContractError(
            f"the covariate {name} has {len(levels):,} different texts, more than {_MOST_LEVELS}: "
            "group them first, or leave it out if it identifies units"
        )
    return [f"{name}={v}" for v in levels[1:]], [(values == v).astype(float) for v in levels[1:]]


def _numbers(series: pd.Series[float], where: str) -> tuple[NDArray[np.float64], list[str]]:
    """Return a column as contiguous floats, and what is wrong with it."""
    value = np.ascontiguousarray(series.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)
    # a sum is finite only when every value is, which is all that has to be looked at as a rule
    if np.isfinite(value.sum()):
        return value, []
    found = (("missing", np.isnan(value)), ("infinite", np.isinf(value)))
    return value, [
        f"{where} is {word} in {at_rows(np.flatnonzero(bad).tolist())}" for word, bad in found if bad.any()
    ]


def covariate_matrix(frame: pd.DataFrame, covariates: Sequence[str], *, table: str = "units") -> Covariates:
    """Build the design matrix: numbers standardised, categories as dummies without their first level.

    Args:
        frame: One row per unit.
        covariates: Column names.
        table: What messages call the table.

    Raises:
        ArgumentError: When there are no covariates or one is named twice.
        ContractError: When a column is absent, has missing or infinite values, too many categories,
            or repeats what others say.
    """
    names = list(covariates)
    if not names:
        raise ArgumentError(
            "covariates= is empty: name the columns measured before that groups may differ in"
        )
    if len(set(names)) < len(names):
        raise ArgumentError("a covariate is named twice")
    lacking = [name for name in names if name not in frame.columns]
    if lacking:
        raise ContractError(f"{table} has no column {', '.join(map(repr, lacking))}")
    problems, labels, columns = [], [], []
    for name in names:
        series = frame[name]
        if series.dtype.kind in "mM":
            problems.append(
                f"{table}.{name} holds dates or spans (make numbers of them, such as days before)"
            )
            continue
        if series.dtype.kind not in "biuf":
            missing = np.flatnonzero(series.isna().to_numpy())
            if len(missing):
                problems.append(f"{table}.{name} is missing in {at_rows(missing.tolist())}")
                continue
            more, dummies = _dummies(frame, name)
            labels += more
            columns += dummies
            continue
        value, faults = _numbers(series, f"{table}.{name}")
        problems += faults
        labels.append(name)
        columns.append(value)
    if problems:
        raise ContractError(
            "; ".join(problems) + ": fill them before the comparison, or leave the covariate out"
        )
    if not columns:
        raise ContractError(f"the covariate {', '.join(names)} is the same for every unit: leave it out")
    return _standardise(labels, columns, len(frame))


def _standardise(labels: list[str], columns: list[NDArray[np.float64]], n: int) -> Covariates:
    # column order: every pass below runs along columns
    matrix = np.empty((n, len(columns) + 1), order="F")
    matrix[:, 0] = 1.0
    centre, scale = np.empty(len(columns)), np.empty(len(columns))
    for j, column in enumerate(columns):
        centre[j] = column.mean()
        away = np.subtract(column, centre[j], out=matrix[:, j + 1])
        scale[j] = np.sqrt(away @ away / n)
        if scale[j] > 0:
            away /= scale[j]
    flat = [name for name, s, c in zip(labels, scale, centre, strict=True) if s <= 1e-12 * max(1.0, abs(c))]
    if flat:
        raise ContractError(f"the covariate {', '.join(flat)} is the same for every unit: leave it out")
    correlation = matrix[:, 1:].T @ matrix[:, 1:] / n
    values, vectors = np.linalg.eigh(correlation)
    if values[0] < 1e-9:
        tied = [labels[i] for i in np.flatnonzero(np.abs(vectors[:, 0]) > 0.1)]
        raise ContractError(f"the covariates {', '.join(tied)} determine one another: leave one of them out")
    return Covariates(matrix=matrix, names=tuple(labels), centre=centre, scale=scale)


def weighted_gram(matrix: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return X' diag(w) X for non-negative w, in chunks so that no copy of X is made."""
    p = matrix.shape[1]
    gram, root = np.zeros((p, p)), np.sqrt(weights)
    for start in range(0, len(matrix), _CHUNK):
        part = matrix[start : start + _CHUNK] * root[start : start + _CHUNK, None]
        gram += part.T @ part
    return gram


def _log_likelihood(eta: NDArray[np.float64], treated: NDArray[np.float64]) -> float:
    # log(1 + exp(eta)) without overflow, several times quicker than logaddexp
    return float(treated @ eta - np.maximum(eta, 0.0).sum() - np.log1p(np.exp(-np.abs(eta))).sum())


def _start(matrix: NDArray[np.float64], treated: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where Newton's method sets out: a fit to every k-th row of many, else the share alone."""
    share = float(treated.mean())
    beta = np.zeros(matrix.shape[1])
    beta[0] = np.log(share / (1 - share))
    every = len(matrix) // _PILOT
    if every < _WORTHWHILE:
        return beta
    try:
        return fit_propensity(np.asfortranarray(matrix[::every]), treated[::every]).coefficients
    except NoOverlapError:  # a part may be separated where the whole is not
        return beta


def fit_propensity(
    matrix: NDArray[np.float64], treated: NDArray[np.float64], *, iterations: int = 40
) -> Propensity:
    """Fit a logistic regression by Newton's method with step halving.

    Args:
        matrix: Intercept and standardised covariates, shape (n, p).
        treated: 0 or 1, shape (n,).
        iterations: Newton steps after which the optimum counts as infinitely far away.

    Raises:
        NoOverlapError: When coefficients run to infinity (complete or quasi-complete separation).

    References:
        Albert and Anderson (1984), Biometrika 71, 1-10 (separation).
    """
    share = float(treated.mean())
    if not 0 < share < 1:
        raise NoOverlapError("all units are in one group: there is nobody to compare with")
    beta = _start(matrix, treated)
    eta = matrix @ beta
    fit = _log_likelihood(eta, treated)
    for _ in range(iterations):
        probability = expit(eta)
        information = weighted_gram(matrix, probability * (1 - probability))
        try:
            step = np.linalg.solve(information, matrix.T @ (treated - probability))
        except np.linalg.LinAlgError:
            break
        size = 1.0
        while size > 1e-10:
            trial = matrix @ (beta + size * step)
            trial_fit = _log_likelihood(trial, treated)
            # at the optimum rounding alone may lose a little
            if trial_fit >= fit - 1e-9 * (1 + abs(fit)):
                break
            size /= 2
        beta, eta, fit = beta + size * step, trial, trial_fit
        # a separating direction keeps moving by about one a step; an optimum is reached quadratically
        if np.max(np.abs(size * step)) < 1e-8:
            return Propensity(probability=expit(eta), coefficients=beta, information=information)
    raise NoOverlapError(
        "the covariates separate the groups: for some values every unit is in one group, so that "
        "nobody there can be compared; leave out the covariate that decides membership, or restrict "
        "the comparison to units that could be in either group"
    )
