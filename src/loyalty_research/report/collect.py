"""What an executed notebook says: findings, provenance, faults; and what it must not say."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loyalty_research.estimates import FINDING_MIME
from loyalty_research.provenance import PROVENANCE_MIME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["PICTURES", "cell_outputs", "collect", "faults", "metrics", "notices", "tidy", "without_places"]

PICTURES = ("image/svg+xml", "image/png", "image/jpeg")
SHOWN = ("text/html", *PICTURES, "text/markdown", "text/plain")
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")
_BASE64 = re.compile(r"(;base64,[A-Za-z0-9+/=\s]+)")
_FINDING = ("id", "headline", "value", "low", "high", "level", "method", "n", "unit", "status", "section")
_VOLATILE = ("papermill", "execution", "ExecuteTime")


def cell_outputs(notebook: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield every output with the number (1-based) of its cell."""
    for number, cell in enumerate(notebook["cells"], start=1):
        for output in cell.get("outputs", []):
            yield number, output


def _bundles(notebook: Mapping[str, Any], mime: str) -> list[dict[str, Any]]:
    return [output["data"][mime] for _, output in cell_outputs(notebook) if mime in output.get("data", {})]


def collect(notebook: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the findings and the provenance that a notebook displayed.

    Returns:
        Findings in the order of the page, and the last provenance (empty when there is none).
    """
    provenances = _bundles(notebook, PROVENANCE_MIME)
    # notebook files sort their keys; people read the id and the headline first
    findings = [
        {name: finding[name] for name in _FINDING if name in finding}
        for finding in _bundles(notebook, FINDING_MIME)
    ]
    return findings, provenances[-1] if provenances else {}


def metrics(report: str, findings: list[dict[str, Any]], provenance: Mapping[str, Any]) -> str:
    """Return the text of ``<report>.metrics.json``."""
    document = {
        "report": report,
        "as_of": provenance["as_of"],
        "dataset": provenance["dataset"],
        "fingerprint": provenance["fingerprint"],
        "findings": findings,
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def faults(notebook: Mapping[str, Any]) -> list[str]:
    """Return why a notebook that ran may not become a page, each with its mend."""
    found = []
    for number, output in cell_outputs(notebook):
        data = output.get("data")
        if data is None:
            continue
        shown = next((mime for mime in SHOWN if mime in data), None)
        foreign = [mime for mime in data if mime not in SHOWN and not mime.startswith("text/")]
        if shown is None or (shown == "text/plain" and foreign):
            found.append(f"cell {number} shows {', '.join(foreign) or 'nothing'}, which a page cannot hold")
        elif shown in PICTURES and not alternative_text(output, shown):
            found.append(
                f"cell {number} shows a picture without alternative text: use lr.display.figure(axes, alt=...)"
            )
    findings, provenance = collect(notebook)
    if not findings:
        found.append("the notebook displays no lr.Finding, so the index has nothing to say of it")
    ids = [finding["id"] for finding in findings]
    found += [f"two findings are called {name!r}" for name in dict.fromkeys(ids) if ids.count(name) > 1]
    if not provenance:
        found.append("the notebook displays no lr.provenance(...), so the page cannot say what its data are")
    return found


def alternative_text(output: Mapping[str, Any], mime: str) -> str:
    """Return the alternative text that an output's metadata carries."""
    metadata = output.get("metadata", {})
    return str(metadata.get("alt") or metadata.get(mime, {}).get("alt") or "").strip()


def notices(notebook: Mapping[str, Any]) -> list[str]:
    """Return what a reader of the run should look into: messages on stderr, object addresses."""
    said = []
    for number, output in cell_outputs(notebook):
        text = "".join(output.get("text", ""))
        if output.get("name") == "stderr" and text.strip():
            lines = [line for line in text.splitlines() if line.strip()]
            telling = next((line for line in lines if "Warning" in line or "Error" in line), lines[0])
            said.append(f"cell {number} wrote to its error stream: {' '.join(telling.split())}")
        plain = output.get("data", {})
        if "text/html" not in plain and _ADDRESS.search("".join(plain.get("text/plain", "")) + text):
            said.append(f"cell {number} shows the address of an object, which differs in every run")
    return said


def tidy(notebook: dict[str, Any], *, root: Path, site: Path) -> dict[str, Any]:
    """Return the notebook without what belongs to this machine or this moment.

    Times, durations and run ids leave its metadata, and folders of the machine its outputs, so
    that the same inputs give the same bytes and a page says nothing of who made it.

    Args:
        notebook: The executed notebook's JSON.
        root: The project's top folder.
        site: The site's folder.
    """
    notebook = _without_places(notebook, _places(root, site))
    for holder in [notebook, *notebook["cells"]]:
        for key in _VOLATILE:
            holder["metadata"].pop(key, None)
    for cell in notebook["cells"]:
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["id"] = "injected-parameters"
        if not cell["metadata"].get("tags", True):
            del cell["metadata"]["tags"]
    notebook["metadata"]["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    return notebook


def without_places(text: str, *, root: Path, site: Path) -> str:
    """Return a message without the machine's folders."""
    return str(_without_places(text, _places(root, site)))


def _places(root: Path, site: Path) -> list[tuple[re.Pattern[str], str]]:
    """Return the machine's folders as patterns with the word for each, the longest first."""
    words = {
        str(site): "[site]",
        str(root): "[project]",
        sys.prefix: "[python]",
        sys.base_prefix: "[python]",
        str(Path(__file__).resolve().parents[2]): "[package]",
        tempfile.gettempdir(): "[temp]",
        os.path.expanduser("~"): "~",  # noqa: PTH111 - a user without a home gives "~", never an error
    }
    words = {**{os.path.realpath(place): word for place, word in words.items()}, **words}
    kept = [place for place in words if len(place) > 2 and place not in ("/usr", "/usr/local")]
    # a folder is meant only where its name begins and ends
    found = [
        (re.compile(rf"(?<![\w.]){re.escape(place)}(?![\w.-])"), words[place])
        for place in sorted(kept, key=len, reverse=True)
    ]
    return [*found, (re.compile(r"\[temp\]/ipykernel_\d+/\d+\.py"), "[notebook]")]


def _without_places(value: Any, places: list[tuple[re.Pattern[str], str]]) -> Any:
    if isinstance(value, dict):
        return {
            key: item if key in PICTURES else _without_places(item, places) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_without_places(item, places) for item in value]
    if not isinstance(value, str):
        return value
    # pictures inside HTML are base64, whose letters mean nothing
    pieces = _BASE64.split(value)
    for place, word in places:
        pieces[::2] = [place.sub(word, piece) for piece in pieces[::2]]
    return "".join(pieces)
