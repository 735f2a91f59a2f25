"""Members just below the line of their tier beside those just above it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.errors import DesignError
from loyalty_research.estimates import Check, Estimate
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.density_jump import density_jump
from loyalty_research.stats.line_jump import METHOD as AT_LINE
from loyalty_research.stats.line_jump import Lined, fit_line_jump

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.programme._demotion_panel import Evaluations, Window
    from loyalty_research.stats.line_jump import LineFit

    Array = NDArray[np.float64]

__all__ = ["LineComparison", "line_checks", "line_comparison"]

ALPHA = 0.001
SHARP = 0.95  # share that follows the rule from which missing the line and falling are one


@dataclass(frozen=True, slots=True)
class LineComparison:
    """Members just below the line of their tier beside those just above it.

    Attributes:
        effect: Spend per period after it, below less above: what missing the line changes.
        before: The same of spend in the periods of comparison, which nothing has changed yet.
        apart: The effect without those within a tenth of the bandwidth, who may have pushed over the
            line; None where they are left out already, or too few remain.
        level: Spend per period of those just above the line.
        bandwidth: Members whose activity lies farther from the line weigh nothing.
        donut: Members nearer than this are left out.
        used: Rows within the bandwidth, below and above.
        fell: Share who fell within the bandwidth, below and above.
        density_p: Whether the density of activity jumps at the line; NaN where not measurable.
        bins: Middle (distance from the line), mean spend per period after it, and members, of bins up to three
            bandwidths away.
    """

    effect: Estimate
    before: Estimate
    apart: Estimate | None
    level: float
    bandwidth: float
    donut: float
    used: tuple[int, int]
    fell: tuple[float, float]
    density_p: float
    bins: tuple[Array, Array, Array]

    @property
    def by_rule(self) -> bool:
        """Whether nearly all below the line fell and nearly all above it kept the tier."""
        return self.fell[0] >= SHARP and self.fell[1] <= 1 - SHARP


def _lined(x: Array, y: Array, customer: NDArray[np.int64]) -> Lined:
    order = np.argsort(x, kind="stable")
    codes = customer[order]
    alone = len(np.unique(codes)) == len(codes)
    return Lined(x[order], y[order], None if alone else np.unique(codes, return_inverse=True)[1])


def _flipped(fit: LineFit, level: float, n: int, unit: str | None) -> Estimate:
    """Return below less above, of a jump that is above less below."""
    e = fit.estimate(level, n, unit)
    return Estimate(-e.value, -e.high, -e.low, e.level, AT_LINE, e.n, e.unit, e.p_value)


def _slope(x: Array, after: Array, base: Array, bandwidth: float) -> float:
    """Return how much of the spend before shows in the spend after, among those near the line."""
    near = np.abs(x) <= bandwidth
    above = (x >= 0).astype(float)
    design = np.column_stack([np.ones(len(x)), above, x, above * x, base])[near]
    return float(np.linalg.lstsq(design, after[near], rcond=None)[0][-1])


def line_comparison(
    rows: Evaluations,
    window: Window,
    *,
    bandwidth: float | None,
    donut: float,
    level: float,
    unit: str | None,
) -> LineComparison:
    """Compare members at the line.

    Raises:
        DesignError: When too few lie on a side of the line, or it does not decide who falls.
    """
    x = rows.activity
    base = rows.outcomes[:, : window.before].mean(axis=1)
    after = rows.outcomes[:, window.before + window.counted :].mean(axis=1)
    keep = np.abs(x) >= donut
    x, base, after, customer = x[keep], base[keep], after[keep], rows.customer[keep]
    width = bandwidth or fit_line_jump(_lined(x, after, customer)).bandwidth
    # spend before is as good as drawn on either side of the line, so taking it out only lessens noise
    share = _slope(x, after, base, width)
    fit = fit_line_jump(_lined(x, after - share * base, customer), bandwidth=bandwidth)
    width = fit.bandwidth
    near = np.abs(x) <= width
    fell = rows.fell[keep]
    shares = tuple(float(fell[near & side].mean()) for side in (x < 0, x >= 0))
    if shares[0] - shares[1] < 0.5:
        raise DesignError(
            f"{percent(shares[0])} just below the line fell and {percent(shares[1])} just above it: these lines do "
            "not decide who falls"
        )
    used = sum(fit.jump.used)
    above = fit_line_jump(_lined(x, after, customer), bandwidth=width).jump.levels[1]
    try:
        density = density_jump(np.sort(rows.activity)).p_value
    except DesignError:
        density = math.nan
    return LineComparison(
        effect=_flipped(fit, level, used, unit),
        before=_flipped(fit_line_jump(_lined(x, base, customer), bandwidth=width), level, used, unit),
        apart=None if donut else _apart(x, after - share * base, customer, width, level, unit),
        level=above,
        bandwidth=width,
        donut=donut,
        used=fit.jump.used,
        fell=(shares[0], shares[1]),
        density_p=density,
        bins=_binned(x[np.abs(x) <= 3 * width], after[np.abs(x) <= 3 * width]),
    )


def _apart(
    x: Array, y: Array, customer: NDArray[np.int64], width: float, level: float, unit: str | None
) -> Estimate | None:
    keep = np.abs(x) >= width / 10
    try:
        fit = fit_line_jump(_lined(x[keep], y[keep], customer[keep]), bandwidth=width)
    except DesignError:
        return None
    return _flipped(fit, level, sum(fit.jump.used), unit)


def _binned(x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Return middle, mean and size of about fifteen bins of equal size on either side of the line."""
    middle, mean, size = [], [], []
    for side in (x < 0, x >= 0):
        order = np.flatnonzero(side)[np.argsort(x[side], kind="stable")]
        for part in np.array_split(order, max(min(15, len(order) // 20), 1)):
            middle.append(float(x[part].mean()))
            mean.append(float(y[part].mean()))
            size.append(float(len(part)))
    return np.array(middle), np.array(mean), np.array(size)


def line_checks(line: LineComparison) -> tuple[Check, ...]:
    """Return what the comparison at the line rests on; a density that jumps is a gate."""
    pushed = Check(
        message("Nobody pushes over the line (density)"),
        "not measurable"
        if math.isnan(line.density_p)
        else "failed"
        if line.density_p < ALPHA and not line.donut
        else "warning"
        if line.density_p < 0.05
        else "passed",
        message("Too few distinct figures near the line.")
        if math.isnan(line.density_p)
        else message(
            "Test that the density of activity does not jump at the line: p {p}. Members who buy more to stay above it "
            "differ from those who do not; leave out those nearest to it with donut=.",
            p="< 0.001" if line.density_p < ALPHA else f"= {number(line.density_p, digits=3)}",
        ),
        gate=not line.donut,
        p_value=None if math.isnan(line.density_p) else line.density_p,
    )
    e = line.before
    before = Check(
        message("Nothing from before jumps at the line"),
        "passed" if e.low <= 0 <= e.high else "warning",
        message(
            "In the periods of comparison the difference is {difference} ({interval}).",
            difference=e.format(signed=True),
            interval=e.interval(signed=True),
        ),
        p_value=e.p_value,
    )
    name = message("Without those nearest to the line")
    if line.donut:
        apart = Check(name, "passed", message("Those within {donut} are left out.", donut=number(line.donut)))
    elif line.apart is None:
        apart = Check(name, "not measurable", message("Too few remain."))
    else:
        inside = line.effect.low <= line.apart.value <= line.effect.high
        apart = Check(
            name,
            "passed" if inside else "warning",
            message(
                "{difference} ({interval}). A few who push over the line can move the figure long before the density "
                "shows them.",
                difference=line.apart.format(signed=True),
                interval=line.apart.interval(signed=True),
            ),
        )
    rule = Check(
        message("The line decides"),
        "passed" if line.by_rule else "warning",
        message(
            "Within {bandwidth} of the line, {below} of those below it fell and {above} of those above it.",
            bandwidth=number(line.bandwidth),
            below=percent(line.fell[0]),
            above=percent(line.fell[1]),
        )
        + (
            ""
            if line.by_rule
            else " "
            + message(
                "The figure is of missing the line; of the loss itself it is larger, as not all lose the tier."
            )
        ),
    )
    return pushed, apart, before, rule
