"""From a definition to staged tables in one DuckDB connection, and views of them as of a day."""

# ruff: noqa: S608  # names pass through expressions.quote and values through sources.literal

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from loyalty_research.data import catalogue
from loyalty_research.data.contract import TABLES
from loyalty_research.data.definitions import FOLDER_ENTRY, Part, TableDefinition
from loyalty_research.data.expressions import quote
from loyalty_research.data.raw import FILE, ROW, Raw, literal
from loyalty_research.data.sources import duckdb_tables, find_corrupt, read_parquet, read_part
from loyalty_research.data.staging import PART, stage
from loyalty_research.data.text_files import header
from loyalty_research.errors import ContractError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from loyalty_research.data.contract import Table
    from loyalty_research.data.definitions import Definition
    from loyalty_research.data.staging import Staged

__all__ = ["Loaded", "connect", "load", "load_frames", "present"]


@dataclass(slots=True)
class Loaded:
    """Staged tables before and after their check.

    Attributes:
        connection: Holds everything.
        name: Dataset.
        zone: Time zone of the dataset.
        staged: Table of the contract to its staged rows.
        policies: Table of the contract to its definition (what to do with bad rows).
        unreadable: Table to the reason why it could not be read.
        erased: Rows left out because their customer asked to be forgotten, by table.
        quarantined: Tables whose bad rows, listed in ``bad_<table>``, are left out of views.
        notices: What was noticed while reading.
    """

    connection: duckdb.DuckDBPyConnection
    name: str
    zone: str
    currency: str | None
    staged: dict[str, Staged] = field(default_factory=dict)
    policies: dict[str, TableDefinition] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    erased: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def connect(engine: Mapping[str, Any], where: str) -> duckdb.DuckDBPyConnection:
    """Return an embedded DuckDB with the dataset's settings.

    Raises:
        ContractError: When DuckDB refuses a setting.
    """
    settings: dict[str, Any] = {key: str(value) for key, value in engine.items() if key != "kind"}
    # DuckDB's default would be a folder .tmp wherever the notebook happens to run
    settings.setdefault("temp_directory", str(Path(tempfile.gettempdir(), f"loyalty-duckdb-{os.getpid()}")))
    # an extension is fetched only where a source asks for one, never by surprise
    settings["autoinstall_known_extensions"] = "false"
    try:
        connection = duckdb.connect(":memory:", config=settings)
    except duckdb.Error as error:
        raise ContractError(f"{where}.engine: DuckDB refuses its settings ({error})") from None
    connection.execute("SET TimeZone = 'UTC'")
    # in Jupyter without ipywidgets there is no progress bar, and DuckDB refuses to switch it off
    with suppress(duckdb.InvalidInputException):
        connection.execute("SET enable_progress_bar = false")
    return connection


def load(definition: Definition) -> Loaded:
    """Read and type every table of a definition.

    A table that cannot be read is noted in ``unreadable``, so that one check can report all there is.

    Raises:
        ContractError: When the engine's settings, the erasure list or an unnamed file is wrong.
    """
    where = definition.name
    connection = connect(definition.engine, where)
    loaded = Loaded(connection, definition.name, definition.timezone, definition.currency)
    if definition.path is not None:
        tables, loaded.notices = _tables_of_path(connection, definition)
    else:
        tables = dict(definition.tables)
    for name in (table for table in TABLES if table in tables):
        try:
            _load_table(loaded, definition, tables[name])
        except ContractError as error:
            loaded.unreadable[name] = str(error).removeprefix(f"{where}: {name}: ")
    if definition.erasures:
        _erase(loaded, definition)
    return loaded


def _load_table(loaded: Loaded, definition: Definition, table: TableDefinition) -> None:
    where = f"{definition.name}: {table.name}"
    parts: list[tuple[Part, Raw]] = []
    try:
        for i, part in enumerate(table.parts):
            parts.append((part, read_part(loaded.connection, definition, part, f"{table.name}_{i}", where)))
        staged = stage(
            loaded.connection,
            table.name,
            parts,
            zone=definition.timezone,
            currency=definition.currency,
            group_by=table.group_by,
            where=where,
        )
    except duckdb.Error as error:
        files = [path for _, raw in parts for path in raw.files]
        named = find_corrupt(loaded.connection, files, where)
        if named is not None:
            raise named from None
        raise ContractError(f"{where} cannot be read: {error}") from None
    loaded.staged[table.name] = staged
    loaded.policies[table.name] = table


def load_frames(name: str, frames: Mapping[str, Any], *, zone: str, currency: str | None) -> Loaded:
    """Type frames that are in memory already.

    Args:
        name: Dataset.
        frames: Table of the contract to a frame (pandas, Polars or Arrow).
        zone: Time zone in which naive moments are local and days are counted.
        currency: Filled in where a table has no currency column.

    Raises:
        ContractError: When a table is not in the contract or a column mixes types.
    """
    import narwhals as nw

    loaded = Loaded(connect({}, name), name, zone, currency)
    unknown = [table for table in frames if table not in TABLES]
    if unknown:
        raise ContractError(
            f"{name}: no such table in the contract: {', '.join(unknown)}; it has {', '.join(TABLES)}"
        )
    if not frames:
        raise ContractError(f"{name}: a dataset needs at least one table")
    for table in (table for table in TABLES if table in frames):
        where = f"{name}: {table}"
        try:
            arrow = nw.from_native(frames[table], eager_only=True).to_arrow()
        except (TypeError, ValueError) as error:
            # pyarrow's errors are ValueErrors; the text names the column and the odd type
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ContractError(f"{where} cannot be taken in as a frame ({first})") from None
        raw_name = f"raw_{table}"
        loaded.connection.register("incoming", arrow)
        loaded.connection.execute(f"CREATE TEMP TABLE {quote(raw_name)} AS SELECT * FROM incoming")
        loaded.connection.unregister("incoming")
        described = loaded.connection.execute(f"DESCRIBE {quote(raw_name)}").fetchall()
        types = {
            str(row[0]): str(row[1]) for row in described if not str(row[0]).startswith("__index_level_")
        }
        listed = ", ".join(quote(column) for column in types)
        raw = Raw(
            f"SELECT {listed}, 0 AS {FILE}, rowid AS {ROW} FROM {quote(raw_name)}", types, in_order=True
        )
        part = Part(origin="frame")
        loaded.policies[table] = TableDefinition(table, (part,))
        try:
            loaded.staged[table] = stage(
                loaded.connection, table, [(part, raw)], zone=zone, currency=currency, where=where
            )
        except duckdb.Error as error:
            raise ContractError(f"{where} cannot be typed: {error}") from None
    return loaded


def _tables_of_path(
    connection: duckdb.DuckDBPyConnection, definition: Definition
) -> tuple[dict[str, TableDefinition], tuple[str, ...]]:
    """Find which tables of the contract a file or folder holds."""
    path = definition.path
    if path is None:
        return {}, ()
    if path.is_dir():
        return _tables_of_folder(path)
    kind = catalogue.file_format(path)
    if kind == "duckdb":
        return _tables_of_duckdb(connection, path)
    name = _guess(connection, path, kind or "")
    return {name: TableDefinition(name, (Part(origin=str(path)),))}, ()


def _tables_of_folder(folder: Path) -> tuple[dict[str, TableDefinition], tuple[str, ...]]:
    found: dict[str, TableDefinition] = {}
    ignored = 0
    for entry in sorted(folder.iterdir()):
        if entry.name == FOLDER_ENTRY:
            continue
        name = entry.name.split(".")[0]
        fits = entry.is_dir() or catalogue.file_format(entry) in {"csv", "parquet"}
        if name not in TABLES or not fits:
            ignored += 1
            continue
        if name in found:
            raise ContractError(f"the folder {folder} has two sources of {name}; keep one")
        found[name] = TableDefinition(name, (Part(origin=str(entry)),))
    if not found:
        raise ContractError(
            f"the folder {folder} holds no file called after a table of the contract, such as "
            f"transactions.csv; tables: {', '.join(TABLES)}"
        )
    notice = (f"{ignored} other files of the folder were not read.",) if ignored else ()
    return found, notice


def _tables_of_duckdb(
    connection: duckdb.DuckDBPyConnection, path: Path
) -> tuple[dict[str, TableDefinition], tuple[str, ...]]:
    try:
        connection.execute(f"ATTACH {literal(str(path))} AS looked (READ_ONLY)")
    except duckdb.Error as error:
        raise ContractError(
            f"{path} cannot be opened as a DuckDB file ({str(error).splitlines()[0]})"
        ) from None
    present_tables = duckdb_tables(connection, "looked")
    connection.execute("DETACH looked")
    found = {
        name: TableDefinition(name, (Part(origin=f"{path}:main.{name}"),))
        for name in TABLES
        if f"main.{name}" in present_tables
    }
    if not found:
        raise ContractError(
            f"{path.name} has no table of the contract in its schema main; it has "
            f"{', '.join(present_tables) or 'none'}. Map its tables in data/datasets.yml"
        )
    return found, ()


def _guess(connection: duckdb.DuckDBPyConnection, path: Path, kind: str) -> str:
    """Return the table that a single file is, by its name or its columns."""
    stem = path.name.split(".")[0]
    if stem in TABLES:
        return stem
    if kind == "csv":
        columns = set(header(path, {}, path.name)[0])
    else:
        columns = set(read_parquet(connection, [path], path.name).types)
    fits = [table for table in TABLES.values() if _fits(table, columns)]
    # orders have a customer too: the table that asks for most is meant
    most = max((len(table.required) for table in fits), default=0)
    fits = [table for table in fits if len(table.required) == most]
    if len(fits) == 1:
        return fits[0].name
    raise ContractError(_mapping_needed(path, sorted(columns), [table.name for table in fits]))


def _fits(table: Table, columns: set[str]) -> bool:
    """Whether columns hold all that a table requires; one key alone says too little."""
    moments = {c.name for c in table.columns if c.date_name in columns}
    known = columns | moments
    need = set(table.required)
    if table.name == "customers":
        return need <= known and bool(known & set(table.names) - need)
    return bool(need) and need <= known


def _mapping_needed(path: Path, columns: Sequence[str], fits: Sequence[str]) -> str:
    if fits:
        return (
            f"{path.name} could be {' or '.join(fits)}; call it after the table it is, or map it in "
            "data/datasets.yml"
        )
    return (
        f"the columns of {path.name} ({', '.join(columns)}) are those of no table. Call its columns as "
        "data/README.md says, or map them in data/datasets.yml, for order lines such as:\n"
        f"mine:\n  currency: EUR\n  tables:\n    transactions:\n      from: {path.name}\n"
        "      columns: {transaction_id: <order>, customer_id: <customer>, transacted_at: <time>, "
        "amount: <money>}\n"
        "or for a finished experiment:\n"
        f"mine:\n  tables:\n    units:\n      from: {path.name}\n      columns: {{arm: <arm>}}"
    )


def _erase(loaded: Loaded, definition: Definition) -> None:
    """Take out the rows of customers who asked to be forgotten, before anything looks at them."""
    path = definition.root / definition.erasures
    where = f"{definition.name}.erasures"
    if not path.is_file():
        raise ContractError(f"{where}: there is no file {definition.erasures}; it lists ids, one per line")
    connection = loaded.connection
    with path.open(encoding="utf-8-sig") as handle:
        ids = sorted({line.strip().strip('"') for line in handle} - {"", "customer_id"})
    connection.execute("CREATE TEMP TABLE erased (customer_id VARCHAR)")
    if ids:
        connection.execute("INSERT INTO erased SELECT unnest(?::VARCHAR[])", [ids])
    for name, staged in loaded.staged.items():
        keys = [
            c.name for c in staged.table.columns if c.references == "customers" and c.name in staged.columns
        ]
        keys += [c for c in ("customer_id",) if c not in keys and c in (*staged.columns, *staged.extras)]
        if not keys:
            continue
        match = " OR ".join(f"CAST({quote(key)} AS VARCHAR) IN (FROM erased)" for key in keys)
        gone = connection.execute(f"DELETE FROM {quote(staged.name)} WHERE {match}").fetchall()[0][0]
        loaded.erased[name] = int(gone)
        staged.count -= int(gone)
    for staged in loaded.staged.values():
        for raw in staged.raws:
            raw.malformed = [
                item
                if not any(key in item.text for key in ids)
                else type(item)(item.file, item.line, item.problem, "")
                for item in raw.malformed
            ]


def present(loaded: Loaded, as_of: dt.date | None, prefix: str) -> tuple[dict[str, str], dict[str, int]]:
    """Make views of the staged tables as they were known at the end of a day.

    Args:
        loaded: Staged tables.
        as_of: Last day that may be seen; None for all.
        prefix: Begins the names of the views.

    Returns:
        Table to the name of its view, and reason to the number of rows left out.
    """
    views: dict[str, str] = {}
    dropped: dict[str, int] = {}
    for name, staged in loaded.staged.items():
        if name in loaded.erased:
            dropped[f"{name}: customer asked to be forgotten"] = loaded.erased[name]
        if name in loaded.quarantined:
            dropped[f"{name}: bad rows in quarantine"] = loaded.quarantined[name]
        view = f"{prefix}_{name}"
        kept = _kept(staged, quarantined=name in loaded.quarantined)
        happens = staged.table.column(staged.table.happens) if staged.table.happens else None
        seen = "TRUE"
        if as_of is not None and happens is not None and happens.name in staged.columns:
            seen = f"coalesce({quote(str(happens.date_name))} <= DATE '{as_of.isoformat()}', TRUE)"
            later = loaded.connection.execute(
                f"SELECT count(*) FROM {quote(staged.name)} WHERE {kept} AND NOT ({seen})"
            ).fetchall()[0][0]
            if later:
                dropped[f"{name}: after {as_of.isoformat()}"] = int(later)
        columns = ", ".join(_shown(staged, as_of))
        loaded.connection.execute(
            f"CREATE OR REPLACE VIEW {quote(view)} AS SELECT {columns} FROM {quote(staged.name)} WHERE {kept} AND {seen}"
        )
        views[name] = view
        if name == "transactions" and "customer_id" in staged.columns:
            lone = loaded.connection.execute(
                f"SELECT count(*) FROM {quote(view)} WHERE customer_id IS NULL"
            ).fetchall()[0][0]
            if lone:
                dropped["transactions: without a customer (only in totals)"] = int(lone)
    return views, dropped


def _kept(staged: Staged, *, quarantined: bool) -> str:
    if not quarantined:
        return "TRUE"
    bad = quote(f"bad_{staged.table.name}")
    return f"({PART}, {FILE}, {ROW}) NOT IN (SELECT ({PART}, {FILE}, {ROW}) FROM {bad})"


def _shown(staged: Staged, as_of: dt.date | None) -> list[str]:
    """Return the view's columns: the contract's first, in its order, then the extra ones."""
    made = []
    days = {column.name: column.date_name for column in staged.table.columns}
    for column in staged.table.columns:
        if column.name not in staged.columns:
            continue
        names = [column.name, *([column.date_name] if column.date_name else [])]
        for name in names:
            cell = quote(name)
            if as_of is not None and column.learnt_later:
                known = f"{quote(str(column.date_name))} <= DATE '{as_of.isoformat()}'"
                cell = f"CASE WHEN {known} THEN {cell} END AS {cell}"
            elif as_of is not None and column.learnt_with in staged.columns:
                later = f"{quote(str(days[column.learnt_with]))} > DATE '{as_of.isoformat()}'"
                cell = f"CASE WHEN {later} THEN NULL ELSE {cell} END AS {cell}"
            made.append(cell)
    return [*made, *(quote(name) for name in staged.extras)]
