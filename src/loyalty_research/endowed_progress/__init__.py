"""Endowed progress: plan, check, analyse and cost a stamp-card experiment."""

from loyalty_research.endowed_progress._outcome import NotAvailable
from loyalty_research.endowed_progress._words import chance_words
from loyalty_research.endowed_progress.completion import ArmComparison, CompletionResult
from loyalty_research.endowed_progress.contrasts import ContrastsResult
from loyalty_research.endowed_progress.designs import (
    Contrast,
    Design,
    DesignPlan,
    head_start_doses,
    illusory_head_start,
    reason_by_currency,
)
from loyalty_research.endowed_progress.economics import Decision, EconomicsResult
from loyalty_research.endowed_progress.experiment import CardExperiment
from loyalty_research.endowed_progress.gradient import GoalGradientResult, HazardResult
from loyalty_research.endowed_progress.planning import Plan, plan
from loyalty_research.endowed_progress.preview import Preview
from loyalty_research.endowed_progress.published import Published, published, published_for
from loyalty_research.endowed_progress.pulled_forward import PulledForwardResult
from loyalty_research.endowed_progress.registration import DesignCard
from loyalty_research.endowed_progress.reset import PostRewardResult
from loyalty_research.endowed_progress.timing import TimingResult
from loyalty_research.endowed_progress.truth import beside_truth
from loyalty_research.endowed_progress.visits import VisitsResult

__all__ = [
    "ArmComparison",
    "CardExperiment",
    "CompletionResult",
    "Contrast",
    "ContrastsResult",
    "Decision",
    "Design",
    "DesignCard",
    "DesignPlan",
    "EconomicsResult",
    "GoalGradientResult",
    "HazardResult",
    "NotAvailable",
    "Plan",
    "PostRewardResult",
    "Preview",
    "Published",
    "PulledForwardResult",
    "TimingResult",
    "VisitsResult",
    "beside_truth",
    "chance_words",
    "head_start_doses",
    "illusory_head_start",
    "plan",
    "published",
    "published_for",
    "reason_by_currency",
]
