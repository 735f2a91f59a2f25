"""Customers of a short and of a long purchase cycle: whether there are two kinds, or one that varies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages, number, percent
from loyalty_research.programme.segments import days_until

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["CycleMixture", "cycle_mixture"]

_FEWEST = 50
_STRONG = 10.0  # difference in BIC that Kass and Raftery call very strong
_APART = 2.0  # spreads between two centres from which there are two humps
_UNSURE = 0.2  # share that could be of either kind, up to which kinds are of use
_SMALLEST = 0.05  # a kind of customers below this share is no segment


@dataclass(frozen=True, repr=False, eq=False)
class CycleMixture(Result):
    """Purchase cycles as one kind of customers or as two.

    Attributes:
        two_kinds: Whether two kinds describe the cycles clearly better than one, both of some size and apart.
        bic_gain: BIC of one kind less BIC of two; above 0 speaks for two.
        apart: Distance of the two centres in spreads; two humps are seen from about 2 on.
        short_days: Typical gap of the short cycle, the median over its customers.
        long_days: Typical gap of the long cycle.
        short_share: Share of customers with a cycle who have the short one.
        edge_days: Typical gap at which both kinds are as likely; NaN where they are not told apart.
        unsure: Share of customers with a cycle whose more likely kind is less than 80% likely.
        customers: Customers with two purchase days or more.
        one_day: Customers with one purchase day, who have no cycle.
        level: Confidence level.
    """

    title: ClassVar[str] = "Purchase cycles"

    two_kinds: bool
    bic_gain: float
    apart: float
    short_days: Estimate
    long_days: Estimate
    short_share: Estimate
    edge_days: float
    unsure: float
    customers: int
    one_day: int
    level: float

    def _rows(self) -> Iterable[Row]:
        yield Row(message("typical gap"), self.short_days, group=message("short cycle"))
        yield Row(message("typical gap"), self.long_days, group=message("long cycle"))
        yield Row(
            message("share of customers"),
            self.short_share,
            group=message("short cycle"),
            estimand=message("of customers with two purchase days or more"),
        )

    def _verdict(self) -> str:
        left_out = messages(
            "{count} customer with one purchase day has no cycle and is in neither.",
            "{count} customers with one purchase day have no cycle and are in neither.",
            self.one_day,
        )
        if self.bic_gain < _STRONG:
            return message(
                "There are no two kinds of customers by purchase cycle here: one kind that varies describes the gaps "
                "of {n} customers as well as two do. A line between short and long cycles is a choice, not a "
                "finding. {left_out}",
                n=f"{self.customers:,}",
                left_out=left_out,
            )
        if not self.two_kinds:
            return message(
                "There are no two kinds of customers by purchase cycle here: the gaps of {n} customers are not one "
                "even hump, but two kinds would overlap so far that {unsure} could be of either. A line between short "
                "and long cycles is a choice, not a finding. {left_out}",
                n=f"{self.customers:,}",
                unsure=percent(self.unsure),
                left_out=left_out,
            )
        return message(
            "Two kinds of cycle describe the gaps of {n} customers better than one (BIC lower by {gain}): about {short} "
            "days for {share} of them and about {long} days for the others, with the line at {edge} days. "
            "{unsure} lie so near the line that their kind is not sure. {left_out}",
            n=f"{self.customers:,}",
            gain=number(self.bic_gain, digits=0),
            short=number(self.short_days.value, digits=0),
            long=number(self.long_days.value, digits=0),
            share=self.short_share.format(),
            edge=number(self.edge_days, digits=0),
            unsure=percent(self.unsure),
            left_out=left_out,
        )


def cycle_mixture(transactions: Any, *, as_of: dt.date | str, level: float = 0.95) -> CycleMixture:
    """Ask whether purchase cycles come from two kinds of customers or from one that varies.

    Each customer's cycle is the mean of the logarithms of the gaps between purchase days. It is the less
    sure the fewer gaps there are: around the customer's own cycle gaps vary, and by how much is taken
    from all customers with two gaps or more. One normal distribution of cycles is held against a mixture of two,
    each with its own spread, by BIC. A mixture also wins where one kind of customers is merely skewed (it does for
    a single gamma-distributed population), so two kinds are called so only when BIC is lower by 10 or more,
    each holds at least a twentieth of customers, their centres are at least two spreads apart, and at most a
    fifth of customers could be of either.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``.
        as_of: Last day that counts.
        level: Confidence level.

    Raises:
        ContractError: When no purchase remains.
        DesignError: When fewer than 50 customers bought on two days or more, or nobody on three.

    Examples:
        >>> rng = np.random.default_rng(1)
        >>> gaps = [rng.lognormal(np.log(7 if i % 2 else 60), 0.4, 6).round().clip(1) for i in range(200)]
        >>> orders = pd.DataFrame({"customer_id": np.repeat(np.arange(200), 6), "amount": 1.0,
        ...     "transacted_date": pd.Timestamp("2020-01-01")
        ...     + pd.to_timedelta(np.concatenate([g.cumsum() for g in gaps]), unit="D")})
        >>> found = cycle_mixture(orders, as_of="2023-12-31")
        >>> found.two_kinds, round(found.short_days.value), round(found.long_days.value)
        (True, 7, 59)

    References:
        McLachlan and Peel (2000), Finite Mixture Models, sections 1.4 and 6.9; Schwarz (1978), Annals of
        Statistics 6(2), for BIC; Kass and Raftery (1995), Journal of the American Statistical Association
        90, section 3.2, for its scale; Ashman, Bird and Zepf (1994), Astronomical Journal 108, equation 7,
        for the distance at which two humps are apart.
    """
    level = check_level(level)
    days, _ = days_until(transactions, as_of)
    y, count, noise, one_day = _cycles(days)
    own = noise / count
    single = _one_kind(y, own)
    pair = _two_kinds(y, own)
    size = len(y)
    gain = (2 * single.loss + 2 * math.log(size)) - (2 * pair.loss + 5 * math.log(size))
    found = pair.theta
    weight, low, high = 1 / (1 + math.exp(-found[0])), found[1], found[2]
    chance = _chances(found, y, own)
    errors = pair.errors
    z = _quantile(level)
    spread = math.sqrt((math.exp(2 * found[3]) + math.exp(2 * found[4])) / 2)
    apart = float(high - low) / spread
    unsure = float((np.maximum(chance, 1 - chance) < 0.8).mean())
    some = _SMALLEST <= weight <= 1 - _SMALLEST
    two = gain >= _STRONG and apart >= _APART and some and unsure <= _UNSURE
    return CycleMixture(
        two_kinds=bool(two),
        bic_gain=float(gain),
        apart=apart,
        short_days=_days(low, errors[1], z, size, level),
        long_days=_days(high, errors[2], z, size, level),
        short_share=_weight(found[0], errors[0], z, size, level),
        edge_days=_edge(found, float(np.median(own))),
        unsure=unsure,
        customers=size,
        one_day=one_day,
        level=level,
        checks=(_shape_check(apart, gain), _running_check(days, one_day)),
    )


def _cycles(days: pd.DataFrame) -> tuple[Array, Array, float, int]:
    """Return mean log gap and number of gaps per customer, the variance of one gap, and who has none."""
    days = days.sort_values(["customer_id", "transacted_date"])
    code = pd.factorize(days["customer_id"])[0]
    gap = days.groupby("customer_id")["transacted_date"].diff().dt.days.to_numpy(dtype=float)
    inside = np.isfinite(gap)
    log = np.log(gap[inside])
    total = int(code.max()) + 1
    count = np.bincount(code[inside], minlength=total).astype(float)
    has = count > 0
    one_day = int((~has).sum())
    if has.sum() < _FEWEST:
        raise DesignError(
            f"purchase cycles need {_FEWEST} customers with two purchase days or more; there are {int(has.sum())}"
        )
    mean = np.bincount(code[inside], weights=log, minlength=total) / np.maximum(count, 1)
    spare = float((count - 1)[has].sum())
    if not spare > 0:
        raise DesignError("nobody bought on three days, so how far gaps of one customer vary is not known")
    noise = float(((log - mean[code[inside]]) ** 2).sum()) / spare
    # whole days cannot vary less than their rounding
    return mean[has], count[has], max(noise, 1e-4), one_day


@dataclass(frozen=True)
class _Fit:
    """A maximum: parameters (k,), negative log-likelihood, standard errors (k,)."""

    theta: Array
    loss: float
    errors: Array


def _density(y: Array, centre: float, spread: float, own: Array) -> Array:
    variance = math.exp(2 * spread) + own
    out: Array = -0.5 * (np.log(2 * math.pi * variance) + (y - centre) ** 2 / variance)
    return out


def _parts(theta: Array, y: Array, own: Array) -> tuple[Array, Array]:
    weight = theta[0]
    first = -np.logaddexp(0, -weight) + _density(y, theta[1], theta[3], own)
    second = -np.logaddexp(0, weight) + _density(y, theta[2], theta[4], own)
    return first, second


def _chances(theta: Array, y: Array, own: Array) -> Array:
    """Return each customer's chance to have the short cycle."""
    first, second = _parts(theta, y, own)
    out: Array = 1 / (1 + np.exp(np.clip(second - first, -700, 700)))
    return out


def _one_kind(y: Array, own: Array) -> _Fit:
    from scipy.optimize import minimize

    def loss(theta: Array) -> float:
        return -float(_density(y, theta[0], theta[1], own).sum())

    start = np.array([y.mean(), math.log(max(y.std(), 0.05))])
    found = minimize(loss, start, method="L-BFGS-B", bounds=[(None, None), (-5, 4)])
    return _Fit(np.asarray(found.x), float(found.fun), np.full(2, math.nan))


def _two_kinds(y: Array, own: Array) -> _Fit:
    from scipy.optimize import minimize

    def loss(theta: Array) -> float:
        return -float(np.logaddexp(*_parts(theta, y, own)).sum())

    bounds = [(-6.0, 6.0), (None, None), (None, None), (-5.0, 4.0), (-5.0, 4.0)]
    best = None
    spread = math.log(max(y.std() / 2, 0.05))
    # the likelihood has several hills, so it is climbed from several sides
    for share in (0.15, 0.3, 0.5, 0.7, 0.85):
        cut = np.quantile(y, share)
        low, high = y[y <= cut].mean(), y[y >= cut].mean()
        start = np.array([math.log(share / (1 - share)), low, high, spread, spread])
        found = minimize(loss, start, method="L-BFGS-B", bounds=bounds)
        if best is None or found.fun < best.fun - 1e-9:
            best = found
    if best is None:
        raise DesignError("the mixture of two cycles has no maximum")
    theta = np.asarray(best.x, dtype=float)
    if theta[1] > theta[2]:
        theta = theta[[0, 2, 1, 4, 3]] * np.array([-1, 1, 1, 1, 1])
    return _Fit(theta, float(best.fun), _standard_errors(loss, theta))


def _standard_errors(loss: Any, theta: Array) -> Array:
    """Return standard errors from the numerical Hessian; NaN where it is not that of a maximum."""
    k, step = len(theta), 1e-3
    moves = step * np.eye(k)
    hessian = np.empty((k, k))
    for i in range(k):
        for j in range(i, k):
            a, b = moves[i], moves[j]
            hessian[i, j] = hessian[j, i] = (
                loss(theta + a + b) - loss(theta + a - b) - loss(theta - a + b) + loss(theta - a - b)
            ) / (4 * step**2)
    if not np.isfinite(hessian).all() or np.linalg.eigvalsh(hessian).min() <= 0:
        return np.full(k, math.nan)
    out: Array = np.sqrt(np.diag(np.linalg.inv(hessian)))
    return out


def _quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))


def _days(centre: float, error: float, z: float, n: int, level: float) -> Estimate:
    value = math.exp(centre)
    return Estimate(
        value, value * math.exp(-z * error), value * math.exp(z * error), level, "Wald, log scale", n, "days"
    )


def _weight(logit: float, error: float, z: float, n: int, level: float) -> Estimate:
    value, low, high = (1 / (1 + math.exp(-v)) for v in (logit, logit - z * error, logit + z * error))
    return Estimate(value, low, high, level, "Wald, logit scale", n, "fraction")


def _edge(theta: Array, own: float) -> float:
    """Return the gap between the two centres at which both kinds are as likely, for a typical customer."""
    grid = np.linspace(theta[1], theta[2], 2001)
    chance = _chances(theta, grid, np.full(grid.size, own))
    below = np.flatnonzero((chance[:-1] >= 0.5) & (chance[1:] < 0.5))
    return float(math.exp(grid[below[0]])) if below.size else math.nan


def _shape_check(apart: float, gain: float) -> Check:
    """Say whether the two humps are apart, since a skewed single hump also asks for two."""
    name = message("Two humps or one that leans")
    if gain < _STRONG:
        return Check(name, "passed", message("One kind is enough, so there is nothing to tell apart."))
    far = number(apart, digits=1)
    if apart >= _APART:
        return Check(name, "passed", message("The two cycles are {far} spreads apart.", far=far))
    return Check(
        name,
        "warning",
        message(
            "The two cycles are only {far} spreads apart: one kind of customers with a long tail would look alike.",
            far=far,
        ),
    )


def _running_check(days: pd.DataFrame, one_day: int) -> Check:
    total = days["customer_id"].nunique()
    return Check(
        message("Customers without a cycle"),
        "warning" if one_day > total / 4 else "passed",
        message(
            "{share} of {n} customers bought on one day only. Some of them have a long cycle of which the second "
            "purchase is still to come, so long cycles are rarer here than they are; the gap still running is not "
            "counted either.",
            share=percent(one_day / total),
            n=f"{total:,}",
        ),
    )
