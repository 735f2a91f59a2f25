"""A worker process: runs notebooks one after another and stages their pages.

Jobs come in as JSON lines, events go out as JSON lines. When the input ends, the process that
started this one has gone or has no more work, and the worker ends at once, whatever it is doing;
the notebook's own process ends when it sees that its parent has gone.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loyalty_research.report import collect, execute
from loyalty_research.report.execute import RunFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main", "run_job"]


def run_job(job: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Run one report and stage its files, telling how it goes.

    Args:
        job: ``id``, ``notebook``, ``stage``, ``root``, ``site``, ``parameters``, ``timeout``,
            ``inputs`` and ``context`` (what the page says around its cells).
        send: Takes events: ``cell``, then ``done`` or ``failed``.
    """
    started = time.monotonic()
    stage = Path(job["stage"])
    raw = stage / "run.ipynb"
    os.environ["LOYALTY_DECLARED_INPUTS"] = ",".join(job["inputs"])
    try:
        execute.execute(
            Path(job["notebook"]),
            raw,
            parameters=job["parameters"],
            timeout=job["timeout"],
            on_cell=lambda cell, cells: send({"event": "cell", "cell": cell, "cells": cells}),
        )
        result = _stage_page(job, _tidied(job, raw), stage)
    except RunFailedError as error:
        result = {**_failed(job, str(error), raw), "refused": error.refused}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this report that failed
        result = _failed(job, f"{type(error).__name__}: {' '.join(str(error).split())}", raw)
    raw.unlink(missing_ok=True)
    send({**result, "duration": round(time.monotonic() - started, 2)})


def _failed(job: dict[str, Any], message: str, raw: Path) -> dict[str, Any]:
    if raw.exists():
        _write(raw.with_name(f"{job['id']}.ipynb"), _tidied(job, raw))
    message = collect.without_places(message, root=Path(job["root"]), site=Path(job["site"]))
    return {"event": "failed", "message": message, "notebook": raw.exists()}


def _tidied(job: dict[str, Any], raw: Path) -> dict[str, Any]:
    notebook = json.loads(raw.read_text("utf-8"))
    return collect.tidy(notebook, root=Path(job["root"]), site=Path(job["site"]))


def _stage_page(job: dict[str, Any], notebook: dict[str, Any], stage: Path) -> dict[str, Any]:
    from loyalty_research.report.render import render

    name = job["id"]
    faults = collect.faults(notebook)
    if faults:
        raise RunFailedError("; ".join(faults))
    findings, provenance = collect.collect(notebook)
    page = render(notebook, {**job["context"], "findings": findings, "provenance": provenance})
    (stage / f"{name}.html").write_text(page, "utf-8")
    (stage / f"{name}.metrics.json").write_text(collect.metrics(name, findings, provenance), "utf-8")
    _write(stage / f"{name}.ipynb", notebook)
    return {
        "event": "done",
        "findings": findings,
        "provenance": provenance,
        "warnings": collect.notices(notebook),
    }


def _write(path: Path, notebook: dict[str, Any]) -> None:
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")


def _quiet_output() -> int:
    """Keep standard output for events: whatever a library prints goes to standard error."""
    events = os.dup(1)
    os.dup2(2, 1)
    return events


def _read_jobs(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)


def main() -> None:
    """Run jobs until the input ends."""
    events = _quiet_output()

    def send(event: dict[str, Any]) -> None:
        os.write(events, (json.dumps(event) + "\n").encode())

    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    while True:
        run_job(jobs.get(), send)


if __name__ == "__main__":
    main()
