"""One row per experimental unit: outcomes in a window, covariates from before it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.summaries._frames import (
    as_lazy,
    as_ordinal,
    collect,
    date_column,
    day_number,
    flag,
    need,
    positive_days,
    read_lines,
    to_dates,
)

if TYPE_CHECKING:
    import pandas as pd

    from loyalty_research.summaries._frames import Lines

__all__ = ["campaign_units", "in_windows", "joinable", "spells_of", "units", "with_sums"]

SHORT_WINDOW = "customers not observed for the whole outcome window"
SHORT_PAST = "customers whose pre-period begins before the data"
NO_PAST = "targeted customers without a purchase before the index date"
_COVARIATES = ("age", "gender", "region", "acquisition_channel")
_SUMS = ("spend", "orders", "pre_spend", "pre_orders")


def in_windows(dated: nw.LazyFrame[Any], window: int, pre: int, *, begin: int = 0) -> pd.DataFrame:
    """Sum each customer's purchases in the window after and before their own day zero.

    Args:
        dated: Purchases with ``start``, the day number of day zero.
        window: Days of the outcome window.
        pre: Days of the pre-period, day zero excluded.
        begin: First day of the outcome window, days from day zero.
    """
    after = (nw.col("_t") >= begin) & (nw.col("_t") < begin + window)
    before = (nw.col("_t") < 0) & (nw.col("_t") >= -pre)
    past = nw.col("_t") < 0
    marked = dated.with_columns(_t=nw.col("day") - nw.col("start")).with_columns(
        spend=nw.when(after).then(nw.col("amount")).otherwise(nw.lit(0.0)),
        orders=nw.when(after).then(nw.col("orders")).otherwise(nw.lit(0)),
        pre_spend=nw.when(before).then(nw.col("amount")).otherwise(nw.lit(0.0)),
        pre_orders=nw.when(before).then(nw.col("orders")).otherwise(nw.lit(0)),
        _past_day=nw.when(past).then(nw.col("_t")),
    )
    sums = [nw.col(c).sum() for c in _SUMS]
    latest, earliest = nw.col("_past_day").max().alias("latest"), nw.col("_past_day").min().alias("earliest")
    return collect(marked.group_by("customer_id").agg(*sums, latest, earliest)).set_index("customer_id")


def joinable(left: nw.LazyFrame[Any], right: nw.LazyFrame[Any], name: str) -> None:
    """Raise ContractError when transactions and a table differ in engine or in the type of customer_id."""
    if left.implementation != right.implementation:
        raise ContractError(
            f"transactions are in {left.implementation} and {name} in {right.implementation}; "
            "load both with the same engine"
        )
    kinds = [frame.collect_schema()["customer_id"] for frame in (left, right)]
    if kinds[0] != kinds[1]:
        raise ContractError(
            f"customer_id is {kinds[0]} in transactions and {kinds[1]} in {name}; give both the same type"
        )


def with_sums(frame: pd.DataFrame, sums: pd.DataFrame) -> pd.DataFrame:
    """Add the sums of :func:`in_windows` to units; who bought nothing has zeros."""
    found = sums.reindex(frame["unit_id"])
    filled = {c: found[c].fillna(0).to_numpy() for c in _SUMS}
    return frame.assign(
        spend=filled["spend"].astype(float),
        orders=filled["orders"].astype(np.int64),
        pre_spend=filled["pre_spend"].astype(float),
        pre_orders=filled["pre_orders"].astype(np.int64),
    )


def units(
    source_tables: Any,
    *,
    window_days: int,
    pre_days: int = 90,
    experiment: str | None = None,
    as_of: dt.date | str | None = None,
) -> pd.DataFrame:
    """Build the table of a customer experiment from its event tables.

    Day zero of a customer is the day of assignment. The outcome window is
    [day zero, day zero + ``window_days``), the pre-period [day zero - ``pre_days``, day zero), so
    covariates are never later than the assignment.

    Args:
        source_tables: Mapping of table names to tables, such as ``Dataset.tables``, or a
            ``Dataset``. ``assignments`` (``customer_id``, ``arm``, ``assigned_date`` or
            ``assigned_at``; ``experiment_id``, ``strata``, ``cluster_id`` where present) and
            ``transactions`` are needed; ``memberships`` (``customer_id``, ``valid_from``,
            ``valid_to``) and ``customers`` are used where present. All in one engine.
        window_days: Length of the outcome window, days.
        pre_days: Length of the pre-period, days.
        experiment: Which ``experiment_id``; needed where there are several.
        as_of: Last day observed, that day included; by default a ``Dataset``'s, otherwise the
            last day of the transactions.

    Returns:
        One row per assigned customer, sorted by ``unit_id`` (the customer): ``unit_id``, ``arm``,
        ``assigned_date``, ``strata`` and ``cluster_id`` where assigned, ``spend`` and ``orders`` in
        the window, ``pre_spend`` and ``pre_orders`` before it, with memberships ``was_member`` (a
        member the day before day zero) and ``is_member`` (a member on any day of the window, so
        also who joined in it), and ``age``, ``gender``, ``region``, ``acquisition_channel`` where
        ``customers`` has them.

        ``attrs`` holds ``as_of``, ``window_days``, ``pre_days``, ``experiment`` and ``dropped``: customers whose
        window is not over by ``as_of``, customers whose pre-period begins before the first day of
        the transactions, and the rows of transactions that were not used.

    Raises:
        ContractError: When a table or column is missing, or a customer is assigned twice.
        ArgumentError: When an option is out of range, or ``experiment`` is needed or unknown.
        DesignError: When nobody is observed for the whole window and pre-period.

    Examples:
        >>> import pandas as pd
        >>> tables = {
        ...     "assignments": pd.DataFrame({
        ...         "customer_id": ["a", "b"], "arm": ["invited", "control"],
        ...         "assigned_date": pd.to_datetime(["2024-02-01", "2024-02-01"])}),
        ...     "transactions": pd.DataFrame({
        ...         "customer_id": ["a", "a", "b"], "amount": [5.0, 7.0, 9.0],
        ...         "transacted_date": pd.to_datetime(["2024-01-01", "2024-02-01", "2024-03-30"])}),
        ... }
        >>> units(tables, window_days=28, pre_days=31)[["unit_id", "arm", "spend", "pre_spend"]]
          unit_id      arm  spend  pre_spend
        0       a  invited    7.0        5.0
        1       b  control    0.0        0.0
    """
    window = positive_days(window_days, "window_days")
    pre = positive_days(pre_days, "pre_days")
    if as_of is None:
        as_of = getattr(source_tables, "as_of", None)
    tables = source_tables if isinstance(source_tables, Mapping) else getattr(source_tables, "tables", {})
    for name in ("assignments", "transactions"):
        if name not in tables:
            raise ContractError(f"units need the table {name}; there is {', '.join(tables) or 'none'}")
    assigned, experiment = _assignments(tables["assignments"], experiment)
    lines = read_lines(tables["transactions"], until=None if as_of is None else as_ordinal(as_of, "as_of"))
    starts = assigned.select("customer_id", "start")
    joinable(lines.frame, starts, "assignments")

    frame = collect(assigned).rename(columns={"customer_id": "unit_id"})
    frame = frame.sort_values("unit_id", ignore_index=True)
    frame = with_sums(frame, in_windows(lines.frame.join(starts, on="customer_id", how="inner"), window, pre))
    if "memberships" in tables:
        frame = _with_membership(frame, tables["memberships"], window)
    if "customers" in tables:
        frame = _with_covariates(frame, tables["customers"])
    start = frame.pop("start").to_numpy(dtype=np.int64)
    frame.insert(2, "assigned_date", to_dates(start))
    short = start + window - 1 > lines.last
    early = ~short & (start - pre < lines.first)
    kept = frame[~short & ~early].reset_index(drop=True)
    if kept.empty:
        raise DesignError(
            f"nobody is observed from {pre} days before assignment to {window} days after it: the transactions "
            f"run from {dt.date.fromordinal(lines.first)} to {dt.date.fromordinal(lines.last)}"
        )
    kept.attrs = {
        "experiment": experiment,
        "as_of": dt.date.fromordinal(lines.last).isoformat(),
        "window_days": window,
        "pre_days": pre,
        "dropped": {SHORT_WINDOW: int(short.sum()), SHORT_PAST: int(early.sum()), **lines.dropped},
    }
    return kept


def _assignments(table: Any, experiment: str | None) -> tuple[nw.LazyFrame[Any], str | None]:
    """Return customer_id, arm, start and what else was assigned, of one experiment."""
    frame = as_lazy(table, "assignments")
    names = frame.collect_schema().names()
    need(names, ["customer_id", "arm"], "assignments")
    when = date_column(frame, "assignments", "assigned_date", "assigned_at")
    if "experiment_id" in names:
        known = sorted(collect(frame.select("experiment_id").unique())["experiment_id"].dropna())
        if experiment is None and len(known) > 1:
            raise ArgumentError(f"assignments hold several experiments; name one of {', '.join(known)}")
        if experiment is not None and experiment not in known:
            raise ArgumentError(
                f"there is no experiment {experiment!r}; there is {', '.join(known) or 'none'}"
            )
        experiment = experiment or (known[0] if known else None)
        frame = frame.filter(nw.col("experiment_id") == experiment)
    extra = [c for c in ("strata", "cluster_id") if c in names]
    frame = frame.select("customer_id", "arm", *extra, start=day_number(nw.col(when)))
    found = collect(frame.select("customer_id", "arm", "start"))
    blank = np.flatnonzero((found.isna().any(axis=1) | (found["start"] < 1)).to_numpy())
    if len(blank):
        raise ContractError(f"assignments lack a customer, arm or date at {at_rows([int(i) for i in blank])}")
    twice = np.flatnonzero(found["customer_id"].duplicated().to_numpy())
    if len(twice):
        rows = at_rows([int(i) for i in twice])
        raise ContractError(
            f"assignments name a customer twice at {rows}; a customer has one arm in an experiment"
        )
    return frame, experiment


def _with_membership(frame: pd.DataFrame, memberships: Any, window: int) -> pd.DataFrame:
    spells = spells_of(memberships)
    spells = spells[spells["customer_id"].isin(frame["unit_id"])]
    start = spells["customer_id"].map(frame.set_index("unit_id")["start"]).to_numpy(dtype=float)
    since, until = spells["since"].to_numpy(dtype=float), spells["until"].to_numpy(dtype=float)
    until = np.where(until < 1, np.inf, until)  # an open spell has no end
    was = spells["customer_id"][(since < start) & (until >= start)]
    member = spells["customer_id"][(since < start + window) & (until > start)]
    return frame.assign(
        was_member=frame["unit_id"].isin(was).to_numpy(), is_member=frame["unit_id"].isin(member).to_numpy()
    )


def spells_of(memberships: Any) -> pd.DataFrame:
    """Return customer_id, since and until (day numbers, until below 1 while open) of each spell."""
    table = as_lazy(memberships, "memberships")
    names = table.collect_schema().names()
    need(names, ["customer_id"], "memberships")
    begin = date_column(table, "memberships", "valid_from_date", "valid_from")
    columns = {"customer_id": nw.col("customer_id"), "since": day_number(nw.col(begin))}
    if "valid_to_date" in names or "valid_to" in names:
        end = date_column(table, "memberships", "valid_to_date", "valid_to")
        columns["until"] = day_number(nw.col(end))
    spells = collect(table.select(**columns))
    return spells if "until" in spells else spells.assign(until=0)


def _with_covariates(frame: pd.DataFrame, customers: Any) -> pd.DataFrame:
    table = as_lazy(customers, "customers")
    names = table.collect_schema().names()
    need(names, ["customer_id"], "customers")
    wanted = [c for c in _COVARIATES if c in names]
    found = collect(table.select("customer_id", *wanted))
    twice = np.flatnonzero(found["customer_id"].duplicated().to_numpy())
    if len(twice):
        raise ContractError(f"customers repeat a customer_id at {at_rows([int(i) for i in twice])}")
    return frame.merge(found, how="left", left_on="unit_id", right_on="customer_id").drop(
        columns="customer_id"
    )


def campaign_units(
    contacts: Any,
    transactions: Any,
    *,
    campaign_id: str,
    window_days: int,
    pre_days: int = 90,
    index_date: dt.date | str | None = None,
    as_of: dt.date | str | None = None,
) -> pd.DataFrame:
    """Set the customers a campaign was sent to beside those it was not sent to.

    Nobody drew lots here: the sender chose, so a difference between the groups is selection until
    it is adjusted for. Everybody has the same day zero, the campaign's first contact, and
    everybody had bought before it: who first bought later could only be known by looking ahead.

    Args:
        contacts: ``customer_id``, ``campaign_id``, ``sent_date`` (preferred) or ``sent_at``,
            ``event`` where present; in the same engine as ``transactions``.
        transactions: As for :func:`purchases`.
        campaign_id: Which campaign.
        window_days: Length of the outcome window from day zero on, days.
        pre_days: Length of the pre-period before day zero, days.
        index_date: Another day zero, for a placebo: ``window_days`` before the campaign's first
            contact, the outcome window ends before the campaign could do anything, and a
            difference that is left after adjustment is bias.
        as_of: Last day observed, that day included; by default the last day of the transactions.

    Returns:
        One row per customer who bought before day zero, sorted by ``unit_id`` (the customer):
        ``unit_id``, ``arm`` (``"targeted"`` or ``"not targeted"``), ``spend`` and ``orders`` in the
        window, ``pre_spend`` and ``pre_orders`` in the pre-period, ``pre_recency`` (days from the
        last purchase to day zero), ``pre_tenure`` (days from the first purchase in the data to day
        zero), ``pre_contacts`` (rows of ``contacts`` of other campaigns in the pre-period) and
        ``redeemed`` (whether ``contacts`` has an event ``redeem`` of this campaign in the window).

        ``attrs`` holds ``campaign_id``, ``index_date``, ``as_of``, ``window_days``, ``pre_days`` and ``dropped``:
        targeted customers without a purchase before day zero, and the rows of transactions that
        were not used.

    Raises:
        ContractError: When a column is missing or of a wrong type.
        ArgumentError: When an option is out of range, or the campaign is unknown.
        DesignError: When the window or the pre-period reaches outside the data, or one group is
            empty.

    Examples:
        >>> import pandas as pd
        >>> contacts = pd.DataFrame({
        ...     "customer_id": ["a", "a"], "campaign_id": ["spring", "spring"], "event": ["sent", "redeem"],
        ...     "sent_date": pd.to_datetime(["2024-02-01", "2024-02-03"])})
        >>> lines = pd.DataFrame({
        ...     "customer_id": ["a", "a", "b", "b"], "amount": [5.0, 7.0, 9.0, 1.0],
        ...     "transacted_date": pd.to_datetime(["2024-01-01", "2024-02-03", "2024-01-30", "2024-03-01"])})
        >>> found = campaign_units(contacts, lines, campaign_id="spring", window_days=28, pre_days=31)
        >>> found[["unit_id", "arm", "spend", "pre_spend", "pre_recency", "redeemed"]]
          unit_id           arm  spend  pre_spend  pre_recency  redeemed
        0       a      targeted    7.0        5.0           31      True
        1       b  not targeted    0.0        9.0            2     False
    """
    window = positive_days(window_days, "window_days")
    pre = positive_days(pre_days, "pre_days")
    sent = _contacts(contacts)
    ours = sent.filter(nw.col("campaign_id") == campaign_id)
    targeted = collect(ours.group_by("customer_id").agg(nw.col("day").min()))
    if targeted.empty:
        known = sorted(collect(sent.select("campaign_id").unique())["campaign_id"].dropna().astype(str))
        raise ArgumentError(f"there is no campaign {campaign_id!r}; there is {', '.join(known) or 'none'}")
    start = int(targeted["day"].min()) if index_date is None else as_ordinal(index_date, "index_date")
    lines = read_lines(transactions, until=None if as_of is None else as_ordinal(as_of, "as_of"))
    _inside(lines, start, window, pre)
    joinable(lines.frame, sent, "contacts")

    sums = in_windows(lines.frame.with_columns(start=nw.lit(start, dtype=nw.Int64)), window, pre)
    sums = sums[sums["latest"].notna().to_numpy()].sort_index()
    chosen = sums.index.isin(targeted["customer_id"])
    if chosen.all() or not chosen.any():
        group = "not targeted" if chosen.all() else "targeted"
        raise DesignError(
            f"campaign {campaign_id!r}: nobody who bought before {dt.date.fromordinal(start)} was {group}"
        )
    frame = with_sums(_named(sums, chosen), sums).assign(
        pre_recency=-sums["latest"].to_numpy(dtype=np.int64),
        pre_tenure=-sums["earliest"].to_numpy(dtype=np.int64),
    )
    frame = _with_contacts(frame, sent, campaign_id, start, window, pre)
    frame.attrs = {
        "campaign_id": campaign_id,
        "index_date": dt.date.fromordinal(start).isoformat(),
        "as_of": dt.date.fromordinal(lines.last).isoformat(),
        "window_days": window,
        "pre_days": pre,
        "dropped": {NO_PAST: len(targeted) - int(chosen.sum()), **lines.dropped},
    }
    return frame


def _named(sums: pd.DataFrame, chosen: np.ndarray[Any, Any]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"unit_id": sums.index, "arm": np.where(chosen, "targeted", "not targeted")})


def _contacts(table: Any) -> nw.LazyFrame[Any]:
    frame = as_lazy(table, "contacts")
    names = frame.collect_schema().names()
    need(names, ["customer_id", "campaign_id"], "contacts")
    when = date_column(frame, "contacts", "sent_date", "sent_at")
    redeemed = flag(nw.col("event") == "redeem") if "event" in names else nw.lit(0)
    return frame.select("customer_id", "campaign_id", day=day_number(nw.col(when)), redeemed=redeemed)


def _inside(lines: Lines, start: int, window: int, pre: int) -> None:
    if start - pre < lines.first:
        raise DesignError(
            f"the pre-period of {pre} days before {dt.date.fromordinal(start)} begins before the data do "
            f"({dt.date.fromordinal(lines.first)}); at most {max(start - lines.first, 0)} days are there"
        )
    if start + window - 1 > lines.last:
        raise DesignError(
            f"the window of {window} days from {dt.date.fromordinal(start)} reaches past the last day observed "
            f"({dt.date.fromordinal(lines.last)}); at most {max(lines.last - start + 1, 0)} days are there"
        )


def _with_contacts(
    frame: pd.DataFrame, sent: nw.LazyFrame[Any], campaign_id: str, start: int, window: int, pre: int
) -> pd.DataFrame:
    ours = nw.col("campaign_id") == campaign_id
    before = (nw.col("day") < start) & (nw.col("day") >= start - pre) & ~ours
    within = (nw.col("day") >= start) & (nw.col("day") < start + window) & ours & (nw.col("redeemed") == 1)
    counted = collect(
        sent.with_columns(_other=flag(before), _redeem=flag(within))
        .group_by("customer_id")
        .agg(nw.col("_other").sum(), nw.col("_redeem").sum())
    ).set_index("customer_id")
    found = counted.reindex(frame["unit_id"]).fillna(0)
    return frame.assign(
        pre_contacts=found["_other"].to_numpy(dtype=np.int64), redeemed=found["_redeem"].to_numpy() > 0
    )
