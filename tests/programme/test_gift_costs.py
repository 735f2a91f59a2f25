import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme.gift_costs import gift_cost
from loyalty_research.programme.offers import offer_lift

WINDOW = {"start": "2024-05-01", "end": "2024-05-08", "after_days": 21, "as_of": "2024-06-30"}
OPTIONS = {"treated": "gift", "control": "none", "margin": 0.5, **WINDOW}


def world(rng, customers=600, *, extra=0.5):
    """Customers come about twice in the four weeks, those given something ``extra`` times more."""
    ids = np.array([f"c{i}" for i in range(customers)])
    given = np.arange(customers) % 2 == 0
    count = rng.poisson(2 + extra * given)
    who = np.repeat(np.arange(customers), count)
    # a day each, so that visits are the orders
    day = np.concatenate([rng.choice(28, c, replace=False) for c in count])
    orders = pd.DataFrame(
        {
            "customer_id": ids[who],
            "transacted_at": pd.Timestamp("2024-05-01 12:00") + pd.to_timedelta(day, unit="D"),
            "amount": rng.gamma(4, 5, len(who)),
        }
    )
    return pd.DataFrame({"customer_id": ids, "arm": np.where(given, "gift", "none")}), orders


def test_visits_cost_and_what_is_left_follow_their_definitions():
    people, orders = world(np.random.default_rng(1))
    found = gift_cost(people, orders, cost=3.0, currency="EUR", ratio=1.0, **OPTIONS)
    arm = orders["customer_id"].map(people.set_index("customer_id")["arm"])
    mean = arm.value_counts() / 300
    more = mean["gift"] - mean["none"]
    assert found.visits.value == pytest.approx(more)
    assert found.cost_per_visit.value == pytest.approx(3.0 / more)
    assert found.lift.net == offer_lift(people, orders, ratio=1.0, currency="EUR", **OPTIONS).net
    assert found.left.value == pytest.approx(found.lift.net.value - 3.0)
    by_customer = people.assign(paid=np.where(people["arm"] == "gift", 3.0, 0.0))
    same = gift_cost(by_customer, orders, cost="paid", **OPTIONS)
    assert same.cost_per_visit.value == pytest.approx(3.0 / more)


def test_two_orders_of_a_day_are_one_visit_and_days_are_local():
    people = pd.DataFrame({"customer_id": list("abcd"), "arm": ["gift", "gift", "none", "none"]})
    orders = pd.DataFrame(
        {
            "customer_id": ["a", "a", "a"],
            "amount": 10.0,
            "transacted_at": pd.to_datetime(["2024-05-02 10:00", "2024-05-02 20:00", "2024-05-02 23:00"]),
        }
    )
    assert gift_cost(people, orders, cost=1.0, **OPTIONS).visits.value == 0.5
    assert gift_cost(people, orders, cost=1.0, timezone="Europe/Madrid", **OPTIONS).visits.value == 1.0


def coverage(replicates, seed):
    rng = np.random.default_rng(seed)
    hits = np.zeros(2)
    for _ in range(replicates):
        found = gift_cost(*world(rng), cost=3.0, **OPTIONS)
        # half an extra visit at 20 x 0.5 of margin
        hits += [e.low <= t <= e.high for e, t in ((found.cost_per_visit, 6.0), (found.left, 2.0))]
    return hits / replicates


def test_cost_and_rest_are_covered():
    assert coverage(60, 2) == pytest.approx(0.95, abs=3.2 * np.sqrt(0.05 * 0.95 / 60))


@pytest.mark.slow
def test_cost_and_rest_cover(published):
    share = coverage(2000, 3)
    published(zip(("gift: cost per extra visit", "gift: what is left"), share, strict=True), 2000)
    assert share == pytest.approx(0.95, abs=3.2 * np.sqrt(0.05 * 0.95 / 2000))


def test_words_follow_what_is_left():
    people, orders = world(np.random.default_rng(4), 2000, extra=1.0)
    assert "paid for itself" in gift_cost(people, orders, cost=2.0, **OPTIONS).verdict()
    assert "cost more than it brought" in gift_cost(people, orders, cost=40.0, **OPTIONS).verdict()
    flat = world(np.random.default_rng(5), 200, extra=0.0)
    assert "cannot be" in gift_cost(*flat, cost=0.1, **OPTIONS).verdict()


def test_bad_costs_are_refused():
    people, orders = world(np.random.default_rng(6), 40)
    with pytest.raises(ArgumentError, match="above 0"):
        gift_cost(people, orders, cost=0.0, **OPTIONS)
    with pytest.raises(ContractError, match="lacks the column paid"):
        gift_cost(people, orders, cost="paid", **OPTIONS)
    with pytest.raises(ContractError, match="missing or below 0"):
        gift_cost(people.assign(paid=np.nan), orders, cost="paid", **OPTIONS)
    with pytest.raises(DesignError, match="not measurable"):
        gift_cost(people.assign(arm="gift"), orders, cost=1.0, **OPTIONS)
