"""`summaries.purchases` with a holdout against lifetimes, on CDNOW and on made-up orders.

Run: python benchmarks/summaries.py [million orders, default 1]

The answers are compared before anything is timed. Times are CPU seconds, since wall time on a
shared machine says little; each is the least of three runs after one to warm up.
"""

from __future__ import annotations

import sys
import warnings
from importlib import metadata

import duckdb
import numpy as np
import pandas as pd
import polars as pl
from _timing import environment, peak_gigabytes, show, time_call

from loyalty_research import summaries

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lifetimes.utils import calibration_and_holdout_data

HEADS = ("", "CPU s", "wall s", "CPU, as a multiple")


def cdnow():
    """All 69,659 CDNOW orders."""
    path = metadata.distribution("lifetimes").locate_file("lifetimes/datasets/CDNOW_master.txt")
    frame = pd.read_csv(path, sep=r"\s+")
    frame.columns = ["customer_id", "transacted_at", "count", "amount"]
    frame["transacted_at"] = pd.to_datetime(frame["transacted_at"], format="%Y%m%d").astype("datetime64[us]")
    return frame[["customer_id", "transacted_at", "amount"]]


def made_up(million):
    """Orders of customers who differ in how often they buy, two years, one row an order."""
    rng = np.random.default_rng(1)
    count = int(million * 1e6)
    customers = count // 15
    weights = rng.gamma(0.7, 1.0, customers)
    who = rng.choice(customers, size=count, p=weights / weights.sum())
    days = rng.integers(0, 730, count)
    return pd.DataFrame(
        {
            "customer_id": who,
            "transacted_at": (np.datetime64("2023-01-01") + days).astype("datetime64[us]"),
            "amount": (rng.gamma(4.0, 8.0, count)).round(2),
        }
    )


def peer(frame, split, end):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return calibration_and_holdout_data(
            frame, "customer_id", "transacted_at", split, end, monetary_value_col="amount"
        )


def same(ours, theirs):
    """Stop unless both say the same; the holdout value differs by definition (per day v per row)."""
    theirs = theirs.sort_index()
    assert list(ours.index) == list(theirs.index)
    pairs = {
        "frequency": "frequency_cal",
        "recency": "recency_cal",
        "T": "T_cal",
        "monetary_value": "monetary_value_cal",
        "frequency_holdout": "frequency_holdout",
        "duration_holdout": "duration_holdout",
    }
    for mine, other in pairs.items():
        np.testing.assert_allclose(ours[mine], theirs[other], rtol=1e-10, atol=1e-10, err_msg=mine)


def compare(title, frame, split, end):
    connection = duckdb.connect()
    connection.execute("create table orders as select * from frame")
    engines = {
        "ours, DuckDB": connection.table("orders"),
        "ours, Polars": pl.from_pandas(frame),
        "ours, pandas": frame,
    }

    def ours(table):
        return summaries.purchases(table, calibration_end=split, observation_end=end)

    slow = time_call("lifetimes 0.11.3", lambda: peer(frame, split, end), repeat=1)
    for table in engines.values():
        same(ours(table), slow.answer)
    runs = [time_call(name, lambda table=table: ours(table)) for name, table in engines.items()]
    print(f"{title}: the same answers for {len(slow.answer):,} customers on every engine")
    base = runs[0]
    show(f"{title}, {len(frame):,} orders", HEADS, [run.row(base) for run in [*runs, slow]])


def main():
    million = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    print(environment("loyalty-research", "duckdb", "polars", "pandas", "narwhals", "lifetimes"))
    compare("CDNOW", cdnow(), "1997-09-30", "1998-06-30")
    compare("Made-up orders", made_up(million), "2023-12-31", "2024-12-30")
    print(f"\npeak memory of this process {peak_gigabytes():.2f} GB")


if __name__ == "__main__":
    main()
