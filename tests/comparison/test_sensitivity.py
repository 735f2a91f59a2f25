import numpy as np
import pytest

from loyalty_research.comparison import e_value, robustness_value
from loyalty_research.comparison.sensitivity import risk_ratio_of_means
from loyalty_research.errors import ArgumentError


def test_e_values_of_vanderweele_and_ding(oracle):
    case = oracle("evalue")
    found = [e_value(rr) for rr in case["inputs"]["rr"]]
    assert found == pytest.approx(case["expected"], abs=case["tolerance"])


def test_an_e_value_does_not_care_for_the_direction():
    assert e_value(0.5) == pytest.approx(e_value(2.0))
    assert e_value(1.0) == 1.0
    with pytest.raises(ArgumentError):
        e_value(0.0)


def test_robustness_value_of_cinelli_and_hazlett(oracle):
    case = oracle("sensemakr_darfur")
    given = case["inputs"]
    t = given["estimate"] / given["se"]
    dof = given["residual_df"]
    found = [
        robustness_value(t, degrees_of_freedom=dof),
        robustness_value(t, degrees_of_freedom=dof, level=0.95),
    ]
    assert found == pytest.approx(case["expected"][3:], abs=case["tolerance"])


@pytest.mark.parametrize("t", [0.5, 2.0, 6.0, 40.0])
def test_a_confounder_of_that_strength_does_explain_it_away(t):
    """Put a confounder with both partial R2 equal to the value into the bias formula: nothing is left."""
    dof = 500.0
    rv = robustness_value(t, degrees_of_freedom=dof)
    bias_over_se = np.sqrt(rv * rv / (1 - rv) * dof)  # Cinelli and Hazlett (2020), eq. 7, over the se
    assert bias_over_se == pytest.approx(t)


@pytest.mark.parametrize("t", [2.5, 4.0, 9.0])
def test_a_confounder_of_that_strength_brings_the_interval_to_zero(t):
    from scipy import stats

    dof = 200.0
    rv = robustness_value(t, degrees_of_freedom=dof, level=0.95)
    adjusted_t = (t / np.sqrt(dof) - rv / np.sqrt(1 - rv)) / np.sqrt((1 - rv) / (1 - rv)) * np.sqrt(dof - 1)
    assert adjusted_t == pytest.approx(stats.t.isf(0.025, dof - 1))


def test_an_interval_with_zero_needs_no_confounder():
    assert robustness_value(1.0, degrees_of_freedom=100, level=0.95) == 0.0
    assert robustness_value(0.0, degrees_of_freedom=100) == 0.0


def test_in_a_tiny_regression_the_outcome_side_no_longer_binds():
    """With 7 degrees of freedom the extreme bound holds (sensemakr's case), and it is still a share."""
    value = robustness_value(1 / 0.3, degrees_of_freedom=7, level=0.95)
    assert 0 < value < robustness_value(1 / 0.3, degrees_of_freedom=7) < 1


def test_bad_input():
    for bad in ({"degrees_of_freedom": 0.5}, {"degrees_of_freedom": 10, "q": 0.0}):
        with pytest.raises(ArgumentError):
            robustness_value(2.0, **bad)
    with pytest.raises(ArgumentError):
        risk_ratio_of_means(1.0, 0.0)
