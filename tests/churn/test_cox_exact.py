"""Exact ties against R and against all choices written out."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from lifelines.datasets import load_lung

from loyalty_research.churn import ChurnData, CoxPH, ph_test
from loyalty_research.errors import ArgumentError


@pytest.fixture(scope="module")
def lung():
    frame = load_lung().dropna(subset=["ph.ecog"])
    return frame.assign(m=np.ceil(frame["time"] / 30), poor=(frame["ph.ecog"] > 1).astype(int))


def fitted(frame, columns, duration="m", **options):
    used = frame[[duration, "status", *columns, "poor"]]
    data = ChurnData.from_durations(used, duration=duration, event="status")
    return CoxPH(ties="exact", **options).fit(data, covariates=columns)


def everything(model):
    return [
        *model.params_,
        *model.standard_errors_,
        model.null_log_likelihood_,
        model.log_likelihood_,
    ]


def test_months_equal_r(lung, oracle):
    case = oracle("lung_months_cox_exact")
    model = fitted(lung, ["age", "sex", "ph.ecog"])
    assert np.allclose(everything(model), case["expected"], atol=case["tolerance"], rtol=0)
    # R's baseline after exact ties is Breslow's
    baseline = model.baseline_cumulative_hazard_.set_index("time")["hazard"]
    assert np.allclose(baseline[[6, 12]], case["expected_baseline_6_12"], atol=1e-8)
    for transform in ("km", "rank"):
        found = ph_test(model, transform=transform).statistics["statistic"]
        assert np.allclose(found, case[f"expected_zph_{transform}"], atol=1e-6)


def test_strata_and_days_equal_r(lung, oracle):
    case = oracle("lung_months_cox_exact_strata")
    model = fitted(lung, ["age", "sex"], strata="poor")
    assert np.allclose(everything(model), case["expected"], atol=case["tolerance"], rtol=0)
    case = oracle("lung_days_cox_exact")
    model = fitted(lung, ["age", "sex", "ph.ecog"], duration="time")
    assert np.allclose(everything(model), case["expected"], atol=case["tolerance"], rtol=0)


def test_late_entry_equals_all_choices_written_out():
    rng = np.random.default_rng(4)
    n = 24
    frame = pd.DataFrame(
        {"start": rng.integers(0, 3, n), "x": rng.normal(size=n), "z": rng.integers(0, 2, n)}
    )
    frame["stop"] = frame["start"] + rng.integers(1, 5, n)
    frame["event"] = rng.integers(0, 4, n) > 0
    frame["event"] = frame["event"].astype(int)
    model = CoxPH(ties="exact").fit(ChurnData.from_intervals(frame), covariates=["x", "z"])
    x = frame[["x", "z"]].to_numpy(float)
    start, stop, event = (frame[c].to_numpy() for c in ("start", "stop", "event"))

    def slow(beta):
        total = 0.0
        for t in np.unique(stop[event == 1]):
            dead = np.flatnonzero((event == 1) & (stop == t))
            there = np.flatnonzero((start < t) & (stop >= t))
            eta = x @ beta
            choices = [np.exp(eta[list(c)].sum()) for c in combinations(there, len(dead))]
            total += eta[dead].sum() - np.log(np.sum(choices))
        return total

    best = model.params_.to_numpy()
    assert slow(best) == pytest.approx(model.log_likelihood_, abs=1e-10)
    for j in range(2):
        h = np.zeros(2)
        h[j] = 1e-4
        bend = (slow(best + h) - 2 * slow(best) + slow(best - h)) / 1e-8
        assert abs(slow(best + h) - slow(best - h)) / 2e-4 < 1e-5
        assert -bend == pytest.approx(np.linalg.inv(model.covariance_.to_numpy())[j, j], rel=1e-4)


def test_without_ties_it_is_the_plain_likelihood(lung):
    apart = lung.assign(m=lung["time"] + 0.001 * np.arange(len(lung)))
    exact, plain = (
        fitted(apart, ["age", "sex"]),
        CoxPH(ties="breslow").fit(
            ChurnData.from_durations(apart[["m", "status", "age", "sex"]], duration="m", event="status"),
            covariates=["age", "sex"],
        ),
    )
    assert np.allclose(everything(exact), everything(plain), atol=1e-12)


def test_many_at_risk_do_not_overflow():
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"m": rng.integers(1, 6, 3000), "status": 1, "x": rng.normal(size=3000), "poor": 0})
    frame.loc[::3, "status"] = 0
    model = fitted(frame, ["x"])
    assert np.isfinite(model.log_likelihood_)
    assert abs(model.params_["x"]) < 4 * model.standard_errors_["x"]


def test_what_has_no_answer_is_refused(lung):
    weighted = ChurnData.from_durations(
        lung[["m", "status", "age"]].assign(w=2.0), duration="m", event="status", weights="w"
    )
    with pytest.raises(ArgumentError, match="ties='exact' has no case weights; use ties='efron'"):
        CoxPH(ties="exact").fit(weighted, covariates=["age"])
    plain = ChurnData.from_durations(lung[["m", "status", "age"]], duration="m", event="status")
    with pytest.raises(ArgumentError, match="ties='exact' has no robust errors"):
        CoxPH(ties="exact", cluster="customer").fit(plain, covariates=["age"])
    big = pd.DataFrame({"duration": 1, "event": np.arange(40_000) % 2, "x": np.arange(40_000) % 3})
    with pytest.raises(ArgumentError, match="would take about"):
        CoxPH(ties="exact").fit(ChurnData.from_durations(big), covariates=["x"])
    with pytest.raises(ArgumentError, match="takes no penalizer"):
        CoxPH(ties="exact", penalizer=0.1)
