import numpy as np
import pytest

from loyalty_research.endowed_progress._clusters import cluster_contrast, cluster_ratio, cluster_variances


def cards(seed=4, clusters=24, size=7, crossed=False):
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), size)
    treated = rng.random(len(cluster)) < 0.5 if crossed else cluster % 2 == 1
    chance = 0.25 + 0.15 * treated + 0.1 * rng.standard_normal(clusters)[cluster]
    return rng.random(len(cluster)) < np.clip(chance, 0.02, 0.98), treated, cluster


@pytest.mark.parametrize("crossed", [False, True])
def test_contrast_equals_clustered_least_squares(crossed):
    import statsmodels.api as sm

    done, treated, cluster = cards(crossed=crossed)
    fit = sm.OLS(done.astype(float), sm.add_constant(treated.astype(float))).fit(
        cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": True}
    )
    # statsmodels multiplies by (N - 1)/(N - 2) on top of G/(G - 1)
    n = len(done)
    got = cluster_contrast(done, treated, cluster, 0.95).difference
    assert got.value == pytest.approx(fit.params[1], abs=1e-12)
    covariance, _ = cluster_variances(done.astype(float), treated.astype(int), cluster, 2)
    line = np.array([-1, 1])
    assert line @ covariance @ line == pytest.approx(fit.bse[1] ** 2 * (n - 2) / (n - 1), rel=1e-10)


def test_degrees_fall_with_arms_where_clusters_are_nested():
    done, treated, cluster = cards()
    narrow = cluster_contrast(done, treated, cluster, 0.5).difference
    wide = cluster_contrast(done, treated, cluster, 0.99).difference
    from scipy import stats

    ratio = (wide.high - wide.value) / (narrow.high - narrow.value)
    assert ratio == pytest.approx(stats.t.isf(0.005, 22) / stats.t.isf(0.25, 22), rel=1e-9)


def test_cards_alone_are_clusters_of_one():
    done, treated, _ = cards()
    covariance, held = cluster_variances(done.astype(float), treated.astype(int), np.arange(len(done)), 2)
    rate, n = done[treated].mean(), treated.sum()
    assert covariance[1, 1] == pytest.approx(rate * (1 - rate) / n * len(done) / (len(done) - 1))
    assert held.tolist() == [(~treated).sum(), treated.sum()]


def test_ratio_of_nothing_is_unknown():
    done, treated, cluster = cards()
    known = cluster_ratio(cluster_contrast(done, treated, cluster, 0.95))
    assert known.low < known.value < known.high
    unknown = cluster_ratio(cluster_contrast(done & treated, treated, cluster, 0.95))
    assert np.isnan(unknown.value)
