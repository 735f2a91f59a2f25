import numpy as np
import pytest

from loyalty_research.endowed_progress import CardExperiment
from loyalty_research.endowed_progress.visits import arm_means, count_visits
from loyalty_research.errors import ArgumentError, DesignError

ARMS = ("plain", "given")


def visits(seed=3, n=120):
    rng = np.random.default_rng(seed)
    arm_of = np.repeat([0, 1], n)
    return rng.poisson(rng.gamma(1.5, 2, 2 * n) * (1 + 0.4 * arm_of)).astype(float), arm_of


def counted(values, arm_of, cluster=None, **options):
    return count_visits(values, arm_of, arms=ARMS, cluster=cluster, horizon="so far", level=0.95, **options)


def test_ratio_equals_robust_poisson_regression():
    import statsmodels.api as sm

    values, arm_of = visits()
    fit = sm.GLM(values, sm.add_constant(arm_of.astype(float)), family=sm.families.Poisson()).fit(
        cov_type="HC0"
    )
    (ratio,) = counted(values, arm_of).ratios
    assert ratio.value == pytest.approx(np.exp(fit.params[1]), rel=1e-9)
    # HC0 divides each arm's squares by n, the variance of a mean by n - 1
    se = np.log(ratio.high / ratio.value) / 1.959963984540054
    assert se == pytest.approx(fit.bse[1] * np.sqrt(120 / 119), rel=1e-9)


def test_difference_equals_welch():
    from scipy import stats

    values, arm_of = visits()
    (d,) = counted(values, arm_of).differences
    welch = stats.ttest_ind(values[arm_of == 1], values[arm_of == 0], equal_var=False)
    assert d.value == pytest.approx(values[arm_of == 1].mean() - values[arm_of == 0].mean())
    half = (d.high - d.value) / 1.959963984540054
    assert half == pytest.approx(d.value / welch.statistic)
    assert d.p_value == pytest.approx(2 * stats.norm.sf(abs(welch.statistic)))


def test_negative_binomial_equals_its_regression():
    import statsmodels.api as sm

    values, arm_of = visits()
    exog = sm.add_constant(arm_of.astype(float))
    fit = sm.NegativeBinomial(values, exog).fit(disp=0, method="newton")
    result = counted(values, arm_of, model="negative-binomial")
    (ratio,) = result.ratios
    assert ratio.value == pytest.approx(np.exp(fit.params[1]), rel=1e-8)
    z = 1.959963984540054
    assert np.log(ratio.high / ratio.value) / z == pytest.approx(fit.bse[1], rel=1e-6)
    assert result.dispersion.value == pytest.approx(fit.params[2], rel=1e-6)
    assert (result.dispersion.high - result.dispersion.value) / z == pytest.approx(fit.bse[2], rel=1e-4)
    # the same averages, and nearly the same certainty, since the counts are negative binomial
    robust = counted(values, arm_of)
    assert result.differences[0].value == robust.differences[0].value
    widths = [r.differences[0].high - r.differences[0].low for r in (result, robust)]
    assert widths[0] == pytest.approx(widths[1], rel=0.1)
    assert result.checks[-1].status == "passed"


def test_capped_visits_are_seen_not_to_be_negative_binomial():
    rng = np.random.default_rng(1)
    arm_of = np.repeat([0, 1], 200)
    full = np.where(rng.random(400) < 0.5, 8.0, 7.0)  # nearly all cards full: less than Poisson variance
    result = counted(full, arm_of, model="negative-binomial")
    assert result.dispersion.value == 0
    assert result.checks[-1].status == "warning"
    assert result.ratios[0].high > counted(full, arm_of).ratios[0].high


def test_negative_binomial_with_clusters_is_the_sandwich():
    values, arm_of = visits()
    cluster = np.arange(len(values)) // 6
    both = [counted(values, arm_of, cluster, model=m) for m in ("poisson", "negative-binomial")]
    assert both[0].differences[0].low == both[1].differences[0].low
    assert both[0].ratios[0].high == both[1].ratios[0].high


def test_shared_visits_are_no_counts():
    values, arm_of = visits()
    with pytest.raises(DesignError, match="use model='poisson'"):
        counted(values / 2, arm_of, model="negative-binomial")


def test_the_model_is_an_option_of_the_experiment(simulated):
    x = CardExperiment(simulated(1, per_arm=40), as_of="2024-12-31", control="control")
    assert x.visits(model="negative-binomial").dispersion is not None
    assert x.visits().dispersion is None
    with pytest.raises(ArgumentError, match="poisson, negative-binomial"):
        x.visits(model="gamma")


def test_clusters_of_one_are_cards():
    values, arm_of = visits()
    single = arm_means(values[:, None], arm_of, 2, np.arange(len(values)))
    plain = arm_means(values[:, None], arm_of, 2, None)
    # G/(G - 1) over both arms against n/(n - 1) within each
    assert single.covariance[0, 0] == pytest.approx(plain.covariance[0, 0] * (240 / 239) * (119 / 120))


def test_verdict_follows_the_interval():
    values, arm_of = visits(n=2000)
    assert "(95% interval +" in counted(values, arm_of).verdict()
    assert (
        "difference of nothing is not excluded"
        in counted(np.tile([1.0, 2.0], 20), np.repeat([0, 1], 20)).verdict()
    )
    assert np.isnan(counted(np.zeros(40), np.repeat([0, 1], 20)).ratios[0].value)
