"""The notebooks of a project: their parameters, and whether they are stored as they should be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError
from loyalty_research.report.catalogue import find_root
from loyalty_research.report.parameters import read_notebook, read_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from loyalty_research.report.parameters import Parameter

__all__ = ["describe_notebooks", "storage_faults"]

MOST_CELLS = 24


def storage_faults(path: Path) -> list[str]:
    """Return what is wrong with how a notebook is stored.

    Args:
        path: The notebook.

    Raises:
        ArgumentError: When the file is no notebook.
    """
    notebook = read_notebook(path)
    cells = notebook["cells"]
    found = []
    if notebook.get("nbformat_minor", 0) < 5:
        found.append("its format is older than 4.5, so cells have no ids")
    if len(cells) > MOST_CELLS:
        found.append(f"it has {len(cells)} cells; more than {MOST_CELLS} are hard to read")
    kernel = notebook.get("metadata", {}).get("kernelspec", {}).get("name")
    if kernel != "python3":
        found.append(f"its kernel is {kernel!r} instead of 'python3'")
    with_output = sum(1 for cell in cells if cell.get("outputs") or cell.get("execution_count") is not None)
    if with_output:
        found.append(f"{with_output} cells are stored with outputs: run nbstripout --keep-id {path.name}")
    if not cells or not "".join(cells[0].get("source", "")).lstrip().startswith("# "):
        found.append("its first cell is not a heading with the question")
    try:
        undocumented = [name for name, p in read_parameters(path).items() if not p.help]
    except ArgumentError as error:
        found.append(str(error))
    else:
        found += [f"parameter {name} has no comment that explains it" for name in undocumented]
    return found


def _rows(declared: Mapping[str, Parameter]) -> list[str]:
    rows = [(p.name, p.type, json.dumps(p.default, ensure_ascii=False), p.help) for p in declared.values()]
    widths = [max(len(row[i]) for row in rows) for i in range(3)] if rows else []
    return [
        "    " + "  ".join([*(c.ljust(w) for c, w in zip(row[:3], widths, strict=True)), row[3]]).rstrip()
        for row in rows
    ]


def _question(notebook: Mapping[str, Any]) -> str:
    first = "".join(notebook["cells"][0].get("source", "")) if notebook["cells"] else ""
    return first.strip().splitlines()[0].lstrip("# ") if first.strip() else ""


def describe_notebooks(say: Callable[[str], None]) -> int:
    """List every notebook with its parameters, and say what is wrong with how it is stored.

    Args:
        say: Takes lines.

    Returns:
        0, or 1 when a notebook is not stored as it should be.

    Raises:
        ArgumentError: When there is no project here, or a file is no notebook.
    """
    root = find_root()
    found = 0
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        say(f"{path.relative_to(root).as_posix()}: {_question(read_notebook(path))}")
        faults = storage_faults(path)
        found += len(faults)
        try:
            declared = read_parameters(path)
        except ArgumentError:  # among the faults already
            declared = {}
        for line in [*_rows(declared), *(f"  ! {fault}" for fault in faults)]:
            say(line)
    return 1 if found else 0
