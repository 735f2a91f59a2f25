"""Tenure against counts by hand, survival of customers against its definition, and simulated lives."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import ChurnData, KaplanMeier
from loyalty_research.errors import DesignError
from loyalty_research.programme import customer_tenure
from loyalty_research.programme._windows import purchase_days
from loyalty_research.programme.tenure import lifetimes, mean_tenure, staying

START = pd.Timestamp("2023-01-01")


def habits(seed, customers=300, days=500, life=250.0):
    """Return purchases about every eight days of customers who come over time and leave for good."""
    rng = np.random.default_rng(seed)
    born = rng.integers(0, days - 50, customers)
    end = np.minimum(born + rng.exponential(life, customers), days - 1)
    rows = []
    for i in range(customers):
        steps = np.cumsum(rng.geometric(1 / 8, 200))
        when = np.append(0, steps[born[i] + steps <= end[i]]) + born[i]
        rows.append(pd.DataFrame({"customer_id": f"c{i:04d}", "day": when}))
    frame = pd.concat(rows, ignore_index=True)
    return frame.assign(
        transacted_date=START + pd.to_timedelta(frame["day"], "D"), amount=1.0
    ), START + pd.Timedelta(days=days - 1)


def test_tenure_is_counted_from_the_first_purchase():
    frame, end = habits(1)
    found = customer_tenure(frame, window=60, inactivity=60, as_of=end)
    span = frame.groupby("customer_id")["transacted_date"].agg(["min", "max"])
    active = span[span["max"] > end - pd.Timedelta(days=60)]
    days = (end - active["min"]).dt.days
    assert (found.mean.n, found.mean.value) == (len(active), pytest.approx(days.mean()))
    assert found.median.value == days.median()
    assert found.median.low <= found.median.value <= found.median.high
    assert "those still there today" in found.verdict()


def test_the_lifetime_is_that_of_the_churn_analysis():
    frame, end = habits(2)
    found = customer_tenure(frame, window=60, inactivity=60, as_of=end)
    peer = KaplanMeier().fit(ChurnData.from_transactions(frame, inactivity_days=60, as_of=end))
    assert found.lifetime.value == peer.median_["all"]
    days = np.array([30, 100, 200])
    curve = found.curve.set_index("days")["share"].reindex(range(400), method="ffill")
    np.testing.assert_allclose(curve.loc[days], peer.survival_at(days)["estimate"])


def test_engines_agree():
    frame, end = habits(3)
    ours = customer_tenure(frame, window=60, inactivity=30, as_of=end).to_frame()
    with duckdb.connect() as connection:
        theirs = customer_tenure(connection.from_df(frame), window=60, inactivity=30, as_of=end).to_frame()
    pd.testing.assert_frame_equal(ours, theirs)


def test_the_influences_add_up_to_greenwoods_variance():
    frame, end = habits(4)
    _, stop, lost = lifetimes(purchase_days(frame, end.date()), 60)
    share, moved = staying(stop, lost, 120, level=0.95)
    at = np.arange(1, 121)
    risk = np.array([(stop >= t).sum() for t in at])
    gone = np.array([(lost & (stop == t)).sum() for t in at])
    greenwood = share.value**2 * (gone / (risk * (risk - gone))).sum()
    assert moved @ moved == pytest.approx(greenwood, rel=0.02)
    assert abs(moved.sum()) < 1e-10
    # leaving somebody out moves the curve by what they move it
    for i in (0, 7, int(np.argmax(lost))):
        rest = np.arange(stop.size) != i
        without, _ = staying(stop[rest], lost[rest], 120, level=0.95)
        assert share.value - without.value == pytest.approx(moved[i], abs=2e-4)


def test_the_mean_covers(published):
    # customers who come evenly over time and never leave: uniform tenure
    rng = np.random.default_rng(1)
    hits, runs = 0, 2000
    for _ in range(runs):
        found = mean_tenure(rng.integers(0, 300, 60), 0.95)
        hits += found.low <= 149.5 <= found.high
    published({"tenure of active customers": hits / runs}, runs)
    assert abs(hits / runs - 0.95) < 3 * np.sqrt(0.95 * 0.05 / runs)


def test_the_share_still_there_covers(published):
    # silent for good after a geometric time, come evenly over time
    rng = np.random.default_rng(2)
    hits, runs = 0, 1000
    for _ in range(runs):
        leave, seen = rng.geometric(0.01, 150), rng.integers(1, 200, 150)
        found, _ = staying(np.minimum(leave, seen), leave <= seen, 100, level=0.95)
        hits += found.low <= 0.99**100 <= found.high
    published({"customers still there after a window": hits / runs}, runs)
    assert abs(hits / runs - 0.95) < 3 * np.sqrt(0.95 * 0.05 / runs)


def test_too_short_a_record_is_refused():
    frame, end = habits(1, days=100)
    with pytest.raises(DesignError, match="needs 365 days"):
        customer_tenure(frame, as_of=end)
    with pytest.raises(DesignError, match="nobody was followed for more than 200 days"):
        customer_tenure(frame, window=60, inactivity=200, as_of=end)
    record = purchase_days(frame, end.date())
    _, stop, lost = lifetimes(record, 30)
    with pytest.raises(DesignError, match="nobody was followed for 300 days"):
        staying(stop, lost, 300, level=0.95)
