"""Sayings that circulate about loyalty, tried on one's own customers: checks and sensitivities, never facts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.retention import retention_table

if TYPE_CHECKING:
    from loyalty_research.estimates import Estimate
    from loyalty_research.programme.scorecard_page import ScorecardStudy

__all__ = ["cost_of_winning", "older_spend_more", "pareto", "profit"]

_PARETO = 0.8
_COST_RATIOS = (1, 2, 5, 10)


def pareto(study: ScorecardStudy) -> tuple[str, ...]:
    """Hold “a fifth of customers brings four fifths of revenue” against both windows."""
    if study.concentration is None:
        return (study.reason("concentration"),)
    said = [
        _against(
            study.concentration.top, study.concentration.share, message("the window they were picked by")
        )
    ]
    if study.concentration.later is not None:
        said.append(
            _against(study.concentration.later, study.concentration.share, message("the window after it"))
        )
    return tuple(said)


def profit(study: ScorecardStudy) -> tuple[str, pd.DataFrame | None]:
    """Price a rise in retention by the usual formula, over the interval of one's own retention."""
    rolling = None if study.retention is None else study.retention.rolling
    if rolling is None or math.isnan(rolling.low):
        return study.reason("retention"), None
    kept = [rolling.low, rolling.value, rolling.high]
    per_window = [(1 + rate) ** (study.window / 365) - 1 for rate in study.rates]
    table = retention_table(retentions=kept, annual_discount_rates=per_window, points=study.points)
    table.columns = pd.Index(
        [message("Discount {rate} a year", rate=percent(r, digits=0)) for r in study.rates]
    )
    names = [message("low limit"), message("estimate"), message("high limit")]
    table.insert(
        0, message("Retention"), [f"{percent(k)} ({name})" for k, name in zip(kept, names, strict=True)]
    )
    gains = table.iloc[:, 1:].to_numpy(dtype=float)
    if np.isnan(gains).all():
        said = message(
            "The formula has no answer for {points} points more than {retention}: retention would pass 100%.",
            points=number(100 * study.points, digits=0),
            retention=rolling.format(),
        )
        return said, None
    return (
        message(
            "{points} points more retention from one window of {days} days to the next would raise value by "
            "{low} to {high} under the formula, depending on retention and discount. The formula takes "
            "customers as equal, margins as constant and the future as endless, and says nothing of what the rise costs.",
            points=number(100 * study.points, digits=0),
            days=study.window,
            low=percent(float(np.nanmin(gains)), digits=0),
            high=percent(float(np.nanmax(gains)), digits=0),
        ),
        table.reset_index(drop=True),
    )


def cost_of_winning(study: ScorecardStudy) -> tuple[str, pd.DataFrame | None]:
    """Ask what “winning costs 5 to 10 times keeping” would mean here."""
    if study.costs is None:
        said = message(
            "What winning and keeping a customer cost is not in the data, so the ratio is not measurable; name both "
            "costs to get it."
        )
    else:
        said = message(
            "With {win} to win a customer and {keep} to keep one, winning costs {ratio} times keeping.",
            win=_money(study, study.costs[0]),
            keep=_money(study, study.costs[1]),
            ratio=number(study.costs[0] / study.costs[1], digits=1),
        )
    if study.ages is None:
        return said, None
    even = study.ages.new_to_kept
    said = message(
        "{said} Cost is half of the question: a new customer spends {even} per 1 of a kept one "
        "({interval}) in a window of {days} days, so keeping brings more per unit of money once winning costs more "
        "than that many times as much.",
        said=said,
        even=even.format(),
        interval=even.interval(),
        days=study.window,
    )
    ratios = [float(r) for r in _COST_RATIOS]
    if study.costs is not None:
        ratios = sorted({*ratios, study.costs[0] / study.costs[1]})
    rows = [(f"{r:g}", r / even.value, r / even.high, r / even.low) for r in ratios]
    columns = ["Winning costs, per 1 of keeping", "estimate", "low", "high"]
    return said, pd.DataFrame(rows, columns=columns)


def older_spend_more(study: ScorecardStudy) -> tuple[str, ...]:
    """Ask whether older customers spend more, with those who stopped counted in."""
    if study.ages is None:
        return (study.reason("age"),)
    return study.ages.verdict(), study.ages.claim_verdict()


def _against(share: Estimate, top: float, where: str) -> str:
    words = {
        "where": where,
        "share": share.format(),
        "interval": share.interval(),
        "top": percent(top, digits=0),
    }
    if share.low <= _PARETO <= share.high:
        return message(
            "The top {top} bring {share} ({interval}) of revenue in {where}: 80% is within the interval.",
            **words,
        )
    if share.high < _PARETO:
        return message(
            "The top {top} bring {share} ({interval}) of revenue in {where}: less than the saying's 80%.",
            **words,
        )
    return message(
        "The top {top} bring {share} ({interval}) of revenue in {where}: more than the saying's 80%.", **words
    )


def _money(study: ScorecardStudy, value: float) -> str:
    return number(value, digits=2) + (f" {study.currency}" if study.currency else "")
