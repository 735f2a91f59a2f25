"""Mechanisms played out on the same customers: accounts by hand, break-even, invariances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import mechanism
from loyalty_research.programme import Scenario, assumed_scenario, compare_mechanisms
from loyalty_research.programme.what_if import mean_over_seeds, seeds_needed
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
    assert "every mechanism earns less than no programme" in found.verdict()
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


SCENARIOS = [
    NONE,
    Scenario(mechanism=mechanism("stamp-card", stamps=10, given=2, reward_value=9), join_share=0.5),
    Scenario(mechanism=mechanism("paid", fee=20, order_saving=2), join_share=0.2),
    Scenario(
        mechanism=mechanism("sweepstakes", win_probability=0.25, orders_per_play=3, prize_value=4),
        join_share=0.5,
    ),
    Scenario(mechanism=mechanism("non-monetary", benefit="a note", member_cost=1), join_share=0.5),
    Scenario(
        mechanism=mechanism("tiers", names=("a", "b"), lines=(0, 90), point_value=0.01),
        join_share=0.5,
        redeemed=0.6,
    ),
    Scenario(
        mechanism=mechanism(
            "points", reward_points=50, reward_value=6, reward_cost=2, expiry_days=60, welcome_points=20
        ),
        join_share=0.5,
        redeemed=0.7,
    ),
]


def test_every_kind_is_compared_in_every_outcome_and_the_same_twice():
    found = compare_mechanisms(SCENARIOS, **SHOP)
    frame = found.to_frame()
    for outcome in ("profit", "retention", "reach", "liability"):
        part = frame[frame["metric"] == outcome]
        assert set(part["group"]) == {s.label for s in SCENARIOS}
        assert part["estimate"].notna().all()
    pd.testing.assert_frame_equal(found.runs, compare_mechanisms(SCENARIOS, **SHOP).runs)


def test_profit_is_margin_less_rewards_and_running_costs_plus_fees():
    scenarios = [*SCENARIOS, replace(SCENARIOS[2], name="club", running_cost=1.5)]
    runs = compare_mechanisms(scenarios, **SHOP).runs
    made = 0.3 * runs["spend"] - runs["rewards"] + runs["fees"] - runs["running"]
    assert runs["profit"].to_numpy() == pytest.approx(made.to_numpy())
    assert (runs["fees"] > 0).tolist() == runs["scenario"].isin(["paid", "club"]).tolist()
    club = runs[runs["scenario"] == "club"]
    assert club["running"].to_numpy() == pytest.approx(1.5 * club["reach"].to_numpy())


@pytest.mark.parametrize("scenario", SCENARIOS[1:], ids=lambda s: s.label)
def test_rewards_and_what_is_owed_are_the_mechanisms_own(scenario):
    runs = compare_mechanisms([NONE, scenario], **SHOP).runs
    year = programme_year(PopulationTruth(), customers=150, seed=3, join_share=scenario.join_share)
    rules, orders = scenario.mechanism, year.member_orders
    run = runs[(runs["seed"] == 3) & (runs["scenario"] == scenario.label)].iloc[0]
    cost = rules.cost(orders, redeemed=scenario.redeemed)["cost"].value
    assert (run["rewards"] - run["fees"]) * year.customers == pytest.approx(cost)
    owed = rules.owed(orders, as_of="2024-12-31", redeemed=scenario.redeemed)
    silent = year.members - orders["customer_id"].nunique()
    owed += silent * 20 * 6 / 50 if rules.kind == "points" else 0
    assert run["liability"] * year.customers == pytest.approx(owed)


def test_what_is_promised_to_a_fee_payer_counts_down_and_fees_are_those_paid():
    found = compare_mechanisms([NONE, SCENARIOS[2]], **SHOP)
    year = programme_year(PopulationTruth(), customers=150, seed=1, join_share=0.2)
    payers = year.member_orders["customer_id"].nunique()
    run = found.runs.query("seed == 1 and scenario == 'paid'").iloc[0]
    # a year of 366 days: those who paid on its first day pay a second time on its last
    assert 20 * payers <= run["fees"] * year.customers <= 20 * payers * 1.05
    assert 0 < run["liability"] < run["fees"]


def test_a_coalition_pays_for_points_issued_and_is_paid_for_points_used():
    pool = mechanism(
        "coalition",
        partners={"grocer": 1, "fuel": 3},
        point_value=0.02,
        issue_price=0.015,
        settlement=0.012,
    )
    scenario = Scenario(mechanism=pool, join_share=0.5, redeemed=0.5, partners={"fuel": 0.4})
    found = compare_mechanisms([NONE, scenario], **SHOP)
    run = found.runs.query("seed == 2 and scenario == 'coalition'").iloc[0]
    year = programme_year(
        PopulationTruth(), customers=150, seed=2, join_share=0.5, home="grocer", partners={"fuel": 0.4}
    )
    spend = year.member_orders.groupby("partner_id")["amount"].sum()
    points = spend["grocer"] + 3 * spend["fuel"]
    used = 0.5 * points * spend["grocer"] / spend.sum()
    assert run["rewards"] * year.customers == pytest.approx(spend["grocer"] * 0.015 + used * (0.02 - 0.012))
    assert run["liability"] * year.customers == pytest.approx(0.5 * points * 0.02)
    assert run["spend"] * year.customers == pytest.approx(year.spend)  # what partners sell is theirs
    said = next(c for c in found.checks if c.name == "Who owes")
    assert "coalition owes is owed by its pool" in said.detail


def test_plain_mechanisms_are_compared_with_no_programme_under_declared_conventions():
    twice = [
        mechanism("stamp-card", stamps=8, reward_value=9),
        mechanism("stamp-card", stamps=9, reward_value=9),
    ]
    found = compare_mechanisms([*twice, FIVE], seeds=2, customers=150)
    assert found.reference == "none"
    assert [s.label for s in found.scenarios] == ["none", "stamp-card 1", "stamp-card 2", "points"]
    table = found.assumptions.set_index("scenario")
    assert table.loc["points", "rate_effect"] == pytest.approx(assumed_scenario(FIVE).rate_effect)
    assert table["responses"].eq("convention").all()
    check = next(c for c in found.checks if c.name == "Responses are assumed")
    assert "margin of 30.0%" in check.detail
    for label, row in table.drop("none").iterrows():
        assert f"{label} (50% join, {100 * row['rate_effect']:.1f}% more orders" in check.detail
    named = compare_mechanisms({"none": NONE, "five": FIVE}, seeds=[0, 1], customers=150)
    assert named.difference("five").value == pytest.approx(found.difference("points").value)


def test_a_reference_of_ones_own_is_kept():
    five, six = Scenario(mechanism=FIVE, join_share=0.5), Scenario(mechanism=FIVE, join_share=0.6, name="six")
    found = compare_mechanisms([five, six], reference="points", **SHOP)
    assert found.reference == "points"
    assert len(found.scenarios) == 2
    with pytest.raises(ArgumentError, match="reference must be one of"):
        compare_mechanisms([five, six], reference="none", **SHOP)


def test_the_seeds_named_tell_the_best_two_apart():
    close = [
        Scenario(mechanism=FIVE, join_share=0.5, rate_effect=0.30, name="a"),
        Scenario(mechanism=FIVE, join_share=0.5, spend_effect=0.30, name="b"),
    ]
    shop = {"margin": 0.3, "customers": 100}
    few = compare_mechanisms([NONE, *close], seeds=4, **shop)
    check = next(c for c in few.checks if "best two apart" in c.name)
    assert check.status == "warning"
    assert not few.best_is_clear
    assert "do not tell it apart from the next" in few.verdict()
    gaps = few.profits[few.ranking[0]] - few.profits[few.ranking[1]]
    needed = seeds_needed(gaps.to_numpy(), 0.95)
    assert f"about {needed:,} seeds would" in check.detail
    wide = compare_mechanisms([NONE, Scenario(mechanism=FIVE, join_share=0.5)], seeds=6, **shop)
    assert wide.best_is_clear
    assert wide.checks[1].status == "passed"
    same = [NONE, replace(NONE, name="nothing")]
    assert "the same in every shop" in compare_mechanisms(same, seeds=2, **shop).checks[1].detail


@pytest.mark.parametrize("effect", [0.05, 0.4, 2.0])
def test_seeds_needed_are_the_fewest(effect):
    gaps = np.random.default_rng(3).normal(0, 1, 30)
    gaps = (gaps - gaps.mean()) / gaps.std(ddof=1) + effect
    n = seeds_needed(gaps, 0.9)

    def apart(m):
        return stats.t.isf(0.05, m - 1) / np.sqrt(m) < effect

    assert apart(n)
    assert n == 2 or not apart(n - 1)
    assert seeds_needed(gaps - gaps.mean(), 0.9) is None


def test_how_often_a_shop_is_ahead_is_counted():
    found = compare_mechanisms([NONE, Scenario(mechanism=FIVE, join_share=0.5, rate_effect=0.2)], **SHOP)
    gaps = found.profits["points"] - found.profits["none"]
    share = found.ahead("points")
    assert (share.value, share.n, share.method) == ((gaps > 0).mean(), 4, "wilson")
    with pytest.raises(ArgumentError, match="no scenario 'x'"):
        found.ahead("x")


def test_the_picture_has_one_line_a_mechanism_and_its_gain():
    found = compare_mechanisms(SCENARIOS, **SHOP)
    axes = found.plot()
    assert len(axes.get_yticks()) == len(SCENARIOS) - 1
    written = {text.get_text() for text in axes.texts}
    assert found.difference("paid").format(signed=True) in written


def coverage(sets, size, *, seed=0):
    """Return how often intervals from ``size`` seeds hold the mean over all seeds, by outcome."""
    scenario = Scenario(mechanism=FIVE, join_share=0.4, rate_effect=0.1, hazard_ratio=0.8, redeemed=0.8)
    first = seed * 1_000_000
    runs = compare_mechanisms(
        [NONE, scenario], seeds=range(first, first + sets * size), margin=0.3, customers=60
    ).runs.pivot_table(index="seed", columns="scenario")
    held = {}
    for outcome in ("profit", "retention", "reach", "liability"):
        gaps = (runs[outcome]["points"] - runs[outcome]["none"]).to_numpy()
        parts = [mean_over_seeds(part, 0.95) for part in gaps.reshape(sets, size)]
        held[outcome] = np.mean([e.low <= gaps.mean() <= e.high for e in parts])
    return held


def test_intervals_over_seeds_cover():
    for outcome, share in coverage(60, 10).items():
        assert share >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / 60), outcome


@pytest.mark.slow
def test_intervals_over_seeds_cover_in_many_sets(published):
    sets = 2000
    error = np.sqrt(0.95 * 0.05 / sets)
    shares = coverage(sets, 10, seed=1)
    published(
        {f"mechanisms compared, ten seeds: {outcome}": share for outcome, share in shares.items()}, sets
    )
    for outcome, share in shares.items():
        assert abs(share - 0.95) < 4 * error, (outcome, share)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scenarios": [NONE]}, "two or more"),
        ({"scenarios": []}, "none"),
        ({"scenarios": ["boloco-card"]}, "got str"),
        ({"scenarios": FIVE}, "sequence or a mapping"),
        ({"scenarios": [NONE, NONE]}, "different names"),
        ({"scenarios": [mechanism("points", reward_points=50)]}, "reward_value"),
        ({"seeds": 1}, "seeds"),
        ({"seeds": "many"}, "seeds"),
        ({"seeds": True}, "seeds"),
        ({"seeds": [1]}, "seeds"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"margin": 30}, "margin"),
        ({"customers": 5}, "customers"),
        ({"margin": "a third"}, "margin"),
        ({"population": 1000}, "PopulationTruth"),
        ({"population": {"rate": 1}}, "no parameter rate"),
        ({"population": {"r": -1}}, "r must be"),
        ({"population": PopulationTruth(alpha=-5)}, "alpha must be"),
        ({"population": {"beta": 0.01, "s": 50}}, "active at the launch"),
    ],
)
def test_unusable_comparisons_are_refused(change, said):
    options = {"scenarios": [NONE, Scenario(mechanism=FIVE)], **SHOP, **change}
    with pytest.raises(ArgumentError, match=said):
        compare_mechanisms(options.pop("scenarios"), **options)
