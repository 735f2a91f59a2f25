"""Checks of rules: each says which figure is wrong and what it may be."""

from __future__ import annotations

import math

import numpy as np

from loyalty_research.errors import ArgumentError

__all__ = ["at_least", "fraction", "given", "positive", "whole"]


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentError(f"{name} must be a number; got {value!r}")
    if not math.isfinite(value):
        raise ArgumentError(f"{name} must be finite; got {value!r}")
    return float(value)


def at_least(name: str, value: object, least: float = 0.0) -> float:
    """Return a finite number from ``least``, or raise ArgumentError."""
    found = _number(name, value)
    if found < least:
        raise ArgumentError(f"{name} must be at least {least:g}; got {value!r}")
    return found


def positive(name: str, value: object) -> float:
    """Return a finite number above 0, or raise ArgumentError."""
    found = _number(name, value)
    if found <= 0:
        raise ArgumentError(f"{name} must be above 0; got {value!r}")
    return found


def fraction(name: str, value: object, *, below_one: bool = False) -> float:
    """Return a number in [0, 1], or in [0, 1) where ``below_one``, or raise ArgumentError."""
    found = _number(name, value)
    if not 0 <= found <= 1 or (below_one and found == 1):
        bracket = ")" if below_one else "]"
        raise ArgumentError(f"{name} must be a fraction in [0, 1{bracket}; got {value!r}")
    return found


def whole(name: str, value: object, least: int = 1) -> int:
    """Return a whole number from ``least``, or raise ArgumentError."""
    found = _number(name, value)
    if found != int(found) or found < least:
        raise ArgumentError(f"{name} must be a whole number, at least {least}; got {value!r}")
    return int(found)


def given(name: str, value: float | None, kind: str) -> float:
    """Return a figure that a calculation needs, or say that the rules do not state it."""
    if value is None:
        raise ArgumentError(
            f"the rules of {kind!r} do not state {name}, which this calculation needs; add it"
        )
    return value
