"""Programme rules and their closed forms: what a mechanism promises, costs and needs to pay.

Every mechanism is a frozen dataclass that says its rules in a sentence, applies them to a table of
transactions, audits itself and gives its break-even. Amounts are in the one currency of the data.
"""

from __future__ import annotations

from loyalty_research.mechanisms._base import (
    BreakEven,
    Mechanism,
    MechanismAudit,
    MechanismCost,
    Settlement,
)
from loyalty_research.mechanisms._closed import (
    days_to_line,
    expected_multiples,
    orders_to_line,
    reach_probability,
)
from loyalty_research.mechanisms.coalition import Coalition
from loyalty_research.mechanisms.kinds import KINDS, mechanism
from loyalty_research.mechanisms.membership import NonMonetary, NoProgramme, PaidMembership
from loyalty_research.mechanisms.points import Points, StoredValue
from loyalty_research.mechanisms.presets import PRESETS, preset, presets
from loyalty_research.mechanisms.stamps import StampCard
from loyalty_research.mechanisms.sweepstakes import Sweepstakes
from loyalty_research.mechanisms.tiers import Tiers

__all__ = [
    "KINDS",
    "PRESETS",
    "BreakEven",
    "Coalition",
    "Mechanism",
    "MechanismAudit",
    "MechanismCost",
    "NoProgramme",
    "NonMonetary",
    "PaidMembership",
    "Points",
    "Settlement",
    "StampCard",
    "StoredValue",
    "Sweepstakes",
    "Tiers",
    "days_to_line",
    "expected_multiples",
    "mechanism",
    "orders_to_line",
    "preset",
    "presets",
    "reach_probability",
]
