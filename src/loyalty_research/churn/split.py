"""Train on what was seen by a day, test on what came after."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from loyalty_research.churn import intervals
from loyalty_research.churn.followup import Removed
from loyalty_research.churn.spells import calendar_day
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, number

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from loyalty_research.churn.data import ChurnData
    from loyalty_research.churn.followup import Followup

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Who", "runs", "split_by_time"]

Who = Literal["still there", "newcomers", "both"]


def runs(data: Followup) -> Ints:
    """Return, per interval, the last one of the unbroken follow-up it belongs to."""
    order = np.lexsort((data.start, data.customer))
    start, stop, who = data.start[order], data.stop[order], data.customer[order]
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (who[1:] != who[:-1]) | (start[1:] != stop[:-1]) | data.event[order][:-1]
    run = np.cumsum(fresh) - 1
    ends = np.flatnonzero(np.concatenate([fresh[1:], [True]]))
    last = np.empty(len(order), dtype=np.int64)
    last[order] = order[ends[run]]
    return last


def split_by_time(
    data: ChurnData,
    at: dt.date | str | float,
    *,
    who: Who = "still there",
    known_at: Mapping[str, str] | None = None,
) -> tuple[ChurnData, ChurnData]:
    """Split follow-up at a day: what was seen up to it trains, what came after tests.

    Training follow-up is cut on the day (whoever is still there is censored). Those still there
    are tested from the tenure they had reached, one interval each, with the covariates in force
    on that day; later changes are not used, since nobody could know them.

    Args:
        data: Follow-up of customers.
        at: Calendar day, for data that know when each clock began; or a number, a day on the
            customers' own clocks.
        who: Whom to test on: those ``"still there"`` on the day, ``"newcomers"`` whose clock
            began later (tested from their first day), or ``"both"``.
        known_at: Covariate to the column of covariates with the date (or clock day) on which its
            value became known; checked against the start of every interval.

    Returns:
        Training and test data; what each left out is in their ``.audit()``.

    Raises:
        ArgumentError: When the day is outside the follow-up, or an option unknown.
        ContractError: When a calendar day is given for data without a calendar, or nobody is left
            on one of the sides.
        ImmortalTimeError: When a covariate was not known when it would be used.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(pd.DataFrame({"duration": [5, 30, 40], "event": [1, 1, 0]}))
        >>> train, test = split_by_time(data, 10)
        >>> train.to_lifelines()[["start", "stop", "event"]].values.tolist()
        [[0, 5, True], [0, 10, False], [0, 10, False]]
        >>> test.to_lifelines()[["start", "stop", "event"]].values.tolist()
        [[10, 30, True], [10, 40, False]]
    """
    if who not in ("still there", "newcomers", "both"):
        raise ArgumentError(f"who must be 'still there', 'newcomers' or 'both'; got {who!r}")
    day, said = _clock_day(data, at)
    cut = day[data.customer]
    train = _train(data, cut, said)
    test = _test(data, cut, said, who)
    for column, when in (known_at or {}).items():
        for part, name in ((train, "training rows"), (test, "test rows")):
            known = _known(part, column, when)
            intervals.check_known(known, part.start, column=column, table=name)
    return train, test


def _clock_day(data: ChurnData, at: dt.date | str | float) -> tuple[Ints | Floats, str]:
    """Return each customer's clock day of the split, and how to say it."""
    if isinstance(at, (int, float, np.integer, np.floating)):
        if not 0 < at < data.last:
            raise ArgumentError(f"at must be a day between 0 and the last one, {data.last:g}; got {at!r}")
        whole = int(at) if float(at).is_integer() else float(at)
        return np.full(data.n_customers, whole), message("day {day}", day=number(float(at), digits=0))
    day = calendar_day(at, "at")
    if data.origin is None:
        raise ContractError(
            "these data have no calendar, so they cannot be split at a date: build them from transactions or "
            "subscriptions, or give a day on the customers' own clocks"
        )
    clock = day.astype(np.int64) - data.origin.astype("datetime64[D]").astype(np.int64)
    return clock, str(day)


def _train(data: ChurnData, cut: NDArray[Any], said: str) -> ChurnData:
    rows = np.flatnonzero(data.start < cut)
    if not len(rows):
        raise ContractError(f"nobody is watched before {said}, so there is nothing to train on")
    part = data.take(rows)
    ends, seen = np.minimum(data.stop[rows], cut[rows]), data.stop[rows] <= cut[rows]
    gone = data.n_customers - part.n_customers
    removed = Removed(message("not watched before {day}", day=said), len(data.stop) - len(rows), gone)
    return replace(
        part,
        stop=ends,
        event=data.event[rows] & seen,
        causes=None if data.causes is None else np.where(seen, data.causes[rows], 0),
        removed=(*data.removed, removed),
        checks=(*data.checks, *_late_labels(data, said)),
    )


def _late_labels(data: ChurnData, said: str) -> tuple[Check, ...]:
    if data.inactivity_days is None:
        return ()
    return (
        Check(
            message("Training labels"),
            "passed",
            message(
                "Who had left by {day} is known only {window} days later, since leaving is a silence of that length: "
                "a model like this one can be had from then on.",
                day=said,
                window=data.inactivity_days,
            ),
        ),
    )


def _test(data: ChurnData, cut: NDArray[Any], said: str, who: Who) -> ChurnData:
    there = (cut > 0) & (data.start <= cut) & (data.stop > cut)
    first = np.zeros(len(cut), dtype=bool)
    order = np.lexsort((data.start, data.customer))
    first[order[np.unique(data.customer[order], return_index=True)[1]]] = True
    fresh = (cut <= 0) & first & (data.start == 0)
    chosen = {"still there": there, "newcomers": fresh, "both": there | fresh}[who]
    rows = np.flatnonzero(chosen)
    if not len(rows):
        raise ContractError(f"nobody to test on: no customer is {who} after {said}; choose another day")
    last = runs(data)[rows]
    part = data.take(rows)
    rule = {
        "still there": message("not still there on {day}, so not tested", day=said),
        "newcomers": message("no newcomer after {day}, so not tested", day=said),
        "both": message("gone by {day}, so not tested", day=said),
    }[who]
    removed = Removed(rule, 0, data.n_customers - len(rows))
    return replace(
        part,
        start=np.where(there[rows], cut[rows], data.start[rows]),
        stop=data.stop[last],
        event=data.event[last],
        causes=None if data.causes is None else data.causes[last],
        removed=(*data.removed, removed),
    )


def _known(part: ChurnData, column: str, when: str) -> Floats:
    """Return the clock day on which each row's value became known."""
    intervals.need(part.covariates, [column, when], "covariates")
    values = part.covariates[when]
    if pd.api.types.is_numeric_dtype(values):
        return intervals.numbers(part.covariates, when, "covariates").astype(np.float64)
    if part.origin is None:
        raise ContractError(
            f"covariates.{when} holds dates, and these data have no calendar; give clock days"
        )
    if values.isna().any():
        raise ContractError(f"covariates.{when} is missing in {intervals.where(values.isna().to_numpy())}")
    days = pd.to_datetime(values).to_numpy().astype("datetime64[D]").astype(np.int64)
    clock: Floats = (days - part.origin.astype("datetime64[D]").astype(np.int64)[part.customer]).astype(
        np.float64
    )
    return clock
