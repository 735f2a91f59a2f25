"""The project's own pages: the default reports as a reader gets them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.datasets]

PAGES = ("index", "churn", "members-vs-nonmembers", "endowed-progress", "lifetime-value")


@pytest.fixture(scope="session")
def site(root, tmp_path_factory):
    """reports/site where it is up to date, else the default reports made for the occasion."""

    def loyalty(*words):
        done = [sys.executable, "-m", "loyalty_research.cli", *words]
        return subprocess.run(done, cwd=root, capture_output=True, text=True, check=False, timeout=900)

    if loyalty("report", "--check").returncode == 0:
        return root / "reports" / "site"
    folder = tmp_path_factory.mktemp("real") / "site"
    done = loyalty("report", "--out", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_is_accessible_alone_and_fits(inspected, site, name, scheme, width):
    found = inspected(site, name, scheme=scheme, width=width)
    assert found.violations == []
    assert found.outside == []
    assert found.errors == []
    assert found.scroll_width <= width


@pytest.mark.parametrize("name", PAGES[1:])
def test_a_page_answers_first_and_says_what_its_data_are(open_page, site, name):
    page = open_page(site, name)
    headings = page.get_by_role("heading", level=2).all_inner_texts()
    assert headings.index("The answer") <= 1  # after the data, if anything
    assert {"Evidence", "Checks", "Limits", "Provenance"} <= set(headings)
    first = page.locator(".lr-finding").first.bounding_box()
    assert first["y"] < 1400
    assert page.locator(".lr-dataset").count() == 1
    assert page.locator("img").count() >= 1
    assert all(len(alt) > 20 for alt in page.eval_on_selector_all("img", "all => all.map(e => e.alt)"))
    assert page.locator(".lr-messages").count() == 0
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_the_run_left_nothing_to_look_into_and_nothing_of_the_machine(root, site):
    manifest = json.loads((site / "manifest.json").read_text())
    for name in PAGES[1:]:
        entry = manifest["reports"][name]
        assert entry["failure"] is None
        assert entry["warnings"] == []
        assert entry["changed"] == []
    for path in site.rglob("*"):
        if path.is_file():
            text = path.read_text("utf-8")
            assert len(text) < 3_000_000, path.name
            for place in (str(Path.home()), str(root), sys.prefix):
                assert f"{place}/" not in text, (path.name, place)


def test_the_numbers_are_those_of_the_baseline(root, site):
    words = [sys.executable, "-m", "loyalty_research.cli", "diff", "--out", str(site)]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
