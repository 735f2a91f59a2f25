"""What can be said of a mean whose missing values cannot be assumed away: bounds and their interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, stats

from loyalty_research.errors import DesignError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Bounds", "TrimmedEffect", "imbens_manski", "lee_bounds"]


def imbens_manski(
    low: float, high: float, low_error: float, high_error: float, *, level: float
) -> tuple[float, float]:
    """Return the interval that holds a parameter known only to lie between two estimates.

    Where the bounds are far apart only one of them can miss, so the interval needs the one-sided
    critical value; where they meet it needs the two-sided one.

    Args:
        low: Estimated lower bound.
        high: Estimated upper bound, not below ``low``.
        low_error: Standard error of ``low``.
        high_error: Standard error of ``high``.
        level: Coverage of the parameter, not of the whole set.

    Returns:
        Lower and upper limit; NaN where an error is not finite.

    Examples:
        >>> low, high = imbens_manski(0.0, 0.0, 1.0, 1.0, level=0.95)
        >>> round(low, 3), round(high, 3)
        (-1.96, 1.96)
        >>> round(imbens_manski(0.0, 50.0, 1.0, 1.0, level=0.95)[0], 3)
        -1.645

    References:
        Imbens and Manski (2004), Econometrica 72, equation (7); Stoye (2009), Econometrica 77,
        lemma 3: it holds for all widths where the upper estimate is never below the lower one.
    """
    most = max(low_error, high_error)
    if not math.isfinite(most):
        return math.nan, math.nan
    if most == 0:
        return low, high
    gap = max(high - low, 0.0) / most
    c = optimize.brentq(
        lambda x: float(stats.norm.cdf(x + gap) - stats.norm.cdf(-x)) - level,
        float(stats.norm.ppf(level)) - 1e-9 if level > 0.5 else 0.0,
        float(stats.norm.ppf((1 + level) / 2)) + 1e-9,
    )
    return low - c * low_error, high + c * high_error


@dataclass(frozen=True, slots=True)
class Bounds:
    """Two estimates between which a parameter lies.

    Attributes:
        low: Lower bound.
        high: Upper bound.
        low_error: Standard error of ``low``.
        high_error: Standard error of ``high``.
    """

    low: float
    high: float
    low_error: float
    high_error: float

    def interval(self, *, level: float = 0.95) -> tuple[float, float]:
        """Return the limits that hold the parameter with probability ``level``."""
        return imbens_manski(self.low, self.high, self.low_error, self.high_error, level=level)


@dataclass(frozen=True, slots=True)
class TrimmedEffect:
    """An effect on those whose outcome is seen in both arms.

    Attributes:
        effect: Bounds of the effect on those who would be seen either way.
        composition: Bounds of what the treatment adds to the difference of means by whom it makes seen.
        naive: Difference of the means of those seen; the sum of the two.
        trimmed: Share of those seen that was trimmed, of the arm where more are seen.
        more_seen: Whether more are seen in the treated arm (True) or in the control (False).
    """

    effect: Bounds
    composition: Bounds
    naive: float
    trimmed: float
    more_seen: bool


def lee_bounds(treated: Floats, control: Floats) -> TrimmedEffect:
    """Bound an effect where the treatment changes who is seen.

    Assumes that the treatment moves everybody in one direction: it makes some seen and nobody
    unseen, or the reverse. Of the arm where more are seen, the share that the treatment made seen is
    trimmed, once from the bottom and once from the top. Values at the edge are trimmed in part, so
    that scores with many ties give sharp bounds. Where both arms are seen about equally often the bounds
    have a kink and their limits fall short (measured: 92% for 95% at 30% against 35% seen of 300 each), so
    limits are to be used where the shares clearly differ.

    Args:
        treated: Outcome of each treated, NaN where it is not seen; shape ``(n1,)``.
        control: The same of the control; shape ``(n0,)``.

    Returns:
        Bounds with standard errors that count the estimated share trimmed.

    Raises:
        DesignError: When an arm has fewer than two values seen.

    Examples:
        >>> treated = np.array([1.0, 2, 3, 4])
        >>> control = np.array([2.0, 3, np.nan, np.nan])
        >>> found = lee_bounds(treated, control)
        >>> found.effect.low, found.effect.high, found.trimmed
        (-1.0, 1.0, 0.5)

    References:
        Lee (2009), Review of Economic Studies 76, 1071-1102, propositions 1a and 3.
    """
    seen = [np.isfinite(side) for side in (treated, control)]
    if min(int(s.sum()) for s in seen) < 2:
        raise DesignError("an arm has fewer than two outcomes, so nothing can be compared")
    shares = [float(s.mean()) for s in seen]
    if shares[0] < shares[1]:
        mirror = lee_bounds(control, treated)
        return TrimmedEffect(
            effect=_negative(mirror.effect),
            composition=_negative(mirror.composition),
            naive=-mirror.naive,
            trimmed=mirror.trimmed,
            more_seen=False,
        )
    y1, y0 = treated[seen[0]], control[seen[1]]
    naive = float(y1.mean() - y0.mean())
    kept = shares[1] / shares[0]
    plain = (_spread(y1 - y1.mean(), seen[0], shares[0]), -_spread(y0 - y0.mean(), seen[1], shares[1]))
    ends = []
    for sign in (-1.0, 1.0):
        mean, influence, edge = _kept_mean(sign * y1, kept)
        gap = mean - edge
        # what each customer adds: to the mean kept, and to the share that is kept
        in_treated = _spread(influence, seen[0], shares[0]) + gap * (seen[0] / shares[0] - 1)
        in_control = -sign * _spread(y0 - y0.mean(), seen[1], shares[1]) - gap * (seen[1] / shares[1] - 1)
        effect = sign * mean - float(y0.mean())
        parts = (sign * in_treated, sign * in_control)
        ends.append((effect, _error(*parts), _error(plain[0] - parts[0], plain[1] - parts[1])))
    (low, low_error, rest_of_low), (high, high_error, rest_of_high) = ends
    return TrimmedEffect(
        effect=Bounds(low, high, low_error, high_error),
        composition=Bounds(naive - high, naive - low, rest_of_high, rest_of_low),
        naive=naive,
        trimmed=1 - kept,
        more_seen=True,
    )


def _negative(bounds: Bounds) -> Bounds:
    return Bounds(-bounds.high, -bounds.low, bounds.high_error, bounds.low_error)


def _kept_mean(values: Floats, kept: float) -> tuple[float, Floats, float]:
    """Return the mean of the highest share, each value's influence on it, and the value at the edge."""
    ordered = np.sort(values)[::-1]
    mass = kept * len(values)
    weights = np.clip(mass - np.arange(len(values)), 0.0, 1.0)
    edge = float(ordered[weights > 0][-1])
    mean = float(weights @ ordered / mass)
    return mean, edge + np.maximum(values - edge, 0.0) / kept - mean, edge


def _spread(influence: Floats, seen: NDArray[np.bool_], share: float) -> Floats:
    """Return the influence of those seen over their share, 0 for the others."""
    found = np.zeros(len(seen))
    found[seen] = influence / share
    return found


def _error(treated: Floats, control: Floats) -> float:
    return math.sqrt(
        float(np.var(treated, ddof=1)) / len(treated) + float(np.var(control, ddof=1)) / len(control)
    )
