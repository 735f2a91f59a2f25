"""Restricted mean time until leaving: the summary that needs no proportional hazards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn.groups import cluster_check, group_curves
from loyalty_research.churn.words import group_words, with_group
from loyalty_research.errors import ArgumentError, listed
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.survival import restricted_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loyalty_research.churn.data import ChurnData

__all__ = ["RestrictedMeans", "common_horizon", "rmst", "rmst_difference"]

METHOD = "normal, Greenwood-type"


@dataclass(frozen=True, repr=False)
class RestrictedMeans(Result):
    """Mean time still there, up to a horizon, by group.

    Attributes:
        by: Covariate grouped by, or None.
        tau: Horizon.
        means: One row per group: ``group, mean, se, customers``.
        reference: Group the others are compared with, or None.
        level: Confidence level.
        unit: Unit of time.
    """

    title: ClassVar[str] = "Restricted mean time"

    by: str | None
    tau: float
    means: pd.DataFrame
    reference: Any
    level: float
    unit: str

    def mean_of(self, group: Any) -> Estimate:
        """Return the restricted mean of one group; its limits are NaN where they are not known."""
        row = self._row(group)
        return self._estimate(row["mean"], row["se"], row["customers"])

    def difference(self, group: Any) -> Estimate:
        """Return the group's mean minus the reference's; without an interval where one has none.

        Raises:
            ArgumentError: When no reference was named, or the group is not there.
        """
        if self.reference is None:
            raise ArgumentError("name a reference group to compare with")
        one, other = self._row(group), self._row(self.reference)
        known = one["se"] > 0 and other["se"] > 0
        return self._estimate(
            one["mean"] - other["mean"],
            math.hypot(one["se"], other["se"]) if known else 0.0,
            one["customers"] + other["customers"],
            test=True,
        )

    def _row(self, group: Any) -> dict[str, Any]:
        rows = self.means[self.means["group"] == group]
        if len(rows) != 1:
            raise ArgumentError(
                f"there is no group {group!r}; the groups are {', '.join(map(str, self.means['group']))}"
            )
        return {str(k): v for k, v in rows.iloc[0].items()}

    def _estimate(self, value: float, se: float, n: int, *, test: bool = False) -> Estimate:
        from scipy.special import ndtr, ndtri

        # without anybody leaving at different times there is no spread to judge from
        z = float(ndtri(0.5 + self.level / 2)) if se > 0 else math.nan
        p = float(2 * ndtr(-abs(value / se))) if test and se > 0 else None
        return Estimate(
            float(value),
            float(value - z * se),
            float(value + z * se),
            self.level,
            METHOD,
            int(n),
            self.unit,
            p,
        )

    @property
    def others(self) -> list[Any]:
        """The groups that are compared with the reference."""
        return [g for g in self.means["group"] if g != self.reference]

    def _rows(self) -> Iterable[Row]:
        name = message("mean time still there, up to day {tau}", tau=number(self.tau, digits=0))
        for group in self.means["group"]:
            yield Row(
                name, self.mean_of(group), group=group_words(self.by, group), estimand=f"RMST({self.tau:g})"
            )
        if self.reference is not None:
            for group in self.others:
                yield Row(
                    message("difference in mean time"),
                    self.difference(group),
                    group=message(
                        "{group} minus {reference}",
                        group=group_words(self.by, group),
                        reference=group_words(self.by, self.reference),
                    ),
                    estimand=f"RMST({self.tau:g})",
                )

    def _verdict(self) -> str:
        tau = number(self.tau, digits=0)
        if self.reference is None or not self.others:
            parts = [
                message("{group}: {mean}", group=group_words(self.by, g), mean=self.mean_of(g).format())
                for g in self.means["group"]
            ]
            return message(
                "Mean time still there within {tau} days: {parts}.", tau=tau, parts="; ".join(parts)
            )
        return " ".join(self.words(g) for g in self.others)

    def words(self, group: Any) -> str:
        """Say what the group's difference from the reference says."""
        return difference_words(
            self.difference(group),
            with_group(self.by, group),
            with_group(self.by, self.reference),
            self.tau,
        )

    @property
    def headline(self) -> str:
        """What the widest difference says, without its interval.

        Raises:
            ArgumentError: When no reference was named.
        """
        group = self.widest
        gap = self.difference(group)
        names = {
            "group": with_group(self.by, group),
            "reference": with_group(self.by, self.reference),
            "days": number(self.tau, digits=0),
            "unit": self.unit,
            "gap": number(abs(gap.value), digits=1),
        }
        if math.isnan(gap.low):
            return _without_interval(gap, **names)
        if gap.low <= 0 <= gap.high:
            return message("Within {days} {unit}, {group} and {reference} stay about equally long.", **names)
        if gap.value > 0:
            return message(
                "Within {days} {unit}, {group} stays {gap} {unit} longer than {reference}.", **names
            )
        return message("Within {days} {unit}, {group} stays {gap} {unit} less than {reference}.", **names)

    @property
    def widest(self) -> Any:
        """The group that differs most from the reference."""
        return max(self.others, key=lambda g: abs(self.difference(g).value))


def difference_words(estimate: Estimate, group: str, reference: str, tau: float) -> str:
    """Say what a difference in restricted means says."""
    days, unit = number(tau, digits=0), estimate.unit or ""

    def shown(value: float, *, signed: bool = False) -> str:
        return number(value, digits=1, signed=signed)

    if math.isnan(estimate.low):
        return _without_interval(
            estimate,
            days=days,
            unit=unit,
            group=group,
            reference=reference,
            gap=number(abs(estimate.value), digits=1),
        )
    interval = message(
        "{level} interval {low} to {high} {unit}",
        level=percent(estimate.level, digits=0),
        low=shown(estimate.low, signed=True),
        high=shown(estimate.high, signed=True),
        unit=unit,
    )
    if estimate.low <= 0 <= estimate.high:
        return message(
            "Within {days} {unit}, {group} and {reference} stay about equally long (difference {gap} {unit}; "
            "{interval}).",
            days=days,
            group=group,
            reference=reference,
            gap=shown(estimate.value, signed=True),
            interval=interval,
            unit=unit,
        )
    if estimate.value > 0:
        return message(
            "Within {days} {unit}, {group} stays {gap} {unit} longer than {reference} ({interval}).",
            days=days,
            group=group,
            reference=reference,
            gap=shown(estimate.value),
            interval=interval,
            unit=unit,
        )
    return message(
        "Within {days} {unit}, {group} stays {gap} {unit} less than {reference} ({interval}).",
        days=days,
        group=group,
        reference=reference,
        gap=shown(-estimate.value),
        interval=interval,
        unit=unit,
    )


def _without_interval(
    estimate: Estimate, *, days: str, unit: str, gap: str, group: str, reference: str
) -> str:
    """Say a difference that has no interval."""
    if estimate.value == 0:
        return message(
            "Within {days} {unit}, nobody left {group} or {reference}, so nothing can be said of their difference.",
            days=days,
            unit=unit,
            group=group,
            reference=reference,
        )
    if estimate.value > 0:
        return message(
            "Within {days} {unit}, {group} stays {gap} {unit} longer than {reference}, but in one of the groups nobody "
            "left (or all at once), so it cannot be said how sure that is.",
            days=days,
            unit=unit,
            gap=gap,
            group=group,
            reference=reference,
        )
    return message(
        "Within {days} {unit}, {group} stays {gap} {unit} less than {reference}, but in one of the groups nobody left "
        "(or all at once), so it cannot be said how sure that is.",
        days=days,
        unit=unit,
        gap=gap,
        group=group,
        reference=reference,
    )


def _interval_check(means: pd.DataFrame, by: str | None) -> list[Check]:
    """Say which groups have no interval."""
    flat = [group_words(by, g) for g, se in zip(means["group"], means["se"], strict=True) if not se > 0]
    if not flat:
        return []
    return [
        Check(
            message("Events before the horizon"),
            "warning",
            message(
                "{groups}: nobody left before the horizon (or all on one day), so no interval can be given.",
                groups=", ".join(flat),
            ),
        )
    ]


def rmst(
    data: ChurnData, *, tau: float, by: str | None = None, reference: Any = None, level: float = 0.95
) -> RestrictedMeans:
    """Return the mean time still there up to ``tau``: the area under the survival curve.

    Args:
        data: Follow-up of customers.
        tau: Horizon, named before looking at the curves.
        by: Covariate to group by.
        reference: Group to compare the others with.
        level: Confidence level.

    Raises:
        ArgumentError: When ``tau`` lies beyond some group's follow-up, or ``reference`` is no group.
        ContractError: When nobody left, or ``by`` is missing or has gaps.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(pd.DataFrame({"duration": [5, 8, 8, 12], "event": [1, 1, 0, 1]}))
        >>> rmst(data, tau=10).mean_of("all").value
        8.25

    References:
        Royston, Parmar (2013), BMC Medical Research Methodology 13; Andersen et al. (1993),
        eq. 4.3.25.
    """
    check_level(level)
    rows = []
    for group, curve in group_curves(data, by):
        if curve.first > 0:
            raise ArgumentError(
                f"group {group.label} is watched from day {curve.first:g} only, so its mean is not known"
            )
        try:
            mean, se = restricted_mean(curve, tau)
        except ArgumentError as error:
            raise ArgumentError(f"group {group.label}: {error}") from error
        rows.append({"group": group.label, "mean": mean, "se": se, "customers": group.customers})
    means = pd.DataFrame(rows)
    if reference is not None and reference not in set(means["group"]):
        raise ArgumentError(f"reference {reference!r} is no group; the groups are {listed(means['group'])}")
    return RestrictedMeans(
        by=by,
        tau=float(tau),
        means=means,
        reference=reference,
        level=level,
        unit=data.unit,
        checks=(*data.checks, *cluster_check(data), *_interval_check(means, by)),
    )


def rmst_difference(data: ChurnData, *, by: str, tau: float, reference: Any, level: float = 0.95) -> Estimate:
    """Return how much longer one group stays than the reference within ``tau``.

    Args:
        data: Follow-up of customers.
        by: Covariate with two groups.
        tau: Horizon, named before looking at the curves.
        reference: The group to compare with; the estimate is the other minus this one.
        level: Confidence level.

    Raises:
        ArgumentError: When there are not two groups (use :func:`rmst` for more), or as there.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(pd.DataFrame({
        ...     "duration": [5, 8, 8, 12], "event": [1, 1, 0, 1], "plan": list("abab")}))
        >>> rmst_difference(data, by="plan", tau=8, reference="a").value
        1.5
    """
    means = rmst(data, tau=tau, by=by, reference=reference, level=level)
    if len(means.others) != 1:
        raise ArgumentError(f"{by} has {len(means.means)} groups; rmst_difference compares two, rmst() more")
    return means.difference(means.others[0])


def common_horizon(data: ChurnData, by: str | None) -> float:
    """Return the last day on which every group is still watched, or has all left.

    A choice that looks at follow-up but not at outcomes, for want of a horizon named beforehand.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(pd.DataFrame({
        ...     "duration": [5, 8, 8, 12], "event": [1, 0, 0, 0], "plan": list("abab")}))
        >>> common_horizon(data, "plan")
        8.0
    """
    lasts = [c.last for _, c in group_curves(data, by) if c.survival[-1] > 0]
    return float(np.min(lasts)) if lasts else data.last
