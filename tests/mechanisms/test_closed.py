"""Closed forms against simulation and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import days_to_line, expected_multiples, orders_to_line, reach_probability
from loyalty_research.mechanisms._closed import limited_mean, size_biased_share, uplift_to_break_even


def close(draws, truth, errors=4.5):
    """Whether a simulated mean agrees with its truth within Monte Carlo error."""
    draws = np.asarray(draws, dtype=float)
    return abs(draws.mean() - truth) <= errors * draws.std() / math.sqrt(len(draws)) + 1e-12


def test_orders_to_a_line_are_exponential_by_hand():
    for line in (0.5, 50, 5000):
        assert orders_to_line(line, mean_order=10) == pytest.approx(1 + line / 10, rel=1e-10)
    assert orders_to_line(0, mean_order=10) == 0
    assert orders_to_line(50, mean_order=10, cv=0) == 5
    assert orders_to_line(50.01, mean_order=10, cv=0) == 6


def test_orders_to_a_line_approach_fixed_orders():
    assert orders_to_line(55, mean_order=10, cv=0.001) == pytest.approx(6, abs=1e-6)


@pytest.mark.parametrize("cv", [0.4, 0.7, 1.6])
def test_orders_and_days_to_a_line_are_simulated(cv):
    rng = np.random.default_rng(5)
    sums = rng.gamma(1 / cv**2, 20 * cv**2, (20_000, 120)).cumsum(axis=1)
    assert (sums[:, -1] >= 150).all()
    orders = 1 + (sums < 150).sum(axis=1)
    assert close(orders, orders_to_line(150, mean_order=20, cv=cv))
    days = rng.gamma(orders) / 0.2
    assert close(days, days_to_line(150, orders_per_day=0.2, mean_order=20, cv=cv))


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.2])
def test_chance_to_reach_a_line_is_simulated(cv):
    rng = np.random.default_rng(6)
    count = rng.poisson(0.1 * 90, 40_000)
    spend = count * 20.0 if cv == 0 else rng.gamma(np.maximum(count, 1e-9) / cv**2, 20 * cv**2)
    chance = reach_probability(170, days=90, orders_per_day=0.1, mean_order=20, cv=cv)
    assert close(spend >= 170, chance)
    assert 0.1 < chance < 0.9


def test_days_to_a_line_are_the_area_above_the_chance_to_reach_it():
    days = np.linspace(0, 600, 1201)
    chance = [reach_probability(40, days=d, orders_per_day=0.1, mean_order=20, cv=0.8) for d in days]
    area = np.trapezoid(1 - np.array(chance), days)
    assert area == pytest.approx(days_to_line(40, orders_per_day=0.1, mean_order=20, cv=0.8), rel=1e-4)


def test_multiples_of_an_exponential_total_are_geometric():
    assert expected_multiples(50, mean=200) == pytest.approx(1 / math.expm1(0.25), rel=1e-12)
    assert expected_multiples(50, mean=200, cv=0) == 4
    # a head start of one whole line is one more
    assert expected_multiples(50, mean=200, head_start=50) == pytest.approx(1 + 1 / math.expm1(0.25))


@pytest.mark.parametrize(("cv", "head"), [(0.5, 0), (1.3, 20), (2.0, 70)])
def test_multiples_are_simulated(cv, head):
    spend = np.random.default_rng(7).gamma(1 / cv**2, 130 * cv**2, 200_000)
    truth = expected_multiples(50, mean=130, cv=cv, head_start=head)
    assert close(np.floor((spend + head) / 50), truth)


def test_limited_and_size_biased_means_are_those_of_scipy():
    gamma = stats.gamma(1 / 0.8**2, scale=100 * 0.8**2)
    assert limited_mean(120, mean=100, cv=0.8) == pytest.approx(
        gamma.expect(lambda x: np.minimum(x, 120)), rel=1e-6
    )
    share = size_biased_share(60, 140, mean=100, cv=0.8)
    assert share == pytest.approx(gamma.expect(lambda x: x, lb=60, ub=140) / 100, rel=1e-6)
    assert limited_mean(math.inf, mean=100) == 100
    assert (limited_mean(120, mean=100, cv=0), size_biased_share(100, 200, mean=100, cv=0)) == (100, 1)


def test_break_even_leaves_the_profit_as_it_was():
    rise = uplift_to_break_even(0.3, 0.08)
    assert (1 + rise) * (0.3 - 0.08) == pytest.approx(0.3)
    assert uplift_to_break_even(0.3, 0) == 0
    assert uplift_to_break_even(0.05, 0.08) == math.inf


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: orders_to_line(50, mean_order=0), "mean_order"),
        (lambda: orders_to_line(50, mean_order=10, cv=-1), "cv"),
        (lambda: days_to_line(50, orders_per_day=float("nan"), mean_order=10), "orders_per_day"),
        (lambda: reach_probability(50, days=-1, orders_per_day=1, mean_order=10), "days"),
        (lambda: expected_multiples(0, mean=10), "line"),
        (lambda: expected_multiples(10, mean=10, head_start=-1), "head_start"),
    ],
)
def test_figures_out_of_range_are_named(call, named):
    with pytest.raises(ArgumentError, match=named):
        call()
