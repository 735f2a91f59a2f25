"""Two kinds of purchase cycle, or one: what is planted is found, and what is not is not claimed."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import DesignError
from loyalty_research.programme.cycle_mixture import cycle_mixture

START = pd.Timestamp("2020-01-01")


def orders(rng, typical, *, spread=0.5, gaps=None):
    """Return purchases of customers with a typical gap each and a number of gaps each."""
    count = rng.integers(0, 9, len(typical)) if gaps is None else np.full(len(typical), gaps)
    rows = []
    for who, (days, n) in enumerate(zip(typical, count, strict=True)):
        each = np.maximum(np.rint(rng.lognormal(np.log(days), spread, n)), 1)
        rows += [(who, day) for day in np.r_[0, each.cumsum()]]
    frame = pd.DataFrame(rows, columns=["customer_id", "day"])
    return frame.assign(amount=1.0, transacted_date=START + pd.to_timedelta(frame.pop("day"), unit="D"))


def two_kinds(rng, customers=600):
    short = rng.random(customers) < 0.6
    centre = np.where(short, np.log(10), np.log(90)) + rng.normal(0, 0.3, customers)
    return np.exp(centre)


def test_two_planted_kinds_are_found():
    rng = np.random.default_rng(1)
    table = orders(rng, two_kinds(rng))
    found = cycle_mixture(table, as_of="2030-01-01")
    assert found.two_kinds
    assert found.short_days.low < 10 < found.short_days.high
    assert found.long_days.low < 90 < found.long_days.high
    assert found.short_share.low < 0.6 < found.short_share.high
    assert 20 < found.edge_days < 45
    assert found.unsure < 0.1
    once = int((table.groupby("customer_id").size() == 1).sum())
    assert (found.one_day, found.customers) == (once, 600 - once)
    assert f"{once} customers with one purchase day have no cycle" in found.verdict()


def test_one_kind_that_varies_is_one():
    rng = np.random.default_rng(2)
    found = cycle_mixture(orders(rng, np.exp(rng.normal(3.3, 0.7, 600))), as_of="2040-01-01")
    assert not found.two_kinds
    assert found.bic_gain < 10
    assert "a choice, not a finding" in found.verdict()


def test_one_kind_that_leans_is_not_called_two():
    """A gamma population is no even hump in logarithms, and BIC alone would call it two."""
    rng = np.random.default_rng(3)
    typical = 1 / rng.gamma(0.9, 1 / 25.0, 4000)
    found = cycle_mixture(orders(rng, np.minimum(typical, 2000), gaps=6), as_of="2200-01-01")
    assert found.bic_gain > 10
    assert found.apart < 2
    assert not found.two_kinds
    assert found.checks[0].status == "warning"


def test_customers_with_few_gaps_do_not_make_a_second_kind():
    """Everybody has the same cycle; those with one gap scatter more, which is noise and no kind."""
    rng = np.random.default_rng(4)
    found = cycle_mixture(orders(rng, np.full(800, 30.0), spread=0.9), as_of="2100-01-01")
    assert not found.two_kinds
    assert found.bic_gain < 10


def test_too_few_customers_are_refused():
    rng = np.random.default_rng(5)
    with pytest.raises(DesignError, match="need 50 customers"):
        cycle_mixture(orders(rng, np.full(40, 30.0)), as_of="2030-01-01")
    with pytest.raises(DesignError, match="nobody bought on three days"):
        cycle_mixture(orders(rng, np.full(80, 30.0), gaps=1), as_of="2030-01-01")


def coverage(replicates, seed, customers=500):
    rng = np.random.default_rng(seed)
    hits = []
    for _ in range(replicates):
        found = cycle_mixture(orders(rng, two_kinds(rng, customers), gaps=5), as_of="2100-01-01")
        hits.append(
            [
                found.short_share.low <= 0.6 <= found.short_share.high,
                found.long_days.low <= 90 <= found.long_days.high,
            ]
        )
    return np.mean(hits, axis=0)


def test_limits_cover_in_a_few_replicates():
    assert (coverage(24, 6, customers=300) > 0.8).all()


@pytest.mark.slow
def test_limits_cover(published):
    share = coverage(500, 7)
    published(
        zip(
            ("two kinds of purchase cycle: share", "two kinds of purchase cycle: long gap"),
            share,
            strict=True,
        ),
        500,
    )
    assert share == pytest.approx(0.95, abs=0.02)
