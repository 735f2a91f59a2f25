"""The same data in PyMC-Marketing's hands, for a Bayesian reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.clv._frames import histories_of
from loyalty_research.clv.spend import spend_of
from loyalty_research.errors import ArgumentError, ContractError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BAYESIAN_MODELS", "to_pymc_marketing"]

BAYESIAN_MODELS = {
    "BG/NBD": "BetaGeoModel",
    "MBG/NBD": "ModifiedBetaGeoModel",
    "Pareto/NBD": "ParetoNBDModel",
    "Gamma-Gamma": "GammaGammaModel",
}
"""Models of this package and the class PyMC-Marketing has for each."""


def to_pymc_marketing(
    df: pd.DataFrame,
    *,
    model: str = "BG/NBD",
    model_config: Mapping[str, Any] | None = None,
    sampler_config: Mapping[str, Any] | None = None,
) -> Any:
    """Hand a summary to PyMC-Marketing and return its model, not fitted yet.

    The summary is checked as for a fit here. Customers are numbered by row, so that identifiers
    stay behind; ``Gamma-Gamma`` gets the customers with a repeat purchase and spend above 0.
    Posterior intervals then come from ``.fit()`` and priors from ``model_config``; PyMC-Marketing's
    documentation says which. With flat priors its modes are the estimates of this package.

    Args:
        df: ``frequency``, ``recency`` and ``T``; for ``"Gamma-Gamma"`` ``frequency`` and
            ``monetary_value``.
        model: ``"BG/NBD"``, ``"MBG/NBD"``, ``"Pareto/NBD"`` or ``"Gamma-Gamma"``.
        model_config: Priors, as PyMC-Marketing takes them.
        sampler_config: Options of its sampler.

    Returns:
        A ``BetaGeoModel``, ``ModifiedBetaGeoModel``, ``ParetoNBDModel`` or ``GammaGammaModel``.

    Raises:
        ArgumentError: When ``model`` is none of these.
        ContractError: When a row cannot be a purchase history.
        MissingExtraError: When PyMC-Marketing is not installed.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research import ArgumentError
        >>> summary = pd.DataFrame({"frequency": [0, 3], "recency": [0.0, 30.0], "T": [38.0, 38.0]})
        >>> try:
        ...     to_pymc_marketing(summary, model="BG/BB")
        ... except ArgumentError as error:
        ...     print(error)
        model must be one of BG/NBD, MBG/NBD, Pareto/NBD, Gamma-Gamma; got 'BG/BB'
    """
    if model not in BAYESIAN_MODELS:
        raise ArgumentError(f"model must be one of {', '.join(BAYESIAN_MODELS)}; got {model!r}")
    data = _spend_frame(df) if model == "Gamma-Gamma" else _history_frame(df)
    try:
        from pymc_marketing import clv as peer  # type: ignore[import-not-found,unused-ignore]
    except ImportError as cause:
        if (cause.name or "").split(".")[0] != "pymc_marketing":
            raise
        raise MissingExtraError("pymc_marketing", "bayes") from None
    made = getattr(peer, BAYESIAN_MODELS[model])
    return made(
        data=data,
        model_config=None if model_config is None else dict(model_config),
        sampler_config=None if sampler_config is None else dict(sampler_config),
    )


def _numbered(columns: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(columns)
    frame.insert(0, "customer_id", np.arange(len(frame)))
    return frame


def _history_frame(df: pd.DataFrame) -> pd.DataFrame:
    x, recency, T = histories_of(df)
    return _numbered({"frequency": x, "recency": recency, "T": T})


def _spend_frame(df: pd.DataFrame) -> pd.DataFrame:
    x, mean = spend_of(df)
    kept = (x > 0) & (mean > 0)
    if kept.sum() < 2:
        raise ContractError(
            f"customer summary: {int(kept.sum())} of {len(x):,} customers bought again and spent something; "
            "a distribution of spend needs at least two"
        )
    return _numbered({"frequency": x[kept], "monetary_value": mean[kept]})
