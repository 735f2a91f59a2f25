"""Reading the customers table: when each customer was acquired, and through which channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np

from loyalty_research.data.customers import customer_column
from loyalty_research.errors import ContractError, at_rows
from loyalty_research.summaries._frames import as_lazy, collect, date_column, day_number, need

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["acquired_days", "customer_channels", "has_acquired"]


def has_acquired(customers: Any) -> bool:
    """Say whether a customers table tells when they were acquired."""
    columns = as_lazy(customers, "customers").collect_schema()
    return "acquired_date" in columns or "acquired_at" in columns


def acquired_days(customers: Any) -> pd.Series[float]:
    """Return the day number on which each customer was acquired, NaN where it is not known.

    Args:
        customers: ``customer_id`` and ``acquired_date`` or ``acquired_at``, one row a customer; anything that
            narwhals reads.

    Raises:
        ContractError: When a column is missing or no date, or a customer has several rows.

    Examples:
        >>> import pandas as pd
        >>> people = pd.DataFrame({"customer_id": ["a", "b"], "acquired_at": pd.to_datetime(["2024-01-01", None])})
        >>> acquired_days(people).to_dict()
        {'a': 738886.0, 'b': nan}
    """
    lazy = as_lazy(customers, "customers")
    need(list(lazy.collect_schema()), ["customer_id"], "customers")
    when = date_column(lazy, "customers", "acquired_date", "acquired_at")
    frame = collect(lazy.select("customer_id", day=day_number(nw.col(when))))
    _named(frame)
    day = customer_column(frame, "day").astype(float)
    return day.where(day >= 1)


def customer_channels(customers: Any) -> pd.Series[Any]:
    """Return the acquisition channel of each customer, null where it is not known.

    Args:
        customers: ``customer_id`` and ``acquisition_channel``, one row a customer; anything that narwhals
            reads.

    Raises:
        ContractError: When a column is missing, or a customer has several rows.
    """
    lazy = as_lazy(customers, "customers")
    need(list(lazy.collect_schema()), ["customer_id", "acquisition_channel"], "customers")
    frame = collect(lazy.select("customer_id", "acquisition_channel"))
    _named(frame)
    found: pd.Series[Any] = customer_column(frame, "acquisition_channel")
    return found


def _named(frame: pd.DataFrame) -> None:
    bad = np.flatnonzero(frame["customer_id"].isna().to_numpy())
    if bad.size:
        raise ContractError(
            f"customers.customer_id is null at {at_rows(bad.tolist())}; name each customer or leave the row out"
        )
