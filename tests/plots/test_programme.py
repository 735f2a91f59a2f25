import numpy as np
import pandas as pd
import pytest

from loyalty_research.plots import programme


@pytest.fixture
def rates():
    return pd.DataFrame(
        {
            "label": ["delivered", "opened", "clicked"],
            "estimate": [0.97, 0.43, 0.15],
            "low": [0.96, 0.42, 0.14],
            "high": [0.98, 0.44, 0.16],
            "unsure": [False, True, False],
        }
    )


def test_bars_are_as_long_as_their_rates_and_the_first_is_on_top(rates):
    ax = programme.rate_bars(rates, title="Rates", xlabel="of messages")
    assert [bar.get_width() for bar in ax.patches] == rates["estimate"].tolist()
    bottom, top = ax.get_ylim()
    assert bottom > top
    (lines,) = ax.collections
    spans = [segment[:, 0].tolist() for segment in lines.get_segments()]
    np.testing.assert_allclose(spans, rates[["low", "high"]])


def test_an_unsure_bar_is_dashed_and_empty(rates):
    bars = programme.rate_bars(rates, title="Rates", xlabel="of messages").patches
    assert [bar.get_linestyle() for bar in bars] == ["-", "--", "-"]
    assert [bar.get_facecolor()[3] == 0 for bar in bars] == [False, True, False]


def test_rates_of_nothing_are_drawn_without_limits_at_nothing():
    nothing = pd.DataFrame({"label": ["x"], "estimate": [0.0], "low": [0.0], "high": [0.0]})
    ax = programme.rate_bars(nothing, title="Rates", xlabel="of messages")
    assert ax.get_xlim()[1] > 0
    assert [t.get_text() for t in ax.texts] == ["0.0%"]


@pytest.mark.parametrize(
    ("drawn", "words", "face"),
    [(True, "drawn by lot", False), (False, "chosen by the sender", True)],
)
def test_what_was_chosen_looks_unlike_what_was_drawn(drawn, words, face):
    levels = pd.DataFrame(
        {"dose": [0, 1, 2], "estimate": [5.0, 6, 8], "low": [4.0, 5, 7], "high": [6.0, 7, 9]}
    )
    ax = programme.dose_response(levels, ylabel="spend", title="By dose", drawn=drawn)
    (line,) = ax.lines
    assert line.get_ydata().tolist() == [5.0, 6.0, 8.0]
    assert words in ax.get_xlabel()
    assert (line.get_markerfacecolor() == "none") is face
