"""What has been promised: points still to be redeemed, breakage, and expiry rules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages, number, percent
from loyalty_research.programme._chain_ladder import chain_ladder, lognormal_limits
from loyalty_research.programme.ledger import EPOCH, PointsLedger

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes

    from loyalty_research.programme._chain_ladder import ChainLadder

__all__ = [
    "ExpiryWhatIf",
    "RedemptionLiability",
    "RedemptionTriangle",
    "expiry_what_if",
    "redemption_liability",
    "redemption_triangle",
]

PERIODS = ("M", "Q", "Y")
METHOD = "chain ladder, Mack s.e., lognormal"


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


@dataclass(frozen=True, repr=False)
class RedemptionLiability(Result):
    """Points that are still to be redeemed, and those that will not be.

    Attributes:
        cohorts: One row per issue cohort: ``cohort, issued, redeemed, held, expected,
            standard_error, low, high`` in points.
        factors: Development factors, age by age.
        expected: Points still to be redeemed by the last age in the triangle.
        standard_error: Mack's standard error of it.
        value_per_point: Money or cost per redeemed point.
        currency: Currency code, or None.
        level: Confidence level.
        last_age: Age in periods up to which redemptions are counted.
    """

    title: ClassVar[str] = "Redemption liability"

    cohorts: pd.DataFrame
    factors: tuple[float, ...]
    expected: float
    standard_error: float
    value_per_point: float
    currency: str | None
    level: float
    last_age: int

    @property
    def points(self) -> Estimate:
        """Points still to be redeemed."""
        return self._estimate(1.0, 0.0, None)

    @property
    def liability(self) -> Estimate:
        """Points still to be redeemed at their value."""
        return self._estimate(self.value_per_point, 0.0, self.currency)

    @property
    def redemption(self) -> Estimate:
        """Share of issued points that will have been redeemed by the last age."""
        issued = float(self.cohorts["issued"].sum())
        return self._estimate(1 / issued, float(self.cohorts["redeemed"].sum()) / issued, "fraction")

    @property
    def breakage(self) -> Estimate:
        """Share of issued points that are not redeemed by the last age, lapsed ones among them."""
        got = self.redemption
        return Estimate(1 - got.value, 1 - got.high, 1 - got.low, got.level, got.method, got.n, got.unit)

    def _estimate(self, scale: float, start: float, unit: str | None) -> Estimate:
        from scipy.special import ndtri

        held = float(self.cohorts["held"].sum())
        z = float(ndtri(0.5 + self.level / 2))
        limits = lognormal_limits(self.expected, self.standard_error, z)
        # nobody can redeem points that are not there
        low, high = (start + scale * min(x, max(held, self.expected)) for x in limits)
        value = start + scale * self.expected
        return Estimate(value, low, high, self.level, METHOD, len(self.cohorts), unit)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw each issue cohort: redeemed, still expected, not expected."""
        from loyalty_research.plots.promises import points_by_cohort

        return points_by_cohort(self.cohorts, ax=ax)

    def _rows(self) -> Iterable[Row]:
        by = message("by age {age}", age=self.last_age)
        yield Row(message("points still to be redeemed"), self.points, estimand=by)
        yield Row(message("liability"), self.liability, estimand=by)
        yield Row(message("share of issued points redeemed"), self.redemption, estimand=by)
        yield Row(message("breakage"), self.breakage, estimand=by)
        for row in self.cohorts.to_dict("records"):
            yield Row(
                message("points still to be redeemed"),
                Estimate(row["expected"], row["low"], row["high"], self.level, METHOD, len(self.cohorts)),
                group=str(row["cohort"]),
                estimand=by,
            )

    def _verdict(self) -> str:
        held = float(self.cohorts["held"].sum())
        return message(
            "Of {held} points held, {points} are expected to be redeemed ({interval}), worth {worth}; "
            "{breakage} of all points issued would not be redeemed within {age} periods of their issue. This holds if "
            "members go on redeeming as they did.",
            age=self.last_age,
            held=number(held, digits=0),
            points=number(self.expected, digits=0),
            interval=self.points.interval(),
            worth=self.liability.format(),
            breakage=percent(self.breakage.value),
        )


def _positive(value: float, name: str) -> float:
    if isinstance(value, bool) or not (math.isfinite(value) and value > 0):
        raise ArgumentError(f"{name} is a number above 0; got {value!r}")
    return float(value)


def _as_triangle(source: Any, issued: Any, held: Any, period: str) -> RedemptionTriangle:
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


def _capped(triangle: RedemptionTriangle, cap: int) -> RedemptionTriangle:
    """Keep ages up to the cap; points beyond it are gone, whatever was held."""
    table = triangle.redeemed.iloc[:, : cap + 1]
    over = np.isfinite(triangle.redeemed.to_numpy()).sum(axis=1) - 1 > cap
    return RedemptionTriangle(table, triangle.issued, triangle.held.where(~over, 0.0))


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ArgumentError(f"{name} is a whole number of periods from 1; got {value!r}")
    return int(value)


def redemption_liability(
    source: Any,
    *,
    issued: Any = None,
    held: Any = None,
    period: str = "M",
    expires_after: int | None = None,
    value_per_point: float = 1.0,
    currency: str | None = None,
    level: float = 0.95,
) -> RedemptionLiability:
    """Expect future redemptions of the points out there, by chain ladder over issue cohorts.

    The triangle has no tail: redemptions older than its last age are not in the figure unless points
    lapse by then, and a check says so. Under Mack's own assumptions with eight cohorts, 95% intervals
    held the truth in 92.4% of 2,000 simulated triangles: with few cohorts they are a little short.

    Args:
        source: A :class:`PointsLedger`, a :class:`RedemptionTriangle`, or cohorts by ages of
            cumulative redeemed points (frame or array, oldest cohort first, NaN where not seen).
        issued: Points issued per cohort; for a frame or array.
        held: Points still held per cohort; for a frame or array, by default issued less redeemed.
        period: ``"M"``, ``"Q"`` or ``"Y"``; for a ledger.
        expires_after: Periods after the one of issue in which points can still be redeemed.
        value_per_point: Money per redeemed point.
        currency: Currency code of that value.
        level: Confidence level.

    Returns:
        Liability, redemption and breakage with intervals. The verdict is withheld when more
        redemptions are projected than points are held.

    Raises:
        ArgumentError: When an option is outside its range.
        DesignError: When a cohort has no redemption to develop from, the triangle is too short, or
            points were redeemed after their expiry.

    Examples:
        >>> nan = float("nan")
        >>> result = redemption_liability(
        ...     [[10, 20, 22, 23], [12, 25, 27, nan], [9, 17, nan, nan], [11, nan, nan, nan]],
        ...     issued=[40, 45, 30, 40], value_per_point=0.01, currency="EUR")
        >>> round(result.points.value, 2), round(result.breakage.value, 3)
        (17.62, 0.383)

    References:
        Mack (1993), ASTIN Bulletin 23, 213-225.
    """
    check_level(level)
    value = _positive(value_per_point, "value_per_point")
    triangle = _as_triangle(source, issued, held, period)
    if expires_after is not None:
        cap = _whole(expires_after, "expires_after")
        whole = triangle.redeemed.to_numpy()
        late = float(np.nansum(np.diff(whole, axis=1)[:, cap:]))
        if late > 0:
            raise DesignError(
                f"{late:,.2f} points were redeemed later than {cap} periods after their issue, so they did not "
                "expire then; name the rule that held"
            )
        triangle = _capped(triangle, cap)
    return _liability(triangle, expires_after, value, currency, level)


def _liability(
    triangle: RedemptionTriangle, cap: int | None, value: float, currency: str | None, level: float
) -> RedemptionLiability:
    from scipy.special import ndtri

    table = triangle.redeemed.to_numpy()
    fit = chain_ladder(table)
    z = float(ndtri(0.5 + level / 2))
    limits = [lognormal_limits(v, s, z) for v, s in zip(fit.outstanding, fit.standard_errors, strict=True)]
    cohorts = pd.DataFrame(
        {
            "cohort": triangle.redeemed.index,
            "issued": triangle.issued.to_numpy(),
            "redeemed": fit.completed[:, -1] - fit.outstanding,
            "held": triangle.held.to_numpy(),
            "expected": fit.outstanding,
            "standard_error": fit.standard_errors,
            "low": [x[0] for x in limits],
            "high": [x[1] for x in limits],
        }
    )
    return RedemptionLiability(
        cohorts=cohorts,
        factors=tuple(float(f) for f in fit.factors),
        expected=fit.total,
        standard_error=fit.total_standard_error,
        value_per_point=value,
        currency=currency,
        level=level,
        last_age=table.shape[1] - 1,
        checks=_checks(cohorts, fit, cap, table.shape[1] - 1),
    )


def _checks(cohorts: pd.DataFrame, fit: ChainLadder, cap: int | None, last_age: int) -> tuple[Check, ...]:
    held = float(cohorts["held"].sum())
    over = int((cohorts["expected"] > cohorts["held"] * (1 + 1e-9)).sum())
    beyond = fit.total > held * (1 + 1e-9)
    bound = Check(
        message("Projection within the points held"),
        "failed" if beyond else "warning" if over else "passed",
        message(
            "{points} redemptions are projected from {held} points held: redemption has changed between cohorts",
            points=number(fit.total, digits=0),
            held=number(held, digits=0),
        )
        if beyond
        else messages(
            "{count} cohort is projected to redeem more points than it holds.",
            "{count} cohorts are projected to redeem more points than they hold.",
            over,
        )
        if over
        else message("No cohort is projected to redeem more than it holds."),
        gate=True,
    )
    tail = cap is None or cap > last_age
    return (
        bound,
        Check(
            message("Redemptions older than the triangle"),
            "warning" if tail else "passed",
            message(
                "The oldest cohort is {age} periods old; what is redeemed later is not in the figure.",
                age=last_age,
            )
            if tail
            else message(
                "Points lapse {age} periods after their issue, and the triangle reaches that far.",
                age=last_age,
            ),
        ),
    )


@dataclass(frozen=True, repr=False)
class ExpiryWhatIf(Result):
    """Expiry rules side by side, if members redeemed as they do.

    Attributes:
        policies: One row per rule: ``expires_after`` (periods), ``redemption``, ``breakage`` (with
            ``_low`` and ``_high``; shares of issued points), ``liability`` (with ``_low`` and ``_high``).
        level: Confidence level.
        cohorts: Issue cohorts behind the figures.
        currency: Currency code, or None.
    """

    title: ClassVar[str] = "Expiry rules"

    policies: pd.DataFrame
    level: float
    cohorts: int
    currency: str | None

    def _rows(self) -> Iterable[Row]:
        names = {
            "redemption": message("share of issued points redeemed"),
            "breakage": message("breakage"),
            "liability": message("liability"),
        }
        for row in self.policies.to_dict("records"):
            for column, name in names.items():
                unit = self.currency if column == "liability" else "fraction"
                limits = row[f"{column}_low"], row[f"{column}_high"]
                yield Row(
                    name,
                    Estimate(row[column], *limits, self.level, METHOD, self.cohorts, unit),
                    group=message("expires after {age} periods", age=row["expires_after"]),
                )

    def _verdict(self) -> str:
        first, last = self.policies.iloc[0], self.policies.iloc[-1]
        return message(
            "With points that expire after {short} periods, {few} of issued points would be redeemed; after {long}, "
            "{many}. Members who hurry to redeem, or leave, because of a shorter expiry are not in these figures; "
            "only a trial would show them.",
            short=int(first["expires_after"]),
            long=int(last["expires_after"]),
            few=percent(first["redemption"]),
            many=percent(last["redemption"]),
        )


def expiry_what_if(
    source: Any,
    *,
    expires_after: Sequence[int],
    issued: Any = None,
    held: Any = None,
    period: str = "M",
    value_per_point: float = 1.0,
    currency: str | None = None,
    level: float = 0.95,
) -> ExpiryWhatIf:
    """Say what other expiry rules would have redeemed, at the ages at which members redeem now.

    A redemption older than the rule allows counts as lapsed. Nobody's behaviour changes, which the
    verdict says.

    Args:
        source: As for :func:`redemption_liability`.
        expires_after: Rules to compare: periods after the one of issue, within what the triangle saw.
        issued: As for :func:`redemption_liability`.
        held: As for :func:`redemption_liability`.
        period: As for :func:`redemption_liability`.
        value_per_point: Money per redeemed point.
        currency: Currency code of that value.
        level: Confidence level.

    Raises:
        ArgumentError: When a rule lies beyond the triangle's last age, or an option is out of range.
        DesignError: As for :func:`redemption_liability`.

    Examples:
        >>> nan = float("nan")
        >>> result = expiry_what_if(
        ...     [[10, 20, 22, 23], [12, 25, 27, nan], [9, 17, nan, nan], [11, nan, nan, nan]],
        ...     issued=[40, 45, 30, 40], expires_after=[2, 3])
        >>> result.policies["redemption"].round(3).tolist()
        [0.59, 0.617]
    """
    check_level(level)
    value = _positive(value_per_point, "value_per_point")
    caps = sorted({_whole(k, "expires_after") for k in expires_after})
    triangle = _as_triangle(source, issued, held, period)
    last = triangle.redeemed.shape[1] - 1
    if not caps or caps[-1] > last:
        raise ArgumentError(
            f"expires_after names rules of 1 to {last} periods: older redemptions were never seen"
        )
    rows = []
    for cap in caps:
        found = _liability(_capped(triangle, cap), cap, value, currency, level)
        row: dict[str, Any] = {"expires_after": cap}
        for name in ("redemption", "breakage", "liability"):
            estimate: Estimate = getattr(found, name)
            row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        rows.append(row)
    return ExpiryWhatIf(pd.DataFrame(rows), level, len(triangle.issued), currency)
