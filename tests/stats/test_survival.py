"""Counts, curves and tests against R's survival, peers and invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines.datasets import load_lung

from loyalty_research.errors import ArgumentError
from loyalty_research.stats.logrank import logrank
from loyalty_research.stats.survival import (
    curve_at,
    curve_interval,
    curve_quantile,
    kaplan_meier,
    restricted_mean,
    risk_counts,
)


@pytest.fixture(scope="module")
def lung():
    return load_lung()


def random_intervals(seed, n=400, *, largest=60):
    rng = np.random.default_rng(seed)
    start = rng.integers(0, largest // 2, n)
    stop = start + rng.integers(1, largest, n)
    return start, stop, rng.integers(0, 2, n), rng.integers(1, 4, n).astype(float), rng.integers(0, 3, n)


def test_medians_by_sex_equal_r(lung, oracle):
    case = oracle("lung_km_median_by_sex")
    curves = [kaplan_meier(g["time"], g["status"]) for _, g in lung.groupby("sex")]
    found = [curve_quantile(c, kind="log") for c in curves]
    assert [f[0] for f in found] == case["expected"]
    assert [f[1] for f in found] == case["expected_low"]
    assert [f[2] for f in found] == case["expected_high"]


def test_nelson_aalen_equals_r(lung, oracle):
    case = oracle("lung_nelson_aalen_180_365")
    curve = kaplan_meier(lung["time"], lung["status"])
    hazard = curve_at(curve, curve.cumulative_hazard, [180, 365], before=0.0)
    error = np.sqrt(curve_at(curve, curve.hazard_variance, [180, 365], before=0.0))
    assert np.allclose([*hazard, *error], case["expected"], atol=case["tolerance"], rtol=0)


def test_restricted_means_equal_survrm2(oracle):
    case = oracle("pbc_rmst10_difference")
    data = {k: np.asarray(v) for k, v in case["data"].items()}
    years = data["time_days"] / 365.25
    by_arm = [
        restricted_mean(kaplan_meier(years[data["arm"] == a], data["status2"][data["arm"] == a]), 10.0)
        for a in (1, 0)
    ]
    (one, se_one), (none, se_none) = by_arm
    found = [one, none, one - none, np.hypot(se_one, se_none)]
    assert np.allclose(found, case["expected"], atol=case["tolerance"], rtol=0)


def test_card_expiry_case(oracle):
    case = oracle("card_expiry_km_rmst")
    want, inputs = case["expected"], case["inputs"]
    pairs = {arm: np.array(inputs[f"{arm}_weeks_event"]) for arm in ("control", "treated")}
    for arm, rows in pairs.items():
        curve = kaplan_meier(rows[:, 0], rows[:, 1])
        mean, error = restricted_mean(curve, inputs["tau"])
        completed = 1 - curve_at(curve, curve.survival, 39, before=1.0)
        assert completed == pytest.approx(want[f"completed_by_39_{arm}"], abs=1e-12)
        assert mean == pytest.approx(want[f"rmst_{arm}"], abs=1e-9)
        assert error == pytest.approx(want[f"se_{arm}"], abs=1e-9)
    stacked = np.vstack(list(pairs.values()))
    test = logrank(stacked[:, 0], stacked[:, 1], np.repeat(["c", "t"], 10))
    assert test.statistic == pytest.approx(want["logrank_chi2"], abs=case["tolerance"])


@pytest.mark.parametrize("kind", ["log-log", "log", "plain"])
def test_limits_hold_the_estimate_and_match_their_formula(lung, kind):
    curve = kaplan_meier(lung["time"], lung["status"])
    low, high = curve_interval(curve, kind=kind)
    inside = (curve.survival < 1) & (curve.survival > 0)
    assert (low[inside] <= curve.survival[inside]).all()
    assert (high[inside] >= curve.survival[inside]).all()
    at = np.flatnonzero(curve.times == 180)[0]
    s, se = curve.survival[at], np.sqrt(curve.log_variance[at])
    z = 1.959963984540054
    want = {
        "log-log": s ** np.exp(np.array([1, -1]) * z * se / -np.log(s)),
        "log": s * np.exp(np.array([-1, 1]) * z * se),
        "plain": s + s * np.array([-1, 1]) * z * se,
    }[kind]
    assert np.allclose([low[at], high[at]], want, atol=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_weight_k_equals_k_copies(seed):
    start, stop, event, weight, group = random_intervals(seed, 80)
    copies = np.repeat(np.arange(80), weight.astype(int))
    one = kaplan_meier(stop, event, entry=start, weights=weight)
    many = kaplan_meier(stop[copies], event[copies], entry=start[copies])
    for name in ("times", "at_risk", "events", "censored", "survival", "cumulative_hazard"):
        assert np.allclose(getattr(one, name), getattr(many, name), atol=1e-9), name
    if len(np.unique(group)) > 1:
        weighted = logrank(stop, event, group, entry=start, weights=weight).statistic
        copied = logrank(stop[copies], event[copies], group[copies], entry=start[copies]).statistic
        assert weighted == pytest.approx(copied)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_splitting_an_episode_changes_nothing(seed):
    start, stop, event, weight, group = random_intervals(seed, 60)
    rng = np.random.default_rng(seed + 1)
    cut = rng.integers(start, stop)
    apart = cut > start
    parts = {
        "duration": np.concatenate([stop, cut[apart]]),
        "event": np.concatenate([event, np.zeros(apart.sum(), int)]),
        "entry": np.concatenate([np.where(apart, cut, start), start[apart]]),
        "weights": np.concatenate([weight, weight[apart]]),
    }
    whole = kaplan_meier(stop, event, entry=start, weights=weight)
    split = kaplan_meier(**parts)
    times = np.arange(int(start.min()), int(stop.max()) + 1)
    for name, before in (("survival", 1.0), ("cumulative_hazard", 0.0), ("log_variance", 0.0)):
        read = [curve_at(c, getattr(c, name), times, before=before) for c in (whole, split)]
        assert np.allclose(*read, atol=1e-9, equal_nan=True), name
    if len(np.unique(group)) > 1:
        groups = np.concatenate([group, group[apart]])
        one = logrank(stop, event, group, entry=start, weights=weight).statistic
        two = logrank(
            parts["duration"], parts["event"], groups, entry=parts["entry"], weights=parts["weights"]
        ).statistic
        assert one == pytest.approx(two)


def test_days_and_years_and_row_order_agree():
    start, stop, event, weight, group = random_intervals(5)
    order = np.random.default_rng(0).permutation(len(stop))
    days = kaplan_meier(stop, event, entry=start, weights=weight)
    years = kaplan_meier(
        stop[order] / 365.25, event[order], entry=start[order] / 365.25, weights=weight[order]
    )
    assert np.allclose(days.survival, years.survival, atol=1e-12)
    assert np.allclose(days.at_risk, years.at_risk)
    one = logrank(stop, event, group, entry=start).statistic
    two = logrank(stop[order] / 365.25, event[order], group[order], entry=start[order] / 365.25).statistic
    assert one == pytest.approx(two)


def test_counts_are_plain_counts():
    counts = risk_counts([3, 3, 5, 9], [1, 0, 1, 0], entry=[0, 2, 3, 4])
    assert counts.times.tolist() == [3, 5, 9]
    # the third row enters at 3 and is not yet at risk there; the fourth enters at 4
    assert counts.at_risk.tolist() == [2, 2, 1]
    assert counts.censored.tolist() == [1, 0, 1]


def test_reading_a_curve_outside_the_data_gives_nan():
    curve = kaplan_meier([4, 6], [1, 0], entry=[2, 2])
    read = curve_at(curve, curve.survival, [0, 2, 4, 6, 6.5], before=1.0)
    assert np.array_equal(read, [np.nan, 1.0, 0.5, 0.5, np.nan], equal_nan=True)


def test_an_unreached_median_has_no_value_and_an_open_interval():
    value, low, high = curve_quantile(kaplan_meier([1, 2, 3, 4, 5], [1, 0, 0, 0, 0]))
    assert np.isnan(value)
    assert np.isnan(low) or low <= 5
    assert np.isinf(high)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1, 2], [1, 2]), "event must be 0 or 1"),
        (([1, np.nan], [1, 0]), "duration is not finite in 1 row"),
        (([1, -1], [1, 0]), "duration must not be negative; it is in 1 row"),
        (([1, 2], [1]), "event has shape"),
        (([], []), "at least one observation"),
    ],
)
def test_bad_arrays_are_refused(arguments, said):
    with pytest.raises(ArgumentError, match=said):
        kaplan_meier(*arguments)


def test_bad_options_are_refused():
    curve = kaplan_meier([1, 2, 3], [1, 1, 0])
    with pytest.raises(ArgumentError, match="tau = 4 lies beyond"):
        restricted_mean(curve, 4)
    with pytest.raises(ArgumentError, match="interval must be"):
        curve_interval(curve, kind="exact")
    with pytest.raises(ArgumentError, match="two groups"):
        logrank([1, 2], [1, 1], ["a", "a"])
    with pytest.raises(ArgumentError, match="weights must be"):
        logrank([1, 2], [1, 1], ["a", "b"], weighting="gehan")
    with pytest.raises(ArgumentError, match="weights must not be negative"):
        kaplan_meier([1, 2], [1, 1], weights=[1, -1])
