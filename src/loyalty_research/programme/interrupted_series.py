"""Sales before and after a day: did their level or their trend change there, and what that does not show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import narwhals as nw
import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.programme._autoregression import restricted_ar1
from loyalty_research.programme._windows import date_of
from loyalty_research.summaries._frames import (
    EPOCH,
    as_lazy,
    as_ordinal,
    collect,
    date_column,
    day_number,
    need,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["InterruptedSeries", "interrupted_time_series", "segmented_design"]

LEAST = {"W": 12, "D": 42}
LAGS = {"W": 4, "D": 14}
METHODS = {"ar1": "ar(1) by reml, satterthwaite t", "newey-west": "newey-west, t"}
STEP = {"W": 7, "D": 1}
YEAR = 365
Period = Literal["W", "D"]
Scale = Literal["log", "linear"]
Errors = Literal["ar1", "newey-west"]


@dataclass(frozen=True, repr=False, eq=False)
class InterruptedSeries(Result):
    """Change of a series at a declared day.

    Attributes:
        level_change: Jump at the launch: a fraction on the log scale, else an amount per period.
        slope_change: Change of the trend, per period.
        average_change: What both come to on average over the periods since.
        control_change: Jump of the control series at the same day; None without one.
        series: ``date`` (first day of the period), ``sales``, ``fitted``, ``without`` (the line from before carried on,
            NaN before the launch).
        launch: First day after the change.
        before: Periods before it.
        after: Periods since.
        period: ``"W"`` or ``"D"``.
    """

    title: ClassVar[str] = "Sales before and after the launch"

    level_change: Estimate
    slope_change: Estimate
    average_change: Estimate
    control_change: Estimate | None
    series: pd.DataFrame
    launch: dt.date
    before: int
    after: int
    period: Period

    def _rows(self) -> Iterable[Row]:
        design = (
            "interrupted time series"
            if self.control_change is None
            else "interrupted time series less control"
        )
        yield Row(message("jump at the launch"), self.level_change, estimand=design)
        yield Row(message("change of the trend per period"), self.slope_change, estimand=design)
        yield Row(message("average change since the launch"), self.average_change, estimand=design)
        if self.control_change is not None:
            yield Row(
                message("jump at the launch"),
                self.control_change,
                group=message("control series"),
                estimand="interrupted time series",
            )

    def _verdict(self) -> str:
        values = {
            "date": self.launch.isoformat(),
            "jump": self.level_change.format(signed=True),
            "interval": self.level_change.interval(signed=True),
            "average": self.average_change.format(signed=True),
            "limits": self.average_change.interval(signed=True),
        }
        moved = any(e.low > 0 or e.high < 0 for e in (self.level_change, self.average_change))
        if moved:
            said = message(
                "On {date} sales jumped by {jump} ({interval}) against the line from before, on average since then by "
                "{average} ({limits}). That is consistent with an effect of what was launched, and as much with "
                "anything else that began then: that nothing was advertised does not prove it.",
                **values,
            )
        else:
            said = message(
                "On {date} no change of sales can be told from chance: a jump of {jump} ({interval}), on average since then "
                "{average} ({limits}).",
                **values,
            )
        doubts = [check.name for check in self.checks if check.status == "warning"]
        if not doubts:
            return said
        return message(
            "{said} Read it with care, since the series does not pass: {doubts}.",
            said=said,
            doubts="; ".join(doubts),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the series, the lines before and after, and the line from before carried on."""
        from loyalty_research.plots.growth import interrupted_series

        label = message("sales per week") if self.period == "W" else message("sales per day")
        return interrupted_series(
            self.series, launch=pd.Timestamp(self.launch), ylabel=label, title=self.title, ax=ax
        )


def interrupted_time_series(
    sales: Any,
    *,
    launch: dt.date | str,
    control: Any = None,
    period: Period = "W",
    scale: Scale = "log",
    errors: Errors = "ar1",
    lags: int | None = None,
    as_of: dt.date | str | None = None,
    currency: str | None = None,
    level: float = 0.95,
) -> InterruptedSeries:
    """Return the change of level and of slope of sales at a declared day, by segmented regression.

    Weeks are counted from the launch, and weeks that are not whole are left out; daily series get an effect for each day
    of the week. A control series, such as another region on the same days, or last year's sales moved forward by 364
    days, is taken off first, so that what moved both, such as a season of the year, goes with it.

    Args:
        sales: ``transacted_date`` or ``transacted_at`` and ``amount``: transactions of all customers, anonymous ones
            too and refunds negative, or one row a day; anything that narwhals reads. A day without rows had no sales.
        launch: First day after the change, declared before looking.
        control: The same of the control series, on the same days.
        period: ``"W"`` or ``"D"``.
        scale: ``"log"`` for changes in percent, which needs sales in every period; ``"linear"`` for amounts.
        errors: ``"ar1"``: each period's error remembers the one before, by restricted maximum likelihood; or
            ``"newey-west"``: any resemblance up to ``lags`` periods, whose limits are too narrow on short series.
        lags: Periods up to which neighbours may resemble each other, for Newey and West's errors; by default 4
            weeks or 14 days.
        as_of: Last day observed; by default the last day of sales.
        currency: ISO 4217 code, for sentences.
        level: Confidence level.

    Returns:
        Changes with t limits that allow for errors that resemble their neighbours.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column is missing, or a date or an amount is.
        DesignError: When there are fewer than 12 weeks, or 42 days, on either side, a period without sales stands on
            the log scale, or the control does not cover the days.

    Examples:
        >>> days = pd.date_range("2024-01-01", periods=280)
        >>> wave = 100 + 3 * np.sin(np.arange(280)) + 20 * (days >= "2024-07-01")
        >>> found = interrupted_time_series(pd.DataFrame({"transacted_date": days, "amount": wave}), launch="2024-07-01")
        >>> round(found.level_change.value, 2), found.before, found.after
        (0.2, 26, 14)

    References:
        Wagner, Soumerai, Zhang and Ross-Degnan (2002), Segmented regression analysis of interrupted time series
        studies, Journal of Clinical Pharmacy and Therapeutics 27, 299-309, equation 1; Turner et al. (2021), BMC
        Medical Research Methodology 21, 181, for errors of short series; Newey and West (1987), Econometrica 55.
    """
    level = check_level(level)
    if period not in STEP or scale not in ("log", "linear") or errors not in METHODS:
        raise ArgumentError(
            f"period is 'W' or 'D', scale 'log' or 'linear', errors 'ar1' or 'newey-west'; got {period!r}, {scale!r} and "
            f"{errors!r}"
        )
    if lags is not None and (isinstance(lags, bool) or lags != int(lags) or lags < 0):
        raise ArgumentError(f"lags must be a whole number of periods, at least 0; got {lags!r}")
    day = as_ordinal(launch, "launch")
    first, daily = _daily(sales, "sales", as_of)
    time, value = _periods(first, daily, day, STEP[period])
    _enough(time, period, day)
    beside = None
    if control is not None:
        beside = _control(control, first, daily.size, day, time, period)
    unit = "fraction" if scale == "log" else currency
    width = LAGS[period] if lags is None else int(lags)
    model = _Model(scale, period, errors, width, unit, level)
    outcome, other_outcome = _outcomes(time, value, beside, scale)
    fit = model.fit(outcome, time)
    made = [model.estimate(fit, weights) for weights in _contrasts(time)]
    other = None
    if other_outcome is not None:
        other = model.estimate(model.fit(other_outcome, time), _contrasts(time)[0])
    return InterruptedSeries(
        made[0],
        slope_change=made[1],
        average_change=made[2],
        control_change=other,
        series=_series(time, value, other_outcome, fit, day, model),
        launch=date_of(day),
        before=int((time < 0).sum()),
        after=int((time >= 0).sum()),
        period=period,
        checks=_checks(time, outcome, fit, other, model),
    )


def segmented_design(time: Ints, *, launch: int, weekdays: bool) -> Array:
    """Return the columns of a segmented regression: one, time, after, time since; and days of the week but one.

    Args:
        time: Periods since the launch, negative before it, shape (n,).
        launch: Period at which the change is looked for.
        weekdays: Whether a period is a day, so that the days of the week differ.

    Examples:
        >>> segmented_design(np.array([-2, -1, 0, 1]), launch=0, weekdays=False)
        array([[ 1., -2.,  0.,  0.],
               [ 1., -1.,  0.,  0.],
               [ 1.,  0.,  1.,  0.],
               [ 1.,  1.,  1.,  1.]])
    """
    after = time >= launch
    columns = [np.ones(time.size), time, after, after * (time - launch)]
    if weekdays:
        columns += [time % 7 == k for k in range(1, 7)]
    return np.stack([np.asarray(c, dtype=float) for c in columns], axis=1)


# --- reading -------------------------------------------------------------------------------------


def _daily(table: Any, name: str, as_of: dt.date | str | None) -> tuple[int, Array]:
    """Return the first day number and the total of each day from there on."""
    lazy = as_lazy(table, name)
    schema = lazy.collect_schema()
    need(list(schema), ["amount"], name)
    if not schema["amount"].is_numeric():
        raise ContractError(
            f"{name}.amount is {schema['amount']}, not a number; convert it first, for example pandas.to_numeric(column)"
        )
    when = date_column(lazy, name, "transacted_date", "transacted_at")
    rows = lazy.select(day=day_number(nw.col(when)), amount=nw.col("amount").cast(nw.Float64))
    sums = collect(
        rows.group_by("day").agg(amount=nw.col("amount").sum(), rows=nw.len(), known=nw.col("amount").count())
    )
    if sums.empty:
        raise ContractError(f"{name} is empty: there is nothing to follow")
    if (
        (sums["day"] < 1).any()
        or not np.isfinite(sums["amount"]).all()
        or (sums["rows"] > sums["known"]).any()
    ):
        frame = collect(rows)
        bad = (frame["day"] < 1) | ~np.isfinite(frame["amount"].astype(float))
        raise ContractError(
            f"{name}.{when} or {name}.amount is missing at {at_rows(np.flatnonzero(bad.to_numpy()).tolist())}; give each "
            "row both or leave it out"
        )
    first = int(sums["day"].min())
    last = int(sums["day"].max()) if as_of is None else as_ordinal(as_of, "as_of")
    kept = sums[sums["day"] <= last]
    if kept.empty:
        raise ArgumentError(f"as_of = {date_of(last)} is before the first day of {name}, {date_of(first)}")
    total = np.zeros(last - first + 1)
    total[kept["day"].to_numpy() - first] = kept["amount"].to_numpy(dtype=float)
    return first, total


def _periods(first: int, daily: Array, launch: int, step: int) -> tuple[Ints, Array]:
    """Return whole periods counted from the launch, and their totals."""
    number_ = np.floor_divide(np.arange(daily.size) + first - launch, step)
    low = int(number_[0])
    total, days = (np.bincount(number_ - low, weights=w) for w in (daily, np.ones(daily.size)))
    whole = days == step
    return (np.arange(total.size) + low)[whole], total[whole]


def _enough(time: Ints, period: Period, launch: int) -> None:
    sides = int((time < 0).sum()), int((time >= 0).sum())
    if min(sides) < LEAST[period]:
        raise DesignError(
            f"sales have {sides[0]} whole periods before {date_of(launch)} and {sides[1]} since; a segmented regression "
            f"needs at least {LEAST[period]} on each side"
        )


def _control(table: Any, first: int, size: int, launch: int, time: Ints, period: Period) -> Array:
    begin, daily = _daily(table, "control", None)
    if begin > first or begin + daily.size < first + size:
        raise DesignError(
            f"control runs from {date_of(begin)} to {date_of(begin + daily.size - 1)}, and sales from {date_of(first)} to "
            f"{date_of(first + size - 1)}; a control series must cover the same days"
        )
    found, value = _periods(first, daily[first - begin :][:size], launch, STEP[period])
    if not np.array_equal(found, time):
        raise DesignError("control and sales do not fall into the same periods")
    return value


# --- the regression ------------------------------------------------------------------------------


def _transformed(value: Array, scale: Scale, name: str) -> Array:
    if scale == "linear":
        return value
    none = np.flatnonzero(value <= 0)
    if none.size:
        raise DesignError(
            f"{name} has {none.size} periods without positive sales, which have no logarithm; take scale='linear', or weeks "
            "instead of days"
        )
    return np.asarray(np.log(value))


def _outcomes(time: Ints, value: Array, beside: Array | None, scale: Scale) -> tuple[Array, Array | None]:
    """Return the series to explain, less the control where there is one, and the control itself."""
    own = _transformed(value, scale, "sales")
    if beside is None:
        return own, None
    other = _transformed(beside, scale, "control")
    if scale == "linear":  # a control of another size moves in proportion
        if not other[time < 0].sum() > 0:
            raise DesignError(
                "control has no sales before the launch, so it cannot be brought to the size of sales"
            )
        other = other * own[time < 0].sum() / other[time < 0].sum()
    return own - other, other


@dataclass(frozen=True)
class _Fit:
    """A fitted series: coefficients, fitted values, what is left, and the error of a contrast."""

    params: Array
    fitted: Array
    rest: Array
    error: Callable[[Array], tuple[float, float]]


@dataclass(frozen=True)
class _Model:
    """How a series is fitted and told."""

    scale: Scale
    period: Period
    errors: Errors
    lags: int
    unit: str | None
    level: float

    def fit(self, outcome: Array, time: Ints, *, launch: int = 0) -> _Fit:
        design = segmented_design(time, launch=launch, weekdays=self.period == "D")
        if self.errors == "newey-west":
            return _newey_west(outcome, design, self.lags)
        found = restricted_ar1(outcome, design)
        if found is None:
            return _newey_west(outcome, design, 0)
        return _Fit(found.params, found.fitted, found.innovations, found.error)

    def estimate(self, fit: _Fit, weights: tuple[float, float]) -> Estimate:
        from scipy.special import stdtr, stdtrit

        contrast = np.zeros(len(fit.params))
        contrast[2:4] = weights
        value = float(contrast @ fit.params)
        error, freedom = fit.error(contrast)
        known = error > 1e-12 * max(abs(value), 1e-12)
        half = float(stdtrit(freedom, 0.5 + self.level / 2)) * error if known else math.nan
        p_value = 2 * float(stdtr(freedom, -abs(value) / error)) if known else None
        ends = (value, value - half, value + half)
        if self.scale == "log":
            ends = (math.expm1(ends[0]), math.expm1(ends[1]), math.expm1(ends[2]))
        return Estimate(*ends, self.level, METHODS[self.errors], fit.fitted.size, self.unit, p_value)


def _newey_west(outcome: Array, design: Array, lags: int) -> _Fit:
    from statsmodels.regression.linear_model import OLS

    found = OLS(outcome, design).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}, use_t=True
    )
    covariance = found.cov_params()

    def error(contrast: Array) -> tuple[float, float]:
        return math.sqrt(max(float(contrast @ covariance @ contrast), 0.0)), float(found.df_resid)

    return _Fit(np.asarray(found.params), np.asarray(found.fittedvalues), np.asarray(found.resid), error)


def _contrasts(time: Ints) -> list[tuple[float, float]]:
    """Weights of jump and slope in: the jump, the slope, and their average over the periods since."""
    return [(1.0, 0.0), (0.0, 1.0), (1.0, float(time[time >= 0].mean()))]


def _series(
    time: Ints, value: Array, other: Array | None, fit: _Fit, launch: int, model: _Model
) -> pd.DataFrame:
    fitted = fit.fitted if other is None else fit.fitted + other
    without = np.where(time >= 0, fitted - fit.params[2] - fit.params[3] * time, math.nan)
    if model.scale == "log":
        fitted, without = np.exp(fitted), np.exp(without)
    days = (time * STEP[model.period] + launch - EPOCH).astype("datetime64[D]")
    return pd.DataFrame(
        {"date": days.astype("datetime64[us]"), "sales": value, "fitted": fitted, "without": without}
    )


# --- checks --------------------------------------------------------------------------------------


def _checks(
    time: Ints, outcome: Array, fit: _Fit, other: Estimate | None, model: _Model
) -> tuple[Check, ...]:
    found = [
        Check(
            message("Nothing else began then"),
            "not measurable",
            message(
                "A series cannot tell the launch from a holiday, a price, a competitor or the weather of the same day. That "
                "there was no advertising is no proof of an effect."
            ),
        ),
        _placebo(time, outcome, model),
    ]
    if model.errors == "ar1":
        found.append(_left_over(fit.rest, LAGS[model.period]))
    if other is None and int((time < 0).sum()) * STEP[model.period] < 2 * YEAR:
        said = message(
            "Fewer than two years before the launch and no control series: a season of the year looks like a change."
        )
        found.append(Check(message("Season of the year"), "not measurable", said))
    if other is not None:
        still = other.low <= 0 <= other.high
        said = message(
            "The control series itself changed by {jump} at the launch ({interval}).",
            jump=other.format(signed=True),
            interval=other.interval(signed=True),
        )
        found.append(Check(message("The control stood still"), "passed" if still else "warning", said))
    return tuple(found)


def _placebo(time: Ints, outcome: Array, model: _Model) -> Check:
    """Look for a jump in the middle of the time before, where none was made."""
    name = message("No jump before the launch")
    early = time < 0
    if early.sum() < 2 * LEAST[model.period]:
        said = message("The time before the launch is too short to look for a jump in it.")
        return Check(name, "not measurable", said)
    middle = int(np.median(time[early]))
    jump = model.estimate(model.fit(outcome[early], time[early], launch=middle), (1.0, 0.0))
    said = message(
        "Half way through the time before, where nothing was launched, the same regression finds {jump} ({interval}).",
        jump=jump.format(signed=True),
        interval=jump.interval(signed=True),
    )
    moved = jump.low > 0 or jump.high < 0
    return Check(name, "warning" if moved else "passed", said, p_value=jump.p_value)


def _left_over(rest: Array, lags: int) -> Check:
    """Ask whether errors resemble each other beyond what one period's memory explains."""
    from scipy.special import chdtrc

    size, n = float(rest @ rest), rest.size
    alike = [float(rest[k:] @ rest[:-k]) / size for k in range(1, lags + 1)] if size > 0 else [0.0]
    statistic = n * (n + 2) * sum(r * r / (n - k) for k, r in enumerate(alike, 1))
    p_value = float(chdtrc(max(lags - 1, 1), statistic))
    said = message(
        "Ljung and Box's test of what is left up to {lags} periods apart: {p}. A small p says that straight lines do not "
        "describe the series, or that its errors remember longer.",
        lags=lags,
        p=message("p < 0.001") if p_value < 0.001 else message("p = {p}", p=number(p_value, digits=3)),
    )
    name = message("Straight lines, and errors that remember one period")
    return Check(name, "warning" if p_value < 0.01 else "passed", said, p_value=p_value)
