"""Closed forms: orders, days and chances of reaching a line of spending.

Order values are gamma with a mean and a coefficient of variation ``cv`` (1 is exponential, 0 is a
fixed value), orders arrive as a Poisson process.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms._checks import at_least, positive

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "days_to_line",
    "expected_multiples",
    "limited_mean",
    "orders_to_line",
    "reach_probability",
    "size_biased_share",
    "uplift_to_break_even",
]

_EDGE = 1e-9


def _gamma(mean: float, cv: float) -> tuple[float, float]:
    """Return shape and scale."""
    return 1 / cv**2, mean * cv**2


def _sum_until_nothing(terms: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> float:
    """Sum falling terms for n = 1, 2, ... until they add nothing."""
    total, first, size = 0.0, 1, 256
    while first < 50_000_000:
        found = terms(np.arange(first, first + size, dtype=float))
        total += float(found.sum())
        if found[-1] <= 1e-17 * max(total, 1e-280):
            return total
        first, size = first + size, min(2 * size, 1_000_000)
    raise ArgumentError("the line is too far away for the mean given: more than 50,000,000 steps")


def orders_to_line(line: float, *, mean_order: float, cv: float = 1.0) -> float:
    """Return how many orders it takes on average until their sum reaches a line.

    Args:
        line: Spending to reach, in the unit of ``mean_order``; 0 or less takes no order.
        mean_order: Mean value of an order.
        cv: Coefficient of variation of order values.

    Returns:
        The expected number of orders, the sum over n of P(n orders stay below the line).

    Raises:
        ArgumentError: When the mean is not above 0 or the variation is negative.

    References:
        Cox (1962), Renewal Theory, section 4.1; for exponential values it is 1 + line / mean.

    Examples:
        >>> round(orders_to_line(50, mean_order=10), 6), orders_to_line(50, mean_order=12, cv=0)
        (6.0, 5.0)
    """
    positive("mean_order", mean_order)
    at_least("cv", cv)
    if line <= 0:
        return 0.0
    if cv == 0:
        return float(math.ceil(line / mean_order - _EDGE))
    shape, scale = _gamma(mean_order, cv)
    return 1.0 + _sum_until_nothing(
        lambda n: np.asarray(special.gammainc(n * shape, line / scale), dtype=float)
    )


def days_to_line(line: float, *, orders_per_day: float, mean_order: float, cv: float = 1.0) -> float:
    """Return the days it takes on average to spend up to a line (Wald's identity).

    Args:
        line: Spending to reach.
        orders_per_day: Rate of orders, Poisson; the clock starts at any moment.
        mean_order: Mean value of an order.
        cv: Coefficient of variation of order values.

    Returns:
        Expected days for a customer who never stops buying.

    Raises:
        ArgumentError: When a figure is out of its range.

    Examples:
        >>> round(days_to_line(150, orders_per_day=0.2, mean_order=5), 3)
        155.0
    """
    rate = positive("orders_per_day", orders_per_day)
    return orders_to_line(line, mean_order=mean_order, cv=cv) / rate


def reach_probability(
    line: float, *, days: float, orders_per_day: float, mean_order: float, cv: float = 1.0
) -> float:
    """Return the chance that spending reaches a line within some days.

    Args:
        line: Spending to reach.
        days: Time allowed, in days.
        orders_per_day: Rate of orders, Poisson.
        mean_order: Mean value of an order.
        cv: Coefficient of variation of order values.

    Returns:
        P(compound Poisson-gamma sum >= line), in [0, 1].

    Raises:
        ArgumentError: When a figure is out of its range.

    Examples:
        >>> round(reach_probability(10, days=10, orders_per_day=0.1, mean_order=10, cv=0), 6)
        0.632121
    """
    mean = positive("orders_per_day", orders_per_day) * at_least("days", days)
    positive("mean_order", mean_order)
    at_least("cv", cv)
    if line <= 0:
        return 1.0
    if cv == 0:
        return float(stats.poisson.sf(math.ceil(line / mean_order - _EDGE) - 1, mean))
    shape, scale = _gamma(mean_order, cv)
    top = int(mean + 12 * math.sqrt(mean) + 40)
    n = np.arange(1, top + 1)
    chance = stats.poisson.pmf(n, mean) * special.gammaincc(n * shape, line / scale)
    return float(min(chance.sum(), 1.0))


def expected_multiples(line: float, *, mean: float, cv: float = 1.0, head_start: float = 0.0) -> float:
    """Return how often a gamma total passes another multiple of a line, on average.

    Args:
        line: Spending for one reward.
        mean: Mean total spending.
        cv: Coefficient of variation between customers; 0 means that all spend the mean.
        head_start: What counts before any spending.

    Returns:
        E[floor((S + head start) / line)].

    Raises:
        ArgumentError: When a figure is out of its range.

    Examples:
        >>> round(expected_multiples(50, mean=200), 6)  # 1 / (exp(50 / 200) - 1)
        3.520812
    """
    positive("line", line)
    positive("mean", mean)
    at_least("cv", cv)
    at_least("head_start", head_start)
    if cv == 0:
        return float(math.floor((mean + head_start) / line + _EDGE))
    shape, scale = _gamma(mean, cv)
    done = math.floor(head_start / line)  # paid for before any spending
    left = head_start - done * line
    return done + _sum_until_nothing(
        lambda k: np.asarray(special.gammaincc(shape, (k * line - left) / scale), dtype=float)
    )


def limited_mean(limit: float, *, mean: float, cv: float = 1.0) -> float:
    """Return E[min(S, limit)] of a gamma total S.

    Args:
        limit: Where counting stops; may be infinite.
        mean: Mean of S.
        cv: Its coefficient of variation.

    References:
        Klugman, Panjer and Willmot (2012), Loss Models, appendix A (limited expected value).

    Examples:
        >>> round(limited_mean(100, mean=100), 4)  # 100 (1 - exp(-1))
        63.2121
    """
    if math.isinf(limit):
        return mean
    if cv == 0:
        return min(mean, limit)
    shape, scale = _gamma(mean, cv)
    x = limit / scale
    return float(mean * special.gammainc(shape + 1, x) + limit * special.gammaincc(shape, x))


def size_biased_share(low: float, high: float, *, mean: float, cv: float = 1.0) -> float:
    """Return the share of all spending that comes from customers whose total lies in [low, high).

    Args:
        low: Lower edge.
        high: Upper edge; may be infinite.
        mean: Mean total.
        cv: Its coefficient of variation between customers.

    Examples:
        >>> round(size_biased_share(100, float("inf"), mean=100), 4)  # 2 / e
        0.7358
    """
    if cv == 0:
        return float(low <= mean < high)
    shape, scale = _gamma(mean, cv)
    top = 1.0 if math.isinf(high) else float(special.gammainc(shape + 1, high / scale))
    return top - float(special.gammainc(shape + 1, low / scale))


def uplift_to_break_even(margin: float, cost: float) -> float:
    """Return the rise of sales at which a reward that all sales earn pays for itself.

    Sales before give ``margin``; afterwards each earns ``margin - cost``, so the rise u solves
    (1 + u) (margin - cost) = margin.

    Args:
        margin: Margin per unit (of money, or per order) before rewards.
        cost: Cost of rewards per the same unit.

    Returns:
        The rise as a fraction; infinite when the reward costs the whole margin or more.

    Examples:
        >>> round(uplift_to_break_even(0.30, 0.05), 6), uplift_to_break_even(0.05, 0.05)
        (0.2, inf)
    """
    return cost / (margin - cost) if margin > cost else math.inf
