"""From what was asked for to jobs: parameters resolved, inputs named, keys computed."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loyalty_research.data.catalogue import list_datasets, source_key
from loyalty_research.errors import ArgumentError
from loyalty_research.report import keys
from loyalty_research.report.parameters import read_parameters, resolve, resolve_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loyalty_research.report.catalogue import Catalogue, Report
    from loyalty_research.report.parameters import Parameter

__all__ = ["Keys", "Plan", "command", "make_plans", "parse_assignments"]


@dataclass(frozen=True, slots=True)
class Plan:
    """One report that was asked for.

    Attributes:
        report: The catalogue's entry.
        notebook: Path of its notebook.
        declared: Parameters of the notebook.
        parameters: Resolved values.
        changed: Names whose value differs from the catalogue's.
        inputs: Declared datasets.
        key: Content key, or None when it cannot be known.
    """

    report: Report
    notebook: Path
    declared: dict[str, Parameter]
    parameters: dict[str, Any]
    changed: tuple[str, ...]
    inputs: tuple[str, ...]
    key: str | None

    @property
    def as_of(self) -> str | None:
        """The last day to observe, where the notebook has such a parameter."""
        found = self.parameters.get("as_of")
        return found if isinstance(found, str) else None

    @property
    def overrides(self) -> dict[str, Any]:
        """Values that differ from the notebook's own defaults."""
        return {name: v for name, v in self.parameters.items() if v != self.declared[name].default}


class Keys:
    """Content keys of a project, each part computed once.

    Args:
        root: The project's top folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._machinery: str | None = None
        self._sources: dict[tuple[str, str | None, Path], str | None] = {}

    @property
    def machinery(self) -> str:
        """Hash of the package, its engines and Python."""
        if self._machinery is None:
            self._machinery = keys.machinery_key(self._root)
        return self._machinery

    def of(
        self, report: Report, notebook: Path, parameters: Mapping[str, Any], inputs: Sequence[str]
    ) -> str | None:
        """Return a report's content key, or None when it cannot be known.

        Raises:
            ContractError: When a declared dataset does not exist.
        """
        as_of = parameters.get("as_of")
        found = {name: self._source(name, as_of, notebook.parent) for name in inputs}
        return keys.content_key(
            report, notebook=notebook, parameters=parameters, inputs=found, machinery=self.machinery
        )

    def _source(self, name: str, as_of: str | None, folder: Path) -> str | None:
        question = (name, as_of, folder)
        if question not in self._sources:
            self._sources[question] = source_key(name, as_of=as_of, start=folder)
        return self._sources[question]


def parse_assignments(texts: Sequence[str]) -> dict[str, str]:
    """Return ``name=value`` texts as a mapping.

    Raises:
        ArgumentError: When a text has no ``=``, or a name comes twice.

    Examples:
        >>> parse_assignments(["weeks=26", "arms=a,b"])
        {'weeks': '26', 'arms': 'a,b'}
    """
    given: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        name = name.strip()
        if not sign or not name:
            raise ArgumentError(f"a parameter is given as name=value; got {text!r}")
        if name in given:
            raise ArgumentError(f"parameter {name!r} is given twice")
        given[name] = value
    return given


def make_plans(
    catalogue: Catalogue, reports: Sequence[Report], given: Mapping[str, str], *, keys_of: Keys
) -> list[Plan]:
    """Resolve and check everything that can be checked without opening data.

    Args:
        catalogue: The project's catalogue.
        reports: Reports to make.
        given: Parameters from the command line, as texts.
        keys_of: Content keys.

    Raises:
        ArgumentError: On an unknown or ill-typed parameter.
        ContractError: When a declared dataset does not exist.
    """
    declared = {r.id: read_parameters(catalogue.notebook(r)) for r in reports}
    resolved = resolve_all([(r.id, declared[r.id], r.parameters) for r in reports], given)
    known = set(list_datasets(catalogue.root))
    plans = []
    for report in reports:
        notebook = catalogue.notebook(report)
        plain = resolve(declared[report.id], catalogue=report.parameters, given={}, where=report.id)
        values = _with_paths(report, resolved[report.id], given, known, catalogue.root)
        inputs = report.inputs(values)
        key = keys_of.of(report, notebook, values, inputs)
        changed = tuple(name for name in values if values[name] != plain[name])
        plans.append(Plan(report, notebook, declared[report.id], values, changed, inputs, key))
    return plans


def _with_paths(
    report: Report, values: dict[str, Any], given: Mapping[str, str], known: set[str], root: Path
) -> dict[str, Any]:
    """Make a path typed at the prompt mean the same file to the notebook, which runs elsewhere."""
    found = dict(values)
    for name in given:
        value = values[name]
        is_input = any("{" + name + "}" in need for need in report.needs)
        if is_input and isinstance(value, str) and value not in known and Path(value).expanduser().exists():
            path = Path(value).expanduser().resolve()
            found[name] = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    return found


def words(value: Any) -> str:
    """Return a parameter's value as it is shown on a page."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def command(plan: Plan) -> str:
    """Return the command that makes the report again.

    Args:
        plan: The report.
    """
    given = [f"-p {shlex.quote(f'{name}={words(plan.parameters[name])}')}" for name in plan.changed]
    return " ".join(["loyalty report", plan.report.id, *given])
