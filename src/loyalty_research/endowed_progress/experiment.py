"""The experiment: cards or counts in, analyses out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np

from loyalty_research.endowed_progress import _checks
from loyalty_research.endowed_progress._clusters import ClusteredCards
from loyalty_research.endowed_progress._outcome import NotAvailable
from loyalty_research.endowed_progress._sources import as_pandas, counted_outcomes, unit_outcomes
from loyalty_research.endowed_progress._windows import (
    card_sizes,
    judged_cards,
)
from loyalty_research.endowed_progress.cards import read_cards
from loyalty_research.endowed_progress.completion import Outcomes, arm_rates, compare_arms
from loyalty_research.endowed_progress.contrasts import answer_contrasts, contrasts_of, contrasts_of_card
from loyalty_research.endowed_progress.decisions import CardDecisions
from loyalty_research.endowed_progress.registration import planned_shares
from loyalty_research.errors import ArgumentError, ContractError, ConvergenceError, DesignError
from loyalty_research.estimates import check_level
from loyalty_research.i18n import message
from loyalty_research.stats.proportions import DifferenceMethod

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.endowed_progress.cards import Cards
    from loyalty_research.endowed_progress.completion import CompletionResult
    from loyalty_research.endowed_progress.contrasts import ContrastsResult
    from loyalty_research.endowed_progress.designs import Design
    from loyalty_research.endowed_progress.preview import Preview
    from loyalty_research.endowed_progress.registration import DesignCard
    from loyalty_research.estimates import Check

__all__ = ["CardExperiment"]

Analysis = Literal[
    "completion",
    "contrasts",
    "economics",
    "first_gap",
    "goal_gradient",
    "hazard_by_stamps",
    "post_reward_reset",
    "pulled_forward",
    "time_to_completion",
    "visits",
]


class _Tables(Protocol):
    """What is needed of a dataset."""

    @property
    def name(self) -> str: ...
    @property
    def as_of(self) -> Any: ...
    def has(self, table: str, *columns: str) -> bool: ...
    def frame(self, table: str) -> pd.DataFrame: ...


class CardExperiment(CardDecisions):
    """A stamp-card experiment: some cards with a head start, some without.

    Cards are compared as they were handed out (intention to treat): a lost card counts as not
    completed, an expired one too. Where customers come back for more cards, the first card of
    each is the one compared; visits are counted over all of them.

    Args:
        card_events: The ``card_events`` table, one row per event: card_id, event (issued, stamp,
            completed, redeemed, expired, lost), occurred_date or occurred_at, required_stamps,
            endowed_stamps and the arm; customer_id, cycle and paid_value of a visit where known.
            Given stamps are told by ``endowed_stamps``; they have no stamp event. A pandas frame,
            or one of another engine (Polars, PyArrow, DuckDB).
        as_of: Last day observed.
        control: Name of the arm without a head start.
        arm: Column of the arm.
        cluster: Column of what was drawn at random where that is more than a card, such as the
            day or the cashier; intervals then allow for it.
        ratio: Planned shares of the arms, such as ``{"control": 2, "endowed": 1}``; equal when
            None.
        registered: What was laid down beforehand (:meth:`Plan.card`): its allocation is the ratio
            that is tested, its horizon the default, its looks set the level, and each deviation
            is a check.
        level: Level of every interval.

    Attributes:
        arms_: Arm names, control first.
        checks_: Checks of the design; a failed gate suppresses every verdict.
        dropped_: Reason to the number of rows or cards left out for it.

    Raises:
        ContractError: When columns are missing or rows break the contract.
        DesignError: When the control is unknown or an arm has no cards.

    Examples:
        >>> CardExperiment.from_counts(
        ...     {"control": (28, 150), "endowed": (51, 150)}, control="control"
        ... ).completion()["endowed"].difference
        15.3% (95% interval 5.4% to 24.9%; newcombe; n = 300)

    References:
        Nunes and Dreze (2006), The endowed progress effect. Kivetz, Urminsky and Zheng (2006),
        The goal-gradient hypothesis resurrected.
    """

    arms_: tuple[str, ...]
    checks_: tuple[Check, ...]
    dropped_: dict[str, int]

    def __init__(
        self,
        card_events: Any,
        *,
        as_of: Any,
        control: str,
        arm: str = "arm",
        cluster: str | None = None,
        ratio: Mapping[str, float] | None = None,
        registered: DesignCard | None = None,
        level: float = 0.95,
    ) -> None:
        self.level = check_level(level)
        events = as_pandas(card_events, "card_events")
        cards = read_cards(events, as_of=as_of, control=control, arm=arm, cluster=cluster)
        self._cards: Cards | None = cards
        self._horizon = ""
        self._outcomes: Outcomes | None = None
        self.arms_ = cards.arms
        first = cards.table[cards.table["cycle"] == 1]
        missing = [a for a in cards.arms if not (first["arm"] == a).any()]
        if missing:
            raise DesignError(f"the arm {', '.join(missing)} has no first card (cycle 1)")
        self._first = first
        self._position = {a: i for i, a in enumerate(cards.arms)}
        self._note_repeats(cards)
        self.checks_ = (
            self._sample_ratio(planned_shares(cards.arms, ratio, registered)),
            _checks.paid_distance(first, cards.arms),
            _checks.issue_dates(first, cards.arms),
            *self._register(registered, stamps=card_sizes(first), ratio=ratio, cluster=cluster),
        )
        self.dropped_ = {
            **cards.dropped,
            "later cards of the same customer": int((cards.table["cycle"] > 1).sum()),
        }

    def _note_repeats(self, cards: Cards) -> None:
        """Set the clusters: the named ones, else customers who hold several first cards."""
        self._cluster: NDArray[np.int64] | None = None
        self._cluster_unit = message("cards")
        if cards.has_clusters:
            self._cluster = self._first["cluster"].to_numpy(dtype=np.int64)
            self._cluster_unit = message("clusters")
        elif self._first["customer"].duplicated().any():
            self._cluster = self._first["customer"].to_numpy(dtype=np.int64)
            self._cluster_unit = message("customers")

    def _register(
        self,
        registered: DesignCard | None,
        *,
        stamps: Mapping[str, tuple[int, int]] | None,
        ratio: Mapping[str, float] | None,
        cluster: str | None,
    ) -> tuple[Check, ...]:
        """Keep what was registered, and compare the design with it."""
        self.registered = registered
        if registered is None:
            return ()
        return registered.compare_design(
            arms=self.arms_, stamps=stamps, ratio=ratio, cluster=cluster, level=self.level
        )

    def _sample_ratio(self, planned: tuple[float, ...]) -> Check:
        arm_of = self._arm_of(self._first)
        counts, unit = np.bincount(arm_of, minlength=len(self.arms_)), message("cards")
        if self._cluster is not None:
            pairs = np.unique(np.column_stack([self._cluster, arm_of]), axis=0)
            if len(pairs) == len(np.unique(self._cluster)):
                # whole clusters were drawn, so they are what the ratio speaks of
                counts, unit = np.bincount(pairs[:, 1], minlength=len(self.arms_)), self._cluster_unit
        return _checks.sample_ratio(self.arms_, counts.tolist(), planned, unit=unit)

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, tuple[int, int]],
        *,
        control: str,
        ratio: Mapping[str, float] | None = None,
        horizon: str | None = None,
        stamps: Mapping[str, tuple[int, int]] | None = None,
        registered: DesignCard | None = None,
        level: float = 0.95,
    ) -> CardExperiment:
        """Start from counts, such as those of a paper.

        Args:
            counts: Arm to (completed cards, cards handed out).
            control: Name of the arm without a head start.
            ratio: Planned shares of the arms; equal when None.
            horizon: By when cards were counted, in words such as ``"within nine months"``.
            stamps: Arm to (stamps a reward takes, stamps given), for pictures.
            registered: What was laid down beforehand, as for the class.
            level: Level of every interval.

        Raises:
            ArgumentError: On impossible counts; the message names the arm.
            DesignError: When the control is unknown, or there is one arm only.

        Examples:
            >>> experiment = CardExperiment.from_counts({"a": (5, 40), "b": (9, 40)}, control="a")
            >>> experiment.arms_
            ('a', 'b')
        """
        outcomes = counted_outcomes(counts, control=control, stamps=stamps)
        self = cls.__new__(cls)
        self.level = check_level(level)
        self._cards, self._cluster = None, None
        self._horizon = message("by the end") if horizon is None else horizon
        self.arms_, self._outcomes = outcomes.arms, outcomes
        planned = planned_shares(outcomes.arms, ratio, registered)
        ratio_check = _checks.sample_ratio(outcomes.arms, outcomes.n, planned, unit=message("cards"))
        known = self._register(registered, stamps=stamps, ratio=ratio, cluster=None)
        self.checks_ = (ratio_check, *known, *_checks.untold())
        self.dropped_ = {}
        return self

    @classmethod
    def from_units(
        cls,
        units: Any,
        *,
        control: str,
        arm: str = "arm",
        completed: str = "completed",
        cluster: str | None = None,
        ratio: Mapping[str, float] | None = None,
        registered: DesignCard | None = None,
        level: float = 0.95,
    ) -> CardExperiment:
        """Start from a table with one row per card.

        Args:
            units: One row per card, a frame of any engine.
            control: Name of the arm without a head start.
            arm: Column of the arm.
            completed: Column of 0 and 1, or booleans: was the card completed?
            cluster: Column of what was drawn at random where that is more than a card.
            ratio: Planned shares of the arms; equal when None.
            registered: What was laid down beforehand, as for the class.
            level: Level of every interval.

        Raises:
            ContractError: When a column is missing or holds what it should not.
            DesignError: When the control is unknown, or there is one arm only.

        Examples:
            >>> import pandas as pd
            >>> cards = pd.DataFrame({"arm": ["a", "a", "b", "b"], "completed": [0, 1, 1, 1]})
            >>> CardExperiment.from_units(cards, control="a").completion().outcomes.completed
            (1, 2)
        """
        table = as_pandas(units, "units")
        outcomes = unit_outcomes(table, control=control, arm=arm, completed=completed, cluster=cluster)
        counts = dict(zip(outcomes.arms, zip(outcomes.completed, outcomes.n, strict=True), strict=True))
        planned = dict(zip(outcomes.arms, planned_shares(outcomes.arms, ratio, registered), strict=True))
        self = cls.from_counts(counts, control=control, ratio=planned, level=level)
        self._outcomes = outcomes
        known = self._register(registered, stamps=None, ratio=ratio, cluster=cluster)
        self.checks_ = (self.checks_[0], *known, *self.checks_[1:])
        if outcomes.clustered is not None:
            # the clusters are told here, so whether there were some is no longer open
            self.checks_ = (*self.checks_[:-1], _checks.clusters(outcomes.clustered, len(self.arms_)))
        return self

    @classmethod
    def from_dataset(
        cls,
        dataset: _Tables,
        *,
        control: str,
        arm: str = "arm",
        cluster: str | None = None,
        ratio: Mapping[str, float] | None = None,
        registered: DesignCard | None = None,
        level: float = 0.95,
    ) -> CardExperiment:
        """Start from a dataset: its card events where it has them, else its units.

        Args:
            dataset: What :func:`loyalty_research.open_dataset` returns, with a table
                ``card_events`` that has arms, or ``units`` with arms and ``completed``.
            control: Name of the arm without a head start.
            arm: Column of the arm.
            cluster: Column of what was drawn at random where that is more than a card.
            ratio: Planned shares of the arms; equal when None.
            registered: What was laid down beforehand, as for the class.
            level: Level of every interval.

        Raises:
            ContractError: When the dataset has neither table, or rows break the contract.
            DesignError: When card events have no end of observation, or as the other ways in.
        """
        extra = [cluster] if cluster is not None else []
        if dataset.has("card_events", arm, *extra):
            if dataset.as_of is None:
                raise DesignError(f"{dataset.name} has no end of observation; open it with as_of=")
            return cls(
                dataset.frame("card_events"),
                as_of=dataset.as_of,
                control=control,
                arm=arm,
                cluster=cluster,
                ratio=ratio,
                registered=registered,
                level=level,
            )
        if dataset.has("units", arm, "completed", *extra):
            return cls.from_units(
                dataset.frame("units"),
                control=control,
                arm=arm,
                cluster=cluster,
                ratio=ratio,
                registered=registered,
                level=level,
            )
        named = ", ".join([arm, *extra])
        raise ContractError(
            f"{dataset.name} has no table card_events with {named}, nor units with {named} and completed"
        )

    @classmethod
    def from_preview(cls, preview: Preview) -> CardExperiment:
        """Start from the first experiment of a preview, to try an analysis on before there are data.

        Args:
            preview: What :meth:`Plan.preview` returns.
        """
        return cls(
            preview.example,
            as_of=preview.example_as_of,
            control="control",
            cluster="cluster_id" if preview.plan.cluster_size > 1 else None,
            level=preview.plan.level,
        )

    @property
    def has_cards(self) -> bool:
        """Whether cards are known one by one, with their dates."""
        return self._cards is not None

    @property
    def cards_(self) -> int:
        """Number of cards compared."""
        return len(self._first) if self._outcomes is None else sum(self._outcomes.n)

    def attempt(self, analysis: Analysis, **options: Any) -> Any:
        """Return an analysis, or the reason why the data cannot carry it.

        For pages that must hold on any data: a result is true, a
        :class:`~loyalty_research.endowed_progress.NotAvailable` is false and says why.

        Args:
            analysis: Name of a method, such as ``"goal_gradient"``.
            **options: Its options.

        Raises:
            ArgumentError: When no analysis has that name, or an option is wrong.

        Examples:
            >>> counts = CardExperiment.from_counts({"a": (5, 40), "b": (9, 40)}, control="a")
            >>> counts.attempt("visits").verdict()
            'Not available: the number of visits needs card events, and only the numbers of cards completed are known.'
        """
        if analysis not in get_args(Analysis):
            raise ArgumentError(f"analysis must be one of {', '.join(get_args(Analysis))}; got {analysis!r}")
        try:
            return getattr(self, analysis)(**options)
        except (DesignError, ConvergenceError) as error:
            return NotAvailable(str(error))

    def limits(self) -> list[str]:
        """Return what the data leave open, as sentences for a page."""
        clustered = self._cluster is not None or (
            self._outcomes is not None and self._outcomes.clustered is not None
        )
        return _checks.limits(has_cards=self.has_cards, clustered=clustered)

    def completion(
        self,
        *,
        by_day: int | None = None,
        method: DifferenceMethod = "newcombe",
        look: int | None = None,
    ) -> CompletionResult:
        """Compare the share of cards completed.

        Args:
            by_day: Days from issue by which a card must be full; cards issued too late to be
                followed that long are left out. When None: before expiry, for cards whose time
                has run out; where no card ever expired, so far.
            method: Interval of the difference, as in
                :func:`~loyalty_research.stats.proportions.difference_in_proportions`; with
                clusters it is cluster-robust instead.
            look: Which of the registered looks this is, from 1; the last when None. Intervals
                have the level that the look's bound asks for.

        Raises:
            ArgumentError: When ``by_day`` is no positive whole number, is given for counts, or
                the method or the look is unknown.
            DesignError: When an arm has no card that was followed so long.
        """
        if method not in get_args(DifferenceMethod):
            raise ArgumentError(
                f"method must be one of {', '.join(get_args(DifferenceMethod))}; got {method!r}"
            )
        outcomes, said, level, checks = self._judged(by_day, look)
        return compare_arms(outcomes, horizon=said, method=method, level=level, checks=checks)

    def contrasts(
        self,
        asked: Design | Mapping[str, Mapping[str, float]] | None = None,
        *,
        by_day: int | None = None,
        look: int | None = None,
    ) -> ContrastsResult:
        """Answer questions put to several arms, each a contrast of completion rates.

        P-values are adjusted for the number of questions by Holm's method.

        Args:
            asked: A design, such as :func:`~loyalty_research.endowed_progress.head_start_doses` with
                the names its arms have in the data, or name to weights by arm; the registered
                contrasts when None.
            by_day: As for :meth:`completion`.
            look: As for :meth:`completion`.

        Raises:
            ArgumentError: When nothing is asked, or weights do not sum to zero.
            DesignError: When a contrast names an arm the data lack.

        Examples:
            >>> doses = {"plain": (20, 100), "two": (30, 100), "three": (34, 100)}
            >>> x = CardExperiment.from_counts(doses, control="plain")
            >>> asked = {"any head start": {"two": 0.5, "three": 0.5, "plain": -1}}
            >>> x.contrasts(asked)["any head start"].format(signed=True)
            '+12.0%'
        """
        if asked is None:
            if self.registered is None:
                raise ArgumentError("contrasts needs a design or named weights, since none were registered")
            wanted = contrasts_of_card(self.registered)
        else:
            wanted = contrasts_of(asked)
        outcomes, said, level, checks = self._judged(by_day, look)
        return answer_contrasts(
            wanted,
            outcomes,
            rates=arm_rates(outcomes, level),
            horizon=said,
            level=level,
            checks=checks,
        )

    def _judged(self, by_day: int | None, look: int | None) -> tuple[Outcomes, str, float, tuple[Check, ...]]:
        """Return what became of the cards, by when, the level of the look, and the checks."""
        if self._outcomes is not None:
            if by_day is not None:
                raise ArgumentError("by_day needs card events; counts are as they were published")
            level, kept = self._look(look, judged=sum(self._outcomes.n), by_day=None)
            return self._outcomes, self._horizon, level, (*self.checks_, *kept)
        cards = self._need_cards("completion by a day")
        if by_day is None and self.registered is not None:
            by_day = self.registered.horizon_days
        window = judged_cards(cards, self._first, by_day)
        table, until = self._first[window.kept], window.until[window.kept]
        arm_of = self._arm_of(table)
        done = table["completed"].to_numpy() <= until
        lost = ~done & (table["lost"].to_numpy() <= until)
        k = len(self.arms_)
        n = tuple(np.bincount(arm_of, minlength=k).tolist())
        lost_counts = tuple(np.bincount(arm_of[lost], minlength=k).tolist())
        level, kept = self._look(look, judged=sum(n), by_day=by_day)
        checks = [*self.checks_, *kept, window.check, _checks.losses(self.arms_, lost_counts, n)]
        clustered = None
        if self._cluster is not None:
            clustered = ClusteredCards(arm_of, done, lost, self._cluster[window.kept])
            checks.append(_checks.clusters(clustered, k))
        completed = tuple(np.bincount(arm_of[done], minlength=k).tolist())
        outcomes = Outcomes(self.arms_, completed, n, lost_counts, clustered, card_sizes(self._first))
        return outcomes, window.said, level, tuple(checks)

    def _look(self, look: int | None, *, judged: int, by_day: int | None) -> tuple[float, tuple[Check, ...]]:
        """Return the level of a look, and how the analysis compares with what was registered."""
        if self.registered is None:
            if look is not None:
                raise ArgumentError(
                    "look needs an experiment with registered=, which says how many there are"
                )
            return self.level, ()
        at = self.registered.look(look, judged=judged)
        kept = self.registered.compare_analysis(metric="completion", by_day=by_day, judged=judged, look=at)
        return (self.level if len(self.registered.looks) == 1 else at.level), kept
