"""Summary frames: what is checked before a fit, and how equal customers are counted once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from loyalty_research.errors import ArgumentError, ContractError, at_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[Any]
    Integers = NDArray[np.int64]

__all__ = [
    "Groups",
    "check_weights",
    "columns",
    "count_rows",
    "fingerprint",
    "group_rows",
    "histories_of",
    "refuse_rows",
    "unit_of",
]

_WIDEST = 1 << 22  # whole units beyond this are sorted like any other number
_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal", "integer-na", "empty")
_GRIDS = (1.0, 7.0)  # whole units, and days written as weeks


def refuse_rows(bad: NDArray[np.bool_], *, column: str, rule: str, mend: str) -> None:
    """Raise when any row breaks a rule.

    Raises:
        ContractError: Naming column, count, first positions and the mend.
    """
    if bad.any():
        where = at_rows(np.flatnonzero(bad).tolist())
        raise ContractError(f"customer summary, column {column}: {rule} in {where}; {mend}")


def columns(df: pd.DataFrame, names: Sequence[str]) -> list[Array]:
    """Return columns of a summary as floats; missing values become NaN.

    Raises:
        ContractError: When ``df`` is no pandas frame, is empty, lacks a column, or a column holds
            anything but numbers (text, dates, time differences).
    """
    import pandas as pd

    if not isinstance(df, pd.DataFrame):
        raise ContractError(
            f"the customer summary must be a pandas DataFrame; got {type(df).__name__}: "
            "make one with summaries.purchases(transactions)"
        )
    missing = [name for name in names if name not in df.columns]
    if missing:
        raise ContractError(
            f"customer summary: missing column{'s' if len(missing) > 1 else ''} {', '.join(missing)} "
            f"(it has {', '.join(map(str, df.columns)) or 'none'}); make one with summaries.purchases(transactions)"
        )
    if not len(df):
        raise ContractError("customer summary: the table is empty; at least one customer is needed")
    out = []
    for name in names:
        column = df[name]
        if isinstance(column, pd.DataFrame):
            raise ContractError(f"customer summary: column {name} appears {column.shape[1]} times; keep one")
        kind = pd.api.types.infer_dtype(column, skipna=True)
        if kind not in _NUMBERS:
            raise ContractError(
                f"customer summary, column {name}: it holds {kind} values, not numbers; convert the column first"
            )
        out.append(column.to_numpy(dtype=float, na_value=np.nan))
    return out


def histories_of(df: pd.DataFrame, *, unit: str | None = None) -> tuple[Array, Array, Array]:
    """Return checked frequency, recency and T of a summary, each of shape (n,).

    Args:
        df: Columns frequency, recency, T.
        unit: The unit a model was fitted in; a summary that declares another is refused.

    Raises:
        ContractError: When a row cannot be a purchase history.
        ArgumentError: When the units disagree.
    """
    x, recency, T = columns(df, ("frequency", "recency", "T"))
    declared = unit_of(df)
    if unit is not None and declared is not None and unit != declared:
        raise ArgumentError(
            f"the model was fitted with time in {unit!r} but this summary declares {declared!r}; "
            f"make the summary with summaries.purchases(..., unit={unit!r})"
        )
    for name, column in (("frequency", x), ("recency", recency), ("T", T)):
        refuse_rows(
            ~np.isfinite(column),
            column=name,
            rule="missing or infinite values",
            mend="leave those customers out or repair the summary",
        )
        refuse_rows(
            column < 0,
            column=name,
            rule="negative values",
            mend="counts and times start at 0; look for refunds counted as purchases or swapped dates",
        )
    refuse_rows(
        x != np.rint(x),
        column="frequency",
        rule="values that are not whole numbers",
        mend="frequency counts repeat purchase days, not money or averages",
    )
    refuse_rows(
        recency > T * (1 + 1e-9),
        column="recency",
        rule="recency greater than T",
        mend="both run from the first purchase, recency to the last purchase and T to the end of observation, "
        "in one time unit",
    )
    refuse_rows(
        (x == 0) & (recency != 0),
        column="recency",
        rule="recency above 0 without a repeat purchase",
        mend="recency is the time from first to last purchase, so it is 0 where frequency is 0",
    )
    refuse_rows(
        (x > 0) & (recency == 0),
        column="recency",
        rule="recency 0 with repeat purchases",
        mend="purchases of one day count once; merge them before counting",
    )
    return x, np.minimum(recency, T), T


def unit_of(df: pd.DataFrame) -> str | None:
    """Return the time unit a summary declares in ``df.attrs["unit"]``, or None."""
    declared = getattr(df, "attrs", {}).get("unit")
    return None if declared is None else str(declared)


def check_weights(weights: str | ArrayLike | None, df: pd.DataFrame) -> Array | None:
    """Return the weight of each row, shape (n,), or None when each row counts once.

    Args:
        weights: A column of ``df``, or one number per row; None counts each row once.
        df: The summary.

    Raises:
        ContractError: When a weight is missing, infinite, zero or negative, or the length differs.
    """
    if weights is None:
        return None
    if isinstance(weights, str):
        (values,) = columns(df, (weights,))
        name = weights
    else:
        values, name = np.asarray(weights, dtype=float), "weights"
        if values.shape != (len(df),):
            raise ContractError(
                f"weights: {values.size:,} values for {len(df):,} customers; give one number per row"
            )
    refuse_rows(
        ~(np.isfinite(values) & (values > 0)),
        column=name,
        rule="weights that are not positive numbers",
        mend="a weight says how many customers a row stands for; leave rows of weight 0 out",
    )
    return values


class Groups(NamedTuple):
    """Equal rows, counted once, in increasing order.

    Attributes:
        first: Position of the first row of each group, shape (k,).
        where: Group of each row, shape (n,).
    """

    first: Integers
    where: Integers


def _codes(column: Array) -> tuple[Integers, int]:
    """Return whole numbers in the order of the values, equal where these are, and their count."""
    for grid in _GRIDS:
        few = column[:: max(1, len(column) // 256)] * grid
        if np.abs(np.rint(few) - few).max() > 1e-7:
            continue
        scaled = column * grid if grid != 1 else column
        whole = np.rint(scaled)
        low, high = whole.min(), whole.max()
        if high - low < _WIDEST and np.abs(whole - scaled).max() < 1e-7:
            return (whole - low).astype(np.int64), int(high - low) + 1
    levels, where = np.unique(column, return_inverse=True)
    return where.astype(np.int64), len(levels)


def _keys(parts: Sequence[Array]) -> tuple[Integers, int]:
    """Return one number per row, in the order of the rows' values."""
    key, size = _codes(parts[0])
    for part in parts[1:]:
        codes, levels = _codes(part)
        if size * levels >= 1 << 62:
            distinct, key = np.unique(key, return_inverse=True)
            size = len(distinct)
        key, size = key * levels + codes, size * levels
    return key, size


def group_rows(*parts: Array) -> Groups:
    """Group equal rows of columns, each of shape (n,).

    Purchase histories in whole days (or days as weeks) have few distinct values, so keys are
    looked up in a table where that is small; otherwise they are sorted.

    Examples:
        >>> import numpy as np
        >>> first, where = group_rows(np.array([2.0, 0.0, 2.0]), np.array([1.0, 1.0, 1.0]))
        >>> where.tolist()
        [1, 0, 1]
    """
    key, size = _keys(parts)
    position = np.arange(len(key))
    if size > 4 * len(key):
        distinct, where = np.unique(key, return_inverse=True)
        first = np.empty(len(distinct), dtype=np.int64)
        first[where[::-1]] = position[::-1]
        return Groups(first, where.astype(np.int64))
    seen = np.full(size, -1, dtype=np.int64)
    seen[key[::-1]] = position[::-1]
    present = np.flatnonzero(seen >= 0)
    place = np.empty(size, dtype=np.int64)
    place[present] = np.arange(len(present))
    return Groups(seen[present], place[key])


def count_rows(weight: Array | None, *parts: Array) -> tuple[list[Array], Array]:
    """Return the distinct rows of columns, in increasing order, and the weight of each.

    Without weights keys are sorted alone, which costs a fifth of sorting positions with them.

    Args:
        weight: Weight of each row, shape (n,); None counts rows.
        *parts: Columns, each of shape (n,).

    Returns:
        The columns of distinct rows, each of shape (k,), and their weights, shape (k,).
    """
    if weight is None:
        key, size = _keys(parts)
        if size > 4 * len(key) and size < 1 << 62:
            ordered = np.sort(key)
            starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
            counts = np.diff(np.append(starts, len(ordered)))
            return _decode(ordered[starts], parts), counts.astype(float)
    first, where = group_rows(*parts)
    return [part[first] for part in parts], np.bincount(where, weights=weight).astype(float)


def _decode(keys: Integers, parts: Sequence[Array]) -> list[Array]:
    """Turn keys back into the values that :func:`_keys` made them from."""
    out: list[Array] = []
    for part in reversed(parts):
        codes, levels = _codes(part)
        values = np.empty(levels)
        values[codes] = part
        out.append(values[keys % levels])
        keys = keys // levels
    return out[::-1]


def fingerprint(*parts: Array) -> str:
    """Return a content hash of the columns of distinct rows, given in increasing order."""
    table = np.column_stack(parts).astype("<f8")
    return hashlib.sha256(np.ascontiguousarray(table).tobytes()).hexdigest()[:16]
