"""Return on investment against arithmetic, its definition and simulated holdouts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import loyalty_research as lr
from loyalty_research.programme import retention_multiplier, retention_table, return_on_investment

OPTIONS = {"treated": "in", "control": "out", "outcome": "spend", "margin_rate": 0.4}


def units(rng, n=300, *, lift=10.0, cost=2.0):
    arm = np.where(rng.random(n) < 0.5, "in", "out")
    own = arm == "in"
    redeemed = own & (rng.random(n) < 0.5)
    # who takes a reward spends more, so that cost and margin move together
    spend = rng.gamma(2.0, 20.0, n) + own * lift + redeemed * 6.0 - own * 3.0
    return pd.DataFrame({"arm": arm, "spend": spend, "cost": 2 * cost * redeemed})


def test_a_fixed_cost_scales_welchs_interval():
    table = units(np.random.default_rng(1))
    found = return_on_investment(table, **OPTIONS, cost=2.0)
    own, held = (0.4 * table.loc[table["arm"] == a, "spend"] for a in ("in", "out"))
    limits = stats.ttest_ind(own, held, equal_var=False).confidence_interval()
    assert (found.margin.low, found.margin.high) == pytest.approx(tuple(limits))
    assert (found.roi.low, found.roi.high) == pytest.approx((limits[0] / 2 - 1, limits[1] / 2 - 1))
    assert found.roi.value == pytest.approx((own.mean() - held.mean()) / 2 - 1)


def test_currency_does_not_matter_and_fiellers_limits_solve_their_equation():
    table = units(np.random.default_rng(2))
    found = return_on_investment(table, **OPTIONS, cost="cost")
    dear = return_on_investment(
        table.assign(spend=100 * table["spend"], cost=100 * table["cost"]), **OPTIONS, cost="cost"
    )
    assert (dear.roi.low, dear.roi.high) == pytest.approx((found.roi.low, found.roi.high))
    # at a limit r, the mean of margin - r cost differs from nothing exactly at the level
    own, held = (table[table["arm"] == a] for a in ("in", "out"))
    margin_dof = stats.ttest_ind(own["spend"], held["spend"], equal_var=False).df
    for limit in (found.roi.low + 1, found.roi.high + 1):
        a, b = (0.4 * t["spend"] - limit * t["cost"] for t in (own, held))
        t = abs(a.mean() - b.mean()) / np.sqrt(a.var() / len(a) + b.var() / len(b))
        assert t == pytest.approx(stats.t.isf(0.025, margin_dof), rel=1e-6)


def test_no_effect_loses_the_whole_cost():
    table = pd.DataFrame({"arm": ["in", "out"] * 50, "spend": np.repeat(np.arange(50.0), 2)})
    assert return_on_investment(table, **OPTIONS, cost=1.0).roi.value == pytest.approx(-1.0)


def test_the_interval_covers():
    rng = np.random.default_rng(3)
    truth = 0.4 * 10.0 / 2.0 - 1
    found = [return_on_investment(units(rng), **OPTIONS, cost="cost").roi for _ in range(200)]
    hits = np.mean([e.low <= truth <= e.high for e in found])
    assert hits == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 200))


@pytest.mark.slow
def test_the_interval_covers_at_length(published):
    rng = np.random.default_rng(4)
    truth = 0.4 * 10.0 / 2.0 - 1
    found = [return_on_investment(units(rng), **OPTIONS, cost="cost").roi for _ in range(2000)]
    hits = np.mean([e.low <= truth <= e.high for e in found])
    published({"return on investment against a holdout": hits}, 2000)
    assert hits == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 2000))


def test_without_a_holdout_there_is_no_return():
    table = units(np.random.default_rng(5))
    with pytest.raises(lr.DesignError, match="not measurable"):
        return_on_investment(table[table["arm"] == "in"], **OPTIONS, cost=1.0)
    with pytest.raises(lr.DesignError, match="no investment"):
        return_on_investment(table, **OPTIONS, cost=0.0)
    with pytest.raises(lr.ArgumentError, match="margin_rate"):
        return_on_investment(table, **{**OPTIONS, "margin_rate": 40}, cost=1.0)
    with pytest.raises(lr.ContractError, match="spend is missing or no number at 1 row"):
        return_on_investment(table.assign(spend=table["spend"].where(table.index != 3)), **OPTIONS, cost=1.0)


def test_the_retention_claim_is_a_matter_of_retention_and_discounting(oracle):
    expected = oracle("retention_and_profit_sensitivity")["expected"]["retention_profit_claim"]
    for key, value in expected.items():
        retention, rate = (int(part[1:]) / 100 for part in key.split("_"))
        gain = retention_multiplier(retention, annual_discount_rate=rate) - 1
        assert gain == pytest.approx(value, abs=1e-12)
    table = retention_table(retentions=[0.6, 0.8, 0.96], annual_discount_rates=[0.0, 0.1])
    assert table.loc[0.8, 0.1] == pytest.approx(expected["r80_d10"])
    assert table.loc[0.96].isna().all()
