"""From card events to one row per card: the contract is checked before anything is counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Days = NDArray[np.int64]

__all__ = ["EVENTS", "Cards", "day_number", "order_arms", "read_cards"]

EVENTS = ("issued", "stamp", "completed", "redeemed", "expired", "lost")
NEVER = np.iinfo(np.int64).max // 4
"""Day number of what has not happened; later than any date, and safe to subtract from."""


@dataclass(frozen=True)
class Cards:
    """Cards that kept the contract, one row each, days as whole numbers since 1970-01-01.

    Attributes:
        table: Columns customer (code), arm (str), cluster (code, or -1), cycle, required,
            endowed, issued, completed, redeemed, expired, lost (day numbers; ``NEVER`` for what
            did not happen) and stamps (paid stamps until ``as_of``); the index is the card's code.
        stamp_card: Card of each paid stamp, shape ``(stamps,)``, ascending.
        stamp_day: Day of each paid stamp, ascending within a card.
        stamp_value: What was paid on the visit of each paid stamp; None where it is not recorded for all.
        arms: Arm names, control first, the others sorted.
        as_of: Last day observed.
        has_clusters: Whether a cluster column was named.
        has_stamps: Whether the table records stamps at all.
        expires: Last day each card is known to be good for, shape ``(cards,)``: its own expiry, or
            the date the others expired on, or the longest life seen; ``NEVER`` where none did.
        dropped: Reason to the number of rows left out for it.
    """

    table: pd.DataFrame
    stamp_card: Days
    stamp_day: Days
    arms: tuple[str, ...]
    as_of: int
    has_clusters: bool
    has_stamps: bool
    expires: Days
    dropped: dict[str, int] = field(default_factory=dict)
    stamp_value: NDArray[np.float64] | None = None


def day_number(value: Any, name: str) -> int:
    """Return a date as whole days since 1970-01-01.

    Raises:
        ArgumentError: When ``value`` is no date.

    Examples:
        >>> day_number("1970-02-01", "as_of")
        31
    """
    try:
        stamp = pd.Timestamp(value)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must be a date such as '2024-12-31'; got {value!r}") from error
    if pd.isna(stamp):
        raise ArgumentError(f"{name} must be a date such as '2024-12-31'; got {value!r}")
    return int(stamp.tz_localize(None).normalize().to_datetime64().astype("datetime64[D]").astype(np.int64))


def order_arms(found: Sequence[str], control: object) -> tuple[str, ...]:
    """Return the arms with the control first and the others sorted.

    Raises:
        DesignError: When the control is not among them, or there is no other arm.

    Examples:
        >>> order_arms(["endowed", "plain"], "plain")
        ('plain', 'endowed')
    """
    names = sorted({str(a) for a in found})
    if str(control) not in names:
        raise DesignError(f"control {str(control)!r} is no arm of the data; the arms are {listed(names)}")
    if len(names) < 2:
        raise DesignError(f"the only arm is {names[0]!r}; a comparison needs two")
    return (str(control), *(a for a in names if a != str(control)))


def _event_days(events: pd.DataFrame) -> Days:
    column = "occurred_date" if "occurred_date" in events.columns else "occurred_at"
    values = events[column]
    try:
        days = pd.to_datetime(values, errors="coerce")
    except (TypeError, ValueError) as error:
        raise ContractError(f"card_events.{column} holds values that are no dates") from error
    if days.isna().any():
        where = at_rows(np.flatnonzero(days.isna().to_numpy()).tolist())
        raise ContractError(f"card_events.{column} holds no date in {where}")
    if getattr(days.dtype, "tz", None) is not None:
        raise ContractError(
            f"card_events.{column} carries a time zone; give naive UTC and an occurred_date in the "
            "time zone of the business"
        )
    whole: Days = days.to_numpy().astype("datetime64[D]").astype(np.int64)
    return whole


def _require_columns(events: pd.DataFrame, arm: str, cluster: str | None) -> None:
    wanted = ["card_id", "event", "required_stamps", "endowed_stamps", arm]
    wanted += [cluster] if cluster is not None else []
    missing = [c for c in wanted if c not in events.columns]
    if not {"occurred_at", "occurred_date"} & set(events.columns):
        missing.append("occurred_at")
    if missing:
        raise ContractError(f"card_events lacks the columns {', '.join(missing)}")
    if not len(events):
        raise ContractError("card_events is empty")


class _Problems:
    """Collects what is wrong, so that one message tells all of it."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def rows(self, bad: NDArray[np.bool_] | pd.Series[bool], said: str) -> None:
        positions = np.flatnonzero(np.asarray(bad))
        if len(positions):
            self.found.append(f"{said}: {at_rows(positions.tolist())}")

    def stop(self) -> None:
        if self.found:
            raise ContractError("card_events breaks its contract. " + ". ".join(self.found))


def _check_values(events: pd.DataFrame, arm: str, cluster: str | None) -> None:
    """Check each row by itself."""
    problems = _Problems()
    problems.rows(events["card_id"].isna(), "card_id is missing")
    problems.rows(~events["event"].isin(EVENTS), f"event is none of {', '.join(EVENTS)}")
    problems.rows(events[arm].isna(), f"{arm} is missing")
    if cluster is not None:
        problems.rows(events[cluster].isna(), f"{cluster} is missing")
    for name, least in (("required_stamps", 1), ("endowed_stamps", 0)):
        values = pd.to_numeric(events[name], errors="coerce").to_numpy(dtype=float)
        with np.errstate(invalid="ignore"):
            problems.rows(
                ~((values >= least) & (values == np.floor(values))), f"{name} is no whole number >= {least}"
            )
    if "paid_value" in events.columns:
        raw = events["paid_value"]
        paid = pd.to_numeric(raw, errors="coerce").to_numpy(dtype=float)
        told = raw.notna().to_numpy()
        problems.rows(told & ~np.isfinite(paid), "paid_value is no number")
        problems.rows(told & (paid < 0), "paid_value is negative")
    problems.stop()
    required, endowed = (events[c].to_numpy(dtype=float) for c in ("required_stamps", "endowed_stamps"))
    problems.rows(
        required <= endowed, "required_stamps is not above endowed_stamps, so nothing is left to earn"
    )
    problems.stop()


def _check_cards(events: pd.DataFrame, arm: str, cluster: str | None) -> None:
    """Check that the rows of a card agree with one another and with the order of its life."""
    problems = _Problems()
    card = events["card"]
    same = [(arm, "a card is in two arms"), ("required_stamps", "required_stamps changes within a card")]
    same.append(("endowed_stamps", "endowed_stamps changes within a card"))
    same += [(cluster, f"{cluster} changes within a card")] if cluster is not None else []
    same += [(c, f"{c} changes within a card") for c in ("customer_id", "cycle") if c in events.columns]
    for column, said in same:
        first = events.groupby("card", sort=False)[column].transform("first")
        differs = (events[column] != first) & ~(events[column].isna() & first.isna())
        problems.rows(differs, said)
    kinds = {k: (events["event"] == k).to_numpy() for k in EVENTS}
    for kind in ("issued", "completed", "redeemed", "expired", "lost"):
        again = events[kinds[kind]].groupby("card").cumcount() > 0
        problems.rows(again.reindex(events.index, fill_value=False), f"a card is {kind} twice")
    issued = events["day"].where(kinds["issued"]).groupby(card).transform("min")
    problems.rows(issued.isna() & ~card.duplicated(), "a card has no issued event")
    problems.rows(events["day"] < issued, "an event lies before the card was issued")
    for kind in ("expired", "lost"):
        ended = events["day"].where(kinds[kind]).groupby(card).transform("min")
        problems.rows(
            kinds["stamp"] & (events["day"] > ended).to_numpy(), f"a stamp lies after the card was {kind}"
        )
    holds = (events["required_stamps"] - events["endowed_stamps"]).to_numpy(dtype=np.int64)
    stamps = events[kinds["stamp"]].sort_values(["card", "day", "position"], kind="stable")
    rank = stamps.groupby("card").cumcount().reindex(events.index, fill_value=-1).to_numpy()
    problems.rows(rank >= holds, "a card has more stamps than it holds (required less endowed)")
    if kinds["stamp"].any():
        count = pd.Series(kinds["stamp"], index=events.index).groupby(card).transform("sum").to_numpy()
        short = kinds["completed"] & (count < holds)
        problems.rows(short, "a card is completed without all its stamps")
    done = pd.Series(kinds["completed"] | (rank == holds - 1), index=events.index)
    ever = done.groupby(card).transform("any").to_numpy()
    problems.rows(kinds["redeemed"] & ~ever, "a card is redeemed that was never completed")
    since = events["day"].where(done).groupby(card).transform("min")
    problems.rows(
        kinds["redeemed"] & (events["day"] < since).to_numpy(), "a card is redeemed before completion"
    )
    problems.stop()


def _first_days(events: pd.DataFrame, kind: str, cards: int) -> Days:
    chosen = events[events["event"] == kind]
    days = np.full(cards, NEVER, dtype=np.int64)
    days[chosen["card"].to_numpy()] = chosen["day"].to_numpy()
    return days


def _stamps(events: pd.DataFrame) -> tuple[Days, Days, NDArray[np.float64] | None]:
    """Return card, day and paid value of each paid stamp, by card and day."""
    wanted = ["card", "day", *(["paid_value"] if "paid_value" in events.columns else [])]
    stamps = events.loc[events["event"] == "stamp", wanted].sort_values(["card", "day"], kind="stable")
    card, day = (stamps[c].to_numpy(dtype=np.int64) for c in ("card", "day"))
    value = None
    if "paid_value" in wanted and stamps["paid_value"].notna().all():
        value = pd.to_numeric(stamps["paid_value"]).to_numpy(dtype=float)
    return card, day, value


def _per_card(
    events: pd.DataFrame, arm: str, cluster: str | None, stamp_card: Days, stamp_day: Days
) -> pd.DataFrame:
    first = events.drop_duplicates("card").sort_values("card")
    cards = len(first)
    count = np.bincount(stamp_card, minlength=cards)
    required, endowed = (first[c].to_numpy(dtype=np.int64) for c in ("required_stamps", "endowed_stamps"))
    completed = _first_days(events, "completed", cards)
    full = count == required - endowed
    last = np.full(cards, NEVER, dtype=np.int64)
    last[stamp_card] = stamp_day  # ascending within a card: the last one stays
    completed = np.where(full, np.minimum(completed, last), completed)
    customer = "customer_id" if "customer_id" in first.columns else "card"
    table = pd.DataFrame(
        {
            "customer": pd.factorize(first[customer])[0],
            "arm": first[arm].astype(str).to_numpy(),
            "cluster": -1 if cluster is None else pd.factorize(first[cluster])[0],
            "required": required,
            "endowed": endowed,
            "issued": _first_days(events, "issued", cards),
            "completed": completed,
            "redeemed": _first_days(events, "redeemed", cards),
            "expired": _first_days(events, "expired", cards),
            "lost": _first_days(events, "lost", cards),
            "stamps": count,
        }
    )
    missing = table["customer"] < 0  # a card of nobody known is a customer of its own
    table.loc[missing, "customer"] = table["customer"].max() + 1 + np.arange(missing.sum())
    if "cycle" in first.columns and first["cycle"].notna().all():
        table["cycle"] = first["cycle"].to_numpy(dtype=np.int64)
    else:
        order = table.sort_values(["customer", "issued"], kind="stable")
        table["cycle"] = order.groupby("customer").cumcount() + 1
    return table


def _expiry(table: pd.DataFrame) -> Days:
    """Return the day each card expires or would have expired."""
    expired, issued = table["expired"].to_numpy(), table["issued"].to_numpy()
    seen = expired < NEVER
    if not seen.any():
        return np.full(len(table), NEVER, dtype=np.int64)
    first = seen & (table["cycle"] == 1).to_numpy()
    told = first if first.any() else seen
    lives, dates = (expired - issued)[told], expired[told]
    if np.ptp(dates) <= 1 < np.ptp(lives):
        return np.where(seen, expired, dates.max())
    # where lives differ, no card is judged before the longest of them has passed
    return np.where(seen, expired, issued + lives.max())


def read_cards(
    events: pd.DataFrame, *, as_of: Any, control: object, arm: str = "arm", cluster: str | None = None
) -> Cards:
    """Check card events and bring them to one row per card.

    Args:
        events: The ``card_events`` table: card_id, event, occurred_date (or occurred_at),
            required_stamps, endowed_stamps and the arm; customer_id and cycle where known. Stamps
            given at issue are told by ``endowed_stamps`` and have no stamp event. ``paid_value``,
            where there is such a column, is what was paid on the visit of a stamp.
        as_of: Last day observed; later rows are left out and counted.
        control: Name of the control arm.
        arm: Column of the arm.
        cluster: Column of the unit of assignment, where that is larger than a card.

    Raises:
        ContractError: When columns are missing or rows break the contract; the message counts
            them and names the first positions.
        DesignError: When the control is unknown, an arm is alone or without cards, or a customer is in two arms.
        ArgumentError: When ``as_of`` is no date.
    """
    last = day_number(as_of, "as_of")
    _require_columns(events, arm, cluster)
    rows = events.reset_index(drop=True)
    _check_values(rows, arm, cluster)
    rows = rows.assign(
        day=_event_days(rows), card=pd.factorize(rows["card_id"])[0], position=np.arange(len(rows))
    )
    _check_cards(rows, arm, cluster)
    seen = rows[rows["day"] <= last]
    # a card whose first row is later than as_of was issued later, since nothing precedes issue
    seen = seen.assign(card=pd.factorize(seen["card"])[0])
    if not len(seen):
        raise DesignError(f"no card was issued by as_of ({np.datetime64(last, 'D')})")
    arms = order_arms(rows[arm].astype(str).unique().tolist(), control)
    stamp_card, stamp_day, stamp_value = _stamps(seen)
    table = _per_card(seen, arm, cluster, stamp_card, stamp_day)
    empty = [a for a in arms if not (table["arm"] == a).any()]
    if empty:
        raise DesignError(f"no card of the arm {', '.join(empty)} was issued by as_of")
    crossed = table[table["cycle"] == 1].groupby("customer")["arm"].nunique()
    if (crossed > 1).any():
        raise DesignError(
            f"{int((crossed > 1).sum()):,} customers hold first cards of two arms; leave them out, or leave "
            "customer_id out where each card was drawn by itself"
        )
    return Cards(
        table=table,
        stamp_card=stamp_card,
        stamp_day=stamp_day,
        arms=arms,
        as_of=last,
        has_clusters=cluster is not None,
        has_stamps=bool(len(stamp_day)),
        expires=_expiry(table),
        dropped={"events after the last day observed": len(rows) - len(seen)},
        stamp_value=stamp_value,
    )
