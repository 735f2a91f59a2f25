"""Pareto/NBD in numbers: pure functions of arrays.

Purchases arrive at rate lambda ~ Gamma(r, rate alpha) until a lifetime at rate mu ~ Gamma(s,
rate beta) ends. The likelihood of a history is the sum of two positive terms, 'alive at T' and
'left between t_x and T'. The second is integrated directly: written as a difference of two
hypergeometric functions it loses every digit when x is large or T is close to t_x.

References:
    Schmittlein, Morrison and Colombo (1987), Management Science 33(1).
    Fader and Hardie (2005), A Note on Deriving the Pareto/NBD Model and Related Expressions,
    brucehardie.com/notes/009, equations 10 to 41.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from loyalty_research.clv._core import Core
from loyalty_research.clv._quadrature import integrate_rate, legendre
from loyalty_research.clv._special import digamma, trigamma

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from loyalty_research.clv._core import Derivatives

    Array = NDArray[Any]

__all__ = [
    "CORE",
    "alive_purchases",
    "log_likelihood",
    "probability_alive",
    "purchase_count_pmf",
    "simulate",
]

_POINTS = 24
_REACH = 37.0  # where the integrand has fallen by exp(-37), a rounding error, the rest adds nothing
_CHUNK = 4096  # rows whose nodes fit in the processor's cache together


def _nodes(parameters: Array, x: Array, recency: Array, T: Array) -> tuple[Array, Array, Array]:
    """Place the nodes of the integral over the time of leaving.

    On y = log(1 + (t - t_x)/c), with c the smaller of alpha + t_x and beta + t_x, the integrand is
    smooth for any parameters; the axis ends at T, or where either factor alone is negligible.

    Returns:
        Time since t_x at each node (n, k), log of the node's share of the integral without the
        integrand (n, k), and the log width of the axis (n,), minus infinity where T is t_x.
    """
    r, alpha, s, beta = (float(v) for v in parameters)
    c = np.minimum(alpha, beta) + recency
    width = np.log1p((T - recency) / c)
    for power, scale in ((r + x, alpha + recency), (s + 1 + np.zeros_like(x), beta + recency)):
        span = np.expm1(np.minimum(_REACH / power, 700.0)) * scale / c
        width = np.minimum(width, np.log1p(span))
    points, shares = legendre(_POINTS)
    y = width[:, None] * points
    since = c[:, None] * np.expm1(y)
    with np.errstate(divide="ignore"):
        log_width = np.log(width)
    return since, y + np.log(shares) + np.log(c)[:, None], log_width


def _integrand(
    parameters: Array, x: Array, recency: Array, T: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Integrate the term 'left between t_x and T'.

    Returns:
        Its log (n,); at the nodes (n, k): shares of the integral, log growth of alpha + t and of
        beta + t since t_x, and time since t_x.
    """
    r, alpha, s, beta = (float(v) for v in parameters)
    since, log_share, log_width = _nodes(parameters, x, recency, T)
    grown_a = np.log1p(since / (alpha + recency)[:, None])
    grown_b = np.log1p(since / (beta + recency)[:, None])
    exponent = log_share - (r + x)[:, None] * grown_a - (s + 1) * grown_b
    peak = exponent.max(axis=1)
    shares = np.exp(exponent - peak[:, None])
    mass = shares.sum(axis=1)
    start = -(r + x) * np.log(alpha + recency) - (s + 1) * np.log(beta + recency)
    log_left = np.log(s) + log_width + peak + np.log(mass) + start
    return log_left, shares / mass[:, None], grown_a, grown_b, since


def _log_alive(parameters: Array, x: Array, T: Array) -> Array:
    r, alpha, s, beta = (float(v) for v in parameters)
    return np.asarray(-(r + x) * np.log(alpha + T) - s * np.log(beta + T), dtype=float)


def probability_alive(parameters: Array, x: Array, recency: Array, T: Array) -> Array:
    """Return P(alive at T | x, t_x, T) of each row, shape (n,).

    References:
        Fader and Hardie (2005), note 009, equation 35; here the odds of the two positive terms.
    """
    out = np.empty(len(x))
    for begin in range(0, len(x), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        left = _integrand(parameters, x[part], recency[part], T[part])[0]
        out[part] = special.expit(_log_alive(parameters, x[part], T[part]) - left)
    return out


def _chunk(
    parameters: Array, x: Array, recency: Array, T: Array, weight: Array
) -> tuple[float, Array, Array]:
    """Return the sum over rows of log(alive + left) with gradient and upper Hessian."""
    r, alpha, s, beta = (float(v) for v in parameters)
    left, shares, grown_a, grown_b, since = _integrand(parameters, x, recency, T)
    alive = _log_alive(parameters, x, T)
    gone = special.expit(left - alive)

    # derivatives of log(left): means over the nodes, logs measured from t_x so that no digit is lost
    near_a, near_b = 1 / (alpha + recency[:, None] + since), 1 / (beta + recency[:, None] + since)
    slopes = (-grown_a, -(r + x)[:, None] * near_a, -grown_b, -(s + 1) * near_b)
    means = [np.einsum("ij,ij->i", shares, slope) for slope in slopes]
    log_a, log_b = np.log(alpha + recency), np.log(beta + recency)
    left_slope = (means[0] - log_a, means[1], means[2] - log_b + 1 / s, means[3])
    alive_slope = (
        -np.log(alpha + T),
        -(r + x) / (alpha + T),
        -np.log(beta + T),
        -s / (beta + T),
    )
    gap = [after - before for after, before in zip(left_slope, alive_slope, strict=True)]
    stay, go = weight * (1 - gone), weight * gone
    value = float(weight @ np.logaddexp(alive, left))
    gradient = np.array([stay @ a + go @ b for a, b in zip(alive_slope, left_slope, strict=True)])
    hessian = np.zeros((4, 4))
    spread = go * (1 - gone)
    for i in range(4):
        centred = shares * (slopes[i] - means[i][:, None])
        for j in range(i, 4):
            hessian[i, j] = go @ np.einsum("ij,ij->i", centred, slopes[j]) + (spread * gap[i]) @ gap[j]
    hessian[0, 1] -= stay @ (1 / (alpha + T)) + go @ np.einsum("ij,ij->i", shares, near_a)
    hessian[2, 3] -= stay @ (1 / (beta + T)) + go @ np.einsum("ij,ij->i", shares, near_b)
    hessian[1, 1] += (stay * (r + x)) @ (1 / (alpha + T) ** 2)
    hessian[1, 1] += (go * (r + x)) @ np.einsum("ij,ij->i", shares, near_a**2)
    hessian[3, 3] += s * (stay @ (1 / (beta + T) ** 2))
    hessian[3, 3] += (s + 1) * (go @ np.einsum("ij,ij->i", shares, near_b**2))
    hessian[2, 2] -= go.sum() / s**2
    return value, gradient, hessian


def log_likelihood(
    parameters: Array, x: Array, recency: Array, T: Array, weight: Array
) -> tuple[float, Array, Array]:
    """Return the log-likelihood, its gradient and its exact Hessian in r, alpha, s, beta.

    Args:
        parameters: r, alpha, s, beta, shape (4,).
        x: Repeat purchases, shape (n,).
        recency: Time of the last one, shape (n,).
        T: Time observed, shape (n,).
        weight: Customers behind each row, shape (n,).

    Returns:
        Value, gradient of shape (4,), Hessian of shape (4, 4).
    """
    r, alpha, s, beta = (float(v) for v in parameters)
    levels, where = np.unique(x, return_inverse=True)
    count = np.bincount(where, weights=weight)
    n = float(count.sum())
    value = float(count @ (special.gammaln(r + levels) - special.gammaln(r)))
    value += n * (r * np.log(alpha) + s * np.log(beta))
    gradient = np.array(
        [
            count @ (digamma(r + levels) - digamma(r)) + n * np.log(alpha),
            n * r / alpha,
            n * np.log(beta),
            n * s / beta,
        ]
    )
    hessian = np.zeros((4, 4))
    hessian[0, 0] = count @ (trigamma(r + levels) - trigamma(r))
    hessian[0, 1], hessian[1, 1] = n / alpha, -n * r / alpha**2
    hessian[2, 3], hessian[3, 3] = n / beta, -n * s / beta**2
    for begin in range(0, len(x), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        add = _chunk(parameters, x[part], recency[part], T[part], weight[part])
        value, gradient, hessian = value + add[0], gradient + add[1], hessian + add[2]
    return value, gradient, np.triu(hessian) + np.triu(hessian, 1).T


def alive_purchases(
    parameters: Array,
    x: Array,
    T: Array,
    *,
    edges: Sequence[float | Array],
    factors: Array | None = None,
    decay: float = 0.0,
) -> Array:
    """Return discounted expected purchases after T of rows known to be alive at T.

    A live customer has lambda ~ Gamma(r + x, alpha + T) and mu ~ Gamma(s, beta + T), so the rate t
    later is (r + x)/(alpha + T) (1 + t/(beta + T))^-s; s = 1 is nothing special here.

    References:
        Fader and Hardie (2005), note 009, equation 41, before the integral over t is done.
    """
    r, alpha, s, beta = (float(v) for v in parameters)
    level = (r + x) * (beta + T) / (alpha + T)
    return integrate_rate(
        lambda y: level * np.exp((1 - s) * y), beta + T, edges=edges, factors=factors, decay=decay
    )


def purchase_count_pmf(parameters: Array, n: Array, t: Array) -> Array:
    """Return P(X(t) = n) for a new customer; ``n`` and ``t`` of one shape.

    References:
        Fader and Hardie (2006), Deriving an Expression for P(X(t) = x) Under the Pareto/NBD Model,
        note 012, equation 1, the integral over the time of leaving done by quadrature.
    """
    r, alpha, s, beta = (float(v) for v in parameters)
    constant = special.gammaln(r + n) - special.gammaln(r) - special.gammaln(n + 1)

    def log_count(time: Array) -> Array:
        growth = np.log1p(time / alpha)
        return np.asarray(constant - r * growth + special.xlogy(n, time / (alpha + time)), dtype=float)

    out = np.exp(log_count(t) - s * np.log1p(t / beta))
    c = min(alpha, beta)
    width = np.log1p(t / c)
    for point, share in zip(*legendre(64), strict=True):
        y = point * width
        time = c * np.expm1(y)
        leaving = np.log(s / beta) - (s + 1) * np.log1p(time / beta)
        out += share * width * c * np.exp(y + leaving + log_count(time))
    return np.asarray(out, dtype=float)


def simulate(
    generator: np.random.Generator, parameters: Array, x: Array, recency: Array, T: Array, t: float
) -> Array:
    """Draw the purchases each customer makes in (T, T + t], shape (n,)."""
    r, alpha, s, beta = (float(v) for v in parameters)
    alive = generator.random(len(x)) < probability_alive(parameters, x, recency, T)
    rate = generator.gamma(r + x) / (alpha + T)
    leaving = generator.gamma(s, size=len(x)) / (beta + T)
    life = generator.exponential(size=len(x)) / np.maximum(leaving, 1e-300)
    return np.where(alive, generator.poisson(rate * np.minimum(life, t)), 0)


def _start(x: Array, T: Array, weight: Array) -> Array:
    """Start where the mean rate fits and lifetimes are as long as the time observed."""
    rate = float((weight @ x) / (weight @ T))
    return np.array([1.0, 1.0 / rate, 1.0, 1.0])


def _objective(x: Array, recency: Array, T: Array, weight: Array) -> Derivatives:
    return lambda parameters: log_likelihood(parameters, x, recency, T, weight)


CORE = Core(
    names=("r", "alpha", "s", "beta"),
    times=(1, 3),
    objective=_objective,
    start=_start,
    alive=probability_alive,
    purchases=alive_purchases,
    pmf=purchase_count_pmf,
    simulate=simulate,
)
