"""A page laid down before an experiment: kept as JSON, told apart by a fingerprint, held against the analysis."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message

if TYPE_CHECKING:
    from loyalty_research.display import Html

__all__ = ["Registration", "iso_date", "kept_check"]

_FORMAT = 1


def iso_date(value: dt.date | str | None, *, name: str = "registered_on") -> str | None:
    """Return a day as ISO text.

    Args:
        value: A date or its ISO text; None stays None.
        name: What messages call it.

    Raises:
        ArgumentError: When it is no date.

    Examples:
        >>> iso_date("2026-01-31")
        '2026-01-31'
    """
    if value is None:
        return None
    try:
        day = value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value))
    except ValueError as error:
        raise ArgumentError(f"{name} must be a date such as '2026-01-31'; got {value!r}") from error
    return day.isoformat()[:10]


def kept_check(name: str, kept: bool, planned: str, found: str) -> Check:
    """Return whether something was done as registered; a deviation is named with both sides.

    Args:
        name: What was registered, in a reader's words.
        kept: Whether it was kept.
        planned: What the page says.
        found: What was done.
    """
    if kept:
        return Check(name, "passed", planned)
    return Check(
        name,
        "failed",
        message("registered: {planned}; analysed: {found}", planned=planned, found=found),
    )


@dataclass(frozen=True)
class Registration:
    """Base of design cards: frozen, JSON both ways, altered text refused.

    Subclasses are frozen dataclasses of JSON-able fields, give their ``lines`` and say with
    ``_revived`` how fields read from JSON get their types back.
    """

    caption: ClassVar[str] = ""

    def lines(self) -> list[tuple[str, str]]:
        """Return what the page says: heading and words."""
        raise TypeError(f"{type(self).__name__} has no lines")

    @classmethod
    def _revived(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return fields

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dictionary."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @property
    def fingerprint(self) -> str:
        """Short hash of everything on the card; any change changes it."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the card as JSON text, its fingerprint included."""
        page = {"format": _FORMAT, "fingerprint": self.fingerprint, "card": self.to_dict()}
        return json.dumps(page, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a card that :meth:`to_json` wrote.

        Args:
            text: The JSON text.

        Raises:
            ContractError: When the text is no such card, or was altered since.
        """
        try:
            page = json.loads(text)
            card, stated = cls(**cls._revived(dict(page["card"]))), page["fingerprint"]
        except (ValueError, KeyError, TypeError) as error:
            raise ContractError(
                f"the text is no design card; write one with {cls.__name__}.to_json()"
            ) from error
        if card.fingerprint != stated:
            raise ContractError(
                f"the design card was altered: it hashes to {card.fingerprint} and states {stated}"
            )
        return card

    def __repr__(self) -> str:
        return "\n".join(f"{heading}: {words}" for heading, words in self.lines())

    def page(self) -> Html:
        """Return the page as a table to show."""
        import pandas as pd

        from loyalty_research.display import table

        frame = pd.DataFrame(self.lines(), columns=[message("What"), message("As registered")])
        return table(frame, caption=type(self).caption or message("Design, to be registered beforehand"))

    def _repr_html_(self) -> str:
        return self.page().html
