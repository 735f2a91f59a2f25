"""Points exchanged for rewards, with or without money stored on the card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.mechanisms._base import (
    Mechanism,
    MechanismAudit,
    audit_verdict,
    figure,
    plain,
    points_text,
    pull_in,
    uplift_result,
)
from loyalty_research.mechanisms._book import Earned, read_book, running
from loyalty_research.mechanisms._checks import at_least, fraction, given, positive, whole
from loyalty_research.mechanisms._closed import (
    days_to_line,
    expected_multiples,
    reach_probability,
    uplift_to_break_even,
)
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.mechanisms._base import (
        BreakEven,
    )
    from loyalty_research.mechanisms._book import Book

    Bools = NDArray[np.bool_]

__all__ = ["Points", "StoredValue"]


@dataclass(frozen=True, kw_only=True)
class StoredValue:
    """Money that customers load before they spend it.

    Attributes:
        load: Size of a top-up, in money.
        bonus: What the shop adds, a fraction of the load.
        dormant: Share of cards that are abandoned with money left on them.

    Examples:
        >>> stored = StoredValue(load=25, bonus=0.1)
        >>> round(stored.mean_balance(), 4), round(stored.discount(), 4)
        (13.75, 0.0909)
        >>> round(stored.interest(annual_rate=0.04), 6)
        0.5
    """

    load: float
    bonus: float = 0.0
    dormant: float = 0.0

    def __post_init__(self) -> None:
        positive("load", self.load)
        at_least("bonus", self.bonus)
        fraction("dormant", self.dormant)

    def mean_balance(self) -> float:
        """Return the average balance, bonus included, when it is spent evenly and reloaded at 0."""
        return self.load * (1 + self.bonus) / 2

    def discount(self) -> float:
        """Return the discount that the bonus amounts to, a fraction of what is bought with it."""
        return self.bonus / (1 + self.bonus)

    def interest(self, *, annual_rate: float) -> float:
        """Return a year's interest on customers' own money held, per card in use."""
        return at_least("annual_rate", annual_rate) * self.load / 2

    def left_on_cards(self) -> float:
        """Return the money expected to be left per card issued: abandoned at an even moment."""
        return self.dormant * self.mean_balance()


def _stored(figures: Mapping[str, float]) -> StoredValue:
    known = ("load", "bonus", "dormant")
    strange = [str(name) for name in figures if name not in known]
    if strange or "load" not in figures:
        raise ArgumentError(
            f"stored needs load and may have bonus and dormant; got {', '.join(map(str, figures)) or 'nothing'}"
        )
    return StoredValue(**figures)


@dataclass(frozen=True, kw_only=True)
class Points(Mechanism):
    """Points per unit spent, exchanged for a reward at every ``reward_points``.

    Rewards are handed out with the order that completes the points. Points are whole per order,
    rounded down.

    Attributes:
        points_per_unit: Points per unit of money.
        reward_points: Points of one reward.
        reward_value: Worth of a reward to the customer, in money.
        reward_cost: What it costs the shop; by default its value.
        welcome_points: Points given on joining, before any order.
        expiry_days: Points lapse after this many days without an order; None: never.
        stored: Money stored on the card, as ``StoredValue`` or its figures, or None. Members then
            pay with it, and its bonus takes that much off every order.
        source: Where the figures come from.

    Raises:
        ArgumentError: When a figure is out of its range.

    Examples:
        >>> import pandas as pd
        >>> card = Points(points_per_unit=1, reward_points=50, reward_value=6, reward_cost=2)
        >>> print(card.sentence())
        Customers earn 1 point per 1 spent; 50 points make a reward worth 6.00, so 12.0% of spend at best.
        >>> orders = pd.DataFrame({
        ...     "customer_id": ["a", "a", "b"], "amount": [30.0, 25.0, 20.0],
        ...     "transacted_at": pd.to_datetime(["2024-01-01", "2024-01-05", "2024-01-03"])})
        >>> card.earn(orders)["value"].tolist()
        [0.0, 6.0, 0.0]
        >>> round(card.break_even(margin=0.3).value, 4)  # .04 of spend in cost
        0.1538
    """

    kind: ClassVar[str] = "points"

    points_per_unit: float = 1.0
    reward_points: float
    reward_value: float | None = None
    reward_cost: float | None = None
    welcome_points: float = 0.0
    expiry_days: int | None = None
    stored: StoredValue | Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        positive("points_per_unit", self.points_per_unit)
        positive("reward_points", self.reward_points)
        at_least("welcome_points", self.welcome_points)
        for name in ("reward_value", "reward_cost"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name))
        if self.expiry_days is not None:
            whole("expiry_days", self.expiry_days)
        if isinstance(self.stored, Mapping):
            object.__setattr__(self, "stored", _stored(self.stored))
        if self.stored is not None and not isinstance(self.stored, StoredValue):
            raise ArgumentError(
                f"stored must be a StoredValue, its figures (load, bonus, dormant) or None; got {self.stored!r}"
            )

    @property
    def line(self) -> float:
        """Spending that makes one reward, in money."""
        return self.reward_points / self.points_per_unit

    def _value(self) -> float:
        return given("reward_value", self.reward_value, self.kind)

    def _cost(self) -> float:
        return self._value() if self.reward_cost is None else self.reward_cost

    def point_worth(self) -> float:
        """Return what a point is worth to the customer when it is used, in money."""
        return self._value() / self.reward_points

    def headline_rebate(self) -> float:
        """Return the rebate at best: every point is used, a fraction of spend."""
        return self._value() / self.line + self._bonus()

    def _bonus(self) -> float:
        """Return what the bonus on loaded money takes off every order, a fraction."""
        return self.stored.discount() if isinstance(self.stored, StoredValue) else 0.0

    def sentence(self) -> str:
        """Return the rules as one sentence for a customer."""
        reward = plain(self.reward_points)
        if self.reward_value is None:
            text = message(
                "Customers earn {points} per 1 spent; {reward} points make a reward.",
                points=points_text(self.points_per_unit),
                reward=reward,
            )
        else:
            text = message(
                "Customers earn {points} per 1 spent; {reward} points make a reward worth {value}, so {rebate} "
                "of spend at best.",
                points=points_text(self.points_per_unit),
                reward=reward,
                value=number(self.reward_value, digits=2),
                rebate=percent(self.headline_rebate()),
            )
        if self.welcome_points:
            text += " " + message("They start with {points}.", points=points_text(self.welcome_points))
        if self.expiry_days is not None:
            text += " " + message(
                "Points lapse after {days} days without an order.", days=f"{self.expiry_days:,}"
            )
        if isinstance(self.stored, StoredValue):
            text += " " + message(
                "They load {load} at a time and get {bonus} on top.",
                load=number(self.stored.load, digits=2),
                bonus=percent(self.stored.bonus),
            )
        return text

    def _points(self, book: Book) -> np.ndarray[Any, np.dtype[np.float64]]:
        # a hair above: 0.29 * 100 is 28.999999999999996 in floats
        return np.floor(book.amount * self.points_per_unit * (1 + 1e-12) + 1e-9)

    def _lives(self, book: Book) -> Bools:
        """Return where a balance begins anew: at a customer's first order and after points lapsed."""
        starts = book.first()
        if self.expiry_days is not None:
            starts = starts | (np.diff(book.day, prepend=book.day[0]) > self.expiry_days)
        return starts

    def _earn(self, book: Book) -> Earned:
        points, starts = self._points(book), self._lives(book)
        total = running(points, starts) + self.welcome_points * self._first_life(book, starts)
        made = np.floor(total / self.reward_points + 1e-9)
        before = np.r_[0.0, made[:-1]]
        before[starts] = 0.0
        rewards = made - before
        return Earned(
            points, rewards * self._value(), rewards * self._cost(), sure=self._bonus() * book.amount
        )

    def _owed(self, book: Book, day: int, redeemed: float) -> float:
        starts = self._lives(book)
        total = running(self._points(book), starts) + self.welcome_points * self._first_life(book, starts)
        last = book.last()
        left = np.mod(total[last] + 1e-9, self.reward_points)
        if self.expiry_days is not None:
            left = left * (day - book.day[last] <= self.expiry_days)
        stored = self.stored.mean_balance() * book.customers if isinstance(self.stored, StoredValue) else 0.0
        return (
            super()._owed(book, day, redeemed)
            + float(left.sum()) / self.reward_points * self._value()
            + stored
        )

    def _first_life(self, book: Book, starts: Bools) -> Bools:
        """Whether an order belongs to a customer's first balance, which has the welcome points."""
        return np.asarray(running(starts.astype(float), book.first()) == 1, dtype=np.bool_)

    def expected_rebate(self, *, mean_spend: float, cv: float = 1.0) -> float:
        """Return the expected rebate over a period, before rounding to whole points and expiry.

        Customers' totals are gamma; those who end between two rewards lose what is left over.

        Args:
            mean_spend: Mean spend of a customer in the period.
            cv: Coefficient of variation between customers; 0 means all spend the mean.

        Returns:
            Value of rewards over spend, a fraction.

        Raises:
            ArgumentError: When a figure is out of its range or the reward's value is not stated.

        Examples:
            >>> card = Points(reward_points=50, reward_value=6)
            >>> round(card.headline_rebate(), 4), round(card.expected_rebate(mean_spend=100), 4)
            (0.12, 0.0925)
        """
        rewards = expected_multiples(
            self.line, mean=mean_spend, cv=cv, head_start=self.welcome_points / self.points_per_unit
        )
        return self._value() * rewards / mean_spend + self._bonus()

    def days_to_reward(self, *, orders_per_day: float, mean_order: float, cv: float = 1.0) -> float:
        """Return the days until the first reward, on average, for a customer who keeps buying.

        Args:
            orders_per_day: Rate of orders, Poisson.
            mean_order: Mean order value.
            cv: Coefficient of variation of order values.

        Returns:
            Expected days.

        Raises:
            ArgumentError: When a figure is out of its range.
        """
        left = self.line - self.welcome_points / self.points_per_unit
        return days_to_line(left, orders_per_day=orders_per_day, mean_order=mean_order, cv=cv)

    def reach_probability(
        self, *, days: float, orders_per_day: float, mean_order: float, cv: float = 1.0
    ) -> float:
        """Return the chance of a first reward within some days for a customer who keeps buying.

        Args:
            days: Time allowed.
            orders_per_day: Rate of orders, Poisson.
            mean_order: Mean order value.
            cv: Coefficient of variation of order values.

        Returns:
            A probability.

        Raises:
            ArgumentError: When a figure is out of its range.
        """
        left = self.line - self.welcome_points / self.points_per_unit
        return reach_probability(left, days=days, orders_per_day=orders_per_day, mean_order=mean_order, cv=cv)

    def break_even(self, *, margin: float, redeemed: float = 1.0) -> BreakEven:
        """Return the rise of sales that pays for the points.

        Args:
            margin: Margin before rewards, a fraction of spend.
            redeemed: Share of points that are used.

        Returns:
            The rise of members' sales against what they would have bought without the programme.

        Raises:
            ArgumentError: When a figure is out of its range or the reward's value is not stated.
        """
        fraction("margin", margin)
        cost = fraction("redeemed", redeemed) * self._cost() / self.line + self._bonus()
        return uplift_result(uplift_to_break_even(margin, cost), cost, margin, per="spend")

    def audit(self, transactions: Any = None, *, level: float = 0.95, band: float = 0.1) -> MechanismAudit:
        """Hold the rules against data: exchange rate, threshold pull-in, expiry.

        Args:
            transactions: As for :meth:`earn`; None leaves pull-in and expiry unmeasured.
            level: Coverage of the intervals.
            band: Width of what counts as near the line, a share of it, above 0 and at most 0.1.

        Returns:
            Figures and checks. A warning on the exchange rate means that a point's worth is no round
            sum; on pull-in that totals land just past the reward's line more than elsewhere; on
            expiry that over a tenth of lapsed or used points lapsed.

        Raises:
            ArgumentError: When an option is out of its range.
            ContractError: When the table is unusable.

        Examples:
            >>> points = Points(reward_points=14, reward_value=1)
            >>> print(points.audit().checks[0].detail)
            14 points make 1.00: one point is worth 0.0714, which is hard to work out in the head
        """
        check_level(level)
        if not 0 < band <= 0.1:
            raise ArgumentError(f"band must be above 0 and at most 0.1 of the line; got {band!r}")
        rows, checks = self._exchange_rate()
        names = (message("Threshold pull-in"), message("Expiry"))
        if transactions is None:
            why = message("no transactions were given")
            checks += [Check(name, "not measurable", why) for name in names]
        else:
            book = read_book(transactions)
            starts = self._lives(book)
            found, check = self._pull_in(book, starts, band, level)
            lapsed, expiry = self._expiry(book, starts, level)
            rows, checks = [*rows, *found, *lapsed], [*checks, check, expiry]
        return MechanismAudit(tuple(rows), audit_verdict(message("Points"), checks), checks=tuple(checks))

    def _exchange_rate(self) -> tuple[list[Row], list[Check]]:
        name = message("Exchange rate")
        if self.reward_value is None or self.reward_value == 0:
            return [], [Check(name, "not measurable", message("the rules state no value of a reward"))]
        worth = self.point_worth()
        digits = round(worth / 10 ** math.floor(math.log10(worth)), 9)
        easy = digits in (1.0, 2.0, 2.5, 5.0)
        fields = {
            "points": plain(self.reward_points),
            "value": number(self.reward_value, digits=2),
            "worth": number(worth),
        }
        detail = (
            message("{points} points make {value}: one point is worth {worth}", **fields)
            if easy
            else message(
                "{points} points make {value}: one point is worth {worth}, which is hard to work out in the head",
                **fields,
            )
        )
        rows = [
            figure("value of a point", worth),
            figure("rebate at best", self.headline_rebate(), unit="fraction"),
        ]
        return rows, [Check(name, "passed" if easy else "warning", detail)]

    def _pull_in(self, book: Book, starts: Bools, band: float, level: float) -> tuple[list[Row], Check]:
        head = self.welcome_points / self.points_per_unit * self._first_life(book, starts)
        total = running(book.amount, starts) + head
        seen = book.amount > 0
        position = np.mod(total, self.line)[seen & (total > self.line / 2)]
        return pull_in(position, self.line, band=band, level=level)

    def _expiry(self, book: Book, starts: Bools, level: float) -> tuple[list[Row], Check]:
        name = message("Expiry")
        if self.expiry_days is None:
            return [], Check(name, "passed", message("points never lapse"))
        points = self._points(book)
        head = self.welcome_points * self._first_life(book, starts)
        total = running(points, starts) + head
        ends = np.r_[starts[1:], True]
        last = np.r_[book.first()[1:], True]
        over = ends & (~last | (book.day + self.expiry_days < book.day.max()))
        lapsed = float(np.mod(total[over] + 1e-9, self.reward_points).sum())
        used = float((np.floor(total[ends] / self.reward_points + 1e-9) * self.reward_points).sum())
        if lapsed + used == 0:
            return [], Check(name, "not measurable", message("no point was used or lapsed yet"))
        rows = [
            figure(
                "points lapsed", lapsed / (lapsed + used), unit="fraction", n=book.customers, method="ratio"
            )
        ]
        if over.any():
            hit = int((np.mod(total[over] + 1e-9, self.reward_points) >= 1).sum())
            rows.append(
                Row("balances that lapsed with points on them", proportion(hit, int(over.sum()), level=level))
            )
        detail = message(
            "{share} of the points that were used or lapsed did lapse, after {days} days without an order",
            share=percent(lapsed / (lapsed + used)),
            days=f"{self.expiry_days:,}",
        )
        return rows, Check(name, "warning" if lapsed > 0.1 * (lapsed + used) else "passed", detail)
