"""Discrimination over time: who has left by a day against who has not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn import ipcw
from loyalty_research.churn.brier import censoring_from
from loyalty_research.churn.intervals import where
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["DynamicAUC", "dynamic_auc"]

METHOD = "infinitesimal jackknife, logit"


@dataclass(frozen=True, repr=False)
class DynamicAUC(Result):
    """Area under the curve of cumulative cases and dynamic controls, per time.

    Attributes:
        areas: One row per time: ``time, estimate, low, high, cases, controls`` (unweighted
            counts). The area is NaN where nobody has left yet, or nobody is left to compare with.
        level: Confidence level.
        n: Observations.
    """

    title: ClassVar[str] = "Discrimination over time"

    areas: pd.DataFrame
    level: float
    n: int

    def estimate_at(self, time: float) -> Estimate:
        """Return the area at one of the times.

        Raises:
            ArgumentError: When the time is not among them.
        """
        rows = self.areas[self.areas["time"] == time]
        if not len(rows):
            raise ArgumentError(
                f"there is no area for time {time:g}; the times are {', '.join(f'{t:g}' for t in self.areas['time'])}"
            )
        value, low, high = (float(rows[c].iloc[0]) for c in ("estimate", "low", "high"))
        return Estimate(value, low, high, self.level, METHOD, self.n, "fraction")

    def _rows(self) -> Iterable[Row]:
        for row in self.areas.to_dict("records"):
            yield Row(
                message("AUC, day {day}", day=number(float(row["time"]), digits=0)),
                self.estimate_at(float(row["time"])),
                estimand=message("P(who has left by then had the higher risk than who has not)"),
                extra={"cases": int(row["cases"]), "controls": int(row["controls"])},
            )

    def _verdict(self) -> str:
        known = self.areas.dropna(subset=["estimate"])
        if not len(known):
            return message("At none of these times had some left and others stayed, so there is no area.")
        parts = [
            message(
                "{share} by day {day} ({interval})",
                share=percent(float(row["estimate"]), digits=0),
                day=number(float(row["time"]), digits=0),
                interval=self.estimate_at(float(row["time"])).interval(),
            )
            for row in known.to_dict("records")
        ]
        return message(
            "Of somebody who had left and somebody who had not, the model gave the leaver the higher risk: {parts}.",
            parts="; ".join(parts),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the area over time with its band."""
        from loyalty_research.plots.validation import auc_over_time

        return auc_over_time(self.areas, ax=ax, level=self.level)


def dynamic_auc(
    event_times: ArrayLike,
    events: ArrayLike,
    risk: ArrayLike,
    *,
    times: ArrayLike,
    weights: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    entry: ArrayLike | None = None,
    train_times: ArrayLike | None = None,
    train_events: ArrayLike | None = None,
    level: float = 0.95,
) -> DynamicAUC:
    """Return, per time, how well a risk separates who has left by then from who has not.

    Args:
        event_times: Time to the event or to the last sight of each, shape ``(n,)``.
        events: 1 where it was the event.
        risk: Higher for those who should leave sooner, shape ``(n,)``, or one column per time.
        times: When to judge, ascending, before the last day of follow-up.
        weights: Case weights.
        cluster: Clusters within which outcomes may hang together.
        entry: Refused where anybody enters late; give times since entry instead.
        train_times: Durations of training follow-up, to weight for censoring with its
            distribution; by default that of ``event_times``.
        train_events: Its events.
        level: Confidence level.

    Returns:
        Areas with intervals that allow for the estimated censoring weights.

    Raises:
        ContractError: On missing or misshapen columns.
        ArgumentError: On times beyond the follow-up.
        DesignError: On delayed entry.

    Examples:
        >>> dynamic_auc([3, 5, 8, 9], [1, 1, 0, 0], [.9, .2, .5, .1], times=6).areas["estimate"].tolist()
        [0.75]

    References:
        Heagerty, Lumley, Pepe (2000), Biometrics 56; Uno et al. (2007), JASA 102; Blanche,
        Dartigues, Jacqmin-Gadda (2013), Statistics in Medicine 32 (influence of the weights).
    """
    check_level(level)
    obs = ipcw.observed(event_times, events, weights=weights, cluster=cluster)
    ipcw.refuse_entry(entry, obs.n, "the area under the curve")
    asked = ipcw.horizons(times, obs, strictly=True)
    scores = _scores(risk, obs.n, len(asked))
    cens = censoring_from(obs, train_times, train_events)
    return DynamicAUC(
        pd.DataFrame([_area(obs, cens, scores[:, j], float(t), level) for j, t in enumerate(asked)]),
        level,
        obs.n,
    )


def _scores(risk: ArrayLike, n: int, k: int) -> Floats:
    array = np.asarray(risk, dtype=np.float64)
    if array.ndim == 1:
        array = np.repeat(ipcw.column(array, "risk", n)[:, None], k, axis=1)
    if array.shape != (n, k):
        raise ContractError(
            f"risk has shape {array.shape}; it needs ({n},) or one column per time, ({n}, {k})"
        )
    bad = np.asarray(~np.isfinite(array).all(axis=1))
    if bad.any():
        raise ContractError(f"risk is missing or infinite in {where(bad)}; fill or leave them out")
    return array


def _area(obs: ipcw.Observed, cens: ipcw.Censoring, risk: Floats, t: float, level: float) -> dict[str, float]:
    case, control = obs.event & (obs.time <= t), obs.time > t
    row = {"time": t, "cases": int(case.sum()), "controls": int(control.sum())}
    if not case.any() or not control.any():
        return {**row, "estimate": np.nan, "low": np.nan, "high": np.nan}
    reach = cens.reach_before(obs.time)
    chance = cens.steps[reach]
    if (chance[case] <= 0).any():
        raise ArgumentError("leavers come after everybody in train_times was last seen; choose earlier times")
    mass = np.where(case, obs.mass / np.where(case, chance, 1.0), 0.0)
    still = np.where(control, obs.mass, 0.0)
    order = np.argsort(risk, kind="stable")

    def half_below(values: Floats) -> Floats:
        """Share of the total under each risk, ties a half."""
        total = np.concatenate([[0.0], np.cumsum(values[order])])
        less = total[np.searchsorted(risk[order], risk, side="left")]
        upto = total[np.searchsorted(risk[order], risk, side="right")]
        kept: Floats = (less + upto) / 2 / total[-1]
        return kept

    wins, losses = half_below(still), 1.0 - half_below(mass)
    value = float((mass * wins).sum() / mass.sum())
    as_case = mass * (wins - value) / mass.sum()
    as_control = still * (losses - value) / still.sum()
    influence = as_case + as_control + cens.influence(obs, as_case, reach)
    error = ipcw.standard_error(influence, obs.cluster)
    found = ipcw.estimate_from(value, error, level=level, n=obs.n, scale="logit")
    return {**row, "estimate": found.value, "low": found.low, "high": found.high}
