import numpy as np
import pytest
from scipy import stats

from loyalty_research.errors import ContractError, DesignError
from loyalty_research.stats.arm_contrasts import contrast, mean_of_first, means_of_rows, t_limits


def compared(one, zero, covariates=(), codes=(None, None)):
    return contrast(
        means_of_rows(one, codes[0]),
        means_of_rows(zero, codes[1]),
        mean_of_first,
        outcomes=1,
        covariates=covariates,
    )


def test_without_covariates_it_is_scipys_welch():
    rng = np.random.default_rng(1)
    one, zero = rng.gamma(2, 3, (40, 1)), rng.gamma(2, 2, (70, 1))
    found = compared(one, zero)
    peer = stats.ttest_ind(one[:, 0], zero[:, 0], equal_var=False)
    low, high, p = t_limits(
        float(found.difference[0]), float(np.sqrt(found.covariance[0, 0])), found.dof[0], 0.95
    )
    assert (low, high) == pytest.approx(tuple(peer.confidence_interval(0.95)))
    assert p == pytest.approx(peer.pvalue)


def test_clusters_of_one_size_are_welchs_test_of_their_means():
    rng = np.random.default_rng(2)
    one, zero = rng.normal(size=(60, 1)), rng.normal(size=(40, 1))
    found = compared(one, zero, codes=(np.repeat(np.arange(12), 5), np.repeat(np.arange(8), 5)))
    peer = stats.ttest_ind(one.reshape(12, 5).mean(axis=1), zero.reshape(8, 5).mean(axis=1), equal_var=False)
    assert found.difference[0] / np.sqrt(found.covariance[0, 0]) == pytest.approx(peer.statistic)
    assert found.dof[0] == pytest.approx(peer.df)


def test_a_covariate_that_tells_all_leaves_no_doubt():
    rng = np.random.default_rng(3)
    x_one, x_zero = rng.normal(size=50), rng.normal(size=50)
    one, zero = np.column_stack([2 * x_one + 1, x_one]), np.column_stack([2 * x_zero, x_zero])
    found = compared(one, zero, covariates=("x",))
    assert found.difference[0] == pytest.approx(1.0)
    assert found.covariance[0, 0] == pytest.approx(0.0, abs=1e-12)


def test_covariates_that_say_nothing_are_refused():
    rng = np.random.default_rng(4)
    y, x = rng.normal(size=(2, 30))
    flat = np.column_stack([y, np.ones(30)])
    with pytest.raises(ContractError, match="the same for every unit"):
        compared(flat, flat, covariates=("x",))
    twice = np.column_stack([y, x, 2 * x])
    with pytest.raises(ContractError, match="determine one another"):
        compared(twice, twice, covariates=("x", "z"))
    with pytest.raises(DesignError, match="at least 2"):
        means_of_rows(np.ones((5, 1)), np.zeros(5, dtype=int))
