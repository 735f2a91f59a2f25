"""What the goal gradient and the reset after a reward share: design, intervals, checks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special, stats

from loyalty_research.endowed_progress.hazard import (
    allow_for_clusters,
    fit_random_intercept,
    group_histories,
)
from loyalty_research.endowed_progress.periods import calendar_columns
from loyalty_research.errors import DesignError
from loyalty_research.estimates import Check, Estimate
from loyalty_research.i18n import message

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.endowed_progress.hazard import Histories, InterceptFit, Link
    from loyalty_research.endowed_progress.periods import Periods, Season

    Floats = NDArray[np.float64]

__all__ = [
    "HazardModel",
    "Progress",
    "calendar_checks",
    "corrected_hazard",
    "fit_method",
    "fit_model",
    "hazard_model",
    "reached",
    "wald",
]

Progress = Literal["share", "stamps"]


@dataclass(frozen=True)
class HazardModel:
    """Data and design of a hazard.

    Attributes:
        cards: Card, or holder, of each history's member, ascending, shape ``(cards,)``.
        data: Distinct histories.
        design: Covariates per cell, shape ``(cells, coefficients)``.
        names: Names of the last columns, those of the calendar.
        average: Share of the periods in each cell.
    """

    cards: NDArray[np.int64]
    data: Histories
    design: Floats
    names: list[str]
    average: Floats


def reached(cells: pd.DataFrame, progress: Progress) -> Floats:
    """Return progress per cell: share of the card filled, or stamps with the sign of the goal."""
    filled: Floats = (cells["stamps"] + cells["endowed"]).to_numpy(dtype=float)
    required = cells["required"].to_numpy(dtype=float)
    done: Floats = filled / required if progress == "share" else filled - required
    return done


def fit_model(
    model: HazardModel, *, link: Link, nodes: int, cluster: NDArray[np.int64] | None = None, arms: int = 1
) -> InterceptFit:
    """Fit a hazard with an intercept per card, robust to clusters where they are given.

    Args:
        model: Data and design.
        link: Link of the hazard.
        nodes: Quadrature nodes.
        cluster: Cluster code by position of the card (or holder), or None.
        arms: Number of arms.
    """
    fit = fit_random_intercept(model.design, model.data, link=link, nodes=nodes)
    if cluster is None:
        return fit
    return allow_for_clusters(
        fit, model.design, model.data, cluster[model.cards], link=link, nodes=nodes, arms=arms
    )


def wald(fit: InterceptFit, line: int | Floats, *, level: float, method: str, n: int) -> Estimate:
    """Return a coefficient, or a weighted sum of coefficients, with its interval.

    Args:
        fit: Fitted hazard.
        line: Position of the coefficient, or weights, shape ``(k,)``.
        level: Level of the interval.
        method: Name of the interval.
        n: Cards behind it.
    """
    k = len(fit.coefficients)
    weights = np.eye(k)[line] if isinstance(line, int) else line
    value, se = (
        float(weights @ fit.coefficients),
        math.sqrt(float(weights @ fit.covariance[:k, :k] @ weights)),
    )
    half = float(stats.t.isf((1 - level) / 2, fit.degrees)) * se
    p_value = float(2 * stats.t.sf(abs(value) / se, fit.degrees))
    return Estimate(value, value - half, value + half, level, method, n, None, p_value)


def fit_method(fit: InterceptFit, nodes: int) -> str:
    """Name how a hazard was fitted."""
    if fit.sigma == 0:
        return message("no spread between cards found; pooled, Wald")
    if fit.clusters is not None:
        return message(
            "random intercept, {nodes} quadrature nodes; cluster-robust t, {clusters} clusters",
            nodes=nodes,
            clusters=fit.clusters,
        )
    return message("random intercept, {nodes} quadrature nodes, Wald", nodes=nodes)


def corrected_hazard(
    cells: pd.DataFrame, design: Floats, fit: InterceptFit, *, by: list[str], link: Link, level: float
) -> pd.DataFrame:
    """Return the hazard of a card of average inclination per cell, averaged over ``by``.

    Args:
        cells: One row per cell, with the columns ``by``.
        design: Covariates per cell.
        fit: Fitted hazard.
        by: Columns to tell apart.
        link: Link of the hazard.
        level: Level of the limits.

    Returns:
        The columns ``by``, estimate, low, high.
    """
    k = design.shape[1]
    eta = design @ fit.coefficients
    se = np.sqrt(np.einsum("ck,kl,cl->c", design, fit.covariance[:k, :k], design))
    half = float(stats.t.isf((1 - level) / 2, fit.degrees)) * se
    estimate, low, high = (
        special.expit(v) if link == "logit" else -np.expm1(-np.exp(v)) for v in (eta, eta - half, eta + half)
    )
    # cards of one arm may differ in size: then several cells share a number of stamps
    frame = cells[by].assign(estimate=estimate, low=low, high=high)
    return frame.groupby(by, as_index=False, sort=True).mean()


def hazard_model(periods: Periods, columns: list[Floats], season: Season | None) -> HazardModel:
    """Return histories and design: a constant, the given columns, the calendar.

    Raises:
        DesignError: When the columns cannot be told apart.
    """
    calendar, names = calendar_columns(periods, season)
    plain = np.column_stack([np.ones(len(periods.cells)), *columns])
    if np.linalg.matrix_rank(plain) < plain.shape[1]:
        raise DesignError("progress does not vary within arms, so its slope cannot be told from their level")
    design = np.column_stack([plain, calendar])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise DesignError(
            "progress cannot be told from the calendar: cards issued over more days, or season='harmonic', "
            "leave something to tell them apart by"
        )
    data = group_histories(periods.card, periods.cell, periods.trials, periods.visits)
    share = np.bincount(periods.cell, weights=periods.trials, minlength=len(design))
    return HazardModel(np.unique(periods.card), data, design, names, share / share.sum())


def calendar_checks(periods: Periods, *, calendar: bool) -> tuple[Check, ...]:
    """Say whether pace may follow the calendar instead of progress.

    Args:
        periods: Periods of the model.
        calendar: Whether the model has terms of season or weekday.
    """
    name = message("pace follows the calendar")
    if not calendar:
        detail = message(
            "season and weekday are left out; a card that fills towards a busy time looks faster"
        )
        return (Check(name, "not measurable", detail),)
    said = message("season or weekday is in the model")
    if periods.closed:
        said = message(
            "season or weekday is in the model; {count} card days on weekdays without any visit are left out",
            count=f"{periods.closed:,}",
        )
    return (Check(name, "passed", said),)
