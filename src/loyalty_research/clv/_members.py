"""Membership at the end of observation: who is in the programme, who left it, and in which tier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, at_rows, listed
from loyalty_research.i18n import message

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["Standing", "membership_labels", "standing", "tier_labels"]


class Standing(NamedTuple):
    """Each customer's membership on the last day observed, in the order of the summary.

    Attributes:
        member: Whether a spell is open, shape (n,).
        left: Day from which the latest ended spell no longer holds (NaT: none), shape (n,).
        tier: Tier of the open spell, or None, shape (n,); None where the table has no tiers.
    """

    member: NDArray[np.bool_]
    left: Array
    tier: Array | None


def _days(memberships: pd.DataFrame, name: str) -> Array:
    column = f"{name}_date" if f"{name}_date" in memberships.columns else name
    stamps = pd.to_datetime(memberships[column], errors="coerce").to_numpy(dtype="datetime64[ns]")
    return np.asarray(stamps.astype("datetime64[D]"))


def standing(df: pd.DataFrame, memberships: pd.DataFrame | None) -> Standing:
    """Look up each customer of a summary in the memberships table.

    A spell is open on the last day observed when it began by then and ends later or not at all.

    Args:
        df: What ``summaries.purchases`` returned, with ``attrs["observation_end"]``.
        memberships: ``customer_id``, ``valid_from`` (or ``valid_from_date``), ``valid_to``; ``tier``
            where there are tiers.

    Raises:
        ContractError: When the table or a column is missing, or a start is.
        ArgumentError: When the last day observed is not known.
    """
    if memberships is None:
        raise ContractError("there is no memberships table")
    end = df.attrs.get("observation_end")
    if end is None:
        raise ArgumentError('membership needs df.attrs["observation_end"], as summaries.purchases gives it')
    table = memberships.reset_index(drop=True)
    if "valid_to" not in table.columns and "valid_to_date" not in table.columns:
        table = table.assign(valid_to=pd.Series(pd.NaT, index=table.index))
    if "customer_id" not in table.columns or not {"valid_from", "valid_from_date"} & set(table.columns):
        raise ContractError(
            f"memberships: it needs customer_id and valid_from; it has {listed(memberships.columns, most=40)}"
        )
    since, until = _days(table, "valid_from"), _days(table, "valid_to")
    blank = np.flatnonzero(np.isnat(since)).tolist()
    if blank:
        raise ContractError(f"memberships: no valid_from in {at_rows(blank)}; give each spell its first day")
    today = np.datetime64(pd.Timestamp(end), "D")
    begun = since <= today
    is_open = begun & (np.isnat(until) | (until > today))
    people = table["customer_id"]
    ended = pd.Series(until)[begun & ~is_open].groupby(people[begun & ~is_open]).max()
    open_rows = table[is_open].drop_duplicates("customer_id", keep="last").set_index("customer_id")
    tier = open_rows["tier"].reindex(df.index).to_numpy() if "tier" in table.columns else None
    left = ended.reindex(df.index).to_numpy().astype("datetime64[D]")
    return Standing(df.index.isin(open_rows.index), left, tier)


def membership_labels(df: pd.DataFrame, memberships: pd.DataFrame | None) -> pd.Series[Any]:
    """Label each customer as member, former member or never a member.

    Args:
        df: The summary, as :func:`standing` needs it.
        memberships: The memberships table, or None.
    """
    found = standing(df, memberships)
    names = [message("member"), message("former member"), message("never a member")]
    codes = np.where(found.member, 0, np.where(np.isnat(found.left), 2, 1))
    labels = pd.Categorical.from_codes(codes.tolist(), categories=pd.Index(names), ordered=True)
    return pd.Series(labels, index=df.index, name="membership")


def tier_labels(df: pd.DataFrame, memberships: pd.DataFrame | None) -> pd.Series[Any]:
    """Label each customer with the tier of the open membership.

    Args:
        df: The summary, as :func:`standing` needs it.
        memberships: The memberships table, or None.

    Raises:
        ContractError: When the table has no tiers.
    """
    found = standing(df, memberships)
    if found.tier is None or pd.isna(found.tier).all():
        raise ContractError("the memberships table has no tiers")
    bare, outside = message("no tier"), message("not a member")
    labels = [
        outside if not member else bare if pd.isna(tier) else str(tier)
        for member, tier in zip(found.member, found.tier, strict=True)
    ]
    seen = set(labels)
    order = sorted(seen - {bare, outside}) + [name for name in (bare, outside) if name in seen]
    return pd.Series(pd.Categorical(labels, order, ordered=True), index=df.index, name="tier")
