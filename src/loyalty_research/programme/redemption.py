"""How many of the points issued are redeemed in time, and how many never will be, by customer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import DesignError
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, percent
from loyalty_research.programme._by_customer import share_of_sums
from loyalty_research.programme._triangle import RedemptionTriangle, capped, redemption_triangle
from loyalty_research.programme._windows import date_of
from loyalty_research.programme.ledger import points_ledger
from loyalty_research.programme.liability import redemption_liability
from loyalty_research.stats.proportions import proportion
from loyalty_research.summaries._frames import EPOCH, as_lazy, collect, positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.estimates import Estimate
    from loyalty_research.programme.ledger import PointsLedger

    Array = NDArray[Any]

__all__ = ["RedemptionRate", "booked_accounts", "breakage_by_age", "redemption_rate"]

GROUPS = 50
TAKEN_BACK = ("adjust", "refund")


@dataclass(frozen=True, repr=False, eq=False)
class RedemptionRate(Result):
    """What became of the points issued in a window, each followed for the same time.

    Attributes:
        rate: Points redeemed in time, as a share of the points issued.
        lapsed: Points that expired in that time, as a share of the points issued.
        redeemers: Share of the customers with points issued who redeemed any of them in time.
        issued: Points issued in the window, less those taken back in time.
        window: Days of the window in which points were issued.
        follow: Days for which each point is followed.
        influence: By how much each customer moves ``rate``.
    """

    title: ClassVar[str] = "Redemption rate"

    rate: Estimate
    lapsed: Estimate
    redeemers: Estimate
    issued: float
    window: int
    follow: int
    influence: pd.Series[float]

    def _rows(self) -> Iterable[Row]:
        of = message("points issued, less those taken back")
        within = message("within {days} days of issue", days=self.follow)
        yield Row(message("points redeemed"), self.rate, group=within, estimand=of)
        yield Row(message("points lapsed"), self.lapsed, group=within, estimand=of)
        who = message("customers with points issued")
        yield Row(message("customers who redeemed"), self.redeemers, group=within, estimand=who)

    def _verdict(self) -> str:
        return message(
            "Of the points issued to {n} customers in {window} days, {rate} were redeemed within {follow} days of their "
            "issue ({interval}), by {who} of the customers.",
            n=f"{self.rate.n:,}",
            window=f"{self.window:,}",
            rate=self.rate.format(),
            follow=f"{self.follow:,}",
            interval=self.rate.interval(),
            who=self.redeemers.format(),
        )


def redemption_rate(
    entries: Any,
    *,
    window: int = 365,
    follow: int = 90,
    as_of: dt.date | str | None = None,
    level: float = 0.95,
) -> RedemptionRate:
    """Return the share of points earned in a window that were redeemed within so many days of their issue.

    Every point is followed for the same time, so that points issued lately do not make redemption look
    slow. The window therefore ends ``follow`` days before the last day. Oldest points are used first;
    points that an adjustment or a refund took back in that time count as never issued.

    Args:
        entries: Table ``points_ledger``, as for :func:`points_ledger`.
        window: Days in which the points were issued.
        follow: Days for which each point is followed.
        as_of: Last day booked; by default the last day of the table.
        level: Confidence level.

    Returns:
        Ratios of sums over customers with the delta method's interval.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When the ledger does not balance or a column or row is wrong.
        DesignError: When no points were issued in the window, or the ledger begins within it.

    Examples:
        >>> lines = [(f"c{i}", "2024-01-10", 100, "earn") for i in range(10)]
        >>> lines += [(f"c{i}", "2024-02-01", -50, "redeem") for i in range(6)]
        >>> ledger = pd.DataFrame(lines, columns=["customer_id", "occurred_at", "points", "type"])
        >>> ledger["occurred_at"] = pd.to_datetime(ledger["occurred_at"])
        >>> redemption_rate(ledger, window=30, follow=60, as_of="2024-04-08").rate
        30.0% (95% interval 15.4% to 50.2%; linearised by customer, wilson; n = 10)

    References:
        Cochran (1977), Sampling Techniques, section 6.4; Korn and Graubard (1998), Survey Methodology 24.
    """
    level = check_level(level)
    window, follow = positive_days(window, "window"), positive_days(follow, "follow")
    ledger = points_ledger(entries, as_of=as_of, decimals=None)
    codes, customers = booked_accounts(entries, ledger)
    return rate_of(ledger, codes, customers, window=window, follow=follow, level=level)


def booked_accounts(entries: Any, ledger: PointsLedger) -> tuple[NDArray[np.int64], pd.Index[Any]]:
    """Return the account of each lot of a ledger, as a code, and the customers by code.

    A ledger keeps its lots by account, in the order in which accounts first appear.

    Args:
        entries: The table the ledger was booked from.
        ledger: The ledger.
    """
    lazy = as_lazy(entries, "points_ledger")
    day = "occurred_date" if "occurred_date" in lazy.collect_schema() else "occurred_at"
    frame = collect(lazy.select("customer_id", day, "points"))
    booked = pd.to_datetime(frame[day]).to_numpy() < np.datetime64(ledger.as_of) + np.timedelta64(1, "D")
    codes, customers = pd.factorize(frame["customer_id"].to_numpy()[booked])
    credit = frame["points"].to_numpy()[booked].astype(float) > 0
    return np.sort(codes[credit].astype(np.int64)), pd.Index(customers)


def rate_of(
    ledger: PointsLedger,
    codes: NDArray[np.int64],
    customers: pd.Index[Any],
    *,
    window: int,
    follow: int,
    level: float,
) -> RedemptionRate:
    """Return the redemption rate of a booked ledger; see :func:`redemption_rate`.

    Raises:
        DesignError: When no points were issued in the window, or the ledger begins within it.
    """
    end = ledger.as_of.toordinal() - EPOCH - follow
    lots, uses = ledger.lots, ledger.uses
    issued_day = lots["issued_day"].to_numpy()
    if not issued_day.size or issued_day.min() > end - window + 1 + window // 10:
        raise DesignError(
            message(
                "the points ledger begins later than the {window} days up to {date} in which points are counted",
                window=f"{window:,}",
                date=date_of(end + EPOCH).isoformat(),
            )
        )
    chosen = (issued_day > end - window) & (issued_day <= end) & (lots["type"] == "earn").to_numpy()
    lot = uses["lot"].to_numpy()
    timely = chosen[lot] & (uses["day"].to_numpy() - issued_day[lot] <= follow)
    kind, units = uses["type"].to_numpy()[timely], uses["units"].to_numpy(dtype=float)[timely]
    size = len(customers)

    def spent(*kinds: str) -> Array:
        own = np.isin(kind, kinds)
        return np.bincount(codes[lot[timely][own]], weights=units[own], minlength=size)

    earned = np.bincount(codes[chosen], weights=lots["units"].to_numpy(dtype=float)[chosen], minlength=size)
    issued = earned - spent(*TAKEN_BACK)
    some = issued > 0
    if not some.any():
        raise DesignError(
            message(
                "no points were issued in the {window} days up to {date}",
                window=f"{window:,}",
                date=date_of(end + EPOCH).isoformat(),
            )
        )
    redeemed, lapsed, issued = spent("redeem")[some], spent("expire")[some], issued[some]
    total = float(issued.sum())
    value = float(redeemed.sum()) / total
    top = redeemed.sum() / total
    return RedemptionRate(
        share_of_sums(redeemed, issued, level=level),
        lapsed=share_of_sums(lapsed, issued, level=level),
        redeemers=proportion(int((redeemed > 0).sum()), int(some.sum()), level=level),
        issued=total * 10.0**-ledger.decimals,
        window=window,
        follow=follow,
        influence=pd.Series((redeemed - value * issued) / total, index=customers[some]),
        checks=(_largest_check(issued, top),),
    )


def _largest_check(issued: Array, rate: float) -> Check:
    share = float(np.sort(issued)[-max(len(issued) // 100, 1) :].sum() / issued.sum())
    name = message("Points in few hands")
    values = {"share": percent(share), "rate": percent(rate)}
    if share < 0.25:
        said = message("The hundredth of customers with most points was issued {share} of them.", **values)
        return Check(name, "passed", said)
    said = message(
        "The hundredth of customers with most points was issued {share} of them, so what these few did decides much of "
        "the {rate}.",
        **values,
    )
    return Check(name, "warning", said)


# --- what will never be redeemed -----------------------------------------------------------------


def breakage_by_age(
    ledger: PointsLedger,
    codes: NDArray[np.int64],
    customers: pd.Index[Any],
    *,
    age: int,
    period: str,
    level: float,
) -> tuple[Estimate, pd.Series[float]]:
    """Return the share of points not redeemed by an age, and how much groups of customers move it.

    The share is the chain ladder's with Mack's error. What customers bring to it is found by leaving out
    one of fifty groups at a time; a customer is in the same group on every day.

    Args:
        ledger: The booked ledger.
        codes: Account of each lot.
        customers: Customers by account.
        age: Periods after the one of issue by which points must be redeemed.
        period: ``"M"``, ``"Q"`` or ``"Y"``.
        level: Confidence level.

    Returns:
        The estimate, and by group the amounts whose squares add up to its variance over customers; NaN
        where a group's share cannot be taken out.

    Raises:
        DesignError: When the ledger is too short for the age, or the chain ladder cannot be had.

    References:
        Mack (1993), ASTIN Bulletin 23; Kott (2001), Journal of Official Statistics 17, 521-526, the
        delete-a-group jackknife.
    """
    whole = redemption_triangle(ledger, period=period)
    reached = whole.redeemed.shape[1] - 1
    if reached < age:
        raise DesignError(
            message(
                "the points ledger has {have} whole periods after the first, and breakage is taken at an age of {age}",
                have=reached,
                age=age,
            )
        )
    fit = redemption_liability(capped(whole, age), level=level)
    if fit.failed_gates:
        raise DesignError(fit.failed_gates[0].detail)
    group = _groups(customers)[codes]
    left = np.array([_without(ledger, whole, group == g, age, period, level) for g in range(GROUPS)])
    scale = math.sqrt((GROUPS - 1) / GROUPS)
    return fit.breakage, pd.Series(scale * (left.mean() - left), index=[f"group {g}" for g in range(GROUPS)])


def _groups(customers: pd.Index[Any]) -> NDArray[np.int64]:
    """Return the group of each customer, from 0: by a hash of the key, so the same on every day."""
    keys = pd.Index(customers).astype(str).to_numpy(dtype=object)
    return (pd.util.hash_array(keys) % GROUPS).astype(np.int64)


def _without(
    ledger: PointsLedger, whole: RedemptionTriangle, own: Array, age: int, period: str, level: float
) -> float:
    """Return the breakage without the lots of a group; NaN where it cannot be had."""
    if not own.any():
        return redemption_liability(capped(whole, age), level=level).breakage.value
    lot = ledger.uses["lot"].to_numpy()
    moved = own[lot]
    number = np.cumsum(own) - 1
    uses = ledger.uses[moved].assign(lot=number[lot[moved]])
    try:
        part = redemption_triangle(replace(ledger, lots=ledger.lots[own], uses=uses), period=period)
        return redemption_liability(capped(_less(whole, part), age), level=level).breakage.value
    except DesignError:
        return math.nan


def _less(whole: RedemptionTriangle, part: RedemptionTriangle) -> RedemptionTriangle:
    """Return one triangle less another of some of its points."""
    table = part.redeemed.reindex(index=whole.redeemed.index, columns=whole.redeemed.columns)
    issued = whole.issued - part.issued.reindex(whole.issued.index, fill_value=0.0)
    held = whole.held - part.held.reindex(whole.held.index, fill_value=0.0)
    rest = whole.redeemed - table.fillna(0.0)
    return RedemptionTriangle(rest.clip(lower=0.0), issued, held.clip(lower=0.0))
