import re

import pandas as pd
import pytest

from loyalty_research import display
from loyalty_research.report import render as module
from loyalty_research.report.execute import RunFailedError
from loyalty_research.report.render import Page, page_faults, render

CONTEXT = {
    "report": {"id": "r", "title": "Who <came> back?", "audience": "the team", "sensitivity": "internal"},
    "sensitivity": "Internal",
    "provenance": {"kind": "simulated", "dataset": "tiny", "as_of": "2024-01-31", "design": "randomised"},
    "findings": [{"headline": 'Three "of" ten & more.'}],
    "parameters": {"size": "3", "label": "<plain>"},
    "changed": [],
    "git": {"commit": "abcdef0123456789", "date": "2024-01-31", "dirty": True},
    "command": "loyalty report r",
}


@pytest.fixture
def page(notebook):
    """Render outputs, one cell each, into a page."""

    def make(*outputs, cells=(), **context):
        made = notebook(*cells, *("x",) * len(outputs))
        for cell, output in zip(made["cells"][2 + len(cells) :], outputs, strict=True):
            cell["outputs"] = output if isinstance(output, list) else [output]
            cell["execution_count"] = 1
        return render(made, {**CONTEXT, **context})

    return make


def shown(kind="display_data", metadata=None, **data):
    names = {"html": "text/html", "plain": "text/plain", "markdown": "text/markdown", "png": "image/png"}
    output = {"output_type": kind, "data": {names[k]: v for k, v in data.items()}, "metadata": metadata or {}}
    return {**output, "execution_count": 1} if kind == "execute_result" else output


def test_every_output_of_every_kind_is_in_the_page(page):
    """A template that forgets a kind of output drops it in silence; none may."""
    frame = pd.DataFrame({"arm": ["control"], "rate": [0.25]})
    outputs = [
        shown(html="<p>displayed html</p>", plain="no"),
        shown("execute_result", html="<p>result html</p>", plain="no"),
        shown(plain="displayed < plain"),
        shown("execute_result", plain="result plain"),
        shown(markdown="displayed **markdown**", plain="no"),
        shown(png="QUJD", metadata={"alt": "a rising line"}, plain="no"),
        shown(html=display.table(frame, caption="our table").html),
        shown(html=frame.to_html()),
        [
            {"output_type": "stream", "name": "stdout", "text": "printed & said"},
            {"output_type": "stream", "name": "stderr", "text": "a warning"},
            shown(html="<p>after the streams</p>"),
        ],
    ]
    text = page(*outputs)
    for part in (
        "<p>displayed html</p>",
        "<p>result html</p>",
        "displayed &lt; plain",
        "result plain",
        "displayed <strong>markdown</strong>",
        '<img src="data:image/png;base64,QUJD" alt="a rising line">',
        "<caption>our table</caption>",
        "printed &amp; said",
        "a warning",
        "<p>after the streams</p>",
    ):
        assert text.count(part) == 1, part
    assert text.count('class="lr-output"') == 11
    places = [
        text.index(part) for part in ("displayed html", "result html", "result plain", "after the streams")
    ]
    assert places == sorted(places)


def test_an_output_that_did_not_arrive_fails_the_page(page, monkeypatch):
    monkeypatch.setattr(Page, "output", lambda self, number, output: "")
    with pytest.raises(RunFailedError, match="has 1 outputs and the page shows 0"):
        page(shown(plain="lost"))


def test_an_error_output_cannot_become_a_page(page):
    with pytest.raises(RunFailedError, match="cell 3 has an output of type error"):
        page({"output_type": "error", "ename": "E", "evalue": "", "traceback": []})


def test_code_is_not_shown(page):
    assert "size: int" not in page(cells=["secret_code()"])


def test_the_page_says_what_it_is(page):
    text = page(shown(plain="x"))
    assert "<title>Who &lt;came&gt; back?</title>" in text
    assert text.count("<h1>") == 1
    assert 'content="Three &#34;of&#34; ten &amp; more."' in text
    for words in (
        'lang="en"',
        "Simulated data",
        "2024-01-31",
        "randomised",
        "the team",
        "Internal",
        "abcdef012345</code> (2024-01-31), with changes that were not committed",
        'href="r.ipynb"',
        'href="r.metrics.json"',
        "loyalty report r",
        "label = &lt;plain&gt;",
        "noindex",
        "<p>Ten rows, one question.</p>",
    ):
        assert words in text, words
    assert "Not the catalogue" not in text
    assert "Who came back?" not in text  # the notebook's own heading gives way to the title


def test_public_pages_may_be_found_and_changed_parameters_are_prominent(page):
    report = {**CONTEXT["report"], "sensitivity": "public"}
    text = page(shown(plain="x"), report=report, changed=["size"], git=None)
    assert "noindex" not in text
    assert re.search(r"Not the catalogue&#39;s parameters:</strong>\s*<code>size = 3</code>", text)
    assert "made outside version control" in text


def test_headings_make_the_contents_with_unique_anchors(page):
    cells = ["# The answer\n\ntext", "# Checks & more\n\n### Detail", "# The answer", "# main"]
    text = page(cells=cells)
    contents = re.search(r"<nav.*?</nav>", text, re.DOTALL).group()
    links = re.findall(r'href="#([^"]+)">([^<]+)<', contents)
    assert links == [
        ("the-answer", "The answer"),
        ("checks-more", "Checks &amp; more"),
        ("the-answer-2", "The answer"),
        ("main-2", "main"),
    ]
    for anchor, _ in links:
        assert f'<h2 id="{anchor}">' in text
    assert '<h3 id="detail">' in text
    assert text.index("<nav") < text.index('<h2 id="the-answer">')


def test_foreign_tables_get_a_region_and_no_empty_headers(page):
    frame = pd.DataFrame({"rate": [0.25]}, index=["control"])
    text = page(
        shown(html=f"<style scoped>td {{}}</style>{frame.to_html()}"), cells=["# A\n\n|a|b|\n|-|-|\n|1|2|"]
    )
    assert "dataframe" not in text
    assert "<th></th>" not in text
    assert text.count('<div class="lr-table" role="region" tabindex="0" aria-label=') == 2


def test_ours_are_left_alone():
    html = display.table(pd.DataFrame({"a": [1]}), caption="c").html
    assert module._scrolling(html, "x") == html


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ("<script>1</script>", "it has a <script>"),
        ("<iframe></iframe>", "it has a <iframe>"),
        ('<link rel="stylesheet" href="x.css">', "it has a <link>"),
        ('<img src="https://example.org/x.png" alt="">', "fetches 'https://example.org/x.png'"),
        ('<img srcset="x.png 2x" alt="">', "fetches"),
        ('<img src="data:image/png;base64,AA==">', "no alternative text"),
        ('<p onclick="go()">', "a script in onclick"),
        ('<p style="background:url(x.png)">', "a style fetches a file"),
        ("<style>@import 'x.css'</style>", "a style fetches a file"),
        ("<style>p{background:url( 'https://e.org/x')}</style>", "a style fetches a file"),
        ('<a href="file:///etc/x">x</a>', "a link leads to 'file:///etc/x'"),
        ('<a href="javascript:x()">x</a>', "a link leads to"),
        ('<p id="a"></p><p id="a"></p>', "two elements have the id 'a'"),
    ],
)
def test_the_gates_see_what_a_page_must_not_have(html, said):
    (fault,) = page_faults(html, outputs=0)
    assert said in fault


def test_the_gates_let_a_plain_page_pass():
    html = (
        '<style>p{background:url(data:image/png;base64,AA==)}</style><a href="https://example.org">x</a>'
        '<img src="data:image/png;base64,AA==" alt=""><p>url(x.png) @import</p><a href="#a">a</a>'
    )
    assert page_faults(html, outputs=0) == []


def test_colours_of_pages_and_pictures_agree():
    from loyalty_research.plots.style import COLOURS

    css = module.palette()
    for name, (light, dark) in COLOURS.items():
        assert f"--{name}:{light};" in css
        assert f"--{name}:{dark};" in css
