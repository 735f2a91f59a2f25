import json

import pandas as pd
import pytest

from loyalty_research.endowed_progress import CardExperiment, CompletionResult
from loyalty_research.errors import ArgumentError


@pytest.fixture(scope="module")
def experiment(simulated):
    return CardExperiment(simulated(50, stagger=40, lost=0.05), as_of="2024-12-31", control="control")


def results(x):
    return (
        x.completion(),
        x.completion(by_day=200),
        x.time_to_completion(),
        x.first_gap(),
        x.visits(),
        x.economics(margin=4.0, reward_cost=8.0, currency="EUR"),
        x.hazard_by_stamps(),
        x.goal_gradient(),
    )


def test_every_result_keeps_the_protocol(experiment):
    for result in results(experiment):
        frame = result.to_frame()
        assert len(frame)
        assert frame["method"].str.len().min() > 0
        assert result.verdict().endswith(".")
        json.dumps(result.to_dict(), allow_nan=False)
        assert result.title in result._repr_html_()
        assert type(result).__name__ in repr(result)


def test_no_customer_is_named(experiment):
    for result in results(experiment):
        assert "-holder" not in json.dumps(result.to_dict())


def test_rows_in_any_order_give_the_same(simulated):
    events = simulated(51)
    shuffled = events.sample(frac=1, random_state=9)
    first, second = (
        CardExperiment(e, as_of="2024-12-31", control="control", cluster="cluster_id")
        for e in (events, shuffled)
    )
    for a, b in zip(results(first), results(second), strict=True):
        pd.testing.assert_frame_equal(a.to_frame(), b.to_frame(), rtol=1e-9)


def test_a_broken_sample_ratio_silences_every_verdict(simulated):
    events = simulated(52)
    fewer = events[~((events["arm"] == "control") & (events["card_id"] % 2 == 0))]
    x = CardExperiment(fewer, as_of="2024-12-31", control="control")
    for result in (x.completion(), x.time_to_completion(), x.visits(), x.goal_gradient()):
        assert result.verdict().startswith("No verdict: sample ratio")
    kept = CardExperiment(fewer, as_of="2024-12-31", control="control", ratio={"control": 1, "endowed": 2})
    assert kept.completion().failed_gates == ()


def test_the_ratio_counts_what_was_drawn(simulated):
    events = simulated(53, per_arm=200, cluster_size=20)
    # half of one arm's clusters, each twice as large, are no mismatch of 10 clusters to 20
    drop = (events["arm"] == "control") & (events["cluster_id"] % 2 == 1)
    x = CardExperiment(events[~drop], as_of="2024-12-31", control="control", cluster="cluster_id")
    ratio = x.checks_[0]
    assert "clusters per arm: control 5, endowed 10" in ratio.detail
    assert ratio.status == "passed"


def test_unequal_paid_distance_is_said(simulated):
    events = simulated(54)
    real = events[events["event"] != "completed"]
    real = real.assign(required_stamps=9 + 2 * (real["arm"] == "endowed"), endowed_stamps=0)
    checks = {c.name: c for c in CardExperiment(real, as_of="2024-12-31", control="control").checks_}
    assert checks["same paid distance"].status == "warning"
    fair = {c.name: c for c in CardExperiment(events, as_of="2024-12-31", control="control").checks_}
    assert fair["same paid distance"].status == "passed"
    assert "8 to earn in every arm" in fair["same paid distance"].detail


def test_arms_issued_at_different_times_are_said(simulated):
    events = simulated(55, stagger=30)
    later = events.assign(
        occurred_date=events["occurred_date"] + pd.to_timedelta(20 * (events["arm"] == "endowed"), unit="D")
    )
    checks = {c.name: c for c in CardExperiment(later, as_of="2025-03-01", control="control").checks_}
    assert checks["arms issued over the same days"].status == "warning"


def test_uneven_loss_is_said(simulated):
    events = simulated(56, lost=0.3)
    spared = events[~((events["event"] == "lost") & (events["arm"] == "control"))]
    result = CardExperiment(spared, as_of="2024-12-31", control="control").completion(by_day=270)
    assert next(c for c in result.checks if c.name == "cards lost alike").status == "warning"


def test_few_clusters_are_said(simulated):
    events = simulated(57, cluster_sd=0.8, cluster_size=15)
    result = CardExperiment(events, as_of="2024-12-31", control="control", cluster="cluster_id").completion()
    check = next(c for c in result.checks if c.name == "enough clusters")
    assert check.status == "warning"
    assert "20 clusters of 15.0 cards" in check.detail
    assert isinstance(result, CompletionResult)
    assert all("cluster-robust" in row.estimate.method for row in result.sensitivity)


def test_level_reaches_every_interval(simulated):
    events = simulated(58, lost=0.05)
    narrow = CardExperiment(events, as_of="2024-12-31", control="control", level=0.8)
    for result in results(narrow):
        assert set(result.to_frame()["level"]) == {0.8}
    with pytest.raises(ArgumentError, match="level"):
        CardExperiment(events, as_of="2024-12-31", control="control", level=80)
