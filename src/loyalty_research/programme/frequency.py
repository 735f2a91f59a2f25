"""How often customers buy: orders per active customer and year, and how two periods or groups differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.programme._linearised import FEWEST, log_limits
from loyalty_research.programme._windows import date_of, purchase_days
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.programme._windows import PurchaseDays

    Array = NDArray[Any]

__all__ = [
    "FrequencyRatio",
    "PurchaseFrequency",
    "active_orders",
    "order_rate",
    "purchase_frequency",
    "purchase_frequency_ratio",
]

YEAR = 365


@dataclass(frozen=True, repr=False, eq=False)
class PurchaseFrequency(Result):
    """How many orders a year an active customer places.

    Attributes:
        rate: Orders per customer with an order in the window, and per 365 days.
        customers: Those customers.
        orders: Their orders in the window.
        newcomers: Of the customers, those first seen within the window.
        window: Length of the window, in days.
        as_of: Last day observed.
    """

    title: ClassVar[str] = "Purchase frequency"

    rate: Estimate
    customers: int
    orders: int
    newcomers: int
    window: int
    as_of: dt.date

    def _rows(self) -> Iterable[Row]:
        yield Row(
            message("orders per active customer and year"),
            self.rate,
            estimand=f"customers with an order within {self.window} days",
            extra={"orders": self.orders, "newcomers": self.newcomers},
        )

    def _verdict(self) -> str:
        return message(
            "The {n} customers who bought in the {days} days up to {date} placed {orders} orders: {rate} per customer "
            "and year ({interval}).",
            n=f"{self.customers:,}",
            days=f"{self.window:,}",
            date=self.as_of.isoformat(),
            orders=f"{self.orders:,}",
            rate=self.rate.format(),
            interval=self.rate.interval(),
        )


@dataclass(frozen=True, repr=False, eq=False)
class FrequencyRatio(Result):
    """How many times as often one group of customers, or one period, orders as another.

    Attributes:
        ratios: Group, or the later window, to the ratio of its frequency to the reference's.
        groups: ``group, customers, orders, per_year``, the reference among them.
        reference: What is compared with.
        window: Length of the window, in days.
        by_period: Whether two windows are compared and not groups.
        dispersion: Negative binomial dispersion of orders within groups; None between periods.
    """

    title: ClassVar[str] = "Ratio of purchase frequencies"

    ratios: dict[str, Estimate]
    groups: pd.DataFrame
    reference: str
    window: int
    by_period: bool
    dispersion: float | None

    def _rows(self) -> Iterable[Row]:
        what = f"orders within {self.window} days, ratio to {self.reference}"
        for group, ratio in self.ratios.items():
            yield Row(message("frequency ratio"), ratio, group=group, estimand=what)

    def _verdict(self) -> str:
        parts = [
            message(
                "{group}: {percent} as many orders per customer as {reference} ({low} to {high}).",
                group=group,
                percent=percent(ratio.value),
                reference=self.reference,
                low=percent(ratio.low),
                high=percent(ratio.high),
            )
            for group, ratio in self.ratios.items()
        ]
        if not self.by_period:
            parts.append(message("Whether belonging to a group is the reason, these figures do not say."))
        return " ".join(parts)


def active_orders(record: PurchaseDays, after: int, until: int) -> tuple[pd.Index[Any], Array]:
    """Return who bought after one day and up to another, and how many orders they placed."""
    orders = record.orders(after, until)
    active = orders > 0
    return record.customers[active], orders[active]


def purchase_frequency(
    transactions: Any, *, window: int = 365, as_of: dt.date | str | None = None, level: float = 0.95
) -> PurchaseFrequency:
    """Return how many orders a year an active customer places.

    Active is who ordered in the window at least once, so the figure is never below one order a window:
    it says how often those buy who buy, and nothing of those who stopped. Several orders of a day are
    several orders.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``, one row an order;
            anything that narwhals reads.
        window: Days of the window.
        as_of: Last day observed, that day included; by default the last day in the table.
        level: Confidence level.

    Returns:
        The rate per 365 days, with limits on the log scale from the spread over customers.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column or a row is wrong.
        DesignError: When the record is shorter than the window, or fewer than five customers bought in it.

    Examples:
        >>> lines = pd.DataFrame({
        ...     "customer_id": list("aabbbcdefa"), "amount": 10.0,
        ...     "transacted_date": pd.to_datetime(["2024-01-01", "2024-03-01", "2024-04-01", "2024-05-01"] * 2
        ...                                       + ["2024-06-01"] * 2)})
        >>> purchase_frequency(lines, window=146, as_of="2024-06-30").rate
        3.33 (95% interval 2.51 to 4.42; log, linearised by customer; n = 6)

    References:
        Cochran (1977), Sampling Techniques, section 6.4, for the linearised ratio.
    """
    level = check_level(level)
    window = positive_days(window, "window")
    record = purchase_days(transactions, as_of)
    record.need(window, "purchase frequency")
    who, orders = active_orders(record, record.end - window, record.end)
    if orders.size < FEWEST:
        raise DesignError(
            f"fewer than {FEWEST} customers bought in the {window:,} days up to {date_of(record.end)}; take a longer window"
        )
    first = record.first[record.customers.get_indexer(who)]
    newcomers = int((first > record.end - window).sum())
    return PurchaseFrequency(
        order_rate(orders, window, level),
        customers=int(orders.size),
        orders=int(orders.sum()),
        newcomers=newcomers,
        window=window,
        as_of=date_of(record.end),
        checks=(_newcomers(newcomers, int(orders.size)),),
    )


def order_rate(orders: Array, window: int, level: float) -> Estimate:
    """Return orders per customer and 365 days, of customers with at least one order each."""
    moved = orders / orders.sum() - 1 / orders.size
    value = float(orders.mean()) * YEAR / window
    return log_limits(value, float(np.sqrt(moved @ moved)), level=level, n=int(orders.size))


def _newcomers(count: int, of: int) -> Check:
    name = message("Customers first seen within the window")
    if not count:
        return Check(name, "passed", message("All customers could buy in the whole window."))
    return Check(
        name,
        "warning",
        message(
            "{count} of {all} customers were first seen within the window: they had less than all of it to buy again, "
            "and their first order is counted because it made them customers.",
            count=f"{count:,}",
            all=f"{of:,}",
        ),
    )


def purchase_frequency_ratio(
    transactions: Any,
    *,
    by: pd.Series[Any] | None = None,
    reference: str | None = None,
    window: int = 365,
    as_of: dt.date | str | None = None,
    method: Literal["robust", "negative-binomial"] = "robust",
    level: float = 0.95,
) -> FrequencyRatio:
    """Return how many times as often groups of customers order as a reference, or a period as the one before.

    Between groups everybody named in ``by`` counts, those without an order with 0; the spread of orders is
    far larger than Poisson's, so limits come from the spread seen in each group, or from a negative
    binomial with one dispersion. Between periods the customers active in each are compared, and whoever
    is active in both counts as the same person.

    Args:
        transactions: As for :func:`purchase_frequency`.
        by: Group of each customer, indexed by ``customer_id``; by default the window is compared with the
            one before it.
        reference: Group to compare with; by default the first in alphabetical order.
        window: Days of a window.
        as_of: Last day observed, that day included; by default the last day in the table.
        method: How limits between groups are found.
        level: Confidence level.

    Raises:
        ArgumentError: On a wrong option, such as a reference that is no group.
        ContractError: When a column or a row is wrong, or ``by`` names a customer twice or a group is missing.
        DesignError: When the record is too short, or a group has no orders or fewer than five customers.

    Examples:
        >>> lines = pd.DataFrame({
        ...     "customer_id": list("abcdeabcde") + list("fghij"), "amount": 10.0,
        ...     "transacted_date": pd.to_datetime(["2024-01-10", "2024-02-10", "2024-03-10"] * 5)})
        >>> groups = pd.Series(["card"] * 5 + ["none"] * 6, index=list("abcdefghijk"))
        >>> found = purchase_frequency_ratio(lines, by=groups, reference="none", window=82, as_of="2024-03-31")
        >>> round(found.ratios["card"].value, 3)
        2.4

    References:
        Cameron and Trivedi (2013), Regression Analysis of Count Data, section 3.2.3 (robust Poisson errors) and
        3.3.1 (NB2).
    """
    level = check_level(level)
    window = positive_days(window, "window")
    if method not in ("robust", "negative-binomial"):
        raise ArgumentError(f"method must be 'robust' or 'negative-binomial'; got {method!r}")
    if by is None:
        if method != "robust":
            raise ArgumentError("two periods share customers, so their limits are robust; leave method out")
        return _between_periods(purchase_days(transactions, as_of), window, level)
    names = _checked_groups(by, reference)
    record = purchase_days(transactions, as_of)
    record.need(window, "purchase frequency")
    orders = pd.Series(record.orders(record.end - window, record.end), index=record.customers)
    counts = orders.reindex(by.index, fill_value=0).to_numpy(dtype=np.int64)
    return _between_groups(counts, by.astype(str).to_numpy(), names, window, method, level)


def _checked_groups(by: pd.Series[Any], reference: str | None) -> list[str]:
    """Return the groups, the reference first."""
    if not isinstance(by, pd.Series):
        raise ArgumentError("by must be a pandas Series of groups, indexed by customer_id")
    twice, missing = int(by.index.duplicated().sum()), int(by.isna().sum())
    if twice or missing:
        raise ContractError(
            f"by names {twice:,} customers again and leaves {missing:,} groups empty; give each customer one group"
        )
    names = sorted(set(by.astype(str)))
    if len(names) < 2:
        raise DesignError(f"by has {len(names)} group; at least two are needed")
    first = names[0] if reference is None else str(reference)
    if first not in names:
        raise ArgumentError(f"reference {first!r} is no group of by; its groups are {', '.join(names)}")
    return [first, *(name for name in names if name != first)]


def _between_groups(
    counts: Array, group: Array, names: list[str], window: int, method: str, level: float
) -> FrequencyRatio:
    from loyalty_research.stats.negative_binomial import fit_negative_binomial

    code = pd.Categorical(group, categories=names).codes.astype(np.int64)
    n, total = np.bincount(code), np.bincount(code, weights=counts)
    for name, customers, orders in zip(names, n, total, strict=True):
        if customers < FEWEST or orders == 0:
            raise DesignError(
                f"group {name} has too little to compare: at least {FEWEST} customers and an order are needed"
            )
    fit = fit_negative_binomial(counts, code)
    if method == "negative-binomial":
        variance, label = fit.variance, "negative binomial, wald on the log scale"
    else:
        square = np.bincount(code, weights=(counts - fit.mean[code]) ** 2)
        variance, label = square / (n - 1) / n, "poisson, robust"
    relative = variance / fit.mean**2
    ratios = {
        name: _tested(
            float(fit.mean[i] / fit.mean[0]),
            math.sqrt(float(relative[i] + relative[0])),
            n=int(n[i] + n[0]),
            level=level,
            method=label,
        )
        for i, name in enumerate(names)
        if i
    }
    return FrequencyRatio(
        ratios,
        groups=_table(names, n, total, window),
        reference=names[0],
        window=window,
        by_period=False,
        dispersion=fit.dispersion,
        checks=(_spread_check(fit.dispersion),),
    )


def _between_periods(record: PurchaseDays, window: int, level: float) -> FrequencyRatio:
    record.need(2 * window, "purchase frequency of two windows")
    middle = record.end - window
    return _period_ratio(
        record.orders(middle - window, middle), record.orders(middle, record.end), window, level
    )


def _period_ratio(before: Array, after: Array, window: int, level: float) -> FrequencyRatio:
    """Compare orders of the same customers in two windows."""
    both = [before, after]
    n = np.array([int((orders > 0).sum()) for orders in both])
    if n.min() < FEWEST:
        raise DesignError(f"fewer than {FEWEST} customers bought in one of the windows; take longer ones")
    total = np.array([orders.sum() for orders in both])
    moved = [orders / orders.sum() - (orders > 0) / size for orders, size in zip(both, n, strict=True)]
    gap = moved[1] - moved[0]
    names = [
        message("the {days} days before", days=f"{window:,}"),
        message("the last {days} days", days=f"{window:,}"),
    ]
    rate = total / n
    ratio = _tested(
        float(rate[1] / rate[0]),
        math.sqrt(float(gap @ gap)),
        n=int(((both[0] > 0) | (both[1] > 0)).sum()),
        level=level,
        method="log, linearised by customer",
    )
    return FrequencyRatio(
        {names[1]: ratio},
        groups=_table(names, n, total, window),
        reference=names[0],
        window=window,
        by_period=True,
        dispersion=None,
    )


def _tested(value: float, spread: float, *, n: int, level: float, method: str) -> Estimate:
    from scipy.special import ndtr

    found = log_limits(value, spread, level=level, n=n, method=method)
    p = 2 * float(ndtr(-abs(math.log(value)) / spread)) if spread > 0 else math.nan
    return Estimate(found.value, found.low, found.high, level, method, n, p_value=p)


def _table(names: list[str], n: Array, total: Array, window: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "group": names,
            "customers": n,
            "orders": total.astype(np.int64),
            "per_year": total / n * YEAR / window,
        }
    )


def _spread_check(dispersion: float) -> Check:
    name = message("Spread of orders")
    if dispersion == 0:
        return Check(
            name, "passed", message("Orders vary no more between customers than Poisson counts would.")
        )
    return Check(
        name,
        "passed",
        message(
            "Orders vary more between customers than Poisson counts would (dispersion {dispersion}); the limits allow "
            "for it.",
            dispersion=number(dispersion, digits=2),
        ),
    )
