"""Privacy of what leaves the project: small cells suppressed, join keys hashed."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["keyed_hash", "suppress_small_cells"]

_SHORTEST_KEY = 16


def suppress_small_cells(
    frame: pd.DataFrame,
    *,
    count: str,
    values: Sequence[str] = (),
    minimum: int = 5,
    by: str | Sequence[str | Sequence[str]] | None = None,
    also: str | None = None,
) -> pd.DataFrame:
    """Blank cells that rest on too few customers, and what would give them away.

    A cell counting 1 to ``minimum - 1`` is blanked. Where one blank remains in a margin, or the
    blanks of a margin together stay under ``minimum``, the published total would reveal them; so the
    smallest other cells are blanked too until neither holds. A cell of 0 concerns nobody and stays.

    Args:
        frame: One row per cell, without rows of totals.
        count: Column of customers behind each cell.
        values: Columns computed from those customers, blanked with the count.
        minimum: Smallest count that is shown.
        by: Margins whose totals a reader knows: a column (a total for each of its values), or a
            list of columns or of lists of columns for several margins. By default the total over
            all rows is known.
        also: Boolean column of cells to blank in any case, such as the corners of a rectangle chosen to
            protect a small cell; it is dropped.

    Returns:
        A copy; blanked counts are None, blanked values NaN (None in columns of text). The number of
        blanked cells is in ``.attrs["suppressed"]``.

    Raises:
        ArgumentError: When a column is missing, a count is negative or not whole, or ``minimum`` is
            below 1.

    References:
        Hundepool et al. (2012), Statistical Disclosure Control, section 4.4 (secondary
        suppression).

    Examples:
        >>> import pandas as pd
        >>> cells = pd.DataFrame({"tier": ["gold", "silver", "bronze"], "members": [3, 12, 90],
        ...                       "left": [0.33, 0.25, 0.4]})
        >>> suppress_small_cells(cells, count="members", values=["left"])
             tier members  left
        0    gold    None   NaN
        1  silver    None   NaN
        2  bronze      90   0.4
    """
    margins = _margins(by)
    named = [] if also is None else [also]
    for name in [count, *values, *named, *(column for margin in margins for column in margin)]:
        if name not in frame.columns:
            raise ArgumentError(
                f"the frame has no column {name!r}; it has {', '.join(map(str, frame.columns))}"
            )
    if minimum < 1:
        raise ArgumentError(f"minimum must be at least 1; got {minimum}")
    counts = frame[count].to_numpy(dtype=np.float64, na_value=np.nan)
    whole = np.isfinite(counts) & (counts >= 0) & (counts == np.floor(counts))
    if not whole.all():
        raise ArgumentError(
            f"{count!r} must hold whole counts from 0; {int((~whole).sum())} rows do not (first at position "
            f"{int(np.flatnonzero(~whole)[0])})"
        )
    groups = [rows for margin in margins for rows in _groups(frame, margin)]
    small = (counts > 0) & (counts < minimum)
    if also is not None:
        small |= frame[also].to_numpy(dtype=bool)
    hidden = _complement(counts, small, groups, minimum)
    made = frame.drop(columns=named)
    if hidden.any():
        shown = counts.astype(np.int64).astype(object)
        shown[hidden] = None
        made[count] = shown
        for name in values:
            made[name] = frame[name].mask(hidden)
    made.attrs["suppressed"] = int(hidden.sum())
    return made


def _margins(by: str | Sequence[str | Sequence[str]] | None) -> list[list[str]]:
    if by is None:
        return [[]]
    if isinstance(by, str):
        return [[by]]
    return [[margin] if isinstance(margin, str) else list(margin) for margin in by]


def _groups(frame: pd.DataFrame, margin: list[str]) -> Iterator[NDArray[np.intp]]:
    if not margin:
        yield np.arange(len(frame))
        return
    codes = frame.groupby(margin, sort=False, dropna=False, observed=True).ngroup().to_numpy()
    for code in range(int(codes.max(initial=-1)) + 1):
        yield np.flatnonzero(codes == code)


def _complement(
    counts: NDArray[np.float64], hidden: NDArray[np.bool_], groups: list[NDArray[np.intp]], minimum: int
) -> NDArray[np.bool_]:
    """Hide further cells until no margin's total gives a hidden one away.

    Args:
        counts: Customers of each cell, shape (cells,).
        hidden: Cells that are too small, shape (cells,).
        groups: Positions of the cells of each margin.
        minimum: Smallest count that is shown.

    Returns:
        Cells to hide, shape (cells,).
    """
    hidden = hidden.copy()
    changed = True
    while changed:
        changed = False
        for rows in groups:
            blank = rows[hidden[rows]]
            shown = rows[~hidden[rows] & (counts[rows] > 0)]
            given_away = len(blank) == 1 or (len(blank) > 0 and counts[blank].sum() < minimum)
            if given_away and len(shown):
                hidden[shown[np.argmin(counts[shown])]] = True
                changed = True
    return hidden


def keyed_hash(series: pd.Series[str], key_env: str) -> pd.Series[str]:
    """Replace identifiers by a keyed hash, so that tables can be joined without showing who is who.

    Args:
        series: Identifiers; nulls stay null.
        key_env: Environment variable that holds the secret key, at least 16 characters. Whoever has
            the key can find out whether an identifier is in the data.

    Returns:
        Series of 32 hexadecimal digits (HMAC-SHA256, first half), with the same index and name.

    Raises:
        ArgumentError: When the variable is not set or the key is short.

    References:
        RFC 2104, HMAC: keyed-hashing for message authentication.

    Examples:
        >>> import os
        >>> import pandas as pd
        >>> os.environ["EXAMPLE_KEY"] = "a secret of sixteen or more"
        >>> hashed = keyed_hash(pd.Series(["a", "b", "a"]), "EXAMPLE_KEY")
        >>> bool(hashed[0] == hashed[2]), bool(hashed[0] == hashed[1])
        (True, False)
    """
    key = os.environ.get(key_env, "")
    if len(key) < _SHORTEST_KEY:
        raise ArgumentError(
            f"the environment variable {key_env} must hold a secret key of at least {_SHORTEST_KEY} characters"
        )
    secret = key.encode()
    known = {
        value: hmac.new(secret, str(value).encode(), hashlib.sha256).hexdigest()[:32]
        for value in series.dropna().unique()
    }
    return series.map(known)
