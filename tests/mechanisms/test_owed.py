"""What is still open at the end of a day, by hand and against the account of what came in."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import mechanism

START = pd.Timestamp("2024-01-01")


def table(days, amounts, customer="a", **columns):
    when = START + pd.to_timedelta(days, unit="D")
    return pd.DataFrame({"customer_id": customer, "transacted_at": when, "amount": amounts} | columns)


def on(day):
    return (START + pd.Timedelta(days=day)).date()


def test_points_left_over_are_owed_until_they_lapse():
    card = mechanism("points", reward_points=50, reward_value=5, expiry_days=30, welcome_points=10)
    data = table([0, 20, 60], [20, 25, 12])
    owed = [card.owed(data, as_of=on(day)) for day in (-1, 0, 20, 50, 51, 60)]
    # 10 + 20, then 55 of which 50 were used, which lapse 30 days after day 20; 12 from day 60
    assert owed == pytest.approx([0, 3.0, 0.5, 0.5, 0, 1.2])
    assert card.owed(data, as_of=on(20), redeemed=0.4) == pytest.approx(0.5 + 0.6 * 5)


def test_money_on_cards_is_owed_at_its_average():
    card = mechanism("points", reward_points=50, reward_value=0, stored={"load": 20, "bonus": 0.1})
    data = table([0, 0, 5], [1, 1, 1], ["a", "b", "a"])
    assert card.owed(data, as_of=on(9)) == pytest.approx(2 * 11)


def test_stamps_on_open_cards_are_owed_until_the_card_is_void():
    card = mechanism("stamp-card", stamps=5, given=1, reward_value=8)
    data = table([0, 0, 1, 2, 3, 9, 10], [5] * 7)
    assert [card.owed(data, as_of=on(d)) for d in (0, 2, 3, 10)] == pytest.approx([2, 6, 0, 4])
    dying = mechanism("stamp-card", stamps=5, given=1, reward_value=8, expiry_days=7)
    assert [dying.owed(data, as_of=on(d)) for d in (10, 16, 17)] == pytest.approx([4, 4, 0])


def test_fees_for_days_to_come_are_owed():
    plan = mechanism("paid", fee=365, order_saving=3)
    data = table([0, 100, 364, 365], [9] * 4)
    # a day's fee is 1; the first period ends with day 364 and the next begins with day 365
    assert [plan.owed(data, as_of=on(d)) for d in (0, 100, 364, 365)] == pytest.approx([364, 264, 0, 364])
    assert plan.owed(data, as_of=on(0), redeemed=0.1) == pytest.approx(364)


def test_orders_towards_a_play_and_unclaimed_prizes_are_owed():
    game = mechanism("sweepstakes", win_probability=0.25, orders_per_play=3, prize_value=12)
    data = table(range(5), [9] * 5)
    assert game.owed(data, as_of=on(9)) == pytest.approx(2 / 3 * 0.25 * 12)
    assert game.owed(data, as_of=on(9), redeemed=0) == pytest.approx(5 / 3 * 0.25 * 12)


def test_points_of_tiers_and_coalitions_are_owed_as_far_as_they_were_not_used():
    tiers = mechanism("tiers", names=("a", "b"), lines=(0, 10), multipliers=(1, 2), point_value=0.1)
    pool = mechanism("coalition", partners={"x": 1, "y": 2}, point_value=0.1, issue_price=0.05)
    data = table([0, 1], [10, 20], partner_id=["x", "y"])
    assert tiers.owed(data, as_of=on(5), redeemed=0.75) == pytest.approx(0.25 * (1 + 4))
    assert pool.owed(data, as_of=on(5), redeemed=0.75) == pytest.approx(0.25 * (1 + 4))
    assert pool.owed(data, as_of=on(5)) == 0


@pytest.mark.parametrize(
    "rules",
    [
        mechanism("points", points_per_unit=100, reward_points=5000, reward_value=6),
        mechanism("stamp-card", stamps=6, reward_value=6),
        mechanism("sweepstakes", win_probability=0.5, orders_per_play=4, prize_value=6),
    ],
    ids=lambda rules: rules.kind,
)
def test_what_was_promised_is_given_or_owed(rules):
    rng = np.random.default_rng(5)
    data = table(np.arange(600), rng.gamma(2, 9, 600).round(2), rng.integers(0, 25, 600))
    promised = {
        "points": (data["amount"] / 50).sum() * 6,
        "stamp-card": 600 / 6 * 6,
        "sweepstakes": 600 / 4 * 0.5 * 6,
    }[rules.kind]
    for share in (1.0, 0.3):
        given = rules.cost(data, redeemed=share)["value to customers"].value
        assert given + rules.owed(data, as_of=dt.date(2030, 1, 1), redeemed=share) == pytest.approx(promised)


@pytest.mark.parametrize("kind", ["points", "paid"])
def test_an_account_is_settled_in_one_go(kind):
    rules = {
        "points": mechanism("points", reward_points=50, reward_value=6, reward_cost=2, expiry_days=90),
        "paid": mechanism("paid", fee=20, order_saving=3, order_cost=2),
    }[kind]
    rng = np.random.default_rng(6)
    data = table(rng.integers(0, 600, 400), rng.gamma(2, 9, 400).round(2), rng.integers(0, 25, 400))
    until = data[data["transacted_at"] <= START + pd.Timedelta(days=500)]
    found = rules.settle(data, as_of=on(500), redeemed=0.6)
    earned = rules.earn(until, redeemed=0.6)
    assert (found.value, found.cost) == pytest.approx((earned["value"].sum(), earned["cost"].sum()))
    assert found.owed == pytest.approx(rules.owed(data, as_of=on(500), redeemed=0.6))
    none = rules.settle(data, as_of=on(-5))
    assert (none.value, none.cost, none.owed) == (0, 0, 0)


def test_nothing_is_owed_where_nothing_is_saved_up():
    note = mechanism("non-monetary", benefit="a note", member_cost=2)
    assert note.owed(table([0], [9]), as_of=on(1), redeemed=0) == 0
    assert mechanism("none").owed(table([0], [9]), as_of=on(1)) == 0


@pytest.mark.parametrize(("options", "said"), [({"as_of": "soon"}, "as_of"), ({"redeemed": 2}, "redeemed")])
def test_unusable_options_are_refused(options, said):
    with pytest.raises(ArgumentError, match=said):
        mechanism("none").owed(table([0], [9]), **{"as_of": on(1), **options})
