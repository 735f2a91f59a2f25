import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme.redemption_channels import ratio_of_rates, redemption_by_channel
from loyalty_research.stats.proportions import risk_ratio


def coupons(rng, customers=300, *, mobile=0.3, paper=0.1, per=4):
    """Each customer gets ``per`` coupons over both channels and redeems at an own rate."""
    who = np.repeat([f"c{i:03}" for i in range(customers)], per)
    own = np.repeat(rng.beta(2, 2, customers) * 2, per)
    one = rng.random(len(who)) < 0.5
    hit = rng.random(len(who)) < own * np.where(one, mobile, paper)
    sent = pd.DataFrame(
        {
            "customer_id": who,
            "campaign_id": [f"k{i % per}" for i in range(len(who))],
            "channel": np.where(one, "mobile", "paper"),
            "event": "sent",
            "sent_at": pd.Timestamp("2024-05-01"),
        }
    )
    return pd.concat([sent, sent[hit].assign(event="redeem", sent_at=pd.Timestamp("2024-05-04"))])


def test_one_message_each_is_koopmans_ratio():
    contacts = coupons(np.random.default_rng(1), per=1)
    found = redemption_by_channel(contacts)
    sent, used = contacts[contacts["event"] == "sent"], contacts[contacts["event"] == "redeem"]
    counts = [
        (int((used["channel"] == c).sum()), int((sent["channel"] == c).sum())) for c in ("mobile", "paper")
    ]
    assert found.ratio == risk_ratio(*counts[0], *counts[1], method="koopman")
    assert found.rate_one.value == pytest.approx(counts[0][0] / counts[0][1])


def test_repeating_every_coupon_adds_no_information():
    one = coupons(np.random.default_rng(2), per=2)
    many = pd.concat([one.assign(campaign_id=one["campaign_id"] + s) for s in "abc"])
    few, more = redemption_by_channel(one).ratio, redemption_by_channel(many).ratio
    assert (more.value, more.low) == pytest.approx((few.value, few.low), rel=1e-9)


def coverage(replicates, seed):
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(replicates):
        found = redemption_by_channel(coupons(rng, 200)).ratio
        hits += found.low <= 3.0 <= found.high
    return hits / replicates


def test_the_ratio_is_covered_when_customers_have_several_coupons():
    assert coverage(80, 3) == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 80))


@pytest.mark.slow
def test_the_ratio_covers(published):
    share = coverage(2000, 4)
    published({"redemption by channel: ratio": share}, 2000)
    assert share == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 2000))


def test_the_claim_is_held_against_the_readers_own_data():
    contacts = coupons(np.random.default_rng(5), 800)
    assert "do not hold here" in redemption_by_channel(contacts, claim=10).verdict()
    assert "within what these data allow" in redemption_by_channel(contacts, claim=3).verdict()
    assert "more than the 1 times" in redemption_by_channel(contacts, claim=1).verdict()
    assert "chosen" in redemption_by_channel(contacts).verdict()
    drawn = redemption_by_channel(contacts, claim=None, drawn=True)
    assert "chosen" not in drawn.verdict()
    assert drawn.to_frame()["estimand"].iloc[2] == "effect of assignment"


def test_a_redemption_counts_for_its_own_message_only():
    rows = [
        ("a", "k", "mobile", "sent"),
        ("a", "k", "paper", "sent"),
        ("b", "k", "paper", "sent"),
        ("a", "k", "mobile", "redeem"),
        ("b", "k", None, "redeem"),
        ("z", "k", "paper", "redeem"),
    ]
    contacts = pd.DataFrame(rows, columns=["customer_id", "campaign_id", "channel", "event"])
    found = redemption_by_channel(contacts.assign(sent_at=pd.Timestamp("2024-05-01")))
    assert (found.rate_one.value, found.rate_other.value) == (1.0, 0.5)
    assert found.verdict().startswith("Fewer than five")


def test_no_redemption_in_a_channel_has_no_limits():
    hits = np.array([True] * 6 + [False] * 14)
    found = ratio_of_rates(hits, np.arange(20) < 10, np.repeat(np.arange(10), 2), level=0.95)
    assert found.value == np.inf
    assert np.isnan(found.low)


def test_bad_input_is_refused():
    contacts = coupons(np.random.default_rng(6), 50)
    with pytest.raises(DesignError, match="channel 'app'; the channels are mobile, paper"):
        redemption_by_channel(contacts, one="app")
    with pytest.raises(ContractError, match="no event 'redeem'"):
        redemption_by_channel(contacts[contacts["event"] == "sent"])
    with pytest.raises(ContractError, match="column channel"):
        redemption_by_channel(contacts.drop(columns="channel"))
    with pytest.raises(ArgumentError, match="same channel"):
        redemption_by_channel(contacts, one="paper")
    with pytest.raises(ArgumentError, match="above 0"):
        redemption_by_channel(contacts, claim=0)
    with pytest.raises(ContractError, match="has_consent"):
        redemption_by_channel(contacts.assign(has_consent=False))
