import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.mechanisms import Points, StoredValue

CLOSE = {"beta": 1e5, "join_invited": 1.0, "join_control": 1.0, "join_delay": 0.0, "early_joining": 0.0}
FREE = {"rate_effect": 0.0, "spend_effect": 0.0, "hazard_ratio": 1.0}


def local(moments, zone="Europe/Madrid"):
    return moments.dt.tz_localize("UTC").dt.tz_convert(zone).dt.tz_localize(None)


def as_member(made):
    """Orders of members from their joining on, as the rules take them."""
    lines = made.frame("transactions").merge(made.frame("memberships"), on="customer_id")
    lines = lines[lines["transacted_at"] >= lines["valid_from"]]
    return lines.assign(transacted_at=local(lines["transacted_at"]))[
        ["customer_id", "transacted_at", "amount"]
    ]


@pytest.fixture(scope="module")
def lapsing():
    rules = Points(points_per_unit=2, reward_points=100, reward_value=4, welcome_points=30, expiry_days=40)
    return lr.simulate("points", customers=3000, seed=3, mechanism=rules), rules


def test_points_follow_the_rules(lapsing):
    made, rules = lapsing
    ledger = made.frame("points_ledger").sort_values("entry_id")
    orders = as_member(made)
    found = rules.earn(orders)
    sums = ledger.groupby("type")["points"].sum()
    assert sums["earn"] == found["earned"].sum()
    assert sums["adjust"] == 30 * orders["customer_id"].nunique()
    # those who use points take each reward with the next order, if the points have not lapsed by then
    users = ledger.loc[ledger["type"] == "redeem", "customer_id"].unique()
    mine = orders[orders["customer_id"].isin(users)].sort_values(["customer_id", "transacted_at"])
    due = found["value"].reindex(mine.index) / 4
    day = mine["transacted_at"].dt.normalize()
    gap = day.groupby(mine["customer_id"]).diff().dt.days
    taken = due.groupby(mine["customer_id"]).shift().where(gap <= 40, 0.0)
    assert -sums["redeem"] == 100 * taken.sum()
    assert sums["expire"] < 0


def test_balances_never_fall_below_nothing_and_lapse_to_nothing(lapsing):
    made, _ = lapsing
    ledger = made.frame("points_ledger").sort_values("entry_id")
    balance = ledger.groupby("customer_id")["points"].cumsum()
    assert (balance >= 0).all()
    assert (balance[ledger["type"] == "expire"] == 0).all()
    before = ledger.groupby("customer_id")["occurred_at"].shift()
    wait = (local(ledger["occurred_at"]).dt.normalize() - local(before).dt.normalize()).dt.days
    assert (wait[ledger["type"] == "expire"] == 41).all()
    lapsed = ledger.groupby("customer_id")["type"].shift().eq("expire")
    assert (wait[~lapsed & (ledger["type"] != "expire")].dropna() <= 40).all()
    truth = made.truth
    assert truth["points_open"] == pytest.approx(ledger["points"].sum())
    assert truth["points_lapsed"] == -ledger.loc[ledger["type"] == "expire", "points"].sum()


def test_the_standard_programme_lapses_after_its_year_only():
    two = lr.simulate("points", customers=600, seed=4)
    assert set(two.frame("points_ledger")["type"]) == {"earn", "redeem"}
    three = lr.simulate("points", customers=600, seed=4, years=3)
    assert "expire" in set(three.frame("points_ledger")["type"])
    old, new = (d.frame("transactions") for d in (two, three))
    columns = ["customer_id", "transacted_at", "amount"]
    new = new[new["transacted_date"] < "2025-01-01"]
    pd.testing.assert_frame_equal(old[columns], new[columns])
    assert str(three.as_of) == "2025-12-31"


def test_time_to_a_reward_is_its_closed_form():
    """Everybody stays, so each customer's own rate and order value give the chance exactly."""
    from loyalty_research.simulate._points import PointsScheme, PointsTruth

    rules = Points(reward_points=150, reward_value=5, expiry_days=None)
    truth = PointsTruth(**CLOSE, **FREE, reward_points=150)
    scheme = PointsScheme(truth, rules, 6000, 5)
    shop = scheme.open()
    mine = shop.course.orders.keep(shop.course.member)
    early = mine.day < 365 + 120
    _, value = (
        np.zeros(0),
        rules.earn(
            pd.DataFrame(
                {
                    "customer_id": mine.customer[early],
                    "transacted_at": np.datetime64("2023-01-01", "us")
                    + (mine.moment[early] * 86400).astype("timedelta64[s]"),
                    "amount": np.floor(mine.amount[early]),
                }
            )
        )["value"],
    )
    reached = np.bincount(mine.customer[early], weights=value, minlength=6000) > 0
    people = shop.people
    chance = np.array(
        [
            # points are whole per order, so half a unit of each order is lost on average
            rules.reach_probability(days=120, orders_per_day=r, mean_order=m - 0.5, cv=truth.p**-0.5)
            for r, m in zip(people.rate[:2000], truth.p / people.value_rate[:2000], strict=True)
        ]
    )
    spread = np.sqrt((chance * (1 - chance)).sum())
    assert reached[:2000].sum() == pytest.approx(chance.sum(), abs=4 * spread)


def test_the_effective_rebate_is_its_closed_form():
    """Rewards due over spend, against the mean over customers of the expected multiples."""
    truth = {**CLOSE, **FREE, "r": 100.0, "alpha": 1000.0, "q": 1000.0, "v": 7992.0, "engagement_rate": 0.0}
    rules = Points(points_per_unit=1, reward_points=200, reward_value=10)
    made = lr.simulate("points", customers=3000, seed=6, mechanism=rules, **truth)
    rebate = rules.cost(as_member(made))["effective rebate"]
    spend = made.frame("transactions").query("transacted_date >= '2024-01-01'")
    total = spend.groupby("customer_id")["amount"].sum()
    closed = rules.expected_rebate(mean_spend=total.mean(), cv=total.std() / total.mean())
    # whole points lose half a unit per order of 40
    assert rebate.value == pytest.approx(closed * (1 - 0.5 / 40), abs=(rebate.high - rebate.low) + 2e-4)


def test_the_days_to_a_reward_are_their_closed_form():
    """Customers who order at least every ten days all get there within the year that is seen."""
    from loyalty_research.simulate._points import PointsScheme, PointsTruth

    rules = Points(reward_points=100, reward_value=5)
    scheme = PointsScheme(PointsTruth(**CLOSE, **FREE, alpha=8.0), rules, 8000, 5)
    shop, truth = scheme.open(), scheme.truth
    mine = shop.course.orders.keep(shop.course.member)
    points = np.floor(mine.amount)
    begin = np.flatnonzero(np.r_[True, mine.customer[1:] != mine.customer[:-1]])
    total = np.cumsum(points)
    total -= np.repeat((total - points)[begin], np.diff(np.r_[begin, len(total)]))
    people, there = shop.people, np.full(8000, np.nan)
    hits = np.flatnonzero(total >= 100)[::-1]
    there[mine.customer[hits]] = mine.moment[hits] - 365
    value = truth.p / people.value_rate
    who = np.flatnonzero((people.rate > 0.1) & (value > 10) & (people.gone > 731))[:800]
    closed = np.array(
        [
            rules.days_to_reward(orders_per_day=people.rate[i], mean_order=value[i] - 0.5, cv=truth.p**-0.5)
            for i in who
        ]
    )
    gap = there[who] - closed
    assert np.isfinite(gap).all()
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(who))
    assert closed.std() > 5


def test_members_pay_from_the_money_they_load():
    rules = Points(reward_points=300, reward_value=5, stored=StoredValue(load=25, bonus=0.1))
    made = lr.simulate("points", customers=3000, seed=8, mechanism=rules)
    orders = made.frame("transactions")
    spells = made.frame("memberships")
    mine = orders.merge(spells, on="customer_id").query("transacted_at >= valid_from")
    assert orders["loaded"].sum() == mine["loaded"].sum() == made.truth["money_loaded"]
    by = mine.sort_values("transacted_at").groupby("customer_id")
    balance = (by["loaded"].cumsum() * 1.1 - by["amount"].cumsum()).round(6)
    assert (balance >= 0).all()
    assert (balance < 27.5).all()
    assert (mine["loaded"] % 25 == 0).all()
    assert made.truth["bonus_given"] == pytest.approx(0.1 * made.truth["money_loaded"])
    sums = by[["loaded", "amount"]].sum()
    left = sums["loaded"] * 1.1 - sums["amount"]
    assert made.truth["money_on_cards"] == pytest.approx(left.sum())
    assert left.mean() == pytest.approx(rules.stored.mean_balance(), abs=4 * 27.5 / np.sqrt(12 * len(left)))
