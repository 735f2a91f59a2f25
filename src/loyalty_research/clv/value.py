"""Lifetime value: expected discounted margin per customer, per segment and in total."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.clv._core import jacobian
from loyalty_research.clv._discount import PERIODS, discounting
from loyalty_research.clv._fitted import log_interval
from loyalty_research.clv._kinds import require_models
from loyalty_research.clv._outcomes import outcomes
from loyalty_research.clv._replicates import quantiles, replicate
from loyalty_research.clv._shares import concentrate, split_segments
from loyalty_research.clv._worth import worth_of
from loyalty_research.errors import ArgumentError, ContractError, at_rows
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages, number, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Literal

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.clv._discount import Convention
    from loyalty_research.clv._replicates import Replicates
    from loyalty_research.clv._shares import Concentration, SegmentValue
    from loyalty_research.clv._worth import Worth
    from loyalty_research.clv.holdout import HoldoutAccuracy
    from loyalty_research.clv.spend import GammaGamma
    from loyalty_research.clv.transactions import TransactionModel

    Array = NDArray[Any]
    Intervals = Literal["delta", "draws", "bootstrap"]

__all__ = ["LifetimeValue", "customer_lifetime_value"]

_DELTA = "delta method, log scale"
_CHUNK = 4096  # customers whose replicates are held at once


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
        worth: The customers as a function of both models' parameters.
        theta: Log parameters of both models, shape (k,).
        covariance: Their covariance, shape (k, k).
        replicates: Parameters as they might have come out, or None for the delta method.
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
    worth: Worth
    theta: Array
    covariance: Array
    replicates: Replicates | None
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

    @cached_property
    def total(self) -> Estimate:
        """Expected value of all customers together."""
        return self._whole[0]

    @cached_property
    def mean(self) -> Estimate:
        """Expected value per customer."""
        return self._whole[1]

    @cached_property
    def slopes(self) -> Array:
        """Derivative of each customer's value in the log parameters, shape (n, k)."""
        return jacobian(self.worth.customers, self.theta)

    @cached_property
    def _whole(self) -> tuple[Estimate, Estimate]:
        everybody = self.worth.cells(np.zeros(len(self.customers)), 1)
        found = self.estimates(lambda at: self.worth.sums(at, everybody), [len(self.customers)])[0]
        return found, _per_head(found)

    @property
    def terms(self) -> str:
        """How the future is weighted, in a sentence."""
        rate = percent(self.annual_discount_rate, digits=1)
        if self.convention == "continuous":
            how = message(
                "Each purchase is discounted at its own time, continuously, at {rate} a year "
                "(ln(1 + {rate}) / {year} per {unit})",
                rate=rate,
                year=number(PERIODS[self.unit], digits=2 if self.unit == "D" else 0),
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

    def estimates(
        self, function: Callable[[Array], Array], sizes: Iterable[int], *, unit: str | None = None
    ) -> list[Estimate]:
        """Return positive quantities with the interval this value was asked for.

        Args:
            function: Natural parameters of both models to m quantities.
            sizes: Customers behind each of them.
            unit: Unit of the quantities; by default the currency.
        """
        values = function(np.exp(self.theta))
        if self.replicates is None:
            slopes = jacobian(function, self.theta)
            errors = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slopes, self.covariance, slopes), 0.0))
            limits = [log_interval(v, e, self.level) for v, e in zip(values, errors, strict=True)]
            method = _DELTA
        else:
            drawn = np.array([function(parameters) for parameters in self.replicates.parameters])
            limits = [tuple(pair) for pair in quantiles(drawn, self.level).T.tolist()]
            method = self.replicates.method
        unit = self.currency if unit is None else unit
        return [
            Estimate(float(value), *pair, self.level, method, size, unit=unit)
            for value, pair, size in zip(values, limits, sizes, strict=True)
        ]

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
        values = self.expected_value.to_numpy()
        if self.replicates is None:
            low, high = self._delta_limits(values)
        else:
            parts = [slice(at, at + _CHUNK) for at in range(0, len(values), _CHUNK)]
            low, high = np.hstack([self._replicated_limits(self.worth.part(rows)) for rows in parts])
        table = {"expected_value": values, "low": low, "high": high}
        return pd.DataFrame(table, index=self.customers.index)

    def _delta_limits(self, values: Array) -> tuple[Array, Array]:
        from scipy.special import ndtri

        errors = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", self.slopes, self.covariance, self.slopes), 0.0))
        reach = float(ndtri((1 + self.level) / 2)) * np.divide(
            errors, values, out=np.zeros_like(values), where=values > 0
        )
        return values * np.exp(-reach), values * np.exp(np.minimum(reach, 700))

    def _replicated_limits(self, worth: Worth) -> Array:
        found = self.replicates.parameters if self.replicates else np.exp(self.theta)[None, :]
        return quantiles(np.array([worth.customers(parameters) for parameters in found]), self.level)

    def by(
        self, segment: str | ArrayLike | pd.Series[Any], *, minimum: int = 5, stayed: bool = False
    ) -> SegmentValue:
        """Split the value by a label of each customer.

        Segments of fewer than ``minimum`` customers are left out, and so are the smallest others
        where the total would give them away.

        Args:
            segment: A column of the summary, a Series on its index, or one label per row. The
                order of a categorical is kept; other labels are sorted.
            minimum: Customers from which a segment is shown.
            stayed: Value every customer as if surely still there.

        Raises:
            ContractError: When a customer has no label or the lengths differ.
            ArgumentError: When ``minimum`` is below 1.
        """
        labels = self.labels(segment)
        codes, count = np.asarray(labels.codes), len(labels.categories)
        sizes = np.bincount(codes, minlength=count)
        cells = self.worth.cells(codes, count)

        def totals(at: Array) -> Array:
            return self.worth.sums(at, cells, self.worth.ahead(at, stayed=True) if stayed else None)

        found = self.estimates(totals, sizes.tolist())
        rows = [
            (str(name), total, _per_head(total))
            for name, total in zip(labels.categories, found, strict=True)
            if total.n
        ]
        return split_segments(rows, self.total, minimum=minimum)

    def labels(self, segment: str | ArrayLike | pd.Series[Any]) -> pd.Categorical:
        """Return the label of each customer, in the order of the summary.

        Args:
            segment: As :meth:`by` takes it.

        Raises:
            ContractError: When a customer has no label or the lengths differ.
        """
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
            self.expected_value.to_numpy(),
            top=top,
            level=self.level,
            uncertainty=(self.slopes, self.covariance) if self.replicates is None else None,
            replicates=()
            if self.replicates is None
            else (self.worth.customers(at) for at in self.replicates.parameters),
            method="" if self.replicates is None else self.replicates.method,
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
        totals = outcomes(self, np.random.default_rng(seed), draws)
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


def _per_head(total: Estimate) -> Estimate:
    """Turn a total into a mean over its customers."""
    n = max(total.n, 1)
    return replace(total, value=total.value / n, low=total.low / n, high=total.high / n)


def _unit_name(unit: str) -> str:
    return {
        "W": message("week"),
        "D": message("day"),
        "M": message("month"),
        "Q": message("quarter"),
        "Y": message("year"),
    }[unit]


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
    intervals: Intervals = "delta",
    seed: int | None = None,
    replicates: int | None = None,
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
        intervals: ``"delta"``, the delta method on both fits' log parameters; ``"draws"``, quantiles
            over parameters drawn from their asymptotic normal distribution; ``"bootstrap"``,
            quantiles over refits under exponential weights of customers, which asks nothing of
            the likelihood's shape but needs the models to have been fitted on ``df``.
        seed: Of draws and bootstrap.
        replicates: Draws (by default 1,000) or refits (500).

    Returns:
        Value per customer, in total, by segment, and its concentration.

    Raises:
        ContractError: When a row cannot be a purchase history or its spend contradicts it.
        ArgumentError: When an option is out of range, a model is of the wrong kind, its unit is not
            known, or the bootstrap is asked for customers the models were not fitted on.
        ConvergenceError: When too many refits have no maximum.
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
    require_models(transactions_model, spend_model)
    panels = discounting(
        annual_discount_rate=annual_discount_rate,
        horizon=horizon,
        convention=convention,
        periods_per_year=periods_per_year,
        unit=transactions_model.unit_,
    )
    histories = transactions_model.histories(df)
    spend = spend_model.conditional_expected_spend(df)
    mean = np.nan_to_num(df["monetary_value"].to_numpy(dtype=float, na_value=np.nan))
    theta = np.concatenate([transactions_model.log_params, spend_model.log_params])
    split = len(transactions_model.names)
    covariance = np.zeros((len(theta), len(theta)))
    covariance[:split, :split] = transactions_model.log_covariance
    covariance[split:, split:] = spend_model.log_covariance
    found = replicate(
        transactions_model,
        spend_model,
        histories,
        mean,
        covariance,
        intervals=intervals,
        seed=seed,
        replicates=replicates,
    )
    worth = worth_of(transactions_model, histories, mean, panels=panels, margin=margin)
    bought = worth.ahead(np.exp(theta))[worth.where]
    customers = pd.DataFrame(
        {
            "probability_alive": transactions_model.probability_alive(df),
            "expected_transactions": bought,
            "expected_spend": spend,
            "expected_value": margin * bought * spend.to_numpy(),
        },
        index=df.index,
    )
    return LifetimeValue(
        customers,
        worth=worth,
        theta=theta,
        covariance=covariance,
        replicates=found,
        horizon=horizon,
        unit=str(transactions_model.unit_),
        annual_discount_rate=float(annual_discount_rate),
        convention=convention,
        margin=float(margin),
        level=level,
        currency=currency,
        models=(transactions_model, spend_model),
        summary=df,
        checks=(*transactions_model.checks, *spend_model.checks, *_lost(found)),
    )


def _lost(found: Replicates | None) -> tuple[Check, ...]:
    if found is None or not found.lost:
        return ()
    detail = messages(
        "{count} refit of the bootstrap had no maximum and is left out of the intervals",
        "{count} refits of the bootstrap had no maximum and are left out of the intervals",
        found.lost,
    )
    return (Check(message("Bootstrap refits"), "warning", detail),)
