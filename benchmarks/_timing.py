"""What the benchmark scripts share: CPU seconds, peak memory, the machine, a plain table."""

from __future__ import annotations

import gc
import os
import platform
import resource
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Run", "cpu_seconds", "environment", "peak_gigabytes", "show", "time_call"]


@dataclass(frozen=True, slots=True)
class Run:
    """One timed call."""

    label: str
    cpu: float
    wall: float
    answer: Any

    def row(self, base: Run) -> tuple[str, str, str, str]:
        """The line of a table: label, CPU seconds, wall seconds, CPU as a multiple of ``base``."""
        return (self.label, f"{self.cpu:.3f}", f"{self.wall:.3f}", f"{self.cpu / base.cpu:.1f}x")


def cpu_seconds() -> float:
    """CPU seconds of this process, all its threads and its finished children."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_gigabytes() -> float:
    """Highest resident memory of this process so far (Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def time_call(label: str, call: Callable[[], Any], *, repeat: int = 3) -> Run:
    """Run ``call`` once to warm up, then ``repeat`` times; keep the run with the least CPU."""
    answer = call()
    best: Run | None = None
    for _ in range(repeat):
        gc.collect()
        cpu, wall = cpu_seconds(), time.perf_counter()
        answer = call()
        run = Run(label, cpu_seconds() - cpu, time.perf_counter() - wall, answer)
        if best is None or run.cpu < best.cpu:
            best = run
    assert best is not None, "repeat must be at least 1"
    return best


def environment(*packages: str) -> str:
    """One line: processor, cores, memory, Python and the versions of the packages compared."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return f"{model}, {cores} cores, {memory:.0f} GB; Python {platform.python_version()}; {versions}"


def show(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, the first column to the left, the others to the right."""
    widths = [max(len(str(r[i])) for r in [heads, *rows]) for i in range(len(heads))]
    print(f"\n{title}")
    for row in [heads, *rows]:
        first = str(row[0]).ljust(widths[0])
        print("  ".join([first, *(str(c).rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]))
