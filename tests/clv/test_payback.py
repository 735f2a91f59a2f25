import math

import numpy as np
import pandas as pd
import pytest

from loyalty_research.clv import (
    BetaGeoNBD,
    GammaGamma,
    ParetoNBD,
    acquisition_payback,
    customer_lifetime_value,
)
from loyalty_research.errors import ArgumentError

OPTIONS = {"horizon": 52, "annual_discount_rate": 0.1, "margin": 0.3, "currency": "USD"}


@pytest.fixture(scope="module")
def value(sample):
    return customer_lifetime_value(BetaGeoNBD().fit(sample), GammaGamma().fit(sample), sample, **OPTIONS)


def test_the_curve_is_what_the_models_expect_of_a_new_customer(sample):
    model, spend = ParetoNBD().fit(sample), GammaGamma().fit(sample)
    plain = customer_lifetime_value(
        model, spend, sample, horizon=52, annual_discount_rate=0.0, margin=0.5, currency="USD"
    )
    found = acquisition_payback(plain, acquisition_cost=40, first_spend=30)
    curve = found.curve.set_index("month")
    expected = 0.5 * (30 + spend.mean_spend_ * model.expected_purchases(52 * np.array([1, 12, 24]) / 12))
    np.testing.assert_allclose(curve.loc[[1, 12, 24], "expected"], expected, rtol=1e-9)
    assert curve.loc[0, "expected"] == 15
    assert found.first_margin == 15
    assert found.in_a_year.value == pytest.approx(expected[1])


def test_limits_of_the_time_are_where_the_limits_of_the_curve_pass(value):
    found = acquisition_payback(value, acquisition_cost=20, first_spend=0)
    curve = found.curve
    for limit, column in ((found.payback.low, "high"), (found.payback.value, "expected")):
        assert np.interp(limit, curve["month"], curve[column]) == pytest.approx(20)
    assert found.payback.low < found.payback.value < found.payback.high
    assert found.payback.unit == "months"
    assert found.payback.method == "delta method, log scale"
    assert "after" in found.verdict()


def test_cheap_customers_pay_at_once_and_dear_ones_never(value):
    first = acquisition_payback(value, acquisition_cost=5)
    assert first.payback.value == 0
    assert first.verdict() == "The first purchase alone is expected to bring back a cost of 5.00 USD."
    never = acquisition_payback(value, acquisition_cost=5_000)
    assert math.isinf(never.payback.value)
    assert "not expected to bring back a cost of 5,000 USD within 60 months" in never.verdict()
    assert never.to_dict()["estimates"][0]["estimate"] is None
    assert len(never.plot().texts) == 2
    some = acquisition_payback(value, acquisition_cost=20, first_spend=0)
    assert len(some.plot().texts) == 3


def test_a_higher_rate_or_lower_margin_pays_later(sample, value):
    base = acquisition_payback(value, acquisition_cost=15, first_spend=0).payback.value
    for change in ({"annual_discount_rate": 0.5}, {"margin": 0.25}):
        other = customer_lifetime_value(*value.models, sample, **{**OPTIONS, **change})
        assert acquisition_payback(other, acquisition_cost=15, first_spend=0).payback.value > base


def test_draws_give_nearly_the_same_limits(sample, value):
    drawn = customer_lifetime_value(
        *value.models, sample, **OPTIONS, intervals="draws", seed=2, replicates=400
    )
    one, other = (acquisition_payback(v, acquisition_cost=20, first_spend=0).payback for v in (value, drawn))
    assert other.method.startswith("parametric draws")
    assert (other.low, other.high) == pytest.approx((one.low, one.high), rel=0.1)


@pytest.mark.parametrize(
    "change",
    [
        {"acquisition_cost": 0},
        {"acquisition_cost": -3},
        {"acquisition_cost": math.nan},
        {"first_spend": -1},
        {"longest_months": 6},
    ],
)
def test_bad_options_are_refused(value, change):
    with pytest.raises(ArgumentError):
        acquisition_payback(value, **{"acquisition_cost": 10, **change})


def test_new_customers_that_differ_have_no_single_payback(sample):
    traits = sample.assign(early=pd.Series(np.arange(len(sample)) % 2, index=sample.index).astype(float))
    model = BetaGeoNBD().fit(traits, purchase_covariates=["early"])
    found = customer_lifetime_value(model, GammaGamma().fit(traits), traits, **OPTIONS)
    with pytest.raises(ArgumentError, match="new customers differ"):
        acquisition_payback(found, acquisition_cost=10)
