"""Distributions of the time to leaving, as functions of log time and a few parameters.

Each family gives the log likelihood of an interval and its first and second derivatives in the
parameters ``theta``; the first parameter carries the covariates. Location-scale families (log T
is mu + sigma W) have them in closed form, the others by central differences.

References:
    Kalbfleisch, Prentice (2002), section 2.2 and eq. 3.22; Prentice (1974), Biometrika 61 (generalised
    gamma); Crowther, Royston, Clements (2022), Biostatistics 24 (accelerated splines).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

__all__ = ["Family", "GeneralisedGamma", "LocationScale", "Parts", "Spline"]


@dataclass(frozen=True, slots=True)
class Parts:
    """Log likelihood of intervals with derivatives in ``theta``.

    Attributes:
        value: Shape ``(n,)``.
        slope: Shape ``(m, n)``.
        bend: Second derivatives, shape ``(m, m, n)``.
    """

    value: Floats
    slope: Floats
    bend: Floats


class Family(Protocol):
    """A distribution."""

    @property
    def names(self) -> tuple[str, ...]:
        """Lifelines' names of the parameters, the one with covariates first."""

    @property
    def intercept(self) -> bool:
        """Whether the first parameter has an intercept."""

    def log_survival(self, y: Floats, theta: Sequence[Floats]) -> Floats:
        """Return log S at log times ``y``."""

    def parts(self, y: Floats, event: Bools, entry: Floats | None, theta: Sequence[Floats]) -> Parts:
        """Return the log likelihood of ``(entry, y]`` on the log scale; an entry of -inf is none."""


@dataclass(frozen=True, slots=True)
class LocationScale:
    """log T = mu + sigma W; ``theta`` is mu and log sigma (exponential: mu alone).

    Attributes:
        kind: Distribution of exp(W).
    """

    kind: Literal["exponential", "weibull", "lognormal", "loglogistic"]

    @property
    def names(self) -> tuple[str, ...]:
        """Lifelines' names; its shape parameters of Weibull and log-logistic are 1 / sigma."""
        return {
            "exponential": ("lambda_",),
            "weibull": ("lambda_", "rho_"),
            "lognormal": ("mu_", "sigma_"),
            "loglogistic": ("alpha_", "beta_"),
        }[self.kind]

    @property
    def intercept(self) -> bool:
        """Whether the first parameter has an intercept."""
        return True

    def _scale(self, theta: Sequence[Floats]) -> Floats:
        return np.exp(theta[1]) if len(theta) > 1 else np.ones(1)

    def _tail(self, w: Floats) -> tuple[Floats, Floats, Floats]:
        """Return log S of W with two derivatives."""
        if self.kind in ("exponential", "weibull"):
            rate = -np.exp(w)
            return rate, rate, rate
        if self.kind == "loglogistic":
            chance = _expit(w)
            return -np.logaddexp(0.0, w), -chance, -chance * (1 - chance)
        from scipy.special import log_ndtr

        log_s = log_ndtr(-w)
        mills = np.exp(-0.5 * w**2 - 0.5 * np.log(2 * np.pi) - log_s)
        return log_s, -mills, -mills * (mills - w)

    def _density(self, w: Floats) -> tuple[Floats, Floats, Floats]:
        """Return log f of W with two derivatives."""
        if self.kind in ("exponential", "weibull"):
            rate = np.exp(w)
            return w - rate, 1 - rate, -rate
        if self.kind == "loglogistic":
            chance = _expit(w)
            return w - 2 * np.logaddexp(0.0, w), 1 - 2 * chance, -2 * chance * (1 - chance)
        return -0.5 * w**2 - 0.5 * np.log(2 * np.pi), -w, -np.ones_like(w)

    def log_survival(self, y: Floats, theta: Sequence[Floats]) -> Floats:
        """Return log S at log times ``y``."""
        return self._tail((y - theta[0]) / self._scale(theta))[0]

    def parts(self, y: Floats, event: Bools, entry: Floats | None, theta: Sequence[Floats]) -> Parts:
        """Return the log likelihood of ``(entry, y]`` with its derivatives."""
        sigma = np.broadcast_to(self._scale(theta), y.shape)
        w = (y - theta[0]) / sigma
        tail = self._tail(w)
        gone = self._density(w[event])
        g = [t.copy() for t in tail]
        for own, other in zip(g, gone, strict=True):
            own[event] = other
        out = _chain(g, w, sigma, m=len(theta))
        out.value[event] -= np.log(sigma[event]) + y[event]
        if len(theta) > 1:
            out.slope[1][event] -= 1.0
        if entry is not None:
            late = np.flatnonzero(np.isfinite(entry))
            before = (entry[late] - np.broadcast_to(theta[0], y.shape)[late]) / sigma[late]
            taken = _chain(list(self._tail(before)), before, sigma[late], m=len(theta))
            out.value[late] -= taken.value
            out.slope[:, late] -= taken.slope
            out.bend[:, :, late] -= taken.bend
        return out


def _expit(w: Floats) -> Floats:
    from scipy.special import expit

    kept: Floats = expit(w)
    return kept


def _chain(g: list[Floats], w: Floats, sigma: Floats, *, m: int) -> Parts:
    """Turn a function of w into one of mu and log sigma."""
    slope, bend = np.empty((m, len(w))), np.empty((m, m, len(w)))
    slope[0], bend[0, 0] = -g[1] / sigma, g[2] / sigma**2
    if m > 1:
        slope[1], bend[1, 1] = -w * g[1], g[2] * w**2 + g[1] * w
        bend[0, 1] = bend[1, 0] = (g[2] * w + g[1]) / sigma
    return Parts(g[0].copy(), slope, bend)


def _by_differences(
    value: Callable[[list[Floats]], Floats], theta: Sequence[Floats], *, step: float = 1e-4
) -> Parts:
    """Differentiate an elementwise function of ``theta`` by fourth-order and second-order differences."""
    m = len(theta)
    centre = value(list(theta))
    slope, bend = np.empty((m, len(centre))), np.empty((m, m, len(centre)))

    def moved(*by: tuple[int, float]) -> Floats:
        other = list(theta)
        for i, size in by:
            other[i] = other[i] + size * step
        return value(other)

    for i in range(m):
        ahead, back, far, rear = (moved((i, k)) for k in (1.0, -1.0, 2.0, -2.0))
        slope[i] = (8 * (ahead - back) - (far - rear)) / (12 * step)
        bend[i, i] = (16 * (ahead + back) - (far + rear) - 30 * centre) / (12 * step**2)
        for j in range(i):
            corners = [moved((i, a), (j, b)) for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
            bend[i, j] = bend[j, i] = (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * step**2)
    return Parts(centre, slope, bend)


@dataclass(frozen=True, slots=True)
class GeneralisedGamma:
    """Generalised gamma after Prentice; ``theta`` is mu, log sigma and lambda."""

    @property
    def names(self) -> tuple[str, ...]:
        """Lifelines' names."""
        return ("mu_", "sigma_", "lambda_")

    @property
    def intercept(self) -> bool:
        """Whether the first parameter has an intercept."""
        return True

    def _argument(self, y: Floats, theta: Sequence[Floats]) -> tuple[Floats, Floats, Floats]:
        lam = np.where(np.abs(theta[2]) < 1e-6, 1e-6, theta[2])
        w = (y - theta[0]) / np.exp(theta[1])
        return lam, w, np.exp(np.clip(lam * w, -700, 700)) / lam**2

    def log_survival(self, y: Floats, theta: Sequence[Floats]) -> Floats:
        """Return log S at log times ``y``."""
        from scipy.special import gammainc, gammaincc

        lam, _, x = self._argument(y, theta)
        shape = np.broadcast_to(1 / lam**2, x.shape)
        chance = np.where(lam > 0, gammaincc(shape, x), gammainc(shape, x))
        return np.log(np.maximum(chance, 1e-300))

    def _value(self, y: Floats, event: Bools, entry: Floats | None, theta: Sequence[Floats]) -> Floats:
        from scipy.special import gammaln

        log_s = np.array(self.log_survival(y, theta))
        lam, w, x = self._argument(y, theta)
        shape = 1 / lam**2
        density = np.log(np.abs(lam)) - y - theta[1] - gammaln(shape) + (lam * w - np.log(lam**2)) * shape - x
        out: Floats = np.where(event, density, log_s)
        return out if entry is None else out - _before(self, entry, theta)

    def parts(self, y: Floats, event: Bools, entry: Floats | None, theta: Sequence[Floats]) -> Parts:
        """Return the log likelihood of ``(entry, y]`` with its derivatives."""
        return _by_differences(lambda t: self._value(y, event, entry, t), theta)


def _before(family: GeneralisedGamma | Spline, entry: Floats, theta: Sequence[Floats]) -> Floats:
    """Return log S at entry, 0 where there is none."""
    late = np.isfinite(entry)
    log_s = family.log_survival(np.where(late, entry, 0.0), theta)
    return np.where(late, log_s, 0.0)


@dataclass(frozen=True, slots=True)
class Spline:
    """Log cumulative hazard as a natural cubic spline of log time; ``theta`` is mu and gammas.

    Attributes:
        knots: On the scale of log time, at least two.
    """

    knots: tuple[float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Lifelines' names."""
        return ("beta_", *(f"gamma{i}_" for i in range(len(self.knots))))

    @property
    def intercept(self) -> bool:
        """The level is in ``gamma0_``."""
        return False

    def _log_hazard(self, y: Floats, theta: Sequence[Floats]) -> tuple[Floats, Floats]:
        """Return the log cumulative hazard and its derivative in log time."""
        x = y - theta[0]
        level, slope = theta[1] + theta[2] * x, theta[2] + 0.0 * x
        low, high = self.knots[0], self.knots[-1]
        for knot, gamma in zip(self.knots[1:-1], theta[3:], strict=True):
            share = (high - knot) / (high - low)
            parts = [(1.0, knot), (-share, low), (share - 1.0, high)]
            level = level + gamma * sum(k * np.maximum(x - at, 0.0) ** 3 for k, at in parts)
            slope = slope + gamma * sum(3 * k * np.maximum(x - at, 0.0) ** 2 for k, at in parts)
        return level, slope

    def log_survival(self, y: Floats, theta: Sequence[Floats]) -> Floats:
        """Return log S at log times ``y``."""
        kept: Floats = -np.exp(np.minimum(self._log_hazard(y, theta)[0], 700.0))
        return kept

    def _value(self, y: Floats, event: Bools, entry: Floats | None, theta: Sequence[Floats]) -> Floats:
        level, slope = self._log_hazard(y, theta)
        # a falling cumulative hazard is no distribution: the likelihood is 0 there
        rate = np.log(np.maximum(slope, 1e-12))
        out: Floats = np.where(event, level + rate - y, 0.0) - np.exp(np.minimum(level, 700.0))
        return out if entry is None else out - _before(self, entry, theta)

    def parts(self, y: Floats, event: Bools, entry: Floats | None, theta: Sequence[Floats]) -> Parts:
        """Return the log likelihood of ``(entry, y]`` with its derivatives."""
        return _by_differences(lambda t: self._value(y, event, entry, t), theta)
