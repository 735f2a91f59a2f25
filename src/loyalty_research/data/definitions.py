"""What an entry of ``data/datasets.yml`` may say, read into plain values and checked in words."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from loyalty_research.data.contract import TABLES
from loyalty_research.errors import ArgumentError, ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CATALOGUE",
    "Definition",
    "Part",
    "Source",
    "TableDefinition",
    "as_date",
    "check_zone",
    "read_definition",
]

CATALOGUE: Final = Path("data", "datasets.yml")
"""Where names are defined, from the project's folder."""
FOLDER_ENTRY: Final = "dataset.yml"
"""What is known of a folder of tables, in the folder itself."""

_KINDS: Final = ("real", "simulated", "published", "user")
_DATASET_KEYS: Final = {
    "description",
    "kind",
    "timezone",
    "currency",
    "observation",
    "notices",
    "engine",
    "sources",
    "tables",
    "generator",
    "erasures",
}
_FOLDER_KEYS: Final = _DATASET_KEYS - {"sources", "tables", "generator", "erasures"}
_SOURCE_KEYS: Final = {
    "csv": {"kind", "path"},
    "parquet": {"kind", "path"},
    "duckdb": {"kind", "path"},
    "package": {"kind", "package", "path", "extra"},
    "postgres": {"kind", "url_env"},
}
_PART_KEYS: Final = {
    "from",
    "counts",
    "format",
    "columns",
    "datetime_format",
    "timezone",
    "delimiter",
    "decimal",
    "thousands",
    "encoding",
    "header",
    "null_values",
    "distinct",
    "join",
}
_TABLE_KEYS: Final = _PART_KEYS | {"parts", "group_by", "on_bad_rows", "max_bad_share"}
_ENGINE_KEYS: Final = {"kind", "memory_limit", "threads", "temp_directory"}


@dataclass(frozen=True, slots=True)
class Source:
    """Where files or tables come from.

    Attributes:
        kind: ``csv``, ``parquet``, ``duckdb``, ``package`` or ``postgres``.
        path: Folder or file, relative to the project or to the package.
        package: Distribution whose installed files are read.
        extra: Extra of this project that installs the package.
        url_env: Environment variable that holds the address of a database.
    """

    kind: str
    path: str = ""
    package: str = ""
    extra: str = ""
    url_env: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One source of a table and how its columns become the contract's.

    Attributes:
        origin: The ``from:`` entry, such as ``lake:sales/*.parquet``, or empty for counts.
        counts: Published counts: outcome column and ``arm: (successes, cards)``.
        columns: Contract or extra column to a source column, ``{expr: ...}``, ``{constant: ...}``,
            ``{row: true}``, ``{count: true}`` (under ``group_by``) or None (leave the column out).
        options: How the source is read: format, delimiter, datetime_format and their like.
        distinct: Source columns of which only distinct rows are read.
        join: A second source joined on columns of the same name: ``from`` and ``on``.
    """

    origin: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    distinct: tuple[str, ...] = ()
    join: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """How one table of the contract is made.

    Attributes:
        name: Table of the contract.
        parts: Sources whose rows are set below each other.
        group_by: Key whose rows are lines of one order and are summed into it, or empty.
        on_bad_rows: ``fail`` or ``quarantine``.
        max_bad_share: Largest share of rows that may be quarantined.
    """

    name: str
    parts: tuple[Part, ...]
    group_by: str = ""
    on_bad_rows: str = "fail"
    max_bad_share: float = 0.01


@dataclass(frozen=True, slots=True)
class Definition:
    """A dataset as it is declared, before anything is read.

    Attributes:
        name: Name or path it was asked for by.
        root: Folder that relative paths start from.
        description: One sentence that says what the data are.
        kind: ``real``, ``simulated``, ``published`` or ``user``.
        currency: ISO 4217 code, or None.
        timezone: IANA name of the zone that days are counted in.
        as_of: Last day observed, or None where it is not declared.
        calibration_end: Last day of the calibration period, or None.
        notices: What a reader has to know about the data.
        sources: Named places.
        tables: Table of the contract to its definition.
        generator: Name and arguments of a registered generator, or empty.
        engine: DuckDB settings.
        erasures: File of customer ids that are left out, or empty.
        path: File or folder opened directly, whose tables are found by their columns; or None.
        declared: The entry as written, for the content key.
    """

    name: str
    root: Path
    description: str = ""
    kind: str = "user"
    currency: str | None = None
    timezone: str = "UTC"
    as_of: dt.date | None = None
    calibration_end: dt.date | None = None
    notices: tuple[str, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    tables: Mapping[str, TableDefinition] = field(default_factory=dict)
    generator: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    erasures: str = ""
    path: Path | None = None
    declared: Mapping[str, Any] = field(default_factory=dict)


def as_date(value: object, what: str = "as_of") -> dt.date:
    """Return a calendar day from a date, a datetime or an ISO text.

    Raises:
        ArgumentError: When the value is none of them.

    Examples:
        >>> as_date("1998-06-30")
        datetime.date(1998, 6, 30)
    """
    if isinstance(value, dt.datetime):
        return value.date()
    if isinstance(value, dt.date):
        return value
    try:
        return dt.date.fromisoformat(str(value))
    except ValueError:
        raise ArgumentError(f"{what} must be a day such as 2024-12-31; got {value!r}") from None


def _unknown(keys: Mapping[str, Any], allowed: set[str], where: str) -> None:
    for key in keys:
        if key not in allowed:
            close = difflib.get_close_matches(str(key), sorted(allowed), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ContractError(
                f"{where} has an unknown entry {key!r}{hint} Allowed: {', '.join(sorted(allowed))}"
            )


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ContractError(f"{where} must be a mapping; got {type(value).__name__}")
    return {str(k): v for k, v in value.items()}


def _texts(value: object, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ContractError(f"{where} must be a text or a list of texts")


def check_zone(name: str, where: str) -> str:
    """Return the name of a time zone.

    Raises:
        ContractError: When there is no such zone.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ContractError(
            f"{where} is {name!r}, which is no time zone; use an IANA name such as Europe/Madrid or UTC"
        ) from None
    return name


def _source(entry: object, where: str) -> Source:
    values = _mapping(entry, where)
    kind = str(values.get("kind", ""))
    if kind not in _SOURCE_KEYS:
        raise ContractError(f"{where} needs kind: one of {', '.join(_SOURCE_KEYS)}; got {kind!r}")
    for key in values:
        if re.search(r"url|password|secret|token|dsn", key) and not key.endswith("_env"):
            raise ContractError(
                f"{where}: {key} does not belong in a file; put the value in an environment variable and "
                "name that variable in url_env"
            )
    _unknown(values, _SOURCE_KEYS[kind], where)
    for need in {"postgres": ("url_env",), "package": ("package",)}.get(kind, ("path",)):
        if not values.get(need):
            raise ContractError(f"{where} needs {need}")
    return Source(**{key: str(value) for key, value in values.items()})


def _part(values: Mapping[str, Any], where: str) -> Part:
    _unknown(values, _PART_KEYS, where)
    if bool(values.get("from")) == bool(values.get("counts")):
        raise ContractError(f"{where} needs either from: (a file, glob or source:table) or counts:")
    join = _mapping(values.get("join", {}), f"{where}.join")
    if join:
        _unknown(join, {"from", "on"}, f"{where}.join")
        if not join.get("from") or not join.get("on"):
            raise ContractError(f"{where}.join needs from: and on:")
        join["on"] = _texts(join["on"], f"{where}.join.on")
    if values.get("timezone"):
        check_zone(str(values["timezone"]), f"{where}.timezone")
    options = {
        key: value
        for key, value in values.items()
        if key not in {"from", "counts", "columns", "distinct", "join"}
    }
    return Part(
        origin=str(values.get("from", "")),
        counts=_mapping(values.get("counts", {}), f"{where}.counts"),
        columns=_mapping(values.get("columns", {}), f"{where}.columns"),
        options=options,
        distinct=_texts(values["distinct"], f"{where}.distinct") if values.get("distinct") else (),
        join=join,
    )


def _table(name: str, entry: object, where: str) -> TableDefinition:
    if name not in TABLES:
        close = difflib.get_close_matches(name, TABLES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ContractError(f"{where} is no table of the contract{hint} Tables: {', '.join(TABLES)}")
    values = _mapping(entry, where)
    _unknown(values, _TABLE_KEYS, where)
    shared = {key: value for key, value in values.items() if key in _PART_KEYS}
    parts = values.get("parts")
    if parts is not None and not (isinstance(parts, list) and parts):
        raise ContractError(f"{where}.parts must be a list of sources")
    made = (
        tuple(
            _part({**shared, **_mapping(part, f"{where}.parts[{i}]")}, f"{where}.parts[{i}]")
            for i, part in enumerate(parts)
        )
        if parts
        else (_part(shared, where),)
    )
    policy = str(values.get("on_bad_rows", "fail"))
    if policy not in {"fail", "quarantine"}:
        raise ContractError(f"{where}.on_bad_rows must be fail or quarantine; got {policy!r}")
    share = values.get("max_bad_share", 0.01)
    if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 <= share <= 1:
        raise ContractError(f"{where}.max_bad_share must be a fraction from 0 to 1; got {share!r}")
    return TableDefinition(name, made, str(values.get("group_by", "") or ""), policy, float(share))


def read_definition(name: str, entry: object, root: Path, *, path: Path | None = None) -> Definition:
    """Read one entry.

    Args:
        name: Name of the dataset.
        entry: What stands under it.
        root: Folder that relative paths start from.
        path: File or folder whose tables are found by their names, so that the entry names none.

    Raises:
        ContractError: When the entry says something it cannot, naming where.
        ArgumentError: When a day is none.
    """
    where = f"{CATALOGUE}: {name}" if path is None else f"{path.name}/{FOLDER_ENTRY}"
    values = _mapping(entry, where)
    _unknown(values, _DATASET_KEYS if path is None else _FOLDER_KEYS, where)
    kind = str(values.get("kind", "user"))
    if kind not in _KINDS:
        raise ContractError(f"{where}.kind must be one of {', '.join(_KINDS)}; got {kind!r}")
    observation = _mapping(values.get("observation", {}), f"{where}.observation")
    _unknown(observation, {"end", "calibration_end"}, f"{where}.observation")
    generator = _mapping(values.get("generator", {}), f"{where}.generator")
    if generator:
        _unknown(generator, {"name", "arguments"}, f"{where}.generator")
    tables = _mapping(values.get("tables", {}), f"{where}.tables")
    if path is None and bool(tables) == bool(generator):
        raise ContractError(f"{where} needs tables: or generator: (one of the two)")
    engine = _mapping(values.get("engine", {}), f"{where}.engine")
    _unknown(engine, _ENGINE_KEYS, f"{where}.engine")
    if engine.get("kind", "duckdb") != "duckdb":
        raise ContractError(f"{where}.engine.kind must be duckdb; frames of other engines go straight in")
    end, split = observation.get("end"), observation.get("calibration_end")
    as_of = None if end is None else as_date(end, f"{where}.observation.end")
    calibration = None if split is None else as_date(split, f"{where}.observation.calibration_end")
    if as_of and calibration and calibration >= as_of:
        raise ContractError(f"{where}.observation.calibration_end must lie before end")
    return Definition(
        name=name,
        root=root,
        description=" ".join(str(values.get("description") or f"Your own data, {name}.").split()),
        kind=kind,
        currency=None if values.get("currency") is None else str(values["currency"]),
        timezone=check_zone(str(values.get("timezone", "UTC")), f"{where}.timezone"),
        as_of=as_of,
        calibration_end=calibration,
        notices=tuple(
            " ".join(note.split()) for note in _texts(values.get("notices", []), f"{where}.notices")
        ),
        sources={
            key: _source(source, f"{where}.sources.{key}")
            for key, source in _mapping(values.get("sources", {}), f"{where}.sources").items()
        },
        tables={table: _table(table, made, f"{where}.tables.{table}") for table, made in tables.items()},
        generator=generator,
        engine=engine,
        erasures=str(values.get("erasures", "") or ""),
        path=path,
        declared=values,
    )
