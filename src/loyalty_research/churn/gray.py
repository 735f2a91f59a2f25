"""Gray's test of whether groups leave for a cause in the same share, by day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn.followup import strata_of
from loyalty_research.churn.groups import group_codes, joined_rows
from loyalty_research.churn.intervals import cause_codes, require_events, where
from loyalty_research.churn.words import covariate_words
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message
from loyalty_research.stats.gray import gray

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.churn.data import ChurnData

__all__ = ["GrayTest", "gray_test"]


@dataclass(frozen=True, repr=False)
class GrayTest(Result):
    """A k-sample test of equal cumulative incidence of one cause.

    Attributes:
        statistic: Chi-square statistic.
        degrees_of_freedom: Groups minus one.
        p_value: Upper tail of chi-square.
        counts: One row per group: ``group, customers, events`` of the cause, ``others``.
        cause: The cause.
        by: Covariate grouped by.
        n: Customers.
    """

    title: ClassVar[str] = "Gray's test"

    statistic: float
    degrees_of_freedom: int
    p_value: float
    counts: pd.DataFrame
    cause: Any
    by: str
    n: int

    def _rows(self) -> Iterable[Row]:
        nan = float("nan")
        yield Row(
            "chi-square",
            Estimate(self.statistic, nan, nan, 0.95, "Gray", self.n, p_value=self.p_value),
            group=self.by,
            estimand=message("equal shares leaving for {cause}", cause=self.cause),
            extra={"degrees_of_freedom": self.degrees_of_freedom},
        )

    def _verdict(self) -> str:
        p = message("below 0.001") if self.p_value < 0.001 else f"= {self.p_value:.3f}"
        if self.p_value < 0.05:
            return message(
                "The groups of {by} differ in the share who leave for {cause} (Gray's test, p {p}).",
                by=covariate_words(self.by),
                cause=self.cause,
                p=p,
            )
        return message(
            "The groups of {by} show no difference in the share who leave for {cause} beyond chance (Gray's test, "
            "p {p}).",
            by=covariate_words(self.by),
            cause=self.cause,
            p=p,
        )


def gray_test(
    data: ChurnData, *, by: str, cause: Any, rho: float = 0.0, strata: str | list[str] | None = None
) -> GrayTest:
    """Test whether the groups of a covariate leave for a cause in the same share, by day.

    The log-rank test of ``data.cause(...)`` compares the *rate* of the cause among those still
    there; this compares the shares that come of all rates together.

    Args:
        data: Follow-up whose ``event`` tells causes apart, everybody watched from day 0.
        by: Covariate with two groups or more, which does not change over time.
        cause: The cause of interest.
        rho: Power of one minus the pooled incidence that weighs each day; 0 weighs all alike,
            more weighs early differences more.
        strata: Compare within these only; by default the data's own strata.

    Raises:
        ArgumentError: On fewer than two groups or an unknown cause.
        ContractError: When the data tell no causes apart, nobody left for the cause, customers
            come under watch late or are clustered, or a column is missing or has gaps.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(pd.DataFrame({
        ...     "duration": [1, 2, 3, 4, 5, 6], "event": [1, 2, 1, 1, 0, 2], "plan": list("aaabbb")}))
        >>> round(gray_test(data, by="plan", cause=1).statistic, 4)
        2.1654

    References:
        Gray (1988), Annals of Statistics 16; R's ``cmprsk::cuminc``.
    """
    require_events(data, causes=True)
    code = cause_codes(data, cause)
    if data.cluster is not None:
        raise ContractError(
            "Gray's test takes customers as independent; use fine_gray, which allows for clusters"
        )
    groups, labels = group_codes(data, by)
    layers = _strata(data, strata)
    together = groups if layers is None else groups * (int(layers.max()) + 1) + layers
    rows = joined_rows(data, together)
    first, last = (slice(None), slice(None)) if rows is None else (rows.first, rows.last)
    late = data.start[first] > 0
    if late.any():
        raise ContractError(
            f"Gray's test needs everybody watched from day 0, in one group throughout; {where(late)} begin later: "
            "use fine_gray for late entry, or AalenJohansen curves"
        )
    groups, code = groups[first], code[last]
    mass = None if data.weights is None else data.weights[first]
    found = gray(
        data.stop[last],
        code,
        groups,
        strata=None if layers is None else layers[first],
        weights=mass,
        rho=rho,
    )
    counts = pd.DataFrame(
        [(label, *_counted(groups == g, code, mass)) for g, label in enumerate(labels)],
        columns=["group", "customers", "events", "others"],
    )
    return GrayTest(
        statistic=found.statistic,
        degrees_of_freedom=found.degrees_of_freedom,
        p_value=found.p_value,
        counts=counts,
        cause=cause,
        by=by,
        n=data.n_customers,
        checks=data.checks,
    )


def _strata(data: ChurnData, strata: str | list[str] | None) -> NDArray[np.int64] | None:
    if strata is None:
        return data.strata
    if data.strata is not None:
        raise ArgumentError("the data are stratified already; leave strata out")
    return strata_of(data.covariates, [strata] if isinstance(strata, str) else strata, "covariates")[0]


def _counted(
    rows: NDArray[np.bool_], code: NDArray[np.int64], mass: NDArray[np.float64] | None
) -> tuple[float, float, float]:
    own = np.ones(len(code)) if mass is None else mass
    return (
        float(own[rows].sum()),
        float(own[rows & (code == 1)].sum()),
        float(own[rows & (code == 2)].sum()),
    )
