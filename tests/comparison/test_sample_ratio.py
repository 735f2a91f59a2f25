import numpy as np
import pytest
from scipy import stats

from loyalty_research.comparison import sample_ratio_test
from loyalty_research.errors import ArgumentError, DesignError


def test_kohavi(oracle):
    case = oracle("srm_kohavi")
    test = sample_ratio_test(case["inputs"]["counts"], ratio=case["inputs"]["ratio"])
    assert test.p_value == pytest.approx(case["expected"], abs=case["tolerance"])


def test_hillstrom(oracle):
    case = oracle("srm_hillstrom")
    test = sample_ratio_test(case["inputs"]["counts"], ratio=(1, 1, 1))
    assert [test.statistic, test.p_value] == pytest.approx(case["expected"], abs=case["tolerance"])
    assert test.degrees_of_freedom == 2


def test_unequal_plans_are_judged_against_the_plan():
    assert sample_ratio_test([900, 100], ratio=(9, 1)).p_value == 1.0
    assert sample_ratio_test([900, 100], ratio=(0.5, 0.5)).p_value < 1e-100
    by_label = sample_ratio_test({"b": 100, "a": 900}, ratio={"a": 0.9, "b": 0.1})
    assert by_label.observed == (900, 100)
    assert by_label.p_value == 1.0


def test_equals_scipy():
    test = sample_ratio_test([480, 340, 180], ratio=(5, 3, 2))
    expected = stats.chisquare([480, 340, 180], np.array([0.5, 0.3, 0.2]) * 1000)
    assert (test.statistic, test.p_value) == pytest.approx((expected.statistic, expected.pvalue))


@pytest.mark.parametrize(
    ("counts", "ratio", "error", "said"),
    [
        ([5, 5], (1, 0), DesignError, "number 2 has no positive weight"),
        ({"a": 5, "b": 5}, {"a": 1, "b": 0}, DesignError, "arm b has no positive weight"),
        ([5, 5], (1, -1), DesignError, "no positive weight"),
        ([5, 5], (1, 1, 1), DesignError, "2 arms were counted but ratio has 3"),
        ({"a": 5}, {"a": 1, "b": 1}, DesignError, "arms b"),
        ([5], (1,), ArgumentError, "two arms"),
        ([5, -1], (1, 1), ArgumentError, "whole numbers"),
        ([0, 0], (1, 1), ArgumentError, "nothing to test"),
        ([5, 5], {"a": 1, "b": 1}, ArgumentError, "both by label"),
    ],
)
def test_bad_input(counts, ratio, error, said):
    with pytest.raises(error, match=said):
        sample_ratio_test(counts, ratio=ratio)


def test_false_alarms_are_as_rare_as_they_say():
    rng = np.random.default_rng(3)
    p = [
        sample_ratio_test(rng.multinomial(2000, [0.5, 0.3, 0.2]), ratio=(5, 3, 2)).p_value
        for _ in range(4000)
    ]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 4000))
