"""Firth's penalty for the Cox model: finite estimates where the data separate.

Half the log determinant of the information is added to the log likelihood. Its gradient needs
third central moments of the covariates over each risk set, here contracted with the inverse
information before anything is summed, so that no (columns x columns x columns) array is made.

References:
    Firth (1993), Biometrika 80; Heinze, Schemper (2001), Biometrics 57, eq. 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.churn import cox_core as core
from loyalty_research.churn.cox_newton import OnRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.churn.risk_sets import Carrier, Events

    Floats = NDArray[np.float64]

__all__ = ["Firth"]


@dataclass(frozen=True, slots=True)
class Firth(OnRows):
    """Log partial likelihood (Breslow or Efron) plus half the log determinant of its information."""

    @property
    def precision(self) -> float:
        """The step divides by the plain information, so it converges by a constant factor."""
        return 1e-20

    def at(self, beta: Floats) -> tuple[float, tuple[core.Point, Floats]] | None:
        """Return the penalised value with the point and the information there."""
        found = core.point(self.data, self.events, beta)
        if found is None:
            return None
        bend = core.information(self.data, found)
        sign, size = np.linalg.slogdet(bend)
        if not (sign > 0 and np.isfinite(size)):
            return None
        return found.value + 0.5 * float(size), (found, bend)

    def slopes(self, spot: tuple[core.Point, Floats]) -> tuple[Floats, Floats]:
        """Return the penalised gradient, and the information the step divides by."""
        found, bend = spot
        pull = third_moments(self.data, self.events, found, np.linalg.inv(bend).astype(np.float64))
        return core.slope(self.data, found) + 0.5 * pull, bend


def third_moments(data: Carrier, events: Events, at: core.Point, inner: Floats) -> Floats:
    """Return the trace of ``inner`` with the derivative of the information, per coefficient.

    Args:
        data: Rows or cells.
        events: Event times.
        at: Where.
        inner: Symmetric matrix, shape ``(p, p)``.
    """
    z = data.z
    p = z.shape[1]
    form = np.einsum("ij,jk,ik->i", z, inner, z)
    step, f = events.step, events.fraction

    def over(v: Floats) -> Floats:
        """Return the mean of a column over each (death's) risk set."""
        s, e = data.sums(at.r * v)
        kept: Floats = (s[step] - f * e[step]) * inverse
        return kept

    s0, e0 = data.sums(at.r)
    inverse = 1.0 / (s0[step] - f * e0[step])
    mean = np.column_stack([(at.s1[step, j] - f * at.e1[step, j]) * inverse for j in range(p)])
    bent = mean @ inner
    mass = events.weight[step]
    average = over(form)
    out = np.empty(p)
    for c in range(p):
        skew = over(form * z[:, c]) - average * mean[:, c]
        for a in range(p):
            covariance = over(z[:, a] * z[:, c]) - mean[:, a] * mean[:, c]
            skew -= 2.0 * covariance * bent[:, a]
        out[c] = float(mass @ skew)
    return out
