"""Likelihood-ratio comparison of two fits, one of which is a special case of the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from loyalty_research.clv._fitted import FittedModel
from loyalty_research.clv.contracts import BetaDiscreteWeibull, ShiftedBetaGeometric
from loyalty_research.clv.transactions import TransactionModel
from loyalty_research.errors import ArgumentError, ConvergenceError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message, number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loyalty_research.clv._covariates import Design

__all__ = ["LikelihoodRatioTest", "likelihood_ratio_test"]


@dataclass(frozen=True, repr=False, eq=False)
class LikelihoodRatioTest(Result):
    """What a likelihood-ratio test found.

    Attributes:
        statistic: Twice the gain in log-likelihood.
        degrees_of_freedom: Parameters the full model has more.
        p_value: Chance of at least this statistic when the restricted model holds.
        names: Titles of the restricted and of the full model.
        added: Parameters the full model has more.
        n: Customers behind both fits.
    """

    title: ClassVar[str] = "Likelihood-ratio test"

    statistic: float
    degrees_of_freedom: int
    p_value: float
    names: tuple[str, str]
    added: tuple[str, ...]
    n: int

    def _rows(self) -> Iterable[Row]:
        estimate = Estimate(
            self.statistic, math.nan, math.nan, 0.95, "likelihood ratio", self.n, p_value=self.p_value
        )
        yield Row(
            "twice the gain in log-likelihood",
            estimate,
            extra={"degrees_of_freedom": self.degrees_of_freedom},
        )

    def _verdict(self) -> str:
        added, statistic = ", ".join(self.added), number(self.statistic, digits=2)
        p = number(self.p_value, digits=3) if self.p_value >= 0.001 else message("below 0.001")
        if self.p_value < 0.05:
            return message(
                "The data speak for {added}: chi-squared {statistic} on {degrees} degrees of freedom, p {p}. How "
                "large the effect is, the coefficients say, not this test.",
                added=added,
                statistic=statistic,
                degrees=self.degrees_of_freedom,
                p=p,
            )
        return message(
            "The data do not show that {added} is needed: chi-squared {statistic} on {degrees} degrees of "
            "freedom, p {p}. That is no proof that it has no effect.",
            added=added,
            statistic=statistic,
            degrees=self.degrees_of_freedom,
            p=p,
        )


def likelihood_ratio_test(restricted: FittedModel, full: FittedModel) -> LikelihoodRatioTest:
    """Test a restricted model against one that contains it.

    Comparable are a model without covariates (or with some) and the same model with these and more,
    and the shifted beta-geometric and the beta-discrete-Weibull (c = 1). Both must be fitted to the
    same customers without a penalty.

    Args:
        restricted: The fit with fewer parameters.
        full: The fit that contains it.

    Returns:
        Statistic, degrees of freedom and p-value (chi-squared; every restriction here lies inside
        the range of the parameter, so the distribution is the usual one).

    Raises:
        ArgumentError: When a model is not fitted, the models are not nested, a penalty was used, or
            the data differ.
        ConvergenceError: When the full fit is worse than the restricted one, so that one of them
            missed its maximum.

    Examples:
        >>> import pandas as pd
        >>> left = pd.Series([1000, 869, 743, 653, 593, 551, 517, 491])
        >>> found = likelihood_ratio_test(
        ...     ShiftedBetaGeometric().fit_cohorts(left), BetaDiscreteWeibull().fit_cohorts(left))
        >>> found.degrees_of_freedom, round(found.statistic, 1)
        (1, 11.7)

    References:
        Wilks (1938), The Large-Sample Distribution of the Likelihood Ratio, Annals of Mathematical
        Statistics 9(1).
    """
    from scipy.special import chdtrc

    for model in (restricted, full):
        if not isinstance(model, FittedModel):
            raise ArgumentError(f"likelihood_ratio_test compares fitted models; got {type(model).__name__}")
        model.require_fitted()
        if model.penalizer:
            raise ArgumentError(
                f"this {type(model).__name__} was fitted with penalizer={model.penalizer:g}; a likelihood-ratio test "
                "needs both fits without a penalty"
            )
    _require_nested(restricted, full)
    if restricted.fingerprint_ != full.fingerprint_:
        raise ArgumentError(
            f"the two models were fitted to different data ({round(restricted.n_customers_):,} and "
            f"{round(full.n_customers_):,} customers, fingerprints {restricted.fingerprint_} and {full.fingerprint_}); "
            "fit both to the same customers"
        )
    gain = full.log_likelihood_ - restricted.log_likelihood_
    if gain < -1e-7 * max(1.0, abs(full.log_likelihood_)):
        raise ConvergenceError(
            f"the full model fits worse than the restricted one by {-gain:.3g} in log-likelihood, which cannot "
            "be at its maximum; fit it again without a penalty or with fewer covariates"
        )
    degrees = len(full.names) - len(restricted.names)
    statistic = 2 * max(gain, 0.0)
    return LikelihoodRatioTest(
        statistic=statistic,
        degrees_of_freedom=degrees,
        p_value=float(chdtrc(degrees, statistic)),
        names=(restricted.title, full.title),
        added=tuple(name for name in full.names if name not in restricted.names)
        if type(full) is type(restricted)
        else full.names[-degrees:],
        n=round(full.n_customers_),
    )


def _require_nested(restricted: FittedModel, full: FittedModel) -> None:
    if isinstance(restricted, ShiftedBetaGeometric) and isinstance(full, BetaDiscreteWeibull):
        return
    names = f"{type(restricted).__name__} is not a special case of {type(full).__name__}"
    if type(restricted) is not type(full):
        raise ArgumentError(f"{names}; compare them by AIC_ or by how they predict a holdout")
    if not (isinstance(restricted, TransactionModel) and isinstance(full, TransactionModel)):
        raise ArgumentError(f"{names} with more parameters: both have {len(full.names)}")
    if full.design_ is None or len(full.names) <= len(restricted.names):
        raise ArgumentError(
            "the full model must have more covariates than the restricted one; the restricted comes first"
        )
    if restricted.design_ is not None:
        _require_contained(restricted.design_, full.design_)
        forms = [getattr(model, "dropout_form", "odds") for model in (restricted, full)]
        if restricted.design_.dropout and forms[0] != forms[1] and forms[1] != "separate":
            raise ArgumentError(f"the two models differ in dropout_form: {forms[0]!r} and {forms[1]!r}")


def _require_contained(few: Design, many: Design) -> None:
    """Raise unless every covariate of the first design is in the second, with the same values."""
    for side in ("purchase", "dropout"):
        missing = [coding.column for coding in getattr(few, side) if coding not in getattr(many, side)]
        if missing:
            raise ArgumentError(
                f"the full model lacks the {side} covariate {missing[0]} of the restricted one (or codes it "
                "otherwise), so it does not contain it"
            )
    other = [column for column, mark in few.prints.items() if many.prints[column] != mark]
    if other:
        raise ArgumentError(f"the covariate {other[0]} had different values in the two fits")
