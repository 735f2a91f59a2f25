import dataclasses
import json

import pandas as pd
import pytest

from loyalty_research.endowed_progress import CardExperiment, plan
from loyalty_research.endowed_progress.registration import DesignCard
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.stats.spending import group_sequential_bounds


@pytest.fixture
def made():
    return plan(baseline=0.19, uplift=0.15, required=10, given=2, horizon_days=273, looks=[0.5, 1.0])


def of(result, name):
    return next(c for c in result.checks if c.name == name)


def test_a_card_survives_json_and_shows_its_page(made):
    card = made.card(title="Do two given stamps help?", registered_on="2026-01-31", notes=["staff left out"])
    assert DesignCard.from_json(card.to_json()) == card
    assert card.arms == {"control": (8, 0), "endowed": (10, 2)}
    for part in ("Do two given stamps help?", "273 days", "50% (z 2.96)", "staff left out", card.fingerprint):
        assert part in card._repr_html_()
        assert part in repr(card)


def test_an_altered_card_is_refused(made):
    page = json.loads(made.card().to_json())
    page["card"]["horizon_days"] = 180
    with pytest.raises(ContractError, match="altered"):
        DesignCard.from_json(json.dumps(page))
    for text in ("{}", "no json", '{"card": {"title": 1}, "fingerprint": "x"}'):
        with pytest.raises(ContractError, match="no design card"):
            DesignCard.from_json(text)


def test_the_registered_analysis_has_no_deviation(simulated, made):
    card = made.card()
    x = CardExperiment(simulated(70, per_arm=135), as_of="2024-12-31", control="control", registered=card)
    result = x.completion()
    assert {c.status for c in result.checks if "as registered" in c.name} == {"passed"}
    assert of(result, "cards as planned").status in {"passed", "failed"}
    assert result.horizon == "within 273 days"
    assert of(result, "primary metric").status == "passed"
    # the last look spends what is left: z as of two looks, so the interval is wider than 95%
    z = group_sequential_bounds([0.5, 1.0]).z[-1]
    assert result.level == pytest.approx(1 - group_sequential_bounds([0.5, 1.0]).nominal_p[-1])
    assert f"z = {z:.3f}" in of(result, "look").detail


def test_each_deviation_is_flagged(simulated, made):
    card = made.card()
    x = CardExperiment(
        simulated(71),
        as_of="2024-12-31",
        control="control",
        registered=card,
        level=0.9,
        cluster="cluster_id",
        ratio={"control": 2, "endowed": 1},
    )
    result = x.completion(by_day=200)
    failed = {c.name for c in result.checks if c.status == "failed"}
    assert failed >= {
        "level as registered",
        "drawn as registered",
        "allocation as registered",
        "horizon as registered",
    }
    assert "registered: 273 days; analysed: 200 days" in of(result, "horizon as registered").detail
    assert of(x.visits(), "primary metric").status == "warning"
    counts = CardExperiment.from_counts(
        {"control": (2, 20), "gold": (5, 20)}, control="control", registered=card
    )
    result = counts.completion()
    assert of(result, "arms as registered").status == "failed"
    assert of(result, "cards as planned").status == "failed"
    assert of(result, "horizon as registered").status == "not measurable"


def test_an_early_look_needs_more(simulated, made):
    card = made.card()
    events = simulated(72, per_arm=70)
    x = CardExperiment(events, as_of="2024-12-31", control="control", registered=card)
    first, last = x.completion(look=1), x.completion(look=2)
    assert first.level > last.level > 0.95
    fraction = 140 / (2 * made.cards)
    assert card.look(1, judged=140).z == pytest.approx(group_sequential_bounds([fraction]).z[0])
    for look in (0, 3, 1.5, True):
        with pytest.raises(ArgumentError, match="look"):
            x.completion(look=look)
    with pytest.raises(ArgumentError, match="registered"):
        CardExperiment(events, as_of="2024-12-31", control="control").completion(look=1)


def test_cards_that_cannot_be(made):
    with pytest.raises(ArgumentError, match="required="):
        plan(baseline=0.2, uplift=0.1).card()
    with pytest.raises(ArgumentError, match="two names"):
        made.card(control="a", treated="a")
    with pytest.raises(ArgumentError, match="date"):
        made.card(registered_on="soon")
    in_days = plan(
        baseline=0.19, uplift=0.15, required=10, given=2, horizon_days=273, cluster_size=5, icc=0.1
    )
    with pytest.raises(ArgumentError, match="cluster="):
        in_days.card()
    assert in_days.card(cluster="cluster_id").cluster == "cluster_id"


def test_only_a_card_can_be_registered():
    with pytest.raises(ArgumentError, match="takes a DesignCard; got a str"):
        CardExperiment.from_counts({"a": (1, 10), "b": (2, 10)}, control="a", registered="plan.json")


def test_a_registered_allocation_is_the_ratio_to_test(made):
    card = dataclasses.replace(made.card(), allocation={"control": 2.0, "endowed": 1.0})
    counts = {"control": (60, 300), "endowed": (45, 150)}
    kept = CardExperiment.from_counts(counts, control="control", registered=card)
    assert kept.checks_[0].status == "passed"
    assert CardExperiment.from_counts(counts, control="control").checks_[0].status == "failed"
    units = pd.DataFrame({"arm": ["control"] * 300 + ["endowed"] * 150, "completed": [0, 1, 0] * 150})
    x = CardExperiment.from_units(units, control="control", registered=card)
    assert x.checks_[0].status == "passed"
    assert of(x.completion(), "allocation as registered").status == "passed"
