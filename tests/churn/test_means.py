import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import ChurnData, common_horizon, rmst, rmst_difference
from loyalty_research.errors import ArgumentError


@pytest.fixture(scope="module")
def pbc(oracle):
    data = oracle("pbc_rmst10_difference")["data"]
    frame = pd.DataFrame(
        {"duration": np.array(data["time_days"]) / 365.25, "event": data["status2"], "arm": data["arm"]}
    )
    return ChurnData.from_durations(frame, unit="years")


def test_difference_equals_survrm2(pbc, oracle):
    case = oracle("pbc_rmst10_difference")
    means = rmst(pbc, by="arm", tau=10)
    one, none = means.mean_of(1), means.mean_of(0)
    gap = rmst_difference(pbc, by="arm", tau=10, reference=0)
    se = (gap.high - gap.low) / (2 * 1.959963984540054)
    assert np.allclose(
        [one.value, none.value, gap.value, se], case["expected"], atol=case["tolerance"], rtol=0
    )
    assert [round(gap.low, 3), round(gap.high, 3)] == [-0.939, 0.665]
    assert gap.unit == "years"


def test_card_expiry_difference(oracle):
    case = oracle("card_expiry_km_rmst")
    rows = [(w, e, "control") for w, e in case["inputs"]["control_weeks_event"]]
    rows += [(w, e, "treated") for w, e in case["inputs"]["treated_weeks_event"]]
    data = ChurnData.from_durations(pd.DataFrame(rows, columns=["duration", "event", "arm"]), unit="weeks")
    gap = rmst_difference(data, by="arm", tau=39, reference="control")
    want = case["expected"]
    assert gap.value == pytest.approx(want["rmst_diff"], abs=1e-9)
    assert [gap.low, gap.high] == pytest.approx(want["rmst_diff_ci95"], abs=case["tolerance"])


def test_mean_without_censoring_is_the_mean_of_the_capped_times():
    rng = np.random.default_rng(0)
    days = rng.integers(1, 200, 500)
    data = ChurnData.from_durations(pd.DataFrame({"duration": days, "event": 1}))
    found = rmst(data, tau=100).mean_of("all")
    capped = np.minimum(days, 100)
    assert found.value == pytest.approx(capped.mean(), abs=1e-9)
    # without censoring Greenwood's variance is that of a mean, with divisor n
    assert (found.high - found.low) / (2 * 1.959963984540054) == pytest.approx(
        capped.std() / np.sqrt(500), rel=1e-9
    )


def test_verdict_and_rows(pbc):
    means = rmst(pbc, by="arm", tau=10, reference=0)
    assert "stay about equally long" not in rmst(pbc, tau=10).verdict()
    assert "about equally long" in means.verdict()
    assert (
        means.headline == "Within 10 years, the group 'arm 1' and the group 'arm 0' stay about equally long."
    )
    assert means.to_frame()["metric"].nunique() == 2


def test_horizon_rules(pbc):
    assert common_horizon(pbc, "arm") > 10
    with pytest.raises(ArgumentError, match=r"group 0: tau = 50 lies beyond"):
        rmst(pbc, by="arm", tau=50)
    with pytest.raises(ArgumentError, match="reference 7 is no group"):
        rmst(pbc, by="arm", tau=5, reference=7)
    with pytest.raises(ArgumentError, match="name a reference"):
        rmst(pbc, by="arm", tau=5).difference(1)
    late = ChurnData.from_durations(
        pd.DataFrame({"duration": [10, 20], "event": [1, 1], "entry": [5, 6]}), entry="entry"
    )
    with pytest.raises(ArgumentError, match="watched from day 5 only"):
        rmst(late, tau=10)


def test_a_group_without_events_has_no_interval_and_says_so():
    frame = pd.DataFrame(
        {"duration": [30, 40, 50, 8, 12, 60], "event": [0, 0, 0, 1, 1, 0], "plan": list("aaabbb")}
    )
    means = rmst(ChurnData.from_durations(frame), by="plan", tau=25, reference="b")
    stays = means.mean_of("a")
    assert stays.value == 25
    assert np.isnan([stays.low, stays.high]).all()
    assert np.isfinite([means.mean_of("b").low, means.mean_of("b").high]).all()
    gap = means.difference("a")
    assert gap.value == pytest.approx(25 - means.mean_of("b").value)
    assert np.isnan([gap.low, gap.high]).all()
    assert gap.p_value is None
    assert means.checks[-1].status == "warning"
    assert means.checks[-1].detail.startswith("a: nobody left before the horizon")
    assert "it cannot be said how sure that is" in means.verdict()
    assert "longer than" in means.headline
    assert "less than" in rmst(ChurnData.from_durations(frame), by="plan", tau=25, reference="a").verdict()
    early = rmst(ChurnData.from_durations(frame), by="plan", tau=5, reference="a")
    assert "nothing can be said of their difference" in early.verdict()


def test_all_leaving_on_one_day_has_no_interval_either():
    data = ChurnData.from_durations(pd.DataFrame({"duration": [7, 7, 7], "event": [1, 1, 1]}))
    found = rmst(data, tau=10).mean_of("all")
    assert found.value == 7
    assert np.isnan([found.low, found.high]).all()


def test_clusters_are_said_to_be_ignored():
    frame = pd.DataFrame({"duration": [5, 8, 12], "event": [1, 1, 0], "shop": [1, 1, 2]})
    checks = rmst(ChurnData.from_durations(frame, cluster="shop"), tau=10).checks
    assert [c.name for c in checks] == ["Clusters"]
