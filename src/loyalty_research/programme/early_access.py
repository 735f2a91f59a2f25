"""Early access to a sale: what it adds, and which sales at full price it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from loyalty_research.errors import ContractError
from loyalty_research.estimates import Result, Row
from loyalty_research.i18n import message
from loyalty_research.programme._contact_rows import refuse
from loyalty_research.programme.offers import offer_lift

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.programme.offers import OfferLift

__all__ = ["EarlyAccess", "early_access"]


@dataclass(frozen=True, repr=False)
class EarlyAccess(Result):
    """Margin of those let in early less that of those who waited.

    Attributes:
        everything: Lift of all margin: before, while only they could buy, and after.
        full_price: The same for orders without a discount; below 0 is what early access cannibalised.
    """

    title: ClassVar[str] = "Early access against waiting"

    everything: OfferLift
    full_price: OfferLift

    def _rows(self) -> Iterable[Row]:
        estimand = message("let in early minus waiting, all assigned")
        for name, part in (
            (message("margin per customer"), self.everything),
            (message("margin of orders at full price per customer"), self.full_price),
        ):
            for group, estimate in (
                (message("before early access"), part.before),
                (message("during early access"), part.during),
                (message("after it"), part.after),
                (message("during and after"), part.net),
            ):
                yield Row(name, estimate, group=group, estimand=estimand)

    def _verdict(self) -> str:
        net, full = self.everything.net, self.full_price.net
        shown = {
            "net": net.format(signed=True),
            "interval": net.interval(signed=True),
            "days": str(self.everything.after_days),
        }
        first = (
            message(
                "Early access changed margin per customer by {net} ({interval}), {days} days afterwards included.",
                **shown,
            )
            if net.low > 0 or net.high < 0
            else message(
                "Whether early access changed margin cannot be told: {net} per customer ({interval}), {days} days "
                "afterwards included.",
                **shown,
            )
        )
        loss = {"change": full.format(signed=True), "range": full.interval(signed=True)}
        second = (
            message("It cost sales at full price: {change} of their margin per customer ({range}).", **loss)
            if full.high < 0
            else message(
                "A loss of sales at full price is not shown: {change} per customer ({range}).", **loss
            )
        )
        return f"{first} {second}"


def early_access(
    customers: pd.DataFrame,
    transactions: pd.DataFrame,
    *,
    treated: str,
    control: str,
    start: dt.date | str,
    public: dt.date | str,
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
) -> EarlyAccess:
    """Return what letting some customers into a sale early added, and what it cost at full price.

    Who is let in early may buy cheaply what would have been bought at full price, before the sale or
    instead of the rest of the season. So orders without a discount are compared apart. The days
    after must cover the public sale, in which those who waited catch up.

    Args:
        customers: ``customer_id`` and the column ``arm``, one row per customer assigned by lot.
        transactions: ``customer_id, transacted_at, amount, discount_amount`` and ``cost_of_goods`` or
            ``margin``; an order with a discount above 0, or with a ``coupon_code``, is not at full price.
        treated: Label of those let in early.
        control: Label of those who waited.
        start: First moment of early access, naive UTC.
        public: First moment at which everybody may buy.
        after_days: Days from then on that count, the public sale and a while after it.
        as_of: Last day observed.
        before_days: Days of the window before; by default as long as early access.
        arm: Column of the arm.
        margin: Share of the amount that is margin, a fraction.
        ratio: Planned size of the treated over that of the control.
        covariates: See :func:`offer_lift`.
        cluster: See :func:`offer_lift`.
        currency: Code of the margin's currency.
        level: Confidence level.

    Raises:
        ArgumentError: When windows are not in order or had not ended.
        ContractError: When a column is missing or a row is bad.
        DesignError: When nobody was made to wait.

    Examples:
        >>> import pandas as pd
        >>> people = pd.DataFrame({"customer_id": list("abcd"), "arm": ["early", "early", "wait", "wait"]})
        >>> orders = pd.DataFrame({"customer_id": list("abcd"), "amount": [40.0, 30, 20, 50],
        ...     "discount_amount": [10.0, 10, 0, 0], "transacted_at": pd.Timestamp("2024-05-02")})
        >>> found = early_access(people, orders, treated="early", control="wait", start="2024-05-01",
        ...     public="2024-05-04", after_days=28, as_of="2024-06-30", margin=1.0)
        >>> found.everything.net.value, found.full_price.net.value
        (0.0, -35.0)
    """
    full = _full_price(transactions)
    every, at_full = (
        offer_lift(
            customers,
            orders,
            treated=treated,
            control=control,
            start=start,
            end=public,
            after_days=after_days,
            as_of=as_of,
            before_days=before_days,
            arm=arm,
            margin=margin,
            ratio=ratio,
            covariates=covariates,
            cluster=cluster,
            currency=currency,
            level=level,
        )
        for orders in (transactions, transactions[full])
    )
    return EarlyAccess(everything=every, full_price=at_full, checks=every.checks)


def _full_price(transactions: pd.DataFrame) -> NDArray[np.bool_]:
    if "discount_amount" not in transactions.columns:
        raise ContractError(
            "transactions lacks the column discount_amount, without which orders at full price cannot be told; add it"
        )
    given = transactions["discount_amount"].fillna(0).astype(float).to_numpy()
    refuse(given < 0, "transactions.discount_amount is negative", "give discounts as positive figures")
    used: NDArray[np.bool_] = given > 0
    if "coupon_code" in transactions.columns:
        used = used | transactions["coupon_code"].notna().to_numpy()
    return ~used
