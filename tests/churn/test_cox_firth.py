"""Firth's penalty and profile intervals against a slow likelihood maximised by brute force."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import chi2

from loyalty_research.churn import ChurnData, CoxPH
from loyalty_research.errors import ArgumentError


def small(seed=1, n=40, *, separated=True):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.integers(0, 2, n), "z": rng.normal(size=n), "w": 1.0})
    frame["duration"] = rng.integers(1, 12, n)
    frame["event"] = rng.integers(0, 2, n)
    if separated:
        frame["event"] = frame["event"].where(frame["x"] == 0, 0)
    return frame


def slow(frame, *, efron, firth):
    """Return a function: log partial likelihood, plus half the log determinant of its information."""
    x = frame[["x", "z"]].to_numpy(float)
    stop, event = frame["duration"].to_numpy(), frame["event"].to_numpy(bool)

    def value(beta):
        total, bend, risk = 0.0, np.zeros((2, 2)), np.exp(x @ beta)
        for t in np.unique(stop[event]):
            dead, there = event & (stop == t), stop >= t
            d = dead.sum()
            total += (x[dead] @ beta).sum()
            for k in range(d):
                weight = risk * there - (k / d if efron else 0.0) * risk * dead
                mean = weight @ x / weight.sum()
                bend += (x * weight[:, None]).T @ x / weight.sum() - np.outer(mean, mean)
                total -= np.log(weight.sum())
        return total + (0.5 * np.linalg.slogdet(bend)[1] if firth else 0.0)

    return value


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("separated", [True, False])
def test_firth_equals_brute_force(ties, separated):
    frame = small(separated=separated)
    model = CoxPH(ties=ties, penalty="firth").fit(ChurnData.from_durations(frame), covariates=["x", "z"])
    value = slow(frame, efron=ties == "efron", firth=True)
    found = minimize(
        lambda b: -value(b), [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14}
    )
    assert np.allclose(model.params_, found.x, atol=1e-6)
    assert model.log_likelihood_ == pytest.approx(value(model.params_.to_numpy()), abs=1e-8)
    assert model.null_log_likelihood_ == pytest.approx(value(np.zeros(2)), abs=1e-9)
    assert not model.separated_


@pytest.mark.parametrize("firth", [True, False])
def test_profile_limits_solve_their_equation(firth):
    frame = small(2, separated=firth)
    data = ChurnData.from_durations(frame)
    model = CoxPH(penalty="firth" if firth else None, intervals="profile").fit(data, covariates=["x", "z"])
    value = slow(frame, efron=True, firth=firth)

    def profile(b):
        return -minimize(
            lambda o: -value(np.array([b, o[0]])),
            [0.0],
            method="Nelder-Mead",
            options={"xatol": 1e-8, "fatol": 1e-13},
        ).fun

    top = value(model.params_.to_numpy())
    for side in ("low", "high"):
        limit = model.limits_.loc["x", side]
        assert 2 * (top - profile(limit)) == pytest.approx(3.841458820694124, abs=1e-5)
    assert model.limits_.loc["x", "p"] == pytest.approx(chi2.sf(2 * (top - profile(0.0)), 1), abs=1e-6)
    said = "profile penalised likelihood" if firth else "profile likelihood"
    assert (model.summary["interval"] == said).all()


def test_firth_says_so_and_predicts_with_intervals():
    model = CoxPH(penalty="firth").fit(ChurnData.from_durations(small()), covariates=["x", "z"])
    assert any(c.name == "Firth's penalty" for c in model.checks)
    assert "profile penalised likelihood" in model.to_frame()["method"].iloc[0]
    found = model.predict_survival(pd.DataFrame({"x": [1], "z": [0.0]}), times=[6])
    assert found["low"][0] < found["estimate"][0] <= found["high"][0]


def test_firth_removes_the_leading_bias():
    """With 30 customers the plain estimate is drawn away from 0; Firth's is not."""
    rng = np.random.default_rng(3)
    plain, firth = [], []
    for _ in range(150):
        x = np.repeat([0, 1], 15)
        time = rng.exponential(np.where(x == 1, 1.0, 4.0))
        frame = pd.DataFrame({"x": x, "duration": np.minimum(time, 3.0), "event": (time < 3).astype(int)})
        data = ChurnData.from_durations(frame)
        plain.append(CoxPH().fit(data, covariates=["x"]).params_["x"])
        firth.append(CoxPH(penalty="firth").fit(data, covariates=["x"]).params_["x"])
    truth, error = np.log(4), np.std(firth) / np.sqrt(150)
    assert abs(np.mean(firth) - truth) < 3 * error
    assert np.mean(plain) > np.mean(firth)


def test_combinations_without_an_answer_are_refused():
    with pytest.raises(ArgumentError, match="without another penalizer"):
        CoxPH(penalty="firth", penalizer=0.1)
    with pytest.raises(ArgumentError, match="efron' or 'breslow'"):
        CoxPH(penalty="firth", ties="exact")
    with pytest.raises(ArgumentError, match="penalty must be"):
        CoxPH(penalty="lasso")
    with pytest.raises(ArgumentError, match="intervals must be"):
        CoxPH(intervals="bootstrap")
    data = ChurnData.from_durations(small())
    with pytest.raises(ArgumentError, match="no errors by cluster"):
        CoxPH(penalty="firth", cluster="customer").fit(data, covariates=["x", "z"])
