import numpy as np
import pytest

from loyalty_research.endowed_progress import CardExperiment
from loyalty_research.endowed_progress.visits import arm_means, cost, count_visits
from loyalty_research.errors import ArgumentError

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


def economics(values, rewards, arm_of, margin=4.0, reward_cost=9.0):
    return cost(
        values, rewards, arm_of, arms=ARMS, cluster=None, margin=margin, reward_cost=reward_cost,
        currency="USD", horizon="so far", level=0.95,
    )  # fmt: skip


def test_net_is_margin_less_rewards():
    values, arm_of = visits()
    rewards = (values >= 8).astype(float)
    result = economics(values, rewards, arm_of)
    net = 4 * values - 9 * rewards
    want = counted(net, arm_of).differences[0]
    got = result.net[0]
    assert (got.value, got.low, got.high) == pytest.approx((want.value, want.low, want.high))


def test_break_even_limits_are_where_the_net_stops_being_told_from_nothing():
    values, arm_of = visits(n=2000)
    rewards = (values >= 6).astype(float)
    even = economics(values, rewards, arm_of).break_even[0]
    assert even.low < even.value < even.high
    at_value = economics(values, rewards, arm_of, margin=even.value).net[0]
    assert at_value.value == pytest.approx(0, abs=1e-9)
    # Fieller: at the upper limit the net's lower limit touches nothing, and conversely
    assert economics(values, rewards, arm_of, margin=even.high).net[0].low == pytest.approx(0, abs=1e-9)
    assert economics(values, rewards, arm_of, margin=even.low).net[0].high == pytest.approx(0, abs=1e-9)


def test_break_even_is_not_bounded_without_extra_visits():
    values, arm_of = visits(n=20)
    even = economics(values, values * 0.1, 1 - arm_of).break_even[0]
    assert np.isnan([even.value, even.low]).any()


def test_verdicts_of_the_economics():
    values, arm_of = visits(n=2000)
    rewards = (values >= 6).astype(float)
    assert "earns +" in economics(values, rewards, arm_of, margin=20).verdict()
    assert "loses" in economics(values, rewards, arm_of, margin=0).verdict()
    even = economics(values, rewards, arm_of).break_even[0].value
    assert "not known whether it pays" in economics(values, rewards, arm_of, margin=even).verdict()


def test_prices_are_checked(simulated):
    x = CardExperiment(simulated(1, per_arm=30), as_of="2024-12-31", control="control")
    with pytest.raises(ArgumentError, match="reward_cost"):
        x.economics(margin=2, reward_cost=-1)
    with pytest.raises(ArgumentError, match="margin"):
        x.economics(margin=float("nan"), reward_cost=1)


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
