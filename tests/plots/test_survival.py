"""Survival pictures carry their words, hide small counts and survive odd input."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from loyalty_research.plots.style import COLOURS
from loyalty_research.plots.survival import forest, survival_curves, window_sweep


@pytest.fixture
def curves():
    frames = []
    for group, drop in (("gold", 0.9), ("silver", 0.89), ("base", 0.5)):
        steps = drop ** np.arange(5)
        frames.append(
            pd.DataFrame(
                {
                    "group": group,
                    "time": np.arange(5) * 30.0,
                    "estimate": steps,
                    "low": steps - 0.05,
                    "high": steps + 0.05,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture
def at_risk():
    return pd.DataFrame(
        {
            "group": np.repeat(["gold", "silver", "base"], 3),
            "time": np.tile([0.0, 60.0, 120.0], 3),
            "at_risk": [1200, 90, 3, 100, 4, 0, 50, 20, 5],
        }
    )


def words(ax):
    return [t.get_text() for t in ax.texts]


def test_small_counts_are_hidden_and_nobody_is_nobody(curves, at_risk):
    shown = words(survival_curves(curves, at_risk))
    assert "1,200" in shown
    assert shown.count("<5") == 2
    assert "3" not in shown
    assert "4" not in shown
    assert "0" in shown
    assert "5" in shown


def test_groups_are_labelled_at_their_ends_without_overlap(curves):
    ax = survival_curves(curves)
    labels = {t.get_text(): t.xyann[1] for t in ax.texts}
    assert set(labels) == {"gold", "silver", "base"}
    heights = sorted(labels.values())
    assert np.diff(heights).min() >= 0.06 - 1e-12
    assert labels["gold"] > labels["silver"] > labels["base"]


def test_counts_start_where_the_curves_do(curves, at_risk):
    later = survival_curves(curves.assign(time=curves["time"] + 60), at_risk)
    heading = next(t for t in later.texts if t.get_text() == "Number at risk")
    assert heading.get_position()[0] == later.get_xlim()[0] == 60
    assert list(later.get_xticks()) == [60, 120]


def test_one_group_needs_no_label(curves):
    assert words(survival_curves(curves[curves["group"] == "gold"])) == []


def test_series_differ_by_dash_and_marker_too(curves):
    ax = survival_curves(curves)
    steps = [line for line in ax.lines if len(line.get_xdata()) > 1]
    assert len({str(line._dash_pattern) for line in steps}) == 3
    ends = [line.get_marker() for line in ax.lines if len(line.get_xdata()) == 1]
    assert len(set(ends)) == 3


def test_colours_come_from_the_style_only(curves, at_risk):
    ax = survival_curves(curves, at_risk)
    known = {light for light, _ in COLOURS.values()}
    used = {mpl.colors.to_hex(line.get_color()) for line in ax.lines}
    used |= {mpl.colors.to_hex(t.get_color()) for t in ax.texts}
    assert used <= known


def test_drawing_leaves_the_settings_alone(curves):
    before = dict(mpl.rcParams)
    survival_curves(curves)
    assert dict(mpl.rcParams) == before


def test_forest_shows_figures_and_arrows():
    ratios = pd.DataFrame(
        {
            "term": ["plain", "separated", "wide"],
            "estimate": [0.8, 0.0, 2.0],
            "low": [0.6, 0.0, 0.5],
            "high": [1.1, 0.4, np.inf],
        }
    )
    ax = forest(ratios, label="Hazard ratio")
    assert "0.80 (0.60 to 1.10)" in words(ax)
    assert "2.00 (0.50 to ∞)" in words(ax)
    markers = [line.get_marker() for line in ax.lines]
    assert "<" in markers
    assert ">" in markers
    assert [t.get_text() for t in ax.get_yticklabels()] == ["plain", "separated", "wide"]
    low, high = ax.get_xlim()
    assert 0 < low < 1 < high < 100


def test_window_sweep_shows_the_forgotten_cut_off_only_where_it_matters():
    frame = pd.DataFrame(
        {
            "inactivity_days": [30, 60, 90],
            "survival": [0.2, 0.4, np.nan],
            "low": [0.18, 0.37, np.nan],
            "high": [0.22, 0.43, np.nan],
            "share_returned": [0.5, 0.3, 0.2],
            "without_cut_off": [0.2, 0.4, np.nan],
        }
    )
    assert len(words(window_sweep(frame, at=100))) == 2
    told = words(window_sweep(frame.assign(without_cut_off=[0.3, 0.6, 0.7]), at=100))
    assert any("wrong" in t for t in told)


def test_a_given_axes_is_used(curves):
    with mpl.rc_context():
        ax = mpl.figure.Figure().subplots()
    assert survival_curves(curves, ax=ax) is ax
