"""Discounted purchases of a live customer as one smooth integral.

Every buy-till-you-die model here gives a customer who is alive at T a purchase rate that falls
like a power of ``scale + t``. With ``t = scale * (exp(y) - 1)`` the integrand is smooth in y on
any horizon, so Gauss-Legendre needs a few dozen points, every term is positive, and nothing is
singular where the closed forms divide by ``a - 1`` or ``s - 1``.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.errors import ConvergenceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["gauss_2f1", "integrate_rate", "legendre"]

_SERIES_FROM = 20  # purchases from which the power series is quick and scipy may return NaN
_TERMS = 100_000
_NEGLIGIBLE = 45.0  # exp(-45) is 3e-20: what lies beyond adds nothing


@cache
def legendre(points: int) -> tuple[Array, Array]:
    """Return Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return (nodes + 1) / 2, weights / 2


def _series(a: float | Array, b: float | Array, c: Array, z: Array) -> Array:
    """Sum the power series of 2F1 until its terms no longer count."""
    largest = float(np.max(np.abs(b), initial=0.0))
    total, term = np.ones_like(z), np.ones_like(z)
    for k in range(_TERMS):
        term = term * ((a + k) * (b + k) / (k + 1)) * z / (c + k)
        total += term
        if k > largest and np.all(np.abs(term) <= 1e-17 * np.abs(total)):
            return total
    raise ConvergenceError(
        f"the hypergeometric series did not settle in {_TERMS:,} terms (b up to {largest:.3g})"
    )


def gauss_2f1(a: float | Array, b: float | Array, c: Array, z: Array, *, purchases: Array) -> Array:
    """Return 2F1(a, b; c; z) for z in [0, 1) and c - a - b > 1.

    scipy answers for customers with few purchases; for the others the plain series is as quick
    and does not break down where c - a - b is an integer.

    Args:
        a: First upper parameter, a number or of shape (n,).
        b: Second upper parameter, likewise.
        c: Lower parameter, shape (n,).
        z: Argument, shape (n,).
        purchases: Purchases behind each row, which grow with c, shape (n,).
    """
    from scipy.special import hyp2f1

    many = purchases >= _SERIES_FROM
    if not many.any():
        return np.asarray(hyp2f1(a, b, c, z), dtype=float)
    out = np.empty(np.broadcast(c, z).shape)
    first, second = (np.broadcast_to(v, out.shape) for v in (a, b))
    out[~many] = hyp2f1(first[~many], second[~many], c[~many], z[~many])
    out[many] = _series(first[many], second[many], c[many], z[many])
    return out


def _points(width: float) -> int:
    return 12 if width < 0.5 else 16 if width < 1.5 else 24 if width < 4 else 48


def integrate_rate(
    density: Callable[[Array], Array],
    scale: Array,
    *,
    edges: Sequence[float | Array],
    factors: Array | None = None,
    decay: float = 0.0,
) -> Array:
    """Integrate a purchase rate over time with discounting.

    Args:
        density: Expected purchases per unit of y at y, shapes (n,) to (n,), where
            ``t = scale * (exp(y) - 1)``.
        scale: Time scale of each row, in the model's unit, shape (n,).
        edges: Ends of the m panels in the model's unit, increasing, each a number or of shape (n,);
            the last may be infinite when ``decay`` is positive.
        factors: Weight of each panel, shape (m,); ones by default.
        decay: Continuous discount rate per model unit, applied as exp(-decay t).

    Returns:
        The discounted expected purchases of each row, shape (n,).
    """
    total = np.zeros_like(scale)
    weights = np.ones(len(edges) - 1) if factors is None else factors
    lower = np.log1p(np.asarray(edges[0]) / scale)
    for end, weight in zip(edges[1:], weights, strict=True):
        endless = decay > 0 and bool(np.all(np.isinf(end)))
        last = np.minimum(end, _NEGLIGIBLE / decay) if decay > 0 else np.asarray(end)
        upper = np.log1p(last / scale)
        if endless and len(scale):
            # one end for all rows, beyond which nothing is left, lets them share their nodes
            upper = np.full_like(scale, upper.max())
        width = upper - lower
        nodes, shares = legendre(64 if endless else _points(float(width.max(initial=0.0))))
        panel = np.zeros_like(scale)
        for node, share in zip(nodes, shares, strict=True):
            y = lower + node * width
            term = density(y)
            if decay > 0:
                term = term * np.exp(-decay * scale * np.expm1(y))
            panel += share * term
        total += weight * width * panel
        lower = upper
    return total
