"""What card results share on a page, and what stands where an analysis cannot be made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, ClassVar, Literal

from loyalty_research.estimates import Finding, Result
from loyalty_research.i18n import message

if TYPE_CHECKING:
    import pandas as pd

    from loyalty_research.estimates import Estimate

__all__ = ["CardResult", "NotAvailable"]


@dataclass(frozen=True, repr=False)
class CardResult(Result):
    """Base of the results of a card experiment: a table in words, and findings for the index."""

    finding: ClassVar[str] = ""
    rests_on_model: ClassVar[bool] = False

    def _headline(self) -> Estimate | None:
        """Return the estimate behind the verdict."""
        return None

    def _finding_id(self) -> str:
        """Return the name of the finding."""
        return self.finding

    def findings(self, *, section: str = "") -> list[Finding]:
        """Return what a page tells of the result: its verdict with the number behind it.

        Args:
            section: Heading the finding belongs under.
        """
        if self.failed_gates:
            return [Finding(self._finding_id(), self.verdict(), None, "suppressed", section)]
        status: Literal["finding", "caution"] = "caution" if self.rests_on_model else "finding"
        return [Finding(self._finding_id(), self.verdict(), self._headline(), status, section)]

    def table(self) -> pd.DataFrame:
        """Return the estimates as words for a page, each in its own unit."""
        import pandas as pd

        rows = []
        for row in self._rows():
            e = row.estimate
            known = not (math.isnan(e.low) and math.isnan(e.high))
            rows.append(
                {
                    message("Measure"): row.metric,
                    message("Arm"): row.group or message("all arms"),
                    message("Estimate"): e.format(),
                    message("Interval"): message(
                        "{low} to {high}", low=e.format(e.low), high=e.format(e.high)
                    )
                    if known
                    else "–",
                    message("Method"): e.method,
                    message("n"): e.n,
                    message("What is estimated"): row.estimand or "–",
                }
            )
        return pd.DataFrame(rows)


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
