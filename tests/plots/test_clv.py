import datetime as dt

import numpy as np
import pandas as pd
import pytest

from loyalty_research import display
from loyalty_research.plots import clv, style


@pytest.fixture
def weeks():
    actual, expected = np.array([3, 9, 5, 4]), np.array([4.0, 7, 6, 4.5])
    return pd.DataFrame(
        {
            "end": pd.date_range("2024-01-07", periods=4, freq="7D"),
            "actual": actual,
            "expected": expected,
            "actual_cumulative": actual.cumsum(),
            "expected_cumulative": expected.cumsum(),
        }
    )


def test_tracking_draws_both_lines_and_marks_the_holdout(weeks):
    ax = clv.tracking(weeks, calibration_end=dt.date(2024, 1, 14))
    actual, expected, split = ax.get_lines()
    assert actual.get_ydata().tolist() == [3, 12, 17, 21]
    assert expected.get_ydata().tolist() == [4, 11, 17, 21.5]
    assert actual.get_color() == style.SERIES[0]
    assert expected.get_linestyle() != actual.get_linestyle()
    assert ax.convert_xunits(np.datetime64("2024-01-14")) == pytest.approx(
        ax.convert_xunits(split.get_xdata()[0])
    )
    assert {t.get_text() for t in ax.texts} == {"actual", "expected", "calibration", "holdout"}
    single = clv.tracking(weeks, cumulative=False)
    assert single.get_lines()[0].get_ydata().tolist() == [3, 9, 5, 4]
    assert len(single.get_lines()) == 2


def test_bins_stand_side_by_side_and_differ_without_colour():
    bins = pd.DataFrame({"purchases": ["0", "1", "2+"], "actual": [60, 25, 15], "expected": [58.0, 28, 14]})
    ax = clv.frequency_bins(bins)
    heights = [p.get_height() for p in ax.patches]
    assert heights == [60, 25, 15, 58, 28, 14]
    assert {p.get_hatch() for p in ax.patches[:3]} == {None}
    assert {p.get_hatch() for p in ax.patches[3:]} == {"////"}


def test_conditional_expectation_shows_actual_expected_and_benchmark():
    means = pd.DataFrame(
        {
            "purchases": ["0", "1+"],
            "actual": [0.2, 1.1],
            "low": [0.1, np.nan],
            "high": [0.3, np.nan],
            "expected": [0.22, 1.0],
            "benchmark": [0.0, 1.5],
        }
    )
    ax = clv.conditional_expectation(means)
    assert {t.get_text() for t in ax.get_legend().get_texts()} == {
        "actual, with 95% interval",
        "expected",
        "benchmark",
    }
    drawn = [line.get_ydata().tolist() for line in ax.get_lines()]
    for column in ("actual", "expected", "benchmark"):
        assert means[column].tolist() in drawn


def test_activity_map_keeps_to_one_colour_that_dark_mode_swaps():
    grid = pd.DataFrame(
        np.linspace(0, 1, 60).reshape(6, 10), index=np.arange(1, 7), columns=np.linspace(0, 39, 10)
    )
    ax = clv.activity_map(grid, unit="weeks")
    html = display.figure(ax, alt="Probability of being a customer", raster=False).html
    assert "weeks" in ax.get_xlabel()
    shades = {tuple(np.round(c[:3], 3)) for part in ax.collections[:1] for c in part.get_facecolor()}
    assert len(shades) == 1
    assert "svg" in html


def test_lorenz_turns_the_curve_round_and_marks_the_top():
    curve = pd.DataFrame({"customers": [0.0, 0.5, 0.8, 1.0], "value": [0.0, 0.1, 0.3, 1.0]})
    ax = clv.lorenz(curve, top=0.2)
    line = next(li for li in ax.get_lines() if len(li.get_xdata()) == 4)
    np.testing.assert_allclose(line.get_xdata(), [0, 0.2, 0.5, 1])
    np.testing.assert_allclose(line.get_ydata(), [0, 0.7, 0.9, 1])
    assert any("70.0% of value" in t.get_text() for t in ax.texts)


def test_segments_are_labelled_points_in_the_given_order():
    segments = pd.DataFrame(
        {
            "segment": ["once", "often"],
            "customers": [90, 10],
            "mean": [4.0, 60.0],
            "low": [3.0, np.nan],
            "high": [5.0, np.nan],
            "share_of_value": [0.375, 0.625],
        }
    )
    ax = clv.segment_values(segments, currency="USD")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["once", "often"]
    assert ax.get_yticks()[0] > ax.get_yticks()[1]
    assert "USD" in ax.get_xlabel()
    assert any("62% of value" in t.get_text() for t in ax.texts)


def test_nothing_outside_the_style_changes(weeks):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    clv.tracking(weeks)
    assert dict(mpl.rcParams) == before
