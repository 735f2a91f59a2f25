"""The tornado's picture: bars from the middle, words at the right ends."""

from __future__ import annotations

import pytest

from loyalty_research.plots.what_if import tornado


def test_bars_run_from_the_middle_to_each_end():
    axes = tornado(["a", "b"], [-1.0, 2.0], [3.0, 0.5], ends=[("l1", "h1"), ("l2", "h2")], centre=1.0)
    spans = [sorted((bar.get_x(), bar.get_x() + bar.get_width())) for bar in axes.patches]
    assert spans == [pytest.approx(span) for span in ([-1.0, 1.0], [1.0, 3.0], [1.0, 2.0], [0.5, 1.0])]
    at = {text.get_text(): (text.xy[0], text.get_ha()) for text in axes.texts}
    assert at == {"l1": (-1.0, "right"), "h1": (3.0, "left"), "l2": (2.0, "left"), "h2": (0.5, "right")}


def test_an_assumption_that_does_nothing_is_drawn():
    axes = tornado(["a"], [1.0], [1.0], ends=[("l", "h")], centre=1.0)
    assert {text.get_ha() for text in axes.texts} == {"left", "right"}
    low, high = axes.get_xlim()
    assert low < 0
    assert high > 1
