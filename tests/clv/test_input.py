"""What must never pass: each case through the public interface, with its count and the mend."""

import json

import numpy as np
import pandas as pd
import pytest

from loyalty_research import summaries
from loyalty_research.clv import (
    BetaGeoNBD,
    GammaGamma,
    ParetoNBD,
    customer_lifetime_value,
    decile_lift,
    frequency_bins,
    holdout_accuracy,
    last_period,
    study,
    tracking,
)
from loyalty_research.errors import ArgumentError, ContractError

OPTIONS = {"horizon": 52, "annual_discount_rate": 0.1}


@pytest.fixture(scope="module")
def models(sample):
    return BetaGeoNBD().fit(sample), GammaGamma().fit(sample)


@pytest.mark.parametrize("call", ["purchases", "tracking", "last_period", "study"])
def test_a_holdout_that_overlaps_calibration_is_refused(sample_orders, models, call):
    window = {"calibration_end": "1998-06-30", "observation_end": "1998-06-30"}
    calls = {
        "purchases": lambda: summaries.purchases(sample_orders, **window),
        "tracking": lambda: tracking(models[0], sample_orders, **window),
        "last_period": lambda: last_period(sample_orders, **window),
        "study": lambda: study(sample_orders, **OPTIONS, **window),
    }
    with pytest.raises(ArgumentError, match="calibration"):
        calls[call]()


def test_a_model_that_has_seen_the_holdout_is_marked(sample_orders, sample, models):
    whole = BetaGeoNBD().fit(summaries.purchases(sample_orders, unit="W", observation_end="1998-06-30"))
    seen = holdout_accuracy(whole, sample).checks[0]
    assert seen.status == "warning"
    assert "has seen what it is asked for" in seen.detail
    assert holdout_accuracy(models[0], sample).checks[0].status == "passed"
    copies = BetaGeoNBD().fit(sample, weights=np.ones(len(sample)))
    assert holdout_accuracy(copies, sample).checks[0].status == "passed"


def test_mixed_time_units_are_refused_everywhere(sample, models):
    days = sample.copy()
    days.attrs["unit"] = "D"
    for call in (
        lambda: customer_lifetime_value(*models, days, **OPTIONS),
        lambda: holdout_accuracy(models[0], days),
        lambda: decile_lift(models[0], days),
        lambda: frequency_bins(models[0], days),
        lambda: models[0].probability_alive(days),
    ):
        with pytest.raises(
            ArgumentError, match=r"fitted with time in 'W' but this summary declares 'D'.*unit='W'"
        ):
            call()


def test_models_of_the_wrong_kind_are_named(sample, sample_orders, models):
    spend = models[1]
    window = {"calibration_end": "1997-09-30"}
    for call in (
        lambda: holdout_accuracy(spend, sample),
        lambda: frequency_bins(spend, sample),
        lambda: tracking(spend, sample_orders, **window),
    ):
        with pytest.raises(ArgumentError, match=r"model of purchases must be a fitted .* got GammaGamma"):
            call()
    with pytest.raises(ArgumentError, match=r"model of spend must be a fitted GammaGamma; got BetaGeoNBD"):
        holdout_accuracy(models[0], sample, spend_model=models[0])


def test_spend_without_frequency_is_refused_with_its_count(sample, models):
    odd = sample.copy()
    once = np.flatnonzero(odd["frequency"] == 0)[:3]
    odd.iloc[once, odd.columns.get_loc("monetary_value")] = 12.0
    for call in (
        lambda: GammaGamma().fit(odd),
        lambda: customer_lifetime_value(*models, odd, **OPTIONS),
        lambda: models[1].conditional_expected_spend(odd),
    ):
        with pytest.raises(
            ContractError, match=r"spend without a repeat purchase in 3 rows \(first at positions"
        ):
            call()
    with pytest.raises(ContractError, match="missing column frequency"):
        customer_lifetime_value(*models, sample.drop(columns="frequency"), **OPTIONS)


def test_no_customer_is_named_in_a_message(sample, models):
    secret = sample.rename(index=lambda c: f"jane-{c}@example.org")
    broken = secret.assign(recency=secret["T"] + 1)
    for call in (
        lambda: BetaGeoNBD().fit(broken),
        lambda: customer_lifetime_value(*models, broken, **OPTIONS),
        lambda: customer_lifetime_value(*models, secret.assign(monetary_value=-1.0), **OPTIONS),
    ):
        with pytest.raises(ContractError) as caught:
            call()
        assert "example.org" not in str(caught.value)


@pytest.mark.parametrize("kind", [BetaGeoNBD, ParetoNBD, GammaGamma])
def test_a_saved_model_is_read_by_its_own_class_and_format_only(sample, kind):
    saved = json.loads(kind().fit(sample).to_json())
    for change, said in (
        ({"format": saved["format"] + 1}, "its numbers may mean something else; fit the model again"),
        ({"model": "ShiftedBetaGeometric"}, "load it with that class"),
        ({"params": {"r": 1.0}}, "incomplete"),
    ):
        with pytest.raises(ContractError, match=said):
            kind.from_json(json.dumps({**saved, **change}))
    assert "customer" not in json.dumps(saved).replace("n_customers", "")
    pd.testing.assert_series_equal(kind.from_json(json.dumps(saved)).params_, kind().fit(sample).params_)
