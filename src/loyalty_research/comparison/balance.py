"""How alike two groups are before and after weighting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from loyalty_research.comparison._propensity import covariate_matrix
from loyalty_research.comparison._weights import effective_size
from loyalty_research.errors import ArgumentError, ContractError, listed
from loyalty_research.estimates import Check, Estimate, Result, Row
from loyalty_research.i18n import message, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.comparison._propensity import Covariates

__all__ = ["BalanceResult", "balance", "treatment_indicator"]

_SMALL = 0.1
_CHUNK = 8192


@dataclass(frozen=True, repr=False)
class BalanceResult(Result):
    """Standardised mean differences of covariates between two groups.

    Attributes:
        covariates: Names; levels of a category are ``"column=level"``.
        mean_treated: Unweighted means of the treated, shape (p,).
        mean_control: Unweighted means of the controls, shape (p,).
        before: Standardised difference without weights, shape (p,).
        after: Standardised difference with weights, shape (p,); equal to ``before`` without them.
        variance_ratio: Variance of treated over controls with weights, shape (p,); NaN where a
            group does not vary.
        units: Units in the treated group and among the controls.
        effective: Effective sample sizes of both under the weights.
        share_trimmed: Share of units with weight zero.
    """

    title: ClassVar[str] = "Balance of covariates"

    covariates: tuple[str, ...]
    mean_treated: NDArray[np.float64]
    mean_control: NDArray[np.float64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    variance_ratio: NDArray[np.float64]
    units: tuple[int, int]
    effective: tuple[float, float]
    share_trimmed: float

    def _rows(self) -> Iterator[Row]:
        n = sum(self.units)
        for j, name in enumerate(self.covariates):
            estimate = Estimate(
                float(self.after[j]), math.nan, math.nan, math.nan, "standardised mean difference", n
            )
            extra = {
                "before": float(self.before[j]),
                "mean_treated": float(self.mean_treated[j]),
                "mean_control": float(self.mean_control[j]),
                "variance_ratio": float(self.variance_ratio[j]),
            }
            yield Row(name, estimate, estimand="SMD after weighting", extra=extra)

    def _verdict(self) -> str:
        worst = int(np.argmax(np.abs(self.after)))
        sized = number(float(np.abs(self.after[worst])), digits=2)
        was = number(float(np.max(np.abs(self.before))), digits=2)
        if abs(self.after[worst]) <= _SMALL:
            return message(
                "The groups are alike in what was measured: the largest standardised difference is {size} "
                "({name}), from {was} before weighting.",
                size=sized,
                name=self.covariates[worst],
                was=was,
            )
        return message(
            "The groups still differ in what was measured: {name} by {size} standard deviations, where 0.1 is small.",
            name=self.covariates[worst],
            size=sized,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the love plot: differences before and after, one line a covariate."""
        from loyalty_research.plots.comparison import love

        return love(self.covariates, self.before, self.after, small=_SMALL, ax=ax)


def need_pandas(frame: object) -> None:
    """Refuse what is no pandas frame.

    Raises:
        ContractError: Naming what came instead.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise ContractError(
            f"units must be a pandas frame, such as .to_pandas() of another; got {type(frame).__name__}"
        )


def treatment_indicator(
    frame: pd.DataFrame, treatment: str, control: object, *, table: str = "units"
) -> NDArray[np.float64]:
    """Return 0 for the control label and 1 for the other; refuse more groups than two.

    Raises:
        ContractError: When the column is absent, has missing values, lacks the control or does not
            hold exactly two groups.
    """
    from loyalty_research.summaries import group_label

    need_pandas(frame)
    if treatment not in frame.columns:
        raise ContractError(f"{table} has no column {treatment!r}")
    missing = int(frame[treatment].isna().sum())
    if missing:
        raise ContractError(f"{table}.{treatment} is missing in {missing:,} rows: every unit needs a group")
    codes, values = frame[treatment].factorize()
    labels = [group_label(value) for value in values]
    groups = sorted(set(labels))
    # booleans are 0 and 1 to whoever writes control=0
    of_booleans = frame[treatment].dtype == bool and control in (0, 1)
    wanted = group_label(bool(control) if of_booleans else control)
    if wanted not in groups or len(groups) != 2:
        raise ContractError(
            f"{table}.{treatment} must hold the control {wanted!r} and one other group; it holds {listed(groups)}"
        )
    indicator: NDArray[np.float64] = np.array([label != wanted for label in labels], dtype=np.float64)[codes]
    return indicator


def balance(
    df: pd.DataFrame,
    *,
    treatment: str,
    covariates: Sequence[str],
    control: object = 0,
    weights: ArrayLike | None = None,
) -> BalanceResult:
    """Compare covariates between treated and controls before and after weighting.

    The divisor of a standardised difference is the same before and after: the root of the mean
    of both groups' unweighted variances.

    Args:
        df: One row per unit.
        treatment: Column with two groups.
        covariates: Columns to compare, numbers or categories.
        control: Label of the control group.
        weights: One weight per row, not negative; every unit counts the same when None.

    Returns:
        The balance, with effective sample sizes and the share of units trimmed to weight zero.

    Raises:
        ArgumentError: When weights do not fit the rows.
        ContractError: When a column is absent or holds missing values.

    References:
        Austin (2009), Statistics in Medicine 28, 3083-3107; Kish (1965).

    Examples:
        >>> import pandas as pd
        >>> df = pd.DataFrame({"t": [0, 0, 1, 1], "x": [0.0, 2.0, 1.0, 3.0]})
        >>> balance(df, treatment="t", covariates=["x"]).before.round(3).tolist()
        [0.707]
        >>> balance(df, treatment="t", covariates=["x"], weights=[1, 3, 3, 1]).after.round(3).tolist()
        [0.0]
    """
    treated = treatment_indicator(df, treatment, control)
    w = np.ones(len(df)) if weights is None else np.asarray(weights, dtype=float)
    if w.shape != (len(df),) or not np.all(np.isfinite(w) & (w >= 0)):
        raise ArgumentError(f"weights must be {len(df):,} finite numbers that are not negative")
    return balance_of(covariate_matrix(df, covariates), treated, w)


def _moments(
    x: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means and variances of the columns under each row of shares, shape (rows, p)."""
    means, squares = shares @ x, np.zeros((len(shares), x.shape[1]))
    for start in range(0, len(x), _CHUNK):
        squares += shares[:, start : start + _CHUNK] @ x[start : start + _CHUNK] ** 2
    variances = squares - means**2
    # columns are standardised, so what rounding leaves of a constant is far below this
    return means, np.where(variances > 1e-12, variances, 0.0)


def balance_of(
    design: Covariates, treated: NDArray[np.float64], weights: NDArray[np.float64]
) -> BalanceResult:
    """Compute balance on a design matrix; see :func:`balance`."""
    groups = [treated == 1, treated == 0]
    if any(weights[g].sum() <= 0 for g in groups):
        raise ArgumentError("one group has no weight at all")
    sizes = [int(g.sum()) for g in groups]
    shares = np.vstack([*groups, *(g * weights for g in groups)]).astype(float)
    shares /= shares.sum(axis=1, keepdims=True)
    means, variances = _moments(design.matrix[:, 1:], shares)
    raw = means[:2]
    # below two units a group has no spread of its own
    spread = [v * n / (n - 1) if n > 1 else 0.0 * v for v, n in zip(variances[:2], sizes, strict=True)]
    divisor = np.sqrt((spread[0] + spread[1]) / 2)
    divisor = np.where(divisor > 0, divisor, np.nan)
    means, variances = means[2:], variances[2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((variances[0] > 0) & (variances[1] > 0), variances[0] / variances[1], np.nan)
    before = np.nan_to_num((raw[0] - raw[1]) / divisor)
    after = np.nan_to_num((means[0] - means[1]) / divisor)
    worst = float(np.max(np.abs(after)))
    check = Check(
        name=message("balance of what was measured"),
        status="passed" if worst <= _SMALL else "warning",
        detail=message(
            "largest standardised difference {after} after weighting, {before} before",
            after=number(worst, digits=2),
            before=number(float(np.max(np.abs(before))), digits=2),
        ),
    )
    return BalanceResult(
        covariates=design.names,
        mean_treated=raw[0] * design.scale + design.centre,
        mean_control=raw[1] * design.scale + design.centre,
        before=before,
        after=after,
        variance_ratio=ratio,
        units=(sizes[0], sizes[1]),
        effective=(effective_size(weights[groups[0]]), effective_size(weights[groups[1]])),
        share_trimmed=float(np.mean(weights == 0)),
        checks=(check,),
    )
