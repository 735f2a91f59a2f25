"""Differences between arms from their moments: pure functions, no tables.

Notation: an arm has a vector mu of k column means (outcomes, then covariates). A functional
h(mu) with gradient J maps the outcomes to what is compared. Pre-period adjustment subtracts
theta' (x_t - x_c), with the theta that minimises the variance of the adjusted difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import stats

from loyalty_research.errors import ContractError, DesignError
from loyalty_research.stats.ratios import fieller

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = [
    "ArmMeans",
    "Contrast",
    "arm_means",
    "contrast",
    "fieller",
    "mean_of_first",
    "means_of_rows",
    "ratio_of_first_two",
    "t_limits",
]

_NAMED = 12  # with more strata than this a stratum may be a customer, so none is named

Functional = "Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]"


class CellMoments(Protocol):
    """Moments of one arm and stratum, about the shift, with the units of a row as last column."""

    @property
    def n(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def mean(self) -> NDArray[np.float64]: ...
    @property
    def cov(self) -> NDArray[np.float64]: ...


class Moments(Protocol):
    """What ``arm_means`` needs of ``summaries.MetricMoments``, which lies above this module."""

    @property
    def label(self) -> str: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def shift(self) -> NDArray[np.float64]: ...
    @property
    def cells(self) -> Mapping[tuple[str, str], CellMoments]: ...


@dataclass(frozen=True, slots=True)
class ArmMeans:
    """Column means of an arm with the variance of each independent piece of them.

    Attributes:
        mean: Means over units, strata weighted by their pooled share; shape (k,).
        pieces: One (covariance of the mean's part, degrees of freedom) per stratum.
        n: Units.
        rows: Units, or clusters.
    """

    mean: NDArray[np.float64]
    pieces: tuple[tuple[NDArray[np.float64], int], ...]
    n: int
    rows: int


@dataclass(frozen=True, slots=True)
class Contrast:
    """A difference between two arms, adjusted where covariates are given; f functionals.

    Attributes:
        difference: Treated minus control, shape (f,).
        covariance: Covariance of ``difference``, shape (f, f).
        dof: Welch-Satterthwaite degrees of freedom, shape (f,).
        control: Control value, adjusted, shape (f,).
        treated: Treated value, adjusted, shape (f,).
        control_variance: Variance of ``control``, shape (f,).
        covariance_with_control: Covariance of each difference with its ``control``, shape (f,).
        n: Units in both arms.
    """

    difference: NDArray[np.float64]
    covariance: NDArray[np.float64]
    dof: NDArray[np.float64]
    control: NDArray[np.float64]
    treated: NDArray[np.float64]
    control_variance: NDArray[np.float64]
    covariance_with_control: NDArray[np.float64]
    n: int


def mean_of_first(outcomes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first outcome's mean and its gradient."""
    gradient = np.zeros((1, len(outcomes)))
    gradient[0, 0] = 1.0
    return outcomes[:1], gradient


def ratio_of_first_two(outcomes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ratio of the first two means and its gradient (the delta method)."""
    ratio = outcomes[0] / outcomes[1]
    gradient = np.zeros((1, len(outcomes)))
    gradient[0, :2] = 1 / outcomes[1], -ratio / outcomes[1]
    return np.array([ratio]), gradient


def arm_means(moments: Moments, arm: str, weights: Mapping[str, float]) -> ArmMeans:
    """Combine an arm's strata into means and the variance of those means.

    Args:
        moments: Moments of one metric.
        arm: Label of the arm.
        weights: Stratum to its share of all units; the shares add to one.

    Raises:
        ContractError: When a stratum of the arm has fewer than two rows.
    """
    k = len(moments.columns)
    mean, pieces, n, rows = np.zeros(k), [], 0, 0
    for stratum, weight in weights.items():
        cell = moments.cells.get((arm, stratum))
        if cell is None or cell.rows < 2:
            have = 0 if cell is None else cell.rows
            where = f" in stratum {stratum}" if stratum and len(weights) <= _NAMED else ""
            raise ContractError(
                f"{moments.label}: arm {arm}{where} has {have} independent rows with a value; at least 2 are needed"
            )
        size = cell.mean[-1]
        away = cell.mean[:-1] / size
        # gradient of the means with respect to (shifted sums, number of units)
        slope = np.hstack([np.eye(k), -away[:, None]]) / size
        mean += weight * (moments.shift + away)
        pieces.append((weight**2 * slope @ cell.cov @ slope.T / cell.rows, cell.rows - 1))
        n, rows = n + cell.n, rows + cell.rows
    return ArmMeans(mean=mean, pieces=tuple(pieces), n=n, rows=rows)


def means_of_rows(values: NDArray[np.float64], clusters: NDArray[np.int64] | None = None) -> ArmMeans:
    """Return the column means of one arm's rows with their covariance.

    Args:
        values: Outcomes, then covariates, one row per unit; shape (n, k).
        clusters: Cluster of each row as a code from 0, where whole clusters were assigned; shape (n,).

    Raises:
        DesignError: When there are fewer than two rows, or two clusters.

    Examples:
        >>> found = means_of_rows(np.array([[1.0], [2.0], [6.0]]))
        >>> float(found.mean[0]), round(float(found.pieces[0][0][0, 0]), 6)
        (3.0, 2.333333)

    References:
        Deng, Knoblich and Lu (2018), KDD (clusters: the mean is a ratio of cluster sums to sizes).
    """
    n, mean = len(values), values.mean(axis=0)
    away = values - mean
    if clusters is not None:
        away = np.stack([np.bincount(clusters, weights=column) for column in away.T], axis=1)
        away = away[np.bincount(clusters, minlength=len(away)) > 0]
    rows = len(away)
    if rows < 2:
        raise DesignError(f"{rows} independent rows in an arm; at least 2 are needed")
    # sums of clusters about the mean add up to 0, so no centring is left to do
    covariance = away.T @ away / (rows - 1) * rows / n**2
    return ArmMeans(mean=mean, pieces=((covariance, rows - 1),), n=n, rows=rows)


def _coefficients(
    treated: ArmMeans,
    control: ArmMeans,
    j_t: NDArray[np.float64],
    j_c: NDArray[np.float64],
    names: tuple[str, ...],
) -> NDArray[np.float64]:
    """Return theta, shape (covariates, functionals): Var(dx)^-1 Cov(dx, dh)."""
    q = j_t.shape[1]
    v_t = np.sum([piece for piece, _ in treated.pieces], axis=0)
    v_c = np.sum([piece for piece, _ in control.pieces], axis=0)
    spread = v_t[q:, q:] + v_c[q:, q:]
    scale = np.sqrt(np.diag(spread))
    flat = [name for name, s in zip(names, scale, strict=True) if s == 0]
    if flat:
        raise ContractError(f"the covariate {', '.join(flat)} is the same for every unit: leave it out")
    correlation = spread / np.outer(scale, scale)
    if np.linalg.eigvalsh(correlation)[0] < 1e-10:
        raise ContractError(
            f"the covariates {', '.join(names)} determine one another: leave out the ones that repeat"
        )
    joint = v_t[q:, :q] @ j_t.T + v_c[q:, :q] @ j_c.T
    solved: NDArray[np.float64] = np.linalg.solve(correlation, joint / scale[:, None]) / scale[:, None]
    return solved


def contrast(
    treated: ArmMeans,
    control: ArmMeans,
    functional: Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    outcomes: int,
    covariates: tuple[str, ...] = (),
) -> Contrast:
    """Compare two arms on one or more functionals of their outcome means.

    Args:
        treated: Means of the treated arm.
        control: Means of the control arm.
        functional: Maps the outcome means, shape (q,), to values (f,) and gradient (f, q).
        outcomes: q, how many of the columns are outcomes; the rest are covariates.
        covariates: Names of the covariates, for messages.

    Returns:
        The difference with its covariance. With p covariates the variance is multiplied by
        d / (d - p), d the residual degrees of freedom, as in analysis of covariance.

    Raises:
        ContractError: When covariates are constant or collinear.
        DesignError: When there are not enough rows for the covariates.

    References:
        Deng et al. (2013), WSDM (pre-period covariates); Deng, Knoblich and Lu (2018), KDD (ratios);
        Lin (2013), Annals of Applied Statistics 7, 295-318 (the same asymptotic variance);
        Miratrix, Sekhon and Yu (2013), JRSS B 75, 369-396 (strata).
    """
    q, p = outcomes, len(covariates)
    h_t, j_t = functional(treated.mean[:q])
    h_c, j_c = functional(control.mean[:q])
    f = len(h_t)
    theta = np.zeros((p, f)) if p == 0 else _coefficients(treated, control, j_t, j_c, covariates)
    dx = treated.mean[q:] - control.mean[q:]
    share = treated.n / (treated.n + control.n)
    moved = theta.T @ dx
    difference, base = h_t - h_c - moved, h_c + share * moved
    # rows of these map an arm's column means to (difference, adjusted control value)
    to_t = np.vstack([np.hstack([j_t, -theta.T]), np.hstack([np.zeros_like(j_t), share * theta.T])])
    to_c = np.vstack([-np.hstack([j_c, -theta.T]), np.hstack([j_c, -share * theta.T])])
    parts = [
        (to @ piece @ to.T, dof)
        for arm, to in ((treated, to_t), (control, to_c))
        for piece, dof in arm.pieces
    ]
    total = np.sum([part for part, _ in parts], axis=0)
    spare = sum(dof for _, dof in parts)
    if spare - p < 1:
        raise DesignError(f"{spare + len(parts)} rows are too few for {p} covariates: leave some out")
    total *= spare / (spare - p)
    diagonals = np.array([np.diag(part)[:f] for part, _ in parts])
    weights = np.array([1 / dof for _, dof in parts])
    with np.errstate(invalid="ignore"):
        dof = diagonals.sum(axis=0) ** 2 / (weights @ diagonals**2)
    return Contrast(
        difference=difference,
        covariance=total[:f, :f],
        dof=dof,
        control=base,
        treated=base + difference,
        control_variance=np.diag(total)[f:],
        covariance_with_control=np.diag(total[:f, f:]),
        n=treated.n + control.n,
    )


def t_limits(value: float, standard_error: float, dof: float, level: float) -> tuple[float, float, float]:
    """Return lower limit, upper limit and the two-sided p-value of a zero value."""
    half = float(stats.t.isf((1 - level) / 2, dof)) * standard_error
    return value - half, value + half, float(2 * stats.t.sf(abs(value) / standard_error, dof))
