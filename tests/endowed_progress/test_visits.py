import numpy as np
import pytest

from loyalty_research.endowed_progress import CardExperiment
from loyalty_research.endowed_progress.visits import arm_means, count_visits

ARMS = ("plain", "given")


def visits(seed=3, n=120):
    rng = np.random.default_rng(seed)
    arm_of = np.repeat([0, 1], n)
    return rng.poisson(rng.gamma(1.5, 2, 2 * n) * (1 + 0.4 * arm_of)).astype(float), arm_of


def counted(values, arm_of, cluster=None):
    return count_visits(values, arm_of, arms=ARMS, cluster=cluster, horizon="so far", level=0.95)


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


@pytest.mark.slow
def test_visit_ratio_covers(simulated):
    """Arms alike: the ratio is 1, cards drawn one by one and in clusters."""
    inside, clustered, ignored = [], [], []
    for seed in range(400):
        x = CardExperiment(simulated(seed), as_of="2024-12-31", control="control").visits()
        inside.append(x.ratios[0].low <= 1 <= x.ratios[0].high)
        events = simulated(seed, cluster_sd=0.8, per_arm=200, cluster_size=20)
        y = CardExperiment(events, as_of="2024-12-31", control="control", cluster="cluster_id").visits()
        clustered.append(y.ratios[0].low <= 1 <= y.ratios[0].high)
        z = CardExperiment(events, as_of="2024-12-31", control="control").visits()
        ignored.append(z.ratios[0].low <= 1 <= z.ratios[0].high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.033)
    assert np.mean(clustered) == pytest.approx(0.95, abs=0.04)
    assert np.mean(ignored) < 0.85
