"""Segments from the chance of still being a customer and the purchases expected, with how sure they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from loyalty_research.data.privacy import suppress_small_cells
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages, percent
from loyalty_research.programme._contact_rows import refuse
from loyalty_research.programme.segment_stability import hidden_share, suppression_check
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[Any]

__all__ = ["SEGMENTS", "ValueSegments", "value_segments"]

SEGMENTS = ("negative", "potential", "one-time", "loyal", "lapsed", "occasional")
"""Segments, in the order in which they are tried; names are those of :func:`loyalty_segments`."""

_COLUMNS = ("frequency", "probability_alive", "expected_purchases")
_FEWEST = 20


@dataclass(frozen=True, repr=False, eq=False)
class ValueSegments(Result):
    """Customers in segments by what a model expects of them.

    Attributes:
        labels: Segment of each customer at the fitted parameters, index the customer.
        membership: Share of the draws that put each customer into each segment, shape (customers,
            segments); 0 or 1 without draws.
        sizes: Segment to the share of customers expected in it; hidden where fewer than five are.
        still: Segment to the share of its customers who still are customers, where that is modelled.
        ahead: Segment to the purchases expected per customer of it, likewise.
        moved: Share of customers who are in another segment under other plausible parameters; None without
            draws.
        alive_edge: P(alive) from which somebody counts as a customer.
        purchases_edge: Expected purchases from which a customer is loyal.
        level: Confidence level.
    """

    title: ClassVar[str] = "Segments by what is expected"

    labels: pd.Series[Any]
    membership: pd.DataFrame
    sizes: dict[str, Estimate]
    still: dict[str, Estimate]
    ahead: dict[str, Estimate]
    moved: Estimate | None
    alive_edge: float
    purchases_edge: float
    level: float

    def _rows(self) -> Iterable[Row]:
        every = message("of all customers placed")
        for segment, share in self.sizes.items():
            yield Row(message("share of customers"), share, group=segment, estimand=every)
        for segment, share in self.still.items():
            yield Row(
                message("still customers"),
                share,
                group=segment,
                estimand=message("of the segment, as modelled"),
            )
        for segment, mean in self.ahead.items():
            yield Row(
                message("purchases expected"),
                mean,
                group=segment,
                estimand=message("per customer of the segment, as modelled"),
            )
        if self.moved is not None:
            yield Row(message("not sure of their segment"), self.moved, group="all", estimand=every)

    def _verdict(self) -> str:
        said = []
        loyal = self.sizes.get("loyal")
        if loyal is not None and loyal.n:
            said.append(
                message(
                    "{share} of {n} customers count as loyal ({interval}): at least {alive} likely to be customers still, "
                    "and expected to buy on {edge} days or more.",
                    share=loyal.format(),
                    n=f"{loyal.n:,}",
                    interval=loyal.interval(),
                    alive=percent(self.alive_edge, digits=0),
                    edge=f"{self.purchases_edge:g}",
                )
            )
        else:
            said.append(message("No segment of loyal customers can be shown."))
        if self.moved is not None:
            said.append(
                message(
                    "The segment of {share} of customers is not sure: they lie so near an edge that another fit, as good "
                    "for these data, would place them elsewhere.",
                    share=self.moved.format(),
                )
            )
        return " ".join(said)


def _rules(x: Array, alive: Array, expected: Array, alive_edge: float, purchases_edge: float) -> Array:
    """Return the segment of each customer as a position in :data:`SEGMENTS`; potential where NaN.

    Examples:
        >>> _rules(np.array([0.0, 4, 4]), np.array([0.2, 0.9, 0.9]), np.array([0.1, 2, 1]), 0.5, 2.0).tolist()
        [2, 3, 5]
    """
    there = alive >= alive_edge
    codes = np.where(there, np.where(expected >= purchases_edge, 3, 5), np.where(x == 0, 2, 4))
    return np.where(np.isnan(alive), 1, codes)


def value_segments(
    predictions: pd.DataFrame,
    *,
    alive_edge: float = 0.5,
    purchases_edge: float = 1.0,
    draws: tuple[ArrayLike, ArrayLike] | None = None,
    customers: Iterable[Any] | None = None,
    negative: Iterable[Any] | None = None,
    level: float = 0.95,
) -> ValueSegments:
    """Place customers by their chance of still being customers and the purchases expected of them.

    In this order: negative: whoever is named so; potential: no purchase yet; loyal: P(alive) in
    ``[alive_edge, 1]`` and expected purchases in ``[purchases_edge, ∞)``; occasional: P(alive) likewise, fewer
    purchases expected; one-time: P(alive) below the edge after a single purchase day; lapsed: the same after
    more of them. A value on an edge belongs above it.

    A customer near an edge is not in a segment for sure. With draws, the size of a segment is the expected
    number of its customers (the sum of their chances to be in it), and its limits are what the draws give.
    They hold for these customers under the model; a model that is wrong is not in them, which is why
    :func:`segment_outcomes` looks at what the segments then did.

    Args:
        predictions: Index the customer; ``frequency`` (repeat purchase days so far),
            ``probability_alive``, ``expected_purchases`` in the time ahead, such as ``clv.outlook`` gives.
        alive_edge: Edge of P(alive), a fraction.
        purchases_edge: Edge of expected purchases in the time ahead.
        draws: P(alive) and expected purchases under drawn parameters, each of shape (customers, draws), rows
            as in ``predictions``.
        customers: Everybody to place; those without a prediction have not bought yet. None: those predicted.
        negative: Customers declared negative, such as detractors or those who opted out.
        level: Confidence level.

    Raises:
        ArgumentError: When an edge is out of range, or draws have another shape.
        ContractError: When a column is missing, a customer repeats, or a prediction is impossible.

    Examples:
        >>> people = pd.DataFrame({"frequency": [0, 5, 5, 3], "probability_alive": [0.2, 0.9, 0.6, 0.1],
        ...     "expected_purchases": [0.0, 3.0, 0.4, 0.1]}, index=list("abcd"))
        >>> value_segments(people, customers="abcde").labels.tolist()
        ['one-time', 'loyal', 'occasional', 'lapsed', 'potential']

    References:
        Schmittlein, Morrison and Colombo (1987), Management Science 33(1), 1-24; Fader, Hardie and Lee
        (2005), Journal of Marketing Research 42(4), 415-430.
    """
    level = check_level(level)
    _check_edges(alive_edge, purchases_edge)
    _check_predictions(predictions)
    people = predictions.index if customers is None else pd.Index(list(customers))
    refuse(people.duplicated(), "customers names a customer twice", "name each once")
    strangers = ~predictions.index.isin(people)
    refuse(strangers, "predictions hold somebody who is not among customers", "add them to customers")
    found = predictions.reindex(people)
    x, alive, expected = (found[c].to_numpy(dtype=float) for c in _COLUMNS)
    named = np.zeros(len(people), bool) if negative is None else people.isin(list(negative))
    codes = np.where(named, 0, _rules(x, alive, expected, alive_edge, purchases_edge))
    labels = pd.Series(
        pd.Categorical.from_codes(codes.tolist(), categories=pd.Index(SEGMENTS)), index=people, name="segment"
    )
    drawn, placed = None, None
    if draws is not None:
        rows = predictions.index.get_indexer(people)
        alive_drawn, expected_drawn = (_spread(part, len(predictions), rows) for part in draws)
        drawn = alive_drawn, expected_drawn
        placed = _place(codes, x, named, drawn, (alive_edge, purchases_edge))
    chances = np.eye(len(SEGMENTS))[codes] if placed is None else placed.chances
    cells = suppress_small_cells(
        pd.DataFrame({"segment": SEGMENTS, "customers": np.bincount(codes, minlength=len(SEGMENTS))}),
        count="customers",
    )
    shown = {
        str(s): c for s, c in zip(cells["segment"], cells["customers"], strict=True) if c is None or c > 0
    }
    n = len(people)
    sizes = {}
    for segment, count in shown.items():
        if count is None:
            sizes[segment] = hidden_share(level)
        elif placed is None:
            sizes[segment] = proportion(int(count), n, level=level)
        else:
            part = placed.sizes[:, SEGMENTS.index(segment)]
            sizes[segment] = _from_draws(float(part.mean()), part, n, level, "fraction")
    still, ahead = {}, {}
    for segment, count in shown.items():
        if count is None or segment in ("negative", "potential"):
            continue
        members = codes == SEGMENTS.index(segment)
        at = (alive[members], expected[members])
        under = None if drawn is None else (drawn[0][members], drawn[1][members])
        still[segment] = _still(at[0], None if under is None else under[0], level)
        ahead[segment] = _ahead(at[1], None if under is None else under[1], level)
    return ValueSegments(
        labels=labels,
        membership=pd.DataFrame(chances, index=people, columns=pd.Index(SEGMENTS)),
        sizes=sizes,
        still=still,
        ahead=ahead,
        moved=None
        if placed is None
        else _from_draws(float(placed.moved.mean()), placed.moved, n, level, "fraction"),
        alive_edge=float(alive_edge),
        purchases_edge=float(purchases_edge),
        level=level,
        checks=(
            suppression_check(int(cells.attrs["suppressed"])),
            _first_purchase_check(x, alive),
        ),
    )


def _check_edges(alive_edge: float, purchases_edge: float) -> None:
    if not 0 < alive_edge < 1:
        raise ArgumentError(f"alive_edge must lie strictly between 0 and 1; got {alive_edge!r}")
    if not (math.isfinite(purchases_edge) and purchases_edge > 0):
        raise ArgumentError(f"purchases_edge must be a number above 0; got {purchases_edge!r}")


def _check_predictions(predictions: pd.DataFrame) -> None:
    missing = [c for c in _COLUMNS if c not in predictions.columns]
    if missing:
        raise ContractError(f"predictions lacks the column {', '.join(missing)}")
    if predictions.empty:
        raise ContractError("predictions is empty: there is nobody to place")
    refuse(predictions.index.duplicated(), "predictions names a customer twice", "keep one row each")
    x, alive, expected = (predictions[c].to_numpy(dtype=float) for c in _COLUMNS)
    refuse(
        ~((x >= 0) & (x == np.floor(x))), "predictions.frequency is no count", "count repeat purchase days"
    )
    refuse(
        ~((alive >= 0) & (alive <= 1)), "predictions.probability_alive is no probability", "mend the model"
    )
    refuse(
        ~((expected >= 0) & np.isfinite(expected)),
        "predictions.expected_purchases is not 0 or more",
        "mend it",
    )


def _spread(part: ArrayLike, size: int, rows: Array) -> Array:
    """Return draws for all customers to place, NaN for those without a prediction."""
    values = np.asarray(part, dtype=float)
    if values.ndim != 2 or values.shape[0] != size or values.shape[1] < _FEWEST:
        raise ArgumentError(
            f"draws must have the shape ({size:,}, draws) with at least {_FEWEST} draws; got {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ArgumentError("draws hold values that are missing or infinite")
    out = values[rows]
    out[rows < 0] = np.nan
    return out


class _Placed(NamedTuple):
    """Where customers are under each draw.

    Attributes:
        chances: Share of draws in each segment, shape (customers, segments).
        sizes: Share of customers in each segment, shape (draws, segments).
        moved: Share of customers who are not where their label says, shape (draws,).
    """

    chances: Array
    sizes: Array
    moved: Array


def _place(
    codes: Array, x: Array, named: Array, drawn: tuple[Array, Array], edges: tuple[float, float]
) -> _Placed:
    size, draws = len(codes), drawn[0].shape[1]
    each, kinds = np.arange(size), len(SEGMENTS)
    chances, sizes, moved = np.zeros((size, kinds)), np.empty((draws, kinds)), np.empty(draws)
    for no in range(draws):  # one at a time, since all at once is a table of customers by draws
        under = np.where(named, 0, _rules(x, drawn[0][:, no], drawn[1][:, no], *edges))
        chances[each, under] += 1 / draws
        sizes[no] = np.bincount(under, minlength=kinds) / size
        moved[no] = (under != codes).mean()
    return _Placed(chances, sizes, moved)


def _draws_limits(values: Array, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return float(low), float(high)


def _from_draws(value: float, drawn: Array, n: int, level: float, unit: str | None = None) -> Estimate:
    low, high = _draws_limits(drawn, level)
    return Estimate(value, low, high, level, f"parametric draws ({drawn.size:,})", n, unit)


def _still(alive: Array, drawn: Array | None, level: float) -> Estimate:
    """Return the share of some customers who still are, on the logit scale.

    Whether each still is one is a coin of its own, whose chance is known as well as the parameters are:
    both go into the limits.
    """
    from scipy.special import expit, logit, ndtri

    value, n = float(alive.mean()), alive.size
    variance = float((alive * (1 - alive)).sum()) / n**2
    if drawn is not None:
        variance += float(drawn.mean(axis=0).var(ddof=1))
    method = "logit, chance alone" if drawn is None else "logit, draws and chance"
    if not (0 < value < 1 and variance > 0):
        return Estimate(value, math.nan, math.nan, level, method, n, "fraction")
    half = float(ndtri((1 + level) / 2)) * math.sqrt(variance) / (value * (1 - value))
    low, high = expit(logit(value) - half), expit(logit(value) + half)
    return Estimate(value, float(low), float(high), level, method, n, "fraction")


def _ahead(expected: Array, drawn: Array | None, level: float) -> Estimate:
    value, n = float(expected.mean()), expected.size
    if drawn is None:
        return Estimate(value, math.nan, math.nan, level, "no draws", n)
    return _from_draws(value, drawn.mean(axis=0), n, level)


def _first_purchase_check(x: Array, alive: Array) -> Check:
    """Mark a model that takes everybody who bought once for a customer still."""
    name = message("Customers with one purchase day")
    once = x == 0
    if once.any() and bool((alive[once] >= 1).all()):
        return Check(
            name,
            "warning",
            message(
                "The model takes everybody who bought once for a customer still, so that nobody is one-time; the "
                "Pareto/NBD and the MBG/NBD do not."
            ),
        )
    return Check(
        name,
        "passed",
        messages(
            "{count} customer has bought on one day only; the model gives them a chance of having left.",
            "{count} customers have bought on one day only; the model gives each a chance of having left.",
            int(once.sum()),
        )
        if once.any()
        else message("Everybody has bought on more than one day."),
    )
