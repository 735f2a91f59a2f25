"""Fixtures that every test may use, and how a machine without a browser is treated."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ORACLES = Path(__file__).parent / "oracles"
ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
LACKING = "not on this machine: "

# a busy machine is no fault of the code
settings.register_profile("project", deadline=None)
settings.load_profile("project")


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def oracle():
    """Return a numeric truth by name from tests/oracles/*.json, each with its source."""
    cases = {}
    for path in sorted(ORACLES.glob("*.json")):
        for case in json.loads(path.read_text("utf-8")):
            assert case["name"] not in cases, f"two oracles are called {case['name']}"
            cases[case["name"]] = case
    return cases.__getitem__


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def _lacking(what: str, mend: str) -> None:
    """Skip a test for want of a tool; where CI or LOYALTY_REQUIRE_BROWSER=1 asks for it, fail."""
    said = f"{LACKING}{what} ({mend})"
    if "1" in (os.environ.get("LOYALTY_REQUIRE_BROWSER"), os.environ.get("CI", "").replace("true", "1")):
        pytest.fail(f"{said}, and this run must not go without it", pytrace=False)
    pytest.skip(said)


def _browser() -> str | None:
    named = os.environ.get("LOYALTY_BROWSER")
    return next(filter(None, map(shutil.which, [named] if named else BROWSERS)), None)


def pytest_runtest_setup(item):
    if item.get_closest_marker("browser") and _browser() is None:
        _lacking("a Chromium browser", "install chromium, or name one in LOYALTY_BROWSER")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the machine's Chromium or Chrome; mark the test `browser`."""
    found = _browser()
    if found is None:
        _lacking("a Chromium browser", "install chromium, or name one in LOYALTY_BROWSER")
    return found


@pytest.fixture(scope="session")
def axe_source() -> str:
    """The script of axe-core, which `make test` fetches with npm; mark the test `browser`."""
    found = sorted(ROOT.glob(".venv/axe-*/node_modules/axe-core/axe.min.js"))
    if not found:
        _lacking("axe-core", "install npm, then `make test` fetches it")
    return found[-1].read_text("utf-8")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    """Say in the last lines what was left untested for want of a tool."""
    counts: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if LACKING in reason:
            what = reason.split(LACKING, 1)[1]
            counts[what] = counts.get(what, 0) + 1
    for what, count in sorted(counts.items()):
        terminalreporter.write_line(f"SKIPPED {count} browser tests for want of {what}", yellow=True)
