"""Purchases by customer inside windows that end on a given day, and how estimates of two days move together."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Estimate
from loyalty_research.summaries import daily
from loyalty_research.summaries._frames import EPOCH, as_ordinal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["PurchaseDays", "change", "purchase_days", "ratio_influence"]


@dataclass(frozen=True)
class PurchaseDays:
    """One entry per customer and purchase day, up to the last day observed.

    Attributes:
        frame: ``customer_id``, ``transacted_date``, ``orders``, ``amount``, sorted.
        customers: Customers, in order of first appearance in ``frame``.
        code: Position in ``customers`` of each entry.
        day: Day number of each entry.
        amount: Amount of each entry.
        begin: Day number of the first entry of the record.
        end: Day number of the last day observed.
    """

    frame: pd.DataFrame
    customers: pd.Index[Any]
    code: Array
    day: Array
    amount: Array
    begin: int
    end: int

    @property
    def first(self) -> Array:
        """Day number of each customer's first purchase in the record."""
        # entries are sorted by day within a customer
        starts = np.searchsorted(self.code, np.arange(len(self.customers)))
        found: Array = self.day[starts]
        return found

    def bought(self, after: Array | int, until: Array | int) -> Array:
        """Say who bought after one day and up to another, that day included."""
        low = after if isinstance(after, int) else after[self.code]
        high = until if isinstance(until, int) else until[self.code]
        inside = (self.day > low) & (self.day <= high)
        return np.bincount(self.code[inside], minlength=len(self.customers)) > 0

    def revenue(self, after: int, until: int) -> Array:
        """Return what each customer spent after one day and up to another, that day included."""
        inside = (self.day > after) & (self.day <= until)
        return np.bincount(
            self.code[inside], weights=self.amount[inside], minlength=len(self.customers)
        ).round(2)

    def until(self, end: int) -> PurchaseDays:
        """Return the record as it stood at the end of an earlier day."""
        return _record(self.frame[(self.day <= end)], self.begin, end)

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


def date_of(day: int) -> dt.date:
    """Return the date of a day number."""
    return dt.date.fromordinal(day)


def _record(frame: pd.DataFrame, begin: int, end: int) -> PurchaseDays:
    code, customers = pd.factorize(frame["customer_id"])
    day = frame["transacted_date"].to_numpy().astype("datetime64[D]").astype(np.int64) + EPOCH
    return PurchaseDays(
        frame,
        customers=pd.Index(customers),
        code=code,
        day=day,
        amount=frame["amount"].to_numpy(dtype=float),
        begin=begin,
        end=end,
    )


def purchase_days(transactions: Any, as_of: dt.date | str | None) -> PurchaseDays:
    """Read transactions up to the last day observed.

    Raises:
        ArgumentError: When ``as_of`` is before the first day.
        ContractError: When the table is empty, or a column or a row is wrong.
    """
    frame = daily(transactions)
    if frame.empty:
        raise DesignError("transactions holds no purchase of an identified customer")
    begin = frame["transacted_date"].min().toordinal()
    end = frame["transacted_date"].max().toordinal() if as_of is None else as_ordinal(as_of, "as_of")
    if end < begin:
        raise ArgumentError(
            f"as_of = {date_of(end)} is before the first day of transactions, {date_of(begin)}"
        )
    return _record(frame[frame["transacted_date"] <= pd.Timestamp(date_of(end))], begin, end)


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
