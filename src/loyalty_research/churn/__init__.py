"""How long customers stay, what shifts it, and how sure we are."""

from loyalty_research.churn.cox import CoxFit, CoxPH
from loyalty_research.churn.curves import CumulativeHazards, KaplanMeier, NelsonAalen, SurvivalCurves
from loyalty_research.churn.data import ChurnData
from loyalty_research.churn.followup import Removed
from loyalty_research.churn.logrank import LogRankTest, logrank_test
from loyalty_research.churn.means import RestrictedMeans, common_horizon, rmst, rmst_difference
from loyalty_research.churn.membership import MemberComparison, compare_members
from loyalty_research.churn.proportional_hazards import PHTest, ph_test
from loyalty_research.churn.segments import OneTimeBuyers, add_segments, one_time_buyers, varying_covariates
from loyalty_research.churn.sweep import InactivitySweep, inactivity_sweep
from loyalty_research.churn.words import shown_count

__all__ = [
    "ChurnData",
    "CoxFit",
    "CoxPH",
    "CumulativeHazards",
    "InactivitySweep",
    "KaplanMeier",
    "LogRankTest",
    "MemberComparison",
    "NelsonAalen",
    "OneTimeBuyers",
    "PHTest",
    "Removed",
    "RestrictedMeans",
    "SurvivalCurves",
    "add_segments",
    "common_horizon",
    "compare_members",
    "inactivity_sweep",
    "logrank_test",
    "one_time_buyers",
    "ph_test",
    "rmst",
    "rmst_difference",
    "shown_count",
    "varying_covariates",
]
