"""Who comes back: retention by cohort, by fixed window and rolling, and the second purchase."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from loyalty_research.errors import DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.programme._windows import NEVER, date_of, purchase_days
from loyalty_research.stats.proportions import proportion, wilson_interval
from loyalty_research.stats.survival import (
    curve_at,
    curve_interval,
    curve_quantile,
    kaplan_meier,
    survival_at,
)
from loyalty_research.summaries import cohorts
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.programme._windows import PurchaseDays

    Array = NDArray[Any]

__all__ = ["RepeatPurchase", "Retention", "repeat_purchase_rate", "retention_rate"]


@dataclass(frozen=True, repr=False, eq=False)
class Retention(Result):
    """How many customers come back, counted in three ways.

    Attributes:
        rolling: Of the customers of the window before, the share that bought in the window up to the
            last day; None where the record is too short.
        fixed: Of the customers followed for two windows since their first purchase, the share that
            bought in the second; None where nobody was followed so long.
        triangle: ``cohort, period, customers, active, retention, low, high`` of mature cells.
        window: Length of the windows, in days.
        as_of: Last day observed.
        period: Calendar period of the cohorts.
    """

    title: ClassVar[str] = "Retention"

    rolling: Estimate | None
    fixed: Estimate | None
    triangle: pd.DataFrame
    window: int
    as_of: dt.date
    period: str

    def _rows(self) -> Iterable[Row]:
        if self.rolling is not None:
            yield Row(
                message("rolling retention"), self.rolling, estimand=f"{self.window} days on {self.window}"
            )
        if self.fixed is not None:
            yield Row(
                message("retention after the first purchase"),
                self.fixed,
                estimand=f"days {self.window + 1} to {2 * self.window}",
            )

    def _verdict(self) -> str:
        days = f"{self.window:,}"
        if self.rolling is not None:
            return message(
                "Of the {n} customers who bought in the {days} days before, {share} bought again in the {days} days up "
                "to {date} ({interval}).",
                n=f"{self.rolling.n:,}",
                days=days,
                share=self.rolling.format(),
                date=self.as_of.isoformat(),
                interval=self.rolling.interval(),
            )
        return message(
            "The record is too short to say how many customers of one window of {days} days buy in the next.",
            days=days,
        )


@dataclass(frozen=True, repr=False, eq=False)
class RepeatPurchase(Result):
    """How many new customers buy a second time, and how soon.

    Attributes:
        rate: Share with a second purchase day within the window, of customers followed that long.
        by_curve: The same by Kaplan-Meier, which counts in those followed for less.
        median: Days until half have bought again, NaN where fewer do.
        curve: ``days, share, low, high``: share that has bought again by each day.
        window: Length of the window, in days.
        customers: Customers in the record.
    """

    title: ClassVar[str] = "Repeat purchase"

    rate: Estimate
    by_curve: Estimate
    median: Estimate
    curve: pd.DataFrame
    window: int
    customers: int

    def _rows(self) -> Iterable[Row]:
        within = f"within {self.window} days"
        yield Row(message("repeat purchase rate"), self.rate, estimand=within)
        yield Row(message("repeat purchase rate, all followed"), self.by_curve, estimand=within)
        yield Row(message("median time to the second purchase"), self.median)

    def _verdict(self) -> str:
        said = message(
            "Of the {n} customers followed for {days} days since their first purchase, {share} bought on a second day "
            "within that time ({interval}).",
            n=f"{self.rate.n:,}",
            days=f"{self.window:,}",
            share=self.rate.format(),
            interval=self.rate.interval(),
        )
        if math.isnan(self.median.value):
            return message("{said} Fewer than half have bought again by the end of the record.", said=said)
        return message(
            "{said} Half have bought again after {median} days.",
            said=said,
            median=number(self.median.value, digits=0),
        )


def retention_rate(
    transactions: Any,
    *,
    window: int = 365,
    period: Literal["W", "M", "Q"] = "M",
    as_of: dt.date | str | None = None,
    level: float = 0.95,
) -> Retention:
    """Return retention: rolling, in a fixed window of each customer, and by cohort.

    A customer without a contract never says that they leave, so each figure names its window: the
    rolling rate follows everybody who bought in one window into the next; the fixed window starts at
    each customer's own first purchase and counts only those followed to its end; the triangle leaves
    out cells whose period is still running.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``; anything that
            narwhals reads.
        window: Days of a window.
        period: Calendar period of the cohorts: ``"W"``, ``"M"`` or ``"Q"``.
        as_of: Last day observed, that day included; by default the last day in the table.
        level: Confidence level.

    Returns:
        The rates, Wilson intervals, and the triangle.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column or a row is wrong, or no calendar period is over.
        DesignError: When nobody can be followed.

    Examples:
        >>> import pandas as pd
        >>> lines = pd.DataFrame({
        ...     "customer_id": ["a", "b", "c", "a", "d"],
        ...     "transacted_date": pd.to_datetime(
        ...         ["2024-01-03", "2024-01-09", "2024-01-20", "2024-02-11", "2024-02-15"]),
        ...     "amount": [10.0, 20.0, 30.0, 10.0, 10.0],
        ... })
        >>> retention_rate(lines, window=30, as_of="2024-03-02").rolling
        33.3% (95% interval 6.1% to 79.2%; wilson; n = 3)

    References:
        Wilson (1927), JASA 22, 209-212.
    """
    level = check_level(level)
    window = positive_days(window, "window")
    record = purchase_days(transactions, as_of)
    triangle = cohorts(transactions, period=period, as_of=date_of(record.end))
    low, high = wilson_interval(triangle["active"], triangle["customers"], level=level)
    triangle = triangle.drop(columns=["orders", "amount"]).assign(low=low, high=high)
    # everybody buys in the period that makes them a member of the cohort
    triangle.loc[triangle["period"] == 0, ["low", "high"]] = math.nan
    kept = rolling_retention(record, window)
    checks = [_start_check(record)]
    rolling = None
    if kept is not None and kept[1].size:
        rolling = proportion(int(kept[1].sum()), kept[1].size, level=level)
    else:
        checks.append(_short(message("Rolling retention"), record, 2 * window))
    followed = record.first + 2 * window <= record.end
    back = record.bought_at_age(window, 2 * window)
    fixed = None
    if followed.any():
        fixed = proportion(int((back & followed).sum()), int(followed.sum()), level=level)
    else:
        checks.append(_short(message("Retention after the first purchase"), record, 2 * window + 1))
    return Retention(
        rolling,
        fixed=fixed,
        triangle=triangle,
        window=window,
        as_of=date_of(record.end),
        period=period,
        checks=tuple(checks),
    )


def rolling_retention(record: PurchaseDays, window: int) -> tuple[pd.Index[Any], Array] | None:
    """Return the customers of the window before the last, and who of them bought in the last.

    None where the record does not reach back two windows.
    """
    if record.end - record.begin + 1 < 2 * window:
        return None
    before = record.bought(record.end - 2 * window, record.end - window)
    again = record.bought(record.end - window, record.end)
    return record.customers[before], again[before]


def repeat_purchase_rate(
    transactions: Any, *, window: int = 90, as_of: dt.date | str | None = None, level: float = 0.95
) -> RepeatPurchase:
    """Return the share of new customers who buy on a second day, and the time it takes.

    A customer gained last week has had no time to come back; counting them would lower the rate the
    faster a business grows. The rate is of those followed for the whole window; Kaplan-Meier's curve
    counts everybody in for as long as they were followed.

    Args:
        transactions: As for :func:`retention_rate`.
        window: Days since the first purchase within which the second must fall.
        as_of: Last day observed, that day included; by default the last day in the table.
        level: Confidence level.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column or a row is wrong.
        DesignError: When nobody was followed for the window.

    Examples:
        >>> import pandas as pd
        >>> lines = pd.DataFrame({
        ...     "customer_id": ["a", "b", "c", "a", "d"],
        ...     "transacted_date": pd.to_datetime(
        ...         ["2024-01-03", "2024-01-09", "2024-01-20", "2024-01-25", "2024-02-25"]),
        ...     "amount": [10.0, 20.0, 30.0, 10.0, 10.0],
        ... })
        >>> repeat_purchase_rate(lines, window=30, as_of="2024-03-02").rate
        33.3% (95% interval 6.1% to 79.2%; wilson; n = 3)

    References:
        Wilson (1927); Kaplan and Meier (1958); Brookmeyer and Crowley (1982) for the median.
    """
    level = check_level(level)
    window = positive_days(window, "window")
    record = purchase_days(transactions, as_of)
    followed, back = second_purchase(record, window)
    if not followed.any():
        raise DesignError(
            f"no customer was followed for {window:,} days since their first purchase; the record ends on "
            f"{date_of(record.end)}: take a shorter window"
        )
    days, again = _times_to_second(record)
    # somebody who first buys on the last day is followed for no time at all
    seen = days > 0
    curve = kaplan_meier(days[seen], again[seen])
    low, high = curve_interval(curve, level=level)
    share = 1 - float(survival_at(curve, [window])[0])
    least, most = (1 - float(curve_at(curve, steps, [window], before=1.0)[0]) for steps in (high, low))
    median = curve_quantile(curve, level=level)
    n = int(seen.sum())
    return RepeatPurchase(
        proportion(int((back & followed).sum()), int(followed.sum()), level=level),
        by_curve=Estimate(share, least, most, level, "kaplan-meier, log-log", n, "fraction"),
        median=Estimate(*median, level, "kaplan-meier, log-log", n, "days"),
        curve=pd.DataFrame(
            {"days": curve.times, "share": 1 - curve.survival, "low": 1 - high, "high": 1 - low}
        ),
        window=window,
        customers=len(record.customers),
        checks=(_start_check(record),),
    )


def second_purchase(record: PurchaseDays, window: int) -> tuple[Array, Array]:
    """Return, by customer, who was followed for the window and who bought again within it."""
    return record.first + window <= record.end, record.second <= window


def _times_to_second(record: PurchaseDays) -> tuple[Array, Array]:
    """Return days from the first to the second purchase day, or to the end, and whether it came."""
    again = record.second < NEVER
    return np.where(again, record.second, record.end - record.first).astype(float), again


def _start_check(record: PurchaseDays) -> Check:
    return Check(
        message("First purchases"),
        "not measurable",
        message(
            "A customer's first purchase is the first one in the record, which begins on {date}. Customers gained "
            "before then count as new on the day they are first seen.",
            date=date_of(record.begin).isoformat(),
        ),
    )


def _short(name: str, record: PurchaseDays, days: int) -> Check:
    return Check(
        name,
        "not measurable",
        message(
            "It needs {days} days of transactions and customers in all of them; the record has {have} days.",
            days=f"{days:,}",
            have=f"{record.end - record.begin + 1:,}",
        ),
    )
