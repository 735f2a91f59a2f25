import dataclasses
import json

import pandas as pd
import pytest

from loyalty_research.endowed_progress import CardExperiment, CompletionResult, NotAvailable, beside_truth
from loyalty_research.errors import ArgumentError, ContractError, DesignError


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


@dataclasses.dataclass
class Tables:
    """What an experiment asks of a dataset."""

    frames: dict
    name: str = "mine"
    as_of: object = "2024-12-31"

    def has(self, table, *columns):
        return table in self.frames and set(columns) <= set(self.frames[table].columns)

    def frame(self, table):
        return self.frames[table]


def test_a_dataset_gives_its_cards_before_its_units(simulated):
    events = simulated(59)
    units = pd.DataFrame({"arm": ["control", "endowed"] * 20, "completed": [0, 1] * 20, "day": range(40)})
    both = CardExperiment.from_dataset(Tables({"card_events": events, "units": units}), control="control")
    assert both.has_cards
    assert both.cards_ == 300
    only = CardExperiment.from_dataset(Tables({"units": units}), control="control")
    assert not only.has_cards
    assert only.cards_ == 40
    armless = Tables({"card_events": events.drop(columns="arm"), "units": units})
    assert CardExperiment.from_dataset(armless, control="control", cluster="day").cards_ == 40
    with pytest.raises(ContractError, match="mine has no table card_events with arm, cashier, nor units"):
        CardExperiment.from_dataset(Tables({"units": units}), control="control", cluster="cashier")
    with pytest.raises(DesignError, match="no end of observation"):
        CardExperiment.from_dataset(Tables({"card_events": events}, as_of=None), control="control")


def test_the_named_datasets_are_analysed(simulated):
    import loyalty_research as lr

    carwash = CardExperiment.from_dataset(lr.open_dataset("carwash"), control="control")
    assert carwash.completion().outcomes.completed == (28, 51)
    cards = CardExperiment.from_dataset(lr.open_dataset("stamp-cards"), control="control")
    assert cards.completion().failed_gates == ()
    assert cards.goal_gradient().slope.low > 0


def test_what_cannot_be_analysed_says_why(simulated):
    counts = CardExperiment.from_counts({"a": (5, 40), "b": (9, 40)}, control="a")
    missing = counts.attempt("goal_gradient", period=7)
    assert not missing
    assert "needs card events" in missing.verdict()
    assert missing.findings() == []
    assert "needs card events" in missing._repr_html_()
    assert counts.attempt("completion")["b"].difference.value == pytest.approx(0.1)
    with pytest.raises(ArgumentError, match="analysis must be one of"):
        counts.attempt("limits")
    with pytest.raises(ArgumentError, match="by_day"):
        counts.attempt("completion", by_day=3)


def test_prices_that_are_not_given_cost_nothing(simulated):
    x = CardExperiment(simulated(62), as_of="2024-12-31", control="control")
    missing = x.priced(margin=None, reward_cost=3.0)
    assert not missing
    assert "were not given" in missing.verdict()
    assert x.priced(margin=2.0, reward_cost=3.0, currency="EUR").net[0].unit == "EUR"
    counts = CardExperiment.from_counts({"a": (5, 40), "b": (9, 40)}, control="a")
    assert "needs card events" in counts.priced(margin=2.0, reward_cost=3.0).verdict()


def test_results_are_told_in_words_and_findings(experiment):
    seen = set()
    for result in results(experiment):
        table = result.table()
        assert table.notna().all().all()
        assert table["Estimate"].str.len().min() > 0
        seen |= {f.id for f in result.findings(section="The answer")}
    assert seen == {
        "completion", "chance-of-gain", "time-to-completion", "first-return", "visits", "economics", "roll-out",
        "pooled-hazard", "goal-gradient",
    }  # fmt: skip
    assert [f.status for f in experiment.goal_gradient().findings()] == ["caution"]


def test_limits_follow_what_is_known(simulated):
    counts = CardExperiment.from_counts({"a": (5, 40), "b": (9, 40)}, control="a").limits()
    assert any("Only counts are known" in said for said in counts)
    cards = CardExperiment(simulated(60), as_of="2024-12-31", control="control")
    assert not any("Only counts are known" in said for said in cards.limits())
    assert any("drawn one by one" in said for said in cards.limits())
    clustered = CardExperiment(simulated(60), as_of="2024-12-31", control="control", cluster="cluster_id")
    assert not any("drawn one by one" in said for said in clustered.limits())


def test_estimates_beside_the_truth(simulated):
    x = CardExperiment(
        simulated(61, alpha=-3.132, beta=2.0, per_arm=400), as_of="2024-12-31", control="control"
    )
    frame = beside_truth(
        {"slope": 2.0, "level": 0.0, "completion_control": 0.187, "sigma": 1.0, "visits_difference": None},
        completion=x.completion(),
        visits=x.visits(),
        gradient=x.goal_gradient(),
    ).set_index("quantity")
    assert frame.index.tolist() == [
        "completed, control",
        "slope within cards",
        "pooled slope",
        "level of the arm",
    ]
    assert frame.loc["slope within cards", "covered"]
    assert not frame.loc["pooled slope", "covered"]
    bare = beside_truth(
        {"slope": 2.0}, completion=x.completion(), visits=x.visits(), gradient=NotAvailable("too few cards")
    )
    assert len(bare) == 0
