import numpy as np
import pandas as pd
import pytest

from loyalty_research import summaries
from loyalty_research.clv import (
    SEGMENTS,
    BetaGeoNBD,
    GammaGamma,
    customer_lifetime_value,
    customer_segments,
    split_value,
)
from loyalty_research.errors import ArgumentError, ContractError


@pytest.fixture(scope="module")
def whole(sample_orders):
    return summaries.purchases(sample_orders, unit="W", observation_end="1998-06-30")


def test_purchases_count_the_first_one(small):
    found = customer_segments(small)
    assert found.index.equals(small.index)
    assert found["j"] == "bought once"
    assert found["i"] == "bought twice"
    assert found[["h", "f", "a"]].tolist() == ["3 to 5 purchases"] * 3
    assert found["e"] == "6 to 10 purchases"
    assert found.cat.ordered


def test_recency_is_the_time_since_the_last_purchase(small):
    weeks = customer_segments(small, by="recency")
    assert weeks["e"] == "bought in the last 30 days"  # 38 - 37 weeks
    assert weeks["h"] == "31 to 90 days ago"  # 5 weeks
    assert weeks["j"] == "181 to 365 days ago"  # 38 weeks
    days = small.assign(recency=small["recency"] * 7, T=small["T"] * 7)
    days.attrs["unit"] = "D"
    assert customer_segments(days, by="recency").tolist() == weeks.tolist()


def test_cohorts_are_quarters_of_the_first_purchase(whole, sample_orders):
    found = customer_segments(whole, by="cohort")
    assert set(found) == {"since 1997 Q1"}
    one = pd.DataFrame({"frequency": [0, 0], "recency": 0.0, "T": [364.0, 0.0]})
    one.attrs = {"unit": "D", "observation_end": "2024-12-31"}
    assert customer_segments(one, by="cohort").tolist() == ["since 2024 Q1", "since 2024 Q4"]


def test_a_column_of_customers_is_matched_and_gaps_are_named(small):
    customers = pd.DataFrame({"customer_id": list("abcde"), "region": ["n", "s", "n", "s", None]})
    found = customer_segments(small, by="region", customers=customers)
    assert found["a"] == "n"
    assert found["b"] == "s"
    assert found[["e", "j"]].tolist() == ["unknown", "unknown"]
    assert found.cat.categories.tolist() == ["n", "s", "unknown"]


def test_numbers_are_cut_into_quarters(small):
    customers = pd.DataFrame({"customer_id": small.index, "age": np.arange(20, 70, 5)})
    found = customer_segments(small, by="age", customers=customers)
    assert found.nunique() == 4
    assert all(str(label).startswith("age ") for label in found)


def test_what_cannot_be_split_is_refused(small, whole):
    with pytest.raises(ArgumentError, match="by must be one of purchases, recency, cohort, membership, tier"):
        customer_segments(small, by="region")
    customers = pd.DataFrame({"customer_id": list("aab"), "region": list("xyz")})
    with pytest.raises(ContractError, match=r"1 row \(at position 1\) repeat a customer_id"):
        customer_segments(small, by="region", customers=customers)
    with pytest.raises(ContractError, match="missing column age"):
        customer_segments(small, by="age", customers=customers)
    names = pd.DataFrame({"customer_id": whole.index, "name": [f"n{i}" for i in range(len(whole))]})
    with pytest.raises(ArgumentError, match="2,357 different values"):
        customer_segments(whole, by="name", customers=names)
    bare = small.copy()
    bare.attrs.clear()
    for by in ("recency", "cohort"):
        with pytest.raises(ArgumentError, match=r"df\.attrs"):
            customer_segments(bare, by=by)
    assert set(SEGMENTS) == {"purchases", "recency", "cohort"}


def test_a_split_that_the_data_lack_gives_its_reason(small):
    model, spend = BetaGeoNBD(penalizer=0.1).fit(small), GammaGamma(penalizer=0.1).fit(small)
    value = customer_lifetime_value(model, spend, small, horizon=52, annual_discount_rate=0.1)
    found, why = split_value(value, "purchases")
    assert why == ""
    assert len(found.names) == 4
    assert found.segments == ()  # ten customers in four groups: each would be told by the others
    assert found.verdict() == "Every segment is of too few customers to be shown."
    nothing, why = split_value(value, "tier")
    assert nothing is None
    assert why == "Value is not split by tier: there is no memberships table."
    nothing, why = split_value(value, "region")
    assert why.startswith("Value is not split by region: by must be one of")
