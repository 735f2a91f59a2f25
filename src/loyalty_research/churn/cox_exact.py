"""Exact conditional likelihood of tied leavers.

With d of the n at risk leaving at once, the likelihood is the leavers' product of exp(eta) over
the sum of such products over all choices of d from n: an elementary symmetric function. Adding
those at risk one by one gives it for every size up to d, together with the mean and covariance
of the covariate total of a random choice, which are its derivatives. Everything is kept as a
logarithm or as a weighted mean, so nothing overflows.

References:
    Gail, Lubin, Rubinstein (1981), Biometrika 68, eq. 3 to 5; Cox (1972), JRSS B 34, section 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.churn.risk_sets import Events, Slots

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Exact", "check_work"]

_MOST_WORK = 3e9


@dataclass(frozen=True, slots=True)
class Exact:
    """Exact conditional log likelihood.

    Attributes:
        z: Covariates of each row, shape ``(n, p)``.
        slots: Where each row is at risk.
        events: Event times.
    """

    z: Floats
    slots: Slots
    events: Events

    @property
    def reach(self) -> Floats:
        """Range of each column."""
        kept: Floats = np.ptp(self.z, axis=0).astype(np.float64)
        return kept

    @property
    def mass(self) -> float:
        """Number of events."""
        return float(self.events.deaths.sum())

    @property
    def precision(self) -> float:
        """Newton steps double the digits, so one step past this is exact."""
        return 1e-12

    def at(self, beta: Floats) -> tuple[float, tuple[Floats, Floats]] | None:
        """Return the value with the gradient and minus the Hessian."""
        eta = self.z @ beta
        dead = self.slots.dead
        value, gradient = float(eta[dead].sum()), self.z[dead].sum(0)
        bend = np.zeros((len(beta), len(beta)))
        for order, slots in _passes(self.slots, self.events):
            total, mean, spread = _choices(eta, self.z, order, slots, self.events.deaths, self.slots.last)
            value -= total
            gradient = gradient - mean
            bend += spread
        return value, (gradient, bend)

    def slopes(self, spot: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        """Return the gradient and minus the Hessian."""
        return spot


def check_work(slots: Slots, events: Events, p: int) -> None:
    """Raise where the recursion would take hours.

    Raises:
        ArgumentError: Then; Efron's approximation is close with so many at risk.
    """
    work = sum(
        float(len(order)) * float(events.deaths[times].max()) * (p + 1) ** 2
        for order, times in _passes(slots, events)
    )
    if work > _MOST_WORK:
        raise ArgumentError(
            f"ties='exact' would take about {work:.1g} operations at each Newton step; with so many at risk "
            "at once ties='efron' is close to it"
        )


def _passes(slots: Slots, events: Events) -> list[tuple[Ints, Ints]]:
    """Return the runs of the recursion: rows in the order they are added, and event times read.

    Without late entry the risk sets of a stratum are nested and one run serves all its times.
    """
    runs: list[tuple[Ints, Ints]] = []
    for stratum in np.unique(events.stratum):
        times = np.flatnonzero(events.stratum == stratum)
        lowest, highest = times[0], times[-1] + 1
        here = np.flatnonzero((slots.last > lowest) & (slots.last <= highest) & (slots.first < slots.last))
        if (slots.first[here] == lowest).all():
            runs.append((here[np.argsort(-slots.last[here], kind="stable")], times[::-1]))
            continue
        runs += [(here[(slots.first[here] <= k) & (slots.last[here] > k)], np.array([k])) for k in times]
    return runs


def _choices(
    eta: Floats, z: Floats, order: Ints, times: Ints, deaths: Ints, last: Ints
) -> tuple[float, Floats, Floats]:
    """Return, summed over event times, the log of the symmetric function, its mean and spread."""
    p = z.shape[1]
    # the largest number of deaths still to be read, time by time
    need = np.maximum.accumulate(deaths[times][::-1])[::-1]
    size = int(need[0])
    log = np.full(size + 1, -np.inf)
    log[0] = 0.0
    mean, spread = np.zeros((size + 1, p)), np.zeros((size + 1, p, p))
    value, first, second = 0.0, np.zeros(p), np.zeros((p, p))
    added, read = 0, 0
    ends = last[order]
    for read, k in enumerate(times):
        size = int(need[read])
        upto = len(order) if len(times) == 1 else int(np.searchsorted(-ends, -k, side="left"))
        while added < upto:
            row = order[added]
            added += 1
            top = min(added, size)
            taken = eta[row] + log[:top]
            both = np.logaddexp(log[1 : top + 1], taken)
            q = np.exp(taken - both)
            gap = mean[:top] + z[row] - mean[1 : top + 1]
            weight = q[:, None, None]
            spread[1 : top + 1] += weight * (
                spread[:top] - spread[1 : top + 1] + (1 - weight) * gap[:, :, None] * gap[:, None, :]
            )
            mean[1 : top + 1] += q[:, None] * gap
            log[1 : top + 1] = both
        d = deaths[k]
        value += float(log[d])
        first += mean[d]
        second += spread[d]
    return value, first, second
