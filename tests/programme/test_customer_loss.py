"""The value of lost customers: by hand, returns counted, the horizon's closed form, and coverage."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.programme import customer_loss_value, retention_multiplier
from loyalty_research.programme.customer_loss import horizon_multiple, loss_estimates
from loyalty_research.stats.proportions import proportion

DAYS = {0: "2024-01-15", 1: "2024-02-15", 2: "2024-03-15"}  # one in each window of 30 days to 30 March


def shopping(rows):
    """Return purchases of (customer, window, amount)."""
    frame = pd.DataFrame(rows, columns=["customer_id", "window", "amount"])
    return frame.assign(transacted_date=pd.to_datetime(frame.pop("window").map(DAYS)))


def measured(rows, **options):
    start = pd.DataFrame(
        {"customer_id": ["first"], "transacted_date": [pd.Timestamp("2024-01-01")], "amount": [1.0]}
    )
    return customer_loss_value(pd.concat([start, shopping(rows)]), window=30, as_of="2024-03-30", **options)


def test_mean_total_and_shares_by_hand():
    rows = [(f"l{i}", 1, 10.0 + i) for i in range(10)]  # lost: 10 to 19
    rows += [(f"k{i}", w, 50.0) for i in range(30) for w in (1, 2)]  # kept
    rows += [(f"e{i}", 0, 5.0) for i in range(20)]  # lost one window earlier
    rows += [(f"e{i}", 2, 5.0) for i in range(6)]  # and returned
    found = measured(rows, currency="EUR")
    assert found.mean.value == pytest.approx(14.5)
    assert found.total.value == pytest.approx(145.0)
    assert found.lost == proportion(10, 40)
    assert found.returned == proportion(6, 21)
    assert found.over_horizon is None
    assert "14.50 EUR" in found.verdict()
    assert "28.6% have bought again since" in found.verdict()


def test_margin_and_horizon_scale_mean_and_limits_alike():
    rows = [(f"l{i}", 1, 10.0 + i) for i in range(20)] + [
        (f"k{i}", w, 50.0) for i in range(9) for w in (1, 2)
    ]
    plain = measured(rows)
    scaled = measured(rows, margin_rate=0.4, retention=0.8, annual_discount_rate=0.1, horizon=3)
    factor = 0.4 * 365 / 30 * (1 + 0.8 / 1.1 + (0.8 / 1.1) ** 2)
    assert scaled.mean.low == pytest.approx(0.4 * plain.mean.low)
    for end in ("value", "low", "high"):
        assert getattr(scaled.over_horizon, end) == pytest.approx(factor * getattr(plain.mean, end))


@pytest.mark.parametrize(("kept", "rate"), [(0.6, 0.0), (0.8, 0.1), (0.85, 0.2)])
def test_the_endless_horizon_is_that_of_the_retention_claim(kept, rate):
    gain = horizon_multiple(kept + 0.05, rate, None) / horizon_multiple(kept, rate, None)
    assert gain == pytest.approx(retention_multiplier(kept, annual_discount_rate=rate))
    assert horizon_multiple(kept, rate, 400) == pytest.approx(horizon_multiple(kept, rate, None))
    assert horizon_multiple(0.0, rate, None) == 1.0


def test_a_short_record_does_not_say_who_returns():
    rows = [(f"l{i}", 1, 10.0 + i) for i in range(10)] + [("k", 2, 5.0)]
    found = customer_loss_value(shopping(rows), window=35, as_of="2024-04-24")
    assert found.returned is None
    assert found.checks[0].status == "not measurable"
    assert found.checks[1].status == "warning"  # all were first seen in the window


def test_a_published_figure_is_set_beside_and_never_taken_over():
    rows = [(f"l{i}", 1, 100.0 + i) for i in range(40)]
    found = measured(rows, currency="USD")
    assert "less than the published 243.00 USD" in found.claim_verdict(243, currency="USD")
    assert "more than the published 20.00 USD" in found.claim_verdict(20, currency="USD")
    assert "do not tell" in found.claim_verdict(found.mean.value, currency="USD")
    assert "another currency" in found.claim_verdict(243, currency="EUR")


def test_what_cannot_be_is_refused():
    rows = [(f"l{i}", 1, 10.0) for i in range(4)] + [(f"k{i}", w, 50.0) for i in range(9) for w in (1, 2)]
    with pytest.raises(DesignError, match="fewer than 5 customers"):
        measured(rows)
    with pytest.raises(DesignError, match="needs 400 days"):
        customer_loss_value(shopping(rows), window=200)
    for options, said in (
        ({"margin_rate": 0.0}, "margin_rate"),
        ({"retention": 0.5}, "declared together"),
        ({"horizon": 3}, "horizon needs"),
        ({"retention": 1.0, "annual_discount_rate": 0.0}, "no end"),
        ({"retention": 1.2, "annual_discount_rate": 0.0}, "from 0 to 1"),
        ({"retention": 0.5, "annual_discount_rate": 0.1, "horizon": 1.5}, "whole number of years"),
    ):
        with pytest.raises(ArgumentError, match=said):
            measured(rows, **options)


def test_the_pull_of_each_customer_adds_up_to_the_variance_of_resampling():
    rng = np.random.default_rng(1)
    value, gone = rng.gamma(1.0, 50.0, 600), rng.random(600) < 0.4
    mean, total, moved = loss_estimates(value, gone, level=0.95, currency=None)
    means, totals = [], []
    for _ in range(800):
        pick = rng.integers(0, 600, 600)
        means.append(value[pick][gone[pick]].mean())
        totals.append(value[pick][gone[pick]].sum())
    assert np.sqrt((moved**2).sum()) == pytest.approx(np.std(means), rel=0.1)
    assert np.log(mean.high / mean.value) / 1.96 == pytest.approx(np.std(np.log(means)), rel=0.1)
    assert np.log(total.high / total.value) / 1.96 == pytest.approx(np.std(np.log(totals)), rel=0.1)


def simulated(replicates, seed=2):
    """Return how often the intervals of mean, total and share lost hold the truth; big spenders stay."""
    rng = np.random.default_rng(seed)
    n, held = 400, np.zeros(3)
    scale, shape, leave = 40.0, 1.5, 0.6
    # leaving with probability exp(-leave v / scale) turns gamma(shape, scale) into gamma(shape, scale/(1+leave))
    mean, share = shape * scale / (1 + leave), (1 + leave) ** -shape
    truth = (mean, n * share * mean, share)
    for _ in range(replicates):
        value = rng.gamma(shape, scale, n)
        gone = rng.random(n) < np.exp(-leave * value / scale)
        rows = [(f"c{i}", 1, v) for i, v in enumerate(np.round(value, 2) + 0.01)]
        rows += [(f"c{i}", 2, 10.0) for i in np.flatnonzero(~gone)]
        found = measured(rows)
        for j, e in enumerate((found.mean, found.total, found.lost)):
            held[j] += e.low <= truth[j] <= e.high
    return held / replicates


def test_intervals_cover_the_truth():
    assert (simulated(60) > 0.86).all()


@pytest.mark.slow
def test_intervals_cover_the_truth_at_length(published):
    share = simulated(2000)
    published(
        zip(
            ("customer loss: value of one", "customer loss: total", "customer loss: share lost"),
            share,
            strict=True,
        ),
        2000,
    )
    assert (np.abs(share - 0.95) < 0.02).all(), share
