"""A line as a design of :class:`Comparison`."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.comparison import (
    NOT_AN_EFFECT,
    Comparison,
    Mean,
    Proportion,
    Ratio,
    regression_discontinuity,
)
from loyalty_research.errors import ArgumentError, ContractError, DesignError


@pytest.fixture(scope="module")
def tiers():
    """Members whose tier is decided by last year's spend; the tier adds 20 to this year's."""
    rng = np.random.default_rng(7)
    n = 4000
    spend = rng.gamma(5, 60, n)
    later = 0.9 * spend + 20.0 * (spend >= 300) + rng.normal(0, 30, n)
    return pd.DataFrame(
        {
            "qualifying": spend,
            "spend": later,
            "returned": (rng.random(n) < 0.5 + 0.1 * (spend >= 300)).astype(int),
            "age": rng.normal(40, 10, n),
            "orders": rng.integers(1, 9, n),
            "region": rng.choice(["n", "s"], n),
        }
    )


def plan(*metrics, **options):
    given = {"design": "threshold", "assignment": "qualifying", "cutoff": 300.0, **options}
    return Comparison(metrics or (Mean("spend", unit="EUR"),), **given)


def test_the_raw_gap_is_not_the_effect_at_the_line(tiers):
    found = plan(covariates=["age"]).analyse(tiers)
    effect = found.estimate(estimand="LATE at the line")
    assert effect.low < 20 < effect.high
    raw = found.estimate(estimand=NOT_AN_EFFECT)
    assert raw.low > 100
    assert "At the line of 300 in qualifying, spend jumps by" in found.verdict()
    assert sum(found.sizes.values()) == found.n == 4000
    names = [c.name for c in found.checks]
    assert "nothing from before jumps at the line" in names
    assert sum(c.gate for c in found.checks) == 1


def test_it_is_the_standalone_estimate_for_every_metric(tiers):
    frame = tiers.copy()
    frame.loc[::7, "returned"] = np.nan
    found = plan(Mean("spend", cap=0.99), Proportion("returned", role="secondary")).analyse(frame)
    kept = frame.dropna(subset="returned")
    alone = regression_discontinuity(kept["returned"], kept["qualifying"], cutoff=300)
    assert found.estimate(metric="returned").value == alone.estimate.value
    assert found.estimate(metric="returned").unit == "fraction"
    assert found.dropped["units without returned"] == frame["returned"].isna().sum()
    capped = np.minimum(frame["spend"], frame["spend"].quantile(0.99))
    alone = regression_discontinuity(capped, frame["qualifying"], cutoff=300)
    assert found.estimate(metric="spend").value == alone.estimate.value
    assert len(found.statements) == 1
    assert found.plot_jump(metric="returned").get_ylabel().startswith("returned")
    assert len(found.plot(metric="spend").get_yticks()) == 2


def test_a_covariate_that_jumps_is_seen(tiers):
    frame = tiers.assign(age=tiers["age"] + 8.0 * (tiers["qualifying"] >= 300))
    checks = {c.name: c for c in plan(covariates=["age"]).analyse(frame).checks}
    assert checks["nothing from before jumps at the line"].status == "warning"


def test_bunching_takes_the_verdict_away_until_a_donut_is_declared(tiers):
    rng = np.random.default_rng(3)
    near = tiers["qualifying"].between(280, 300) & (rng.random(len(tiers)) < 0.9)
    frame = tiers.assign(qualifying=tiers["qualifying"].where(~near, 301.0 + rng.random(len(tiers))))
    found = plan().analyse(frame)
    assert found.verdict().startswith("No verdict")
    assert found.findings()[0].status == "suppressed"
    assert plan(donut=20.0).analyse(frame).verdict().startswith("At the line")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"cutoff": None}, DesignError, "needs cutoff=, the line in qualifying"),
        ({"cutoff": float("inf")}, DesignError, "needs cutoff="),
        ({"ratio": (1, 1)}, DesignError, "ratio= belongs to design='randomised' or 'encouragement'"),
        ({"design": "randomised", "control": "a"}, DesignError, "cutoff= belongs to design='threshold'"),
        (
            {"design": "randomised", "cutoff": None, "control": "a", "donut": 2.0},
            DesignError,
            "donut= belongs",
        ),
        ({"design": "randomised", "cutoff": None}, ArgumentError, "control= is needed"),
    ],
)
def test_options_that_do_not_belong(options, error, said):
    with pytest.raises(error, match=said):
        plan(**options)


def test_bad_tables_are_refused(tiers):
    with pytest.raises(ContractError, match="units has no column 'qualifying'"):
        plan().analyse(tiers.drop(columns="qualifying"))
    with pytest.raises(ContractError, match="qualifying holds object, not numbers"):
        plan().analyse(tiers.assign(qualifying=np.array(["silver", "gold"] * 2000, dtype=object)))
    with pytest.raises(ContractError, match="qualifying is missing in 1 row"):
        plan().analyse(tiers.assign(qualifying=tiers["qualifying"].where(tiers.index != 5)))
    with pytest.raises(DesignError, match="a ratio has no level at the line"):
        plan(Ratio("spend", "orders")).analyse(tiers)
    with pytest.raises(DesignError, match="region: under design='threshold' covariates"):
        plan(covariates=["region"]).analyse(tiers)
    with pytest.raises(DesignError, match="at least 20"):
        plan(cutoff=1e5).analyse(tiers)
