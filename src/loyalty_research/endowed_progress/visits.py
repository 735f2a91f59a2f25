"""Paid visits by arm."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from scipy import stats

from loyalty_research.endowed_progress._outcome import CardResult
from loyalty_research.errors import DesignError
from loyalty_research.estimates import Check, Estimate, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.negative_binomial import fit_negative_binomial

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["ArmMeans", "VisitsModel", "VisitsResult", "arm_means", "count_visits"]

VisitsModel = Literal["poisson", "negative-binomial"]


@dataclass(frozen=True)
class ArmMeans:
    """Means of several outcomes per arm with their covariance.

    Attributes:
        mean: Shape ``(arms, outcomes)``.
        covariance: Of the flattened means (arm major), shape ``(arms * outcomes,) * 2``.
        n: Cards per arm, shape ``(arms,)``.
        degrees: Degrees of freedom of the t distribution; infinite without clusters.
        clusters: Number of clusters, or None.
    """

    mean: Floats
    covariance: Floats
    n: NDArray[np.int64]
    degrees: float
    clusters: int | None

    def critical(self, level: float) -> float:
        """Return the quantile that an interval of ``level`` takes."""
        return float(stats.t.isf((1 - level) / 2, self.degrees))

    def contrast(self, arm: int, weights: Floats) -> tuple[float, float]:
        """Return (arm less control) of a weighted sum of outcomes, and its standard error."""
        outcomes = self.mean.shape[1]
        line = np.zeros(self.mean.size)
        line[arm * outcomes : (arm + 1) * outcomes] = weights
        line[:outcomes] -= weights
        return float(line @ self.mean.ravel()), math.sqrt(max(float(line @ self.covariance @ line), 0.0))

    @property
    def method(self) -> str:
        """Name of the interval method of a difference of means."""
        if self.clusters is None:
            return message("unequal variances, normal")
        return message("cluster-robust t, {clusters} clusters", clusters=self.clusters)


def arm_means(
    values: Floats, arm_of: NDArray[np.int64], arms: int, cluster: NDArray[np.int64] | None
) -> ArmMeans:
    """Return the means of ``values`` (shape ``(cards, outcomes)``) per arm with their covariance."""
    n = np.bincount(arm_of, minlength=arms)
    outcomes = values.shape[1]
    mean = np.stack([values[arm_of == a].mean(axis=0) for a in range(arms)])
    covariance = np.zeros((arms * outcomes, arms * outcomes))
    if cluster is None:
        for a in range(arms):
            block = slice(a * outcomes, (a + 1) * outcomes)
            if n[a] > 1:
                covariance[block, block] = (
                    np.cov(values[arm_of == a], rowvar=False).reshape(outcomes, -1) / n[a]
                )
        return ArmMeans(mean, covariance, n, math.inf, None)
    codes = np.unique(cluster, return_inverse=True)[1]
    count = int(codes.max()) + 1
    score = np.zeros((count, arms * outcomes))
    centred = (values - mean[arm_of]) / n[arm_of][:, None]
    for k in range(outcomes):
        np.add.at(score, (codes, arm_of * outcomes + k), centred[:, k])
    covariance = score.T @ score * count / max(count - 1, 1)
    return ArmMeans(mean, covariance, n, float(max(count - arms, 1)), count)


@dataclass(frozen=True, repr=False)
class VisitsResult(CardResult):
    """Paid visits per card holder by arm.

    Attributes:
        arms: Arm names, control first.
        horizon: Over which time, in words.
        level: Level of every interval.
        means: Mean visits per holder and arm.
        differences: Mean of each other arm less that of the control.
        ratios: Mean of each other arm over that of the control.
        dispersion: Of the negative binomial: variance is mean + dispersion * mean squared; None
            where visits are compared by robust Poisson.
    """

    title: ClassVar[str] = "Paid visits by arm"
    finding: ClassVar[str] = "visits"

    arms: tuple[str, ...]
    horizon: str
    level: float
    means: tuple[Estimate, ...]
    differences: tuple[Estimate, ...]
    ratios: tuple[Estimate, ...]
    dispersion: Estimate | None = None

    def _headline(self) -> Estimate | None:
        return self.differences[0] if len(self.differences) == 1 else None

    def _rows(self) -> Iterable[Row]:
        for arm, mean in zip(self.arms, self.means, strict=True):
            yield Row(message("paid visits per holder"), mean, arm, self.horizon)
        for arm, difference, ratio in zip(self.arms[1:], self.differences, self.ratios, strict=True):
            against = message(
                "{arm} against {control}, {horizon}", arm=arm, control=self.arms[0], horizon=self.horizon
            )
            yield Row(message("difference in visits"), difference, arm, against)
            yield Row(message("ratio of visits"), ratio, arm, against)
        if self.dispersion is not None:
            yield Row(
                message("dispersion"),
                self.dispersion,
                None,
                message("variance over mean squared, less Poisson"),
            )

    def _verdict(self) -> str:
        said = []
        for arm, d, r in zip(self.arms[1:], self.differences, self.ratios, strict=True):
            fields = {
                "arm": arm,
                "control": self.arms[0],
                "horizon": self.horizon,
                "mean": number(self.means[self.arms.index(arm)].value),
                "base": number(self.means[0].value),
                "difference": number(d.value, signed=True),
                "change": percent(r.value - 1, signed=True),
                "interval": message(
                    "{level} interval {low} to {high}",
                    level=percent(d.level, digits=0),
                    low=number(d.low, signed=True),
                    high=number(d.high, signed=True),
                ),
            }
            if d.low > 0 or d.high < 0:
                said.append(
                    message(
                        "Holders of {arm} cards paid {mean} visits each {horizon}, holders of {control} cards {base}: "
                        "{difference} visits, or {change} ({interval}).",
                        **fields,
                    )
                )
            else:
                said.append(
                    message(
                        "Holders of {arm} cards paid {mean} visits each {horizon}, holders of {control} cards {base}; "
                        "a difference of nothing is not excluded ({interval}).",
                        **fields,
                    )
                )
        return " ".join(said)


def _log_ratio(means: ArmMeans, arm: int, outcome: int) -> tuple[float, float]:
    """Return the log ratio of two arms' means and its standard error (delta method)."""
    outcomes = means.mean.shape[1]
    i, j = arm * outcomes + outcome, outcome
    top, base = float(means.mean[arm, outcome]), float(means.mean[0, outcome])
    v = means.covariance
    variance = v[i, i] / top**2 + v[j, j] / base**2 - 2 * v[i, j] / (top * base)
    return math.log(top / base), math.sqrt(max(float(variance), 0.0))


def _negative_binomial(
    visits: Floats, arm_of: NDArray[np.int64], means: ArmMeans, level: float
) -> tuple[ArmMeans, Estimate, Check]:
    """Return arm means with the model's variance, the dispersion, and how it stands to the data.

    The model fits the arms' averages, as Poisson does; only their variance differs. With clusters
    the sandwich takes its place, which is the same under both.
    """
    if not (visits == np.floor(visits)).all():
        raise DesignError(
            "holders of several first cards share their visits out, so visits are no counts; use model='poisson'"
        )
    fit = fit_negative_binomial(visits, arm_of)
    half = float(stats.norm.isf((1 - level) / 2)) * fit.dispersion_error
    p_value = 0.5 * float(stats.chi2.sf(max(2 * (fit.log_likelihood - fit.poisson_log_likelihood), 0.0), 1))
    known = math.isfinite(half)
    dispersion = Estimate(
        fit.dispersion,
        max(fit.dispersion - half, 0.0) if known else math.nan,
        fit.dispersion + half if known else math.nan,
        level,
        message("maximum likelihood, Wald"),
        len(visits),
        None,
        p_value if known else None,
    )
    # the average of a group's variance against the model's: capped cards vary less than the model says
    spread = np.array(
        [visits[arm_of == a].var(ddof=1) if (arm_of == a).sum() > 1 else 0 for a in range(len(fit.n))]
    )
    ratio = float((spread / fit.n).sum() / max(fit.variance.sum(), 1e-300))
    check = Check(
        message("visits vary as the negative binomial says"),
        "warning" if not 0.8 <= ratio <= 1.25 else "passed",
        message(
            "the variance seen is {ratio} times that of the model; robust Poisson needs no such model",
            ratio=number(ratio, digits=2),
        ),
    )
    if means.clusters is None:
        means = replace(means, covariance=np.diag(fit.variance))
    return means, dispersion, check


def count_visits(
    visits: Floats,
    arm_of: NDArray[np.int64],
    *,
    arms: tuple[str, ...],
    cluster: NDArray[np.int64] | None,
    horizon: str,
    level: float,
    model: VisitsModel = "poisson",
    checks: tuple[Check, ...] = (),
) -> VisitsResult:
    """Compare visits per holder: difference of means, and ratio as robust Poisson regression gives it.

    With arms as the only regressors, Poisson's maximum likelihood fits the arm means and the
    sandwich variance of a log mean is the variance of the mean over its square, so no fitting is
    needed; overdispersion is allowed for. The negative binomial fits the same means and takes
    their variance from a dispersion that all arms share.

    Args:
        visits: Visits of each holder, shape ``(holders,)``.
        arm_of: Arm position of each holder.
        arms: Arm names, control first.
        cluster: Cluster code of each holder, or None.
        horizon: Over which time, in words.
        level: Level of every interval.
        model: ``"poisson"`` or ``"negative-binomial"``.
        checks: Checks already made.

    Raises:
        DesignError: When visits are shared between cards and the model is the negative binomial.

    References:
        Gourieroux, Monfort and Trognon (1984); Zou (2004), A modified Poisson regression approach;
        Lawless (1987), Negative binomial and mixed Poisson regression.
    """
    means = arm_means(visits[:, None], arm_of, len(arms), cluster)
    critical = means.critical(level)
    dispersion, name, plain = None, message("robust Poisson"), means.method
    if model == "negative-binomial":
        means, dispersion, check = _negative_binomial(visits, arm_of, means, level)
        checks = (*checks, check)
        name = message("negative binomial, Wald")
        if cluster is not None:
            name = message("negative binomial, {method}", method=plain)
        plain = name
    single = tuple(
        Estimate(
            float(m),
            float(m - critical * math.sqrt(means.covariance[a, a])),
            float(m + critical * math.sqrt(means.covariance[a, a])),
            level,
            plain,
            int(means.n[a]),
            message("visits"),
        )
        for a, m in enumerate(means.mean[:, 0])
    )
    differences, ratios = [], []
    for a in range(1, len(arms)):
        n = int(means.n[a] + means.n[0])
        value, se = means.contrast(a, np.ones(1))
        p_value = float(2 * stats.t.sf(abs(value) / se, means.degrees)) if se > 0 else None
        differences.append(
            Estimate(
                value,
                value - critical * se,
                value + critical * se,
                level,
                plain,
                n,
                message("visits"),
                p_value,
            )
        )
        ratio = Estimate(math.nan, math.nan, math.nan, level, name, n)
        if means.mean[a, 0] > 0 and means.mean[0, 0] > 0:
            log, spread = _log_ratio(means, a, 0)
            ratio = Estimate(
                math.exp(log),
                math.exp(log - critical * spread),
                math.exp(log + critical * spread),
                level,
                name,
                n,
            )
        ratios.append(ratio)
    return VisitsResult(
        arms=arms,
        horizon=horizon,
        level=level,
        means=single,
        differences=tuple(differences),
        ratios=tuple(ratios),
        dispersion=dispersion,
        checks=checks,
    )
