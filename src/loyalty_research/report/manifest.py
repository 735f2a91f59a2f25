"""The manifest: what each page of a site was made from, and whether it is still what was made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError
from loyalty_research.report.keys import file_hash

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Entry", "Failure", "Manifest", "read_manifest"]

SCHEMA = 1


@dataclass(slots=True)
class Failure:
    """The last attempt at a report, when it failed.

    Attributes:
        message: What went wrong, one line.
        at: When, UTC, ISO 8601.
        notebook: The failed notebook, relative to the site, or None when none was kept.
    """

    message: str
    at: str
    notebook: str | None = None


@dataclass(slots=True)
class Entry:
    """One report of a site.

    Attributes:
        title: The question.
        notebook: Path in the project.
        audience: Who it is for.
        sensitivity: Label of the catalogue.
        parameters: Resolved values of the good page, or of the attempt when there is none.
        changed: Names of the parameters that differ from the catalogue's values.
        key: Content key of the good page; None when it cannot be known.
        provenance: What the notebook said of its data, or empty.
        findings: What the notebook found, for the index.
        seed: Value of the parameter ``seed``, where there is one.
        git: Commit the good page was made from, with its dirty flag; None without git.
        generated_at: When the good page was made, UTC; None when there is none.
        duration: Seconds the run took.
        warnings: What the run wrote to its error stream, one line each.
        files: File name to SHA-256.
        failure: The last attempt, when it failed.
    """

    title: str
    notebook: str
    audience: str
    sensitivity: str
    parameters: dict[str, Any]
    changed: list[str] = field(default_factory=list)
    key: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    seed: int | None = None
    git: dict[str, Any] | None = None
    generated_at: str | None = None
    duration: float | None = None
    warnings: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    failure: Failure | None = None

    def intact(self, site: Path) -> bool:
        """Whether every file of the page is there with the bytes that were written."""
        return bool(self.files) and all(
            (site / name).is_file() and file_hash(site / name) == digest
            for name, digest in self.files.items()
        )


@dataclass(slots=True)
class Manifest:
    """``manifest.json``.

    Attributes:
        reports: Entries by report id, in the order of the catalogue.
        site: Files of the site itself (the index) to SHA-256.
        index_key: Hash of what the index shows.
        git: Commit of the last run that wrote something.
        packages: Package to version, of the last run that wrote something.
    """

    reports: dict[str, Entry] = field(default_factory=dict)
    site: dict[str, str] = field(default_factory=dict)
    index_key: str = ""
    git: dict[str, Any] | None = None
    packages: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the text of ``manifest.json``."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"


def read_manifest(site: Path) -> Manifest:
    """Read a site's manifest; without one, or with one that is damaged, an empty one.

    An empty manifest means that every report runs again, which mends it.

    Args:
        site: The site's folder.

    Raises:
        ArgumentError: When the folder holds somebody else's ``manifest.json`` or ``index.html``.
    """
    path = site / "manifest.json"
    if not path.exists():
        if (site / "index.html").exists():
            raise ArgumentError(f"{site} holds an index.html of something else; choose another --out")
        return Manifest()
    try:
        document = json.loads(path.read_text("utf-8"))
    except ValueError:
        return Manifest()
    if not isinstance(document, dict) or "schema" not in document or "reports" not in document:
        raise ArgumentError(f"{path} was not written by this program; choose another --out")
    try:
        if document.pop("schema") != SCHEMA:
            return Manifest()
        entries = {
            name: Entry(**{**entry, "failure": Failure(**entry["failure"]) if entry["failure"] else None})
            for name, entry in document.pop("reports").items()
        }
        return Manifest(reports=entries, **document)
    except (TypeError, KeyError, AttributeError):
        return Manifest()
