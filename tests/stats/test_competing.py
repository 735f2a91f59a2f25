"""Cumulative incidence and Gray's test against R and their own definitions."""

import numpy as np
import pytest

from loyalty_research.errors import ArgumentError
from loyalty_research.stats.competing import aalen_johansen, incidence_interval
from loyalty_research.stats.gray import gray
from loyalty_research.stats.survival import kaplan_meier


def random_causes(seed, n=60):
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 8, n)
    stop = start + rng.integers(1, 12, n)
    return start, stop, rng.integers(0, 3, n), rng.integers(1, 4, n).astype(float)


def test_late_entry_and_weights_equal_r(oracle):
    case = oracle("late_entry_aalen_johansen")
    given, want, within = case["inputs"], case["expected"], case["tolerance"]
    curve = aalen_johansen(given["stop"], given["cause"], entry=given["start"])
    assert curve.times.tolist() == given["times"]
    assert np.allclose(curve.incidence, want["incidence"], atol=within, rtol=0)
    assert np.allclose(np.sqrt(curve.variance), want["se"], atol=within, rtol=0)
    assert np.allclose(np.sqrt(curve.survival_variance), want["survival_se"], atol=within, rtol=0)
    weighted = aalen_johansen(
        given["stop"], given["cause"], entry=given["start"], weights=given["weights"], cluster=range(12)
    )
    assert np.allclose(weighted.incidence, want["weighted_incidence"], atol=within, rtol=0)
    assert np.allclose(np.sqrt(weighted.variance), want["weighted_se"], atol=within, rtol=0)


@pytest.mark.parametrize("seed", range(8))
def test_the_variance_adds_squared_derivatives_within_clusters(seed):
    start, stop, cause, weight = random_causes(seed, 30)
    cluster = np.arange(30) // 3
    step = 1e-5
    base = aalen_johansen(stop, cause, causes=2, entry=start, weights=weight, cluster=cluster)
    slopes, stays = [], []
    for c in range(10):
        ends = [
            aalen_johansen(stop, cause, causes=2, entry=start, weights=weight * (1 + s * (cluster == c)))
            for s in (step, -step)
        ]
        slopes.append((ends[0].incidence - ends[1].incidence) / (2 * step))
        stays.append((ends[0].survival - ends[1].survival) / (2 * step))
    assert np.allclose(base.variance, (np.array(slopes) ** 2).sum(axis=0), atol=1e-7)
    assert np.allclose(base.survival_variance, (np.array(stays) ** 2).sum(axis=0), atol=1e-7)


@pytest.mark.parametrize("seed", range(8))
def test_invariances(seed):
    start, stop, cause, weight = random_causes(seed)
    curve = aalen_johansen(stop, cause, causes=2, entry=start, weights=weight)
    assert np.allclose(curve.incidence.sum(axis=0) + curve.survival, 1, atol=1e-14)
    whole = kaplan_meier(stop, cause > 0, entry=start, weights=weight)
    assert np.allclose(curve.survival, whole.survival)
    copies = np.repeat(np.arange(len(stop)), weight.astype(int))
    many = aalen_johansen(stop[copies], cause[copies], causes=2, entry=start[copies])
    assert np.allclose(curve.incidence, many.incidence)
    assert np.allclose(curve.variance, many.variance, atol=1e-14)
    order = np.random.default_rng(seed).permutation(len(stop))
    mixed = aalen_johansen(
        stop[order] / 365.25, cause[order], causes=2, entry=start[order] / 365.25, weights=weight[order]
    )
    assert np.allclose(curve.variance, mixed.variance, atol=1e-14)


def test_one_cause_is_one_minus_kaplan_meier_with_greenwoods_variance():
    _, stop, cause, _ = random_causes(3)
    curve, whole = aalen_johansen(stop, cause > 0), kaplan_meier(stop, cause > 0)
    assert np.allclose(curve.incidence[0], 1 - whole.survival)
    known = whole.survival > 0
    assert np.allclose(curve.variance[0][known], whole.variance[known])


def test_limits_are_unknown_before_the_first_event_of_the_cause():
    low, high = incidence_interval(aalen_johansen([1, 2, 3, 4], [1, 2, 0, 1]), 1)
    assert np.isnan(low[0])
    assert np.isnan(high[0])
    assert low[1] < 0.25 < high[1]


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        ([1, -1], r"whole number from 0 to 2; it is not in 1 row \(at position 1\)"),
        ([1.5, 0], r"at position 0"),
        ([3, 0], r"at position 0"),
        (["a", "b"], "must be whole numbers"),
    ],
)
def test_bad_causes_are_refused(cause, said):
    with pytest.raises(ArgumentError, match=said):
        aalen_johansen([1, 2], cause, causes=2)


def gray_codes(cause, mine):
    cause = np.asarray(cause)
    return np.where(cause == 0, 0, np.where(cause == mine, 1, 2))


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("plain", {}),
        ("strata", {"strata": True}),
        ("rho=1", {"rho": 1}),
        ("rho=-0.5, strata", {"rho": -0.5, "strata": True}),
    ],
)
def test_gray_equals_cmprsk(oracle, key, options):
    case = oracle("gray_three_groups")
    given = case["inputs"]
    if options.get("strata"):
        options = {**options, "strata": given["stratum"]}
    found = [
        gray(given["time"], gray_codes(given["cause"], c), given["group"], **options).statistic
        for c in (1, 2)
    ]
    assert np.allclose(found, case["expected"][key], atol=case["tolerance"], rtol=0)


def test_gray_does_not_know_the_order_of_rows_or_groups_or_the_unit(oracle):
    given = oracle("gray_three_groups")["inputs"]
    time, code, group = np.array(given["time"]), gray_codes(given["cause"], 1), np.array(given["group"])
    want = gray(time, code, group)
    order = np.random.default_rng(0).permutation(len(time))
    renamed = np.where(group == "a", "z", group)
    found = gray(time[order] / 365.25, code[order], renamed[order])
    assert found.statistic == pytest.approx(want.statistic)
    weight = np.random.default_rng(1).integers(1, 4, len(time))
    copies = np.repeat(np.arange(len(time)), weight)
    assert gray(time, code, group, weights=weight).statistic == pytest.approx(
        gray(time[copies], code[copies], group[copies]).statistic
    )


def test_gray_needs_two_groups_that_meet():
    with pytest.raises(ArgumentError, match="two groups or more; there is 1"):
        gray([1, 2], [1, 2], ["a", "a"])
    with pytest.raises(ArgumentError, match="never at risk together"):
        gray([1, 2, 3, 4], [2, 2, 1, 1], ["a", "a", "b", "b"])
