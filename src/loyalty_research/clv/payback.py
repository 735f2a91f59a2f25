"""Acquisition payback: when a new customer's margin has passed what winning them cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.clv._discount import YEAR
from loyalty_research.clv._kinds import require_continuous
from loyalty_research.clv.programme import check_cost
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.clv.value import LifetimeValue

    Array = NDArray[Any]

__all__ = ["AcquisitionPayback", "acquisition_payback"]


@dataclass(frozen=True, repr=False, eq=False)
class AcquisitionPayback(Result):
    """Cumulative expected margin of a new customer against the cost of winning one.

    Attributes:
        payback: Months until the expected margin passes the cost; infinite where it does not
            within ``longest_months``.
        acquisition_cost: Cost of winning one customer.
        first_margin: Margin of the first purchase.
        in_a_year: Expected margin by the end of the first year.
        longest_months: How far was looked.
        curve: ``month``, ``expected``, ``low``, ``high``.
        currency: ISO 4217 code, or None.
    """

    title: ClassVar[str] = "Payback of acquisition"

    payback: Estimate
    acquisition_cost: float
    first_margin: float
    in_a_year: Estimate
    longest_months: int
    curve: pd.DataFrame
    currency: str | None

    def _rows(self) -> Iterable[Row]:
        yield Row("months to payback", self.payback)
        yield Row("margin of a new customer in the first year", self.in_a_year)

    def _verdict(self) -> str:
        cost = self.in_a_year.format(self.acquisition_cost)
        if math.isinf(self.payback.value):
            return message(
                "A new customer is not expected to bring back a cost of {cost} within {longest} months; in the first "
                "year {year} comes in ({interval}).",
                cost=cost,
                longest=self.longest_months,
                year=self.in_a_year.format(),
                interval=self.in_a_year.interval(),
            )
        if self.payback.value == 0:
            return message("The first purchase alone is expected to bring back a cost of {cost}.", cost=cost)
        said = message(
            "A new customer is expected to bring back a cost of {cost} after {months} months",
            cost=cost,
            months=number(self.payback.value, digits=1),
        )
        if math.isinf(self.payback.high):
            return message(
                "{said}; the interval runs from {low} months to never within {longest}.",
                said=said,
                low=number(self.payback.low, digits=1),
                longest=self.longest_months,
            )
        return message(
            "{said} ({level} interval {low} to {high}).",
            said=said,
            level=percent(self.payback.level, digits=0),
            low=number(self.payback.low, digits=1),
            high=number(self.payback.high, digits=1),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw cumulative expected margin with its band, and the cost."""
        from loyalty_research.plots.clv_programme import payback as draw

        return draw(
            self.curve, ax=ax, cost=self.acquisition_cost, months=self.payback.value, currency=self.currency
        )


def _crossing(months: Array, curve: Array, cost: float) -> float:
    """Return when an increasing curve first reaches a cost, by linear interpolation."""
    reached = np.flatnonzero(curve >= cost)
    if not len(reached):
        return math.inf
    k = int(reached[0])
    if k == 0:
        return float(months[0])
    share = (cost - curve[k - 1]) / (curve[k] - curve[k - 1])
    return float(months[k - 1] + share * (months[k] - months[k - 1]))


def acquisition_payback(
    value: LifetimeValue,
    *,
    acquisition_cost: float,
    first_spend: float | None = None,
    longest_months: int = 60,
) -> AcquisitionPayback:
    """Say after how many months a new customer is expected to have paid for being won.

    A new customer's margin is that of the first purchase, and from then on margin x mean spend x
    discounted expected repeat purchases, under the models, margin and discount rate of ``value``.
    Limits of the time are where the limits of the curve pass the cost.

    Args:
        value: What :func:`customer_lifetime_value` returned.
        acquisition_cost: Cost of winning one customer, in the currency of the spend.
        first_spend: Spend of the first purchase; None takes it for one like any other, 0 leaves it
            out. The models know repeat purchases only.
        longest_months: How far to look.

    Raises:
        ArgumentError: When an option is out of range, new customers differ by covariates, or the model
            counts opportunities.
        DesignError: When the fitted spend has no finite mean.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.clv import BetaGeoNBD, GammaGamma, customer_lifetime_value
        >>> summary = pd.DataFrame({
        ...     "frequency": [0, 1, 3, 0, 2, 6, 0, 1, 0, 4],
        ...     "recency": [0, 10, 30, 0, 8, 37, 0, 2, 0, 20],
        ...     "T": [38, 38, 35, 30, 38, 38, 25, 30, 20, 33],
        ...     "monetary_value": [0, 20, 35, 0, 28, 40, 0, 22, 0, 31],
        ... })
        >>> value = customer_lifetime_value(
        ...     BetaGeoNBD(penalizer=0.1).fit(summary, unit="W"), GammaGamma(penalizer=0.1).fit(summary),
        ...     summary, horizon=52, annual_discount_rate=0.1, margin=0.4, currency="USD")
        >>> acquisition_payback(value, acquisition_cost=25, first_spend=0).payback.format()
        '9.90 months'
    """
    cost = check_cost(acquisition_cost)
    if first_spend is not None and not (math.isfinite(first_spend) and first_spend >= 0):
        raise ArgumentError(f"first_spend must be an amount of 0 or more, or None; got {first_spend!r}")
    if not (isinstance(longest_months, int) and longest_months >= 12):
        raise ArgumentError(f"longest_months must be a whole number of at least 12; got {longest_months!r}")
    transactions, spend = value.models
    if transactions.design_ is not None:
        raise ArgumentError(
            "payback is of a new customer, and this model has covariates, so new customers differ; fit one without"
        )
    require_continuous(transactions, "acquisition_payback")
    if not math.isfinite(spend.mean_spend_):
        raise DesignError("the fitted spend has no finite mean, so a new customer's margin has none")
    core, own = transactions.core, len(transactions.names)
    months = np.arange(longest_months + 1.0)
    year = YEAR[value.unit]
    times, zero = months[1:] * year / 12, np.zeros(longest_months)
    decay = math.log1p(value.annual_discount_rate) / year

    def margins(at: Array) -> Array:
        p, q, v = at[own:]
        mean = p * v / (q - 1) if q > 1 else math.inf
        born = core.alive(at[:own], zero, zero, zero)
        bought = born * core.purchases(at[:own], zero, zero, edges=(0.0, times), decay=decay)
        first = mean if first_spend is None else first_spend
        return np.asarray(value.margin * (first + mean * np.concatenate([[0.0], bought])), dtype=float)

    found = value.estimates(margins, [round(transactions.n_customers_)] * len(months))
    curve = pd.DataFrame(
        {
            "month": months,
            "expected": [e.value for e in found],
            "low": [e.low for e in found],
            "high": [e.high for e in found],
        }
    )
    # a curve that starts at 0 has no interval there
    curve[["low", "high"]] = curve[["low", "high"]].where(curve["expected"] > 0, 0.0)
    at, early, late = (_crossing(months, curve[c].to_numpy(), cost) for c in ("expected", "high", "low"))
    return AcquisitionPayback(
        Estimate(at, early, late, value.level, found[12].method, found[12].n, unit=message("months")),
        acquisition_cost=cost,
        first_margin=float(curve["expected"].iloc[0]),
        in_a_year=found[12],
        longest_months=longest_months,
        curve=curve,
        currency=value.currency,
    )
