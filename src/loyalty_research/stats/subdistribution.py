"""Weights that keep customers with a competing event in the risk set, as pure functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.errors import ArgumentError
from loyalty_research.stats.survival import mass_from

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["WeightedRows", "subdistribution_rows"]

_MOST = 40_000_000


@dataclass(frozen=True, slots=True)
class WeightedRows:
    """Rows of a weighted counting process.

    Attributes:
        row: Which observation each row came from.
        start: Start of each interval.
        stop: End of each interval.
        event: True where the event of interest ended it.
        weight: Weight of the row, 1 until a competing event.
    """

    row: Ints
    start: Floats
    stop: Floats
    event: NDArray[np.bool_]
    weight: Floats


def subdistribution_rows(
    start: NDArray[Any], stop: NDArray[Any], cause: Ints, mass: Floats | None = None
) -> WeightedRows:
    """Expand observations so that a Cox fit maximises the Fine-Gray likelihood.

    Who had a competing event at T stays at risk with the weight G(t-) H(t-) / (G(T-) H(T-)),
    where G is the chance of not being censored and H that of having come under watch.

    Args:
        start: Start of each observation, shape ``(n,)``; before every end.
        stop: Its end, shape ``(n,)``.
        cause: 0 where it was censored, 1 for the cause of interest, 2 for any other.
        mass: Case weights, shape ``(n,)``.

    Raises:
        ArgumentError: When nobody had the event of interest, the weights have no finite value
            since at some time only newcomers were at risk, or the rows would not fit in memory.

    Examples:
        >>> import numpy as np
        >>> rows = subdistribution_rows(
        ...     np.zeros(4), np.array([1, 2, 3, 4]), np.array([2, 1, 0, 1]))
        >>> rows.row, rows.stop, rows.weight
        (array([0, 0, 1, 2, 3]), array([2., 4., 2., 3., 4.]), array([1. , 0.5, 1. , 1. , 1. ]))

    References:
        Fine, Gray (1999), JASA 94, section 4; Geskus (2011), Biometrics 67, for late entry; R's
        ``survival::finegray``.
    """
    times = np.unique(stop[cause == 1])
    if not len(times):
        raise ArgumentError("nobody had the event of interest")
    own = np.ones(len(stop)) if mass is None else mass
    level = _observable(start, stop, cause, own, times)
    other = np.flatnonzero((cause > 1) & (stop < times[-1]))
    base = _observable(start, stop, cause, own, stop[other])
    if not (base > 0).all():
        raise ArgumentError(
            "at some time only those who had just come under watch were at risk, so the weights of late entry are "
            "not defined; begin the analysis later (landmark)"
        )
    # event times with the same weight share an interval; each ends at the last of them
    new = np.concatenate([level[1:] != level[:-1], [True]])
    ends, levels = times[new], level[new]
    first = np.searchsorted(ends, stop[other], side="right")
    count = len(ends) - first
    if count.sum() > _MOST:
        raise ArgumentError(
            f"the weighted data would have {int(count.sum()):,} rows; take a random part of the customers, or coarser "
            "times such as weeks"
        )
    row = np.repeat(other, count)
    at = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    begins = np.where(at == np.repeat(first, count), stop[row], ends[np.maximum(at - 1, 0)])
    weight = levels[at] / np.repeat(base, count)
    # an interval of weight 1 only prolongs the observation itself
    plain = (at == np.repeat(first, count)) & (weight == 1.0)
    ended = stop.astype(np.float64)
    ended[row[plain]] = ends[at[plain]]
    kept = ~plain & (weight > 0)
    rows = np.concatenate([np.arange(len(stop)), row[kept]])
    starts = np.concatenate([start, begins[kept]]).astype(np.float64)
    order = np.lexsort((starts, rows))
    return WeightedRows(
        row=rows[order],
        start=starts[order],
        stop=np.concatenate([ended, ends[at[kept]]])[order],
        event=np.concatenate([cause == 1, np.zeros(int(kept.sum()), dtype=bool)])[order],
        weight=np.concatenate([np.ones(len(stop)), weight[kept]])[order],
    )


def _observable(start: NDArray[Any], stop: NDArray[Any], cause: Ints, mass: Floats, times: Floats) -> Floats:
    """Return G(t-) H(t-) at given times, events coming before censorings of the same time."""
    lost = cause == 0
    ends = np.unique(stop[lost])
    watched = mass_from(stop, mass, ends) - mass_from(start, mass, ends)
    leave = _at(stop[~lost], mass[~lost], ends)
    censored = _at(stop[lost], mass[lost], ends)
    kept = np.cumprod(1 - censored / (watched - leave))
    stay: Floats = np.concatenate([[1.0], kept])[np.searchsorted(ends, times, side="left")]
    entries = np.unique(start)
    if len(entries) == 1:
        return stay
    came = _at(start, mass, entries)
    # at risk seen backwards: who had come by then and left later
    there = (
        mass.sum()
        - mass_from(start, mass, entries, side="right")
        - (mass.sum() - mass_from(stop, mass, entries, side="right"))
    )
    later = np.concatenate([np.cumprod((1 - came / there)[::-1])[::-1], [1.0]])
    seen: Floats = later[np.searchsorted(entries, times, side="left")]
    return stay * seen


def _at(values: NDArray[Any], mass: Floats, times: Floats) -> Floats:
    """Return the mass of values at each of some times."""
    slot = np.searchsorted(times, values)
    inside = slot < len(times)
    inside[inside] = times[slot[inside]] == values[inside]
    return np.bincount(slot[inside], mass[inside], minlength=len(times)).astype(np.float64)
