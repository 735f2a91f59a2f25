"""Gamma-Gamma spend in numbers.

A customer's purchases are worth Gamma(p, rate nu) each, with nu ~ Gamma(q, rate v) over
customers, independently of how often they buy.

References:
    Fader and Hardie (2013), The Gamma-Gamma Model of Monetary Value, note 025, equations 1a to 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from loyalty_research.clv._special import digamma, trigamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.clv._core import Derivatives

    Array = NDArray[Any]

__all__ = ["NAMES", "conditional_mean", "objective"]

NAMES = ("p", "q", "v")


def objective(x: Array, mean: Array, weight: Array) -> Derivatives:
    """Return log-likelihood, gradient and Hessian as a function of p, q, v.

    Args:
        x: Repeat purchases, above 0, shape (n,).
        mean: Mean spend of them, above 0, shape (n,).
        weight: Customers behind each row, shape (n,).
    """
    levels, where = np.unique(x, return_inverse=True)
    count = np.bincount(where, weights=weight)
    log_mean, log_x = np.log(mean), np.log(x)
    fixed = float(weight @ log_mean)
    n = float(weight.sum())

    def at(parameters: Array) -> tuple[float, Array, Array]:
        p, q, v = (float(value) for value in parameters)
        px, total = p * levels, x * mean + v
        log_total, inverse, power = np.log(total), 1 / total, p * x + q
        value = count @ (special.gammaln(px + q) - special.gammaln(px) + px * np.log(levels))
        value += n * (q * np.log(v) - special.gammaln(q)) - fixed
        value += weight @ (p * x * log_mean - power * log_total)
        slope = np.array(
            [
                (count * levels) @ (digamma(px + q) - digamma(px))
                + (weight * x) @ (log_mean + log_x - log_total),
                count @ digamma(px + q) - n * (digamma(q) - np.log(v)) - weight @ log_total,
                n * q / v - (weight * power) @ inverse,
            ]
        )
        pp = (count * levels**2) @ (trigamma(px + q) - trigamma(px))
        pq = (count * levels) @ trigamma(px + q)
        pv = -(weight * x) @ inverse
        qq = count @ trigamma(px + q) - n * trigamma(q)
        qv = n / v - weight @ inverse
        vv = -n * q / v**2 + (weight * power) @ inverse**2
        return float(value), slope, np.array([[pp, pq, pv], [pq, qq, qv], [pv, qv, vv]])

    return at


def conditional_mean(parameters: Array, x: Array, mean: Array) -> Array:
    """Return E[spend per purchase | x, mean], shape (n,); infinity where it does not exist.

    Args:
        parameters: p, q, v.
        x: Repeat purchases; 0 gives the mean over all customers.
        mean: Mean spend of them; ignored where x is 0.

    References:
        Fader and Hardie (2013), note 025, equation 5.
    """
    p, q, v = (float(value) for value in parameters)
    spent = np.where(x > 0, x * mean, 0.0)
    freedom = p * x + q - 1
    return np.where(freedom > 0, p * (v + spent) / np.where(freedom > 0, freedom, 1.0), np.inf)
