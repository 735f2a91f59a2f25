"""Who holds the value: by segment, and how concentrated it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["Concentration", "SegmentValue", "concentrate"]


@dataclass(frozen=True, repr=False, eq=False)
class SegmentValue(Result):
    """Expected value by segment.

    Attributes:
        segments: Name, total and mean of each segment.
        overall: Total over all segments.
    """

    title: ClassVar[str] = "Expected value by segment"

    segments: tuple[tuple[str, Estimate, Estimate], ...]
    overall: Estimate

    def _rows(self) -> Iterable[Row]:
        for name, total, mean in self.segments:
            share = total.value / self.overall.value if self.overall.value else math.nan
            yield Row("value per customer", mean, group=name, extra={"share_of_value": share})
            yield Row("total value", total, group=name, extra={"share_of_value": share})

    def _verdict(self) -> str:
        size = sum(total.n for _, total, _ in self.segments)
        name, total, mean = max(self.segments, key=lambda s: s[1].value)
        return message(
            'The segment "{name}" holds {share} of the expected value with {customers} of the customers, '
            "{mean} each ({interval}).",
            name=name,
            share=percent(total.value / self.overall.value if self.overall.value else math.nan),
            customers=percent(total.n / size),
            mean=mean.format(),
            interval=mean.interval(),
        )

    def table(self) -> pd.DataFrame:
        """Return one row per segment: customers, mean value with limits, total, share of value."""
        return pd.DataFrame(
            [
                {
                    "segment": name,
                    "customers": total.n,
                    "mean": mean.value,
                    "low": mean.low,
                    "high": mean.high,
                    "total": total.value,
                    "share_of_value": total.value / self.overall.value if self.overall.value else math.nan,
                }
                for name, total, mean in self.segments
            ]
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the mean value of each segment with its interval."""
        from loyalty_research.plots.clv import segment_values

        return segment_values(self.table(), ax=ax, currency=self.overall.unit)


@dataclass(frozen=True, repr=False, eq=False)
class Concentration(Result):
    """How unequally expected value is spread over customers.

    Attributes:
        curve: Lorenz curve from the least valuable customer on: ``customers`` and ``value``,
            cumulative shares.
        top: Share of customers counted as the top.
        top_share: Share of value they hold.
        gini: Gini coefficient.
    """

    title: ClassVar[str] = "Concentration of expected value"

    curve: pd.DataFrame
    top: float
    top_share: Estimate
    gini: Estimate

    def _rows(self) -> Iterable[Row]:
        yield Row(f"share of the top {self.top:.0%}", self.top_share)
        yield Row("Gini coefficient", self.gini)

    def _verdict(self) -> str:
        return message(
            "The most valuable {top} of customers hold {share} of the expected value ({interval}).",
            top=percent(self.top, digits=0),
            share=self.top_share.format(),
            interval=self.top_share.interval(),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the Lorenz curve with the top share marked."""
        from loyalty_research.plots.clv import lorenz

        return lorenz(self.curve, ax=ax, top=self.top)


def _share(value: float, slope: Array, covariance: Array, *, level: float, n: int) -> Estimate:
    """Return a share with a delta-method interval on the logit scale."""
    from scipy.special import expit, ndtri

    error = math.sqrt(max(float(slope @ covariance @ slope), 0.0))
    reach = float(ndtri((1 + level) / 2)) * error / (value * (1 - value)) if 0 < value < 1 else math.nan
    centre = math.log(value / (1 - value)) if 0 < value < 1 else math.nan
    low, high = float(expit(centre - reach)), float(expit(centre + reach))
    return Estimate(value, low, high, level, "delta method, logit scale", n, unit="fraction")


def concentrate(
    values: Array, slopes: Array, covariance: Array, *, top: float, level: float
) -> Concentration:
    """Measure concentration of values with the delta method.

    Args:
        values: Value per customer, shape (n,).
        slopes: Their derivatives in log parameters, shape (n, k).
        covariance: Covariance of the log parameters, shape (k, k).
        top: Share of customers counted as the top.
        level: Coverage the intervals aim at.

    Raises:
        ArgumentError: When ``top`` is out of range.
        ContractError: When nobody has any value.
    """
    if not 0 < top < 1:
        raise ArgumentError(f"top must lie strictly between 0 and 1, such as 0.2; got {top!r}")
    n, total = len(values), float(values.sum())
    if not total > 0:
        raise ContractError("no customer has any expected value, so there is nothing to divide")
    order = np.argsort(values, kind="stable")
    ranked, ranked_slopes = values[order], slopes[order]
    # the boundary customer counts in part, so that exactly the share asked for is taken
    ranks = np.arange(n)
    taken = np.clip(ranks + 1 - n * (1 - top), 0, 1)
    gini_weights = (2 * ranks + 1 - n) / n
    total_slope = ranked_slopes.sum(axis=0)
    found = []
    for weights, unit in ((taken, True), (gini_weights, False)):
        share = float(weights @ ranked) / total
        slope = (weights @ ranked_slopes - share * total_slope) / total
        estimate = _share(share, slope, covariance, level=level, n=n)
        plain = Estimate(share, estimate.low, estimate.high, level, estimate.method, n)
        found.append(estimate if unit else plain)
    cumulative = np.concatenate([[0.0], np.cumsum(ranked)])
    cumulative /= cumulative[-1]
    grid = np.linspace(0, 1, 101)
    curve = pd.DataFrame({"customers": grid, "value": np.interp(grid, np.linspace(0, 1, n + 1), cumulative)})
    return Concentration(curve, top, found[0], found[1])
