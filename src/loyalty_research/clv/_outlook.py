"""What each customer is expected to do next, as it may come out under the uncertainty of the fit."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.clv._discount import Discounting
from loyalty_research.clv._frames import group_rows
from loyalty_research.clv._replicates import quantiles
from loyalty_research.clv._study import MODELS, WEAK
from loyalty_research.errors import ArgumentError, ConvergenceError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message
from loyalty_research.summaries import purchases

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.clv.transactions import TransactionModel

    Array = NDArray[Any]

__all__ = ["Outlook", "outlook"]

_FEWEST = 20


@dataclass(frozen=True, repr=False, eq=False)
class Outlook(Result):
    """Each customer's chance of still being one, and the purchases expected of each.

    Attributes:
        predictions: Index ``customer_id``: ``frequency`` (repeat purchase days so far),
            ``probability_alive``, ``expected_purchases`` in the days ahead.
        alive: P(alive) under drawn parameters, shape (customers, draws), rows as in ``predictions``.
        expected: Expected purchases under the same draws, shape (customers, draws).
        model: The fitted model.
        until: Last day that the predictions know of.
        days: Length of time ahead, in days.
        level: Confidence level.
    """

    title: ClassVar[str] = "What customers are expected to do next"

    predictions: pd.DataFrame
    alive: Array
    expected: Array
    model: TransactionModel
    until: dt.date
    days: int
    level: float

    @property
    def draws(self) -> tuple[Array, Array]:
        """P(alive) and expected purchases under drawn parameters."""
        return self.alive, self.expected

    def _limits(self, drawn: Array, value: float, unit: str | None) -> Estimate:
        low, high = quantiles(drawn[:, None], self.level)[:, 0]
        method = f"parametric draws ({drawn.size:,})"
        return Estimate(value, float(low), float(high), self.level, method, len(self.predictions), unit)

    def _rows(self) -> Iterable[Row]:
        mean = float(self.predictions["probability_alive"].mean())
        yield Row(message("share still customers"), self._limits(self.alive.mean(axis=0), mean, "fraction"))
        total = float(self.predictions["expected_purchases"].sum())
        yield Row(message("purchases expected"), self._limits(self.expected.sum(axis=0), total, None))

    def _verdict(self) -> str:
        still, ahead = (row.estimate for row in self._rows())
        return message(
            "Of {n} customers, {share} ({interval}) are still customers under the model; together they are expected "
            "to buy on {total} days in the next {days}.",
            n=f"{len(self.predictions):,}",
            share=still.format(),
            interval=still.interval(),
            total=ahead.format(),
            days=self.days,
        )


def outlook(
    transactions: Any,
    *,
    until: dt.date | str,
    days: int,
    model: TransactionModel | str = "Pareto/NBD",
    draws: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> Outlook:
    """Predict each customer's next days from purchases up to a day, with draws of the parameters.

    Parameters are drawn from their large-sample normal distribution on the log scale, so that whatever
    is made of the predictions, such as segments, can be given limits that know of the fit's uncertainty.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``; anything
            that narwhals reads. Rows after ``until`` are left out.
        until: Last day the model may know of.
        days: Length of time ahead, in days.
        model: Which of :data:`MODELS` to fit, with a weak penalty where it has no maximum; or a fitted model
            without covariates, in days.
        draws: Number of draws.
        seed: Seed of the draws.
        level: Confidence level.

    Raises:
        ArgumentError: When an option is out of range.
        ContractError: When a column or a row is wrong.
        ConvergenceError: When the fit fails, or its parameters are known too poorly to draw from.

    Examples:
        >>> import loyalty_research as lr
        >>> source = lr.open_dataset("cdnow-sample")
        >>> found = outlook(source.tables["transactions"], until="1997-09-30", days=180)
        >>> found.model.title, found.alive.shape
        ('Pareto/NBD', (2357, 200))
        >>> found.predictions["expected_purchases"].sum().round(0)
        np.float64(1165.0)

    References:
        Schmittlein, Morrison and Colombo (1987), Management Science 33(1), for both predictions.
    """
    level = check_level(level)
    if not (isinstance(days, int) and days > 0):
        raise ArgumentError(f"days must be a whole number above 0; got {days!r}")
    if not (isinstance(draws, int) and draws >= _FEWEST):
        raise ArgumentError(f"draws must be a whole number of at least {_FEWEST}; got {draws!r}")
    summary = purchases(transactions, unit="D", observation_end=until)
    checks: tuple[Check, ...] = ()
    if isinstance(model, str):
        model, checks = _fit(summary, model)
    elif model.require_fitted().design_ is not None:
        raise ArgumentError("model has covariates, which purchases alone do not give; fit one without")
    values, alive, expected = _predict(model, summary, float(days), draws, seed)
    return Outlook(
        predictions=pd.DataFrame(
            {
                "frequency": summary["frequency"],
                "probability_alive": values[0],
                "expected_purchases": values[1],
            },
            index=summary.index,
        ),
        alive=alive,
        expected=expected,
        model=model,
        until=dt.date.fromordinal(pd.Timestamp(until).toordinal()),
        days=days,
        level=level,
        checks=checks,
    )


def _fit(summary: pd.DataFrame, name: str) -> tuple[TransactionModel, tuple[Check, ...]]:
    if name not in MODELS:
        raise ArgumentError(f"model must be one of {', '.join(MODELS)}, or a fitted model; got {name!r}")
    try:
        return MODELS[name]().fit(summary), ()
    except ConvergenceError:
        fitted = MODELS[name](penalizer=WEAK).fit(summary)
    detail = message(
        "Without a weak penalty the fit of the {name} has no maximum, which happens where hardly anybody leaves or "
        "customers differ little; who has left is then known poorly.",
        name=name,
    )
    return fitted, (Check(message("Model of purchases"), "warning", detail),)


def _predict(
    model: TransactionModel, summary: pd.DataFrame, days: float, draws: int, seed: int
) -> tuple[tuple[Array, Array], Array, Array]:
    """Return predictions at the fitted parameters, each (n,), and under draws, each (n, draws)."""
    rows = model.histories(summary)
    first, where = group_rows(*rows)
    x, recency, length = (part[first] for part in rows)
    panels = Discounting((0.0, days), np.ones(1), 0.0)

    def at(theta: Array) -> tuple[Array, Array]:
        natural = np.exp(theta)
        alive = model.core.alive(natural, x, recency, length)
        return alive, model.core.conditional(natural, x, recency, length, panels)

    generator = np.random.default_rng(seed)
    drawn = generator.multivariate_normal(model.log_params, model.log_covariance, size=draws, method="eigh")
    pairs = [at(theta) for theta in drawn]
    alive, expected = (np.column_stack([pair[k] for pair in pairs]) for k in (0, 1))
    if not (np.isfinite(alive).all() and np.isfinite(expected).all()):
        raise ConvergenceError(
            f"the parameters of {model.title} are known too poorly to draw from: some draws give no prediction; "
            "take a longer record, or a penalty"
        )
    best = at(model.log_params)
    return (best[0][where], best[1][where]), alive[where], expected[where]
