"""Measures of a scorecard of what customers say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.errors import ContractError, DesignError, at_rows
from loyalty_research.i18n import message, percent
from loyalty_research.programme._scorecard_sheet import Found
from loyalty_research.programme._windows import date_of, ratio_influence
from loyalty_research.programme.response import response_weights
from loyalty_research.programme.segments import banded
from loyalty_research.programme.surveys import (
    customer_effort_score,
    customer_satisfaction,
    net_promoter_score,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.data import Dataset
    from loyalty_research.programme._scorecard_sheet import Part, Sheet

__all__ = ["SURVEYS", "SURVEY_OPTIONS", "survey_answers"]

SURVEY_OPTIONS = ("survey_weights",)
"""Lower edges of bands of purchase days by which answers are weighted, such as (0, 1, 2, 4)."""


@dataclass(frozen=True)
class _Wave:
    """The answers of one wave.

    Attributes:
        frame: Each customer's last answer in the window.
        scale: Lowest and highest answer.
        weights: One an answer, or None.
        who: Whom it counts, in words, with the response rate.
    """

    frame: pd.DataFrame
    scale: tuple[int, int]
    weights: NDArray[np.float64] | None
    who: str

    def moved(self, values: NDArray[np.float64]) -> pd.Series[float]:
        """Return by how much each customer moves the mean of some values."""
        weight = np.ones(len(values)) if self.weights is None else self.weights
        return ratio_influence(self.frame["customer_id"], weight * values, weight)


def _wave(sheet: Sheet, day: int, instrument: str) -> _Wave:
    """Return the last answer of each customer in the window, the scale, and whom it counts."""
    if sheet.answers is None:
        raise DesignError(message("the data have no surveys with instrument and value"))
    asked = sheet.answers[sheet.answers["instrument"].astype("string").str.lower() == instrument]
    if asked.empty:
        raise DesignError(message("surveys have no answers to the instrument {name}", name=instrument))
    end = pd.Timestamp(date_of(day))
    # an invitation without an answer is dated by its own day
    when = asked["answered"].where(asked["value"].notna(), asked["invited"])
    asked = asked[(when > end - pd.Timedelta(days=sheet.window)) & (when <= end)]
    wave = asked[asked["value"].notna()]
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
    low, high = (int(wave[c].iloc[0]) for c in ("scale_min", "scale_max"))
    people = pd.Index(asked["customer_id"].unique())
    known = bool(asked["value"].isna().any())
    weights = _weights(sheet, day, wave["customer_id"], people if known else None)
    return _Wave(
        wave,
        (low, high),
        weights,
        _who(sheet, len(wave), len(people) if known else None, weights is not None),
    )


def _who(sheet: Sheet, n: int, asked: int | None, weighted: bool) -> str:
    """Say whom a wave counts, how many of those asked answered, and what that leaves open."""
    days = f"{sheet.window:,}"
    if asked is None and weighted:
        return message(
            "customers who answered in the last {days} days, weighted to the customers of these days; how many were "
            "asked is not known",
            days=days,
        )
    if asked is None:
        return message(
            "customers who answered in the last {days} days; how many were asked is not known, and the silent may think "
            "otherwise",
            days=days,
        )
    rate, number = percent(n / asked), f"{asked:,}"
    if weighted:
        return message(
            "customers who answered in the last {days} days, {rate} of {asked} asked, weighted to those asked",
            days=days,
            rate=rate,
            asked=number,
        )
    return message(
        "customers who answered in the last {days} days, {rate} of {asked} asked; the silent may think otherwise",
        days=days,
        rate=rate,
        asked=number,
    )


def _weights(
    sheet: Sheet, day: int, who: pd.Series[Any], asked: pd.Index[Any] | None
) -> NDArray[np.float64] | None:
    """Return weights to those asked, or else to the customers of the window, by how often they bought."""
    edges = sheet.options.get("survey_weights")
    if edges is None:
        return None
    record = sheet.purchases(day)
    inside = (record.day > day - sheet.window) & (record.day <= day)
    bought = pd.Series(np.bincount(record.code[inside], minlength=len(record.customers)), record.customers)
    people = pd.Index(bought.index[bought > 0]).union(pd.Index(who)) if asked is None else asked
    bands = banded(bought.reindex(people).fillna(0.0).astype(float), edges, name="purchase days")
    found = response_weights(bands, who.to_numpy(), level=sheet.level).weights
    return np.asarray(found, dtype=np.float64)


def _promoters(sheet: Sheet, day: int) -> Found:
    wave = _wave(sheet, day, "nps")
    score = net_promoter_score(wave.frame, scale=wave.scale, weights=wave.weights, level=sheet.level).score
    value = wave.frame["value"].to_numpy(dtype=float)
    return Found(score, wave.who, wave.moved(np.where(value >= 9, 100.0, np.where(value <= 6, -100.0, 0.0))))


def _satisfied(sheet: Sheet, day: int) -> Found:
    wave = _wave(sheet, day, "csat")
    share = customer_satisfaction(wave.frame, scale=wave.scale, weights=wave.weights, level=sheet.level).share
    best = (wave.frame["value"].to_numpy(dtype=float) >= wave.scale[1] - 1).astype(float)
    return Found(share, wave.who, wave.moved(best))


def _effort(sheet: Sheet, day: int) -> Found:
    wave = _wave(sheet, day, "ces")
    if sheet.effort_direction is None:
        raise DesignError(message("which end of the effort scale is the easy one is not stated"))
    if len(wave.frame) < 2:
        raise DesignError(message("only one customer answered"))
    mean = customer_effort_score(
        wave.frame,
        scale=wave.scale,
        direction=sheet.effort_direction,
        weights=wave.weights,
        level=sheet.level,
    ).mean
    return Found(mean, wave.who, wave.moved(wave.frame["value"].to_numpy(dtype=float)))


def survey_answers(source: Dataset) -> pd.DataFrame | None:
    """Return survey answers by day of the answer, or None where the data have none."""
    if not source.has("surveys", "customer_id", "instrument", "value"):
        return None
    frame = source.frame("surveys")
    column = "answered_date" if "answered_date" in frame.columns else "answered_at"
    answered = pd.to_datetime(frame[column])
    asked = next((c for c in ("invited_date", "invited_at") if c in frame.columns), None)
    invited = answered if asked is None else pd.to_datetime(frame[asked]).fillna(answered)
    dated = frame.assign(answered=answered, invited=invited, position=np.arange(len(frame)))
    return dated.sort_values("answered", kind="stable")


SURVEYS: Part = {
    "net_promoter_score": (lambda: message("Net promoter score"), _promoters, True),
    "satisfaction": (lambda: message("Customer satisfaction"), _satisfied, True),
    "effort": (lambda: message("Customer effort"), _effort, True),
}
