"""Churn against lifelines, scikit-survival and statsmodels, one thread, answers compared first.

    python benchmarks/churn.py            # 100,000 customers
    python benchmarks/churn.py --million  # and 1,000,000 where the peer ends within minutes

A script that times two different answers times nothing: coefficients, errors and curves must agree
to 1e-6 before a time is shown. CPU seconds of one run, ours from a ready ``ChurnData``, the others
from the frame they take. Goals that were set beforehand are listed at the end, met or missed.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import gc
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from _timing import Run, cpu_seconds, environment, peak_gigabytes, show, time_call

from loyalty_research.churn import ChurnData, CoxPH, DiscreteHazard, KaplanMeier, ParametricAFT, ph_test

if TYPE_CHECKING:
    from collections.abc import Callable

EXACT = {"precision": 1e-12, "r_precision": 1e-14, "step_size": 1.0}
LEVELS = {"region": 4, "channel": 3, "tier": 3, "age_band": 5, "device": 2}


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio that was promised, and what came out."""

    what: str
    promised: float
    found: float
    cause: str

    def row(self) -> tuple[str, str, str, str]:
        met = self.found >= self.promised
        return (
            self.what,
            f"{self.promised:g}x",
            f"{self.found:.1f}x",
            "met" if met else f"missed: {self.cause}",
        )


GOALS: list[Goal] = []


def customers(n: int, *, seed: int = 1) -> pd.DataFrame:
    """Return customers with five categorical columns, a number and a whole-day duration."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            name: pd.Categorical.from_codes(rng.integers(0, k, n), [f"{name[0]}{i}" for i in range(k)])
            for name, k in LEVELS.items()
        }
    )
    frame["spend"] = rng.gamma(2.0, 15.0, n)
    score = sum((frame[name].cat.codes * 0.1 for name in LEVELS), start=-0.01 * frame["spend"])
    duration = rng.exponential(300 * np.exp(-score.to_numpy()))
    frame["duration"] = np.ceil(np.minimum(duration, 730)).astype(int)
    frame["event"] = (duration < 730).astype(int)
    return frame


def dummies(frame: pd.DataFrame, *, number: bool = False) -> pd.DataFrame:
    """Return what the others take: numbers only, in the order of our terms."""
    coded = pd.get_dummies(frame[list(LEVELS)], drop_first=True, dtype=float)
    return pd.concat([frame[["duration", "event"]], coded, *([frame[["spend"]]] if number else [])], axis=1)


def once(label: str, call: Callable[[], Any]) -> Run:
    """Time one call without a warm-up, for peers that take long."""
    gc.collect()
    cpu, wall = cpu_seconds(), time.perf_counter()
    answer = call()
    return Run(label, cpu_seconds() - cpu, time.perf_counter() - wall, answer)


def same(ours: object, theirs: object, what: str, *, within: float = 1e-6) -> None:
    """Stop when two answers differ by more than ``within``."""
    gap = float(np.abs(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)).max())
    print(f"  {what}: largest difference {gap:.1e}", flush=True)
    if not gap <= within:
        sys.exit(f"{what}: the answers differ by {gap:.2g}, so times cannot be compared")


def table(title: str, runs: list[Run]) -> None:
    show(title, ("", "CPU s", "wall s", "CPU"), [r.row(runs[0]) for r in runs])
    sys.stdout.flush()


def promise(what: str, ours: Run, peer: Run, times: float, cause: str) -> None:
    GOALS.append(Goal(what, times, peer.cpu / ours.cpu, cause))


def cox(n: int, *, number: bool, slow: bool) -> None:
    """Cox regression on categories, with or without a number, against three libraries."""
    from lifelines import CoxPHFitter

    frame = customers(n)
    columns = [*LEVELS, *(["spend"] if number else [])]
    data = ChurnData.from_durations(frame[["duration", "event", *columns]])
    coded = dummies(frame, number=number)
    ours = time_call("loyalty_research", lambda: CoxPH().fit(data, covariates=columns))
    batch = once(
        "lifelines, batch_mode=True",
        lambda: CoxPHFitter().fit(coded, "duration", "event", fit_options=EXACT, batch_mode=True),
    )
    default = once(
        "lifelines, default", lambda: CoxPHFitter().fit(coded, "duration", "event", fit_options=EXACT)
    )
    kind = f"Cox, {n:,} customers, five categorical columns{' and a number' if number else ''}"
    same(ours.answer.params_, batch.answer.params_, f"{kind}, coefficients")
    same(ours.answer.standard_errors_, batch.answer.standard_errors_, f"{kind}, standard errors")
    runs = [ours, batch, default]
    if slow:
        runs += others(coded, ours)
    table(kind, runs)
    if number:
        promise(f"{kind}: lifelines batch", ours, batch, 1, "one pass over the rows per column and step")
    else:
        promise(f"{kind}: lifelines batch", ours, batch, 5, "fixed costs weigh at this size")
        cause = (
            "lifelines' default now takes its fast way by itself"
            if default.cpu < 3 * batch.cpu
            else ("fixed costs weigh at this size")
        )
        promise(f"{kind}: lifelines default", ours, default, 70, cause)


def others(coded: pd.DataFrame, ours: Run) -> list[Run]:
    """Time scikit-survival and statsmodels."""
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv
    from statsmodels.duration.hazard_regression import PHReg

    x = coded.drop(columns=["duration", "event"])
    y = Surv.from_arrays(coded["event"].astype(bool), coded["duration"])
    theirs = once("scikit-survival", lambda: CoxPHSurvivalAnalysis(ties="efron", tol=1e-12).fit(x, y))
    same(ours.answer.params_, theirs.answer.coef_, "scikit-survival, coefficients")
    ph = PHReg(coded["duration"], x, status=coded["event"], ties="efron")
    last = once("statsmodels PHReg", ph.fit)
    same(ours.answer.params_, last.answer.params, "statsmodels, coefficients", within=1e-5)
    return [theirs, last]


def weibull(n: int) -> None:
    """Weibull accelerated failure times."""
    from lifelines import WeibullAFTFitter

    frame = customers(n)
    data = ChurnData.from_durations(frame[["duration", "event", *LEVELS]])
    coded = dummies(frame)
    ours = time_call("loyalty_research", lambda: ParametricAFT("weibull").fit(data, covariates=list(LEVELS)))
    theirs = once("lifelines WeibullAFTFitter", lambda: WeibullAFTFitter().fit(coded, "duration", "event"))
    # lifelines stops a little short of the optimum: the likelihoods are compared per customer
    same(ours.answer.log_likelihood_ / n, theirs.answer.log_likelihood_ / n, "Weibull, log likelihood")
    same(
        ours.answer.params_["lambda_"].drop("Intercept"),
        theirs.answer.params_["lambda_"][list(coded.columns[2:])],
        "Weibull, coefficients",
        within=1e-3,
    )
    table(f"Weibull, {n:,} customers", [ours, theirs])
    promise(f"Weibull, {n:,} customers", ours, theirs, 30, "fixed costs weigh at this size")


def varying(n: int) -> None:
    """Cox regression on intervals that are cut where a covariate changes."""
    from lifelines import CoxTimeVaryingFitter

    frame = customers(int(0.68 * n))
    rng = np.random.default_rng(2)
    joins = rng.integers(1, 400, len(frame))
    cut = joins < frame["duration"]
    before = frame.assign(id=frame.index, start=0, stop=np.where(cut, joins, frame["duration"]), member=0)
    before["event"] = before["event"].where(~cut, 0)
    after = frame[cut].assign(id=frame.index[cut], start=joins[cut], stop=frame["duration"][cut], member=1)
    both = pd.concat([before, after], ignore_index=True).drop(columns=["duration", "spend"])
    columns = [*LEVELS, "member"]
    data = ChurnData.from_intervals(both, id="id")
    coded = pd.concat(
        [
            both[["id", "start", "stop", "event"]],
            pd.get_dummies(both[list(LEVELS)], drop_first=True, dtype=float),
            both[["member"]],
        ],
        axis=1,
    )
    ours = time_call("loyalty_research", lambda: CoxPH().fit(data, covariates=columns))
    theirs = once(
        "lifelines CoxTimeVaryingFitter",
        lambda: CoxTimeVaryingFitter().fit(
            coded,
            id_col="id",
            event_col="event",
            start_col="start",
            stop_col="stop",
            fit_options={"precision": 1e-10},
        ),
    )
    same(ours.answer.params_, theirs.answer.params_, "time-varying, coefficients")
    table(f"Cox, {len(both):,} time-varying intervals", [ours, theirs])
    promise(f"{len(both):,} time-varying intervals", ours, theirs, 200, "fixed costs weigh at this size")


def robust(n: int) -> None:
    """Cluster-robust errors, times without ties: with ties lifelines' are not R's."""
    from lifelines import CoxPHFitter

    frame = customers(n)
    rng = np.random.default_rng(3)
    frame["duration"] = frame["duration"] + rng.permutation(n) / (2 * n)
    frame["store"] = rng.integers(0, 500, n)
    data = ChurnData.from_durations(frame.drop(columns="spend"), cluster="store")
    coded = pd.concat([dummies(frame), frame[["store"]]], axis=1)
    ours = time_call("loyalty_research", lambda: CoxPH().fit(data, covariates=list(LEVELS)))
    theirs = once(
        "lifelines, cluster_col",
        lambda: CoxPHFitter().fit(coded, "duration", "event", cluster_col="store", fit_options=EXACT),
    )
    same(ours.answer.standard_errors_, theirs.answer.standard_errors_, "robust errors")
    table(f"Cox with cluster-robust errors, {n:,} customers", [ours, theirs])
    promise(
        f"cluster-robust errors, {n:,} customers",
        ours,
        theirs,
        500,
        "without ties, where alone lifelines' robust errors are right, days cannot be counted",
    )


def proportional(n: int) -> None:
    """Test of proportional hazards; answers differ, since lifelines approximates."""
    from lifelines import CoxPHFitter
    from lifelines.statistics import proportional_hazard_test

    frame = customers(n)
    coded = dummies(frame)
    data = ChurnData.from_durations(frame[["duration", "event", *LEVELS]])
    model = CoxPH().fit(data, covariates=list(LEVELS))
    peer = CoxPHFitter().fit(coded, "duration", "event", fit_options=EXACT, batch_mode=True)
    ours = time_call("loyalty_research (exact score test)", lambda: ph_test(model))
    theirs = once(
        "lifelines (approximation of before 2019)",
        lambda: proportional_hazard_test(peer, coded, time_transform="km"),
    )
    table(f"Test of proportional hazards, {n:,} customers", [ours, theirs])
    promise(f"PH test, {n:,} customers", ours, theirs, 200, "fixed costs weigh at this size")


def curves(n: int) -> None:
    """Kaplan-Meier curve with its interval."""
    from lifelines import KaplanMeierFitter

    frame = customers(n)
    data = ChurnData.from_durations(frame[["duration", "event"]])
    ours = time_call("loyalty_research", lambda: KaplanMeier().fit(data).survival_function_)
    peer = time_call("lifelines", lambda: KaplanMeierFitter().fit(frame["duration"], frame["event"]))
    steps, fitted = ours.answer, peer.answer
    same(steps["estimate"], fitted.survival_function_at_times(steps["time"]), "Kaplan-Meier, survival")
    bounds = fitted.confidence_interval_.loc[steps["time"].iloc[1:]].to_numpy()
    same(steps[["low", "high"]].iloc[1:], bounds, "Kaplan-Meier, limits")
    table(f"Kaplan-Meier with log-log limits, {n:,} customers", [ours, peer])
    promise(f"Kaplan-Meier, {n:,} customers", ours, peer, 5, "fixed costs weigh at this size")


def grouped(n: int) -> None:
    """Daily complementary log-log hazard against a GLM on one row per customer and day."""
    import statsmodels.api as sm

    frame = customers(n)
    data = ChurnData.from_durations(frame[["duration", "event", *LEVELS]])
    ours = time_call(
        "loyalty_research",
        lambda: DiscreteHazard(baseline="polynomial", degrees=3).fit(data, covariates=list(LEVELS)),
    )
    coded = dummies(frame)
    who = np.repeat(np.arange(n), frame["duration"])
    day = np.arange(len(who)) - np.repeat(frame["duration"].cumsum() - frame["duration"], frame["duration"])
    u = 2 * day.to_numpy() / day.max() - 1
    x = np.column_stack(
        [coded.drop(columns=["duration", "event"]).to_numpy()[who], np.polynomial.legendre.legvander(u, 3)]
    )
    left = (
        (day.to_numpy() == frame["duration"].to_numpy()[who] - 1) & frame["event"].astype(bool)[who]
    ).to_numpy()
    family = sm.families.Binomial(link=sm.families.links.CLogLog())
    theirs = once(
        f"statsmodels GLM, {len(who):,} person-days",
        lambda: sm.GLM(left.astype(float), x, family=family).fit(tol=1e-12),
    )
    terms = len(ours.answer.params_)
    same(ours.answer.params_, theirs.answer.params[:terms], "daily cloglog, coefficients")
    same(ours.answer.standard_errors_, theirs.answer.bse[:terms], "daily cloglog, standard errors")
    table(f"Daily complementary log-log, {n:,} customers", [ours, theirs])


def memory(n: int) -> None:
    """Peak memory above the input, in a child process."""
    lines = []
    for name in ("categories", "categories and a number"):
        run = subprocess.run(
            [sys.executable, str(Path(__file__)), "--memory", name, "--size", str(n)],
            check=True,
            capture_output=True,
            text=True,
        )
        lines.append((name, f"{float(run.stdout.split()[-1]):.0f} MB"))
        if name == "categories":
            extra = float(run.stdout.split()[-1])
    show(f"Cox, {n:,} customers: peak memory above the input", ("", "peak"), lines)
    verdict = "met" if extra < 150 else "missed: counts per day and pattern take the room"
    print(f"  goal under 150 MB on categorical columns: {verdict}")


def measure(name: str, n: int) -> None:
    """Print the peak of one fit above what its data take (Linux)."""
    columns = [*LEVELS, *(["spend"] if name.endswith("number") else [])]
    small = customers(2000)[["duration", "event", *columns]]
    CoxPH().fit(ChurnData.from_durations(small), covariates=columns)
    data = ChurnData.from_durations(customers(n)[["duration", "event", *columns]])
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    CoxPH().fit(data, covariates=columns)
    print(resident("VmHWM") - before)


def resident(field: str) -> float:
    """Return a line of /proc/self/status in MB."""
    text = Path("/proc/self/status").read_text()
    return next(float(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(field))


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", action="store_true", help="also 1,000,000 customers")
    parser.add_argument("--size", type=int, default=100_000, help="customers (default 100,000)")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        measure(arguments.memory, arguments.size)
        return
    print(environment("lifelines", "scikit-survival", "statsmodels", "numpy", "pandas"))
    n = arguments.size
    with warnings.catch_warnings():
        # the others warn about their own use of pandas and numpy
        warnings.simplefilter("ignore")
        cox(n, number=False, slow=True)
        cox(n, number=True, slow=False)
        weibull(n)
        curves(n)
        varying(n)
        robust(min(n, 50_000))
        proportional(min(n, 100_000))
        grouped(min(n, 2_000))
        if arguments.million:
            cox(1_000_000, number=False, slow=False)
            cox(1_000_000, number=True, slow=False)
            curves(1_000_000)
            print(
                "\nAt 1,000,000 scikit-survival, statsmodels and the other models of lifelines are left out: "
            )
            print("each takes many minutes there.")
    if sys.platform == "linux":
        memory(1_000_000 if arguments.million else n)
    show("Goals", ("", "promised", "found", ""), [g.row() for g in GOALS])
    print(f"\nPeak memory of this process: {peak_gigabytes():.2f} GB (the others included)")


if __name__ == "__main__":
    main()
