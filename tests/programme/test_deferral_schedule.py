"""Deferred revenue over time: to the cent, against the standard's example and by hand."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.programme import points_ledger, redemption_liability, redemption_triangle
from loyalty_research.programme.deferral_schedule import deferral_schedule


def booked(rows, as_of=None):
    return points_ledger(
        pd.DataFrame(
            {
                "customer_id": [r[0] for r in rows],
                "occurred_at": pd.to_datetime([r[1] for r in rows]),
                "type": [r[2] for r in rows],
                "points": [r[3] for r in rows],
            }
        ),
        as_of=as_of,
    )


def drawn(seed, customers=60, days=420):
    """Draw a ledger in which most points are redeemed at some time."""
    rng = np.random.default_rng(seed)
    count = customers * 12
    who, day = rng.integers(customers, size=count), rng.integers(0, days, count)
    points = rng.integers(100, 5000, count) / 100
    later = day + rng.geometric(0.012, count)
    kept = (rng.random(count) < 0.8) & (later < days)
    start = pd.Timestamp("2023-01-01")
    rows = [
        (f"c{w}", start + pd.Timedelta(days=int(d)), "earn", p)
        for w, d, p in zip(who, day, points, strict=True)
    ]
    rows += [
        (f"c{w}", start + pd.Timedelta(days=int(d), hours=12), "redeem", -p)
        for w, d, p, k in zip(who, later, points, kept, strict=True)
        if k
    ]
    return booked(rows, as_of=(start + pd.Timedelta(days=days)).date())


def rolls(found):
    table = found.schedule
    for row in table.to_dict("records"):
        assert row["opening"] + row["deferred"] - row["recognised"] == row["closing"]
        assert row["closing"] >= 0
        for column in ("opening", "deferred", "recognised", "closing"):
            assert row[column] == row[column].quantize(Decimal("0.01"))
    assert table["opening"].tolist()[1:] == table["closing"].tolist()[:-1]
    assert sum(table["recognised"]) + table["closing"].iloc[-1] == sum(table["deferred"])


def test_the_standards_example_rolls_forward(oracle):
    case = oracle("ifrs15_points_deferral")
    example, expected = case["inputs"], case["expected"]
    ledger = booked(
        [
            ("a", "2023-01-10", "earn", example["points_issued"]),
            ("a", "2023-11-01", "redeem", -example["redeemed_y1"]),
            ("a", "2024-06-01", "redeem", -example["redeemed_y2_more"]),
        ],
        as_of="2024-12-31",
    )
    found = deferral_schedule(
        ledger,
        point_value=example["point_value"],
        sales={"2023": example["sales"]},
        expected={"2023": 0.95, "2024": 0.97},
        period="Y",
        currency="CU",
    )
    rolls(found)
    one, two, ahead = found.schedule.to_dict("records")
    assert float(one["deferred"]) == pytest.approx(expected["alloc_points"], abs=0.005)
    assert float(one["recognised"]) == pytest.approx(expected["revenue_y1"], abs=0.005)
    assert float(two["recognised"]) == pytest.approx(expected["revenue_y2"], abs=0.01)
    assert float(two["closing"]) == pytest.approx(expected["liability_end_y2"], abs=0.01)
    # of the second year, what the higher expectation takes back from the first
    back = expected["alloc_points"] * 4500 * (1 / 9700 - 1 / 9500)
    assert float(two["caught_up"]) == pytest.approx(back, abs=0.01)
    assert (ahead["kind"], ahead["closing"]) == ("expected", 0)
    assert found.allocated
    assert "1,073.29 CU is deferred" in found.verdict()


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from(["M", "Q"]), st.one_of(st.none(), st.floats(0.3, 1.0)))
def test_every_schedule_closes_to_the_cent(seed, period, expected):
    ledger = drawn(seed, customers=12)
    try:
        found = deferral_schedule(ledger, point_value=0.013, expected=expected, period=period)
    except DesignError:
        assert expected is None  # only a chain ladder can fail
        return
    rolls(found)
    assert found.cohorts["closing"].sum() == found.closing
    assert found.cohorts["deferred"].sum() == sum(found.schedule["deferred"])


def test_todays_expectation_is_the_chain_ladders():
    ledger = drawn(3)
    found = deferral_schedule(ledger, point_value=0.01, period="Q")
    rolls(found)
    ladder = redemption_liability(ledger, period="Q")
    hoped = found.cohorts["expected"] - found.cohorts["redeemed"]
    assert hoped.to_numpy() == pytest.approx(np.minimum(ladder.cohorts["expected"], ladder.cohorts["held"]))
    # at stand-alone prices and one expectation, what is deferred is what is still expected, at its price
    assert float(found.closing) == pytest.approx(0.01 * hoped.sum(), abs=0.05)
    assert found.schedule["kind"].tolist().count("booked") == len(
        redemption_triangle(ledger, period="Q").redeemed
    )
    assert found.schedule["closing"].iloc[-1] == 0
    assert {c.status for c in found.checks} == {"warning", "not measurable"}
    tail = deferral_schedule(ledger, point_value=0.01, period="Q", tail="exponential")
    assert tail.closing > found.closing


def test_splitting_sales_defers_less():
    ledger = drawn(4)
    periods = redemption_triangle(ledger, period="Q").redeemed.index
    alone = deferral_schedule(ledger, point_value=0.05, period="Q", expected=0.9)
    split = deferral_schedule(
        ledger, point_value=0.05, period="Q", expected=0.9, sales=dict.fromkeys(periods, 500)
    )
    rolls(split)
    assert split.closing < alone.closing
    one = float(alone.cohorts["deferred"].iloc[0])
    assert float(split.cohorts["deferred"].iloc[0]) == pytest.approx(500 * one / (500 + one), abs=0.01)


def test_points_no_longer_held_are_recognised():
    ledger = booked(
        [
            ("a", "2024-01-05", "earn", 100),
            ("a", "2024-02-03", "redeem", -40),
            ("a", "2024-03-02", "expire", -60),
        ],
        as_of="2024-03-31",
    )
    found = deferral_schedule(ledger, point_value=1, expected=0.8)
    assert found.schedule["closing"].tolist() == [80, 40, 0]
    assert found.schedule["caught_up"].iloc[-1] == 40


def test_more_redeemed_than_named_raises_the_expectation_and_warns():
    ledger = booked(
        [("a", "2024-01-05", "earn", 100), ("a", "2024-02-03", "redeem", -70)], as_of="2024-02-29"
    )
    found = deferral_schedule(ledger, point_value=1, expected=0.5)
    rolls(found)
    assert found.closing == 0
    assert "Redemptions within what was expected" in [c.name for c in found.checks if c.status == "warning"]


def test_the_picture_tells_booked_from_expected():
    axes = deferral_schedule(drawn(3), point_value=0.01, period="Q", currency="EUR").plot()
    assert axes.get_ylabel() == "deferred at the end, EUR"
    assert len(axes.get_legend().get_texts()) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"point_value": 0}, "point_value"),
        ({"expected": 1.2}, "up to 1"),
        ({"expected": {}}, "at least one share"),
        ({"expected": {"2030-01": 0.9}}, "no share for the first period"),
        ({"expected": {"soon": 0.9}}, "names periods"),
        ({"sales": {"2023-01": 10}}, "sales has no figure"),
        ({"decimals": 9}, "decimals"),
        ({"point_value": "much"}, "is a number"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ArgumentError, match=said):
        deferral_schedule(drawn(1), **{"point_value": 0.01, "expected": 0.9} | options)


def test_what_cannot_be_deferred_is_refused():
    with pytest.raises(ArgumentError, match="points ledger or a redemption triangle"):
        deferral_schedule(pd.DataFrame(), point_value=1)
    young = booked([("a", "2024-01-05", "earn", 100)], as_of="2024-01-31")
    with pytest.raises(DesignError, match="or name the share"):
        deferral_schedule(young, point_value=1)
    assert deferral_schedule(young, point_value=1, expected=0.9).closing == 90
