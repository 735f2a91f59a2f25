"""Games with a chance to win after some orders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from scipy import stats

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.mechanisms._base import (
    Mechanism,
    MechanismAudit,
    audit_verdict,
    figure,
    uplift_result,
)
from loyalty_research.mechanisms._book import Earned, read_book, running
from loyalty_research.mechanisms._checks import at_least, fraction, given, positive, whole
from loyalty_research.mechanisms._closed import uplift_to_break_even
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from loyalty_research.mechanisms._base import (
        BreakEven,
    )
    from loyalty_research.mechanisms._book import Book

__all__ = ["Sweepstakes"]


@dataclass(frozen=True, kw_only=True)
class Sweepstakes(Mechanism):
    """A play after every ``orders_per_play`` orders, won with a promised probability.

    Attributes:
        win_probability: Promised chance to win a play, above 0.
        orders_per_play: Orders that earn a play.
        prize_value: Worth of a prize to the customer, in money.
        prize_cost: What it costs the shop; by default its value.
        source: Where the figures come from.

    Raises:
        ArgumentError: When a figure is out of its range.

    Examples:
        >>> game = Sweepstakes(win_probability=0.25, orders_per_play=3, prize_value=6)
        >>> print(game.sentence())
        Every 3 orders earn a play; each play wins with a chance of 25.0%, a prize worth 6.00.
        >>> game.any_win(plays=4), game.plays_for(0.95), game.orders_for(0.95)
        (0.68359375, 11, 33)
        >>> game.expected_rebate(mean_order=20)
        0.025
    """

    kind: ClassVar[str] = "sweepstakes"

    win_probability: float
    orders_per_play: int = 1
    prize_value: float | None = None
    prize_cost: float | None = None

    def __post_init__(self) -> None:
        if fraction("win_probability", self.win_probability) == 0:
            raise ArgumentError("win_probability must be above 0: a game that nobody wins is no game")
        whole("orders_per_play", self.orders_per_play)
        for name in ("prize_value", "prize_cost"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name))

    def _value(self) -> float:
        return given("prize_value", self.prize_value, self.kind)

    def _cost(self) -> float:
        return self._value() if self.prize_cost is None else self.prize_cost

    def sentence(self) -> str:
        """Return the rules as one sentence for a customer."""
        chance = percent(self.win_probability)
        lead = (
            message("Every order earns a play; each play wins with a chance of {chance}", chance=chance)
            if self.orders_per_play == 1
            else message(
                "Every {orders} orders earn a play; each play wins with a chance of {chance}",
                orders=self.orders_per_play,
                chance=chance,
            )
        )
        if self.prize_value is None:
            return lead + "."
        return lead + message(", a prize worth {value}.", value=number(self.prize_value, digits=2))

    def _earn(self, book: Book) -> Earned:
        nth = running(np.ones(len(book.customer)), book.first())
        plays = (nth % self.orders_per_play == 0).astype(float)
        return Earned(
            plays, plays * self.win_probability * self._value(), plays * self.win_probability * self._cost()
        )

    def _owed(self, book: Book, day: int, redeemed: float) -> float:
        begun = np.bincount(book.customer) % self.orders_per_play / self.orders_per_play
        expected = float(begun.sum()) * self.win_probability * self._value()
        return super()._owed(book, day, redeemed) + expected

    def any_win(self, *, plays: int) -> float:
        """Return the chance to win at least once in some plays.

        Args:
            plays: How many plays, from 0.

        Raises:
            ArgumentError: When ``plays`` is no whole number from 0.
        """
        return -math.expm1(whole("plays", plays, 0) * self._log_loss())

    def _log_loss(self) -> float:
        return math.log1p(-self.win_probability) if self.win_probability < 1 else -math.inf

    def plays_for(self, chance: float) -> int:
        """Return the fewest plays that win at least once with some probability.

        Args:
            chance: The probability asked for, in (0, 1).

        Returns:
            The smallest n with 1 - (1 - p)^n >= chance.

        Raises:
            ArgumentError: When ``chance`` is not strictly between 0 and 1.
        """
        if not 0 < chance < 1:
            raise ArgumentError(f"chance must lie strictly between 0 and 1; got {chance!r}")
        if self.win_probability == 1:
            return 1
        n = max(math.ceil(math.log1p(-chance) / self._log_loss() - 1e-9), 1)
        return n if self.any_win(plays=n) >= chance - 1e-12 else n + 1

    def orders_for(self, chance: float) -> int:
        """Return the orders that earn the plays of :meth:`plays_for`.

        Args:
            chance: The probability asked for, in (0, 1).

        Raises:
            ArgumentError: When ``chance`` is not strictly between 0 and 1.
        """
        return self.plays_for(chance) * self.orders_per_play

    def expected_rebate(self, *, mean_order: float) -> float:
        """Return the expected rebate in the long run, a fraction of spend.

        Args:
            mean_order: Mean order value.

        Raises:
            ArgumentError: When the mean is not above 0, or the prize's value is not stated.
        """
        return (
            self.win_probability * self._value() / (self.orders_per_play * positive("mean_order", mean_order))
        )

    def break_even(self, *, margin: float) -> BreakEven:
        """Return the rise of orders that pays for the prizes.

        Args:
            margin: Margin of an order before prizes, in money.

        Returns:
            The rise of players' orders against what they would have been without the game.

        Raises:
            ArgumentError: When the margin is not above 0, or the prize's value is not stated.

        Examples:
            >>> game = Sweepstakes(win_probability=0.25, orders_per_play=3, prize_value=6)
            >>> round(game.break_even(margin=5).value, 4)  # .50 an order in prizes
            0.1111
        """
        cost = self.win_probability * self._cost() / self.orders_per_play
        return uplift_result(
            uplift_to_break_even(positive("margin", margin), cost), cost, margin, per="order"
        )

    def audit(
        self,
        transactions: Any = None,
        *,
        level: float = 0.95,
        plays: int | None = None,
        wins: int | None = None,
    ) -> MechanismAudit:
        """Hold the odds against the promise, and ask whether customers get to play.

        Args:
            transactions: As for :meth:`earn`; None leaves the purchase condition unmeasured.
            level: Coverage of the intervals.
            plays: Plays observed.
            wins: Wins among them.

        Returns:
            The win rate with its Clopper-Pearson interval and the two-sided exact test of the
            promise; the share of customers with enough orders for a play (Wilson). The check on the
            odds is a gate: it fails where the interval lies below the promise, for then customers
            were told something untrue; odds above it are a warning, since they cost more.

        Raises:
            ArgumentError: When ``wins`` exceed ``plays``, or only one of them is given.
            ContractError: When the table is unusable.

        Examples:
            >>> game = Sweepstakes(win_probability=0.25, orders_per_play=3, prize_value=6)
            >>> game.audit(plays=1000, wins=180).checks[0].status
            'failed'
        """
        check_level(level)
        rows: list[Row] = [
            figure("promised odds", self.win_probability, unit="fraction"),
            figure("orders for one win with 95%", float(self.orders_for(0.95)), unit="orders"),
        ]
        odds, first = self._odds(plays, wins, level)
        reach, second = self._reach(transactions, level)
        checks = (first, second)
        return MechanismAudit(
            (*rows, *odds, *reach), audit_verdict(message("Sweepstakes"), checks), checks=checks
        )

    def _odds(self, plays: int | None, wins: int | None, level: float) -> tuple[list[Row], Check]:
        name = message("Odds")
        if (plays is None) != (wins is None):
            raise ArgumentError("plays and wins are given together or not at all")
        if plays is None or wins is None:
            return [], Check(name, "not measurable", message("no plays and wins were given"))
        if whole("wins", wins, 0) > whole("plays", plays):
            raise ArgumentError(f"wins {wins:,} exceed plays {plays:,}")
        rate = proportion(wins, plays, method="clopper-pearson", level=level)
        p_value = float(stats.binomtest(wins, plays, self.win_probability).pvalue)
        status: Literal["passed", "warning", "failed"] = (
            "failed"
            if rate.high < self.win_probability
            else "warning"
            if rate.low > self.win_probability
            else "passed"
        )
        detail = message(
            "{rate} of {plays} plays won ({interval}), {promised} promised",
            rate=rate.format(),
            plays=f"{plays:,}",
            interval=rate.interval(),
            promised=percent(self.win_probability),
        )
        return [Row("win rate", rate)], Check(name, status, detail, gate=True, p_value=p_value)

    def _reach(self, transactions: Any, level: float) -> tuple[list[Row], Check]:
        name = message("Purchase condition attainable")
        if transactions is None:
            return [], Check(name, "not measurable", message("no transactions were given"))
        book = read_book(transactions)
        orders = book.per_customer(np.ones(len(book.customer)))
        share = proportion(int((orders >= self.orders_per_play).sum()), len(orders), level=level)
        detail = message("{share} of customers have the orders for a play", share=share.format())
        rows = [Row("customers with a play", share)]
        return rows, Check(name, "warning" if share.high < 0.1 else "passed", detail)
