"""Which assumption the gain from a mechanism hangs on: each moved alone, on the same customers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.mechanisms import NoProgramme
from loyalty_research.programme.scenarios import (
    Scenario,
    assumption_name,
    play_year,
    rule_figures,
    with_assumptions,
)
from loyalty_research.programme.what_if import MARGIN, check_shop, mean_over_seeds, read_seeds
from loyalty_research.simulate import read_population

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.estimates import Estimate
    from loyalty_research.mechanisms import Mechanism
    from loyalty_research.programme.scenarios import Account
    from loyalty_research.simulate import PopulationTruth

    Floats = NDArray[np.float64]

__all__ = ["AssumptionTornado", "assumption_tornado", "check_swings", "default_swings", "written"]

ENDS = ("low", "high")
_FRACTIONS = (
    "join_share",
    "rate_effect",
    "spend_effect",
    "redeemed",
    "margin",
    "discount",
    "win_probability",
)
# what a reward costs the shop, or what stands for it where the cost is not stated
_COSTS = (
    ("reward_cost", "reward_value"),
    ("point_cost", "point_value"),
    ("prize_cost", "prize_value"),
    ("order_cost", "order_saving"),
    ("fee",),
    ("member_cost",),
    ("issue_price",),
)


@dataclass(frozen=True, repr=False)
class AssumptionTornado(Result):
    """Result of :func:`assumption_tornado`.

    Attributes:
        rows: Gain in profit at the low and the high end of each assumption, widest swing first.
        scenario: Label of the scenario.
        centre: Gain with every assumption in the middle.
        middles: Assumption to its middle value.
        turns: Assumption to the value at which the gain turns from loss to profit, all else as
            assumed, by straight lines between the values tried; without those that never turn it.
    """

    title: ClassVar[str] = "What the gain hangs on"

    rows: tuple[Row, ...]
    scenario: str
    centre: Estimate
    middles: Mapping[str, float]
    turns: Mapping[str, float]

    def _rows(self) -> Iterable[Row]:
        return self.rows

    @property
    def widest(self) -> str:
        """The assumption with the widest swing."""
        return self.rows[0].metric

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the swing of each assumption about the middle.

        Args:
            ax: Axes to draw on; new ones when None.
        """
        from loyalty_research.plots.what_if import tornado

        lows, highs = self.rows[::2], self.rows[1::2]
        return tornado(
            [assumption_name(row.metric) for row in lows],
            [row.estimate.value for row in lows],
            [row.estimate.value for row in highs],
            ends=[
                (written(a.metric, a.extra["assumed"]), written(b.metric, b.extra["assumed"]))
                for a, b in zip(lows, highs, strict=True)
            ],
            centre=self.centre.value,
            xlabel=message("profit per customer and year against no programme"),
            title=message("What the gain of {name} hangs on", name=self.scenario),
            ax=ax,
        )

    def _verdict(self) -> str:
        low, high = self.rows[:2]
        text = message(
            "The gain of {name} hangs most on one assumption, {assumption}: {low} per customer and year at {from_}, "
            "{high} at {to}.",
            name=self.scenario,
            assumption=assumption_name(self.widest),
            low=low.estimate.format(signed=True),
            high=high.estimate.format(signed=True),
            from_=written(self.widest, low.extra["assumed"]),
            to=written(self.widest, high.extra["assumed"]),
        )
        if self.widest in self.turns:
            text += " " + message(
                "It turns at about {value}.", value=written(self.widest, self.turns[self.widest])
            )
        elif not self.turns:
            text += " " + (
                message("None of the assumptions alone, within its range, makes it pay.")
                if self.centre.value < 0
                else message("None of the assumptions alone, within its range, takes the gain away.")
            )
        return text


def written(name: str, value: float) -> str:
    """Write the value of an assumption as a reader would."""
    if name in _FRACTIONS:
        return percent(value)
    return number(value, digits=2 if value == 0 or 0.1 <= abs(value) < 100 else None)


def default_swings(scenario: Scenario, *, margin: float = MARGIN) -> dict[str, tuple[float, float]]:
    """Return a low and a high value for each assumption that matters to a scenario.

    Ranges are conventions: joining from half to one and a half times, the pull of engagement from
    none to twice, extra orders from none to twice as many, order values two points either way, a
    member's dropout hazard from 0.85 times the assumed one to no effect, members all alike to very
    different, redemption 30 points less to all, the margin a third either way, and what rewards cost
    (or the fee, or the price of a point) a quarter either way.

    Args:
        scenario: A mechanism with its assumptions in the middle.
        margin: Margin in the middle.

    Examples:
        >>> swings = default_swings(Scenario(mechanism=NoProgramme(), join_share=0.4))
        >>> swings["join_share"], swings["redeemed"]
        ((0.2, 0.6000000000000001), (0.7, 1.0))
    """
    s = scenario
    orders = (0.0, 0.05) if s.rate_effect == 0 else sorted((0.0, min(max(2 * s.rate_effect, -1.0), 10.0)))
    swings = {
        "join_share": (0.5 * s.join_share, min(1.5 * s.join_share or 0.05, 1.0)),
        "selection": (max(min(2 * s.selection, 0.0), -5.0), min(max(2 * s.selection, 1.0), 5.0)),
        "rate_effect": (orders[0], orders[1]),
        "spend_effect": (max(s.spend_effect - 0.02, -1.0), min(s.spend_effect + 0.02, 10.0)),
        "hazard_ratio": (max(0.85 * s.hazard_ratio, 0.01), max(1.0, s.hazard_ratio)),
        "response_cv": (0.0, min(max(2 * s.response_cv, 1.0), 5.0)),
        "redeemed": (max(s.redeemed - 0.3, 0.0), 1.0),
        "margin": (margin * 2 / 3, min(margin * 4 / 3, 1.0)),
    }
    if s.running_cost:
        swings["running_cost"] = (0.5 * s.running_cost, 1.5 * s.running_cost)
    stated = rule_figures(s.mechanism)
    for names in _COSTS:
        name = next((n for n in names if stated.get(n)), None)
        if name is not None:
            swings[name] = (0.75 * stated[name], 1.25 * stated[name])
    return swings


def assumption_tornado(
    scenario: Scenario | Mechanism,
    *,
    swings: Mapping[str, tuple[float, float]] | None = None,
    population: PopulationTruth | Mapping[str, Any] | None = None,
    seeds: Sequence[int] | int = 20,
    margin: float = MARGIN,
    customers: int = 1000,
    currency: str | None = None,
    level: float = 0.95,
) -> AssumptionTornado:
    """Return how the gain in profit over no programme moves with each assumption alone.

    Args:
        scenario: The mechanism with its assumptions in the middle; a plain mechanism takes those of
            :func:`assumed_scenario`.
        swings: Assumption to its low and high value: a field of ``Scenario``, ``"margin"``, or a
            rule of the mechanism that is a single number, such as ``"reward_value"``; those of
            :func:`default_swings` when None. Where a rule moves, responses stay as assumed.
        population: Parameters of the customers, as for ``compare_mechanisms``.
        seeds: As for ``compare_mechanisms``.
        margin: Margin before rewards, a fraction of spend.
        customers: Customers per shop.
        currency: ISO 4217 code of the money, for display.
        level: Coverage of the intervals.

    Returns:
        Two rows per assumption, widest swing first, on the same customers.

    Raises:
        ArgumentError: When an assumption is unknown or out of its range.

    Examples:
        >>> from loyalty_research.mechanisms import Points
        >>> card = Scenario(mechanism=Points(reward_points=50, reward_value=5), join_share=0.5)
        >>> found = assumption_tornado(card, seeds=3, customers=200, swings={"rate_effect": (0, 1)})
        >>> 0.1 < found.turns["rate_effect"] < 1
        True
    """
    check_level(level)
    shops, order = read_population(population), read_seeds(seeds)
    check_shop(margin, customers)
    scenario = with_assumptions(scenario, shops)
    ranges = default_swings(scenario, margin=margin) if swings is None else dict(swings)
    middles = {**scenario.assumptions, **rule_figures(scenario.mechanism), "margin": margin}
    check_swings(ranges, middles)

    def accounts(moved: Scenario) -> list[Account]:
        return [play_year(moved, shops, customers=customers, seed=seed) for seed in order]

    none = accounts(Scenario(mechanism=NoProgramme()))
    here = accounts(scenario)

    def gain(with_: list[Account], at: float) -> Estimate:
        gaps = [a.outcomes(at)["profit"] - b.outcomes(at)["profit"] for a, b in zip(with_, none, strict=True)]
        return mean_over_seeds(np.array(gaps), level, unit=currency, paired=True)

    centre = gain(here, margin)
    pairs = {
        name: [
            gain(here, value)
            if name == "margin"
            else gain(accounts(scenario.with_value(name, value)), margin)
            for value in ends
        ]
        for name, ends in ranges.items()
    }
    ordered = sorted(pairs, key=lambda name: -abs(pairs[name][1].value - pairs[name][0].value))
    rows = tuple(
        Row(name, pairs[name][i], group=ENDS[i], extra={"assumed": float(ranges[name][i])})
        for name in ordered
        for i in (0, 1)
    )
    turns = {
        name: at
        for name in ordered
        if (at := _turn(ranges[name], middles[name], pairs[name], centre.value)) is not None
    }
    assumed = Check(
        message("Ranges are assumed"),
        "warning",
        message(
            "how far each assumption may be off is an input here, not a finding; others stay as they are"
        ),
    )
    return AssumptionTornado(
        rows, scenario.label, centre, {name: middles[name] for name in ordered}, turns, checks=(assumed,)
    )


def check_swings(swings: Mapping[str, tuple[float, float]], known: Mapping[str, float]) -> None:
    """Refuse ranges of figures that are not known, or that do not rise."""
    strange = [name for name in swings if name not in known]
    if strange or not swings:
        raise ArgumentError(f"swings must name some of {', '.join(known)}; got {', '.join(swings) or 'none'}")
    for name, ends in swings.items():
        numbers = isinstance(ends, (tuple, list)) and len(ends) == 2
        if not numbers or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in ends):
            raise ArgumentError(f"swings[{name!r}] must be a low and a high value; got {ends!r}")
        if not ends[0] < ends[1]:
            raise ArgumentError(f"swings[{name!r}] must rise; got {ends[0]:g} and {ends[1]:g}")
    if "margin" in swings:
        for value in swings["margin"]:
            check_shop(value, 20)


def _turn(ends: tuple[float, float], middle: float, gains: Sequence[Estimate], centre: float) -> float | None:
    """Return where a broken line through the values tried crosses 0, or None."""
    tried = [(ends[0], gains[0].value), (ends[1], gains[1].value)]
    if ends[0] < middle < ends[1]:
        tried.insert(1, (middle, centre))
    for (x, y), (to, then) in itertools.pairwise(tried):
        if y * then < 0:
            return x + (to - x) * y / (y - then)
    return None
