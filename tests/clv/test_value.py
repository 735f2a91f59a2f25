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
    alone = value.by(np.where(chosen, "one", "rest"), minimum=1).segments[0][2]
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


TRUTH = np.array([0.8, 6.0, 0.8, 2.5])


def covered(draw_bg, runs, *, first=9000, replicates=200):
    """Return the share of runs in which each interval holds the truth."""
    inside = dict.fromkeys(["outcome", *((i, w) for i in ("delta", "draws", "bootstrap") for w in "tsc")], 0)
    for run in range(first, first + runs):
        frame = draw_bg(2_000, run)
        frame[["recency", "T"]] = np.ceil(frame[["recency", "T"]] * 7) / 7
        fitted = BetaGeoNBD().fit(frame), GammaGamma().fit(frame)
        truth = BetaGeoNBD.core.conditional(
            TRUTH, *(frame[c].to_numpy(float) for c in ("frequency", "recency", "T")), _plain(26)
        ) * _true_spend(frame)
        often = np.where(frame["frequency"] > 2, "often", "seldom")
        ranked = np.sort(truth)[::-1]
        for intervals in ("delta", "draws", "bootstrap"):
            more = {} if intervals == "delta" else {"seed": run, "replicates": replicates}
            found = customer_lifetime_value(
                *fitted, frame, horizon=26, annual_discount_rate=0, intervals=intervals, **more
            )
            segment = found.by(often).segments[0][2]
            share = found.concentration().top_share
            for key, estimate, value in (
                ("t", found.total, truth.sum()),
                ("s", segment, truth[often == "often"].mean()),
                ("c", share, ranked[:400].sum() / truth.sum()),
            ):
                inside[intervals, key] += estimate.low <= value <= estimate.high
            if intervals == "delta":
                earned = float((frame["frequency_holdout"] * frame["monetary_value_holdout"]).sum())
                outcome = found.outcome_interval(seed=run, draws=400)
                inside["outcome"] += outcome.low <= earned <= outcome.high
    return {key: count / runs for key, count in inside.items()}


@pytest.mark.slow
def test_intervals_cover_totals_segments_and_shares(draw_bg):
    runs = 300
    found = covered(draw_bg, runs)
    error = 3 * np.sqrt(0.95 * 0.05 / runs) + 0.01
    for key, share in found.items():
        assert abs(share - 0.95) < error, (key, share)


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


@pytest.mark.parametrize(("intervals", "method"), [("draws", "parametric draws"), ("bootstrap", "weighted")])
def test_draws_and_bootstrap_agree_with_the_delta_method(draw_bg, intervals, method):
    frame = draw_bg(2_500, 71)
    frame[["recency", "T"]] = np.ceil(frame[["recency", "T"]])
    fitted = BetaGeoNBD().fit(frame), GammaGamma().fit(frame)
    options = {"horizon": 26, "annual_discount_rate": 0.1}
    plain = customer_lifetime_value(*fitted, frame, **options)
    label = np.where(frame["frequency"] > 2, "often", "seldom")
    found = customer_lifetime_value(*fitted, frame, **options, intervals=intervals, seed=5, replicates=150)
    pd.testing.assert_series_equal(found.expected_value, plain.expected_value)
    pairs = [
        (found.total, plain.total),
        (found.mean, plain.mean),
        *((a[2], b[2]) for a, b in zip(found.by(label).segments, plain.by(label).segments, strict=True)),
        (found.concentration().top_share, plain.concentration().top_share),
        (found.concentration().gini, plain.concentration().gini),
    ]
    for one, other in pairs:
        assert one.method.startswith(method)
        assert one.value == pytest.approx(other.value)
        assert np.log(one.high / one.low) == pytest.approx(np.log(other.high / other.low), rel=0.35)
        assert one.low < one.value < one.high
    each, usual = found.customer_intervals(), plain.customer_intervals()
    assert (each["low"] <= each["high"]).all()
    busy = frame["frequency"] > 0
    widths = [np.log(t["high"] / t["low"])[busy].median() for t in (each, usual)]
    assert widths[0] == pytest.approx(widths[1], rel=0.3)
    outcome = found.outcome_interval(seed=1, draws=100)
    assert outcome.low < found.total.low < found.total.high < outcome.high


def test_replicates_repeat_with_their_seed(draw_bg):
    frame = draw_bg(600, 3)
    fitted = BetaGeoNBD(penalizer=0.01).fit(frame), GammaGamma().fit(frame)
    options = {"horizon": 26, "annual_discount_rate": 0.1, "replicates": 100}
    for intervals in ("draws", "bootstrap"):
        one, same, other = (
            customer_lifetime_value(*fitted, frame, **options, intervals=intervals, seed=seed).total
            for seed in (1, 1, 2)
        )
        assert one == same
        assert one != other
        assert "(100)" in one.method


def test_the_bootstrap_weights_customers_not_rows(draw_bg):
    """A customer who counts twice is two rows: weights of alike customers add up."""
    frame = draw_bg(400, 8)
    frame[["recency", "T"]] = np.ceil(frame[["recency", "T"]])
    frame["monetary_value"] = np.where(frame["frequency"] > 0, 20.0 + frame["frequency"], 0.0)
    twice = pd.concat([frame] * 4, ignore_index=True)
    twice.attrs = frame.attrs
    options = {"horizon": 26, "annual_discount_rate": 0.1, "intervals": "bootstrap", "seed": 1}
    widths = []
    for table in (frame, twice):
        fitted = BetaGeoNBD(penalizer=0.01).fit(table), GammaGamma(penalizer=0.1).fit(table)
        found = customer_lifetime_value(*fitted, table, **options, replicates=200)
        widths.append(np.log(found.total.high / found.total.low))
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.25)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"intervals": "bayes"}, "intervals must be one of delta, draws, bootstrap"),
        ({"intervals": "draws"}, 'intervals="draws" needs a seed='),
        ({"seed": 1}, "seed and replicates belong to"),
        ({"intervals": "draws", "seed": 1, "replicates": 10}, "at least 100; got 10"),
    ],
)
def test_interval_options_are_checked(models, sample, change, said):
    with pytest.raises(ArgumentError, match=said):
        customer_lifetime_value(*models, sample, horizon=52, annual_discount_rate=0.1, **change)


def test_the_bootstrap_refuses_customers_the_models_do_not_know(models, sample):
    options = {"horizon": 52, "annual_discount_rate": 0.1, "intervals": "bootstrap", "seed": 1}
    with pytest.raises(
        ArgumentError, match="refits BetaGeoNBD on the customers valued, and it was fitted on"
    ):
        customer_lifetime_value(*models, sample.head(2_000), **options)
    weighted = GammaGamma().fit(sample, weights=np.full(len(sample), 2.0))
    with pytest.raises(ArgumentError, match=r"refits GammaGamma .* \(or with weights\)"):
        customer_lifetime_value(models[0], weighted, sample, **options, replicates=100)


def test_models_in_the_wrong_place_are_refused(models, sample):
    options = {"horizon": 52, "annual_discount_rate": 0.1}
    with pytest.raises(ArgumentError, match="the two models are swapped"):
        customer_lifetime_value(models[1], models[0], sample, **options)
    with pytest.raises(ArgumentError, match="got GammaGamma"):
        customer_lifetime_value(models[1], models[1], sample, **options)
    with pytest.raises(ArgumentError, match=r"got BetaGeoNBD \(a class\)"):
        customer_lifetime_value(BetaGeoNBD, models[1], sample, **options)
    with pytest.raises(ArgumentError, match="spend must be a fitted GammaGamma; got BetaGeoNBD"):
        customer_lifetime_value(models[0], models[0], sample, **options)


def test_small_segments_are_left_out_with_what_would_give_them_away(value, sample):
    label = np.where(np.arange(2357) < 3, "few", np.where(np.arange(2357) < 40, "some", "many"))
    found = value.by(pd.Categorical(label, ["few", "some", "many"]))
    assert [name for name, _, _ in found.segments] == ["many"]
    assert found.hidden == ("few", "some")
    table = found.table().set_index("segment")
    assert table.index.tolist() == ["few", "some", "many"]
    assert table.loc["few"].isna().all()
    assert table.loc["some"].isna().all()
    assert table.loc["many", "customers"] == 2317
    assert "few" not in found.to_frame()["group"].tolist()
    json.dumps(found.to_dict(), allow_nan=False)
    assert len(found.plot().get_yticklabels()) == 1
    assert len(value.by(label, minimum=1).segments) == 3


def test_saved_models_give_the_same_value(models, sample, value):
    again = [type(model).from_json(model.to_json()) for model in models]
    found = customer_lifetime_value(*again, sample, horizon=52, annual_discount_rate=0.1, currency="USD")
    assert found.total.value == pytest.approx(value.total.value, rel=1e-13)
    assert (found.total.low, found.total.high) == pytest.approx((value.total.low, value.total.high), rel=1e-6)
    for model in models:
        other = json.loads(model.to_json())
        other["format"] = 99
        with pytest.raises(ContractError, match="its numbers may mean something else"):
            type(model).from_json(json.dumps(other))
    with pytest.raises(ContractError, match="the saved model is a GammaGamma"):
        BetaGeoNBD.from_json(models[1].to_json())


def test_opportunities_are_valued_and_what_needs_time_is_refused():
    from loyalty_research.clv import (
        BetaGeoBetaBinomial,
        acquisition_payback,
        alive_history,
        retention_sensitivity,
        value_at_churn,
    )

    rng = np.random.default_rng(4)
    pattern = pd.DataFrame({"frequency": [0, 1, 1, 2, 3, 3], "recency": [0, 1, 3, 3, 3, 3], "T": 3})
    donors = pd.concat([pattern] * 40, ignore_index=True)
    donors["monetary_value"] = np.where(
        donors["frequency"] > 0, rng.gamma(4, 1, 240) / rng.gamma(4, 0.02, 240), 0
    )
    model = BetaGeoBetaBinomial(penalizer=0.1).fit(donors, unit="Y")
    options = {"horizon": 5, "annual_discount_rate": 0.1}
    found = customer_lifetime_value(model, GammaGamma().fit(donors), donors, **options)
    bought = model.discounted_expected_transactions(donors, **options)
    np.testing.assert_allclose(found.customers["expected_transactions"], bought, rtol=1e-12)
    assert "over the next 5 years" in found.verdict()
    assert "ln(1 + 10.0%) / 1 per year" in found.terms
    outcome = found.outcome_interval(seed=1, draws=200)
    assert outcome.low < found.total.low < found.total.high < outcome.high
    drawn = customer_lifetime_value(
        *found.models, donors, **options, intervals="bootstrap", seed=1, replicates=100
    )
    assert np.log(drawn.total.high / drawn.total.low) < 3 * np.log(found.total.high / found.total.low)
    assert value_at_churn(found).customers == 240
    with pytest.raises(ArgumentError, match="BetaGeoBetaBinomial counts opportunities"):
        retention_sensitivity(found)
    with pytest.raises(ArgumentError, match="counts opportunities"):
        acquisition_payback(found, acquisition_cost=10)
    with pytest.raises(ArgumentError, match="counts opportunities"):
        alive_history(model, [1], until=3)


def test_traits_enter_value_and_its_interval(sample):
    traits = sample.assign(half=np.where(np.arange(len(sample)) % 2, "odd", "even"))
    plain = BetaGeoNBD().fit(traits)
    model = BetaGeoNBD().fit(traits, purchase_covariates=["half"], dropout_covariates=["half"])
    spend, options = GammaGamma().fit(traits), {"horizon": 52, "annual_discount_rate": 0.1}
    found = customer_lifetime_value(model, spend, traits, **options)
    bought = model.discounted_expected_transactions(traits, **options)
    np.testing.assert_allclose(found.customers["expected_transactions"], bought, rtol=1e-12)
    assert found.total.value == pytest.approx(found.expected_value.sum())
    without = customer_lifetime_value(plain, spend, traits, **options)
    assert found.total.value == pytest.approx(without.total.value, rel=0.02)
    split, bare = (v.by("half").segments[0][2] for v in (found, without))
    assert split.high - split.low > bare.high - bare.low  # each half's rate is estimated on its own
    assert found.outcome_interval(seed=1, draws=100).low < found.total.low
    with pytest.raises(ArgumentError, match="refits models without covariates"):
        customer_lifetime_value(model, spend, traits, **options, intervals="bootstrap", seed=1)
