"""Accuracy of predictions against lifelines and scikit-survival: concordance, AUC, Brier scores.

    python benchmarks/churn_validation.py            # 10,000 customers
    python benchmarks/churn_validation.py --more     # and 100,000

Answers are compared first, on durations without ties, since scikit-survival's weights are biased
with them. CPU seconds of one run on one thread; ours come with standard errors, the peers' without.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import sys
from typing import TYPE_CHECKING

import numpy as np
from _timing import environment, show, time_call
from lifelines.utils import concordance_index
from sksurv import metrics
from sksurv.util import Surv

from loyalty_research.churn import brier_score, concordance, dynamic_auc

if TYPE_CHECKING:
    from _timing import Run

TIMES = [30.0, 90.0, 180.0]


def same(ours: object, theirs: object, what: str, *, within: float = 1e-6) -> None:
    """Stop when two answers differ by more than ``within``."""
    gap = float(np.abs(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)).max())
    print(f"  {what}: largest difference {gap:.1e}")
    if not gap <= within:
        sys.exit(f"{what}: the answers differ by {gap:.2g}, so times cannot be compared")


def told_times(what: str, runs: list[Run]) -> None:
    """Print a table of times."""
    show(what, ("", "CPU s", "wall s", "CPU"), [run.row(runs[0]) for run in runs])


def compare(n: int) -> None:
    """Time all on ``n`` customers."""
    rng = np.random.default_rng(1)
    rate = 0.006 * np.exp(rng.normal(0, 0.7, n))
    left, seen = rng.exponential(1 / rate), rng.uniform(60, 365, n)
    time, event = np.minimum(left, seen), left <= seen
    chance = np.exp(-np.outer(rate, TIMES))
    told = Surv.from_arrays(event, time)
    print(f"\n{n:,} customers, {event.mean():.0%} seen to leave")

    harrell = concordance(time, event, rate).estimate.value
    same(harrell, concordance_index(time, -rate, event), "Harrell's concordance")
    told_times(
        "Harrell's concordance",
        [
            time_call("loyalty_research", lambda: concordance(time, event, rate), repeat=1),
            time_call("lifelines", lambda: concordance_index(time, -rate, event), repeat=1),
            time_call(
                "scikit-survival", lambda: metrics.concordance_index_censored(event, time, rate), repeat=1
            ),
        ],
    )
    uno = concordance(time, event, rate, kind="uno", tau=180).estimate.value
    same(uno, metrics.concordance_index_ipcw(told, told, rate, tau=180)[0], "Uno's concordance")
    told_times(
        "Uno's concordance",
        [
            time_call(
                "loyalty_research", lambda: concordance(time, event, rate, kind="uno", tau=180), repeat=1
            ),
            time_call(
                "scikit-survival", lambda: metrics.concordance_index_ipcw(told, told, rate, tau=180), repeat=1
            ),
        ],
    )
    areas = dynamic_auc(time, event, rate, times=TIMES).areas["estimate"]
    same(areas, metrics.cumulative_dynamic_auc(told, told, rate, TIMES)[0], "AUC at three times")
    told_times(
        "AUC at three times",
        [
            time_call("loyalty_research", lambda: dynamic_auc(time, event, rate, times=TIMES), repeat=1),
            time_call(
                "scikit-survival", lambda: metrics.cumulative_dynamic_auc(told, told, rate, TIMES), repeat=1
            ),
        ],
    )
    scores = brier_score(time, event, chance, times=TIMES).scores["estimate"]
    same(scores, metrics.brier_score(told, told, chance, TIMES)[1], "Brier scores at three times")
    told_times(
        "Brier scores at three times",
        [
            time_call("loyalty_research", lambda: brier_score(time, event, chance, times=TIMES), repeat=1),
            time_call("scikit-survival", lambda: metrics.brier_score(told, told, chance, TIMES), repeat=1),
        ],
    )


def main() -> None:
    """Compare at one or two sizes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--more", action="store_true", help="also 100,000 customers")
    more = parser.parse_args().more
    print(environment("numpy", "lifelines", "scikit-survival"))
    for n in (10_000, 100_000) if more else (10_000,):
        compare(n)


if __name__ == "__main__":
    main()
