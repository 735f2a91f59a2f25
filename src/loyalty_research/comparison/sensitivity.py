"""How strong would a hidden cause have to be to explain a difference away?"""

from __future__ import annotations

import math

from scipy import stats

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import check_level
from loyalty_research.stats.effect_sizes import e_value

__all__ = ["e_value", "risk_ratio_of_means", "robustness_value"]


def risk_ratio_of_means(difference: float, standard_deviation: float) -> float:
    """Return the risk ratio that a difference of means roughly corresponds to, exp(.91 d).

    Args:
        difference: Difference of means, in the outcome's unit.
        standard_deviation: Standard deviation of the outcome, within groups.

    References:
        VanderWeele and Ding (2017); Chinn (2000), Statistics in Medicine 19, 3127-3131.

    Examples:
        >>> round(risk_ratio_of_means(0.5, 1.0), 3)
        1.576
    """
    if not standard_deviation > 0:
        raise ArgumentError(f"standard_deviation must be positive; got {standard_deviation!r}")
    return math.exp(0.91 * difference / standard_deviation)


def robustness_value(
    t: float, *, degrees_of_freedom: float, q: float = 1.0, level: float | None = None
) -> float:
    """Return the robustness value of a regression coefficient.

    A hidden cause must explain at least this share of what the covariates leave unexplained,
    in membership and in the outcome alike, to reduce the coefficient by the share ``q``; or,
    when ``level`` is given, to bring the reduced coefficient's interval to zero.

    Args:
        t: t statistic of the coefficient.
        degrees_of_freedom: Residual degrees of freedom of the regression.
        q: Share of the coefficient to explain away, positive.
        level: Coverage of the interval; None for the point estimate alone.

    Returns:
        A share between 0 and 1.

    Raises:
        ArgumentError: When an option is out of range.

    References:
        Cinelli and Hazlett (2020), JRSS B 82, 39-67 (robustness value).

    Examples:
        >>> round(robustness_value(4.18, degrees_of_freedom=783), 3)
        0.139
        >>> round(robustness_value(4.18, degrees_of_freedom=783, level=0.95), 3)
        0.076
    """
    if not (math.isfinite(t) and math.isfinite(degrees_of_freedom) and degrees_of_freedom > 1):
        raise ArgumentError("t must be finite and degrees_of_freedom above 1")
    if not q > 0:
        raise ArgumentError(f"q must be positive; got {q!r}")
    strength = q * abs(t) / math.sqrt(degrees_of_freedom)
    if level is None:
        return _solve(strength)
    critical = float(stats.t.isf((1 - check_level(level)) / 2, degrees_of_freedom - 1))
    bar = critical / math.sqrt(degrees_of_freedom - 1)
    if strength <= bar:
        return 0.0
    if strength > 1 / bar:
        # so strong that the cause's effect on the outcome no longer binds
        return (strength**2 - bar**2) / (1 + strength**2)
    return _solve(strength - bar)


def _solve(f: float) -> float:
    return 0.5 * (math.sqrt(f**4 + 4 * f**2) - f**2)
