import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme.contact_rules import audit_contacts, messages_per_month, sunset_policy_test


def sent(*times, customer="a"):
    return pd.DataFrame({"customer_id": customer, "event": "sent", "sent_at": pd.to_datetime(list(times))})


def test_weekly_and_monthly_rules_clash(oracle):
    case = oracle("messages_per_month_from_messages_per_week")
    found = [messages_per_month(w) for w in case["inputs"]["per_week"]]
    assert found == pytest.approx(case["expected"]["per_month"], rel=case["tolerance"])


def test_quiet_hours_follow_the_local_clock_over_summer_time():
    # 20:30 UTC is 21:30 in a Madrid winter and 22:30 in summer; 05:30 UTC is 06:30 and 07:30
    times = ["2024-01-10 20:30", "2024-07-10 20:30", "2024-01-12 05:30", "2024-07-12 05:30"]
    contacts = pd.concat([sent(t, customer=f"c{i}") for i, t in enumerate(times)])
    audit = audit_contacts(contacts, timezone="Europe/Madrid")
    assert audit.quiet.value == 0.75
    assert audit_contacts(contacts, timezone="UTC").quiet.value == 0.5
    assert audit_contacts(contacts, timezone="UTC", quiet_hours=[("05:00", "05:30")]).quiet.value == 0.0


def test_a_rolling_cap_sees_what_calendar_weeks_hide():
    # Saturday, Sunday, Monday: two calendar weeks, one breach of two in seven days
    contacts = sent("2024-05-04 10:00", "2024-05-05 10:00", "2024-05-06 10:00", "2024-05-11 10:00")
    audit = audit_contacts(contacts, timezone="UTC", caps={7: 2})
    # 11 May looks back to 5 May, so it is a third message too
    assert audit.caps[7].value == 0.5
    assert audit.customers_over[7].value == 1.0
    spaced = sent("2024-05-04 10:00", "2024-05-05 10:00", "2024-05-11 10:00")
    assert audit_contacts(spaced, timezone="UTC", caps={7: 2}).caps[7].value == 0.0


def test_caps_agree_with_counting_one_by_one():
    rng = np.random.default_rng(4)
    when = pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.integers(0, 60 * 24 * 60, 400), unit="min")
    who = rng.integers(0, 25, 400)
    contacts = pd.DataFrame({"customer_id": who.astype(str), "event": "sent", "sent_at": when})
    audit = audit_contacts(contacts, timezone="America/New_York", caps={7: 2, 1: 1})
    local = contacts["sent_at"].dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    ordinal = np.array([t.toordinal() for t in local])
    for days, most in ((7, 2), (1, 1)):
        over = [
            sum(
                who[j] == who[i] and ordinal[i] - days < ordinal[j] and when[j] <= when[i] for j in range(400)
            )
            > most
            for i in range(400)
        ]
        assert audit.caps[days].value == pytest.approx(np.mean(over))


def test_midnight_stamps_carry_no_hour():
    audit = audit_contacts(sent("2024-05-04 04:00", "2024-05-09 04:00"), timezone="America/New_York")
    assert audit.quiet is None
    assert audit.checks[0].status == "not measurable"
    assert audit.to_frame()["reason"].iloc[0] == "The hour of sending is not recorded."


def test_bad_rules_are_refused():
    contacts = sent("2024-05-04 04:00")
    with pytest.raises(ArgumentError, match="IANA"):
        audit_contacts(contacts, timezone="Mars/Olympus")
    with pytest.raises(ArgumentError, match="21:00"):
        audit_contacts(contacts, timezone="UTC", quiet_hours=[("9pm", "07:00")])
    with pytest.raises(ArgumentError, match="at least 1"):
        audit_contacts(contacts, timezone="UTC", caps={7: 0})
    with pytest.raises(ContractError, match="channel"):
        audit_contacts(contacts, timezone="UTC", channel="sms")


def mailing(customers=400, seed=3):
    """Four weekly messages; half open some; silent ones order at 20%, openers at 50%."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"c{i}" for i in range(customers)])
    weeks = pd.to_datetime(["2024-01-01", "2024-01-08", "2024-01-15", "2024-01-22"])
    messages = pd.concat([pd.DataFrame({"customer_id": ids, "event": "sent", "sent_at": w}) for w in weeks])
    opener = np.arange(customers) < customers // 2
    opens = pd.DataFrame({"customer_id": ids[opener], "event": "open", "sent_at": pd.Timestamp("2024-01-16")})
    buys = rng.random(customers) < np.where(opener, 0.5, 0.2)
    orders = pd.DataFrame({"customer_id": ids[buys], "transacted_at": pd.Timestamp("2024-02-20")})
    return pd.concat([messages, opens]), orders, buys, opener


def test_the_silent_are_judged_at_their_own_landmark():
    contacts, orders, buys, opener = mailing()
    found = sunset_policy_test(contacts, orders, within_days=90, as_of="2024-12-31")
    assert found.silent.value == pytest.approx(buys[~opener].mean())
    assert found.openers.value == pytest.approx(buys[opener].mean())
    assert found.difference.high < 0
    # an open after the landmark does not undo silence, and an order before it does not count
    late = pd.DataFrame({"customer_id": ["c399"], "event": "open", "sent_at": [pd.Timestamp("2024-03-01")]})
    early = pd.DataFrame({"customer_id": ["c399"], "transacted_at": [pd.Timestamp("2024-01-20")]})
    again = sunset_policy_test(
        pd.concat([contacts, late]), pd.concat([orders, early]), within_days=90, as_of="2024-12-31"
    )
    assert again.silent == found.silent


def test_who_opted_out_or_was_not_watched_is_left_out_and_counted():
    contacts, orders, _, _ = mailing()
    gone = pd.DataFrame(
        {"customer_id": ["c399"], "event": "opt_out", "sent_at": [pd.Timestamp("2024-01-10")]}
    )
    found = sunset_policy_test(pd.concat([contacts, gone]), orders, within_days=90, as_of="2024-12-31")
    assert found.silent.n == 199
    assert "1 had opted out" in found.checks[1].detail
    with pytest.raises(DesignError, match="watched long enough"):
        sunset_policy_test(contacts, orders, within_days=90, as_of="2024-02-28")


def test_without_opens_nobody_can_be_called_silent():
    contacts, orders, _, _ = mailing()
    with pytest.raises(ContractError, match="no event 'open'"):
        sunset_policy_test(contacts[contacts["event"] == "sent"], orders, within_days=90, as_of="2024-12-31")
    with pytest.raises(DesignError, match="sent 9 messages"):
        sunset_policy_test(contacts, orders, within_days=90, as_of="2024-12-31", unopened=9)


def test_a_cap_in_hours_counts_hours_that_passed_and_days_those_of_the_calendar():
    # Madrid, 31 March 2024: the clock skips from 2 to 3, so 24 hours after 10:00 is 11:00 next day
    times = ["2024-03-30 09:00", "2024-03-30 12:00", "2024-03-30 15:00", "2024-03-31 08:30"]
    audit = audit_contacts(sent(*times), timezone="Europe/Madrid", caps={1: 3}, hour_caps={24: 3})
    assert audit.hour_caps[24].value == 0.25  # 23.5 hours after the first
    assert audit.caps[1].value == 0.0
    later = [*times[:3], "2024-03-31 09:00"]
    assert audit_contacts(sent(*later), timezone="Europe/Madrid", hour_caps={24: 3}).hour_caps[24].value == 0
    frame = audit.to_frame()
    assert (frame["group"] == "at most 3 in 24 hours").sum() == 2


def test_quiet_hours_on_the_night_the_clock_changes():
    # the hour from 2 to 3 comes twice in Madrid on 27 October 2024, at 00:30 and 01:30 UTC
    twice = sent("2024-10-27 00:30", "2024-10-27 01:30", "2024-10-27 02:30")
    audit = audit_contacts(twice, timezone="Europe/Madrid", quiet_hours=[("02:00", "03:00")])
    assert audit.quiet.value == pytest.approx(2 / 3)
    # and never on 31 March: 00:30 UTC is 01:30, 01:30 UTC is 03:30
    never = sent("2024-03-31 00:30", "2024-03-31 01:30")
    assert audit_contacts(never, timezone="Europe/Madrid", quiet_hours=[("02:00", "03:00")]).quiet.value == 0


def test_shares_of_few_are_blank_in_frames_and_words():
    contacts = pd.concat(
        [sent(f"2024-05-04 {'23' if i < 3 else '10'}:00", customer=f"c{i}") for i in range(40)]
    )
    audit = audit_contacts(contacts, timezone="UTC")
    assert audit.quiet.value == 0.075
    assert np.isnan(audit.to_frame()["estimate"].iloc[0])
    assert audit.verdict().startswith("In quiet hours (UTC time) fewer than five messages")


def test_the_audit_counts_messages_without_consent_and_names_them():
    contacts = sent("2024-05-04 10:00", "2024-05-05 23:00").assign(
        customer_id=["a", "b"], has_consent=[True, False]
    )
    assert audit_contacts(contacts, timezone="UTC").quiet.value == 0.5
    assert any(
        "1 message was sent without consent" in c.detail
        for c in audit_contacts(contacts, timezone="UTC").checks
    )
    left = audit_contacts(contacts, timezone="UTC", without_consent="leave-out")
    assert (left.quiet.value, left.quiet.n) == (0.0, 1)
    with pytest.raises(ContractError, match="has_consent is false"):
        audit_contacts(contacts, timezone="UTC", without_consent="error")


def test_text_messages_make_nobody_silent():
    contacts, orders, _, _ = mailing()
    mixed = contacts.assign(channel="e-mail")
    extra = mixed[mixed["event"] == "sent"].assign(channel="sms")
    plain = sunset_policy_test(mixed, orders, within_days=90, as_of="2024-12-31")
    assert (
        sunset_policy_test(pd.concat([mixed, extra]), orders, within_days=90, as_of="2024-12-31").silent
        == plain.silent
    )
    without = mixed.assign(has_consent=mixed["customer_id"] != "c399")
    with pytest.raises(ContractError, match="has_consent is false"):
        sunset_policy_test(without, orders, within_days=90, as_of="2024-12-31")
    left = sunset_policy_test(
        without, orders, within_days=90, as_of="2024-12-31", without_consent="leave-out"
    )
    assert left.silent.n == plain.silent.n - 1
