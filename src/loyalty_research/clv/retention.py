"""Retention: what keeping more customers would be worth, by the formula and by the fitted model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.clv._discount import YEAR, Discounting
from loyalty_research.clv._frames import group_rows
from loyalty_research.clv._kinds import require_continuous
from loyalty_research.clv._worth import thinned
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.retention import retention_multiplier, retention_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.clv.value import LifetimeValue

    Array = NDArray[Any]

__all__ = ["RetentionSensitivity", "retention_multiplier", "retention_sensitivity", "retention_table"]


@dataclass(frozen=True, repr=False, eq=False)
class RetentionSensitivity(Result):
    """What a rise in retention would be worth: by the fitted model, and by the formula.

    Attributes:
        retention: Share of what today's live customers buy that is still bought a year later.
        points: Rise looked at.
        kept: Share of departures that still happen when retention has risen.
        gain: Gain in expected value of today's customers, a fraction.
        gain_ever: The same over all the future, NaN where nothing is discounted.
        formula: Gain by the formula at the same retention, NaN where it has none.
        horizon: Length of time ahead in ``unit``, or None.
        unit: ``"D"`` or ``"W"``.
        curve: ``points``, ``model`` and ``formula``: gains for smaller and larger rises.
    """

    title: ClassVar[str] = "What a rise in retention would be worth"

    retention: Estimate
    points: float
    kept: float
    gain: Estimate
    gain_ever: float
    formula: float
    horizon: float | None
    unit: str
    curve: pd.DataFrame

    def _rows(self) -> Iterable[Row]:
        yield Row("retention in a year", self.retention, estimand=message("share of purchasing kept"))
        yield Row("gain in value", self.gain, estimand=message("fitted model, departures thinned"))
        plain = Estimate(
            self.formula, math.nan, math.nan, self.gain.level, "formula", self.gain.n, unit="fraction"
        )
        yield Row("gain in value", plain, estimand=message("(1 + d - r)/(1 + d - r - points) - 1"))

    def _verdict(self) -> str:
        word = message("weeks") if self.unit == "W" else message("days")
        said = message(
            "Of what customers still there buy now, {retention} will still be bought in a year. If {points} points "
            "more stayed, today's customers would be worth {gain} more {ahead} ({interval}).",
            retention=self.retention.format(),
            points=number(100 * self.points, digits=0 if round(100 * self.points, 9) % 1 == 0 else 1),
            gain=self.gain.format(),
            ahead=message("over all the future")
            if self.horizon is None
            else message("over the next {length} {unit}", length=f"{self.horizon:g}", unit=word),
            interval=self.gain.interval(),
        )
        if math.isnan(self.formula) or math.isnan(self.gain_ever):
            return said
        return message(
            "{said} Over all the future the model says {ever}; the usual formula, which takes customers to be all "
            "alike, says {formula}.",
            said=said,
            ever=percent(self.gain_ever),
            formula=percent(self.formula),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the gain against the rise in retention, by the model and by the formula."""
        from loyalty_research.plots.clv_programme import retention_gain

        return retention_gain(self.curve, ax=ax, points=self.points)


def retention_sensitivity(value: LifetimeValue, *, points: float = 0.05) -> RetentionSensitivity:
    """Ask the fitted model what keeping more customers would be worth.

    Retention is measured where the money is: of what live customers are expected to spend at the
    moment, the share they are still expected to spend a year later. It is then raised by ``points``
    by preventing the same share of everybody's departures from now on; nobody buys more often, and
    nobody comes back. That somebody can bring this about, and at what cost, is not in the figure.

    Args:
        value: What :func:`customer_lifetime_value` returned.
        points: Rise in retention, as a fraction.

    Raises:
        ArgumentError: When ``points`` is no share, retention would pass 100%, or the model counts
            opportunities.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.clv import BetaGeoNBD, GammaGamma, customer_lifetime_value
        >>> summary = pd.DataFrame({
        ...     "frequency": [0, 1, 3, 0, 2, 6, 0, 1, 0, 4],
        ...     "recency": [0, 10, 30, 0, 8, 37, 0, 2, 0, 20],
        ...     "T": [38, 38, 35, 30, 38, 38, 25, 30, 20, 33],
        ...     "monetary_value": [0, 20, 35, 0, 28, 40, 0, 22, 0, 31],
        ... })
        >>> value = customer_lifetime_value(
        ...     BetaGeoNBD(penalizer=0.1).fit(summary, unit="W"), GammaGamma(penalizer=0.1).fit(summary),
        ...     summary, horizon=52, annual_discount_rate=0.1)
        >>> found = retention_sensitivity(value)
        >>> round(found.retention.value, 2), round(found.gain.value, 3)
        (0.7, 0.04)
    """
    if not 0 < points < 1:
        raise ArgumentError(f"points must be a share between 0 and 1, such as 0.05; got {points!r}")
    require_continuous(value.models[0], "retention_sensitivity")
    question = _Thinning(value)
    at = np.exp(value.theta)
    now = question.retention(at)
    if now + points >= 1:
        raise ArgumentError(
            f"retention is {percent(now)}, so it cannot rise by {points * 100:g} points; take fewer points"
        )
    size = [len(value.customers)]
    odds = value.estimates(lambda p: np.array([1 / (1 / question.retention(p) - 1)]), size)[0]
    gain = value.estimates(lambda p: np.array([question.gain(p, points)]), size, unit="fraction")[0]
    rises = [r for r in points * np.array([0.4, 1, 1.5, 2]) if now + r < 1]
    rate = value.annual_discount_rate
    curve = pd.DataFrame(
        [(0.0, 0.0, 0.0), *((r, question.gain(at, r), _formula(now, rate, r)) for r in rises)],
        columns=["points", "model", "formula"],
    )
    return RetentionSensitivity(
        _share_of(odds),
        points=float(points),
        kept=question.kept(at, points),
        gain=gain,
        gain_ever=question.gain_ever(at, points),
        formula=_formula(now, rate, points),
        horizon=value.horizon,
        unit=value.unit,
        curve=curve,
    )


def _share_of(odds: Estimate) -> Estimate:
    """Turn odds into a share, limits included, so that these stay below 1."""
    value, low, high = (1 / (1 + 1 / v) if v > 0 else math.nan for v in (odds.value, odds.low, odds.high))
    method = odds.method.replace("log scale", "logit scale")
    return Estimate(value, low, high, odds.level, method, odds.n, unit="fraction")


def _formula(retention: float, rate: float, points: float) -> float:
    frame = retention_table(retentions=[retention], annual_discount_rates=[rate], points=points)
    return float(frame.to_numpy()[0, 0])


def _chord(function: Callable[[float], float], start: float, slope: float) -> float | None:
    """Return a root near ``start`` by steps of one slope, None where these do not lead to it."""
    at = start
    for _ in range(8):
        step = function(at) / slope
        at -= step
        if not 0 < at <= 1:
            return None
        if abs(step) < 1e-10:
            return at
    return None


class _Thinning:
    """Value and retention of all customers when a share of departures no longer happens.

    What a live customer buys depends on frequency, T and traits alone, so P(alive) and spend are
    summed over customers who share these, once for each set of parameters.

    Args:
        value: The customers.
    """

    def __init__(self, value: LifetimeValue) -> None:
        self._worth = value.worth
        self._cells = value.worth.cells(np.zeros(len(value.customers)), 1)
        self._year = YEAR[value.unit]
        self._rate = value.annual_discount_rate
        x, _, T, *traits = value.worth.rows
        first, self._where = group_rows(x, T, *traits)
        # where the answer for nearby parameters lies, and the slope there
        self._near: dict[float, tuple[float, float]] = {}
        self._x, self._T, *self._traits = (part[first] for part in (x, T, *traits))

    def _live(self, at: Array) -> Callable[[Discounting], float]:
        """Return a function from panels to what all customers are expected to spend in them."""
        model = self._worth.model
        own = at[: len(model.names)]
        x, recency, T, *traits = self._worth.rows
        alive = model.core.alive(model.row_parameters(own, traits), x, recency, T)
        paid = self._worth.paid(at, self._cells)[0] * alive
        weight = np.bincount(self._where, weights=paid)
        few = model.row_parameters(own, self._traits)
        return lambda panels: float(weight @ model.core.live(few, self._x, self._T, panels))

    def _flow(self, spend: Callable[[Discounting], float], time: float) -> float:
        """Return what all customers are expected to spend per unit of time, ``time`` from now."""
        width = self._year / 1000
        if time > 0:
            return spend(Discounting((0.0, time, time + width), np.array([0.0, 1.0]), 0.0))
        return spend(Discounting((0.0, width), np.ones(1), 0.0))

    def retention(self, at: Array) -> float:
        """Return the share of today's spend that is left in a year."""
        spend = self._live(at)
        return self._flow(spend, self._year) / self._flow(spend, 0.0)

    def kept(self, at: Array, points: float) -> float:
        """Return the share of departures that still happen when retention is ``points`` higher."""
        return self._kept(self._live(at), points)

    def _kept(self, spend: Callable[[Discounting], float], points: float) -> float:
        from scipy.optimize import brentq

        today = self._flow(spend, 0.0)
        goal = min(self._flow(spend, self._year) / today + points, 1 - 1e-6)

        def excess(kept: float) -> float:
            return self._flow(spend, kept * self._year) / today - goal

        near = self._near.get(points)
        if near is not None:
            found = _chord(excess, *near)
            if found is not None:
                return found
        found = float(brentq(excess, 1e-9, 1.0, xtol=1e-10))
        if near is None:
            step = 1e-4 * found
            self._near[points] = (found, (excess(found + step) - excess(found - step)) / (2 * step))
        return found

    def gain(self, at: Array, points: float) -> float:
        """Return the gain in value, a fraction."""
        return self._gain(at, points, self._worth.panels)

    def gain_ever(self, at: Array, points: float) -> float:
        """Return the gain in value over all the future; NaN where nothing is discounted."""
        rate = self._rate
        endless = Discounting((0.0, math.inf), np.ones(1), math.log1p(rate) / self._year)
        return self._gain(at, points, endless) if rate > 0 else math.nan

    def _gain(self, at: Array, points: float, panels: Discounting) -> float:
        spend = self._live(at)
        kept = self._kept(spend, points)
        return spend(thinned(panels, kept)) / kept / spend(panels) - 1
