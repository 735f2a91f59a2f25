"""Discrete-time hazards on arrays: who is at risk in which period, scoring steps, robust errors.

Rows are never expanded to person-periods. With few covariate patterns the counts at risk and
leaving per period and pattern hold everything; otherwise blocks of rows are laid out in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from loyalty_research.errors import ConvergenceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from loyalty_research.churn.data import ChurnData

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Found", "Link", "Periods", "Table", "hazard", "maximise", "periods_of", "robust", "table_of"]

Link = Literal["cloglog", "logit"]
_CELLS = 1 << 20
_MOST_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Periods:
    """The periods in which each interval counts.

    Attributes:
        first: First period at risk, shape ``(n,)``.
        end: One after the last; ``first`` where an interval counts in none.
        died: Period in which the customer left, -1 for none.
        lost: Customers who came under watch within a period and left before it ended.
    """

    first: Ints
    end: Ints
    died: Ints
    lost: int


def periods_of(data: ChurnData, width: float) -> Periods:
    """Lay intervals on periods ``(k width, (k + 1) width]``.

    An interval speaks for the periods that begin while it lasts, with the covariates in force on
    that day. A period counts when the customer was watched to its end, or left in it.
    """
    order = np.lexsort((data.start, data.customer))
    who, start, stop = data.customer[order], data.start[order], data.stop[order]
    joined = np.concatenate([[False], (who[1:] == who[:-1]) & (start[1:] == stop[:-1])])
    chain = np.cumsum(~joined) - 1
    final = np.flatnonzero(np.append(~joined[1:], True))
    close, left = stop[final][chain], data.event[order][final][chain]
    leaving = np.ceil(close / width).astype(np.int64) - 1
    limit = np.where(left, leaving + 1, np.floor(close / width).astype(np.int64))
    first = np.ceil(start / width).astype(np.int64)
    end = np.maximum(np.minimum(np.ceil(stop / width).astype(np.int64), limit), first)
    died = np.where(left & (first <= leaving) & (leaving < end), leaving, -1)
    out = np.empty((3, len(order)), dtype=np.int64)
    out[:, order] = first, end, died
    return Periods(out[0], out[1], out[2], int(data.event.sum() - (died >= 0).sum()))


@dataclass(frozen=True, slots=True)
class Table:
    """Counts by period and column of ``z`` (a pattern or a row).

    Attributes:
        z: Covariates of each pattern or row, shape ``(c, p)``.
        base: Columns of the baseline per period, shape ``(K, q)``; None for one column a period.
        periods: The periods of the K, ascending.
        of: Place among the K of each period from 0 on, -1 for those left out.
        rows: Where each row counts.
        weights: Case weights or None.
        at_risk: ``(K, c)`` when ``z`` holds patterns, else None.
        died: Likewise.
    """

    z: Floats
    base: Floats | None
    periods: Ints
    of: Ints
    rows: Periods
    weights: Floats | None
    at_risk: Floats | None
    died: Floats | None

    @property
    def q(self) -> int:
        """Columns of the baseline."""
        return len(self.periods) if self.base is None else self.base.shape[1]

    def blocks(self) -> Iterator[tuple[Floats, Floats, Floats]]:
        """Yield covariates, numbers at risk and numbers leaving, some columns at a time."""
        size = max(1, _CELLS // max(len(self.periods), 1))
        for at in range(0, len(self.z), size):
            part = slice(at, at + size)
            if self.at_risk is not None and self.died is not None:
                yield self.z[part], self.at_risk[:, part], self.died[:, part]
            else:
                yield self.z[part], *self._laid_out(part)

    def _laid_out(self, part: slice) -> tuple[Floats, Floats]:
        mass = np.ones(1) if self.weights is None else self.weights[part]
        k = self.periods[:, None]
        there = (k >= self.rows.first[part]) & (k < self.rows.end[part])
        return there * mass, (k == self.rows.died[part]) * mass

    def linear(self, beta: Floats, z: Floats) -> Floats:
        """Return the linear predictor, periods by columns."""
        head = beta[: self.q]
        level = head if self.base is None else self.base @ head
        kept: Floats = level[:, None] + (z @ beta[self.q :])[None, :]
        return kept


def table_of(
    data: ChurnData,
    rows: Periods,
    z: Floats,
    pattern: Ints | None,
    *,
    kept: Ints,
    base: Floats | None,
) -> Table:
    """Count those at risk and leaving.

    Args:
        data: The follow-up.
        rows: Where each row counts.
        z: Covariates of each pattern, or of each row.
        pattern: Pattern of each row, or None.
        kept: Periods to use, ascending.
        base: Baseline columns of those periods, or None for one each.
    """
    of = np.full(int(rows.end.max()) + 1, -1, dtype=np.int64)
    of[kept] = np.arange(len(kept))
    if pattern is None or len(z) * len(of) > _MOST_CELLS:
        full = z if pattern is None else z[pattern]
        return Table(full, base, kept, of, rows, data.weights, None, None)
    at_risk, died = counts(rows, pattern, len(z), data.weights)
    return Table(z, base, kept, of, rows, data.weights, at_risk[kept], died[kept])


def counts(rows: Periods, pattern: Ints, width: int, weights: Floats | None) -> tuple[Floats, Floats]:
    """Return the numbers at risk and leaving, shape ``(periods, width)``."""
    top = int(rows.end.max()) + 1

    def tally(period: Ints, chosen: Any) -> Floats:
        mass = None if weights is None else weights[chosen]
        found = np.bincount(period * width + pattern[chosen], mass, minlength=top * width)
        return found.astype(np.float64).reshape(top, width)

    everyone = slice(None)
    change = tally(rows.first, everyone) - tally(rows.end, everyone)
    gone = np.flatnonzero(rows.died >= 0)
    return np.cumsum(change, axis=0)[:-1], tally(rows.died[gone], gone)[:-1]


def hazard(link: Link, eta: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the hazard, log(1 - hazard), and the derivative of the latter in ``eta``."""
    if link == "cloglog":
        rate = np.exp(np.minimum(eta, 700.0))
        return -np.expm1(-rate), -rate, -rate
    from scipy.special import expit

    chance = expit(eta)
    return chance, -np.logaddexp(0.0, eta), -chance


def _pieces(link: Link, eta: Floats, n: Floats, d: Floats) -> tuple[float, Floats, Floats]:
    """Return log likelihood, score in eta and expected information in eta."""
    chance, stay, tilt = hazard(link, eta)
    chance = np.maximum(chance, 1e-300)
    if link == "cloglog":
        value = float((d * np.log(chance)).sum() + ((n - d) * stay).sum())
        return value, (d - n * chance) * -tilt / chance, n * tilt**2 * np.exp(stay) / chance
    value = float((d * eta).sum() + (n * stay).sum())
    return value, d - n * chance, n * chance * (1 - chance)


def _observed(link: Link, eta: Floats, n: Floats, d: Floats) -> Floats:
    """Return the observed information in eta; the logit's is the expected one."""
    if link == "logit":
        return _pieces(link, eta, n, d)[2]
    rate = np.exp(np.minimum(eta, 700.0))
    # rate / (exp(rate) - 1), and minus its derivative in eta
    ratio = rate / np.maximum(np.expm1(np.minimum(rate, 700.0)), 1e-300)
    bend: Floats = ratio * (ratio + rate - 1.0)
    return (n - d) * rate + d * bend


def _sums(link: Link, table: Table, beta: Floats, *, observed: bool = False) -> tuple[float, Floats, Floats]:
    """Return log likelihood, gradient and expected (or observed) information."""
    q, p = table.q, table.z.shape[1]
    value, gradient, bend = 0.0, np.zeros(q + p), np.zeros((q + p, q + p))
    level, weight, cross = (
        np.zeros(len(table.periods)),
        np.zeros(len(table.periods)),
        np.zeros((len(table.periods), p)),
    )
    for z, n, d in table.blocks():
        eta = table.linear(beta, z)
        own, score, mass = _pieces(link, eta, n, d)
        mass = _observed(link, eta, n, d) if observed else mass
        value += own
        level += score.sum(1)
        weight += mass.sum(1)
        cross += mass @ z
        gradient[q:] += score.sum(0) @ z
        bend[q:, q:] += (z * mass.sum(0)[:, None]).T @ z
    if table.base is None:
        gradient[:q], bend[:q, :q], bend[:q, q:] = level, np.diag(weight), cross
    else:
        gradient[:q] = level @ table.base
        bend[:q, :q] = (table.base * weight[:, None]).T @ table.base
        bend[:q, q:] = table.base.T @ cross
    bend[q:, :q] = bend[:q, q:].T
    return value, gradient, bend


@dataclass(frozen=True, slots=True)
class Found:
    """The optimum: baseline coefficients first, then those of standardised columns."""

    beta: Floats
    value: float
    information: Floats
    running: NDArray[np.bool_]
    iterations: int


def maximise(link: Link, table: Table, start: Floats, *, most: int = 200) -> Found:
    """Maximise the binomial likelihood by scoring steps.

    Raises:
        ConvergenceError: When the optimum is not reached.
    """
    beta = start.copy()
    reach = np.ones(len(beta))
    reach[table.q :] = np.ptp(table.z, axis=0)
    value, gradient, bend = _sums(link, table, beta)
    for iteration in range(most):
        step = _step(bend, gradient)
        decrement = float(gradient @ step)
        settled = decrement <= 1e-18 * (1.0 + abs(value))
        flat = decrement <= 1e-9
        size = min(1.0, 8.0 / max(float(np.abs(step).max()), 1e-300))
        while True:
            ahead = _sums(link, table, beta + size * step)
            if np.isfinite(ahead[0]) and ahead[0] >= value - 1e-10 * (1.0 + abs(value)):
                break
            size /= 2
            if size < 1e-10:
                raise ConvergenceError(
                    f"the discrete-time model stopped short of its optimum after {iteration} steps "
                    f"(decrement {decrement:.2g}); check covariates for extreme values"
                )
        beta = beta + size * step
        value, gradient, bend = ahead
        running = np.abs(step) * reach > 0.05
        if settled or (flat and running.any()):
            return Found(beta, value, bend, running, iteration + 1)
    raise ConvergenceError(f"the discrete-time model did not converge in {most} steps")


def _step(bend: Floats, gradient: Floats) -> Floats:
    scale = np.sqrt(np.maximum(np.diag(bend), 1e-300))
    scaled = bend / np.outer(scale, scale)
    try:
        found: Floats = np.linalg.solve(scaled, gradient / scale) / scale
    except np.linalg.LinAlgError:
        found = np.linalg.solve(scaled + 1e-8 * np.eye(len(scale)), gradient / scale) / scale
    return found


def robust(link: Link, table: Table, found: Found, z: Floats, pattern: Ints | None, codes: Ints) -> Floats:
    """Return the covariance that allows for clusters.

    Args:
        link: Link.
        table: Counts.
        found: The optimum.
        z: Covariates of each pattern, or of each row.
        pattern: Pattern of each row, or None.
        codes: Cluster of each row, shape ``(n,)``.

    References:
        Lin, Wei (1989), JASA 84; no small-sample factor (statsmodels' ``use_correction=False``).
    """
    size = len(found.beta)
    order = np.argsort(codes, kind="stable")
    edges = np.flatnonzero(np.diff(codes[order], prepend=-1))
    meat = np.zeros((size, size))
    most = max(1, _CELLS // max(len(table.periods), 1))
    k = table.periods[:, None]
    at = 0
    while at < len(edges):
        # whole clusters, as many as fit
        upto = int(np.searchsorted(edges, edges[at] + most, side="right")) - 1
        upto = max(upto, at + 1) if edges[at] + most < len(order) else len(edges)
        stop = len(order) if upto == len(edges) else int(edges[upto])
        rows = order[int(edges[at]) : stop]
        own = z[rows if pattern is None else pattern[rows]]
        chance, _, tilt = hazard(link, table.linear(found.beta, own))
        chance = np.maximum(chance, 1e-300)
        there = (k >= table.rows.first[rows]) & (k < table.rows.end[rows])
        died = k == table.rows.died[rows]
        gone = -tilt * (1 - chance) / chance if link == "cloglog" else 1 - chance
        score = np.where(died, gone, np.where(there, tilt, 0.0))
        if table.weights is not None:
            score = score * table.weights[rows]
        head = score.T if table.base is None else score.T @ table.base
        full = np.concatenate([head, own * score.sum(0)[:, None]], axis=1)
        summed = np.add.reduceat(full, edges[at:upto] - edges[at], axis=0)
        meat += summed.T @ summed
        at = upto
    bread = np.linalg.inv(_sums(link, table, found.beta, observed=True)[2])
    kept: Floats = bread @ meat @ bread
    return kept
