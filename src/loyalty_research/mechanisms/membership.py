"""Memberships: paid, without money's worth, and none at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.mechanisms._base import (
    BreakEven,
    Mechanism,
    MechanismAudit,
    audit_verdict,
    figure,
)
from loyalty_research.mechanisms._book import Earned, read_book
from loyalty_research.mechanisms._checks import at_least, fraction, positive, whole
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from loyalty_research.mechanisms._book import Book

__all__ = ["NoProgramme", "NonMonetary", "PaidMembership"]


def _none(book: Book) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.zeros(len(book.customer))


@dataclass(frozen=True, kw_only=True)
class PaidMembership(Mechanism):
    """A fee per period buys a saving on every order.

    The fee is paid at the first order and again at the first order after each period has run out.

    Attributes:
        fee: Price of a period, in money.
        order_saving: What a member saves per order, such as shipping.
        discount: What a member saves of the order's value, a fraction below 1.
        order_cost: What a member's order costs the shop in benefits; by default the saving.
        period_days: Length of a period in days.
        source: Where the figures come from.

    Raises:
        ArgumentError: When a figure is out of its range.

    Examples:
        >>> plan = PaidMembership(fee=99, order_saving=6, order_cost=5)
        >>> print(plan.sentence())
        Members pay 99.00 for 365 days and save 6.00 on every order.
        >>> plan.orders_to_pay_off(mean_order=30)
        16.5
        >>> plan.surplus(orders=24, mean_order=30)
        -21.0
    """

    kind: ClassVar[str] = "paid"

    fee: float
    order_saving: float = 0.0
    discount: float = 0.0
    order_cost: float | None = None
    period_days: int = 365

    def __post_init__(self) -> None:
        positive("fee", self.fee)
        at_least("order_saving", self.order_saving)
        fraction("discount", self.discount, below_one=True)
        if self.order_cost is not None:
            at_least("order_cost", self.order_cost)
        whole("period_days", self.period_days)

    def sentence(self) -> str:
        """Return the rules as one sentence for a customer."""
        fields = {
            "fee": number(self.fee, digits=2),
            "days": f"{self.period_days:,}",
            "saving": number(self.order_saving, digits=2),
            "discount": f"{100 * self.discount:.10g}%",
        }
        if self.order_saving and self.discount:
            return message(
                "Members pay {fee} for {days} days and save {saving} and {discount} on every order.", **fields
            )
        if self.discount:
            return message("Members pay {fee} for {days} days and save {discount} on every order.", **fields)
        if self.order_saving:
            return message("Members pay {fee} for {days} days and save {saving} on every order.", **fields)
        return message("Members pay {fee} for {days} days; no saving on orders is stated.", **fields)

    def saving(self, *, mean_order: float) -> float:
        """Return what a member saves on an average order, in money.

        Args:
            mean_order: Mean order value.
        """
        return self.order_saving + self.discount * positive("mean_order", mean_order)

    def _order_cost(self, mean_order: float) -> float:
        return self.saving(mean_order=mean_order) if self.order_cost is None else self.order_cost

    def orders_to_pay_off(self, *, mean_order: float) -> float:
        """Return the orders in a period from which the fee pays for the member.

        Args:
            mean_order: Mean order value.

        Returns:
            Fee over saving; infinite where nothing is saved.

        Raises:
            ArgumentError: When the mean is not above 0.
        """
        saving = self.saving(mean_order=mean_order)
        return self.fee / saving if saving else math.inf

    def surplus(self, *, orders: float, mean_order: float) -> float:
        """Return the fee less the cost of benefits of a member who places some orders in a period.

        Args:
            orders: Orders in the period.
            mean_order: Mean order value.

        Raises:
            ArgumentError: When a figure is out of its range.
        """
        return self.fee - at_least("orders", orders) * self._order_cost(mean_order)

    def expected_rebate(self, *, orders: float, mean_order: float) -> float:
        """Return what members save net of the fee, a fraction of spend; negative below the pay-off.

        Args:
            orders: Orders of a period.
            mean_order: Mean order value.

        Raises:
            ArgumentError: When a figure is out of its range.
        """
        spend = positive("orders", orders) * mean_order
        return (orders * self.saving(mean_order=mean_order) - self.fee) / spend

    def _earn(self, book: Book) -> Earned:
        fee = self.fee * _renewals(book, self.period_days)
        value = self.order_saving + self.discount * book.amount
        cost = value if self.order_cost is None else np.full(len(value), self.order_cost)
        return Earned(_none(book), value, cost, sure=-fee)

    def fees(self, transactions: Any) -> float:
        """Return the fees that customers pay on a table of transactions, in money.

        Args:
            transactions: As for :meth:`earn`.

        Raises:
            ContractError: When the table is unusable.
        """
        return self.fee * float(_renewals(read_book(transactions), self.period_days).sum())

    def _owed(self, book: Book, day: int, redeemed: float) -> float:
        del redeemed  # a saving that is not taken with an order is gone
        paid = book.day[_renewals(book, self.period_days) == 1]
        to_come = np.clip(paid + self.period_days - 1 - day, 0, None) / self.period_days
        return self.fee * float(to_come.sum())

    def break_even(self, *, margin: float, orders: float, mean_order: float) -> BreakEven:
        """Return the extra orders per member and period that pay for the benefits.

        A member places ``orders`` anyway, and all orders then cost the benefit: the extra orders x
        solve fee + x margin = (orders + x) cost.

        Args:
            margin: Margin of an order before benefits, in money.
            orders: Orders that the member would place in a period without the membership.
            mean_order: Mean order value.

        Returns:
            Extra orders; 0 where the fee pays for the benefits, infinite where an order costs its
            margin or more and the fee does not pay.

        Raises:
            ArgumentError: When a figure is out of its range.

        Examples:
            >>> plan = PaidMembership(fee=99, order_saving=6, order_cost=5)
            >>> plan.break_even(margin=8, orders=24, mean_order=30).value
            7.0
        """
        positive("margin", margin)
        gap = -self.surplus(orders=orders, mean_order=mean_order)
        cost = self._order_cost(mean_order)
        extra = 0.0 if gap <= 0 else gap / (margin - cost) if margin > cost else math.inf
        rows = (
            figure("extra orders per member to break even", extra, unit="orders"),
            figure("fee less cost of benefits", -gap),
            figure(
                "orders from which the fee pays for the member", self.orders_to_pay_off(mean_order=mean_order)
            ),
        )
        if extra == 0:
            text = message("The fee pays for the benefits of a member's orders; no further order is needed.")
        elif math.isinf(extra):
            text = message(
                "An order's benefits cost its whole margin or more: no number of orders pays for them."
            )
        else:
            text = message(
                "A member must place {extra} orders more in a period than without the membership.",
                extra=number(extra),
            )
        return BreakEven(rows, text)

    def audit(self, transactions: Any = None, *, level: float = 0.95) -> MechanismAudit:
        """Ask for how many customers the fee would pay, on the orders they place.

        Args:
            transactions: As for :meth:`earn`, of members; None leaves it unmeasured.
            level: Coverage of the intervals.

        Returns:
            The share of customers whose savings exceed the fees they would pay (Wilson). The check
            warns where that is under one in ten, for then the fee asks more than it gives.

        Raises:
            ContractError: When the table is unusable.
        """
        check_level(level)
        name = message("Fee pays for members")
        if transactions is None:
            checks = (Check(name, "not measurable", message("no transactions were given")),)
            return MechanismAudit((), audit_verdict(message("Paid membership"), checks), checks=checks)
        book = read_book(transactions)
        net = book.per_customer(self._earn(book).total()[0])
        share = proportion(int((net > 0).sum()), len(net), level=level)
        status: Literal["passed", "warning"] = "warning" if share.high < 0.1 else "passed"
        detail = message("{share} of customers would save more than the fee", share=share.format())
        rows = (
            Row("customers whose savings exceed the fee", share),
            figure(
                "fees", self.fee * float(_renewals(book, self.period_days).sum()), n=len(net), method="sum"
            ),
        )
        checks = (Check(name, status, detail),)
        return MechanismAudit(rows, audit_verdict(message("Paid membership"), checks), checks=checks)


def _renewals(book: Book, period_days: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return 1 at the orders that pay a fee."""
    out = np.zeros(len(book.customer))
    owner, until = -1, 0
    # when a fee falls due depends on when the one before was paid
    for i, (customer, day) in enumerate(zip(book.customer.tolist(), book.day.tolist(), strict=True)):
        if customer != owner or day >= until:
            out[i], owner, until = 1.0, customer, day + period_days
    return out


@dataclass(frozen=True, kw_only=True)
class NonMonetary(Mechanism):
    """A benefit without money's worth, such as early access, service or a thank-you note.

    Attributes:
        benefit: What members get, in words.
        member_cost: Cost per member and year, in money.
        order_cost: Cost per order, in money.
        source: Where the figures come from.

    Raises:
        ArgumentError: When a cost is negative or the benefit is not named.

    Examples:
        >>> note = NonMonetary(benefit="a handwritten note", member_cost=3)
        >>> print(note.sentence())
        Members get a handwritten note; no money is given back.
        >>> note.break_even(margin=12).value  # orders per member and year
        0.25
    """

    kind: ClassVar[str] = "non-monetary"

    benefit: str
    member_cost: float = 0.0
    order_cost: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.benefit, str) or not self.benefit.strip():
            raise ArgumentError(f"benefit must say what members get; got {self.benefit!r}")
        at_least("member_cost", self.member_cost)
        at_least("order_cost", self.order_cost)

    def sentence(self) -> str:
        """Return the rules as one sentence for a customer."""
        return message("Members get {benefit}; no money is given back.", benefit=self.benefit)

    def expected_rebate(self) -> float:
        """Return 0: nothing of the spending is given back."""
        return 0.0

    def _earn(self, book: Book) -> Earned:
        cost = self.order_cost + self.member_cost * _renewals(book, 365)
        return Earned(_none(book), _none(book), cost)

    def _owed(self, book: Book, day: int, redeemed: float) -> float:
        del book, day, redeemed  # nothing is saved up
        return 0.0

    def break_even(self, *, margin: float, orders: float = 0.0) -> BreakEven:
        """Return the extra orders per member and year that pay for the benefit.

        Args:
            margin: Margin of an order before the benefit, in money.
            orders: Orders a member places in a year anyway; they matter where orders cost something.

        Returns:
            Extra orders x, with x (margin - order cost) = member cost + orders x order cost.

        Raises:
            ArgumentError: When a figure is out of its range.
        """
        positive("margin", margin)
        due = self.member_cost + at_least("orders", orders) * self.order_cost
        left = margin - self.order_cost
        extra = 0.0 if due == 0 else due / left if left > 0 else math.inf
        rows = (
            figure("extra orders per member to break even", extra, unit="orders"),
            figure("cost per member and year", due),
        )
        text = message(
            "A member must place {extra} orders more in a year than without the benefit.", extra=number(extra)
        )
        return BreakEven(rows, text)

    def audit(self, transactions: Any = None, *, level: float = 0.95) -> MechanismAudit:
        """Say what can be known from orders: what the benefit costs, not what it is worth.

        Args:
            transactions: As for :meth:`earn`; None leaves the cost unmeasured.
            level: Coverage of the intervals.

        Returns:
            The cost per customer; its worth to customers is not measurable from orders and needs a
            randomised holdout or a survey.

        Raises:
            ContractError: When the table is unusable.
        """
        check_level(level)
        worth = message("orders do not say what it is worth: hold it out at random, or ask")
        checks = (Check(message("Worth to customers"), "not measurable", worth),)
        rows: tuple[Row, ...] = ()
        if transactions is not None:
            book = read_book(transactions)
            cost = float(self._earn(book).cost.sum())
            rows = (figure("cost per customer", cost / book.customers, n=book.customers, method="mean"),)
        return MechanismAudit(rows, audit_verdict(message("Non-monetary benefit"), checks), checks=checks)


@dataclass(frozen=True, kw_only=True)
class NoProgramme(Mechanism):
    """No programme: the arm that every other is held against.

    Attributes:
        source: Where the figures come from.

    Examples:
        >>> NoProgramme().sentence()
        'There is no programme: customers pay the price and get the product.'
    """

    kind: ClassVar[str] = "none"

    def sentence(self) -> str:
        """Return the rules as one sentence for a customer."""
        return message("There is no programme: customers pay the price and get the product.")

    def expected_rebate(self) -> float:
        """Return 0."""
        return 0.0

    def _earn(self, book: Book) -> Earned:
        return Earned(_none(book), _none(book), _none(book))

    def break_even(self, *, margin: float) -> BreakEven:
        """Return 0: what costs nothing need bring nothing.

        Args:
            margin: Margin before rewards, above 0.

        Raises:
            ArgumentError: When the margin is not above 0.
        """
        positive("margin", margin)
        rows = (figure("rise of sales to break even", 0.0, unit="fraction"),)
        return BreakEven(rows, message("There is no programme to pay for."))

    def audit(self, transactions: Any = None, *, level: float = 0.95) -> MechanismAudit:
        """Return an audit without findings: nothing is promised.

        Args:
            transactions: Checked for their columns where given.
            level: Coverage of the intervals.

        Raises:
            ContractError: When the table is unusable.
        """
        check_level(level)
        if transactions is not None:
            read_book(transactions)
        return MechanismAudit((), audit_verdict(message("No programme"), ()))
