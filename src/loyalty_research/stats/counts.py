"""Checks of counts and probabilities that every proportion function shares."""

from __future__ import annotations

import math
from numbers import Real

from loyalty_research.errors import ArgumentError

__all__ = ["check_counts", "check_fraction", "check_whole"]


def check_whole(value: object, name: str, *, least: int = 0) -> int:
    """Return a whole number of at least ``least`` as int.

    Raises:
        ArgumentError: When ``value`` is not a whole number, or is smaller.

    Examples:
        >>> check_whole(28.0, "x1")
        28
    """
    whole = (
        isinstance(value, Real)
        and not isinstance(value, bool)
        and math.isfinite(float(value))
        and float(value).is_integer()
    )
    if not whole or float(value) < least:  # type: ignore[arg-type]
        raise ArgumentError(f"{name} must be a whole number of at least {least}; got {value!r}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def check_counts(x: object, n: object, which: str = "") -> tuple[int, int]:
    """Return successes and trials as ints.

    Args:
        x: Successes.
        n: Trials, at least one.
        which: Suffix of the argument names in messages, such as ``"1"``.

    Raises:
        ArgumentError: When a count is negative or not whole, ``n`` is 0, or ``x`` exceeds ``n``.
    """
    successes = check_whole(x, f"x{which}")
    trials = check_whole(n, f"n{which}", least=1)
    if successes > trials:
        raise ArgumentError(f"x{which} = {successes:,} exceeds n{which} = {trials:,}")
    return successes, trials


def check_fraction(value: object, name: str) -> float:
    """Return a probability strictly between 0 and 1 as float.

    Raises:
        ArgumentError: When ``value`` is not a number between 0 and 1, exclusive.
    """
    if not isinstance(value, Real) or not 0 < float(value) < 1:
        raise ArgumentError(f"{name} must lie strictly between 0 and 1; got {value!r}")
    return float(value)
