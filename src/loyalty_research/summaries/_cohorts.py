"""Cohort triangles: how many of the customers gained in a period come back in later ones."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Literal

import narwhals as nw
import numpy as np

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.summaries._frames import as_ordinal, collect, day_number, part, read_lines, to_dates

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

__all__ = ["PERIODS", "cohorts"]

IMMATURE = "customers of the period still running at the last day observed"


def _week(moment: nw.Expr) -> nw.Expr:
    # day 1 of the proleptic calendar is a Monday
    return (day_number(moment) - 1) // 7


def _month(moment: nw.Expr) -> nw.Expr:
    return part(moment.dt.year()) * 12 + part(moment.dt.month()) - 1


def _quarter(moment: nw.Expr) -> nw.Expr:
    return part(moment.dt.year()) * 4 + (part(moment.dt.month()) - 1) // 3


def _week_start(index: int) -> int:
    return index * 7 + 1


def _month_start(index: int) -> int:
    return dt.date(index // 12, index % 12 + 1, 1).toordinal()


def _quarter_start(index: int) -> int:
    return _month_start(index * 3)


PERIODS: dict[str, tuple[Callable[[nw.Expr], nw.Expr], Callable[[int], int]]] = {
    "W": (_week, _week_start),
    "M": (_month, _month_start),
    "Q": (_quarter, _quarter_start),
}


def cohorts(
    transactions: Any, *, period: Literal["W", "M", "Q"] = "M", as_of: dt.date | str | None = None
) -> pd.DataFrame:
    """Count, for each cohort of new customers, who buys in each later calendar period.

    A cohort is everybody whose first purchase *in the data* falls in one calendar period; where
    the data begin after the customers did, the first cohorts hold old customers.

    Only mature cells are given: those whose period was over by ``as_of``. A cell of a running
    period would show a drop that is not there. A mature cell in which nobody bought is a row with
    zeros, not a missing one.

    Args:
        transactions: ``customer_id``, ``transacted_date`` (preferred) or ``transacted_at`` (naive),
            ``amount``, optionally ``type``; pandas, Polars, a DuckDB relation, Spark, or what
            :func:`daily` returned.
        period: ``"W"`` weeks from Monday, ``"M"`` months, ``"Q"`` quarters.
        as_of: Last day observed, that day included; by default the last day in the table.

    Returns:
        Sorted rows, one per cohort and period: ``cohort`` (first day of the cohort's period),
        ``period`` (periods since then, from 0), ``customers`` (size of the cohort), ``active``
        (customers with a purchase), ``retention`` (``active / customers``; 1 in period 0 by
        definition), ``orders`` (transaction rows), ``amount`` (their sum).

        ``attrs`` holds ``period``, ``as_of``, ``rows`` and ``dropped`` (rows without a customer,
        refund rows, rows after ``as_of``, customers of the period still running).

    Raises:
        ContractError: When a column is missing or of a wrong type, the table is empty, a date or
            an amount is null, or no period is over by ``as_of``.
        ArgumentError: When ``period`` is unknown, or ``as_of`` is before the first day.

    Examples:
        >>> import pandas as pd
        >>> lines = pd.DataFrame({
        ...     "customer_id": ["a", "a", "b", "c"],
        ...     "transacted_date": pd.to_datetime(["2024-01-05", "2024-03-09", "2024-01-20", "2024-02-02"]),
        ...     "amount": [10.0, 20.0, 30.0, 40.0],
        ... })
        >>> cohorts(lines, as_of="2024-03-31")
              cohort  period  customers  active  retention  orders  amount
        0 2024-01-01       0          2       2        1.0       2    40.0
        1 2024-01-01       1          2       0        0.0       0     0.0
        2 2024-01-01       2          2       1        0.5       1    20.0
        3 2024-02-01       0          1       1        1.0       1    40.0
        4 2024-02-01       1          1       0        0.0       0     0.0
    """
    if period not in PERIODS:
        raise ArgumentError(f"period must be one of {', '.join(map(repr, PERIODS))}; got {period!r}")
    index_of, start_of = PERIODS[period]
    until = None if as_of is None else as_ordinal(as_of, "as_of")
    lines = read_lines(transactions, until=until, keys={"slot": index_of})
    frame, running = _triangle(collect(_cells(lines.frame)), lines.last, start_of)
    if frame.empty:
        raise ContractError(
            f"no period {period!r} is over by {dt.date.fromordinal(lines.last)}: cohorts need a longer record"
        )
    frame.attrs = {
        "period": period,
        "as_of": dt.date.fromordinal(lines.last).isoformat(),
        "rows": lines.rows,
        "dropped": lines.dropped | {IMMATURE: running},
    }
    return frame


def _cells(lines: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    return (
        lines.group_by("customer_id", "slot")
        .agg(nw.col("orders").sum(), nw.col("amount").sum())
        .with_columns(cohort=nw.col("slot").min().over("customer_id"))
        .group_by("cohort", "slot")
        .agg(nw.len().alias("active"), nw.col("orders").sum(), nw.col("amount").sum())
    )


def _triangle(cells: pd.DataFrame, last_day: int, start_of: Callable[[int], int]) -> tuple[pd.DataFrame, int]:
    """Fill in empty cells and cut immature ones; also return the customers that are cut."""
    import pandas as pd

    cells = cells.astype({"cohort": np.int64, "slot": np.int64, "active": np.int64, "orders": np.int64})
    sizes = cells.loc[cells["cohort"] == cells["slot"]].set_index("cohort")["active"].sort_index()
    over = int(cells["slot"].max())
    while start_of(over + 1) - 1 <= last_day:
        over += 1
    while start_of(over + 1) - 1 > last_day:
        over -= 1
    mature = sizes[sizes.index <= over]
    lengths = over + 1 - mature.index.to_numpy()
    cohort = np.repeat(mature.index.to_numpy(), lengths)
    slot = cohort + np.concatenate([np.arange(0), *map(np.arange, lengths)])
    index = pd.MultiIndex.from_arrays([cohort, slot], names=["cohort", "slot"])
    full = cells.set_index(["cohort", "slot"]).reindex(index, fill_value=0)
    customers = mature.reindex(cohort).to_numpy()
    frame = pd.DataFrame(
        {
            "cohort": to_dates([start_of(int(c)) for c in cohort]),
            "period": slot - cohort,
            "customers": customers,
            "active": full["active"].to_numpy(),
            "retention": full["active"].to_numpy() / customers,
            "orders": full["orders"].to_numpy(),
            "amount": full["amount"].to_numpy(dtype=float),
        }
    )
    return frame, int(sizes[sizes.index > over].sum())
