"""Contractual lifetimes in numbers: shifted beta-geometric and beta-discrete-Weibull.

A customer survives t renewals with probability (1 - p)^(t^c), p ~ Beta(a, b) over customers, so that
S(t) = B(a, b + t^c)/B(a, b). With c = 1 each renewal is a coin of the customer's own (shifted
beta-geometric); c above 1 makes every customer more likely to leave with time, c below 1 less.

References:
    Fader and Hardie (2007), How to Project Customer Retention, Journal of Interactive Marketing 21(1).
    Fader, Hardie, Liu, Davin and Steenburgh (2018), "How to Project Customer Retention" Revisited: The
    Role of Duration Dependence, Journal of Interactive Marketing 43.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import special

from loyalty_research.clv._special import digamma, endless_2f1, trigamma
from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.clv._core import Derivatives

    Array = NDArray[Any]

__all__ = ["Spells", "discounted_renewals", "log_survival", "objective", "start"]

_MOST_TERMS = 5_000_000


class Spells(NamedTuple):
    """Distinct spells and how many customers share each.

    Attributes:
        periods: Contract periods, shape (n,).
        left: 1 where the customer left at the end of them, 0 where still there, shape (n,).
        weight: Customers, shape (n,); negative where survivors of a late start are conditioned on.
    """

    periods: Array
    left: Array
    weight: Array


def log_survival(parameters: Array, t: Array) -> Array:
    """Return log S(t), shape of ``t``.

    Args:
        parameters: a, b and, for the Weibull form, c.
        t: Renewals, 0 or more.

    References:
        Fader and Hardie (2007), equation 6; Fader et al. (2018), equation 7.
    """
    a, b = float(parameters[0]), float(parameters[1])
    power = float(parameters[2]) if len(parameters) > 2 else 1.0
    tau = np.power(t, power)
    # from Gamma ratios: B(a, b + tau)/B(a, b) = [G(b + tau)/G(b)] / [G(a + b + tau)/G(a + b)]
    return np.asarray(special.betaln(a, b + tau) - special.betaln(a, b), dtype=float)


def _log_survival_terms(a: float, b: float, c: float, t: Array) -> tuple[Array, Array, Array]:
    """Return log S(t) with gradient (3, n) and Hessian (3, 3, n) in a, b, c."""
    tau = np.power(t, c)
    log_t = np.log(np.where(t > 0, t, 1.0))
    value = special.betaln(a, b + tau) - special.betaln(a, b)
    both, far, near = digamma(a + b), digamma(a + b + tau), digamma(b + tau)
    both2, far2, near2 = trigamma(a + b), trigamma(a + b + tau), trigamma(b + tau)
    along = near - far  # derivative in tau
    bent, tilt = near2 - far2, tau * log_t
    gradient = np.stack([both - far, both - far + near - digamma(b), along * tilt])
    hessian = np.empty((3, 3, len(t)))
    hessian[0, 0] = hessian[0, 1] = hessian[1, 0] = both2 - far2
    hessian[1, 1] = both2 - far2 + near2 - trigamma(b)
    hessian[0, 2] = hessian[2, 0] = -far2 * tilt
    hessian[1, 2] = hessian[2, 1] = bent * tilt
    hessian[2, 2] = bent * tilt**2 + along * tilt * log_t
    return value, gradient, hessian


def objective(spells: Spells, free: int) -> Derivatives:
    """Return log-likelihood, gradient and Hessian as a function of the parameters.

    Args:
        spells: Distinct spells.
        free: 2 for a and b (c = 1), 3 for a, b and c.
    """
    t, left, weight = spells
    gone = left > 0
    stay, lose = weight * ~gone, weight * gone

    def at(parameters: Array) -> tuple[float, Array, Array]:
        a, b = float(parameters[0]), float(parameters[1])
        c = float(parameters[2]) if free == 3 else 1.0
        end, end_slope, end_bend = _log_survival_terms(a, b, c, t)
        begin, slope, bend = _log_survival_terms(a, b, c, np.where(gone, t - 1, 0.0))
        # leaving at t: S(t-1) - S(t) = S(t-1) (1 - q), q the retention rate
        if free == 2:
            fall, lost = -np.log1p(a / (b + t - gone)), a / (a + b + t - gone)
        else:
            fall = np.where(gone, end - begin, -1.0)
            lost = -np.expm1(fall)
        odds = np.exp(fall) / lost
        value = stay @ end + lose @ (begin + np.log(lost))
        step, turn = end_slope - slope, end_bend - bend
        gradient = end_slope @ stay + (slope - odds * step) @ lose
        curve = bend - odds * turn - (odds / lost) * step[:, None] * step[None, :]
        hessian = end_bend @ stay + curve @ lose
        return float(value), gradient[:free], hessian[:free, :free]

    return at


def start(spells: Spells, free: int) -> Array:
    """Start where the share lost per period is that of all spells, spread over customers."""
    t, left, weight = spells
    at_risk = float(weight @ t)
    share = float(np.clip(weight @ left / max(at_risk, 1e-12), 0.01, 0.9))
    return np.array([1.0, (1 - share) / share, 1.0])[:free]


def discounted_renewals(parameters: Array, renewals: Array, rate: float, most: int | None) -> Array:
    """Return the discounted renewals to come of customers about to renew, shape (n,).

    The next renewal counts in full, the one after it 1/(1 + rate), and so on.

    Args:
        parameters: a, b and, for the Weibull form, c.
        renewals: Renewals made so far, shape (n,).
        rate: Discount rate per period.
        most: Renewals ahead that count; None for all of them.

    References:
        Fader and Hardie (2010), Customer-Base Valuation in a Contractual Setting: The Perils of
        Ignoring Heterogeneity, Marketing Science 29(1), equation 8, for the shifted beta-geometric
        without end; otherwise the sum itself.
    """
    decay = float(np.log1p(rate))
    if len(parameters) == 2 and most is None:
        a, b = (float(v) for v in parameters)
        first = (b + renewals) / (a + b + renewals)
        return np.asarray(
            first * [endless_2f1(b + m + 1, a + b + m + 1, decay) for m in renewals], dtype=float
        )
    count = most
    if count is None:
        count = int(np.ceil(45.0 / decay))
        if count > _MOST_TERMS:
            raise ArgumentError(
                f"a discount rate of {rate:.2g} per period needs a sum of {count:,} periods; give a horizon="
            )
    ahead = np.arange(1.0, count + 1)
    factor = np.exp(-decay * (ahead - 1))
    return np.array(
        [factor @ np.exp(log_survival(parameters, m + ahead) - log_survival(parameters, m)) for m in renewals]
    )
