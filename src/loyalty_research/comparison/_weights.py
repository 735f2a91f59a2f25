"""Weighting estimators with their influence functions: pure functions on arrays.

Every estimator returns the mean outcome both groups would have, and for each the influence of
every unit with all estimated parts (propensity model, outcome models, balancing weights)
stacked, so that one sum of squares is the M-estimated variance.

References:
    Stefanski and Boos (2002), The American Statistician 56, 29-38 (stacked equations).
    Lunceford and Davidian (2004), Statistics in Medicine 23, 2937-2960 (IPW2 and its sandwich).
    Li, Morgan and Zaslavsky (2018), JASA 113, 390-400 (balancing weights by tilting).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from loyalty_research.comparison._propensity import NoOverlapError, weighted_gram
from loyalty_research.errors import ArgumentError, ContractError, DesignError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.comparison._propensity import Propensity

    Array = NDArray[np.float64]

__all__ = [
    "ESTIMANDS",
    "Potential",
    "augmented",
    "balancing_weights",
    "difference_limits",
    "effective_size",
    "entropy_weights",
    "hajek",
    "ratio_of",
]

ESTIMANDS = ("ATE", "ATT", "ATO")


@dataclass(frozen=True, slots=True)
class Potential:
    """Mean outcomes under treatment and under control.

    Attributes:
        treated: Mean if all of the target population were treated.
        control: Mean if none were.
        influence_treated: Influence of each unit on ``treated``, shape (n,), mean zero.
        influence_control: Influence of each unit on ``control``, shape (n,).
    """

    treated: float
    control: float
    influence_treated: Array
    influence_control: Array

    @property
    def difference(self) -> float:
        """Treated minus control."""
        return self.treated - self.control

    @property
    def influence(self) -> Array:
        """Influence of each unit on the difference."""
        return self.influence_treated - self.influence_control


def effective_size(weights: Array) -> float:
    """Return Kish's effective sample size, (sum w)^2 / sum w^2."""
    total = float(weights.sum())
    return total * total / float(weights @ weights) if total > 0 else 0.0


def tilts(probability: Array, treated: Array, estimand: str) -> tuple[Array, Array]:
    """Return weights and their derivative with respect to the linear predictor, shape (n,) each.

    ATE weighs by 1/e and 1/(1 - e); ATT by 1 and e/(1 - e); ATO by 1 - e and e.
    """
    e, a = probability, treated
    if estimand == "ATE":
        return np.where(a == 1, 1 / e, 1 / (1 - e)), np.where(a == 1, -(1 - e) / e, e / (1 - e))
    if estimand == "ATT":
        odds = e / (1 - e)
        return np.where(a == 1, 1.0, odds), np.where(a == 1, 0.0, odds)
    if estimand == "ATO":
        product = e * (1 - e)
        return np.where(a == 1, 1 - e, e), np.where(a == 1, -product, product)
    raise ArgumentError(f"estimand is one of {', '.join(ESTIMANDS)}; got {estimand!r}")


def balancing_weights(probability: Array, treated: Array, estimand: str) -> Array:
    """Return the weights of an estimand, scaled to add to one in each group."""
    weights, _ = tilts(probability, treated, estimand)
    scaled: Array = weights / np.where(treated == 1, weights[treated == 1].sum(), weights[treated == 0].sum())
    return scaled


def _by_propensity(matrix: Array, treated: Array, model: Propensity, slope: Array) -> Array:
    """Return slope' IF(beta) for each unit, where slope is a mean derivative, shape (p,)."""
    lever = np.linalg.solve(model.information / len(treated), slope)
    influence: Array = (treated - model.probability) * (matrix @ lever)
    return influence


def hajek(
    matrix: Array,
    treated: Array,
    outcome: Array,
    model: Propensity,
    *,
    estimand: str,
    kept: Array | None = None,
) -> Potential:
    """Compare weighted means (weights normalised within groups), the propensity estimated.

    Args:
        matrix: Intercept and covariates, shape (n, p).
        treated: 0 or 1, shape (n,).
        outcome: Shape (n,).
        model: The fitted propensity model.
        estimand: ``"ATE"``, ``"ATT"`` or ``"ATO"``.
        kept: 1 for units inside the trimming limits, taken as given; all when None.

    References:
        Lunceford and Davidian (2004), IPW2; Li, Thomas and Li (2019), American Journal of
        Epidemiology 188, 250-257 (overlap weights).
    """
    weights, change = tilts(model.probability, treated, estimand)
    inside = np.ones_like(outcome) if kept is None else kept
    out: list[tuple[float, Array]] = []
    for group in (1.0, 0.0):
        member = (treated == group) * inside
        w = member * weights
        total = float(w.mean())
        if total == 0:
            raise NoOverlapError("no unit of one group is left inside the trimming limits")
        mean = float(w @ outcome) / float(w.sum())
        centred = outcome - mean
        slope = matrix.T @ (member * change * centred) / len(outcome)
        influence = (w * centred + _by_propensity(matrix, treated, model, slope)) / total
        out.append((mean, influence))
    (one, influence_one), (zero, influence_zero) = out
    return Potential(one, zero, influence_one, influence_zero)


def augmented(matrix: Array, treated: Array, outcome: Array, model: Propensity) -> Potential:
    """Augment inverse weights with linear outcome models: right when either model is (ATE).

    The influence stacks the propensity scores and both outcome regressions, so that it stays
    valid when one of the models is wrong.

    References:
        Robins, Rotnitzky and Zhao (1994), JASA 89, 846-866; Glynn and Quinn (2010), Political
        Analysis 18, 36-56.
    """
    n, e = len(outcome), model.probability
    out: list[tuple[float, Array]] = []
    for group in (1.0, 0.0):
        member = (treated == group).astype(float)
        chance = e if group else 1 - e
        gram = weighted_gram(matrix, member)
        try:
            gamma = np.linalg.solve(gram, matrix.T @ (member * outcome))
        except np.linalg.LinAlgError:
            gamma = np.full(matrix.shape[1], np.nan)
        if not np.all(np.isfinite(gamma)) or np.linalg.cond(gram) > 1e14:
            raise DesignError(
                f"{int(member.sum()):,} units of one group cannot carry an outcome model with "
                f"{matrix.shape[1] - 1} covariates: leave some out"
            )
        fitted = matrix @ gamma
        residual = member * (outcome - fitted)
        score = fitted + residual / chance
        mean = float(score.mean())
        sign = -1.0 if group else 1.0
        by_propensity = matrix.T @ (sign * residual * (1 - chance) / chance) / n
        by_outcome = matrix.T @ (1 - member / chance) / n
        lever = np.linalg.solve(gram / n, by_outcome)
        influence = (
            score - mean + _by_propensity(matrix, treated, model, by_propensity) + residual * (matrix @ lever)
        )
        out.append((mean, influence))
    (one, influence_one), (zero, influence_zero) = out
    return Potential(one, zero, influence_one, influence_zero)


def entropy_weights(matrix: Array, target: Array, *, iterations: int = 200) -> Array:
    """Return weights, adding to one, closest to equal, that give the columns the means ``target``.

    Args:
        matrix: Covariates of one group, without intercept, shape (m, p).
        target: Means to reach, shape (p,).
        iterations: Newton steps before the target counts as out of reach.

    Raises:
        NoOverlapError: When no positive weights reach the target.

    References:
        Hainmueller (2012), Political Analysis 20, 25-46 (the dual problem).
    """
    centred = matrix - target
    dual = np.zeros(matrix.shape[1])

    def spread(at: Array) -> tuple[float, Array]:
        power = centred @ at
        top = float(power.max())
        raw = np.exp(power - top)
        total = float(raw.sum())
        return top + math.log(total), raw / total

    value, weights = spread(dual)
    for _ in range(iterations):
        gradient = weights @ centred
        if np.max(np.abs(gradient)) < 1e-10:
            return weights
        hessian = weighted_gram(centred, weights) - np.outer(gradient, gradient)
        try:
            step = -np.linalg.solve(hessian + 1e-14 * np.eye(len(dual)), gradient)
        except np.linalg.LinAlgError:
            break
        size, slope = 1.0, float(gradient @ step)
        while size > 1e-12:
            trial_value, trial_weights = spread(dual + size * step)
            if trial_value <= value + 1e-4 * size * slope + 1e-14:
                break
            size /= 2
        dual, value, weights = dual + size * step, trial_value, trial_weights
    raise NoOverlapError(
        "no positive weights give this group the other's covariate means: the groups do not overlap"
    )


def entropy_balanced(
    matrix: Array, treated: Array, outcome: Array, *, estimand: str
) -> tuple[Potential, Array]:
    """Compare means under entropy balancing weights; return them with the weights.

    Args:
        matrix: Intercept and covariates, shape (n, p).
        treated: 0 or 1, shape (n,).
        outcome: Shape (n,).
        estimand: ``"ATE"`` brings both groups to the means of all units, ``"ATT"`` the controls to
            those of the treated.

    References:
        Hainmueller (2012); Zhao and Percival (2017), Journal of Causal Inference 5 (variance).
    """
    if estimand not in ("ATE", "ATT"):
        raise ArgumentError(f"entropy balancing estimates ATE or ATT; got {estimand!r}")
    n, x = len(outcome), matrix[:, 1:]
    aim = np.ones(n) if estimand == "ATE" else (treated == 1).astype(float)
    target = aim @ x / aim.sum()
    weights = np.zeros(n)
    out: list[tuple[float, Array]] = []
    for group in (1.0, 0.0):
        rows = treated == group
        if estimand == "ATT" and group:
            weights[rows] = 1 / rows.sum()
        else:
            weights[rows] = entropy_weights(x[rows], target)
        w = np.where(rows, weights, 0.0)
        mean = float(w @ outcome)
        centred, away = outcome - mean, x - target
        influence = n * w * centred
        if not (estimand == "ATT" and group):
            # regress the outcome on covariates under the weights: what balancing them takes out
            slope = np.linalg.solve(weighted_gram(away, w), away.T @ (w * centred))
            influence = influence - n * w * (away @ slope) + n * aim / aim.sum() * (away @ slope)
        out.append((mean, influence))
    (one, influence_one), (zero, influence_zero) = out
    return Potential(one, zero, influence_one, influence_zero), weights


def ratio_of(numerator: Potential, denominator: Potential) -> Potential:
    """Divide one outcome by another within each group, by the delta method."""
    if not min(denominator.treated, denominator.control) > 0:
        raise ContractError("the denominator of a ratio adds up to 0 in a group, so the ratio has no value")
    one, zero = numerator.treated / denominator.treated, numerator.control / denominator.control
    return Potential(
        treated=one,
        control=zero,
        influence_treated=(numerator.influence_treated - one * denominator.influence_treated)
        / denominator.treated,
        influence_control=(numerator.influence_control - zero * denominator.influence_control)
        / denominator.control,
    )


def standard_error(influence: Array, clusters: NDArray[np.int64] | None) -> float:
    """Return the sandwich standard error of a mean-zero influence, summed within clusters."""
    n = len(influence)
    if clusters is None:
        return float(np.sqrt(influence @ influence)) / n
    sums = np.bincount(clusters, weights=influence)
    count = len(sums)
    return float(np.sqrt(sums @ sums * count / (count - 1))) / n


def difference_limits(
    value: float, influence: Array, clusters: NDArray[np.int64] | None, level: float
) -> tuple[float, float, float, float]:
    """Return standard error, limits and p-value: normal, or t with clusters - 1 degrees."""
    error = standard_error(influence, clusters)
    law = stats.norm() if clusters is None else stats.t(int(clusters.max()))
    half = float(law.isf((1 - level) / 2)) * error
    p_value = float(2 * law.sf(abs(value) / error)) if error > 0 else math.nan
    return error, value - half, value + half, p_value
