import pandas as pd

from loyalty_research.plots.campaigns import around_date


def test_weeks_are_drawn_in_their_middle_with_their_limits():
    frame = pd.DataFrame(
        {"week": [-1, 0, 1], "estimate": [-1.0, 5.0, 0.5], "low": [-2.0, 4.0, -1.0], "high": [0.0, 6.0, 2.0]}
    )
    axes = around_date(frame, offer=(0.0, 2.0), title="Around", xlabel="weeks", ylabel="margin")
    points = axes.containers[0]
    assert points[0].get_xdata().tolist() == [-0.5, 0.5, 1.5]
    spans = [segment[:, 1].tolist() for segment in points[2][0].get_segments()]
    assert spans == [[-2.0, 0.0], [4.0, 6.0], [-1.0, 2.0]]
    assert axes.get_title(loc="left") == "Around"
