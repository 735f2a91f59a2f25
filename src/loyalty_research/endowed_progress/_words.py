"""Differences and probabilities in words, as every card result says them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from loyalty_research.estimates import Estimate

__all__ = ["chance_words", "points", "points_interval"]


def points(value: float) -> str:
    """Format a difference of fractions in percentage points.

    Examples:
        >>> points(0.1533)
        '15.3 points'
    """
    return message("{value} points", value=number(100 * value, digits=1))


def chance_words(probability: float) -> str:
    """Format a probability without calling anything certain.

    Examples:
        >>> chance_words(0.9787), chance_words(0.99999), chance_words(0.0001)
        ('97.9%', 'more than 99.9%', 'less than 0.1%')
    """
    if probability > 0.9995:
        return message("more than 99.9%")
    if probability < 0.0005:
        return message("less than 0.1%")
    return percent(probability)


def points_interval(estimate: Estimate) -> str:
    """Say the interval of a difference of fractions in percentage points."""
    return message(
        "{level} interval {low} to {high}",
        level=percent(estimate.level, digits=0),
        low=number(100 * estimate.low, digits=1),
        high=number(100 * estimate.high, digits=1),
    )
