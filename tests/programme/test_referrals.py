"""Referral rates: counts by hand, impossible referrals refused, and coverage where the truth is known."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import referral_rate
from loyalty_research.programme._referral_rows import in_circles
from loyalty_research.stats.proportions import proportion

START = pd.Timestamp("2024-01-01")


def people(n, day="2023-06-01"):
    return pd.DataFrame({"customer_id": [f"c{i}" for i in range(n)], "acquired_at": pd.Timestamp(day)})


def referred(rows):
    """Return referrals of (referrer, referred or None, day of 2024 counted from 0)."""
    frame = pd.DataFrame(rows, columns=["referrer_id", "referred_id", "day"])
    return frame.assign(
        referral_id=[f"r{i}" for i in frame.index],
        referred_at=START + pd.to_timedelta(frame.pop("day"), "D"),
    )


def bought(rows):
    frame = pd.DataFrame(rows, columns=["customer_id", "day"])
    return frame.assign(transacted_date=START + pd.to_timedelta(frame.pop("day"), "D"), amount=10.0)


def test_counts_by_hand():
    rows = [(f"c{i}", f"n{i}", 10 + i) for i in range(8)] + [("c0", None, 30), ("c1", None, 40)]
    found = referral_rate(referred(rows), people(50), as_of="2024-03-31", window=91)
    assert found.rate == proportion(8, 50)
    assert found.per_customer.value == pytest.approx(10 / 50)
    assert found.conversion.value == pytest.approx(8 / 10)
    assert found.k_factor.value == pytest.approx(8 / 50)
    assert found.k_factor.value == pytest.approx(found.per_customer.value * found.conversion.value)
    assert found.conversion.method == "wilson, customers as clusters"
    assert found.verdict().endswith(
        "80.0% of these referrals brought a new customer: 16.00 for each 100 customers (8.48 to 30.20)."
    )


def test_conversion_needs_a_first_purchase_in_time():
    rows = [(f"c{i}", f"n{i}", 20) for i in range(12)]
    orders = [("old", 0)]
    orders += [(f"n{i}", 20) for i in range(3)]  # on the day itself
    orders += [(f"n{i}", 50) for i in range(3, 6)]  # on the last day that counts
    orders += [("n6", 51)]  # a day late
    orders += [("n7", 5), ("n7", 25)]  # a customer already
    found = referral_rate(
        referred(rows),
        people(50),
        as_of="2024-03-31",
        window=60,
        transactions=bought(orders),
        conversion_window=30,
    )
    assert found.conversion.value == pytest.approx(6 / 12)
    assert found.end.isoformat() == "2024-03-01"
    check = next(c for c in found.checks if c.name == "The customers who came are new")
    assert check.status == "warning"
    assert check.detail.endswith("fewer than 5.")


def test_referrals_not_followed_to_the_end_are_outside_the_window():
    rows = [(f"c{i}", f"n{i}", 25) for i in range(6)] + [(f"c{i}", f"m{i}", 85) for i in range(6)]
    orders = [("old", 0), *((f"n{i}", 26) for i in range(6)), *((f"m{i}", 86) for i in range(6))]
    found = referral_rate(
        referred(rows),
        people(50),
        as_of="2024-03-31",
        window=60,
        transactions=bought(orders),
        conversion_window=10,
    )
    assert (found.referrals, found.conversion.value) == (6, 1.0)


def test_at_risk_are_those_there_on_the_first_day():
    members = pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(30)],
            "valid_from": pd.to_datetime(["2023-01-01"] * 20 + ["2024-02-01"] * 10),
            "valid_to": pd.to_datetime(["2023-12-31"] * 5 + ["2024-02-15"] * 5 + [None] * 20),
        }
    )
    rows = [(f"c{i}", None, 40) for i in range(30)]
    found = referral_rate(referred(rows), members, as_of="2024-03-30", window=90)
    assert (found.at_risk, found.referrers, found.referrals) == (15, 15, 15)
    assert "not there on its first day are not counted: 15" in found.checks[1].detail
    same = referral_rate(
        pl.from_pandas(referred(rows)), pl.from_pandas(members), as_of="2024-03-30", window=90
    )
    assert same.to_frame().equals(found.to_frame())


@pytest.mark.parametrize(
    ("rows", "said", "where"),
    [
        ([("a", "b", 1), ("c", "c", 2)], "one and the same customer", "positions? 1"),
        ([("a", "b", 1), ("c", "d", 2), ("e", "b", 3)], "brought already", "position 2"),
        ([("x", "y", 1), ("a", "b", 1), ("b", "c", 2), ("c", "a", 3)], "circle", "positions 1, 2, 3"),
        ([("a", "b", 1), (None, "c", 2)], "lack their referrer", "position 1"),
    ],
)
def test_impossible_referrals_are_errors_by_position(rows, said, where):
    with pytest.raises(ContractError, match=said) as caught:
        referral_rate(referred(rows), people(50), as_of="2024-03-31")
    assert pd.Series([str(caught.value)]).str.contains(where).all()
    assert "c0" not in str(caught.value)


def test_a_referral_entered_twice_is_an_error():
    twice = referred([("a", None, 1), ("b", None, 2)]).assign(referral_id="r0")
    with pytest.raises(ContractError, match="repeat a referral_id"):
        referral_rate(twice, people(50), as_of="2024-03-31")


def test_long_chains_are_no_circles():
    names = [f"p{i}" for i in range(200)]
    assert not in_circles(names[:-1], names[1:]).any()
    assert in_circles([*names, "z"], [*names[1:], names[0], "w"]).tolist() == [True] * 200 + [False]


@given(st.lists(st.integers(0, 11), min_size=12, max_size=12), st.integers(1, 12))
def test_circles_are_those_that_following_the_referrers_comes_back_to(referrer, size):
    """Customer i was brought by referrer[i]; whoever meets themselves on the way up is in a circle."""
    brought_by = dict(enumerate(referrer[:size]))
    expected = []
    for who, referred_by in brought_by.items():
        at, steps = referred_by, 0
        while at != who and at in brought_by and steps < 12:
            at, steps = brought_by[at], steps + 1
        expected.append(at == who)
    assert in_circles(list(brought_by.values()), list(brought_by)).tolist() == expected


def test_a_handful_of_referrers_is_not_shown():
    with pytest.raises(DesignError, match="fewer than 5 of the customers at risk referred"):
        referral_rate(referred([("c1", None, 1)]), people(50), as_of="2024-03-31", window=91)
    rows = [(f"c{i}", f"n{i}" if i < 3 else None, 1) for i in range(10)]
    found = referral_rate(referred(rows), people(50), as_of="2024-03-31", window=91)
    assert found.conversion is None
    assert found.k_factor is None
    assert found.to_frame()["estimate"].isna().tolist() == [False, False, True, True]
    nobody = referral_rate(referred(rows), people(50), as_of="2023-12-30", window=91)
    assert (nobody.rate.value, nobody.per_customer.high) == (0.0, pytest.approx(-np.log(0.025) / 50))


def test_options_that_cannot_be_are_errors():
    with pytest.raises(ArgumentError, match="needs transactions"):
        referral_rate(referred([("a", "b", 1)]), people(50), as_of="2024-03-31", conversion_window=30)
    with pytest.raises(DesignError, match="transactions begin on 2024-02-10"):
        referral_rate(
            referred([("a", "b", 1)]),
            people(50),
            as_of="2024-03-31",
            conversion_window=10,
            window=60,
            transactions=bought([("z", 40)]),
        )


def simulated(replicates, seed=11):
    """Return how often each interval holds the truth, where some refer far more than others."""
    rng = np.random.default_rng(seed)
    n, rate, shape = 400, 0.3, 0.5
    truth = (1 - (shape / (shape + rate)) ** shape, rate, 0.4, 0.4 * rate)
    held = np.zeros(4)
    for _ in range(replicates):
        own = rng.gamma(shape, rate / shape, n)
        counts = rng.poisson(own)
        # friends of one customer come or stay away together
        willing = rng.beta(2.0, 3.0, n)
        who = np.repeat(np.arange(n), counts)
        came = rng.random(who.size) < willing[who]
        frame = pd.DataFrame(
            {
                "referrer_id": [f"c{i}" for i in who],
                "referred_id": [f"n{i}" if yes else None for i, yes in enumerate(came)],
                "referred_at": START,
            }
        )
        found = referral_rate(frame, people(n), as_of="2024-01-31", window=31)
        for j, e in enumerate((found.rate, found.per_customer, found.conversion, found.k_factor)):
            held[j] += e.low <= truth[j] <= e.high
    return held / replicates


def test_intervals_cover_the_truth():
    assert (simulated(60) > 0.86).all()


@pytest.mark.slow
def test_intervals_cover_the_truth_at_length(published):
    share = simulated(2000)
    published(
        zip(
            (
                "referral rate",
                "referrals per customer",
                "conversion of referrals",
                "new customers per customer (k-factor)",
            ),
            share,
            strict=True,
        ),
        2000,
    )
    assert (np.abs(share - 0.95) < 0.02).all(), share
