"""Mechanisms written as one line each, such as ``boloco-card reward_value=7``."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import KINDS, PRESETS, mechanism, preset
from loyalty_research.programme.scenarios import Scenario, assumed_scenario

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty_research.simulate import PopulationTruth

__all__ = ["read_scenario"]

_ASSUMED = {f.name for f in fields(Scenario)} - {"mechanism", "assumed"}
_WORDS = ("benefit", "name", "source")


def read_scenario(text: str, *, population: PopulationTruth | Mapping[str, Any] | None = None) -> Scenario:
    """Return the scenario that a line describes.

    The line is the name of a preset or a kind, followed by figures: rules of the mechanism, or
    assumptions of ``Scenario``. What is not assumed in the line is so by :func:`assumed_scenario`.
    Several values are parted by ``/``, values by name written ``name:value``; ``-`` stands for a
    space in words.

    Args:
        text: Such as ``"tiers names=base/gold lines=0/300 point_value=0.01 rate_effect=0.05"``.
        population: Customers, for the conventions.

    Raises:
        ArgumentError: When the preset, the kind or a figure is unknown, missing or out of its range.

    Examples:
        >>> card = read_scenario("boloco-card reward_value=7 reward_cost=2.5 join_share=0.4")
        >>> card.label, card.mechanism.headline_rebate(), card.join_share
        ('boloco-card', 0.14, 0.4)
        >>> pool = read_scenario("coalition partners=shop:1/fuel:2 point_value=0.01 issue_price=0.009")
        >>> pool.mechanism.partners
        {'shop': 1, 'fuel': 2}
    """
    if not isinstance(text, str) or not text.strip():
        raise ArgumentError(f"a mechanism is written as a preset or a kind with its figures; got {text!r}")
    lead, *rest = text.split()
    given = dict(_figure(part, text) for part in rest)
    if lead not in PRESETS and lead not in KINDS:
        raise ArgumentError(
            f"there is no mechanism {lead!r}; there is {', '.join(KINDS)}, or the cases {', '.join(PRESETS)}"
        )
    # a coalition's partners are a rule; members' orders there are an assumption of the same name
    assumed = {
        n: v for n, v in given.items() if n in _ASSUMED and not (n == "partners" and lead == "coalition")
    }
    rules = {n: v for n, v in given.items() if n not in assumed}
    made = preset(lead, **rules) if lead in PRESETS else mechanism(lead, **rules)
    middle = assumed_scenario(made, population=population, name=str(assumed.pop("name", lead)))
    for name, value in assumed.items():
        middle = middle.with_value(name, value)
    return replace(middle, assumed=not assumed)


def _figure(part: str, text: str) -> tuple[str, Any]:
    name, sign, value = part.partition("=")
    if not sign or not name or not value:
        raise ArgumentError(f"{part!r} in {text!r} is no figure; write it as name=value")
    if name in _WORDS:
        return name, value.replace("-", " ") if name != "name" else value
    if ":" in value:
        pairs = [entry.partition(":") for entry in value.split("/")]
        return name, {key: _number(number) for key, _, number in pairs}
    if "/" in value:
        return name, tuple(_number(entry) for entry in value.split("/"))
    return name, _number(value)


def _number(value: str) -> Any:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
