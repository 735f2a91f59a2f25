from __future__ import annotations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research.data.expressions import parse, quote
from loyalty_research.errors import ContractError

VALUES = {"a": 3.0, "b": -2.0, "c d": 0.5}


def evaluate(text: str) -> float | None:
    columns = ", ".join(f"CAST({value} AS DOUBLE) AS {quote(name)}" for name, value in VALUES.items())
    return duckdb.sql(f"SELECT {parse(text).to_sql()} FROM (SELECT {columns})").fetchall()[0][0]


LEAVES = st.sampled_from(["a", "b", "`c d`", "2", "0.25", "7"])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(" ".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-({text})"),
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_value_equals_python_arithmetic(text):
    python = text.replace("`c d`", "cd")
    expected = eval(python, {"a": 3.0, "b": -2.0, "cd": 0.5})
    assert evaluate(text) == pytest.approx(expected, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("8 / 2 / 2", 2),
        ("8 - 2 - 2", 4),
        ("-a + 1", -2),
        ("a * -b", 6),
    ],
)
def test_precedence(text, value):
    assert evaluate(text) == value


def test_division_by_zero_has_no_answer():
    assert evaluate("a / (b + 2)") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a +",
        "(a",
        "a b",
        "a; DROP TABLE x",
        "read_csv('x')",
        "sum(a)",
        "a -- b; c",
        "a || b",
        "'text'",
        "a ** 2 )",
        "`a` `b`",
        "1e400x",
        "a\x00",
        "(" * 900,
        "(" * 2000,
    ],
)
def test_anything_but_arithmetic_is_refused(text):
    with pytest.raises(ContractError, match="expression"):
        parse(text)


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1, max_size=20).filter(lambda t: "`" not in t and "\x00" not in t))
def test_a_quoted_column_is_only_ever_a_column(name):
    parsed = parse(f"`{name}` * 2")
    assert parsed.columns == (name,)
    con = duckdb.connect()
    con.execute(f"CREATE TABLE t AS SELECT 21 AS {quote(name)}")
    assert con.execute(f"SELECT {parsed.to_sql()} FROM t").fetchall() == [(42.0,)]


def test_columns_are_listed_once_in_order():
    assert parse("b * a + b / `c d`").columns == ("b", "a", "c d")
