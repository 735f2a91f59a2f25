"""Measures of a scorecard of revenue: how much is kept, and on how few customers it rests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.errors import DesignError
from loyalty_research.i18n import message, percent
from loyalty_research.programme._scorecard_sheet import Found
from loyalty_research.programme._windows import ratio_influence
from loyalty_research.programme.revenue import revenue_retention, top_share, top_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.programme._scorecard_sheet import Part, Sheet

    Array = NDArray[np.float64]

__all__ = ["CONCENTRATION", "REVENUE", "top_influence"]

TOP = 0.2


def _compared(sheet: Sheet, day: int) -> pd.DataFrame:
    """Return revenue of two windows of the customers of the earlier one."""
    frame = sheet.revenue(day, established=sheet.established)
    return frame[frame["before"] > 0]


def _whom(sheet: Sheet) -> str:
    days = f"{sheet.window:,}"
    if sheet.established:
        return message(
            "customers with revenue in the {days} days before the last {days}, and first seen before those",
            days=days,
        )
    return message("customers with revenue in the {days} days before the last {days}", days=days)


def _revenue_kept(sheet: Sheet, day: int, *, net: bool) -> Found:
    frame = _compared(sheet, day)
    if ("revenue", day) not in sheet.kept:
        sheet.kept["revenue", day] = revenue_retention(
            frame, seed=sheet.seed, resamples=sheet.resamples, level=sheet.level
        )
    kept = sheet.kept["revenue", day]
    before, after = (frame[c].to_numpy() for c in ("before", "after"))
    return Found(
        kept.net if net else kept.gross,
        _whom(sheet),
        ratio_influence(frame.index, after if net else np.minimum(before, after), before),
    )


def _gross(sheet: Sheet, day: int) -> Found:
    return _revenue_kept(sheet, day, net=False)


def _net(sheet: Sheet, day: int) -> Found:
    return _revenue_kept(sheet, day, net=True)


def _top(sheet: Sheet, day: int) -> Found:
    record = sheet.purchases(day)
    record.need(sheet.window, "revenue of a window")
    revenue = record.revenue(day - sheet.window, day)
    spent = pd.DataFrame({"before": revenue}, index=record.customers)[revenue > 0]
    found, _ = top_share(spent, share=TOP, seed=sheet.seed, resamples=sheet.resamples, level=sheet.level)
    values = spent["before"].to_numpy()
    return Found(
        found,
        message("customers with revenue in the last {days} days", days=f"{sheet.window:,}"),
        top_influence(spent.index, values, values, TOP),
    )


def _top_later(sheet: Sheet, day: int) -> Found:
    frame = _compared(sheet, day)
    _, later = top_share(frame, share=TOP, seed=sheet.seed, resamples=sheet.resamples, level=sheet.level)
    if later is None:
        raise DesignError(message("the customers of the window before brought nothing in the last"))
    return Found(
        later,
        _whom(sheet),
        top_influence(frame.index, frame["before"].to_numpy(), frame["after"].to_numpy(), TOP),
    )


def top_influence(ids: Any, ranked: Array, brought: Array, share: float) -> pd.Series[float]:
    """Return by how much each customer moves the share that the top brings.

    A customer moves it by what they bring, and by pushing another over the line: the one at the line
    brings about the mean of those ranked next to it.

    Args:
        ids: Customers, shape (n,).
        ranked: What ranks them, shape (n,).
        brought: What is added up, shape (n,); the same for a share in the ranking period.
        share: Share of customers that is top.

    Examples:
        >>> moved = top_influence(list("abcde"), np.array([1.0, 1, 1, 1, 6]), np.array([1.0, 1, 1, 1, 6]), 0.2)
        >>> bool(abs(moved.sum()) < 1e-12)
        True
    """
    n = ranked.size
    order = np.argsort(ranked, kind="stable")
    kept = np.empty(n)
    kept[order] = top_weights(ranked[order], np.ones(n), share)
    line = min(int(n * (1 - share)), n - 1)
    if brought is ranked:
        at_line = float(ranked[order][line])
    else:
        near = max(5, n // 50)
        at_line = float(brought[order][max(line - near, 0) : line + near].mean())
    mean = brought.mean()
    top = float(kept @ brought) / brought.sum()
    pull = (brought - at_line) * kept + at_line * share - top * brought
    return pd.Series(pull / (n * mean), index=pd.Index(ids))


REVENUE: Part = {
    "gross_revenue_retention": (lambda: message("Gross revenue retention"), _gross, True),
    "net_revenue_retention": (lambda: message("Net revenue retention"), _net, True),
}

CONCENTRATION: Part = {
    "top_share": (
        lambda: message("Revenue of the top {share}", share=percent(TOP, digits=0)),
        _top,
        False,
    ),
    "top_share_later": (
        lambda: message("Revenue of the top {share} of the window before", share=percent(TOP, digits=0)),
        _top_later,
        False,
    ),
}
