import pandas as pd

from loyalty_research.plots.gradient import pace_by_card


def frame():
    return pd.DataFrame(
        {
            "group": ["first card"] * 3 + ["next cards"] * 3,
            "stamps": [0, 1, 2] * 2,
            "estimate": [0.1, 0.2, 0.3, 0.05, 0.1, 0.15],
            "low": [0.08, 0.17, 0.25, 0.03, 0.08, 0.1],
            "high": [0.12, 0.23, 0.36, 0.07, 0.13, 0.21],
        }
    )


def test_each_kind_of_card_is_a_line_told_apart_without_colour():
    ax = pace_by_card(frame(), unit="chance of a visit in 7 days")
    lines = ax.get_lines()
    assert [line.get_label() for line in lines] == ["first card", "next cards"]
    assert lines[0].get_ydata().tolist() == [0.1, 0.2, 0.3]
    assert lines[0].get_marker() != lines[1].get_marker()
    assert lines[0].get_linestyle() != lines[1].get_linestyle()
    assert ax.get_ylabel() == "chance of a visit in 7 days"
    assert ax.get_ylim()[0] == 0


def test_it_draws_on_given_axes():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    assert pace_by_card(frame(), ax=ax) is ax
