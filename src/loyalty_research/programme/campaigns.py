"""What a campaign's messages led to: every rate with its named denominator, and consent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from loyalty_research.data.privacy import suppress_small_cells
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, messages, percent
from loyalty_research.programme._contact_rows import (
    SMALLEST,
    as_moment,
    check_consent,
    clustered_proportion,
    few,
    gate_consent,
    not_measurable,
    read_contacts,
    reports_no_opening,
    shielded,
    unconsented,
)
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._contact_rows import Consent

__all__ = ["CampaignFunnel", "ConsentGate", "campaign_funnel", "consent_gate"]

By = Literal["campaign_id", "channel"]

# name, numerator, denominator; where deliveries are not recorded, sent messages stand in for them
STEPS = (
    ("delivered", "delivered", "sent"),
    ("opened", "open", "delivered"),
    ("clicked", "click", "delivered"),
    ("clicked of opened", "click", "open"),
    ("redeemed", "redeem", "delivered"),
    ("ordered", "order", "delivered"),
    ("opted out", "opt_out", "delivered"),
)


def _label(event: str) -> str:
    """Return an event as the reader's word for messages of that kind."""
    return {
        "sent": message("messages sent"),
        "delivered": message("messages delivered"),
        "open": message("messages opened"),
        "click": message("messages clicked"),
        "redeem": message("messages redeemed"),
        "order": message("messages followed by an order"),
        "opt_out": message("messages answered by opting out"),
    }[event]


@dataclass(frozen=True, repr=False)
class CampaignFunnel(Result):
    """How far a campaign's messages came.

    A message is one campaign sent to one customer, however often it was repeated.

    Attributes:
        by: Column the messages are grouped by, or None.
        table: One row per group and step: ``group, step, numerator, denominator, count, customers,
            estimate, reason``; ``customers`` are those behind the count. Frames and pages blank what
            rests on fewer than five of them.
        level: Confidence level.
        within_days: Days after sending in which an order counts, or None.
    """

    title: ClassVar[str] = "Campaign funnel"

    by: str | None
    table: pd.DataFrame
    level: float
    within_days: int | None

    def rate(self, step: str, *, group: str = "all") -> Estimate:
        """Return one rate of the funnel.

        Raises:
            ArgumentError: When there is no such step or group.
        """
        rows = self.table[(self.table["step"] == step) & (self.table["group"] == group)]
        if len(rows) != 1:
            raise ArgumentError(
                f"there is no step {step!r} of group {group!r}; steps are "
                f"{', '.join(self.table['step'].unique())}"
            )
        found: Estimate = rows["estimate"].iloc[0]
        return found

    def _rows(self) -> Iterable[Row]:
        for row, hidden in zip(self.table.to_dict("records"), self._hidden(), strict=True):
            found, reason, count = row["estimate"], row["reason"], row["count"]
            if hidden:
                found = replace(found, value=math.nan, low=math.nan, high=math.nan)
                reason = message("Fewer than five customers are counted, or the blank protects another one.")
                count = None
            yield Row(
                str(row["step"]),
                found,
                group=row["group"],
                estimand=message(
                    "{numerator} of {denominator}",
                    numerator=_label(row["numerator"]),
                    denominator=_label(row["denominator"]),
                ),
                extra={"numerator": count, "denominator": found.n, "reason": reason},
            )

    def _hidden(self) -> list[bool]:
        """Return which rows rest on fewer than five customers, or would give such a row away."""
        cells = self.table.assign(at=range(len(self.table)), shown=1.0)
        cells = cells[cells["reason"] == ""]
        small = pd.Series(data=False, index=range(len(self.table)))
        if self.by is None:
            small[cells.loc[cells["customers"].between(1, SMALLEST - 1), "at"]] = True
        elif len(cells):
            # the total of a step over all groups is known from the funnel without groups
            kept = suppress_small_cells(cells, count="customers", values=["shown"], by="step")
            small[kept.loc[kept["shown"].isna(), "at"]] = True
        return [bool(x) for x in small]

    def _verdict(self) -> str:
        shown = self.table[
            (self.table["reason"] == "") & self.table["step"].isin(["clicked", "redeemed", "ordered"])
        ]
        groups = list(self.table["group"].unique())
        if shown.empty:
            return message(
                "The table records no click, redemption or order, so only sending can be described."
            )
        if len(groups) > 1:
            return message(
                "{count} groups are compared step by step in the table; a difference between campaigns is "
                "also one between the people they were sent to.",
                count=str(len(groups)),
            )
        row = shown.iloc[-1]
        if 0 < row["customers"] < SMALLEST:
            return message(
                "Fewer than five customers got as far as {numerator}. What the campaign caused needs a holdout.",
                numerator=_label(row["numerator"]),
            )
        return message(
            "{share} of {denominator} ended as {numerator} ({interval}). What the campaign caused needs a holdout.",
            share=row["estimate"].format(),
            denominator=_label(row["denominator"]),
            numerator=_label(row["numerator"]),
            interval=row["estimate"].interval(),
        )


def campaign_funnel(
    contacts: Any,
    *,
    by: By | None = None,
    orders: pd.DataFrame | None = None,
    within_days: int | None = None,
    as_of: dt.date | str | None = None,
    without_consent: Consent = "error",
    level: float = 0.95,
) -> CampaignFunnel:
    """Return how many messages were delivered, opened, clicked, redeemed and followed by an order.

    Where deliveries are not recorded, the rates are of messages sent, and say so. A step that the
    table does not record is a row without a value, with the reason. Opens are flagged: mail
    programs fetch images unasked and readers block them.

    Args:
        contacts: Contact events, see ``contacts`` in the data dictionary; anything narwhals reads.
        by: Group by campaign or channel; by default all messages together.
        orders: ``customer_id`` and ``transacted_at`` (naive UTC) of orders.
        within_days: Days after the first sending in which an order counts; needed with ``orders``.
        as_of: Last day observed; by default the last order's moment. Messages whose window had not
            ended are left out of the order rate and counted.
        without_consent: ``"error"`` refuses messages sent without consent, ``"leave-out"`` drops
            them with all they led to, ``"count"`` keeps them; both count them in a check.
        level: Confidence level.

    Returns:
        The funnel; where customers have several messages, intervals take customers as clusters.

    Raises:
        ArgumentError: When an option is outside its choices.
        ContractError: When a column is missing, an event is unknown, nothing was sent, or messages
            were sent without consent.

    Examples:
        >>> import pandas as pd
        >>> sent = pd.DataFrame({"customer_id": list("abcdefgh"), "event": "sent"})
        >>> clicks = pd.DataFrame({"customer_id": list("ab"), "event": "click"})
        >>> contacts = pd.concat([sent, clicks]).assign(sent_at=pd.Timestamp("2024-05-01"))
        >>> campaign_funnel(contacts).rate("clicked")
        25.0% (95% interval 7.1% to 59.1%; wilson; n = 8)

    References:
        Wilson (1927), JASA 22, 209-212; Korn and Graubard (1998), Survey Methodology 24.
    """
    check_level(level)
    _check_options(by, orders, within_days, without_consent)
    rows = read_contacts(contacts)
    if by == "channel" and "channel" not in rows.columns:
        raise ContractError("contacts lacks the column channel, by which the funnel is to be grouped")
    rows, consent = gate_consent(rows, without_consent)
    pairs, orphans = _pairs(rows, by)
    checks = [consent, _orphan_check(orphans, len(rows)), _opens_check(int(pairs["unseen"].sum()))]
    recorded = set(rows["event"])
    if orders is not None and within_days is not None:
        immature = _mark_orders(pairs, orders, within_days, as_of)
        recorded.add("order")
        checks.append(_window_check(immature, within_days))
    table = [
        {"group": str(group), **line}
        for group, part in pairs.groupby("group", sort=True)
        for line in _steps(part, recorded, level)
    ]
    return CampaignFunnel(
        by=by, table=pd.DataFrame(table), level=level, within_days=within_days, checks=tuple(checks)
    )


def _check_options(
    by: str | None, orders: pd.DataFrame | None, within_days: int | None, without_consent: str
) -> None:
    if by not in {None, "campaign_id", "channel"}:
        raise ArgumentError(f"by must be None, campaign_id or channel; got {by!r}")
    check_consent(without_consent)
    if (orders is None) != (within_days is None):
        raise ArgumentError("orders and within_days go together: an order counts in a stated number of days")
    if within_days is not None:
        positive_days(within_days, "within_days")


def _pairs(rows: pd.DataFrame, by: str | None) -> tuple[pd.DataFrame, int]:
    """Return one row per message sent with a flag per event, and the rows that belong to none."""
    keys = ["customer_id", "campaign_id"]
    sent = rows[rows["event"] == "sent"].sort_values("sent_at", kind="stable").drop_duplicates(keys)
    if sent.empty:
        raise ContractError("contacts has no event 'sent', so no rate has a denominator")
    pairs = sent.reset_index(drop=True)
    pairs["group"] = (
        "all" if by is None else pairs[by].astype("object").where(pairs[by].notna(), "not recorded")
    )
    index = pd.MultiIndex.from_frame(pairs[keys])
    known = pd.MultiIndex.from_frame(rows[keys])
    for event in ("delivered", "open", "click", "redeem", "opt_out"):
        pairs[event] = index.isin(known[(rows["event"] == event).to_numpy()])
    pairs["sent"] = True
    pairs["unseen"] = reports_no_opening(rows)[sent.index]
    return pairs, int((~known.isin(index)).sum())


def _mark_orders(
    pairs: pd.DataFrame, orders: pd.DataFrame, within_days: int, as_of: dt.date | str | None
) -> int:
    """Flag messages followed by an order in their window; return how many windows were still open."""
    missing = [c for c in ("customer_id", "transacted_at") if c not in orders.columns]
    if missing:
        raise ContractError(f"orders lacks the column {', '.join(missing)}")
    bought = orders[["customer_id", "transacted_at"]].dropna().sort_values("transacted_at")
    if bought.empty:
        raise ContractError("orders has no order of a known customer")
    end = bought["transacted_at"].max() if as_of is None else as_moment(as_of, "as_of") + pd.Timedelta(days=1)
    window = pd.Timedelta(days=within_days)
    left = pairs[["customer_id", "sent_at"]].assign(row=np.arange(len(pairs))).sort_values("sent_at")
    left["sent_at"] = left["sent_at"].astype("datetime64[us]")
    bought = bought.assign(transacted_at=bought["transacted_at"].astype("datetime64[us]"))
    after = pd.merge_asof(
        left, bought, left_on="sent_at", right_on="transacted_at", by="customer_id", direction="forward"
    ).sort_values("row")
    gap = (after["transacted_at"] - after["sent_at"]).to_numpy()
    pairs["order"] = gap < window.to_timedelta64()
    pairs["mature"] = (pairs["sent_at"] + window <= end).to_numpy()
    return int((~pairs["mature"]).sum())


def _steps(part: pd.DataFrame, recorded: set[str], level: float) -> Iterable[dict[str, Any]]:
    """Return the rates of one group."""
    for step, numerator, denominator in STEPS:
        under = "sent" if denominator == "delivered" and "delivered" not in recorded else denominator
        missing = [e for e in (numerator, under) if e not in recorded]
        if missing and numerator == "order":
            continue
        line = {"step": step, "numerator": numerator, "denominator": under}
        base, reason = part.iloc[:0], ""
        if missing:
            reason = message("The table records no event '{event}'.", event=missing[0])
        else:
            base = part[part[under] & part["mature"]] if numerator == "order" else part[part[under]]
            if numerator == "open" and len(base):
                base = base[~base["unseen"]]
                reason = message("This channel reports no opening.") if base.empty else ""
            elif base.empty:
                reason = message("There are no {denominator}.", denominator=_label(under))
        if reason:
            blank = {"count": 0, "customers": 0, "estimate": not_measurable(level=level)}
            yield {**line, **blank, "reason": reason}
            continue
        hits, who = base[numerator].to_numpy(dtype=float), base["customer_id"].to_numpy()
        yield {
            **line,
            "count": int(hits.sum()),
            "customers": len(np.unique(who[hits > 0].astype(str))),
            "estimate": clustered_proportion(hits, who, level=level),
            "reason": "",
        }


def _orphan_check(orphans: int, rows: int) -> Check:
    name = message("Events that belong to a message")
    if not orphans:
        return Check(name, "passed", message("Every event belongs to a message that was sent."))
    return Check(
        name,
        "warning",
        message(
            "{count} of {rows} events belong to no recorded sending; they are in no rate.",
            count=f"{orphans:,}",
            rows=f"{rows:,}",
        ),
    )


def _opens_check(unseen: int) -> Check:
    detail = message(
        "Opens are unreliable: mail programs fetch images unasked and some readers block them. "
        "Judge by clicks and orders."
    )
    if unseen:
        detail += " " + messages(
            "{count} message went by a channel that reports no opening and is not among those that could be opened.",
            "{count} messages went by channels that report no opening and are not among those that could be opened.",
            unseen,
        )
    return Check(message("Opens"), "warning", detail)


def _window_check(immature: int, days: int) -> Check:
    name = message("Time to order")
    if not immature:
        return Check(
            name, "passed", message("Every message was watched for all {days} days.", days=str(days))
        )
    return Check(
        name,
        "warning",
        message(
            "{count} messages were watched for less than {days} days; they are not in the order rate.",
            count=f"{immature:,}",
            days=str(days),
        ),
    )


@dataclass(frozen=True, repr=False)
class ConsentGate(Result):
    """Messages that were sent without consent.

    Attributes:
        share: Share of messages sent without consent, or None where consent is not recorded.
        without: Messages sent without consent.
        by_channel: Channel to share.
    """

    title: ClassVar[str] = "Consent"

    share: Estimate | None
    without: int
    by_channel: dict[str, Estimate]

    def _rows(self) -> Iterable[Row]:
        if self.share is None:
            return
        name, of = message("sent without consent"), _label("sent")
        lone = any(few(found) for found in self.by_channel.values())
        for group, found in {"all": self.share, **self.by_channel}.items():
            shown, reason = shielded(found)
            # a lone blank could be had from the total
            hide = lone and group != "all" and found.value > 0
            if hide and not reason:
                shown = replace(shown, value=math.nan, low=math.nan, high=math.nan)
                reason = message("The blank protects another channel.")
            yield Row(name, shown, group=group, estimand=of, extra={"reason": reason})

    def _verdict(self) -> str:
        if self.share is None:
            return message("Whether the messages had consent is not recorded, so nothing can be said of it.")
        return message("All {n} messages were sent with consent.", n=f"{self.share.n:,}")


def consent_gate(contacts: Any, *, level: float = 0.95) -> ConsentGate:
    """Return how many messages were sent without consent, as a gate that fails on one.

    An empty ``has_consent`` counts as no consent.

    Args:
        contacts: Contact events; anything narwhals reads.
        level: Confidence level.

    Raises:
        ContractError: When a column is missing, an event is unknown or nothing was sent.

    Examples:
        >>> import pandas as pd
        >>> contacts = pd.DataFrame({"customer_id": list("abcd"), "event": "sent",
        ...     "sent_at": pd.Timestamp("2024-05-01"), "has_consent": [True, True, True, False]})
        >>> consent_gate(contacts).verdict()
        'No verdict: Consent (1 of 4 messages (25.0%) was sent without consent.)'
    """
    check_level(level)
    rows = read_contacts(contacts)
    sent = rows["event"] == "sent"
    if not sent.any():
        raise ContractError("contacts has no event 'sent', so consent cannot be judged")
    if "has_consent" not in rows.columns:
        check = gate_consent(rows, "count")[1]
        return ConsentGate(share=None, without=0, by_channel={}, checks=(check,))
    bad = pd.Series(unconsented(rows), index=rows.index)[sent]
    who = rows.loc[sent, "customer_id"]
    share = clustered_proportion(bad.to_numpy(), who.to_numpy(), level=level)
    channels: dict[str, Estimate] = {}
    if "channel" in rows.columns:
        for channel, part in rows[sent].groupby("channel", sort=True):
            channels[str(channel)] = clustered_proportion(
                bad[part.index].to_numpy(), part["customer_id"].to_numpy(), level=level
            )
    without = int(bad.sum())
    detail = messages(
        "{count} of {n} messages ({share}) was sent without consent.",
        "{count} of {n} messages ({share}) were sent without consent.",
        without,
        n=f"{share.n:,}",
        share=percent(share.value),
    )
    check = Check(message("Consent"), "failed" if without else "passed", detail, gate=True)
    return ConsentGate(share=share, without=without, by_channel=channels, checks=(check,))
