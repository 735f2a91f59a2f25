"""Orders per customer against counts by hand, a peer's regression, and simulated customers."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import purchase_frequency, purchase_frequency_ratio
from loyalty_research.programme.frequency import _between_groups, _period_ratio, order_rate

START = pd.Timestamp("2023-01-01")


def lines(counts, days, seed=1, *, offset=0):
    """Return so many orders of each customer on random days; one on the first and one on the last day."""
    rng = np.random.default_rng(seed)
    n = int(sum(counts))
    who = np.repeat([f"c{i + offset:05d}" for i in range(len(counts))], counts)
    when = rng.integers(0, days, n)
    return pd.DataFrame(
        {"customer_id": who, "transacted_date": START + pd.to_timedelta(when, "D"), "amount": 1.0}
    )


def last(days):
    return START + pd.Timedelta(days=days - 1)


def anchored(frame):
    """Add a customer of long before, so that every window lies inside the record."""
    old = pd.DataFrame(
        {"customer_id": ["old"], "transacted_date": [START - pd.Timedelta(days=900)], "amount": [1.0]}
    )
    return pd.concat([old, frame], ignore_index=True)


def test_the_rate_is_orders_over_customers_and_years():
    counts = [3, 1, 1, 2, 5, 0, 4]
    found = purchase_frequency(anchored(lines(counts, 100)), window=100, as_of=last(100))
    assert (found.customers, found.orders) == (6, 16)
    assert found.rate.value == pytest.approx(16 / 6 * 365 / 100)
    assert found.newcomers == 6
    assert found.checks[0].status == "warning"
    assert found.rate.low < found.rate.value < found.rate.high
    assert "16 orders" in found.verdict()


def test_engines_agree():
    frame = anchored(lines(np.random.default_rng(2).poisson(3, 200), 200))
    ours = purchase_frequency(frame, window=90, as_of=last(200)).to_frame()
    with duckdb.connect() as connection:
        theirs = purchase_frequency(connection.from_df(frame), window=90, as_of=last(200)).to_frame()
    pd.testing.assert_frame_equal(ours, theirs)


def test_a_record_shorter_than_the_window_is_refused():
    with pytest.raises(DesignError, match="needs 365 days"):
        purchase_frequency(lines([3] * 20, 100), as_of=last(100))
    with pytest.raises(DesignError, match="fewer than 5 customers"):
        purchase_frequency(anchored(lines([3] * 4, 100)), window=50, as_of=last(100))


def covers(hits, runs):
    assert abs(hits / runs - 0.95) < 3 * np.sqrt(0.95 * 0.05 / runs)


def test_the_interval_covers(published):
    # of customers with at least one order, Poisson orders with a gamma rate
    rng = np.random.default_rng(5)
    counts = rng.poisson(rng.gamma(0.8, 4.0, 2_000_000))
    truth = counts[counts > 0].mean() * 365 / 100
    hits, runs = 0, 2000
    for _ in range(runs):
        some = rng.poisson(rng.gamma(0.8, 4.0, 300))
        found = order_rate(some[some > 0], 100, 0.95)
        hits += found.low <= truth <= found.high
    published({"orders per active customer and year": hits / runs}, runs)
    covers(hits, runs)


def grouped(seed, ratio=1.5, customers=200):
    rng = np.random.default_rng(seed)
    names = np.repeat(["a", "b"], customers)
    counts = rng.poisson(rng.gamma(1.5, 2.0, 2 * customers) * np.where(names == "b", ratio, 1.0))
    by = pd.Series(names, index=[f"c{i:05d}" for i in range(2 * customers)])
    return counts, by, lambda: anchored(lines(counts, 100, seed))


@pytest.mark.parametrize("method", ["robust", "negative-binomial"])
def test_group_ratios_are_those_of_a_regression(method):
    # the peer: statsmodels, Poisson with HC1 errors (the constant of which is n / (n - k)), and NB2
    api = pytest.importorskip("statsmodels.api")
    counts, by, frame = grouped(3)
    found = purchase_frequency_ratio(frame(), by=by, window=100, as_of=last(100), method=method)
    design = np.column_stack([np.ones(len(by)), by.eq("b")])
    if method == "robust":
        peer = api.GLM(counts, design, family=api.families.Poisson()).fit(cov_type="HC1")
        tolerance = 1e-3
    else:
        peer = api.NegativeBinomial(counts, design).fit(disp=0, method="newton", tol=1e-12)
        assert found.dispersion == pytest.approx(peer.params[2], rel=1e-4)
        tolerance = 1e-4
    ratio = found.ratios["b"]
    assert np.log(ratio.value) == pytest.approx(peer.params[1], rel=1e-4)
    assert np.log([ratio.low, ratio.high]) == pytest.approx(np.asarray(peer.conf_int())[1], abs=tolerance)
    assert ratio.p_value == pytest.approx(peer.pvalues[1], rel=5e-2)
    assert "do not say" in found.verdict()


@pytest.mark.parametrize("method", ["robust", "negative-binomial"])
def test_the_group_ratio_covers(method):
    hits, runs = 0, 300
    for seed in range(runs):
        counts, by, _ = grouped(seed)
        ratio = _between_groups(counts, by.to_numpy(), ["a", "b"], 100, method, 0.95).ratios["b"]
        hits += ratio.low <= 1.5 <= ratio.high
    covers(hits, runs)


def test_customers_without_an_order_count():
    frame = anchored(lines([2] * 10, 50))
    by = pd.Series(["a"] * 5 + ["b"] * 10, index=[f"c{i:05d}" for i in range(15)])
    found = purchase_frequency_ratio(frame, by=by, window=50, as_of=last(50))
    assert found.groups.set_index("group")["customers"].to_dict() == {"a": 5, "b": 10}
    assert found.ratios["b"].value == pytest.approx(0.5)


def test_periods_share_their_customers():
    # everybody orders twice in one window and three times in the next: no chance in that
    days = [0, 10, 50, 60, 70]
    frame = pd.DataFrame(
        {
            "customer_id": np.repeat([f"c{i}" for i in range(20)], len(days)),
            "transacted_date": [START + pd.Timedelta(days=d) for d in days] * 20,
            "amount": 1.0,
        }
    )
    found = purchase_frequency_ratio(anchored(frame), window=50, as_of=last(100))
    (ratio,) = found.ratios.values()
    assert ratio.value == pytest.approx(1.5)
    assert np.isnan(ratio.low)
    assert found.dispersion is None
    assert found.groups["orders"].tolist() == [40, 60]


def test_the_ratio_of_periods_covers():
    # habits that never change: the ratio is 1
    rng = np.random.default_rng(1)
    hits, runs = 0, 2000
    for _ in range(runs):
        rate = rng.gamma(1.0, 3.0, 250)
        (ratio,) = _period_ratio(rng.poisson(rate), rng.poisson(rate), 100, 0.95).ratios.values()
        hits += ratio.low <= 1 <= ratio.high
    covers(hits, runs)


def test_what_cannot_be_compared_is_refused():
    frame = anchored(lines([2] * 20, 100))
    who = [f"c{i:05d}" for i in range(20)]
    by = pd.Series(["a"] * 10 + ["b"] * 10, index=who)

    def ratio(**options):
        return purchase_frequency_ratio(frame, window=50, as_of=last(100), **options)

    with pytest.raises(ArgumentError, match="is no group of by"):
        ratio(by=by, reference="z")
    with pytest.raises(ArgumentError, match="method must be"):
        ratio(by=by, method="poisson")
    with pytest.raises(ArgumentError, match="limits are robust"):
        ratio(method="negative-binomial")
    with pytest.raises(ArgumentError, match="pandas Series"):
        ratio(by={"c1": "a"})
    with pytest.raises(ContractError, match="names 1 customers again"):
        ratio(by=pd.concat([by, by.head(1)]))
    with pytest.raises(DesignError, match="1 group"):
        ratio(by=by.head(10))
    with pytest.raises(DesignError, match="group b has too little"):
        ratio(by=by.head(13))
