"""Do the intervals of curves cover the truth as often as they say?"""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import AalenJohansen, ChurnData, KaplanMeier, gray_test, logrank_test
from loyalty_research.stats.gray import gray

DRAWS = 2000


def competing(rng, n, *, late=False):
    """Two constant rates, .01 and .02 a day, and uniform censoring; the truth is known."""
    first, second, seen = rng.exponential(100, n), rng.exponential(50, n), rng.uniform(20, 150, n)
    stop = np.minimum(np.minimum(first, second), seen)
    event = np.where(seen <= np.minimum(first, second), 0, np.where(first <= second, 1, 2))
    frame = pd.DataFrame({"duration": stop, "event": event})
    if late:
        frame["entry"] = np.where(rng.random(n) < 0.5, 0.0, rng.uniform(0, 30, n))
        frame = frame[frame["duration"] > frame["entry"]]
    return frame


def share_of(cause, day):
    return {1: 1 / 3, 2: 2 / 3}[cause] * (1 - np.exp(-0.03 * day))


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_cumulative_incidence_intervals_cover(late):
    """2,000 draws of 200 customers: Monte Carlo error .005; both within .015 of .95."""
    rng = np.random.default_rng(21)
    inside = {1: [], 2: []}
    for _ in range(DRAWS):
        frame = competing(rng, 200, late=late)
        data = ChurnData.from_durations(frame, entry="entry" if late else None)
        found = AalenJohansen().fit(data).cumulative_incidence_at([40])
        for cause, low, high in found[["cause", "low", "high"]].itertuples(index=False):
            inside[cause].append(low <= share_of(cause, 40) <= high)
    assert np.mean(inside[1]) == pytest.approx(0.95, abs=0.015)
    assert np.mean(inside[2]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.slow
def test_conditional_survival_and_median_remaining_cover():
    """Constant rate: who is still there on day 30 has the survival and the median of a newcomer."""
    rng = np.random.default_rng(22)
    inside, median = [], []
    for _ in range(DRAWS):
        left, seen = rng.exponential(100, 200), rng.uniform(50, 400, 200)
        frame = pd.DataFrame({"duration": np.minimum(left, seen), "event": left <= seen})
        curves = KaplanMeier().fit(ChurnData.from_durations(frame))
        given = curves.conditional_survival([90], alive_at=30).iloc[0]
        inside.append(given["low"] <= np.exp(-0.6) <= given["high"])
        half = curves.median_remaining(alive_at=30).iloc[0]
        median.append(half["low"] <= 100 * np.log(2) <= half["high"])
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)
    assert np.mean(median) == pytest.approx(0.95, abs=0.02)


@pytest.mark.slow
def test_grays_test_keeps_its_level():
    rng = np.random.default_rng(23)
    rejected = []
    for _ in range(DRAWS):
        frame = competing(rng, 150)
        found = gray(frame["duration"], frame["event"], rng.integers(0, 2, len(frame)))
        rejected.append(found.p_value < 0.05)
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.015)


def test_grays_test_sees_what_the_log_rank_test_of_one_cause_cannot():
    """Equal rates of cause 1, but one group leaves for cause 2 far sooner: fewer leave for cause 1."""
    rng = np.random.default_rng(24)
    n = 1500
    group = np.arange(n) % 2
    first, second = rng.exponential(100, n), rng.exponential(np.where(group, 20.0, 200.0))
    frame = pd.DataFrame(
        {
            "duration": np.minimum(first, second),
            "event": np.where(first <= second, 1, 2),
            "group": group,
        }
    )
    # the weights of a group nearly all of whom have left are wild: follow for 40 days
    over = frame["duration"] > 40
    frame = frame.assign(duration=frame["duration"].clip(upper=40), event=frame["event"].where(~over, 0))
    data = ChurnData.from_durations(frame)
    assert gray_test(data, by="group", cause=1).p_value < 1e-6
    assert logrank_test(data.cause(1), by="group").p_value > 0.05
    shares = AalenJohansen().fit(data, by="group").cumulative_incidence_at([40]).query("cause == 1")
    assert shares["estimate"].tolist() == pytest.approx([0.301, 0.152], abs=0.04)
