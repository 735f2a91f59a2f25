"""Parameters of the stamp-card experiment and what follows from them exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from loyalty_research.simulate._truth import choice, number, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["PRESETS", "CardTruth", "chooses_endowed", "exact_card", "exact_facts", "preset"]

PRESETS: dict[str, dict[str, float]] = {
    "null": {},
    "level": {"level": 0.4},
    "slope": {"alpha": -3.132, "slope": 2.0},
    "both": {"alpha": -3.132, "level": 0.4, "slope": 2.0},
    "null-season": {"season": 0.8},
    "self-selection": {"selection": 1.5},
}
"""Parameters that a scenario sets; given ones win."""

NODES = 61


@dataclass(frozen=True, kw_only=True)
class CardTruth:
    """Parameters of the stamp-card experiment.

    In each week a customer with a card visits at most once, with log odds
    ``alpha + u + level * endowed + slope * progress + reset * later + season * sin(2 pi week / 52)``:
    ``u`` is the customer's own normal deviation, ``endowed`` is 1 on a card that came with stamps,
    ``progress`` the share of the card that is stamped (given stamps count), ``later`` is 1 on every
    card after the first.

    Attributes:
        scenario: ``"null"`` (neither arm nor progress does anything), ``"level"`` (a card with given
            stamps is used more), ``"slope"`` (visits quicken as the card fills), ``"both"``,
            ``"null-season"`` (no effect, but visits follow the season), ``"self-selection"`` (no
            effect, but frequent visitors choose the card with given stamps). It sets defaults.
        alpha: Log odds of a visit in a week by an average customer with an empty card.
        sigma: Standard deviation of the customers' deviations.
        level: Effect of given stamps on the log odds.
        slope: Effect of a full against an empty card on the log odds.
        reset: Effect of having been rewarded on the log odds, on later cards.
        season: Size of the yearly wave in the log odds.
        selection: Effect of one standard deviation of a customer's own log odds on the log odds of
            choosing the card with given stamps; above 0 arms are chosen and not drawn.
        required_visits: Visits that complete a card, in both arms.
        endowed_stamps: Given stamps in the arm ``"endowed"``, on top of ``required_visits``.
        expiry_weeks: Whole weeks after which a card expires.
        abandon: Weekly probability of giving up for good, which nobody records.
        loss: Weekly probability of losing the card, which ends it and is recorded.
        redeem_share: Probability that a completed card is redeemed.
        cards: Most cards of one customer; later cards have no given stamps.
        issue_weeks: Weeks over which first cards are issued.
        assign_by: ``"customer"`` or ``"cluster"``: all cards of a cashier.
        clusters: Number of clusters (cashiers).
        cluster_sd: Standard deviation of a cluster's effect on the log odds.
    """

    scenario: str = choice("both", *PRESETS)
    alpha: float = number(-2.391, -20, 20)
    sigma: float = number(1.0, 0, 10)
    level: float = number(0.0, -20, 20)
    slope: float = number(0.0, -20, 20)
    reset: float = number(0.0, -20, 20)
    season: float = number(0.0, 0, 10)
    selection: float = number(0.0, 0, 20)
    required_visits: int = whole(8, 1, 50)
    endowed_stamps: int = whole(2, 1, 50)
    expiry_weeks: int = whole(39, 1, 90)
    abandon: float = number(0.0, 0, 1)
    loss: float = number(0.0, 0, 1)
    redeem_share: float = number(0.95, 0, 1)
    cards: int = whole(10, 1, 100)
    issue_weeks: int = whole(4, 1, 10)
    assign_by: str = choice("customer", "customer", "cluster")
    clusters: int = whole(20, 4, 10_000)
    cluster_sd: float = number(0.0, 0, 10)

    @property
    def spread(self) -> float:
        """Standard deviation of a customer's log odds, cluster included."""
        return float(np.hypot(self.sigma, self.cluster_sd))

    def wave(self, week: int) -> float:
        """Return the seasonal part of the log odds in a calendar week, from 0."""
        return float(self.season * np.sin(2 * np.pi * week / 52))

    def log_odds(self, own: Floats, stamps: Any, given: Any, later: Any) -> Any:
        """Return log odds of a visit in a week, without the season.

        Args:
            own: Deviation of the customer, cluster included.
            stamps: Visits stamped on the card.
            given: Stamps that the card came with.
            later: Whether it is a later card.
        """
        progress = (stamps + given) / (self.required_visits + given)
        endowed = np.asarray(given) > 0
        return (
            self.alpha + own + self.level * endowed + self.slope * progress + self.reset * np.asarray(later)
        )


def preset(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what the scenario sets, where it is not given."""
    return dict(PRESETS.get(str(given.get("scenario", "both")), {})) | dict(given)


def exact_card(truth: CardTruth, given: int) -> dict[str, Any]:
    """Follow a first card through its weeks exactly, by Gauss-Hermite over the customers' deviations.

    Args:
        truth: Parameters.
        given: Stamps that the card comes with.

    Returns:
        ``completion``: share completed by expiry; ``visits``: visits on the card by expiry;
        ``mean_days``: mean days not completed up to expiry; ``hazards``: share of open cards visited in a
        week by stamps from visits, 0 to ``required_visits - 1``, over all weeks (cards that were
        given up are open too); ``by_deviation``: completion at each node; ``nodes``, ``weights``.
    """
    nodes, weights = special.roots_hermitenorm(NODES)
    weights = weights / weights.sum()
    own = truth.spread * nodes
    stamps = np.arange(truth.required_visits)
    base = truth.log_odds(own[:, None], stamps[None, :], given, later=False)
    done = np.zeros(len(own))
    open_weeks = np.zeros_like(base)
    visits = np.zeros_like(base)
    saved = np.zeros(len(own))
    for start in range(truth.issue_weeks):
        active = np.zeros_like(base)
        active[:, 0] = 1 / truth.issue_weeks
        quit_ = np.zeros_like(base)
        for week in range(1, truth.expiry_weeks + 1):
            active, quit_ = active * (1 - truth.loss), quit_ * (1 - truth.loss)
            quit_ = quit_ + active * truth.abandon
            active = active * (1 - truth.abandon)
            moved = active * special.expit(base + truth.wave(start + week))
            open_weeks += active + quit_
            visits += moved
            active = active - moved
            active[:, 1:] += moved[:, :-1]
            done += moved[:, -1]
            # a visit falls on any day of its week alike, the fourth on average
            saved += moved[:, -1] * (7 * (truth.expiry_weeks - week) + 3)
    with np.errstate(invalid="ignore"):  # nobody reaches a stamp where a card is too short-lived
        hazards = (weights @ visits) / (weights @ open_weeks)
    return {
        "completion": float(weights @ done),
        "visits": float(weights @ visits.sum(axis=1)),
        "mean_days": 7 * truth.expiry_weeks - float(weights @ saved),
        "hazards": hazards,
        "by_deviation": done,
        "nodes": nodes,
        "weights": weights,
    }


def chooses_endowed(truth: CardTruth, own: Floats) -> Floats:
    """Return the probability of choosing the card with given stamps."""
    scaled = own / truth.spread if truth.spread > 0 else np.zeros_like(own)
    return np.asarray(special.expit(truth.selection * scaled))


def exact_facts(truth: CardTruth) -> dict[str, Any]:
    """Return the exact truths about first cards that go into ``Dataset.truth``."""
    return dict(_exact_facts(truth))


@lru_cache(maxsize=16)
def _exact_facts(truth: CardTruth) -> dict[str, Any]:
    control, endowed = exact_card(truth, 0), exact_card(truth, truth.endowed_stamps)
    kept = replace(truth, loss=0.0)  # a lost card is censored, so its time is that of a kept one
    days = {given: exact_card(kept, given)["mean_days"] for given in (0, truth.endowed_stamps)}
    facts = {
        "completion_control": control["completion"],
        "completion_endowed": endowed["completion"],
        "completion_difference": endowed["completion"] - control["completion"],
        "card_visits_difference": endowed["visits"] - control["visits"],
        "mean_days_control": days[0],
        "mean_days_endowed": days[truth.endowed_stamps],
        "mean_days_difference": days[truth.endowed_stamps] - days[0],
        "hazards_control": [float(h) for h in control["hazards"]],
        "hazards_endowed": [float(h) for h in endowed["hazards"]],
    }
    if truth.selection > 0:
        weights = control["weights"]
        chosen = chooses_endowed(truth, truth.spread * control["nodes"])
        choosers = float(weights @ (chosen * endowed["by_deviation"])) / float(weights @ chosen)
        others = float(weights @ ((1 - chosen) * control["by_deviation"])) / float(weights @ (1 - chosen))
        facts["naive_completion_difference"] = choosers - others
    return facts
