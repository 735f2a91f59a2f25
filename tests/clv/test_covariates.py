"""Covariates on purchase and dropout: coding, likelihood, recovery, predictions, refusals."""

import json

import numpy as np
import pandas as pd
import pytest

from loyalty_research.clv import BetaGeoNBD, ModifiedBetaGeoNBD, ParetoNBD, _beta_geometric, _pareto
from loyalty_research.clv._covariates import objective, row_parameters
from loyalty_research.errors import ArgumentError, ContractError

MODELS = [BetaGeoNBD, ModifiedBetaGeoNBD, ParetoNBD]
PARETO = np.array([[0, -1, 0, 0], [0, 0, 0, -1]]).T
GEOMETRIC = np.array([[0, -1, 0, 0], [0, 0, 1, 0]]).T


def _draw(model, customers, seed, *, purchase=0.6, dropout=0.5):
    """Simulate customers whose web channel and age act on purchase, and channel on dropout."""
    rng = np.random.default_rng(seed)
    web, age = rng.random(customers) < 0.4, rng.normal(40, 10, customers).round()
    T = rng.uniform(26, 52, customers)
    rate = rng.gamma(0.8, 1 / 6.0, customers) * np.exp(purchase * web - 0.02 * (age - 40))
    x, recency, clock = np.zeros(customers), np.zeros(customers), np.zeros(customers)
    here = np.ones(customers, dtype=bool)
    if model is ParetoNBD:
        life = rng.exponential(1 / (rng.gamma(0.8, 1 / 12.0, customers) * np.exp(dropout * web)))
        leave = np.zeros(customers)
    else:
        life = np.full(customers, np.inf)
        leave = rng.beta(0.8 * np.exp(dropout * web), 2.5)
        here &= rng.random(customers) >= leave * (model is ModifiedBetaGeoNBD)
    end = np.minimum(life, T)
    while here.any():
        clock = clock + rng.exponential(1 / rate)
        here &= clock < end
        x, recency = x + here, np.where(here, clock, recency)
        here &= rng.random(customers) >= leave
    frame = pd.DataFrame({"frequency": x.astype(int), "recency": recency, "T": T, "age": age})
    frame["channel"] = np.where(web, "web", "shop")
    frame.attrs["unit"] = "W"
    return frame


@pytest.fixture(scope="module")
def drawn():
    return {model: _draw(model, 6000, 3) for model in MODELS}


@pytest.fixture(scope="module")
def fitted(drawn):
    return {
        model: model().fit(
            drawn[model], purchase_covariates=["channel", "age"], dropout_covariates=["channel"]
        )
        for model in MODELS
    }


@pytest.mark.parametrize("model", MODELS)
def test_coefficients_are_recovered(fitted, model):
    found = fitted[model].summary
    truth = {"purchase[channel=web]": 0.6, "purchase[age]": -0.02, "dropout[channel=web]": 0.5}
    for name, value in truth.items():
        row = found.loc[name]
        assert abs(row["estimate"] - value) < 3.5 * row["standard_error"]
        assert row["standard_error"] < 0.2
        assert row["p_value"] < 0.01
    assert found["p_value"].isna().sum() == 4


@pytest.mark.parametrize(
    ("core", "loadings"),
    [(_pareto.CORE, PARETO), (_beta_geometric.core(0), GEOMETRIC), (_beta_geometric.core(1), GEOMETRIC)],
)
def test_likelihood_is_that_of_each_group_with_its_own_parameters(core, loadings):
    rng = np.random.default_rng(4)
    x = rng.integers(0, 30, 80).astype(float)
    T = rng.uniform(0.5, 3, 80)
    rows = [x, np.where(x > 0, T * rng.uniform(0.1, 1, 80), 0.0), T]
    weight, group = rng.uniform(0.5, 2, 80), rng.integers(0, 2, 80).astype(float)
    theta = np.concatenate([np.log([0.6, 1.4, 0.9, 2.2]), [0.7, -0.4]])
    value, gradient, hessian = objective(core, rows, weight, loadings, [group, group])(theta)
    apart = 0.0
    for level in (0, 1):
        own = np.exp(theta[:4] + loadings @ theta[4:] * level)
        some = group == level
        apart += core.objective(*(part[some] for part in rows), weight[some])(own)[0]
    assert value == pytest.approx(apart, rel=1e-13)
    z = [rng.normal(size=80), rng.normal(size=80)]
    at = objective(core, rows, weight, loadings, z)
    _, gradient, hessian = at(theta)
    moves = 1e-5 * np.eye(6)
    slopes = [(at(theta + m)[0] - at(theta - m)[0]) / 2e-5 for m in moves]
    bends = [(at(theta + m)[1] - at(theta - m)[1]) / 2e-5 for m in moves]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(hessian, bends, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_rows_of_the_two_likelihoods_agree(model, sample):
    rows = [sample[c].to_numpy(float)[:300] for c in ("frequency", "recency", "T")]
    at, weight = np.array([0.5, 9.0, 0.7, 3.0]), np.random.default_rng(1).uniform(1, 3, 300)
    whole = model.core.objective(*rows, weight)(at)
    parts = model.core.terms(at, *rows)
    for one, each in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, each @ weight, rtol=1e-10)


@pytest.mark.parametrize("model", MODELS)
def test_predictions_of_a_group_are_those_of_a_model_with_its_parameters(drawn, fitted, model):
    found, some = fitted[model], drawn[model].assign(age=40.0)
    theta = found.log_params
    loadings = found.design_.loadings
    for channel in ("shop", "web"):
        rows = some[some["channel"] == channel].head(50)
        traits = np.array([channel == "web", 40.0, channel == "web"], dtype=float)
        alone = model()
        alone.unit_, alone.design_, alone.n_customers_ = "W", None, 1.0
        alone._keep(theta[:4] + loadings @ (theta[4:] * traits), np.eye(4), 0.0)
        for predict in (
            lambda m, df: m.probability_alive(df),
            lambda m, df: m.conditional_expected_purchases(26, df),
            lambda m, df: m.discounted_expected_transactions(df, annual_discount_rate=0.1),
        ):
            np.testing.assert_allclose(predict(found, rows), predict(alone, rows), rtol=1e-10)
        new = rows[["channel", "age"]]
        np.testing.assert_allclose(
            found.expected_purchases(26, covariates=new), alone.expected_purchases(26), rtol=1e-10
        )
        np.testing.assert_allclose(
            found.purchase_count_pmf(2, 26, covariates=new), alone.purchase_count_pmf(2, 26), rtol=1e-10
        )
        np.testing.assert_allclose(
            found.expected_purchases(rows["T"].to_numpy(), covariates=new),
            alone.expected_purchases(rows["T"].to_numpy()),
            rtol=1e-10,
        )


@pytest.mark.parametrize("model", MODELS)
def test_units_of_a_covariate_and_of_time_change_only_what_carries_them(drawn, fitted, model):
    frame = drawn[model]
    other = frame.assign(age=frame["age"] / 10 - 7, recency=frame["recency"] * 7, T=frame["T"] * 7)
    other.attrs["unit"] = "D"
    again = model().fit(other, purchase_covariates=["channel", "age"], dropout_covariates=["channel"])
    ours = fitted[model]
    assert again.params_["purchase[age]"] == pytest.approx(10 * ours.params_["purchase[age]"], rel=1e-6)
    assert again.standard_errors_["purchase[age]"] == pytest.approx(
        10 * ours.standard_errors_["purchase[age]"], rel=1e-5
    )
    for name in ("r", "purchase[channel=web]", "dropout[channel=web]"):
        assert again.params_[name] == pytest.approx(ours.params_[name], rel=1e-6)
        assert again.standard_errors_[name] == pytest.approx(ours.standard_errors_[name], rel=1e-5)
    shift = -np.log(7) * frame["frequency"].sum()
    assert again.log_likelihood_ == pytest.approx(ours.log_likelihood_ + shift, rel=1e-12)
    np.testing.assert_allclose(
        again.conditional_expected_purchases(70, other),
        ours.conditional_expected_purchases(10, frame),
        rtol=1e-6,
    )


def test_weights_mean_copies(drawn):
    frame = drawn[ParetoNBD].head(800)
    copies = np.random.default_rng(1).integers(1, 4, 800)
    options = {"purchase_covariates": ["channel"], "dropout_covariates": ["channel"]}
    weighted = ParetoNBD().fit(frame, weights=copies, **options)
    copied = ParetoNBD().fit(frame.loc[frame.index.repeat(copies)].sample(frac=1, random_state=1), **options)
    np.testing.assert_allclose(copied.params_, weighted.params_, rtol=1e-6)
    np.testing.assert_allclose(copied.covariance_, weighted.covariance_, rtol=1e-5)
    assert copied.design_.prints == weighted.design_.prints


def test_forms_of_a_dropout_covariate(drawn):
    frame = drawn[BetaGeoNBD]
    odds, both, apart = (
        BetaGeoNBD(dropout_form=form).fit(frame, dropout_covariates=["channel"])
        for form in ("odds", "both", "separate")
    )
    assert list(apart.params_.index[4:]) == ["dropout a[channel=web]", "dropout b[channel=web]"]
    assert list(odds.params_.index[4:]) == list(both.params_.index[4:]) == ["dropout[channel=web]"]
    # the separate form holds both others
    assert apart.log_likelihood_ > max(odds.log_likelihood_, both.log_likelihood_)
    a, b = (float(odds.params_[name]) for name in ("a", "b"))
    z = np.array([0.0, 1.0])
    owns = [row_parameters(np.exp(m.log_params), m.design_.loadings, [z]) for m in (odds, both)]
    means = [own[2] / (own[2] + own[3]) for own in owns]
    assert means[0][0] == pytest.approx(a / (a + b))
    assert means[0][1] > means[0][0]
    assert means[1][0] == pytest.approx(means[1][1])


@pytest.mark.parametrize("model", MODELS)
def test_saved_and_loaded_models_answer_alike(drawn, fitted, model):
    ours = fitted[model]
    again = model.from_json(ours.to_json())
    pd.testing.assert_frame_equal(again.summary, ours.summary)
    assert again.to_json() == ours.to_json()
    some = drawn[model].head(30)
    pd.testing.assert_series_equal(again.probability_alive(some), ours.probability_alive(some), rtol=1e-12)
    assert again.verdict() == ours.verdict()
    json.dumps(ours.to_dict(), allow_nan=False)


def test_categories_keep_their_order_and_booleans_are_numbers(drawn):
    frame = drawn[BetaGeoNBD].copy()
    frame["member"] = frame["channel"] == "web"
    frame["channel"] = pd.Categorical(frame["channel"], categories=["web", "shop", "phone"])
    named = BetaGeoNBD().fit(frame, purchase_covariates=["channel"])
    flag = BetaGeoNBD().fit(frame, purchase_covariates=["member"])
    assert list(named.params_.index[4:]) == ["purchase[channel=shop]"]
    assert flag.params_["purchase[member]"] == pytest.approx(
        -named.params_["purchase[channel=shop]"], rel=1e-6
    )
    assert flag.log_likelihood_ == pytest.approx(named.log_likelihood_, rel=1e-12)
    plain = BetaGeoNBD().fit(frame)
    assert flag.fingerprint_ == plain.fingerprint_
    assert flag.log_likelihood_ > plain.log_likelihood_


def test_a_second_fit_forgets_the_covariates_of_the_first(drawn):
    model = BetaGeoNBD().fit(drawn[BetaGeoNBD], purchase_covariates=["channel"])
    again = model.fit(drawn[BetaGeoNBD])
    assert list(again.params_.index) == ["r", "alpha", "a", "b"]
    assert again.design_ is None
    assert again.expected_purchases(26) > 0


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"purchase_covariates": "channel"}, ArgumentError, "list of column names"),
        ({"purchase_covariates": ["age", "age"]}, ArgumentError, "names a column twice"),
        ({"dropout_covariates": ["frequency"]}, ArgumentError, "cannot be a covariate"),
        ({"purchase_covariates": ["absent"]}, ContractError, "no column 'absent'"),
        (
            {"purchase_covariates": ["gaps"]},
            ContractError,
            r"gaps: missing values of a covariate in 1 row \(at",
        ),
        ({"purchase_covariates": ["endless"]}, ContractError, "infinite values of a covariate"),
        ({"purchase_covariates": ["same"]}, ContractError, "the same value for all 6,000"),
        ({"purchase_covariates": ["one"]}, ContractError, "one level for all"),
        ({"purchase_covariates": ["many"]}, ContractError, "6,000 levels; group them into at most 50"),
        ({"purchase_covariates": ["age", "decades"]}, ContractError, "decades follows from the others"),
        ({"dropout_covariates": ["frequency2"]}, ContractError, "frequency2"),
    ],
)
def test_bad_covariates_are_refused(drawn, options, error, said):
    frame = drawn[BetaGeoNBD].copy()
    frame["gaps"] = frame["age"].where(frame.index != 7)
    frame["endless"] = frame["age"].where(frame.index != 7, np.inf)
    frame["same"], frame["one"] = 1.0, "yes"
    frame["many"] = [f"customer-{i}" for i in range(len(frame))]
    frame["decades"] = frame["age"] / 10
    with pytest.raises(error, match=said) as caught:
        BetaGeoNBD().fit(frame, **options)
    assert "customer-" not in str(caught.value)


def test_bad_predictions_are_refused(drawn, fitted):
    model, some = fitted[BetaGeoNBD], drawn[BetaGeoNBD].head(20)
    with pytest.raises(ContractError, match="no column 'age', which is a covariate"):
        model.probability_alive(some.drop(columns="age"))
    with pytest.raises(
        ContractError, match=r"channel: levels the model was not fitted on .*shop, web.* in 20 rows"
    ):
        model.probability_alive(some.assign(channel="phone"))
    with pytest.raises(ContractError, match="fitted on numbers"):
        model.probability_alive(some.assign(age="forty"))
    with pytest.raises(ArgumentError, match="pass covariates=, a frame with channel, age"):
        model.expected_purchases(26)
    with pytest.raises(ArgumentError, match="one for each of its 20 rows"):
        model.expected_purchases([1.0, 2.0], covariates=some)
    with pytest.raises(ArgumentError, match="dropout_form must be one of"):
        BetaGeoNBD(dropout_form="mean")


def test_activity_is_that_of_an_average_customer(fitted):
    grid = fitted[ParetoNBD].activity(39, most=5, steps=10)
    assert grid.shape == (5, 10)
    assert (np.diff(grid.to_numpy(), axis=1) > 0).all()
