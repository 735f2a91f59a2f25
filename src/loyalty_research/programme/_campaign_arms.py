"""What offers and rewards tried on some customers share: arms, differences, gates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError, listed
from loyalty_research.estimates import Check, Estimate
from loyalty_research.i18n import message, number
from loyalty_research.programme._contact_rows import refuse
from loyalty_research.stats.arm_contrasts import contrast, mean_of_first, means_of_rows, t_limits
from loyalty_research.stats.ratios import fieller

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Codes = NDArray[np.int64]

__all__ = [
    "ALARM",
    "arm_masks",
    "before_check",
    "cluster_codes",
    "cost_per_extra",
    "few_clusters_check",
    "mean_difference",
    "ratio_check",
]

LEAST = 2
ALARM = 0.001  # usual bound for the split of arms: far beyond what chance does
FEW_CLUSTERS = 20


def arm_masks(frame: pd.DataFrame, arm: str, treated: str, control: str, name: str) -> tuple[Flags, Flags]:
    """Return the rows of the treated and of those held out.

    Raises:
        ContractError: When the column is missing or holds empty cells.
        DesignError: When an arm has fewer than two customers.
    """
    if arm not in frame.columns:
        raise ContractError(f"{name} lacks the column {arm} that says who was held out")
    refuse(frame[arm].isna().to_numpy(), f"{name}.{arm} is null", "leave out customers without an arm")
    own, held = ((frame[arm] == label).to_numpy(dtype=bool) for label in (treated, control))
    for label, mask in ((treated, own), (control, held)):
        if mask.sum() < LEAST:
            raise DesignError(
                f"{name}.{arm} has {int(mask.sum())} customers in arm {label!r}; without a holdout of at least "
                f"{LEAST} the lift is not measurable (the arms are {listed(sorted(frame[arm].astype(str).unique()))})"
            )
    return own, held


def cluster_codes(
    frame: pd.DataFrame, cluster: str | None, own: Flags, held: Flags, name: str
) -> Codes | None:
    """Return the cluster of each row as a code from 0, or None where customers were assigned one by one.

    Raises:
        ContractError: When the column is missing or holds empty cells.
        DesignError: When a cluster lies in both arms, or an arm has fewer than two.
    """
    if cluster is None:
        return None
    if cluster not in frame.columns:
        raise ContractError(f"{name} lacks the column {cluster}, the unit that was assigned as a whole")
    refuse(frame[cluster].isna().to_numpy(), f"{name}.{cluster} is null", "name the cluster of each customer")
    codes, labels = pd.factorize(frame[cluster])
    sides = [np.bincount(codes[mask], minlength=len(labels)) > 0 for mask in (own, held)]
    both = int((sides[0] & sides[1]).sum())
    if both:
        raise DesignError(
            f"{both} clusters of {name}.{cluster} hold customers of both arms, so they were not assigned as a whole: "
            "leave cluster= out, or mend the arms"
        )
    if min(int(side.sum()) for side in sides) < LEAST:
        raise DesignError(
            f"an arm has fewer than two clusters of {name}.{cluster}: how they vary cannot be seen"
        )
    return codes


def mean_difference(
    outcome: Floats,
    own: Flags,
    held: Flags,
    *,
    level: float,
    unit: str | None = None,
    covariates: Mapping[str, Floats] | None = None,
    clusters: Codes | None = None,
) -> Estimate:
    """Return the mean of the treated less that of those held out.

    Args:
        outcome: One value per customer, shape ``(n,)``.
        own: Which rows are treated.
        held: Which rows are held out.
        level: Confidence level.
        unit: Unit of the outcome.
        covariates: Name to values known before the offer, by which the difference is adjusted.
        clusters: Codes of what was assigned as a whole.

    Returns:
        Welch's interval; without limits where nothing varies.

    Raises:
        ContractError: When covariates are constant or repeat one another.

    Examples:
        >>> arm = np.array([True, True, False, False])
        >>> mean_difference(np.array([4.0, 2, 1, 1]), arm, ~arm, level=0.95).value
        2.0

    References:
        Welch (1947), Biometrika 34, 28-35; Deng et al. (2013), WSDM, for the adjustment.
    """
    names = tuple(covariates or {})
    values = np.column_stack([outcome, *(covariates or {}).values()])
    sides = [
        means_of_rows(values[m], None if clusters is None else _own_codes(clusters[m])) for m in (own, held)
    ]
    found = contrast(sides[0], sides[1], mean_of_first, outcomes=1, covariates=names)
    value, variance = float(found.difference[0]), float(found.covariance[0, 0])
    method = "welch"
    if names:
        method += f", adjusted for {', '.join(names)}"
    if clusters is not None:
        method += ", clusters"
    if not variance > 0:
        return Estimate(value, math.nan, math.nan, level, method, found.n, unit)
    low, high, p = t_limits(value, math.sqrt(variance), float(found.dof[0]), level)
    return Estimate(value, low, high, level, method, found.n, unit, p)


def _own_codes(clusters: Codes) -> NDArray[np.int64]:
    return np.asarray(np.unique(clusters, return_inverse=True)[1], dtype=np.int64)


def cost_per_extra(
    count: Floats, cost: Floats, own: Flags, held: Flags, *, level: float, unit: str | None = None
) -> Estimate:
    """Return what one more of something cost: extra cost over extra count, treated less held out.

    Args:
        count: What is wanted of each customer, such as answers or visits; shape ``(n,)``.
        cost: What was spent on each, shape ``(n,)``.
        own: Which rows are treated.
        held: Which rows are held out.
        level: Confidence level.
        unit: Currency.

    Returns:
        The ratio with Fieller's interval: without a value where the treated did no more than those
        held out, and without limits where the extra count is not clearly above 0.

    Examples:
        >>> arm = np.array([True] * 50 + [False] * 50)
        >>> count = np.array([1.0] * 30 + [0.0] * 20 + [1.0] * 10 + [0.0] * 40)
        >>> round(cost_per_extra(count, 2.0 * count * arm, arm, ~arm, level=0.95).value, 6)
        3.0

    References:
        Fieller (1954), JRSS B 16, 175-185.
    """
    n = int(own.sum() + held.sum())
    total = sum(np.cov(cost[m], count[m]) / m.sum() for m in (own, held))
    more = float(count[own].mean() - count[held].mean())
    spent = float(cost[own].mean() - cost[held].mean())
    if more <= 0:
        return Estimate(math.nan, math.nan, math.nan, level, "fieller", n, unit)
    z = float(stats.norm.isf((1 - level) / 2))
    low, high = fieller(spent, more, float(total[0, 0]), float(total[1, 1]), float(total[0, 1]), z)
    return Estimate(spent / more, low, high, level, "fieller", n, unit)


def before_check(before: Estimate) -> Check:
    """Return the gate that arms were alike before anything was offered."""
    p = 1.0 if before.p_value is None else before.p_value
    return Check(
        message("No difference before the offer"),
        "failed" if p < ALARM else "warning" if p < 0.05 else "passed",
        message(
            "Offered minus held out, before: {gap} (p = {p}).", gap=before.format(signed=True), p=number(p)
        ),
        gate=True,
        p_value=p,
    )


def ratio_check(own: int, held: int, ratio: float | None) -> list[Check]:
    """Return the gate of the sizes of the arms, where the plan is known.

    Raises:
        ArgumentError: When the planned ratio is not positive.
    """
    if ratio is None:
        return []
    if not (math.isfinite(ratio) and ratio > 0):
        raise ArgumentError(
            f"ratio must be positive, such as 9 for nine offered to one held out; got {ratio!r}"
        )
    n = own + held
    expected = n * ratio / (1 + ratio)
    p = float(stats.chi2.sf((own - expected) ** 2 / expected + (own - expected) ** 2 / (n - expected), 1))
    return [
        Check(
            message("Sample ratio"),
            "failed" if p < ALARM else "passed",
            message(
                "{own} offered and {held} held out, where {expected} and {rest} were planned.",
                own=f"{own:,}",
                held=f"{held:,}",
                expected=number(expected, digits=0),
                rest=number(n - expected, digits=0),
            ),
            gate=True,
            p_value=p,
        )
    ]


def few_clusters_check(clusters: Codes | None, own: Flags, held: Flags) -> list[Check]:
    """Return how many clusters there are, where whole clusters were assigned."""
    if clusters is None:
        return []
    counts = [len(np.unique(clusters[m])) for m in (own, held)]
    return [
        Check(
            message("Clusters"),
            "warning" if min(counts) < FEW_CLUSTERS else "passed",
            message(
                "{own} clusters were offered and {held} held out; with few, intervals may be too short.",
                own=f"{counts[0]:,}",
                held=f"{counts[1]:,}",
            )
            if min(counts) < FEW_CLUSTERS
            else message(
                "{own} clusters were offered and {held} held out.",
                own=f"{counts[0]:,}",
                held=f"{counts[1]:,}",
            ),
        )
    ]
