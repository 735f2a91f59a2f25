"""Active membership against hand counts and simulated members."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.programme import active_membership_rate


def members(*spells):
    frame = pd.DataFrame(spells, columns=["customer_id", "valid_from", "valid_to"])
    return frame.assign(
        valid_from=pd.to_datetime(frame["valid_from"]), valid_to=pd.to_datetime(frame["valid_to"])
    )


def ledger(*entries):
    frame = pd.DataFrame(entries, columns=["customer_id", "occurred_at", "type"])
    return frame.assign(occurred_at=pd.to_datetime(frame["occurred_at"], format="ISO8601"))


HELD = members(
    ("a", "2024-01-01", None),
    ("b", "2024-01-01", "2024-06-30"),  # ends on the last day: not held
    ("c", "2024-01-01", "2024-07-01"),
    ("d", "2024-06-25", None),
    ("e", "2024-07-01", None),
    ("f", "2023-01-01", "2023-06-01"),
    ("f", "2024-02-01", None),  # came back
)
USES = ledger(
    ("a", "2024-01-05", "earn"),
    ("a", "2024-06-30 23:59", "redeem"),
    ("b", "2024-06-15", "earn"),
    ("c", "2024-05-31", "earn"),  # 30 days before: outside a window of 30
    ("d", "2024-06-26", "earn"),
    ("f", "2024-06-20", "expire"),
    ("f", "2024-06-20", "adjust"),
)


def test_members_held_and_active_are_counted():
    found = active_membership_rate(HELD, USES, as_of="2024-06-30", window=30)
    assert (found.held, found.active, found.rate.n) == (4, 2, 4)
    assert found.rate.value == 0.5
    assert active_membership_rate(HELD, USES, as_of="2024-06-30", window=31).active == 3
    assert found.checks[0].detail.startswith("1 of 4")
    assert found.to_frame().loc[0, "held"] == 4


def test_other_frames_and_business_dates_give_the_same():
    polars = pytest.importorskip("polars")
    one = active_membership_rate(HELD, USES, as_of="2024-06-30", window=30)
    two = active_membership_rate(
        polars.from_pandas(HELD), polars.from_pandas(USES), as_of="2024-06-30", window=30
    )
    pd.testing.assert_frame_equal(one.to_frame(), two.to_frame())
    # half an hour before midnight UTC is the next day in the business's time zone
    dated = USES.assign(occurred_date=USES["occurred_at"].dt.normalize())
    dated.loc[1, "occurred_date"] = pd.Timestamp("2024-07-01")
    assert active_membership_rate(HELD, dated, as_of="2024-06-30", window=30).active == 1


def test_the_interval_covers():
    rng = np.random.default_rng(1)
    held = members(*[(i, "2024-01-01", None) for i in range(120)])
    hits = 0
    for _ in range(100):
        active = np.flatnonzero(rng.random(120) < 0.3)
        uses = ledger((-1, "2024-01-01", "earn"), *[(int(i), "2024-06-10", "earn") for i in active])
        rate = active_membership_rate(held, uses, as_of="2024-06-30").rate
        hits += rate.low <= 0.3 <= rate.high
    assert hits / 100 > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 100)


@pytest.mark.slow
def test_the_interval_covers_at_length(published):
    rng = np.random.default_rng(2)
    held, hits, runs = members(*[(i, "2024-01-01", None) for i in range(120)]), 0, 2000
    for _ in range(runs):
        active = np.flatnonzero(rng.random(120) < 0.3)
        uses = ledger((-1, "2024-01-01", "earn"), *[(int(i), "2024-06-10", "earn") for i in active])
        rate = active_membership_rate(held, uses, as_of="2024-06-30").rate
        hits += rate.low <= 0.3 <= rate.high
    published({"active membership": hits / runs}, runs)
    assert hits / runs == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / runs))


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(lr.DesignError, match="no member is held"):
        active_membership_rate(HELD.iloc[:0], USES, as_of="2024-06-30", window=30)
    with pytest.raises(lr.DesignError, match="no entry as early"):
        active_membership_rate(HELD, USES, as_of="2024-06-30", window=365)
    with pytest.raises(lr.ContractError, match="lacks the column type"):
        active_membership_rate(HELD, USES.drop(columns="type"), as_of="2024-06-30", window=30)
    with pytest.raises(lr.ContractError, match=r"points_ledger.type is null at 1 row \(at position 2\)"):
        active_membership_rate(
            HELD, USES.assign(type=USES["type"].where(USES.index != 2)), as_of="2024-06-30", window=30
        )
