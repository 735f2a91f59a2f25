"""Spend by age of the customer: sums by hand, survivors apart, and coverage where the truth is known."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import DesignError
from loyalty_research.programme import spend_by_age


def purchases(first, second):
    """Return one purchase on the first day, and one in the second window where there is any."""
    start, again = pd.Timestamp("2024-01-01"), pd.Timestamp("2024-02-15")
    rows = [(f"c{i}", start, a) for i, a in enumerate(first)]
    rows += [(f"c{i}", again, b) for i, b in enumerate(second) if b]
    return pd.DataFrame(rows, columns=["customer_id", "transacted_date", "amount"])


def measured(first, second):
    return spend_by_age(purchases(first, second), window=30, as_of="2024-03-31")


def test_ratios_are_those_of_sums():
    found = measured([10.0, 20, 30, 40, 50, 50], [12.0, 18, 30, 20, 40, 0])
    assert found.all_customers.value == pytest.approx(120 / 200)
    assert found.returners.value == pytest.approx(120 / 150)
    assert found.new_to_kept.value == pytest.approx((200 / 6) / (120 / 5))
    assert (found.customers, found.returned) == (6, 5)


def test_customers_not_followed_for_both_windows_are_left_out():
    late = pd.DataFrame(
        {"customer_id": ["z"], "transacted_date": [pd.Timestamp("2024-03-20")], "amount": [1000.0]}
    )
    lines = pd.concat([purchases([10.0] * 6, [5.0] * 6), late])
    found = spend_by_age(lines, window=30, as_of="2024-03-31")
    assert found.customers == 6
    assert found.all_customers.value == pytest.approx(0.5)


def test_the_scale_of_money_changes_nothing():
    first, second = [10.0, 20, 30, 40, 50, 50], [12.0, 18, 30, 20, 40, 0]
    once, dearer = measured(first, second), measured([7 * a for a in first], [7 * b for b in second])
    for name in ("all_customers", "returners", "new_to_kept"):
        a, b = getattr(once, name), getattr(dearer, name)
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))


def test_survivors_alone_can_show_what_nobody_did():
    """Nobody spends more in the second window; the small spenders stop."""
    found = measured([10.0] * 50 + [100.0] * 50, [0.0] * 50 + [90.0 + i % 20 for i in range(50)])
    assert found.all_customers.high < 1
    assert found.returners.value == pytest.approx(np.mean([90.0 + i % 20 for i in range(50)]) / 100)


def test_the_claim_is_judged_for_all_and_for_those_who_stayed():
    stayed = measured([10.0] * 100, [18.0 + i % 3 for i in range(50)] + [0.0] * 50)
    assert "those who stayed" in stayed.claim_verdict()
    assert "does not describe a customer one wins" in stayed.claim_verdict()
    more = measured([10.0] * 100, [20.0 + i % 3 for i in range(100)])
    assert more.claim_verdict() == "Here older customers do spend more than 67% more."
    less = measured([10.0] * 100, [8.0 + i % 3 for i in range(100)])
    assert "does not hold here" in less.claim_verdict()


def test_nobody_to_follow_is_said():
    with pytest.raises(DesignError, match="fewer than 5"):
        measured([10.0] * 10, [5.0] * 4 + [0.0] * 6)


def simulated(replicates, seed=5):
    rng = np.random.default_rng(seed)
    n, kept, growth = 400, 0.6, 1.1
    covered = np.zeros(3)
    truth = (kept * growth, growth, 1 / growth)
    for _ in range(replicates):
        first = np.round(rng.gamma(2.0, 20.0, n), 2) + 0.01
        back = rng.random(n) < kept
        second = np.where(back, np.round(first * growth * rng.gamma(4.0, 0.25, n), 2) + 0.01, 0.0)
        found = measured(first, second)
        for j, e in enumerate((found.all_customers, found.returners, found.new_to_kept)):
            covered[j] += e.low <= truth[j] <= e.high
    return covered / replicates


def test_intervals_cover_the_truth():
    assert (simulated(200) > 0.90).all()


@pytest.mark.slow
def test_intervals_cover_the_truth_at_length(published):
    share = simulated(2000)
    published(
        zip(
            (
                "spend of existing customers: all",
                "spend of existing customers: those who return",
                "spend of existing customers: new over kept",
            ),
            share,
            strict=True,
        ),
        2000,
    )
    assert (np.abs(share - 0.95) < 0.02).all(), share
