import json
import math

import numpy as np
import pandas as pd
import pytest

from loyalty_research.clv import BetaGeoNBD, GammaGamma, decile_lift, last_period
from loyalty_research.errors import ArgumentError, ContractError


@pytest.fixture(scope="module")
def model(sample):
    return BetaGeoNBD().fit(sample)


def test_tenths_are_those_of_a_plain_sort_where_nobody_ties(draw_bg):
    frame = draw_bg(1_000, 3)
    frame = frame[frame["frequency"] > 0].head(400).reset_index(drop=True)
    frame.attrs["unit"] = "W"
    model = BetaGeoNBD(penalizer=0.01).fit(frame)
    found = decile_lift(model, frame)
    expected = model.conditional_expected_purchases(26, frame)
    ranked = frame.assign(expected=expected).sort_values("expected", ascending=False)
    plain = ranked["frequency_holdout"].to_numpy().reshape(10, 40)
    table = found.groups
    np.testing.assert_allclose(table["actual"], plain.mean(axis=1))
    np.testing.assert_allclose(table["expected"], ranked["expected"].to_numpy().reshape(10, 40).mean(axis=1))
    np.testing.assert_allclose(table["lift"], plain.mean(axis=1) / plain.mean())
    assert table["share"].sum() == pytest.approx(1)
    assert table["customers"].tolist() == [40] * 10
    assert found.top_share.value == pytest.approx(plain[0].sum() / plain.sum())
    half = 2.0227 * plain[0].std(ddof=1) / math.sqrt(40)  # t quantile, 39 degrees of freedom
    assert table["high"].iloc[0] - table["actual"].iloc[0] == pytest.approx(half, rel=1e-3)


def test_ties_do_not_hang_on_the_order_of_rows(sample, model):
    whole = decile_lift(model, sample)
    again = decile_lift(model, sample.sample(frac=1, random_state=5))
    pd.testing.assert_frame_equal(whole.groups, again.groups)
    assert again.top_share.value == pytest.approx(whole.top_share.value)


def test_a_model_that_knows_finds_the_good_customers(sample, sample_orders, model):
    benchmark = last_period(sample_orders, calibration_end="1997-09-30", observation_end="1998-06-30")
    found = decile_lift(model, sample, benchmark=benchmark, spend_model=GammaGamma().fit(sample))
    assert found.measure == "revenue"
    assert found.groups["lift"].iloc[0] > 3
    assert found.top_share.value - found.benchmark_share.value == pytest.approx(found.gain.value)
    assert "of the holdout revenue" in found.verdict()
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.plot().get_ylabel() == "mean revenue in the holdout"


def test_a_worse_ranking_is_called_worse(sample, model):
    truth = sample["frequency_holdout"].astype(float)
    found = decile_lift(model, sample, benchmark=truth)
    assert found.beats_benchmark is False
    assert "worse than ranking by the benchmark" in found.verdict()
    noise = pd.Series(np.random.default_rng(1).random(len(sample)), index=sample.index)
    assert decile_lift(model, sample, benchmark=noise).beats_benchmark


def test_nobody_back_is_said_and_bad_input_refused(sample, model):
    nobody = decile_lift(model, sample.assign(frequency_holdout=0))
    assert nobody.verdict().startswith("Nobody bought again")
    with pytest.raises(ArgumentError, match="groups must be a whole number"):
        decile_lift(model, sample, groups=1)
    with pytest.raises(ArgumentError, match="for 20 customers"):
        decile_lift(model, sample.head(20), groups=10)
    with pytest.raises(ContractError, match="missing column frequency_holdout"):
        decile_lift(model, sample.drop(columns="frequency_holdout"))
    with pytest.raises(ArgumentError, match="got GammaGamma"):
        decile_lift(GammaGamma().fit(sample), sample)
