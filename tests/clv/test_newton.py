import numpy as np
import pytest

from loyalty_research.clv._newton import maximise
from loyalty_research.errors import ConvergenceError


def _bowl(centre, curvature):
    def objective(theta):
        away = theta - centre
        return -0.5 * away @ curvature @ away, -curvature @ away, -curvature

    return objective


def test_a_parabola_takes_few_steps():
    centre, curvature = np.array([0.5, -1.0]), np.array([[3.0, 1.0], [1.0, 2.0]])
    found = maximise(_bowl(centre, curvature), np.zeros(2), names=("p", "q"), model="M")
    np.testing.assert_allclose(found.theta, centre, atol=1e-12)
    np.testing.assert_allclose(found.information, curvature)
    assert found.route == "newton"
    assert found.iterations <= 3


def test_the_stop_rule_means_the_same_at_any_size():
    for size in (1e2, 1e6, 1e12):
        found = maximise(_bowl(np.ones(2), size * np.eye(2)), np.zeros(2), names=("p", "q"), model="M")
        np.testing.assert_allclose(found.theta, 1, atol=1e-7 / np.sqrt(size))


def _hill(theta):
    """The log of a Cauchy density around 1: convex far from the top."""
    t = theta[0] - 1
    return -np.log1p(t**2), np.array([-2 * t / (1 + t**2)]), np.array([[(2 * t**2 - 2) / (1 + t**2) ** 2]])


def test_negative_curvature_at_the_start_is_climbed_out_of():
    found = maximise(_hill, np.array([9.0]), names=("p",), model="M")
    assert found.theta[0] == pytest.approx(1, abs=1e-8)
    assert found.route == "newton"


def test_bfgs_takes_over_where_newton_runs_out_of_steps():
    found = maximise(_hill, np.array([9.0]), names=("p",), model="M", most=2)
    assert found.theta[0] == pytest.approx(1, abs=1e-8)
    assert found.route == "bfgs"


@pytest.mark.parametrize(("sign", "where"), [(1, "infinity"), (-1, "zero")])
def test_a_runaway_parameter_is_named(sign, where):
    def objective(theta):
        rise = np.exp(-sign * theta[1])
        value = -rise - 0.5 * theta[0] ** 2
        return value, np.array([-theta[0], sign * rise]), np.diag([-1.0, -rise])

    with pytest.raises(ConvergenceError, match=f"M did not converge: q runs off to {where}"):
        maximise(objective, np.array([0.3, 0.0]), names=("p", "q"), model="M")


def test_a_broken_objective_raises_instead_of_answering():
    def objective(theta):
        return np.nan, np.array([np.nan]), np.array([[np.nan]])

    with pytest.raises(ConvergenceError, match="no maximum was reached"):
        maximise(objective, np.zeros(1), names=("p",), model="M")
