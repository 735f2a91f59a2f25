"""Remaining time from a Cox fit, and predictions that stay within their memory."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from lifelines.datasets import load_rossi

from loyalty_research.churn import ChurnData, CoxPH
from loyalty_research.errors import ArgumentError, ContractError


@pytest.fixture(scope="module")
def rossi():
    return ChurnData.from_durations(load_rossi(), duration="week", event="arrest", unit="weeks")


def test_remaining_time_is_the_area_under_the_conditional_curve(rossi):
    model = CoxPH(strata="race").fit(rossi, covariates=["fin", "prio"])
    new = pd.DataFrame({"fin": [0, 1, 1], "prio": [2, 8, 0], "race": [1, 0, 1]}, index=[5, 3, 4])
    alive = [0, 10, 20]
    found = model.expected_remaining(new, alive_at=alive, horizon=30)
    assert found["row"].tolist() == [5, 3, 4]
    for i in range(3):
        days = np.arange(alive[i], alive[i] + 30)
        steps = model.predict_survival(new.iloc[[i]], times=days, alive_at=alive[i])["estimate"]
        assert found["estimate"][i] == pytest.approx(steps.sum(), abs=1e-10)
    assert (found["low"] < found["estimate"]).all()
    assert (found["estimate"] < found["high"]).all()
    late = model.expected_remaining(new, alive_at=[0, 40, 0], horizon=30)
    assert late["reason"].tolist() == ["", "beyond the last day observed (52)", ""]
    assert late["estimate"].isna().tolist() == [False, True, False]


def test_errors_of_remaining_time_agree_with_the_bootstrap():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, 300)
    time = np.ceil(rng.exponential(np.where(x == 1, 30.0, 60.0)))
    frame = pd.DataFrame({"x": x, "duration": np.minimum(time, 100), "event": (time <= 100).astype(int)})
    new = pd.DataFrame({"x": [0, 1]})

    def remaining(rows):
        model = CoxPH().fit(ChurnData.from_durations(rows), covariates=["x"])
        return model.expected_remaining(new, alive_at=10, horizon=60)

    found = remaining(frame)
    width = (found["high"] - found["low"]) / (2 * 1.959964)
    drawn = [remaining(frame.iloc[rng.integers(0, 300, 300)])["estimate"] for _ in range(150)]
    # 150 draws tell a standard deviation to within 6%
    assert np.allclose(np.std(drawn, axis=0) / width, 1.0, atol=0.2)


def test_separated_terms_have_no_interval():
    frame = pd.DataFrame({"x": [0, 1] * 50, "duration": np.arange(1, 101), "event": [1, 0] * 50})
    model = CoxPH().fit(ChurnData.from_durations(frame), covariates=["x"])
    found = model.expected_remaining(pd.DataFrame({"x": [1]}), horizon=50)
    assert found["estimate"][0] == pytest.approx(50.0, abs=1e-4)
    assert np.isnan(found["low"][0])


def test_memory_beyond_the_answer_stays_flat(rossi):
    model = CoxPH().fit(rossi, covariates=["fin", "age", "prio"])
    rng = np.random.default_rng(2)
    extra = []
    for n in (20_000, 80_000):
        new = pd.DataFrame({"fin": rng.integers(0, 2, n), "age": rng.uniform(18, 40, n), "prio": 1.0})
        tracemalloc.start()
        found = model.predict_survival(new, times=np.arange(1, 13) * 4, alive_at=2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        extra.append(peak - found.memory_usage(index=False).sum())
    # what grows with the answer is masks, not another column of floats (8 bytes a cell)
    assert (extra[1] - extra[0]) / (60_000 * 12) < 8


def test_bad_requests_are_refused(rossi):
    model = CoxPH().fit(rossi, covariates=["fin"])
    new = pd.DataFrame({"fin": [0, 1]})
    with pytest.raises(ArgumentError, match="horizon must be"):
        model.expected_remaining(new, horizon=0)
    with pytest.raises(ArgumentError, match="alive_at must be one day, or one for each of the 2 rows"):
        model.expected_remaining(new, horizon=10, alive_at=[1, 2, 3])
    with pytest.raises(ArgumentError, match="times must be days"):
        model.predict_survival(new, times=[-1])
    with pytest.raises(ContractError, match=r"fin is missing in 1 row \(at position 1\)"):
        model.predict_survival(pd.DataFrame({"fin": [0, np.nan]}), times=[10])
