"""The scorecard of a programme through DuckDB against the same figures in plain pandas.

Run: python benchmarks/programme.py [million transactions, default 1]

One member per 20 transactions. Tables are made up, written to Parquet, and read by each side in a
process of its own, so that the most memory it ever held is its own as well. Ours is declared in
data/datasets.yml with DuckDB held to 500 MB, two threads. The figures are compared before any time
is shown and must agree to twelve digits. Ours checks the tables against the contract and gives every
figure its interval, those of revenue from resampling customers, the others by formula; the pandas lines show the bare figures,
then the figures with intervals from resampling customers as often as ours does. Times are of one run after the imports. The last table sets the goals, which
are for 10 million transactions, beside what was measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _timing import cpu_seconds, environment, peak_gigabytes, show

AS_OF = "2024-12-30"
WINDOW, FIRST, ACTIVE, TOP, RESAMPLES = 365, 90, 90, 0.2, 500
MEASURES = [
    "retention",
    "survival",
    "repeat_purchase",
    "purchase_frequency",
    "tenure",
    "spend_by_age",
    "gross_revenue_retention",
    "net_revenue_retention",
    "active_membership",
    "top_share",
    "top_share_later",
    "customer_loss_value",
]
DEFINITION = """
big:
  currency: EUR
  engine: {kind: duckdb, memory_limit: 500MB, threads: 2}
  tables:
    transactions: {from: transactions.parquet}
    memberships: {from: memberships.parquet}
    points_ledger: {from: points_ledger.parquet}
"""
HEADS = ("", "CPU s", "wall s", "peak GB", "CPU, as a multiple")


def write_tables(folder, million):
    """Orders of members who differ in how often they buy and who leave, two years, in Parquet."""
    rng = np.random.default_rng(1)
    count = int(million * 1e6)
    members = count // 20
    weights = rng.gamma(0.7, 1.0, members)
    who = rng.choice(members, size=count, p=weights / weights.sum()).astype(np.int64)
    leave = np.maximum(30.0, rng.exponential(700.0, members))
    day = (rng.random(count) * np.minimum(leave, 730.0)[who]).astype(np.int64)
    # the record begins and ends on the same days whatever its size
    day[0], day[1], who[1] = 0, 729, int(np.argmax(leave))
    when = np.datetime64("2023-01-01", "us") + day * np.timedelta64(86_400_000_000, "us")
    orders = pd.DataFrame(
        {
            "transaction_id": np.arange(count),
            "customer_id": who,
            "transacted_at": when + np.timedelta64(12 * 3600 * 10**6, "us"),
            "amount": rng.gamma(4.0, 8.0, count).round(2) + 0.01,
            "currency": "EUR",
        }
    )
    orders["amount"] = orders["amount"].round(2)
    orders.to_parquet(folder / "transactions.parquet", index=False)
    pd.DataFrame(
        {
            "customer_id": np.arange(members),
            "valid_from": np.datetime64("2023-01-01", "us"),
            "valid_to": pd.Series(pd.NaT, index=range(members), dtype="datetime64[us]"),
        }
    ).to_parquet(folder / "memberships.parquet", index=False)
    (folder / "data").mkdir()
    (folder / "data" / "datasets.yml").write_text(DEFINITION, "utf-8")
    earned = orders.iloc[::10]
    pd.DataFrame(
        {
            "entry_id": np.arange(len(earned)),
            "customer_id": earned["customer_id"].to_numpy(),
            "occurred_at": earned["transacted_at"].to_numpy(),
            "points": earned["amount"].to_numpy().astype(np.int64) + 1,
            "type": "earn",
        }
    ).to_parquet(folder / "points_ledger.parquet", index=False)


def ours(folder):
    import loyalty_research as lr
    from loyalty_research import programme

    os.chdir(folder)
    started = cpu_seconds(), time.perf_counter()
    source = lr.open_dataset("big")
    opened = cpu_seconds(), time.perf_counter()
    card = programme.scorecard(
        source,
        as_of=AS_OF,
        measures=MEASURES,
        window=WINDOW,
        repeat_window=FIRST,
        activity_window=ACTIVE,
        resamples=RESAMPLES,
    )
    done = cpu_seconds(), time.perf_counter()
    lines = [line for line in card.lines if line.estimate is not None]
    return {
        "figures": {line.key: line.estimate.value for line in lines},
        "parts": {
            "ours: open and check": (opened[0] - started[0], opened[1] - started[1]),
            "ours: scorecard": (done[0] - opened[0], done[1] - opened[1]),
        },
    }


def top_share(ranked, brought):
    """Share brought by the top fifth; those equal at the line share what is left of it."""
    order = np.argsort(-ranked, kind="stable")
    wanted = TOP * len(ranked)
    line = ranked[order][int(np.ceil(wanted)) - 1]
    above, at = ranked > line, ranked == line
    part = (wanted - above.sum()) / at.sum()
    return float((brought[above].sum() + part * brought[at].sum()) / brought.sum())


def survival_and_habits(orders, daily, first, later, before, end, middle):
    """How long customers stay, how often and with how much they buy, and what the lost ones brought."""
    window = orders[(orders["date"] > middle) & (orders["date"] <= end)]
    active = later["customer_id"].unique()
    # the first silence of more than ACTIVE days, the running one included
    days = daily.sort_values(["customer_id", "date"])
    following = days.groupby("customer_id")["date"].shift(-1).fillna(end)
    silent = days[(following - days["date"]).dt.days > ACTIVE].groupby("customer_id")["date"].min()
    silent = (silent - first.reindex(silent.index)).dt.days.reindex(first.index)
    follow = (end - first).dt.days - ACTIVE
    lost = silent < follow
    stop = silent.add(1).where(lost, follow)[follow > 0]
    ends = pd.DataFrame({"stop": stop, "lost": lost[follow > 0]})
    steps = ends.groupby("stop")["lost"].agg(["sum", "size"])
    risk = steps["size"][::-1].cumsum()[::-1]
    survival = (1 - steps["sum"] / risk).cumprod()
    age = (daily["date"] - daily["first"]).dt.days
    half = WINDOW // 2
    followed = first.index[(end - first).dt.days >= 2 * half]
    kept = daily[daily["customer_id"].isin(followed)]
    age = age[kept.index]
    gone = before[~before["customer_id"].isin(active)]
    return {
        "survival": float(survival[survival.index <= WINDOW].iloc[-1]),
        "purchase_frequency": len(window) / window["customer_id"].nunique() * 365 / WINDOW,
        "tenure": float((end - first.reindex(active)).dt.days.mean()),
        "spend_by_age": float(
            kept.loc[(age > half) & (age <= 2 * half), "amount"].sum() / kept.loc[age <= half, "amount"].sum()
        ),
        "customer_loss_value": float(gone["amount"].sum() / gone["customer_id"].nunique()),
    }


def pandas_figures(folder, resamples):
    orders = pd.read_parquet(folder / "transactions.parquet")
    orders["date"] = orders["transacted_at"].dt.normalize()
    end = pd.Timestamp(AS_OF)
    middle, begin = end - pd.Timedelta(days=WINDOW), end - pd.Timedelta(days=2 * WINDOW)
    daily = orders.groupby(["customer_id", "date"], as_index=False)["amount"].sum()
    later = daily[(daily["date"] > middle) & (daily["date"] <= end)]
    before = daily[(daily["date"] > begin) & (daily["date"] <= middle)]
    revenue = pd.DataFrame(
        {
            "before": before.groupby("customer_id")["amount"].sum().round(2),
            "after": later.groupby("customer_id")["amount"].sum().round(2),
        }
    ).fillna(0.0)
    bought = before["customer_id"].unique()
    first = daily.groupby("customer_id")["date"].min()
    daily["first"] = daily["customer_id"].map(first)
    soon = daily[
        (daily["date"] > daily["first"]) & (daily["date"] <= daily["first"] + pd.Timedelta(days=FIRST))
    ]
    edge = end - pd.Timedelta(days=FIRST)
    fresh = first[(first <= edge) & (first > edge - pd.Timedelta(days=WINDOW))].index
    members = pd.read_parquet(folder / "memberships.parquet")
    ledger = pd.read_parquet(folder / "points_ledger.parquet")
    used = ledger[ledger["occurred_at"].dt.normalize() > end - pd.Timedelta(days=ACTIVE)][
        "customer_id"
    ].unique()
    later_figures = survival_and_habits(orders, daily, first, later, before, end, middle)
    had, brought = (revenue.loc[revenue["before"] > 0, c].to_numpy() for c in ("before", "after"))
    now = revenue.loc[revenue["after"] > 0, "after"].to_numpy()
    if resamples:
        rng = np.random.default_rng(1)
        for _ in range(resamples):
            take = rng.integers(0, len(had), len(had))
            a, b = had[take], brought[take]
            _ = np.minimum(a, b).sum() / a.sum(), b.sum() / a.sum(), top_share(a, b)
            again = now[rng.integers(0, len(now), len(now))]
            _ = top_share(again, again)
    return {
        "retention": float(np.isin(bought, later["customer_id"].unique()).mean()),
        "repeat_purchase": float(fresh.isin(soon["customer_id"].unique()).mean()),
        "gross_revenue_retention": float(np.minimum(had, brought).sum() / had.sum()),
        "net_revenue_retention": float(brought.sum() / had.sum()),
        "active_membership": float(members["customer_id"].isin(used).mean()),
        "top_share": top_share(now, now),
        "top_share_later": top_share(had, brought),
        **later_figures,
    }


def plain(folder, resamples, label):
    started = cpu_seconds(), time.perf_counter()
    figures = pandas_figures(folder, resamples)
    return {
        "figures": figures,
        "parts": {label: (cpu_seconds() - started[0], time.perf_counter() - started[1])},
    }


def apart(side, folder):
    """Run one side in a process of its own."""
    found = subprocess.run(
        [sys.executable, __file__, "--side", side, str(folder)], check=True, capture_output=True, text=True
    )
    return json.loads(found.stdout.splitlines()[-1])


def run_side(side, folder):
    if side == "ours":
        answer = ours(folder)
    elif side == "bare":
        answer = plain(folder, 0, "pandas: figures alone")
    else:
        answer = plain(folder, RESAMPLES, "pandas: with resampled intervals")
    print(json.dumps({**answer, "peak": peak_gigabytes()}))


def main():
    if len(sys.argv) > 3 and sys.argv[1] == "--side":
        run_side(sys.argv[2], Path(sys.argv[3]))
        return
    million = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    print(environment("loyalty-research", "duckdb", "pandas", "narwhals", "numpy"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tables(folder, million)
        mine, bare, full = (apart(side, folder) for side in ("ours", "bare", "full"))
    for key, value in bare["figures"].items():
        np.testing.assert_allclose(mine["figures"][key], value, rtol=1e-12, err_msg=key)
    print(f"the same {len(bare['figures'])} figures on both sides: {', '.join(bare['figures'])}")
    whole = sum(cpu for cpu, _ in mine["parts"].values())
    rows = []
    for side in (mine, bare, full):
        for label, (cpu, wall) in side["parts"].items():
            rows.append((label, f"{cpu:.2f}", f"{wall:.2f}", f"{side['peak']:.2f}", f"{cpu / whole:.2f}x"))
    show(f"Scorecard, {int(million * 1e6):,} transactions, {int(million * 1e6) // 20:,} members", HEADS, rows)
    print("multiples are of both parts of ours together")
    wall = sum(seconds for _, seconds in mine["parts"].values())
    (slow,) = (cpu for cpu, _ in full["parts"].values())
    goals = [
        ("wall s, with opening", "60", f"{wall:.1f}"),
        ("peak GB", "1.5", f"{mine['peak']:.2f}"),
        ("pandas with intervals, CPU multiple", "at least 5", f"{slow / whole:.1f}"),
    ]
    show("Goals", ("", "goal at 10 million", "measured"), goals)


if __name__ == "__main__":
    main()
