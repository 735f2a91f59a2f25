"""Measures of a scorecard of members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty_research.errors import DesignError
from loyalty_research.i18n import message
from loyalty_research.programme._scorecard_sheet import share_found
from loyalty_research.programme.membership import membership_on

if TYPE_CHECKING:
    from loyalty_research.programme._scorecard_sheet import Found, Part, Sheet

__all__ = ["MEMBERS"]


def _active(sheet: Sheet, day: int) -> Found:
    source = sheet.source
    for table, columns in (
        ("memberships", ("customer_id", "valid_from", "valid_to")),
        ("points_ledger", ("customer_id", "type")),
    ):
        if not source.has(table, *columns):
            raise DesignError(
                message("the data have no {table} with {columns}", table=table, columns=", ".join(columns))
            )
    held, active, _ = membership_on(
        source.tables["memberships"], source.tables["points_ledger"], day, sheet.activity_window
    )
    return share_found(
        sheet,
        held,
        active,
        message("members held, active within {days} days", days=f"{sheet.activity_window:,}"),
    )


MEMBERS: Part = {"active_membership": (lambda: message("Active membership"), _active, True)}
