"""Endowed progress: plan, check, analyse and cost a stamp-card experiment."""

from loyalty_research.endowed_progress._outcome import NotAvailable
from loyalty_research.endowed_progress.completion import ArmComparison, CompletionResult
from loyalty_research.endowed_progress.experiment import CardExperiment
from loyalty_research.endowed_progress.gradient import GoalGradientResult, HazardResult
from loyalty_research.endowed_progress.planning import Plan, plan
from loyalty_research.endowed_progress.published import Published, published, published_for
from loyalty_research.endowed_progress.timing import TimingResult
from loyalty_research.endowed_progress.truth import beside_truth
from loyalty_research.endowed_progress.visits import EconomicsResult, VisitsResult

__all__ = [
    "ArmComparison",
    "CardExperiment",
    "CompletionResult",
    "EconomicsResult",
    "GoalGradientResult",
    "HazardResult",
    "NotAvailable",
    "Plan",
    "Published",
    "TimingResult",
    "VisitsResult",
    "beside_truth",
    "plan",
    "published",
    "published_for",
]
