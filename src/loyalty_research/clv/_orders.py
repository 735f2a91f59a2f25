"""Orders before a study: one currency, and where calibration ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from loyalty_research.errors import ContractError

if TYPE_CHECKING:
    import datetime as dt

__all__ = ["refuse_currencies", "window_of"]


def refuse_currencies(transactions: Any, currency: str | None) -> None:
    """Raise when amounts are in several currencies, or in another than the one named.

    Args:
        transactions: Any table that narwhals knows; one without a column ``currency`` passes.
        currency: ISO 4217 code every row must hold, or None for any one.

    Raises:
        ContractError: Naming the currencies and how many rows each has.
    """
    import narwhals as nw

    try:
        frame: Any = nw.from_native(transactions)
    except TypeError:
        return  # what is no table is refused by what reads it
    lazy = frame.lazy()
    if "currency" not in lazy.collect_schema().names():
        return
    counted = lazy.group_by("currency").agg(nw.len().alias("rows")).sort("currency").collect()
    rows = {code: int(count) for code, count in counted.iter_rows() if code is not None}
    if len(rows) > 1 or (currency is not None and rows and currency not in rows):
        said = ", ".join(f"{code} in {count:,} row{'s' * (count != 1)}" for code, count in rows.items())
        wanted = "" if currency is None else f" and {currency} was asked for"
        raise ContractError(
            f"transactions.currency holds {said}{wanted}; convert the amounts to one currency, or value each apart"
        )


def window_of(
    days: pd.DataFrame, calibration_end: dt.date | str | None, observation_end: dt.date | str | None
) -> tuple[dt.date, dt.date]:
    """Return the end of calibration (two thirds of the observation by default) and of observation."""
    first = days["transacted_date"].min()
    end = days["transacted_date"].max() if observation_end is None else pd.Timestamp(observation_end)
    split = first + (end - first) * 2 // 3 if calibration_end is None else pd.Timestamp(calibration_end)
    return split.date(), end.date()
