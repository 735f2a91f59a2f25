"""The same differences read as a Bayesian would: how sure is it that an arm is better?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from scipy import stats

from loyalty_research.comparison._arms import treated_arms
from loyalty_research.comparison.metrics import Quantile
from loyalty_research.comparison.randomised import differences
from loyalty_research.comparison.result import capital, change, change_interval
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Result, Row
from loyalty_research.i18n import message, percent
from loyalty_research.stats.beta_binomial import beta_binomial_difference
from loyalty_research.summaries import arm_moments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loyalty_research.comparison.design import Comparison
    from loyalty_research.comparison.metrics import Metric
    from loyalty_research.comparison.randomised import Difference
    from loyalty_research.estimates import Estimate
    from loyalty_research.summaries import ArmMoments

__all__ = ["PosteriorResult", "posterior"]


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed about one difference after the data.

    Attributes:
        metric: The declaration.
        arm: Label of the treated arm.
        estimate: Posterior mean with its equal-tailed interval.
        better: Probability that the arm is better than control, by the metric's direction.
        beyond: Probability that it is better by more than the metric's margin; NaN without one.
    """

    metric: Metric
    arm: str
    estimate: Estimate
    better: float
    beyond: float


@dataclass(frozen=True, repr=False)
class PosteriorResult(Result):
    """Posterior of every difference from control.

    Attributes:
        control: Label of the arm compared with.
        beliefs: One per metric and arm, in order.
    """

    title: ClassVar[str] = "Posterior of differences"

    control: str
    beliefs: tuple[Belief, ...]

    def _rows(self) -> Iterator[Row]:
        for b in self.beliefs:
            extra = {"role": b.metric.role, "pr_better": b.better, "pr_beyond_margin": b.beyond}
            yield Row(b.metric.label, b.estimate, f"{b.arm} v {self.control}", "ITT", extra)

    def _verdict(self) -> str:
        said = []
        for b in self.beliefs:
            if b.metric.role != "primary":
                continue
            said.append(
                message(
                    "{metric}: with probability {better} “{arm}” is better than “{control}”; the difference is believed "
                    "to be {difference} ({interval}).",
                    metric=capital(b.metric.label),
                    better=_probability(b.better),
                    arm=b.arm,
                    control=self.control,
                    difference=change(b.estimate, signed=True),
                    interval=change_interval(b.estimate),
                )
            )
        return " ".join(said)


def _probability(p: float) -> str:
    """Format a probability without claiming certainty."""
    if p > 0.999:
        return message("above 99.9%")
    return message("below 0.1%") if p < 0.001 else percent(p)


def posterior(
    plan: Comparison, table: Any, *, prior_sd: float | Mapping[str, float] | None = None
) -> PosteriorResult:
    """Return the posterior of every difference of a randomised comparison.

    Plain proportions have independent uniform priors on both rates, exactly (beta-binomial). Other
    differences have a normal likelihood and a normal prior around zero; without ``prior_sd`` it is
    flat, and then the interval is that of the analysis, read as a probability.

    Args:
        plan: A comparison of design ``"randomised"``.
        table: One row per unit, as for :meth:`Comparison.analyse`.
        prior_sd: Standard deviation of the prior of a difference, in the metric's unit: how large
            effects are as a rule; one number, or by metric label.

    Returns:
        Posterior means, intervals, and the probabilities of being better and of being better by
        more than the margin.

    Raises:
        ArgumentError: When a prior is not positive or names no metric.
        ContractError: When columns are absent or hold what they cannot.
        DesignError: When the design draws no lots.

    References:
        Gelman et al. (2013), Bayesian Data Analysis, 3rd edition, sections 2.4, 2.5 and 3.2.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.comparison import Comparison, Proportion
        >>> units = pd.DataFrame({"arm": ["a"] * 150 + ["b"] * 150,
        ...                       "done": [1] * 28 + [0] * 122 + [1] * 51 + [0] * 99})
        >>> plan = Comparison(Proportion("done"), design="randomised", assignment="arm", control="a")
        >>> round(posterior(plan, units).beliefs[0].better, 4)
        0.9987
    """
    if plan.design != "randomised":
        raise DesignError(f"a posterior of differences needs design='randomised'; got {plan.design!r}")
    metrics = tuple(m.adjusted_for(plan.covariates) for m in plan.metrics if not isinstance(m, Quantile))
    if not metrics:
        raise DesignError("quantiles have no posterior here: use means, proportions or ratios")
    labels = [m.label for m in metrics]
    priors: dict[str, float | None] = (
        dict(prior_sd) if isinstance(prior_sd, Mapping) else dict.fromkeys(labels, prior_sd)
    )
    unknown = sorted(set(priors) - set(labels))
    if unknown:
        raise ArgumentError(f"prior_sd names {', '.join(unknown)}; there is {', '.join(labels)}")
    for value in priors.values():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ArgumentError(f"prior_sd must be positive; got {value!r}")
    moments = arm_moments(table, metrics, arm=plan.assignment, strata=plan.strata, cluster=plan.cluster)
    control, arms = treated_arms(moments, plan.control, plan.assignment)
    beliefs = []
    for metric in metrics:
        sd = priors.get(metric.label)
        for d in differences(moments, [metric], control, arms, plan.level):
            plain = d.estimate.method == "newcombe" and sd is None
            beliefs.append(_counted(d, moments, control) if plain else _normal(d, sd))
    return PosteriorResult(control, tuple(beliefs))


def _counted(d: Difference, moments: ArmMoments, control: str) -> Belief:
    """Read two counts with uniform priors."""
    cells = moments.metrics[d.metric.label].cells
    sizes = [cells[arm, ""].n for arm in (d.arm, control)]
    hits = [round(rate * n) for rate, n in zip((d.treated, d.control), sizes, strict=True)]
    found = beta_binomial_difference(hits[0], sizes[0], hits[1], sizes[1], level=d.estimate.level)
    margin = d.metric.margin
    if d.metric.direction == "up":
        better = found.pr_above(0.0)
        beyond = math.nan if margin is None else found.pr_above(min(margin, 1.0))
    else:
        better = 1 - found.pr_above(0.0)
        beyond = math.nan if margin is None else 1 - found.pr_above(max(-margin, -1.0))
    return Belief(d.metric, d.arm, found.estimate(), better, beyond)


def _normal(d: Difference, prior_sd: float | None) -> Belief:
    """Weigh a normal likelihood with a normal prior around zero."""
    e, variance = d.estimate, d.standard_error**2
    keep = 1.0 if prior_sd is None else prior_sd**2 / (prior_sd**2 + variance)
    mean, sd = keep * e.value, math.sqrt(keep * variance)
    half = float(stats.norm.isf((1 - e.level) / 2)) * sd
    words = "flat" if prior_sd is None else f"sd {prior_sd:g}"
    estimate = replace(
        e,
        value=mean,
        low=mean - half,
        high=mean + half,
        method=f"normal posterior, {words} prior",
        p_value=None,
    )
    sign, margin = (1 if d.metric.direction == "up" else -1), d.metric.margin
    better = float(stats.norm.sf(0, sign * mean, sd))
    beyond = math.nan if margin is None else float(stats.norm.sf(margin, sign * mean, sd))
    return Belief(d.metric, d.arm, estimate, better, beyond)
