"""Cart abandonment: counts by hand, young carts, clusters, later orders, values, coverage."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import cart_abandonment
from loyalty_research.stats.proportions import proportion

START = pd.Timestamp("2024-05-01 12:00")


def carts(hours, **columns):
    """Return carts of one day whose order came after so many hours, or never."""
    size = len(hours)
    opened = pd.Series([START] * size)
    return pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(size)],
            "opened_at": opened,
            "ordered_at": opened + pd.to_timedelta(pd.Series(hours, dtype=float), "h"),
        }
        | columns
    )


def test_an_order_counts_up_to_the_hour_and_no_longer():
    found = cart_abandonment(carts([0, 24, 24.01, None]), as_of="2024-12-31")
    assert (found.rate.value, found.rate.n) == (0.5, 4)
    peer = proportion(2, 4)
    assert (found.rate.low, found.rate.high) == (peer.low, peer.high)
    longer = cart_abandonment(carts([0, 24, 24.01, None]), within_hours=48, as_of="2024-12-31")
    assert longer.rate.value == 0.25


def test_young_carts_are_left_out_and_counted():
    frame = carts([None] * 6)
    frame.loc[:2, "opened_at"] = pd.Timestamp("2024-06-30 12:00")
    found = cart_abandonment(frame, as_of="2024-06-30")
    assert (found.carts, found.too_young) == (3, 3)
    assert "3 carts were opened less than 24 hours" in found.checks[0].detail
    # the day ends later in New York
    assert (
        cart_abandonment(frame, as_of="2024-06-30", within_hours=14, timezone="America/New_York").carts == 6
    )
    with pytest.raises(DesignError, match="no cart was opened at least"):
        cart_abandonment(frame, as_of="2024-05-01")


def test_orders_after_the_end_are_not_known():
    frame = carts([1] * 3 + [24 * 40] * 5 + [None] * 2)
    early = cart_abandonment(frame, as_of="2024-05-31", recovery_days=20)
    assert early.recovered.value == 0
    assert cart_abandonment(frame, as_of="2024-12-31", recovery_days=50).recovered.value == pytest.approx(
        5 / 7
    )
    # nobody was followed for 50 days by then
    assert cart_abandonment(frame, as_of="2024-05-31", recovery_days=50).recovered is None


def test_customers_with_many_carts_count_once_in_the_check_and_widen_the_limits():
    frame = carts([1, 1, 1, 1, None, None, None, None] * 5)
    single = cart_abandonment(frame, as_of="2024-12-31")
    many = cart_abandonment(frame.assign(customer_id=[f"c{i // 4}" for i in range(40)]), as_of="2024-12-31")
    assert many.rate.value == single.rate.value
    assert many.rate.high > single.rate.high
    assert (many.first_carts.n, many.first_carts.value) == (10, 0.5)
    nobody = cart_abandonment(frame.assign(customer_id=None), as_of="2024-12-31")
    assert nobody.first_carts is None
    assert nobody.without_customer == 40
    assert nobody.rate == single.rate


def test_values_are_sums():
    frame = carts([1, 1, None, None, None], amount=[10.0, 30, 20, 40, None])
    found = cart_abandonment(frame, as_of="2024-12-31", currency="EUR")
    assert found.value_share.value == pytest.approx(60 / 100)
    assert found.value_per_cart.value == pytest.approx(30)
    assert found.value.value == pytest.approx(60)
    assert found.value.format() == "60.00 EUR"
    assert found.value.high / 60 == pytest.approx(np.exp(1.959964 * np.hypot(20, 40) / 60), rel=1e-6)
    assert found.value.low * found.value.high == pytest.approx(60**2)
    assert "1 of 5 carts have no amount" in [c.detail for c in found.checks][-1]
    assert cart_abandonment(frame.drop(columns="amount"), as_of="2024-12-31").value is None


def test_the_published_share_is_a_claim():
    few = cart_abandonment(carts([1] * 80 + [None] * 20), as_of="2024-12-31")
    assert few.claim_verdict() == (
        "Fewer carts are abandoned here, 20.0% (95% interval 13.3% to 28.9%), than the published 75.6%."
    )
    near = cart_abandonment(carts([1] * 25 + [None] * 75), as_of="2024-12-31")
    assert "lies within the interval" in near.claim_verdict()
    assert "More carts" in near.claim_verdict(0.3)
    with pytest.raises(ArgumentError, match="fraction"):
        near.claim_verdict(75.6)


def test_wrong_tables_are_refused():
    with pytest.raises(ContractError, match="lacks the column ordered_at"):
        cart_abandonment(carts([1]).drop(columns="ordered_at"))
    with pytest.raises(ContractError, match="ordered_at is before opened_at at 1 row"):
        cart_abandonment(carts([1, -1]))
    with pytest.raises(ContractError, match=r"carts\.amount is no number at 1 row"):
        cart_abandonment(carts([1, 1], amount=["5", "five"]))
    with pytest.raises(ContractError, match="below 0"):
        cart_abandonment(carts([1, 1], amount=[5.0, -1]))
    with pytest.raises(ArgumentError, match="recovery_days must be longer"):
        cart_abandonment(carts([1, None]), within_hours=72, recovery_days=3, as_of="2024-12-31")
    with pytest.raises(ArgumentError, match="hours above 0"):
        cart_abandonment(carts([1, None]), within_hours=0)


def simulated(replicates, seed=9):
    """Customers come at random, with several carts each and habits of their own."""
    rng = np.random.default_rng(seed)
    truth = {"rate": 0.6, "recovered": 0.25, "value_share": 0.6, "value_per_cart": 40.0, "value": 12_000.0}
    held = dict.fromkeys(truth, 0)
    for _ in range(replicates):
        customers = rng.poisson(250)
        count = rng.choice([1, 2, 3], size=customers)
        who = np.repeat(np.arange(customers), count)
        own = rng.beta(3.0, 2.0, customers)
        gone = rng.random(who.size) < own[who]
        later = rng.random(who.size) < 0.25
        hours = np.where(~gone, 1.0, np.where(later, 100.0, np.nan))
        worth = rng.gamma(2.0, 0.5, customers)[who] * rng.gamma(2.0, 20.0, who.size)
        frame = carts(hours, amount=worth).assign(customer_id=who)
        found = cart_abandonment(frame, as_of="2024-12-31")
        for key, value in truth.items():
            estimate = getattr(found, key)
            held[key] += estimate.low <= value <= estimate.high
    return {key: count / replicates for key, count in held.items()}


def test_intervals_cover_the_truth():
    held = simulated(150)
    assert min(held.values()) > 0.89, held


@pytest.mark.slow
def test_intervals_cover_the_truth_at_length(published):
    held = simulated(2000)
    published({f"abandoned carts: {key.replace('_', ' ')}": share for key, share in held.items()}, 2000)
    assert all(abs(share - 0.95) < 0.02 for share in held.values()), held
