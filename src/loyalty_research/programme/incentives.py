"""Rewards for feedback: how many more answer, and what that does to the score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.programme._campaign_arms import arm_masks, cost_per_extra, mean_difference, ratio_check
from loyalty_research.programme._contact_rows import refuse
from loyalty_research.stats.partial_identification import lee_bounds
from loyalty_research.stats.proportions import difference_in_proportions, proportion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from loyalty_research.stats.partial_identification import Bounds

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

__all__ = ["IncentiveBias", "incentive_bias"]


@dataclass(frozen=True, repr=False)
class IncentiveBias(Result):
    """What a reward for answering did to answers and to the score.

    Attributes:
        rewarded: Share of those offered a reward who answered.
        unrewarded: Share of the others who answered.
        response: Difference of the two: an effect.
        gap: Difference in mean score of those who answered: effect and selection together.
        same_people: Bounds of the reward's effect on the score of those who answer either way.
        whom: Bounds of what the reward adds to ``gap`` by whom it makes answer.
        under_mar: Effect on the score of all invited, where answering depends on nothing beyond the
            covariates; None without covariates.
        covariates: Columns under which that was assumed.
        cost_per_extra: Cost of one more answer, or None where no cost was given.
    """

    title: ClassVar[str] = "Reward for feedback"

    rewarded: Estimate
    unrewarded: Estimate
    response: Estimate
    gap: Estimate
    same_people: Bounds
    whom: Bounds
    under_mar: Estimate | None
    covariates: tuple[str, ...]
    cost_per_extra: Estimate | None

    def _rows(self) -> Iterable[Row]:
        yield Row(
            message("answered"), self.rewarded, group=message("reward"), estimand=message("of those invited")
        )
        yield Row(
            message("answered"),
            self.unrewarded,
            group=message("no reward"),
            estimand=message("of those invited"),
        )
        both = message("reward minus none")
        yield Row(message("answered"), self.response, group=both, estimand=message("effect of the reward"))
        yield Row(
            message("mean score"),
            self.gap,
            group=both,
            estimand=message("of those who answered, not an effect"),
        )
        for bounds, estimand in (
            (self.same_people, message("effect on those who answer either way, bounds")),
            (self.whom, message("by whom the reward makes answer, bounds")),
        ):
            yield Row(
                message("mean score"),
                self._bounded(bounds),
                group=both,
                estimand=estimand,
                extra={"bound_low": bounds.low, "bound_high": bounds.high},
            )
        if self.under_mar is not None:
            yield Row(
                message("mean score"),
                self.under_mar,
                group=both,
                estimand=message(
                    "of all invited, if answering depends only on {covariates}",
                    covariates=", ".join(self.covariates),
                ),
            )
        if self.cost_per_extra is not None:
            yield Row(message("cost per extra answer"), self.cost_per_extra, group=both)

    def _clear(self) -> bool:
        """Whether the reward clearly changed how many answer; near no change the bounds have a kink."""
        return self.response.low > 0 or self.response.high < 0

    def _bounded(self, bounds: Bounds) -> Estimate:
        """Return bounds as an estimate: limits where the answers clearly differ, and no single value."""
        low, high = bounds.interval(level=self.gap.level) if self._clear() else (math.nan, math.nan)
        return Estimate(math.nan, low, high, self.gap.level, "lee bounds, imbens-manski", self.response.n)

    def _verdict(self) -> str:
        up = self.response
        shown = {
            "reward": percent(self.rewarded.value),
            "none": percent(self.unrewarded.value),
            "change": up.format(signed=True),
            "interval": up.interval(signed=True),
        }
        if not self._clear():
            return message(
                "Whether the reward changed how many answer cannot be told: {reward} with it, {none} without, "
                "{change} ({interval}).",
                **shown,
            )
        first = message(
            "With the reward {reward} answered, without it {none}: {change} ({interval}).", **shown
        )
        whom = self._bounded(self.whom)
        second = message(
            "The mean scores of those who answered differ by {gap}, but they are not the same people: by whom it makes answer the "
            "reward may have moved the mean score by anything from {low} to {high}. Do not compare scores collected "
            "with the reward with scores collected without it.",
            gap=self.gap.format(signed=True),
            low=number(whom.low, signed=True),
            high=number(whom.high, signed=True),
        )
        return f"{first} {second}"


def incentive_bias(
    invited: pd.DataFrame,
    *,
    treated: str,
    control: str,
    score: str = "score",
    arm: str = "arm",
    scale: tuple[float, float] | None = None,
    covariates: Sequence[str] = (),
    reward_cost: float | str | None = None,
    ratio: float | None = None,
    currency: str | None = None,
    level: float = 0.95,
) -> IncentiveBias:
    """Return what a reward for feedback, tried on some by lot, did to answers and to the score.

    The response rate is compared as drawn. Scores exist only of those who answer, and the reward
    changes who that is; so the gap in scores is split into bounds of two parts: what the reward
    does to the score of those who answer either way, and what it does by making others answer. The
    split assumes that the reward keeps nobody from answering who would answer without it.

    Args:
        invited: One row per customer invited and drawn by lot: ``arm``, ``score`` (empty where the
            customer did not answer) and the covariates.
        treated: Label of those offered a reward.
        control: Label of those offered none.
        score: Column of the score.
        arm: Column of the arm.
        scale: Lowest and highest score there is; others are refused.
        covariates: Columns known of everybody invited. Naming them declares that, given them, who
            answers has nothing to do with the score (missing at random).
        reward_cost: Cost of one reward, paid to those of ``treated`` who answer; or the column that
            holds what was spent on each customer.
        ratio: Planned size of the treated over that of the control, for the sample-ratio gate.
        currency: Code of the cost's currency.
        level: Confidence level.

    Returns:
        Rates with Wilson's and Newcombe's limits, the gap with Welch's, bounds with the limits of
        Imbens and Manski where the reward clearly changed how many answer (near no change they would be
        too tight), and cost per extra answer with Fieller's.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When a column is missing or a score lies outside the scale.
        DesignError: When an arm has fewer than two customers or answers, or a covariate's value has none.

    Examples:
        >>> invited = pd.DataFrame({"arm": ["reward"] * 100 + ["none"] * 100,
        ...     "score": [9.0] * 20 + [6.0] * 20 + [None] * 60 + [9.0] * 15 + [7.0] * 5 + [None] * 80})
        >>> found = incentive_bias(invited, treated="reward", control="none", reward_cost=5.0)
        >>> found.response
        20.0% (95% interval 7.3% to 31.9%; newcombe; n = 200)
        >>> found.whom.low, found.whom.high, found.cost_per_extra.value
        (-1.5, 1.5, 10.0)

    References:
        Lee (2009), Review of Economic Studies 76, 1071-1102; Imbens and Manski (2004), Econometrica
        72, 1845-1857; Stoye (2009), Econometrica 77, 1299-1315; Little and Rubin (2019), Statistical
        Analysis with Missing Data, section 3.5, for regression under missing at random.
    """
    check_level(level)
    if isinstance(covariates, str):
        raise ArgumentError(f"covariates is a list of columns; got {covariates!r}")
    missing = [c for c in (score, *covariates) if c not in invited.columns]
    if missing:
        raise ContractError(f"invited lacks the column {', '.join(missing)}")
    own, held = arm_masks(invited, arm, treated, control, "invited")
    values = _scores(invited, score, scale)
    answered = np.isfinite(values)
    counts = [(int(answered[m].sum()), int(m.sum())) for m in (own, held)]
    if min(x for x, _ in counts) < 2:
        raise DesignError("an arm has fewer than two answers, so its score cannot be compared")
    split = lee_bounds(values[own], values[held])
    design = _matrix(invited, covariates) if covariates else None
    return IncentiveBias(
        rewarded=proportion(*counts[0], level=level),
        unrewarded=proportion(*counts[1], level=level),
        response=difference_in_proportions(*counts[0], *counts[1], level=level),
        gap=mean_difference(values, own & answered, held & answered, level=level),
        same_people=split.effect,
        whom=split.composition,
        under_mar=None
        if design is None
        else missing_at_random(design, values, own, held, names=tuple(covariates), level=level),
        covariates=tuple(covariates),
        cost_per_extra=_cost(invited, reward_cost, answered, own, held, level, currency),
        checks=(
            *ratio_check(counts[0][1], counts[1][1], ratio),
            _direction(split.more_seen, split.trimmed),
        ),
    )


def _scores(invited: pd.DataFrame, score: str, scale: tuple[float, float] | None) -> Floats:
    if not pd.api.types.is_numeric_dtype(invited[score]):
        given = pd.to_numeric(invited[score], errors="coerce")
        refuse((given.isna() & invited[score].notna()).to_numpy(), f"invited.{score} is no number", "mend it")
    else:
        given = invited[score]
    values = given.to_numpy(dtype=float, na_value=np.nan)
    refuse(np.isinf(values), f"invited.{score} is not finite", "mend it, or leave it empty")
    if scale is not None:
        low, high = scale
        if not low < high:
            raise ArgumentError(f"scale is the lowest and the highest score; got {scale!r}")
        refuse(
            (values < low) | (values > high), f"invited.{score} lies outside {low:g} to {high:g}", "mend it"
        )
    return values


def _matrix(invited: pd.DataFrame, covariates: Sequence[str]) -> Floats:
    """Return intercept and covariates, categories as indicators; shape ``(n, k)``."""
    parts: list[Floats] = [np.ones(len(invited))]
    for name in covariates:
        column = invited[name]
        refuse(column.isna().to_numpy(), f"invited.{name} is missing", "fill it, or leave the covariate out")
        if pd.api.types.is_numeric_dtype(column):
            parts.append(column.to_numpy(dtype=float))
            continue
        labels = column.astype(str)
        parts.extend((labels == label).to_numpy(dtype=float) for label in sorted(labels.unique())[1:])
    return np.column_stack(parts)


def missing_at_random(
    design: Floats, values: Floats, own: Flags, held: Flags, *, names: tuple[str, ...], level: float
) -> Estimate:
    """Return the effect on the mean of all, where answering depends only on the covariates.

    Each arm's answers are regressed on the covariates and both regressions are averaged over
    everybody invited; the variance allows for unequal spread (HC3) and for whom was invited.

    Args:
        design: Intercept and covariates of everybody, shape ``(n, k)``.
        values: Scores, NaN where not answered, shape ``(n,)``.
        own: Which rows are treated.
        held: Which rows are the control.
        names: Names of the covariates, for messages.
        level: Confidence level.

    Raises:
        DesignError: When the answers of an arm do not carry the covariates.

    Examples:
        >>> x = np.tile([0.0, 1.0], 20)
        >>> own = np.arange(40) < 20
        >>> y = 5 + 2 * x + own + np.tile([0.1, 0.1, -0.1, -0.1], 10)
        >>> found = missing_at_random(np.column_stack([np.ones(40), x]), y, own, ~own, names=("x",), level=0.95)
        >>> round(found.value, 6)
        1.0
    """
    everybody = design[own | held]
    mean = everybody.mean(axis=0)
    k = design.shape[1]
    fits = []
    for mask in (own, held):
        rows = mask & np.isfinite(values)
        x, y = design[rows], values[rows]
        if len(y) <= k or np.linalg.matrix_rank(x) < k:
            raise DesignError(
                f"the answers of an arm do not carry {', '.join(names)}: a value has no answer, or columns repeat"
            )
        inverse = np.linalg.inv(x.T @ x)
        beta = inverse @ x.T @ y
        leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
        residual = (y - x @ beta) / np.maximum(1 - leverage, 1e-12)
        bread = inverse @ (x * residual[:, None]).T
        fits.append((beta, bread @ bread.T, len(y) - k))
    slope = fits[0][0] - fits[1][0]
    spread = np.atleast_2d(np.cov(everybody.T)) / len(everybody)
    variance = sum(float(mean @ v @ mean) for _, v, _ in fits) + float(slope @ spread @ slope)
    value, dof = float(mean @ slope), min(d for _, _, d in fits)
    half = float(stats.t.isf((1 - level) / 2, dof)) * math.sqrt(variance)
    n = int((own | held).sum())
    return Estimate(value, value - half, value + half, level, "regression, missing at random", n)


def _cost(
    invited: pd.DataFrame,
    reward_cost: float | str | None,
    answered: Flags,
    own: Flags,
    held: Flags,
    level: float,
    currency: str | None,
) -> Estimate | None:
    if reward_cost is None:
        return None
    if isinstance(reward_cost, str):
        if reward_cost not in invited.columns:
            raise ContractError(f"invited lacks the column {reward_cost} that holds the cost")
        cost = invited[reward_cost].to_numpy(dtype=float, na_value=np.nan)
        refuse(
            ~np.isfinite(cost) | (cost < 0),
            f"invited.{reward_cost} is missing or below 0",
            "give each its cost",
        )
    else:
        if not (math.isfinite(reward_cost) and reward_cost > 0):
            raise ArgumentError(f"reward_cost is the cost of one reward, above 0; got {reward_cost!r}")
        cost = reward_cost * (answered & own)
    return cost_per_extra(answered.astype(float), cost, own, held, level=level, unit=currency)


def _direction(more: bool, trimmed: float) -> Check:
    name = message("Reward moves answering one way")
    if more:
        detail = message(
            "Assumed: nobody stays away because of the reward. {share} of the answers with it are taken as brought "
            "by it.",
            share=percent(trimmed),
        )
        return Check(name, "passed", detail)
    return Check(
        name,
        "warning",
        message(
            "Fewer answered with the reward than without; the bounds assume that it only kept people away."
        ),
    )
