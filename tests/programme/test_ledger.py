"""The points ledger against plain bookkeeping, one movement after another."""

from __future__ import annotations

from collections import defaultdict, deque
from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.programme.ledger import points_ledger

START = pd.Timestamp("2024-01-01")


def table(rows):
    """Make a ledger of (customer, day, type, points)."""
    return pd.DataFrame(
        {
            "entry_id": [f"e{i}" for i in range(len(rows))],
            "customer_id": [r[0] for r in rows],
            "occurred_at": [START + pd.Timedelta(days=r[1]) for r in rows],
            "type": [r[2] for r in rows],
            "points": [r[3] for r in rows],
        }
    )


def book(rows):
    """Keep the same books by hand: a queue of lots per account, in exact decimals."""
    queues = defaultdict(deque)
    for account, day, _, points in rows:
        amount = Decimal(str(points))
        if amount > 0:
            queues[account].append([day, amount])
        while amount < 0:
            lot = queues[account][0]
            part = min(lot[1], -amount)
            lot[1] -= part
            amount += part
            if lot[1] == 0:
                queues[account].popleft()
    return queues


def draw_rows(seed, count, customers):
    """Draw random movements that never overdraw an account."""
    rng = np.random.default_rng(seed)
    held = np.zeros(customers, dtype=np.int64)
    who = rng.integers(customers, size=count)
    days = np.sort(rng.integers(0, 720, size=count))
    sizes, kinds = rng.integers(1, 20_000, size=count), rng.random(count)
    rows = []
    for i, day, size, kind in zip(who.tolist(), days.tolist(), sizes.tolist(), kinds.tolist(), strict=True):
        if kind < 0.55 or not held[i]:
            name, cents = ("earn", "adjust", "refund")[size % 3], size
        else:
            name, cents = ("redeem", "expire", "adjust", "refund")[size % 4], -min(size, int(held[i]))
        held[i] += cents
        rows.append((f"c{i}", day, name, cents / 100))
    return rows, held


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 150), st.integers(1, 6))
def test_any_ledger_balances_to_the_cent_and_ages_first_in_first_out(seed, count, customers):
    rows, held = draw_rows(seed, count, customers)
    entries = table(rows)
    # moments differ, so the order of rows must not matter
    entries["occurred_at"] += pd.to_timedelta(np.arange(count), unit="s")
    ledger = points_ledger(entries.sample(frac=1, random_state=seed % 1000), as_of="2026-01-01")
    truth = sum((Decimal(str(r[3])) for r in rows), Decimal(0))
    assert ledger.outstanding == truth == Decimal(int(held.sum())) / 100
    assert sum(ledger.totals["points"]) == sum(ledger.balances) == sum(ledger.ageing["points"]) == truth
    assert (ledger.lots["left"] >= 0).all()
    queues = book(rows)
    last = (pd.Timestamp("2026-01-01") - START).days
    for start, end, points, accounts in ledger.ageing.itertuples(index=False):
        of_age = {c: [a for d, a in q if a and start <= last - d < end] for c, q in queues.items()}
        assert points == sum(sum(amounts) for amounts in of_age.values())
        assert accounts == sum(bool(amounts) for amounts in of_age.values())


@pytest.mark.slow
def test_a_million_events_balance_to_the_cent():
    rows, held = draw_rows(7, 1_000_000, 5_000)
    ledger = points_ledger(table(rows))
    assert ledger.outstanding == Decimal(int(held.sum())) / 100
    assert sum(ledger.ageing["points"]) == sum(ledger.balances) == ledger.outstanding
    assert ledger.accounts == 5_000


def test_uses_say_which_points_were_redeemed_and_when():
    ledger = points_ledger(
        table([("a", 0, "earn", 10), ("b", 0, "earn", 7), ("a", 5, "earn", 5), ("a", 9, "redeem", -12)])
    )
    found = ledger.uses.assign(issued=ledger.lots["issued_day"].to_numpy()[ledger.uses["lot"]])
    first = ledger.lots["issued_day"].min()
    assert ((found["day"] - found["issued"]).tolist(), found["units"].tolist()) == ([9, 4], [1000, 200])
    assert sorted(ledger.lots["left"]) == [0, 300, 700]
    assert first == (START - pd.Timestamp("1970-01-01")).days


def test_a_moment_takes_credits_before_debits():
    entries = table([("a", 0, "redeem", -5), ("a", 0, "earn", 5)])
    assert points_ledger(entries).outstanding == 0


def test_points_keep_as_many_decimals_as_they_have():
    rows = [("a", 0, "earn", 10.125), ("a", 5, "redeem", -3.0001)]
    assert points_ledger(table(rows), decimals=None).outstanding == Decimal("7.1249")
    assert points_ledger(table(rows[:1]).assign(points=10.5), decimals=None).decimals == 2


def test_decimals_are_exact_where_floats_are_not():
    entries = table([("a", i, "earn", 0.1) for i in range(3)] + [("a", 5, "redeem", -0.3)])
    assert points_ledger(entries).outstanding == 0
    entries["points"] = [Decimal("0.1")] * 3 + [Decimal("-0.3")]
    assert points_ledger(entries).outstanding == 0


def test_an_overdrawn_account_is_named_by_position_only():
    rows = [("secret-1", 0, "earn", 10), ("secret-2", 1, "earn", 3), ("secret-2", 2, "redeem", -4)]
    with pytest.raises(ContractError, match=r"overdrawn.*1 row \(at position 2\)") as caught:
        points_ledger(table(rows))
    assert "secret" not in str(caught.value)
    # enough in the end is not enough: the account was below zero on the way
    with pytest.raises(ContractError, match="position 2"):
        points_ledger(table([*rows, ("secret-2", 3, "earn", 50)]))


def test_stated_balances_that_differ_are_an_error():
    entries = table([("x1", 0, "earn", 10), ("x2", 0, "earn", 3.25)])
    stated = pd.DataFrame({"customer_id": ["x1", "x2"], "balance": [10, 3.25]})
    assert points_ledger(entries, balances=stated).checks[0].status == "passed"
    with pytest.raises(ContractError, match=r"does not balance.*1 row \(at position 1\).*\+0\.01") as caught:
        points_ledger(entries, balances=stated.assign(balance=[10, 3.26]))
    assert "x2" not in str(caught.value)
    with pytest.raises(ContractError, match="1 accounts hold points"):
        points_ledger(entries, balances=stated[:1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": [1.234, -1]}, "more than 2 decimals.*position 0"),
        ({"points": [float("inf"), -1]}, "not finite.*position 0"),
        ({"points": [None, -1]}, "null at 1 row"),
        ({"points": [-5.0, -1]}, "wrong sign.*position 0"),
        ({"type": ["earn", "burn"]}, "none of earn.*position 1"),
        ({"entry_id": ["e", "e"]}, "stands twice.*position 1"),
        ({"customer_id": ["a", None]}, "customer_id is null.*position 1"),
        ({"occurred_at": ["2024-01-01", "2024-01-02"]}, "not dates"),
    ],
)
def test_bad_rows_are_refused(change, said):
    entries = table([("a", 0, "earn", 5.0), ("a", 1, "redeem", -1.0)]).assign(**change)
    with pytest.raises(ContractError, match=said):
        points_ledger(entries)


def test_missing_columns_and_bad_options_are_refused():
    entries = table([("a", 0, "earn", 5.0)])
    with pytest.raises(ContractError, match="lacks the column type"):
        points_ledger(entries.drop(columns="type"))
    with pytest.raises(ArgumentError, match="decimals"):
        points_ledger(entries, decimals=9)
    with pytest.raises(ArgumentError, match="rising"):
        points_ledger(entries, age_edges=(90, 30))
    with pytest.raises(ArgumentError, match="after as_of"):
        points_ledger(entries, as_of="2023-01-01")


def test_points_past_their_expiry_are_flagged():
    entries = table([("a", 0, "earn", 5.0), ("a", 60, "earn", 2.0)])
    entries["expires_at"] = entries["occurred_at"] + pd.Timedelta(days=30)
    ledger = points_ledger(entries)
    assert ledger.overdue == 5
    assert [c.status for c in ledger.checks] == ["not measurable", "warning"]
    assert "71.4%" in ledger.checks[1].detail


def test_rows_after_the_last_day_are_counted():
    ledger = points_ledger(table([("a", 0, "earn", 5.0), ("a", 60, "earn", 2.0)]), as_of="2024-01-31")
    assert (ledger.outstanding, ledger.left_out) == (5, 1)
    assert "5.00 points" in ledger.verdict()


def test_the_largest_accounts_share():
    ledger = points_ledger(table([(f"c{i}", 0, "earn", 1.0) for i in range(9)] + [("big", 0, "earn", 91)]))
    assert ledger.share_of_largest(0.1) == pytest.approx(0.91)
    assert ledger.total("earn") == 100
    assert ledger.total("redeem") == 0


@pytest.mark.parametrize(
    "convert", [pl.from_pandas, lambda frame: duckdb.connect().from_df(frame)], ids=["polars", "duckdb"]
)
def test_every_engine_gives_the_same_books(convert):
    entries = table(draw_rows(1, 200, 5)[0])
    one, other = points_ledger(entries), points_ledger(convert(entries))
    assert one.balances == other.balances
    assert one.ageing.equals(other.ageing)
