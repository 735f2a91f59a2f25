"""Share of wallet: the two means by hand, scales, windows, weights, and coverage of known truths."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import share_of_wallet

DAY = pd.Timestamp("2024-12-31")


def told(values, item=None, *, scale=None, day=DAY, start=0):
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{start + i}" for i in range(len(values))],
            "answered_at": day,
            "instrument": "Share_of_Wallet",
            "item": item,
            "value": values,
        }
    )
    return frame if scale is None else frame.assign(scale_min=scale[0], scale_max=scale[1])


def bought(amounts, day="2024-06-01"):
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(len(amounts))],
            "transacted_at": pd.Timestamp(day),
            "amount": amounts,
        }
    )
    old = pd.DataFrame(
        {"customer_id": ["old"], "transacted_at": [pd.Timestamp("2020-01-01")], "amount": [5.0]}
    )
    return pd.concat([old, frame])


def measured(*answers, orders=None, **options):
    options = {"as_of": "2024-12-31"} | options
    return share_of_wallet(pd.concat(answers), transactions=orders, **options)


def test_stated_shares_are_read_on_their_scale():
    percent_ = measured(told([20, 40, 90], scale=(0, 100))).stated
    fraction = measured(told([0.2, 0.4, 0.9], scale=(0, 1))).stated
    assert percent_.value == pytest.approx(0.5)
    assert (percent_.low, percent_.high) == pytest.approx((fraction.low, fraction.high))
    half = 4.302653 * np.std([0.2, 0.4, 0.9], ddof=1) / np.sqrt(3)
    assert percent_.high == pytest.approx(0.5 + half, rel=1e-6)


def test_both_means_of_the_measured_share():
    spend = told([100.0, 200, 50, 0, 400], "category_spend")
    found = measured(spend, orders=bought([50.0, 50, 60, 0, 100]))
    # the third spends more here than stated in all; the fourth has no wallet
    assert found.measured.value == pytest.approx((50 + 50 + 60 + 100) / (100 + 200 + 60 + 400))
    assert found.measured_mean.value == pytest.approx(np.mean([0.5, 0.25, 1.0, 0.25]))
    assert (found.below_own, found.no_wallet, found.measured.n) == (1, 1, 4)
    assert "1 customer (20.0%) states less" in " ".join(c.detail for c in found.checks)
    part, whole = np.array([50.0, 50, 60, 100]), np.array([100.0, 200, 60, 400])
    moved = (part - found.measured.value * whole) / whole.sum()
    assert found.influence.to_numpy() == pytest.approx(moved)


def test_only_purchases_of_the_asked_days_count():
    spend = told([100.0] * 3, "category_spend")
    lines = pd.concat([bought([10.0] * 3), bought([500.0] * 3, day="2023-12-31").iloc[1:]])
    assert measured(spend, orders=lines).measured.value == pytest.approx(0.1)
    assert measured(spend, orders=lines, window=367).measured.value == 1.0
    young = measured(spend, orders=bought([10.0] * 3).iloc[1:])
    assert young.measured is None
    assert young.not_covered == 3


def test_the_last_answer_counts_and_silence_is_a_response_rate():
    first = told([10.0, 10], scale=(0, 100), day=pd.Timestamp("2024-01-01"))
    last = told([60.0], scale=(0, 100))
    silent = told([np.nan, np.nan], scale=(0, 100), start=5)
    found = measured(last, first, silent)
    assert found.stated.value == pytest.approx((0.6 + 0.1) / 2)
    assert "50.0% of those asked answered (2 of 4)" in found.checks[0].detail
    assert measured(last, first, since="2024-06-01").stated.n == 1
    assert "not given" in measured(last, first).checks[0].detail
    assert "(2 of 8)" in measured(last, first, invited=8).checks[0].detail


def test_programmes_held_and_the_gap():
    share = told([50.0, 60, 70, 80, 90], scale=(0, 100))
    spend = told([100.0] * 5, "category_spend")
    held = told([1, 2, 3, 1, 2], "programmes_held")
    found = measured(share, spend, held, orders=bought([40.0] * 5))
    assert found.several.value == pytest.approx(0.6)
    assert found.programmes.value == pytest.approx(1.8)
    assert found.gap.value == pytest.approx(0.7 - 0.4)
    assert found.headline is found.measured
    assert measured(share).headline.value == pytest.approx(0.7)
    assert "say they spend" in found.verdict()


def test_weights_stand_in_for_the_silent():
    share = told([20.0] * 6 + [80.0] * 4, scale=(0, 100))
    weights = pd.Series([2.0] * 6 + [1.0] * 4, index=[f"c{i}" for i in range(10)])
    found = measured(share, weights=weights, invited=40)
    assert found.stated.value == pytest.approx((12 * 0.2 + 4 * 0.8) / 16)
    assert "weights stand in" in found.checks[0].detail
    assert measured(share, weights=5 * weights).stated.low == pytest.approx(found.stated.low)
    with pytest.raises(ArgumentError, match="1 of 10 have none"):
        measured(share, weights=weights.iloc[1:])


def test_wrong_answers_are_refused():
    with pytest.raises(ContractError, match="does not say the scale"):
        measured(told([20.0]))
    with pytest.raises(ContractError, match="on two scales, at 1 row"):
        measured(told([20.0, 30], scale=(0, 100)), told([0.5], scale=(0, 1), start=4))
    with pytest.raises(ContractError, match=r"lies off the scale 0 to 100 at 1 row \(at position 1\)"):
        measured(told([20.0, 120], scale=(0, 100)))
    with pytest.raises(ContractError, match="category_spend is below 0"):
        measured(told([-1.0], "category_spend"), orders=bought([1.0]))
    with pytest.raises(ContractError, match="programmes_held is no whole number"):
        measured(told([1.5], "programmes_held"))
    with pytest.raises(DesignError, match="nobody answered the instrument nps"):
        measured(told([20.0], scale=(0, 100)), instrument="nps")
    without = measured(told([20.0], "category_spend"))
    assert without.measured is None
    assert "no transactions were given" in without.checks[0].detail


def simulated(replicates, seed=3, n=150):
    """Large wallets are shared with more shops, so the two means differ."""
    rng = np.random.default_rng(seed)
    held = np.zeros(3)
    truth = ((0.6 * 50 + 0.3 * 100) / 150, 0.45, 0.45)
    for _ in range(replicates):
        large = rng.random(n) < 0.5
        wallet = np.where(large, 100.0, 50.0) * rng.gamma(4.0, 0.25, n)
        share = rng.beta(np.where(large, 0.3, 0.6) * 5, np.where(large, 0.7, 0.4) * 5)
        found = measured(
            told(wallet, "category_spend"),
            told(100 * share, scale=(0, 100)),
            orders=bought(share * wallet),
        )
        for j, e in enumerate((found.measured, found.measured_mean, found.stated)):
            held[j] += e.low <= truth[j] <= e.high
    return held / replicates


def test_intervals_cover_the_truth():
    assert (simulated(60) > 0.86).all()


@pytest.mark.slow
def test_intervals_cover_the_truth_at_length(published):
    share = simulated(2000)
    published(
        zip(
            ("share of wallet: measured", "share of wallet: mean of customers", "share of wallet: as stated"),
            share,
            strict=True,
        ),
        2000,
    )
    assert (np.abs(share - 0.95) < 0.015).all(), share
