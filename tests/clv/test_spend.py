import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.clv import GammaGamma, _gamma_gamma
from loyalty_research.errors import ArgumentError, ContractError, ConvergenceError, DesignError


@pytest.fixture(scope="module")
def fitted(sample):
    return GammaGamma().fit(sample)


def test_published_fit(fitted, oracle):
    case = oracle("gg_fit_cdnow")
    expected = {"p": case["expected"]["params"]["p"], "q": case["expected"]["params"]["q"]}
    expected["v"] = case["expected"]["params"]["gamma"]
    assert fitted.params_.to_dict() == pytest.approx(expected, abs=case["tolerance"]["params"])
    assert fitted.log_likelihood_ == pytest.approx(
        case["expected"]["loglik"], abs=case["tolerance"]["loglik"]
    )
    assert fitted.n_customers_ == 946
    assert fitted.dropped_ == {"no repeat purchase": 1411, "mean spend of 0": 0}


def test_published_conditional_means(oracle):
    case = oracle("gg_conditional_mean")
    given = case["inputs"]
    x, mean = np.array(given["x"], dtype=float), np.array(given["mean_spend"])
    found = _gamma_gamma.conditional_mean(np.array(given["params"]), x, mean)
    np.testing.assert_allclose(found, case["expected"], atol=case["tolerance"])


def test_the_likelihood_is_that_of_the_definition():
    # x purchases are Gamma(p, nu), so their mean is Gamma(p x, nu x), and nu is Gamma(q, v)
    p, q, v, x, mean = 2.5, 3.0, 4.0, 3.0, 1.7
    nu, width = np.linspace(1e-6, 30, 400_001, retstep=True)
    joint = stats.gamma.pdf(mean, p * x, scale=1 / (nu * x)) * stats.gamma.pdf(nu, q, scale=1 / v)
    direct = math.log(joint.sum() * width)
    found = _gamma_gamma.objective(np.array([x]), np.array([mean]), np.ones(1))(np.array([p, q, v]))[0]
    assert found == pytest.approx(direct, rel=1e-8)


def test_derivatives_are_those_of_the_value():
    rng = np.random.default_rng(2)
    at = _gamma_gamma.objective(
        rng.integers(1, 30, 40).astype(float), rng.gamma(3, 1, 40), rng.uniform(1, 2, 40)
    )
    where, step = np.array([1.7, 2.9, 1.3]), 1e-5
    _, gradient, hessian = at(where)
    pairs = [(at(where + step * move), at(where - step * move)) for move in np.eye(3)]
    np.testing.assert_allclose(gradient, [(a[0] - b[0]) / (2 * step) for a, b in pairs], rtol=1e-6)
    np.testing.assert_allclose(hessian, [(a[1] - b[1]) / (2 * step) for a, b in pairs], rtol=1e-6)


def test_another_currency_changes_only_v(fitted, sample):
    cents = GammaGamma().fit(sample.assign(monetary_value=sample["monetary_value"] * 100))
    np.testing.assert_allclose(cents.params_, fitted.params_ * [1, 1, 100], rtol=1e-7)
    shift = -946 * math.log(100)
    assert cents.log_likelihood_ == pytest.approx(fitted.log_likelihood_ + shift, rel=1e-12)


def test_weights_mean_copies(small):
    copies = np.arange(1, 11)
    weighted = GammaGamma(penalizer=0.01).fit(small, weights=copies)
    copied = GammaGamma(penalizer=0.01).fit(small.loc[small.index.repeat(copies)])
    np.testing.assert_allclose(weighted.params_, copied.params_, rtol=1e-7)
    assert weighted.correlation_ == pytest.approx(copied.correlation_)
    assert weighted.n_customers_ == copied.n_customers_


def test_spend_lies_between_the_customer_and_everybody(fitted, sample):
    found = fitted.conditional_expected_spend(sample)
    assert found.index.equals(sample.index)
    once = sample["frequency"] == 0
    assert np.allclose(found[once], fitted.mean_spend_)
    mean = sample.loc[~once, "monetary_value"]
    low, high = np.minimum(mean, fitted.mean_spend_), np.maximum(mean, fitted.mean_spend_)
    assert found[~once].between(low, high).all()


def test_rows_that_spent_nothing_are_left_out_and_counted(sample, fitted):
    free = sample.copy()
    first = np.flatnonzero(free["frequency"] > 0)[:7]
    free.iloc[first, free.columns.get_loc("monetary_value")] = 0.0
    found = GammaGamma().fit(free)
    assert found.dropped_["mean spend of 0"] == 7
    assert found.n_customers_ == 939
    check = next(c for c in found.checks if c.name == "Spend above 0")
    assert check.status == "warning"
    assert check.detail.startswith("7 repeat buyers")
    assert next(c for c in fitted.checks if c.name == "Spend above 0").status == "passed"


def test_correlation_of_spend_and_frequency_is_reported(fitted, sample):
    kept = sample[sample["frequency"] > 0]
    assert fitted.correlation_ == pytest.approx(kept["frequency"].corr(kept["monetary_value"]))
    assert next(c for c in fitted.checks if c.name == "Spend unrelated to frequency").status == "warning"
    mixed = kept.assign(monetary_value=kept["monetary_value"].sample(frac=1, random_state=4).to_numpy())
    shuffled = GammaGamma().fit(mixed)
    assert shuffled.checks[2].status == "passed"


def test_a_distribution_without_a_mean_gives_no_mean():
    rng = np.random.default_rng(8)
    wild = pd.DataFrame({"frequency": 1, "monetary_value": rng.gamma(3, 1, 3000) / rng.gamma(0.7, 1, 3000)})
    found = GammaGamma().fit(wild)
    assert found.params_["q"] < 1
    assert math.isinf(found.mean_spend_)
    assert found.verdict().startswith("No verdict")
    new = pd.DataFrame({"frequency": [0, 9], "monetary_value": [0.0, 3.0]})
    with pytest.raises(DesignError, match=r"no finite mean \(q = 0.7.* 1 row \(at position 0\)"):
        found.conditional_expected_spend(new)
    assert np.isfinite(found.conditional_expected_spend(new.tail(1))).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"monetary_value": 5.0}, "spend without a repeat purchase in 4 rows .*positions 0, 3, 6, 8"),
        ({"monetary_value": np.nan}, "missing or infinite spend with repeat purchases in 6 rows"),
        (
            {"monetary_value": [0.0, -2, 35, 0, 28, -4, 0, 22, 0, 31]},
            r"negative spend in 2 rows \(first at positions 1, 5\); refunds are no purchases",
        ),
        ({"frequency": 0.5}, "values that are not counts of 0 or more in 10 rows"),
        ({"frequency": 0, "monetary_value": 0.0}, "0 of 10 customers bought again"),
    ],
)
def test_rows_that_contradict_themselves_are_refused(small, change, said):
    with pytest.raises(ContractError, match=said):
        GammaGamma().fit(small.assign(**change))
    with pytest.raises(ContractError, match="missing column monetary_value"):
        GammaGamma().fit(small.drop(columns="monetary_value"))
    with pytest.raises(ContractError, match="missing column frequency"):
        GammaGamma().fit(small.drop(columns="frequency"))


def test_negative_spend_is_refused_in_predictions_too(small, fitted):
    refunded = small.assign(monetary_value=-small["monetary_value"])
    with pytest.raises(ContractError, match="negative spend in 6 rows"):
        fitted.conditional_expected_spend(refunded)


def test_missing_spend_without_repeat_purchase_is_fine(small):
    empty = small.assign(monetary_value=small["monetary_value"].where(small["frequency"] > 0))
    found = GammaGamma(penalizer=0.01).fit(empty)
    assert found.params_.equals(GammaGamma(penalizer=0.01).fit(small).params_)
    assert found.conditional_expected_spend(empty).notna().all()


def test_spend_that_does_not_vary_has_no_maximum():
    same = pd.DataFrame({"frequency": [1, 2, 3, 4], "monetary_value": [10.0] * 4})
    with pytest.raises(ConvergenceError, match="GammaGamma did not converge"):
        GammaGamma().fit(same)
    with pytest.raises(ArgumentError, match="not fitted"):
        GammaGamma().conditional_expected_spend(same)


def test_saved_and_loaded(fitted, sample):
    again = GammaGamma.from_json(fitted.to_json())
    pd.testing.assert_frame_equal(again.summary, fitted.summary)
    assert again.dropped_ == fitted.dropped_
    assert again.conditional_expected_spend(sample).equals(fitted.conditional_expected_spend(sample))
    json.dumps(again.to_dict(), allow_nan=False)


def test_parameters_are_recovered(draw_bg):
    found = GammaGamma().fit(draw_bg(20_000, 21))
    errors = (np.log(found.params_) - np.log([6.0, 4.0, 15.0])) / (found.standard_errors_ / found.params_)
    assert np.abs(errors).max() < 3.5


@pytest.mark.slow
def test_intervals_cover(draw_bg):
    truth, runs = np.array([6.0, 4.0, 15.0]), 400
    inside = np.zeros((runs, 3), dtype=bool)
    for run in range(runs):
        found = GammaGamma().fit(draw_bg(1_500, 5000 + run)).summary
        inside[run] = (found["low"] <= truth) & (truth <= found["high"])
    coverage = inside.mean(axis=0)
    assert (np.abs(coverage - 0.95) < 3 * np.sqrt(0.95 * 0.05 / runs) + 0.005).all(), coverage
