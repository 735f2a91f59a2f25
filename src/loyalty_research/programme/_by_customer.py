"""Rows that share customers: reading them, adding them up by customer, and limits of ratios of the sums."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, at_rows
from loyalty_research.estimates import Estimate
from loyalty_research.programme._contact_rows import as_moment, refuse
from loyalty_research.stats.proportions import wilson_interval
from loyalty_research.summaries._frames import EPOCH, as_lazy, collect, need

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from loyalty_research.programme._windows import PurchaseDays

    Array = NDArray[Any]

__all__ = [
    "codes_by_customer",
    "day_numbers",
    "end_of_day",
    "flags",
    "mean_estimate",
    "moments",
    "purchases_between",
    "ratio_of_sums",
    "read_rows",
    "share_of_sums",
    "sums_by",
]

LINEAR = "linearised by customer, t"
SCORE = "linearised by customer, wilson"
TINY = 1e-13  # of the value: what rounding leaves where nothing varies


# --- reading -------------------------------------------------------------------------------------


def read_rows(table: Any, name: str, required: Sequence[str], spare: Sequence[str] = ()) -> pd.DataFrame:
    """Return the named columns of a table in its order of rows.

    Args:
        table: Anything that narwhals reads.
        name: What it is called in messages.
        required: Columns that must be there.
        spare: Columns that are kept where they are there.

    Raises:
        ContractError: When a required column is missing, or there are no rows.
    """
    lazy = as_lazy(table, name)
    columns = list(lazy.collect_schema())
    need(columns, required, name)
    wanted = [*required, *(c for c in spare if c in columns and c not in required)]
    frame = collect(lazy.select(*wanted)).reset_index(drop=True)
    if frame.empty:
        raise ContractError(f"{name} is empty: there is nothing to measure")
    return frame


def moments(frame: pd.DataFrame, column: str, name: str, *, gaps: bool = False) -> pd.Series[Any]:
    """Return a column of naive moments.

    Args:
        frame: The table.
        column: Its column.
        name: What the table is called in messages.
        gaps: Whether a moment may be missing.

    Raises:
        ContractError: When it holds text or carries a time zone, or a moment is missing that may not be.
    """
    values: Any = frame[column]
    if values.isna().all():
        values = pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us]")
    if not pd.api.types.is_datetime64_dtype(values):
        raise ContractError(
            f"{name}.{column} must hold moments without a time zone; it is {values.dtype}; parse it first, for "
            "example pandas.to_datetime(column, format=...)"
        )
    if not gaps:
        refuse(values.isna().to_numpy(), f"{name}.{column} is null", "fill it or leave the row out")
    found: pd.Series[Any] = values.astype("datetime64[us]")
    return found


def day_numbers(frame: pd.DataFrame, stem: str, name: str, *, gaps: bool = False) -> Array:
    """Return day numbers of ``<stem>_date`` where it is there, otherwise of ``<stem>_at``; NaN for none.

    Raises:
        ContractError: As :func:`moments`.
    """
    column = f"{stem}_date" if f"{stem}_date" in frame.columns else f"{stem}_at"
    if frame[column].dtype == object and not frame[column].isna().all():
        odd = [i for i, v in enumerate(frame[column]) if not (pd.isna(v) or hasattr(v, "toordinal"))]
        if odd:
            raise ContractError(f"{name}.{column} holds values that are not dates at {at_rows(odd)}")
        frame = frame.assign(**{column: pd.to_datetime(frame[column])})
    values = moments(frame, column, name, gaps=gaps)
    days = values.to_numpy().astype("datetime64[D]").astype(np.int64).astype(float) + EPOCH
    found: Array = np.where(values.isna(), math.nan, days)
    return found


def flags(frame: pd.DataFrame, column: str, name: str) -> Array:
    """Return 1 and 0 for true and false, NaN where it is not known.

    Raises:
        ContractError: When a cell is neither.
    """
    values = frame[column]
    unknown = values.isna().to_numpy()
    found = np.full(len(values), math.nan)
    known = values[~unknown]
    odd = np.flatnonzero(~unknown)[~known.isin([True, False]).to_numpy()]
    if odd.size:
        raise ContractError(
            f"{name}.{column} is neither true nor false at {at_rows(odd.tolist())}; map its values"
        )
    found[~unknown] = known.astype(bool).to_numpy()
    return found


def codes_by_customer(customers: pd.Series[Any]) -> NDArray[np.int64]:
    """Return a code per customer; every row without a customer is one of its own.

    Examples:
        >>> codes_by_customer(pd.Series(["a", None, "a", None])).tolist()
        [0, 1, 0, 2]
    """
    codes, known = pd.factorize(customers)
    codes = codes.astype(np.int64)
    nobody = codes < 0
    codes[nobody] = len(known) + np.arange(int(nobody.sum()))
    return codes


def end_of_day(as_of: dt.date | str, timezone: str) -> pd.Timestamp:
    """Return the first moment after a day of a time zone, as naive UTC.

    Raises:
        ArgumentError: When the day is none, or the zone is not known.

    Examples:
        >>> end_of_day("2024-06-30", "Europe/Madrid")
        Timestamp('2024-06-30 22:00:00')
    """
    day = as_moment(as_of, "as_of").normalize() + pd.Timedelta(days=1)
    try:
        local = day.tz_localize(timezone, ambiguous=True, nonexistent="shift_forward")
    except (KeyError, ValueError) as error:  # zoneinfo's error is a KeyError
        raise ArgumentError(
            f"timezone must be an IANA name such as 'Europe/Madrid'; got {timezone!r}"
        ) from error
    return local.tz_convert("UTC").tz_localize(None)


def purchases_between(
    record: PurchaseDays, customers: pd.Series[Any], after: Array, until: Array
) -> NDArray[np.int64]:
    """Return on how many days each row's customer bought after one day and up to another, that day included.

    Args:
        record: The purchases.
        customers: Customer of each row, shape (n,); one may have several rows.
        after: Day number of each row, shape (n,).
        until: Day number of each row, shape (n,).
    """
    reach = 10_000_000  # more days than there are
    keys = record.code.astype(np.int64) * reach + record.day
    who = record.customers.get_indexer(pd.Index(customers)).astype(np.int64)
    found = np.zeros(len(who), dtype=np.int64)
    known = who >= 0
    low, high = (who[known] * reach + np.asarray(day)[known].astype(np.int64) for day in (after, until))
    found[known] = np.searchsorted(keys, high, side="right") - np.searchsorted(keys, low, side="right")
    return np.maximum(found, 0)


# --- adding up -----------------------------------------------------------------------------------


def sums_by(codes: NDArray[np.int64], *values: Any) -> tuple[Array, ...]:
    """Return each column added up by code.

    Examples:
        >>> sums_by(np.array([0, 1, 0]), [1.0, 2.0, 3.0])[0].tolist()
        [4.0, 2.0]
    """
    size = int(codes.max()) + 1 if len(codes) else 0
    found: list[Array] = [
        np.bincount(codes, weights=np.asarray(v, dtype=float), minlength=size).astype(float) for v in values
    ]
    return tuple(found)


def _linear(part: Array, whole: Array, weight: Array | None) -> tuple[float, float, int]:
    """Return a ratio of sums, its linearised standard error, and the customers with anything in it."""
    w = np.ones(part.size) if weight is None else weight
    inside = (part != 0) | (whole != 0)
    part, whole, w = part[inside], whole[inside], w[inside]
    total = float(w @ whole)
    if not total > 0:
        raise ArgumentError("a ratio of sums needs a denominator above 0")
    value = float(w @ part) / total
    moved = w * (part - value * whole) / total
    count = int(inside.sum())
    return value, math.sqrt(float(moved @ moved) * count / max(count - 1, 1)), count


def ratio_of_sums(
    part: Array,
    whole: Array,
    *,
    level: float,
    n: int | None = None,
    unit: str | None = None,
    weights: Array | None = None,
) -> Estimate:
    """Return a ratio of two sums over customers with the delta method's interval.

    Args:
        part: What is added up above the line, one entry a customer, shape (n,).
        whole: The same below the line.
        level: Confidence level.
        n: What the estimate counts; customers by default.
        unit: Of the ratio.
        weights: One a customer.

    Raises:
        ArgumentError: When the denominator is not above 0.

    Examples:
        >>> ratio_of_sums(np.array([2.0, 4.0, 3.0]), np.array([1.0, 2.0, 2.0]), level=0.95)
        1.80 (95% interval 1.01 to 2.59; linearised by customer, t; n = 3)

    References:
        Cochran (1977), Sampling Techniques, section 6.4.
    """
    value, se, count = _linear(part, whole, weights)
    half = (
        float(stats.t.isf((1 - level) / 2, count - 1)) * se
        if count > 1 and se > TINY * abs(value)
        else math.nan
    )
    return Estimate(value, value - half, value + half, level, LINEAR, count if n is None else n, unit)


def share_of_sums(
    part: Array, whole: Array, *, level: float, n: int | None = None, weights: Array | None = None
) -> Estimate:
    """Return the share that one sum over customers is of another, with limits inside 0 and 1.

    Wilson's interval at the size that would have the delta method's variance, with t in place of z for
    the number of customers. Where all is or nothing is, customers are what is counted.

    Args:
        part: Part of ``whole`` of each customer, from 0 to it, shape (n,).
        whole: What it is part of, shape (n,).
        level: Confidence level.
        n: What the estimate counts; customers by default.
        weights: One a customer.

    Raises:
        ArgumentError: When the denominator is not above 0.

    Examples:
        >>> share_of_sums(np.array([1.0, 0.0, 1.0, 2.0]), np.array([1.0, 2.0, 2.0, 3.0]), level=0.95)
        50.0% (95% interval 12.6% to 87.4%; linearised by customer, wilson; n = 4)

    References:
        Cochran (1977), section 6.4; Korn and Graubard (1998), Survey Methodology 24, 193-201.
    """
    value, se, count = _linear(part, whole, weights)
    shown = count if n is None else n
    if count < 2 or (se <= TINY and 1e-12 < value < 1 - 1e-12):
        return Estimate(value, math.nan, math.nan, level, SCORE, shown, "fraction")
    effective = float(count) if se <= TINY else value * (1 - value) / se**2
    tail = (1 - level) / 2
    effective *= float((stats.norm.isf(tail) / stats.t.isf(tail, count - 1)) ** 2)
    value = min(max(value, 0.0), 1.0)
    low, high = wilson_interval(value * effective, effective, level=level)
    return Estimate(value, float(low), float(high), level, SCORE, shown, "fraction")


def mean_estimate(
    values: Array, *, level: float, unit: str | None = None, weights: Array | None = None
) -> Estimate:
    """Return a mean, weighted where weights are given, with its t interval.

    Examples:
        >>> mean_estimate(np.array([1.0, 2.0, 3.0, 4.0]), level=0.95)
        2.50 (95% interval 0.4457 to 4.55; t; n = 4)
    """
    size = values.size
    w = np.ones(size) if weights is None else weights
    mean = float(w @ values) / float(w.sum())
    moved = w * (values - mean) / w.sum()
    half, se = math.nan, math.sqrt(float(moved @ moved) * size / max(size - 1, 1))
    if size > 1 and se > TINY * abs(mean):
        half = float(stats.t.isf((1 - level) / 2, size - 1)) * se
    method = "t" if weights is None else "t, linearised weights"
    return Estimate(mean, mean - half, mean + half, level, method, size, unit)
