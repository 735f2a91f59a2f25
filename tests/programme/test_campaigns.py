import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.programme._contact_rows import clustered_proportion
from loyalty_research.programme.campaigns import campaign_funnel, consent_gate
from loyalty_research.stats.proportions import wilson_interval


def events(**counts):
    """One campaign to 200 customers, the first so many of whom have each event."""
    parts = [
        pd.DataFrame({"customer_id": [f"c{i:03}" for i in range(n)], "event": event})
        for event, n in counts.items()
    ]
    return pd.concat(parts, ignore_index=True).assign(sent_at=pd.Timestamp("2024-05-01 09:00"))


def test_each_rate_has_its_own_denominator_and_wilson_limits():
    funnel = campaign_funnel(events(sent=200, delivered=160, open=80, click=20, redeem=8, opt_out=2))
    found = {row["step"]: (row["count"], row["estimate"].n) for row in funnel.table.to_dict("records")}
    assert found == {
        "delivered": (160, 200),
        "opened": (80, 160),
        "clicked": (20, 160),
        "clicked of opened": (20, 80),
        "redeemed": (8, 160),
        "opted out": (2, 160),
    }
    low, high = wilson_interval(20, 160)
    assert (funnel.rate("clicked").low, funnel.rate("clicked").high) == (float(low), float(high))
    assert any(c.status == "warning" and "unreliable" in c.detail for c in funnel.checks)


def test_without_deliveries_the_denominator_is_messages_sent_and_says_so():
    frame = campaign_funnel(events(sent=200, click=20)).to_frame().set_index("metric")
    assert frame.loc["clicked", "n"] == 200
    assert frame.loc["clicked", "estimand"] == "messages clicked of messages sent"
    assert np.isnan(frame.loc["opened", "estimate"])
    assert frame.loc["opened", "reason"] == "The table records no event 'open'."


def test_events_of_no_sending_are_counted_and_in_no_rate():
    funnel = campaign_funnel(pd.concat([events(sent=10), events(click=12)]))
    assert funnel.rate("clicked").value == 1.0
    assert any("2 of 22 events" in c.detail for c in funnel.checks)


def test_repeating_every_campaign_adds_no_information():
    one = events(sent=200, click=60)
    many = pd.concat([one.assign(campaign_id=c) for c in "abcd"])
    plain = campaign_funnel(one).rate("clicked")
    pooled = campaign_funnel(many).rate("clicked")
    assert pooled.n == 800
    assert pooled.value == plain.value
    assert pooled.high - pooled.low == pytest.approx(plain.high - plain.low, rel=0.01)
    assert set(campaign_funnel(many, by="campaign_id").table["group"]) == set("abcd")


def test_orders_count_in_a_half_open_window_and_open_windows_are_left_out():
    contacts = events(sent=4)
    contacts.loc[3, "sent_at"] = pd.Timestamp("2024-05-20")
    orders = pd.DataFrame(
        {
            "customer_id": ["c000", "c001", "c002", "c003"],
            "transacted_at": pd.to_datetime(
                ["2024-05-07 08:59", "2024-05-08 09:00", "2024-04-30 00:00", "2024-05-21 00:00"]
            ),
        }
    )
    funnel = campaign_funnel(contacts, orders=orders, within_days=7, as_of="2024-05-21")
    rate = funnel.rate("ordered")
    assert (rate.value, rate.n) == (pytest.approx(1 / 3), 3)
    assert any("1 messages were watched for less" in c.detail for c in funnel.checks)


def test_messages_without_consent_are_refused_dropped_or_counted():
    contacts = events(sent=100, click=10).assign(has_consent=np.array([True] * 110, dtype=object))
    contacts.loc[[0, 5], "has_consent"] = [False, None]
    with pytest.raises(ContractError, match=r"2 rows \(first at positions 0, 5\)") as refused:
        campaign_funnel(contacts)
    assert "c000" not in str(refused.value)
    assert campaign_funnel(contacts, without_consent="count").rate("clicked").n == 100
    left = campaign_funnel(contacts, without_consent="leave-out").rate("clicked")
    assert (left.n, left.value) == (98, pytest.approx(8 / 98))
    gate = consent_gate(contacts)
    assert gate.without == 2
    assert gate.share.value == 0.02
    assert gate.failed_gates
    assert "No verdict" in gate.verdict()
    assert consent_gate(contacts.drop(columns="has_consent")).share is None


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"event": "bounced"}, ContractError, "event is unknown"),
        ({"customer_id": None}, ContractError, "customer_id is null"),
        ({"event": "open"}, ContractError, "no event 'sent'"),
    ],
)
def test_bad_rows_are_refused(change, error, words):
    with pytest.raises(error, match=words):
        campaign_funnel(events(sent=3).assign(**change))


def test_bad_options_are_refused():
    with pytest.raises(ArgumentError, match="go together"):
        campaign_funnel(events(sent=3), within_days=7)
    with pytest.raises(ArgumentError, match="by must be"):
        campaign_funnel(events(sent=3), by="region")
    with pytest.raises(ContractError, match="channel"):
        campaign_funnel(events(sent=3), by="channel")


def clustered_coverage(replicates, seed):
    """Share of intervals that hold the truth where customers have 1 to 7 messages and their own rate."""
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(replicates):
        customers = np.repeat(np.arange(120), rng.integers(1, 8, 120))
        own = rng.beta(0.6, 2.4, 120)
        found = clustered_proportion(rng.random(len(customers)) < own[customers], customers)
        hits += found.low <= 0.2 <= found.high
    return hits / replicates


def test_clustered_share_covers_when_customers_differ():
    # Wilson that ignores customers covers about 83% here
    assert clustered_coverage(300, 20) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.slow
def test_clustered_share_covers(published):
    share = clustered_coverage(2000, 21)
    published({"campaign funnel: rate of messages, customers as clusters": share}, 2000)
    assert share == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 2000))


def texts(n=40, *, opened=0):
    """As many e-mails as text messages; some of the e-mails are opened."""
    who = [f"c{i:03}" for i in range(2 * n)]
    sent = pd.DataFrame({"customer_id": who, "event": "sent", "channel": ["SMS"] * n + ["e-mail"] * n})
    opens = pd.DataFrame({"customer_id": who[n : n + opened], "event": "open", "channel": "e-mail"})
    return pd.concat([sent, opens], ignore_index=True).assign(sent_at=pd.Timestamp("2024-05-01 09:00"))


def test_text_messages_are_in_no_rate_of_opens():
    funnel = campaign_funnel(texts(opened=10))
    assert (funnel.rate("opened").value, funnel.rate("opened").n) == (0.25, 40)
    assert any("40 messages went by channels that report no opening" in c.detail for c in funnel.checks)
    by = campaign_funnel(texts(opened=10), by="channel")
    assert np.isnan(by.rate("opened", group="SMS").value)
    assert by.table.loc[by.table["group"] == "SMS", "reason"].str.contains("reports no opening").any()
    paper = texts(opened=10).replace({"channel": {"SMS": "paper"}})
    assert campaign_funnel(paper).rate("opened").n == 40
    wrong = texts(opened=10)
    wrong.loc[wrong["event"] == "open", "channel"] = "sms"
    with pytest.raises(ContractError, match=r"opens of text messages.*10 rows \(first at positions 80"):
        campaign_funnel(wrong)


def test_frames_name_no_fewer_than_five_customers():
    funnel = campaign_funnel(events(sent=200, click=4, redeem=5))
    frame = funnel.to_frame().set_index("metric")
    assert np.isnan(frame.loc["clicked", "estimate"])
    assert frame.loc["clicked", "numerator"] is None or np.isnan(frame.loc["clicked", "numerator"])
    assert "Fewer than five" in frame.loc["clicked", "reason"]
    assert frame.loc["redeemed", "estimate"] == 0.025
    assert funnel.rate("clicked").value == 0.02  # the analyst's own copy is whole
    assert "2.0%" not in funnel._repr_html_()
    # five messages to one customer concern one customer
    one = pd.concat(
        [events(sent=20).assign(campaign_id=c) for c in "abcde"]
        + [events(click=1).assign(campaign_id=c) for c in "abcde"]
    )
    assert np.isnan(campaign_funnel(one).to_frame().set_index("metric").loc["clicked", "estimate"])
    assert "Fewer than five" in campaign_funnel(events(sent=200, click=3)).verdict()


def test_a_blank_group_cannot_be_had_from_the_total():
    parts = {"a": 30, "b": 12, "c": 2}
    contacts = pd.concat([events(sent=50, click=n).assign(campaign_id=c) for c, n in parts.items()])
    frame = campaign_funnel(contacts, by="campaign_id").to_frame()
    clicked = frame[frame["metric"] == "clicked"].set_index("group")["estimate"]
    assert clicked.isna().to_dict() == {"a": False, "b": True, "c": True}


def test_shares_without_consent_of_few_are_blank():
    contacts = events(sent=60).assign(has_consent=True, channel=["mail"] * 30 + ["push"] * 30)
    contacts.loc[[0, 1], "has_consent"] = False
    contacts.loc[range(40, 50), "has_consent"] = False
    frame = consent_gate(contacts).to_frame().set_index("group")["estimate"]
    assert frame["all"] == 0.2
    assert frame[["mail", "push"]].isna().all()


def test_leaving_out_takes_what_the_message_led_to():
    contacts = events(sent=100, click=10).assign(has_consent=True)
    contacts.loc[[0], "has_consent"] = False
    found = campaign_funnel(contacts, without_consent="leave-out")
    assert (found.rate("clicked").n, found.rate("clicked").value) == (99, pytest.approx(9 / 99))
    assert "They are counted" in campaign_funnel(contacts, without_consent="count").checks[0].detail
    with pytest.raises(ArgumentError, match="without_consent"):
        campaign_funnel(contacts, without_consent="drop")
