"""Purchases over time, actual against expected, before and after the end of calibration."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.clv._intervals import relative_bias
from loyalty_research.clv._kinds import require_purchases
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.summaries import daily

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.clv.transactions import TransactionModel

    Array = NDArray[Any]

__all__ = ["Tracking", "last_period", "tracking"]

_DAYS = {"D": 1.0, "W": 7.0}


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
    require_purchases(model)
    unit = model.unit_
    if unit is None or unit not in _DAYS:
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

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from loyalty_research import summaries
        >>> from loyalty_research.clv import BetaGeoNBD, tracking
        >>> rng = np.random.default_rng(1)
        >>> days = pd.to_timedelta(rng.integers(0, 180, 400), unit="D")
        >>> orders = pd.DataFrame({"customer_id": rng.integers(0, 60, 400), "amount": 10.0,
        ...                        "transacted_date": pd.Timestamp("2024-01-01") + days})
        >>> summary = summaries.purchases(orders, unit="W", calibration_end="2024-04-30")
        >>> model = BetaGeoNBD(penalizer=0.1).fit(summary)
        >>> found = tracking(model, orders, calibration_end="2024-04-30")
        >>> found.actual, round(found.expected)
        (144, 115)

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
        bias=relative_bias(after, late, level),
        calibration_bias=relative_bias(before, early, level),
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
