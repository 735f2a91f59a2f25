"""Pictures of a scorecard page, each with what it says in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from loyalty_research.i18n import message, percent
from loyalty_research.programme._scorecard_sources import pooled_retention

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from loyalty_research.programme.scorecard_page import ScorecardStudy

__all__ = ["bridge", "cohorts", "rests"]

PERIODS = {"W": "weeks", "M": "months", "Q": "quarters"}
_LEAST = 5  # fewer customers are not shown


def bridge(study: ScorecardStudy) -> Iterator[tuple[Axes, str, str]]:
    """Yield the picture of revenue kept and lost, with alternative text and caption."""
    from loyalty_research.plots.scorecard import revenue_bridge

    if study.revenue is None:
        return
    kept = study.revenue
    end = kept.start - kept.churn - kept.contraction + kept.expansion
    steps = [
        (message("earlier window"), kept.start),
        (message("customers who stopped"), -kept.churn),
        (message("those who spent less"), -kept.contraction),
        (message("those who spent more"), kept.expansion),
        (message("later window"), end),
    ]
    yield (
        revenue_bridge(pd.DataFrame(steps, columns=["step", "amount"]), currency=study.currency),
        message("Steps from the revenue of one window to that of the next. {said}", said=kept.verdict()),
        message(
            "Customers who bought in the earlier window of {days} days. {newcomers}",
            days=study.window,
            newcomers=study.newcomer_words(),
        ),
    )


def cohorts(study: ScorecardStudy) -> Iterator[tuple[Axes, str, str]]:
    """Yield the picture of retention by age, with alternative text and caption."""
    from loyalty_research.plots.scorecard import retention_by_age

    if study.retention is None:
        return
    pooled = pooled_retention(study.retention.triangle)
    if len(pooled) < 2:
        return
    cells = study.retention.triangle
    few = (cells["customers"] < _LEAST) | cells["active"].between(1, _LEAST - 1)
    cells = cells[cells["period"] > 0].assign(retention=cells["retention"].where(~few))
    words = PERIODS[study.retention.period]
    first, last = pooled.iloc[0], pooled.iloc[-1]
    yield (
        retention_by_age(cells, pooled, period=words),
        message(
            "Share of a cohort that buys, by {period} since its first purchase: {first} after one, {last} after {n}.",
            period=words,
            first=percent(first["retention"]),
            last=percent(last["retention"]),
            n=int(last["period"]),
        ),
        message(
            "Each thin line is a cohort; the thick one all of them, each as far as it was followed. Periods "
            "that are not over are left out."
        ),
    )


def rests(study: ScorecardStudy) -> Iterator[tuple[Axes, str, str]]:
    """Yield the picture of concentration, with alternative text and caption."""
    from loyalty_research.plots.scorecard import concentration

    if study.concentration is None:
        return
    found = study.concentration
    later = None if found.later is None else found.later.value
    yield (
        concentration(found.lorenz, top=found.share, later=later),
        message("Cumulative share of revenue, the largest customers first. {said}", said=found.verdict()),
        message("Customers are ranked by one window and followed into the next."),
    )
