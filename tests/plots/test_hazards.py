"""The picture of coefficients over time keeps its words apart and copes with many marks."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.plots.hazards import coefficient_over_time


def tables(n):
    x = np.linspace(0, 1, n)
    rng = np.random.default_rng(0)
    residuals = pd.DataFrame(
        {"time": 10 * x, "x": x, "deaths": rng.integers(1, 9, n), "estimate": rng.normal(size=n)}
    )
    line = np.sin(3 * np.linspace(0, 1, 40))
    smooth = pd.DataFrame(
        {"time": np.linspace(0, 10, 40), "x": np.linspace(0, 1, 40), "estimate": line}
    ).assign(low=line - 0.2, high=line + 0.2)
    return residuals, smooth


def test_close_lines_are_named_apart():
    residuals, smooth = tables(30)
    constant = float(smooth["estimate"].iloc[-1]) + 1e-6
    axes = coefficient_over_time(residuals, smooth, constant=constant, name="plan b against a")
    heights = [t.get_position()[1] for t in axes.texts]
    assert abs(heights[0] - heights[1]) > 0.05 * np.ptp(axes.get_ylim())
    assert "plan b against a" in axes.get_ylabel()
    assert axes.get_xticklabels()[0].get_text() == "0"


@pytest.mark.parametrize(("n", "flat"), [(30, False), (3000, True)])
def test_many_marks_become_an_image(n, flat):
    residuals, smooth = tables(n)
    axes = coefficient_over_time(residuals, smooth, constant=0.0, name="age")
    assert axes.collections[0].get_rasterized() is flat


def test_many_leaving_at_once_give_one_tick():
    residuals, smooth = tables(30)
    residuals["x"] = np.where(residuals["time"] == 0, 0.0, 0.7 + 0.3 * residuals["time"] / 10)
    axes = coefficient_over_time(
        residuals, smooth, constant=0.1, name="first order over 15.36 to 31.98 against up to 15.36"
    )
    said = [t.get_text() for t in axes.get_xticklabels()]
    assert len(said) == len(set(said))
    assert "\n" in axes.get_ylabel()
