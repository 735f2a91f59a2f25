"""Pictures of promises draw what they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from loyalty_research.plots.promises import deferred_over_time, points_by_cohort, pull_at_line, tier_moves


def test_cohorts_stack_redeemed_and_expected():
    frame = pd.DataFrame(
        {
            "cohort": ["2024-01", "2024-02"],
            "issued": [200.0, 100.0],
            "redeemed": [100.0, 20.0],
            "expected": [20.0, 30.0],
            "low": [10.0, 20.0],
            "high": [40.0, 45.0],
        }
    )
    ax = points_by_cohort(frame)
    bars = [(p.get_x(), p.get_width()) for p in ax.patches]
    assert np.ravel(bars) == pytest.approx([0, 0.5, 0, 0.2, 0.5, 0.1, 0.2, 0.3])
    ends = [segment[:, 0].tolist() for segment in ax.collections[0].get_segments()]
    assert np.ravel(ends) == pytest.approx([0.55, 0.7, 0.4, 0.65])


def test_squares_have_the_area_of_their_share():
    tiers = ["base", "gold"]
    ax = tier_moves(pd.DataFrame([[0.64, 0.36], [0.25, 0.75]], index=tiers, columns=tiers))
    areas = [p.get_width() * p.get_height() / 0.96**2 for p in ax.patches]
    assert areas == pytest.approx([0.64, 0.36, 0.25, 0.75])


def test_small_bins_are_not_drawn():
    bins = pd.DataFrame(
        {
            "from_value": [0.0, 5.0, 10.0],
            "to_value": [5.0, 10.0, 15.0],
            "customers": [0, 4, 5],
            "expected": [1.0, 2.0, 3.0],
            "excluded": [False, True, False],
        }
    )
    drawn = pull_at_line(bins, 10.0).lines[0].get_ydata()
    assert np.isnan(drawn[1])
    assert [drawn[0], drawn[2]] == [0, 5]


def test_what_is_deferred_tells_booked_from_expected():
    rows = {"period": ["a", "b", "c"], "kind": ["booked", "booked", "expected"], "closing": [4.0, 6.0, 2.0]}
    axes = deferred_over_time(pd.DataFrame(rows), unit="EUR")
    assert [bar.get_height() for bar in axes.patches] == [4, 6, 2]
    assert [bar.get_hatch() for bar in axes.patches] == [None, None, "////"]
    alone = deferred_over_time(pd.DataFrame(rows)[:2])
    assert alone.get_ylabel() == "deferred at the end"
    assert len(alone.get_legend().get_texts()) == 1
