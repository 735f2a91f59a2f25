"""Simultaneous confidence bands: critical values of the limiting processes, computed.

References:
    Hall, Wellner (1980), Biometrika 67. Nair (1984), Technometrics 26. Klein, Moeschberger
    (2003), section 4.4.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import check_level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["BandKind", "band_reach", "equal_precision_critical", "hall_wellner_critical"]

BandKind = Literal["equal-precision", "hall-wellner"]

_TERMS = 48
_NODES = 48


def hall_wellner_critical(low: float, high: float, *, level: float = 0.95) -> float:
    """Return c with P(sup over [low, high] of |Brownian bridge| <= c) = level.

    Args:
        low: Where the range begins, from 0.
        high: Where it ends, up to 1.
        level: Probability.

    Raises:
        ArgumentError: When the range is empty or leaves [0, 1].

    Examples:
        >>> round(hall_wellner_critical(0.0, 1.0), 4)  # Kolmogorov's
        1.3581

    References:
        Hall, Wellner (1980). Between its ends the bridge stays within constant limits with the
        probability that reflection gives; the ends are integrated out by Gauss-Legendre.
    """
    from scipy.optimize import brentq

    check_level(level)
    if not 0 <= low < high <= 1:
        raise ArgumentError(f"a band needs 0 <= low < high <= 1; got {low!r} and {high!r}")
    return float(brentq(lambda c: _bridge_stays(c, low, high) - level, 1e-2, 5.0, xtol=1e-12))


def _bridge_stays(c: float, low: float, high: float) -> float:
    """Return P(|B(u)| <= c for low <= u <= high) of a Brownian bridge."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    span = high - low
    if low == 0:
        x, mass = np.zeros(1), np.ones(1)
    else:
        sd = math.sqrt(low * (1 - low))
        edge = min(c, 9 * sd)
        x = edge * nodes
        mass = edge * weights * np.exp(-0.5 * (x / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
    if high == 1:
        return float(mass @ _within(x, np.zeros_like(x), span, c))
    middle = x * (1 - high) / (1 - low)
    sd = math.sqrt(span * (1 - high) / (1 - low))
    bottom, top = np.maximum(-c, middle - 9 * sd), np.minimum(c, middle + 9 * sd)
    half = np.maximum(top - bottom, 0) / 2
    y = bottom[:, None] + half[:, None] * (nodes + 1)
    density = np.exp(-0.5 * ((y - middle[:, None]) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
    stay = _within(x[:, None], y, span, c)
    return float(mass @ ((density * stay) @ weights * half))


def _within(x: Floats, y: Floats, span: float, c: float) -> Floats:
    """Return P(bridge from x to y over ``span`` stays within -c and c), by reflection."""
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    straight = (y - x) ** 2
    reach = 2 + math.ceil(3 * math.sqrt(span) / c)
    for k in range(-reach, reach + 1):
        shift = 4 * k * c
        total += np.exp(-((y - x + shift) ** 2 - straight) / (2 * span))
        total -= np.exp(-((2 * c - y - x + shift) ** 2 - straight) / (2 * span))
    return np.clip(total, 0.0, 1.0)


def equal_precision_critical(low: float, high: float, *, level: float = 0.95) -> float:
    """Return c with P(sup over [low, high] of |B(u)| / sqrt(u (1 - u)) <= c) = level.

    Args:
        low: Where the range begins, above 0.
        high: Where it ends, below 1.
        level: Probability.

    Raises:
        ArgumentError: When the range is empty or reaches 0 or 1, where no such c exists.

    Examples:
        >>> round(equal_precision_critical(0.1, 0.9), 3)
        3.052

    References:
        Nair (1984); Borovkov, Sycheva (1968). With s = logit(u) / 2 the standardised bridge is a
        stationary Ornstein-Uhlenbeck process; the chance that it stays within limits is a sum
        over eigenfunctions of its generator, found by Galerkin's method.
    """
    from scipy.optimize import brentq

    check_level(level)
    if not 0 < low < high < 1:
        raise ArgumentError(f"an equal-precision band needs 0 < low < high < 1; got {low!r} and {high!r}")
    span = 0.5 * (math.log(high / (1 - high)) - math.log(low / (1 - low)))
    return float(brentq(lambda c: _process_stays(float(c), span) - level, 0.3, 8.0, xtol=1e-10))


def _process_stays(c: float, span: float) -> float:
    """Return P(|X(s)| <= c for 0 <= s <= span) of a stationary process with covariance exp(-|s|)."""
    rates, shares = _modes(c)
    return float(shares @ np.exp(-rates * span))


@lru_cache(maxsize=256)
def _modes(c: float) -> tuple[Floats, Floats]:
    """Return decay rates and shares of the even modes that vanish at -c and c."""
    nodes, weights = np.polynomial.legendre.leggauss(2 * _TERMS)
    x, weights = c * nodes, c * weights
    wave = (2 * np.arange(_TERMS) + 1) * math.pi / (2 * c)
    basis = np.cos(wave[:, None] * x) / math.sqrt(c)
    potential = (basis * (x**2 / 4 - 0.5) * weights) @ basis.T
    rates, vectors = np.linalg.eigh(np.diag(wave**2) + potential)
    root = np.exp(-(x**2) / 4) / (2 * math.pi) ** 0.25
    shares: Floats = ((basis * weights) @ root @ vectors) ** 2
    return rates, shares


def band_reach(
    scaled: Floats, kind: BandKind, *, size: float, low: float, high: float, level: float
) -> tuple[Floats, float]:
    """Return how far a simultaneous band reaches from the estimate, in units of the log scale.

    Args:
        scaled: Variance of log S(t) (or of the cumulative hazard), shape ``(k,)``.
        kind: ``"equal-precision"`` or ``"hall-wellner"``.
        size: Number of observations; for Hall-Wellner it sets the band's shape alone.
        low: Share n v / (1 + n v) where the range begins.
        high: The same where it ends.
        level: Confidence level.

    Returns:
        The reach at each time and the critical value.

    Raises:
        ArgumentError: When ``kind`` is unknown or the range is empty.

    Examples:
        >>> import numpy as np
        >>> reach, critical = band_reach(np.array([0.01, 0.04]), "hall-wellner", size=25, low=0.2,
        ...     high=0.5, level=0.95)
        >>> (reach / critical).round(4)
        array([0.25, 0.4 ])

    References:
        Klein, Moeschberger (2003), eq. 4.4.1 and 4.4.4.
    """
    if kind == "equal-precision":
        critical = equal_precision_critical(low, high, level=level)
        return critical * np.sqrt(scaled), critical
    if kind == "hall-wellner":
        critical = hall_wellner_critical(low, high, level=level)
        return critical * (1 + size * scaled) / math.sqrt(size), critical
    raise ArgumentError(f"kind must be 'equal-precision' or 'hall-wellner'; got {kind!r}")
