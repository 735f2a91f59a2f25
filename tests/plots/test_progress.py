import numpy as np
import pandas as pd
import pytest

from loyalty_research.plots import progress
from loyalty_research.plots.style import COLOURS


def colours(ax):
    """Colours of lines, patches and texts, as hexadecimal."""
    from matplotlib.colors import to_hex

    drawn = [*ax.get_lines(), *ax.texts]
    return {to_hex(d.get_color()) for d in drawn} | {to_hex(p.get_facecolor()) for p in ax.patches}


@pytest.fixture
def rates():
    return pd.DataFrame(
        {
            "arm": ["plain", "given"],
            "cards": [150, 150],
            "completed": [28, 138],
            "estimate": [0.187, 0.92],
            "low": [0.132, 0.86],
            "high": [0.257, 0.95],
            "required": [8, 10],
            "endowed": [0, 2],
        }
    )


def test_bars_are_as_long_as_the_rates_and_cards_have_their_stamps(rates):
    ax = progress.completion_bars(rates)
    lengths = sorted(round(p.get_width(), 3) for p in ax.patches)
    assert lengths == [0.187, 0.92, 1.0, 1.0]
    assert sum(len(c.get_offsets()) for c in ax.collections) == 18
    assert colours(ax) <= {light for light, _ in COLOURS.values()}


def test_words_stay_inside_the_axes(rates):
    ax = progress.completion_bars(rates)
    ax.figure.canvas.draw()
    for text in ax.texts:
        box = text.get_window_extent().transformed(ax.transAxes.inverted())
        assert 0 <= box.x0 <= box.x1 <= 1.001


def curve(group, top):
    time = np.arange(0, 101, 10.0)
    estimate = top * time / 100
    return pd.DataFrame(
        {"group": group, "time": time, "estimate": estimate, "low": 0.8 * estimate, "high": 1.2 * estimate}
    )


def test_curves_are_named_apart_and_small_counts_hidden():
    frame = pd.concat([curve("plain", 0.30), curve("given", 0.31)], ignore_index=True)
    at_risk = pd.DataFrame(
        {"group": ["plain"] * 2 + ["given"] * 2, "time": [0, 100] * 2, "at_risk": [150, 3, 150, 60]}
    )
    ax = progress.completion_curves(frame, at_risk=at_risk)
    words = [t.get_text() for t in ax.texts]
    assert "<5" in words
    assert "3" not in words
    heights = {
        t.get_text(): t.xy[1] for t in ax.texts if t.get_text() in ("plain", "given") and hasattr(t, "xy")
    }
    assert heights["given"] - heights["plain"] >= 0.05 * ax.get_ylim()[1]
    assert heights["given"] <= ax.get_ylim()[1]


def test_pooled_and_corrected_rates_differ_in_more_than_colour():
    naive = pd.DataFrame(
        {
            "arm": ["a"] * 3,
            "stamps": [0, 1, 2],
            "estimate": [0.1, 0.2, 0.3],
            "low": [0.05] * 3,
            "high": [0.4] * 3,
        }
    )
    ax = progress.hazard_by_stamps(naive, corrected=naive.assign(estimate=0.1))
    pooled, corrected = ax.get_lines()
    assert pooled.get_linestyle() != corrected.get_linestyle()
    assert "selection" in pooled.get_label()
    assert list(corrected.get_ydata()) == [0.1] * 3


def test_posterior_marks_its_margins():
    grid = np.linspace(-0.1, 0.4, 101)
    density = np.exp(-(((grid - 0.15) / 0.05) ** 2) / 2)
    ax = progress.posterior_difference(
        grid, density, low=0.05, high=0.25, margins=[(0.05, "98.0%"), (0.0, "99.9%")]
    )
    assert [t.get_text() for t in ax.texts] == ["above 0%: 99.9%", "above 5%: 98.0%"]
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 2]
    assert [line.get_xdata()[0] for line in lines] == [0.0, 0.05]


def test_power_curve_names_each_effect_within_the_axes():
    rows = [
        (e, n, 1 - np.exp(-n * s / 50))
        for e, s in (("all", 2.0), ("most", 1.9), ("half", 0.2))
        for n in (10, 200)
    ]
    ax = progress.power_curve(pd.DataFrame(rows, columns=["effect", "cards", "power"]), target=0.8, mark=120)
    heights = {t.get_text(): t.xy[1] for t in ax.texts}
    assert heights["all"] <= 1.0
    assert heights["all"] - heights["most"] >= 0.059
    assert ax.get_ylabel() == "chance of finding the effect"
