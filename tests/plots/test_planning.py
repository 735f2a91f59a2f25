import math

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from loyalty_research.plots import planning
from loyalty_research.plots.style import COLOURS

LIGHT = {light for light, _ in COLOURS.values()}


def drawn(ax):
    """Colours of lines, texts, patches and bands, as hexadecimal."""
    found = {to_hex(d.get_color()) for d in [*ax.get_lines(), *ax.texts]}
    found |= {to_hex(p.get_facecolor()) for p in ax.patches}
    return found | {to_hex(c) for band in ax.collections for c in band.get_facecolor()}


def words(ax):
    return " ".join(t.get_text() for t in ax.texts)


def test_experiments_that_find_nothing_are_hatched():
    ax = planning.estimate_spread([0.01, 0.02, 0.12, 0.15], [False, False, True, True], truth=0.1)
    heights = [sum(p.get_height() for p in bars) for bars in ax.containers]
    assert heights[0] == 2
    assert {p.get_hatch() for p in ax.containers[1]} == {"///"}
    assert "true: 10.0%" in words(ax)
    assert drawn(ax) <= LIGHT
    said = [t.get_text() for t in ax.get_legend().get_texts()]
    assert said == ["finds a difference: 50%", "finds none: 50%"]


def test_without_an_effect_one_line_is_drawn():
    ax = planning.estimate_spread([-0.01, 0.02], [False, False], truth=0.0)
    assert len(ax.get_lines()) == 1


def test_bounds_are_drawn_on_both_sides_with_their_chances():
    frame = pd.DataFrame(
        {
            "fraction": [0.1, 0.5, 1.0],
            "z": [math.inf, 2.96, 1.97],
            "stop_effect": [0.0, 0.2, 0.8],
            "stop_none": [0.0, 0.003, 0.05],
        }
    )
    ax = planning.look_bounds(frame)
    upper, lower = ax.get_lines()[:2]
    assert upper.get_ydata().tolist() == [2.96, 1.97]
    assert lower.get_ydata().tolist() == [-2.96, -1.97]
    assert "stopped: 80%" in words(ax)
    assert "0.30% if no effect" in words(ax)
    assert drawn(ax) <= LIGHT


def test_doses_are_in_order_and_labelled():
    frame = pd.DataFrame(
        {
            "given": [2, 0, 1],
            "estimate": [0.3, 0.2, 0.25],
            "low": [0.25, 0.15, 0.2],
            "high": [0.35, 0.25, 0.3],
        }
    )
    ax = planning.dose_response(frame)
    assert ax.get_lines()[0].get_xdata().tolist() == [0, 1, 2]
    assert [t.get_text() for t in ax.texts] == ["20.0%", "25.0%", "30.0%"]
    assert drawn(ax) <= LIGHT


def test_established_contrasts_are_filled():
    frame = pd.DataFrame(
        {
            "contrast": ["illusory less real", "real less plain"],
            "estimate": [0.15, 0.03],
            "low": [0.05, -0.04],
            "high": [0.25, 0.1],
            "established": [True, False],
        }
    )
    ax = planning.contrast_forest(frame)
    marks = [line for line in ax.get_lines() if line.get_marker() == "o"]
    assert [m.get_markerfacecolor() for m in marks] == ["#0067a6", "none"]
    # the first contrast stands on top
    assert [t.get_text() for t in ax.get_yticklabels()] == ["real less plain", "illusory less real"]
    assert marks[0].get_ydata()[0] == 1


def test_the_fan_has_a_band_per_level_and_arm_and_labels_apart():
    frame = pd.DataFrame(
        {
            "arm": ["a", "a", "b", "b"],
            "day": [0, 90, 0, 90],
            "estimate": [0.0, 10.0, 0.0, 10.01],
            "low_50": [0.0, 9.0, 0.0, 9.0],
            "high_50": [0.0, 11.0, 0.0, 11.0],
            "low_95": [0.0, 8.0, 0.0, 8.0],
            "high_95": [0.0, 12.0, 0.0, 12.0],
        }
    )
    ax = planning.economics_fan(frame, currency="EUR")
    assert len(ax.collections) == 4
    heights = {t.get_text(): t.xy[1] for t in ax.texts}
    assert heights["b"] - heights["a"] > 0.3
    assert ax.get_lines()[0].get_linestyle() != ax.get_lines()[1].get_linestyle()
    assert "EUR" in ax.get_ylabel()
    assert "50%, 95%" in ax.get_title(loc="left")
    assert drawn(ax) <= LIGHT
    bare = planning.economics_fan(frame)
    assert bare.get_ylabel() == "net value per card"
    assert ax.get_xlim()[1] == pytest.approx(90)
