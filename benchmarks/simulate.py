"""Simulated programmes against lifetimes' generator of the same purchases, customer by customer.

Run: python benchmarks/simulate.py [customers, default 100,000]

`lifetimes.generate_data.pareto_nbd_model` draws the counts of the same model (gamma rates of Poisson
purchases, gamma hazards of dropout) in a loop over customers, without dates, amounts or programme; it
is run on 20,000 customers and its time scaled up, stated as such. Before any time is shown, the
distributions of days with a repeat order in a year, ours and the peer's, must agree (two samples,
chi-square), and our mean of repeat orders with its closed form.

Each kind is simulated in a process of its own, so that the most memory it ever held is its own as
well: all tables, checked against the contract, and the truth. Wall time depends on what else the
machine does; CPU seconds depend on it less. The last table sets the goal, which is for a million
customers and two years under 60 s, beside what was measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings

import numpy as np
from _timing import cpu_seconds, environment, peak_gigabytes, show
from scipy import stats

KINDS = ("points", "none", "tiers", "paid", "coalition", "sweepstakes", "non-monetary")
HEADS = ("", "orders", "rows", "CPU s", "wall s", "peak GB")
PEER = 20_000
GOAL_CUSTOMERS, GOAL_SECONDS = 1_000_000, 60.0
MODEL = {"r": 0.9, "alpha": 25.0, "s": 1.1, "beta": 500.0}


def one(kind, customers):
    """Simulate a kind and print what it took."""
    import loyalty_research as lr

    lr.simulate(kind, customers=20, seed=1)  # imports are done
    cpu, wall = cpu_seconds(), time.perf_counter()
    made = lr.simulate(kind, customers=customers, seed=1)
    took = cpu_seconds() - cpu, time.perf_counter() - wall
    counts = made.counts()
    print(json.dumps([counts["transactions"], sum(counts.values()), *took, peak_gigabytes()]))


def measured(kind, customers):
    """Run ``one`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", kind, str(customers)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def our_counts(customers):
    """Return repeat orders of each customer within 365 days of the first, and days with one.

    None of them is influenced by a programme. The peer counts whole days since the first order.
    """
    from loyalty_research.simulate._population import PopulationTruth
    from loyalty_research.simulate._world import Effects, make_world

    world = make_world(PopulationTruth(engagement_stay=0.0, **MODEL), Effects(), customers, 3)
    orders = world.play(world.never()).orders
    since = orders.moment - world.people.born[orders.customer]
    inside = (since > 0) & (since < 365)
    who, day = orders.customer[inside], np.floor(since[inside]).astype(int)
    days = np.unique(who * 366 + day) // 366
    return np.bincount(who, minlength=customers), np.bincount(days, minlength=customers)


def peer_counts(customers):
    """Return the same of lifetimes, and CPU and wall seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lifetimes.generate_data import pareto_nbd_model

        np.random.seed(3)  # noqa: NPY002  # the peer draws from the global generator
        cpu, wall = cpu_seconds(), time.perf_counter()
        found = pareto_nbd_model(365, MODEL["r"], MODEL["alpha"], MODEL["s"], MODEL["beta"], size=customers)
    return found["frequency"].to_numpy(), cpu_seconds() - cpu, time.perf_counter() - wall


def same_answer(ours, theirs):
    """Check that both have the distribution of the model; return what was found in words."""
    from loyalty_research.simulate._population import PopulationTruth, expected_orders

    orders, days = ours
    exact = expected_orders(PopulationTruth(engagement_stay=0.0, **MODEL), 365)
    edges = np.array([0, 1, 2, 3, 5, 8, 12, 18, 27, 40, np.inf])
    table = np.array([np.histogram(counts, edges)[0] for counts in (days, theirs)])
    p_value = float(stats.chi2_contingency(table).pvalue)
    gap = (orders.mean() - exact) / (orders.std(ddof=1) / np.sqrt(len(orders)))
    assert p_value > 1e-4, f"distributions of days with a repeat order differ (p = {p_value:.2g})"
    assert abs(gap) < 4.5, f"mean repeat orders are off the closed form by {gap:.1f} standard errors"
    return (
        f"days with a repeat order in a year: {days.mean():.3f} ours, {theirs.mean():.3f} lifetimes, chi-square "
        f"of the two distributions p = {p_value:.3f}; repeat orders {orders.mean():.3f}, exactly {exact:.3f}"
    )


def main():
    customers = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(environment("numpy", "pandas", "pyarrow", "duckdb", "lifetimes"))
    theirs, cpu, wall = peer_counts(PEER)
    print("same answer checked:", same_answer(our_counts(100_000), theirs))
    rows, goal = [], None
    for kind in KINDS:
        orders, count, own_cpu, own_wall, peak = measured(kind, customers)
        rows.append((kind, f"{orders:,}", f"{count:,}", f"{own_cpu:.1f}", f"{own_wall:.1f}", f"{peak:.2f}"))
        goal = (own_cpu, own_wall, peak) if kind == "points" else goal
    scale = customers / PEER
    peer = f"lifetimes, counts alone ({PEER:,} customers, times {scale:g})"
    rows.append((peer, "", f"{customers:,}", f"{cpu * scale:.1f}", f"{wall * scale:.1f}", ""))
    show(f"{customers:,} customers, two years (tiers and paid: three)", HEADS, rows)
    if customers == GOAL_CUSTOMERS:
        met = "met" if goal[1] < GOAL_SECONDS else "missed"
        line = (
            f"points, under {GOAL_SECONDS:.0f} s wall",
            f"{goal[1]:.1f}",
            f"{goal[0]:.1f}",
            f"{goal[2]:.2f}",
            met,
        )
        show("goal", ("", "wall s", "CPU s", "peak GB", ""), [line])


if __name__ == "__main__":
    if "--one" in sys.argv:
        one(sys.argv[2], int(sys.argv[3]))
    else:
        main()
