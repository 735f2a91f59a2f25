"""Scenarios: conventions that follow from the rules, figures that can be moved, refusals."""

from __future__ import annotations

import pytest

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import KINDS, mechanism
from loyalty_research.programme import Scenario, assumed_scenario
from loyalty_research.programme.scenarios import assumption_name, play_year, rule_figures, typical_member
from loyalty_research.simulate import PopulationTruth, programme_year

FIVE = mechanism("points", points_per_unit=100, reward_points=1, reward_value=0.0005)
POOL = mechanism("coalition", partners={"x": 1, "y": 4}, point_value=0.02, issue_price=0.01)


def test_members_respond_to_what_comes_back_to_them():
    assert assumed_scenario(FIVE).rate_effect == pytest.approx(1.5 * 0.05 * 0.8, rel=0.01)
    # points of partners are no reason to order here
    assert assumed_scenario(POOL).rate_effect == pytest.approx(1.5 * 0.02 * 0.8)
    # a fee is paid before; what counts afterwards is the saving
    plan = mechanism("paid", fee=99, discount=0.1)
    assert assumed_scenario(plan).rate_effect == pytest.approx(1.5 * 0.1)
    gift = mechanism("points", reward_points=1, reward_value=50)
    assert assumed_scenario(gift).rate_effect == 1  # at most twice as often


def test_a_fee_is_paid_by_those_whom_it_pays():
    plan = mechanism("paid", fee=120, order_saving=4)
    middle = assumed_scenario(plan)
    assert middle.gainers_only
    assert not assumed_scenario(FIVE).gainers_only
    silent = Scenario(mechanism=plan, join_share=1, gainers_only=True)
    account = play_year(silent, PopulationTruth(), customers=400, seed=3)
    year = programme_year(PopulationTruth(), customers=400, seed=3, join_share=1.0)
    gain = plan.earn(year.member_orders)["value"].groupby(year.member_orders["customer_id"]).sum()
    assert account.members == (gain > 0).sum() > 0
    # what they gain, the shop loses
    assert account.rewards - account.fees == pytest.approx(gain[gain > 0].sum())
    dear = Scenario(mechanism=mechanism("paid", fee=9e6, order_saving=4), join_share=1, gainers_only=True)
    assert play_year(dear, PopulationTruth(), customers=400, seed=3).members == 0


def test_a_typical_member_buys_as_the_population_does():
    shop = PopulationTruth(engagement_rate=0.0, engagement_stay=0.0)
    orders, value = typical_member(Scenario(mechanism=FIVE, join_share=1, rate_effect=3), shop)
    assert value == pytest.approx(shop.p * shop.v / (shop.q - 1), rel=0.06)
    assert 0.5 * 365 * shop.r / shop.alpha < orders < 365 * shop.r / shop.alpha
    pooled, _ = typical_member(Scenario(mechanism=POOL, join_share=1), shop)
    assert pooled == orders  # orders at partners are not orders here
    assert typical_member(Scenario(mechanism=FIVE), shop) == (0, 0)


def test_rare_buyers_are_drawn_less_by_a_far_reward():
    card = mechanism("stamp-card", stamps=8, reward_value=9)
    rare = PopulationTruth(alpha=250)
    assert assumed_scenario(card, population=rare).rate_effect < 0.3 * assumed_scenario(card).rate_effect
    by_name = assumed_scenario(card, population={"alpha": 250})
    assert by_name.rate_effect == assumed_scenario(card, population=rare).rate_effect


def test_every_convention_is_one_of_its_kind_and_says_so():
    rules = {
        "points": FIVE,
        "tiers": mechanism("tiers", names=("a", "b"), lines=(0, 90), point_value=0.01),
        "paid": mechanism("paid", fee=20, order_saving=2),
        "coalition": POOL,
        "sweepstakes": mechanism("sweepstakes", win_probability=0.25, prize_value=4),
        "non-monetary": mechanism("non-monetary", benefit="a note"),
        "stamp-card": mechanism("stamp-card", stamps=8, reward_value=9),
        "none": mechanism("none"),
    }
    assert set(rules) == set(KINDS)
    found = {kind: assumed_scenario(m) for kind, m in rules.items()}
    assert all(s.assumed for s in found.values())
    assert found["none"].join_share == found["none"].rate_effect == 0
    assert all(0 < s.rate_effect <= 1 for kind, s in found.items() if kind != "none")
    assert found["sweepstakes"].redeemed == 1 > found["points"].redeemed


def test_figures_of_assumptions_and_rules_can_be_moved():
    scenario = Scenario(mechanism=FIVE, join_share=0.5)
    assert scenario.with_value("join_share", 0.2).join_share == 0.2
    assert scenario.with_value("reward_value", 3).mechanism.reward_value == 3
    assert rule_figures(FIVE) == {
        "points_per_unit": 100,
        "reward_points": 1,
        "reward_value": 0.0005,
        "welcome_points": 0.0,
    }
    with pytest.raises(ArgumentError, match="no figure 'luck'; it has join_share"):
        scenario.with_value("luck", 1)
    with pytest.raises(ArgumentError, match="reward_points"):
        scenario.with_value("reward_points", 0)


def test_figures_have_names_for_readers():
    assert assumption_name("hazard_ratio") == "members' dropout against others'"
    assert assumption_name("period_days") == "period days"


def test_a_year_nobody_joins_costs_nothing():
    account = play_year(Scenario(mechanism=FIVE), PopulationTruth(), customers=100, seed=1)
    year = programme_year(PopulationTruth(), customers=100, seed=1, join_share=0.0)
    assert (account.rewards, account.owed, account.members) == (0, 0, 0)
    assert account.spend == year.spend


def test_members_who_never_order_have_only_their_welcome():
    card = mechanism("points", reward_points=50, reward_value=6, welcome_points=10)
    scenario = Scenario(mechanism=card, join_share=1, running_cost=2)
    shop = PopulationTruth(alpha=10_000)
    account = play_year(scenario, shop, customers=20, seed=6)
    year = programme_year(shop, customers=20, seed=6, join_share=1.0)
    assert year.member_orders["amount"].tolist() == [11.12]
    assert account.owed == pytest.approx((year.members * 10 + 11) * 6 / 50)
    assert account.running == 2 * year.members


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mechanism": "points"}, "mechanism"),
        ({"mechanism": FIVE, "join_share": 2}, "join_share"),
        ({"mechanism": FIVE, "hazard_ratio": 0}, "hazard_ratio"),
        ({"mechanism": FIVE, "redeemed": "most"}, "redeemed"),
        ({"mechanism": FIVE, "gainers_only": True}, "takes no fee"),
        ({"mechanism": FIVE, "gainers_only": "yes"}, "gainers_only"),
        ({"mechanism": FIVE, "partners": {"y": 1}}, "partners"),
        ({"mechanism": POOL, "partners": {"x": 1}}, "must name y"),
        ({"mechanism": POOL, "partners": {"y": -1}}, "orders at a partner"),
    ],
)
def test_unusable_assumptions_are_refused(options, said):
    with pytest.raises(ArgumentError, match=said):
        Scenario(**options)
