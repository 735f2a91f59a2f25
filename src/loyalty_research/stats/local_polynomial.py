"""Local polynomial regression on one side of a line: weights, variance and bandwidth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from loyalty_research.errors import DesignError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = [
    "KERNELS",
    "Jump",
    "Kernel",
    "Side",
    "jump",
    "mse_bandwidths",
    "nearest_residuals",
    "summed",
    "weights_of",
]

Kernel = Literal["triangular", "uniform", "epanechnikov"]
_PILOT: Final[dict[str, float]] = {"triangular": 2.576, "uniform": 1.843, "epanechnikov": 2.34}
KERNELS: Final = tuple(_PILOT)
_NEIGHBOURS: Final = 3


def _kernel(u: Array, name: Kernel) -> Array:
    inside = np.abs(u) <= 1
    shapes = {
        "uniform": np.full(u.shape, 0.5),
        "triangular": 1 - np.abs(u),
        "epanechnikov": 0.75 * (1 - u**2),
    }
    out: Array = np.where(inside, shapes[name], 0.0)
    return out


def nearest_residuals(x: Array, y: Array) -> Array:
    """Return how far each outcome lies from its three nearest neighbours, ties included.

    Args:
        x: Running variable, sorted, shape (n,).
        y: Outcome, shape (n,).

    Returns:
        The distance from the neighbours' mean times the root of J / (J + 1), shape (n,); the mean of
        its square over any neighbourhood estimates the variance there, whatever the regression's shape.

    References:
        Abadie and Imbens (2006), Econometrica 74, 235-267; Calonico, Cattaneo and Titiunik (2014),
        Econometrica 82, 2295-2326, section 5.
    """
    values, first, count = np.unique(x, return_index=True, return_counts=True)
    totals = np.add.reduceat(y, first) if len(y) else y
    wanted = min(_NEIGHBOURS, len(x) - 1)
    size = len(values)
    left, right = np.arange(size) - 1, np.arange(size) + 1
    near, near_sum = count - 1, totals.copy()
    for _ in range(wanted):
        open_ = near < wanted
        if not open_.any():
            break
        below = np.where(left >= 0, values - values[np.maximum(left, 0)], np.inf)
        above = np.where(right < size, values[np.minimum(right, size - 1)] - values, np.inf)
        for take, at, step in ((open_ & (below <= above), left, -1), (open_ & (above <= below), right, 1)):
            chosen = at[take]
            near[take] += count[chosen]
            near_sum[take] += totals[chosen]
            at[take] += step
    group = np.repeat(np.arange(size), count)
    held = near[group].astype(float)
    mean = (near_sum[group] - y) / np.maximum(held, 1)
    out: Array = np.sqrt(held / (held + 1)) * (y - mean)
    return out


def summed(scores: Array, clusters: NDArray[np.int64] | None) -> float:
    """Return the sum of squared scores, added up within clusters first."""
    if clusters is None:
        return float(scores @ scores)
    sums = np.bincount(clusters, weights=scores)
    used = len(np.unique(clusters))
    if used < 2:
        raise DesignError(
            "the units on a side of the line are all of one cluster: how clusters vary cannot be seen"
        )
    return float(sums @ sums) * used / (used - 1)


@dataclass(frozen=True, slots=True)
class Side:
    """Units on one side of the line.

    Attributes:
        x: Distance from the line, sorted, shape (n,).
        y: Outcome, shape (n,).
        variance: Maps weights, shape (n,), to the variance of the weighted sum of outcomes.
    """

    x: Array
    y: Array
    variance: Callable[[Array], float]


def weights_of(x: Array, *, order: int, derivative: int, bandwidth: float, kernel: Kernel) -> Array:
    """Return the weights with which outcomes add up to a coefficient of the local polynomial.

    Args:
        x: Distance from the line, sorted, shape (n,).
        order: Order of the polynomial.
        derivative: Which coefficient, 0 for the level at the line.
        bandwidth: Units farther away weigh nothing.
        kernel: How weights fall with distance.

    Raises:
        DesignError: When fewer distinct values lie within the bandwidth than the polynomial has
            coefficients.
    """
    scaled = x / bandwidth
    weight = _kernel(scaled, kernel)
    inside = np.flatnonzero(weight > 0)
    distinct = int(np.count_nonzero(np.diff(scaled[inside]))) + min(len(inside), 1)
    if distinct <= order:
        raise DesignError(
            f"{distinct} distinct values within {bandwidth:.4g} of the line cannot carry a polynomial of order {order}: "
            "the running variable is too coarse or too sparse there; take a wider bandwidth="
        )
    basis = np.vander(scaled[inside], order + 1, increasing=True)
    weighted = basis * weight[inside, None]
    unit = np.zeros(order + 1)
    unit[derivative] = 1.0
    out = np.zeros(len(x))
    out[inside] = weighted @ np.linalg.solve(basis.T @ weighted, unit) / bandwidth**derivative
    return out


@dataclass(frozen=True, slots=True)
class _Constants:
    """What a bandwidth is made of: variance, bias, noise of the bias, and the rate."""

    variance: float
    bias: float
    noise: float
    rate: float


def _constants(
    side: Side,
    *,
    order: int,
    derivative: int,
    pilot: float,
    bias_order: int,
    bias_bandwidth: float,
    kernel: Kernel,
    integrated: int,
) -> _Constants:
    """Estimate leading variance and bias of a coefficient, and how noisy that bias is."""
    weights = weights_of(side.x, order=order, derivative=derivative, bandwidth=pilot, kernel=kernel)
    variance = side.variance(weights)
    lever = float(weights @ (side.x / pilot) ** (order + 1)) * pilot**derivative
    curve = weights_of(
        side.x, order=bias_order, derivative=order + 1, bandwidth=bias_bandwidth, kernel=kernel
    )
    away = 2.0 * (order + 1 - derivative)
    power = 2 * (derivative - integrated) + 1
    return _Constants(
        variance=power * pilot**power * variance,
        bias=math.sqrt(away) * lever * float(curve @ side.y),
        noise=3 * away * lever**2 * side.variance(curve),
        rate=1.0 / (2 * (order - integrated) + 3),
    )


def _balance(left: _Constants, right: _Constants, *, regularised: bool) -> float:
    square = (right.bias - left.bias) ** 2
    if regularised:
        square += left.noise + right.noise
    if not square > 0:
        return math.inf
    return float(((left.variance + right.variance) / square) ** left.rate)


def mse_bandwidths(
    left: Side,
    right: Side,
    *,
    order: int,
    derivative: int,
    kernel: Kernel,
    spread: Array,
    integrated: int = 0,
) -> tuple[float, float]:
    """Return the bandwidths that make the jump's squared error, and that of its bias, smallest.

    Args:
        left: Units below the line.
        right: Units above it.
        order: Order of the polynomial whose jump is wanted.
        derivative: Which coefficient jumps.
        kernel: How weights fall with distance.
        spread: Running variable of both sides, for the scale of the first pilot.
        integrated: 1 where the outcome is a distribution function and its slope, the density, is
            wanted: that is as noisy as a level.

    Returns:
        Bandwidth of the estimate and of its bias, one for both sides.

    References:
        Calonico, Cattaneo and Titiunik (2014), Econometrica 82, 2295-2326, section 4 and
        supplement (three-step plug-in rule with regularised denominators).
    """
    q = order + 1
    reach = (float(-left.x.min()), float(right.x.max()))
    quarters = np.quantile(spread, [0.25, 0.75], method="averaged_inverted_cdf")
    scale = min(float(np.std(spread, ddof=1)), float(quarters[1] - quarters[0]) / 1.349)
    if not scale > 0:
        scale = float(np.std(spread, ddof=1))
    widest = max(reach)
    pilot = min(_PILOT[kernel] * scale * len(spread) ** (-0.2), widest)

    def step(*, o: int, nu: int, o_bias: int, at: tuple[float, float], regularised: bool = True) -> float:
        found = [
            _constants(
                side,
                order=o,
                derivative=nu,
                pilot=pilot,
                bias_order=o_bias,
                bias_bandwidth=h,
                kernel=kernel,
                integrated=integrated,
            )
            for side, h in zip((left, right), at, strict=True)
        ]
        return min(_balance(found[0], found[1], regularised=regularised), widest)

    d = step(o=q + 1, nu=q + 1, o_bias=q + 2, at=reach, regularised=False)
    b = step(o=q, nu=order + 1, o_bias=q + 1, at=(d, d))
    h = step(o=order, nu=derivative, o_bias=q, at=(b, b))
    return h, b


@dataclass(frozen=True, slots=True)
class Jump:
    """A jump at the line.

    Attributes:
        conventional: Jump of the local polynomials.
        corrected: The same less its estimated bias.
        conventional_error: Standard error of the first.
        robust_error: Standard error of the second, the noise of the bias included.
        levels: Levels at the line, below and above, conventional.
        used: Units with a weight, below and above.
    """

    conventional: float
    corrected: float
    conventional_error: float
    robust_error: float
    levels: tuple[float, float]
    used: tuple[int, int]


def jump(
    left: Side,
    right: Side,
    *,
    order: int,
    bandwidth: float,
    bias_bandwidth: float,
    kernel: Kernel,
    joint: Callable[[Array, Array], float] | None = None,
) -> Jump:
    """Estimate the jump in level at the line with its bias corrected.

    Args:
        left: Units below the line.
        right: Units above it.
        order: Order of the polynomial.
        bandwidth: Bandwidth of the level.
        bias_bandwidth: Bandwidth of the curvature that biases it.
        kernel: How weights fall with distance.
        joint: Maps weights below and above to the variance of the difference, where the two sides
            are not independent (clusters that straddle the line).

    References:
        Calonico, Cattaneo and Titiunik (2014), Econometrica 82, 2295-2326, theorem 1 and remark 7.
    """
    plain, robust, used = [], [], []
    for side in (left, right):
        level = weights_of(side.x, order=order, derivative=0, bandwidth=bandwidth, kernel=kernel)
        curve = weights_of(
            side.x, order=order + 1, derivative=order + 1, bandwidth=bias_bandwidth, kernel=kernel
        )
        plain.append(level)
        robust.append(level - float(level @ side.x ** (order + 1)) * curve)
        used.append(int(np.count_nonzero(level)))

    def error(weights: list[Array]) -> float:
        if joint is not None:
            return math.sqrt(joint(weights[0], weights[1]))
        return math.sqrt(left.variance(weights[0]) + right.variance(weights[1]))

    levels = (float(plain[0] @ left.y), float(plain[1] @ right.y))
    return Jump(
        conventional=levels[1] - levels[0],
        corrected=float(robust[1] @ right.y) - float(robust[0] @ left.y),
        conventional_error=error(plain),
        robust_error=error(robust),
        levels=levels,
        used=(used[0], used[1]),
    )
