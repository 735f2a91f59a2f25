"""Tenure and interaction, the published rules that overlap, and consent of the young."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.programme.relationship_segments import (
    consent_of_the_young,
    published_rules,
    relationship_segments,
)
from loyalty_research.programme.segment_stability import segment_overlap


def orders(**days):
    rows = [(who, pd.Timestamp(day), 10.0) for who, each in days.items() for day in each]
    return pd.DataFrame(rows, columns=["customer_id", "transacted_at", "amount"])


def test_tenure_and_interactions_on_their_edges():
    table = orders(a=["2024-01-01"], b=["2023-12-31", "2024-03-01"], c=["2024-03-31"])
    found = relationship_segments(
        table, as_of="2024-03-31", tenure_edges=[0, 91], interaction_edges=[0, 1, 2], window_days=31
    )
    # 90 and 91 days: an edge belongs to the band above it
    assert found["tenure_band"].astype(str).to_dict() == {"a": "[0, 91)", "b": "[91, ∞)", "c": "[0, 91)"}
    # of 31 days up to 31 March the first is 1 March
    assert found["interactions"].to_dict() == {"a": 0, "b": 1, "c": 1}


def test_answered_messages_are_interactions_and_sent_ones_are_not():
    table = orders(a=["2024-03-30"], b=["2024-03-30"])
    contacts = pd.DataFrame(
        {
            "customer_id": list("aaab"),
            "campaign_id": list("xxyx"),
            "sent_at": pd.to_datetime(["2024-03-05", "2024-03-05", "2024-03-06", "2024-03-05"]),
            "event": ["open", "click", "redeem", "sent"],
        }
    )
    found = relationship_segments(table, as_of="2024-03-31", contacts=contacts)
    assert found["interactions"].to_dict() == {"a": 3, "b": 1}
    early = relationship_segments(table, as_of="2024-03-31", window_days=10, contacts=contacts)
    assert early["interactions"].to_dict() == {"a": 1, "b": 1}


def test_published_rules_overlap_as_published():
    """Potential customers are current ones; those who bought once are walk-ins."""
    names = [f"c{i}" for i in range(40)]
    days = {n: ["2024-03-20"] for n in names[:15]}
    days |= {n: ["2023-01-01"] for n in names[15:30]}
    days |= {n: ["2024-01-05", "2024-02-05", "2024-03-05"] for n in names[30:38]}
    held = pd.DataFrame(
        {"customer_id": names[30:40], "valid_from": pd.Timestamp("2023-01-01"), "valid_to": pd.NaT}
    )
    rules = published_rules(
        orders(**days),
        pd.DataFrame({"customer_id": names}),
        as_of="2024-03-31",
        loyal_purchases=3,
        active_days=90,
        memberships=held,
    )
    assert rules.sum().to_dict() == {
        "current": 23,
        "potential": 17,
        "loyal": 8,
        "negative": 15,
        "walk-in": 30,
    }
    overlap = segment_overlap(rules)
    assert overlap.shares["current", "potential"].value == 15 / 25
    assert overlap.shares["negative", "walk-in"].value == 0.5


def test_memberships_count_on_the_day():
    table = orders(a=["2024-03-01"], b=["2024-03-01"], c=["2024-03-01"])
    held = pd.DataFrame(
        {
            "customer_id": list("abc"),
            "valid_from": pd.to_datetime(["2024-01-01 09:00", "2024-03-31 10:00", "2024-04-01 00:00"]),
            "valid_to": pd.to_datetime(["2024-03-31 12:00", None, None]),
        }
    )
    people = pd.DataFrame({"customer_id": list("abc")})
    rules = published_rules(
        table, people, as_of="2024-03-31", loyal_purchases=2, active_days=90, memberships=held
    )
    assert rules["walk-in"].to_dict() == {"a": True, "b": False, "c": True}
    with pytest.raises(ContractError, match="belong to no row"):
        published_rules(table, people.iloc[:1], as_of="2024-03-31", loyal_purchases=2, active_days=90)


def people():
    born = pd.to_datetime(["2009-06-01"] * 30 + ["1990-01-01"] * 30)
    return pd.DataFrame({"customer_id": np.arange(60), "birth_date": born})


def sent(consent, day="2024-05-31"):
    return pd.DataFrame(
        {"customer_id": np.arange(60), "sent_at": pd.Timestamp(day), "event": "sent", "has_consent": consent}
    )


def test_the_day_before_the_birthday_is_still_young():
    consent = [True] * 20 + [False] * 5 + [None] * 5 + [False] * 30
    found = consent_of_the_young(people(), sent(consent))
    assert (found.messages, found.young) == (30, 30)
    assert found.without.value == pytest.approx(1 / 3)
    assert "should not have been sent" in found.verdict()
    assert consent_of_the_young(people(), sent(consent, day="2024-06-01")).without is None


def test_consent_of_few_is_not_shown():
    found = consent_of_the_young(people(), sent([False] * 2 + [True] * 58))
    assert np.isnan(found.without.value)
    assert "no share is shown" in found.verdict()
    fine = consent_of_the_young(people(), sent([True] * 60))
    assert fine.without.value == 0.0
    assert "whether a guardian gave it" in fine.verdict()


def test_what_consent_needs_is_asked_for():
    with pytest.raises(ContractError, match="has_consent"):
        consent_of_the_young(people(), sent([True] * 60).drop(columns="has_consent"))
    with pytest.raises(ContractError, match="neither birth_date nor age"):
        consent_of_the_young(people()[["customer_id"]], sent([True] * 60))
    with pytest.raises(ArgumentError):
        consent_of_the_young(people(), sent([True] * 60), age=0)
    unknown = people().assign(birth_date=pd.NaT)
    found = consent_of_the_young(unknown, sent([True] * 60))
    assert (found.unknown, found.without) == (60, None)
