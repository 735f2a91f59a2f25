"""The chain ladder with Mack's standard error: arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.errors import DesignError
from loyalty_research.programme._tail import tail_step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.programme._tail import Tail

    Floats = NDArray[np.float64]

__all__ = ["ChainLadder", "chain_ladder", "lognormal_limits"]


@dataclass(frozen=True, slots=True)
class ChainLadder:
    """A completed triangle.

    Attributes:
        factors: Development factors, one per step between columns, and the tail's last where there is one.
        variances: Mack's sigma squared, one per step.
        completed: The triangle with its projections; a column more with a tail.
        outstanding: Last column less what each row has reached.
        standard_errors: Mack's standard error of each row's ``outstanding``.
        total: Sum of ``outstanding``.
        total_standard_error: Its standard error; rows share factors, so theirs do not just add.
    """

    factors: Floats
    variances: Floats
    completed: Floats
    outstanding: Floats
    standard_errors: Floats
    total: float
    total_standard_error: float


def _step(triangle: Floats, column: int) -> tuple[float, float, int, float]:
    """Return factor, sigma squared (NaN from one ratio), ratios and volume of one step."""
    rows = np.isfinite(triangle[:, column + 1])
    before, after = triangle[rows, column], triangle[rows, column + 1]
    volume = float(before.sum())
    started = int(((before == 0) & (after > 0)).sum())
    if volume <= 0 or started:
        raise DesignError(
            f"the chain ladder needs redemptions by age {column} in every cohort that has some by age "
            f"{column + 1}, and {max(started, 1)} have none; count in longer periods, such as period='Q'"
        )
    factor = float(after.sum()) / volume
    own = np.divide(after, before, out=np.full(len(before), factor), where=before > 0)
    count = len(before)
    spread = float(np.sum(before * (own - factor) ** 2)) / (count - 1) if count > 1 else np.nan
    return factor, spread, count, volume


def chain_ladder(triangle: Any, *, tail: Tail | None = None) -> ChainLadder:
    """Complete a cumulative triangle.

    Args:
        triangle: Cohorts by ages, cumulative; NaN where not yet seen, so each row is a run of
            figures and then NaN.
        tail: How to go on after the last age; nothing is expected there when None.

    Raises:
        DesignError: When the triangle is no such thing, is too short for an error, or a cohort has
            nothing to develop from.

    Examples:
        >>> fit = chain_ladder([[10, 20, 22, 23], [12, 25, 27, np.nan], [9, 17, np.nan, np.nan],
        ...     [11, np.nan, np.nan, np.nan]])
        >>> fit.outstanding.round(2).tolist()
        [0.0, 1.23, 2.35, 14.04]

    References:
        Mack (1993), ASTIN Bulletin 23, 213-225: theorem 3 and its corollary, pages 219-220; with a
        tail, Mack (1999), ASTIN Bulletin 29, 361-366.
    """
    table = np.array(triangle, dtype=float)
    if table.ndim != 2 or min(table.shape) < 2:
        raise DesignError("a triangle needs at least two cohorts and two ages")
    seen = np.isfinite(table)
    if not seen[:, 0].all() or (seen[:, 1:] & ~seen[:, :-1]).any():
        raise DesignError("each row of a triangle is a run of figures from age 0, then nothing")
    if not seen[:, -1].any():
        raise DesignError("no cohort has reached the triangle's last age; leave that column out")
    if (table < 0).any() or (np.diff(table, axis=1) < 0).any():
        raise DesignError("a cumulative triangle never falls; give sums to date, not additions")
    ages = table.shape[1]
    steps = [_step(table, k) for k in range(ages - 1)]
    factors = np.array([s[0] for s in steps])
    volumes = np.array([s[3] for s in steps])
    variances = np.array([s[1] for s in steps])
    for k in np.flatnonzero(np.isnan(variances)).tolist():
        if k < 2:
            raise DesignError(
                "the triangle is too short for an error; it needs at least 4 ages or more cohorts"
            )
        before, last = variances[k - 2], variances[k - 1]
        variances[k] = min(last**2 / before if before > 0 else 0.0, before, last)
    reached = seen.sum(axis=1) - 1
    latest = table[np.arange(len(table)), reached]
    idle = int(((latest == 0) & (reached < ages - 1)).sum())
    if idle:
        raise DesignError(
            f"{idle} cohorts have no redemption yet, so the chain ladder has nothing to multiply; count in "
            "longer periods, such as period='Q'"
        )
    errors_of_factors = np.sqrt(variances / volumes)
    if tail is not None:
        factor, variance, error = tail_step(factors, np.sqrt(variances), errors_of_factors, tail)
        factors, variances = np.append(factors, factor), np.append(variances, variance)
        errors_of_factors = np.append(errors_of_factors, error)
    completed = _completed(table, seen, factors)
    errors, total_error = _errors(
        completed, reached, variances / factors**2, (errors_of_factors / factors) ** 2
    )
    outstanding = completed[:, -1] - latest
    return ChainLadder(
        factors, variances, completed, outstanding, errors, float(outstanding.sum()), total_error
    )


def _completed(table: Floats, seen: Any, factors: Floats) -> Floats:
    out = np.full((len(table), len(factors) + 1), np.nan)
    out[:, : table.shape[1]] = table
    for k, factor in enumerate(factors):
        ahead = ~seen[:, k + 1] if k + 1 < table.shape[1] else np.ones(len(table), dtype=bool)
        out[ahead, k + 1] = out[ahead, k] * factor
    return out


def _errors(completed: Floats, reached: Any, process: Floats, parameter: Floats) -> tuple[Floats, float]:
    """Return the standard errors of rows and of their total.

    ``process`` is sigma squared, ``parameter`` the squared error of the factor, both over the squared
    factor, one per step.
    """
    steps = np.arange(len(process))
    ahead = steps[None, :] >= reached[:, None]
    ultimate = completed[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(ahead, process / completed[:, :-1] + parameter, 0.0)
        squares = np.where(ultimate > 0, ultimate**2 * own.sum(axis=1), 0.0)
    # two rows share the error of every factor that both still need
    shared = (ahead[:, None, :] & ahead[None, :, :]) @ parameter
    cross = np.outer(ultimate, ultimate) * shared
    np.fill_diagonal(cross, 0.0)
    return np.sqrt(squares), float(np.sqrt(squares.sum() + cross.sum()))


def lognormal_limits(value: float, error: float, z: float) -> tuple[float, float]:
    """Return limits of a lognormal figure with this mean and standard error.

    Examples:
        >>> [round(x) for x in lognormal_limits(100.0, 20.0, 1.96)]
        [67, 145]

    References:
        Mack (1993), page 220.
    """
    if not value > 0:
        return value, value
    spread = float(np.sqrt(np.log1p((error / value) ** 2)))
    middle = float(np.log(value) - spread**2 / 2)
    return float(np.exp(middle - z * spread)), float(np.exp(middle + z * spread))
