"""A programme without money's worth: members get a benefit, and may stay longer for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from loyalty_research.i18n import message
from loyalty_research.mechanisms import NonMonetary
from loyalty_research.simulate._members import MemberTruth
from loyalty_research.simulate._population import LAUNCH
from loyalty_research.simulate._programme_tables import costs_table, spell_ends
from loyalty_research.simulate._rules import member_sales
from loyalty_research.simulate._scheme import Scheme
from loyalty_research.simulate._truth import number
from loyalty_research.simulate._world import Course

if TYPE_CHECKING:
    import pandas as pd

    from loyalty_research.simulate._population import Floats
    from loyalty_research.simulate._scheme import Shop

__all__ = ["BenefitScheme", "BenefitTruth"]


@dataclass(frozen=True, kw_only=True)
class BenefitTruth(MemberTruth):
    """Parameters of the programme without money's worth, beside those of its members.

    By default it changes nothing but how long customers stay.
    """

    rate_effect: float = number(0.0, -1, 10)
    spend_effect: float = number(0.0, -1, 10)
    hazard_ratio: float = number(0.7, 0, 100, open_low=True)


class BenefitScheme(Scheme[BenefitTruth, Course]):
    """Members are served better and leave more rarely."""

    kind: ClassVar[str] = "non-monetary"

    @classmethod
    def default_rules(cls, truth: BenefitTruth) -> NonMonetary:
        """Return early access at 3 EUR a member and year."""
        del truth
        return NonMonetary(benefit="early access to new goods", member_cost=3.0)

    def description(self) -> str:
        """Return one sentence that says what the data are."""
        return message(
            "Simulated shop that launches a programme without money's worth, with members, non-members and "
            "invitations drawn at random; the truth behind it is disclosed."
        )

    def course(self, joined: Floats, stop: int, *, start: int = 0) -> Course:
        """Play out days [start, stop) when customers join on the days ``joined``."""
        return self.world.between(start, stop).play(joined)

    def leaves(self, shop: Shop[Course]) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
        """Return what the benefit costs, and what it cost altogether."""
        rules = cast("NonMonetary", self.rules)
        last = shop.world.horizon
        until = np.minimum(spell_ends(shop, self.truth, self.seed), last)
        days = float((until - shop.joined)[shop.joined < last].sum())
        sales = member_sales(shop.course.orders, shop.course.member)
        cost = float(rules.earn(sales)["cost"].sum()) if len(sales) else 0.0
        rates = [("benefit", "benefit", "per_member_month", round(rules.member_cost / 12, 2))]
        facts = {
            "benefit_cost": cost,
            "member_months": days / (365.25 / 12),
            "days_observed": last - LAUNCH,
        }
        return {"costs": costs_table(*rates)}, facts
