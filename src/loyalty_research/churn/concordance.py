"""Concordance: of two customers, does the model say who leaves first?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from loyalty_research.churn import ipcw
from loyalty_research.churn.brier import censoring_from
from loyalty_research.churn.intervals import where
from loyalty_research.churn.ranking import below
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Result, Row, check_level
from loyalty_research.i18n import message, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.estimates import Estimate

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Concordance", "concordance"]


@dataclass(frozen=True, repr=False)
class Concordance(Result):
    """Share of comparable pairs that a risk puts in the right order.

    Attributes:
        kind: ``"harrell"`` or ``"uno"``.
        estimate: The share with its interval; ties in risk count a half. The p-value tests 0.5.
        standard_error: Its standard error.
        concordant: Weighted pairs in the right order.
        discordant: Weighted pairs in the wrong order.
        tied_risk: Weighted pairs with the same risk.
        tau: Time before which the first of a pair must have left, or None.
    """

    title: ClassVar[str] = "Concordance"

    kind: Literal["harrell", "uno"]
    estimate: Estimate
    standard_error: float
    concordant: float
    discordant: float
    tied_risk: float
    tau: float | None

    def _rows(self) -> Iterable[Row]:
        name = message("concordance (Harrell)") if self.kind == "harrell" else message("concordance (Uno)")
        yield Row(name, self.estimate, estimand=message("P(who leaves first has the higher risk)"))

    def _verdict(self) -> str:
        share = percent(self.estimate.value, digits=0)
        if self.estimate.low > 0.5:
            return message(
                "Of two customers, the model says rightly who leaves first {share} of the time ({interval}); a coin "
                "would be right half of the time.",
                share=share,
                interval=self.estimate.interval(),
            )
        if self.estimate.high < 0.5:
            return message(
                "The model says wrongly more often than rightly who leaves first: right {share} of the time ({interval}).",
                share=share,
                interval=self.estimate.interval(),
            )
        return message(
            "The model is not clearly better than a coin at saying who leaves first: right {share} of the time ({interval}).",
            share=share,
            interval=self.estimate.interval(),
        )


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Weighted pairs of each observation: lower, equal and higher risk on the other side.

    ``first`` counts those a leaver is compared with, ``second`` the leavers an observation
    outlived; each of shape ``(n, 3)``.
    """

    first: Floats
    second: Floats


def _pairs(obs: ipcw.Observed, risk: Floats, entry: Floats | None, lead: Floats) -> _Pairs:
    """Count comparable pairs by order of risk.

    Args:
        obs: Durations as they were seen.
        risk: Risk of each.
        entry: When each came under watch, or None.
        lead: Weight of each as the one who left first; 0 for those who did not.
    """
    rank = np.unique(risk, return_inverse=True)[1].astype(np.int64)
    top = np.full(obs.n, int(rank.max()) + 1, dtype=np.int64)
    # at one time leavers come first, so whoever is censored then outlived them
    order = np.lexsort((~obs.event, obs.time))
    times, gone = obs.time[order], obs.event[order]
    after = np.searchsorted(times, obs.time, side="left")
    upto = after + _tied_events(times, gone, obs.time)
    end = np.full(obs.n, obs.n, dtype=np.int64)
    begin = np.zeros(obs.n, dtype=np.int64)

    def split(ranks: Ints, mass: Floats, low: Ints, high: Ints) -> Floats:
        less, through, every = (below(ranks, mass, low, high, b) for b in (rank, rank + 1, top))
        return np.column_stack([less, through - less, every - through])

    first = split(rank[order], obs.mass[order], upto, end)
    second = split(rank[order], lead[order], begin, np.where(obs.event, after, upto))
    if entry is not None:
        came = np.argsort(entry, kind="stable")
        absent = np.searchsorted(entry[came], obs.time, side="left")
        first -= split(rank[came], obs.mass[came], absent, end)
        before = np.searchsorted(times, entry, side="right")
        second -= split(rank[order], lead[order], begin, before)
    return _Pairs(first * (lead > 0)[:, None], second)


def _tied_events(times: Floats, gone: NDArray[np.bool_], asked: Floats) -> Ints:
    """Return how many leave at each asked time."""
    own = times[gone]
    counted: Ints = np.searchsorted(own, asked, side="right") - np.searchsorted(own, asked, side="left")
    return counted


def concordance(
    event_times: ArrayLike,
    events: ArrayLike,
    risk: ArrayLike,
    *,
    kind: Literal["harrell", "uno"] = "harrell",
    tau: float | None = None,
    entry: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    train_times: ArrayLike | None = None,
    train_events: ArrayLike | None = None,
    level: float = 0.95,
) -> Concordance:
    """Return how often a risk tells who leaves first.

    A pair is comparable when one left while the other was still watched; ties in time are not
    compared, ties in risk count a half, as in R's ``concordance``. Harrell's share depends on
    how long customers were watched; Uno's weights each leaver by 1 / G(T-)^2 so that it does not.

    Args:
        event_times: Time to the event or to the last sight of each, shape ``(n,)``.
        events: 1 where it was the event.
        risk: Higher for those who should leave sooner, such as 1 minus predicted survival.
        kind: ``"harrell"`` or ``"uno"``.
        tau: Only leavers before it are the first of a pair; for Uno's it should lie where
            customers are still watched.
        entry: When each came under watch; for Harrell's only.
        weights: Case weights.
        cluster: Clusters within which outcomes may hang together.
        train_times: Durations of training follow-up whose censoring Uno's weights come from; by
            default those of ``event_times``.
        train_events: Its events.
        level: Confidence level.

    Returns:
        The share with an interval from the infinitesimal jackknife, on the logit scale; Uno's
        allows for the estimated weights.

    Raises:
        ContractError: On missing or misshapen columns, or when no pair is comparable.
        ArgumentError: On options outside their range.
        DesignError: On delayed entry with Uno's.

    Examples:
        >>> found = concordance([3, 5, 8, 9], [1, 1, 1, 0], [.9, .2, .5, .1])
        >>> found.concordant, found.discordant, round(found.estimate.value, 3)
        (5.0, 1.0, 0.833)

    References:
        Harrell et al. (1982), JAMA 247; Uno et al. (2011), Statistics in Medicine 30, eq. 5;
        Therneau, Atkinson (2024), concordance vignette of R's ``survival``.
    """
    check_level(level)
    if kind not in ("harrell", "uno"):
        raise ArgumentError(f"kind must be 'harrell' or 'uno'; got {kind!r}")
    if tau is not None and not tau > 0:
        raise ArgumentError(f"tau must be positive; got {tau!r}")
    if kind == "harrell" and train_times is not None:
        raise ArgumentError(
            "train_times weight for censoring, which Harrell's concordance does not; use kind='uno'"
        )
    obs = ipcw.observed(event_times, events, weights=weights, cluster=cluster)
    score = ipcw.column(risk, "risk", obs.n)
    came = _entry(entry, obs, kind)
    leads = obs.event if tau is None else obs.event & (obs.time < tau)
    cens = censoring_from(obs, train_times, train_events) if kind == "uno" else None
    factor = np.ones(obs.n)
    if cens is not None:
        chance = cens.steps[cens.reach_before(obs.time)]
        if (chance[leads] <= 0).any():
            raise ArgumentError(
                "leavers come after everybody in train_times was last seen; give an earlier tau"
            )
        factor = np.where(leads, 1.0 / np.maximum(chance, 1e-300) ** 2, 0.0)
    return _share(obs, score, came, np.where(leads, obs.mass * factor, 0.0), cens, kind, tau, level)


def _entry(entry: ArrayLike | None, obs: ipcw.Observed, kind: str) -> Floats | None:
    if entry is None:
        return None
    if kind == "uno":
        ipcw.refuse_entry(entry, obs.n, "Uno's concordance")
        return None
    came = ipcw.column(entry, "entry", obs.n)
    late = came >= obs.time
    if late.any():
        raise ContractError(f"event_times must exceed entry; they do not in {where(late)}")
    return came


def _share(
    obs: ipcw.Observed,
    risk: Floats,
    entry: Floats | None,
    lead: Floats,
    cens: ipcw.Censoring | None,
    kind: Literal["harrell", "uno"],
    tau: float | None,
    level: float,
) -> Concordance:
    pairs = _pairs(obs, risk, entry, lead)
    lower, tied, higher = (float((lead * pairs.first[:, j]).sum()) for j in range(3))
    total = lower + tied + higher
    if not total > 0:
        raise ContractError(
            f"no pair of the {obs.n:,} customers is comparable: nobody left while another was still watched"
        )
    value = (lower + tied / 2) / total
    # a leaver is right about whoever has a lower risk, an outliver about leavers with a higher one
    as_first = lead * (pairs.first @ (np.array([1.0, 0.5, 0.0]) - value)) / total
    as_second = obs.mass * (pairs.second @ (np.array([0.0, 0.5, 1.0]) - value)) / total
    influence = as_first + as_second
    if cens is not None:
        influence = influence + 2 * cens.influence(obs, as_first, cens.reach_before(obs.time))
    error = ipcw.standard_error(influence, obs.cluster)
    found = ipcw.estimate_from(value, error, level=level, n=obs.n, scale="logit", unit="fraction", null=0.5)
    return Concordance(kind, found, error, lower, higher, tied, tau)
