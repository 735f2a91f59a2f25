"""Redemption rate and breakage by age: points by hand, oldest first, groups against the bootstrap, coverage."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ContractError, DesignError
from loyalty_research.programme import points_ledger, redemption_liability, redemption_rate
from loyalty_research.programme._triangle import capped, redemption_triangle
from loyalty_research.programme._windows import change
from loyalty_research.programme.redemption import GROUPS, booked_accounts, breakage_by_age

START = pd.Timestamp("2023-01-01")
FIRSTS = [(day - START).days for day in pd.date_range(START, periods=12, freq="MS")]
LAST, AUGUST = 364, 242  # the ends of December and of August


def ledger(*rows):
    """Return entries from (customer, day from START, points, type)."""
    frame = pd.DataFrame(rows, columns=["customer_id", "day", "points", "type"])
    frame["occurred_at"] = START + pd.to_timedelta(frame.pop("day"), "D")
    return frame


def until(days):
    return (START + pd.Timedelta(days=days)).date().isoformat()


OLD = ("old", 0, 1, "earn")


def test_points_are_followed_for_the_same_time_each():
    frame = ledger(
        OLD,
        ("a", 100, 100, "earn"),
        ("a", 110, -30, "redeem"),  # in time
        ("a", 140, -50, "redeem"),  # 40 days after issue: too late
        ("b", 120, 60, "earn"),
        ("b", 125, -20, "refund"),  # taken back: never issued
        ("b", 150, -10, "redeem"),
        ("c", 105, 40, "earn"),
        ("c", 135, -40, "expire"),
        ("d", 10, 500, "earn"),  # before the window
        ("e", 160, 500, "earn"),  # not followed for 30 days
        ("f", 110, 300, "adjust"),  # no issue
    )
    found = redemption_rate(frame, window=100, follow=30, as_of=until(180))
    # window: days 51 to 150; issued 100 + (60 - 20) + 40
    assert found.issued == pytest.approx(180)
    assert found.rate.value == pytest.approx((30 + 10) / 180)
    assert found.lapsed.value == pytest.approx(40 / 180)
    assert (found.redeemers.value, found.rate.n) == (pytest.approx(2 / 3), 3)
    assert found.influence.index.tolist() == ["a", "b", "c"]
    assert found.influence.sum() == pytest.approx(0, abs=1e-12)


def test_oldest_points_are_used_first():
    frame = ledger(
        OLD,
        ("a", 20, 100, "earn"),
        ("a", 100, 100, "earn"),
        ("a", 110, -100, "redeem"),
        ("b", 100, 100, "earn"),
    )
    # the redemption used the points of day 20, which are not of the window
    assert redemption_rate(frame, window=60, follow=30, as_of=until(150)).rate.value == 0
    more = pd.concat([frame, ledger(("a", 112, -50, "redeem"))])
    assert redemption_rate(more, window=60, follow=30, as_of=until(150)).rate.value == pytest.approx(0.25)


def test_the_order_of_rows_and_of_customers_changes_nothing():
    rng = np.random.default_rng(1)
    rows = [OLD]
    for i in range(40):
        day = int(rng.integers(0, 300))
        rows += [(f"c{i}", day, 100, "earn"), (f"c{i}", day + 5, -int(rng.integers(1, 100)), "redeem")]
    frame = ledger(*rows)
    once = redemption_rate(frame, window=300, follow=30, as_of=until(330))
    shuffled = redemption_rate(
        frame.sample(frac=1.0, random_state=3), window=300, follow=30, as_of=until(330)
    )
    assert shuffled.rate.value == pytest.approx(once.rate.value)
    assert shuffled.rate.low == pytest.approx(once.rate.low)
    by_name = (found.influence.sort_index() for found in (once, shuffled))
    pd.testing.assert_series_equal(*by_name)


def test_what_cannot_be_had_is_said():
    frame = ledger(("a", 100, 10, "earn"), ("b", 105, 10, "earn"))
    with pytest.raises(DesignError, match="begins later than the 90 days"):
        redemption_rate(frame, window=90, follow=30, as_of=until(130))
    with pytest.raises(DesignError, match="no points were issued in the 20 days"):
        redemption_rate(frame, window=20, follow=30, as_of=until(300))
    with pytest.raises(ContractError, match="overdrawn"):
        redemption_rate(ledger(("a", 0, 10, "earn"), ("a", 9, -20, "redeem")))


def cohorts(rng, customers=400, months=12):
    """Customers who earn once, in a month at random, and redeem in that month, in a later one, or never."""
    rows = []
    for i in range(customers):
        month, day, points = (
            int(rng.integers(0, months)),
            int(rng.integers(0, 9)),
            int(rng.gamma(2.0, 50.0)) + 1,
        )
        rows.append((f"c{i}", FIRSTS[month] + day, points, "earn"))
        later = month + int(rng.choice([0, 1, 2, 1000], p=[0.2, 0.2, 0.1, 0.5]))
        if later < months:
            rows.append(
                (f"c{i}", FIRSTS[later] + 14, -int(np.ceil(points * rng.uniform(0.5, 1.0))), "redeem")
            )
    return ledger(*rows)


def by_age(frame, day=LAST, age=2):
    booked = points_ledger(frame, as_of=until(day))
    return breakage_by_age(booked, *booked_accounts(frame, booked), age=age, period="M", level=0.95)


def test_breakage_by_age_is_the_chain_ladders():
    frame = cohorts(np.random.default_rng(5))
    found, moved = by_age(frame)
    peer = redemption_liability(
        capped(redemption_triangle(points_ledger(frame, as_of=until(LAST))), 2)
    ).breakage
    assert found == peer
    assert moved.size == GROUPS
    with pytest.raises(DesignError, match="whole periods after the first"):
        by_age(frame, age=40)


def test_groups_of_customers_give_the_bootstraps_error():
    frame = cohorts(np.random.default_rng(6), customers=900)
    _, moved = by_age(frame)
    rng = np.random.default_rng(7)
    own = [np.array(rows) for rows in frame.groupby("customer_id").indices.values()]
    values = []
    for _ in range(60):
        drawn = [own[k] for k in rng.integers(0, len(own), len(own))]
        again = frame.iloc[np.concatenate(drawn)].assign(
            customer_id=np.repeat(np.arange(len(drawn)), [len(rows) for rows in drawn])
        )
        triangle = redemption_triangle(points_ledger(again, as_of=until(LAST)))
        values.append(redemption_liability(capped(triangle, 2)).breakage.value)
    assert np.sqrt((moved**2).sum()) == pytest.approx(np.std(values), rel=0.35)


def test_customers_keep_their_group_from_day_to_day():
    frame = cohorts(np.random.default_rng(8))
    one, two = by_age(frame), by_age(frame, AUGUST)
    moved = change(one[0], two[0], one[1], two[1])
    apart = np.hypot(*(np.sqrt((m**2).sum()) for _, m in (one, two)))
    # most points are in both, so the change is much surer than that of two samples
    assert (moved.high - moved.low) / 2 / 1.96 < 0.75 * apart


def simulated(replicates, seed=4, n=120):
    """Each customer earns once in the window and redeems part of it, in time with probability 0.4."""
    rng = np.random.default_rng(seed)
    held = np.zeros(2)
    for _ in range(replicates):
        points = rng.gamma(2.0, 50.0, n).astype(int) + 10
        part = np.ceil(points * 0.5).astype(int)
        in_time = rng.random(n) < 0.4
        rows = [OLD]
        rows += [(f"c{i}", 100, int(points[i]), "earn") for i in range(n)]
        rows += [(f"c{i}", 110 if in_time[i] else 190, -int(part[i]), "redeem") for i in range(n)]
        found = redemption_rate(ledger(*rows), window=60, follow=30, as_of=until(140))
        truth = 0.4 * part.sum() / points.sum()
        held += [
            found.rate.low <= truth <= found.rate.high,
            found.redeemers.low <= 0.4 <= found.redeemers.high,
        ]
    return held / replicates


def test_intervals_cover_the_truth():
    held = simulated(50)
    assert (held > 0.85).all(), held


@pytest.mark.slow
def test_intervals_cover_the_truth_at_length(published):
    held = simulated(2000)
    published(zip(("redemption rate of points", "customers who redeemed"), held, strict=True), 2000)
    assert (np.abs(held - 0.95) < 0.02).all(), held


@pytest.mark.slow
def test_changes_of_breakage_cover_no_change_where_nothing_changes(published):
    rng = np.random.default_rng(9)
    held, replicates = 0, 200
    for _ in range(replicates):
        frame = cohorts(rng, customers=800)
        (now, moved), (then, moved_then) = by_age(frame), by_age(frame, AUGUST)
        found = change(now, then, moved, moved_then)
        held += found.low <= 0 <= found.high
    published({"breakage: change where nothing changes": held / replicates}, replicates)
    assert abs(held / replicates - 0.95) < 3 * np.sqrt(0.95 * 0.05 / replicates), held / replicates
