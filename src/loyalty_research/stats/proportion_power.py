"""Power and sample size for two proportions: formulas, and exact enumeration."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy import optimize, special, stats

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import check_level
from loyalty_research.stats.counts import check_fraction, check_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "PowerMethod",
    "detectable_increase",
    "power_two_proportions",
    "sample_size_two_proportions",
]

PowerMethod = Literal["pooled-z", "arcsine", "exact-z", "exact-fisher"]
_EXACT_MOST = 3000


def _check_method(method: str) -> None:
    if method not in get_args(PowerMethod):
        raise ArgumentError(f"method must be one of {', '.join(get_args(PowerMethod))}; got {method!r}")


def _tails(shift: float, spread: float, critical: float) -> float:
    """Return Pr(|Z| > critical) where the statistic is normal with this mean and spread."""
    return float(stats.norm.sf((critical - shift) / spread) + stats.norm.cdf((-critical - shift) / spread))


def _power_pooled(p1: float, p2: float, n1: float, n2: float, critical: float) -> float:
    pooled = (n1 * p1 + n2 * p2) / (n1 + n2)
    null_se = math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    true_se = math.sqrt(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
    return _tails(abs(p1 - p2) / null_se, true_se / null_se, critical)


def _power_arcsine(p1: float, p2: float, n1: float, n2: float, critical: float) -> float:
    effect = abs(2 * math.asin(math.sqrt(p1)) - 2 * math.asin(math.sqrt(p2)))
    return _tails(effect / math.sqrt(1 / n1 + 1 / n2), 1.0, critical)


def _rejects_z(n1: int, n2: int, critical: float) -> NDArray[np.bool_]:
    """Return shape (n1 + 1, n2 + 1): does the pooled z test reject at these successes?"""
    x1, x2 = np.arange(n1 + 1)[:, None], np.arange(n2 + 1)[None, :]
    pooled = (x1 + x2) / (n1 + n2)
    variance = pooled * (1 - pooled) * (1 / n1 + 1 / n2)
    reject: NDArray[np.bool_] = (x1 / n1 - x2 / n2) ** 2 >= critical**2 * variance
    reject[variance == 0] = False
    return reject


def _log_combinations(n: int) -> NDArray[np.float64]:
    """Return log of n choose k for k from 0 to n."""
    k = np.arange(n + 1)
    logs: NDArray[np.float64] = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return logs


def _rejects_fisher(n1: int, n2: int, alpha: float) -> NDArray[np.bool_]:
    """Return shape (n1 + 1, n2 + 1): is Fisher's two-sided p at most alpha?

    For each total of successes the tables are ordered by their probability; a table is
    rejected when it and all that are no likelier sum to alpha or less.
    """
    reject = np.zeros((n1 + 1, n2 + 1), dtype=bool)
    ways1, ways2, ways = (_log_combinations(n) for n in (n1, n2, n1 + n2))
    for total in range(1, n1 + n2):
        x1 = np.arange(max(0, total - n2), min(n1, total) + 1)
        pmf = np.exp(ways1[x1] + ways2[total - x1] - ways[total])
        order = np.argsort(pmf, kind="stable")
        ranked = pmf[order]
        # ties within rounding count as equally likely, as in R's fisher.test
        upto = np.searchsorted(ranked, ranked * (1 + 1e-7), side="right")
        p_values = np.cumsum(ranked)[upto - 1]
        chosen = x1[order[p_values <= alpha]]
        reject[chosen, total - chosen] = True
    return reject


def _power_exact(p1: float, p2: float, n1: int, n2: int, level: float, *, fisher: bool) -> float:
    critical = float(stats.norm.isf((1 - level) / 2))
    reject = _rejects_fisher(n1, n2, 1 - level) if fisher else _rejects_z(n1, n2, critical)
    first = stats.binom.pmf(np.arange(n1 + 1), n1, p1)
    second = stats.binom.pmf(np.arange(n2 + 1), n2, p2)
    return float(first @ reject @ second)


def power_two_proportions(
    p1: float,
    p2: float,
    *,
    n1: int,
    n2: int | None = None,
    level: float = 0.95,
    method: PowerMethod = "pooled-z",
) -> float:
    """Return the power of a two-sided test of p1 = p2, both tails counted.

    Args:
        p1: True rate of the first arm.
        p2: True rate of the second arm.
        n1: Units in the first arm.
        n2: Units in the second arm; the same when None.
        level: One minus the two-sided test size.
        method: ``"pooled-z"`` and ``"arcsine"`` are normal formulas; ``"exact-z"`` and
            ``"exact-fisher"`` sum the binomial probabilities of every table the test rejects.

    Raises:
        ArgumentError: On rates outside (0, 1), sizes below 2, or an exact request above 3,000
            units per arm.

    Examples:
        >>> round(power_two_proportions(51 / 150, 28 / 150, n1=150), 4)
        0.858

    References:
        Fleiss, Levin and Paik (2003), Statistical Methods for Rates and Proportions, ch. 4.
        Cohen (1988), ch. 6, for the arcsine.
    """
    p1, p2, level = check_fraction(p1, "p1"), check_fraction(p2, "p2"), check_level(level)
    _check_method(method)
    n1 = check_whole(n1, "n1", least=2)
    n2 = n1 if n2 is None else check_whole(n2, "n2", least=2)
    if method.startswith("exact"):
        if max(n1, n2) > _EXACT_MOST:
            raise ArgumentError(
                f"exact power enumerates every table, at most {_EXACT_MOST:,} units per arm; "
                "use method='pooled-z'"
            )
        return _power_exact(p1, p2, n1, n2, level, fisher=method == "exact-fisher")
    critical = float(stats.norm.isf((1 - level) / 2))
    formula = _power_arcsine if method == "arcsine" else _power_pooled
    return formula(p1, p2, n1, n2, critical)


def _size_pooled(p1: float, p2: float, power: float, level: float, ratio: float) -> float:
    pooled = (p1 + ratio * p2) / (1 + ratio)
    z_size, z_power = stats.norm.isf((1 - level) / 2), stats.norm.ppf(power)
    null = z_size * math.sqrt(pooled * (1 - pooled) * (1 + 1 / ratio))
    true = z_power * math.sqrt(p1 * (1 - p1) + p2 * (1 - p2) / ratio)
    return float((null + true) ** 2 / (p1 - p2) ** 2)


def _size_exact(p1: float, p2: float, power: float, level: float, ratio: float, *, fisher: bool) -> float:
    def reached(n: int) -> bool:
        n2 = max(2, math.ceil(n * ratio))
        if max(n, n2) > _EXACT_MOST:
            raise ArgumentError(
                f"more than {_EXACT_MOST:,} units per arm are needed, too many to enumerate; "
                "use method='pooled-z'"
            )
        return _power_exact(p1, p2, n, n2, level, fisher=fisher) >= power

    # exact power saws up and down by about 1/n, so the search starts below the formula; Fisher's
    # test needs more units than the z test
    start = 0.95 if fisher else 0.85
    n = max(2, math.floor(start * _size_pooled(p1, p2, power, level, ratio)) - 10)
    while n > 2 and reached(n):
        n = max(2, n // 2)
    while not reached(n):
        n += 1
    return float(n)


def sample_size_two_proportions(
    p1: float,
    p2: float,
    *,
    power: float = 0.8,
    level: float = 0.95,
    ratio: float = 1.0,
    method: PowerMethod = "pooled-z",
) -> float:
    """Return the units needed in the first arm for a two-sided test of p1 = p2.

    Args:
        p1: True rate of the first arm.
        p2: True rate of the second arm.
        power: Chance to be had of finding the difference.
        level: One minus the two-sided test size.
        ratio: Units in the second arm per unit in the first.
        method: As in :func:`power_two_proportions`. The formulas give an unrounded size (round
            it up); the exact methods the smallest whole size that reaches the power.

    Raises:
        ArgumentError: When the rates are equal or an option is out of range.

    Examples:
        >>> round(sample_size_two_proportions(51 / 150, 28 / 150), 2)
        128.34
        >>> round(sample_size_two_proportions(0.12, 0.10, method="arcsine"), 2)
        3834.6

    References:
        Fleiss, Levin and Paik (2003), eq. 4.14 without continuity correction; Cohen (1988).
    """
    p1, p2, level = check_fraction(p1, "p1"), check_fraction(p2, "p2"), check_level(level)
    power = check_fraction(power, "power")
    _check_method(method)
    if p1 == p2:
        raise ArgumentError("p1 equals p2: no number of units finds a difference of nothing")
    if not 0 < ratio < math.inf:
        raise ArgumentError(f"ratio must be positive; got {ratio!r}")
    if power <= 1 - level:
        raise ArgumentError(f"power must exceed the test size {1 - level:.3g}; got {power!r}")
    if method == "pooled-z":
        return _size_pooled(p1, p2, power, level, ratio)
    if method == "arcsine":
        critical = float(stats.norm.isf((1 - level) / 2))
        guess = _size_pooled(p1, p2, power, level, ratio)
        return float(
            optimize.brentq(
                lambda n: _power_arcsine(p1, p2, n, ratio * n, critical) - power, guess / 1e3, 1e3 * guess
            )
        )
    return _size_exact(p1, p2, power, level, ratio, fisher=method == "exact-fisher")


def detectable_increase(
    baseline: float, *, n1: int, n2: int | None = None, power: float = 0.8, level: float = 0.95
) -> float:
    """Return the smallest increase over ``baseline`` that the pooled z test finds with ``power``.

    Args:
        baseline: Rate of the control arm.
        n1: Units in the treated arm.
        n2: Units in the control arm; the same when None.
        power: Chance to be had of finding it.
        level: One minus the two-sided test size.

    Raises:
        ArgumentError: When an option is out of range, or no increase can be found with so few
            units.

    Examples:
        >>> round(detectable_increase(28 / 150, n1=150), 4)
        0.1408
    """
    baseline, power = check_fraction(baseline, "baseline"), check_fraction(power, "power")
    room = 1 - baseline

    def short(increase: float) -> float:
        return power_two_proportions(baseline + increase, baseline, n1=n1, n2=n2, level=level) - power

    if short(room * (1 - 1e-9)) < 0:
        raise ArgumentError(f"n1 = {n1} finds no increase over {baseline:.3g} with power {power:.3g}")
    if short(room * 1e-9) >= 0:
        raise ArgumentError(f"power must exceed the test size {1 - level:.3g}; got {power!r}")
    return float(optimize.brentq(short, room * 1e-9, room * (1 - 1e-9), xtol=1e-14))
