import numpy as np
import pytest
from scipy import stats as sps

from loyalty_research.errors import ArgumentError
from loyalty_research.stats import proportion_power as pp

P1, P2 = 51 / 150, 28 / 150


def test_carwash_sizes(oracle):
    case = oracle("carwash_sample_size_power")
    want, near = case["expected"], {"abs": case["tolerance"], "rel": 0}
    for power in (80, 90):
        for method in ("pooled", "arcsine"):
            name = {"pooled": "pooled-z", "arcsine": "arcsine"}[method]
            got = pp.sample_size_two_proportions(P1, P2, power=power / 100, method=name)
            assert got == pytest.approx(want[f"n_per_arm_{power}_{method}"], **near)
        got = pp.sample_size_two_proportions(P1, P2, power=power / 100, method="exact-z")
        assert got == want[f"n_exact_ztest_{power}"]
        increase = pp.detectable_increase(P2, n1=150, power=power / 100)
        assert increase == pytest.approx(want[f"mde_at_150_{power}"], **near)
    assert pp.power_two_proportions(P1, P2, n1=150) == pytest.approx(want["power_at_150"], **near)
    half = pp.sample_size_two_proportions((P1 + P2) / 2, P2)
    assert half == pytest.approx(want["n_half_effect_80"], **near)
    lower = pp.sample_size_two_proportions(P2 + 0.05372935860540792, P2)
    assert lower == pytest.approx(want["n_at_95ci_lower_80"], **near)


@pytest.mark.parametrize("power", [80, 90])
def test_carwash_sizes_for_fisher(oracle, power):
    want = oracle("carwash_sample_size_power")["expected"]
    got = pp.sample_size_two_proportions(P1, P2, power=power / 100, method="exact-fisher")
    assert got == want[f"n_exact_fisher_{power}"]


def test_arcsine_equals_r(oracle):
    case = oracle("power_2p_arcsine")
    x = case["inputs"]
    got = pp.sample_size_two_proportions(x["p1"], x["p2"], power=x["power"], method="arcsine")
    assert got == pytest.approx(case["expected"], abs=case["tolerance"])


def test_fisher_regions_equal_scipy():
    n1, n2 = 9, 7
    got = pp._rejects_fisher(n1, n2, 0.05)
    want = [
        [sps.fisher_exact([[a, b], [n1 - a, n2 - b]])[1] <= 0.05 for b in range(n2 + 1)]
        for a in range(n1 + 1)
    ]
    assert (got == np.array(want)).all()


def test_size_and_power_undo_each_other_with_unequal_arms():
    n1 = pp.sample_size_two_proportions(0.3, 0.2, power=0.9, ratio=2)
    got = pp.power_two_proportions(0.3, 0.2, n1=round(n1), n2=2 * round(n1))
    assert got == pytest.approx(0.9, abs=0.003)
    exact = pp.power_two_proportions(0.3, 0.2, n1=round(n1), n2=2 * round(n1), method="exact-z")
    assert exact == pytest.approx(got, abs=0.01)


def test_power_under_no_difference_is_the_size():
    assert pp.power_two_proportions(0.2, 0.2, n1=500) == pytest.approx(0.05, abs=1e-9)
    assert pp.power_two_proportions(0.2, 0.2, n1=60, method="exact-fisher") <= 0.05


def test_bad_options_are_refused():
    for call in (
        lambda: pp.power_two_proportions(0, 0.2, n1=10),
        lambda: pp.power_two_proportions(0.1, 0.2, n1=1),
        lambda: pp.power_two_proportions(0.1, 0.2, n1=10, method="t"),
        lambda: pp.power_two_proportions(0.1, 0.2, n1=4000, method="exact-z"),
        lambda: pp.sample_size_two_proportions(0.2, 0.2),
        lambda: pp.sample_size_two_proportions(0.2, 0.3, power=1),
        lambda: pp.sample_size_two_proportions(0.2, 0.3, power=0.04),
        lambda: pp.sample_size_two_proportions(0.2, 0.3, ratio=0),
        lambda: pp.sample_size_two_proportions(0.2, 0.205, method="exact-z"),
        lambda: pp.detectable_increase(0.9, n1=3),
        lambda: pp.detectable_increase(0.2, n1=30, power=0.03),
    ):
        with pytest.raises(ArgumentError):
            call()
