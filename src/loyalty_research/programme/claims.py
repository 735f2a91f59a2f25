"""Claims that circulate, asked of one's own data: each is a check or a sensitivity, none is a fact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from loyalty_research.errors import DesignError
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, percent
from loyalty_research.programme._windows import one_currency, purchase_days
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.programme._windows import PurchaseDays

    Array = NDArray[Any]

__all__ = ["SpendByAge", "spend_by_age"]

_LEAST = 5  # fewer customers are not shown
_METHOD = "log ratio, linearised by customer"


@dataclass(frozen=True, repr=False, eq=False)
class SpendByAge(Result):
    """What customers spend in the second window since their first purchase, beside the first.

    Attributes:
        all_customers: Spend of the second window per 1 of the first, of everybody followed; those who
            spent nothing count with nothing.
        returners: The same of those alone who came back: what a claim looks at that forgets the rest.
        new_to_kept: First-window spend of a new customer per 1 of second-window spend of one who came back.
        customers: Customers followed for both windows.
        returned: Of them, those who spent anything in the second.
        window: Length of a window, in days.
    """

    title: ClassVar[str] = "Spend by age of the customer"

    all_customers: Estimate
    returners: Estimate
    new_to_kept: Estimate
    customers: int
    returned: int
    window: int

    def _rows(self) -> Iterable[Row]:
        name = message("second-window spend per 1 of the first")
        yield Row(name, self.all_customers, group=message("all who were followed"))
        yield Row(name, self.returners, group=message("those who came back"))
        yield Row(message("spend of a new customer per 1 of a kept one"), self.new_to_kept)

    def _verdict(self) -> str:
        return message(
            "For each 1 spent in the {days} days from the first purchase, the same {n} customers spent {all} in the "
            "next {days} ({interval}). The {returned} who came back spent {kept}: looking at them alone "
            "leaves out everybody who stopped.",
            days=self.window,
            n=f"{self.customers:,}",
            all=self.all_customers.format(),
            interval=self.all_customers.interval(),
            returned=f"{self.returned:,}",
            kept=self.returners.format(),
        )

    def claim_verdict(self, more: float = 0.67) -> str:
        """Say whether "older customers spend so much more" holds for everybody, and for survivors."""
        line = 1 + more
        if self.all_customers.low > line:
            return message(
                "Here older customers do spend more than {more} more.", more=percent(more, digits=0)
            )
        if self.all_customers.high < line <= self.returners.high:
            return message(
                "“{more} more” may describe those who stayed; it does not describe a customer one wins.",
                more=percent(more, digits=0),
            )
        if self.all_customers.high < line:
            return message(
                "“{more} more” does not hold here, not even for those who stayed.",
                more=percent(more, digits=0),
            )
        return message("These data do not decide about “{more} more”.", more=percent(more, digits=0))


def spend_by_age(
    transactions: Any, *, window: int = 180, as_of: dt.date | str | None = None, level: float = 0.95
) -> SpendByAge:
    """Compare what customers spend in the second window since their first purchase with the first.

    The claim that customers spend more the longer they stay compares those still there with what all
    spent at first. Here the same customers stand on both sides, whether they came back or not.
    A first window holds the day of the first purchase and ``window`` days after it; the second the
    ``window`` days that follow.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount`` in one
            currency; anything that narwhals reads.
        window: Days of a window.
        as_of: Last day observed; by default the last day in the table.
        level: Confidence level.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column or a row is wrong, or amounts are in several currencies.
        DesignError: When fewer than five customers were followed for both windows, or came back.

    Examples:
        >>> import pandas as pd
        >>> lines = pd.DataFrame({
        ...     "customer_id": list("abcdefghij") + list("abcde"),
        ...     "transacted_date": pd.to_datetime(["2024-01-01"] * 10 + ["2024-02-15"] * 5),
        ...     "amount": [10.0] * 10 + [12.0] * 5,
        ... })
        >>> found = spend_by_age(lines, window=30, as_of="2024-03-31")
        >>> round(found.all_customers.value, 2), round(found.returners.value, 2)
        (0.6, 1.2)

    References:
        Reichheld and Sasser (1990), Harvard Business Review 68(5), for the claim; Cochran (1977),
        Sampling Techniques, section 6.4, for the linearised ratio.
    """
    level = check_level(level)
    window = positive_days(window, "window")
    one_currency(transactions)
    return spend_of_record(purchase_days(transactions, as_of), window, level)[0]


def spend_of_record(
    record: PurchaseDays, window: int, level: float
) -> tuple[SpendByAge, pd.Index[Any], Array]:
    """Return what :func:`spend_by_age` does, the customers followed, and how much each moves ``all_customers``.

    Raises:
        DesignError: As :func:`spend_by_age`.
    """
    first, second = record.revenue_at_age(-1, window), record.revenue_at_age(window, 2 * window)
    followed = record.first + 2 * window <= record.end
    first, second = first[followed], second[followed]
    back = second > 0
    if back.sum() < _LEAST or first[back].sum() <= 0:
        raise DesignError(
            f"fewer than {_LEAST} customers were followed for {2 * window:,} days since their first purchase and "
            "bought in the second half of them; take a shorter window"
        )
    whole = log_ratio_influence(second, first)
    stayed = log_ratio_influence(second[back], first[back])
    # mean of the first window over all, against the mean of the second over those who came back
    against = first / first.sum() - 1 / first.size + back / back.sum() - second / second.sum()
    ratio = first.mean() / second[back].mean()
    found = SpendByAge(
        _limits(second.sum() / first.sum(), whole, level),
        returners=_limits(second.sum() / first[back].sum(), stayed, level),
        new_to_kept=_limits(ratio, against, level),
        customers=int(first.size),
        returned=int(back.sum()),
        window=window,
    )
    return found, record.customers[followed], whole * found.all_customers.value


def log_ratio_influence(numerator: Array, denominator: Array) -> Array:
    """Return by how much each customer moves the logarithm of a ratio of sums.

    Examples:
        >>> import numpy as np
        >>> log_ratio_influence(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
        array([-0.25,  0.25])
    """
    moved: Array = numerator / numerator.sum() - denominator / denominator.sum()
    return moved


def _limits(value: float, moved: Array, level: float) -> Estimate:
    from scipy.special import ndtri

    half = float(ndtri(0.5 + level / 2)) * math.sqrt(float(moved @ moved))
    low, high = value * math.exp(-half), value * math.exp(half)
    return Estimate(float(value), float(low), float(high), level, _METHOD, int(moved.size))
