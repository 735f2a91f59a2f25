import datetime as dt
import warnings
from importlib import metadata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research import summaries
from loyalty_research.errors import ArgumentError

START = dt.date(2023, 12, 20)


def reference(rows, is_sale, cal, end, scale):
    """Purchases by the definition, one customer and one day at a time."""
    spend = {}
    for row in rows:
        if is_sale(row) and row[1] <= end:
            days = spend.setdefault(row[0], {})
            days[row[1]] = days.get(row[1], 0.0) + row[3] / 100
    out = {}
    for who, days in spend.items():
        early, late = sorted(d for d in days if d <= cal), [d for d in days if d > cal]
        if not early:
            continue
        repeat = early[1:]
        out[who] = (
            len(repeat),
            (early[-1] - early[0]) / scale,
            (cal - early[0]) / scale,
            sum(days[d] for d in repeat) / len(repeat) if repeat else 0.0,
            len(late),
            sum(days[d] for d in late) / len(late) if late else 0.0,
            (end - cal) / scale,
        )
    return out


COLUMNS = [
    "frequency",
    "recency",
    "T",
    "monetary_value",
    "frequency_holdout",
    "monetary_value_holdout",
    "duration_holdout",
]


@settings(deadline=None, max_examples=20, derandomize=True)
@given(data=st.data())
def test_equals_a_plain_reference_on_every_engine(data, native, to_frame, random_rows, is_sale):
    rows = data.draw(random_rows.filter(lambda rs: any(map(is_sale, rs)) and min(r[1] for r in rs) < 120))
    first = min(r[1] for r in rows)
    cal = data.draw(st.integers(first, 129))
    end = data.draw(st.integers(cal + 1, 140))
    if not any(is_sale(r) and r[1] <= end for r in rows):
        return
    unit, scale = data.draw(st.sampled_from([("D", 1), ("W", 7)]))
    frame = to_frame(rows)
    expected = reference(rows, is_sale, cal, end, scale)
    for name, move in native.items():
        got = summaries.purchases(
            move(frame),
            unit=unit,
            calibration_end=START + dt.timedelta(days=cal),
            observation_end=START + dt.timedelta(days=end),
        )
        assert list(got.columns) == COLUMNS, name
        assert list(got.index) == sorted(expected), name
        np.testing.assert_allclose(
            got.to_numpy(), np.array([expected[i] for i in got.index]).reshape(-1, 7), rtol=1e-9, atol=1e-9
        )
        dropped = got.attrs["dropped"]
        sales = [r for r in rows if is_sale(r)]
        assert dropped["rows without a customer"] == sum(r[0] is None for r in rows)
        assert dropped["refund rows"] == sum(r[0] is not None and not is_sale(r) for r in rows)
        assert dropped["rows after the last day observed"] == sum(r[1] > end for r in sales)
        seen = {r[0] for r in sales if r[1] <= end}
        assert dropped["customers whose first purchase is after calibration_end"] == len(seen) - len(got)


def cdnow(file):
    path = metadata.distribution("lifetimes").locate_file(f"lifetimes/datasets/{file}")
    if file == "CDNOW_master.txt":
        frame = pd.read_csv(path, sep=r"\s+", dtype={"customer_id": str})
        frame.columns = ["customer_id", "date", "count", "amount"]
    else:
        names = ["master_id", "customer_id", "date", "count", "amount"]
        frame = pd.read_csv(path, sep=r"\s+", names=names, dtype={"customer_id": str})
    frame["transacted_at"] = pd.to_datetime(frame["date"], format="%Y%m%d")
    return frame


@pytest.mark.datasets
def test_the_published_sample_has_its_published_counts():
    pytest.importorskip("duckdb")
    frame = cdnow("CDNOW_sample.txt")
    got = summaries.purchases(frame, unit="W", calibration_end="1997-09-30", observation_end="1998-06-30")
    # Fader, Hardie and Lee (2005), section 4: 2,357 customers, 2,457 repeat transactions in weeks
    # 1 to 39 and 1,882 in weeks 40 to 78
    assert len(got) == 2357
    assert got["frequency"].sum() == 2457
    assert got["frequency_holdout"].sum() == 1882
    assert (got["frequency"] > 0).sum() == 946
    assert got["T"].max() == pytest.approx(272 / 7, rel=1e-15)


@pytest.fixture(scope="module")
def lifetimes_utils():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("lifetimes.utils")


@pytest.mark.datasets
def test_equals_lifetimes_with_and_without_a_holdout(lifetimes_utils, engines):
    lines = cdnow("CDNOW_sample.txt")[["customer_id", "transacted_at", "amount"]]
    noisy = lines.assign(transacted_at=lines["transacted_at"] + pd.to_timedelta(lines.index % 24, unit="h"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held = lifetimes_utils.calibration_and_holdout_data(
            lines,
            "customer_id",
            "transacted_at",
            calibration_period_end="1997-09-30",
            observation_period_end="1998-06-30",
            monetary_value_col="amount",
        )
        plain = lifetimes_utils.summary_data_from_transaction_data(
            lines, "customer_id", "transacted_at", "amount", observation_period_end="1998-06-30"
        )
    for move in engines.values():
        whole = summaries.purchases(move(noisy), observation_end="1998-06-30")
        np.testing.assert_allclose(whole.to_numpy(), plain[list(whole.columns)].to_numpy(), rtol=1e-12)
        got = summaries.purchases(move(noisy), calibration_end="1997-09-30", observation_end="1998-06-30")
        assert list(got.index) == list(held.index)
        for ours, theirs in zip(
            COLUMNS[:5] + COLUMNS[6:],
            [
                "frequency_cal",
                "recency_cal",
                "T_cal",
                "monetary_value_cal",
                "frequency_holdout",
                "duration_holdout",
            ],
            strict=True,
        ):
            np.testing.assert_allclose(got[ours], held[theirs], rtol=1e-12, err_msg=ours)
        # lifetimes averages holdout money over rows, this over days: equal where no day has two rows
        late = lines[lines["transacted_at"] > "1997-09-30"]
        repeated = late[late.duplicated(["customer_id", "transacted_at"])]["customer_id"].unique()
        single = ~got.index.isin(repeated)
        ours, theirs = got["monetary_value_holdout"], held["monetary_value_holdout"]
        np.testing.assert_allclose(ours[single], theirs[single], rtol=1e-12)
        assert (ours[~single] > theirs[~single]).all()
        assert (~single).sum() > 10


def test_daily_merges_orders_of_a_day_and_feeds_the_other_summaries(engines, to_frame):
    rng = np.random.default_rng(3)
    rows = [
        (
            f"c{rng.integers(40)}",
            int(rng.integers(0, 200)),
            int(rng.integers(24)),
            int(rng.integers(9000)),
            "sale",
        )
        for _ in range(800)
    ]
    frame = to_frame([*rows, (None, 3, 4, 5, "sale"), ("c1", 250, 1, -300, "refund")])
    for move in engines.values():
        by_day = summaries.daily(move(frame))
        assert not by_day.duplicated(["customer_id", "transacted_date"]).any()
        assert by_day["orders"].sum() == 800
        assert by_day["amount"].sum() == pytest.approx(sum(r[3] for r in rows) / 100, rel=1e-12)
        assert by_day.attrs["dropped"]["refund rows"] == 1
        day = {"observation_end": "2024-08-01", "calibration_end": "2024-04-01"}
        pd.testing.assert_frame_equal(
            summaries.purchases(by_day, **day), summaries.purchases(move(frame), **day), rtol=1e-12
        )
        pd.testing.assert_frame_equal(
            summaries.cohorts(by_day, as_of="2024-08-01"),
            summaries.cohorts(move(frame), as_of="2024-08-01"),
            rtol=1e-12,
        )
        pd.testing.assert_frame_equal(
            summaries.inactivity_gaps(by_day, inactivity_days=20),
            summaries.inactivity_gaps(frame, inactivity_days=20, as_of=by_day["transacted_date"].max()),
        )


def test_cut_offs_are_inclusive(to_frame):
    frame = to_frame([("ann", 0, 0, 100, "sale"), ("ann", 5, 23, 200, "sale"), ("ann", 6, 0, 400, "sale")])
    got = summaries.purchases(frame, calibration_end=START + dt.timedelta(days=5)).loc["ann"]
    assert got["frequency"] == 1
    assert got["recency"] == 5
    assert got["T"] == 5
    assert got["monetary_value"] == 2
    assert got["frequency_holdout"] == 1
    assert got["monetary_value_holdout"] == 4


def test_options_out_of_range_are_named(to_frame):
    frame = to_frame([("ann", 0, 0, 100, "sale"), ("ann", 5, 23, 200, "sale")])
    with pytest.raises(ArgumentError, match="unit must be 'D'"):
        summaries.purchases(frame, unit="M")
    with pytest.raises(ArgumentError, match="before the first day of transactions, 2023-12-20"):
        summaries.purchases(frame, calibration_end="2023-12-19")
    with pytest.raises(ArgumentError, match="leaves no holdout"):
        summaries.purchases(frame, calibration_end="2023-12-25")
    with pytest.raises(ArgumentError, match="observation_end must be a date"):
        summaries.purchases(frame, observation_end="25/12/2023")
    with pytest.raises(ArgumentError, match="before the first day"):
        summaries.purchases(frame, observation_end="2023-01-01")


def test_attrs_survive_parquet(to_frame, tmp_path):
    frame = summaries.purchases(to_frame([("ann", 0, 0, 100, "sale"), ("ann", 5, 23, 200, "sale")]))
    frame.to_parquet(tmp_path / "p.parquet")
    assert pd.read_parquet(tmp_path / "p.parquet").attrs == frame.attrs
