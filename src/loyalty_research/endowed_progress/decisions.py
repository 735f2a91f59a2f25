"""What an experiment earns and which arm to roll out, from single cards."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.endowed_progress._outcome import NotAvailable
from loyalty_research.endowed_progress._windows import holder_courses, judged_cards, per_holder
from loyalty_research.endowed_progress.analyses import CardAnalyses
from loyalty_research.endowed_progress.cards import NEVER
from loyalty_research.endowed_progress.economics import Prices, cost, fan_of_values
from loyalty_research.endowed_progress.pulled_forward import pulled_forward
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, messages
from loyalty_research.stats.counts import check_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty_research.endowed_progress._windows import Window
    from loyalty_research.endowed_progress.cards import Cards
    from loyalty_research.endowed_progress.economics import EconomicsResult
    from loyalty_research.endowed_progress.pulled_forward import PulledForwardResult

__all__ = ["CardDecisions"]

_FAN_DAYS = 40


class CardDecisions(CardAnalyses):
    """What :class:`~loyalty_research.endowed_progress.CardExperiment` says of money."""

    def _prices(
        self, margin: float, reward_cost: float, card_cost: float | Mapping[str, float], currency: str | None
    ) -> Prices:
        if not (isinstance(margin, Real) and math.isfinite(margin)):
            raise ArgumentError(f"margin must be a number; got {margin!r}")
        named = card_cost if not isinstance(card_cost, Real) else dict.fromkeys(self.arms_, float(card_cost))
        if set(named) != set(self.arms_):
            raise ArgumentError(f"card_cost is one number or names the arms {', '.join(self.arms_)}")
        for value, name in (
            (reward_cost, "reward_cost"),
            *((named[a], f"card_cost of {a}") for a in self.arms_),
        ):
            if not (isinstance(value, Real) and math.isfinite(value) and value >= 0):
                raise ArgumentError(f"{name} must be zero or more; got {value!r}")
        paper = tuple(float(named[a]) for a in self.arms_)
        return Prices(float(margin), float(reward_cost), paper, currency)

    def economics(
        self,
        *,
        reward_cost: float,
        margin: float | None = None,
        margin_rate: float | None = None,
        card_cost: float | Mapping[str, float] = 0.0,
        currency: str | None = None,
        by_day: int | None = None,
    ) -> EconomicsResult:
        """Set the margin of extra visits against the cost of extra rewards, per card handed out.

        Rewards are counted when redeemed, or when completed where redemption is not recorded.

        Args:
            reward_cost: Cost of one reward.
            margin: Margin of one paid visit, before rewards; this or ``margin_rate``.
            margin_rate: Margin as a share of what was paid, which needs the column paid_value.
            card_cost: Cost of handing out a card, one number or by arm.
            currency: ISO 4217 code of all prices.
            by_day: Days from the first card's issue, as for :meth:`completion`.

        Raises:
            ArgumentError: When margin or cost is not a number, a cost is negative, or both or
                neither of margin and margin_rate are given.
            DesignError: When only counts are known, or stamps, or their paid value, are not
                recorded.
        """
        cards = self._need_cards("the margin of extra visits")
        if (margin is None) == (margin_rate is None):
            raise ArgumentError("give margin= of a visit or margin_rate= of what was paid, and not both")
        earned = margin if margin_rate is None else margin_rate
        prices = self._prices(math.nan if earned is None else earned, reward_cost, card_cost, currency)
        values = None if margin_rate is None else self._paid(cards)
        window = judged_cards(cards, self._first, by_day)
        visits, rewards = per_holder(cards, self._first, window)
        paid = None if values is None else per_holder(cards, self._first, window, values=values)[0]
        arm_of = self._arm_of(self._first[window.kept])
        cluster = None if self._cluster is None else self._cluster[window.kept]
        days = self._fan_days(window)
        courses = holder_courses(cards, self._first, window.kept, days, values=values)
        return cost(
            visits,
            rewards,
            arm_of,
            arms=self.arms_,
            cluster=cluster,
            margin=prices.margin,
            reward_cost=prices.reward_cost,
            currency=currency,
            horizon=window.said,
            level=self.level,
            card_cost=prices.card_cost,
            fan=fan_of_values(
                *courses, arm_of, days=days, arms=self.arms_, cluster=cluster, prices=prices, level=self.level
            ),
            paid=paid,
            checks=(*self.checks_, *self._secondary("economics"), window.check, self._capped(cards)),
        )

    def _paid(self, cards: Cards) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        if cards.stamp_value is None:
            raise DesignError(
                "margin_rate needs card_events.paid_value on every stamp, and it is not recorded"
            )
        return cards.stamp_value

    def _fan_days(self, window: Window) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return days from issue that every judged card was followed for."""
        followed = int((window.until - self._first["issued"].to_numpy())[window.kept].min())
        return np.unique(np.linspace(0, max(followed, 0), _FAN_DAYS + 1).astype(np.int64))

    def pulled_forward(
        self,
        *,
        by_day: int,
        until_day: int,
        margin: float | None = None,
        reward_cost: float | None = None,
        card_cost: float | Mapping[str, float] = 0.0,
        currency: str | None = None,
    ) -> PulledForwardResult:
        """Ask how much of the gain by one day is still there by a later one.

        A head start may only bring visits and rewards forward that the control's holders make
        later. The lead by ``by_day`` is set beside what happened from then to ``until_day``: the
        visits (rewards) by which the control catches up were pulled forward. It needs holders who
        are followed to ``until_day`` and whose later cards are recorded.

        Args:
            by_day: Days from the first card's issue up to which the gain is counted.
            until_day: Days from the first card's issue up to which holders are followed on.
            margin: Margin of one paid visit; without prices only visits and rewards are told.
            reward_cost: Cost of one reward.
            card_cost: Cost of handing out a card, one number or by arm.
            currency: ISO 4217 code of all prices.

        Raises:
            ArgumentError: When ``until_day`` is not after ``by_day``, or one price comes alone.
            DesignError: When only counts are known, no card follows a full one in the data, or
                nobody was followed so long.

        Examples:
            >>> import loyalty_research as lr
            >>> from loyalty_research.endowed_progress import CardExperiment
            >>> cards = lr.simulate("stamp-card", customers=400, seed=1, scenario="level", expiry_weeks=60)
            >>> x = CardExperiment.from_dataset(cards, control="control")
            >>> found = x.pulled_forward(by_day=120, until_day=360)
            >>> bool(abs(found.gains[0].value - found.given_back[0].value - found.kept[0].value) < 1e-9)
            True
        """
        cards = self._need_cards("what was pulled forward")
        by_day = check_whole(by_day, "by_day", least=1)
        until_day = check_whole(until_day, "until_day", least=1)
        if until_day <= by_day:
            raise ArgumentError(f"until_day must lie after by_day; got {until_day} and {by_day}")
        if (margin is None) != (reward_cost is None):
            raise ArgumentError("give margin and reward_cost, or neither")
        prices = None
        if margin is not None and reward_cost is not None:
            prices = self._prices(margin, reward_cost, card_cost, currency)
        if not (cards.table["cycle"] > 1).any():
            raise DesignError(
                "no card follows a full one in the data, so visits after completion are not seen and what was "
                "pulled forward cannot be told"
            )
        window = judged_cards(cards, self._first, until_day)
        visits, rewards = holder_courses(cards, self._first, window.kept, np.array([by_day, until_day]))
        return pulled_forward(
            visits,
            rewards,
            self._arm_of(self._first[window.kept]),
            arms=self.arms_,
            cluster=None if self._cluster is None else self._cluster[window.kept],
            by_day=by_day,
            until_day=until_day,
            prices=prices,
            level=self.level,
            checks=(
                *self.checks_,
                *self._secondary("visits kept later"),
                window.check,
                self._ended_between(window),
            ),
        )

    def _ended_between(self, window: Window) -> Check:
        """Count judged first cards that ended unfilled before the follow-up did: their holders vanish."""
        first = self._first[window.kept]
        over = np.minimum(first["expired"].to_numpy(), first["lost"].to_numpy())
        gone = int(((over < NEVER) & (over < window.until[window.kept])).sum())
        name = message("holders seen to the end")
        if gone == 0:
            return Check(name, "passed", message("no first card expired or was lost before the later day"))
        detail = messages(
            "{count} first card expired or was lost before: later visits of its holder may not be seen",
            "{count} first cards expired or were lost before: later visits of their holders may not be seen",
            gone,
        )
        return Check(name, "warning", detail)

    def priced(
        self,
        *,
        margin: float | None,
        reward_cost: float | None,
        currency: str | None = None,
        by_day: int | None = None,
    ) -> EconomicsResult | NotAvailable:
        """Return :meth:`economics` where both prices are given and the data carry it, else why not.

        Args:
            margin: Margin of one paid visit, before rewards; None when it is not known.
            reward_cost: Cost of one reward; None when it is not known.
            currency: ISO 4217 code of both.
            by_day: Days from the first card's issue, as for :meth:`completion`.
        """
        if margin is None or reward_cost is None:
            return NotAvailable(message("the margin of a visit and the cost of a reward were not given"))
        try:
            return self.economics(margin=margin, reward_cost=reward_cost, currency=currency, by_day=by_day)
        except DesignError as error:
            return NotAvailable(str(error))
