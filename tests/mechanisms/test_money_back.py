"""Points, stamp cards and sweepstakes: by hand, against simulation, and what their audits see."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import Points, StampCard, StoredValue, Sweepstakes
from loyalty_research.mechanisms._book import Book

START = np.datetime64("2024-01-01", "us")


def table(days, amounts, customer=None):
    return pd.DataFrame(
        {
            "customer_id": "a" if customer is None else customer,
            "transacted_at": START + np.asarray(days).astype("timedelta64[D]"),
            "amount": np.asarray(amounts, dtype=float),
        }
    )


def one_year(rng, customers, per_day, mean_order, days=365):
    """Poisson orders of exponential value, one row each."""
    count = rng.poisson(per_day * days, customers)
    who = np.repeat(np.arange(customers), count)
    return table(rng.integers(0, days, len(who)), rng.exponential(mean_order, len(who)), who)


# --- points ------------------------------------------------------------------------------------


def test_points_by_hand():
    card = Points(points_per_unit=2, reward_points=100, reward_value=5, reward_cost=2, welcome_points=10)
    earned = card.earn(table([0, 1, 2, 3], [20.4, 24.7, 101.0, 0.0]))
    assert earned["earned"].tolist() == [40, 49, 202, 0]  # whole points per order
    assert earned["value"].tolist() == [0, 0, 15, 0]  # 10 + 40 + 49 = 99, then 301
    assert earned["cost"].tolist() == [0, 0, 6, 0]


def test_floats_lose_no_point():
    amounts = np.arange(1, 2001) / 100
    earned = Points(points_per_unit=100, reward_points=1e6, reward_value=1).earn(
        table(np.zeros(2000, int), amounts)
    )
    assert earned["earned"].tolist() == list(range(1, 2001))


def test_points_lapse_after_a_silence_and_welcome_points_come_once():
    card = Points(reward_points=50, reward_value=5, expiry_days=30, welcome_points=10)
    earned = card.earn(table([0, 30, 61, 91, 92], [20, 15, 45, 4, 1]))
    # 10 + 20 + 15 = 45 lapses on day 60; 45 + 4 + 1 = 50 without the welcome points
    assert earned["value"].tolist() == [0, 0, 0, 0, 5]
    lapse = {row.metric: row.estimate.value for row in card.audit(table([0, 30, 61], [20, 15, 55])).rows}
    assert lapse["points lapsed"] == pytest.approx(45 / 95)


def test_expected_rebate_of_points_is_simulated():
    rng = np.random.default_rng(1)
    card = Points(points_per_unit=100, reward_points=5000, reward_value=6, welcome_points=1000)
    spend = rng.gamma(1 / 0.8**2, 120 * 0.8**2, 40_000)
    rebate = card.cost(table(np.zeros(40_000, int), spend, np.arange(40_000)))["effective rebate"]
    truth = card.expected_rebate(mean_spend=120, cv=0.8)
    assert abs(rebate.value - truth) < 4.5 * (rebate.high - rebate.low) / 3.92
    assert truth > Points(reward_points=50, reward_value=6).expected_rebate(mean_spend=120, cv=0.8)


def test_the_rebate_nears_its_headline_for_large_spending():
    card = Points(reward_points=50, reward_value=6)
    rates = [card.expected_rebate(mean_spend=m) for m in (20, 100, 1000, 100_000)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(card.headline_rebate(), rel=1e-3)


def test_doubling_points_and_prices_changes_nothing():
    one = Points(points_per_unit=1, reward_points=50, reward_value=6)
    two = Points(points_per_unit=2, reward_points=100, reward_value=6)
    assert one.expected_rebate(mean_spend=80) == two.expected_rebate(mean_spend=80)
    assert one.days_to_reward(orders_per_day=0.1, mean_order=12) == pytest.approx((1 + 50 / 12) / 0.1)
    whole = one_year(np.random.default_rng(3), 200, 0.05, 20).round({"amount": 0})
    pd.testing.assert_series_equal(one.earn(whole)["value"], two.earn(whole)["value"])


def test_points_pay_for_themselves_at_their_break_even():
    card = Points(reward_points=50, reward_value=6, reward_cost=2)
    rise = card.break_even(margin=0.25, redeemed=0.8).value
    assert (1 + rise) * (0.25 - 0.8 * 2 / 50) == pytest.approx(0.25)
    never = card.break_even(margin=0.04)
    assert never.value == math.inf
    assert "no rise" in never.verdict()
    loaded = Points(reward_points=50, reward_value=6, reward_cost=2, stored=StoredValue(load=25, bonus=0.25))
    assert loaded.break_even(margin=0.25).value > card.break_even(margin=0.25).value


def test_stored_value_is_a_saw_tooth():
    stored = StoredValue(load=20, bonus=0.1, dormant=0.05)
    balance = np.linspace(22, 0, 100_001)
    assert stored.mean_balance() == pytest.approx(balance.mean())
    assert stored.left_on_cards() == pytest.approx(0.05 * balance.mean())
    assert stored.discount() == pytest.approx(1 - 20 / 22)
    with pytest.raises(ArgumentError, match="dormant"):
        StoredValue(load=20, dormant=1.5)


def test_the_bonus_on_money_loaded_is_part_of_rebate_and_cost():
    plain_card = Points(reward_points=50, reward_value=6, reward_cost=2)
    loaded = Points(reward_points=50, reward_value=6, reward_cost=2, stored={"load": 25, "bonus": 0.25})
    assert loaded.stored == StoredValue(load=25, bonus=0.25)
    data = table([0, 1, 2, 3], [30, 30, 30, 35])
    # with 20 paid and 5 on top, a fifth of every order is the shop's
    extra = loaded.earn(data) - plain_card.earn(data)
    assert extra["value"].to_numpy() == pytest.approx(data["amount"] * 0.2)
    assert extra["cost"].to_numpy() == pytest.approx(data["amount"] * 0.2)
    assert loaded.cost(data, redeemed=0)["effective rebate"].value == pytest.approx(0.2)
    for form in (lambda c: c.headline_rebate(), lambda c: c.expected_rebate(mean_spend=80)):
        assert form(loaded) - form(plain_card) == pytest.approx(0.2)


def pull(rng, stretched, *, grid=None):
    """Orders of customers of whom some stretch an order that would end just short of a reward."""
    rows = []
    for customer in range(400):
        total = rng.uniform(0, 50)
        rows.append((customer, total))
        for amount in rng.gamma(4, 5, 12):
            spent = amount if grid is None else max(round(amount / grid) * grid, grid)
            short = -(total + spent) % 50
            if 0 < short < 5 and rng.random() < stretched:
                spent += short + rng.uniform(0, 1)
            total += spent
            rows.append((customer, spent))
    who, amount = zip(*rows, strict=True)
    return table(np.arange(len(who)), amount, np.array(who))


def test_pull_in_is_seen_where_it_is_and_only_there():
    card = Points(points_per_unit=10, reward_points=500, reward_value=6)
    rng = np.random.default_rng(8)

    def seen(data):
        return next(c for c in card.audit(data).checks if c.name == "Threshold pull-in")

    assert seen(pull(rng, 0.3)).status == "warning"
    assert sum(seen(pull(rng, 0.0)).status == "warning" for _ in range(20)) <= 3
    few = table([0, 1], [30, 30])
    assert seen(few).status == "not measurable"


def test_prices_on_a_grid_are_no_pull_in():
    card = Points(reward_points=50, reward_value=6)
    rng = np.random.default_rng(9)
    data = table(np.arange(4000), rng.integers(1, 9, 4000) * 10.0, np.arange(4000) % 300)
    check = next(c for c in card.audit(data).checks if c.name == "Threshold pull-in")
    assert check.status == "passed"


# --- stamp cards -------------------------------------------------------------------------------


def test_stamp_cards_by_hand():
    card = StampCard(stamps=5, given=2, reward_value=8)
    earned = card.earn(table([0, 0, 1, 2, 3, 4, 5], [5] * 7))
    assert earned["earned"].tolist() == [1, 0, 1, 1, 1, 1, 1]  # one stamp a day
    assert earned["value"].tolist() == [0, 0, 0, 8, 0, 0, 8]
    dying = StampCard(stamps=5, given=2, reward_value=8, expiry_days=10)
    assert dying.earn(table([0, 5, 11, 12, 21, 40], [5] * 6))["value"].tolist() == [0, 0, 0, 0, 8, 0]


def test_the_head_start_costs_nothing_when_the_paid_visits_are_the_same():
    eight, ten = (StampCard(stamps=8, reward_value=8), StampCard(stamps=10, given=2, reward_value=8))
    data = one_year(np.random.default_rng(4), 100, 0.1, 10)
    pd.testing.assert_frame_equal(eight.earn(data), ten.earn(data))
    assert eight.expected_rebate(mean_order=10) == ten.expected_rebate(mean_order=10) == 0.1
    assert (eight.head_start, ten.head_start) == (0, 0.2)


def test_expiring_cards_are_simulated():
    rng = np.random.default_rng(11)
    card = StampCard(stamps=6, given=1, reward_value=8, expiry_days=40_000)
    # long days make the calendar fine: 60 customers, 3,000 visits each at one per 10,000 days
    gaps = rng.exponential(10_000, (60, 3000)).cumsum(axis=1)

    book = Book(
        customer=np.repeat(np.arange(60), 3000),
        day=gaps.ravel().astype(np.int64),
        year=np.zeros(180_000, dtype=np.int64),
        amount=np.full(180_000, 10.0),
        row=np.arange(180_000),
        partner=None,
        index=pd.RangeIndex(180_000),
        anonymous=0,
        refunds=0,
    )
    rebate = card._earn(book).value.reshape(60, 3000).sum(axis=1) / 30_000
    truth = card.expected_rebate(mean_order=10, visits_per_day=1e-4)
    assert abs(rebate.mean() - truth) < 4.5 * rebate.std() / math.sqrt(60)
    assert truth < 0.9 * StampCard(stamps=6, given=1, reward_value=8).expected_rebate(mean_order=10)


def test_completion_is_an_erlang_time():
    card = StampCard(stamps=10, given=2)
    rng = np.random.default_rng(12)
    days = rng.gamma(8, 10, 100_000)
    for within in (50, 80, 120):
        chance = card.completion_probability(days=within, visits_per_day=0.1)
        assert abs((days <= within).mean() - chance) < 4.5 * math.sqrt(chance * (1 - chance) / 1e5)
    assert card.days_to_completion(visits_per_day=0.1) == 80


def test_cards_that_nobody_fills_in_time_are_seen():
    data = one_year(np.random.default_rng(13), 300, 0.05, 10)
    slow = StampCard(stamps=8, reward_value=8, expiry_days=60).audit(data)
    assert slow.checks[1].status == "warning"
    pace = slow["repeat visits a day"]
    assert pace.low < -math.expm1(-0.05) < pace.high  # visits of one day count once
    assert StampCard(stamps=8, reward_value=8, expiry_days=365).audit(data).checks[1].status == "passed"


# --- sweepstakes -------------------------------------------------------------------------------


def test_win_odds_are_those_of_the_oracle(oracle):
    case = oracle("sweepstakes_and_sms_rules")
    truth, given = case["expected"], case["inputs"]
    game = Sweepstakes(win_probability=given["win_prob"], orders_per_play=3, prize_value=6)
    assert game.any_win(plays=given["plays"]) == pytest.approx(truth["p_any_win"], abs=case["tolerance"])
    assert game.plays_for(0.95) == truth["plays_for_95pct"]
    assert game.orders_for(0.95) == truth["orders_for_95pct"]


@pytest.mark.parametrize("p", [0.01, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("chance", [0.1, 0.5, 0.75, 0.95, 0.999])
def test_the_fewest_plays_are_the_fewest(p, chance):
    game = Sweepstakes(win_probability=p)
    n = game.plays_for(chance)
    assert game.any_win(plays=n) >= chance - 1e-12
    assert n == 1 or game.any_win(plays=n - 1) < chance


def test_the_game_plays_by_hand_and_in_expectation():
    game = Sweepstakes(win_probability=0.25, orders_per_play=3, prize_value=8, prize_cost=4)
    earned = game.earn(table(range(7), [10] * 7))
    assert earned["earned"].tolist() == [0, 0, 1, 0, 0, 1, 0]
    assert earned["value"].sum() == 2 * 0.25 * 8
    long = game.cost(table(np.zeros(3000, int), np.full(3000, 10.0)))["effective rebate"].value
    assert long == pytest.approx(game.expected_rebate(mean_order=10))
    rise = game.break_even(margin=2).value
    assert (1 + rise) * (2 - 0.25 * 4 / 3) == pytest.approx(2)


@pytest.mark.parametrize(("wins", "status"), [(180, "failed"), (250, "passed"), (320, "warning")])
def test_odds_are_held_against_the_promise(wins, status):
    audit = Sweepstakes(win_probability=0.25, orders_per_play=3).audit(plays=1000, wins=wins)
    assert audit.checks[0].status == status
    assert audit.verdict().startswith("No verdict") == (status == "failed")
    assert audit["win rate"].value == wins / 1000


def test_an_honest_game_fails_its_audit_rarely():
    game = Sweepstakes(win_probability=0.25)
    wins = np.random.default_rng(14).binomial(400, 0.25, 400)
    failed = sum(game.audit(plays=400, wins=int(w)).checks[0].status == "failed" for w in wins)
    assert failed / 400 <= 0.025 + 4 * math.sqrt(0.025 * 0.975 / 400)


def test_plays_and_wins_must_agree():
    game = Sweepstakes(win_probability=0.25)
    with pytest.raises(ArgumentError, match="exceed"):
        game.audit(plays=3, wins=4)
    with pytest.raises(ArgumentError, match="together"):
        game.audit(plays=3)
    with pytest.raises(ArgumentError, match="chance"):
        game.plays_for(1.0)
