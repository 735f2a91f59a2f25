"""Compare groups of customers by the estimator that fits how the groups came about.

There is no default design: nothing in a table says whether chance or choice decided who is in
which group, and the answer decides what a difference can mean.

Examples:
    >>> import pandas as pd
    >>> from loyalty_research.comparison import Comparison, Mean
    >>> units = pd.DataFrame({"arm": ["control", "control", "invited", "invited"] * 50,
    ...                       "spend": [10.0, 12.0, 13.0, 15.0] * 50})
    >>> plan = Comparison(Mean("spend"), design="randomised", assignment="arm", control="control", ratio=(1, 1))
    >>> plan.analyse(units).estimate(estimand="ITT").value
    3.0
"""

from loyalty_research.comparison.balance import BalanceResult, balance
from loyalty_research.comparison.certificate import Certificate, a_a_certificate
from loyalty_research.comparison.compliers import ComplierProfile, complier_profile
from loyalty_research.comparison.design import DESIGNS, Comparison
from loyalty_research.comparison.discontinuity import Discontinuity, regression_discontinuity
from loyalty_research.comparison.encouragement import AndersonRubinSet, anderson_rubin_set, wald_estimate
from loyalty_research.comparison.lalonde import BenchmarkResult, lalonde_benchmark
from loyalty_research.comparison.looks import Anytime, Looks
from loyalty_research.comparison.matching import MatchingResult, matching
from loyalty_research.comparison.metrics import FORMS, Mean, Metric, Proportion, Quantile, Ratio, parse_metric
from loyalty_research.comparison.monitoring import Monitoring, monitor
from loyalty_research.comparison.observational import ObservationalResult
from loyalty_research.comparison.pairs import RosenbaumBounds, rosenbaum_bounds
from loyalty_research.comparison.panel import (
    DifferenceInDifferences,
    PanelResult,
    difference_in_differences,
    event_study,
)
from loyalty_research.comparison.pilot import Pilot, pilot
from loyalty_research.comparison.planning import minimal_detectable_effect, power, sample_size
from loyalty_research.comparison.posterior import PosteriorResult, posterior
from loyalty_research.comparison.registration import ComparisonCard, design_card
from loyalty_research.comparison.result import NOT_AN_EFFECT, ComparisonResult, Statement
from loyalty_research.comparison.sample_ratio import SampleRatioTest, sample_ratio_test
from loyalty_research.comparison.segments import SegmentResult, effects_by_segment
from loyalty_research.comparison.sensitivity import e_value, robustness_value
from loyalty_research.comparison.sequential import confidence_sequence
from loyalty_research.comparison.standardising import StandardisedResult, standardisation
from loyalty_research.comparison.studies import DESIGNS_OF_A_STUDY, Study, study
from loyalty_research.comparison.threshold import ThresholdResult
from loyalty_research.comparison.units import NoGroupsError, Units, find_units
from loyalty_research.comparison.weighting import (
    WeightingResult,
    augmented_ipw,
    entropy_balancing,
    inverse_probability_weighting,
    overlap_weighting,
)
from loyalty_research.stats.multiplicity import adjust_p_values
from loyalty_research.stats.proportions import ExactTest, difference_in_proportions, exact_test
from loyalty_research.stats.spending import GroupSequentialBounds, group_sequential_bounds

__all__ = [
    "DESIGNS",
    "DESIGNS_OF_A_STUDY",
    "FORMS",
    "NOT_AN_EFFECT",
    "AndersonRubinSet",
    "Anytime",
    "BalanceResult",
    "BenchmarkResult",
    "Certificate",
    "Comparison",
    "ComparisonCard",
    "ComparisonResult",
    "ComplierProfile",
    "DifferenceInDifferences",
    "Discontinuity",
    "ExactTest",
    "GroupSequentialBounds",
    "Looks",
    "MatchingResult",
    "Mean",
    "Metric",
    "Monitoring",
    "NoGroupsError",
    "ObservationalResult",
    "PanelResult",
    "Pilot",
    "PosteriorResult",
    "Proportion",
    "Quantile",
    "Ratio",
    "RosenbaumBounds",
    "SampleRatioTest",
    "SegmentResult",
    "StandardisedResult",
    "Statement",
    "Study",
    "ThresholdResult",
    "Units",
    "WeightingResult",
    "a_a_certificate",
    "adjust_p_values",
    "anderson_rubin_set",
    "augmented_ipw",
    "balance",
    "complier_profile",
    "confidence_sequence",
    "design_card",
    "difference_in_differences",
    "difference_in_proportions",
    "e_value",
    "effects_by_segment",
    "entropy_balancing",
    "event_study",
    "exact_test",
    "find_units",
    "group_sequential_bounds",
    "inverse_probability_weighting",
    "lalonde_benchmark",
    "matching",
    "minimal_detectable_effect",
    "monitor",
    "overlap_weighting",
    "parse_metric",
    "pilot",
    "posterior",
    "power",
    "regression_discontinuity",
    "robustness_value",
    "rosenbaum_bounds",
    "sample_ratio_test",
    "sample_size",
    "standardisation",
    "study",
    "wald_estimate",
]
