"""Intervals that stay valid however often one looks."""

from __future__ import annotations

import math

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, check_level

__all__ = ["confidence_sequence"]


def confidence_sequence(
    value: float,
    *,
    standard_error: float,
    n: float,
    optimal_n: float,
    level: float = 0.95,
    unit: str | None = None,
) -> Estimate:
    """Return an interval that covers at every look at once, for large samples.

    Look as often as wanted and stop when wanted: the chance that any of the intervals misses is
    at most ``1 - level``, asymptotically. The price is width, least near ``optimal_n``.

    Args:
        value: Estimate at this look, a difference of means for instance.
        standard_error: Its standard error at this look.
        n: Units seen so far.
        optimal_n: Units at which the interval should be narrowest; chosen before the first look.
        level: Coverage aimed at over all looks.
        unit: Unit of the estimate.

    Returns:
        The interval, method ``"asymptotic confidence sequence"``.

    Raises:
        ArgumentError: When an option is out of range.

    References:
        Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), Annals of Statistics 52, 2613-2640,
        theorem 2.2, with rho chosen to be narrowest at ``optimal_n``.

    Examples:
        >>> confidence_sequence(0.0, standard_error=0.01, n=10_000, optimal_n=5_000).high
        0.0306...
    """
    level = check_level(level)
    for name, given in (("standard_error", standard_error), ("n", n), ("optimal_n", optimal_n)):
        if not (math.isfinite(given) and given > 0):
            raise ArgumentError(f"{name} must be positive and finite; got {given!r}")
    alpha = 1 - level
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / optimal_n
    scale = n * rho2 + 1
    half = (
        standard_error
        * math.sqrt(n)
        * math.sqrt(2 * scale / (n * n * rho2) * math.log(math.sqrt(scale) / alpha))
    )
    return Estimate(value, value - half, value + half, level, "asymptotic confidence sequence", int(n), unit)
