import numpy as np
import pytest

from loyalty_research.comparison import minimal_detectable_effect, power, sample_size
from loyalty_research.errors import ArgumentError


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
