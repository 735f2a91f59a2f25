"""Sums by customer: limits against their formulas, invariances, coverage where the truth is known."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.programme._by_customer import (
    codes_by_customer,
    day_numbers,
    end_of_day,
    flags,
    mean_estimate,
    ratio_of_sums,
    share_of_sums,
)
from loyalty_research.stats.proportions import proportion


def test_a_share_of_customers_is_almost_wilsons():
    """With 0 and 1 per customer the linearised variance is p(1-p)/(n-1), and t replaces z."""
    part = np.array([1.0] * 300 + [0.0] * 700)
    found, peer = share_of_sums(part, np.ones(1000), level=0.95), proportion(300, 1000)
    assert found.value == peer.value
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=2e-4)


def test_all_and_nothing_keep_wilsons_limits():
    whole = np.arange(1.0, 31.0)
    assert share_of_sums(whole, whole, level=0.95).high == 1.0
    nothing = share_of_sums(0 * whole, whole, level=0.95)
    assert nothing.low == 0.0
    assert 0.1 < nothing.high < 0.2


def test_customers_with_nothing_in_either_sum_do_not_count():
    part, whole = np.array([1.0, 0, 2, 0]), np.array([2.0, 3, 3, 0])
    with_, without = (ratio_of_sums(part[:k], whole[:k], level=0.95) for k in (4, 3))
    assert with_ == without
    assert with_.n == 3


def test_weights_scale_out_and_twos_are_copies():
    rng = np.random.default_rng(3)
    part, whole = rng.random(40), 1 + rng.random(40)
    once = ratio_of_sums(part, whole, level=0.9)
    assert ratio_of_sums(part, whole, level=0.9, weights=np.full(40, 7.0)).low == pytest.approx(once.low)
    assert ratio_of_sums(5 * part, 5 * whole, level=0.9).high == pytest.approx(once.high)
    twos = np.where(np.arange(40) < 10, 2.0, 1.0)
    copies = np.r_[0:40, 0:10]
    assert mean_estimate(part, level=0.9, weights=twos).value == pytest.approx(part[copies].mean())


def test_without_spread_there_are_no_limits():
    same = ratio_of_sums(np.full(9, 2.0), np.full(9, 4.0), level=0.95)
    assert same.value == 0.5
    assert np.isnan([same.low, same.high]).all()
    with pytest.raises(ArgumentError, match="denominator"):
        ratio_of_sums(np.ones(3), np.zeros(3), level=0.95)


def test_reading_says_where_cells_are_wrong():
    frame = pd.DataFrame({"done": [True, None, "yes"], "x_at": ["a", "b", "c"]})
    with pytest.raises(ContractError, match=r"t\.done is neither true nor false at 1 row \(at position 2\)"):
        flags(frame, "done", "t")
    with pytest.raises(ContractError, match=r"t\.x_at holds values that are not dates"):
        day_numbers(frame, "x", "t")
    assert codes_by_customer(pd.Series([None, "a", None])).tolist() == [1, 0, 2]
    with pytest.raises(ArgumentError, match="IANA"):
        end_of_day("2024-01-01", "Nowhere/Land")
    assert end_of_day("2024-03-30", "America/New_York") == pd.Timestamp("2024-03-31 04:00")


def coverage(replicates, seed=8):
    """Customers differ in how much they bring and in the share of it that counts."""
    rng = np.random.default_rng(seed)
    n, held = 60, np.zeros(2)
    for _ in range(replicates):
        whole = rng.gamma(2.0, 10.0, n)
        own = rng.beta(0.6 * 2, 1.4 * 2, n)  # mean 0.3, independent of size
        for j, estimate in enumerate(
            (share_of_sums(own * whole, whole, level=0.95), ratio_of_sums(own * whole, whole, level=0.95))
        ):
            held[j] += estimate.low <= 0.3 <= estimate.high
    return held / replicates


def test_limits_cover_the_truth():
    assert (coverage(400) > 0.92).all()


@pytest.mark.slow
def test_limits_cover_the_truth_at_length(published):
    share = coverage(2000)
    published(zip(("share of sums over customers", "ratio of sums over customers"), share, strict=True), 2000)
    assert (np.abs(share - 0.95) < 0.015).all(), share
