import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty_research.errors import ArgumentError
from loyalty_research.report.parameters import (
    Parameter,
    listing,
    parse_cell,
    read_notebook,
    read_parameters,
    resolve,
    resolve_all,
)

CELL = """
# what to analyse
dataset: str = "cdnow"  # name or path
as_of: str | None = None  # last day
weeks: int = 52
share: float = 0.5
strict: bool = True
arms: list[str] = ["a", "b"]
days: list[int] = [30, 60]
rates: list[float] = []
kind: Literal["fast", "slow"] = "fast"
"""


@pytest.fixture
def declared():
    return parse_cell(CELL)


def test_types_defaults_and_comments_are_read(declared):
    assert {name: p.type for name, p in declared.items()} == {
        "dataset": "str",
        "as_of": "str | None",
        "weeks": "int",
        "share": "float",
        "strict": "bool",
        "arms": "list[str]",
        "days": "list[int]",
        "rates": "list[float]",
        "kind": 'Literal["fast", "slow"]',
    }
    assert declared["arms"].default == ["a", "b"]
    assert declared["dataset"].help == "name or path"
    assert declared["weeks"].help == ""
    wrapped = parse_cell("days: int | None = (\n    None  # a comment that the formatter moved\n)\n")
    assert wrapped["days"].help == "a comment that the formatter moved"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("dataset", "a=b, c", "a=b, c"),
        ("dataset", "none", "none"),
        ("as_of", "none", None),
        ("as_of", "2024-01-31", "2024-01-31"),
        ("weeks", "-3", -3),
        ("share", "1", 1.0),
        ("strict", "no", False),
        ("arms", "x, y", ["x", "y"]),
        ("arms", '["x, y"]', ["x, y"]),
        ("arms", "", []),
        ("days", "7", [7]),
        ("rates", "[1, 2.5]", [1.0, 2.5]),
        ("kind", "slow", "slow"),
    ],
)
def test_texts_become_values_of_the_declared_type(declared, name, text, value):
    found = declared[name].parse(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("weeks", "3.5"),
        ("weeks", "many"),
        ("share", "nan"),
        ("share", "inf"),
        ("strict", "maybe"),
        ("days", "1,x"),
        ("days", "[1"),
        ("days", "[1.5]"),
        ("days", "[true]"),
        ("kind", "medium"),
    ],
)
def test_a_text_of_another_type_is_refused_with_the_type(declared, name, text):
    with pytest.raises(ArgumentError, match=rf"parameter {name} must be .*; got"):
        declared[name].parse(text)


@pytest.mark.parametrize(
    ("name", "value"), [("weeks", True), ("weeks", 1.0), ("dataset", 3), ("arms", "a"), ("weeks", None)]
)
def test_a_catalogue_value_of_another_type_is_refused(declared, name, value):
    with pytest.raises(ArgumentError, match=f"parameter {name} must be"):
        declared[name].check(value)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)), st.text(), st.integers())
def test_every_value_survives_the_command_line(numbers, word, count):
    assert Parameter("x", "list", [], item="float").parse(json.dumps(numbers)) == numbers
    assert Parameter("x", "str", "").parse(word) == word
    assert Parameter("x", "int", 0).parse(str(count)) == count


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("weeks = 52", "only annotated assignments"),
        ("weeks: int", "only annotated assignments"),
        ("import os", "only annotated assignments"),
        ("from typing import Any", "only annotated assignments"),
        ("weeks: int = 52\nweeks: int = 3", "line 2: weeks is assigned twice"),
        ("weeks: int = f()", "must be a literal"),
        ('weeks: int = "x"', "parameter weeks must be int"),
        ("path: Path = 'x'", "the type Path is not one of str, int"),
        ("x: dict[str, int] = {}", "is not one of"),
        ("x: list[bytes] = []", "is not one of"),
        ("x: int = (", "line 1"),
    ],
)
def test_a_bad_cell_is_refused(cell, said):
    with pytest.raises(ArgumentError, match=said.replace("(", r"\(")):
        parse_cell(cell)


def test_the_command_line_wins_over_the_catalogue_and_that_over_the_notebook(declared):
    found = resolve(declared, catalogue={"weeks": 26, "share": 1}, given={"weeks": "13"}, where="r")
    assert (found["weeks"], found["share"], found["dataset"]) == (13, 1.0, "cdnow")
    assert type(found["share"]) is float


def test_unknown_and_ill_typed_parameters_come_together_with_the_valid_ones(declared):
    with pytest.raises(ArgumentError) as caught:
        resolve(declared, catalogue={"weeks": "x"}, given={"wekes": "1"}, where="churn")
    said = str(caught.value)
    assert "report churn: parameter weeks must be int; got 'x' (catalogue)" in said
    assert "unknown parameter 'wekes' (command line); did you mean 'weeks'?" in said
    assert 'kind: Literal["fast", "slow"] = "fast"' in said
    assert 'dataset: str = "cdnow"' in said
    assert "name or path" in said


def test_a_parameter_for_several_reports_must_exist_in_each(declared):
    other = {"weeks": declared["weeks"]}
    both = [("a", declared, {}), ("b", other, {})]
    assert resolve_all(both, {"weeks": "1"})["b"] == {"weeks": 1}
    with pytest.raises(ArgumentError, match="parameter 'share' is unknown to b; with several reports"):
        resolve_all(both, {"share": "1"})
    with pytest.raises(ArgumentError, match="unknown parameter 'nothing'"):
        resolve_all(both, {"nothing": "1"})


def test_a_report_without_parameters_says_so():
    assert listing({}) == "this report has no parameters"


@pytest.mark.parametrize("count", [0, 2])
def test_a_notebook_has_exactly_one_parameters_cell(project, count):
    project.add("n", parameters=None)
    path = project.root / "notebooks" / "n.ipynb"
    document = json.loads(path.read_text())
    for cell in document["cells"][1 : 1 + count]:
        cell.update(cell_type="code", metadata={"tags": ["parameters"]})
    path.write_text(json.dumps(document))
    with pytest.raises(ArgumentError, match=f"exactly one code cell tagged 'parameters'; it has {count}"):
        read_parameters(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"nbformat": 3, "cells": []}', "\xff"])
def test_a_file_that_is_no_notebook_is_an_error(tmp_path, text):
    path = tmp_path / "n.ipynb"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ArgumentError, match=r"n\.ipynb is not a notebook"):
        read_notebook(path)
