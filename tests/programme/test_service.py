"""Service level: R's clustered curve, counts by hand, unknowns, and coverage with many cases a customer."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import service_level
from loyalty_research.programme._clustered_curve import (
    clustered_at,
    clustered_log_variance,
    clustered_median,
)
from loyalty_research.stats.survival import kaplan_meier

OPENED = pd.Timestamp("2024-05-01")


def cases(**columns):
    size = len(next(iter(columns.values())))
    return pd.DataFrame(
        {"customer_id": [f"c{i}" for i in range(size)], "opened_at": OPENED}
        | {k: pd.to_datetime(v) if k.endswith("_at") else v for k, v in columns.items()}
    )


def test_the_clustered_curve_is_rs(oracle):
    case = oracle("survival_clustered_log_log")
    given, want = case["inputs"], case["expected"]
    time, event = np.array(given["time"], float), np.array(given["event"], bool)
    codes = np.array(given["cluster"]) - 1
    curve = kaplan_meier(time, event)
    at = np.array(given["at"], float)
    variance = clustered_log_variance(curve, time, event, codes, at)
    assert np.array(want["survival"]) * np.sqrt(variance) == pytest.approx(
        want["standard_error"], abs=case["tolerance"]
    )
    for i, t in enumerate(at):
        assert clustered_at(curve, time, event, codes, t, level=0.95) == pytest.approx(
            (want["survival"][i], want["low"][i], want["high"][i]), abs=case["tolerance"]
        )
    assert clustered_median(curve, time, event, codes, level=0.95) == pytest.approx(tuple(want["median"]))


def test_one_case_a_customer_gives_greenwoods_variance():
    rng = np.random.default_rng(2)
    time, event = np.ceil(rng.exponential(9, 200)), rng.random(200) < 0.7
    curve = kaplan_meier(time, event)
    few = curve.times[(curve.survival > 0) & (curve.events > 0)]
    found = clustered_log_variance(curve, time, event, np.arange(200), few)
    own = curve.log_variance[(curve.survival > 0) & (curve.events > 0)]
    assert found == pytest.approx(own, rel=1e-9)


def test_every_share_has_its_own_denominator():
    found = service_level(
        cases(
            on_time=[True] * 6 + [False] * 2 + [None] * 4,
            in_full=[True] * 4 + [False] * 2 + [None] * 2 + [True] * 4,
        )
    )
    assert (found.on_time.value, found.on_time.n) == (6 / 8, 8)
    assert (found.in_full.value, found.in_full.n) == (8 / 10, 10)
    # both recorded for the first six only
    assert (found.both.value, found.both.n) == (4 / 6, 6)
    assert found.unknown == {"on_time": 4, "in_full": 2, "both": 6}
    said = {c.name: c.detail for c in found.checks}
    assert "between 33.3% and 83.3%" in said["Cases without a record of both"]
    assert found.median is None
    frame = found.to_frame()
    assert frame["estimand"].tolist() == [
        "cases with on_time recorded",
        "cases with in_full recorded",
        "cases with both recorded",
    ]


def test_open_cases_wait_and_what_came_later_is_not_known():
    frame = cases(
        closed_at=["2024-05-03"] * 5 + ["2024-06-20"] * 5 + [None] * 10,
        on_time=[True] * 5 + [False] * 5 + [None] * 10,
    )
    found = service_level(frame, as_of="2024-05-31")
    assert found.waiting == 15
    assert (found.on_time.n, found.unknown["on_time"]) == (5, 15)
    assert found.closed[7.0].value == pytest.approx(0.25)
    assert np.isnan(found.median.value)
    assert "Fewer than half" in found.verdict()
    later = service_level(frame, as_of="2024-06-30")
    assert (later.waiting, later.on_time.n) == (10, 10)


def test_customers_with_several_cases_widen_the_limits():
    one = cases(on_time=[True, False] * 30)
    several = one.assign(
        customer_id=[f"c{i // 6}" for i in range(60)], on_time=([True] * 6 + [False] * 6) * 5
    )
    single, many = service_level(one), service_level(several)
    assert many.on_time.value == single.on_time.value
    assert many.on_time.high - many.on_time.low > 1.5 * (single.on_time.high - single.on_time.low)
    assert many.customers == 10


def test_wrong_tables_are_refused():
    with pytest.raises(ContractError, match="none of closed_at, on_time and in_full"):
        service_level(cases(channel=["web"] * 5))
    with pytest.raises(ContractError, match="closed_at is before opened_at at 1 row"):
        service_level(cases(closed_at=["2024-05-02", "2024-04-01"]))
    with pytest.raises(ContractError, match="lacks the column opened_at"):
        service_level(pd.DataFrame({"customer_id": ["a"]}))
    with pytest.raises(DesignError, match="no service case was opened"):
        service_level(cases(on_time=[True]), as_of="2023-01-01")
    with pytest.raises(ArgumentError, match="within_days"):
        service_level(cases(on_time=[True]), within_days=[0])


def simulated(replicates, seed=4):
    """Customers differ in how often they call and how well they are served; cases are seen for 40 days."""
    rng = np.random.default_rng(seed)
    truth = (0.7, 1 - 0.5, 10.0)  # on time; closed within the population's median; that median
    held = np.zeros(3)
    end = OPENED + pd.Timedelta(days=40)
    for _ in range(replicates):
        counts = 1 + rng.poisson(1.5, 150)
        who = np.repeat(np.arange(150), counts)
        good = rng.random(who.size) < rng.beta(0.7 * 3, 0.3 * 3, 150)[who]
        # a customer's cases share how long they take; half of all cases take ten days at most
        wait = 10.0 * np.exp(0.8 * rng.normal(size=150)[who] + 0.6 * rng.normal(size=who.size))
        opened = OPENED + pd.to_timedelta(rng.uniform(0, 20, who.size), "D")
        closed = opened + pd.to_timedelta(wait, "D")
        frame = pd.DataFrame(
            {
                "customer_id": who,
                "opened_at": opened,
                "closed_at": closed.where(closed < end),
                "on_time": good,
            }
        )
        found = service_level(
            frame, as_of=(end - pd.Timedelta(days=1)).date().isoformat(), within_days=[truth[2]]
        )
        for j, e in enumerate((found.on_time, found.closed[truth[2]], found.median)):
            held[j] += e.low <= truth[j] <= e.high
    return held / replicates


def test_intervals_cover_the_truth():
    assert (simulated(100) > 0.89).all()


@pytest.mark.slow
def test_intervals_cover_the_truth_at_length(published):
    share = simulated(2000)
    published(
        zip(
            (
                "service level: on time",
                "service level: closed within so many days",
                "service level: median time to close",
            ),
            share,
            strict=True,
        ),
        2000,
    )
    assert (np.abs(share - 0.95) < 0.02).all(), share
