"""Differences in differences against csdid, and their coverage."""

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from loyalty_research.comparison import (
    Comparison,
    Mean,
    Proportion,
    Ratio,
    difference_in_differences,
    event_study,
)
from loyalty_research.errors import ArgumentError, ContractError, DesignError

COLUMNS = {"outcome": "y", "unit": "id", "period": "t", "first_treated": "g"}


@pytest.mark.parametrize("controls", ["not-yet", "never"])
def test_effects_and_errors_are_those_of_csdid(oracle, staggered, controls):
    case = oracle(f"did_{controls.replace('-', '_')}")
    found = difference_in_differences(staggered(240), controls=controls, **COLUMNS)
    table = found.group_times[["cohort", "period", "effect", "standard_error"]].to_numpy()
    np.testing.assert_allclose(table, case["expected"]["group_times"], atol=case["tolerance"])
    by_lead = np.column_stack([found.lead, found.effect, found.error])
    np.testing.assert_allclose(by_lead, case["expected"]["leads"], atol=case["tolerance"])
    effect, error = case["expected"]["overall"]
    assert found.overall.value == pytest.approx(effect, abs=case["tolerance"])
    half = (found.overall.high - found.overall.low) / 2 / 1.959963984540054
    assert half == pytest.approx(error, abs=case["tolerance"])


def test_two_groups_and_two_periods_are_the_difference_of_differences():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(100, 2))
    frame = pd.DataFrame(
        {
            "id": np.repeat(np.arange(100), 2),
            "t": [1, 2] * 100,
            "y": y.ravel(),
            "g": np.repeat([2.0, np.nan], 100),
        }
    )
    found = difference_in_differences(frame, **COLUMNS)
    change = y[:, 1] - y[:, 0]
    assert found.overall.value == pytest.approx(change[:50].mean() - change[50:].mean(), abs=1e-12)
    assert found.checks[0].status == "not measurable"
    assert "one period before" in found.checks[0].detail


def test_engines_order_and_kinds_of_period_do_not_matter(staggered):
    frame = staggered(120)
    base = difference_in_differences(frame, **COLUMNS).overall
    shuffled = frame.sample(frac=1, random_state=3)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(31 * (frame["t"] - 1), unit="D")
    starts = pd.Timestamp("2024-01-01") + pd.to_timedelta(31 * (frame["g"] - 1), unit="D")
    dated = frame.assign(t=days, g=starts)
    months = frame.assign(
        t=days.dt.strftime("%Y-%m"), g=starts.dt.strftime("%Y-%m").where(frame["g"].notna())
    )
    tables = [shuffled, pl.from_pandas(frame), duckdb.from_df(frame), dated, months]
    for table in tables:
        found = difference_in_differences(table, **COLUMNS).overall
        assert found.value == pytest.approx(base.value, abs=1e-12)
        assert found.low == pytest.approx(base.low, abs=1e-12)


def test_a_level_of_a_unit_and_a_common_shock_change_nothing(staggered):
    frame = staggered(120)
    base = difference_in_differences(frame, **COLUMNS)
    moved = frame.assign(y=frame["y"] + 5 * frame["id"] + np.sin(frame["t"]) * 100)
    found = difference_in_differences(moved, **COLUMNS)
    np.testing.assert_allclose(found.effect, base.effect, atol=1e-9)
    np.testing.assert_allclose(found.error, base.error, atol=1e-9)


def test_a_start_after_the_last_period_is_never_and_an_early_one_is_left_out(staggered):
    frame = staggered(120)
    late = frame.assign(g=frame["g"].fillna(99.0))
    base = difference_in_differences(frame, **COLUMNS)
    assert difference_in_differences(late, **COLUMNS).overall.value == base.overall.value
    early = frame.assign(g=frame["g"].where(frame["id"] > 12, 0.0))
    found = difference_in_differences(early, **COLUMNS)
    assert found.dropped["units treated from the first period on"] == 12
    gap = frame.drop(index=frame.index[[3, 50]])
    found = difference_in_differences(gap, **COLUMNS)
    assert found.dropped["units without a value in every period"] == 2
    assert sum(found.sizes) == 118


def test_clusters(staggered):
    frame = staggered(240)
    own = difference_in_differences(frame, **COLUMNS)
    alone = difference_in_differences(frame, cluster="id", **COLUMNS)
    np.testing.assert_allclose(alone.error, own.error * np.sqrt(240 / 239), rtol=1e-9)
    # each row four times in one cluster carries no more information than once
    copies = pd.concat([frame.assign(id=frame["id"] + 1000 * k, block=frame["id"]) for k in range(4)])
    found = difference_in_differences(copies, cluster="block", **COLUMNS)
    np.testing.assert_allclose(found.error, alone.error, rtol=1e-9)
    with pytest.raises(DesignError, match="one cluster"):
        difference_in_differences(frame.assign(one=1), cluster="one", **COLUMNS)


def test_trends_that_part_before_the_start_take_the_verdict_away(staggered):
    frame = staggered(600)
    apart = frame.assign(y=frame["y"] + 0.5 * frame["t"] * frame["g"].notna())
    found = difference_in_differences(apart, controls="never", **COLUMNS)
    assert found.failed_gates
    assert found.verdict().startswith("No verdict: parallel trends before the start")
    parallel = difference_in_differences(frame, **COLUMNS)
    assert "if they would otherwise have moved like those not yet treated" in parallel.verdict()


def test_bands_hold_all_leads_and_are_the_same_for_the_same_seed(staggered):
    frame = staggered(240)
    found = event_study(frame, **COLUMNS)
    assert 1.96 < found.quantile < 3.0
    assert event_study(frame, **COLUMNS).quantile == found.quantile
    assert event_study(frame, seed=1, **COLUMNS).quantile == pytest.approx(found.quantile, rel=0.02)
    rows = found.to_frame()
    assert rows["estimand"].tolist() == ["ATT", *["ATT by period"] * 7]
    assert len(found.plot().get_legend().get_texts()) == 2


def test_as_a_design(staggered):
    frame = staggered(240).assign(came=lambda d: (d["y"] > 12).astype(int))
    plan = Comparison(
        [Mean("y", unit="EUR"), Proportion("came", role="secondary")],
        design="panel",
        assignment="g",
        unit="id",
        period="t",
    )
    found = plan.analyse(frame)
    alone = difference_in_differences(frame, **COLUMNS)
    assert found.estimate(metric="y", estimand="ATT").value == alone.overall.value
    assert found.sizes == {"not treated": 80, "treated": 160}
    assert len(found.statements) == 1
    assert found.statements[0].caution
    assert found.study("came").unit == "fraction"
    assert found.plot_event_study(metric="came").get_ylabel() == "Change in came, percentage points"
    assert len(found.plot(metric="y").get_yticks()) == 8


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"unit": None}, DesignError, "needs unit= and period="),
        ({"period": None}, DesignError, "needs unit= and period="),
        ({"covariates": ["store"]}, DesignError, "takes no covariates"),
        ({"strata": "store"}, DesignError, "strata= belongs"),
        ({"design": "randomised", "control": "a"}, DesignError, "period= belongs to design='panel'"),
    ],
)
def test_options_must_fit(options, error, said):
    given = {"design": "panel", "assignment": "g", "unit": "id", "period": "t", **options}
    with pytest.raises(error, match=said):
        Comparison(Mean("y"), **given)


def test_metrics_must_fit(staggered):
    given = {"design": "panel", "assignment": "g", "unit": "id", "period": "t"}
    for metric in (Ratio("y", "store"), Mean("y", cap=0.9), Mean("y", covariates=("store",))):
        with pytest.raises(DesignError, match="design='panel' takes"):
            Comparison(metric, **given).analyse(staggered(60))


def test_bad_panels_are_refused(staggered):
    frame = staggered(60)

    def refused(table, error, said, **options):
        with pytest.raises(error, match=said):
            difference_in_differences(table, **{**COLUMNS, **options})

    refused(frame.drop(columns="g"), ContractError, "panel has no column 'g'; it has id, t, y, store")
    refused(frame.iloc[:0], ContractError, "panel is empty")
    refused(frame.assign(y="a"), ContractError, "panel.y holds .*, not numbers")
    refused(frame.assign(y=np.inf), ContractError, "panel.y is infinite in 360 rows")
    refused(frame.assign(t=frame["t"].where(frame.index > 0)), ContractError, "panel.t is missing in 1 row")
    refused(pd.concat([frame, frame[:2]]), ContractError, "2 rows more for a unit and period")
    refused(frame.assign(g=frame["g"].where(frame["t"] < 6, 9.0)), ContractError, "changes within 60 units")
    refused(frame.assign(g=frame["g"].map({3: "x", 4: "y", 5: "z"})), ContractError, "give both alike")
    refused(frame.assign(g=np.nan), DesignError, "no before and after")
    refused(frame.assign(g=1.0), DesignError, "no before and after")
    refused(frame.assign(g=4.0), DesignError, "units not yet treated to compare with")
    refused(frame, ArgumentError, "controls is 'not-yet' or 'never'", controls="all")
    refused(frame, ArgumentError, "anticipation", anticipation=-1)
    refused(frame, ArgumentError, "level", level=95)


@pytest.mark.slow
def test_coverage_under_staggered_starts_and_growing_effects(measured, covers, at_least):
    """1,000 replicates of 300 units over 8 periods; unit and period effects regressed would be biased."""
    rng = np.random.default_rng(8)
    t = np.arange(8)
    replicates, overall, together, gates, regressed = 1000, 0, 0, 0, []
    for seed in range(replicates):
        start = rng.choice([2, 4, 6, 99], 300)
        effect = np.where(t >= start[:, None], 0.5 * (t - start[:, None] + 1), 0.0)
        y = rng.normal(size=(300, 1)) + 0.2 * t + effect + rng.normal(size=(300, 8)).cumsum(axis=1) * 0.5
        frame = pd.DataFrame(
            {
                "id": np.repeat(np.arange(300), 8),
                "t": np.tile(t, 300),
                "g": np.repeat(np.where(start < 99, start, np.nan), 8),
                "y": y.ravel(),
            }
        )
        found = difference_in_differences(frame, seed=seed, **COLUMNS)
        # the truth of this draw of cohorts: those with somebody left to compare with
        sizes = {g: (start == g).sum() for g in (2, 4, 6)}
        truth = sum(n * np.mean(0.5 * np.arange(1, 8 - g + 1)) for g, n in sizes.items()) / sum(
            sizes.values()
        )
        overall += found.overall.low <= truth <= found.overall.high
        expected = np.where(found.lead >= 0, 0.5 * (found.lead + 1), 0.0)
        together += bool(np.all(np.abs(found.effect - expected) <= found.quantile * found.error))
        gates += found.checks[0].p_value < 0.05
        d = (t >= start[:, None]).astype(float)
        away = d - d.mean(axis=1, keepdims=True) - d.mean(axis=0) + d.mean()
        regressed.append((away * y).sum() / (away * d).sum() - truth)
    slack = 3 * np.sqrt(0.05 * 0.95 / replicates)
    assert covers(overall, replicates)
    assert at_least(together, replicates)
    assert gates / replicates < 0.05 + slack
    # the regression that pools early and late starters misses what grows
    assert np.mean(regressed) < -0.3
    measured("difference-in-differences, staggered starts: overall", overall, replicates)
    measured(
        "difference-in-differences: event study, all bands at once", together, replicates, aim="at least 95%"
    )
