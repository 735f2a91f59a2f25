"""Kaplan-Meier curves by group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn.bands import simultaneous_band
from loyalty_research.churn.groups import at_risk_rows, cluster_check, few_times, group_curves
from loyalty_research.churn.words import group_words, with_group
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.conditional import conditional_curve
from loyalty_research.stats.survival import (
    curve_at,
    curve_interval,
    curve_quantile,
    step_interval,
    survival_at,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.churn.bands import SimultaneousBand
    from loyalty_research.churn.data import ChurnData
    from loyalty_research.churn.groups import Group
    from loyalty_research.stats.bands import BandKind
    from loyalty_research.stats.survival import (
        Interval,
        SurvivalCurve,
    )

    Floats = NDArray[np.float64]

__all__ = ["KaplanMeier", "SurvivalCurves"]


def _day(value: float) -> str:
    return number(value, digits=0 if np.isfinite(value) and float(value).is_integer() else None)


@dataclass(frozen=True, slots=True)
class KaplanMeier:
    """Survival curves without a model.

    Args:
        level: Confidence level.
        interval: ``"log-log"``, ``"log"`` (R's default) or ``"plain"``.
        horizon: A day at which the result's rows and verdict also give survival; the median
            alone by default.

    Raises:
        ArgumentError: When an option is out of range.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(pd.DataFrame({
        ...     "duration": [5, 8, 8, 12, 20, 30], "event": [1, 1, 0, 1, 1, 0],
        ...     "plan": list("aaabbb")}))
        >>> KaplanMeier().fit(data, by="plan").survival_at([10])[["group", "time", "estimate"]]
          group  time  estimate
        0     a  10.0       NaN
        1     b  10.0       1.0
    """

    level: float = field(default=0.95, kw_only=True)
    interval: Interval = field(default="log-log", kw_only=True)
    horizon: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_level(self.level)
        step_interval([1.0], [0.0], kind=self.interval)
        if self.horizon is not None and not self.horizon > 0:
            raise ArgumentError(f"horizon must be a positive number of days; got {self.horizon!r}")

    def fit(self, data: ChurnData, *, by: str | None = None) -> SurvivalCurves:
        """Estimate one curve, or one per level of ``by``.

        With a covariate that changes over time, customers count in the group they are in on
        each day (Simon and Makuch); such curves follow no fixed set of people.

        Args:
            data: Follow-up of customers.
            by: Covariate to group by.

        Raises:
            ContractError: When nobody left, or ``by`` is missing or has gaps.
        """
        groups = group_curves(data, by)
        return SurvivalCurves(
            groups=tuple(groups),
            by=by,
            level=self.level,
            interval=self.interval,
            horizon=self.horizon,
            unit=data.unit,
            clock=data.clock,
            checks=(*data.checks, *cluster_check(data)),
        )


@dataclass(frozen=True, repr=False)
class SurvivalCurves(Result):
    """Kaplan-Meier curves by group.

    Attributes:
        groups: Each group's follow-up and curve.
        by: Covariate grouped by, or None.
        level: Confidence level.
        interval: Kind of interval.
        horizon: Day the verdict speaks of, or None for the median.
        unit: Unit of time.
        clock: What day 0 is.
    """

    title: ClassVar[str] = "Survival"

    groups: tuple[tuple[Group, SurvivalCurve], ...]
    by: str | None
    level: float
    interval: Interval
    horizon: float | None
    unit: str
    clock: str

    @property
    def median_(self) -> pd.Series[float]:
        """Median time per group; NaN where the data do not reach it."""
        values = [curve_quantile(c)[0] for _, c in self.groups]
        return pd.Series(
            values, index=pd.Index([g.label for g, _ in self.groups], name="group"), name="median"
        )

    @property
    def survival_function_(self) -> pd.DataFrame:
        """All steps: ``group, time, estimate, low, high, at_risk, events, censored``."""
        frames = []
        for group, curve in self.groups:
            low, high = curve_interval(curve, level=self.level, kind=self.interval)
            begin = pd.DataFrame(
                {
                    "group": [group.label],
                    "time": [curve.first],
                    "estimate": [1.0],
                    "low": [1.0],
                    "high": [1.0],
                    "at_risk": [float("nan")],
                    "events": [0.0],
                    "censored": [0.0],
                }
            )
            steps = pd.DataFrame(
                {
                    "group": [group.label] * len(curve.times),
                    "time": curve.times,
                    "estimate": curve.survival,
                    "low": low,
                    "high": high,
                    "at_risk": curve.at_risk,
                    "events": curve.events,
                    "censored": curve.censored,
                }
            )
            frames += [begin, steps]
        return pd.concat(frames, ignore_index=True)

    def survival_at(self, times: ArrayLike) -> pd.DataFrame:
        """Return ``group, time, estimate, low, high``; NaN beyond the group's last day."""
        asked = np.atleast_1d(np.asarray(times, dtype=np.float64))
        frames = []
        for group, curve in self.groups:
            low, high = curve_interval(curve, level=self.level, kind=self.interval)
            frames.append(
                pd.DataFrame(
                    {
                        "group": [group.label] * len(asked),
                        "time": asked,
                        "estimate": survival_at(curve, asked),
                        "low": curve_at(curve, low, asked, before=1.0),
                        "high": curve_at(curve, high, asked, before=1.0),
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def at_risk_table(self, times: ArrayLike | None = None) -> pd.DataFrame:
        """Return ``group, time, at_risk, events, censored``; the last two count up to the time.

        Args:
            times: When to count; some round times by default. ``at_risk`` is the number still
                watched just before each (at 0: those present from the start).
        """
        asked = few_times(self.last) if times is None else np.atleast_1d(np.asarray(times, dtype=np.float64))
        return at_risk_rows(self.groups, asked)

    @property
    def last(self) -> float:
        """The last day any group is watched."""
        return max(c.last for _, c in self.groups)

    @property
    def labels(self) -> list[Any]:
        """The groups' labels in order; the first is the natural reference."""
        return [g.label for g, _ in self.groups]

    def estimates_at(self, day: float) -> dict[Any, Estimate]:
        """Return survival on a day per group, as estimates."""
        return {g.label: e for g, e in self._survival(day)}

    @property
    def headline(self) -> str:
        """The verdict of a single curve with a horizon, without its interval."""
        known = [e for _, e in self._survival(self.horizon)] if self.horizon is not None else []
        if len(known) != 1 or np.isnan(known[0].value):
            return self.verdict()
        return message(
            "On day {day} after {clock}, {share} of customers were still there.",
            day=number(self.horizon, digits=0),
            clock=self.clock,
            share=percent(known[0].value),
        )

    def _survival(self, day: float) -> list[tuple[Group, Estimate]]:
        columns = self.survival_at([day])[["estimate", "low", "high"]].to_numpy(dtype=np.float64)
        found = []
        for (group, _), row in zip(self.groups, columns, strict=True):
            value, low, high = (float(v) for v in row)
            found.append(
                (group, Estimate(value, low, high, self.level, self.interval, group.customers, "fraction"))
            )
        return found

    def _medians(self) -> list[tuple[Group, Estimate]]:
        return [
            (
                group,
                Estimate(
                    *curve_quantile(curve, level=self.level, kind=self.interval),
                    self.level,
                    f"Brookmeyer-Crowley, {self.interval}",
                    group.customers,
                    self.unit,
                ),
            )
            for group, curve in self.groups
        ]

    def _rows(self) -> Iterable[Row]:
        for group, estimate in self._medians():
            yield Row(
                "median time to leaving",
                estimate,
                group=group_words(self.by, group.label),
                estimand="S(t) = 0.5",
            )
        if self.horizon is not None:
            name = message("still there on day {day}", day=number(self.horizon, digits=0))
            for group, estimate in self._survival(self.horizon):
                yield Row(
                    name, estimate, group=group_words(self.by, group.label), estimand=f"S({self.horizon:g})"
                )

    def _verdict(self) -> str:
        told = self._survival(self.horizon) if self.horizon is not None else self._medians()
        known = [(g, e) for g, e in told if not np.isnan(e.value)]
        if not known:
            if self.horizon is not None:
                return message(
                    "Nobody is watched until day {day}, so nothing is known about it.",
                    day=number(self.horizon, digits=0),
                )
            return message("Fewer than half had left by the last day observed, so there is no median.")
        if self.horizon is None:
            return self._median_verdict(known)
        day = number(self.horizon, digits=0)
        if len(known) == 1:
            group, e = known[0]
            return message(
                "On day {day} after {clock}, {share} of {group} were still there ({interval}).",
                share=percent(e.value),
                day=day,
                clock=self.clock,
                group=with_group(self.by, group.label),
                interval=e.interval(),
            )
        best, worst = max(known, key=lambda k: k[1].value), min(known, key=lambda k: k[1].value)
        return message(
            "On day {day} after {clock}, {best_share} of {best} were still there ({best_interval}), against {worst_share} of "
            "{worst} ({worst_interval}).",
            day=day,
            clock=self.clock,
            best=with_group(self.by, best[0].label),
            best_share=percent(best[1].value),
            best_interval=best[1].interval(),
            worst=with_group(self.by, worst[0].label),
            worst_share=percent(worst[1].value),
            worst_interval=worst[1].interval(),
        )

    def _median_verdict(self, known: list[tuple[Group, Estimate]]) -> str:
        parts = [
            message(
                "day {value} ({group}; {level} interval: day {low} to {high})",
                group=with_group(self.by, g.label),
                value=_day(e.value),
                level=percent(e.level, digits=0),
                low=_day(e.low),
                high=_day(e.high),
            )
            for g, e in known
        ]
        return message("Half of the customers had left by {parts}.", parts="; ".join(parts))

    def simultaneous_band(
        self, *, kind: BandKind = "equal-precision", between: tuple[float, float] | None = None
    ) -> SimultaneousBand:
        """Return a band that holds the whole curve at once, not one day at a time.

        Args:
            kind: ``"equal-precision"`` (Nair), proportional to the pointwise intervals, or
                ``"hall-wellner"``, which is kinder to the far end.
            between: First and last day the band speaks of; by default from 10% to 90% of the
                curve's information (equal precision), or from the first day somebody left to the
                last with somebody still there (Hall-Wellner).

        Raises:
            ArgumentError: When ``kind`` is unknown or the range holds no event to build on.
        """
        return simultaneous_band(
            self.groups,
            kind=kind,
            between=between,
            quantity="survival",
            by=self.by,
            level=self.level,
            interval=self.interval,
            unit=self.unit,
            clock=self.clock,
            checks=self.checks,
        )

    def conditional_survival(self, times: ArrayLike, *, alive_at: float) -> pd.DataFrame:
        """Return survival of those still there on a day: S(t) / S(alive_at).

        Args:
            times: Days on the customers' clocks, as in :meth:`survival_at`.
            alive_at: Day on which they are known to be still there.

        Returns:
            ``group, alive_at, time, estimate, low, high``: 1 up to ``alive_at``; NaN beyond the
            group's last day, and throughout where nobody of the group is followed past
            ``alive_at``. The interval rests on the days after ``alive_at`` alone.

        Raises:
            ArgumentError: When ``alive_at`` is negative or a time is not finite.
        """
        asked = np.atleast_1d(np.asarray(times, dtype=np.float64))
        _check_alive(alive_at)
        frames = []
        for group, curve in self.groups:
            later = _given(curve, alive_at)
            values = np.full((3, len(asked)), np.nan)
            if later is not None:
                low, high = curve_interval(later, level=self.level, kind=self.interval)
                values[0] = survival_at(later, asked)
                values[1] = curve_at(later, low, asked, before=1.0)
                values[2] = curve_at(later, high, asked, before=1.0)
                values[:, asked <= alive_at] = 1.0
            frames.append(
                pd.DataFrame(
                    {
                        "group": [group.label] * len(asked),
                        "alive_at": float(alive_at),
                        "time": asked,
                        "estimate": values[0],
                        "low": values[1],
                        "high": values[2],
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def median_remaining(self, *, alive_at: float) -> pd.DataFrame:
        """Return how long half of those still there on a day will yet stay.

        Args:
            alive_at: Day on which they are known to be still there.

        Returns:
            ``group, alive_at, estimate, low, high``: days after ``alive_at`` until half have
            left, with the Brookmeyer-Crowley interval of their curve. NaN (and an infinite upper
            limit) where the data do not reach it, and throughout where nobody of the group is
            followed past ``alive_at``.

        Raises:
            ArgumentError: When ``alive_at`` is negative.
        """
        _check_alive(alive_at)
        rows = []
        for group, curve in self.groups:
            later = _given(curve, alive_at)
            found = (np.nan, np.nan, np.nan)
            if later is not None:
                found = curve_quantile(later, level=self.level, kind=self.interval)
            rows.append((group.label, float(alive_at), *(v - alive_at for v in found)))
        return pd.DataFrame(rows, columns=["group", "alive_at", "estimate", "low", "high"])

    def plot(
        self,
        ax: Axes | None = None,
        *,
        times: ArrayLike | None = None,
        band: BandKind | None = None,
    ) -> Axes:
        """Draw the curves with their intervals, and the numbers at risk beneath.

        Args:
            ax: Axes to draw on.
            times: When to count those at risk; some round times by default.
            band: Kind of simultaneous band whose edges are drawn as well.
        """
        from loyalty_research.plots.survival import survival_curves

        curves, counts = self.survival_function_, self.at_risk_table(times)
        names = {g.label: group_words(self.by, g.label) for g, _ in self.groups}
        edges = None
        if band is not None:
            edges = self.simultaneous_band(kind=band).steps
            edges = edges.assign(group=edges["group"].map(names))
        return survival_curves(
            curves.assign(group=curves["group"].map(names)),
            counts.assign(group=counts["group"].map(names)),
            band=edges,
            ax=ax,
            time_label=message("{unit} since {clock}", unit=self.unit.capitalize(), clock=self.clock),
            level=self.level,
        )


def _check_alive(alive_at: float) -> None:
    if not (np.isfinite(alive_at) and alive_at >= 0):
        raise ArgumentError(f"alive_at is a day on the clock, 0 or later; got {alive_at!r}")


def _given(curve: SurvivalCurve, alive_at: float) -> SurvivalCurve | None:
    """Return the curve given survival to a day, or None where nobody is followed past it."""
    if not curve.first <= alive_at < curve.last or survival_at(curve, alive_at) == 0:
        return None
    return conditional_curve(curve, alive_at)
