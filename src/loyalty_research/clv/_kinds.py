"""Which kind of model is which, so that swapped ones are refused by name."""

from __future__ import annotations

from loyalty_research.clv.spend import GammaGamma
from loyalty_research.clv.transactions import TransactionModel
from loyalty_research.errors import ArgumentError

__all__ = ["require_continuous", "require_models", "require_purchases", "require_spend"]


def _said(model: object) -> str:
    return model.__name__ + " (a class)" if isinstance(model, type) else type(model).__name__


def require_purchases(model: object) -> None:
    """Raise unless this is a fitted model of purchases.

    Raises:
        ArgumentError: When it is of another kind, a class instead of a model, or not fitted.
    """
    if not isinstance(model, TransactionModel):
        raise ArgumentError(
            f"the model of purchases must be a fitted BetaGeoNBD, ModifiedBetaGeoNBD, ParetoNBD or BetaGeoBetaBinomial; got {_said(model)}"
        )
    model.require_fitted()


def require_continuous(model: TransactionModel, what: str) -> None:
    """Raise when a model counts opportunities instead of measuring time.

    Raises:
        ArgumentError: When it does.
    """
    if not model.core.times:
        raise ArgumentError(
            f"{what} needs a model in continuous time, such as BetaGeoNBD; {type(model).__name__} counts opportunities"
        )


def require_spend(model: object) -> None:
    """Raise unless this is a fitted model of spend.

    Raises:
        ArgumentError: When it is of another kind, a class instead of a model, or not fitted.
    """
    if not isinstance(model, GammaGamma):
        raise ArgumentError(f"the model of spend must be a fitted GammaGamma; got {_said(model)}")
    model.require_fitted()


def require_models(purchases: object, spend: object) -> None:
    """Raise unless both are fitted and in their places.

    Raises:
        ArgumentError: When they are swapped, of another kind, or not fitted.
    """
    if isinstance(purchases, GammaGamma) and isinstance(spend, TransactionModel):
        raise ArgumentError(
            "the two models are swapped: the model of purchases comes first, the one of spend second"
        )
    require_purchases(purchases)
    require_spend(spend)
