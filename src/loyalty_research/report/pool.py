"""Worker processes that run reports side by side, each with one notebook process at a time."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Pool"]


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[str]
    log: Path
    job: dict[str, Any] | None = None


@dataclass
class Pool:
    """Runs jobs in worker processes and yields what happens.

    Attributes:
        jobs: How many run at once.
        environment: Environment of the workers and of the notebooks they start.
        folder: Where the workers' own error output goes.
    """

    jobs: int
    environment: Mapping[str, str]
    folder: Path
    _events: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = field(
        default_factory=queue.SimpleQueue, init=False
    )
    _workers: list[_Worker] = field(default_factory=list, init=False)

    def run(self, work: Sequence[dict[str, Any]]) -> Generator[tuple[str, dict[str, Any]], None, None]:
        """Run every job; yield the job's id with each event, and ``tick`` while nothing happens.

        A worker that dies fails its own job only; another takes its place. Closing the iterator
        early ends every process.

        Args:
            work: Jobs as :func:`loyalty_research.report.worker.run_job` takes them.
        """
        waiting = list(work)
        running = 0
        try:
            idle = [self._start() for _ in range(min(self.jobs, len(waiting)))]
            while waiting or running:
                while idle and waiting:
                    job = waiting.pop(0)
                    self._give(idle.pop(), job)
                    running += 1
                    yield job["id"], {"event": "started"}
                worker, event = self._next()
                if worker is None:
                    yield "", {"event": "tick"}
                elif worker.job is not None:
                    name = worker.job["id"]
                    if event is None:
                        event, worker.job = self._died(worker), None
                        idle += [self._start()] if waiting else []
                        running -= 1
                    elif event["event"] in ("done", "failed"):
                        worker.job = None
                        idle.append(worker)
                        running -= 1
                    yield name, event
        finally:
            self.close()

    def _next(self) -> tuple[_Worker | None, dict[str, Any] | None]:
        try:
            return self._events.get(timeout=0.5)
        except queue.Empty:
            return None, None

    def close(self) -> None:
        """End every worker; their notebooks end with them."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
            for pipe in (worker.process.stdin, worker.process.stdout):
                if pipe is not None:
                    pipe.close()
        self._workers.clear()

    def _start(self) -> _Worker:
        log = self.folder / f"worker-{len(self._workers)}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "loyalty_research.report.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                env={**os.environ, **self.environment},
                start_new_session=True,  # a Ctrl-C is for the parent, which then ends its workers
            )
        worker = _Worker(process, log)
        self._workers.append(worker)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        return worker

    def _listen(self, worker: _Worker) -> None:
        stream = worker.process.stdout
        if stream is not None:
            for line in stream:
                self._events.put((worker, json.loads(line)))
        self._events.put((worker, None))

    def _give(self, worker: _Worker, job: dict[str, Any]) -> None:
        worker.job = job
        stdin = worker.process.stdin
        if stdin is None:
            raise RuntimeError("a worker has no input")
        with suppress(BrokenPipeError):  # it has died; its end is reported as an event
            stdin.write(json.dumps(job) + "\n")
            stdin.flush()

    def _died(self, worker: _Worker) -> dict[str, Any]:
        code = worker.process.wait()
        said = worker.log.read_text("utf-8", "replace").strip().splitlines()
        why = f"signal {-code}" if code < 0 else f"exit code {code}"
        tail = f": {said[-1].strip()}" if said else ""
        return {"event": "failed", "message": f"the worker process ended ({why}){tail}", "notebook": False}
