"""How the risk of leaving changes the longer a customer has stayed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn.groups import group_curves
from loyalty_research.churn.words import group_words, with_group
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.survival import RiskCounts, curve_from_counts, step_interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.churn.data import ChurnData
    from loyalty_research.stats.survival import SurvivalCurve

__all__ = ["TenureHazards", "hazard_by_tenure"]


@dataclass(frozen=True, repr=False)
class TenureHazards(Result):
    """Share of those there at the start of each period who leave within it.

    Attributes:
        by: Covariate grouped by, or None.
        width: Length of a period.
        periods: One row per group and period: ``group, start, stop, at_risk, events, estimate,
            low, high``.
        level: Confidence level.
        unit: Unit of time.
        clock: What day 0 is.
    """

    title: ClassVar[str] = "Hazard by tenure"

    by: str | None
    width: float
    periods: pd.DataFrame
    level: float
    unit: str
    clock: str

    def _estimate(self, row: dict[Any, Any]) -> Estimate:
        n = round(float(row["at_risk"]))
        return Estimate(row["estimate"], row["low"], row["high"], self.level, "log-log", n, "fraction")

    def _rows(self) -> Iterable[Row]:
        for row in self.periods.to_dict("records"):
            yield Row(
                message("leave within {width} {unit}", width=number(self.width, digits=0), unit=self.unit),
                self._estimate(row),
                group=group_words(self.by, row["group"]),
                estimand=f"1 - S({row['stop']:g})/S({row['start']:g})",
            )

    def _verdict(self) -> str:
        return " ".join(self._sentence(g) for g in dict.fromkeys(self.periods["group"]))

    def _sentence(self, group: Any) -> str:
        rows = self.periods[self.periods["group"] == group].to_dict("records")
        first, last = self._estimate(rows[0]), self._estimate(rows[-1])
        who = with_group(self.by, group)
        width = number(self.width, digits=0)
        lead = message(
            "Of {who}, {share} leave within the first {width} {unit} after {clock} ({interval}).",
            who=who,
            share=first.format(),
            width=width,
            unit=self.unit,
            clock=self.clock,
            interval=first.interval(),
        )
        if len(rows) == 1:
            return lead
        then = {
            "lead": lead,
            "day": number(rows[-1]["start"], digits=0),
            "share": last.format(),
            "width": width,
            "unit": self.unit,
            "interval": last.interval(),
        }
        if last.high < first.low:
            return message(
                "{lead} Of those still there on day {day} it is {share} within the next {width} {unit} "
                "({interval}): those who have stayed are likelier to stay on, be it habit or that the keener are left.",
                **then,
            )
        return message(
            "{lead} Of those still there on day {day} it is {share} within the next {width} {unit} ({interval}).",
            **then,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the share leaving in each period, with its interval."""
        from loyalty_research.plots.tenure import hazard_periods

        names = {g: group_words(self.by, g) for g in dict.fromkeys(self.periods["group"])}
        return hazard_periods(
            self.periods.assign(group=self.periods["group"].map(names)),
            ax=ax,
            time_label=message("{unit} since {clock}", unit=self.unit.capitalize(), clock=self.clock),
            share_label=message(
                "Share of those there who leave\nwithin {width} {unit} ({level} interval)",
                width=number(self.width, digits=0),
                unit=self.unit,
                level=percent(self.level, digits=0),
            ),
        )


def hazard_by_tenure(
    data: ChurnData, *, width: float = 30, by: str | None = None, fewest: int = 20, level: float = 0.95
) -> TenureHazards:
    """Estimate the risk of leaving by time since the customer's clock began.

    The share is the product-limit estimate within the period, so customers who come under watch
    or go out of sight during it count for the part they were seen.

    Args:
        data: Follow-up of customers; late entry and groups that change over time are allowed.
        width: Length of a period, in the data's unit.
        by: Covariate to group by.
        fewest: Periods that begin with fewer watched are left out.
        level: Confidence level.

    Raises:
        ArgumentError: When ``width`` or ``fewest`` is not positive.
        ContractError: When nobody left, ``by`` is missing or has gaps, or no period has enough
            customers.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import ChurnData, hazard_by_tenure
        >>> data = ChurnData.from_durations(pd.DataFrame({
        ...     "duration": [5, 8, 20, 40, 40, 40, 60, 60], "event": [1, 1, 1, 0, 1, 0, 0, 0]}))
        >>> hazard_by_tenure(data, fewest=1).periods[["start", "stop", "at_risk", "estimate"]].round(3)
           start  stop  at_risk  estimate
        0    0.0  30.0      8.0     0.375
        1   30.0  60.0      5.0     0.200

    References:
        Kalbfleisch, Prentice (2002), section 1.4: the product-limit estimate over an interval;
        Clopper, Pearson (1934) for periods in which nobody leaves.
    """
    check_level(level)
    if not width > 0:
        raise ArgumentError(f"width must be a positive number of {data.unit}; got {width!r}")
    if fewest < 1:
        raise ArgumentError(f"fewest must be 1 or more; got {fewest!r}")
    rows = [
        {"group": group.label, **period}
        for group, curve in group_curves(data, by)
        for period in _periods(curve, width, fewest, level)
    ]
    if not rows:
        raise ContractError(
            f"no period of {width:g} {data.unit} begins with {fewest} customers watched; take wider ones"
        )
    return TenureHazards(
        by=by,
        width=float(width),
        periods=pd.DataFrame(rows),
        level=level,
        unit=data.unit,
        clock=data.clock,
        checks=data.checks,
    )


def _periods(curve: SurvivalCurve, width: float, fewest: int, level: float) -> Iterable[dict[str, float]]:
    """Return each whole period that begins with enough customers watched."""
    for k in range(int(np.floor(curve.first / width)), int(np.floor(curve.last / width + 1e-9))):
        start, stop = k * width, (k + 1) * width
        # who left on day 0 was at risk then: the first period takes that day in
        inside = ((curve.times > start) | (curve.times == 0)) & (curve.times <= stop) & (curve.times >= start)
        watched = float(curve.at_risk[np.searchsorted(curve.times, start, side="right" if start else "left")])
        if start < curve.first or watched < fewest:
            continue
        events = float(curve.events[inside].sum())
        share, low, high = 0.0, 0.0, 1.0 - ((1 - level) / 2) ** (1 / watched)
        if events:
            share, low, high = _share(curve, inside, level)
        yield {
            "start": float(start),
            "stop": float(stop),
            "at_risk": watched,
            "events": events,
            "estimate": share,
            "low": low,
            "high": high,
        }


def _share(curve: SurvivalCurve, inside: NDArray[np.bool_], level: float) -> tuple[float, float, float]:
    """Return the share who leave within a period, with log-log limits."""
    counts = RiskCounts(
        curve.times[inside],
        curve.at_risk[inside],
        curve.events[inside],
        curve.censored[inside],
        round(float(curve.at_risk[inside][0])),
        0.0,
    )
    part = curve_from_counts(counts)
    limits = step_interval(part.survival, part.log_variance, level=level, kind="log-log")
    stays, low, high = (float(v[-1]) for v in (part.survival, *limits))
    return 1 - stays, 1 - high, 1 - low
