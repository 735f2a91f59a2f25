"""Names of covariates and groups as a reader would say them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.i18n import message

if TYPE_CHECKING:
    from loyalty_research.churn.design import Design

FEW = 5

__all__ = ["FEW", "covariate_words", "group_words", "shown_count", "term_words", "with_group"]


def covariate_words(name: str) -> str:
    """Return a column name as words.

    Examples:
        >>> covariate_words("first_order"), covariate_words("is_member")
        ('first order', 'member')
    """
    return name.removeprefix("is_").removeprefix("has_").replace("_", " ")


def group_words(by: str | None, label: Any) -> str:
    """Return a group's label as words.

    Examples:
        >>> group_words("is_member", False), group_words("region", "north")
        ('not member', 'north')
    """
    if by is not None and isinstance(label, (bool, np.bool_)):
        return covariate_words(by) if label else message("not {name}", name=covariate_words(by))
    return str(label)


def with_group(by: str | None, label: Any) -> str:
    """Return a group with the covariate it belongs to, quoted, for the middle of a sentence.

    Examples:
        >>> with_group("region", "north"), with_group("is_member", True)
        ("the group 'region north'", "the group 'member'")
    """
    if by is None:
        return message("all customers")
    if isinstance(label, (bool, np.bool_)):
        return message("the group '{name}'", name=group_words(by, label))
    return message("the group '{name}'", name=f"{covariate_words(by)} {label}")


def term_words(design: Design, term: str) -> str:
    """Return a model column as words, with what it is compared with.

    Examples:
        >>> from loyalty_research.churn.design import Design
        >>> design = Design(("region[T.north]", "age"), ("region", "age"), {"region": ("east", "north")})
        >>> term_words(design, "region[T.north]"), term_words(design, "age")
        ('region north against east', 'age')
    """
    for name, levels in design.levels.items():
        for level in levels[1:]:
            if term == f"{name}[T.{level}]":
                return message(
                    "{covariate} {level} against {reference}",
                    covariate=covariate_words(name),
                    level=level,
                    reference=levels[0],
                )
    return covariate_words(term) if term in design.variables else term


def shown_count(value: float) -> str:
    """Return a count of customers for a page: 1 to 4 are not told apart.

    Examples:
        >>> shown_count(1200), shown_count(3), shown_count(0)
        ('1,200', '<5', '0')
    """
    return f"<{FEW}" if 0 < value < FEW else f"{value:,.0f}"
