"""Opening the data of a run before any notebook starts, so that bad data end it in one message."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ContractError, LoyaltyError
from loyalty_research.report.execute import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["check_inputs", "main"]


def check_inputs(inputs: Iterable[tuple[str, str | None]], *, folder: Path) -> None:
    """Open every dataset in a process of its own, so that this one stays light.

    Args:
        inputs: Dataset names (or paths) with the last day to observe, or None for their own.
        folder: Where the notebooks run: paths mean there what they will mean to them.

    Raises:
        ContractError: With what is wrong with each dataset.
    """
    questions = [{"name": name, "as_of": as_of} for name, as_of in dict.fromkeys(inputs)]
    if not questions:
        return
    done = subprocess.run(
        [sys.executable, "-P", "-m", "loyalty_research.report.preflight"],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **LIMITS},
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ContractError(f"the data could not be opened: {last}")
    faults: list[str] = json.loads(done.stdout.splitlines()[-1])
    if faults:
        raise ContractError("\n".join(faults))


def _faults(questions: list[dict[str, Any]]) -> list[str]:
    from loyalty_research.data import open_dataset

    found = []
    for question in questions:
        try:
            open_dataset(question["name"], as_of=question["as_of"])
        except LoyaltyError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def main() -> None:
    """Answer on standard output, as JSON, with what is wrong with the datasets asked for."""
    faults = _faults(json.loads(sys.stdin.read()))
    if not faults:
        # on a new machine this makes matplotlib's list of fonts, which would otherwise be made,
        # with a message on the error stream, in the first cell that draws
        import matplotlib.font_manager  # noqa: F401
    sys.stdout.write("\n" + json.dumps(faults) + "\n")


if __name__ == "__main__":
    main()
