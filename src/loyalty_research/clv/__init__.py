"""Customer lifetime value: who still buys, how often, for how much, and what that is worth."""

from loyalty_research.clv._shares import Concentration, SegmentValue
from loyalty_research.clv._study import MODELS, Study, study
from loyalty_research.clv._tracking import Tracking, last_period, tracking
from loyalty_research.clv.holdout import FrequencyBins, HoldoutAccuracy, frequency_bins, holdout_accuracy
from loyalty_research.clv.segments import SEGMENTS, customer_segments, split_value
from loyalty_research.clv.spend import GammaGamma
from loyalty_research.clv.transactions import BetaGeoNBD, ModifiedBetaGeoNBD, ParetoNBD, TransactionModel
from loyalty_research.clv.value import LifetimeValue, customer_lifetime_value

__all__ = [
    "MODELS",
    "SEGMENTS",
    "BetaGeoNBD",
    "Concentration",
    "FrequencyBins",
    "GammaGamma",
    "HoldoutAccuracy",
    "LifetimeValue",
    "ModifiedBetaGeoNBD",
    "ParetoNBD",
    "SegmentValue",
    "Study",
    "Tracking",
    "TransactionModel",
    "customer_lifetime_value",
    "customer_segments",
    "frequency_bins",
    "holdout_accuracy",
    "last_period",
    "split_value",
    "study",
    "tracking",
]
