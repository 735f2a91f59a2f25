"""How often customers fall silent, those who come back counted again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from loyalty_research.churn.mean_cumulative import MeanCumulativeFunction
from loyalty_research.churn.recurrent import RecurrentData
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message, number
from loyalty_research.stats.survival import curve_interval, kaplan_meier, survival_at

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from matplotlib.axes import Axes

    from loyalty_research.churn.mean_cumulative import MeanCumulatives

__all__ = ["Lapses", "lapses"]


@dataclass(frozen=True, repr=False)
class Lapses(Result):
    """How often customers fell silent, and how many did at all.

    Attributes:
        curve: Mean number of lapses per customer by day.
        mean: The same on the horizon's day.
        ever: Share with one lapse or more by then.
        at: The horizon's day.
        inactivity_days: Silence that counts as a lapse.
    """

    title: ClassVar[str] = "Lapses and returns"

    curve: MeanCumulatives
    mean: Estimate
    ever: Estimate
    at: float
    inactivity_days: int

    def _rows(self) -> Iterable[Row]:
        day = number(self.at, digits=0)
        yield Row(message("lapses per customer by day {day}", day=day), self.mean, estimand=f"M({self.at:g})")
        yield Row(
            message("share who lapsed by day {day}", day=day), self.ever, estimand=f"1 - S({self.at:g})"
        )

    def _verdict(self) -> str:
        figures = {
            "day": number(self.at, digits=0),
            "mean": number(self.mean.value, digits=2),
            "interval": self.mean.interval(),
            "ever": self.ever.format(),
            "window": self.inactivity_days,
        }
        told = message(
            "By day {day} customers had fallen silent for more than {window} days {mean} times on average "
            "({interval}), and {ever} of them at least once.",
            **figures,
        )
        if self.ever.value > 0 and self.mean.value / self.ever.value >= 1.1:
            return message(
                "{told} Many of those who lapse come back and lapse again, so one departure each tells too little.",
                told=told,
            )
        return message("{told} Few lapse twice in that time.", told=told)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the mean number of lapses per customer by day."""
        return self.curve.plot(ax=ax)


def lapses(
    transactions: Any,
    *,
    inactivity_days: int,
    as_of: dt.date | str,
    at: float | None = None,
    level: float = 0.95,
) -> Lapses:
    """Count every lapse of each customer, not the first alone.

    The mean is over all customers watched, away or not: somebody away cannot lapse, and counts
    with those who do not.

    Args:
        transactions: As :meth:`ChurnData.from_transactions`.
        inactivity_days: Silence, in days, that counts as a lapse.
        as_of: Last day observed; follow-up ends ``inactivity_days`` before it.
        at: Day on the customers' clocks at which the answers are read; by default the last one on
            which half of the customers are watched.
        level: Confidence level.

    Raises:
        ArgumentError: When an option is out of range.
        ContractError: When the transactions break their contract, or nobody is followed, or nobody
            lapses.

    Examples:
        >>> import pandas as pd
        >>> bought = pd.DataFrame({"customer_id": [1, 1, 1, 2, 2], "amount": 9.0,
        ...     "transacted_at": pd.to_datetime(["2024-01-01", "2024-02-15", "2024-06-01",
        ...                                      "2024-01-01", "2024-09-01"])})
        >>> found = lapses(bought, inactivity_days=60, as_of="2024-12-31", at=200)
        >>> found.mean.value, found.ever.value
        (1.5, 1.0)

    References:
        Nelson (1995), Technometrics 37; Lawless, Nadeau (1995), Technometrics 37.
    """
    if at is not None and not at > 0:
        raise ArgumentError(f"at must be a positive number of days; got {at!r}")
    data = RecurrentData.from_transactions(transactions, inactivity_days=inactivity_days, as_of=as_of)
    curve = MeanCumulativeFunction(level=level).fit(data)
    until: Any = data.until
    day = float(np.floor(np.median(until))) if at is None else min(float(at), curve.last)
    mean = curve.mean_at([day]).iloc[0]
    opening = data.covariates["earlier_lapses"].to_numpy() == 0
    first = kaplan_meier(data.stop[opening], data.event[opening])
    low, high = curve_interval(first, level=level)
    place = int(np.searchsorted(first.times, day, side="right")) - 1
    n = data.n_customers
    return Lapses(
        curve=curve,
        mean=Estimate(
            float(mean["estimate"]), float(mean["low"]), float(mean["high"]), level, "Lawless-Nadeau, log", n
        ),
        ever=Estimate(
            1 - float(survival_at(first, [day])[0]),
            1 - float(high[place]) if place >= 0 else 0.0,
            1 - float(low[place]) if place >= 0 else 0.0,
            level,
            "log-log",
            n,
            "fraction",
        ),
        at=day,
        inactivity_days=int(inactivity_days),
        checks=data.checks,
    )
