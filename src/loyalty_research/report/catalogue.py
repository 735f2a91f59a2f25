"""The catalogue of reports: which notebook, for whom, with which parameters and data."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["SENSITIVITIES", "Catalogue", "Report", "find_root", "load_catalogue", "near"]

SENSITIVITIES = ("public", "internal", "restricted")
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_RESERVED = ("index", "manifest", "failed")
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Report:
    """One entry of the catalogue.

    Attributes:
        id: Name in kebab case; the page is ``<id>.html``.
        notebook: Path of the notebook, relative to the project's top folder.
        title: The question the page answers.
        audience: Who it is written for.
        parameters: Values that differ from the notebook's own defaults.
        sensitivity: ``"public"``, ``"internal"`` or ``"restricted"``.
        needs: Datasets the notebook may open; ``{name}`` stands for a parameter's value.
        default: Whether a plain ``loyalty report`` makes it.
        timeout: Seconds a single cell may take.
    """

    id: str
    notebook: str
    title: str
    audience: str
    parameters: dict[str, Any] = field(default_factory=dict)
    sensitivity: str = "internal"
    needs: tuple[str, ...] = ("{dataset}",)
    default: bool = True
    timeout: int = 900

    def inputs(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the declared inputs with parameters filled in, without repeats.

        Raises:
            ArgumentError: When a field names no parameter, or one that holds no text.

        Examples:
            >>> Report("x", "n.ipynb", "Why?", "All").inputs({"dataset": "cdnow"})
            ('cdnow',)
        """

        def value(match: re.Match[str]) -> str:
            found = parameters.get(match.group(1))
            if not isinstance(found, str):
                raise ArgumentError(
                    f"report {self.id}: 'needs' names {match.group(0)}, which is not a parameter that holds text"
                )
            return found

        return tuple(dict.fromkeys(_FIELD.sub(value, need) for need in self.needs))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every report of a project.

    Attributes:
        root: The project's top folder.
        reports: Reports by id, in the catalogue's order.
    """

    root: Path
    reports: dict[str, Report]

    def choose(self, ids: Sequence[str] = (), *, everything: bool = False) -> list[Report]:
        """Return the reports that were asked for, or the default ones.

        Raises:
            ArgumentError: When an id is not in the catalogue.
        """
        unknown = [i for i in ids if i not in self.reports]
        if unknown:
            raise ArgumentError(
                f"no report is called {', '.join(map(repr, unknown))}; the catalogue has "
                f"{', '.join(self.reports)}{near(unknown[0], self.reports)}"
            )
        if ids:
            return [self.reports[i] for i in dict.fromkeys(ids)]
        return [r for r in self.reports.values() if everything or r.default]

    def notebook(self, report: Report) -> Path:
        """Return where the report's notebook is."""
        return self.root / report.notebook


def near(word: str, among: Iterable[str]) -> str:
    """Return a hint that names the closest match, or nothing.

    Examples:
        >>> near("datset", ["dataset", "seed"])
        "; did you mean 'dataset'?"
    """
    found = difflib.get_close_matches(word, list(among), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def find_root(start: Path | None = None) -> Path:
    """Return the project's top folder: the nearest one above that has ``reports/catalogue.yml``.

    The environment variable ``LOYALTY_PROJECT`` names it outright; outside any project, the
    checkout that this package runs from is used, where there is one.

    Args:
        start: Where to look from (default: the working folder).

    Raises:
        ArgumentError: When there is no catalogue.
    """
    named = os.environ.get("LOYALTY_PROJECT")
    begin = (start or Path.cwd()).resolve()
    places = (
        [Path(named).resolve()] if named else [begin, *begin.parents, Path(__file__).resolve().parents[3]]
    )
    for place in places:
        if (place / "reports" / "catalogue.yml").is_file():
            return place
    where = f"in LOYALTY_PROJECT ({named})" if named else "here or in a folder above"
    raise ArgumentError(f"there is no reports/catalogue.yml {where}; run inside a project folder")


def load_catalogue(root: Path) -> Catalogue:
    """Read and check ``reports/catalogue.yml``.

    Args:
        root: The project's top folder.

    Raises:
        ArgumentError: With every fault found: unknown keys, missing notebooks, repeated ids.
    """
    import yaml

    path = root / "reports" / "catalogue.yml"
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArgumentError(f"reports/catalogue.yml cannot be read: {' '.join(str(error).split())}") from None
    entries = document.get("reports") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ArgumentError("reports/catalogue.yml needs a list 'reports'")
    faults = [f"unknown key {key!r}{near(str(key), ['reports'])}" for key in document if key != "reports"]
    reports: dict[str, Report] = {}
    for position, entry in enumerate(entries, start=1):
        found = _entry_faults(entry, root)
        name = str(entry.get("id", f"number {position}")) if isinstance(entry, dict) else f"number {position}"
        if name in reports:
            found.append("the id is there twice")
        faults += [f"report {name}: {fault}" for fault in found]
        if not found:
            reports[name] = Report(**{**entry, **_tuples(entry)})
    if faults:
        raise ArgumentError("reports/catalogue.yml: " + "; ".join(faults))
    return Catalogue(root, reports)


def _tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"needs": tuple(entry["needs"])} if "needs" in entry else {}


_KINDS: dict[str, tuple[type, str]] = {
    "id": (str, "a name in kebab case"),
    "notebook": (str, "a path"),
    "title": (str, "a sentence"),
    "audience": (str, "a sentence"),
    "parameters": (dict, "a mapping"),
    "sensitivity": (str, f"one of {', '.join(SENSITIVITIES)}"),
    "needs": (list, "a list of dataset names"),
    "default": (bool, "true or false"),
    "timeout": (int, "seconds"),
}


def _entry_faults(entry: Any, root: Path) -> list[str]:
    if not isinstance(entry, dict):
        return ["must be a mapping"]
    faults = [f"unknown key {k!r}{near(str(k), _KINDS)}" for k in entry if k not in _KINDS]
    faults += [f"{k!r} is missing" for k in ("id", "notebook", "title", "audience") if k not in entry]
    for key, (kind, words) in _KINDS.items():
        value = entry.get(key)
        if key in entry and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            faults.append(f"{key!r} must be {words}; got {value!r}")
    if faults:
        return faults
    if not _ID.fullmatch(entry["id"]) or entry["id"] in _RESERVED:
        faults.append("an id is kebab case (a-z, 0-9, hyphens) and not index, manifest or failed")
    if entry.get("sensitivity", "internal") not in SENSITIVITIES:
        faults.append(
            f"'sensitivity' must be one of {', '.join(SENSITIVITIES)}; got {entry['sensitivity']!r}"
        )
    if not all(isinstance(need, str) for need in entry.get("needs", [])):
        faults.append("'needs' must be a list of dataset names")
    if entry.get("timeout", 1) < 1:
        faults.append("'timeout' must be at least 1 second")
    if not (root / entry["notebook"]).is_file():
        faults.append(f"the notebook {entry['notebook']} does not exist")
    return faults
