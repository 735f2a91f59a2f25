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
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import sparse, special

from loyalty_research.errors import ConvergenceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "Histories",
    "InterceptFit",
    "Link",
    "allow_for_clusters",
    "fit_pooled",
    "fit_random_intercept",
    "group_histories",
    "marginal",
]

Link = Literal["logit", "cloglog"]
_NO_SPREAD = math.log(0.02)
_CHUNK = 20_000
_SAMPLE = 2_000


@dataclass(frozen=True)
class Histories:
    """Distinct histories of cards.

    Attributes:
        row_cell: Covariate cell of each row, shape ``(rows,)``; rows of a history are adjacent.
        trials: Periods of each row.
        visits: Periods with a visit of each row.
        start: First row of each history, shape ``(histories,)``.
        count: Cards with each history.
        of_card: History of each card, in ascending order of the cards.
    """

    row_cell: Ints
    trials: Floats
    visits: Floats
    start: Ints
    count: Floats
    of_card: Ints

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
    card = card[order]
    # one number per distinct (cell, trials, visits)
    packed = (cell[order] * (int(trials.max()) + 1) + trials[order]) * (int(visits.max()) + 1) + visits[order]
    kinds, sample, kind = np.unique(packed, return_index=True, return_inverse=True)
    place = np.flatnonzero(np.diff(card, prepend=card[0] - 1) != 0)
    length = np.diff(np.append(place, len(card)))
    # cards are told apart kind by kind, a short card being filled up with kind 0
    code = np.zeros(len(place), dtype=np.int64)
    for k in range(int(length.max())):
        here = np.zeros(len(place), dtype=np.int64)
        here[length > k] = kind[place[length > k] + k] + 1
        distinct, code = np.unique(code * (len(kinds) + 1) + here, return_inverse=True)
        if len(distinct) == len(place):
            break
    _, first, member, count = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
    size = length[first]
    start = np.cumsum(size) - size
    row = np.repeat(place[first] - start, size) + np.arange(int(size.sum()))
    chosen = order[sample[kind[row]]]
    return Histories(
        row_cell=cell[chosen],
        trials=trials[chosen].astype(float),
        visits=visits[chosen].astype(float),
        start=start,
        count=count.astype(float),
        of_card=member,
    )


def _log_likelihood_parts(
    eta: Floats, trials: Floats, visits: Floats, link: Link
) -> tuple[Floats, Floats, Floats]:
    """Return log-likelihood, first and second derivative in ``eta`` of binomial rows."""
    if link == "logit":
        small = np.exp(-np.abs(eta))
        p = np.where(eta >= 0, 1.0, small) / (1.0 + small)
        log = visits * eta - trials * (np.maximum(eta, 0.0) + np.log1p(small))
        mean = trials * p
        return log, visits - mean, mean * (p - 1)
    rate = np.exp(np.minimum(eta, 700.0))
    # log(1 - exp(-rate)) and its derivatives in eta
    hit = np.where(rate > 1e-12, rate / np.expm1(np.maximum(rate, 1e-12)), 1.0)
    log = visits * np.log(-np.expm1(-np.maximum(rate, 1e-300))) - (trials - visits) * rate
    first = visits * hit - (trials - visits) * rate
    second = visits * hit * (1 - rate - hit) - (trials - visits) * rate
    return log, first, second


def _modes(eta: Floats, sigma: float, data: Histories, link: Link, begin: Floats) -> tuple[Floats, Floats]:
    """Return the mode and spread of each history's standardised intercept, by Newton steps."""
    row, z = data.row_history, begin
    for _ in range(50):
        _, first, second = _log_likelihood_parts(eta + sigma * z[row], data.trials, data.visits, link)
        slope = sigma * np.add.reduceat(first, data.start) - z
        curve = sigma**2 * np.add.reduceat(second, data.start) - 1.0
        step = np.clip(-slope / curve, -2.0, 2.0)
        z = z + step
        if np.abs(step).max() < 1e-5:  # the error of a Newton step is the square of it
            break
    return z, 1 / np.sqrt(-curve)


def _chunks(data: Histories) -> list[slice]:
    """Cut histories into runs of rows whose nodes stay in the cache."""
    runs = np.unique(np.searchsorted(data.start, np.arange(0, len(data.row_cell), _CHUNK)))
    edges = np.unique(np.concatenate([[0], runs, [len(data.start)]]))
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]


def _part(data: Histories, run: slice) -> Histories:
    end = data.start[run.stop] if run.stop < len(data.start) else len(data.row_cell)
    rows = slice(int(data.start[run.start]), int(end))
    return Histories(
        data.row_cell[rows],
        data.trials[rows],
        data.visits[rows],
        data.start[run] - rows.start,
        data.count[run],
        np.empty(0, dtype=np.int64),
    )


def marginal(
    theta: Floats, design: Floats, data: Histories, *, link: Link, nodes: int, modes: Floats | None = None
) -> tuple[float, Floats, Floats]:
    """Return the marginal log-likelihood, its gradient and Hessian.

    Args:
        theta: Coefficients of the design, then the log of the intercept's standard deviation.
        design: Covariates per cell, shape ``(cells, coefficients)``.
        data: Histories.
        link: Link of the hazard.
        nodes: Quadrature nodes.
        modes: Where to begin looking for each history's mode, shape ``(histories,)``; replaced by
            the modes found.
    """
    k = len(theta)
    found: tuple[float, Floats, Floats] = (0.0, np.zeros(k), np.zeros((k, k)))
    modes = np.zeros(len(data.start)) if modes is None else modes
    for run in _chunks(data):
        value, scores, hessian, modes[run] = _marginal_part(
            theta, design, _part(data, run), modes[run], link=link, nodes=nodes
        )
        gradient = (data.count[run][:, None] * scores).sum(axis=0)
        found = (found[0] + value, found[1] + gradient, found[2] + hessian)
    return found


def _cross(a: Floats, b: Floats) -> Floats:
    """Return ``a.T @ b`` without BLAS, whose threads cost tall and narrow matrices more than they give."""
    product: Floats = np.einsum("gi,gj->ij", a, b)
    return product


def _marginal_part(
    theta: Floats, design: Floats, data: Histories, begin: Floats, *, link: Link, nodes: int
) -> tuple[float, Floats, Floats, Floats]:
    """Return value, score of each history, Hessian and modes of one run of histories."""
    sigma, k = math.exp(float(theta[-1])), design.shape[1]
    line = design @ theta[:-1]
    eta, row, cells = line[data.row_cell], data.row_history, data.row_cell
    mode, spread = _modes(eta, sigma, data, link, begin)
    base, weight = np.polynomial.hermite.hermgauss(nodes)
    z = mode + math.sqrt(2) * spread * base[:, None]
    joint = np.empty((nodes, len(data.start)))
    first, second = np.empty((nodes, len(eta))), np.empty((nodes, len(eta)))
    for q in range(nodes):
        log, first[q], second[q] = _log_likelihood_parts(
            eta + sigma * z[q][row], data.trials, data.visits, link
        )
        joint[q] = np.add.reduceat(log, data.start) - z[q] ** 2 / 2 + base[q] ** 2 + math.log(weight[q])
    top = joint.max(axis=0)
    chance = np.exp(joint - top)
    total = chance.sum(axis=0)
    chance /= total
    value = float((data.count * (top + np.log(total) + np.log(spread) - 0.5 * math.log(math.pi))).sum())
    # score of the complete data at each node: covariates, then log sigma
    bounds = np.append(data.start, len(cells))
    mean, hessian = np.zeros((len(data.start), k + 1)), np.zeros((k + 1, k + 1))
    inner, outer, curve = np.zeros(len(eta)), np.zeros(len(eta)), 0.0
    for q in range(nodes):
        score = np.empty((len(data.start), k + 1))
        score[:, :k] = (
            sparse.csr_matrix((first[q], cells, bounds), shape=(len(bounds) - 1, len(design))) @ design
        )
        score[:, k] = sigma * z[q] * np.add.reduceat(first[q], data.start)
        weighted = chance[q][:, None] * score
        mean += weighted
        hessian += _cross(score, data.count[:, None] * weighted)
        # expected second derivative of the complete data
        bent = (data.count * chance[q])[row] * second[q]
        inner += bent
        far = sigma * z[q][row]
        outer += bent * far
        curve += float((bent * far * far).sum() + (data.count * weighted[:, k]).sum())
    hessian -= _cross(mean, data.count[:, None] * mean)
    by_cell = np.bincount(cells, weights=inner, minlength=len(design))
    hessian[:k, :k] += design.T @ (by_cell[:, None] * design)
    cross = design.T @ np.bincount(cells, weights=outer, minlength=len(design))
    hessian[:k, k] += cross
    hessian[k, :k] += cross
    hessian[k, k] += curve
    return value, mean, hessian, mode


@dataclass(frozen=True)
class InterceptFit:
    """A fitted hazard.

    Attributes:
        coefficients: Shape ``(coefficients,)``.
        covariance: Of the coefficients and log sigma; of the coefficients alone where sigma is 0.
        sigma: Standard deviation of the intercept; 0 where the data show none.
        log_likelihood: At the optimum, without the binomial constants.
        clusters: Clusters that the covariance allows for, or None.
        degrees: Degrees of freedom of the t distribution that an interval takes.
    """

    coefficients: Floats
    covariance: Floats
    sigma: float
    log_likelihood: float
    clusters: int | None = None
    degrees: float = math.inf


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
    every = len(data.start) // _SAMPLE
    if every > 1:
        # the maximum of a sample of the histories is close, and cheap to find
        theta = _maximum(theta, design, _sample(data, every), link=link, nodes=min(nodes, 9))[0]
    if theta[-1] < _NO_SPREAD:
        theta[-1] = math.log(0.1)
    theta, value, hessian = _maximum(theta, design, data, link=link, nodes=nodes)
    if theta[-1] < _NO_SPREAD:
        return pooled
    covariance: Floats = np.linalg.inv(-hessian).astype(np.float64)
    return InterceptFit(theta[:-1], covariance, math.exp(float(theta[-1])), value)


def _sample(data: Histories, every: int) -> Histories:
    """Return every so many-th history."""
    lengths = np.diff(np.append(data.start, len(data.row_cell)))
    chosen = np.arange(0, len(data.start), every)
    size = lengths[chosen]
    start = np.cumsum(size) - size
    row = np.repeat(data.start[chosen] - start, size) + np.arange(int(size.sum()))
    return Histories(
        data.row_cell[row],
        data.trials[row],
        data.visits[row],
        start,
        data.count[chosen],
        np.empty(0, dtype=np.int64),
    )


def _maximum(
    theta: Floats, design: Floats, data: Histories, *, link: Link, nodes: int
) -> tuple[Floats, float, Floats]:
    """Climb to the maximum of the marginal likelihood: its place, value and Hessian.

    Stops early where the spread falls below what is told from none.

    Raises:
        ConvergenceError: When Newton's method does not reach a maximum.
    """
    modes = np.zeros(len(data.start))
    value, gradient, hessian = marginal(theta, design, data, link=link, nodes=nodes, modes=modes)
    for _ in range(100):
        # away from the maximum the Hessian may not be negative definite; shift it until it is
        curvature, axes = np.linalg.eigh(-hessian)
        curvature = np.maximum(np.abs(curvature), 1e-8 * np.abs(curvature).max())
        step = axes @ ((axes.T @ gradient) / curvature)
        decrement = float(gradient @ step)
        if decrement < 1e-9 or theta[-1] < _NO_SPREAD:
            return theta, value, hessian
        step *= min(1.0, 1.5 / float(np.abs(step).max()))
        while True:
            trial = marginal(theta + step, design, data, link=link, nodes=nodes, modes=modes)
            # next to the maximum the error of the quadrature is more than a step gains
            if trial[0] >= value - 1e-9 or decrement < 1e-4:
                break
            step /= 2
            if np.abs(step).max() < 1e-12:
                raise ConvergenceError("the visit hazard did not converge: no step raises the likelihood")
        theta, (value, gradient, hessian) = theta + step, trial
    raise ConvergenceError(f"the visit hazard did not converge; the last decrement was {decrement:.3g}")


def allow_for_clusters(
    fit: InterceptFit, design: Floats, data: Histories, cluster: Ints, *, link: Link, nodes: int, arms: int
) -> InterceptFit:
    """Return the fit with a covariance that holds where cards of a cluster are alike (sandwich, CR1).

    Args:
        fit: What :func:`fit_random_intercept` found.
        design: Covariates per cell.
        data: Histories.
        cluster: Cluster code of each card, in ascending order of the cards.
        link: Link of the hazard.
        nodes: Quadrature nodes per card.
        arms: Number of arms, for the degrees of freedom.

    References:
        Liang and Zeger (1986), eq. 8; Cameron and Miller (2015), section II.
    """
    log_sigma = math.log(fit.sigma) if fit.sigma > 0 else math.log(1e-6)
    theta, start = np.append(fit.coefficients, log_sigma), np.zeros(len(data.start))
    scores = np.concatenate(
        [
            _marginal_part(theta, design, _part(data, run), start[run], link=link, nodes=nodes)[1]
            for run in _chunks(data)
        ]
    )[:, : len(fit.covariance)]
    codes = np.unique(cluster, return_inverse=True)[1]
    count = int(codes.max()) + 1
    sums: Floats = np.stack(
        [
            np.bincount(codes, weights=column[data.of_card], minlength=count).astype(float)
            for column in scores.T
        ],
        axis=1,
    )
    covariance: Floats = fit.covariance @ _cross(sums, sums) @ fit.covariance * count / max(count - 1, 1)
    return replace(fit, covariance=covariance, clusters=count, degrees=float(max(count - arms, 1)))
