import numpy as np
import pytest

from loyalty_research.errors import ArgumentError
from loyalty_research.stats.negative_binomial import fit_negative_binomial


def test_fit_equals_glm_nb(oracle):
    case = oracle("negative_binomial_two_groups")
    want, near = case["expected"], case["tolerance"]
    fit = fit_negative_binomial(case["inputs"]["counts"], case["inputs"]["group"])
    assert 1 / fit.dispersion == pytest.approx(want["theta"], abs=near)
    assert fit.log_likelihood == pytest.approx(want["log_likelihood"], abs=near)
    assert np.log(fit.mean[1] / fit.mean[0]) == pytest.approx(want["log_ratio"], abs=near)
    error = np.sqrt((fit.variance / fit.mean**2).sum())
    assert error == pytest.approx(want["log_ratio_error"], abs=near)
    # d theta = d dispersion / dispersion^2; the two informations differ a little on twenty counts
    assert fit.dispersion_error / fit.dispersion**2 == pytest.approx(want["theta_error"], rel=0.1)


def test_counts_less_spread_than_poisson_have_no_dispersion():
    fit = fit_negative_binomial([2, 2, 3, 2, 3, 3], [0, 0, 0, 1, 1, 1])
    assert fit.dispersion == 0
    assert np.isnan(fit.dispersion_error)
    assert fit.log_likelihood == fit.poisson_log_likelihood


def test_dispersion_is_found():
    rng = np.random.default_rng(2)
    group = np.repeat([0, 1], 4000)
    counts = rng.poisson(rng.gamma(2.0, 0.5, 8000) * np.where(group == 1, 6.0, 3.0))
    fit = fit_negative_binomial(counts, group)
    assert abs(fit.dispersion - 0.5) < 3.5 * fit.dispersion_error
    assert fit.mean == pytest.approx([3, 6], rel=0.05)


@pytest.mark.parametrize("counts", [[], [1, -1], [0.5, 1], [np.nan, 1]])
def test_what_is_no_count_is_refused(counts):
    with pytest.raises(ArgumentError, match="whole numbers"):
        fit_negative_binomial(counts, [0] * len(counts))
