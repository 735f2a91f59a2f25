"""Parameters of a simulation: declared once with default, range and meaning."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar
from zlib import crc32

import numpy as np

from loyalty_research.errors import ArgumentError

__all__ = ["choice", "disclosed", "number", "read_truth", "stream", "whole"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a parameter may be."""

    kind: str
    low: float = -np.inf
    high: float = np.inf
    open_low: bool = False
    choices: tuple[str, ...] = ()

    def read(self, name: str, value: Any) -> Any:
        """Return the value in its type, or raise ArgumentError."""
        if self.kind == "choice":
            if value not in self.choices:
                raise ArgumentError(f"{name} must be one of {', '.join(self.choices)}; got {value!r}")
            return value
        good = not isinstance(value, bool) and isinstance(value, (int, float, np.integer, np.floating))
        if good and self.kind == "whole":
            good = float(value).is_integer()
        above = good and (value > self.low if self.open_low else value >= self.low)
        if not (above and value <= self.high):
            noun = "a whole number" if self.kind == "whole" else "a number"
            bracket = "(" if self.open_low else "["
            raise ArgumentError(
                f"{name} must be {noun} in {bracket}{self.low:g}, {self.high:g}]; got {value!r}"
            )
        return int(value) if self.kind == "whole" else float(value)


def number(default: float, low: float = -np.inf, high: float = np.inf, *, open_low: bool = False) -> Any:
    """Declare a parameter that is a number in a range."""
    return field(default=default, metadata={"rule": _Rule("number", low, high, open_low)})


def whole(default: int, low: float, high: float) -> Any:
    """Declare a parameter that is a whole number in a range."""
    return field(default=default, metadata={"rule": _Rule("whole", low, high)})


def choice(default: str, *choices: str) -> Any:
    """Declare a parameter that is one of some words."""
    return field(default=default, metadata={"rule": _Rule("choice", choices=choices)})


def read_truth(parameters: type[T], kind: str, given: dict[str, Any]) -> T:
    """Make a parameter set of what was given.

    Raises:
        ArgumentError: When a name is unknown or a value is out of its range.
    """
    rules = {f.name: f.metadata["rule"] for f in fields(parameters)}  # type: ignore[arg-type]
    unknown = [name for name in given if name not in rules]
    if unknown:
        raise ArgumentError(
            f"{kind!r} has no parameter {', '.join(unknown)}; its parameters are {', '.join(rules)}"
        )
    return parameters(**{name: rules[name].read(name, value) for name, value in given.items()})


def disclosed(facts: dict[str, Any]) -> dict[str, Any]:
    """Return truths as JSON can hold them: what is undefined (no member, say) is None."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(v) for key, v in value.items()}
        if isinstance(value, list):
            return [plain(v) for v in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    return {name: plain(value) for name, value in facts.items()}


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Return random numbers for one purpose, so that a change in one leaves the others alone."""
    return np.random.default_rng([seed, crc32(purpose.encode())])
