"""How sure a gain is when all assumptions may be off at once: draws over their ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from zlib import crc32

import numpy as np

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, percent
from loyalty_research.mechanisms import NoProgramme
from loyalty_research.programme.scenarios import Scenario, play_year, rule_figures, with_assumptions
from loyalty_research.programme.tornado import check_swings, default_swings
from loyalty_research.programme.what_if import MARGIN, check_shop
from loyalty_research.simulate import read_population
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.mechanisms import Mechanism
    from loyalty_research.simulate import PopulationTruth

    Floats = NDArray[np.float64]

__all__ = ["AssumptionOdds", "assumption_odds", "triangular"]

MIDDLE = 0.8


@dataclass(frozen=True, repr=False)
class AssumptionOdds(Result):
    """Result of :func:`assumption_odds`.

    Attributes:
        pays: Share of draws in which the mechanism earns more than no programme.
        gain: Median gain in profit per customer, with the middle 80% of draws as its limits.
        scenario: Label of the scenario.
        draws: One row per draw: ``gain`` and every assumption.
    """

    title: ClassVar[str] = "How sure the gain is over the range of assumptions"

    pays: Estimate
    gain: Estimate
    scenario: str
    draws: pd.DataFrame

    def _rows(self) -> Iterable[Row]:
        return (
            Row("pays", self.pays, group=self.scenario, estimand="share of draws with a gain"),
            Row("profit", self.gain, group=self.scenario, estimand="median of draws, middle 80%"),
        )

    def _verdict(self) -> str:
        return message(
            "With all assumptions anywhere in their ranges, {name} pays in {share} of draws; in the middle "
            "{middle} of them it brings between {low} and {high} per customer and year.",
            name=self.scenario,
            share=percent(self.pays.value, digits=0),
            middle=percent(MIDDLE, digits=0),
            low=self.gain.format(self.gain.low, signed=True),
            high=self.gain.format(self.gain.high, signed=True),
        )


def triangular(luck: Floats, low: float, middle: float, high: float) -> Floats:
    """Return quantiles of a triangular distribution, highest at the middle.

    Args:
        luck: Probabilities.
        low: Lower end.
        middle: Mode, within the ends; moved to the nearer one where it is not.
        high: Upper end, above the lower.

    Examples:
        >>> triangular(np.array([0.0, 0.25, 1.0]), 0.0, 1.0, 4.0)
        array([0., 1., 4.])
    """
    mode = min(max(middle, low), high)
    width, share = high - low, (mode - low) / (high - low)
    left = low + np.sqrt(luck * width * (mode - low))
    right = high - np.sqrt((1 - luck) * width * (high - mode))
    return np.asarray(np.where(luck < share, left, right), dtype=float)


def assumption_odds(
    scenario: Scenario | Mechanism,
    *,
    swings: Mapping[str, tuple[float, float]] | None = None,
    population: PopulationTruth | Mapping[str, Any] | None = None,
    draws: int = 100,
    seed: int = 0,
    margin: float = MARGIN,
    customers: int = 1000,
    currency: str | None = None,
    level: float = 0.95,
) -> AssumptionOdds:
    """Let all assumptions move at once over their ranges, each draw on a shop of its own.

    Every draw takes each assumption from a triangular distribution over its range, highest at the
    middle value, independently of the others, and plays a year of another shop with and without the
    mechanism. The same seed gives an assumption the same luck for every mechanism.

    Args:
        scenario: The mechanism with its assumptions in the middle; a plain mechanism takes those of
            :func:`assumed_scenario`.
        swings: Assumption to its low and high value, as for ``assumption_tornado``.
        population: Parameters of the customers, as for ``compare_mechanisms``.
        draws: How many, 20 or more.
        seed: Seed of the draws.
        margin: Margin in the middle, a fraction of spend.
        customers: Customers per shop.
        currency: ISO 4217 code of the money, for display.
        level: Coverage of the interval of the share.

    Returns:
        The share of draws that pay (Wilson; Monte Carlo error only), and the median gain with the
        middle 80% of draws. They are as good as the ranges.

    Raises:
        ArgumentError: When an assumption or an option cannot be used.

    Examples:
        >>> from loyalty_research.mechanisms import Points
        >>> found = assumption_odds(Points(reward_points=50, reward_value=5), draws=20, customers=100)
        >>> 0 <= found.pays.value <= 1
        True
    """
    check_level(level)
    check_shop(margin, customers)
    for name, value, least in (("draws", draws, 20), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise ArgumentError(f"{name} must be a whole number, at least {least}; got {value!r}")
    shops = read_population(population)
    scenario = with_assumptions(scenario, shops)
    ranges = default_swings(scenario, margin=margin) if swings is None else dict(swings)
    middles = {**scenario.assumptions, **rule_figures(scenario.mechanism), "margin": margin}
    check_swings(ranges, middles)
    table = _draws(scenario, ranges, middles, shops, int(draws), int(seed), margin, customers)
    gains = table["gain"].to_numpy()
    low, middle, high = np.quantile(gains, [(1 - MIDDLE) / 2, 0.5, (1 + MIDDLE) / 2])
    gain = Estimate(
        float(middle),
        float(low),
        float(high),
        level=MIDDLE,
        method="draws of assumptions",
        n=len(gains),
        unit=currency,
    )
    assumed = Check(
        message("Ranges are assumed"),
        "warning",
        message("the odds are as good as the ranges of the assumptions, which are inputs and no findings"),
    )
    pays = proportion(int((gains > 0).sum()), len(gains), level=level)
    return AssumptionOdds(pays, gain, scenario.label, table, checks=(assumed,))


def _draws(
    scenario: Scenario,
    ranges: Mapping[str, tuple[float, float]],
    middles: Mapping[str, float],
    population: PopulationTruth,
    draws: int,
    seed: int,
    margin: float,
    customers: int,
) -> pd.DataFrame:
    """Return the gain of each draw with its assumptions."""
    import pandas as pd

    values = {
        name: triangular(
            np.random.default_rng([seed, crc32(name.encode())]).random(draws), low, middles[name], high
        )
        for name, (low, high) in ranges.items()
    }
    # shops of their own: seeds that a comparison from 0 on does not use
    shops = np.random.default_rng([seed, crc32(b"shops")]).integers(10**6, 10**9, draws).tolist()
    none = Scenario(mechanism=NoProgramme())
    gains = []
    for i, shop in enumerate(shops):
        moved = scenario
        for name, drawn in values.items():
            if name != "margin":
                moved = moved.with_value(name, float(drawn[i]))
        at = float(values["margin"][i]) if "margin" in values else margin
        played = [
            play_year(s, population, customers=customers, seed=shop).outcomes(at)["profit"]
            for s in (moved, none)
        ]
        gains.append(played[0] - played[1])
    return pd.DataFrame({"gain": gains, **values})
