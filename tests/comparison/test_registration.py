"""Design cards: kept as JSON, and every deviation of the analysis flagged."""

import json

import numpy as np
import pandas as pd
import pytest

from loyalty_research.comparison import Comparison, ComparisonCard, Looks, Mean, Proportion, design_card
from loyalty_research.errors import ArgumentError, ContractError, DesignError

GIVEN = {"design": "randomised", "assignment": "arm", "control": "a", "ratio": (1, 1), "horizon_days": 90}
METRICS = [Mean("spend", cap=0.99), Proportion("came", role="guardrail")]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    n = 1000
    return pd.DataFrame(
        {
            "arm": np.tile(["a", "b"], n // 2),
            "spend": rng.gamma(2.0, 10.0, n),
            "came": rng.integers(0, 2, n),
            "pre": rng.normal(size=n),
            "store": np.arange(n) // 2 % 50 * 2 + np.arange(n) % 2,
        }
    )


@pytest.fixture(scope="module")
def card():
    return design_card(
        Comparison(METRICS, covariates=["pre"], **GIVEN),
        units={"a": 500, "b": 500},
        title="Does the letter pay?",
        detectable={"spend": 2.0},
        registered_on="2026-01-31",
        notes=["first wave"],
    )


def of(checks):
    return {c.name: c for c in checks}


def test_the_card_survives_json_and_alteration_is_refused(card):
    text = card.to_json()
    assert ComparisonCard.from_json(text) == card
    page = json.loads(text)
    page["card"]["horizon_days"] = 30
    with pytest.raises(ContractError, match="was altered"):
        ComparisonCard.from_json(json.dumps(page))
    for bad in ("{}", "no json", json.dumps({"card": {"title": 1}, "fingerprint": "x"})):
        with pytest.raises(ContractError, match=r"no design card; write one with ComparisonCard.to_json"):
            ComparisonCard.from_json(bad)
    assert "Does the letter pay?" in repr(card)
    assert "90 days from assignment" in card.page().html


def test_what_was_done_as_laid_down_passes(card, table):
    found = Comparison(METRICS, covariates=["pre"], registered=card, **GIVEN).analyse(table)
    assert {c.status for c in found.checks if "registered" in c.name or "planned" in c.name} == {"passed"}


@pytest.mark.parametrize(
    ("changes", "name", "said"),
    [
        ({"metrics": [Mean("spend", cap=0.9), METRICS[1]]}, "primary metrics as registered", "cap 0.9"),
        ({"metrics": [METRICS[0], Proportion("came")]}, "primary metrics as registered", "came (Proportion"),
        ({"covariates": []}, "covariates and strata as registered", "analysed: none"),
        ({"level": 0.9}, "error as registered", "analysed: 10.0%, holm"),
        ({"adjust": "hochberg"}, "error as registered", "hochberg"),
        ({"looks": Looks(2, look=2)}, "looks as registered", "analysed: 50%, 100%"),
        ({"horizon_days": 30}, "horizon as registered", "analysed: 30 days"),
        ({"control": "b"}, "arms as registered", "analysed: b, a"),
        ({"cluster": "store"}, "drawn as registered", "analysed: store"),
    ],
)
def test_every_deviation_is_flagged_with_both_sides(card, table, changes, name, said):
    given = {"metrics": METRICS, "covariates": ["pre"], "registered": card, **GIVEN, **changes}
    found = Comparison(given.pop("metrics"), **given).analyse(table)
    check = of(found.checks)[name]
    assert check.status == "failed"
    assert said in check.detail
    assert not check.gate


def test_too_few_units_and_an_unknown_horizon(card, table):
    half = Comparison(METRICS, covariates=["pre"], registered=card, **{**GIVEN, "horizon_days": None})
    found = of(half.analyse(table[:400]).checks)
    assert found["units as planned"].status == "failed"
    assert "400 units, 1,000 planned" in found["units as planned"].detail
    assert found["horizon as registered"].status == "not measurable"


def test_a_look_needs_its_share_only(table):
    plan = Comparison(METRICS, looks=Looks(4, look=1), **GIVEN)
    card = design_card(plan, units={"a": 2000, "b": 2000}, title="Four looks")
    found = Comparison(METRICS, looks=Looks(4, look=1), registered=card, **GIVEN).analyse(table)
    assert of(found.checks)["units as planned"].status == "passed"
    assert of(found.checks)["looks as registered"].status == "passed"


def test_names_and_units_of_a_metric_are_no_deviation(card, table):
    named = [Mean("spend", cap=0.99, unit="EUR"), METRICS[1]]
    found = Comparison(named, covariates=["pre"], registered=card, **GIVEN).analyse(table)
    assert of(found.checks)["primary metrics as registered"].status == "passed"


def test_what_a_card_needs():
    plan = Comparison(METRICS, **GIVEN)
    with pytest.raises(ArgumentError, match="needs horizon_days="):
        design_card(Comparison(METRICS, **{**GIVEN, "horizon_days": None}), units={"a": 1, "b": 1}, title="")
    with pytest.raises(ArgumentError, match="planned size of the control 'a'"):
        design_card(plan, units={"b": 10}, title="")
    with pytest.raises(ArgumentError, match="detectable names visits"):
        design_card(plan, units={"a": 10, "b": 10}, title="", detectable={"visits": 1.0})
    with pytest.raises(ArgumentError, match="registered_on must be a date"):
        design_card(plan, units={"a": 10, "b": 10}, title="", registered_on="soon")
    observed = Comparison(
        METRICS[0], design="observational", assignment="arm", control="a", covariates=["pre"]
    )
    with pytest.raises(DesignError, match="drawn by lot"):
        design_card(observed, units={"a": 10, "b": 10}, title="")
