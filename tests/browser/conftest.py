"""Pages in a headless browser: made from one rich notebook, opened light and dark, wide and narrow."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location(
    "report_conftest", Path(__file__).parents[1] / "report" / "conftest.py"
)
_shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_shared)
package = _shared.package

LOAD = """
import numpy as np
import pandas as pd
import loyalty_research as lr
from loyalty_research import plots

orders = pd.DataFrame({
    "transaction_id": [f"t{i}" for i in range(60)],
    "customer_id": [f"c{i % 17}" for i in range(60)],
    "transacted_at": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(60) * 5, unit="D"),
    "amount": 10.0 + np.arange(60) % 7,
    "currency": "EUR",
})
source = lr.Dataset.from_frames(
    "shop", {"transactions": orders}, kind="simulated", currency="EUR", as_of="2024-12-31",
    description="Sixty made-up orders of seventeen customers, for looking at pages.",
    notices=["Customers who bought before 2024 look like new ones."],
)
source
"""
FINDINGS = """
share = lr.Estimate(0.1862, 0.152, 0.224, 0.95, "newcombe", 1240, "fraction")
lr.display.prose(f"{share.format()} of customers stop within a year; nothing here says why.")
"""
SHOW = """
from IPython.display import display
display(lr.Finding("stop", "About one customer in five stops buying within a year.", share))
display(lr.Finding("gap", "Members buy sooner, but they may have been the keener ones before.",
                   lr.Estimate(-2.9, -4.1, -1.7, 0.95, "bootstrap", 300, "days"), "caution"))
display(lr.Finding("spend", "No verdict on spend: the split between the arms is not the planned one.",
                   None, "suppressed"))
"""
TABLE = """
frame = pd.DataFrame({
    "segment": ["Bought once", "Bought 2 to 5 times", "Bought more than 5 times, lately or long ago"],
    "n": [12034, 5520, 321], "estimate": [0.1862, 0.4231, 0.7], "low": [0.152, 0.401, np.nan],
    "high": [0.224, 0.444, np.nan], "method": ["log-log Greenwood"] * 3, "p_value": [0.0003, 0.042, 0.61],
    "comment": ["early leavers", "the middle of the base, with a long comment to read", "few"],
})
lr.display.table(frame, caption="Share still buying after a year, by how often they bought before.",
                 formats={"estimate": "percent", "low": "percent", "high": "percent"},
                 note="Limits are missing where fewer than 5 customers are at risk.")
"""
FIGURE = """
from loyalty_research.plots import style
with style.style():
    ax = style.figure_axes()
    weeks = np.arange(53)
    for i, (name, rate) in enumerate({"members": 0.004, "others": 0.011}.items()):
        ax.plot(weeks, np.exp(-rate * weeks), color=style.SERIES[i], linestyle=style.DASHES[i])
        ax.annotate(name, (52, np.exp(-rate * 52)), color=style.SERIES[i])
    ax.set(title="Share still buying", xlabel="weeks since the first order", ylabel="share")
lr.display.figure(ax, alt="Two falling curves: after 52 weeks 81% of members and 56% of others still buy.",
                  caption="Survival by membership.")
"""
FRAME = "frame.set_index('segment')[['n', 'estimate']]"
CHECKS = """
lr.display.checks([
    lr.Check("Sample ratio", "passed", "p = 0.41 against the planned half and half"),
    lr.Check("Proportional hazards", "failed", "p = 0.003: the curves cross after 30 weeks", gate=True),
])
"""
PROVENANCE = """
lr.provenance(source, design="observational", estimand="share still buying after a year", n=1240,
              dropped={"orders without a customer": 42, "refunds": 0})
"""
QUESTION = (
    "# When do customers stop buying?\n\nWithout a contract nobody says goodbye. A customer counts as gone after "
    "**90 days** without an order; `inactivity_days` changes that.\n"
)
EVIDENCE = (
    "# Evidence\n\nThe table [sorts](https://example.org/method) customers by how often they bought:\n\n"
    "- once,\n- up to five times,\n- more often.\n\n> A quotation.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
)
LIMITS = "# Limits\n\n### What is not known\n\nWhy they stop."


@pytest.fixture(scope="session")
def demo(tmp_path_factory, package):
    """A project whose one notebook shows everything a page can hold, and a report that fails."""
    project = _shared.Project(tmp_path_factory.mktemp("demo") / "project", package)
    cells = (
        LOAD,
        "# The answer",
        FINDINGS,
        SHOW,
        EVIDENCE,
        TABLE,
        FIGURE,
        FRAME,
        "print('printed')",
        "# Checks",
    )
    cells += (CHECKS, LIMITS, "# Provenance", PROVENANCE)
    cell = 'inactivity_days: int = 90  # days without an order\nlabel: str = "none"  # a word\n'
    project.add(
        "demo", *cells, parameters=cell, question=QUESTION, entry={"title": "When do customers stop buying?"}
    )
    project.add("second", entry={"sensitivity": "restricted", "parameters": {"size": 4}})
    project.add("broken", "1 / 0")
    done = project.run("report", "--jobs", "2")
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("made in") == 2, done.stdout
    return project


@dataclass
class Inspected:
    """What was seen when a page was opened."""

    violations: list
    outside: list
    errors: list
    scroll_width: int


@pytest.fixture(scope="session")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        found = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def open_page(browser):
    """Open a page of a site; what it asks of the network and its errors are kept on it."""
    contexts = []

    def open_page(site, name, *, scheme="light", width=1280, script=True):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        page = context.new_page()
        page.asked, page.errors = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda said: page.errors.append(said.text) if said.type == "error" else None)
        page.goto((site / f"{name}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def inspected(open_page, axe_source):
    """Open a page, let axe-core judge it, and return what was seen."""

    def inspected(site, name, *, scheme, width):
        page = open_page(site, name, scheme=scheme, width=width)
        outside = [url for url in page.asked if not url.startswith(("file:", "data:"))]
        own = [url for url in page.asked if url.startswith("file:")]
        page.evaluate(axe_source)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        violations = [
            (v["id"], [node["html"][:120] for node in v["nodes"][:3]]) for v in result["violations"]
        ]
        width = page.evaluate("document.documentElement.scrollWidth")
        return Inspected(violations, outside + own[1:], page.errors, width)

    return inspected
