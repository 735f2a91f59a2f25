"""Memberships: splitting follow-up where a status begins or ends, and following members."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import narwhals as nw
import numpy as np
import pandas as pd

from loyalty_research.churn import intervals
from loyalty_research.churn.followup import Followup, Removed
from loyalty_research.errors import ArgumentError, ContractError, at_rows
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, percent

if TYPE_CHECKING:
    import datetime as dt

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

__all__ = ["calendar_day", "follow_members", "joined_values", "split_at_spells"]

F = TypeVar("F", bound=Followup)

_OPEN = np.iinfo(np.int64).max // 4


def calendar_day(value: dt.date | str, name: str) -> np.datetime64:
    """Return a date option as a calendar day.

    Raises:
        ArgumentError: When ``value`` is no date.
    """
    try:
        day = pd.Timestamp(value)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must be a date such as '2024-06-30'; got {value!r}") from error
    if pd.isna(day):
        raise ArgumentError(f"{name} must be a date such as '2024-06-30'; got {value!r}")
    return np.datetime64(day.date(), "D")


def _pandas(table: Any, name: str) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    try:
        frame: pd.DataFrame = nw.from_native(table).lazy().collect(backend="pandas").to_native()
    except TypeError as error:
        raise ContractError(f"{name} must be a data frame; got {type(table).__name__}") from error
    return frame


def _days(frame: pd.DataFrame, column: str, table: str, *, gaps: bool) -> Ints:
    """Return a date column as days since 1970; missing dates become far-off when allowed."""
    chosen = column.removesuffix("_at") + "_date"
    name = next((c for c in (chosen, f"{column}_date", column) if c in frame.columns), column)
    intervals.need(frame, [name], table)
    values = frame[name]
    if not (pd.api.types.is_datetime64_any_dtype(values) or values.dtype == object):
        raise ContractError(
            f"{table}.{name} is {values.dtype}, not a date; parse it first (pandas.to_datetime)"
        )
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        raise ContractError(
            f"{table}.{name} carries a time zone; convert it to the business's zone and keep the date"
        )
    try:
        stamps = pd.to_datetime(values)
    except (TypeError, ValueError) as error:
        raise ContractError(f"{table}.{name} holds values that are not dates; parse it first") from error
    missing = stamps.isna().to_numpy()
    if missing.any() and not gaps:
        raise ContractError(
            f"{table}.{name} is missing in {intervals.where(missing)}; each row needs its date"
        )
    days = stamps.to_numpy().astype("datetime64[D]").astype(np.int64)
    return np.where(missing, _OPEN, days)


def _read_spells(spells: Any, table: str) -> pd.DataFrame:
    """Return checked spells: customer_id, since, until (days since 1970), position, further columns."""
    frame = _pandas(spells, table)
    intervals.need(frame, ["customer_id"], table)
    gaps = frame["customer_id"].isna().to_numpy()
    if gaps.any():
        raise ContractError(
            f"{table}.customer_id is missing in {intervals.where(gaps)}; every spell needs one"
        )
    since = _days(frame, "valid_from", table, gaps=False)
    ends = any(c in frame.columns for c in ("valid_to", "valid_to_date"))
    until = _days(frame, "valid_to", table, gaps=True) if ends else np.full(len(frame), _OPEN)
    bad = until <= since
    if bad.any():
        raise ContractError(
            f"{table}: valid_to must be after valid_from; it is not in {intervals.where(bad)}: spells are "
            "half-open, so one that ends on the day it begins never ran"
        )
    read = frame.reset_index(drop=True).assign(since=since, until=until, position=np.arange(len(frame)))
    read = read.sort_values(["customer_id", "since"], kind="stable", ignore_index=True)
    same = (read["customer_id"] == read["customer_id"].shift()).to_numpy()
    clash = same & (read["since"].to_numpy() < read["until"].shift(fill_value=0).to_numpy())
    if clash.any():
        rows = np.sort(read["position"].to_numpy()[clash]).tolist()
        raise ContractError(
            f"{table}: spells of one customer overlap in {at_rows(rows)}; end each before the next begins"
        )
    return read


def joined_values(data: Followup, frame: pd.DataFrame, *, known_at: str) -> pd.DataFrame:
    """Return one row per interval with the customer's values, once they are known to be in time.

    Args:
        data: Follow-up that carries customer keys.
        frame: One row per customer, keyed by its index or ``customer_id``.
        known_at: ``"start"``, or the column with the day the values became known.
    """
    if data.keys is None:
        raise ContractError(
            "these data carry no customer keys; build them from transactions or spells, or with id="
        )
    values = frame.set_index("customer_id") if "customer_id" in frame.columns else frame
    twice = values.index.duplicated()
    if twice.any():
        raise ContractError(
            f"covariates repeat a customer_id in {intervals.where(twice)}; one row per customer"
        )
    if known_at != "start" and known_at not in values.columns:
        raise ContractError(
            f"covariates have no column {known_at!r}; known_at is 'start' or one of {', '.join(map(str, values))}"
        )
    place = values.index.get_indexer(data.keys)
    absent = place < 0
    if absent.any():
        raise ContractError(
            f"covariates lack {int(absent.sum()):,} of the {data.n_customers:,} customers followed; give them a "
            "row, with a value that says 'not known'"
        )
    if known_at != "start":
        _check_in_time(data, values, known_at, place)
        values = values.drop(columns=known_at)
    return values.iloc[place[data.customer]].reset_index(drop=True)


def _check_in_time(data: Followup, values: pd.DataFrame, known_at: str, place: NDArray[np.intp]) -> None:
    if pd.api.types.is_numeric_dtype(values[known_at]):
        known = intervals.numbers(values, known_at, "covariates")[place]
    else:
        if data.origin is None:
            raise ContractError(
                f"covariates.{known_at} holds dates, and these data have no calendar: give clock days"
            )
        days = _days(values, known_at, "covariates", gaps=False)
        known = days[place] - data.origin.astype("datetime64[D]").astype(np.int64)
    names = ", ".join(str(c) for c in values.columns if c != known_at)
    intervals.check_known(
        known[data.customer],
        data.start,
        column=names,
        table=f"covariates, whose column {known_at} says when",
        rows=place[data.customer],
    )


def split_at_spells(data: F, spells: Any, *, covariate: str, outside: object) -> F:
    """Split intervals at spell boundaries; see :meth:`ChurnData.time_varying`."""
    if data.keys is None or data.origin is None:
        raise ContractError(
            "splitting needs customers and calendar days: build the data from transactions or spells"
        )
    if covariate in data.covariates.columns:
        raise ContractError(f"the data already have a column {covariate}; choose another name")
    read = _read_spells(spells, "memberships")
    place = data.keys.get_indexer(pd.Index(read["customer_id"]))
    if (place < 0).all():
        alike = int((data.keys.astype(str).get_indexer(pd.Index(read["customer_id"].astype(str))) >= 0).sum())
        if alike:
            raise ContractError(
                f"memberships: customer_id is of another type than that of the customers followed; {alike:,} of "
                f"{len(read):,} rows match only as text: give both the same type"
            )
    read = read[place >= 0]
    customer = place[place >= 0]
    origin = data.origin.astype("datetime64[D]").astype(np.int64)[customer]
    since = read["since"].to_numpy() - origin
    until = np.where(read["until"].to_numpy() == _OPEN, _OPEN, read["until"].to_numpy() - origin)

    cut = _split(data, np.concatenate([customer, customer]), np.concatenate([since, until]))
    code = _in_force(cut, customer, since, until)
    if covariate in read.columns:
        none: Any = message("none") if outside is None else outside
        inside = read[covariate].reset_index(drop=True).reindex(code)
        column = inside.astype(object).where(code >= 0, none).set_axis(cut.covariates.index)
    else:
        column = pd.Series(code >= 0, index=cut.covariates.index)
    return replace(
        cut, covariates=cut.covariates.assign(**{covariate: column}), chosen=(*data.chosen, covariate)
    )


def _split(data: F, customer: NDArray[np.intp], day: Ints) -> F:
    """Cut every interval at the days given for its customer."""
    cuts = (
        np.unique(np.column_stack([customer, day]), axis=0) if len(day) else np.zeros((0, 2), dtype=np.int64)
    )
    order = np.argsort(data.customer, kind="stable")
    # candidate cuts of a row: those of its customer, found as one block
    low = np.searchsorted(cuts[:, 0], data.customer[order], side="left")
    high = np.searchsorted(cuts[:, 0], data.customer[order], side="right")
    row = np.repeat(order, high - low)
    count = high - low
    at = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
    when = cuts[at, 1]
    inside = (when > data.start[row]) & (when < data.stop[row])
    row, when = row[inside], when[inside]
    everything = np.concatenate([np.arange(len(data.stop)), row])
    begin = np.concatenate([data.start, when])
    order = np.lexsort((begin, everything))
    parent, begin = everything[order], begin[order]
    final = np.concatenate([parent[1:] != parent[:-1], [True]])
    end = np.where(final, data.stop[parent], np.concatenate([begin[1:], [0]]))
    split = data.take(parent)
    return replace(
        split,
        start=begin,
        stop=end,
        event=data.event[parent] & final,
        causes=None if data.causes is None else np.where(final, data.causes[parent], 0),
        origin=data.origin,
        keys=data.keys,
    )


def _in_force(data: Followup, customer: NDArray[np.intp], since: Ints, until: Ints) -> Ints:
    """Return, per interval, the spell that covers its start, or -1."""
    order = np.lexsort((since, customer))
    if not len(order):
        return np.full(len(data.start), -1, dtype=np.int64)
    who, begin = customer[order], since[order]
    low = min(int(begin.min()), 0)
    width = int(max(float(begin.max()), float(data.start.max()))) - low + 2
    key = who.astype(np.int64) * width + (begin - low)
    asked = data.customer.astype(np.int64) * width + (np.floor(data.start).astype(np.int64) - low)
    found = np.searchsorted(key, asked, side="right") - 1
    spell = order[np.maximum(found, 0)]
    covers = (found >= 0) & (customer[spell] == data.customer) & (until[spell] > data.start)
    return np.where(covers, spell, -1)


def follow_members(
    spells: Any,
    *,
    as_of: dt.date | str,
    observed_from: dt.date | str | None = None,
    cause: str | None = None,
) -> dict[str, Any]:
    """Return the parts of follow-up from memberships; see :meth:`ChurnData.from_subscriptions`."""
    end = int(calendar_day(as_of, "as_of").astype(np.int64))
    read = _read_spells(spells, "memberships")
    if cause is not None:
        intervals.need(read, [cause], "memberships")
    removed: list[Removed] = []

    def keep(rows: NDArray[np.bool_], rule: str) -> None:
        nonlocal read
        left = read["customer_id"].nunique() - read["customer_id"][rows].nunique()
        removed.append(Removed(rule, int((~rows).sum()), left))
        read = read[rows].reset_index(drop=True)

    keep(read["since"].to_numpy() < end, message("membership begins on or after the last day observed"))
    if not len(read):
        raise ContractError("memberships: no spell begins before as_of, so nobody can be followed")
    new = (read["customer_id"] != read["customer_id"].shift()).to_numpy()
    gap = ~new & (read["since"].to_numpy() > read["until"].shift(fill_value=0).to_numpy())
    broken = pd.Series(gap).groupby(np.cumsum(new)).cumsum().to_numpy() > 0
    keep(~broken, message("later membership of somebody who had left"))

    first = (
        None if observed_from is None else int(calendar_day(observed_from, "observed_from").astype(np.int64))
    )
    if first is not None and first >= end:
        raise ArgumentError("observed_from must be before as_of")
    grouped = read.groupby("customer_id", sort=False)
    begin, finish = grouped["since"].transform("min"), grouped["until"].transform("max")
    if first is not None:
        keep((finish > first).to_numpy(), message("membership ended before records began"))
        if not len(read):
            raise ContractError("memberships: every spell ended before observed_from")
        grouped = read.groupby("customer_id", sort=False)
        begin, finish = grouped["since"].transform("min"), grouped["until"].transform("max")
    origin, last = begin.to_numpy(), np.minimum(finish.to_numpy(), end)
    start = read["since"].to_numpy() - origin
    if first is not None:
        start = np.maximum(start, first - origin)
    stop = np.minimum(read["until"].to_numpy(), last) - origin
    live = stop > start
    codes, found = pd.factorize(read["customer_id"][live])
    final = (np.minimum(read["until"].to_numpy(), end) == last)[live]
    covariates = read.loc[live, [c for c in ("tier", "programme_id") if c in read.columns]]
    day0 = np.zeros(len(found), dtype=np.int64)
    day0[codes] = origin[live]
    event = intervals.Events(final & (finish.to_numpy()[live] <= end))
    if cause is not None:
        event = intervals.ended_for(
            read[cause][live], event.happened, "memberships", read["position"].to_numpy()[live]
        )
    return {
        "start": start[live],
        "stop": stop[live],
        "event": event.happened,
        "causes": event.causes,
        "cause_labels": event.labels,
        "customer": codes.astype(np.int64),
        "covariates": covariates.reset_index(drop=True),
        "keys": pd.Index(found),
        "origin": day0.astype("datetime64[D]"),
        "clock": message("joining"),
        "removed": tuple(removed),
        "checks": (_late_entry(start[live], codes, first),),
        "chosen": tuple(c for c in ("tier",) if c in covariates),
    }


def _late_entry(start: Ints, codes: NDArray[np.intp], first: int | None) -> Check:
    """Say whether members came under watch late, and whether that was allowed for."""
    entry = pd.Series(start).groupby(codes).min()
    late = float((entry > 0).mean())
    if first is None:
        return Check(
            message("Delayed entry"),
            "not measurable",
            message(
                "No start of records was given (observed_from): if memberships that ended before some day "
                "are missing from the table, the curve is too high."
            ),
        )
    return Check(
        message("Delayed entry"),
        "warning" if late > 0 else "passed",
        message(
            "{share} of members joined before records began and are counted from the day they came into view.",
            share=percent(late),
        ),
    )
