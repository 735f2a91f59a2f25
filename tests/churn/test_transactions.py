"""Buyers without a contract: inactivity windows, cut-off, segments."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research.churn import (
    ChurnData,
    KaplanMeier,
    add_segments,
    inactivity_sweep,
    one_time_buyers,
)
from loyalty_research.errors import ArgumentError, ContractError, ImmortalTimeError

BEGIN = dt.date(2024, 1, 1)


def lines(days_by_customer, amount=10.0):
    rows = [(c, BEGIN + dt.timedelta(days=d)) for c, days in days_by_customer.items() for d in days]
    frame = pd.DataFrame(rows, columns=["customer_id", "transacted_date"])
    return frame.assign(transacted_date=pd.to_datetime(frame["transacted_date"]), amount=amount)


def as_of(offset):
    return BEGIN + dt.timedelta(days=offset)


def reference(days_by_customer, window, end):
    """Follow each customer by a plain loop: the definition, read off the docstring."""
    found = {}
    for customer, days in days_by_customer.items():
        seen = sorted({d for d in days if d <= end})
        if not seen or seen[0] >= end - window:
            continue
        gap = next((a for a, b in zip(seen, [*seen[1:], None], strict=True) if (b or end) - a > window), None)
        if gap is not None and gap < end - window:
            found[customer] = (gap - seen[0] + 1, True)
        else:
            found[customer] = (end - window - seen[0], False)
    return found


def test_the_event_is_the_start_of_the_first_long_silence():
    data = ChurnData.from_transactions(
        lines({"back": [0, 10, 100, 110], "silent": [5, 20], "once": [7], "there": [3, 40, 80, 119, 150]}),
        inactivity_days=50,
        as_of=as_of(160),
    )
    by_key = dict(zip(data.keys, zip(data.stop.tolist(), data.event.tolist(), strict=True), strict=True))
    assert by_key == {"back": (11, True), "silent": (16, True), "once": (1, True), "there": (107, False)}


@given(st.integers(0, 100_000))
@settings(max_examples=25, deadline=None)
def test_follow_up_equals_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    window, end = int(rng.integers(5, 60)), 200
    bought = {c: sorted(rng.choice(220, int(rng.integers(1, 12)), replace=False).tolist()) for c in range(25)}
    want = reference(bought, window, end)
    if not want:
        return
    data = ChurnData.from_transactions(lines(bought), inactivity_days=window, as_of=as_of(end))
    found = dict(zip(data.keys, zip(data.stop.tolist(), data.event.tolist(), strict=True), strict=True))
    assert found == want
    audit = data.audit().set_index("rule")["customers"]
    seen = sum(any(d <= end for d in days) for days in bought.values())
    assert audit["kept"] == len(want)
    assert audit.drop("kept").sum() == seen - len(want)


def test_nobody_is_followed_past_the_cut_off():
    data = ChurnData.from_transactions(
        lines({c: range(c, 300, 9) for c in range(50)}), inactivity_days=60, as_of=as_of(299)
    )
    assert (data.stop <= 299 - 60 - np.arange(50)).all()
    assert not data.event.any()


def test_customers_seen_for_too_short_are_counted():
    data = ChurnData.from_transactions(
        lines({"old": [0, 30], "new": [70], "edge": [60]}), inactivity_days=40, as_of=as_of(100)
    )
    assert list(data.keys) == ["old"]
    assert data.audit()["customers"].tolist() == [2, 1]
    with pytest.raises(ContractError, match="nobody is seen for more than 200 days"):
        ChurnData.from_transactions(lines({"a": [0]}), inactivity_days=200, as_of=as_of(100))


def test_engines_agree():
    bought = lines({c: [0, 5 * c + 1, 90 + c] for c in range(1, 12)})
    pandas = ChurnData.from_transactions(bought, inactivity_days=30, as_of=as_of(200))
    polars = ChurnData.from_transactions(pl.from_pandas(bought), inactivity_days=30, as_of=as_of(200))
    assert pandas.stop.tolist() == polars.stop.tolist()
    assert pandas.covariates.equals(polars.covariates)


def test_members_are_split_at_the_day_they_join():
    spells = pd.DataFrame(
        {
            "customer_id": ["a", "b"],
            "valid_from": pd.to_datetime(["2024-01-21", "2023-06-01"]),
            "valid_to": [pd.NaT, pd.Timestamp("2024-01-11")],
        }
    )
    data = ChurnData.from_transactions(
        lines({"a": [0, 20, 40, 60], "b": [0, 30], "c": [0, 30]}),
        inactivity_days=50,
        as_of=as_of(200),
        members=spells,
    )
    frame = data.to_lifelines()[["id", "start", "stop", "is_member"]]
    assert frame.to_numpy().tolist() == [
        [0, 0, 20, False],
        [0, 20, 61, True],
        [1, 0, 10, True],
        [1, 10, 31, False],
        [2, 0, 31, False],
    ]


def test_left_truncation_is_noticed_and_steady_arrivals_are_not():
    rng = np.random.default_rng(3)
    cut = {c: sorted(set(rng.integers(0, 300, 15).tolist())) for c in range(300)}
    found = ChurnData.from_transactions(lines(cut), inactivity_days=60, as_of=as_of(300)).checks
    assert next(c for c in found if c.name == "Left truncation").status == "warning"
    steady = {c: [c % 200, c % 200 + 30] for c in range(600)}
    found = ChurnData.from_transactions(lines(steady), inactivity_days=60, as_of=as_of(300)).checks
    assert next(c for c in found if c.name == "Left truncation").status == "passed"


def test_segments_come_from_the_first_day_only():
    bought = lines({c: [0, 20, 40] for c in range(6)})
    # later amounts are large for those who began small: they must not count
    bought["amount"] = [v for c in range(6) for v in (10.0 + c, 1000.0 - 100 * c, 5.0)]
    data = ChurnData.from_transactions(bought, inactivity_days=60, as_of=as_of(300))
    assert data.covariates["first_amount"].tolist() == [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
    cut = add_segments(data, ["first_order"]).covariates["first_order"]
    assert cut.cat.categories.tolist() == ["up to 11", "over 11 to 13", "over 13"]
    assert cut.cat.codes.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.covariates["first_month"].unique().tolist() == ["2024-01"]


def test_segments_from_the_customers_table():
    data = ChurnData.from_transactions(
        lines({"a": [0], "b": [0], "c": [0]}), inactivity_days=60, as_of=as_of(300)
    )
    customers = pd.DataFrame({"customer_id": ["b", "a"], "region": ["south", "north"]})
    found = add_segments(data, ["region"], customers=customers).covariates["region"]
    assert found.tolist() == ["north", "south", "not known"]
    with pytest.raises(
        ArgumentError, match="no segment 'tier'; choose among first_order, first_month, region"
    ):
        add_segments(data, ["tier"], customers=customers)
    with pytest.raises(ContractError, match="all alike"):
        add_segments(data, ["first_order"])


def test_what_came_after_the_first_day_is_no_segment():
    data = ChurnData.from_transactions(
        lines({"a": [0], "b": [1], "c": [2]}), inactivity_days=60, as_of=as_of(300)
    )
    customers = pd.DataFrame(
        {
            "customer_id": ["x", "c", "b", "a"],
            "closed_at": pd.to_datetime(["2024-09-01", None, "2024-03-01", "2024-02-01"]),
            "opened_date": pd.to_datetime(["2024-09-01", "2023-11-05", "2023-12-01", "2023-12-31"]),
            # a moment in UTC may be on the day after; the date in the shop's zone decides
            "opened_at": pd.to_datetime(["2024-09-01", "2023-11-06", "2023-12-02", "2024-01-02"]),
            "tier": ["gold", "none", "gold", "gold"],
            "tier_at": pd.to_datetime(["2024-01-01", "2023-12-01", "2024-05-01", "2023-12-01"]),
        }
    )
    with pytest.raises(ImmortalTimeError, match="closed_at looks into the future: in 2 of 2") as told:
        add_segments(data, ["closed_at"], customers=customers)
    assert "customers: 2 rows (first at positions 2, 3)" in str(told.value)
    with pytest.raises(
        ImmortalTimeError, match=r"tier looks into the future: in 1 of 3 .*column tier_at says when"
    ):
        add_segments(data, ["tier"], customers=customers)
    found = add_segments(data, ["opened_date", "opened_at"], customers=customers).covariates
    assert found["opened_date"].tolist() == ["2023-12", "2023-12", "2023-11"]


def test_rare_levels_are_pooled_and_numbers_cut():
    data = ChurnData.from_transactions(
        lines({c: [c % 3] for c in range(100)}), inactivity_days=60, as_of=as_of(300)
    )
    customers = pd.DataFrame(
        {
            "customer_id": range(100),
            "region": ["a"] * 60 + ["b"] * 34 + ["c"] * 3 + ["d"] * 2 + [None],
            "age": [float(20 + c % 40) for c in range(99)] + [None],
        }
    )
    found = add_segments(data, ["region", "age"], customers=customers, fewest=5).covariates
    assert found["region"].value_counts().to_dict() == {"a": 60, "b": 34, "other": 6}
    assert found["age"].cat.categories.tolist()[0] == "up to 30"
    # one customer without an age cannot stand alone and joins the smallest group
    assert found["age"].value_counts().min() >= 5
    assert "not known" in set(add_segments(data, ["age"], customers=customers).covariates["age"])


def test_a_status_that_changes_is_no_segment():
    spells = pd.DataFrame({"customer_id": [0], "valid_from": pd.to_datetime(["2024-01-02"])})
    data = ChurnData.from_transactions(
        lines({c: [0, 10] for c in range(9)}), inactivity_days=60, as_of=as_of(300), members=spells
    )
    with pytest.raises(ArgumentError, match="is_member changes over time"):
        add_segments(data, ["is_member"])


def test_one_time_buyers_are_those_gone_on_the_first_day():
    data = ChurnData.from_transactions(
        lines({"a": [0], "b": [0, 10], "c": [0], "d": [0, 90]}), inactivity_days=50, as_of=as_of(300)
    )
    found = one_time_buyers(data)
    assert found.share.value == 0.75
    assert found.share.value == pytest.approx(1 - KaplanMeier().fit(data).survival_at([1])["estimate"][0])
    assert "75.0% of customers bought on one day and then nothing for more than 50 days" in found.verdict()


def test_sweep_counts_windows_returns_and_the_forgotten_cut_off():
    rng = np.random.default_rng(4)
    bought = {c: sorted(set((rng.integers(0, 250) + rng.integers(0, 200, 6)).tolist())) for c in range(200)}
    sweep = inactivity_sweep(lines(bought), windows=[30, 60, 90], as_of=as_of(300), at=100)
    for row in sweep.windows.to_dict("records"):
        window = int(row["inactivity_days"])
        want = reference(bought, window, 300)
        assert row["customers"] == len(want)
        assert row["left"] == sum(event for _, event in want.values())
        data = ChurnData.from_transactions(lines(bought), inactivity_days=window, as_of=as_of(300))
        curve = KaplanMeier().fit(data).survival_at([100])
        assert row["survival"] == pytest.approx(curve["estimate"][0], nan_ok=True)
        back = sum(
            1
            for c, (stop, event) in want.items()
            if event and any(d >= min(bought[c]) + stop and d <= 300 for d in bought[c])
        )
        assert row["returned"] == back
    assert "bought again" in sweep.verdict()
    assert sweep.returned(60).value == pytest.approx(
        sweep.windows.set_index("inactivity_days")["share_returned"][60]
    )
    assert sweep.bought_lately(60).value == np.mean(
        [max(d for d in days if d <= 300) >= 240 for days in bought.values() if min(days) <= 300]
    )
    assert "chance of 40.0%" in sweep.beside_model(60, 0.4)
    assert "Counted as gone" in sweep.table().html
    with pytest.raises(ArgumentError, match="no window of 45 days"):
        sweep.returned(45)
    assert {"still buying", "bought again after counted as gone"} == set(sweep.to_frame()["metric"])
    with pytest.raises(ArgumentError, match="at least one"):
        inactivity_sweep(lines(bought), windows=[], as_of=as_of(300), at=100)


def test_bad_options_are_refused():
    with pytest.raises(ArgumentError, match="as_of must be a date"):
        ChurnData.from_transactions(lines({"a": [0]}), inactivity_days=30, as_of="soon")
    with pytest.raises(ArgumentError, match="inactivity_days must be a whole number"):
        ChurnData.from_transactions(lines({"a": [0]}), inactivity_days=0, as_of=as_of(100))


def test_refunds_and_orders_without_a_customer_are_left_out_and_counted():
    table = lines({"a": [0, 30, 60], "b": [5, 50]})
    odd = pd.concat(
        [
            lines({"a": [40]}, amount=-10.0),
            lines({"b": [45, 70]}, amount=-5.0),
            lines({"a": [20]}).assign(customer_id=None),
        ]
    )
    data = ChurnData.from_transactions(pd.concat([table, odd]), inactivity_days=50, as_of=as_of(120))
    plain = ChurnData.from_transactions(table, inactivity_days=50, as_of=as_of(120))
    assert sorted(count for count in data.dropped.values() if count) == [1, 3]
    pd.testing.assert_frame_equal(data.to_lifelines(), plain.to_lifelines())
