"""Mean cumulative function: how often customers have left, on average, by each day."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from loyalty_research.churn import mean_cumulative_core as core
from loyalty_research.churn.groups import few_times, group_codes
from loyalty_research.churn.intervals import require_events, where
from loyalty_research.churn.recurrent import RecurrentData
from loyalty_research.churn.words import group_words, with_group
from loyalty_research.errors import ArgumentError, ContractError, listed
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.churn.followup import Followup

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["MeanCumulativeFunction", "MeanCumulativeTest", "MeanCumulatives"]

METHOD = "Lawless-Nadeau"
ALL = "all"


@dataclass(frozen=True, slots=True)
class MeanCumulativeFunction:
    """Mean number of events per customer, without a model.

    Args:
        level: Confidence level.
        interval: ``"log"``, which stays above 0, or ``"plain"``.

    Raises:
        ArgumentError: When an option is not one of the above.

    Examples:
        >>> from loyalty_research.churn import RecurrentData
        >>> frame = pd.DataFrame({"id": [1, 1, 2, 3], "start": [0, 12, 0, 0], "stop": [10, 30, 20, 25],
        ...                       "event": [1, 0, 1, 0]})
        >>> fit = MeanCumulativeFunction().fit(RecurrentData.from_intervals(frame, id="id"))
        >>> fit.mean_at([10, 20])[["time", "estimate", "se"]].round(3).values.tolist()
        [[10.0, 0.333, 0.272], [20.0, 0.667, 0.272]]

    References:
        Nelson (1995), Technometrics 37; Lawless, Nadeau (1995), Technometrics 37, eq. 2.3 and
        2.8; Cook, Lawless (2007), section 3.4 (test). Equal to R's ``survfit`` with ``id``.
    """

    level: float = field(default=0.95, kw_only=True)
    interval: Literal["log", "plain"] = field(default="log", kw_only=True)

    def __post_init__(self) -> None:
        check_level(self.level)
        if self.interval not in ("log", "plain"):
            raise ArgumentError(f"interval must be 'log' or 'plain'; got {self.interval!r}")

    def fit(self, data: Followup, *, by: str | None = None) -> MeanCumulatives:
        """Estimate one function, or one per level of ``by``.

        The mean is over all customers watched. In data from transactions somebody away counts
        with those who do not leave; in data from intervals only the intervals count.

        Args:
            data: Recurrent follow-up (or first events).
            by: Covariate that stays the same for a customer.

        Raises:
            ContractError: When nobody left, or ``by`` is missing, has gaps, or changes for a
                customer.
        """
        require_events(data)
        if isinstance(data, RecurrentData):
            data = data.watched()
        codes, labels = (np.zeros(len(data.stop), dtype=np.int64), [ALL]) if by is None else _codes(data, by)
        cluster = data.customer if data.cluster is None else data.cluster
        return MeanCumulatives(
            steps=core.steps(data.start, data.stop, data.event, data.weights, codes, len(labels)),
            rows=core.Rows(data.start, data.stop, data.event, data.weights, codes, cluster),
            labels=tuple(labels),
            customers=tuple(len(np.unique(data.customer[codes == g])) for g in range(len(labels))),
            by=by,
            level=self.level,
            interval=self.interval,
            unit=data.unit,
            clock=data.clock,
            checks=data.checks,
        )


def _codes(data: Followup, by: str) -> tuple[Ints, list[Any]]:
    found, labels = group_codes(data, by)
    codes = np.asarray(found, dtype=np.int64)
    first = np.unique(data.customer, return_index=True)[1]
    changed = codes != codes[first][data.customer]
    if changed.any():
        raise ContractError(
            f"covariates.{by} changes for a customer in {where(changed)}; a mean per group needs groups that stay: "
            "use the value at the start, or RecurrentCox, which takes changing values"
        )
    return codes, list(labels)


@dataclass(frozen=True, repr=False)
class MeanCumulatives(Result):
    """Mean cumulative functions by group.

    Attributes:
        steps: Per group, its times, means and numbers at risk.
        rows: The follow-up they rest on.
        labels: The groups.
        customers: Customers in each.
        by: Covariate grouped by, or None.
        level: Confidence level.
        interval: Kind of interval.
        unit: Unit of time.
        clock: What day 0 is.
    """

    title: ClassVar[str] = "Mean cumulative function"

    steps: tuple[core.Steps, ...]
    rows: core.Rows
    labels: tuple[Any, ...]
    customers: tuple[int, ...]
    by: str | None
    level: float
    interval: Literal["log", "plain"]
    unit: str
    clock: str

    def mean_at(self, times: ArrayLike) -> pd.DataFrame:
        """Return ``group, time, estimate, se, low, high``; NaN beyond the group's last day.

        Args:
            times: Days on the clock.
        """
        asked = _asked(times)
        frames = [self._group_at(g, asked) for g in range(len(self.labels))]
        return pd.concat(frames, ignore_index=True)

    def _group_at(self, g: int, asked: Floats) -> pd.DataFrame:
        value = core.mean_at(self.steps[g], asked)
        squares = [float((core.influence(self.rows, self.steps[g], g, float(t)) ** 2).sum()) for t in asked]
        error = np.where(np.isnan(value), np.nan, np.sqrt(squares))
        low, high = self._limits(value, error)
        return pd.DataFrame(
            {
                "group": [self.labels[g]] * len(asked),
                "time": asked,
                "estimate": value,
                "se": error,
                "low": low,
                "high": high,
            }
        )

    def _limits(self, value: Floats, error: Floats) -> tuple[Floats, Floats]:
        from scipy.special import ndtri

        z = float(ndtri(0.5 + self.level / 2))
        if self.interval == "plain":
            return value - z * error, value + z * error
        known = value > 0
        factor = np.exp(z * np.divide(error, value, out=np.full_like(value, np.nan), where=known))
        # before the first event the mean is 0 and has no interval on the log scale
        return value / factor, value * factor

    def difference(self, group: Any, reference: Any, *, at: float) -> Estimate:
        """Return the group's mean minus the reference's on a day.

        Args:
            group: A label.
            reference: The label compared with.
            at: Day on the clock.

        Raises:
            ArgumentError: When a group is not there, or is not watched until the day.

        Examples:
            >>> from loyalty_research.churn import RecurrentData
            >>> frame = pd.DataFrame({"id": range(8), "start": 0, "stop": [3, 5, 6, 9, 4, 9, 9, 9],
            ...     "event": [1, 1, 1, 0, 1, 0, 0, 0], "arm": ["a"] * 4 + ["b"] * 4})
            >>> fit = MeanCumulativeFunction().fit(RecurrentData.from_intervals(frame, id="id"), by="arm")
            >>> round(fit.difference("b", "a", at=8).value, 3)
            -0.833
        """
        from scipy.special import ndtr, ndtri

        one, other = (self._place(label) for label in (group, reference))
        day = _asked(at)
        value = float((core.mean_at(self.steps[one], day) - core.mean_at(self.steps[other], day))[0])
        if np.isnan(value):
            raise ArgumentError(
                f"not every group is watched until day {float(day[0]):g}; choose an earlier day"
            )
        mine, theirs = (core.influence(self.rows, self.steps[g], g, float(day[0])) for g in (one, other))
        error = float(np.sqrt(((mine - theirs) ** 2).sum()))
        z = float(ndtri(0.5 + self.level / 2))
        return Estimate(
            value,
            value - z * error,
            value + z * error,
            self.level,
            METHOD,
            self.customers[one] + self.customers[other],
            p_value=float(2 * ndtr(-abs(value) / error)) if error > 0 else None,
        )

    def _place(self, label: Any) -> int:
        if label not in self.labels:
            raise ArgumentError(f"there is no group {label!r}; the groups are {listed(self.labels)}")
        return self.labels.index(label)

    def test(self) -> MeanCumulativeTest:
        """Test whether all groups have the same function, with customers as units.

        Raises:
            ArgumentError: When there is one group only.
        """
        if len(self.labels) < 2:
            raise ArgumentError("a test needs groups; fit with by=")
        statistic, freedom, p = core.score_test(self.rows, len(self.labels))
        return MeanCumulativeTest(statistic, freedom, p, sum(self.customers), self.by)

    def at_risk_table(self, times: ArrayLike | None = None) -> pd.DataFrame:
        """Return ``group, time, at_risk, events``; events count up to each time.

        Args:
            times: When to count; some round times by default. ``at_risk`` is the number watched
                just before each (at 0: from the start).
        """
        asked = few_times(self.last) if times is None else _asked(times)
        return pd.concat(
            [
                core.counts(self.rows, g, asked).assign(group=label)[["group", "time", "at_risk", "events"]]
                for g, label in enumerate(self.labels)
            ],
            ignore_index=True,
        )

    @property
    def last(self) -> float:
        """The last day any group is watched."""
        return max(s.last for s in self.steps)

    def _ends(self) -> list[tuple[Any, float, Estimate]]:
        day = min(s.last for s in self.steps)
        frame = self.mean_at([day])
        return [
            (
                row["group"],
                day,
                Estimate(
                    float(row["estimate"]),
                    float(row["low"]),
                    float(row["high"]),
                    self.level,
                    f"{METHOD}, {self.interval}",
                    n,
                ),
            )
            for row, n in zip(frame.to_dict("records"), self.customers, strict=True)
        ]

    def _rows(self) -> Iterable[Row]:
        for label, day, estimate in self._ends():
            yield Row(
                message("mean number of times left by day {day}", day=number(day, digits=0)),
                estimate,
                group=group_words(self.by, label),
                estimand="M(t)",
            )

    def _verdict(self) -> str:
        ends = self._ends()
        parts = [
            message(
                "{mean} ({group}; {interval})",
                mean=number(e.value, digits=2),
                group=with_group(self.by, label),
                interval=e.interval(),
            )
            for label, _, e in ends
        ]
        return message(
            "By day {day} after {clock}, customers had left this many times on average, returns counted: {parts}.",
            day=number(ends[0][1], digits=0),
            clock=self.clock,
            parts="; ".join(parts),
        )

    def plot(self, ax: Axes | None = None, *, times: ArrayLike | None = None) -> Axes:
        """Draw the functions with their bands, and the numbers at risk beneath."""
        from loyalty_research.plots.validation import mean_cumulative

        names = {label: group_words(self.by, label) for label in self.labels}
        frames = [
            self._group_at(g, np.unique(np.concatenate([[0.0], _thinned(own.times), [own.last]])))
            for g, own in enumerate(self.steps)
        ]
        counts = self.at_risk_table(times)
        curves = pd.concat(frames, ignore_index=True)
        return mean_cumulative(
            curves.assign(group=curves["group"].map(names)),
            counts.assign(group=counts["group"].map(names)),
            ax=ax,
            time_label=message("{unit} since {clock}", unit=self.unit.capitalize(), clock=self.clock),
            level=self.level,
        )


def _thinned(times: Floats, *, most: int = 400) -> Floats:
    """Return at most some of the times, evenly spread."""
    if len(times) <= most:
        return times
    return times[np.unique(np.linspace(0, len(times) - 1, most).astype(np.int64))]


def _asked(times: ArrayLike) -> Floats:
    asked = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if asked.ndim != 1 or not np.isfinite(asked).all() or (asked < 0).any():
        raise ArgumentError("times must be days on the clock, 0 or later")
    return asked


@dataclass(frozen=True, repr=False)
class MeanCumulativeTest(Result):
    """Whether groups leave equally often.

    Attributes:
        statistic: Robust score statistic.
        degrees_of_freedom: Groups less one.
        p_value: Its p-value.
        n: Customers.
        by: Covariate grouped by.
    """

    title: ClassVar[str] = "Test of equal mean functions"

    statistic: float
    degrees_of_freedom: int
    p_value: float
    n: int
    by: str | None

    def _rows(self) -> Iterable[Row]:
        yield Row(
            message("robust score test"),
            Estimate(
                self.statistic,
                np.nan,
                np.nan,
                0.95,
                "chi-squared, customers as units",
                self.n,
                p_value=self.p_value,
            ),
            estimand=message("equal mean functions"),
        )

    def _verdict(self) -> str:
        p = number(self.p_value, digits=3)
        if self.p_value < 0.05:
            return message("Groups differ in how often they leave (p {p}).", p=p)
        return message("No clear difference between groups in how often they leave (p {p}).", p=p)
