"""Simulations with a known truth for randomised arms: false positives and coverage as claimed."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from loyalty_research.comparison import (
    Comparison,
    Mean,
    Proportion,
    Ratio,
    difference_in_proportions,
    effects_by_segment,
)

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
            "visits": rng.poisson(1 + past),
            "came": (rng.random(n) < 0.2 + 0.1 * effect * treated).astype(int),
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


TRUTHS = {
    "by unit": (
        {"n": 600, "share": 0.3},
        {},
        {
            "mean, Welch": (Mean("spend"), 0.5),
            "mean, adjusted for two covariates": (Mean("spend", covariates=("past", "visits")), 0.5),
            "ratio, delta method": (Ratio("spend", "orders"), 0.125),
            "ratio, adjusted": (Ratio("spend", "orders", covariates=("past",)), 0.125),
            "proportion, Newcombe": (Proportion("came"), 0.05),
            "proportion, adjusted": (Proportion("came", covariates=("past",)), 0.05),
        },
    ),
    "by stratum": (
        {"n": 600, "share": 0.3},
        {"strata": "s"},
        {
            "mean, post-stratified": (Mean("spend"), 0.5),
            "mean, post-stratified and adjusted": (Mean("spend", covariates=("past",)), 0.5),
        },
    ),
    "by store": (
        {"n": 2000, "clusters": 60},
        {"cluster": "store"},
        {
            "mean, 60 clusters": (Mean("spend"), 0.5),
            "mean, 60 clusters, adjusted": (Mean("spend", covariates=("past",)), 0.5),
        },
    ),
    "by few stores": (
        {"n": 400, "clusters": 10},
        {"cluster": "store"},
        {"mean, 10 clusters": (Mean("spend"), 0.5)},
    ),
}


@pytest.mark.parametrize("how", TRUTHS)
def test_intervals_cover_the_effect(measured, covers, how):
    size, options, cases = TRUTHS[how]
    metrics = [replace(metric, name=name) for name, (metric, _) in cases.items()]
    plan = Comparison(metrics, design="randomised", assignment="arm", control="control", **options)
    rng = np.random.default_rng(23)
    replicates, held = 2000, dict.fromkeys(cases, 0)
    for _ in range(replicates):
        found = plan.analyse(world(rng, effect=0.5, **size)).to_frame().set_index("metric")
        for name, (_, truth) in cases.items():
            held[name] += found.loc[name, "low"] <= truth <= found.loc[name, "high"]
    for name, count in held.items():
        # few clusters are published as they come out
        assert covers(count, replicates) or name == "mean, 10 clusters", (name, count)
        measured(name, count, replicates)


@pytest.mark.parametrize("method", ["newcombe", "miettinen-nurminen", "agresti-caffo"])
def test_intervals_of_rare_proportions_cover(measured, at_least, method):
    """Nunes and Dreze's sizes and shares, and shares of 2% and 5%; the score intervals stay honest."""
    replicates = 2000
    for p1, p2, n in ((0.34, 0.19, 150), (0.05, 0.02, 150)):
        rng = np.random.default_rng(41)
        drawn = zip(rng.binomial(n, p1, replicates), rng.binomial(n, p2, replicates), strict=True)
        seen = Counter((int(a), int(b)) for a, b in drawn)
        held = 0
        for (one, two), times in seen.items():
            e = difference_in_proportions(one, n, two, n, method=method)
            held += times * (e.low <= p1 - p2 <= e.high)
        assert at_least(held, replicates)
        measured(f"{p1:.0%} v {p2:.0%} of {n}: {method}", held, replicates)


@pytest.mark.parametrize("differ", [False, True])
def test_segments_hold_all_at_once(measured, at_least, differ):
    """Four segments of 200 units; where they do not differ, the test of that is right too."""
    replicates, held, found_different = 6000, 0, 0
    rng = np.random.default_rng(43)
    truth = {"e": 0.0, "n": 1.0, "s": -1.0, "w": 2.0} if differ else dict.fromkeys("ensw", 0.5)
    plan = Comparison(Mean("y"), design="randomised", assignment="arm", control="control")
    for _ in range(replicates):
        region, treated = rng.choice(list(truth), 800), rng.random(800) < 0.5
        effect = pd.Series(region).map(truth).to_numpy()
        frame = pd.DataFrame({"region": region, "arm": np.where(treated, "t", "control")})
        frame["y"] = rng.gamma(2.0, 2.0, 800) + effect * treated
        found = effects_by_segment(plan, frame, by="region")
        held += all(e.low <= truth[s] <= e.high for s, e in found.effects.items())
        found_different += found.heterogeneity[2] < 0.05
    assert at_least(held, replicates)
    named = "segments that differ" if differ else "segments that do not differ"
    measured(f"{named}: all four intervals at once", held, replicates, aim="at least 95%")
    if differ:
        assert found_different > 0.9 * replicates
        return
    assert at_least(replicates - found_different, replicates)
    measured(f"{named}: Cochran's test finds none", replicates - found_different, replicates)


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
