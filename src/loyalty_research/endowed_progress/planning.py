"""Planning a card experiment: how many cards, what to expect, how a found effect flatters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import stats

from loyalty_research.endowed_progress._outcome import CardResult
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check, Estimate, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.counts import check_fraction, check_whole
from loyalty_research.stats.proportion_power import (
    power_two_proportions,
    sample_size_two_proportions,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from loyalty_research.stats.proportion_power import (
        PowerMethod,
    )

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
    z, m = float(stats.norm.isf((1 - level) / 2)), d / se
    upper, lower = float(stats.norm.sf(z - m)), float(stats.norm.cdf(-z - m))
    above = d * upper + se * float(stats.norm.pdf(z - m))
    below = -d * lower + se * float(stats.norm.pdf(-z - m))
    return (above + below) / (upper + lower) / d


@dataclass(frozen=True, repr=False)
class Plan(CardResult):
    """A planned experiment.

    Attributes:
        baseline: Completion rate expected without a head start.
        uplift: Increase worth finding, as a difference of fractions.
        power: Chance to be had of finding it.
        level: Level of the interval; the two-sided test has size one minus this.
        cards: Cards per arm, design effect included, rounded up.
        design_effect: 1 + (cluster_size - 1) x icc.
        cluster_size: Cards per cluster.
        icc: Intraclass correlation of completion.
        method: Formula or test behind the size.
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

    def _size(self, share: float, power: float) -> int:
        bare = sample_size_two_proportions(
            self.baseline + share * self.uplift,
            self.baseline,
            power=power,
            level=self.level,
            method=self.method,
        )
        return math.ceil(bare * self.design_effect - 1e-9)

    def _rows(self) -> Iterable[Row]:
        for power in sorted({self.power, 0.8, 0.9}):
            for share in (1.0, 0.5):
                size = self._size(share, power)
                estimate = Estimate(
                    size, math.nan, math.nan, self.level, self.method, 2 * size, message("cards")
                )
                effect = message(
                    "an effect of {points} points", points=number(100 * share * self.uplift, digits=1)
                )
                yield Row(message("cards per arm"), estimate, None, effect, {"power": power})

    def _verdict(self) -> str:
        return message(
            "To find an increase from {baseline} to {goal} with a chance of {power}, hand out {cards} cards per "
            "arm. If the true effect is half of that, {half} per arm are needed.",
            baseline=percent(self.baseline),
            goal=percent(self.baseline + self.uplift),
            power=percent(self.power, digits=0),
            cards=f"{self.cards:,}",
            half=f"{self._size(0.5, self.power):,}",
        )

    def _power(self, share: float, cards: float) -> float:
        effective = max(2, round(cards / self.design_effect))
        return power_two_proportions(
            self.baseline + share * self.uplift, self.baseline, n1=effective, level=self.level
        )

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
            would then overstate the true one.
        """
        import pandas as pd

        rows = [
            (
                share,
                share * self.uplift,
                self._size(share, 0.8),
                self._size(share, 0.9),
                self._power(share, self.cards),
                exaggeration(
                    self.baseline + share * self.uplift,
                    self.baseline,
                    cards=self.cards / self.design_effect,
                    level=self.level,
                ),
            )
            for share in _SHARES
        ]
        columns = ["share", "difference", "cards_80", "cards_90", "power", "exaggeration"]
        return pd.DataFrame(rows, columns=columns)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw power against cards per arm for the planned effect and for smaller ones."""
        from loyalty_research.plots.progress import power_curve

        return power_curve(self.power_curve(), target=self.power, mark=self.cards, ax=ax)


def plan(
    *,
    baseline: float,
    uplift: float,
    power: float = 0.8,
    level: float = 0.95,
    cluster_size: int = 1,
    icc: float = 0.0,
    method: PowerMethod = "pooled-z",
) -> Plan:
    """Plan an experiment with two arms of equal size on the share of cards completed.

    Args:
        baseline: Completion rate expected without a head start.
        uplift: Increase worth finding, a difference of fractions (0.05 is five points).
        power: Chance to be had of finding it.
        level: One minus the two-sided test size.
        cluster_size: Cards per unit of assignment, such as cards handed out in a day.
        icc: Intraclass correlation of completion within such a unit.
        method: ``"pooled-z"``, ``"arcsine"``, ``"exact-z"`` or ``"exact-fisher"``.

    Raises:
        ArgumentError: When a rate leaves (0, 1) or an option its range.

    Examples:
        >>> replication = plan(baseline=28 / 150, uplift=23 / 150)
        >>> replication.cards
        129
        >>> replication.winners_curse().loc[2, ["cards_80", "cards_90"]].astype(int).tolist()
        [465, 622]

    References:
        Fleiss, Levin and Paik (2003), ch. 4; Donner and Klar (2000), eq. 5.1, for the design
        effect.
    """
    baseline = check_fraction(baseline, "baseline")
    if not (math.isfinite(uplift) and uplift != 0 and 0 < baseline + uplift < 1):
        raise ArgumentError(
            f"uplift is a difference of fractions that keeps baseline + uplift inside (0, 1); got {uplift!r}"
        )
    power, level = check_fraction(power, "power"), check_level(level)
    cluster_size = check_whole(cluster_size, "cluster_size", least=1)
    if not 0 <= icc <= 1:
        raise ArgumentError(f"icc must lie from 0 to 1; got {icc!r}")
    if icc > 0 and cluster_size == 1:
        raise ArgumentError("icc needs cluster_size above 1: a cluster of one card has no likeness within")
    design_effect = 1 + (cluster_size - 1) * icc
    bare = sample_size_two_proportions(baseline + uplift, baseline, power=power, level=level, method=method)
    unknown = Check(
        message("the assumed effect"),
        "not measurable",
        message(
            "published effects that reached significance tend to overstate the true one; see half the effect"
        ),
    )
    clustered = Check(
        message("design effect"),
        "passed",
        message(
            "{effect} (clusters of {size}, intraclass correlation {icc})",
            effect=number(design_effect),
            size=cluster_size,
            icc=number(icc),
        ),
    )
    return Plan(
        baseline=baseline,
        uplift=float(uplift),
        power=power,
        level=level,
        cards=math.ceil(bare * design_effect - 1e-9),
        design_effect=design_effect,
        cluster_size=cluster_size,
        icc=float(icc),
        method=method,
        checks=(unknown, clustered),
    )
