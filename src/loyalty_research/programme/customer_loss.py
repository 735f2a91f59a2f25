"""What lost customers took with them, and how many of the lost come back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.programme._linearised import FEWEST, log_limits
from loyalty_research.programme._windows import date_of, purchase_days
from loyalty_research.stats.proportions import proportion
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._windows import PurchaseDays

    Array = NDArray[np.float64]

__all__ = ["CustomerLoss", "customer_loss_value", "horizon_multiple", "lost_revenue"]

YEAR = 365


@dataclass(frozen=True, repr=False, eq=False)
class CustomerLoss(Result):
    """What customers had brought who did not come back.

    Attributes:
        mean: What each lost customer had brought in the window before, at ``margin_rate``.
        total: What they had brought together.
        lost: Share of the customers of the window before who did not come back.
        returned: Of those lost one window earlier, the share that has bought again since; None where
            the record does not reach back three windows, or fewer than five were lost.
        over_horizon: ``mean`` a year times ``multiple``: what a lost customer would have brought, had they
            stayed as the declared rates say; None without declared rates.
        multiple: Years of margin that the declared rates make of one; None likewise.
        customers: Customers of the window before.
        window: Days of a window.
        as_of: Last day observed.
        margin_rate: Share of revenue that counts.
    """

    title: ClassVar[str] = "Value of lost customers"

    mean: Estimate
    total: Estimate
    lost: Estimate
    returned: Estimate | None
    over_horizon: Estimate | None
    multiple: float | None
    customers: int
    window: int
    as_of: dt.date
    margin_rate: float

    def _rows(self) -> Iterable[Row]:
        what = "revenue" if self.margin_rate == 1 else f"{self.margin_rate:g} of revenue"
        before = f"{what} of the {self.window} days before"
        yield Row(message("value per lost customer"), self.mean, estimand=before)
        yield Row(message("value of all lost customers"), self.total, estimand=before)
        yield Row(message("customers lost"), self.lost, estimand=f"nothing bought in {self.window} days")
        if self.over_horizon is not None:
            yield Row(
                message("value per lost customer over the horizon"),
                self.over_horizon,
                estimand=f"{self.multiple:.4g} years of it, as declared",
            )
        if self.returned is not None:
            yield Row(
                message("lost one window earlier and returned"),
                self.returned,
                estimand=f"bought in the last {self.window} days",
            )

    def _verdict(self) -> str:
        said = message(
            "Of {n} customers of the {days} days before, {lost} did not come back in the {days} days up to {date}. Each "
            "had brought {mean} ({interval}), all of them {total}.",
            n=f"{self.customers:,}",
            days=f"{self.window:,}",
            lost=self.lost.format(),
            date=self.as_of.isoformat(),
            mean=self.mean.format(),
            interval=self.mean.interval(),
            total=self.total.format(),
        )
        if self.over_horizon is not None:
            said = message(
                "{said} At the declared rates that is {value} per lost customer over the horizon ({interval}).",
                said=said,
                value=self.over_horizon.format(),
                interval=self.over_horizon.interval(),
            )
        if self.returned is None:
            return said
        return message(
            "{said} Not all are gone for good: of those lost one window earlier {share} have bought again since.",
            said=said,
            share=self.returned.format(),
        )

    def claim_verdict(self, claimed: float, *, currency: str | None = None) -> str:
        """Set a published loss per lost customer beside the reader's own.

        Args:
            claimed: The published figure.
            currency: Its ISO 4217 code; a figure in another currency is not compared.
        """
        own = self.over_horizon or self.mean
        shown = number(claimed) if currency is None else f"{number(claimed, digits=2)} {currency}"
        if currency != own.unit:
            return message(
                "The published {claimed} per lost customer is in another currency, and of other customers; here it is "
                "{own} ({interval}).",
                claimed=shown,
                own=own.format(),
                interval=own.interval(),
            )
        values = {"claimed": shown, "own": own.format(), "interval": own.interval()}
        if own.low > claimed:
            return message(
                "Here a lost customer is worth more than the published {claimed}: {own} ({interval}).",
                **values,
            )
        if own.high < claimed:
            return message(
                "Here a lost customer is worth less than the published {claimed}: {own} ({interval}).",
                **values,
            )
        return message(
            "These data do not tell the loss of {own} ({interval}) from the published {claimed}.", **values
        )


def customer_loss_value(
    transactions: Any,
    *,
    window: int = 365,
    margin_rate: float = 1.0,
    retention: float | None = None,
    annual_discount_rate: float | None = None,
    horizon: int | None = None,
    as_of: dt.date | str | None = None,
    currency: str | None = None,
    level: float = 0.95,
) -> CustomerLoss:
    """Return what customers had brought in one window who bought nothing in the next.

    A customer without a contract never says that they leave: lost means not seen for a window, and some
    of the lost return. How many did so far is told of those lost one window earlier.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount`` in one currency;
            anything that narwhals reads. Refunds are left out.
        window: Days of a window.
        margin_rate: Share of revenue that is margin; 1 for revenue itself.
        retention: Share of customers kept from year to year, to look further than the window.
        annual_discount_rate: Effective annual rate; with ``retention``.
        horizon: Whole years to add up; by default all, with ``retention``.
        as_of: Last day observed, that day included; by default the last day of transactions.
        currency: ISO 4217 code, for sentences.
        level: Confidence level.

    Returns:
        Mean and total with limits on the log scale, and shares with Wilson's. The rates are declared, so the
        limits over the horizon do not allow for their being wrong.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column or a row is wrong.
        DesignError: When the record is shorter than two windows, or fewer than five customers were lost.

    Examples:
        >>> import pandas as pd
        >>> days = pd.to_datetime(["2024-01-01"] * 20 + ["2024-02-20"] * 10)
        >>> lines = pd.DataFrame({"customer_id": [f"c{i}" for i in [*range(20), *range(10, 20)]],
        ...                       "transacted_date": days, "amount": [20.0, 30.0] * 15})
        >>> found = customer_loss_value(lines, window=30, as_of="2024-02-29")
        >>> found.mean.value, found.total.value, found.lost.value
        (25.0, 250.0, 0.5)

    References:
        Gupta and Lehmann (2003), Customers as Assets, Journal of Interactive Marketing 17(1), 9-24, for the
        horizon; Cochran (1977), Sampling Techniques, section 6.4, for the linearised ratio.
    """
    level = check_level(level)
    window = positive_days(window, "window")
    if not 0 < margin_rate <= 1:
        raise ArgumentError(
            f"margin_rate is the share of revenue that is margin, above 0 and up to 1; got {margin_rate!r}"
        )
    multiple = _declared(retention, annual_discount_rate, horizon)
    record = purchase_days(transactions, as_of)
    before, gone = lost_revenue(record, window)
    mean, total, _ = loss_estimates(margin_rate * before, gone, level=level, currency=currency)
    returned, checks = _returned(record, window, level=level)
    over = None
    if multiple is not None:
        factor = multiple * YEAR / window
        over = log_limits(mean.value * factor, _spread(before, gone)[0], level=level, n=mean.n, unit=currency)
    return CustomerLoss(
        mean,
        total=total,
        lost=proportion(int(gone.sum()), gone.size, level=level),
        returned=returned,
        over_horizon=over,
        multiple=multiple,
        customers=gone.size,
        window=window,
        as_of=date_of(record.end),
        margin_rate=float(margin_rate),
        checks=(*checks, _new_check(record, window, multiple)),
    )


def horizon_multiple(retention: float, annual_discount_rate: float, horizon: int | None) -> float:
    """Return how many years of margin a customer is worth from now on, the first year whole.

    Args:
        retention: Share of customers kept from year to year.
        annual_discount_rate: Effective annual rate d.
        horizon: Whole years, or None for all.

    Returns:
        The sum of (r / (1 + d))^t over years t from 0: (1 + d)/(1 + d - r) for all years.

    Raises:
        ArgumentError: When a rate is out of range, or the sum has no end.

    Examples:
        >>> round(horizon_multiple(0.8, 0.1, None), 3), round(horizon_multiple(0.8, 0.1, 2), 3)
        (3.667, 1.727)
        >>> horizon_multiple(1.0, 0.0, 3)
        3.0

    References:
        Gupta and Lehmann (2003), Customers as Assets, Journal of Interactive Marketing 17(1), 9-24.
    """
    if not 0 <= retention <= 1:
        raise ArgumentError(f"retention must be a share from 0 to 1; got {retention!r}")
    if not (math.isfinite(annual_discount_rate) and annual_discount_rate >= 0):
        raise ArgumentError(
            f"annual_discount_rate must be a fraction of 0 or more, such as 0.1; got {annual_discount_rate!r}"
        )
    ratio = retention / (1 + annual_discount_rate)
    if horizon is None:
        if ratio >= 1:
            raise ArgumentError(
                "with retention of 100% and no discount the value has no end; give a horizon in years"
            )
        return 1 / (1 - ratio)
    if isinstance(horizon, bool) or horizon != int(horizon) or horizon < 1:
        raise ArgumentError(f"horizon must be a whole number of years, at least 1; got {horizon!r}")
    return float(np.sum(ratio ** np.arange(int(horizon))))


def _declared(retention: float | None, rate: float | None, horizon: int | None) -> float | None:
    if retention is None and rate is None:
        if horizon is not None:
            raise ArgumentError(
                "horizon needs retention and annual_discount_rate, which say what a year is worth"
            )
        return None
    if retention is None or rate is None:
        raise ArgumentError("retention and annual_discount_rate are declared together or not at all")
    return horizon_multiple(retention, rate, horizon)


def lost_revenue(record: PurchaseDays, window: int) -> tuple[Array, NDArray[np.bool_]]:
    """Return revenue of the window before of the customers who bought in it, and who of them is lost.

    Raises:
        DesignError: When the record is too short, fewer than five customers are lost, or they had brought
            nothing.
    """
    record.need(2 * window, "the value of lost customers")
    middle = record.end - window
    there = record.bought(middle - window, middle)
    gone = ~record.bought(middle, record.end)[there]
    if gone.sum() < FEWEST:
        raise DesignError(
            message(
                "fewer than {fewest} customers of the {days} days before the last {days} did not come back",
                fewest=FEWEST,
                days=f"{window:,}",
            )
        )
    value = record.revenue(middle - window, middle)[there]
    if not value[gone].sum() > 0:
        raise DesignError(message("those who did not come back had brought no revenue"))
    return value, gone


def loss_estimates(
    value: Array, gone: NDArray[np.bool_], *, level: float, currency: str | None
) -> tuple[Estimate, Estimate, Array]:
    """Return mean and total of lost customers, and by how much each customer moves the mean.

    Args:
        value: What each customer brought, shape (n,).
        gone: Who is lost, shape (n,).
        level: Confidence level.
        currency: ISO 4217 code, or None.

    Examples:
        >>> mean, total, moved = loss_estimates(
        ...     np.array([10.0, 30.0, 20.0]), np.array([True, True, False]), level=0.95, currency=None)
        >>> mean.value, total.value, moved.tolist()
        (20.0, 40.0, [-5.0, 5.0, 0.0])
    """
    per_mean, per_total = _spread(value, gone)
    n = int(gone.sum())
    total = float(value[gone].sum())
    mean = total / n
    moved = np.where(gone, (value - mean) / n, 0.0)
    return (
        log_limits(mean, per_mean, level=level, n=n, unit=currency),
        log_limits(total, per_total, level=level, n=gone.size, unit=currency),
        moved,
    )


def _spread(value: Array, gone: NDArray[np.bool_]) -> tuple[float, float]:
    """Return standard errors of the logarithms of mean and total."""
    taken = np.where(gone, value, 0.0) / value[gone].sum()
    k, n = int(gone.sum()), gone.size
    mean, total = taken - gone / k, taken - 1 / n
    return (
        math.sqrt(float(mean @ mean) * k / (k - 1)),
        math.sqrt(float(total @ total) * n / (n - 1)),
    )


def _returned(
    record: PurchaseDays, window: int, *, level: float
) -> tuple[Estimate | None, tuple[Check, ...]]:
    """Return the share of those lost one window earlier who bought in the last."""
    name = message("Lost customers who return")
    if record.end - record.begin + 1 < 3 * window:
        said = message(
            "How many return is not known: that needs {need} days of transactions, and the record has {have}.",
            need=f"{3 * window:,}",
            have=f"{record.end - record.begin + 1:,}",
        )
        return None, (Check(name, "not measurable", said),)
    last, middle, early = (record.end - k * window for k in range(3))
    lost = record.bought(early - window, early) & ~record.bought(early, middle)
    back = record.bought(middle, last)[lost]
    if lost.sum() < FEWEST or 0 < back.sum() < FEWEST:
        said = message(
            "Fewer than {fewest} customers were lost one window earlier, or returned.", fewest=FEWEST
        )
        return None, (Check(name, "not measurable", said),)
    share = proportion(int(back.sum()), back.size, level=level)
    said = message(
        "Of {n} customers lost one window earlier, {share} have bought again since ({interval}): the loss told here is "
        "not all final.",
        n=f"{back.size:,}",
        share=share.format(),
        interval=share.interval(),
    )
    return share, (Check(name, "warning" if back.any() else "passed", said),)


def _new_check(record: PurchaseDays, window: int, multiple: float | None) -> Check:
    middle = record.end - window
    there = record.bought(middle - window, middle)
    new = float((record.first[there] > middle - window).mean())
    if multiple is None:
        said = message(
            "{share} of the customers of the window before were first seen in it; what they brought is of less than a "
            "whole window.",
            share=percent(new),
        )
    else:
        said = message(
            "{share} of the customers of the window before were first seen in it; what they brought is of less than a "
            "whole window, and the horizon adds up years of it.",
            share=percent(new),
        )
    return Check(message("Customers there for the whole window"), "warning" if new > 0.25 else "passed", said)
