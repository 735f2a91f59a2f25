"""Matching against R, by hand and by simulation; pairs and Rosenbaum's bounds."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from loyalty_research.comparison import balance, inverse_probability_weighting, matching, rosenbaum_bounds
from loyalty_research.comparison.pairs import bias_borne, pair_up
from loyalty_research.errors import ArgumentError, ContractError, DesignError


def ties():
    i = np.arange(1, 121)
    a, b = np.round(norm.ppf((i * 0.6180339887498949) % 1), 1), ((i * 7) % 5).astype(float)
    t = ((i * 0.41421356237309515) % 1 < 1 / (1 + np.exp(-a))).astype(int)
    y = np.round(2 * a + np.sqrt(b + 1) + 1.5 * t + norm.ppf((i * 0.7320508075688772) % 1), 4)
    return pd.DataFrame({"a": a, "b": b, "t": t, "y": y})


GIVEN = {"outcome": "y", "treatment": "t", "covariates": ["a", "b"]}


@pytest.mark.parametrize("place", range(4))
def test_estimates_are_those_of_the_matching_package(oracle, place):
    case = oracle("matching_bias_adjusted")
    found = matching(ties(), **GIVEN, **case["inputs"][place])
    assert found.estimate.value == pytest.approx(case["expected"][place], abs=case["tolerance"])


def test_order_and_scale_do_not_matter():
    frame = ties()
    base = matching(frame, **GIVEN)
    shuffled = matching(frame.sample(frac=1, random_state=1), **GIVEN)
    scaled = matching(frame.assign(a=100 * frame["a"] + 7), **GIVEN)
    for other in (shuffled, scaled):
        assert other.estimate.value == pytest.approx(base.estimate.value, abs=1e-9)
        assert other.standard_error == pytest.approx(base.standard_error, abs=1e-9)


def test_exact_matches_are_a_difference_of_means_by_pattern():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"x": np.repeat([0, 1, 2], 60), "t": np.tile([0, 0, 1], 60)})
    frame["y"] = frame["x"] ** 2 + rng.normal(size=180)
    means = frame.pivot_table(index="x", columns="t", values="y")
    expected = (means[1] - means[0]).mean()
    found = matching(frame, outcome="y", treatment="t", covariates=["x"])
    assert found.estimate.value == pytest.approx(expected, abs=1e-12)
    assert found.mean_treated == pytest.approx(frame.loc[frame["t"] == 1, "y"].mean())
    # the weights are those of the comparison
    w = found.weights
    by_hand = w[frame["t"] == 1] @ frame.loc[frame["t"] == 1, "y"]
    by_hand -= w[frame["t"] == 0] @ frame.loc[frame["t"] == 0, "y"]
    assert by_hand == pytest.approx(expected, abs=1e-12)
    assert np.abs(found.balance.after).max() == pytest.approx(0.0, abs=1e-12)


def test_a_caliper_leaves_out_and_counts():
    frame = pd.concat(
        [ties(), pd.DataFrame({"a": [50.0], "b": [0.0], "t": [1], "y": [9.0]})], ignore_index=True
    )
    found = matching(frame, caliper=0.5, **GIVEN)
    assert found.alone >= 1
    assert found.weights[-1] == 0
    assert found.checks[-1].status == "warning"
    with pytest.raises(DesignError, match="nobody has a match within caliper"):
        matching(
            frame[frame["t"] == 0].assign(a=1000.0, t=1)._append(frame[frame["t"] == 0]),
            caliper=1e-6,
            **GIVEN,
        )


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"estimand": "ATO"}, ArgumentError, "ATT or ATE"),
        ({"matches": 0}, ArgumentError, "at least 1"),
        ({"caliper": 0.0}, ArgumentError, "caliper must be positive"),
        ({"covariates": ["y"]}, ArgumentError, "y cannot be a covariate"),
        ({"outcome": "z"}, ContractError, "units has no column 'z'"),
        ({"control": 7}, ContractError, "must hold the control '7'"),
    ],
)
def test_options_are_checked(options, error, said):
    with pytest.raises(error, match=said):
        matching(ties(), **{**GIVEN, **options})


def test_booleans_are_zero_and_one():
    frame = ties().assign(t=lambda d: d["t"] == 1)
    assert matching(frame, **GIVEN).estimate == matching(ties(), **GIVEN).estimate
    assert (
        inverse_probability_weighting(frame, **GIVEN).estimate
        == inverse_probability_weighting(ties(), **GIVEN).estimate
    )
    found = balance(frame, treatment="t", covariates=["a"], control=False)
    assert found.before.tolist() == balance(ties(), treatment="t", covariates=["a"]).before.tolist()


def test_pairs_are_nearest_free_controls():
    rng = np.random.default_rng(4)
    score, treated = rng.normal(size=200), (rng.random(200) < 0.3).astype(float)
    ones, zeros = pair_up(score, treated, caliper=0.2)
    assert len(set(zeros.tolist())) == len(zeros)
    assert (treated[ones] == 1).all()
    assert (treated[zeros] == 0).all()
    # the same by looking at every control
    free = set(np.flatnonzero(treated == 0).tolist())
    expected = []
    for row in np.flatnonzero(treated == 1)[np.argsort(-score[treated == 1], kind="stable")].tolist():
        near = min(free, key=lambda c: abs(score[c] - score[row]))
        if abs(score[near] - score[row]) <= 0.2 * score.std():
            free.remove(near)
            expected.append((row, near))
    assert list(zip(ones.tolist(), zeros.tolist(), strict=True)) == expected


def test_bounds_are_the_published_ones(oracle):
    case = oracle("rosenbaum_lead")
    found = rosenbaum_bounds(**case["inputs"])
    np.testing.assert_allclose(found.upper, case["expected"], atol=case["tolerance"])
    assert 4.25 < found.borne < 5
    assert "more than 4.3" in found.verdict()
    assert found.to_frame()["gamma"].tolist() == case["inputs"]["gammas"]
    swapped = rosenbaum_bounds(
        case["inputs"]["control"], case["inputs"]["treated"], alternative="less", gammas=[2]
    )
    assert swapped.upper[0] == found.upper[0]


def test_without_bias_it_is_the_signed_rank_test():
    from scipy.stats import wilcoxon

    rng = np.random.default_rng(0)
    differences = rng.normal(0.3, 1, 60)
    found = rosenbaum_bounds(differences, np.zeros(60), gammas=[1])
    peer = wilcoxon(differences, alternative="greater", method="asymptotic", correction=False).pvalue
    assert found.upper[0] == pytest.approx(peer, rel=1e-12)
    assert found.lower[0] == pytest.approx(peer, rel=1e-12)
    assert bias_borne(-np.abs(differences), alpha=0.05) == 1.0


def test_bounds_refuse_what_is_no_pair():
    with pytest.raises(ArgumentError, match="must be pairs"):
        rosenbaum_bounds([1.0, 2.0], [1.0])
    with pytest.raises(ContractError, match="control is missing or infinite in 1 row"):
        rosenbaum_bounds([1.0, 2.0], [1.0, np.nan])
    with pytest.raises(DesignError, match="no pair differs"):
        rosenbaum_bounds([1.0], [1.0])
    with pytest.raises(ArgumentError, match="gammas"):
        rosenbaum_bounds([1.0], [2.0], gammas=[0.5])
    with pytest.raises(ArgumentError, match="alternative"):
        rosenbaum_bounds([1.0], [2.0], alternative="both")


@pytest.mark.slow
@pytest.mark.parametrize(("estimand", "matches"), [("ATT", 1), ("ATT", 4), ("ATE", 1), ("ATE", 4)])
def test_coverage_of_matching(measured, estimand, matches):
    """1,000 replicates of 600 units, effects and noise that differ between units."""
    whole = np.random.default_rng(99).normal(size=2_000_000)
    truth = (
        1.0 if estimand == "ATE" else 1 + 0.5 * np.average(whole, weights=1 / (1 + np.exp(0.5 - 0.7 * whole)))
    )
    replicates, held = 1000, 0
    for seed in range(replicates):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(600, 2))
        t = (rng.random(600) < 1 / (1 + np.exp(0.5 - 0.7 * x[:, 0]))).astype(int)
        noise = rng.normal(size=600) * (1 + 0.5 * (x[:, 1] > 0))
        y = x[:, 0] + np.sin(x[:, 1]) + t * (1 + 0.5 * x[:, 0]) + noise
        frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "t": t, "y": y})
        found = matching(frame, estimand=estimand, matches=matches, **GIVEN).estimate
        held += found.low <= truth <= found.high
    # published as it comes out: a little short of nominal at 600 units
    assert 0.92 < held / replicates < 0.97
    measured(f"matching, {matches} a unit, {estimand}", held, replicates)
