import numpy as np
import pytest

from loyalty_research.plots import comparison as draw


def test_a_forest_has_a_zero_line_and_every_interval():
    ax = draw.forest(["a", "b"], [1.0, -2.0], [0.5, -3.0], [1.5, np.nan], reference=(0.7, "truth"))
    lines = {tuple(np.round(line.get_xdata(), 6).tolist()) for line in ax.lines}
    assert (0, 0) in lines
    assert (0.5, 1.5) in lines
    assert (0.7, 0.7) in lines
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    # the first label is at the top
    assert ax.get_yticks()[0] > ax.get_yticks()[1]


def test_what_is_not_an_effect_is_hollow_and_dashed():
    from matplotlib.colors import to_hex

    from loyalty_research.plots.style import SERIES, SURFACE

    ax = draw.forest(["raw", "real"], [1.0, 1.0], [0.0, 0.0], [2.0, 2.0], muted=[True, False])
    fills = [to_hex(line.get_markerfacecolor()) for line in ax.lines if line.get_marker() == "o"]
    assert fills == [SURFACE, SERIES[0]]


def test_love_is_sorted_by_what_differed_most_and_cut():
    before = [0.05, -0.9, 0.4]
    ax = draw.love(["x", "y", "z"], before, [0.0, -0.1, 0.02])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["y", "z", "x"]
    assert len(draw.love([f"c{i}" for i in range(80)], np.arange(80.0), np.zeros(80)).get_yticks()) == 30


def test_overlap_is_mirrored_shares():
    probability = np.array([0.1, 0.2, 0.2, 0.8, 0.9])
    ax = draw.overlap(probability, [0, 0, 0, 1, 1], labels=("in", "out"), bins=10)
    sums = sorted({round(float(np.sum(p.get_data().values)), 9) for p in ax.patches})
    assert sums == [-1.0, 1.0]
    assert {t.get_text() for t in ax.texts} == {"in", "out"}


@pytest.mark.parametrize("name", ["forest", "love", "overlap"])
def test_drawing_on_given_axes(name):
    import matplotlib.pyplot as plt

    ax = plt.subplots()[1]
    arguments = {
        "forest": (["a"], [1.0], [0.0], [2.0]),
        "love": (["a"], [1.0], [0.0]),
        "overlap": ([0.2, 0.7], [0, 1]),
    }[name]
    more = {"labels": ("a", "b")} if name == "overlap" else {}
    assert getattr(draw, name)(*arguments, ax=ax, **more) is ax
