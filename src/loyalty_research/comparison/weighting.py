"""Observational estimators on plain frames: weighting, augmentation, entropy balancing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from loyalty_research.comparison._crossfit import check_learners, cross_fitted
from loyalty_research.comparison._propensity import covariate_matrix, fit_propensity
from loyalty_research.comparison._weights import (
    ESTIMANDS,
    augmented,
    balancing_weights,
    difference_limits,
    entropy_balanced,
    hajek,
)
from loyalty_research.comparison.balance import balance_of, need_pandas, treatment_indicator
from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message
from loyalty_research.stats.line_jump import need_clusters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.comparison._propensity import Covariates
    from loyalty_research.comparison._weights import Potential
    from loyalty_research.comparison.balance import BalanceResult

__all__ = [
    "WeightingResult",
    "augmented_ipw",
    "entropy_balancing",
    "inverse_probability_weighting",
    "overlap_weighting",
]


@dataclass(frozen=True, repr=False)
class WeightingResult(Result):
    """A difference between two groups made comparable in what was measured.

    Attributes:
        outcome: Column compared.
        estimand: ``"ATE"``, ``"ATT"`` or ``"ATO"``.
        estimate: The difference, treated minus control.
        standard_error: Its M-estimated standard error.
        mean_treated: Mean outcome of the target population if treated.
        mean_control: Mean outcome of the target population if not.
        weights: Weight of every row, adding to one in each group; 0 where trimmed.
        propensity: Fitted probability of treatment of every row; empty for entropy balancing.
        balance: Covariates before and after weighting.
    """

    title: ClassVar[str] = "Comparison with weights"

    outcome: str
    estimand: str
    estimate: Estimate
    standard_error: float
    mean_treated: float
    mean_control: float
    weights: NDArray[np.float64]
    propensity: NDArray[np.float64]
    balance: BalanceResult

    def _rows(self) -> Iterator[Row]:
        yield Row(self.outcome, self.estimate, estimand=self.estimand)

    def _verdict(self) -> str:
        return message(
            "Among units alike in what was measured, the data are consistent with a difference in {outcome} "
            "of {difference} ({interval}).",
            outcome=self.outcome,
            difference=self.estimate.format(signed=True),
            interval=self.estimate.interval(signed=True),
        )


@dataclass(frozen=True, slots=True)
class Inputs:
    """Checked arrays of two groups."""

    design: Covariates
    treated: NDArray[np.float64]
    outcome: NDArray[np.float64]
    clusters: NDArray[np.int64] | None
    level: float


def cluster_codes(
    frame: pd.DataFrame, cluster: str | None, treated: NDArray[np.float64], *, table: str = "units"
) -> NDArray[np.int64] | None:
    """Return clusters numbered from 0, or None.

    Raises:
        ContractError: When the column is absent or has missing values.
        DesignError: When there are fewer than two clusters, in all or in a group.
    """
    if cluster is None:
        return None
    if cluster not in frame.columns:
        raise ContractError(f"{table} has no column {cluster!r}")
    missing = np.flatnonzero(frame[cluster].isna().to_numpy())
    if len(missing):
        raise ContractError(f"{table}.{cluster} is missing in {at_rows(missing.tolist())}")
    codes = frame[cluster].factorize()[0].astype(np.int64)
    if codes.max(initial=0) < 1:
        raise DesignError(
            f"{table}.{cluster} has one cluster: at least 2 are needed to see how clusters vary"
        )
    groups = {"the treated": treated == 1, "the controls": treated == 0}
    need_clusters(codes, groups, f"{table}.{cluster}")
    return codes


def checked_inputs(
    df: pd.DataFrame,
    outcome: str,
    treatment: str,
    covariates: Sequence[str],
    control: object,
    cluster: str | None,
    level: float,
) -> Inputs:
    """Check the columns of a comparison and return them as arrays."""
    check_level(level)
    need_pandas(df)
    if outcome not in df.columns:
        raise ContractError(f"units has no column {outcome!r}")
    if df[outcome].dtype.kind not in "biuf":
        raise ContractError(f"units.{outcome} holds {df[outcome].dtype}, not numbers")
    values = df[outcome].to_numpy(dtype=float)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ContractError(
            f"units.{outcome} is missing or infinite in {at_rows(bad.tolist())}: leave them out first"
        )
    if len(values) and values.min() == values.max():
        raise ContractError(f"units.{outcome} does not vary: there is nothing to compare")
    both = sorted({outcome, treatment} & set(covariates))
    if both:
        raise ArgumentError(f"{', '.join(both)} cannot be a covariate: it is the outcome or the treatment")
    treated = treatment_indicator(df, treatment, control)
    return Inputs(
        design=covariate_matrix(df, covariates),
        treated=treated,
        outcome=values,
        clusters=cluster_codes(df, cluster, treated),
        level=level,
    )


def _result(
    given: Inputs,
    outcome: str,
    estimand: str,
    method: str,
    potential: Potential,
    weights: NDArray[np.float64],
    propensity: NDArray[np.float64],
) -> WeightingResult:
    error, low, high, p_value = difference_limits(
        potential.difference, potential.influence, given.clusters, given.level
    )
    spread = balance_of(given.design, given.treated, weights)
    used = int(np.sum(weights > 0))
    return WeightingResult(
        outcome=outcome,
        estimand=estimand,
        estimate=Estimate(potential.difference, low, high, given.level, method, used, p_value=p_value),
        standard_error=error,
        mean_treated=potential.treated,
        mean_control=potential.control,
        weights=weights,
        propensity=propensity,
        balance=spread,
        checks=spread.checks,
    )


def inverse_probability_weighting(
    df: pd.DataFrame,
    *,
    outcome: str,
    treatment: str,
    covariates: Sequence[str],
    control: object = 0,
    estimand: Literal["ATE", "ATT", "ATO"] = "ATE",
    trim: tuple[float, float] | None = None,
    cluster: str | None = None,
    level: float = 0.95,
) -> WeightingResult:
    """Compare weighted means, weights from a logistic propensity model (Hajek form).

    Args:
        df: One row per unit.
        outcome: Numeric column to compare.
        treatment: Column with two groups.
        covariates: Columns measured before, numbers or categories; each enters linearly, so add
            powers and products as columns.
        control: Label of the control group.
        estimand: ``"ATE"`` (everybody), ``"ATT"`` (the treated) or ``"ATO"`` (those who could be in
            either group: overlap weights).
        trim: Lowest and highest propensity kept, such as (0.1, 0.9); the model is not fitted
            again, and the interval takes the trimming as given.
        cluster: Column whose groups are independent of one another.
        level: Coverage aimed at.

    Returns:
        The difference with its M-estimated interval (the propensity model's scores stacked).

    Raises:
        ArgumentError: When an option is out of range.
        ContractError: When a column is absent or holds missing values.
        DesignError: When the covariates separate the groups.

    References:
        Lunceford and Davidian (2004), Statistics in Medicine 23, 2937-2960; Crump et
        al. (2009), Biometrika 96, 187-199 (trimming).

    Examples:
        >>> import numpy as np, pandas as pd
        >>> rng = np.random.default_rng(1)
        >>> x = rng.normal(size=4000)
        >>> t = (rng.random(4000) < 1 / (1 + np.exp(-x))).astype(int)
        >>> df = pd.DataFrame({"x": x, "t": t, "y": 1.0 * t + 2.0 * x + rng.normal(size=4000)})
        >>> fit = inverse_probability_weighting(df, outcome="y", treatment="t", covariates=["x"])
        >>> bool(fit.estimate.low < 1.0 < fit.estimate.high)
        True
    """
    if estimand not in ESTIMANDS:
        raise ArgumentError(f"estimand is one of {', '.join(ESTIMANDS)}; got {estimand!r}")
    if trim is not None and not 0 <= trim[0] < trim[1] <= 1:
        raise ArgumentError(f"trim is two propensities in order, such as (0.1, 0.9); got {trim!r}")
    given = checked_inputs(df, outcome, treatment, covariates, control, cluster, level)
    model = fit_propensity(given.design.matrix, given.treated)
    kept = None
    if trim is not None:
        kept = ((model.probability >= trim[0]) & (model.probability <= trim[1])).astype(float)
    potential = hajek(given.design.matrix, given.treated, given.outcome, model, estimand=estimand, kept=kept)
    weights = balancing_weights(model.probability, given.treated, estimand)
    if kept is not None:
        weights = weights * kept
        for group in (1, 0):
            weights[given.treated == group] /= weights[given.treated == group].sum()
    name = "overlap weights" if estimand == "ATO" else "inverse probability weights"
    return _result(given, outcome, estimand, f"{name}, M-estimated", potential, weights, model.probability)


def overlap_weighting(
    df: pd.DataFrame,
    *,
    outcome: str,
    treatment: str,
    covariates: Sequence[str],
    control: object = 0,
    cluster: str | None = None,
    level: float = 0.95,
) -> WeightingResult:
    """Compare those who could be in either group: overlap weights, 1 - e and e.

    Covariate means balance exactly, and no unit can dominate. The estimand is the ATO, the
    average effect in the overlap population.

    Args:
        df: One row per unit.
        outcome: Numeric column to compare.
        treatment: Column with two groups.
        covariates: Columns measured before.
        control: Label of the control group.
        cluster: Column whose groups are independent of one another.
        level: Coverage aimed at.

    Raises:
        ContractError: When a column is absent or holds missing values.
        DesignError: When the covariates separate the groups.

    References:
        Li, Morgan and Zaslavsky (2018), JASA 113, 390-400, theorem 3 (exact balance).

    Examples:
        >>> import pandas as pd
        >>> df = pd.DataFrame({"t": [0, 0, 0, 1, 1, 1], "x": [0.0, 1, 2, 1, 2, 3], "y": [0.0, 1, 2, 3, 4, 5]})
        >>> fit = overlap_weighting(df, outcome="y", treatment="t", covariates=["x"])
        >>> round(fit.estimate.value, 6), bool(abs(fit.balance.after[0]) < 1e-8)
        (2.0, True)
    """
    return inverse_probability_weighting(
        df,
        outcome=outcome,
        treatment=treatment,
        covariates=covariates,
        control=control,
        estimand="ATO",
        cluster=cluster,
        level=level,
    )


def augmented_ipw(
    df: pd.DataFrame,
    *,
    outcome: str,
    treatment: str,
    covariates: Sequence[str],
    control: object = 0,
    cluster: str | None = None,
    learners: tuple[Any, Any] | None = None,
    folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> WeightingResult:
    """Combine inverse weights with an outcome model per group (AIPW): right when either is.

    Args:
        df: One row per unit.
        outcome: Numeric column to compare.
        treatment: Column with two groups.
        covariates: Columns measured before; they enter the propensity and both linear outcome models.
        control: Label of the control group.
        cluster: Column whose groups are independent of one another.
        learners: A classifier of membership and a regressor of the outcome with the methods of
            scikit-learn's, for shapes that linear models miss; every unit is then predicted by
            models that never saw it (cross-fitting). Logistic and linear models when None.
        folds: Parts for cross-fitting.
        seed: Of the parts.
        level: Coverage aimed at.

    Returns:
        The ATE with its interval: M-estimated (propensity and outcome models stacked), or from the
        cross-fitted scores.

    Raises:
        ArgumentError: When learners lack a method, or folds are fewer than 2.
        ContractError: When a column is absent or holds missing values.
        DesignError: When the covariates separate the groups, or a group is too small for them.

    References:
        Robins, Rotnitzky and Zhao (1994), JASA 89, 846-866; Glynn and Quinn (2010). Chernozhukov et
        al. (2018), The Econometrics Journal 21, C1-C68 (cross-fitting).

    Examples:
        >>> import pandas as pd
        >>> df = pd.DataFrame({"t": [0, 0, 0, 1, 1, 1], "x": [0.0, 1, 2, 1, 2, 3], "y": [0.0, 1, 2, 3, 4, 5]})
        >>> round(augmented_ipw(df, outcome="y", treatment="t", covariates=["x"]).estimate.value, 6)
        2.0
    """
    given = checked_inputs(df, outcome, treatment, covariates, control, cluster, level)
    if learners is not None:
        return _cross_fitted(given, outcome, check_learners(learners), folds, seed)
    model = fit_propensity(given.design.matrix, given.treated)
    potential = augmented(given.design.matrix, given.treated, given.outcome, model)
    weights = balancing_weights(model.probability, given.treated, "ATE")
    method = "augmented inverse probability weights, M-estimated"
    return _result(given, outcome, "ATE", method, potential, weights, model.probability)


def _cross_fitted(
    given: Inputs, outcome: str, learners: tuple[Any, Any], folds: int, seed: int
) -> WeightingResult:
    if not (isinstance(folds, int) and folds >= 2):
        raise ArgumentError(f"folds must be a whole number of at least 2; got {folds!r}")
    potential, chance = cross_fitted(
        given.design.matrix[:, 1:],
        given.treated,
        given.outcome,
        learners=learners,
        folds=folds,
        seed=seed,
        clusters=given.clusters,
    )
    weights = balancing_weights(chance, given.treated, "ATE")
    method = f"augmented inverse probability weights, cross-fitted in {folds} folds"
    return _result(given, outcome, "ATE", method, potential, weights, chance)


def entropy_balancing(
    df: pd.DataFrame,
    *,
    outcome: str,
    treatment: str,
    covariates: Sequence[str],
    control: object = 0,
    estimand: Literal["ATE", "ATT"] = "ATT",
    cluster: str | None = None,
    level: float = 0.95,
) -> WeightingResult:
    """Compare means under weights that balance covariate means exactly and stay near equal.

    Args:
        df: One row per unit.
        outcome: Numeric column to compare.
        treatment: Column with two groups.
        covariates: Columns measured before.
        control: Label of the control group.
        estimand: ``"ATT"`` reweights the controls to the treated, ``"ATE"`` both groups to everybody.
        cluster: Column whose groups are independent of one another.
        level: Coverage aimed at.

    Raises:
        ArgumentError: When the estimand is unknown.
        ContractError: When a column is absent or holds missing values.
        DesignError: When no positive weights reach the target means.

    References:
        Hainmueller (2012), Political Analysis 20, 25-46.

    Examples:
        >>> import pandas as pd
        >>> df = pd.DataFrame({"t": [0, 0, 0, 1, 1], "x": [0.0, 1, 2, 1, 1.5], "y": [0.0, 1, 2, 3, 3.5]})
        >>> round(entropy_balancing(df, outcome="y", treatment="t", covariates=["x"]).estimate.value, 6)
        2.0
    """
    given = checked_inputs(df, outcome, treatment, covariates, control, cluster, level)
    potential, weights = entropy_balanced(
        given.design.matrix, given.treated, given.outcome, estimand=estimand
    )
    return _result(
        given, outcome, estimand, "entropy balancing, M-estimated", potential, weights, np.empty(0)
    )
