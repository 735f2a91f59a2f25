"""Counts and unit tables brought to outcomes per arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.endowed_progress._clusters import ClusteredCards
from loyalty_research.endowed_progress.cards import order_arms
from loyalty_research.endowed_progress.completion import Outcomes
from loyalty_research.errors import ArgumentError, ContractError, at_rows
from loyalty_research.stats.counts import check_counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = ["as_pandas", "counted_outcomes", "unit_outcomes"]


_NUMBERS = ("required_stamps", "endowed_stamps", "cycle", "event_no", "paid_value")


def as_pandas(table: Any, name: str) -> pd.DataFrame:
    """Return a table of any engine as a pandas frame, whole numbers that came as text as numbers.

    Args:
        table: A pandas frame, or anything narwhals reads (Polars, PyArrow, DuckDB, lazy frames).
        name: Name of the table in messages.

    Raises:
        ContractError: When it is no table.
    """
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        import narwhals as nw

        try:
            read = nw.from_native(table)
        except TypeError as error:
            raise ContractError(
                f"{name} is a {type(table).__name__}, not a table; give a pandas, Polars, PyArrow or DuckDB one"
            ) from error
        frame = (read.collect() if isinstance(read, nw.LazyFrame) else read).to_pandas()
    else:
        frame = table
    texts = [c for c in _NUMBERS if c in frame.columns and not pd.api.types.is_numeric_dtype(frame[c])]
    read_as = {c: pd.to_numeric(frame[c], errors="coerce") for c in texts}
    # a column with anything else in it stays as it is, for the checks to name its rows
    whole = {c: v for c, v in read_as.items() if v.notna().equals(frame[c].notna())}
    return frame.assign(**whole) if whole else frame


def counted_outcomes(
    counts: Mapping[str, tuple[int, int]],
    *,
    control: str,
    stamps: Mapping[str, tuple[int, int]] | None = None,
) -> Outcomes:
    """Return outcomes from arm to (completed, handed out).

    Raises:
        ArgumentError: On impossible counts, where the message names the arm, or stamps of other arms.
        DesignError: When the control is unknown, or there is one arm only.
    """
    checked: dict[str, tuple[int, int]] = {}
    for name, (x, n) in counts.items():
        try:
            checked[str(name)] = check_counts(x, n)
        except ArgumentError as error:
            raise ArgumentError(f"arm {name!r}: {error} (x completed, n handed out)") from error
    arms = order_arms(list(checked), control)
    if stamps is not None and set(stamps) != set(arms):
        raise ArgumentError(f"stamps must name the arms {', '.join(arms)}; got {', '.join(sorted(stamps))}")
    return Outcomes(
        arms, tuple(checked[a][0] for a in arms), tuple(checked[a][1] for a in arms), stamps=stamps
    )


def unit_outcomes(
    units: pd.DataFrame, *, control: str, arm: str, completed: str, cluster: str | None
) -> Outcomes:
    """Return outcomes from a table with one row per card.

    Raises:
        ContractError: When a column is missing or holds what it should not.
        DesignError: When the control is unknown, or there is one arm only.
    """
    wanted = [arm, completed, *([cluster] if cluster is not None else [])]
    missing = [c for c in wanted if c not in units.columns]
    if missing:
        raise ContractError(f"units lacks the columns {', '.join(missing)}")
    if not len(units):
        raise ContractError("units is empty")
    for column in wanted:
        empty = units[column].isna().to_numpy()
        if empty.any():
            raise ContractError(f"units.{column} is missing in {at_rows(np.flatnonzero(empty).tolist())}")
    odd = ~units[completed].isin([0, 1]).to_numpy()
    if odd.any():
        raise ContractError(f"units.{completed} is not 0 or 1 in {at_rows(np.flatnonzero(odd).tolist())}")
    label = units[arm].astype(str)
    arms = order_arms(label.unique().tolist(), control)
    arm_of = np.asarray(label.map({a: i for i, a in enumerate(arms)}), dtype=np.int64)
    done = units[completed].to_numpy(dtype=float) == 1
    clustered = None
    if cluster is not None:
        codes = np.asarray(units.groupby(cluster).ngroup(), dtype=np.int64)
        clustered = ClusteredCards(arm_of, done, np.zeros(len(done), dtype=bool), codes)
    return Outcomes(
        arms,
        tuple(np.bincount(arm_of[done], minlength=len(arms)).tolist()),
        tuple(np.bincount(arm_of, minlength=len(arms)).tolist()),
        None,
        clustered,
    )
