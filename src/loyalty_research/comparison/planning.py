"""How many units a comparison needs, and what it can find."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from scipy import optimize, stats

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import check_level
from loyalty_research.stats.counts import check_fraction
from loyalty_research.stats.proportions import (
    detectable_increase,
    power_two_proportions,
    sample_size_two_proportions,
)
from loyalty_research.stats.spending import group_sequential_bounds, required_drift

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loyalty_research.stats.spending import Spending

__all__ = ["minimal_detectable_effect", "power", "sample_size"]

Approximation = Literal["t", "normal", "arcsine"]
# beyond this many degrees of freedom t and normal agree to seven digits, and nct slows down
_NORMAL_FROM = 100_000


def _positive(value: float, name: str, *, above: float = 0.0) -> float:
    if not (math.isfinite(value) and value > above):
        raise ArgumentError(f"{name} must be finite and above {above:g}; got {value!r}")
    return float(value)


def _check(
    sd: float | None,
    baseline: float | None,
    allocation: float,
    covariate_r2: float,
    design_effect: float,
    approximation: str | None,
) -> tuple[float, str]:
    """Return the factor on the variance and the approximation to use."""
    if (sd is None) == (baseline is None):
        raise ArgumentError("give sd= for a mean or a ratio, or baseline= for a proportion, and not both")
    _positive(allocation, "allocation")
    if not 0 <= covariate_r2 < 1:
        raise ArgumentError(f"covariate_r2 is a share of variance from 0 to below 1; got {covariate_r2!r}")
    _positive(design_effect, "design_effect")
    known = ("t", "normal") if baseline is None else ("normal", "arcsine")
    chosen = approximation or known[0]
    if chosen not in known:
        raise ArgumentError(f"approximation is one of {', '.join(known)} here; got {chosen!r}")
    if sd is not None:
        _positive(sd, "sd")
    return (1 - covariate_r2) * design_effect, chosen


def _power_of_mean(standard: float, n: float, allocation: float, level: float, approximation: str) -> float:
    """Return power for a standardised difference, both tails counted."""
    shift = abs(standard) / math.sqrt(1 / n + 1 / (n * allocation))
    dof = n * (1 + allocation) - 2
    if approximation == "normal" or dof > _NORMAL_FROM:
        critical = float(stats.norm.isf((1 - level) / 2))
        return float(stats.norm.sf(critical - shift) + stats.norm.cdf(-critical - shift))
    critical = float(stats.t.isf((1 - level) / 2, dof))
    # the far tail is at most Phi(-shift); scipy gives NaN for it when the shift is large
    far = float(stats.nct.cdf(-critical, dof, shift)) if shift < 8 else 0.0
    return float(stats.nct.sf(critical, dof, shift)) + far


def _effective(n: float, factor: float) -> int:
    return max(2, math.floor(n / factor + 1e-9))


def _inflation(looks: int | Sequence[float] | None, spending: Spending, power: float, level: float) -> float:
    """Return how much more data several looks need than one."""
    if looks is None:
        return 1.0
    return group_sequential_bounds(looks, level=level, spending=spending).inflation(power=power)


def power(
    effect: float,
    *,
    n: float,
    sd: float | None = None,
    baseline: float | None = None,
    allocation: float = 1.0,
    level: float = 0.95,
    covariate_r2: float = 0.0,
    design_effect: float = 1.0,
    approximation: Approximation | None = None,
    looks: int | Sequence[float] | None = None,
    spending: Spending = "obrien-fleming",
) -> float:
    """Return the chance of finding a true effect with a two-sided test.

    Args:
        effect: True difference, treated minus control: in the metric's unit, or in rate.
        n: Units in the control arm.
        sd: Standard deviation of the metric; for a ratio that of (numerator - R denominator) over
            the mean denominator.
        baseline: Control rate, for a proportion; give this or ``sd``.
        allocation: Treated units per control unit.
        level: One minus the two-sided test size.
        covariate_r2: Share of variance that pre-period covariates explain, which adjustment removes.
        design_effect: Variance inflation by clusters, 1 + (m - 1) rho.
        approximation: ``"t"`` (noncentral t, the default for means), ``"normal"`` (the default for
            proportions: pooled z) or ``"arcsine"`` (proportions). Effective units of a proportion are
            rounded down.
        looks: Looks at the data, evenly spaced, or the share known at each; ``n`` is then the size
            at the last one, and power that of crossing a bound at any (Lan and DeMets).
        spending: How error is spent over the looks, as in :func:`group_sequential_bounds`.

    Raises:
        ArgumentError: When an option is out of range.

    References:
        Cohen (1988), Statistical Power Analysis, chapters 2 and 6.

    Examples:
        >>> round(power(0.5, n=64, sd=1.0), 4)
        0.8015
        >>> round(power(0.02, n=3841, baseline=0.10), 3)
        0.8
    """
    factor, chosen = _check(sd, baseline, allocation, covariate_r2, design_effect, approximation)
    check_level(level)
    _positive(n, "n", above=1)
    if not math.isfinite(effect):
        raise ArgumentError(f"effect must be finite; got {effect!r}")
    if sd is not None:
        alone = _power_of_mean(effect / (sd * math.sqrt(factor)), n, allocation, level, chosen)
    else:
        alone = power_two_proportions(
            float(baseline or 0),
            float(baseline or 0) + effect,
            n1=_effective(n, factor),
            n2=_effective(n * allocation, factor),
            level=level,
            method="arcsine" if chosen == "arcsine" else "pooled-z",
        )
    return alone if looks is None else _power_of_looks(alone, looks, spending, level)


def _power_of_looks(alone: float, looks: int | Sequence[float], spending: Spending, level: float) -> float:
    """Return the power of several looks from that of one look at all the data."""
    bounds = group_sequential_bounds(looks, level=level, spending=spending)
    if not 1 - level < alone < 1 - 1e-12:
        return min(alone, 1.0)
    drift = required_drift(group_sequential_bounds(1, level=level), power=alone)
    return float(bounds.crossing(drift=drift).power)


def sample_size(
    effect: float,
    *,
    sd: float | None = None,
    baseline: float | None = None,
    power: float = 0.8,
    allocation: float = 1.0,
    level: float = 0.95,
    covariate_r2: float = 0.0,
    design_effect: float = 1.0,
    approximation: Approximation | None = None,
    looks: int | Sequence[float] | None = None,
    spending: Spending = "obrien-fleming",
) -> float:
    """Return the control units needed to find an effect; round it up.

    Args:
        effect: Difference to find, treated minus control, not zero.
        sd: Standard deviation of the metric.
        baseline: Control rate, for a proportion; give this or ``sd``.
        power: Chance to be had of finding it.
        allocation: Treated units per control unit.
        level: One minus the two-sided test size.
        covariate_r2: As in :func:`power`.
        design_effect: As in :func:`power`.
        approximation: As in :func:`power`.
        looks: As in :func:`power`.
        spending: As in :func:`power`.

    Raises:
        ArgumentError: When an option is out of range.

    Examples:
        >>> round(sample_size(0.5, sd=1.0), 5)
        63.76561
        >>> round(sample_size(0.02, baseline=0.10, approximation="arcsine"), 1)
        3834.6
    """
    factor, chosen = _check(sd, baseline, allocation, covariate_r2, design_effect, approximation)
    check_level(level)
    check_fraction(power, "power")
    if not (math.isfinite(effect) and effect != 0):
        raise ArgumentError("effect must be finite and not zero: no number of units finds nothing")
    if power <= 1 - level:
        raise ArgumentError(f"power must exceed the test size {1 - level:.3g}; got {power!r}")
    if sd is None:
        base = float(baseline or 0)
        method: Literal["arcsine", "pooled-z"] = "arcsine" if chosen == "arcsine" else "pooled-z"
        needed = sample_size_two_proportions(
            base, base + effect, power=power, level=level, ratio=allocation, method=method
        )
        return needed * factor * _inflation(looks, spending, power, level)
    standard = effect / (sd * math.sqrt(factor))
    z = float(stats.norm.isf((1 - level) / 2) + stats.norm.isf(1 - power))
    guess = (1 + 1 / allocation) * (z / standard) ** 2
    # below three units in all there are no degrees of freedom
    least = 3 / (1 + allocation)
    top = max(4 * guess, least + 10)

    def missing(n: float) -> float:
        return _power_of_mean(standard, n, allocation, level, chosen) - power

    if missing(least) >= 0:
        return least
    needed = float(optimize.brentq(missing, least, top, xtol=1e-10, rtol=1e-13))
    return needed * _inflation(looks, spending, power, level)


def minimal_detectable_effect(
    *,
    n: float,
    sd: float | None = None,
    baseline: float | None = None,
    power: float = 0.8,
    allocation: float = 1.0,
    level: float = 0.95,
    covariate_r2: float = 0.0,
    design_effect: float = 1.0,
    looks: int | Sequence[float] | None = None,
    spending: Spending = "obrien-fleming",
) -> float:
    """Return the smallest increase that a comparison of this size finds with this power.

    Args:
        n: Units in the control arm.
        sd: Standard deviation of the metric.
        baseline: Control rate, for a proportion; give this or ``sd``.
        power: Chance to be had of finding it.
        allocation: Treated units per control unit.
        level: One minus the two-sided test size.
        covariate_r2: As in :func:`power`.
        design_effect: As in :func:`power`.
        looks: As in :func:`power`.
        spending: As in :func:`power`.

    Raises:
        ArgumentError: When an option is out of range, or no increase can be found.

    Examples:
        >>> round(minimal_detectable_effect(n=63.76561, sd=1.0), 4)
        0.5
    """
    factor, chosen = _check(sd, baseline, allocation, covariate_r2, design_effect, None)
    check_level(level)
    check_fraction(power, "power")
    _positive(n, "n", above=1)
    if power <= 1 - level:
        raise ArgumentError(f"power must exceed the test size {1 - level:.3g}; got {power!r}")
    n = n / _inflation(looks, spending, power, level)
    if sd is None:
        return detectable_increase(
            float(baseline or 0),
            n1=_effective(n * allocation, factor),
            n2=_effective(n, factor),
            power=power,
            level=level,
        )
    z = float(stats.norm.isf((1 - level) / 2) + stats.norm.isf(1 - power))
    low, high = 0.0, z * math.sqrt((1 + 1 / allocation) / n)

    def missing(standard: float) -> float:
        return _power_of_mean(standard, n, allocation, level, chosen) - power

    while missing(high) < 0:
        low, high = high, 1.5 * high
    return float(optimize.brentq(missing, low, high, xtol=1e-14)) * sd * math.sqrt(factor)
