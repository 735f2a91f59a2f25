"""The loss of a tier: simulated panels with a known effect, stacks by hand, designs that cannot carry it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import tier_spells
from loyalty_research.programme._stacked import stacked_effects
from loyalty_research.programme.demotion import demotion_event_study
from loyalty_research.stats.simultaneous import joint_test, simultaneous_quantile

LINE = 100.0


def panel(seed, *, customers=1500, quarters=9, effect=0.0, lasting=0.7, push=0.0, lenient=0.0, away=0):
    """Draw quarterly spend of members who keep gold by 100 a quarter, and lose ``effect`` after a fall.

    Spend swings, and a share ``lasting`` of a swing goes on to the next quarter: whoever falls goes on
    buying less. ``push`` of those just below the line buy more to keep it, ``lenient`` keep it anyway.
    """
    rng = np.random.default_rng(seed)
    starts = pd.period_range("2021Q1", periods=quarters + 1, freq="Q").start_time
    own, swing = rng.normal(0, 0.25, customers), rng.normal(0, 0.3, customers)
    gold, fell = np.ones(customers, dtype=bool), np.zeros(customers, dtype=bool)
    tier, spend = np.zeros((customers, quarters), dtype=int), np.zeros((customers, quarters))
    for t in range(quarters):
        swing = lasting * swing + rng.normal(0, 0.3 * np.sqrt(1 - lasting**2), customers)
        bought = 120 * np.exp(own + swing) * rng.gamma(12, 1 / 12, customers) - effect * fell
        near = gold & (bought < LINE) & (bought > 88) & (rng.random(customers) < push)
        bought[near] = LINE + 3 * rng.random(near.sum())
        tier[:, t], spend[:, t] = gold, np.maximum(bought.round(2), 0)
        now = (spend[:, t] >= LINE) | (gold & (rng.random(customers) < lenient))
        gold, fell = now, gold & ~now
    who, when = np.nonzero(np.ones_like(tier))
    spells = pd.DataFrame(
        {
            "customer_id": who,
            "tier": np.where(tier[who, when], "gold", "base"),
            "valid_from": starts[when],
            "valid_to": starts[when + 1],
        }
    )
    days = starts[when] + pd.Timedelta(days=20)
    orders = pd.DataFrame({"customer_id": who, "transacted_at": days, "amount": spend[who, when]})
    return spells[spells["customer_id"] >= away], orders


def study(tables, **options):
    asked = {
        "tiers": ["base", "gold"],
        "as_of": "2023-03-31",
        "lines": {"gold": LINE},
        "period": "Q",
        "before": 2,
    } | options
    return demotion_event_study(*tables, **asked)


# --- the core ----------------------------------------------------------------------------------


def test_stacks_are_averaged_by_their_falls():
    rng = np.random.default_rng(1)
    stack = np.repeat([0, 1, 2], [30, 40, 50])
    fell = rng.random(120) < 0.4
    changes = rng.normal(size=(120, 3)) + stack[:, None]
    found = stacked_effects(changes, fell, stack, np.arange(120))
    sizes = np.bincount(stack[fell])
    parts = [
        changes[fell & (stack == s)].mean(axis=0) - changes[~fell & (stack == s)].mean(axis=0)
        for s in range(3)
    ]
    assert found.effect == pytest.approx(np.average(parts, axis=0, weights=sizes))


def test_one_stack_has_the_variance_of_two_means():
    rng = np.random.default_rng(2)
    changes, fell = rng.normal(size=(50, 1)), np.arange(50) < 20
    found = stacked_effects(changes, fell, np.zeros(50, dtype=int), np.arange(50))
    expected = changes[fell].var() / 20 + changes[~fell].var() / 30
    assert found.covariance[0, 0] == pytest.approx(expected * 50 / 49)


def test_rows_of_a_customer_vary_together():
    rng = np.random.default_rng(3)
    changes, fell = rng.normal(size=(50, 2)), np.arange(50) < 20
    once = stacked_effects(changes, fell, np.zeros(50, dtype=int), np.arange(50))
    twice = stacked_effects(
        np.tile(changes, (2, 1)), np.tile(fell, 2), np.repeat([0, 1], 50), np.tile(np.arange(50), 2)
    )
    assert twice.effect == pytest.approx(once.effect)
    # the same people again say nothing new
    assert twice.covariance == pytest.approx(once.covariance)


def drawn_falls(replicates, seed, customers=250, quarters=8, effect=-6.0):
    """Return how often intervals, and bands of all leads, hold the truth where falls are drawn by lot.

    A customer stands in every stack, and swings of spend last, so rows of a customer are alike.
    """
    rng = np.random.default_rng(seed)
    hits = []
    for _ in range(replicates):
        spend = rng.normal(0, 15, (customers, quarters + 2))
        for t in range(1, quarters + 2):
            spend[:, t] += 0.7 * spend[:, t - 1]
        spend += rng.normal(100, 20, (customers, 1))
        moments = np.arange(2, quarters)
        fell = rng.random((customers, len(moments))) < 0.15
        rows = np.stack([spend[:, m - 2 : m + 2] for m in moments], axis=1)
        rows[..., 2:] += effect * fell[..., None]
        rows = rows.reshape(-1, 4)
        found = stacked_effects(
            rows - rows[:, :2].mean(axis=1, keepdims=True),
            fell.ravel(),
            np.tile(np.arange(len(moments)), customers),
            np.repeat(np.arange(customers), len(moments)),
        )
        away = found.effect - np.array([0, 0, effect, effect])
        error = np.sqrt(np.diag(found.covariance))
        weight = np.array([0, 0, 0.5, 0.5])
        mean = abs(weight @ away) <= 1.96 * np.sqrt(weight @ found.covariance @ weight)
        band = simultaneous_quantile(found.covariance, level=0.95, seed=1, draws=4000)
        hits.append(
            (
                mean,
                (np.abs(away) <= band * error).all(),
                joint_test(away[:1], found.covariance[:1, :1])[2] < 0.05,
            )
        )
    return np.mean(hits, axis=0)


@pytest.mark.slow
def test_clustered_intervals_and_bands_cover_where_falls_are_drawn():
    """At 2,000 replicates: 94.5% of means, 95.0% of bands; the test of trends rejects 4.3%."""
    covered, together, rejected = drawn_falls(2000, 40)
    assert [covered, together] == pytest.approx([0.95, 0.95], abs=0.016)
    assert rejected == pytest.approx(0.05, abs=0.016)


def test_clustered_intervals_cover_in_a_few_replicates():
    covered, together, rejected = drawn_falls(120, 41)
    assert min(covered, together) > 0.88
    assert rejected < 0.13


# --- known effects -----------------------------------------------------------------------------


def measured(replicates, seed, effect):
    """Return how often intervals hold the truth at the line and of everyone, and mean estimates."""
    found = []
    for k in range(replicates):
        result = study(panel(seed + k, effect=effect))
        line, everyone = result.line.effect, result.overall
        found.append(
            (
                line.low <= -effect <= line.high,
                everyone.low <= -effect <= everyone.high,
                line.value,
                everyone.value,
                bool(result.failed_gates),
            )
        )
    return np.mean(found, axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 15.0])
def test_the_comparison_at_the_line_covers(effect, published):
    """The study of everyone always misses."""
    covered, naive, value, drawn, withheld = measured(1000, 1000, effect)
    published({f"loss of a tier, members at the line, effect {effect:g}": covered}, 1000)
    # limits of a jump fitted to a few hundred members at the line are a little short
    assert 0.9 < covered < 0.97
    assert value == pytest.approx(-effect, abs=0.9)
    assert naive < 0.02
    assert drawn < -effect - 8
    assert withheld < 0.01


def test_the_line_finds_the_truth_where_everyone_misleads():
    for effect in (0.0, 15.0):
        covered, naive, value, drawn, _ = measured(12, 300, effect)
        assert covered >= 0.75
        assert value == pytest.approx(-effect, abs=7)
        assert naive == 0
        assert drawn < -effect - 8


def test_the_verdict_speaks_of_the_line_only():
    found = study(panel(1, customers=3000, effect=45.0), currency="EUR")
    assert found.line.effect.high < 0
    assert found.line.by_rule
    assert found.main == found.line.effect
    assert "members at the line only" in found.verdict()
    assert "EUR" in found.verdict()
    frame = found.to_frame()
    assert frame["estimand"].tolist()[:3] == [
        "effect at the line",
        "difference in change, near the line",
        "difference in change, no effect by itself",
    ]
    assert frame["lead"].tolist()[3:] == [-3, -2, -1, 0]
    assert found.plot().get_ylabel() == "Difference in spend per quarter, EUR"
    assert found.plot_line().get_xlabel().startswith("qualifying activity above the line")


def test_without_a_line_no_effect_is_claimed():
    found = study(panel(1), lines=None)
    assert found.line is None
    assert found.main == found.overall
    assert "not what the loss did" in found.verdict()
    assert [c.status for c in found.checks if "line" in c.name] == ["not measurable"]
    with pytest.raises(DesignError, match="no comparison at the line"):
        found.plot_line()


def test_members_who_push_over_the_line_take_the_verdict_away():
    tables = panel(2, customers=4000, push=0.7)
    assert study(tables).verdict().startswith("No verdict: Nobody pushes over the line")
    hole = study(tables, donut=12.0)
    assert not hole.failed_gates
    assert hole.line.donut == 12


def test_a_line_that_spares_some_is_of_missing_it():
    found = study(panel(3, lenient=0.25))
    assert found.line.fell[0] == pytest.approx(0.75, abs=0.05)
    assert not found.line.by_rule
    assert "of missing the line" in found.to_frame()["estimand"].tolist()


def test_a_line_that_decides_nothing_is_no_design():
    tables = panel(4)
    found = study(tables, lines={"gold": 30.0})
    assert found.line is None
    assert any(c.status == "not measurable" and "line" in c.name for c in found.checks)


def test_members_at_different_tiers_are_compared_within_their_tier():
    rng = np.random.default_rng(5)
    quarters = pd.period_range("2021Q1", periods=10, freq="Q")
    own = np.repeat(rng.lognormal(5, 0.4, 3000), 10)
    orders = pd.DataFrame(
        {
            "customer_id": np.repeat(np.arange(3000), 10),
            "transacted_at": np.tile(quarters.start_time + pd.Timedelta(days=9), 3000),
            "amount": (own * rng.gamma(8, 1 / 8, 30_000)).round(2),
        }
    )
    lines = {"silver": 120.0, "gold": 200.0}
    spells = tier_spells(orders, lines=lines, period="Q", as_of="2023-06-30")
    found = demotion_event_study(
        spells, orders, tiers=["base", *lines], as_of="2023-06-30", lines=lines, period="Q", before=2
    )
    # tiers that nobody knew of change nothing
    assert found.line.by_rule
    assert found.line.effect.low <= 0 <= found.line.effect.high
    # between two lines, activity reaches from the one to the other
    assert found.line.bins[0].min() > -120
    assert found.moments == 2 * (10 - 3)


def test_months_around_a_quarterly_decision():
    spells, orders = panel(6, customers=400)
    days = orders["transacted_at"] + pd.to_timedelta(np.tile([0, 31], len(orders))[: len(orders)], unit="D")
    found = study((spells, orders.assign(transacted_at=days)), period="M", before=3)
    assert found.leads.tolist() == list(range(-6, 3))
    assert (found.before, found.counted) == (3, 3)
    assert found.name == "spend per month"
    short = study((spells, orders), period="M", before=3, after=1, measure="orders", currency="EUR")
    assert short.leads.tolist()[-1] == 0
    assert short.main.unit is None


def test_order_of_rows_and_seed_change_nothing_that_matters():
    spells, orders = panel(7, customers=500)
    one = study((spells, orders))
    two = study((spells.sample(frac=1, random_state=1), orders.sample(frac=1, random_state=2)))
    assert two.overall.value == pytest.approx(one.overall.value)
    assert two.line.effect.low == pytest.approx(one.line.effect.low)
    assert study((spells, orders), seed=4).overall == one.overall


def test_members_left_out_are_counted():
    spells, orders = panel(8, customers=600)
    late = (spells["customer_id"] < 50) & (spells["valid_from"] < "2022-01-01")
    new = (orders["customer_id"] < 50) & (orders["transacted_at"] < "2022-01-01")
    reason = "members known for too short a time, by evaluation"
    assert study((spells[~late], orders[~new])).dropped[reason] > 50
    # purchases from before they joined tell what they did then
    assert study((spells[~late], orders)).dropped[reason] == 0
    gone = spells[(spells["customer_id"] >= 50) | (spells["valid_from"] < "2022-07-01")]
    assert study((gone, orders)).dropped["members who left, by evaluation"] > 0


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"before": 0}, ArgumentError, "before is a whole number"),
        ({"after": 0}, ArgumentError, "after is a whole number"),
        ({"bandwidth": -1}, ArgumentError, "bandwidth"),
        ({"donut": -1}, ArgumentError, "donut"),
        ({"period": "Y"}, ArgumentError, "longer than qualifying"),
        ({"lines": {"base": 3}}, ArgumentError, "the tiers with a line are gold"),
        ({"lines": {"gold": 0}}, ArgumentError, "above 0"),
        ({"lines": {}}, ArgumentError, "lines names tiers"),
        ({"before": 12}, DesignError, "9 periods are over"),
    ],
)
def test_bad_options_are_refused(options, kind, said):
    with pytest.raises(kind, match=said):
        study(panel(9, customers=60), **options)


def test_falls_too_few_to_compare_are_refused():
    with pytest.raises(DesignError, match="5 members fell"):
        study(panel(9, customers=4))


def test_overlapping_tiers_are_refused_by_position():
    spells, orders = panel(9, customers=30)
    spells.loc[0, "valid_to"] = pd.Timestamp("2021-05-01")
    with pytest.raises(ContractError, match=r"overlap: 1 row \(at position 1\)"):
        study((spells, orders))


def test_members_who_reach_their_tier_at_once_are_no_controls():
    """With immediate upgrades only members below the line of a tier they did not hold are missing below it."""
    rng = np.random.default_rng(10)
    quarters = pd.period_range("2021Q1", periods=9, freq="Q")
    who = np.repeat(np.arange(1500), 9 * 6)
    start = np.tile(np.repeat(quarters.start_time, 6), 1500)
    orders = pd.DataFrame(
        {
            "customer_id": who,
            "transacted_at": start + pd.to_timedelta(rng.integers(0, 90, len(who)), unit="D"),
            "amount": (np.repeat(rng.lognormal(0, 0.3, 1500), 54) * rng.gamma(2, 10, len(who))).round(2),
        }
    )
    spells = tier_spells(orders, lines={"gold": 120}, period="Q", upgrades="immediate", as_of="2023-03-31")
    found = study((spells, orders), lines={"gold": 120.0}, period="M", before=2)
    assert found.dropped["members who reached the tier in the periods that decided, by evaluation"] > 100
    assert found.line.density_p > 0.001
    assert found.line.effect.low <= 0 <= found.line.effect.high
    assert found.line.apart.low <= 0 <= found.line.apart.high
