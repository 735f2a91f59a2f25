"""A/A certificate: how often would this analysis find a difference where there is none?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import narwhals as nw
import numpy as np
from scipy import stats

from loyalty_research.comparison._arms import stratum_weights
from loyalty_research.comparison.metrics import Proportion, Quantile, Ratio
from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Result, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.proportions import proportion
from loyalty_research.summaries import arm_moments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from loyalty_research.comparison.design import Comparison
    from loyalty_research.comparison.metrics import Metric
    from loyalty_research.estimates import Estimate
    from loyalty_research.summaries import ArmMoments, MetricMoments

    Array = NDArray[np.float64]

__all__ = ["Certificate", "a_a_certificate"]

FALSE_POSITIVES = "false-positive rate"
_BUCKET = "_bucket"
_AT_ONCE = 100
_LEAST_BUCKETS = 100


@dataclass(frozen=True, repr=False)
class Certificate(Result):
    """How often an analysis finds a difference between groups drawn by lot from everybody.

    Attributes:
        rates: Metric to the share of splits with a difference.
        alpha: What the share should be.
        splits: How often everybody was drawn again.
        buckets: Groups of units that were drawn as a whole.
        n: Units.
    """

    title: ClassVar[str] = "A/A certificate"

    rates: dict[str, Estimate]
    alpha: float
    splits: int
    buckets: int
    n: int

    def _rows(self) -> Iterator[Row]:
        for metric, rate in self.rates.items():
            yield Row(metric, rate, estimand=FALSE_POSITIVES, extra={"expected": self.alpha})

    def _verdict(self) -> str:
        said = ", ".join(f"{metric} {rate.format()}" for metric, rate in self.rates.items())
        off = [metric for metric, rate in self.rates.items() if not rate.low <= self.alpha <= rate.high]
        words = {"splits": f"{self.splits:,}", "alpha": percent(self.alpha), "rates": said}
        if off:
            return message(
                "Drawn again {splits} times, these data give a difference where there is none in {rates} of the splits; "
                "{alpha} was promised, so intervals of {metrics} are not what they say.",
                metrics=", ".join(off),
                **words,
            )
        return message(
            "Drawn again {splits} times, these data give a difference where there is none in {rates} of the splits, as "
            "the promised {alpha} allows.",
            **words,
        )


def _hashed(table: Any, key: str, buckets: int) -> Any:
    """Add the bucket of each unit: a hash of its identifier, by the engine that holds the table."""
    frame = nw.from_native(table).lazy()
    names = frame.collect_schema().names()
    if key not in names:
        raise ContractError(f"units has no column {key!r}; it has {', '.join(names)}")
    kind, native = frame.implementation, frame.to_native()
    if kind.is_duckdb():
        quoted = '"' + key.replace('"', '""') + '"'
        return native.project(f"*, CAST(hash({quoted}) % {buckets} AS INTEGER) AS {_BUCKET}")
    if kind.is_polars():
        import polars as pl

        return native.with_columns((pl.col(key).hash(seed=0) % buckets).cast(pl.Int64).alias(_BUCKET))
    if kind.is_pyspark():
        quoted = "`" + key.replace("`", "``") + "`"
        return native.selectExpr("*", f"pmod(xxhash64({quoted}), {buckets}) AS {_BUCKET}")
    import pandas as pd

    frame_now: pd.DataFrame = frame.collect(backend="pandas").to_native()
    codes = pd.util.hash_array(frame_now[key].to_numpy()) % np.uint64(buckets)
    return frame_now.assign(**{_BUCKET: codes.astype(np.int64)})


@dataclass(frozen=True, slots=True)
class _Stratum:
    """Sums of one metric by bucket in one stratum, ready to be added up by any split.

    Attributes:
        weight: Share of the stratum in all units with a value.
        sums: For each bucket independent rows, units, sums of the columns with the number of
            units last, and their products, shape (buckets, 2 + (k + 1) + (k + 1)^2).
        columns: k.
    """

    weight: float
    sums: Array
    columns: int

    @classmethod
    def of(cls, moments: MetricMoments, labels: list[str], stratum: str, weight: float) -> _Stratum:
        size = len(moments.columns) + 1
        sums = np.zeros((len(labels), 2 + size + size**2))
        found = [(i, moments.cells.get((label, stratum))) for i, label in enumerate(labels)]
        filled = [(i, cell) for i, cell in found if cell is not None and cell.rows]
        places, cells = [i for i, _ in filled], [cell for _, cell in filled]
        rows = np.array([cell.rows for cell in cells], dtype=np.float64)
        mean, cov = np.array([cell.mean for cell in cells]), np.array([cell.cov for cell in cells])
        held = rows[:, None, None]
        gram = np.where(held < 2, 0.0, cov * (held - 1)) + held * mean[:, :, None] * mean[:, None, :]
        units = np.array([cell.n for cell in cells], dtype=np.float64)
        sums[places] = np.column_stack([rows, units, rows[:, None] * mean, gram.reshape(len(cells), -1)])
        return cls(weight, sums, len(moments.columns))


@dataclass(frozen=True, slots=True)
class _Side:
    """Means of one side of every split and their covariance, strata combined; s splits, k columns."""

    mean: Array
    pieces: list[tuple[Array, Array]]
    units: Array


def _side(parts: list[tuple[_Stratum, Array]], shift: Array) -> _Side:
    """Turn the sums of one side of every split into means, as ``arm_contrasts.arm_means`` does for one."""
    k, splits = len(shift), len(parts[0][1])
    mean, pieces, units = np.zeros((splits, k)), [], np.zeros(splits)
    for part, added in parts:
        rows, sums = added[:, 0], added[:, 2 : k + 3]
        gram = added[:, k + 3 :].reshape(-1, k + 1, k + 1)
        if rows.min() < 2:
            raise DesignError(
                "a stratum is too small to be drawn again: leave it out, or put strata together"
            )
        size = sums[:, k] / rows
        away = sums[:, :k] / sums[:, k:]
        spread = (gram - sums[:, :, None] * sums[:, None, :] / rows[:, None, None]) / (rows - 1)[
            :, None, None
        ]
        unit = np.broadcast_to(np.eye(k), (splits, k, k))
        slope = np.concatenate([unit, -away[:, :, None]], axis=2) / size[:, None, None]
        piece = part.weight**2 * slope @ spread @ slope.transpose(0, 2, 1) / rows[:, None, None]
        mean += part.weight * (shift + away)
        pieces.append((piece, rows - 1))
        units += added[:, 1]
    return _Side(mean, pieces, units)


def _sides(chosen: Array, strata: list[_Stratum], shift: Array) -> tuple[_Side, _Side]:
    """Return those drawn and the others, for every split."""
    one = [(stratum, chosen @ stratum.sums) for stratum in strata]
    zero = [(stratum, stratum.sums.sum(axis=0) - added) for stratum, added in one]
    return _side(one, shift), _side(zero, shift)


def _gradient(metric: Metric, side: _Side) -> tuple[Array, Array]:
    """Return what is compared on a side of every split, and its gradient by the outcomes."""
    q = len(metric.outcomes)
    slope = np.zeros((len(side.mean), q))
    if not isinstance(metric, Ratio):
        slope[:, 0] = 1.0
        return side.mean[:, 0], slope
    ratio = side.mean[:, 0] / side.mean[:, 1]
    slope[:, 0], slope[:, 1] = 1 / side.mean[:, 1], -ratio / side.mean[:, 1]
    return ratio, slope


def _rejected(metric: Metric, one: _Side, zero: _Side, alpha: float) -> NDArray[np.bool_]:
    """Test every split as the analysis itself would: Welch's t on the adjusted difference."""
    q = len(metric.outcomes)
    p = one.mean.shape[1] - q
    value_one, j_one = _gradient(metric, one)
    value_zero, j_zero = _gradient(metric, zero)
    theta = np.zeros((len(one.mean), p))
    if p:
        v_one, v_zero = (np.sum([piece for piece, _ in side.pieces], axis=0) for side in (one, zero))
        joint = np.einsum("spq,sq->sp", v_one[:, q:, :q], j_one) + np.einsum(
            "spq,sq->sp", v_zero[:, q:, :q], j_zero
        )
        theta = np.linalg.solve(v_one[:, q:, q:] + v_zero[:, q:, q:], joint[:, :, None])[:, :, 0]
    moved = np.einsum("sp,sp->s", theta, one.mean[:, q:] - zero.mean[:, q:])
    parts: list[tuple[Array, Array]] = []
    for side, slope in ((one, j_one), (zero, j_zero)):
        to = np.hstack([slope, -theta])
        parts += [(np.einsum("sk,skl,sl->s", to, piece, to), dof) for piece, dof in side.pieces]
    variances = np.array([v for v, _ in parts])
    spare = sum(dof for _, dof in parts)
    total = variances.sum(axis=0) * spare / (spare - p)
    dof = variances.sum(axis=0) ** 2 / sum(v**2 / d for v, d in parts)
    statistic = np.abs(value_one - value_zero - moved) / np.sqrt(total)
    out: NDArray[np.bool_] = statistic > stats.t.isf(alpha / 2, dof)
    return out


def _wilson(hits: Array, n: Array, z: float) -> tuple[Array, Array]:
    middle, wide = hits + z**2 / 2, z * np.sqrt(hits * (n - hits) / n + z**2 / 4)
    return (middle - wide) / (n + z**2), (middle + wide) / (n + z**2)


def _rejected_counts(one: _Side, zero: _Side, alpha: float) -> NDArray[np.bool_]:
    """Test plain proportions as the analysis itself would: does Newcombe's interval leave zero out?"""
    z = float(stats.norm.isf(alpha / 2))
    rates, limits = [], []
    for side in (one, zero):
        rates.append(side.mean[:, 0])
        limits.append(_wilson(side.mean[:, 0] * side.units, side.units, z))
    difference = rates[0] - rates[1]
    (low_one, high_one), (low_zero, high_zero) = limits
    low = difference - np.sqrt((rates[0] - low_one) ** 2 + (high_zero - rates[1]) ** 2)
    high = difference + np.sqrt((high_one - rates[0]) ** 2 + (rates[1] - low_zero) ** 2)
    out: NDArray[np.bool_] = (low > 0) | (high < 0)
    return out


def _prepared(
    moments: ArmMoments, metrics: tuple[Metric, ...]
) -> dict[str, tuple[Metric, list[_Stratum], Array]]:
    labels = list(moments.arms)
    return {
        metric.label: (
            metric,
            [
                _Stratum.of(moments.metrics[metric.label], labels, stratum, weight)
                for stratum, weight in stratum_weights(moments.metrics[metric.label]).items()
            ],
            moments.metrics[metric.label].shift,
        )
        for metric in metrics
    }


def a_a_certificate(
    plan: Comparison, table: Any, *, buckets: int = 10_000, splits: int = 2_000, seed: int = 0
) -> Certificate:
    """Draw the arms again many times and count how often the analysis finds a difference.

    Units are put into buckets by a hash of their identifier and reduced to sums by bucket in one
    scan; a split draws buckets, so that a thousand analyses cost little more than one. The arms
    the units are really in play no part: nothing can differ between groups drawn by lot, and the
    share of splits with a difference is the false-positive rate of this analysis on these data.

    Args:
        plan: A comparison of design ``"randomised"`` or ``"encouragement"`` with ``unit=`` or
            ``cluster=``; its metrics, covariates, strata, clusters and level are used.
        table: One row per unit, as for :meth:`Comparison.analyse`.
        buckets: Groups of units, at least 100.
        splits: How often everybody is drawn again, at least 100.
        seed: Of the draws.

    Returns:
        The false-positive rate of every metric but quantiles, with its Wilson interval over the splits.

    Raises:
        ArgumentError: When an option is out of range.
        ContractError: When columns are absent or hold what they cannot.
        DesignError: When the design has no lots to draw, or no unit= or cluster= to draw by.

    References:
        Kohavi, Tang and Xu (2020), Trustworthy Online Controlled Experiments, chapter 19.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> from loyalty_research.comparison import Comparison, Mean
        >>> units = pd.DataFrame({"unit_id": range(4000), "arm": ["a", "b"] * 2000})
        >>> units["spend"] = np.random.default_rng(0).gamma(2.0, 10.0, 4000)
        >>> plan = Comparison(Mean("spend"), design="randomised", assignment="arm", control="a", unit="unit_id")
        >>> rate = a_a_certificate(plan, units, buckets=1000, splits=500).rates["spend"]
        >>> rate.low < 0.05 < rate.high
        True
    """
    if plan.design not in ("randomised", "encouragement"):
        raise DesignError(
            f"design={plan.design!r} draws no lots, so they cannot be drawn again: a certificate is for designs with chance"
        )
    key = plan.cluster or plan.unit
    if key is None:
        raise DesignError("a certificate needs unit= or cluster= in the plan: what was drawn by lot")
    for name, value in (("buckets", buckets), ("splits", splits)):
        if not (isinstance(value, int) and value >= _LEAST_BUCKETS):
            raise ArgumentError(f"{name} must be a whole number of at least {_LEAST_BUCKETS}; got {value!r}")
    # order statistics are no sums: quantiles cannot be drawn again from buckets
    metrics = tuple(m.adjusted_for(plan.covariates) for m in plan.metrics if not isinstance(m, Quantile))
    if not metrics:
        raise DesignError("a certificate is for means, proportions and ratios; the plan has quantiles only")
    moments = arm_moments(
        _hashed(table, key, buckets), metrics, arm=_BUCKET, strata=plan.strata, cluster=plan.cluster
    )
    if len(moments.arms) < _LEAST_BUCKETS:
        raise DesignError(
            f"units.{key} fills {len(moments.arms):,} buckets only: at least {_LEAST_BUCKETS} are needed to draw again"
        )
    alpha = round(1 - plan.level, 12)
    hits = _count(_prepared(moments, metrics), plan, len(moments.arms), splits, seed, alpha)
    rates = {label: proportion(count, splits, level=0.95) for label, count in hits.items()}
    return Certificate(
        rates=rates,
        alpha=alpha,
        splits=splits,
        buckets=len(moments.arms),
        n=sum(moments.units.values()),
        checks=tuple(_check(label, rate, alpha, splits) for label, rate in rates.items()),
    )


def _count(
    prepared: dict[str, tuple[Metric, list[_Stratum], Array]],
    plan: Comparison,
    buckets: int,
    splits: int,
    seed: int,
    alpha: float,
) -> dict[str, int]:
    """Count the splits in which each metric differs."""
    rng = np.random.default_rng(seed)
    hits = dict.fromkeys(prepared, 0)
    drawn = (np.arange(buckets) < buckets // 2).astype(float)
    for start in range(0, splits, _AT_ONCE):
        many = min(_AT_ONCE, splits - start)
        chosen = rng.permuted(np.tile(drawn, (many, 1)), axis=1)
        for label, (metric, parts, shift) in prepared.items():
            one, zero = _sides(chosen, parts, shift)
            plain = isinstance(metric, Proportion) and not metric.covariates
            if plain and len(parts) == 1 and plan.cluster is None:
                found = _rejected_counts(one, zero, alpha)
            else:
                found = _rejected(metric, one, zero, alpha)
            hits[label] += int(found.sum())
    return hits


def _check(label: str, rate: Estimate, alpha: float, splits: int) -> Check:
    inside = rate.low <= alpha <= rate.high
    return Check(
        message("A/A certificate of {metric}", metric=label),
        "passed" if inside else "warning",
        message(
            "{rate} of {splits} splits by lot differ ({interval}); {alpha} expected, Monte Carlo error {error}",
            rate=rate.format(),
            splits=f"{splits:,}",
            interval=rate.interval(),
            alpha=percent(alpha),
            error=number(100 * math.sqrt(alpha * (1 - alpha) / splits), digits=2),
        ),
    )
