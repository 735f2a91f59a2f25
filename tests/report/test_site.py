import pytest

from loyalty_research.report.manifest import Entry, Failure
from loyalty_research.report.render import page_faults
from loyalty_research.report.site import cards, index_key, index_page


def entry(**changes):
    facts = {
        "title": "Why <so>?",
        "notebook": "n.ipynb",
        "audience": "all",
        "sensitivity": "public",
        "parameters": {},
    }
    page = {
        "files": {"r.html": "0"},
        "generated_at": "2024-03-01T10:00:00+00:00",
        "provenance": {"dataset": "d & e", "kind": "user", "as_of": None},
        "findings": [{"headline": f"finding {i}", "status": s} for i, s in enumerate(STATUSES)],
    }
    return Entry(**{**facts, **page, **changes})


STATUSES = ("finding", "caution", "suppressed", "finding")


@pytest.mark.parametrize(
    ("changes", "fresh", "state", "said"),
    [
        ({}, True, "fresh", "Up to date"),
        ({}, False, "stale", "Out of date: something it was made from has changed since."),
        (
            {"failure": Failure("it < broke", "2024-04-01", "failed/r.ipynb")},
            True,
            "failed",
            "The last run failed. The page is the last good one, of 2024-03-01.",
        ),
        (
            {"failure": Failure("it < broke", "2024-04-01"), "files": {}},
            False,
            "failed",
            "The run failed, and there is no earlier page.",
        ),
    ],
)
def test_each_state_says_what_a_reader_must_know(changes, fresh, state, said):
    (card,) = shown = cards({"r": entry(**changes)}, {"r": fresh})
    assert (card["state"], card["said"]) == (state, said)
    page = index_page(shown)
    assert said in page
    assert ('href="r.html"' in page) is bool(changes.get("files", True))
    assert ("it &lt; broke" in page) is ("failure" in changes)
    assert page_faults(page, outputs=0) == []


def test_the_index_shows_data_findings_and_what_needs_care():
    made = entry(changed=["weeks"], parameters={"weeks": 3}, warnings=["a", "b"], sensitivity="restricted")
    page = index_page(cards({"r": made}, {"r": True}))
    for words in (
        "Why &lt;so&gt;?",
        "d &amp; e",
        "Your own data",
        "Not dated",
        "<li>finding 0</li>",
        '<span class="flag">Read with care:</span> finding 1',
        '<span class="flag">No verdict:</span> finding 2',
        "weeks = 3",
        "2 messages of the run to look into",
        "Restricted: do not pass on",
    ):
        assert words in page, words
    assert "finding 3" not in page  # three headlines are enough for an index


def test_the_key_changes_with_what_is_shown_and_how():
    shown = cards({"r": entry()}, {"r": True})
    found = {
        index_key(shown, "m"),
        index_key(shown, "n"),
        index_key(cards({"r": entry()}, {"r": False}), "m"),
        index_key(cards({"r": entry(title="Other?")}, {"r": True}), "m"),
    }
    assert len(found) == 4
