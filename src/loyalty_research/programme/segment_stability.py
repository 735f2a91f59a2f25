"""Sizes of segments, whether customers stay in them, and how far rules overlap."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.data.privacy import suppress_small_cells
from loyalty_research.errors import ContractError, DesignError, listed
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages
from loyalty_research.programme._contact_rows import not_measurable, refuse
from loyalty_research.programme.association import adjusted_rand_index, cramers_v
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = [
    "SegmentOverlap",
    "SegmentSizes",
    "SegmentStability",
    "segment_overlap",
    "segment_sizes",
    "segment_stability",
]

SMALLEST = 5


def suppression_check(hidden: int) -> Check:
    """Say how many cells are hidden."""
    name = message("Small cells")
    if not hidden:
        return Check(name, "passed", message("No cell rests on fewer than five customers."))
    return Check(
        name,
        "warning",
        messages(
            "{count} cell is hidden, since it or a neighbour rests on fewer than five customers.",
            "{count} cells are hidden, since they or a neighbour rest on fewer than five customers.",
            hidden,
        ),
    )


def check_labels(labels: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Return segments of customers where each has one.

    Raises:
        ContractError: When it is empty, or a customer repeats or has no segment.
    """
    if not len(labels):
        raise ContractError(f"{name} is empty: there is nobody to place")
    refuse(labels.isna().to_numpy(), f"{name} has no segment", "give each customer one, such as 'not known'")
    refuse(labels.index.duplicated(), f"{name} names a customer twice", "keep one row each")
    return labels


def segment_order(*series: pd.Series[Any]) -> list[Any]:
    """Return segments in declared order where there is one, otherwise sorted as text."""
    found: list[Any] = []
    for labels in series:
        seen = set(labels)
        kinds = (
            labels.cat.categories if isinstance(labels.dtype, pd.CategoricalDtype) else sorted(seen, key=str)
        )
        found.extend(k for k in kinds if k in seen and k not in found)
    return found


@dataclass(frozen=True, repr=False)
class SegmentSizes(Result):
    """Share of customers in each segment.

    Attributes:
        sizes: Segment to its share; a hidden segment has no value.
        level: Confidence level.
    """

    title: ClassVar[str] = "Segments"

    sizes: dict[str, Estimate]
    level: float

    def _rows(self) -> Iterable[Row]:
        for segment, share in self.sizes.items():
            yield Row(
                message("share of customers"),
                share,
                group=segment,
                estimand=message("of all customers placed"),
            )

    def _verdict(self) -> str:
        shown = {k: v for k, v in self.sizes.items() if v.n}
        if not shown:
            return message("Every segment is too small to be shown.")
        name, share = max(shown.items(), key=lambda item: item[1].value)
        return message(
            "The largest segment is {name}, with {share} of {n} customers.",
            name=name,
            share=share.format(),
            n=f"{share.n:,}",
        )


def hidden_share(level: float) -> Estimate:
    """Return a cell that is not shown."""
    cell = not_measurable(level=level)
    return Estimate(
        cell.value, cell.low, cell.high, level, "hidden: fewer than five customers", 0, "fraction"
    )


def segment_sizes(labels: pd.Series[Any], *, level: float = 0.95) -> SegmentSizes:
    """Return the share of customers in each segment with Wilson's interval.

    Args:
        labels: Segment per customer, index the customer.
        level: Confidence level.

    Returns:
        Shares; segments of fewer than five customers, and what would reveal them, are hidden.

    Raises:
        ContractError: When a customer repeats or has no segment.

    Examples:
        >>> segment_sizes(pd.Series(["loyal"] * 30 + ["one-time"] * 70)).sizes["loyal"]
        30.0% (95% interval 21.9% to 39.6%; wilson; n = 100)
    """
    check_level(level)
    check_labels(labels, "labels")
    order = segment_order(labels)
    counts = labels.value_counts().reindex(order)
    cells = suppress_small_cells(
        pd.DataFrame({"segment": order, "customers": counts.to_numpy(dtype=int)}), count="customers"
    )
    n = len(labels)
    sizes = {
        str(s): hidden_share(level) if c is None else proportion(int(c), n, level=level)
        for s, c in zip(cells["segment"], cells["customers"], strict=True)
    }
    return SegmentSizes(sizes=sizes, level=level, checks=(suppression_check(cells.attrs["suppressed"]),))


@dataclass(frozen=True, repr=False)
class SegmentStability(Result):
    """Whether customers stay in their segment.

    Attributes:
        stayed: Share of all customers in the same segment at both times.
        by_segment: Segment at first to the share still in it; hidden cells have no value.
        association: Cramér's V between the two, or None where one of them has a single segment.
        agreement: Adjusted Rand index of the two, or None likewise.
        transitions: ``before, after, customers, share``, small cells None.
        lost: Customers placed at first only.
        new: Customers placed later only.
    """

    title: ClassVar[str] = "Stability of segments"

    stayed: Estimate
    by_segment: dict[str, Estimate]
    association: Estimate | None
    agreement: Estimate | None
    transitions: pd.DataFrame
    lost: int
    new: int

    def _rows(self) -> Iterable[Row]:
        share = message("still in the same segment")
        yield Row(share, self.stayed, group="all", estimand=message("of customers placed at both times"))
        for segment, estimate in self.by_segment.items():
            yield Row(share, estimate, group=segment, estimand=message("of customers placed there at first"))
        if self.association is not None:
            yield Row(
                message("Cramér's V"),
                self.association,
                group="all",
                estimand=message("segment before and after"),
            )
        if self.agreement is not None:
            yield Row(
                message("adjusted Rand index"),
                self.agreement,
                group="all",
                estimand=message("agreement before and after, beyond chance"),
            )

    def _verdict(self) -> str:
        return message(
            "{share} of {n} customers are in the same segment as before ({interval}).",
            share=self.stayed.format(),
            n=f"{self.stayed.n:,}",
            interval=self.stayed.interval(),
        )


def segment_stability(
    before: pd.Series[Any], after: pd.Series[Any], *, level: float = 0.95
) -> SegmentStability:
    """Return how many customers are in the same segment at two times.

    Args:
        before: Segment per customer at the first time, index the customer.
        after: Segment per customer later, by the same rules.
        level: Confidence level.

    Returns:
        Staying overall and by segment with Wilson's intervals, Cramér's V, the adjusted Rand index, and the
        transition table with cells under five hidden. Customers in only one of the two are counted, not used.

    Raises:
        ContractError: When a customer repeats or has no segment.
        DesignError: When nobody is placed at both times, or the two share no segment.

    Examples:
        >>> first = pd.Series(["loyal"] * 40 + ["one-time"] * 60)
        >>> later = pd.Series(["loyal"] * 30 + ["one-time"] * 70)
        >>> segment_stability(first, later).stayed
        90.0% (95% interval 82.6% to 94.5%; wilson; n = 100)
    """
    check_level(level)
    check_labels(before, "before")
    check_labels(after, "after")
    both = before.index.intersection(after.index)
    if not len(both):
        raise DesignError("nobody is placed at both times, so stability cannot be seen")
    one, two = before.loc[both], after.loc[both]
    order = segment_order(one, two)
    if not set(one) & set(two):
        raise DesignError(
            f"no segment occurs at both times; they are {listed(order)}: use the same rules twice"
        )
    counts = pd.crosstab(one.astype(object).to_numpy(), two.astype(object).to_numpy()).reindex(
        index=order, columns=order, fill_value=0
    )
    table = counts.to_numpy(dtype=float)
    cells = _transitions(order, table)
    kept = {(r["before"], r["after"]): r["customers"] for r in cells.to_dict("records")}
    by_segment = {
        str(s): hidden_share(level)
        if kept[s, s] is None
        else proportion(int(table[i, i]), int(table[i].sum()), level=level)
        for i, s in enumerate(order)
        if table[i].sum()
    }
    several = min((table.sum(axis=1) > 0).sum(), (table.sum(axis=0) > 0).sum()) > 1
    return SegmentStability(
        stayed=proportion(int(np.trace(table)), len(both), level=level),
        by_segment=by_segment,
        association=cramers_v(table, level=level) if several else None,
        agreement=adjusted_rand_index(table, level=level) if several else None,
        transitions=cells,
        lost=len(before) - len(both),
        new=len(after) - len(both),
        checks=(
            suppression_check(cells.attrs["suppressed"]),
            Check(
                message("Customers placed at one time only"),
                "passed" if len(both) == len(before) == len(after) else "warning",
                message(
                    "{lost} are placed only before and {new} only after; they are not in the shares.",
                    lost=f"{len(before) - len(both):,}",
                    new=f"{len(after) - len(both):,}",
                ),
            ),
        ),
    )


def _rectangles(table: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark, for each cell of one to four, the cheapest rectangle of cells that protects it.

    Each row and column then has two blanks or none, which costs fewer cells than mending margin after
    margin. Cells of staying are left alone where that is possible, since they are read first.

    Examples:
        >>> _rectangles(np.array([[90.0, 3, 20], [8, 60, 30], [40, 7, 50]])).astype(int).tolist()
        [[0, 1, 1], [0, 0, 0], [0, 1, 1]]
    """
    size = len(table)
    chosen = np.zeros_like(table, dtype=bool)
    cost = table + np.where(np.eye(size, dtype=bool), table.sum(), 0.0)
    cost[table == 0] = np.inf  # an empty cell protects nothing
    for i, j in np.argwhere((table > 0) & (table < SMALLEST)):
        best, found = np.inf, None
        for k in range(size):
            for m in range(size):
                if k == i or m == j:
                    continue
                corners = [(i, m), (k, j), (k, m)]
                spent = sum(0.0 if chosen[c] else cost[c] for c in corners)
                if spent < best:
                    best, found = spent, corners
        chosen[i, j] = True
        for corner in found or ():
            chosen[corner] = True
    return chosen


def _transitions(order: list[Any], table: NDArray[np.float64]) -> pd.DataFrame:
    totals = table.sum(axis=1)
    chosen = _rectangles(table)
    lines = [
        {
            "before": a,
            "after": b,
            "customers": int(table[i, j]),
            "share": table[i, j] / totals[i],
            "same": i == j,
            "chosen": chosen[i, j],
        }
        for i, a in enumerate(order)
        for j, b in enumerate(order)
        if totals[i]
    ]
    # the share that stayed is published too, so the cells of staying have a known total as well
    cells = suppress_small_cells(
        pd.DataFrame(lines),
        count="customers",
        values=["share"],
        by=["before", "after", "same"],
        also="chosen",
    )
    hidden = cells.attrs["suppressed"]
    cells = cells.drop(columns="same")
    cells.attrs["suppressed"] = hidden
    return cells


@dataclass(frozen=True, repr=False)
class SegmentOverlap(Result):
    """How far two rules name the same customers.

    Attributes:
        pairs: ``first, second, customers, share``: customers under both rules, and their share of
            those under either; hidden cells None.
        shares: Pair of rules to the share of those under either who are under both.
        nobody: Share of customers under no rule.
    """

    title: ClassVar[str] = "Overlap of segments"

    pairs: pd.DataFrame
    shares: dict[tuple[str, str], Estimate]
    nobody: Estimate

    def _rows(self) -> Iterable[Row]:
        for (first, second), share in self.shares.items():
            pair = message("{first} and {second}", first=first, second=second)
            yield Row(
                message("under both rules"), share, group=pair, estimand=message("of customers under either")
            )
        yield Row(message("under no rule"), self.nobody, group="all", estimand=message("of all customers"))

    def _verdict(self) -> str:
        shown = {k: v for k, v in self.shares.items() if v.n and v.value > 0}
        if not shown:
            return message(
                "No overlap of five or more customers is found, so these segments can be added up."
            )
        (first, second), share = max(shown.items(), key=lambda item: item[1].value)
        return message(
            "The rules {first} and {second} overlap most: {share} of customers under either rule are under both, so the "
            "segments cannot be added up.",
            first=first,
            second=second,
            share=share.format(),
        )


def segment_overlap(rules: pd.DataFrame, *, level: float = 0.95) -> SegmentOverlap:
    """Return for each pair of rules how many customers meet both.

    Args:
        rules: One row per customer, one boolean column per rule, such as
            :func:`loyalty_segments` returns without its column ``segment``.
        level: Confidence level.

    Raises:
        ContractError: When there are fewer than two rules, or a column is not boolean.

    Examples:
        >>> rules = pd.DataFrame({"loyal": [True] * 30 + [False] * 20, "negative": [False] * 20 + [True] * 30})
        >>> segment_overlap(rules).shares["loyal", "negative"]
        20.0% (95% interval 11.2% to 33.0%; wilson; n = 50)

    References:
        Jaccard (1912), New Phytologist 11, 37-50.
    """
    check_level(level)
    odd = [str(c) for c in rules.columns if rules[c].dtype != bool]
    if odd or len(rules.columns) < 2 or rules.empty:
        raise ContractError(
            "rules needs rows and at least two columns, all boolean without gaps"
            + (f"; {listed(odd)} is not" if odd else "")
        )
    lines, sizes = [], []
    for a, b in combinations(rules.columns, 2):
        lines.append({"first": str(a), "second": str(b), "customers": int((rules[a] & rules[b]).sum())})
        sizes.append(int((rules[a] | rules[b]).sum()))
    # overlaps add up to no total, so each cell stands alone
    cells = suppress_small_cells(pd.DataFrame(lines), count="customers", by=[["first", "second"]])
    shares = {
        (str(r["first"]), str(r["second"])): hidden_share(level)
        if r["customers"] is None
        else proportion(int(r["customers"]), either, level=level)
        if either
        else not_measurable(level=level)
        for r, either in zip(cells.to_dict("records"), sizes, strict=True)
    }
    nobody = int((~rules.any(axis=1)).sum())
    return SegmentOverlap(
        pairs=cells.assign(share=[s.value for s in shares.values()]),
        shares=shares,
        nobody=proportion(nobody, len(rules), level=level)
        if not 0 < nobody < SMALLEST
        else hidden_share(level),
        checks=(suppression_check(cells.attrs["suppressed"]),),
    )
