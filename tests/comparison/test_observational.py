import numpy as np
import pandas as pd
import pytest

from loyalty_research.comparison import (
    NOT_AN_EFFECT,
    Comparison,
    Mean,
    Proportion,
    Ratio,
    augmented_ipw,
    e_value,
    entropy_balancing,
    inverse_probability_weighting,
    overlap_weighting,
)
from loyalty_research.errors import ContractError, DesignError

METHODS = {
    "augmented inverse probability weights, M-estimated": augmented_ipw,
    "overlap weights, M-estimated": overlap_weighting,
    "inverse probability weights, M-estimated": inverse_probability_weighting,
    "entropy balancing, M-estimated": entropy_balancing,
}


def members(n=4000, seed=1, *, effect=0.2, hidden=0.0):
    """Leenheer's world: who likes the shop joins; affinity is measured unless hidden."""
    rng = np.random.default_rng(seed)
    affinity, secret = rng.normal(size=(2, n))
    member = affinity + hidden * secret + rng.normal(size=n) > 0
    pre = affinity + rng.normal(0, 0.1, n)
    spend = 5 + effect * member + 1.06 * affinity + hidden * secret + rng.normal(size=n)
    return pd.DataFrame(
        {
            "group": np.where(member, "member", "non-member"),
            "affinity": affinity,
            "pre": pre,
            "age": rng.integers(18, 80, n),
            "region": rng.choice(["north", "south"], n),
            "spend": spend,
            "orders": rng.poisson(np.exp(0.3 * affinity)) + 1,
            "came": (spend > 5.5).astype(int),
            "store": rng.integers(0, 50, n),
        }
    )


def compare(table, metrics=None, **options):
    given = {
        "design": "observational",
        "assignment": "group",
        "control": "non-member",
        "covariates": ["affinity"],
    }
    return Comparison(metrics or Mean("spend"), **{**given, **options}).analyse(table)


def test_the_naive_gap_is_seven_times_the_truth_and_adjustment_finds_it(oracle):
    case = oracle("member_vs_nonmember_selection")
    table = members(200_000, 3)
    result = compare(table)
    naive = result.estimate(estimand=NOT_AN_EFFECT)
    assert naive.value == pytest.approx(case["expected"]["naive_difference"], abs=0.03)
    best = result.estimate(estimand="ATE")
    assert best.low < case["expected"]["true_effect"] < best.high
    before = result.estimate(estimand="part of the gap that was there before")
    assert before.value == pytest.approx(naive.value - best.value)
    assert before.value == pytest.approx(1.2, abs=0.05)


def test_the_rows_are_those_of_the_public_estimators():
    table = members().assign(t=lambda f: (f["group"] == "member").astype(int))
    covariates = ["affinity", "age", "region"]
    frame = compare(table, covariates=covariates, cluster="store").to_frame().set_index("method")
    for method, estimator in METHODS.items():
        more = {"estimand": "ATE"} if estimator is entropy_balancing else {}
        alone = estimator(
            table, outcome="spend", treatment="t", covariates=covariates, cluster="store", **more
        ).estimate
        found = frame.loc[method, ["estimate", "low", "high", "p_value"]].tolist()
        assert found == pytest.approx([alone.value, alone.low, alone.high, alone.p_value], rel=1e-9)


def test_the_raw_gap_has_its_own_interval():
    table = members()
    found = compare(table).estimate(estimand=NOT_AN_EFFECT)
    groups = table.groupby("group")["spend"]
    error = np.sqrt((groups.var(ddof=0) / groups.size()).sum())
    assert (found.high - found.value) / 1.959964 == pytest.approx(error, rel=1e-6)


def test_ratios_are_compared_as_ratios_of_sums():
    table = members(20_000)
    found = compare(table, Ratio("spend", "orders")).estimate(estimand=NOT_AN_EFFECT)
    sums = table.groupby("group")[["spend", "orders"]].sum()
    rates = sums["spend"] / sums["orders"]
    assert found.value == pytest.approx(rates["member"] - rates["non-member"])
    parts = {
        c: augmented_ipw(
            table.assign(t=table["group"] == "member"),
            outcome=c,
            treatment="t",
            covariates=["affinity"],
            control="False",
        )
        for c in ("spend", "orders")
    }
    expected = (
        parts["spend"].mean_treated / parts["orders"].mean_treated
        - parts["spend"].mean_control / parts["orders"].mean_control
    )
    assert compare(table, Ratio("spend", "orders")).estimate(estimand="ATE").value == pytest.approx(expected)


def test_the_verdict_is_capped():
    said = compare(members(), [Mean("spend"), Proportion("came")]).verdict()
    assert "not an effect" in said
    assert "consistent with" in said
    assert "if nothing else that was not measured" in said
    null = compare(members(effect=0.0), Mean("spend")).verdict()
    assert "consistent with no difference at all" in null
    assert all(f.status == "caution" for f in compare(members()).findings())


def test_the_e_value_and_robustness_value_are_always_there():
    table = members()
    result = compare(table, [Mean("spend"), Proportion("came")])
    hidden = [c for c in result.checks if "E-value" in c.name]
    assert [c.status for c in hidden] == ["not measurable"] * 2
    t = (table["group"] == "member").astype(int)
    fit = augmented_ipw(table.assign(t=t), outcome="came", treatment="t", covariates=["affinity"])
    assert f"{e_value(fit.mean_treated / fit.mean_control):.2f} each" in hidden[1].detail


def test_the_robustness_value_is_that_of_the_regression():
    import statsmodels.api as sm

    from loyalty_research.comparison import robustness_value
    from loyalty_research.i18n import percent

    table = members()
    x = sm.add_constant(np.column_stack([table["group"] == "member", table["affinity"]]).astype(float))
    ols = sm.OLS(table["spend"], x).fit()
    expected = robustness_value(ols.tvalues.iloc[1], degrees_of_freedom=ols.df_resid)
    detail = next(c.detail for c in compare(table).checks if "E-value" in c.name)
    assert f"{percent(expected)} of both" in detail


def test_a_hidden_cause_that_explains_it_all_is_as_strong_as_the_robustness_value_says():
    """Nothing is true here but a secret: then it must be at least that strong on one side."""
    import statsmodels.api as sm

    from loyalty_research.comparison import robustness_value

    table = members(50_000, 5, effect=0.0, hidden=0.8)
    result = compare(table)
    for estimand in ("ATE", "ATO"):
        assert result.estimate(estimand=estimand).low > 0.2
    rng = np.random.default_rng(5)
    secret = rng.normal(size=(2, 50_000))[1]
    member = (table["group"] == "member").to_numpy(float)
    known = sm.add_constant(table["affinity"].to_numpy())
    ols = sm.OLS(table["spend"], np.column_stack([member, known])).fit()
    value = robustness_value(ols.tvalues.iloc[0], degrees_of_freedom=ols.df_resid)

    def partial_r2(y, x):
        fit = sm.OLS(y, np.column_stack([secret, x])).fit()
        return fit.tvalues[0] ** 2 / (fit.tvalues[0] ** 2 + fit.df_resid)

    strengths = (
        partial_r2(member, known),
        partial_r2(table["spend"].to_numpy(), np.column_stack([member, known])),
    )
    assert max(strengths) >= value > 0.1
    assert min(strengths) <= 3 * value


def test_a_placebo_that_finds_something_is_said():
    rng = np.random.default_rng(2)
    table = members(6000)
    weak = table.assign(noise=rng.normal(size=6000))
    result = compare(weak, covariates=["noise", "pre"], placebo="pre")
    check = next(c for c in result.checks if c.name.startswith("placebo"))
    assert check.status == "warning"
    assert "before anything could have caused one" in result.verdict()
    assert (result.to_frame()["estimand"] == "placebo (before)").sum() == 2
    earlier = table["affinity"] + rng.normal(size=6000)
    fine = compare(table.assign(earlier=earlier), covariates=["affinity", "earlier"], placebo="earlier")
    assert next(c for c in fine.checks if c.name.startswith("placebo")).status == "passed"


def test_the_placebo_is_adjusted_for_the_others_only():
    table = members(3000).assign(t=lambda f: (f["group"] == "member").astype(int))
    frame = compare(table, covariates=["affinity", "pre"], placebo="pre").to_frame()
    alone = overlap_weighting(table, outcome="pre", treatment="t", covariates=["affinity"]).estimate
    row = frame[(frame["metric"] == "pre") & frame["method"].str.startswith("overlap")].iloc[0]
    assert (row["estimate"], row["low"]) == pytest.approx((alone.value, alone.low))


def test_without_overlap_there_is_no_verdict():
    table = members()
    split = table.assign(tier=np.where(table["group"] == "member", "gold", "none"))
    result = compare(split, covariates=["affinity", "tier"])
    assert result.verdict().startswith("No verdict: overlap of “member” and “non-member”")
    assert result.to_frame()["estimand"].tolist() == [NOT_AN_EFFECT]
    with pytest.raises(ContractError, match="does not overlap"):
        result.plot_balance()
    with pytest.raises(ContractError, match="does not overlap"):
        result.plot_overlap()


def test_where_not_everybody_overlaps_only_those_who_do_are_compared(nsw_cps):
    """The survey beside the experiment: everybody is hopeless, the overlap holds the truth of 1,794."""
    table, covariates = nsw_cps
    result = compare(table, Mean("re78"), assignment="treat", control=0, covariates=covariates)
    assert set(result.to_frame()["estimand"]) == {
        NOT_AN_EFFECT,
        "part of the gap that was there before",
        "ATO",
    }
    whole = next(c for c in result.checks if c.name.startswith("overlap for everybody"))
    assert whole.status == "failed"
    assert "13.1 effective units of 185" in whole.detail or "13 effective units of 185" in whole.detail
    found = result.estimate(estimand="ATO")
    assert found.low < 1794 < found.high
    assert "only those who could be in either are compared" in result.verdict()
    assert result.estimate(estimand=NOT_AN_EFFECT).value == pytest.approx(-8497.516, abs=0.01)


def test_too_few_comparable_units_fail_the_gate():
    rng = np.random.default_rng(0)
    far = pd.DataFrame(
        {
            "group": ["non-member"] * 300 + ["member"] * 300,
            "x": [*rng.normal(0, 1, 300), *rng.normal(6.5, 1, 300)],
        }
    )
    far["spend"] = far["x"] + rng.normal(size=600)
    result = compare(far, covariates=["x"])
    gate = next(c for c in result.checks if c.gate)
    assert gate.status == "failed"
    assert result.verdict().startswith("No verdict: overlap")


def test_several_groups_against_one_control():
    table = members(3000)
    table["group"] = np.where((table["group"] == "member") & (table["age"] > 50), "gold", table["group"])
    result = compare(table)
    assert result.arms == ("gold", "member")
    assert {g.name for g in result.groups} == {"gold", "member"}
    alone = compare(table[table["group"] != "gold"])
    assert result.estimate(group="member v non-member", estimand="ATE") == alone.estimate(estimand="ATE")
    with pytest.raises(ContractError, match="no group 'silver'; there is gold, member"):
        result.group("silver")


def test_missing_outcomes_are_dropped_and_counted():
    table = members(2000)
    table.loc[:99, "spend"] = np.nan
    result = compare(table, [Mean("spend"), Proportion("came")])
    assert result.dropped == {"units without spend": 100, "units without came": 0}
    assert result.estimate(metric="spend").n == 1900
    assert result.estimate(metric="came").n == 2000
    assert result.estimate(metric="spend") == compare(table.dropna(subset=["spend"])).estimate()


def test_a_cap_is_pooled_before_the_groups_are_compared():
    table = members(2000)
    cut = table.assign(spend=table["spend"].clip(upper=table["spend"].quantile(0.9)))
    assert compare(table, Mean("spend", cap=0.9)).estimate() == compare(cut).estimate()


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_every_engine_gives_the_same_result(engine):
    import duckdb
    import polars as pl

    frame = members(1500)
    other = pl.from_pandas(frame) if engine == "polars" else duckdb.connect().from_df(frame)
    options = {"covariates": ["affinity", "age", "region"]}
    pd.testing.assert_frame_equal(
        compare(frame, **options).to_frame(), compare(other, **options).to_frame(), rtol=1e-9
    )


@pytest.mark.parametrize(
    ("change", "options", "error", "said"),
    [
        ({}, {"control": "nobody"}, ContractError, "no control 'nobody'; it holds member"),
        ({"group": "non-member"}, {}, ContractError, "nobody to compare with"),
        (
            {"group": [None, None, *["member", "non-member"] * 24]},
            {},
            ContractError,
            r"group is missing in 2 rows",
        ),
        (
            {"affinity": [np.nan] * 3 + [1.0] * 47},
            {},
            ContractError,
            r"affinity is missing in 3 rows \(first at positions 0, 1, 2\)",
        ),
        ({"spend": "much"}, {}, ContractError, "not numbers"),
        ({"spend": np.nan}, {}, ContractError, "spend has no value in any unit"),
        ({"spend": 3.0}, {}, ContractError, "spend does not vary"),
        (
            {"spend": [np.inf] + [1.0, 2.0] * 24 + [3.0]},
            {},
            ContractError,
            r"spend is infinite in 1 row \(at position 0\)",
        ),
        (
            {"orders": [-1] * 2 + [1] * 48},
            {"metrics": Ratio("spend", "orders")},
            ContractError,
            "orders is negative .* 2 rows",
        ),
        (
            {"orders": 0},
            {"metrics": Ratio("spend", "orders")},
            ContractError,
            "denominator of a ratio adds up to 0",
        ),
        ({"came": 2}, {"metrics": Proportion("came")}, ContractError, "neither 0 nor 1 in 50 rows"),
        ({}, {"covariates": ["mood"]}, ContractError, "no column 'mood'"),
        ({}, {"placebo": "affinity"}, ContractError, "only covariate"),
        ({"store": 1}, {"cluster": "store"}, DesignError, "one cluster"),
    ],
)
def test_bad_input(change, options, error, said):
    table = members(50).assign(**change)
    with pytest.raises(error, match=said):
        compare(table, **options)


def test_an_empty_table_is_refused():
    with pytest.raises(ContractError, match="empty"):
        compare(members(50).iloc[:0])


@pytest.mark.slow
def test_coverage_of_the_default_estimators_in_a_linear_world(measured):
    """The estimate a verdict speaks of, whichever it is, and the overlap weights' one."""
    reps, covered = 1000, {"headline": 0, "ATO": 0}
    for seed in range(reps):
        result = compare(members(800, seed), covariates=["affinity"])
        for name, e in (
            ("headline", result.statements[0].estimate),
            ("ATO", result.estimate(estimand="ATO")),
        ):
            covered[name] += e.low <= 0.2 <= e.high
    for name, count in covered.items():
        assert count / reps == pytest.approx(0.95, abs=0.005 + 3 * np.sqrt(0.95 * 0.05 / reps))
        measured(f"observational comparison: {'verdict' if name == 'headline' else name}", count, reps)


def chosen(n, seed):
    """A group that chose itself by age and region; membership adds 5 to spend."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 10, n)
    region = rng.choice(["east", "north", "south"], n)
    member = rng.random(n) < 1 / (1 + np.exp(-(age - 40) / 10))
    spend = 0.5 * age + 5.0 * member + 2.0 * (region == "north") + rng.normal(0, 5, n)
    group = np.where(member, "member", "other")
    return pd.DataFrame({"group": group, "age": age, "region": region, "spend": spend})


def test_a_category_that_one_group_lacks_leaves_its_units_out_and_says_so():
    frame = chosen(3000, 1)
    plan = Comparison(
        Mean("spend"),
        design="observational",
        assignment="group",
        control="other",
        covariates=["age", "region"],
    )
    whole = plan.analyse(frame)
    strangers = frame.assign(
        region=frame["region"].where(~((frame["group"] == "member") & (frame.index < 40)), "abroad")
    )
    lone = int((strangers["region"] == "abroad").sum())
    found = plan.analyse(strangers)
    assert not found.failed_gates
    assert found.dropped["units of categories that only one of “member” and “other” has"] == lone
    kept = plan.analyse(strangers[strangers["region"] != "abroad"])
    assert found.estimate(estimand="ATE") == kept.estimate(estimand="ATE")
    assert abs(found.estimate(estimand="ATE").value - whole.estimate(estimand="ATE").value) < 0.5
    assert any(c.status == "warning" and "are left out" in c.detail for c in found.checks)
    # a category that decides who is a member is not a rare one: there the gate speaks
    decided = frame.assign(region=np.where(frame["group"] == "member", "inside", "outside"))
    assert plan.analyse(decided).failed_gates


def test_matching_and_pairs_stand_beside_the_default_estimates():
    found = Comparison(
        [Mean("spend"), Mean("age", name="age again")],
        design="observational",
        assignment="group",
        control="other",
        covariates=["region"],
    ).analyse(chosen(2000, 2))
    methods = found.to_frame().query("metric == 'spend'")["method"].tolist()
    assert "matching, bias-adjusted, Abadie-Imbens" in methods
    details = [c.detail for c in found.checks if "hidden causes" in c.name]
    assert all("Rosenbaum bounds" in d for d in details)
