"""Simulated customers with several ways to leave, or who leave several times."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import AalenJohansen, ChurnData, CoxPH, KaplanMeier, gray_test

pytestmark = pytest.mark.slow

YEAR, CANCEL, MOVE = 365, 1.21739582, 1.82545947


def two_causes(rng, n):
    """Cancel or move away at constant rates (per year); records end after one to two years."""
    cancel, move = rng.exponential(YEAR / CANCEL, n), rng.exponential(YEAR / MOVE, n)
    end = rng.uniform(200, 2 * YEAR, n)
    first = np.minimum(np.minimum(cancel, move), end)
    cause = np.select([first == cancel, first == move], ["cancelled", "moved"], "there")
    return pd.DataFrame({"duration": first, "event": cause})


def test_competing_risks(covers, measured):
    """One minus Kaplan-Meier answers for a world in which nobody moves away."""
    rng = np.random.default_rng(29)
    truth = CANCEL / (CANCEL + MOVE) * (1 - np.exp(-CANCEL - MOVE))
    replicates, covered, naive, ours = 2000, 0, [], []
    for _ in range(replicates):
        data = ChurnData.from_durations(two_causes(rng, 600), censored="there")
        alone = KaplanMeier().fit(data.cause("cancelled")).survival_at([YEAR])
        naive.append(1 - alone["estimate"].iloc[0])
        found = AalenJohansen().fit(data).cumulative_incidence_at([YEAR])
        row = found[found["cause"] == "cancelled"].iloc[0]
        ours.append(row["estimate"])
        covered += row["low"] <= truth <= row["high"]
    assert truth == pytest.approx(0.381, abs=0.0005)
    assert np.mean(naive) == pytest.approx(0.704, abs=0.002)
    assert abs(np.mean(ours) - truth) < 3 * np.std(ours) / np.sqrt(replicates)
    assert covers(covered, replicates)
    measured(
        "competing risks: share who cancelled within a year",
        truth=truth,
        naive=np.mean(naive),
        mean=np.mean(ours),
        covered=covered,
        replicates=replicates,
    )


def test_drivers_of_a_cause_and_of_its_share_differ(covers):
    """A shop that loses more customers to moves has fewer left to cancel, at the same rate."""
    rng = np.random.default_rng(31)
    replicates, rate, share = 400, 0, 0
    for _ in range(replicates):
        town = rng.integers(0, 2, 800)
        cancel = rng.exponential(300, 800)
        move = rng.exponential(400 / np.exp(1.5 * town))
        frame = pd.DataFrame(
            {
                "town": town,
                "duration": np.minimum(np.minimum(cancel, move), 500),
                "event": np.select(
                    [np.minimum(cancel, move) > 500, cancel < move], ["there", "cancelled"], "moved"
                ),
            }
        )
        data = ChurnData.from_durations(frame, censored="there")
        low, high = (
            CoxPH().fit(data.cause("cancelled"), covariates=["town"]).limits_.loc["town", ["low", "high"]]
        )
        rate += low <= 0 <= high
        share += gray_test(data, by="town", cause="cancelled").p_value < 0.05
    assert covers(rate, replicates)
    assert share / replicates > 0.9
