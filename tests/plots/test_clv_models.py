import numpy as np
import pandas as pd

from loyalty_research import display
from loyalty_research.plots import clv_models, style


def test_the_map_keeps_to_one_colour_that_dark_mode_swaps():
    grid = pd.DataFrame(
        np.outer(np.arange(6), np.linspace(0, 1, 10)), index=np.arange(1, 7), columns=np.linspace(0, 39, 10)
    )
    ax = clv_models.expectation_map(grid, ahead=26, unit="weeks")
    html = display.figure(ax, alt="Expected purchases", raster=False).html
    assert "svg" in html
    shades = {tuple(np.round(c[:3], 3)) for part in ax.collections[:1] for c in part.get_facecolor()}
    assert len(shades) == 1
    assert ax.get_title(loc="left") == "Purchases expected in the next 26 weeks"


def test_levels_are_round_and_reach_the_top():
    for top in (0.031, 0.9, 4.2, 17.0, 350.0):
        levels = clv_models._round_levels(top)
        assert levels[0] == 0
        assert levels[-1] >= top * 0.999
        assert 3 <= len(levels) <= 7


def test_a_history_shows_curve_band_and_purchases():
    curve = pd.DataFrame(
        {
            "time": [0.0, 5, 10],
            "probability_alive": [1, 0.8, 0.3],
            "low": [1, 0.7, 0.2],
            "high": [1, 0.9, 0.4],
        }
    )
    ax = clv_models.alive_history(curve, purchases=[5.0], unit="weeks")
    line, marks = ax.get_lines()
    assert line.get_ydata().tolist() == [1, 0.8, 0.3]
    assert marks.get_xdata().tolist() == [0, 5]
    assert {t.get_text() for t in ax.texts} == {"purchases", "30% at the end"}


def test_a_density_says_where_it_leaves_the_picture():
    value = np.linspace(0.01, 1, 50)
    frame = pd.DataFrame({"value": value, "density": 1 / value, "low": 0.9 / value, "high": 1.1 / value})
    ax = clv_models.density(frame, label="rate", title="Rates", mean=0.2)
    words = {t.get_text() for t in ax.texts}
    assert "rises beyond the picture at the edge" in words
    assert "mean 0.200" in words
    assert ax.get_ylim()[1] < 100
    assert ax.get_lines()[0].get_color() == style.SERIES[0]
    flat = frame.assign(density=1.0, low=0.9, high=1.1)
    other = clv_models.density(flat, label="chance", title="Chances", mean=0.5, share=True)
    assert {t.get_text() for t in other.texts} == {"fitted, with 95% band of the parameters", "mean 50.0%"}
