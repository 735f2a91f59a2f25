import numpy as np
import pandas as pd
import pytest

from loyalty_research.comparison import (
    augmented_ipw,
    entropy_balancing,
    inverse_probability_weighting,
    overlap_weighting,
)
from loyalty_research.comparison._propensity import covariate_matrix, fit_propensity
from loyalty_research.comparison._weights import effective_size, entropy_weights
from loyalty_research.errors import ArgumentError, ContractError, DesignError

ALL = [inverse_probability_weighting, overlap_weighting, augmented_ipw, entropy_balancing]


def confounded(n, seed, *, effect=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    t = (rng.random(n) < 1 / (1 + np.exp(-x @ [0.8, -0.5]))).astype(int)
    y = effect * t + x @ [1.0, 1.0] + rng.normal(size=n)
    return pd.DataFrame({"t": t, "y": y, "a": x[:, 0], "b": x[:, 1], "c": np.arange(n) // 5})


GIVEN = {"outcome": "y", "treatment": "t", "covariates": ["a", "b"]}


def test_nhefs(oracle, nhefs):
    table, covariates = nhefs
    case, sandwich = oracle("nhefs_ipw"), oracle("nhefs_ipw_se_mest")
    fit = inverse_probability_weighting(table, outcome="wt82_71", treatment="qsmk", covariates=covariates)
    assert fit.estimate.value == pytest.approx(case["expected"][0], abs=1e-5)
    assert fit.standard_error == pytest.approx(0.487073, abs=1e-5)
    assert fit.standard_error == pytest.approx(sandwich["expected"], abs=sandwich["tolerance"])
    # the weights themselves give the book's robust interval when taken as known
    w = fit.weights * len(table)
    t = table["qsmk"].to_numpy()
    y = table["wt82_71"].to_numpy()
    means = [np.average(y[t == g], weights=w[t == g]) for g in (1, 0)]
    known = np.sqrt(
        sum(
            np.sum((w[t == g] * (y[t == g] - m)) ** 2) / len(table) ** 2
            for g, m in zip((1, 0), means, strict=True)
        )
    )
    limits = [means[0] - means[1] - 1.959964 * known, means[0] - means[1] + 1.959964 * known]
    assert limits == pytest.approx(case["expected"][1:], abs=0.002)


def test_nsw_beside_cps(oracle, nsw_cps):
    table, covariates = nsw_cps
    naive = table.groupby("treat")["re78"].mean().diff().iloc[1]
    case = oracle("nsw_cps_naive")
    assert naive == pytest.approx(case["expected"], abs=case["tolerance"])
    case = oracle("nsw_cps_ate_hajek")
    given = {"outcome": "re78", "treatment": "treat", "covariates": covariates}
    everybody = inverse_probability_weighting(table, **given)
    trimmed = inverse_probability_weighting(table, **given, trim=(0.1, 0.9))
    assert [everybody.estimate.value, trimmed.estimate.value] == pytest.approx(case["expected"], abs=0.01)
    assert trimmed.estimate.n == 361
    assert trimmed.balance.share_trimmed == pytest.approx(1 - 361 / len(table))
    # in the overlap population the survey recovers the experiment's 1,794
    overlap = overlap_weighting(table, **given).estimate
    treated = inverse_probability_weighting(table, **given, estimand="ATT").estimate
    assert overlap.low < 1794 < overlap.high
    assert treated.low < 1794 < treated.high


def test_matchit_weights_by_hand():
    """ATT and ATO weights are e / (1 - e) and e for controls, 1 and 1 - e for treated."""
    table = confounded(500, 1)
    for estimand, one, zero in (
        ("ATE", lambda e: 1 / e, lambda e: 1 / (1 - e)),
        ("ATT", np.ones_like, lambda e: e / (1 - e)),
        ("ATO", lambda e: 1 - e, lambda e: e),
    ):
        fit = inverse_probability_weighting(table, **GIVEN, estimand=estimand)
        t, e = table["t"].to_numpy(), fit.propensity
        raw = np.where(t == 1, one(e), zero(e))
        expected = [np.average(table["y"][t == g], weights=raw[t == g]) for g in (1, 0)]
        assert [fit.mean_treated, fit.mean_control] == pytest.approx(expected, rel=1e-10)


def test_propensities_equal_statsmodels(nhefs):
    import statsmodels.api as sm

    table, covariates = nhefs
    fit = inverse_probability_weighting(table, outcome="wt82_71", treatment="qsmk", covariates=covariates)
    x = covariate_matrix(table, covariates).matrix
    glm = sm.GLM(table["qsmk"], x, family=sm.families.Binomial()).fit(tol=1e-12)
    np.testing.assert_allclose(fit.propensity, glm.fittedvalues, atol=1e-10)


def test_augmented_equals_statsmodels(nhefs):
    import statsmodels.api as sm
    from statsmodels.treatment.treatment_effects import TreatmentEffect

    table, covariates = nhefs
    fit = augmented_ipw(table, outcome="wt82_71", treatment="qsmk", covariates=covariates)
    x = covariate_matrix(table, covariates).matrix
    t = table["qsmk"].to_numpy(float)
    select = sm.Logit(t, x).fit(disp=0)
    peer = TreatmentEffect(sm.OLS(table["wt82_71"].to_numpy(), x), t, results_select=select).aipw(disp=False)
    assert fit.estimate.value == pytest.approx(np.ravel(peer.effect)[0], rel=1e-8)
    assert fit.standard_error == pytest.approx(float(peer.results_gmm.bse[0]), rel=2e-3)


def test_overlap_weights_balance_exactly(nhefs):
    table, covariates = nhefs
    fit = overlap_weighting(table, outcome="wt82_71", treatment="qsmk", covariates=covariates)
    assert np.max(np.abs(fit.balance.before)) > 0.2
    assert np.max(np.abs(fit.balance.after)) < 1e-8


@pytest.mark.parametrize("estimand", ["ATE", "ATT"])
def test_entropy_balancing_balances_exactly_with_positive_weights(nhefs, estimand):
    table, covariates = nhefs
    fit = entropy_balancing(
        table, outcome="wt82_71", treatment="qsmk", covariates=covariates, estimand=estimand
    )
    assert np.max(np.abs(fit.balance.after)) < 1e-8
    assert np.all(fit.weights > 0)


def test_entropy_weights_are_an_exponential_tilt():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    w = entropy_weights(x, np.array([0.3, -0.2]))
    assert w @ x == pytest.approx([0.3, -0.2], abs=1e-9)
    design = np.column_stack([np.ones(300), x])
    residual = np.log(w) - design @ np.linalg.lstsq(design, np.log(w), rcond=None)[0]
    assert np.max(np.abs(residual)) < 1e-8


@pytest.mark.parametrize("method", ALL)
def test_a_linear_world_is_recovered(method):
    fit = method(confounded(20_000, 3), **GIVEN)
    assert fit.estimate.low < 1.0 < fit.estimate.high
    assert abs(fit.estimate.value - 1.0) < 5 * fit.standard_error < 0.3


def test_augmented_is_right_when_either_model_is():
    rng = np.random.default_rng(11)
    n = 60_000
    a = rng.normal(size=n)
    linear = 1 / (1 + np.exp(-a))
    curved = 1 / (1 + np.exp(-(a**2 - 1)))
    for chance, shape in ((linear, a**2), (curved, a)):
        t = (rng.random(n) < chance).astype(int)
        table = pd.DataFrame({"t": t, "a": a, "y": t + 2 * shape + rng.normal(size=n)})
        fit = augmented_ipw(table, outcome="y", treatment="t", covariates=["a"])
        assert abs(fit.estimate.value - 1.0) < 4 * fit.standard_error
    plain = inverse_probability_weighting(table, outcome="y", treatment="t", covariates=["a"])
    assert abs(plain.estimate.value - 1.0) < 0.5


@pytest.mark.parametrize("method", ALL)
def test_units_of_measure_do_not_matter(method):
    table = confounded(800, 5)
    moved = table.assign(a=1e6 + 3e4 * table["a"], b=-table["b"] / 1e5, y=7 + 100 * table["y"])
    one, two = method(table, **GIVEN), method(moved, **GIVEN)
    assert two.estimate.value == pytest.approx(100 * one.estimate.value, rel=1e-6)
    assert two.standard_error == pytest.approx(100 * one.standard_error, rel=1e-6)


@pytest.mark.parametrize("method", ALL)
def test_repeating_every_unit_as_a_cluster_changes_nothing(method):
    """Three copies of each unit carry no more than one: the clustered error stays what it was."""
    table = confounded(600, 6).assign(c=np.arange(600))
    thrice = pd.concat([table] * 3, ignore_index=True)
    one, many = method(table, **GIVEN, cluster="c"), method(thrice, **GIVEN, cluster="c")
    assert many.estimate.value == pytest.approx(one.estimate.value, rel=1e-7)
    assert many.standard_error == pytest.approx(one.standard_error, rel=1e-7)
    assert method(thrice, **GIVEN).standard_error < 0.7 * many.standard_error


def test_rows_in_any_order_and_categories_by_level():
    table = confounded(700, 7).assign(k=lambda f: np.where(f["a"] > 0.5, "high", "low"))
    given = {"outcome": "y", "treatment": "t", "covariates": ["b", "k"]}
    shuffled = table.sample(frac=1, random_state=0)
    dummy = table.assign(k=(table["k"] == "low").astype(int))
    values = [augmented_ipw(f, **given).estimate.value for f in (table, shuffled, dummy)]
    assert values == pytest.approx([values[0]] * 3, rel=1e-9)


def test_separation_is_found():
    table = confounded(300, 8)
    perfect = table.assign(a=np.where(table["t"] == 1, 1.0, 0.0) + table["a"] * 1e-3)
    quasi = table.assign(k=np.where(table["t"] == 0, "no", np.where(table["a"] > 0, "gold", "no")))
    for bad, covariates in ((perfect, ["a"]), (quasi, ["b", "k"])):
        with pytest.raises(DesignError, match="separate the groups"):
            augmented_ipw(bad, outcome="y", treatment="t", covariates=covariates)
    far = pd.DataFrame(
        {
            "t": [0] * 50 + [1] * 50,
            "x": [*np.linspace(0, 1, 50), *np.linspace(2, 3, 50)],
            "y": np.arange(100.0),
        }
    )
    with pytest.raises(DesignError, match="no positive weights"):
        entropy_balancing(far, outcome="y", treatment="t", covariates=["x"])


def test_strong_but_possible_selection_is_not_called_separation():
    rng = np.random.default_rng(3)
    x = rng.normal(size=20_000) * 4
    t = (rng.random(20_000) < 1 / (1 + np.exp(-2 * x))).astype(float)
    design = covariate_matrix(pd.DataFrame({"x": x}), ["x"])
    fit = fit_propensity(design.matrix, t)
    assert fit.coefficients[1] / design.scale[0] == pytest.approx(2.0, rel=0.1)


def test_effective_size():
    assert effective_size(np.ones(7)) == 7
    assert effective_size(np.array([1.0, 0.0, 0.0])) == 1


@pytest.mark.parametrize(
    ("change", "given", "error", "said"),
    [
        ({}, {"outcome": "z"}, ContractError, "no column 'z'"),
        ({}, {"covariates": ["z"]}, ContractError, "no column 'z'"),
        ({}, {"covariates": []}, ArgumentError, "covariates= is empty"),
        ({}, {"covariates": ["a", "y"]}, ArgumentError, "y cannot be a covariate"),
        ({}, {"covariates": ["a", "a"]}, ArgumentError, "named twice"),
        ({}, {"treatment": "c"}, ContractError, "one other group"),
        ({}, {"cluster": "z"}, ContractError, "no column 'z'"),
        ({"c": 1}, {"cluster": "c"}, DesignError, "one cluster"),
        ({"a": 1.0}, {}, ContractError, "covariate a is the same"),
        ({"b": "text"}, {"outcome": "b"}, ContractError, "not numbers"),
        ({}, {"level": 2.0}, ArgumentError, "level"),
    ],
)
def test_bad_input(change, given, error, said):
    with pytest.raises(error, match=said):
        augmented_ipw(confounded(50, 1).assign(**change), **{**GIVEN, **given})


def test_missing_values_are_counted_with_positions():
    table = confounded(50, 1)
    table.loc[[3, 8], "a"] = np.nan
    with pytest.raises(ContractError, match=r"units\.a is missing in 2 rows \(first at positions 3, 8\)"):
        overlap_weighting(table, **GIVEN)
    table = confounded(50, 1)
    table.loc[4, "y"] = np.inf
    with pytest.raises(ContractError, match=r"units\.y is missing or infinite in 1 row \(at position 4\)"):
        overlap_weighting(table, **GIVEN)
    repeated = confounded(50, 1).assign(twin=lambda f: 2 * f["a"] + f["b"])
    with pytest.raises(ContractError, match="a, b, twin determine one another"):
        overlap_weighting(repeated, **{**GIVEN, "covariates": ["a", "b", "twin"]})
    ids = confounded(80, 1).assign(name=[f"n{i}" for i in range(80)])
    with pytest.raises(ContractError, match="80 different texts"):
        overlap_weighting(ids, **{**GIVEN, "covariates": ["name"]})


def test_options():
    table = confounded(50, 1)
    with pytest.raises(ArgumentError, match="estimand is one of ATE, ATT, ATO"):
        inverse_probability_weighting(table, **GIVEN, estimand="CACE")
    with pytest.raises(ArgumentError, match="trim"):
        inverse_probability_weighting(table, **GIVEN, trim=(0.9, 0.1))
    with pytest.raises(ArgumentError, match="ATE or ATT"):
        entropy_balancing(table, **GIVEN, estimand="ATO")


def test_the_verdict_claims_no_effect():
    said = augmented_ipw(confounded(2000, 2), **GIVEN).verdict()
    assert "consistent with a difference" in said
    assert "effect" not in said


@pytest.mark.slow
@pytest.mark.parametrize("method", ALL)
def test_coverage(measured, method):
    """2,000 replicates of 500 units, nonlinear outcome so that the estimands' errors differ."""
    reps, covered = 2000, 0
    for seed in range(reps):
        estimate = method(confounded(500, seed), **GIVEN).estimate
        covered += estimate.low <= 1.0 <= estimate.high
    assert covered / reps == pytest.approx(0.95, abs=0.005 + 3 * np.sqrt(0.95 * 0.05 / reps))
    measured(method.__name__.replace("_", " ").replace("ipw", "inverse weights"), covered, reps)
