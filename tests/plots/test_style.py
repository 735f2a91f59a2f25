import pytest

from loyalty_research.plots.style import COLOURS, SERIES


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize(
    ("name", "least"), [("ink", 7), ("muted", 4.5), *((f"series-{i}", 4.5) for i in range(1, 7))]
)
def test_contrast_against_the_surface_meets_wcag(theme, name, least):
    # WCAG 2.2, success criteria 1.4.3 (text, 4.5:1) since lines carry labels in their colour
    assert contrast(COLOURS[name][theme], COLOURS["surface"][theme]) >= least


def test_colours_are_distinct_so_that_swapping_them_is_safe():
    light = [pair[0] for pair in COLOURS.values()]
    assert len(set(light)) == len(light)
    assert len(SERIES) == 6
