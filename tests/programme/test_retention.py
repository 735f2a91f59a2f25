"""Retention and repeat purchase against hand counts, an independent peer and simulated customers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.programme import repeat_purchase_rate, retention_rate

START = pd.Timestamp("2023-01-01")


def lines(*visits):
    """Turn (customer, day) pairs into transactions; day 0 is the first of 2023."""
    who, day = zip(*visits, strict=True)
    return pd.DataFrame(
        {"customer_id": list(who), "transacted_date": START + pd.to_timedelta(list(day), "D"), "amount": 10.0}
    )


def day(number):
    return (START + pd.Timedelta(days=number)).date()


def test_each_rate_counts_its_own_customers():
    # windows of 10 days up to day 19: (−1, 9] and (9, 19]
    table = lines(
        ("a", 0), ("a", 10), ("b", 9), ("b", 19), ("c", 3), ("c", 8), ("d", 10), ("d", 15), ("e", 0)
    )
    found = retention_rate(table, window=10, as_of=day(19), period="W")
    assert (found.rolling.value, found.rolling.n) == (0.5, 4)  # a and b of a, b, c, e
    assert found.fixed is None  # nobody was followed for two windows since their first day
    later = retention_rate(table, window=10, as_of=day(20), period="W")
    # a and e were; a's next day, 10, lies inside the first window
    assert (later.fixed.value, later.fixed.n) == (0.0, 2)
    assert retention_rate(table, window=9, as_of=day(19), period="W").fixed.n == 2
    assert retention_rate(table, window=9, as_of=day(19), period="W").fixed.value == 0.5


def test_short_records_say_what_is_not_measurable():
    found = retention_rate(lines(("a", 0), ("b", 5)), window=300, as_of=day(40))
    assert found.rolling is None
    assert sum(c.status == "not measurable" for c in found.checks) == 3
    assert "too short" in found.verdict()
    assert len(found.to_frame()) == 0
    with pytest.raises(lr.DesignError, match="no customer was followed for 90 days"):
        repeat_purchase_rate(lines(("a", 0), ("b", 5)), as_of=day(40))


def test_immature_cells_are_left_out_of_the_triangle():
    table = lines(("a", 0), ("a", 35), ("b", 33), ("c", 65))
    triangle = retention_rate(table, window=5, as_of=day(70)).triangle  # 12 March
    assert triangle[["period", "customers", "active"]].to_numpy().tolist() == [
        [0, 1, 1],
        [1, 1, 1],
        [0, 1, 1],
    ]
    assert triangle.loc[triangle["period"] == 0, "low"].isna().all()


def test_the_repeat_rate_agrees_with_lifelines_and_with_counting():
    from lifelines import KaplanMeierFitter

    rng = np.random.default_rng(3)
    first = rng.integers(0, 200, 300)
    gap = rng.geometric(0.01, 300)
    table = lines(
        *[(f"c{i}", d) for i, d in enumerate(first)], *[(f"c{i}", d) for i, d in enumerate(first + gap)]
    )
    found = repeat_purchase_rate(table, window=60, as_of=day(250))
    followed = first + 60 <= 250
    assert found.rate.n == followed.sum()
    assert found.rate.value == pytest.approx((gap[followed] <= 60).mean())
    end = np.minimum(first + gap, 250) - first
    peer = KaplanMeierFitter().fit(end, first + gap <= 250)
    assert found.by_curve.value == pytest.approx(1 - peer.predict(60), abs=1e-12)
    limits = 1 - peer.confidence_interval_.loc[:60].iloc[-1].to_numpy()
    assert [found.by_curve.high, found.by_curve.low] == pytest.approx(limits, abs=1e-9)
    assert found.median.value == peer.median_survival_time_


def test_a_second_purchase_on_the_same_day_is_no_return():
    table = lines(("a", 0), ("a", 0), ("b", 0), ("b", 30), ("c", 0), ("c", 31))
    assert repeat_purchase_rate(table, window=30, as_of=day(60)).rate.value == pytest.approx(1 / 3)


def test_growth_does_not_lower_the_rate_of_those_followed():
    # every customer comes back after 20 days; most were gained in the last days
    old = [(f"o{i}", d) for i in range(10) for d in (0, 20)]
    new = [(f"n{i}", 55) for i in range(90)]
    found = repeat_purchase_rate(lines(*old, *new), window=30, as_of=day(60))
    assert (found.rate.value, found.rate.n) == (1.0, 10)
    assert found.by_curve.value == pytest.approx(1.0)


def covers(rng, customers=150):
    """Simulate loyal (80% a window) and other (20%) customers; say whether each interval covers."""
    chance = np.where(rng.random(customers) < 0.5, 0.8, 0.2)
    first = rng.integers(0, 20, customers)
    back = rng.random(customers) < chance
    table = lines(
        *[(f"c{i}", d) for i, d in enumerate(first)],
        *[(f"c{i}", first[i] + 31 + rng.integers(0, 10)) for i in np.flatnonzero(back)],
    )
    found = retention_rate(table, window=30, as_of=day(79)).fixed
    repeat = repeat_purchase_rate(table, window=45, as_of=day(79)).rate
    return [found.low <= 0.5 <= found.high, repeat.low <= 0.5 <= repeat.high]


def test_the_intervals_cover():
    rng = np.random.default_rng(8)
    hits = np.mean([covers(rng) for _ in range(40)], axis=0)
    assert np.all(hits > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 40))


@pytest.mark.slow
def test_the_intervals_cover_at_length(published):
    rng = np.random.default_rng(9)
    hits = np.mean([covers(rng) for _ in range(600)], axis=0)
    published(zip(("retention in a fixed window", "repeat purchase"), hits, strict=True), 600)
    assert hits == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 600))


def test_wrong_options_and_tables_are_refused():
    table = lines(("a", 0), ("b", 40))
    with pytest.raises(lr.ArgumentError, match="window must be a whole number of days"):
        retention_rate(table, window=0)
    with pytest.raises(lr.ArgumentError, match="before the first day"):
        repeat_purchase_rate(table, as_of="2022-12-31")
    with pytest.raises(lr.ContractError, match="lacks the column"):
        retention_rate(table.drop(columns="customer_id"))
