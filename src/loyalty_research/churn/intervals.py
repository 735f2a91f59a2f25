"""Checks on intervals, before any work: each says column, count, first rows and the mend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, ImmortalTimeError, at_rows, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "Events",
    "apart",
    "cause_codes",
    "check_ends",
    "check_intervals",
    "check_known",
    "ended_for",
    "events",
    "keys",
    "last_days",
    "masses",
    "need",
    "numbers",
    "one_name_each",
    "require_events",
    "times",
    "where",
]


def where(bad: NDArray[np.bool_]) -> str:
    """Say which rows are bad, by position."""
    return at_rows(np.flatnonzero(bad).tolist())


def one_name_each(frame: pd.DataFrame, table: str) -> None:
    """Raise when columns share a name, or names have several levels."""
    if frame.columns.nlevels > 1:
        raise ContractError(f"{table} has columns of several levels; give each one plain name")
    twice = frame.columns[frame.columns.duplicated()].unique()
    if len(twice):
        raise ContractError(
            f"{table} has several columns called {listed(twice)}; rename or leave out all but one"
        )


def last_days(frame: pd.DataFrame, as_of: float | str, table: str) -> NDArray[Any] | float:
    """Return the last day observed, one number or one per row.

    Raises:
        ArgumentError: When ``as_of`` is neither a column nor a finite number.
    """
    if isinstance(as_of, str):
        return numbers(frame, as_of, table)
    if (
        isinstance(as_of, (bool, np.bool_))
        or not isinstance(as_of, (int, float, np.number))
        or not np.isfinite(as_of)
    ):
        raise ArgumentError(
            f"as_of must be a day on the customers' clocks, or the column with each one's; got {as_of!r}"
        )
    return float(as_of)


def apart(**columns: str | None) -> None:
    """Raise when one column is named for two uses.

    Raises:
        ArgumentError: When two uses share a column.
    """
    uses: dict[str, str] = {}
    for use, column in columns.items():
        if column is None:
            continue
        if column in uses:
            raise ArgumentError(f"{uses[column]} and {use} both name the column {column}; name one for each")
        uses[column] = use


def need(frame: pd.DataFrame, columns: Sequence[str], table: str) -> None:
    """Raise when a table lacks columns, or has no rows."""
    if not isinstance(frame, pd.DataFrame):
        raise ContractError(f"{table} must be a pandas DataFrame; got {type(frame).__name__}")
    one_name_each(frame, table)
    strange = [c for c in frame.columns if not isinstance(c, str)]
    if strange:
        raise ContractError(f"{table} has columns whose names are no text ({listed(strange)}); rename them")
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise ContractError(
            f"{table} lacks the column{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}; "
            f"it has {', '.join(map(str, frame.columns)) or 'none'}"
        )
    if not len(frame):
        raise ContractError(f"{table} is empty: there is nobody to follow")


def numbers(frame: pd.DataFrame, column: str, table: str) -> NDArray[Any]:
    """Return a numeric column without gaps."""
    values = frame[column]
    if not (pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)):
        raise ContractError(
            f"{table}.{column} is {values.dtype}, not a number; durations are days (or any one unit) "
            "since each customer's clock began"
        )
    gaps = values.isna().to_numpy()
    if gaps.any():
        raise ContractError(f"{table}.{column} is missing in {where(gaps)}; fill or leave them out")
    array = values.to_numpy()
    if array.dtype.kind not in "iufb":
        array = values.to_numpy(dtype=np.float64)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ContractError(f"{table}.{column} is infinite in {where(~np.isfinite(array))}")
    return array


def times(frame: pd.DataFrame, column: str, table: str) -> NDArray[Any]:
    """Return times as int64 where they are whole numbers, else float64."""
    array = numbers(frame, column, table)
    if array.dtype.kind == "f":
        small = bool((np.abs(array) < 2**53).all())
        whole = array.astype(np.int64) if small else None
        return whole if whole is not None and np.array_equal(whole, array) else array.astype(np.float64)
    return array.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Events:
    """Who left, and for which cause where causes are told apart.

    Attributes:
        happened: True where the customer left.
        causes: 0 where there was none, else the number of the cause; None where there is one.
        labels: Label of cause 1, 2, ...
    """

    happened: NDArray[np.bool_]
    causes: Ints | None = None
    labels: tuple[Any, ...] = ()


def events(frame: pd.DataFrame, column: str, table: str, *, censored: object = None) -> Events:
    """Return the event column: 0 and 1, or causes of leaving told apart.

    Args:
        frame: Table.
        column: Whole numbers from 0, or labels where ``censored`` says which means "still there".
        table: What the user calls it.
        censored: Value of those still there; 0 for numbers by default.
    """
    values = frame[column]
    gaps = values.isna().to_numpy()
    if gaps.any():
        raise ContractError(
            f"{table}.{column} is missing in {where(gaps)}; say of everyone whether they left"
        )
    numeric = pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)
    if (
        pd.api.types.is_float_dtype(values)
        and (values == np.floor(values)).all()
        and np.isfinite(values).all()
    ):
        values = values.astype(np.int64)
    if censored is not None:
        return _labelled(values, column, table, censored)
    if not numeric:
        found = listed(pd.unique(values).tolist())
        raise ContractError(
            f"{table}.{column} holds labels ({found}); name the one that means 'still there' with censored="
        )
    array = numbers(frame, column, table)
    odd = (array != 0) & (array != 1)
    if not odd.any():
        return Events(array.astype(bool))
    strange = (array < 0) | (array != np.floor(array))
    if strange.any() or not (array == 0).any():
        raise ContractError(
            f"{table}.{column} must be 0 (still there) or 1 (left), or 0, 1, 2, ... for causes of leaving; it is "
            f"neither 0 nor 1 in {where(strange if strange.any() else odd)}"
            + ("" if strange.any() else " and never 0: say with censored= which value means 'still there'")
        )
    return _labelled(values, column, table, 0)


def ended_for(values: pd.Series[Any], happened: NDArray[np.bool_], table: str, rows: Ints) -> Events:
    """Return events with their causes, which must be known of everybody who left.

    Args:
        values: Cause per interval.
        happened: Whether the customer left at its end.
        table: What the user calls the table.
        rows: Positions to report.
    """
    gaps = happened & values.isna().to_numpy()
    if gaps.any():
        raise ContractError(
            f"{table}.{values.name} is missing in {at_rows(np.sort(rows[gaps]).tolist())}, whose customers left; name a "
            "cause for each"
        )
    if isinstance(values.dtype, pd.CategoricalDtype):
        order = values[happened].cat.remove_unused_categories().cat.categories.tolist()
    else:
        order = sorted(pd.unique(values[happened]).tolist(), key=lambda v: (str(type(v)), v))
    if len(order) < 2:
        return Events(happened)
    codes = np.zeros(len(values), dtype=np.int64)
    for number, label in enumerate(order, start=1):
        codes[happened & (values == label).to_numpy(dtype=bool, na_value=False)] = number
    return Events(happened, codes, tuple(order))


def _labelled(values: pd.Series[Any], column: str, table: str, censored: object) -> Events:
    """Return events from labels, causes in the order of the labels."""
    stayed = (values == censored).to_numpy(dtype=bool)
    if isinstance(values.dtype, pd.CategoricalDtype):
        order = [v for v in values.cat.remove_unused_categories().cat.categories if v != censored]
        known = censored in values.cat.categories
    else:
        order = sorted(pd.unique(values[~stayed]).tolist(), key=lambda v: (str(type(v)), v))
        known = bool(stayed.any())
    if not known:
        raise ContractError(
            f"{table}.{column} never holds {censored!r}, which censored names; it holds "
            f"{listed(pd.unique(values).tolist())}"
        )
    if len(order) < 2 and (not order or values.dtype.kind not in "iuf" or order == [1]):
        return Events(~stayed)
    codes = np.zeros(len(values), dtype=np.int64)
    for number, label in enumerate(order, start=1):
        codes[(values == label).to_numpy(dtype=bool)] = number
    return Events(~stayed, codes, tuple(order))


def masses(frame: pd.DataFrame, column: str, table: str) -> Floats:
    """Return case weights."""
    values = frame[column]
    if not pd.api.types.is_numeric_dtype(values):
        raise ContractError(f"{table}.{column} is {values.dtype}, not a number; case weights are positive")
    array = values.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~(np.isfinite(array) & (array > 0))
    if bad.any():
        raise ContractError(
            f"{table}.{column} must be positive and finite; it is not in {where(bad)}: leave out rows without weight"
        )
    return array


def keys(values: pd.Series[Any], table: str) -> tuple[Ints, pd.Index[Any]]:
    """Return integer codes of a key column, and the keys."""
    gaps = values.isna().to_numpy()
    if gaps.any():
        raise ContractError(f"{table}.{values.name} is missing in {where(gaps)}; every row needs its key")
    codes, found = pd.factorize(values, sort=False)
    return codes.astype(np.int64), pd.Index(found)


def check_intervals(
    start: NDArray[Any],
    stop: NDArray[Any],
    event: NDArray[np.bool_],
    customer: Ints | None,
    *,
    names: Mapping[str, str],
    table: str,
    zero: bool = False,
) -> None:
    """Raise on intervals that cannot be: empty, before zero, overlapping, after the event.

    Args:
        start: Starts.
        stop: Ends.
        event: Whether the event ended each.
        customer: Customer codes, or None when every row is its own customer.
        names: What the user calls ``start`` and ``stop``.
        table: What the user calls the table.
        zero: Whether an end at 0 is allowed: everybody is watched from before the first day.
    """
    early = start < 0
    if early.any():
        raise ContractError(
            f"{table}.{names['start']} is negative in {where(early)}; clocks start at 0, later entry above it"
        )
    bad = stop < start if zero else stop <= start
    if bad.any() and zero:
        raise ContractError(
            f"{table}.{names['stop']} is negative in {where(bad)}; correct them, or leave out those never observed"
        )
    if bad.any():
        kind = "zero-length or negative"
        raise ContractError(
            f"{table}: {names['stop']} must exceed {names['start']}; {kind} intervals in {where(bad)}: "
            "correct them, or leave out those never observed"
        )
    if customer is None:
        return
    order = np.lexsort((start, customer))
    same = customer[order][1:] == customer[order][:-1]
    # without late entry all of a customer's rows begin alike, also one that ends on day 0
    clash = same if zero else same & (start[order][1:] < stop[order][:-1])
    if clash.any():
        rows = np.sort(order[1:][clash]).tolist()
        raise ContractError(
            f"{table}: intervals of one customer overlap in {at_rows(rows)}; each must start where the one "
            "before it stopped, or later"
        )
    after = same & event[order][:-1]
    if after.any():
        rows = np.sort(order[1:][after]).tolist()
        raise ContractError(
            f"{table}: intervals begin after their customer's event in {at_rows(rows)}; keep the first spell "
            "of each customer"
        )


def check_ends(
    stop: NDArray[Any], as_of: NDArray[Any] | float, *, name: str, table: str, event: NDArray[np.bool_]
) -> None:
    """Raise when an interval ends after the last day observed.

    Args:
        stop: Ends.
        as_of: Last day observed on each customer's clock.
        name: What the user calls ``stop``.
        table: What the user calls the table.
        event: Whether the event ended each.
    """
    late = stop > as_of
    if late.any():
        left = int((late & event).sum())
        raise ContractError(
            f"{table}.{name} lies after as_of, the last day observed, in {where(late)}, {left:,} of them with an "
            "event: what happens after as_of is not known, so end such intervals there, without an event"
        )


def require_events(data: Followed, *, causes: bool = False) -> None:
    """Raise when everybody is censored, or causes are told apart and the caller knows of none.

    Args:
        data: Anything with events.
        causes: Whether the caller tells causes apart.
    """
    if data.causes is not None and not causes:
        raise ContractError(
            f"these data tell {len(data.cause_labels)} causes of leaving apart ({listed(data.cause_labels)}): take "
            f"one with data.cause({data.cause_labels[0]!r}), which censors the others, or all together with "
            "data.any_cause(); AalenJohansen, gray_test and fine_gray take them as they are"
        )
    if not data.event.any():
        raise ContractError(
            f"nobody left in {len(data.event):,} intervals: all are censored, so nothing can be estimated; "
            "follow for longer, or shorten the inactivity window"
        )


def cause_codes(data: Followed, cause: Any) -> Ints:
    """Return 0 for still there, 1 for the cause and 2 for any other; raise where nobody had it."""
    if data.causes is None:
        raise ContractError(
            "these data tell no causes of leaving apart; give event as 0, 1, 2, ... or as labels, or use the method "
            "for one event"
        )
    if cause not in data.cause_labels:
        raise ArgumentError(f"there is no cause {cause!r}; the causes are {listed(data.cause_labels)}")
    mine = data.cause_labels.index(cause) + 1
    if not (data.causes == mine).any():
        raise ContractError(f"nobody left for {cause!r}, so nothing can be estimated of it")
    return np.where(data.causes == 0, 0, np.where(data.causes == mine, 1, 2))


class Followed(Protocol):
    """Anything with an event column."""

    @property
    def event(self) -> NDArray[np.bool_]:
        """True where the customer left."""

    @property
    def causes(self) -> Ints | None:
        """Number of the cause, where causes are told apart."""

    @property
    def cause_labels(self) -> tuple[Any, ...]:
        """Label of each cause."""


def check_known(
    known: NDArray[Any],
    start: NDArray[Any],
    *,
    column: str,
    table: str,
    rows: NDArray[np.int64] | None = None,
) -> None:
    """Raise when a covariate is used before the day it was known.

    Args:
        known: Day each value became known, on the customer's clock.
        start: Start of the interval that uses it.
        column: The covariate.
        table: Where its rows are counted.
        rows: Positions to report, where they are not those of ``known``.
    """
    late = np.flatnonzero(known > start)
    if not len(late):
        return
    positions = late if rows is None else np.unique(rows[late])
    gap = known[late] - start[late]
    raise ImmortalTimeError(
        f"{column} looks into the future: in {len(late):,} of {len(known):,} intervals its value is known only "
        f"after the interval starts (up to {float(gap.max()):g} days later; the first interval concerned starts "
        f"on day {float(start[late].min()):g} and its value is known on day {float(known[late[0]]):g}); "
        f"{table}: {at_rows(positions.tolist())}. "
        "Whoever left earlier could never have that value, so it would look protective. Split intervals where "
        "the value changes (time_varying), or analyse from a landmark"
    )
