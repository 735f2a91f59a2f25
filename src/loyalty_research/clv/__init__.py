"""Customer lifetime value: who still buys, how often, for how much, and what that is worth."""

from loyalty_research.clv._outlook import Outlook, outlook
from loyalty_research.clv._shares import Concentration, SegmentValue
from loyalty_research.clv._study import MODELS, Study, study
from loyalty_research.clv._tracking import Tracking, last_period, tracking
from loyalty_research.clv.bayes import to_pymc_marketing
from loyalty_research.clv.contracts import (
    BetaDiscreteWeibull,
    ContractModel,
    RetentionProjection,
    ShiftedBetaGeometric,
)
from loyalty_research.clv.holdout import FrequencyBins, HoldoutAccuracy, frequency_bins, holdout_accuracy
from loyalty_research.clv.lift import DecileLift, decile_lift
from loyalty_research.clv.nested import LikelihoodRatioTest, likelihood_ratio_test
from loyalty_research.clv.opportunities import BetaGeoBetaBinomial
from loyalty_research.clv.payback import AcquisitionPayback, acquisition_payback
from loyalty_research.clv.portraits import (
    AliveHistory,
    ExpectationMatrix,
    Heterogeneity,
    alive_history,
    expectation_matrix,
    heterogeneity,
)
from loyalty_research.clv.programme import MembersLost, ValueAtChurn, members_lost, value_at_churn
from loyalty_research.clv.retention import (
    RetentionSensitivity,
    retention_multiplier,
    retention_sensitivity,
    retention_table,
)
from loyalty_research.clv.segments import MEMBERSHIP, SEGMENTS, customer_segments, split_value
from loyalty_research.clv.spend import GammaGamma
from loyalty_research.clv.traits import CustomerTraits, customer_traits
from loyalty_research.clv.transactions import BetaGeoNBD, ModifiedBetaGeoNBD, ParetoNBD, TransactionModel
from loyalty_research.clv.value import LifetimeValue, customer_lifetime_value
from loyalty_research.clv.view import ProgrammeView, programme_view

__all__ = [
    "MEMBERSHIP",
    "MODELS",
    "SEGMENTS",
    "AcquisitionPayback",
    "AliveHistory",
    "BetaDiscreteWeibull",
    "BetaGeoBetaBinomial",
    "BetaGeoNBD",
    "Concentration",
    "ContractModel",
    "CustomerTraits",
    "DecileLift",
    "ExpectationMatrix",
    "FrequencyBins",
    "GammaGamma",
    "Heterogeneity",
    "HoldoutAccuracy",
    "LifetimeValue",
    "LikelihoodRatioTest",
    "MembersLost",
    "ModifiedBetaGeoNBD",
    "Outlook",
    "ParetoNBD",
    "ProgrammeView",
    "RetentionProjection",
    "RetentionSensitivity",
    "SegmentValue",
    "ShiftedBetaGeometric",
    "Study",
    "Tracking",
    "TransactionModel",
    "ValueAtChurn",
    "acquisition_payback",
    "alive_history",
    "customer_lifetime_value",
    "customer_segments",
    "customer_traits",
    "decile_lift",
    "expectation_matrix",
    "frequency_bins",
    "heterogeneity",
    "holdout_accuracy",
    "last_period",
    "likelihood_ratio_test",
    "members_lost",
    "outlook",
    "programme_view",
    "retention_multiplier",
    "retention_sensitivity",
    "retention_table",
    "split_value",
    "study",
    "to_pymc_marketing",
    "tracking",
    "value_at_churn",
]
