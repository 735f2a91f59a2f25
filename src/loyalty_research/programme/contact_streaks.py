"""Streaks of unopened messages: who comes back after how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, messages
from loyalty_research.programme._contact_rows import (
    SMALLEST,
    as_moment,
    check_consent,
    clustered_proportion,
    few,
    gate_consent,
    read_contacts,
    reports_no_opening,
)
from loyalty_research.programme.contact_rules import sent_messages
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._contact_rows import Consent

    Ints = NDArray[np.int64]

__all__ = ["UnopenedStreaks", "unopened_streaks"]


@dataclass(frozen=True, repr=False)
class UnopenedStreaks(Result):
    """What became of a message by how many before it were left unopened.

    Attributes:
        by_streak: ``streak, messages, customers, opened, ordered`` with estimates in the last two; the
            longest streak stands for itself and longer ones. None where fewer than five customers stand
            behind a row.
        unopened: Streak from which on the rule would stop writing.
        reactivated: Share of messages after at least so many unopened that were opened, or None.
        ordered: Share of the same messages followed by an order, or None.
        within_days: Days in which an opening and an order count.
        longest: Streak that stands for itself and more.
    """

    title: ClassVar[str] = "Streaks of unopened messages"

    by_streak: pd.DataFrame
    unopened: int
    reactivated: Estimate | None
    ordered: Estimate | None
    within_days: int
    longest: int

    def _rows(self) -> Iterable[Row]:
        estimand = message("of messages sent after such a streak")
        for row in self.by_streak.to_dict("records"):
            group = (
                message("{k} or more unopened before", k=str(self.longest))
                if row["streak"] == self.longest
                else message("{k} unopened before", k=str(row["streak"]))
            )
            for name, found in (
                (message("opened in {days} days", days=str(self.within_days)), row["opened"]),
                (message("followed by an order in {days} days", days=str(self.within_days)), row["ordered"]),
            ):
                if found is not None and not few(found):
                    yield Row(name, found, group=group, estimand=estimand)

    def _verdict(self) -> str:
        if self.reactivated is None or self.ordered is None:
            return message(
                "Nobody was written to after {k} unopened messages in a row.", k=str(self.unopened)
            )
        if few(self.reactivated) or few(self.ordered):
            return message(
                "After {k} or more unopened messages in a row fewer than five were opened, or led on to an order.",
                k=str(self.unopened),
            )
        return message(
            "After {k} or more unopened messages in a row, {opened} of messages were opened and {ordered} were followed "
            "by an order in {days} days ({interval}). A rule that stops there forgoes the first; how many of the orders "
            "the messages brought needs a holdout.",
            k=str(self.unopened),
            opened=self.reactivated.format(),
            ordered=self.ordered.format(),
            days=str(self.within_days),
            interval=self.ordered.interval(),
        )


def unopened_streaks(
    contacts: Any,
    transactions: pd.DataFrame,
    *,
    within_days: int,
    as_of: dt.date | str,
    unopened: int = 4,
    longest: int = 6,
    channel: str | None = None,
    without_consent: Consent = "error",
    level: float = 0.95,
) -> UnopenedStreaks:
    """Return how many messages are opened, and followed by an order, after streaks left unopened.

    A streak is counted as the sender knew it at the moment of sending: a message opened only
    later counts as unopened until then, so nothing that came afterwards decides who is silent. A
    click counts as an opening. A customer's first message has no streak and is left out.

    Args:
        contacts: Contact events; anything narwhals reads.
        transactions: ``customer_id`` and ``transacted_at`` (naive UTC) of orders.
        within_days: Days after sending in which an opening and an order count.
        as_of: Last day observed; messages watched for less are left out and counted.
        unopened: Streak from which on the rule would stop writing.
        longest: Streaks from this on are taken together.
        channel: Only messages of this channel; channels that report no opening, such as texts, never count.
        without_consent: ``"error"`` refuses messages sent without consent, ``"leave-out"`` drops them with
            all they led to, ``"count"`` keeps them; the last two count them in a check.
        level: Confidence level.

    Returns:
        Shares with customers as clusters.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When a column is missing, or openings are not recorded.
        DesignError: When no message after a first one was watched long enough.

    Examples:
        >>> weeks = pd.to_datetime(["2024-01-01", "2024-01-08", "2024-01-15"])
        >>> sent = pd.DataFrame([(c, w) for c in "abcdef" for w in weeks], columns=["customer_id", "sent_at"])
        >>> opens = pd.DataFrame({"customer_id": list("abc"), "sent_at": pd.Timestamp("2024-01-16")})
        >>> orders = pd.DataFrame({"customer_id": ["a"], "transacted_at": [pd.Timestamp("2024-01-17")]})
        >>> found = unopened_streaks(pd.concat([sent.assign(event="sent"), opens.assign(event="open")]), orders,
        ...     within_days=5, as_of="2024-06-30", unopened=2)
        >>> found.reactivated.value, round(found.ordered.value, 3)
        (0.5, 0.167)

    References:
        Korn and Graubard (1998), Survey Methodology 24, 193-201, for shares with clusters.
    """
    check_level(level)
    for value, name in ((within_days, "within_days"), (unopened, "unopened"), (longest, "longest")):
        positive_days(value, name)
    if longest < unopened:
        raise ArgumentError(f"longest must be at least unopened; got {longest} and {unopened}")
    check_consent(without_consent)
    missing = [c for c in ("customer_id", "transacted_at") if c not in transactions.columns]
    if missing:
        raise ContractError(f"transactions lacks the column {', '.join(missing)}")
    rows, consent = gate_consent(read_contacts(contacts), without_consent)
    if not rows["event"].isin(["open", "click"]).any():
        raise ContractError(
            "contacts records no event 'open' or 'click', so no message can be called unopened"
        )
    blind = reports_no_opening(rows)
    unseen = int((blind & (rows["event"] == "sent").to_numpy()).sum())
    sent = sent_messages(rows[~blind], channel)
    sent = sent.sort_values(["customer_id", "sent_at"], kind="stable").reset_index(drop=True)
    sent["place"] = sent.groupby("customer_id").cumcount()
    opened = _openings(sent, rows)
    streak = _streaks(sent, opened)
    end = as_moment(as_of, "as_of") + pd.Timedelta(days=1)
    window = pd.Timedelta(days=within_days)
    first = opened.groupby("message")["opened_at"].min().reindex(sent.index)
    sent["opened"] = (first - sent["sent_at"] < window).to_numpy()
    sent["ordered"] = _ordered(sent, transactions, window)
    mature = (sent["sent_at"] + window <= end).to_numpy()
    kept = sent.assign(streak=streak)[mature & (sent["place"] > 0).to_numpy()]
    if kept.empty:
        raise DesignError("no customer had a second message that was watched long enough: watch for longer")
    late = kept[kept["streak"] >= unopened]
    return UnopenedStreaks(
        by_streak=_by_streak(kept, longest, level),
        unopened=unopened,
        reactivated=_share(late, "opened", level),
        ordered=_share(late, "ordered", level),
        within_days=within_days,
        longest=longest,
        checks=(_opens_check(unseen), _late_check(int((~mature).sum()), within_days), consent),
    )


def _openings(sent: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return each opening with the row of the message it belongs to: the campaign's latest before it."""
    keys = ["customer_id", "campaign_id"]
    events = rows.loc[rows["event"].isin(["open", "click"]), [*keys, "sent_at"]]
    events = events.rename(columns={"sent_at": "opened_at"}).sort_values("opened_at", kind="stable")
    left = (
        sent[[*keys, "sent_at", "place"]]
        .assign(message=np.arange(len(sent)))
        .sort_values("sent_at", kind="stable")
    )
    for frame, column in ((events, "opened_at"), (left, "sent_at")):
        frame[column] = frame[column].astype("datetime64[us]")
    found = pd.merge_asof(
        events, left, left_on="opened_at", right_on="sent_at", by=keys, direction="backward"
    )
    found = found[found["message"].notna()]
    return found.astype({"message": np.int64, "place": np.int64})


def _streaks(sent: pd.DataFrame, opened: pd.DataFrame) -> Ints:
    """Return per message how many before it, in a row, were unopened when it was sent."""
    known = opened.sort_values("opened_at", kind="stable")[["customer_id", "opened_at", "place"]]
    known["latest"] = known.groupby("customer_id")["place"].cummax()
    asked = sent[["customer_id", "sent_at", "place"]].assign(row=np.arange(len(sent)))
    asked["sent_at"] = asked["sent_at"].astype("datetime64[us]")
    found = pd.merge_asof(
        asked.sort_values("sent_at", kind="stable"),
        known.drop(columns="place"),
        left_on="sent_at",
        right_on="opened_at",
        by="customer_id",
        allow_exact_matches=False,
    ).sort_values("row")
    latest = found["latest"].fillna(-1).to_numpy(dtype=np.int64)
    return np.asarray(found["place"].to_numpy(dtype=np.int64) - 1 - latest, dtype=np.int64)


def _ordered(sent: pd.DataFrame, transactions: pd.DataFrame, window: pd.Timedelta) -> NDArray[np.bool_]:
    bought = (
        transactions[["customer_id", "transacted_at"]].dropna().sort_values("transacted_at", kind="stable")
    )
    bought["transacted_at"] = bought["transacted_at"].astype("datetime64[us]")
    left = sent[["customer_id", "sent_at"]].assign(row=np.arange(len(sent)))
    left["sent_at"] = left["sent_at"].astype("datetime64[us]")
    found = pd.merge_asof(
        left.sort_values("sent_at", kind="stable"),
        bought,
        left_on="sent_at",
        right_on="transacted_at",
        by="customer_id",
        direction="forward",
    ).sort_values("row")
    return np.asarray((found["transacted_at"] - found["sent_at"] < window).to_numpy(), dtype=bool)


def _share(part: pd.DataFrame, column: str, level: float) -> Estimate | None:
    if part.empty:
        return None
    return clustered_proportion(
        part[column].to_numpy(dtype=float), part["customer_id"].to_numpy(), level=level
    )


def _by_streak(kept: pd.DataFrame, longest: int, level: float) -> pd.DataFrame:
    lines = []
    capped = kept["streak"].clip(upper=longest)
    for streak in range(longest + 1):
        part = kept[(capped == streak).to_numpy()]
        people = part["customer_id"].nunique()
        shown = people >= SMALLEST
        lines.append(
            {
                "streak": streak,
                "messages": len(part) if shown or not people else None,
                "customers": people if shown or not people else None,
                "opened": _share(part, "opened", level) if shown else None,
                "ordered": _share(part, "ordered", level) if shown else None,
            }
        )
    return pd.DataFrame(lines)


def _opens_check(unseen: int) -> Check:
    detail = message("Readers who block images look silent, and programs that fetch them look like readers.")
    if unseen:
        detail += " " + messages(
            "{count} message went by a channel that reports no opening and is left out.",
            "{count} messages went by channels that report no opening and are left out.",
            unseen,
        )
    return Check(message("What an open is"), "warning", detail)


def _late_check(count: int, days: int) -> Check:
    name = message("Messages watched long enough")
    if not count:
        return Check(name, "passed", message("Every message was watched for {days} days.", days=str(days)))
    return Check(
        name,
        "passed",
        messages(
            "{count} message was watched for less than {days} days and is left out.",
            "{count} messages were watched for less than {days} days and are left out.",
            count,
            days=str(days),
        ),
    )
