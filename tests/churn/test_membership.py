import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import ChurnData, compare_members
from loyalty_research.errors import ContractError, DesignError


def accounts(seed, n=1500, *, effect=1.0):
    """Follow accounts that may join; leaving is ``effect`` times as likely once a member."""
    rng = np.random.default_rng(seed)
    begin = pd.Timestamp("2022-01-01")
    join = rng.exponential(120, n)
    before = rng.exponential(150, n)
    life = np.where(before <= join, before, join + rng.exponential(150 / effect, n))
    life = np.ceil(life)
    joined = np.ceil(join) < life
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
            "valid_from": begin + pd.to_timedelta(np.ceil(join[joined]), unit="D"),
            "valid_to": pd.NaT,
        }
    )
    return lives, spells


def test_truth_is_covered_and_the_flag_is_far_off():
    lives, spells = accounts(5, effect=1.0)
    data = ChurnData.from_subscriptions(lives, as_of="2023-06-30").time_varying(spells)
    found = compare_members(data, landmark=60)
    assert found.ratio.low < 1 < found.ratio.high
    assert found.at_landmark.low < 1 < found.at_landmark.high
    assert found.naive.high < 0.7
    said = found.verdict()
    assert "about the same rate" in said
    assert "not the effect of the programme" in said
    frame = found.to_frame()
    assert frame["biased"].tolist() == [False, False, True]
    assert found.plot().get_xlabel().startswith("Hazard ratio")
    assert found.curves.survival_function_["time"].min() == 60


def test_a_real_difference_is_found():
    lives, spells = accounts(2, effect=0.5)
    data = ChurnData.from_subscriptions(lives, as_of="2023-06-30").time_varying(spells)
    found = compare_members(data, landmark=60)
    assert found.ratio.low < 0.5 < found.ratio.high
    assert "lower than non-members" in found.verdict()


def test_too_few_members_and_other_columns_are_refused():
    lives, spells = accounts(3, n=200)
    data = ChurnData.from_subscriptions(lives, as_of="2023-06-30")
    with pytest.raises(ContractError, match="no yes-or-no covariate is_member"):
        compare_members(data, landmark=60)
    with pytest.raises(DesignError, match="too few members: the comparison needs at least 5"):
        compare_members(data.time_varying(spells.head(3)), landmark=60)


def test_without_members_by_the_landmark_the_main_answer_stands():
    lives, spells = accounts(4)
    data = ChurnData.from_subscriptions(lives, as_of="2023-06-30").time_varying(spells)
    found = compare_members(data, landmark=0)
    assert found.at_landmark is None
    assert found.curves is None
    assert len(found.to_frame()) == 2
    check = next(c for c in found.checks if c.name == "Landmark")
    assert check.status == "not measurable"
    assert "too few members" in check.detail


def test_the_default_landmark_is_the_median_day_of_joining():
    lives, spells = accounts(5)
    data = ChurnData.from_subscriptions(lives, as_of="2023-06-30").time_varying(spells)
    joined = (spells["valid_from"] - pd.Timestamp("2022-01-01")).dt.days
    assert compare_members(data).landmark == np.sort(joined)[(len(joined) + 1) // 2 - 1]
