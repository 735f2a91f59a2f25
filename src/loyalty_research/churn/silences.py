"""Every silence between purchases, laid out once, so that any window can be judged from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.churn.transactions import first_gaps
from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    import datetime as dt

    from numpy.typing import NDArray

    from loyalty_research.churn.transactions import Gaps

    Ints = NDArray[np.int64]

__all__ = ["Silences", "silences"]


@dataclass(frozen=True, slots=True)
class Silences:
    """What followed each purchase day: the next one, or the end of the data.

    Attributes:
        gaps: First gaps under one window, with the customers' first and last days.
        customer: Customer of each purchase day, a position in ``gaps``, ascending.
        day: The day, in days since 1970, ascending within a customer.
        ahead: The customer's next purchase day, or the last day observed.
        returned: Whether there is a next one.
    """

    gaps: Gaps
    customer: Ints
    day: Ints
    ahead: Ints
    returned: NDArray[np.bool_]

    def first_gaps(self, window: int) -> Gaps:
        """Return each customer's first silence of more than ``window`` days.

        Raises:
            ArgumentError: When ``window`` is not a whole number of days.
        """
        if isinstance(window, bool) or not isinstance(window, (int, np.integer)) or window < 1:
            raise ArgumentError(f"an inactivity window is a whole number of days, at least 1; got {window!r}")
        long = np.flatnonzero(self.ahead - self.day > window)
        # rows ascend by customer and day, so the first of each customer is the earliest
        who, at = np.unique(self.customer[long], return_index=True)
        gone = np.zeros(len(self.gaps.first), dtype=bool)
        start = np.zeros(len(gone), dtype=np.int64)
        back = np.zeros(len(gone), dtype=bool)
        gone[who], start[who], back[who] = True, self.day[long[at]], self.returned[long[at]]
        return replace(self.gaps, gone=gone, gap_start=start, returned=back, window=int(window))


def silences(table: pd.DataFrame, as_of: dt.date | str) -> Silences:
    """Lay out the silences of a table of purchase days.

    Args:
        table: What :func:`loyalty_research.summaries.daily` returns.
        as_of: Last day observed; later rows are left out.
    """
    gaps = first_gaps(table, 1, as_of)
    days: Any = table["transacted_date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    place = gaps.keys.get_indexer(pd.Index(table["customer_id"]))
    inside = np.flatnonzero((days <= gaps.end) & (place >= 0))
    order = inside[np.lexsort((days[inside], place[inside]))]
    customer, day = place[order].astype(np.int64), days[order]
    more = np.append(customer[1:] == customer[:-1], [False])
    ahead = np.where(more, np.append(day[1:], [gaps.end]), gaps.end)
    return Silences(gaps, customer, day, ahead, more)
