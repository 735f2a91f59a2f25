"""Lifetime value: expected discounted margin per customer, per segment and in total."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.clv import _gamma_gamma
from loyalty_research.clv._core import jacobian
from loyalty_research.clv._discount import YEAR, discounting
from loyalty_research.clv._fitted import log_interval
from loyalty_research.clv._frames import group_rows, histories_of
from loyalty_research.clv._shares import SegmentValue, concentrate
from loyalty_research.errors import ArgumentError, ContractError, at_rows
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.clv._discount import Convention, Discounting
    from loyalty_research.clv._shares import Concentration
    from loyalty_research.clv.holdout import HoldoutAccuracy
    from loyalty_research.clv.spend import GammaGamma
    from loyalty_research.clv.transactions import TransactionModel

    Array = NDArray[Any]

__all__ = ["LifetimeValue", "customer_lifetime_value"]

_DELTA = "delta method, log scale"


@dataclass(frozen=True, repr=False, eq=False)
class LifetimeValue(Result):
    """Expected value of customers over a horizon.

    Intervals cover the uncertainty of the fitted parameters. What customers will happen to do
    adds chance on top, which :meth:`outcome_interval` includes; a change in how they behave is
    in neither.

    Attributes:
        customers: One row per customer on the index of the summary: ``probability_alive``,
            ``expected_transactions`` (discounted), ``expected_spend`` (per purchase),
            ``expected_value``.
        slopes: Derivative of each customer's value in the log parameters of both models,
            shape (n, k).
        covariance: Covariance of those log parameters, shape (k, k).
        horizon: Length of time ahead in ``unit``; None for all the future.
        unit: ``"D"`` or ``"W"``.
        annual_discount_rate: Effective annual rate.
        convention: How purchases are discounted.
        margin: Share of spend that is kept.
        level: Coverage the intervals aim at.
        currency: ISO 4217 code, or None.
        models: The fitted models, transactions and spend.
        summary: The customers valued, as they were given.
    """

    title: ClassVar[str] = "Expected lifetime value"

    customers: pd.DataFrame
    slopes: Array
    covariance: Array
    horizon: float | None
    unit: str
    annual_discount_rate: float
    convention: str
    margin: float
    level: float
    currency: str | None
    models: tuple[TransactionModel, GammaGamma]
    summary: pd.DataFrame

    @property
    def expected_value(self) -> pd.Series[float]:
        """Expected value of each customer."""
        return self.customers["expected_value"]

    @property
    def total(self) -> Estimate:
        """Expected value of all customers together."""
        return self._estimate(np.ones(len(self.customers)))

    @property
    def mean(self) -> Estimate:
        """Expected value per customer."""
        return self._estimate(np.full(len(self.customers), 1 / len(self.customers)))

    @property
    def terms(self) -> str:
        """How the future is weighted, in a sentence."""
        rate = percent(self.annual_discount_rate, digits=1)
        if self.convention == "continuous":
            how = message(
                "Each purchase is discounted at its own time, continuously, at {rate} a year "
                "(ln(1 + {rate}) / {year} per {unit})",
                rate=rate,
                year=number(YEAR[self.unit], digits=2 if self.unit == "D" else 0),
                unit=_unit_name(self.unit),
            )
        else:
            how = message("Each purchase is discounted at the end of its period, at {rate} a year", rate=rate)
        kept = (
            message("all of the spend counts (margin 100%)")
            if self.margin == 1
            else message("{margin} of the spend counts", margin=percent(self.margin))
        )
        return message("{how}; {kept}.", how=how, kept=kept)

    def _estimate(self, weights: Array, n: int | None = None) -> Estimate:
        value = float(weights @ self.expected_value.to_numpy())
        slope = weights @ self.slopes
        error = math.sqrt(max(float(slope @ self.covariance @ slope), 0.0))
        low, high = log_interval(value, error, self.level)
        size = len(self.customers) if n is None else n
        return Estimate(value, low, high, self.level, _DELTA, size, unit=self.currency)

    def _rows(self) -> Iterable[Row]:
        estimand = message("expected discounted value, parameters uncertain")
        yield Row("total value", self.total, estimand=estimand)
        yield Row("value per customer", self.mean, estimand=estimand)

    def _verdict(self) -> str:
        ahead = (
            message("over all the future")
            if self.horizon is None
            else message(
                "over the next {length} {unit}s", length=f"{self.horizon:g}", unit=_unit_name(self.unit)
            )
        )
        return message(
            "The {n} customers are expected to bring {total} {ahead} ({interval}), {mean} each. The interval "
            "covers the fitted parameters, not chance and not a change in behaviour.",
            n=f"{len(self.customers):,}",
            total=self.total.format(),
            ahead=ahead,
            interval=self.total.interval(),
            mean=self.mean.format(),
        )

    def customer_intervals(self) -> pd.DataFrame:
        """Return each customer's expected value with the limits its parameters leave.

        A customer's realised value varies far more than this: it is often 0.

        Returns:
            ``expected_value``, ``low``, ``high`` on the index of the summary.
        """
        from scipy.special import ndtri

        values = self.expected_value.to_numpy()
        errors = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", self.slopes, self.covariance, self.slopes), 0.0))
        reach = float(ndtri((1 + self.level) / 2)) * np.divide(
            errors, values, out=np.zeros_like(values), where=values > 0
        )
        table = {
            "expected_value": values,
            "low": values * np.exp(-reach),
            "high": values * np.exp(np.minimum(reach, 700)),
        }
        return pd.DataFrame(table, index=self.customers.index)

    def by(self, segment: str | ArrayLike | pd.Series[Any]) -> SegmentValue:
        """Split the value by a label of each customer.

        Args:
            segment: A column of the summary, a Series on its index, or one label per row. The
                order of a categorical is kept; other labels are sorted.

        Raises:
            ContractError: When a customer has no label or the lengths differ.
        """
        labels = self._labels(segment)
        rows = []
        for code, name in enumerate(labels.categories):
            chosen = np.asarray(labels.codes == code, dtype=float)
            count = int(chosen.sum())
            if count:
                rows.append((str(name), self._estimate(chosen, count), self._estimate(chosen / count, count)))
        return SegmentValue(tuple(rows), overall=self.total)

    def _labels(self, segment: str | ArrayLike | pd.Series[Any]) -> pd.Categorical:
        index = self.customers.index
        if isinstance(segment, str):
            if segment not in self.summary.columns:
                raise ContractError(
                    f"customer summary: no column {segment!r} to split by; it has "
                    f"{', '.join(map(str, self.summary.columns))}"
                )
            segment = self.summary[segment]
        elif isinstance(segment, pd.Series) and not segment.index.equals(index):
            if segment.index.has_duplicates or index.has_duplicates:
                raise ContractError("segment: its index and the summary's must be unique to be matched")
            segment = segment.reindex(index)
        labels = pd.Categorical(segment)  # type: ignore[arg-type]  # stubs know no ArrayLike
        if len(labels) != len(index):
            raise ContractError(
                f"segment: {len(labels):,} labels for {len(index):,} customers; give one per row"
            )
        missing = np.flatnonzero(labels.codes < 0).tolist()
        if missing:
            raise ContractError(
                f"segment: no label at {at_rows(missing)}; name that group, for example "
                "segment.fillna('unknown')"
            )
        return labels

    def concentration(self, *, top: float = 0.2) -> Concentration:
        """Measure how much of the expected value the most valuable customers hold.

        Expected values differ less than realised ones, since chance is averaged out.

        Args:
            top: Share of customers, the most valuable first.

        Raises:
            ArgumentError: When ``top`` is not strictly between 0 and 1.
        """
        return concentrate(
            self.expected_value.to_numpy(), self.slopes, self.covariance, top=top, level=self.level
        )

    def outcome_interval(self, *, seed: int, draws: int = 1000) -> Estimate:
        """Return the expected total with an interval for what it will turn out to be.

        Each draw takes parameters from both fits, then for each customer whether they are still
        there, their rate, their dropout, their purchases and what these are worth. Purchases of
        one customer share one average discount factor.

        Args:
            seed: Seed of the draws.
            draws: How many.

        Raises:
            ArgumentError: When there is no horizon, or fewer than 100 draws.
        """
        if self.horizon is None:
            raise ArgumentError("outcome_interval needs a horizon: all the future is never observed")
        if draws < 100:
            raise ArgumentError(f"draws must be at least 100 to give an interval; got {draws}")
        totals = _outcomes(self, np.random.default_rng(seed), draws)
        low, high = np.quantile(totals, [(1 - self.level) / 2, (1 + self.level) / 2])
        return Estimate(
            self.total.value,
            float(low),
            float(high),
            self.level,
            "simulated outcomes",
            len(self.customers),
            unit=self.currency,
        )

    def if_missed_again(self, accuracy: HoldoutAccuracy) -> Estimate:
        """Return the total if the model misses revenue as it did in a holdout.

        A model's own interval knows nothing of how wrong the model is. Where the holdout bias is
        larger than that interval, this is the more honest figure.

        Args:
            accuracy: What ``holdout_accuracy(..., spend_model=...)`` returned.

        Returns:
            The total divided by 1 + bias, with the limits that the interval of the bias gives.

        Raises:
            ArgumentError: When ``accuracy`` holds no revenue.
        """
        if accuracy.revenue is None or math.isnan(accuracy.revenue[2].value):
            raise ArgumentError(
                "this accuracy says nothing of revenue: call holdout_accuracy(..., spend_model=...)"
            )
        bias = accuracy.revenue[2]
        total = self.total.value
        return Estimate(
            total / (1 + bias.value),
            total / (1 + bias.high),
            total / (1 + bias.low) if bias.low > -1 else math.inf,
            bias.level,
            "holdout error repeated",
            len(self.customers),
            unit=self.currency,
        )

    def plot_concentration(self, ax: Axes | None = None, *, top: float = 0.2) -> Axes:
        """Draw the Lorenz curve of expected value."""
        return self.concentration(top=top).plot(ax)

    def plot_by(self, segment: str | ArrayLike | pd.Series[Any], ax: Axes | None = None) -> Axes:
        """Draw the mean value of each segment with its interval."""
        return self.by(segment).plot(ax)


def _unit_name(unit: str) -> str:
    return {"W": message("week"), "D": message("day")}[unit]


def _outcomes(result: LifetimeValue, generator: np.random.Generator, draws: int) -> Array:
    """Draw total discounted margins, shape (draws,)."""
    transactions, spend = result.models
    x, recency, T = histories_of(result.summary, unit=transactions.unit_)
    mean = np.where(x > 0, result.summary["monetary_value"].to_numpy(dtype=float), 0.0)
    count = len(transactions.names)
    t = float(result.horizon or 0)
    theta = np.concatenate([transactions.log_params, spend.log_params])
    parameters = np.exp(
        generator.multivariate_normal(theta, result.covariance, size=draws, method="cholesky")
    )
    plain = transactions.conditional_expected_purchases(t, result.summary).to_numpy()
    discount = np.divide(
        result.customers["expected_transactions"].to_numpy(), plain, out=np.zeros_like(plain), where=plain > 0
    )
    totals = np.empty(draws)
    for draw, values in enumerate(parameters):
        bought = transactions.core.simulate(generator, values[:count], x, recency, T, t)
        some = np.flatnonzero(bought)
        p, q, v = values[count:]
        scale = generator.gamma(q + p * x[some]) / (v + (x * mean)[some])
        worth = generator.gamma(p * bought[some]) / scale
        totals[draw] = discount[some] @ worth
    return result.margin * totals


def _value_function(
    transactions: TransactionModel,
    histories: Sequence[Array],
    mean: Array,
    panels: Discounting,
    margin: float,
) -> Any:
    """Return a function from both models' natural parameters to each customer's value."""
    x, recency, T = histories
    count = len(transactions.names)
    first, where = group_rows(x, recency, T)
    rows = x[first], recency[first], T[first]

    def values(parameters: Array) -> Array:
        ahead = transactions.core.conditional(parameters[:count], *rows, panels)[where]
        return margin * ahead * _gamma_gamma.conditional_mean(parameters[count:], x, mean)

    return values


def customer_lifetime_value(
    transactions_model: TransactionModel,
    spend_model: GammaGamma,
    df: pd.DataFrame,
    *,
    horizon: float | None,
    annual_discount_rate: float,
    margin: float = 1.0,
    convention: Convention = "continuous",
    periods_per_year: int = 12,
    level: float = 0.95,
    currency: str | None = None,
) -> LifetimeValue:
    """Value customers by what they are expected to buy from now on.

    Value is margin x expected spend per purchase x discounted expected purchases after T. Both
    expectations are conditional on the customer's own history, and the two models treat spend
    and frequency as independent.

    Args:
        transactions_model: A fitted model of purchases whose unit is known.
        spend_model: A fitted model of spend.
        df: One row per customer: ``frequency``, ``recency``, ``T`` in the model's unit, and
            ``monetary_value``.
        horizon: Length of time ahead in the model's unit, or None for all the future.
        annual_discount_rate: Effective annual rate, a fraction of 0 or more.
        margin: Share of spend that is kept, above 0 and at most 1.
        convention: ``"continuous"`` discounts each purchase at its own time;
            ``"end-of-period"`` at the end of its period.
        periods_per_year: Periods of the second convention, 12 for months.
        level: Coverage the intervals aim at.
        currency: ISO 4217 code of the money, for display.

    Returns:
        Value per customer, in total, by segment, and its concentration. Intervals come from the
        delta method on both fits' log parameters.

    Raises:
        ContractError: When a row cannot be a purchase history or its spend contradicts it.
        ArgumentError: When an option is out of range or the model's unit is not known.
        DesignError: When the fitted spend has no finite mean.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.clv import BetaGeoNBD, GammaGamma
        >>> summary = pd.DataFrame({
        ...     "frequency": [0, 1, 3, 0, 2, 6, 0, 1, 0, 4],
        ...     "recency": [0, 10, 30, 0, 8, 37, 0, 2, 0, 20],
        ...     "T": [38, 38, 35, 30, 38, 38, 25, 30, 20, 33],
        ...     "monetary_value": [0, 20, 35, 0, 28, 40, 0, 22, 0, 31],
        ... })
        >>> value = customer_lifetime_value(
        ...     BetaGeoNBD(penalizer=0.1).fit(summary, unit="W"), GammaGamma(penalizer=0.1).fit(summary),
        ...     summary, horizon=52, annual_discount_rate=0.1, currency="USD")
        >>> value.total
        554.49 USD (95% interval 278.03 USD to 1,106 USD; delta method, log scale; n = 10)

    References:
        Fader, Hardie and Lee (2005), RFM and CLV: Using Iso-Value Curves for Customer Base
        Analysis, Journal of Marketing Research 42(4), equation 1.
    """
    check_level(level)
    if not 0 < margin <= 1:
        raise ArgumentError(f"margin must be a fraction above 0 and at most 1; got {margin!r}")
    transactions_model.require_fitted()
    spend_model.require_fitted()
    panels = discounting(
        annual_discount_rate=annual_discount_rate,
        horizon=horizon,
        convention=convention,
        periods_per_year=periods_per_year,
        unit=transactions_model.unit_,
    )
    histories = histories_of(df, unit=transactions_model.unit_)
    spend = spend_model.conditional_expected_spend(df)
    mean = np.nan_to_num(df["monetary_value"].to_numpy(dtype=float, na_value=np.nan))
    theta = np.concatenate([transactions_model.log_params, spend_model.log_params])
    function = _value_function(transactions_model, histories, mean, panels, margin)
    values = function(np.exp(theta))
    customers = pd.DataFrame(
        {
            "probability_alive": transactions_model.probability_alive(df),
            "expected_transactions": values / (margin * spend.to_numpy()),
            "expected_spend": spend,
            "expected_value": values,
        },
        index=df.index,
    )
    split = len(transactions_model.names)
    covariance = np.zeros((len(theta), len(theta)))
    covariance[:split, :split] = transactions_model.log_covariance
    covariance[split:, split:] = spend_model.log_covariance
    return LifetimeValue(
        customers,
        jacobian(function, theta),
        covariance,
        horizon=horizon,
        unit=str(transactions_model.unit_),
        annual_discount_rate=float(annual_discount_rate),
        convention=convention,
        margin=float(margin),
        level=level,
        currency=currency,
        models=(transactions_model, spend_model),
        summary=df,
        checks=(*transactions_model.checks, *spend_model.checks),
    )
