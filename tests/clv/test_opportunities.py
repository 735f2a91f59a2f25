import json
import warnings

import numpy as np
import pandas as pd
import pytest

from loyalty_research.clv import BetaGeoBetaBinomial, BetaGeoNBD
from loyalty_research.clv import _beta_binomial as bb
from loyalty_research.clv._discount import Discounting, discounting
from loyalty_research.errors import ArgumentError, ContractError

AT = np.array([1.2, 0.75, 0.66, 2.78])


def plain(t):
    return Discounting((0.0, float(t)), np.ones(1), 0.0)


@pytest.fixture
def donors(oracle):
    given = oracle("bgbb_fit_and_palive")["inputs"]["params"]
    return pd.DataFrame({name: given[name] for name in ("frequency", "recency", "T", "donors")})


@pytest.fixture
def model(donors):
    return BetaGeoBetaBinomial().fit(donors, weights="donors", unit="Y")


def _draw(customers, seed, *, truth=(1.2, 0.75, 0.9, 3.0), periods=10):
    rng = np.random.default_rng(seed)
    a, b, c, d = truth
    buying, leaving = rng.beta(a, b, customers), rng.beta(c, d, customers)
    there = np.ones(customers, dtype=bool)
    x, recency = np.zeros(customers), np.zeros(customers)
    for period in range(1, periods + 1):
        there &= rng.random(customers) >= leaving
        bought = there & (rng.random(customers) < buying)
        x, recency = x + bought, np.where(bought, period, recency)
    return pd.DataFrame({"frequency": x, "recency": recency, "T": periods})


def test_published_fit_and_alive(model, oracle):
    case = oracle("bgbb_fit_and_palive")
    expected, within = case["expected"], case["tolerance"]
    assert model.params_.to_dict() == pytest.approx(expected["params"], abs=within["params"])
    assert model.log_likelihood_ == pytest.approx(expected["loglik"], abs=within["loglik"])
    assert model.n_customers_ == 11_104
    patterns = np.array(case["inputs"]["palive"]["x_tx_n"], dtype=float)
    rows = pd.DataFrame(patterns, columns=["frequency", "recency", "T"])
    np.testing.assert_allclose(
        model.probability_alive(rows), expected["palive"], atol=within["palive"], rtol=0
    )


def test_peer_discounted_transactions(oracle):
    case = oracle("bgbb_dert")
    given = case["inputs"]
    rows = [np.array([float(given[k])]) for k in ("x", "t_x", "n")]
    panels = discounting(
        annual_discount_rate=given["d"],
        horizon=None,
        convention="continuous",
        periods_per_year=1,
        unit="Y",
    )
    at = np.array(given["params"])
    found = [bb.CORE.conditional(at, *rows, panels)[0], bb.CORE.alive(at, *rows)[0]]
    np.testing.assert_allclose(found, case["expected"], atol=case["tolerance"], rtol=0)


def test_agrees_with_lifetimes(model, donors):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lifetimes = pytest.importorskip("lifetimes")
        peer = lifetimes.BetaGeoBetaBinomFitter()
        columns = [donors[c] for c in ("frequency", "recency", "T")]
        peer.fit(*columns, weights=donors["donors"], tol=1e-7)
        np.testing.assert_allclose(peer.params_[list(model.params_.index)], model.params_, rtol=1e-3)
        peer.params_ = model.params_
        ahead = peer.conditional_expected_number_of_purchases_up_to_time(5, *columns)
        alive = peer.conditional_probability_alive(1, *columns)
        new = [peer.expected_number_of_transactions_in_first_n_periods(6)]
    np.testing.assert_allclose(model.conditional_expected_purchases(5, donors), ahead, rtol=1e-9)
    np.testing.assert_allclose(model.probability_alive(donors), alive, rtol=1e-9)
    ours = model.purchase_count_pmf(np.arange(7), 6) * 11_104
    np.testing.assert_allclose(ours, new[0]["model"], rtol=1e-6)


@pytest.mark.parametrize("at", [AT, np.array([0.3, 5.0, 1.0, 0.4]), np.array([8.0, 2.0, 0.1, 30.0])])
def test_derivatives_are_those_of_the_value(at):
    rng = np.random.default_rng(3)
    T = rng.integers(1, 30, 50).astype(float)
    recency = np.floor(rng.random(50) * (T + 1))
    x = np.where(recency > 0, 1 + np.floor(rng.random(50) * recency), 0)
    value, gradient, hessian = bb.row_terms(at, x, recency, T)
    np.testing.assert_allclose(value, bb.log_likelihood(at, x, recency, T), rtol=1e-13)
    for k, move in enumerate(np.diag(1e-5 * at)):
        up, down = (bb.row_terms(at + sign * move, x, recency, T) for sign in (1, -1))
        np.testing.assert_allclose(gradient[k], (up[0] - down[0]) / (2 * move.max()), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(hessian[k], (up[1] - down[1]) / (2 * move.max()), rtol=1e-5, atol=1e-6)


def test_rows_in_many_pieces_give_the_same(monkeypatch):
    frame = _draw(500, 1, periods=20)
    rows = [frame[c].to_numpy() for c in ("frequency", "recency", "T")]
    whole = bb.row_terms(AT, *rows)
    monkeypatch.setattr(bb, "_CHUNK", 97)
    for one, other in zip(whole, bb.row_terms(AT, *rows), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


@pytest.mark.parametrize("at", [AT, np.array([0.5, 2.0, 1.0, 3.0])])
def test_probabilities_of_all_patterns_add_up(at):
    # every pattern (x, t_x) of 8 opportunities, times the orders of the other purchases
    from scipy.special import comb

    x, recency = (part.ravel() for part in np.meshgrid(np.arange(9.0), np.arange(9.0)))
    fits = (x <= recency) & ((x > 0) == (recency > 0))
    x, recency = x[fits], recency[fits]
    orders = np.where(x > 0, comb(recency - 1, x - 1), 1.0)
    chance = orders * np.exp(bb.log_likelihood(at, x, recency, np.full_like(x, 8.0)))
    assert chance.sum() == pytest.approx(1, abs=1e-12)
    pmf = bb.CORE.pmf(at, np.arange(9.0), np.full(9, 8.0))
    np.testing.assert_allclose(pmf, np.bincount(x.astype(int), weights=chance), rtol=1e-11)
    assert bb.CORE.expected(at, np.array([8.0]))[0] == pytest.approx(pmf @ np.arange(9), rel=1e-11)
    # what is expected after 5 opportunities is what 8 bring beyond 5
    five = (recency <= 5) & (x <= 5)
    begun = orders[five] * np.exp(bb.log_likelihood(at, x[five], recency[five], np.full(five.sum(), 5.0)))
    rest = bb.CORE.conditional(at, x[five], recency[five], np.full(five.sum(), 5.0), plain(3))
    gain = np.diff(bb.CORE.expected(at, np.array([5.0, 8.0])))[0]
    assert begun @ rest == pytest.approx(gain, rel=1e-11)


def test_nothing_happens_where_closed_forms_divide_by_zero():
    rows = [np.array([0.0, 2, 5]), np.array([0.0, 4, 6]), np.full(3, 6.0)]
    found = [
        bb.CORE.conditional(np.array([1.2, 0.75, c, 2.78]), *rows, plain(5)) for c in (1 - 1e-7, 1, 1 + 1e-7)
    ]
    np.testing.assert_allclose(found[1], (found[0] + found[2]) / 2, rtol=1e-12)


def test_discounting_counts_opportunities(model, donors):
    def det(**options):
        return model.discounted_expected_transactions(donors, **options)

    ahead = [model.conditional_expected_purchases(k, donors) for k in range(4)]
    direct = sum((ahead[k] - ahead[k - 1]) * 1.1**-k for k in range(1, 4))
    np.testing.assert_allclose(det(annual_discount_rate=0.1, horizon=3), direct, rtol=1e-12)
    late = det(annual_discount_rate=0.1, horizon=3, convention="end-of-period", periods_per_year=1)
    np.testing.assert_allclose(late, direct, rtol=1e-12)
    free = det(annual_discount_rate=0, horizon=3)
    np.testing.assert_allclose(free, ahead[3], rtol=1e-12)
    endless, long = det(annual_discount_rate=0.1), det(annual_discount_rate=0.1, horizon=400)
    np.testing.assert_allclose(endless, long, rtol=1e-9)
    monthly = BetaGeoBetaBinomial().fit(donors, weights="donors", unit="M")
    year = monthly.discounted_expected_transactions(donors, annual_discount_rate=1.1**12 - 1)
    np.testing.assert_allclose(year, endless, rtol=1e-9)


def test_parameters_are_recovered_and_weights_mean_copies():
    truth = np.array([1.2, 0.75, 0.9, 3.0])
    frame = _draw(20_000, 7)
    found = BetaGeoBetaBinomial().fit(frame)
    errors = (np.log(found.params_) - np.log(truth)) / (found.standard_errors_ / found.params_)
    assert np.abs(errors).max() < 3.5
    counts = frame.value_counts().rename("customers").reset_index()
    again = BetaGeoBetaBinomial().fit(counts, weights="customers")
    np.testing.assert_allclose(again.params_, found.params_, rtol=1e-8)
    assert again.fingerprint_ == found.fingerprint_
    assert again.n_rows_ == len(counts)


def test_simulated_purchases_have_the_expected_mean():
    rows = [np.array([0.0, 2, 6]), np.array([0.0, 4, 6]), np.full(3, 6.0)]
    many = [np.repeat(column, 40_000) for column in rows]
    drawn = bb.simulate(np.random.default_rng(5), AT, *many, 5.0).reshape(3, -1)
    expected = bb.CORE.conditional(AT, *rows, plain(5))
    error = drawn.std(axis=1) / np.sqrt(drawn.shape[1])
    assert (np.abs(drawn.mean(axis=1) - expected) < 4 * error).all()


def test_result_protocol(model, donors):
    again = BetaGeoBetaBinomial.from_json(model.to_json())
    pd.testing.assert_frame_equal(again.summary, model.summary)
    assert again.to_json() == model.to_json()
    np.testing.assert_allclose(again.probability_alive(donors), model.probability_alive(donors), rtol=1e-12)
    assert "within a year" in model.verdict()
    json.dumps(model.to_dict(), allow_nan=False)
    grid = model.activity(6)
    assert grid.shape == (6, 6)
    assert grid.isna().sum().sum() == 15
    assert len(model.plot_activity(6).get_xlabel())
    with pytest.raises(ContractError, match="is a BetaGeoBetaBinomial"):
        BetaGeoNBD.from_json(model.to_json())


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (
            lambda df: df.assign(T=6.5),
            ContractError,
            "T: values that are not whole numbers of opportunities in 22",
        ),
        (
            lambda df: df.assign(recency=df["recency"] * 0.99),
            ContractError,
            "recency: values that are not whole",
        ),
        (
            lambda df: df.assign(frequency=df["frequency"] * 2),
            ContractError,
            "more purchases than opportunities",
        ),
        (lambda df: df.assign(recency=7), ContractError, "recency greater than T"),
        (lambda df: df.drop(columns="T"), ContractError, "missing column T"),
    ],
)
def test_rows_that_cannot_be_patterns_are_refused(donors, change, error, said):
    with pytest.raises(error, match=said):
        BetaGeoBetaBinomial().fit(change(donors), weights="donors")


def test_bad_options_are_refused(model, donors):
    for call in (
        lambda: model.conditional_expected_purchases(2.5, donors),
        lambda: model.expected_purchases(0.5),
        lambda: model.activity(1),
        lambda: model.activity(6.5),
        lambda: BetaGeoBetaBinomial().fit(donors, unit="H"),
        lambda: BetaGeoBetaBinomial().fit(donors.assign(z=1), purchase_covariates=["z"]),
        lambda: model.discounted_expected_transactions(donors, annual_discount_rate=0.1, horizon=1e9),
    ):
        with pytest.raises(ArgumentError):
            call()
