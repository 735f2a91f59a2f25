import warnings

import numpy as np
import pytest

from loyalty_research.churn import brier_score, dynamic_auc, integrated_brier_score
from loyalty_research.errors import ArgumentError, ContractError, DesignError


@pytest.fixture(scope="module")
def gbsg2():
    """scikit-survival's docstring example: times, events, risk, and predicted curves."""
    from sksurv.datasets import load_gbsg2
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.preprocessing import OneHotEncoder

    table, told = load_gbsg2()
    table = table.assign(tgrade=table["tgrade"].astype(str).map(len).astype(int))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        columns = OneHotEncoder().fit_transform(table)
        model = CoxPHSurvivalAnalysis(ties="efron").fit(columns, told)
        curves = model.predict_survival_function(columns)
    return told, model.predict(columns), curves


def test_brier_with_g_at_the_event_equals_scikit_survival(gbsg2, oracle):
    told, _, curves = gbsg2
    case = oracle("gbsg2_brier_1825")
    chance = [float(c(1825)) for c in curves]
    found = brier_score(told["time"], told["cens"], chance, times=1825, ties="at").scores["estimate"]
    assert found[0] == pytest.approx(case["expected"], abs=case["tolerance"])


def test_integrated_brier_equals_scikit_survival(gbsg2, oracle):
    told, _, curves = gbsg2
    case = oracle("gbsg2_ibs_365_1825")
    times = np.arange(365, 1826)
    chance = np.array([c(times) for c in curves])
    for ties in ("at", "before"):
        found = integrated_brier_score(told["time"], told["cens"], chance, times=times, ties=ties)
        assert found.value == pytest.approx(case["expected"], abs=case["tolerance"])


def test_auc_equals_scikit_survival_without_ties(gbsg2):
    from sksurv.metrics import cumulative_dynamic_auc
    from sksurv.util import Surv

    told, risk, _ = gbsg2
    time = told["time"] + np.random.default_rng(1).uniform(0, 0.5, len(told))
    own = Surv.from_arrays(told["cens"], time)
    peer = cumulative_dynamic_auc(own, own, risk, [500, 1000, 1825])[0]
    found = dynamic_auc(time, told["cens"], risk, times=[500, 1000, 1825]).areas["estimate"]
    assert np.allclose(found, peer, atol=1e-12, rtol=0)


def months(rng, n):
    """Durations in whole months with many ties, a risk, and the chance of staying beyond month 6."""
    risk = rng.normal(0, 0.7, n)
    rate = 0.12 * np.exp(risk)
    left, seen = np.ceil(rng.exponential(1 / rate)), np.ceil(rng.exponential(6, n))
    return risk, left, seen, np.exp(-6 * rate)


def test_weighting_just_before_the_event_is_right_on_tied_months():
    """The truth is the plain score without censoring; G(T) overstates the weight of leavers."""
    rng = np.random.default_rng(2)
    risk, left, seen, chance = months(rng, 200_000)
    truth = np.mean((chance - (left > 6)) ** 2)
    time, event = np.minimum(left, seen), left <= seen
    right, wrong = (
        brier_score(time, event, chance, times=6, ties=t).scores["estimate"][0] for t in ("before", "at")
    )
    assert right == pytest.approx(truth, abs=0.002)
    assert wrong > truth + 0.01
    area = dynamic_auc(time, event, risk, times=6).areas["estimate"][0]
    full = dynamic_auc(left, np.ones_like(left), risk, times=6).areas["estimate"][0]
    assert area == pytest.approx(full, abs=0.004)


def test_errors_are_the_infinitesimal_jackknife():
    """Each customer's weight is moved by a hair, and the figures' moves are squared and summed."""
    rng = np.random.default_rng(3)
    risk, left, seen, chance = months(rng, 150)
    time, event = np.minimum(left, seen), left <= seen
    half = np.full((150, 1), 0.5)

    def figures(mass):
        row = brier_score(time, event, chance, times=6, null=half, weights=mass).scores.iloc[0]
        area = dynamic_auc(time, event, risk, times=6, weights=mass).areas.iloc[0]
        return row, area, np.array([row["estimate"], row["scaled"], area["estimate"]])

    row, area, whole = figures(np.ones(150))
    moves = []
    for i in range(150):
        mass = np.ones(150)
        mass[i] += 1e-5
        moves.append((figures(mass)[2] - whole) / 1e-5)
    error = np.sqrt((np.array(moves) ** 2).sum(axis=0))
    z = 1.959964
    logit = np.log(area["high"] / (1 - area["high"])) - np.log(area["low"] / (1 - area["low"]))
    found = [
        np.log(row["high"] / row["low"]) / 2 / z * row["estimate"],
        (row["scaled_high"] - row["scaled_low"]) / 2 / z,
        logit / 2 / z * area["estimate"] * (1 - area["estimate"]),
    ]
    assert np.allclose(found, error, rtol=1e-4)


def test_a_weight_of_two_is_two_customers():
    rng = np.random.default_rng(4)
    risk, left, seen, chance = months(rng, 120)
    time, event = np.minimum(left, seen), left <= seen
    mass = rng.integers(1, 3, 120)
    rows = np.repeat(np.arange(120), mass)
    one = brier_score(time, event, chance, times=6, weights=mass).scores
    two = brier_score(time[rows], event[rows], chance[rows], times=6).scores
    assert np.allclose(one[["estimate", "null"]], two[["estimate", "null"]], atol=1e-12)
    one = dynamic_auc(time, event, risk, times=6, weights=mass).areas["estimate"]
    assert np.allclose(one, dynamic_auc(time[rows], event[rows], risk[rows], times=6).areas["estimate"])


def test_knowing_nothing_gains_nothing_and_knowing_all_gains_all():
    rng = np.random.default_rng(5)
    left = np.ceil(rng.exponential(8, 4000))
    always = np.ones(4000)
    times = [3, 6, 9]
    share = np.tile([(left > t).mean() for t in times], (4000, 1))
    assert np.allclose(brier_score(left, always, share, times=times).scores["scaled"], 0, atol=1e-12)
    perfect = np.column_stack([left > t for t in times]).astype(float)
    found = brier_score(left, always, perfect, times=times)
    assert np.allclose(found.scores["scaled"], 1)
    assert "closer to what happened" in found.verdict()
    assert "worse" in brier_score(left, always, 1 - perfect, times=times).verdict()


def test_bad_input_is_named():
    with pytest.raises(ContractError, match=r"survival is missing in 1 row \(at position 1\)"):
        brier_score([1, 2, 5], [1, 1, 0], [0.4, np.nan, 0.1], times=2)
    with pytest.raises(
        ContractError, match=r"probabilities from 0 to 1; they are not in 1 row \(at position 0\)"
    ):
        brier_score([1, 2, 5], [1, 1, 0], [1.4, 0.2, 0.1], times=2)
    with pytest.raises(ContractError, match=r"survival has shape \(3,\)"):
        brier_score([1, 2, 5], [1, 1, 0], [0.4, 0.2, 0.1], times=[1, 2])
    with pytest.raises(ArgumentError, match="nobody is watched after 5"):
        brier_score([1, 2, 5], [1, 1, 0], [0.4, 0.2, 0.1], times=6)
    with pytest.raises(ArgumentError, match="times must ascend"):
        brier_score([1, 2, 5], [1, 1, 0], np.full((3, 2), 0.5), times=[2, 2])
    with pytest.raises(DesignError, match="Restart every clock at entry"):
        brier_score([1, 2, 5], [1, 1, 0], [0.4, 0.2, 0.1], times=2, entry=[0, 0, 1])
    with pytest.raises(ArgumentError, match="at least two times"):
        integrated_brier_score([1, 2, 5], [1, 1, 0], [0.4, 0.2, 0.1], times=2)
    with pytest.raises(ContractError, match=r"risk has shape \(3, 2\)"):
        dynamic_auc([1, 2, 5], [1, 1, 0], np.zeros((3, 2)), times=2)
    with pytest.raises(ArgumentError, match="both train_times and train_events"):
        dynamic_auc([1, 2, 5], [1, 1, 0], [1, 2, 3], times=2, train_times=[3])
