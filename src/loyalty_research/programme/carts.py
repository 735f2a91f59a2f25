"""Carts that are not ordered: how many, how many come back later, and what they were worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages, number, percent
from loyalty_research.programme._by_customer import (
    codes_by_customer,
    end_of_day,
    moments,
    ratio_of_sums,
    read_rows,
    share_of_sums,
    sums_by,
)
from loyalty_research.programme._contact_rows import clustered_proportion, refuse
from loyalty_research.stats.proportions import proportion
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Codes = NDArray[np.int64]

__all__ = ["CartAbandonment", "cart_abandonment", "followed_carts"]

PUBLISHED = 0.756


@dataclass(frozen=True, repr=False, eq=False)
class CartAbandonment(Result):
    """Carts that were not ordered within a stated time.

    Attributes:
        rate: Share of carts not ordered within ``within_hours``, of carts followed for that long.
        first_carts: The same of the first cart of each known customer; None without any.
        recovered: Share of abandoned carts that were ordered later, within ``recovery_days``, of those
            followed for that long; None where none was.
        value_share: Share of the carts' value that was abandoned; None without amounts.
        value_per_cart: Mean value of an abandoned cart; None without amounts.
        value: Value of all abandoned carts together, with an interval for what another time like this one
            would bring; None without amounts.
        carts: Carts followed.
        too_young: Carts left out because they were opened less than ``within_hours`` before the end.
        without_customer: Carts followed whose customer is not known.
        within_hours: Hours within which a cart must be ordered.
        recovery_days: Days within which an abandoned cart may still be ordered.
    """

    title: ClassVar[str] = "Cart abandonment"

    rate: Estimate
    first_carts: Estimate | None
    recovered: Estimate | None
    value_share: Estimate | None
    value_per_cart: Estimate | None
    value: Estimate | None
    carts: int
    too_young: int
    without_customer: int
    within_hours: float
    recovery_days: int

    def _rows(self) -> Iterable[Row]:
        hours = f"{self.within_hours:g}"
        abandoned = message("not ordered within {hours} hours", hours=hours)
        old = message("carts opened at least {hours} hours before the end", hours=hours)
        yield Row(abandoned, self.rate, estimand=old)
        for name, estimate, of in (
            (abandoned, self.first_carts, message("first such cart of each known customer")),
            (
                message("ordered later, within {days} days", days=self.recovery_days),
                self.recovered,
                message(
                    "abandoned carts opened at least {days} days before the end", days=self.recovery_days
                ),
            ),
            (message("share of value abandoned"), self.value_share, message("value of those carts")),
            (message("value of an abandoned cart"), self.value_per_cart, message("abandoned carts")),
            (message("value abandoned"), self.value, message("all abandoned carts together")),
        ):
            if estimate is not None:
                yield Row(name, estimate, estimand=of)

    def _verdict(self) -> str:
        said = message(
            "{share} of {n} carts were not ordered within {hours} hours ({interval}).",
            share=self.rate.format(),
            n=f"{self.carts:,}",
            hours=f"{self.within_hours:g}",
            interval=self.rate.interval(),
        )
        if self.recovered is not None:
            said = message(
                "{said} Of those abandoned, {share} were ordered later, within {days} days ({interval}).",
                said=said,
                share=self.recovered.format(),
                days=f"{self.recovery_days:,}",
                interval=self.recovered.interval(),
            )
        if self.value is not None:
            said = message(
                "{said} What lay in abandoned carts was worth {value}; not all of it is lost, since some would never "
                "have been bought and some is bought in another way.",
                said=said,
                value=self.value.format(),
            )
        return said

    def claim_verdict(self, share: float = PUBLISHED) -> str:
        """Hold a published share of abandoned carts against these.

        The figure that circulates, 75.6% of carts of 500 brands in 2015, counts as a claim: which carts
        and which time it counted is not known.

        Args:
            share: The published share, a fraction.

        Raises:
            ArgumentError: When ``share`` is no fraction.
        """
        if not 0 < share < 1:
            raise ArgumentError(f"share is a fraction between 0 and 1; got {share!r}")
        values = {"claim": percent(share), "rate": self.rate.format(), "interval": self.rate.interval()}
        if self.rate.low <= share <= self.rate.high:
            return message(
                "The published {claim} lies within the interval found here, {rate} ({interval}).", **values
            )
        if self.rate.high < share:
            return message(
                "Fewer carts are abandoned here, {rate} ({interval}), than the published {claim}.", **values
            )
        return message(
            "More carts are abandoned here, {rate} ({interval}), than the published {claim}.", **values
        )


def cart_abandonment(
    carts: Any,
    *,
    within_hours: float = 24.0,
    recovery_days: int = 30,
    as_of: dt.date | str | None = None,
    timezone: str = "UTC",
    currency: str | None = None,
    level: float = 0.95,
) -> CartAbandonment:
    """Return the share of carts that are not ordered within a stated time.

    A cart that was opened less than that time before the end may still be ordered, so it is left out and
    counted. Carts of one customer are taken together; a cart without a customer stands alone.

    Args:
        carts: ``opened_at``, ``ordered_at`` (null where never ordered) and, where known, ``customer_id``
            and ``amount``; anything that narwhals reads.
        within_hours: Hours within which a cart must be ordered.
        recovery_days: Days within which an abandoned cart may still be ordered; longer than
            ``within_hours``.
        as_of: Last day observed; by default the last moment in the table. What happened later is not used.
        timezone: Zone of the last day; moments are naive UTC.
        currency: ISO 4217 code of the amounts, for sentences.
        level: Confidence level.

    Returns:
        The rate with Wilson's interval, at the effective number of carts where customers have several;
        later orders likewise; values by the delta method over customers.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column is missing, a cell is of a wrong kind, or a cart is ordered before it
            is opened.
        DesignError: When no cart was followed for long enough.

    Examples:
        >>> start = pd.Timestamp("2024-05-01 12:00")
        >>> opened = pd.Series(start + pd.to_timedelta(range(10), "D"))
        >>> carts = pd.DataFrame({"opened_at": opened, "amount": [20.0] * 5 + [30.0] * 5,
        ...     "ordered_at": opened.where(opened.index % 2 == 0) + pd.Timedelta(hours=1)})
        >>> found = cart_abandonment(carts, as_of="2024-06-30", currency="EUR")
        >>> found.rate
        50.0% (95% interval 23.7% to 76.3%; wilson; n = 10)
        >>> found.value.format(), round(found.value_share.value, 2)
        ('130.00 EUR', 0.52)

    References:
        Wilson (1927), JASA 22; Korn and Graubard (1998), Survey Methodology 24; Cochran (1977), section 6.4.
    """
    level = check_level(level)
    frame, too_young, end = followed_carts(carts, within_hours, as_of, timezone)
    days = positive_days(recovery_days, "recovery_days")
    if 24 * days <= within_hours:
        raise ArgumentError(
            f"recovery_days must be longer than within_hours; got {days} days and {within_hours:g} hours"
        )
    codes, abandoned = codes_by_customer(frame["customer_id"]), frame["abandoned"].to_numpy(dtype=float)
    known = frame["customer_id"].notna()
    value_share, value_per_cart, value = _values(frame, codes, abandoned, currency, level)
    return CartAbandonment(
        clustered_proportion(abandoned, codes, level=level),
        first_carts=_first(frame[known], level),
        recovered=_recovered(frame, end, days, level),
        value_share=value_share,
        value_per_cart=value_per_cart,
        value=value,
        carts=len(frame),
        too_young=too_young,
        without_customer=int((~known).sum()),
        within_hours=float(within_hours),
        recovery_days=days,
        checks=(
            _young_check(too_young, within_hours),
            _customer_check(int((~known).sum()), len(frame)),
            *_amount_check(frame),
        ),
    )


def followed_carts(
    carts: Any, within_hours: float, as_of: dt.date | str | None, timezone: str
) -> tuple[pd.DataFrame, int, pd.Timestamp]:
    """Return the carts followed for the stated time, how many are too young, and the end.

    Returns:
        ``row`` (position in the table), ``customer_id``, ``opened_at``, ``ordered_at`` (null where not by
        the end), ``abandoned`` and, where it is there, ``amount``; the number of carts opened too late; the
        first moment after the end.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column is missing or a cell is wrong.
        DesignError: When no cart was followed for long enough.
    """
    if isinstance(within_hours, bool) or not (math.isfinite(within_hours) and within_hours > 0):
        raise ArgumentError(f"within_hours is a number of hours above 0; got {within_hours!r}")
    name = "carts"
    frame = read_rows(carts, name, ("opened_at", "ordered_at"), ("customer_id", "amount"))
    frame["row"] = np.arange(len(frame))
    if "customer_id" not in frame:
        frame["customer_id"] = None
    frame["opened_at"] = moments(frame, "opened_at", name)
    frame["ordered_at"] = moments(frame, "ordered_at", name, gaps=True)
    early = (frame["ordered_at"] < frame["opened_at"]).to_numpy()
    refuse(early, f"{name}.ordered_at is before opened_at", "correct one of the two")
    if "amount" in frame:
        frame["amount"] = _amounts(frame["amount"])
    end = _end(frame, as_of, timezone)
    wait = pd.Timedelta(hours=float(within_hours))
    frame = frame[frame["opened_at"] < end]
    followed = frame["opened_at"] + wait <= end
    if not followed.any():
        raise DesignError(
            message("no cart was opened at least {hours} hours before the end", hours=f"{within_hours:g}")
        )
    young = int((~followed).sum())
    frame = frame[followed].reset_index(drop=True)
    frame["ordered_at"] = frame["ordered_at"].where(frame["ordered_at"] < end)
    frame["abandoned"] = ~(frame["ordered_at"] - frame["opened_at"] <= wait)
    return frame, young, end


def _end(frame: pd.DataFrame, as_of: dt.date | str | None, timezone: str) -> pd.Timestamp:
    if as_of is not None:
        return end_of_day(as_of, timezone)
    last = frame[["opened_at", "ordered_at"]].max().max()
    return pd.Timestamp(last) + pd.Timedelta(microseconds=1)


def _amounts(values: pd.Series[Any]) -> pd.Series[float]:
    found = pd.to_numeric(values, errors="coerce").astype(float)
    refuse((found.isna() & values.notna()).to_numpy(), "carts.amount is no number", "convert it first")
    if not np.isfinite(found.dropna()).all() or (found < 0).any():
        raise ContractError("carts.amount holds values below 0 or infinite ones; give the price of the cart")
    return found


def _first(frame: pd.DataFrame, level: float) -> Estimate | None:
    if frame.empty:
        return None
    first = frame.sort_values("opened_at", kind="stable").drop_duplicates("customer_id")
    return proportion(int(first["abandoned"].sum()), len(first), level=level)


def _recovered(frame: pd.DataFrame, end: pd.Timestamp, days: int, level: float) -> Estimate | None:
    """Return the share ordered later, of abandoned carts that were followed for as long as that takes."""
    span = pd.Timedelta(days=days)
    left = frame[frame["abandoned"] & (frame["opened_at"] + span <= end)]
    if left.empty:
        return None
    back = (left["ordered_at"] - left["opened_at"] <= span).to_numpy(dtype=float)
    return clustered_proportion(back, codes_by_customer(left["customer_id"]), level=level)


def _values(
    frame: pd.DataFrame, codes: Codes, abandoned: Array, currency: str | None, level: float
) -> tuple[Estimate | None, Estimate | None, Estimate | None]:
    """Return share of value abandoned, value of an abandoned cart, and value of all of them."""
    if "amount" not in frame:
        return None, None, None
    priced = frame["amount"].notna().to_numpy()
    codes = pd.factorize(codes[priced])[0].astype(np.int64)
    amount, gone = frame["amount"].to_numpy()[priced], abandoned[priced]
    if not amount.sum() > 0:
        return None, None, None
    lost, whole, count = sums_by(codes, amount * gone, amount, gone)
    carts = int(gone.sum())
    share = share_of_sums(lost, whole, level=level, n=int(priced.sum()))
    if not lost.sum() > 0:
        return share, None, None
    each = ratio_of_sums(lost, count, level=level, n=carts, unit=currency)
    # customers come at random, so their number varies as well as what they leave behind
    total = float(lost.sum())
    factor = math.exp(float(stats.norm.isf((1 - level) / 2)) * math.sqrt(float(lost @ lost)) / total)
    method = "compound Poisson over customers, log"
    return share, each, Estimate(total, total / factor, total * factor, level, method, carts, currency)


def _young_check(young: int, hours: float) -> Check:
    name = message("Carts too young")
    if not young:
        return Check(
            name, "passed", message("Every cart was followed for {hours} hours.", hours=f"{hours:g}")
        )
    return Check(
        name,
        "warning",
        messages(
            "{count} cart was opened less than {hours} hours before the end and is left out.",
            "{count} carts were opened less than {hours} hours before the end and are left out.",
            young,
            hours=f"{hours:g}",
        ),
    )


def _customer_check(without: int, carts: int) -> Check:
    name = message("Carts without a customer")
    if not without:
        return Check(name, "passed", message("Every cart has its customer."))
    return Check(
        name,
        "warning",
        message(
            "{share} of carts have no customer and stand alone in the interval; where one person left several, or "
            "ordered what they had left in another cart, that is not seen.",
            share=percent(without / carts),
        ),
    )


def _amount_check(frame: pd.DataFrame) -> list[Check]:
    if "amount" not in frame:
        return []
    missing = int(frame["amount"].isna().sum())
    name = message("Carts without an amount")
    if not missing:
        return [Check(name, "passed", message("Every cart has its amount."))]
    said = message(
        "{count} of {n} carts have no amount and are left out of the values.",
        count=number(missing, digits=0),
        n=f"{len(frame):,}",
    )
    return [Check(name, "warning", said)]
