"""Bands that cover several estimates at once, and the joint test."""

import numpy as np
import pytest
from scipy import stats

from loyalty_research.stats.simultaneous import joint_test, simultaneous_quantile


def test_one_or_perfectly_correlated_effects_need_no_wider_band():
    plain = stats.norm.isf(0.025)
    assert simultaneous_quantile(np.eye(1), level=0.95, seed=1, draws=200_000) == pytest.approx(
        plain, abs=0.02
    )
    alike = simultaneous_quantile(np.full((4, 4), 2.0), level=0.95, seed=1, draws=200_000)
    assert alike == pytest.approx(plain, abs=0.02)


def test_independent_effects_need_sidaks_band():
    found = simultaneous_quantile(np.diag([1.0, 4.0, 9.0]), level=0.95, seed=2, draws=200_000)
    assert found == pytest.approx(stats.norm.isf((1 - 0.95 ** (1 / 3)) / 2), abs=0.02)


def test_the_joint_test_is_the_same_whatever_the_units_and_counts_what_is_free():
    rng = np.random.default_rng(3)
    root, effects = rng.normal(size=(3, 3)), rng.normal(size=3)
    one = joint_test(effects, root @ root.T)
    turn = rng.normal(size=(3, 3))
    assert joint_test(turn @ effects, turn @ root @ root.T @ turn.T)[0] == pytest.approx(one[0])
    # an effect that is the sum of others adds nothing
    add = np.vstack([np.eye(3), np.ones(3)])
    more = joint_test(add @ effects, add @ root @ root.T @ add.T)
    assert (more[0], more[1]) == (pytest.approx(one[0]), 3)
    assert joint_test(np.zeros(2), np.zeros((2, 2))) == (0.0, 0, 1.0)
