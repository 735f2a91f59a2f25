"""The index of a site: every report's headline findings, its data and its state."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from loyalty_research.i18n import message, messages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty_research.report.manifest import Entry

__all__ = ["cards", "index_key", "index_page", "sensitivity_words"]


def sensitivity_words() -> dict[str, str]:
    """Return the words for each label of sensitivity."""
    return {
        "public": message("Public"),
        "internal": message("Internal"),
        "restricted": message("Restricted: do not pass on"),
    }


def cards(entries: Mapping[str, Entry], fresh: Mapping[str, bool]) -> list[dict[str, Any]]:
    """Return what the index says of each report, as plain data.

    Args:
        entries: The manifest's entries in the order to show.
        fresh: Report id to whether its page was made from what is there now.
    """
    return [_card(name, entry, fresh=fresh.get(name, False)) for name, entry in entries.items()]


def _card(name: str, entry: Entry, *, fresh: bool) -> dict[str, Any]:
    made = (entry.generated_at or "")[:10]
    if entry.failure and entry.files:
        state, said = (
            "failed",
            message("The last run failed. The page is the last good one, of {day}.", day=made),
        )
    elif entry.failure:
        state, said = "failed", message("The run failed, and there is no earlier page.")
    elif fresh:
        state, said = "fresh", message("Up to date")
    else:
        state, said = "stale", message("Out of date: something it was made from has changed since.")
    return {
        "id": name,
        "title": entry.title,
        "audience": entry.audience,
        "sensitivity": sensitivity_words()[entry.sensitivity],
        "restricted": entry.sensitivity == "restricted",
        "has_page": bool(entry.files),
        "dataset": entry.provenance.get("dataset"),
        "kind": entry.provenance.get("kind"),
        "observed": message("Observed until {day}", day=entry.provenance["as_of"])
        if entry.provenance.get("as_of")
        else message("Not dated"),
        "state": state,
        "said": said,
        "failure": entry.failure.message if entry.failure else None,
        "failed_notebook": entry.failure.notebook if entry.failure else None,
        "changed": [f"{key} = {_plain(entry.parameters[key])}" for key in entry.changed],
        "warnings": messages(
            "{count} message of the run to look into",
            "{count} messages of the run to look into",
            len(entry.warnings),
        )
        if entry.warnings
        else None,
        "findings": [_headline(finding) for finding in entry.findings[:3]],
    }


def _headline(finding: Mapping[str, Any]) -> dict[str, str]:
    """Return a headline with the words that go before it, unless it says them itself."""
    words = {"caution": message("Read with care"), "suppressed": message("No verdict")}
    flag = words.get(finding["status"], "")
    text: str = finding["headline"]
    return {"headline": text, "flag": "" if text.lower().startswith(flag.lower()) else flag}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def index_key(shown: list[dict[str, Any]], machinery: str) -> str:
    """Return a hash of everything the index shows, so that it is only made when it changes."""
    return hashlib.sha256((machinery + json.dumps(shown, sort_keys=True)).encode()).hexdigest()


def index_page(shown: list[dict[str, Any]]) -> str:
    """Return the HTML of the index.

    Args:
        shown: From :func:`cards`.
    """
    from jinja2 import Environment, FileSystemLoader

    from loyalty_research.report.render import TEMPLATES, kind_words, palette

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES / "loyalty"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    style = (TEMPLATES / "loyalty" / "style.css").read_text("utf-8")
    page: str = environment.get_template("site.html.j2").render(
        cards=shown,
        kinds=kind_words(),
        style=palette() + "\n" + style,
        language=os.environ.get("LOYALTY_LANGUAGE", "en"),
        words={
            "title": message("Loyalty research"),
            "skip": message("Skip to the content"),
            "lead": message(
                "Each report answers one question. The page says first what was found, then on what data, "
                "how sure it is and where it stops."
            ),
            "for": message("Written for"),
            "reason": message("What went wrong"),
            "failed_notebook": message("See the failed notebook"),
            "changed": message("Not the catalogue's parameters"),
            "data": message("Data"),
            "manifest": message("What every page was made from (manifest.json)"),
        },
    )
    return page
