"""Fitted models as pictures: by recency and frequency, over one customer's history, over customers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.clv._discount import Discounting
from loyalty_research.clv._kinds import require_continuous, require_purchases
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.clv.transactions import TransactionModel

    Array = NDArray[Any]

__all__ = [
    "AliveHistory",
    "ExpectationMatrix",
    "Heterogeneity",
    "alive_history",
    "expectation_matrix",
    "heterogeneity",
]

_DRAWS = 400
_STEPS = 200


def _plain(model: TransactionModel, what: str) -> None:
    """Raise unless the model is one whose customers differ by history alone."""
    require_purchases(model)
    require_continuous(model, what)
    if model.design_ is not None:
        raise ArgumentError(
            f"{what} shows a model without covariates: fit one, since customers' traits differ"
        )


def _time_word(model: TransactionModel) -> str:
    words = {"W": message("weeks"), "D": message("days")}
    return words.get(model.unit_ or "", message("time units"))


@dataclass(frozen=True, repr=False, eq=False)
class ExpectationMatrix(Result):
    """Purchases expected ahead, by number of repeat purchases and time of the last one.

    Attributes:
        grid: Expected purchases; the index is repeat purchases, the columns recency.
        T: Time since the first purchase.
        ahead: Length of time ahead.
        unit: Word for the time unit.
    """

    title: ClassVar[str] = "Expected purchases by recency and frequency"

    grid: pd.DataFrame
    T: float
    ahead: float
    unit: str

    def _rows(self) -> Iterable[Row]:
        values = self.grid.to_numpy(dtype=float)
        for row in (0, -1):
            for column in (0, -1):
                estimate = Estimate(float(values[row, column]), math.nan, math.nan, 0.95, "model", 0)
                group = f"{self.grid.index[row]}, {self.grid.columns[column]:g}"
                yield Row("expected purchases", estimate, group=group)

    def _verdict(self) -> str:
        best = self.grid.to_numpy(dtype=float)
        row, column = np.unravel_index(int(best.argmax()), best.shape)
        busiest = best[-1]
        return message(
            "Most is expected ({most} purchases in {ahead} {unit}) of customers with {frequency} repeat purchases, the "
            "last {recency} {unit} after the first. With {many} repeat purchases it falls to {few} where the last "
            "was half as long ago.",
            most=number(float(best.max()), digits=1),
            ahead=f"{self.ahead:g}",
            unit=self.unit,
            frequency=str(self.grid.index.to_numpy()[row]),
            recency=number(float(self.grid.columns.to_numpy(dtype=float)[column]), digits=0),
            many=str(self.grid.index.to_numpy()[-1]),
            few=number(float(busiest[len(busiest) // 2]), digits=1),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the matrix as shaded bands with labelled edges."""
        from loyalty_research.plots.clv_models import expectation_map

        return expectation_map(self.grid, ax=ax, unit=self.unit, ahead=self.ahead)


def expectation_matrix(
    model: TransactionModel, *, T: float, ahead: float, most: int = 15, steps: int = 60
) -> ExpectationMatrix:
    """Return the purchases expected of customers by frequency and recency.

    Args:
        model: A fitted model without covariates.
        T: Time since the first purchase, in the model's unit.
        ahead: Length of time ahead, in the model's unit.
        most: Largest number of repeat purchases.
        steps: Times of the last purchase, evenly spaced on (0, T].

    Raises:
        ArgumentError: When a length is not positive, or ``most`` or ``steps`` is below 2.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.clv import BetaGeoNBD
        >>> summary = pd.DataFrame({"frequency": [0, 1, 3, 0, 2, 6, 0, 1, 0, 4],
        ...                         "recency": [0, 10, 30, 0, 8, 37, 0, 2, 0, 20],
        ...                         "T": [38, 38, 35, 30, 38, 38, 25, 30, 20, 33]})
        >>> model = BetaGeoNBD(penalizer=0.1).fit(summary, unit="W")
        >>> expectation_matrix(model, T=38, ahead=26, most=2, steps=2).grid.round(2).to_numpy().tolist()
        [[0.52, 0.7], [0.78, 1.13]]

    References:
        Fader, Hardie and Lee (2005), RFM and CLV, Journal of Marketing Research 42(4), figure 4, for
        the falling back of the busiest.
    """
    _plain(model, "expectation_matrix")
    if not (math.isfinite(T) and T > 0 and math.isfinite(ahead) and ahead > 0 and most >= 2 and steps >= 2):
        raise ArgumentError("expectation_matrix needs T and ahead above 0, most and steps of at least 2")
    x, recency = np.arange(1.0, most + 1), np.linspace(T / steps, T, steps)
    often, last = np.repeat(x, steps), np.tile(recency, most)
    panels = Discounting((0.0, float(ahead)), np.ones(1), 0.0)
    best = np.exp(model.log_params)
    found = model.core.conditional(best, often, last, np.full(len(often), float(T)), panels)
    found = found.reshape(most, steps)
    frame = pd.DataFrame(
        found, index=pd.Index(x.astype(int), name="frequency"), columns=pd.Index(recency, name="recency")
    )
    return ExpectationMatrix(frame, T=float(T), ahead=float(ahead), unit=_time_word(model))


@dataclass(frozen=True, repr=False, eq=False)
class AliveHistory(Result):
    """P(alive) over the history of a customer with a given pattern of purchases.

    Attributes:
        curve: ``time`` since the first purchase, ``probability_alive``, ``low``, ``high``.
        purchases: Times of the repeat purchases.
        unit: Word for the time unit.
        level: Coverage the band aims at.
    """

    title: ClassVar[str] = "P(alive) over a customer's history"

    curve: pd.DataFrame
    purchases: tuple[float, ...]
    unit: str
    level: float

    def _rows(self) -> Iterable[Row]:
        last = self.curve.iloc[-1]
        yield Row(
            "P(alive) at the end",
            Estimate(
                float(last["probability_alive"]),
                float(last["low"]),
                float(last["high"]),
                self.level,
                "parametric draws",
                len(self.purchases),
                unit="fraction",
            ),
        )

    def _verdict(self) -> str:
        last = self.curve.iloc[-1]
        silent = float(last["time"]) - (self.purchases[-1] if self.purchases else 0.0)
        return message(
            "A customer with {count} repeat purchases and {silent} {unit} of silence after the last is still there "
            "with {alive} ({level} band {low} to {high}).",
            count=len(self.purchases),
            silent=number(silent, digits=0),
            unit=self.unit,
            alive=percent(float(last["probability_alive"])),
            level=percent(self.level, digits=0),
            low=percent(float(last["low"])),
            high=percent(float(last["high"])),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the curve with its band and a mark for each purchase."""
        from loyalty_research.plots.clv_models import alive_history as draw

        return draw(self.curve, purchases=self.purchases, ax=ax, unit=self.unit)


def alive_history(
    model: TransactionModel,
    purchases: Sequence[float],
    *,
    until: float,
    seed: int = 0,
    level: float = 0.95,
) -> AliveHistory:
    """Follow P(alive) through a pattern of purchases.

    The pattern is one you give, such as a habit that stops; no customer's data are needed.

    Args:
        model: A fitted model without covariates.
        purchases: Times of the repeat purchases since the first one, increasing, in the model's
            unit.
        until: Where the history ends.
        seed: Seed of the parameter draws behind the band.
        level: Coverage the band aims at.

    Raises:
        ArgumentError: When times are not increasing, or reach past ``until``.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.clv import BetaGeoNBD
        >>> summary = pd.DataFrame({"frequency": [0, 1, 3, 0, 2, 6, 0, 1, 0, 4],
        ...                         "recency": [0, 10, 30, 0, 8, 37, 0, 2, 0, 20],
        ...                         "T": [38, 38, 35, 30, 38, 38, 25, 30, 20, 33]})
        >>> model = BetaGeoNBD(penalizer=0.1).fit(summary, unit="W")
        >>> found = alive_history(model, [4, 8, 12, 16], until=40)
        >>> round(float(found.curve["probability_alive"].iloc[-1]), 2)
        0.34
    """
    check_level(level)
    _plain(model, "alive_history")
    times = np.asarray(list(purchases), dtype=float)
    if not (
        math.isfinite(until)
        and until > 0
        and np.isfinite(times).all()
        and (np.diff(times, prepend=0.0) > 0).all()
        and (not len(times) or times[-1] <= until)
    ):
        raise ArgumentError("purchases must be increasing times above 0 that do not pass until")
    grid = np.linspace(0.0, until, _STEPS + 1)
    # just before and at each purchase, so that the jump is drawn upright
    grid = np.sort(np.concatenate([grid, times, times * (1 - 1e-9)]))
    x = np.searchsorted(times, grid, side="right").astype(float)
    recency = np.where(x > 0, np.concatenate([[0.0], times])[x.astype(int)], 0.0)

    def alive(parameters: Array) -> Array:
        return np.asarray(model.core.alive(parameters, x, recency, grid), dtype=float)

    best = np.exp(model.log_params)
    drawn = np.array([alive(parameters) for parameters in _draws(model, seed)])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    curve = pd.DataFrame({"time": grid, "probability_alive": alive(best), "low": low, "high": high})
    return AliveHistory(curve, tuple(times.tolist()), unit=_time_word(model), level=level)


def _draws(model: TransactionModel, seed: int) -> Array:
    """Draw parameters from the asymptotic normal of their logs, shape (draws, k)."""
    generator = np.random.default_rng(seed)
    theta = generator.multivariate_normal(
        model.log_params, model.log_covariance, size=_DRAWS, method="cholesky"
    )
    return np.asarray(np.exp(theta), dtype=float)


@dataclass(frozen=True, repr=False, eq=False)
class Heterogeneity(Result):
    """How much customers differ: the fitted densities of their purchase rate and of their dropout.

    Attributes:
        rate: ``value`` (purchases per unit while a customer), ``density``, ``low``, ``high``.
        dropout: The same of the chance to leave after a purchase, or of the rate of leaving.
        mean_rate: Mean purchase rate over customers.
        mean_dropout: Mean dropout over customers.
        middle_rate: Rates between which eight tenths of the customers lie.
        middle_dropout: The same of dropout.
        dropout_kind: ``"chance"`` or ``"rate"``.
        unit: Word for the time unit.
    """

    title: ClassVar[str] = "How customers differ"

    rate: pd.DataFrame
    dropout: pd.DataFrame
    mean_rate: Estimate
    mean_dropout: Estimate
    middle_rate: tuple[float, float]
    middle_dropout: tuple[float, float]
    dropout_kind: str
    unit: str

    def _rows(self) -> Iterable[Row]:
        yield Row("mean purchase rate", self.mean_rate)
        chance = self.dropout_kind == "chance"
        yield Row(
            "mean chance to leave after a purchase" if chance else "mean rate of leaving", self.mean_dropout
        )

    def _verdict(self) -> str:
        chance = self.dropout_kind == "chance"
        buys = message(
            "While they are customers, people buy {rate} times per 100 {unit} on average, eight in ten of them between "
            "{low} and {high} times.",
            rate=number(100 * self.mean_rate.value, digits=1),
            unit=self.unit,
            low=number(100 * self.middle_rate[0], digits=1),
            high=number(100 * self.middle_rate[1], digits=1),
        )
        low, high = self.middle_dropout
        if chance:
            return message(
                "{buys} After a purchase {leave} of them leave, eight in ten with a chance of {low} to {high}.",
                buys=buys,
                leave=percent(self.mean_dropout.value),
                low=percent(low),
                high=percent(high),
            )
        return message(
            "{buys} They leave at a mean rate of {leave} per 100 {unit}, eight in ten at {low} to {high}.",
            buys=buys,
            leave=number(100 * self.mean_dropout.value, digits=1),
            unit=self.unit,
            low=number(100 * low, digits=1),
            high=number(100 * high, digits=1),
        )

    def plot_rate(self, ax: Axes | None = None) -> Axes:
        """Draw the density of purchase rates with its band."""
        from loyalty_research.plots.clv_models import density

        label = message("purchases per {unit} while a customer", unit=_one(self.unit))
        return density(
            self.rate, ax=ax, label=label, title=message("How often customers buy"), mean=self.mean_rate.value
        )

    def plot_dropout(self, ax: Axes | None = None) -> Axes:
        """Draw the density of dropout with its band."""
        from loyalty_research.plots.clv_models import density

        chance = self.dropout_kind == "chance"
        label = (
            message("chance to leave after a purchase")
            if chance
            else message("rate of leaving per {unit}", unit=_one(self.unit))
        )
        title = message("How soon customers leave")
        return density(
            self.dropout, ax=ax, label=label, title=title, mean=self.mean_dropout.value, share=chance
        )


def _one(unit: str) -> str:
    return {message("weeks"): message("week"), message("days"): message("day")}.get(
        unit, message("time unit")
    )


def heterogeneity(model: TransactionModel, *, seed: int = 0, level: float = 0.95) -> Heterogeneity:
    """Return the fitted densities of purchase rate and dropout over customers, with bands.

    Rates are Gamma(r, alpha). Dropout is the chance to leave after a purchase, Beta(a, b), under
    BG/NBD and MBG/NBD, and the rate of leaving, Gamma(s, beta), under Pareto/NBD. Bands are quantiles
    over draws of the parameters.

    Args:
        model: A fitted BG/NBD, MBG/NBD or Pareto/NBD without covariates.
        seed: Seed of the draws.
        level: Coverage the bands aim at, point by point.

    Raises:
        ArgumentError: When the model has covariates or other parameters.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.clv import BetaGeoNBD
        >>> summary = pd.DataFrame({"frequency": [0, 1, 3, 0, 2, 6, 0, 1, 0, 4],
        ...                         "recency": [0, 10, 30, 0, 8, 37, 0, 2, 0, 20],
        ...                         "T": [38, 38, 35, 30, 38, 38, 25, 30, 20, 33]})
        >>> found = heterogeneity(BetaGeoNBD(penalizer=0.1).fit(summary, unit="W"))
        >>> found.dropout_kind
        'chance'
    """
    from scipy import stats

    check_level(level)
    _plain(model, "heterogeneity")
    names = tuple(model.names)
    kinds = {("r", "alpha", "a", "b"): "chance", ("r", "alpha", "s", "beta"): "rate"}
    if names not in kinds:
        raise ArgumentError(
            f"heterogeneity knows BG/NBD, MBG/NBD and Pareto/NBD; {type(model).__name__} has other parameters"
        )
    best, drawn = np.exp(model.log_params), _draws(model, seed)

    def gamma(shape: Array, rate: Array) -> Any:
        return stats.gamma(shape, scale=1 / rate)

    def mean_gamma(p: Array) -> Array:
        return np.asarray(p[..., 0] / p[..., 1], dtype=float)

    def mean_beta(p: Array) -> Array:
        return np.asarray(p[..., 0] / (p[..., 0] + p[..., 1]), dtype=float)

    chance = kinds[names] == "chance"
    size = round(model.n_customers_)
    leaving = stats.beta if chance else gamma
    return Heterogeneity(
        _banded(gamma, best[:2], drawn[:, :2], level),
        _banded(leaving, best[2:], drawn[:, 2:], level, upper=1.0 if chance else None),
        mean_rate=_mean(mean_gamma, best[:2], drawn[:, :2], level=level, n=size),
        mean_dropout=_mean(mean_beta if chance else mean_gamma, best[2:], drawn[:, 2:], level=level, n=size),
        middle_rate=_middle(gamma(*best[:2])),
        middle_dropout=_middle(leaving(*best[2:])),
        dropout_kind=kinds[names],
        unit=_time_word(model),
    )


def _middle(law: Any) -> tuple[float, float]:
    low, high = law.ppf([0.1, 0.9])
    return float(low), float(high)


def _banded(
    law: Callable[..., Any], best: Array, drawn: Array, level: float, *, upper: float | None = None
) -> pd.DataFrame:
    """Return a density on a grid with pointwise quantiles over draws."""
    fitted = law(*best)
    end = upper if upper is not None else float(fitted.ppf(0.99))
    # densities may be endless at the ends, so the grid stays inside
    grid = np.linspace(0.0, end, _STEPS + 2)[1:-1]
    spread = np.array([law(*parameters).pdf(grid) for parameters in drawn])
    low, high = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return pd.DataFrame({"value": grid, "density": fitted.pdf(grid), "low": low, "high": high})


def _mean(function: Callable[[Array], Array], best: Array, drawn: Array, *, level: float, n: int) -> Estimate:
    low, high = np.quantile(function(drawn), [(1 - level) / 2, (1 + level) / 2])
    method = message("parametric draws ({count})", count=_DRAWS)
    return Estimate(float(function(best)), float(low), float(high), level, method, n)
