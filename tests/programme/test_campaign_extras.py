import numpy as np
import pandas as pd
import pytest

from loyalty_research.data import Dataset
from loyalty_research.errors import ArgumentError
from loyalty_research.programme import campaign_study

DAY = pd.Timedelta(days=1)
START = pd.Timestamp("2024-03-01 10:00")


def people(n):
    return [f"c{i:04}" for i in range(n)]


def shop(contacts, orders, **tables):
    contacts = contacts.assign(contact_id=[f"k{i}" for i in range(len(contacts))])
    orders = orders.assign(transaction_id=[f"t{i}" for i in range(len(orders))], currency="EUR")
    return Dataset.from_frames(
        "shop",
        {"contacts": contacts, "transactions": orders, **tables},
        description="Made up.",
        kind="user",
        as_of="2024-12-31",
        currency="EUR",
    )


def sent(who, *, when=START, event="sent", **columns):
    return pd.DataFrame({"customer_id": who, "sent_at": when, "event": event, "campaign_id": "s", **columns})


def bought(who, when, amount=10.0, **columns):
    return pd.DataFrame({"customer_id": who, "transacted_at": when, "amount": amount, **columns})


def text(study):
    return " ".join(piece.text for piece in study.extras.shown())


def weekly(n=60, weeks=12):
    """Weekly messages; a third of the customers open them, all order in the week after the sixth."""
    who = people(n)
    parts = [sent(who, when=START + 7 * DAY * w, campaign_id=f"w{w}") for w in range(weeks)]
    parts += [
        sent(who[: n // 3], when=START + 7 * DAY * w + DAY, event="open", campaign_id=f"w{w}")
        for w in range(weeks)
    ]
    orders = pd.concat([bought(who, "2023-06-01"), bought(who, START + 40 * DAY)])
    orders["transacted_at"] = pd.to_datetime(orders["transacted_at"])
    return pd.concat(parts), orders


def test_streaks_and_clashing_rules_are_shown():
    contacts, orders = weekly()
    twice = contacts.assign(sent_at=contacts["sent_at"] + 3 * DAY, campaign_id=contacts["campaign_id"] + "b")
    study = campaign_study(shop(pd.concat([contacts, twice]), orders), within_days=7)
    assert study.extras.streaks.reactivated is not None
    found = {f.id: f for f in study.findings()}["rules-clash"]
    assert found.estimate.value == 1.0
    assert "6 or more" in text(study)
    assert "Viet Nam" in text(study)


def test_orders_on_named_days_birthdays_and_thanks_are_shown_when_asked_for():
    rng = np.random.default_rng(1)
    who = people(200)
    days = pd.date_range("2022-01-01", "2024-12-31", freq="7D")
    orders = bought(np.tile(who, len(days)), np.repeat(days, 200), rng.gamma(4, 5, 200 * len(days)))
    births = pd.Timestamp("1981-01-01") + pd.to_timedelta(rng.integers(0, 365, 200), unit="D")
    contacts = pd.concat(
        [sent(who), sent(who[:150], when=pd.Timestamp("2022-01-05 12:00"), campaign_id="thanks")]
    )
    source = shop(contacts, orders, customers=pd.DataFrame({"customer_id": who, "birth_date": births}))
    plain = campaign_study(source)
    assert plain.extras.own_dates is not None
    assert "No day of an offer" in dict(plain.absent)["Offers to everybody on a day"]
    study = campaign_study(
        source, offer_dates=["2024-05-15", "2024-07-17", "2024-09-18"], thanks_campaigns=["thanks"]
    )
    assert {type(part).__name__ for part in study.extras.others} == {"OfferDays", "GratitudeLatency"}
    assert "Half of the customers are thanked" in text(study)
    ((axes, alt, _),) = study.extras.figures()
    assert axes.get_xlabel() == "weeks from the date"
    assert "highest in week" in alt
    assert "Offers on birthdays" not in dict(study.absent)
    assert (
        "no message of the campaigns"
        in dict(campaign_study(source, thanks_campaigns=["x"]).absent)["Time to thanks"].lower()
    )


def lots(n=2000, **columns):
    return pd.DataFrame(
        {
            "experiment_id": "spring",
            "customer_id": people(n),
            "arm": np.where(np.arange(n) % 2 == 0, "mailed", "control"),
            "assigned_at": START,
            "assignment_probability": 0.5,
            **columns,
        }
    )


def test_coupons_that_replaced_orders_are_read_from_the_lots():
    rng = np.random.default_rng(2)
    who = np.array(people(2000))
    mailed = np.arange(2000) % 2 == 0
    orders_anyway, moved = rng.random(2000) < 0.3, rng.random(2000) < 0.15
    buys = orders_anyway | (moved & mailed)
    orders = pd.concat(
        [
            bought(who, START - 20 * DAY, rng.gamma(4, 5, 2000), coupon_code=None),
            bought(who[buys], START + 5 * DAY, 10.0, coupon_code=np.where(mailed[buys], "MAY", None)),
            bought(who[:1], START - 90 * DAY, coupon_code=None),
        ]
    )
    study = campaign_study(shop(sent(who[mailed]), orders, assignments=lots()))
    (part,) = study.extras.others
    truth = 1 - 0.15 * 0.7 / (0.3 + 0.15 * 0.7)
    assert part.share.low < truth < part.share.high
    assert "would have come without the coupon" in text(study)
    assert "margin before" in study.offer.net.method
    # chosen coupons tell nothing
    chosen = campaign_study(shop(sent(who[mailed]), orders))
    assert (
        "Who redeems a coupon chose to"
        in dict(chosen.absent)["Sales that coupons only moved or made cheaper"]
    )


def test_rewards_drawn_by_lot_are_read_when_named():
    rng = np.random.default_rng(3)
    who = np.array(people(1000))
    reward = np.arange(1000) % 2 == 0
    answers = rng.random(1000) < np.where(reward, 0.5, 0.3)
    surveys = pd.DataFrame(
        {
            "response_id": [f"r{i}" for i in range(answers.sum())],
            "customer_id": who[answers],
            "answered_at": START + 3 * DAY,
            "value": rng.integers(0, 11, answers.sum()).astype(float),
        }
    )
    brought = rng.random(1000) < np.where(reward, 0.3, 0.1)
    referrals = pd.DataFrame(
        {
            "referral_id": [f"f{i}" for i in range(brought.sum())],
            "referrer_id": who[brought],
            "referred_id": [f"n{i}" for i in range(brought.sum())],
            "referred_at": START + 3 * DAY,
        }
    )
    drawn = lots(1000, arm=np.where(reward, "reward", "none"))
    source = shop(
        sent(who), bought(who, START - 20 * DAY), assignments=drawn, surveys=surveys, referrals=referrals
    )
    study = campaign_study(source, feedback_experiment="spring", referral_experiment="spring")
    found = {type(part).__name__: part for part in study.extras.others}
    rate = pd.Series(answers).groupby(reward).mean()
    assert found["IncentiveBias"].response.value == pytest.approx(rate[True] - rate[False])
    share = pd.Series(brought).groupby(reward).mean()
    assert found["ReferralReward"].brought.value == pytest.approx(share[True] - share[False])
    assert "Do not compare scores" in text(study)
    assert study.lift is None
    assert dict(study.absent)["What the messages caused"].startswith(
        "Nobody was drawn by lot to get no message"
    )
    plain = campaign_study(source)
    assert "No experiment was named" in dict(plain.absent)["Rewards for feedback"]
    wrong = campaign_study(source, feedback_experiment="autumn")
    assert "not one arm against a control" in dict(wrong.absent)["Rewards for feedback"]


def test_redemption_by_channel_needs_the_channels():
    who = people(400)
    contacts = pd.concat(
        [
            sent(who[:200], channel="app"),
            sent(who[200:], channel="print"),
            sent(who[:60], when=START + DAY, event="redeem", channel="app"),
            sent(who[200:220], when=START + DAY, event="redeem", channel="print"),
        ]
    )
    source = shop(contacts, bought(who, START - 20 * DAY))
    study = campaign_study(source, channels=["app", "print"])
    assert study.extras.others[0].ratio.value == pytest.approx(3.0)
    assert "10 times that are claimed do not hold here" in text(study)
    assert "the channels are app, print" in dict(campaign_study(source).absent)["Redemption by channel"]
    with pytest.raises(ArgumentError, match="two channels"):
        campaign_study(source, channels=["app"])
    with pytest.raises(ArgumentError, match="own_dates"):
        campaign_study(source, own_dates="wedding")


def test_writing_by_segment_is_judged_where_lots_were_drawn():
    rng = np.random.default_rng(6)
    who = np.array(people(2000))
    mailed = np.arange(2000) % 2 == 0
    group = np.where(rng.random(2000) < 0.5, "web", "shop")
    effect = np.where(group == "web", 8.0, -4.0) * mailed
    orders = pd.concat(
        [
            bought(who, START - 20 * DAY, rng.gamma(4, 5, 2000)),
            bought(who, START + 5 * DAY, 20 + rng.gamma(4, 5, 2000) + effect),
        ]
    )
    customers = pd.DataFrame({"customer_id": who, "acquisition_channel": group})
    source = shop(sent(who[mailed]), orders, assignments=lots(), customers=customers)
    study = campaign_study(source, segment="acquisition_channel")
    (part,) = study.extras.others
    assert part.chosen == ("web",)
    assert part.lifts["web"].low < 8.0 < part.lifts["web"].high
    assert part.gain.low < 2.0 < part.gain.high
    assert "Offering it only where it paid brings" in text(study)
    name = "Whom to write to, by segment"
    assert "No column of customers was named" in dict(campaign_study(source).absent)[name]
    assert "no column age_band" in dict(campaign_study(source, segment="age_band").absent)[name]
