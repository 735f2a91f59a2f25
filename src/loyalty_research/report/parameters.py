"""Typed notebook parameters: read from the ``parameters`` cell, checked before anything runs.

The cell holds annotated assignments of literals, each with a comment that explains it::

    dataset: str = "cdnow"  # name in data/datasets.yml, or a path
    weeks: int = 52  # horizon
"""

from __future__ import annotations

import ast
import io
import json
import math
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError
from loyalty_research.report.catalogue import near

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Parameter", "parse_cell", "read_notebook", "read_parameters", "resolve", "resolve_all"]

_SCALARS: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool}
_ALLOWED = 'str, int, float, bool, any of them "| None", list[str], list[int], list[float], Literal["a", "b"]'


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a notebook.

    Attributes:
        name: Variable name.
        kind: ``"str"``, ``"int"``, ``"float"``, ``"bool"``, ``"list"`` or ``"literal"``.
        default: Value in the notebook.
        help: The comment beside it.
        item: Scalar type of a list's items.
        choices: Values of a literal type.
        optional: Whether ``None`` is allowed.
    """

    name: str
    kind: str
    default: Any
    help: str = ""
    item: str = ""
    choices: tuple[Any, ...] = ()
    optional: bool = False

    @property
    def type(self) -> str:
        """The type as it is written in the notebook."""
        if self.kind == "list":
            text = f"list[{self.item}]"
        elif self.kind == "literal":
            text = f"Literal[{', '.join(json.dumps(c) for c in self.choices)}]"
        else:
            text = self.kind
        return f"{text} | None" if self.optional else text

    def check(self, value: Any) -> Any:
        """Return ``value`` in the declared type; whole numbers pass as floats.

        Raises:
            ArgumentError: When it is of another type or not among the choices.
        """
        if value is None and self.optional:
            return None
        if self.kind == "literal" and any(value == c and type(value) is type(c) for c in self.choices):
            return value
        if self.kind == "list" and isinstance(value, (list, tuple)):
            return [_scalar(item, self.item, self) for item in value]
        if self.kind in _SCALARS:
            return _scalar(value, self.kind, self)
        raise _wrong(self, value)

    def parse(self, text: str) -> Any:
        """Return the value that ``text`` spells on a command line.

        Lists are JSON or separated by commas; ``none`` is the missing value of an optional type.

        Raises:
            ArgumentError: When the text does not spell a value of the type.

        Examples:
            >>> Parameter("weeks", "int", 52).parse("26")
            26
            >>> Parameter("arms", "list", [], item="str").parse("control, email")
            ['control', 'email']
        """
        if self.optional and text.strip().lower() in ("none", "null"):
            return None
        if self.kind == "literal":
            found = [c for c in self.choices if str(c) == text.strip()]
            return self.check(found[0] if found else text)
        if self.kind == "list":
            return self.check(self._items(text))
        return self.check(_spelled(text, self.kind, self))

    def _items(self, text: str) -> list[Any]:
        if text.strip().startswith("["):
            try:
                return list(json.loads(text))
            except json.JSONDecodeError:
                raise _wrong(self, text) from None
        parts = [part.strip() for part in text.split(",")] if text.strip() else []
        return [_spelled(part, self.item, self) for part in parts]


def _wrong(parameter: Parameter, value: Any) -> ArgumentError:
    return ArgumentError(f"parameter {parameter.name} must be {parameter.type}; got {value!r}")


def _scalar(value: Any, kind: str, parameter: Parameter) -> Any:
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not _SCALARS[kind] or (kind == "float" and not math.isfinite(value)):
        raise _wrong(parameter, value)
    return value


def _spelled(text: str, kind: str, parameter: Parameter) -> Any:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        if kind == "bool":
            return words[text.strip().lower()]
        return text if kind == "str" else _SCALARS[kind](text)
    except (KeyError, ValueError):
        raise _wrong(parameter, text) from None


def read_notebook(path: Path) -> dict[str, Any]:
    """Return a notebook's JSON.

    Raises:
        ArgumentError: When the file is not a version 4 notebook.
    """
    try:
        notebook = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{path.name} is not a notebook: {error}") from None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4 or "cells" not in notebook:
        raise ArgumentError(f"{path.name} is not a notebook of format 4")
    return notebook


def read_parameters(path: Path) -> dict[str, Parameter]:
    """Read the typed parameters of a notebook from its cell tagged ``parameters``.

    Args:
        path: The notebook.

    Raises:
        ArgumentError: When there is not exactly one such cell, or when it holds anything but
            annotated literals of the allowed types.
    """
    cells = [
        "".join(cell.get("source", ""))
        for cell in read_notebook(path)["cells"]
        if cell.get("cell_type") == "code" and "parameters" in cell.get("metadata", {}).get("tags", [])
    ]
    if len(cells) != 1:
        raise ArgumentError(
            f"{path.name} needs exactly one code cell tagged 'parameters'; it has {len(cells)}"
        )
    try:
        return parse_cell(cells[0])
    except ArgumentError as error:
        raise ArgumentError(f"{path.name}, parameters cell: {error}") from None


def parse_cell(source: str) -> dict[str, Parameter]:
    """Read typed parameters from the text of a ``parameters`` cell.

    Raises:
        ArgumentError: When the cell holds anything but annotated literals.

    Examples:
        >>> parse_cell('weeks: int = 52  # horizon')["weeks"]
        Parameter(name='weeks', kind='int', default=52, help='horizon', item='', choices=(), optional=False)
    """
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise ArgumentError(f"line {error.lineno}: {error.msg}") from None
    comments = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[str, Parameter] = {}
    for node in body:
        if ast.unparse(node) == "from typing import Literal":  # Python evaluates the annotations of a cell
            continue
        line = f"line {node.lineno}"
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            raise ArgumentError(f"{line}: only annotated assignments belong here, such as weeks: int = 52")
        name = node.target.id
        if name in found:
            raise ArgumentError(f"{line}: {name} is assigned twice")
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            raise ArgumentError(f"{line}: the default of {name} must be a literal") from None
        shape = _shape(node.annotation, line)
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        said = " ".join(comments[number] for number in lines if number in comments)
        blank = Parameter(name, default=default, help=said, **shape)
        found[name] = Parameter(name, default=blank.check(default), help=blank.help, **shape)
    return found


def _shape(annotation: ast.expr, line: str) -> dict[str, Any]:
    match annotation:
        case ast.Name(id=kind) if kind in _SCALARS:
            return {"kind": kind}
        case ast.BinOp(left=left, op=ast.BitOr(), right=ast.Constant(value=None)):
            return {**_shape(left, line), "optional": True}
        case ast.Subscript(value=ast.Name(id="list"), slice=ast.Name(id=item)) if item in _SCALARS:
            return {"kind": "list", "item": item}
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            values = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if all(isinstance(v, ast.Constant) and isinstance(v.value, (str, int)) for v in values):
                return {"kind": "literal", "choices": tuple(ast.literal_eval(v) for v in values)}
    raise ArgumentError(f"{line}: the type {ast.unparse(annotation)} is not one of {_ALLOWED}")


def resolve(
    declared: Mapping[str, Parameter],
    *,
    catalogue: Mapping[str, Any],
    given: Mapping[str, str],
    where: str,
) -> dict[str, Any]:
    """Return every parameter's value: notebook, then catalogue, then command line.

    Args:
        declared: Parameters of the notebook.
        catalogue: Values from the catalogue, already typed.
        given: Texts from the command line.
        where: The report, for messages.

    Raises:
        ArgumentError: When a name is unknown or a value has the wrong type; the message lists
            the valid parameters.
    """
    values = {name: parameter.default for name, parameter in declared.items()}
    faults: list[str] = []
    for source, items, read in (("catalogue", catalogue, False), ("command line", given, True)):
        for name, value in items.items():
            if name not in declared:
                faults.append(f"unknown parameter {name!r} ({source}){near(name, declared)}")
                continue
            try:
                values[name] = declared[name].parse(value) if read else declared[name].check(value)
            except ArgumentError as error:
                faults.append(f"{error} ({source})")
    if faults:
        raise ArgumentError(f"report {where}: {'; '.join(faults)}\n{listing(declared)}")
    return values


def resolve_all(
    reports: Sequence[tuple[str, Mapping[str, Parameter], Mapping[str, Any]]], given: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Resolve the parameters of several reports; a given one must exist in all of them.

    Args:
        reports: Id, declared parameters and catalogue values of each report.
        given: Texts from the command line.

    Raises:
        ArgumentError: When a given parameter is unknown to some of the reports, or ill-typed.
    """
    for name in given:
        lacking = [report for report, declared, _ in reports if name not in declared]
        if lacking and len(lacking) < len(reports):
            raise ArgumentError(
                f"parameter {name!r} is unknown to {', '.join(lacking)}; with several reports a parameter "
                "must exist in each: name the reports that have it"
            )
    return {
        report: resolve(declared, catalogue=catalogue, given=given, where=report)
        for report, declared, catalogue in reports
    }


def listing(declared: Mapping[str, Parameter]) -> str:
    """Return the valid parameters as lines for a terminal.

    Examples:
        >>> print(listing({"weeks": Parameter("weeks", "int", 52, "horizon")}))
        valid parameters:
          weeks: int = 52  horizon
    """
    if not declared:
        return "this report has no parameters"
    lines = [f"{p.name}: {p.type} = {json.dumps(p.default)}" for p in declared.values()]
    width = max(map(len, lines))
    helps = [p.help for p in declared.values()]
    rows = [f"  {line:<{width}}  {text}".rstrip() for line, text in zip(lines, helps, strict=True)]
    return "\n".join(["valid parameters:", *rows])
