"""Pictures of predictions and of repeated events say what they show, in words and without colour alone."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from loyalty_research.plots.style import MUTED, SERIES
from loyalty_research.plots.validation import (
    auc_over_time,
    calibration_curve,
    mean_cumulative,
    scores_over_time,
)

mpl.use("Agg")


@pytest.fixture
def curve():
    at = np.linspace(0.1, 0.4, 20)
    return pd.DataFrame({"predicted": at, "observed": at + 0.02, "low": at - 0.05, "high": at + 0.3})


@pytest.fixture
def groups():
    at = np.array([0.15, 0.25, 0.35])
    return pd.DataFrame({"predicted": at, "observed": at, "low": at - 0.1, "high": at + 0.1})


def words(ax):
    legend = ax.get_legend()
    return [t.get_text() for t in ax.texts] + ([t.get_text() for t in legend.get_texts()] if legend else [])


def test_calibration_shows_perfection_band_and_groups(curve, groups):
    ax = calibration_curve(curve, groups, time=90, level=0.9)
    assert ax.get_xlabel() == "Predicted chance of leaving by day 90"
    assert "90% interval" in ax.get_ylabel()
    assert {"as predicted", "smoothed", "groups of customers (Kaplan-Meier)"} <= set(words(ax))
    # the group's bars fit, the widest band does not stretch the picture
    assert 0.45 < ax.get_ylim()[1] < 0.6
    assert [line.get_marker() for line in ax.lines] == ["None", "None", "s"]


def test_areas_stand_against_a_coin():
    areas = pd.DataFrame(
        {
            "time": [1, 30, 60],
            "estimate": [np.nan, 0.7, 0.65],
            "low": [np.nan, 0.6, 0.55],
            "high": [np.nan, 0.8, 0.75],
        }
    )
    ax = auc_over_time(areas)
    assert " a coin" in words(ax)
    assert ax.lines[-1].get_xdata().tolist() == [30, 60]
    assert ax.get_ylim()[0] <= 0.45


def test_scores_name_both_lines():
    scores = pd.DataFrame(
        {
            "time": [30, 60],
            "estimate": [0.1, 0.2],
            "low": [0.08, 0.15],
            "high": [0.12, 0.25],
            "null": [0.12, 0.22],
        }
    )
    ax = scores_over_time(scores)
    assert set(words(ax)) == {"same chance for everybody", "model"}
    assert {line.get_linestyle() for line in ax.lines} == {"-", "--"}
    assert {line.get_color() for line in ax.lines} == {MUTED, SERIES[0]}
    up = {t.get_text(): t.xyann[1] > 0 for t in ax.texts}
    assert up == {"same chance for everybody": True, "model": False}


def test_mean_functions_are_labelled_and_small_counts_hidden():
    curves = pd.DataFrame(
        {
            "group": ["a", "a", "b", "b"],
            "time": [0.0, 90, 0, 90],
            "estimate": [0, 1.5, 0, 1.45],
            "low": [np.nan, 1.2, np.nan, 1.1],
            "high": [np.nan, 1.8, np.nan, 1.9],
        }
    )
    counts = pd.DataFrame(
        {"group": ["a", "a", "b", "b"], "time": [0.0, 60, 0, 60], "at_risk": [1500, 3, 20, 0]}
    )
    ax = mean_cumulative(curves, counts, level=0.9)
    shown = words(ax)
    assert {"a", "b", "1,500", "<5", "20", "Number at risk"} <= set(shown)
    assert "3" not in shown
    labels = [t.xyann[1] for t in ax.texts if t.get_text() in {"a", "b"} and hasattr(t, "xyann")]
    assert abs(labels[0] - labels[1]) > 0.05 * ax.get_ylim()[1]
    assert ax.get_ylim()[1] == pytest.approx(1.05 * 1.9)
