"""What it costs to gain a customer and to keep one, and why the two are rarely comparable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from loyalty_research.data.privacy import suppress_small_cells
from loyalty_research.errors import ArgumentError, DesignError, listed
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.programme._linearised import FEWEST, few, log_limits, unknown
from loyalty_research.programme._period_costs import cost_lines, overlapping_rates, read_costs
from loyalty_research.programme._windows import date_of, purchase_days
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._period_costs import CostLine
    from loyalty_research.programme._windows import PurchaseDays

    Array = NDArray[np.float64]
    Bools = NDArray[np.bool_]

__all__ = ["AcquisitionCost", "Purpose", "Spending", "acquisition_and_retention_cost", "period_spending"]

Purpose = Literal["acquisition", "retention"]
PURPOSES: tuple[Purpose, Purpose] = ("acquisition", "retention")
_METHOD = "log, linearised by customer"


@dataclass(frozen=True, repr=False, eq=False)
class AcquisitionCost(Result):
    """Cost of gaining a customer beside cost of keeping one.

    Attributes:
        per_new: Acquisition spend per new customer; not measurable without such spend or customers.
        per_retained: Retention spend per retained customer; likewise.
        ratio: ``per_new`` / ``per_retained``; likewise.
        new_customers: Customers who first bought in the window.
        retained: Customers who bought in the window before and again in this one.
        acquisition_spend: Spend declared to be for acquisition.
        retention_spend: Spend declared to be for retention.
        lines: ``purpose, item, kind, unit, quantity, customers, spend``; a line that rests on fewer than five
            customers is blanked with what would give it away.
        window: Days of a window.
        as_of: Last day observed.
    """

    title: ClassVar[str] = "Cost of acquisition and of retention"

    per_new: Estimate
    per_retained: Estimate
    ratio: Estimate
    new_customers: int
    retained: int
    acquisition_spend: float
    retention_spend: float
    lines: pd.DataFrame
    window: int
    as_of: dt.date

    def _rows(self) -> Iterable[Row]:
        days = f"{self.window} days"
        yield Row(message("cost per new customer"), self.per_new, estimand=f"acquisition spend of {days}")
        yield Row(
            message("cost per retained customer"), self.per_retained, estimand=f"retention spend of {days}"
        )
        yield Row(
            message("cost of a new customer per 1 of a retained one"),
            self.ratio,
            estimand="averages of spend, not what one more customer would cost",
        )

    def _verdict(self) -> str:
        parts = []
        values = {"days": f"{self.window:,}", "date": self.as_of.isoformat()}
        if not math.isnan(self.per_new.value):
            parts.append(
                message(
                    "In the {days} days up to {date} {spend} spent on acquisition is {each} for each of {n} new customers "
                    "({interval}).",
                    **values,
                    spend=self.per_new.format(self.acquisition_spend),
                    each=self.per_new.format(),
                    n=f"{self.new_customers:,}",
                    interval=self.per_new.interval(),
                )
            )
        if not math.isnan(self.per_retained.value):
            parts.append(
                message(
                    "In the {days} days up to {date} {spend} spent on retention is {each} for each of {n} customers who "
                    "stayed ({interval}).",
                    **values,
                    spend=self.per_retained.format(self.retention_spend),
                    each=self.per_retained.format(),
                    n=f"{self.retained:,}",
                    interval=self.per_retained.interval(),
                )
            )
        if not math.isnan(self.ratio.value):
            parts.append(
                message(
                    "That is {ratio} to 1 ({interval}), of averages whose denominators are hardly alike: most of those "
                    "who stayed would have stayed without the money.",
                    ratio=number(self.ratio.value),
                    interval=self.ratio.interval(),
                )
            )
        return " ".join(parts)

    def claim_verdict(self, *, low: float = 5.0, high: float = 10.0) -> str:
        """Say whether "a new customer costs so many times as much as a kept one" holds in these data."""
        if math.isnan(self.ratio.value) or math.isnan(self.ratio.low):
            return message("These data do not measure the ratio that the claim is about.")
        values = {
            "claim": message("{low} to {high} times", low=f"{low:g}", high=f"{high:g}"),
            "ratio": number(self.ratio.value),
            "interval": self.ratio.interval(),
            "new": message("new customers"),
            "kept": message("customers who bought before and again"),
        }
        if self.ratio.high < low:
            return message(
                "“{claim}” does not hold here: {ratio} ({interval}), per head of {new} against {kept}, which are rarely "
                "comparable.",
                **values,
            )
        if self.ratio.low > high:
            return message(
                "Here it is more than “{claim}”: {ratio} ({interval}), per head of {new} against {kept}, which are rarely "
                "comparable.",
                **values,
            )
        if self.ratio.low >= low and self.ratio.high <= high:
            return message(
                "These data agree with “{claim}”: {ratio} ({interval}), per head of {new} against {kept}, which are rarely "
                "comparable.",
                **values,
            )
        return message(
            "These data do not decide about “{claim}”: {ratio} ({interval}), per head of {new} against {kept}, which are "
            "rarely comparable.",
            **values,
        )


@dataclass(frozen=True)
class Spending:
    """Spend by purpose and the customers it is set against.

    Attributes:
        lines: What each rate came to.
        purposes: Purpose of each line.
        customers: Everybody who bought or was spent on.
        base: Who bought in the window before, shape (n,).
        retained: Who of them bought in this one, shape (n,).
        new: Who first bought in this one, shape (n,).
        spend: By purpose, what was spent on each customer, shape (n,).
        fixed: By purpose, what was spent on nobody in particular.
    """

    lines: tuple[CostLine, ...]
    purposes: tuple[Purpose, ...]
    customers: pd.Index[Any]
    base: Bools
    retained: Bools
    new: Bools
    spend: dict[Purpose, Array]
    fixed: dict[Purpose, float]

    def total(self, purpose: Purpose) -> float:
        """Return spend for a purpose."""
        return self.fixed[purpose] + float(self.spend[purpose].sum())

    def counted(self, purpose: Purpose) -> Bools:
        """Return which customers a purpose is divided by."""
        return self.new if purpose == "acquisition" else self.retained

    def moved(self, purpose: Purpose) -> Array:
        """Return by how much each customer moves the logarithm of the cost per customer, shape (n,)."""
        counted = self.counted(purpose)
        pull = self.spend[purpose] / self.total(purpose) - counted / counted.sum()
        # the customers of the window before are given; how many others come is itself chance
        centred: Array = np.where(self.base, pull - pull[self.base].mean(), pull) if self.base.any() else pull
        return centred

    def estimate(self, purpose: Purpose, *, level: float, currency: str | None) -> Estimate:
        """Return the cost per customer, not measurable without spend or with fewer than five customers."""
        n = int(self.counted(purpose).sum())
        total = self.total(purpose)
        if n < FEWEST or total <= 0:
            return unknown(level, n=n, unit=currency)
        return log_limits(
            total / n, _length(self.moved(purpose)), level=level, n=n, unit=currency, method=_METHOD
        )


def _length(moved: Array) -> float:
    return math.sqrt(float(moved @ moved))


def acquisition_and_retention_cost(
    costs: Any,
    transactions: Any,
    *,
    purposes: Mapping[str, Purpose],
    contacts: Any = None,
    memberships: Any = None,
    points_ledger: Any = None,
    referrals: Any = None,
    window: int = 365,
    as_of: dt.date | str | None = None,
    currency: str | None = None,
    level: float = 0.95,
) -> AcquisitionCost:
    """Return cost per new and per retained customer, and their ratio.

    What a cost is for is declared, item by item. A new customer first bought in the window; a retained
    one bought in the window before and again in this one. Both figures are averages over all of them,
    whether the money moved them or not.

    Rates hold on the days from ``valid_from`` to before ``valid_to``, and those of one item and unit add up.
    ``per_contact`` counts messages sent of a campaign; ``per_redemption`` redemptions of a campaign in contacts, of a
    reward in referrals (``reward_id``) or in the points ledger; ``per_member_month`` days held at a tier, at 30.4375 a
    month; a ``fixed`` cost is spread evenly over its days.

    Args:
        costs: ``unit``, ``amount``, one of ``campaign_id``, ``tier``, ``reward_id`` in each row, ``valid_from``,
            ``valid_to``; anything that narwhals reads.
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``.
        purposes: Campaign, tier or reward to ``"acquisition"`` or ``"retention"``; every item with a cost in the
            window must be there.
        contacts: ``customer_id``, ``campaign_id``, ``event``, ``sent_date`` or ``sent_at``.
        memberships: ``customer_id``, ``tier``, ``valid_from``, ``valid_to``.
        points_ledger: ``customer_id``, ``type``, ``occurred_date`` or ``occurred_at``, ``reward_id`` where known.
        referrals: ``referrer_id``, ``reward_id``, ``referred_date`` or ``referred_at``.
        window: Days of a window.
        as_of: Last day observed, that day included; by default the last day of transactions.
        currency: ISO 4217 code, for sentences.
        level: Confidence level.

    Returns:
        Costs and ratio with limits on the log scale, linearised by customer: how many customers come is chance like
        a Poisson count, who of a given number stays is a share.

    Raises:
        ArgumentError: When ``purposes`` lacks an item that has a cost, or names one that has none.
        ContractError: When a column is missing, or a row cannot be told.
        DesignError: When a rate counts something the data do not hold, nothing was spent, or the record is shorter
            than two windows.

    Examples:
        >>> days = pd.to_datetime(["2024-01-01"] * 20 + ["2024-02-10"] * 20)
        >>> lines = pd.DataFrame({"customer_id": [f"c{i}" for i in [*range(20), *range(10, 30)]],
        ...                       "transacted_date": days, "amount": 10.0})
        >>> costs = pd.DataFrame({"campaign_id": ["advert", "newsletter"], "unit": "fixed", "amount": [300.0, 60.0],
        ...     "valid_from": pd.to_datetime(["2024-02-01"] * 2), "valid_to": pd.to_datetime(["2024-02-29"] * 2)})
        >>> found = acquisition_and_retention_cost(costs, lines, window=30, as_of="2024-02-29",
        ...     purposes={"advert": "acquisition", "newsletter": "retention"})
        >>> round(found.per_new.value, 2), round(found.per_retained.value, 2), round(found.ratio.value, 2)
        (30.0, 6.0, 5.0)

    References:
        Reichheld and Sasser (1990), Harvard Business Review 68(5), and what was made of it, for the claim; Cochran
        (1977), Sampling Techniques, section 6.4, for the linearised ratio.
    """
    level = check_level(level)
    window = positive_days(window, "window")
    record = purchase_days(transactions, as_of)
    tables = {
        "contacts": contacts,
        "memberships": memberships,
        "points_ledger": points_ledger,
        "referrals": referrals,
    }
    rates = read_costs(costs)
    spending = period_spending(record, rates, purposes, tables, window)
    per_new, per_retained = (spending.estimate(p, level=level, currency=currency) for p in PURPOSES)
    ratio = unknown(level)
    if not math.isnan(per_new.value) and not math.isnan(per_retained.value):
        moved = spending.moved("acquisition") - spending.moved("retention")
        n = per_new.n + per_retained.n
        ratio = log_limits(
            per_new.value / per_retained.value, _length(moved), level=level, n=n, method=_METHOD
        )
    return AcquisitionCost(
        per_new,
        per_retained=per_retained,
        ratio=ratio,
        new_customers=int(spending.new.sum()),
        retained=int(spending.retained.sum()),
        acquisition_spend=spending.total("acquisition"),
        retention_spend=spending.total("retention"),
        lines=_table(spending),
        window=window,
        as_of=date_of(record.end),
        checks=_checks(overlapping_rates(rates), record),
    )


def period_spending(
    record: PurchaseDays,
    rates: pd.DataFrame,
    purposes: Mapping[str, Purpose],
    tables: Mapping[str, Any],
    window: int,
) -> Spending:
    """Return spend by purpose in the last window, and the customers it is set against.

    Args:
        record: Purchases up to the last day.
        rates: What :func:`read_costs` returned.
        purposes: Item to purpose.
        tables: Tables in which units are counted, by name.
        window: Days of a window.

    Raises:
        ArgumentError: When the purposes do not fit the costs.
        DesignError: When nothing was spent, or the record is too short.
    """
    record.need(2 * window, "cost per new and per retained customer")
    begin = record.end - window
    inside = rates[(rates["since"] <= record.end) & (rates["until"] > begin + 1)]
    _check_purposes(rates, inside, purposes)
    lines = cost_lines(inside, begin, record.end, tables)
    kinds = tuple(purposes[line.item] for line in lines)
    if sum(line.spend for line in lines) <= 0:
        raise DesignError(
            message(
                "costs holds nothing that was spent in the {days} days up to {date}",
                days=f"{window:,}",
                date=date_of(record.end).isoformat(),
            )
        )
    base = record.bought(begin - window, begin)
    there = record.bought(begin, record.end)
    spent = [line.by_customer.index for line in lines if len(line.by_customer)]
    customers = record.customers
    for others in spent:
        customers = customers.union(others, sort=False)
    more = len(customers) - len(record.customers)

    def wide(flags: Bools) -> Bools:
        return np.concatenate([flags, np.zeros(more, dtype=bool)])

    spend: dict[Purpose, Array] = {p: np.zeros(len(customers)) for p in PURPOSES}
    fixed: dict[Purpose, float] = dict.fromkeys(PURPOSES, 0.0)
    for line, purpose in zip(lines, kinds, strict=True):
        if len(line.by_customer):
            spend[purpose][customers.get_indexer(line.by_customer.index)] += line.by_customer.to_numpy()
        fixed[purpose] += line.spend - float(line.by_customer.sum())
    return Spending(
        lines,
        kinds,
        customers,
        base=wide(base),
        retained=wide(base & there),
        new=wide(record.first > begin),
        spend=spend,
        fixed=fixed,
    )


def _check_purposes(rates: pd.DataFrame, inside: pd.DataFrame, purposes: Mapping[str, Purpose]) -> None:
    wrong = [f"{item}: {purpose}" for item, purpose in purposes.items() if purpose not in PURPOSES]
    if wrong:
        raise ArgumentError(f"a purpose is 'acquisition' or 'retention'; got {listed(wrong)}")
    known = sorted(rates["item"].unique())
    strange = [item for item in purposes if item not in known]
    if strange:
        raise ArgumentError(f"purposes names {listed(strange)}, which costs does not; it has {listed(known)}")
    open_ = [item for item in sorted(inside["item"].unique()) if item not in purposes]
    if open_:
        raise ArgumentError(
            f"purposes does not say whether {listed(open_)} is for acquisition or retention; declare each campaign, tier "
            "and reward that has a cost"
        )


def _table(spending: Spending) -> pd.DataFrame:
    frame = pd.DataFrame(
        [
            {
                "purpose": purpose,
                "item": line.item,
                "kind": line.kind,
                "unit": line.unit,
                "quantity": line.quantity,
                "customers": len(line.by_customer),
                "spend": round(line.spend, 2),
            }
            for line, purpose in zip(spending.lines, spending.purposes, strict=True)
        ]
    )
    return suppress_small_cells(frame, count="customers", values=["quantity", "spend"], by=["purpose"])


def _checks(overlaps: int, record: PurchaseDays) -> tuple[Check, ...]:
    found = [
        Check(
            message("Denominators are alike"),
            "not measurable",
            message(
                "Cost per new customer divides by those who first bought, cost per retained one by those of the window before "
                "who bought again. Part of the former would have come, and most of the latter stayed, without the "
                "money; what one more of either costs takes a holdout to see."
            ),
        ),
        Check(
            message("All costs are in the table"),
            "not measurable",
            message("Only what costs holds is added up; salaries or media that are not there are not."),
        ),
        Check(
            message("First purchases"),
            "not measurable",
            message(
                "New is who is first seen in the window; the record begins on {date}, and whoever bought before then and "
                "not since counts as new.",
                date=date_of(record.begin).isoformat(),
            ),
        ),
    ]
    if overlaps:
        said = message(
            "Rates of the same item and unit hold at the same time and are added up: {count}.",
            count=few(overlaps),
        )
        found.append(Check(message("Rates overlap"), "warning", said))
    return tuple(found)
