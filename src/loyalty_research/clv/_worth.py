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

    from loyalty_research.clv._core import Core

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
        core: Numbers of the model of purchases.
        x: Repeat purchases of each distinct history, shape (g,).
        recency: Time of the last one, shape (g,).
        T: Time observed, shape (g,).
        where: History of each customer, shape (n,).
        spent: What each customer spent on repeat purchases, shape (n,).
        panels: How future purchases are weighted.
        margin: Share of spend that is kept.
    """

    core: Core
    x: Array
    recency: Array
    T: Array
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
        own = parameters[: len(self.core.names)]
        use = self.panels if panels is None else panels
        if not stayed:
            return self.core.conditional(own, self.x, self.recency, self.T, use)
        first, where = group_rows(self.x, self.T)
        ahead = self.core.purchases(
            own, self.x[first], self.T[first], edges=use.edges, factors=use.factors, decay=use.decay
        )
        return np.asarray(ahead[where], dtype=float)

    def spend(self, parameters: Array) -> Array:
        """Return each customer's expected spend per purchase, shape (n,)."""
        x = self.x[self.where]
        mean = np.divide(self.spent, x, out=np.zeros(len(x)), where=x > 0)
        return _gamma_gamma.conditional_mean(parameters[len(self.core.names) :], x, mean)

    def customers(self, parameters: Array) -> Array:
        """Return each customer's expected value, shape (n,)."""
        return self.margin * self.ahead(parameters)[self.where] * self.spend(parameters)

    def cells(self, labels: Array, count: int) -> Cells:
        """Count customers and spend by label and history.

        Args:
            labels: Segment of each customer, 0 to ``count`` - 1, shape (n,).
            count: Number of segments.
        """
        histories = len(self.x)
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
        p, q, v = (float(value) for value in parameters[len(self.core.names) :])
        bought = self.ahead(parameters) if ahead is None else ahead
        freedom = p * self.x + q - 1
        endless = freedom <= 0
        each = self.margin * bought * p / np.where(endless, np.inf, freedom)
        out = np.asarray(cells.size @ (each * v) + cells.spent @ each, dtype=float)
        out[(cells.size[:, endless] > 0).any(axis=1)] = np.inf
        return out

    def part(self, rows: slice) -> Worth:
        """Return some of the customers, alone."""
        first, where = group_rows(*(column[self.where[rows]] for column in (self.x, self.recency, self.T)))
        chosen = self.where[rows][first]
        return Worth(
            self.core,
            self.x[chosen],
            self.recency[chosen],
            self.T[chosen],
            where=where,
            spent=self.spent[rows],
            panels=self.panels,
            margin=self.margin,
        )


def worth_of(
    core: Core, histories: Sequence[Array], mean: Array, *, panels: Discounting, margin: float
) -> Worth:
    """Return customers ready to be valued.

    Args:
        core: Numbers of the model of purchases.
        histories: frequency, recency and T, each of shape (n,).
        mean: Mean spend per repeat purchase, shape (n,).
        panels: How future purchases are weighted.
        margin: Share of spend that is kept.
    """
    x, recency, T = histories
    first, where = group_rows(x, recency, T)
    return Worth(
        core,
        x[first],
        recency[first],
        T[first],
        where=where,
        spent=np.where(x > 0, x * mean, 0.0),
        panels=panels,
        margin=margin,
    )
