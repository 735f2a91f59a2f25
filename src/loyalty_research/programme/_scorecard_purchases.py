"""Measures of a scorecard of who comes back, how often, for how long, and with how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.errors import DesignError
from loyalty_research.i18n import message
from loyalty_research.programme._scorecard_sheet import Found, share_found
from loyalty_research.programme._windows import ratio_influence
from loyalty_research.programme.claims import spend_of_record
from loyalty_research.programme.frequency import YEAR, active_orders, order_rate
from loyalty_research.programme.retention import rolling_retention, second_purchase
from loyalty_research.programme.tenure import active_tenure, lifetimes, mean_tenure, staying

if TYPE_CHECKING:
    from loyalty_research.programme._scorecard_sheet import Part, Sheet

__all__ = ["PURCHASES"]


def _retention(sheet: Sheet, day: int) -> Found:
    record = sheet.purchases(day)
    kept = rolling_retention(record, sheet.window)
    if kept is None:
        record.need(2 * sheet.window, "rolling retention")
        raise DesignError("rolling retention needs two windows of transactions")
    who, again = kept
    return share_found(
        sheet,
        who,
        again,
        message("customers of the {days} days before the last {days}", days=f"{sheet.window:,}"),
    )


def _repeat(sheet: Sheet, day: int) -> Found:
    record = sheet.purchases(day)
    record.need(sheet.window + sheet.repeat_window, "repeat purchase of the customers of a window")
    followed, back = second_purchase(record, sheet.repeat_window)
    chosen = followed & (record.first > day - sheet.repeat_window - sheet.window)
    return share_found(
        sheet,
        record.customers[chosen],
        back[chosen],
        message(
            "customers first seen in {window} days, each followed for {days}",
            window=f"{sheet.window:,}",
            days=f"{sheet.repeat_window:,}",
        ),
    )


def _frequency(sheet: Sheet, day: int) -> Found:
    record = sheet.purchases(day)
    record.need(sheet.window, "purchase frequency")
    who, orders = active_orders(record, day - sheet.window, day)
    _some(who, sheet)
    return Found(
        order_rate(orders, sheet.window, sheet.level),
        message("customers with an order in the last {days} days", days=f"{sheet.window:,}"),
        ratio_influence(who, orders * YEAR / sheet.window, np.ones(len(who))),
    )


def _tenure(sheet: Sheet, day: int) -> Found:
    record = sheet.purchases(day)
    record.need(sheet.window, "tenure")
    who, days = active_tenure(record, sheet.window)
    _some(who, sheet)
    return Found(
        mean_tenure(days, sheet.level),
        message(
            "customers with a purchase in the last {days} days, since first seen", days=f"{sheet.window:,}"
        ),
        ratio_influence(who, days.astype(float), np.ones(len(who))),
    )


def _some(who: pd.Index[Any], sheet: Sheet) -> None:
    if not len(who):
        raise DesignError(message("nobody bought in the last {days} days", days=f"{sheet.window:,}"))


def _staying(sheet: Sheet, day: int) -> Found:
    record = sheet.purchases(day)
    record.need(sheet.window + sheet.activity_window + 1, "survival to the end of a window")
    who, stop, lost = lifetimes(record, sheet.activity_window)
    share, moved = staying(stop, lost, sheet.window, level=sheet.level)
    return Found(
        share,
        message(
            "customers from their first purchase on, lost when silent for more than {days} days",
            days=f"{sheet.activity_window:,}",
        ),
        pd.Series(moved, index=who),
    )


def _by_age(sheet: Sheet, day: int) -> Found:
    half = max(sheet.window // 2, 1)
    found, who, moved = spend_of_record(sheet.purchases(day), half, sheet.level)
    return Found(
        found.all_customers,
        message(
            "customers first seen {days} days ago or more, those who stopped with nothing",
            days=f"{2 * half:,}",
        ),
        pd.Series(moved, index=who),
    )


PURCHASES: Part = {
    "retention": (lambda: message("Retention"), _retention, True),
    "survival": (lambda: message("Retention since the first purchase"), _staying, True),
    "repeat_purchase": (lambda: message("Repeat purchase"), _repeat, True),
    "purchase_frequency": (lambda: message("Orders per active customer and year"), _frequency, True),
    "tenure": (lambda: message("Mean tenure of active customers"), _tenure, True),
    "spend_by_age": (lambda: message("Spend in the second half window per 1 in the first"), _by_age, True),
}
