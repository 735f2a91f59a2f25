"""Tests of whether groups leave at the same rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from loyalty_research.churn.followup import strata_of
from loyalty_research.churn.groups import group_codes
from loyalty_research.churn.intervals import require_events
from loyalty_research.churn.words import covariate_words
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message
from loyalty_research.stats.logrank import logrank

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loyalty_research.churn.data import ChurnData
    from loyalty_research.stats.logrank import Weighting

__all__ = ["LogRankTest", "logrank_test"]


@dataclass(frozen=True, repr=False)
class LogRankTest(Result):
    """A k-sample test of equal leaving rates.

    Attributes:
        statistic: Chi-square statistic.
        degrees_of_freedom: Groups minus one.
        p_value: Upper tail of chi-square.
        counts: One row per group: ``group, observed, expected`` (weighted by the test's weights).
        weights: Name of the weights.
        by: Covariate grouped by.
        n: Customers.
    """

    title: ClassVar[str] = "Log-rank test"

    statistic: float
    degrees_of_freedom: int
    p_value: float
    counts: pd.DataFrame
    weights: str
    by: str
    n: int

    def _rows(self) -> Iterable[Row]:
        nan = float("nan")
        yield Row(
            "chi-square",
            Estimate(self.statistic, nan, nan, 0.95, self.weights, self.n, p_value=self.p_value),
            group=self.by,
            estimand=message("equal leaving rates"),
            extra={"degrees_of_freedom": self.degrees_of_freedom},
        )

    def _verdict(self) -> str:
        p = message("below 0.001") if self.p_value < 0.001 else f"= {self.p_value:.3f}"
        if self.p_value < 0.05:
            return message(
                "The groups of {by} leave at different rates (log-rank test, p {p}).",
                by=covariate_words(self.by),
                p=p,
            )
        return message(
            "The groups of {by} show no difference in leaving rates beyond chance (log-rank test, p {p}).",
            by=covariate_words(self.by),
            p=p,
        )


def logrank_test(
    data: ChurnData,
    *,
    by: str,
    weights: Weighting = "logrank",
    strata: str | list[str] | None = None,
    p: float = 1.0,
    q: float = 0.0,
) -> LogRankTest:
    """Test whether the groups of a covariate leave at the same rate.

    Args:
        data: Follow-up of customers; late entry and time-varying groups are allowed.
        by: Covariate with two groups or more.
        weights: ``"logrank"``, ``"wilcoxon"``, ``"tarone-ware"``, ``"peto"`` (R's ``rho = 1``) or
            ``"fleming-harrington"``; all but the first weigh early differences more.
        strata: Compare within these only; by default the data's own strata.
        p: Power of survival for Fleming-Harrington.
        q: Power of one minus survival for Fleming-Harrington.

    Raises:
        ArgumentError: On unknown weights or fewer than two groups.
        ContractError: When nobody left, or a column is missing or has gaps.

    Examples:
        >>> from lifelines.datasets import load_lung
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(load_lung(), duration="time", event="status")
        >>> round(logrank_test(data, by="sex").statistic, 4)
        10.3267

    References:
        Harrington, Fleming (1982), Biometrika 69; Klein, Moeschberger (2003), section 7.3.
    """
    require_events(data)
    codes, labels = group_codes(data, by)
    layers = data.strata
    if strata is not None:
        if layers is not None:
            raise ArgumentError("the data are stratified already; leave strata out")
        layers, _ = strata_of(data.covariates, [strata] if isinstance(strata, str) else strata, "covariates")
    if data.cluster is not None:
        raise ContractError(
            "the log-rank test takes customers as independent; use CoxPH with cluster= instead"
        )
    found = logrank(
        data.stop,
        data.event,
        codes,
        entry=data.start if data.start.any() else None,
        weights=data.weights,
        strata=layers,
        weighting=weights,
        p=p,
        q=q,
    )
    counts = pd.DataFrame(
        {
            "group": [labels[int(g)] for g in found.groups],
            "observed": found.observed,
            "expected": found.expected,
        }
    )
    return LogRankTest(
        statistic=found.statistic,
        degrees_of_freedom=found.degrees_of_freedom,
        p_value=found.p_value,
        counts=counts,
        weights=weights,
        by=by,
        n=data.n_customers,
        checks=data.checks,
    )
