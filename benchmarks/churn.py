"""Churn against lifelines: Cox on categorical columns, Cox on a number, Kaplan-Meier, PH test.

    python benchmarks/churn.py            # 100,000 customers
    python benchmarks/churn.py --million  # and 1,000,000 (several minutes)

Answers are compared first; a script that times two different answers times nothing. CPU seconds
of one run on one thread, ours from a ready ``ChurnData``, lifelines from a ready frame.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import sys
import warnings

import numpy as np
import pandas as pd
from _timing import environment, peak_gigabytes, show, time_call
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.statistics import proportional_hazard_test

from loyalty_research.churn import ChurnData, CoxPH, KaplanMeier, ph_test

EXACT = {"precision": 1e-12, "r_precision": 1e-14, "step_size": 1.0}
LEVELS = {"region": 4, "channel": 3, "tier": 3, "age_band": 5, "device": 2}


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
    time = rng.exponential(300 * np.exp(-score.to_numpy()))
    frame["duration"] = np.ceil(np.minimum(time, 730)).astype(int)
    frame["event"] = (time < 730).astype(int)
    return frame


def dummies(frame: pd.DataFrame, *, number: bool) -> pd.DataFrame:
    """Return what lifelines takes: numbers only."""
    coded = pd.get_dummies(frame[list(LEVELS)], drop_first=True, dtype=float)
    columns = ["duration", "event", *(["spend"] if number else [])]
    return pd.concat([frame[columns], coded], axis="columns")


def same(ours: object, theirs: object, what: str, *, within: float = 1e-6) -> None:
    """Stop when two answers differ by more than ``within``."""
    gap = float(np.abs(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)).max())
    print(f"  {what}: largest difference {gap:.1e}")
    if not gap <= within:
        sys.exit(f"{what}: the answers differ by {gap:.2g}, so times cannot be compared")


def compare(n: int) -> None:
    """Time both on ``n`` customers."""
    frame = customers(n)
    print(f"\n{n:,} customers, {frame['event'].mean():.0%} leave within two years")
    for number in (False, True):
        columns = [*LEVELS, *(["spend"] if number else [])]
        data = ChurnData.from_durations(frame[["duration", "event", *columns]])
        coded = dummies(frame, number=number)
        ours = time_call("loyalty_research", lambda d=data, c=columns: CoxPH().fit(d, covariates=c), repeat=1)
        runs = [ours]
        for label, option in (
            ("lifelines, batch_mode=True", {"batch_mode": True}),
            ("lifelines, default", {}),
        ):
            runs.append(
                time_call(
                    label,
                    lambda o=option, c=coded: CoxPHFitter().fit(
                        c, "duration", "event", fit_options=EXACT, **o
                    ),
                    repeat=1,
                )
            )
        kind = "Cox, five categorical columns and a number" if number else "Cox, five categorical columns"
        # ours is in the order of the columns as named; lifelines in that of its frame
        theirs = runs[1].answer.params_
        names = [f"{v}_{t.split('[T.')[1][:-1]}" if "[" in t else t for v, t in _terms(ours.answer)]
        same(ours.answer.params_, theirs[names], f"{kind}, coefficients")
        same(ours.answer.standard_errors_, runs[1].answer.standard_errors_[names], f"{kind}, standard errors")
        show(kind, ("", "CPU s", "wall s", "CPU"), [r.row(ours) for r in runs])
    curves(frame)


def _terms(model: object) -> list[tuple[str, str]]:
    design = model.state.design
    return list(zip(design.variables, design.terms, strict=True))


def proportional(n: int) -> None:
    """Time the test of proportional hazards; answers differ, since lifelines approximates."""
    frame = customers(n)
    coded = dummies(frame, number=False)
    model = CoxPH().fit(
        ChurnData.from_durations(frame[["duration", "event", *LEVELS]]), covariates=list(LEVELS)
    )
    peer = CoxPHFitter().fit(coded, "duration", "event", fit_options=EXACT)
    ours = time_call("loyalty_research (exact score test)", lambda: ph_test(model), repeat=1)
    theirs = time_call(
        "lifelines (approximation of before 2019)",
        lambda: proportional_hazard_test(peer, coded, time_transform="km"),
        repeat=1,
    )
    title = f"Test of proportional hazards, {n:,} customers"
    show(title, ("", "CPU s", "wall s", "CPU"), [r.row(ours) for r in (ours, theirs)])


def curves(frame: pd.DataFrame) -> None:
    """Time a Kaplan-Meier curve with its interval."""
    data = ChurnData.from_durations(frame[["duration", "event"]])
    ours = time_call("loyalty_research", lambda: KaplanMeier().fit(data).survival_function_, repeat=3)
    peer = time_call(
        "lifelines", lambda: KaplanMeierFitter().fit(frame["duration"], frame["event"]), repeat=3
    )
    steps = ours.answer
    fitted = peer.answer
    same(steps["estimate"], fitted.survival_function_at_times(steps["time"]), "Kaplan-Meier, survival")
    bounds = fitted.confidence_interval_.loc[steps["time"].iloc[1:]].to_numpy()
    same(steps[["low", "high"]].iloc[1:], bounds, "Kaplan-Meier, limits")
    show(
        "Kaplan-Meier with log-log limits",
        ("", "CPU s", "wall s", "CPU"),
        [r.row(ours) for r in (ours, peer)],
    )


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", action="store_true", help="also 1,000,000 customers")
    parser.add_argument("--size", type=int, default=100_000, help="customers (default 100,000)")
    arguments = parser.parse_args()
    print(environment("lifelines", "numpy", "pandas"))
    with warnings.catch_warnings():
        # lifelines warns about its own use of pandas
        warnings.simplefilter("ignore")
        compare(arguments.size)
        proportional(10_000)
        if arguments.million:
            compare(1_000_000)
    print(f"\nPeak memory of this process: {peak_gigabytes():.2f} GB (lifelines included)")


if __name__ == "__main__":
    main()
