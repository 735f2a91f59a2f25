"""How often the intervals of lifetime value cover the truth, by simulation with known parameters.

Run: python benchmarks/clv_coverage.py [replicates, default 2000] [case ...]

Every case draws customers from a model, fits the same model and asks whether the 95% intervals hold
the truth: the parameters (Wald), what single customers and all customers together are expected to buy
(delta method), and what they are worth. Counts are kept as JSON beside the page they make,
docs/clv_coverage.md, after every hundred replicates, and a later run goes on from there: delete the
JSON to begin anew.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from loyalty_research import clv
from loyalty_research.clv import _contractual, _gamma_gamma
from loyalty_research.clv._discount import Discounting, discounting
from loyalty_research.errors import ConvergenceError

PAGE = Path(__file__).parents[1] / "docs" / "clv_coverage.md"
KEPT = PAGE.with_suffix(".json")
STRETCH = 100  # replicates between two writings
TRUTH = {
    "BetaGeoNBD": (0.8, 6.0, 0.8, 2.5),
    "ModifiedBetaGeoNBD": (0.8, 6.0, 0.8, 2.5),
    "ParetoNBD": (0.8, 6.0, 0.8, 12.0),
}
SPEND = (6.0, 4.0, 15.0)
EFFECTS = {"purchase[web]": 0.5, "dropout[web]": 0.6}
HISTORIES = {
    "no repeat purchase": (0, 0.0, 40),
    "2, the last one early": (2, 10.0, 40),
    "8, still buying": (8, 38.0, 40),
}


def draw_purchases(name, truth, customers, rng, *, web=None):
    """Histories over 26 to 52 whole weeks, with mean spend per repeat purchase."""
    r, alpha, third, fourth = truth
    push = 0.0 if web is None else web
    T = rng.integers(26, 53, customers).astype(float)
    rate = rng.gamma(r, 1 / alpha, customers) * np.exp(EFFECTS["purchase[web]"] * push)
    nu = rng.gamma(SPEND[1], 1 / SPEND[2], customers)
    x, recency, paid, clock = (np.zeros(customers) for _ in range(4))
    here = np.arange(customers)
    if name == "ParetoNBD":
        leave = np.zeros(customers)
        hazard = rng.gamma(third, 1 / fourth, customers) * np.exp(EFFECTS["dropout[web]"] * push)
        end = np.minimum(rng.exponential(size=customers) / hazard, T)
    else:
        leave, end = rng.beta(third * np.exp(EFFECTS["dropout[web]"] * push), fourth, customers), T
        if name == "ModifiedBetaGeoNBD":
            here = here[rng.random(customers) >= leave]
    while len(here):
        clock[here] += rng.exponential(size=len(here)) / rate[here]
        here = here[clock[here] <= end[here]]
        x[here] += 1
        recency[here] = clock[here]
        paid[here] += rng.gamma(SPEND[0], size=len(here)) / nu[here]
        here = here[rng.random(len(here)) >= leave[here]]
    frame = pd.DataFrame(
        {
            "frequency": x,
            "recency": recency,
            "T": T,
            "monetary_value": np.divide(paid, x, out=np.zeros(customers), where=x > 0),
        }
    )
    if web is not None:
        frame["web"] = web
    frame.attrs["unit"] = "W"
    return frame


def holds(low, high, truth):
    return bool(low <= truth <= high)


def parameters(model, truth):
    found = model.summary
    return {f"parameter {n}": holds(found.loc[n, "low"], found.loc[n, "high"], v) for n, v in truth.items()}


def purchases(name):
    """One replicate of a model of purchases with spend."""
    truth = np.array(TRUTH[name])
    core = getattr(clv, name).core
    known = pd.DataFrame(list(HISTORIES.values()), columns=["frequency", "recency", "T"], dtype=float)
    known.attrs["unit"] = "W"
    ahead = Discounting((0.0, 26.0), np.ones(1), 0.0)
    rows = [known[c].to_numpy() for c in known]
    single = core.conditional(truth, *rows, ahead)
    panels = discounting(
        annual_discount_rate=0.1, horizon=52, convention="continuous", periods_per_year=12, unit="W"
    )

    def replicate(rng):
        frame = draw_purchases(name, truth, 2000, rng)
        model = getattr(clv, name)().fit(frame)
        spend = clv.GammaGamma().fit(frame)
        out = parameters(model, dict(zip(model.names, truth, strict=True)))
        if name == "BetaGeoNBD":
            out |= {
                f"spend {k}": v for k, v in parameters(spend, dict(zip("pqv", SPEND, strict=True))).items()
            }
        limits = model.prediction_intervals(26, known)
        for label, row, value in zip(HISTORIES, limits.itertuples(), single, strict=True):
            out[f"expected purchases in 26 weeks: {label}"] = holds(row.low, row.high, value)
        x, recency, T, mean = (frame[c].to_numpy() for c in ("frequency", "recency", "T", "monetary_value"))
        total = model.total_expected_purchases(26, frame)
        bought = core.conditional(truth, x, recency, T, ahead).sum()
        out["expected purchases in 26 weeks: all customers"] = holds(total.low, total.high, bought)
        value = clv.customer_lifetime_value(model, spend, frame, horizon=52, annual_discount_rate=0.1).total
        worth = core.conditional(truth, x, recency, T, panels) @ _gamma_gamma.conditional_mean(
            np.array(SPEND), x, mean
        )
        out["value over 52 weeks: all customers"] = holds(value.low, value.high, worth)
        return out

    return replicate


def with_covariate(name):
    """One replicate of a model with one trait on purchase and on dropout."""

    def replicate(rng):
        web = (rng.random(2000) < 0.4).astype(float)
        frame = draw_purchases(name, TRUTH[name], 2000, rng, web=web)
        model = getattr(clv, name)().fit(frame, purchase_covariates=["web"], dropout_covariates=["web"])
        return parameters(model, EFFECTS)

    return replicate


def opportunities():
    truth = np.array([1.2, 0.75, 0.9, 3.0])
    known = pd.DataFrame({"frequency": [0.0, 2, 8], "recency": [0.0, 3, 10], "T": 10.0})
    core = clv.BetaGeoBetaBinomial.core
    ahead = Discounting((0.0, 5.0), np.ones(1), 0.0)
    single = core.conditional(truth, *(known[c].to_numpy() for c in known), ahead)

    def replicate(rng):
        buying, leaving = rng.beta(*truth[:2], 2000), rng.beta(*truth[2:], 2000)
        there, x, recency = np.ones(2000, dtype=bool), np.zeros(2000), np.zeros(2000)
        for period in range(1, 11):
            there &= rng.random(2000) >= leaving
            bought = there & (rng.random(2000) < buying)
            x, recency = x + bought, np.where(bought, period, recency)
        frame = pd.DataFrame({"frequency": x, "recency": recency, "T": 10.0})
        model = clv.BetaGeoBetaBinomial().fit(frame)
        out = parameters(model, dict(zip(model.names, truth, strict=True)))
        limits = model.prediction_intervals(5, known)
        labels = ("never bought", "2 of 10, the last one third", "8 of 10, the last one too")
        for label, row, value in zip(labels, limits.itertuples(), single, strict=True):
            out[f"expected purchases at 5 opportunities: {label}"] = holds(row.low, row.high, value)
        total = model.total_expected_purchases(5, frame)
        truly = core.conditional(truth, x, recency, np.full(2000, 10.0), ahead).sum()
        out["expected purchases at 5 opportunities: all customers"] = holds(total.low, total.high, truly)
        return out

    return replicate


def contracts(name, truth):
    """One replicate of contract lifetimes, cohorts 4 to 10 periods old."""
    at = np.array(truth)
    before, fifth, later = np.exp(_contractual.log_survival(at, np.array([4.0, 5.0, 15.0])))
    rate = fifth / before
    residual = _contractual.discounted_renewals(at, np.array([3.0]), 0.1, None)[0]
    power = truth[2] if len(truth) > 2 else 1.0

    def replicate(rng):
        p = rng.beta(truth[0], truth[1], 5000)
        life = np.ceil(np.minimum((np.log(rng.random(5000)) / np.log1p(-p)) ** (1 / power), 1e9))
        age = rng.integers(4, 11, 5000)
        frame = pd.DataFrame({"periods": np.minimum(life, age), "churned": (life <= age).astype(float)})
        model = getattr(clv, name)().fit(frame)
        out = parameters(model, dict(zip(model.names, truth, strict=True)))
        rows = model.projection(15).periods.set_index("period")
        out["share still there after 15 periods (5 beyond the data)"] = holds(
            rows.loc[15, "low"], rows.loc[15, "high"], later
        )
        out["retention rate at renewal 5"] = holds(
            rows.loc[5, "retention_low"], rows.loc[5, "retention_high"], rate
        )
        ahead = model.discounted_residual_lifetime(3, annual_discount_rate=0.1).iloc[0]
        out["discounted residual lifetime after 3 renewals"] = holds(ahead["low"], ahead["high"], residual)
        return out

    return replicate


CASES = {
    "BG/NBD, 2,000 customers": lambda: purchases("BetaGeoNBD"),
    "MBG/NBD, 2,000 customers": lambda: purchases("ModifiedBetaGeoNBD"),
    "Pareto/NBD, 2,000 customers": lambda: purchases("ParetoNBD"),
    "BG/NBD with a covariate, 2,000 customers": lambda: with_covariate("BetaGeoNBD"),
    "MBG/NBD with a covariate, 2,000 customers": lambda: with_covariate("ModifiedBetaGeoNBD"),
    "Pareto/NBD with a covariate, 2,000 customers": lambda: with_covariate("ParetoNBD"),
    "BG/BB, 2,000 customers, 10 opportunities": opportunities,
    "Shifted beta-geometric, 5,000 contracts": lambda: contracts("ShiftedBetaGeometric", (0.8, 2.5)),
    "Beta-discrete-Weibull, 5,000 contracts": lambda: contracts("BetaDiscreteWeibull", (0.9, 4.0, 1.4)),
}


def coverage(case, runs, *, seed=20):
    """Count, over numbered replicates, intervals that hold the truth and fits without a maximum."""
    replicate = CASES[case]()
    inside, lost, done = {}, 0, 0
    for run in runs:
        rng = np.random.default_rng([seed, list(CASES).index(case), run])
        try:
            found = replicate(rng)
        except ConvergenceError:
            lost += 1
            continue
        done += 1
        for quantity, held in found.items():
            inside[quantity] = inside.get(quantity, 0) + held
    return {"replicates": done, "lost": lost, "inside": inside}


def add(first, second):
    """Counts of two stretches of replicates together."""
    if first is None:
        return second
    inside = {q: first["inside"][q] + n for q, n in second["inside"].items()}
    return {
        "replicates": first["replicates"] + second["replicates"],
        "lost": first["lost"] + second["lost"],
        "inside": inside,
    }


def page(results):
    """The table as Markdown."""
    lines = [
        "# Lifetime value: do the intervals cover?",
        "",
        "Customers are drawn from a model with known parameters, the model is fitted to them, and each 95% interval",
        "either holds the truth or does not. The share that does is the coverage. Its Monte Carlo error is",
        "sqrt(c (1 - c) / replicates): 0.5 points at 95% with 2,000 replicates, so that 94% to 96% is nominal.",
        "",
        "Parameters have Wald intervals made on the log scale (coefficients of covariates: on their own scale). What",
        "customers are expected to buy or to be worth has delta-method intervals on the log scale, shares on the logit",
        "scale. Expectations are those of the fitted customers under the true parameters: the intervals are for the",
        "uncertainty of the fit, not for what customers happen to do.",
        "",
        "Made by `python benchmarks/clv_coverage.py`; nothing is tuned or left out. Fits without a maximum raise an",
        "error in use and are counted here.",
        "",
    ]
    for case in CASES:
        if case not in results:
            continue
        found = results[case]
        n = found["replicates"]
        lines += [f"## {case}", "", f"{n:,} replicates, {found['lost']:,} fits without a maximum.", ""]
        lines += ["| Interval of | Coverage | Monte Carlo error |", "|---|---:|---:|"]
        for quantity, held in found["inside"].items():
            share = held / n
            error = np.sqrt(share * (1 - share) / n)
            lines.append(f"| {quantity} | {share:.1%} | {error:.1%} |")
        lines.append("")
    return "\n".join([*lines, *NOTES])


NOTES = [
    "## Reading the table",
    "",
    "- a and b of BG/NBD and MBG/NBD, and s and beta of Pareto/NBD, lie on a ridge along which the likelihood hardly",
    "  changes: their intervals span a factor of two and more. Predictions depend little on the place along the ridge.",
    "- One customer's expectation may be close to 0, where the last purchase is long ago; the log scale keeps its",
    "  interval positive.",
    "- Every fit here is of the model that made the data. Where customers behave otherwise, intervals of a fit say",
    "  nothing of it: compare a holdout.",
    "",
]


def main():
    replicates = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    chosen = [c for c in CASES if not sys.argv[2:] or any(c.startswith(part) for part in sys.argv[2:])]
    for begin in range(0, replicates, STRETCH):
        for case in chosen:
            results = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
            known = results.get(case)
            if known is not None and known["replicates"] + known["lost"] > begin:
                continue
            found = coverage(case, range(begin, min(begin + STRETCH, replicates)))
            results = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
            results[case] = add(known, found)
            KEPT.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
            PAGE.write_text(page(results), "utf-8")
            print(f"{case}: {results[case]['replicates']:,} replicates", flush=True)


if __name__ == "__main__":
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # read when numpy loads, so start again with it
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **one})
    main()
