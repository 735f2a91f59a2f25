"""How many more orders members must place for a mechanism to pay, found on simulated customers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, check_level
from loyalty_research.mechanisms import NoProgramme
from loyalty_research.programme.scenarios import Scenario, play_year, with_assumptions
from loyalty_research.programme.what_if import MARGIN, check_shop, mean_over_seeds, read_seeds
from loyalty_research.simulate import read_population

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from loyalty_research.mechanisms import Mechanism
    from loyalty_research.simulate import PopulationTruth

    Floats = NDArray[np.float64]

__all__ = ["extra_orders_to_break_even"]

FIRST, MOST = 0.1, 3.0
STEPS = 12


def extra_orders_to_break_even(
    scenario: Scenario | Mechanism,
    *,
    population: PopulationTruth | Mapping[str, Any] | None = None,
    seeds: Sequence[int] | int = 10,
    margin: float = MARGIN,
    customers: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """Return the extra orders of the average member at which a mechanism earns what no programme does.

    All else is as the scenario has it: who joins, how long members stay, what they take. Where a
    mechanism's own ``break_even`` follows from its rules alone, this counts who joins and when
    rewards fall due.

    Args:
        scenario: The mechanism with its assumptions; a plain mechanism takes those of
            :func:`assumed_scenario`. Its ``rate_effect`` is what is looked for.
        population: Parameters of the customers, as for ``compare_mechanisms``.
        seeds: As for ``compare_mechanisms``.
        margin: Margin before rewards, a fraction of spend.
        customers: Customers per shop.
        level: Coverage of the interval.

    Returns:
        Extra orders as a fraction of what members would order anyway; 0 where it pays without any,
        infinite where four times as many orders would not do. The interval is Student's t of the
        gain at that point over its slope (delta method, simulation error only).

    Raises:
        ArgumentError: When the scenario or an option cannot be used, or nobody joins.

    Examples:
        >>> from loyalty_research.mechanisms import Points
        >>> five = Points(points_per_unit=100, reward_points=1, reward_value=0.0005)  # 5% of spend
        >>> found = extra_orders_to_break_even(
        ...     Scenario(mechanism=five, join_share=1.0), seeds=5, margin=0.3, customers=300)
        >>> abs(found.value - 0.2) < 0.02  # .05 / (.30 - .05)
        True
    """
    check_level(level)
    check_shop(margin, customers)
    shops, order = read_population(population), read_seeds(seeds)
    program = with_assumptions(scenario, shops)
    none = Scenario(mechanism=NoProgramme())
    base = [_profit(none, shops, s, margin, customers) for s in order]

    def gains(effect: float) -> Floats:
        moved = program.with_value("rate_effect", effect)
        return np.array([_profit(moved, shops, s, margin, customers) for s in order]) - base

    joined = [play_year(program, shops, customers=customers, seed=s).members for s in order]
    if not any(joined):
        raise ArgumentError(f"nobody joins {program.label} in any of the shops, so no response can pay")
    at_low = gains(0.0)
    if at_low.mean() >= 0:
        return _known(0.0, len(order), level)
    high = FIRST
    while (at_high := gains(high)).mean() <= 0:
        if high == MOST:
            return _known(math.inf, len(order), level)
        high = min(4 * high, MOST)
    effect, at = _crossing(gains, high, float(at_low.mean()), float(at_high.mean()))
    slope = (float(at_high.mean()) - float(at_low.mean())) / high
    error = mean_over_seeds(at, level, paired=True)
    half = (error.high - error.low) / 2 / slope
    return Estimate(
        effect,
        max(effect - half, 0.0),
        effect + half,
        level=level,
        method="t over seeds, delta",
        n=len(order),
        unit="fraction",
    )


def _crossing(
    gains: Callable[[float], Floats], high: float, f_low: float, f_high: float
) -> tuple[float, Floats]:
    """Return where the mean gain crosses 0 between 0 and ``high``, and the gains there.

    Regula falsi in its Illinois variant: the gain rises almost in a straight line.
    """
    low, side, near = 0.0, 0, 1e-4 * (abs(f_low) + abs(f_high))
    for step in range(STEPS):
        effect = (low * f_high - high * f_low) / (f_high - f_low)
        at = gains(effect)
        f = float(at.mean())
        if abs(f) < near or step == STEPS - 1:
            break
        if f < 0:
            low, f_low, f_high, side = effect, f, f_high / 2 if side < 0 else f_high, -1
        else:
            high, f_high, f_low, side = effect, f, f_low / 2 if side > 0 else f_low, 1
    return effect, at


def _known(value: float, n: int, level: float) -> Estimate:
    return Estimate(value, math.nan, math.nan, level=level, method="end of range", n=n, unit="fraction")


def _profit(
    scenario: Scenario, population: PopulationTruth, seed: int, margin: float, customers: int
) -> float:
    return play_year(scenario, population, customers=customers, seed=seed).outcomes(margin)["profit"]
