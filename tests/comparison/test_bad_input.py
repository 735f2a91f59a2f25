"""Tables and plans that no design can carry are refused by name, before anything is estimated."""

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from loyalty_research.comparison import (
    Comparison,
    Mean,
    Proportion,
    Quantile,
    Ratio,
    augmented_ipw,
    difference_in_differences,
    effects_by_segment,
    entropy_balancing,
    inverse_probability_weighting,
    matching,
    overlap_weighting,
    regression_discontinuity,
    sample_ratio_test,
)
from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.summaries import arm_moments

N = 400
ODD = np.arange(N) % 2
GROUPS = {"assignment": "arm", "control": "c"}
DESIGNS = {
    "randomised": {**GROUPS, "design": "randomised", "ratio": (1, 1)},
    "encouragement": {**GROUPS, "design": "encouragement", "ratio": (1, 1), "received": "joined"},
    "observational": {**GROUPS, "design": "observational", "covariates": ("pre",)},
}
WEIGHTING = [augmented_ipw, overlap_weighting, inverse_probability_weighting, entropy_balancing]


def units(**change):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "unit_id": np.arange(N),
            "arm": np.where(ODD, "t", "c"),
            "y": rng.gamma(2.0, 2.0, N),
            "pre": rng.gamma(2.0, 2.0, N),
            "visits": rng.poisson(3, N) + 1.0,
            "came": rng.integers(0, 2, N).astype(float),
            "joined": rng.integers(0, 2, N),
            "store": np.arange(N) // 8 * 2 + ODD,
            "region": rng.choice(["n", "s"], N),
        }
    )
    return frame.assign(**change)


def of_both_arms(frame):
    return pd.concat([frame, frame.iloc[:4].assign(arm="t")], ignore_index=True)


BAD = [
    (
        of_both_arms(units()),
        Mean("y"),
        {"unit": "unit_id"},
        ContractError,
        "2 units of units.unit_id are in more than one arm",
    ),
    (units(y=3.0), Mean("y"), {}, ContractError, "var|same for every unit"),
    (units(y=np.nan), Mean("y"), {}, ContractError, "no value in|have? .* with a value|has 0"),
    (
        units(visits=np.where(np.arange(N) < 3, -1.0, 2.0)),
        Ratio("y", "visits"),
        {},
        ContractError,
        r"visits is negative \(an exposure cannot be\) in 3 rows .*0, 1, 2",
    ),
    (units(came=2.0), Proportion("came"), {}, ContractError, "neither 0 nor 1 in 400 rows"),
    (units(), Mean("y"), {"control": "holdout"}, ContractError, "no control 'holdout'.*c .*t "),
    (units(arm="c"), Mean("y"), {}, ContractError, "nobody to compare with"),
    (units(), Mean("y"), {"cluster": "arm"}, DesignError, "cluster= is 'arm', the assignment itself"),
    (units(store=ODD), Mean("y"), {"cluster": "store"}, DesignError, r"fewer than two clusters .*\(1\)"),
    (
        units(store=np.where(ODD, -1, np.arange(N) // 8)),
        Mean("y"),
        {"cluster": "store"},
        DesignError,
        r"fewer than two clusters .*t.* \(1\)",
    ),
    (
        units(),
        [Mean("y", covariates=("visits",)), Mean("visits")],
        {},
        ArgumentError,
        "visits cannot be a covariate.*measured before",
    ),
    ([1, 2, 3], Mean("y"), {}, ContractError, "pandas or Polars frame, .*got list"),
    (
        pd.concat([units(), units()[["y"]]], axis=1),
        Mean("y"),
        {},
        ContractError,
        "more than one column called y",
    ),
]


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("case", BAD, ids=[str(i) for i in range(len(BAD))])
def test_refused_under_every_design_with_groups(design, case):
    table, metrics, options, error, said = case
    with pytest.raises(error, match=said):
        Comparison(metrics, **{**DESIGNS[design], **options}).analyse(table)


@pytest.mark.parametrize("design", ["randomised", "encouragement"])
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"ratio": (1, 0)}, (ArgumentError, DesignError), "t"),
        ({"ratio": {"c": 1, "t": 0}}, (ArgumentError, DesignError), "t"),
        ({"ratio": {"c": 1, "x": 1}}, ContractError, r"does not name: t \(200 units\)"),
        ({"strata": "arm"}, DesignError, "strata= names 'arm', the assignment itself"),
        ({"strata": "store", "cluster": "store"}, ArgumentError, "store is named more than once"),
    ],
)
def test_lots_that_cannot_have_been_drawn(design, options, error, said):
    with pytest.raises(error, match=said):
        Comparison(Mean("y"), **{**DESIGNS[design], **options}).analyse(units())


def test_one_number_plans_equal_arms():
    one, two = (
        Comparison(Mean("y"), **{**DESIGNS["randomised"], "ratio": r}).analyse(units()) for r in (1, (1, 1))
    )
    assert one.checks == two.checks
    assert one.checks[0].status == "passed"


def test_a_zero_weight_is_refused_by_the_sample_ratio_test_too():
    with pytest.raises(DesignError, match="arm b has no positive weight"):
        sample_ratio_test({"a": 10, "b": 0}, ratio={"a": 1, "b": 0})


DAY = pd.Timestamp("2026-03-01")


def dated(**change):
    return units(
        assigned=DAY,
        pre_until=DAY - pd.Timedelta(days=1),
        y_until=DAY + pd.Timedelta(days=30),
    ).assign(**change)


TIMES = {"assigned_at": "assigned", "measured_at": {"pre": "pre_until", "y": "y_until"}}


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("engine", [lambda f: f, pl.from_pandas, duckdb.from_df])
def test_what_was_measured_on_the_wrong_side_of_the_assignment(design, engine):
    plan = Comparison(Mean("y", covariates=("pre",)), **DESIGNS[design], **TIMES)
    assert np.isfinite(plan.analyse(engine(dated())).statements[0].estimate.value)
    late = dated(pre_until=lambda d: d["pre_until"].where(d.index >= 5, DAY + pd.Timedelta(days=2)))
    with pytest.raises(ContractError, match=r"pre was measured after assigned, .* in 5 rows"):
        plan.analyse(engine(late))
    early = dated(y_until=lambda d: d["y_until"].where(d.index != 7, DAY - pd.Timedelta(days=9)))
    with pytest.raises(ContractError, match="y, an outcome, was measured before assigned in 1 row"):
        plan.analyse(engine(early))


def test_times_that_say_nothing():
    for options, said in (
        ({"assigned_at": "assigned"}, "needed together"),
        ({**TIMES, "measured_at": {"mood": "y_until"}}, "mood, which is no covariate"),
    ):
        with pytest.raises(ArgumentError, match=said):
            Comparison(Mean("y", covariates=("pre",)), **DESIGNS["randomised"], **options)
    plan = Comparison(Mean("y", covariates=("pre",)), **DESIGNS["randomised"], **TIMES)
    for table, said in (
        (dated(assigned=pd.NaT), "assigned is missing in 400 rows"),
        (dated().drop(columns="pre_until"), "no column 'pre_until'"),
        (dated(pre_until=3), "pre_until does not: make them one type"),
    ):
        with pytest.raises(ContractError, match=said):
            plan.analyse(table)
    with pytest.raises(DesignError, match="assigned_at= belongs to"):
        Comparison(Mean("y"), design="threshold", assignment="pre", cutoff=2.0, assigned_at="assigned")


def test_an_outcome_is_no_placebo():
    with pytest.raises(ArgumentError, match="compared already"):
        Comparison(Mean("y"), **DESIGNS["observational"], placebo="y")


@pytest.mark.parametrize("method", [*WEIGHTING, matching])
def test_weighting_of_what_cannot_be_weighted(method):
    given = {"outcome": "y", "treatment": "arm", "control": "c", "covariates": ["pre"]}
    with pytest.raises(ContractError, match=r"units\.y does not vary"):
        method(units(y=1.0), **given)
    with pytest.raises(ContractError, match="must be a pandas frame"):
        method(pl.from_pandas(units()), **given)
    with pytest.raises(ContractError, match="pre holds dates"):
        method(units(pre=pd.Timestamp("2026-01-01")), **given)
    with pytest.raises(ContractError, match="region is the same for every unit"):
        method(units(region="n"), **{**given, "covariates": ["region"]})


@pytest.mark.parametrize("method", WEIGHTING)
def test_weighting_needs_two_clusters_in_each_group(method):
    given = {"outcome": "y", "treatment": "arm", "control": "c", "covariates": ["pre"], "cluster": "store"}
    with pytest.raises(DesignError, match=r"the treated \(1\) and the controls \(1\)"):
        method(units(store=ODD), **given)


def test_quantiles_of_a_constant():
    plan = Comparison(Quantile("y", q=0.5), **DESIGNS["randomised"])
    with pytest.raises(ContractError, match="does not vary"):
        plan.analyse(units(y=1.0))
    with pytest.raises(ContractError, match="var"):
        effects_by_segment(Comparison(Mean("y"), **DESIGNS["randomised"]), units(y=1.0), by="region")


def test_panels(staggered):
    given = {"outcome": "y", "unit": "id", "period": "t", "first_treated": "g"}
    with pytest.raises(ContractError, match=r"panel\.y does not vary"):
        difference_in_differences(staggered(60).assign(y=1.0), **given)
    apart = staggered(60).assign(store=lambda d: d["g"].notna().astype(int))
    with pytest.raises(DesignError, match=r"units that start \(1\) and units that never start \(1\)"):
        difference_in_differences(apart, cluster="store", **given)
    with pytest.raises(DesignError, match="the assignment itself"):
        Comparison(Mean("y"), design="panel", assignment="g", unit="id", period="t", cluster="g")


def test_lines(at_a_line):
    x, y = at_a_line(500)
    with pytest.raises(DesignError, match=r"units below the line \(1\) and units above it \(1\)"):
        regression_discontinuity(y, x, cutoff=300, cluster=(x >= 300).astype(int))
    near = np.where(np.abs(x - 300) < 60, x >= 300, np.arange(500) + 2)
    with pytest.raises(DesignError, match=r"units below the line \(1\) and units above it \(1\)"):
        regression_discontinuity(y, x, cutoff=300, cluster=near, bandwidth=50)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"arm": "arm", "cluster": "arm"}, DesignError, "the assignment itself"),
        ({"arm": "arm", "strata": "arm"}, DesignError, "the assignment itself"),
        ({"arm": "arm", "strata": ["region", "region"]}, ArgumentError, "region is named more than once"),
        ({"arm": ["arm"]}, ArgumentError, "names of columns"),
        ({"arm": "arm", "metrics": Mean("y")}, ArgumentError, "metrics is a list of declarations"),
        ({"arm": "arm", "metrics": ["y"]}, ArgumentError, "metrics is a list of declarations"),
        ({"arm": "_v0"}, ArgumentError, "_v0 is a name this query needs"),
        ({"arm": "arm", "units": {"y": [1.0]}}, ContractError, "got dict"),
    ],
)
def test_moments_name_what_is_wrong(options, error, said):
    given = {"units": units(_v0="a"), "metrics": [Mean("y")], **options}
    with pytest.raises(error, match=said):
        arm_moments(given.pop("units"), given.pop("metrics"), **given)
