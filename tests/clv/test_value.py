import json

import numpy as np
import pandas as pd
import pytest

from loyalty_research.clv import (
    BetaGeoNBD,
    GammaGamma,
    ParetoNBD,
    customer_lifetime_value,
    holdout_accuracy,
)
from loyalty_research.errors import ArgumentError, ContractError, DesignError


@pytest.fixture(scope="module")
def models(sample):
    return BetaGeoNBD().fit(sample), GammaGamma().fit(sample)


@pytest.fixture(scope="module")
def value(models, sample):
    return customer_lifetime_value(*models, sample, horizon=52, annual_discount_rate=0.1, currency="USD")


def test_value_is_margin_times_spend_times_purchases(models, sample, value):
    transactions, spend = models
    bought = transactions.discounted_expected_transactions(sample, annual_discount_rate=0.1, horizon=52)
    worth = spend.conditional_expected_spend(sample)
    np.testing.assert_allclose(value.expected_value, bought * worth, rtol=1e-12)
    np.testing.assert_allclose(value.customers["expected_transactions"], bought, rtol=1e-12)
    np.testing.assert_allclose(value.customers["expected_spend"], worth)
    np.testing.assert_allclose(value.customers["probability_alive"], transactions.probability_alive(sample))
    third = customer_lifetime_value(*models, sample, horizon=52, annual_discount_rate=0.1, margin=0.3)
    np.testing.assert_allclose(third.expected_value, 0.3 * value.expected_value, rtol=1e-12)
    assert third.total.low == pytest.approx(0.3 * value.total.low)
    assert value.total.value == pytest.approx(value.expected_value.sum())
    assert value.mean.value == pytest.approx(value.expected_value.mean())


@pytest.mark.parametrize("model", [BetaGeoNBD, ParetoNBD])
def test_delta_interval_agrees_with_parametric_draws(sample, models, model):
    transactions, spend = model().fit(sample), models[1]
    found = customer_lifetime_value(transactions, spend, sample, horizon=52, annual_discount_rate=0.1)
    rng = np.random.default_rng(4)
    theta = np.concatenate([transactions.log_params, spend.log_params])
    drawn = np.exp(rng.multivariate_normal(theta, found.covariance, size=150))
    x, recency, T, mean = (sample[c].to_numpy(float) for c in ("frequency", "recency", "T", "monetary_value"))
    from loyalty_research.clv import _gamma_gamma
    from loyalty_research.clv._discount import discounting

    panels = discounting(
        annual_discount_rate=0.1, horizon=52, convention="continuous", periods_per_year=12, unit="W"
    )
    totals = [
        transactions.core.conditional(draw[:4], x, recency, T, panels)
        @ _gamma_gamma.conditional_mean(draw[4:], x, mean)
        for draw in drawn
    ]
    width = np.log(found.total.high / found.total.low)
    assert width == pytest.approx(2 * 1.96 * np.std(np.log(totals)), rel=0.2)


def test_segments_add_up_and_keep_their_order(value, sample):
    label = pd.cut(sample["frequency"], [-1, 0, 3, 99], labels=["once", "some", "many"])
    split = value.by(label)
    table = split.table()
    assert table["segment"].tolist() == ["once", "some", "many"]
    assert table["total"].sum() == pytest.approx(value.total.value)
    assert table["customers"].sum() == 2357
    assert table["share_of_value"].sum() == pytest.approx(1)
    assert ((table["low"] < table["mean"]) & (table["mean"] < table["high"])).all()
    assert split.verdict().startswith('The segment "many" holds')
    same = value.by(label.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(same.table(), table)
    assert value.by(np.repeat("all", 2357)).table()["mean"].iloc[0] == pytest.approx(value.mean.value)
    by_column = customer_lifetime_value(
        *value.models, sample.assign(kind=label), horizon=52, annual_discount_rate=0.1
    ).by("kind")
    pd.testing.assert_frame_equal(by_column.table(), table)


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        (["a"] * 3, "3 labels for 2,357 customers"),
        ("absent", "no column 'absent' to split by"),
        ([None] + ["a"] * 2356, r"no label at 1 row \(at position 0\)"),
    ],
)
def test_labels_must_fit(value, segment, said):
    with pytest.raises(ContractError, match=said):
        value.by(segment)


def test_concentration_against_a_plain_count(value):
    found, worth = value.concentration(), np.sort(value.expected_value)[::-1]
    n = len(worth)
    whole = int(0.2 * n)
    plain = (worth[:whole].sum() + (0.2 * n - whole) * worth[whole]) / worth.sum()
    assert found.top_share.value == pytest.approx(plain)
    gaps = np.abs(worth[:, None] - worth[None, :]).mean() / (2 * worth.mean())
    assert found.gini.value == pytest.approx(gaps)
    assert found.top_share.low < plain < found.top_share.high
    assert found.curve.iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    assert np.interp(0.8, found.curve["customers"], found.curve["value"]) == pytest.approx(
        1 - plain, abs=1e-3
    )
    assert "top 20%" in found.to_frame()["metric"].iloc[0]
    assert "most valuable 20%" in found.verdict()
    with pytest.raises(ArgumentError, match="top must lie"):
        value.concentration(top=1)


def test_equal_customers_are_not_concentrated(models, sample):
    same = sample.iloc[[5] * 50].reset_index(drop=True)
    found = customer_lifetime_value(*models, same, horizon=52, annual_discount_rate=0.1).concentration()
    assert found.top_share.value == pytest.approx(0.2)
    assert found.gini.value == pytest.approx(0, abs=1e-12)


def test_outcomes_vary_more_than_expectations_and_repeat_with_the_seed(value):
    found = value.outcome_interval(seed=3, draws=200)
    assert found.value == value.total.value
    assert found.low < value.total.low < value.total.high < found.high
    assert found == value.outcome_interval(seed=3, draws=200)
    assert found != value.outcome_interval(seed=4, draws=200)
    assert found.unit == "USD"


def test_a_repeated_miss_scales_the_total(models, sample, value):
    accuracy = holdout_accuracy(models[0], sample, spend_model=models[1])
    found = value.if_missed_again(accuracy)
    bias = accuracy.revenue[2]
    assert found.value * (1 + bias.value) == pytest.approx(value.total.value)
    assert found.low < found.value < found.high
    with pytest.raises(ArgumentError, match="says nothing of revenue"):
        value.if_missed_again(holdout_accuracy(models[0], sample))


def test_customer_intervals_hold_their_values(value):
    found = value.customer_intervals()
    assert found.index.equals(value.expected_value.index)
    assert ((found["low"] <= found["expected_value"]) & (found["expected_value"] <= found["high"])).all()
    chosen = np.zeros(2357)
    chosen[7] = 1
    alone = value.by(np.where(chosen, "one", "rest")).segments[0][2]
    assert (alone.low, alone.high) == pytest.approx(tuple(found.iloc[7][["low", "high"]]))


def test_result_protocol_and_words(value, models, sample):
    frame = value.to_frame()
    assert frame["metric"].tolist() == ["total value", "value per customer"]
    assert frame["n"].tolist() == [2357, 2357]
    json.dumps(value.to_dict(), allow_nan=False)
    assert "over the next 52 weeks" in value.verdict()
    assert "USD" in value.verdict()
    assert "One-time buyers counted as active" in value._repr_html_()
    assert value.terms == (
        "Each purchase is discounted at its own time, continuously, at 10.0% a year "
        "(ln(1 + 10.0%) / 52 per week); all of the spend counts (margin 100%)."
    )
    options = {"annual_discount_rate": 0.1, "margin": 0.25}
    endless = customer_lifetime_value(*models, sample, horizon=None, **options)
    assert "over all the future" in endless.verdict()
    assert endless.total.value > 0.25 * value.total.value
    with pytest.raises(ArgumentError, match="needs a horizon"):
        endless.outcome_interval(seed=1)
    monthly = customer_lifetime_value(*models, sample, horizon=52, convention="end-of-period", **options)
    assert "end of its period" in monthly.terms
    assert "25.0% of the spend counts" in monthly.terms
    assert monthly.total.value < 0.25 * value.total.value


@pytest.mark.parametrize(
    "options",
    [
        {"margin": 0},
        {"margin": 1.2},
        {"level": 95},
        {"annual_discount_rate": -0.1},
        {"horizon": 0},
        {"convention": "yearly"},
    ],
)
def test_bad_options_are_refused(models, sample, options):
    with pytest.raises(ArgumentError):
        customer_lifetime_value(*models, sample, **{"horizon": 52, "annual_discount_rate": 0.1, **options})


def test_bad_input_is_refused(models, sample):
    options = {"horizon": 52, "annual_discount_rate": 0.1}
    with pytest.raises(ContractError, match="missing column monetary_value"):
        customer_lifetime_value(*models, sample.drop(columns="monetary_value"), **options)
    with pytest.raises(ArgumentError, match="not fitted"):
        customer_lifetime_value(BetaGeoNBD(), models[1], sample, **options)
    days = sample.copy()
    days.attrs["unit"] = "D"
    with pytest.raises(ArgumentError, match="declares 'D'"):
        customer_lifetime_value(*models, days, **options)
    rng = np.random.default_rng(8)
    wild = pd.DataFrame({"frequency": 1, "monetary_value": rng.gamma(3, 1, 3000) / rng.gamma(0.7, 1, 3000)})
    with pytest.raises(DesignError, match="no finite mean"):
        customer_lifetime_value(models[0], GammaGamma().fit(wild), sample, **options)


@pytest.mark.slow
def test_intervals_cover_totals(draw_bg):
    runs, inside_expected, inside_outcome = 300, 0, 0
    for run in range(runs):
        frame = draw_bg(2_000, 9000 + run)
        transactions, spend = BetaGeoNBD().fit(frame), GammaGamma().fit(frame)
        found = customer_lifetime_value(transactions, spend, frame, horizon=26, annual_discount_rate=0)
        truth = BetaGeoNBD.core.conditional(
            np.array([0.8, 6.0, 0.8, 2.5]),
            *(frame[c].to_numpy(float) for c in ("frequency", "recency", "T")),
            _plain(26),
        ) @ _true_spend(frame)
        inside_expected += found.total.low <= truth <= found.total.high
        earned = float((frame["frequency_holdout"] * frame["monetary_value_holdout"]).sum())
        outcome = found.outcome_interval(seed=run, draws=400)
        inside_outcome += outcome.low <= earned <= outcome.high
    error = 3 * np.sqrt(0.95 * 0.05 / runs) + 0.01
    assert abs(inside_expected / runs - 0.95) < error, inside_expected / runs
    assert abs(inside_outcome / runs - 0.95) < error, inside_outcome / runs


def _plain(t):
    from loyalty_research.clv._discount import Discounting

    return Discounting((0.0, float(t)), np.ones(1), 0.0)


def _true_spend(frame):
    from loyalty_research.clv import _gamma_gamma

    return _gamma_gamma.conditional_mean(
        np.array([6.0, 4.0, 15.0]),
        frame["frequency"].to_numpy(float),
        frame["monetary_value"].to_numpy(float),
    )
