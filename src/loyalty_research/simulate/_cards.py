"""A stamp-card experiment played out week by week, in both arms with the same luck."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from loyalty_research.data import Dataset
from loyalty_research.i18n import message
from loyalty_research.simulate._card_truth import chooses_endowed, exact_facts
from loyalty_research.simulate._keys import numbered_rows
from loyalty_research.simulate._population import CURRENCY, LAST_DAY, ZONE
from loyalty_research.simulate._truth import disclosed, stream

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.simulate._card_truth import CardTruth

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

__all__ = ["card_tables", "stamp_cards"]

FIRST_MONDAY = dt.date(2023, 1, 2)
WEEKS = (LAST_DAY - FIRST_MONDAY).days // 7
ARMS = np.array(["control", "endowed"], dtype=object)
ISSUED, STAMP, COMPLETED, REDEEMED, EXPIRED, LOST = range(6)
EVENTS = np.array(["issued", "stamp", "completed", "redeemed", "expired", "lost"], dtype=object)


@dataclass
class _Deck:
    """Cards in hand: arrays have one row per arm and one column per customer."""

    given: Ints
    stamps: Ints
    cycle: Ints
    since: Ints
    holding: Bools
    active: Bools
    completed: Bools
    visits: Ints


@dataclass
class _Log:
    """Events of the arm each customer is in: one entry per week and kind."""

    rows: list[tuple[int, Ints, Ints, Ints, Floats]] = field(default_factory=list)

    def add(self, kind: int, who: Ints, cycle: Ints, number: Ints, moment: Floats) -> None:
        """Note an event: kind, customer, card number, event number on the card, days since issue."""
        self.rows.append((kind, who, cycle, number, moment))


@dataclass(frozen=True)
class _People:
    """Customers of the experiment; arrays have one entry each."""

    own: Floats
    arm: Ints
    cluster: Ints
    issue_week: Ints
    issue_moment: Floats


def _draw_people(truth: CardTruth, customers: int, seed: int) -> _People:
    rng = stream(seed, "card holders")
    cluster = rng.integers(0, truth.clusters, customers)
    shift = truth.cluster_sd * rng.standard_normal(truth.clusters)
    own = truth.sigma * rng.standard_normal(customers) + shift[cluster]
    week = rng.integers(0, truth.issue_weeks, customers)
    moment = 7 * week + rng.integers(0, 7, customers) + _hour(rng, customers)
    arms = stream(seed, "arms")
    if truth.selection > 0:
        arm = (arms.random(customers) < chooses_endowed(truth, own)).astype(np.int64)
    elif truth.assign_by == "cluster":
        arm = _half(truth.clusters, arms)[cluster]
    else:
        arm = _half(customers, arms)
    return _People(own, arm, cluster, week, moment)


def _half(count: int, rng: np.random.Generator) -> Ints:
    """Draw half of the units (an odd one by a coin) for arm 1."""
    arm = np.zeros(count, dtype=np.int64)
    arm[rng.permutation(count)[: (count + int(rng.integers(0, 2))) // 2]] = 1
    return arm


def _hour(rng: np.random.Generator, count: int) -> Floats:
    """Return a moment within opening hours as a share of the day, in whole minutes."""
    return rng.integers(9 * 60, 21 * 60, count) / 1440


def _new_deck(truth: CardTruth, customers: int) -> _Deck:
    shape = (2, customers)
    given = np.zeros(shape, dtype=np.int64)
    given[1] = truth.endowed_stamps
    return _Deck(
        given=given,
        stamps=np.zeros(shape, dtype=np.int64),
        cycle=np.ones(shape, dtype=np.int64),
        since=np.zeros(shape, dtype=np.int64),
        holding=np.ones(shape, dtype=bool),
        active=np.ones(shape, dtype=bool),
        completed=np.zeros(shape, dtype=bool),
        visits=np.zeros(shape, dtype=np.int64),
    )


def _play(truth: CardTruth, people: _People, seed: int) -> tuple[_Deck, _Log]:
    """Play all weeks in both arms; the log holds the arm each customer is in."""
    customers = len(people.own)
    deck, log, rng = _new_deck(truth, customers), _Log(), stream(seed, "card weeks")
    everyone = np.arange(customers)
    start = np.ones(customers, dtype=np.int64)
    log.add(ISSUED, everyone, start, start * 0, np.zeros(customers))
    wave = np.array([truth.wave(week) for week in range(WEEKS + truth.issue_weeks + 1)])
    for week in range(1, WEEKS - truth.issue_weeks + 1):
        luck = rng.random((4, customers))
        # a day of the week after the same weekday of the issue; the hour is free
        moment = 7 * (week - 1) + rng.integers(1, 8, customers) + _hour(rng, customers)
        _week(truth, people, deck, log, week, luck, moment, wave[people.issue_week + week])
    return deck, log


def _week(
    truth: CardTruth,
    people: _People,
    deck: _Deck,
    log: _Log,
    week: int,
    luck: Floats,
    moment: Floats,
    wave: Floats,
) -> None:
    """Play one week: losses, giving up, visits, completions, expiry."""
    mine = (people.arm, np.arange(len(people.own)))

    def note(kind: int, happened: Bools, number: Ints, when: Floats) -> None:
        who = np.flatnonzero(happened[mine])
        cycle = deck.cycle[mine][who]
        log.add(kind, who, cycle, number[mine][who], when[who])

    lost = deck.holding & (luck[0] < truth.loss)
    note(LOST, lost, deck.stamps + 1, moment)
    deck.holding &= ~lost
    deck.active &= ~(luck[1] < truth.abandon)

    odds = truth.log_odds(people.own, deck.stamps, deck.given, deck.cycle > 1)
    visit = deck.holding & deck.active & (luck[2] < special.expit(odds + wave))
    deck.stamps += visit
    note(STAMP, visit, deck.stamps, moment)
    deck.visits += visit if week <= truth.expiry_weeks else 0

    full = visit & (deck.stamps == truth.required_visits)
    note(COMPLETED, full, deck.stamps + 1, moment)
    note(REDEEMED, full & (luck[3] < truth.redeem_share), deck.stamps + 2, moment)
    deck.completed |= full & (deck.cycle == 1)
    expired = deck.holding & ~full & (week - deck.since >= truth.expiry_weeks)
    end = np.full(len(people.own), 7 * week + (23 * 60 + 59) / 1440)
    note(EXPIRED, expired, deck.stamps + 1, end)
    deck.holding &= ~expired
    _hand_out(truth, deck, full, week)
    note(ISSUED, full & deck.holding, deck.stamps, moment + 1 / 1440)


def _hand_out(truth: CardTruth, deck: _Deck, full: Bools, week: int) -> None:
    """Replace full cards by plain ones, up to the most a customer may have."""
    again = full & (deck.cycle < truth.cards)
    deck.holding &= ~full | again
    deck.cycle += again
    deck.stamps[again] = 0
    deck.given[again] = 0
    deck.since[again] = week


def _events_table(truth: CardTruth, people: _People, log: _Log, ids: NDArray[np.object_]) -> pd.DataFrame:
    import pandas as pd

    kind = np.concatenate([np.full(len(who), kind) for kind, who, *_ in log.rows])
    who, cycle, number = (np.concatenate([row[i] for row in log.rows]).astype(np.int64) for i in (1, 2, 3))
    days = people.issue_moment[who] + np.concatenate([row[4] for row in log.rows])
    # moments of visits carry their own hour, so the hour of issue is taken off again
    later = kind != ISSUED
    later |= cycle > 1
    days -= np.where(later, people.issue_moment[who] % 1, 0)
    minute = np.rint(days * 1440).astype("timedelta64[m]")
    order = np.lexsort((number, cycle, who))
    who, cycle, number, kind, minute = (a[order] for a in (who, cycle, number, kind, minute))
    given = np.where((people.arm[who] == 1) & (cycle == 1), truth.endowed_stamps, 0)
    return pd.DataFrame(
        {
            "card_id": [f"{i}-{c:02d}" for i, c in zip(ids[who], cycle, strict=True)],
            "occurred_at": np.datetime64(FIRST_MONDAY, "us") + minute,
            "event_no": number,
            "customer_id": ids[who],
            "event": EVENTS[kind],
            "required_stamps": truth.required_visits + given,
            "endowed_stamps": given,
            "arm": ARMS[people.arm[who]],
            "cluster_id": [f"k{c:03d}" for c in people.cluster[who] + 1],
            "cycle": cycle,
        }
    )


def _seen_facts(truth: CardTruth, people: _People, deck: _Deck) -> dict[str, Any]:
    """Return effects on the people at hand, from both arms of the same people."""
    effect = deck.completed[1].astype(float) - deck.completed[0]
    visits = deck.visits[1].astype(float) - deck.visits[0]
    return {
        "completion_difference_sample": float(effect.mean()),
        "visits_control": float(deck.visits[0].mean()),
        "visits_endowed": float(deck.visits[1].mean()),
        "visits_difference": float(visits.mean()),
        "endowed_share": float(people.arm.mean()),
        "horizon_weeks": truth.expiry_weeks,
    }


def card_tables(
    truth: CardTruth, customers: int, seed: int
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Return the tables of the experiment, and the truth behind them."""
    import pandas as pd

    people = _draw_people(truth, customers, seed)
    deck, log = _play(truth, people, seed)
    ids = numbered_rows("c", customers).to_numpy(dtype=object)
    minutes = np.rint(people.issue_moment * 1440).astype("timedelta64[m]")
    acquired = np.datetime64(FIRST_MONDAY, "us") + minutes
    tables = {
        "customers": pd.DataFrame({"customer_id": ids, "acquired_at": acquired}),
        "card_events": _events_table(truth, people, log, ids),
    }
    return tables, asdict(truth) | exact_facts(truth) | _seen_facts(truth, people, deck)


def stamp_cards(truth: CardTruth, *, customers: int, seed: int) -> Dataset:
    """Simulate the experiment."""
    tables, facts = card_tables(truth, customers, seed)
    drawn = message(
        "Simulated experiment with stamp cards, arms drawn at random; the truth behind it is disclosed."
    )
    chosen = message(
        "Simulated stamp cards that customers chose themselves; the truth behind it is disclosed."
    )
    return Dataset.from_frames(
        "stamp-card",
        tables,
        description=drawn if truth.selection == 0 else chosen,
        kind="simulated",
        currency=CURRENCY,
        timezone=ZONE,
        as_of=LAST_DAY,
        notices=(message("Every card is made up; the true parameters are in the dataset's truth."),),
        truth=disclosed(facts),
    )
