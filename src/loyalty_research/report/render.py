"""Executed notebook to page: our own nbconvert template, then gates on what came out."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loyalty_research.i18n import message
from loyalty_research.plots.style import COLOURS
from loyalty_research.report.collect import PICTURES, alternative_text, cell_outputs
from loyalty_research.report.execute import RunFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TEMPLATES", "Page", "kind_words", "page_faults", "palette", "render"]

TEMPLATES = Path(__file__).with_name("templates")
_FORBIDDEN = ("script", "iframe", "object", "embed", "link", "base", "form", "audio", "video")
_FETCHED = ("src", "srcset", "poster", "background", "data", "xlink:href", "formaction")


def kind_words() -> dict[str, str]:
    """Return the words for each kind of data."""
    return {
        "real": message("Real data"),
        "simulated": message("Simulated data"),
        "published": message("Published counts"),
        "user": message("Your own data"),
    }


class Page:
    """The parts of a page that are gathered while its cells are rendered.

    Args:
        notebook: The executed notebook's JSON, tidied.
    """

    def __init__(self, notebook: Mapping[str, Any]) -> None:
        self.contents: list[tuple[str, str]] = []
        self._anchors: set[str] = {"main", "contents", "about"}
        self.lead, self.cells = self._split(notebook)

    def _split(self, notebook: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
        """Take the question, which the page's title repeats, off the first cell; the rest leads."""
        cells = list(notebook["cells"])
        if not cells or cells[0]["cell_type"] != "markdown":
            return "", cells
        source = "".join(cells[0]["source"])
        return self.markdown(re.sub(r"\A\s*#\s[^\n]*\n?", "", source)), cells[1:]

    def anchor(self, text: str) -> str:
        """Return an unused anchor made from a heading's words."""
        base = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"
        name, count = base, 1
        while name in self._anchors:
            count += 1
            name = f"{base}-{count}"
        self._anchors.add(name)
        return name

    def markdown(self, source: str) -> str:
        """Return markdown as HTML, with anchors on headings; second-level ones enter the contents."""
        import mistune

        page = self

        class Renderer(mistune.HTMLRenderer):
            def heading(self, text: str, level: int, **attrs: Any) -> str:
                del attrs
                plain = html.unescape(re.sub(r"<[^>]+>", "", text))
                level = max(level, 2)  # the page's title is its only first-level heading
                name = page.anchor(plain)
                if level == 2:
                    page.contents.append((name, plain))
                return f'<h{level} id="{name}">{text}</h{level}>\n'

        convert = mistune.create_markdown(
            renderer=Renderer(escape=False), plugins=["table", "strikethrough", "footnotes"]
        )
        return _scrolling(str(convert(source)), message("Table"))

    def output(self, number: int, output: Mapping[str, Any]) -> str:
        """Return one output as HTML, marked so that a gate can count it."""
        kind = output["output_type"]
        if kind == "stream":
            body = self._stream(output)
        elif kind in ("display_data", "execute_result"):
            body = self._data(number, output)
        else:
            raise RunFailedError(f"cell {number} has an output of type {kind}, which a page cannot hold")
        return f'<div class="lr-output" data-cell="{number}">{body}</div>'

    def _stream(self, output: Mapping[str, Any]) -> str:
        text = html.escape("".join(output["text"]))
        if output["name"] == "stderr":
            words = html.escape(message("Messages of the run, to be looked into"))
            return f'<details class="lr-messages"><summary>{words}</summary>{_block(text)}</details>'
        return _block(text)

    def _data(self, number: int, output: Mapping[str, Any]) -> str:
        data = {mime: "".join(v) if isinstance(v, list) else v for mime, v in output["data"].items()}
        if "text/html" in data:
            label = message("Table of cell {number}", number=number)
            return _scrolling(str(data["text/html"]), label)
        for mime in PICTURES:
            if mime in data:
                return _picture(mime, str(data[mime]), alternative_text(output, mime))
        if "text/markdown" in data:
            return self.markdown(str(data["text/markdown"]))
        if "text/plain" in data:
            return _block(html.escape(str(data["text/plain"])))
        raise RunFailedError(f"cell {number} shows {', '.join(data)}, which a page cannot hold")


def _block(text: str) -> str:
    label = html.escape(message("Printed text"), quote=True)
    return f'<pre class="lr-printed" role="region" tabindex="0" aria-label="{label}">{text}</pre>'


def _picture(mime: str, data: str, alt: str) -> str:
    payload = base64.b64encode(data.encode()).decode() if mime == "image/svg+xml" else "".join(data.split())
    return (
        '<figure class="lr-figure-frame"><div class="lr-picture" tabindex="0">'
        f'<img src="data:{mime};base64,{payload}" alt="{html.escape(alt, quote=True)}"></div></figure>'
    )


def _scrolling(text: str, label: str) -> str:
    """Give bare tables (pandas' own, markdown's) a region that scrolls and mend their faults."""
    if "<table" not in text or 'class="lr-table"' in text:
        return text
    name = html.escape(label, quote=True)
    text = re.sub(r"<style scoped>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<th>\s*</th>", "<td></td>", text)
    text = re.sub(r'<table border="1" class="dataframe">', "<table>", text)
    text = re.sub(
        r"<table\b", f'<div class="lr-table" role="region" tabindex="0" aria-label="{name}"><table', text
    )
    return text.replace("</table>", "</table></div>")


def render(notebook: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """Return the page of an executed notebook.

    Args:
        notebook: The executed notebook's JSON, tidied.
        context: What the page says around its cells: ``report`` (the catalogue's entry),
            ``provenance``, ``findings``, ``parameters`` (name to the words for its value),
            ``changed``, ``git``, ``command``.

    Raises:
        RunFailedError: When an output cannot be shown, or the page fails a gate.
    """
    import nbformat
    from nbconvert.exporters.templateexporter import TemplateExporter

    page = Page(notebook)
    exporter = TemplateExporter(
        template_name="loyalty", file_extension=".html", extra_template_basedirs=[str(TEMPLATES)]
    )
    exporter.register_filter("markdown", page.markdown)
    exporter.register_filter("output", lambda output, number: page.output(number, output))
    # a filter, since nbconvert hands the template a copy of everything made before it
    exporter.register_filter("contents", lambda _: page.contents)
    shown = {
        **context,
        "lead": page.lead,
        "skipped": len(notebook["cells"]) - len(page.cells),
        "kind": kind_words()[context["provenance"]["kind"]],
        "colours": palette(),
        "words": _words(),
        "language": os.environ.get("LOYALTY_LANGUAGE", "en"),
    }
    # reading joins texts that the file keeps as lists of lines
    node = nbformat.reads(json.dumps({**notebook, "cells": page.cells}), as_version=4)
    text: str = exporter.from_notebook_node(node, resources={"page": shown})[0]
    found = page_faults(text, outputs=sum(1 for _ in cell_outputs(notebook)))
    if found:
        raise RunFailedError("the page fails its gates: " + "; ".join(found))
    return text


def palette() -> str:
    """Return the pictures' colours as CSS variables, so that pages and pictures agree."""
    light = "".join(f"--{name}:{bright};" for name, (bright, _) in COLOURS.items())
    dark = "".join(f"--{name}:{dim};" for name, (_, dim) in COLOURS.items())
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def _words() -> dict[str, str]:
    return {
        "skip": message("Skip to the content"),
        "all": message("All reports"),
        "contents": message("On this page"),
        "data": message("Data"),
        "as_of": message("Observed until"),
        "design": message("Design"),
        "audience": message("Written for"),
        "sensitivity": message("Sensitivity"),
        "not_dated": message("not dated"),
        "changed": message("Not the catalogue's parameters"),
        "about": message("How this page was made"),
        "about_text": message(
            "Every figure above was computed by a notebook when this page was made; nothing was typed in."
        ),
        "download": message("Download the notebook with its code and results"),
        "metrics": message("Download the findings as data (JSON)"),
        "again": message("Make it again"),
        "parameters": message("Parameters"),
        "none": message("none"),
        "commit": message("Commit"),
        "dirty": message("with changes that were not committed"),
        "no_git": message("made outside version control"),
    }


class _Gate(HTMLParser):
    """Reads a page as a browser would and notes what a page must not have."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.outputs = 0
        self._ids: set[str] = set()
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._style = tag == "style"
        self.outputs += "lr-output" in values.get("class", "").split()
        if tag in _FORBIDDEN:
            self.faults.append(f"it has a <{tag}>")
        if tag == "img" and "alt" not in values:
            self.faults.append("a picture has no alternative text")
        for name, value in values.items():
            if name.startswith("on"):
                self.faults.append(f"<{tag}> has a script in {name}")
            if name in _FETCHED and not value.startswith(("data:", "#")):
                self.faults.append(f"<{tag}> fetches {value[:60]!r}")
            if name == "style":
                self._check_style(value)
            if name == "href" and tag == "a" and value.startswith(("file:", "/", "javascript:")):
                self.faults.append(f"a link leads to {value[:60]!r}")
        if "id" in values:
            if values["id"] in self._ids:
                self.faults.append(f"two elements have the id {values['id']!r}")
            self._ids.add(values["id"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "style":
            self._style = False

    def handle_data(self, data: str) -> None:
        if self._style:
            self._check_style(data)

    def _check_style(self, text: str) -> None:
        if "@import" in text or re.search(r"url\(\s*[\"']?(?!data:|#)", text):
            self.faults.append("a style fetches a file")


def page_faults(text: str, *, outputs: int) -> list[str]:
    """Return what is wrong with a finished page.

    Args:
        text: The HTML.
        outputs: How many outputs the notebook has; each must be in the page.
    """
    gate = _Gate()
    gate.feed(text)
    gate.close()
    if gate.outputs != outputs:
        gate.faults.append(f"the notebook has {outputs} outputs and the page shows {gate.outputs}")
    return list(dict.fromkeys(gate.faults))
