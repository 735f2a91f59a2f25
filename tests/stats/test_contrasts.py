import math

import numpy as np
import pytest
from scipy import stats

from loyalty_research.errors import ArgumentError
from loyalty_research.stats.contrasts import (
    contrast_of_proportions,
    contrast_power,
    trend_test,
    trend_weights,
)
from loyalty_research.stats.proportions import difference_in_proportions, power_two_proportions


@pytest.mark.parametrize("name", ["trend_even_scores", "trend_uneven_scores"])
def test_trend_equals_r(oracle, name):
    case = oracle(name)
    x, want, near = case["inputs"], case["expected"], case["tolerance"]
    z, p = trend_test(x["x"], x["n"], x["scores"])
    assert z > 0
    assert z**2 == pytest.approx(want["chi2"], abs=near)
    assert p == pytest.approx(want["p"], abs=near)


def test_trend_weights_give_the_least_squares_slope():
    x, n, scores = np.array([28, 36, 45, 51]), np.array([150, 140, 155, 150]), np.array([0, 1, 2, 5])
    slope = np.polyfit(scores, x / n, 1, w=np.sqrt(n))[0]
    assert trend_weights(scores, n) @ (x / n) == pytest.approx(slope)


def test_two_arms_have_newcombes_interval():
    got = contrast_of_proportions([51, 28], [150, 150], [1, -1])
    want = difference_in_proportions(51, 150, 28, 150)
    assert (got.value, got.low, got.high) == pytest.approx((want.value, want.low, want.high))


def test_p_value_is_where_the_interval_touches_nothing():
    for x in ([30, 22, 41, 20], [20, 41, 22, 30]):
        got = contrast_of_proportions(x, [100, 90, 110, 95], [1, -1, 0.5, -0.5])
        at = contrast_of_proportions(x, [100, 90, 110, 95], [1, -1, 0.5, -0.5], level=1 - got.p_value)
        assert min(abs(at.low), abs(at.high)) == pytest.approx(0, abs=1e-9)
    assert contrast_of_proportions([10, 10], [50, 50], [1, -1]).p_value == 1
    assert contrast_of_proportions([0, 500], [500, 500], [1, -1]).p_value < 1e-14


def test_power_of_a_difference_and_of_a_trend():
    want = power_two_proportions(51 / 150, 28 / 150, n1=150)
    assert contrast_power([51 / 150, 28 / 150], [1, -1], n=150) == pytest.approx(want)
    rng, rates, scores, n = np.random.default_rng(2), [0.2, 0.24, 0.28, 0.32], [0, 1, 2, 3], 150
    weights = trend_weights(scores, [n] * 4)
    drawn = rng.binomial(n, rates, (20_000, 4))
    pooled = drawn.sum(axis=1) / (4 * n)
    z = (drawn / n) @ weights / np.sqrt(pooled * (1 - pooled) * (weights**2).sum() / n)
    found = (np.abs(z) > stats.norm.isf(0.025)).mean()
    assert contrast_power(rates, weights, n=n) == pytest.approx(found, abs=0.01)


def test_an_interaction_covers_and_holds_its_size():
    rng, rates, w, n = np.random.default_rng(5), [0.1, 0.25, 0.3, 0.45], [1, -1, -1, 1], 80
    inside = rejected = 0
    for x in rng.binomial(n, rates, (1500, 4)):
        e = contrast_of_proportions(x.tolist(), [n] * 4, w)
        inside += e.low <= 0 <= e.high
        rejected += e.p_value < 0.05
    assert inside / 1500 == pytest.approx(0.95, abs=0.017)
    assert rejected == 1500 - inside


def test_what_cannot_be():
    for bad in (
        ([1], [2], [1, -1]),
        ([3, 1], [2, 2], [1, -1]),
        ([1, 1], [2, 0], [1, -1]),
        ([1, 1], [2, 2], [0, 0]),
    ):
        with pytest.raises(ArgumentError):
            contrast_of_proportions(*bad)
    with pytest.raises(ArgumentError, match="different scores"):
        trend_test([1, 2], [5, 5], [1, 1])
    z, p = trend_test([0, 0], [5, 5], [0, 1])
    assert math.isnan(z)
    assert p == 1
