"""Fine and Gray's regression: what shifts the share who leave for one cause."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn.cox import CoxPH
from loyalty_research.churn.followup import strata_of
from loyalty_research.churn.intervals import cause_codes, require_events, where
from loyalty_research.churn.words import term_words
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.subdistribution import subdistribution_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.churn.cox import CoxFit
    from loyalty_research.churn.data import ChurnData
    from loyalty_research.stats.survival import Interval

__all__ = ["FineGray", "fine_gray"]


@dataclass(frozen=True, repr=False)
class FineGray(Result):
    """A fitted Fine-Gray model.

    Attributes:
        cause: The cause of interest.
        model: The weighted Cox fit behind it, with its robust errors.
        customers: Customers in the analysis.
        events: How many of them left for the cause.
        shift: By how much later than the customers' clocks the model's clock runs: 1 where
            somebody left on day 0, so that day 0 counts.
    """

    title: ClassVar[str] = "Fine-Gray model"

    cause: Any
    model: CoxFit
    customers: int
    events: int
    shift: int

    @property
    def params_(self) -> pd.Series[float]:
        """Log subdistribution hazard ratio per term."""
        return self.model.params_

    @property
    def standard_errors_(self) -> pd.Series[float]:
        """Robust standard error per term."""
        return self.model.standard_errors_

    @property
    def naive_standard_errors_(self) -> pd.Series[float]:
        """Standard errors that take the weights as known and rows as independent."""
        return self.model.naive_standard_errors_

    @property
    def covariance_(self) -> pd.DataFrame:
        """Robust covariance of the coefficients."""
        return self.model.covariance_

    @property
    def summary(self) -> pd.DataFrame:
        """Coefficients and subdistribution hazard ratios per term, in lifelines' columns."""
        return self.model.summary

    def predict_cumulative_incidence(
        self, df: pd.DataFrame, *, times: ArrayLike, interval: Interval = "log-log"
    ) -> pd.DataFrame:
        """Return the share of customers with given covariates who leave for the cause by given days.

        Args:
            df: One row per customer with the model's covariates (and strata columns).
            times: Days on the customers' clocks.
            interval: Kind of interval, as for :class:`CoxPH`'s survival curves.

        Returns:
            ``row, time, estimate, low, high, reason``; NaN with a reason beyond the data.

        Raises:
            ArgumentError: When a time is negative.
            ContractError: When a covariate is missing, has gaps or unknown levels.
        """
        asked = np.atleast_1d(np.asarray(times, dtype=np.float64))
        if not (asked >= 0).all():
            raise ArgumentError("times must be days from 0 on the customers' clocks")
        stay = self.model.predict_survival(df, times=asked + self.shift, interval=interval)
        known = stay["estimate"].notna()
        last = self.model.state.data.last - self.shift
        return stay.assign(
            time=stay["time"] - self.shift,
            estimate=1 - stay["estimate"],
            low=1 - stay["high"],
            high=1 - stay["low"],
            reason=np.where(known, "", message("beyond the last day observed ({last})", last=f"{last:,g}")),
        )

    def _rows(self) -> Iterable[Row]:
        for term in self.params_.index:
            limits = self.model.limits_.loc[term]
            yield Row(
                message("subdistribution hazard ratio"),
                Estimate(
                    float(np.exp(self.params_[term])),
                    float(np.exp(limits["low"])),
                    float(np.exp(limits["high"])),
                    self.model.state.options.level,
                    message("Fine-Gray, {method}", method=limits["method"]),
                    self.customers,
                    p_value=float(limits["p"]),
                ),
                group=term_words(self.model.state.design, str(term)),
                estimand=message("share leaving for {cause}, other covariates equal", cause=self.cause),
            )

    def _verdict(self) -> str:
        said = []
        for term in self.params_.index:
            ratio, low, high = (
                float(np.exp(v))
                for v in (self.params_[term], *self.model.limits_.loc[term, ["low", "high"]].astype(float))
            )
            words = {
                "term": term_words(self.model.state.design, str(term)),
                "cause": self.cause,
                "ratio": number(ratio, digits=2),
                "level": percent(self.model.state.options.level, digits=0),
                "low": number(low, digits=2),
                "high": number(high, digits=2),
            }
            if low > 1:
                said.append(
                    message(
                        "{term}: a larger share leaves for {cause} (ratio {ratio}; {level} interval {low} to {high}).",
                        **words,
                    )
                )
            elif high < 1:
                said.append(
                    message(
                        "{term}: a smaller share leaves for {cause} (ratio {ratio}; {level} interval {low} to {high}).",
                        **words,
                    )
                )
            else:
                said.append(
                    message(
                        "{term}: no difference in the share who leave for {cause} beyond chance (ratio {ratio}; {level} "
                        "interval {low} to {high}).",
                        **words,
                    )
                )
        return " ".join(said)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the subdistribution hazard ratios with their intervals."""
        from loyalty_research.plots.survival import forest

        frame = pd.DataFrame(
            {
                "term": [term_words(self.model.state.design, str(t)) for t in self.params_.index],
                "estimate": np.exp(self.params_.to_numpy()),
                "low": np.exp(self.model.limits_["low"].to_numpy()),
                "high": np.exp(self.model.limits_["high"].to_numpy()),
            }
        )
        return forest(
            frame,
            ax=ax,
            label=message(
                "Subdistribution hazard ratio: above 1 a larger share leaves for {cause}", cause=self.cause
            ),
        )


def fine_gray(
    data: ChurnData,
    *,
    cause: Any,
    formula: str | None = None,
    covariates: Sequence[str] | None = None,
    strata: str | list[str] | None = None,
    level: float = 0.95,
) -> FineGray:
    """Regress the cumulative incidence of one cause on covariates.

    Who leaves for another cause stays at risk with a falling weight, so that coefficients speak
    of the *share* who leave for the cause by each day. They are no ratios of rates among those
    still there: for drivers of leaving fit ``CoxPH`` to ``data.cause(...)``.

    Args:
        data: Follow-up whose ``event`` tells causes apart, one interval per customer; late entry
            is allowed.
        cause: The cause of interest.
        formula: Right-hand side, such as ``"region + log(first_amount)"``.
        covariates: Columns instead of a formula.
        strata: Columns within which baseline and censoring may differ; by default the data's own
            strata.
        level: Confidence level.

    Returns:
        The fit, with errors clustered by customer (or by the data's clusters), as in R.

    Raises:
        ArgumentError: When the cause is unknown, or neither or both of ``formula`` and
            ``covariates`` are given.
        ContractError: When the data tell no causes apart, a customer has several intervals,
            nobody left for the cause, or a covariate is unfit (see :meth:`CoxPH.fit`).
        ConvergenceError: When the likelihood cannot be maximised.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(pd.DataFrame({
        ...     "duration": [1, 2, 3, 4, 5, 6, 7, 8], "event": [1, 2, 1, 1, 0, 2, 1, 0],
        ...     "x": [0, 1, 1, 0, 1, 0, 0, 1]}))
        >>> fine_gray(data, cause=1, covariates=["x"]).params_.round(4).to_dict()
        {'x': -1.143}

    References:
        Fine, Gray (1999), JASA 94; Geskus (2011), Biometrics 67; R's ``survival::finegray``.
    """
    require_events(data, causes=True)
    code = cause_codes(data, cause)
    if data.n_customers < len(data.stop):
        many = np.bincount(data.customer)[data.customer] > 1
        raise ContractError(
            f"Fine-Gray needs one interval per customer; {where(many)} belong to customers with several: covariates "
            "have no value after a competing event, so fit CoxPH to data.cause(...), or give values of the start"
        )
    layers = _layers(data, strata)
    # who left on day 0 was at risk there: everybody is watched from before it
    shift = int((data.stop == 0).any())
    expanded = _expand(data, code, layers, shift)
    cluster = None if data.cluster is not None else "customer"
    named = () if strata is None else (strata,) if isinstance(strata, str) else tuple(strata)
    model = CoxPH(cluster=cluster, strata=named or None, level=level).fit(
        expanded, formula=formula, covariates=covariates
    )
    return FineGray(
        cause=cause,
        model=model,
        customers=data.n_customers,
        events=int((code == 1).sum()),
        shift=shift,
        checks=model.checks,
    )


def _layers(data: ChurnData, strata: str | list[str] | None) -> NDArray[np.int64]:
    if strata is not None:
        if data.strata is not None:
            raise ArgumentError("the data are stratified already; leave strata out")
        return strata_of(data.covariates, [strata] if isinstance(strata, str) else strata, "covariates")[0]
    return np.zeros(len(data.stop), dtype=np.int64) if data.strata is None else data.strata


def _expand(data: ChurnData, code: NDArray[np.int64], layers: NDArray[np.int64], shift: int) -> ChurnData:
    """Return the weighted counting process as follow-up, stratum by stratum."""
    # without late entry all start at 0; only the ends move
    start, stop = data.start, data.stop + shift
    parts = []
    for layer in range(int(layers.max()) + 1):
        mine = np.flatnonzero(layers == layer)
        if not (code[mine] == 1).any():
            continue
        found = subdistribution_rows(
            start[mine], stop[mine], code[mine], None if data.weights is None else data.weights[mine]
        )
        parts.append((mine[found.row], found))
    row = np.concatenate([r for r, _ in parts])
    weight = np.concatenate([f.weight for _, f in parts])
    kept = data.take(row)
    return replace(
        kept,
        start=_whole(np.concatenate([f.start for _, f in parts])),
        stop=_whole(np.concatenate([f.stop for _, f in parts])),
        event=np.concatenate([f.event for _, f in parts]),
        weights=weight if kept.weights is None else weight * kept.weights,
        causes=None,
        cause_labels=(),
    )


def _whole(values: NDArray[np.float64]) -> NDArray[Any]:
    whole = values.astype(np.int64)
    return whole if np.array_equal(whole, values) else values
