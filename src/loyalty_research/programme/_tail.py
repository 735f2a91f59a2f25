"""What comes after the last age of a triangle: a factor, extrapolated or given, with its error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from loyalty_research.errors import ArgumentError, DesignError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["CURVES", "Tail", "declared_tail", "extrapolated_factor", "tail_step"]

CURVES: Final = ("exponential", "inverse-power")
_LEAST: Final = 3  # factors that a curve and its error are drawn through
_NEGLIGIBLE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Tail:
    """How development goes on after the last age.

    Attributes:
        method: ``"exponential"``, ``"inverse-power"`` or ``"given"``.
        factor: The factor, where it is given.
        error: Standard error of the given factor; None to extrapolate it as well.
        periods: Periods after the last age over which a curve is carried on.
    """

    method: str
    factor: float | None = None
    error: float | None = None
    periods: int = 100


def declared_tail(tail: object, *, error: object = None, periods: object = 100) -> Tail | None:
    """Return the tail that options declare.

    Raises:
        ArgumentError: When an option is out of range, or an error comes without a given factor.
    """
    if isinstance(periods, bool) or not isinstance(periods, (int, np.integer)) or periods < 1:
        raise ArgumentError(f"tail_periods is a whole number from 1; got {periods!r}")
    given = isinstance(tail, (int, float, np.number)) and not isinstance(tail, bool)
    if error is not None and not given:
        raise ArgumentError("tail_error is the error of a given factor; a curve brings its own")
    if tail is None:
        return None
    if given:
        factor = float(tail)  # type: ignore[arg-type]
        if not (math.isfinite(factor) and factor >= 1):
            raise ArgumentError(f"a tail factor is a number from 1; got {tail!r}")
        if error is not None and not (
            isinstance(error, (int, float, np.number)) and math.isfinite(error) and error >= 0
        ):
            raise ArgumentError(f"tail_error is a number from 0; got {error!r}")
        return Tail("given", factor, None if error is None else float(error))
    if tail not in CURVES:
        raise ArgumentError(f"tail is a factor from 1, {' or '.join(map(repr, CURVES))}; got {tail!r}")
    return Tail(str(tail), periods=int(periods))


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return slope and intercept of least squares."""
    slope = float(np.polyfit(x, y, 1)[0])
    return slope, float(y.mean() - slope * x.mean())


def _falling(factors: Floats, *, power: bool) -> tuple[float, float]:
    """Return slope and intercept of the logarithm of what factors add, by age or its logarithm."""
    age = np.arange(1.0, len(factors) + 1)
    grows = factors > 1 + _NEGLIGIBLE
    if int(grows.sum()) < _LEAST:
        raise DesignError(
            f"{int(grows.sum())} factors above 1 cannot carry a tail, which needs {_LEAST}; give the factor itself"
        )
    x = np.log(age) if power else age
    slope, start = _line(x[grows], np.log(factors[grows] - 1))
    if slope >= 0:
        raise DesignError(
            "redemptions do not slow down with age, so there is no tail to draw; wait for older cohorts or give "
            "the factor itself"
        )
    return slope, start


def extrapolated_factor(factors: Floats, *, curve: str, periods: int) -> float:
    """Return the product of the factors after the last age, as a curve carries them on.

    What a factor adds to 1 falls by a constant share per period (``exponential``) or as a power of
    age (``inverse-power``); the line is drawn by least squares through the logarithms.

    Args:
        factors: Development factors from the first age on; those of 1 are left out of the line.
        curve: ``"exponential"`` or ``"inverse-power"``.
        periods: Periods after the last age.

    Raises:
        DesignError: When fewer than three factors exceed 1, or they do not fall.

    Examples:
        >>> factors = 1 + 0.8 * 0.5 ** np.arange(1, 6)
        >>> round(extrapolated_factor(factors, curve="exponential", periods=2), 5)
        1.01883

    References:
        Sherman (1984), Proceedings of the Casualty Actuarial Society 71, 122-155 (inverse power);
        Mack (1999), ASTIN Bulletin 29, 361-366, page 365 (exponential).
    """
    power = curve == "inverse-power"
    slope, start = _falling(factors, power=power)
    age = np.arange(len(factors) + 1.0, len(factors) + periods + 1)
    return float(np.exp(np.log1p(np.exp(start + slope * (np.log(age) if power else age))).sum()))


def tail_step(factors: Floats, sigmas: Floats, errors: Floats, tail: Tail) -> tuple[float, float, float]:
    """Return the tail's factor, its sigma squared and its standard error.

    The tail is placed at the age at which a factor of its size would stand on the exponential line of
    the factors; sigma and error are carried to that age by lines through their logarithms.

    Args:
        factors: Development factors, shape (k,).
        sigmas: Mack's sigma, shape (k,).
        errors: Standard errors of the factors, shape (k,).
        tail: What is declared.

    Raises:
        DesignError: When the factors cannot carry a curve, or an error cannot be extrapolated.

    References:
        Mack (1999), ASTIN Bulletin 29, 361-366, section 3; placed as by R's ChainLadder.
    """
    factor = tail.factor
    if factor is None:
        factor = extrapolated_factor(factors, curve=tail.method, periods=tail.periods)
    if factor <= 1 + _NEGLIGIBLE:
        return 1.0, 0.0, 0.0 if tail.error is None else tail.error
    slope, start = _falling(factors, power=False)
    place = (math.log(factor - 1) - start) / slope
    return factor, _carried(sigmas, place) ** 2, _carried(errors, place) if tail.error is None else tail.error


def _carried(values: Floats, place: float) -> float:
    known = values > 0
    if int(known.sum()) < _LEAST:
        raise DesignError(
            f"{int(known.sum())} ages show how factors vary, and the error of a tail needs {_LEAST}; count in longer "
            "periods"
        )
    slope, start = _line(np.arange(1.0, len(values) + 1)[known], np.log(values[known]))
    return math.exp(start + slope * place)
