"""Bunching at a tier's line: how many customers end just above it because it is there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Bunching", "bunching_at_line"]

METHOD = "bootstrap of customers, percentile"


@dataclass(frozen=True, repr=False)
class Bunching(Result):
    """Customers about a line, against a smooth curve without it.

    Attributes:
        line: Where the tier begins.
        below: Width of the stretch under the line that customers may have left.
        above: Width of the stretch from the line on that they may have gone to.
        bins: One row per bin: ``from_value, to_value, customers, expected, excluded``.
        excess: Customers more than expected in ``[line, line + above)``.
        missing: Customers fewer than expected in ``[line - below, line)``.
        share: ``excess`` as a share of the customers in ``[line, line + above)``.
    """

    title: ClassVar[str] = "Bunching at the line"

    line: float
    below: float
    above: float
    bins: pd.DataFrame
    excess: Estimate
    missing: Estimate
    share: Estimate

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw customers per bin with the curve without the line; bins of 1 to 4 are left out."""
        from loyalty_research.plots.promises import pull_at_line

        return pull_at_line(self.bins, self.line, ax=ax)

    def _rows(self) -> Iterable[Row]:
        yield Row(message("customers above the line more than expected"), self.excess)
        yield Row(message("customers below the line fewer than expected"), self.missing)
        yield Row(message("share of those just above the line who are there for it"), self.share)

    def _verdict(self) -> str:
        fields = {
            "line": number(self.line),
            "excess": number(self.excess.value, digits=0),
            "interval": self.excess.interval(signed=True),
        }
        if self.excess.low <= 0:
            return message(
                "No pull towards the line at {line} can be told from chance (customers above it beyond the smooth "
                "curve: {excess}; {interval}).",
                **fields,
            )
        return message(
            "About {excess} customers ({interval}) end just above the line at {line} who without it would not be "
            "there. This is pull at the line, not what the tier is worth.",
            **fields,
        )


def _whole_bins(width: float, bin_width: float, name: str) -> int:
    bins = width / bin_width
    if not (math.isfinite(bins) and bins > 0) or abs(bins - round(bins)) > 1e-9:
        raise ArgumentError(f"{name} is a whole number of bins of {bin_width:g}; got {width!r}")
    return round(bins)


def _counts(values: Any, line: float, bin_width: float, reach: int) -> tuple[Floats, int]:
    """Return customers per bin and the position of the bin that begins at the line."""
    given = np.asarray(values, dtype=float)
    if given.ndim != 1:
        raise ArgumentError("values is one figure per customer and period")
    bad = np.flatnonzero(~np.isfinite(given))
    if len(bad):
        raise ContractError(f"values is null or not finite at {at_rows(list(bad))}; leave these rows out")
    # to the nearest millionth of a bin, so that a sum exactly at the line falls above it
    position = np.floor(np.round((given - line) / bin_width, 6)).astype(np.int64)
    first = -min(reach, math.floor(line / bin_width + 1e-9))
    inside = position[(position >= first) & (position < reach)]
    return np.bincount(inside - first, minlength=reach - first).astype(float), -first


def _hat(size: int, out: NDArray[np.bool_], degree: int) -> Floats:
    """Return the matrix that turns counts into the polynomial fitted outside the window."""
    design = np.polynomial.chebyshev.chebvander(np.linspace(-1, 1, size), degree)
    hat = np.zeros((size, size))
    hat[:, ~out] = design @ np.linalg.pinv(design[~out])
    return hat


def bunching_at_line(
    values: Any,
    *,
    line: float,
    bin_width: float,
    below: float,
    above: float,
    reach: int = 30,
    degree: int = 5,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Bunching:
    """Compare the customers just above a tier's line with a smooth curve that ignores it.

    A polynomial is fitted to the counts per bin outside ``[line - below, line + above)`` and carried
    through it. The window is declared, not searched for, so that the interval is honest.

    Args:
        values: Qualifying activity, one figure per customer and period, such as
            ``qualifying_activity(...)["activity"]``.
        line: Where the tier begins; a figure exactly there qualifies.
        bin_width: Width of a bin; bins are ``[a, b)`` and one begins at the line.
        below: Width of the stretch under the line that customers may have left, in whole bins.
        above: Width of the stretch from the line on that they may have gone to, in whole bins.
        reach: Bins on each side that are looked at; none begins below 0.
        degree: Degree of the polynomial.
        level: Confidence level.
        draws: Bootstrap draws of customers.
        seed: Seed of the draws.

    Returns:
        Excess above and missing below with intervals, and checks against places without a line.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When values have gaps; rows by position.
        DesignError: When too few bins or customers remain outside the window.

    Examples:
        >>> spend = np.concatenate([np.arange(100.0, 500.0, 0.25), np.full(40, 302.0)])
        >>> found = bunching_at_line(spend, line=300, bin_width=5, below=20, above=20, degree=1)
        >>> round(found.excess.value), round(found.missing.value)
        (40, 0)

    References:
        Chetty et al. (2011), Quarterly Journal of Economics 126, 749-804, section III; Kleven,
        Waseem (2013), Quarterly Journal of Economics 128, 669-723, equations 6 to 8.
    """
    check_level(level)
    if not (math.isfinite(bin_width) and bin_width > 0 and math.isfinite(line) and line > 0):
        raise ArgumentError(f"line and bin_width are numbers above 0; got {line!r} and {bin_width!r}")
    if min(reach, degree, draws - 199) < 1:
        raise ArgumentError("reach and degree are whole numbers from 1, draws from 200")
    under, over = _whole_bins(below, bin_width, "below"), _whole_bins(above, bin_width, "above")
    counts, at = _counts(values, line, bin_width, reach)
    size = len(counts)
    out = np.zeros(size, dtype=bool)
    out[max(at - under, 0) : at + over] = True
    if under >= at or over >= size - at or (~out).sum() < 2 * (degree + 1):
        raise DesignError(
            f"only {int((~out).sum())} bins lie outside the window and a polynomial of degree {degree} needs "
            f"{2 * (degree + 1)} with some on each side; take narrower bins, a larger reach or a lower degree"
        )
    if counts[~out].sum() < 10 * (degree + 1) or not counts[at : at + over].sum():
        raise DesignError("too few customers about the line to draw a curve through; widen the bins or reach")
    hat = _hat(size, out, degree)
    up, down = np.zeros(size), np.zeros(size)
    up[at : at + over], down[at - under : at] = 1.0, -1.0
    # excess and missing are weighted sums of counts, so a bootstrap of customers is one product
    weights = np.stack([up, down]) @ (np.eye(size) - hat)
    n = int(counts.sum())
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=draws)
    estimates = [_estimate(float(weights[k] @ counts), drawn @ weights[k], level, n, None) for k in range(2)]
    inside = float(up @ counts)
    shares = (drawn @ weights[0]) / np.maximum(drawn @ up, 1.0)
    expected = hat @ counts
    edges = line + bin_width * (np.arange(size + 1) - at)
    bins = pd.DataFrame(
        {
            "from_value": edges[:-1],
            "to_value": edges[1:],
            "customers": counts.astype(np.int64),
            "expected": expected,
            "excluded": out,
        }
    )
    return Bunching(
        line=float(line),
        below=float(below),
        above=float(above),
        bins=bins,
        excess=estimates[0],
        missing=estimates[1],
        share=_estimate(estimates[0].value / inside, shares, level, int(inside), "fraction"),
        checks=(
            _balance_check(
                float((weights[0] - weights[1]) @ counts), drawn @ (weights[0] - weights[1]), level
            ),
            _placebo_check(counts, at, under, over, degree),
        ),
    )


def _estimate(value: float, drawn: Floats, level: float, n: int, unit: str | None) -> Estimate:
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), level, METHOD, n, unit)


def _balance_check(gap: float, drawn: Floats, level: float) -> Check:
    """Say whether as many are missing below as there are too many above."""
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    even = low <= 0 <= high
    return Check(
        message("As many missing below as gained above"),
        "passed" if even else "warning",
        message(
            "Gained less missing: {gap} ({level} interval {low} to {high}).",
            gap=number(gap, digits=0, signed=True),
            level=percent(level, digits=0),
            low=number(low, digits=0, signed=True),
            high=number(high, digits=0, signed=True),
        ),
    )


def _placebo_check(counts: Floats, at: int, under: int, over: int, degree: int) -> Check:
    """Compare the excess with that at places without a line, on either side of the window."""
    name = message("Places without a line")
    found = []
    for stretch in (counts[: at - under], counts[at + over :]):
        for start in range(under + 1, len(stretch) - over):
            out = np.zeros(len(stretch), dtype=bool)
            out[start - under : start + over] = True
            if (~out).sum() < degree + 3:
                continue
            fitted = _hat(len(stretch), out, min(degree, 2)) @ stretch
            window = slice(start, start + over)
            noise = math.sqrt(max(float(fitted[window].sum()), 1.0))
            found.append(float((stretch - fitted)[window].sum()) / noise)
    if len(found) < 5:
        return Check(name, "not measurable", message("Too few bins away from the line to compare with."))
    size = len(counts)
    out = np.zeros(size, dtype=bool)
    out[at - under : at + over] = True
    fitted = _hat(size, out, degree) @ counts
    own = float((counts - fitted)[at : at + over].sum()) / math.sqrt(
        max(float(fitted[at : at + over].sum()), 1.0)
    )
    larger = sum(f >= own for f in found)
    return Check(
        name,
        "passed" if larger / len(found) <= 0.05 else "warning",
        message(
            "{larger} of {places} places without a line show as much pull or more, in units of chance.",
            larger=f"{larger:,}",
            places=f"{len(found):,}",
        ),
    )
