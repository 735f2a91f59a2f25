"""Reading the contacts table, and rates whose messages share customers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, at_rows, listed
from loyalty_research.estimates import Estimate
from loyalty_research.stats.proportions import proportion, wilson_interval
from loyalty_research.summaries._frames import as_lazy, collect, date_column, need

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["EVENTS", "as_moment", "clustered_proportion", "not_measurable", "read_contacts", "refuse"]

EVENTS = ("sent", "delivered", "open", "click", "redeem", "opt_out")
ALL = "all campaigns"
OPTIONAL = ("campaign_id", "channel", "has_consent")


def refuse(bad: NDArray[np.bool_], what: str, mend: str) -> None:
    """Raise a ContractError where any row is bad.

    Raises:
        ContractError: Naming how many rows and the first positions.
    """
    if bad.any():
        raise ContractError(f"{what} at {at_rows(np.flatnonzero(bad).tolist())}; {mend}")


def read_contacts(contacts: Any) -> pd.DataFrame:
    """Check a contacts table and return the columns that analyses use.

    Args:
        contacts: ``customer_id``, ``sent_at``, ``event`` and, where known, ``campaign_id``,
            ``channel``, ``has_consent``; anything narwhals reads.

    Returns:
        The columns in the table's order of rows; without ``campaign_id`` all is one campaign.

    Raises:
        ContractError: When a column is missing, a required cell is empty or an event is unknown.
    """
    lazy = as_lazy(contacts, "contacts")
    columns = list(lazy.collect_schema())
    need(columns, ["customer_id", "sent_at", "event"], "contacts")
    date_column(lazy, "contacts", "sent_at")
    kept = ["customer_id", "sent_at", "event", *(c for c in OPTIONAL if c in columns)]
    frame = collect(lazy.select(*(nw.col(c) for c in kept)))
    if frame.empty:
        raise ContractError("contacts is empty: there is nothing to measure")
    for column in ("customer_id", "sent_at", "event"):
        refuse(frame[column].isna().to_numpy(), f"contacts.{column} is null", "fill it or leave the row out")
    strange = ~frame["event"].isin(EVENTS).to_numpy()
    refuse(strange, "contacts.event is unknown", f"the events are {listed(EVENTS)}")
    if "campaign_id" not in frame.columns:
        return frame.assign(campaign_id=ALL)
    refuse(
        frame["campaign_id"].isna().to_numpy(), "contacts.campaign_id is null", "name it, or drop the column"
    )
    return frame


def as_moment(value: Any, name: str) -> pd.Timestamp:
    """Return a naive moment or the midnight of a date.

    Raises:
        ArgumentError: When ``value`` is neither, or carries a time zone.
    """
    try:
        moment = pd.Timestamp(value)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must be a date such as '2024-06-30'; got {value!r}") from error
    if pd.isna(moment) or moment.tzinfo is not None:
        raise ArgumentError(f"{name} must be a date without a time zone, such as '2024-06-30'; got {value!r}")
    return moment


def not_measurable(*, level: float) -> Estimate:
    """Return the estimate of what the data cannot show: no value and no limits."""
    return Estimate(float("nan"), float("nan"), float("nan"), level, "not measurable", 0, "fraction")


def clustered_proportion(
    successes: ArrayLike, clusters: Sequence[Any] | ArrayLike, *, level: float = 0.95
) -> Estimate:
    """Return a share of messages where one customer may have several.

    Wilson's interval at the effective sample size: the plain variance over the variance with
    customers as clusters, with t in place of z for the number of customers. It never counts more
    than the messages there are, and with one message a customer it is Wilson's own.

    Args:
        successes: 0 or 1 per message, shape ``(n,)``.
        clusters: Customer of each message, shape ``(n,)``.
        level: Coverage aimed at.

    Raises:
        ArgumentError: When there is no message.

    Examples:
        >>> clustered_proportion([1, 1, 0, 0], ["a", "b", "c", "d"])
        50.0% (95% interval 15.0% to 85.0%; wilson; n = 4)
        >>> clustered_proportion([1, 1, 0, 0], ["a", "a", "b", "b"]).method
        'wilson, customers as clusters'

    References:
        Korn and Graubard (1998), Survey Methodology 24, 193-201, effective sample size.
    """
    x = np.asarray(successes, dtype=float)
    if not len(x):
        raise ArgumentError("a share needs at least one message")
    codes = pd.factorize(np.asarray(clusters, dtype=object))[0]
    sizes = np.bincount(codes).astype(float)
    total, n, groups = float(x.sum()), len(x), len(sizes)
    if groups == n:
        return proportion(int(total), n, level=level)
    share = total / n
    residual = np.bincount(codes, weights=x) - share * sizes
    variance = float(residual @ residual) / n**2 * groups / max(groups - 1, 1)
    # nothing varies at 0 or 1, so customers are what is counted
    effective = min(share * (1 - share) / variance, n) if variance > 0 else float(groups)
    if groups > 1:  # the variance itself is estimated, from as many customers as there are
        tail = (1 - level) / 2
        effective *= float((stats.norm.isf(tail) / stats.t.isf(tail, groups - 1)) ** 2)
    low, high = wilson_interval(share * effective, effective, level=level)
    return Estimate(share, float(low), float(high), level, "wilson, customers as clusters", n, "fraction")
