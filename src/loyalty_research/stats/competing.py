"""Competing events: cumulative incidence with its variance, as pure functions on arrays.

Intervals, weights and times are those of :mod:`loyalty_research.stats.survival`.

References:
    Aalen, Johansen (1978), Scandinavian Journal of Statistics 5.
    Therneau, Crowson, Atkinson (2024), Multi-state models and competing risks, vignette of R's
    ``survival``: the infinitesimal jackknife.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.errors import ArgumentError, at_rows
from loyalty_research.stats.survival import checked_columns, risk_counts, step_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.stats.survival import Interval

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["IncidenceCurve", "aalen_johansen", "incidence_interval"]

_BLOCK = 4_000_000


@dataclass(frozen=True, slots=True)
class IncidenceCurve:
    """Aalen-Johansen steps: the share who left for each cause, and the share still there.

    Attributes:
        times: Distinct end times, ascending, shape ``(k,)``; the last is where the data stop.
        at_risk: Weighted number at risk just before each time.
        events: Weighted number of events of each cause at each time, shape ``(causes, k)``.
        censored: Weighted number that leave at each time without an event.
        incidence: Cumulative incidence of each cause just after each time, shape ``(causes, k)``.
        variance: Its infinitesimal-jackknife variance, shape ``(causes, k)``.
        survival: Share still there just after each time; with ``incidence`` it adds up to 1.
        survival_variance: Its infinitesimal-jackknife variance.
        n: Number of observations (rows), unweighted.
        first: Earliest entry; nobody has left there.
    """

    times: Floats
    at_risk: Floats
    events: Floats
    censored: Floats
    incidence: Floats
    variance: Floats
    survival: Floats
    survival_variance: Floats
    n: int
    first: float

    @property
    def last(self) -> float:
        """The last time anybody was observed."""
        return float(self.times[-1])


def aalen_johansen(
    duration: ArrayLike,
    cause: ArrayLike,
    *,
    causes: int | None = None,
    entry: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
) -> IncidenceCurve:
    """Estimate the cumulative incidence of each cause; ties are taken as they are.

    Args:
        duration: End of each observation, shape ``(n,)``, in any one unit.
        cause: 0 where the observation was censored, else the number of the cause, 1, 2, ...
        causes: How many causes there are, where some may be absent; by default the largest.
        entry: When each observation came under watch, shape ``(n,)``.
        weights: Case weights, shape ``(n,)``.
        cluster: Observations that belong together, shape ``(n,)``; their contributions are added
            before they are squared.

    Returns:
        The steps. Without clusters weight k is k copies; with each row as its own cluster the
        variance is that of R's weighted ``survfit``, which takes weights as sampling weights.

    Raises:
        ArgumentError: As :func:`risk_counts`, or when a cause is negative or no whole number.

    Examples:
        >>> curve = aalen_johansen([1, 2, 3, 4], [1, 2, 0, 1])
        >>> curve.incidence[0], curve.incidence[1]
        (array([0.25, 0.25, 0.25, 0.75]), array([0.  , 0.25, 0.25, 0.25]))
        >>> bool(np.allclose(curve.incidence.sum(axis=0) + curve.survival, 1))
        True

    References:
        Aalen, Johansen (1978). The variance adds the squared derivatives of the estimate with
        respect to each case weight, as R's ``survfit`` for multi-state data does.
    """
    code = _causes(cause, causes)
    stop, _, start, mass = checked_columns(duration, code > 0, entry, weights)
    if len(code) != len(stop):
        raise ArgumentError(f"cause has shape {code.shape}, duration has {stop.shape}")
    k = int(code.max(initial=0)) if causes is None else causes
    pooled = risk_counts(stop, code > 0, entry=start, weights=mass)
    slot = np.searchsorted(pooled.times, stop)
    size = len(pooled.times)
    events = np.zeros((k, size))
    for c in range(k):
        mine = code == c + 1
        events[c] = np.bincount(slot[mine], None if mass is None else mass[mine], minlength=size)
    steps = _Steps.of(pooled.at_risk, pooled.events, events)
    seen = _Seen.of(steps, pooled.times, slot, start, code, np.ones(len(stop)) if mass is None else mass)
    if cluster is None:
        variance, survival_variance = _variance(steps, seen)
    else:
        groups = np.unique(np.asarray(cluster), return_inverse=True)[1]
        variance, survival_variance = _clustered(steps, seen, groups)
    return IncidenceCurve(
        times=pooled.times,
        at_risk=pooled.at_risk,
        events=events,
        censored=pooled.censored,
        incidence=steps.incidence,
        variance=variance,
        survival=steps.survival,
        survival_variance=survival_variance,
        n=pooled.n,
        first=pooled.first,
    )


def _causes(cause: ArrayLike, causes: int | None) -> Ints:
    values = np.asarray(cause)
    if values.dtype == bool:
        values = values.astype(np.int64)
    if values.dtype.kind not in "iuf":
        raise ArgumentError(f"cause must be whole numbers from 0; got {values.dtype}")
    odd = ~(values >= 0) | (values != np.floor(values))
    if causes is not None:
        odd |= values > causes
    if odd.any():
        most = "" if causes is None else f" to {causes}"
        raise ArgumentError(
            f"cause must be a whole number from 0{most}; it is not in {at_rows(np.flatnonzero(odd).tolist())}"
        )
    return values.astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Steps:
    """Curves and the running sums their derivatives are made of, one column per time."""

    survival: Floats
    before: Floats
    incidence: Floats
    inverse: Floats
    kept: Floats
    passed: Floats
    drift: Floats

    @classmethod
    def of(cls, at_risk: Floats, leavers: Floats, events: Floats) -> _Steps:
        live = leavers > 0
        # a time at which nobody leaves is no step; once all have left nothing moves any more
        inverse = np.divide(1.0, at_risk, out=np.zeros_like(at_risk), where=live)
        kept = np.where(live, (at_risk - leavers) * inverse, 1.0)
        survival = np.multiply.accumulate(kept)
        before = np.concatenate([[1.0], survival[:-1]])
        rise = before * events * inverse
        share = leavers * inverse
        passed = np.cumsum(np.divide(share * inverse, kept, out=np.zeros_like(kept), where=kept > 0))
        passed_before = np.concatenate([[0.0], passed[:-1]])
        drift = np.cumsum(rise * (passed_before - inverse), axis=1)
        return cls(survival, before, np.cumsum(rise, axis=1), inverse, kept, passed, drift)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Where each observation stands on the steps.

    With F the incidence, A the running sum of d / (n (n - d)) and R the running drift, the
    derivative of F(t) for somebody who entered at e is R(t) - R(e) - A(e) (F(t) - F(e)) while
    at risk, and from the exit x on ``level - slope F(t)``.

    Attributes:
        exit: Slot of the exit time.
        entered: Slot from which the observation is at risk, 0 without late entry.
        code: Cause of the exit, or 0.
        mass: Case weight.
        passed: A(e).
        slope: Weight of F(t) after the exit.
    """

    exit: NDArray[np.intp]
    entered: NDArray[np.intp] | None
    code: Ints
    mass: Floats
    passed: Floats | float
    slope: Floats

    @classmethod
    def of(
        cls,
        steps: _Steps,
        times: Floats,
        slot: NDArray[np.intp],
        start: NDArray[Any] | None,
        code: Ints,
        mass: Floats,
    ) -> _Seen:
        entered = None if start is None else np.searchsorted(times, start, side="right")
        passed: Floats | float = 0.0 if entered is None else _upto(steps.passed)[entered]
        jump = np.divide(steps.inverse, steps.kept, out=np.zeros_like(steps.kept), where=steps.kept > 0)
        slope = np.where(code > 0, jump[slot], 0.0) - (steps.passed[slot] - passed)
        return cls(slot, entered, code, mass, passed, slope)

    def entry_level(self, steps: _Steps, cause: int) -> Floats | float:
        """R(e) - A(e) F(e) per observation."""
        if self.entered is None:
            return 0.0
        drift, incidence = _upto(steps.drift[cause]), _upto(steps.incidence[cause])
        level: Floats = drift[self.entered] - self.passed * incidence[self.entered]
        return level

    def exit_level(self, steps: _Steps, cause: int, entry_level: Floats | float) -> Floats:
        """What the derivative has become at the exit, plus slope times F there."""
        incidence, drift = steps.incidence[cause][self.exit], steps.drift[cause][self.exit]
        own = np.where(self.code == cause + 1, (steps.before * steps.inverse)[self.exit], 0.0)
        level: Floats = drift - entry_level - self.passed * incidence + own + self.slope * incidence
        return level


def _upto(values: Floats) -> Floats:
    """Return values before each slot: 0 before the first."""
    return np.concatenate([[0.0], values])


def _variance(steps: _Steps, seen: _Seen) -> tuple[Floats, Floats]:
    """Add squared derivatives over observations, at every time, in one pass over the rows."""
    size = len(steps.survival)

    def out(values: Floats) -> Floats:
        return np.cumsum(np.bincount(seen.exit, values, minlength=size))

    def at_risk(values: Floats | float) -> Floats:
        # those who have entered before each slot's time and have not left by it
        mass = seen.mass * values
        came = (
            np.full(size, mass.sum())
            if seen.entered is None
            else np.cumsum(np.bincount(seen.entered, mass, minlength=size + 1)[:size])
        )
        return came - out(mass)

    there, entered_at, entered_square = at_risk(1.0), at_risk(seen.passed), at_risk(seen.passed**2)
    gone = out(seen.mass * seen.slope**2)
    inside = steps.passed**2 * there - 2 * steps.passed * entered_at + entered_square
    survival_variance = steps.survival**2 * (gone + inside)
    variance = np.zeros_like(steps.incidence)
    for c in range(len(steps.incidence)):
        come = seen.entry_level(steps, c)
        left = seen.exit_level(steps, c, come)
        f, r = steps.incidence[c], steps.drift[c]
        after = out(seen.mass * left**2) - 2 * f * out(seen.mass * left * seen.slope) + f**2 * gone
        inside = (
            r**2 * there
            + at_risk(come**2)
            + f**2 * entered_square
            - 2 * r * at_risk(come)
            - 2 * r * f * entered_at
            + 2 * f * at_risk(come * seen.passed)
        )
        variance[c] = np.maximum(after + inside, 0.0)
    return variance, np.maximum(survival_variance, 0.0)


def _clustered(steps: _Steps, seen: _Seen, groups: Ints) -> tuple[Floats, Floats]:
    """Add derivatives within clusters, then their squares, in blocks of times."""
    causes, size = steps.incidence.shape
    n, many = len(seen.exit), int(groups.max()) + 1
    variance, survival_variance = np.zeros((causes, size)), np.zeros(size)
    width = max(1, _BLOCK // n)
    come = [np.broadcast_to(seen.entry_level(steps, c), (n,)) for c in range(causes)]
    left = [seen.exit_level(steps, c, come[c]) for c in range(causes)]
    passed = np.broadcast_to(np.asarray(seen.passed), (n,))
    for low in range(0, size, width):
        for j in range(low, min(low + width, size)):
            gone = seen.exit <= j
            there = ~gone if seen.entered is None else ~gone & (seen.entered <= j)
            stay = np.where(gone, -seen.slope, np.where(there, steps.passed[j] - passed, 0.0))
            summed = np.bincount(groups, seen.mass * stay, minlength=many)
            survival_variance[j] = steps.survival[j] ** 2 * float(summed @ summed)
            for c in range(causes):
                f, r = steps.incidence[c, j], steps.drift[c, j]
                own = np.where(gone, left[c] - seen.slope * f, np.where(there, r - come[c] - passed * f, 0.0))
                summed = np.bincount(groups, seen.mass * own, minlength=many)
                variance[c, j] = float(summed @ summed)
    return variance, survival_variance


def incidence_interval(
    curve: IncidenceCurve, cause: int, *, level: float = 0.95, kind: Interval = "log-log"
) -> tuple[Floats, Floats]:
    """Return pointwise limits of a cause's cumulative incidence at each of the curve's times.

    Args:
        curve: Cumulative incidence.
        cause: Row of ``curve.incidence``, from 0.
        level: Confidence level.
        kind: Scale on which the interval is symmetric: ``"log-log"`` (log of minus log of the
            incidence), ``"log"`` (R's default) or ``"plain"``, as R's ``survfit`` computes them.

    Returns:
        Lower and upper limits; NaN while nobody has left for the cause.

    Examples:
        >>> low, high = incidence_interval(aalen_johansen([1, 2, 3, 4], [1, 2, 0, 1]), 0)
        >>> low.round(3), high.round(3)
        (array([0.009, 0.009, 0.009, 0.128]), array([0.665, 0.665, 0.665, 0.961]))
    """
    share = curve.incidence[cause]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_variance = curve.variance[cause] / share**2
    return step_interval(share, log_variance, level=level, kind=kind)
