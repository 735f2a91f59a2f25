import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ContractError, DesignError
from loyalty_research.programme.early_access import early_access
from loyalty_research.programme.offers import offer_lift

OPTIONS = {
    "treated": "early",
    "control": "wait",
    "start": "2024-05-01",
    "after_days": 28,
    "as_of": "2024-06-30",
    "margin": 0.5,
}


def world(seed, customers=2000, *, added=6.0, lost=4.0):
    """Those let in early buy reduced goods at once, and less at full price later."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"c{i}" for i in range(customers)])
    early = np.arange(customers) % 2 == 0
    parts = [
        ("2024-04-29", rng.gamma(4, 5, customers), 0.0),
        ("2024-05-02", rng.gamma(4, 2, customers) + added * early, 3.0),
        ("2024-05-12", rng.gamma(9, 4, customers) - lost * early, 0.0),
    ]
    orders = pd.concat(
        [
            pd.DataFrame(
                {"customer_id": ids, "transacted_at": pd.Timestamp(d), "amount": a, "discount_amount": cut}
            )
            for d, a, cut in parts
        ]
    )
    return pd.DataFrame({"customer_id": ids, "arm": np.where(early, "early", "wait")}), orders


def test_sales_at_full_price_are_told_apart():
    people, orders = world(1)
    found = early_access(people, orders, public="2024-05-04", **OPTIONS)
    assert found.everything.net.low < 1.0 < found.everything.net.high
    assert found.full_price.net.low < -2.0 < found.full_price.net.high
    assert found.full_price.during.value == 0.0
    assert "It cost sales at full price" in found.verdict()
    whole = offer_lift(people, orders, end="2024-05-04", **OPTIONS)
    assert found.everything.net == whole.net
    assert len(found.to_frame()) == 8


def test_a_coupon_is_no_full_price_and_no_loss_is_claimed_without_one():
    people, orders = world(2, lost=0.0)
    found = early_access(people, orders, public="2024-05-04", **OPTIONS)
    assert "A loss of sales at full price is not shown" in found.verdict()
    with_codes = orders.assign(coupon_code=np.where(orders["discount_amount"] > 0, "MAY", None))
    same = early_access(people, with_codes.assign(discount_amount=0.0), public="2024-05-04", **OPTIONS)
    assert same.full_price.net == found.full_price.net


def test_bad_tables_are_refused():
    people, orders = world(3, 40)
    with pytest.raises(ContractError, match="discount_amount"):
        early_access(people, orders.drop(columns="discount_amount"), public="2024-05-04", **OPTIONS)
    with pytest.raises(ContractError, match="negative"):
        early_access(people, orders.assign(discount_amount=-1.0), public="2024-05-04", **OPTIONS)
    with pytest.raises(DesignError, match="not measurable"):
        early_access(people.assign(arm="early"), orders, public="2024-05-04", **OPTIONS)
