"""What customers may turn out to bring: parameters, dropout, purchases and spend drawn together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.clv.value import LifetimeValue

    Array = NDArray[Any]

__all__ = ["outcomes"]


def outcomes(result: LifetimeValue, generator: np.random.Generator, draws: int) -> Array:
    """Draw total discounted margins, shape (draws,).

    Args:
        result: The customers valued, with a horizon.
        generator: Source of chance.
        draws: How many totals.
    """
    transactions = result.models[0]
    x, recency, T, *traits = transactions.histories(result.summary)
    spent = result.worth.spent
    count = len(transactions.names)
    t = float(result.horizon or 0)
    if result.replicates is None:
        parameters = np.exp(
            generator.multivariate_normal(result.theta, result.covariance, size=draws, method="cholesky")
        )
    else:
        known = result.replicates.parameters
        parameters = known[generator.integers(0, len(known), draws)]
    plain = transactions.conditional_expected_purchases(t, result.summary).to_numpy()
    discount = np.divide(
        result.customers["expected_transactions"].to_numpy(), plain, out=np.zeros_like(plain), where=plain > 0
    )
    totals = np.empty(draws)
    for draw, values in enumerate(parameters):
        own = transactions.row_parameters(values[:count], traits)
        bought = transactions.core.simulate(generator, own, x, recency, T, t)
        some = np.flatnonzero(bought)
        p, q, v = values[count:]
        scale = generator.gamma(q + p * x[some]) / (v + spent[some])
        worth = generator.gamma(p * bought[some]) / scale
        totals[draw] = discount[some] @ worth
    return result.margin * totals
