"""The programme itself: does it work, what does it cost, whom does it reach, what is promised.

Every measure comes with its interval and its denominator; what the data cannot carry is said to be
not measurable, with the reason.
"""

from __future__ import annotations

from loyalty_research.programme.acquisition_cost import AcquisitionCost, acquisition_and_retention_cost
from loyalty_research.programme.association import adjusted_rand_index, cramers_v
from loyalty_research.programme.assumption_odds import AssumptionOdds, assumption_odds
from loyalty_research.programme.bunching import Bunching, bunching_at_line
from loyalty_research.programme.campaign_page import CampaignStudy, campaign_study
from loyalty_research.programme.campaigns import (
    CampaignFunnel,
    ConsentGate,
    campaign_funnel,
    consent_gate,
)
from loyalty_research.programme.carts import CartAbandonment, cart_abandonment
from loyalty_research.programme.claims import SpendByAge, spend_by_age
from loyalty_research.programme.contact_dose import (
    ContactDoseResponse,
    contact_dose_response,
)
from loyalty_research.programme.contact_presets import (
    CONTACT_RULES,
    ContactRule,
    ContactRules,
    audit_contact_rules,
    contact_rule,
)
from loyalty_research.programme.contact_rules import (
    ContactAudit,
    SunsetTest,
    audit_contacts,
    messages_per_month,
    sunset_policy_test,
)
from loyalty_research.programme.contact_streaks import UnopenedStreaks, unopened_streaks
from loyalty_research.programme.customer_loss import CustomerLoss, customer_loss_value
from loyalty_research.programme.cycle_mixture import CycleMixture, cycle_mixture
from loyalty_research.programme.day_offers import (
    OfferDays,
    offer_days,
)
from loyalty_research.programme.deferral import PointsDeferral, points_deferral
from loyalty_research.programme.deferral_schedule import DeferralSchedule, deferral_schedule
from loyalty_research.programme.demotion import DemotionStudy, demotion_event_study
from loyalty_research.programme.early_access import EarlyAccess, early_access
from loyalty_research.programme.emotional import LoyaltyKinds, emotional_and_functional_loyalty
from loyalty_research.programme.frequency import (
    FrequencyRatio,
    PurchaseFrequency,
    purchase_frequency,
    purchase_frequency_ratio,
)
from loyalty_research.programme.gift_costs import GiftCost, gift_cost
from loyalty_research.programme.grace import GraceWhatIf, grace_period_what_if
from loyalty_research.programme.gratitude import (
    GratitudeLatency,
    gratitude_latency,
)
from loyalty_research.programme.growth import OrganicGrowth, organic_growth
from loyalty_research.programme.incentives import IncentiveBias, incentive_bias
from loyalty_research.programme.interrupted_series import InterruptedSeries, interrupted_time_series
from loyalty_research.programme.ledger import PointsLedger, points_ledger
from loyalty_research.programme.liability import (
    ExpiryWhatIf,
    RedemptionLiability,
    RedemptionTriangle,
    expiry_what_if,
    redemption_liability,
    redemption_triangle,
)
from loyalty_research.programme.mechanism_page import MechanismStudy, mechanism_study
from loyalty_research.programme.mechanism_text import read_scenario
from loyalty_research.programme.mechanisms import (
    BreakEven,
    Mechanism,
    MechanismAudit,
    MechanismCost,
    mechanism,
    preset,
    presets,
)
from loyalty_research.programme.membership import (
    ActiveMembership,
    active_membership_rate,
)
from loyalty_research.programme.offer_segments import OfferBySegment, offer_by_segment
from loyalty_research.programme.offers import (
    CouponCannibalisation,
    OfferLift,
    coupon_cannibalisation,
    offer_lift,
)
from loyalty_research.programme.page_options import named_numbers, scorecard_options
from loyalty_research.programme.personal_dates import PersonalDateOffer, personal_date_offer
from loyalty_research.programme.promises import PromisesStudy, promises_study
from loyalty_research.programme.redemption import RedemptionRate, redemption_rate
from loyalty_research.programme.redemption_channels import RedemptionRatio, redemption_by_channel
from loyalty_research.programme.referral_rewards import ReferralReward, referral_reward
from loyalty_research.programme.referrals import ReferralRate, referral_rate
from loyalty_research.programme.referred_value import ReferredValue, referred_customer_value
from loyalty_research.programme.relationship_segments import (
    ConsentOfTheYoung,
    consent_of_the_young,
    published_rules,
    relationship_segments,
)
from loyalty_research.programme.response import ResponseWeights, response_weights
from loyalty_research.programme.response_needed import extra_orders_to_break_even
from loyalty_research.programme.retention import (
    RepeatPurchase,
    Retention,
    repeat_purchase_rate,
    retention_rate,
)
from loyalty_research.programme.returns import (
    ReturnOnInvestment,
    retention_multiplier,
    retention_table,
    return_on_investment,
)
from loyalty_research.programme.revenue import (
    RevenueConcentration,
    RevenueRetention,
    period_revenue,
    revenue_concentration,
    revenue_retention,
)
from loyalty_research.programme.scenarios import Scenario, assumed_scenario
from loyalty_research.programme.scorecard import (
    Scorecard,
    ScorecardLine,
    scorecard,
)
from loyalty_research.programme.scorecard_page import ScorecardStudy, scorecard_study
from loyalty_research.programme.segment_outcomes import (
    SegmentLater,
    SegmentOutcomes,
    segment_outcomes,
    variance_explained,
)
from loyalty_research.programme.segment_page import SegmentStudy, segment_study
from loyalty_research.programme.segment_stability import (
    SegmentOverlap,
    SegmentSizes,
    SegmentStability,
    segment_overlap,
    segment_sizes,
    segment_stability,
)
from loyalty_research.programme.segments import (
    age_bands,
    banded,
    loyalty_segments,
    persons_and_organisations,
    promoter_groups,
    purchase_cycles,
    rfm_segments,
)
from loyalty_research.programme.service import ServiceLevel, service_level
from loyalty_research.programme.service_retention import ServiceRetention, service_and_retention
from loyalty_research.programme.stated import StatedAndRevealed, stated_and_revealed
from loyalty_research.programme.surveys import (
    CustomerEffort,
    CustomerSatisfaction,
    NetPromoterScore,
    customer_effort_score,
    customer_satisfaction,
    net_promoter_score,
)
from loyalty_research.programme.tenure import CustomerTenure, customer_tenure
from loyalty_research.programme.tier_spells import TierStates, qualifying_activity, tier_spells, tier_states
from loyalty_research.programme.tiers import TierMigration, TierReach, tier_migration
from loyalty_research.programme.tornado import AssumptionTornado, assumption_tornado, default_swings
from loyalty_research.programme.value_segments import ValueSegments, value_segments
from loyalty_research.programme.wallet import ShareOfWallet, share_of_wallet
from loyalty_research.programme.what_if import MechanismComparison, compare_mechanisms

__all__ = [
    "CONTACT_RULES",
    "AcquisitionCost",
    "ActiveMembership",
    "AssumptionOdds",
    "AssumptionTornado",
    "BreakEven",
    "Bunching",
    "CampaignFunnel",
    "CampaignStudy",
    "CartAbandonment",
    "ConsentGate",
    "ConsentOfTheYoung",
    "ContactAudit",
    "ContactDoseResponse",
    "ContactRule",
    "ContactRules",
    "CouponCannibalisation",
    "CustomerEffort",
    "CustomerLoss",
    "CustomerSatisfaction",
    "CustomerTenure",
    "CycleMixture",
    "DeferralSchedule",
    "DemotionStudy",
    "EarlyAccess",
    "ExpiryWhatIf",
    "FrequencyRatio",
    "GiftCost",
    "GraceWhatIf",
    "GratitudeLatency",
    "IncentiveBias",
    "InterruptedSeries",
    "LoyaltyKinds",
    "Mechanism",
    "MechanismAudit",
    "MechanismComparison",
    "MechanismCost",
    "MechanismStudy",
    "NetPromoterScore",
    "OfferBySegment",
    "OfferDays",
    "OfferLift",
    "OrganicGrowth",
    "PersonalDateOffer",
    "PointsDeferral",
    "PointsLedger",
    "PromisesStudy",
    "PurchaseFrequency",
    "RedemptionLiability",
    "RedemptionRate",
    "RedemptionRatio",
    "RedemptionTriangle",
    "ReferralRate",
    "ReferralReward",
    "ReferredValue",
    "RepeatPurchase",
    "ResponseWeights",
    "Retention",
    "ReturnOnInvestment",
    "RevenueConcentration",
    "RevenueRetention",
    "Scenario",
    "Scorecard",
    "ScorecardLine",
    "ScorecardStudy",
    "SegmentLater",
    "SegmentOutcomes",
    "SegmentOverlap",
    "SegmentSizes",
    "SegmentStability",
    "SegmentStudy",
    "ServiceLevel",
    "ServiceRetention",
    "ShareOfWallet",
    "SpendByAge",
    "StatedAndRevealed",
    "SunsetTest",
    "TierMigration",
    "TierReach",
    "TierStates",
    "UnopenedStreaks",
    "ValueSegments",
    "acquisition_and_retention_cost",
    "active_membership_rate",
    "adjusted_rand_index",
    "age_bands",
    "assumed_scenario",
    "assumption_odds",
    "assumption_tornado",
    "audit_contact_rules",
    "audit_contacts",
    "banded",
    "bunching_at_line",
    "campaign_funnel",
    "campaign_study",
    "cart_abandonment",
    "compare_mechanisms",
    "consent_gate",
    "consent_of_the_young",
    "contact_dose_response",
    "contact_rule",
    "coupon_cannibalisation",
    "cramers_v",
    "customer_effort_score",
    "customer_loss_value",
    "customer_satisfaction",
    "customer_tenure",
    "cycle_mixture",
    "default_swings",
    "deferral_schedule",
    "demotion_event_study",
    "early_access",
    "emotional_and_functional_loyalty",
    "expiry_what_if",
    "extra_orders_to_break_even",
    "gift_cost",
    "grace_period_what_if",
    "gratitude_latency",
    "incentive_bias",
    "interrupted_time_series",
    "loyalty_segments",
    "mechanism",
    "mechanism_study",
    "messages_per_month",
    "named_numbers",
    "net_promoter_score",
    "offer_by_segment",
    "offer_days",
    "offer_lift",
    "organic_growth",
    "period_revenue",
    "personal_date_offer",
    "persons_and_organisations",
    "points_deferral",
    "points_ledger",
    "preset",
    "presets",
    "promises_study",
    "promoter_groups",
    "published_rules",
    "purchase_cycles",
    "purchase_frequency",
    "purchase_frequency_ratio",
    "qualifying_activity",
    "read_scenario",
    "redemption_by_channel",
    "redemption_liability",
    "redemption_rate",
    "redemption_triangle",
    "referral_rate",
    "referral_reward",
    "referred_customer_value",
    "relationship_segments",
    "repeat_purchase_rate",
    "response_weights",
    "retention_multiplier",
    "retention_rate",
    "retention_table",
    "return_on_investment",
    "revenue_concentration",
    "revenue_retention",
    "rfm_segments",
    "scorecard",
    "scorecard_options",
    "scorecard_study",
    "segment_outcomes",
    "segment_overlap",
    "segment_sizes",
    "segment_stability",
    "segment_study",
    "service_and_retention",
    "service_level",
    "share_of_wallet",
    "spend_by_age",
    "stated_and_revealed",
    "sunset_policy_test",
    "tier_migration",
    "tier_spells",
    "tier_states",
    "unopened_streaks",
    "value_segments",
    "variance_explained",
]
