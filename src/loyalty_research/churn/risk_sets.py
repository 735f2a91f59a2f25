"""Who is at risk when: event times, and two carriers of the data that give the same sums.

Rows hold one entry per interval. Cells hold counts per event time and covariate pattern: a few
whole-day counts stand for a million rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Carrier", "Cells", "Events", "Rows", "Slots", "cells", "locate", "rows"]

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Events:
    """Distinct event times, stratum by stratum.

    Attributes:
        times: Event times, ascending within each stratum, shape ``(K,)``.
        stratum: Stratum of each, ascending.
        deaths: Number of events, unweighted.
        weight: Mean case weight of those events.
        step: Index into ``times`` of each single event, shape ``(events,)``.
        fraction: Share of the tied deaths already taken out (Efron); 0 under Breslow.
        offset: Where each time's events begin in ``step``.
    """

    times: Floats
    stratum: Ints
    deaths: Ints
    weight: Floats
    step: Ints
    fraction: Floats
    offset: Ints


@dataclass(frozen=True, slots=True)
class Slots:
    """Where each row is at risk: event times ``first <= k < last``.

    Attributes:
        first: Shape ``(n,)``.
        last: Shape ``(n,)``; the time of a row's own event is ``last - 1``.
        dead: Positions of the rows with an event.
        whole: True when every row is at risk from the first event time on.
    """

    first: Ints
    last: Ints
    dead: Ints
    whole: bool


def locate(
    start: NDArray[Any] | None,
    stop: NDArray[Any],
    event: NDArray[np.bool_],
    weights: Floats | None,
    strata: Ints | None,
    *,
    efron: bool,
) -> tuple[Events, Slots]:
    """Find the event times and each row's place among them."""
    layers = 1 if strata is None else int(strata.max()) + 1
    first = np.zeros(len(stop), dtype=np.int64)
    last = np.zeros(len(stop), dtype=np.int64)
    times: list[Floats] = []
    found = 0
    for layer in range(layers):
        rows = slice(None) if strata is None else np.flatnonzero(strata == layer)
        ends = stop[rows]
        own = np.unique(ends[event[rows]])
        last[rows] = found + _count_upto(own, ends)
        first[rows] = found if start is None else found + _count_upto(own, start[rows])
        times.append(own.astype(np.float64))
        found += len(own)
    dead = np.flatnonzero(event)
    at = last[dead] - 1
    deaths = np.bincount(at, minlength=found)
    mass = deaths.astype(np.float64) if weights is None else np.bincount(at, weights[dead], minlength=found)
    offset = np.concatenate([[0], np.cumsum(deaths)[:-1]]).astype(np.int64)
    step = np.repeat(np.arange(found), deaths)
    fraction = (np.arange(len(dead)) - offset[step]) / deaths[step] if efron else np.zeros(len(dead))
    events = Events(
        times=np.concatenate(times),
        stratum=np.repeat(np.arange(layers), [len(t) for t in times]),
        deaths=deaths,
        weight=mass / deaths,
        step=step,
        fraction=fraction,
        offset=offset,
    )
    return events, Slots(first, last, dead, whole=start is None and layers == 1)


def _count_upto(times: NDArray[Any], values: NDArray[Any]) -> Ints:
    """Return how many of ``times`` are at or before each value."""
    if values.dtype.kind in "iu" and times.dtype.kind in "iu" and len(times) and values.min() >= 0:
        top = int(values.max())
        if top <= 4 * len(values) + 100_000:
            table = np.zeros(top + 1, dtype=np.int64)
            table[times[times <= top]] = 1
            counted: Ints = np.cumsum(table)[values]
            return counted
    return np.searchsorted(times, values, side="right").astype(np.int64)


class Carrier(Protocol):
    """What the likelihood needs from the data."""

    @property
    def z(self) -> Floats:
        """Covariates of each row or pattern."""

    @property
    def dead(self) -> Floats:
        """Weighted sum of z over the deaths of each time, shape ``(K, p)``."""

    def risk(self, eta: Floats) -> Floats:
        """Return exp(eta) times the case weight."""

    def sums(self, r: Floats) -> tuple[Floats, Floats]:
        """Return S0 and E0 per event time."""

    def moments(self, r: Floats) -> tuple[Floats, Floats]:
        """Return S1 and E1 per event time and column."""

    def back(self, r: Floats, a: Floats, b: Floats) -> Floats:
        """Return r times (a summed over the times at risk, less b at the row's own event)."""

    def gram(self, h: Floats) -> Floats:
        """Return z' diag(h) z."""


def _from_here(slot: Ints, v: Floats, k: int) -> Floats:
    """Return the total of ``v`` over rows whose slot is at or after each of 0..k."""
    binned = np.bincount(slot, v, minlength=k + 1).astype(np.float64, copy=False)
    total: Floats = np.cumsum(binned[::-1])[::-1]
    return total


@dataclass(frozen=True, slots=True)
class Rows:
    """One entry per interval; make it with :func:`rows`.

    Attributes:
        z: Covariates, shape ``(n, p)``, Fortran order.
        slots: Where each row is at risk.
        own: Event time of each dead row, and ``k`` for the others, shape ``(n,)``.
        k: Number of event times.
        weights: Case weights or None.
        dead: Weighted sum of z over the deaths of each time, shape ``(K, p)``.
    """

    z: Floats
    slots: Slots
    own: Ints
    k: int
    weights: Floats | None
    dead: Floats

    def risk(self, eta: Floats) -> Floats:
        """Return exp(eta) times the case weight."""
        r = np.exp(eta)
        return r if self.weights is None else r * self.weights

    def _over_risk_sets(self, v: Floats) -> Floats:
        tail: Floats = _from_here(self.slots.last, v, self.k)
        if not self.slots.whole:
            tail = tail - _from_here(self.slots.first, v, self.k)
        return tail[1:]

    def sums(self, r: Floats) -> tuple[Floats, Floats]:
        """Return S0 and E0 per event time."""
        return self._over_risk_sets(r), _over_dead(self.own, r, self.k)

    def moments(self, r: Floats) -> tuple[Floats, Floats]:
        """Return S1 and E1 per event time and column."""
        s1 = np.empty((self.k, self.z.shape[1]))
        e1 = np.empty_like(s1)
        for j in range(self.z.shape[1]):
            v = r * self.z[:, j]
            s1[:, j] = self._over_risk_sets(v)
            e1[:, j] = _over_dead(self.own, v, self.k)
        return s1, e1

    def back(self, r: Floats, a: Floats, b: Floats) -> Floats:
        """Return r times (a summed over the times at risk, less b at the row's own event)."""
        total = np.concatenate([[0.0], np.cumsum(a)])
        h = total[self.slots.last]
        if not self.slots.whole:
            h -= total[self.slots.first]
        h -= np.concatenate([b, [0.0]])[self.own]
        h *= r
        return h

    def gram(self, h: Floats) -> Floats:
        """Return z' diag(h) z, block by block so that memory stays flat."""
        p = self.z.shape[1]
        total = np.zeros((p, p))
        for at in range(0, len(h), _CHUNK):
            z = np.ascontiguousarray(self.z[at : at + _CHUNK])
            total += (z * h[at : at + _CHUNK, None]).T @ z
        return total


def _over_dead(own: Ints, v: Floats, k: int) -> Floats:
    return np.bincount(own, v, minlength=k + 1)[:k].astype(np.float64, copy=False)


def rows(z: Floats, slots: Slots, k: int, weights: Floats | None) -> Rows:
    """Carry one entry per interval.

    Args:
        z: Covariates, shape ``(n, p)``, Fortran order.
        slots: Where each row is at risk.
        k: Number of event times.
        weights: Case weights or None.
    """
    own = np.full(len(z), k, dtype=np.int64)
    own[slots.dead] = slots.last[slots.dead] - 1
    dead = np.empty((k, z.shape[1]))
    for j in range(z.shape[1]):
        dead[:, j] = _over_dead(own, z[:, j] if weights is None else z[:, j] * weights, k)
    return Rows(z, slots, own, k, weights, dead)


@dataclass(frozen=True, slots=True)
class Cells:
    """Counts per event time and covariate pattern; equal to rows, and much smaller.

    Attributes:
        z: Covariates of each pattern, shape ``(P, p)``.
        at_risk: Weighted number at risk, shape ``(K, P)``.
        died: Weighted number of deaths, shape ``(K, P)``.
    """

    z: Floats
    at_risk: Floats
    died: Floats

    @property
    def dead(self) -> Floats:
        """Weighted sum of z over the deaths of each time, shape ``(K, p)``."""
        return self.died @ self.z

    def risk(self, eta: Floats) -> Floats:
        """Return exp(eta); the weights are in the counts."""
        return np.exp(eta)

    def sums(self, r: Floats) -> tuple[Floats, Floats]:
        """Return S0 and E0 per event time."""
        return self.at_risk @ r, self.died @ r

    def moments(self, r: Floats) -> tuple[Floats, Floats]:
        """Return S1 and E1 per event time and column."""
        v = r[:, None] * self.z
        return self.at_risk @ v, self.died @ v

    def back(self, r: Floats, a: Floats, b: Floats) -> Floats:
        """Return r times (a summed over the times at risk, less b at the deaths)."""
        return r * (a @ self.at_risk - b @ self.died)

    def gram(self, h: Floats) -> Floats:
        """Return z' diag(h) z."""
        kept: Floats = (self.z * h[:, None]).T @ self.z
        return kept


def cells(pattern: Ints, z: Floats, slots: Slots, k: int, weights: Floats | None) -> Cells:
    """Count those at risk and the deaths per event time and covariate pattern.

    Args:
        pattern: Pattern of each row, shape ``(n,)``.
        z: Covariates of each pattern, shape ``(P, p)``.
        slots: Where each row is at risk.
        k: Number of event times.
        weights: Case weights or None.
    """
    width = len(z)

    def tally(slot: Ints, rows: Any, size: int) -> Floats:
        mass = None if weights is None else weights[rows]
        key = slot * width + pattern[rows]
        return np.bincount(key, mass, minlength=size * width).astype(np.float64).reshape(size, width)

    everyone = slice(None)
    change = tally(slots.last, everyone, k + 1)
    if not slots.whole:
        change -= tally(slots.first, everyone, k + 1)
    at_risk = np.cumsum(change[::-1], axis=0)[::-1][1:]
    return Cells(z, np.ascontiguousarray(at_risk), tally(slots.last[slots.dead] - 1, slots.dead, k))
