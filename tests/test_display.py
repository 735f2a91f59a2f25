import base64
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research import display
from loyalty_research.plots import style


class Reader(HTMLParser):
    """Collects the tags, and the text of the cells."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.cells = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in {"td", "th"}:
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


FRAME = pd.DataFrame({"arm": ["a<b", "c"], "rate": [0.125, None], "n": [12345, 7], "p_value": [0.0002, 0.5]})


def test_table_has_caption_scopes_and_escaped_cells():
    html = display.table(FRAME, caption="Rates & counts", formats={"rate": "percent"})._repr_html_()
    read = Reader(html)
    tags = [tag for tag, _ in read.tags]
    assert "caption" in tags
    headers = [attrs for tag, attrs in read.tags if tag == "th"]
    assert [h["scope"] for h in headers] == ["col"] * 4 + ["row"] * 2
    assert read.cells[4:] == ["a<b", "12.5%", "12,345", "<0.001", "c", "–", "7", "0.500"]


def test_table_in_a_terminal_shows_the_same_cells():
    text = repr(display.table(FRAME, caption="Rates", formats={"rate": "percent"}))
    assert "12.5%" in text
    assert text.splitlines()[0] == "Rates"


def test_table_refuses_formats_for_columns_it_lacks():
    with pytest.raises(KeyError, match="no column 'rat'"):
        display.table(FRAME, caption="x", formats={"rat": "percent"})


def drawn():
    with style.style():
        ax = style.figure_axes()
        ax.plot([0, 1], [0, 1], color=style.SERIES[0])
        ax.set_title("A line")
    return ax


def svg_of(html):
    return base64.b64decode(re.search(r"svg\+xml;base64,([^\"]+)", html).group(1)).decode()


def test_figure_is_the_same_bytes_twice_and_follows_the_theme():
    first, second = (display.figure(drawn(), alt="A rising line")._repr_html_() for _ in range(2))
    assert first == second
    svg = svg_of(first)
    assert "prefers-color-scheme:dark" in svg
    assert "var(--series-1)" in svg
    body = svg.split("</style>", 1)[1]
    assert not any(light in body.lower() for light, _ in style.COLOURS.values())


def test_figure_needs_alternative_text():
    with pytest.raises(ValueError, match="alternative text"):
        display.figure(drawn(), alt="  ")


def test_figure_turns_to_pixels_when_there_are_many_marks():
    with style.style():
        ax = style.figure_axes()
        ax.scatter(range(3000), range(3000))
    html = display.figure(ax, alt="Many points")._repr_html_()
    assert "image/png" in html


def test_result_html_escapes_what_data_bring():
    check = lr.Check("<script>", "passed", "a & b")
    html = display.checks([check])._repr_html_()
    assert "<script>" not in html
    assert "a &amp; b" in html
