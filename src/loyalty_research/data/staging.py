# ruff: noqa: S608  # names pass through expressions.quote and values through raw.literal

"""Typing at ingest: raw columns become the contract's, and nothing that cannot be read is lost.

A staged table holds every column of the contract that the source offers, extra columns as they
came, and helper columns: ``__bad_x`` where the cell of ``x`` could not be read, ``__gap_x`` where a
local time does not exist, ``__cut_x`` where money has more than two decimals, ``__differ_x`` where
the lines of one order disagree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from loyalty_research.data.cells import AWARE, Context, Select, as_number, read, text
from loyalty_research.data.contract import TABLES
from loyalty_research.data.expressions import parse, quote
from loyalty_research.data.raw import FILE, ROW, literal
from loyalty_research.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from loyalty_research.data.contract import Table
    from loyalty_research.data.definitions import Part
    from loyalty_research.data.raw import Raw

__all__ = ["PART", "Staged", "stage"]

PART: Final = "__part"
_INTEGERS: Final = ("TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER")


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


def _source_sql(kind: str, value: Any, context: Context) -> tuple[str, str]:
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
    return value.to_sql(
        lambda name: f"({as_number(quote(name), raw.types[name], context.options)})"
    ), "DOUBLE"


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


def _extra(kind: str, value: Any, context: Context, inferred: Mapping[str, str]) -> str:
    sql, type_name = _source_sql(kind, value, context)
    if kind == "column" and context.raw.text:
        cell = text(sql, type_name)
        return f"CAST({cell} AS {inferred[value]})" if value in inferred else cell
    if type_name in AWARE:
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
) -> tuple[str, Select, tuple[str, ...], tuple[str, ...]]:
    targets = _resolve(table, part, raw, where)
    if currency is not None and table.column("currency") is not None:
        targets.setdefault("currency", ("constant", currency))
    if table.generated_key:
        targets.setdefault(table.generated_key, ("row", True))
    generated = tuple(name for name, (kind, _) in targets.items() if kind == "row")
    source_zone = str(part.options.get("timezone") or zone)
    context = Context(raw, part.options, zone, source_zone, where, number)
    select = Select()
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
            read(column, sql, type_name, context, select)
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


def _in_order(parts: Sequence[tuple[Part, Raw]], group_by: str) -> bool:
    """Whether DuckDB writes the rows in the order of their places without being told to."""
    return not group_by and len(parts) == 1 and parts[0][1].in_order


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
    # one order of rows for every run, whatever the threads did; a scan that keeps it needs no sorting
    order = "" if _in_order(parts, group_by) else f" ORDER BY {PART}, {FILE}, {ROW}"
    connection.execute(f"CREATE TABLE {quote(staged)} AS SELECT * FROM ({query}){order}")
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
