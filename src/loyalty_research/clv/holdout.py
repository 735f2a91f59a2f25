"""Does the model hold on days it has not seen? Tracking, frequency bins, accuracy by customer."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.clv._frames import columns, histories_of, refuse_rows
from loyalty_research.errors import ArgumentError, ContractError, at_rows
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.summaries import daily

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
    "Tracking",
    "frequency_bins",
    "holdout_accuracy",
    "last_period",
    "tracking",
]

_DAYS = {"D": 1.0, "W": 7.0}


def _quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))


def _mean_estimate(values: Array, level: float, unit: str | None = None) -> Estimate:
    """Return a mean with its t interval."""
    from scipy.special import stdtrit

    n, mean = len(values), float(values.mean())
    if n < 2:
        return Estimate(mean, math.nan, math.nan, level, "t", n, unit=unit)
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * float(values.std(ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - reach, mean + reach, level, "t", n, unit=unit)


def _relative_bias(expected: Array, actual: Array, level: float) -> Estimate:
    """Return sum(expected)/sum(actual) - 1 with the delta-method interval of a ratio."""
    n, total = len(actual), float(actual.sum())
    if total <= 0 or n < 2:
        return Estimate(math.nan, math.nan, math.nan, level, "ratio, delta method", n, unit="fraction")
    ratio = float(expected.sum()) / total
    residual = expected - ratio * actual
    error = float(residual.std(ddof=1)) * math.sqrt(n) / total
    reach = _quantile(level) * error
    return Estimate(
        ratio - 1, ratio - 1 - reach, ratio - 1 + reach, level, "ratio, delta method", n, unit="fraction"
    )


def _ordinal(value: dt.date | str, name: str) -> int:
    stamp = pd.to_datetime(value, errors="coerce")
    if pd.isna(stamp):
        raise ArgumentError(f"{name} must be a date such as '2024-06-30'; got {value!r}")
    return int(stamp.toordinal())


@dataclass(frozen=True)
class _Calendar:
    """Purchase days of the customers born by the end of calibration.

    Attributes:
        birth: Day of first purchase by customer, shape (n,).
        customer: Customer of each repeat purchase day, shape (m,).
        day: That day, shape (m,).
        ids: Customer ids, sorted, shape (n,).
        split: Last day of calibration.
        end: Last day observed.
        late: Customers left out because their first purchase is after the split.
    """

    birth: Array
    customer: Array
    day: Array
    ids: pd.Index[Any]
    split: int
    end: int
    late: int


def _calendar(
    transactions: Any, calibration_end: dt.date | str, observation_end: dt.date | str | None
) -> _Calendar:
    days = daily(transactions)
    stamps = days["transacted_date"].to_numpy().astype("datetime64[D]")
    ordinal = stamps.astype(np.int64) + dt.date(1970, 1, 1).toordinal()
    split = _ordinal(calibration_end, "calibration_end")
    end = int(ordinal.max()) if observation_end is None else _ordinal(observation_end, "observation_end")
    if split >= end:
        raise ArgumentError(
            f"the holdout must come after calibration: calibration ends {dt.date.fromordinal(split)} and the "
            f"last day observed is {dt.date.fromordinal(end)}; choose an earlier calibration_end"
        )
    codes, ids = pd.factorize(days["customer_id"], sort=True)
    birth = np.full(len(ids), np.iinfo(np.int64).max)
    np.minimum.at(birth, codes, ordinal)
    born = birth <= split
    if not born.any():
        raise ArgumentError(
            f"nobody bought by calibration_end {dt.date.fromordinal(split)}; the first day of transactions is "
            f"{dt.date.fromordinal(int(ordinal.min()))}"
        )
    repeat = born[codes] & (ordinal > birth[codes]) & (ordinal <= end)
    position = np.cumsum(born) - 1
    return _Calendar(
        birth=birth[born],
        customer=position[codes[repeat]],
        day=ordinal[repeat],
        ids=pd.Index(ids[born], name="customer_id"),
        split=split,
        end=end,
        late=int((~born).sum()),
    )


def _model_days(model: TransactionModel) -> float:
    unit = model.require_fitted().unit_
    if unit not in _DAYS:
        raise ArgumentError(
            f"dates need the model's time unit: fit with unit='W' or unit='D'; it is {unit!r}"
        )
    return _DAYS[unit]


@dataclass(frozen=True, repr=False, eq=False)
class Tracking(Result):
    """Repeat purchases per period, actual against what the model expects of new customers.

    Attributes:
        periods: One row per period: ``end`` (its last day), ``actual``, ``expected``,
            ``actual_cumulative``, ``expected_cumulative``, ``is_holdout``.
        calibration_end: Last day of calibration.
        actual: Repeat purchase days in the holdout.
        expected: What the model expected.
        bias: expected/actual - 1 in the holdout.
        calibration_bias: The same in the calibration period.
        carried_forward: Holdout purchases if the last stretch of calibration of the same length
            repeated itself.
        period_days: Length of a period in days.
    """

    title: ClassVar[str] = "Repeat purchases in the holdout"

    periods: pd.DataFrame
    calibration_end: dt.date
    actual: int
    expected: float
    bias: Estimate
    calibration_bias: Estimate
    carried_forward: int
    period_days: int

    def _rows(self) -> Iterable[Row]:
        n, level = self.bias.n, self.bias.level
        for name, value in (
            ("actual holdout purchases", self.actual),
            ("expected holdout purchases", self.expected),
            ("last period carried forward", self.carried_forward),
        ):
            yield Row(name, Estimate(float(value), math.nan, math.nan, level, "count", n))
        yield Row("relative bias, holdout", self.bias)
        yield Row("relative bias, calibration", self.calibration_bias)

    def _verdict(self) -> str:
        if math.isnan(self.bias.value):
            return message("Nobody bought again in the holdout, so the model cannot be tracked there.")
        word = message("more") if self.bias.value >= 0 else message("fewer")
        naive = self.carried_forward / self.actual - 1
        return message(
            "In the holdout the model expected {expected} repeat purchases and {actual} happened: {gap} {word} "
            "({interval}). Carrying the last stretch of calibration forward would have been off by {naive}.",
            expected=number(self.expected, digits=0),
            actual=f"{self.actual:,}",
            gap=percent(abs(self.bias.value)),
            word=word,
            interval=self.bias.interval(signed=True),
            naive=percent(naive, signed=True),
        )

    def plot(self, ax: Axes | None = None, *, cumulative: bool = True) -> Axes:
        """Draw actual and expected purchases with the start of the holdout marked."""
        from loyalty_research.plots.clv import tracking as draw

        return draw(self.periods, ax=ax, calibration_end=self.calibration_end, cumulative=cumulative)


def tracking(
    model: TransactionModel,
    transactions: Any,
    *,
    calibration_end: dt.date | str,
    observation_end: dt.date | str | None = None,
    period_days: int = 7,
    level: float = 0.95,
) -> Tracking:
    """Compare purchases over time with what the model expects, before and after calibration.

    The model is asked what customers born on their dates would do on average, knowing nothing
    else of them: E[X(t)] summed over first-purchase dates. Periods are counted back and forth
    from the end of calibration, so that none straddles it.

    Args:
        model: Fitted on purchases until ``calibration_end``.
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``, or what
            ``summaries.daily`` returned.
        calibration_end: Last day of calibration, that day included.
        observation_end: Last day observed; by default the last day in the table.
        period_days: Length of a period.
        level: Coverage the intervals aim at.

    Returns:
        Purchases per period and in the holdout. Customers first seen after ``calibration_end``
        are left out and counted in the checks.

    Raises:
        ArgumentError: When the holdout would overlap calibration, or the model has no time unit.
        ContractError: When the transactions break the contract.

    References:
        Fader, Hardie and Lee (2005), Marketing Science 24(2), figures 3 and 4.
    """
    check_level(level)
    if not (isinstance(period_days, int) and period_days > 0):
        raise ArgumentError(f"period_days must be a whole number above 0; got {period_days!r}")
    scale = _model_days(model)
    seen = _calendar(transactions, calibration_end, observation_end)
    back = -((seen.split - int(seen.birth.min())) // -period_days)
    ends = seen.split + period_days * np.arange(-back, (seen.end - seen.split) // period_days + 1)
    counted = np.searchsorted(np.sort(seen.day), ends, side="right")
    cumulative = _cohort_expectation(model, seen.birth, ends, scale)
    periods = pd.DataFrame(
        {
            "end": (ends[1:] - dt.date(1970, 1, 1).toordinal())
            .astype("datetime64[D]")
            .astype("datetime64[s]"),
            "actual": np.diff(counted),
            "expected": np.diff(cumulative),
            "actual_cumulative": counted[1:],
            "expected_cumulative": cumulative[1:],
            "is_holdout": ends[1:] > seen.split,
        }
    )
    n = len(seen.birth)
    before = _expected_between(model, seen.birth, seen.birth.min(), seen.split, scale)
    after = _expected_between(model, seen.birth, seen.split, seen.end, scale)
    early = np.bincount(seen.customer[seen.day <= seen.split], minlength=n)
    late = np.bincount(seen.customer[seen.day > seen.split], minlength=n)
    left_out = Check(
        message("Customers first seen in the holdout"),
        "passed",
        message("{count} left out: the model is about customers known at the split", count=f"{seen.late:,}"),
    )
    return Tracking(
        periods,
        calibration_end=dt.date.fromordinal(seen.split),
        actual=int(late.sum()),
        expected=float(after.sum()),
        bias=_relative_bias(after, late, level),
        calibration_bias=_relative_bias(before, early, level),
        carried_forward=int(_last_stretch(seen).sum()),
        period_days=period_days,
        checks=(left_out,),
    )


def _cohort_expectation(model: TransactionModel, birth: Array, ends: Array, scale: float) -> Array:
    """Return the expected cumulative repeat purchases of all customers by each day in ``ends``."""
    born, count = np.unique(birth, return_counts=True)
    ages = np.maximum(ends[:, None] - born[None, :], 0)
    distinct, where = np.unique(ages, return_inverse=True)
    expected = np.asarray(model.expected_purchases(distinct / scale))[where].reshape(ages.shape)
    return np.asarray(expected @ count, dtype=float)


def _expected_between(model: TransactionModel, birth: Array, start: int, end: int, scale: float) -> Array:
    """Return each customer's unconditional expected repeat purchases in (start, end]."""
    born, where = np.unique(birth, return_inverse=True)
    until = np.asarray(model.expected_purchases((end - born) / scale))
    by_start = np.asarray(model.expected_purchases(np.maximum(start - born, 0) / scale))
    return np.asarray((until - by_start)[where], dtype=float)


def _last_stretch(seen: _Calendar) -> Array:
    """Return each customer's repeat purchase days in the last days of calibration."""
    length = seen.end - seen.split
    recent = (seen.day <= seen.split) & (seen.day > seen.split - length)
    return np.bincount(seen.customer[recent], minlength=len(seen.birth))


def last_period(
    transactions: Any,
    *,
    calibration_end: dt.date | str,
    observation_end: dt.date | str | None = None,
) -> pd.Series[float]:
    """Forecast the holdout by repeating the last stretch of calibration of the same length.

    The simplest forecast anybody could make, and therefore the one a model must beat.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``, or what
            ``summaries.daily`` returned.
        calibration_end: Last day of calibration, that day included.
        observation_end: Last day observed; by default the last day in the table.

    Returns:
        Repeat purchase days of each customer in the stretch, indexed by ``customer_id``.

    Raises:
        ArgumentError: When the holdout would overlap calibration.
        ContractError: When the transactions break the contract.

    Examples:
        >>> import pandas as pd
        >>> lines = pd.DataFrame({
        ...     "customer_id": ["a", "a", "a", "b"],
        ...     "transacted_date": pd.to_datetime(["2024-01-01", "2024-01-28", "2024-02-20", "2024-01-03"]),
        ...     "amount": [10.0, 30.0, 50.0, 8.0],
        ... })
        >>> last_period(lines, calibration_end="2024-01-31", observation_end="2024-02-10").to_dict()
        {'a': 1.0, 'b': 0.0}
    """
    seen = _calendar(transactions, calibration_end, observation_end)
    return pd.Series(_last_stretch(seen).astype(float), index=seen.ids, name="last_period")


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

    References:
        Fader, Hardie and Lee (2005), Marketing Science 24(2), figure 2.
    """
    if not (isinstance(most, int) and most >= 1):
        raise ArgumentError(f"most must be a whole number of at least 1; got {most!r}")
    model.require_fitted()
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


def _benchmark(df: pd.DataFrame, given: pd.Series[float] | None, duration: float) -> tuple[Array, str]:
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
    """
    check_level(level)
    model.require_fitted()
    x, _, _ = histories_of(df, unit=model.unit_)
    actual, durations = columns(df, ("frequency_holdout", "duration_holdout"))
    refuse_rows(
        ~(np.isfinite(actual) & (actual >= 0)),
        column="frequency_holdout",
        rule="missing or negative values",
        mend="make the summary with summaries.purchases(..., calibration_end=)",
    )
    if not (np.isfinite(durations).all() and np.ptp(durations) == 0 and durations[0] > 0):
        raise ArgumentError("duration_holdout must be one positive length, the same for every customer")
    duration = float(durations[0])
    expected = model.conditional_expected_purchases(duration, df).to_numpy()
    naive, name = _benchmark(df, benchmark, duration)
    errors, others = expected - actual, naive - actual
    return HoldoutAccuracy(
        total_actual=float(actual.sum()),
        total_expected=float(expected.sum()),
        bias=_relative_bias(expected, actual, level),
        mean_error=_mean_estimate(errors, level),
        mae=(_mean_estimate(np.abs(errors), level), _mean_estimate(np.abs(others), level)),
        rmse=(float(np.sqrt(np.mean(errors**2))), float(np.sqrt(np.mean(others**2)))),
        gain=_mean_estimate(others**2 - errors**2, level),
        by_frequency=_by_frequency(x, actual, expected, naive, most=most, level=level),
        benchmark=name,
        revenue=None if spend_model is None else _revenue(spend_model, df, expected, actual, level),
    )


def _by_frequency(
    x: Array, actual: Array, expected: Array, naive: Array, *, most: int, level: float
) -> pd.DataFrame:
    rows = []
    for n in range(most + 1):
        chosen = x >= n if n == most else x == n
        if not chosen.any():
            continue
        mean = _mean_estimate(actual[chosen], level)
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
    (each,) = columns(df, ("monetary_value_holdout",))
    earned = np.where(actual > 0, actual * np.nan_to_num(each), 0.0)
    forecast = expected * spend_model.conditional_expected_spend(df).to_numpy()
    return float(earned.sum()), float(forecast.sum()), _relative_bias(forecast, earned, level)
