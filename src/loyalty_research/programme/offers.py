"""Offers against a holdout: what they add, what they only pull forward, what coupons replace."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, percent
from loyalty_research.programme._campaign_arms import (
    arm_masks,
    before_check,
    cluster_codes,
    few_clusters_check,
    mean_difference,
    ratio_check,
)
from loyalty_research.programme._contact_rows import as_moment, refuse
from loyalty_research.programme.contact_dose import margins, window_sums
from loyalty_research.stats.ratios import fieller
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["CouponCannibalisation", "OfferLift", "coupon_cannibalisation", "lift_of_windows", "offer_lift"]


@dataclass(frozen=True, repr=False)
class OfferLift(Result):
    """Margin per customer of those offered less those held out, before, during and after.

    Attributes:
        before: Difference in the window before the offer; about 0 where arms were drawn by lot.
        during: Difference while the offer ran.
        after: Difference in the window after it; below 0 where orders were only pulled forward.
        net: Difference during and after together: what the offer added.
        after_days: Days of the window after.
    """

    title: ClassVar[str] = "Lift of an offer against a holdout"

    before: Estimate
    during: Estimate
    after: Estimate
    net: Estimate
    after_days: int

    def _rows(self) -> Iterable[Row]:
        estimand = message("offered minus held out, all assigned")
        for group, estimate in (
            (message("before the offer"), self.before),
            (message("during the offer"), self.during),
            (message("after the offer"), self.after),
            (message("during and after"), self.net),
        ):
            yield Row(message("margin per customer"), estimate, group=group, estimand=estimand)

    def _verdict(self) -> str:
        net = self.net
        shown = {
            "net": net.format(signed=True),
            "interval": net.interval(signed=True),
            "days": str(self.after_days),
        }
        if self.during.low > 0 and self.after.high < 0:
            return message(
                "Part of the lift was pulled forward: {during} per customer during the offer, {after} in the {days} "
                "days after it. Together {net} ({interval}).",
                during=self.during.format(signed=True),
                after=self.after.format(signed=True),
                **shown,
            )
        if net.low > 0:
            return message(
                "The offer added {net} of margin per customer ({interval}), {days} days afterwards included.",
                **shown,
            )
        if net.high < 0:
            return message(
                "The offer lowered margin per customer by {loss} ({interval}), {days} days afterwards included.",
                loss=net.format(-net.value),
                interval=shown["interval"],
                days=shown["days"],
            )
        return message(
            "Whether the offer added margin cannot be told: {net} per customer ({interval}), {days} days afterwards "
            "included.",
            **shown,
        )


def offer_lift(
    customers: pd.DataFrame,
    transactions: pd.DataFrame,
    *,
    treated: str,
    control: str,
    start: dt.date | str,
    end: dt.date | str,
    after_days: int,
    as_of: dt.date | str,
    before_days: int | None = None,
    arm: str = "arm",
    margin: float | None = None,
    ratio: float | None = None,
    covariates: Sequence[str] = (),
    cluster: str | None = None,
    currency: str | None = None,
    level: float = 0.95,
) -> OfferLift:
    """Return what an offer added to margin, with the window before and the window after it.

    All assigned customers count, whether they used the offer or not. Its cost belongs into the
    margin (a discount lowers ``amount``; other costs into ``cost_of_goods``). An offer that only moves
    orders shows as a lift during and a loss after: judge ``net``.

    Args:
        customers: ``customer_id`` and the column ``arm``, one row per customer assigned by lot.
        transactions: ``customer_id, transacted_at, amount`` and ``cost_of_goods`` or ``margin``.
        treated: Label of those offered.
        control: Label of those held out.
        start: First moment of the offer, naive UTC.
        end: First moment after it.
        after_days: Days after the offer in which orders may be missing.
        as_of: Last day observed; the window after must have ended.
        before_days: Days of the window before; by default as long as the offer.
        arm: Column of the arm.
        margin: Share of the amount that is margin, a fraction.
        ratio: Planned size of the treated over that of the control, for the sample-ratio gate; of their
            clusters where ``cluster`` is named.
        covariates: Columns of ``customers`` known before the offer that narrow the interval; ``"before"``
            is the margin in the window before.
        cluster: Column of what was assigned as a whole, such as the shop, where it was not customers.
        currency: Code of the margin's currency, for display.
        level: Confidence level.

    Raises:
        ArgumentError: When windows are not in order or had not ended.
        ContractError: When a column is missing or a row is bad.
        DesignError: When nobody, or one customer only, was held out, or a cluster lies in both arms.

    Examples:
        >>> people = pd.DataFrame({"customer_id": list("abcd"), "arm": ["in", "in", "out", "out"]})
        >>> orders = pd.DataFrame({"customer_id": list("abcd"), "amount": [40.0, 20, 10, 20],
        ...     "transacted_at": pd.to_datetime(["2024-05-03", "2024-05-04", "2024-05-03", "2024-05-20"])})
        >>> found = offer_lift(people, orders, treated="in", control="out", start="2024-05-01",
        ...     end="2024-05-08", after_days=28, as_of="2024-06-30", margin=0.5)
        >>> found.during.value, found.after.value, found.net.value
        (12.5, -5.0, 7.5)

    References:
        Welch (1947), Biometrika 34, 28-35; Deng et al. (2013), WSDM, for covariates; Neslin (2002),
        Sales Promotion, chapter 3, on purchase acceleration.
    """
    check_level(level)
    first, last = as_moment(start, "start"), as_moment(end, "end")
    if not first < last:
        raise ArgumentError("start must come before end")
    span = (
        last - first if before_days is None else pd.Timedelta(days=positive_days(before_days, "before_days"))
    )
    until = last + pd.Timedelta(days=positive_days(after_days, "after_days"))
    if until > as_moment(as_of, "as_of") + pd.Timedelta(days=1):
        raise ArgumentError(
            f"the {after_days} days after the offer end {until.date()}, but the data end {as_of}: wait, or shorten them"
        )
    if "customer_id" not in customers.columns:
        raise ContractError("customers lacks the column customer_id")
    refuse(
        customers["customer_id"].duplicated().to_numpy(), "customers.customer_id repeats", "keep one row each"
    )
    own, held = arm_masks(customers, arm, treated, control, "customers")
    groups = cluster_codes(customers, cluster, own, held, "customers")
    gains, people = margins(transactions, margin), pd.Index(customers["customer_id"])
    windows = {
        "before": (first - span, first),
        "during": (first, last),
        "after": (last, until),
        "net": (first, until),
    }
    sums = {name: window_sums(gains, people, a, b) for name, (a, b) in windows.items()}
    known = _covariates(customers, covariates, sums["before"])
    return lift_of_windows(
        sums,
        own,
        held,
        covariates=known,
        clusters=groups,
        after_days=after_days,
        ratio=ratio,
        currency=currency,
        level=level,
    )


def lift_of_windows(
    sums: Mapping[str, Floats],
    own: NDArray[np.bool_],
    held: NDArray[np.bool_],
    *,
    after_days: int,
    covariates: Mapping[str, Floats] | None = None,
    clusters: NDArray[np.int64] | None = None,
    ratio: float | None = None,
    currency: str | None = None,
    level: float = 0.95,
) -> OfferLift:
    """Return the lift from each customer's margin in the windows around an offer.

    Args:
        sums: ``before``, ``during``, ``after`` and ``net`` to margins, shape ``(n,)`` each.
        own: Which customers were offered.
        held: Which were held out.
        after_days: Days of the window after.
        covariates: Name to values known before the offer.
        clusters: Codes of what was assigned as a whole.
        ratio: Planned size of the treated over that of the control.
        currency: Code of the margin's currency.
        level: Confidence level.
    """
    found = {
        name: mean_difference(
            values,
            own,
            held,
            level=level,
            unit=currency,
            # the window before shows whether the draw was fair, so it is shown as it is
            covariates=None if name == "before" else covariates,
            clusters=clusters,
        )
        for name, values in sums.items()
    }
    sizes = [len(np.unique(clusters[m])) if clusters is not None else int(m.sum()) for m in (own, held)]
    checks = (
        before_check(found["before"]),
        *ratio_check(sizes[0], sizes[1], ratio),
        *few_clusters_check(clusters, own, held),
    )
    return OfferLift(**found, after_days=after_days, checks=checks)


def _covariates(customers: pd.DataFrame, wanted: Sequence[str], before: Floats) -> dict[str, Floats]:
    """Return the covariates by name; ``before`` is the margin in the window before the offer."""
    if isinstance(wanted, str):
        raise ArgumentError(f"covariates is a list of names, such as ['before']; got {wanted!r}")
    if "before" in wanted and "before" in customers.columns:
        raise ContractError("customers.before clashes with the margin before the offer: rename the column")
    missing = [c for c in wanted if c != "before" and c not in customers.columns]
    if missing:
        raise ContractError(f"customers lacks the covariate {', '.join(missing)}")
    found = {}
    for name in wanted:
        if name == "before":
            found["margin before"] = before
            continue
        if not pd.api.types.is_numeric_dtype(customers[name]):
            raise ContractError(f"customers.{name} holds {customers[name].dtype}, not numbers: convert it")
        values = customers[name].to_numpy(dtype=float, na_value=np.nan)
        refuse(~np.isfinite(values), f"customers.{name} is missing or not finite", "fill it, or leave it out")
        found[name] = values
    return found


@dataclass(frozen=True, repr=False)
class CouponCannibalisation(Result):
    """Share of coupon orders that would have come without the coupon.

    Attributes:
        share: That share, 1 less incremental orders per coupon order.
        incremental: Orders per customer that the coupon added.
        redeemed: Coupon orders per customer, offered less held out.
    """

    title: ClassVar[str] = "Orders that coupons replaced"

    share: Estimate
    incremental: Estimate
    redeemed: Estimate

    def _rows(self) -> Iterable[Row]:
        yield Row(
            message("coupon orders that would have come anyway"),
            self.share,
            estimand=message("of coupon orders, all assigned"),
        )
        offered = message("offered minus held out, all assigned")
        yield Row(message("orders per customer"), self.incremental, estimand=offered)
        yield Row(message("coupon orders per customer"), self.redeemed, estimand=offered)

    def _verdict(self) -> str:
        if math.isnan(self.share.low):
            return message("Too few coupon orders to say what share would have come anyway.")
        return message(
            "{share} of coupon orders would have come without the coupon ({interval}).",
            share=percent(self.share.value, digits=0),
            interval=self.share.interval(),
        )


def coupon_cannibalisation(
    units: pd.DataFrame,
    *,
    treated: str,
    control: str,
    orders: str = "orders",
    coupon_orders: str = "coupon_orders",
    arm: str = "arm",
    level: float = 0.95,
) -> CouponCannibalisation:
    """Return the share of coupon orders that customers would have placed without the coupon.

    Redemptions are no lift: those held out show how many orders come anyway. The share is 1 less
    the extra orders over the extra coupon orders, which stays right where some of those held out
    got hold of a coupon. It may lie below 0 where the coupon brings orders beyond its own, and
    above 1 where it costs some.

    Args:
        units: One row per customer assigned by lot: arm, orders and coupon orders in one window
            that includes the weeks after the coupon.
        treated: Label of those who got the coupon.
        control: Label of those held out.
        orders: Column of all orders.
        coupon_orders: Column of orders that used the coupon.
        arm: Column of the arm.
        level: Confidence level.

    Returns:
        The share with Fieller's interval; without limits where redemptions are not clearly above 0.

    Raises:
        ContractError: When a column is missing, or coupon orders exceed orders.
        DesignError: When nobody was held out, or those offered redeemed no more than those held out.

    Examples:
        >>> units = pd.DataFrame({"arm": ["in"] * 100 + ["out"] * 100,
        ...     "orders": [1] * 50 + [0] * 50 + [1] * 40 + [0] * 60,
        ...     "coupon_orders": [1] * 40 + [0] * 160})
        >>> round(coupon_cannibalisation(units, treated="in", control="out").share.value, 6)
        0.75

    References:
        Fieller (1954), JRSS B 16, 175-185; Angrist, Imbens and Rubin (1996), JASA 91, for the ratio.
    """
    check_level(level)
    missing = [c for c in (orders, coupon_orders) if c not in units.columns]
    if missing:
        raise ContractError(f"units lacks the column {', '.join(missing)}")
    own, held = arm_masks(units, arm, treated, control, "units")
    y, r = (units[c].to_numpy(dtype=float) for c in (orders, coupon_orders))
    refuse(
        ~(np.isfinite(y) & np.isfinite(r) & (r >= 0)), "units has orders that are no count", "count from 0"
    )
    refuse(r > y, f"units.{coupon_orders} exceeds {orders}", "count coupon orders among the orders")
    added, used = (mean_difference(v, own, held, level=level) for v in (y, r))
    if used.value <= 0:
        raise DesignError(
            "those offered used the coupon no more than those held out, so no share can be formed"
        )
    moments = [np.cov(y[m], r[m]) / m.sum() for m in (own, held)]
    total = moments[0] + moments[1]
    low, high = fieller(
        added.value,
        used.value,
        float(total[0, 0]),
        float(total[1, 1]),
        float(total[0, 1]),
        float(stats.norm.isf((1 - level) / 2)),
    )
    value = 1 - added.value / used.value
    leaked = int((r[held] > 0).sum())
    check = Check(
        message("Coupons among those held out"),
        "warning" if leaked else "passed",
        message("{count} customers held out used a coupon.", count=f"{leaked:,}"),
    )
    return CouponCannibalisation(
        share=Estimate(value, 1 - high, 1 - low, level, "fieller", added.n, "fraction"),
        incremental=added,
        redeemed=used,
        checks=(check,),
    )
