"""Bands that hold a whole curve at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from loyalty_research.churn.groups import few_times
from loyalty_research.churn.words import group_words, with_group
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.bands import band_reach
from loyalty_research.stats.survival import curve_at, step_limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.churn.groups import Group
    from loyalty_research.estimates import Check
    from loyalty_research.stats.bands import BandKind
    from loyalty_research.stats.survival import Interval, SurvivalCurve

    Floats = NDArray[np.float64]

__all__ = ["SimultaneousBand", "simultaneous_band"]

_INNER = (0.1, 0.9)


@dataclass(frozen=True, repr=False)
class SimultaneousBand(Result):
    """A band that holds the whole curve over a stated range with the confidence level.

    Attributes:
        kind: ``"equal-precision"`` or ``"hall-wellner"``.
        quantity: ``"survival"`` or ``"hazard"`` (cumulative).
        steps: ``group, time, estimate, low, high`` at each step within the range.
        ranges: Per group ``group, first_day, last_day, low_share, high_share, critical_value,
            customers``; the shares n v / (1 + n v) of the variance v locate the range on the
            limiting process.
        by: Covariate grouped by, or None.
        level: Confidence level.
        interval: Scale on which the band is symmetric.
        unit: Unit of time.
        clock: What day 0 is.
    """

    title: ClassVar[str] = "Simultaneous band"

    kind: BandKind
    quantity: Literal["survival", "hazard"]
    steps: pd.DataFrame
    ranges: pd.DataFrame
    by: str | None
    level: float
    interval: Interval
    unit: str
    clock: str

    def band_at(self, times: ArrayLike) -> pd.DataFrame:
        """Return ``group, time, estimate, low, high`` on given days; NaN outside the range."""
        asked = np.atleast_1d(np.asarray(times, dtype=np.float64))
        frames = []
        for row in self.ranges.itertuples():
            part = self.steps[self.steps["group"] == row.group]
            at = np.searchsorted(part["time"].to_numpy(dtype=np.float64), asked, side="right") - 1
            outside = (asked < float(row.first_day)) | (asked > float(row.last_day))  # type: ignore[arg-type]
            found = part[["estimate", "low", "high"]].to_numpy(dtype=np.float64)[np.maximum(at, 0)]
            found[outside] = np.nan
            frame = pd.DataFrame(found, columns=["estimate", "low", "high"])
            frame.insert(0, "time", asked)
            frame.insert(0, "group", [row.group] * len(asked))
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def _rows(self) -> Iterable[Row]:
        method = message("{kind} band, {interval}", kind=self.kind, interval=self.interval)
        sizes = dict(zip(self.ranges["group"], self.ranges["customers"], strict=True))
        frame = self.band_at(few_times(float(self.steps["time"].max()))).dropna()
        for group, time, value, low, high in frame.itertuples(index=False):
            estimate = Estimate(
                float(value),
                float(low),
                float(high),
                self.level,
                method,
                int(sizes[group]),
                "fraction" if self.quantity == "survival" else None,
            )
            yield Row(
                self._name(number(time, digits=0)),
                estimate,
                group=group_words(self.by, group),
                estimand=message("the whole curve"),
            )

    def _name(self, day: str) -> str:
        if self.quantity == "survival":
            return message("still there on day {day}", day=day)
        return message("cumulative hazard to day {day}", day=day)

    def _verdict(self) -> str:
        parts = [
            message(
                "{group} from day {first} to day {last}",
                group=with_group(self.by, row["group"]),
                first=number(float(row["first_day"]), digits=0),
                last=number(float(row["last_day"]), digits=0),
            )
            for row in self.ranges.to_dict("records")
        ]
        return message(
            "With {level} confidence the band holds the whole curve at once, not only each day by itself: {parts}.",
            level=percent(self.level, digits=0),
            parts="; ".join(parts),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the estimate and its band over the range."""
        from loyalty_research.plots.survival import survival_curves

        names = {g: group_words(self.by, g) for g in self.ranges["group"]}
        level = percent(self.level, digits=0)
        if self.quantity == "survival":
            label = message("Still there (band: {level} for the whole curve)", level=level)
        else:
            label = message("Cumulative hazard (band: {level} for the whole curve)", level=level)
        return survival_curves(
            self.steps.assign(group=self.steps["group"].map(names)),
            ax=ax,
            time_label=message("{unit} since {clock}", unit=self.unit.capitalize(), clock=self.clock),
            level=self.level,
            label=label,
            share=self.quantity == "survival",
        )


def simultaneous_band(
    groups: Sequence[tuple[Group, SurvivalCurve]],
    *,
    kind: BandKind,
    between: tuple[float, float] | None,
    quantity: Literal["survival", "hazard"],
    by: str | None,
    level: float,
    interval: Interval,
    unit: str,
    clock: str,
    checks: tuple[Check, ...],
) -> SimultaneousBand:
    """Return the band of each group's curve; see :meth:`SurvivalCurves.simultaneous_band`.

    References:
        Klein, Moeschberger (2003), section 4.4; Borgan, Liestol (1990) for the scales.
    """
    if kind not in ("equal-precision", "hall-wellner"):
        raise ArgumentError(f"kind must be 'equal-precision' or 'hall-wellner'; got {kind!r}")
    steps, ranges = [], []
    for group, curve in groups:
        size = float(len(group.stop)) if group.weights is None else float(group.weights.sum())
        scaled = curve.log_variance if quantity == "survival" else curve.hazard_variance
        share = np.where(
            np.isfinite(scaled), size * scaled / (1 + size * np.where(np.isfinite(scaled), scaled, 0)), 1
        )
        begin, end = _range(curve, share, kind, between, group.label)
        at = np.flatnonzero((curve.times > begin) & (curve.times < end))
        times = np.concatenate([[begin], curve.times[at], [end]])
        read = {
            name: curve_at(curve, values, times, before=before)
            for name, values, before in (
                ("share", share, 0.0),
                ("scaled", scaled, 0.0),
                ("survival", curve.survival, 1.0),
                ("hazard", curve.cumulative_hazard, 0.0),
            )
        }
        low_share, high_share = float(read["share"][0]), float(read["share"][-1])
        reach, critical = band_reach(
            read["scaled"], kind, size=size, low=low_share, high=high_share, level=level
        )
        if quantity == "survival":
            value = read["survival"]
            low, high = step_limits(value, reach, kind=interval)
        else:
            value = read["hazard"]
            low, high = value * np.exp(-reach / value), value * np.exp(reach / value)
        steps.append(
            pd.DataFrame(
                {
                    "group": [group.label] * len(times),
                    "time": times,
                    "estimate": value,
                    "low": low,
                    "high": high,
                }
            )
        )
        ranges.append((group.label, begin, end, low_share, high_share, critical, group.customers))
    columns = ["group", "first_day", "last_day", "low_share", "high_share", "critical_value", "customers"]
    return SimultaneousBand(
        kind=kind,
        quantity=quantity,
        steps=pd.concat(steps, ignore_index=True),
        ranges=pd.DataFrame(ranges, columns=columns),
        by=by,
        level=level,
        interval=interval,
        unit=unit,
        clock=clock,
        checks=checks,
    )


def _range(
    curve: SurvivalCurve, share: Floats, kind: BandKind, between: tuple[float, float] | None, label: Any
) -> tuple[float, float]:
    """Return the first and last day a band speaks of."""
    live = (curve.events > 0) & (curve.survival > 0)
    if between is None:
        inside = live & (share >= _INNER[0]) & (share <= _INNER[1]) if kind == "equal-precision" else live
        days = curve.times[inside]
        if len(days) < 2:
            raise ArgumentError(f"group {label}: too few days on which somebody left for a band")
        return float(days[0]), float(days[-1])
    begin, end = (float(v) for v in between)
    if not (math.isfinite(begin) and math.isfinite(end) and begin < end):
        raise ArgumentError(f"between must be two days, the first before the second; got {between!r}")
    days = curve.times[live]
    if not len(days) or begin < days[0] or end > curve.last or not _still_there(curve, end):
        first = f"{days[0]:g}" if len(days) else "none"
        raise ArgumentError(
            f"group {label}: between must lie from the first day somebody left ({first}) to a day with somebody "
            f"still there, up to {curve.last:g}; got {begin:g} to {end:g}"
        )
    if not (days > begin)[days <= end].any():
        raise ArgumentError(f"group {label}: nobody left between day {begin:g} and day {end:g}")
    return begin, end


def _still_there(curve: SurvivalCurve, day: float) -> bool:
    return bool(curve_at(curve, curve.survival, day, before=1.0) > 0)
