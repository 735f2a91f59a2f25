"""What customers are worth as a function of both models' parameters.

Expected spend per purchase is p (v + s)/(p x + q - 1), linear in what the customer has spent, s.
Sums of values over customers therefore need two numbers per distinct history, how many customers
share it and what they spent together, so that a sum costs no more for a million customers than
for their few thousand distinct histories.

References:
    Fader and Hardie (2013), The Gamma-Gamma Model of Monetary Value, note 025, equation 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from loyalty_research.clv import _gamma_gamma
from loyalty_research.clv._discount import Discounting
from loyalty_research.clv._frames import group_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from loyalty_research.clv.transactions import TransactionModel

    Array = NDArray[Any]

__all__ = ["Cells", "Worth", "thinned", "worth_of"]


def thinned(panels: Discounting, kept: float) -> Discounting:
    """Return the panels that, over ``kept``, give purchases when a share of departures is prevented.

    A customer who buys at rate l and leaves at rate m makes l (1 - exp(-m u))/m purchases in time u,
    and l (1 - exp(-c m u))/(c m) when only a share c of the departures happens: the purchases of
    the time c u, over c. The identity holds customer by customer, so it holds for every mixture.
    """
    return Discounting(tuple(kept * edge for edge in panels.edges), panels.factors, panels.decay / kept)


class Cells(NamedTuple):
    """Customers of each segment by distinct history.

    Attributes:
        size: Customers, shape (segments, histories).
        spent: What they spent on repeat purchases, same shape.
    """

    size: Array
    spent: Array


@dataclass(frozen=True)
class Worth:
    """Customers whose future is valued.

    Attributes:
        model: The model of purchases.
        rows: frequency, recency, T and coded covariates of each distinct history, each of shape (g,).
        where: History of each customer, shape (n,).
        spent: What each customer spent on repeat purchases, shape (n,).
        panels: How future purchases are weighted.
        margin: Share of spend that is kept.
    """

    model: TransactionModel
    rows: tuple[Array, ...]
    where: Array
    spent: Array
    panels: Discounting
    margin: float

    def ahead(self, parameters: Array, panels: Discounting | None = None, *, stayed: bool = False) -> Array:
        """Return discounted expected purchases of each history, shape (g,).

        Args:
            parameters: Of the model of purchases; those of spend may follow.
            panels: Instead of the own ones.
            stayed: Take every customer for alive.
        """
        own = self.model.row_parameters(parameters[: len(self.model.names)], self.rows[3:])
        use = self.panels if panels is None else panels
        x, recency, T = self.rows[:3]
        if stayed:
            return self.model.core.live(own, x, T, use)
        return self.model.core.conditional(own, x, recency, T, use)

    def alive(self, parameters: Array) -> Array:
        """Return P(alive) of each history, shape (g,)."""
        own = self.model.row_parameters(parameters[: len(self.model.names)], self.rows[3:])
        x, recency, T = self.rows[:3]
        return np.asarray(self.model.core.alive(own, x, recency, T), dtype=float)

    def spend(self, parameters: Array) -> Array:
        """Return each customer's expected spend per purchase, shape (n,)."""
        x = self.rows[0][self.where]
        mean = np.divide(self.spent, x, out=np.zeros(len(x)), where=x > 0)
        return _gamma_gamma.conditional_mean(parameters[len(self.model.names) :], x, mean)

    def customers(self, parameters: Array) -> Array:
        """Return each customer's expected value, shape (n,)."""
        return self.margin * self.ahead(parameters)[self.where] * self.spend(parameters)

    def cells(self, labels: Array, count: int) -> Cells:
        """Count customers and spend by label and history.

        Args:
            labels: Segment of each customer, 0 to ``count`` - 1, shape (n,).
            count: Number of segments.
        """
        histories = len(self.rows[0])
        place = labels.astype(np.int64) * histories + self.where
        size = np.bincount(place, minlength=count * histories)
        spent = np.bincount(place, weights=self.spent, minlength=count * histories)
        return Cells(size.reshape(count, histories).astype(float), spent.reshape(count, histories))

    def sums(self, parameters: Array, cells: Cells, ahead: Array | None = None) -> Array:
        """Return the value of each segment, shape (segments,).

        Args:
            parameters: Of both models.
            cells: The segments.
            ahead: Purchases of each history; by default those of :meth:`ahead`.
        """
        bought = self.ahead(parameters) if ahead is None else ahead
        paid = self.paid(parameters, cells)
        out = np.asarray(np.where(np.isfinite(paid), paid, 0.0) @ bought, dtype=float)
        out[np.isinf(paid).any(axis=1)] = np.inf
        return out

    def paid(self, parameters: Array, cells: Cells) -> Array:
        """Return what one purchase of every customer of a cell brings, shape (segments, histories)."""
        p, q, v = (float(value) for value in parameters[len(self.model.names) :])
        freedom = p * self.rows[0] + q - 1
        endless = freedom <= 0
        each = self.margin * p / np.where(endless, np.inf, freedom)
        found = (cells.size * v + cells.spent) * each
        return np.where(endless & (cells.size > 0), np.inf, found)

    def part(self, rows: slice) -> Worth:
        """Return some of the customers, alone."""
        present, where = np.unique(self.where[rows], return_inverse=True)
        return Worth(
            self.model,
            tuple(column[present] for column in self.rows),
            where=where,
            spent=self.spent[rows],
            panels=self.panels,
            margin=self.margin,
        )


def worth_of(
    model: TransactionModel, columns: Sequence[Array], mean: Array, *, panels: Discounting, margin: float
) -> Worth:
    """Return customers ready to be valued.

    Args:
        model: The fitted model of purchases.
        columns: frequency, recency, T and coded covariates, each of shape (n,).
        mean: Mean spend per repeat purchase, shape (n,).
        panels: How future purchases are weighted.
        margin: Share of spend that is kept.
    """
    first, where = group_rows(*columns)
    return Worth(
        model,
        tuple(column[first] for column in columns),
        where=where,
        spent=np.where(columns[0] > 0, columns[0] * mean, 0.0),
        panels=panels,
        margin=margin,
    )
