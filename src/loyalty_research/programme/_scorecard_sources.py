"""What a scorecard page is taken from: established customers, cohorts, and customers beside those held out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from loyalty_research.errors import DesignError
from loyalty_research.programme.revenue import window_revenue
from loyalty_research.stats.proportions import wilson_interval

if TYPE_CHECKING:
    import datetime as dt

    from loyalty_research.data import Dataset
    from loyalty_research.programme._windows import PurchaseDays

__all__ = ["because", "established_revenue", "holdout_units", "last_day", "pooled_retention"]

_LEAD = re.compile(r"^(change )?not measurable because ", re.IGNORECASE)
_LEAST = 5  # fewer customers are not shown


def established_revenue(record: PurchaseDays, window: int) -> tuple[pd.DataFrame, int | None]:
    """Return revenue of two windows of customers who were there before the earlier one, and the others' number.

    Somebody who came in the middle of the earlier window brought half a window's revenue there; beside a
    whole later window that looks like growth. Where the record does not reach back half a window
    further, they cannot be told apart, and all are returned with None.

    Examples:
        >>> from loyalty_research.programme._windows import purchase_days
        >>> record = purchase_days(pd.DataFrame({
        ...     "customer_id": ["a", "a", "b"], "amount": [5.0, 10.0, 20.0],
        ...     "transacted_date": pd.to_datetime(["2024-01-01", "2024-01-08", "2024-01-09"])}), "2024-01-15")
        >>> frame, newcomers = established_revenue(record, 5)
        >>> frame["before"].tolist(), newcomers
        ([10.0], 1)
    """
    frame = window_revenue(record, window)
    frame = frame[(frame["before"] > 0) | (frame["after"] > 0)]
    first = pd.Series(record.first, index=record.customers)
    there = first.reindex(frame.index) <= record.end - 2 * window
    # a handful of early customers would not stand for the rest
    if record.begin > record.end - 5 * window // 2 or not there.any():
        return frame, None
    return frame[there], int(((frame["before"] > 0) & ~there).sum())


def holdout_units(source: Dataset, window: int) -> pd.DataFrame:
    """Return ``arm``, ``spend`` and ``cost`` per customer in so many days from the day of assignment on.

    Args:
        source: A dataset with ``assignments`` of one experiment into two arms, one of them
            ``control``, and ``costs`` per redemption or per contact.
        window: Days.

    Raises:
        DesignError: When a table is missing, there are not two such arms, or the window is not over.
    """
    for table, *columns in (
        ("assignments", "customer_id", "arm", "assigned_date"),
        ("costs", "unit", "amount"),
    ):
        if not source.has(table, *columns):
            raise DesignError(
                f"the dataset has no table {table}: nobody is known to be held out at a known cost"
            )
    drawn = source.frame("assignments")[["customer_id", "arm", "assigned_date"]]
    if (
        set(drawn["arm"]) - {"control"} == set()
        or drawn["arm"].nunique() != 2
        or "control" not in set(drawn["arm"])
    ):
        raise DesignError("assignments does not hold one arm beside one called control")
    if drawn["customer_id"].duplicated().any():
        raise DesignError("customers stand in several experiments; choose one")
    since = drawn.set_index("customer_id")["assigned_date"]
    if source.as_of is not None and (since.max() + pd.Timedelta(days=window - 1)).date() > source.as_of:
        raise DesignError(f"the {window:,} days after assignment are not over")

    def inside(table: str, day: str) -> pd.DataFrame:
        frame = source.frame(table)
        begin = frame["customer_id"].map(since)
        return frame[(frame[day] >= begin) & (frame[day] < begin + pd.Timedelta(days=window))]

    lines = inside("transactions", "transacted_date")
    spend = lines.groupby("customer_id")["amount"].sum()
    cost = pd.Series(0.0, index=since.index)
    for price in source.frame("costs").to_dict("records"):
        if price["unit"] == "per_redemption" and source.has("points_ledger"):
            events = inside("points_ledger", "occurred_date")
            events = events[events["type"] == "redeem"]
        elif price["unit"] == "per_contact" and source.has("contacts"):
            events = inside("contacts", "sent_date")
            events = events[(events["event"] == "sent") & (events["campaign_id"] == price["campaign_id"])]
        else:
            raise DesignError(f"costs holds a price {price['unit']} whose events are not in the data")
        cost = cost.add(events.groupby("customer_id").size() * price["amount"], fill_value=0.0)
    return pd.DataFrame(
        {
            "arm": drawn["arm"].to_numpy(),
            "spend": spend.reindex(since.index).fillna(0.0).to_numpy(),
            "cost": cost.reindex(since.index).to_numpy(),
        }
    )


def pooled_retention(triangle: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Return retention by age over all cohorts that were followed so far.

    Args:
        triangle: ``cohort, period, customers, active``: mature cells.
        level: Confidence level of Wilson's limits.

    Returns:
        ``period`` from 1, ``customers``, ``active``, ``retention``, ``low``, ``high``; ages with fewer than
        five customers, or one to four active ones, are left out.

    Examples:
        >>> cells = pd.DataFrame({"cohort": list("aab"), "period": [0, 1, 1], "customers": [10, 10, 30],
        ...                       "active": [10, 5, 10]})
        >>> pooled_retention(cells)["retention"].tolist()
        [0.375]
    """
    sums = triangle[triangle["period"] > 0].groupby("period")[["customers", "active"]].sum().reset_index()
    sums = sums[(sums["customers"] >= _LEAST) & ~sums["active"].between(1, _LEAST - 1)]
    low, high = wilson_interval(sums["active"], sums["customers"], level=level)
    return sums.assign(retention=sums["active"] / sums["customers"], low=low, high=high).reset_index(
        drop=True
    )


def last_day(source: Dataset) -> dt.date | None:
    """Return the latest day that any table of a dataset holds, or None where nothing is dated.

    Examples:
        >>> import loyalty_research as lr
        >>> last_day(lr.open_dataset("carwash")) is None
        True
    """
    days = [
        frame[column].max()
        for frame in (source.frame(table) for table in sorted(source.tables))
        for column in frame.columns
        if column.endswith("_date") and column not in ("birth_date", "expires_date", "valid_to_date")
    ]
    known = [pd.Timestamp(day).date() for day in days if not pd.isna(day)]
    return max(known, default=None)


def because(reason: str) -> str:
    """Return a reason without the words that a table's heading says for all of them.

    Examples:
        >>> because("Not measurable because the record is short.")
        'the record is short'
        >>> because("change not measurable because there are none")
        'there are none'
    """
    return _LEAD.sub("", reason.strip()).removesuffix(".")
