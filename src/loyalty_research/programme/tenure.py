"""How long customers have been customers, and how long they stay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.programme._linearised import FEWEST, plain_limits
from loyalty_research.programme._windows import date_of, purchase_days
from loyalty_research.stats.survival import (
    curve_at,
    curve_interval,
    curve_quantile,
    kaplan_meier,
    survival_at,
)
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.programme._windows import PurchaseDays
    from loyalty_research.stats.survival import SurvivalCurve

    Array = NDArray[Any]

__all__ = ["CustomerTenure", "active_tenure", "customer_tenure", "lifetimes", "staying"]


@dataclass(frozen=True, repr=False, eq=False)
class CustomerTenure(Result):
    """How long the customers of today have been customers, and how long a customer stays.

    Attributes:
        mean: Mean days since the first purchase, of customers who bought in the window.
        median: Median of the same, with limits from order statistics.
        lifetime: Days by which half of all customers have fallen silent, by Kaplan-Meier; NaN
            where fewer have.
        curve: ``days, share, low, high``: share of customers not yet silent.
        window: Days within which a customer counts as active.
        inactivity: Days of silence after which a customer counts as lost.
        as_of: Last day observed.
    """

    title: ClassVar[str] = "Tenure of customers"

    mean: Estimate
    median: Estimate
    lifetime: Estimate
    curve: pd.DataFrame
    window: int
    inactivity: int
    as_of: dt.date

    def _rows(self) -> Iterable[Row]:
        active = f"customers with a purchase within {self.window} days"
        yield Row(message("mean tenure so far"), self.mean, estimand=active)
        yield Row(message("median tenure so far"), self.median, estimand=active)
        yield Row(
            message("median time until lost"),
            self.lifetime,
            estimand=f"silent for more than {self.inactivity} days",
        )

    def _verdict(self) -> str:
        said = message(
            "The {n} customers who bought in the {days} days up to {date} were first seen {mean} days ago on average "
            "({interval}).",
            n=f"{self.mean.n:,}",
            days=f"{self.window:,}",
            date=self.as_of.isoformat(),
            mean=number(self.mean.value, digits=0),
            interval=self.mean.interval(),
        )
        if math.isnan(self.lifetime.value):
            return message(
                "{said} Fewer than half of all customers have fallen silent for more than {days} days.",
                said=said,
                days=f"{self.inactivity:,}",
            )
        return message(
            "{said} Of all customers half had fallen silent for more than {days} days by day {lifetime}: those still "
            "there today are the ones who stayed.",
            said=said,
            days=f"{self.inactivity:,}",
            lifetime=number(self.lifetime.value, digits=0),
        )


def customer_tenure(
    transactions: Any,
    *,
    window: int = 365,
    inactivity: int = 90,
    as_of: dt.date | str | None = None,
    level: float = 0.95,
) -> CustomerTenure:
    """Return how long active customers have been customers, and the time by which half of all are lost.

    The mean tenure of the customers of today is not how long a customer stays: those who left are
    not among them, and those there have not finished. The median time until lost counts everybody from
    their first purchase; a customer is lost at the first silence of more than ``inactivity`` days.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``; anything that
            narwhals reads.
        window: Days within which a customer counts as active.
        inactivity: Days of silence after which a customer counts as lost.
        as_of: Last day observed, that day included; by default the last day in the table.
        level: Confidence level.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column or a row is wrong.
        DesignError: When the record is shorter than a window, fewer than five customers bought in it, or nobody
            was followed for longer than ``inactivity``.

    Examples:
        >>> lines = pd.DataFrame({
        ...     "customer_id": list("abcdeabcf"), "amount": 10.0,
        ...     "transacted_date": pd.to_datetime(["2024-01-01", "2024-01-11", "2024-01-21", "2024-01-31", "2024-02-10"]
        ...                                       + ["2024-03-01", "2024-03-11", "2024-03-21", "2024-04-01"])})
        >>> found = customer_tenure(lines, window=90, inactivity=30, as_of="2024-04-10")
        >>> round(found.mean.value, 1), found.lifetime.value
        (68.2, 1.0)

    References:
        Kaplan and Meier (1958); Brookmeyer and Crowley (1982) for the limits of the median; David and
        Nagaraja (2003), Order Statistics, section 7.1.
    """
    level = check_level(level)
    window, inactivity = positive_days(window, "window"), positive_days(inactivity, "inactivity")
    record = purchase_days(transactions, as_of)
    record.need(window, "tenure")
    _, days = active_tenure(record, window)
    if days.size < FEWEST:
        raise DesignError(
            f"fewer than {FEWEST} customers bought in the {window:,} days up to {date_of(record.end)}; take a longer window"
        )
    _, stop, lost = lifetimes(record, inactivity)
    curve = kaplan_meier(stop, lost)
    low, high = curve_interval(curve, level=level)
    return CustomerTenure(
        mean_tenure(days, level),
        median=_median(days, level),
        lifetime=Estimate(
            *curve_quantile(curve, level=level), level, "kaplan-meier, log-log", int(stop.size), "days"
        ),
        curve=pd.DataFrame({"days": curve.times, "share": curve.survival, "low": low, "high": high}),
        window=window,
        inactivity=inactivity,
        as_of=date_of(record.end),
        checks=(_seen_check(record, days),),
    )


def active_tenure(record: PurchaseDays, window: int) -> tuple[pd.Index[Any], Array]:
    """Return who bought in the last window, and the days since each was first seen."""
    active = record.bought(record.end - window, record.end)
    return record.customers[active], record.end - record.first[active]


def mean_tenure(days: Array, level: float) -> Estimate:
    """Return the mean of tenures with limits by t."""
    spread = float(days.std(ddof=1)) / math.sqrt(days.size) if days.size > 1 else 0.0
    return plain_limits(
        float(days.mean()),
        spread,
        level=level,
        n=int(days.size),
        unit="days",
        freedom=days.size - 1,
        method="t",
    )


def _median(days: Array, level: float) -> Estimate:
    from scipy.stats import binom

    ordered, n = np.sort(days), days.size
    # as many customers below the lower limit as chance would leave, and as many above the upper
    tail = int(binom.ppf((1 - level) / 2, n, 0.5))
    low, high = (ordered[tail - 1], ordered[n - tail]) if tail > 0 else (math.nan, math.nan)
    return Estimate(
        float(np.median(days)), float(low), float(high), level, "order statistics", int(n), "days"
    )


def lifetimes(record: PurchaseDays, inactivity: int) -> tuple[pd.Index[Any], Array, Array]:
    """Return customers, how long each was followed from the first purchase, and whether they were lost then.

    A customer is lost on the day after the last purchase before the first silence of more than
    ``inactivity`` days. Nobody is followed further than ``inactivity`` days before the end, since later
    silences are not over.

    Raises:
        DesignError: When nobody was followed at all.
    """
    follow = record.end - inactivity - record.first
    silent = record.silent_from(inactivity)
    lost = silent < follow
    stop = np.where(lost, silent + 1, follow)
    seen = follow > 0
    if not seen.any():
        raise DesignError(
            f"nobody was followed for more than {inactivity:,} days since their first purchase; take a shorter silence"
        )
    return record.customers[seen], stop[seen], lost[seen]


def staying(stop: Array, lost: Array, horizon: int, *, level: float) -> tuple[Estimate, Array]:
    """Return the share not lost by a day, and by how much each customer moves it.

    Args:
        stop: Days followed, shape (n,).
        lost: Whether lost then, shape (n,).
        horizon: The day.
        level: Confidence level.

    Returns:
        Kaplan-Meier's estimate with log-log limits; and influences, whose squares add up to its variance.

    Raises:
        DesignError: When nobody was followed for so long.

    Examples:
        >>> found, moved = staying(np.array([5, 8, 8, 12]), np.array([True, True, False, False]), 10, level=0.95)
        >>> found.value, bool(abs(moved.sum()) < 1e-12)
        (0.5, True)
    """
    curve = kaplan_meier(stop, lost)
    share = float(survival_at(curve, [horizon])[0])
    if math.isnan(share):
        raise DesignError(
            message("nobody was followed for {days} days since their first purchase", days=f"{horizon:,}")
        )
    low, high = (
        float(curve_at(curve, steps, [horizon], before=1.0)[0])
        for steps in curve_interval(curve, level=level)
    )
    found = Estimate(share, low, high, level, "kaplan-meier, log-log", int(stop.size), "fraction")
    return found, _influence(curve, stop, lost, horizon) * share


def _influence(curve: SurvivalCurve, stop: Array, lost: Array, horizon: int) -> Array:
    """Return by how much each customer moves the log of a survival curve on a day."""
    before = curve.times <= horizon
    at_risk, events = curve.at_risk[before], curve.events[before]
    # of the product-limit curve: one who is lost takes 1 / (at risk - events), being at risk gives it back
    left = np.where(at_risk > events, at_risk - events, math.nan)
    # a step before the first, at which nothing happens
    given = np.concatenate([[0.0], np.cumsum(events / (at_risk * left))])
    own = np.concatenate([[0.0], 1 / left])
    slot = np.searchsorted(curve.times[before], np.minimum(stop, horizon), side="right")
    taken = np.where(lost & (stop <= horizon), own[slot], 0.0)
    moved: Array = given[slot] - taken
    return moved


def _seen_check(record: PurchaseDays, days: Array) -> Check:
    # as many first purchases in the first month as in none later: the record begins after the customers did
    early = int((days >= record.end - record.begin - 30).sum())
    return Check(
        message("First purchases"),
        "not measurable",
        message(
            "The record begins on {date}, and customers gained before then count from the day they are first seen: {early} "
            "of {all} were seen in its first month, and their tenure is at least what is counted.",
            date=date_of(record.begin).isoformat(),
            early=f"{early:,}" if early >= FEWEST or not early else message("fewer than {n}", n=FEWEST),
            all=f"{days.size:,}",
        ),
    )
