"""Parameters as they might have come out: draws from the asymptotic normal, and the weighted bootstrap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from loyalty_research.clv import _gamma_gamma
from loyalty_research.clv._frames import count_rows, fingerprint, group_rows
from loyalty_research.clv._newton import maximise, penalised
from loyalty_research.errors import ArgumentError, ConvergenceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from loyalty_research.clv._core import Derivatives
    from loyalty_research.clv._fitted import FittedModel
    from loyalty_research.clv.spend import GammaGamma
    from loyalty_research.clv.transactions import TransactionModel

    Array = NDArray[Any]

__all__ = ["INTERVALS", "Replicates", "quantiles", "replicate"]

INTERVALS = ("delta", "draws", "bootstrap")
_USUAL = {"draws": 1000, "bootstrap": 500}
_FEWEST = 100
_LOST = 0.02  # share of refits without a maximum from which their spread would mislead


class Replicates(NamedTuple):
    """Parameters as they might have come out.

    Attributes:
        parameters: Natural parameters of both models, shape (replicates, k).
        method: Name of the interval method.
        lost: Refits that had no maximum and are left out.
    """

    parameters: Array
    method: str
    lost: int


def replicate(
    transactions: TransactionModel,
    spend: GammaGamma,
    histories: Sequence[Array],
    mean: Array,
    covariance: Array,
    *,
    intervals: str,
    seed: int | None,
    replicates: int | None,
) -> Replicates | None:
    """Return replicates of both models' parameters; None for the delta method.

    Args:
        transactions: Fitted model of purchases.
        spend: Fitted model of spend.
        histories: frequency, recency, T and coded covariates of the customers, each of shape (n,).
        mean: Their mean spend, shape (n,).
        covariance: Of the log parameters of both, shape (k, k).
        intervals: ``"delta"``, ``"draws"`` or ``"bootstrap"``.
        seed: Of the two last.
        replicates: How many; 1,000 draws or 500 refits by default.

    Raises:
        ArgumentError: When an option is out of range, or the bootstrap is asked for customers the
            models were not fitted on.
        ConvergenceError: When more than 2% of the refits have no maximum.
    """
    if intervals not in INTERVALS:
        raise ArgumentError(f"intervals must be one of {', '.join(INTERVALS)}; got {intervals!r}")
    if intervals == "delta":
        if seed is not None or replicates is not None:
            raise ArgumentError('seed and replicates belong to intervals="draws" or "bootstrap"')
        return None
    size = _USUAL[intervals] if replicates is None else replicates
    if not (isinstance(size, int) and size >= _FEWEST):
        raise ArgumentError(f"replicates must be a whole number of at least {_FEWEST}; got {replicates!r}")
    if seed is None:
        raise ArgumentError(f'intervals="{intervals}" needs a seed=, so that the limits can be repeated')
    generator = np.random.default_rng(seed)
    if intervals == "bootstrap":
        if len(histories) > 3:
            raise ArgumentError(
                'intervals="bootstrap" refits models without covariates; use intervals="draws" or "delta"'
            )
        return _bootstrap(transactions, spend, histories, mean, generator, size)
    theta = np.concatenate([transactions.log_params, spend.log_params])
    drawn = np.exp(generator.multivariate_normal(theta, covariance, size=size, method="cholesky"))
    return Replicates(drawn, f"parametric draws ({size:,})", 0)


def _require_same(model: FittedModel, *parts: Array) -> None:
    if fingerprint(*parts) != model.fingerprint_:
        raise ArgumentError(
            f'intervals="bootstrap" refits {type(model).__name__} on the customers valued, and it was fitted on '
            'others (or with weights); fit it on this summary, or use intervals="draws"'
        )


def _bootstrap(
    transactions: TransactionModel,
    spend: GammaGamma,
    histories: Sequence[Array],
    mean: Array,
    generator: np.random.Generator,
    size: int,
) -> Replicates:
    """Refit both models under exponential weights of customers.

    Weights that are independent and exponential give each customer the same expected weight
    (Rubin's Bayesian bootstrap). Customers who look alike are one row, whose weight is the sum
    of theirs: Gamma distributed with their number as shape. Both models get the same weights.

    References:
        Rubin (1981), The Bayesian Bootstrap, Annals of Statistics 9(1); Newton and Raftery (1994),
        Approximate Bayesian Inference with the Weighted Likelihood Bootstrap, JRSS B 56(1).
    """
    x, recency, T = histories
    parts, counts = count_rows(None, x, recency, T, mean)
    alike = group_rows(*parts[:3])
    rows = [part[alike.first] for part in parts[:3]]
    _require_same(transactions, *rows, np.bincount(alike.where, weights=counts))
    kept = (parts[0] > 0) & (parts[3] > 0)
    paid = group_rows(parts[0][kept], parts[3][kept])
    spent = [part[kept][paid.first] for part in (parts[0], parts[3])]
    _require_same(spend, *spent, np.bincount(paid.where, weights=counts[kept]))

    time, money = float(counts @ parts[2] / counts.sum()), float(counts[kept] @ parts[3][kept])
    money /= float(counts[kept].sum())
    units = np.ones(len(transactions.names))
    time = time if transactions.core.times else 1.0
    units[list(transactions.core.times)] = time
    found, lost = [], 0
    for _ in range(size):
        weight = generator.standard_gamma(counts)
        weight *= counts.sum() / weight.sum()
        behind = np.bincount(alike.where, weights=weight)
        worth = np.bincount(paid.where, weights=weight[kept])
        try:
            found.append(
                np.concatenate(
                    [
                        _refit(transactions, _timing(transactions, rows, time, behind), units),
                        _refit(
                            spend,
                            _gamma_gamma.objective(spent[0], spent[1] / money, worth),
                            np.array([1.0, 1.0, money]),
                        ),
                    ]
                )
            )
        except ConvergenceError:
            lost += 1
            if lost > _LOST * size:
                raise
    return Replicates(np.array(found), f"weighted bootstrap ({size:,})", lost)


def _timing(
    model: TransactionModel, rows: Sequence[Array], time: float, weight: Array
) -> Callable[[Array], tuple[float, Array, Array]]:
    x, recency, T = rows
    return model.core.objective(x, recency / time, T / time, weight)


def _refit(model: FittedModel, derivatives: Derivatives, units: Array) -> Array:
    """Return natural parameters, climbing from where the model itself arrived."""
    best = maximise(
        penalised(derivatives, model.penalizer),
        model.log_params - np.log(units),
        names=model.names,
        model=type(model).__name__,
    )
    return np.exp(best.theta) * units


def quantiles(drawn: Array, level: float) -> Array:
    """Return the limits between which a share ``level`` of the replicates lies, shape (2, m).

    Args:
        drawn: One row per replicate, shape (replicates, m).
        level: Coverage the limits aim at.
    """
    # no interpolation between replicates, so that an infinite one stays out of its neighbour's limit
    return np.asarray(
        np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0, method="nearest"), dtype=float
    )
