"""Well-known programmes as figures, each with its source; what a source leaves out is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms.kinds import mechanism

if TYPE_CHECKING:
    from loyalty_research.mechanisms._base import Mechanism

__all__ = ["PRESETS", "preset", "presets"]


@dataclass(frozen=True, kw_only=True)
class _Case:
    kind: str
    rules: dict[str, Any]
    source: str
    asks: dict[str, str] = field(default_factory=dict)


PRESETS: dict[str, _Case] = {
    "boloco-card": _Case(
        kind="points",
        rules={"points_per_unit": 1, "reward_points": 50},
        source="Boloco Card: each $50 spent gives 1 free item of any size (published description)",
    ),
    "starbucks-2015": _Case(
        kind="tiers",
        rules={"names": ("Green", "Gold"), "lines": (0, 300), "points_per_unit": 2},
        source="Starbucks rules of 2015-16: 2 stars per $1, Gold at 300 stars or more, that is $150",
    ),
    "flying-club": _Case(
        kind="tiers",
        rules={"names": ("Red", "Silver", "Gold"), "multipliers": (1, 1.5, 2)},
        source="Virgin Atlantic Flying Club: Red base, Silver 50% more points, Gold double (published description)",
        asks={"lines": "qualifying points of each tier, such as (0, 400, 1000)"},
    ),
    "amazon-prime": _Case(
        kind="paid",
        rules={"fee": 99},
        source="Amazon Prime: $99 a year (published description)",
    ),
    "yummy-rummy": _Case(
        kind="sweepstakes",
        rules={"win_probability": 0.25, "orders_per_play": 3},
        source="GrubHub Yummy Rummy: 1 of 4 cards wins, after 3 orders (published description)",
    ),
    "car-wash-8": _Case(
        kind="stamp-card",
        rules={"stamps": 8, "given": 0},
        source="Nunes and Dreze (2006), JCR 32(4): car wash, control card of 8 stamps",
    ),
    "car-wash-10-with-2": _Case(
        kind="stamp-card",
        rules={"stamps": 10, "given": 2},
        source="Nunes and Dreze (2006), JCR 32(4): car wash, card of 10 stamps with 2 given",
    ),
    "fourteen-points": _Case(
        kind="points",
        rules={"points_per_unit": 1, "reward_points": 14, "reward_value": 1},
        source="14 points = $1, quoted as a bad example of an exchange rate; points per $1 assumed to be 1",
    ),
}
"""Cases by name: kind, figures, source, and what must be added."""


def preset(name: str, **rules: Any) -> Mechanism:
    """Return a well-known programme, entered as figures with their source.

    Figures that the source does not state (the price of the free item, say) are left open; a
    calculation that needs one says so. Add them as rules.

    Args:
        name: ``"boloco-card"``, ``"starbucks-2015"``, ``"flying-club"``, ``"amazon-prime"``,
            ``"yummy-rummy"``, ``"car-wash-8"``, ``"car-wash-10-with-2"`` or ``"fourteen-points"``.
        **rules: Figures to add or replace.

    Returns:
        The mechanism; its ``source`` says whose figures they are, and which were added.

    Raises:
        ArgumentError: When there is no such case, or a figure is missing or out of its range.

    Examples:
        >>> preset("boloco-card", reward_value=7).headline_rebate()
        0.14
        >>> preset("starbucks-2015").spend_to("Gold")
        150.0
        >>> round(preset("yummy-rummy").any_win(plays=4), 4)
        0.6836
        >>> preset("car-wash-8").paid_visits == preset("car-wash-10-with-2").paid_visits
        True
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise ArgumentError(f"there is no case {name!r}; there is {', '.join(PRESETS)}")
    case = PRESETS[name]
    missing = [f"{rule} ({meaning})" for rule, meaning in case.asks.items() if rule not in rules]
    if missing:
        raise ArgumentError(f"the source of {name!r} does not state {', '.join(missing)}; add it")
    source = case.source
    if rules:
        source += "; added or replaced here: " + ", ".join(rules)
    return mechanism(case.kind, **{**case.rules, "source": source, **rules})


def presets() -> pd.DataFrame:
    """Return the cases as a table.

    Returns:
        One row per case: ``name``, ``kind``, ``figures`` (as the source states them), ``asks`` (what
        must be added before the rules are whole) and ``source``.

    Examples:
        >>> presets().set_index("name").loc["amazon-prime", "figures"]
        'fee 99'
    """
    return pd.DataFrame(
        [
            {
                "name": name,
                "kind": case.kind,
                "figures": ", ".join(f"{rule} {_figures(value)}" for rule, value in case.rules.items()),
                "asks": ", ".join(case.asks),
                "source": case.source,
            }
            for name, case in PRESETS.items()
        ]
    )


def _figures(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)
