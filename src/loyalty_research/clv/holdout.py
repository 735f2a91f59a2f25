"""Does the model hold on days it has not seen? Frequency bins and accuracy by customer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.clv._frames import columns, count_rows, fingerprint, histories_of, refuse_rows
from loyalty_research.clv._intervals import mean_estimate, relative_bias
from loyalty_research.clv._kinds import require_purchases, require_spend
from loyalty_research.errors import ArgumentError, ContractError, at_rows
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.clv.spend import GammaGamma
    from loyalty_research.clv.transactions import TransactionModel

    Array = NDArray[Any]

__all__ = [
    "FrequencyBins",
    "HoldoutAccuracy",
    "benchmark_of",
    "frequency_bins",
    "holdout_accuracy",
    "holdout_of",
    "revenue_of",
]


@dataclass(frozen=True, repr=False, eq=False)
class FrequencyBins(Result):
    """Customers by number of repeat purchases in calibration, actual against expected.

    Attributes:
        bins: One row per count: ``purchases`` (the last one open-ended, such as ``"7+"``),
            ``actual``, ``expected``.
    """

    title: ClassVar[str] = "Customers by repeat purchases in calibration"

    bins: pd.DataFrame

    def _rows(self) -> Iterable[Row]:
        n = int(self.bins["actual"].sum())
        for record in self.bins.to_dict("records"):
            estimate = Estimate(float(record["expected"]), math.nan, math.nan, 0.95, "model", n)
            yield Row(
                "expected customers", estimate, group=record["purchases"], extra={"actual": record["actual"]}
            )

    @property
    def misplaced(self) -> float:
        """Share of customers that would have to move to another bin for the two to agree."""
        gap = (self.bins["actual"] - self.bins["expected"]).abs().sum()
        return float(gap / (2 * self.bins["actual"].sum()))

    def _verdict(self) -> str:
        first = self.bins.iloc[0]
        return message(
            "The model expects {expected} customers without a repeat purchase and {actual} were seen; over all "
            "counts it misplaces {share} of customers.",
            expected=number(float(first["expected"]), digits=0),
            actual=f"{int(first['actual']):,}",
            share=percent(self.misplaced),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw actual and expected customers side by side."""
        from loyalty_research.plots.clv import frequency_bins as draw

        return draw(self.bins, ax=ax)


def frequency_bins(model: TransactionModel, df: pd.DataFrame, *, most: int = 7) -> FrequencyBins:
    """Compare how many customers made 0, 1, 2, ... repeat purchases with what the model expects.

    Args:
        model: A fitted model.
        df: The summary it was fitted on: frequency, recency, T.
        most: Count from which customers are put together.

    Raises:
        ContractError: When a row cannot be a purchase history.
        ArgumentError: When ``most`` is not a whole number of at least 1.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from loyalty_research import summaries
        >>> from loyalty_research.clv import BetaGeoNBD, frequency_bins
        >>> rng = np.random.default_rng(1)
        >>> days = pd.to_timedelta(rng.integers(0, 180, 400), unit="D")
        >>> orders = pd.DataFrame({"customer_id": rng.integers(0, 60, 400), "amount": 10.0,
        ...                        "transacted_date": pd.Timestamp("2024-01-01") + days})
        >>> summary = summaries.purchases(orders, unit="W", calibration_end="2024-04-30")
        >>> model = BetaGeoNBD(penalizer=0.1).fit(summary)
        >>> frequency_bins(model, summary, most=3).bins.round(1)
          purchases  actual  expected
        0         0       4       5.5
        1         1       8       9.5
        2         2      13      11.0
        3        3+      35      34.0

    References:
        Fader, Hardie and Lee (2005), Marketing Science 24(2), figure 2.
    """
    if not (isinstance(most, int) and most >= 1):
        raise ArgumentError(f"most must be a whole number of at least 1; got {most!r}")
    require_purchases(model)
    x, _, T = histories_of(df, unit=model.unit_)
    lengths, customers = np.unique(T, return_counts=True)
    expected = [
        float(customers @ model.purchase_count_pmf(np.full_like(lengths, n), lengths)) for n in range(most)
    ]
    expected.append(len(x) - sum(expected))
    actual = np.bincount(np.minimum(x, most).astype(np.int64), minlength=most + 1)
    names = [str(n) for n in range(most)] + [f"{most}+"]
    return FrequencyBins(pd.DataFrame({"purchases": names, "actual": actual, "expected": expected}))


@dataclass(frozen=True, repr=False, eq=False)
class HoldoutAccuracy(Result):
    """Each customer's holdout purchases against what was expected of them.

    Attributes:
        total_actual: Holdout purchases.
        total_expected: Expected holdout purchases.
        bias: expected/actual - 1.
        mean_error: Mean of expected - actual per customer.
        mae: Mean absolute error per customer, by forecast: the model, then the benchmark.
        rmse: Root mean squared error, by forecast.
        gain: Mean of benchmark squared error - model squared error; above 0 the model wins.
        by_frequency: One row per calibration count: ``purchases``, ``customers``, ``actual``
            (mean), ``low``, ``high`` (its t interval), ``expected`` (mean), ``benchmark`` (mean).
        benchmark: Name of the benchmark.
        revenue: Actual revenue, expected revenue and relative bias, when a spend model was given.
    """

    title: ClassVar[str] = "Accuracy in the holdout"

    total_actual: float
    total_expected: float
    bias: Estimate
    mean_error: Estimate
    mae: tuple[Estimate, Estimate]
    rmse: tuple[float, float]
    gain: Estimate
    by_frequency: pd.DataFrame
    benchmark: str
    revenue: tuple[float, float, Estimate] | None

    @property
    def beats_benchmark(self) -> bool | None:
        """Whether the model's squared error is surely smaller; None when it cannot be told."""
        if self.gain.low > 0:
            return True
        return False if self.gain.high < 0 else None

    def _rows(self) -> Iterable[Row]:
        n, level = self.bias.n, self.bias.level

        def plain(value: float, method: str) -> Estimate:
            return Estimate(value, math.nan, math.nan, level, method, n)

        yield Row("relative bias", self.bias)
        yield Row("mean error per customer", self.mean_error)
        for name, error, root in zip(("model", self.benchmark), self.mae, self.rmse, strict=True):
            yield Row("mean absolute error", error, group=name)
            yield Row("root mean squared error", plain(root, "sample"), group=name)
        yield Row("squared error saved per customer", self.gain)
        if self.revenue is not None:
            yield Row("relative bias of revenue", self.revenue[2])

    def _verdict(self) -> str:
        if math.isnan(self.bias.value):
            return message("Nobody bought again in the holdout, so accuracy cannot be measured.")
        against = {
            True: message("It beats the benchmark"),
            False: message("It loses to the benchmark"),
            None: message("It cannot be told from the benchmark"),
        }[self.beats_benchmark]
        said = message(
            "Knowing each customer's history, the model expected {expected} holdout purchases and {actual} "
            "happened (bias {bias}). {against} ({name}): typical error {rmse} against {other} purchases per "
            "customer.",
            expected=number(self.total_expected, digits=0),
            actual=number(self.total_actual, digits=0),
            bias=percent(self.bias.value, signed=True),
            against=against,
            name=self.benchmark,
            rmse=number(self.rmse[0], digits=2),
            other=number(self.rmse[1], digits=2),
        )
        if self.revenue is None:
            return said
        return message(
            "{said} Expected revenue was {gap} of what came in.",
            said=said,
            gap=percent(1 + self.revenue[2].value),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw mean holdout purchases by calibration frequency, actual against expected."""
        from loyalty_research.plots.clv import conditional_expectation

        return conditional_expectation(self.by_frequency, ax=ax)


def benchmark_of(df: pd.DataFrame, given: pd.Series[float] | None, duration: float) -> tuple[Array, str]:
    """Return the simple forecast of each customer, and its name.

    Args:
        df: The summary.
        given: Forecasts on its index, or None for the customer's own calibration rate.
        duration: Length of the holdout.

    Raises:
        ContractError: When a customer has no forecast or an index is not unique.
    """
    if given is None:
        x, _, T = histories_of(df)
        rate = np.divide(x, T, out=np.zeros_like(x), where=T > 0)
        return rate * duration, message("own calibration rate carried forward")
    if df.index.has_duplicates or given.index.has_duplicates:
        raise ContractError("benchmark: its index and the summary's must be unique to be matched")
    matched = given.reindex(df.index).to_numpy(dtype=float)
    missing = np.flatnonzero(~np.isfinite(matched)).tolist()
    if missing:
        raise ContractError(f"benchmark: no forecast for {at_rows(missing)} of the summary")
    return matched, message("last period carried forward")


def holdout_of(df: pd.DataFrame) -> tuple[Array, float]:
    """Return holdout purchases of each customer, shape (n,), and the length of the holdout.

    Raises:
        ContractError: When a holdout column is missing or breaks the rules.
        ArgumentError: When holdout durations differ between customers.
    """
    actual, durations = columns(df, ("frequency_holdout", "duration_holdout"))
    refuse_rows(
        ~(np.isfinite(actual) & (actual >= 0)),
        column="frequency_holdout",
        rule="missing or negative values",
        mend="make the summary with summaries.purchases(..., calibration_end=)",
    )
    if not (np.isfinite(durations).all() and np.ptp(durations) == 0 and durations[0] > 0):
        raise ArgumentError("duration_holdout must be one positive length, the same for every customer")
    return actual, float(durations[0])


def revenue_of(
    spend_model: GammaGamma, df: pd.DataFrame, expected: Array, actual: Array
) -> tuple[Array, Array]:
    """Return each customer's expected and actual holdout revenue, each of shape (n,).

    Raises:
        ContractError: When monetary_value_holdout is missing.
    """
    (each,) = columns(df, ("monetary_value_holdout",))
    earned = np.where(actual > 0, actual * np.nan_to_num(each), 0.0)
    return expected * spend_model.conditional_expected_spend(df).to_numpy(), earned


def _same_customers(model: TransactionModel, df: pd.DataFrame) -> Check:
    """Say whether the model was fitted on exactly these calibration histories."""
    parts, counts = count_rows(None, *histories_of(df))
    name = message("Fitted on the calibration days of these customers")
    if fingerprint(*parts, counts) == model.fingerprint_:
        return Check(name, "passed", message("the holdout was not shown to the model"))
    detail = message(
        "the model was fitted on other histories; where those reach into the holdout, it has seen what it is "
        "asked for and looks better than it is"
    )
    return Check(name, "warning", detail)


def holdout_accuracy(
    model: TransactionModel,
    df: pd.DataFrame,
    *,
    benchmark: pd.Series[float] | None = None,
    spend_model: GammaGamma | None = None,
    most: int = 7,
    level: float = 0.95,
) -> HoldoutAccuracy:
    """Measure how close each customer's expected holdout purchases came to the actual ones.

    The benchmark is compared on squared error, which an expected value minimises; absolute error
    is shown as well, though forecasting 0 for everybody often wins there.

    Args:
        model: Fitted on the calibration columns.
        df: What ``summaries.purchases(..., calibration_end=)`` returned: frequency, recency, T,
            frequency_holdout, duration_holdout; for revenue also monetary_value and
            monetary_value_holdout.
        benchmark: Forecast of each customer on the index of ``df``, such as :func:`last_period`;
            by default the customer's own calibration rate goes on.
        spend_model: Fitted on the calibration columns; given, revenue is checked as well.
        most: Calibration count from which customers are put together.
        level: Coverage the intervals aim at.

    Raises:
        ContractError: When holdout columns are missing or a row breaks the rules.
        ArgumentError: When holdout durations differ between customers.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from loyalty_research import summaries
        >>> from loyalty_research.clv import BetaGeoNBD, holdout_accuracy
        >>> rng = np.random.default_rng(1)
        >>> days = pd.to_timedelta(rng.integers(0, 180, 400), unit="D")
        >>> orders = pd.DataFrame({"customer_id": rng.integers(0, 60, 400), "amount": 10.0,
        ...                        "transacted_date": pd.Timestamp("2024-01-01") + days})
        >>> summary = summaries.purchases(orders, unit="W", calibration_end="2024-04-30")
        >>> model = BetaGeoNBD(penalizer=0.1).fit(summary)
        >>> print(holdout_accuracy(model, summary).verdict())
        Knowing each customer's history, the model expected 116 holdout purchases and 144 happened
        (bias −19.3%). It beats the benchmark (own calibration rate carried forward): typical error
        1.37 against 1.83 purchases per customer.
    """
    check_level(level)
    require_purchases(model)
    if spend_model is not None:
        require_spend(spend_model)
    x, _, _ = histories_of(df, unit=model.unit_)
    actual, duration = holdout_of(df)
    expected = model.conditional_expected_purchases(duration, df).to_numpy()
    naive, name = benchmark_of(df, benchmark, duration)
    errors, others = expected - actual, naive - actual
    return HoldoutAccuracy(
        total_actual=float(actual.sum()),
        total_expected=float(expected.sum()),
        bias=relative_bias(expected, actual, level),
        mean_error=mean_estimate(errors, level),
        mae=(mean_estimate(np.abs(errors), level), mean_estimate(np.abs(others), level)),
        rmse=(float(np.sqrt(np.mean(errors**2))), float(np.sqrt(np.mean(others**2)))),
        gain=mean_estimate(others**2 - errors**2, level),
        by_frequency=_by_frequency(x, actual, expected, naive, most=most, level=level),
        benchmark=name,
        revenue=None if spend_model is None else _revenue(spend_model, df, expected, actual, level),
        checks=(_same_customers(model, df),),
    )


def _by_frequency(
    x: Array, actual: Array, expected: Array, naive: Array, *, most: int, level: float
) -> pd.DataFrame:
    rows = []
    for n in range(most + 1):
        chosen = x >= n if n == most else x == n
        if not chosen.any():
            continue
        mean = mean_estimate(actual[chosen], level)
        rows.append(
            {
                "purchases": f"{n}+" if n == most else str(n),
                "customers": int(chosen.sum()),
                "actual": mean.value,
                "low": mean.low,
                "high": mean.high,
                "expected": float(expected[chosen].mean()),
                "benchmark": float(naive[chosen].mean()),
            }
        )
    return pd.DataFrame(rows)


def _revenue(
    spend_model: GammaGamma, df: pd.DataFrame, expected: Array, actual: Array, level: float
) -> tuple[float, float, Estimate]:
    forecast, earned = revenue_of(spend_model, df, expected, actual)
    return float(earned.sum()), float(forecast.sum()), relative_bias(forecast, earned, level)
