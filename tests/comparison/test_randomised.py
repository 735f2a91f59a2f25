import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.comparison import Comparison, Mean, Proportion, Ratio, difference_in_proportions
from loyalty_research.errors import ArgumentError, ContractError, DesignError


def compare(table, metrics, **options):
    given = {"design": "randomised", "assignment": "arm", "control": "control", "ratio": None, **options}
    return Comparison(metrics, **given).analyse(table)


def two_arms(a, b, **more):
    """A table with a as the treated arm and b as control."""
    frame = pd.DataFrame({"arm": ["treated"] * len(a) + ["control"] * len(b), "y": [*a, *b]})
    return frame.assign(**more)


def test_welch_on_sleep(oracle):
    case = oracle("welch_sleep")
    table = two_arms(case["inputs"]["a"], case["inputs"]["b"])
    found = compare(table, Mean("y")).estimate()
    t, dof, p, low, high = case["expected"]
    assert (found.p_value, found.low, found.high) == pytest.approx((p, low, high), abs=case["tolerance"])
    half = stats.t.isf(0.025, dof)
    assert found.value / ((found.high - found.low) / 2 / half) == pytest.approx(t, abs=case["tolerance"])


def test_hillstrom_visits(oracle):
    case = oracle("hillstrom_mens_visit")
    x1, n1, x0, n0 = (case["inputs"][k] for k in ("x1", "n1", "x0", "n0"))
    table = two_arms([1] * x1 + [0] * (n1 - x1), [1] * x0 + [0] * (n0 - x0))
    found = compare(table, Proportion("y"), ratio=(1, 1)).estimate()
    assert (found.value, found.low, found.high) == pytest.approx(
        (case["expected"][0], 0.06995331, 0.08322674), abs=1e-7
    )
    assert found == difference_in_proportions(x1, n1, x0, n0)


def test_delta_method_is_the_clustered_regression(oracle):
    tt = pytest.importorskip("tea_tasting")
    case = oracle("delta_equals_CR0")
    sessions = tt.make_sessions_data(rng=42).to_pandas()
    users = sessions.groupby(["variant", "user"], as_index=False).agg(
        orders=("orders", "sum"), sessions=("orders", "size")
    )
    found = compare(users, Ratio("orders", "sessions"), assignment="variant", control=0)
    by_cluster = compare(sessions, Mean("orders"), assignment="variant", control=0, cluster="user")
    for result in (found, by_cluster):
        estimate = result.estimate()
        assert estimate.value == pytest.approx(case["expected"][0], abs=case["tolerance"][0])
        error = (estimate.high - estimate.value) / stats.t.isf(0.025, 3990)
        assert error == pytest.approx(0.01314290, abs=1e-6)
        assert error == pytest.approx(case["expected"][1], abs=case["tolerance"][1])


def test_nsw_difference_and_hc_error(oracle, nsw):
    case = oracle("nsw_ate")
    found = compare(nsw, Mean("re78"), assignment="treat", control=0).estimate()
    assert found.value == pytest.approx(case["expected"][0], abs=case["tolerance"][0])
    variances = nsw.groupby("treat")["re78"].var() / nsw.groupby("treat")["re78"].size()
    half = found.high - found.value
    # HC1 and Welch differ by their small-sample factors only
    assert half / 1.96 == pytest.approx(case["expected"][2], rel=0.01)
    assert np.sqrt(variances.sum()) == pytest.approx(case["expected"][2], rel=0.005)


@pytest.fixture(scope="module")
def users():
    tt = pytest.importorskip("tea_tasting")
    return tt.make_users_data(rng=42, covariates=True, n_users=5000, return_type="pandas")


@pytest.fixture(scope="module")
def theirs(users):
    import tea_tasting as tt

    return tt.Experiment(
        plain=tt.Mean("revenue"),
        ratio=tt.RatioOfMeans("orders", "sessions"),
        cuped=tt.Mean("revenue", "revenue_covariate"),
    ).analyze(users)


@pytest.mark.parametrize(
    ("metric", "name", "tolerance"),
    [
        (Mean("revenue"), "plain", 1e-9),
        (Ratio("orders", "sessions"), "ratio", 1e-9),
        # they pool the coefficient over both arms, ours minimises the difference's variance
        (Mean("revenue", covariates=("revenue_covariate",)), "cuped", 2e-3),
    ],
)
def test_same_difference_interval_and_p(users, theirs, metric, name, tolerance):
    found = compare(users, metric, assignment="variant", control=0).estimate()
    peer = theirs[name]
    width = peer.effect_size_ci_upper - peer.effect_size_ci_lower
    assert found.value == pytest.approx(peer.effect_size, abs=tolerance * width)
    assert found.low == pytest.approx(peer.effect_size_ci_lower, abs=tolerance * width)
    assert found.high == pytest.approx(peer.effect_size_ci_upper, abs=tolerance * width)
    assert found.p_value == pytest.approx(peer.pvalue, abs=tolerance * 5)


def test_ours_is_no_wider_than_tea_tasting(users, theirs):
    metric = Mean("revenue", covariates=("revenue_covariate",))
    found = compare(users, metric, assignment="variant", control=0).estimate()
    peer = theirs["cuped"]
    assert found.high - found.low <= (peer.effect_size_ci_upper - peer.effect_size_ci_lower) * (1 + 1e-3)


def test_nulls_are_dropped_where_tea_tasting_counts_them(users):
    half = users.assign(revenue=users["revenue"].where(np.arange(len(users)) % 2 == 0))
    found = compare(half, Mean("revenue"), assignment="variant", control=0)
    kept = half.dropna(subset=["revenue"])
    plain = compare(kept, Mean("revenue"), assignment="variant", control=0)
    assert (found.estimate().low, found.estimate().n) == pytest.approx(
        (plain.estimate().low, plain.estimate().n)
    )
    assert found.dropped == {"units without revenue": len(users) - len(kept)}


def test_covariates_equal_analysis_of_covariance_with_equal_arms():
    import statsmodels.api as sm

    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 2))
    t = np.tile([0.0, 1.0], 200)
    y = 0.4 * t + x @ [1.0, -0.5] + rng.normal(size=400)
    table = pd.DataFrame({"arm": np.where(t == 1, "b", "control"), "y": y, "x1": x[:, 0], "x2": x[:, 1]})
    found = compare(table, Mean("y", covariates=("x1", "x2"))).estimate()
    ols = sm.OLS(y, sm.add_constant(np.column_stack([t, x]))).fit()
    assert found.value == pytest.approx(ols.params[1], rel=1e-10)
    hc1 = ols.get_robustcov_results("HC1").bse[1]
    assert (found.high - found.low) / 2 / stats.t.isf(0.025, 396) == pytest.approx(hc1, rel=0.03)


def test_with_unequal_arms_the_adjustment_is_lins():
    """With very different slopes and 9:1 arms the variance is that of the interacted regression."""
    import statsmodels.api as sm

    rng = np.random.default_rng(9)
    n = 200_000
    t = (rng.random(n) < 0.1).astype(float)
    x = rng.normal(size=n)
    y = t * 0.2 + x * (1 + 2 * t) + rng.normal(size=n)
    table = pd.DataFrame({"arm": np.where(t == 1, "b", "control"), "y": y, "x": x})
    found = compare(table, Mean("y", covariates=("x",))).estimate()
    centred = x - x.mean()
    lin = sm.OLS(y, np.column_stack([np.ones(n), t, centred, t * centred])).fit(cov_type="HC1")
    assert found.value == pytest.approx(lin.params[1], abs=0.1 * lin.bse[1])


def test_strata_are_weighted_by_their_pooled_share():
    rng = np.random.default_rng(2)
    n = 4000
    stratum = rng.choice(["a", "b"], n, p=[0.8, 0.2])
    treated = rng.random(n) < np.where(stratum == "a", 0.3, 0.7)
    y = np.where(stratum == "a", 0.0, 10.0) + treated * 1.0 + rng.normal(size=n)
    table = pd.DataFrame({"arm": np.where(treated, "t", "control"), "y": y, "s": stratum})
    found = compare(table, Mean("y"), strata="s").estimate()
    shares = pd.Series(stratum).value_counts(normalize=True)
    means = table.pivot_table(index="s", columns="arm", values="y")
    assert found.value == pytest.approx(((means["t"] - means["control"]) * shares).sum(), rel=1e-12)
    # without strata Simpson's paradox moves it by more than a point
    assert abs(compare(table, Mean("y")).estimate().value - 1.0) > 1.0
    assert abs(found.value - 1.0) < 0.2


def test_a_capped_mean_is_the_mean_of_the_capped_column():
    table = two_arms([1.0, 2.0, 3.0, 100.0], [1.0, 2.0, 2.0, 3.0])
    cut = table.assign(y=table["y"].clip(upper=table["y"].quantile(0.75)))
    assert compare(table, Mean("y", cap=0.75)).estimate().value == pytest.approx(
        compare(cut, Mean("y")).estimate().value
    )


def test_relative_change_has_fiellers_limits():
    rng = np.random.default_rng(0)
    table = two_arms(rng.normal(11, 2, 300), rng.normal(10, 2, 300))
    row = compare(table, Mean("y")).to_frame().iloc[0]
    assert row["relative"] == pytest.approx(row["estimate"] / row["control"])
    # at a limit r of (t - c) / c, the difference t - (1 + r) c is exactly at its critical value
    groups = table.groupby("arm")["y"]
    mean, variance = groups.mean(), groups.var() / 300
    critical = stats.t.isf(0.025, 597.9)
    for limit in (row["relative_low"], row["relative_high"]):
        z = (mean["treated"] - (1 + limit) * mean["control"]) / np.sqrt(
            variance["treated"] + (1 + limit) ** 2 * variance["control"]
        )
        assert abs(z) == pytest.approx(critical, rel=1e-4)
    low = two_arms(rng.normal(0.1, 1, 30), rng.normal(0, 1, 30))
    assert np.isnan(compare(low, Mean("y")).to_frame()["relative_low"].iloc[0])


def test_primary_metrics_share_holm_and_others_do_not():
    rng = np.random.default_rng(1)
    table = two_arms(
        rng.normal(0.25, 1, 200), rng.normal(0, 1, 200), z=rng.normal(size=400), w=rng.normal(size=400)
    )
    metrics = [Mean("y"), Mean("z"), Mean("w", role="secondary")]
    frame = compare(table, metrics).to_frame().set_index("metric")
    p = frame["p_value"]
    first, second = sorted([p["y"], p["z"]])
    expected = sorted([min(1, 2 * first), max(min(1, 2 * first), second)])
    assert sorted(frame.loc[["y", "z"], "p_adjusted"]) == pytest.approx(expected)
    assert np.isnan(frame.loc["w", "p_adjusted"])


def test_a_lost_arm_suppresses_the_verdict_and_nothing_else():
    table = two_arms([1.0, 2.0] * 300, [1.0, 2.0] * 400)
    result = compare(table, Mean("y"), ratio={"control": 1, "treated": 1})
    assert result.verdict().startswith("No verdict: sample ratio")
    assert "control 800 (57.14% planned 50.00%)" in result.verdict()
    assert result.findings()[0].status == "suppressed"
    assert len(result.to_frame()) == 1
    fine = compare(table, Mean("y"), ratio=(4, 3))
    assert not fine.failed_gates


def test_without_a_plan_the_ratio_is_not_measurable():
    check = compare(two_arms([1.0, 2.0], [1.0, 3.0]), Mean("y")).checks[0]
    assert (check.name, check.status, check.gate) == ("sample ratio", "not measurable", True)


def test_clusters_are_counted_by_the_ratio_gate():
    rng = np.random.default_rng(7)
    store = np.repeat(np.arange(40), rng.integers(5, 200, 40))
    table = pd.DataFrame(
        {"arm": np.where(store < 20, "control", "t"), "c": store, "y": rng.normal(size=len(store))}
    )
    result = compare(table, Mean("y"), cluster="c", ratio=(1, 1))
    assert result.checks[0].status == "passed"
    assert "control 20 " in result.checks[0].detail


def test_several_arms_against_control():
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"arm": np.repeat(["control", "mail", "app"], 100), "y": rng.normal(size=300)})
    frame = compare(table, Mean("y"), ratio=(1, 1, 1)).to_frame()
    assert frame["group"].tolist() == ["app v control", "mail v control"]
    for arm in ("app", "mail"):
        alone = compare(table[table["arm"].isin([arm, "control"])], Mean("y")).estimate()
        assert frame.set_index("group").loc[f"{arm} v control", "low"] == pytest.approx(alone.low)


def test_margins_decide_no_worse():
    rng = np.random.default_rng(5)
    table = two_arms(rng.normal(0, 1, 2000), rng.normal(0, 1, 2000))
    wide = compare(table, [Mean("y", margin=1.0)])
    tight = compare(table, [Mean("y", margin=0.001)])
    assert "no worse than the tolerated 1.00" in wide.verdict()
    assert "may be worse by more than the tolerated" in tight.verdict()
    worse = two_arms(rng.normal(1, 1, 500), rng.normal(0, 1, 500), z=rng.normal(size=1000))
    guarded = compare(worse, [Mean("z"), Mean("y", direction="down", role="guardrail")])
    assert "Y got worse in “treated”" in guarded.verdict()
    assert "for the worse" in compare(worse, Mean("y", direction="down")).verdict()


def test_missing_outcomes_that_differ_between_arms_are_warned_of():
    y = np.ones(2000) + np.arange(2000) % 3
    table = pd.DataFrame({"arm": ["control"] * 1000 + ["t"] * 1000, "y": y})
    table.loc[1000:1200, "y"] = np.nan
    checks = {c.name: c for c in compare(table, Mean("y")).checks}
    assert checks["missing values of y"].status == "warning"
    assert "t 201 of 1,000" in checks["missing values of y"].detail


def test_the_verdict_reads():
    table = two_arms([1] * 60 + [0] * 140, [1] * 30 + [0] * 170)
    assert compare(table, Proportion("y", name="came back"), ratio=(1, 1)).verdict() == (
        "Came back: 30.0% in “treated” against 15.0% in “control”, 15.00 points higher "
        "(95% interval 6.84 to 22.94 points)."
    )
    same = two_arms([1] * 30 + [0] * 170, [1] * 30 + [0] * 170)
    assert "no clear difference" in compare(same, Proportion("y")).verdict()


@pytest.mark.parametrize(
    ("table", "metric", "options", "error", "said"),
    [
        (
            two_arms([1.0, 2.0], [1.0, 2.0]),
            Mean("y"),
            {"control": "nobody"},
            ContractError,
            r"no control 'nobody'; it holds control \(2\), treated \(2\)",
        ),
        (
            two_arms([1.0, 2.0], []),
            Mean("y"),
            {"control": "treated"},
            ContractError,
            "nobody to compare with",
        ),
        (
            two_arms([1.0, 2.0], [1.0, 2.0]),
            Mean("y"),
            {"ratio": {"control": 1, "x": 1}},
            ContractError,
            r"treated \(2 units\)",
        ),
        (
            two_arms([1.0, 2.0], [1.0, 2.0]),
            Mean("y"),
            {"ratio": (1, 1, 1)},
            DesignError,
            "3 weights for 2 arms; their order is control, treated",
        ),
        (
            two_arms([1.0, 2.0], [1.0, 2.0]),
            Mean("y"),
            {"ratio": (1, 0)},
            DesignError,
            "arm treated has no positive weight",
        ),
        (two_arms([3.0, 3.0], [3.0, 3.0]), Mean("y"), {}, ContractError, "y does not vary"),
        (two_arms([0.1] * 9, [0.7] * 9), Mean("y"), {}, ContractError, "y does not vary"),
        (two_arms([1, 1], [1, 1]), Proportion("y"), {}, ContractError, "y does not vary"),
        (
            two_arms([None, None], [None, None]).astype({"y": float}),
            Mean("y"),
            {},
            ContractError,
            "no value in any unit",
        ),
        (
            two_arms([None, None], [1.0, 2.0]).astype({"y": float}),
            Mean("y"),
            {},
            ContractError,
            "arm treated has 0 independent rows",
        ),
        (two_arms([1.0], [1.0, 2.0]), Mean("y"), {}, ContractError, "arm treated has 1 independent rows"),
        (
            two_arms([1.0, 2.0], [1.0, 2.0], d=[0, 0, 1, 1]),
            Ratio("y", "d"),
            {},
            ContractError,
            "d adds up to 0 in an arm",
        ),
        (
            two_arms([1.0, 2.0], [1.0, 2.0], c=[1, 2, 3, 3]),
            Mean("y"),
            {"cluster": "c"},
            DesignError,
            r"fewer than two clusters in arm control \(1\)",
        ),
        (
            two_arms([1.0, 2.0, 4.0], [1.0, 2.0, 3.0], s=list("aabaab")),
            Mean("y"),
            {"strata": "s"},
            ContractError,
            "in stratum b has 1",
        ),
        (
            two_arms([1.0, 2.0, 4.0], [1.0, 2.0, 3.0], x=1.0),
            Mean("y", covariates=("x",)),
            {},
            ContractError,
            "covariate x is the same for every unit",
        ),
        (
            two_arms([1.0, 2.0, 4.0], [1.0, 2.0, 3.0], x=[1.0, 2, 3, 4, 5, 7], z=[2.0, 4, 6, 8, 10, 14]),
            Mean("y", covariates=("x", "z")),
            {},
            ContractError,
            "x, z determine one another",
        ),
        (
            two_arms([1.0, 2.0], [1.0, 2.5], x=[1.0, 5, 3, 4], z=[2.0, 3, 9, 1]),
            Mean("y", covariates=("x", "z")),
            {},
            DesignError,
            "4 rows are too few for 2 covariates",
        ),
        (
            two_arms([1.0, 2.0], [1.0, 2.0]),
            Mean("y", role="secondary"),
            {},
            ArgumentError,
            "no metric has role='primary'",
        ),
    ],
)
def test_bad_input_is_refused_before_any_estimate(table, metric, options, error, said):
    with pytest.raises(error, match=said):
        compare(table, metric, **options)


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_every_engine_gives_the_same_result(invitations, engine):
    import duckdb
    import polars as pl

    frame = invitations(2000, 1)
    metrics = [
        Mean("spend", covariates=("pre_spend",), cap=0.99),
        Proportion("came"),
        Ratio("spend", "orders"),
    ]
    other = pl.from_pandas(frame) if engine == "polars" else duckdb.connect().from_df(frame)
    for options in ({}, {"strata": "region"}):
        ours, theirs = (compare(t, metrics, ratio=(1, 1), **options).to_frame() for t in (frame, other))
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("options", [{"assignment": "key"}, {"assignment": "arm", "strata": "key"}])
def test_a_column_of_identifiers_is_counted_and_never_listed(options):
    units = two_arms([1.0, 2.0] * 20, [2.0, 4.0] * 20)
    units["key"] = [f"secret{i}" for i in range(len(units))]
    with pytest.raises((ContractError, DesignError)) as caught:
        Comparison([Mean("y")], design="randomised", control="control", **options).analyse(units)
    assert "secret" not in str(caught.value)


def test_gaps_of_nullable_columns_are_dropped_and_counted():
    plain = two_arms([1.0, None, 3.0, 4.0] * 10, [2.0, 3.0, 5.0, 4.0] * 10)
    nullable = plain.assign(y=plain["y"].astype("Float64"))
    plan = Comparison([Mean("y")], design="randomised", assignment="arm", control="control")
    assert plan.analyse(nullable).to_dict() == plan.analyse(plain).to_dict()
