"""Experiments with several arms: doses of a head start, reasons and currencies, illusory and real."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import optimize

from loyalty_research.endowed_progress._outcome import CardResult
from loyalty_research.endowed_progress._plan_options import check_sizes, plan_checks
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check, Estimate, Row, check_level
from loyalty_research.i18n import message, messages, number, percent
from loyalty_research.stats.contrasts import contrast_power, trend_weights
from loyalty_research.stats.counts import check_fraction, check_whole

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from loyalty_research.endowed_progress.registration import DesignCard

__all__ = [
    "Contrast",
    "Design",
    "DesignPlan",
    "head_start_doses",
    "illusory_head_start",
    "reason_by_currency",
]


@dataclass(frozen=True)
class Contrast:
    """A question put to several arms, as a weighted sum of their completion rates.

    Attributes:
        name: What is asked.
        weights: Arm to weight; arms that are not named weigh nothing.
        scores: Arm to score where a trend is asked for, such as its stamps given; the weights then
            give the slope per unit of score in arms of equal size.
    """

    name: str
    weights: dict[str, float]
    scores: dict[str, float] | None = None

    @property
    def pair(self) -> tuple[str, str] | None:
        """(arm, other arm) where the contrast is the difference of two arms."""
        held = {a: w for a, w in self.weights.items() if w != 0}
        if self.scores is None and sorted(held.values()) == [-1.0, 1.0]:
            return max(held, key=lambda a: held[a]), min(held, key=lambda a: held[a])
        return None

    def vector(self, arms: Sequence[str]) -> list[float]:
        """Return the weights in the order of ``arms``."""
        return [float(self.weights.get(a, 0.0)) for a in arms]


@dataclass(frozen=True)
class Design:
    """Arms and the questions put to them.

    Attributes:
        name: What kind of experiment it is.
        stamps: Arm to (stamps a reward takes, stamps given), control first.
        contrasts: Questions, each a contrast of completion rates.
    """

    name: str
    stamps: dict[str, tuple[int, int]]
    contrasts: tuple[Contrast, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """Arm names, control first."""
        return tuple(self.stamps)

    @property
    def control(self) -> str:
        """The control arm."""
        return self.arms[0]

    def renamed(self, names: Mapping[str, str]) -> Design:
        """Return the design with the names its arms have in the data.

        Args:
            names: Name here to name in the data; arms left out keep theirs.

        Raises:
            ArgumentError: When an arm is unknown, or two would have one name.
        """
        unknown = [a for a in names if a not in self.stamps]
        if unknown:
            raise ArgumentError(f"the design has no arm {', '.join(unknown)}; it has {', '.join(self.arms)}")
        new = {a: str(names.get(a, a)) for a in self.arms}
        if len(set(new.values())) < len(new):
            raise ArgumentError("two arms would have one name")
        contrasts = tuple(
            replace(
                c,
                weights={new[a]: w for a, w in c.weights.items()},
                scores=None if c.scores is None else {new[a]: s for a, s in c.scores.items()},
            )
            for c in self.contrasts
        )
        return Design(self.name, {new[a]: s for a, s in self.stamps.items()}, contrasts)

    def plan(
        self,
        *,
        rates: Mapping[str, float],
        power: float = 0.8,
        level: float = 0.95,
        cluster_size: int = 1,
        icc: float = 0.0,
        horizon_days: int | None = None,
        cards_per_day: float | None = None,
    ) -> DesignPlan:
        """Return the cards per arm with which every question is answered with the power asked for.

        Questions are sized at the level that Bonferroni leaves each of them, so that under Holm's
        adjustment, which is used in the analysis, each has at least this power. A contrast that is
        zero under the planned rates asks for no cards.

        Args:
            rates: Arm to the completion rate expected.
            power: Chance to be had of establishing each contrast.
            level: One minus the two-sided error over all contrasts.
            cluster_size: Cards per unit of assignment.
            icc: Intraclass correlation of completion within such a unit.
            horizon_days: Days from issue by which a card must be full.
            cards_per_day: Cards handed out a day, all arms together.

        Raises:
            ArgumentError: When a rate is missing or out of range, or every contrast is zero.

        Examples:
            >>> three = illusory_head_start()
            >>> three.plan(rates={"plain": 0.15, "real": 0.19, "illusory": 0.34}).cards
            1846
        """
        if set(rates) != set(self.arms):
            raise ArgumentError(
                f"rates must name the arms {', '.join(self.arms)}; got {', '.join(map(str, rates))}"
            )
        known = {a: check_fraction(rates[a], f"rate of {a}") for a in self.arms}
        power, level = check_fraction(power, "power"), check_level(level)
        check_sizes(None, None, horizon_days, cards_per_day, None, 0.0)
        each = 1 - (1 - level) / len(self.contrasts)
        if power <= 1 - each:
            raise ArgumentError(f"power must exceed the test size {1 - each:.3g}; got {power!r}")
        effect, checks = plan_checks(cluster_size, icc)
        sizes = [_size(self, c, known, power, each) for c in self.contrasts]
        if not any(sizes):
            raise ArgumentError("under these rates every contrast is zero, so no number of cards finds one")
        several = Check(
            message("several questions"),
            "passed",
            messages(
                "{count} contrast, tested at a level of {level}",
                "{count} contrasts, each sized at a level of {level} and adjusted by Holm",
                len(sizes),
                level=percent(each, digits=2),
            ),
        )
        return DesignPlan(
            design=self,
            rates=known,
            power=power,
            level=level,
            cards=math.ceil(max(s or 0.0 for s in sizes) * effect - 1e-9),
            sizes=tuple(None if s is None else math.ceil(s * effect - 1e-9) for s in sizes),
            design_effect=effect,
            cluster_size=int(cluster_size),
            icc=float(icc),
            horizon_days=horizon_days,
            cards_per_day=cards_per_day,
            checks=(*checks, several),
        )


def _power(design: Design, contrast: Contrast, rates: Mapping[str, float], n: float, level: float) -> float:
    pooled = contrast.pair is not None or contrast.scores is not None
    return contrast_power(
        [rates[a] for a in design.arms], contrast.vector(design.arms), n=n, level=level, pooled=pooled
    )


def _size(
    design: Design, contrast: Contrast, rates: Mapping[str, float], power: float, level: float
) -> float | None:
    """Return the cards per arm a contrast needs, or None where it is zero under the rates."""
    if abs(sum(w * rates[a] for a, w in contrast.weights.items())) < 1e-12:
        return None
    low = high = 2.0
    while _power(design, contrast, rates, high, level) < power:
        low, high = high, 2 * high
    if high == 2.0:
        return 2.0
    return float(
        optimize.brentq(lambda n: _power(design, contrast, rates, n, level) - power, low, high, xtol=1e-9)
    )


@dataclass(frozen=True, repr=False)
class DesignPlan(CardResult):
    """A planned experiment with several arms of equal size.

    Attributes:
        design: Arms and questions.
        rates: Arm to the completion rate expected.
        power: Chance to be had of establishing each contrast.
        level: One minus the two-sided error over all contrasts.
        cards: Cards per arm, design effect included.
        sizes: Cards per arm that each contrast needs; None where it is zero under the rates.
        design_effect: 1 + (cluster_size - 1) x icc.
        cluster_size: Cards per cluster.
        icc: Intraclass correlation of completion.
        horizon_days: Days from issue by which a card must be full.
        cards_per_day: Cards handed out a day, all arms together.
    """

    title: ClassVar[str] = "Cards per arm by question"
    finding: ClassVar[str] = "plan"
    rests_on_model: ClassVar[bool] = True

    design: Design
    rates: dict[str, float] = field(default_factory=dict)
    power: float = 0.8
    level: float = 0.95
    cards: int = 0
    sizes: tuple[int | None, ...] = ()
    design_effect: float = 1.0
    cluster_size: int = 1
    icc: float = 0.0
    horizon_days: int | None = None
    cards_per_day: float | None = None

    @property
    def level_each(self) -> float:
        """Level at which each contrast is sized."""
        return 1 - (1 - self.level) / len(self.design.contrasts)

    @property
    def duration_days(self) -> int | None:
        """Days from the first card to the last card's horizon; None when not known."""
        if self.cards_per_day is None or self.horizon_days is None:
            return None
        return math.ceil(len(self.design.arms) * self.cards / self.cards_per_day - 1e-9) + self.horizon_days

    def effect(self, contrast: Contrast) -> float:
        """Return a contrast's value under the planned rates."""
        return sum(w * self.rates[a] for a, w in contrast.weights.items())

    def power_of(self, contrast: Contrast, *, cards: float | None = None) -> float:
        """Return the power for one contrast.

        Args:
            contrast: One of the design's.
            cards: Cards per arm; the plan's own when None.
        """
        n = (self.cards if cards is None else cards) / self.design_effect
        return _power(self.design, contrast, self.rates, n, self.level_each)

    def _rows(self) -> Iterable[Row]:
        for contrast, size in zip(self.design.contrasts, self.sizes, strict=True):
            estimate = Estimate(
                math.nan if size is None else size,
                math.nan,
                math.nan,
                self.level_each,
                message("normal formula, Bonferroni"),
                len(self.design.arms) * self.cards,
                message("cards"),
            )
            extra = {"effect": self.effect(contrast), "power": self.power_of(contrast)}
            yield Row(message("cards per arm"), estimate, None, contrast.name, extra)

    def _verdict(self) -> str:
        hardest = max(
            (c for c, s in zip(self.design.contrasts, self.sizes, strict=True) if s is not None),
            key=lambda c: self.sizes[self.design.contrasts.index(c)] or 0,
        )
        said = message(
            "Hand out {cards} cards in each of {arms} arms. The hardest question is '{question}', planned at {effect} "
            "points.",
            cards=f"{self.cards:,}",
            arms=len(self.design.arms),
            question=hardest.name,
            effect=number(100 * self.effect(hardest), digits=1, signed=True),
        )
        if self.duration_days is None:
            return said
        return message("{said} The verdict comes on day {days}.", said=said, days=f"{self.duration_days:,}")

    def power_curve(self, *, cards: Sequence[int] | None = None) -> pd.DataFrame:
        """Return power by cards per arm: effect (the contrast's name), cards, power.

        Args:
            cards: Cards per arm to show; up to twice the plan by default.
        """
        import pandas as pd

        asked = np.unique(np.linspace(10, 2 * self.cards, 50).astype(int)) if cards is None else cards
        rows = [
            (c.name, int(n), self.power_of(c, cards=float(n)))
            for c, size in zip(self.design.contrasts, self.sizes, strict=True)
            if size is not None
            for n in asked
        ]
        return pd.DataFrame(rows, columns=["effect", "cards", "power"])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw power against cards per arm, one line per question."""
        from loyalty_research.plots.progress import power_curve

        return power_curve(self.power_curve(), target=self.power, mark=self.cards, ax=ax)

    def card(
        self,
        *,
        title: str = "",
        cluster: str | None = None,
        registered_on: dt.date | str | None = None,
        notes: Sequence[str] = (),
    ) -> DesignCard:
        """Return the plan as a page to register before the first card is handed out.

        Args:
            title: What is asked, one sentence.
            cluster: Column of what is drawn at random; needed for a plan with clusters.
            registered_on: Day of registration.
            notes: What else is laid down.

        Raises:
            ArgumentError: When the plan lacks horizon_days, or clusters have no column.
        """
        from loyalty_research.endowed_progress.registration import DesignCard
        from loyalty_research.registration import iso_date

        if self.horizon_days is None:
            raise ArgumentError("a design card needs a plan with horizon_days=")
        if self.cluster_size > 1 and cluster is None:
            raise ArgumentError("the plan draws clusters; name their column with cluster=")
        arms = self.design.arms
        planned = ", ".join(f"{a} {percent(self.rates[a])}" for a in arms)
        return DesignCard(
            title=title or self.design.name,
            control=self.design.control,
            arms=dict(self.design.stamps),
            allocation={a: 1 / len(arms) for a in arms},
            cards=dict.fromkeys(arms, self.cards),
            primary="completion",
            horizon_days=self.horizon_days,
            contrasts={c.name: dict(c.weights) for c in self.design.contrasts},
            baseline=self.rates[self.design.control],
            uplift=self.effect(self.design.contrasts[0]),
            power=self.power,
            level=self.level,
            looks=(1.0,),
            spending="obrien-fleming",
            cluster=cluster,
            cluster_size=self.cluster_size,
            icc=self.icc,
            registered_on=iso_date(registered_on),
            notes=(message("completion rates planned for: {rates}", rates=planned), *map(str, notes)),
        )


def head_start_doses(*, paid: int = 8, given: Sequence[int] = (0, 1, 2, 3), pairwise: bool = False) -> Design:
    """Design an experiment on the size of the head start, at the same paid distance.

    Args:
        paid: Stamps to earn in every arm.
        given: Stamps given in each arm, the first one for the control.
        pairwise: Whether each dose is also compared with the first, beside the trend.

    Raises:
        ArgumentError: When fewer than three different doses are named.

    Examples:
        >>> doses = head_start_doses()
        >>> doses.stamps["3 given"], [c.name for c in doses.contrasts]
        ((11, 3), ['trend per stamp given'])
    """
    paid = check_whole(paid, "paid", least=1)
    doses = [check_whole(g, "given") for g in given]
    if len(doses) < 3 or len(set(doses)) < len(doses):
        raise ArgumentError(f"given needs at least three different numbers of stamps; got {list(given)}")
    names = {g: message("{count} given", count=g) for g in doses}
    weights = trend_weights(doses, [1] * len(doses))
    trend = Contrast(
        message("trend per stamp given"),
        {names[g]: float(w) for g, w in zip(doses, weights, strict=True)},
        {names[g]: float(g) for g in doses},
    )
    pairs = [
        Contrast(
            message("{arm} less {control}", arm=names[g], control=names[doses[0]]),
            {names[g]: 1.0, names[doses[0]]: -1.0},
        )
        for g in doses[1:]
    ]
    stamps = {names[g]: (paid + g, g) for g in doses}
    return Design(message("size of the head start"), stamps, (trend, *(pairs if pairwise else [])))


def illusory_head_start(*, paid: int = 8, given: int = 2) -> Design:
    """Design the comparison of an illusory head start with a real one and with none.

    Plain cards ask for ``paid + given`` stamps, real ones for ``paid``, illusory ones for
    ``paid + given`` with ``given`` of them on the card. Illusory and real ask for the same effort,
    so their difference is the endowed progress; real and plain differ in effort.

    Args:
        paid: Stamps to earn on the shorter cards.
        given: Stamps given on the illusory card.

    Raises:
        ArgumentError: When a number is below 1.

    Examples:
        >>> illusory_head_start().stamps
        {'plain': (10, 0), 'real': (8, 0), 'illusory': (10, 2)}

    References:
        Nunes and Dreze (2006); Kivetz, Urminsky and Zheng (2006), the illusion of progress.
    """
    paid, given = check_whole(paid, "paid", least=1), check_whole(given, "given", least=1)
    plain, real, illusory = message("plain"), message("real"), message("illusory")

    def less(arm: str, other: str) -> Contrast:
        return Contrast(message("{arm} less {control}", arm=arm, control=other), {arm: 1.0, other: -1.0})

    stamps = {plain: (paid + given, 0), real: (paid, 0), illusory: (paid + given, given)}
    return Design(
        message("illusory and real head start"),
        stamps,
        (less(illusory, real), less(real, plain), less(illusory, plain)),
    )


def reason_by_currency(
    *,
    required: int = 10,
    given: int = 2,
    reasons: tuple[str, str] = ("no reason", "reason"),
    currencies: tuple[str, str] = ("stamps", "points"),
) -> Design:
    """Design a factorial of whether a reason is given for the head start and what it is counted in.

    Args:
        required: Stamps a reward takes, given ones included.
        given: Stamps given, in every arm.
        reasons: Names of the two levels of the first factor, the reference first.
        currencies: Names of the two levels of the second factor, the reference first.

    Returns:
        Four arms named ``"<reason>, <currency>"``; contrasts are both main effects (averaged over
        the other factor) and their interaction.

    Raises:
        ArgumentError: When ``required`` is not above ``given``, or a factor has not two levels.

    Examples:
        >>> design = reason_by_currency()
        >>> design.arms[0], [c.name for c in design.contrasts]
        ('no reason, stamps', ['reason against no reason', 'points against stamps', 'interaction'])

    References:
        Nunes and Dreze (2006), whose later studies vary the reason and the currency.
    """
    check_sizes(required, given, None, None, None, 0.0)
    for levels, name in ((reasons, "reasons"), (currencies, "currencies")):
        if isinstance(levels, str) or len({str(v) for v in levels}) != 2 or len(levels) != 2:
            raise ArgumentError(f"{name} names two different levels; got {levels!r}")
    cells = {(i, j): f"{reasons[i]}, {currencies[j]}" for i, j in itertools.product((0, 1), (0, 1))}
    contrasts = (
        Contrast(
            message("{level} against {other}", level=reasons[1], other=reasons[0]),
            {cells[i, j]: (1 if i else -1) / 2 for i, j in cells},
        ),
        Contrast(
            message("{level} against {other}", level=currencies[1], other=currencies[0]),
            {cells[i, j]: (1 if j else -1) / 2 for i, j in cells},
        ),
        Contrast(message("interaction"), {cells[i, j]: 1.0 if i == j else -1.0 for i, j in cells}),
    )
    return Design(
        message("reason by currency"),
        {name: (int(required), int(given)) for name in cells.values()},
        contrasts,
    )
