"""Discounting: years in a model's time unit, and the two conventions by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Convention = Literal["continuous", "end-of-period"]

__all__ = ["CONVENTIONS", "PERIODS", "YEAR", "Discounting", "discounting"]

YEAR = {"W": 52.0, "D": 365.25}
"""Model units in a year: 52 weeks (the literature's year, 364 days) or 365.25 days."""

PERIODS = {**YEAR, "M": 12.0, "Q": 4.0, "Y": 1.0}
"""Periods in a year for models that count opportunities, which may also be months, quarters or years."""

CONVENTIONS = ("continuous", "end-of-period")


class Discounting(NamedTuple):
    """How future purchases are weighted.

    Attributes:
        edges: Ends of the panels in model units, increasing from 0, shape (m + 1,).
        factors: Weight of each panel, shape (m,).
        decay: Continuous rate per model unit within panels.
    """

    edges: tuple[float, ...]
    factors: Array
    decay: float


def check_annual_rate(rate: float) -> float:
    """Return an annual discount rate, or raise.

    Raises:
        ArgumentError: When ``rate`` is negative or not a finite number.
    """
    if not (math.isfinite(rate) and rate >= 0):
        raise ArgumentError(
            f"annual_discount_rate must be a fraction of 0 or more, such as 0.1; got {rate!r}"
        )
    return float(rate)


def discounting(
    *,
    annual_discount_rate: float,
    horizon: float | None,
    convention: str,
    periods_per_year: int,
    unit: str | None,
) -> Discounting:
    """Turn an annual rate into weights of future time.

    ``"continuous"`` discounts each purchase at its own time, at ln(1 + annual) per year.
    ``"end-of-period"`` discounts it at the end of its period, 1/periods_per_year of a year
    long; a last period cut short by the horizon is discounted at the horizon.

    Args:
        annual_discount_rate: Effective annual rate, a fraction of 0 or more.
        horizon: Length in model units, or None for all the future.
        convention: ``"continuous"`` or ``"end-of-period"``.
        periods_per_year: Periods of the second convention.
        unit: Time unit of the model, a key of :data:`PERIODS`.

    Raises:
        ArgumentError: When an option is out of range or the unit is unknown.

    Examples:
        >>> discounting(annual_discount_rate=0.1, horizon=26, convention="end-of-period",
        ...             periods_per_year=4, unit="W").factors.round(4).tolist()
        [0.9765, 0.9535]
    """
    rate = check_annual_rate(annual_discount_rate)
    if convention not in CONVENTIONS:
        raise ArgumentError(f"convention must be one of {', '.join(CONVENTIONS)}; got {convention!r}")
    if unit not in PERIODS:
        raise ArgumentError(
            f"an annual rate needs the model's time unit: fit with unit='W' or unit='D'; it is {unit!r}"
        )
    if horizon is not None and not horizon > 0:
        raise ArgumentError(
            f"horizon must be a positive length in the model's unit, or None; got {horizon!r}"
        )
    endless = horizon is None or math.isinf(horizon)
    if endless and rate == 0:
        raise ArgumentError(
            "all future purchases without discounting may add up to infinity: "
            "give a horizon= or an annual_discount_rate above 0"
        )
    year = PERIODS[unit]
    if convention == "continuous":
        end = math.inf if endless else float(horizon or 0)
        return Discounting((0.0, end), np.ones(1), math.log1p(rate) / year)
    if endless:
        raise ArgumentError(
            'convention="end-of-period" needs a horizon=; use "continuous" for all the future'
        )
    if not (isinstance(periods_per_year, int) and periods_per_year > 0):
        raise ArgumentError(f"periods_per_year must be a whole number above 0; got {periods_per_year!r}")
    length, reach = year / periods_per_year, float(horizon or 0)
    whole = int(np.floor(reach / length + 1e-9))
    edges = [k * length for k in range(whole + 1)]
    if reach - edges[-1] > 1e-9 * reach:
        edges.append(reach)
    else:
        edges[-1] = reach
    factors = (1 + rate) ** (-np.asarray(edges[1:]) / year)
    return Discounting(tuple(edges), factors, 0.0)
