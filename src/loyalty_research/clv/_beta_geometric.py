"""BG/NBD and MBG/NBD in numbers: pure functions of arrays.

Both models let a customer drop out with probability p after a purchase, p ~ Beta(a, b), while
purchases arrive at rate lambda ~ Gamma(r, rate alpha). They differ in one coin: BG/NBD tosses
it from the first repeat purchase on, MBG/NBD after the first purchase as well. ``coin`` is 0
for BG/NBD and 1 for MBG/NBD; b + x + coin - 1 coins have then come up 'stay' before the last.

References:
    Fader, Hardie and Lee (2005), Marketing Science 24(2), equations 3 to 10.
    Batislam, Denizel and Filiztekin (2007), International Journal of Research in Marketing 24(3).
    Hoppe and Wagner (2007), Marketing Journal of Research and Management 3(2).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy import special

from loyalty_research.clv._core import Core
from loyalty_research.clv._quadrature import gauss_2f1, integrate_rate
from loyalty_research.clv._special import digamma, trigamma

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from loyalty_research.clv._core import Derivatives, Parameters

    Array = NDArray[Any]
    Coin = Literal[0, 1]

__all__ = [
    "Histories",
    "alive_purchases",
    "core",
    "histories",
    "log_likelihood",
    "probability_alive",
    "purchase_count_pmf",
    "row_terms",
    "simulate",
]


class Histories(NamedTuple):
    """Compressed purchase histories, split for the likelihood.

    Attributes:
        levels: Distinct purchase counts, shape (k,).
        customers: Weight of each level, shape (k,).
        x: Purchases of the rows whose last coin may have ended them, shape (n,).
        recency: Their time of last purchase, shape (n,).
        T: Their time observed, shape (n,).
        weight: Their weight, shape (n,).
        T_new: Time observed of rows that cannot have ended (BG/NBD, no repeat), shape (m,).
        weight_new: Their weight, shape (m,).
    """

    levels: Array
    customers: Array
    x: Array
    recency: Array
    T: Array
    weight: Array
    T_new: Array
    weight_new: Array


def histories(x: Array, recency: Array, T: Array, weight: Array, coin: Coin) -> Histories:
    """Prepare compressed rows (each shape (n,)) for :func:`log_likelihood`."""
    levels, where = np.unique(x, return_inverse=True)
    customers = np.bincount(where, weights=weight)
    tossed = x + coin > 0
    return Histories(
        levels=levels,
        customers=customers,
        x=x[tossed],
        recency=recency[tossed],
        T=T[tossed],
        weight=weight[tossed],
        T_new=T[~tossed],
        weight_new=weight[~tossed],
    )


def _count_terms(r: float, a: float, b: float, data: Histories, coin: Coin) -> tuple[float, Array, Array]:
    """Return the part of the log-likelihood that depends on the number of purchases alone."""
    x, n = data.levels, data.customers
    ends = b + x + coin
    total = trigamma(a + b) - trigamma(a + ends)
    value = n @ (special.gammaln(r + x) - special.gammaln(r) + special.betaln(a, ends) - special.betaln(a, b))
    gradient, hessian = np.zeros(4), np.zeros((4, 4))
    gradient[0] = n @ (digamma(r + x) - digamma(r))
    gradient[2] = n @ (digamma(a + b) - digamma(a + ends))
    gradient[3] = n @ (digamma(a + b) - digamma(b) + digamma(ends) - digamma(a + ends))
    hessian[0, 0] = n @ (trigamma(r + x) - trigamma(r))
    hessian[2, 2] = hessian[2, 3] = n @ total
    hessian[3, 3] = n @ (total - trigamma(b) + trigamma(ends))
    return float(value), gradient, hessian


def log_likelihood(parameters: Array, data: Histories, coin: Coin) -> tuple[float, Array, Array]:
    """Return the log-likelihood, its gradient and its exact Hessian in r, alpha, a, b.

    Args:
        parameters: r, alpha, a, b, shape (4,).
        data: What :func:`histories` returned.
        coin: 0 for BG/NBD, 1 for MBG/NBD.

    Returns:
        Value, gradient of shape (4,), Hessian of shape (4, 4).
    """
    r, alpha, a, b = (float(v) for v in parameters)
    # only the upper triangle of the Hessian is filled until the end
    value, gradient, hessian = _count_terms(r, a, b, data, coin)

    # the rate: r log(alpha) for everybody, -(r + x) log(alpha + T) as if all were alive
    n = float(data.customers.sum())
    value += n * r * np.log(alpha)
    gradient[:2] += n * np.log(alpha), n * r / alpha
    hessian[0, 1] += n / alpha
    hessian[1, 1] -= n * r / alpha**2
    new, tossed = (np.zeros_like(data.T_new), data.T_new, data.weight_new), (data.x, data.T, data.weight)
    for x, T, weight in (new, tossed):
        end, shape = alpha + T, r + x
        log_end = np.log(end)
        falling = weight / end
        value -= weight @ (shape * log_end)
        gradient[:2] -= weight @ log_end, falling @ shape
        hessian[0, 1] -= falling.sum()
        hessian[1, 1] += (falling / end) @ shape

    # plus softplus(u), u the log odds of 'ended at the last purchase' against 'still alive'
    shape, end, last = r + data.x, alpha + data.T, alpha + data.recency
    stays = b + data.x + coin - 1
    gap, tilt = np.log(end / last), 1 / end - 1 / last
    u = np.log(a / stays) + shape * gap
    gone = special.expit(u)
    # log(1 + exp(u)) from what is at hand: -log(1 - gone), or u - log(gone) where that is exact
    value += data.weight @ np.where(
        u > 0, u - np.log(np.maximum(gone, 0.5)), -np.log1p(-np.minimum(gone, 0.5))
    )
    first = data.weight * gone
    spread = first * (1 - gone)
    slopes = np.empty((4, len(u)))
    slopes[0], slopes[1], slopes[2], slopes[3] = gap, shape * tilt, 1 / a, -1 / stays
    gradient += slopes @ first
    hessian += (slopes * spread) @ slopes.T
    hessian[0, 1] += first @ tilt
    hessian[1, 1] += first @ (shape * (1 / last**2 - 1 / end**2))
    hessian[2, 2] -= first.sum() / a**2
    hessian[3, 3] += first @ (1 / stays**2)
    return float(value), gradient, np.triu(hessian) + np.triu(hessian, 1).T


def row_terms(
    parameters: Parameters, x: Array, recency: Array, T: Array, coin: Coin
) -> tuple[Array, Array, Array]:
    """Return each row's log-likelihood with gradient and Hessian in r, alpha, a, b.

    Args:
        parameters: r, alpha, a, b, each a number or of shape (n,).
        x: Repeat purchases, shape (n,).
        recency: Time of the last one, shape (n,).
        T: Time observed, shape (n,).
        coin: 0 for BG/NBD, 1 for MBG/NBD.

    Returns:
        Value (n,), gradient (4, n), Hessian (4, 4, n).
    """
    r, alpha, a, b = (np.broadcast_to(np.asarray(v, dtype=float), x.shape) for v in parameters)
    ends, shape, end = b + x + coin, r + x, alpha + T
    value = special.gammaln(shape) - special.gammaln(r) + special.betaln(a, ends) - special.betaln(a, b)
    value += r * np.log(alpha) - shape * np.log(end)
    all_digits = digamma(a + b) - digamma(a + ends)
    gradient, hessian = np.zeros((4, len(x))), np.zeros((4, 4, len(x)))
    gradient[0] = digamma(shape) - digamma(r) + np.log(alpha / end)
    gradient[1] = r / alpha - shape / end
    gradient[2] = all_digits
    gradient[3] = all_digits + digamma(ends) - digamma(b)
    total = trigamma(a + b) - trigamma(a + ends)
    hessian[0, 0] = trigamma(shape) - trigamma(r)
    hessian[0, 1] = 1 / alpha - 1 / end
    hessian[1, 1] = shape / end**2 - r / alpha**2
    hessian[2, 2] = hessian[2, 3] = total
    hessian[3, 3] = total + trigamma(ends) - trigamma(b)

    tossed = x + coin > 0
    last, stays = alpha + recency, np.where(tossed, ends - 1, 1.0)
    gap, tilt = np.log(end / last), 1 / end - 1 / last
    u = np.where(tossed, np.log(a / stays) + shape * gap, -np.inf)
    gone = special.expit(u)
    value += np.logaddexp(0.0, u)
    slopes = np.stack([gap, shape * tilt, 1 / a, -1 / stays])
    gradient += slopes * gone
    hessian += slopes[:, None] * slopes[None, :] * (gone * (1 - gone))
    hessian[0, 1] += gone * tilt
    hessian[1, 1] += gone * shape * (1 / last**2 - 1 / end**2)
    hessian[2, 2] -= gone / a**2
    hessian[3, 3] += gone / stays**2
    for i, j in zip(*np.tril_indices(4, -1), strict=True):
        hessian[i, j] = hessian[j, i]
    return value, gradient, hessian


def probability_alive(parameters: Parameters, x: Array, recency: Array, T: Array, coin: Coin) -> Array:
    """Return P(alive at T | x, t_x, T) of each row, shape (n,).

    BG/NBD gives exactly 1 to a customer without repeat purchase: no coin was tossed.

    References:
        Fader, Hardie and Lee (2008), Computing P(alive) Using the BG/NBD Model, equation 1.
    """
    r, alpha, a, b = parameters
    tossed = x + coin > 0
    stays = np.where(tossed, b + x + coin - 1, 1.0)
    odds = np.log(a / stays) + (r + x) * np.log((alpha + T) / (alpha + recency))
    return np.where(tossed, special.expit(-odds), 1.0)


def alive_purchases(
    parameters: Parameters,
    x: Array,
    T: Array,
    *,
    coin: Coin,
    edges: Sequence[float | Array],
    factors: Array | None = None,
    decay: float = 0.0,
) -> Array:
    """Return discounted expected purchases after T of rows known to be alive at T.

    A live customer has lambda ~ Gamma(r + x, alpha + T) and p ~ Beta(a, b + x + coin), whatever
    the time of the last purchase, so the expected purchase rate t later is
    (r + x)/(alpha + T) 2F1(r + x + 1, a; a + b + x + coin; -t/(alpha + T)), here in the form in
    which Euler's transformation makes every factor moderate.

    Args:
        parameters: r, alpha, a, b, each a number or of shape (n,).
        x: Repeat purchases, shape (n,).
        T: Time observed, shape (n,).
        coin: 0 for BG/NBD, 1 for MBG/NBD.
        edges: Ends of the panels of time after T, each a number or of shape (n,).
        factors: Weight of each panel.
        decay: Continuous discount rate per model unit.
    """
    r, alpha, a, b = parameters
    rest = a + b + coin - r - 1
    alike = not any(np.ndim(v) for v in parameters)
    levels, where = np.unique(x, return_inverse=True)

    def density(y: Array) -> Array:
        if alike and len(y) and (y == y[0]).all():
            z = np.full_like(levels, -np.expm1(-y[0]))
            curve = gauss_2f1(a, rest, a + b + coin + levels, z, purchases=levels)[where]
        else:
            curve = gauss_2f1(a, rest, a + b + coin + x, -np.expm1(-y), purchases=x)
        return np.asarray((r + x) * np.exp((1 - a) * y) * curve, dtype=float)

    return integrate_rate(density, alpha + T, edges=edges, factors=factors, decay=decay)


def purchase_count_pmf(parameters: Parameters, n: Array, t: Array, coin: Coin) -> Array:
    """Return P(X(t) = n) for a new customer; ``n`` and ``t`` of one shape.

    References:
        Fader, Hardie and Lee (2005), equation 8. The sum in its last term is the lower tail of
        a negative binomial, an incomplete beta function.
    """
    r, alpha, a, b = parameters
    log_miss, share = np.log(alpha / (alpha + t)), t / (alpha + t)
    log_count = (
        special.gammaln(r + n)
        - special.gammaln(r)
        - special.gammaln(n + 1)
        + r * log_miss
        + special.xlogy(n, share)
    )
    prior = special.betaln(a, b)
    alive = np.exp(special.betaln(a, b + n + coin) - prior + log_count)
    tossed = n + coin > 0
    stays = np.where(tossed, b + n + coin - 1, 1.0)
    reached = np.where(n > 0, special.betainc(np.maximum(n, 1), r, share), 1.0)
    ended = np.exp(special.betaln(a + 1, stays) - prior) * reached
    return np.asarray(alive + np.where(tossed, ended, 0.0), dtype=float)


def simulate(
    generator: np.random.Generator,
    parameters: Parameters,
    x: Array,
    recency: Array,
    T: Array,
    t: float,
    *,
    coin: Coin,
) -> Array:
    """Draw the purchases each customer makes in (T, T + t], shape (n,)."""
    r, alpha, a, b = parameters
    alive = generator.random(len(x)) < probability_alive(parameters, x, recency, T, coin)
    rate = generator.gamma(r + x) / (alpha + T)
    leaving = generator.beta(a, b + coin + x)
    arrivals = generator.poisson(rate * t)
    # numpy counts the toss that ends a customer, which is the last purchase
    until_gone = generator.geometric(np.clip(leaving, 1e-9, 1.0))
    return np.where(alive, np.minimum(arrivals, until_gone), 0)


def _start(x: Array, T: Array, weight: Array) -> Array:
    """Start where the mean rate fits and one purchase in four ends a customer."""
    rate = float((weight @ x) / (weight @ T))
    return np.array([1.0, 1.0 / rate, 1.0, 3.0])


def core(coin: Coin) -> Core:
    """Return the functions of BG/NBD (coin 0) or MBG/NBD (coin 1)."""

    def objective(x: Array, recency: Array, T: Array, weight: Array) -> Derivatives:
        data = histories(x, recency, T, weight, coin)
        return lambda parameters: log_likelihood(parameters, data, coin)

    return Core(
        names=("r", "alpha", "a", "b"),
        times=(1,),
        objective=objective,
        terms=partial(row_terms, coin=coin),
        start=_start,
        alive=partial(probability_alive, coin=coin),
        purchases=partial(alive_purchases, coin=coin),
        pmf=partial(purchase_count_pmf, coin=coin),
        simulate=partial(simulate, coin=coin),
    )
