"""The log-rank family against R's survival and lifelines."""

import numpy as np
import pytest
from lifelines.datasets import load_lung
from lifelines.statistics import logrank_test as lifelines_logrank

from loyalty_research.stats.logrank import logrank


@pytest.fixture(scope="module")
def lung():
    return load_lung()


def test_logrank_equals_r(lung, oracle):
    for name, weighting in (("lung_logrank_sex", "logrank"), ("lung_peto_rho1_sex", "peto")):
        case = oracle(name)
        found = logrank(lung["time"], lung["status"], lung["sex"], weighting=weighting)
        assert found.statistic == pytest.approx(case["expected"], abs=case["tolerance"])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("logrank", None), ("wilcoxon", "wilcoxon"), ("tarone-ware", "tarone-ware")],
)
def test_weighted_tests_agree_with_lifelines(lung, ours, theirs):
    male, female = (g for _, g in lung.groupby("sex"))
    peer = lifelines_logrank(
        male["time"], female["time"], male["status"], female["status"], weightings=theirs
    ).test_statistic
    assert logrank(lung["time"], lung["status"], lung["sex"], weighting=ours).statistic == pytest.approx(peer)


def test_fleming_harrington_agrees_with_lifelines(lung):
    male, female = (g for _, g in lung.groupby("sex"))
    peer = lifelines_logrank(
        male["time"],
        female["time"],
        male["status"],
        female["status"],
        weightings="fleming-harrington",
        p=0.5,
        q=1.0,
    ).test_statistic
    ours = logrank(
        lung["time"], lung["status"], lung["sex"], weighting="fleming-harrington", p=0.5, q=1.0
    ).statistic
    assert ours == pytest.approx(peer)


def test_strata_add_up(lung):
    by_sex = [logrank(g["time"], g["status"], g["age"] > 60) for _, g in lung.groupby("sex")]
    both = logrank(lung["time"], lung["status"], lung["age"] > 60, strata=lung["sex"])
    assert np.allclose(both.observed, sum(t.observed for t in by_sex))
    assert np.allclose(both.expected, sum(t.expected for t in by_sex))
    assert np.allclose(both.covariance, sum(t.covariance for t in by_sex))
