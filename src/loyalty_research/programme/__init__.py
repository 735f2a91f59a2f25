"""The programme itself: does it work, what does it cost, whom does it reach, what is promised.

Every measure comes with its interval and its denominator; what the data cannot carry is said to be
not measurable, with the reason.
"""

from __future__ import annotations

from loyalty_research.programme.campaigns import (
    CampaignFunnel,
    ConsentGate,
    campaign_funnel,
    consent_gate,
)
from loyalty_research.programme.ledger import PointsLedger, points_ledger
from loyalty_research.programme.retention import (
    RepeatPurchase,
    Retention,
    repeat_purchase_rate,
    retention_rate,
)
from loyalty_research.programme.surveys import (
    CustomerEffort,
    CustomerSatisfaction,
    NetPromoterScore,
    customer_effort_score,
    customer_satisfaction,
    net_promoter_score,
)

__all__ = [
    "CampaignFunnel",
    "ConsentGate",
    "CustomerEffort",
    "CustomerSatisfaction",
    "NetPromoterScore",
    "PointsLedger",
    "RepeatPurchase",
    "Retention",
    "campaign_funnel",
    "consent_gate",
    "customer_effort_score",
    "customer_satisfaction",
    "net_promoter_score",
    "points_ledger",
    "repeat_purchase_rate",
    "retention_rate",
]
