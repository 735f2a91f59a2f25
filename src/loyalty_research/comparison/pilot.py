"""What a past period says about a metric, for planning: spread, what covariates explain, what clusters cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np

from loyalty_research.comparison.metrics import Proportion, Quantile, Ratio
from loyalty_research.errors import ContractError, DesignError
from loyalty_research.stats.arm_contrasts import arm_means, mean_of_first, ratio_of_first_two
from loyalty_research.summaries import arm_moments
from loyalty_research.summaries._frames import as_lazy

if TYPE_CHECKING:
    from loyalty_research.comparison.metrics import Metric
    from loyalty_research.stats.arm_contrasts import ArmMeans

__all__ = ["Pilot", "pilot"]

_ARM = "_pilot"


@dataclass(frozen=True, slots=True)
class Pilot:
    """Inputs of :func:`power`, :func:`sample_size` and :func:`minimal_detectable_effect`.

    Attributes:
        value: Mean, rate or ratio.
        sd: Standard deviation of the metric; None for a proportion.
        baseline: The rate; None for other metrics.
        covariate_r2: Share of variance that the metric's covariates explain.
        design_effect: By how much clusters inflate the variance; 1 without them.
        n: Units with a value.
    """

    value: float
    sd: float | None
    baseline: float | None
    covariate_r2: float
    design_effect: float
    n: int

    def options(self) -> dict[str, Any]:
        """Return them as keyword arguments of the planning functions.

        Examples:
            >>> Pilot(10.0, 4.0, None, 0.25, 1.0, 900).options()
            {'sd': 4.0, 'covariate_r2': 0.25, 'design_effect': 1.0}
        """
        spread = {"sd": self.sd} if self.baseline is None else {"baseline": self.baseline}
        return {**spread, "covariate_r2": self.covariate_r2, "design_effect": self.design_effect}


def _variance(metric: Metric, means: ArmMeans) -> tuple[float, float, float]:
    """Return value, variance of its mean, and the variance that covariates leave."""
    q = len(metric.outcomes)
    value, slope = (ratio_of_first_two if isinstance(metric, Ratio) else mean_of_first)(means.mean[:q])
    (piece, _), *_ = means.pieces
    own = float((slope @ piece[:q, :q] @ slope.T)[0, 0])
    if piece.shape[0] == q:
        return float(value[0]), own, own
    joint = (piece[q:, :q] @ slope.T)[:, 0]
    explained = float(joint @ np.linalg.lstsq(piece[q:, q:], joint, rcond=None)[0])
    return float(value[0]), own, max(own - explained, 0.0)


def pilot(metric: Metric, table: Any, *, cluster: str | None = None) -> Pilot:
    """Measure a metric on units of a past period, for planning.

    Args:
        metric: :class:`Mean`, :class:`Proportion` or :class:`Ratio`, with its covariates and cap.
        table: One row per unit: pandas, Polars, a DuckDB relation or a narwhals frame.
        cluster: Column of what will be drawn as a whole.

    Returns:
        The inputs: the standard deviation (of a ratio by the delta method), the share of variance
        that covariates explain, and the design effect of the clusters as they are.

    Raises:
        ContractError: When columns are absent or hold what they cannot, or the metric does not vary.
        DesignError: For quantiles, whose variance is no sum.

    References:
        Deng, Xu, Kohavi and Walker (2013), WSDM (covariates); Kish (1965), Survey Sampling, section 5.4.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.comparison import Mean, sample_size
        >>> past = pd.DataFrame({"spend": [5.0, 15.0] * 50, "before": [5.0, 15.0, 15.0, 15.0] * 25})
        >>> found = pilot(Mean("spend", covariates=("before",)), past)
        >>> round(found.sd, 3), round(found.covariate_r2, 3)
        (5.025, 0.333)
        >>> round(sample_size(1.0, **found.options()))
        265
    """
    if isinstance(metric, Quantile):
        raise DesignError(f"{metric.label}: plan for a mean; the variance of a quantile is no sum")
    frame = as_lazy(table, "units").with_columns(nw.lit("all").alias(_ARM))
    single = arm_moments(frame, [metric], arm=_ARM).metrics[metric.label]
    means = arm_means(single, "all", {"": 1.0})
    value, variance, left = _variance(metric, means)
    if not variance > 0:
        raise ContractError(f"{metric.label} does not vary: there is nothing to plan for")
    effect = 1.0
    if cluster is not None:
        grouped = arm_moments(frame, [metric], arm=_ARM, cluster=cluster).metrics[metric.label]
        effect = _variance(metric, arm_means(grouped, "all", {"": 1.0}))[2] / left if left > 0 else 1.0
    sd = float(np.sqrt(variance * means.n))
    plain = isinstance(metric, Proportion)
    return Pilot(value, None if plain else sd, value if plain else None, 1 - left / variance, effect, means.n)
