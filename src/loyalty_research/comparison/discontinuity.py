"""A line that decides who gets what: regression discontinuity at a tier threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from loyalty_research.comparison.result import change, change_interval
from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.stats.density_jump import density_jump
from loyalty_research.stats.line_jump import LEAST, Lined, fit_line_jump, need_clusters_beside
from loyalty_research.stats.local_polynomial import KERNELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.estimates import Estimate
    from loyalty_research.stats.line_jump import LineFit
    from loyalty_research.stats.local_polynomial import Kernel

    Array = NDArray[np.float64]

__all__ = ["AT_THE_LINE", "Discontinuity", "regression_discontinuity"]

AT_THE_LINE = "LATE at the line"
"""Estimand of a discontinuity: the effect on those who are right at the line."""

_ALPHA = 0.001
_COARSE = 0.2


def line_text(cutoff: float) -> str:
    """Return where a line is, without decimals that say nothing."""
    return number(cutoff, digits=0 if float(cutoff).is_integer() else None)


@dataclass(frozen=True, repr=False)
class Discontinuity(Result):
    """Jump of an outcome at a line.

    Attributes:
        metric: What jumps.
        cutoff: Where the line is, in the running variable's unit.
        running: Name of the running variable.
        estimate: Level at or above the line less the level below it, bias-corrected.
        conventional: The same without bias correction, and its standard error.
        levels: Levels at the line, below and above.
        bandwidth: Units farther away weigh nothing.
        bias_bandwidth: Bandwidth of the curvature.
        used: Units within the bandwidth, below and above.
        means: Middle, mean outcome and units of bins, for the picture.
    """

    title: ClassVar[str] = "Regression discontinuity"

    metric: str
    running: str
    cutoff: float
    estimate: Estimate
    conventional: tuple[float, float]
    levels: tuple[float, float]
    bandwidth: float
    bias_bandwidth: float
    used: tuple[int, int]
    means: tuple[Array, Array, Array] = field(default=(np.empty(0),) * 3)

    def _rows(self) -> Iterator[Row]:
        yield self.row()

    def row(self, *, role: str = "primary") -> Row:
        """Return the estimate as a line of a result, with what it was made from."""
        group = message("at or above {cutoff} v below", cutoff=line_text(self.cutoff))
        extra = {
            "role": role,
            "treated": self.levels[1],
            "control": self.levels[0],
            "conventional": self.conventional[0],
            "bandwidth": self.bandwidth,
            "units_below": self.used[0],
            "units_above": self.used[1],
        }
        return Row(self.metric, self.estimate, group, AT_THE_LINE, extra)

    def _verdict(self) -> str:
        e = self.estimate
        words = {
            "metric": self.metric,
            "cutoff": line_text(self.cutoff),
            "running": self.running,
            "difference": change(e, signed=True),
            "interval": change_interval(e),
        }
        if e.low <= 0 <= e.high:
            return message(
                "At the line of {cutoff} in {running} there is no clear jump in {metric} ({difference}; {interval}).",
                **words,
            )
        return message(
            "At the line of {cutoff} in {running}, {metric} jumps by {difference} ({interval}); this is the effect on those "
            "right at the line and on nobody else.",
            **words,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw means of bins on both sides of the line, and the jump.

        Args:
            ax: Axes to draw on; new ones when None.
        """
        from loyalty_research.plots.comparison import discontinuity

        middle, mean, count = self.means
        return discontinuity(
            middle,
            mean,
            count,
            cutoff=self.cutoff,
            levels=self.levels,
            bandwidth=self.bandwidth,
            label=change(self.estimate, signed=True),
            xlabel=self.running,
            ylabel=self.metric,
            ax=ax,
        )


def _finite(values: ArrayLike, name: str) -> Array:
    out = np.asarray(values, dtype=float)
    if out.ndim != 1:
        raise ArgumentError(f"{name} must have one dimension; it has shape {out.shape}")
    bad = np.flatnonzero(~np.isfinite(out))
    if len(bad):
        raise ContractError(f"{name} is missing or infinite in {at_rows(bad.tolist())}")
    return out


def _coded(clusters: ArrayLike | None, n: int) -> NDArray[np.int64] | None:
    if clusters is None:
        return None
    import pandas as pd

    codes = pd.factorize(np.asarray(clusters))[0].astype(np.int64)
    missing = np.flatnonzero(codes < 0)
    if len(codes) != n:
        raise ArgumentError(f"cluster has {len(codes):,} values for {n:,} units")
    if len(missing):
        raise ContractError(f"cluster is missing in {at_rows(missing.tolist())}")
    if codes.max(initial=0) < 1:
        raise DesignError("there is one cluster: at least 2 are needed to see how clusters vary")
    return codes


def regression_discontinuity(
    outcome: ArrayLike,
    running: ArrayLike,
    *,
    cutoff: float,
    bandwidth: float | None = None,
    donut: float = 0.0,
    kernel: Kernel = "triangular",
    cluster: ArrayLike | None = None,
    level: float = 0.95,
    metric: str = "outcome",
    running_name: str = "running variable",
    unit: str | None = None,
) -> Discontinuity:
    """Estimate how much an outcome jumps where a running variable crosses a line.

    A local line on either side, weighted by nearness, gives the level at the line; the bias from
    curvature is estimated and taken out, and its noise is in the interval. Whether customers push
    themselves over the line is tested by the density of the running variable, and a density that
    jumps takes the verdict away.

    Args:
        outcome: Outcome after the line was applied, shape (n,).
        running: What decides, such as spend of the qualifying year, shape (n,).
        cutoff: Units at or above it are on the upper side.
        bandwidth: Units farther away weigh nothing, used for level and bias alike; when None, the
            one that makes the mean squared error smallest.
        donut: Units nearer to the line than this are left out, as those who may have pushed over it.
        kernel: ``"triangular"``, ``"uniform"`` or ``"epanechnikov"``.
        cluster: Labels of groups that vary together, shape (n,).
        level: Coverage the interval aims at.
        metric: Name of the outcome, for tables and sentences.
        running_name: Name of the running variable.
        unit: Unit of the outcome.

    Returns:
        The jump, its robust interval, checks and a picture.

    Raises:
        ArgumentError: When an option is out of range or lengths differ.
        ContractError: When values are missing or infinite.
        DesignError: When a side of the line holds too few units or distinct values.

    References:
        Calonico, Cattaneo and Titiunik (2014), Econometrica 82, 2295-2326 (robust intervals);
        Cattaneo, Jansson and Ma (2020), JASA 115, 1449-1455 (density test).

    Examples:
        >>> import numpy as np
        >>> spend = np.linspace(200, 400, 400)
        >>> later = 0.1 * spend + 8.0 * (spend >= 300) + np.tile([-1.0, 1.0, 0.5, -0.5], 100)
        >>> round(regression_discontinuity(later, spend, cutoff=300).estimate.value, 1)
        8.0
    """
    check_level(level)
    if kernel not in KERNELS:
        raise ArgumentError(f"kernel is one of {', '.join(KERNELS)}; got {kernel!r}")
    if bandwidth is not None and not (math.isfinite(bandwidth) and bandwidth > 0):
        raise ArgumentError(f"bandwidth must be positive; got {bandwidth!r}")
    if not (math.isfinite(donut) and donut >= 0):
        raise ArgumentError(f"donut must be 0 or positive; got {donut!r}")
    y, x = _finite(outcome, "outcome"), _finite(running, "running")
    if len(x) != len(y):
        raise ArgumentError(f"running has {len(x):,} values for {len(y):,} outcomes")
    if not math.isfinite(cutoff):
        raise ArgumentError(f"cutoff must be a number; got {cutoff!r}")
    codes = _coded(cluster, len(x))
    order = np.argsort(x, kind="stable")
    everyone = Lined(x[order] - cutoff, y[order], None if codes is None else codes[order])
    units = everyone.part(np.abs(everyone.x) >= donut) if donut else everyone
    need_clusters_beside(units, np.ones(len(units.x), dtype=bool))
    fit = fit_line_jump(units, kernel=kernel, bandwidth=bandwidth)
    estimate = fit.estimate(level, sum(fit.jump.used), unit)
    return Discontinuity(
        metric=metric,
        running=running_name,
        cutoff=cutoff,
        estimate=estimate,
        conventional=(fit.jump.conventional, fit.jump.conventional_error),
        levels=fit.jump.levels,
        bandwidth=fit.bandwidth,
        bias_bandwidth=fit.bias_bandwidth,
        used=fit.jump.used,
        means=_binned(units, cutoff),
        checks=(
            _density_check(everyone.x, donut),
            _coarse_check(units.x, fit.bandwidth),
            *_sensitivity_checks(units, fit, estimate, kernel, donut),
            _placebo_check(units, kernel, level),
        ),
    )


def _density_check(x: Array, donut: float) -> Check:
    """Look whether units pile up on one side: a gate, unless those nearest are left out."""
    name = message("nobody pushes over the line (density)")
    try:
        found = density_jump(x)
    except DesignError as problem:
        return Check(name, "not measurable", str(problem))
    ratio = found.above / found.below if found.below > 0 else math.inf
    detail = message(
        "density just above the line {ratio} times that just below, p = {p}",
        ratio=number(ratio, digits=2),
        p=number(found.p_value, digits=4),
    )
    status: Literal["passed", "warning", "failed"] = "passed"
    if found.p_value < _ALPHA and not donut:
        status = "failed"
        detail += "; " + message("leave out those who may have pushed over it with donut=")
    elif found.p_value < 0.05:
        status = "warning"
    return Check(name, status, detail, gate=not donut, p_value=found.p_value)


def _coarse_check(x: Array, bandwidth: float) -> Check:
    near = x[np.abs(x) <= bandwidth]
    share = 1 - len(np.unique(near)) / max(len(near), 1)
    detail = message(
        "{distinct} distinct values among {n} units within the bandwidth of {bandwidth}",
        distinct=f"{len(np.unique(near)):,}",
        n=f"{len(near):,}",
        bandwidth=number(bandwidth),
    )
    status: Literal["passed", "warning"] = "warning" if share > _COARSE else "passed"
    return Check(message("running variable is fine-grained"), status, detail)


def _sensitivity_checks(
    units: Lined, fit: LineFit, estimate: Estimate, kernel: Kernel, donut: float
) -> tuple[Check, ...]:
    """Run it again at half and twice the bandwidth, and without those nearest to the line."""
    said, outside = [], False
    for factor in (0.5, 2.0):
        try:
            again = fit_line_jump(units, kernel=kernel, bandwidth=factor * fit.bandwidth)
        except DesignError:
            continue
        other = again.estimate(estimate.level, sum(again.jump.used), estimate.unit)
        outside = outside or not estimate.low <= other.value <= estimate.high
        said.append(f"{number(factor * fit.bandwidth)}: {change(other, signed=True)}")
    out = [
        Check(
            message("other bandwidths say the same"),
            "warning" if outside else "passed" if said else "not measurable",
            "; ".join(said) or message("too few units for another bandwidth"),
        )
    ]
    if not donut:
        hole = fit.bandwidth / 10
        try:
            again = fit_line_jump(units.part(np.abs(units.x) >= hole), kernel=kernel, bandwidth=fit.bandwidth)
        except DesignError as problem:
            return (*out, Check(message("without those nearest to the line"), "not measurable", str(problem)))
        other = again.estimate(estimate.level, sum(again.jump.used), estimate.unit)
        inside = estimate.low <= other.value <= estimate.high
        detail = message(
            "{difference} ({interval}) without those within {hole}",
            difference=change(other, signed=True),
            interval=change_interval(other),
            hole=number(hole),
        )
        out.append(
            Check(message("without those nearest to the line"), "passed" if inside else "warning", detail)
        )
    return tuple(out)


def _placebo_check(units: Lined, kernel: Kernel, level: float) -> Check:
    """Look for jumps at lines that decide nothing: the middle of either side."""
    name = message("no jump at lines that decide nothing")
    said, worst = [], 1.0
    for rows in (units.x < 0, units.x >= 0):
        side = units.part(rows)
        line = float(np.median(side.x))
        try:
            fit = fit_line_jump(side.moved(line), kernel=kernel, bandwidth=None)
        except DesignError:
            continue
        found = fit.estimate(level, sum(fit.jump.used), None)
        worst = min(worst, found.p_value or 1.0)
        said.append(
            message(
                "{line} from the line: {difference} ({interval})",
                line=number(line, signed=True),
                difference=number(found.value, signed=True),
                interval=found.interval(signed=True),
            )
        )
    if not said:
        return Check(name, "not measurable", message("too few units on either side"))
    # two looks share the error that one would have
    return Check(name, "warning" if worst < (1 - level) / 2 else "passed", "; ".join(said), p_value=worst)


def _binned(units: Lined, cutoff: float) -> tuple[Array, Array, Array]:
    """Return middle, mean and size of about twenty bins of equal size on either side."""
    middle, mean, size = [], [], []
    for rows in (units.x < 0, units.x >= 0):
        x, y = units.x[rows], units.y[rows]
        for part in np.array_split(np.arange(len(x)), max(min(20, len(x) // LEAST), 1)):
            middle.append(float(x[part].mean()) + cutoff)
            mean.append(float(y[part].mean()))
            size.append(float(len(part)))
    return np.array(middle), np.array(mean), np.array(size)
