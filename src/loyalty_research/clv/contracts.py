"""Models of customers under contract: how many renew, for how long, and what that is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from loyalty_research.clv import _contractual
from loyalty_research.clv._core import jacobian
from loyalty_research.clv._discount import check_annual_rate
from loyalty_research.clv._fitted import FittedModel, delta_limits
from loyalty_research.clv._frames import fingerprint
from loyalty_research.clv._renewals import cohort_spells, observed, refuse_short, single_spells
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.clv._contractual import Spells

    Array = NDArray[Any]

__all__ = ["BetaDiscreteWeibull", "ContractModel", "RetentionProjection", "ShiftedBetaGeometric"]

_LOGIT = "delta method, logit scale"


def _logit_interval(value: float, error: float, level: float) -> tuple[float, float]:
    """Return the Wald interval of a share, made on the logit scale."""
    from scipy.special import expit, logit, ndtri

    if not 0 < value < 1:
        return math.nan, math.nan
    reach = float(ndtri((1 + level) / 2)) * error / (value * (1 - value))
    centre = float(logit(value))
    return float(expit(centre - reach)), float(expit(centre + reach))


@dataclass(frozen=True, repr=False, eq=False)
class RetentionProjection(Result):
    """Share of customers still there after each period, and the retention rates behind it.

    Attributes:
        periods: One row per period: period, survival, low, high, retention, retention_low,
            retention_high, actual (NaN where not observed), fitted (whether the period was seen in
            the fit).
        reach: Periods the fit has seen.
        level: Coverage the intervals aim at.
        n: Customers behind the fit.
        name: Name of the model.
    """

    title: ClassVar[str] = "Projected retention"

    periods: pd.DataFrame
    reach: int
    level: float
    n: int
    name: str

    def _rows(self) -> Iterable[Row]:
        for record in self.periods.to_dict("records"):
            group = message("after period {period}", period=int(record["period"]))
            shares = (
                ("survival", "survival", "low", "high"),
                ("retention rate", "retention", "retention_low", "retention_high"),
            )
            for metric, value, low, high in shares:
                estimate = Estimate(
                    record[value], record[low], record[high], self.level, _LOGIT, self.n, unit="fraction"
                )
                yield Row(
                    metric,
                    estimate,
                    group=group,
                    extra={"actual": record["actual"]} if metric == "survival" else {},
                )

    def _verdict(self) -> str:
        last = self.periods.iloc[-1]
        share = Estimate(
            last["survival"], last["low"], last["high"], self.level, _LOGIT, self.n, unit="fraction"
        )
        ahead = int(last["period"]) - self.reach
        if ahead <= 0:
            return message(
                "After {period} periods {share} of the customers are still there ({interval}).",
                period=int(last["period"]),
                share=share.format(),
                interval=share.interval(),
            )
        return message(
            "After {period} periods {share} of the customers are expected to be still there ({interval}); the "
            "last {ahead} of these periods are projected by {model}, beyond anything observed. The interval "
            "covers the fitted parameters, not a change in behaviour.",
            period=int(last["period"]),
            share=share.format(),
            interval=share.interval(),
            ahead=ahead,
            model=self.name,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the projected share with its interval, and the actual one."""
        from loyalty_research.plots.clv_retention import retention

        return retention(self.periods, ax=ax, reach=self.reach, level=self.level)


class ContractModel(FittedModel):
    """Base of the models of customers who renew or leave at the end of a period.

    Args:
        penalizer: Strength of a penalty on the squared log parameters; 0 gives maximum likelihood.

    Attributes:
        reach_: Periods seen in the fit.
        observed_: Per period: period, at_risk, lost, survival (product limit); None for a loaded
            model, since no data are saved.
    """

    reach_: int
    observed_: pd.DataFrame | None

    def fit(self, df: pd.DataFrame, *, weights: str | ArrayLike | None = None) -> Self:
        """Fit to one row per customer.

        Args:
            df: ``periods``, contract periods paid for, whole numbers, the first being 1; and
                ``churned``, 1 for a customer who left at the end of them, 0 for one who has renewed
                after them (``periods`` renewals survived, none lost).
            weights: A column, or one number per row: how many customers a row stands for.

        Returns:
            The fitted model.

        Raises:
            ContractError: When a row is no spell, nobody left, or too few renewals were observed.
            ConvergenceError: When the likelihood has no inner maximum that can be reached.
        """
        spells = single_spells(df, weights)
        return self._fit(spells, float(spells.weight.sum()))

    def fit_cohorts(self, survivors: pd.DataFrame | pd.Series[Any]) -> Self:
        """Fit to how many customers of each cohort are left after each period.

        Cohorts may be of different ages. One that is first seen at a later period, because earlier
        ones were not recorded, counts from there on: its losses are those of customers who had
        survived so far.

        Args:
            survivors: ``period`` (0 at the start of the contract), ``survivors``, and ``cohort``
                where there is more than one; or a series of survivors indexed by period. Shares do as
                well as counts, but standard errors are then those of that many customers.

        Returns:
            The fitted model.

        Raises:
            ContractError: When periods have gaps, survivors increase, nobody left, or too few
                renewals were observed.
            ConvergenceError: When the likelihood has no inner maximum that can be reached.
        """
        return self._fit(*cohort_spells(survivors))

    def _fit(self, spells: Spells, customers: float) -> Self:
        self._forget()
        refuse_short(spells, parameters=len(self.names), model=self.title)
        self.n_customers_ = customers
        self.n_rows_ = len(spells.weight)
        self.fingerprint_ = fingerprint(*spells)
        self.reach_, self.observed_ = int(spells.periods.max()), observed(spells)
        free = len(self.names)
        self._climb(
            _contractual.objective(spells, free),
            _contractual.start(spells, free),
            units=np.ones(free),
            shift=0.0,
        )
        return self

    def survival(self, t: ArrayLike) -> Any:
        """Return S(t), the share of customers still there after t renewals.

        Args:
            t: One whole number of 0 or more, or an array of them.

        Returns:
            A float, or an array of the shape of ``t``.

        Raises:
            ArgumentError: When a number is negative or not whole, or the model is not fitted.
        """
        parameters, times = self._parameters(), _whole(t, "t", least=0)
        out = np.exp(_contractual.log_survival(parameters, times))
        return float(out) if times.ndim == 0 else out

    def retention_rate(self, t: ArrayLike) -> Any:
        """Return S(t)/S(t - 1), the share of customers up for renewal t who renew.

        Args:
            t: One whole number of 1 or more, or an array of them.

        Returns:
            A float, or an array of the shape of ``t``.

        Raises:
            ArgumentError: When a number is below 1 or not whole, or the model is not fitted.
        """
        parameters, times = self._parameters(), _whole(t, "t", least=1)
        out = _retention(parameters, times)
        return float(out) if times.ndim == 0 else out

    def projection(
        self, periods: int, *, actual: pd.Series[float] | None = None, level: float = 0.95
    ) -> RetentionProjection:
        """Return survival and retention rates with intervals, beside what was observed.

        Args:
            periods: How many periods, from 1 on.
            actual: Observed share surviving, indexed by period, also beyond the fit (a holdout); by
                default the product limit of the customers fitted.
            level: Coverage the intervals aim at.

        Raises:
            ArgumentError: When ``periods`` is no whole number of 1 or more.
        """
        check_level(level)
        if not (isinstance(periods, int) and periods >= 1):
            raise ArgumentError(f"periods must be a whole number of 1 or more; got {periods!r}")
        parameters, times = self._parameters(), np.arange(1.0, periods + 1)

        def shares(at: Array) -> Array:
            return np.concatenate([np.exp(_contractual.log_survival(at, times)), _retention(at, times)])

        values, slopes = shares(parameters), jacobian(shares, self.log_params)
        errors = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slopes, self.log_covariance, slopes), 0.0))
        limits = np.array([_logit_interval(v, e, level) for v, e in zip(values, errors, strict=True)])
        frame = pd.DataFrame(
            {
                "period": times.astype(int),
                "survival": values[:periods],
                "low": limits[:periods, 0],
                "high": limits[:periods, 1],
                "retention": values[periods:],
                "retention_low": limits[periods:, 0],
                "retention_high": limits[periods:, 1],
            }
        )
        if actual is None and self.observed_ is not None:
            actual = self.observed_.set_index("period")["survival"]
        seen = pd.Series(dtype=float) if actual is None else _shares(actual)
        frame["actual"] = seen.reindex(frame["period"]).to_numpy(dtype=float)
        frame["fitted"] = frame["period"] <= self.reach_
        return RetentionProjection(
            frame,
            reach=self.reach_,
            level=level,
            n=round(self.n_customers_),
            name=self.title,
            checks=self.checks,
        )

    def plot_projection(self, periods: int, ax: Axes | None = None) -> Axes:
        """Draw the projected share still there, and the observed one."""
        return self.projection(periods).plot(ax)

    def discounted_residual_lifetime(
        self,
        renewals: ArrayLike,
        *,
        annual_discount_rate: float,
        periods_per_year: float = 1.0,
        horizon: int | None = None,
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Return the discounted renewals to come of customers who are about to renew.

        The customer has made ``renewals`` renewals and stands just before the next one, which counts
        in full if it happens; the one after it counts 1/(1 + d), with d the discount rate per
        period. Times the margin of a period this is the residual lifetime value.

        Args:
            renewals: Renewals made so far, one whole number of 0 or more, or an array of them.
            annual_discount_rate: Effective annual rate, a fraction of 0 or more.
            periods_per_year: Contract periods in a year, 12 for monthly contracts.
            horizon: Renewals ahead that count; None for all of them.
            level: Coverage the intervals aim at.

        Returns:
            Columns renewals, expected, low, high; intervals by the delta method on the log scale.

        Raises:
            ArgumentError: When an option is out of range, or nothing is discounted without a horizon.

        References:
            Fader and Hardie (2010), Customer-Base Valuation in a Contractual Setting: The Perils of
            Ignoring Heterogeneity, Marketing Science 29(1), equation 8.
        """
        check_level(level)
        annual = check_annual_rate(annual_discount_rate)
        if not (math.isfinite(periods_per_year) and periods_per_year > 0):
            raise ArgumentError(f"periods_per_year must be a positive number; got {periods_per_year!r}")
        if horizon is not None and not (isinstance(horizon, int) and horizon >= 1):
            raise ArgumentError(f"horizon must be a whole number of renewals of 1 or more; got {horizon!r}")
        if horizon is None and annual == 0:
            raise ArgumentError(
                "all renewals to come without discounting may add up to infinity: give a horizon= or an "
                "annual_discount_rate above 0"
            )
        parameters, made = self._parameters(), np.atleast_1d(_whole(renewals, "renewals", least=0))
        rate = math.expm1(math.log1p(annual) / periods_per_year)

        def ahead(at: Array) -> Array:
            return _contractual.discounted_renewals(at, made, rate, horizon)

        slopes = jacobian(ahead, self.log_params)
        values, low, high = delta_limits(ahead(parameters), slopes, self.log_covariance, level)
        return pd.DataFrame({"renewals": made.astype(int), "expected": values, "low": low, "high": high})

    def _parameters(self) -> Array:
        return self.require_fitted().params_.to_numpy()

    def _sentence(self) -> str:
        last = self.reach_
        return message(
            "Of {n} customers, {share} are still there after the {last} periods observed according to the model; "
            "of those up for renewal {first} renew the first time and {later} the last.",
            n=number(self.n_customers_, digits=0),
            share=percent(self.survival(last)),
            last=last,
            first=percent(self.retention_rate(1)),
            later=percent(self.retention_rate(last)),
        )

    def _extra(self) -> dict[str, Any]:
        return {"reach": self.reach_}

    def _restore(self, extra: dict[str, Any]) -> None:
        self.reach_, self.observed_ = int(extra["reach"]), None


def _retention(parameters: Array, t: Array) -> Array:
    begin, end = (_contractual.log_survival(parameters, at) for at in (t - 1, t))
    return np.asarray(np.exp(end - begin), dtype=float)


def _whole(values: ArrayLike, name: str, *, least: int) -> Array:
    out = np.asarray(values, dtype=float)
    if not (np.isfinite(out).all() and (out >= least).all() and (out == np.rint(out)).all()):
        raise ArgumentError(f"{name} must hold whole numbers of {least} or more")
    return out


def _shares(actual: pd.Series[float]) -> pd.Series[float]:
    values = actual.to_numpy(dtype=float)
    if not (np.isfinite(values) & (values >= 0) & (values <= 1)).all():
        raise ContractError("actual: shares must lie between 0 and 1; divide survivors by the cohort's size")
    if actual.index.has_duplicates:
        raise ContractError("actual: a period appears twice; give one share per period")
    return actual


class ShiftedBetaGeometric(ContractModel):
    """Shifted beta-geometric: each customer leaves at each renewal with a probability of their own.

    That probability never changes for a customer; over customers it is Beta(alpha, beta). Retention
    rates still rise with tenure, because the customers more likely to leave do so first.

    Args:
        penalizer: Strength of a penalty on the squared log parameters; 0 gives maximum likelihood.

    Examples:
        >>> import pandas as pd
        >>> left = pd.Series([1000, 869, 743, 653, 593, 551, 517, 491])
        >>> model = ShiftedBetaGeometric().fit_cohorts(left)
        >>> model.params_.round(3).tolist()
        [0.668, 3.806]
        >>> model.survival([8, 12]).round(3).tolist()
        [0.46, 0.378]
        >>> model.discounted_residual_lifetime(3, annual_discount_rate=0.1).round(2).values.tolist()
        [[3.0, 6.62, 6.16, 7.11]]

    References:
        Fader and Hardie (2007), How to Project Customer Retention, Journal of Interactive Marketing
        21(1), equations 5 to 8.
    """

    title: ClassVar[str] = "Shifted beta-geometric"
    names = ("alpha", "beta")


class BetaDiscreteWeibull(ContractModel):
    """Beta-discrete-Weibull: as the shifted beta-geometric, but a customer's own risk may change.

    A customer survives t renewals with probability (1 - p)^(t^c), p ~ Beta(gamma, delta). c above 1
    means that a customer becomes more likely to leave the longer the contract runs, c below 1 less
    likely; c = 1 is the shifted beta-geometric, against which ``likelihood_ratio_test`` compares.

    Args:
        penalizer: Strength of a penalty on the squared log parameters; 0 gives maximum likelihood.

    Examples:
        >>> import pandas as pd
        >>> left = pd.Series([1000, 869, 743, 653, 593, 551, 517, 491])
        >>> model = BetaDiscreteWeibull().fit_cohorts(left)
        >>> round(float(model.params_["c"]), 2)
        1.72

    References:
        Fader, Hardie, Liu, Davin and Steenburgh (2018), "How to Project Customer Retention" Revisited:
        The Role of Duration Dependence, Journal of Interactive Marketing 43, equations 4 to 7.
    """

    title: ClassVar[str] = "Beta-discrete-Weibull"
    names = ("gamma", "delta", "c")
