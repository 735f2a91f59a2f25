"""Experiments against tea-tasting, and propensity weighting against statsmodels.

Run: python benchmarks/comparison.py [million users, default 1]

Users lie in a Parquet file; four metrics, three of them with pre-period adjustment and one a ratio.
Answers are compared before anything is timed. Times are CPU seconds, each the least of three runs
after one to warm up. tea-tasting reads DuckDB through narwhals: through Ibis 12.0 it fails with DuckDB 2.0.

The A/A certificate is timed against a thousand re-analyses of the same table (one, timed, times a
thousand), once a number of its splits has been found to be the re-analysis itself. Memory is that of
one analysis in a process of its own, above what the engine takes to run the very same queries. The
last table sets every goal beside what was measured.
"""

from __future__ import annotations

import gc
import subprocess
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
from _timing import environment, show, time_call

from loyalty_research.comparison import Comparison, Mean, Ratio, a_a_certificate, augmented_ipw

HEADS = ("", "CPU s", "wall s", "CPU, as a multiple")
SPLITS = 1000
GOALS = []


def goal(what, found, aim, met, cause):
    """Keep a goal for the last table: what was measured, what was aimed at, why it was missed."""
    GOALS.append((what, found, aim, "met" if met else f"missed: {cause}"))


def write_users(million, path):
    """Users of two arms with outcomes that depend on their past, written in pieces."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(5)
    whole = left = int(million * 1e6)
    writer = None
    while left:
        n = min(left, 1_000_000)
        past = rng.gamma(1.5, 2.0, n)
        variant = rng.integers(0, 2, n)
        sessions = rng.poisson(1 + past) + 1
        orders = rng.binomial(sessions, 0.25 + 0.005 * variant)
        table = pa.table(
            {
                "unit_id": np.arange(whole - left, whole - left + n),
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


def plan(**options):
    return Comparison(
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
        **options,
    )


def ours(table):
    return plan().analyse(table)


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
        in_own_process(path, million)
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
        runs = [
            time_call(label, lambda analyse=analyse, read=read: analyse(read()))
            for label, (analyse, read) in tables.items()
        ]
        for run in runs:
            if run.label.startswith("ours"):
                for peer in runs:
                    if peer.label.startswith("tea"):
                        same(run.answer, peer.answer)
        print(f"the same answers for {int(million * 1e6):,} users on every engine")
        show("Four metrics from Parquet", HEADS, [run.row(runs[0]) for run in runs])
        fastest = [min(part, key=lambda run: run.cpu) for part in (runs[:2], runs[2:])]
        share = fastest[0].cpu / fastest[1].cpu
        goal(
            f"CPU of the fastest engine over tea-tasting's, {million:g}M users",
            f"{share:.2f}x",
            "at most 1.0x",
            share <= 1,
            "an engine's own sums weigh most",
        )
        certificate(lambda: connection.read_parquet(path), million)


def in_own_process(path, million):
    """Measure the most memory of one analysis, ours and theirs, each in a process of its own."""
    if sys.platform != "linux":
        return
    more = {}
    for what in ("engine", "ours", "theirs"):
        run = subprocess.run(
            [sys.executable, str(Path(__file__)), "--memory", what, path],
            check=True,
            capture_output=True,
            text=True,
        )
        more[what] = float(run.stdout.split()[-1])
    lines = [
        ("DuckDB alone, the sums of ours written in SQL", f"{more['engine']:.0f}"),
        ("ours, DuckDB", f"{more['ours']:.0f}"),
        ("tea-tasting, DuckDB", f"{more['theirs']:.0f}"),
    ]
    show(f"Most memory of one analysis of {million:g}M users, one thread", ("", "MB"), lines)
    beyond = more["ours"] - more["engine"]
    goal(
        f"memory beyond the engine's own, {million:g}M users",
        f"{beyond:.0f} MB",
        "under 150 MB",
        beyond < 150,
        "the engine holds more of the file for our query than for the same sums in SQL",
    )
    share = more["ours"] / more["theirs"]
    goal(
        f"memory over tea-tasting's, {million:g}M users",
        f"{share:.2f}x",
        "at most 0.5x",
        share <= 0.5,
        "both leave the rows to the engine, whose buffers are most of either",
    )


def in_sql(connection, path):
    """Run the sums behind the four metrics as one query of the engine's own."""
    columns = ["sessions", "orders", "revenue", "sessions_before", "orders_before", "revenue_before"]
    pairs = [
        *((name, other) for k, name in enumerate(columns[:3]) for other in (name, columns[3 + k])),
        *((name, name) for name in columns[3:]),
        ("orders", "sessions"),
    ]
    sums = [f"sum({name} - 1.0)" for name in columns] + [f"sum(({a} - 1.0) * ({b} - 1.0))" for a, b in pairs]
    return connection.execute(
        f"select variant, count(*), {', '.join(sums)} from read_parquet(?) group by variant", [path]
    ).fetchall()


def resident(field):
    """Return a line of /proc/self/status in MB."""
    text = Path("/proc/self/status").read_text("utf-8")
    return next(float(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(field))


def measure(what, path):
    """Print the most memory one analysis takes above what is there before it (Linux)."""
    connection = duckdb.connect()
    connection.execute("set threads = 1")
    run = {
        "engine": lambda table: in_sql(connection, table),
        "ours": lambda table: ours(connection.read_parquet(table)),
        "theirs": lambda table: theirs(nw.from_native(connection.read_parquet(table))),
    }[what]
    with tempfile.TemporaryDirectory() as folder:
        # whatever is imported or set up on first use is no part of an analysis
        small = str(Path(folder) / "small.parquet")
        write_users(0.002, small)
        run(small)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", "utf-8")
    before = resident("VmRSS")
    run(path)
    print(resident("VmHWM") - before)


def same_splits():
    """Stop unless every split of a small table, analysed again on its rows, says what the splits say."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "few.parquet")
        write_users(0.002, path)
        frame = pd.read_parquet(path)
    made, splits, buckets = plan(unit="unit_id", level=0.8), 100, 200
    found = a_a_certificate(made, frame, buckets=buckets, splits=splits, seed=5)
    bucket = pd.util.hash_array(frame["unit_id"].to_numpy()) % np.uint64(buckets)
    labels = {label: i for i, label in enumerate(sorted({str(b) for b in bucket}))}
    place = np.array([labels[str(b)] for b in bucket])
    order = np.random.default_rng(5).permuted(np.tile(np.arange(len(labels)), (splits, 1)), axis=1)
    hits = dict.fromkeys(found.rates, 0)
    for drawn in order:
        arm = (drawn[place] < len(labels) // 2).astype(int)
        for row in made.analyse(frame.assign(variant=arm)).to_frame().itertuples():
            hits[row.metric] += not row.low <= 0 <= row.high
    assert {m: round(rate.value * splits) for m, rate in found.rates.items()} == hits, hits
    print(f"\nthe same {sum(hits.values())} differences in {splits} splits and in as many re-analyses")


def certificate(read, million):
    """Time 1,000 splits from one scan against 1,000 re-analyses."""
    same_splits()
    made = plan(unit="unit_id")
    once = time_call("one re-analysis, units checked again", lambda: made.analyse(read()))
    bare = time_call("one re-analysis, nothing but its sums", lambda: ours(read()))
    few, many = (
        time_call(
            f"A/A certificate, {splits:,} splits",
            lambda splits=splits: a_a_certificate(made, read(), splits=splits),
            repeat=2,
        )
        for splits in (100, 100 + SPLITS)
    )
    runs = (once, bare, few, many)
    show(f"Splits by lot of {million:g}M users, DuckDB", HEADS, [run.row(once) for run in runs])
    splits = max(many.cpu - few.cpu, 1e-3)
    whole = few.cpu + splits * (1 - 100 / SPLITS)
    print(f"  one scan with its buckets {whole - splits:.2f} s, {SPLITS:,} splits {splits:.2f} s")
    for what, run, cost, cause in (
        ("with their scan, over re-analyses of the plan", once, whole, "the scan weighs most at this size"),
        (
            "with their scan, over re-analyses of sums alone",
            bare,
            whole,
            "10,000 groups cost more to scan and to unpack than two arms",
        ),
        ("once scanned, over re-analyses of sums alone", bare, splits, "splits cost the same for few users"),
    ):
        times = SPLITS * run.cpu / cost
        goal(
            f"{SPLITS:,} splits {what}, {million:g}M users", f"{times:,.0f}x", "1,000x", times >= 1000, cause
        )


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
    times = other.cpu / mine.cpu
    goal(
        f"AIPW, {n:,} x {p}, over statsmodels' GLM",
        f"{times:.1f}x",
        "8x",
        times >= 8,
        "at this size fixed costs weigh",
    )


def main():
    if sys.argv[1:2] == ["--memory"]:
        measure(*sys.argv[2:4])
        return
    million = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    print(environment("loyalty-research", "duckdb", "polars", "narwhals", "tea-tasting", "statsmodels"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        experiments(million)
        weighting(int(min(million, 1.0) * 1e6), 20)
    show("Goals", ("", "measured", "goal", ""), GOALS)


if __name__ == "__main__":
    main()
