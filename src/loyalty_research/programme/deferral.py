"""Deferral of revenue for points by relative stand-alone selling price."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["PointsDeferral", "amount", "points_deferral"]

FINEST = Decimal("1e-12")  # one grain for all figures, so that they add up exactly


@dataclass(frozen=True, repr=False)
class PointsDeferral(Result):
    """What of a sale is earned when points are redeemed.

    Attributes:
        goods: Part of the sale that is earned at once.
        points: Part that is deferred at the sale; with ``goods`` it makes up the sale exactly.
        schedule: One row per period: ``period`` (from 1), ``redeemed`` and ``expected`` points to
            date and in all, ``revenue`` and ``liability`` at its end (exact decimals).
        currency: Currency code, or None.
    """

    title: ClassVar[str] = "Revenue deferred for points"

    goods: Decimal
    points: Decimal
    schedule: pd.DataFrame
    currency: str | None

    def _rows(self) -> Iterable[Row]:
        def exactly(value: Decimal) -> Estimate:
            return Estimate(float(value), math.nan, math.nan, 1.0, "arithmetic", 1, self.currency)

        yield Row(message("earned with the sale"), exactly(self.goods))
        yield Row(message("deferred for points"), exactly(self.points))
        for row in self.schedule.to_dict("records"):
            group = message("period {period}", period=row["period"])
            yield Row(message("revenue from points"), exactly(row["revenue"]), group=group)
            yield Row(message("liability at the end"), exactly(row["liability"]), group=group)

    def _verdict(self) -> str:
        last = self.schedule.iloc[-1]
        unit = f" {self.currency}" if self.currency else ""
        return message(
            "Of the sale, {points}{unit} is deferred for points; after period {period}, {liability}{unit} of it "
            "is still owed. The figure stands on the redemptions expected.",
            points=f"{self.points:,.2f}",
            liability=f"{last['liability']:,.2f}",
            period=last["period"],
            unit=unit,
        )


def amount(value: float | Decimal, name: str, *, above: bool = False) -> Decimal:
    """Return a figure as an exact decimal.

    Raises:
        ArgumentError: When it is no number from 0, or with ``above`` none above 0.
    """
    try:
        found = Decimal(str(value))
    except ArithmeticError as error:
        raise ArgumentError(f"{name} is a number; got {value!r}") from error
    if not found.is_finite() or found < 0 or (above and found == 0):
        raise ArgumentError(f"{name} is a number {'above' if above else 'from'} 0; got {value!r}")
    return found


def points_deferral(
    sales: float | Decimal,
    *,
    point_value: float | Decimal,
    expected: Sequence[float | Decimal],
    redeemed: Sequence[float | Decimal],
    issued: float | Decimal,
    expected_at_sale: float | Decimal | None = None,
    goods_price: float | Decimal | None = None,
    currency: str | None = None,
) -> PointsDeferral:
    """Split a sale between goods and points, and earn the points' part as they are redeemed.

    Breakage is in the figures through the expected redemptions: points that nobody is expected to
    redeem carry no price, and revenue follows redeemed over expected points, caught up whenever the
    expectation changes. The split itself is never changed after the sale.

    Args:
        sales: What customers paid.
        point_value: Stand-alone price of one point that is redeemed.
        expected: Points expected to be redeemed in all, as seen at the end of each period.
        redeemed: Points redeemed in each period.
        issued: Points issued with the sale; no expectation may exceed it.
        expected_at_sale: Points expected to be redeemed as seen at the sale; by default the first
            of ``expected``.
        goods_price: Stand-alone price of the goods; by default ``sales``.
        currency: Currency code, for words.

    Raises:
        ArgumentError: When an option is out of range, the two series differ in length, or more is
            redeemed than was expected in all.

    Examples:
        >>> result = points_deferral(100_000, point_value=1, issued=10_000, expected=[9_500, 9_700],
        ...     redeemed=[4_500, 4_000])
        >>> [round(x) for x in (result.goods, result.points, *result.schedule["revenue"])]
        [91324, 8676, 4110, 3493]

    References:
        IFRS 15, paragraphs 76, B39-B46 and Illustrative Example 52.
    """
    paid, price = amount(sales, "sales", above=True), amount(point_value, "point_value", above=True)
    given = amount(issued, "issued", above=True)
    goods = paid if goods_price is None else amount(goods_price, "goods_price", above=True)
    hoped = [amount(e, "expected", above=True) for e in expected]
    used = [amount(r, "redeemed") for r in redeemed]
    if not hoped or len(hoped) != len(used):
        raise ArgumentError(
            f"expected and redeemed have one figure per period; got {len(hoped)} and {len(used)}"
        )
    first = hoped[0] if expected_at_sale is None else amount(expected_at_sale, "expected_at_sale", above=True)
    if max(first, *hoped) > given:
        raise ArgumentError(f"more points are expected to be redeemed than the {given:,} issued")
    value = first * price
    deferred = (paid * value / (goods + value)).quantize(FINEST)
    rows = []
    before, total = Decimal(0), Decimal(0)
    for period, (points, all_points) in enumerate(zip(used, hoped, strict=True), start=1):
        total += points
        if total > all_points:
            raise ArgumentError(
                f"by period {period}, {total:,} points are redeemed but only {all_points:,} were expected in all; "
                "raise the expectation of that period"
            )
        earned = (deferred * total / all_points).quantize(FINEST)
        rows.append((period, total, all_points, earned - before, deferred - earned))
        before = earned
    schedule = pd.DataFrame(rows, columns=["period", "redeemed", "expected", "revenue", "liability"])
    return PointsDeferral(paid - deferred, deferred, schedule, currency)
