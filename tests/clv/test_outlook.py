"""Predictions of each customer, under drawn parameters."""

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research import summaries
from loyalty_research.clv import BetaGeoNBD, outlook
from loyalty_research.errors import ArgumentError, ContractError


@pytest.fixture(scope="module")
def orders():
    return lr.open_dataset("cdnow-sample").frame("transactions")


@pytest.fixture(scope="module")
def found(orders):
    return outlook(orders, until="1997-09-30", days=180, draws=300, seed=3)


def test_predictions_are_the_models_own(orders, found):
    summary = summaries.purchases(orders, unit="D", observation_end="1997-09-30")
    assert found.predictions["probability_alive"].equals(found.model.probability_alive(summary))
    ahead = found.model.conditional_expected_purchases(180, summary)
    np.testing.assert_allclose(found.predictions["expected_purchases"], ahead)


def test_draws_spread_as_the_delta_method_says(orders, found):
    summary = summaries.purchases(orders, unit="D", observation_end="1997-09-30")
    told = found.model.total_expected_purchases(180, summary)
    drawn = found.expected.sum(axis=0)
    assert np.std(drawn) == pytest.approx((told.high - told.low) / (2 * 1.96), rel=0.15)
    rows = found.to_frame()
    assert rows["estimate"][1] == pytest.approx(told.value)


def test_nothing_after_the_day_is_known(orders, found):
    early = orders[orders["transacted_date"] <= pd.Timestamp("1997-09-30")]
    again = outlook(early, until="1997-09-30", days=180, draws=20, seed=3)
    assert again.predictions.equals(found.predictions)


def test_a_fitted_model_can_be_carried_on(orders, found):
    later = outlook(orders, until="1998-03-31", days=90, model=found.model, draws=20)
    assert later.model is found.model
    assert (later.predictions["frequency"] >= found.predictions["frequency"]).all()


def test_where_hardly_anybody_leaves_the_fit_is_marked():
    rng = np.random.default_rng(4)
    rate = rng.gamma(2.0, 0.05, 300)
    bought = rng.random((300, 200)) < rate[:, None]
    bought[:, 0] = True
    who, day = np.nonzero(bought)
    lines = pd.DataFrame(
        {"customer_id": who, "transacted_date": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D")}
    ).assign(amount=1.0)
    made = outlook(lines, until="2024-07-18", days=90, draws=20)
    assert [c.status for c in made.checks] == ["warning"]
    assert made.predictions["probability_alive"].mean() > 0.9


def test_wrong_options_are_refused(orders):
    for wrong in ({"days": 0}, {"days": 30, "draws": 5}, {"days": 30, "model": "NBD"}):
        with pytest.raises(ArgumentError):
            outlook(orders, until="1997-09-30", **wrong)
    with pytest.raises(ArgumentError, match="fit"):
        outlook(orders, until="1997-09-30", days=30, model=BetaGeoNBD())
    with pytest.raises(ContractError):
        outlook(pd.DataFrame({"customer_id": ["a"]}), until="1997-09-30", days=30)
