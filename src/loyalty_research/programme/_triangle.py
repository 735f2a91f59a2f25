"""Redemptions by issue cohort and age: from a ledger, or as given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.programme.ledger import EPOCH, PointsLedger

__all__ = ["RedemptionTriangle", "as_triangle", "capped", "redemption_triangle"]

PERIODS = ("M", "Q", "Y")


@dataclass(frozen=True, slots=True)
class RedemptionTriangle:
    """Points redeemed by issue cohort and age, whole periods only.

    Attributes:
        redeemed: Cumulative points redeemed: one row per cohort (its first period as index), one
            column per age in periods; NaN where not yet seen.
        issued: Points issued per cohort, net of corrections.
        held: Points still held per cohort at the end of the last whole period.
    """

    redeemed: pd.DataFrame
    issued: pd.Series[float]
    held: pd.Series[float]


def _periods(days: Any, period: str) -> pd.PeriodIndex:
    return pd.PeriodIndex(np.asarray(days, dtype=np.int64).astype("datetime64[D]"), freq=period)


def redemption_triangle(ledger: PointsLedger, *, period: str = "M") -> RedemptionTriangle:
    """Count redeemed points by when they were issued and how old they were.

    A period that is not over on the ledger's last day is left out, since its cells would look like a
    fall in redemptions. Points that adjustments or refunds took back count as never issued.

    Args:
        ledger: The ledger; oldest points are used first.
        period: ``"M"``, ``"Q"`` or ``"Y"``.

    Raises:
        ArgumentError: When ``period`` is none of these.
        DesignError: When no whole period has points.

    Examples:
        >>> from loyalty_research.programme import points_ledger
        >>> ledger = points_ledger(pd.DataFrame({
        ...     "customer_id": list("aaa"), "points": [100, 50, -120], "type": ["earn", "earn", "redeem"],
        ...     "occurred_at": pd.to_datetime(["2024-01-05", "2024-02-01", "2024-02-29"])}))
        >>> redemption_triangle(ledger).redeemed.to_numpy().tolist()
        [[0.0, 100.0], [20.0, nan]]
    """
    if period not in PERIODS:
        raise ArgumentError(f"period is one of {', '.join(PERIODS)}; got {period!r}")
    last = pd.Period(ledger.as_of, freq=period)
    if last.end_time.date() > ledger.as_of:
        last -= 1
    cut = last.end_time.date().toordinal() - EPOCH
    lots, uses = ledger.lots, ledger.uses[ledger.uses["day"] <= cut]
    if not (lots["issued_day"] <= cut).any():
        raise DesignError("no points were issued in a whole period; name a shorter period")
    scale = 10.0**-ledger.decimals
    cohort = _periods(lots["issued_day"], period).astype("int64").to_numpy()
    first, final = int(cohort.min()), last.ordinal
    rows = final - first + 1
    inside = (lots["issued_day"] <= cut).to_numpy()
    issued = np.bincount(cohort[inside] - first, lots["units"].to_numpy()[inside], rows)
    born = cohort[uses["lot"].to_numpy()] - first
    units, kind = uses["units"].to_numpy(dtype=float), uses["type"].to_numpy()
    held = issued - np.bincount(born, units, rows)
    corrected = np.isin(kind, ["adjust", "refund"])
    issued = issued - np.bincount(born[corrected], units[corrected], rows)
    age = _periods(uses["day"], period).astype("int64").to_numpy() - first - born
    redeem = kind == "redeem"
    flat = np.bincount(born[redeem] * rows + age[redeem], units[redeem], rows * rows)
    table = flat.reshape(rows, rows).cumsum(axis=1) * scale
    table[np.add.outer(np.arange(rows), np.arange(rows)) >= rows] = np.nan
    some = issued > 0
    names = pd.period_range(end=last, periods=rows, freq=period).astype(str)[some]
    return RedemptionTriangle(
        pd.DataFrame(table[some], index=names).dropna(axis=1, how="all"),
        pd.Series(issued[some] * scale, index=names),
        pd.Series(held[some] * scale, index=names),
    )


def as_triangle(source: Any, issued: Any, held: Any, period: str) -> RedemptionTriangle:
    """Return the triangle of a ledger, a triangle, or a table of cohorts by ages with what was issued.

    Raises:
        ArgumentError: When issued is lacking or does not fit.
        DesignError: When more is redeemed than issued.
    """
    if isinstance(source, PointsLedger):
        if issued is not None or held is not None:
            raise ArgumentError("issued and held come from the ledger; give them with a triangle only")
        return redemption_triangle(source, period=period)
    if isinstance(source, RedemptionTriangle):
        return source
    table = source if isinstance(source, pd.DataFrame) else pd.DataFrame(np.array(source, dtype=float))
    table = table.astype(float)
    if issued is None:
        raise ArgumentError("a triangle needs issued: the points issued per cohort, in the order of its rows")
    given = np.array(issued, dtype=float)
    if given.shape != (len(table),) or not np.isfinite(given).all() or (given <= 0).any():
        raise ArgumentError(f"issued has one positive figure for each of the {len(table)} cohorts")
    latest = np.nanmax(np.where(np.isfinite(table), table, -np.inf), axis=1)
    left = given - latest if held is None else np.array(held, dtype=float)
    if left.shape != given.shape or not np.isfinite(left).all() or (left < 0).any():
        raise DesignError("more points are redeemed than issued, or held has a gap or is negative")
    return RedemptionTriangle(table, pd.Series(given, index=table.index), pd.Series(left, index=table.index))


def capped(triangle: RedemptionTriangle, cap: int) -> RedemptionTriangle:
    """Keep ages up to the cap; points beyond it are gone, whatever was held."""
    table = triangle.redeemed.iloc[:, : cap + 1]
    over = np.isfinite(triangle.redeemed.to_numpy()).sum(axis=1) - 1 > cap
    return RedemptionTriangle(table, triangle.issued, triangle.held.where(~over, 0.0))
