"""Rules of contact: quiet hours and frequency caps in local time, and dropping the unopened."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message
from loyalty_research.programme._contact_rows import (
    as_moment,
    check_consent,
    clustered_proportion,
    few,
    gate_consent,
    local_moments,
    not_measurable,
    of_customers,
    of_messages,
    read_contacts,
    reports_no_opening,
    shielded,
)
from loyalty_research.stats.proportions import difference_in_proportions, proportion
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._contact_rows import Consent

__all__ = [
    "ContactAudit",
    "SunsetTest",
    "audit_contacts",
    "beyond_cap",
    "messages_per_month",
    "minutes_of",
    "sent_messages",
    "sunset_policy_test",
    "within_hours",
]

NIGHT = (("21:00", "07:00"),)
WEEKLY = {7: 2}
DAY_MINUTES = 24 * 60
HOUR = 3_600_000_000  # microseconds


def messages_per_month(per_week: float) -> float:
    """Return what a weekly number of messages comes to in a month of 365.25 / 12 days.

    One or two a week are 4.3 to 8.7 a month, so 'one or two a week' and 'four to six a month' are
    two rules, not one.

    Args:
        per_week: Messages a week.

    Raises:
        ArgumentError: When ``per_week`` is negative or not finite.

    Examples:
        >>> round(messages_per_month(2), 2)
        8.7
    """
    if not (math.isfinite(per_week) and per_week >= 0):
        raise ArgumentError(f"per_week must be a number from 0; got {per_week!r}")
    return per_week * 365.25 / 12 / 7


@dataclass(frozen=True, repr=False)
class ContactAudit(Result):
    """How often messages broke the declared rules.

    Attributes:
        timezone: Zone in which hours and days are counted.
        quiet: Share of messages in quiet hours, or None where the hour is not recorded.
        quiet_hours: The quiet hours, ``(from, until)`` each, half-open.
        caps: Days of a window to share of messages beyond the cap.
        limits: Days of a window to most messages allowed in it.
        customers_over: Days of a window to share of customers who got a message beyond the cap.
        hour_limits: Hours of a window to most messages allowed in it.
        hour_caps: Hours of a window to share of messages beyond the cap; empty where only days are known.
        customers_over_hours: The same as a share of customers.
    """

    title: ClassVar[str] = "Rules of contact"

    timezone: str
    quiet: Estimate | None
    quiet_hours: tuple[tuple[str, str], ...]
    caps: dict[int, Estimate]
    limits: dict[int, int]
    customers_over: dict[int, Estimate]
    hour_limits: dict[int, int]
    hour_caps: dict[int, Estimate]
    customers_over_hours: dict[int, Estimate]
    level: float

    def _rows(self) -> Iterable[Row]:
        hours = ", ".join(f"[{a}, {b})" for a, b in self.quiet_hours)
        of, who = message("of messages sent"), message("of customers sent a message")
        beyond, got = message("messages beyond the cap"), message("customers who got one beyond the cap")
        lines = [
            (
                message("messages sent in quiet hours"),
                self.quiet,
                hours,
                message("of messages sent, local time"),
            )
        ] * bool(self.quiet_hours)
        for days, most in self.limits.items():
            rule = message("at most {most} in {days} days", most=str(most), days=str(days))
            lines += [(beyond, self.caps[days], rule, of), (got, self.customers_over[days], rule, who)]
        for hours_, most in self.hour_limits.items():
            rule = message("at most {most} in {hours} hours", most=str(most), hours=str(hours_))
            lines += [(beyond, self.hour_caps.get(hours_), rule, of)]
            lines += [(got, self.customers_over_hours.get(hours_), rule, who)]
        unknown = message("The hour of sending is not recorded.")
        for name, found, group, estimand in lines:
            shown, reason = (not_measurable(level=self.level), unknown) if found is None else shielded(found)
            yield Row(name, shown, group=group, estimand=estimand, extra={"reason": reason})

    def _verdict(self) -> str:
        parts = []
        if self.quiet is not None:
            parts.append(
                message(
                    "In quiet hours ({zone} time) {share} were sent.",
                    share=of_messages(self.quiet),
                    zone=self.timezone,
                )
            )
        parts.extend(
            message(
                "The cap of {most} in {days} days was exceeded for {share}.",
                most=str(most),
                days=str(days),
                share=of_customers(self.customers_over[days]),
            )
            for days, most in self.limits.items()
        )
        parts.extend(
            message(
                "The cap of {most} in {hours} hours was exceeded for {share}.",
                most=str(self.hour_limits[hours]),
                hours=str(hours),
                share=of_customers(found),
            )
            for hours, found in self.customers_over_hours.items()
        )
        return " ".join(parts) or message("No rule could be audited.")


def audit_contacts(
    contacts: Any,
    *,
    timezone: str,
    quiet_hours: Sequence[tuple[str, str]] = NIGHT,
    caps: Mapping[int, int] = WEEKLY,
    hour_caps: Mapping[int, int] | None = None,
    channel: str | None = None,
    without_consent: Consent = "count",
    level: float = 0.95,
) -> ContactAudit:
    """Audit sending times and frequencies in the time of the place where messages are read.

    A cap of 2 in 7 days is broken by a message that is the third within its own day and the six
    days before it, so no calendar week hides a breach. Days are local calendar days, which summer time
    makes 23 or 25 hours long; a cap in hours counts hours that passed.

    Args:
        contacts: Contact events with ``sent_at`` in naive UTC; anything narwhals reads.
        timezone: IANA zone, such as the dataset's ``timezone``.
        quiet_hours: ``(from, until)`` as ``"HH:MM"``, half-open; it may run over midnight.
        caps: Days of a window to the most messages a customer may get in it.
        hour_caps: Hours of a window to the most messages a customer may get in it.
        channel: Only messages of this channel, such as ``"sms"``.
        without_consent: ``"count"`` audits messages sent without consent like the others, ``"leave-out"``
            drops them, ``"error"`` refuses them; the first two count them in a check.
        level: Confidence level.

    Returns:
        Shares of messages with customers as clusters, and shares of customers with Wilson's limits.

    Raises:
        ArgumentError: When the zone, an hour or a cap is not valid.
        ContractError: When a column is missing or no message was sent.

    Examples:
        >>> contacts = pd.DataFrame({"customer_id": list("abcd"), "event": "sent",
        ...     "sent_at": pd.to_datetime(["2024-07-01 18:59", "2024-07-01 19:00"] * 2)})
        >>> audit_contacts(contacts, timezone="Europe/Madrid").quiet.value  # 20:59 and 21:00 there
        0.5
    """
    check_level(level)
    check_consent(without_consent)
    hours = tuple((a, b) for a, b in quiet_hours)
    minutes = [(minutes_of(a), minutes_of(b)) for a, b in hours]
    if any(a == b for a, b in minutes):
        raise ArgumentError("quiet hours must start and end at different times")
    limits = {
        positive_days(days, "days of a cap"): positive_days(most, "a cap") for days, most in caps.items()
    }
    in_hours = {
        positive_days(span, "hours of a cap"): positive_days(most, "a cap")
        for span, most in (hour_caps or {}).items()
    }
    rows, consent = gate_consent(read_contacts(contacts), without_consent)
    sent = sent_messages(rows, channel).sort_values(["customer_id", "sent_at"], kind="stable")
    local = local_moments(sent["sent_at"], timezone)
    minute = (local.dt.hour * 60 + local.dt.minute).to_numpy()
    who = sent["customer_id"].to_numpy()
    timed = bool((local.dt.normalize() != local).any())
    day = local.dt.normalize().to_numpy().astype("datetime64[D]").astype(np.int64)
    over = {days: beyond_cap(who, day, days, most) for days, most in limits.items()}
    moment = sent["sent_at"].to_numpy().astype("datetime64[us]").astype(np.int64)
    soon = {h: beyond_cap(who, moment, h * HOUR, most) for h, most in in_hours.items()} if timed else {}
    return ContactAudit(
        timezone=timezone,
        quiet=clustered_proportion(within_hours(minute, minutes), who, level=level)
        if timed and hours
        else None,
        quiet_hours=hours,
        caps={days: clustered_proportion(flags, who, level=level) for days, flags in over.items()},
        limits=limits,
        customers_over={days: _customers(who, flags, level) for days, flags in over.items()},
        hour_limits=in_hours,
        hour_caps={h: clustered_proportion(flags, who, level=level) for h, flags in soon.items()},
        customers_over_hours={h: _customers(who, flags, level) for h, flags in soon.items()},
        level=level,
        checks=(_hour_check(timed=timed, zone=timezone), consent),
    )


def minutes_of(text: str) -> int:
    """Return the minutes since midnight of an hour such as ``"21:00"``.

    Raises:
        ArgumentError: When it is no hour of a day.
    """
    try:
        hour, minute = (int(part) for part in text.split(":"))
    except (ValueError, AttributeError) as error:
        raise ArgumentError(f"an hour is written as '21:00'; got {text!r}") from error
    if not (0 <= hour < 24 and 0 <= minute < 60):
        raise ArgumentError(f"an hour is written from '00:00' to '23:59'; got {text!r}")
    return hour * 60 + minute


def sent_messages(rows: pd.DataFrame, channel: str | None) -> pd.DataFrame:
    """Return the messages sent, of one channel where it is named.

    Raises:
        ContractError: When none was sent, or channels are not recorded.
    """
    sent = rows[rows["event"] == "sent"]
    if channel is not None:
        if "channel" not in rows.columns:
            raise ContractError("contacts lacks the column channel, by which messages are to be chosen")
        sent = sent[sent["channel"] == channel]
    if sent.empty:
        where = "" if channel is None else " of that channel"
        raise ContractError(f"contacts has no event 'sent'{where}, so there is no message to judge")
    return sent.reset_index(drop=True)


def within_hours(minute: NDArray[Any], spans: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Return which minutes of the day lie in half-open spans that may run over midnight."""
    inside = np.zeros(len(minute), dtype=bool)
    for start, end in spans:
        since = (minute - start) % DAY_MINUTES
        inside |= since < (end - start) % DAY_MINUTES
    return inside


def beyond_cap(who: NDArray[Any], at: NDArray[np.int64], span: int, most: int) -> NDArray[np.bool_]:
    """Flag messages that are more than the most within ``span`` units of time up to their own.

    Rows are sorted by customer and time; a cap is broken where the message ``most`` places before
    is the same customer's and lies in the window.
    """
    flags = np.zeros(len(at), dtype=bool)
    if len(at) > most:
        flags[most:] = (who[most:] == who[:-most]) & (at[most:] - at[:-most] < span)
    return flags


def _customers(who: NDArray[Any], flags: NDArray[np.bool_], level: float) -> Estimate:
    hit = pd.Series(flags).groupby(who).any()
    return proportion(int(hit.sum()), len(hit), level=level)


def _hour_check(*, timed: bool, zone: str) -> Check:
    name = message("Hour of sending")
    if timed:
        return Check(name, "passed", message("Hours are counted in {zone}.", zone=zone))
    return Check(
        name,
        "not measurable",
        message("Every message is stamped midnight in {zone}: only the day is recorded.", zone=zone),
    )


@dataclass(frozen=True, repr=False)
class SunsetTest(Result):
    """Whether those who opened none of their first messages still order.

    Attributes:
        unopened: Messages after which customers are judged.
        within_days: Days in which an order counts.
        silent: Order rate of those who opened none.
        openers: Order rate of the others.
        difference: Silent minus openers, or None where one of them is empty.
    """

    title: ClassVar[str] = "Dropping those who do not open"

    unopened: int
    within_days: int
    silent: Estimate
    openers: Estimate | None
    difference: Estimate | None

    def _rows(self) -> Iterable[Row]:
        name = message("ordered within {days} days", days=str(self.within_days))
        rates = [(self.silent, message("opened none of {k}", k=str(self.unopened)))]
        if self.openers is not None:
            rates.append((self.openers, message("opened at least one")))
        for found, group in rates:
            shown, reason = shielded(found)
            yield Row(name, shown, group=group, estimand=message("rate"), extra={"reason": reason})
        if self.difference is not None and not any(few(found) for found, _ in rates):
            yield Row(
                name,
                self.difference,
                group=message("none minus at least one"),
                estimand=message("association"),
            )

    def _verdict(self) -> str:
        if few(self.silent):
            return message(
                "Fewer than five of the customers who opened none of their first {k} messages ordered within {days} "
                "days; what the messages add to orders needs a holdout.",
                k=str(self.unopened),
                days=str(self.within_days),
            )
        return message(
            "Of customers who opened none of their first {k} messages, {share} ordered within {days} days "
            "({interval}). A rule that drops them drops these buyers too; what the messages add to their orders "
            "needs a holdout.",
            k=str(self.unopened),
            share=self.silent.format(),
            days=str(self.within_days),
            interval=self.silent.interval(),
        )


def sunset_policy_test(
    contacts: Any,
    transactions: pd.DataFrame,
    *,
    within_days: int,
    as_of: dt.date | str,
    unopened: int = 4,
    wait_days: int = 7,
    channel: str | None = None,
    without_consent: Consent = "error",
    level: float = 0.95,
) -> SunsetTest:
    """Test the rule 'drop who has not opened the last messages' on what those customers buy.

    Everybody is judged at one moment, ``wait_days`` after their own message number ``unopened``;
    only orders from then on count, so nobody is silent because of what came later. A click counts
    as an open.

    Args:
        contacts: Contact events; anything narwhals reads.
        transactions: ``customer_id`` and ``transacted_at`` (naive UTC) of orders.
        within_days: Days after the judgement in which an order counts.
        as_of: Last day observed; who was watched for less is left out and counted.
        unopened: Messages after which customers are judged.
        wait_days: Days given to open the last of them.
        channel: Only messages of this channel; channels that report no opening, such as texts, never count.
        without_consent: ``"error"`` refuses messages sent without consent, ``"leave-out"`` drops them with
            all they led to, ``"count"`` keeps them; the last two count them in a check.
        level: Confidence level.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When a column is missing, or opens are not recorded.
        DesignError: When nobody is silent after so many messages.

    Examples:
        >>> sent = pd.DataFrame({"customer_id": list("abcd") * 4, "event": "sent",
        ...     "sent_at": pd.to_datetime(["2024-01-01"] * 4 + ["2024-01-08"] * 4 + ["2024-01-15"] * 4
        ...                               + ["2024-01-22"] * 4)})
        >>> opens = pd.DataFrame({"customer_id": ["d"], "event": "open", "sent_at": pd.Timestamp("2024-01-09")})
        >>> orders = pd.DataFrame({"customer_id": list("ad"), "transacted_at": pd.Timestamp("2024-02-10")})
        >>> sunset_policy_test(pd.concat([sent, opens]), orders, within_days=60, as_of="2024-06-30").silent
        33.3% (95% interval 6.1% to 79.2%; wilson; n = 3)

    References:
        Anderson, Cain and Gelber (1983), Journal of Clinical Oncology 1, landmark analysis.
    """
    check_level(level)
    for value, name, least in (
        (within_days, "within_days", 1),
        (unopened, "unopened", 1),
        (wait_days, "wait_days", 0),
    ):
        positive_days(value, name, least=least)
    check_consent(without_consent)
    rows, consent = gate_consent(read_contacts(contacts), without_consent)
    rows = rows[~reports_no_opening(rows) | (rows["event"] != "sent").to_numpy()]
    if not rows["event"].isin(["open", "click"]).any():
        raise ContractError("contacts records no event 'open' or 'click', so nobody can be called silent")
    judged = _judged(rows, channel, unopened, wait_days)
    end = as_moment(as_of, "as_of") + pd.Timedelta(days=1)
    mature = judged["landmark"] + pd.Timedelta(days=within_days) <= end
    kept = judged[mature & ~judged["left"]]
    silent = kept["silent"].to_numpy(dtype=bool)
    if not silent.any():
        raise DesignError(f"no customer watched long enough had {unopened} messages and opened none of them")
    ordered = _ordered(kept, transactions, within_days)
    hits, n = int(ordered[silent].sum()), int(silent.sum())
    other_hits, others = int(ordered[~silent].sum()), int((~silent).sum())
    return SunsetTest(
        unopened=unopened,
        within_days=within_days,
        silent=proportion(hits, n, level=level),
        openers=proportion(other_hits, others, level=level) if others else None,
        difference=difference_in_proportions(hits, n, other_hits, others, level=level) if others else None,
        checks=(
            Check(
                message("What an open is"),
                "warning",
                message(
                    "Readers who block images look silent, and programs that fetch them look like readers."
                ),
            ),
            Check(
                message("Customers left out"),
                "passed",
                message(
                    "{early} were watched for less than {days} days, {left} had opted out.",
                    early=f"{int((~mature).sum()):,}",
                    days=str(within_days),
                    left=f"{int((mature & judged['left']).sum()):,}",
                ),
            ),
            consent,
        ),
    )


def _judged(rows: pd.DataFrame, channel: str | None, unopened: int, wait_days: int) -> pd.DataFrame:
    """Return per customer with enough messages: landmark, silent, left."""
    sent = sent_messages(rows, channel).sort_values("sent_at", kind="stable")
    number = sent.groupby("customer_id").cumcount() + 1
    first = sent[number == 1].set_index("customer_id")["sent_at"]
    judged = sent[number == unopened].set_index("customer_id")[["sent_at"]]
    if judged.empty:
        raise DesignError(f"no customer was sent {unopened} messages")
    judged["landmark"] = judged["sent_at"] + pd.Timedelta(days=wait_days)
    judged["first"] = first.reindex(judged.index)
    seen = rows if channel is None else rows[rows["channel"] == channel]
    seen = seen.join(judged[["landmark", "first"]], on="customer_id", how="inner")
    early = seen["sent_at"] < seen["landmark"]
    opened = seen["event"].isin(["open", "click"]) & early & (seen["sent_at"] >= seen["first"])
    judged["silent"] = ~judged.index.isin(seen.loc[opened, "customer_id"])
    judged["left"] = judged.index.isin(seen.loc[(seen["event"] == "opt_out") & early, "customer_id"])
    return judged


def _ordered(kept: pd.DataFrame, transactions: pd.DataFrame, within_days: int) -> NDArray[np.bool_]:
    missing = [c for c in ("customer_id", "transacted_at") if c not in transactions.columns]
    if missing:
        raise ContractError(f"transactions lacks the column {', '.join(missing)}")
    found = transactions[["customer_id", "transacted_at"]].join(
        kept[["landmark"]], on="customer_id", how="inner"
    )
    gap = found["transacted_at"] - found["landmark"]
    inside = (gap >= pd.Timedelta(0)) & (gap < pd.Timedelta(days=within_days))
    return np.asarray(kept.index.isin(found.loc[inside, "customer_id"]))
