"""Critical values of simultaneous bands against closed forms, tables and the processes themselves."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import kstwobign, norm

from loyalty_research.errors import ArgumentError
from loyalty_research.stats.bands import band_reach, equal_precision_critical, hall_wellner_critical


def miller_siegmund(low, high, level):
    odds = math.log(high * (1 - low) / (low * (1 - high)))
    return brentq(
        lambda c: 4 * norm.pdf(c) / c + norm.pdf(c) * (c - 1 / c) * odds - (1 - level), 1.2, 6.0, xtol=1e-12
    )


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99, 0.999])
def test_the_whole_bridge_has_kolmogorovs_law(level):
    assert hall_wellner_critical(0, 1, level=level) == pytest.approx(kstwobign.ppf(level), abs=1e-9)
    # a sliver at either end changes nothing that shows
    assert hall_wellner_critical(1e-4, 1 - 1e-4, level=level) == pytest.approx(kstwobign.ppf(level), abs=2e-4)


def test_published_coefficients(oracle):
    case = oracle("band_coefficients")
    given, want, within = case["inputs"], case["expected"], case["tolerance"]
    assert hall_wellner_critical(given["low"], given["high"]) == pytest.approx(
        want["hall_wellner"], abs=within
    )
    assert miller_siegmund(**given) == pytest.approx(want["equal_precision"], abs=within)
    # the published table rests on that approximation; the computed value is near it
    assert equal_precision_critical(given["low"], given["high"]) == pytest.approx(
        want["equal_precision"], abs=0.006
    )


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.9), (0.05, 0.95), (0.02, 0.6), (0.01, 0.99)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_equal_precision_is_near_its_asymptotic_approximation(low, high, level):
    assert equal_precision_critical(low, high, level=level) == pytest.approx(
        miller_siegmund(low, high, level), rel=6e-3
    )


def test_a_single_point_has_the_normal_value():
    assert hall_wellner_critical(0.3, 0.3 + 1e-9) / math.sqrt(0.3 * 0.7) == pytest.approx(1.96, abs=2e-3)
    assert equal_precision_critical(0.3, 0.3001) == pytest.approx(1.98, abs=0.02)


def test_the_range_matters_only_through_its_odds_ratio():
    one = equal_precision_critical(0.1, 0.5)
    odds = (0.5 / 0.5) / (0.1 / 0.9)
    high = odds * 0.25 / (1 + odds * 0.25)
    assert equal_precision_critical(0.2, high) == pytest.approx(one, abs=1e-9)


def test_simulated_bridges_stay_within():
    rng = np.random.default_rng(3)
    n, m = 4000, 2000
    u = np.linspace(0, 1, m + 1)[1:-1]
    at = (u >= 0.1) & (u <= 0.6)
    within = [0, 0]
    hall, equal = hall_wellner_critical(0.1, 0.6, level=0.8), equal_precision_critical(0.1, 0.6, level=0.8)
    for _ in range(n // 500):
        walk = np.cumsum(rng.normal(size=(500, m)) / math.sqrt(m), axis=1)
        bridge = np.abs(walk[:, :-1] - u * walk[:, -1:])[:, at]
        within[0] += int((bridge.max(axis=1) <= hall).sum())
        within[1] += int(((bridge / np.sqrt(u * (1 - u))[at]).max(axis=1) <= equal).sum())
    # a grid misses some of the crossings between its points: a little above the level
    assert within[0] / n == pytest.approx(0.81, abs=0.02)
    assert within[1] / n == pytest.approx(0.82, abs=0.025)


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (-0.1, 0.5), (0.5, 1.1)])
def test_empty_ranges_are_refused(low, high):
    with pytest.raises(ArgumentError, match="a band needs"):
        hall_wellner_critical(low, high)
    with pytest.raises(ArgumentError, match="equal-precision band needs"):
        equal_precision_critical(low, high)


def test_other_bad_options():
    with pytest.raises(ArgumentError, match="equal-precision band needs"):
        equal_precision_critical(0, 0.5)
    with pytest.raises(ArgumentError, match="kind must be"):
        band_reach(np.array([0.1]), "scheffe", size=10, low=0.1, high=0.9, level=0.95)
    with pytest.raises(ArgumentError, match="level must lie"):
        hall_wellner_critical(0, 1, level=1)
