"""Discrete-time hazards against statsmodels on person-period data, Cox, and invariances."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from lifelines.datasets import load_stanford_heart_transplants

from loyalty_research.churn import ChurnData, CoxPH, DiscreteHazard
from loyalty_research.errors import ArgumentError, ContractError, DesignError

LINKS = {"cloglog": sm.families.links.CLogLog, "logit": sm.families.links.Logit}


def simulated(seed=0, n=400, *, last=12):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"plan": rng.choice(list("abc"), n), "north": rng.integers(0, 2, n)})
    rate = 0.08 * np.exp(0.6 * (frame["plan"] == "b") - 0.4 * frame["north"])
    time = np.ceil(rng.exponential(1 / rate)).astype(int)
    frame["entry"] = rng.integers(0, 3, n)
    frame["duration"] = np.minimum(time, last)
    frame["event"] = (time <= last).astype(int)
    frame["weight"], frame["store"] = rng.integers(1, 4, n), rng.integers(0, 25, n)
    return frame[frame["entry"] < frame["duration"]].reset_index(drop=True)


def expanded(frame):
    """Return one row per customer and day, the slow way."""
    parts = [
        (row.Index, day, row.event and day == row.duration - 1)
        for row in frame.itertuples()
        for day in range(row.entry, row.duration)
    ]
    days = pd.DataFrame(parts, columns=["who", "day", "left"])
    return days.join(frame, on="who")


def peer(frame, link, *, dummies=True, **options):
    days = expanded(frame)
    x = pd.DataFrame(
        {"b": days["plan"] == "b", "c": days["plan"] == "c", "north": days["north"]}, dtype=float
    )
    base = (
        pd.get_dummies(days["day"], dtype=float)
        if dummies
        else np.polynomial.legendre.legvander(2 * days["day"] / days["day"].max() - 1, 2)
    )
    family = sm.families.Binomial(link=LINKS[link]())
    design = np.column_stack([x, base])
    robust = {}
    if "groups" in options:
        kwds = {"groups": days[options["groups"]], "use_correction": False}
        robust = {"cov_type": "cluster", "cov_kwds": kwds}
    weights = days[options["weights"]] if "weights" in options else None
    model = sm.GLM(days["left"].astype(float), design, family=family, freq_weights=weights)
    return model.fit(tol=1e-12, maxiter=100, **robust)


@pytest.mark.parametrize("link", ["cloglog", "logit"])
@pytest.mark.parametrize("baseline", ["period", "polynomial"])
def test_equals_a_binomial_regression_on_person_periods(link, baseline):
    frame = simulated(1)
    data = ChurnData.from_durations(frame.drop(columns="weight"), entry="entry", cluster=None)
    model = DiscreteHazard(link=link, baseline=baseline, degrees=2).fit(data, covariates=["plan", "north"])
    other = peer(frame, link, dummies=baseline == "period")
    assert np.allclose(model.params_, other.params[:3], atol=1e-8)
    assert np.allclose(model.standard_errors_, other.bse[:3], atol=1e-8)
    assert model.log_likelihood_ == pytest.approx(other.llf, abs=1e-7)
    clustered = DiscreteHazard(link=link, baseline=baseline, degrees=2, cluster="store").fit(
        data, covariates=["plan", "north"]
    )
    robust = peer(frame, link, dummies=baseline == "period", groups="store")
    assert np.allclose(clustered.standard_errors_, robust.bse[:3], atol=1e-7)


@pytest.mark.parametrize("link", ["cloglog", "logit"])
def test_weights_count_copies(link):
    frame = simulated(2)
    data = ChurnData.from_durations(frame, entry="entry", weights="weight")
    model = DiscreteHazard(link=link).fit(data, covariates=["plan", "north"])
    other = peer(frame, link, weights="weight")
    assert np.allclose(model.params_, other.params[:3], atol=1e-8)
    copies = frame.loc[frame.index.repeat(frame["weight"])]
    again = DiscreteHazard(link=link).fit(
        ChurnData.from_durations(copies, entry="entry"), covariates=["plan", "north"]
    )
    assert np.allclose(again.params_, model.params_, atol=1e-9)
    assert np.allclose(again.covariance_, model.covariance_, atol=1e-10)


def test_rows_and_patterns_give_the_same_numbers():
    frame = simulated(3)
    shaken = frame.assign(north=frame["north"] + 1e-9 * np.arange(len(frame)))
    both = []
    for table in (frame, shaken):
        data = ChurnData.from_durations(table, entry="entry", weights="weight", cluster="store")
        both.append(DiscreteHazard(baseline="spline", degrees=3).fit(data, covariates=["plan", "north"]))
    assert both[0].state.table.at_risk is not None
    assert both[1].state.table.at_risk is None
    assert np.allclose(both[0].params_, both[1].params_, atol=1e-6)
    assert np.allclose(both[0].covariance_, both[1].covariance_, atol=1e-7)


def test_cloglog_recovers_proportional_hazards():
    """Grouped by whole days, the model of Prentice and Gloeckler sits beside Cox's."""
    frame = simulated(4, n=4000, last=40)
    data = ChurnData.from_durations(frame, entry="entry")
    grouped = DiscreteHazard().fit(data, covariates=["plan", "north"])
    cox = CoxPH().fit(data, covariates=["plan", "north"])
    assert np.allclose(grouped.params_, cox.params_, atol=0.02)
    assert np.allclose(grouped.standard_errors_, cox.standard_errors_, rtol=0.02)


def test_splitting_an_episode_changes_nothing():
    heart = load_stanford_heart_transplants()
    whole = heart.assign(start=np.floor(heart["start"]), stop=np.ceil(heart["stop"]))
    whole = whole[whole["start"] < whole["stop"]].groupby("id").tail(1).assign(start=0)
    cut = whole["stop"] > 10
    split = pd.concat([whole[cut].assign(stop=10, event=0), whole.assign(start=np.where(cut, 10, 0))])
    fits = [
        DiscreteHazard(width=30, baseline="polynomial", degrees=2).fit(
            ChurnData.from_intervals(t, id="id"), covariates=["age", "surgery"]
        )
        for t in (whole, split)
    ]
    assert np.allclose(fits[0].params_, fits[1].params_, atol=1e-8)
    assert fits[0].log_likelihood_ == pytest.approx(fits[1].log_likelihood_, abs=1e-8)


def test_periods_wider_than_a_day():
    """A period counts when watched to its end or left in; late comers count from the next one."""
    frame = pd.DataFrame({"entry": [0, 0, 0, 3, 3], "duration": [7, 14, 10, 14, 6], "event": [1, 1, 0, 1, 1]})
    model = DiscreteHazard(width=7, baseline="polynomial", degrees=1).fit(
        ChurnData.from_durations(frame, entry="entry")
    )
    table = model.baseline_
    assert table["stop"].tolist() == [7, 14]
    assert table["at_risk"].tolist() == [3, 2]
    assert table["events"].tolist() == [1, 2]
    assert any(
        c.name == "Leavers within their first period" and "1 customer " in c.detail for c in model.checks
    )


def test_predictions_hang_together():
    frame = simulated(5, n=900, last=20)
    data = ChurnData.from_durations(frame)
    model = DiscreteHazard().fit(data, covariates=["plan", "north"])
    new = pd.DataFrame({"plan": ["a", "b", "a"], "north": [0, 1, 0]}, index=[3, 1, 2])
    curve = model.predict_survival(new, times=[0, 5, 10, 25])
    table = curve.pivot_table(index="row", columns="time", values="estimate")
    assert (table[0] == 1).all()
    assert np.allclose(table.loc[3, [0, 5, 10]], table.loc[2, [0, 5, 10]])
    assert set(curve.loc[curve["time"] == 25, "reason"]) == {"beyond the last day observed (20)"}
    given = model.predict_survival(new, times=[10], alive_at=5)["estimate"].to_numpy()
    assert np.allclose(given, (table[10] / table[5])[new.index], atol=1e-12)
    cox = CoxPH().fit(data, covariates=["plan", "north"]).predict_survival(new, times=[5, 10])
    ours = model.predict_survival(new, times=[5, 10])
    assert np.allclose(ours[["estimate", "low", "high"]], cox[["estimate", "low", "high"]], atol=0.01)
    found = model.expected_remaining(new, alive_at=4, horizon=10)
    steps = model.predict_survival(new.iloc[:1], times=np.arange(4, 14), alive_at=4)["estimate"].sum()
    assert found["estimate"][0] == pytest.approx(steps, abs=1e-10)
    theirs = CoxPH().fit(data, covariates=["plan", "north"]).expected_remaining(new, alive_at=4, horizon=10)
    assert np.allclose(found[["estimate", "low", "high"]], theirs[["estimate", "low", "high"]], atol=0.06)
    assert model.expected_remaining(new, alive_at=15, horizon=10)["estimate"].isna().all()


def test_days_on_which_nobody_or_everybody_leaves():
    frame = pd.DataFrame(
        {"duration": [1, 1, 3, 3, 4, 4, 5, 5], "event": [1, 0, 1, 0, 1, 0, 1, 1], "x": [0, 1] * 4}
    )
    model = DiscreteHazard().fit(ChurnData.from_durations(frame))
    curve = model.predict_survival(pd.DataFrame(index=[0]).assign(x=0), times=[1, 2, 3, 4, 5])
    # without covariates it is the Kaplan-Meier curve
    assert np.allclose(curve["estimate"], [7 / 8, 7 / 8, 7 / 8 * 5 / 6, 7 / 8 * 5 / 6 * 3 / 4, 0.0])
    hazard = model.baseline_.set_index("stop")["hazard"]
    assert np.allclose(hazard, [1 / 8, 0, 1 / 6, 1 / 4, 1])


def test_summary_and_verdict():
    data = ChurnData.from_durations(simulated(6, n=3000))
    cloglog = DiscreteHazard().fit(data, covariates=["plan", "north"])
    assert {"coef", "exp(coef)", "se(coef)", "coef lower 95%", "z", "p"} <= set(cloglog.summary.columns)
    assert "rate of leaving is" in cloglog.verdict()
    assert "associations" in cloglog.verdict()
    logit = DiscreteHazard(link="logit").fit(data, formula="plan * north")
    assert "odds of leaving" in logit.verdict()
    assert logit.to_frame()["metric"].unique().tolist() == ["odds ratio"]
    assert logit.plot().get_xlabel().startswith("Odds ratio")


def test_bad_input_is_refused():
    frame = simulated(7)
    for options, said in [
        ({"link": "probit"}, "link must be"),
        ({"width": 0}, "width must be"),
        ({"baseline": "flat"}, "baseline must be"),
        ({"degrees": 0}, "degrees must be"),
    ]:
        with pytest.raises(ArgumentError, match=said):
            DiscreteHazard(**options)
    with pytest.raises(ArgumentError, match="has no strata"):
        DiscreteHazard().fit(ChurnData.from_durations(frame, strata="plan"), covariates=["north"])
    with pytest.raises(ArgumentError, match="choose a width"):
        DiscreteHazard().fit(ChurnData.from_durations(frame.assign(duration=frame["duration"] + 0.5)))
    with pytest.raises(ContractError, match="nobody left"):
        DiscreteHazard().fit(ChurnData.from_durations(frame.assign(event=0)))
    gone = frame.assign(event=frame["event"].where(frame["plan"] != "c", 0))
    with pytest.raises(DesignError, match=r"plan\[T.c\]: nobody"):
        DiscreteHazard().fit(ChurnData.from_durations(gone), covariates=["plan"])


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(8)
    hits, runs = 0, 100
    for _ in range(runs):
        x = rng.integers(0, 2, 300)
        time = rng.geometric(-np.expm1(-np.exp(-2.5 + 0.7 * x)))
        frame = pd.DataFrame({"x": x, "duration": np.minimum(time, 15), "event": (time <= 15).astype(int)})
        model = DiscreteHazard(baseline="polynomial", degrees=1).fit(
            ChurnData.from_durations(frame), covariates=["x"]
        )
        row = model.to_frame().iloc[0]
        hits += row["low"] <= np.exp(0.7) <= row["high"]
    # 95 of 100 with a Monte Carlo error of 2.2, three of them below
    assert hits >= 88
