"""Named datasets: ``data/datasets.yml`` found and read, and cheap content keys of what it names.

Nothing heavy is imported here, since the report engine asks for a dataset's key before it decides
whether there is any work.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import os
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from loyalty_research.data.contract import TABLES
from loyalty_research.data.definitions import CATALOGUE, FOLDER_ENTRY, as_date, read_definition
from loyalty_research.errors import ArgumentError, ContractError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loyalty_research.data.definitions import Definition, Source

__all__ = [
    "check_declared",
    "define",
    "describe_names",
    "expand",
    "file_format",
    "find_project",
    "generator",
    "list_datasets",
    "resolve",
    "source_key",
    "split_origin",
]

DECLARED_INPUTS: Final = "LOYALTY_DECLARED_INPUTS"
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


def find_project(start: Path | None = None) -> Path | None:
    """Return the folder whose ``data/datasets.yml`` applies.

    Args:
        start: Where to look from (default: the working directory), upwards; then the project that
            this package is installed from in editable mode.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / CATALOGUE).is_file():
            return folder
    own = Path(__file__).resolve().parents[3]
    return own if (own / CATALOGUE).is_file() else None


def _read_catalogue(root: Path | None) -> dict[str, Any]:
    return {} if root is None else _read_yaml(root / CATALOGUE, "names of datasets to their definitions")


def _read_yaml(path: Path, what: str) -> dict[str, Any]:
    import yaml

    label = "/".join(path.parts[-2:])

    class UniqueKeys(yaml.SafeLoader):
        """YAML keeps the last of two equal keys without a word; a definition must not vanish so."""

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise ContractError(
                f"{label} line {node.start_mark.line + 1}: {', '.join(twice)} stands twice in one entry"
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
        found = yaml.load(path.read_text("utf-8"), UniqueKeys)  # noqa: S506
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ContractError(f"{path} must map {what}")
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
            of files called after tables of the contract, in which a file ``dataset.yml`` may say
            the time zone, the currency and the like.
        start: Where to look for the project from; the working directory by default.

    Raises:
        ContractError: When there is no such name or path, listing what there is, or when the
            definition itself is wrong.
    """
    root = find_project(start)
    text = os.fspath(name_or_path)
    entries = _read_catalogue(root)
    if text in entries and root is not None:
        return read_definition(text, entries[text], root)
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
    said = {"description": f"Your own data, read from {path.name}."}
    if path.is_dir() and (path / FOLDER_ENTRY).is_file():
        said |= _read_yaml(path / FOLDER_ENTRY, "entries such as timezone and currency to their values")
    return read_definition(text, said, root or Path.cwd(), path=path)


def _no_such(text: str, names: list[str], root: Path | None) -> str:
    if any(mark in text for mark in "/\\") or file_format(text):
        return f"there is no file or folder {text!r} (looked from {Path.cwd()})"
    if root is None:
        return f"there is no dataset {text!r}: no {CATALOGUE} was found from {Path.cwd()} upwards"
    close = difflib.get_close_matches(text, names, n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"there is no dataset {text!r}.{hint} {root / CATALOGUE} has: {', '.join(names)}"


def check_declared(name_or_path: str | Path) -> None:
    """Refuse a dataset that a report has not declared.

    The report engine lists a report's inputs in ``LOYALTY_DECLARED_INPUTS``, comma separated; where
    it is set, nothing else can be opened, so that a page's declared inputs are all of its inputs.

    Raises:
        ArgumentError: When it is neither text nor a path.
        ContractError: When the name is not among the declared ones.
    """
    if not isinstance(name_or_path, str | Path):
        raise ArgumentError(f"name_or_path must be a dataset's name or a path; got {name_or_path!r}")
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


def source_key(name_or_path: str | Path, *, as_of: object = None, start: Path | None = None) -> str | None:
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
