"""What every buy-till-you-die model provides as pure functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.clv._frames import group_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from loyalty_research.clv._discount import Discounting

    Array = NDArray[Any]
    Derivatives = Callable[[Array], tuple[float, Array, Array]]
    Parameters = Array | Sequence[float | Array]

__all__ = ["Core", "jacobian"]


@dataclass(frozen=True)
class Core:
    """The numbers behind a model of purchases.

    Parameters are one array, or a sequence of numbers and arrays of shape (n,) where they differ
    between rows, as with covariates.

    Attributes:
        names: Parameter names, in the order of every parameter array.
        times: Positions of the parameters that carry the time unit.
        objective: ``(x, t_x, T, weight)`` to a function of the parameters that returns the
            log-likelihood, its gradient and its Hessian.
        terms: ``(parameters, x, t_x, T)`` to each row's log-likelihood (n,), gradient (k, n) and
            Hessian (k, k, n), where every parameter may differ between rows.
        start: ``(x, T, weight)`` to parameters to start from.
        alive: ``(parameters, x, t_x, T)`` to P(alive at T).
        purchases: ``(parameters, x, T, edges=, factors=, decay=)`` to the discounted expected
            purchases after T of customers alive at T.
        pmf: ``(parameters, n, t)`` to P(X(t) = n) of a new customer.
        simulate: ``(generator, parameters, x, t_x, T, t)`` to one draw of the purchases each
            customer makes in (T, T + t], dropout and rate drawn as well.
    """

    names: tuple[str, ...]
    times: tuple[int, ...]
    objective: Callable[[Array, Array, Array, Array], Derivatives]
    terms: Callable[[Parameters, Array, Array, Array], tuple[Array, Array, Array]]
    start: Callable[[Array, Array, Array], Array]
    alive: Callable[[Parameters, Array, Array, Array], Array]
    purchases: Callable[..., Array]
    pmf: Callable[[Parameters, Array, Array], Array]
    simulate: Callable[..., Array]

    def expected(self, parameters: Parameters, t: Array) -> Array:
        """Return E[X(t)] of a new customer, shape of ``t`` (one dimension)."""
        zero = np.zeros_like(t)
        one = zero if any(np.ndim(v) for v in parameters) else zero[:1]
        born = self.alive(parameters, one, one, one)
        return np.asarray(born * self.purchases(parameters, zero, zero, edges=(0.0, t)), dtype=float)

    def conditional(
        self, parameters: Parameters, x: Array, recency: Array, T: Array, panels: Discounting
    ) -> Array:
        """Return discounted expected purchases after T of each row, shape (n,)."""
        live = self.live(parameters, x, T, panels)
        return np.asarray(self.alive(parameters, x, recency, T) * live, dtype=float)

    def live(self, parameters: Parameters, x: Array, T: Array, panels: Discounting) -> Array:
        """Return discounted expected purchases after T of rows known to be alive at T, shape (n,).

        They depend on x, T and the parameters alone, so they are worked out once for each distinct
        combination.
        """
        differing = [np.asarray(v) for v in parameters if np.ndim(v)]
        first, where = group_rows(x, T, *differing)
        ahead = self.purchases(
            [np.asarray(v)[first] if np.ndim(v) else v for v in parameters],
            x[first],
            T[first],
            edges=panels.edges,
            factors=panels.factors,
            decay=panels.decay,
        )
        return np.asarray(ahead[where], dtype=float)


def jacobian(function: Callable[[Array], Any], theta: Array, *, step: float = 1e-4) -> Array:
    """Return the derivative of a vector in log parameters by central differences.

    Args:
        function: Natural parameters (k,) to values (n,).
        theta: Log parameters, shape (k,).
        step: Half-width in a log parameter; the error is of order step squared.

    Returns:
        Shape (n, k).
    """
    moves = step * np.eye(len(theta))
    return np.column_stack(
        [(function(np.exp(theta + move)) - function(np.exp(theta - move))) / (2 * step) for move in moves]
    )
