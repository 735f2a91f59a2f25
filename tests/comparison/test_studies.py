import datetime as dt

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research import summaries
from loyalty_research.comparison import Comparison, Mean, NoGroupsError, find_units, study
from loyalty_research.errors import ArgumentError, ContractError, DesignError


def dataset(tables, **more):
    return lr.Dataset.from_frames("test", tables, description="Made for a test.", kind="user", **more)


@pytest.fixture(scope="module")
def programme():
    return lr.simulate("points", customers=3000, seed=4)


@pytest.fixture(scope="module")
def campaign():
    """A year of purchases; campaign a was sent to the busy half in July, campaign b to three in February."""
    rng = np.random.default_rng(3)
    days = pd.date_range("2023-01-01", "2023-12-31")
    busy = rng.uniform(0.02, 0.2, 400)
    rows = [
        (f"c{i}", day, float(rng.gamma(2, 10)))
        for i in range(400)
        for day in days[rng.random(len(days)) < busy[i]]
    ]
    lines = pd.DataFrame(rows, columns=["customer_id", "transacted_at", "amount"]).assign(
        transaction_id=lambda f: [f"t{i}" for i in range(len(f))]
    )
    sent = [f"c{i}" for i in range(400) if busy[i] + rng.normal(0, 0.08) > 0.12]
    contacts = pd.DataFrame(
        {
            "customer_id": [*sent, "c0", "c1", "c2"],
            "campaign_id": ["a"] * len(sent) + ["b"] * 3,
            "sent_at": [pd.Timestamp("2023-07-20")] * len(sent) + [pd.Timestamp("2023-02-01")] * 3,
            "event": "sent",
        }
    ).assign(contact_id=lambda f: [f"k{i}" for i in range(len(f))])
    return dataset({"transactions": lines, "contacts": contacts}, currency="EUR", as_of=dt.date(2023, 12, 31))


def test_an_experiment_with_memberships_is_an_encouragement_with_members_beside(programme):
    found = study(programme, ratio=(1, 1))
    assert found.design == "encouragement, observational"
    assert found.units.origin == "units"
    assert found.n == 3000
    itt, ate = found.main.estimate(estimand="ITT"), found.members.estimate(estimand="ATE")
    assert itt.unit == ate.unit == "EUR"
    assert (found.members.control, found.members.arms) == ("non-member", ("member",))
    ids = [f.id for f in found.findings()]
    assert ids[0] == "spend-invited"
    assert ids[-1] == "members-spend-member-raw-gap"
    assert len(set(ids)) == len(ids)


def test_the_truth_is_set_beside_the_estimates(programme):
    found = study(programme, ratio=(1, 1))
    truths = found.truths()
    assert len(truths) == 4
    held = truths.set_index("Estimate")["Interval holds it"]
    assert held.iloc[0] == "no"
    assert f"+{programme.truth['itt']:.2f} EUR" in truths["True effect"].tolist()
    orders = study(programme, ratio=(1, 1), metrics=["mean:orders"]).truths()
    assert f"+{programme.truth['itt_orders']:.4f}" in orders["True effect"].tolist()
    assert study(programme, ratio=(1, 1), metrics=["ratio:spend/orders"], received=None).truths().empty


def test_counts_are_a_randomised_comparison():
    found = study(lr.open_dataset("carwash"), ratio=(1, 1))
    assert found.design == "randomised"
    assert found.members is None
    assert [f.estimate.value for f in found.findings()] == [pytest.approx(51 / 150 - 28 / 150)]
    assert found.truths().empty
    assert not list(found.balance_pictures())


def test_assignments_become_units_where_there_is_no_table_of_them(programme):
    tables = {
        name: programme.frame(name) for name in ("assignments", "transactions", "memberships", "customers")
    }
    found = study(dataset(tables, currency="EUR", as_of=programme.as_of), ratio=(1, 1), window_days=60)
    assert found.units.origin == "assignments"
    assert found.design == "encouragement, observational"
    assert "60 days" in found.notes[0]
    assert set(found.dropped) >= {"refund rows", "units without spend"}


def test_a_campaign_is_observational_and_says_so(campaign):
    before = ["pre_spend", "pre_orders", "pre_recency", "pre_tenure"]
    found = study(campaign, covariates=before)
    assert found.units.campaign == "a"
    assert found.design == "observational"
    assert "do not tell members from non-members" in found.notes[0]
    assert "nobody drew lots" in found.notes[1]
    assert (found.main.control, found.main.arms) == ("not targeted", ("targeted",))
    assert all(f.status == "caution" for f in found.findings())
    placebo = found.checks()[-1][0][0]
    assert placebo.name == "the same comparison before the campaign began"
    earlier = summaries.campaign_units(
        campaign.tables["contacts"],
        campaign.tables["transactions"],
        campaign_id="a",
        window_days=90,
        index_date=dt.date(2023, 7, 20) - dt.timedelta(days=90),
    )
    alone = Comparison(
        Mean("spend", unit="EUR"),
        design="observational",
        assignment="arm",
        control="not targeted",
        covariates=before,
    ).analyse(earlier)
    expected = alone.estimate(estimand="ATO")
    assert expected.interval(signed=True) in placebo.detail
    assert placebo.status == ("passed" if expected.low <= 0 <= expected.high else "warning")
    assert any("not measured" in limit for limit in found.limits())


@pytest.mark.parametrize("design", ["randomised", "encouragement"])
def test_a_campaign_is_never_taken_for_chance(campaign, design):
    with pytest.raises(DesignError, match="the sender chose"):
        study(campaign, design=design)


def test_a_campaign_that_is_named_is_taken_or_refused(campaign):
    with pytest.raises(DesignError, match="pre-period of 90 days"):
        find_units(campaign, campaign="b")
    with pytest.raises(ArgumentError, match="no campaign 'z'; there is a, b"):
        study(campaign, campaign="z")
    assert find_units(campaign, campaign="b", pre_days=20).campaign == "b"


def test_without_an_earlier_window_the_placebo_is_not_measurable(campaign):
    found = study(campaign, pre_days=150)
    check = found.checks()[-1][0][0]
    assert found.placebo is None
    assert check.status == "not measurable"
    assert "begins before the data" in check.detail


def test_data_without_groups_say_so_instead_of_failing():
    lines = pd.DataFrame(
        {
            "transaction_id": ["t1"],
            "customer_id": ["a"],
            "transacted_at": pd.to_datetime(["2023-01-01"]),
            "amount": [1.0],
        }
    )
    source = dataset({"transactions": lines}, currency="EUR")
    found = study(source)
    assert "hold no groups to compare" in found.reason
    assert [f.status for f in found.findings()] == ["suppressed"]
    assert (found.n, found.design, list(found.tables()), list(found.forests())) == (
        0,
        "nothing to compare",
        [],
        [],
    )
    assert found.checks() == ()
    assert found.limits() == ()
    assert found.dropped == {}
    with pytest.raises(NoGroupsError):
        find_units(source)


def test_members_are_set_beside_who_could_have_joined_on_the_day():
    made = lr.simulate("points", customers=4000, seed=5)
    tables = {
        name: made.frame(name)[[c for c in made.frame(name) if not c.endswith("_date")]]
        for name in ("transactions", "memberships")
    }
    source = dataset(tables, currency="EUR", timezone=made.timezone, as_of=made.as_of)
    found = study(source, seed=3)
    assert (found.units.origin, found.design) == ("memberships", "observational")
    assert found.main.sizes["member"] == found.main.sizes["non-member"]
    expected = summaries.member_units(
        source.tables["transactions"],
        source.tables["memberships"],
        window_days=90,
        pre_days=90,
        as_of=source.as_of,
        seed=3,
    )
    assert found.n == len(expected)
    # what is known only afterwards is no covariate
    assert "joined_later" not in found.units.table
    adjusted, raw = found.main.estimate(estimand="ATO"), found.main.estimate(estimand="not an effect")
    assert adjusted.value < 0.6 * raw.value
    assert any("could have joined on the same day" in note for note in found.notes)
    with pytest.raises(DesignError, match="members chose to join; use 'observational'"):
        study(source, design="randomised")


def test_members_who_cannot_be_compared_are_a_reason_and_no_failure():
    lines = pd.DataFrame(
        {
            "transaction_id": ["1", "2", "3"],
            "customer_id": ["a", "b", "a"],
            "transacted_at": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-20"]),
            "amount": [5.0, 6.0, 7.0],
        }
    )
    joined = pd.DataFrame(
        {"membership_id": ["m"], "customer_id": ["a"], "valid_from": pd.to_datetime(["2024-01-10"])}
    )
    source = dataset({"transactions": lines, "memberships": joined}, currency="EUR")
    found = study(source)
    assert found.main is None
    assert "Members cannot be compared: none of 1 members joined with 90 days" in found.reason
    assert [f.status for f in found.findings()] == ["suppressed"]


def test_segments_and_the_certificate_need_lots(programme, campaign):
    found = study(programme, ratio=(1, 1), segments=["region"], splits=200)
    assert found.segments[0].by == "region"
    assert found.certificate.splits == 200
    assert found.certificate.checks in [items for items, _ in found.checks()]
    assert found.who().shape[0] == 2
    (picture,) = found.segment_pictures()
    assert picture[1] == found.segments[0].verdict()
    assert study(programme, ratio=(1, 1), splits=0).certificate is None
    with pytest.raises(DesignError, match="segments= shows effects of assignment by lot"):
        study(campaign, window_days=60, pre_days=60, segments=["region"])


def test_those_who_redeemed_a_coupon_are_shown_with_the_reason_not_to_believe_it(campaign):
    assert study(campaign, window_days=60, pre_days=60).redeemers is None
    contacts = campaign.frame("contacts").drop(columns=["sent_date"])
    redeemed = (
        contacts[contacts["campaign_id"] == "a"]
        .iloc[::3]
        .assign(
            event="redeem",
            sent_at=pd.Timestamp("2023-08-01"),
            contact_id=lambda f: [f"r{i}" for i in range(len(f))],
        )
    )
    lines = campaign.frame("transactions").drop(columns=["transacted_date"])
    tables = {"transactions": lines, "contacts": pd.concat([contacts, redeemed], ignore_index=True)}
    found = study(dataset(tables, currency="EUR", as_of=dt.date(2023, 12, 31)), window_days=60, pre_days=60)
    assert set(found.redeemers.sizes) == {"did not redeem", "redeemed"}
    assert found.redeemers.sizes["redeemed"] == len(redeemed)
    assert any("spend more by definition" in note for note in found.notes)
    (finding,) = [f for f in found.findings() if f.id.startswith("redeemers-")]
    assert finding.status == "caution"
    assert "this is no effect, whatever is adjusted for" in finding.headline


def hillstrom(n=600, seed=0):
    """A finished experiment with other names, three arms and no memberships."""
    rng = np.random.default_rng(seed)
    arm = rng.choice(["No E-Mail", "Mens", "Womens"], n)
    return pd.DataFrame(
        {
            "arm": arm,
            "recency": rng.integers(1, 12, n),
            "visit": (rng.random(n) < np.where(arm == "No E-Mail", 0.1, 0.2)).astype(int),
            "spend": rng.gamma(1, 10, n),
        }
    )


def test_a_users_own_experiment_needs_only_parameters():
    found = study(
        dataset({"units": hillstrom()}),
        control="No E-Mail",
        ratio=(1, 1, 1),
        metrics=["proportion:visit", "mean:spend, unit=USD, role=secondary"],
        covariates=["recency"],
    )
    assert found.main.arms == ("Mens", "Womens")
    assert found.estimand.startswith("effect of being assigned")
    captions = [caption for _, caption in found.tables()]
    assert len(captions) == 2
    assert [alt.count("v No E-Mail") for _, alt, _ in found.forests()] == [4]


def test_one_planned_size_is_every_arms():
    source = dataset({"units": hillstrom()})
    alone, spelt = (study(source, control="No E-Mail", ratio=ratio).main for ratio in [(1,), (1, 1, 1)])
    assert alone.to_dict() == spelt.to_dict()


def test_what_is_missing_is_named():
    source = dataset({"units": hillstrom()})
    with pytest.raises(ArgumentError, match="control is needed: which of Mens, No E-Mail, Womens"):
        study(source)
    with pytest.raises(ContractError, match="no column 'segment'"):
        study(source, assignment="segment")
    with pytest.raises(DesignError, match="2 weights for 3 arms"):
        study(source, control="No E-Mail", ratio=(1, 1))
    with pytest.raises(ContractError, match="no column 'returns'"):
        study(source, control="No E-Mail", metrics=["mean:returns"])
    with pytest.raises(ArgumentError, match="design is one of recorded"):
        study(source, design="panel")
    bare = dataset({"units": hillstrom().drop(columns=["visit", "spend"])})
    with pytest.raises(ContractError, match="name the metrics, such as mean:COLUMN"):
        study(bare, control="No E-Mail")


def test_a_group_too_small_to_show_is_not_shown():
    table = hillstrom(300)
    table = table[(table["arm"] != "Mens") | (table.index < 6)]
    found = study(dataset({"units": table}), control="No E-Mail", metrics=["mean:spend"])
    assert "“Mens” has fewer than 5 units" in found.findings()[0].headline
    assert found.main is None


def test_covariates_that_are_incomplete_are_left_out_by_default(programme):
    table = programme.frame("units")
    table.loc[0, "pre_orders"] = np.nan
    table["pre_nothing"] = 0.0
    found = study(dataset({"units": table}, currency="EUR"), ratio=(1, 1), received=None)
    assert found.main.metrics[0].covariates == ("pre_spend",)


def test_pictures_have_words(programme, campaign):
    for source in (programme, campaign):
        found = study(source, ratio=(1, 1))
        for ax, alt, caption in [*found.forests(), *found.balance_pictures()]:
            assert ax.has_data()
            assert len(alt) > 40
            assert caption.endswith(".")
