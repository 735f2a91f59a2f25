"""Two proportions: differences and ratios with named intervals, exact tests.

statsmodels' score interval for a difference is wrong (its issue 10269), so the intervals are
written here from their papers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from scipy import optimize, stats

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, check_level
from loyalty_research.stats.beta_binomial import PosteriorDifference, beta_binomial_difference
from loyalty_research.stats.counts import check_counts
from loyalty_research.stats.proportion_power import (
    detectable_increase,
    power_two_proportions,
    sample_size_two_proportions,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "DifferenceMethod",
    "ExactTest",
    "PosteriorDifference",
    "beta_binomial_difference",
    "detectable_increase",
    "difference_in_proportions",
    "exact_test",
    "number_needed_to_treat",
    "odds_ratio",
    "power_two_proportions",
    "proportion",
    "risk_ratio",
    "sample_size_two_proportions",
    "wilson_interval",
]

DifferenceMethod = Literal["newcombe", "miettinen-nurminen", "agresti-caffo", "mee", "wald"]
ExactKind = Literal["fisher", "boschloo", "barnard"]
Limits = tuple[float, float]
_EXACT_MOST = 4_000_000


def _z(level: float) -> float:
    return float(stats.norm.isf((1 - level) / 2))


def _one_of(value: str, name: str, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ArgumentError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def wilson_interval(
    x: ArrayLike, n: ArrayLike, *, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Wilson's score limits of one proportion, for many counts at once.

    Args:
        x: Successes, any shape.
        n: Trials, a shape that broadcasts with ``x``; limits are NaN where it is 0.
        level: Coverage aimed at.

    Returns:
        Lower and upper limits, in [0, 1].

    Examples:
        >>> low, high = wilson_interval([28, 51], 150)
        >>> low.round(4).tolist(), high.round(4).tolist()
        ([0.1324, 0.269], [0.2566, 0.419])

    References:
        Wilson (1927); Newcombe (1998), Two-sided confidence intervals for the single proportion,
        method 3.
    """
    z = _z(check_level(level))
    successes, trials = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(n, dtype=float))
    trials = np.where(trials > 0, trials, np.nan)
    centre = successes + z * z / 2
    half = z * np.sqrt(successes * (1 - successes / trials) + z * z / 4)
    low, high = (centre - half) / (trials + z * z), (centre + half) / (trials + z * z)
    # exact at the edges, where rounding would leave 1e-17
    low = np.where(successes == 0, np.where(np.isnan(trials), np.nan, 0.0), low)
    high = np.where(successes == trials, 1.0, high)
    return low, high


def proportion(
    x: int, n: int, *, method: Literal["wilson", "clopper-pearson"] = "wilson", level: float = 0.95
) -> Estimate:
    """Return one proportion with its interval.

    Args:
        x: Successes.
        n: Trials.
        method: ``"wilson"`` (coverage near nominal) or ``"clopper-pearson"`` (at least nominal).
        level: Coverage aimed at.

    Raises:
        ArgumentError: On impossible counts or an unknown method.

    Examples:
        >>> proportion(28, 150)
        18.7% (95% interval 13.2% to 25.7%; wilson; n = 150)
    """
    x, n = check_counts(x, n)
    level = check_level(level)
    _one_of(method, "method", ("wilson", "clopper-pearson"))
    if method == "wilson":
        lows, highs = wilson_interval(x, n, level=level)
        low, high = float(lows), float(highs)
    else:
        tail = (1 - level) / 2
        low = 0.0 if x == 0 else float(stats.beta.ppf(tail, x, n - x + 1))
        high = 1.0 if x == n else float(stats.beta.isf(tail, x + 1, n - x))
    return Estimate(x / n, low, high, level, method, n, "fraction")


def _newcombe(x1: int, n1: int, x2: int, n2: int, level: float) -> Limits:
    """Newcombe (1998), hybrid score interval, method 10."""
    p1, p2 = x1 / n1, x2 / n2
    (l1, l2), (u1, u2) = wilson_interval([x1, x2], [n1, n2], level=level)
    return (
        float(p1 - p2 - math.hypot(p1 - l1, u2 - p2)),
        float(p1 - p2 + math.hypot(u1 - p1, p2 - l2)),
    )


def _constrained_rates(x1: int, n1: int, x2: int, n2: int, delta: float) -> Limits:
    """Return the maximum-likelihood p1, p2 under p1 - p2 = delta.

    The cubic of Miettinen and Nurminen (1985, appendix I) in the trigonometric form of
    Farrington and Manning (1990); clipping keeps rounding inside the parameter space.
    """
    p1, p2, theta = x1 / n1, x2 / n2, n2 / n1
    a = 1 + theta
    b = -(1 + theta + p1 + theta * p2 + delta * (theta + 2))
    c = delta**2 + delta * (2 * p1 + theta + 1) + p1 + theta * p2
    d = -p1 * delta * (1 + delta)
    v = (b / (3 * a)) ** 3 - b * c / (6 * a * a) + d / (2 * a)
    u = math.copysign(math.sqrt(max((b / (3 * a)) ** 2 - c / (3 * a), 0.0)), v)
    ratio = 1.0 if u == 0 else min(max(v / u**3, -1.0), 1.0)
    first = 2 * u * math.cos((math.pi + math.acos(ratio)) / 3) - b / (3 * a)
    first = min(max(first, 0.0, delta), 1.0, 1 + delta)
    return first, first - delta


def _score_limits(x1: int, n1: int, x2: int, n2: int, level: float, inflation: float) -> Limits:
    """Invert the score test of p1 - p2 = delta, with its variance times ``inflation``."""
    observed, z = x1 / n1 - x2 / n2, _z(level)

    def excess(delta: float) -> float:
        p1, p2 = _constrained_rates(x1, n1, x2, n2, delta)
        variance = inflation * (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
        return (observed - delta) ** 2 - z * z * variance

    def limit(end: float) -> float:
        # at the observed difference the statistic is 0, at +-1 it is infinite; a small step off
        # the observed value keeps the sign where both rates sit on their edge
        start = observed + math.copysign(1e-10, end)
        if abs(start) >= 1 or excess(end) <= 0:
            return end
        return float(optimize.brentq(excess, start, end, xtol=1e-14, rtol=1e-14))

    return limit(-1.0), limit(1.0)


def _miettinen_nurminen(x1: int, n1: int, x2: int, n2: int, level: float) -> Limits:
    return _score_limits(x1, n1, x2, n2, level, (n1 + n2) / (n1 + n2 - 1))


def _mee(x1: int, n1: int, x2: int, n2: int, level: float) -> Limits:
    return _score_limits(x1, n1, x2, n2, level, 1.0)


def _wald(x1: float, n1: float, x2: float, n2: float, level: float) -> Limits:
    p1, p2 = x1 / n1, x2 / n2
    half = _z(level) * math.sqrt(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
    return max(p1 - p2 - half, -1.0), min(p1 - p2 + half, 1.0)


def _agresti_caffo(x1: int, n1: int, x2: int, n2: int, level: float) -> Limits:
    return _wald(x1 + 1, n1 + 2, x2 + 1, n2 + 2, level)


_DIFFERENCES: dict[str, Callable[[int, int, int, int, float], Limits]] = {
    "newcombe": _newcombe,
    "miettinen-nurminen": _miettinen_nurminen,
    "agresti-caffo": _agresti_caffo,
    "mee": _mee,
    "wald": _wald,
}


def _difference_p_value(x1: int, n1: int, x2: int, n2: int, method: str) -> float:
    p1, p2, pooled = x1 / n1, x2 / n2, (x1 + x2) / (n1 + n2)
    variance = pooled * (1 - pooled) * (1 / n1 + 1 / n2)
    if method == "wald":
        variance = p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2
    elif method == "miettinen-nurminen":
        variance *= (n1 + n2) / (n1 + n2 - 1)
    if variance == 0:
        return 1.0 if p1 == p2 else 0.0
    return float(2 * stats.norm.sf(abs(p1 - p2) / math.sqrt(variance)))


def difference_in_proportions(
    x1: int, n1: int, x2: int, n2: int, *, method: DifferenceMethod = "newcombe", level: float = 0.95
) -> Estimate:
    """Return p1 - p2 with its interval.

    Args:
        x1: Successes in the first arm.
        n1: Trials in the first arm.
        x2: Successes in the second arm.
        n2: Trials in the second arm.
        method: ``"newcombe"`` (hybrid of Wilson limits), ``"miettinen-nurminen"`` (score, with
            the factor N/(N - 1)), ``"mee"`` (score), ``"agresti-caffo"`` (Wald after one success
            and one failure more in either arm) or ``"wald"`` (for comparison with old papers:
            too narrow in small arms, and of width 0 when both rates are 0 or 1).
        level: Coverage aimed at.

    Returns:
        Unit ``"fraction"``. The p-value tests p1 = p2 by the pooled score statistic (Pearson's
        chi-squared), times (N - 1)/N for Miettinen-Nurminen; for ``"wald"`` by Wald's.

    Raises:
        ArgumentError: On impossible counts or an unknown method.

    Examples:
        >>> difference_in_proportions(51, 150, 28, 150)
        15.3% (95% interval 5.4% to 24.9%; newcombe; n = 300)
        >>> difference_in_proportions(51, 150, 28, 150, method="miettinen-nurminen").interval()
        '95% interval 5.4% to 25.1%'

    References:
        Newcombe (1998), Interval estimation for the difference between independent proportions,
        method 10; Miettinen and Nurminen (1985), eq. 8; Mee (1984); Agresti and Caffo (2000).
    """
    _one_of(method, "method", get_args(DifferenceMethod))
    x1, n1 = check_counts(x1, n1, "1")
    x2, n2 = check_counts(x2, n2, "2")
    level = check_level(level)
    low, high = _DIFFERENCES[method](x1, n1, x2, n2, level)
    p_value = _difference_p_value(x1, n1, x2, n2, method)
    return Estimate(x1 / n1 - x2 / n2, low, high, level, method, n1 + n2, "fraction", p_value)


def number_needed_to_treat(
    x1: int, n1: int, x2: int, n2: int, *, method: DifferenceMethod = "newcombe", level: float = 0.95
) -> Estimate:
    """Return how many units must be treated for one more success: 1 / (p1 - p2).

    A negative number is how many treated units lose one success.

    Args:
        x1: Successes in the treated arm.
        n1: Trials in the treated arm.
        x2: Successes in the control arm.
        n2: Trials in the control arm.
        method: Interval of the difference whose limits are inverted.
        level: Coverage aimed at.

    Returns:
        Limits are NaN when the difference may be zero: the set of plausible numbers then runs
        through infinity to harm and is no interval.

    Raises:
        ArgumentError: On impossible counts or an unknown method.

    Examples:
        >>> number_needed_to_treat(51, 150, 28, 150)
        6.52 (95% interval 4.01 to 18.61; newcombe limits inverted; n = 300)

    References:
        Altman (1998), Confidence intervals for the number needed to treat.
    """
    difference = difference_in_proportions(x1, n1, x2, n2, method=method, level=level)
    value = math.inf if difference.value == 0 else 1 / difference.value
    low = high = math.nan
    if difference.low > 0 or difference.high < 0:
        low, high = 1 / difference.high, 1 / difference.low
    return Estimate(
        value, low, high, level, f"{method} limits inverted", difference.n, None, difference.p_value
    )


def _koopman(x1: int, n1: int, x2: int, n2: int, level: float) -> Limits:
    """Invert the score test of p1 / p2 = ratio (Koopman 1984, eq. 3)."""
    critical = _z(level) ** 2

    def excess(log_ratio: float) -> float:
        ratio, total = math.exp(log_ratio), n1 + n2
        b = ratio * (n1 + x2) + x1 + n2
        second = (b - math.sqrt(max(b * b - 4 * ratio * total * (x1 + x2), 0.0))) / (2 * ratio * total)
        first = min(max(ratio * second, 1e-300), 1.0)
        second = min(max(second, 1e-300), 1.0)
        parts = 0.0
        for x, n, p in ((x1, n1, first), (x2, n2, second)):
            if p < 1:
                parts += (x - n * p) ** 2 / (n * p * (1 - p))
        return parts - critical

    centre = math.log((x1 + 0.5) / (n1 + 0.5)) - math.log((x2 + 0.5) / (n2 + 0.5))
    if x1 and x2:
        centre = math.log(x1 / n1) - math.log(x2 / n2)
    low = 0.0 if x1 == 0 else math.exp(optimize.brentq(excess, centre - 40, centre, xtol=1e-13))
    high = math.inf if x2 == 0 else math.exp(optimize.brentq(excess, centre, centre + 40, xtol=1e-13))
    return low, high


def risk_ratio(
    x1: int,
    n1: int,
    x2: int,
    n2: int,
    *,
    method: Literal["katz", "koopman"] = "katz",
    level: float = 0.95,
) -> Estimate:
    """Return p1 / p2 with its interval.

    Args:
        x1: Successes in the first arm.
        n1: Trials in the first arm.
        x2: Successes in the second arm.
        n2: Trials in the second arm.
        method: ``"katz"`` (normal on the log scale) or ``"koopman"`` (score).
        level: Coverage aimed at.

    Returns:
        Katz's interval does not exist when an arm has no success; Koopman's is given then, and
        named. Without any success the ratio is NaN and the limits are 0 and infinity.

    Raises:
        ArgumentError: On impossible counts or an unknown method.

    Examples:
        >>> risk_ratio(51, 150, 28, 150)
        1.82 (95% interval 1.22 to 2.72; katz; n = 300)
        >>> risk_ratio(5, 50, 0, 50)
        ∞ (95% interval 1.36 to ∞; koopman; n = 100)

    References:
        Katz et al. (1978), method C; Koopman (1984).
    """
    _one_of(method, "method", ("katz", "koopman"))
    x1, n1 = check_counts(x1, n1, "1")
    x2, n2 = check_counts(x2, n2, "2")
    level = check_level(level)
    if x1 == 0 and x2 == 0:
        return Estimate(math.nan, 0.0, math.inf, level, "koopman", n1 + n2)
    value = math.inf if x2 == 0 else (x1 / n1) / (x2 / n2)
    if method == "koopman" or x1 == 0 or x2 == 0:
        low, high = _koopman(x1, n1, x2, n2, level)
        return Estimate(value, low, high, level, "koopman", n1 + n2)
    half = _z(level) * math.sqrt(1 / x1 - 1 / n1 + 1 / x2 - 1 / n2)
    return Estimate(value, value * math.exp(-half), value * math.exp(half), level, "katz", n1 + n2)


def odds_ratio(
    x1: int,
    n1: int,
    x2: int,
    n2: int,
    *,
    method: Literal["woolf", "exact-conditional"] = "woolf",
    level: float = 0.95,
) -> Estimate:
    """Return the odds of success in the first arm over those in the second.

    Args:
        x1: Successes in the first arm.
        n1: Trials in the first arm.
        x2: Successes in the second arm.
        n2: Trials in the second arm.
        method: ``"woolf"`` (sample odds ratio, normal on the log scale) or
            ``"exact-conditional"`` (conditional maximum likelihood, limits from the noncentral
            hypergeometric distribution, as R's ``fisher.test``).
        level: Coverage aimed at.

    Returns:
        Woolf's interval does not exist with an empty cell; the exact conditional estimate is
        given then, and named.

    Raises:
        ArgumentError: On impossible counts or an unknown method.

    Examples:
        >>> odds_ratio(51, 150, 28, 150)
        2.24 (95% interval 1.32 to 3.82; woolf; n = 300)

    References:
        Woolf (1955); Cornfield (1956), A statistical problem arising from retrospective studies.
    """
    _one_of(method, "method", ("woolf", "exact-conditional"))
    x1, n1 = check_counts(x1, n1, "1")
    x2, n2 = check_counts(x2, n2, "2")
    level = check_level(level)
    cells = (x1, n1 - x1, x2, n2 - x2)
    if method == "woolf" and min(cells) > 0:
        value = x1 * (n2 - x2) / (x2 * (n1 - x1))
        half = _z(level) * math.sqrt(sum(1 / c for c in cells))
        return Estimate(value, value * math.exp(-half), value * math.exp(half), level, "woolf", n1 + n2)
    if x1 + x2 in (0, n1 + n2):
        return Estimate(math.nan, 0.0, math.inf, level, "exact-conditional", n1 + n2)
    fitted = stats.contingency.odds_ratio([[x1, x2], [n1 - x1, n2 - x2]], kind="conditional")
    limits = fitted.confidence_interval(confidence_level=level)
    return Estimate(
        float(fitted.statistic),
        float(limits.low),
        float(limits.high),
        level,
        "exact-conditional",
        n1 + n2,
    )


@dataclass(frozen=True, slots=True)
class ExactTest:
    """An exact test of two equal proportions, two-sided.

    Attributes:
        kind: ``"fisher"``, ``"boschloo"`` or ``"barnard"``.
        statistic: Sample odds ratio (Fisher), Fisher's p (Boschloo) or pooled z (Barnard).
        p_value: Two-sided p-value.
    """

    kind: str
    statistic: float
    p_value: float


def exact_test(x1: int, n1: int, x2: int, n2: int, *, kind: ExactKind = "fisher") -> ExactTest:
    """Test p1 = p2 exactly, two-sided.

    Fisher's test conditions on the total of successes and is conservative; Boschloo's and
    Barnard's (pooled variance) maximise over the unknown common rate and are more powerful.

    Args:
        x1: Successes in the first arm.
        n1: Trials in the first arm.
        x2: Successes in the second arm.
        n2: Trials in the second arm.
        kind: Which test.

    Raises:
        ArgumentError: On impossible counts, an unknown kind, or Boschloo or Barnard with
            n1 x n2 above 4 million, where the enumeration no longer fits in memory.

    Examples:
        >>> round(exact_test(51, 150, 28, 150, kind="fisher").p_value, 6)
        0.00377

    References:
        Fisher (1935); Boschloo (1970); Barnard (1947); Mehrotra, Chan and Berger (2003).
    """
    _one_of(kind, "kind", get_args(ExactKind))
    x1, n1 = check_counts(x1, n1, "1")
    x2, n2 = check_counts(x2, n2, "2")
    if kind != "fisher" and n1 * n2 > _EXACT_MOST:
        raise ArgumentError(
            f"{kind}'s test enumerates every table and {n1:,} x {n2:,} are too many; use kind='fisher'"
        )
    if x1 + x2 in (0, n1 + n2):
        # one outcome only: nothing speaks against equal rates
        return ExactTest(kind, math.nan, 1.0)
    table = np.array([[x1, x2], [n1 - x1, n2 - x2]])  # scipy wants the arms as columns
    if kind == "fisher":
        statistic, p_value = stats.fisher_exact(table)
        return ExactTest(kind, float(statistic), float(p_value))
    if kind == "boschloo":
        found: Any = stats.boschloo_exact(table, alternative="two-sided")
    else:
        found = stats.barnard_exact(table, alternative="two-sided", pooled=True)
    return ExactTest(kind, float(found.statistic), float(found.pvalue))
