import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from loyalty_research.churn import ChurnData, KaplanMeier, hazard_by_tenure
from loyalty_research.errors import ArgumentError, ContractError


def lives(seed=4, n=4000):
    """Leave at 2% a day for 30 days and at 0.5% after; half are watched for 75 days only."""
    rng = np.random.default_rng(seed)
    first = rng.geometric(0.02, n)
    life = np.where(first <= 30, first, 30 + rng.geometric(0.005, n))
    end = np.where(rng.random(n) < 0.5, 75, 150)
    return pd.DataFrame(
        {
            "duration": np.minimum(life, end),
            "event": (life <= end).astype(int),
            "plan": rng.choice(["a", "b"], n),
        }
    )


def test_shares_cover_what_was_simulated_and_the_verdict_says_who_is_left():
    found = hazard_by_tenure(ChurnData.from_durations(lives()))
    truth = 1 - np.array([0.98, 0.995, 0.995, 0.995, 0.995]) ** 30
    assert found.periods["start"].tolist() == [0, 30, 60, 90, 120]
    assert ((found.periods["low"] <= truth) & (truth <= found.periods["high"])).all()
    said = found.verdict()
    assert "leave within the first 30 days after the start" in said
    assert "Of those still there on day 120" in said
    assert "likelier to stay on" in said
    assert found.plot().get_yscale() == "linear"


def test_shares_multiply_to_the_survival_curve():
    data = ChurnData.from_durations(lives())
    found = hazard_by_tenure(data, by="plan")
    for plan, part in found.periods.groupby("group"):
        curve = KaplanMeier().fit(data, by="plan").survival_at(part["stop"])
        np.testing.assert_allclose(
            (1 - part["estimate"]).cumprod(), curve[curve["group"] == plan]["estimate"]
        )


def test_without_censoring_in_a_period_the_share_is_a_proportion():
    frame = lives()
    first = hazard_by_tenure(ChurnData.from_durations(frame)).periods.iloc[0]
    left = int((frame["duration"] <= 30).sum())
    assert (first["events"], first["at_risk"]) == (left, len(frame))
    assert first["estimate"] == pytest.approx(left / len(frame))


def test_a_period_in_which_nobody_leaves_has_the_exact_limit():
    frame = pd.DataFrame({"duration": [65] * 40 + [5], "event": [0] * 40 + [1]})
    second = hazard_by_tenure(ChurnData.from_durations(frame)).periods.iloc[1]
    assert (second["estimate"], second["low"]) == (0, 0)
    assert second["high"] == pytest.approx(binomtest(0, 40).proportion_ci(method="exact").high)


def test_steep_hazards_are_drawn_on_a_log_scale_and_few_customers_left_out():
    rng = np.random.default_rng(1)
    life = np.where(rng.random(500) < 0.7, 1, rng.integers(31, 400, 500))
    data = ChurnData.from_durations(pd.DataFrame({"duration": life, "event": 1}))
    found = hazard_by_tenure(data, fewest=100)
    assert found.plot().get_yscale() == "log"
    assert (found.periods["at_risk"] >= 100).all()
    assert len(hazard_by_tenure(data, fewest=1).periods) > len(found.periods)


def test_bad_options_are_refused():
    data = ChurnData.from_durations(lives(n=50))
    with pytest.raises(ArgumentError, match="width must be a positive"):
        hazard_by_tenure(data, width=0)
    with pytest.raises(ArgumentError, match="fewest must be 1 or more"):
        hazard_by_tenure(data, fewest=0)
    with pytest.raises(ContractError, match="no period of 30 days begins with 100 customers"):
        hazard_by_tenure(data, fewest=100)
