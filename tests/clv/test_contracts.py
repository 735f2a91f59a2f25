import json

import numpy as np
import pandas as pd
import pytest
from scipy import special

from loyalty_research.clv import (
    BetaDiscreteWeibull,
    BetaGeoNBD,
    ParetoNBD,
    ShiftedBetaGeometric,
    _contractual,
    likelihood_ratio_test,
)
from loyalty_research.clv._contractual import Spells
from loyalty_research.errors import ArgumentError, ContractError, ConvergenceError

MODELS = [ShiftedBetaGeometric, BetaDiscreteWeibull]


def _spells(truth, customers, seed, most=8):
    """Simulate contract spells cut off at ages spread over 1 to ``most`` periods."""
    rng = np.random.default_rng(seed)
    a, b = truth[:2]
    c = truth[2] if len(truth) > 2 else 1.0
    p = rng.beta(a, b, customers)
    # S(t) = (1 - p)^(t^c), so t is the first whole number with t^c log(1 - p) <= log(u)
    reach = (np.log(rng.random(customers)) / np.log1p(-p)) ** (1 / c)
    life = np.ceil(np.minimum(reach, 1e9))
    seen = rng.integers(1, most + 1, customers)
    return pd.DataFrame(
        {"periods": np.minimum(life, seen).astype(int), "churned": (life <= seen).astype(int)}
    )


@pytest.fixture(scope="module")
def spells():
    return _spells((0.8, 2.5), 3000, 1)


@pytest.fixture(scope="module")
def survivors():
    return pd.Series([1000.0, 869, 743, 653, 593, 551, 517, 491])


def test_published_fit(oracle):
    case = oracle("sbg_fit")
    found = np.concatenate(
        [
            ShiftedBetaGeometric().fit_cohorts(pd.Series(case["inputs"][segment])).params_
            for segment in ("highend", "regular")
        ]
    )
    np.testing.assert_allclose(found, case["expected"], atol=case["tolerance"], rtol=0)


@pytest.mark.parametrize("at", [(0.7, 3.8, 1.0), (2.5, 1.0, 1.6), (0.3, 20.0, 0.6)])
def test_derivatives_are_those_of_the_value(at):
    rng = np.random.default_rng(2)
    data = Spells(
        rng.integers(1, 15, 40).astype(float), rng.integers(0, 2, 40).astype(float), rng.uniform(1, 5, 40)
    )
    for free in (2, 3):
        derivatives, point = _contractual.objective(data, free), np.array(at)[:free]
        _, gradient, hessian = derivatives(point)
        moves = np.diag(1e-5 * point)
        slopes = [(derivatives(point + m)[0] - derivatives(point - m)[0]) / (2 * m.max()) for m in moves]
        bends = [(derivatives(point + m)[1] - derivatives(point - m)[1]) / (2 * m.max()) for m in moves]
        np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(hessian, bends, rtol=1e-5, atol=1e-5)


def test_likelihood_is_the_product_of_published_probabilities(spells):
    # P(T = t) by the forward recursion of Fader and Hardie (2007), equation 7
    model = ShiftedBetaGeometric().fit(spells)
    a, b = model.params_
    left = [a / (a + b)]
    for t in range(2, 9):
        left.append(left[-1] * (b + t - 2) / (a + b + t - 1))
    stay = 1 - np.cumsum(left)
    t = spells["periods"].to_numpy() - 1
    whole = np.log(np.where(spells["churned"] == 1, np.array(left)[t], stay[t])).sum()
    assert model.log_likelihood_ == pytest.approx(whole, rel=1e-12)
    np.testing.assert_allclose(model.survival(np.arange(1, 9)), stay, rtol=1e-12)
    t = np.arange(1, 9)
    np.testing.assert_allclose(model.retention_rate(t), (b + t - 1) / (a + b + t - 1), rtol=1e-12)


@pytest.mark.parametrize(
    ("model", "truth"), [(ShiftedBetaGeometric, (0.8, 2.5)), (BetaDiscreteWeibull, (0.9, 4.0, 1.4))]
)
def test_parameters_are_recovered(model, truth):
    found = model().fit(_spells(truth, 60_000, 5, most=14))
    errors = (np.log(found.params_) - np.log(truth)) / (found.standard_errors_ / found.params_)
    assert np.abs(errors).max() < 3.5
    assert (found.standard_errors_ / found.params_).max() < 0.4


def test_cohorts_and_their_members_say_the_same(spells):
    single = ShiftedBetaGeometric().fit(spells)
    counts = spells.value_counts().rename("customers").reset_index()
    weighted = ShiftedBetaGeometric().fit(counts, weights="customers")
    # the same people as cohorts: everybody of one age is one cohort
    rng = np.random.default_rng(1)
    age = rng.integers(3, 7, 4000)
    life = np.ceil(np.log(rng.random(4000)) / np.log1p(-rng.beta(0.8, 2.5, 4000)))
    people = pd.DataFrame({"periods": np.minimum(life, age), "churned": (life <= age).astype(int)})
    table = pd.DataFrame(
        [
            {"cohort": f"age {a}", "period": t, "survivors": int((life[age == a] > t).sum())}
            for a in range(3, 7)
            for t in range(a + 1)
        ]
    )
    one, other = ShiftedBetaGeometric().fit(people), ShiftedBetaGeometric().fit_cohorts(table)
    for first, second in ((single, weighted), (one, other)):
        np.testing.assert_allclose(first.params_, second.params_, rtol=1e-8)
        np.testing.assert_allclose(first.standard_errors_, second.standard_errors_, rtol=1e-7)
        assert first.n_customers_ == second.n_customers_
    shuffled = table.sample(frac=1, random_state=3)
    assert ShiftedBetaGeometric().fit_cohorts(shuffled).fingerprint_ == other.fingerprint_


def test_a_cohort_first_seen_late_counts_from_there():
    share = special.beta(0.8, 2.5 + np.arange(3, 9.0))
    whole = pd.Series(np.rint(10_000 * share / share[0]), index=range(3, 9))
    gone = -np.diff(whole)
    model = ShiftedBetaGeometric().fit_cohorts(whole)
    a, b = model.params_
    t = np.arange(4, 9)
    rate = (b + t - 1) / (a + b + t - 1)
    risk = whole.to_numpy()[:-1]
    direct = gone @ np.log1p(-rate) + (risk - gone) @ np.log(rate)
    assert model.log_likelihood_ == pytest.approx(direct, rel=1e-11)
    assert model.n_customers_ == 10_000
    assert model.observed_["period"].tolist() == t.tolist()
    # a cohort that ends where another begins takes nobody away
    short = pd.DataFrame({"cohort": "b", "period": range(4), "survivors": [500, 400, 330, 290]})
    late = pd.DataFrame({"cohort": "a", "period": whole.index, "survivors": whole.to_numpy()})
    assert ShiftedBetaGeometric().fit_cohorts(pd.concat([late, short])).n_customers_ == 10_500
    np.testing.assert_allclose(model.observed_["at_risk"], risk)


def test_residual_lifetime_is_the_sum_of_discounted_survival(survivors):
    for model in MODELS:
        found = model().fit_cohorts(survivors)
        made, t = np.array([0, 3, 11]), np.arange(1, 700)
        expected = [(found.survival(m + t) / found.survival(m) * 1.1 ** -(t - 1.0)).sum() for m in made]
        ours = found.discounted_residual_lifetime(made, annual_discount_rate=0.1)
        np.testing.assert_allclose(ours["expected"], expected, rtol=1e-10)
        assert (ours["low"] < ours["expected"]).all()
        assert (ours["expected"] < ours["high"]).all()
        # a year later, five renewals, monthly contracts
        near = found.discounted_residual_lifetime(
            3, annual_discount_rate=0.1, periods_per_year=12, horizon=5
        )["expected"]
        monthly = 1.1 ** (-np.arange(5) / 12)
        np.testing.assert_allclose(near, found.survival(3 + t[:5]) / found.survival(3) @ monthly, rtol=1e-12)
        free = found.discounted_residual_lifetime(3, annual_discount_rate=0, horizon=5)["expected"]
        np.testing.assert_allclose(free, (found.survival(3 + t[:5]) / found.survival(3)).sum(), rtol=1e-12)


def test_weibull_contains_the_geometric(survivors):
    narrow, wide = (model().fit_cohorts(survivors) for model in MODELS)
    assert wide.log_likelihood_ > narrow.log_likelihood_
    t, at = np.arange(1.0, 30), np.array([0.7, 3.8])
    np.testing.assert_allclose(
        _contractual.log_survival(np.append(at, 1.0), t), _contractual.log_survival(at, t), rtol=1e-14
    )
    np.testing.assert_allclose(
        np.exp(_contractual.log_survival(np.array([0.7, 3.8, 1.5]), t)),
        special.beta(0.7, 3.8 + t**1.5) / special.beta(0.7, 3.8),
        rtol=1e-10,
    )


@pytest.mark.parametrize("model", MODELS)
def test_projection_beside_what_happened(model):
    survivors = pd.Series([1000.0, 631, 468, 382, 326, 289, 262, 241])
    fit = model().fit_cohorts(survivors)
    result = fit.projection(12)
    frame = result.periods
    assert frame["fitted"].sum() == 7
    assert frame["actual"].notna().sum() == 7
    np.testing.assert_allclose(frame["actual"][:7], survivors[1:] / 1000)
    assert (frame["low"] < frame["survival"]).all()
    assert (frame["survival"] < frame["high"]).all()
    assert ((frame["actual"] >= frame["low"]) & (frame["actual"] <= frame["high"]))[:7].all()
    assert (np.diff(frame["survival"]) < 0).all()
    assert "last 5 of these periods are projected" in result.verdict()
    assert "still there" in fit.projection(3).verdict()
    axes = result.plot()
    assert len(axes.lines) >= 3
    json.dumps(result.to_dict(), allow_nan=False)
    later = pd.Series([0.22, 0.21], index=[8, 9])
    assert fit.projection(9, actual=later).periods["actual"].notna().sum() == 2


@pytest.mark.parametrize("model", MODELS)
def test_saved_and_loaded(survivors, model):
    ours = model().fit_cohorts(survivors)
    again = model.from_json(ours.to_json())
    pd.testing.assert_frame_equal(again.summary, ours.summary)
    assert again.to_json() == ours.to_json()
    assert again.projection(9).periods["actual"].isna().all()
    assert again.verdict() == ours.verdict()
    assert "<table" in ours._repr_html_()


def test_likelihood_ratio(survivors, sample):
    narrow, wide = (model().fit_cohorts(survivors) for model in MODELS)
    found = likelihood_ratio_test(narrow, wide)
    assert found.statistic == pytest.approx(2 * (wide.log_likelihood_ - narrow.log_likelihood_))
    assert found.degrees_of_freedom == 1
    assert found.p_value == pytest.approx(special.chdtrc(1, found.statistic))
    assert found.added == ("c",)
    assert "data speak for c" in found.verdict()
    early = sample.assign(early=sample["T"] > 32, coin=np.arange(len(sample)) % 2)
    plain = BetaGeoNBD().fit(early)
    one = BetaGeoNBD().fit(early, purchase_covariates=["early"])
    both = BetaGeoNBD().fit(early, purchase_covariates=["early", "coin"], dropout_covariates=["early"])
    assert likelihood_ratio_test(plain, one).degrees_of_freedom == 1
    assert likelihood_ratio_test(one, both).added == ("purchase[coin]", "dropout[early]")
    assert (
        "no proof"
        in likelihood_ratio_test(plain, BetaGeoNBD().fit(early, purchase_covariates=["coin"])).verdict()
    )
    other = BetaGeoNBD().fit(early.assign(coin=np.roll(early["coin"], 1)), purchase_covariates=["coin"])
    for first, second, said in (
        (one, plain, "more covariates than the restricted"),
        (plain, plain, "more covariates than the restricted"),
        (plain, ParetoNBD().fit(early), "not a special case of ParetoNBD"),
        (other, both, "coin had different values"),
        (BetaGeoNBD().fit(early.head(2000)), one, "fitted to different data"),
        (BetaGeoNBD(penalizer=0.1).fit(early), one, "penalizer=0.1"),
        (BetaGeoNBD().fit(early, dropout_covariates=["coin"]), both, "lacks the dropout covariate coin"),
        (
            BetaGeoNBD(dropout_form="both").fit(early, dropout_covariates=["early"]),
            both,
            "differ in dropout_form",
        ),
        (wide, wide, "both have 3"),
        ("plain", one, "got str"),
    ):
        with pytest.raises(ArgumentError, match=said):
            likelihood_ratio_test(first, second)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda df: df.assign(periods=df["periods"] - 10), "periods: values that are not whole numbers of 0"),
        (lambda df: df.assign(periods=df["periods"] + 0.5), "not whole numbers of 0 or more in 3,000 rows"),
        (lambda df: df.assign(churned=2), "churned: values other than 0 and 1"),
        (lambda df: df.assign(periods=0, churned=1), "left after 0 periods"),
        (lambda df: df.assign(churned=0), "nobody left"),
        (lambda df: df.assign(periods=1), "1 renewal observed, and Shifted beta-geometric needs at least 2"),
        (lambda df: df.drop(columns="churned"), "missing column churned"),
        (lambda df: df.iloc[:0], "empty"),
    ],
)
def test_bad_spells_are_refused(spells, change, said):
    with pytest.raises(ContractError, match=said):
        ShiftedBetaGeometric().fit(change(spells))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pd.Series([100.0, 80, 90]), r"more survivors than in the period before in 1 row \(at position 2\)"),
        (pd.Series([100.0, 80, 70], index=[0, 1, 3]), "do not follow the one before"),
        (pd.Series([100.0, 80, -1]), "not counts of 0 or more"),
        (pd.Series([100.0, np.nan, 70]), "not counts of 0 or more"),
        (pd.DataFrame({"period": [0, 1, 1], "survivors": [9, 8, 7]}), "without gaps"),
        (
            pd.DataFrame({"cohort": ["a", None], "period": [0, 1], "survivors": [9, 8]}),
            "missing cohorts in 1 row",
        ),
        (pd.Series([100.0, 80]), "needs at least 2"),
        (pd.Series([100.0, 100, 100]), "nobody left"),
    ],
)
def test_bad_cohorts_are_refused(table, said):
    with pytest.raises(ContractError, match=said):
        ShiftedBetaGeometric().fit_cohorts(table)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.survival(-1),
        lambda m: m.survival(1.5),
        lambda m: m.retention_rate(0),
        lambda m: m.projection(0),
        lambda m: m.projection(5, level=1.0),
        lambda m: m.discounted_residual_lifetime(1, annual_discount_rate=0),
        lambda m: m.discounted_residual_lifetime(1, annual_discount_rate=-0.1),
        lambda m: m.discounted_residual_lifetime(-1, annual_discount_rate=0.1),
        lambda m: m.discounted_residual_lifetime(1, annual_discount_rate=0.1, horizon=0),
        lambda m: m.discounted_residual_lifetime(1, annual_discount_rate=0.1, periods_per_year=0),
        lambda m: ShiftedBetaGeometric().survival(1),
    ],
)
def test_bad_options_are_refused(survivors, call):
    with pytest.raises(ArgumentError):
        call(ShiftedBetaGeometric().fit_cohorts(survivors))


def test_shares_outside_the_range_are_refused(survivors):
    with pytest.raises(ContractError, match="between 0 and 1"):
        ShiftedBetaGeometric().fit_cohorts(survivors).projection(9, actual=survivors)


def test_a_fit_without_a_maximum_raises_and_a_penalty_mends_it():
    # the same retention in every period: customers do not differ, and both parameters run off
    alike = pd.Series([1000.0, 800, 640, 512, 409.6])
    with pytest.raises(ConvergenceError, match=r"alpha and beta run off to infinity.*penalizer="):
        ShiftedBetaGeometric().fit_cohorts(alike)
    assert ShiftedBetaGeometric(penalizer=0.1).fit_cohorts(alike).converged_
