"""What an interval must allow for when the data are looked at more than once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy import optimize

from loyalty_research.comparison.sequential import confidence_sequence
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, number
from loyalty_research.stats.spending import group_sequential_bounds, information_fractions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loyalty_research.stats.spending import Spending

__all__ = ["Anytime", "Looks"]


@dataclass(frozen=True, slots=True)
class Looks:
    """A look at data that were or will be looked at again, at shares planned before.

    Bounds of Lan and DeMets hold the error over all looks; they are for looks that were not chosen
    by what the data said.

    Attributes:
        at: How many looks, evenly spaced, or the share of the planned data at each.
        look: Which of them this is, from 1.
        spending: ``"obrien-fleming"``, ``"pocock"`` or ``"power"``.

    Raises:
        ArgumentError: When there is no such look.

    Examples:
        >>> round(Looks(5, look=2).alpha(0.05), 5)
        0.00079
    """

    at: int | Sequence[float]
    look: int
    spending: Spending = "obrien-fleming"

    def __post_init__(self) -> None:
        """Refuse a look that was not planned."""
        many = len(information_fractions(self.at))
        if not (isinstance(self.look, int) and 1 <= self.look <= many):
            raise ArgumentError(f"look is one of 1 to {many}; got {self.look!r}")

    @property
    def fractions(self) -> tuple[float, ...]:
        """Shares of the data up to this look."""
        return information_fractions(self.at)[: self.look]

    def alpha(self, alpha: float) -> float:
        """Return the two-sided p-value that is small enough at this look."""
        bounds = group_sequential_bounds(self.fractions, level=1 - alpha, spending=self.spending)
        return float(bounds.nominal_p[-1])

    def p_value(self, p: float) -> float:
        """Return the error at which the bound of this look would just be crossed.

        References:
            Liu and Anderson (2008), Journal of the American Statistical Association 103, 1621-1630
            (sequential p-values).
        """
        low, high = 1e-12, 1 - 1e-9
        if self.alpha(high) <= p:
            return 1.0
        if self.alpha(low) >= p:
            return low

        def excess(log_alpha: float) -> float:
            return self.alpha(math.exp(log_alpha)) - p

        return math.exp(float(optimize.brentq(excess, math.log(low), math.log(high), xtol=1e-9)))

    @property
    def method(self) -> str:
        """Words behind an interval's method."""
        return f"Lan-DeMets look {self.look} of {len(information_fractions(self.at))}"

    def check(self, alpha: float) -> Check:
        """Return what this look allows."""
        return Check(
            message("looks at the data"),
            "passed",
            message(
                "look {look} of {looks}, at {share} of the planned data: differences count when p is below {p}; this holds "
                "for looks that were not chosen by what the data said",
                look=self.look,
                looks=len(information_fractions(self.at)),
                share=f"{self.fractions[-1]:.0%}",
                p=number(self.alpha(alpha)),
            ),
        )


@dataclass(frozen=True, slots=True)
class Anytime:
    """Looks at any time, as often as wanted, by asymptotic confidence sequences.

    Attributes:
        narrowest_at: Units at which intervals should be narrowest, chosen before the first look.

    Raises:
        ArgumentError: When it is not positive.
    """

    narrowest_at: float

    def __post_init__(self) -> None:
        """Refuse a size that is none."""
        if not (math.isfinite(self.narrowest_at) and self.narrowest_at > 0):
            raise ArgumentError(f"narrowest_at is a positive number of units; got {self.narrowest_at!r}")

    def half_width(self, standard_error: float, n: int, level: float) -> float:
        """Return how far limits lie from the estimate."""
        return confidence_sequence(
            0.0, standard_error=standard_error, n=n, optimal_n=self.narrowest_at, level=level
        ).high

    def p_value(self, value: float, standard_error: float, n: int, level: float) -> float:
        """Return the error at which the sequence, its shape kept, would just leave zero out."""
        alpha = 1 - level
        rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / self.narrowest_at
        scale = n * rho2 + 1
        power = (value / standard_error) ** 2 * n * rho2 / (2 * scale)
        return min(1.0, math.exp(0.5 * math.log(scale) - power))

    @property
    def method(self) -> str:
        """Words behind an interval's method."""
        return "asymptotic confidence sequence"

    def check(self, n: int) -> Check:
        """Return what these intervals allow."""
        return Check(
            message("looks at the data"),
            "passed" if n >= self.narrowest_at / 100 else "warning",
            message(
                "intervals hold however often the data are looked at, once there are many units; they are narrowest at "
                "{n} units, and there are {seen}",
                n=number(self.narrowest_at, digits=0),
                seen=f"{n:,}",
            ),
        )
