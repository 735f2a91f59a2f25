"""What an experiment will look like: the plan played out many times on simulated cards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from scipy import optimize

from loyalty_research.endowed_progress._outcome import CardResult
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check, Estimate, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.simulate import simulate
from loyalty_research.simulate._card_truth import CardTruth, exact_card
from loyalty_research.stats.counts import check_whole
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.data import Dataset
    from loyalty_research.endowed_progress.planning import Plan

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Preview", "calibrate", "preview"]

_CARDS = 60_000
_CARDS_MOST = 400_000
_LEAST, _MOST = 20, 200
_SPREAD = 1.0
"""Standard deviation of customers' log odds of a weekly visit, as in the simulator."""


def _solve(rate_of: Any, target: float, what: str) -> float:
    low, high = -15.0, 15.0
    if not rate_of(low) < target < rate_of(high):
        raise ArgumentError(f"no weekly visit rate completes {percent(target)} of {what} in the time given")
    return float(optimize.brentq(lambda x: rate_of(x) - target, low, high, xtol=1e-10))


def _within_clusters(by_deviation: Floats, weights: Floats, icc: float) -> float:
    """Return the share of customers' variance that lies between clusters, for an intraclass correlation.

    Completion expanded in Hermite polynomials of the deviation has covariance
    sum a_k^2 r^k within a cluster whose share of the variance is r (Mehler's formula).
    """
    nodes = np.polynomial.hermite_e.hermegauss(len(weights))[0]
    rate = float(weights @ by_deviation)
    coefficients, previous, current = [], np.zeros_like(nodes), np.ones_like(nodes)
    for k in range(1, 30):
        previous, current = current, (nodes * current - math.sqrt(k - 1) * previous) / math.sqrt(k)
        coefficients.append(float(weights @ (by_deviation * current)) ** 2)
    powers = np.arange(1, 30)

    def likeness(r: float) -> float:
        return float(np.asarray(coefficients) @ r**powers) / (rate * (1 - rate))

    if likeness(1.0) <= icc:
        raise ArgumentError(
            f"an icc of {icc:.3g} asks for more likeness within clusters than customers of equal mind would "
            f"show ({likeness(1.0):.3g})"
        )
    return float(optimize.brentq(lambda r: likeness(r) - icc, 0.0, 1.0))


def calibrate(plan: Plan, *, effect: float = 1.0) -> dict[str, Any]:
    """Return parameters of the stamp-card simulator at which the planned rates come out exactly.

    Args:
        plan: A plan with card and horizon.
        effect: Share of the planned uplift that is true.

    Raises:
        ArgumentError: When the plan lacks card or horizon, or no visit rate gives its rates.
    """
    if plan.required is None or plan.given is None or plan.horizon_days is None:
        raise ArgumentError("a preview needs a plan with required=, given= and horizon_days=")
    weeks = max(1, round(plan.horizon_days / 7))
    if weeks > 90:
        raise ArgumentError(
            f"a preview follows cards for 90 weeks at most; horizon_days is {plan.horizon_days}"
        )
    fixed: dict[str, Any] = {
        "required_visits": plan.required - plan.given,
        "endowed_stamps": plan.given,
        "expiry_weeks": weeks,
        "sigma": _SPREAD,
        "cards": 1,
    }

    def control(alpha: float) -> dict[str, Any]:
        return exact_card(CardTruth(alpha=alpha, **fixed), 0)

    alpha = _solve(lambda a: control(a)["completion"], plan.baseline, message("plain cards"))

    def treated(level: float) -> float:
        made = exact_card(CardTruth(alpha=alpha, level=level, **fixed), plan.given or 0)
        return float(made["completion"])

    goal = plan.baseline + effect * plan.uplift
    level = 0.0 if effect == 0 else _solve(treated, goal, message("cards with the head start"))
    if plan.icc > 0:
        base = control(alpha)
        share = _within_clusters(base["by_deviation"], base["weights"], plan.icc)
        fixed |= {"sigma": _SPREAD * math.sqrt(1 - share), "cluster_sd": _SPREAD * math.sqrt(share)}
    return {"scenario": "null", "alpha": alpha, "level": level, **fixed}


@dataclass(frozen=True, repr=False)
class Preview(CardResult):
    """Results of a planned experiment, played out many times.

    Attributes:
        plan: The plan.
        effect: Share of the planned uplift that is true.
        truth: True difference in completion.
        estimates: Difference seen where each experiment stopped, shape ``(replicates,)``.
        found: Whether each crossed its bound.
        stopped_at: Look at which each stopped, from 1.
        seed: Seed of the simulation.
        example: Card events of the first experiment; ``CardExperiment.from_preview`` analyses them.
        example_as_of: Last day observed in them.
    """

    title: ClassVar[str] = "What the experiment would look like"
    finding: ClassVar[str] = "preview"
    rests_on_model: ClassVar[bool] = True

    plan: Plan
    effect: float
    truth: float
    estimates: Floats
    found: NDArray[np.bool_]
    stopped_at: Ints
    seed: int
    example: pd.DataFrame
    example_as_of: Any

    @property
    def replicates(self) -> int:
        """How many experiments were played."""
        return len(self.estimates)

    @property
    def power(self) -> Estimate:
        """Share of the experiments that found a difference, with its interval."""
        return proportion(int(self.found.sum()), self.replicates, level=self.plan.level)

    def _rows(self) -> Iterable[Row]:
        tail = (1 - self.plan.level) / 2
        low, middle, high = np.quantile(self.estimates, [tail, 0.5, 1 - tail])
        true = message("true difference {points} points", points=number(100 * self.truth, digits=1))
        yield Row(message("experiments that find a difference"), self.power, None, true)
        spread = Estimate(
            float(middle),
            float(low),
            float(high),
            self.plan.level,
            message("quantiles of the experiments"),
            self.replicates,
            "fraction",
        )
        yield Row(message("difference seen, median experiment"), spread, None, true)
        if self.found.any():
            mean = float(self.estimates[self.found].mean())
            shown = Estimate(
                mean,
                math.nan,
                math.nan,
                self.plan.level,
                message("mean of those that found one"),
                int(self.found.sum()),
                "fraction",
            )
            yield Row(message("difference seen where one was found"), shown, None, true)

    def _verdict(self) -> str:
        _, spread, *_ = [r.estimate for r in self._rows()]
        return message(
            "Were the true difference {truth} points, {share} of {count} such experiments would find one; the "
            "difference seen would lie between {low} and {high} points in {level} of them.",
            truth=number(100 * self.truth, digits=1),
            share=percent(self.power.value, digits=0),
            count=self.replicates,
            low=number(100 * spread.low, digits=1),
            high=number(100 * spread.high, digits=1),
            level=percent(self.plan.level, digits=0),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the differences seen, those that crossed a bound set apart."""
        from loyalty_research.plots.planning import estimate_spread

        return estimate_spread(self.estimates, self.found, truth=self.truth, ax=ax)


def _outcomes(dataset: Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row per customer (arm, cluster, done) and the card events."""
    events = dataset.frame("card_events")
    people = events.drop_duplicates("customer_id")[["customer_id", "arm", "cluster_id"]]
    full = events.loc[events["event"] == "completed", "customer_id"].unique()
    done = people["customer_id"].isin(full).to_numpy()
    return people.assign(done=done).reset_index(drop=True), events


def _follow(
    arm: NDArray[np.bool_], done: NDArray[np.bool_], plan: Plan, order: Ints
) -> tuple[float, bool, int]:
    """Analyse one experiment at each look: difference where it stopped, was it found, which look.

    Args:
        arm: Whether each card has the head start.
        done: Whether each card was completed.
        plan: The plan.
        order: Position of each card's unit of assignment among the experiment's, from 0.
    """
    units = int(order.max()) + 1
    difference = 0.0
    for k, (fraction, bound) in enumerate(zip(plan.bounds.fractions, plan.bounds.z, strict=True), start=1):
        seen = order < math.ceil(fraction * units - 1e-9)
        n1, n0 = int((seen & arm).sum()), int((seen & ~arm).sum())
        if not (n1 and n0):
            continue
        p1, p0 = done[seen & arm].mean(), done[seen & ~arm].mean()
        pooled = done[seen].mean()
        variance = plan.design_effect * pooled * (1 - pooled) * (1 / n1 + 1 / n0)
        difference = float(p1 - p0)
        if variance > 0 and abs(difference) >= bound * math.sqrt(variance):
            return difference, True, k
    return difference, False, len(plan.bounds.z)


def preview(plan: Plan, *, seed: int, replicates: int | None = None, effect: float = 1.0) -> Preview:
    """Play a planned experiment many times on simulated stamp cards.

    One large experiment is simulated and cut into small ones of the planned size.

    Args:
        plan: A plan with card and horizon.
        seed: Seed of the simulation.
        replicates: How many experiments; as many as about 60,000 cards allow, from 20 to 200, when None.
        effect: Share of the planned uplift that is true.

    Raises:
        ArgumentError: When the plan lacks card or horizon, or an option is out of range.
    """
    if not (math.isfinite(effect) and 0 <= effect <= 1):
        raise ArgumentError(f"effect is a share of the planned uplift from 0 to 1; got {effect!r}")
    each = 2 * plan.cards
    count = min(max(_CARDS // each, _LEAST), _MOST)
    if replicates is not None:
        count = check_whole(replicates, "replicates", least=2)
    if each * count > _CARDS_MOST:
        raise ArgumentError(
            f"{count} experiments of {each:,} cards are {each * count:,} cards, and a preview plays "
            f"{_CARDS_MOST:,} at most; ask for fewer replicates or plan for a larger uplift"
        )
    truth = calibrate(plan, effect=effect)
    clustered = plan.cluster_size > 1
    if clustered:
        units = 2 * (plan.clusters or 1)
        count = min(count, 10_000 // units) if replicates is None else count
        if not 2 <= count <= 10_000 // units:
            raise ArgumentError(
                f"a preview plays at most 10,000 clusters, and each experiment has {units:,}; ask for fewer replicates"
            )
        each = units * plan.cluster_size
        truth |= {"assign_by": "cluster", "clusters": units * count}
    dataset = simulate("stamp-card", customers=each * count, seed=seed, **truth)
    people, events = _outcomes(dataset)
    if clustered:
        unit = pd.factorize(people["cluster_id"], sort=True)[0]
    else:
        units, unit = each, np.arange(len(people))
    which, order = unit // units, unit % units
    arm, done = (people["arm"] == "endowed").to_numpy(), people["done"].to_numpy()
    told = [_follow(arm[rows], done[rows], plan, order[rows]) for rows in (which == i for i in range(count))]
    mine = people.loc[which == 0, "customer_id"]
    return Preview(
        plan=plan,
        effect=float(effect),
        truth=float(effect * plan.uplift),
        estimates=np.array([t[0] for t in told]),
        found=np.array([t[1] for t in told]),
        stopped_at=np.array([t[2] for t in told], dtype=np.int64),
        seed=int(seed),
        example=events[events["customer_id"].isin(mine)].reset_index(drop=True),
        example_as_of=dataset.as_of,
        checks=(
            Check(
                message("customers of the simulation"),
                "not measurable",
                message(
                    "visit rates differ between customers by a standard deviation of {spread} in log odds, and the "
                    "head start shifts all alike; real customers may differ otherwise",
                    spread=number(_SPREAD),
                ),
            ),
        ),
    )
