import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.programme.contact_presets import (
    CONTACT_RULES,
    ContactRule,
    audit_contact_rules,
    contact_rule,
)
from loyalty_research.programme.contact_rules import audit_contacts


def weekly(per_week, weeks=6, customers=10):
    """Messages at 10 in the morning, evenly over each week."""
    days = [7 * w + k * 3 for w in range(weeks) for k in range(per_week)]
    when = pd.Timestamp("2024-05-06 10:00") + pd.to_timedelta(days, unit="D")
    return pd.DataFrame(
        [(f"c{i}", t) for i in range(customers) for t in when], columns=["customer_id", "sent_at"]
    ).assign(event="sent")


def test_two_a_week_keep_one_rule_and_break_the_other():
    found = audit_contact_rules(weekly(2), timezone="UTC")
    assert found.messages["two-a-week"].value == 0.0
    assert found.customers["six-a-month"].value == 1.0
    assert found.clash.value == 1.0
    assert "8.7 a month, so the rules clash" in found.verdict()
    one = audit_contact_rules(weekly(1), timezone="UTC")
    assert (one.customers["six-a-month"].value, one.clash.value) == (0.0, 0.0)
    assert audit_contact_rules(weekly(3), timezone="UTC", rules=["two-a-week", "six-a-month"]).clash is None


def test_a_rule_is_what_the_audit_finds_of_its_parts():
    rng = np.random.default_rng(1)
    contacts = pd.DataFrame(
        {
            "customer_id": rng.integers(0, 20, 500).astype(str),
            "event": "sent",
            "sent_at": pd.Timestamp("2024-03-20")
            + pd.to_timedelta(rng.integers(0, 20 * 24 * 60, 500), unit="min"),
        }
    )
    law = contact_rule("viet-nam-decree-91")
    only_hours = ContactRule("hours", "own", quiet_hours=law.quiet_hours)
    only_cap = ContactRule("cap", "own", hour_caps=law.hour_caps)
    found = audit_contact_rules(contacts, timezone="Asia/Ho_Chi_Minh", rules=[law, only_hours, only_cap])
    audit = audit_contacts(
        contacts, timezone="Asia/Ho_Chi_Minh", quiet_hours=law.quiet_hours, caps={}, hour_caps=law.hour_caps
    )
    assert found.messages["hours"] == audit.quiet
    assert found.messages["cap"] == audit.hour_caps[24]
    assert found.messages[law.name].value >= max(audit.quiet.value, audit.hour_caps[24].value)


def test_hours_are_those_of_the_place():
    # 14:30 UTC is 21:30 in Viet Nam, 15:30 UTC is 22:30
    contacts = pd.DataFrame(
        {
            "customer_id": list("ab"),
            "event": "sent",
            "sent_at": pd.to_datetime(["2024-05-01 14:30", "2024-05-01 15:30"]),
        }
    )
    law = ["viet-nam-decree-91"]
    there = audit_contact_rules(contacts, timezone="Asia/Ho_Chi_Minh", rules=law)
    assert there.messages["viet-nam-decree-91"].value == 0.5
    assert audit_contact_rules(contacts, timezone="UTC", rules=law).messages["viet-nam-decree-91"].value == 0


def test_rules_on_hours_need_hours_and_every_rule_has_a_source():
    contacts = weekly(2).assign(sent_at=lambda f: f["sent_at"].dt.normalize())
    found = audit_contact_rules(contacts, timezone="UTC")
    assert found.messages["viet-nam-decree-91"] is None
    assert found.messages["two-a-week"].value == 0.0
    frame = found.to_frame()
    assert (
        frame.loc[frame["group"] == "viet-nam-decree-91", "reason"] == "The hour of sending is not recorded."
    ).all()
    assert all(rule.source for rule in CONTACT_RULES.values())


def test_few_are_not_named():
    contacts = pd.concat([weekly(1, customers=40), weekly(3, customers=3)])
    frame = audit_contact_rules(contacts, timezone="UTC", rules=["two-a-week"]).to_frame()
    assert frame["estimate"].isna().iloc[1]


def test_bad_rules_are_refused():
    with pytest.raises(ArgumentError, match="no rule 'ten-a-day'"):
        audit_contact_rules(weekly(1), timezone="UTC", rules=["ten-a-day"])
    with pytest.raises(ArgumentError, match="twice"):
        audit_contact_rules(weekly(1), timezone="UTC", rules=["two-a-week", "two-a-week"])
    with pytest.raises(ContractError, match="below 1"):
        audit_contact_rules(weekly(1), timezone="UTC", rules=[ContactRule("none", "own", caps={7: 0})])
    with pytest.raises(ArgumentError, match="21:00"):
        audit_contact_rules(
            weekly(1), timezone="UTC", rules=[ContactRule("x", "own", quiet_hours=(("9pm", "7"),))]
        )
