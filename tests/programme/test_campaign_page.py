import dataclasses

import numpy as np
import pandas as pd
import pytest

from loyalty_research.data import Dataset
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.programme import campaign_study

DAY = pd.Timedelta(days=1)


def shop(sent, orders, *, timezone="UTC", as_of="2024-12-31", **tables):
    """A dataset from (customer, moment, event, campaign) and (customer, moment, amount)."""
    contacts = pd.DataFrame(sent, columns=["customer_id", "sent_at", "event", "campaign_id"])
    contacts["contact_id"] = [f"k{i}" for i in range(len(contacts))]
    contacts["sent_at"] = pd.to_datetime(contacts["sent_at"]).dt.tz_localize("UTC")
    sales = pd.DataFrame(orders, columns=["customer_id", "transacted_at", "amount"])
    sales["transaction_id"] = [f"t{i}" for i in range(len(sales))]
    sales["transacted_at"] = pd.to_datetime(sales["transacted_at"])
    sales["currency"] = "EUR"
    every = {"contacts": contacts, "transactions": sales, **tables}
    return Dataset.from_frames(
        "shop", every, description="Made up.", kind="user", timezone=timezone, as_of=as_of, currency="EUR"
    )


def people(n):
    return [f"c{i:04}" for i in range(n)]


def lottery(effect, *, n=2000, seed=3, gap=0.0):
    """Half are drawn; each customer spends around 20 before, and 20 and the effect after."""
    rng = np.random.default_rng(seed)
    who = people(n)
    drawn = np.arange(n) % 2 == 0
    start = pd.Timestamp("2024-03-01")
    orders = [(c, start - 20 * DAY, a) for c, a in zip(who, rng.gamma(4, 5, n) + gap * drawn, strict=True)]
    orders += [(c, start + 5 * DAY, a) for c, a in zip(who, rng.gamma(4, 5, n) + effect * drawn, strict=True)]
    orders.append((who[0], start - 60 * DAY, 1.0))
    sent = [(c, start, "sent", "spring") for c, d in zip(who, drawn, strict=True) if d]
    lots = pd.DataFrame(
        {
            "experiment_id": "spring",
            "customer_id": who,
            "arm": np.where(drawn, "mailed", "control"),
            "assigned_at": start,
            "assignment_probability": 0.5,
        }
    )
    return sent, orders, lots


def headlines(study):
    return {f.id: f for f in study.findings()}


def test_lots_give_an_effect_that_holds_the_truth_and_comes_first():
    sent, orders, lots = lottery(effect=6.0)
    study = campaign_study(shop(sent, orders, assignments=lots))
    first = study.findings()[0]
    assert first.id == "caused"
    assert first.status == "finding"
    assert first.estimate.low < 6.0 < first.estimate.high
    assert first.estimate.low > 0
    assert study.dose is None  # no association beside an effect
    assert study.lift.randomised
    assert "all 180 days" in study.shown_offer().text


def test_an_offer_that_changes_nothing_is_not_called_an_effect():
    sent, orders, lots = lottery(effect=0.0)
    found = headlines(campaign_study(shop(sent, orders, assignments=lots)))["caused"]
    assert found.estimate.low < 0 < found.estimate.high
    assert "not settled" in found.headline


def test_groups_that_differed_before_get_no_effect():
    sent, orders, lots = lottery(effect=6.0, gap=8.0)
    study = campaign_study(shop(sent, orders, assignments=lots))
    found = headlines(study)["caused"]
    assert found.status == "suppressed"
    assert found.estimate is None
    assert list(study.dose_figures()) == []
    assert list(study.shown_doses()) == []
    assert "No verdict" in study.verdict()


def test_sizes_far_from_the_plan_get_no_effect():
    sent, orders, lots = lottery(effect=6.0)
    study = campaign_study(shop(sent, orders, assignments=lots.assign(assignment_probability=0.6)))
    assert headlines(study)["caused"].status == "suppressed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.assign(arm=["a", "b"] * (len(a) // 2)), "against a control"),
        (lambda a: a.assign(cluster_id=a["arm"]), "whole clusters"),
        (lambda a: a.assign(assignment_probability=[0.4, 0.5, 0.6, 0.5] * (len(a) // 4)), "weights"),
        (
            lambda a: a.assign(assigned_at=a["assigned_at"] + DAY * (np.arange(len(a)) % 4 // 2)),
            "several moments",
        ),
        (lambda a: a.assign(assigned_at=pd.Timestamp("2024-12-01")), "not watched for 180 days"),
    ],
)
def test_lots_this_page_cannot_read_are_named_with_the_reason(change, words):
    sent, orders, lots = lottery(effect=6.0, n=400)
    study = campaign_study(shop(sent, orders, assignments=change(lots)))
    assert study.lift is None
    assert words in dict(study.absent)["What the messages caused"]
    assert words in headlines(study)["caused"].headline


def test_what_was_chosen_is_called_chosen():
    who = people(60)
    sent = [
        (c, f"2024-0{m}-05 10:00", "sent", f"m{m}") for i, c in enumerate(who) for m in range(3, 3 + i % 3)
    ]
    orders = [(c, "2024-01-01", 1.0) for c in who]
    orders += [(c, "2024-06-01", 10.0 * (i % 3)) for i, c in enumerate(who) if i % 3]
    customers = pd.DataFrame({"customer_id": who})
    study = campaign_study(shop(sent, orders, customers=customers))
    found = headlines(study)["chosen-dose"]
    assert found.status == "caution"
    assert found.estimate.value == pytest.approx(10.0)
    assert "chosen, not drawn by lot" in found.headline
    assert study.dose_table(drawn=False)["dose"].tolist() == [0, 1, 2]
    assert study.dose_table(drawn=False)["estimate"].tolist() == pytest.approx([0, 10, 20])


def test_the_last_number_of_messages_stands_for_itself_and_more():
    who = people(40)
    sent = [
        (c, f"2024-0{m}-05 10:00", "sent", f"m{m}") for i, c in enumerate(who) for m in range(3, 3 + i % 4)
    ]
    source = shop(sent, [(c, "2024-01-01", 1.0) for c in who], customers=pd.DataFrame({"customer_id": who}))
    study = campaign_study(source, top=2)
    assert study.dose_table(drawn=False).set_index("dose")["customers"].to_dict() == {0: 10, 1: 10, 2: 20}
    (table,) = study.shown_doses()
    assert "2 or more" in table.text
    ((axes, alt, _),) = study.dose_figures()
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "1", "2+"]
    assert "at 0" in alt


def test_orders_after_a_message_stand_beside_orders_before_it():
    sent = [(c, "2024-05-01", "sent", "may") for c in people(10)]
    orders = [(c, "2024-04-20", 5.0) for c in people(6)] + [(c, "2024-05-10", 5.0) for c in people(8)]
    orders.append(("other", "2024-01-01", 5.0))
    study = campaign_study(shop(sent, orders))
    assert (study.before.value, study.after.value) == (0.6, 0.8)


def test_messages_not_watched_on_both_sides_are_in_neither_share():
    sent = [(c, "2024-12-20", "sent", "xmas") for c in people(10)]
    study = campaign_study(shop(sent, [(c, "2024-01-01", 5.0) for c in people(10)]))
    assert study.after is None
    assert "Orders before and after a message" in dict(study.absent)


def test_campaigns_that_were_still_open_are_left_out_and_counted():
    early = [(c, "2024-05-01", "sent", "may") for c in people(20)]
    early += [(c, "2024-05-03", "redeem", "may") for c in people(10)]
    late = [(c, "2024-12-20", "sent", "xmas") for c in people(30)]
    source = shop(early + late, [(c, "2024-01-01", 5.0) for c in people(20)])
    contacts = source.frame("contacts")[["contact_id", "customer_id", "sent_at", "event", "campaign_id"]]
    ends = contacts["campaign_id"].map(
        {"may": pd.Timestamp("2024-06-01"), "xmas": pd.Timestamp("2025-01-15")}
    )
    again = Dataset.from_frames(
        "shop",
        {
            "contacts": contacts.assign(campaign_end=ends),
            "transactions": source.frame("transactions")[
                ["transaction_id", "customer_id", "transacted_at", "amount", "currency"]
            ],
        },
        description="Made up.",
        kind="user",
        as_of="2024-12-31",
    )
    study = campaign_study(again)
    assert study.funnel.rate("redeemed").value == 0.5
    assert study.funnel.rate("redeemed").n == study.n == 20
    assert list(study.dropped.values()) == [30]


def test_quiet_hours_are_those_of_the_place():
    sent = [(c, "2024-07-01 19:30", "sent", "s") for c in people(10)]  # 21:30 in Madrid, 19:30 in UTC
    orders = [(c, "2024-01-01", 5.0) for c in people(10)]
    there = campaign_study(shop(sent, orders, timezone="Europe/Madrid"))
    here = campaign_study(shop(sent, orders))
    assert (there.audit.quiet.value, here.audit.quiet.value) == (1.0, 0.0)
    assert "Europe/Madrid" in headlines(there)["quiet-hours"].headline


def test_few_in_quiet_hours_are_said_to_be_few():
    sent = [(c, f"2024-07-01 {'23' if i < 3 else '10'}:30", "sent", "s") for i, c in enumerate(people(40))]
    study = campaign_study(shop(sent, [(c, "2024-01-01", 5.0) for c in people(40)]))
    found = headlines(study)["quiet-hours"]
    assert found.estimate is None
    assert "Fewer than five" in found.headline
    assert "quiet" not in study.shown_rules().text
    assert "beyond the cap" in study.shown_rules().text


def test_messages_of_midnight_have_no_hour_and_the_page_says_so():
    sent = [(c, "2024-07-01", "sent", "s") for c in people(10)]
    study = campaign_study(shop(sent, [(c, "2024-01-01", 5.0) for c in people(10)]))
    assert "quiet-hours" not in headlines(study)
    assert "not the hour" in dict(study.absent)["Quiet hours"]


def test_messages_without_consent_are_in_no_rate_and_counted():
    sent = [(c, "2024-07-01 10:00", "sent", "s") for c in people(20)]
    sent += [(c, "2024-07-02 10:00", "click", "s") for c in people(10)]
    source = shop(sent, [(c, "2024-01-01", 5.0) for c in people(20)])
    contacts = source.frame("contacts")[["contact_id", "customer_id", "sent_at", "event", "campaign_id"]]
    contacts["has_consent"] = ~contacts["customer_id"].isin(people(5))
    sales = source.frame("transactions")[
        ["transaction_id", "customer_id", "transacted_at", "amount", "currency"]
    ]
    study = campaign_study(
        Dataset.from_frames(
            "shop", {"contacts": contacts, "transactions": sales}, description="Made up.", kind="user"
        )
    )
    assert study.funnel.rate("clicked").n == 15
    assert study.funnel.rate("clicked").value == pytest.approx(5 / 15)
    assert headlines(study)["consent"].status == "caution"
    assert any(c.name == "Consent" and c.status == "failed" for c in study.checks)
    assert "in no rate, only in the rules" in headlines(study)["consent"].headline
    assert study.audit.quiet.n == 20


def test_opens_carry_their_warning():
    sent = [(c, "2024-07-01 10:00", "sent", "s") for c in people(20)]
    sent += [(c, "2024-07-02 10:00", "open", "s") for c in people(10)]
    study = campaign_study(shop(sent, [(c, "2024-01-01", 5.0) for c in people(20)]))
    assert headlines(study)["opens"].status == "caution"
    assert "unreliable" in headlines(study)["opens"].headline
    assert study.findings()[0].id != "opens"


def test_rates_of_fewer_than_five_are_blank_and_cannot_be_worked_out():
    sent, counts = [], {"a": 30, "b": 20, "c": 2}
    for campaign, redeemed in counts.items():
        sent += [(c, "2024-05-01", "sent", campaign) for c in people(40)]
        sent += [(c, "2024-05-02", "redeem", campaign) for c in people(redeemed)]
    study = campaign_study(shop(sent, [(c, "2024-01-01", 5.0) for c in people(40)]))
    table = study.group_table("campaign_id").set_index("group")
    assert table["count"].isna().to_dict() == {"a": False, "b": True, "c": True}
    assert table["estimate"].isna().equals(table["count"].isna())
    assert list(study.figures()) == []  # one rate alone makes no picture


def test_few_who_left_are_not_shown_by_number_of_messages():
    who = people(40)
    sent = [(c, "2024-05-01", "sent", "s") for c in who[:20]] + [
        (c, "2024-05-02", "opt_out", "s") for c in who[:3]
    ]
    source = shop(sent, [(c, "2024-01-01", 5.0) for c in who], customers=pd.DataFrame({"customer_id": who}))
    assert "opted_out" not in campaign_study(source).dose_table(drawn=False).columns


def test_without_contacts_the_page_says_so():
    source = shop([("a", "2024-05-01", "sent", "s")], [("a", "2024-01-01", 5.0)])
    sales = source.frame("transactions")[
        ["transaction_id", "customer_id", "transacted_at", "amount", "currency"]
    ]
    bare = Dataset.from_frames("shop", {"transactions": sales}, description="Made up.", kind="user")
    study = campaign_study(bare)
    (only,) = study.findings()
    assert "no table contacts" in only.headline
    assert list(study.figures()) == []
    assert study.absent_table()["reason"].tolist() == [only.headline]
    for shown in (study.shown_funnel(), study.shown_rules(), study.shown_offer(), *study.shown_groups()):
        assert shown.text
    assert study.to_frame().empty


def test_the_simulated_programme_gets_its_truth_beside_the_estimate():
    sent, orders, lots = lottery(effect=6.0)
    source = shop(sent, orders, assignments=lots)
    study = campaign_study(source)
    assert "No true effect" in study.truth_words()
    known = dataclasses.replace(study, truth=6.0)
    assert "+6.00 EUR per customer in 180 days" in known.truth_words()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"margin": 0.0}, "margin"),
        ({"quiet_hours": ["21:00"]}, "quiet_hours"),
        ({"cap": 0}, "cap"),
        ({"within_days": 30, "lift_days": 30}, "lift_days"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    source = shop([("a", "2024-05-01", "sent", "s")], [("a", "2024-01-01", 5.0)])
    with pytest.raises(ArgumentError, match=words):
        campaign_study(source, **options)


def test_an_experiment_that_is_not_there_is_refused():
    sent, orders, lots = lottery(effect=6.0, n=40)
    with pytest.raises(ContractError, match="spring"):
        campaign_study(shop(sent, orders, assignments=lots), experiment="autumn")


def test_lots_of_whole_shops_are_compared_by_shops():
    sent, orders, lots = lottery(effect=6.0, n=2000)
    # shops of 20 customers, drawn as a whole: the order of customers alternates between the arms
    place = np.arange(2000)
    shop_of = np.where(place % 2 == 0, place // 40, 1000 + place // 40)
    by_shop = campaign_study(shop(sent, orders, assignments=lots.assign(cluster_id=shop_of.astype(str))))
    one_by_one = campaign_study(shop(sent, orders, assignments=lots))
    assert by_shop.offer.net.method.endswith("clusters")
    assert by_shop.offer.net.value == pytest.approx(one_by_one.offer.net.value, rel=0.05)
    assert by_shop.lift.margin_trend.method == "least squares, clusters left out one by one"
    assert any(c.name == "Clusters" and "50 clusters were offered" in c.detail for c in by_shop.checks)
    assert any("50 offered and 50 held out" in c.detail for c in by_shop.checks)
