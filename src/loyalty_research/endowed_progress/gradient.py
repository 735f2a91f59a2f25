"""Do holders come faster the nearer the reward? The pooled curve, and the slope within cards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import stats

from loyalty_research.endowed_progress._models import (
    Progress,
    calendar_checks,
    corrected_hazard,
    fit_method,
    fit_model,
    hazard_model,
    reached,
    wald,
)
from loyalty_research.endowed_progress._outcome import CardResult
from loyalty_research.endowed_progress.hazard import fit_pooled
from loyalty_research.endowed_progress.periods import card_periods
from loyalty_research.estimates import Estimate, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.proportions import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.endowed_progress.cards import Cards
    from loyalty_research.endowed_progress.hazard import InterceptFit, Link
    from loyalty_research.endowed_progress.periods import Periods, Season
    from loyalty_research.estimates import Check

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "GoalGradientResult",
    "HazardResult",
    "Progress",
    "gap_slope",
    "goal_gradient",
    "pooled_hazard",
]


def _starts(card: Ints) -> Ints:
    """Return where each card's rows begin, in rows sorted by card."""
    return np.flatnonzero(np.diff(card, prepend=-1) != 0)


def gap_slope(cards: Cards, *, progress: Progress, level: float) -> Estimate | None:
    """Return the slope of log days between visits on progress within completed cards.

    Each card is its own control (fixed effects). Without a gradient the gaps between the stamps
    of a completed card are exchangeable, so the slope is zero in expectation; a faster pace near
    the goal makes it negative. The wait for the first stamp is left out, since it starts with the
    card and not with a stamp. Two stamps on one day count as half a day apart. None with fewer
    than ten completed cards of three stamps or more.

    References:
        Kivetz, Urminsky and Zheng (2006), study 1, who regress inter-purchase times.
    """
    table = cards.table
    chosen = (table["cycle"] == 1) & (table["completed"] <= cards.as_of) & (table["stamps"] >= 3)
    kept = chosen.to_numpy()[cards.stamp_card]
    card, day = cards.stamp_card[kept], cards.stamp_day[kept]
    if int(chosen.sum()) < 10:
        return None
    start = _starts(card)
    rank = np.arange(len(card)) - np.repeat(start, np.diff(np.append(start, len(card))))
    later = rank > 0
    gap = np.log(np.maximum(np.diff(day, prepend=0)[later], 0.5))
    x = reached(table.loc[card[later], ["required", "endowed"]].assign(stamps=rank[later]), progress)
    start = start - np.arange(len(start))  # each card gave up its first stamp
    length = np.diff(np.append(start, len(gap)))

    def within(values: Floats) -> Floats:
        centred: Floats = values - np.repeat(np.add.reduceat(values, start) / length, length)
        return centred

    x, y = within(x), within(gap)
    power = float(x @ x)
    slope = float(x @ y) / power
    score = np.add.reduceat(x * (y - slope * x), start)
    count = len(start)
    se = math.sqrt(float(score @ score) * count / (count - 1)) / power
    half = float(stats.t.isf((1 - level) / 2, count - 1)) * se
    p_value = float(2 * stats.t.sf(abs(slope) / se, count - 1)) if se > 0 else None
    return Estimate(
        slope,
        slope - half,
        slope + half,
        level,
        message("card fixed effects, cluster-robust t"),
        count,
        None,
        p_value,
    )


@dataclass(frozen=True, repr=False)
class HazardResult(CardResult):
    """Chance of a visit by stamps earned, all cards thrown together.

    Attributes:
        hazard: arm, stamps, cards, periods, visits, estimate, low, high.
        days: Length of a period.
        level: Level of every interval.
    """

    title: ClassVar[str] = "Visits by stamps earned (pooled: selection)"
    finding: ClassVar[str] = "pooled-hazard"
    rests_on_model: ClassVar[bool] = True

    hazard: pd.DataFrame
    days: int
    level: float

    def _rows(self) -> Iterable[Row]:
        what = message("chance of a visit in {days} days, among the cards that got so far", days=self.days)
        for row in self.hazard.to_dict("records"):
            estimate = Estimate(
                row["estimate"],
                row["low"],
                row["high"],
                self.level,
                "wilson",
                int(row["periods"]),
                "fraction",
            )
            yield Row(
                message("pooled visit rate"), estimate, row["arm"], what, {"stamps": int(row["stamps"])}
            )

    def _verdict(self) -> str:
        return message(
            "These rates compare different customers: only keen ones hold many stamps, so they rise even when "
            "nobody speeds up. They are no evidence of a goal gradient."
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the pooled rates of five cards or more."""
        from loyalty_research.plots.progress import FEW, hazard_by_stamps

        return hazard_by_stamps(
            self.hazard[self.hazard["cards"] >= FEW], unit=_period_label(self.days), ax=ax
        )


def _period_label(days: int) -> str:
    return message("chance of a visit in {days} days", days=days)


def pooled_hazard(periods: Periods, *, arms: tuple[str, ...], level: float) -> pd.DataFrame:
    """Return the share of periods with a visit by arm and stamps earned, with Wilson limits.

    Returns:
        arm, stamps, cards (that got so far), periods, visits, estimate, low, high.
    """
    import pandas as pd

    rows = pd.DataFrame(
        {
            "cards": 1,
            "arm": periods.cells["arm"].to_numpy()[periods.cell],
            "stamps": periods.cells["stamps"].to_numpy()[periods.cell],
            "periods": periods.trials,
            "visits": periods.visits,
        }
    )
    found = rows.groupby(["arm", "stamps"], as_index=False, sort=True)[["cards", "periods", "visits"]].sum()
    low, high = wilson_interval(found["visits"], found["periods"], level=level)
    return found.assign(
        arm=[arms[a] for a in found["arm"]], estimate=found["visits"] / found["periods"], low=low, high=high
    )


@dataclass(frozen=True, repr=False)
class GoalGradientResult(CardResult):
    """The slope of the visit hazard in progress, within cards and pooled.

    Attributes:
        slope: Slope within cards (random intercept).
        arm_shifts: Level of each other arm against the control at equal progress; empty when
            the model has no arm level.
        sigma: Standard deviation of the cards' intercepts on the link scale.
        pooled: Slope when cards are thrown together: selection and gradient in one.
        without_calendar: Slope within cards had season and weekday been left out; None where
            they are.
        calendar: Name and coefficient of each term of season and weekday.
        gaps: Slope of log gaps within completed cards; None with too few of them.
        naive: Pooled hazard: arm, stamps, cards, periods, visits, estimate, low, high.
        corrected: Hazard of a card of average inclination: the same columns but the counts.
        arms: Arm names, control first.
        progress: ``"share"`` or ``"stamps"``.
        link: ``"logit"`` or ``"cloglog"``.
        days: Length of a period.
        log_likelihood: Of the random-intercept model.
    """

    title: ClassVar[str] = "Goal gradient"
    finding: ClassVar[str] = "goal-gradient"
    rests_on_model: ClassVar[bool] = True

    slope: Estimate
    arm_shifts: tuple[Estimate, ...]
    sigma: float
    pooled: Estimate
    without_calendar: Estimate | None
    calendar: tuple[tuple[str, Estimate], ...]
    gaps: Estimate | None
    naive: pd.DataFrame
    corrected: pd.DataFrame
    arms: tuple[str, ...]
    progress: Progress
    link: Link
    days: int
    log_likelihood: float

    def _headline(self) -> Estimate | None:
        return self.slope

    def _rows(self) -> Iterable[Row]:
        per = message("per card filled") if self.progress == "share" else message("per stamp nearer")
        scale = message("log odds") if self.link == "logit" else message("log hazard")
        unit = f"{scale}, {per}"
        yield Row(message("slope within cards"), self.slope, None, unit)
        for arm, shift in zip(self.arms[1:], self.arm_shifts, strict=False):
            yield Row(message("level of the arm at equal progress"), shift, arm, scale)
        n, level = self.slope.n, self.slope.level
        spread = Estimate(self.sigma, math.nan, math.nan, level, message("random intercept"), n)
        yield Row(message("spread between cards"), spread, None, scale)
        yield Row(message("pooled slope (selection)"), self.pooled, None, unit)
        if self.without_calendar is not None:
            yield Row(message("slope within cards, calendar left out"), self.without_calendar, None, unit)
        for term, estimate in self.calendar:
            yield Row(message("calendar"), estimate, None, scale, {"term": term})
        if self.gaps is not None:
            yield Row(
                message("slope of log gaps in completed cards"),
                self.gaps,
                None,
                message("log days, {per}", per=per),
            )

    def _verdict(self) -> str:
        fields = {
            "slope": number(self.slope.value),
            "interval": self.slope.interval(),
            "pooled": number(self.pooled.value),
        }
        if self.slope.low > 0:
            return message(
                "Visits come faster as the same card fills (slope {slope}, {interval}): {typical}. The pooled "
                "slope, which mixes in who gets far, is {pooled}. This is consistent with a goal gradient.",
                typical=self._typical(),
                **fields,
            )
        if self.slope.high < 0:
            return message(
                "Visits come slower as the same card fills (slope {slope}, {interval}), although the pooled "
                "curve shows {pooled}: no goal gradient.",
                **fields,
            )
        return message(
            "No goal gradient is established: within cards the slope is {slope} ({interval}); the pooled slope "
            "of {pooled} can come from who gets far.",
            **fields,
        )

    def _typical(self) -> str:
        """Say how the rate of an average card of the control changes from its first stamp to its last."""
        rows = self.corrected[self.corrected["arm"] == self.arms[0]]
        return message(
            "with an average customer, the chance of a visit in {days} days goes from {first} on a {control} card "
            "with {low} stamps to {last} on one with {high}",
            days=self.days,
            control=self.arms[0],
            first=percent(rows["estimate"].iloc[0]),
            last=percent(rows["estimate"].iloc[-1]),
            low=int(rows["stamps"].iloc[0]),
            high=int(rows["stamps"].iloc[-1]),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw pooled rates, of five cards or more, beside those of a card of average inclination."""
        from loyalty_research.plots.progress import FEW, hazard_by_stamps

        shown = self.naive[self.naive["cards"] >= FEW]
        corrected = self.corrected.merge(shown[["arm", "stamps"]], on=["arm", "stamps"])
        return hazard_by_stamps(shown, corrected=corrected, unit=_period_label(self.days), ax=ax)


def goal_gradient(
    cards: Cards,
    *,
    days: int,
    progress: Progress,
    link: Link,
    arm_level: bool,
    nodes: int,
    level: float,
    season: Season | None = None,
    weekday: bool = False,
    cluster: Ints | None = None,
    checks: tuple[Check, ...] = (),
) -> GoalGradientResult:
    """Fit the visit hazard with an intercept per card, and beside it the pooled one.

    Args:
        cards: Checked cards.
        days: Length of a period.
        progress: Share of the card filled, or stamps left (counted towards the goal).
        link: ``"logit"`` or ``"cloglog"``.
        arm_level: Let arms differ in level as well as by their progress.
        nodes: Quadrature nodes.
        level: Level of every interval.
        season: Terms of the season: one yearly wave, or a level per month or week.
        weekday: A level per weekday, for periods of one day.
        cluster: Cluster code of each first card, or None; intervals then allow for clusters.
        checks: Checks already made.

    Raises:
        DesignError: When progress does not vary within cards, or not apart from the calendar.
        ConvergenceError: When the likelihood has no maximum.
    """
    periods = card_periods(cards, days=days)
    plain = hazard_model(periods, _columns(periods, progress, arm_level, len(cards.arms)), None)
    fit = fit_model(plain, link=link, nodes=nodes, cluster=cluster, arms=len(cards.arms))
    n = int(plain.data.count.sum())

    def estimate(fit: InterceptFit, k: int) -> Estimate:
        return wald(fit, k, level=level, method=fit_method(fit, nodes), n=n)

    model, without, split = plain, None, periods
    if season is not None or weekday:
        without = estimate(fit, 1)
        split = card_periods(cards, days=days, season=season, weekday=weekday)
        model = hazard_model(split, _columns(split, progress, arm_level, len(cards.arms)), season)
        fit = fit_model(model, link=link, nodes=nodes, cluster=cluster, arms=len(cards.arms))
    pooled = fit_pooled(model.design, model.data, link=link)
    first = model.design.shape[1] - len(model.names)
    # the curve of a typical card is drawn at the average calendar
    typical = np.column_stack(
        [plain.design, np.tile(model.average @ model.design[:, first:], (len(plain.design), 1))]
    )
    corrected = corrected_hazard(periods.cells, typical, fit, by=["arm", "stamps"], link=link, level=level)
    return GoalGradientResult(
        slope=estimate(fit, 1),
        arm_shifts=tuple(estimate(fit, k) for k in range(2, first)),
        sigma=fit.sigma,
        pooled=wald(pooled, 1, level=level, method=message("pooled, Wald; selection"), n=n),
        without_calendar=without,
        calendar=tuple((name, estimate(fit, first + k)) for k, name in enumerate(model.names)),
        gaps=gap_slope(cards, progress=progress, level=level),
        naive=pooled_hazard(periods, arms=cards.arms, level=level),
        corrected=corrected.assign(arm=[cards.arms[a] for a in corrected["arm"].astype(int)]),
        arms=cards.arms,
        progress=progress,
        link=link,
        days=days,
        log_likelihood=fit.log_likelihood,
        checks=(*checks, *calendar_checks(split, calendar=without is not None)),
    )


def _columns(periods: Periods, progress: Progress, arm_level: bool, arms: int) -> list[Floats]:
    """Return progress, and a level for each arm but the control, per cell."""
    arm = periods.cells["arm"].to_numpy()
    levels = [(arm == a).astype(float) for a in range(1, arms)] if arm_level else []
    return [reached(periods.cells, progress), *levels]
