"""Standardisation against the book's figure, by hand and by simulation."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.comparison import augmented_ipw, standardisation
from loyalty_research.errors import ArgumentError, DesignError


def test_nhefs(oracle, nhefs):
    table, covariates = nhefs
    case = oracle("nhefs_standardisation")
    found = standardisation(
        table,
        outcome="wt82_71",
        treatment="qsmk",
        covariates=covariates,
        interactions=["smokeintensity"],
    )
    seen = (found.estimate.value, found.mean_treated, found.mean_control)
    assert seen == pytest.approx(case["expected"], abs=case["tolerance"])


def test_without_interactions_it_is_the_regression_coefficient():
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    t = (rng.random(400) < 1 / (1 + np.exp(-x[:, 0]))).astype(float)
    y = 2 * t + x @ [1.0, -1.0] + rng.normal(size=400)
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "t": t, "y": y})
    found = standardisation(frame, outcome="y", treatment="t", covariates=["a", "b"])
    peer = sm.OLS(y, np.column_stack([np.ones(400), x, t])).fit(cov_type="HC0")
    assert found.estimate.value == pytest.approx(peer.params[-1], rel=1e-9)
    assert found.standard_error == pytest.approx(peer.bse[-1], rel=1e-9)


def test_with_every_interaction_it_is_a_regression_in_each_group():
    rng = np.random.default_rng(1)
    a = rng.normal(size=500)
    t = (rng.random(500) < 1 / (1 + np.exp(-a))).astype(int)
    frame = pd.DataFrame({"a": a, "k": rng.choice(["x", "y", "z"], 500), "t": t})
    frame["y"] = a + t * (1 + a) + (frame["k"] == "z") * t + rng.normal(size=500)
    found = standardisation(frame, outcome="y", treatment="t", covariates=["a", "k"], interactions=["a", "k"])
    design = np.column_stack([np.ones(500), a, frame["k"] == "y", frame["k"] == "z"]).astype(float)
    means = [
        (design @ np.linalg.lstsq(design[t == g], frame["y"].to_numpy()[t == g], rcond=None)[0]).mean()
        for g in (1, 0)
    ]
    assert (found.mean_treated, found.mean_control) == pytest.approx(tuple(means), rel=1e-9)
    robust = augmented_ipw(frame, outcome="y", treatment="t", covariates=["a", "k"])
    assert abs(found.estimate.value - robust.estimate.value) < robust.standard_error


def test_coverage():
    replicates, held = 400, 0
    for seed in range(replicates):
        rng = np.random.default_rng(seed)
        a = rng.normal(size=300)
        t = (rng.random(300) < 1 / (1 + np.exp(-a))).astype(int)
        frame = pd.DataFrame({"a": a, "t": t, "y": a + t * (1 + 0.5 * a) + rng.normal(size=300)})
        e = standardisation(frame, outcome="y", treatment="t", covariates=["a"], interactions=["a"]).estimate
        held += e.low <= 1.0 <= e.high
    assert abs(held / replicates - 0.95) < 3 * np.sqrt(0.95 * 0.05 / replicates)


def test_what_cannot_be():
    frame = pd.DataFrame({"a": [0.0, 1, 2, 3, 4, 5], "t": [0, 0, 0, 1, 1, 1], "y": [1.0, 2, 3, 4, 5, 7]})
    with pytest.raises(ArgumentError, match="interactions name 'b'"):
        standardisation(frame, outcome="y", treatment="t", covariates=["a"], interactions=["b"])
    few = frame.assign(b=[1.0, 4, 2, 7, 3, 9], c=[2.0, 2, 8, 1, 5, 5])
    with pytest.raises(DesignError, match="determine one another"):
        standardisation(
            few, outcome="y", treatment="t", covariates=["a", "b", "c"], interactions=["a", "b", "c"]
        )
