"""Standardisation: predict everybody's outcome in both groups, and average (the parametric g-formula)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from loyalty_research.comparison._weights import Potential, difference_limits
from loyalty_research.comparison.weighting import checked_inputs
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["StandardisedResult", "standardisation"]

METHOD = "standardisation, M-estimated"


@dataclass(frozen=True, repr=False)
class StandardisedResult(Result):
    """A difference between predictions for everybody in either group.

    Attributes:
        outcome: Column compared.
        estimate: Mean prediction if treated less that if not, over all units (ATE).
        standard_error: Its sandwich standard error, the covariates taken as drawn.
        mean_treated: Mean prediction if treated.
        mean_control: Mean prediction if not.
    """

    title: ClassVar[str] = "Standardised comparison"

    outcome: str
    estimate: Estimate
    standard_error: float
    mean_treated: float
    mean_control: float

    def _rows(self) -> Iterator[Row]:
        extra = {"treated": self.mean_treated, "control": self.mean_control}
        yield Row(self.outcome, self.estimate, estimand="ATE", extra=extra)

    def _verdict(self) -> str:
        return message(
            "With everybody's outcome predicted in both groups, the data are consistent with a difference in {outcome} of "
            "{difference} ({interval}), if the model of the outcome is right.",
            outcome=self.outcome,
            difference=self.estimate.format(signed=True),
            interval=self.estimate.interval(signed=True),
        )


def _columns(names: Sequence[str], interactions: Sequence[str]) -> list[int]:
    """Return the columns of the design that a name stands for; a category stands for all its levels."""
    found = []
    for wanted in interactions:
        mine = [i for i, name in enumerate(names) if name == wanted or name.startswith(f"{wanted}=")]
        if not mine:
            raise ArgumentError(f"interactions name {wanted!r}, which is not among the covariates")
        found += mine
    return found


def _predicted(design: Array, treated: Array, outcome: Array, crossed: list[int]) -> Potential:
    """Fit one linear model and average its predictions for everybody in both groups."""
    n = len(outcome)

    def at(group: Array) -> Array:
        return np.column_stack([design, group, group[:, None] * design[:, crossed]])

    x = at(treated)
    gram = x.T @ x / n
    if n <= x.shape[1] or np.linalg.cond(gram) > 1e12:
        raise DesignError(
            "the covariates and interactions determine one another within the groups: leave some out"
        )
    beta = np.linalg.solve(gram, x.T @ outcome / n)
    residual = outcome - x @ beta
    means, influences = [], []
    for value in (1.0, 0.0):
        there = at(np.full(n, value))
        predicted = there @ beta
        lever = np.linalg.solve(gram, there.mean(axis=0))
        means.append(float(predicted.mean()))
        influences.append(predicted - predicted.mean() + (x @ lever) * residual)
    return Potential(means[0], means[1], influences[0], influences[1])


def standardisation(
    df: pd.DataFrame,
    *,
    outcome: str,
    treatment: str,
    covariates: Sequence[str],
    interactions: Sequence[str] = (),
    control: object = 0,
    cluster: str | None = None,
    level: float = 0.95,
) -> StandardisedResult:
    """Predict every unit's outcome in both groups by one linear model, and average the difference.

    It rests on the model of the outcome alone; :func:`augmented_ipw` is right when that model or
    the one of membership is, and is the default elsewhere for that reason.

    Args:
        df: One row per unit, no missing values in the columns used.
        outcome: Numeric column to compare.
        treatment: Column with two groups.
        covariates: Columns measured before, numbers or categories.
        interactions: Covariates whose slope may differ between the groups.
        control: Label of the control group.
        cluster: Column whose groups are independent of one another.
        level: Coverage aimed at.

    Returns:
        The difference over all units (ATE) with its M-estimated interval.

    Raises:
        ArgumentError: When an interaction is no covariate.
        ContractError: When a column is absent or holds missing values.
        DesignError: When the model cannot be fitted.

    References:
        Robins (1986), Mathematical Modelling 7, 1393-1512; Hernan and Robins (2020), Causal
        Inference: What If, chapter 13.

    Examples:
        >>> import pandas as pd
        >>> df = pd.DataFrame({"t": [0, 0, 0, 1, 1, 1], "x": [0.0, 1, 2, 1, 2, 3], "y": [0.0, 1, 2, 3, 4, 5]})
        >>> round(standardisation(df, outcome="y", treatment="t", covariates=["x"]).estimate.value, 6)
        2.0
    """
    given = checked_inputs(df, outcome, treatment, covariates, control, cluster, level)
    crossed = [1 + i for i in _columns(given.design.names, interactions)]
    found = _predicted(given.design.matrix, given.treated, given.outcome, crossed)
    error, low, high, p_value = difference_limits(found.difference, found.influence, given.clusters, level)
    estimate = Estimate(found.difference, low, high, level, METHOD, len(df), None, p_value)
    return StandardisedResult(outcome, estimate, error, found.treated, found.control)
