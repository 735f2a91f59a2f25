"""Inactivity: where a customer's buying first stops for longer than a window."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np

from loyalty_research.summaries._frames import as_ordinal, collect, flag, positive_days, read_lines, to_dates
from loyalty_research.summaries._purchases import by_day

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["inactivity_gaps"]


def inactivity_gaps(
    transactions: Any, *, inactivity_days: int, as_of: dt.date | str | None = None
) -> pd.DataFrame:
    """Find the first gap longer than ``inactivity_days`` between purchases of each customer.

    Without a contract nobody says good-bye, so leaving is defined: a gap longer than W =
    ``inactivity_days`` has begun on the day of the last purchase before it. The time from the
    last purchase to ``as_of`` counts as a gap too once it is longer than W.

    Everybody who bought by ``as_of`` is returned, also customers first seen less than W days
    before it: whoever builds survival times from this ends the risk set at ``as_of`` - W (a gap
    that began later cannot have been seen in full), and leaves those customers out and counts
    them. ``attrs["seen_too_short"]`` is their number.

    Args:
        transactions: ``customer_id``, ``transacted_date`` (preferred) or ``transacted_at`` (naive),
            optionally ``amount`` and ``type``; pandas, Polars, a DuckDB relation, Spark, or what
            :func:`daily` returned.
        inactivity_days: W, whole days. A gap of exactly W days is not longer than W.
        as_of: Last day observed, that day included; by default the last day in the table.

    Returns:
        One row per customer, indexed by ``customer_id`` and sorted:

        - ``first_date``, ``last_date``: first and last purchase, timestamps at midnight;
        - ``purchase_days``: days with a purchase, int64;
        - ``gap_start``: date of the last purchase before the first gap longer than W, NaT if none;
        - ``returned``: whether the customer bought again after that gap, bool;
        - ``return_date``: date of the purchase that ended it, NaT if none;
        - ``gaps``: number of gaps longer than W, one still open at ``as_of`` included, int64.

        ``attrs`` holds ``inactivity_days``, ``as_of``, ``rows``, ``seen_too_short`` and ``dropped``
        (rows without a customer, refund rows, rows after ``as_of``).

    Raises:
        ContractError: When a column is missing or of a wrong type, the table is empty, or a date
            is null.
        ArgumentError: When ``inactivity_days`` is not a whole number of at least 1, or ``as_of`` is
            before the first day of the table.

    Examples:
        >>> import pandas as pd
        >>> lines = pd.DataFrame({
        ...     "customer_id": ["a", "a", "a", "b"],
        ...     "transacted_date": pd.to_datetime(["2024-01-01", "2024-01-11", "2024-03-21", "2024-03-11"]),
        ... })
        >>> found = inactivity_gaps(lines, inactivity_days=30, as_of="2024-03-31")
        >>> found[["gap_start", "returned", "return_date", "gaps"]]
                     gap_start  returned return_date  gaps
        customer_id
        a           2024-01-11      True  2024-03-21     1
        b                  NaT     False         NaT     0
        >>> found.attrs["seen_too_short"]
        1
    """
    window = positive_days(inactivity_days, "inactivity_days")
    until = None if as_of is None else as_ordinal(as_of, "as_of")
    lines = read_lines(transactions, amount=False, until=until)
    found = collect(_first_gaps(by_day(lines), window)).set_index("customer_id").sort_index()
    frame = _finish(found, lines.last, window)
    frame.attrs = {
        "inactivity_days": window,
        "as_of": dt.date.fromordinal(lines.last).isoformat(),
        "rows": lines.rows,
        "seen_too_short": int((found["first"].to_numpy() > lines.last - window).sum()),
        "dropped": lines.dropped,
    }
    return frame


def _first_gaps(days: nw.LazyFrame[Any], window: int) -> nw.LazyFrame[Any]:
    before = nw.col("day").shift(1).over("customer_id", order_by="day")
    long = nw.col("day") - nw.col("_before") > window
    return (
        days.with_columns(_before=before)
        .with_columns(
            _long=flag(long),
            _start=nw.when(long).then(nw.col("_before")),
            _end=nw.when(long).then(nw.col("day")),
        )
        .group_by("customer_id")
        .agg(
            first=nw.col("day").min(),
            last=nw.col("day").max(),
            purchase_days=nw.len(),
            closed=nw.col("_long").sum(),
            start=nw.col("_start").min(),
            end=nw.col("_end").min(),
        )
    )


def _finish(found: pd.DataFrame, last_day: int, window: int) -> pd.DataFrame:
    import pandas as pd

    last = found["last"].to_numpy(dtype=float)
    closed = found["closed"].to_numpy(dtype=np.int64)
    still_open = last_day - last > window
    start = found["start"].to_numpy(dtype=float)
    start = np.where((closed == 0) & still_open, last, start)
    frame = pd.DataFrame(
        {
            "first_date": to_dates(found["first"]),
            "last_date": to_dates(last),
            "purchase_days": found["purchase_days"].to_numpy(dtype=np.int64),
            "gap_start": to_dates(start),
            "returned": closed > 0,
            "return_date": to_dates(found["end"]),
            "gaps": closed + still_open,
        }
    )
    return frame.set_index(found.index)
