import sys

import pytest

from loyalty_research.report import pool as module
from loyalty_research.report.pool import Pool

WORKER = """
import json, os, sys
for line in sys.stdin:
    job = json.loads(line)
    if job["id"] == "killed":
        os.kill(os.getpid(), 9)
    if job["id"] == "broken":
        raise ValueError("a fault in the worker")
    print(json.dumps({"event": "cell", "cell": 1, "cells": 1}), flush=True)
    print(json.dumps({"event": "done", "pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}), flush=True)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    start = module.subprocess.Popen

    def popen(words, **options):
        assert words[0] == sys.executable
        return start([sys.executable, str(script)], **options)

    monkeypatch.setattr(module.subprocess, "Popen", popen)

    def run(*names, jobs=2):
        pool = Pool(jobs=jobs, environment={"OMP_NUM_THREADS": "1"}, folder=tmp_path)
        events = [(n, e) for n, e in pool.run([{"id": name} for name in names]) if e["event"] != "tick"]
        assert not pool._workers
        return events

    return run


def test_every_job_starts_and_ends_once_in_as_many_processes_as_asked_for(run):
    names = [f"r{i}" for i in range(7)]
    events = run(*names, jobs=3)
    for kind in ("started", "cell", "done"):
        assert sorted(n for n, e in events if e["event"] == kind) == names
    done = [e for _, e in events if e["event"] == "done"]
    assert 1 <= len({e["pid"] for e in done}) <= 3
    assert {e["threads"] for e in done} == {"1"}


def test_a_worker_that_dies_fails_its_own_job_only(run):
    events = run("a", "killed", "b", "broken", "c", jobs=1)
    assert [n for n, e in events if e["event"] == "done"] == ["a", "b", "c"]
    failed = {n: e["message"] for n, e in events if e["event"] == "failed"}
    assert failed["killed"] == "the worker process ended (signal 9)"
    assert failed["broken"].startswith("the worker process ended (exit code 1)")
    assert failed["broken"].endswith("ValueError: a fault in the worker")


def test_closing_early_ends_every_process(run, tmp_path):
    pool = Pool(jobs=2, environment={"OMP_NUM_THREADS": "1"}, folder=tmp_path)
    events = pool.run([{"id": str(i)} for i in range(20)])
    next(events)
    processes = [worker.process for worker in pool._workers]
    events.close()
    assert processes
    assert all(process.returncode is not None for process in processes)


def test_no_work_is_no_processes(run):
    assert run() == []
