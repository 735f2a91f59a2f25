"""Named datasets: ``data/datasets.yml`` read into definitions, and cheap content keys of them.

Nothing heavy is imported here, since the report engine asks for a dataset's key before it decides
whether there is any work.
"""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
import importlib.util
import json
import os
import re
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from loyalty_research.data.contract import TABLES
from loyalty_research.errors import ArgumentError, ContractError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "Definition",
    "Part",
    "Source",
    "TableDefinition",
    "as_date",
    "check_declared",
    "check_zone",
    "define",
    "describe_names",
    "find_project",
    "list_datasets",
    "source_key",
]

DECLARED_INPUTS: Final = "LOYALTY_DECLARED_INPUTS"
_FILE: Final = Path("data", "datasets.yml")
_SUFFIXES: Final = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".csv.gz": "csv",
    ".tsv.gz": "csv",
    ".txt.gz": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".duckdb": "duckdb",
    ".db": "duckdb",
}
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


def find_project(start: Path | None = None) -> Path | None:
    """Return the folder whose ``data/datasets.yml`` applies.

    Args:
        start: Where to look from (default: the working directory), upwards; then the project that
            this package is installed from in editable mode.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / _FILE).is_file():
            return folder
    own = Path(__file__).resolve().parents[3]
    return own if (own / _FILE).is_file() else None


def _read_catalogue(root: Path | None) -> dict[str, Any]:
    if root is None:
        return {}
    import yaml

    class UniqueKeys(yaml.SafeLoader):
        """YAML keeps the last of two equal keys without a word; a definition must not vanish so."""

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise ContractError(
                f"{_FILE} line {node.start_mark.line + 1}: {', '.join(twice)} stands twice in one entry"
            )
        return yaml.SafeLoader.construct_mapping(loader, node, deep=True)

    UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    # YAML 1.1 reads on, off, yes and no as booleans; they are words here, as in YAML 1.2
    boolean = "tag:yaml.org,2002:bool"
    UniqueKeys.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag != boolean]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    UniqueKeys.add_implicit_resolver(boolean, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))
    try:
        # a subclass of the safe loader: it makes plain values only
        found = yaml.load((root / _FILE).read_text("utf-8"), UniqueKeys)  # noqa: S506
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ContractError(f"{root / _FILE} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ContractError(f"{root / _FILE} must map names of datasets to their definitions")
    return {str(name): entry for name, entry in found.items()}


def list_datasets(start: Path | None = None) -> list[str]:
    """Return the names in ``data/datasets.yml``, as written.

    Args:
        start: Where to look for the project from; the working directory by default.
    """
    return list(_read_catalogue(find_project(start)))


def describe_names(start: Path | None = None) -> list[dict[str, str]]:
    """Return name, kind and description of every dataset, for ``loyalty datasets``."""
    root = find_project(start)
    return [
        {
            "name": name,
            "kind": str(entry.get("kind", "user")) if isinstance(entry, dict) else "user",
            "description": str(entry.get("description", "")) if isinstance(entry, dict) else "",
        }
        for name, entry in _read_catalogue(root).items()
    ]


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


def _definition(name: str, entry: object, root: Path) -> Definition:
    where = f"{_FILE}: {name}"
    values = _mapping(entry, where)
    _unknown(values, _DATASET_KEYS, where)
    kind = str(values.get("kind", "user"))
    if kind not in _KINDS:
        raise ContractError(f"{where}.kind must be one of {', '.join(_KINDS)}; got {kind!r}")
    observation = _mapping(values.get("observation", {}), f"{where}.observation")
    _unknown(observation, {"end", "calibration_end"}, f"{where}.observation")
    generator = _mapping(values.get("generator", {}), f"{where}.generator")
    if generator:
        _unknown(generator, {"name", "arguments"}, f"{where}.generator")
    tables = _mapping(values.get("tables", {}), f"{where}.tables")
    if bool(tables) == bool(generator):
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
        declared=values,
    )


def file_format(path: str | Path) -> str | None:
    """Return ``csv``, ``parquet`` or ``duckdb`` by a file's ending, or None.

    Examples:
        >>> file_format("sales/2024.csv.gz"), file_format("notes.docx")
        ('csv', None)
    """
    name = Path(path).name.lower()
    return next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), None)


def define(name_or_path: str | Path, start: Path | None = None) -> Definition:
    """Return the definition of a named dataset, or one made for a file or folder.

    Args:
        name_or_path: A name in ``data/datasets.yml``; or a CSV, Parquet or DuckDB file, or a folder
            of files called after tables of the contract.
        start: Where to look for the project from; the working directory by default.

    Raises:
        ContractError: When there is no such name or path, listing what there is, or when the
            definition itself is wrong.
    """
    root = find_project(start)
    text = os.fspath(name_or_path)
    entries = _read_catalogue(root)
    if text in entries and root is not None:
        return _definition(text, entries[text], root)
    path = Path(text).expanduser()
    if not path.is_absolute():
        near = ((start or Path.cwd()) / path).resolve()
        path = near if near.exists() or root is None else (root / path).resolve()
    if not path.exists():
        raise ContractError(_no_such(text, list(entries), root))
    if path.is_file() and file_format(path) is None:
        raise ContractError(
            f"{text} is neither CSV, Parquet nor a DuckDB file by its ending; "
            f"known endings: {', '.join(_SUFFIXES)}"
        )
    return Definition(
        name=text,
        root=root or Path.cwd(),
        description=f"Your own data, read from {path.name}.",
        path=path,
    )


def _no_such(text: str, names: list[str], root: Path | None) -> str:
    if any(mark in text for mark in "/\\") or file_format(text):
        return f"there is no file or folder {text!r} (looked from {Path.cwd()})"
    if root is None:
        return f"there is no dataset {text!r}: no {_FILE} was found from {Path.cwd()} upwards"
    close = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"there is no dataset {text!r}.{hint} {root / _FILE} has: {', '.join(names)}"


def check_declared(name_or_path: str | Path) -> None:
    """Refuse a dataset that a report has not declared.

    The report engine lists a report's inputs in ``LOYALTY_DECLARED_INPUTS``, comma separated; where
    it is set, nothing else can be opened, so that a page's declared inputs are all of its inputs.

    Raises:
        ContractError: When the name is not among the declared ones.
    """
    declared = os.environ.get(DECLARED_INPUTS)
    if declared is None:
        return
    names = [name.strip() for name in declared.split(",") if name.strip()]
    text = os.fspath(name_or_path)
    # a path may itself hold a comma
    if (
        f",{text}," not in f",{declared},"
        and text not in names
        and os.path.realpath(text) not in {os.path.realpath(n) for n in names}
    ):
        listed = ", ".join(names) if names else "none"
        raise ContractError(
            f"this report opens the dataset {text!r} but declares {listed}; "
            "add it to the report's needs: in reports/catalogue.yml"
        )


def split_origin(origin: str, sources: Mapping[str, Source]) -> tuple[Source | None, str]:
    """Return the named source of a ``from:`` entry, if it has one, and the rest."""
    head, colon, rest = origin.partition(":")
    if colon and head in sources:
        return sources[head], rest
    return None, origin


def package_file(source: Source, rest: str) -> Path:
    """Return where a file of an installed package lies, without importing the package.

    Raises:
        MissingExtraError: When the distribution is not installed.
    """
    try:
        distribution = metadata.distribution(source.package)
    except metadata.PackageNotFoundError:
        raise MissingExtraError(source.package, source.extra or "datasets") from None
    return Path(str(distribution.locate_file(source.path))) / rest


def resolve(definition: Definition, origin: str) -> Path | None:
    """Return the path or glob that a ``from:`` entry means, or None for a database server.

    For ``shop.duckdb:main.orders`` it is the path of the file, without the table.
    """
    source, rest = split_origin(origin, definition.sources)
    if source is not None and source.kind == "postgres":
        return None
    if source is not None and source.kind == "package":
        return package_file(source, rest)
    if source is not None and source.kind == "duckdb":
        return definition.root / source.path
    if source is not None:
        return definition.root / source.path / rest
    match = re.fullmatch(r"(?P<file>.+\.(?:duckdb|db)):(?P<table>[^/\\:]+)", rest)
    return definition.root / (match["file"] if match else rest)


def expand(path: Path) -> list[Path]:
    """Return the files that a path or glob means, sorted.

    Raises:
        ContractError: When nothing matches.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and file_format(p) in {"csv", "parquet"})
        if not found:
            raise ContractError(f"the folder {path} holds no CSV or Parquet file")
        return found
    if re.search(r"[*?\[]", str(path)):
        fixed = Path(path.anchor) if path.is_absolute() else Path()
        pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else str(path)
        found = sorted(p for p in fixed.glob(pattern) if p.is_file())
        if found:
            return found
        raise ContractError(f"no file matches {path}")
    raise ContractError(f"there is no file {path}")


def _origins(definition: Definition) -> Iterator[str]:
    for table in definition.tables.values():
        for part in table.parts:
            if part.origin:
                yield part.origin
            if part.join:
                yield str(part.join["from"])


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def source_key(name_or_path: str | Path, as_of: object = None, *, start: Path | None = None) -> str | None:
    """Return a content key of a dataset without opening it.

    The key changes when a file's bytes, the definition, the view or the generator's code change.

    Args:
        name_or_path: As for :func:`loyalty_research.open_dataset`.
        as_of: As for :func:`loyalty_research.open_dataset`.
        start: Where to look for the project from; the working directory by default.

    Returns:
        64 hexadecimal digits, or None where only a database server could tell.

    Raises:
        ContractError: When there is no such dataset or file.
        MissingExtraError: When the package that holds the data is not installed.
    """
    definition = define(name_or_path, start)
    if any(source.kind == "postgres" for source in definition.sources.values()):
        return None
    files: list[Path] = []
    if definition.path is not None:
        files = [definition.path] if definition.path.is_file() else _folder_files(definition.path)
    for origin in _origins(definition):
        path = resolve(definition, origin)
        if path is not None:
            files.extend(expand(path))
    if definition.erasures:
        files.append(definition.root / definition.erasures)
    parts: dict[str, Any] = {
        "declared": definition.declared,
        "as_of": None if as_of is None else as_date(as_of).isoformat(),
        "files": [(path.name, _digest(path)) for path in sorted(set(files))],
    }
    if definition.generator:
        parts["code"] = _generator_code(str(definition.generator.get("name", "")))
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _folder_files(folder: Path) -> list[Path]:
    tables = [entry for entry in sorted(folder.iterdir()) if entry.name.split(".")[0] in TABLES]
    return [path for table in tables for path in ([table] if table.is_file() else expand(table))]


def _generator_code(name: str) -> str:
    """Hash the module (or package) that a generator lives in, without importing it."""
    point = generator(name)
    spec = importlib.util.find_spec(point.module)
    if spec is None or spec.origin is None:
        raise ContractError(f"the generator {name!r} points at {point.module}, which cannot be found")
    origin = Path(spec.origin)
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    return hashlib.sha256("".join(_digest(path) for path in files).encode()).hexdigest()


def generator(name: str) -> metadata.EntryPoint:
    """Return the registered generator of this name.

    Raises:
        ContractError: When no installed package registers it.
    """
    points = metadata.entry_points(group="loyalty_research.generators")
    found = [point for point in points if point.name == name]
    if not found:
        known = ", ".join(sorted({point.name for point in points})) or "none"
        raise ContractError(
            f"there is no generator {name!r}; registered: {known}. A package registers one in the entry "
            "point group loyalty_research.generators (install this project again after adding one)"
        )
    return found[0]
