"""The goal gradient's random-intercept hazard against R's lme4::glmer with 15 quadrature nodes.

    python benchmarks/endowed_progress.py                  # 100,000 cards x 40 weeks; lme4 at 2,000 and 4,000 cards
    python benchmarks/endowed_progress.py --peer 1000,2000 # lme4 on fewer cards
    python benchmarks/endowed_progress.py --peer 100000    # lme4 at full size: about twenty minutes

Answers are compared first: both log-likelihoods must agree within 1e-4 on the same cards, at lme4's
own maximum and at ours. lme4 gets the cards both ways: one row a card and week, as its users write
it, and one row a card and number of stamps, already added up for it. Its time at 100,000 cards is
extrapolated from the two sizes it ran at, in proportion to the cards, and said so. Ours is timed at
full size, from rows of (card, cell, trials, visits), grouping included, on one thread; its peak
memory is that of a process of its own. Without R, the reference is the same likelihood by
dense quadrature on 401 fixed nodes and BFGS.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from _timing import Run, environment, peak_gigabytes, show, time_call
from scipy import optimize, special, stats

from loyalty_research.endowed_progress import CardExperiment
from loyalty_research.endowed_progress.hazard import fit_random_intercept, group_histories, marginal

WEEKS, STAMPS, NODES = 40, 8, 15
ALPHA, BETA, SHIFT, SIGMA = -3.1, 2.0, 0.3, 1.0
CELLS = pd.DataFrame({"arm": np.repeat([0.0, 1.0], STAMPS), "stamps": np.tile(np.arange(STAMPS), 2)})
SHARE = np.where(CELLS["arm"] == 0, CELLS["stamps"] / 8, (CELLS["stamps"] + 2) / 10)
DESIGN = np.column_stack([np.ones(2 * STAMPS), SHARE, CELLS["arm"]])
WITHIN = 1e-4

R_SCRIPT = """
suppressMessages(library(lme4))
given <- commandArgs(trailingOnly = TRUE)
cards <- read.csv(given[1])
cards$card <- factor(cards$card)
begin <- proc.time()
fit <- suppressMessages(glmer(cbind(visits, trials - visits) ~ share + arm + (1 | card), data = cards,
                              family = binomial, nAGQ = as.integer(given[2])))
used <- proc.time() - begin
found <- c(used[["user.self"]] + used[["sys.self"]], used[["elapsed"]], logLik(fit), fixef(fit),
           getME(fit, "theta"))
cat(sprintf("%.17g", found), sep = "\\n")
"""


@dataclass(frozen=True)
class Cards:
    """Cards as rows of (card, cell, trials, visits), and the weeks of their visits."""

    card: np.ndarray
    cell: np.ndarray
    trials: np.ndarray
    visits: np.ndarray
    weeks: np.ndarray

    def first(self, count: int) -> Cards:
        """Return so many cards, half of each arm."""
        chosen = np.isin(self.card % (len(self.weeks) // 2), np.arange(count // 2))
        return Cards(*(v[chosen] for v in (self.card, self.cell, self.trials, self.visits)), self.weeks)

    def by_week(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return one row a card and week: card, cell, visit."""
        row = np.repeat(np.arange(len(self.card)), self.trials)
        last = np.cumsum(self.trials) - 1
        visit = np.zeros(len(row), dtype=np.int64)
        visit[last] = self.visits
        return self.card[row], self.cell[row], visit


def simulate(count: int, *, seed: int = 1) -> Cards:
    """Play ``count`` cards, half of them 8 stamps, half 10 with 2 given."""
    rng = np.random.default_rng(seed)
    first = STAMPS * np.repeat([0, 1], count // 2)
    u, earned = rng.normal(0, SIGMA, count), np.zeros(count, dtype=np.int64)
    trials, visits = np.zeros((2, count, STAMPS), dtype=np.int64)
    weeks = np.zeros((count, STAMPS), dtype=np.int64)
    line = DESIGN @ [ALPHA, BETA, SHIFT]
    for week in range(WEEKS):
        live = np.flatnonzero(earned < STAMPS)
        here = earned[live]
        visit = rng.random(len(live)) < special.expit(line[first[live] + here] + u[live])
        trials[live, here] += 1
        visits[live, here] += visit
        weeks[live[visit], here[visit]] = week + 1
        earned[live] += visit
    card, level = np.nonzero(trials)
    return Cards(card, first[card] + level, trials[card, level], visits[card, level], weeks)


def ours(cards: Cards):
    """Group and fit."""
    data = group_histories(cards.card, cards.cell, cards.trials, cards.visits)
    return fit_random_intercept(DESIGN, data, nodes=NODES)


def log_likelihood(cards: Cards, theta: np.ndarray, *, nodes: int = NODES) -> float:
    """Our log-likelihood at any parameters."""
    data = group_histories(cards.card, cards.cell, cards.trials, cards.visits)
    return marginal(theta, DESIGN, data, link="logit", nodes=nodes)[0]


def saturated(cards: Cards) -> float:
    """What lme4 subtracts from the log-likelihood of rows that are added up: nothing of 0/1 rows."""
    y, n = cards.visits, cards.trials
    return float((special.xlogy(y, y / n) + special.xlogy(n - y, 1 - y / n)).sum())


def glmer(cards: Cards, *, weekly: bool) -> tuple[Run, float]:
    """Fit in R; return the run, whose answer is theta, and lme4's log-likelihood on our scale."""
    if weekly:
        card, cell, visits = cards.by_week()
        trials, offset = np.ones(len(card), dtype=np.int64), 0.0
    else:
        card, cell, visits, trials = cards.card, cards.cell, cards.visits, cards.trials
        offset = saturated(cards)
    frame = pd.DataFrame({"card": card, "visits": visits, "trials": trials})
    frame = frame.assign(share=SHARE[cell], arm=CELLS["arm"].to_numpy()[cell])
    with tempfile.TemporaryDirectory() as folder:
        script, table = Path(folder, "fit.R"), Path(folder, "cards.csv")
        script.write_text(R_SCRIPT, encoding="utf-8")
        frame.to_csv(table, index=False, float_format="%.17g")
        done = subprocess.run(
            ["Rscript", str(script), str(table), str(NODES)], capture_output=True, text=True, check=True
        )
    cpu, wall, log, *rest = map(float, done.stdout.split())
    theta = np.array([*rest[:3], np.log(rest[3])])
    kind = "a row a week" if weekly else "rows added up by stamps"
    return Run(f"lme4::glmer, {kind}, {frame['card'].nunique():,} cards", cpu, wall, theta), log + offset


def dense(cards: Cards, theta: np.ndarray) -> float:
    """The log-likelihood on 401 fixed nodes, card by card, nothing grouped."""
    z = np.linspace(-8, 8, 401)
    line = (DESIGN @ theta[:-1])[:, None] + np.exp(theta[-1]) * z
    hit, miss = -np.logaddexp(0, -line), -np.logaddexp(0, line)
    rows = np.zeros((int(cards.card.max()) + 1, len(z)))
    for start in range(0, len(cards.card), 20_000):
        part = slice(start, start + 20_000)
        c, y, n = cards.cell[part], cards.visits[part, None], cards.trials[part, None]
        np.add.at(rows, cards.card[part], y * hit[c] + (n - y) * miss[c])
    rows = rows[np.unique(cards.card)]
    weight = stats.norm.pdf(z) * (z[1] - z[0])
    return float(special.logsumexp(rows, b=weight, axis=1).sum())


def fit_dense(cards: Cards) -> np.ndarray:
    """Maximise the dense likelihood by BFGS with numerical derivatives."""
    scale = len(np.unique(cards.card))
    start = np.array([-2.5, 1.0, 0.0, 0.0])
    return optimize.minimize(lambda t: -dense(cards, t) / scale, start, method="BFGS").x


def close(a: float, b: float, what: str) -> None:
    """Stop when two log-likelihoods differ by more than 1e-4."""
    print(f"  {what}: {a:,.5f} and {b:,.5f}, difference {abs(a - b):.1e}")
    if not abs(a - b) <= WITHIN:
        sys.exit(f"{what}: the log-likelihoods differ by {abs(a - b):.2g}, so times cannot be compared")


def compare(cards: Cards, count: int, *, has_r: bool) -> list[tuple[Run, Run]]:
    """Compare answers on ``count`` cards; return (peer's run, our run)."""
    some = cards.first(count)
    mine = time_call(f"loyalty_research, {count:,} cards", lambda: ours(some), repeat=3)
    fit = mine.answer
    at_ours = np.append(fit.coefficients, np.log(fit.sigma))
    print(f"\n{count:,} cards")
    # 15 nodes leave about 1e-7 a card, in lme4 as here; 41 leave nothing to see
    many = log_likelihood(some, at_ours, nodes=41)
    close(many, dense(some, at_ours), "ours on 41 nodes and dense quadrature, at our maximum")
    pairs = []
    if not has_r:
        peer = time_call(f"dense quadrature, {count:,} cards", lambda: fit_dense(some), repeat=1)
        close(many, dense(some, peer.answer), "our maximum and dense quadrature's")
        return [(peer, mine)]
    for weekly in (True, False):
        peer, log = glmer(some, weekly=weekly)
        close(log_likelihood(some, peer.answer), log, f"ours and glmer's ({peer.label}), at glmer's maximum")
        close(fit.log_likelihood, log, "our maximum and glmer's")
        pairs.append((peer, mine))
    return pairs


def events(cards: Cards) -> pd.DataFrame:
    """The cards as a card_events table."""
    count = len(cards.weeks)
    arm = np.repeat([0, 1], count // 2)
    held, stamp = np.nonzero(cards.weeks)
    last = np.full(count, WEEKS)
    rows = [(np.arange(count), np.zeros(count, dtype=np.int64), "issued")]
    rows.append((held, 7 * cards.weeks[held, stamp], "stamp"))
    rows.append((np.arange(count), 7 * last, "expired"))
    frame = pd.concat(
        [pd.DataFrame({"card_id": c, "day": d, "event": e}) for c, d, e in rows], ignore_index=True
    )
    full = (cards.weeks > 0).all(axis=1)
    frame = frame[~((frame["event"] == "expired") & full[frame["card_id"]])]
    given = arm[frame["card_id"]]
    return frame.assign(
        occurred_date=np.datetime64("2024-01-01") + frame["day"].to_numpy().astype("timedelta64[D]"),
        arm=np.where(given == 1, "endowed", "control"),
        required_stamps=np.where(given == 1, 10, 8),
        endowed_stamps=np.where(given == 1, 2, 0),
    ).drop(columns="day")


def child(count: int, kind: str) -> None:
    """Print what one run takes in a process of its own: CPU, wall, peak before and after."""
    cards = simulate(count)
    table = events(cards) if kind == "events" else None
    before, cpu, wall = peak_gigabytes(), time.process_time(), time.perf_counter()
    if table is None:
        ours(cards)
    else:
        CardExperiment(table, as_of="2025-06-30", control="control").goal_gradient(nodes=NODES)
    print(time.process_time() - cpu, time.perf_counter() - wall, before, peak_gigabytes())


def in_a_process(count: int, kind: str) -> tuple[float, ...]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", kind, "--cards", str(count)],
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(map(float, done.stdout.split()))


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cards", type=int, default=100_000, help="cards of the full run")
    parser.add_argument("--peer", default="2000,4000", help="numbers of cards for the peer, ascending")
    parser.add_argument("--child", choices=("rows", "events"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.cards, given.child)
        return
    has_r = (
        shutil.which("Rscript") is not None
        and not subprocess.run(
            ["Rscript", "-e", "library(lme4)"], capture_output=True, check=False
        ).returncode
    )
    print(environment("loyalty-research", "numpy", "scipy"))
    if has_r:
        said = subprocess.run(
            ["Rscript", "-e", 'cat(R.version.string, "; lme4", as.character(packageVersion("lme4")))'],
            capture_output=True,
            text=True,
            check=True,
        )
        print(said.stdout)
    else:
        print("R with lme4 is not here: the reference is dense quadrature")
    cards = simulate(given.cards)
    sizes = [int(v) for v in given.peer.split(",")]
    measured = [compare(cards, size, has_r=has_r) for size in sizes]
    heads = ("", "CPU s", "wall s", "CPU")
    for pairs in measured:
        mine = pairs[0][1]
        show("Measured", heads, [mine.row(mine), *(peer.row(mine) for peer, _ in pairs)])
    full = time_call(f"loyalty_research, {given.cards:,} cards", lambda: ours(cards), repeat=1)
    rows = [full.row(full)]
    for runs in zip(*measured, strict=True):
        peer = runs[-1][0]
        factor = given.cards / sizes[-1]
        label = peer.label if factor == 1 else f"{peer.label}, times {factor:g} (extrapolated)"
        rows.append(Run(label, peer.cpu * factor, peer.wall * factor, None).row(full))
    show(f"{given.cards:,} cards x {WEEKS} weeks ({cards.trials.sum():,} card weeks)", heads, rows)
    names = {"rows": "from rows of cards", "events": "from card_events, checks and curves included"}
    lines = []
    for kind, said in names.items():
        cpu, wall, before, peak = in_a_process(given.cards, kind)
        lines.append((said, f"{cpu:.2f}", f"{wall:.2f}", f"{before:.2f}", f"{peak:.2f}"))
    show(
        f"A process of its own, {given.cards:,} cards",
        ("", "CPU s", "wall s", "peak GB before", "peak GB after"),
        lines,
    )


if __name__ == "__main__":
    main()
