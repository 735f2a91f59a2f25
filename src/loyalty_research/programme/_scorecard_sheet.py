"""What the measures of a scorecard are taken from, and what each of them returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from loyalty_research.errors import DesignError
from loyalty_research.i18n import message
from loyalty_research.programme._windows import date_of, ratio_influence
from loyalty_research.programme.revenue import window_revenue
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty_research.data import Dataset
    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._windows import PurchaseDays
    from loyalty_research.programme.surveys import EffortDirection

__all__ = ["Found", "Part", "Sheet", "share_found"]


@dataclass(frozen=True)
class Found:
    """A measure on one day.

    Attributes:
        estimate: With its interval.
        denominator: Whom or what ``n`` counts, in words.
        moved: By how much each customer moves the estimate, by customer.
    """

    estimate: Estimate
    denominator: str
    moved: pd.Series[float]


@dataclass(frozen=True)
class Sheet:
    """What the measures are taken from.

    Attributes:
        source: The dataset.
        record: Purchases up to the later day, or None where the data have no transactions.
        answers: Survey answers, or None.
        established: Whether revenue is compared of customers alone who were there before both windows.
        options: Further arguments by name, which only some measures need.
        kept: What several measures of a day share, worked out once.
    """

    source: Dataset
    record: PurchaseDays | None
    answers: pd.DataFrame | None
    window: int
    repeat_window: int
    activity_window: int
    effort_direction: EffortDirection | None
    seed: int
    resamples: int
    level: float
    established: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    kept: dict[tuple[str, int], Any] = field(default_factory=dict, compare=False, repr=False)

    def purchases(self, day: int) -> PurchaseDays:
        """Return the record up to a day.

        Raises:
            DesignError: When there is none.
        """
        if self.record is None:
            raise DesignError(
                message("the data have no transactions with customer_id and amount")
                if not self.source.has("transactions", "customer_id", "amount")
                else message("the transactions hold no purchase of an identified customer")
            )
        if day < self.record.begin:
            raise DesignError(
                message("transactions begin only on {date}", date=date_of(self.record.begin).isoformat())
            )
        if ("purchases", day) not in self.kept:
            self.kept["purchases", day] = self.record if day == self.record.end else self.record.until(day)
        found: PurchaseDays = self.kept["purchases", day]
        return found

    def revenue(self, day: int, *, established: bool = False) -> pd.DataFrame:
        """Return revenue by customer in the window before and in the one up to a day.

        Raises:
            DesignError: When it cannot be added up.
        """
        return window_revenue(self.purchases(day), self.window, established=established)

    def spend_after(self, starts: pd.Series[int], days: int, until: int) -> pd.Series[float]:
        """Return what each of some customers spent in the days from a day of their own on.

        Args:
            starts: First day number of each customer's window, that day included; indexed by customer, each
                once.
            days: Days of the window.
            until: Last day number observed.

        Returns:
            Revenue by customer, in the order of ``starts``: 0 where they bought nothing, NaN where the
            window is not over by ``until`` or begins before the record.

        Raises:
            DesignError: When the data have no transactions up to that day.
        """
        record = self.purchases(until)
        first = starts.reindex(record.customers).to_numpy(dtype=float)
        spent = np.zeros(len(first))
        for code, day, _, amount in record.slices():
            inside = (day >= first[code]) & (day < first[code] + days)
            spent += np.bincount(code[inside], weights=amount[inside], minlength=len(first))
        found = pd.Series(spent.round(2), index=record.customers).reindex(starts.index).fillna(0.0)
        return found.where((starts >= record.begin) & (starts + days - 1 <= until))


def share_found(sheet: Sheet, who: pd.Index[Any], yes: Any, denominator: str) -> Found:
    """Return a share of customers as a measure.

    Args:
        sheet: For its level.
        who: Customers counted, shape (n,).
        yes: Of whom it holds, shape (n,).
        denominator: Whom it counts, in words.

    Raises:
        DesignError: When nobody is counted.
    """
    if not len(who):
        raise DesignError(message("there are none of the customers it counts ({who})", who=denominator))
    hits = np.asarray(yes, dtype=float)
    return Found(
        proportion(int(hits.sum()), len(who), level=sheet.level),
        denominator,
        ratio_influence(who, hits, np.ones(len(who))),
    )


Part: TypeAlias = dict[str, tuple[Callable[[], str], Callable[[Sheet, int], Found], bool]]
"""Key to display name, measure of a day number, and whether more of it is better."""
