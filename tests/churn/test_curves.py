import numpy as np
import pandas as pd
import pytest
from lifelines.datasets import load_lung

from loyalty_research.churn import ChurnData, KaplanMeier, NelsonAalen, hazard_by_tenure, rmst
from loyalty_research.errors import ArgumentError, ContractError


@pytest.fixture(scope="module")
def lung():
    return ChurnData.from_durations(load_lung(), duration="time", event="status")


def test_medians_by_sex_equal_r(lung, oracle):
    case = oracle("lung_km_median_by_sex")
    curves = KaplanMeier(interval="log").fit(lung, by="sex")
    assert curves.median_.tolist() == case["expected"]
    rows = curves.to_frame()
    assert rows["low"].tolist() == case["expected_low"]
    assert rows["high"].tolist() == case["expected_high"]


def test_nelson_aalen_equals_r(lung, oracle):
    case = oracle("lung_nelson_aalen_180_365")
    found = NelsonAalen().fit(lung).cumulative_hazard_at([180, 365])
    assert np.allclose([*found["estimate"], *found["se"]], case["expected"], atol=case["tolerance"], rtol=0)


def test_at_risk_table_counts_people():
    frame = pd.DataFrame(
        {"duration": [5, 10, 10, 20, 30], "event": [1, 1, 0, 1, 0], "entry": [0, 0, 5, 10, 0]}
    )
    data = ChurnData.from_durations(frame, entry="entry")
    found = KaplanMeier().fit(data).at_risk_table([0, 5, 10, 20, 30])
    # rows 3 and 4 enter at 5 and 10 and are not at risk at those instants
    assert found["at_risk"].tolist() == [3, 3, 3, 2, 1]
    assert found["events"].tolist() == [0, 1, 2, 3, 3]
    assert found["censored"].tolist() == [0, 0, 1, 1, 2]


def test_curve_is_one_at_zero_and_unknown_beyond_the_data(lung):
    found = KaplanMeier().fit(lung, by="sex").survival_at([0, 2000])
    assert found["estimate"].tolist()[0] == 1.0
    male = found[found["group"] == 1]
    assert male["estimate"].tolist()[0] == 1.0
    assert male["low"].tolist()[0] == 1.0
    assert found.loc[found["time"] == 2000, "estimate"].isna().all()


def test_levels_keep_their_order():
    frame = pd.DataFrame({"duration": [5, 6, 7], "event": [1, 1, 1], "size": ["small", "large", "small"]})
    frame["size"] = pd.Categorical(frame["size"], categories=["small", "medium", "large"], ordered=True)
    curves = KaplanMeier().fit(ChurnData.from_durations(frame), by="size")
    assert curves.median_.index.tolist() == ["small", "large"]


def test_splitting_does_not_make_exits(lung):
    frame = load_lung()[["time", "status"]].rename(columns={"time": "stop", "status": "event"})
    whole = frame.assign(who=np.arange(len(frame)), start=0)
    cut = whole["stop"] // 2
    head = whole.assign(stop=cut, event=0)
    tail = whole.assign(start=cut)
    split = pd.concat([head[cut > 0], tail])
    one, two = (
        KaplanMeier().fit(ChurnData.from_intervals(d, id="who")).survival_function_ for d in (whole, split)
    )
    pd.testing.assert_frame_equal(one, two)


def test_verdicts_speak_of_the_horizon_or_the_median(lung):
    assert "day 270" in KaplanMeier().fit(lung, by="sex").verdict()
    said = KaplanMeier(horizon=365).fit(lung, by="sex").verdict()
    assert said.startswith("On day 365 after the start, 5")
    alone = KaplanMeier(horizon=365).fit(lung)
    assert alone.headline == "On day 365 after the start, 40.9% of customers were still there."
    assert alone.headline[:-1] in alone.verdict().replace("all customers", "customers")
    assert KaplanMeier(horizon=365).fit(lung, by="sex").headline == said
    assert "'sex 2'" in said
    assert "nothing is known" in KaplanMeier(horizon=5000).fit(lung).verdict()


def test_bad_input_is_refused(lung):
    with pytest.raises(ContractError, match="no column 'tier' to group by"):
        KaplanMeier().fit(lung, by="tier")
    with pytest.raises(ContractError, match="nobody left in 3 intervals"):
        KaplanMeier().fit(ChurnData.from_durations(pd.DataFrame({"duration": [1, 2, 3], "event": [0, 0, 0]})))
    with pytest.raises(ContractError, match=r"ph.ecog is missing in 1 row \(at position 13\)"):
        KaplanMeier().fit(lung, by="ph.ecog")
    with pytest.raises(ArgumentError, match="interval must be"):
        KaplanMeier(interval="exact")
    with pytest.raises(ArgumentError, match="level must lie"):
        KaplanMeier(level=95)
    with pytest.raises(ArgumentError, match="horizon must be"):
        KaplanMeier(horizon=0)


def test_weights_count_as_copies():
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(
        {"duration": rng.integers(1, 40, 120), "event": rng.integers(0, 2, 120), "w": rng.integers(1, 4, 120)}
    )
    copies = frame.loc[frame.index.repeat(frame["w"])]
    one = KaplanMeier().fit(ChurnData.from_durations(frame, weights="w")).survival_function_
    two = KaplanMeier().fit(ChurnData.from_durations(copies)).survival_function_
    assert np.allclose(one.drop(columns="group"), two.drop(columns="group"), equal_nan=True)


def test_plot_labels_groups_and_counts(lung):
    ax = KaplanMeier().fit(lung, by="sex").plot()
    texts = [t.get_text() for t in ax.texts]
    assert "Number at risk" in texts
    assert {"1", "2"} <= set(texts)
    assert "138" in texts


def test_conditional_survival_is_the_curve_of_those_still_there(lung):
    curves = KaplanMeier().fit(lung, by="sex")
    found = curves.conditional_survival([100, 180, 300, 2000], alive_at=180)
    whole = curves.survival_at([180, 300])["estimate"].to_numpy().reshape(2, 2)
    given = found.query("time == 300")
    assert np.allclose(given["estimate"], whole[:, 1] / whole[:, 0])
    assert found.query("time <= 180")[["estimate", "low", "high"]].eq(1).all(axis=None)
    assert found.query("time == 2000")["estimate"].isna().all()
    # Greenwood after day 180 alone is that of a landmark analysis
    landed = KaplanMeier().fit(lung.landmark(180), by="sex").survival_at([300])
    assert np.allclose(given[["low", "high"]], landed[["low", "high"]])


def test_median_remaining_is_the_landmark_median_less_the_day(lung):
    curves = KaplanMeier().fit(lung, by="sex")
    found = curves.median_remaining(alive_at=180)
    landed = KaplanMeier().fit(lung.landmark(180), by="sex").to_frame()
    for column in ("estimate", "low", "high"):
        assert np.allclose(found[column] + 180, landed[column])
    at_start = curves.median_remaining(alive_at=0)["estimate"].tolist()
    assert at_start == curves.median_.tolist()


def test_nothing_is_known_of_those_nobody_follows(lung):
    curves = KaplanMeier().fit(lung, by="sex")
    # the last woman is seen on day 965, the last man on day 1022
    found = curves.median_remaining(alive_at=1000)
    assert found.set_index("group").loc[2, ["estimate", "low", "high"]].isna().all()
    none = curves.conditional_survival([1010], alive_at=1000).set_index("group")
    assert none.loc[2, ["estimate", "low", "high"]].isna().all()
    assert none.loc[1, "estimate"] == 1.0
    with pytest.raises(ArgumentError, match="alive_at is a day on the clock"):
        curves.median_remaining(alive_at=-1)
    gone = ChurnData.from_durations(pd.DataFrame({"duration": [1, 2], "event": [1, 1]}))
    assert KaplanMeier().fit(gone).median_remaining(alive_at=2)["estimate"].isna().all()


def test_leaving_on_day_0_counts_as_in_r():
    """R: survfit(Surv(c(0, 0, 2, 3), c(1, 0, 1, 0)) ~ 1) gives .75 at 0 and .375 at 2."""
    data = ChurnData.from_durations(pd.DataFrame({"duration": [0, 0, 2, 3], "event": [1, 0, 1, 0]}))
    curves = KaplanMeier().fit(data)
    assert curves.survival_at([0, 1, 2])["estimate"].tolist() == [0.75, 0.75, 0.375]
    assert curves.at_risk_table([0, 2])["at_risk"].tolist() == [4, 2]
    assert rmst(data, tau=3).mean_of("all").value == pytest.approx(0.75 * 2 + 0.375)


def test_leaving_on_day_0_counts_in_the_first_period():
    data = ChurnData.from_durations(
        pd.DataFrame({"duration": [0, 0, 10, 20, 31, 40], "event": [1, 0, 1, 0, 1, 0]})
    )
    found = hazard_by_tenure(data, width=30, fewest=1).periods.iloc[0]
    survival = KaplanMeier().fit(data).survival_at([30])["estimate"].iloc[0]
    assert (found["at_risk"], found["events"]) == (6, 2)
    assert found["estimate"] == pytest.approx(1 - survival)
