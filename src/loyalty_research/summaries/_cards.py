"""Stamp cards: one row per card, and one row per stamp, from card events."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np

from loyalty_research.errors import ArgumentError, ContractError, at_rows
from loyalty_research.summaries._frames import (
    _bad_rows,
    _tame_objects,
    as_lazy,
    as_ordinal,
    collect,
    date_column,
    day_number,
    flag,
    need,
    to_dates,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cards", "stamps"]

NAME = "card_events"
EVENTS = ("issued", "stamp", "completed", "redeemed", "expired", "lost")
LATE = "rows after the last day observed"


def cards(
    card_events: Any,
    *,
    as_of: dt.date | str | None = None,
    arm: str = "arm",
    cluster: str | None = None,
) -> pd.DataFrame:
    """Bring card events to one row per card, where the data are.

    Args:
        card_events: ``card_id``, ``event``, ``occurred_date`` (preferred) or ``occurred_at`` (naive),
            ``required_stamps``, ``endowed_stamps``; optionally ``customer_id``, ``cycle``, the arm,
            the cluster and ``paid_value`` of stamps; pandas, Polars, a DuckDB relation or Spark.
        as_of: Last day observed, that day included; by default the last day in the table.
        arm: Column of the arm; left out of the result where the table has none.
        cluster: Column of the unit of assignment, or None.

    Returns:
        One row per card issued by ``as_of``, indexed by ``card_id`` and sorted:

        - ``customer_id`` and ``arm``, the cluster and ``paid_value`` (sum of its stamps') where the
          table has them; ``cycle``, from 1, in the order of issue where the table does not tell it;
        - ``required_stamps``, ``endowed_stamps``, ``stamps`` (paid ones so far), int64;
        - ``issued_date``, ``completed_date``, ``redeemed_date``, ``expired_date``, ``lost_date``:
          timestamps at midnight, NaT for what did not happen. A card is completed on the day of
          its last stamp where that is known;
        - ``days_to_first_stamp``, ``days_to_completion`` from issue, ``days_to_redemption`` from
          completion, ``mean_gap`` between stamps: days, NaN where they do not exist;
        - ``status``: ``"completed"``, ``"lost"``, ``"expired"`` or ``"open"``.

        ``attrs`` holds ``as_of``, ``rows`` and ``dropped`` (rows after ``as_of``).

    Raises:
        ContractError: When a column is missing or of a wrong type, the table is empty, a card or
            date is null (row positions are given), an event is unknown, or cards break the contract: in two
            arms, nothing left to earn, more stamps than they hold, stamps before issue or after
            expiry or loss, no issue, a negative paid value; cards are counted.
        ArgumentError: When ``as_of`` is no date, or before the first day.

    Examples:
        >>> import pandas as pd
        >>> events = pd.DataFrame({
        ...     "card_id": ["a", "a", "a", "b"], "event": ["issued", "stamp", "stamp", "issued"],
        ...     "occurred_date": pd.to_datetime(["2024-01-01", "2024-01-05", "2024-01-11", "2024-01-02"]),
        ...     "required_stamps": [2, 2, 2, 3], "endowed_stamps": [0, 0, 0, 1]})
        >>> cards(events)[["stamps", "days_to_completion", "mean_gap", "status"]]
                 stamps  days_to_completion  mean_gap     status
        card_id
        a             2                10.0       6.0  completed
        b             0                 NaN       NaN       open
    """
    frame, present, seen = _read(card_events, as_of, arm=arm, cluster=cluster)
    found = collect(_per_card(frame, present)).set_index("card_id").sort_index()
    _refuse_cards(found, present)
    out = _finish(found, present)
    out.attrs = {
        "as_of": dt.date.fromordinal(seen["until"]).isoformat(),
        "rows": seen["rows"],
        "dropped": {LATE: seen["late"]},
    }
    return out


def stamps(card_events: Any, *, as_of: dt.date | str | None = None) -> pd.DataFrame:
    """Return when each paid stamp was earned, one row per stamp.

    Args:
        card_events: As for :func:`cards`.
        as_of: Last day observed, that day included; by default the last day in the table.

    Returns:
        Rows sorted by card and number: ``card_id``, ``stamp`` (from 1, given stamps not counted),
        ``stamped_date``, ``days`` since issue, ``gap`` (days since the stamp before, or since issue
        for the first), all int64 but the date. ``attrs`` as for :func:`cards`.

    Raises:
        ContractError: As :func:`cards` where columns, rows or dates are at fault, or a card has a
            stamp and no issue.
        ArgumentError: When ``as_of`` is no date, or before the first day.

    Examples:
        >>> import pandas as pd
        >>> events = pd.DataFrame({
        ...     "card_id": ["a", "a", "a"], "event": ["issued", "stamp", "stamp"],
        ...     "occurred_date": pd.to_datetime(["2024-01-01", "2024-01-05", "2024-01-11"]),
        ...     "required_stamps": [2, 2, 2], "endowed_stamps": [0, 0, 0]})
        >>> stamps(events)
          card_id  stamp stamped_date  days  gap
        0       a      1   2024-01-05     4    4
        1       a      2   2024-01-11    10    6
    """
    import pandas as pd

    frame, _, seen = _read(card_events, as_of)
    issue = frame.filter(nw.col("event") == "issued").group_by("card_id").agg(issued=nw.col("day").min())
    earned = frame.filter(nw.col("event") == "stamp").select("card_id", "day")
    rows = collect(earned.join(issue, on="card_id", how="left")).sort_values(
        ["card_id", "day"], ignore_index=True
    )
    if rows["issued"].isna().any():
        count = int(rows.loc[rows["issued"].isna(), "card_id"].nunique())
        raise ContractError(f"{NAME}: {count:,} cards have stamps and no issued event")
    card = pd.factorize(rows["card_id"])[0]
    day, issued = (rows[c].to_numpy(dtype=np.int64) for c in ("day", "issued"))
    first = np.diff(card, prepend=-1) != 0
    start = np.flatnonzero(first)
    number = np.arange(len(card)) - np.repeat(start, np.diff(np.append(start, len(card)))) + 1
    out = pd.DataFrame(
        {
            "card_id": rows["card_id"],
            "stamp": number,
            "stamped_date": to_dates(day),
            "days": day - issued,
            "gap": np.where(first, day - issued, np.diff(day, prepend=0)),
        }
    )
    out.attrs = {
        "as_of": dt.date.fromordinal(seen["until"]).isoformat(),
        "rows": seen["rows"],
        "dropped": {LATE: seen["late"]},
    }
    return out


def _read(
    card_events: Any, as_of: dt.date | str | None, *, arm: str | None = None, cluster: str | None = None
) -> tuple[nw.LazyFrame[Any], dict[str, str], dict[str, int]]:
    """Check rows; return them, the optional columns by what they are, and counts."""
    table = _tame_objects(card_events, NAME, ("occurred_date", "occurred_at"), ("paid_value",))
    frame = as_lazy(table, NAME)
    names = frame.collect_schema().names()
    need(
        names,
        [
            "card_id",
            "event",
            "required_stamps",
            "endowed_stamps",
            *([cluster] if cluster is not None else []),
        ],
        NAME,
    )
    when = date_column(frame, NAME, "occurred_date", "occurred_at")
    present: dict[str, str] = {c: c for c in ("customer_id", "cycle", "paid_value") if c in names}
    if arm is not None and arm in names:
        present["arm"] = arm
    if cluster is not None:
        present["cluster"] = cluster
    rows = frame.select(
        card_id=nw.col("card_id"),
        event=nw.col("event"),
        day=day_number(nw.col(when)),
        required=nw.col("required_stamps").cast(nw.Int64),
        endowed=nw.col("endowed_stamps").cast(nw.Int64),
        _unnamed=flag(nw.col("card_id").is_null()),
        _undated=flag(nw.col(when).is_null()),
        _unknown=flag(~nw.col("event").is_in(list(EVENTS)) | nw.col("event").is_null()),
        **{f"_{key}": nw.col(name) for key, name in present.items()},
    )
    until = None if as_of is None else as_ordinal(as_of, "as_of")
    late = nw.lit(0) if until is None else flag(nw.col("day") > until)
    found = collect(
        rows.with_columns(_late=late).select(
            rows=nw.len(),
            late=nw.col("_late").sum(),
            first=nw.col("day").min(),
            last=nw.col("day").max(),
            **{k: nw.col(k).sum() for k in ("_unnamed", "_undated", "_unknown")},
        )
    ).iloc[0]
    seen = {str(k): 0 if v is None or v != v else int(v) for k, v in found.items()}  # noqa: PLR0124
    _refuse_rows(rows, seen, when)
    seen["until"] = seen["last"] if until is None else until
    if seen["until"] < seen["first"]:
        raise ArgumentError(
            f"as_of {dt.date.fromordinal(seen['until'])} is before the first day of {NAME}, "
            f"{dt.date.fromordinal(seen['first'])}"
        )
    return rows.filter(nw.col("day") <= seen["until"]), present, seen


def _refuse_rows(rows: nw.LazyFrame[Any], seen: dict[str, int], when: str) -> None:
    if seen["rows"] == 0:
        raise ContractError(f"{NAME} is empty: there is nothing to summarise")
    for key, said in (
        ("_unnamed", "card_id is null"),
        ("_undated", f"{when} is null"),
        ("_unknown", f"event is none of {', '.join(EVENTS)}"),
    ):
        if seen[key]:
            raise ContractError(f"{NAME}.{said} at {at_rows(_bad_rows(rows, key))}")


def _per_card(rows: nw.LazyFrame[Any], present: dict[str, str]) -> nw.LazyFrame[Any]:
    """Aggregate the events of each card in one pass."""

    def day_of(event: str) -> nw.Expr:
        return nw.when(nw.col("event") == event).then(nw.col("day"))

    is_stamp = nw.col("event") == "stamp"
    columns = {f"_{event}": day_of(event) for event in EVENTS}
    aggregated = {event: nw.col(f"_{event}").min() for event in EVENTS}
    aggregated |= {
        "stamps": nw.col("_is_stamp").sum(),
        "last_stamp": nw.col("_stamp").max(),
        "required": nw.col("required").max(),
        "endowed": nw.col("endowed").max(),
        "required_least": nw.col("required").min(),
        "endowed_least": nw.col("endowed").min(),
    }
    for key in present:
        if key == "paid_value":
            value = nw.col("_paid_value").cast(nw.Float64)
            columns["_paid"] = nw.when(is_stamp & ~value.is_null()).then(value).otherwise(nw.lit(0.0))
            aggregated |= {"paid_value": nw.col("_paid").sum(), "paid_least": nw.col("_paid").min()}
        else:
            aggregated |= {key: nw.col(f"_{key}").max(), f"{key}_least": nw.col(f"_{key}").min()}
    return rows.with_columns(_is_stamp=flag(is_stamp), **columns).group_by("card_id").agg(**aggregated)


def _refuse_cards(found: pd.DataFrame, present: dict[str, str]) -> None:
    """Raise when cards break the contract, with all that is wrong and how many cards it concerns."""
    bad = {
        "required_stamps changes within a card": found["required"] != found["required_least"],
        "endowed_stamps changes within a card": found["endowed"] != found["endowed_least"],
        "required_stamps is not above endowed_stamps, so nothing is left to earn": found["required"]
        <= found["endowed"],
        "endowed_stamps is negative": found["endowed_least"] < 0,
        "a card has no issued event": found["issued"].isna(),
        "a stamp lies before the card was issued": found["stamp"] < found["issued"],
        "a stamp lies after the card was expired": found["last_stamp"] > found["expired"],
        "a stamp lies after the card was lost": found["last_stamp"] > found["lost"],
        "a card has more stamps than it holds (required less endowed)": found["stamps"]
        > found["required"] - found["endowed"],
    }
    for key in ("arm", "cluster", "customer_id", "cycle"):
        if key in present:
            said = "a card is in two arms" if key == "arm" else f"{present[key]} changes within a card"
            known = found[key].notna() & found[f"{key}_least"].notna()
            bad[said] = known & (found[key] != found[f"{key}_least"])
    if "paid_value" in present:
        bad["paid_value is negative"] = found["paid_least"] < 0
    faults = [f"{what}: {int(which.sum()):,} cards" for what, which in bad.items() if which.any()]
    if faults:
        raise ContractError(f"{NAME} breaks its contract. " + ". ".join(faults))


def _cycles(found: pd.DataFrame, present: dict[str, str]) -> np.ndarray[Any, Any]:
    """Return which card of its customer each is: as told, else in the order of issue."""
    if "cycle" in present and found["cycle"].notna().all():
        return found["cycle"].to_numpy(dtype=np.int64)
    if "customer_id" not in present:
        return np.ones(len(found), dtype=np.int64)
    order = found.assign(_place=np.arange(len(found))).sort_values(["issued", "_place"], kind="stable")
    cycle = order.groupby("customer_id", dropna=True).cumcount() + 1
    known = order["customer_id"].notna()
    return cycle.where(known, 1).loc[found.index].to_numpy(dtype=np.int64)


def _finish(found: pd.DataFrame, present: dict[str, str]) -> pd.DataFrame:
    import pandas as pd

    day = {event: found[event].to_numpy(dtype=float) for event in EVENTS}
    last, count = found["last_stamp"].to_numpy(dtype=float), found["stamps"].to_numpy(dtype=np.int64)
    required, endowed = (found[c].to_numpy(dtype=np.int64) for c in ("required", "endowed"))
    full = count == required - endowed
    completed = np.where(full, np.fmin(day["completed"], last), day["completed"])
    done = ~np.isnan(completed)
    status = np.select(
        [done, ~np.isnan(day["lost"]), ~np.isnan(day["expired"])], ["completed", "lost", "expired"], "open"
    )
    gaps = np.where(count > 1, (last - day["stamp"]) / np.maximum(count - 1, 1), np.nan)
    columns: dict[str, Any] = {}
    for key in ("customer_id", "arm", "cluster"):
        if key in present:
            columns[present[key]] = found[key].to_numpy()
    columns |= {
        "cycle": _cycles(found, present),
        "required_stamps": required,
        "endowed_stamps": endowed,
        "stamps": count,
        "issued_date": to_dates(day["issued"]).to_numpy(),
        "completed_date": to_dates(completed).to_numpy(),
        **{f"{event}_date": to_dates(day[event]).to_numpy() for event in ("redeemed", "expired", "lost")},
        "days_to_first_stamp": day["stamp"] - day["issued"],
        "days_to_completion": completed - day["issued"],
        "days_to_redemption": day["redeemed"] - completed,
        "mean_gap": gaps,
    }
    if "paid_value" in present:
        columns["paid_value"] = found["paid_value"].to_numpy(dtype=float)
    return pd.DataFrame(columns | {"status": status.astype(object)}, index=found.index)
