"""Every customer in every period: what differences in differences read."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Literal

import narwhals as nw
import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.summaries._cohorts import PERIODS
from loyalty_research.summaries._frames import (
    as_lazy,
    as_ordinal,
    collect,
    date_column,
    day_number,
    flag,
    need,
    read_lines,
    to_dates,
)
from loyalty_research.summaries._units import joinable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.summaries._frames import Lines

    Integers = NDArray[np.int64]

__all__ = ["panel"]

NEW = "customers without a purchase before the first period"
UNKNOWN = "customers who started and have no purchase in the data"
AT_START = "purchase rows on the day of the start"
_STARTS = ("started_date", "started_at", "valid_from_date", "valid_from")
_LEAST_PERIODS = 2


def _slot(day: int, period: str) -> int:
    """Return the number of the period a day falls in, as the engines count it."""
    date = dt.date.fromordinal(day)
    months = date.year * 12 + date.month - 1
    return {"W": (day - 1) // 7, "M": months, "Q": months // 3}[period]


def _starts(table: Any, period: str, last: int) -> tuple[nw.LazyFrame[Any], pd.DataFrame]:
    """Return each customer's first start by ``last``: a query with ``start``, a day number, and its answer."""
    frame = as_lazy(table, "starts")
    need(frame.collect_schema().names(), ["customer_id"], "starts")
    when = date_column(frame, "starts", *_STARTS)
    index_of, _ = PERIODS[period]
    rows = frame.select("customer_id", start=day_number(nw.col(when)), slot=index_of(nw.col(when)))
    found = collect(rows)
    blank = np.flatnonzero((found["customer_id"].isna() | (found["start"] < 1)).to_numpy())
    if len(blank):
        raise ContractError(
            f"starts lack a customer or {when} at {at_rows([int(i) for i in blank])}; give each row both or leave it out"
        )
    first = rows.group_by("customer_id").agg(nw.col("start").min(), nw.col("slot").min())
    first = first.filter(nw.col("start") <= last)
    return first.select("customer_id", "start"), collect(first).set_index("customer_id")


def _cells(lines: nw.LazyFrame[Any], starts: nw.LazyFrame[Any], *, keep: bool) -> pd.DataFrame:
    """Sum purchases by customer and period; ``at_start`` counts rows left out on the day of the start."""
    # nobody started on it, or the start is null or NaN: the purchase counts
    own = nw.lit(0) if keep else flag(nw.col("day") == nw.col("start"))
    return collect(
        lines.join(starts, on="customer_id", how="left")
        .with_columns(at_start=own)
        .with_columns(
            amount=nw.when(nw.col("at_start") == 1).then(nw.lit(0.0)).otherwise(nw.col("amount")),
            orders=nw.when(nw.col("at_start") == 1).then(nw.lit(0)).otherwise(nw.col("orders")),
        )
        .group_by("customer_id", "slot")
        .agg(*(nw.col(c).sum() for c in ("amount", "orders", "at_start")))
    )


def panel(
    transactions: Any,
    starts: Any,
    *,
    period: Literal["W", "M", "Q"] = "M",
    first: dt.date | str | None = None,
    last: dt.date | str | None = None,
    start_day: Literal["leave out", "keep"] = "leave out",
    as_of: dt.date | str | None = None,
) -> pd.DataFrame:
    """Lay out every customer's spend in every period, before and after they started something.

    What comes back goes straight into ``Comparison(design="panel", assignment="first_treated",
    unit="customer_id", period="period")``.

    Customers are those who had bought before the first period: known by then, and in the panel
    from beginning to end, with zeros where they bought nothing. Whoever first bought later is
    left out and counted, since periods before a first purchase are zero by definition and would
    look like a rise.

    The period of the start counts as treated though part of it lies before the start. Purchases on
    the day of the start are left out: where people join at the till, the purchase at which they do
    is a cause of joining and not an effect, and would show as a rise in the period of the start that
    no test of the trends before can see. A small rest stays: whoever has not joined by a period came
    a little less often in it. Where people join at the till, or because they have lately come more
    often, :func:`member_units` is the safer table.

    Args:
        transactions: ``customer_id``, ``transacted_date`` (preferred) or ``transacted_at`` (naive),
            ``amount``, optionally ``type``; pandas, Polars, a DuckDB relation, Spark, or what
            :func:`daily` returned.
        starts: ``customer_id`` and ``started_date``, ``started_at``, ``valid_from_date`` or
            ``valid_from``, in the same engine: memberships, or whatever else began. The first row of
            a customer counts, and who stops later is still treated.
        period: ``"W"`` weeks from Monday, ``"M"`` months, ``"Q"`` quarters.
        first: A day in the first period; by default the period after the one the data begin in.
        last: A day in the last period; by default the last period over by ``as_of``.
        start_day: ``"keep"`` counts purchases on the day of the start as any other, for starts that
            no purchase brings about, such as a letter or a new store.
        as_of: Last day observed, that day included; by default the last day of the transactions.
            Who starts later is not known to start.

    Returns:
        One row per customer and period, sorted: ``customer_id``, ``period`` (its first day),
        ``spend``, ``orders``, ``first_treated`` (first day of the period of the start; missing for
        those who never started).

        ``attrs`` holds ``period``, ``periods``, ``customers``, ``as_of`` and ``dropped``: customers without
        a purchase before the first period, customers who started and never bought, purchase rows left
        out because the customer started that day, and the rows of transactions that were not used.

    Raises:
        ContractError: When a column is missing or of a wrong type, or a start lacks its customer
            or date.
        ArgumentError: When ``period`` or ``start_day`` is unknown, or the last period is not over by ``as_of``.
        DesignError: When fewer than two periods or no customers remain.

    Examples:
        >>> import pandas as pd
        >>> lines = pd.DataFrame({
        ...     "customer_id": ["a", "b", "a", "b", "a", "c"], "amount": [5.0, 4.0, 6.0, 4.5, 9.0, 3.0],
        ...     "transacted_date": pd.to_datetime(["2024-01-09", "2024-01-20", "2024-02-01", "2024-02-20",
        ...                                        "2024-03-05", "2024-03-31"])})
        >>> joined = pd.DataFrame({"customer_id": ["a"], "valid_from": pd.to_datetime(["2024-03-02"])})
        >>> panel(lines, joined)
          customer_id     period  spend  orders first_treated
        0           a 2024-02-01    6.0       1    2024-03-01
        1           a 2024-03-01    9.0       1    2024-03-01
        2           b 2024-02-01    4.5       1           NaT
        3           b 2024-03-01    0.0       0           NaT

    References:
        Callaway and Sant'Anna (2021), "Difference-in-differences with multiple time periods", Journal
        of Econometrics 225(2), 200-230, section 2.1: a balanced panel and the first treated period.
    """
    if period not in PERIODS:
        raise ArgumentError(f"period must be one of {', '.join(map(repr, PERIODS))}; got {period!r}")
    if start_day not in ("leave out", "keep"):
        raise ArgumentError(f"start_day is 'leave out' or 'keep'; got {start_day!r}")
    index_of, start_of = PERIODS[period]
    until = None if as_of is None else as_ordinal(as_of, "as_of")
    lines = read_lines(transactions, until=until, keys={"slot": index_of})
    begin, end = _range(lines, period, first, last)
    joinable(lines.frame, as_lazy(starts, "starts"), "starts")
    first_starts, started = _starts(starts, period, lines.last)
    cells = _cells(lines.frame, first_starts, keep=start_day == "keep")
    known = cells["customer_id"][cells["slot"] < begin].unique()
    if not len(known):
        raise DesignError(
            f"nobody bought before {dt.date.fromordinal(start_of(begin))}, when the first period begins: the transactions "
            f"begin on {dt.date.fromordinal(lines.first)}; take a later first"
        )
    ids = pd.Index(known).sort_values()
    inside = cells["customer_id"].isin(ids) & cells["slot"].between(begin, end)
    frame = _filled(cells[inside], ids, begin, [start_of(slot) for slot in range(begin, end + 1)])
    treated = started["slot"].map(start_of).reindex(ids).to_numpy(dtype=float)
    frame["first_treated"] = to_dates(np.repeat(treated, end + 1 - begin))
    strangers = started.index.difference(pd.Index(cells["customer_id"]))
    frame.attrs = {
        "period": period,
        "periods": end + 1 - begin,
        "customers": len(ids),
        "as_of": dt.date.fromordinal(lines.last).isoformat(),
        "dropped": {
            NEW: int(cells["customer_id"].nunique()) - len(ids),
            UNKNOWN: len(strangers),
            AT_START: int(cells["at_start"][inside].sum()),
            **lines.dropped,
        },
    }
    return frame


def _range(
    lines: Lines, period: str, first: dt.date | str | None, last: dt.date | str | None
) -> tuple[int, int]:
    """Return the first and last period, checked to be over and at least two."""
    over = _slot(lines.last + 1, period) - 1
    begin = _slot(lines.first, period) + 1 if first is None else _slot(as_ordinal(first, "first"), period)
    end = over if last is None else _slot(as_ordinal(last, "last"), period)
    if end > over:
        raise ArgumentError(
            f"the period of last={last} is not over by the last day observed, {dt.date.fromordinal(lines.last)}: "
            "a running period would show a drop that is not there"
        )
    if end + 1 - begin < _LEAST_PERIODS:
        raise DesignError(
            f"there are {max(end + 1 - begin, 0)} whole periods {period!r} and a panel needs at least {_LEAST_PERIODS}: the "
            f"transactions run from {dt.date.fromordinal(lines.first)} to {dt.date.fromordinal(lines.last)}; take a "
            "shorter period"
        )
    return begin, end


def _filled(cells: pd.DataFrame, ids: pd.Index[Any], begin: int, days: list[int]) -> pd.DataFrame:
    """Spread cells over customers and periods, with zeros where nothing was bought."""
    at = (
        ids.get_indexer(pd.Index(cells["customer_id"])) * len(days) + cells["slot"].to_numpy(np.int64) - begin
    )
    spend, orders = np.zeros(len(ids) * len(days)), np.zeros(len(ids) * len(days), dtype=np.int64)
    spend[at], orders[at] = cells["amount"].to_numpy(float), cells["orders"].to_numpy(np.int64)
    return pd.DataFrame(
        {
            "customer_id": np.repeat(np.asarray(ids), len(days)),
            "period": to_dates(np.tile(days, len(ids))),
            "spend": spend,
            "orders": orders,
        }
    )
