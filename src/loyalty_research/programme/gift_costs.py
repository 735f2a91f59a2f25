"""Gifts and thank-you notes: what an extra visit costs, and what is left of the margin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Result, Row
from loyalty_research.i18n import message
from loyalty_research.programme._campaign_arms import arm_masks, cost_per_extra, mean_difference
from loyalty_research.programme._contact_rows import as_moment, local_moments, refuse
from loyalty_research.programme.contact_dose import margins, window_sums
from loyalty_research.programme.offers import offer_lift

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.estimates import Estimate
    from loyalty_research.programme.offers import OfferLift

    Floats = NDArray[np.float64]

__all__ = ["GiftCost", "gift_cost"]


@dataclass(frozen=True, repr=False)
class GiftCost(Result):
    """What a gift brought for what it cost.

    Attributes:
        visits: Extra days with an order per customer given something.
        cost_per_visit: Cost of one extra visit.
        lift: Lift in margin before the cost of the gift.
        left: Lift in margin less the cost of the gift, per customer.
    """

    title: ClassVar[str] = "Cost of a gift against what it brings"

    visits: Estimate
    cost_per_visit: Estimate
    lift: OfferLift
    left: Estimate

    def _rows(self) -> Iterable[Row]:
        group, estimand = message("given minus held out"), message("effect of the gift, all assigned")
        for name, found in (
            (message("days with an order per customer"), self.visits),
            (message("cost per extra visit"), self.cost_per_visit),
            (message("margin per customer"), self.lift.net),
            (message("margin less cost per customer"), self.left),
        ):
            yield Row(name, found, group=group, estimand=estimand)

    def _verdict(self) -> str:
        cost = self.cost_per_visit
        first = (
            message("An extra visit cost {cost} ({interval}).", cost=cost.format(), interval=cost.interval())
            if math.isfinite(cost.low)
            else message("What an extra visit cost cannot be limited: too few came of it.")
        )
        shown = {"left": self.left.format(signed=True), "interval": self.left.interval(signed=True)}
        if self.left.low > 0:
            second = message(
                "The gift paid for itself: {left} of margin per customer is left ({interval}).", **shown
            )
        elif self.left.high < 0:
            second = message(
                "The gift cost more than it brought: {left} of margin per customer ({interval}).", **shown
            )
        else:
            second = message(
                "Whether it paid for itself cannot be told: {left} per customer ({interval}).", **shown
            )
        return f"{first} {second}"


def gift_cost(
    customers: pd.DataFrame,
    transactions: pd.DataFrame,
    *,
    treated: str,
    control: str,
    start: dt.date | str,
    end: dt.date | str,
    after_days: int,
    as_of: dt.date | str,
    cost: float | str,
    arm: str = "arm",
    margin: float | None = None,
    ratio: float | None = None,
    timezone: str = "UTC",
    currency: str | None = None,
    level: float = 0.95,
) -> GiftCost:
    """Return what a gift, a thank-you note or a small surprise brought for what it cost.

    The gift is tried on some by lot. Visits are days with an order from ``start`` until the days
    after ``end`` are over, so that a visit that only came earlier is no extra one.

    Args:
        customers: ``customer_id`` and the column ``arm``, one row per customer assigned by lot.
        transactions: ``customer_id, transacted_at, amount`` and ``cost_of_goods`` or ``margin``.
        treated: Label of those given something.
        control: Label of those held out.
        start: First moment, naive UTC.
        end: First moment after the time in which it was given.
        after_days: Days after it that count.
        as_of: Last day observed.
        cost: Cost for each treated customer, or the column of ``customers`` that holds it.
        arm: Column of the arm.
        margin: Share of the amount that is margin, a fraction.
        ratio: Planned size of the treated over that of the control.
        timezone: Zone in which days are counted.
        currency: Code of the currency.
        level: Confidence level.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When a column is missing or a row is bad.
        DesignError: When nobody was held out.

    Examples:
        >>> people = pd.DataFrame({"customer_id": list("abcd"), "arm": ["note", "note", "none", "none"]})
        >>> orders = pd.DataFrame({"customer_id": list("aabc"), "amount": 20.0,
        ...     "transacted_at": pd.to_datetime(["2024-05-02", "2024-05-09", "2024-05-03", "2024-05-04"])})
        >>> found = gift_cost(people, orders, treated="note", control="none", start="2024-05-01",
        ...     end="2024-05-08", after_days=28, as_of="2024-06-30", margin=0.5, cost=2.0)
        >>> found.visits.value, found.cost_per_visit.value, found.left.value
        (1.0, 2.0, 8.0)

    References:
        Fieller (1954), JRSS B 16, 175-185.
    """
    lift = offer_lift(
        customers,
        transactions,
        treated=treated,
        control=control,
        start=start,
        end=end,
        after_days=after_days,
        as_of=as_of,
        arm=arm,
        margin=margin,
        ratio=ratio,
        currency=currency,
        level=level,
    )
    own, held = arm_masks(customers, arm, treated, control, "customers")
    spent = _spent(customers, cost, own)
    first, last = as_moment(start, "start"), as_moment(end, "end") + pd.Timedelta(days=after_days)
    visits, gain = _visits(customers, transactions, first, last, timezone, margin)
    return GiftCost(
        visits=mean_difference(visits, own, held, level=level),
        cost_per_visit=cost_per_extra(visits, spent, own, held, level=level, unit=currency),
        lift=lift,
        left=mean_difference(gain - spent, own, held, level=level, unit=currency),
        checks=lift.checks,
    )


def _spent(customers: pd.DataFrame, cost: float | str, own: NDArray[np.bool_]) -> Floats:
    if not isinstance(cost, str):
        if not (math.isfinite(cost) and cost > 0):
            raise ArgumentError(f"cost is what each treated customer cost, above 0; got {cost!r}")
        return np.where(own, float(cost), 0.0)
    if cost not in customers.columns:
        raise ContractError(f"customers lacks the column {cost} that holds the cost")
    spent = customers[cost].to_numpy(dtype=float, na_value=np.nan)
    refuse(
        ~np.isfinite(spent) | (spent < 0),
        f"customers.{cost} is missing or below 0",
        "give each its cost, or 0",
    )
    return spent


def _visits(
    customers: pd.DataFrame,
    transactions: pd.DataFrame,
    first: pd.Timestamp,
    last: pd.Timestamp,
    timezone: str,
    margin: float | None,
) -> tuple[Floats, Floats]:
    """Return days with an order and margin per customer, from first to before last."""
    people = pd.Index(customers["customer_id"])
    bought = transactions[transactions["customer_id"].notna() & (transactions["amount"].astype(float) > 0)]
    bought = bought[(bought["transacted_at"] >= first) & (bought["transacted_at"] < last)]
    days = bought.assign(day=local_moments(bought["transacted_at"], timezone).dt.normalize())
    count = days.drop_duplicates(["customer_id", "day"]).groupby("customer_id").size()
    gain = window_sums(margins(transactions, margin), people, first, last)
    return np.asarray(count.reindex(people).fillna(0), dtype=float), gain
