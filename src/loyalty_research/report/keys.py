"""Content keys: what a report was made from, hashed before anything heavy is imported."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty_research.report.catalogue import Report

__all__ = ["content_key", "file_hash", "git_state", "machinery_key"]

PACKAGE = Path(__file__).resolve().parents[1]
_ENGINES = ("duckdb", "lifelines", "matplotlib", "narwhals", "numpy", "pandas", "scipy", "statsmodels")
_SUFFIXES = (".py", ".j2", ".css", ".json", ".mo", ".yml")


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def machinery_key(root: Path) -> str:
    """Return a hash of what every report is made with: this package, its engines, Python.

    Args:
        root: The project's top folder; its ``uv.lock`` counts where there is one.
    """
    digest = hashlib.sha256()
    files = sorted(p for p in PACKAGE.rglob("*") if p.suffix in _SUFFIXES and p.is_file())
    for path in files:
        digest.update(f"{path.relative_to(PACKAGE).as_posix()} {file_hash(path)}\n".encode())
    if (root / "uv.lock").is_file():
        digest.update(file_hash(root / "uv.lock").encode())
    digest.update(" ".join(f"{name}={_version(name)}" for name in _ENGINES).encode())
    digest.update(f" python={platform.python_version()} {os.environ.get('LOYALTY_LANGUAGE', 'en')}".encode())
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def content_key(
    report: Report,
    *,
    notebook: Path,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, str | None],
    machinery: str,
) -> str | None:
    """Return the hash of everything a report depends on, or None when that cannot be known.

    Args:
        report: The catalogue's entry.
        notebook: Where its notebook is.
        parameters: Resolved values.
        inputs: Each declared dataset with its own content key; None (a live database, say)
            means the report always runs.
        machinery: From :func:`machinery_key`.
    """
    if any(key is None for key in inputs.values()):
        return None
    entry = {
        "id": report.id,
        "title": report.title,
        "audience": report.audience,
        "sensitivity": report.sensitivity,
        "needs": report.needs,
        "notebook": report.notebook,
        "bytes": file_hash(notebook),
        "parameters": dict(parameters),
        "inputs": dict(inputs),
        "machinery": machinery,
    }
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


def git_state(root: Path) -> dict[str, Any] | None:
    """Return the commit that is checked out, its date, and whether tracked files differ from it.

    Args:
        root: The project's top folder.

    Returns:
        ``{"commit": ..., "date": ..., "dirty": ...}``, or None without git or without a commit.
    """

    def git(*words: str) -> str:
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            ["git", "-C", str(root), *words],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None
        commit, date = git("log", "-1", "--format=%H %cs").split()
        dirty = bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "date": date, "dirty": dirty}
