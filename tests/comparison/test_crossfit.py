"""Cross-fitting with other people's learners."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.comparison import augmented_ipw
from loyalty_research.errors import ArgumentError, DesignError

ensemble = pytest.importorskip("sklearn.ensemble")
linear = pytest.importorskip("sklearn.linear_model")
GIVEN = {"outcome": "y", "treatment": "t", "covariates": ["a", "b"]}


def bent(n, seed, *, effect=1.0):
    """Membership and outcome hang on a bend that linear models miss."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-2, 2, n), rng.normal(size=n)
    bend = np.abs(a) - 1
    t = (rng.random(n) < 1 / (1 + np.exp(-1.5 * bend))).astype(int)
    return pd.DataFrame({"a": a, "b": b, "t": t, "y": 3 * bend + b + effect * t + rng.normal(size=n)})


def plain():
    return linear.LogisticRegression(C=1e8), linear.LinearRegression()


def forests():
    return (
        ensemble.HistGradientBoostingClassifier(max_iter=40, max_depth=3),
        ensemble.HistGradientBoostingRegressor(max_iter=60, max_depth=3),
    )


def test_with_linear_learners_it_is_the_linear_answer():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2))
    t = (rng.random(4000) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    frame = pd.DataFrame(
        {"a": x[:, 0], "b": x[:, 1], "t": t, "y": x @ [1.0, 2.0] + t + rng.normal(size=4000)}
    )
    one, other = augmented_ipw(frame, **GIVEN), augmented_ipw(frame, learners=plain(), **GIVEN)
    assert other.estimate.value == pytest.approx(one.estimate.value, abs=0.01)
    assert other.standard_error == pytest.approx(one.standard_error, rel=0.05)
    assert other.estimate.method.endswith("cross-fitted in 5 folds")


def test_learners_see_the_bend_that_lines_miss():
    frame = bent(4000, 1)
    lines, trees = augmented_ipw(frame, **GIVEN), augmented_ipw(frame, learners=forests(), **GIVEN)
    assert lines.estimate.low > 1.3
    assert trees.estimate.low < 1.0 < trees.estimate.high
    again = augmented_ipw(frame, learners=forests(), **GIVEN)
    assert again.estimate == trees.estimate
    assert augmented_ipw(frame, learners=forests(), seed=1, **GIVEN).estimate != trees.estimate


def test_clusters_stay_in_one_part():
    frame = bent(1500, 2)
    copies = pd.concat([frame] * 3, ignore_index=True).assign(block=list(range(1500)) * 3)
    whole = augmented_ipw(copies, learners=plain(), cluster="block", **GIVEN)
    alone = augmented_ipw(frame.assign(block=range(1500)), learners=plain(), cluster="block", **GIVEN)
    # the same people three times carry no more information than once
    assert whole.standard_error == pytest.approx(alone.standard_error, rel=0.05)


def test_what_cannot_be():
    frame = bent(300, 3)
    with pytest.raises(ArgumentError, match="learners is a pair"):
        augmented_ipw(frame, learners=linear.LinearRegression(), **GIVEN)
    with pytest.raises(ArgumentError, match="LinearRegression has no predict_proba"):
        augmented_ipw(frame, learners=(linear.LinearRegression(), linear.LinearRegression()), **GIVEN)
    with pytest.raises(ArgumentError, match="folds must be"):
        augmented_ipw(frame, learners=plain(), folds=1, **GIVEN)
    split = frame.assign(t=(frame["a"] > 0).astype(int))
    with pytest.raises(DesignError, match="below 1% or above 99%"):
        augmented_ipw(split, learners=plain(), **GIVEN)


@pytest.mark.slow
def test_coverage_with_learners(measured):
    """200 replicates of 2,000 units with a bend: boosted trees; lines cover next to never."""
    replicates, held, lines = 200, 0, 0
    for seed in range(replicates):
        frame = bent(2000, seed)
        e = augmented_ipw(frame, learners=forests(), **GIVEN).estimate
        held += e.low <= 1.0 <= e.high
        e = augmented_ipw(frame, **GIVEN).estimate
        lines += e.low <= 1.0 <= e.high
    assert held / replicates > 0.85
    assert lines / replicates < 0.2
    measured("cross-fitted boosted trees, a bend", held, replicates)
    measured("straight lines, the same bend", lines, replicates)
