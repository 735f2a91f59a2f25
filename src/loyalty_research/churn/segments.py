"""Segments known on a customer's first day, and who bought once only."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Result, Row
from loyalty_research.i18n import message, number
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loyalty_research.churn.data import ChurnData
    from loyalty_research.estimates import Estimate

__all__ = ["OneTimeBuyers", "add_segments", "one_time_buyers"]


def add_segments(
    data: ChurnData, segments: Sequence[str], *, customers: pd.DataFrame | None = None, groups: int = 3
) -> ChurnData:
    """Add segments that were known on each customer's first day.

    Args:
        data: Follow-up from transactions.
        segments: ``"first_order"`` cuts what was spent on the first day into ``groups`` of about
            equal size; ``"first_month"`` is there already; any other name is a column of
            ``customers`` that does not change after the first day, such as a region: naming it
            declares that.
        customers: One row per customer with ``customer_id``.
        groups: Number of groups of ``"first_order"``.

    Returns:
        The data with each segment among the covariates. Customers without a value form their
        own group.

    Raises:
        ArgumentError: When a segment is unknown, or ``groups`` is below 2.
        ContractError: When all first orders are alike.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(pd.DataFrame(
        ...     {"duration": [5, 8, 9], "event": [1, 0, 1], "first_amount": [10., 20., 30.]}))
        >>> add_segments(data, ["first_order"]).covariates["first_order"].tolist()
        ['up to 10.00', 'over 10.00, up to 20.00', 'over 20.00']
    """
    for segment in dict.fromkeys(segments):
        data = _add_segment(data, segment, customers, groups)
    return data


def _add_segment(data: ChurnData, segment: str, customers: pd.DataFrame | None, groups: int) -> ChurnData:
    if segment in data.covariates.columns:
        return data
    if segment == "first_order" and "first_amount" in data.covariates.columns:
        return replace(data, covariates=data.covariates.assign(first_order=_amount_groups(data, groups)))
    if customers is None or segment not in customers.columns:
        known = ["first_order", *(c for c in data.covariates.columns if c != "first_amount")]
        if customers is not None:
            known += [str(c) for c in customers.columns if c != "customer_id"]
        raise ArgumentError(f"there is no segment {segment!r}; choose among {', '.join(known)}")
    values = customers.set_index("customer_id")[[segment]]
    if data.keys is not None:
        values = values.reindex(data.keys)
    named = values[segment].astype(object)
    values = values.assign(**{segment: named.where(named.notna(), message("not known")).astype(str)})
    return data.with_covariates(values, known_at="start")


@dataclass(frozen=True)
class OneTimeBuyers(Result):
    """Who bought on one day and then stayed away.

    Attributes:
        share: Share of customers.
        inactivity_days: Silence after which a customer counts as gone.
    """

    title: ClassVar[str] = "One-time buyers"

    share: Estimate
    inactivity_days: int

    def _rows(self) -> Iterable[Row]:
        yield Row("bought on one day only", self.share, estimand="1 - S(1)")

    def _verdict(self) -> str:
        return message(
            "{share} of customers bought on one day and then nothing for more than {window} days ({interval}).",
            share=self.share.format(),
            window=self.inactivity_days,
            interval=self.share.interval(),
        )


def one_time_buyers(data: ChurnData, *, level: float = 0.95) -> OneTimeBuyers:
    """Return the share of customers whose first purchase day was followed by the silence.

    Args:
        data: Follow-up from :meth:`ChurnData.from_transactions`.
        level: Confidence level.

    Raises:
        ContractError: When the data do not come from transactions.
    """
    if data.inactivity_days is None:
        raise ContractError(
            "one-time buyers are defined by an inactivity window: build the data from transactions"
        )
    first = np.unique(data.customer, return_index=True)[1]
    gone = data.event[first] & (data.stop[first] == 1)
    return OneTimeBuyers(
        share=proportion(int(gone.sum()), len(first), level=level),
        inactivity_days=data.inactivity_days,
        checks=data.checks,
    )


def _amount_groups(data: ChurnData, groups: int) -> pd.Categorical:
    if groups < 2:
        raise ArgumentError(f"groups must be 2 or more; got {groups!r}")
    spent = data.covariates["first_amount"].to_numpy(dtype=np.float64)
    firsts = np.unique(data.customer, return_index=True)[1]
    shares = np.arange(1, groups) / groups
    # an observed amount as bound, so that a label states what it does
    cuts = np.unique(np.quantile(spent[firsts], shares, method="inverted_cdf"))
    cuts = cuts[cuts < spent.max()]
    if not len(cuts):
        raise ContractError("first orders are all alike, so they form no segments; choose another segment")
    codes = np.searchsorted(cuts, spent, side="left")
    bounds = [number(float(c), digits=2) for c in cuts]
    labels = [message("up to {cut}", cut=bounds[0])]
    labels += [
        message("over {low}, up to {cut}", low=low, cut=cut) for low, cut in itertools.pairwise(bounds)
    ]
    labels.append(message("over {cut}", cut=bounds[-1]))
    return pd.Categorical.from_codes(codes.tolist(), categories=pd.Index(labels), ordered=True)
