# ruff: noqa: S608  # names pass through expressions.quote and values through raw.literal

"""Text files: CSV and its relatives, read as text only.

Typing happens later, where a cell that cannot be read is kept, counted and pointed at instead of
stopping at the first one. DuckDB's guessing is switched off: what a file means is declared, or the
plain default.
"""

from __future__ import annotations

import csv
import gzip
import re
from typing import TYPE_CHECKING, Any, Final

import duckdb

from loyalty_research.data.expressions import quote
from loyalty_research.data.raw import FILE, ROW, Malformed, Raw, literal, reason
from loyalty_research.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["header", "line_numbers", "read_csv"]

_NAMED_DELIMITERS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}


def _encoding(options: Mapping[str, Any]) -> str:
    name = str(options.get("encoding", "utf-8")).lower().replace("_", "-")
    known = {
        "utf-8": "utf-8",
        "utf8": "utf-8",
        "latin-1": "latin-1",
        "iso-8859-1": "latin-1",
        "utf-16": "utf-16",
    }
    if name not in known:
        raise ContractError(f"encoding must be utf-8, latin-1 or utf-16; got {name!r}")
    return known[name]


def _open_text(path: Path, encoding: str) -> Any:
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding=codec, errors="replace", newline="")
    return path.open("r", encoding=codec, errors="replace", newline="")


def _delimiter(options: Mapping[str, Any], first_line: str) -> str:
    asked = options.get("delimiter")
    if asked is None:
        bare = re.sub(r'"(?:[^"]|"")*"', "", first_line)
        counts = {mark: bare.count(mark) for mark in (",", ";", "\t", "|")}
        best = max(counts, key=lambda mark: counts[mark])
        return best if counts[best] else ","
    text = _NAMED_DELIMITERS.get(str(asked), str(asked))
    if text != "whitespace" and len(text) != 1:
        raise ContractError(
            f"delimiter must be one character, a name such as tab, or whitespace; got {asked!r}"
        )
    return text


def header(path: Path, options: Mapping[str, Any], where: str) -> tuple[list[str], str]:
    """Return column names and delimiter of a text file.

    Raises:
        ContractError: When there is no header, or it has an empty or a double name.
    """
    names = options.get("header", True)
    with _open_text(path, _encoding(options)) as handle:
        first = handle.readline()
        delimiter = _delimiter(options, first)
        if isinstance(names, list):
            return [str(name) for name in names], delimiter
        if not first.strip():
            raise ContractError(f"{where}: {path.name} has no header line")
        if delimiter == "whitespace":
            found = first.split()
        else:
            handle.seek(0)
            found = next(csv.reader(handle, delimiter=delimiter))
    found = [name.strip() for name in found]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise ContractError(f"{where}: the header of {path.name} names {', '.join(twice)} more than once")
    if "" in found:
        raise ContractError(f"{where}: column {found.index('') + 1} of {path.name} has no name in the header")
    return found, delimiter


def read_csv(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    options: Mapping[str, Any],
    name: str,
    where: str,
) -> Raw:
    """Read text files into a table of text columns.

    Lines that are no rows are left aside in ``malformed`` with their place in the file.

    Raises:
        ContractError: When a header is missing or double, or files differ in their columns.
    """
    names: list[str] = []
    malformed: list[Malformed] = []
    for number, path in enumerate(files):
        found, delimiter = header(path, options, where)
        if names and found != names:
            raise ContractError(f"{where}: {path.name} has other columns than {files[0].name}")
        if not names:
            names = found
            columns = ", ".join(f"{quote(c)} VARCHAR" for c in names)
            connection.execute(f"CREATE TEMP TABLE {quote(name)} ({columns}, {FILE} INTEGER)")
        read = _read_fields if delimiter != "whitespace" else _read_whitespace
        try:
            malformed += read(connection, path, number, names, delimiter, options, name)
        except duckdb.Error as error:
            raise ContractError(f"{where}: {path} cannot be read as text ({reason(error)})") from None
    starts = f"min(rowid) OVER (PARTITION BY {FILE})" if len(files) > 1 else "0"
    listed = ", ".join(quote(c) for c in names)
    sql = f"SELECT {listed}, {FILE}, rowid - {starts} AS {ROW} FROM {quote(name)}"
    types = dict.fromkeys(names, "VARCHAR")
    return Raw(sql, types, list(files), text=True, options=options, malformed=malformed)


def _null_texts(options: Mapping[str, Any]) -> list[str]:
    given = options.get("null_values", [])
    return ["", *([str(given)] if isinstance(given, str) else [str(value) for value in given])]


def _read_fields(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    number: int,
    names: Sequence[str],
    delimiter: str,
    options: Mapping[str, Any],
    name: str,
) -> list[Malformed]:
    columns = ", ".join(f"{literal(c)}: 'VARCHAR'" for c in names)
    nulls = ", ".join(literal(text) for text in _null_texts(options))
    header = "false" if isinstance(options.get("header"), list) else "true"
    rejects, scans = f"rejects_{name}_{number}", f"scans_{name}_{number}"
    connection.execute(
        f"INSERT INTO {quote(name)} SELECT *, {number} FROM read_csv({literal(str(path))}, "
        f"auto_detect = false, header = {header}, delim = {literal(delimiter)}, quote = '\"', escape = '\"', "
        f"columns = {{{columns}}}, nullstr = [{nulls}], encoding = {literal(_encoding(options))}, "
        f"store_rejects = true, rejects_table = {literal(rejects)}, rejects_scan = {literal(scans)}, "
        "rejects_limit = 0, strict_mode = true)"
    )
    rows = connection.execute(
        f"SELECT line_byte_position, min(error_type::VARCHAR), min(csv_line), min(line) FROM {quote(rejects)} "
        "GROUP BY line_byte_position, line ORDER BY 1, 4"
    ).fetchall()
    if not rows:
        return []
    offsets = [int(row[0]) - 1 for row in rows]
    lines = _lines_at(path, offsets) if _encoding(options) != "utf-16" else [int(row[3]) for row in rows]
    return [
        Malformed(number, line, str(row[1]).lower(), str(row[2] or ""))
        for line, row in zip(lines, rows, strict=True)
    ]


def _lines_at(path: Path, offsets: Sequence[int]) -> list[int]:
    """Return the file line (from 1) of each byte offset; DuckDB counts records, not lines."""
    found, line, at = [], 1, 0
    zipped = path.name.lower().endswith(".gz")
    with gzip.open(path, "rb") if zipped else path.open("rb") as handle:
        for offset in offsets:
            while at < offset and (piece := handle.read(min(offset - at, 1 << 20))):
                line += piece.count(b"\n")
                at += len(piece)
            found.append(line)
    return found


def _read_whitespace(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    number: int,
    names: Sequence[str],
    delimiter: str,
    options: Mapping[str, Any],
    name: str,
) -> list[Malformed]:
    del delimiter
    skip = 0 if isinstance(options.get("header"), list) else 1
    width = len(names)
    lines = f"lines_{name}_{number}"
    connection.execute(
        f"CREATE TEMP TABLE {quote(lines)} AS SELECT string_split_regex(trim(line, ' \t\r'), '\\s+') AS f, line "
        f"FROM read_csv({literal(str(path))}, auto_detect = false, header = false, delim = '\x1f', quote = '', "
        f"escape = '', columns = {{'line': 'VARCHAR'}}, encoding = {literal(_encoding(options))}, skip = {skip}, "
        "nullstr = '')"
    )
    fields = ", ".join(f"f[{i + 1}]" for i in range(width))
    connection.execute(
        f"INSERT INTO {quote(name)} SELECT {fields}, {number} FROM {quote(lines)} WHERE len(f) = {width} ORDER BY rowid"
    )
    rows = connection.execute(
        f"SELECT rowid, len(f), line FROM {quote(lines)} WHERE len(f) <> {width} AND line IS NOT NULL "
        "ORDER BY rowid"
    ).fetchall()
    connection.execute(f"DROP TABLE {quote(lines)}")
    return [
        Malformed(
            number,
            int(row[0]) + 1 + skip,
            "missing columns" if row[1] < width else "too many columns",
            row[2],
        )
        for row in rows
    ]


def line_numbers(raw: Raw, file: int, rows: Iterable[int]) -> dict[int, int]:
    """Return the file line of kept rows, the header being line 1.

    Lines are counted by reading the file again, since blank lines, malformed lines and line breaks
    inside quotes shift them; it is done only when there is something to point at.

    Args:
        raw: What was read.
        file: Which of its files.
        rows: Rows of that file, counted from 0 among the kept ones.
    """
    wanted = set(rows)
    if not wanted:
        return {}
    path, options = raw.files[file], raw.options
    bad = {item.line for item in raw.malformed if item.file == file}
    _, delimiter = header(path, options, path.name)
    found: dict[int, int] = {}
    skip = 0 if isinstance(options.get("header"), list) else 1
    with _open_text(path, _encoding(options)) as handle:
        kept, start = 0, 1
        for number, (line, empty) in enumerate(_records(handle, delimiter)):
            if number >= skip and not empty and start not in bad:
                if kept in wanted:
                    found[kept] = start
                    if len(found) == len(wanted):
                        break
                kept += 1
            start = line + 1
    return found


def _records(handle: Any, delimiter: str) -> Iterable[tuple[int, bool]]:
    """Give the last line of every record of a text file and whether it is blank."""
    if delimiter == "whitespace":
        for number, text in enumerate(handle, start=1):
            yield number, not text.strip()
        return
    reader = csv.reader(handle, delimiter=delimiter)
    try:
        for record in reader:
            yield reader.line_num, not record
    except csv.Error:
        # a stray carriage return or NUL: positions after it cannot be told, so none are given
        return
