import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as sps

from loyalty_research.errors import ArgumentError
from loyalty_research.stats import proportions as pr

METHODS = ("newcombe", "miettinen-nurminen", "agresti-caffo", "mee", "wald")
CARWASH = (51, 150, 28, 150)


@st.composite
def tables(draw, most=40):
    n1, n2 = draw(st.integers(1, most)), draw(st.integers(1, most))
    return draw(st.integers(0, n1)), n1, draw(st.integers(0, n2)), n2


def near(case):
    return {"abs": case["tolerance"], "rel": 0}


def test_carwash_difference(oracle):
    case = oracle("carwash_rd_newcombe")
    want = case["expected"]
    got = pr.difference_in_proportions(*CARWASH)
    assert got.value == pytest.approx(want["rd"], **near(case))
    assert (got.low, got.high) == pytest.approx(want["ci95"], **near(case))
    assert got.unit == "fraction"
    assert got.n == 300
    wald = pr.difference_in_proportions(*CARWASH, method="wald")
    assert (wald.low, wald.high) == pytest.approx(want["wald_ci95"], **near(case))
    needed = pr.number_needed_to_treat(*CARWASH)
    assert needed.value == pytest.approx(want["nnt"], **near(case))
    assert (needed.low, needed.high) == pytest.approx(want["nnt_ci95"], **near(case))


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("newcombe_56_70", "newcombe"),
        ("miettinen_nurminen_56_70", "miettinen-nurminen"),
        ("mee_56_70", "mee"),
    ],
)
def test_published_intervals(oracle, name, method):
    case = oracle(name)
    x = case["inputs"]
    got = pr.difference_in_proportions(x["x1"], x["n1"], x["x2"], x["n2"], method=method)
    assert (got.low, got.high) == pytest.approx(case["expected"], **near(case))


def test_score_intervals_to_full_precision():
    # the digits given in the note of miettinen_nurminen_56_70 and mee_56_70
    inflated = pr.difference_in_proportions(56, 70, 48, 80, method="miettinen-nurminen")
    plain = pr.difference_in_proportions(56, 70, 48, 80, method="mee")
    assert (inflated.low, inflated.high) == pytest.approx((0.0528297, 0.3381730), abs=6e-8)
    assert (plain.low, plain.high) == pytest.approx((0.0533338, 0.3377295), abs=6e-8)


def test_agresti_caffo_equals_statsmodels():
    from statsmodels.stats.proportion import confint_proportions_2indep

    got = pr.difference_in_proportions(*CARWASH, method="agresti-caffo")
    assert (got.low, got.high) == pytest.approx(
        confint_proportions_2indep(*CARWASH, method="agresti-caffo", compare="diff"), abs=1e-12
    )


def test_carwash_score_interval_where_statsmodels_is_wrong():
    got = pr.difference_in_proportions(*CARWASH, method="miettinen-nurminen")
    assert (got.low, got.high) == pytest.approx((0.0541, 0.2508), abs=5e-5)
    # and the table on which it raises
    hard = pr.difference_in_proportions(9, 10, 3, 10, method="miettinen-nurminen")
    assert -1 < hard.low < 0.6 < hard.high < 1


def score_limits_by_search(x1, n1, x2, n2, inflation):
    """Maximise the constrained likelihood numerically, then step along delta for the limits."""
    z = sps.norm.isf(0.025)

    def excess(delta):
        lo, hi = max(0.0, delta), min(1.0, 1 + delta)

        def minus_log(p):
            q = p - delta
            terms = [(x1, p), (n1 - x1, 1 - p), (x2, q), (n2 - x2, 1 - q)]
            return -sum(k * math.log(max(r, 1e-300)) for k, r in terms if k)

        found = optimize.minimize_scalar(
            minus_log, bounds=(lo, hi), method="bounded", options={"xatol": 1e-12}
        )
        best = min((lo, hi, found.x), key=minus_log)
        q = best - delta
        return (x1 / n1 - x2 / n2 - delta) ** 2 - inflation * z * z * (
            best * (1 - best) / n1 + q * (1 - q) / n2
        )

    observed = x1 / n1 - x2 / n2
    limits = []
    for end in (-1.0, 1.0):
        grid = np.linspace(observed, end, 400)[1:-1]
        outside = [d for d in grid if excess(d) > 0]
        if not outside:
            limits.append(end)
            continue
        step = abs(grid[1] - grid[0])
        first = outside[0]
        back = first - math.copysign(step, end)
        limits.append(first if excess(back) > 0 else optimize.brentq(excess, *sorted((back, first))))
    return limits


@pytest.mark.parametrize(
    "table",
    [
        (0, 10, 0, 12),
        (10, 10, 0, 10),
        (0, 10, 10, 10),
        (9, 10, 3, 10),
        (5, 5, 7, 9),
        (0, 8, 3, 20),
        (1, 3, 2, 3),
    ],
)
def test_score_intervals_equal_a_numerical_search(table):
    _, n1, _, n2 = table
    got = pr.difference_in_proportions(*table, method="mee")
    assert (got.low, got.high) == pytest.approx(score_limits_by_search(*table, 1.0), abs=2e-6)
    inflated = pr.difference_in_proportions(*table, method="miettinen-nurminen")
    want = score_limits_by_search(*table, (n1 + n2) / (n1 + n2 - 1))
    assert (inflated.low, inflated.high) == pytest.approx(want, abs=2e-6)


@settings(max_examples=150, deadline=None)
@given(tables(), st.sampled_from(METHODS))
def test_difference_is_antisymmetric_and_holds_its_estimate(table, method):
    x1, n1, x2, n2 = table
    got = pr.difference_in_proportions(x1, n1, x2, n2, method=method)
    back = pr.difference_in_proportions(x2, n2, x1, n1, method=method)
    flipped = pr.difference_in_proportions(n1 - x1, n1, n2 - x2, n2, method=method)
    assert -1 <= got.low <= got.high <= 1
    if method != "agresti-caffo":  # it centres elsewhere
        assert got.low - 1e-12 <= got.value <= got.high + 1e-12
    assert (-back.high, -back.low) == pytest.approx((got.low, got.high), abs=1e-9)
    assert (-flipped.high, -flipped.low) == pytest.approx((got.low, got.high), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(tables())
def test_mee_interval_agrees_with_its_p_value(table):
    got = pr.difference_in_proportions(*table, method="mee")
    if abs(got.p_value - 0.05) > 1e-6:
        assert (got.low > 0 or got.high < 0) == (got.p_value < 0.05)


@pytest.mark.parametrize(("method", "least"), [("newcombe", 0.93), ("miettinen-nurminen", 0.94)])
def test_coverage_by_enumeration(method, least):
    """Every table of 24 v 20 is weighed by its probability: coverage without simulation error."""
    n1, n2 = 24, 20
    limits = np.array(
        [
            [
                (e.low, e.high)
                for x2 in range(n2 + 1)
                for e in [pr.difference_in_proportions(x1, n1, x2, n2, method=method)]
            ]
            for x1 in range(n1 + 1)
        ]
    )
    coverage = []
    for p1 in np.arange(0.05, 1, 0.09):
        for p2 in np.arange(0.05, 1, 0.09):
            weight = np.outer(
                sps.binom.pmf(np.arange(n1 + 1), n1, p1), sps.binom.pmf(np.arange(n2 + 1), n2, p2)
            )
            inside = (limits[..., 0] <= p1 - p2) & (p1 - p2 <= limits[..., 1])
            coverage.append((weight * inside).sum())
    assert np.mean(coverage) == pytest.approx(0.955, abs=0.012)
    assert min(coverage) > least - 0.02
    assert np.quantile(coverage, 0.05) > least


def test_carwash_ratios(oracle):
    case = oracle("carwash_rr_or")
    want = case["expected"]
    ratio = pr.risk_ratio(*CARWASH)
    assert ratio.value == pytest.approx(want["rr"], **near(case))
    assert (ratio.low, ratio.high) == pytest.approx(want["rr_ci95_katz"], **near(case))
    odds = pr.odds_ratio(*CARWASH)
    assert odds.value == pytest.approx(want["or"], **near(case))
    assert (odds.low, odds.high) == pytest.approx(want["or_ci95_woolf"], **near(case))
    exact = pr.odds_ratio(*CARWASH, method="exact-conditional")
    assert (exact.low, exact.high) == pytest.approx(want["cond_or_ci95_exact"], **near(case))


def test_koopman_inverts_the_score_test_and_nears_katz():
    got = pr.risk_ratio(*CARWASH, method="koopman")
    assert (got.low, got.high) == pytest.approx((1.219, 2.722), abs=0.02)
    # at a limit, Pearson's chi-squared against rates in that ratio equals the critical value
    x1, n1, x2, n2 = CARWASH
    for limit in (got.low, got.high):

        def minus_log(q, r=limit):
            return -(sps.binom.logpmf(x1, n1, r * q) + sps.binom.logpmf(x2, n2, q))

        q = optimize.minimize_scalar(
            minus_log, bounds=(1e-6, min(1, 1 / limit) - 1e-9), method="bounded", options={"xatol": 1e-12}
        ).x
        p = limit * q
        chi2 = (x1 - n1 * p) ** 2 / (n1 * p * (1 - p)) + (x2 - n2 * q) ** 2 / (n2 * q * (1 - q))
        assert chi2 == pytest.approx(sps.chi2.isf(0.05, 1), abs=1e-5)


def test_empty_cells_name_the_interval_that_stands_in():
    none = pr.risk_ratio(0, 50, 5, 50)
    assert none.method == "koopman"
    assert (none.value, none.low) == (0.0, 0.0)
    assert 0 < none.high < 1
    some = pr.risk_ratio(5, 50, 0, 50)
    assert some.value == some.high == math.inf
    assert some.low == pytest.approx(1 / none.high, rel=1e-9)
    nothing = pr.risk_ratio(0, 50, 0, 50)
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (0.0, math.inf)
    all_or_none = pr.odds_ratio(50, 50, 0, 50)
    assert all_or_none.method == "exact-conditional"
    assert all_or_none.high == math.inf
    assert all_or_none.low > 100
    assert math.isnan(pr.odds_ratio(50, 50, 50, 50).value)
    assert pr.risk_ratio(50, 50, 50, 50, method="koopman").low == pytest.approx(
        1 / pr.risk_ratio(50, 50, 50, 50, method="koopman").high, rel=1e-6
    )


def test_number_needed_has_no_interval_when_the_difference_may_be_nothing():
    vague = pr.number_needed_to_treat(30, 150, 28, 150)
    assert vague.value == pytest.approx(75)
    assert math.isnan(vague.low)
    assert math.isnan(vague.high)
    harm = pr.number_needed_to_treat(28, 150, 51, 150)
    assert harm.low < harm.value < harm.high < 0
    assert pr.number_needed_to_treat(5, 50, 5, 50).value == math.inf


def test_carwash_exact_tests(oracle):
    case = oracle("carwash_exact_tests")
    want = case["expected"]
    for kind, name in (
        ("fisher", "fisher_two_sided_p"),
        ("boschloo", "boschloo_two_sided_p"),
        ("barnard", "barnard_pooled_two_sided_p"),
    ):
        assert pr.exact_test(*CARWASH, kind=kind).p_value == pytest.approx(want[name], **near(case))
    assert pr.difference_in_proportions(*CARWASH).p_value == pytest.approx(want["pearson_p"], abs=1e-9)


def test_exact_tests_at_the_edges():
    for kind in ("fisher", "boschloo", "barnard"):
        assert pr.exact_test(0, 10, 0, 12, kind=kind).p_value == 1.0
        assert pr.exact_test(10, 10, 0, 10, kind=kind).p_value < 1e-4
    with pytest.raises(ArgumentError, match="use kind='fisher'"):
        pr.exact_test(10, 3000, 20, 3000, kind="boschloo")


def test_carwash_posterior(oracle):
    case = oracle("carwash_bayes_beta_binomial")
    want = case["expected"]
    got = pr.beta_binomial_difference(*CARWASH)
    assert got.mean == pytest.approx(want["post_mean_diff"], **near(case))
    assert (got.low, got.high) == pytest.approx(want["eti95"], **near(case))
    for margin, name in ((0, "pr_diff_gt_0"), (0.05, "pr_diff_gt_0.05"), (0.10, "pr_diff_gt_0.10")):
        assert got.pr_above(margin) == pytest.approx(want[name], **near(case))
    jeffreys = pr.beta_binomial_difference(*CARWASH, prior=(0.5, 0.5))
    assert jeffreys.pr_above(0) == pytest.approx(want["pr_gt_0_jeffreys"], **near(case))
    assert got.bayes_factor == pytest.approx(want["bf10_indep_vs_common_beta11"], abs=1e-5)


def test_posterior_against_closed_form_and_symmetry(oracle):
    case = oracle("beta_p_b_beats_a")
    (a, na), (b, nb) = case["inputs"]["a"], case["inputs"]["b"]
    got = pr.beta_binomial_difference(b, nb, a, na)
    assert got.pr_above(0) == pytest.approx(case["expected"], **near(case))
    assert pr.beta_binomial_difference(a, na, b, nb).pr_above(0) == pytest.approx(
        1 - got.pr_above(0), abs=1e-12
    )


@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize(
    "table", [(0, 10, 0, 10), (10, 10, 0, 10), (0, 1, 1, 1), (40_000, 100_000, 39_000, 100_000)]
)
def test_posterior_holds_at_the_edges(prior, table):
    got = pr.beta_binomial_difference(*table, prior=prior)
    assert got.pr_above(-1) == pytest.approx(1, abs=1e-10)
    assert got.pr_above(1) == 0
    assert got.low < got.mean < got.high
    assert got.pr_above(got.low) - got.pr_above(got.high) == pytest.approx(0.95, abs=1e-9)
    if table == (0, 10, 0, 10):
        assert got.pr_above(0) == pytest.approx(0.5, abs=1e-12)
    draws = np.random.default_rng(1)
    sample = draws.beta(*got.first, 200_000) - draws.beta(*got.second, 200_000)
    assert got.pr_above(got.mean) == pytest.approx((sample > got.mean).mean(), abs=0.006)


def test_posterior_density_integrates_to_one():
    got = pr.beta_binomial_difference(*CARWASH)
    grid = np.linspace(-0.1, 0.4, 201)
    assert np.trapezoid(got.density(grid), grid) == pytest.approx(1, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_holds_the_share_and_mirrors(x, n):
    x = min(x, n)
    got = pr.proportion(x, n)
    mirror = pr.proportion(n - x, n)
    assert 0 <= got.low <= got.value <= got.high <= 1
    assert (1 - mirror.high, 1 - mirror.low) == pytest.approx((got.low, got.high), abs=1e-12)
    wide = pr.proportion(x, n, method="clopper-pearson")
    reference = sps.binomtest(x, n).proportion_ci(method="exact")
    assert (wide.low, wide.high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    wilson = sps.binomtest(x, n).proportion_ci(method="wilson")
    assert (got.low, got.high) == pytest.approx((wilson.low, wilson.high), abs=1e-12)


def test_wilson_of_nothing_is_unknown():
    low, high = pr.wilson_interval([0, 1], [0, 4])
    assert np.isnan([low[0], high[0]]).all()
    assert 0 < low[1] < 0.25 < high[1] < 1


@pytest.mark.parametrize(
    "bad",
    [
        (-1, 10, 2, 10),
        (11, 10, 2, 10),
        (1.5, 10, 2, 10),
        (0, 0, 2, 10),
        (math.nan, 10, 2, 10),
        ("3", 10, 2, 10),
        (True, 10, 2, 10),
    ],
)
@pytest.mark.parametrize(
    "function",
    [
        pr.difference_in_proportions,
        pr.risk_ratio,
        pr.odds_ratio,
        pr.number_needed_to_treat,
        pr.exact_test,
        pr.beta_binomial_difference,
    ],
)
def test_impossible_counts_are_refused(function, bad):
    with pytest.raises(ArgumentError, match=r"[xn]1"):
        function(*bad)
    with pytest.raises(ArgumentError, match=r"[xn]2"):
        function(*bad[2:], *bad[:2])


def test_options_are_checked():
    with pytest.raises(ArgumentError, match="newcombe, miettinen-nurminen"):
        pr.difference_in_proportions(*CARWASH, method="score")
    with pytest.raises(ArgumentError, match="level"):
        pr.risk_ratio(*CARWASH, level=95)
    with pytest.raises(ArgumentError, match="fisher, boschloo, barnard"):
        pr.exact_test(*CARWASH, kind="pearson")
    with pytest.raises(ArgumentError, match="prior"):
        pr.beta_binomial_difference(*CARWASH, prior=(0, 0))
    with pytest.raises(ArgumentError, match="margin"):
        pr.beta_binomial_difference(*CARWASH).pr_above(5)
    assert pr.difference_in_proportions(np.int64(51), 150.0, 28, 150).value == pytest.approx(23 / 150)
