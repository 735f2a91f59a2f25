"""Cards assigned in clusters, such as days or cashiers: covariance of arm means, contrasts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from loyalty_research.estimates import Estimate
from loyalty_research.i18n import message

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ClusterContrast", "ClusteredCards", "cluster_contrast", "cluster_ratio", "cluster_variances"]


@dataclass(frozen=True)
class ClusteredCards:
    """Cards one by one, where they were assigned in clusters.

    Attributes:
        arm_of: Arm position of each card, shape ``(cards,)``.
        done: Whether each card was completed.
        lost: Whether each card was lost before completion.
        cluster: Cluster code of each card.
    """

    arm_of: NDArray[np.int64]
    done: NDArray[np.bool_]
    lost: NDArray[np.bool_]
    cluster: NDArray[np.int64]


def cluster_variances(
    values: NDArray[np.float64], arm_of: NDArray[np.int64], cluster: NDArray[np.int64], arms: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the cluster-robust covariance of the arm means, and clusters per arm.

    The linearised mean of an arm is a sum over clusters of (value - mean) / n; a cluster that
    holds cards of two arms carries their covariance. The factor G/(G - 1) is CR1's.

    Args:
        values: Outcome of each card, shape ``(cards,)``.
        arm_of: Arm position of each card.
        cluster: Cluster code of each card.
        arms: Number of arms.

    Returns:
        Covariance, shape ``(arms, arms)``, and the number of clusters with cards of each arm.

    References:
        Liang and Zeger (1986); Cameron and Miller (2015), eq. 11-12.
    """
    codes = np.unique(cluster, return_inverse=True)[1]
    count = int(codes.max()) + 1
    n = np.bincount(arm_of, minlength=arms)
    mean = np.bincount(arm_of, weights=values, minlength=arms) / n
    flat = codes * arms + arm_of
    score = np.bincount(flat, weights=(values - mean[arm_of]) / n[arm_of], minlength=count * arms)
    held = np.bincount(flat, minlength=count * arms).reshape(count, arms) > 0
    score = score.reshape(count, arms)
    covariance = score.T @ score * count / max(count - 1, 1)
    return covariance, held.sum(axis=0)


@dataclass(frozen=True, slots=True)
class ClusterContrast:
    """Two arms' rates with the covariance of both.

    Attributes:
        difference: Treated less control.
        rates: Control's and treated's.
        covariance: Of the two rates, shape ``(2, 2)``.
        critical: Student's t of the interval.
    """

    difference: Estimate
    rates: tuple[float, float]
    covariance: NDArray[np.float64]
    critical: float


def cluster_contrast(
    done: NDArray[np.bool_], treated: NDArray[np.bool_], cluster: NDArray[np.int64], level: float
) -> ClusterContrast:
    """Difference of two arms' rates, robust to clusters; t with clusters less arms for degrees.

    Where clusters hold cards of both arms only one degree is spent.
    """
    covariance, held = cluster_variances(done.astype(float), treated.astype(np.int64), cluster, 2)
    total = len(np.unique(cluster))
    degrees = max(total - (2 if int(held.sum()) == total else 1), 1)
    critical = float(stats.t.isf((1 - level) / 2, degrees))
    p0, p1 = float(done[~treated].mean()), float(done[treated].mean())
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    se = math.sqrt(max(variance, 0.0))
    p_value = float(2 * stats.t.sf(abs(p1 - p0) / se, degrees)) if se > 0 else math.nan
    low, high = max(p1 - p0 - critical * se, -1.0), min(p1 - p0 + critical * se, 1.0)
    name = message("cluster-robust t, {clusters} clusters", clusters=total)
    difference = Estimate(p1 - p0, low, high, level, name, len(done), "fraction", p_value)
    return ClusterContrast(difference, (p0, p1), covariance, critical)


def cluster_ratio(contrast: ClusterContrast) -> Estimate:
    """Ratio of the rates, normal on the log scale; NaN where a rate is 0."""
    (p0, p1), v, base = contrast.rates, contrast.covariance, contrast.difference
    if not (p0 > 0 and p1 > 0):
        return Estimate(math.nan, math.nan, math.nan, base.level, base.method, base.n)
    variance = float(v[1, 1] / p1**2 + v[0, 0] / p0**2 - 2 * v[0, 1] / (p0 * p1))
    half = contrast.critical * math.sqrt(max(variance, 0.0))
    ratio = p1 / p0
    return Estimate(ratio, ratio * math.exp(-half), ratio * math.exp(half), base.level, base.method, base.n)
