"""Mechanisms played out on the same customers: accounts by hand, break-even, invariances."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import mechanism
from loyalty_research.programme import Scenario, assumption_tornado, compare_mechanisms
from loyalty_research.simulate import PopulationTruth, programme_year

NONE = Scenario(mechanism=mechanism("none"))
# a reward at every cent, so that nothing is left over: 5% of spend
FIVE = mechanism("points", points_per_unit=100, reward_points=1, reward_value=0.0005)
SHOP = {"seeds": [1, 2, 3, 4], "margin": 0.3, "customers": 150}


def test_what_nobody_responds_to_costs_its_rewards():
    scenario = Scenario(mechanism=FIVE, join_share=0.5)
    found = compare_mechanisms([NONE, scenario], **SHOP)
    for seed, part in found.runs.groupby("seed"):
        year = programme_year(PopulationTruth(), customers=150, seed=seed, join_share=0.5)
        cost = FIVE.earn(year.member_orders)["cost"].sum()
        none, five = part["profit"]
        assert none == pytest.approx(0.3 * year.spend / year.customers)
        assert five - none == pytest.approx(-cost / year.customers)
        assert cost == pytest.approx(0.05 * year.member_orders["amount"].sum(), rel=0.01)
    assert "every mechanism earns less than none" in found.verdict()
    gap = found.difference("points", outcome="retention")
    assert (gap.value, gap.low, gap.high) == (0, 0, 0)  # the same people


def test_the_response_of_the_break_even_breaks_even():
    rise = FIVE.break_even(margin=0.3).value
    shop = {**SHOP, "seeds": range(12), "customers": 400}
    at = Scenario(mechanism=FIVE, join_share=1, rate_effect=rise)
    above = Scenario(mechanism=FIVE, join_share=1, rate_effect=2 * rise, name="above")
    found = compare_mechanisms([NONE, at, above], **shop)
    gain = found.difference("points")
    se = (gain.high - gain.low) / 2 / stats.t.isf(0.025, 11)
    assert abs(gain.value) < 4 * se
    assert found.difference("above").low > 0
    assert "above comes out highest" in found.verdict()


def test_longer_lives_and_joining_show_in_retention_and_reach():
    longer = Scenario(mechanism=FIVE, join_share=1, hazard_ratio=0.3)
    found = compare_mechanisms([NONE, longer], **SHOP)
    assert found.difference("points", outcome="retention").low > 0
    reach = next(r.estimate for r in found.rows if r.metric == "reach" and r.group == "points")
    assert (reach.value, reach.low) == (1, 1)


def test_intervals_are_paired_student():
    found = compare_mechanisms([NONE, Scenario(mechanism=FIVE, join_share=0.4)], **SHOP)
    wide = found.runs.pivot_table(index="seed", columns="scenario", values="profit")
    gap = wide["points"] - wide["none"]
    low, high = stats.ttest_1samp(gap, 0).confidence_interval(0.95)
    gain = found.difference("points")
    assert (gain.low, gain.value, gain.high) == pytest.approx((low, gap.mean(), high))


def test_open_points_are_what_is_left_over():
    card = mechanism("points", reward_points=50, reward_value=6, welcome_points=10)
    found = compare_mechanisms([NONE, Scenario(mechanism=card, join_share=1)], **SHOP)
    year = programme_year(PopulationTruth(), customers=150, seed=1, join_share=1.0)
    points = np.floor(year.member_orders["amount"]).groupby(year.member_orders["customer_id"]).sum() + 10
    silent = year.members - len(points)
    owed = ((points % 50).sum() + 10 * silent) * 6 / 50
    assert found.runs.query("seed == 1 and scenario == 'points'")["liability"].item() == pytest.approx(
        owed / year.customers
    )


def test_every_kind_can_be_compared_and_what_is_unknown_is_said():
    scenarios = [
        NONE,
        Scenario(mechanism=mechanism("stamp-card", stamps=10, given=2, reward_value=9), join_share=0.5),
        Scenario(mechanism=mechanism("paid", fee=20, order_saving=2), join_share=0.2),
        Scenario(mechanism=mechanism("sweepstakes", win_probability=0.25, prize_value=4), join_share=0.5),
        Scenario(mechanism=mechanism("non-monetary", benefit="a note", member_cost=1), join_share=0.5),
        Scenario(
            mechanism=mechanism("tiers", names=("a", "b"), lines=(0, 90), point_value=0.01), join_share=0.5
        ),
    ]
    found = compare_mechanisms(scenarios, **SHOP)
    frame = found.to_frame()
    assert set(frame[frame["metric"] == "profit"]["group"]) == {s.label for s in scenarios}
    assert set(frame[frame["metric"] == "liability"]["group"]) == {"none", "stamp-card"}
    check = next(c for c in found.checks if c.status == "not measurable")
    assert "paid, sweepstakes, non-monetary, tiers" in check.detail
    pd.testing.assert_frame_equal(found.runs, compare_mechanisms(scenarios, **SHOP).runs)


def test_the_tornado_puts_the_widest_swing_first():
    scenario = Scenario(mechanism=FIVE, join_share=0.5, rate_effect=0.1)
    found = assumption_tornado(
        scenario, swings={"spend_effect": (0.0, 0.01), "rate_effect": (0.0, 0.6)}, **SHOP
    )
    assert [row.metric for row in found.rows] == ["rate_effect"] * 2 + ["spend_effect"] * 2
    low, high = (row.estimate for row in found.rows[:2])
    assert low.high < 0 < high.value
    assert "rate_effect" in found.verdict()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scenarios": [NONE]}, "two or more"),
        ({"scenarios": [NONE, NONE]}, "different names"),
        ({"seeds": [1]}, "seeds"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"margin": 30}, "margin"),
        ({"customers": 5}, "customers"),
        ({"population": 1000}, "PopulationTruth"),
    ],
)
def test_unusable_comparisons_are_refused(change, said):
    options = {"scenarios": [NONE, Scenario(mechanism=FIVE)], **SHOP, **change}
    with pytest.raises(ArgumentError, match=said):
        compare_mechanisms(options.pop("scenarios"), **options)


def test_unusable_assumptions_are_refused():
    pool = mechanism("coalition", partners={"x": 1, "y": 1}, point_value=1, issue_price=1)
    for options, said in (
        ({"mechanism": pool}, "coalition"),
        ({"mechanism": "points"}, "mechanism"),
        ({"mechanism": FIVE, "join_share": 2}, "join_share"),
        ({"mechanism": FIVE, "hazard_ratio": 0}, "hazard_ratio"),
    ):
        with pytest.raises(ArgumentError, match=said):
            Scenario(**options)
    with pytest.raises(ArgumentError, match="swings"):
        assumption_tornado(Scenario(mechanism=FIVE), swings={"luck": (0, 1)}, **SHOP)
