"""Fine-Gray regression against R and its own limits."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import AalenJohansen, ChurnData, CoxPH, fine_gray
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.stats.subdistribution import subdistribution_rows


@pytest.fixture(scope="module")
def bmt():
    x, y = pytest.importorskip("sksurv.datasets").load_bmt()
    frame = pd.DataFrame(
        {"duration": y["ftime"], "event": y["status"], "dis": x["dis"].astype(int).to_numpy()}
    )
    return ChurnData.from_durations(frame, unit="months")


@pytest.fixture(scope="module")
def small(oracle):
    return pd.DataFrame(oracle("fine_gray_small")["inputs"])


def follow(frame, **options):
    return ChurnData.from_durations(frame, duration="stop", event="cause", **options)


def found_in(model, term):
    return [model.params_[term], model.naive_standard_errors_[term], model.standard_errors_[term]]


@pytest.mark.parametrize(
    ("key", "entry", "strata"),
    [("plain", None, None), ("late", "start", None), ("strata", None, "g"), ("late, strata", "start", "g")],
)
def test_equals_r(small, oracle, key, entry, strata):
    case = oracle("fine_gray_small")
    data = follow(small if entry else small.drop(columns="start"), entry=entry)
    found = found_in(fine_gray(data, cause=1, covariates=["x"], strata=strata), "x")
    want = case["expected"][key]
    assert np.allclose(found[: len(want)], want, atol=case["tolerance"], rtol=0)


@pytest.mark.parametrize("cause", [1, 2])
def test_bmt_equals_r_with_somebody_followed_for_0_months(bmt, oracle, cause):
    case = oracle("bmt_fine_gray")
    model = fine_gray(bmt, cause=cause, covariates=["dis"])
    assert np.allclose(found_in(model, "dis"), case["expected"][str(cause)], atol=case["tolerance"], rtol=0)


def test_predicted_incidence_equals_r_and_is_unknown_beyond_the_data(bmt, oracle):
    case = oracle("bmt_fine_gray")
    model = fine_gray(bmt, cause=1, covariates=["dis"])
    found = model.predict_cumulative_incidence(pd.DataFrame({"dis": [0, 1]}), times=[10, 40, 500])
    shares = found.pivot_table(index="time", columns="row", values="estimate", dropna=False)
    assert np.allclose(shares.loc[[10, 40]], case["expected"]["incidence"], atol=case["tolerance"], rtol=0)
    beyond = found[found["time"] == 500]
    assert beyond["estimate"].isna().all()
    assert beyond["reason"].tolist() == ["beyond the last day observed (72)"] * 2
    inside = found[found["time"] < 500]
    assert ((inside["low"] < inside["estimate"]) & (inside["estimate"] < inside["high"])).all()
    with pytest.raises(ArgumentError, match="times must be days from 0"):
        model.predict_cumulative_incidence(pd.DataFrame({"dis": [0]}), times=[-1])


def test_the_weights_are_rs_under_late_entry(small, oracle):
    case = oracle("fine_gray_small_rows")
    rows = subdistribution_rows(*(small[c].to_numpy() for c in ("start", "stop", "cause")))
    mine = rows.row == 4
    for time, want in zip(case["expected"]["times"], case["expected"]["weights"], strict=True):
        there = mine & (rows.start < time) & (rows.stop >= time)
        assert rows.weight[there] == pytest.approx([want], abs=case["tolerance"])


def test_a_competing_event_after_the_last_of_interest_leaves_the_cox_model(small):
    frame = small.drop(columns="start").assign(cause=small["cause"].replace(2, 0))
    late = frame.assign(cause=np.where(frame["stop"] == 9, 2 * (frame["x"] == 2), frame["cause"]))
    one = fine_gray(follow(late), cause=1, covariates=["x"])
    two = CoxPH(cluster="customer").fit(follow(late).cause(1), covariates=["x"])
    assert one.params_["x"] == pytest.approx(two.params_["x"], abs=1e-9)
    assert one.standard_errors_["x"] == pytest.approx(two.standard_errors_["x"], abs=1e-9)


def test_without_censoring_who_left_otherwise_stays_at_risk_for_good():
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {"stop": rng.integers(1, 30, 200), "cause": rng.integers(1, 3, 200), "x": rng.normal(size=200)}
    )
    forever = frame.assign(
        stop=frame["stop"].where(frame["cause"] == 1, 1000), cause=(frame["cause"] == 1).astype(int)
    )
    censored = pd.DataFrame({"stop": [40], "cause": [0], "x": [0.0]})
    frame, forever = (pd.concat([f, censored], ignore_index=True) for f in (frame, forever))
    one = fine_gray(follow(frame), cause=1, covariates=["x"])
    two = CoxPH().fit(follow(forever), covariates=["x"])
    assert one.params_["x"] == pytest.approx(two.params_["x"], abs=1e-9)


def test_a_lone_group_is_the_aalen_johansen_curve_in_the_limit():
    """With a covariate of no effect the predicted incidence is near the curve without a model."""
    rng = np.random.default_rng(5)
    n = 4000
    first, second, end = (rng.exponential(s, n) for s in (20.0, 30.0, 40.0))
    time = np.ceil(np.minimum(np.minimum(first, second), end)).astype(int)
    cause = np.where(end <= np.minimum(first, second), 0, np.where(first <= second, 1, 2))
    data = follow(pd.DataFrame({"stop": time, "cause": cause, "x": rng.normal(size=n)}))
    model = fine_gray(data, cause=1, covariates=["x"])
    found = model.predict_cumulative_incidence(pd.DataFrame({"x": [0.0]}), times=[10, 40])["estimate"]
    want = AalenJohansen().fit(data).cumulative_incidence_at([10, 40]).query("cause == 1")["estimate"]
    assert np.allclose(found, want, atol=0.005)


def test_rows_verdict_and_plot(bmt):
    model = fine_gray(bmt, cause=2, covariates=["dis"])
    assert model.to_frame()["metric"].tolist() == ["subdistribution hazard ratio"]
    assert model.verdict().startswith("dis: a smaller share leaves for 2 (ratio 0.20; 95% interval")
    other = fine_gray(bmt, cause=1, covariates=["dis"])
    assert "beyond chance" in other.verdict()
    assert other.plot().get_xlabel().startswith("Subdistribution hazard ratio")
    assert (model.events, model.customers) == (15, 35)


def test_bad_input_is_refused(bmt, small):
    with pytest.raises(ContractError, match="tell no causes"):
        fine_gray(bmt.any_cause(), cause=1, covariates=["dis"])
    with pytest.raises(ArgumentError, match="no cause 3"):
        fine_gray(bmt, cause=3, covariates=["dis"])
    with pytest.raises(ArgumentError, match="either formula or covariates"):
        fine_gray(bmt, cause=1)
    frame = pd.DataFrame(
        {
            "who": [1, 1, 2, 3],
            "start": [0, 5, 0, 0],
            "stop": [5, 9, 7, 9],
            "event": [0, 2, 1, 0],
            "x": [0, 1, 0, 1],
        }
    )
    with pytest.raises(
        ContractError, match=r"2 rows \(first at positions 0, 1\) belong to customers with several"
    ):
        fine_gray(ChurnData.from_intervals(frame, id="who"), cause=1, covariates=["x"])
    late = pd.DataFrame({"start": [0, 3, 3], "stop": [2, 5, 6], "event": [2, 1, 0], "x": [0, 1, 0]})
    with pytest.raises(ArgumentError, match="weights of late entry are not defined"):
        fine_gray(ChurnData.from_intervals(late), cause=1, covariates=["x"])
    twice = ChurnData.from_durations(small, duration="stop", event="cause", strata="g")
    with pytest.raises(ArgumentError, match="stratified already"):
        fine_gray(twice, cause=1, covariates=["x"], strata="g")


def test_mgus2_equals_r_with_every_kind_of_error(oracle):
    case = oracle("mgus2_fine_gray_age_sex")
    data = ChurnData.from_durations(pd.DataFrame(case["inputs"]), unit="months")
    found = fine_gray(data, cause=1, covariates=["age", "male"])
    # R's default takes the rows of the expanded table as units, which customers are not
    spread = found.model.state.data
    rows = CoxPH().fit(replace(spread, cluster=np.arange(len(spread.stop))), covariates=["age", "male"])
    for key, values in {
        "coef": found.params_,
        "naive": found.naive_standard_errors_,
        "customers": found.standard_errors_,
        "rows": rows.standard_errors_,
    }.items():
        np.testing.assert_allclose(values, case["expected"][key], rtol=0, atol=case["tolerance"])
