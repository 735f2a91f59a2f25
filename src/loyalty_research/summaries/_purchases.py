"""Purchase histories: the (customer, day) table and what buy-till-you-die models read."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Literal

import narwhals as nw
import numpy as np

from loyalty_research.errors import ArgumentError
from loyalty_research.summaries._frames import as_ordinal, collect, flag, read_lines, to_dates

if TYPE_CHECKING:
    import pandas as pd

    from loyalty_research.summaries._frames import Lines

__all__ = ["by_day", "daily", "purchases"]

BORN_LATE = "customers whose first purchase is after calibration_end"


def by_day(lines: Lines) -> nw.LazyFrame[Any]:
    """Return one row per customer and purchase day; this group-by is the main cost of a summary."""
    sums = [nw.col(c).sum() for c in ("orders", "amount") if c in lines.frame.collect_schema()]
    return lines.frame.group_by("customer_id", "day").agg(*sums)


def daily(transactions: Any) -> pd.DataFrame:
    """Return one row per customer and purchase day.

    What it returns is itself a transactions table for :func:`purchases`, :func:`inactivity_gaps`
    and :func:`cohorts`, which then give the same answers without going through the lines again.

    Args:
        transactions: One row per order, or per order line: ``customer_id``, ``transacted_date``
            (preferred) or ``transacted_at`` (naive), ``amount``, optionally ``type``. Anything that
            narwhals reads: pandas, Polars, a DuckDB relation, Spark.

    Returns:
        ``customer_id``, ``transacted_date`` (midnight), ``orders`` (rows that day), ``amount``
        (their sum, float64), sorted by customer and day. ``attrs["dropped"]`` counts rows left
        out: rows without a customer, and refund rows (``type`` is ``"refund"``, or the amount is
        negative).

    Raises:
        ContractError: When a column is missing or of a wrong type, the table is empty, or a date
            or an amount is null.

    Examples:
        >>> import pandas as pd
        >>> lines = pd.DataFrame({
        ...     "customer_id": ["a", "a", "b"],
        ...     "transacted_at": pd.to_datetime(["2024-01-05 09:00", "2024-01-05 18:30", "2024-01-07 12:00"]),
        ...     "amount": [10.0, 5.0, 8.0],
        ... })
        >>> daily(lines)
          customer_id transacted_date  orders  amount
        0           a      2024-01-05       2    15.0
        1           b      2024-01-07       1     8.0
    """
    lines = read_lines(transactions)
    frame = collect(by_day(lines)).sort_values(["customer_id", "day"], ignore_index=True)
    frame.insert(1, "transacted_date", to_dates(frame.pop("day")))
    frame = frame.astype({"orders": np.int64, "amount": float})
    frame.attrs = {"rows": lines.rows, "dropped": lines.dropped}
    return frame[["customer_id", "transacted_date", "orders", "amount"]]


def purchases(
    transactions: Any,
    *,
    unit: Literal["D", "W"] = "D",
    calibration_end: dt.date | str | None = None,
    observation_end: dt.date | str | None = None,
) -> pd.DataFrame:
    """Summarise each customer's purchases for models of repeat buying.

    A purchase is a day with at least one order: orders of one day are merged and their amounts
    summed. The first purchase makes somebody a customer; everything after it is repeat buying.

    Args:
        transactions: ``customer_id``, ``transacted_date`` (preferred) or ``transacted_at`` (naive),
            ``amount``, optionally ``type``; pandas, Polars, a DuckDB relation, Spark, or what
            :func:`daily` returned.
        unit: Unit of ``recency``, ``T`` and ``duration_holdout``: ``"D"`` days, or ``"W"`` weeks,
            which are days / 7 and not rounded.
        calibration_end: Last day of the calibration period, that day included. Given, the
            holdout columns are added and customers whose first purchase is later are left out.
        observation_end: Last day observed, that day included; by default the last day in the
            table. Give it when the data were taken later than the last sale.

    Returns:
        One row per customer, indexed by ``customer_id`` and sorted:

        - ``frequency``: purchase days after the first, int64;
        - ``recency``: first to last purchase in calibration, in ``unit``; 0 for one purchase;
        - ``T``: first purchase to the end of calibration, in ``unit``;
        - ``monetary_value``: mean amount per repeat purchase day, the first day excluded; 0 where
          ``frequency`` is 0;
        - ``frequency_holdout``: purchase days after ``calibration_end``;
        - ``monetary_value_holdout``: mean amount per holdout purchase *day*, 0 where there is
          none. (lifetimes takes the mean per transaction row here, though it merges days in
          calibration: two orders of 10 on one day are 20 here and 10 there.)
        - ``duration_holdout``: length of the holdout, in ``unit``, the same for everybody.

        ``attrs`` holds ``unit``, ``observation_end``, ``rows`` and ``dropped``, which counts what
        was left out: rows without a customer; refund rows (``type`` is ``"refund"``, or the amount
        is negative), since a refund is no purchase and the models of spend need positive
        amounts, so spend is before refunds; rows after ``observation_end``; customers whose first
        purchase is after ``calibration_end``.

    Raises:
        ContractError: When a column is missing or of a wrong type, the table is empty, or a date
            or an amount is null (row positions are given).
        ArgumentError: When ``unit`` is unknown, or ``calibration_end`` is before the first day or
            not before ``observation_end``.

    Examples:
        >>> import pandas as pd
        >>> lines = pd.DataFrame({
        ...     "customer_id": ["a", "a", "a", "b"],
        ...     "transacted_date": pd.to_datetime(["2024-01-01", "2024-01-08", "2024-01-20", "2024-01-03"]),
        ...     "amount": [10.0, 30.0, 50.0, 8.0],
        ... })
        >>> purchases(lines, observation_end="2024-01-31")
                     frequency  recency     T  monetary_value
        customer_id
        a                    2     19.0  30.0            40.0
        b                    0      0.0  28.0             0.0
        >>> purchases(lines, unit="W", calibration_end="2024-01-15").T["a"].to_dict()
        {'frequency': 1.0, 'recency': 1.0, 'T': 2.0, 'monetary_value': 30.0, 'frequency_holdout': 1.0,
         'monetary_value_holdout': 50.0, 'duration_holdout': 0.7142857142857143}

    References:
        Fader, Hardie and Lee (2005), "Counting your customers the easy way", Marketing Science
        24(2), section 3: the sufficient statistics (x, t_x, T). Fader and Hardie (2013), "The
        gamma-gamma model of monetary value", section 2: mean spend per repeat transaction.
    """
    if unit not in ("D", "W"):
        raise ArgumentError(f"unit must be 'D' (days) or 'W' (weeks = days / 7); got {unit!r}")
    until = None if observation_end is None else as_ordinal(observation_end, "observation_end")
    split = None if calibration_end is None else as_ordinal(calibration_end, "calibration_end")
    lines = read_lines(transactions, until=until)
    end = lines.last if split is None else split
    if split is not None:
        _check_split(split, lines)
    return _finish(collect(_sufficient(by_day(lines), end)), lines, end, unit, holdout=split is not None)


def _check_split(split: int, lines: Lines) -> None:
    if split < lines.first:
        raise ArgumentError(
            f"calibration_end {dt.date.fromordinal(split)} is before the first day of transactions, "
            f"{dt.date.fromordinal(lines.first)}: nobody would be left"
        )
    if split >= lines.last:
        raise ArgumentError(
            f"calibration_end {dt.date.fromordinal(split)} leaves no holdout: the last day observed is "
            f"{dt.date.fromordinal(lines.last)}"
        )


def _sufficient(days: nw.LazyFrame[Any], end: int) -> nw.LazyFrame[Any]:
    """Return per customer what every column derives from, in one pass over the days."""
    early = nw.col("day") <= end
    # cheaper than marking each first day with a window, which Spark needs: it has no ordered `first`
    first_spend = nw.col("amount").first(order_by="day")
    if days.implementation.is_spark_like():
        is_first = nw.col("day") == nw.col("day").min().over("customer_id")
        days = days.with_columns(_first_amount=nw.when(is_first).then(nw.col("amount")))
        first_spend = nw.col("_first_amount").sum()
    return (
        days.with_columns(
            _early=flag(early),
            _late=flag(~early),
            _early_day=nw.when(early).then(nw.col("day")),
            _early_amount=nw.when(early).then(nw.col("amount")).otherwise(nw.lit(0.0)),
            _late_amount=nw.when(~early).then(nw.col("amount")).otherwise(nw.lit(0.0)),
        )
        .group_by("customer_id")
        .agg(
            first=nw.col("day").min(),
            last=nw.col("_early_day").max(),
            days=nw.col("_early").sum(),
            spend=nw.col("_early_amount").sum(),
            first_spend=first_spend,
            late_days=nw.col("_late").sum(),
            late_spend=nw.col("_late_amount").sum(),
        )
        .with_columns(_born=flag(nw.col("first") <= end))
    )


def _mean(total: np.ndarray[Any, Any], count: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.where(count > 0, total / np.maximum(count, 1), 0.0)


def _finish(found: pd.DataFrame, lines: Lines, end: int, unit: str, *, holdout: bool) -> pd.DataFrame:
    import pandas as pd

    born = found["_born"].to_numpy() == 1
    late_born = int((~born).sum())
    found = found[born].set_index("customer_id").sort_index()
    column = {c: found[c].to_numpy(dtype=float) for c in found.columns}
    scale = 7.0 if unit == "W" else 1.0
    repeats = column["days"] - 1
    out = {
        "frequency": repeats.astype(np.int64),
        "recency": (column["last"] - column["first"]) / scale,
        "T": (end - column["first"]) / scale,
        "monetary_value": _mean(column["spend"] - column["first_spend"], repeats),
    }
    if holdout:
        out |= {
            "frequency_holdout": column["late_days"].astype(np.int64),
            "monetary_value_holdout": _mean(column["late_spend"], column["late_days"]),
            "duration_holdout": np.full(len(found), (lines.last - end) / scale),
        }
    frame = pd.DataFrame(out, index=found.index)
    frame.attrs = {
        "unit": unit,
        "observation_end": dt.date.fromordinal(lines.last).isoformat(),
        "rows": lines.rows,
        "dropped": lines.dropped | ({BORN_LATE: late_born} if holdout else {}),
    }
    return frame
