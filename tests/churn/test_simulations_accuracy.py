"""Accuracy of predictions under censoring: what usual figures miss, and how often intervals hold the truth."""

import numpy as np
import pytest

from loyalty_research.churn import brier_score, calibration, concordance, dynamic_auc

pytestmark = pytest.mark.slow

REPLICATES = 500


def tied_months(rng, n):
    """Whole months of leaving and of censoring, a risk, and the right chance of staying past month 6."""
    risk = rng.normal(0, 0.7, n)
    rate = 0.12 * np.exp(risk)
    left, seen = np.ceil(rng.exponential(1 / rate)), np.ceil(rng.exponential(6, n))
    return risk, left, seen, np.exp(-6 * rate)


def test_concordance_does_not_depend_on_how_long_customers_were_watched(covers, measured):
    """The truth is that of two million customers watched to the end."""
    rng = np.random.default_rng(6)

    def draw(n):
        risk = rng.normal(0, 0.8, n)
        # the risk acts at first and fades, so early pairs are easier: watching for less flatters
        early = rng.exponential(np.exp(-1.5 * risk) * 6)
        return risk, np.ceil(np.where(early < 4, early, 4 + rng.exponential(6, n)))

    risk, left = draw(1_000_000)
    truth = concordance(left, np.ones_like(left), risk, tau=15).estimate.value
    covered, values = 0, {"harrell": [], "uno": []}
    for _ in range(REPLICATES):
        risk, left = draw(300)
        seen = np.ceil(rng.exponential(8, 300))
        for kind, found in values.items():
            estimate = concordance(np.minimum(left, seen), left <= seen, risk, kind=kind, tau=15).estimate
            found.append(estimate.value)
            covered += kind == "uno" and estimate.low <= truth <= estimate.high
    usual, mean = (float(np.mean(values[k])) for k in ("harrell", "uno"))
    measured(
        "concordance up to day 15 (Uno), the usual one Harrell's",
        truth=truth,
        naive=usual,
        mean=mean,
        covered=covered,
        replicates=REPLICATES,
    )
    assert abs(mean - truth) < 0.005 < 3 * 0.005 < abs(usual - truth)
    assert covers(covered, REPLICATES)


def test_scores_and_areas_on_tied_months(covers, measured):
    rng = np.random.default_rng(7)
    risk, left, _, chance = tied_months(rng, 2_000_000)
    stays = left > 6
    score = float(np.mean((chance - stays) ** 2))
    null = float(stays.mean() * (1 - stays.mean()))
    area = float(dynamic_auc(left, np.ones_like(left), risk, times=6).areas["estimate"][0])
    truths = {"score": score, "scaled": 1 - score / null, "area": area}
    values = {name: [] for name in (*truths, "at", "scaled at", "dropped")}
    covered = dict.fromkeys(truths, 0)
    for _ in range(REPLICATES):
        risk, left, seen, chance = tied_months(rng, 400)
        time, event = np.minimum(left, seen), left <= seen
        row = brier_score(time, event, chance, times=6).scores.iloc[0]
        at = brier_score(time, event, chance, times=6, ties="at").scores.iloc[0]
        own = dynamic_auc(time, event, risk, times=6).areas.iloc[0]
        known = event | (time > 6)
        part = dynamic_auc(time[known], event[known], risk[known], times=6).areas.iloc[0]
        for name, value in (
            ("score", row["estimate"]),
            ("scaled", row["scaled"]),
            ("area", own["estimate"]),
            ("at", at["estimate"]),
            ("scaled at", at["scaled"]),
            ("dropped", part["estimate"]),
        ):
            values[name].append(value)
        covered["score"] += row["low"] <= score <= row["high"]
        covered["scaled"] += row["scaled_low"] <= truths["scaled"] <= row["scaled_high"]
        covered["area"] += own["low"] <= area <= own["high"]
    means = {name: float(np.mean(v)) for name, v in values.items()}
    told = {
        "score": ("Brier score on tied months, the usual one weighted by G(T)", "at"),
        "scaled": ("scaled Brier score on tied months, the usual one weighted by G(T)", "scaled at"),
        "area": ("AUC by month 6, the usual one without the censored", "dropped"),
    }
    for name, (row_name, usual) in told.items():
        measured(
            row_name,
            truth=truths[name],
            naive=means[usual],
            mean=means[name],
            covered=covered[name],
            replicates=REPLICATES,
        )
    assert means["at"] - score > 3 * abs(means["score"] - score)
    assert all(covers(count, REPLICATES) for count in covered.values())


def test_calibration_under_censoring(covers, measured):
    """The usual ratio counts those seen to leave, as if the censored had stayed."""
    rng = np.random.default_rng(8)
    replicates = 200
    covered, values, usual = np.zeros(2), [], []
    for _ in range(replicates):
        rate = 0.03 * np.exp(rng.normal(0, 0.7, 400))
        left, seen = rng.exponential(1 / rate), rng.uniform(18, 60, 400)
        time, event, chance = np.minimum(left, seen), left <= seen, np.exp(-30 * rate)
        found = calibration(time, event, chance, time=30)
        covered += [e.low <= 1 <= e.high for e in (found.ratio, found.slope)]
        values.append([found.ratio.value, found.slope.value])
        usual.append((event & (time <= 30)).mean() / (1 - chance).mean())
    mean = np.mean(values, axis=0)
    for name, naive, value, count in (
        (
            "observed over predicted leaving, the usual one without weights",
            np.mean(usual),
            mean[0],
            covered[0],
        ),
        ("calibration slope", mean[1], mean[1], covered[1]),
    ):
        measured(
            name, truth=1.0, naive=float(naive), mean=float(value), covered=int(count), replicates=replicates
        )
    assert np.mean(usual) < 0.97
    assert all(covers(count, replicates) for count in covered)
