# ruff: noqa: S608  # names pass through expressions.quote and values through raw.literal

"""Raw rows of a table, as they lie in files, databases or published counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from loyalty_research.data import catalogue
from loyalty_research.data.expressions import quote
from loyalty_research.data.raw import FILE, ROW, Raw, literal, reason
from loyalty_research.data.servers import postgres_table
from loyalty_research.data.text_files import read_csv
from loyalty_research.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from loyalty_research.data.definitions import Definition, Part

__all__ = ["duckdb_tables", "find_corrupt", "read_parquet", "read_part"]


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
    return Raw(sql, first, list(files), in_order=len(files) == 1)


def _corrupt(path: Path, where: str, error: Exception) -> ContractError:
    return ContractError(
        f"{where}: {path} is no readable Parquet file ({reason(error)}); export it again or take it out"
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
        raise ContractError(f"{where}: {path} cannot be opened as a DuckDB file ({reason(error)})") from None
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
