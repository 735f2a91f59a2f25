import json
import math

import numpy as np
import pandas as pd
import pytest

from loyalty_research.clv import (
    BetaGeoNBD,
    GammaGamma,
    ModifiedBetaGeoNBD,
    ParetoNBD,
    frequency_bins,
    holdout_accuracy,
    last_period,
)
from loyalty_research.errors import ArgumentError, ContractError


@pytest.fixture(scope="module")
def model(sample):
    return BetaGeoNBD().fit(sample)


@pytest.fixture(scope="module")
def benchmark(sample_orders):
    return last_period(sample_orders, calibration_end="1997-09-30", observation_end="1998-06-30")


@pytest.mark.parametrize("kind", [BetaGeoNBD, ModifiedBetaGeoNBD, ParetoNBD])
def test_bins_hold_every_customer_and_come_close(sample, kind):
    found = frequency_bins(kind().fit(sample), sample)
    bins = found.bins
    assert bins["purchases"].tolist() == ["0", "1", "2", "3", "4", "5", "6", "7+"]
    assert bins["actual"].tolist() == [1411, 439, 214, 100, 62, 38, 29, 64]  # the published histogram
    assert bins["expected"].sum() == pytest.approx(2357)
    assert found.misplaced < 0.03
    assert "1,411 were seen" in found.verdict()
    assert found.to_frame()["actual"].sum() == 2357


def test_bins_that_are_wrong_are_seen(sample, model):
    shuffled = sample.assign(frequency=0, recency=0.0)
    assert frequency_bins(model, shuffled).misplaced > 0.3
    with pytest.raises(ArgumentError, match="most must be"):
        frequency_bins(model, sample, most=0)


def test_accuracy_is_what_the_columns_say(sample, model, benchmark):
    found = holdout_accuracy(model, sample, benchmark=benchmark)
    expected = model.conditional_expected_purchases(39, sample)
    actual = sample["frequency_holdout"]
    assert found.total_actual == actual.sum()
    assert found.bias.value == pytest.approx(expected.sum() / actual.sum() - 1)
    assert found.mae[0].value == pytest.approx((expected - actual).abs().mean())
    assert found.mae[1].value == pytest.approx((benchmark - actual).abs().mean())
    assert found.rmse[0] == pytest.approx(math.sqrt(((expected - actual) ** 2).mean()))
    assert found.gain.value == pytest.approx(found.rmse[1] ** 2 - found.rmse[0] ** 2)
    assert found.beats_benchmark
    assert "It beats the benchmark (last period carried forward)" in found.verdict()
    assert found.benchmark == "last period carried forward"
    table = found.by_frequency.set_index("purchases")
    assert table["customers"].sum() == 2357
    for n in range(3):
        chosen = sample["frequency"] == n
        assert table.loc[str(n), "actual"] == pytest.approx(actual[chosen].mean())
        assert table.loc[str(n), "expected"] == pytest.approx(expected[chosen].mean())
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_order_of_a_benchmark_does_not_matter(sample, model, benchmark):
    whole = holdout_accuracy(model, sample, benchmark=benchmark)
    again = holdout_accuracy(model, sample, benchmark=benchmark.sample(frac=1, random_state=3))
    assert again.gain == whole.gain
    with pytest.raises(ContractError, match=r"no forecast for 2,257 rows"):
        holdout_accuracy(model, sample, benchmark=benchmark.head(100))


def test_without_a_benchmark_the_own_rate_goes_on(sample, model):
    found = holdout_accuracy(model, sample)
    assert found.benchmark == "own calibration rate carried forward"
    rate = (sample["frequency"] / sample["T"] * 39 - sample["frequency_holdout"]).abs().mean()
    assert found.mae[1].value == pytest.approx(rate)


def test_a_perfect_benchmark_beats_the_model(sample, model):
    truth = sample["frequency_holdout"].astype(float)
    found = holdout_accuracy(model, sample, benchmark=truth)
    assert found.beats_benchmark is False
    assert "It loses to the benchmark" in found.verdict()
    same = model.conditional_expected_purchases(39, sample)
    assert holdout_accuracy(model, sample, benchmark=same).beats_benchmark is None


def test_revenue_is_compared_when_spend_is_known(sample, model):
    found = holdout_accuracy(model, sample, spend_model=GammaGamma().fit(sample))
    earned, forecast, bias = found.revenue
    assert earned == pytest.approx((sample["frequency_holdout"] * sample["monetary_value_holdout"]).sum())
    assert bias.value == pytest.approx(forecast / earned - 1)
    assert "Expected revenue was" in found.verdict()
    assert "relative bias of revenue" in found.to_frame()["metric"].tolist()


@pytest.mark.parametrize(("kind", "coin"), [(BetaGeoNBD, 0), (ModifiedBetaGeoNBD, 1)])
def test_a_true_model_is_unbiased(draw_bg, kind, coin):
    frame = draw_bg(20_000, 31, coin=coin)
    found = holdout_accuracy(kind().fit(frame), frame, spend_model=GammaGamma().fit(frame))
    for bias in (found.bias, found.revenue[2]):
        assert abs(bias.value) < 4 * (bias.high - bias.low) / 3.92
    assert found.beats_benchmark


def test_nobody_back_is_said_and_bad_columns_are_refused(sample, model):
    assert (
        holdout_accuracy(model, sample.assign(frequency_holdout=0))
        .verdict()
        .startswith("Nobody bought again")
    )
    with pytest.raises(ContractError, match="missing column frequency_holdout"):
        holdout_accuracy(model, sample.drop(columns="frequency_holdout"))
    with pytest.raises(ArgumentError, match="duration_holdout must be one positive length"):
        holdout_accuracy(model, sample.assign(duration_holdout=np.arange(2357.0) + 1))
    with pytest.raises(ContractError, match="frequency_holdout: missing or negative values in 2,357 rows"):
        holdout_accuracy(model, sample.assign(frequency_holdout=-1))
    with pytest.raises(ContractError, match="must be unique to be matched"):
        holdout_accuracy(model, pd.concat([sample, sample]), benchmark=sample["frequency"].astype(float))
