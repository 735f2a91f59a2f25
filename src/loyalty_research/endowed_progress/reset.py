"""Pace after a reward beside the pace just before it, within customers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import special, stats

from loyalty_research.endowed_progress._models import (
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
from loyalty_research.endowed_progress.periods import after_reward, card_periods
from loyalty_research.errors import DesignError
from loyalty_research.estimates import Check, Estimate, Row
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.endowed_progress._models import HazardModel, Progress
    from loyalty_research.endowed_progress.cards import Cards
    from loyalty_research.endowed_progress.hazard import InterceptFit, Link
    from loyalty_research.endowed_progress.periods import Periods, Season

    Floats = NDArray[np.float64]

__all__ = ["PostRewardResult", "post_reward_reset", "reward_gap"]

_FEW_PAIRS = 10


@dataclass(frozen=True, repr=False)
class PostRewardResult(CardResult):
    """The pace just after a reward against the pace just before it.

    Attributes:
        jump: Visit hazard at the start of the next card less that at the last stamp of a first
            card, same customer, on the link scale: the empty card and the reward together.
        later: Level of later cards against first ones at equal progress: what the reward alone
            does. In the simulator it is ``reset``.
        pooled: The same when customers are thrown together: only keen ones hold later cards, so it
            is selection and reset in one.
        slope: Slope in progress within customers.
        before: Chance of a visit with one stamp to go, for an average customer.
        after: Chance of a visit just after the reward, for the same customer.
        arm_shifts: Level of each other arm's first cards against the control's.
        gap: Log of the first gap after the reward less log of the last gap before it, within
            customers who completed both cards; None with fewer than ten of them.
        sigma: Standard deviation of the customers' intercepts.
        calendar: Name and coefficient of each term of season and weekday.
        cards: Cards followed and completed by cycle: cycle, cards, completed.
        hazard: Hazard of an average customer of the control by card: group, stamps, estimate, low, high.
        days: Length of a period.
        link: ``"logit"`` or ``"cloglog"``.
        log_likelihood: Of the model.
    """

    title: ClassVar[str] = "Pace after a reward"
    finding: ClassVar[str] = "post-reward-reset"
    rests_on_model: ClassVar[bool] = True

    jump: Estimate
    later: Estimate
    pooled: Estimate
    slope: Estimate
    before: Estimate
    after: Estimate
    arm_shifts: tuple[Estimate, ...]
    gap: Estimate | None
    sigma: float
    calendar: tuple[tuple[str, Estimate], ...]
    arms: tuple[str, ...]
    cards: pd.DataFrame
    hazard: pd.DataFrame
    days: int
    progress: Progress
    link: Link
    log_likelihood: float

    def _headline(self) -> Estimate | None:
        return self.jump

    def _rows(self) -> Iterable[Row]:
        scale = message("log odds") if self.link == "logit" else message("log hazard")
        per = message("per card filled") if self.progress == "share" else message("per stamp nearer")
        chance = message("chance of a visit in {days} days, average customer", days=self.days)
        yield Row(message("just after the reward less just before it"), self.jump, None, scale)
        yield Row(message("later cards at equal progress"), self.later, None, scale)
        yield Row(message("later cards, pooled (selection)"), self.pooled, None, scale)
        yield Row(message("slope within customers"), self.slope, None, f"{scale}, {per}")
        yield Row(message("just before the reward"), self.before, None, chance)
        yield Row(message("just after the reward"), self.after, None, chance)
        for arm, shift in zip(self.arms[1:], self.arm_shifts, strict=True):
            yield Row(message("level of the arm's first cards"), shift, arm, scale)
        spread = Estimate(
            self.sigma, math.nan, math.nan, self.jump.level, message("random intercept"), self.jump.n
        )
        yield Row(message("spread between customers"), spread, None, scale)
        for term, estimate in self.calendar:
            yield Row(message("calendar"), estimate, None, scale, {"term": term})
        if self.gap is not None:
            yield Row(
                message("first gap after the reward against the last before it"),
                self.gap,
                None,
                message("log days, customers who completed both cards"),
            )

    def _verdict(self) -> str:
        fields = {
            "days": self.days,
            "before": percent(self.before.value),
            "after": percent(self.after.value),
            "jump": number(self.jump.value, signed=True),
            "interval": self.jump.interval(signed=True),
        }
        if self.jump.high < 0:
            return " ".join(
                [
                    message(
                        "After a reward the same customer slows down: the chance of a visit in {days} days falls "
                        "from {before} to {after} for an average customer (change {jump}, {interval}).",
                        **fields,
                    ),
                    self._share(),
                ]
            )
        if self.jump.low > 0:
            return message(
                "After a reward the same customer comes more often, not less: {before} becomes {after} in {days} "
                "days for an average customer (change {jump}, {interval}).",
                **fields,
            )
        return message(
            "No change of pace after a reward is established: {before} before and {after} after in {days} days "
            "for an average customer (change {jump}, {interval}).",
            **fields,
        )

    def _share(self) -> str:
        """Say whether the fall is more than the way back to an empty card."""
        if self.later.high < 0:
            return message("Part of it remains at equal progress: later cards are used less as such.")
        if self.later.low > 0:
            return message("At equal progress later cards are used more, so the empty card alone slows.")
        return message("At equal progress later cards are not told apart from first ones.")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the chance of a visit by stamps earned, before and after the first reward."""
        from loyalty_research.plots.gradient import pace_by_card

        return pace_by_card(
            self.hazard, unit=message("chance of a visit in {days} days", days=self.days), ax=ax
        )


def reward_gap(cards: Cards, *, level: float) -> Estimate | None:
    """Return the log of the first gap after a reward less that of the last gap before it.

    One pair for each customer who completed the first card and the next: days from the last stamp
    but one to the last, and from the last to the first on the next card; t interval over
    customers. Those who completed only the first are left out, since the gaps of a completed card
    are short ones and a gap of a card that was not is any: without a reset the pair would still
    differ. The pairs are keen customers; the hazard model speaks of all. Two stamps on one day
    count as half a day apart.

    References:
        Kivetz, Urminsky and Zheng (2006), study 1: post-reinforcement resetting.
    """
    table = cards.table
    count = table["stamps"].to_numpy()
    last = np.cumsum(count) - 1  # stamps are sorted by card and day
    order = np.lexsort((table["issued"].to_numpy(), table["cycle"].to_numpy(), table["customer"].to_numpy()))
    customer, cycle = table["customer"].to_numpy()[order], table["cycle"].to_numpy()[order]
    follows = (customer[1:] == customer[:-1]) & (cycle[:-1] == 1) & (cycle[1:] == 2)
    first, following = order[:-1][follows], order[1:][follows]
    done = table["completed"].to_numpy() <= cards.as_of
    kept = done[first] & done[following] & (count[first] >= 2)
    first, following = first[kept], following[kept]
    if len(first) < _FEW_PAIRS:
        return None
    end = cards.stamp_day[last[first]]
    before = end - cards.stamp_day[last[first] - 1]
    after = cards.stamp_day[last[following] - count[following] + 1] - end
    change = np.log(np.maximum(after, 0.5)) - np.log(np.maximum(before, 0.5))
    n, mean = len(change), float(change.mean())
    se = float(change.std(ddof=1)) / math.sqrt(n)
    half = float(stats.t.isf((1 - level) / 2, n - 1)) * se
    p_value = float(2 * stats.t.sf(abs(mean) / se, n - 1)) if se > 0 else None
    return Estimate(mean, mean - half, mean + half, level, message("paired t"), n, None, p_value)


def _by_cycle(cards: Cards) -> pd.DataFrame:
    done = cards.table["completed"] <= cards.as_of
    grouped = done.groupby(cards.table["cycle"])
    return grouped.agg(["size", "sum"]).reset_index().set_axis(["cycle", "cards", "completed"], axis=1)


def _typical(cards: Cards, *, later: bool) -> tuple[int, int]:
    """Return (required, endowed) of most first cards of the control, or of most later cards."""
    table = cards.table
    first = ((table["cycle"] == 1) & (table["arm"] == cards.arms[0])).to_numpy()
    chosen = after_reward(cards) if later else first
    sizes = table.loc[chosen, ["required", "endowed"]].value_counts()
    required, endowed = sizes.index[0]
    return int(required), int(endowed)


def _columns(periods: Periods, progress: Progress, arms: int, *, carry_over: bool) -> list[Floats]:
    """Return progress, later card, and a level of each other arm on first (and on later) cards."""
    arm, later = periods.cells["arm"].to_numpy(), periods.cells["later"].to_numpy()
    columns = [reached(periods.cells, progress), later.astype(float)]
    columns += [((arm == a) & (later == 0)).astype(float) for a in range(1, arms)]
    if carry_over:
        columns += [((arm == a) & (later == 1)).astype(float) for a in range(1, arms)]
    return columns


def _carry_over(
    periods: Periods,
    *,
    progress: Progress,
    arms: int,
    season: Season | None,
    link: Link,
    nodes: int,
    cluster: NDArray[np.int64] | None,
) -> Check:
    """Test whether arms still differ on later cards (Wald)."""
    name = message("arms alike on later cards")
    arm, later = periods.cells["arm"].to_numpy(), periods.cells["later"].to_numpy()
    if len(np.unique(arm[later == 1])) < arms:
        return Check(name, "not measurable", message("some arm has no later cards"))
    model = hazard_model(periods, _columns(periods, progress, arms, carry_over=True), season)
    fit = fit_model(model, link=link, nodes=nodes, cluster=cluster, arms=arms)
    own = slice(3 + arms - 1, 3 + 2 * (arms - 1))
    shift = fit.coefficients[own]
    statistic = float(shift @ np.linalg.solve(fit.covariance[own, own], shift)) / (arms - 1)
    p_value = float(stats.f.sf(statistic, arms - 1, min(fit.degrees, 1e9)))
    return Check(
        name,
        "warning" if p_value < 0.05 else "passed",
        message("Wald test, p = {p}", p=number(p_value, digits=3)),
        p_value=p_value,
    )


def _chance(link_scale: Estimate, link: Link) -> Estimate:
    """Return a hazard from its value on the link scale."""
    value, low, high = (
        float(special.expit(v) if link == "logit" else -math.expm1(-math.exp(v)))
        for v in (link_scale.value, link_scale.low, link_scale.high)
    )
    e = link_scale
    return Estimate(value, low, high, e.level, e.method, e.n, "fraction")


def _hazard_frame(
    cells: pd.DataFrame, design: Floats, fit: InterceptFit, *, link: Link, level: float
) -> pd.DataFrame:
    frame = corrected_hazard(cells, design, fit, by=["later", "stamps"], link=link, level=level)
    names = {0: message("first card"), 1: message("next cards")}
    frame.insert(0, "group", [names[k] for k in frame["later"]])
    return frame.drop(columns="later")


def post_reward_reset(
    cards: Cards,
    *,
    days: int,
    progress: Progress,
    link: Link,
    nodes: int,
    level: float,
    season: Season | None = None,
    weekday: bool = False,
    cluster: NDArray[np.int64] | None = None,
    checks: tuple[Check, ...] = (),
) -> PostRewardResult:
    """Fit the visit hazard over all cards of a customer, with a level for cards after a reward.

    Args:
        cards: Checked cards.
        days: Length of a period.
        progress: Share of the card filled, or stamps left (counted towards the goal).
        link: ``"logit"`` or ``"cloglog"``.
        nodes: Quadrature nodes.
        level: Level of every interval.
        season: Terms of the season.
        weekday: A level per weekday, for periods of one day.
        cluster: Cluster code of each first card, or None; intervals then allow for clusters.
        checks: Checks already made.

    Raises:
        DesignError: When nobody was issued a card after a reward, or progress does not vary.
        ConvergenceError: When the likelihood has no maximum.
    """
    if not after_reward(cards).any():
        raise DesignError("no customer was issued a card after a reward, so the pace after one is not known")
    periods = card_periods(cards, days=days, later=True, season=season, weekday=weekday)
    if not periods.cells["later"].any():
        raise DesignError(f"no later card was followed for a whole period of {days} days")
    arms = len(cards.arms)
    model = hazard_model(periods, _columns(periods, progress, arms, carry_over=False), season)
    holders = _of_holder(cards, cluster)
    fit = fit_model(model, link=link, nodes=nodes, cluster=holders, arms=arms)
    alike = fit_pooled(model.design, model.data, link=link)
    n = int(model.data.count.sum())

    def estimate(line: int | Floats) -> Estimate:
        return wald(fit, line, level=level, method=fit_method(fit, nodes), n=n)

    last, start = _edges(cards, model, progress)
    plain = 3 + arms - 1
    typical = model.design.copy()
    typical[:, plain:] = model.average @ model.design[:, plain:]
    control = (periods.cells["arm"] == 0).to_numpy()
    return PostRewardResult(
        jump=estimate(start - last),
        later=estimate(2),
        pooled=wald(alike, 2, level=level, method=message("pooled, Wald; selection"), n=n),
        slope=estimate(1),
        before=_chance(estimate(last), link),
        after=_chance(estimate(start), link),
        arm_shifts=tuple(estimate(k) for k in range(3, plain)),
        gap=reward_gap(cards, level=level),
        sigma=fit.sigma,
        calendar=tuple((name, estimate(plain + k)) for k, name in enumerate(model.names)),
        arms=cards.arms,
        cards=_by_cycle(cards),
        hazard=_hazard_frame(periods.cells[control], typical[control], fit, link=link, level=level),
        days=days,
        progress=progress,
        link=link,
        log_likelihood=fit.log_likelihood,
        checks=(
            *checks,
            _carry_over(
                periods, progress=progress, arms=arms, season=season, link=link, nodes=nodes, cluster=holders
            ),
            Check(
                message("nobody gives up in silence"),
                "not measurable",
                message("a holder who has left but whose card is open looks like one who slowed down"),
            ),
            *calendar_checks(periods, calendar=season is not None or weekday),
        ),
    )


def _of_holder(cards: Cards, cluster: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Return the cluster of each holder: that of the first card."""
    if cluster is None:
        return None
    customer = cards.table["customer"].to_numpy()
    # a holder whose first card is not in the data is a cluster alone
    of_holder = np.arange(int(customer.max()) + 1, dtype=np.int64) + int(cluster.max()) + 1
    of_holder[customer[cards.table["cycle"].to_numpy() == 1]] = cluster
    return of_holder


def _edges(cards: Cards, model: HazardModel, progress: Progress) -> tuple[Floats, Floats]:
    """Return the covariates with one stamp to go on a first card, and at the start of the next."""
    import pandas as pd

    sizes = [_typical(cards, later=later) for later in (False, True)]
    ends = pd.DataFrame(
        {
            "required": [size[0] for size in sizes],
            "endowed": [size[1] for size in sizes],
            "stamps": [sizes[0][0] - sizes[0][1] - 1, 0],
        }
    )
    lines = np.zeros((2, model.design.shape[1]))
    lines[:, 0] = 1.0
    lines[:, 1] = reached(ends, progress)
    lines[1, 2] = 1.0
    first = model.design.shape[1] - len(model.names)
    lines[:, first:] = model.average @ model.design[:, first:]
    return lines[0], lines[1]
