"""Lifetime value against lifetimes (and PyMC-Marketing where it is installed).

Run: python benchmarks/clv.py [thousand customers, default 1000]

One process, one thread. Log-likelihoods at the two optima are compared before anything is timed:
ours may not be lower by more than a millionth. Times are CPU seconds; ours are the least of several
runs after one to warm up, the peer's is one run after its imports. The first fit in a new process
and the most memory a fit ever holds are measured in processes of their own. The last table sets
every goal beside what was measured.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import tempfile
import time
import warnings
from importlib import metadata, util
from pathlib import Path

import numpy as np
import pandas as pd
from _timing import Run, cpu_seconds, environment, show, time_call

from loyalty_research import clv, summaries

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


def timed(label, call):
    """Time one run, without one to warm up: for a peer that takes seconds."""
    gc.collect()
    cpu, wall = cpu_seconds(), time.perf_counter()
    answer = call()
    return Run(label, cpu_seconds() - cpu, time.perf_counter() - wall, answer)


def cold_start(frame, setup, call):
    """CPU seconds of imports and of the first fit, in a new process, the least of three."""
    code = (
        "import io, sys, time, warnings\nwarnings.simplefilter('ignore')\nimport pandas as pd\n"
        "frame = pd.read_pickle(io.BytesIO(sys.stdin.buffer.read()))\nstart = time.process_time()\n"
        f"{setup}\nloaded = time.process_time()\n{call}\ndone = time.process_time()\n"
        "print(loaded - start, done - loaded)"
    )
    runs = []
    for _ in range(3):
        said = subprocess.run(
            [sys.executable, "-c", code], input=pickle.dumps(frame), capture_output=True, check=True
        ).stdout
        runs.append(tuple(float(v) for v in said.split()))
    return min(runs, key=sum)


def peak_megabytes(frame, model):
    """Most resident memory of a new process that reads the customers and fits a model, in MB."""
    code = (
        "import sys\nimport numpy as np\nimport pandas as pd\nfrom loyalty_research import clv\n"
        "frame = pd.DataFrame({n: np.load(f'{sys.argv[1]}/{n}.npy') for n in ('frequency', 'recency', 'T')})\n"
        "frame.attrs['unit'] = 'W'\n"
        f"clv.{model}().fit(frame)\n"
        "status = open('/proc/self/status').read()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) * 1024 / 1e6)"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in ("frequency", "recency", "T"):
            np.save(Path(folder) / name, frame[name].to_numpy())
        said = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, check=True).stdout
    return float(said)


def fits(model, peer, label, frame, repeat, *, against=True):
    """Compare optima, then time the fits; return ours, theirs and the multiple."""
    objective = getattr(clv, model).core.objective
    mine = time_call(f"loyalty_research {model}", lambda: getattr(clv, model)().fit(frame), repeat=repeat)
    if not against:
        show(f"{model}, {label}", HEADS, [mine.row(mine)])
        return mine, None, float("nan")
    other = timed(f"lifetimes {peer}", lambda: peer_fit(peer, frame))
    same_optimum(f"\n{model}, {label}", objective, frame, mine.answer, other.answer)
    show(f"{model} fit, {label}", HEADS, [mine.row(mine), other.row(mine)])
    return mine, other, other.cpu / mine.cpu


def bayes(frame, mine):
    """Time PyMC-Marketing's maximum a posteriori where it is installed."""
    if util.find_spec("pymc_marketing") is None:
        print("\nPyMC-Marketing is not installed (extra: bayes), so it is not compared.")
        return float("nan")
    from pymc_marketing.clv import BetaGeoModel

    data = frame[["frequency", "recency", "T"]].rename_axis("customer_id").reset_index()
    other = timed("PyMC-Marketing BetaGeoModel, MAP", lambda: BetaGeoModel(data=data).fit(method="map"))
    show("BG/NBD fit against PyMC-Marketing", HEADS, [mine.row(mine), other.row(mine)])
    return other.cpu / mine.cpu


def summary_of(name="CDNOW_master.txt"):
    """Purchases summary with holdout from transactions, ours against lifetimes', in days."""
    path = metadata.distribution("lifetimes").locate_file(f"lifetimes/datasets/{name}")
    lines = pd.read_csv(path, sep=r"\s+")
    lines.columns = ["customer_id", "day", "count", "amount"]
    lines["transacted_date"] = pd.to_datetime(lines.pop("day"), format="%Y%m%d")
    ends = {"calibration_end": "1997-09-30", "observation_end": "1998-06-30"}
    mine = time_call("loyalty_research summaries.purchases", lambda: summaries.purchases(lines, **ends))

    def peer():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from lifetimes.utils import calibration_and_holdout_data

            return calibration_and_holdout_data(
                lines,
                "customer_id",
                "transacted_date",
                calibration_period_end="1997-09-30",
                observation_period_end="1998-06-30",
                monetary_value_col="amount",
            )

    other = timed("lifetimes calibration_and_holdout_data", peer)
    ours = mine.answer.sort_index()
    theirs = (
        other.answer.loc[ours.index]
        if set(ours.index) <= set(other.answer.index)
        else other.answer.sort_index()
    )
    for one, two in (("frequency", "frequency_cal"), ("recency", "recency_cal"), ("T", "T_cal")):
        np.testing.assert_allclose(ours[one].to_numpy(float), theirs[two].to_numpy(float))
    show(
        f"Purchases summary with holdout, {len(lines):,} transactions",
        HEADS,
        [mine.row(mine), other.row(mine)],
    )
    return other.cpu / mine.cpu


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
        other = timed(
            "lifetimes conditional_expected_number_of_...",
            lambda: theirs.conditional_expected_number_of_purchases_up_to_time(39, *columns),
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
            return clv.customer_lifetime_value(ours, spend, frame, horizon=52, annual_discount_rate=0.1).total

        mine = time_call("loyalty_research, end of month", value)
        full = time_call("loyalty_research, with the interval of the total", intervals, repeat=1)
        other = timed(
            "lifetimes customer_lifetime_value",
            lambda: peer_spend.customer_lifetime_value(
                theirs,
                *columns,
                frame["monetary_value"],
                time=12,
                discount_rate=1.1 ** (1 / 12) - 1,
                freq="W",
            ),
        )
        # the same horizon; our discount periods are a twelfth of 52 weeks, lifetimes' are 4.345 weeks
        gap = mine.answer.sum() / other.answer.sum() - 1
        assert abs(gap) < 0.002, f"values differ by {gap:.2%}"
        print(f"Total value over {12 * MONTH:.2f} weeks: ours differs by {gap:+.3%} (periods of 52/12 weeks)")
        rows = [mine.row(mine), full.row(mine), other.row(mine)]
        show(f"Twelve months of discounted value, {label}", HEADS, rows)
    return other.cpu / mine.cpu


def starts(real):
    """First fits in new processes; return CPU seconds by model and library."""
    found, rows = {}, []
    for model, peer in (("BetaGeoNBD", "BetaGeoFitter"), ("ParetoNBD", "ParetoNBDFitter")):
        ours = cold_start(real, f"from loyalty_research.clv import {model}", f"{model}().fit(frame)")
        theirs = cold_start(
            real,
            f"from lifetimes import {peer}",
            f"{peer}().fit(frame['frequency'], frame['recency'], frame['T'])",
        )
        for name, (load, fit) in ((f"loyalty_research {model}", ours), (f"lifetimes {peer}", theirs)):
            rows.append((name, f"{load:.3f}", f"{fit:.3f}", f"{load + fit:.3f}"))
        found[model] = sum(ours), sum(theirs)
    show("First fit in a new process, CDNOW (pandas already loaded)", ("", "import", "fit", "CPU s"), rows)
    return found


def main():
    thousand = float(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(environment("loyalty-research", "lifetimes", "numpy", "scipy", "pandas"))
    real = cdnow()
    everybody = f"CDNOW, {len(real):,} customers"
    fits("BetaGeoNBD", "BetaGeoFitter", everybody, real, 5)
    pareto = fits("ParetoNBD", "ParetoNBDFitter", everybody, real, 5)[2]
    summary = summary_of()
    cold = starts(real)

    many = made_up(int(thousand * 1000))
    label = f"{len(many):,} made-up customers"
    mine, other, geometric = fits("BetaGeoNBD", "BetaGeoFitter", label, many, 3)
    print(f"Distinct histories: {mine.answer.n_rows_:,}")
    against = bayes(many, mine)
    wide = fits("ParetoNBD", "ParetoNBDFitter", label, many, 2, against=False)[0]
    value = predictions(label, many, mine.answer, other.answer)
    memory = {name: peak_megabytes(many, name) for name in ("BetaGeoNBD", "ParetoNBD")}

    goals = [
        (f"BG/NBD fit, {label}: times lifetimes", f"{geometric:.0f}x", "30x", geometric >= 30),
        (f"Pareto/NBD fit, {everybody}: times lifetimes", f"{pareto:.0f}x", "50x", pareto >= 50),
        (f"Pareto/NBD fit, {label}: CPU s", f"{wide.cpu:.2f}", "under 3", wide.cpu < 3),
        ("Twelve months of discounted value: times lifetimes", f"{value:.0f}x", "5x", value >= 5),
        ("Purchases summary with holdout: times lifetimes", f"{summary:.0f}x", "5x", summary >= 5),
    ]
    if not np.isnan(against):
        goals.append((f"BG/NBD fit, {label}: times PyMC-Marketing", f"{against:.0f}x", "15x", against >= 15))
    for model, (ours, theirs) in cold.items():
        goals.append(
            (f"{model}: first fit in a new process, CPU s", f"{ours:.2f}", f"{theirs:.2f}", ours <= theirs)
        )
    for model, size in memory.items():
        goals.append((f"{model}, {label}: most memory, MB", f"{size:.0f}", "under 300", size < 300))
    rows = [(what, got, goal, "met" if met else "MISSED") for what, got, goal, met in goals]
    show("Goals", ("", "measured", "goal", ""), rows)


if __name__ == "__main__":
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # read when numpy loads, so start again with it
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **one})
    main()
