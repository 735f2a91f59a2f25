import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import ChurnData, member_curves
from loyalty_research.errors import ContractError, DesignError


def accounts(n=3000, *, effect=1.0, seed=8):
    """Leave at a constant rate, ``effect`` times it once a member; join at random if still there."""
    rng = np.random.default_rng(seed)
    join, before = rng.exponential(120, n), rng.exponential(150, n)
    life = np.ceil(np.where(before <= join, before, join + rng.exponential(150 / effect, n))).astype(int)
    join = np.ceil(join).astype(int)
    joined = join < life
    first = pd.DataFrame(
        {
            "id": np.arange(n),
            "start": 0,
            "stop": np.where(joined, join, life),
            "event": ~joined,
            "is_member": False,
        }
    )
    second = first[joined].assign(start=join[joined], stop=life[joined], event=True, is_member=True)
    both = pd.concat([first, second], ignore_index=True)
    both = both[both["start"] < 300]
    return both.assign(event=both["event"] & (both["stop"] <= 300), stop=both["stop"].clip(upper=300))


@pytest.mark.parametrize("effect", [1.0, 0.5])
def test_curves_by_the_day_cover_the_truth_and_the_flag_does_not(effect):
    found = member_curves(ChurnData.from_intervals(accounts(effect=effect), id="id"), horizon=200)
    days = 200 - found.since
    truth = {False: np.exp(-days / 150), True: np.exp(-effect * days / 150)}
    for status, estimate in found.at_horizon().items():
        assert estimate.low <= truth[status] <= estimate.high
    wrong = found.at_horizon(flagged=True)
    assert wrong[True].low > truth[True]
    assert wrong[False].high < truth[False]
    assert found.to_frame()["biased"].tolist() == [False, False, True, True]
    assert "joining takes staying first" in found.verdict()


def test_curves_start_where_enough_members_are_watched():
    found = member_curves(ChurnData.from_intervals(accounts(), id="id"))
    ever = accounts().groupby("id")["is_member"].any().sum()
    counts = found.counted.at_risk_table([found.since + 1, found.since + 30])
    members = counts[counts["group"]]["at_risk"].tolist()
    assert members[0] >= 0.9 * ever / 20
    assert members[1] > members[0]
    assert found.counted.survival_function_["time"].min() == found.since
    assert found.horizon == found.since + 180


def test_the_picture_names_what_is_biased():
    ax = member_curves(ChurnData.from_intervals(accounts(), id="id")).plot()
    said = [t.get_text() for t in ax.texts]
    assert {"member on the day", "not member on the day"} <= set(said)
    assert {"joined at some time (biased)", "never joined (biased)"} <= set(said)


def test_too_few_members_and_other_columns_are_refused():
    frame = accounts()
    with pytest.raises(ContractError, match="no yes-or-no covariate is_gold"):
        member_curves(ChurnData.from_intervals(frame, id="id"), covariate="is_gold")
    with pytest.raises(DesignError, match="too few members: fewer than 20 are ever watched at once"):
        member_curves(ChurnData.from_intervals(accounts(n=40), id="id"))
