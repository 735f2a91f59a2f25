"""What stands where an analysis cannot be made: the reason, in place of a result."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from loyalty_research.i18n import message

if TYPE_CHECKING:
    from loyalty_research.estimates import Finding

__all__ = ["NotAvailable"]


@dataclass(frozen=True)
class NotAvailable:
    """The reason why the data carry no such analysis; false where a result is true.

    Attributes:
        reason: Why.

    Examples:
        >>> missing = NotAvailable("counts have no dates")
        >>> bool(missing), missing.verdict()
        (False, 'Not available: counts have no dates.')
    """

    reason: str

    def __bool__(self) -> bool:
        return False

    def verdict(self) -> str:
        """Return the reason as a sentence."""
        return message("Not available: {reason}.", reason=self.reason.rstrip("."))

    def findings(self, *, section: str = "") -> list[Finding]:
        """Return nothing: there is nothing to tell."""
        del section
        return []

    def _repr_html_(self) -> str:
        return f'<p class="lr-prose">{escape(self.verdict())}</p>'
