"""Looking several times at growing data: error spending, bounds, and what the looks cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy import optimize, stats

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import check_level
from loyalty_research.stats.counts import check_fraction, check_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "Crossing",
    "GroupSequentialBounds",
    "Spending",
    "crossing",
    "group_sequential_bounds",
    "information_fractions",
    "required_drift",
    "spent",
]

Spending = Literal["obrien-fleming", "pocock", "power"]

_REACH = 9.0
"""Standard deviations from the drift beyond which a statistic is not followed."""
_PER_STEP = 7.0
"""Quadrature nodes per standard deviation of the step between two looks."""


def information_fractions(looks: int | Sequence[float]) -> tuple[float, ...]:
    """Return the share of the data known at each look.

    Args:
        looks: How many looks, evenly spaced, or the shares themselves.

    Raises:
        ArgumentError: When the shares do not rise from above 0 to at most 1.

    Examples:
        >>> information_fractions(4), information_fractions([0.5, 1])
        ((0.25, 0.5, 0.75, 1.0), (0.5, 1.0))
    """
    if isinstance(looks, (int, np.integer, float)):
        count = check_whole(looks, "looks", least=1)
        return tuple((k + 1) / count for k in range(count))
    try:
        shares = tuple(float(t) for t in looks)
    except (TypeError, ValueError):
        shares = ()
    steps = np.diff([0.0, *shares])
    if not shares or not (np.isfinite(steps).all() and (steps > 0).all() and shares[-1] <= 1 + 1e-12):
        raise ArgumentError(
            f"looks is a number of looks, or shares of the data that rise from above 0 to at most 1; got {looks!r}"
        )
    return shares


def spent(fraction: ArrayLike, *, alpha: float, spending: Spending, rho: float = 3.0) -> Floats:
    """Return the two-sided error that may have been spent when a share of the data is known.

    Args:
        fraction: Shares of the data, each in [0, 1].
        alpha: Two-sided test size in all.
        spending: ``"obrien-fleming"`` (hardly any early), ``"pocock"`` (much of it early) or
            ``"power"`` (``alpha * t ** rho``). The first two spend half of ``alpha`` per side.
        rho: Exponent of ``"power"``.

    Examples:
        >>> spent([0.5, 1.0], alpha=0.05, spending="power", rho=2).tolist()
        [0.0125, 0.05]

    References:
        Lan and DeMets (1983), Biometrika 70, 659-663; Kim and DeMets (1987), Biometrika 74,
        149-154, for the power family.
    """
    t = np.clip(np.asarray(fraction, dtype=float), 0, 1)
    if spending == "power":
        return np.asarray(alpha * t**rho)
    if spending == "pocock":
        return np.asarray(alpha * np.log1p((math.e - 1) * t))
    with np.errstate(divide="ignore"):
        return np.asarray(4 * stats.norm.sf(stats.norm.isf(alpha / 4) / np.sqrt(t)))


class _Path:
    """Density of the statistic over the looks at which the study went on.

    The statistic at share t is normal with mean drift * sqrt(t), and its increments on the score
    scale are independent (Armitage, McPherson and Rowe 1969; Jennison and Turnbull 2000, ch. 19).
    """

    def __init__(self, drift: float) -> None:
        self.drift, self.t = drift, 0.0
        self.z: Floats = np.zeros(1)
        self.mass: Floats = np.ones(1)

    def _step(self, t: float) -> tuple[Floats, float]:
        """Return conditional means of the statistic at ``t``, and its standard deviation."""
        step = t - self.t
        means = (self.z * math.sqrt(self.t) + self.drift * step) / math.sqrt(t)
        return means, math.sqrt(step / t)

    def beyond(self, t: float, bound: float) -> tuple[float, float]:
        """Return the probabilities of first reaching +bound and -bound at ``t``."""
        means, sd = self._step(t)
        upper = float(self.mass @ stats.norm.sf((bound - means) / sd))
        lower = float(self.mass @ stats.norm.cdf((-bound - means) / sd))
        return upper, lower

    def overshoot(self, t: float, bound: float) -> float:
        """Return the mean of abs(statistic) where it first reaches the bound at ``t``, times its probability."""
        means, sd = self._step(t)
        a, b = (bound - means) / sd, (-bound - means) / sd
        above = means * stats.norm.sf(a) + sd * stats.norm.pdf(a)
        below = -means * stats.norm.cdf(b) + sd * stats.norm.pdf(b)
        return float(self.mass @ (above + below))

    def go_on(self, t: float, bound: float) -> None:
        """Keep what stayed inside the bound at ``t``."""
        means, sd = self._step(t)
        centre = self.drift * math.sqrt(t)
        low, high = max(-bound, min(centre, 0) - _REACH), min(bound, max(centre, 0) + _REACH)
        count = int(min(max(64, math.ceil(_PER_STEP * (high - low) / sd)), 4000))
        nodes, weights = np.polynomial.legendre.leggauss(count)
        z = low + (high - low) * (nodes + 1) / 2
        density = stats.norm.pdf((z[:, None] - means[None, :]) / sd) @ self.mass / sd
        self.z, self.mass, self.t = z, density * weights * (high - low) / 2, t


@dataclass(frozen=True, slots=True)
class Crossing:
    """What becomes of a study with bounds under one true effect.

    Attributes:
        upper: Probability of first crossing the upper bound at each look.
        lower: Probability of first crossing the lower bound at each look.
        drift: Expected statistic with all data.
        expected_fraction: Share of the data that is needed on average.
        exaggeration: By how much estimates that crossed overstate the effect, on average;
            infinite without an effect.
    """

    upper: tuple[float, ...]
    lower: tuple[float, ...]
    drift: float
    expected_fraction: float
    exaggeration: float

    @property
    def power(self) -> float:
        """Probability of crossing either bound at any look."""
        return sum(self.upper) + sum(self.lower)


def crossing(fractions: Sequence[float], z: Sequence[float], *, drift: float) -> Crossing:
    """Follow a study with symmetric bounds under a true effect.

    Args:
        fractions: Share of the data at each look.
        z: Bound on the absolute statistic at each look.
        drift: Expected statistic with all data; 0 for no effect.

    Examples:
        >>> always = crossing([0.2, 0.4, 0.6, 0.8, 1.0], [1.96] * 5, drift=0.0)
        >>> round(always.power, 3)  # five looks at a fixed 1.96
        0.142

    References:
        Armitage, McPherson and Rowe (1969), JRSS A 132, 235-244; Jennison and Turnbull (2000),
        Group Sequential Methods, ch. 19.
    """
    path = _Path(drift)
    upper, lower, spread = [], [], 0.0
    for t, bound in zip(fractions, z, strict=True):
        above, below = path.beyond(t, bound)
        upper.append(above)
        lower.append(below)
        spread += path.overshoot(t, bound) / math.sqrt(t)
        path.go_on(t, bound)
    stopped = np.array(upper) + np.array(lower)
    going_on = 1 - stopped[:-1].sum()
    expected = float(stopped[:-1] @ np.asarray(fractions[:-1]) + going_on * fractions[-1])
    total = float(stopped.sum())
    flatter = math.inf if drift == 0 else spread / total / abs(drift)
    return Crossing(tuple(upper), tuple(lower), drift, expected, flatter)


@dataclass(frozen=True, slots=True)
class GroupSequentialBounds:
    """Symmetric bounds on a z statistic, one per look.

    Attributes:
        fractions: Share of the data known at each look.
        z: Bound on the absolute statistic.
        spent: Two-sided error spent up to each look.
        level: One minus the two-sided error in all.
        spending: How error is spent.
        rho: Exponent of the power family.
    """

    fractions: tuple[float, ...]
    z: tuple[float, ...]
    spent: tuple[float, ...]
    level: float
    spending: Spending
    rho: float = 3.0

    @property
    def nominal_p(self) -> tuple[float, ...]:
        """Two-sided p-value that reaches each bound."""
        return tuple(float(2 * stats.norm.sf(z)) for z in self.z)

    def crossing(self, *, drift: float = 0.0) -> Crossing:
        """Return what becomes of the study under a true effect; see :func:`crossing`."""
        return crossing(self.fractions, self.z, drift=drift)

    def inflation(self, *, power: float = 0.8) -> float:
        """Return how much more data at the last look than a study with one look needs.

        Args:
            power: Chance to be had of crossing.
        """
        alone = group_sequential_bounds(1, level=self.level)
        return (required_drift(self, power=power) / required_drift(alone, power=power)) ** 2

    def to_frame(self) -> pd.DataFrame:
        """Return look, fraction, z, nominal_p and spent, one row per look."""
        import pandas as pd

        return pd.DataFrame(
            {
                "look": range(1, len(self.z) + 1),
                "fraction": self.fractions,
                "z": self.z,
                "nominal_p": self.nominal_p,
                "spent": self.spent,
            }
        )


def group_sequential_bounds(
    looks: int | Sequence[float],
    *,
    level: float = 0.95,
    spending: Spending = "obrien-fleming",
    rho: float = 3.0,
) -> GroupSequentialBounds:
    """Return bounds that hold the two-sided error over several looks (Lan and DeMets).

    Looks need not be evenly spaced, and bounds up to a look depend on no later one, so a look
    may be moved as long as it is not chosen by what the data say.

    Args:
        looks: How many looks, evenly spaced, or the share of the data at each.
        level: One minus the two-sided error in all.
        spending: ``"obrien-fleming"``, ``"pocock"`` or ``"power"``; see :func:`spent`.
        rho: Exponent of ``"power"``.

    Raises:
        ArgumentError: When an option is out of range.

    Examples:
        >>> [round(z, 3) for z in group_sequential_bounds(5).z]
        [4.877, 3.357, 2.68, 2.29, 2.031]

    References:
        Lan and DeMets (1983), Biometrika 70, 659-663; Jennison and Turnbull (2000), Group
        Sequential Methods, ch. 7 and 19.
    """
    fractions, level = information_fractions(looks), check_level(level)
    if spending not in get_args(Spending):
        raise ArgumentError(f"spending must be one of {', '.join(get_args(Spending))}; got {spending!r}")
    if not (math.isfinite(rho) and rho > 0):
        raise ArgumentError(f"rho must be positive; got {rho!r}")
    cumulative = spent(fractions, alpha=1 - level, spending=spending, rho=rho)
    path, bounds = _Path(0.0), []
    for t, share in zip(fractions, np.diff([0.0, *cumulative]), strict=True):
        bounds.append(_bound(path, t, float(share)))
        path.go_on(t, bounds[-1])
    return GroupSequentialBounds(
        fractions, tuple(bounds), tuple(cumulative.tolist()), level, spending, float(rho)
    )


def _bound(path: _Path, t: float, share: float) -> float:
    """Return the bound that is first crossed at ``t`` with probability ``share``; infinite for none."""
    if path.t == 0:
        return float(stats.norm.isf(share / 2)) if share > 0 else math.inf

    def excess(bound: float) -> float:
        return sum(path.beyond(t, bound)) - share

    if share <= 0 or excess(38.0) > 0:
        return math.inf
    return float(optimize.brentq(excess, 0.0, 38.0, xtol=1e-12))


def required_drift(bounds: GroupSequentialBounds, *, power: float) -> float:
    """Return the expected statistic with all data at which the bounds are crossed with ``power``.

    Args:
        bounds: Bounds.
        power: Chance to be had, above the test size.

    Raises:
        ArgumentError: When ``power`` is not above the test size.

    Examples:
        >>> round(required_drift(group_sequential_bounds(1), power=0.8), 3)
        2.802
    """
    power = check_fraction(power, "power")
    if power <= 1 - bounds.level:
        raise ArgumentError(f"power must exceed the test size {1 - bounds.level:.3g}; got {power!r}")
    return float(optimize.brentq(lambda d: bounds.crossing(drift=d).power - power, 0.0, 30.0, xtol=1e-9))
