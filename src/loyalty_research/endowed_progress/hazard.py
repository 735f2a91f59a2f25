"""Discrete-time visit hazard with a normal intercept per card: likelihood and fit on arrays.

A card is a run of periods, each with a visit or none. Periods at the same number of stamps
share their covariates, so a card is told by its trials and visits at each number, and cards with
the same history are one row with a count. The integral over the intercept is taken by adaptive
Gauss-Hermite quadrature; gradient and Hessian are those of the marginal likelihood (Fisher's and
Louis's identities on the same nodes), so standard errors need no numerical differences.

References:
    Pinheiro and Bates (1995), eq. 2.14 for adaptive quadrature; Louis (1982), eq. 3.2; Allison
    (1982), Discrete-time methods for the analysis of event histories.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from loyalty_research.errors import ConvergenceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "Histories",
    "InterceptFit",
    "Link",
    "fit_pooled",
    "fit_random_intercept",
    "group_histories",
    "marginal",
]

Link = Literal["logit", "cloglog"]
_NO_SPREAD = math.log(0.02)


@dataclass(frozen=True)
class Histories:
    """Distinct histories of cards.

    Attributes:
        row_cell: Covariate cell of each row, shape ``(rows,)``; rows of a history are adjacent.
        trials: Periods of each row.
        visits: Periods with a visit of each row.
        start: First row of each history, shape ``(histories,)``.
        count: Cards with each history.
    """

    row_cell: Ints
    trials: Floats
    visits: Floats
    start: Ints
    count: Floats

    @property
    def row_history(self) -> Ints:
        """History of each row."""
        lengths = np.diff(np.append(self.start, len(self.row_cell)))
        return np.repeat(np.arange(len(self.start)), lengths)


def group_histories(card: Ints, cell: Ints, trials: Ints, visits: Ints) -> Histories:
    """Bring rows of cards to distinct histories with their counts.

    Args:
        card: Card of each row, shape ``(rows,)``; every card has at least one row.
        cell: Covariate cell of each row; a card visits a cell in one row only.
        trials: Periods in the cell.
        visits: Periods in the cell with a visit.
    """
    order = np.lexsort((cell, card))
    card, cell, trials, visits = card[order], cell[order], trials[order], visits[order]
    codes, place, length = np.unique(card, return_index=True, return_counts=True)
    # a padded matrix of (cell, trials, visits) per card; -1 fills what a short card lacks
    width = int(length.max())
    within = np.arange(len(card)) - np.repeat(place, length)
    matrix = np.full((len(codes), 3 * width), -1, dtype=np.int64)
    row = np.repeat(np.arange(len(codes)), length)
    for k, values in enumerate((cell, trials, visits)):
        matrix[row, 3 * within + k] = values
    distinct, count = np.unique(matrix, axis=0, return_counts=True)
    wide = distinct.reshape(len(distinct), width, 3)
    kept = wide[:, :, 0] >= 0
    start = np.concatenate([[0], np.cumsum(kept.sum(axis=1))[:-1]]).astype(np.int64)
    flat = wide[kept]
    return Histories(
        flat[:, 0], flat[:, 1].astype(float), flat[:, 2].astype(float), start, count.astype(float)
    )


def _log_likelihood_parts(
    eta: Floats, trials: Floats, visits: Floats, link: Link
) -> tuple[Floats, Floats, Floats]:
    """Return log-likelihood, first and second derivative in ``eta`` of binomial rows."""
    if link == "logit":
        p = special.expit(eta)
        log = visits * eta - trials * np.logaddexp(0, eta)
        return log, visits - trials * p, -trials * p * (1 - p)
    rate = np.exp(np.minimum(eta, 700.0))
    # log(1 - exp(-rate)) and its derivatives in eta
    hit = np.where(rate > 1e-12, rate / np.expm1(np.maximum(rate, 1e-12)), 1.0)
    log = visits * np.log(-np.expm1(-np.maximum(rate, 1e-300))) - (trials - visits) * rate
    first = visits * hit - (trials - visits) * rate
    second = visits * hit * (1 - rate - hit) - (trials - visits) * rate
    return log, first, second


def _modes(eta: Floats, sigma: float, data: Histories, link: Link) -> tuple[Floats, Floats]:
    """Return the mode and spread of each history's standardised intercept, by Newton steps."""
    row, z = data.row_history, np.zeros(len(data.start))
    for _ in range(50):
        _, first, second = _log_likelihood_parts(eta + sigma * z[row], data.trials, data.visits, link)
        slope = sigma * np.add.reduceat(first, data.start) - z
        curve = sigma**2 * np.add.reduceat(second, data.start) - 1.0
        step = np.clip(-slope / curve, -2.0, 2.0)
        z = z + step
        if np.abs(step).max() < 1e-8:
            break
    _, _, second = _log_likelihood_parts(eta + sigma * z[row], data.trials, data.visits, link)
    return z, 1 / np.sqrt(1.0 - sigma**2 * np.add.reduceat(second, data.start))


def marginal(
    theta: Floats, design: Floats, data: Histories, *, link: Link, nodes: int
) -> tuple[float, Floats, Floats]:
    """Return the marginal log-likelihood, its gradient and Hessian.

    Args:
        theta: Coefficients of the design, then the log of the intercept's standard deviation.
        design: Covariates per cell, shape ``(cells, coefficients)``.
        data: Histories.
        link: Link of the hazard.
        nodes: Quadrature nodes.
    """
    beta, sigma = theta[:-1], math.exp(float(theta[-1]))
    x = design[data.row_cell]
    eta, row = x @ beta, data.row_history
    mode, spread = _modes(eta, sigma, data, link)
    base, weight = np.polynomial.hermite.hermgauss(nodes)
    z = mode[:, None] + math.sqrt(2) * spread[:, None] * base
    log, first, second = _log_likelihood_parts(
        eta[:, None] + sigma * z[row], data.trials[:, None], data.visits[:, None], link
    )
    joint = np.add.reduceat(log, data.start, axis=0) - z**2 / 2 + base**2 + np.log(weight)
    value = special.logsumexp(joint, axis=1)
    chance = np.exp(joint - value[:, None])
    value = value + np.log(spread) - 0.5 * math.log(math.pi)
    # score of the complete data at each node: covariates, then log sigma
    k = design.shape[1]
    score = np.empty((len(data.start), nodes, k + 1))
    for j in range(k):
        score[:, :, j] = np.add.reduceat(x[:, j, None] * first, data.start, axis=0)
    first_sum = np.add.reduceat(first, data.start, axis=0)
    score[:, :, k] = sigma * z * first_sum
    mean = np.einsum("gq,gqk->gk", chance, score)
    gradient = data.count @ mean
    spread_of = np.einsum("gq,gqk,gql->gkl", chance, score, score) - mean[:, :, None] * mean[:, None, :]
    hessian = np.tensordot(data.count, spread_of, axes=1)
    # expected second derivative of the complete data
    weighted = chance[row] * second * data.count[row][:, None]
    inner, outer = weighted.sum(axis=1), (weighted * sigma * z[row]).sum(axis=1)
    hessian[:k, :k] += x.T @ (inner[:, None] * x)
    cross = x.T @ outer
    hessian[:k, k] += cross
    hessian[k, :k] += cross
    hessian[k, k] += float(
        (weighted * (sigma * z[row]) ** 2).sum() + (data.count @ (chance * score[:, :, k]).sum(axis=1))
    )
    return float(data.count @ value), gradient, hessian


@dataclass(frozen=True)
class InterceptFit:
    """A fitted hazard.

    Attributes:
        coefficients: Shape ``(coefficients,)``.
        covariance: Of the coefficients and log sigma; of the coefficients alone where sigma is 0.
        sigma: Standard deviation of the intercept; 0 where the data show none.
        log_likelihood: At the optimum, without the binomial constants.
    """

    coefficients: Floats
    covariance: Floats
    sigma: float
    log_likelihood: float


def fit_pooled(design: Floats, data: Histories, *, link: Link = "logit") -> InterceptFit:
    """Fit the hazard as if all cards were alike (Newton's method on cells).

    Raises:
        ConvergenceError: When the likelihood has no finite maximum, as where nobody or
            everybody visits in a cell that one coefficient describes alone.
    """
    cells, count = len(design), data.count[data.row_history]
    trials: Floats = np.zeros(cells)
    visits: Floats = np.zeros(cells)
    np.add.at(trials, data.row_cell, count * data.trials)
    np.add.at(visits, data.row_cell, count * data.visits)
    share = np.clip(visits.sum() / trials.sum(), 1e-6, 1 - 1e-6)
    beta = np.zeros(design.shape[1])
    beta[0] = special.logit(share) if link == "logit" else math.log(-math.log1p(-share))
    log = -math.inf
    for _ in range(100):
        parts, first, second = _log_likelihood_parts(design @ beta, trials, visits, link)
        log, gradient = float(parts.sum()), design.T @ first
        information = design.T @ (-second[:, None] * design)
        if np.linalg.matrix_rank(information) < len(beta) or np.abs(beta).max() > 30:
            break
        step = np.linalg.solve(information, gradient)
        if float(step @ gradient) < 1e-12:
            covariance: Floats = np.linalg.inv(information).astype(np.float64)
            return InterceptFit(beta, covariance, 0.0, log)
        scale = min(1.0, 3.0 / float(np.abs(step).max()))
        beta = beta + scale * step
    raise ConvergenceError(
        "the visit hazard has no finite maximum: some arm has no visits, or visits in every period"
    )


def fit_random_intercept(
    design: Floats, data: Histories, *, link: Link = "logit", nodes: int = 21
) -> InterceptFit:
    """Fit the hazard with a normal intercept per card.

    Args:
        design: Covariates per cell, shape ``(cells, coefficients)``, a constant first.
        data: Histories.
        link: ``"logit"`` or ``"cloglog"``.
        nodes: Quadrature nodes per card.

    Raises:
        ConvergenceError: When Newton's method does not reach a maximum.
    """
    pooled = fit_pooled(design, data, link=link)
    theta = np.append(pooled.coefficients, math.log(0.7))
    value, gradient, hessian = marginal(theta, design, data, link=link, nodes=nodes)
    for _ in range(100):
        # away from the maximum the Hessian may not be negative definite; shift it until it is
        curvature, axes = np.linalg.eigh(-hessian)
        curvature = np.maximum(np.abs(curvature), 1e-8 * np.abs(curvature).max())
        step = axes @ ((axes.T @ gradient) / curvature)
        decrement = float(gradient @ step)
        if decrement < 1e-10:
            break
        step *= min(1.0, 1.5 / float(np.abs(step).max()))
        while True:
            trial = marginal(theta + step, design, data, link=link, nodes=nodes)
            if trial[0] >= value - 1e-9:
                break
            step /= 2
            if np.abs(step).max() < 1e-12:
                raise ConvergenceError("the visit hazard did not converge: no step raises the likelihood")
        theta, (value, gradient, hessian) = theta + step, trial
        if theta[-1] < _NO_SPREAD:
            return pooled
    else:
        raise ConvergenceError(f"the visit hazard did not converge; the last decrement was {decrement:.3g}")
    covariance: Floats = np.linalg.inv(-hessian).astype(np.float64)
    return InterceptFit(theta[:-1], covariance, math.exp(float(theta[-1])), value)
