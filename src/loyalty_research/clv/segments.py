"""Labels to split customers by: how often, how recently, since when, or a column of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.clv._discount import YEAR
from loyalty_research.clv._frames import histories_of, unit_of
from loyalty_research.clv._members import membership_labels, tier_labels
from loyalty_research.data.customers import customer_column
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.i18n import message

if TYPE_CHECKING:
    from collections.abc import Callable

    from loyalty_research.clv._shares import SegmentValue
    from loyalty_research.clv.value import LifetimeValue

__all__ = ["MEMBERSHIP", "SEGMENTS", "customer_segments", "split_value"]

_MOST = 20  # labels beyond this make no readable table


def _labels(values: Any, index: pd.Index[Any], name: str) -> pd.Series[Any]:
    return pd.Series(values, index=index, name=name)


def _by_purchases(df: pd.DataFrame) -> pd.Series[Any]:
    x, _, _ = histories_of(df)
    names = [
        message("bought once"),
        message("bought twice"),
        message("3 to 5 purchases"),
        message("6 to 10 purchases"),
        message("more than 10 purchases"),
    ]
    codes = np.searchsorted([0, 1, 4, 9], x, side="left")
    return _labels(
        pd.Categorical(np.array(names, dtype=object)[codes], names, ordered=True), df.index, "purchases"
    )


def _days_per_unit(df: pd.DataFrame, by: str) -> float:
    unit = unit_of(df)
    if unit not in YEAR:
        raise ArgumentError(
            f'segments by {by} need the time unit in df.attrs["unit"] ("D" or "W"), as '
            "summaries.purchases gives it"
        )
    return 7.0 if unit == "W" else 1.0


def _by_recency(df: pd.DataFrame) -> pd.Series[Any]:
    _, recency, T = histories_of(df)
    days = (T - recency) * _days_per_unit(df, "recency")
    names = [
        message("bought in the last 30 days"),
        message("31 to 90 days ago"),
        message("91 to 180 days ago"),
        message("181 to 365 days ago"),
        message("more than a year ago"),
    ]
    codes = np.searchsorted([30.5, 90.5, 180.5, 365.5], days)
    return _labels(
        pd.Categorical(np.array(names, dtype=object)[codes], names, ordered=True), df.index, "recency"
    )


def _by_cohort(df: pd.DataFrame) -> pd.Series[Any]:
    _, _, T = histories_of(df)
    end = df.attrs.get("observation_end")
    if end is None or "frequency_holdout" in df.columns:
        raise ArgumentError(
            'segments by cohort need df.attrs["observation_end"] and a summary without holdout, as '
            "summaries.purchases gives it without calibration_end"
        )
    days = pd.to_timedelta(np.rint(T * _days_per_unit(df, "cohort")), unit="D")
    first = pd.DatetimeIndex(pd.Timestamp(end) - days)
    quarters = first.to_period("Q")
    labels = pd.Series(quarters, index=df.index).map(
        lambda q: message("since {year} Q{quarter}", year=q.year, quarter=q.quarter)
    )
    order = [
        message("since {year} Q{quarter}", year=q.year, quarter=q.quarter) for q in sorted(quarters.unique())
    ]
    return _labels(pd.Categorical(labels, order, ordered=True), df.index, "cohort")


SEGMENTS: dict[str, Callable[[pd.DataFrame], pd.Series[Any]]] = {
    "purchases": _by_purchases,
    "recency": _by_recency,
    "cohort": _by_cohort,
}
"""Segments that every summary has: by purchase days, by time since the last one, by first quarter."""


MEMBERSHIP: dict[str, Callable[[pd.DataFrame, pd.DataFrame | None], pd.Series[Any]]] = {
    "membership": membership_labels,
    "tier": tier_labels,
}
"""Segments that the memberships table gives: member, former or never; and the tier."""


def customer_segments(
    df: pd.DataFrame,
    *,
    by: str = "purchases",
    customers: pd.DataFrame | None = None,
    memberships: pd.DataFrame | None = None,
) -> pd.Series[Any]:
    """Label each customer for a split by segment.

    Args:
        df: What ``summaries.purchases`` returned, indexed by ``customer_id``.
        by: ``"purchases"`` (purchase days so far), ``"recency"`` (time since the last one),
            ``"cohort"`` (quarter of the first one), ``"membership"`` or ``"tier"`` (on the last day
            observed, from ``memberships``), or a column of ``customers``.
        customers: A table with ``customer_id`` and the column; customers without a value are
            labelled ``"unknown"``. Numbers with many values are cut into quarters.
        memberships: A table with ``customer_id``, ``valid_from``, ``valid_to`` and, for tiers,
            ``tier``.

    Returns:
        Categorical labels on ``df.index``, in their natural order.

    Raises:
        ContractError: When the table or the column is missing, or a customer appears twice in
            ``customers``.
        ArgumentError: When what a built-in segment needs is not in ``df.attrs``, or a column of
            text has more than 20 values.

    Examples:
        >>> import pandas as pd
        >>> summary = pd.DataFrame({"frequency": [0, 7], "recency": [0.0, 30.0], "T": [38.0, 38.0]})
        >>> customer_segments(summary).tolist()
        ['bought once', '6 to 10 purchases']
    """
    if by in MEMBERSHIP and (customers is None or by not in customers.columns):
        return MEMBERSHIP[by](df, memberships)
    if customers is None or by in SEGMENTS:
        if by not in SEGMENTS:
            raise ArgumentError(
                f"by must be one of {', '.join((*SEGMENTS, *MEMBERSHIP))}, or a column of the customers "
                f"table; got {by!r} and no such table"
            )
        return SEGMENTS[by](df)
    if by == "customer_id":
        raise ArgumentError("customer_id names customers, not a segment; choose another column")
    values = customer_column(customers, by).reindex(df.index)
    return _labels(_banded(values, by), df.index, by)


def split_value(
    value: LifetimeValue,
    by: str,
    *,
    customers: pd.DataFrame | None = None,
    memberships: pd.DataFrame | None = None,
) -> tuple[SegmentValue | None, str]:
    """Split value by a segment where the data have it, and say why where they do not.

    Args:
        value: What ``customer_lifetime_value`` returned.
        by: A built-in segment or a column of ``customers``.
        customers: The customers table, or None.
        memberships: The memberships table, or None.

    Returns:
        The split and an empty string, or None and the reason.
    """
    try:
        labels = customer_segments(value.summary, by=by, customers=customers, memberships=memberships)
    except (ArgumentError, ContractError) as reason:
        return None, message("Value is not split by {by}: {reason}.", by=by, reason=reason)
    return value.by(labels), ""


def _banded(values: pd.Series[Any], by: str) -> pd.Categorical:
    """Turn a column into a few labels, missing values into 'unknown'."""
    distinct = values.dropna().unique()
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values) and len(distinct) > 8:
        values = pd.qcut(values, 4, duplicates="drop").map(
            lambda band: message("{by} {low} to {high}", by=by, low=f"{band.left:g}", high=f"{band.right:g}")
        )
        order = [str(name) for name in values.cat.categories]
    else:
        order = [str(name) for name in sorted(distinct, key=lambda v: (str(type(v)), v))]
    if len(order) > _MOST:
        raise ArgumentError(
            f"column {by} has {len(order):,} different values; a split needs at most {_MOST}: group them first"
        )
    unknown = message("unknown")
    labels = [unknown if pd.isna(v) else str(v) for v in values]
    found = set(labels)
    return pd.Categorical(
        labels, [*order, *([unknown] if unknown in found and unknown not in order else [])], ordered=True
    )
