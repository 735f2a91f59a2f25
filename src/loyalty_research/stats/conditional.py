"""Survival of those who are still there at a given time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty_research.errors import ArgumentError
from loyalty_research.stats.survival import RiskCounts, curve_from_counts, survival_at

if TYPE_CHECKING:
    from loyalty_research.stats.survival import SurvivalCurve

__all__ = ["conditional_curve"]


def conditional_curve(curve: SurvivalCurve, alive_at: float) -> SurvivalCurve:
    """Return the curve of those still there at a time: S(t) / S(alive_at) from then on.

    Args:
        curve: A survival curve.
        alive_at: Time at which they are known to be still there.

    Returns:
        Steps after ``alive_at``, 1 there; its variance is Greenwood's sum over those steps alone.

    Raises:
        ArgumentError: When ``alive_at`` lies outside the curve, or nobody is followed after it.

    Examples:
        >>> from loyalty_research.stats.survival import kaplan_meier
        >>> curve = kaplan_meier([5, 8, 8, 12], [1, 1, 0, 1])
        >>> conditional_curve(curve, 5).survival.round(4)
        array([0.6667, 0.    ])

    References:
        Klein, Moeschberger (2003), section 4.3: the product-limit estimate given survival past a
        time multiplies the factors after it.
    """
    if not curve.first <= alive_at < curve.last:
        raise ArgumentError(
            f"alive_at = {alive_at:g} lies outside the days watched ({curve.first:g} to before {curve.last:g})"
        )
    if survival_at(curve, alive_at) == 0:
        raise ArgumentError(f"nobody is still there at alive_at = {alive_at:g}")
    later = curve.times > alive_at
    counts = RiskCounts(
        curve.times[later],
        curve.at_risk[later],
        curve.events[later],
        curve.censored[later],
        round(float(curve.at_risk[later][0])),
        float(alive_at),
    )
    return curve_from_counts(counts)
