from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import ChurnData, KaplanMeier, beside_truth, compare_members


@pytest.fixture(scope="module")
def members():
    """Join at random while still there; membership does nothing."""
    rng = np.random.default_rng(12)
    begin, n = pd.Timestamp("2022-01-01"), 800
    life, join = np.ceil(rng.exponential(200, n)), np.ceil(rng.exponential(120, n))
    joined = join < life
    lives = pd.DataFrame(
        {
            "customer_id": np.arange(n),
            "valid_from": begin,
            "valid_to": begin + pd.to_timedelta(life, unit="D"),
        }
    )
    spells = pd.DataFrame(
        {
            "customer_id": np.arange(n)[joined],
            "valid_from": begin + pd.to_timedelta(join[joined], unit="D"),
            "valid_to": pd.NaT,
        }
    )
    data = ChurnData.from_subscriptions(lives, as_of="2023-12-31").time_varying(spells)
    return KaplanMeier().fit(data), compare_members(data)


def test_a_ratio_that_holds_the_truth_says_so(members):
    overall, comparison = members
    told = beside_truth({"hazard_ratio": 1.0, "r": 0.9}, overall=overall, comparison=comparison)
    assert len(told) == 1
    assert "agrees with it within chance" in told[0]
    assert f"the biased one says {comparison.naive.value:.2f}" in told[0]


def test_a_ratio_away_from_the_truth_says_what_is_left(members):
    overall, comparison = members
    far = replace(comparison, ratio=replace(comparison.ratio, value=0.5, low=0.4, high=0.6))
    told = beside_truth({"hazard_ratio": 0.8}, overall=overall, comparison=far)
    assert "removes part of the error (0.50 against" in told[0]


def test_the_share_gone_is_read_on_the_true_median(members):
    overall, comparison = members
    day = 200 * np.log(2)
    gone = 1 - overall.survival_at([day])["estimate"][0]
    told = beside_truth({"median_lifetime_days": day}, overall=overall)
    assert (
        f"half of the customers have lost interest by day {day:.0f}; by the rule of silence {gone:.1%}"
        in told[0]
    )
    assert "later than these data reach" in beside_truth({"median_lifetime_days": 9999.0}, overall=overall)[0]
    assert beside_truth({"hazard_ratio": 0.8}, overall=overall) == []
    assert beside_truth({}, overall=overall, comparison=comparison) == []
