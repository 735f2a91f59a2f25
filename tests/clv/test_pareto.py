import numpy as np
import pytest

from loyalty_research.clv import _pareto as pnbd
from loyalty_research.clv._discount import Discounting, discounting


def rows(*columns):
    return [np.atleast_1d(np.asarray(c, dtype=float)) for c in columns]


def plain(t):
    return Discounting((0.0, float(t)), np.ones(1), 0.0)


def test_published_walkthrough(oracle):
    case = oracle("pnbd_walkthrough")
    given, expected, within = case["inputs"], case["expected"], case["tolerance"]
    one = given["customer_1516"]
    parameters, history = np.array(one["params"]), rows(one["x"], one["t_x"], one["T"])
    found = [
        pnbd.CORE.conditional(parameters, *history, plain(one["t"]))[0],
        pnbd.CORE.alive(parameters, *history)[0],
        pnbd.CORE.expected(parameters, np.array([float(one["t"])]))[0],
    ]
    np.testing.assert_allclose(found, expected["customer_1516"], atol=within["customer_1516"], rtol=0)
    many = given["paradox"]
    history = rows(many["x"], [many["t_x"]] * 4, [many["T"]] * 4)
    found = pnbd.CORE.conditional(np.array(many["params"]), *history, plain(many["t"]))
    np.testing.assert_allclose(found, expected["paradox"], atol=within["paradox"], rtol=0)
    once = given["palive_no_repeat"]
    found = pnbd.CORE.alive(np.array(once["params"]), *rows(once["x"], once["t_x"], once["T"]))[0]
    assert found == pytest.approx(expected["palive_no_repeat"], abs=within["palive_no_repeat"])


def test_hard_histories_agree_with_arbitrary_precision(oracle):
    case = oracle("pnbd_hard_histories")
    for given, truth in zip(case["inputs"], case["expected"], strict=True):
        parameters, history = np.array(given["params"]), rows(given["x"], given["t_x"], given["T"])
        value = pnbd.log_likelihood(parameters, *history, np.ones(1))[0]
        assert value == pytest.approx(truth["loglik"], rel=case["tolerance"])
        assert pnbd.CORE.alive(parameters, *history)[0] == pytest.approx(
            truth["alive"], rel=case["tolerance"]
        )


def test_endless_discounted_purchases_equal_the_closed_form(oracle):
    case = oracle("pnbd_dert")
    panels = discounting(
        annual_discount_rate=0.15, horizon=None, convention="continuous", periods_per_year=12, unit="W"
    )
    for given, truth in zip(case["inputs"], case["expected"], strict=True):
        history = rows(given["x"], given["t_x"], given["T"])
        found = pnbd.CORE.conditional(np.array(given["params"]), *history, panels)[0]
        assert found == pytest.approx(truth, rel=case["tolerance"])


@pytest.mark.parametrize("at", [(0.6, 1.4, 0.9, 2.2), (0.6, 0.02, 0.9, 40.0), (2.0, 30.0, 1.0, 0.1)])
def test_derivatives_are_those_of_the_value(at):
    rng = np.random.default_rng(3)
    x = rng.integers(0, 40, 60).astype(float)
    T = rng.uniform(0.5, 3, 60)
    recency = np.where(x > 0, T * rng.uniform(0.1, 1, 60), 0.0)
    recency[x > 30] = T[x > 30]
    at, weight = np.array(at), rng.uniform(0.5, 2, 60)
    _, gradient, hessian = pnbd.log_likelihood(at, x, recency, T, weight)
    moves = np.diag(1e-5 * at)
    ahead, behind = (
        [pnbd.log_likelihood(at + sign * move, x, recency, T, weight) for move in moves] for sign in (1, -1)
    )
    slopes = [(a[0] - b[0]) / (2e-5 * k) for a, b, k in zip(ahead, behind, at, strict=True)]
    bends = [(a[1] - b[1]) / (2e-5 * k) for a, b, k in zip(ahead, behind, at, strict=True)]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6)
    scale = np.sqrt(np.outer(np.abs(np.diag(hessian)), np.abs(np.diag(hessian))))
    np.testing.assert_allclose(hessian / scale, np.array(bends) / scale, atol=1e-6)


@pytest.mark.parametrize(
    "parameters", [(0.553, 10.58, 0.606, 11.67), (2.0, 5.0, 1.0, 30.0), (3.0, 40.0, 4.0, 2.0)]
)
def test_count_probabilities_add_up_to_one_and_to_the_mean(parameters):
    n = np.arange(3000.0)
    pmf = pnbd.CORE.pmf(np.array(parameters), n, np.full_like(n, 40.0))
    assert pmf.sum() == pytest.approx(1, abs=1e-9)
    assert pmf @ n == pytest.approx(pnbd.CORE.expected(np.array(parameters), np.array([40.0]))[0], rel=1e-6)


def test_nothing_happens_where_closed_forms_divide_by_zero():
    history = rows([0, 4, 40], [0, 30, 38], [39, 39, 39])
    at = [
        pnbd.CORE.conditional(np.array([0.5, 5.0, s, 9.0]), *history, plain(52))
        for s in (1 - 1e-7, 1, 1 + 1e-7)
    ]
    np.testing.assert_allclose(at[1], (at[0] + at[2]) / 2, rtol=1e-12)


def test_rows_in_many_chunks_give_the_same_sum():
    rng = np.random.default_rng(1)
    T = rng.uniform(5, 40, 9000)
    x = rng.poisson(2, 9000).astype(float)
    recency = np.where(x > 0, T * rng.uniform(0, 1, 9000), 0.0)
    at, weight = np.array([0.55, 10.6, 0.6, 11.7]), np.ones(9000)
    whole = pnbd.log_likelihood(at, x, recency, T, weight)[0]
    parts = sum(
        pnbd.log_likelihood(at, x[i : i + 999], recency[i : i + 999], T[i : i + 999], weight[i : i + 999])[0]
        for i in range(0, 9000, 999)
    )
    assert whole == pytest.approx(parts, rel=1e-13)


def test_simulated_purchases_have_the_expected_mean():
    parameters = np.array([0.8, 6.0, 0.9, 20.0])
    history = rows([0, 3, 12], [0, 20, 38], [39, 39, 39])
    many = [np.repeat(column, 40_000) for column in history]
    drawn = pnbd.simulate(np.random.default_rng(5), parameters, *many, 30.0).reshape(3, -1)
    expected = pnbd.CORE.conditional(parameters, *history, plain(30))
    error = drawn.std(axis=1) / np.sqrt(drawn.shape[1])
    assert (np.abs(drawn.mean(axis=1) - expected) < 4 * error).all()
