"""Negative binomial counts in groups: the common dispersion by maximum likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, special

from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["NegativeBinomialFit", "fit_negative_binomial"]

_LEAST, _MOST = -14.0, 7.0


@dataclass(frozen=True, slots=True)
class NegativeBinomialFit:
    """Groups of counts with variance ``mean + dispersion * mean**2``.

    Attributes:
        mean: Mean per group, shape ``(groups,)``.
        n: Observations per group.
        dispersion: Common dispersion; 0 where counts vary no more than Poisson counts do.
        dispersion_error: Its standard error; NaN at 0.
        log_likelihood: At the maximum.
        poisson_log_likelihood: With dispersion 0.
    """

    mean: Floats
    n: NDArray[np.int64]
    dispersion: float
    dispersion_error: float
    log_likelihood: float
    poisson_log_likelihood: float

    @property
    def variance(self) -> Floats:
        """Variance of each group's mean, as the model has it."""
        spread: Floats = (self.mean + self.dispersion * self.mean**2) / self.n
        return spread


def _log_likelihood(alpha: float, y: Floats, mean: Floats, weight: Floats) -> float:
    """Return the log-likelihood of counts ``y`` with their means; ``alpha`` above 0."""
    size = 1 / alpha
    each = (
        special.gammaln(y + size)
        - special.gammaln(size)
        - special.gammaln(y + 1)
        - size * np.log1p(alpha * mean)
        + special.xlogy(y, alpha * mean / (1 + alpha * mean))
    )
    return float((weight * each).sum())


def fit_negative_binomial(counts: ArrayLike, group: ArrayLike) -> NegativeBinomialFit:
    """Fit negative binomial counts with a mean per group and one dispersion (NB2).

    With a mean of its own for each group the maximum likelihood estimate of the mean is the group's
    average, whatever the dispersion, and the two are independent in the information matrix; so
    only the dispersion is searched for.

    Args:
        counts: Whole numbers of 0 or more, shape ``(n,)``.
        group: Group of each, codes from 0, shape ``(n,)``.

    Raises:
        ArgumentError: When a count is negative or not whole, or there are none.

    Examples:
        >>> fit = fit_negative_binomial([0, 1, 9, 2, 4, 14], [0, 0, 0, 1, 1, 1])
        >>> round(fit.dispersion, 3)
        0.914

    References:
        Lawless (1987), Negative binomial and mixed Poisson regression, eq. 2.2 and 2.9.
    """
    y, code = np.asarray(counts, dtype=float), np.asarray(group, dtype=np.int64)
    if not len(y) or not (np.isfinite(y) & (y >= 0) & (y == np.floor(y))).all():
        raise ArgumentError("counts must be whole numbers of 0 or more, at least one of them")
    n = np.bincount(code)
    mean: Floats = np.bincount(code, weights=y) / n
    # equal counts of a group are one term
    pairs, weight = np.unique(np.column_stack([code, y.astype(np.int64)]), axis=0, return_counts=True)
    y, mu, w = pairs[:, 1].astype(float), mean[pairs[:, 0]], weight.astype(float)
    poisson = float((w * (special.xlogy(y, mu) - mu - special.gammaln(y + 1))).sum())
    # the slope of the likelihood in the dispersion, at 0
    if float((w * ((y - mu) ** 2 - y)).sum()) <= 0:
        return NegativeBinomialFit(mean, n, 0.0, math.nan, poisson, poisson)
    found = optimize.minimize_scalar(
        lambda t: -_log_likelihood(math.exp(t), y, mu, w),
        bounds=(_LEAST, _MOST),
        method="bounded",
        options={"xatol": 1e-10},
    )
    alpha, value = math.exp(float(found.x)), -float(found.fun)
    step = 1e-4
    sides = [_log_likelihood(alpha * math.exp(s), y, mu, w) for s in (-step, step)]
    # on the log scale, where the likelihood is nearer to a parabola
    bend = (2 * value - sides[0] - sides[1]) / step**2
    error = alpha / math.sqrt(bend) if bend > 0 else math.nan
    return NegativeBinomialFit(mean, n, alpha, error, value, poisson)
