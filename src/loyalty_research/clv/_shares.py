"""Who holds the value: by segment, and how concentrated it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.data.privacy import suppress_small_cells
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["Concentration", "SegmentValue", "concentrate", "large_enough", "split_segments"]


@dataclass(frozen=True, repr=False, eq=False)
class SegmentValue(Result):
    """Expected value by segment.

    Attributes:
        segments: Name, total and mean of each segment that is large enough to be shown.
        overall: Total over all segments.
        names: All segments in their order, those left out among them.
    """

    title: ClassVar[str] = "Expected value by segment"

    segments: tuple[tuple[str, Estimate, Estimate], ...]
    overall: Estimate
    names: tuple[str, ...]

    @property
    def hidden(self) -> tuple[str, ...]:
        """Segments left out because they, or others with them, are of too few customers."""
        shown = {name for name, _, _ in self.segments}
        return tuple(name for name in self.names if name not in shown)

    def _rows(self) -> Iterable[Row]:
        for name, total, mean in self.segments:
            share = total.value / self.overall.value if self.overall.value else math.nan
            yield Row("value per customer", mean, group=name, extra={"share_of_value": share})
            yield Row("total value", total, group=name, extra={"share_of_value": share})

    def _verdict(self) -> str:
        size = self.overall.n
        if not self.segments:
            return message("Every segment is of too few customers to be shown.")
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
        """Return one row per segment: customers, mean value with limits, total, share of value.

        Segments that are left out have a row without figures.
        """
        shown = {name: (total, mean) for name, total, mean in self.segments}
        rows: list[dict[str, Any]] = []
        for name in self.names:
            row: dict[str, Any] = dict.fromkeys(("mean", "low", "high", "total", "share_of_value"), math.nan)
            row = {"segment": name, "customers": None, **row}
            if name in shown:
                total, mean = shown[name]
                share = total.value / self.overall.value if self.overall.value else math.nan
                row |= {"customers": total.n, "mean": mean.value, "low": mean.low, "high": mean.high}
                row |= {"total": total.value, "share_of_value": share}
            rows.append(row)
        return pd.DataFrame(rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the mean value of each segment with its interval."""
        from loyalty_research.plots.clv import segment_values

        return segment_values(self.table().dropna(subset="mean"), ax=ax, currency=self.overall.unit)


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
    return Estimate(value, low, high, level, "delta method, logit scale", n)


def large_enough(counts: Sequence[int], minimum: int) -> list[bool]:
    """Say which groups may be shown when the total over all of them is known.

    Args:
        counts: Customers of each group.
        minimum: Customers from which a group is shown.
    """
    frame = pd.DataFrame({"customers": list(counts)})
    kept = suppress_small_cells(frame, count="customers", minimum=minimum)["customers"].notna()
    return [bool(keep) for keep in kept]


def split_segments(
    rows: Sequence[tuple[str, Estimate, Estimate]], overall: Estimate, *, minimum: int
) -> SegmentValue:
    """Leave out segments of too few customers, and what would give them away.

    Args:
        rows: Name, total and mean of each segment.
        overall: Total over all segments.
        minimum: Customers from which a segment is shown.
    """
    kept = large_enough([total.n for _, total, _ in rows], minimum)
    shown = tuple(row for row, keep in zip(rows, kept, strict=True) if keep)
    return SegmentValue(shown, overall=overall, names=tuple(name for name, _, _ in rows))


def _measures(values: Array, top: float) -> tuple[Array, Array]:
    """Return the share of the top and the Gini coefficient, and their weights by rank."""
    n = len(values)
    # the boundary customer counts in part, so that exactly the share asked for is taken
    ranks = np.arange(n)
    weights = np.array([np.clip(ranks + 1 - n * (1 - top), 0, 1), (2 * ranks + 1 - n) / n])
    ranked = np.sort(values)
    return weights @ ranked / ranked.sum(), weights


def concentrate(
    values: Array,
    *,
    top: float,
    level: float,
    uncertainty: tuple[Array, Array] | None,
    replicates: Iterable[Array] = (),
    method: str = "",
) -> Concentration:
    """Measure concentration of values.

    Args:
        values: Value per customer, shape (n,).
        top: Share of customers counted as the top.
        level: Coverage the intervals aim at.
        uncertainty: For the delta method: derivatives of the values in log parameters, shape
            (n, k), and the covariance of these, shape (k, k); None where replicates are given.
        replicates: Values as they might have come out, each of shape (n,).
        method: Name of the interval method of replicates.

    Raises:
        ArgumentError: When ``top`` is out of range.
        ContractError: When nobody has any value.
    """
    if not 0 < top < 1:
        raise ArgumentError(f"top must lie strictly between 0 and 1, such as 0.2; got {top!r}")
    n, total = len(values), float(values.sum())
    if not total > 0:
        raise ContractError("no customer has any expected value, so there is nothing to divide")
    shares, weights = _measures(values, top)
    order = np.argsort(values, kind="stable")
    if uncertainty is None:
        drawn = np.array([_measures(replicate, top)[0] for replicate in replicates])
        limits = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0).T
        found = [
            Estimate(float(share), float(low), float(high), level, method, n)
            for share, (low, high) in zip(shares, limits, strict=True)
        ]
    else:
        slopes, covariance = uncertainty
        ranked_slopes = slopes[order]
        moves = (weights @ ranked_slopes - shares[:, None] * ranked_slopes.sum(axis=0)) / total
        found = [
            _share(float(share), move, covariance, level=level, n=n)
            for share, move in zip(shares, moves, strict=True)
        ]
    cumulative = np.concatenate([[0.0], np.cumsum(values[order])])
    cumulative /= cumulative[-1]
    grid = np.linspace(0, 1, 101)
    curve = pd.DataFrame({"customers": grid, "value": np.interp(grid, np.linspace(0, 1, n + 1), cumulative)})
    return Concentration(curve, top, replace(found[0], unit="fraction"), found[1])
