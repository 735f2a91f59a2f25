"""Analyses that need cards one by one: time, visits, economics, the goal gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np

from loyalty_research.endowed_progress._models import Progress
from loyalty_research.endowed_progress._windows import card_life, followed_cards, judged_cards, per_holder
from loyalty_research.endowed_progress.gradient import HazardResult, goal_gradient, pooled_hazard
from loyalty_research.endowed_progress.hazard import Link
from loyalty_research.endowed_progress.periods import card_periods, check_calendar
from loyalty_research.endowed_progress.reset import post_reward_reset
from loyalty_research.endowed_progress.timing import compare_times
from loyalty_research.endowed_progress.visits import VisitsModel, count_visits
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message
from loyalty_research.stats.counts import check_whole

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.endowed_progress.cards import Cards
    from loyalty_research.endowed_progress.gradient import GoalGradientResult
    from loyalty_research.endowed_progress.periods import Season
    from loyalty_research.endowed_progress.registration import DesignCard
    from loyalty_research.endowed_progress.reset import PostRewardResult
    from loyalty_research.endowed_progress.timing import TimingResult
    from loyalty_research.endowed_progress.visits import VisitsResult

__all__ = ["CardAnalyses"]


class CardAnalyses:
    """What :class:`~loyalty_research.endowed_progress.CardExperiment` does with single cards.

    Attributes:
        level: Level of every interval.
        arms_: Arm names, control first.
        checks_: Checks of the design.
        registered: What was laid down beforehand, or None.
    """

    level: float
    registered: DesignCard | None
    arms_: tuple[str, ...]
    checks_: tuple[Check, ...]
    _cards: Cards | None
    _first: pd.DataFrame
    _position: dict[str, int]
    _cluster: NDArray[np.int64] | None

    def _secondary(self, metric: str) -> tuple[Check, ...]:
        """Say that an analysis is not the registered one, where something was registered."""
        if self.registered is None:
            return ()
        return self.registered.compare_analysis(metric=metric, by_day=None, judged=None, look=None)

    def _need_cards(self, what: str) -> Cards:
        if self._cards is None:
            raise DesignError(f"{what} needs card events, and only the numbers of cards completed are known")
        return self._cards

    def _arm_of(self, table: pd.DataFrame) -> NDArray[np.int64]:
        return np.asarray(table["arm"].map(self._position), dtype=np.int64)

    def time_to_completion(self, *, tau: float | None = None) -> TimingResult:
        """Compare the time a card takes to fill: Kaplan-Meier and restricted means.

        Completion is the event; expiry, loss and the end of the data end the watch (a card that
        expired could no longer fill). Cox models are not offered, since nobody can finish before
        the stamps are earned.

        Args:
            tau: Horizon in days; the life of a card, or the common follow-up where that is
                shorter, when None. Choose it before looking.

        Raises:
            ArgumentError: When ``tau`` lies beyond the follow-up of an arm.
            DesignError: When only counts are known, or no card was completed.
        """
        cards = self._need_cards("the time to completion")
        spells, check = followed_cards(cards, self._first, what="completion", cluster=self._cluster)
        lost = int((self._first["lost"].to_numpy() <= cards.as_of).sum())
        loss = Check(
            message("loss says nothing of pace"),
            "not measurable",
            message("{count} lost cards leave the watch as if at random", count=f"{lost:,}"),
        )
        return compare_times(
            spells,
            arms=self.arms_,
            what="completion",
            tau=tau,
            longest=card_life(cards),
            level=self.level,
            checks=(*self.checks_, *self._secondary("time to completion"), check, *([loss] if lost else [])),
        )

    def first_gap(self, *, tau: float | None = None) -> TimingResult:
        """Compare the time from issue to the first later visit, the only gap the draw made comparable.

        Later gaps exist only for those who came back, so they compare selected customers. Visits
        on the day of issue are part of it and are not counted.

        Args:
            tau: Horizon in days, as for :meth:`time_to_completion`.

        Raises:
            ArgumentError: When ``tau`` lies beyond the follow-up of an arm.
            DesignError: When only counts are known, or nobody came back.
        """
        cards = self._need_cards("the first return")
        if not cards.has_stamps:
            raise DesignError("card_events holds no stamp events, so returns are not known")
        spells, check = followed_cards(cards, self._first, what="first return", cluster=self._cluster)
        return compare_times(
            spells,
            arms=self.arms_,
            what="first return",
            tau=tau,
            longest=card_life(cards),
            level=self.level,
            checks=(*self.checks_, *self._secondary("first return"), check),
        )

    def visits(self, *, by_day: int | None = None, model: VisitsModel = "poisson") -> VisitsResult:
        """Compare the paid visits of holders, over all their cards.

        Total visits use more of the data than completion does, so they tell arms apart with fewer
        cards.

        Both models compare the same average visits; they differ in how sure they are. Robust
        Poisson, the default, takes the spread from the cards themselves and holds whatever it is:
        visits on a card end at the reward, so they seldom follow a textbook distribution. The
        negative binomial takes it from a model with one dispersion for all arms, which is steadier
        with few cards and right only where the model is; a check says how far it is from the data.
        With clusters both give the same interval.

        Args:
            by_day: Days from the first card's issue, as for :meth:`completion`.
            model: ``"poisson"`` (robust) or ``"negative-binomial"``.

        Raises:
            ArgumentError: When the model is unknown.
            DesignError: When only counts are known, stamps are not recorded, or the negative
                binomial is asked of visits shared between several first cards.
        """
        if model not in get_args(VisitsModel):
            raise ArgumentError(f"model must be one of {', '.join(get_args(VisitsModel))}; got {model!r}")
        cards = self._need_cards("the number of visits")
        window = judged_cards(cards, self._first, by_day)
        visits, _ = per_holder(cards, self._first, window)
        return count_visits(
            visits,
            self._arm_of(self._first[window.kept]),
            arms=self.arms_,
            cluster=None if self._cluster is None else self._cluster[window.kept],
            horizon=window.said,
            level=self.level,
            model=model,
            checks=(*self.checks_, *self._secondary("visits"), window.check, self._capped(cards)),
        )

    def _capped(self, cards: Cards) -> Check:
        again = bool((cards.table["cycle"] > 1).any())
        return Check(
            message("visits after completion"),
            "passed" if again else "warning",
            message("further cards of the same customers are counted")
            if again
            else message("no further cards in the data: visits after completion are not seen"),
        )

    def hazard_by_stamps(self, *, period: int = 7) -> HazardResult:
        """Return the chance of a visit by stamps earned, all cards thrown together.

        The curve rises with stamps even when nobody speeds up, because only keen customers hold
        many: it describes, and compares nothing.

        Args:
            period: Days of a period.

        Raises:
            DesignError: When only counts are known, or stamps are not recorded.
        """
        cards = self._need_cards("the visit rate by stamps")
        periods = card_periods(cards, days=check_whole(period, "period", least=1))
        return HazardResult(
            hazard=pooled_hazard(periods, arms=self.arms_, level=self.level), days=period, level=self.level
        )

    def goal_gradient(
        self,
        *,
        period: int = 7,
        progress: Progress = "share",
        link: Link = "logit",
        arm_level: bool = True,
        season: Season | None = None,
        weekday: bool = False,
        nodes: int = 21,
    ) -> GoalGradientResult:
        """Estimate whether the same customer comes faster as the card fills.

        A discrete-time hazard of a visit with a normal intercept per card, so that keen customers
        are compared with themselves; beside it the pooled slope, which mixes selection in, and the
        slope of log gaps within completed cards.

        Args:
            period: Days of a period; one visit counts in each.
            progress: ``"share"`` of the card filled (given stamps counted) or ``"stamps"`` left
                to go, signed so that a positive slope is a speeding up.
            link: ``"logit"`` or ``"cloglog"``.
            arm_level: Let arms differ in level as well as by their progress.
            season: None, or terms of the season, without which a card that fills towards a busy
                time looks faster: ``"harmonic"``, one yearly wave; ``"month"`` or ``"week"``, a
                level for each. The slope without them is shown beside.
            weekday: A level for each weekday; only where ``period`` is 1.
            nodes: Quadrature nodes per card.

        Raises:
            ArgumentError: On an unknown option.
            DesignError: When only counts are known, or progress does not vary, or cannot be told
                from the calendar.
            ConvergenceError: When the likelihood has no maximum.

        References:
            Kivetz, Urminsky and Zheng (2006); Heckman (1981) on heterogeneity mistaken for state
            dependence.
        """
        cards = self._need_cards("the goal gradient")
        days = check_whole(period, "period", least=1)
        _check_model(progress, link, season, weekday=weekday, days=days)
        return goal_gradient(
            cards,
            days=days,
            progress=progress,
            link=link,
            arm_level=arm_level,
            season=season,
            weekday=weekday,
            nodes=check_whole(nodes, "nodes", least=5),
            level=self.level,
            cluster=self._cluster,
            checks=self._model_checks(),
        )

    def post_reward_reset(
        self,
        *,
        period: int = 7,
        progress: Progress = "share",
        link: Link = "logit",
        season: Season | None = None,
        weekday: bool = False,
        nodes: int = 21,
    ) -> PostRewardResult:
        """Estimate how the pace just after a reward compares with the pace just before it.

        One discrete-time hazard over all cards of a customer, with a normal intercept per
        customer: progress, a level for cards after the first, and a level for each other arm's
        first cards. The fall after a reward has two parts, the way back to an empty card (the
        slope) and what remains at equal progress (the level of later cards). Weeks without a
        visit after the reward count, so customers who do not return are not left out; beside it
        the paired log gaps of those who do.

        Args:
            period: Days of a period; one visit counts in each.
            progress: ``"share"`` or ``"stamps"``, as for :meth:`goal_gradient`.
            link: ``"logit"`` or ``"cloglog"``.
            season: Terms of the season, as for :meth:`goal_gradient`; later cards lie later in
                the year, so a season that is left out looks like a reset.
            weekday: A level for each weekday; only where ``period`` is 1.
            nodes: Quadrature nodes per customer.

        Raises:
            ArgumentError: On an unknown option.
            DesignError: When only counts are known, or nobody was issued a card after a reward.
            ConvergenceError: When the likelihood has no maximum.

        Examples:
            >>> import loyalty_research as lr
            >>> cards = lr.simulate("stamp-card", customers=400, seed=1, scenario="slope", required_visits=4)
            >>> from loyalty_research.endowed_progress import CardExperiment
            >>> x = CardExperiment.from_dataset(cards, control="control")
            >>> bool(x.post_reward_reset().jump.high < 0)
            True

        References:
            Kivetz, Urminsky and Zheng (2006), The goal-gradient hypothesis resurrected, study 1
            (post-reinforcement resetting).
        """
        cards = self._need_cards("the pace after a reward")
        days = check_whole(period, "period", least=1)
        _check_model(progress, link, season, weekday=weekday, days=days)
        return post_reward_reset(
            cards,
            days=days,
            progress=progress,
            link=link,
            season=season,
            weekday=weekday,
            nodes=check_whole(nodes, "nodes", least=5),
            level=self.level,
            cluster=self._cluster,
            checks=self._model_checks(),
        )

    def _model_checks(self) -> tuple[Check, ...]:
        normal = Check(
            message("customers differ as a normal distribution"),
            "not measurable",
            message("the slope within cards rests on it; the log gaps of completed cards do not"),
        )
        return (*self.checks_, *self._secondary("pace"), normal)


def _check_model(progress: object, link: object, season: str | None, *, weekday: bool, days: int) -> None:
    for value, name, choices in (
        (progress, "progress", get_args(Progress)),
        (link, "link", get_args(Link)),
    ):
        if value not in choices:
            raise ArgumentError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
    check_calendar(season, weekday=weekday, days=days)
