import json
import warnings

import numpy as np
import pandas as pd
import pytest

from loyalty_research.clv import BetaGeoNBD, ModifiedBetaGeoNBD, ParetoNBD
from loyalty_research.clv._discount import Discounting
from loyalty_research.errors import ArgumentError, ContractError, ConvergenceError

MODELS = [BetaGeoNBD, ModifiedBetaGeoNBD, ParetoNBD]


@pytest.fixture(scope="module")
def fitted(sample):
    return {model: model().fit(sample) for model in MODELS}


def test_published_fit_of_bgnbd(fitted, oracle):
    case, model = oracle("bgnbd_fit_cdnow"), fitted[BetaGeoNBD]
    assert model.params_.to_dict() == pytest.approx(
        case["expected"]["params"], abs=case["tolerance"]["params"]
    )
    assert model.log_likelihood_ == pytest.approx(case["expected"]["loglik"], abs=case["tolerance"]["loglik"])
    assert model.n_customers_ == 2357
    assert model.converged_
    assert model.route_ == "newton"


def test_published_fit_of_pareto(fitted, oracle):
    case, model = oracle("pnbd_fit_cdnow"), fitted[ParetoNBD]
    assert model.params_.to_dict() == pytest.approx(
        case["expected"]["params"], abs=case["tolerance"]["params"]
    )
    assert model.log_likelihood_ == pytest.approx(case["expected"]["loglik"], abs=case["tolerance"]["loglik"])
    np.testing.assert_allclose(model.standard_errors_, case["expected"]["se"], atol=case["tolerance"]["se"])


def _peer(name, sample):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lifetimes = pytest.importorskip("lifetimes")
        peer = getattr(lifetimes, name)()
        return peer.fit(sample["frequency"], sample["recency"], sample["T"], tol=1e-7)


@pytest.mark.parametrize(
    ("model", "name"), [(BetaGeoNBD, "BetaGeoFitter"), (ModifiedBetaGeoNBD, "ModifiedBetaGeoFitter")]
)
def test_agrees_with_lifetimes_where_it_is_right(fitted, sample, model, name):
    peer = _peer(name, sample)
    ours = fitted[model]
    pd.testing.assert_series_equal(ours.params_, peer.params_, check_names=False, rtol=1e-3)
    peer.params_ = ours.params_.loc[list(peer.params_.index)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ahead = peer.conditional_expected_number_of_purchases_up_to_time(
            39, sample["frequency"], sample["recency"], sample["T"]
        )
        alive = peer.conditional_probability_alive(sample["frequency"], sample["recency"], sample["T"])
    np.testing.assert_allclose(ours.conditional_expected_purchases(39, sample), ahead, rtol=1e-9)
    np.testing.assert_allclose(ours.probability_alive(sample), np.asarray(alive).ravel(), rtol=1e-9)


def test_pareto_agrees_with_lifetimes_where_it_is_right(fitted, sample):
    ours, columns = fitted[ParetoNBD], [sample[c] for c in ("frequency", "recency", "T")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lifetimes = pytest.importorskip("lifetimes")
        peer = lifetimes.ParetoNBDFitter()
        peer.params_ = ours.params_
        ahead = peer.conditional_expected_number_of_purchases_up_to_time(39, *columns)
        alive = peer.conditional_probability_alive(*columns)
        new = peer.expected_number_of_purchases_up_to_time(np.array([1.0, 26, 52]))
        rows = [c.to_numpy(float) for c in columns]
        value = peer._conditional_log_likelihood(ours.params_.to_numpy(), *rows)
    # lifetimes takes a difference of two close numbers, which costs it digits
    np.testing.assert_allclose(ours.probability_alive(sample), alive, rtol=1e-7)
    np.testing.assert_allclose(ours.conditional_expected_purchases(39, sample), ahead, rtol=1e-7)
    np.testing.assert_allclose(ours.expected_purchases([1, 26, 52]), new, rtol=1e-10)
    np.testing.assert_allclose(
        ParetoNBD.core.terms(ours.params_.to_numpy(), *rows)[0], np.asarray(value), rtol=1e-8
    )


@pytest.mark.parametrize("model", MODELS)
def test_days_instead_of_weeks_change_only_what_carries_time(fitted, sample, model):
    days = sample.assign(recency=sample["recency"] * 7, T=sample["T"] * 7)
    days.attrs["unit"] = "D"
    by_week, by_day = fitted[model], model().fit(days)
    factor = np.ones(4)
    factor[list(model.core.times)] = 7
    np.testing.assert_allclose(by_day.params_, by_week.params_ * factor, rtol=1e-6)
    np.testing.assert_allclose(by_day.standard_errors_, by_week.standard_errors_ * factor, rtol=1e-5)
    shift = -np.log(7) * sample["frequency"].sum()
    assert by_day.log_likelihood_ == pytest.approx(by_week.log_likelihood_ + shift, rel=1e-12)
    ahead = by_day.conditional_expected_purchases(70, days)
    np.testing.assert_allclose(ahead, by_week.conditional_expected_purchases(10, sample), rtol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_weights_mean_copies_and_order_means_nothing(small, model):
    copies = np.arange(1, 11)
    repeated = small.loc[small.index.repeat(copies)].sample(frac=1, random_state=1)
    weighted = model(penalizer=0.05).fit(small, weights=copies)
    copied = model(penalizer=0.05).fit(repeated)
    named = model(penalizer=0.05).fit(small.assign(w=copies), weights="w")
    for other in (copied, named):
        np.testing.assert_allclose(other.params_, weighted.params_, rtol=1e-7)
        np.testing.assert_allclose(other.covariance_, weighted.covariance_, rtol=1e-6)
        assert other.log_likelihood_ == pytest.approx(weighted.log_likelihood_, rel=1e-10)
        assert other.n_customers_ == weighted.n_customers_ == 55


@pytest.mark.parametrize("model", MODELS)
def test_predictions_follow_the_rows(fitted, sample, model):
    some = sample.sample(50, random_state=3)
    for predict in (
        fitted[model].probability_alive,
        lambda df: fitted[model].conditional_expected_purchases(39, df),
        lambda df: fitted[model].discounted_expected_transactions(df, annual_discount_rate=0.1),
    ):
        whole, part = predict(sample), predict(some)
        assert part.index.equals(some.index)
        pd.testing.assert_series_equal(part, whole.loc[some.index], rtol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_expectations_agree_with_each_other(fitted, sample, model):
    found = fitted[model]
    new = pd.DataFrame({"frequency": [0], "recency": [0.0], "T": [0.0]})
    born = found.probability_alive(new).iloc[0]
    assert found.expected_purchases(52) == pytest.approx(
        found.conditional_expected_purchases(52, new).iloc[0]
    )
    assert born == pytest.approx(1 if model is not ModifiedBetaGeoNBD else 0.644, abs=0.001)
    assert found.expected_purchases([0, 26, 52])[0] == 0
    undiscounted = found.conditional_expected_purchases(52, sample)
    free = found.discounted_expected_transactions(sample, annual_discount_rate=0, horizon=52)
    np.testing.assert_allclose(free, undiscounted, rtol=1e-12)
    at_once, late, monthly, endless = (
        found.discounted_expected_transactions(sample, annual_discount_rate=0.15, **options).sum()
        for options in (
            {"horizon": 52},
            {"horizon": 52, "convention": "end-of-period", "periods_per_year": 1},
            {"horizon": 52, "convention": "end-of-period"},
            {},
        )
    )
    assert late == pytest.approx(undiscounted.sum() / 1.15, rel=1e-12)
    assert late < monthly < at_once < undiscounted.sum() < endless


@pytest.mark.parametrize("model", MODELS)
def test_intervals_of_predictions_come_from_the_covariance(fitted, sample, model):
    found, some = fitted[model], sample.head(60)
    frame = found.prediction_intervals(39, some)
    np.testing.assert_allclose(frame["expected"], found.conditional_expected_purchases(39, some), rtol=1e-12)
    assert (frame["low"] < frame["expected"]).all()
    assert (frame["expected"] < frame["high"]).all()
    # the spread of the answer when parameters are drawn from their distribution
    rng = np.random.default_rng(2)
    drawn = np.exp(rng.multivariate_normal(found.log_params, found.log_covariance, size=400))
    rows = [some[c].to_numpy(float) for c in ("frequency", "recency", "T")]
    panels = Discounting((0.0, 39.0), np.ones(1), 0.0)
    totals = np.array([found.core.conditional(at, *rows, panels).sum() for at in drawn])
    total = found.total_expected_purchases(39, some)
    assert total.value == pytest.approx(frame["expected"].sum(), rel=1e-12)
    width = np.diff(np.log([total.low, total.high]))[0] / (2 * 1.959964)
    assert width == pytest.approx(np.log(totals).std(), rel=0.15)
    nothing = found.prediction_intervals(0, some)
    assert (nothing == 0).all().all()
    with pytest.raises(ArgumentError, match="level must lie"):
        found.prediction_intervals(39, some, level=95)


def test_the_definition_of_endless_discounting(fitted, sample):
    # the integral of exp(-v) CET(v / delta) over v, on a plain fine grid
    some, delta = sample.head(40), np.log(1.15) / 52
    v = 40 * np.linspace(0, 1, 301) ** 3
    v, width = (v[1:] + v[:-1]) / 2, np.diff(v)
    curves = np.array([fitted[BetaGeoNBD].conditional_expected_purchases(u / delta, some) for u in v])
    direct = (np.exp(-v) * width) @ curves
    found = fitted[BetaGeoNBD].discounted_expected_transactions(some, annual_discount_rate=0.15)
    np.testing.assert_allclose(found, direct, rtol=1e-3)


def test_one_time_buyers_counted_as_alive_are_flagged(fitted, sample):
    once = sample["frequency"] == 0
    assert (fitted[BetaGeoNBD].probability_alive(sample)[once] == 1).all()
    check = fitted[BetaGeoNBD].checks[-1]
    assert check.status == "warning"
    assert f"{once.sum():,} of 2,357" in check.detail
    for other in (ModifiedBetaGeoNBD, ParetoNBD):
        assert (fitted[other].probability_alive(sample)[once] < 0.8).all()
        assert fitted[other].mean_alive_ == pytest.approx(0.447, abs=0.01)
        assert "warning" not in {c.status for c in fitted[other].checks}
    assert fitted[BetaGeoNBD].mean_alive_ == pytest.approx(0.813, abs=0.001)


def test_summary_and_result_protocol(fitted):
    model = fitted[BetaGeoNBD]
    assert list(model.summary.index) == ["r", "alpha", "a", "b"]
    assert (model.summary["low"] < model.summary["estimate"]).all()
    assert (model.summary["estimate"] < model.summary["high"]).all()
    assert pytest.approx(8 - 2 * model.log_likelihood_) == model.AIC_
    assert pytest.approx(4 * np.log(2357) - 2 * model.log_likelihood_) == model.BIC_
    np.testing.assert_allclose(np.sqrt(np.diag(model.covariance_)), model.standard_errors_)
    json.dumps(model.to_dict(), allow_nan=False)
    assert "1.44 more times" in model.verdict()
    assert "<table" in model._repr_html_()
    assert "BG/NBD" in repr(model)
    assert repr(BetaGeoNBD(penalizer=0.5)) == "BetaGeoNBD(penalizer=0.5)"


def test_a_penalty_pulls_towards_one_and_leaves_the_likelihood_plain(small):
    loose, tight = (BetaGeoNBD(penalizer=k).fit(small) for k in (0.01, 100.0))
    assert np.abs(np.log(tight.params_ / [1, small["T"].mean(), 1, 1])).max() < 0.1
    assert tight.log_likelihood_ < loose.log_likelihood_
    assert (tight.standard_errors_ / tight.params_ < loose.standard_errors_ / loose.params_).all()


def test_activity_falls_with_silence_and_with_the_habit_broken(fitted):
    grid = fitted[ParetoNBD].activity(39, most=10, steps=40)
    assert grid.shape == (10, 40)
    assert (np.diff(grid.to_numpy(), axis=1) > 0).all()
    early = grid.columns[5]
    assert (np.diff(grid[early]) < 0).all()
    with pytest.raises(ArgumentError, match="T above 0"):
        fitted[ParetoNBD].activity(0)


@pytest.mark.parametrize("model", MODELS)
def test_saved_and_loaded_models_answer_alike(fitted, sample, model):
    ours = fitted[model]
    again = model.from_json(ours.to_json())
    pd.testing.assert_frame_equal(again.summary, ours.summary)
    pd.testing.assert_series_equal(
        again.probability_alive(sample), ours.probability_alive(sample), rtol=1e-12
    )
    assert again.to_json() == ours.to_json()
    assert again.fingerprint_ == model().fit(sample.sample(frac=1, random_state=2)).fingerprint_


def test_a_changed_row_changes_the_fingerprint(fitted, sample):
    changed = sample.copy()
    changed.iloc[0, changed.columns.get_loc("T")] += 1 / 7
    assert BetaGeoNBD().fit(changed).fingerprint_ != fitted[BetaGeoNBD].fingerprint_


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 99}, "format 99"),
        ({"model": "ParetoNBD"}, "is a ParetoNBD"),
        ({"params": {"r": 1.0}}, "incomplete"),
    ],
)
def test_a_saved_model_that_means_something_else_is_refused(fitted, change, said):
    saved = json.loads(fitted[BetaGeoNBD].to_json()) | change
    with pytest.raises(ContractError, match=said):
        BetaGeoNBD.from_json(json.dumps(saved))
    with pytest.raises(ContractError, match="not JSON"):
        BetaGeoNBD.from_json("{")
    with pytest.raises(ContractError, match="to_json"):
        BetaGeoNBD.from_json("[]")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda df: df.assign(recency=df["T"] + 1), r"recency greater than T in 10 rows .*positions 0, 1, 2"),
        (
            lambda df: df.assign(frequency=[-1, *df["frequency"][1:]]),
            r"frequency: negative values in 1 row \(at",
        ),
        (lambda df: df.assign(frequency=df["frequency"] + 0.5), "not whole numbers in 10 rows"),
        (lambda df: df.assign(T=0.0, recency=0.0, frequency=0), "T: 0 for all 10 customers"),
        (lambda df: df.assign(frequency=0, recency=0.0), "frequency: 0 for all 10 customers"),
        (
            lambda df: df.assign(recency=[np.nan, *df["recency"][1:]]),
            "recency: missing or infinite values in 1 row",
        ),
        (lambda df: df.assign(T=[np.inf, *df["T"][1:]]), "T: missing or infinite"),
        (
            lambda df: df.assign(recency=[5.0, *df["recency"][1:]]),
            "recency above 0 without a repeat purchase in 1",
        ),
        (lambda df: df.assign(recency=0.0), "recency 0 with repeat purchases in 6 rows"),
        (lambda df: df.drop(columns=["T", "recency"]), "missing columns recency, T"),
        (lambda df: df.assign(T="39"), "column T: it holds string values, not numbers"),
        (
            lambda df: df.assign(T=pd.to_timedelta(df["T"], unit="D")),
            "column T: it holds timedelta(64)? values",
        ),
        (lambda df: df.iloc[:0], "empty"),
        (lambda df: pd.concat([df, df[["T"]]], axis=1), "column T appears 2 times"),
        (lambda df: df["T"].tolist(), "must be a pandas DataFrame; got list"),
    ],
)
def test_rows_that_cannot_be_histories_are_refused_with_count_and_mend(small, change, said):
    with pytest.raises(ContractError, match=said) as caught:
        BetaGeoNBD().fit(change(small))
    assert not any(name in str(caught.value) for name in ("customer j", "'j'"))


def test_nullable_and_decimal_columns_are_read(small):
    from decimal import Decimal

    plain = BetaGeoNBD(penalizer=0.1).fit(small)
    other = small.astype({"frequency": "Int64", "recency": "Float64"})
    other["T"] = [Decimal(str(v)) for v in small["T"]]
    assert BetaGeoNBD(penalizer=0.1).fit(other).params_.equals(plain.params_)
    with pytest.raises(ContractError, match="frequency: missing"):
        BetaGeoNBD().fit(other.assign(frequency=pd.array([None, *[1] * 9], dtype="Int64")))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1.0] * 9, "9 values for 10 customers"),
        ([0.0] + [1.0] * 9, "weights that are not positive numbers in 1 row"),
        ([np.nan] + [1.0] * 9, "not positive"),
        ("absent", "missing column absent"),
    ],
)
def test_bad_weights_are_refused(small, weights, said):
    with pytest.raises(ContractError, match=said):
        BetaGeoNBD().fit(small, weights=weights)


def test_units_must_agree_between_fit_and_prediction(fitted, sample):
    days = sample.assign(recency=sample["recency"] * 7, T=sample["T"] * 7)
    days.attrs["unit"] = "D"
    with pytest.raises(ArgumentError, match="fitted with time in 'W' but this summary declares 'D'"):
        fitted[BetaGeoNBD].probability_alive(days)
    with pytest.raises(ArgumentError, match="declares 'D'"):
        BetaGeoNBD().fit(days, unit="W")
    with pytest.raises(ArgumentError, match="unit must be one of"):
        BetaGeoNBD().fit(sample, unit="M")


def test_units_that_were_not_declared_are_noticed(fitted, sample):
    days = sample.assign(recency=sample["recency"] * 7, T=sample["T"] * 7)
    days.attrs.clear()
    with pytest.raises(ArgumentError, match=r"T of these 2,357 customers is 7 times .* declares no unit"):
        fitted[BetaGeoNBD].probability_alive(days)
    by_day = BetaGeoNBD().fit(days, unit="D")
    weeks = sample.copy()
    weeks.attrs.clear()
    with pytest.raises(ArgumentError, match=r"is 0\.14 times"):
        by_day.conditional_expected_purchases(30, weeks)
    # new customers are not taken for another unit, and a declared unit is believed
    new = pd.DataFrame({"frequency": [0], "recency": [0.0], "T": [0.0]})
    assert by_day.conditional_expected_purchases(30, new).iloc[0] > 0
    old = weeks.assign(T=weeks["T"] + 400)
    with pytest.raises(ArgumentError, match="declares no unit"):
        fitted[BetaGeoNBD].probability_alive(old)
    old.attrs["unit"] = "W"
    assert fitted[BetaGeoNBD].probability_alive(old).notna().all()


def test_an_annual_rate_needs_a_unit(small):
    bare = small.copy()
    bare.attrs.clear()
    model = BetaGeoNBD(penalizer=0.1).fit(bare)
    assert model.unit_ is None
    assert model.conditional_expected_purchases(10, bare).gt(0).all()
    with pytest.raises(ArgumentError, match="fit with unit='W' or unit='D'"):
        model.discounted_expected_transactions(bare, annual_discount_rate=0.1)
    assert "expected to be still buying" in model.verdict()


@pytest.mark.parametrize(
    "call",
    [
        lambda m, df: m.expected_purchases(-1),
        lambda m, df: m.expected_purchases([1, np.nan]),
        lambda m, df: m.conditional_expected_purchases(-1, df),
        lambda m, df: m.purchase_count_pmf(1.5, 10),
        lambda m, df: m.purchase_count_pmf(-1, 10),
        lambda m, df: m.discounted_expected_transactions(df, annual_discount_rate=-0.1),
        lambda m, df: m.discounted_expected_transactions(df, annual_discount_rate=0),
        lambda m, df: m.discounted_expected_transactions(df, annual_discount_rate=0.1, horizon=-5),
        lambda m, df: m.discounted_expected_transactions(df, annual_discount_rate=0.1, convention="monthly"),
        lambda m, df: m.discounted_expected_transactions(
            df, annual_discount_rate=0.1, convention="end-of-period"
        ),
        lambda m, df: BetaGeoNBD(penalizer=-1),
        lambda m, df: BetaGeoNBD().probability_alive(df),
        lambda m, df: BetaGeoNBD().to_json(),
    ],
)
def test_bad_options_are_refused(fitted, sample, call):
    with pytest.raises(ArgumentError):
        call(fitted[BetaGeoNBD], sample)


def test_pmf_broadcasts(fitted):
    found = fitted[BetaGeoNBD].purchase_count_pmf(np.arange(3)[:, None], [10, 39])
    assert found.shape == (3, 2)
    assert isinstance(fitted[BetaGeoNBD].purchase_count_pmf(0, 39), float)
    assert fitted[BetaGeoNBD].purchase_count_pmf([0, 1], 0).tolist() == [1, 0]


@pytest.mark.parametrize("model", MODELS)
def test_a_fit_without_a_maximum_raises_and_says_what_to_do(model):
    # everybody bought on the last day seen, so nobody ever left
    alive = pd.DataFrame({"frequency": [1, 2, 3, 4], "recency": [10.0, 20, 30, 40], "T": [10.0, 20, 30, 40]})
    with pytest.raises(ConvergenceError, match=f"{model.__name__} did not converge.*penalizer="):
        model().fit(alive)
    assert model(penalizer=0.1).fit(alive).converged_


@pytest.mark.parametrize("model", MODELS)
def test_a_failed_fit_leaves_no_answer(model):
    alive = pd.DataFrame({"frequency": [1, 2, 3, 4], "recency": [10.0, 20, 30, 40], "T": [10.0, 20, 30, 40]})
    tried = model()
    with pytest.raises(ConvergenceError):
        tried.fit(alive)
    with pytest.raises(ArgumentError, match="not fitted"):
        tried.probability_alive(alive)


@pytest.mark.parametrize(("coin", "model"), [(0, BetaGeoNBD), (1, ModifiedBetaGeoNBD)])
def test_parameters_are_recovered_from_simulated_customers(draw_bg, coin, model):
    truth = np.array([0.8, 6.0, 0.8, 2.5])
    found = model().fit(draw_bg(20_000, 11, coin=coin))
    errors = (np.log(found.params_) - np.log(truth)) / (found.standard_errors_ / found.params_)
    assert np.abs(errors).max() < 3.5
    assert (found.standard_errors_ / found.params_ < 0.25).all()
