"""Reading one cell: SQL that turns a source's value into the contract's type, or null.

A null where the source has something is a cell that could not be read; the helper column ``__bad_x``
says so. Moments come in three kinds: local to the source, with an offset of their own, or a day
alone, which is midnight in the dataset's zone and keeps its date whatever that is in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from loyalty_research.data.expressions import quote
from loyalty_research.data.raw import literal
from loyalty_research.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty_research.data.contract import Column
    from loyalty_research.data.raw import Raw

__all__ = ["AWARE", "Context", "Select", "as_number", "read", "text"]

_ISO: Final = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?)?\s?(Z|UTC|[+-]\d{2}(:?\d{2})?)?$"
_OFFSET: Final = r"\d{2}:\d{2}.*(Z|UTC|[+-]\d{2}(:?\d{2})?)$"
AWARE: Final = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ", "TIMESTAMPTZ_NS")
_TIME_DIRECTIVES: Final = ("%H", "%I", "%M", "%S", "%c", "%X", "%-H", "%-I", "%-M", "%-S")
_TRUE: Final = "('true', 't', 'yes', 'y', '1')"
_FALSE: Final = "('false', 'f', 'no', 'n', '0')"


@dataclass(slots=True)
class Select:
    """The two layers of one part's query: reading cells, then placing moments in time."""

    inner: dict[str, str] = field(default_factory=dict)
    outer: dict[str, str] = field(default_factory=dict)

    def plain(self, name: str, sql: str) -> None:
        """Add a column that needs one layer only."""
        self.inner[name] = sql
        self.outer[name] = quote(name)


@dataclass(frozen=True, slots=True)
class Context:
    """Where a cell stands.

    Attributes:
        raw: The source's rows.
        options: How the source is written.
        dataset_zone: Zone that days are counted in.
        source_zone: Zone of naive moments in the source.
        where: Dataset and table, for messages.
        part: Number of the part, or None where the table has one only.
    """

    raw: Raw
    options: Mapping[str, Any]
    dataset_zone: str
    source_zone: str
    where: str
    part: int | None

    def formats(self) -> list[str]:
        """Return the declared formats of days and moments.

        Raises:
            ContractError: When one names a zone by an abbreviation.
        """
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


def _filled(sql: str, type_name: str) -> str:
    """Return SQL that says whether the source has something in a cell."""
    # a typed value need not be spelt out to be seen, which is most of the work on a large table
    return f"({text(sql, type_name) if _is_text(type_name) else sql}) IS NOT NULL"


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


def as_number(sql: str, type_name: str, options: Mapping[str, Any]) -> str:
    """Return SQL that reads a value as a finite float64, or null.

    Args:
        sql: The value.
        type_name: Its DuckDB type.
        options: The source's ``decimal`` and ``thousands``.
    """
    source = _digits(sql, type_name, options) if _is_text(type_name) else sql
    value = f"TRY_CAST({source} AS DOUBLE)"
    return f"CASE WHEN isfinite({value}) THEN {value} END"


def _boolean(sql: str, type_name: str) -> str:
    if type_name == "BOOLEAN":
        return sql
    cell = f"lower({text(sql, type_name)})"
    return f"CASE WHEN {cell} IN {_TRUE} THEN TRUE WHEN {cell} IN {_FALSE} THEN FALSE END"


def read(column: Column, sql: str, type_name: str, context: Context, into: Select) -> None:
    """Add one column of the contract to the query."""
    name = column.name
    if column.kind == "string":
        into.plain(name, text(sql, type_name))
        return
    if column.kind == "timestamp":
        _moment(column, sql, type_name, context, into)
        return
    options = context.options
    if column.kind == "decimal":
        number = as_number(sql, type_name, options)
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
        into.plain(name, as_number(sql, type_name, options))
    elif column.kind == "integer":
        number = as_number(sql, type_name, options)
        into.plain(name, f"CASE WHEN {number} = floor({number}) THEN TRY_CAST({number} AS BIGINT) END")
    elif column.kind == "boolean":
        into.plain(name, _boolean(sql, type_name))
    else:
        into.plain(name, _day(sql, type_name, context))
    into.inner[f"__set_{name}"] = _filled(sql, type_name)
    into.outer[f"__bad_{name}"] = f"{quote(f'__set_{name}')} AND {quote(name)} IS NULL"


def _day(sql: str, type_name: str, context: Context) -> str:
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


def _moment(column: Column, sql: str, type_name: str, context: Context, into: Select) -> None:
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
    into.inner[f"__set_{name}"] = _filled(sql, type_name)
    into.outer[f"__bad_{name}"] = f"{quote(f'__set_{name}')} AND {value} IS NULL"


def _by_kind(kind: str, forms: Mapping[str, str]) -> str:
    if kind in forms:
        return forms[kind]
    if len(set(forms.values())) == 1:
        return forms["0"]
    return f"CASE {kind} WHEN 1 THEN {forms['1']} WHEN 2 THEN {forms['2']} ELSE {forms['0']} END"


def _cell_of_time(sql: str, type_name: str, context: Context) -> tuple[str, str]:
    """Return SQL for the naive moment and its kind (a digit where it is the same for every row)."""
    if type_name == "DATE":
        return f"CAST({sql} AS TIMESTAMP)", "2"
    if type_name in AWARE:
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
