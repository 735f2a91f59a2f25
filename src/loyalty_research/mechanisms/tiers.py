"""Tiers: the more points in a year, the more each further purchase earns."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy import special

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.mechanisms._base import (
    Mechanism,
    MechanismAudit,
    audit_verdict,
    figure,
    plain,
    points_text,
    uplift_result,
)
from loyalty_research.mechanisms._book import Earned, read_book, running
from loyalty_research.mechanisms._checks import at_least, fraction, given, positive
from loyalty_research.mechanisms._closed import (
    days_to_line,
    limited_mean,
    reach_probability,
    size_biased_share,
    uplift_to_break_even,
)
from loyalty_research.stats.proportions import difference_in_proportions, proportion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from loyalty_research.mechanisms._base import (
        BreakEven,
    )
    from loyalty_research.mechanisms._book import Book

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Tiers"]

TIMINGS = ("reached", "held")


@dataclass(frozen=True, kw_only=True)
class Tiers(Mechanism):
    """Tiers reached by qualifying points of a calendar year and held to the end of the next.

    Qualifying points are the base points, without the tier's multiplier. An order earns at the
    tier held before it.

    Attributes:
        names: Names of the tiers, lowest first.
        lines: Qualifying points at which each begins; the first is 0.
        multipliers: What a tier multiplies the base points by; by default 1 everywhere.
        points_per_unit: Base points per unit of money.
        point_value: Worth of a point to the customer, in money.
        point_cost: What it costs the shop; by default its value.
        source: Where the figures come from.

    Raises:
        ArgumentError: When lines do not rise from 0, lengths differ or a figure is out of its range.

    Examples:
        >>> tiers = Tiers(names=("base", "silver", "gold"), lines=(0, 400, 1000),
        ...               multipliers=(1, 1.5, 2), point_value=0.01)
        >>> print(tiers.sentence())  # doctest: +NORMALIZE_WHITESPACE
        Customers earn 1 point per 1 spent as base; from 400 points in a year as silver 1.5 times, from
        1,000 as gold 2 times.
        >>> tiers.tier_at([0, 399, 400, 2500]).tolist()
        ['base', 'base', 'silver', 'gold']
        >>> tiers.spend_to("gold")
        1000.0
    """

    kind: ClassVar[str] = "tiers"

    names: tuple[str, ...]
    lines: tuple[float, ...]
    multipliers: tuple[float, ...] | None = None
    points_per_unit: float = 1.0
    point_value: float | None = None
    point_cost: float | None = None

    def __post_init__(self) -> None:
        for name in ("names", "lines", "multipliers"):
            value = getattr(self, name)
            if isinstance(value, (str, bytes)) or not (value is None or hasattr(value, "__len__")):
                raise ArgumentError(f"{name} must be a sequence with one entry per tier; got {value!r}")
            if value is not None:
                object.__setattr__(self, name, tuple(value))
        if len(self.names) < 2 or len(set(self.names)) != len(self.names):
            raise ArgumentError(f"names must be two or more different tiers; got {self.names!r}")
        if len(self.lines) != len(self.names) or len(self.factors) != len(self.names):
            raise ArgumentError(
                f"there are {len(self.names)} tiers, {len(self.lines)} lines and {len(self.factors)} multipliers; "
                "give one of each per tier"
            )
        self._check_lines()
        positive("points_per_unit", self.points_per_unit)
        for name in ("point_value", "point_cost"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name))

    def _check_lines(self) -> None:
        for line, factor in zip(self.lines, self.factors, strict=True):
            at_least("lines", line)
            at_least("multipliers", factor)
        if self.lines[0] != 0 or any(b <= a for a, b in itertools.pairwise(self.lines)):
            raise ArgumentError(f"lines must rise from 0, or tiers overlap; got {self.lines!r}")

    @property
    def factors(self) -> tuple[float, ...]:
        """Multiplier of each tier."""
        return (1.0,) * len(self.names) if self.multipliers is None else self.multipliers

    def _value(self) -> float:
        return given("point_value", self.point_value, self.kind)

    def _cost(self) -> float:
        return self._value() if self.point_cost is None else self.point_cost

    def sentence(self) -> str:
        """Return the rules as one sentence for a customer."""
        text = message(
            "Customers earn {points} per 1 spent as {name}",
            points=points_text(self.points_per_unit * self.factors[0]),
            name=self.names[0],
        )
        if len(set(self.factors)) == 1:
            lines = [
                message("{name} from {line} points in a year", line=plain(line), name=name)
                for name, line in zip(self.names[1:], self.lines[1:], strict=True)
            ]
            return message("{text}, and as much in every tier: {lines}.", text=text, lines=", ".join(lines))
        steps = []
        for i, (name, line, factor) in enumerate(
            zip(self.names[1:], self.lines[1:], self.factors[1:], strict=True)
        ):
            fields = {"line": plain(line), "name": name, "factor": plain(factor)}
            steps.append(
                message("from {line} points in a year as {name} {factor} times", **fields)
                if i == 0
                else message("from {line} as {name} {factor} times", **fields)
            )
        return text + "; " + ", ".join(steps) + "."

    def tier_at(self, points: Any) -> NDArray[np.object_]:
        """Return the tier that qualifying points reach.

        Args:
            points: Qualifying points, any shape.
        """
        found: NDArray[np.object_] = np.array(self.names, dtype=object)[
            self._index(np.asarray(points, dtype=float))
        ]
        return found

    def _index(self, points: Floats) -> Ints:
        return np.asarray(np.searchsorted(self.lines, points + 1e-9, side="right") - 1, dtype=np.int64)

    def spend_to(self, name: str) -> float:
        """Return the spending of a year that reaches a tier, in money.

        Args:
            name: A tier.

        Raises:
            ArgumentError: When there is no such tier.
        """
        if name not in self.names:
            raise ArgumentError(f"there is no tier {name!r}; there is {', '.join(self.names)}")
        return self.lines[self.names.index(name)] / self.points_per_unit

    def _held(self, book: Book) -> Ints:
        """Return the tier held before each order."""
        base = self.points_per_unit * book.amount
        starts = book.first() | (np.diff(book.year, prepend=book.year[0]) != 0)
        total = running(base, starts)
        before = total - base
        before[starts] = 0.0
        ends = np.flatnonzero(np.r_[starts[1:], True])
        final = total[ends]
        # last year's total holds this year, where the customer bought in the year before; a tier
        # that was only held does not renew itself
        same = np.r_[False, book.customer[ends][1:] == book.customer[ends][:-1]]
        next_year = np.r_[False, np.diff(book.year[ends]) == 1]
        carried = np.where(same & next_year, np.r_[0.0, final[:-1]], 0.0)
        spell = np.cumsum(starts) - 1
        return np.asarray(np.maximum(self._index(before), self._index(carried)[spell]), dtype=np.int64)

    def _earn(self, book: Book) -> Earned:
        points = self.points_per_unit * book.amount * np.array(self.factors)[self._held(book)]
        return Earned(points, points * self._value(), points * self._cost())

    def tiers_held(self, transactions: Any) -> pd.Series[str]:
        """Return the tier held before each transaction, missing where a row earns nothing.

        Args:
            transactions: As for :meth:`earn`.

        Raises:
            ContractError: When the table is unusable.
        """
        book = read_book(transactions)
        out = np.full(len(book.index), None, dtype=object)
        out[book.row] = np.array(self.names, dtype=object)[self._held(book)]
        return pd.Series(out, index=book.index, name="tier", dtype=object)

    def _bands(self) -> Iterator[tuple[float, float, float]]:
        edges = [line / self.points_per_unit for line in self.lines] + [math.inf]
        yield from zip(edges[:-1], edges[1:], self.factors, strict=True)

    def mix(self, *, mean_spend: float, cv: float = 1.0) -> dict[str, float]:
        """Return the share of customers whose year's spending reaches each tier and no higher.

        Args:
            mean_spend: Mean spending of a year, gamma between customers.
            cv: Its coefficient of variation, above 0.

        Returns:
            Share by tier, summing to 1.

        Raises:
            ArgumentError: When a figure is out of its range.

        Examples:
            >>> tiers = Tiers(names=("green", "gold"), lines=(0, 300), points_per_unit=2)
            >>> round(tiers.mix(mean_spend=150)["gold"], 4)  # exp(-1)
            0.3679
        """
        positive("mean_spend", mean_spend)
        shape, scale = 1 / positive("cv", cv) ** 2, mean_spend * cv**2
        reached = [1.0, *[float(special.gammaincc(shape, low / scale)) for low, _, _ in self._bands()][1:]]
        shares = [a - b for a, b in zip(reached, [*reached[1:], 0.0], strict=True)]
        return dict(zip(self.names, shares, strict=True))

    def expected_rebate(
        self, *, mean_spend: float, cv: float = 1.0, timing: Literal["reached", "held"] = "held"
    ) -> float:
        """Return the expected rebate of a year, a fraction of spend.

        Args:
            mean_spend: Mean spending of a year, gamma between customers.
            cv: Its coefficient of variation; 0 means all spend the mean.
            timing: ``"held"``: customers spend the same every year and hold the tier all year.
                ``"reached"``: their first year, in which spending beyond a line earns at its tier
                (orders small against the lines).

        Returns:
            Value of points per unit of spend.

        Raises:
            ArgumentError: When a figure is out of its range or the point's value is not stated.

        Examples:
            >>> tiers = Tiers(names=("base", "gold"), lines=(0, 100), multipliers=(1, 2), point_value=0.01)
            >>> round(tiers.expected_rebate(mean_spend=100), 5)  # .01 (1 + 2 / e)
            0.01736
            >>> round(tiers.expected_rebate(mean_spend=100, timing="reached"), 5)  # .01 (1 + 1 / e)
            0.01368
        """
        positive("mean_spend", mean_spend)
        at_least("cv", cv)
        if timing not in TIMINGS:
            raise ArgumentError(f"timing must be one of {', '.join(TIMINGS)}; got {timing!r}")
        weight = 0.0
        for low, high, factor in self._bands():
            if timing == "held":
                share = size_biased_share(low, high, mean=mean_spend, cv=cv)
            else:
                top, bottom = (limited_mean(edge, mean=mean_spend, cv=cv) for edge in (high, low))
                share = (top - bottom) / mean_spend
            weight += factor * share
        return self.points_per_unit * self._value() * weight

    def days_to_tier(self, name: str, *, orders_per_day: float, mean_order: float, cv: float = 1.0) -> float:
        """Return the days of buying that reach a tier's line, on average, were years not to end.

        Args:
            name: A tier.
            orders_per_day: Rate of orders, Poisson.
            mean_order: Mean order value.
            cv: Coefficient of variation of order values.

        Raises:
            ArgumentError: When a figure is out of its range or there is no such tier.

        Examples:
            >>> tiers = Tiers(names=("green", "gold"), lines=(0, 300), points_per_unit=2)
            >>> round(tiers.days_to_tier("gold", orders_per_day=0.5, mean_order=5), 6)  # (1 + 150 / 5) / .5
            62.0
        """
        return days_to_line(self.spend_to(name), orders_per_day=orders_per_day, mean_order=mean_order, cv=cv)

    def reach_probability(
        self, name: str, *, orders_per_day: float, mean_order: float, cv: float = 1.0, days: float = 365
    ) -> float:
        """Return the chance that a customer who keeps buying reaches a tier within a year.

        Args:
            name: A tier.
            orders_per_day: Rate of orders, Poisson.
            mean_order: Mean order value.
            cv: Coefficient of variation of order values.
            days: Days of the qualifying year that are left.

        Raises:
            ArgumentError: When a figure is out of its range or there is no such tier.
        """
        return reach_probability(
            self.spend_to(name), days=days, orders_per_day=orders_per_day, mean_order=mean_order, cv=cv
        )

    def break_even(self, *, margin: float, mean_spend: float, cv: float = 1.0) -> BreakEven:
        """Return the rise of sales that pays for the points.

        Args:
            margin: Margin before rewards, a fraction of spend.
            mean_spend: Mean spending of a year, gamma between customers.
            cv: Its coefficient of variation.

        Returns:
            The rise of members' sales against what they would have bought without the programme,
            with tiers held as before (those who move up for it cost more).

        Raises:
            ArgumentError: When a figure is out of its range or the point's value is not stated.
        """
        fraction("margin", margin)
        worth = self._value()
        cost = self.expected_rebate(mean_spend=mean_spend, cv=cv)
        cost = cost * self._cost() / worth if worth else 0.0
        return uplift_result(uplift_to_break_even(margin, cost), cost, margin, per="spend")

    def audit(self, transactions: Any = None, *, level: float = 0.95, band: float = 0.1) -> MechanismAudit:
        """Hold the tiers against data: who reaches them, and whether totals pile up at the lines.

        Args:
            transactions: As for :meth:`earn`; None leaves all but the rates unmeasured.
            level: Coverage of the intervals.
            band: Width of what counts as near a line, a share of it, above 0 and at most 0.2.

        Returns:
            The marginal rebate by tier, the share of customer-years that reach each (Wilson), and per
            line the share of nearby totals that lie past it against placebo lines 1 - 2 x band and
            1 + 2 x band away (Newcombe).

        Raises:
            ArgumentError: When an option is out of its range.
            ContractError: When the table is unusable.
        """
        check_level(level)
        if not 0 < band <= 0.2:
            raise ArgumentError(f"band must be above 0 and at most 0.2 of a line; got {band!r}")
        rows: list[Row] = []
        if self.point_value is not None:
            rows += [
                figure(
                    "rebate of a tier",
                    self.points_per_unit * f * self.point_value,
                    unit="fraction",
                    group=name,
                )
                for name, f in zip(self.names, self.factors, strict=True)
            ]
        if transactions is None:
            names = (message("Tiers attainable"), message("Threshold pull-in"))
            checks = [Check(name, "not measurable", message("no transactions were given")) for name in names]
            return MechanismAudit(tuple(rows), audit_verdict(message("Tiers"), checks), checks=tuple(checks))
        book = read_book(transactions)
        year = book.customer * 10_000 + book.year
        code = np.unique(year, return_inverse=True)[1]
        totals = np.asarray(np.bincount(code, weights=book.amount), dtype=np.float64)
        reached, check = self._attainable(totals * self.points_per_unit, level)
        pulled = [self._pull_in(totals, name, band, level) for name in self.names[1:]]
        rows += [*reached, *(row for found, _ in pulled for row in found)]
        checks = [check, *(c for _, c in pulled)]
        return MechanismAudit(tuple(rows), audit_verdict(message("Tiers"), checks), checks=tuple(checks))

    def _attainable(self, points: Floats, level: float) -> tuple[list[Row], Check]:
        at = self._index(points)
        shares = [proportion(int((at >= i).sum()), len(at), level=level) for i in range(len(self.names))]
        rows = [
            Row("customer-years that reach a tier", share, group=name)
            for name, share in zip(self.names[1:], shares[1:], strict=True)
        ]
        detail = message(
            "{share} of customer-years reach {name}, the first tier above the base",
            share=shares[1].format(),
            name=self.names[1],
        )
        status: Literal["passed", "warning"] = "warning" if shares[1].high < 0.01 else "passed"
        return rows, Check(message("Tiers attainable"), status, detail)

    def _pull_in(self, totals: Floats, name: str, band: float, level: float) -> tuple[list[Row], Check]:
        line = self.spend_to(name)
        width = band * line
        title = message("Threshold pull-in at {name}", name=name)

        def sides(at: float) -> tuple[int, int]:
            off = totals - at + 1e-9 * line
            return int(((off >= 0) & (off < width)).sum()), int(((off < 0) & (off >= -width)).sum())

        above, below = sides(line)
        others = np.array([sides(line - 2 * width), sides(line + 2 * width)]).sum(axis=0)
        n, m = above + below, int(others.sum())
        if n < 20 or m < 20:
            seen = message(
                "only {count} yearly totals lie near the line; 20 are needed", count=f"{min(n, m):,}"
            )
            return [], Check(title, "not measurable", seen)
        excess = difference_in_proportions(above, n, int(others[0]), m, level=level)
        rows = [Row("pull-in", excess, group=name, estimand="share past the line minus at placebo lines")]
        detail = message(
            "{share} of yearly totals near {line} lie past it, {other} at placebo lines; difference {excess}",
            share=percent(above / n),
            line=number(line),
            other=percent(float(others[0]) / m),
            excess=excess.interval(signed=True),
        )
        return rows, Check(title, "warning" if excess.low > 0 else "passed", detail, p_value=excess.p_value)
