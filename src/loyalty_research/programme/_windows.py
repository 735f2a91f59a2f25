"""Purchases by customer inside windows that end on a given day, and how estimates of two days move together.

The lines stay where they are: in the engine each is narrowed to a customer's number, two day numbers
and an amount, once; every window is then one small aggregate by customer number.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.estimates import Estimate
from loyalty_research.summaries._frames import as_lazy, as_ordinal, collect, read_lines, to_dates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["PurchaseDays", "change", "one_currency", "purchase_days", "ratio_influence"]

NEVER = np.iinfo(np.int32).max
_BITS = 24  # of a number, for days since the first purchase
_SLICE = 50_000  # customers whose days are brought over at a time


@dataclass(frozen=True, eq=False)
class PurchaseDays:
    """Purchases of identified customers, up to the last day observed.

    Attributes:
        lines: One row per order or day: ``code`` (position in ``customers``), ``day`` (day number), ``age``
            (days since the customer's first), ``orders``, ``amount``; in the engine the table came in.
        customers: Customers, by the day of their first purchase.
        first: Day number of each customer's first purchase in the record.
        begin: Day number of the first purchase of the record.
        end: Day number of the last day observed.
        kept: Windows worked out already.
    """

    lines: nw.LazyFrame[Any]
    customers: pd.Index[Any]
    first: Array
    begin: int
    end: int
    kept: dict[tuple[str, int, int], tuple[Array, Array]] = field(default_factory=dict, repr=False)

    def _window(self, column: str, after: int, until: int) -> tuple[Array, Array]:
        """Return orders and amount of each customer after one value of a column up to another."""
        if (column, after, until) not in self.kept:
            inside = (nw.col(column) > after) & (nw.col(column) <= until)
            found = collect(
                self.lines.filter(inside).group_by("code").agg(nw.col("orders").sum(), nw.col("amount").sum())
            )
            code = found["code"].to_numpy(dtype=np.int64)
            orders, amount = np.zeros(len(self.customers), dtype=np.int64), np.zeros(len(self.customers))
            orders[code] = found["orders"].to_numpy(dtype=np.int64)
            # engines add floats in an order of their own, and money has cents
            amount[code] = found["amount"].to_numpy(dtype=float).round(2)
            self.kept[column, after, until] = orders, amount
        return self.kept[column, after, until]

    def bought(self, after: int, until: int) -> Array:
        """Say who bought after one day and up to another, that day included."""
        found: Array = self.orders(after, until) > 0
        return found

    def orders(self, after: int, until: int) -> Array:
        """Return how many orders each customer placed after one day and up to another."""
        return self._window("day", after, until)[0]

    def revenue(self, after: int, until: int) -> Array:
        """Return what each customer spent after one day and up to another, that day included."""
        return self._window("day", after, until)[1]

    def bought_at_age(self, after: int, until: int) -> Array:
        """Say who bought more than so many days after their first purchase, and up to so many."""
        found: Array = self._window("age", after, until)[0] > 0
        return found

    def revenue_at_age(self, after: int, until: int) -> Array:
        """Return what each customer spent in days counted from their first purchase, as for ``bought_at_age``."""
        return self._window("age", after, until)[1]

    @cached_property
    def second(self) -> Array:
        """Days from each customer's first purchase day to their second, ``NEVER`` where there is none."""
        found = collect(self.lines.filter(nw.col("age") > 0).group_by("code").agg(nw.col("age").min()))
        days = np.full(len(self.customers), NEVER, dtype=np.int64)
        days[found["code"].to_numpy(dtype=np.int64)] = found["age"].to_numpy(dtype=np.int64)
        return days

    def silent_from(self, inactivity: int) -> Array:
        """Days from each customer's first purchase to the last one before their first silence.

        A silence is longer than ``inactivity`` days, the one that the end of the record cuts off included;
        ``NEVER`` where there is none.
        """
        days = np.full(len(self.customers), NEVER, dtype=np.int64)
        for low in range(0, len(self.customers), _SLICE):
            some = self.lines.filter((nw.col("code") >= low) & (nw.col("code") < low + _SLICE))
            found = collect(some.select("code", "age"))
            # one sorted number a line: customer first, then age
            key = np.sort((found["code"].to_numpy(dtype=np.int64) << _BITS) | found["age"].to_numpy(np.int64))
            code, age = key >> _BITS, key & ((1 << _BITS) - 1)
            last = np.append(code[1:] != code[:-1], True)
            following = np.append(age[1:], 0)
            gap = np.where(last, self.end - self.first[code], following) - age > inactivity
            # the first of them stands first
            days[code[gap][::-1]] = age[gap][::-1]
        return days

    def until(self, end: int) -> PurchaseDays:
        """Return the record as it stood at the end of an earlier day."""
        count = int(np.searchsorted(self.first, end, side="right"))
        return replace(
            self,
            lines=self.lines.filter(nw.col("day") <= end),
            customers=self.customers[:count],
            first=self.first[:count],
            end=end,
            kept={},
        )

    def need(self, days: int, what: str) -> None:
        """Raise when the record is shorter than a measure needs.

        Raises:
            DesignError: When fewer days than ``days`` were observed.
        """
        have = self.end - self.begin + 1
        if have < days:
            raise DesignError(
                f"{what} needs {days:,} days of transactions up to {date_of(self.end)}, and the record has {have:,}; "
                "take a shorter window"
            )

    # --- day by day, for what cannot be said as a window --------------------------------------------

    def slices(self) -> Iterator[tuple[Array, Array, Array, Array]]:
        """Give ``code``, ``day``, ``orders``, ``amount``, one entry per customer and day, some customers at a time.

        Entries are sorted by code and day.
        """
        for low in range(0, len(self.customers), _SLICE):
            some = self.lines.filter((nw.col("code") >= low) & (nw.col("code") < low + _SLICE))
            found = collect(some.group_by("code", "day").agg(nw.col("orders").sum(), nw.col("amount").sum()))
            code, day = (found[c].to_numpy(dtype=np.int64) for c in ("code", "day"))
            order = np.lexsort((day, code))
            yield (
                code[order],
                day[order],
                found["orders"].to_numpy(dtype=np.int64)[order],
                found["amount"].to_numpy(dtype=float)[order],
            )

    @cached_property
    def _entries(self) -> tuple[Array, ...]:
        return tuple(np.concatenate(parts) for parts in zip(*self.slices(), strict=True))

    @property
    def code(self) -> Array:
        """Position in ``customers`` of each customer and purchase day, ascending."""
        return self._entries[0]

    @property
    def day(self) -> Array:
        """Day number of each customer and purchase day, ascending within a customer."""
        return self._entries[1]

    @property
    def amount(self) -> Array:
        """Amount of each customer and purchase day."""
        return self._entries[3]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """``customer_id``, ``transacted_date``, ``orders``, ``amount``, one row per customer and day."""
        code, day, orders, amount = self._entries
        return pd.DataFrame(
            {
                "customer_id": self.customers.take(code),
                "transacted_date": to_dates(day),
                "orders": orders,
                "amount": amount,
            }
        )


def date_of(day: int) -> dt.date:
    """Return the date of a day number."""
    return dt.date.fromordinal(day)


def purchase_days(transactions: Any, as_of: dt.date | str | None) -> PurchaseDays:
    """Read transactions up to the last day observed.

    Raises:
        ArgumentError: When ``as_of`` is before the first day.
        ContractError: When the table is empty, or a column or a row is wrong.
    """
    read = read_lines(transactions)
    firsts = read.frame.group_by("customer_id").agg(first=nw.col("day").min(), last=nw.col("day").max())
    numbered = _hold(firsts.with_row_index("code", order_by=["first", "customer_id"]))
    people = collect(numbered.sort("code"))
    first, last = people["first"].to_numpy(dtype=np.int64), int(people["last"].max())
    begin, end = int(first[0]), last if as_of is None else as_ordinal(as_of, "as_of")
    if end < begin:
        raise ArgumentError(
            f"as_of = {date_of(end)} is before the first day of transactions, {date_of(begin)}"
        )
    lines = read.frame if last <= end else read.frame.filter(nw.col("day") <= end)
    narrow = lines.join(numbered.select("customer_id", "code", "first"), on="customer_id").select(
        nw.col("code").cast(nw.Int32),
        nw.col("day").cast(nw.Int32),
        (nw.col("day") - nw.col("first")).cast(nw.Int32).alias("age"),
        nw.col("orders").cast(nw.Int32),
        "amount",
    )
    record = PurchaseDays(_hold(narrow), pd.Index(people["customer_id"]), first, begin=begin, end=end)
    return record.until(end) if first[-1] > end else record


def one_currency(transactions: Any) -> None:
    """Refuse amounts in several currencies, which cannot be added up.

    Args:
        transactions: Anything that narwhals reads; without a column ``currency`` there is one.

    Raises:
        ContractError: When there is more than one, with the first rows that differ from the first.

    Examples:
        >>> one_currency(pd.DataFrame({"currency": ["EUR", "EUR", "USD"]}))
        Traceback (most recent call last):
            ...
        loyalty_research.errors.ContractError: transactions holds amounts in EUR and USD: 1 row (at position 2) not in ...
    """
    lazy = as_lazy(transactions, "transactions")
    if "currency" not in lazy.collect_schema():
        return
    codes = collect(lazy.select("currency").unique())["currency"].dropna().astype(str)
    if len(codes) < 2:
        return
    every = collect(lazy.select("currency"))["currency"]
    main = every.dropna().iloc[0]
    rows = np.flatnonzero((every != main) & every.notna())
    raise ContractError(
        f"transactions holds amounts in {' and '.join(sorted(codes))}: {at_rows(rows.tolist())} not in {main}; "
        "convert them to one currency, or split the table"
    )


def _hold(frame: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Work a query out once, for the queries that are to follow."""
    if frame.implementation.is_duckdb():
        relation: Any = frame.to_native()
        held: nw.LazyFrame[Any] = nw.from_native(relation.materialize()).lazy()
        return held
    # Spark keeps what it wants to by itself
    return frame if frame.implementation.is_spark_like() else frame.collect().lazy()


def ratio_influence(ids: Any, numerator: Array, denominator: Array) -> pd.Series[float]:
    """Return by how much each customer moves a ratio of sums; the squares add up to its variance.

    Examples:
        >>> moved = ratio_influence(["a", "b", "c", "d"], np.array([1, 0, 1, 0]), np.ones(4))
        >>> float((moved**2).sum())
        0.0625
    """
    total = denominator.sum()
    ratio = numerator.sum() / total
    return pd.Series((numerator - ratio * denominator) / total, index=pd.Index(ids))


def change(
    later: Estimate, earlier: Estimate, moved_later: pd.Series[float], moved_earlier: pd.Series[float]
) -> Estimate:
    """Return the change between two days, with customers seen on both counted as the same people.

    Args:
        later: Estimate on the later day.
        earlier: The same measure on the earlier day.
        moved_later: How much each customer moves the later estimate, by customer.
        moved_earlier: How much each customer moves the earlier one.
    """
    from scipy.special import ndtri

    both = moved_later.sub(moved_earlier, fill_value=0.0).to_numpy()
    se = float(np.sqrt(both @ both))
    value = later.value - earlier.value
    half = float(ndtri(0.5 + later.level / 2)) * se if se > 0 else math.nan
    return Estimate(
        value,
        value - half,
        value + half,
        later.level,
        "normal, linearised by customer",
        later.n,
        later.unit,
    )
