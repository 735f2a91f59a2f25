"""Segments known on a customer's first day, and who bought once only."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn.intervals import check_known
from loyalty_research.churn.words import covariate_words
from loyalty_research.data.customers import customer_column
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Result, Row
from loyalty_research.i18n import message, number
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from loyalty_research.churn.data import ChurnData
    from loyalty_research.estimates import Estimate

    Floats = NDArray[np.float64]

__all__ = ["OneTimeBuyers", "add_segments", "one_time_buyers", "varying_covariates"]

_MOST_LEVELS = 10


def add_segments(
    data: ChurnData,
    segments: Sequence[str],
    *,
    customers: pd.DataFrame | None = None,
    groups: int = 3,
    fewest: int = 1,
) -> ChurnData:
    """Add segments that were known on each customer's first day.

    Args:
        data: Follow-up from transactions.
        segments: ``"first_order"`` cuts what was spent on the first day into ``groups`` of about
            equal size; ``"first_month"`` is there already; any other name is a column of
            ``customers`` that does not change after the first day, such as a region: naming it
            declares that. Numbers with many values are cut likewise, dates by month. A date, or a
            column ``x`` beside which there is its date ``x_at`` or ``x_date``, must not lie after
            the customer's first day.
        customers: One row per customer with ``customer_id``.
        groups: Number of groups of ``"first_order"`` and of numbers that are cut.
        fewest: Levels of fewer customers are put together as ``other``; 5 for pages that leave
            the house.

    Returns:
        The data with each segment among the covariates. Customers without a value form their
        own group.

    Raises:
        ArgumentError: When a segment is unknown or changes over time, or ``groups`` is below 2.
        ContractError: When all first orders (or numbers) are alike.
        ImmortalTimeError: When a date of ``customers`` says that a value came later than a
            customer's first day.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(pd.DataFrame(
        ...     {"duration": 9, "event": 1, "first_amount": np.arange(30) / 2}))
        >>> add_segments(data, ["first_order"]).covariates["first_order"].unique().tolist()
        ['up to 4.50', 'over 4.50 to 9.50', 'over 9.50']
    """
    if groups < 2:
        raise ArgumentError(f"groups must be 2 or more; got {groups!r}")
    for segment in dict.fromkeys(segments):
        if segment in data.chosen:
            raise ArgumentError(
                f"{segment} changes over time, so it is no segment of the first day; see compare_members"
            )
        data = _pool_rare(_add_segment(data, segment, customers, groups), segment, fewest)
    return data


def _add_segment(data: ChurnData, segment: str, customers: pd.DataFrame | None, groups: int) -> ChurnData:
    if segment in data.covariates.columns:
        return data
    if segment == "first_order" and "first_amount" in data.covariates.columns:
        spent = data.covariates["first_amount"].to_numpy(dtype=np.float64)
        first = np.unique(data.customer, return_index=True)[1]
        cut = _cut(spent, spent[first], "first orders", groups)
        return replace(data, covariates=data.covariates.assign(first_order=cut))
    if customers is None or segment not in customers.columns or segment == "customer_id":
        known = ["first_order"]
        known += [c for c in data.covariates.columns if c != "first_amount" and c not in data.chosen]
        if customers is not None:
            known += [str(c) for c in customers.columns if c != "customer_id"]
        raise ArgumentError(f"there is no segment {segment!r}; choose among {', '.join(known)}")
    _refuse_later(data, customers, segment)
    values = customer_column(customers, segment).to_frame()
    if data.keys is not None:
        values = values.reindex(data.keys)
    column = values[segment]
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.dt.strftime("%Y-%m")
    if pd.api.types.is_numeric_dtype(column) and column.nunique() > _MOST_LEVELS:
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        column = pd.Series(_cut(numbers, numbers, segment, groups), index=column.index)
    named = column.astype(object)
    values = values.assign(**{segment: named.where(named.notna(), message("not known")).astype(str)})
    if isinstance(column.dtype, pd.CategoricalDtype):
        order = [*column.cat.categories, message("not known")]
        values[segment] = pd.Categorical(values[segment], categories=order, ordered=True)
    return data.with_covariates(values, known_at="start")


def _refuse_later(data: ChurnData, customers: pd.DataFrame, segment: str) -> None:
    """Raise where a date in the table says that a value came after its customer's first day."""
    # the business's own date comes first: a moment in UTC may fall on the day after
    stem = segment.removesuffix("_at").removesuffix("_date")
    when = [c for c in (f"{stem}_date", f"{stem}_at") if c in customers.columns]
    dated = when[0] if when else segment
    if not pd.api.types.is_datetime64_any_dtype(customers[dated]) or data.origin is None or data.keys is None:
        return
    place = data.keys.get_indexer(pd.Index(customers["customer_id"]))
    day = pd.to_datetime(customers[dated])
    if isinstance(day.dtype, pd.DatetimeTZDtype):
        day = day.dt.tz_localize(None)
    rows = np.flatnonzero((place >= 0) & day.notna().to_numpy())
    known = day.iloc[rows].to_numpy().astype("datetime64[D]") - data.origin[place[rows]].astype(
        "datetime64[D]"
    )
    check_known(
        known.astype(np.int64),
        np.zeros(len(rows), dtype=np.int64),
        column=segment,
        table="customers" if dated == segment else f"customers, whose column {dated} says when",
        rows=rows,
    )


def _cut(values: Floats, each: Floats, name: str, groups: int) -> pd.Categorical:
    """Cut values at quantiles of one value per customer; missing values stay missing."""
    each = each[np.isfinite(each)]
    shares = np.arange(1, groups) / groups
    # an observed value as bound, so that a label states what it does
    cuts = np.unique(np.quantile(each, shares, method="inverted_cdf")) if len(each) else np.zeros(0)
    cuts = cuts[cuts < each.max()] if len(each) else cuts
    if not len(cuts):
        raise ContractError(f"{name} are all alike, so they form no segments; choose another segment")
    codes = np.where(np.isfinite(values), np.searchsorted(cuts, values, side="left"), -1)
    digits = 0 if np.array_equal(each, np.round(each)) else 2
    bounds = [number(float(c), digits=digits) for c in cuts]
    labels = [message("up to {cut}", cut=bounds[0])]
    labels += [message("over {low} to {cut}", low=a, cut=b) for a, b in itertools.pairwise(bounds)]
    labels.append(message("over {cut}", cut=bounds[-1]))
    return pd.Categorical.from_codes(codes.tolist(), categories=pd.Index(labels), ordered=True)


def _pool_rare(data: ChurnData, segment: str, fewest: int) -> ChurnData:
    """Put levels of few customers together, so that no page speaks of so few."""
    column = data.covariates[segment]
    if pd.api.types.is_numeric_dtype(column):
        return data
    counts = column.groupby(data.customer).first().value_counts(ascending=True)
    counts = counts[counts > 0]
    rare = list(counts.index[counts < fewest])
    while rare and counts[rare].sum() < fewest and len(rare) < len(counts):
        rare.append(counts.index[len(rare)])
    if not rare:
        return data
    other = message("other")
    pooled = column.astype(object).where(~column.isin(rare), other)
    if isinstance(column.dtype, pd.CategoricalDtype):
        order = [c for c in column.cat.categories if c not in rare]
        pooled = pd.Series(
            pd.Categorical(pooled, categories=[*order, other], ordered=True), index=pooled.index
        )
    return replace(data, covariates=data.covariates.assign(**{segment: pooled}))


def varying_covariates(data: ChurnData, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part covariates into those that vary, and sentences about those that do not.

    Args:
        data: Follow-up of customers.
        names: Covariates to look at.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(pd.DataFrame(
        ...     {"duration": [5, 8], "event": [1, 0], "age": [30, 40], "shop": ["a", "a"]}))
        >>> varying_covariates(data, ["age", "shop"])
        (['age'], ["Left out: all customers have the same value of 'shop'."])
    """
    kept = [n for n in dict.fromkeys(names) if len(data.covariates[n].unique()) > 1]
    flat = [n for n in dict.fromkeys(names) if n not in kept]
    return kept, [
        message("Left out: all customers have the same value of '{name}'.", name=covariate_words(n))
        for n in flat
    ]


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

    @property
    def headline(self) -> str:
        """The verdict without its interval."""
        return message(
            "{share} of customers bought on one day and then nothing for more than {window} days.",
            share=self.share.format(),
            window=self.inactivity_days,
        )

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
