"""Follow-up of buyers without a contract, from their purchases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research import summaries
from loyalty_research.churn.followup import Removed
from loyalty_research.churn.intervals import one_name_each
from loyalty_research.churn.spells import calendar_day
from loyalty_research.errors import ContractError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message

if TYPE_CHECKING:
    import datetime as dt

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

__all__ = ["Gaps", "first_gaps", "follow_buyers", "left_truncation", "one_per_day"]


@dataclass(frozen=True, slots=True)
class Gaps:
    """First long silence per customer, in days since 1970."""

    keys: pd.Index[Any]
    first: Ints
    last: Ints
    gone: NDArray[np.bool_]
    gap_start: Ints
    returned: NDArray[np.bool_]
    end: int
    window: int
    dropped: dict[str, int]

    @property
    def follow(self) -> Ints:
        """Days each customer can be followed: to ``as_of - window`` and no further."""
        return self.end - self.window - self.first

    @property
    def left(self) -> NDArray[np.bool_]:
        """Who left while followed."""
        return self.gone & (self.gap_start < self.end - self.window)

    @property
    def stop(self) -> Ints:
        """End of follow-up; leaving is dated to the day after the last purchase."""
        return np.where(self.left, self.gap_start - self.first + 1, self.follow)


def first_gaps(transactions: Any, inactivity_days: int, as_of: dt.date | str) -> Gaps:
    """Return each customer's first silence of more than ``inactivity_days``."""
    end = calendar_day(as_of, "as_of")
    found = summaries.inactivity_gaps(
        transactions, inactivity_days=inactivity_days, as_of=end.astype("datetime64[D]").item()
    )
    gone = found["gap_start"].notna().to_numpy()
    return Gaps(
        keys=found.index,
        first=_day_numbers(found["first_date"]),
        last=_day_numbers(found["last_date"]),
        gone=gone,
        gap_start=np.where(gone, _day_numbers(found["gap_start"]), 0),
        returned=found["returned"].to_numpy(),
        end=int(end.astype(np.int64)),
        window=int(inactivity_days),
        dropped=dict(found.attrs["dropped"]),
    )


def _day_numbers(stamps: pd.Series[Any]) -> Ints:
    return stamps.to_numpy().astype("datetime64[D]").astype(np.int64)


def one_per_day(transactions: Any) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return one row per customer and purchase day, and what was left out."""
    table = summaries.daily(transactions)
    return table, dict(table.attrs["dropped"])


def follow_buyers(transactions: Any, *, inactivity_days: int, as_of: dt.date | str) -> dict[str, Any]:
    """Return the parts of follow-up from purchases; see :meth:`ChurnData.from_transactions`."""
    if isinstance(transactions, pd.DataFrame):
        one_name_each(transactions, "transactions")
    table, dropped = one_per_day(transactions)
    gaps = first_gaps(table, inactivity_days, as_of)
    kept = gaps.follow > 0
    if not kept.any():
        raise ContractError(
            f"transactions: nobody is seen for more than {inactivity_days} days before as_of; "
            "choose a shorter inactivity_days or a later as_of"
        )
    first_day = table.drop_duplicates("customer_id", keep="first").set_index("customer_id")
    origin = gaps.first[kept].astype("datetime64[D]")
    # both looks at the rows count what they leave out: those of the first are gone before the second
    left_out = {
        reason: dropped.get(reason, 0) + gaps.dropped.get(reason, 0) for reason in {**dropped, **gaps.dropped}
    }
    lost = Removed(
        message("first seen on or after {day}, too late to tell", day=_date(gaps.end - gaps.window)),
        0,
        int((~kept).sum()),
    )
    return {
        "start": np.zeros(int(kept.sum()), dtype=np.int64),
        "stop": gaps.stop[kept],
        "event": gaps.left[kept],
        "customer": np.arange(int(kept.sum())),
        "covariates": pd.DataFrame(
            {
                "first_amount": first_day.loc[gaps.keys[kept], "amount"].to_numpy(dtype=np.float64),
                "first_month": origin.astype("datetime64[M]").astype(str),
            }
        ),
        "origin": origin,
        "keys": gaps.keys[kept],
        "clock": message("the first purchase"),
        "inactivity_days": int(inactivity_days),
        "removed": (
            *(Removed(reason, count, 0) for reason, count in left_out.items() if count),
            lost,
        ),
        "checks": (_cut_off(gaps, kept), left_truncation(gaps.first, gaps.end)),
    }


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _cut_off(gaps: Gaps, kept: NDArray[np.bool_]) -> Check:
    return Check(
        message("Cut-off"),
        "passed",
        message(
            "Customers are followed to {day}, {window} days before the data end, since a silence that "
            "begins later cannot have lasted long enough; {short} customers first seen from then on are left out.",
            day=_date(gaps.end - gaps.window),
            window=gaps.window,
            short=f"{int((~kept).sum()):,}",
        ),
    )


def left_truncation(first: Ints, end: int) -> Check:
    """Compare how many customers appear right after the extract begins with how many soon after.

    Customers who bought before the extract began appear as new in its first weeks; newcomers
    appear at a steady rate. A first month with more than twice the newcomers of the next one is
    not growth.
    """
    name = message("Left truncation")
    begin = int(first.min())
    span = max(7, min(28, (end - begin) // 4))
    early = int((first < begin + span).sum())
    later = int(((first >= begin + span) & (first < begin + 2 * span)).sum())
    seen = message(
        "{early} customers first appear in the {span} days after the extract begins and {later} in the next {span}",
        early=f"{early:,}",
        later=f"{later:,}",
        span=span,
    )
    surplus = (early - later) / np.sqrt(max(early + later, 1))
    if early > 2 * later and surplus > 4:
        return Check(
            name,
            "warning",
            message(
                "{seen}: most were customers before, so their clocks start at the first purchase seen, not the "
                "first made, and early leavers from before the extract are missing.",
                seen=seen,
            ),
        )
    return Check(name, "passed", message("{seen}: no sign of customers from before the extract.", seen=seen))
