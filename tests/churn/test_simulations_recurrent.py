"""Reactivation: customers who lapse again and again, each at its own rate (METHODS, simulation g)."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import MeanCumulativeFunction, RecurrentCox, RecurrentData

pytestmark = pytest.mark.slow

REPLICATES = 2000


def frail_lapses(rng, n=200):
    """Customers who lapse at their own rate and come back, half of them given what does nothing."""
    rate = 0.008 * rng.gamma(0.5, 2, n)
    rows = []
    for customer in range(n):
        day = 0.0
        while day < 730:
            stop = day + rng.exponential(1 / rate[customer]) if rate[customer] > 0 else math.inf
            rows.append((customer, day, min(stop, 730.0), stop < 730, customer % 2))
            day = stop + rng.exponential(40)
    frame = pd.DataFrame(rows, columns=["id", "start", "stop", "event", "arm"])
    return RecurrentData.from_intervals(frame[frame["stop"] > frame["start"]], id="id")


def test_spells_of_one_customer_are_not_independent(covers, measured):
    """Taken for independent they find an effect in some 40% of samples where there is none."""
    rng = np.random.default_rng(4)
    covered = alarms = 0
    ratios = []
    for _ in range(REPLICATES):
        fit = RecurrentCox().fit(frail_lapses(rng), covariates=["arm"])
        ratio = fit.params_["arm"]
        low, high = fit.model.limits_.loc["arm", ["low", "high"]]
        covered += low <= 0 <= high
        alarms += abs(ratio / fit.naive_standard_errors_["arm"]) > 1.96
        ratios.append(math.exp(ratio))
    mean = float(np.mean(ratios))
    measured(
        "reactivation: rate ratio of an arm that does nothing",
        truth=1.0,
        naive=mean,
        mean=mean,
        covered=covered,
        replicates=REPLICATES,
    )
    assert 0.35 < alarms / REPLICATES < 0.5
    assert covers(covered, REPLICATES)


def test_mean_number_of_lapses(covers, measured):
    """Rates differ between customers (gamma, mean 1), so counts vary more than Poisson ones."""
    rng = np.random.default_rng(3)
    covered = poisson = 0
    means = []
    for _ in range(REPLICATES):
        rate, seen = 0.01 * rng.gamma(1, 1, 150), rng.uniform(100, 300, 150)
        rows = []
        for i in range(150):
            days = np.sort(rng.uniform(0, seen[i], rng.poisson(rate[i] * seen[i])))
            edges = np.concatenate([[0.0], days, [seen[i]]])
            rows += [(i, a, b, k < len(days)) for k, (a, b) in enumerate(itertools.pairwise(edges))]
        frame = pd.DataFrame(rows, columns=["id", "start", "stop", "event"])
        found = MeanCumulativeFunction().fit(RecurrentData.from_intervals(frame, id="id"))
        row = found.mean_at([200]).iloc[0]
        means.append(row["estimate"])
        covered += row["low"] <= 2.0 <= row["high"]
        steps = found.steps[0]
        naive = np.sqrt((steps.events / steps.at_risk**2)[steps.times <= 200].sum())
        poisson += abs(row["estimate"] - 2.0) <= 1.96 * naive
    mean = float(np.mean(means))
    measured(
        "reactivation: mean number of lapses by day 200",
        truth=2.0,
        naive=mean,
        mean=mean,
        covered=covered,
        replicates=REPLICATES,
    )
    assert poisson / REPLICATES < 0.85
    assert covers(covered, REPLICATES)
