"""Measures of a scorecard of who comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty_research.errors import DesignError
from loyalty_research.i18n import message
from loyalty_research.programme._scorecard_sheet import share_found
from loyalty_research.programme.retention import rolling_retention, second_purchase

if TYPE_CHECKING:
    from loyalty_research.programme._scorecard_sheet import Found, Part, Sheet

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


PURCHASES: Part = {
    "retention": (lambda: message("Retention"), _retention, True),
    "repeat_purchase": (lambda: message("Repeat purchase"), _repeat, True),
}
