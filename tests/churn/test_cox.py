"""Cox regression against R's survival, lifelines where it is right, and invariances."""

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, CoxTimeVaryingFitter
from lifelines.datasets import load_lung, load_rossi, load_stanford_heart_transplants

from loyalty_research.churn import ChurnData, CoxPH
from loyalty_research.errors import ArgumentError, ContractError, DesignError

ROSSI = ["fin", "age", "race", "wexp", "mar", "paro", "prio"]


@pytest.fixture(scope="module")
def rossi():
    return ChurnData.from_durations(load_rossi(), duration="week", event="arrest", unit="weeks")


@pytest.fixture(scope="module")
def heart():
    return ChurnData.from_intervals(load_stanford_heart_transplants(), id="id")


def simulated(seed=0, n=800, *, days=True, entry=False):
    """Return follow-up with two categorical and, where ``days`` is False, continuous times."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "plan": rng.choice(list("abc"), n),
            "north": rng.integers(0, 2, n),
            "weight": rng.integers(1, 4, n).astype(float),
            "store": rng.integers(0, 40, n),
        }
    )
    rate = np.exp(0.5 * (frame["plan"] == "b") - 0.4 * frame["north"])
    duration = rng.exponential(60 / rate)
    start = rng.uniform(0, 20, n) if entry else np.zeros(n)
    duration = np.minimum(duration, 90) + start + 0.01
    if days:
        start, duration = np.floor(start), np.floor(duration) + 1
    frame["entry"], frame["duration"] = start, duration
    frame["event"] = (duration - start < 90).astype(int)
    return frame


def test_lung_efron_equals_r(oracle):
    case = oracle("lung_cox_efron")
    lung = load_lung().dropna(subset=["ph.ecog"])
    data = ChurnData.from_durations(lung, duration="time", event="status")
    model = CoxPH().fit(data, covariates=["age", "sex", "ph.ecog"])
    found = [*model.params_, *model.standard_errors_, model.null_log_likelihood_, model.log_likelihood_]
    assert np.allclose(found, case["expected"], atol=case["tolerance"], rtol=0)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_rossi_equals_r(rossi, oracle, ties):
    case = oracle(f"rossi_cox_{ties}")
    model = CoxPH(ties=ties).fit(rossi, covariates=ROSSI)
    found = [*model.params_, *model.standard_errors_, model.log_likelihood_]
    assert np.allclose(found, case["expected"], atol=case["tolerance"], rtol=0)


def test_time_varying_intervals_and_clusters_equal_r(heart, oracle):
    case = oracle("heart_tvc_cox")
    covariates = ["age", "year", "surgery", "transplant"]
    model = CoxPH().fit(heart, covariates=covariates)
    found = [*model.params_, *model.standard_errors_, model.log_likelihood_]
    assert np.allclose(found, case["expected"], atol=case["tolerance"], rtol=0)
    robust = CoxPH(cluster="customer").fit(heart, covariates=covariates)
    assert np.allclose(robust.params_, model.params_, atol=1e-12)
    assert np.allclose(robust.standard_errors_, case["expected_cluster_se"], atol=1e-9)
    assert np.allclose(robust.naive_standard_errors_, model.standard_errors_, atol=1e-12)


def test_the_id_column_can_name_the_clusters(heart):
    by_id = CoxPH(cluster="id").fit(heart, covariates=["age", "transplant"])
    by_customer = CoxPH(cluster="customer").fit(heart, covariates=["age", "transplant"])
    assert np.allclose(by_id.covariance_, by_customer.covariance_, atol=1e-15)
    assert by_id.state.clusters == 103


def test_cause_specific_model_equals_r(oracle):
    case = oracle("bmt_cause_specific_cox")
    x, y = pytest.importorskip("sksurv.datasets").load_bmt()
    # one patient is followed for 0 months; only the order of times matters to a Cox model
    frame = pd.DataFrame(
        {"duration": y["ftime"] + 1, "event": y["status"] == 1, "dis": x["dis"].astype(int).to_numpy()}
    )
    model = CoxPH().fit(ChurnData.from_durations(frame), covariates=["dis"])
    found = [model.params_["dis"], model.standard_errors_["dis"]]
    assert np.allclose(found, case["expected"], atol=case["tolerance"], rtol=0)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_therneau_test1(oracle, ties):
    case = oracle(f"therneau_test1_{ties}")
    frame = pd.DataFrame(
        {"duration": [1, 1, 6, 6, 8, 9], "event": [1, 0, 1, 1, 0, 1], "x": [1, 1, 1, 0, 0, 0]}
    )
    model = CoxPH(ties=ties).fit(ChurnData.from_durations(frame), covariates=["x"])
    found = [model.params_["x"], model.covariance_.loc["x", "x"], model.log_likelihood_]
    assert np.allclose(found, case["expected"], atol=case["tolerance"], rtol=0)


def test_breslow_has_a_closed_form_on_therneau_test1():
    frame = pd.DataFrame(
        {"duration": [1, 1, 6, 6, 8, 9], "event": [1, 0, 1, 1, 0, 1], "x": [1, 1, 1, 0, 0, 0]}
    )
    model = CoxPH(ties="breslow").fit(ChurnData.from_durations(frame), covariates=["x"])
    assert model.params_["x"] == pytest.approx(np.log((3 + np.sqrt(33)) / 2), abs=1e-12)


def test_left_truncation_and_baseline_equal_r(oracle):
    case = oracle("therneau_test2_left_truncated_breslow")
    frame = pd.DataFrame(
        {
            "start": [1, 2, 5, 2, 1, 7, 3, 4, 8, 8],
            "stop": [2, 3, 6, 7, 8, 9, 9, 9, 14, 17],
            "event": [1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
            "x": [1, 0, 0, 1, 0, 1, 1, 1, 0, 0],
        }
    )
    model = CoxPH(ties="breslow").fit(ChurnData.from_intervals(frame), covariates=["x"])
    baseline = model.baseline_cumulative_hazard_.set_index("time")["hazard"]
    found = [model.params_["x"], model.covariance_.loc["x", "x"], *baseline[[2, 3, 6, 7, 8, 9]]]
    assert np.allclose(found, case["expected"], atol=case["tolerance"], rtol=0)


def test_prediction_with_interval_equals_r(rossi, oracle):
    case = oracle("rossi_cox_survival_prediction_week_20_52")
    model = CoxPH().fit(rossi, covariates=ROSSI)
    one = pd.DataFrame([{"fin": 1, "age": 25, "race": 1, "wexp": 0, "mar": 0, "paro": 1, "prio": 3}])
    found = model.predict_survival(one, times=[20, 52], interval="log")
    assert np.allclose(found["estimate"], case["expected"], atol=case["tolerance"], rtol=0)
    assert np.allclose(found["low"], case["expected_log_low"], atol=1e-8)
    assert np.allclose(found["high"], case["expected_log_high"], atol=1e-8)


def test_prediction_starts_at_one_and_ends_with_the_data(rossi):
    model = CoxPH().fit(rossi, covariates=["fin"])
    found = model.predict_survival(pd.DataFrame({"fin": [0, 1]}), times=[0, 52, 53])
    assert found["estimate"].tolist()[::3] == [1.0, 1.0]
    assert found.loc[found["time"] == 53, "estimate"].isna().all()
    assert found.loc[found["time"] == 53, "reason"].tolist() == ["beyond the last day observed (52)"] * 2
    assert (found.loc[found["time"] < 53, "reason"] == "").all()


def test_conditional_prediction_divides_by_survival_so_far(rossi):
    model = CoxPH().fit(rossi, covariates=["fin", "prio"])
    new = pd.DataFrame({"fin": [0, 1], "prio": [2, 5]})
    plain = model.predict_survival(new, times=[20, 40]).pivot_table(
        index="row", columns="time", values="estimate"
    )
    given = model.predict_survival(new, times=[10, 20, 40], alive_at=20).pivot_table(
        index="row", columns="time", values="estimate"
    )
    assert np.allclose(given[40], plain[40] / plain[20], atol=1e-12)
    assert (given[[10.0, 20.0]] == 1.0).all(axis=None)
    each = model.predict_survival(new, times=[40], alive_at=[0, 20])["estimate"]
    assert np.allclose(each, [plain.loc[0, 40], given.loc[1, 40]], atol=1e-12)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cells_and_rows_give_the_same_numbers(ties):
    frame = simulated(1, entry=True)
    data = ChurnData.from_durations(frame, entry="entry", weights="weight", cluster="store")
    few = CoxPH(ties=ties).fit(data, covariates=["plan", "north"])
    assert type(few.state.carrier).__name__ == "Cells"
    # a covariate with as many values as rows, and no weight to speak of, forces the row path
    shaken = ChurnData.from_durations(
        frame.assign(north=frame["north"] + 1e-9 * np.arange(len(frame))),
        entry="entry",
        weights="weight",
        cluster="store",
    )
    many = CoxPH(ties=ties).fit(shaken, covariates=["plan", "north"])
    assert type(many.state.carrier).__name__ == "Rows"
    assert np.allclose(few.params_, many.params_, atol=1e-6)
    assert np.allclose(few.covariance_, many.covariance_, atol=1e-8)
    assert few.log_likelihood_ == pytest.approx(many.log_likelihood_, abs=1e-5)


def test_robust_errors_agree_with_lifelines():
    frame = simulated(2, days=False)
    frame["b"], frame["c"] = (frame["plan"] == "b") * 1.0, (frame["plan"] == "c") * 1.0
    columns = ["b", "c", "north"]
    data = ChurnData.from_durations(frame[["duration", "event", "store", *columns]], cluster="store")
    ours = CoxPH(ties="breslow").fit(data, covariates=columns)
    peer = CoxPHFitter().fit(
        frame[["duration", "event", "store", *columns]],
        "duration",
        "event",
        cluster_col="store",
        fit_options={"precision": 1e-12, "r_precision": 1e-14, "step_size": 1.0},
    )
    assert np.allclose(ours.params_, peer.params_, atol=1e-8)
    assert np.allclose(ours.standard_errors_, peer.standard_errors_, atol=1e-7)


def test_strata_agree_with_lifelines():
    frame = simulated(3)
    frame["b"], frame["c"] = (frame["plan"] == "b") * 1.0, (frame["plan"] == "c") * 1.0
    used = frame[["duration", "event", "b", "c", "north"]]
    ours = CoxPH(strata="north").fit(ChurnData.from_durations(used), covariates=["b", "c"])
    peer = CoxPHFitter().fit(
        used,
        "duration",
        "event",
        strata=["north"],
        fit_options={"precision": 1e-12, "r_precision": 1e-14, "step_size": 1.0},
    )
    assert np.allclose(ours.params_, peer.params_, atol=1e-8)
    assert np.allclose(ours.standard_errors_, peer.standard_errors_, atol=1e-8)
    found = ours.predict_survival(pd.DataFrame({"b": [1.0], "c": [0.0], "north": [1]}), times=[30])
    assert 0 < found["low"][0] < found["estimate"][0] < found["high"][0] < 1


def test_time_varying_fit_agrees_with_lifelines(heart):
    covariates = ["age", "surgery", "transplant"]
    ours = CoxPH().fit(heart, covariates=covariates)
    frame = heart.to_lifelines()[["id", "start", "stop", "event", *covariates]]
    peer = CoxTimeVaryingFitter().fit(
        frame,
        id_col="id",
        start_col="start",
        stop_col="stop",
        event_col="event",
        fit_options={"precision": 1e-12},
    )
    assert np.allclose(ours.params_, peer.params_, atol=1e-6)


def test_penalty_is_that_of_lifelines():
    lung = load_lung().dropna(subset=["ph.ecog"])[["time", "status", "age", "sex"]]
    data = ChurnData.from_durations(lung, duration="time", event="status")
    ours = CoxPH(penalizer=0.1).fit(data, covariates=["age", "sex"])
    peer = CoxPHFitter(penalizer=0.1).fit(
        lung, "time", "status", fit_options={"precision": 1e-12, "r_precision": 1e-14, "step_size": 1.0}
    )
    assert np.allclose(ours.params_, peer.params_, atol=1e-8)


def test_formula_and_columns_agree():
    data = ChurnData.from_durations(simulated(4))
    listed = CoxPH().fit(data, covariates=["plan", "north"])
    formula = CoxPH().fit(data, formula="plan + north")
    assert list(listed.params_.index) == ["plan[T.b]", "plan[T.c]", "north"]
    assert list(formula.params_.index) == list(listed.params_.index)
    assert np.allclose(formula.params_, listed.params_, atol=1e-12)
    crossed = CoxPH().fit(data, formula="plan * north")
    assert crossed.log_likelihood_ > listed.log_likelihood_
    new = pd.DataFrame({"plan": ["b"], "north": [1]})
    by_hand = CoxPH().fit(
        ChurnData.from_durations(simulated(4).assign(cell=lambda d: d["plan"] + d["north"].astype(str))),
        covariates=["cell"],
    )
    one = crossed.predict_survival(new, times=[30])["estimate"][0]
    two = by_hand.predict_survival(pd.DataFrame({"cell": ["b1"]}), times=[30])["estimate"][0]
    assert one == pytest.approx(two, abs=1e-10)


def test_splitting_an_episode_changes_nothing():
    frame = simulated(5).assign(id=lambda d: np.arange(len(d)), start=0)
    cut = np.random.default_rng(5).integers(1, frame["duration"].astype(int).clip(lower=2))
    apart = cut < frame["duration"]
    head = frame[apart].assign(duration=cut[apart], event=0)
    tail = frame.assign(start=np.where(apart, cut, 0))
    split = pd.concat([head, tail]).rename(columns={"duration": "stop"})
    whole = frame.rename(columns={"duration": "stop"})
    models = [
        CoxPH().fit(ChurnData.from_intervals(d, id="id"), covariates=["plan", "north"])
        for d in (whole, split)
    ]
    assert np.allclose(models[0].params_, models[1].params_, atol=1e-10)
    assert np.allclose(models[0].covariance_, models[1].covariance_, atol=1e-10)
    assert models[0].log_likelihood_ == pytest.approx(models[1].log_likelihood_, abs=1e-8)


def test_weight_k_equals_k_copies_under_breslow():
    frame = simulated(6, n=300)
    copies = frame.loc[frame.index.repeat(frame["weight"].astype(int))]
    weighted = CoxPH(ties="breslow").fit(
        ChurnData.from_durations(frame, weights="weight"), covariates=["plan", "north"]
    )
    copied = CoxPH(ties="breslow").fit(ChurnData.from_durations(copies), covariates=["plan", "north"])
    assert np.allclose(weighted.params_, copied.params_, atol=1e-10)
    assert np.allclose(weighted.covariance_, copied.covariance_, atol=1e-12)


def test_days_years_and_row_order_do_not_matter():
    frame = simulated(7)
    order = np.random.default_rng(7).permutation(len(frame))
    base = CoxPH().fit(ChurnData.from_durations(frame), covariates=["plan", "north"])
    years = frame.iloc[order].assign(duration=lambda d: d["duration"] / 365.25)
    other = CoxPH().fit(ChurnData.from_durations(years, unit="years"), covariates=["plan", "north"])
    assert np.allclose(base.params_, other.params_, atol=1e-10)
    assert np.allclose(base.covariance_, other.covariance_, atol=1e-10)


def test_shifting_a_column_by_much_changes_nothing():
    frame = simulated(8)
    base = CoxPH().fit(ChurnData.from_durations(frame), covariates=["north", "store"])
    far = CoxPH().fit(
        ChurnData.from_durations(frame.assign(store=frame["store"] + 1e6)), covariates=["north", "store"]
    )
    assert np.allclose(base.params_, far.params_, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_score_is_zero_at_the_fit(seed):
    """The gradient by finite differences of an independent, slow likelihood vanishes."""
    frame = simulated(seed, n=60, entry=True)
    data = ChurnData.from_durations(frame, entry="entry", weights="weight")
    model = CoxPH().fit(data, covariates=["north", "store"])
    x = frame[["north", "store"]].to_numpy(float)
    start, stop = frame["entry"].to_numpy(), frame["duration"].to_numpy()
    event, weight = frame["event"].to_numpy(bool), frame["weight"].to_numpy()

    def slow(beta):
        total, risk = 0.0, weight * np.exp(x @ beta)
        for t in np.unique(stop[event]):
            dead = event & (stop == t)
            d = dead.sum()
            total += (weight[dead] * (x[dead] @ beta)).sum()
            for k in range(d):
                there = risk[(start < t) & (stop >= t)].sum() - k / d * risk[dead].sum()
                total -= weight[dead].mean() * np.log(there)
        return total

    best = slow(model.params_.to_numpy())
    assert best == pytest.approx(model.log_likelihood_, abs=1e-9)
    for j, h in enumerate((1e-4, 1e-5)):
        step = np.zeros(2)
        step[j] = h
        slope = (slow(model.params_ + step) - slow(model.params_ - step)) / (2 * h)
        bend = (slow(model.params_ + step) - 2 * best + slow(model.params_ - step)) / h**2
        assert abs(slope) < 1e-4 * abs(bend) ** 0.5
        information = np.linalg.inv(model.covariance_.to_numpy())[j, j]
        assert -bend == pytest.approx(information, rel=1e-2)


def separated():
    frame = simulated(9, n=400)
    return frame.assign(event=frame["event"].where(frame["plan"] != "c", 0))


def test_separation_gives_a_profile_interval_and_says_so():
    model = CoxPH().fit(ChurnData.from_durations(separated()), covariates=["plan", "north"])
    row = model.summary.loc["plan[T.c]"]
    assert row["coef"] == -np.inf
    assert np.isnan(row["se(coef)"])
    assert row["interval"] == "profile likelihood"
    assert row["coef lower 95%"] == -np.inf
    assert row["coef upper 95%"] < 0
    assert model.summary.loc["plan[T.b]", "interval"] == "Wald"
    check = next(c for c in model.checks if c.name == "Separation")
    assert "plan c against a" in check.detail
    assert model.separated_ == ["plan[T.c]"]
    # the other terms are as if nobody of that plan were in the risk sets
    rest = separated().query("plan != 'c'")
    alone = CoxPH().fit(ChurnData.from_durations(rest), covariates=["plan", "north"])
    assert np.allclose(model.params_[["plan[T.b]", "north"]], alone.params_, atol=1e-5)
    assert np.allclose(model.standard_errors_[["plan[T.b]", "north"]], alone.standard_errors_, atol=1e-5)


def test_profile_limit_solves_its_equation():
    """At the limit, twice the drop of the profile likelihood is the chi-square quantile."""
    frame = separated().assign(c=lambda d: (d["plan"] == "c") * 1.0)
    data = ChurnData.from_durations(frame)
    model = CoxPH().fit(data, covariates=["c"])
    high = model.limits_.loc["c", "high"]
    stop, event, c = frame["duration"].to_numpy(), frame["event"].to_numpy(bool), frame["c"].to_numpy()

    def slow(beta):
        total, risk = 0.0, np.exp(c * beta)
        for t in np.unique(stop[event]):
            dead = event & (stop == t)
            d = dead.sum()
            total += (c[dead] * beta).sum()
            total -= sum(np.log(risk[stop >= t].sum() - k / d * risk[dead].sum()) for k in range(d))
        return total

    assert 2 * (slow(-40.0) - slow(high)) == pytest.approx(3.841458820694124, abs=1e-5)


def test_predictions_of_separated_customers_have_no_interval():
    model = CoxPH().fit(ChurnData.from_durations(separated()), covariates=["plan", "north"])
    found = model.predict_survival(pd.DataFrame({"plan": ["c", "b"], "north": [0, 0]}), times=[30])
    assert found["estimate"][0] == pytest.approx(1.0, abs=1e-6)
    assert np.isnan(found["low"][0])
    assert found["low"][1] < found["estimate"][1] < found["high"][1]


def test_bad_designs_are_refused():
    data = ChurnData.from_durations(simulated(10).assign(flat=1, kind="x", twice=lambda d: 2 * d["north"]))
    cases = [
        ({"covariates": ["flat"]}, "flat has one value only"),
        ({"covariates": ["kind"]}, "kind has one level only"),
        ({"covariates": ["north", "twice"]}, "add up to each other exactly"),
        ({"covariates": ["absent"]}, "lack the column absent"),
        ({"covariates": []}, "at least one"),
        ({"formula": "north +"}, "cannot be read"),
        ({"formula": "north - 1"}, "leave the intercept alone"),
        ({"formula": "north", "covariates": ["north"]}, "either formula or covariates"),
    ]
    for arguments, said in cases:
        with pytest.raises((ContractError, ArgumentError), match=said):
            CoxPH().fit(data, **arguments)


def test_missing_covariates_are_named_with_their_rows():
    frame = simulated(11)
    frame.loc[[4, 9], "north"] = np.nan
    with pytest.raises(ContractError, match=r"north is missing in 2 rows \(first at positions 4, 9\)"):
        CoxPH().fit(ChurnData.from_durations(frame), covariates=["north"])


def test_all_censored_is_refused():
    with pytest.raises(ContractError, match="nobody left in 800 intervals"):
        CoxPH().fit(ChurnData.from_durations(simulated(12).assign(event=0)), covariates=["north"])


def test_a_covariate_that_is_constant_within_strata_is_refused():
    with pytest.raises((DesignError, ContractError)):
        CoxPH(strata="plan").fit(
            ChurnData.from_durations(simulated(13).assign(b=lambda d: (d["plan"] == "b") * 1.0)),
            covariates=["b"],
        )


def test_unknown_levels_are_refused_at_prediction():
    model = CoxPH().fit(ChurnData.from_durations(simulated(14)), covariates=["plan"])
    with pytest.raises(ContractError, match=r"plan holds levels the model has not seen in 1 row"):
        model.predict_survival(pd.DataFrame({"plan": ["a", "z"]}), times=[10])


def test_verdict_gives_ratios_or_mean_times():
    frame = simulated(15, n=3000)
    said = CoxPH().fit(ChurnData.from_durations(frame), covariates=["plan"]).verdict()
    assert "rate of leaving" in said
    assert "associations" in said
    rng = np.random.default_rng(16)
    crossing = pd.DataFrame({"arm": np.repeat(["old", "new"], 2000)})
    # Weibull with different shapes: hazards cross
    shape = np.where(crossing["arm"] == "old", 0.6, 2.0)
    time = np.ceil(100 * rng.weibull(shape))
    crossing["duration"], crossing["event"] = np.minimum(time, 200), (time <= 200).astype(int)
    model = CoxPH(horizon=150).fit(ChurnData.from_durations(crossing), covariates=["arm"])
    assert any(c.status == "warning" and c.name == "Proportional hazards" for c in model.checks)
    assert "Within 150 days" in model.verdict()
    assert "Hazard ratios change over time" in model.verdict()


def test_summary_has_lifelines_columns(rossi):
    summary = CoxPH().fit(rossi, covariates=["fin"]).summary
    peer = CoxPHFitter().fit(load_rossi()[["week", "arrest", "fin"]], "week", "arrest").summary
    shared = [c for c in peer.columns if c in summary.columns]
    assert {"coef", "exp(coef)", "se(coef)", "coef lower 95%", "coef upper 95%", "z", "p"} <= set(shared)
    assert np.allclose(summary[shared], peer[shared], atol=1e-5)
