"""Deferred revenue over time: opened, deferred, recognised and closed to the cent, period by period."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.programme._chain_ladder import chain_ladder
from loyalty_research.programme._tail import declared_tail
from loyalty_research.programme._triangle import RedemptionTriangle, as_triangle
from loyalty_research.programme.deferral import amount
from loyalty_research.programme.ledger import PointsLedger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes

    from loyalty_research.programme._chain_ladder import ChainLadder

__all__ = ["DeferralSchedule", "deferral_schedule"]

GRAIN = Decimal("1e-6")  # of points
ZERO = Decimal(0)


@dataclass(frozen=True, repr=False)
class DeferralSchedule(Result):
    """What is deferred for points, rolled forward.

    Attributes:
        schedule: One row per period: ``period, kind`` (``"booked"`` or ``"expected"``), ``opening,
            deferred, recognised, closing`` (exact decimals; opening + deferred - recognised = closing)
            and ``caught_up``, the part of ``recognised`` that comes from a changed expectation.
        cohorts: One row per issue cohort: ``cohort, issued, redeemed, expected`` (points in all),
            ``deferred, closing``.
        allocated: Whether sales were split by stand-alone prices; otherwise points stand at their value.
        decimals: Decimals of the currency.
        currency: Currency code, or None.
    """

    title: ClassVar[str] = "Deferred revenue"

    schedule: pd.DataFrame
    cohorts: pd.DataFrame
    allocated: bool
    decimals: int
    currency: str | None

    @property
    def booked(self) -> pd.DataFrame:
        """The rows of periods that are over."""
        return self.schedule[self.schedule["kind"] == "booked"]

    @property
    def closing(self) -> Decimal:
        """What is deferred at the end of the last period that is over."""
        return Decimal(self.booked["closing"].iloc[-1])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw what is deferred at the end of each period, and how it is expected to run off."""
        from loyalty_research.plots.promises import deferred_over_time

        return deferred_over_time(self.schedule, unit=self.currency, ax=ax)

    def _rows(self) -> Iterable[Row]:
        def exactly(value: Decimal) -> Estimate:
            return Estimate(
                float(value), math.nan, math.nan, 1.0, "arithmetic", len(self.cohorts), self.currency
            )

        names = {
            "opening": message("deferred at the start"),
            "deferred": message("deferred for points issued"),
            "recognised": message("recognised"),
            "closing": message("deferred at the end"),
        }
        for row in self.schedule.to_dict("records"):
            kind = message("booked") if row["kind"] == "booked" else message("expected")
            for column, name in names.items():
                yield Row(name, exactly(row[column]), group=str(row["period"]), extra={"kind": kind})

    def _verdict(self) -> str:
        done = self.booked
        unit = f" {self.currency}" if self.currency else ""
        return message(
            "At the end of {period}, {closing}{unit} is deferred for points, of {deferred}{unit} since {first}; "
            "{recognised}{unit} was recognised. The figures stand on the redemptions expected.",
            period=done["period"].iloc[-1],
            first=done["period"].iloc[0],
            closing=f"{self.closing:,}",
            deferred=f"{sum(done['deferred'], ZERO):,}",
            recognised=f"{sum(done['recognised'], ZERO):,}",
            unit=unit,
        )


@dataclass(frozen=True, slots=True)
class _Cohort:
    """Points of one issue period: redeemed to date by age, first those seen, then those expected."""

    start: int
    issued: Decimal
    held: Decimal
    redeemed: tuple[Decimal, ...]
    seen: int


def _points(value: float) -> Decimal:
    return Decimal(repr(float(value))).quantize(GRAIN)


def _cohorts(triangle: RedemptionTriangle, period: str, fit: ChainLadder | None) -> list[_Cohort]:
    try:
        starts = pd.PeriodIndex(triangle.redeemed.index.astype(str), freq=period).astype("int64").tolist()
    except (ValueError, TypeError) as error:
        raise ArgumentError(
            f"the cohorts of a triangle are named by their period, such as '2024-01' for period {period!r}"
        ) from error
    table = triangle.redeemed.to_numpy(dtype=float)
    out = []
    for row, (start, issued, held) in enumerate(zip(starts, triangle.issued, triangle.held, strict=True)):
        seen = int(np.isfinite(table[row]).sum())
        done = [_points(v) for v in table[row, :seen]]
        more = [] if fit is None else [_points(v) for v in fit.completed[row, seen:]]
        out.append(_Cohort(int(start), _points(issued), _points(held), (*done, *more), seen))
    return out


def _shares(expected: Any, period: str) -> list[tuple[int, Decimal]]:
    """Return the shares expected to be redeemed, each with the ordinal of the period from which it holds."""
    given = expected if isinstance(expected, Mapping) else {None: expected}
    out = []
    for name, share in given.items():
        value = amount(share, "expected", above=True)
        if value > 1:
            raise ArgumentError(f"expected is a share of issued points above 0, up to 1; got {share!r}")
        try:
            start = -(10**9) if name is None else pd.Period(str(name), freq=period).ordinal
        except ValueError as error:
            raise ArgumentError(f"expected names periods such as '2024-01'; got {name!r}") from error
        out.append((start, value))
    if not out:
        raise ArgumentError("expected names at least one share")
    return sorted(out)


def _in_force(shares: list[tuple[int, Decimal]], now: int) -> Decimal:
    known = [share for start, share in shares if start <= now]
    if not known:
        raise ArgumentError("expected has no share for the first period in which points were issued")
    return known[-1]


def _expectation(cohort: _Cohort, age: int, shares: list[tuple[int, Decimal]] | None) -> Decimal:
    """Return points expected to be redeemed in all, as of an age."""
    now = cohort.redeemed[min(age, cohort.seen - 1)]
    latest = cohort.redeemed[cohort.seen - 1]
    if shares is None:
        # what is no longer held cannot be redeemed
        return latest + min(cohort.redeemed[-1] - latest, cohort.held)
    hoped = max(_in_force(shares, cohort.start + age) * cohort.issued, now)
    return min(hoped, latest + cohort.held) if age >= cohort.seen - 1 else hoped


def _future(cohort: _Cohort, expected: Decimal) -> list[Decimal]:
    """Return points redeemed to date at the ages ahead, ending at what is expected in all."""
    latest, ahead = cohort.redeemed[cohort.seen - 1], cohort.redeemed[cohort.seen :]
    if not ahead or ahead[-1] == latest:
        return [expected] if expected > latest else []
    scale = (expected - latest) / (ahead[-1] - latest)
    return [latest + (v - latest) * scale for v in ahead[:-1]] + [expected]


def _balances(
    cohort: _Cohort, deferred: Decimal, shares: list[tuple[int, Decimal]] | None, cent: Decimal
) -> tuple[list[Decimal], list[Decimal]]:
    """Return what is deferred at the end of every age, and what a changed expectation recognised in it."""

    def left(redeemed: Decimal, expected: Decimal) -> Decimal:
        return deferred * (1 - redeemed / expected) if expected else ZERO

    ends, caught = [], []
    before = _expectation(cohort, 0, shares)
    for age in range(cohort.seen):
        now = _expectation(cohort, age, shares)
        ends.append(left(cohort.redeemed[age], now).quantize(cent))
        earlier = cohort.redeemed[age - 1] if age else ZERO
        caught.append((left(earlier, before) - left(earlier, now)).quantize(cent))
        before = now
    for redeemed in _future(cohort, before):
        ends.append(left(redeemed, before).quantize(cent))
        caught.append(ZERO)
    return ends, caught


def deferral_schedule(
    source: Any,
    *,
    point_value: float | Decimal,
    expected: float | Mapping[str, float] | None = None,
    sales: Mapping[str, float | Decimal] | None = None,
    period: str = "M",
    tail: str | None = None,
    decimals: int = 2,
    currency: str | None = None,
) -> DeferralSchedule:
    """Defer revenue for points as they are issued, and recognise it as they are redeemed.

    Each issue cohort is deferred once, at the redemptions expected of it then, and its balance is what
    of them is still to come. Balances are rounded per cohort and period, and what is recognised is their
    difference, so that every period closes to the cent. Breakage is in the figures through the expected
    redemptions, as IFRS 15 and ASC 606 have it.

    Args:
        source: A :class:`PointsLedger` or :class:`RedemptionTriangle`.
        point_value: Stand-alone price of a point that is redeemed.
        expected: Share of issued points that will be redeemed: one for all, or by the period from
            which it holds (``{"2024-01": 0.9, "2025-01": 0.93}``), whose change is caught up at once. When
            None, today's chain ladder by cohort, applied from the start.
        sales: Sales of each period that earned points, by period, to be split by stand-alone prices;
            when None, points stand at their value.
        period: ``"M"``, ``"Q"`` or ``"Y"``.
        tail: ``"exponential"`` or ``"inverse-power"`` for redemptions older than any seen, as for
            :func:`redemption_liability`.
        decimals: Decimals of the currency.
        currency: Currency code.

    Returns:
        The schedule of periods that are over, and of those ahead if no more points were issued.

    Raises:
        ArgumentError: When an option is outside its range.
        DesignError: When no share is named and the chain ladder cannot be drawn.

    Examples:
        >>> from loyalty_research.programme import points_ledger
        >>> ledger = points_ledger(pd.DataFrame({
        ...     "customer_id": list("aaa"), "points": [100, 50, -60], "type": ["earn", "earn", "redeem"],
        ...     "occurred_at": pd.to_datetime(["2024-01-05", "2024-02-01", "2024-02-29"])}))
        >>> found = deferral_schedule(ledger, point_value=0.1, expected=0.8)
        >>> found.schedule[["opening", "deferred", "recognised", "closing"]].astype(str).to_numpy().tolist()
        [['0', '8.00', '0.00', '8.00'], ['8.00', '4.00', '6.00', '6.00'], ['6.00', '0', '6.00', '0.00']]

    References:
        IFRS 15, paragraphs 76, 105, B39-B47 and Illustrative Example 52; ASC 606-10-55-42 to 55-49.
    """
    price = amount(point_value, "point_value", above=True)
    if isinstance(decimals, bool) or not isinstance(decimals, int) or not 0 <= decimals <= 4:
        raise ArgumentError(f"decimals is a whole number from 0 to 4; got {decimals!r}")
    if not isinstance(source, (PointsLedger, RedemptionTriangle)):
        raise ArgumentError("source is a points ledger or a redemption triangle")
    triangle = as_triangle(source, None, None, period)
    shares = None if expected is None else _shares(expected, period)
    fit = _fit(triangle, tail, needed=shares is None)
    cohorts = _cohorts(triangle, period, fit)
    cent = Decimal(1).scaleb(-decimals)
    deferred = _deferred(cohorts, shares, price, sales, period, cent)
    parts = [_balances(c, d, shares, cent) for c, d in zip(cohorts, deferred, strict=True)]
    return DeferralSchedule(
        schedule=_rolled(cohorts, deferred, parts, period),
        cohorts=pd.DataFrame(
            {
                "cohort": triangle.redeemed.index,
                "issued": triangle.issued.to_numpy(),
                "redeemed": [float(c.redeemed[c.seen - 1]) for c in cohorts],
                "expected": [float(_expectation(c, c.seen - 1, shares)) for c in cohorts],
                "deferred": deferred,
                "closing": [ends[c.seen - 1] for c, (ends, _) in zip(cohorts, parts, strict=True)],
            }
        ),
        allocated=sales is not None,
        decimals=decimals,
        currency=currency,
        checks=_checks(cohorts, shares, fit, sales is not None),
    )


def _fit(triangle: RedemptionTriangle, tail: str | None, *, needed: bool) -> ChainLadder | None:
    declared = declared_tail(tail)
    try:
        return chain_ladder(triangle.redeemed.to_numpy(), tail=declared)
    except DesignError as why:
        if needed:
            raise DesignError(f"{why}; or name the share expected to be redeemed (expected=)") from why
        return None


def _deferred(
    cohorts: list[_Cohort],
    shares: list[tuple[int, Decimal]] | None,
    price: Decimal,
    sales: Mapping[str, float | Decimal] | None,
    period: str,
    cent: Decimal,
) -> list[Decimal]:
    """Return what is deferred for each cohort, at the expectation of its own period."""
    names = pd.PeriodIndex.from_ordinals([c.start for c in cohorts], freq=period).astype(str).tolist()  # type: ignore[attr-defined]
    lacking = [n for n in names if sales is not None and n not in sales]
    if lacking:
        raise ArgumentError(f"sales has no figure for {len(lacking)} periods with points, first {lacking[0]}")
    out = []
    for name, cohort in zip(names, cohorts, strict=True):
        value = _expectation(cohort, 0, shares) * price
        if sales is not None and value:
            paid = amount(sales[name], "sales", above=True)
            value = paid * value / (paid + value)
        out.append(value.quantize(cent))
    return out


def _rolled(
    cohorts: list[_Cohort],
    deferred: list[Decimal],
    parts: list[tuple[list[Decimal], list[Decimal]]],
    period: str,
) -> pd.DataFrame:
    """Add cohorts up by calendar period, each rolled forward."""
    first = min(c.start for c in cohorts)
    over = max(c.start + c.seen for c in cohorts)
    last = max(c.start + len(ends) for c, (ends, _) in zip(cohorts, parts, strict=True))
    rows, opening = [], ZERO
    for now in range(first, last):
        new = closing = caught = ZERO
        for cohort, paid, (ends, changes) in zip(cohorts, deferred, parts, strict=True):
            age = now - cohort.start
            if age < 0:
                continue
            new += paid if age == 0 else ZERO
            closing += ends[min(age, len(ends) - 1)]
            caught += changes[age] if age < len(changes) else ZERO
        name = str(pd.Period(ordinal=now, freq=period))
        kind = "booked" if now < over else "expected"
        rows.append((name, kind, opening, new, opening + new - closing, caught, closing))
        opening = closing
    columns = ["period", "kind", "opening", "deferred", "recognised", "caught_up", "closing"]
    return pd.DataFrame(rows, columns=columns)


def _checks(
    cohorts: list[_Cohort],
    shares: list[tuple[int, Decimal]] | None,
    fit: ChainLadder | None,
    allocated: bool,  # a private helper
) -> tuple[Check, ...]:
    checks = [
        Check(
            message("Sales split by stand-alone prices"),
            "passed" if allocated else "warning",
            message("Goods and points share what was paid in proportion to their stand-alone prices.")
            if allocated
            else message(
                "No sales were given, so points stand at their full value; split by stand-alone prices, less is deferred."
            ),
        )
    ]
    if shares is None:
        detail = message(
            "Today's chain ladder is applied from the start; what was expected at the time, and changes since, are not in "
            "the periods behind."
        )
        checks.append(Check(message("Expectation as it was at the time"), "not measurable", detail))
    elif fit is not None:
        issued = sum((c.issued for c in cohorts), ZERO)
        ladder = sum((_expectation(c, c.seen - 1, None) for c in cohorts), ZERO) / issued
        named = shares[-1][1]
        checks.append(
            Check(
                message("Expectation against the chain ladder"),
                "passed" if abs(named - ladder) <= Decimal("0.05") else "warning",
                message(
                    "{named} of points are named as expected to be redeemed; the chain ladder says {ladder}.",
                    named=percent(float(named)),
                    ladder=percent(float(ladder)),
                ),
            )
        )
    ahead = fit is not None
    if not ahead:
        checks.append(
            Check(
                message("Run-off ahead"),
                "not measurable",
                message(
                    "Too few redemptions to say when the rest will be redeemed; it is shown in one period."
                ),
            )
        )
    used = sum(1 for c in cohorts if shares is not None and c.redeemed[c.seen - 1] > shares[-1][1] * c.issued)
    if used:
        checks.append(
            Check(
                message("Redemptions within what was expected"),
                "warning",
                message(
                    "{count} cohorts have redeemed more than the share named; their expectation was raised to it.",
                    count=number(used, digits=0),
                ),
            )
        )
    return tuple(checks)
