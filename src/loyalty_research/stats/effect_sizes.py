"""How large a difference of two proportions is, on scales that papers use."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from loyalty_research.errors import ArgumentError
from loyalty_research.stats.counts import check_counts

__all__ = ["chi_squared_test", "cohen_h", "e_value", "phi"]


def cohen_h(p1: float, p2: float) -> float:
    """Return Cohen's h, the difference of two proportions on the arcsine scale.

    Args:
        p1: First proportion, in [0, 1].
        p2: Second proportion.

    Raises:
        ArgumentError: When a proportion lies outside [0, 1].

    Examples:
        >>> round(cohen_h(51 / 150, 28 / 150), 4)
        0.3515

    References:
        Cohen (1988), Statistical Power Analysis, eq. 6.2.1.
    """
    for p in (p1, p2):
        if not 0 <= p <= 1:
            raise ArgumentError(f"a proportion lies from 0 to 1; got {p!r}")
    return 2 * math.asin(math.sqrt(p1)) - 2 * math.asin(math.sqrt(p2))


def phi(x1: int, n1: int, x2: int, n2: int) -> float:
    """Return the correlation of arm and outcome; positive where the first arm succeeds more often.

    Args:
        x1: Successes in the first arm.
        n1: Trials in the first arm.
        x2: Successes in the second arm.
        n2: Trials in the second arm.

    Returns:
        NaN when nobody, or everybody, succeeded.

    Raises:
        ArgumentError: On impossible counts.

    Examples:
        >>> round(phi(51, 150, 28, 150), 4)
        0.1741

    References:
        Fleiss, Levin and Paik (2003), Statistical Methods for Rates and Proportions, ch. 6.
    """
    x1, n1 = check_counts(x1, n1, "1")
    x2, n2 = check_counts(x2, n2, "2")
    total, n = x1 + x2, n1 + n2
    if total in (0, n):
        return math.nan
    return (x1 * (n2 - x2) - x2 * (n1 - x1)) / math.sqrt(n1 * n2 * total * (n - total))


def chi_squared_test(x1: int, n1: int, x2: int, n2: int, *, correction: bool = False) -> tuple[float, float]:
    """Return Pearson's chi-squared of two proportions and its p-value, one degree of freedom.

    Args:
        x1: Successes in the first arm.
        n1: Trials in the first arm.
        x2: Successes in the second arm.
        n2: Trials in the second arm.
        correction: Whether to correct for continuity (Yates); conservative.

    Raises:
        ArgumentError: On impossible counts.

    Examples:
        >>> chi2, p = chi_squared_test(51, 150, 28, 150)
        >>> round(chi2, 4), round(p, 5)
        (9.0899, 0.00257)

    References:
        Pearson (1900); Yates (1934).
    """
    x1, n1 = check_counts(x1, n1, "1")
    x2, n2 = check_counts(x2, n2, "2")
    if x1 + x2 in (0, n1 + n2):
        return 0.0, 1.0
    table = np.array([[x1, n1 - x1], [x2, n2 - x2]])
    found = stats.chi2_contingency(table, correction=correction)
    return float(found.statistic), float(found.pvalue)


def e_value(risk_ratio: float) -> float:
    """Return the E-value of a risk ratio.

    It is the smallest association, as a risk ratio, that a hidden cause would need with both
    membership and the outcome, beyond the covariates, to explain the ratio away. It is a
    threshold for an explanation, not a bound on bias in money.

    Args:
        risk_ratio: Positive; a ratio below 1 is inverted first.

    Returns:
        At least 1; 1 means that no hidden cause is needed.

    Raises:
        ArgumentError: When the ratio is not positive and finite.

    References:
        VanderWeele and Ding (2017), Annals of Internal Medicine 167, 268-274.

    Examples:
        >>> round(e_value(3.9), 2), round(e_value(1 / 3.9), 2), e_value(1.0)
        (7.26, 7.26, 1.0)
    """
    if not (math.isfinite(risk_ratio) and risk_ratio > 0):
        raise ArgumentError(f"risk_ratio must be positive and finite; got {risk_ratio!r}")
    ratio = max(risk_ratio, 1 / risk_ratio)
    return ratio + math.sqrt(ratio * (ratio - 1))
