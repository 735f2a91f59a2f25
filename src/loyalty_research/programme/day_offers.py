"""Offers made to everybody on a day: compared with the same weekdays around, and the days after."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message
from loyalty_research.programme._contact_rows import as_moment, local_moments
from loyalty_research.programme.contact_dose import margins, mean_estimate
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["OfferDays", "offer_days"]

ENOUGH = 3
WEEK = 7


@dataclass(frozen=True, repr=False)
class OfferDays(Result):
    """Margin on offer days less that of the same weekdays around them.

    Attributes:
        before: Mean difference over the days before; below 0 where orders waited for the offer.
        on_day: Mean difference on the day.
        after: Mean difference over the days after; below 0 where orders were only pulled forward.
        net: Mean difference of the day and the days before and after together.
        by_date: ``date, before, on_day, after, net`` per offer day.
        before_days: Days before the offer day.
        after_days: Days after the offer day.
        weeks: Weeks before and after that the weekdays are taken from.
    """

    title: ClassVar[str] = "Offer days against the same weekdays"

    before: Estimate | None
    on_day: Estimate
    after: Estimate
    net: Estimate
    by_date: pd.DataFrame
    before_days: int
    after_days: int
    weeks: int

    def _rows(self) -> Iterable[Row]:
        estimand = message("less the same weekdays within {weeks} weeks", weeks=str(self.weeks))
        for group, estimate in (
            (message("{days} days before", days=str(self.before_days)), self.before),
            (message("on the day"), self.on_day),
            (message("{days} days after", days=str(self.after_days)), self.after),
            (message("together"), self.net),
        ):
            if estimate is not None:
                yield Row(message("margin per offer day"), estimate, group=group, estimand=estimand)

    def _verdict(self) -> str:
        shown = {
            "early": str(self.before_days),
            "days": str(self.after_days),
            "net": self.net.format(signed=True),
        }
        caution = message("Everybody had the offer, so whatever else fell on those days counts with it.")
        if math.isnan(self.net.low):
            return (
                message(
                    "The offer days differ by {net}, {early} days before and {days} days after included; too few days to say how "
                    "sure that is.",
                    **shown,
                )
                + " "
                + caution
            )
        return (
            message(
                "The offer days differ from other weekdays by {net} of margin each ({interval}), {early} days before and {days} "
                "days after included.",
                interval=self.net.interval(signed=True),
                **shown,
            )
            + " "
            + caution
        )


def offer_days(
    transactions: pd.DataFrame,
    *,
    dates: Sequence[dt.date | str],
    as_of: dt.date | str,
    timezone: str = "UTC",
    margin: float | None = None,
    weeks: int = 4,
    before_days: int = 3,
    after_days: int = 6,
    currency: str | None = None,
    level: float = 0.95,
) -> OfferDays:
    """Compare offer days, such as days of double points, with the same weekdays around them.

    For offers without a holdout. Each offer day, and each day before and after it, is compared with the
    mean of the same weekday in the weeks before and after, offer days and the days around them left out.
    The differences of the offer days are averaged; their spread over the days gives the interval.

    Args:
        transactions: ``customer_id, transacted_at`` (naive UTC), ``amount`` and ``cost_of_goods`` or
            ``margin``.
        dates: Days of the offer, in local time.
        as_of: Last day observed, in local time.
        timezone: Zone in which days are counted.
        margin: Share of the amount that is margin, a fraction.
        weeks: Weeks before and after from which weekdays are taken.
        before_days: Days before the offer in which orders may have waited for it.
        after_days: Days after the offer in which orders may be missing.
        currency: Code of the margin's currency, for display.
        level: Confidence level.

    Returns:
        Differences with t intervals over offer days; without limits for fewer than three.

    Raises:
        ArgumentError: When a date, the zone or a number of days is not valid.
        ContractError: When a column is missing or a row is bad.
        DesignError: When an offer day has no day to be compared with, or lies outside the data.

    Examples:
        >>> days = pd.date_range("2024-04-01", "2024-06-30")
        >>> orders = pd.DataFrame({"customer_id": "a", "transacted_at": days, "amount": 100.0})
        >>> orders.loc[days == "2024-05-15", "amount"] = 150.0
        >>> orders.loc[days == "2024-05-16", "amount"] = 70.0
        >>> found = offer_days(orders, dates=["2024-05-15"], as_of="2024-06-30", margin=0.5)
        >>> found.on_day.value, found.after.value, found.net.value
        (25.0, -15.0, 10.0)

    References:
        Neslin (2002), Sales Promotion, chapter 3, on the dip after a promotion.
    """
    check_level(level)
    positive_days(weeks, "weeks")
    positive_days(before_days, "before_days", least=0)
    positive_days(after_days, "after_days", least=0)
    wanted = sorted({as_moment(d, "dates").normalize() for d in dates})
    if not wanted:
        raise ArgumentError("dates names no offer day")
    series, first = _by_day(margins(transactions, margin), timezone, as_moment(as_of, "as_of").normalize())
    starts = np.array([(d - first).days for d in wanted])
    if starts.min() - before_days < 0 or starts.max() + after_days >= len(series):
        raise DesignError(
            f"an offer day, or the {before_days} days before or the {after_days} days after it, lies outside the data "
            f"({first.date()} to {as_of}): leave it out"
        )
    around = np.arange(-before_days, after_days + 1)
    gaps = _differences(series, starts, around=around, weeks=weeks)
    early, day, later = (gaps[:, m].sum(axis=1) for m in (around < 0, around == 0, around > 0))
    net = early + day + later
    return OfferDays(
        before=_over_dates(early, level, currency) if before_days else None,
        on_day=_over_dates(day, level, currency),
        after=_over_dates(later, level, currency),
        net=_over_dates(net, level, currency),
        by_date=pd.DataFrame({"date": wanted, "before": early, "on_day": day, "after": later, "net": net}),
        before_days=before_days,
        after_days=after_days,
        weeks=weeks,
        checks=(
            Check(
                message("Design"),
                "warning",
                message(
                    "A comparison of dates, not a holdout: seasons and other campaigns are not separated."
                ),
            ),
            _dates_check(len(wanted)),
        ),
    )


def _by_day(gains: pd.DataFrame, timezone: str, end: pd.Timestamp) -> tuple[Floats, pd.Timestamp]:
    """Return margin per local day from the first day to the last observed, 0 where none was sold."""
    local = local_moments(gains["transacted_at"], timezone).dt.normalize()
    kept = gains.assign(day=local)[local <= end]
    if kept.empty:
        raise DesignError(f"transactions has no order up to {end.date()}")
    first = kept["day"].min()
    days = pd.date_range(first, end, freq="D")
    return np.asarray(kept.groupby("day")["margin"].sum().reindex(days, fill_value=0.0), dtype=float), first


def _differences(
    series: Floats, starts: NDArray[np.int64], *, around: NDArray[np.int64], weeks: int
) -> Floats:
    """Return per offer day and day around it the margin less that of clean same weekdays."""
    touched = np.zeros(len(series), dtype=bool)
    for start in starts:
        touched[start + around] = True
    steps = np.concatenate([np.arange(-weeks, 0), np.arange(1, weeks + 1)]) * WEEK
    found = np.empty((len(starts), len(around)))
    for i, start in enumerate(starts):
        for k, shift in enumerate(around):
            others = start + shift + steps
            others = others[(others >= 0) & (others < len(series))]
            others = others[~touched[others]]
            if not len(others):
                raise DesignError(
                    f"day {shift} from offer day number {i + 1} has no same weekday within {weeks} weeks that is free of "
                    "offers: name more weeks or fewer days before and after"
                )
            found[i, k] = series[start + shift] - series[others].mean()
    return found


def _over_dates(values: Floats, level: float, currency: str | None) -> Estimate:
    found = mean_estimate(values, level=level, unit=currency)
    if len(values) >= ENOUGH:
        return found
    return Estimate(found.value, math.nan, math.nan, level, "t", len(values), currency)


def _dates_check(n: int) -> Check:
    return Check(
        message("Offer days"),
        "passed" if n >= ENOUGH else "warning",
        message("{n} offer days; an interval needs at least three.", n=str(n)),
    )
