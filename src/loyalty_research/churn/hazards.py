"""Nelson-Aalen cumulative hazards by group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn.bands import simultaneous_band
from loyalty_research.churn.groups import cluster_check, group_curves
from loyalty_research.churn.words import group_words
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.stats.survival import curve_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike

    from loyalty_research.churn.bands import SimultaneousBand
    from loyalty_research.churn.data import ChurnData
    from loyalty_research.churn.groups import Group
    from loyalty_research.stats.bands import BandKind
    from loyalty_research.stats.survival import SurvivalCurve

__all__ = ["CumulativeHazards", "NelsonAalen"]


@dataclass(frozen=True, slots=True)
class NelsonAalen:
    """Cumulative hazard without a model.

    Args:
        level: Confidence level.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(pd.DataFrame({"duration": [5, 8, 12], "event": [1, 1, 0]}))
        >>> NelsonAalen().fit(data).cumulative_hazard_at([8])["estimate"].round(4).tolist()
        [0.8333]

    References:
        Nelson (1969); Aalen (1978). The variance is the sum of d / n^2, as in R.
    """

    level: float = field(default=0.95, kw_only=True)

    def __post_init__(self) -> None:
        check_level(self.level)

    def fit(self, data: ChurnData, *, by: str | None = None) -> CumulativeHazards:
        """Estimate one cumulative hazard, or one per level of ``by``.

        Raises:
            ContractError: When nobody left, or ``by`` is missing or has gaps.
        """
        return CumulativeHazards(
            groups=tuple(group_curves(data, by)),
            by=by,
            level=self.level,
            unit=data.unit,
            clock=data.clock,
            checks=(*data.checks, *cluster_check(data)),
        )


@dataclass(frozen=True, repr=False)
class CumulativeHazards(Result):
    """Nelson-Aalen estimates by group.

    Attributes:
        groups: Each group's follow-up and curve.
        by: Covariate grouped by, or None.
        level: Confidence level.
        unit: Unit of time.
        clock: What day 0 is.
    """

    title: ClassVar[str] = "Cumulative hazard"

    groups: tuple[tuple[Group, SurvivalCurve], ...]
    by: str | None
    level: float
    unit: str
    clock: str

    def simultaneous_band(
        self, *, kind: BandKind = "equal-precision", between: tuple[float, float] | None = None
    ) -> SimultaneousBand:
        """Return a band that holds the whole cumulative hazard at once, on the log scale.

        Args:
            kind: ``"equal-precision"`` or ``"hall-wellner"``.
            between: First and last day the band speaks of; see
                :meth:`SurvivalCurves.simultaneous_band`.

        Raises:
            ArgumentError: When ``kind`` is unknown or the range holds no event to build on.
        """
        return simultaneous_band(
            self.groups,
            kind=kind,
            between=between,
            quantity="hazard",
            by=self.by,
            level=self.level,
            interval="log",
            unit=self.unit,
            clock=self.clock,
            checks=self.checks,
        )

    def cumulative_hazard_at(self, times: ArrayLike) -> pd.DataFrame:
        """Return ``group, time, estimate, se, low, high``; limits are symmetric on the log scale."""
        from scipy.special import ndtri

        z = float(ndtri(0.5 + self.level / 2))
        asked = np.atleast_1d(np.asarray(times, dtype=np.float64))
        frames = []
        for group, curve in self.groups:
            value = curve_at(curve, curve.cumulative_hazard, asked, before=0.0)
            error = np.sqrt(curve_at(curve, curve.hazard_variance, asked, before=0.0))
            with np.errstate(divide="ignore", invalid="ignore"):
                factor = np.where(value > 0, np.exp(z * error / value), np.nan)
            frames.append(
                pd.DataFrame(
                    {
                        "group": [group.label] * len(asked),
                        "time": asked,
                        "estimate": value,
                        "se": error,
                        "low": value / factor,
                        "high": value * factor,
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def _rows(self) -> Iterable[Row]:
        for group, curve in self.groups:
            frame = self.cumulative_hazard_at([curve.last])
            mine = frame[frame["group"] == group.label]
            value, low, high = (float(mine[c].iloc[0]) for c in ("estimate", "low", "high"))
            yield Row(
                message("cumulative hazard to day {day}", day=number(curve.last, digits=0)),
                Estimate(value, low, high, self.level, "log", group.customers),
                group=group_words(self.by, group.label),
                estimand="H(t)",
            )

    def _verdict(self) -> str:
        parts = [
            message(
                "{group}: {value} by day {day}",
                group=group_words(self.by, g.label),
                value=number(float(c.cumulative_hazard[-1])),
                day=number(c.last, digits=0),
            )
            for g, c in self.groups
        ]
        return message("Cumulative hazard of leaving: {parts}.", parts="; ".join(parts))
