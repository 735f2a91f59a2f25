import math

import numpy as np
import pytest
from scipy import stats

from loyalty_research import comparison
from loyalty_research.errors import ArgumentError
from loyalty_research.stats.spending import (
    crossing,
    group_sequential_bounds,
    information_fractions,
    required_drift,
    spent,
)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gs_power_family_rho3", {"spending": "power", "rho": 3}),
        ("gs_lan_demets_obrien_fleming_5", {"spending": "obrien-fleming"}),
    ],
)
def test_published_bounds(oracle, name, options):
    case = oracle(name)
    bounds = group_sequential_bounds(case["inputs"]["t"], **options)
    assert bounds.z == pytest.approx(case["expected"], abs=case["tolerance"])
    assert comparison.group_sequential_bounds is group_sequential_bounds


def test_constant_bounds_hold_their_published_error_and_inflation(oracle):
    case = oracle("gs_constant_bounds_5")
    t, want, near = case["inputs"]["t"], case["expected"], case["tolerance"]
    constants = {
        "pocock": [want["pocock_constant"]] * 5,
        "obrien_fleming": [want["obrien_fleming_constant"] / math.sqrt(share) for share in t],
    }
    for name, z in constants.items():
        assert crossing(t, z, drift=0.0).power == pytest.approx(0.05, abs=near / 5)
        for power, factor in want[f"{name}_inflation"].items():
            alone = required_drift(group_sequential_bounds(1), power=float(power))
            got = crossing(t, z, drift=alone * math.sqrt(factor)).power
            assert got == pytest.approx(float(power), abs=near)
    assert crossing(t, [1.959964] * 5, drift=0.0).power == pytest.approx(want["five_looks_at_1.96"], abs=near)


def test_crossing_equals_the_multivariate_normal():
    t, z, drift = np.array([0.3, 0.5, 1.0]), [2.6, 2.2, 2.05], 2.4
    cov = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    inside = stats.multivariate_normal.cdf(
        z, drift * np.sqrt(t), cov, lower_limit=-np.array(z), maxpts=10**6, abseps=1e-8, releps=1e-8
    )
    assert crossing(t, z, drift=drift).power == pytest.approx(1 - inside, abs=2e-6)


def test_crossing_equals_random_walks():
    rng = np.random.default_rng(3)
    bounds, drift = group_sequential_bounds([0.25, 0.6, 1.0], spending="pocock"), 2.0
    t = np.array(bounds.fractions)
    steps = np.diff([0, *t])
    score = (rng.normal(size=(200_000, 3)) * np.sqrt(steps) + drift * steps).cumsum(axis=1)
    z = score / np.sqrt(t)
    crossed = np.abs(z) >= bounds.z
    first = np.where(crossed.any(axis=1), crossed.argmax(axis=1), 3)
    got = bounds.crossing(drift=drift)
    for k in range(3):
        assert got.upper[k] + got.lower[k] == pytest.approx((first == k).mean(), abs=0.004)
    stop = np.minimum(first, 2)
    assert got.expected_fraction == pytest.approx(t[stop].mean(), abs=0.003)
    rows = first < 3
    estimates = np.abs(z[rows, first[rows]]) / np.sqrt(t[first[rows]])
    assert got.exaggeration == pytest.approx(estimates.mean() / drift, rel=0.01)


@pytest.mark.parametrize("looks", [1, 2, 7, 20, [0.01, 0.011, 0.9, 1.0], [0.5, 0.999, 1.0]])
@pytest.mark.parametrize("spending", ["obrien-fleming", "pocock", "power"])
def test_error_is_spent_as_declared(looks, spending):
    bounds = group_sequential_bounds(looks, spending=spending, level=0.9)
    found = np.cumsum(bounds.crossing().upper) + np.cumsum(bounds.crossing().lower)
    assert found == pytest.approx(bounds.spent, abs=1e-9)
    assert found[-1] == pytest.approx(0.1, abs=1e-9)


def test_a_bound_depends_on_no_later_look():
    assert group_sequential_bounds([0.3, 0.5]).z == pytest.approx(
        group_sequential_bounds([0.3, 0.5, 1]).z[:2]
    )


def test_one_look_is_the_usual_test():
    bounds = group_sequential_bounds(1)
    assert bounds.z[0] == pytest.approx(1.959964, abs=1e-6)
    assert bounds.nominal_p[0] == pytest.approx(0.05)
    assert bounds.inflation() == pytest.approx(1)
    assert bounds.to_frame()["look"].tolist() == [1]


def test_looks_cost_more_the_earlier_they_spend():
    cost = {s: group_sequential_bounds(4, spending=s).inflation() for s in ("obrien-fleming", "pocock")}
    assert 1 < cost["obrien-fleming"] < 1.05 < cost["pocock"] < 1.3


def test_spending_starts_at_nothing_and_ends_at_alpha():
    for spending in ("obrien-fleming", "pocock", "power"):
        assert spent([0, 1], alpha=0.05, spending=spending) == pytest.approx([0, 0.05])


def test_what_cannot_be():
    for looks in (0, 2.5, None, [], ["a"], True, [0.5, 0.5], [0, 1], [0.5, 1.2], [0.2, math.nan]):
        with pytest.raises(ArgumentError, match="looks"):
            information_fractions(looks)
    for bad in ({"level": 1}, {"spending": "haybittle"}, {"spending": "power", "rho": 0}):
        with pytest.raises(ArgumentError):
            group_sequential_bounds(3, **bad)
    with pytest.raises(ArgumentError, match="power"):
        required_drift(group_sequential_bounds(3), power=0.04)
