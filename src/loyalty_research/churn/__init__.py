"""How long customers stay, what shifts it, and how sure we are."""

from loyalty_research.churn.aft import AFTFit, ParametricAFT
from loyalty_research.churn.bands import SimultaneousBand
from loyalty_research.churn.brier import BrierScores, brier_score, integrated_brier_score
from loyalty_research.churn.calibration import Calibration, DCalibration, calibration, d_calibration
from loyalty_research.churn.competing import AalenJohansen, CumulativeIncidence
from loyalty_research.churn.concordance import Concordance, concordance
from loyalty_research.churn.cox import CoxFit, CoxPH
from loyalty_research.churn.curves import KaplanMeier, SurvivalCurves
from loyalty_research.churn.data import ChurnData
from loyalty_research.churn.discrete import DiscreteFit, DiscreteHazard
from loyalty_research.churn.dynamic_auc import DynamicAUC, dynamic_auc
from loyalty_research.churn.fine_gray import FineGray, fine_gray
from loyalty_research.churn.followup import Removed
from loyalty_research.churn.gray import GrayTest, gray_test
from loyalty_research.churn.hazards import CumulativeHazards, NelsonAalen
from loyalty_research.churn.lapses import Lapses, lapses
from loyalty_research.churn.later import LaterCustomers, judge_on_later_customers
from loyalty_research.churn.logrank import LogRankTest, logrank_test
from loyalty_research.churn.mean_cumulative import MeanCumulativeFunction, MeanCumulatives, MeanCumulativeTest
from loyalty_research.churn.means import RestrictedMeans, common_horizon, rmst, rmst_difference
from loyalty_research.churn.member_curves import MemberCurves, member_curves
from loyalty_research.churn.membership import MemberComparison, compare_members
from loyalty_research.churn.proportional_hazards import PHTest, ph_test
from loyalty_research.churn.recurrent import RecurrentData
from loyalty_research.churn.recurrent_cox import RecurrentCox, RecurrentCoxFit
from loyalty_research.churn.segments import OneTimeBuyers, add_segments, one_time_buyers, varying_covariates
from loyalty_research.churn.split import split_by_time
from loyalty_research.churn.sweep import InactivitySweep, inactivity_sweep
from loyalty_research.churn.tenure import TenureHazards, hazard_by_tenure
from loyalty_research.churn.truth import beside_truth
from loyalty_research.churn.validation import PredictiveAccuracy, predictive_accuracy
from loyalty_research.churn.words import shown_count

__all__ = [
    "AFTFit",
    "AalenJohansen",
    "BrierScores",
    "Calibration",
    "ChurnData",
    "Concordance",
    "CoxFit",
    "CoxPH",
    "CumulativeHazards",
    "CumulativeIncidence",
    "DCalibration",
    "DiscreteFit",
    "DiscreteHazard",
    "DynamicAUC",
    "FineGray",
    "GrayTest",
    "InactivitySweep",
    "KaplanMeier",
    "Lapses",
    "LaterCustomers",
    "LogRankTest",
    "MeanCumulativeFunction",
    "MeanCumulativeTest",
    "MeanCumulatives",
    "MemberComparison",
    "MemberCurves",
    "NelsonAalen",
    "OneTimeBuyers",
    "PHTest",
    "ParametricAFT",
    "PredictiveAccuracy",
    "RecurrentCox",
    "RecurrentCoxFit",
    "RecurrentData",
    "Removed",
    "RestrictedMeans",
    "SimultaneousBand",
    "SurvivalCurves",
    "TenureHazards",
    "add_segments",
    "beside_truth",
    "brier_score",
    "calibration",
    "common_horizon",
    "compare_members",
    "concordance",
    "d_calibration",
    "dynamic_auc",
    "fine_gray",
    "gray_test",
    "hazard_by_tenure",
    "inactivity_sweep",
    "integrated_brier_score",
    "judge_on_later_customers",
    "lapses",
    "logrank_test",
    "member_curves",
    "one_time_buyers",
    "ph_test",
    "predictive_accuracy",
    "rmst",
    "rmst_difference",
    "shown_count",
    "split_by_time",
    "varying_covariates",
]
