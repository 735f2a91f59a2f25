"""Simulations with a known truth for randomised arms: false positives and coverage as claimed."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.comparison import Comparison, Mean, Proportion, Ratio

pytestmark = pytest.mark.slow

REPS = 1000
NOISE = 3.5 * np.sqrt(0.05 * 0.95 / REPS)


def world(rng, *, n=600, effect=0.0, share=0.5, clusters=0):
    """Skewed spend that depends on the past, orders, visits; by user or by store."""
    past = rng.gamma(1.5, 2.0, n)
    stratum = rng.choice(["a", "b"], n, p=[0.7, 0.3])
    if clusters:
        store = rng.integers(0, clusters, n)
        treated = (rng.permutation(clusters) < clusters / 2)[store]
        shift = rng.normal(0, 1.0, clusters)[store]
    else:
        store, treated, shift = np.arange(n), rng.random(n) < share, 0.0
    orders = rng.poisson(past) + 1
    spend = past * rng.gamma(2.0, 0.5, n) + 3 * (stratum == "b") + shift + effect * treated
    return pd.DataFrame(
        {
            "arm": np.where(treated, "t", "control"),
            "s": stratum,
            "store": store,
            "past": past,
            "spend": spend,
            "orders": orders,
            "came": (rng.random(n) < 0.2).astype(int),
        }
    )


CASES = {
    "Welch": (Mean("spend"), {}),
    "capped": (Mean("spend", cap=0.99), {}),
    "ratio": (Ratio("spend", "orders"), {}),
    "adjusted": (Mean("spend", covariates=("past",)), {}),
    "adjusted ratio": (Ratio("spend", "orders", covariates=("past",)), {}),
    "strata": (Mean("spend"), {"strata": "s"}),
    "strata, adjusted": (Mean("spend", covariates=("past",)), {"strata": "s"}),
    "proportion": (Proportion("came"), {}),
    "proportion, adjusted": (Proportion("came", covariates=("past",)), {}),
    "clusters": (Mean("spend"), {"cluster": "store"}),
    "clusters, adjusted": (Mean("spend", covariates=("past",)), {"cluster": "store"}),
}


def analyse(table, metric, options):
    plan = Comparison(metric, design="randomised", assignment="arm", control="control", **options)
    return plan.analyse(table).estimate()


@pytest.mark.parametrize("name", CASES)
def test_a_a_rejects_as_often_as_it_says(name):
    metric, options = CASES[name]
    rng = np.random.default_rng(17)
    size = {"n": 2000, "clusters": 60} if "cluster" in options else {"share": 0.4}
    p = [analyse(world(rng, **size), metric, options).p_value for _ in range(REPS)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=NOISE)


@pytest.mark.parametrize("name", ["Welch", "adjusted", "strata, adjusted", "clusters, adjusted"])
def test_intervals_cover_the_effect(name):
    metric, options = CASES[name]
    rng = np.random.default_rng(23)
    size = {"n": 2000, "clusters": 60} if "cluster" in options else {"share": 0.3}
    found = [analyse(world(rng, effect=0.5, **size), metric, options) for _ in range(REPS)]
    covered = np.mean([e.low <= 0.5 <= e.high for e in found])
    assert covered == pytest.approx(0.95, abs=NOISE)


def test_ignoring_clusters_would_reject_far_too_often():
    rng = np.random.default_rng(29)
    p = [analyse(world(rng, n=2000, clusters=60), Mean("spend"), {}).p_value for _ in range(200)]
    assert np.mean(np.array(p) < 0.05) > 0.12


def test_holm_keeps_the_family():
    rng = np.random.default_rng(31)
    metrics = [Mean("spend"), Proportion("came"), Ratio("spend", "orders")]
    plan = Comparison(metrics, design="randomised", assignment="arm", control="control")
    any_clear = [plan.analyse(world(rng)).to_frame()["p_adjusted"].min() < 0.05 for _ in range(REPS)]
    assert np.mean(any_clear) <= 0.05 + NOISE


def test_relative_intervals_cover():
    rng = np.random.default_rng(37)
    # the expected control mean is 3 + 0.9, so that an effect of 0.5 is this share of it
    truth = 0.5 / 3.9
    plan = Comparison(Mean("spend"), design="randomised", assignment="arm", control="control")
    rows = [plan.analyse(world(rng, effect=0.5)).to_frame().iloc[0] for _ in range(REPS)]
    covered = np.mean([r["relative_low"] <= truth <= r["relative_high"] for r in rows])
    assert covered == pytest.approx(0.95, abs=NOISE)
