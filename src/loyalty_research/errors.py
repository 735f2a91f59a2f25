"""Errors of the package: each says what is wrong, where, how often, and the mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "ArgumentError",
    "ContractError",
    "ConvergenceError",
    "DesignError",
    "ImmortalTimeError",
    "LoyaltyError",
    "MissingExtraError",
    "MissingTableError",
    "at_rows",
    "listed",
]


class LoyaltyError(Exception):
    """Base of every error the package raises on purpose."""


class ArgumentError(LoyaltyError, ValueError):
    """An option has a value outside its declared range or choices."""


class ContractError(LoyaltyError, ValueError):
    """A table, column or row breaks the data contract."""


class MissingTableError(ContractError, KeyError):
    """A dataset lacks a table; a KeyError too, so that ``in`` and ``get`` of a mapping work."""

    def __str__(self) -> str:
        return str(self.args[0])


class DesignError(LoyaltyError, ValueError):
    """The data cannot carry the design that was asked for."""


class ImmortalTimeError(LoyaltyError, ValueError):
    """A covariate is known only after the interval it is used in has started."""


class ConvergenceError(LoyaltyError, RuntimeError):
    """A fit did not reach its optimum, so it has no answer to give."""


class MissingExtraError(LoyaltyError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: The module that could not be imported.
        extra: The extra of this project that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; it comes with the extra '{extra}': "
            f"pip install 'loyalty-research[{extra}]'"
        )
        self.package = package
        self.extra = extra


def at_rows(positions: Sequence[int], *, most: int = 5) -> str:
    """Say where bad rows are, by position only (identifiers never reach a message).

    Args:
        positions: Row positions, 0-based.
        most: How many to name.

    Examples:
        >>> at_rows([3, 8, 11])
        '3 rows (first at positions 3, 8, 11)'
        >>> at_rows(range(1000), most=2)
        '1,000 rows (first at positions 0, 1)'
    """
    count = len(positions)
    first = ", ".join(str(int(p)) for p in positions[:most])
    noun = "row" if count == 1 else "rows"
    where = "position" if count == 1 else "positions"
    lead = "at" if count == 1 else "first at"
    return f"{count:,} {noun} ({lead} {where} {first})"


def listed(labels: Iterable[object], *, most: int = 12) -> str:
    """Name the labels of a column, or only count them where they may be identifiers.

    Args:
        labels: Distinct labels, in the order to show.
        most: Up to how many are named.

    Examples:
        >>> listed(["control", "treated"])
        'control, treated'
        >>> listed(range(1500))
        '1,500 different values'
    """
    found = [str(label) for label in labels]
    return ", ".join(found) if len(found) <= most else f"{len(found):,} different values"
