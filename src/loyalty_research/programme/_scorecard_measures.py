"""The measures of a scorecard, put together from their topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty_research.programme._scorecard_experience import EXPERIENCE, EXPERIENCE_OPTIONS
from loyalty_research.programme._scorecard_growth import GROWTH, GROWTH_OPTIONS
from loyalty_research.programme._scorecard_members import MEMBERS
from loyalty_research.programme._scorecard_purchases import PURCHASES
from loyalty_research.programme._scorecard_revenue import CONCENTRATION, REVENUE
from loyalty_research.programme._scorecard_surveys import SURVEY_OPTIONS, SURVEYS

if TYPE_CHECKING:
    from loyalty_research.programme._scorecard_sheet import Part

__all__ = ["MEASURES", "OPTIONS"]

MEASURES: Part = {
    **PURCHASES,
    **REVENUE,
    **MEMBERS,
    **CONCENTRATION,
    **GROWTH,
    **EXPERIENCE,
    **SURVEYS,
}
"""Key to name, measure, and whether more of it is better, in the order of the card."""

OPTIONS: tuple[str, ...] = (*GROWTH_OPTIONS, *EXPERIENCE_OPTIONS, *SURVEY_OPTIONS)
"""Names that ``options`` of the scorecard may have: those the topics declare."""
