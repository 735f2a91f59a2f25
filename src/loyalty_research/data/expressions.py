"""A small arithmetic language for column mapping: numbers, columns, ``+ - * /``, brackets.

``{expr: Quantity * UnitPrice}`` in ``data/datasets.yml`` is parsed here into a tree and written
out with every column quoted, so a mapping can neither run code nor reach another table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loyalty_research.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Expression", "parse", "quote"]

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<number>\d+(?:\.\d+)?|\.\d+)
      | (?P<name>[^\W\d]\w*)
      | `(?P<quoted>[^`]+)`
      | (?P<sign>[-+*/()])
    )""",
    re.VERBOSE,
)


def quote(name: str) -> str:
    """Return a name as an SQL identifier that can hold anything.

    Examples:
        >>> print(quote('the "net" price'))
        "the ""net"" price"
    """
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed formula.

    Attributes:
        text: As it was written.
        tree: Nested tuples: ``("number", text)``, ``("column", name)``, ``(sign, left, right)`` or
            ``("negate", inner)``.
        columns: Columns it reads, in order of appearance.
    """

    text: str
    tree: tuple[object, ...]
    columns: tuple[str, ...]

    def to_sql(self, column: Callable[[str], str] = quote) -> str:
        """Write the formula as SQL.

        Args:
            column: Turns a column name into the SQL that reads it as a number.
        """
        return _write(self.tree, column)


def _write(tree: tuple[object, ...], column: Callable[[str], str]) -> str:
    kind = tree[0]
    if kind == "number":
        return f"CAST({tree[1]} AS DOUBLE)"
    if kind == "column":
        return column(str(tree[1]))
    inner = [_write(part, column) for part in tree[1:] if isinstance(part, tuple)]
    if kind == "negate":
        return f"(-{inner[0]})"
    if kind == "/":
        # a division by zero has no answer: null, which the check then reports
        return f"({inner[0]} / nullif({inner[1]}, 0))"
    return f"({inner[0]} {kind} {inner[1]})"


class _Parser:
    """Recursive descent over the tokens: sum, product, sign, atom."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._split(text))
        self.place = 0
        self.columns: list[str] = []

    def _split(self, text: str) -> list[tuple[str, str]]:
        found, at = [], 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                rest = text[at:].strip()
                raise ContractError(
                    f"the expression {text!r} cannot be read from {rest!r} on: it may hold column names "
                    "(in `backquotes` where they contain spaces), numbers, + - * / and brackets"
                )
            kind = str(match.lastgroup)
            found.append((kind, match.group(kind)))
            at = match.end()
        return found

    def fail(self) -> ContractError:
        seen = self.tokens[self.place][1] if self.place < len(self.tokens) else "its end"
        return ContractError(f"the expression {self.text!r} is not arithmetic: it breaks at {seen!r}")

    def peek(self) -> str | None:
        if self.place < len(self.tokens) and self.tokens[self.place][0] == "sign":
            return self.tokens[self.place][1]
        return None

    def chain(self, signs: str, inner: Callable[[], tuple[object, ...]]) -> tuple[object, ...]:
        tree = inner()
        while (sign := self.peek()) is not None and sign in signs:
            self.place += 1
            tree = (sign, tree, inner())
        return tree

    def total(self) -> tuple[object, ...]:
        return self.chain("+-", self.product)

    def product(self) -> tuple[object, ...]:
        return self.chain("*/", self.signed)

    def signed(self) -> tuple[object, ...]:
        if self.peek() in {"-", "+"}:
            negative = self.peek() == "-"
            self.place += 1
            inner = self.signed()
            return ("negate", inner) if negative else inner
        return self.atom()

    def atom(self) -> tuple[object, ...]:
        if self.place >= len(self.tokens):
            raise self.fail()
        kind, value = self.tokens[self.place]
        if kind == "number":
            self.place += 1
            return ("number", value)
        if kind in {"name", "quoted"}:
            self.place += 1
            if value not in self.columns:
                self.columns.append(value)
            return ("column", value)
        if value == "(":
            self.place += 1
            tree = self.total()
            if self.peek() != ")":
                raise self.fail()
            self.place += 1
            return tree
        raise self.fail()


def parse(text: str) -> Expression:
    """Read a formula.

    Args:
        text: Columns (in backquotes where their names hold spaces or signs), numbers,
            ``+ - * /`` and brackets, with the usual precedence.

    Returns:
        The formula; dividing by zero gives null.

    Raises:
        ContractError: When the text is anything else.

    Examples:
        >>> parse("Quantity * `Unit Price`").columns
        ('Quantity', 'Unit Price')
        >>> print(parse("-(a + 1) / b").to_sql())
        ((-("a" + CAST(1 AS DOUBLE))) / nullif("b", 0))
    """
    if len(text) > 1000:
        raise ContractError("the expression is longer than 1,000 characters")
    parser = _Parser(text)
    try:
        tree = parser.total()
    except RecursionError:
        raise ContractError("the expression has too many nested brackets") from None
    if parser.place != len(parser.tokens):
        raise parser.fail()
    return Expression(text, tree, tuple(parser.columns))
