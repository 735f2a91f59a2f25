"""Service and retention: standardised by hand, no immortal time, refusals, and coverage of the truth."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ContractError, DesignError, ImmortalTimeError
from loyalty_research.programme import service_and_retention
from loyalty_research.stats.proportions import difference_in_proportions

DAY = pd.Timestamp("2024-03-01")
OLD = pd.DataFrame({"customer_id": ["old"], "transacted_at": pd.Timestamp("2022-01-01"), "amount": 1.0})


def orders(rows):
    """Return purchases from (customer, days after DAY)."""
    return pd.concat(
        [
            OLD,
            pd.DataFrame(
                {
                    "customer_id": [c for c, _ in rows],
                    "transacted_at": [DAY + pd.Timedelta(days=d) for _, d in rows],
                    "amount": 10.0,
                }
            ),
        ]
    )


def world(counts):
    """Return cases and purchases from (bought before, served well) to (came back, stayed away)."""
    cases, bought, i = [], [], 0
    for (before, good), (back, away) in counts.items():
        for came in [True] * back + [False] * away:
            cases.append((f"c{i}", good))
            bought += [(f"c{i}", -10)] * before + [(f"c{i}", 20)] * came
            i += 1
    frame = pd.DataFrame(cases, columns=["customer_id", "on_time"])
    return frame.assign(opened_at=DAY, closed_at=DAY + pd.Timedelta(days=3)), orders(bought)


COUNTS = {(0, True): (10, 30), (0, False): (5, 55), (1, True): (60, 40), (1, False): (10, 10)}


def measured(tickets, bought, **options):
    return service_and_retention(
        tickets, bought, **({"window": 30, "frequency_edges": [0, 1], "as_of": "2024-12-31"} | options)
    )


def test_the_difference_is_standardised_to_all_cases():
    found = measured(*world(COUNTS))
    assert found.good.value == pytest.approx(70 / 140)
    assert found.other.value == pytest.approx(15 / 80)
    within = {"[0, 1)": 10 / 40 - 5 / 60, "[1, ∞)": 60 / 100 - 10 / 20}
    assert {k: v.value for k, v in found.by_group.items()} == pytest.approx(within)
    expected = (100 * within["[0, 1)"] + 120 * within["[1, ∞)"]) / 220
    assert found.difference.value == pytest.approx(expected)
    peer = difference_in_proportions(70, 140, 15, 80)
    assert (found.first_cases.low, found.first_cases.high) == pytest.approx((peer.low, peer.high))
    assert found.customers == 220
    assert "cannot be said" in found.verdict()
    more = measured(*world({k: (4 * a, 4 * b) for k, (a, b) in COUNTS.items()}))
    assert "consistent with" in more.verdict()
    assert "drew lots" in more.verdict()


def test_copies_of_every_case_do_not_narrow_the_interval():
    tickets, bought = world(COUNTS)
    once = measured(tickets, bought).difference
    twice = measured(pd.concat([tickets, tickets]), bought).difference
    assert twice.n == 2 * once.n
    assert twice.value == pytest.approx(once.value)
    # cell by cell the residuals are corrected by n / (n - 1), hence not quite equal
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.02)


def test_the_window_starts_when_the_outcome_is_known():
    tickets, bought = world(COUNTS)
    slow = tickets.assign(
        closed_at=tickets["closed_at"].where(tickets["on_time"], DAY + pd.Timedelta(days=25))
    )
    # purchases on day 20 lie before slow cases are closed: they are no sign of staying afterwards
    assert measured(slow, bought).other.value == 0
    due = slow.assign(due_at=DAY + pd.Timedelta(days=5))
    assert measured(due, bought).day_zero == "due_at"
    assert measured(due, bought).other.value == pytest.approx(15 / 80)


def test_a_case_that_became_good_after_its_window_began_is_refused():
    tickets, bought = world(COUNTS)
    due = tickets.assign(due_at=DAY + pd.Timedelta(days=2))
    with pytest.raises(ImmortalTimeError, match=r"closed after due_at, at 140 rows \(first at positions 0"):
        measured(due, bought)


def test_what_is_left_out_is_counted():
    tickets, bought = world(COUNTS)
    tickets["on_time"] = tickets["on_time"].astype(object)
    tickets.loc[:9, "on_time"] = None
    tickets.loc[50:54, "closed_at"] = pd.NaT
    late = pd.DataFrame(
        {
            "customer_id": ["z"],
            "on_time": [True],
            "opened_at": pd.Timestamp("2024-12-20"),
            "closed_at": pd.Timestamp("2024-12-21"),
        }
    )
    found = measured(pd.concat([tickets, late], ignore_index=True), bought)
    assert list(found.left_out.values()) == [5, 10, 1, 0, 0]
    short = measured(tickets, bought[bought["customer_id"] != "old"], history=5)
    assert short.left_out["opened before the record is long enough"] == 0
    with pytest.raises(DesignError, match="no case can be followed"):
        measured(tickets, bought[bought["customer_id"] != "old"], history=50)


def test_one_miss_is_enough_and_groups_need_both_kinds():
    tickets, bought = world(COUNTS)
    in_full = np.where(tickets["on_time"], True, None)
    found = measured(tickets.assign(in_full=in_full), bought)
    assert found.served == "on time and in full"
    assert found.difference.value == measured(tickets, bought).difference.value
    apart = tickets.assign(channel=np.where(tickets["on_time"], "web", "phone"))
    with pytest.raises(DesignError, match="no group of customers alike before"):
        measured(apart, bought, covariates=["channel"])
    with pytest.raises(ContractError, match="lacks the column shop"):
        measured(tickets, bought, covariates=["shop"])
    few = world({**COUNTS, (1, False): (2, 2)})
    partly = measured(*few)
    assert partly.left_out["in groups without both kinds"] == 104
    # most cases lie where there is nothing to compare with: no verdict
    assert partly.failed_gates
    assert list(partly.by_group) == ["[0, 1)"]


def test_nothing_to_see_is_said():
    none = {(0, True): (20, 20), (0, False): (20, 20)}
    assert "cannot be said" in measured(*world(none)).verdict()
    worse = {(0, True): (10, 90), (0, False): (60, 40)}
    assert "not show that good service drives" in measured(*world(worse)).verdict()


def simulated(replicates, seed=6, customers=200):
    """Frequent customers are served better and come back anyway; good service adds 10 points."""
    rng = np.random.default_rng(seed)
    held, naive = 0, 0
    zeros = [100, 250, 400]
    for _ in range(replicates):
        kind = rng.integers(0, 3, customers)
        own = rng.choice([-0.1, 0.1], customers)
        rows, cases = [("old", -1000)], []
        for i in range(customers):
            for day in zeros[: rng.integers(1, 4)]:
                good = rng.random() < 0.3 + 0.2 * kind[i]
                back = rng.random() < 0.2 + 0.2 * kind[i] + 0.1 * good + own[i]
                rows += [(f"c{i}", day - 5 * (j + 1)) for j in range(kind[i])]
                rows += [(f"c{i}", day + 10)] * int(back)
                cases.append((f"c{i}", good, day))
        frame = pd.DataFrame(cases, columns=["customer_id", "on_time", "day"])
        at = DAY + pd.to_timedelta(frame["day"], "D")
        found = service_and_retention(
            frame.assign(opened_at=at, closed_at=at),
            orders(rows),
            window=30,
            history=30,
            frequency_edges=[0, 1, 2],
            as_of="2026-01-01",
        )
        held += found.difference.low <= 0.1 <= found.difference.high
        naive += found.first_cases.low <= 0.1 <= found.first_cases.high
    return held / replicates, naive / replicates


def test_the_truth_is_covered_where_the_plain_difference_misses_it():
    held, naive = simulated(60)
    assert held > 0.88
    assert naive < 0.7


@pytest.mark.slow
def test_the_truth_is_covered_at_length(published):
    held, _ = simulated(1000)
    published({"return after good service, among those alike before": held}, 1000)
    assert abs(held - 0.95) < 0.02
