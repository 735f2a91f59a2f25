"""Local polynomials: neighbours by hand, weights that reproduce polynomials."""

import numpy as np
import pytest

from loyalty_research.stats.local_polynomial import KERNELS, nearest_residuals, weights_of


def test_neighbours_are_the_nearest_three_with_ties():
    rng = np.random.default_rng(5)
    x = np.sort(rng.integers(0, 30, 60)).astype(float)
    y = rng.normal(size=60)
    for i, found in enumerate(nearest_residuals(x, y)):
        away = np.abs(np.delete(x, i) - x[i])
        near = np.delete(y, i)[away <= np.sort(away)[2]]
        assert found == pytest.approx(np.sqrt(len(near) / (len(near) + 1)) * (y[i] - near.mean()), abs=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_polynomial_of_the_order_is_reproduced_exactly(kernel):
    x = np.sort(np.random.default_rng(1).uniform(0, 10, 200))
    y = 3 - 2 * x + 0.5 * x**2
    for derivative, coefficient in enumerate((3, -2, 0.5)):
        weights = weights_of(x, order=2, derivative=derivative, bandwidth=6, kernel=kernel)
        assert weights @ y == pytest.approx(coefficient)
        assert not weights[x > 6].any()
