"""Bunching against densities whose pull to the line is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme.bunching import bunching_at_line
from loyalty_research.programme.tier_spells import qualifying_activity

WINDOW = {"line": 300.0, "bin_width": 5.0, "below": 25.0, "above": 15.0}
SPEND = stats.gamma(2.5, scale=120)


def draw(rng, customers, pull):
    """Draw spend; of those within 25 below the line, a share goes to within 15 above it."""
    spend = SPEND.rvs(customers, random_state=rng)
    near = (spend >= 275) & (spend < 300) & (rng.random(customers) < pull)
    spend[near] = 300 + 15 * rng.random(int(near.sum()))
    return spend


def truth(customers, pull):
    return customers * pull * (SPEND.cdf(300) - SPEND.cdf(275))


def coverage(replicates, seed, pull=0.3, customers=20_000):
    rng = np.random.default_rng(seed)
    target, found = truth(customers, pull), []
    for _ in range(replicates):
        got = bunching_at_line(draw(rng, customers, pull), **WINDOW, draws=400)
        found.append([e.low <= target <= e.high for e in (got.excess, got.missing)])
    return np.mean(found, axis=0)


@pytest.mark.slow
def test_the_intervals_cover(published):
    for seed, pull, name in ((3, 0.3, "with pull"), (4, 0.0, "without pull")):
        share = coverage(1000, seed, pull=pull)
        names = (f"bunching at a line, {name}: excess", f"bunching at a line, {name}: missing")
        published(zip(names, share, strict=True), 1000)
        assert share == pytest.approx([0.95, 0.95], abs=0.021)


def test_the_intervals_cover_in_a_few_replicates():
    assert coverage(80, 5).min() > 0.86


def test_a_large_population_gives_back_the_pull():
    rng = np.random.default_rng(8)
    found = bunching_at_line(draw(rng, 2_000_000, 0.3), **WINDOW)
    assert found.excess.value == pytest.approx(truth(2_000_000, 0.3), rel=0.05)
    assert found.missing.value == pytest.approx(truth(2_000_000, 0.3), rel=0.05)
    own = 2_000_000 * (SPEND.cdf(315) - SPEND.cdf(300))
    assert found.share.value == pytest.approx(1 - own / (own + truth(2_000_000, 0.3)), rel=0.05)
    assert "pull at the line" in found.verdict()


def test_the_checks_tell_pull_from_heaping_and_from_new_customers():
    rng = np.random.default_rng(9)
    real = bunching_at_line(draw(rng, 50_000, 0.4), **WINDOW)
    assert [c.status for c in real.checks] == ["passed", "passed"]
    smooth = draw(rng, 50_000, 0.0)
    # many ends at round hundreds: the line is no more than another of them
    heaped = np.concatenate([smooth, np.repeat(np.arange(200.0, 460.0, 20), 300)])
    assert bunching_at_line(heaped, **WINDOW).checks[1].status == "warning"
    more = np.concatenate([smooth, 300 + 15 * rng.random(1500)])
    assert bunching_at_line(more, **WINDOW).checks[0].status == "warning"
    none = bunching_at_line(smooth, **WINDOW)
    assert none.excess.low <= 0 <= none.excess.high
    assert none.verdict().startswith("No pull")


def test_a_polynomial_density_is_carried_through_exactly():
    """Counts that follow a line leave nothing in the window but what was put there."""
    counts = 200 - np.arange(60)
    middles = 150 + 5 * np.arange(60) + 2.5
    spend = np.repeat(middles, counts)
    even = bunching_at_line(spend, **WINDOW, degree=3)
    assert even.excess.value == pytest.approx(0, abs=1e-6)
    assert even.missing.value == pytest.approx(0, abs=1e-6)
    moved = np.concatenate([np.delete(spend, np.flatnonzero(spend == 297.5)[:50]), np.full(50, 302.5)])
    found = bunching_at_line(moved, **WINDOW, degree=3)
    assert (found.excess.value, found.missing.value) == pytest.approx((50, 50))
    assert found.bins["customers"].sum() == len(spend)
    assert found.plot().lines[1].get_ydata() == pytest.approx(found.bins["expected"])
    assert found.bins.loc[found.bins["from_value"] == 300, "customers"].item() == 220


def test_a_figure_at_the_line_lies_above_it():
    spend = np.concatenate([np.arange(100.0, 500.0, 0.25), [299.99999999999] * 30])
    found = bunching_at_line(spend, **WINDOW, degree=1)
    assert found.excess.value == pytest.approx(30, abs=0.5)


def test_units_do_not_matter():
    rng = np.random.default_rng(2)
    spend = draw(rng, 5000, 0.3)
    cents = {name: value * 100 for name, value in WINDOW.items()}
    assert bunching_at_line(spend, **WINDOW).excess == bunching_at_line(spend * 100, **cents).excess


def test_bad_input_is_refused():
    spend = np.arange(0.0, 600.0, 0.2)
    with pytest.raises(ContractError, match=r"1 row \(at position 2\)"):
        bunching_at_line([1.0, 2.0, np.nan], **WINDOW)
    with pytest.raises(ArgumentError, match="whole number of bins"):
        bunching_at_line(spend, **{**WINDOW, "below": 7})
    with pytest.raises(ArgumentError, match="above 0"):
        bunching_at_line(spend, **{**WINDOW, "line": 0})
    with pytest.raises(DesignError, match="bins lie outside"):
        bunching_at_line(spend, **WINDOW, reach=6)
    with pytest.raises(DesignError, match="too few customers"):
        bunching_at_line(spend[:20], **WINDOW)


def test_activity_counts_whole_periods_only():
    orders = pd.DataFrame(
        {
            "customer_id": list("aabb"),
            "transacted_at": pd.to_datetime(["2023-01-05", "2023-03-31", "2023-04-01", "2023-05-01"]),
            "amount": [10.0, 5.0, 7.0, 3.0],
        }
    )
    found = qualifying_activity(orders, period="Q", as_of="2023-06-29")
    assert found.to_numpy().tolist() == [["a", "2023Q1", 15.0]]
    full = qualifying_activity(orders, period="Q", as_of="2023-06-30", measure="orders")
    assert full["activity"].tolist() == [2, 2]
