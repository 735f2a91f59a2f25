"""Scorecard lines of service, carts, points, wallet and loyalty: each its own measure, with honest changes."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.errors import ArgumentError
from loyalty_research.programme import (
    cart_abandonment,
    emotional_and_functional_loyalty,
    redemption_rate,
    scorecard,
    service_level,
    share_of_wallet,
)
from loyalty_research.programme._scorecard_experience import EXPERIENCE

START = pd.Timestamp("2022-12-31")
DAY, BEFORE = dt.date(2024, 12, 31), dt.date(2024, 10, 2)
END = 731  # days from START to DAY
CARTS = 300


def at(days, hours=12.0):
    return START + pd.to_timedelta(np.asarray(days, dtype=float) * 24 + hours, "h")


def shop(rng, customers=200):
    """Return tables of customers whose habits never change."""
    names = np.array([f"c{i}" for i in range(customers)])
    buys = np.repeat(np.arange(customers), rng.poisson(rng.gamma(2.0, 4.0, customers)) + 1)
    transactions = pd.DataFrame(
        {
            "customer_id": names[buys],
            "transacted_at": at(rng.integers(1, END, buys.size)),
            "amount": rng.gamma(2.0, 10.0, buys.size).round(2) + 0.01,
            "currency": "EUR",
        }
    )
    transactions["transaction_id"] = [f"t{i}" for i in transactions.index]
    earn = pd.DataFrame(
        {
            "customer_id": names[buys],
            "occurred_at": transactions["transacted_at"],
            "points": 100.0,
            "type": "earn",
        }
    )
    ledger = pd.concat([earn, redeemed(rng, names, earn)], ignore_index=True)
    ledger["entry_id"] = [f"e{i}" for i in ledger.index]
    calls = np.repeat(np.arange(customers), rng.poisson(2.0, customers))
    opened = rng.integers(1, END, calls.size)
    wait = rng.geometric(0.4, calls.size)
    tickets = pd.DataFrame(
        {
            "ticket_id": [f"s{i}" for i in range(calls.size)],
            "customer_id": names[calls],
            "opened_at": at(opened),
            "closed_at": pd.Series(at(opened + wait)).where(opened + wait <= END),
            "on_time": pd.Series(wait <= 2, dtype=object).where(opened + wait <= END),
            "in_full": pd.Series(rng.random(calls.size) < 0.8, dtype=object).where(opened + wait <= END),
        }
    )
    filled = rng.integers(0, customers, CARTS)
    day = rng.integers(1, END + 1, CARTS)
    ordered = pd.Series(at(day, 13.0)).where(rng.random(CARTS) < 0.4)
    carts = pd.DataFrame(
        {
            "cart_id": [f"k{i}" for i in range(CARTS)],
            "customer_id": pd.Series(names[filled], dtype=object).where(rng.random(CARTS) < 0.7),
            "opened_at": at(day),
            "ordered_at": ordered.where(ordered <= at([END], 23.0)[0]),
            "amount": rng.gamma(2.0, 20.0, CARTS).round(2),
        }
    )
    surveys = pd.concat(
        [
            pd.DataFrame(
                {
                    "customer_id": names,
                    "answered_at": at(np.full(customers, asked)),
                    "instrument": name,
                    "item": item,
                    "value": values,
                    "scale_min": low,
                    "scale_max": high,
                }
            )
            for asked in (END - 100, END - 5)
            for name, item, values, low, high in (
                ("nps", "nps", rng.integers(0, 11, customers), 0.0, 10.0),
                (
                    "share_of_wallet",
                    "category_spend",
                    rng.gamma(3.0, 100.0, customers).round(2),
                    np.nan,
                    np.nan,
                ),
            )
        ],
        ignore_index=True,
    )
    surveys["response_id"] = [f"r{i}" for i in surveys.index]
    return {
        "transactions": transactions,
        "points_ledger": ledger,
        "tickets": tickets,
        "carts": carts,
        "surveys": surveys,
    }


def redeemed(rng, names, earn):
    """Return redemptions: now and then, each at a rate of their own, customers use all they have.

    What is left behind then does not grow with the length of the record, so that nothing changes.
    """
    rows = []
    days = {who: np.sort(part.to_numpy()) for who, part in earn.groupby("customer_id")["occurred_at"]}
    for who, rate in zip(names, rng.gamma(2.0, 2.0, len(names)), strict=True):
        had = 0
        for moment in np.sort(at(rng.uniform(1, END, rng.poisson(rate))).to_numpy()):
            now = int(np.searchsorted(days[who], moment))
            if now > had:
                rows.append((who, moment, -100.0 * (now - had)))
            had = now
    frame = pd.DataFrame(rows, columns=["customer_id", "occurred_at", "points"])
    return frame.assign(type="redeem")


def dataset(tables):
    return lr.Dataset.from_frames(
        "made up", tables, description="Made-up customers.", kind="simulated", currency="EUR", as_of=DAY
    )


@pytest.fixture(scope="module")
def tables():
    return shop(np.random.default_rng(1))


@pytest.fixture(scope="module")
def card(tables):
    return scorecard(dataset(tables), as_of=DAY, compare_to=BEFORE, window=180, resamples=100)


def test_every_line_is_its_own_measure(tables, card):
    tickets = tables["tickets"]
    recent = tickets[tickets["closed_at"] > at([END - 180], 24.0)[0]]
    carts = tables["carts"]
    young = carts[carts["opened_at"] >= at([END - 180], 24.0)[0]]
    orders, surveys = tables["transactions"], tables["surveys"]
    loyal = emotional_and_functional_loyalty(
        surveys, orders, on=DAY, attitude_cut=9, behaviour_cut=2, before=180, as_of=DAY
    )
    peers = {
        "redemption_rate": redemption_rate(tables["points_ledger"], window=180, follow=90, as_of=DAY).rate,
        "service_level": service_level(recent, as_of=DAY).both,
        "cart_abandonment": cart_abandonment(young, as_of=DAY).rate,
        "share_of_wallet": share_of_wallet(
            surveys, transactions=orders, window=180, as_of=DAY, since="2024-07-05"
        ).measured,
    }
    for key, peer in peers.items():
        line = card.line(key)
        assert (line.estimate.value, line.estimate.n) == pytest.approx((peer.value, peer.n)), key
        assert (line.estimate.low, line.estimate.high) == pytest.approx((peer.low, peer.high)), key
    assert card.line("emotional_loyalty").estimate.value == pytest.approx(loyal.shares["loyalty"].value)
    assert 0 < card.line("breakage").estimate.value < 1


def test_every_change_has_an_interval_and_every_denominator_its_words(card):
    for key in EXPERIENCE:
        line = card.line(key)
        assert line.estimate is not None, (key, line.reason)
        assert line.denominator
        assert line.change.low < line.change.value < line.change.high, key
    assert "on time and in full recorded" in card.line("service_level").denominator
    assert "followed for 24 hours" in card.line("cart_abandonment").denominator


def test_options_reach_their_lines(tables):
    given = {
        "redemption_days": 30,
        "cart_hours": 0.5,
        "attitude": ("nps", 5),
        "behaviour_days": 1,
        "breakage_months": 3,
    }
    card = scorecard(dataset(tables), as_of=DAY, window=180, resamples=100, options=given)
    assert "each point followed for 30" in card.line("redemption_rate").denominator
    assert card.line("cart_abandonment").estimate.value == 1.0
    assert "answer 5 or more and bought on 1 days" in card.line("emotional_loyalty").denominator
    assert "within 3 months" in card.line("breakage").denominator
    for bad in ({"attitude": "nps"}, {"cart_hours": -1}, {"redemption_days": 0}):
        with pytest.raises(ArgumentError):
            scorecard(dataset(tables), as_of=DAY, window=180, resamples=100, options=bad)


def reasons(tables):
    card = scorecard(dataset(tables), as_of=DAY, window=180, resamples=100)
    return {key: card.line(key).reason for key in EXPERIENCE}


def test_what_the_data_lack_is_said(tables):
    only = {"transactions": tables["transactions"]}
    none = reasons(only)
    assert all(text.startswith("not measurable because the data have no ") for text in none.values())
    assert "tickets with customer_id, opened_at, on_time" in none["service_level"]
    entries = tables["points_ledger"]
    over = pd.concat([entries, entries.iloc[:1].assign(points=-1e6, type="redeem", entry_id="x")])
    closed = tables["tickets"].dropna(subset="closed_at").sort_values("closed_at")
    few = closed[closed["customer_id"].isin(closed["customer_id"].iloc[-2:])]
    wrong = reasons(only | {"points_ledger": over, "tickets": few})
    assert "overdrawn" in wrong["redemption_rate"]
    assert "overdrawn" in wrong["breakage"]
    assert "fewer than 5 customers" in wrong["service_level"]
    late = entries[(entries["occurred_at"] > at([END - 200])[0]) & (entries["type"] == "earn")]
    short = reasons(only | {"points_ledger": late, "tickets": tables["tickets"].assign(on_time=None)})
    assert "begins later than" in short["redemption_rate"]
    assert "has 6 whole periods after the first, and breakage is taken at an age of 12" in short["breakage"]
    assert "no service case of the last 180 days" in short["service_level"]


def simulated(replicates, seed=3):
    """Return how often the interval of each change holds 0, where nothing changes."""
    rng = np.random.default_rng(seed)
    held = dict.fromkeys((key for key in EXPERIENCE if key != "breakage"), 0)
    for _ in range(replicates):
        card = scorecard(dataset(shop(rng, 120)), as_of=DAY, compare_to=BEFORE, window=180, resamples=100)
        for key in held:
            change = card.line(key).change
            held[key] += change.low <= 0 <= change.high
    return {key: count / replicates for key, count in held.items()}


@pytest.mark.slow
def test_changes_hold_nothing_where_nothing_changes(published):
    replicates = 200
    held = simulated(replicates)
    published({f"change where nothing changes: {key}": share for key, share in held.items()}, replicates)
    error = np.sqrt(0.95 * 0.05 / replicates)
    assert all(abs(share - 0.95) < 3 * error + 0.005 for share in held.values()), held
