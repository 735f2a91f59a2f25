import numpy as np
import pytest

from loyalty_research.clv import _beta_geometric as bg
from loyalty_research.clv._discount import Discounting, discounting


def rows(*columns):
    return [np.atleast_1d(np.asarray(c, dtype=float)) for c in columns]


def plain(t):
    return Discounting((0.0, float(t)), np.ones(1), 0.0)


def weekly(horizon, annual=0.1):
    return discounting(
        annual_discount_rate=annual, horizon=horizon, convention="continuous", periods_per_year=12, unit="W"
    )


def test_published_conditional_expectation(oracle):
    case = oracle("bgnbd_cond_expectation")
    given = case["inputs"]
    history = rows(given["x"], given["t_x"], given["T"])
    found = bg.core(0).conditional(np.array(given["params"]), *history, plain(given["t"]))[0]
    assert found == pytest.approx(case["expected"], abs=case["tolerance"])


def test_published_expectation_of_a_new_customer(oracle):
    case = oracle("bgnbd_expectation")
    found = bg.core(0).expected(np.array(case["inputs"]["params"]), np.array(case["inputs"]["t"]))
    np.testing.assert_allclose(found, case["expected"], atol=case["tolerance"], rtol=0)


def test_published_count_probabilities(oracle):
    case = oracle("bgnbd_pmf")
    t, n = np.array(case["inputs"]["t_n"], dtype=float).T
    found = bg.core(0).pmf(np.array(case["inputs"]["params"]), n, t)
    # the published values carry nine digits; their absolute tolerance is half of the smallest one
    np.testing.assert_allclose(found, case["expected"], rtol=1e-5)


def test_published_walkthrough(oracle):
    case = oracle("bgnbd_walkthrough")
    given, model = case["inputs"], bg.core(0)
    one = given["customer_1516"]
    parameters, history = np.array(one["params"]), rows(one["x"], one["t_x"], one["T"])
    found = [
        model.conditional(parameters, *history, plain(one["t"]))[0],
        model.alive(parameters, *history)[0],
        model.expected(parameters, np.array([float(one["t"])]))[0],
    ]
    np.testing.assert_allclose(found, case["expected"]["customer_1516"], atol=3e-5, rtol=0)
    many = given["paradox"]
    x = np.array(many["x"], dtype=float)
    history = (x, np.full(4, float(many["t_x"])), np.full(4, float(many["T"])))
    found = model.conditional(np.array(many["params"]), *history, plain(many["t"]))
    np.testing.assert_allclose(found, case["expected"]["paradox"], atol=1e-7, rtol=0)


def test_hard_histories_agree_with_arbitrary_precision(oracle):
    case = oracle("bgnbd_hard_histories")
    model = bg.core(0)
    for given, truth in zip(case["inputs"], case["expected"], strict=True):
        parameters, history = np.array(given["params"]), rows(given["x"], given["t_x"], given["T"])
        found = {
            "alive": model.alive(parameters, *history)[0],
            "cet52": model.conditional(parameters, *history, plain(52))[0],
            "det52": model.conditional(parameters, *history, weekly(52))[0],
            "dert": model.conditional(parameters, *history, weekly(None))[0],
        }
        assert found == pytest.approx(truth, rel=case["tolerance"])


@pytest.mark.parametrize("coin", [0, 1])
def test_derivatives_are_those_of_the_value(coin):
    rng = np.random.default_rng(3)
    x = rng.integers(0, 40, 60).astype(float)
    T = rng.uniform(0.5, 3, 60)
    recency = np.where(x > 0, T * rng.uniform(0.1, 1, 60), 0.0)
    recency[x > 30] = T[x > 30]
    data = bg.histories(x, recency, T, rng.uniform(0.5, 2, 60), coin)
    at, step = np.array([0.6, 1.4, 0.9, 2.2]), 1e-5
    _, gradient, hessian = bg.log_likelihood(at, data, coin)
    ahead, behind = (
        [bg.log_likelihood(at + sign * step * move, data, coin) for move in np.eye(4)] for sign in (1, -1)
    )
    slopes = [(a[0] - b[0]) / (2 * step) for a, b in zip(ahead, behind, strict=True)]
    bends = [(a[1] - b[1]) / (2 * step) for a, b in zip(ahead, behind, strict=True)]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-7)
    np.testing.assert_allclose(hessian, bends, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("coin", [0, 1])
@pytest.mark.parametrize(
    "parameters", [(0.243, 4.414, 0.793, 2.426), (2.0, 9.0, 1.0, 3.0), (0.5, 2.0, 0.2, 0.3)]
)
def test_count_probabilities_add_up_to_one_and_to_the_mean(coin, parameters):
    n = np.arange(4000.0)
    pmf = bg.core(coin).pmf(np.array(parameters), n, np.full_like(n, 40.0))
    assert pmf.sum() == pytest.approx(1, abs=1e-9)
    expected = bg.core(coin).expected(np.array(parameters), np.array([40.0]))[0]
    assert pmf @ n == pytest.approx(expected, rel=1e-6)


def test_nothing_happens_where_closed_forms_divide_by_zero():
    history = rows([0, 4, 40], [0, 30, 38], [39, 39, 39])
    at = [
        bg.core(0).conditional(np.array([0.5, 5.0, a, 2.0]), *history, plain(52))
        for a in (1 - 1e-7, 1, 1 + 1e-7)
    ]
    np.testing.assert_allclose(at[1], (at[0] + at[2]) / 2, rtol=1e-12)


def test_a_thousand_purchases_and_whole_parameters_stay_finite():
    x = np.array([19.0, 20, 21, 100, 300, 1000])
    found = bg.alive_purchases(np.array([1.0, 10, 1, 2]), x, np.full(6, 50.0), coin=0, edges=(0.0, 1e5))
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize("coin", [0, 1])
def test_simulated_purchases_have_the_expected_mean(coin):
    parameters = np.array([0.8, 6.0, 0.8, 2.5])
    history = rows([0, 3, 12], [0, 20, 38], [39, 39, 39])
    many = [np.repeat(column, 40_000) for column in history]
    drawn = bg.simulate(np.random.default_rng(5), parameters, *many, 30.0, coin=coin).reshape(3, -1)
    expected = bg.core(coin).conditional(parameters, *history, plain(30))
    error = drawn.std(axis=1) / np.sqrt(drawn.shape[1])
    assert (np.abs(drawn.mean(axis=1) - expected) < 4 * error).all()
