"""Several correlated estimates at once: bands that cover all of them, and whether all are zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["joint_test", "simultaneous_quantile"]


def joint_test(effects: Array, covariance: Array) -> tuple[float, int, float]:
    """Test whether all effects are zero.

    Args:
        effects: Shape (m,).
        covariance: Of the effects, shape (m, m); may be singular.

    Returns:
        Wald statistic, degrees of freedom and p-value; 1 where nothing varies.

    Examples:
        >>> statistic, freedom, p = joint_test(np.array([1.0, -2.0]), np.eye(2))
        >>> statistic, freedom, round(p, 4)
        (5.0, 2, 0.0821)
    """
    rank = int(np.linalg.matrix_rank(covariance, hermitian=True))
    statistic = float(effects @ np.linalg.pinv(covariance, hermitian=True) @ effects)
    return statistic, rank, float(stats.chi2.sf(statistic, rank)) if rank else 1.0


def simultaneous_quantile(covariance: Array, *, level: float, seed: int, draws: int = 20_000) -> float:
    """Return the quantile that covers all averages at once: of the largest absolute normal.

    Args:
        covariance: Of the averages, shape (m, m).
        level: Coverage of all together.
        seed: Of the draws.
        draws: Correlated normals drawn.

    References:
        Montiel Olea and Plagborg-Moller (2019), Journal of Applied Econometrics 34, 1-17 (sup-t
        bands); Callaway and Sant'Anna (2021), section 4.1.
    """
    error = np.sqrt(np.diag(covariance))
    used = error > 0
    if not used.any():
        return float(stats.norm.isf((1 - level) / 2))
    correlation = covariance[np.ix_(used, used)] / np.outer(error[used], error[used])
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    drawn = np.random.default_rng(seed).standard_normal((draws, int(used.sum())))
    return float(np.quantile(np.abs(drawn @ root.T).max(axis=1), level))
