"""Planning a card experiment: how many cards, how long, at what cost, and what to expect."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import stats

from loyalty_research.endowed_progress._outcome import CardResult, NotAvailable
from loyalty_research.endowed_progress._plan_options import check_looks, check_rates, check_sizes, plan_checks
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.counts import check_fraction
from loyalty_research.stats.proportion_power import (
    detectable_increase,
    power_two_proportions,
    sample_size_two_proportions,
)
from loyalty_research.stats.spending import group_sequential_bounds

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from loyalty_research.endowed_progress.preview import Preview
    from loyalty_research.endowed_progress.registration import DesignCard
    from loyalty_research.stats.proportion_power import PowerMethod
    from loyalty_research.stats.spending import Crossing, GroupSequentialBounds, Spending

__all__ = ["Plan", "exaggeration", "plan"]

_SHARES = (1.0, 0.75, 0.5, 0.25)


def exaggeration(p1: float, p2: float, *, cards: float, level: float = 0.95) -> float:
    """Return by how much a significant difference overstates the true one, on average.

    Args:
        p1: True rate of the treated arm.
        p2: True rate of the control arm.
        cards: Cards per arm (effective, where they come in clusters).
        level: One minus the two-sided test size.

    Returns:
        Mean of the absolute estimate given significance, over the true difference.

    Examples:
        >>> round(exaggeration(0.30, 0.20, cards=100), 2)
        1.61

    References:
        Gelman and Carlin (2014), Beyond power calculations: the exaggeration ratio (type M).
    """
    d = abs(p1 - p2)
    se = math.sqrt((p1 * (1 - p1) + p2 * (1 - p2)) / cards)
    return group_sequential_bounds(1, level=level).crossing(drift=d / se).exaggeration


@dataclass(frozen=True, repr=False)
class Plan(CardResult):
    """A planned experiment with two arms of equal size.

    Attributes:
        baseline: Completion rate expected without a head start.
        uplift: Increase worth finding, as a difference of fractions.
        power: Chance to be had of finding it.
        level: Level of the interval; the two-sided test has size one minus this.
        cards: Cards per arm at the last look, design effect and looks included, rounded up.
        design_effect: 1 + (cluster_size - 1) x icc.
        cluster_size: Cards per cluster.
        icc: Intraclass correlation of completion.
        method: Formula or test behind the size.
        bounds: Bounds on the z statistic at each look.
        required: Stamps a reward takes on the card with the head start, given ones included.
        given: Stamps given on it.
        horizon_days: Days from issue by which a card must be full.
        cards_per_day: Cards handed out a day, both arms together.
        reward_cost: Cost of one reward.
        card_cost: Cost of handing out one card.
        currency: ISO 4217 code of both.
    """

    title: ClassVar[str] = "Cards per arm"
    finding: ClassVar[str] = "plan"
    rests_on_model: ClassVar[bool] = True

    baseline: float
    uplift: float
    power: float
    level: float
    cards: int
    design_effect: float
    cluster_size: int
    icc: float
    method: PowerMethod
    bounds: GroupSequentialBounds = field(default_factory=lambda: group_sequential_bounds(1))
    required: int | None = None
    given: int | None = None
    horizon_days: int | None = None
    cards_per_day: float | None = None
    reward_cost: float | None = None
    card_cost: float = 0.0
    currency: str | None = None

    @property
    def looks(self) -> int:
        """How often the data are looked at, the last time included."""
        return len(self.bounds.z)

    @property
    def inflation(self) -> float:
        """By what the looks multiply the cards."""
        return 1.0 if self.looks == 1 else self.bounds.inflation(power=self.power)

    @property
    def clusters(self) -> int | None:
        """Clusters per arm; None for single cards."""
        return None if self.cluster_size == 1 else math.ceil(self.cards / self.cluster_size)

    @property
    def rates(self) -> tuple[float, float]:
        """Completion rates of control and treated arm that are planned for."""
        return self.baseline, self.baseline + self.uplift

    def _method(self, share: float, power: float) -> PowerMethod:
        """Return the formula of a size; exact tests size the plan itself, what-ifs take their formula."""
        exact = self.method.startswith("exact")
        return "pooled-z" if exact and (share, power) != (1.0, self.power) else self.method

    def _size(self, share: float, power: float) -> int:
        if (share, power) == (1.0, self.power):
            return self.cards
        bare = sample_size_two_proportions(
            self.baseline + share * self.uplift,
            self.baseline,
            power=power,
            level=self.level,
            method=self._method(share, power),
        )
        looks = 1.0 if self.looks == 1 else self.bounds.inflation(power=power)
        return math.ceil(bare * self.design_effect * looks - 1e-9)

    def _rows(self) -> Iterable[Row]:
        for power in sorted({self.power, 0.8, 0.9}):
            for share in (1.0, 0.5):
                size = self._size(share, power)
                effect = message(
                    "an effect of {points} points", points=number(100 * share * self.uplift, digits=1)
                )
                yield self._row(
                    message("cards per arm"),
                    size,
                    message("cards"),
                    effect,
                    2 * size,
                    {"power": power},
                    self._method(share, power),
                )
        if self.enrolment_days is not None:
            yield self._row(message("days to hand out the cards"), self.enrolment_days, message("days"))
        if self.duration_days is not None:
            yield self._row(message("days until the verdict"), self.duration_days, message("days"))
        if self.reward_cost is not None:
            for line in self.costs().to_dict("records"):
                yield Row(
                    message("expected cost"),
                    Estimate(
                        line["total"],
                        math.nan,
                        math.nan,
                        self.level,
                        "expected value",
                        self.cards,
                        self.currency,
                    ),
                    line["arm"],
                    message("cards and rewards"),
                )

    def _row(
        self,
        name: str,
        value: float,
        unit: str,
        estimand: str | None = None,
        n: int | None = None,
        extra: dict[str, Any] | None = None,
        method: PowerMethod | None = None,
    ) -> Row:
        count = 2 * self.cards if n is None else n
        estimate = Estimate(value, math.nan, math.nan, self.level, method or self.method, count, unit)
        return Row(name, estimate, None, estimand, extra or {})

    def _verdict(self) -> str:
        said = [
            message(
                "To find an increase from {baseline} to {goal} with a chance of {power}, hand out {cards} cards per "
                "arm. If the true effect is half of that, {half} per arm are needed.",
                baseline=percent(self.baseline),
                goal=percent(self.baseline + self.uplift),
                power=percent(self.power, digits=0),
                cards=f"{self.cards:,}",
                half=f"{self._size(0.5, self.power):,}",
            )
        ]
        if self.duration_days is not None:
            said.append(
                message(
                    "At {rate} cards a day that takes {enrol} days, and the verdict comes on day {days}.",
                    rate=f"{self.cards_per_day:g}",
                    enrol=f"{self.enrolment_days:,}",
                    days=f"{self.duration_days:,}",
                )
            )
        if self.looks > 1:
            said.append(
                message(
                    "{looks} looks cost {more} more cards; with the planned effect the study stops after {share} of "
                    "them on average.",
                    looks=self.looks,
                    more=percent(self.inflation - 1),
                    share=percent(self._followed(1.0, self.cards).expected_fraction, digits=0),
                )
            )
        return " ".join(said)

    def _fixed_power(self, share: float, cards: float) -> float:
        effective = max(2, round(cards / self.design_effect))
        return power_two_proportions(
            self.baseline + share * self.uplift, self.baseline, n1=effective, level=self.level
        )

    def _followed(self, share: float, cards: float) -> Crossing:
        """Follow the looks under a share of the effect, by the drift that gives one look its power."""
        z = float(stats.norm.isf((1 - self.level) / 2))
        alone = min(self._fixed_power(share, cards), 1 - 1e-12)
        drift = 0.0 if share == 0 else max(z + float(stats.norm.ppf(alone)), 0.0)
        return self.bounds.crossing(drift=drift)

    def _power(self, share: float, cards: float) -> float:
        return self._fixed_power(share, cards) if self.looks == 1 else self._followed(share, cards).power

    def power_curve(self, *, cards: Sequence[int] | None = None) -> pd.DataFrame:
        """Return power by cards per arm: effect (words), share, cards, power.

        Args:
            cards: Cards per arm to show; up to four times the plan by default.
        """
        import pandas as pd

        asked = np.unique(np.linspace(10, 4 * self.cards, 60).astype(int)) if cards is None else cards
        rows = [
            (
                message("{share} of the effect", share=percent(s, digits=0)),
                s,
                int(n),
                self._power(s, float(n)),
            )
            for s in _SHARES
            for n in asked
        ]
        return pd.DataFrame(rows, columns=["effect", "share", "cards", "power"])

    def winners_curse(self) -> pd.DataFrame:
        """Return what becomes of the plan if the true effect is smaller.

        Returns:
            share of the planned effect, its size in fractions, cards per arm for 80 and for 90
            percent power, power of the planned cards, and by how much a significant difference
            would then overstate the true one (with looks: one that crossed its bound).
        """
        import pandas as pd

        rows = []
        for share in _SHARES:
            if self.looks == 1:
                flatter = exaggeration(
                    self.baseline + share * self.uplift,
                    self.baseline,
                    cards=self.cards / self.design_effect,
                    level=self.level,
                )
            else:
                flatter = self._followed(share, self.cards).exaggeration
            rows.append(
                (
                    share,
                    share * self.uplift,
                    self._size(share, 0.8),
                    self._size(share, 0.9),
                    self._power(share, self.cards),
                    flatter,
                )
            )
        columns = ["share", "difference", "cards_80", "cards_90", "power", "exaggeration"]
        return pd.DataFrame(rows, columns=columns)

    def detectable(self, *, power: float | None = None) -> float:
        """Return the smallest increase that the planned cards find, a difference of fractions.

        Args:
            power: Chance to be had of finding it; the plan's own when None.
        """
        wanted = self.power if power is None else check_fraction(power, "power")
        shrink = 1.0 if self.looks == 1 else self.bounds.inflation(power=wanted)
        effective = max(2, math.floor(self.cards / self.design_effect / shrink + 1e-9))
        return detectable_increase(self.baseline, n1=effective, power=wanted, level=self.level)

    @property
    def enrolment_days(self) -> int | None:
        """Days it takes to hand out the cards of both arms; None when the rate is not known."""
        return None if self.cards_per_day is None else math.ceil(2 * self.cards / self.cards_per_day - 1e-9)

    @property
    def duration_days(self) -> int | None:
        """Days from the first card to the last card's horizon; None when either is not known."""
        if self.enrolment_days is None or self.horizon_days is None:
            return None
        return self.enrolment_days + self.horizon_days

    def schedule(self) -> pd.DataFrame:
        """Return the looks, one row each.

        Returns:
            look, fraction (of the cards), cards (both arms, followed to the horizon), day (since
            the first card; NaN when the rate or the horizon is not known), z, nominal_p, spent,
            stop_effect and stop_none (chance of having crossed a bound by then, with the planned
            effect and with none).
        """
        frame = self.bounds.to_frame()
        cards = np.ceil(2 * self.cards * frame["fraction"] - 1e-9).astype(int)
        days = np.full(len(frame), math.nan)
        if self.cards_per_day is not None and self.horizon_days is not None:
            days = np.ceil(cards / self.cards_per_day - 1e-9).to_numpy(dtype=float) + self.horizon_days
        effect, none = self._followed(1.0, self.cards), self._followed(0.0, self.cards)
        frame.insert(2, "cards", cards)
        frame.insert(3, "day", days)
        return frame.assign(
            stop_effect=np.cumsum(effect.upper) + np.cumsum(effect.lower),
            stop_none=np.cumsum(none.upper) + np.cumsum(none.lower),
        )

    def costs(self) -> pd.DataFrame:
        """Return what the experiment costs, one row per arm.

        Returns:
            arm, cards, rewards (expected completions), rewards_cost, cards_cost, total.

        Raises:
            ArgumentError: When the plan was made without the cost of a reward.
        """
        import pandas as pd

        if self.reward_cost is None:
            raise ArgumentError("the plan knows no reward_cost; plan again with it")
        rows = []
        for arm, rate in zip((message("control"), message("head start")), self.rates, strict=True):
            rewards = self.cards * rate
            cost, paper = rewards * self.reward_cost, self.cards * self.card_cost
            rows.append((arm, self.cards, rewards, cost, paper, cost + paper))
        return pd.DataFrame(rows, columns=["arm", "cards", "rewards", "rewards_cost", "cards_cost", "total"])

    def preview(self, *, seed: int, replicates: int | None = None, effect: float = 1.0) -> Preview:
        """Simulate the experiment many times, to see what its results would look like.

        Args:
            seed: Seed of the simulation.
            replicates: How many experiments; as many as about 60,000 cards allow, from 20 to 200,
                when None.
            effect: Share of the planned uplift that is true; 0 shows the false positives.

        Raises:
            ArgumentError: When the plan lacks required, given or horizon_days, or an option is out
                of range.
        """
        from loyalty_research.endowed_progress.preview import preview

        return preview(self, seed=seed, replicates=replicates, effect=effect)

    def attempt_preview(self, *, seed: int) -> Preview | NotAvailable:
        """Return :meth:`preview`, or the reason why the plan cannot be played out; for pages on any data.

        Args:
            seed: Seed of the simulation.
        """
        try:
            return self.preview(seed=seed)
        except ArgumentError as error:
            return NotAvailable(str(error))

    def card(
        self,
        *,
        title: str = "",
        control: str = "control",
        treated: str = "endowed",
        cluster: str | None = None,
        registered_on: dt.date | str | None = None,
        notes: Sequence[str] = (),
    ) -> DesignCard:
        """Return the plan as a page to register before the first card is handed out.

        Args:
            title: What is asked, one sentence.
            control: Name the control arm will have in the data.
            treated: Name the arm with the head start will have.
            cluster: Column of what is drawn at random where that is more than a card; needed for
                a plan with clusters.
            registered_on: Day of registration.
            notes: What else is laid down, such as who is left out.

        Raises:
            ArgumentError: When the plan lacks required, given or horizon_days.
        """
        from loyalty_research.endowed_progress.registration import card_of_plan

        return card_of_plan(
            self,
            title=title,
            control=control,
            treated=treated,
            cluster=cluster,
            registered_on=registered_on,
            notes=notes,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw power against cards per arm for the planned effect and for smaller ones."""
        from loyalty_research.plots.progress import power_curve

        return power_curve(self.power_curve(), target=self.power, mark=self.cards, ax=ax)

    def plot_looks(self, ax: Axes | None = None) -> Axes:
        """Draw the bounds on the z statistic over the looks, with the chance of having stopped."""
        from loyalty_research.plots.planning import look_bounds

        return look_bounds(self.schedule(), ax=ax)


def plan(
    *,
    baseline: float,
    uplift: float,
    required: int | None = None,
    given: int | None = None,
    horizon_days: int | None = None,
    power: float = 0.8,
    level: float = 0.95,
    cluster_size: int = 1,
    icc: float = 0.0,
    looks: int | Sequence[float] = 1,
    spending: Spending = "obrien-fleming",
    cards_per_day: float | None = None,
    reward_cost: float | None = None,
    card_cost: float = 0.0,
    currency: str | None = None,
    method: PowerMethod = "pooled-z",
) -> Plan:
    """Plan an experiment with two arms of equal size on the share of cards completed.

    Args:
        baseline: Completion rate expected without a head start.
        uplift: Increase worth finding, a difference of fractions (0.05 is five points).
        required: Stamps a reward takes on the card with the head start, given ones included (10
            for "10 with 2 given"); the plain card asks for ``required - given``.
        given: Stamps given on it.
        horizon_days: Days from issue by which a card must be full.
        power: Chance to be had of finding it.
        level: One minus the two-sided test size.
        cluster_size: Cards per unit of assignment, such as cards handed out in a day.
        icc: Intraclass correlation of completion within such a unit.
        looks: How often the data are looked at, or the shares of the cards at each look.
        spending: How error is spent over the looks; see
            :func:`~loyalty_research.stats.spending.group_sequential_bounds`.
        cards_per_day: Cards handed out a day, both arms together.
        reward_cost: Cost of one reward.
        card_cost: Cost of handing out one card.
        currency: ISO 4217 code of both costs.
        method: ``"pooled-z"``, ``"arcsine"``, ``"exact-z"`` or ``"exact-fisher"``; the exact ones
            enumerate the planned size, while what-ifs (smaller effects, other powers) and power
            curves take the pooled formula.

    Raises:
        ArgumentError: When a rate leaves (0, 1), ``required`` is not above ``given``, or an option
            leaves its range.

    Examples:
        >>> replication = plan(baseline=28 / 150, uplift=23 / 150)
        >>> replication.cards
        129
        >>> replication.winners_curse().loc[2, ["cards_80", "cards_90"]].astype(int).tolist()
        [465, 622]
        >>> timed = plan(baseline=0.2, uplift=0.1, horizon_days=90, cards_per_day=20, looks=3)
        >>> timed.cards, timed.enrolment_days, timed.duration_days
        (297, 30, 120)

    References:
        Fleiss, Levin and Paik (2003), ch. 4; Donner and Klar (2000), eq. 5.1, for the design
        effect; Jennison and Turnbull (2000), ch. 7, for the looks.
    """
    baseline, uplift = check_rates(baseline, uplift)
    check_sizes(required, given, horizon_days, cards_per_day, reward_cost, card_cost)
    power, level = check_fraction(power, "power"), check_level(level)
    bounds = check_looks(looks, level, spending)
    design_effect, clustered = plan_checks(cluster_size, icc, bounds)
    bare = sample_size_two_proportions(baseline + uplift, baseline, power=power, level=level, method=method)
    inflation = 1.0 if len(bounds.z) == 1 else bounds.inflation(power=power)
    return Plan(
        baseline=baseline,
        uplift=uplift,
        power=power,
        level=level,
        cards=math.ceil(bare * design_effect * inflation - 1e-9),
        design_effect=design_effect,
        cluster_size=int(cluster_size),
        icc=float(icc),
        method=method,
        bounds=bounds,
        required=required,
        given=given,
        horizon_days=horizon_days,
        cards_per_day=None if cards_per_day is None else float(cards_per_day),
        reward_cost=None if reward_cost is None else float(reward_cost),
        card_cost=float(card_cost),
        currency=currency,
        checks=clustered,
    )
