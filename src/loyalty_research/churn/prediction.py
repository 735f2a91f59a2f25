"""What predictions of every model share: checked times, blocks of rows, tidy frames with reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError
from loyalty_research.i18n import message, number
from loyalty_research.stats.survival import step_interval

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.stats.survival import Interval

    Floats = NDArray[np.float64]

__all__ = [
    "blocks",
    "checked_alive",
    "checked_horizon",
    "checked_times",
    "reasons",
    "remaining_frame",
    "survival_frame",
]

_CELLS = 1 << 18


def checked_times(times: ArrayLike) -> Floats:
    """Return days to predict at, or raise."""
    found = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if not (found.ndim == 1 and len(found) and np.isfinite(found).all() and (found >= 0).all()):
        raise ArgumentError("times must be days on the clock, 0 or later")
    return found


def checked_alive(alive_at: ArrayLike, n: int) -> Floats:
    """Return the day on which each row is known to be there, or raise."""
    given = np.asarray(alive_at, dtype=np.float64)
    if given.ndim > 1 or (given.ndim == 1 and len(given) != n):
        raise ArgumentError(f"alive_at must be one day, or one for each of the {n:,} rows of df")
    if not (np.isfinite(given).all() and (given >= 0).all()):
        raise ArgumentError("alive_at must be a day on the clock, 0 or later")
    return np.broadcast_to(given, (n,)).astype(np.float64)


def checked_horizon(horizon: float) -> float:
    """Return how far ahead remaining time counts, or raise."""
    if not (np.isfinite(horizon) and horizon > 0):
        raise ArgumentError(f"horizon must be a number of days ahead, above 0; got {horizon!r}")
    return float(horizon)


def blocks(n: int, per_row: int) -> Iterator[slice]:
    """Yield slices of rows so that ``per_row`` numbers for each stay within a few megabytes."""
    size = max(1, _CELLS // max(per_row, 1))
    for at in range(0, n, size):
        yield slice(at, min(at + size, n))


def reasons(beyond: NDArray[np.bool_], last: Floats) -> pd.Categorical:
    """Return why each cell has no answer, row by row; ``""`` where it has one."""
    days, which = np.unique(last, return_inverse=True)
    words = [
        message("beyond the last day observed ({day})", day=number(float(day), digits=0)) for day in days
    ]
    names = list(dict.fromkeys(["", *words]))
    kind = np.int8 if len(names) < 120 else np.int32
    code = np.array([names.index(w) for w in words], dtype=kind)[which]
    codes: Any = (beyond * code[:, None]).ravel()
    return pd.Categorical.from_codes(codes, pd.Index(names))


def survival_frame(
    index: pd.Index[int],
    times: Floats,
    survival: Floats,
    variance: Floats,
    last: Floats,
    *,
    level: float,
    interval: Interval,
) -> pd.DataFrame:
    """Return one row per customer and time; ``survival`` and ``variance`` are overwritten.

    Args:
        index: Of the customers asked for, length n.
        times: Shape ``(k,)``.
        survival: Shape ``(n, k)``.
        variance: Of the log of survival, shape ``(n, k)``; NaN where it is not known.
        last: Last day on which each is supported, shape ``(n,)``.
        level: Confidence level.
        interval: Kind of interval.
    """
    n, k = survival.shape
    low, high = variance, np.empty((n, k))
    beyond = times[None, :] > last[:, None]
    for rows in blocks(n, 8 * k):
        limits = step_interval(survival[rows], variance[rows], level=level, kind=interval)
        unknown = (np.isnan(variance[rows]) & (survival[rows] < 1)) | beyond[rows]
        for part, limit in zip((low, high), limits, strict=True):
            part[rows] = np.where(unknown, np.nan, limit)
        survival[rows][beyond[rows]] = np.nan
    columns = {
        "row": np.repeat(index.to_numpy(), k),
        "time": np.tile(times, n),
        "estimate": survival.ravel(),
        "low": low.ravel(),
        "high": high.ravel(),
        "reason": reasons(beyond, last),
    }
    # one block a column: gathering them into one table would need the room twice
    return pd.concat([pd.Series(v, name=name, copy=False) for name, v in columns.items()], axis=1, copy=False)


def remaining_frame(
    index: pd.Index[int],
    alive: Floats,
    horizon: float,
    mean: Floats,
    variance: Floats,
    last: Floats,
    *,
    level: float,
) -> pd.DataFrame:
    """Return expected remaining time per customer, with a plain interval cut to ``[0, horizon]``.

    Args:
        index: Of the customers asked for, length n.
        alive: Day each is known to be there, shape ``(n,)``.
        horizon: Days ahead that count.
        mean: Shape ``(n,)``.
        variance: Of the mean, shape ``(n,)``; NaN where it is not known.
        last: Last day on which each is supported, shape ``(n,)``.
        level: Confidence level.
    """
    from scipy.special import ndtri

    width = float(ndtri(0.5 + level / 2)) * np.sqrt(variance)
    beyond = alive + horizon > last
    hidden = np.where(beyond, np.nan, 1.0)
    return pd.DataFrame(
        {
            "row": index.to_numpy(),
            "alive_at": alive,
            "horizon": horizon,
            "estimate": mean * hidden,
            "low": np.maximum(mean - width, 0.0) * hidden,
            "high": np.minimum(mean + width, horizon) * hidden,
            "reason": reasons(beyond[:, None], last),
        }
    )
