import math

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
    group_sequential_bounds,
    minimal_detectable_effect,
    pilot,
    power,
    sample_size,
)
from loyalty_research.errors import ArgumentError, ContractError, DesignError


def test_t_test_size(oracle):
    case = oracle("power_t_d05")
    given = case["inputs"]
    found = sample_size(given["d"], sd=1.0, power=given["power"], level=1 - given["alpha"])
    assert found == pytest.approx(case["expected"], abs=case["tolerance"])


def test_arcsine_size(oracle):
    case = oracle("power_2p_arcsine")
    given = case["inputs"]
    found = sample_size(
        given["p1"] - given["p2"], baseline=given["p2"], power=given["power"], approximation="arcsine"
    )
    assert found == pytest.approx(case["expected"], abs=case["tolerance"])


def test_size_with_pre_period_adjustment_equals_tea_tasting(oracle):
    tt = pytest.importorskip("tea_tasting")
    case = oracle("cuped_sample_size_tea")
    users = tt.make_users_data(rng=42, covariates=True, sessions_uplift=0, orders_uplift=0, revenue_uplift=0)
    users = users.to_pandas()
    y, x = users["orders"], users["orders_covariate"]
    r2 = np.corrcoef(y, x)[0, 1] ** 2
    n = sample_size(case["inputs"]["rel"] * y.mean(), sd=y.std(), covariate_r2=r2)
    assert int(np.ceil(2 * n)) == pytest.approx(case["expected"], abs=1)


@pytest.mark.parametrize("allocation", [1.0, 0.25, 3.0])
@pytest.mark.parametrize("approximation", ["t", "normal"])
def test_size_power_and_effect_invert_each_other(allocation, approximation):
    n = sample_size(0.3, sd=1.7, allocation=allocation, approximation=approximation)
    assert power(0.3, n=n, sd=1.7, allocation=allocation, approximation=approximation) == pytest.approx(0.8)
    if approximation == "t":
        assert minimal_detectable_effect(n=n, sd=1.7, allocation=allocation) == pytest.approx(0.3)


def test_power_equals_statsmodels():
    from statsmodels.stats.power import TTestIndPower

    found = power(0.4, n=30, sd=1.0, allocation=2.0)
    assert found == pytest.approx(TTestIndPower().power(0.4, 30, 0.05, ratio=2.0), rel=1e-8)


def test_power_is_what_simulation_says():
    rng = np.random.default_rng(8)
    from scipy import stats

    a, b = rng.normal(0, 1, (4000, 25)), rng.normal(0.7, 1, (4000, 40))
    rejected = np.mean(stats.ttest_ind(a, b, axis=1).pvalue < 0.05)
    claimed = power(0.7, n=25, sd=1.0, allocation=1.6)
    assert rejected == pytest.approx(claimed, abs=3.5 * np.sqrt(claimed * (1 - claimed) / 4000))


def test_covariates_save_and_clusters_cost():
    plain = sample_size(0.1, sd=1.0, approximation="normal")
    assert sample_size(0.1, sd=1.0, covariate_r2=0.36, approximation="normal") == pytest.approx(0.64 * plain)
    assert sample_size(0.1, sd=1.0, design_effect=2.5, approximation="normal") == pytest.approx(2.5 * plain)
    rate = sample_size(0.02, baseline=0.1)
    assert sample_size(0.02, baseline=0.1, design_effect=3.0) == pytest.approx(3 * rate)
    assert power(0.02, n=np.ceil(3 * rate) + 3, baseline=0.1, design_effect=3.0) == pytest.approx(
        0.8, abs=0.001
    )


def test_proportions_invert():
    n = int(np.ceil(sample_size(0.03, baseline=0.2)))
    assert minimal_detectable_effect(n=n, baseline=0.2) == pytest.approx(0.03, rel=1e-3)


def test_no_effect_is_found_as_often_as_the_test_size():
    assert power(0.0, n=50, sd=1.0) == pytest.approx(0.05)


@pytest.mark.parametrize(
    "call",
    [
        lambda: power(0.1, n=10),
        lambda: power(0.1, n=10, sd=1.0, baseline=0.1),
        lambda: power(0.1, n=1, sd=1.0),
        lambda: power(0.1, n=10, sd=-1.0),
        lambda: power(0.1, n=10, sd=1.0, covariate_r2=1.0),
        lambda: power(0.1, n=10, sd=1.0, approximation="arcsine"),
        lambda: sample_size(0.0, sd=1.0),
        lambda: sample_size(0.1, sd=1.0, power=0.01),
        lambda: sample_size(0.95, baseline=0.1),
        lambda: minimal_detectable_effect(n=10, sd=1.0, power=0.02),
        lambda: minimal_detectable_effect(n=10, sd=1.0, level=1.5),
    ],
)
def test_bad_options(call):
    with pytest.raises(ArgumentError):
        call()


def test_looks_cost_what_their_bounds_cost():
    one, five = sample_size(0.1, sd=1.0), sample_size(0.1, sd=1.0, looks=5)
    bounds = group_sequential_bounds(5)
    assert five / one == pytest.approx(bounds.inflation(power=0.8), rel=1e-9)
    # published for O'Brien-Fleming spending at five looks and 80% power: about 1.03
    assert five / one == pytest.approx(1.028, abs=0.005)
    assert power(0.1, n=five, sd=1.0, looks=5) == pytest.approx(0.8, abs=2e-4)
    assert minimal_detectable_effect(n=five, sd=1.0, looks=5) == pytest.approx(0.1, rel=2e-3)
    rate = sample_size(0.02, baseline=0.1, looks=(0.5, 1.0), spending="pocock")
    assert rate > 1.08 * sample_size(0.02, baseline=0.1)
    assert power(0.0, n=500, sd=1.0, looks=3) == pytest.approx(0.05, abs=1e-9)
    assert power(50.0, n=500, sd=1.0, looks=3) == 1.0


def test_power_of_looks_by_simulation():
    rng = np.random.default_rng(4)
    n, effect, looks, replicates = 300, 0.25, (0.4, 0.7, 1.0), 4000
    bounds = group_sequential_bounds(looks, spending="pocock").z
    y = rng.normal(size=(replicates, n)).cumsum(axis=1)
    x = rng.normal(effect, 1, size=(replicates, n)).cumsum(axis=1)
    crossed = np.zeros(replicates, dtype=bool)
    for share, z in zip(looks, bounds, strict=True):
        m = round(share * n)
        crossed |= np.abs(x[:, m - 1] - y[:, m - 1]) / m / np.sqrt(2 / m) > z
    expected = power(effect, n=n, sd=1.0, looks=looks, spending="pocock", approximation="normal")
    assert crossed.mean() == pytest.approx(expected, abs=3 * np.sqrt(0.25 / replicates))


def test_a_pilot_measures_what_planning_needs():
    rng = np.random.default_rng(2)
    store = np.repeat(np.arange(200), 10)
    own = rng.normal(0, 2, 200)[store]
    before = rng.normal(0, 3, 2000)
    frame = pd.DataFrame(
        {
            "store": store,
            "before": before,
            "spend": 50 + before + own + rng.normal(0, 4, 2000),
            "orders": rng.poisson(3, 2000) + 1,
            "came": rng.integers(0, 2, 2000),
        }
    )
    found = pilot(Mean("spend", covariates=("before",)), frame, cluster="store")
    assert found.sd == pytest.approx(frame["spend"].std(), rel=1e-9)
    assert found.covariate_r2 == pytest.approx(frame["spend"].corr(frame["before"]) ** 2, rel=1e-9)
    # variance 4 between and 16 within stores of ten: 1 + 9 x 4 / 20
    assert found.design_effect == pytest.approx(1 + 9 * 0.2, rel=0.2)
    rate = pilot(Proportion("came"), frame)
    assert rate.options() == {"baseline": frame["came"].mean(), "covariate_r2": 0.0, "design_effect": 1.0}
    ratio = pilot(Ratio("spend", "orders"), frame)
    r = frame["spend"].sum() / frame["orders"].sum()
    spread = (frame["spend"] - r * frame["orders"]).std() / frame["orders"].mean()
    assert (ratio.value, ratio.sd) == pytest.approx((r, spread), rel=1e-9)
    assert pilot(Mean("spend"), pl.from_pandas(frame)).sd == pytest.approx(found.sd)
    with pytest.raises(ContractError, match="does not vary"):
        pilot(Mean("spend"), frame.assign(spend=1.0))
    with pytest.raises(DesignError, match="quantile"):
        pilot(Quantile("spend"), frame)


def test_the_planned_size_finds_the_effect_on_data_like_the_pilot():
    """Units of an experiment sized by a pilot with covariates find the effect as often as planned."""
    rng = np.random.default_rng(6)

    def units(n, effect):
        before, arm = rng.gamma(2.0, 5.0, n), np.tile(["a", "b"], n // 2)
        spend = before + rng.gamma(2.0, 3.0, n) + effect * (arm == "b")
        return pd.DataFrame({"arm": arm, "before": before, "spend": spend})

    metric = Mean("spend", covariates=("before",))
    n = math.ceil(sample_size(1.0, **pilot(metric, units(4000, 0.0)).options()))
    plan = Comparison(metric, design="randomised", assignment="arm", control="a")
    found = [plan.analyse(units(2 * n, 1.0)).estimate().p_value < 0.05 for _ in range(300)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.08)
