import json

import numpy as np
import pandas as pd
import pytest
from scipy import integrate

from loyalty_research.clv import (
    BetaGeoNBD,
    GammaGamma,
    ModifiedBetaGeoNBD,
    ParetoNBD,
    alive_history,
    expectation_matrix,
    heterogeneity,
)
from loyalty_research.errors import ArgumentError

MODELS = [BetaGeoNBD, ModifiedBetaGeoNBD, ParetoNBD]


@pytest.fixture(scope="module", params=MODELS)
def model(request, sample):
    return request.param().fit(sample)


def test_the_matrix_is_what_customers_of_that_history_are_expected_to_buy(model):
    found = expectation_matrix(model, T=39, ahead=26, most=6, steps=13)
    rows = pd.DataFrame(
        [(x, t, 39.0) for x in (1, 6) for t in (3.0, 39.0)], columns=["frequency", "recency", "T"]
    )
    plain = model.conditional_expected_purchases(26, rows).to_numpy().reshape(2, 2)
    np.testing.assert_allclose(found.grid.loc[[1, 6], [3.0, 39.0]].to_numpy(), plain)
    assert found.unit == "weeks"
    assert "26 weeks" in found.verdict()
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.plot().get_xlabel() == "last purchase, weeks after the first"


def test_a_history_is_that_of_its_moments(model):
    purchases = [4.0, 9.0, 15.0]
    found = alive_history(model, purchases, until=40, seed=1)
    curve = found.curve
    for time, x, last in ((2.0, 0, 0.0), (12.0, 2, 9.0), (40.0, 3, 15.0)):
        row = curve.iloc[(curve["time"] - time).abs().argmin()]
        one = pd.DataFrame({"frequency": [x], "recency": [last], "T": [row["time"]]})
        assert row["probability_alive"] == pytest.approx(model.probability_alive(one).iloc[0])
    inner = curve[(curve["time"] > 20)]
    assert (inner["low"] <= inner["probability_alive"]).all()
    assert (inner["probability_alive"] <= inner["high"]).all()
    assert (np.diff(inner["probability_alive"]) < 0).all()  # silence only ever says less
    assert "25 weeks of silence" in found.verdict()
    pd.testing.assert_frame_equal(curve, alive_history(model, purchases, until=40, seed=1).curve)
    marks = found.plot().get_lines()[1]
    assert marks.get_xdata().tolist() == [0.0, *purchases]


def test_nobody_who_bought_once_ever_leaves_under_bgnbd(sample):
    found = alive_history(BetaGeoNBD().fit(sample), [], until=30)
    assert (found.curve["probability_alive"] == 1).all()
    other = alive_history(ModifiedBetaGeoNBD().fit(sample), [], until=30)
    assert other.curve["probability_alive"].iloc[-1] < 0.5


@pytest.mark.parametrize("purchases", [[3, 2], [0, 4], [50], [-1], [np.nan]])
def test_a_pattern_that_cannot_be_is_refused(sample, purchases):
    with pytest.raises(ArgumentError, match="increasing times"):
        alive_history(BetaGeoNBD().fit(sample), purchases, until=40)


def test_densities_are_densities_with_the_models_means(model):
    found = heterogeneity(model, seed=2)
    r, alpha, c, d = model.params_
    assert found.mean_rate.value == pytest.approx(r / alpha)
    chance = not isinstance(model, ParetoNBD)
    assert found.mean_dropout.value == pytest.approx(c / (c + d) if chance else c / d)
    assert found.mean_rate.low < found.mean_rate.value < found.mean_rate.high
    for frame in (found.rate, found.dropout):
        assert (frame["low"] <= frame["high"]).all()
        mass = integrate.trapezoid(frame["density"], frame["value"])
        assert 0.5 < mass < 1.0
        inside = (frame["low"] <= frame["density"]) & (frame["density"] <= frame["high"])
        assert inside.mean() > 0.95
    assert found.dropout_kind == ("chance" if chance else "rate")
    assert "eight in ten" in found.verdict()
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.plot_rate().get_xlabel() == "purchases per week while a customer"
    assert "leav" in found.plot_dropout().get_xlabel()


def test_what_has_no_such_picture_is_refused(sample):
    traits = sample.assign(half=np.arange(len(sample)) % 2 * 1.0)
    model = BetaGeoNBD().fit(traits, purchase_covariates=["half"])
    for call in (
        lambda m: expectation_matrix(m, T=39, ahead=26),
        lambda m: alive_history(m, [3], until=9),
        heterogeneity,
    ):
        with pytest.raises(ArgumentError, match="without covariates"):
            call(model)
        with pytest.raises(ArgumentError, match="got GammaGamma"):
            call(GammaGamma().fit(sample))
    plain = BetaGeoNBD().fit(sample)
    for change in ({"T": 0}, {"ahead": -1}, {"most": 1}):
        with pytest.raises(ArgumentError, match="needs T and ahead"):
            expectation_matrix(plain, **{"T": 39, "ahead": 26, **change})
