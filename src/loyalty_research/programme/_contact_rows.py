"""Reading the contacts table, consent, small counts, and rates whose messages share customers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import narwhals as nw
import numpy as np
import pandas as pd
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, at_rows, listed
from loyalty_research.estimates import Check, Estimate
from loyalty_research.i18n import message, messages
from loyalty_research.stats.proportions import proportion, wilson_interval
from loyalty_research.summaries._frames import as_lazy, collect, date_column, need

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "EVENTS",
    "SMALLEST",
    "Consent",
    "as_moment",
    "check_consent",
    "clustered_proportion",
    "few",
    "gate_consent",
    "is_text",
    "local_moments",
    "not_measurable",
    "of_customers",
    "of_messages",
    "read_contacts",
    "refuse",
    "reports_no_opening",
    "shielded",
    "unconsented",
]

Consent = Literal["error", "count", "leave-out"]

EVENTS = ("sent", "delivered", "open", "click", "redeem", "opt_out")
SMALLEST = 5  # fewer customers than this are not shown
TEXTS = ("sms", "mms", "text", "text message")
ALL = "all campaigns"
OPTIONAL = ("campaign_id", "channel", "has_consent")


def refuse(bad: NDArray[np.bool_], what: str, mend: str) -> None:
    """Raise a ContractError where any row is bad.

    Raises:
        ContractError: Naming how many rows and the first positions.
    """
    if bad.any():
        raise ContractError(f"{what} at {at_rows(np.flatnonzero(bad).tolist())}; {mend}")


def read_contacts(contacts: Any) -> pd.DataFrame:
    """Check a contacts table and return the columns that analyses use.

    Args:
        contacts: ``customer_id``, ``sent_at``, ``event`` and, where known, ``campaign_id``,
            ``channel``, ``has_consent``; anything narwhals reads.

    Returns:
        The columns in the table's order of rows; without ``campaign_id`` all is one campaign.

    Raises:
        ContractError: When a column is missing, a required cell is empty, an event is unknown, or a
            text message is said to have been opened.
    """
    lazy = as_lazy(contacts, "contacts")
    columns = list(lazy.collect_schema())
    need(columns, ["customer_id", "sent_at", "event"], "contacts")
    date_column(lazy, "contacts", "sent_at")
    kept = ["customer_id", "sent_at", "event", *(c for c in OPTIONAL if c in columns)]
    frame = collect(lazy.select(*(nw.col(c) for c in kept))).reset_index(drop=True)
    if frame.empty:
        raise ContractError("contacts is empty: there is nothing to measure")
    for column in ("customer_id", "sent_at", "event"):
        refuse(frame[column].isna().to_numpy(), f"contacts.{column} is null", "fill it or leave the row out")
    strange = ~frame["event"].isin(EVENTS).to_numpy()
    refuse(strange, "contacts.event is unknown", f"the events are {listed(EVENTS)}")
    refuse(
        is_text(frame) & (frame["event"] == "open").to_numpy(),
        "contacts has opens of text messages, which report none",
        "mend the channel, or record a followed link as a click",
    )
    if "campaign_id" not in frame.columns:
        return frame.assign(campaign_id=ALL)
    refuse(
        frame["campaign_id"].isna().to_numpy(), "contacts.campaign_id is null", "name it, or drop the column"
    )
    return frame


def is_text(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows are of text messages, which have no event when they are read.

    Examples:
        >>> is_text(pd.DataFrame({"channel": ["SMS", "e-mail", None]})).tolist()
        [True, False, False]
    """
    if "channel" not in rows.columns:
        return np.zeros(len(rows), dtype=bool)
    return np.asarray(rows["channel"].astype("string").str.strip().str.lower().isin(TEXTS), dtype=bool)


def reports_no_opening(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows are of channels that never report an opening, such as texts and paper.

    A channel counts as one where opens are recorded of others and of it none is.

    Examples:
        >>> rows = pd.DataFrame({"channel": ["e-mail", "e-mail", "paper"], "event": ["sent", "open", "sent"]})
        >>> reports_no_opening(rows).tolist()
        [False, False, True]
    """
    text = is_text(rows)
    opened = (rows["event"] == "open").to_numpy()
    if "channel" not in rows.columns or not opened.any():
        return text
    known = rows.loc[opened, "channel"].dropna().unique()
    return np.asarray(text | (rows["channel"].notna() & ~rows["channel"].isin(known)).to_numpy(dtype=bool))


def check_consent(mode: str) -> None:
    """Refuse an unknown way with messages that lack consent.

    Raises:
        ArgumentError: When ``mode`` is not one of the choices.
    """
    if mode not in get_args(Consent):
        raise ArgumentError(f"without_consent must be error, count or leave-out; got {mode!r}")


def unconsented(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows are messages sent without consent; an unknown consent is none."""
    refused = ~rows["has_consent"].astype("boolean").fillna(value=False).to_numpy(dtype=bool)
    if "event" not in rows.columns:
        return np.asarray(refused)
    return np.asarray(refused & (rows["event"] == "sent").to_numpy())


def gate_consent(rows: pd.DataFrame, mode: str, *, table: str = "contacts") -> tuple[pd.DataFrame, Check]:
    """Return the rows an analysis may use, and what was found of consent.

    Args:
        rows: Contact events with ``has_consent`` where it is known; without ``event`` each row is a
            message sent.
        mode: ``"error"`` refuses messages sent without consent, ``"leave-out"`` drops them with all
            they led to, ``"count"`` keeps them; all but the first count them in the check.
        table: Name of the table, for messages.

    Raises:
        ContractError: In mode ``"error"``, when a message was sent without consent.
    """
    name = message("Consent")
    if "has_consent" not in rows.columns:
        return rows, Check(
            name, "not measurable", message("The table has no column has_consent, so consent is not known.")
        )
    bad = unconsented(rows)
    count = int(bad.sum())
    if not count:
        return rows, Check(name, "passed", message("Every message was sent with consent."))
    if mode == "error":
        raise ContractError(
            f"{table}.has_consent is false or empty for messages sent at {at_rows(np.flatnonzero(bad).tolist())}; "
            "mend the consent records, or name without_consent='leave-out' or 'count'"
        )
    detail = messages(
        "{count} message was sent without consent.", "{count} messages were sent without consent.", count
    )
    if mode == "count":
        return rows, Check(name, "warning", f"{detail} {message('They are counted like the others.')}")
    keys = [c for c in ("customer_id", "campaign_id") if c in rows.columns]
    if "event" in rows.columns:
        key = pd.MultiIndex.from_frame(rows[keys])
        bad = np.asarray(key.isin(key[bad]))
    detail = f"{detail} {message('They are left out with all they led to.')}"
    return rows[~bad].reset_index(drop=True), Check(name, "warning", detail)


def few(share: Estimate) -> bool:
    """Return whether a share counts one to four, whom it would name.

    Examples:
        >>> few(proportion(4, 100)), few(proportion(0, 100)), few(proportion(5, 100))
        (True, False, False)
    """
    return bool(0 < round(share.value * share.n) < SMALLEST) if share.value == share.value else False


def shielded(share: Estimate) -> tuple[Estimate, str]:
    """Return a share as it may be shown, and the reason where it may not.

    Examples:
        >>> shielded(proportion(2, 100))[1]
        'Fewer than five are counted.'
    """
    if not few(share):
        return share, ""
    nothing = float("nan")
    return replace(share, value=nothing, low=nothing, high=nothing), message("Fewer than five are counted.")


def of_messages(share: Estimate) -> str:
    """Return a share of messages in words, without naming one to four.

    Examples:
        >>> of_messages(proportion(2, 100)), of_messages(proportion(20, 100))
        ('fewer than five messages', '20.0% of messages')
    """
    if few(share):
        return message("fewer than five messages")
    return message("{share} of messages", share=share.format())


def of_customers(share: Estimate) -> str:
    """Return a share of customers in words, without naming one to four.

    Examples:
        >>> of_customers(proportion(2, 100)), of_customers(proportion(20, 100))
        ('fewer than five customers', '20.0% of customers')
    """
    if few(share):
        return message("fewer than five customers")
    return message("{share} of customers", share=share.format())


def local_moments(moments: pd.Series[Any], timezone: str) -> pd.Series[Any]:
    """Return naive UTC moments as the local clock shows them, summer time included.

    Raises:
        ArgumentError: When ``timezone`` is no IANA zone.

    Examples:
        >>> when = pd.Series(pd.to_datetime(["2024-01-10 20:30", "2024-07-10 20:30"]))
        >>> local_moments(when, "Europe/Madrid").dt.hour.tolist()
        [21, 22]
    """
    import zoneinfo

    try:
        zone = zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ArgumentError(
            f"timezone must be an IANA name such as 'Europe/Madrid'; got {timezone!r}"
        ) from error
    local: pd.Series[Any] = moments.dt.tz_localize("UTC").dt.tz_convert(zone).dt.tz_localize(None)
    return local


def as_moment(value: Any, name: str) -> pd.Timestamp:
    """Return a naive moment or the midnight of a date.

    Raises:
        ArgumentError: When ``value`` is neither, or carries a time zone.
    """
    try:
        moment = pd.Timestamp(value)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must be a date such as '2024-06-30'; got {value!r}") from error
    if pd.isna(moment) or moment.tzinfo is not None:
        raise ArgumentError(f"{name} must be a date without a time zone, such as '2024-06-30'; got {value!r}")
    return moment


def not_measurable(*, level: float) -> Estimate:
    """Return the estimate of what the data cannot show: no value and no limits."""
    return Estimate(float("nan"), float("nan"), float("nan"), level, "not measurable", 0, "fraction")


def clustered_proportion(
    successes: ArrayLike, clusters: Sequence[Any] | ArrayLike, *, level: float = 0.95
) -> Estimate:
    """Return a share of messages where one customer may have several.

    Wilson's interval at the effective sample size: the plain variance over the variance with
    customers as clusters, with t in place of z for the number of customers. It never counts more
    than the messages there are, and with one message a customer it is Wilson's own.

    Args:
        successes: 0 or 1 per message, shape ``(n,)``.
        clusters: Customer of each message, shape ``(n,)``.
        level: Coverage aimed at.

    Raises:
        ArgumentError: When there is no message.

    Examples:
        >>> clustered_proportion([1, 1, 0, 0], ["a", "b", "c", "d"])
        50.0% (95% interval 15.0% to 85.0%; wilson; n = 4)
        >>> clustered_proportion([1, 1, 0, 0], ["a", "a", "b", "b"]).method
        'wilson, customers as clusters'

    References:
        Korn and Graubard (1998), Survey Methodology 24, 193-201, effective sample size.
    """
    x = np.asarray(successes, dtype=float)
    if not len(x):
        raise ArgumentError("a share needs at least one message")
    codes = pd.factorize(np.asarray(clusters, dtype=object))[0]
    sizes = np.bincount(codes).astype(float)
    total, n, groups = float(x.sum()), len(x), len(sizes)
    if groups == n:
        return proportion(int(total), n, level=level)
    share = total / n
    residual = np.bincount(codes, weights=x) - share * sizes
    variance = float(residual @ residual) / n**2 * groups / max(groups - 1, 1)
    # nothing varies at 0 or 1, so customers are what is counted
    effective = min(share * (1 - share) / variance, n) if variance > 0 else float(groups)
    if groups > 1:  # the variance itself is estimated, from as many customers as there are
        tail = (1 - level) / 2
        effective *= float((stats.norm.isf(tail) / stats.t.isf(tail, groups - 1)) ** 2)
    low, high = wilson_interval(share * effective, effective, level=level)
    return Estimate(share, float(low), float(high), level, "wilson, customers as clusters", n, "fraction")
