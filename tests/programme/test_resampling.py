"""Resampling by matrices of counts against the same done one resample and one customer at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from loyalty_research.programme import revenue_concentration, revenue_retention
from loyalty_research.programme._resampling import (
    EXACT,
    gini_draws,
    resampled,
    studentised_pivots,
    top_draws,
)
from loyalty_research.programme.revenue import gini, top_weights

SIZES = (60, EXACT + 5_000)


def revenue(n, seed=1):
    """Whole amounts, so that many customers are equal, and what they bring later."""
    rng = np.random.default_rng(seed)
    ranked = np.sort(np.round(rng.gamma(0.6, 50.0, n))) + 1
    return ranked, np.round(ranked * rng.gamma(0.5, 2.0, n), 2)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("share", [0.2, 0.01])
def test_the_top_share_of_a_resample_is_that_of_its_customers(n, share):
    ranked, later = revenue(n)
    found = top_draws(ranked, [ranked, later], share, seed=3, resamples=20)
    rows = np.concatenate(list(resampled(n, 20, 3))).astype(float)
    for drawn, counts in zip(found, rows, strict=True):
        kept = top_weights(ranked, counts, share)
        wanted = [kept @ ranked / (counts @ ranked), kept @ later / (counts @ later)]
        np.testing.assert_allclose(drawn, wanted, rtol=2e-5)


def test_a_line_far_from_its_place_is_found():
    # of two customers, a resample may well hold the poorer one only
    ranked = np.array([1.0, 9.0])
    found = top_draws(ranked, [ranked], 0.5, seed=1, resamples=50)[:, 0]
    assert set(np.round(found, 9)) == {0.5, 0.9}


def test_equal_customers_share_the_top():
    found = top_draws(np.full(40, 7.0), [np.full(40, 7.0)], 0.2, seed=1, resamples=10)
    np.testing.assert_allclose(found, 0.2)


@pytest.mark.parametrize("n", SIZES)
def test_the_gini_of_a_resample_is_that_of_its_customers(n):
    ranked, _ = revenue(n)
    rows = np.concatenate(list(resampled(n, 10, 3))).astype(float)
    wanted = [gini(ranked, counts) for counts in rows]
    np.testing.assert_allclose(gini_draws(ranked, seed=3, resamples=10), wanted, atol=1e-5)


@pytest.mark.parametrize("n", SIZES)
def test_pivots_are_those_of_the_resampled_customers(n):
    base, after = revenue(n)
    parts = np.column_stack([np.minimum(base, after), after])
    ratio, se, pivots = studentised_pivots(parts, base, seed=5, resamples=12)
    np.testing.assert_allclose(ratio, parts.sum(axis=0) / base.sum())
    rows = np.concatenate(list(resampled(n, 12, 5))).astype(float)
    for found, counts in zip(pivots, rows, strict=True):
        again = counts @ parts / (counts @ base)
        spread = np.sqrt(counts @ (parts - np.outer(base, again)) ** 2) / (counts @ base)
        np.testing.assert_allclose(found, (again - ratio) / spread, atol=1e-3)
    own = np.sqrt(((parts - np.outer(base, ratio)) ** 2).sum(axis=0)) / base.sum()
    np.testing.assert_allclose(se, own)


def test_counts_have_the_moments_of_resampling():
    small = np.concatenate(list(resampled(500, 400, 1)))
    assert (small.sum(axis=1) == 500).all()
    assert small.var() == pytest.approx(1.0, abs=0.02)
    large = np.concatenate(list(resampled(EXACT + 1, 100, 1)))
    assert large.mean() == pytest.approx(1.0, abs=0.004)
    assert large.var() == pytest.approx(1.0, abs=0.006)
    assert ((large == 0).mean(), (large == 2).mean()) == pytest.approx(
        (np.exp(-1), np.exp(-1) / 2), abs=0.002
    )


def test_the_method_says_how_customers_were_counted():
    few, many = (pd.DataFrame(dict(zip(("before", "after"), revenue(n), strict=True))) for n in SIZES)
    assert revenue_retention(few, seed=1, resamples=100).net.method == "bootstrap-t over customers"
    kept = revenue_retention(many, seed=1, resamples=100)
    assert kept.net.method == "bootstrap-t over customers, Poisson weights"
    assert revenue_concentration(many, seed=1, resamples=100).gini.method.endswith("Poisson weights")


def test_intervals_with_poisson_counts_cover():
    # income of log-normal customers: net retention exp(mean of the log factor + half its variance)
    hits, runs = 0, 150
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        before = np.exp(rng.normal(3.0, 1.0, EXACT + 1)).round(2)
        after = (before * np.exp(rng.normal(-0.2, 0.5, EXACT + 1))).round(2)
        net = revenue_retention(
            pd.DataFrame({"before": before, "after": after}), seed=seed, resamples=200
        ).net
        hits += net.low <= np.exp(-0.2 + 0.125) <= net.high
    # three Monte Carlo errors of 150 runs
    assert abs(hits / runs - 0.95) < 3 * np.sqrt(0.95 * 0.05 / runs)
