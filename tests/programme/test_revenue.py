"""Revenue retention and concentration against definitions, closed forms and simulated customers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import loyalty_research as lr
from loyalty_research.errors import ContractError
from loyalty_research.programme import (
    period_revenue,
    revenue_concentration,
    revenue_retention,
    spend_by_age,
)


def test_gross_and_net_are_those_of_the_oracle(oracle):
    case = oracle("retention_and_profit_sensitivity")
    made, expected = (case[k]["revenue_retention_negative_churn"] for k in ("inputs", "expected"))
    rest = made["start"] - made["churned"] - 10_000 - 20_000
    frame = pd.DataFrame(
        {
            "before": [made["churned"], 10_000, 20_000, rest, 0],
            "after": [0, 10_000 - made["contraction"], 20_000 + made["expansion"], rest, 7_000],
        }
    )
    found = revenue_retention(frame, seed=1, resamples=200)
    assert found.gross.value == pytest.approx(expected["grr"], abs=1e-12)
    assert found.net.value == pytest.approx(expected["nrr"], abs=1e-12)
    assert 1 - found.net.value == pytest.approx(expected["net_revenue_churn"], abs=1e-12)
    assert (found.churn, found.contraction, found.expansion) == (6000, 2000, 11000)


amounts = st.integers(0, 10**9).map(lambda cents: cents / 100)


@given(st.lists(st.tuples(amounts, amounts), min_size=2, max_size=30))
def test_the_parts_add_up_to_the_cent(pairs):
    frame = pd.DataFrame(pairs, columns=["before", "after"])
    if (frame["before"] > 0).sum() < 2:
        return
    found = revenue_retention(frame, seed=1, resamples=100)
    cents = [round(100 * v) for v in (found.start, found.churn, found.contraction, found.expansion)]
    end = sum(round(100 * after) for before, after in pairs if before > 0)
    assert cents[0] - cents[1] - cents[2] + cents[3] == end
    assert found.gross.value <= min(1.0, found.net.value) + 1e-12


def test_windows_end_on_the_last_day_and_start_a_window_before():
    lines = pd.DataFrame(
        {
            "customer_id": ["x", "a", "a", "b", "b"],
            "transacted_date": pd.to_datetime(
                ["2024-01-01", "2024-01-02", "2024-01-06", "2024-01-07", "2024-01-11"]
            ),
            "amount": [1.0, 2.0, 4.0, 8.0, 16.0],
        }
    )
    found = period_revenue(lines, window=5, as_of="2024-01-11")
    assert found.loc["a"].tolist() == [6.0, 0.0]
    assert found.loc["b"].tolist() == [0.0, 24.0]
    assert "x" not in found.index
    with pytest.raises(lr.DesignError, match="needs 14 days of transactions"):
        period_revenue(lines, window=7, as_of="2024-01-11")


def test_concentration_has_its_closed_forms():
    # Lorenz's curve of the exponential distribution: p + (1 - p) log(1 - p); its Gini is 1/2
    quantiles = -np.log1p(-(np.arange(20_000) + 0.5) / 20_000)
    found = revenue_concentration(np.round(quantiles * 1000, 2), seed=1, resamples=100)
    assert found.top.value == pytest.approx(0.2 - 0.2 * np.log(0.2), abs=1e-3)
    assert found.gini.value == pytest.approx(0.5, abs=1e-3)
    equal = revenue_concentration(np.full(7, 3.0), seed=1, resamples=100)
    assert equal.top.value == pytest.approx(0.2)  # 1.4 of 7 equal customers
    assert equal.gini.value == 0.0


def test_lorenz_is_interpolated_and_order_and_currency_do_not_matter():
    made = np.array([1.0, 2.0, 3.0, 10.0])
    found = revenue_concentration(made, seed=1, share=0.375, resamples=100)
    assert found.top.value == pytest.approx((10 + 3 / 2) / 16)
    curve = found.lorenz
    assert 1 - np.interp(0.625, curve["customers"], curve["revenue"]) == pytest.approx(found.top.value)
    other = revenue_concentration(made[::-1] * 7, seed=1, share=0.375, resamples=100)
    assert other.top.value == pytest.approx(found.top.value)
    assert other.gini.value == pytest.approx(found.gini.value)
    # mean absolute difference over twice the mean
    assert found.gini.value == pytest.approx(np.abs(np.subtract.outer(made, made)).mean() / (2 * made.mean()))


def test_the_top_of_one_period_by_chance_is_no_top_of_the_next():
    rng = np.random.default_rng(2)
    alike = pd.DataFrame({"before": rng.gamma(1, 100, 5000), "after": rng.gamma(1, 100, 5000)}).round(2)
    found = revenue_concentration(alike, seed=1, resamples=200)
    assert found.top.value > 0.45
    assert found.later.low < 0.2 < found.later.high
    steady = alike.assign(after=alike["before"])
    again = revenue_concentration(steady, seed=1, resamples=200)
    assert again.later.value == pytest.approx(again.top.value)


def test_a_seed_gives_the_same_figures():
    frame = pd.DataFrame({"before": [5.0, 7.0, 9.0, 30.0], "after": [4.0, 0.0, 12.0, 28.0]})
    for function in (revenue_retention, revenue_concentration):
        one, two = (function(frame, seed=3, resamples=200).to_frame() for _ in range(2))
        pd.testing.assert_frame_equal(one, two)


def covers(rng, n=200):
    """Simulate customers of known retention, exponential revenue; say whether intervals cover."""
    before = rng.gamma(2.0, 50.0, n)
    stays = rng.random(n) < 0.8
    after = np.where(stays, before * rng.choice([0.5, 1.0, 1.5], n), 0.0)
    kept = revenue_retention(pd.DataFrame({"before": before, "after": after}).round(2), seed=1, resamples=300)
    spread = revenue_concentration(rng.exponential(100.0, n).round(2) + 0.01, seed=1, resamples=300)
    truths = (0.8 * 2.5 / 3, 0.8, 0.2 - 0.2 * np.log(0.2), 0.5)
    found = (kept.gross, kept.net, spread.top, spread.gini)
    return [e.low <= t <= e.high for e, t in zip(found, truths, strict=True)]


def test_the_intervals_cover():
    rng = np.random.default_rng(4)
    hits = np.mean([covers(rng) for _ in range(60)], axis=0)
    assert np.all(hits > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 60))


@pytest.mark.slow
def test_the_intervals_cover_at_length(published):
    rng = np.random.default_rng(5)
    hits = np.mean([covers(rng) for _ in range(1000)], axis=0)
    names = (
        "gross revenue retention",
        "net revenue retention",
        "revenue of the top 20%",
        "Gini coefficient of revenue",
    )
    published(zip(names, hits, strict=True), 1000)
    assert hits[:2] == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 1000))
    # percentile limits of the two shares are a little short at 200 customers
    assert np.all(hits[2:] > 0.9)


def test_wrong_revenue_is_refused():
    with pytest.raises(lr.ContractError, match=r"before is missing or negative at 2 rows"):
        revenue_concentration([1.0, -2.0, np.nan], seed=1)
    with pytest.raises(lr.ContractError, match="finer than a hundredth"):
        revenue_concentration([1.0, 2.005], seed=1)
    with pytest.raises(lr.ContractError, match="lacks the column after"):
        revenue_retention(pd.DataFrame({"before": [1.0, 2.0]}), seed=1)
    with pytest.raises(lr.DesignError, match="at least two"):
        revenue_retention(pd.DataFrame({"before": [1.0, 0.0], "after": [1.0, 2.0]}), seed=1)
    with pytest.raises(lr.ArgumentError, match="share must lie"):
        revenue_concentration([1.0, 2.0], seed=1, share=1.0)
    with pytest.raises(lr.ArgumentError, match="resamples"):
        revenue_concentration([1.0, 2.0], seed=1, resamples=10)


def test_the_verdict_speaks_of_chance_only_where_the_top_lost_share():
    rng = np.random.default_rng(8)
    spend = np.round(rng.gamma(0.5, 100.0, 400), 2) + 1
    kept = revenue_concentration(pd.DataFrame({"before": spend, "after": spend}), seed=1, resamples=200)
    assert "chance" not in kept.verdict()
    drawn = pd.DataFrame({"before": spend, "after": rng.permutation(spend)})
    assert (
        "part of the first figure is chance" in revenue_concentration(drawn, seed=1, resamples=200).verdict()
    )


def test_amounts_in_several_currencies_are_refused():
    lines = pd.DataFrame(
        {
            "customer_id": ["a", "b", "a", "b"],
            "transacted_date": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-08", "2024-01-10"]),
            "amount": 10.0,
            "currency": ["EUR", "EUR", "USD", None],
        }
    )
    with pytest.raises(ContractError, match=r"EUR and USD: 1 row \(at position 2\) not in EUR"):
        period_revenue(lines, window=5)
    with pytest.raises(ContractError, match="EUR and USD"):
        spend_by_age(lines, window=2)
    assert len(period_revenue(lines.assign(currency="EUR"), window=5)) == 2
