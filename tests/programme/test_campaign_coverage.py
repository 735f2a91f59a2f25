"""Coverage of the intervals of campaigns by simulation with known truth."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.programme import (
    audit_contacts,
    campaign_funnel,
    contact_dose_response,
    early_access,
    gratitude_latency,
    offer_days,
    offer_lift,
    sunset_policy_test,
)

DAY = pd.Timedelta(days=1)
MAY = pd.Timestamp("2024-05-01")


def names(n):
    return np.array([f"c{i:04}" for i in range(n)])


def offer(rng):
    """An offer that adds 5 and pulls 4 forward, with and without what was spent before."""
    n = 240
    treated = rng.permutation(n) < n // 2
    level = rng.gamma(4, 5, n)
    parts = [
        ("2024-04-20", level + rng.gamma(2, 5, n)),
        ("2024-05-05", level + rng.gamma(2, 5, n) + 5.0 * treated),
        ("2024-05-30", level + rng.gamma(2, 5, n) + 4.0 - 4.0 * treated),
    ]
    orders = pd.concat(
        [
            pd.DataFrame({"customer_id": names(n), "transacted_at": pd.Timestamp(d), "amount": a})
            for d, a in parts
        ]
    )
    people = pd.DataFrame({"customer_id": names(n), "arm": np.where(treated, "in", "out")})
    options = {"treated": "in", "control": "out", "start": "2024-05-01", "end": "2024-05-15"}
    options |= {"after_days": 28, "as_of": "2024-06-30", "margin": 1.0}
    plain = offer_lift(people, orders, **options)
    narrow = offer_lift(people, orders, covariates=["before"], **options)
    return {
        "during": (plain.during, 5.0),
        "after": (plain.after, -4.0),
        "net": (plain.net, 1.0),
        "net, adjusted": (narrow.net, 1.0),
    }


def access(rng):
    """Early access that adds 6 of reduced goods and costs 4 at full price."""
    n = 240
    early = rng.permutation(n) < n // 2
    parts = [
        ("2024-05-02", rng.gamma(4, 2, n) + 6.0 * early, 3.0),
        ("2024-05-12", rng.gamma(9, 4, n) - 4.0 * early, 0.0),
    ]
    orders = pd.concat(
        [
            pd.DataFrame(
                {
                    "customer_id": names(n),
                    "transacted_at": pd.Timestamp(d),
                    "amount": a,
                    "discount_amount": cut,
                }
            )
            for d, a, cut in parts
        ]
    )
    people = pd.DataFrame({"customer_id": names(n), "arm": np.where(early, "in", "out")})
    options = {"treated": "in", "control": "out", "start": "2024-05-01", "public": "2024-05-04"}
    found = early_access(people, orders, after_days=28, as_of="2024-06-30", margin=1.0, **options)
    return {"all": (found.everything.net, 2.0), "full price": (found.full_price.net, -4.0)}


def dose(rng):
    """Each message drawn adds 2 of margin, with more spread, and 4% leave per message."""
    n = 450
    drawn = rng.integers(0, 3, n)
    amount = 50 + 2.0 * drawn + rng.normal(0, 5, n) * (1 + drawn)
    gone = rng.random(n) < 0.02 + 0.04 * drawn
    contacts = pd.concat(
        [
            pd.DataFrame({"customer_id": np.repeat(names(n), drawn), "event": "sent"}),
            pd.DataFrame({"customer_id": names(n)[gone], "event": "opt_out"}),
        ]
    ).assign(sent_at=MAY + DAY)
    orders = pd.DataFrame({"customer_id": names(n), "amount": amount, "transacted_at": MAY + 2 * DAY})
    people = pd.DataFrame({"customer_id": names(n), "dose": drawn})
    found = contact_dose_response(
        contacts, people, orders, start=MAY, end=MAY + 30 * DAY, assigned="dose", margin=1.0
    )
    level = found.by_dose.set_index("dose").loc[2.0]
    return {
        "margin trend": (found.margin_trend, 2.0),
        "opt-out trend": (found.opt_out_trend, 0.04),
        "margin at two": (level["margin"], 54.0),
        "opt-out at two": (level["opt_out"], 0.10),
    }


def days(rng):
    """Five offer days of 60 more, taken back over the six days after."""
    dates = ["2024-03-13", "2024-05-15", "2024-07-17", "2024-09-18", "2024-11-13"]
    every = pd.date_range("2024-01-01", "2024-12-31")
    sales = 200 + 100 * (every.dayofweek >= 5) + rng.normal(0, 20, len(every))
    for date in pd.to_datetime(dates):
        at = int((every == date).argmax())
        sales[at] += 60
        sales[at + 1 : at + 7] -= 10
    orders = pd.DataFrame({"customer_id": "a", "transacted_at": every, "amount": np.asarray(sales)})
    found = offer_days(orders, dates=dates, as_of="2024-12-31", margin=1.0)
    return {"on the day": (found.on_day, 60.0), "after": (found.after, -60.0), "net": (found.net, 0.0)}


def thanks(rng):
    """Thanks after an exponential time of ten days, watched for two months."""
    n = 200
    at = MAY + pd.to_timedelta(rng.uniform(0, 60, n), unit="D")
    said = at + pd.to_timedelta(rng.exponential(10.0, n), unit="D")
    seen = said < MAY + 60 * DAY
    found = gratitude_latency(
        pd.DataFrame({"customer_id": names(n), "occurred_at": at}),
        pd.DataFrame({"customer_id": names(n)[seen], "sent_at": said[seen]}),
        as_of=MAY + 59 * DAY,
    )
    return {"median": (found.median, 10 * np.log(2)), "in a week": (found.thanked[7], 1 - np.exp(-0.7))}


def messages(rng):
    """Two messages a customer at own rates: a third at night, a fifth clicked; some get three in a week."""
    n = 150
    who = np.repeat(names(n), 2)
    night = rng.random(2 * n) < np.repeat(rng.beta(2, 4, n), 2)
    when = (
        MAY
        + pd.to_timedelta(np.tile([0, 20], n), unit="D")
        + pd.to_timedelta(np.where(night, 23, 10), unit="h")
    )
    sent = pd.DataFrame(
        {"customer_id": who, "event": "sent", "sent_at": when, "campaign_id": np.tile(["a", "b"], n)}
    )
    click = sent[rng.random(2 * n) < np.repeat(rng.beta(1, 4, n), 2)].assign(event="click")
    much = names(n)[rng.random(n) < 0.15]
    more = pd.concat(
        [
            pd.DataFrame(
                {"customer_id": much, "event": "sent", "sent_at": MAY + k * DAY, "campaign_id": f"m{k}"}
            )
            for k in (40, 41, 42)
        ]
    )
    audit = audit_contacts(sent, timezone="UTC")
    capped = audit_contacts(pd.concat([sent, more]), timezone="UTC")
    return {
        "quiet": (audit.quiet, 1 / 3),
        "customers over the cap": (capped.customers_over[7], 0.15),
        "clicked": (campaign_funnel(pd.concat([sent, click])).rate("clicked"), 0.2),
    }


def silent(rng):
    """Half open their messages and order at 50%, the others at 20%."""
    n = 240
    weeks = [MAY + 7 * DAY * k for k in range(4)]
    opener = np.arange(n) % 2 == 0
    contacts = pd.concat(
        [pd.DataFrame({"customer_id": names(n), "event": "sent", "sent_at": w}) for w in weeks]
        + [pd.DataFrame({"customer_id": names(n)[opener], "event": "open", "sent_at": weeks[1] + DAY})]
    )
    buys = rng.random(n) < np.where(opener, 0.5, 0.2)
    orders = pd.DataFrame({"customer_id": names(n)[buys], "transacted_at": MAY + 40 * DAY})
    found = sunset_policy_test(contacts, orders, within_days=60, as_of="2024-12-31")
    return {"silent": (found.silent, 0.2), "difference": (found.difference, -0.3)}


WHAT = {
    "offer": "offer against a holdout",
    "access": "early access",
    "dose": "contact dose drawn by lot",
    "days": "offer days",
    "thanks": "time to thanks",
    "messages": "messages",
    "silent": "unopened messages",
}
WORLDS = [offer, access, dose, days, thanks, messages, silent]


def shares_covered(world, replicates, seed):
    rng = np.random.default_rng(seed)
    hits = {}
    for _ in range(replicates):
        for name, (estimate, truth) in world(rng).items():
            hits.setdefault(name, []).append(estimate.low <= truth <= estimate.high)
    return {name: float(np.mean(found)) for name, found in hits.items()}


@pytest.mark.parametrize("world", WORLDS)
def test_truths_are_covered(world):
    least = 0.95 - 3.5 * np.sqrt(0.05 * 0.95 / 40)
    assert {name: share for name, share in shares_covered(world, 40, 1).items() if share < least} == {}


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_truths_cover(world, published):
    # few days, small counts and steps of a curve make some intervals a little wide; none may be short
    least = 0.95 - 3.5 * np.sqrt(0.05 * 0.95 / 2000)
    found = shares_covered(world, 2000, 2)
    published({f"{WHAT[world.__name__]}: {name}": share for name, share in found.items()}, 2000)
    assert {name: share for name, share in found.items() if not least <= share <= 0.985} == {}
