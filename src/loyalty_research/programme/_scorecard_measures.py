"""The measures of a scorecard on one day, each with how much every customer moves it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.errors import ContractError, DesignError, at_rows
from loyalty_research.i18n import message, percent
from loyalty_research.programme._windows import date_of, ratio_influence
from loyalty_research.programme.membership import membership_on
from loyalty_research.programme.retention import rolling_retention, second_purchase
from loyalty_research.programme.revenue import revenue_concentration, revenue_retention, top_weights
from loyalty_research.programme.surveys import (
    customer_effort_score,
    customer_satisfaction,
    net_promoter_score,
)
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from loyalty_research.data import Dataset
    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._windows import PurchaseDays
    from loyalty_research.programme.surveys import EffortDirection

    Array = NDArray[np.float64]

__all__ = ["MEASURES", "Found", "Sheet"]

TOP = 0.2


@dataclass(frozen=True)
class Found:
    """A measure on one day.

    Attributes:
        estimate: With its interval.
        denominator: Whom or what ``n`` counts, in words.
        moved: By how much each customer moves the estimate, by customer.
    """

    estimate: Estimate
    denominator: str
    moved: pd.Series[float]


@dataclass(frozen=True)
class Sheet:
    """What the measures are taken from.

    Attributes:
        source: The dataset.
        record: Purchases up to the later day, or None where the data have no transactions.
        answers: Survey answers, or None.
        kept: What several measures of a day share, worked out once.
    """

    source: Dataset
    record: PurchaseDays | None
    answers: pd.DataFrame | None
    window: int
    repeat_window: int
    activity_window: int
    effort_direction: EffortDirection | None
    seed: int
    resamples: int
    level: float
    kept: dict[tuple[str, int], Any] = field(default_factory=dict, compare=False, repr=False)

    def purchases(self, day: int) -> PurchaseDays:
        """Return the record up to a day.

        Raises:
            DesignError: When there is none.
        """
        if self.record is None:
            raise DesignError(message("the data have no transactions with customer_id and amount"))
        if day < self.record.begin:
            raise DesignError(
                message("transactions begin only on {date}", date=date_of(self.record.begin).isoformat())
            )
        if ("purchases", day) not in self.kept:
            self.kept["purchases", day] = self.record if day == self.record.end else self.record.until(day)
        found: PurchaseDays = self.kept["purchases", day]
        return found

    def revenue(self, day: int) -> pd.DataFrame:
        """Return revenue by customer in the window before and in the one up to a day.

        Raises:
            DesignError: When it cannot be added up.
        """
        record = self.purchases(day)
        record.need(2 * self.window, "revenue of two windows")
        middle = record.end - self.window
        return pd.DataFrame(
            {
                "before": record.revenue(middle - self.window, middle),
                "after": record.revenue(middle, record.end),
            },
            index=record.customers,
        )


# --- purchases -----------------------------------------------------------------------------------


def _retention(sheet: Sheet, day: int) -> Found:
    record = sheet.purchases(day)
    kept = rolling_retention(record, sheet.window)
    if kept is None:
        record.need(2 * sheet.window, "rolling retention")
        raise DesignError("rolling retention needs two windows of transactions")
    who, again = kept
    return _share(
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
    return _share(
        sheet,
        record.customers[chosen],
        back[chosen],
        message(
            "customers first seen in {window} days, each followed for {days}",
            window=f"{sheet.window:,}",
            days=f"{sheet.repeat_window:,}",
        ),
    )


def _share(sheet: Sheet, who: pd.Index[Any], yes: Any, denominator: str) -> Found:
    if not len(who):
        raise DesignError(message("there are none of the customers it counts ({who})", who=denominator))
    hits = np.asarray(yes, dtype=float)
    return Found(
        proportion(int(hits.sum()), len(who), level=sheet.level),
        denominator,
        ratio_influence(who, hits, np.ones(len(who))),
    )


# --- revenue -------------------------------------------------------------------------------------


def _revenue_kept(sheet: Sheet, day: int, *, net: bool) -> Found:
    frame = sheet.revenue(day)
    frame = frame[frame["before"] > 0]
    if ("revenue", day) not in sheet.kept:
        sheet.kept["revenue", day] = revenue_retention(
            frame, seed=sheet.seed, resamples=sheet.resamples, level=sheet.level
        )
    kept = sheet.kept["revenue", day]
    before, after = (frame[c].to_numpy() for c in ("before", "after"))
    return Found(
        kept.net if net else kept.gross,
        message("customers with revenue in the {days} days before the last {days}", days=f"{sheet.window:,}"),
        ratio_influence(frame.index, after if net else np.minimum(before, after), before),
    )


def _gross(sheet: Sheet, day: int) -> Found:
    return _revenue_kept(sheet, day, net=False)


def _net(sheet: Sheet, day: int) -> Found:
    return _revenue_kept(sheet, day, net=True)


def _top(sheet: Sheet, day: int) -> Found:
    frame = sheet.revenue(day)
    spent = frame.loc[frame["after"] > 0, "after"]
    found = revenue_concentration(
        spent.to_numpy(), seed=sheet.seed, share=TOP, resamples=sheet.resamples, level=sheet.level
    )
    values = spent.to_numpy()
    return Found(
        found.top,
        message("customers with revenue in the last {days} days", days=f"{sheet.window:,}"),
        top_influence(spent.index, values, values, TOP),
    )


def _top_later(sheet: Sheet, day: int) -> Found:
    frame = sheet.revenue(day)
    frame = frame[frame["before"] > 0]
    found = revenue_concentration(
        frame, seed=sheet.seed, share=TOP, resamples=sheet.resamples, level=sheet.level
    )
    if found.later is None:
        raise DesignError(message("the customers of the window before brought nothing in the last"))
    return Found(
        found.later,
        message("customers with revenue in the {days} days before the last {days}", days=f"{sheet.window:,}"),
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


# --- members and answers -------------------------------------------------------------------------


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
    return _share(
        sheet,
        held,
        active,
        message("members held, active within {days} days", days=f"{sheet.activity_window:,}"),
    )


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


MEASURES: dict[str, tuple[Callable[[], str], Callable[[Sheet, int], Found], bool]] = {
    "retention": (lambda: message("Retention"), _retention, True),
    "repeat_purchase": (lambda: message("Repeat purchase"), _repeat, True),
    "gross_revenue_retention": (lambda: message("Gross revenue retention"), _gross, True),
    "net_revenue_retention": (lambda: message("Net revenue retention"), _net, True),
    "active_membership": (lambda: message("Active membership"), _active, True),
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
    "net_promoter_score": (lambda: message("Net promoter score"), _promoters, True),
    "satisfaction": (lambda: message("Customer satisfaction"), _satisfied, True),
    "effort": (lambda: message("Customer effort"), _effort, True),
}
"""Key to name, measure, and whether more of it is better."""
