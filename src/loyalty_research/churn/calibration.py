"""Calibration: of those given a chance of 30% of leaving, do 30% leave?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn import ipcw
from loyalty_research.churn.calibration_curve import COARSE, cells_of, curve_of, errors, slope
from loyalty_research.churn.words import FEW
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.survival import curve_at, curve_interval, kaplan_meier, survival_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.churn.calibration_curve import Cells

    Floats = NDArray[np.float64]

__all__ = ["Calibration", "DCalibration", "calibration", "d_calibration"]

METHOD = "percentile bootstrap"


@dataclass(frozen=True, repr=False)
class Calibration(Result):
    """How predicted chances of leaving by a day compare with what was seen.

    Attributes:
        time: The day judged.
        ratio: Observed share that left (Kaplan-Meier) over the mean predicted chance.
        slope: Coefficient of the predicted log cumulative hazard; below 1 the predictions are too
            extreme, above 1 too timid. None where all predictions are the same, or it runs off.
        ici: Integrated calibration index, the mean absolute gap between predicted and observed.
        e50: Median absolute gap.
        e90: Ninth decile of the absolute gap.
        curve: ``predicted, observed, low, high`` along the predictions.
        groups: Groups of like predictions: ``predicted, observed, low, high, customers``; those of
            fewer than 5 customers are left out.
        n: Observations.
    """

    title: ClassVar[str] = "Calibration"

    time: float
    ratio: Estimate
    slope: Estimate | None
    ici: Estimate
    e50: Estimate
    e90: Estimate
    curve: pd.DataFrame
    groups: pd.DataFrame
    n: int

    def _rows(self) -> Iterable[Row]:
        day = message("day {day}", day=number(self.time, digits=0))
        yield Row(
            message("observed over predicted leaving"), self.ratio, group=day, estimand=message("1 is right")
        )
        if self.slope is not None:
            yield Row(message("calibration slope"), self.slope, group=day, estimand=message("1 is right"))
        yield Row(message("mean gap (ICI)"), self.ici, group=day)
        yield Row(message("median gap (E50)"), self.e50, group=day)
        yield Row(message("ninth decile of gaps (E90)"), self.e90, group=day)

    def _verdict(self) -> str:
        day = number(self.time, digits=0)
        gap = message(
            "On average a customer's predicted chance of leaving by day {day} is {gap} points off.",
            day=day,
            gap=number(100 * self.ici.value, digits=1),
        )
        between = message(
            "{level} interval {low} to {high}",
            level=percent(self.ratio.level, digits=0),
            low=number(self.ratio.low, digits=2),
            high=number(self.ratio.high, digits=2),
        )
        if self.ratio.low > 1:
            lead = message(
                "More leave than predicted: {ratio} times as many ({interval}).",
                ratio=number(self.ratio.value, digits=2),
                interval=between,
            )
        elif self.ratio.high < 1:
            lead = message(
                "Fewer leave than predicted: {ratio} times as many ({interval}).",
                ratio=number(self.ratio.value, digits=2),
                interval=between,
            )
        else:
            lead = message(
                "As many leave as predicted, within chance (ratio {ratio}, {interval}).",
                ratio=number(self.ratio.value, digits=2),
                interval=between,
            )
        return f"{lead} {gap}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw observed against predicted chances, with the groups and the line of perfection."""
        from loyalty_research.plots.validation import calibration_curve

        return calibration_curve(self.curve, self.groups, ax=ax, time=self.time, level=self.ici.level)


def calibration(
    event_times: ArrayLike,
    events: ArrayLike,
    survival: ArrayLike,
    *,
    time: float,
    groups: int = 10,
    weights: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    entry: ArrayLike | None = None,
    bootstrap: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> Calibration:
    """Compare predicted chances of leaving by a day with what was seen.

    The observed chance of each customer comes from a Cox model of the outcomes on a restricted
    cubic spline of the predicted log cumulative hazard, log(-log S); of groups of like
    predictions where such a model has no finite optimum, and ``.checks`` then says so.

    Args:
        event_times: Time to the event or to the last sight of each, shape ``(n,)``.
        events: 1 where it was the event.
        survival: Predicted chance of still being there at ``time``, shape ``(n,)``.
        time: The day judged.
        groups: Groups of like predictions in the table beside the curve; fewer where they would
            hold under 20 customers each.
        weights: Case weights.
        cluster: Clusters, resampled whole.
        entry: Refused where anybody enters late; give times since entry instead.
        bootstrap: Resamples of customers behind the intervals (the predictions stay as they are).
        seed: Seed of the resampling.
        level: Confidence level.

    Raises:
        ContractError: On missing or misshapen columns, or when nobody left by ``time``.
        ArgumentError: On options outside their range.
        DesignError: On delayed entry.

    Examples:
        >>> rng = np.random.default_rng(1)
        >>> rate = np.exp(rng.normal(-3, .7, 2000))
        >>> left = rng.exponential(1 / rate)
        >>> found = calibration(np.minimum(left, 30), left <= 30, np.exp(-rate * 20), time=20)
        >>> found.ici.value < .02, found.slope.low < 1 < found.slope.high
        (True, True)

    References:
        Austin, Harrell, van Klaveren (2020), Statistics in Medicine 39 (ICI, E50, E90);
        McLernon et al. (2023), Annals of Internal Medicine 176 (ratio and slope at a time).
    """
    check_level(level)
    if bootstrap < 50:
        raise ArgumentError(f"bootstrap must be at least 50 resamples; got {bootstrap!r}")
    if groups < 2:
        raise ArgumentError(f"groups must be at least 2; got {groups!r}")
    obs = ipcw.observed(event_times, events, weights=weights, cluster=cluster)
    ipcw.refuse_entry(entry, obs.n, "calibration")
    day = float(ipcw.horizons(time, obs)[0])
    chance = ipcw.predicted(survival, obs.n, 1)[:, 0]
    if not (obs.event & (obs.time <= day)).any():
        raise ContractError(f"nobody of {obs.n:,} left by {day:g}, so there is nothing to calibrate against")
    cells = cells_of(obs, chance, day)
    found = _figures(cells, cells.mass)
    coarse = cells_of(obs, chance, day, most=COARSE)
    draws = _resample(coarse, obs, bootstrap, seed)
    return _report(coarse, found, draws, obs, chance, day, groups, level)


@dataclass(frozen=True, slots=True)
class _Figures:
    """Ratio, slope, ICI, E50, E90; the observed chance per distinct prediction; how it was found."""

    figures: Floats
    curve: Floats
    way: int


def _figures(cells: Cells, mass: Floats) -> _Figures:
    """Return the figures under some mass per observation."""
    table = cells.table(mass)
    share = table.total / table.total.sum()
    seen = table.left_by_end()
    ratio = seen / float(share @ cells.risk)
    if not cells.varies:
        gap = abs(seen - float(cells.risk[0]))
        return _Figures(np.array([ratio, np.nan, gap, gap, gap]), np.full(1, seen), 0)
    curve, way = curve_of(table, cells)
    figures = np.array([ratio, slope(table, cells.x), *errors(cells.risk, curve, table.total)])
    return _Figures(figures, curve, way)


def _resample(cells: Cells, obs: ipcw.Observed, count: int, seed: int) -> list[_Figures]:
    rng = np.random.default_rng(seed)
    codes = np.arange(obs.n) if obs.cluster is None else obs.cluster
    size = int(codes.max()) + 1
    draws = []
    for _ in range(count):
        times = np.bincount(rng.integers(size, size=size), minlength=size)
        draws.append(_figures(cells, obs.mass * times[codes]))
    return draws


def _report(
    cells: Cells,
    found: _Figures,
    draws: list[_Figures],
    obs: ipcw.Observed,
    chance: Floats,
    day: float,
    groups: int,
    level: float,
) -> Calibration:
    tails = [(1 - level) / 2, (1 + level) / 2]
    drawn = np.array([d.figures for d in draws])
    # a slope that runs off in many resamples has no interval; the other figures always exist
    steep = bool(np.isfinite(drawn[:, 1]).mean() > 0.95) and np.isfinite(found.figures[1])
    drawn[:, 1] = np.where(np.isfinite(drawn[:, 1]), drawn[:, 1], 0.0)
    limits = np.quantile(drawn, tails, axis=0)

    def figure(j: int, unit: str | None = None) -> Estimate:
        return Estimate(
            float(found.figures[j]), float(limits[0, j]), float(limits[1, j]), level, METHOD, obs.n, unit
        )

    band = np.quantile(np.array([d.curve for d in draws]), tails, axis=0)
    curve = pd.DataFrame(
        {
            "predicted": cells.risk,
            "observed": _figures(cells, cells.mass).curve,
            "low": band[0],
            "high": band[1],
        }
    ).sort_values("predicted", ignore_index=True)
    return Calibration(
        time=day,
        ratio=figure(0),
        slope=figure(1) if steep else None,
        ici=figure(2, "fraction"),
        e50=figure(3, "fraction"),
        e90=figure(4, "fraction"),
        curve=curve,
        groups=_grouped(obs, chance, day, groups, level),
        n=obs.n,
        checks=_curve_check(found.way),
    )


def _curve_check(way: int) -> tuple[Check, ...]:
    if way == 0:
        return ()
    return (
        Check(
            message("Calibration curve"),
            "warning",
            message("Too few left for a smooth curve, so it is a straight line on the scale of the model.")
            if way == 1
            else message(
                "Some predictions have nobody (or everybody) leaving, so the curve is that of ten groups of customers."
            ),
        ),
    )


def _grouped(obs: ipcw.Observed, chance: Floats, day: float, groups: int, level: float) -> pd.DataFrame:
    """Return predicted and Kaplan-Meier chances of leaving per group of like predictions."""
    risk = 1.0 - chance
    groups = max(2, min(groups, obs.n // 20))
    edges = np.unique(np.quantile(risk, np.arange(1, groups) / groups))
    code = np.searchsorted(edges, risk, side="left")
    rows = []
    for g in np.unique(code):
        own = code == g
        if own.sum() < FEW:
            continue
        curve = kaplan_meier(np.maximum(obs.time[own], 1e-12), obs.event[own], weights=obs.mass[own])
        low, high = curve_interval(curve, level=level)
        at = [float(np.asarray(1.0 - curve_at(curve, v, day, before=1.0))) for v in (high, low)]
        rows.append(
            {
                "predicted": float(np.average(risk[own], weights=obs.mass[own])),
                "observed": float(1.0 - survival_at(curve, day)),
                "low": at[0],
                "high": at[1],
                "customers": int(own.sum()),
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True, repr=False)
class DCalibration(Result):
    """Whether predicted survival at the day of leaving is spread evenly, as it must be.

    Attributes:
        shares: One row per bin: ``low, high, customers, share``.
        statistic: Chi-squared statistic.
        degrees_of_freedom: Bins less one.
        p_value: Small where the whole distribution is off.
        n: Observations.
    """

    title: ClassVar[str] = "D-calibration"

    shares: pd.DataFrame
    statistic: float
    degrees_of_freedom: int
    p_value: float
    n: int

    def _rows(self) -> Iterable[Row]:
        yield Row(
            message("D-calibration, chi-squared"),
            Estimate(
                self.statistic,
                np.nan,
                np.nan,
                0.95,
                "chi-squared, censored spread",
                self.n,
                p_value=self.p_value,
            ),
            estimand=message("no departure"),
        )

    def _verdict(self) -> str:
        p = message("p {p}", p=number(self.p_value, digits=3))
        if self.p_value < 0.05:
            worst = self.shares.iloc[
                int((self.shares["share"] - 1 / len(self.shares)).abs().to_numpy().argmax())
            ]
            return message(
                "Predicted chances do not fit the whole of the follow-up ({p}): {share} of customers left when their "
                "chance of still being there was {low} to {high}, where {even} should.",
                p=p,
                share=percent(float(worst["share"])),
                low=percent(float(worst["low"]), digits=0),
                high=percent(float(worst["high"]), digits=0),
                even=percent(1 / len(self.shares)),
            )
        return message("No sign that predicted chances are off over the follow-up as a whole ({p}).", p=p)


def d_calibration(
    survival_at_end: ArrayLike,
    events: ArrayLike,
    *,
    survival_before_end: ArrayLike | None = None,
    bins: int = 10,
) -> DCalibration:
    """Test whether predicted survival fits the whole distribution of leaving times.

    If the predictions are right, predicted survival at the own day of leaving is uniform between
    0 and 1. A censored customer's mass is spread evenly below the survival predicted when last
    seen, which makes the test conservative.

    Args:
        survival_at_end: Predicted survival of each at the end of its own follow-up, ``(n,)``.
        events: 1 where that end was leaving.
        survival_before_end: The same just before that end (a day earlier for whole days); a
            leaver's mass is then spread between the two. Needed where many leave on one day.
        bins: Number of equal bins.

    Raises:
        ContractError: On missing or misshapen columns, probabilities outside 0 to 1, or
            fewer than 5 customers per bin.

    Examples:
        >>> rng = np.random.default_rng(1)
        >>> round(d_calibration(rng.random(500), np.ones(500)).p_value, 2) > .05
        True

    References:
        Haider, Hoehn, Davis, Greiner (2020), Journal of Machine Learning Research 21, section 3.5.
    """
    if bins < 2:
        raise ArgumentError(f"bins must be at least 2; got {bins!r}")
    flags = ipcw.column(events, "events")
    n = len(flags)
    if not np.isin(flags, (0.0, 1.0)).all():
        raise ContractError("events must be 0 (still there) or 1 (left)")
    end = ipcw.predicted(survival_at_end, n, 1, "survival_at_end")[:, 0]
    before = end
    if survival_before_end is not None:
        before = ipcw.predicted(survival_before_end, n, 1, "survival_before_end")[:, 0]
        if (before < end - 1e-12).any():
            raise ContractError("survival_before_end must not be below survival_at_end")
    if n < 5 * bins:
        raise ContractError(f"{n} customers are too few for {bins} bins; the test needs 5 in each")
    low = np.where(flags == 1.0, end, 0.0)
    high = np.where(flags == 1.0, before, end)
    edges = np.linspace(0.0, 1.0, bins + 1)
    inside = np.clip(high[:, None], edges[:-1], edges[1:]) - np.clip(low[:, None], edges[:-1], edges[1:])
    width = (high - low)[:, None]
    point = (np.clip(np.floor(end * bins), 0, bins - 1)[:, None] == np.arange(bins)).astype(np.float64)
    spread = np.where(
        width > 1e-12, np.divide(inside, width, out=np.zeros_like(inside), where=width > 1e-12), point
    )
    counts = spread.sum(axis=0)
    from scipy.special import chdtrc

    statistic = float(((counts - n / bins) ** 2).sum() / (n / bins))
    shares = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "customers": counts, "share": counts / n})
    return DCalibration(shares, statistic, bins - 1, float(chdtrc(bins - 1, statistic)), n)
