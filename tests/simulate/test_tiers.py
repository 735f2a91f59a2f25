import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.mechanisms import Tiers
from loyalty_research.simulate._population import year_starts
from loyalty_research.simulate._tiers import TiersScheme, TiersTruth

CLOSE = {"beta": 1e5, "join_invited": 1.0, "join_control": 1.0, "join_delay": 0.0, "early_joining": 0.0}


def local(moments):
    return moments.dt.tz_localize("UTC").dt.tz_convert("Europe/Madrid").dt.tz_localize(None)


def scheme(customers, seed, rules=None, **truth):
    made = TiersTruth(**truth)
    return TiersScheme(made, rules or TiersScheme.default_rules(made), customers, seed)


@pytest.fixture(scope="module")
def shop():
    return lr.simulate("tiers", customers=4000, seed=1, years=4)


def test_spells_and_points_follow_the_rules(shop):
    rules = TiersScheme.default_rules(TiersTruth())
    orders = shop.frame("transactions")
    plain = orders.assign(transacted_at=local(orders["transacted_at"]))[
        ["customer_id", "transacted_at", "amount"]
    ]
    orders["held"], orders["earned"] = rules.tiers_held(plain), rules.earn(plain)["earned"]
    spells = shop.frame("memberships")
    both = orders.merge(spells, on="customer_id")
    both = both[
        (both["transacted_at"] >= both["valid_from"])
        & (both["valid_to"].isna() | (both["transacted_at"] < both["valid_to"]))
    ]
    assert len(both) > 10_000
    assert (both["held"] == both["tier"]).all()
    ledger = shop.frame("points_ledger").sort_values("entry_id")
    earned = ledger.loc[ledger["type"] == "earn", "points"].sum()
    assert earned == pytest.approx(both["earned"].sum(), rel=1e-9)
    assert (ledger.groupby("customer_id")["points"].cumsum() > -1e-6).all()
    assert set(both["tier"]) == {"base", "silver", "gold"}


def test_spells_are_half_open_and_say_why_they_began(shop):
    spells = shop.frame("memberships").sort_values(["customer_id", "valid_from"])
    by = spells.groupby("customer_id")
    rank = spells["tier"].map({"base": 0, "silver": 1, "gold": 2})
    step = rank.groupby(spells["customer_id"]).diff()
    assert (spells["reason"].eq("enrol") == step.isna()).all()
    assert (spells["reason"].eq("upgrade") == (step > 0)).all()
    assert (spells["reason"].eq("downgrade") == (step < 0)).all()
    follows = by["valid_from"].shift(-1)
    assert (follows.isna() | (follows == spells["valid_to"])).all()
    falls = local(spells.loc[spells["reason"] == "downgrade", "valid_from"])
    assert (falls.dt.strftime("%m-%d %H:%M") == "01-01 00:00").all()
    assert set(falls.dt.year) == {2025, 2026}


def test_the_share_that_reaches_a_tier_is_its_closed_form():
    made = scheme(
        4000,
        2,
        **CLOSE,
        rate_effect=0.0,
        spend_effect=0.0,
        tier_effect=0.0,
        pull_share=0.0,
        demotion_effect=0.0,
    )
    course = made.course(made.world.never(), made.world.horizon)
    people, truth = made.world.people, made.truth
    reached = course.carried[2] >= 1
    chance = np.array(
        [
            made.tiers.reach_probability("silver", orders_per_day=r, mean_order=m, cv=truth.p**-0.5, days=366)
            for r, m in zip(people.rate[:1500], truth.p / people.value_rate[:1500], strict=True)
        ]
    )
    assert reached[:1500].sum() == pytest.approx(chance.sum(), abs=4 * np.sqrt((chance * (1 - chance)).sum()))


@pytest.mark.parametrize("effect", [-0.5, 0.5])
def test_losing_a_tier_changes_the_rate_by_what_it_says(effect):
    lines = Tiers(names=("base", "top"), lines=(0, 500), point_value=0.01)
    made = scheme(
        20_000,
        3,
        lines,
        **CLOSE,
        demotion_effect=effect,
        tier_effect=0.0,
        rate_effect=0.2,
        pull_share=0.0,
        demotion_days=120,
    )
    course = made.course(np.full(20_000, 365.0), made.world.horizon)
    start = year_starts(3)[2]
    who = course.demoted == 2
    inside = (course.orders.day >= start) & (course.orders.day < start + 120) & who[course.orders.customer]
    later = (course.orders.day >= start + 120) & who[course.orders.customer]
    stays = [np.clip(course.gone, a, b) - a for a, b in ((start, start + 120), (start + 120, start + 365))]
    expected = [1.2 * (made.world.people.rate * who) @ time for time in stays]
    assert who.sum() > 200
    assert inside.sum() == pytest.approx(expected[0] * (1 + effect), abs=4 * np.sqrt(expected[0] * 1.5))
    assert later.sum() == pytest.approx(expected[1], abs=4 * np.sqrt(expected[1]))
    assert expected[0] > 800


def test_the_truth_of_losing_a_tier_is_the_gap_to_the_world_without():
    truth = lr.simulate("tiers", customers=8000, seed=5, demotion_effect=-0.5).truth
    none = lr.simulate("tiers", customers=8000, seed=5, demotion_effect=0.0).truth
    assert truth["demoted"] == none["demoted"] > 60
    assert none["demotion_orders"] == none["demotion_spend"] == 0
    assert truth["demotion_orders"] < 0
    assert truth["demotion_spend"] < 10 * truth["demotion_orders"]


def test_those_who_push_land_just_over_the_line():
    lines = Tiers(names=("base", "top"), lines=(0, 300), point_value=0.01)
    still = {
        "rate_effect": 0.0,
        "spend_effect": 0.0,
        "hazard_ratio": 1.0,
        "tier_effect": 0.0,
        "demotion_effect": 0.0,
    }
    totals, pulled = {}, {}
    for share in (0.0, 1.0):
        made = lr.simulate(
            "tiers",
            customers=6000,
            seed=7,
            mechanism=lines,
            pull_share=share,
            pull_reach=0.2,
            years=2,
            **still,
        )
        orders = made.frame("transactions").query("transacted_date >= '2024-01-01'")
        totals[share] = orders.groupby("customer_id")["amount"].sum()
        pulled[share] = made.truth["pulled"]["2024"]["top"]
    assert pulled[0.0] == 0
    moved = totals[1.0].round(2) != totals[0.0].reindex(totals[1.0].index).round(2)
    assert pulled[1.0] == moved.sum() > 30
    assert totals[1.0][moved].between(300 - 1e-6, 315.01).all()
    assert totals[0.0].reindex(totals[1.0].index)[moved].between(240 - 1e-6, 300).all()
    spells = made.frame("memberships")
    assert pd.api.types.is_datetime64_any_dtype(spells["valid_from"])
