"""Reading the referrals table: who referred whom on which day, with impossible referrals refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from loyalty_research.errors import ContractError, at_rows
from loyalty_research.summaries._frames import as_lazy, collect, date_column, day_number, need

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]

__all__ = ["in_circles", "read_referrals"]


def read_referrals(referrals: Any) -> pd.DataFrame:
    """Check a referrals table.

    Args:
        referrals: ``referrer_id``, ``referred_date`` or ``referred_at`` and, where known, ``referral_id``,
            ``referred_id`` and ``reward_id``; anything that narwhals reads.

    Returns:
        ``referrer_id``, ``referred_id``, ``day`` (day number) and ``reward_id``, in the table's order.

    Raises:
        ContractError: When a column is missing, a referral has no referrer or date, is entered twice, names
            its own referrer as the one referred, brings somebody whom another referral brought, or
            closes a circle.

    Examples:
        >>> made = pd.DataFrame({"referrer_id": ["a", "b"], "referred_id": ["b", "a"],
        ...                      "referred_at": pd.to_datetime(["2024-01-01", "2024-02-01"])})
        >>> read_referrals(made)
        Traceback (most recent call last):
        loyalty_research.errors.ContractError: referrals run in a circle ... at 2 rows (first at positions 0, 1)...
    """
    lazy = as_lazy(referrals, "referrals")
    columns = list(lazy.collect_schema())
    need(columns, ["referrer_id"], "referrals")
    when = date_column(lazy, "referrals", "referred_date", "referred_at")
    others = [c for c in ("referral_id", "referred_id", "reward_id") if c in columns]
    frame = collect(lazy.select("referrer_id", *others, day=day_number(nw.col(when))))
    for name in ("referred_id", "reward_id"):
        if name not in frame.columns:
            frame[name] = pd.Series(None, index=frame.index, dtype=object)
    _refuse(
        frame["referrer_id"].isna().to_numpy() | (frame["day"] < 1).to_numpy(),
        "lack their referrer or their date",
        "give each referral both or leave it out",
    )
    if "referral_id" in frame.columns:
        _refuse(
            frame["referral_id"].duplicated().to_numpy(),
            "repeat a referral_id that came before",
            "keep one row per referral",
        )
    known = frame["referred_id"].notna().to_numpy()
    _refuse(
        known & (frame["referrer_id"] == frame["referred_id"]).to_numpy(dtype=bool, na_value=False),
        "name one and the same customer as referrer and as referred",
        "a customer cannot refer themselves: leave such rows out",
    )
    _refuse(
        known & frame["referred_id"].duplicated().to_numpy(),
        "bring a customer whom an earlier row brought already",
        "a customer comes once: keep the referral that is credited",
    )
    circle = np.zeros(len(frame), dtype=bool)
    circle[known] = in_circles(
        frame.loc[known, "referrer_id"].to_numpy(), frame.loc[known, "referred_id"].to_numpy()
    )
    _refuse(
        circle,
        "run in a circle (a customer was brought by somebody they had brought)",
        "keep the referral that came first and leave the others out",
    )
    return frame[["referrer_id", "referred_id", "day", "reward_id"]]


def in_circles(referrer: Any, referred: Any) -> Bools:
    """Say which referrals close a circle, of customers who were each referred at most once.

    Args:
        referrer: Who referred, shape (n,).
        referred: Who came, shape (n,), each once.

    Examples:
        >>> in_circles(["a", "b", "c", "x"], ["b", "c", "a", "y"]).tolist()
        [True, True, True, False]
    """
    codes = pd.factorize(np.concatenate([np.asarray(referrer, object), np.asarray(referred, object)]))[0]
    source, target = codes[: len(codes) // 2], codes[len(codes) // 2 :]
    left = np.ones(len(source), dtype=bool)
    size = int(codes.max(initial=-1)) + 1
    # a referral whose referrer was not brought, or that brought nobody who refers, is in no circle;
    # taking those off until none is left leaves the circles
    while left.any():
        brought = np.bincount(target[left], minlength=size) > 0
        brings = np.bincount(source[left], minlength=size) > 0
        kept = left & brought[source] & brings[target]
        if kept.sum() == left.sum():
            break
        left = kept
    return left


def _refuse(bad: Bools, what: str, mend: str) -> None:
    if bad.any():
        raise ContractError(f"referrals {what} at {at_rows(np.flatnonzero(bad).tolist())}; {mend}")
