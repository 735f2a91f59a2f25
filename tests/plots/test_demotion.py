"""Pictures of what surrounds the loss of a tier."""

import numpy as np
import pandas as pd

from loyalty_research.plots.demotion import around_the_fall, falls_avoided


def test_every_period_stands_in_its_own_part():
    lead = np.arange(-5, 2)
    axes = around_the_fall(lead, lead * 1.0, lead - 1.0, lead + 1.0, before=2, counted=3, ylabel="spend")
    shown = [line for line in axes.lines if len(line.get_xdata()) > 1 and line.get_linestyle() == "None"]
    assert [line.get_xdata().tolist() for line in shown] == [[-5, -4], [-3, -2, -1], [0, 1]]
    assert len({line.get_marker() for line in shown}) == 3
    assert axes.get_ylabel() == "spend"


def test_shares_have_their_limits_and_an_axis_from_zero():
    table = pd.DataFrame(
        {"grace_days": [15, 60], "share": [0.1, 0.3], "share_low": [0.05, 0.2], "share_high": [0.2, 0.4]}
    )
    axes = falls_avoided(table)
    assert axes.get_xticks().tolist() == [15, 60]
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 0.4
    assert [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()] == [
        [0.05, 0.2],
        [0.2, 0.4],
    ]
