"""Windows taken in the engine against the same by hand, on every engine."""

from __future__ import annotations

import datetime as dt

import duckdb
import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import _windows
from loyalty_research.programme._windows import NEVER, one_currency, purchase_days

START = pd.Timestamp("2023-01-01")
ZERO = START.toordinal()
ENGINES = ("pandas", "duckdb", "polars")


@pytest.fixture(scope="module")
def lines():
    rng = np.random.default_rng(1)
    n = 900
    return pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in rng.integers(0, 120, n)],
            "transacted_date": START + pd.to_timedelta(rng.integers(0, 200, n), "D"),
            "amount": rng.gamma(2.0, 10.0, n).round(2),
        }
    )


@pytest.fixture(params=ENGINES)
def record(request, lines):
    if request.param == "polars":
        yield purchase_days(pytest.importorskip("polars").from_pandas(lines), None)
    elif request.param == "duckdb":
        with duckdb.connect() as connection:
            yield purchase_days(connection.from_df(lines), None)
    else:
        yield purchase_days(lines, None)


def by_hand(lines, until=200):
    frame = lines.assign(day=(lines["transacted_date"] - START).dt.days)
    return frame[frame["day"] <= until]


def test_customers_stand_by_their_first_purchase(record, lines):
    first = by_hand(lines).groupby("customer_id")["day"].min()
    assert (np.diff(record.first) >= 0).all()
    assert (record.first - ZERO).tolist() == first.reindex(record.customers).tolist()
    assert (record.begin, record.end) == (ZERO + 0, ZERO + int(by_hand(lines)["day"].max()))


def test_windows_hold_their_last_day_and_not_the_one_before(record, lines):
    frame = by_hand(lines)
    inside = frame[(frame["day"] > 50) & (frame["day"] <= 90)]
    grouped = inside.groupby("customer_id")["amount"].agg(["sum", "size"]).reindex(record.customers).fillna(0)
    np.testing.assert_allclose(record.revenue(ZERO + 50, ZERO + 90), grouped["sum"], atol=1e-9)
    assert record.orders(ZERO + 50, ZERO + 90).tolist() == grouped["size"].tolist()
    assert record.bought(ZERO + 50, ZERO + 90).tolist() == (grouped["size"] > 0).tolist()


def test_windows_of_age_begin_with_each_customer(record, lines):
    frame = by_hand(lines)
    age = frame["day"] - frame.groupby("customer_id")["day"].transform("min")
    spent = frame[(age > 20) & (age <= 40)].groupby("customer_id")["amount"].sum()
    np.testing.assert_allclose(
        record.revenue_at_age(20, 40), spent.reindex(record.customers).fillna(0), atol=1e-9
    )
    first = frame[age <= 20].groupby("customer_id")["amount"].sum().reindex(record.customers)
    np.testing.assert_allclose(record.revenue_at_age(-1, 20), first, atol=1e-9)


def test_second_purchases_and_silences(record, lines, monkeypatch):
    monkeypatch.setattr(_windows, "_SLICE", 50)  # so that customers come in several parts
    end = record.end - ZERO
    days = by_hand(lines).groupby("customer_id")["day"].apply(lambda d: sorted(set(d)))
    second, silent = [], []
    for name in record.customers:
        when = days[name]
        second.append(when[1] - when[0] if len(when) > 1 else NEVER)
        gaps = np.diff([*when, end])
        long = np.flatnonzero(gaps > 30)
        silent.append(when[long[0]] - when[0] if long.size else NEVER)
    assert record.second.tolist() == second
    assert record.silent_from(30).tolist() == silent


def test_an_earlier_day_knows_nothing_of_later_ones(record, lines):
    early = record.until(ZERO + 40)
    again = purchase_days(lines, dt.date.fromordinal(ZERO + 40))
    assert early.customers.tolist() == again.customers.tolist()
    assert early.second.tolist() == again.second.tolist()
    assert early.silent_from(10).tolist() == again.silent_from(10).tolist()
    np.testing.assert_allclose(early.revenue(ZERO, ZERO + 100), again.revenue(ZERO, ZERO + 100))


def test_days_are_given_once_and_in_order(record, lines, monkeypatch):
    monkeypatch.setattr(_windows, "_SLICE", 50)
    daily = by_hand(lines).groupby(["customer_id", "day"])["amount"].agg(["sum", "size"])
    assert len(record.code) == len(daily)
    assert (np.diff(record.code * 1000 + record.day - ZERO) > 0).all()
    found = record.frame.set_index(["customer_id", "transacted_date"])
    wanted = daily.reset_index().assign(transacted_date=lambda f: START + pd.to_timedelta(f["day"], "D"))
    wanted = wanted.set_index(["customer_id", "transacted_date"]).reindex(found.index)
    np.testing.assert_allclose(found["amount"], wanted["sum"])
    assert found["orders"].tolist() == wanted["size"].tolist()


def test_a_record_says_what_it_lacks(record):
    with pytest.raises(DesignError, match="a measure needs 1,000 days"):
        record.need(1000, "a measure")


def test_a_last_day_before_the_first_is_refused(lines):
    with pytest.raises(ArgumentError, match="is before the first day of transactions, 2023-01-01"):
        purchase_days(lines, "2022-12-31")


@pytest.mark.parametrize("engine", ENGINES)
def test_several_currencies_are_refused_on_every_engine(engine):
    frame = pd.DataFrame({"currency": ["EUR", "USD", "EUR", "GBP"]})
    with duckdb.connect() as connection:
        table = {
            "pandas": lambda: frame,
            "duckdb": lambda: connection.from_df(frame),
            "polars": lambda: pytest.importorskip("polars").from_pandas(frame),
        }[engine]()
        with pytest.raises(ContractError, match=r"EUR and GBP and USD: 2 rows \(first at positions 1, 3\)"):
            one_currency(table)
