"""Columns of text that are quick to make: numbered keys, and labels that repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.integer[Any]]
    Text = pd.arrays.ArrowExtensionArray

__all__ = ["constant", "labelled", "numbered", "numbered_rows"]

SHORT = 10**7
LONG = 10**8


def numbered(prefix: str, numbers: Ints) -> Text:
    """Return keys such as ``c0000001``: a letter and seven digits, eight where there are more.

    Args:
        prefix: One letter.
        numbers: Whole numbers, 0 or more and below 10^8.

    Returns:
        Text, one key per number.

    Examples:
        >>> numbered("c", np.array([1, 42])).tolist()
        ['c0000001', 'c0000042']
    """
    numbers = np.asarray(numbers, dtype=np.int64)
    if not len(numbers) or numbers.max() < SHORT:
        return _text(_short(prefix, numbers))
    if numbers.max() >= LONG:
        raise OverflowError(f"keys have eight digits at most; got {numbers.max():,}")
    if numbers.min() >= SHORT:
        return _text(_long(prefix, numbers))
    far = numbers >= SHORT
    both = pa.concat_arrays([_short(prefix, numbers[~far]), _long(prefix, numbers[far])])
    place = np.empty(len(numbers), dtype=np.int64)
    place[np.r_[np.flatnonzero(~far), np.flatnonzero(far)]] = np.arange(len(numbers))
    return _text(both if _sorted(far) else both.take(pa.array(place)))


def numbered_rows(prefix: str, count: int) -> Text:
    """Return keys numbered from 1."""
    return numbered(prefix, np.arange(1, count + 1))


def labelled(codes: Ints, names: Sequence[str]) -> Text:
    """Return a label per code, kept as codes."""
    return _text(
        pa.DictionaryArray.from_arrays(pa.array(codes, type=pa.int32()), pa.array(names, pa.string()))
    )


def constant(name: str, count: int) -> Text:
    """Return the same label in every row."""
    return labelled(np.zeros(count, dtype=np.int32), [name])


def _sorted(flags: NDArray[np.bool_]) -> bool:
    return bool((flags[1:] >= flags[:-1]).all())


def _text(array: Any) -> Text:
    return pd.arrays.ArrowExtensionArray(array)


def _digits(count: int, lead: str = "") -> NDArray[np.void]:
    """Return the numbers below ``10^count`` as fixed text, each a cell of bytes."""
    text = "".join(f"{lead}{i:0{count}d}" for i in range(10**count)).encode()
    return np.frombuffer(text, dtype=f"V{count + len(lead)}")


def _short(prefix: str, numbers: Ints) -> Any:
    return _fixed([_digits(3, prefix)[numbers // 10_000], _digits(4)[numbers % 10_000]])


def _long(prefix: str, numbers: Ints) -> Any:
    return _fixed([_digits(4, prefix)[numbers // 10_000], _digits(4)[numbers % 10_000]])


def _fixed(parts: Sequence[NDArray[np.void]]) -> Any:
    """Put cells of bytes side by side as one text per row."""
    fields = [(f"f{i}", part.dtype) for i, part in enumerate(parts)]
    cells = np.empty(len(parts[0]), dtype=fields)
    for (name, _), part in zip(fields, parts, strict=True):
        cells[name] = part
    width = cells.dtype.itemsize
    offsets = np.arange(0, (len(cells) + 1) * width, width, dtype=np.int64)
    return pa.Array.from_buffers(
        pa.large_string(), len(cells), [None, pa.py_buffer(offsets), pa.py_buffer(cells.view(np.uint8))]
    )
