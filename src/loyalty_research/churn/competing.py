"""Competing causes of leaving: the share who have left for each, by day."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn.groups import at_risk_rows, few_times, grouped
from loyalty_research.churn.words import group_words, with_group
from loyalty_research.errors import ArgumentError, listed
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages, number, percent
from loyalty_research.stats.competing import aalen_johansen, incidence_interval
from loyalty_research.stats.survival import (
    RiskCounts,
    curve_at,
    curve_from_counts,
    step_interval,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.churn.data import ChurnData
    from loyalty_research.churn.groups import Group
    from loyalty_research.stats.competing import IncidenceCurve
    from loyalty_research.stats.survival import Interval, SurvivalCurve

    Floats = NDArray[np.float64]

__all__ = ["AalenJohansen", "CumulativeIncidence"]


@dataclass(frozen=True, slots=True)
class AalenJohansen:
    """Cumulative incidence of each cause of leaving, without a model.

    One minus a Kaplan-Meier curve that takes the other causes as censoring says what would
    happen if nobody could leave for them; this says what happens.

    Args:
        level: Confidence level.
        interval: ``"log-log"``, ``"log"`` (R's default) or ``"plain"``; standard errors are the
            infinitesimal jackknife's, as in R's ``survfit``.
        horizon: A day at which the result's rows and verdict give the incidence; each group's
            last day by default.

    Raises:
        ArgumentError: When an option is out of range.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(pd.DataFrame({
        ...     "duration": [5, 8, 8, 12, 20, 30],
        ...     "event": ["moved", "unhappy", "stayed", "moved", "unhappy", "stayed"]}), censored="stayed")
        >>> found = AalenJohansen().fit(data).cumulative_incidence_at([12])
        >>> found[["cause", "estimate"]].round(4).values.tolist()
        [['moved', 0.3889], ['unhappy', 0.1667]]

    References:
        Aalen, Johansen (1978), Scandinavian Journal of Statistics 5.
    """

    level: float = field(default=0.95, kw_only=True)
    interval: Interval = field(default="log-log", kw_only=True)
    horizon: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_level(self.level)
        step_interval([1.0], [0.0], kind=self.interval)
        if self.horizon is not None and not self.horizon > 0:
            raise ArgumentError(f"horizon must be a positive number of days; got {self.horizon!r}")

    def fit(self, data: ChurnData, *, by: str | None = None) -> CumulativeIncidence:
        """Estimate one set of curves, or one per level of ``by``.

        Clusters widen the intervals, and so do customers with several spells.

        Args:
            data: Follow-up whose ``event`` tells causes apart; with one cause, its share.
            by: Covariate to group by.

        Raises:
            ContractError: When nobody left, or ``by`` is missing or has gaps.
        """
        causes = data.cause_labels or (1,)
        curves = [
            (
                group,
                aalen_johansen(
                    group.stop,
                    group.event if group.causes is None else group.causes,
                    causes=len(causes),
                    entry=group.start if group.start.any() else None,
                    weights=group.weights,
                    cluster=group.cluster,
                ),
            )
            for group in grouped(data, by, causes=True)
        ]
        return CumulativeIncidence(
            groups=tuple(curves),
            causes=causes,
            by=by,
            level=self.level,
            interval=self.interval,
            horizon=self.horizon,
            unit=data.unit,
            clock=data.clock,
            checks=(*data.checks, *_cluster_check(data)),
        )


def _cluster_check(data: ChurnData) -> list[Check]:
    if data.cluster is None:
        return []
    count = int(data.cluster.max()) + 1
    return [
        Check(
            message("Number of clusters"),
            "warning" if count < 30 else "passed",
            messages(
                "The intervals rest on {count} cluster.", "The intervals rest on {count} clusters.", count
            ),
        )
    ]


@dataclass(frozen=True, repr=False)
class CumulativeIncidence(Result):
    """Aalen-Johansen curves by group and cause.

    Attributes:
        groups: Each group's follow-up and curves.
        causes: Labels of the causes.
        by: Covariate grouped by, or None.
        level: Confidence level.
        interval: Kind of interval.
        horizon: Day the verdict speaks of, or None for each group's last.
        unit: Unit of time.
        clock: What day 0 is.
    """

    title: ClassVar[str] = "Cumulative incidence"

    groups: tuple[tuple[Group, IncidenceCurve], ...]
    causes: tuple[Any, ...]
    by: str | None
    level: float
    interval: Interval
    horizon: float | None
    unit: str
    clock: str

    @property
    def labels(self) -> list[Any]:
        """The groups' labels in order."""
        return [g.label for g, _ in self.groups]

    @property
    def last(self) -> float:
        """The last day any group is watched."""
        return max(c.last for _, c in self.groups)

    @property
    def cumulative_incidence_(self) -> pd.DataFrame:
        """All steps: ``group, cause, time, estimate, low, high, at_risk, events``."""
        frames = []
        for group, curve in self.groups:
            for c, cause in enumerate(self.causes):
                low, high = incidence_interval(curve, c, level=self.level, kind=self.interval)
                frames.append(
                    pd.DataFrame(
                        {
                            "group": [group.label] * (len(curve.times) + 1),
                            "cause": [cause] * (len(curve.times) + 1),
                            "time": np.concatenate([[curve.first], curve.times]),
                            "estimate": np.concatenate([[0.0], curve.incidence[c]]),
                            "low": np.concatenate([[np.nan], low]),
                            "high": np.concatenate([[np.nan], high]),
                            "at_risk": np.concatenate([[np.nan], curve.at_risk]),
                            "events": np.concatenate([[0.0], curve.events[c]]),
                        }
                    )
                )
        return pd.concat(frames, ignore_index=True)

    def cumulative_incidence_at(self, times: ArrayLike) -> pd.DataFrame:
        """Return the share who left by given days, per cause.

        Args:
            times: Days on the customers' clocks.

        Returns:
            ``group, cause, time, estimate, se, low, high``; NaN beyond the group's last day. The
            limits are NaN while nobody has left for the cause.
        """
        asked = np.atleast_1d(np.asarray(times, dtype=np.float64))
        frames = []
        for group, curve in self.groups:
            for c, cause in enumerate(self.causes):
                low, high = incidence_interval(curve, c, level=self.level, kind=self.interval)
                error = np.sqrt(curve.variance[c])
                frames.append(
                    pd.DataFrame(
                        {
                            "group": [group.label] * len(asked),
                            "cause": [cause] * len(asked),
                            "time": asked,
                            "estimate": curve_at(curve, curve.incidence[c], asked, before=0.0),
                            "se": curve_at(curve, error, asked, before=0.0),
                            "low": curve_at(curve, low, asked, before=np.nan),
                            "high": curve_at(curve, high, asked, before=np.nan),
                        }
                    )
                )
        return pd.concat(frames, ignore_index=True)

    def survival_at(self, times: ArrayLike) -> pd.DataFrame:
        """Return the share still there on given days; with the incidences it adds up to 1.

        Returns:
            ``group, time, estimate, se, low, high``; NaN beyond the group's last day.
        """
        asked = np.atleast_1d(np.asarray(times, dtype=np.float64))
        frames = []
        for group, curve in self.groups:
            with np.errstate(divide="ignore", invalid="ignore"):
                log_variance = curve.survival_variance / curve.survival**2
            low, high = step_interval(curve.survival, log_variance, level=self.level, kind=self.interval)
            error = np.sqrt(curve.survival_variance)
            frames.append(
                pd.DataFrame(
                    {
                        "group": [group.label] * len(asked),
                        "time": asked,
                        "estimate": curve_at(curve, curve.survival, asked, before=1.0),
                        "se": curve_at(curve, error, asked, before=0.0),
                        "low": curve_at(curve, low, asked, before=1.0),
                        "high": curve_at(curve, high, asked, before=1.0),
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def one_minus_kaplan_meier_at(self, times: ArrayLike) -> pd.DataFrame:
        """Return what one would get with the other causes as censoring, to show the error.

        It overstates every cause: who left for another cannot leave for this one any more.

        Returns:
            ``group, cause, time, estimate``; NaN beyond the group's last day.
        """
        asked = np.atleast_1d(np.asarray(times, dtype=np.float64))
        frames = []
        for group, curve in self.groups:
            for c, cause in enumerate(self.causes):
                naive = _kaplan_meier_of(curve, c)
                frames.append(
                    pd.DataFrame(
                        {
                            "group": [group.label] * len(asked),
                            "cause": [cause] * len(asked),
                            "time": asked,
                            "estimate": 1 - curve_at(naive, naive.survival, asked, before=1.0),
                        }
                    )
                )
        return pd.concat(frames, ignore_index=True)

    def at_risk_table(self, times: ArrayLike | None = None) -> pd.DataFrame:
        """Return ``group, time, at_risk, events, censored`` and ``events_<cause>`` per cause.

        Args:
            times: When to count; some round times by default. ``at_risk`` is the number still
                watched just before each, the others count up to and including it.
        """
        asked = few_times(self.last) if times is None else np.atleast_1d(np.asarray(times, dtype=np.float64))
        whole = [(group, _kaplan_meier_of(curve, None)) for group, curve in self.groups]
        table = at_risk_rows(whole, asked)
        for c, cause in enumerate(self.causes):
            counts = [
                np.concatenate([[0.0], np.cumsum(curve.events[c])])[
                    np.searchsorted(curve.times, asked, side="right")
                ]
                for _, curve in self.groups
            ]
            table[f"events_{cause}"] = pd.Series(np.concatenate(counts)).astype(table["events"].dtype)
        return table

    def _shares(self) -> list[tuple[Group, float, list[tuple[Any, Estimate]]]]:
        """Return each group, the day told of it, and its share per cause."""
        found = []
        for group, curve in self.groups:
            day = curve.last if self.horizon is None else self.horizon
            frame = self.cumulative_incidence_at([day])
            mine = frame[frame["group"] == group.label]
            rows = mine[["estimate", "low", "high"]].to_numpy(dtype=np.float64)
            method = message("{interval}, infinitesimal jackknife", interval=self.interval)
            estimates = [
                (
                    cause,
                    Estimate(
                        float(value), float(low), float(high), self.level, method, group.customers, "fraction"
                    ),
                )
                for cause, (value, low, high) in zip(self.causes, rows, strict=True)
            ]
            found.append((group, float(day), estimates))
        return found

    def _rows(self) -> Iterable[Row]:
        for group, day, estimates in self._shares():
            for cause, estimate in estimates:
                yield Row(
                    message("left for {cause} by day {day}", cause=cause, day=number(day, digits=0)),
                    estimate,
                    group=group_words(self.by, group.label),
                    estimand=f"F({day:g})",
                    extra={"cause": cause},
                )

    def _verdict(self) -> str:
        said = []
        for group, day, estimates in self._shares():
            if np.isnan(estimates[0][1].value):
                said.append(
                    message(
                        "Nobody of {group} is watched until day {day}, so nothing is known about it.",
                        group=with_group(self.by, group.label),
                        day=number(day, digits=0),
                    )
                )
                continue
            parts = [
                message(
                    "{share} for {cause} ({interval})", share=percent(e.value), cause=c, interval=e.interval()
                )
                for c, e in estimates
            ]
            said.append(
                message(
                    "By day {day} after {clock}, of {group} had left: {parts}.",
                    day=number(day, digits=0),
                    clock=self.clock,
                    group=with_group(self.by, group.label),
                    parts="; ".join(parts),
                )
            )
        return " ".join(said)

    def plot(self, ax: Axes | None = None, *, group: Any = None, naive: bool = True) -> Axes:
        """Draw one group's incidences stacked up to everybody, with 1 - KM overlaid.

        Args:
            ax: Axes to draw on.
            group: Which group; needed where there are several.
            naive: Whether to overlay one minus Kaplan-Meier, which overstates each cause.

        Raises:
            ArgumentError: When ``group`` is needed or is not there.
        """
        from loyalty_research.plots.competing import stacked_incidence

        if group is None and len(self.groups) > 1:
            raise ArgumentError(f"name the group to draw; the groups are {listed(self.labels)}")
        if group is not None and group not in self.labels:
            raise ArgumentError(f"there is no group {group!r}; the groups are {listed(self.labels)}")
        place = 0 if group is None else self.labels.index(group)
        curve = self.groups[place][1]
        times = np.concatenate([[curve.first], curve.times])
        shares = pd.DataFrame({"time": times})
        wrong = pd.DataFrame({"time": times})
        for c, cause in enumerate(self.causes):
            shares[str(cause)] = np.concatenate([[0.0], curve.incidence[c]])
            wrong[str(cause)] = np.concatenate([[0.0], 1 - _kaplan_meier_of(curve, c).survival])
        return stacked_incidence(
            shares,
            wrong if naive and len(self.causes) > 1 else None,
            ax=ax,
            time_label=message("{unit} since {clock}", unit=self.unit.capitalize(), clock=self.clock),
        )


def _kaplan_meier_of(curve: IncidenceCurve, cause: int | None) -> SurvivalCurve:
    """Return the Kaplan-Meier curve of a cause with the others censored, or of leaving at all."""
    everybody = curve.events.sum(axis=0)
    events = everybody if cause is None else curve.events[cause]
    return curve_from_counts(
        RiskCounts(
            curve.times, curve.at_risk, events, curve.censored + everybody - events, curve.n, curve.first
        )
    )
