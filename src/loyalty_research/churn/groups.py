"""Follow-up by group: who is in each, and its curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.churn.intervals import require_events, where
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message
from loyalty_research.stats.survival import kaplan_meier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from loyalty_research.churn.followup import Followup
    from loyalty_research.stats.survival import SurvivalCurve

    Floats = NDArray[np.float64]

__all__ = [
    "Group",
    "at_risk_rows",
    "cluster_check",
    "few_times",
    "group_codes",
    "group_curves",
    "grouped",
    "joined_rows",
]

ALL = "all"


@dataclass(frozen=True, slots=True)
class Group:
    """Follow-up of one group, episodes of a customer joined where nothing changes.

    Attributes:
        label: What the group is called.
        start: Starts.
        stop: Ends.
        event: Whether the event ended each.
        weights: Case weights, or None.
        customers: Customers ever in the group.
        causes: Cause of each event, 0 where there was none, or None.
        cluster: Clusters for robust errors, or None.
    """

    label: Any
    start: NDArray[Any]
    stop: NDArray[Any]
    event: NDArray[np.bool_]
    weights: Floats | None
    customers: int
    causes: NDArray[np.int64] | None = None
    cluster: NDArray[np.int64] | None = None


def grouped(data: Followup, by: str | None, *, causes: bool = False) -> list[Group]:
    """Return the follow-up of each group, in the order of its levels.

    Args:
        data: Follow-up of customers.
        by: Covariate to group by.
        causes: Whether the caller tells causes of leaving apart; others refuse such data.

    Raises:
        ContractError: When ``by`` is missing or has gaps, or nobody left, or the data tell causes
            apart and the caller does not.
    """
    require_events(data, causes=causes)
    if by is None:
        codes, labels = None, [ALL]
    else:
        codes, labels = group_codes(data, by)
    rows = joined_rows(data, codes)
    start, stop, event = data.start, data.stop, data.event
    weights, customer, cause, cluster = data.weights, data.customer, data.causes, data.cluster
    if rows is not None:
        start, stop, event = start[rows.first], stop[rows.last], event[rows.last]
        cause = None if cause is None else cause[rows.last]
        cluster = None if cluster is None else cluster[rows.first]
        weights = None if weights is None else weights[rows.first]
        customer = customer[rows.first]
        codes = None if codes is None else codes[rows.first]
    groups = []
    for code, label in enumerate(labels):
        mine = slice(None) if codes is None else np.flatnonzero(codes == code)
        who = customer[mine]
        groups.append(
            Group(
                label,
                start[mine],
                stop[mine],
                event[mine],
                None if weights is None else weights[mine],
                len(who) if rows is None else len(np.unique(who)),
                None if cause is None else cause[mine],
                _clusters(None if cluster is None else cluster[mine], who, several=rows is not None)
                if causes
                else None,
            )
        )
    return groups


def _clusters(
    cluster: NDArray[np.int64] | None, customer: NDArray[np.int64], *, several: bool
) -> NDArray[np.int64] | None:
    """Return the clusters named, or the customers where one has several spells."""
    if cluster is not None:
        return cluster
    return customer if several and len(np.unique(customer)) < len(customer) else None


def group_codes(data: Followup, by: str) -> tuple[NDArray[np.int64], list[Any]]:
    """Return each interval's group code and the labels."""
    if not isinstance(by, str):
        raise ArgumentError(f"by must name one covariate; got {by!r}")
    if by not in data.covariates.columns:
        raise ContractError(
            f"covariates have no column {by!r} to group by; they have "
            f"{', '.join(map(str, data.covariates.columns)) or 'none'}"
        )
    values = data.covariates[by]
    gaps = values.isna().to_numpy()
    if gaps.any():
        raise ContractError(
            f"covariates.{by} is missing in {where(gaps)}; give missing values a group of their own"
        )
    if isinstance(values.dtype, pd.CategoricalDtype):
        used = values.cat.remove_unused_categories()
        return used.cat.codes.to_numpy().astype(np.int64), used.cat.categories.tolist()
    codes, labels = pd.factorize(values, sort=True)
    return codes.astype(np.int64), labels.tolist()


@dataclass(frozen=True, slots=True)
class Joined:
    """First and last interval of each unbroken episode."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]


def joined_rows(data: Followup, codes: NDArray[np.int64] | None) -> Joined | None:
    """Join consecutive intervals of a customer within a group, so that no false exits count.

    Returns nothing where every customer has one interval, so that there is nothing to join.
    """
    if data.n_customers == len(data.stop):
        return None
    order = np.lexsort((data.start, data.customer))
    ahead, behind = order[1:], order[:-1]
    goes_on = (data.customer[ahead] == data.customer[behind]) & (data.start[ahead] == data.stop[behind])
    if codes is not None:
        goes_on &= codes[ahead] == codes[behind]
    if data.weights is not None:
        goes_on &= data.weights[ahead] == data.weights[behind]
    return Joined(order[np.concatenate([[True], ~goes_on])], order[np.concatenate([~goes_on, [True]])])


def cluster_check(data: Followup) -> list[Check]:
    """Say that intervals take customers as independent where the data are clustered."""
    if data.cluster is None:
        return []
    return [
        Check(
            message("Clusters"),
            "warning",
            message("The data are clustered, and these intervals take customers as independent: too narrow."),
        )
    ]


def group_curves(data: Followup, by: str | None) -> list[tuple[Group, SurvivalCurve]]:
    """Return each group with its curve."""
    return [
        (g, kaplan_meier(g.stop, g.event, entry=g.start if g.start.any() else None, weights=g.weights))
        for g in grouped(data, by)
    ]


def at_risk_rows(groups: Sequence[tuple[Group, SurvivalCurve]], times: Floats) -> pd.DataFrame:
    """Count at each time: at risk, and events and exits without one so far."""
    frames = []
    for group, curve in groups:
        mass = np.ones(len(group.stop)) if group.weights is None else group.weights
        there = [float(mass[(group.start < t) & (group.stop >= t)].sum()) for t in times]
        # before anything can happen, those present from the start are at risk
        there = [
            float(mass[group.start <= t].sum()) if t == 0 else v for t, v in zip(times, there, strict=True)
        ]
        slot = np.searchsorted(curve.times, times, side="right")
        frames.append(
            pd.DataFrame(
                {
                    "group": [group.label] * len(times),
                    "time": times,
                    "at_risk": there,
                    "events": np.concatenate([[0.0], np.cumsum(curve.events)])[slot],
                    "censored": np.concatenate([[0.0], np.cumsum(curve.censored)])[slot],
                }
            )
        )
    frame = pd.concat(frames, ignore_index=True)
    counts = ["at_risk", "events", "censored"]
    if np.array_equal(frame[counts], np.round(frame[counts])):
        frame = frame.astype(dict.fromkeys(counts, np.int64))
    return frame


def few_times(last: float) -> Floats:
    """Return some round times from 0 to ``last`` for a table."""
    from math import floor, log10

    step = last / 6
    unit = 10.0 ** floor(log10(step)) if step > 0 else 1.0
    for factor in (1, 2, 3, 5, 10):
        if factor * unit >= step:
            step = factor * unit
            break
    if last > 60:
        step = next((s for s in (10, 15, 30, 60, 90, 120, 180, 365, 730) if s >= last / 7), step)
    return np.arange(0.0, last + 1e-9, step)
