import json

import numpy as np
import pandas as pd
import pytest

from loyalty_research.clv import GammaGamma, ModifiedBetaGeoNBD, customer_lifetime_value, programme_view
from loyalty_research.errors import ArgumentError


@pytest.fixture(scope="module")
def value(draw_bg):
    people = draw_bg(500, 21, coin=1)
    people.index = pd.Index([f"c{i:03d}" for i in range(500)], name="customer_id")
    people.attrs["observation_end"] = "2024-12-31"
    model = ModifiedBetaGeoNBD(penalizer=0.001).fit(people)
    return customer_lifetime_value(
        model, GammaGamma().fit(people), people, horizon=52, annual_discount_rate=0.1, currency="EUR"
    )


@pytest.fixture(scope="module")
def memberships(value):
    ids = value.summary.index
    table = pd.DataFrame({"customer_id": ids[:200], "valid_from": pd.Timestamp("2024-01-01")})
    table["valid_to"] = np.where(np.arange(200) < 30, np.datetime64("2024-10-01"), np.datetime64("NaT"))
    return table


def test_every_question_has_an_answer_or_a_reason(value, memberships):
    view = programme_view(value, memberships=memberships, acquisition_cost=10)
    assert [type(part).__name__ for part in view.parts()] == [
        "SegmentValue",
        "ValueAtChurn",
        "MembersLost",
        "RetentionSensitivity",
        "AcquisitionPayback",
    ]
    assert view.reasons == ("Value is not split by tier: the memberships table has no tiers.",)
    assert [f.id for f in view.findings()] == ["value-by-membership", "retention-gain", "payback"]
    for finding in view.findings():
        json.dumps(finding.to_dict(), allow_nan=False)
    json.dumps(view.to_dict(), allow_nan=False)
    assert view.verdict().count("10.00 EUR") >= 1
    assert view.lost.gone == 30


def test_without_memberships_the_reasons_are_given(value):
    view = programme_view(value)
    assert len(view.reasons) == 4
    assert view.lost is None
    assert [type(part).__name__ for part in view.parts()] == ["ValueAtChurn", "RetentionSensitivity"]
    assert not any("Traceback" in reason or "Error" in reason for reason in view.reasons)


def test_few_members_lost_are_not_counted_aloud(value, memberships):
    few = memberships.assign(valid_to=memberships["valid_to"].where(np.arange(200) < 3))
    view = programme_view(value, memberships=few)
    assert view.lost is None
    assert any("fewer than 5 members" in reason for reason in view.reasons)
    assert view.by_membership.hidden  # three former members, and whom the total would tell


def test_columns_of_customers_come_first(value):
    customers = pd.DataFrame(
        {"customer_id": value.summary.index, "tier": np.where(np.arange(500) % 2, "a", "b")}
    )
    view = programme_view(value, customers=customers)
    assert [name for name, _, _ in view.by_tier.segments] == ["a", "b"]


@pytest.mark.parametrize("change", [{"acquisition_cost": 0}, {"points": 2}, {"days": 0}])
def test_bad_options_are_no_reasons(value, memberships, change):
    with pytest.raises(ArgumentError):
        programme_view(value, memberships=memberships, **change)


def test_a_rise_that_cannot_be_is_a_reason(value):
    view = programme_view(value, points=0.9)
    assert view.retention is None
    assert any(
        reason.startswith("A rise in retention is not priced: retention is") for reason in view.reasons
    )
