"""Reading survey answers of one instrument, each customer's last one, on one declared scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from loyalty_research.errors import ContractError, DesignError, at_rows
from loyalty_research.i18n import message
from loyalty_research.programme._by_customer import day_numbers, read_rows
from loyalty_research.programme._contact_rows import refuse

__all__ = ["last_answers", "one_scale", "read_answers"]

TABLE = "surveys"
SHARE_ITEMS = ("share", "share_of_wallet")


def read_answers(surveys: Any, instrument: str) -> pd.DataFrame:
    """Return the rows of an instrument, answered or not.

    Args:
        surveys: ``customer_id``, ``instrument``, ``value``, ``answered_date`` or ``answered_at`` and, where
            they are there, ``item``, ``scale_min``, ``scale_max``; anything that narwhals reads.
        instrument: Name of the questionnaire, in any case.

    Returns:
        Those columns with ``value`` as a number (NaN where not answered), ``item`` in lower case (null
        without one), and ``day`` (day number, NaN where not answered); the index is the row's position.

    Raises:
        ContractError: When a column is missing, or a cell is of a wrong kind.
    """
    frame = read_rows(
        surveys,
        TABLE,
        ("customer_id", "instrument", "value"),
        ("answered_date", "answered_at", "item", "scale_min", "scale_max"),
    )
    if not {"answered_date", "answered_at"} & set(frame.columns):
        raise ContractError(f"{TABLE} lacks the column answered_at")
    refuse(
        frame["customer_id"].isna().to_numpy(), f"{TABLE}.customer_id is null", "fill it or leave the row out"
    )
    frame["day"] = day_numbers(frame, "answered", TABLE, gaps=True)
    if "item" not in frame:
        frame["item"] = None
    frame["item"] = frame["item"].astype("string").str.lower()
    named = frame["instrument"].astype("string").str.lower()
    frame = frame[named.eq(instrument.lower()).fillna(value=False).to_numpy(dtype=bool)]
    value = pd.to_numeric(frame["value"], errors="coerce").astype(float)
    odd = frame.index[(value.isna() & frame["value"].notna()).to_numpy()]
    if len(odd):
        raise ContractError(f"{TABLE}.value is no number at {at_rows(odd.tolist())}; convert it first")
    return frame.assign(value=value)


def one_scale(frame: pd.DataFrame, what: str) -> tuple[float, float] | None:
    """Return the scale of answers, or None where none is declared.

    Raises:
        ContractError: When answers are on different scales.
    """
    if not {"scale_min", "scale_max"} <= set(frame.columns):
        return None
    ends = frame[["scale_min", "scale_max"]].to_numpy(dtype=float)
    if np.isnan(ends).all():
        return None
    other = frame.index[(ends != ends[0]).any(axis=1)]
    if len(other):
        raise ContractError(
            f"{TABLE} holds answers to {what} on different scales, which are never pooled: {at_rows(other.tolist())} "
            f"differ from the scale {ends[0][0]:g} to {ends[0][1]:g}; keep the answers of one scale"
        )
    return float(ends[0][0]), float(ends[0][1])


def last_answers(
    surveys: Any, instrument: str, item: str | None, after: float, until: float
) -> tuple[pd.Series[float], tuple[float, float] | None]:
    """Return each customer's last answer after one day and up to another, by customer, and the scale.

    Args:
        surveys: The table.
        instrument: Questionnaire, in any case.
        item: Question; without it the instrument must have one only.
        after: Day number.
        until: Day number, that day included.

    Raises:
        ContractError: When a column is missing, an answer is no number or off its scale, or scales or
            questions are mixed.
        DesignError: When nobody answered.
    """
    frame = read_answers(surveys, instrument)
    if item is not None:
        frame = frame[frame["item"].eq(item.lower()).fillna(value=False).to_numpy(dtype=bool)]
    frame = frame[frame["value"].notna() & (frame["day"] > after) & (frame["day"] <= until)]
    if frame.empty:
        raise DesignError(message("nobody answered the instrument {name} in the window", name=instrument))
    if item is None and len(frame["item"].drop_duplicates()) > 1:
        raise ContractError(f"{TABLE} has several items of {instrument}; name one of them")
    scale = one_scale(frame, instrument)
    if scale is not None:
        off = frame.index[~frame["value"].between(*scale)]
        if len(off):
            raise ContractError(
                f"{TABLE}.value lies off the scale {scale[0]:g} to {scale[1]:g} at {at_rows(off.tolist())}; mend the "
                "answers"
            )
    last = frame.sort_values("day", kind="stable").drop_duplicates("customer_id", keep="last")
    return pd.Series(last["value"].to_numpy(), index=pd.Index(last["customer_id"])), scale
