"""Measures of a scorecard of what customers say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from loyalty_research.errors import ContractError, DesignError, at_rows
from loyalty_research.i18n import message
from loyalty_research.programme._scorecard_sheet import Found
from loyalty_research.programme._windows import date_of, ratio_influence
from loyalty_research.programme.surveys import (
    customer_effort_score,
    customer_satisfaction,
    net_promoter_score,
)

if TYPE_CHECKING:
    from loyalty_research.data import Dataset
    from loyalty_research.programme._scorecard_sheet import Part, Sheet

__all__ = ["SURVEYS", "survey_answers"]


def _wave(sheet: Sheet, day: int, instrument: str) -> tuple[pd.DataFrame, tuple[int, int], str]:
    """Return the last answer of each customer in the window, the scale, and whom it counts."""
    if sheet.answers is None:
        raise DesignError(message("the data have no surveys with instrument and value"))
    asked = sheet.answers[sheet.answers["instrument"].astype("string").str.lower() == instrument]
    if asked.empty:
        raise DesignError(message("surveys have no answers to the instrument {name}", name=instrument))
    end = pd.Timestamp(date_of(day))
    when = asked["answered"]
    wave = asked[(when > end - pd.Timedelta(days=sheet.window)) & (when <= end)]
    if wave.empty:
        raise DesignError(
            message(
                "nobody answered {name} in the last {days} days", name=instrument, days=f"{sheet.window:,}"
            )
        )
    wave = wave.drop_duplicates("customer_id", keep="last")
    if not {"scale_min", "scale_max"} <= set(wave.columns):
        raise DesignError(message("surveys do not say the scale (scale_min, scale_max)"))
    ends = wave[["scale_min", "scale_max"]].to_numpy(dtype=float)
    other = np.flatnonzero((ends != ends[0]).any(axis=1))
    if other.size:
        rows = at_rows(sorted(wave["position"].iloc[other].tolist()))
        raise ContractError(
            f"surveys holds answers to {instrument} on different scales, which are never pooled: {rows} differ from the "
            f"scale {ends[0][0]:g} to {ends[0][1]:g}; keep the answers of one scale"
        )
    scale = tuple(int(wave[c].iloc[0]) for c in ("scale_min", "scale_max"))
    who = message("customers who answered in the last {days} days", days=f"{sheet.window:,}")
    return wave, (scale[0], scale[1]), who


def _promoters(sheet: Sheet, day: int) -> Found:
    wave, scale, who = _wave(sheet, day, "nps")
    score = net_promoter_score(wave, scale=scale, level=sheet.level).score
    value = wave["value"].to_numpy(dtype=float)
    sides = np.where(value >= 9, 100.0, np.where(value <= 6, -100.0, 0.0))
    return Found(score, who, ratio_influence(wave["customer_id"], sides, np.ones(len(wave))))


def _satisfied(sheet: Sheet, day: int) -> Found:
    wave, scale, who = _wave(sheet, day, "csat")
    share = customer_satisfaction(wave, scale=scale, level=sheet.level).share
    best = (wave["value"].to_numpy(dtype=float) >= scale[1] - 1).astype(float)
    return Found(share, who, ratio_influence(wave["customer_id"], best, np.ones(len(wave))))


def _effort(sheet: Sheet, day: int) -> Found:
    wave, scale, who = _wave(sheet, day, "ces")
    if sheet.effort_direction is None:
        raise DesignError(message("which end of the effort scale is the easy one is not stated"))
    if len(wave) < 2:
        raise DesignError(message("only one customer answered"))
    mean = customer_effort_score(wave, scale=scale, direction=sheet.effort_direction, level=sheet.level).mean
    value = wave["value"].to_numpy(dtype=float)
    return Found(mean, who, ratio_influence(wave["customer_id"], value, np.ones(len(wave))))


def survey_answers(source: Dataset) -> pd.DataFrame | None:
    """Return survey answers by day of the answer, or None where the data have none."""
    if not source.has("surveys", "customer_id", "instrument", "value"):
        return None
    frame = source.frame("surveys")
    column = "answered_date" if "answered_date" in frame.columns else "answered_at"
    dated = frame.assign(answered=pd.to_datetime(frame[column]), position=np.arange(len(frame)))
    return dated.sort_values("answered", kind="stable")


SURVEYS: Part = {
    "net_promoter_score": (lambda: message("Net promoter score"), _promoters, True),
    "satisfaction": (lambda: message("Customer satisfaction"), _satisfied, True),
    "effort": (lambda: message("Customer effort"), _effort, True),
}
