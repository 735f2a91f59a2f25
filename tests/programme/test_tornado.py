"""The tornado: widest swing first, the same customers, rules and margin among the assumptions."""

from __future__ import annotations

import pytest

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import mechanism
from loyalty_research.programme import (
    Scenario,
    assumed_scenario,
    assumption_tornado,
    compare_mechanisms,
    default_swings,
)

NONE = Scenario(mechanism=mechanism("none"))
FIVE = mechanism("points", points_per_unit=100, reward_points=1, reward_value=0.0005)
MEMBERS = Scenario(mechanism=FIVE, join_share=0.5, rate_effect=0.1)
SHOP = {"seeds": [1, 2, 3, 4], "margin": 0.3, "customers": 150}


def test_the_widest_swing_comes_first_and_turns_where_it_should():
    found = assumption_tornado(
        MEMBERS, swings={"spend_effect": (0.0, 0.01), "rate_effect": (0.0, 0.6)}, **SHOP
    )
    assert [row.metric for row in found.rows] == ["rate_effect"] * 2 + ["spend_effect"] * 2
    low, high = (row.estimate for row in found.rows[:2])
    assert low.high < 0 < high.value
    assert "extra orders of members" in found.verdict()
    assert "It turns at about" in found.verdict()
    # 5% of spend given back at a margin of 30% needs a fifth more orders
    assert found.turns["rate_effect"] == pytest.approx(0.2, abs=0.05)
    assert "spend_effect" not in found.turns


def test_each_end_is_what_a_comparison_finds():
    swings = {"margin": (0.2, 0.4), "reward_value": (0.0004, 0.0006), "redeemed": (0.5, 1.0)}
    found = assumption_tornado(MEMBERS, swings=swings, **SHOP)
    for row in found.rows:
        value = row.extra["assumed"]
        shop = {**SHOP, "margin": value} if row.metric == "margin" else SHOP
        moved = MEMBERS if row.metric == "margin" else MEMBERS.with_value(row.metric, value)
        gain = compare_mechanisms([NONE, moved], **shop).difference("points")
        assert (row.estimate.value, row.estimate.low) == pytest.approx((gain.value, gain.low))
    assert found.centre.value == pytest.approx(
        compare_mechanisms([NONE, MEMBERS], **SHOP).difference("points").value
    )


def test_cheaper_rewards_cost_in_proportion():
    swings = {"reward_value": (0.00025, 0.0005 * 1.5)}
    scenario = Scenario(mechanism=FIVE, join_share=0.5)
    found = assumption_tornado(scenario, swings=swings, **SHOP)
    half, more = (row.estimate.value for row in found.rows)
    assert half == pytest.approx(found.centre.value / 2)
    assert more == pytest.approx(found.centre.value * 1.5)


def test_ranges_by_default_hold_the_middle_and_the_figures_that_cost():
    plan = assumed_scenario(mechanism("paid", fee=30, order_saving=2))
    swings = default_swings(plan, margin=0.3)
    assert {"fee", "order_saving", "margin", "redeemed", "join_share"} <= set(swings)
    for name, (low, high) in swings.items():
        assert low < high
        middle = {**plan.assumptions, "fee": 30, "order_saving": 2, "margin": 0.3}[name]
        assert low <= middle <= high
    stated = mechanism("points", reward_points=50, reward_value=6, reward_cost=2)
    assert default_swings(Scenario(mechanism=stated))["reward_cost"] == (1.5, 2.5)
    found = assumption_tornado(plan.mechanism, seeds=2, customers=100)
    assert {row.metric for row in found.rows} == set(swings)


@pytest.mark.parametrize(
    "change", [{"rate_effect": -0.8, "selection": -3.0}, {"selection": 4.0, "response_cv": 4.0}]
)
def test_ranges_by_default_can_be_played(change):
    scenario = Scenario(mechanism=FIVE, join_share=0.5, **change)
    for name, ends in default_swings(scenario).items():
        assert ends[0] < ends[1]
        if name != "margin":
            assert ends[0] <= {**scenario.assumptions, "reward_value": 0.0005}[name] <= ends[1]
            assert all(scenario.with_value(name, value) for value in ends)


def test_a_gain_that_nothing_turns_is_said_to_be_one():
    dear = mechanism("points", points_per_unit=100, reward_points=1, reward_value=0.005)
    found = assumption_tornado(
        Scenario(mechanism=dear, join_share=0.5), swings={"redeemed": (0.8, 1.0)}, **SHOP
    )
    assert "None of the assumptions alone, within its range, makes it pay" in found.verdict()


def test_the_picture_writes_both_ends_of_every_assumption():
    found = assumption_tornado(MEMBERS, swings={"spend_effect": (0.0, 0.01), "margin": (0.25, 0.35)}, **SHOP)
    written = sorted(text.get_text() for text in found.plot().texts)
    assert written == ["0.0%", "1.0%", "25.0%", "35.0%"]


@pytest.mark.parametrize(
    ("swings", "said"),
    [
        ({"luck": (0, 1)}, "swings must name"),
        ({}, "swings must name"),
        ({"margin": (0.3, 0.2)}, "must rise"),
        ({"margin": (0.3, 3)}, "fraction"),
        ({"join_share": 0.5}, "a low and a high"),
        ({"join_share": (0, 2)}, "join_share"),
    ],
)
def test_unusable_swings_are_refused(swings, said):
    with pytest.raises(ArgumentError, match=said):
        assumption_tornado(MEMBERS, swings=swings, **SHOP)


def test_no_programme_has_no_tornado():
    with pytest.raises(ArgumentError, match="with a programme"):
        assumption_tornado(NONE, **SHOP)
