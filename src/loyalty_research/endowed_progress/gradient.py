"""Do holders come faster the nearer the reward? The pooled curve, and the slope within cards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from scipy import special, stats

from loyalty_research.endowed_progress._outcome import CardResult
from loyalty_research.endowed_progress.hazard import (
    fit_pooled,
    fit_random_intercept,
    group_histories,
)
from loyalty_research.errors import DesignError
from loyalty_research.estimates import Estimate, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.proportions import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.endowed_progress.cards import Cards
    from loyalty_research.endowed_progress.hazard import Histories, InterceptFit, Link
    from loyalty_research.estimates import Check

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "GoalGradientResult",
    "HazardResult",
    "Periods",
    "card_periods",
    "gap_slope",
    "goal_gradient",
    "pooled_hazard",
]

Progress = Literal["share", "stamps"]


@dataclass(frozen=True)
class Periods:
    """Cards as runs of periods, added up by the stamps they held.

    Attributes:
        card: Position of the card among the first cards, shape ``(rows,)``.
        cell: Covariate cell of the row.
        trials: Periods spent at the cell's number of stamps.
        visits: Of them with a visit: 0, or 1 since a visit ends the stay.
        cells: One row per cell: arm (position), required, endowed, stamps (earned so far).
        days: Length of a period in days.
    """

    card: Ints
    cell: Ints
    trials: Ints
    visits: Ints
    cells: pd.DataFrame
    days: int


def _starts(card: Ints) -> Ints:
    """Return where each card's rows begin, in rows sorted by card."""
    return np.flatnonzero(np.diff(card, prepend=-1) != 0)


def _visits(card: Ints, period: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the distinct (card, period) with a visit, in order, and the stamps gained in each."""
    pairs, gained = np.unique(np.column_stack([card, period]), axis=0, return_counts=True)
    return pairs[:, 0], pairs[:, 1], gained.astype(np.int64)


def card_periods(cards: Cards, *, days: int = 7) -> Periods:
    """Cut the life of each first card into periods of ``days`` days from the day after issue.

    A period counts from the day after issue until the card is full, expires, is lost, or the
    data end; an incomplete last period is left out. Stamps of the issue day are held at the
    start. Several stamps within one period are one visit, and count as progress afterwards.

    Args:
        cards: Checked cards.
        days: Length of a period.

    Raises:
        DesignError: When the cards carry no stamps, or none was followed for a whole period.
    """
    import pandas as pd

    if not cards.has_stamps:
        raise DesignError(
            "card_events holds no stamp events, so visits between issue and reward are not known"
        )
    table = cards.table[cards.table["cycle"] == 1]
    position = np.full(len(cards.table), -1, dtype=np.int64)
    position[table.index.to_numpy()] = np.arange(len(table))
    issued = table["issued"].to_numpy()
    # completed cards are cut at the same day as others, or their last period would be kept only
    # because it held a visit
    ends = np.minimum.reduce(
        [cards.expires[table.index], table["lost"].to_numpy(), np.full(len(table), cards.as_of)]
    )
    whole = np.maximum(ends - issued, 0) // days

    owner = position[cards.stamp_card]
    mine = owner >= 0
    owner, after = owner[mine], cards.stamp_day[mine] - issued[owner[mine]]
    held = np.bincount(owner[after <= 0], minlength=len(table))  # stamps of the issue day
    period = (after - 1) // days
    inside = (after > 0) & (period < whole[owner])
    card, when, gained = _visits(owner[inside], period[inside])
    start = _starts(card)
    before = np.append(-1, when[:-1])[: len(when)]
    before[start] = -1
    running = np.cumsum(gained) - gained
    level = held[card] + running - np.repeat(running[start], np.diff(np.append(start, len(card))))
    # the stretch after the last visit, for cards that did not fill
    last = np.full(len(table), -1, dtype=np.int64)
    last[card] = when
    earned = held + np.bincount(card, weights=gained, minlength=len(table)).astype(np.int64)
    full = earned >= (table["required"] - table["endowed"]).to_numpy()
    rest = np.flatnonzero(~full & (whole - 1 - last > 0))
    all_card = np.concatenate([card, rest])
    if not len(all_card):
        raise DesignError(f"no card was followed for a whole period of {days} days")
    arm_of = table["arm"].map({a: i for i, a in enumerate(cards.arms)}).to_numpy(dtype=np.int64)
    described = pd.DataFrame(
        {
            "arm": arm_of[all_card],
            "required": table["required"].to_numpy()[all_card],
            "endowed": table["endowed"].to_numpy()[all_card],
            "stamps": np.concatenate([level, earned[rest]]),
        }
    )
    grouped = described.groupby(["arm", "required", "endowed", "stamps"], sort=True)
    return Periods(
        card=all_card,
        cell=np.asarray(grouped.ngroup(), dtype=np.int64),
        trials=np.concatenate([when - before, (whole - 1 - last)[rest]]),
        visits=np.concatenate([np.ones(len(card), dtype=np.int64), np.zeros(len(rest), dtype=np.int64)]),
        cells=grouped.size().reset_index().drop(columns=0),
        days=days,
    )


def _progress(cells: pd.DataFrame, progress: Progress) -> Floats:
    """Return progress per cell: share of the card filled, or stamps with the sign of the goal."""
    filled: Floats = (cells["stamps"] + cells["endowed"]).to_numpy(dtype=float)
    required = cells["required"].to_numpy(dtype=float)
    reached: Floats = filled / required if progress == "share" else filled - required
    return reached


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
    x = _progress(table.loc[card[later], ["required", "endowed"]].assign(stamps=rank[later]), progress)
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


def _wald(fit: InterceptFit, k: int, *, level: float, method: str, n: int) -> Estimate:
    value, se = float(fit.coefficients[k]), math.sqrt(float(fit.covariance[k, k]))
    half = float(stats.norm.isf((1 - level) / 2)) * se
    p_value = float(2 * stats.norm.sf(abs(value) / se))
    return Estimate(value, value - half, value + half, level, method, n, None, p_value)


def _corrected(
    periods: Periods, design: Floats, fit: InterceptFit, *, arms: tuple[str, ...], link: Link, level: float
) -> pd.DataFrame:
    k = design.shape[1]
    eta = design @ fit.coefficients
    se = np.sqrt(np.einsum("ck,kl,cl->c", design, fit.covariance[:k, :k], design))
    half = float(stats.norm.isf((1 - level) / 2)) * se
    chances = [
        special.expit(v) if link == "logit" else -np.expm1(-np.exp(v)) for v in (eta, eta - half, eta + half)
    ]
    estimate, low, high = chances
    frame = periods.cells[["arm", "stamps"]].assign(estimate=estimate, low=low, high=high)
    # cards of one arm may differ in size: then several cells share a number of stamps
    frame = frame.groupby(["arm", "stamps"], as_index=False, sort=True).mean()
    return frame.assign(arm=[arms[a] for a in frame["arm"].astype(int)])


def goal_gradient(
    cards: Cards,
    *,
    days: int,
    progress: Progress,
    link: Link,
    arm_level: bool,
    nodes: int,
    level: float,
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
        checks: Checks already made.

    Raises:
        DesignError: When progress does not vary within cards.
        ConvergenceError: When the likelihood has no maximum.
    """
    periods = card_periods(cards, days=days)
    data: Histories = group_histories(periods.card, periods.cell, periods.trials, periods.visits)
    x, arm = _progress(periods.cells, progress), periods.cells["arm"].to_numpy()
    columns = [np.ones(len(x)), x]
    if arm_level:
        columns += [(arm == a).astype(float) for a in range(1, len(cards.arms))]
    design = np.column_stack(columns)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise DesignError("progress does not vary within arms, so its slope cannot be told from their level")
    pooled = fit_pooled(design, data, link=link)
    fit = fit_random_intercept(design, data, link=link, nodes=nodes)
    n = int(data.count.sum())
    method = message("random intercept, {nodes} quadrature nodes, Wald", nodes=nodes)
    if fit.sigma == 0:
        method = message("no spread between cards found; pooled, Wald")
    return GoalGradientResult(
        slope=_wald(fit, 1, level=level, method=method, n=n),
        arm_shifts=tuple(_wald(fit, k, level=level, method=method, n=n) for k in range(2, design.shape[1])),
        sigma=fit.sigma,
        pooled=_wald(pooled, 1, level=level, method=message("pooled, Wald; selection"), n=n),
        gaps=gap_slope(cards, progress=progress, level=level),
        naive=pooled_hazard(periods, arms=cards.arms, level=level),
        corrected=_corrected(periods, design, fit, arms=cards.arms, link=link, level=level),
        arms=cards.arms,
        progress=progress,
        link=link,
        days=days,
        log_likelihood=fit.log_likelihood,
        checks=checks,
    )
