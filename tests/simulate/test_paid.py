import numpy as np
import pytest

import loyalty_research as lr
from loyalty_research.mechanisms import PaidMembership
from loyalty_research.simulate._paid import PaidScheme, PaidTruth


def local(moments):
    return moments.dt.tz_localize("UTC").dt.tz_convert("Europe/Madrid").dt.tz_localize(None)


@pytest.fixture(scope="module")
def shop():
    return lr.simulate("paid", customers=5000, seed=2)


@pytest.fixture(scope="module")
def orders(shop):
    """Orders of members, in the time of the shop."""
    lines = shop.frame("transactions").merge(shop.frame("memberships"), on="customer_id")
    inside = (lines["transacted_at"] >= lines["valid_from"]) & (
        lines["valid_to"].isna() | (lines["transacted_at"] < lines["valid_to"])
    )
    return lines[inside].assign(transacted_at=local(lines["transacted_at"]))


def test_fees_and_benefits_are_those_of_the_rules(shop, orders):
    rules = PaidScheme.default_rules(PaidTruth())
    truth = shop.truth
    assert rules.fees(orders[["customer_id", "transacted_at", "amount"]]) == pytest.approx(
        truth["fee_revenue"]
    )
    assert truth["benefit_cost"] == 5 * len(orders)
    assert truth["surplus"] == truth["fee_revenue"] - truth["benefit_cost"]
    assert (orders["discount_amount"] == 6).all()
    others = shop.frame("transactions").drop(orders.index, errors="ignore")
    assert (shop.frame("transactions")["discount_amount"] > 0).sum() == len(orders)
    assert len(others)


def test_the_surplus_of_a_period_is_its_closed_form(shop, orders):
    """Everybody's first period: the fee less the cost of as many orders as were placed in it."""
    rules = PaidScheme.default_rules(PaidTruth())
    day = orders["transacted_at"].dt.normalize()
    first = day.groupby(orders["customer_id"]).transform("min")
    count = orders[(day - first).dt.days < 365].groupby("customer_id").size()
    sales = orders[(day - first).dt.days < 365][["customer_id", "transacted_at", "amount"]]
    cost = rules.earn(sales)["cost"].sum()
    assert -cost == pytest.approx(sum(rules.surplus(orders=n, mean_order=40) for n in count))
    assert rules.break_even(margin=8, orders=count.mean(), mean_order=40).value == pytest.approx(
        max(0.0, (5 * count.mean() - 99) / 3)
    )


def test_who_declines_is_a_member_no_longer(shop):
    spells = shop.frame("memberships")
    truth = shop.truth
    assert 0 < truth["declined"] < len(spells)
    ended = spells.dropna(subset="valid_to")
    midnight = local(ended["valid_to"]).dt.normalize() == local(ended["valid_to"])
    assert (~midnight).sum() == pytest.approx(truth["declined"], abs=3)
    stays = (ended["valid_to"] - ended["valid_from"]).dt.days[~midnight]
    assert (stays >= 364).all()
    assert lr.simulate("paid", customers=500, seed=2, renewal_share=1.0).truth["declined"] == 0
    never = lr.simulate("paid", customers=500, seed=2, renewal_share=0.0).truth
    assert never["renewal_rate"] == 0


def test_users_join_and_the_naive_ratio_says_more_than_is_true(shop):
    assert shop.truth["naive_ratio"] > 2 * shop.truth["true_ratio"] > 2
    null = lr.simulate(
        "paid", customers=3000, seed=2, rate_effect=0.0, hazard_ratio=1.0, spend_effect=0.0
    ).truth
    assert null["true_ratio"] == 1
    assert null["naive_ratio"] > 2


def test_membership_ends_with_its_effects():
    truth = PaidTruth(rate_effect=1.0, hazard_ratio=0.5, beta=300.0)
    world = PaidScheme(truth, PaidScheme.default_rules(truth), 30_000, 4).world
    people = world.people
    joined, until = np.full(people.size, 365.0), np.full(people.size, 600.0)
    course = world.play(joined, until=until)
    for start, stop, rate, hazard in ((365.0, 600.0, 2.0, 0.5), (600.0, 1096.0, 1.0, 1.0)):
        time = np.clip(course.gone, start, stop) - start
        placed = course.orders.between(start, stop).sum()
        expected = rate * people.rate @ time
        assert placed == pytest.approx(expected, abs=5 * np.sqrt(expected))
        left = ((course.gone >= start) & (course.gone < stop)).sum()
        expected = hazard * people.hazard @ time
        assert left == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_a_discount_saves_a_share_of_each_order():
    rules = PaidMembership(fee=30, discount=0.1, period_days=200)
    made = lr.simulate("paid", customers=400, seed=5, mechanism=rules)
    orders = made.frame("transactions")
    saved = orders[orders["discount_amount"] > 0]
    assert (saved["discount_amount"] - 0.1 * saved["amount"]).abs().max() < 0.0051
