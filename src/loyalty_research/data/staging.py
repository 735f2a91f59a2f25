"""Typing at ingest: raw columns become the contract's, and nothing that cannot be read is lost.

A staged table holds every column of the contract that the source offers, extra columns as they
came, and helper columns: ``__bad_x`` where the cell of ``x`` could not be read, ``__gap_x`` where a
local time does not exist, ``__cut_x`` where money has more than two decimals, ``__differ_x`` where
the lines of one order disagree.
"""

# ruff: noqa: S608  # names pass through expressions.quote and values through sources.literal

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from loyalty_research.data.contract import TABLES
from loyalty_research.data.expressions import parse, quote
from loyalty_research.data.sources import FILE, ROW, literal
from loyalty_research.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from loyalty_research.data.catalogue import Part
    from loyalty_research.data.contract import Column, Table
    from loyalty_research.data.sources import Raw

__all__ = ["PART", "Staged", "stage"]

PART: Final = "__part"
_ISO: Final = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?)?\s?(Z|UTC|[+-]\d{2}(:?\d{2})?)?$"
_OFFSET: Final = r"\d{2}:\d{2}.*(Z|UTC|[+-]\d{2}(:?\d{2})?)$"
_INTEGERS: Final = ("TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER")
_AWARE: Final = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ", "TIMESTAMPTZ_NS")
_TIME_DIRECTIVES: Final = ("%H", "%I", "%M", "%S", "%c", "%X", "%-H", "%-I", "%-M", "%-S")
_TRUE: Final = "('true', 't', 'yes', 'y', '1')"
_FALSE: Final = "('false', 'f', 'no', 'n', '0')"


@dataclass(slots=True)
class Staged:
    """A table of the contract, typed, before it is checked.

    Attributes:
        table: The contract's description of it.
        name: Name of the DuckDB table.
        columns: Columns of the contract that are present, dates beside moments included.
        extras: Columns beside the contract.
        helpers: Helper columns, such as ``__bad_amount``.
        raws: What each part was read from.
        positional: Whether rows have a place in their source.
        generated: Columns numbered from the row.
        count: Rows.
    """

    table: Table
    name: str
    columns: tuple[str, ...]
    extras: tuple[str, ...]
    helpers: tuple[str, ...]
    raws: tuple[Raw, ...]
    positional: bool
    generated: tuple[str, ...] = ()
    count: int = 0


@dataclass(slots=True)
class _Select:
    """The two layers of one part's query: reading cells, then placing moments in time."""

    inner: dict[str, str] = field(default_factory=dict)
    outer: dict[str, str] = field(default_factory=dict)

    def plain(self, name: str, sql: str) -> None:
        self.inner[name] = sql
        self.outer[name] = quote(name)


@dataclass(frozen=True, slots=True)
class _Context:
    raw: Raw
    options: Mapping[str, Any]
    dataset_zone: str
    source_zone: str
    where: str
    part: int | None

    def formats(self) -> list[str]:
        given = self.options.get("datetime_format")
        if given is None:
            return []
        formats = [str(item) for item in given] if isinstance(given, list) else [str(given)]
        if any("%Z" in item for item in formats):
            raise ContractError(
                f"{self.where}: datetime_format cannot use %Z, since zone abbreviations are ambiguous; "
                "use %z, or timezone: for the zone of the source"
            )
        return formats


def text(sql: str, type_name: str) -> str:
    """Return SQL that reads a value as trimmed text, empty text being null."""
    if type_name == "VARCHAR" or type_name.startswith("ENUM"):
        return f"nullif(trim(CAST({sql} AS VARCHAR)), '')"
    if type_name in {"DOUBLE", "FLOAT"}:
        # ids that became floats because some were missing: 17.0 is customer 17
        whole = f"CAST(TRY_CAST({sql} AS BIGINT) AS VARCHAR)"
        return f"CASE WHEN {sql} = floor({sql}) AND abs({sql}) < 1e15 THEN {whole} ELSE CAST({sql} AS VARCHAR) END"
    return f"CAST({sql} AS VARCHAR)"


def _is_text(type_name: str) -> bool:
    return type_name == "VARCHAR" or type_name.startswith("ENUM")


def _digits(sql: str, type_name: str, options: Mapping[str, Any]) -> str:
    """Return SQL for the text of a number with a decimal point and no separators."""
    cell = text(sql, type_name)
    if not _is_text(type_name):
        return cell
    thousands, decimal = options.get("thousands"), str(options.get("decimal", "."))
    if decimal not in {".", ","}:
        raise ContractError(f"decimal must be '.' or ','; got {decimal!r}")
    if thousands:
        cell = f"replace({cell}, {literal(str(thousands))}, '')"
    if decimal == ",":
        # a point in such a file is no decimal sign: 1.234 must not become one and a bit
        cell = f"CASE WHEN contains({cell}, '.') THEN '?' ELSE replace({cell}, ',', '.') END"
    return cell


def _number(sql: str, type_name: str, options: Mapping[str, Any]) -> str:
    source = _digits(sql, type_name, options) if _is_text(type_name) else sql
    value = f"TRY_CAST({source} AS DOUBLE)"
    return f"CASE WHEN isfinite({value}) THEN {value} END"


def _boolean(sql: str, type_name: str) -> str:
    if type_name == "BOOLEAN":
        return sql
    cell = f"lower({text(sql, type_name)})"
    return f"CASE WHEN {cell} IN {_TRUE} THEN TRUE WHEN {cell} IN {_FALSE} THEN FALSE END"


def _read(column: Column, sql: str, type_name: str, context: _Context, into: _Select) -> None:
    """Add one column of the contract to the query."""
    name, given = column.name, text(sql, type_name)
    if column.kind == "string":
        into.plain(name, given)
        return
    if column.kind == "timestamp":
        _moment(column, sql, type_name, context, into)
        return
    options = context.options
    if column.kind == "decimal":
        number = _number(sql, type_name, options)
        source = _digits(sql, type_name, options) if _is_text(type_name) else sql
        # past fifteen digits a float no longer holds cents, so such a figure is no amount
        value = f"CASE WHEN abs({number}) < 1e15 THEN TRY_CAST({source} AS DECIMAL(18, 2)) END"
        if type_name.startswith("DECIMAL") or type_name in {"BIGINT", "INTEGER", "SMALLINT", "TINYINT"}:
            value = f"TRY_CAST({sql} AS DECIMAL(18, 2))"
        into.inner[f"__num_{name}"] = number
        into.inner[name] = value
        into.outer[name] = quote(name)
        into.outer[f"__cut_{name}"] = (
            f"coalesce(abs({quote(f'__num_{name}')} - CAST({quote(name)} AS DOUBLE)) > "
            f"1e-6 + 1e-12 * abs({quote(f'__num_{name}')}), FALSE)"
        )
    elif column.kind == "number":
        into.plain(name, _number(sql, type_name, options))
    elif column.kind == "integer":
        number = _number(sql, type_name, options)
        into.plain(name, f"CASE WHEN {number} = floor({number}) THEN TRY_CAST({number} AS BIGINT) END")
    elif column.kind == "boolean":
        into.plain(name, _boolean(sql, type_name))
    else:
        into.plain(name, _day(sql, type_name, context))
    into.inner[f"__set_{name}"] = f"({given}) IS NOT NULL"
    into.outer[f"__bad_{name}"] = f"{quote(f'__set_{name}')} AND {quote(name)} IS NULL"


def _day(sql: str, type_name: str, context: _Context) -> str:
    if type_name == "DATE" or type_name.startswith("TIMESTAMP"):
        return f"CAST({sql} AS DATE)"
    cell = text(sql, type_name)
    formats = context.formats()
    if formats:
        listed = ", ".join(literal(item) for item in formats)
        return f"CAST(TRY_STRPTIME({cell}, [{listed}]) AS DATE)"
    return f"CASE WHEN regexp_matches({cell}, '{_ISO}') THEN TRY_CAST({cell}[1:10] AS DATE) END"


def _utc(sql: str, zone: str) -> str:
    return sql if zone == "UTC" else f"timezone('UTC', timezone({literal(zone)}, {sql}))"


def _local(sql: str, zone: str) -> str:
    return sql if zone == "UTC" else f"timezone({literal(zone)}, timezone('UTC', {sql}))"


def _moment(column: Column, sql: str, type_name: str, context: _Context, into: _Select) -> None:
    """Add a moment: naive UTC, its day in the dataset's zone, whether it could be read.

    A value is local to the source (kind 0), carries its own offset (1), or is a day alone (2), which
    is midnight in the dataset's zone and keeps its date whatever that midnight is in UTC.
    """
    name = column.name
    naive, kind = _cell_of_time(sql, type_name, context)
    into.inner[f"__naive_{name}"] = naive
    if not kind.isdigit():
        into.inner[f"__kind_{name}"] = kind
        kind = quote(f"__kind_{name}")
    value = quote(f"__naive_{name}")
    here, there = context.dataset_zone, context.source_zone
    forms = {"0": _utc(value, there), "1": value, "2": _utc(value, here)}
    day = f"CAST({value} AS DATE)"
    shifted = {
        "0": day if there == here else f"CAST({_local(_utc(value, there), here)} AS DATE)",
        "1": f"CAST({_local(value, here)} AS DATE)",
        "2": day,
    }
    into.outer[name] = _by_kind(kind, forms)
    into.outer[str(column.date_name)] = _by_kind(kind, shifted)
    if there != "UTC" and kind not in {"1", "2"}:
        back = f"timezone({literal(there)}, timezone({literal(there)}, {value})) <> {value}"
        into.outer[f"__gap_{name}"] = (
            f"coalesce({_by_kind(kind, {'0': back, '1': 'FALSE', '2': 'FALSE'})}, FALSE)"
        )
    into.inner[f"__set_{name}"] = f"({text(sql, type_name)}) IS NOT NULL"
    into.outer[f"__bad_{name}"] = f"{quote(f'__set_{name}')} AND {value} IS NULL"


def _by_kind(kind: str, forms: Mapping[str, str]) -> str:
    if kind in forms:
        return forms[kind]
    if len(set(forms.values())) == 1:
        return forms["0"]
    return f"CASE {kind} WHEN 1 THEN {forms['1']} WHEN 2 THEN {forms['2']} ELSE {forms['0']} END"


def _cell_of_time(sql: str, type_name: str, context: _Context) -> tuple[str, str]:
    """Return SQL for the naive moment and its kind (a digit where it is the same for every row)."""
    if type_name == "DATE":
        return f"CAST({sql} AS TIMESTAMP)", "2"
    if type_name in _AWARE:
        return f"timezone('UTC', CAST({sql} AS TIMESTAMPTZ))", "1"
    if type_name.startswith("TIMESTAMP"):
        return f"CAST({sql} AS TIMESTAMP)", "0"
    cell = text(sql, type_name)
    formats = context.formats()
    if formats:
        listed = ", ".join(literal(item) for item in formats)
        parsed = f"TRY_STRPTIME({cell}, [{listed}])"
        if any("%z" in item for item in formats):
            if not all("%z" in item for item in formats):
                raise ContractError(f"{context.where}: either every datetime_format has %z or none")
            return f"CAST(timezone('UTC', {parsed}) AS TIMESTAMP)", "1"
        timed = any(mark in item for item in formats for mark in _TIME_DIRECTIVES)
        return f"CAST({parsed} AS TIMESTAMP)", "0" if timed else "2"
    offset = f"regexp_matches({cell}, '{_OFFSET}')"
    stripped = f"replace({cell}, ',', '.')"
    naive = (
        f"CASE WHEN NOT regexp_matches({cell}, '{_ISO}') THEN NULL "
        f"WHEN {offset} THEN CAST(timezone('UTC', TRY_CAST({stripped} AS TIMESTAMPTZ)) AS TIMESTAMP) "
        f"ELSE TRY_CAST({stripped} AS TIMESTAMP) END"
    )
    return naive, f"CASE WHEN {offset} THEN 1 WHEN length({cell}) = 10 THEN 2 ELSE 0 END"


def _resolve(table: Table, part: Part, raw: Raw, where: str) -> dict[str, Any]:
    """Return target column to what it is made from, extras included.

    A column of the source that no entry uses keeps its own name: it becomes the contract's column of
    that name, or an extra one.
    """
    targets: dict[str, Any] = {}
    used: set[str] = set()
    for name, spec in part.columns.items():
        if name.startswith("__"):
            raise ContractError(f"{where}.columns: names that begin with __ are taken")
        if spec is None:
            used.add(name)
            continue
        targets[name] = _spec(spec, raw, f"{where}.columns.{name}")
        if isinstance(spec, str):
            used.add(spec)
    # a formula's inputs stay available as extras, since they may be covariates
    for name in raw.types:
        if name not in used and name not in targets:
            targets[name] = ("column", name)
    for column in table.columns:
        day = targets.pop(column.date_name, None) if column.date_name else None
        if day is not None:
            # a day of the source stands for the moment where there is none; else it is worked out again
            targets.setdefault(column.name, day)
    return targets


def _spec(spec: object, raw: Raw, where: str) -> tuple[str, Any]:
    if isinstance(spec, str):
        if spec not in raw.types:
            raise ContractError(
                f"{where} reads the column {spec!r}, which the source lacks; it has {', '.join(raw.types)}"
            )
        return ("column", spec)
    if isinstance(spec, dict) and len(spec) == 1:
        ((key, value),) = spec.items()
        if key == "constant" and isinstance(value, (str, int, float, bool)):
            return ("constant", value)
        if key in {"row", "count"} and value is True:
            return (key, True)
        if key == "expr":
            expression = parse(str(value))
            missing = [name for name in expression.columns if name not in raw.types]
            if missing:
                raise ContractError(
                    f"{where} reads {', '.join(missing)}, which the source lacks; it has {', '.join(raw.types)}"
                )
            return ("expr", expression)
    raise ContractError(
        f"{where} must be a column name, {{expr: ...}}, {{constant: ...}}, {{row: true}}, {{count: true}} "
        f"(lines of an order) or null; got {spec!r}"
    )


def _source_sql(kind: str, value: Any, context: _Context) -> tuple[str, str]:
    """Return SQL and DuckDB type of what a column is made from."""
    raw, part = context.raw, context.part
    if kind == "column":
        return quote(value), raw.types[value]
    if kind == "constant":
        return literal(value), "VARCHAR" if isinstance(value, str) else "DOUBLE" if isinstance(
            value, float
        ) else ("BOOLEAN" if isinstance(value, bool) else "BIGINT")
    if kind == "row":
        # parts of a table and files of a glob are numbered too, so that the key stays unique
        levels = [] if part is None else [str(part + 1)]
        levels += [f"{FILE} + 1"] if len(raw.files) > 1 else []
        return f"concat_ws('-', {', '.join([*levels, f'{ROW} + 1'])})", "VARCHAR"
    if kind == "count":
        return "1", "BIGINT"
    return value.to_sql(lambda name: f"({_number(quote(name), raw.types[name], context.options)})"), "DOUBLE"


def _infer(connection: duckdb.DuckDBPyConnection, raw: Raw, names: Sequence[str]) -> dict[str, str]:
    """Return the types that text columns beside the contract hold without exception.

    A code with a leading zero stays text, and so does a column with one cell that does not fit.
    """
    if not names:
        return {}
    pieces = []
    for name in names:
        cell = text(quote(name), "VARCHAR")
        pieces += [
            f"count({cell})",
            f"count(*) FILTER (regexp_matches({cell}, '^-?(0|[1-9]\\d{{0,17}})$'))",
            (
                f"count(*) FILTER (regexp_matches({cell}, '^-?(0|[1-9]\\d*)?(\\.\\d+)?([eE][+-]?\\d+)?$') "
                f"AND isfinite(TRY_CAST({cell} AS DOUBLE)))"
            ),
        ]
    row = connection.execute(f"SELECT {', '.join(pieces)} FROM ({raw.sql})").fetchall()[0]
    found = {}
    for i, name in enumerate(names):
        filled, whole, real = row[3 * i : 3 * i + 3]
        if filled and whole == filled:
            found[name] = "BIGINT"
        elif filled and real == filled:
            found[name] = "DOUBLE"
    return found


def _extra(kind: str, value: Any, context: _Context, inferred: Mapping[str, str]) -> str:
    sql, type_name = _source_sql(kind, value, context)
    if kind == "column" and context.raw.text:
        cell = text(sql, type_name)
        return f"CAST({cell} AS {inferred[value]})" if value in inferred else cell
    if type_name in _AWARE:
        return f"timezone('UTC', CAST({sql} AS TIMESTAMPTZ))"
    if type_name.startswith("TIMESTAMP"):
        return f"CAST({sql} AS TIMESTAMP)"
    if type_name.startswith("ENUM"):
        return f"CAST({sql} AS VARCHAR)"
    if type_name in _INTEGERS:
        # narrow integers overflow in a formula such as age ** 3
        return f"CAST({sql} AS BIGINT)"
    if type_name in {"FLOAT", "HUGEINT", "UHUGEINT", "UBIGINT"}:
        return f"CAST({sql} AS DOUBLE)"
    return sql


def _part_query(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    part: Part,
    raw: Raw,
    number: int | None,
    *,
    zone: str,
    currency: str | None,
    grouped: bool,
    where: str,
) -> tuple[str, _Select, tuple[str, ...], tuple[str, ...]]:
    targets = _resolve(table, part, raw, where)
    if currency is not None and table.column("currency") is not None:
        targets.setdefault("currency", ("constant", currency))
    if table.generated_key:
        targets.setdefault(table.generated_key, ("row", True))
    generated = tuple(name for name, (kind, _) in targets.items() if kind == "row")
    source_zone = str(part.options.get("timezone") or zone)
    context = _Context(raw, part.options, zone, source_zone, where, number)
    select = _Select()
    extras = [name for name in targets if table.column(name) is None]
    if grouped:
        # lines have columns of their own (article, price); only those that are asked for are summed up
        extras = [name for name in extras if name in part.columns]
    unknown = [targets[name][1] for name in extras if targets[name][0] == "column" and raw.text]
    inferred = _infer(connection, raw, unknown)
    for column in table.columns:
        if column.name in targets:
            kind, value = targets[column.name]
            sql, type_name = _source_sql(kind, value, context)
            _read(column, sql, type_name, context, select)
    for name in extras:
        kind, value = targets[name]
        select.plain(name, _extra(kind, value, context, inferred))
    inner = ", ".join(f"{sql} AS {quote(name)}" for name, sql in select.inner.items())
    outer = ", ".join(f"{sql} AS {quote(name)}" for name, sql in select.outer.items())
    query = f"SELECT {outer}, {number or 0} AS {PART}, {FILE}, {ROW} FROM (SELECT {inner}, {FILE}, {ROW} FROM ({raw.sql}))"
    return query, select, tuple(extras), generated


def _group(
    query: str, table: Table, key: str, names: Sequence[str], extras: Mapping[str, str], where: str
) -> str:
    """Sum the lines of an order into one row."""
    if key not in table.names:
        raise ContractError(f"{where}.group_by must be a column of the contract; got {key!r}")
    made = []
    for name in names:
        column, cell = table.column(name), quote(name)
        if name == key:
            made.append(f"min({cell}) AS {cell}")
        elif name.startswith(("__bad_", "__gap_", "__cut_")):
            made.append(f"bool_or({cell}) AS {cell}")
        elif column is not None and column.kind in {"decimal", "number"}:
            total = f"CAST(sum({cell}) AS {'DECIMAL(18, 2)' if column.kind == 'decimal' else 'DOUBLE'})"
            # a line without a required figure makes the order's figure unknown, not smaller
            made.append(
                f"CASE WHEN count({cell}) = count(*) THEN {total} END AS {cell}"
                if column.required
                else f"{total} AS {cell}"
            )
        elif name in extras:
            made.append(f"{extras[name]} AS {cell}")
        elif column is None or column.kind == "timestamp":
            made.append(f"min({cell}) AS {cell}")
        else:
            same = f"count({cell}) IN (0, count(*)) AND min({cell}) IS NOT DISTINCT FROM max({cell})"
            made += [f"min({cell}) AS {cell}", f"NOT ({same}) AS {quote(f'__differ_{name}')}"]
    # lines without a key stay single, so that the check can point at each
    by = f"{quote(key)}, CASE WHEN {quote(key)} IS NULL THEN struct_pack(p := {PART}, f := {FILE}, r := {ROW}) END"
    return (
        f"SELECT {', '.join(made)}, min({PART}) AS {PART}, min({FILE}) AS {FILE}, min({ROW}) AS {ROW} "
        f"FROM ({query}) GROUP BY {by}"
    )


def _summed(name: str, spec: object) -> str:
    """Return how an extra column of order lines becomes one of the order: counted, summed, or its least."""
    if isinstance(spec, dict) and "count" in spec:
        return "count(*)"
    if isinstance(spec, dict) and "expr" in spec:
        return f"sum({quote(name)})"
    return f"min({quote(name)})"


def stage(
    connection: duckdb.DuckDBPyConnection,
    table_name: str,
    parts: Sequence[tuple[Part, Raw]],
    *,
    zone: str,
    currency: str | None,
    group_by: str = "",
    where: str,
) -> Staged:
    """Type the raw rows of a table and keep them in DuckDB.

    Args:
        connection: Where the raw rows are reachable.
        table_name: Table of the contract.
        parts: Each part's definition and raw rows.
        zone: The dataset's time zone.
        currency: The dataset's currency, for tables that state none.
        group_by: Key whose rows are lines to be summed, or empty.
        where: Dataset and table, for messages.

    Raises:
        ContractError: When the mapping names columns that are not there.
    """
    table = TABLES[table_name]
    queries: list[str] = []
    names: dict[str, None] = {}
    extras: dict[str, str] = {}
    generated: dict[str, None] = {}
    for number, (part, raw) in enumerate(parts):
        query, select, more, numbered = _part_query(
            connection,
            table,
            part,
            raw,
            number if len(parts) > 1 else None,
            zone=zone,
            currency=currency,
            grouped=bool(group_by),
            where=where,
        )
        queries.append(query)
        names |= dict.fromkeys(select.outer)
        extras |= {name: _summed(name, part.columns.get(name)) for name in more}
        generated |= dict.fromkeys(numbered)
    query = " UNION ALL BY NAME ".join(queries)
    if group_by:
        query = _group(query, table, group_by, list(names), extras, where)
    staged = f"staged_{table_name}"
    # one order of rows for every run, whatever the threads did
    connection.execute(
        f"CREATE TABLE {quote(staged)} AS SELECT * FROM ({query}) ORDER BY {PART}, {FILE}, {ROW}"
    )
    described = [str(row[0]) for row in connection.execute(f"DESCRIBE {quote(staged)}").fetchall()]
    found = [name for name in described if not name.startswith("__")]
    count = int(connection.execute(f"SELECT count(*) FROM {quote(staged)}").fetchall()[0][0])
    return Staged(
        table=table,
        name=staged,
        columns=tuple(name for name in found if name not in extras),
        extras=tuple(extras),
        helpers=tuple(name for name in described if re.match(r"__(bad|gap|cut|differ)_", name)),
        raws=tuple(raw for _, raw in parts),
        positional=all(raw.positional for _, raw in parts),
        generated=tuple(generated),
        count=count,
    )
