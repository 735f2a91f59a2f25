"""Simulated drivers of leaving with a known truth: tiers that follow engagement, ratios that change."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import ChurnData, CoxPH, ph_test, rmst_difference
from loyalty_research.errors import ImmortalTimeError

pytestmark = pytest.mark.slow

QUARTER, QUARTERS = 91, 8


def tiers(rng, n):
    """Follow customers by quarter: last quarter's visits set the tier and the rate of leaving.

    The tier itself does nothing. Visits of one quarter resemble those of the one before, and the
    tier is given by them but for chance, so whoever is demoted was drifting away already.
    """
    visits = np.empty((n, QUARTERS))
    visits[:, 0] = rng.normal(size=n)
    for q in range(1, QUARTERS):
        visits[:, q] = 0.7 * visits[:, q - 1] + np.sqrt(1 - 0.7**2) * rng.normal(size=n)
    gold = visits + rng.normal(0, 0.7, visits.shape) > 0.3
    rate = np.exp(-0.37 * visits) / 400
    wait = rng.exponential(size=visits.shape) / rate
    gone = wait < QUARTER
    there = np.cumsum(np.column_stack([np.zeros(n), gone[:, :-1]]), axis=1) == 0
    customer, quarter = np.nonzero(there)
    stop = np.where(gone, np.ceil(np.minimum(wait, QUARTER)), QUARTER)[there] + QUARTER * quarter
    return pd.DataFrame(
        {
            "customer": customer,
            "start": QUARTER * quarter,
            "stop": stop.astype(int),
            "event": gone[there].astype(int),
            "is_gold": gold[there],
            "visits_last_quarter": visits[there],
            "counted_on": QUARTER * quarter,
        }
    )


def test_demotion(covers, measured):
    """Gold looks protective until the visits that earned it are in the model."""
    rng = np.random.default_rng(20261122)
    replicates, covered, naive, ours = 2000, 0, [], []
    for _ in range(replicates):
        data = ChurnData.from_intervals(
            tiers(rng, 400),
            id="customer",
            known_at={"visits_last_quarter": "counted_on", "is_gold": "counted_on"},
        )
        naive.append(CoxPH().fit(data, covariates=["is_gold"]).params_["is_gold"])
        model = CoxPH().fit(data, covariates=["is_gold", "visits_last_quarter"])
        low, high = model.limits_.loc["is_gold", ["low", "high"]]
        covered += low <= 0 <= high
        ours.append(model.params_["is_gold"])
    assert np.exp(np.mean(naive)) < 0.7
    assert abs(np.mean(ours)) < 3 * np.std(ours) / np.sqrt(replicates)
    assert covers(covered, replicates)
    measured(
        "demotion: hazard ratio of gold",
        truth=1,
        naive=np.exp(np.mean(naive)),
        mean=np.exp(np.mean(ours)),
        covered=covered,
        replicates=replicates,
    )


def test_visits_of_the_quarter_itself_look_into_the_future():
    frame = tiers(np.random.default_rng(1), 50)
    frame["counted_on"] += QUARTER
    with pytest.raises(ImmortalTimeError, match="visits_last_quarter looks into the future"):
        ChurnData.from_intervals(frame, id="customer", known_at={"visits_last_quarter": "counted_on"})


EARLY, LATE, TURN, END, TAU = 0.55838139, 1.49413909, 120, 730, 365


def offers(rng, n):
    """Give half an offer that keeps customers for four months and wears off into the opposite."""
    offer = rng.integers(0, 2, n)
    spent = 300 * rng.exponential(size=n)
    turned = EARLY * TURN
    treated = np.where(spent < turned, spent / EARLY, TURN + (spent - turned) / LATE)
    life = np.where(offer == 1, treated, spent)
    return pd.DataFrame(
        {"offer": offer, "duration": np.minimum(life, END), "event": (life < END).astype(int)}
    )


def mean_gain():
    """Return the true difference in mean days within the horizon, by the trapezium rule."""
    t = np.linspace(0, TAU, 200_001)
    control = np.exp(-t / 300)
    treated = np.exp(-np.where(t < TURN, EARLY * t, EARLY * TURN + LATE * (t - TURN)) / 300)
    return float(np.trapezoid(treated - control, t))


def test_hazards_that_are_not_proportional(covers, measured):
    """One ratio says harm, while those with the offer stay longer within the year asked about."""
    rng = np.random.default_rng(17)
    truth = mean_gain()
    replicates, covered, harm, warned, switched = 2000, 0, 0, 0, 0
    ratios, gains = [], []
    for _ in range(replicates):
        data = ChurnData.from_durations(offers(rng, 4000))
        model = CoxPH(horizon=TAU).fit(data, covariates=["offer"])
        ratios.append(model.params_["offer"])
        harm += model.limits_.loc["offer", "low"] > 0
        warned += ph_test(model).p_value < 0.05
        switched += "mean times say more" in model.verdict()
        gain = rmst_difference(data, by="offer", tau=TAU, reference=0)
        gains.append(gain.value)
        covered += gain.low <= truth <= gain.high
    assert truth == pytest.approx(9.6, abs=0.01)
    assert np.exp(np.mean(ratios)) == pytest.approx(1.13, abs=0.01)
    assert harm / replicates > 0.9
    assert warned == switched == replicates
    assert covers(covered, replicates)
    measured(
        "hazards not proportional: mean days gained within a year",
        truth=truth,
        naive=np.exp(np.mean(ratios)),
        mean=np.mean(gains),
        covered=covered,
        replicates=replicates,
    )
