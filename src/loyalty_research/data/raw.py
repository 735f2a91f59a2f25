"""Rows as they lie in a source, before any of their cells is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["FILE", "ROW", "Malformed", "Raw", "literal", "reason"]

ROW: Final = "__row"
FILE: Final = "__file"
_BAD_BYTES: Final = ("invalid encoding", "invalid unicode")


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line of a text file that is no row: too few or too many fields, a stray quote, bad bytes.

    Attributes:
        file: Which of the files, counted from 0.
        line: Line of the file, the header being line 1.
        problem: What is wrong with it.
        text: The line itself, for the quarantine file only.
    """

    file: int
    line: int
    problem: str
    text: str

    @property
    def code(self) -> str:
        """The rule that the line breaks."""
        return "wrong_encoding" if self.problem in _BAD_BYTES else "malformed_line"


@dataclass(slots=True)
class Raw:
    """Rows as they were found.

    Attributes:
        sql: Query that gives them, with ``__file`` and ``__row`` (counted from 0 in each file).
        types: Column to its DuckDB type.
        files: The files, where there are any.
        text: Whether every column is text from a file with lines.
        options: How the file was read, which finding its lines again needs.
        malformed: Lines that are no rows.
        positional: Whether ``__row`` is the row's place in the source.
        in_order: Whether a plain scan gives the rows in the order of ``__file`` and ``__row``.
    """

    sql: str
    types: dict[str, str]
    files: list[Path] = field(default_factory=list)
    text: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    malformed: list[Malformed] = field(default_factory=list)
    positional: bool = True
    in_order: bool = False


def literal(value: object) -> str:
    """Return a plain value as an SQL literal.

    Examples:
        >>> print(literal("O'Hara"), literal(True), literal(None))
        'O''Hara' TRUE NULL
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, float)):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


def reason(error: Exception) -> str:
    """Return the first line of an error, which says what is wrong."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
