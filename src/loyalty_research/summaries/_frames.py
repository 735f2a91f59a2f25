"""Reading transactions: columns and rows checked, left-out rows counted, dates as whole days.

Every date becomes a day number (``datetime.date.toordinal``), since that is plain integer
arithmetic on every engine: narwhals has no date difference on Spark, and grouping by a date is
slow in pandas.
"""

from __future__ import annotations

import datetime as dt
import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, at_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

__all__ = [
    "Lines",
    "as_lazy",
    "as_ordinal",
    "collect",
    "date_column",
    "day_number",
    "flag",
    "need",
    "part",
    "positive_days",
    "read_lines",
    "to_dates",
]

EPOCH = dt.date(1970, 1, 1).toordinal()

ANONYMOUS = "rows without a customer"
REFUNDS = "refund rows"
LATE = "rows after the last day observed"


@dataclass(frozen=True, slots=True)
class Lines:
    """Purchases that passed the checks.

    Attributes:
        frame: Lazy frame with ``customer_id``, ``day`` (day number), ``orders`` and, where asked
            for, ``amount`` (float64) and further integer keys.
        first: Day number of the first row of the table, whoever it belongs to.
        last: Day number of the last day observed.
        rows: Rows of the table.
        dropped: Reason to rows left out; the reasons do not overlap.
    """

    frame: nw.LazyFrame[Any]
    first: int
    last: int
    rows: int
    dropped: dict[str, int]

    @property
    def used(self) -> int:
        """Rows that remain."""
        return self.rows - sum(self.dropped.values())


def as_lazy(table: Any, name: str) -> nw.LazyFrame[Any]:
    """Return any table that narwhals knows as a lazy frame.

    Raises:
        ContractError: When ``table`` is no such thing.
    """
    frame: Any
    try:
        frame = nw.from_native(table)
        frame.lazy().collect_schema()
    except nw.exceptions.DuplicateError as error:
        names = [str(column) for column in table.columns]
        twice = sorted({column for column in names if names.count(column) > 1})
        raise ContractError(
            f"{name} has more than one column called {', '.join(twice)}: rename or leave out all but one"
        ) from error
    except TypeError as error:
        raise ContractError(
            f"{name} must be a pandas or Polars frame, a DuckDB relation, a Spark frame or a narwhals "
            f"frame; got {type(table).__name__}"
        ) from error
    lazy: nw.LazyFrame[Any] = frame.lazy()
    return lazy


def need(columns: Sequence[str], required: Sequence[str], name: str) -> None:
    """Raise when a table lacks required columns."""
    missing = [c for c in required if c not in columns]
    if missing:
        raise ContractError(
            f"{name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"it has {', '.join(map(str, columns)) or 'none'}"
        )


def collect(frame: nw.LazyFrame[Any]) -> pd.DataFrame:
    """Run a query and return pandas."""
    found: pd.DataFrame = frame.collect(backend="pandas").to_native()
    return found


def part(number: nw.Expr) -> nw.Expr:
    """Return a part of a date as int64, 0 where the date is null (pandas makes it a float NaN)."""
    return number.fill_null(0).cast(nw.Int64)


def day_number(column: nw.Expr) -> nw.Expr:
    """Return the proleptic Gregorian day number of a date or naive timestamp column.

    Null dates give a number below 1, since an integer column cannot hold a null in pandas.
    """
    years = part(column.dt.year()) - 1
    # whole division is a long expression on engines that know none; half a year keeps off the whole numbers
    leap_days = (years * 0.25).floor() - ((years + 0.5) * 0.01).floor() + ((years + 0.5) * 0.0025).floor()
    return years * 365 + leap_days.cast(nw.Int64) + part(column.dt.ordinal_day())


def to_dates(days: ArrayLike) -> pd.Series[pd.Timestamp]:
    """Turn day numbers into timestamps at midnight; NaN becomes NaT."""
    numbers_ = np.asarray(days, dtype=float)
    known = np.isfinite(numbers_)
    out = np.full(numbers_.shape, np.datetime64("NaT", "D"), dtype="datetime64[D]")
    out[known] = (numbers_[known].astype(np.int64) - EPOCH).astype("datetime64[D]")
    return pd.Series(out.astype("datetime64[us]"))


def as_ordinal(value: dt.date | str, name: str) -> int:
    """Return the day number of a date option.

    Raises:
        ArgumentError: When ``value`` is no date.
    """
    if isinstance(value, str):
        try:
            return dt.date.fromisoformat(value).toordinal()
        except ValueError as error:
            raise ArgumentError(f"{name} must be a date such as '2024-06-30'; got {value!r}") from error
    if isinstance(value, dt.date) and not pd.isna(value):
        return value.toordinal()
    if isinstance(value, np.datetime64) and not np.isnat(value):
        return dt.date.fromisoformat(str(value.astype("datetime64[D]"))).toordinal()
    raise ArgumentError(f"{name} must be a date such as '2024-06-30'; got {value!r}")


def positive_days(value: int, name: str, *, least: int = 1) -> int:
    """Return a whole number of days, or raise ArgumentError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(f"{name} must be a whole number of days, at least {least}; got {value!r}")
    return int(value)


def _tame_objects(table: Any, name: str, dates: Sequence[str], amounts: Sequence[str]) -> Any:
    """Give pandas object columns of dates and decimals a type that engines agree on."""
    native = nw.to_native(table, pass_through=True)
    if not isinstance(native, pd.DataFrame):
        return table
    for column in [c for c in (*dates, *amounts) if c in native.columns and native[c].dtype == object]:
        values = native[column]
        wanted = dt.date if column in dates else numbers.Number
        bad = [i for i, v in enumerate(values) if not (isinstance(v, wanted) or pd.isna(v))]
        if bad:
            word = "dates" if column in dates else "numbers"
            mend = _MEND_DATE if column in dates else _MEND_AMOUNT
            raise ContractError(f"{name}.{column} holds values that are not {word} at {at_rows(bad)}; {mend}")
        tamed = pd.to_datetime(values) if column in dates else pd.to_numeric(values).astype(float)
        native = native.assign(**{column: tamed})
    return native


_MEND_DATE = (
    "parse it first, for example pandas.to_datetime(column, format=...), or name datetime_format "
    "in data/datasets.yml"
)
_MEND_AMOUNT = "convert it first, for example pandas.to_numeric(column), decimal point and no currency sign"


def date_column(frame: nw.LazyFrame[Any], name: str, *candidates: str) -> str:
    """Return the first of the candidate columns that is there, checked to hold dates.

    Raises:
        ContractError: When none is there, or it is text or carries a time zone.
    """
    schema = frame.collect_schema()
    found = next((c for c in candidates if c in schema), candidates[-1])
    need(list(schema), [found], name)
    kind = schema[found]
    if isinstance(kind, nw.Datetime) and kind.time_zone is not None:
        raise ContractError(
            f"{name}.{found} carries the time zone {kind.time_zone}, and which day a moment falls on depends "
            f"on it; add {found.removesuffix('_at')}_date with the date in the business's time zone (on Spark, a "
            "moment that is meant to be naive has the type timestamp_ntz)"
        )
    if not isinstance(kind, (nw.Date, nw.Datetime)):
        raise ContractError(f"{name}.{found} is {kind}, not a date; {_MEND_DATE}")
    return found


def flag(condition: nw.Expr) -> nw.Expr:
    """Return 1 where a condition holds, otherwise 0."""
    # a boolean is never cast: PostgreSQL refuses; a null condition counts as false
    return nw.when(condition).then(nw.lit(1)).otherwise(nw.lit(0))


def _bad_rows(frame: nw.LazyFrame[Any], column: str) -> list[int]:
    flags = collect(frame.select(column))[column].to_numpy()
    return [int(i) for i in np.flatnonzero(flags)]


def read_lines(
    transactions: Any,
    *,
    amount: bool = True,
    until: int | None = None,
    keys: Mapping[str, Any] | None = None,
) -> Lines:
    """Check a transactions table and return its purchases.

    A table with a column ``orders`` and no ``transaction_id`` is taken for what
    :func:`loyalty_research.summaries.daily` returned, so ``orders`` are counted from it.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``,
            optionally ``type``.
        amount: Whether ``amount`` must be there.
        until: Last day observed, a day number; by default the last day in the table.
        keys: Name to a function of the date column's expression giving an integer column.

    Raises:
        ContractError: When columns are missing or of a wrong type, the table is empty, a date is
            null, an amount is null or not finite, or no purchase remains.
        ArgumentError: When ``until`` is before the first day of the table.
    """
    name = "transactions"
    table = _tame_objects(transactions, name, ("transacted_date", "transacted_at"), ("amount",))
    frame = as_lazy(table, name)
    schema = frame.collect_schema()
    when = date_column(frame, name, "transacted_date", "transacted_at")
    need(list(schema), ["customer_id", *(["amount"] if amount else [])], name)
    if "amount" in schema and not schema["amount"].is_numeric():
        raise ContractError(f"{name}.amount is {schema['amount']}, not a number; {_MEND_AMOUNT}")

    columns = _columns(schema, when, keys or {})
    flagged = frame.select(**columns)
    seen = _counts(flagged, until)
    _refuse(flagged, seen, name, when)
    dropped = {ANONYMOUS: seen["anonymous"], REFUNDS: seen["refunds"], LATE: seen["late"]}
    last = seen["last"] if until is None else until
    if last < seen["first"]:
        raise ArgumentError(
            f"the last day to observe, {dt.date.fromordinal(last)}, is before the first day of {name}, "
            f"{dt.date.fromordinal(seen['first'])}"
        )
    kept = flagged
    if any(dropped.values()):
        # one condition: an engine that guesses a share for each of three takes a large table for a small one
        out = nw.col("_anonymous") + nw.col("_refund") + flag(nw.col("day") > last)
        kept = flagged.filter(out == 0)
    wanted = ["customer_id", "day", "orders", *(["amount"] if amount else []), *(keys or {})]
    lines = Lines(kept.select(*wanted), seen["first"], last, seen["rows"], dropped)
    if lines.used == 0:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)
        raise ContractError(f"{name} has no purchase of a known customer: {reasons}")
    return lines


def _columns(schema: Mapping[str, Any], when: str, keys: Mapping[str, Any]) -> dict[str, nw.Expr]:
    moment = nw.col(when)
    refund = nw.lit(0)
    bad = nw.lit(0)
    if "amount" in schema:
        value = nw.col("amount").cast(nw.Float64)
        refund = flag(value < 0)
        bad = flag(nw.col("amount").is_null() | ~value.is_finite())
    if "type" in schema:
        refund = (
            flag(nw.col("type") == "refund")
            if "amount" not in schema
            else (nw.when(nw.col("type") == "refund").then(nw.lit(1)).otherwise(refund))
        )
    counted = "orders" in schema and "transaction_id" not in schema
    columns = {
        "customer_id": nw.col("customer_id"),
        "day": day_number(moment),
        "orders": nw.col("orders").cast(nw.Int64) if counted else nw.lit(1, dtype=nw.Int64),
        "_anonymous": flag(nw.col("customer_id").is_null()),
        "_undated": flag(moment.is_null()),
        "_bad_amount": bad,
        "_refund": refund,
    }
    if "amount" in schema:
        columns["amount"] = nw.col("amount").cast(nw.Float64)
    return columns | {key: make(moment) for key, make in keys.items()}


def _counts(flagged: nw.LazyFrame[Any], until: int | None) -> dict[str, int]:
    known, sale = nw.col("_anonymous") == 0, nw.col("_refund") == 0
    late = nw.lit(0) if until is None else flag(known & sale & (nw.col("day") > until))
    found = collect(
        flagged.with_columns(_lost_refund=flag(known & ~sale), _late=late).select(
            rows=nw.len(),
            anonymous=nw.col("_anonymous").sum(),
            undated=nw.col("_undated").sum(),
            bad_amounts=nw.col("_bad_amount").sum(),
            refunds=nw.col("_lost_refund").sum(),
            late=nw.col("_late").sum(),
            first=nw.col("day").min(),
            last=nw.col("day").max(),
        )
    ).iloc[0]
    return {str(key): 0 if pd.isna(value) else int(value) for key, value in found.items()}


def _refuse(flagged: nw.LazyFrame[Any], seen: Mapping[str, int], name: str, when: str) -> None:
    if seen["rows"] == 0:
        raise ContractError(f"{name} is empty: there is nothing to summarise")
    if seen["undated"]:
        rows = at_rows(_bad_rows(flagged, "_undated"))
        raise ContractError(f"{name}.{when} is null at {rows}; give each row its date or leave it out")
    if seen["bad_amounts"]:
        rows = at_rows(_bad_rows(flagged, "_bad_amount"))
        raise ContractError(
            f"{name}.amount is null or not finite at {rows}; give each row its amount or leave it out"
        )
