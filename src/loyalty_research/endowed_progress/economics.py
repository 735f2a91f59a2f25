"""What each arm earns after its rewards, and which to roll out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy import stats

from loyalty_research.endowed_progress._outcome import CardResult
from loyalty_research.endowed_progress._words import chance_words
from loyalty_research.endowed_progress.visits import arm_means
from loyalty_research.estimates import Estimate, Finding, Row
from loyalty_research.i18n import message
from loyalty_research.stats.ratios import fieller

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.endowed_progress.visits import ArmMeans
    from loyalty_research.estimates import Check

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "CardContrasts",
    "Decision",
    "EconomicsResult",
    "Prices",
    "cost",
    "decide",
    "fan_of_values",
]

_DRAWS = 200_000
_SURE = 0.95
FAN_LEVELS = (0.5, 0.8)
"""Levels of the inner bands of the fan; the outermost is the result's own."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices an experiment is costed with.

    Attributes:
        margin: Margin of one paid visit, before rewards, or of one unit of money paid.
        reward_cost: Cost of one reward.
        card_cost: Cost of handing out a card, per arm, control first.
        currency: ISO 4217 code of all of them, or None.
    """

    margin: float
    reward_cost: float
    card_cost: tuple[float, ...]
    currency: str | None = None

    @property
    def weights(self) -> Floats:
        """Value of one more visit (or unit of money paid) and of one more reward."""
        return np.array([self.margin, -self.reward_cost])


@dataclass(frozen=True, slots=True)
class Decision:
    """Which arm to roll out, and how sure.

    Attributes:
        arms: Arm names, control first.
        net_values: Net value per card of each arm.
        chances: Probability that each arm has the highest net value.
        losses: Net value per card that choosing each arm would lose on average.
    """

    arms: tuple[str, ...]
    net_values: tuple[Estimate, ...]
    chances: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def best(self) -> str:
        """Arm whose choice loses least on average."""
        return self.arms[int(np.argmin(self.losses))]


def decide(
    values: Floats, covariance: Floats, *, degrees: float = math.inf, seed: int = 0
) -> tuple[Floats, Floats]:
    """Return the probability that each arm is best, and the expected loss of choosing it.

    Net values are taken as (multivariate) normal around their estimates, or Student's t where few
    clusters stand behind them: the posterior under a flat prior, in large samples.

    Args:
        values: Net value per card of each arm, shape ``(arms,)``.
        covariance: Their covariance, shape ``(arms, arms)``.
        degrees: Degrees of freedom.
        seed: Seed of the draws.

    Examples:
        >>> chances, losses = decide(np.array([0.0, 1.0]), np.eye(2) / 2)
        >>> chances.round(2).tolist(), losses.round(2).tolist()
        ([0.16, 0.84], [1.08, 0.08])

    References:
        Claxton (1999), The irrelevance of inference: decide by expected loss.
    """
    rng = np.random.default_rng(seed)
    vectors, variances = np.linalg.eigh(covariance)[::-1]
    root = vectors * np.sqrt(np.maximum(variances, 0.0))
    half = rng.standard_normal((_DRAWS // 2, len(values)))
    noise = np.concatenate([half, -half]) @ root.T
    if math.isfinite(degrees):
        scale = np.sqrt(degrees / rng.chisquare(degrees, _DRAWS // 2))
        noise *= np.concatenate([scale, scale])[:, None]
    drawn = values + noise
    top = drawn.max(axis=1)
    best = drawn == top[:, None]
    chances = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return chances, (top[:, None] - drawn).mean(axis=0)


@dataclass(frozen=True, repr=False)
class EconomicsResult(CardResult):
    """What an arm earns per card handed out, beside the control.

    Attributes:
        arms: Arm names, control first.
        horizon: Over which time, in words.
        margin: Margin of one paid visit, before rewards.
        reward_cost: Cost of one reward.
        level: Level of every interval.
        extra_visits: More visits per card than the control's.
        extra_rewards: More rewards per card than the control's.
        net: More margin less more rewards and card costs, per card.
        break_even: Margin of a visit at which the arm neither gains nor loses.
        break_even_uplift: Extra visits per card that would pay for the extra rewards and cards.
        decision: Which arm to roll out, and how sure.
        fan: Net value per card by arm and day: arm, day, estimate and a pair low_NN, high_NN per
            level; None without days.
        currency: ISO 4217 code of the prices, or None.
        per_money: Whether the margin is a share of what was paid, and not per visit.
    """

    title: ClassVar[str] = "What the head start earns, per card handed out"
    finding: ClassVar[str] = "economics"

    arms: tuple[str, ...]
    horizon: str
    margin: float
    reward_cost: float
    level: float
    extra_visits: tuple[Estimate, ...]
    extra_rewards: tuple[Estimate, ...]
    net: tuple[Estimate, ...]
    break_even: tuple[Estimate, ...]
    break_even_uplift: tuple[Estimate, ...]
    decision: Decision
    fan: pd.DataFrame | None = field(default=None, compare=False)
    currency: str | None = None
    per_money: bool = False

    def _headline(self) -> Estimate | None:
        return self.net[0] if len(self.net) == 1 else None

    def _rows(self) -> Iterable[Row]:
        for arm, value in zip(self.arms, self.decision.net_values, strict=True):
            yield Row(message("net value per card"), value, arm, self.horizon)
        even = message("break-even margin of a visit")
        uplift = message("break-even uplift in visits per card")
        if self.per_money:
            even = message("break-even share of margin")
            uplift = message("break-even uplift in money paid per card")
        for i, arm in enumerate(self.arms[1:]):
            against = message(
                "{arm} against {control}, {horizon}", arm=arm, control=self.arms[0], horizon=self.horizon
            )
            yield Row(message("extra visits per card"), self.extra_visits[i], arm, against)
            yield Row(message("extra rewards per card"), self.extra_rewards[i], arm, against)
            yield Row(message("net margin per card"), self.net[i], arm, against)
            yield Row(even, self.break_even[i], arm, against)
            yield Row(uplift, self.break_even_uplift[i], arm, against)

    def _verdict(self) -> str:
        said = []
        for arm, net in zip(self.arms[1:], self.net, strict=True):
            fields = {"arm": arm, "net": net.format(signed=True), "interval": net.interval(signed=True)}
            if net.low > 0:
                said.append(
                    message("After its extra rewards {arm} earns {net} per card ({interval}).", **fields)
                )
            elif net.high < 0:
                said.append(
                    message("After its extra rewards {arm} loses: {net} per card ({interval}).", **fields)
                )
            else:
                said.append(
                    message(
                        "After its extra rewards {arm} comes to {net} per card ({interval}): it is not known "
                        "whether it pays.",
                        **fields,
                    )
                )
        return " ".join(said)

    def decision_frame(self) -> pd.DataFrame:
        """Return arm, value, low, high, chance (of earning most) and expected_loss, one row per arm."""
        d = self.decision
        rows = [
            (arm, v.value, v.low, v.high, chance, loss)
            for arm, v, chance, loss in zip(d.arms, d.net_values, d.chances, d.losses, strict=True)
        ]
        return pd.DataFrame(rows, columns=["arm", "value", "low", "high", "chance", "expected_loss"])

    def roll_out(self) -> str:
        """Return which arm to roll out and how sure, in words."""
        if self.failed_gates:
            return self.verdict()
        d = self.decision
        at = d.arms.index(d.best)
        fields = {
            "arm": d.best,
            "chance": chance_words(d.chances[at]),
            "loss": self._loss(d.losses[at]),
        }
        if d.chances[at] >= _SURE:
            return message(
                "At these prices roll out {arm}: with a probability of {chance} it earns the most per card, and "
                "the loss to be expected from choosing it is {loss} per card.",
                **fields,
            )
        return message(
            "Not settled: at these prices {arm} has the smallest loss to be expected ({loss} per card), but the "
            "probability that it earns the most is only {chance}.",
            **fields,
        )

    def _loss(self, loss: float) -> str:
        if loss < 0.005:
            return message("less than {least}", least=self.net[0].format(0.01))
        return self.net[0].format(loss)

    def findings(self, *, section: str = "") -> list[Finding]:
        """Return what a page tells: what each arm earns, and which to roll out.

        Args:
            section: Heading the findings belong under.
        """
        found = super().findings(section=section)
        if not self.failed_gates:
            d = self.decision
            at = d.arms.index(d.best)
            status: Literal["finding", "caution"] = "finding" if d.chances[at] >= _SURE else "caution"
            found.append(Finding("roll-out", self.roll_out(), d.net_values[at], status, section))
        return found

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the net value of a card over its days, each arm with a fan of intervals."""
        from loyalty_research.errors import DesignError
        from loyalty_research.plots.planning import economics_fan

        if self.fan is None:
            raise DesignError("no days are known, so there is no course to draw")
        return economics_fan(self.fan, currency=self.currency, ax=ax)


class CardContrasts:
    """Contrasts of an arm with the control, from means of visits and rewards.

    Args:
        means: Means per arm with their covariance.
        level: Level of every interval.
    """

    def __init__(self, means: ArmMeans, level: float) -> None:
        self.means, self.level, self.critical = means, level, means.critical(level)

    def estimate(self, arm: int, weights: Floats, unit: str | None, shift: float = 0.0) -> Estimate:
        """Return a weighted sum of outcomes of an arm less that of the control, plus ``shift``."""
        value, se = self.means.contrast(arm, weights)
        return self._interval(value + shift, se, int(self.means.n[arm] + self.means.n[0]), unit)

    def of_arm(self, arm: int, weights: Floats, unit: str | None, shift: float = 0.0) -> Estimate:
        """Return a weighted sum of outcomes of one arm, plus ``shift``."""
        at = slice(arm * len(weights), (arm + 1) * len(weights))
        value = float(weights @ self.means.mean[arm]) + shift
        se = math.sqrt(max(float(weights @ self.means.covariance[at, at] @ weights), 0.0))
        return self._interval(value, se, int(self.means.n[arm]), unit)

    def _interval(self, value: float, se: float, n: int, unit: str | None) -> Estimate:
        half = self.critical * se
        p_value = float(2 * stats.t.sf(abs(value) / se, self.means.degrees)) if se > 0 else None
        return Estimate(value, value - half, value + half, self.level, self.means.method, n, unit, p_value)

    def ratio(self, arm: int, top: Floats, base: Floats, unit: str | None, shift: float = 0.0) -> Estimate:
        """Return (top + shift) / base of the contrasts; only where the base is positive."""
        over, se_over = self.means.contrast(arm, top)
        under, se_under = self.means.contrast(arm, base)
        _, se_both = self.means.contrast(arm, top + base)
        c = (se_both**2 - se_over**2 - se_under**2) / 2
        value, low, high = math.nan, math.nan, math.nan
        if under > 0:
            value = (over + shift) / under
            low, high = fieller(over + shift, under, se_over**2, se_under**2, c, self.critical)
        return Estimate(
            value, low, high, self.level, "Fieller", int(self.means.n[arm] + self.means.n[0]), unit
        )


def _decision(made: CardContrasts, value: Floats, prices: Prices, arms: tuple[str, ...]) -> Decision:
    values = tuple(made.of_arm(a, value, prices.currency, -prices.card_cost[a]) for a in range(len(arms)))
    spread = np.kron(np.eye(len(arms)), value)
    chances, losses = decide(
        np.array([v.value for v in values]),
        spread @ made.means.covariance @ spread.T,
        degrees=made.means.degrees,
    )
    return Decision(arms, values, tuple(chances.tolist()), tuple(losses.tolist()))


def cost(
    visits: Floats,
    rewards: Floats,
    arm_of: Ints,
    *,
    arms: tuple[str, ...],
    cluster: Ints | None,
    margin: float,
    reward_cost: float,
    currency: str | None,
    horizon: str,
    level: float,
    card_cost: tuple[float, ...] | None = None,
    fan: pd.DataFrame | None = None,
    paid: Floats | None = None,
    checks: tuple[Check, ...] = (),
) -> EconomicsResult:
    """Set extra margin against extra rewards, per card handed out.

    Args:
        visits: Paid visits of each holder, shape ``(holders,)``.
        rewards: Rewards taken by each holder.
        arm_of: Arm position of each holder.
        arms: Arm names, control first.
        cluster: Cluster code of each holder, or None.
        margin: Margin of one paid visit.
        reward_cost: Cost of one reward.
        currency: ISO 4217 code of both, or None.
        horizon: Over which time, in words.
        level: Level of every interval.
        card_cost: Cost of handing out a card, per arm; nothing when None.
        fan: Net value by arm and day, for the picture.
        paid: What each holder paid; ``margin`` is then a share of it.
        checks: Checks already made.

    References:
        Fieller (1954) for the break-even margin, a ratio of two differences of means.
    """
    prices = Prices(margin, reward_cost, card_cost or (0.0,) * len(arms), currency)
    earned = visits if paid is None else paid
    values = np.column_stack([earned, rewards, visits])
    made = CardContrasts(arm_means(values, arm_of, len(arms), cluster), level)
    paper = [c - prices.card_cost[0] for c in prices.card_cost]
    one_earned, one_reward, one_visit = np.eye(3)
    value = margin * one_earned - reward_cost * one_reward
    visit_unit, even_unit = message("visits"), currency
    if paid is not None:
        visit_unit, even_unit = currency or message("paid"), "fraction"

    def uplift(a: int) -> Estimate:
        if margin <= 0:
            return Estimate(math.nan, math.nan, math.nan, level, made.means.method, int(made.means.n[a]))
        return made.estimate(a, reward_cost / margin * one_reward, visit_unit, paper[a] / margin)

    others = range(1, len(arms))
    return EconomicsResult(
        arms=arms,
        horizon=horizon,
        margin=margin,
        reward_cost=reward_cost,
        level=level,
        extra_visits=tuple(made.estimate(a, one_visit, message("visits")) for a in others),
        extra_rewards=tuple(made.estimate(a, one_reward, message("rewards")) for a in others),
        net=tuple(made.estimate(a, value, currency, -paper[a]) for a in others),
        break_even=tuple(
            made.ratio(a, reward_cost * one_reward, one_earned, even_unit, paper[a]) for a in others
        ),
        break_even_uplift=tuple(uplift(a) for a in others),
        decision=_decision(made, value, prices, arms),
        fan=fan,
        currency=currency,
        per_money=paid is not None,
        checks=checks,
    )


def fan_of_values(
    visits: Floats,
    rewards: Floats,
    arm_of: Ints,
    *,
    days: Ints,
    arms: tuple[str, ...],
    cluster: Ints | None,
    prices: Prices,
    level: float,
) -> pd.DataFrame:
    """Return the net value per card by arm and day, with an interval for each of several levels.

    Args:
        visits: Visits of each holder up to each day, shape ``(holders, days)``.
        rewards: Rewards likewise.
        arm_of: Arm position of each holder.
        days: Days since issue.
        arms: Arm names, control first.
        cluster: Cluster code of each holder, or None.
        prices: Prices.
        level: Level of the outermost band.

    Returns:
        arm, day, estimate, and low_NN, high_NN per level in percent.
    """
    levels = sorted({*FAN_LEVELS, level})
    found = [
        arm_means(np.column_stack([visits[:, k], rewards[:, k]]), arm_of, len(arms), cluster)
        for k in range(len(days))
    ]
    rows = []
    for a, arm in enumerate(arms):
        for day, means in zip(days.tolist(), found, strict=True):
            row: dict[str, object] = {"arm": arm, "day": day}
            for share in levels:
                e = CardContrasts(means, share).of_arm(a, prices.weights, None, -prices.card_cost[a])
                name = f"{100 * share:.0f}"
                row |= {"estimate": e.value, f"low_{name}": e.low, f"high_{name}": e.high}
            rows.append(row)
    return pd.DataFrame(rows)
