"""Grace periods against plain bookkeeping, and a population whose share is known."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.programme import tier_spells
from loyalty_research.programme.grace import grace_period_what_if

TIERS = ["base", "silver", "gold"]
LINES = {"silver": 60.0, "gold": 120.0}


def orders(seed, customers, *, days=540):
    """Draw orders of customers whose pace differs."""
    rng = np.random.default_rng(seed)
    pace = rng.gamma(4, 1 / 4, customers) * 4  # orders a quarter
    count = rng.poisson(pace * days / 91)
    who = np.repeat(np.arange(customers), count)
    day = pd.Timestamp("2022-01-01") + pd.to_timedelta(rng.integers(0, days, len(who)), unit="D")
    return pd.DataFrame(
        {"customer_id": who, "transacted_at": day, "amount": rng.gamma(4, 25 / 4, len(who)).round(2)}
    )


def what_if(table, **options):
    spells = tier_spells(table, lines=LINES, period="Q", as_of="2023-06-24")
    asked = {"tiers": TIERS, "lines": LINES, "as_of": "2023-06-24", "grace_days": (20, 45)} | options
    return grace_period_what_if(spells, table, **asked)


def by_hand(lines, graces, cost):
    """Count missed lines, falls avoided and cost, one member and evaluation after another."""
    last, quarters = pd.Timestamp("2023-06-24"), pd.period_range("2022Q1", "2023Q2", freq="Q")
    missed, avoided, spent = 0, dict.fromkeys(graces, 0), dict.fromkeys(graces, 0.0)
    for _, own in lines.groupby("customer_id"):
        sums = {
            q: own.loc[own["transacted_at"].dt.to_period("Q") == q, "amount"].sum().round(6) for q in quarters
        }
        for before, now in itertools.pairwise(quarters):
            held = next((t for t in ("gold", "silver") if sums[before] >= LINES[t]), None)
            over = now.end_time.normalize() + pd.Timedelta(days=max(graces)) <= last
            if held is None or not over or sums[now] >= LINES[held]:
                continue
            missed += 1
            for days in graces:
                until = now.end_time.normalize() + pd.Timedelta(days=days)
                more = own.loc[own["transacted_at"].between(now.end_time, until), "amount"].sum()
                good = round(sums[now] + more, 6) >= LINES[held]
                avoided[days] += good
                spent[days] += cost[held] * (3 if good else days / (365.25 / 12))
    return missed, avoided, spent


def test_falls_and_cost_are_those_of_plain_bookkeeping():
    lines, cost = orders(1, 150), {"silver": 1.0, "gold": 2.5}
    found = what_if(lines, benefit_cost=cost, currency="EUR", margin=0.4)
    missed, avoided, spent = by_hand(lines, (20, 45), cost)
    assert found.missed == missed > 50
    for days in (20, 45):
        assert found.estimate(days, "avoided").value == avoided[days] > 0
        assert found.estimate(days, "share").value == pytest.approx(avoided[days] / missed)
        assert found.estimate(days, "cost").value == pytest.approx(spent[days])
        worth = found.estimate(days, "per_fall")
        assert worth.value == pytest.approx(spent[days] / avoided[days])
        assert found.spend_needed(days).value == pytest.approx(worth.value / 0.4 / 3)
        assert found.estimate(days, "cost_per_month").value == pytest.approx(spent[days] / days * 365.25 / 12)


def test_a_longer_grace_avoids_more_and_costs_more():
    found = what_if(orders(2, 300), benefit_cost=2.0, grace_days=(5, 10, 30, 60), currency="EUR")
    table = found.policies
    assert table["avoided"].is_monotonic_increasing
    assert table["cost"].is_monotonic_increasing
    assert (table["share_low"] <= table["share"]).all()
    assert (table["share"] <= table["share_high"]).all()
    assert (table["per_fall_low"] <= table["per_fall_high"]).all()
    assert "only where keeping the tier brings more margin" in found.verdict()
    assert "EUR" in found.verdict()
    assert found.plot().get_ylabel() == "missed lines made good"
    assert {"cost per fall avoided", "falls avoided"} <= set(found.to_frame()["metric"])


def test_without_a_cost_no_money_is_named():
    found = what_if(orders(2, 200))
    assert set(found.to_frame()["metric"]) == {"falls avoided", "share of missed lines made good"}
    assert "deadline" in found.verdict()
    assert "benefits" not in found.verdict()
    with pytest.raises(DesignError, match="benefit_cost and margin"):
        found.spend_needed(20)


def test_a_share_of_nobody_has_an_exact_limit():
    lines = orders(3, 120)
    quiet = lines[lines["transacted_at"] < "2022-07-01"]
    found = what_if(quiet, benefit_cost=1.0, currency="EUR")
    share = found.estimate(45, "share")
    assert share.value == 0
    n = (what_if(quiet).policies["avoided"] == 0).all()
    assert n
    assert 0 < share.high < 0.1
    assert share.method == "Clopper-Pearson"
    assert found.estimate(45, "per_fall").value == np.inf


def test_draws_hang_on_the_seed_only():
    lines = orders(4, 150)
    one, two, other = (what_if(lines, seed=s).policies for s in (1, 1, 2))
    assert one.equals(two)
    assert not one.equals(other)
    shuffled = what_if(lines.sample(frac=1, random_state=1), seed=1).policies
    assert shuffled["avoided"].tolist() == one["avoided"].tolist()


def coverage(replicates, customers, seed):
    """Return how often intervals hold the share and the cost per fall of a large population."""
    whole = what_if(orders(999, 40_000), benefit_cost=1.0, draws=200)
    truth = {f: whole.estimate(45, f).value for f in ("share", "per_fall")}
    hits = np.zeros(2)
    for k in range(replicates):
        found = what_if(orders(seed + k, customers), benefit_cost=1.0, draws=400)
        hits += [e.low <= t <= e.high for f, t in truth.items() for e in [found.estimate(45, f)]]
    return hits / replicates


@pytest.mark.slow
def test_intervals_cover(published):
    share = coverage(1000, 200, 100)
    published(
        zip(("grace period: falls avoided", "grace period: cost per fall avoided"), share, strict=True), 1000
    )
    assert share == pytest.approx([0.95, 0.95], abs=0.025)


def test_intervals_cover_in_a_few_replicates():
    assert coverage(20, 200, 50).min() >= 0.75


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"grace_days": []}, "grace_days"),
        ({"grace_days": [91]}, "from 1 to 90"),
        ({"grace_days": [2.5]}, "grace_days"),
        ({"margin": 1.2}, "margin"),
        ({"benefit_cost": {"gold": 1.0}}, "silver, gold"),
        ({"benefit_cost": -1.0}, "from 0"),
        ({"draws": 10}, "draws"),
        ({"lines": {"gold": 50, "silver": 60}}, "higher tier is higher"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ArgumentError, match=said):
        what_if(orders(5, 30), **options)


def test_nobody_below_the_line_is_no_design():
    with pytest.raises(DesignError, match="nobody missed"):
        what_if(orders(5, 60), as_of="2022-07-10")
    with pytest.raises(ArgumentError, match="there is no"):
        what_if(orders(5, 60)).estimate(7, "share")
