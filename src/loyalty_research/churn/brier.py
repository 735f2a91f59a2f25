"""Brier scores of predicted survival: how far chances are from what happened, weighted for censoring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pandas as pd

from loyalty_research.churn import ipcw
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.survival import kaplan_meier, survival_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

Ties = Literal["before", "at"]

__all__ = ["BrierScores", "brier_score", "censoring_from", "integrated_brier_score"]


def censoring_from(
    obs: ipcw.Observed, train_times: ArrayLike | None, train_events: ArrayLike | None
) -> ipcw.Censoring:
    """Return the censoring weights from training follow-up where it is given, else from ``obs``."""
    if (train_times is None) != (train_events is None):
        raise ArgumentError("give both train_times and train_events, or neither")
    if train_times is None or train_events is None:
        return ipcw.censoring(obs)
    return ipcw.censoring(ipcw.observed(train_times, train_events, name="train_times"), own=False)


@dataclass(frozen=True, slots=True)
class _Scores:
    """Values and influences of one prediction, shapes ``(k,)`` and ``(n, k)``."""

    value: Floats
    influence: Floats


def _scores(obs: ipcw.Observed, cens: ipcw.Censoring, survival: Floats, times: Floats, ties: Ties) -> _Scores:
    """Return the weighted Brier score per time and every observation's influence on it."""
    own = cens.reach_before(obs.time) if ties == "before" else cens.reach_upto(obs.time)
    total = float(obs.mass.sum())
    value = np.empty(len(times))
    influence = np.empty((obs.n, len(times)))
    for j, t in enumerate(times):
        gone = obs.event & (obs.time <= t)
        there = obs.time > t
        reach = np.where(gone, own, cens.reach_upto(np.full(obs.n, t)))
        chance = cens.steps[reach]
        empty = (gone | there) & (chance <= 0)
        if empty.any():
            raise ArgumentError(
                f"nobody in the training follow-up is still watched at {float(t):g}, so the chance of being "
                "censored by then is unknown; choose earlier times or leave train_times out"
            )
        error = np.where(gone, survival[:, j] ** 2, np.where(there, (1.0 - survival[:, j]) ** 2, 0.0))
        loss = np.divide(error, chance, out=np.zeros(obs.n), where=gone | there)
        terms = obs.mass * loss / total
        value[j] = terms.sum()
        influence[:, j] = terms - obs.mass * value[j] / total + cens.influence(obs, terms, reach)
    return _Scores(value, influence)


@dataclass(frozen=True, repr=False)
class BrierScores(Result):
    """Brier scores per time, beside those of a model that knows nothing of the customers.

    Attributes:
        scores: One row per time: ``time, estimate, low, high, null, scaled, scaled_low,
            scaled_high``; ``null`` is the score of the comparison and ``scaled`` is
            1 - estimate / null, the index of prediction accuracy.
        integrated: Integrated score over the times, or None with a single time.
        integrated_null: The comparison's.
        integrated_scaled: 1 - integrated / integrated_null.
        level: Confidence level.
        n: Observations.
    """

    title: ClassVar[str] = "Brier scores"

    scores: pd.DataFrame
    integrated: Estimate | None
    integrated_null: float | None
    integrated_scaled: Estimate | None
    level: float
    n: int

    def _rows(self) -> Iterable[Row]:
        for row in self.scores.to_dict("records"):
            day = number(float(row["time"]), digits=0)
            value, low, high = (float(row[c]) for c in ("estimate", "low", "high"))
            yield Row(
                message("Brier score, day {day}", day=day),
                Estimate(value, low, high, self.level, "infinitesimal jackknife, log", self.n),
                extra={"null": float(row["null"])},
            )
            value, low, high = (float(row[c]) for c in ("scaled", "scaled_low", "scaled_high"))
            yield Row(
                message("scaled Brier score, day {day}", day=day),
                Estimate(value, low, high, self.level, "infinitesimal jackknife", self.n, "fraction"),
                estimand=message("1 - score / score of the same chance for everybody"),
            )
        if self.integrated is not None and self.integrated_scaled is not None:
            yield Row(
                message("integrated Brier score"), self.integrated, extra={"null": self.integrated_null}
            )
            yield Row(message("scaled integrated Brier score"), self.integrated_scaled)

    def _verdict(self) -> str:
        if self.integrated_scaled is not None:
            best, span = self.integrated_scaled, message("over the days judged")
        else:
            row = self.scores.iloc[0]
            best = Estimate(
                float(row["scaled"]),
                float(row["scaled_low"]),
                float(row["scaled_high"]),
                self.level,
                "",
                self.n,
                "fraction",
            )
            span = message("on day {day}", day=number(float(row["time"]), digits=0))
        if best.low > 0:
            return message(
                "Predictions are {share} closer to what happened {span} than the same chance for everybody ({interval}).",
                share=percent(best.value),
                span=span,
                interval=best.interval(),
            )
        if best.high < 0:
            return message(
                "Predictions are worse {span} than the same chance for everybody (by {share}; {interval}).",
                share=percent(-best.value),
                span=span,
                interval=best.interval(),
            )
        return message(
            "Predictions are not clearly better {span} than the same chance for everybody (gain {share}; {interval}).",
            share=percent(best.value),
            span=span,
            interval=best.interval(),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the score over time beside the comparison's."""
        from loyalty_research.plots.validation import scores_over_time

        return scores_over_time(self.scores, ax=ax, level=self.level)


def brier_score(
    event_times: ArrayLike,
    events: ArrayLike,
    survival: ArrayLike,
    *,
    times: ArrayLike,
    null: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    entry: ArrayLike | None = None,
    train_times: ArrayLike | None = None,
    train_events: ArrayLike | None = None,
    ties: Ties = "before",
    level: float = 0.95,
) -> BrierScores:
    """Score predicted survival against what happened.

    Args:
        event_times: Time to the event or to the last sight of each, shape ``(n,)``.
        events: 1 where it was the event.
        survival: Predicted chance of still being there at each of ``times``, shape ``(n, k)``.
        times: When to judge, ascending, within the follow-up.
        null: Chances to compare with, shape ``(n, k)``; by default everybody's chance by
            Kaplan-Meier on these data.
        weights: Case weights.
        cluster: Clusters within which outcomes may hang together.
        entry: Refused where anybody enters late; give times since entry instead.
        train_times: Durations of training follow-up, to weight for censoring with its
            distribution; by default that of ``event_times``.
        train_events: Its events.
        ties: ``"before"`` weights an event at T by 1 / G(T-), the chance of being uncensored just
            before it. ``"at"`` weights by 1 / G(T), as scikit-survival does, which is biased where
            events and censorings share times; it is there for comparison.
        level: Confidence level.

    Returns:
        Scores with intervals, which allow for the estimated censoring weights.

    Raises:
        ContractError: On missing or misshapen columns, or predictions outside 0 to 1.
        ArgumentError: On times beyond the follow-up.
        DesignError: On delayed entry.

    Examples:
        >>> found = brier_score([3, 5, 8, 9], [1, 1, 0, 0], [.4, .3, .8, .9], times=6)
        >>> found.scores[["estimate", "null", "scaled"]].round(3).values.tolist()
        [[0.075, 0.25, 0.7]]

    References:
        Graf, Schmoor, Sauerbrei, Schumacher (1999), Statistics in Medicine 18; Gerds,
        Schumacher (2006); Kattan, Gerds (2018), Diagnostic and Prognostic Research 2 (index of
        prediction accuracy). Weights are 1 / G(T-) for events and 1 / G(t) for those still there.
    """
    check_level(level)
    if ties not in ("before", "at"):
        raise ArgumentError(f"ties must be 'before' or 'at'; got {ties!r}")
    obs = ipcw.observed(event_times, events, weights=weights, cluster=cluster)
    ipcw.refuse_entry(entry, obs.n, "the Brier score")
    asked = ipcw.horizons(times, obs)
    chance = ipcw.predicted(survival, obs.n, len(asked))
    other = _null(obs, asked) if null is None else ipcw.predicted(null, obs.n, len(asked), "null")
    cens = censoring_from(obs, train_times, train_events)
    mine, theirs = (_scores(obs, cens, p, asked, ties) for p in (chance, other))
    rows = [
        _row(
            float(t), mine.value[j], mine.influence[:, j], theirs.value[j], theirs.influence[:, j], obs, level
        )
        for j, t in enumerate(asked)
    ]
    total, null_total, scaled = _integrated(asked, mine, theirs, obs, level)
    return BrierScores(pd.DataFrame(rows), total, null_total, scaled, level, obs.n)


def _null(obs: ipcw.Observed, times: Floats) -> Floats:
    curve = kaplan_meier(np.maximum(obs.time, 1e-12), obs.event, weights=obs.mass)
    return np.tile(survival_at(curve, times), (obs.n, 1))


def _scaled(value: float, null: float, influence: Floats, null_influence: Floats) -> tuple[float, Floats]:
    """Return 1 - value / null and its influence."""
    ratio = value / null
    return 1.0 - ratio, -(influence - ratio * null_influence) / null


def _row(
    time: float,
    value: float,
    influence: Floats,
    null: float,
    null_influence: Floats,
    obs: ipcw.Observed,
    level: float,
) -> dict[str, float]:
    own = ipcw.estimate_from(
        value, ipcw.standard_error(influence, obs.cluster), level=level, n=obs.n, scale="log"
    )
    row = {"time": time, "estimate": own.value, "low": own.low, "high": own.high, "null": float(null)}
    if null <= 0:
        return {**row, "scaled": np.nan, "scaled_low": np.nan, "scaled_high": np.nan}
    share, pull = _scaled(value, null, influence, null_influence)
    gain = ipcw.estimate_from(share, ipcw.standard_error(pull, obs.cluster), level=level, n=obs.n)
    return {**row, "scaled": gain.value, "scaled_low": gain.low, "scaled_high": gain.high}


def _integrated(
    times: Floats, mine: _Scores, theirs: _Scores, obs: ipcw.Observed, level: float
) -> tuple[Estimate | None, float | None, Estimate | None]:
    if len(times) < 2:
        return None, None, None
    width = float(times[-1] - times[0])

    def over(values: Floats) -> Floats:
        return np.asarray(np.trapezoid(values, times, axis=-1) / width, dtype=np.float64)

    value, influence = float(over(mine.value)), over(mine.influence)
    null, null_influence = float(over(theirs.value)), over(theirs.influence)
    total = ipcw.estimate_from(
        value, ipcw.standard_error(influence, obs.cluster), level=level, n=obs.n, scale="log"
    )
    if null <= 0:
        return total, null, None
    share, pull = _scaled(value, null, influence, null_influence)
    gain = ipcw.estimate_from(
        share, ipcw.standard_error(pull, obs.cluster), level=level, n=obs.n, unit="fraction"
    )
    return total, null, gain


def integrated_brier_score(
    event_times: ArrayLike,
    events: ArrayLike,
    survival: ArrayLike,
    *,
    times: ArrayLike,
    weights: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    entry: ArrayLike | None = None,
    train_times: ArrayLike | None = None,
    train_events: ArrayLike | None = None,
    ties: Ties = "before",
    level: float = 0.95,
) -> Estimate:
    """Return the Brier score averaged over time, by the trapezoid rule divided by the span.

    Args:
        event_times: Time to the event or to the last sight of each, shape ``(n,)``.
        events: 1 where it was the event.
        survival: Predicted chance of still being there at each of ``times``, shape ``(n, k)``.
        times: When to judge, at least two, ascending, within the follow-up.
        weights: Case weights.
        cluster: Clusters within which outcomes may hang together.
        entry: Refused where anybody enters late; give times since entry instead.
        train_times: As for :func:`brier_score`.
        train_events: As for :func:`brier_score`.
        ties: As for :func:`brier_score`.
        level: Confidence level.

    Raises:
        ArgumentError: With fewer than two times; else as :func:`brier_score`.

    Examples:
        >>> integrated_brier_score([3, 5, 8, 9], [1, 1, 0, 0], np.full((4, 3), .5), times=[2, 4, 6]).value
        0.25

    References:
        Graf, Schmoor, Sauerbrei, Schumacher (1999), Statistics in Medicine 18.
    """
    found = brier_score(
        event_times,
        events,
        survival,
        times=times,
        weights=weights,
        cluster=cluster,
        entry=entry,
        train_times=train_times,
        train_events=train_events,
        ties=ties,
        level=level,
    ).integrated
    if found is None:
        raise ArgumentError("an integrated score needs at least two times; use brier_score for one")
    return found
