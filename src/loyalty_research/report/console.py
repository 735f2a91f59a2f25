"""What a run says: one line per report, and on a terminal a line that is written over."""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

__all__ = ["Console"]


class Console:
    """Plain lines on standard output, a passing status on a terminal's standard error.

    Args:
        out: Where lines go (default: standard output).
        err: Where the status goes (default: standard error).
    """

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._live = self._out.isatty() and self._err.isatty() and os.environ.get("TERM") != "dumb"
        self._started = time.monotonic()
        self._cells: dict[str, str] = {}

    def line(self, text: str) -> None:
        """Say something that stays."""
        self.clear()
        self._out.write(text + "\n")
        self._out.flush()

    def running(self, name: str, state: str | None) -> None:
        """Note where a report is, or with None that it has ended."""
        if state is None:
            self._cells.pop(name, None)
        else:
            self._cells[name] = state

    def status(self, done: int, total: int) -> None:
        """Show how far the run is, on a terminal only."""
        if not self._live:
            return
        width = os.get_terminal_size(self._err.fileno()).columns or 80
        running = ", ".join(f"{name} ({state})" for name, state in self._cells.items())
        text = f"{done} of {total} done, {time.monotonic() - self._started:.0f} s: {running}"
        self._err.write(f"\r\x1b[K{text[: max(width - 1, 10)]}")
        self._err.flush()

    def clear(self) -> None:
        """Take the status line away."""
        if self._live:
            self._err.write("\r\x1b[K")
            self._err.flush()
