"""What must not change an answer: episodes split, copies for weights, another unit, rows in another order."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import (
    AalenJohansen,
    ChurnData,
    CoxPH,
    DiscreteHazard,
    KaplanMeier,
    MeanCumulativeFunction,
    NelsonAalen,
    ParametricAFT,
    RecurrentCox,
    RecurrentData,
    fine_gray,
    gray_test,
    hazard_by_tenure,
    logrank_test,
    ph_test,
    rmst,
)

YEAR = 365.25
DAYS = (10, 25, 60)


def followup(seed=3, n=240):
    """Whole days with ties, late entry, a group and a number; one row per customer."""
    rng = np.random.default_rng(seed)
    start = np.where(rng.random(n) < 0.3, rng.integers(1, 15, n), 0)
    x = rng.normal(size=n).round(2)
    life = start + np.ceil(rng.exponential(40 * np.exp(-0.4 * x)))
    stop = np.minimum(life, 90)
    return pd.DataFrame(
        {
            "customer": np.arange(n),
            "start": start,
            "stop": stop.astype(int),
            "event": (life <= 90).astype(int),
            "x": x,
            "plan": rng.choice(list("ab"), n),
            "weight": rng.integers(1, 4, n),
        }
    )


def built(frame, *, scale=1.0, weights=None):
    scaled = frame.assign(start=frame["start"] * scale, stop=frame["stop"] * scale)
    spare = [c for c in ("weight",) if c != weights and c in scaled]
    return ChurnData.from_intervals(scaled.drop(columns=spare), id="customer", weights=weights)


def kaplan_meier(data, scale):
    fit = KaplanMeier().fit(data, by="plan")
    at = fit.survival_at(np.array(DAYS) * scale)[["estimate", "low", "high"]].to_numpy().ravel()
    return np.concatenate([at, fit.median_ / scale])


def nelson_aalen(data, scale):
    at = NelsonAalen().fit(data).cumulative_hazard_at(np.array(DAYS) * scale)
    return at[["estimate", "se"]].to_numpy().ravel()


def log_rank(weights):
    def read(data, scale):
        del scale
        test = logrank_test(data, by="plan", weights=weights)
        return [test.statistic, test.p_value, *test.counts["expected"]]

    return read


def restricted_mean(data, scale):
    whole = data.take(np.flatnonzero(~np.isin(data.customer, data.customer[_late(data)])))
    means = rmst(whole, by="plan", tau=60 * scale, reference="a")
    gap = means.difference("b")
    return np.array([means.mean_of("a").value, gap.value, gap.low, gap.high]) / scale


def _late(data):
    first = np.full(data.n_customers, np.inf)
    np.minimum.at(first, data.customer, data.start.astype(float))
    return first[data.customer] > 0


def cox(ties):
    def read(data, scale):
        fit = CoxPH(ties=ties).fit(data, covariates=["x", "plan"])
        new = pd.DataFrame({"x": [0.5], "plan": ["b"]})
        curve = fit.predict_survival(new, times=np.array(DAYS) * scale)[["estimate", "low", "high"]]
        return np.concatenate([fit.params_, fit.standard_errors_, curve.to_numpy().ravel()])

    return read


def cox_robust(data, scale):
    del scale
    return CoxPH(ties="breslow", cluster="customer").fit(data, covariates=["x", "plan"]).standard_errors_


def cox_by_plan(data, scale):
    del scale
    return CoxPH(ties="breslow", strata="plan").fit(data, covariates=["x"]).params_


def proportional(transform):
    def read(data, scale):
        del scale
        fit = CoxPH(ties="breslow").fit(data, covariates=["x", "plan"])
        return ph_test(fit, transform=transform).statistics["statistic"]

    return read


def conditional(data, scale):
    left = KaplanMeier().fit(data)
    at = left.conditional_survival(np.array(DAYS) * scale, alive_at=8 * scale)
    return at[["estimate", "low", "high"]].to_numpy().ravel()


def tenure(data, scale):
    periods = hazard_by_tenure(data, width=20 * scale, fewest=1).periods
    return periods[["at_risk", "estimate", "low", "high"]].to_numpy().ravel()


def weibull(data, scale):
    fit = ParametricAFT("weibull").fit(data, covariates=["x", "plan"])
    scaled = fit.params_["lambda_"]
    shape = fit.params_["rho_"]
    times = fit.predict_survival(pd.DataFrame({"x": [0.5], "plan": ["b"]}), times=np.array(DAYS) * scale)
    return np.concatenate([scaled[["x", "plan[T.b]"]], shape, times["estimate"]])


def discrete(data, scale):
    fit = DiscreteHazard(width=10 * scale, baseline="polynomial").fit(data, covariates=["x", "plan"])
    return np.concatenate([fit.params_, fit.standard_errors_])


EVERY = {
    "Kaplan-Meier": kaplan_meier,
    "Nelson-Aalen": nelson_aalen,
    "log-rank": log_rank("logrank"),
    "Wilcoxon": log_rank("wilcoxon"),
    "Peto": log_rank("peto"),
    "restricted mean": restricted_mean,
    "Cox, Breslow": cox("breslow"),
    "Cox, Efron": cox("efron"),
    "Cox, robust": cox_robust,
    "Cox, strata": cox_by_plan,
    "proportional hazards, identity": proportional("identity"),
    "proportional hazards, log": proportional("log"),
    "proportional hazards, km": proportional("km"),
    "conditional survival": conditional,
    "hazard by tenure": tenure,
    "Weibull": weibull,
    "discrete hazard": discrete,
}
# Efron's ties take a tied leaver's mean weight, as R does; robust errors and the score test take
# a weighted row as one customer, copies as several
COUNTS_COPIES = {k: v for k, v in EVERY.items() if k not in {"Cox, Efron", "Cox, robust"} and "km" not in k}


def close(one, other):
    np.testing.assert_allclose(np.asarray(one, float), np.asarray(other, float), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("read", EVERY.values(), ids=EVERY)
def test_splitting_an_episode_changes_nothing(read):
    frame = followup()
    cut = (frame["start"] + frame["stop"]) // 2
    inside = (cut > frame["start"]) & (cut < frame["stop"])
    first = frame[inside].assign(stop=cut[inside], event=0)
    second = frame.assign(start=np.where(inside, cut, frame["start"]))
    parts = pd.concat([first, second], ignore_index=True)
    close(read(built(parts), 1.0), read(built(frame), 1.0))


@pytest.mark.parametrize("read", EVERY.values(), ids=EVERY)
def test_rows_in_another_order_change_nothing(read):
    frame = followup()
    close(read(built(frame.sample(frac=1, random_state=5)), 1.0), read(built(frame), 1.0))


@pytest.mark.parametrize("read", EVERY.values(), ids=EVERY)
def test_years_say_what_days_say(read):
    frame = followup()
    close(read(built(frame, scale=1 / YEAR), 1 / YEAR), read(built(frame), 1.0))


@pytest.mark.parametrize("read", COUNTS_COPIES.values(), ids=COUNTS_COPIES)
def test_weight_k_is_k_copies(read):
    frame = followup()
    copies = frame.loc[frame.index.repeat(frame["weight"])].reset_index(drop=True)
    copies["customer"] = np.arange(len(copies))
    close(read(built(frame, weights="weight"), 1.0), read(built(copies), 1.0))


# --- causes of leaving, and repeated lapses -----------------------------------------------------


def incidence(data, scale):
    found = AalenJohansen().fit(data, by="plan").cumulative_incidence_at(np.array(DAYS) * scale)
    return found[["estimate", "low", "high"]].to_numpy().ravel()


def gray(data, scale):
    del scale
    return [gray_test(data, by="plan", cause=c).statistic for c in (1, 2)]


def subdistribution(data, scale):
    del scale
    fit = fine_gray(data, cause=1, covariates=["x", "plan"])
    return np.concatenate([fit.params_, fit.standard_errors_])


CAUSES = {"Aalen-Johansen": incidence, "Gray": gray, "Fine-Gray": subdistribution}


def with_causes(*, late=True):
    frame = followup()
    rng = np.random.default_rng(8)
    frame["event"] *= rng.integers(1, 3, len(frame))
    return frame if late else frame.assign(start=0)


@pytest.mark.parametrize("read", CAUSES.values(), ids=CAUSES)
def test_causes_in_another_order_or_unit(read):
    frame = with_causes(late=read is not gray)
    whole = read(built(frame), 1.0)
    close(read(built(frame.sample(frac=1, random_state=5)), 1.0), whole)
    close(read(built(frame, scale=1 / YEAR), 1 / YEAR), whole)


@pytest.mark.parametrize("read", [incidence, gray], ids=["Aalen-Johansen", "Gray"])
def test_splitting_changes_nothing_with_causes(read):
    frame = with_causes(late=read is not gray)
    cut = (frame["start"] + frame["stop"]) // 2
    inside = (cut > frame["start"]) & (cut < frame["stop"])
    first = frame[inside].assign(stop=cut[inside], event=0)
    second = frame.assign(start=np.where(inside, cut, frame["start"]))
    close(read(built(pd.concat([first, second])), 1.0), read(built(frame), 1.0))


def test_weights_are_copies_with_causes():
    frame = with_causes()
    copies = frame.loc[frame.index.repeat(frame["weight"])].reset_index(drop=True)
    copies["customer"] = np.arange(len(copies))
    at = [
        AalenJohansen().fit(d, by="plan").cumulative_incidence_at(DAYS)
        for d in (built(frame, weights="weight"), built(copies))
    ]
    close(at[0]["estimate"], at[1]["estimate"])


@pytest.mark.parametrize("weights", [None, "weight"])
def test_incidences_and_survival_add_up_to_one(weights):
    data = built(with_causes(), weights=weights)
    days = np.arange(1, 90)
    shares = AalenJohansen().fit(data, by="plan").cumulative_incidence_at(days)
    left = shares.groupby(["group", "time"], sort=False)["estimate"].sum()
    stay = (
        KaplanMeier()
        .fit(data.any_cause(), by="plan")
        .survival_at(days)
        .set_index(["group", "time"])["estimate"]
    )
    close(left + stay.reindex(left.index), np.ones(len(left)))


def spells(seed=2, n=150):
    rng = np.random.default_rng(seed)
    rows = []
    for customer in range(n):
        day, x = 0, round(rng.normal(), 2)
        while day < 90:
            stop = min(day + 1 + int(rng.exponential(30)), 90)
            rows.append((customer, day, stop, int(stop < 90), x))
            day = stop + int(rng.integers(0, 9))
    return pd.DataFrame(rows, columns=["customer", "start", "stop", "event", "x"])


def recurrent(frame, scale=1.0):
    scaled = frame.assign(start=frame["start"] * scale, stop=frame["stop"] * scale)
    data = RecurrentData.from_intervals(scaled, id="customer")
    fit = RecurrentCox().fit(data, covariates=["x"])
    mean = MeanCumulativeFunction().fit(data).mean_at(np.array(DAYS) * scale)
    return np.concatenate([fit.params_, fit.standard_errors_, mean[["estimate", "se"]].to_numpy().ravel()])


def test_lapses_in_another_order_unit_or_cut():
    frame = spells()
    whole = recurrent(frame)
    close(recurrent(frame.sample(frac=1, random_state=5)), whole)
    close(recurrent(frame, 1 / YEAR), whole)
    cut = (frame["start"] + frame["stop"]) // 2
    inside = (cut > frame["start"]) & (cut < frame["stop"])
    first = frame[inside].assign(stop=cut[inside], event=0)
    close(recurrent(pd.concat([first, frame.assign(start=np.where(inside, cut, frame["start"]))])), whole)
