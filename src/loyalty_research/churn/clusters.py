"""Clusters of customers and what robust errors need from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from loyalty_research.churn.intervals import where
from loyalty_research.errors import ContractError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.churn.data import ChurnData

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["cluster_codes", "cluster_sums"]


def cluster_codes(data: ChurnData, option: str | None) -> Ints | None:
    """Return the cluster of each interval, or None.

    Args:
        data: The follow-up.
        option: A column of the covariates, ``"customer"``, or None for the data's own clusters.

    Raises:
        ContractError: When the column is missing or has gaps.
    """
    if option is None:
        return data.cluster
    if option == "customer":
        return data.customer
    if option not in data.covariates.columns:
        raise ContractError(f"covariates lack the column {option} named by cluster")
    codes = pd.factorize(data.covariates[option])[0]
    if (codes < 0).any():
        raise ContractError(
            f"covariates.{option} is missing in {where(codes < 0)}; every row needs its cluster"
        )
    return codes.astype(np.int64)


def cluster_sums(codes: Ints, influence: Floats) -> Floats:
    """Return the sum over clusters of the outer product of each cluster's total influence.

    Args:
        codes: Cluster of each row, shape ``(n,)``.
        influence: Shape ``(n, p)``.

    References:
        Lin, Wei (1989), JASA 84; no small-sample factor, as in R's ``coxph``.
    """
    summed = np.zeros((int(codes.max()) + 1, influence.shape[1]))
    for j in range(influence.shape[1]):
        summed[:, j] = np.bincount(codes, influence[:, j], minlength=len(summed))
    total: Floats = summed.T @ summed
    return total
