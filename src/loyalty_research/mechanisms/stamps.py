"""Stamp cards, with or without stamps given at the start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import stats

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check, Estimate, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.mechanisms._base import (
    Mechanism,
    MechanismAudit,
    audit_verdict,
    figure,
    uplift_result,
)
from loyalty_research.mechanisms._book import Earned, read_book
from loyalty_research.mechanisms._checks import at_least, given, positive, whole
from loyalty_research.mechanisms._closed import uplift_to_break_even

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.mechanisms._base import (
        BreakEven,
    )
    from loyalty_research.mechanisms._book import Book

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["StampCard"]


@dataclass(frozen=True, kw_only=True)
class StampCard(Mechanism):
    """A card with a stamp per visit and a reward when it is full; some stamps may be given.

    A visit is a day with an order, and every new card starts with the stamps given. A card that
    expires is issued at its first paid stamp.

    Attributes:
        stamps: Places on the card.
        given: Stamps on it at the start.
        reward_value: Worth of the reward to the customer, in money.
        reward_cost: What it costs the shop; by default its value.
        expiry_days: Days from the first paid stamp until the card is void; None: never.
        source: Where the figures come from.

    Raises:
        ArgumentError: When a figure is out of its range, or the card would be full at the start.

    Examples:
        >>> card = StampCard(stamps=10, given=2, reward_value=8)
        >>> print(card.sentence())
        A card of 10 stamps starts with 2 on it: 8 visits make a reward worth 8.00.
        >>> card.paid_visits, card.head_start
        (8, 0.2)
        >>> card.days_to_completion(visits_per_day=0.1)
        80.0
    """

    kind: ClassVar[str] = "stamp-card"

    stamps: int
    given: int = 0
    reward_value: float | None = None
    reward_cost: float | None = None
    expiry_days: int | None = None

    def __post_init__(self) -> None:
        whole("stamps", self.stamps)
        whole("given", self.given, 0)
        if self.given >= self.stamps:
            raise ArgumentError(
                f"given must be below stamps, or the card is full at the start; got {self.given} of {self.stamps}"
            )
        for name in ("reward_value", "reward_cost"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name))
        if self.expiry_days is not None:
            whole("expiry_days", self.expiry_days)

    @property
    def paid_visits(self) -> int:
        """Visits that fill a card."""
        return self.stamps - self.given

    @property
    def head_start(self) -> float:
        """Share of the card that is full at the start."""
        return self.given / self.stamps

    def _value(self) -> float:
        return given("reward_value", self.reward_value, self.kind)

    def _cost(self) -> float:
        return self._value() if self.reward_cost is None else self.reward_cost

    def sentence(self) -> str:
        """Return the rules as one sentence for a customer."""
        fields = {"stamps": self.stamps, "given": self.given, "visits": self.paid_visits}
        text = (
            message(
                "A card of {stamps} stamps starts with {given} on it: {visits} visits make a reward", **fields
            )
            if self.given
            else message("A card of {stamps} stamps starts empty: {visits} visits make a reward", **fields)
        )
        if self.reward_value is not None:
            text += " " + message("worth {value}", value=number(self.reward_value, digits=2))
        text += "."
        if self.expiry_days is not None:
            text += " " + message(
                "It is void {days} days after the first stamp.", days=f"{self.expiry_days:,}"
            )
        return text

    def _earn(self, book: Book) -> Earned:
        full = _full_cards(book, self.paid_visits, self.expiry_days)
        visit = _new_day(book).astype(float)
        return Earned(visit, full * self._value(), full * self._cost())

    def _owed(self, book: Book, day: int, redeemed: float) -> float:
        left = _open_stamps(book, self.paid_visits, self.expiry_days, day)
        return super()._owed(book, day, redeemed) + left / self.paid_visits * self._value()

    def days_to_completion(self, *, visits_per_day: float) -> float:
        """Return the days until a card is full, on average, for a customer who keeps coming.

        Args:
            visits_per_day: Rate of visits, Poisson.

        Raises:
            ArgumentError: When the rate is not above 0.
        """
        return self.paid_visits / positive("visits_per_day", visits_per_day)

    def completion_probability(self, *, days: float, visits_per_day: float) -> float:
        """Return the chance that a card is full within some days of its issue.

        Args:
            days: Days from issue, before any paid visit.
            visits_per_day: Rate of visits, Poisson.

        Returns:
            P(Erlang(paid visits, rate) <= days).

        Raises:
            ArgumentError: When a figure is out of its range.

        Examples:
            >>> card = StampCard(stamps=8, reward_value=8)
            >>> round(card.completion_probability(days=80, visits_per_day=0.1), 4)
            0.547
        """
        rate = positive("visits_per_day", visits_per_day)
        return float(stats.gamma.cdf(at_least("days", days), self.paid_visits, scale=1 / rate))

    def expected_rebate(self, *, mean_order: float, visits_per_day: float | None = None) -> float:
        """Return the rebate in the long run, a fraction of spend.

        Args:
            mean_order: Mean spend of a visit.
            visits_per_day: Rate of visits, Poisson; needed where cards expire.

        Returns:
            Value of rewards per unit of spend. A card that expires is full with the probability F
            that the other visits come in time; the visits it takes are those up to completion or,
            where it is void, up to the expiry, and the next card begins with the next visit.

        Raises:
            ArgumentError: When a figure is missing or out of its range.

        References:
            Renewal-reward theorem: Ross (2014), Introduction to Probability Models, section 7.4.

        Examples:
            >>> StampCard(stamps=10, given=2, reward_value=8).expected_rebate(mean_order=10)
            0.1
            >>> dying = StampCard(stamps=10, given=2, reward_value=8, expiry_days=60)
            >>> round(dying.expected_rebate(mean_order=10, visits_per_day=0.1), 4)
            0.049
        """
        positive("mean_order", mean_order)
        if self.expiry_days is None:
            return self._value() / (self.paid_visits * mean_order)
        if visits_per_day is None:
            raise ArgumentError("a card that expires needs visits_per_day for its expected rebate")
        mean = positive("visits_per_day", visits_per_day) * self.expiry_days
        n = np.arange(self.paid_visits)
        # the first visit starts the clock, the others must come within expiry_days of it
        visits = 1 + float(stats.poisson.sf(n[:-1], mean).sum())
        full = float(stats.poisson.sf(self.paid_visits - 2, mean))
        return self._value() * full / (visits * mean_order)

    def break_even(self, *, margin: float) -> BreakEven:
        """Return the rise of visits that pays for the rewards, when every card is filled.

        Args:
            margin: Margin of a visit before rewards, in money.

        Returns:
            The rise of holders' visits against what they would have been without the card.

        Raises:
            ArgumentError: When the margin is not above 0, or the reward's value is not stated.

        Examples:
            >>> round(StampCard(stamps=8, reward_value=8, reward_cost=4).break_even(margin=5).value, 4)
            0.1111
        """
        cost = self._cost() / self.paid_visits
        return uplift_result(
            uplift_to_break_even(positive("margin", margin), cost), cost, margin, per="visit"
        )

    def audit(self, transactions: Any = None, *, level: float = 0.95) -> MechanismAudit:
        """Hold the card against data: the head start, and whether its holders can fill it in time.

        Args:
            transactions: As for :meth:`earn`; None leaves expiry unmeasured.
            level: Coverage of the intervals.

        Returns:
            Figures and checks. The check on expiry warns where a customer with the pace of the
            average repeat visit fills a card in time with less than even chance.

        Raises:
            ContractError: When the table is unusable.
        """
        check_level(level)
        rows = [
            figure("head start", self.head_start, unit="fraction"),
            figure("visits to pay for", float(self.paid_visits), unit="visits"),
        ]
        head = message(
            "{given} of {stamps} stamps are given, {visits} visits are to be paid",
            given=self.given,
            stamps=self.stamps,
            visits=self.paid_visits,
        )
        checks = [Check(message("Head start"), "passed", head)]
        found, check = self._in_time(transactions, level)
        rows, checks = [*rows, *found], [*checks, check]
        return MechanismAudit(tuple(rows), audit_verdict(message("Stamp card"), checks), checks=tuple(checks))

    def _in_time(self, transactions: Any, level: float) -> tuple[list[Row], Check]:
        name = message("Expiry")
        if self.expiry_days is None:
            return [], Check(name, "passed", message("cards never expire"))
        if transactions is None:
            return [], Check(name, "not measurable", message("no transactions were given"))
        book = read_book(transactions)
        new = _new_day(book)
        visits = book.per_customer(new.astype(float))
        first = np.flatnonzero(book.first())
        seen = book.day.max() - book.day[first] + 0.0
        more, days = float((visits - 1).sum()), float(seen.sum())
        if more < 1 or days <= 0:
            return [], Check(name, "not measurable", message("no customer came twice"))
        rate = more / days
        left = visits - 1 - rate * seen
        n = len(visits)
        z = float(stats.norm.isf((1 - level) / 2))
        half = z * math.sqrt(n / max(n - 1, 1) * float(left @ left)) / days if n > 1 else math.nan
        pace = Estimate(rate, rate - half, rate + half, level=level, method="delta over customers", n=n)
        chance = float(stats.poisson.sf(self.paid_visits - 2, rate * self.expiry_days))
        rows = [
            Row("repeat visits a day", pace),
            figure("filled in time at the average pace", chance, unit="fraction"),
        ]
        detail = message(
            "at the average pace of a visit every {days} days, a card is full within {expiry} days of its first "
            "stamp with probability {chance}",
            days=number(1 / rate, digits=1),
            expiry=f"{self.expiry_days:,}",
            chance=percent(chance),
        )
        return rows, Check(name, "warning" if chance < 0.5 else "passed", detail)


def _new_day(book: Book) -> NDArray[np.bool_]:
    """Whether a sale is its customer's first of the day."""
    return np.asarray(book.first() | (np.diff(book.day, prepend=book.day[0]) != 0), dtype=np.bool_)


def _stamped(book: Book, visits: int, expiry_days: int | None) -> tuple[Ints, Ints, Ints]:
    """Return, per visit, its row, the stamps on the card after it and the day the card began."""
    rows = np.flatnonzero(_new_day(book))
    who, day = book.customer[rows], book.day[rows]
    if expiry_days is None:
        first = np.flatnonzero(np.r_[True, who[1:] != who[:-1]])
        nth = np.arange(len(who)) - np.repeat(first, np.diff(np.r_[first, len(who)]))
        return rows, nth % visits + 1, day
    # where a card begins depends on how the one before it ended, so customers are walked through
    counts, starts = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.int64)
    count, start, owner = 0, 0, -1
    for i, (customer, today) in enumerate(zip(who.tolist(), day.tolist(), strict=True)):
        if customer != owner or count == visits or today - start > expiry_days:
            count, start, owner = 0, today, customer
        count += 1
        counts[i], starts[i] = count, start
    return rows, counts, starts


def _full_cards(book: Book, visits: int, expiry_days: int | None) -> Floats:
    """Return 1 at the sales that fill a card."""
    out = np.zeros(len(book.customer))
    rows, count, _ = _stamped(book, visits, expiry_days)
    out[rows] = count == visits
    return out


def _open_stamps(book: Book, visits: int, expiry_days: int | None, day: int) -> int:
    """Return the paid stamps on cards that are neither full nor void at the end of a day."""
    rows, count, start = _stamped(book, visits, expiry_days)
    who = book.customer[rows]
    last = np.concatenate([who[1:] != who[:-1], [True]]) & (count < visits)
    if expiry_days is not None:
        last &= day - start <= expiry_days
    return int(count[last].sum())
