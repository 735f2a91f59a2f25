import math

import numpy as np
import pytest
from scipy.special import exp1, hyp2f1

from loyalty_research.clv._quadrature import gauss_2f1, integrate_rate


def falling(power):
    """A rate of 1/scale (1 + t/scale)^-power, per unit of y."""
    return lambda y: np.exp((1 - power) * y)


@pytest.mark.parametrize("power", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("end", [0.01, 1.0, 52.0, 1e5])
def test_powers_have_their_closed_integral(power, end):
    scale = np.array([0.5, 5.0, 500.0])
    found = integrate_rate(falling(power), scale, edges=(0.0, end))
    grown = np.log1p(end / scale)
    truth = grown if power == 1 else np.expm1((1 - power) * grown) / (1 - power)
    np.testing.assert_allclose(found, truth, rtol=1e-12)


def test_discounting_without_end_is_the_exponential_integral():
    # the integral of exp(-d t)/(1 + t/c)/c over t is exp(d c) E1(d c)
    scale, decay = np.array([0.5, 5.0, 500.0]), 0.002
    found = integrate_rate(falling(1.0), scale, edges=(0.0, math.inf), decay=decay)
    np.testing.assert_allclose(found, np.exp(decay * scale) * exp1(decay * scale), rtol=1e-12)


def test_panels_add_up_and_carry_their_factors():
    scale = np.array([3.0, 30.0])
    whole = integrate_rate(falling(0.7), scale, edges=(0.0, 40.0))
    first = integrate_rate(falling(0.7), scale, edges=(0.0, 13.0))
    both = integrate_rate(falling(0.7), scale, edges=(0.0, 13.0, 40.0), factors=np.array([1.0, 0.5]))
    np.testing.assert_allclose(both, first + 0.5 * (whole - first), rtol=1e-12)


def test_each_row_may_end_at_its_own_time():
    scale, ends = np.array([3.0, 3.0, 30.0]), np.array([0.0, 10.0, 99.0])
    found = integrate_rate(falling(0.7), scale, edges=(0.0, ends))
    one = [integrate_rate(falling(0.7), scale[i : i + 1], edges=(0.0, ends[i]))[0] for i in range(3)]
    np.testing.assert_allclose(found, one, rtol=1e-12)
    assert found[0] == 0


def test_series_and_library_meet_where_they_change_over():
    z = np.linspace(0, 0.999, 30)
    for a, b, c in ((0.8, 2.1, 25.3), (12.0, 3.0, 40.0), (0.3, -0.6, 21.0)):
        lower = np.full_like(z, c)
        few = gauss_2f1(a, b, lower, z, purchases=np.zeros_like(z))
        many = gauss_2f1(a, b, lower, z, purchases=np.full_like(z, 50.0))
        np.testing.assert_allclose(few, many, rtol=1e-12)


def test_the_series_answers_where_the_library_does_not():
    lower, z = np.array([303.0]), np.array([0.998])
    assert not np.isfinite(hyp2f1(1.0, 1.0, 303.0, 0.998))
    found = gauss_2f1(1.0, 1.0, lower, z, purchases=np.array([300.0]))
    # Pochhammer ratios summed directly
    terms = [1.0]
    for k in range(200):
        terms.append(terms[-1] * (1 + k) * (1 + k) / (303 + k) / (1 + k) * 0.998)
    assert found[0] == pytest.approx(math.fsum(terms), rel=1e-14)
