import math

import pytest
from scipy import stats

from loyalty_research import comparison
from loyalty_research.errors import ArgumentError
from loyalty_research.stats.effect_sizes import chi_squared_test, cohen_h, e_value, phi


def test_phi_is_the_correlation_and_the_root_of_chi_squared():
    x1, n1, x2, n2 = 30, 80, 12, 60
    arm, outcome = [1] * n1 + [0] * n2, [1] * x1 + [0] * (n1 - x1) + [1] * x2 + [0] * (n2 - x2)
    assert phi(x1, n1, x2, n2) == pytest.approx(stats.pearsonr(arm, outcome).statistic)
    assert n1 + n2 == pytest.approx(chi_squared_test(x1, n1, x2, n2)[0] / phi(x1, n1, x2, n2) ** 2)


def test_a_correction_is_conservative():
    assert chi_squared_test(30, 80, 12, 60, correction=True)[1] > chi_squared_test(30, 80, 12, 60)[1]


def test_no_outcome_tells_nothing():
    assert math.isnan(phi(0, 10, 0, 12))
    assert chi_squared_test(10, 10, 12, 12) == (0.0, 1.0)


def test_h_is_antisymmetric_and_largest_at_the_ends():
    assert cohen_h(0.2, 0.5) == -cohen_h(0.5, 0.2)
    assert cohen_h(1, 0) == pytest.approx(math.pi)


def test_e_value_is_one_function_for_both_packages():
    assert comparison.e_value is e_value


def test_what_cannot_be():
    with pytest.raises(ArgumentError, match="from 0 to 1"):
        cohen_h(1.2, 0.5)
    with pytest.raises(ArgumentError, match="exceeds"):
        phi(3, 2, 1, 2)
    with pytest.raises(ArgumentError, match="x2"):
        chi_squared_test(1, 2, -1, 2)
