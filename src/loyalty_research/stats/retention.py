"""What a rise in retention multiplies lifetime value by, in closed form."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from loyalty_research.errors import ArgumentError
from loyalty_research.i18n import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["retention_multiplier", "retention_table"]


def retention_multiplier(retention: float, *, annual_discount_rate: float, points: float = 0.05) -> float:
    """Return the factor on lifetime value when yearly retention rises by some points, by the formula.

    With a constant margin m a year and constant retention r, value is m (1 + d)/(1 + d - r), so the
    factor is (1 + d - r)/(1 + d - r - points). It holds for all the future and equal customers only.

    Args:
        retention: Share of customers kept from year to year.
        annual_discount_rate: Effective annual rate d.
        points: Rise in retention, as a fraction.

    Raises:
        ArgumentError: When a share is out of range, or retention would reach 1 + d.

    Examples:
        >>> round(retention_multiplier(0.85, annual_discount_rate=0.1), 2)
        1.25

    References:
        Reichheld and Sasser (1990), Zero Defections: Quality Comes to Services, Harvard Business
        Review 68(5), for the claim; Gupta and Lehmann (2003), Customers as Assets, Journal of
        Interactive Marketing 17(1), for the formula.
    """
    rate = _rate(annual_discount_rate)
    if not (0 <= retention <= 1 and 0 < points <= 1):
        raise ArgumentError(
            f"retention and points must be shares from 0 to 1; got {retention!r} and {points!r}"
        )
    left = 1 + rate - retention
    if retention + points > 1 or not left - points > 1e-12:
        raise ArgumentError(
            f"retention cannot rise from {percent(retention)} by {points * 100:g} points: it would pass 100%, or value "
            "would be endless; take a lower retention or a higher discount rate"
        )
    return left / (left - points)


def retention_table(
    *,
    retentions: Sequence[float] = (0.6, 0.7, 0.8, 0.85, 0.9),
    annual_discount_rates: Sequence[float] = (0.0, 0.1, 0.2),
    points: float = 0.05,
) -> pd.DataFrame:
    """Tabulate what the formula says of a rise in retention, which the claim of 25 to 100% rests on.

    Args:
        retentions: Yearly retention today, one row each.
        annual_discount_rates: One column each.
        points: Rise in retention, as a fraction.

    Returns:
        Gain in value as a fraction; the index is retention, the columns are discount rates. NaN where
        value would be endless or retention pass 100%.

    Raises:
        ArgumentError: When a share is out of range.

    Examples:
        >>> retention_table(retentions=[0.8, 0.85, 0.9], annual_discount_rates=[0, 0.1]).round(2)
        annual_discount_rate   0.0   0.1
        retention
        0.80                  0.33  0.20
        0.85                  0.50  0.25
        0.90                  1.00  0.33
    """

    def gain(retention: float, rate: float) -> float:
        if retention + points > 1 or not 1 + rate - retention - points > 1e-12:
            return math.nan
        return retention_multiplier(retention, annual_discount_rate=rate, points=points) - 1

    return pd.DataFrame(
        [[gain(r, _rate(d)) for d in annual_discount_rates] for r in retentions],
        index=pd.Index(retentions, name="retention"),
        columns=pd.Index(annual_discount_rates, name="annual_discount_rate"),
    )


def _rate(rate: float) -> float:
    if not (math.isfinite(rate) and rate >= 0):
        raise ArgumentError(
            f"annual_discount_rate must be a fraction of 0 or more, such as 0.1; got {rate!r}"
        )
    return float(rate)
