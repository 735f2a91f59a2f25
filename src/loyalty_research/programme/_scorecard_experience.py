"""Scorecard measures of what customers experience and give back: redemption, service, carts, wallet, loyalty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.i18n import message
from loyalty_research.programme._by_customer import day_numbers
from loyalty_research.programme._contact_rows import clustered_proportion
from loyalty_research.programme._scorecard_sheet import Found, share_found
from loyalty_research.programme._windows import date_of, ratio_influence
from loyalty_research.programme.carts import followed_carts
from loyalty_research.programme.emotional import KINDS, emotional_and_functional_loyalty
from loyalty_research.programme.ledger import points_ledger
from loyalty_research.programme.redemption import booked_accounts, breakage_by_age, rate_of
from loyalty_research.programme.service import read_cases
from loyalty_research.programme.wallet import share_of_wallet
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._scorecard_sheet import Part, Sheet
    from loyalty_research.programme.ledger import PointsLedger

__all__ = ["EXPERIENCE", "EXPERIENCE_OPTIONS"]

FEWEST = 5
EXPERIENCE_OPTIONS = (
    "redemption_days",
    "breakage_months",
    "cart_hours",
    "wallet_days",
    "attitude",
    "behaviour_days",
)
"""Days in which points are redeemed (the activity window), months after which they count as broken (12),
hours in which a cart is ordered (24), days that category spend is asked for (the window), the instrument
and lowest answer of a good attitude (``("nps", 9)``), and the purchase days that are loyal (2)."""


def _need(sheet: Sheet, table: str, *columns: str) -> None:
    if not sheet.source.has(table, *columns):
        raise DesignError(
            message("the data have no {table} with {columns}", table=table, columns=", ".join(columns))
        )


def _table(sheet: Sheet, table: str, *columns: str) -> pd.DataFrame:
    """Return a table once for both days.

    Raises:
        DesignError: When it or a column is missing.
    """
    _need(sheet, table, *columns)
    if (f"table {table}", 0) not in sheet.kept:
        sheet.kept[f"table {table}", 0] = sheet.source.frame(table)
    found: pd.DataFrame = sheet.kept[f"table {table}", 0]
    return found


def _days(sheet: Sheet, option: str, otherwise: int) -> int:
    return positive_days(sheet.options.get(option, otherwise), option)


def _clustered(sheet: Sheet, yes: Any, who: pd.Series[Any], denominator: str) -> Found:
    """Return a share of rows that share customers."""
    if who.nunique() < FEWEST:
        raise DesignError(message("it counts fewer than {fewest} customers", fewest=FEWEST))
    hits = np.asarray(yes, dtype=float)
    return Found(
        clustered_proportion(hits, who.to_numpy(), level=sheet.level),
        denominator,
        ratio_influence(who, hits, np.ones(len(hits))).groupby(level=0).sum(),
    )


# --- points --------------------------------------------------------------------------------------


def _ledger(sheet: Sheet, day: int) -> tuple[PointsLedger, Any, pd.Index[Any]]:
    _need(sheet, "points_ledger", "customer_id", "occurred_at", "points", "type")
    # left in the engine, of which only what is booked comes over; no entry of a dataset stands twice
    entries = sheet.source.tables["points_ledger"].drop("entry_id", strict=False)
    if ("ledger", day) not in sheet.kept:
        try:
            ledger = points_ledger(entries, as_of=date_of(day), decimals=None)
        except (ArgumentError, ContractError) as error:
            # one bad ledger is no reason to withhold what the other tables show
            raise DesignError(
                message("the points ledger cannot be booked ({why})", why=str(error))
            ) from error
        sheet.kept["ledger", day] = (ledger, *booked_accounts(entries, ledger))
    found: tuple[PointsLedger, Any, pd.Index[Any]] = sheet.kept["ledger", day]
    return found


def _redeemed(sheet: Sheet, day: int) -> Found:
    days = _days(sheet, "redemption_days", sheet.activity_window)
    ledger, codes, customers = _ledger(sheet, day)
    found = rate_of(ledger, codes, customers, window=sheet.window, follow=days, level=sheet.level)
    return Found(
        found.rate,
        message(
            "customers with points issued in the {window} days up to {date}, each point followed for {days}",
            window=f"{sheet.window:,}",
            date=date_of(day - days).isoformat(),
            days=f"{days:,}",
        ),
        found.influence,
    )


def _breakage(sheet: Sheet, day: int) -> Found:
    months = _days(sheet, "breakage_months", 12)
    ledger, codes, customers = _ledger(sheet, day)
    if len(customers) < FEWEST:
        raise DesignError(message("it counts fewer than {fewest} customers", fewest=FEWEST))

    def by(period: str) -> tuple[Estimate, pd.Series[float]]:
        age = months if period == "M" else months // 3
        return breakage_by_age(ledger, codes, customers, age=age, period=period, level=sheet.level)

    # both days count in the same periods; quarters where some month has too few redemptions
    period = sheet.kept.get(("breakage", 0))
    if period is None and months % 3 == 0:
        try:
            estimate, moved = by("M")
            period = "M"
        except DesignError as monthly:
            try:
                estimate, moved = by("Q")
            except DesignError:
                raise monthly from None
            period = "Q"
        sheet.kept["breakage", 0] = period
    else:
        estimate, moved = by(period or "M")
    words = {
        "M": message("months of issue; points not redeemed within {months} months of theirs", months=months),
        "Q": message(
            "quarters of issue; points not redeemed within {quarters} quarters of theirs",
            quarters=months // 3,
        ),
    }
    return Found(estimate, words[period or "M"], moved)


# --- service and carts ---------------------------------------------------------------------------


def _service(sheet: Sheet, day: int) -> Found:
    tickets = _table(sheet, "tickets", "customer_id", "opened_at", "on_time")
    if ("cases", 0) not in sheet.kept:
        sheet.kept["cases", 0] = read_cases(tickets)
    cases = sheet.kept["cases", 0]
    stem = "closed" if "closed_at" in cases else "opened"
    when = day_numbers(cases, stem, "tickets", gaps=True)
    inside = (when > day - sheet.window) & (when <= day)
    # on time alone where nobody records whether a case was solved in full
    have = ["on_time", *(["in_full"] if "in_full" in cases and cases["in_full"].notna().any() else [])]
    values = cases.loc[inside, have].to_numpy(dtype=float)
    known = ~np.isnan(values).any(axis=1)
    if not known.any():
        raise DesignError(
            message(
                "no service case of the last {days} days has its outcome recorded", days=f"{sheet.window:,}"
            )
        )
    words = {
        ("closed", 2): message(
            "cases closed in {days} days with on time and in full recorded", days=sheet.window
        ),
        ("closed", 1): message("cases closed in {days} days with on time recorded", days=sheet.window),
        ("opened", 2): message(
            "cases opened in {days} days with on time and in full recorded", days=sheet.window
        ),
        ("opened", 1): message("cases opened in {days} days with on time recorded", days=sheet.window),
    }
    who = cases.loc[inside, "customer_id"][known]
    return _clustered(sheet, (values[known] == 1).all(axis=1), who, words[stem, len(have)])


def _carts(sheet: Sheet, day: int) -> Found:
    hours = sheet.options.get("cart_hours", 24.0)
    table = _table(sheet, "carts", "opened_at", "ordered_at")
    frame, _, end = followed_carts(table, hours, date_of(day), sheet.source.timezone)
    frame = frame[frame["opened_at"] >= end - pd.Timedelta(days=sheet.window)]
    # a cart without a customer stands for itself, on both days
    alone = "cart " + frame["row"].astype(str)
    who = frame["customer_id"].astype(object).where(frame["customer_id"].notna(), alone)
    return _clustered(
        sheet,
        frame["abandoned"],
        who,
        message(
            "carts opened in the last {days} days and followed for {hours} hours",
            days=f"{sheet.window:,}",
            hours=f"{hours:g}",
        ),
    )


# --- wallet and loyalty --------------------------------------------------------------------------


def _wallet(sheet: Sheet, day: int) -> Found:
    surveys = _table(sheet, "surveys", "customer_id", "instrument", "value")
    found = share_of_wallet(
        surveys,
        transactions=None if sheet.record is None else sheet.purchases(day),
        window=_days(sheet, "wallet_days", sheet.window),
        as_of=date_of(day),
        since=date_of(day - sheet.window + 1),
        level=sheet.level,
    )
    if found.measured is not None:
        said = message(
            "customers who answered in the last {days} days; own revenue over the category spend they state",
            days=f"{sheet.window:,}",
        )
    else:
        said = message(
            "customers who answered in the last {days} days; mean of the shares they state",
            days=f"{sheet.window:,}",
        )
    if found.headline is None:
        raise DesignError(message("surveys ask neither for the share of wallet nor for category spend"))
    return Found(found.headline, said, found.influence)


def _loyal(sheet: Sheet, day: int) -> Found:
    surveys = _table(sheet, "surveys", "customer_id", "instrument", "value")
    attitude = sheet.options.get("attitude", ("nps", 9))
    if not (isinstance(attitude, (tuple, list)) and len(attitude) == 2 and isinstance(attitude[0], str)):
        raise ArgumentError(
            f"the option attitude names an instrument and its lowest good answer, such as ('nps', 9); got {attitude!r}"
        )
    times = _days(sheet, "behaviour_days", 2)
    found = emotional_and_functional_loyalty(
        surveys,
        sheet.purchases(day),
        on=date_of(day),
        instrument=attitude[0],
        attitude_cut=float(attitude[1]),
        behaviour_cut=times,
        before=sheet.window,
        level=sheet.level,
    )
    return share_found(
        sheet,
        found.placed.index,
        found.placed == KINDS[0],
        message(
            "customers who answered {name} in the last {days} days; loyal are those who answer {cut} or more and bought "
            "on {times} days or more",
            name=attitude[0],
            days=f"{sheet.window:,}",
            cut=f"{float(attitude[1]):g}",
            times=times,
        ),
    )


EXPERIENCE: Part = {
    "redemption_rate": (lambda: message("Redemption rate"), _redeemed, True),
    "breakage": (lambda: message("Breakage"), _breakage, False),
    "service_level": (lambda: message("Service level"), _service, True),
    "cart_abandonment": (lambda: message("Cart abandonment"), _carts, False),
    "share_of_wallet": (lambda: message("Share of wallet"), _wallet, True),
    "emotional_loyalty": (lambda: message("Loyal in attitude and behaviour"), _loyal, True),
}
