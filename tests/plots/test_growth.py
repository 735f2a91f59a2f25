"""The picture of a series before and after a day."""

import numpy as np
import pandas as pd

from loyalty_research.plots.growth import interrupted_series

DAYS = pd.date_range("2024-01-01", periods=6)


def drawn():
    frame = pd.DataFrame(
        {
            "date": DAYS,
            "sales": [10.0, 11, 12, 20, 21, 19],
            "fitted": [10.0, 11, 12, 20, 20, 20],
            "without": [np.nan, np.nan, np.nan, 13, 14, 15],
        }
    )
    return interrupted_series(frame, launch=DAYS[3], ylabel="sales", title="Sales")


def test_the_line_breaks_at_the_day_and_the_old_one_goes_on():
    _, before, after, carried, at = drawn().lines
    assert before.get_ydata().tolist() == [10.0, 11, 12]
    assert after.get_ydata().tolist() == [20.0, 20, 20]
    assert carried.get_ydata()[3:].tolist() == [13.0, 14, 15]
    assert pd.Timestamp(at.get_xdata()[0]) == DAYS[3]
    styles = {str(line._dash_pattern) for line in (after, carried, at)}
    assert len(styles) == 3  # told apart without colour


def test_lines_are_named_at_their_ends_and_money_starts_at_nothing():
    axes = drawn()
    names = {text.get_text(): text.xy[1] for text in axes.texts}
    assert names == {"fitted": 20.0, "as before": 15.0}
    assert axes.get_ylim()[0] == 0
