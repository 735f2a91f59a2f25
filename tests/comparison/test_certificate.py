"""The A/A certificate draws again what the analysis would have seen."""

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from loyalty_research.comparison import Comparison, Mean, Proportion, Ratio, a_a_certificate
from loyalty_research.errors import ArgumentError, ContractError, DesignError

METRICS = [
    Mean("spend", covariates=("pre",)),
    Ratio("spend", "orders", name="per order"),
    Proportion("came"),
    Proportion("came", covariates=("pre",), name="came, adjusted"),
    Mean("spend", cap=0.95, name="capped"),
]


def units(n, seed):
    rng = np.random.default_rng(seed)
    pre = rng.gamma(2.0, 10.0, n)
    frame = pd.DataFrame(
        {
            "unit_id": np.arange(n),
            "arm": rng.choice(["a", "b"], n),
            "pre": pre,
            "spend": pre + rng.gamma(2.0, 5.0, n) + 1e6,
            "orders": rng.poisson(2, n) + 1,
            "came": rng.integers(0, 2, n),
            "store": np.arange(n) // 3,
            "region": np.arange(n) // 3 % 2,
        }
    )
    frame.loc[::11, "came"] = np.nan
    return frame


def plan(**options):
    given = {"assignment": "arm", "control": "a", "design": "randomised", "unit": "unit_id", **options}
    return Comparison(METRICS, **given)


@pytest.mark.parametrize(
    "options",
    [{}, {"strata": "region"}, {"unit": None, "cluster": "store"}],
    ids=["plain", "strata", "clusters"],
)
def test_every_split_is_the_analysis_itself(options):
    """Analyse the same splits one by one, on the rows, and count the same differences."""
    frame, splits, buckets = units(1200, 3), 100, 200
    made = plan(**options, level=0.8)
    found = a_a_certificate(made, frame, buckets=buckets, splits=splits, seed=5)
    key = "store" if "cluster" in options else "unit_id"
    bucket = pd.util.hash_array(frame[key].to_numpy()) % np.uint64(buckets)
    labels = sorted({str(b) for b in bucket})
    place = pd.Series([str(b) for b in bucket]).map({b: i for i, b in enumerate(labels)}).to_numpy()
    order = np.random.default_rng(5).permuted(np.tile(np.arange(len(labels)), (splits, 1)), axis=1)
    hits, rows = dict.fromkeys(found.rates, 0), pl.from_pandas(frame)
    for drawn in order:
        arm = np.where(drawn[place] < len(labels) // 2, "b", "a")
        # Polars is the quickest of the engines on so few rows
        for row in made.analyse(rows.with_columns(arm=pl.Series(arm))).rows:
            hits[row.metric] += not row.estimate.low <= 0 <= row.estimate.high
    assert {m: round(rate.value * splits) for m, rate in found.rates.items()} == hits
    assert sum(hits.values()) > 50


@pytest.mark.parametrize("engine", [pl.from_pandas, lambda f: pl.from_pandas(f).lazy(), duckdb.from_df])
def test_engines_draw_with_their_own_hash(engine):
    frame = units(3000, 1)
    found = a_a_certificate(plan(), engine(frame), buckets=1000, splits=400)
    assert found.n == 3000
    assert all(0.01 < rate.value < 0.1 for rate in found.rates.values())
    again = a_a_certificate(plan(), engine(frame), buckets=1000, splits=400)
    assert again.rates == found.rates


def test_an_analysis_that_counts_a_customer_five_times_is_found_out():
    frame = pd.concat([units(2000, 2)] * 5, ignore_index=True)
    found = a_a_certificate(plan(), frame, splits=400)
    assert found.rates["spend"].value > 0.2
    assert "not what they say" in found.verdict()
    assert {c.status for c in found.checks} == {"warning"}


def test_sound_data_pass():
    found = a_a_certificate(plan(), units(8000, 4), splits=1000, seed=2)
    assert {c.status for c in found.checks} == {"passed"}
    assert "as the promised 5.0% allows" in found.verdict()
    frame = found.to_frame()
    assert frame["estimand"].unique().tolist() == ["false-positive rate"]
    assert frame["expected"].eq(0.05).all()


def test_what_cannot_be_drawn_again():
    frame = units(500, 0)
    with pytest.raises(DesignError, match="draws no lots"):
        a_a_certificate(
            Comparison(
                Mean("spend"), design="observational", assignment="arm", control="a", covariates=["pre"]
            ),
            frame,
        )
    with pytest.raises(DesignError, match="needs unit= or cluster="):
        a_a_certificate(plan(unit=None), frame)
    with pytest.raises(ContractError, match="units has no column 'unit_id'"):
        a_a_certificate(plan(), frame.drop(columns="unit_id"))
    with pytest.raises(ContractError, match="units has no column 'unit_id'"):
        a_a_certificate(plan(), duckdb.from_df(frame.drop(columns="unit_id")))
    with pytest.raises(DesignError, match="fills 2 buckets only"):
        a_a_certificate(plan(unit="region"), frame)
    for name in ("buckets", "splits"):
        with pytest.raises(ArgumentError, match=f"{name} must be a whole number of at least 100"):
            a_a_certificate(plan(), frame, **{name: 10})
