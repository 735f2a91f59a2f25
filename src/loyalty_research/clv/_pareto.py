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

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import special

from loyalty_research.clv._core import Core
from loyalty_research.clv._quadrature import integrate_rate, legendre
from loyalty_research.clv._special import digamma, trigamma

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from loyalty_research.clv._core import Derivatives, Parameters

    Array = NDArray[Any]
    Integers = NDArray[np.int64]

__all__ = [
    "CORE",
    "alive_purchases",
    "log_likelihood",
    "probability_alive",
    "purchase_count_pmf",
    "row_terms",
    "simulate",
]

_REACH = 37.0  # where the integrand has fallen by exp(-37), a rounding error, the rest adds nothing
_CHUNK = 32_768  # nodes of all rows together that fit in the processor's cache
# (most fall of the log integrand, widest axis, Gauss-Legendre points): each errs by 5e-13 at most there
_RULES = ((2.5, 1.5, 8), (7.0, 2.0, 10), (25.0, 4.0, 16), (np.inf, np.inf, 24))


class _Rows(NamedTuple):
    """Rows with their parameters, each number or array of shape (n,) broadcast to (n,).

    Attributes:
        r: Shape of the purchase rates.
        alpha: Their scale.
        s: Shape of the dropout rates.
        beta: Their scale.
        x: Repeat purchases.
        recency: Time of the last one.
        T: Time observed.
    """

    r: Array
    alpha: Array
    s: Array
    beta: Array
    x: Array
    recency: Array
    T: Array


def _rows(parameters: Parameters, x: Array, recency: Array, T: Array) -> _Rows:
    r, alpha, s, beta = (np.broadcast_to(np.asarray(v, dtype=float), x.shape) for v in parameters)
    return _Rows(r, alpha, s, beta, x, recency, T)


def _axes(rows: _Rows) -> tuple[Array, Array]:
    """Return the width of each row's axis and the fall of the log integrand along it, shapes (n,).

    On y = log(1 + (t - t_x)/c), with c the smaller of alpha + t_x and beta + t_x, the integrand is
    smooth for any parameters; the axis ends at T, or where either factor alone is negligible.
    """
    first, second = rows.alpha + rows.recency, rows.beta + rows.recency
    c, power = np.minimum(first, second), rows.r + rows.x
    span = (rows.T - rows.recency) / c
    fast = np.minimum(
        np.expm1(np.minimum(_REACH / power, 700.0)) * (first / c),
        np.expm1(np.minimum(_REACH / (rows.s + 1), 700.0)) * (second / c),
    )
    span = np.minimum(span, fast)
    fall = power * np.log1p(span * c / first) + (rows.s + 1) * np.log1p(span * c / second)
    return np.log1p(span), fall


def _left(rows: _Rows, width: Array, points: int, *, moments: bool) -> tuple[Array, Array, Array]:
    """Integrate the term 'left between t_x and T'.

    Returns:
        Its log (n,). With ``moments``, means (4, n) and covariances (4, 4, n; upper triangle) under
        the normalised integrand of: log growth of alpha + t since t_x, fall of 1/(alpha + t) since
        t_x, and the same for beta.
    """
    first, second = rows.alpha + rows.recency, rows.beta + rows.recency
    c = np.minimum(first, second)
    nodes, shares = legendre(points)
    y = nodes[:, None] * width
    since = np.exp(y)
    since -= 1
    since *= c
    end_a, end_b = since + first, since + second
    # one of the two logs is y itself
    grown_a = y if np.array_equal(c, first) else np.log(end_a / first)
    grown_b = y if np.array_equal(c, second) else np.log(end_b / second)
    exponent = y - (rows.r + rows.x) * grown_a
    exponent -= (rows.s + 1) * grown_b
    peak = exponent.max(axis=0)
    exponent -= peak
    density = np.exp(exponent, out=exponent)
    density *= shares[:, None]
    mass = density.sum(axis=0)
    with np.errstate(divide="ignore"):
        log_left = np.log(rows.s * width * mass * c) + peak
    log_left -= (rows.r + rows.x) * np.log(first) + (rows.s + 1) * np.log(second)
    if not moments:
        return log_left, np.empty(0), np.empty(0)
    density /= mass
    lost_a, lost_b = since / end_a, since / end_b
    lost_a /= first
    lost_b /= second
    parts = (grown_a, lost_a, grown_b, lost_b)
    weighted = [density * part for part in parts]
    means = np.stack([part.sum(axis=0) for part in weighted])
    spread = np.zeros((4, 4, len(width)))
    for i in range(4):
        for j in range(i, 4):
            spread[i, j] = np.einsum("kn,kn->n", weighted[i], parts[j]) - means[i] * means[j]
    return log_left, means, spread


def _log_alive(rows: _Rows) -> Array:
    power = rows.r + rows.x
    return np.asarray(-power * np.log(rows.alpha + rows.T) - rows.s * np.log(rows.beta + rows.T))


def _pieces(rows: _Rows) -> Iterator[tuple[Integers, _Rows, Array, int]]:
    """Yield positions, rows, widths and number of nodes, the easy rows apart from the hard ones."""
    width, fall = _axes(rows)
    rule = np.full(len(width), len(_RULES) - 1)
    for number in range(len(_RULES) - 2, -1, -1):
        rule[(fall <= _RULES[number][0]) & (width <= _RULES[number][1])] = number
    for number, (_, _, points) in enumerate(_RULES):
        chosen = np.flatnonzero(rule == number)
        length = _CHUNK // points
        for begin in range(0, len(chosen), length):
            at = chosen[begin : begin + length]
            yield at, _Rows(*(part[at] for part in rows)), width[at], points


def probability_alive(parameters: Parameters, x: Array, recency: Array, T: Array) -> Array:
    """Return P(alive at T | x, t_x, T) of each row, shape (n,).

    References:
        Fader and Hardie (2005), note 009, equation 35; here the odds of the two positive terms.
    """
    out = np.empty(len(x))
    for at, rows, width, points in _pieces(_rows(parameters, x, recency, T)):
        left = _left(rows, width, points, moments=False)[0]
        out[at] = special.expit(_log_alive(rows) - left)
    return out


def _mixture(rows: _Rows, width: Array, points: int) -> tuple[Array, Array, Array]:
    """Return log(alive + left) of each row with gradient (4, n) and upper Hessian (4, 4, n)."""
    r, alpha, s, beta, x, recency, T = rows
    left, means, spread = _left(rows, width, points, moments=True)
    alive = _log_alive(rows)
    gone = special.expit(left - alive)
    power, near_a, near_b = r + x, 1 / (alpha + recency), 1 / (beta + recency)
    mean_a, mean_b = near_a - means[1], near_b - means[3]  # of 1/(alpha + t) and 1/(beta + t)
    left_slope = np.stack(
        [
            -np.log(alpha + recency) - means[0],
            -power * mean_a,
            1 / s - np.log(beta + recency) - means[2],
            -(s + 1) * mean_b,
        ]
    )
    far_a, far_b = 1 / (alpha + T), 1 / (beta + T)
    alive_slope = np.stack([np.log(far_a), -power * far_a, np.log(far_b), -s * far_b])
    gap, stay = left_slope - alive_slope, 1 - gone
    gradient = alive_slope + gone * gap
    scale = np.stack([-np.ones_like(x), power, -np.ones_like(x), s + 1])
    hessian = gone * (scale[:, None] * scale[None, :] * spread + stay * gap[:, None] * gap[None, :])
    hessian[0, 1] -= stay * far_a + gone * mean_a
    hessian[2, 3] -= stay * far_b + gone * mean_b
    hessian[1, 1] += power * (stay * far_a**2 + gone * (spread[1, 1] + mean_a**2))
    hessian[3, 3] += s * stay * far_b**2 + (s + 1) * gone * (spread[3, 3] + mean_b**2)
    hessian[2, 2] -= gone / s**2
    return np.logaddexp(alive, left), gradient, hessian


def row_terms(parameters: Parameters, x: Array, recency: Array, T: Array) -> tuple[Array, Array, Array]:
    """Return each row's log-likelihood with gradient and Hessian in r, alpha, s, beta.

    Args:
        parameters: r, alpha, s, beta, each a number or of shape (n,).
        x: Repeat purchases, shape (n,).
        recency: Time of the last one, shape (n,).
        T: Time observed, shape (n,).

    Returns:
        Value (n,), gradient (4, n), Hessian (4, 4, n).
    """
    rows = _rows(parameters, x, recency, T)
    r, alpha, s, beta = rows[:4]
    value, gradient, hessian = np.empty(len(x)), np.empty((4, len(x))), np.empty((4, 4, len(x)))
    for at, some, width, points in _pieces(rows):
        value[at], gradient[:, at], hessian[:, :, at] = _mixture(some, width, points)
    value += special.gammaln(r + x) - special.gammaln(r) + r * np.log(alpha) + s * np.log(beta)
    gradient[0] += digamma(r + x) - digamma(r) + np.log(alpha)
    gradient[1] += r / alpha
    gradient[2] += np.log(beta)
    gradient[3] += s / beta
    hessian[0, 0] += trigamma(r + x) - trigamma(r)
    hessian[0, 1] += 1 / alpha
    hessian[1, 1] -= r / alpha**2
    hessian[2, 3] += 1 / beta
    hessian[3, 3] -= s / beta**2
    for i, j in zip(*np.tril_indices(4, -1), strict=True):
        hessian[i, j] = hessian[j, i]
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
    r, alpha, s, beta = parameters
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
    for at, rows, width, points in _pieces(_rows(parameters, x, recency, T)):
        terms, some = _mixture(rows, width, points), weight[at]
        value, gradient, hessian = (
            value + float(terms[0] @ some),
            gradient + terms[1] @ some,
            hessian + terms[2] @ some,
        )
    return value, gradient, np.triu(hessian) + np.triu(hessian, 1).T


def alive_purchases(
    parameters: Parameters,
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
    r, alpha, s, beta = parameters
    level = (r + x) * (beta + T) / (alpha + T)
    return integrate_rate(
        lambda y: level * np.exp((1 - s) * y), beta + T, edges=edges, factors=factors, decay=decay
    )


def purchase_count_pmf(parameters: Parameters, n: Array, t: Array) -> Array:
    """Return P(X(t) = n) for a new customer; ``n`` and ``t`` of one shape.

    References:
        Fader and Hardie (2006), Deriving an Expression for P(X(t) = x) Under the Pareto/NBD Model,
        note 012, equation 1, the integral over the time of leaving done by quadrature.
    """
    r, alpha, s, beta = parameters
    constant = special.gammaln(r + n) - special.gammaln(r) - special.gammaln(n + 1)

    def log_count(time: Array) -> Array:
        growth = np.log1p(time / alpha)
        return np.asarray(constant - r * growth + special.xlogy(n, time / (alpha + time)), dtype=float)

    out = np.exp(log_count(t) - s * np.log1p(t / beta))
    c = np.minimum(alpha, beta)
    width = np.log1p(t / c)
    for point, share in zip(*legendre(64), strict=True):
        y = point * width
        time = c * np.expm1(y)
        leaving = np.log(s / beta) - (s + 1) * np.log1p(time / beta)
        out += share * width * c * np.exp(y + leaving + log_count(time))
    return np.asarray(out, dtype=float)


def simulate(
    generator: np.random.Generator, parameters: Parameters, x: Array, recency: Array, T: Array, t: float
) -> Array:
    """Draw the purchases each customer makes in (T, T + t], shape (n,)."""
    r, alpha, s, beta = parameters
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
    terms=row_terms,
    start=_start,
    alive=probability_alive,
    purchases=alive_purchases,
    pmf=purchase_count_pmf,
    simulate=simulate,
)
