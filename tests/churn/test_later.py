import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import ChurnData, judge_on_later_customers
from loyalty_research.errors import DesignError


def followup(n=1500, *, ratio=3.0, shift=1.0, seed=6):
    """Join over 200 days and leave, plan b ``ratio`` times as fast, late joiners ``shift`` times."""
    rng = np.random.default_rng(seed)
    joined = rng.integers(0, 200, n)
    plan = np.arange(n) % 2
    rate = ratio**plan / 150 * np.where(joined > 120, shift, 1.0)
    start = pd.Timestamp("2023-01-01") + pd.to_timedelta(joined, unit="D")
    lives = pd.DataFrame(
        {
            "customer_id": np.arange(n),
            "valid_from": start,
            "valid_to": start + pd.to_timedelta(np.ceil(rng.exponential(1 / rate)), unit="D"),
        }
    )
    known = pd.DataFrame(
        {
            "customer_id": np.arange(n),
            "plan": np.where(plan, "b", "a"),
            "cohort": start.to_period("M").astype(str),
        }
    )
    return ChurnData.from_subscriptions(lives, as_of="2024-06-30").with_covariates(known, known_at="start")


def test_later_customers_are_ranked_by_what_was_learnt_from_earlier_ones():
    found = judge_on_later_customers(followup(), covariates=["plan", "cohort"])
    # two rates 1 to 3 in equal parts: the faster leaves first in 3 of 4 pairs of unlike ones, half the pairs
    assert found.accuracy.concordance.estimate.low < 0.625 < found.accuracy.concordance.estimate.high
    assert (found.covariates, found.unseen) == (("plan",), ("cohort",))
    assert found.trained + found.tested == 1500
    assert found.accuracy.times == (30, 90)
    said = found.verdict()
    assert f"judged on the {found.tested} who first bought after it" in said
    assert "Left out: cohort, of which later customers have values of their own" in said
    assert "The same chance for everybody" in found.table().html
    assert found.plot().get_ylabel()


def test_customers_from_before_the_data_are_told_apart_from_new_ones():
    rng = np.random.default_rng(9)
    first = np.concatenate([rng.integers(0, 7, 900), rng.integers(40, 200, 400)])
    regular = np.arange(1300) < 900
    bought = []
    for begin, loyal in zip(first, regular, strict=True):
        count = 1 + rng.poisson(40 if loyal else 3)
        bought.append(begin + np.concatenate([[0], np.cumsum(rng.integers(3, 12, count))]))
    lines = pd.DataFrame(
        {
            "customer_id": np.repeat(np.arange(1300), [len(b) for b in bought]),
            "transacted_date": pd.Timestamp("2023-01-01") + pd.to_timedelta(np.concatenate(bought), unit="D"),
            "amount": rng.choice([5.0, 9.0, 20.0], sum(map(len, bought))),
        }
    )
    data = ChurnData.from_transactions(lines, inactivity_days=60, as_of="2023-12-31")
    found = judge_on_later_customers(data, covariates=["first_amount"])
    assert found.truncated
    assert "customers before the data begin and the later ones are new" in found.verdict()
    frame = found.to_frame()
    assert frame[frame["metric"].str.startswith("observed over")]["low"].min() > 1


def test_what_changed_after_the_split_shows_as_bad_calibration():
    steady = judge_on_later_customers(followup(), covariates=["plan"])
    worse = judge_on_later_customers(followup(shift=3.0), covariates=["plan"])

    def over(found):
        frame = found.to_frame()
        return frame[frame["metric"].str.startswith("observed over predicted")].iloc[-1]

    assert over(steady)["low"] < 1 < over(steady)["high"]
    assert over(worse)["low"] > 1.2


def test_data_that_cannot_judge_are_refused_with_the_reason():
    data = followup()
    with pytest.raises(DesignError, match="no calendar"):
        judge_on_later_customers(
            ChurnData.from_durations(pd.DataFrame({"duration": [5, 8], "event": 1, "x": [1, 2]})),
            covariates=["x"],
        )
    with pytest.raises(DesignError, match="too few customers came late enough"):
        judge_on_later_customers(followup(n=300), covariates=["plan"])
    with pytest.raises(DesignError, match="share no value"):
        judge_on_later_customers(data, covariates=["cohort"])
    spells = pd.DataFrame(
        {"customer_id": np.arange(9), "valid_from": pd.Timestamp("2023-08-01"), "valid_to": pd.NaT}
    )
    with pytest.raises(DesignError, match="is_member change over time"):
        judge_on_later_customers(data.time_varying(spells), covariates=["is_member"])
