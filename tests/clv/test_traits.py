"""How customers differ, fitted: known customers are found again, and what cannot be fitted is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.clv import customer_traits
from loyalty_research.data import Dataset


def test_simulated_customers_are_found_again():
    truth = {"r": 0.8, "alpha": 20.0, "s": 1.2, "beta": 300.0, "p": 5.0, "q": 4.0, "v": 24.0}
    source = lr.simulate("none", customers=5000, seed=3, engagement_stay=0.0, **truth)
    found = customer_traits(source)
    assert found.customers == 5000
    assert found.check.status == "passed"
    assert found.parameters["engagement_stay"] == 0
    # orders of one day count once, which costs the most frequent buyers some of theirs
    rate = found.parameters["r"] / found.parameters["alpha"]
    assert 0.92 * 0.04 < rate < 0.04
    assert found.parameters["r"] == pytest.approx(0.8, rel=0.15)
    stay = found.parameters["beta"] * (2 ** (1 / found.parameters["s"]) - 1)
    assert stay == pytest.approx(300 * (2 ** (1 / 1.2) - 1), rel=0.15)
    value = found.parameters["p"] * found.parameters["v"] / (found.parameters["q"] - 1)
    assert value == pytest.approx(40, rel=0.05)
    assert "an order every" in found.check.detail


def test_parameters_make_customers_again():
    found = customer_traits(lr.simulate("none", customers=1500, seed=1))
    again = lr.simulate("none", customers=200, seed=1, **found.parameters)
    assert again.truth["r"] == found.parameters["r"]


def test_customers_who_never_leave_are_fitted_with_a_word_of_warning():
    rng = np.random.default_rng(4)
    rate = rng.gamma(2.0, 0.02, 300)
    counts = rng.poisson(rate * 300) + 1
    table = pd.DataFrame(
        {
            "transaction_id": np.arange(counts.sum()).astype(str),
            "customer_id": np.repeat(np.arange(300), counts).astype(str),
            "transacted_at": pd.Timestamp("2024-01-01")
            + pd.to_timedelta(rng.integers(0, 300, counts.sum()), unit="D"),
            "amount": np.repeat(rng.gamma(9, 4, 300), counts) * rng.gamma(5, 0.2, counts.sum()),
            "currency": "EUR",
        }
    )
    source = Dataset.from_frames("stay", {"transactions": table}, description="Made up.", kind="user")
    found = customer_traits(source)
    assert found.check.status == "warning"
    assert "weak prior" in found.check.detail
    assert found.parameters["beta"] / found.parameters["s"] > 1000


def test_data_without_orders_say_so():
    units = pd.DataFrame({"unit_id": ["1", "2"], "arm": ["a", "b"], "spend": [1.0, 2.0]})
    source = Dataset.from_frames("arms", {"units": units}, description="Made up.", kind="user")
    found = customer_traits(source)
    assert (found.parameters, found.customers, found.check.status) == ({}, 0, "not measurable")
    assert "no transactions" in found.check.detail


def test_customers_who_never_came_back_say_why():
    table = pd.DataFrame(
        {
            "transaction_id": ["1", "2", "3"],
            "customer_id": ["a", "b", "c"],
            "transacted_at": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"]),
            "amount": [5.0, 6.0, 7.0],
            "currency": "EUR",
        }
    )
    source = Dataset.from_frames("once", {"transactions": table}, description="Made up.", kind="user")
    found = customer_traits(source)
    assert found.check.status == "not measurable"
    assert found.check.detail
