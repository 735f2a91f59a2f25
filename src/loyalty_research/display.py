"""Rich display: accessible tables, figures with alternative text, prose, checks.

Everything here renders to self-contained HTML that reads alone in JupyterLab and is styled
by the report template. No outside request, no script.
"""

from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import dataclass
from html import escape
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from loyalty_research.estimates import Check, Result

__all__ = ["Html", "checks", "figure", "plain_table", "prose", "result_html", "table"]

_HEADINGS: dict[str, Callable[[], str]] = {
    "metric": lambda: message("Measure"),
    "group": lambda: message("Group"),
    "estimand": lambda: message("What is estimated"),
    "estimate": lambda: message("Estimate"),
    "low": lambda: message("Low"),
    "high": lambda: message("High"),
    "level": lambda: message("Level"),
    "method": lambda: message("Method"),
    "n": lambda: message("n"),
    "p_value": lambda: message("p"),
}

# an amount and its currency stay on one line of a narrow cell
_AMOUNT = re.compile(r"(?<=\d) (?=[A-Z]{3}\b)")
_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Html:
    """A piece of page: HTML for notebooks and reports, text for terminals."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def _cell(value: Any, how: Any = None) -> str:
    if value is None or (isinstance(value, Real) and math.isnan(float(value))):
        return "–"
    if callable(how):
        return str(how(value))
    if how == "percent":
        return percent(float(value))
    if how == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if isinstance(how, str):
        return format(value, how)
    if isinstance(value, (bool, str)) or type(value).__name__ == "bool":
        return message("yes") if value is True else message("no") if value is False else str(value)
    if isinstance(value, Integral):
        return f"{int(value):,}".replace("-", "−")
    if isinstance(value, Real):
        return number(float(value))
    if hasattr(value, "strftime"):
        return str(value.strftime("%Y-%m-%d"))
    return str(value)


def _is_number(values: Iterable[Any]) -> bool:
    kept = [v for v in values if v is not None]
    return bool(kept) and all(isinstance(v, Real) and not isinstance(v, bool) for v in kept)


def table(
    frame: pd.DataFrame,
    *,
    caption: str,
    formats: Mapping[str, Any] | None = None,
    headings: Mapping[str, str] | None = None,
    row_header: str | None = None,
    note: str | None = None,
) -> Html:
    """Show a frame as an accessible table.

    Args:
        frame: Rows to show; the index is dropped unless ``row_header`` names it.
        caption: What the table shows, one sentence; required, since pages are read by ear too.
        formats: Column to ``"percent"``, ``"p"``, a format spec such as ``",.2f"``, or a callable.
        headings: Column to the words shown; common estimate columns have words already.
        row_header: Column that names each row (default: the first one).
        note: Small print under the table.

    Raises:
        KeyError: When ``formats``, ``headings`` or ``row_header`` names a column the frame lacks.

    Examples:
        >>> import pandas as pd
        >>> print(table(pd.DataFrame({"arm": ["a"], "rate": [0.1]}), caption="Rates",
        ...             formats={"rate": "percent"}))
        Rates
        arm   rate
          a  10.0%
    """
    if frame.index.name is not None and row_header == frame.index.name:
        frame = frame.reset_index()
    formats, headings = dict(formats or {}), dict(headings or {})
    for name in [*formats, *headings, *([row_header] if row_header else [])]:
        if name not in frame.columns:
            raise KeyError(f"the table has no column {name!r}; it has {', '.join(map(str, frame.columns))}")
    if "p_value" in frame.columns:
        formats.setdefault("p_value", "p")
    if "level" in frame.columns:
        formats.setdefault("level", lambda v: percent(v, digits=0))
    lead = row_header or (str(frame.columns[0]) if len(frame.columns) else None)
    words = {
        c: headings.get(c, _HEADINGS[c]() if c in _HEADINGS else str(c).replace("_", " "))
        for c in frame.columns
    }
    numeric = {c for c in frame.columns if _is_number(frame[c].tolist())}
    head = "".join(
        f'<th scope="col"{" class=lr-num" if c in numeric else ""}>{escape(words[c])}</th>'
        for c in frame.columns
    )
    body, lines = [], []
    for record in frame.to_dict("records"):
        cells, line = [], []
        for column, value in record.items():
            text = _cell(value, formats.get(str(column)))
            line.append(text)
            kind = " class=lr-num" if column in numeric else ""
            tag = "th" if column == lead else "td"
            scope = ' scope="row"' if column == lead else ""
            cells.append(f"<{tag}{scope}{kind}>{escape(_AMOUNT.sub(_NO_BREAK, text))}</{tag}>")
        body.append(f"<tr>{''.join(cells)}</tr>")
        lines.append(line)
    small = f'<p class="lr-note">{escape(note)}</p>' if note else ""
    # a region that scrolls must be reachable by keyboard, hence tabindex and a name
    html = (
        f'<div class="lr-table" role="region" tabindex="0" aria-label="{escape(caption, quote=True)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>{small}"
    )
    text = "\n".join([caption, _align([list(words.values()), *lines]), *([note] if note else [])])
    return Html(html, text)


def _align(rows: list[list[str]]) -> str:
    if not rows or not rows[0]:
        return ""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows)


def plain_table(frame: pd.DataFrame) -> str:
    """Return a frame as aligned text for a terminal."""
    shown = frame.dropna(axis="columns", how="all")
    lines = [[_cell(v) for v in record.values()] for record in shown.to_dict("records")]
    return _align([[str(c) for c in shown.columns], *lines])


def figure(drawn: Figure | Axes, *, alt: str, caption: str | None = None, raster: bool | None = None) -> Html:
    """Show a matplotlib figure with alternative text, the same bytes on every run.

    Colours of :mod:`loyalty_research.plots.style` follow the reader's light or dark setting.
    The figure is closed.

    Args:
        drawn: A figure, or Axes of it.
        alt: What the picture shows, with its main figures, for a reader who cannot see it.
        caption: A sentence under the picture; it is not read twice, so it need not repeat ``alt``.
        raster: PNG instead of SVG; by default PNG above 2,000 marks.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    fig: Any = drawn if hasattr(drawn, "savefig") else drawn.get_figure()
    if not alt.strip():
        raise ValueError("a figure needs alternative text: say what it shows")
    if raster is None:
        raster = _marks(fig) > 2000
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "loyalty_research", "svg.fonttype": "path"}):
        if raster:
            fig.savefig(buffer, format="png", dpi=144, bbox_inches="tight", metadata={"Software": None})
            data, kind = buffer.getvalue(), "image/png"
        else:
            fig.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
            data, kind = _themed(buffer.getvalue()), "image/svg+xml"
    plt.close(fig)
    source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    html = (
        # on a phone the picture scrolls in its frame, which the keyboard must reach
        f'<figure class="lr-figure-frame"><div class="lr-picture" tabindex="0"><img src="{source}" '
        f'alt="{escape(alt, quote=True)}" style="max-width:100%;height:auto"></div>{words}</figure>'
    )
    return Html(html, f"[{message('Figure')}: {alt}]")


def _marks(fig: Any) -> int:
    total = 0
    for ax in fig.axes:
        for collection in ax.collections:
            offsets = collection.get_offsets()
            total += len(offsets) if len(offsets) > 1 else len(collection.get_paths())
        total += len(ax.patches) + sum(len(line.get_xdata()) // 20 for line in ax.lines)
    return total


def _themed(svg: bytes) -> bytes:
    """Swap the style's fixed colours for CSS variables that know light and dark."""
    from loyalty_research.plots.style import COLOURS

    text = svg.decode()
    light, dark = [], []
    for name, (bright, dim) in COLOURS.items():
        text = re.sub(re.escape(bright), f"var(--{name})", text, flags=re.IGNORECASE)
        light.append(f"--{name}:{bright}")
        dark.append(f"--{name}:{dim}")
    style = (
        f"<style>svg{{{';'.join(light)}}}"
        f"@media (prefers-color-scheme:dark){{svg{{{';'.join(dark)}}}}}"
        f"@media print{{svg{{{';'.join(light)}}}}}</style>"
    )
    text = re.sub(r"(<svg\b[^>]*>)", lambda m: m.group(1) + style, text, count=1)
    return text.encode()


def prose(*paragraphs: str) -> Html:
    """Show sentences that were made from results.

    Args:
        *paragraphs: Plain text, one paragraph each; it is escaped.
    """
    html = "".join(f'<p class="lr-prose">{escape(p)}</p>' for p in paragraphs)
    return Html(html, "\n\n".join(paragraphs))


def checks(items: Iterable[Check], *, caption: str | None = None) -> Html:
    """Show assumption checks as a table: what, how it came out, the figures."""
    import pandas as pd

    words = {
        "passed": message("passed"),
        "warning": message("warning"),
        "failed": message("FAILED"),
        "not measurable": message("not measurable"),
    }
    rows = [(c.name, words[c.status], c.detail) for c in items]
    columns = [message("Check"), message("Outcome"), message("What was seen")]
    frame = pd.DataFrame(rows, columns=columns)
    return table(frame, caption=caption or message("Checks"))


def result_html(result: Result) -> str:
    """Render a result: verdict, estimates, checks."""
    frame = result.to_frame().dropna(axis="columns", how="all")
    parts = [f'<p class="lr-verdict">{escape(result.verdict())}</p>']
    if len(frame):
        parts.append(table(frame, caption=result.title or type(result).__name__).html)
    if result.checks:
        parts.append(checks(result.checks).html)
    return f'<div class="lr-result">{"".join(parts)}</div>'
