"""Matching: compare each unit with those of the other group that are most like it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
from scipy import stats

from loyalty_research.comparison.balance import balance_of
from loyalty_research.comparison.weighting import checked_inputs
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row
from loyalty_research.i18n import message, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.comparison.balance import BalanceResult

    Array = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["Matched", "MatchingResult", "match", "matching"]

METHOD: Final = "matching, bias-adjusted, Abadie-Imbens"
_NEIGHBOURS: Final = 2
_TIE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Matched:
    """Difference between units and their matches.

    Attributes:
        value: Average difference, treated minus control.
        error: Its standard error.
        treated: Average outcome of those compared if treated.
        control: The same if not.
        weights: How much each unit counts in its group's average, adding to one in each, shape (n,).
        alone: Units left out because nobody lies within the caliper.
    """

    value: float
    error: float
    treated: float
    control: float
    weights: Array
    alone: int

    def estimate(self, *, level: float, n: int, unit: str | None = None) -> Estimate:
        """Return the difference with its normal interval.

        Args:
            level: Coverage aimed at.
            n: Units to state.
            unit: Unit of the outcome.
        """
        half = float(stats.norm.isf((1 - level) / 2)) * self.error
        p_value = float(2 * stats.norm.sf(abs(self.value) / self.error)) if self.error > 0 else None
        return Estimate(self.value, self.value - half, self.value + half, level, METHOD, n, unit, p_value)


class _Pool:
    """One group's units by pattern of covariates, so that ties are matched together."""

    def __init__(self, x: Array, rows: Integers) -> None:
        from scipy.spatial import cKDTree

        self.rows = rows
        patterns, self.code, self.count = np.unique(x[rows], axis=0, return_inverse=True, return_counts=True)
        self.code = self.code.ravel()
        self.patterns = patterns
        self.tree = cKDTree(patterns)

    def nearest(self, points: Array, wanted: int) -> tuple[Array, Integers, Integers]:
        """Return the distance to the nearest pattern, and pairs of point and pattern to use.

        Patterns are used from the nearest on until they hold ``wanted`` units, with all that tie.
        """
        closest = np.empty(len(points))
        first: list[Integers] = []
        second: list[Integers] = []
        left = np.arange(len(points))
        k = wanted + 2
        while len(left):
            k = min(k, len(self.count))
            found = self.tree.query(points[left], k=np.arange(1, k + 1))
            distance, index = np.asarray(found[0], dtype=float), np.asarray(found[1], dtype=np.int64)
            held = np.cumsum(self.count[index], axis=1)
            enough = np.minimum((held < wanted).sum(axis=1), k - 1)
            reach = distance[np.arange(len(left)), enough] * (1 + _TIE) + _TIE
            done = (distance[:, -1] > reach) | (k == len(self.count))
            used = (distance <= reach[:, None]) & done[:, None]
            at, column = np.nonzero(used)
            first.append(left[at])
            second.append(index[at, column])
            closest[left[done]] = distance[done, 0]
            left, k = left[~done], 2 * k
        point, pattern = np.concatenate(first), np.concatenate(second)
        order = np.argsort(point, kind="stable")
        return closest, point[order], pattern[order]


def _linear(x: Array, y: Array, weights: Array) -> Array:
    root = np.sqrt(weights)
    design = np.column_stack([np.ones(len(x)), x])
    solved: Array = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
    return solved


def _spread(pool: _Pool, x: Array, y: Array) -> Array:
    """Return each unit's outcome variance from the units of its own group most like it."""
    values = y[pool.rows]
    sums = np.bincount(pool.code, values)
    _, point, pattern = pool.nearest(x[pool.rows], min(_NEIGHBOURS + 1, len(values)))
    held = np.bincount(point, pool.count[pattern]) - 1
    others = np.bincount(point, sums[pattern]) - values
    mean = others / np.maximum(held, 1)
    out: Array = held / (held + 1) * (values - mean) ** 2
    return out


def match(
    x: Array, treated: Array, y: Array, *, estimand: str, matches: int = 1, caliper: float | None = None
) -> Matched:
    """Match with replacement on scaled covariates and adjust what differences remain.

    Args:
        x: Covariates in units of distance, shape (n, p).
        treated: 0 or 1, shape (n,).
        y: Outcome, shape (n,).
        estimand: ``"ATT"`` or ``"ATE"``.
        matches: Units each is compared with; all of a tie count.
        caliper: Largest distance to the nearest match, in units of x.

    Raises:
        DesignError: When nobody has a match within the caliper.
    """
    n = len(y)
    groups = {g: np.flatnonzero(treated == g).astype(np.int64) for g in (1, 0)}
    pools = {g: _Pool(x, rows) for g, rows in groups.items()}
    sides = (1, 0) if estimand == "ATE" else (1,)
    kept = np.zeros(n, dtype=bool)
    own, imputed = y.copy(), np.zeros(n)
    times, squares = np.zeros(n), np.zeros(n)
    plans = {}
    for g in sides:
        pool, rows = pools[1 - g], groups[g]
        distance, point, pattern = pool.nearest(x[rows], matches)
        near = np.ones(len(rows), dtype=bool) if caliper is None else distance <= caliper
        kept[rows[near]] = True
        inside = near[point]
        point, pattern = point[inside], pattern[inside]
        size = np.bincount(point, pool.count[pattern], minlength=len(rows))
        plans[g] = (rows, near, point, pattern, size)
        # how often each pattern is used, and with which share
        share = 1 / size[point]
        times[pool.rows] = np.bincount(pattern, share, minlength=len(pool.count))[pool.code]
        squares[pool.rows] = np.bincount(pattern, share**2, minlength=len(pool.count))[pool.code]
    if not kept.any():
        raise DesignError(
            f"nobody has a match within caliper={caliper:g}: the groups do not overlap, or the caliper is too tight"
        )
    for g, (rows, near, point, pattern, size) in plans.items():
        pool = pools[1 - g]
        beta = _linear(x[pool.rows], y[pool.rows], times[pool.rows])
        sums = np.bincount(pool.code, y[pool.rows] - x[pool.rows] @ beta[1:])
        mean = np.bincount(point, sums[pattern], minlength=len(rows))[near] / size[near]
        imputed[rows[near]] = mean + x[rows[near]] @ beta[1:]
    sign = np.where(treated == 1, 1.0, -1.0)
    effect = sign * (own - imputed)
    count = int(kept.sum())
    value = float(effect[kept].mean())
    variance = np.zeros(n)
    for g, pool in pools.items():
        del g
        variance[pool.rows] = _spread(pool, x, y)
    lever = times**2 - squares + (2 * times if estimand == "ATE" else 0.0)
    error = math.sqrt(float(np.sum((effect[kept] - value) ** 2)) + float(lever @ variance)) / count
    as_treated = np.where(treated == 1, own, imputed)[kept].mean()
    weights = kept.astype(float) + times
    for rows in groups.values():
        weights[rows] /= weights[rows].sum()
    wanted = n if estimand == "ATE" else len(groups[1])
    return Matched(value, error, float(as_treated), float(as_treated) - value, weights, wanted - count)


@dataclass(frozen=True, repr=False)
class MatchingResult(Result):
    """A difference between units and those most like them in the other group.

    Attributes:
        outcome: Column compared.
        estimand: ``"ATT"`` or ``"ATE"``.
        estimate: The difference, treated minus control.
        standard_error: By Abadie and Imbens.
        mean_treated: Mean outcome of those compared if treated.
        mean_control: The same if not.
        weights: How much each row counts in its group's average; 0 for rows never used.
        alone: Units left out because nobody lies within the caliper.
        balance: Covariates before and after matching.
    """

    title: ClassVar[str] = "Comparison of matched units"

    outcome: str
    estimand: str
    estimate: Estimate
    standard_error: float
    mean_treated: float
    mean_control: float
    weights: Array
    alone: int
    balance: BalanceResult

    def _rows(self) -> Iterator[Row]:
        yield Row(self.outcome, self.estimate, estimand=self.estimand, extra={"alone": self.alone})

    def _verdict(self) -> str:
        return message(
            "Among units matched on what was measured, the data are consistent with a difference in {outcome} of "
            "{difference} ({interval}).",
            outcome=self.outcome,
            difference=self.estimate.format(signed=True),
            interval=self.estimate.interval(signed=True),
        )


def matching(
    df: pd.DataFrame,
    *,
    outcome: str,
    treatment: str,
    covariates: Sequence[str],
    control: object = 0,
    estimand: Literal["ATT", "ATE"] = "ATT",
    matches: int = 1,
    caliper: float | None = None,
    level: float = 0.95,
) -> MatchingResult:
    """Compare units with those of the other group that are nearest in their covariates.

    Units may serve as a match more than once, all units of a tie count alike, and what difference
    in covariates remains within matches is taken out by a regression among the matches. Distance is
    Euclidean on covariates divided by their standard deviations. The bootstrap is not valid here,
    so the interval is that of Abadie and Imbens.

    Args:
        df: One row per unit, no missing values in the columns used.
        outcome: Numeric column.
        treatment: Column with two groups.
        covariates: Columns measured before, numbers or categories.
        control: Label of the control group.
        estimand: ``"ATT"`` for the treated or ``"ATE"`` for everybody.
        matches: Units each is compared with.
        caliper: Largest distance to a match in standard deviations; nobody is left out when None.
        level: Coverage the interval aims at.

    Returns:
        The difference with balance before and after, and how many found no match.

    Raises:
        ArgumentError: When an option is out of range.
        ContractError: When columns are absent or hold what they cannot.
        DesignError: When nobody has a match within the caliper.

    References:
        Abadie and Imbens (2006), Econometrica 74, 235-267, theorem 6 and section 4; Abadie and
        Imbens (2011), Journal of Business and Economic Statistics 29, 1-11 (bias adjustment).

    Examples:
        >>> import pandas as pd
        >>> df = pd.DataFrame({"t": [0, 1] * 20, "x": [i // 2 for i in range(40)]})
        >>> df["y"] = 2.0 * df["x"] + 5 * df["t"]
        >>> round(matching(df, outcome="y", treatment="t", covariates=["x"]).estimate.value, 6)
        5.0
    """
    if estimand not in ("ATT", "ATE"):
        raise ArgumentError(f"matching estimates ATT or ATE; got {estimand!r}")
    if not (isinstance(matches, int) and matches >= 1):
        raise ArgumentError(f"matches must be a whole number of at least 1; got {matches!r}")
    if caliper is not None and not caliper > 0:
        raise ArgumentError(f"caliper must be positive; got {caliper!r}")
    given = checked_inputs(df, outcome, treatment, covariates, control, None, level)
    found = match(
        given.design.matrix[:, 1:],
        given.treated,
        given.outcome,
        estimand=estimand,
        matches=matches,
        caliper=caliper,
    )
    estimate = found.estimate(level=level, n=int(np.count_nonzero(found.weights)))
    spread = balance_of(given.design, given.treated, found.weights)
    return MatchingResult(
        outcome=outcome,
        estimand=estimand,
        estimate=estimate,
        standard_error=found.error,
        mean_treated=found.treated,
        mean_control=found.control,
        weights=found.weights,
        alone=found.alone,
        balance=spread,
        checks=(*spread.checks, _alone_check(found.alone, len(df))),
    )


def _alone_check(alone: int, n: int) -> Check:
    return Check(
        message("everybody has a match"),
        "passed" if not alone else "warning",
        message("{share} of units have none within the caliper", share=percent(alone / n)),
    )
