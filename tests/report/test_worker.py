import json
import subprocess
import sys
import time

import pytest

from loyalty_research.report import collect, worker
from loyalty_research.report.execute import RunFailedError

CONTEXT = {
    "report": {"id": "r", "title": "Why?", "audience": "all", "sensitivity": "public"},
    "sensitivity": "Public",
    "parameters": {},
    "changed": [],
    "git": None,
    "command": "loyalty report r",
}


@pytest.fixture
def run(tmp_path, monkeypatch, notebook, good):
    """Run a job whose notebook has run already, and return its events and the files it staged."""
    done = notebook(*good)

    def executed(path, output, **options):
        options["on_cell"](1, 5)
        from loyalty_research import Estimate, Finding, Provenance

        estimate = Estimate(0.3, 0.1, 0.6, 0.95, "wilson", 10)
        facts = dict.fromkeys(("dataset", "data", "fingerprint", "design", "estimand"), "d")
        source = Provenance(kind="real", as_of=None, currency=None, n=1, versions={}, **facts)
        for cell, shown in ((4, Finding("f", "found", estimate)), (6, source)):
            data = shown._repr_mimebundle_()
            done["cells"][cell]["outputs"] = [{"output_type": "display_data", "data": data, "metadata": {}}]
        output.write_text(json.dumps(done))

    monkeypatch.setattr(worker.execute, "execute", executed)
    monkeypatch.setenv("LOYALTY_DECLARED_INPUTS", "")
    stage = tmp_path / "stage"
    stage.mkdir()
    job = {"id": "r", "notebook": "n.ipynb", "stage": str(stage), "root": "/srv/p", "site": "/srv/s"}
    job |= {"parameters": {}, "timeout": 9, "inputs": ["cdnow", "mine"], "context": CONTEXT}

    def run():
        events = []
        worker.run_job(job, events.append)
        return events, sorted(p.name for p in stage.iterdir())

    return run


def test_a_job_stages_its_page_data_and_notebook(run):
    import os

    (cell, done), files = run()
    assert cell == {"event": "cell", "cell": 1, "cells": 5}
    assert done["event"] == "done"
    assert [f["id"] for f in done["findings"]] == ["f"]
    assert done["provenance"]["kind"] == "real"
    assert done["warnings"] == []
    assert files == ["r.html", "r.ipynb", "r.metrics.json"]
    assert os.environ["LOYALTY_DECLARED_INPUTS"] == "cdnow,mine"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RunFailedError("no such column"), "no such column"),
        (KeyError("a fault\n in /srv/p/x.py"), r"KeyError: 'a fault\n in [project]/x.py'"),
    ],
)
def test_any_fault_fails_the_report_and_keeps_the_notebook(run, monkeypatch, error, message):
    def faulty(notebook):
        raise error

    monkeypatch.setattr(collect, "faults", faulty)
    (_, failed), files = run()
    assert (failed["event"], failed["message"], failed["notebook"]) == ("failed", message, True)
    assert files == ["r.ipynb"]


def test_faults_of_the_page_are_all_named(run, monkeypatch):
    monkeypatch.setattr(collect, "faults", lambda notebook: ["no finding", "no provenance"])
    (_, failed), _ = run()
    assert failed["message"] == "no finding; no provenance"


def test_a_worker_ends_when_its_input_does():
    start = time.monotonic()
    words = [sys.executable, "-m", "loyalty_research.report.worker"]
    done = subprocess.run(words, input="", capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""
    assert time.monotonic() - start < 30
