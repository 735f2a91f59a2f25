"""What is known after a Cox fit: predictions, tests and verdicts read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from loyalty_research.churn import cox_core as core
    from loyalty_research.churn import risk_sets
    from loyalty_research.churn.data import ChurnData
    from loyalty_research.churn.design import Design

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Options", "State"]


class Options(Protocol):
    """The options a model was made with."""

    @property
    def ties(self) -> Literal["efron", "breslow", "exact"]:
        """How ties are treated."""

    @property
    def penalty(self) -> Literal["firth"] | None:
        """Firth's penalty, or none."""

    @property
    def intervals(self) -> Literal["wald", "profile"]:
        """Kind of interval of coefficients."""

    @property
    def level(self) -> float:
        """Confidence level."""

    @property
    def horizon(self) -> float | None:
        """Day to which mean times are compared."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class State:
    """Internals of a fit; coefficients are those of standardised columns.

    Attributes:
        options: The model's options.
        data: The follow-up it was fitted on.
        design: How covariates become columns.
        carrier: Rows or cells the likelihood was computed from.
        events: Event times.
        strata: Stratum of each interval, or None.
        strata_labels: Their labels.
        layers: Columns the strata came from.
        mean: Mean of each column.
        spread: Standard deviation of each column.
        at: The optimum; its coefficients are finite also where the data separate.
        covariance: Their covariance; NaN for separated terms.
        running: True for separated terms.
        ridge: Penalty per column, or None.
        clusters: Number of clusters, or None.
    """

    options: Options
    data: ChurnData
    design: Design
    carrier: risk_sets.Carrier
    events: risk_sets.Events
    strata: Ints | None
    strata_labels: tuple[Any, ...]
    layers: tuple[str, ...]
    mean: Floats
    spread: Floats
    at: core.Point
    covariance: Floats
    running: NDArray[np.bool_]
    ridge: Floats | None
    clusters: int | None
