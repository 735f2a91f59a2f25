import numpy as np
import pandas as pd
import pytest
from lifelines.datasets import load_lung

from loyalty_research.churn import ChurnData, CoxPH, logrank_test
from loyalty_research.errors import ArgumentError, ContractError


@pytest.fixture(scope="module")
def lung():
    return ChurnData.from_durations(load_lung(), duration="time", event="status")


@pytest.mark.parametrize(
    ("name", "weights"), [("lung_logrank_sex", "logrank"), ("lung_peto_rho1_sex", "peto")]
)
def test_equals_r(lung, oracle, name, weights):
    case = oracle(name)
    found = logrank_test(lung, by="sex", weights=weights)
    assert found.statistic == pytest.approx(case["expected"], abs=case["tolerance"])
    assert found.degrees_of_freedom == 1


def test_card_expiry_case(oracle):
    case = oracle("card_expiry_km_rmst")
    rows = [(w, e, "control") for w, e in case["inputs"]["control_weeks_event"]]
    rows += [(w, e, "treated") for w, e in case["inputs"]["treated_weeks_event"]]
    data = ChurnData.from_durations(pd.DataFrame(rows, columns=["duration", "event", "arm"]))
    want = case["expected"]
    assert logrank_test(data, by="arm").statistic == pytest.approx(want["logrank_chi2"], abs=1e-9)
    model = CoxPH().fit(data, covariates=["arm"])
    assert model.params_.iloc[0] == pytest.approx(want["cox_loghr"], abs=case["tolerance"])
    assert model.standard_errors_.iloc[0] == pytest.approx(want["cox_se"], abs=case["tolerance"])


def test_without_ties_it_is_the_score_test_of_the_cox_model():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "duration": rng.permutation(300) + 1,
            "event": rng.integers(0, 2, 300),
            "arm": rng.integers(0, 2, 300),
        }
    )
    frame["start"] = (frame["duration"] * rng.uniform(0, 0.9, 300)).astype(int)
    data = ChurnData.from_durations(frame, entry="start")
    found = logrank_test(data, by="arm")
    order = frame.sort_values("duration")
    score = information = 0.0
    for row in order[order["event"] == 1].itertuples():
        there = frame[(frame["start"] < row.duration) & (frame["duration"] >= row.duration)]
        share = there["arm"].mean()
        score += row.arm - share
        information += share * (1 - share)
    assert found.statistic == pytest.approx(score**2 / information)


def test_observed_and_expected_add_up(lung):
    found = logrank_test(lung, by="sex")
    assert found.counts["observed"].sum() == pytest.approx(found.counts["expected"].sum())
    assert found.counts["observed"].tolist() == [112, 53]
    assert "different rates" in found.verdict()


def test_strata_by_column_and_refusals(lung):
    plain = logrank_test(lung, by="sex").statistic
    assert logrank_test(lung, by="sex", strata="age").statistic != pytest.approx(plain)
    with pytest.raises(ContractError, match="inst is missing"):
        logrank_test(lung, by="sex", strata="inst")
    one = ChurnData.from_durations(pd.DataFrame({"duration": [1, 2], "event": [1, 1], "g": ["a", "a"]}))
    with pytest.raises(ArgumentError, match="two groups"):
        logrank_test(one, by="g")
    with pytest.raises(ContractError, match="nobody left"):
        logrank_test(
            ChurnData.from_durations(pd.DataFrame({"duration": [1, 2], "event": [0, 0], "g": ["a", "b"]})),
            by="g",
        )
