"""Raw rows of a table, as they lie in files, databases or frames, inside one DuckDB connection.

Text files are read as text only: typing happens at staging, where a cell that cannot be read is
kept, counted and pointed at instead of stopping at the first one.
"""

# ruff: noqa: S608  # names pass through expressions.quote and values through sources.literal

from __future__ import annotations

import csv
import gzip
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import duckdb

from loyalty_research.data import catalogue
from loyalty_research.data.expressions import quote
from loyalty_research.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from loyalty_research.data.catalogue import Definition, Part

__all__ = ["Malformed", "Raw", "header", "line_numbers", "literal", "read_part"]

ROW: Final = "__row"
FILE: Final = "__file"
_NAMED_DELIMITERS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}


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
    """

    sql: str
    types: dict[str, str]
    files: list[Path] = field(default_factory=list)
    text: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    malformed: list[Malformed] = field(default_factory=list)
    positional: bool = True


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


def _reason(error: Exception) -> str:
    first = str(error).strip().splitlines()
    return first[0] if first else type(error).__name__


def _columns(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, str]:
    described = connection.execute(f"DESCRIBE {sql}").fetchall()
    return {str(row[0]): str(row[1]) for row in described if row[0] not in {ROW, FILE}}


def read_part(
    connection: duckdb.DuckDBPyConnection, definition: Definition, part: Part, name: str, where: str
) -> Raw:
    """Make the raw rows of one part of a table available.

    Args:
        connection: Where tables are created.
        definition: The dataset, for its sources and root.
        part: What to read.
        name: Prefix for the names of tables made here.
        where: Dataset and table, for messages.

    Raises:
        ContractError: When a file is missing or corrupt, or a database cannot be reached.
    """
    raw = _counts(part, where) if part.counts else _origin(connection, definition, part, name, where)
    if part.distinct:
        raw = _distinct(raw, part.distinct, where)
    if part.join:
        other = _origin(connection, definition, part, f"{name}_join", where, origin=str(part.join["from"]))
        raw = _join(connection, raw, other, part.join["on"], where)
    return raw


def _origin(
    connection: duckdb.DuckDBPyConnection,
    definition: Definition,
    part: Part,
    name: str,
    where: str,
    *,
    origin: str = "",
) -> Raw:
    origin = origin or part.origin
    source, rest = catalogue.split_origin(origin, definition.sources)
    if source is not None and source.kind == "postgres":
        from loyalty_research.data.servers import postgres_table

        return postgres_table(connection, source, rest, name, where)
    path = catalogue.resolve(definition, origin)
    if path is None:
        raise ContractError(f"{where}: {origin} cannot be resolved")
    kind = str(part.options.get("format") or (source.kind if source else "") or "")
    if kind not in {"csv", "parquet", "duckdb"}:
        kind = catalogue.file_format(path) or ""
    if kind == "duckdb":
        table = rest if source is not None else origin.rpartition(":")[2]
        return _duckdb_table(connection, path, table, name, where)
    files = catalogue.expand(path)
    kind = kind or catalogue.file_format(files[0]) or ""
    if kind == "parquet":
        return read_parquet(connection, files, where)
    if kind == "csv":
        return read_csv(connection, files, part.options, name, where)
    raise ContractError(f"{where}: {path.name} is neither CSV nor Parquet by its ending; say format: csv")


def _counts(part: Part, where: str) -> Raw:
    """Turn published counts into one row per unit, successes first in each arm."""
    counts = dict(part.counts)
    outcome, arms = str(counts.get("outcome", "completed")), counts.get("arms")
    if not isinstance(arms, dict) or not arms:
        raise ContractError(f"{where}.counts needs arms: with [successes, units] for each arm")
    pieces = []
    for number, (arm, pair) in enumerate(arms.items()):
        good = isinstance(pair, list) and len(pair) == 2 and all(type(v) is int for v in pair)
        if not good or not 0 <= pair[0] <= pair[1]:
            raise ContractError(
                f"{where}.counts: arm {arm!r} needs [successes, units] with successes <= units"
            )
        pieces.append(
            f"SELECT {number} AS arm_no, {literal(str(arm))} AS arm, "
            f"CASE WHEN range < {pair[0]} THEN 1 ELSE 0 END AS {quote(outcome)}, range AS place "
            f"FROM range({pair[1]})"
        )
    rows = " UNION ALL ".join(pieces)
    sql = (
        f"SELECT arm, {quote(outcome)}, 0 AS {FILE}, row_number() OVER (ORDER BY arm_no, place) - 1 AS {ROW} "
        f"FROM ({rows})"
    )
    return Raw(sql, {"arm": "VARCHAR", outcome: "INTEGER"})


def _distinct(raw: Raw, names: Sequence[str], where: str) -> Raw:
    _need(names, raw.types, f"{where}.distinct")
    listed = ", ".join(quote(name) for name in names)
    sql = (
        f"SELECT {listed}, 0 AS {FILE}, row_number() OVER (ORDER BY {listed}) - 1 AS {ROW} "
        f"FROM (SELECT DISTINCT {listed} FROM ({raw.sql}))"
    )
    return Raw(sql, {name: raw.types[name] for name in names}, malformed=raw.malformed, positional=False)


def _join(connection: duckdb.DuckDBPyConnection, raw: Raw, other: Raw, on: Sequence[str], where: str) -> Raw:
    _need(on, raw.types, f"{where}.join.on")
    _need(on, other.types, f"{where}.join.on")
    clash = [name for name in other.types if name in raw.types and name not in on]
    if clash:
        raise ContractError(f"{where}.join: both sides have the columns {', '.join(clash)}")
    keys = ", ".join(f"CAST({quote(name)} AS VARCHAR)" for name in on)
    twice = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM ({other.sql}) GROUP BY {keys} HAVING count(*) > 1)"
    ).fetchall()[0][0]
    if twice:
        raise ContractError(f"{where}.join: {twice:,} keys stand more than once on the joined side")
    added = [name for name in other.types if name not in on]
    match = " AND ".join(
        f"CAST(l.{quote(name)} AS VARCHAR) = CAST(r.{quote(name)} AS VARCHAR)" for name in on
    )
    columns = "".join(f", r.{quote(name)}" for name in added)
    sql = f"SELECT l.*{columns} FROM ({raw.sql}) AS l LEFT JOIN ({other.sql}) AS r ON {match}"
    types = {**raw.types, **{name: other.types[name] for name in added}}
    return Raw(
        sql,
        types,
        raw.files,
        raw.text,
        raw.options,
        [*raw.malformed, *other.malformed],
        positional=raw.positional,
    )


def _need(names: Iterable[str], types: Mapping[str, str], where: str) -> None:
    missing = [name for name in names if name not in types]
    if missing:
        raise ContractError(f"{where} names {', '.join(missing)}; the source has {', '.join(types)}")


def read_parquet(connection: duckdb.DuckDBPyConnection, files: Sequence[Path], where: str) -> Raw:
    """Read Parquet files that share their columns.

    Raises:
        ContractError: When a file is corrupt or has other columns than the first, naming it.
    """
    first: dict[str, str] = {}
    for path in files:
        # the whole file is read below; its footer already tells most damage, and which file has it
        sql = f"SELECT * FROM read_parquet({literal(str(path))})"
        try:
            types = _columns(connection, sql)
        except duckdb.Error as error:
            raise _corrupt(path, where, error) from None
        first = first or types
        if set(types) != set(first):
            odd = sorted(set(types) ^ set(first))
            raise ContractError(
                f"{where}: {path.name} has other columns than {files[0].name}: {', '.join(odd)}"
            )
    listed = ", ".join(literal(str(path)) for path in files)
    names = ", ".join(quote(name) for name in first)
    number = "0" if len(files) == 1 else "file_index"
    sql = (
        f"SELECT {names}, {number} AS {FILE}, file_row_number AS {ROW} "
        f"FROM read_parquet([{listed}], file_row_number = true, union_by_name = true)"
    )
    return Raw(sql, first, list(files))


def _corrupt(path: Path, where: str, error: Exception) -> ContractError:
    return ContractError(
        f"{where}: {path} is no readable Parquet file ({_reason(error)}); export it again or take it out"
    )


def find_corrupt(
    connection: duckdb.DuckDBPyConnection, files: Sequence[Path], where: str
) -> ContractError | None:
    """Return the error that names the Parquet file which cannot be read to its end, or None."""
    for path in files:
        if catalogue.file_format(path) != "parquet":
            continue
        # hashing every cell touches every page, which counting rows would not
        sql = f"SELECT bit_xor(hash(p)) FROM read_parquet({literal(str(path))}) AS p"
        try:
            connection.execute(sql).fetchall()
        except duckdb.Error as error:
            return _corrupt(path, where, error)
    return None


def _duckdb_table(
    connection: duckdb.DuckDBPyConnection, path: Path, table: str, name: str, where: str
) -> Raw:
    if not path.is_file():
        raise ContractError(f"{where}: there is no DuckDB file {path}")
    alias = quote(f"db_{name}")
    try:
        connection.execute(f"ATTACH {literal(str(path))} AS {alias} (READ_ONLY)")
    except duckdb.Error as error:
        raise ContractError(f"{where}: {path} cannot be opened as a DuckDB file ({_reason(error)})") from None
    full = ".".join(
        [alias, *(quote(piece) for piece in (table if "." in table else f"main.{table}").split("."))]
    )
    sql = f"SELECT *, 0 AS {FILE}, row_number() OVER () - 1 AS {ROW} FROM {full}"
    try:
        types = _columns(connection, sql)
    except duckdb.Error:
        known = ", ".join(duckdb_tables(connection, f"db_{name}")) or "none"
        raise ContractError(f"{where}: {path.name} has no table {table!r}; it has {known}") from None
    return Raw(sql, types, [path])


def duckdb_tables(connection: duckdb.DuckDBPyConnection, database: str) -> list[str]:
    """Return the tables and views of an attached database as ``schema.table``, sorted."""
    rows = connection.execute(
        "SELECT table_schema || '.' || table_name FROM information_schema.tables "
        "WHERE table_catalog = ? ORDER BY 1",
        [database],
    ).fetchall()
    return [str(row[0]) for row in rows]


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
            raise ContractError(f"{where}: {path} cannot be read as text ({_reason(error)})") from None
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
