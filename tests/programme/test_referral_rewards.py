import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.programme.referral_rewards import referral_reward

OPTIONS = {"treated": "reward", "control": "none", "start": "2024-05-01", "days": 30, "as_of": "2024-12-31"}
WHEN = pd.Timestamp("2024-05-10")


def world(rng, n=600, *, rate=0.15, lift=0.25):
    """Customers bring others one by one; those brought with the reward spend 20, the others 30."""
    ids = np.array([f"c{i:04}" for i in range(n)])
    drawn = np.arange(n) % 2 == 0
    count = rng.poisson(rate + lift * drawn)
    who = np.repeat(np.arange(n), count)
    new = np.array([f"n{i:04}" for i in range(len(who))])
    referrals = pd.DataFrame({"referrer_id": ids[who], "referred_id": new, "referred_at": WHEN})
    spend = rng.gamma(2, np.where(drawn[who], 10, 15))
    orders = pd.DataFrame({"customer_id": new, "transacted_at": WHEN + pd.Timedelta(days=3), "amount": spend})
    return pd.DataFrame({"customer_id": ids, "arm": np.where(drawn, "reward", "none")}), referrals, orders


def test_counts_values_and_costs_follow_their_definitions():
    people, referrals, orders = world(np.random.default_rng(1))
    found = referral_reward(
        people,
        referrals,
        transactions=orders,
        value_days=90,
        margin=0.5,
        reward_cost=4.0,
        currency="EUR",
        **OPTIONS,
    )
    arm = people.set_index("customer_id")["arm"]
    by = referrals["referrer_id"].map(arm)
    mean = by.value_counts() / 300
    assert found.brought.value == pytest.approx(mean["reward"] - mean["none"])
    assert found.rewarded.value == pytest.approx(referrals["referrer_id"][by == "reward"].nunique() / 300)
    gain = 0.5 * orders["amount"].groupby(by.to_numpy()).agg(["mean", "sum"])
    assert found.value.value == pytest.approx(gain.loc["reward", "mean"] - gain.loc["none", "mean"])
    per_invited = (gain.loc["reward", "sum"] - gain.loc["none", "sum"]) / 300
    assert found.value_brought.value == pytest.approx(per_invited)
    assert found.cost_per_extra.value == pytest.approx(4.0 * mean["reward"] / (mean["reward"] - mean["none"]))
    assert found.bought.value == 0.0
    assert np.isnan(found.bought.low)  # all of them bought: nothing varies
    assert "cost" in found.verdict()
    shown = found.to_frame().set_index("metric")["estimand"]
    assert "not an effect" in shown["margin per customer brought"]


def test_windows_are_half_open_and_a_customer_is_brought_once():
    people = pd.DataFrame({"customer_id": list("abcd"), "arm": ["reward", "reward", "none", "none"]})
    referrals = pd.DataFrame(
        {
            "referrer_id": ["a", "b", "a", "c", "d", "z"],
            "referred_id": ["n1", "n1", "n2", "n3", None, "n4"],
            "referred_at": pd.to_datetime(
                ["2024-05-02", "2024-05-03", "2024-05-31", "2024-04-30", "2024-05-05", "2024-05-05"]
            ),
        }
    )
    found = referral_reward(people, referrals, **OPTIONS)
    # n1 belongs to a, 31 May and 30 April lie outside, d's friend never came, z was not drawn
    assert found.brought.value == 0.5
    assert (found.rewarded.value, found.unrewarded.value) == (1.0, 0.5)
    assert found.value is None


def coverage(replicates, seed):
    rng = np.random.default_rng(seed)
    hits = np.zeros(4)
    for _ in range(replicates):
        people, referrals, orders = world(rng)
        found = referral_reward(
            people, referrals, transactions=orders, value_days=90, margin=1.0, reward_cost=2.0, **OPTIONS
        )
        truths = (
            (found.brought, 0.25),
            (found.value, -10.0),
            (found.value_brought, 0.4 * 20 - 0.15 * 30),
            (found.cost_per_extra, 2.0 * 0.4 / 0.25),
        )
        hits += [e.low <= truth <= e.high for e, truth in truths]
    return hits / replicates


def test_truths_are_covered():
    assert coverage(150, 2) == pytest.approx(0.95, abs=3.2 * np.sqrt(0.05 * 0.95 / 150))


@pytest.mark.slow
def test_truths_cover(published):
    share = coverage(2000, 3)
    what = ("customers brought", "value of one", "value brought", "cost per extra customer")
    published(zip([f"reward for referring: {w}" for w in what], share, strict=True), 2000)
    assert share == pytest.approx(0.95, abs=3.5 * np.sqrt(0.05 * 0.95 / 2000))


def test_nobody_brought_in_an_arm_leaves_quality_unmeasured():
    people, referrals, orders = world(np.random.default_rng(4))
    arm = people.set_index("customer_id")["arm"]
    only = referrals[referrals["referrer_id"].map(arm) == "none"]
    found = referral_reward(
        people, only, transactions=orders, value_days=90, margin=1.0, reward_cost=1.0, **OPTIONS
    )
    assert found.value is None
    assert np.isnan(found.cost_per_extra.value)
    assert "cannot be limited" in found.verdict()


def test_referrals_of_which_nobody_came_are_told_as_such():
    people, referrals, orders = world(np.random.default_rng(8))
    none = referrals.assign(referred_id=None)
    found = referral_reward(people, none, transactions=orders, value_days=90, margin=1.0, **OPTIONS)
    assert found.referring.low > 0
    assert found.value_brought is None
    assert "nobody is recorded to have come" in found.verdict()


def test_a_referred_customer_who_was_drawn_too_is_counted():
    people, referrals, _ = world(np.random.default_rng(5))
    inside = referrals.assign(referred_id=["c0599", *referrals["referred_id"][1:]])
    found = referral_reward(people, inside, **OPTIONS)
    assert any("1 customer brought" in c.detail and c.status == "warning" for c in found.checks)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"as_of": "2024-05-20"}, ArgumentError, "wait, or shorten"),
        ({"value_days": 30}, ArgumentError, "go together"),
        ({"reward_cost": -1.0}, ArgumentError, "above 0"),
    ],
)
def test_bad_options_are_refused(options, error, words):
    people, referrals, _ = world(np.random.default_rng(6))
    with pytest.raises(error, match=words):
        referral_reward(people, referrals, **OPTIONS | options)


def test_bad_tables_are_refused():
    people, referrals, _ = world(np.random.default_rng(6))
    with pytest.raises(ContractError, match="referred themselves"):
        referral_reward(people, referrals.assign(referred_id=referrals["referrer_id"]), **OPTIONS)
    with pytest.raises(ContractError, match="lacks the column referred_at"):
        referral_reward(people, referrals.drop(columns="referred_at"), **OPTIONS)
    with pytest.raises(ContractError, match="repeats"):
        referral_reward(pd.concat([people, people]), referrals, **OPTIONS)
