"""Lifetime value against lifetimes: fits on CDNOW and on made-up customers, predictions, value.

Run: python benchmarks/clv.py [thousand customers, default 1000]

One process, one thread. Log-likelihoods at the two optima are compared before anything is timed:
ours may not be lower by more than a millionth of its size. Times are CPU seconds, the least of
several runs after one to warm up; the first fit in a new process is timed apart.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tracemalloc
import warnings
from importlib import metadata

import numpy as np
import pandas as pd
from _timing import environment, show, time_call

from loyalty_research import clv, summaries
from loyalty_research.clv import _beta_geometric, _pareto

HEADS = ("", "CPU s", "wall s", "CPU, as a multiple")
WEEK = 7.0
MONTH = 4.345  # weeks, as lifetimes counts them


def cdnow(name="CDNOW_master.txt"):
    """Summary in weeks of all 23,570 CDNOW customers, calibration to 1997-09-30."""
    path = metadata.distribution("lifetimes").locate_file(f"lifetimes/datasets/{name}")
    lines = pd.read_csv(path, sep=r"\s+")
    lines.columns = ["customer_id", "day", "count", "amount"]
    lines["transacted_date"] = pd.to_datetime(lines.pop("day"), format="%Y%m%d")
    return summaries.purchases(lines, unit="W", calibration_end="1997-09-30", observation_end="1998-06-30")


def made_up(customers, seed=1):
    """BG/NBD customers in whole days over a year, in weeks."""
    rng = np.random.default_rng(seed)
    T = rng.integers(180, 365, customers).astype(float)
    rate = rng.gamma(0.25, 1 / (4.4 * WEEK), customers)
    leave, nu = rng.beta(0.8, 2.4, customers), rng.gamma(3.7, 1 / 15.4, customers)
    x, recency, clock = np.zeros(customers), np.zeros(customers), np.zeros(customers)
    here = np.arange(customers)
    while len(here):
        clock[here] += np.ceil(rng.exponential(1 / np.maximum(rate[here], 1e-12)))
        here = here[clock[here] <= T[here]]
        x[here] += 1
        recency[here] = clock[here]
        here = here[rng.random(len(here)) >= leave[here]]
    money = np.where(x > 0, rng.gamma(6.25 * np.maximum(x, 1)) / nu / np.maximum(x, 1), 0.0)
    frame = pd.DataFrame(
        {"frequency": x.astype(int), "recency": recency / WEEK, "T": T / WEEK, "monetary_value": money}
    )
    frame.attrs["unit"] = "W"
    return frame


def peer_fit(name, frame):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lifetimes

        return getattr(lifetimes, name)().fit(frame["frequency"], frame["recency"], frame["T"])


def likelihood(core_objective, frame, parameters):
    """Exact log-likelihood of weekly data at any parameters."""
    columns = (frame[c].to_numpy(float) for c in ("frequency", "recency", "T"))
    return core_objective(*columns, np.ones(len(frame)))(np.asarray(parameters, float))[0]


def same_optimum(label, objective, frame, ours, theirs):
    """Stop unless our optimum is at least as high as the peer's, to a millionth."""
    mine = likelihood(objective, frame, ours.params_)
    other = likelihood(objective, frame, [theirs.params_[n] for n in ours.names])
    print(f"{label}: log-likelihood {mine:,.6f}, lifetimes {other:,.6f}, ours higher by {mine - other:.2e}")
    assert mine >= other - 1e-6, f"{label}: the peer climbed higher"
    assert abs(mine / ours.log_likelihood_ - 1) < 1e-9, "reported and recomputed log-likelihood differ"


def cold_start(frame, setup, call):
    """CPU seconds of imports and of the first fit, in a new process."""
    code = (
        "import io, sys, time, warnings\nwarnings.simplefilter('ignore')\nimport pandas as pd\n"
        "frame = pd.read_pickle(io.BytesIO(sys.stdin.buffer.read()))\nstart = time.process_time()\n"
        f"{setup}\nloaded = time.process_time()\n{call}\ndone = time.process_time()\n"
        "print(loaded - start, done - loaded)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(frame), capture_output=True, check=True
    ).stdout
    return tuple(float(v) for v in said.split())


def fits(label, frame, repeat):
    """Compare optima, then time the fits."""
    objective = _beta_geometric.core(0).objective
    ours = clv.BetaGeoNBD().fit(frame)
    theirs = peer_fit("BetaGeoFitter", frame)
    same_optimum(f"BG/NBD, {label}", objective, frame, ours, theirs)
    mine = time_call("loyalty_research BetaGeoNBD", lambda: clv.BetaGeoNBD().fit(frame), repeat=repeat)
    other = time_call("lifetimes BetaGeoFitter", lambda: peer_fit("BetaGeoFitter", frame), repeat=1)
    show(f"BG/NBD fit, {label}", HEADS, [mine.row(mine), other.row(mine)])
    return mine.answer, other.answer


def pareto(frame):
    ours = clv.ParetoNBD().fit(frame)
    theirs = peer_fit("ParetoNBDFitter", frame)
    same_optimum("Pareto/NBD, CDNOW", _pareto.CORE.objective, frame, ours, theirs)
    mine = time_call("loyalty_research ParetoNBD", lambda: clv.ParetoNBD().fit(frame))
    other = time_call("lifetimes ParetoNBDFitter", lambda: peer_fit("ParetoNBDFitter", frame), repeat=1)
    show(f"Pareto/NBD fit, CDNOW, {len(frame):,} customers", HEADS, [mine.row(mine), other.row(mine)])


def predictions(label, frame, ours, theirs):
    """Conditional expectation and twelve months of discounted value, answers compared first."""
    columns = frame["frequency"], frame["recency"], frame["T"]
    theirs.params_ = ours.params_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lifetimes import GammaGammaFitter

        mine = time_call(
            "loyalty_research conditional_expected_purchases",
            lambda: ours.conditional_expected_purchases(39, frame),
        )
        other = time_call(
            "lifetimes conditional_expected_number_of_...",
            lambda: theirs.conditional_expected_number_of_purchases_up_to_time(39, *columns),
            repeat=1,
        )
        np.testing.assert_allclose(mine.answer, other.answer, rtol=1e-8)
        show(f"Expected purchases in 39 weeks, {label}", HEADS, [mine.row(mine), other.row(mine)])

        spend = clv.GammaGamma().fit(frame)
        some = frame[(frame["frequency"] > 0) & (frame["monetary_value"] > 0)]
        peer_spend = GammaGammaFitter().fit(some["frequency"], some["monetary_value"])
        print(
            "Gamma-Gamma parameters, ours and theirs:",
            spend.params_.round(4).tolist(),
            peer_spend.params_.round(4).tolist(),
        )
        peer_spend.params_ = spend.params_

        def value():
            ahead = ours.discounted_expected_transactions(
                frame,
                annual_discount_rate=0.1,
                horizon=12 * MONTH,
                convention="end-of-period",
                periods_per_year=12,
            )
            return ahead * spend.conditional_expected_spend(frame)

        def intervals():
            return clv.customer_lifetime_value(ours, spend, frame, horizon=52, annual_discount_rate=0.1)

        mine = time_call("loyalty_research, end of month", value)
        full = time_call("loyalty_research, with interval of every total", intervals, repeat=1)
        other = time_call(
            "lifetimes customer_lifetime_value",
            lambda: peer_spend.customer_lifetime_value(
                theirs,
                *columns,
                frame["monetary_value"],
                time=12,
                discount_rate=1.1 ** (1 / 12) - 1,
                freq="W",
            ),
            repeat=1,
        )
        # the same horizon; our discount periods are a twelfth of 52 weeks, lifetimes' are 4.345 weeks
        gap = mine.answer.sum() / other.answer.sum() - 1
        assert abs(gap) < 0.002, f"values differ by {gap:.2%}"
        print(f"Total value over {12 * MONTH:.2f} weeks: ours differs by {gap:+.3%} (periods of 52/12 weeks)")
        rows = [mine.row(mine), full.row(mine), other.row(mine)]
        show(f"Twelve months of discounted value, {label}", HEADS, rows)


def main():
    thousand = float(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(environment("loyalty-research", "lifetimes", "numpy", "scipy", "pandas"))
    real = cdnow()
    fits(f"CDNOW, {len(real):,} customers", real, 5)
    pareto(real)

    ours = cold_start(real, "from loyalty_research.clv import BetaGeoNBD", "BetaGeoNBD().fit(frame)")
    theirs = cold_start(
        real,
        "from lifetimes import BetaGeoFitter",
        "BetaGeoFitter().fit(frame['frequency'], frame['recency'], frame['T'])",
    )
    rows = [
        (name, f"{load:.3f}", f"{fit:.3f}", f"{load + fit:.3f}")
        for name, (load, fit) in (("loyalty_research", ours), ("lifetimes", theirs))
    ]
    show(
        "First BG/NBD fit in a new process, CDNOW (pandas already loaded)",
        ("", "import", "fit", "CPU s"),
        rows,
    )

    many = made_up(int(thousand * 1000))
    label = f"{len(many):,} made-up customers"
    tracemalloc.start()
    model = clv.BetaGeoNBD().fit(many)
    print(
        f"\nMost memory at one time in the fit of {label}: {tracemalloc.get_traced_memory()[1] / 1e6:.0f} MB"
    )
    tracemalloc.stop()
    print(f"Distinct histories: {model.n_rows_:,}")
    ours, theirs = fits(label, many, 3)
    predictions(label, many, ours, theirs)


if __name__ == "__main__":
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # read when numpy loads, so start again with it
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **one})
    main()
