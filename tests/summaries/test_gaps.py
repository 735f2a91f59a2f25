import datetime as dt
import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research import summaries
from loyalty_research.errors import ArgumentError

START = dt.date(2023, 12, 20)


def reference(rows, is_sale, window, end):
    days = {}
    for row in rows:
        if is_sale(row) and row[1] <= end:
            days.setdefault(row[0], set()).add(row[1])
    out = {}
    for who, visits in days.items():
        seen = sorted(visits)
        closed = [(a, b) for a, b in itertools.pairwise(seen) if b - a > window]
        still_open = end - seen[-1] > window
        start = closed[0][0] if closed else seen[-1] if still_open else None
        back = closed[0][1] if closed else None
        out[who] = (seen[0], seen[-1], len(seen), start, bool(closed), back, len(closed) + still_open)
    return out


def offset(stamp):
    return None if pd.isna(stamp) else (stamp.date() - START).days


@settings(deadline=None, max_examples=20, derandomize=True)
@given(data=st.data())
def test_equals_a_plain_reference_on_every_engine(data, native, to_frame, random_rows, is_sale):
    rows = data.draw(random_rows.filter(lambda rs: any(map(is_sale, rs))))
    window = data.draw(st.integers(1, 60))
    end = data.draw(st.integers(min(r[1] for r in rows if is_sale(r)), 150))
    expected = reference(rows, is_sale, window, end)
    for move in native.values():
        got = summaries.inactivity_gaps(
            move(to_frame(rows)), inactivity_days=window, as_of=START + dt.timedelta(days=end)
        )
        assert list(got.index) == sorted(expected)
        found = {
            who: (
                offset(r.first_date),
                offset(r.last_date),
                r.purchase_days,
                offset(r.gap_start),
                r.returned,
                offset(r.return_date),
                r.gaps,
            )
            for who, r in zip(got.index, got.itertuples(), strict=True)
        }
        assert found == expected
        assert got.attrs["seen_too_short"] == sum(v[0] > end - window for v in expected.values())
        assert got["returned"].dtype == bool


def test_a_gap_of_exactly_the_window_is_not_longer_than_it(to_frame):
    rows = [("ann", 0, 0, 1, "sale"), ("ann", 30, 0, 1, "sale")]
    as_of = START + dt.timedelta(days=60)
    within = summaries.inactivity_gaps(to_frame(rows), inactivity_days=30, as_of=as_of)
    assert within["gaps"].tolist() == [0]
    assert within["gap_start"].isna().all()
    beyond = summaries.inactivity_gaps(to_frame(rows), inactivity_days=29, as_of=as_of)
    assert beyond["gaps"].tolist() == [2]
    assert beyond["return_date"].tolist() == [pd.Timestamp(START + dt.timedelta(days=30))]


def test_the_risk_set_ends_a_window_before_the_last_day():
    """Constant-rate buyers: with the cut at as_of - W the survival curve does not depend on as_of."""
    rng = np.random.default_rng(8)
    count, horizon, window = 3000, 400, 60
    times = [np.cumsum(rng.exponential(25, 40)) for _ in range(count)]
    customer = np.repeat(np.arange(count), [len(t) + 1 for t in times])
    day = np.concatenate([np.r_[0.0, t] for t in times]).astype(int)
    frame = pd.DataFrame(
        {
            "customer_id": customer,
            "transacted_date": pd.Timestamp("2023-01-01") + pd.to_timedelta(day, unit="D"),
        }
    )
    share = {}
    for as_of in (250, horizon):
        found = summaries.inactivity_gaps(
            frame, inactivity_days=window, as_of=pd.Timestamp("2023-01-01") + pd.Timedelta(days=as_of)
        )
        begun = (found["gap_start"] - found["first_date"]).dt.days
        assert begun.max() < as_of - window
        share[as_of] = (begun <= 180).mean()
    assert share[250] == share[horizon]


def test_options_out_of_range_are_named(to_frame):
    frame = to_frame([("ann", 0, 0, 100, "sale")])
    for bad in (0, -3, 2.5, True):
        with pytest.raises(ArgumentError, match="inactivity_days must be a whole number"):
            summaries.inactivity_gaps(frame, inactivity_days=bad)
    with pytest.raises(ArgumentError, match="before the first day"):
        summaries.inactivity_gaps(frame, inactivity_days=9, as_of="2020-01-01")
