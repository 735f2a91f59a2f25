"""Experiments against tea-tasting, and propensity weighting against statsmodels.

Run: python benchmarks/comparison.py [million users, default 1]

Users lie in a Parquet file; four metrics, three of them with pre-period adjustment and one a ratio.
Answers are compared before anything is timed. Times are CPU seconds, each the least of three runs
after one to warm up. tea-tasting reads DuckDB through narwhals: through Ibis 12.0 it fails with DuckDB 2.0.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import tea_tasting as tt
from _timing import environment, peak_gigabytes, show, time_call

from loyalty_research.comparison import Comparison, Mean, Ratio, augmented_ipw

HEADS = ("", "CPU s", "wall s", "CPU, as a multiple")


def write_users(million, path):
    """Users of two arms with outcomes that depend on their past, written in pieces."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(5)
    left, writer = int(million * 1e6), None
    while left:
        n = min(left, 1_000_000)
        past = rng.gamma(1.5, 2.0, n)
        variant = rng.integers(0, 2, n)
        sessions = rng.poisson(1 + past) + 1
        orders = rng.binomial(sessions, 0.25 + 0.005 * variant)
        table = pa.table(
            {
                "variant": variant,
                "sessions": sessions,
                "orders": orders,
                "revenue": orders * rng.gamma(4.0, 5.0, n),
                "sessions_before": rng.poisson(1 + past) + 1,
                "orders_before": rng.poisson(0.25 * (1 + past)),
                "revenue_before": past * rng.gamma(4.0, 5.0, n),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        left -= n
    writer.close()


def ours(table):
    plan = Comparison(
        [
            Mean("sessions", covariates=("sessions_before",)),
            Mean("orders", covariates=("orders_before",)),
            Mean("revenue", covariates=("revenue_before",)),
            Ratio("orders", "sessions", name="orders per session"),
        ],
        design="randomised",
        assignment="variant",
        control=0,
        ratio=(1, 1),
    )
    return plan.analyse(table)


def theirs(table):
    experiment = tt.Experiment(
        {
            "sessions": tt.Mean("sessions", "sessions_before"),
            "orders": tt.Mean("orders", "orders_before"),
            "revenue": tt.Mean("revenue", "revenue_before"),
            "orders per session": tt.RatioOfMeans("orders", "sessions"),
            "ratio": tt.SampleRatio(),
        }
    )
    return experiment.analyze(table)


def same(mine, other):
    """Stop unless differences and limits agree.

    The adjusted ones agree to a thousandth of the interval's width, since tea-tasting takes the
    coefficient from both arms together and ours minimises the variance of the difference.
    """
    for row in mine.to_frame().itertuples():
        peer = other[row.metric]
        width = peer.effect_size_ci_upper - peer.effect_size_ci_lower
        tolerance = 1e-3 * width if "adjusted" in row.method else 1e-7 * width
        for found, expected in (
            (row.estimate, peer.effect_size),
            (row.low, peer.effect_size_ci_lower),
            (row.high, peer.effect_size_ci_upper),
        ):
            assert abs(found - expected) < tolerance, (row.metric, found, expected)


def experiments(million):
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "users.parquet")
        write_users(million, path)
        connection = duckdb.connect()
        tables = {
            "ours, DuckDB": (ours, lambda: connection.read_parquet(path)),
            "ours, Polars": (ours, lambda: pl.scan_parquet(path)),
            "tea-tasting, DuckDB": (
                theirs,
                lambda: nw.from_native(connection.read_parquet(path)),
            ),
            "tea-tasting, Polars": (theirs, lambda: pl.scan_parquet(path)),
        }
        runs = []
        for label, (analyse, read) in tables.items():
            before = peak_gigabytes()
            runs.append(time_call(label, lambda analyse=analyse, read=read: analyse(read())))
            print(f"{label}: {1000 * (peak_gigabytes() - before):.0f} MB more at the peak")
        for run in runs:
            if run.label.startswith("ours"):
                for peer in runs:
                    if peer.label.startswith("tea"):
                        same(run.answer, peer.answer)
        print(f"the same answers for {int(million * 1e6):,} users on every engine")
        show("Four metrics from Parquet", HEADS, [run.row(runs[0]) for run in runs])


def weighting(n, p):
    """AIPW with its M-estimated interval against the propensity model alone in statsmodels."""
    import statsmodels.api as sm

    rng = np.random.default_rng(7)
    x = rng.normal(size=(n, p))
    t = (rng.random(n) < 1 / (1 + np.exp(-x[:, :5].sum(axis=1) / 3))).astype(float)
    y = t + x.sum(axis=1) + rng.normal(size=n)
    names = [f"x{i}" for i in range(p)]
    frame = pd.DataFrame(x, columns=names).assign(t=t, y=y)

    def fit():
        return augmented_ipw(frame, outcome="y", treatment="t", covariates=names)

    def glm():
        return sm.GLM(t, sm.add_constant(x), family=sm.families.Binomial()).fit(tol=1e-10)

    mine, other = (
        time_call("ours: AIPW with its interval", fit),
        time_call("statsmodels: GLM of the propensity", glm),
    )
    np.testing.assert_allclose(mine.answer.propensity, other.answer.fittedvalues, atol=1e-8)
    assert mine.answer.estimate.low < 1 < mine.answer.estimate.high
    show(
        f"{n:,} units, {p} covariates: the same propensities", HEADS, [run.row(mine) for run in (mine, other)]
    )


def main():
    million = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    print(environment("loyalty-research", "duckdb", "polars", "narwhals", "tea-tasting", "statsmodels"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        experiments(million)
        weighting(int(min(million, 1.0) * 1e6), 20)


if __name__ == "__main__":
    main()
