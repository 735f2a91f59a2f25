"""Small per-customer, per-cohort and per-arm tables from event tables.

Each summary is written once in narwhals and runs where the data are: DuckDB, Polars, pandas,
Spark. What comes back is a small pandas frame whose ``attrs`` say what was left out.
"""

from loyalty_research.summaries._cards import cards, stamps
from loyalty_research.summaries._cohorts import cohorts
from loyalty_research.summaries._gaps import inactivity_gaps
from loyalty_research.summaries._members import member_units
from loyalty_research.summaries._moments import ArmMoments, MetricMoments, arm_moments, group_label
from loyalty_research.summaries._panel import panel
from loyalty_research.summaries._purchases import daily, purchases
from loyalty_research.summaries._units import campaign_units, units

__all__ = [
    "ArmMoments",
    "MetricMoments",
    "arm_moments",
    "campaign_units",
    "cards",
    "cohorts",
    "daily",
    "group_label",
    "inactivity_gaps",
    "member_units",
    "panel",
    "purchases",
    "stamps",
    "units",
]
