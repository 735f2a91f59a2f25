"""BG/BB in numbers: buying at discrete opportunities, pure functions of arrays.

At each opportunity a customer who is still there buys with probability p ~ Beta(alpha, beta); before
each opportunity the customer leaves for good with probability theta ~ Beta(gamma, delta). x purchases,
the last at opportunity t_x, of n opportunities: either the customer was there to the end, or left
after opportunity m, for some m from t_x to n - 1. All terms are positive and have one form.

References:
    Fader, Hardie and Shang (2010), Customer-Base Analysis in a Discrete-Time Noncontractual Setting,
    Marketing Science 29(6), equations 4 to 14.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import special

from loyalty_research.clv._core import Core
from loyalty_research.clv._frames import group_rows
from loyalty_research.clv._special import digamma, endless_2f1, trigamma
from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

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

_CHUNK = 1 << 18  # terms held at one time
_MOST_TERMS = 2_000_000


class _Terms(NamedTuple):
    """Every way each row's customer may have left, flat.

    Attributes:
        x: Purchases, shape (m,).
        until: Last opportunity the customer was there for, shape (m,).
        left: 1 where the customer left after it, 0 where still there at the end, shape (m,).
        row: Row of each term, shape (m,).
        first: Position of each row's first term, shape (n,).
    """

    x: Integers
    until: Integers
    left: Integers
    row: Integers
    first: Integers


def _terms(x: Array, recency: Array, n: Array) -> _Terms:
    length = (n - recency).astype(np.int64) + 1
    first = np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.int64)
    row = np.repeat(np.arange(len(x)), length)
    until = recency.astype(np.int64)[row] + np.arange(len(row)) - first[row]
    return _Terms(x.astype(np.int64)[row], until, (until < n[row]).astype(np.int64), row, first)


def _log_terms(parameters: Array, flat: _Terms) -> Array:
    """Return the log probability of each term, shape (m,)."""
    a, b, c, d = (float(v) for v in parameters)
    most = int(flat.until.max(initial=0)) + 2
    steps = np.arange(most, dtype=float)
    # every Gamma function once, at the whole steps it is needed at
    of = {
        key: special.gammaln(v + steps)
        for key, v in {"a": a, "b": b, "ab": a + b, "d": d, "cd": c + d}.items()
    }
    stay = special.gammaln([c, c + 1])
    bought = of["a"][flat.x] + of["b"][flat.until - flat.x] - of["ab"][flat.until]
    there = stay[flat.left] + of["d"][flat.until] - of["cd"][flat.until + flat.left]
    return np.asarray(bought + there - special.betaln(a, b) - special.betaln(c, d), dtype=float)


def _sum_logs(values: Array, flat: _Terms) -> tuple[Array, Array]:
    """Return the log of each row's sum (n,) and each term's share of it (m,)."""
    peak = np.maximum.reduceat(values, flat.first)
    shares = np.exp(values - peak[flat.row])
    total = np.add.reduceat(shares, flat.first)
    return peak + np.log(total), shares / total[flat.row]


def _slopes(parameters: Array, flat: _Terms) -> tuple[Array, Array]:
    """Return gradient (4, m) and Hessian (4, 4, m) of each term's log."""
    a, b, c, d = (float(v) for v in parameters)
    most = int(flat.until.max(initial=0)) + 2
    steps = np.arange(most, dtype=float)
    x, until, left = flat.x, flat.until, flat.left
    gradient, hessian = np.empty((4, len(x))), np.zeros((4, 4, len(x)))
    for order, function in ((1, digamma), (2, trigamma)):
        of = {k: function(v + steps) for k, v in {"a": a, "b": b, "ab": a + b, "d": d, "cd": c + d}.items()}
        both, there = of["ab"][until], of["cd"][until + left]
        prior, start = float(function(a + b)), float(function(c + d))
        own = (
            of["a"][x] - both - float(function(a)) + prior,
            of["b"][until - x] - both - float(function(b)) + prior,
            function(c + np.arange(2.0))[left] - there - float(function(c)) + start,
            of["d"][until] - there - float(function(d)) + start,
        )
        if order == 1:
            for k in range(4):
                gradient[k] = own[k]
        else:
            for k in range(4):
                hessian[k, k] = own[k]
            hessian[0, 1] = hessian[1, 0] = prior - both
            hessian[2, 3] = hessian[3, 2] = start - there
    return gradient, hessian


def _pieces(recency: Array, n: Array) -> list[slice]:
    """Cut rows into parts whose terms fit into memory together."""
    total = np.cumsum(n - recency + 1)
    cuts = np.searchsorted(total, np.arange(_CHUNK, total[-1] if len(n) else 0, _CHUNK))
    ends = np.unique(np.concatenate([[0], cuts, [len(n)]]).astype(np.int64))
    return [slice(int(begin), int(end)) for begin, end in pairwise(ends)]


def row_terms(parameters: Parameters, x: Array, recency: Array, T: Array) -> tuple[Array, Array, Array]:
    """Return each row's log-likelihood with gradient and Hessian in alpha, beta, gamma, delta.

    Args:
        parameters: alpha, beta, gamma, delta.
        x: Purchases, shape (n,).
        recency: Opportunity of the last one, shape (n,).
        T: Opportunities, shape (n,).

    Returns:
        Value (n,), gradient (4, n), Hessian (4, 4, n).
    """
    at = np.asarray(parameters, dtype=float)
    value, gradient, hessian = np.empty(len(x)), np.empty((4, len(x))), np.empty((4, 4, len(x)))
    for part in _pieces(recency, T):
        flat = _terms(x[part], recency[part], T[part])
        value[part], shares = _sum_logs(_log_terms(at, flat), flat)
        slope, bend = _slopes(at, flat)
        mean = np.add.reduceat(slope * shares, flat.first, axis=1)
        gradient[:, part] = mean
        away = slope - mean[:, flat.row]
        bend += away[:, None] * away[None, :]
        hessian[:, :, part] = np.add.reduceat(bend * shares, flat.first, axis=2)
    return value, gradient, hessian


def log_likelihood(parameters: Array, x: Array, recency: Array, T: Array) -> Array:
    """Return each row's log-likelihood, shape (n,)."""
    value = np.empty(len(x))
    for part in _pieces(recency, T):
        flat = _terms(x[part], recency[part], T[part])
        value[part] = _sum_logs(_log_terms(parameters, flat), flat)[0]
    return value


def probability_alive(parameters: Parameters, x: Array, recency: Array, T: Array) -> Array:
    """Return P(there at opportunity T + 1 | x, t_x, T) of each row, shape (n,).

    References:
        Fader, Hardie and Shang (2010), equation 11.
    """
    at = np.asarray(parameters, dtype=float)
    a, b, c, d = (float(v) for v in at)
    first, where = group_rows(x, recency, T)
    x, recency, T = x[first], recency[first], T[first]
    there = special.betaln(a + x, b + T - x) - special.betaln(a, b)
    there = there + special.betaln(c, d + T + 1) - special.betaln(c, d)
    return np.asarray(np.exp(there - log_likelihood(at, x, recency, T))[where], dtype=float)


def _ahead(c: float, d: float, T: float, edges: Sequence[float], factors: Array, decay: float) -> float:
    """Sum, over opportunities ahead, their weight times the chance of being there for them.

    The chance is that of a customer who is there for the next opportunity, T + 1.
    """
    if np.isinf(edges[-1]):
        if len(edges) == 2:
            # Fader, Hardie and Shang (2010), equation 14
            return float(factors[0] * np.exp(-decay) * endless_2f1(d + T + 1, c + d + T + 1, decay))
        edges = [*edges[:-1], np.ceil(45.0 / decay)]
    most = int(np.floor(edges[-1] + 1e-9))
    if most > _MOST_TERMS:
        raise ArgumentError(f"{most:,} opportunities ahead are more than can be summed; shorten the horizon")
    steps = np.arange(1.0, most + 1)
    panel = np.searchsorted(np.asarray(edges[1:]) + 1e-9, steps)
    there = special.betaln(c, d + T + steps) - special.betaln(c, d + T + 1)
    return float(factors[panel] @ np.exp(there - decay * steps))


def alive_purchases(
    parameters: Parameters,
    x: Array,
    T: Array,
    *,
    edges: Sequence[float | Array],
    factors: Array | None = None,
    decay: float = 0.0,
) -> Array:
    """Return discounted expected purchases after T of rows there for opportunity T + 1.

    Args:
        parameters: alpha, beta, gamma, delta.
        x: Purchases, shape (n,).
        T: Opportunities so far, shape (n,).
        edges: Ends of the panels of opportunities after T, each a number or of shape (n,).
        factors: Weight of each panel.
        decay: Continuous discount rate per opportunity.

    References:
        Fader, Hardie and Shang (2010), equations 13 and 14; the sum itself where there is an end,
        so that gamma = 1 is nothing special.
    """
    a, b, c, d = (float(v) for v in parameters)
    weights = np.ones(len(edges) - 1) if factors is None else np.asarray(factors, dtype=float)
    spread = [np.broadcast_to(np.asarray(edge, dtype=float), T.shape) for edge in edges]
    first, where = group_rows(T, *(edge for edge in spread if np.isfinite(edge).all()))
    ahead = np.array(
        [_ahead(c, d, float(T[i]), [float(edge[i]) for edge in spread], weights, decay) for i in first]
    )
    return np.asarray((a + x) / (a + b + T) * ahead[where], dtype=float)


def purchase_count_pmf(parameters: Parameters, n: Array, t: Array) -> Array:
    """Return P(X(t) = n) for a new customer with t opportunities; ``n`` and ``t`` of one shape.

    References:
        Fader, Hardie and Shang (2010), equation 7.
    """
    a, b, c, d = (float(v) for v in parameters)
    first, where = group_rows(n, t)

    def one(x: float, most: float) -> float:
        if x > most:
            return 0.0
        until = np.arange(x, most + 1)
        left = until < most
        log: Array = special.gammaln(until + 1) - special.gammaln(x + 1) - special.gammaln(until - x + 1)
        log = log + special.betaln(a + x, b + until - x) - special.betaln(a, b)
        log = log + special.betaln(c + left, d + until) - special.betaln(c, d)
        return float(np.exp(log).sum())

    return np.array([one(float(n[i]), float(t[i])) for i in first])[where]


def simulate(
    generator: np.random.Generator, parameters: Parameters, x: Array, recency: Array, T: Array, t: float
) -> Array:
    """Draw the purchases each customer makes at the t opportunities after T, shape (n,)."""
    a, b, c, d = (float(v) for v in parameters)
    alive = generator.random(len(x)) < probability_alive(parameters, x, recency, T)
    buying = generator.beta(a + x, b + T - x)
    leaving = generator.beta(c, d + T + 1)
    there = np.minimum(generator.geometric(np.clip(leaving, 1e-9, 1.0)), int(t))
    return np.where(alive, generator.binomial(there, buying), 0)


def _objective(x: Array, recency: Array, T: Array, weight: Array) -> Derivatives:
    def at(parameters: Array) -> tuple[float, Array, Array]:
        value, gradient, hessian = row_terms(parameters, x, recency, T)
        return float(weight @ value), gradient @ weight, hessian @ weight

    return at


def _start(x: Array, T: Array, weight: Array) -> Array:
    """Start where the share of opportunities taken fits and one customer in four leaves at each."""
    share = float(np.clip((weight @ x) / (weight @ T), 0.02, 0.9))
    return np.array([1.0, (1 - share) / share, 1.0, 3.0])


CORE = Core(
    names=("alpha", "beta", "gamma", "delta"),
    times=(),
    objective=_objective,
    terms=row_terms,
    start=_start,
    alive=probability_alive,
    purchases=alive_purchases,
    pmf=purchase_count_pmf,
    simulate=simulate,
)
