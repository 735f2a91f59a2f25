"""Scorecard measures of where customers come from and what they cost: referrals, spend by purpose, losses, growth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.i18n import message
from loyalty_research.programme._customer_rows import acquired_days, customer_channels
from loyalty_research.programme._linearised import FEWEST
from loyalty_research.programme._period_costs import read_costs
from loyalty_research.programme._referral_rows import read_referrals
from loyalty_research.programme._scorecard_sheet import Found, share_found
from loyalty_research.programme._windows import date_of
from loyalty_research.programme.acquisition_cost import period_spending
from loyalty_research.programme.customer_loss import loss_estimates, lost_revenue
from loyalty_research.programme.growth import (
    check_channels,
    revenue_growth,
    source_of,
)
from loyalty_research.programme.referrals import customers_at
from loyalty_research.programme.referred_value import gained_in_window, gap_estimate, standardised_gap

if TYPE_CHECKING:
    from loyalty_research.programme._scorecard_sheet import Part, Sheet
    from loyalty_research.programme.acquisition_cost import Purpose, Spending

__all__ = ["GROWTH", "GROWTH_OPTIONS"]

EVENTS = ("contacts", "memberships", "points_ledger", "referrals")
GROWTH_OPTIONS = ("purposes", "organic_channels")


def _need(sheet: Sheet, table: str, *columns: str) -> None:
    if not sheet.source.has(table, *columns):
        raise DesignError(
            message("the data have no {table} with {columns}", table=table, columns=", ".join(columns))
        )


def _kept(sheet: Sheet, name: str, table: str, read: Any) -> Any:
    """Return a table as read once for both days."""
    if (name, 0) not in sheet.kept:
        sheet.kept[name, 0] = read(sheet.source.tables[table])
    return sheet.kept[name, 0]


# --- referrals -----------------------------------------------------------------------------------


def _referrals(sheet: Sheet, day: int, *columns: str) -> pd.DataFrame:
    _need(sheet, "referrals", "referrer_id", "referred_at", *columns)
    rows: pd.DataFrame = _kept(sheet, "referrals", "referrals", read_referrals)
    return rows[rows["day"] <= day]


def _referral_rate(sheet: Sheet, day: int) -> Found:
    rows = _referrals(sheet, day)
    start = day - sheet.window + 1
    # the table may begin later than the window: then the earlier referrals are missing, not absent
    if rows.empty or rows["day"].min() > start + sheet.window // 10:
        raise DesignError(
            message(
                "no referral was recorded as early as the window of {days} days up to {date}",
                days=f"{sheet.window:,}",
                date=date_of(day).isoformat(),
            )
        )
    if sheet.source.has("memberships", "customer_id", "valid_from"):
        who = customers_at(sheet.source.tables["memberships"], start)[0]
        said = message("members held {days} days earlier", days=f"{sheet.window:,}")
    else:
        record = sheet.purchases(day)
        record.need(2 * sheet.window, "referrals by the customers of the window before")
        who = record.customers[record.bought(start - 1 - sheet.window, start - 1)]
        said = message("customers of the {days} days before the last {days}", days=f"{sheet.window:,}")
    referred = who.isin(rows.loc[rows["day"] >= start, "referrer_id"].unique())
    if 0 < referred.sum() < FEWEST:
        raise DesignError(
            message("fewer than {fewest} of the customers it counts referred somebody", fewest=FEWEST)
        )
    return share_found(sheet, who, referred, said)


def _referred_value(sheet: Sheet, day: int) -> Found:
    rows = _referrals(sheet, day, "referred_id")
    record = sheet.purchases(day)
    record.need(2 * sheet.window, "spend of customers gained in one window and followed for another")
    known = None
    if sheet.source.has("customers", "customer_id", "acquired_at"):
        known = _kept(sheet, "acquired", "customers", acquired_days)
    frame, _ = gained_in_window(record, rows, sheet.window, since=day - 2 * sheet.window + 1, acquired=known)
    gap = standardised_gap(frame)
    moved = pd.Series(gap.moved, index=gap.frame.index)
    # those whom one customer brought move together, as that customer
    cluster = np.where(gap.frame["referred"], gap.frame["group"], gap.frame.index)
    return Found(
        gap_estimate(gap, level=sheet.level, currency=sheet.source.currency),
        message(
            "customers gained in {days} days, each followed for {days}; {referred} of them referred, who select themselves",
            days=f"{sheet.window:,}",
            referred=f"{int(gap.frame['referred'].sum()):,}",
        ),
        moved.groupby(cluster).sum(),
    )


# --- costs ---------------------------------------------------------------------------------------


def _spending(sheet: Sheet, day: int) -> Spending:
    purposes = sheet.options.get("purposes")
    if purposes is None:
        raise DesignError(
            message("it is not declared which costs are for acquisition and which for retention")
        )
    if not isinstance(purposes, Mapping):
        raise ArgumentError(
            "the option purposes gives each campaign, tier or reward its purpose, such as "
            "{'advert': 'acquisition', 'gold': 'retention'}"
        )
    _need(sheet, "costs", "unit", "amount")
    if ("spending", day) not in sheet.kept:
        tables = {name: sheet.source.tables[name] for name in EVENTS if sheet.source.has(name)}
        sheet.kept["spending", day] = period_spending(
            sheet.purchases(day), _kept(sheet, "rates", "costs", read_costs), purposes, tables, sheet.window
        )
    found: Spending = sheet.kept["spending", day]
    return found


def _cost(sheet: Sheet, day: int, purpose: Purpose) -> Found:
    spending = _spending(sheet, day)
    estimate = spending.estimate(purpose, level=sheet.level, currency=sheet.source.currency)
    if np.isnan(estimate.value):
        raise DesignError(
            message(
                "nothing was spent on it in the window, or there are fewer than {fewest} customers",
                fewest=FEWEST,
            )
        )
    who = {
        "acquisition": message("customers first seen in the last {days} days", days=f"{sheet.window:,}"),
        "retention": message(
            "customers of the {days} days before who bought in the last {days}", days=f"{sheet.window:,}"
        ),
    }
    moved = pd.Series(estimate.value * spending.moved(purpose), index=spending.customers)
    return Found(estimate, who[purpose], moved)


def _acquisition_cost(sheet: Sheet, day: int) -> Found:
    return _cost(sheet, day, "acquisition")


def _retention_cost(sheet: Sheet, day: int) -> Found:
    return _cost(sheet, day, "retention")


# --- losses and growth ---------------------------------------------------------------------------


def _loss(sheet: Sheet, day: int) -> Found:
    record = sheet.purchases(day)
    value, gone = lost_revenue(record, sheet.window)
    mean, _, moved = loss_estimates(value, gone, level=sheet.level, currency=sheet.source.currency)
    middle = record.end - sheet.window
    there = record.bought(middle - sheet.window, middle)
    return Found(
        mean,
        message(
            "customers of the {days} days before who did not buy in the last {days}", days=f"{sheet.window:,}"
        ),
        pd.Series(moved, index=record.customers[there]),
    )


def _organic(sheet: Sheet, day: int) -> Found:
    organic = sheet.options.get("organic_channels")
    if organic is None:
        raise DesignError(message("it is not declared which channels are organic"))
    _need(sheet, "customers", "customer_id", "acquisition_channel")
    channel = _kept(sheet, "channels", "customers", customer_channels)
    check_channels(channel, organic, None)
    frame = sheet.revenue(day)
    own = source_of(channel, organic, frame.index) == "organic"
    own &= (frame["before"] > 0).to_numpy() | (frame["after"] > 0).to_numpy()
    before, after = (frame.loc[own, c].to_numpy(dtype=float) for c in ("before", "after"))
    growth, moved = revenue_growth(before, after, level=sheet.level)
    return Found(
        growth,
        message(
            "customers gained through organic channels with revenue in the last {days} days or the {days} before",
            days=f"{sheet.window:,}",
        ),
        pd.Series(moved, index=frame.index[own]),
    )


GROWTH: Part = {
    "referral_rate": (lambda: message("Customers who referred"), _referral_rate, True),
    "referred_value": (lambda: message("Spend of referred customers less others"), _referred_value, True),
    "acquisition_cost": (lambda: message("Cost per new customer"), _acquisition_cost, False),
    "retention_cost": (lambda: message("Cost per retained customer"), _retention_cost, False),
    "customer_loss_value": (lambda: message("Value per lost customer"), _loss, False),
    "organic_growth": (lambda: message("Organic growth of revenue"), _organic, True),
}
"""Key to name, measure, and whether more of it is better."""
