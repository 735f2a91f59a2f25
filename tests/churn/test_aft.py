"""Parametric models against R's survreg, lifelines where it converges, and invariances."""

import warnings

import lifelines
import numpy as np
import pandas as pd
import pytest
from lifelines.datasets import load_lung, load_rossi
from scipy.integrate import quad

from loyalty_research.churn import ChurnData, CoxPH, ParametricAFT
from loyalty_research.errors import ArgumentError, ContractError, ConvergenceError, DesignError

EVERY = ["exponential", "weibull", "log-normal", "log-logistic", "generalised-gamma", "spline"]


@pytest.fixture(scope="module")
def lung():
    frame = load_lung().dropna(subset=["ph.ecog"])
    return ChurnData.from_durations(
        frame[["time", "status", "age", "sex", "ph.ecog"]], duration="time", event="status"
    )


@pytest.fixture(scope="module")
def rossi():
    return ChurnData.from_durations(load_rossi(), duration="week", event="arrest", unit="weeks")


def simulated(seed=0, n=600, *, entry=False):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"plan": rng.choice(list("abc"), n), "north": rng.integers(0, 2, n)})
    scale = np.exp(4 + 0.5 * (frame["plan"] == "b") - 0.4 * frame["north"])
    time = scale * rng.weibull(1.4, n)
    start = rng.integers(0, 25, n) if entry else np.zeros(n, dtype=int)
    stop = np.ceil(np.minimum(time, 120)).astype(int)
    frame["entry"], frame["duration"], frame["event"] = start, stop, (time <= 120).astype(int)
    frame["weight"], frame["store"] = rng.integers(1, 4, n), rng.integers(0, 30, n)
    return frame[frame["entry"] < frame["duration"]].reset_index(drop=True)


@pytest.mark.parametrize(
    ("distribution", "name"),
    [
        ("weibull", "lung_weibull_aft"),
        ("log-normal", "lung_lognormal_aft"),
        ("log-logistic", "lung_loglogistic_aft"),
    ],
)
def test_lung_equals_survreg(lung, oracle, distribution, name):
    case = oracle(name)
    model = ParametricAFT(distribution).fit(lung, covariates=["age", "sex", "ph.ecog"])
    first = model.params_.index[0][0]
    order = ["Intercept", "age", "sex", "ph.ecog"]
    found = [*(model.params_[(first, k)] for k in order), model.scale_, model.log_likelihood_]
    assert np.allclose(found, case["expected"], atol=case["tolerance"], rtol=0)


@pytest.mark.parametrize(
    ("distribution", "fitter"),
    [
        ("weibull", lifelines.WeibullAFTFitter),
        ("log-normal", lifelines.LogNormalAFTFitter),
        ("log-logistic", lifelines.LogLogisticAFTFitter),
        ("generalised-gamma", lifelines.GeneralizedGammaRegressionFitter),
    ],
)
def test_agrees_with_lifelines(distribution, fitter):
    frame = load_lung().dropna(subset=["ph.ecog"])[["time", "status", "age", "sex"]]
    ours = ParametricAFT(distribution).fit(
        ChurnData.from_durations(frame, duration="time", event="status"), covariates=["age", "sex"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # by default its generalised gamma lets covariates shift every parameter
        one = {"regressors": {"mu_": "age + sex", "sigma_": "1", "lambda_": "1"}}
        options = one if distribution == "generalised-gamma" else {}
        peer = fitter().fit(frame, "time", "status", **options)
    assert set(ours.params_.index) == set(peer.params_.index)
    # lifelines stops a little short of the optimum; ours is never below it
    assert ours.log_likelihood_ == pytest.approx(peer.log_likelihood_, abs=1e-3)
    assert ours.log_likelihood_ >= peer.log_likelihood_ - 1e-7
    # sigma and lambda of the generalised gamma are weakly told apart, so it stops further away
    loose = 0.05 if distribution == "generalised-gamma" else 0.01
    gap = (ours.params_ - peer.params_).abs() / ours.standard_errors_
    assert gap.max() < loose
    shared = [c for c in peer.summary.columns if c in ours.summary.columns]
    assert {"coef", "exp(coef)", "se(coef)", "coef lower 95%", "z", "p"} <= set(shared)
    new = pd.DataFrame({"age": [50, 70], "sex": [1, 2]})
    theirs = peer.predict_survival_function(new, times=[100, 300, 600]).to_numpy().T.ravel()
    assert np.allclose(ours.predict_survival(new, times=[100, 300, 600])["estimate"], theirs, atol=2e-3)


def test_weibull_with_entry_and_weights_agrees_with_lifelines():
    frame = simulated(1, entry=True)
    ours = ParametricAFT("weibull").fit(
        ChurnData.from_durations(frame.drop(columns="store"), entry="entry", weights="weight"),
        covariates=["plan", "north"],
    )
    coded = pd.get_dummies(frame.drop(columns="store"), drop_first=True, dtype=float)
    peer = lifelines.WeibullAFTFitter().fit(
        coded, "duration", "event", entry_col="entry", weights_col="weight"
    )
    theirs = peer.params_["lambda_"][["plan_b", "plan_c", "north", "Intercept"]]
    assert np.allclose(ours.params_["lambda_"], theirs, atol=1e-4)
    assert ours.log_likelihood_ >= peer.log_likelihood_ - 1e-7


def test_exponential_has_a_closed_form():
    frame = simulated(2)
    rate = frame.groupby("north")[["event", "duration"]].sum().eval("event / duration")
    model = ParametricAFT("exponential").fit(ChurnData.from_durations(frame), covariates=["north"])
    assert model.params_[("lambda_", "Intercept")] == pytest.approx(-np.log(rate[0]), abs=1e-10)
    assert model.params_[("lambda_", "north")] == pytest.approx(np.log(rate[0] / rate[1]), abs=1e-10)
    errors = 1 / frame.groupby("north")["event"].sum()
    assert model.standard_errors_[("lambda_", "north")] == pytest.approx(np.sqrt(errors.sum()), abs=1e-10)


def test_nested_models_are_ordered(lung):
    value = {d: ParametricAFT(d).fit(lung, covariates=["age", "sex"]).log_likelihood_ for d in EVERY}
    assert value["exponential"] < value["weibull"] <= value["generalised-gamma"] + 1e-8
    assert value["log-normal"] < value["generalised-gamma"]
    assert value["weibull"] <= value["spline"] + 1e-8


@pytest.mark.parametrize("distribution", [d for d in EVERY if d != "generalised-gamma"])
def test_invariances(distribution):
    """Splitting an episode, weights for copies and grouping change nothing; years rescale time."""
    frame = simulated(3, n=100)
    columns = ["plan", "north"]
    base = ParametricAFT(distribution).fit(ChurnData.from_durations(frame), covariates=columns)
    first = base.params_.index[0][0]
    cut = frame["duration"] > 10
    split = pd.concat(
        [
            frame[cut].assign(start=0, stop=10, event=0, id=lambda d: d.index),
            frame.assign(start=np.where(cut, 10, 0), stop=frame["duration"], id=lambda d: d.index),
        ]
    ).drop(columns=["entry", "duration"])
    parts = ParametricAFT(distribution).fit(ChurnData.from_intervals(split, id="id"), covariates=columns)
    assert np.allclose(parts.params_, base.params_, atol=1e-5)
    assert parts.log_likelihood_ == pytest.approx(base.log_likelihood_, abs=1e-8)
    if distribution != "spline":  # its knots are quantiles of rows
        weighted = ParametricAFT(distribution).fit(
            ChurnData.from_durations(frame, weights="weight"), covariates=columns
        )
        copies = frame.loc[frame.index.repeat(frame["weight"])]
        copied = ParametricAFT(distribution).fit(ChurnData.from_durations(copies), covariates=columns)
        assert np.allclose(weighted.params_, copied.params_, atol=1e-5)
        assert np.allclose(weighted.standard_errors_, copied.standard_errors_, rtol=1e-4)
    years = frame.assign(
        duration=frame["duration"] / 365.25, north=frame["north"] + 1e-10 * np.arange(len(frame))
    )
    other = ParametricAFT(distribution).fit(ChurnData.from_durations(years, unit="years"), covariates=columns)
    names = [(first, "plan[T.b]"), (first, "plan[T.c]")]
    assert np.allclose(other.params_[names], base.params_[names], atol=1e-5)


def test_robust_errors_equal_r_where_each_row_is_a_cluster(lung):
    """R: survreg(..., robust=TRUE) on the lung data; lifelines' robust errors are the same sandwich."""
    model = ParametricAFT("weibull", cluster="customer").fit(lung, covariates=["age", "sex", "ph.ecog"])
    frame = lung.to_lifelines()[["stop", "event", "age", "sex", "ph.ecog"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = lifelines.WeibullAFTFitter().fit(frame, "stop", "event", robust=True)
    theirs = peer.standard_errors_["lambda_"][["age", "sex", "ph.ecog"]]
    assert np.allclose(model.standard_errors_["lambda_"][["age", "sex", "ph.ecog"]], theirs, rtol=2e-3)
    assert "robust" in model.to_frame()["method"][0]


@pytest.mark.parametrize("distribution", EVERY)
def test_predictions_hang_together(rossi, distribution):
    model = ParametricAFT(distribution).fit(rossi, covariates=["fin", "prio"])
    new = pd.DataFrame({"fin": [0, 1], "prio": [2, 8]}, index=[7, 9])
    curve = model.predict_survival(new, times=[0, 20, 40, 60])
    assert curve["row"].tolist() == [7] * 4 + [9] * 4
    assert curve["estimate"][0] == 1.0
    assert curve.loc[curve["time"] == 60, "estimate"].isna().all()
    assert set(curve.loc[curve["time"] == 60, "reason"]) == {"beyond the last day observed (52)"}
    table = curve.pivot_table(index="row", columns="time", values="estimate")
    given = model.predict_survival(new, times=[40], alive_at=20)["estimate"]
    assert np.allclose(given, table[40] / table[20], atol=1e-12)
    inside = curve[(curve["time"] > 0) & (curve["time"] < 60)]
    assert (inside["low"] < inside["estimate"]).all()
    assert (inside["estimate"] < inside["high"]).all()
    # expected remaining time is the area under the conditional curve
    found = model.expected_remaining(new, alive_at=10, horizon=30)
    for i in range(2):
        one = new.iloc[[i]]

        def at(u, one=one):
            return model.predict_survival(one, times=[u], alive_at=10)["estimate"][0]

        assert found["estimate"][i] == pytest.approx(quad(at, 10, 40, epsabs=1e-9)[0], abs=1e-6)
    assert (found["low"] < found["estimate"]).all()
    late = model.expected_remaining(new, alive_at=30, horizon=30)
    assert late["estimate"].isna().all()
    assert (late["reason"] == "beyond the last day observed (52)").all()
    # half have left by the median
    median = model.predict_median(new, extrapolate=True)
    for i in range(2):
        day = [float(median["estimate"][i])]
        half = model.predict_survival(new.iloc[[i]], times=day, extrapolate=True)["estimate"][0]
        assert half == pytest.approx(0.5, abs=1e-9)
    hidden = model.predict_median(new)
    assert hidden["estimate"].isna().equals(median["estimate"] > 52)


@pytest.mark.slow
def test_intervals_of_predictions_cover_the_truth():
    rng = np.random.default_rng(5)
    new, hits, runs = pd.DataFrame({"x": [1]}), np.zeros(3), 200
    grid = np.linspace(0, 50, 2001)
    truth_mean = np.trapezoid(np.exp(-((grid / np.exp(3.5)) ** 1.5)), grid)
    truth = [np.exp(-((20 / np.exp(3.5)) ** 1.5)), np.exp(3.5) * np.log(2) ** (1 / 1.5), truth_mean]
    for _ in range(runs):
        x = rng.integers(0, 2, 150)
        time = np.exp(3 + 0.5 * x) * rng.weibull(1.5, 150)
        frame = pd.DataFrame({"x": x, "duration": np.minimum(time, 60), "event": (time < 60).astype(int)})
        model = ParametricAFT("weibull").fit(ChurnData.from_durations(frame), covariates=["x"])
        found = [
            model.predict_survival(new, times=[20]),
            model.predict_median(new, extrapolate=True),
            model.expected_remaining(new, horizon=50, extrapolate=True),
        ]
        hits += [f["low"][0] <= t <= f["high"][0] for f, t in zip(found, truth, strict=True)]
    # 95% of 200 with a Monte Carlo error of 1.5 points, three of them below
    assert (hits / runs > 0.904).all()


def test_no_covariates_and_verdicts(rossi):
    alone = ParametricAFT("weibull").fit(rossi)
    peer = lifelines.WeibullFitter().fit(load_rossi()["week"], load_rossi()["arrest"])
    assert np.exp(alone.params_[("lambda_", "Intercept")]) == pytest.approx(peer.lambda_, rel=1e-4)
    assert np.exp(alone.params_[("rho_", "Intercept")]) == pytest.approx(peer.rho_, rel=1e-4)
    assert "No covariate" in alone.verdict()
    with pytest.raises(ArgumentError, match="no ratios"):
        alone.plot()
    assert any(c.name == "Shape of the distribution" and c.status == "passed" for c in alone.checks)
    model = ParametricAFT("lognormal").fit(rossi, covariates=["fin", "prio"])
    assert "times as long" in model.verdict()
    assert model.plot().get_xlabel().startswith("Time ratio")
    assert pytest.approx(2 * 4 - 2 * model.log_likelihood_) == model.AIC_


def test_weibull_is_a_proportional_hazards_model():
    """Minus coefficient over sigma is the log hazard ratio that Cox finds."""
    data = ChurnData.from_durations(simulated(6, n=4000))
    aft = ParametricAFT("weibull").fit(data, covariates=["plan", "north"])
    cox = CoxPH().fit(data, covariates=["plan", "north"])
    turned = -aft.params_["lambda_"].drop("Intercept") / aft.scale_
    assert np.allclose(turned, cox.params_, atol=0.03)


def test_bad_input_is_refused():
    frame = simulated(7, n=200)
    data = ChurnData.from_durations(frame)
    with pytest.raises(ArgumentError, match="distribution must be one of exponential, weibull"):
        ParametricAFT("gompertz")
    with pytest.raises(ArgumentError, match="knots must be"):
        ParametricAFT("spline", knots=1)
    with pytest.raises(ArgumentError, match="either formula or covariates"):
        ParametricAFT("weibull").fit(data, formula="north", covariates=["north"])
    with pytest.raises(ArgumentError, match="has no strata"):
        ParametricAFT("weibull").fit(ChurnData.from_durations(frame, strata="plan"), covariates=["north"])
    with pytest.raises(ContractError, match="nobody left"):
        ParametricAFT("weibull").fit(ChurnData.from_durations(frame.assign(event=0)), covariates=["north"])
    gone = frame.assign(event=frame["event"].where(frame["plan"] != "c", 0))
    with pytest.raises(DesignError, match=r"plan\[T.c\]: nobody"):
        ParametricAFT("weibull").fit(ChurnData.from_durations(gone), covariates=["plan", "north"])


def test_lifelines_failures_raise(monkeypatch):
    def refuse(*args, **kwargs):
        raise lifelines.exceptions.ConvergenceError("no luck")

    monkeypatch.setattr(lifelines.LogNormalAFTFitter, "fit", refuse)
    with pytest.raises(ConvergenceError, match="lifelines did not find the optimum"):
        ParametricAFT("log-normal").fit(ChurnData.from_durations(simulated(8, n=100)), covariates=["north"])


def test_mixture_cure_through_lifelines():
    """`to_lifelines` feeds models the package leaves to lifelines; the cured share is recovered."""
    rng = np.random.default_rng(9)
    n = 3000
    stays = rng.uniform(size=n) < 0.4
    time = np.where(stays, np.inf, 30 * rng.weibull(1.3, n))
    frame = pd.DataFrame({"duration": np.minimum(time, 150), "event": (time < 150).astype(int)})
    table = ChurnData.from_durations(frame).to_lifelines()
    cure = lifelines.MixtureCureFitter(base_fitter=lifelines.WeibullFitter())
    cure.fit(table["stop"], table["event"])
    error = np.sqrt(cure.variance_matrix_.loc["cured_fraction_", "cured_fraction_"])
    assert abs(cure.cured_fraction_ - 0.4) < 4 * error
