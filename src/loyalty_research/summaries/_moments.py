"""Moments of outcomes and covariates by arm: the only thing experiments need from their rows."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, Protocol

import narwhals as nw
import numpy as np

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.summaries._frames import as_lazy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["ArmMoments", "Cell", "Declared", "MetricMoments", "arm_moments", "group_label"]

_PILOT_ROWS = 1000
_OWN = r"_(units|clusters|homeless|bad\d*|[vu]\d+|(rows_)?n\d+|z\d+_\d+|g\d+_\d+_\d+)"


class Declared(Protocol):
    """What a metric tells ``arm_moments`` about itself.

    Attributes:
        label: Name of the metric, unique within one call.
        outcomes: Columns that define it; a row counts when none of them is missing.
        domains: For each outcome ``"finite"``, ``"nonnegative"``, ``"binary"`` or ``"indicator"``
            (binary and never missing).
        covariates: Pre-period columns, which must not be missing.
        cap: Pooled percentile, a fraction, above which the first outcome is cut; or None.
    """

    @property
    def label(self) -> str: ...
    @property
    def outcomes(self) -> tuple[str, ...]: ...
    @property
    def domains(self) -> tuple[str, ...]: ...
    @property
    def covariates(self) -> tuple[str, ...]: ...
    @property
    def cap(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Cell:
    """Moments of one metric in one arm and stratum.

    The vector behind ``mean`` and ``cov`` holds the metric's columns less their shift, and last
    the number of units: 1 for every row, or the cluster's size when rows are clusters.

    Attributes:
        n: Units with every outcome present.
        nulls: Units left out because an outcome is missing.
        rows: Independent rows: ``n``, or the clusters that hold at least one such unit.
        mean: Mean of the vector, shape (k + 1,).
        cov: Covariance of the vector with divisor ``rows - 1``, shape (k + 1, k + 1); NaN below two rows.
    """

    n: int
    nulls: int
    rows: int
    mean: NDArray[np.float64]
    cov: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MetricMoments:
    """Moments of one metric in every arm and stratum.

    Attributes:
        label: Name of the metric.
        columns: Outcomes, then covariates, k names.
        shift: What was subtracted from each column before sums were taken, shape (k,).
        cap: Value at which the first column was cut, or None.
        cells: (arm, stratum) to its moments.
    """

    label: str
    columns: tuple[str, ...]
    shift: NDArray[np.float64]
    cap: float | None
    cells: Mapping[tuple[str, str], Cell]


@dataclass(frozen=True, slots=True)
class ArmMoments:
    """Result of :func:`arm_moments`.

    Attributes:
        arms: Labels of the arms, sorted.
        strata: Labels of the strata, sorted; one empty label when there are none.
        units: (arm, stratum) to the number of units, missing outcomes included.
        clusters: (arm, stratum) to the number of clusters; None when units are independent.
        metrics: Metric label to its moments.
    """

    arms: tuple[str, ...]
    strata: tuple[str, ...]
    units: Mapping[tuple[str, str], int]
    clusters: Mapping[tuple[str, str], int] | None
    metrics: Mapping[str, MetricMoments]

    def arm_size(self, arm: str) -> int:
        """Return the number of independent units of an arm: its clusters where it has them."""
        sizes = self.units if self.clusters is None else self.clusters
        return sum(count for (label, _), count in sizes.items() if label == arm)

    def to_frame(self) -> pd.DataFrame:
        """Return the moments as a tidy frame, one row per pair of columns.

        Columns: metric, arm, stratum, column, other, n, nulls, rows, mean (of ``column``),
        covariance (of ``column`` with ``other``, between rows).
        """
        import pandas as pd

        records = []
        for label, moments in self.metrics.items():
            for (arm, stratum), cell in moments.cells.items():
                means = moments.shift + cell.mean[:-1] / cell.mean[-1]
                for i, j in combinations_with_replacement(range(len(moments.columns)), 2):
                    records.append(
                        {
                            "metric": label,
                            "arm": arm,
                            "stratum": stratum,
                            "column": moments.columns[i],
                            "other": moments.columns[j],
                            "n": cell.n,
                            "nulls": cell.nulls,
                            "rows": cell.rows,
                            "mean": means[i],
                            "covariance": cell.cov[i, j],
                        }
                    )
        return pd.DataFrame(records)


def group_label(value: Any) -> str:
    """Return an arm or stratum value as text, whole floats without their decimals.

    Examples:
        >>> group_label(1.0), group_label("A"), group_label(True)
        ('1', 'A', 'True')
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _schema_check(
    schema: Mapping[str, Any], names: Iterable[str], numeric: Iterable[str], table: str
) -> None:
    lacking = [name for name in dict.fromkeys(names) if name not in schema]
    if lacking:
        raise ContractError(
            f"{table} has no column {', '.join(map(repr, lacking))}; it has {', '.join(schema)}"
        )
    for name in dict.fromkeys(numeric):
        if not (schema[name].is_numeric() or schema[name] == nw.Boolean):
            raise ContractError(
                f"{table}.{name} holds {schema[name]}, not numbers: convert it, or use it for strata"
            )


def _value(name: str, schema: Mapping[str, Any]) -> nw.Expr:
    """Express a column as float with NaN and null both null."""
    column = nw.col(name)
    if schema[name] == nw.Boolean:
        # a boolean is never cast to a number: some databases refuse it
        return nw.when(~column.is_null()).then(nw.when(column).then(nw.lit(1.0)).otherwise(nw.lit(0.0)))
    number = column.cast(nw.Float64)
    return nw.when(~number.is_nan()).then(number) if schema[name].is_float() else number


def _outside(value: nw.Expr, domain: str) -> nw.Expr:
    if domain == "missing":
        return value.is_null()
    if domain == "indicator":
        return value.is_null() | ((value != 0) & (value != 1))
    if domain == "nonnegative":
        return (value < 0) & ~value.is_null()
    if domain == "binary":
        return (value != 0) & (value != 1) & ~value.is_null()
    return ~value.is_finite() & ~value.is_null()


_WORDS = {
    "finite": "infinite",
    "nonnegative": "negative (an exposure cannot be)",
    "binary": "neither 0 nor 1",
    "indicator": "missing or neither 0 nor 1",
    "missing": "missing (fill them, for instance with 0 for no purchases before, or leave the covariate out)",
}


@dataclass(frozen=True, slots=True)
class _Plan:
    """Names of everything one call computes."""

    metrics: tuple[Declared, ...]
    aliases: dict[tuple[str, float | None], str]
    rules: dict[tuple[str, str], str]
    keys: tuple[str, ...]

    def value_of(self, metric: Declared, position: int) -> str:
        columns = (*metric.outcomes, *metric.covariates)
        return self.aliases[columns[position], metric.cap if position == 0 else None]


def _check_groupings(arm: str, strata: tuple[str, ...], cluster: str | None) -> None:
    """Refuse one column in two parts: it would compare a grouping with itself."""
    names = [arm, *strata, *([cluster] if cluster is not None else [])]
    if not all(isinstance(name, str) for name in names):
        raise ArgumentError(f"arm=, strata= and cluster= are names of columns; got {names!r}")
    if cluster == arm:
        raise DesignError(
            f"cluster= is {arm!r}, the assignment itself, so each arm would be one cluster: name the column of "
            "what was assigned as a whole, such as the store"
        )
    if arm in strata:
        raise DesignError(f"strata= names {arm!r}, the assignment itself: a stratum holds units of every arm")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ArgumentError(f"{', '.join(twice)} is named more than once in strata= and cluster=")
    # names that the query gives its own columns
    own = [name for name in names if re.fullmatch(_OWN, name)]
    if own:
        raise ArgumentError(f"{', '.join(own)} is a name this query needs for itself: rename the column")


def _plan(metrics: Sequence[Declared], keys: tuple[str, ...]) -> _Plan:
    if not isinstance(metrics, Sequence) or not all(hasattr(m, "outcomes") for m in metrics):
        raise ArgumentError(f"metrics is a list of declarations such as [Mean('spend')]; got {metrics!r}")
    if not metrics:
        raise ArgumentError("no metric was given: pass at least one, such as Mean('spend')")
    labels = [m.label for m in metrics]
    twice = sorted({name for name in labels if labels.count(name) > 1})
    if twice:
        raise ArgumentError(f"two metrics are called {', '.join(twice)}: give one of them name=")
    values: dict[tuple[str, float | None], str] = {}
    rules: dict[tuple[str, str], str] = {}
    for metric in metrics:
        for position, name in enumerate((*metric.outcomes, *metric.covariates)):
            values.setdefault((name, metric.cap if position == 0 else None), f"_v{len(values)}")
            wanted = {"finite"}
            wanted.add(metric.domains[position] if position < len(metric.outcomes) else "missing")
            for domain in sorted(wanted):
                rules.setdefault((name, domain), f"_bad{len(rules)}")
    return _Plan(tuple(metrics), values, rules, keys)


def _caps(
    frame: nw.LazyFrame[Any], plan: _Plan, schema: Mapping[str, Any]
) -> dict[tuple[str, float | None], float]:
    """Return the value at each declared percentile of the pooled column: never one per arm."""
    wanted = [key for key in plan.aliases if key[1] is not None]
    if not wanted:
        return {}
    row = _first_row(
        frame.select(_value(name, schema).alias(plan.aliases[name, cap]) for name, cap in wanted).select(
            nw.col(plan.aliases[name, cap]).quantile(float(cap or 0), interpolation="linear")
            for name, cap in wanted
        )
    )
    return {key: float(row[plan.aliases[key]]) for key in wanted if not _missing(row[plan.aliases[key]])}


def _first_row(frame: nw.LazyFrame[Any]) -> dict[str, Any]:
    return dict(frame.collect().rows(named=True)[0])


def _pilot(frame: nw.LazyFrame[Any], plan: _Plan, schema: Mapping[str, Any]) -> dict[str, float]:
    """Return a rough mean of each column: sums taken about it keep their digits."""
    names = list(dict.fromkeys(name for name, _ in plan.aliases))
    head = frame.select(_value(name, schema).alias(name) for name in names).head(_PILOT_ROWS).collect()
    shift = {}
    for name in names:
        kept = [v for v in head[name].drop_nulls().to_list() if math.isfinite(v)]
        shift[name] = float(np.mean(kept)) if kept else 0.0
    return shift


def _centred(plan: _Plan, shift: Mapping[str, float]) -> list[nw.Expr]:
    exprs = []
    for m, metric in enumerate(plan.metrics):
        columns = (*metric.outcomes, *metric.covariates)
        masks = [~nw.col(plan.value_of(metric, i)).is_null() for i in range(len(metric.outcomes))]
        for j, name in enumerate(columns):
            centred = nw.col(plan.value_of(metric, j)) - shift[name]
            if len(columns) > 1:
                centred = nw.when(*masks).then(centred)
            exprs.append(centred.alias(f"_z{m}_{j}"))
    return exprs


def _width(metric: Declared) -> int:
    return len(metric.outcomes) + len(metric.covariates)


def _pairs(plan: _Plan, *, sized: bool) -> list[tuple[int, str, str, str]]:
    """List the products a call needs: metric, both factors, name."""
    out = []
    for m, metric in enumerate(plan.metrics):
        names = [f"_z{m}_{j}" for j in range(_width(metric))] + ([f"_n{m}"] if sized else [])
        for i, j in combinations_with_replacement(range(len(names)), 2):
            out.append((m, names[i], names[j], f"_g{m}_{i}_{j}"))
    return out


def _aggregate(frame: nw.LazyFrame[Any], plan: _Plan, cluster: str | None) -> list[dict[str, Any]]:
    """Take counts, sums and sums of products by arm and stratum, through clusters where given."""
    sums = [f"_z{m}_{j}" for m, metric in enumerate(plan.metrics) for j in range(_width(metric))]
    flags = list(plan.rules.values())
    counts = [nw.col(f"_z{m}_0").count().alias(f"_n{m}") for m in range(len(plan.metrics))]
    pairs = _pairs(plan, sized=cluster is not None)
    products = [(nw.col(a) * nw.col(b)).alias(name) for _, a, b, name in pairs]
    names = [name for *_, name in pairs]
    if cluster is None:
        grouped = frame.with_columns(products).group_by(*plan.keys, drop_null_keys=False)
        return _collected(
            grouped.agg(
                nw.len().alias("_units"),
                *counts,
                *(nw.col(c).count() for c in flags),
                *(nw.col(c).sum() for c in (*sums, *names)),
            )
        )
    by_cluster = frame.group_by(*plan.keys, cluster, drop_null_keys=False).agg(
        nw.len().alias("_units"),
        *counts,
        *(nw.col(c).count() for c in flags),
        *(nw.col(c).sum() for c in sums),
    )
    sizes = [f"_n{m}" for m in range(len(plan.metrics))]
    by_cluster = by_cluster.with_columns(nw.col(c).cast(nw.Float64) for c in sizes)
    by_cluster = by_cluster.with_columns(
        *products,
        *(nw.when(nw.col(c) > 0).then(nw.lit(1)).alias(f"_rows{c}") for c in sizes),
        nw.when(nw.col(cluster).is_null()).then(nw.col("_units")).alias("_homeless"),
    )
    return _collected(
        by_cluster.group_by(*plan.keys, drop_null_keys=False).agg(
            nw.len().alias("_clusters"),
            *(nw.col(c).sum() for c in ("_units", "_homeless", *flags, *sizes, *sums, *names)),
            *(nw.col(f"_rows{c}").count() for c in sizes),
        )
    )


def _collected(frame: nw.LazyFrame[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in frame.collect().rows(named=True)]


def bad_rows(frame: nw.LazyFrame[Any], condition: nw.Expr, count: int) -> str:
    """Say where rows are when the table sits in memory in an order of its own, else how many."""
    if frame.implementation.is_pandas() or frame.implementation.is_polars():
        # one scan more, on the way to an error only
        mask = frame.select(condition.alias("_bad")).collect()["_bad"].to_list()
        return at_rows([i for i, bad in enumerate(mask) if bad is True])
    return f"{count:,} row{'' if count == 1 else 's'}"


def _check_values(
    frame: nw.LazyFrame[Any], rows: list[dict[str, Any]], plan: _Plan, schema: Mapping[str, Any], table: str
) -> None:
    problems = []
    for (name, domain), flag in plan.rules.items():
        count = int(sum(row[flag] or 0 for row in rows))
        if count:
            where = bad_rows(frame, _outside(_value(name, schema), domain), count)
            problems.append(f"{table}.{name} is {_WORDS[domain]} in {where}")
    if problems:
        raise ContractError("; ".join(problems))


def _check_keys(
    frame: nw.LazyFrame[Any], rows: list[dict[str, Any]], keys: tuple[str, ...], table: str
) -> None:
    for key in keys:
        count = int(sum(row["_units"] for row in rows if _missing(row[key])))
        if count:
            where = bad_rows(frame, nw.col(key).is_null(), count)
            raise ContractError(f"{table}.{key} is missing in {where}: every unit needs one")


def _check_clusters(
    frame: nw.LazyFrame[Any], rows: list[dict[str, Any]], keys: tuple[str, ...], cluster: str, table: str
) -> None:
    homeless = int(sum(row["_homeless"] or 0 for row in rows))
    if homeless:
        where = bad_rows(frame, nw.col(cluster).is_null(), homeless)
        raise ContractError(f"{table}.{cluster} is missing in {where}: every unit needs a cluster")
    spread = frame.group_by(cluster).agg(nw.col(key).n_unique().alias(f"_u{i}") for i, key in enumerate(keys))
    crossing = _first_row(
        spread.select(
            nw.when(nw.col(f"_u{i}") > 1).then(nw.lit(1)).count().alias(f"_u{i}") for i in range(len(keys))
        )
    )
    for i, key in enumerate(keys):
        count = int(crossing[f"_u{i}"])
        if count:
            raise DesignError(
                f"{count:,} clusters of {table}.{cluster} hold more than one value of {key}: "
                f"clusters must sit inside one arm and stratum; if units were assigned within clusters, "
                f"pass strata={cluster!r} in place of cluster="
            )


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    return np.array([row[name] or 0.0 for row in rows], dtype=np.float64)


def _cells(rows: Sequence[Mapping[str, Any]], m: int, metric: Declared, *, clustered: bool) -> list[Cell]:
    """Turn one metric's sums into moments, all cells at once: an A/A certificate has ten thousand."""
    width, units = _width(metric), _column(rows, "_units")
    size = width + 1
    n = _column(rows, f"_n{m}")
    count = _column(rows, f"_rows_n{m}") if clustered else n
    sums = np.column_stack([*(_column(rows, f"_z{m}_{j}") for j in range(width)), n])
    gram = np.zeros((len(rows), size, size))
    for i, j in combinations_with_replacement(range(size if clustered else width), 2):
        gram[:, i, j] = gram[:, j, i] = _column(rows, f"_g{m}_{i}_{j}")
    if not clustered:
        gram[:, width, :] = gram[:, :, width] = sums
    mean, cov = np.full((len(rows), size), np.nan), np.full((len(rows), size, size), np.nan)
    some, more = count > 0, count > 1
    mean[some] = sums[some] / count[some, None]
    added, held = sums[more], count[more, None, None]
    about = (gram[more] - added[:, :, None] * added[:, None, :] / held) / (held - 1)
    if not clustered:
        about[:, width, :] = about[:, :, width] = 0.0
    # what rounding leaves of a constant is no variance: sums keep about twelve digits
    least = 1e-12 * np.einsum("rii->ri", gram[more]) / count[more, None]
    flat = np.einsum("rii->ri", about) <= least
    about[flat[:, :, None] | flat[:, None, :]] = 0.0
    cov[more] = about
    whole = zip(n.astype(int).tolist(), units.astype(int).tolist(), count.astype(int).tolist(), strict=True)
    return [
        Cell(n=had, nulls=all_ - had, rows=held_, mean=mean[i], cov=cov[i])
        for i, (had, all_, held_) in enumerate(whole)
    ]


def arm_moments(
    units: Any,
    metrics: Sequence[Declared],
    *,
    arm: str,
    strata: str | Sequence[str] | None = None,
    cluster: str | None = None,
    table: str = "units",
) -> ArmMoments:
    """Reduce a table of units to counts, means and covariances by arm and stratum.

    One pass over the table (plus one for pooled percentiles when a metric is capped) returns
    everything that means, ratios, pre-period adjustment, strata, clusters and sequential bounds
    are derived from, so that no row reaches Python. Columns are shifted by a pilot mean before
    their squares are summed. Rows with a missing outcome are left out of that metric and counted.

    Args:
        units: One row per unit: pandas, Polars, a DuckDB relation or a narwhals frame.
        metrics: Declarations such as ``comparison.Mean("spend")``.
        arm: Column that says which arm a unit is in.
        strata: Column or columns whose combinations are strata.
        cluster: Column of the cluster that was assigned as a whole; sums are taken over clusters.
        table: What messages call the table.

    Returns:
        The moments, with arms and strata as text.

    Raises:
        ArgumentError: When there is no metric, two share a name, or a column is named for two groupings.
        ContractError: When a column is absent or not numeric, or holds values that the metric cannot
            have; when an arm, stratum, cluster or covariate is missing. Every count is named.
        DesignError: When a cluster reaches into two arms or strata, or is the arm itself.

    References:
        Deng, Xu, Kohavi and Walker (2013), WSDM, section 3 (pre-period covariates). Chan, Golub and
        LeVeque (1983), The American Statistician 37, 242-247 (shifted sums).

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.comparison import Mean
        >>> units = pd.DataFrame({"arm": ["a", "a", "b", "b"], "spend": [1.0, 3.0, 5.0, None]})
        >>> arm_moments(units, [Mean("spend")], arm="arm").to_frame()[["arm", "n", "nulls", "mean"]]
          arm  n  nulls  mean
        0   a  2      0   2.0
        1   b  1      1   5.0
    """
    frame = as_lazy(units, table)
    schema = dict(frame.collect_schema())
    strata_keys = () if strata is None else (strata,) if isinstance(strata, str) else tuple(strata)
    _check_groupings(arm, strata_keys, cluster)
    plan = _plan(metrics, (arm, *strata_keys))
    numeric = [name for name, _ in plan.aliases]
    keys = [*plan.keys, *([cluster] if cluster else [])]
    _schema_check(schema, [*keys, *numeric], numeric, table)
    clash = sorted(set(keys) & set(numeric))
    if clash:
        raise ArgumentError(f"{', '.join(clash)} cannot be both a measured column and a grouping")
    caps, shift = _caps(frame, plan, schema), _pilot(frame, plan, schema)
    values = []
    for (name, cap), alias in plan.aliases.items():
        value = _value(name, schema)
        values.append(
            (value.clip(upper_bound=caps[name, cap]) if (name, cap) in caps else value).alias(alias)
        )
    flags = [
        nw.when(_outside(_value(name, schema), domain)).then(nw.lit(1)).alias(flag)
        for (name, domain), flag in plan.rules.items()
    ]
    prepared = frame.select(*(nw.col(k) for k in keys), *values, *flags).with_columns(_centred(plan, shift))
    rows = _aggregate(prepared, plan, cluster)
    if not rows:
        raise ContractError(f"{table} is empty: there is nothing to compare")
    _check_keys(frame, rows, plan.keys, table)
    _check_values(frame, rows, plan, schema, table)
    if cluster:
        _check_clusters(frame, rows, plan.keys, cluster, table)
    return _assemble(rows, plan, caps, shift, clustered=cluster is not None)


def _assemble(
    rows: list[dict[str, Any]],
    plan: _Plan,
    caps: Mapping[tuple[str, float | None], float],
    shift: Mapping[str, float],
    *,
    clustered: bool,
) -> ArmMoments:
    keyed = {}
    for row in rows:
        arm, *strata = (group_label(row[key]) for key in plan.keys)
        place = arm, " / ".join(strata)
        if place in keyed:
            raise ContractError(
                f"two values of {', '.join(plan.keys)} read alike as {place}: make them one type"
            )
        keyed[place] = row
    keyed = dict(sorted(keyed.items()))
    metrics = {}
    for m, metric in enumerate(plan.metrics):
        columns = (*metric.outcomes, *metric.covariates)
        metrics[metric.label] = MetricMoments(
            label=metric.label,
            columns=columns,
            shift=np.array([shift[name] for name in columns]),
            cap=caps.get((columns[0], metric.cap)),
            cells=dict(zip(keyed, _cells(list(keyed.values()), m, metric, clustered=clustered), strict=True)),
        )
    return ArmMoments(
        arms=tuple(sorted({a for a, _ in keyed})),
        strata=tuple(sorted({s for _, s in keyed})),
        units={key: int(row["_units"]) for key, row in keyed.items()},
        clusters={key: int(row["_clusters"]) for key, row in keyed.items()} if clustered else None,
        metrics=metrics,
    )
