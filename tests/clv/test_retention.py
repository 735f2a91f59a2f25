import math

import numpy as np
import pytest

from loyalty_research.clv import (
    BetaGeoNBD,
    GammaGamma,
    ModifiedBetaGeoNBD,
    ParetoNBD,
    customer_lifetime_value,
    retention_multiplier,
    retention_sensitivity,
    retention_table,
)
from loyalty_research.clv._discount import Discounting
from loyalty_research.clv._worth import thinned
from loyalty_research.errors import ArgumentError

OPTIONS = {"horizon": 52, "annual_discount_rate": 0.1}


@pytest.fixture(scope="module")
def spend(sample):
    return GammaGamma().fit(sample)


def test_the_formula_gives_the_claimed_gains(oracle):
    case = oracle("retention_profit_claim")
    for key, gain in case["expected"].items():
        retention, rate = (int(part[1:]) / 100 for part in key.split("_"))
        found = retention_multiplier(retention, annual_discount_rate=rate)
        assert found - 1 == pytest.approx(gain, abs=case["tolerance"])
        table = retention_table(retentions=[retention], annual_discount_rates=[rate])
        assert table.loc[retention, rate] == pytest.approx(gain, abs=case["tolerance"])


def test_the_formula_is_the_ratio_of_two_sums_of_years():
    def value(retention):
        return sum((retention / 1.1) ** year for year in range(2000))

    assert retention_multiplier(0.7, annual_discount_rate=0.1) == pytest.approx(value(0.75) / value(0.7))


@pytest.mark.parametrize(
    ("retention", "rate"), [(0.97, 0.1), (0.95, 0.0), (1.1, 0.1), (-0.1, 0.1), (0.8, -0.2)]
)
def test_endless_or_impossible_retention_is_refused(retention, rate):
    with pytest.raises(ArgumentError):
        retention_multiplier(retention, annual_discount_rate=rate)


def test_the_table_leaves_out_what_would_be_endless():
    table = retention_table(retentions=[0.9, 0.95, 0.97], annual_discount_rates=[0.0, 0.1])
    assert table.loc[0.9, 0.0] == pytest.approx(1.0)
    assert math.isnan(table.loc[0.95, 0.0])
    assert table.loc[0.95, 0.1] == pytest.approx(0.5)
    assert table.loc[0.97].isna().all()


@pytest.mark.parametrize("kind", [BetaGeoNBD, ParetoNBD])
def test_thinned_departures_are_those_of_simulated_customers(kind):
    """With one rate and one dropout for everybody, purchases follow a formula of their own."""
    kept, rate, leaving, time = 0.4, 0.5, 0.1, 30.0
    if kind is BetaGeoNBD:  # lambda = rate, p = leaving
        parameters, gone = np.array([rate * 1e7, 1e7, leaving * 1e7, (1 - leaving) * 1e7]), rate * leaving
    else:  # mu = leaving
        parameters, gone = np.array([rate * 1e7, 1e7, leaving * 1e7, 1e7]), leaving
    panels = thinned(Discounting((0.0, time), np.ones(1), 0.02), kept)
    found = kind.core.live(parameters, np.zeros(1), np.zeros(1), panels)[0] / kept
    out = gone * kept + 0.02
    assert found == pytest.approx(rate * (1 - math.exp(-out * time)) / out, rel=1e-5)


@pytest.mark.parametrize("kind", [BetaGeoNBD, ModifiedBetaGeoNBD, ParetoNBD])
def test_the_model_is_asked_the_same_question(sample, spend, kind):
    value = customer_lifetime_value(kind().fit(sample), spend, sample, **OPTIONS)
    found = retention_sensitivity(value)
    assert 0 < found.retention.low < found.retention.value < found.retention.high < 1
    assert 0 < found.kept < 1
    assert 0 < found.gain.low < found.gain.value < found.gain.high
    assert found.gain.value < found.formula  # a year ahead sees little of what the formula adds up
    gains = found.curve["model"].to_numpy()
    assert (np.diff(gains) > 0).all()
    at = found.curve["points"].sub(0.05).abs().idxmin()
    assert found.curve.loc[at, "model"] == pytest.approx(found.gain.value)
    later = retention_sensitivity(
        customer_lifetime_value(value.models[0], spend, sample, horizon=None, annual_discount_rate=0.1)
    )
    assert later.gain.value > found.gain.value
    assert later.gain.value == pytest.approx(found.gain_ever, rel=1e-6)
    assert "Over all the future the model says" in found.verdict()
    assert later.retention.value == pytest.approx(found.retention.value)
    assert "points more stayed" in found.verdict()
    assert found.to_frame()["group"].isna().all()
    assert found.plot().get_ylabel() == "gain in today's customers' value"


def test_alike_customers_over_all_the_future_obey_the_formula():
    """With one dropout rate the fitted model and the formula in continuous time agree."""
    import pandas as pd

    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"frequency": rng.poisson(20, 400), "recency": 51.0, "T": 52.0})
    frame["monetary_value"] = 20.0 + rng.gamma(2, 1, 400)
    frame.attrs["unit"] = "W"
    spend = GammaGamma(penalizer=0.01).fit(frame)
    model = ParetoNBD(penalizer=0.01).fit(frame)
    model._theta = np.log([4e5, 1e6, 0.005e7, 1e7])  # rate .4 and dropout .005 a week for everybody
    value = customer_lifetime_value(model, spend, frame, horizon=None, annual_discount_rate=0.1)
    found = retention_sensitivity(value)
    now, delta = math.exp(-0.005 * 52), math.log(1.1) / 52
    later = -math.log(now + 0.05) / 52
    assert found.retention.value == pytest.approx(now, rel=1e-3)
    assert found.gain.value == pytest.approx((0.005 + delta) / (later + delta) - 1, rel=2e-3)


@pytest.mark.parametrize("points", [0, 1, -0.05, 0.99])
def test_a_rise_that_cannot_be_is_refused(sample, spend, points):
    value = customer_lifetime_value(BetaGeoNBD().fit(sample), spend, sample, **OPTIONS)
    with pytest.raises(ArgumentError, match="points"):
        retention_sensitivity(value, points=points)
