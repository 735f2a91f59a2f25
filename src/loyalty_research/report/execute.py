"""Running one notebook through papermill, and not believing it until every cell has run."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError, ContractError, DesignError, LoyaltyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["LIMITS", "RunFailedError", "execute", "kernel_environment", "unrun_cells"]

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
LIMITS = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}
"""Environment of every process that computes: reports run side by side, and the same way twice."""

_REFUSALS: tuple[type[Exception], ...] = (ArgumentError, ContractError, DesignError)


class RunFailedError(LoyaltyError):
    """A notebook did not run to its end, or its page did not pass the gates.

    Attributes:
        refused: Whether a cell refused its data or parameters, rather than broke.
    """

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


def kernel_environment(folder: Path) -> dict[str, str]:
    """Return the environment in which ``python3`` is this interpreter, with nothing of the user's.

    A kernel called ``python3`` that is registered in the user's home would win over the
    environment's own, and start-up files of IPython would run before the notebook.

    Args:
        folder: Scratch folder for the kernel's description and its run-time files.
    """
    spec = folder / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    launch = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": launch, "display_name": "Python 3", "language": "python"}), "utf-8"
    )
    return {
        "JUPYTER_PATH": str(folder / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        **({} if os.access(Path.home(), os.W_OK) else {"MPLCONFIGDIR": str(folder / "matplotlib")}),
        **LIMITS,
    }


def execute(
    notebook: Path,
    output: Path,
    *,
    parameters: Mapping[str, Any],
    timeout: int,
    on_cell: Callable[[int, int], None],
) -> None:
    """Run a notebook in its own folder, as JupyterLab does.

    Args:
        notebook: The notebook, which is not changed.
        output: Where the executed notebook goes, also when it fails.
        parameters: JSON values to inject after the cell tagged ``parameters``.
        timeout: Seconds a cell may take.
        on_cell: Called with the number of the cell that starts and the number of cells.

    Raises:
        RunFailedError: When a cell raised, timed out or did not run; the message is one line.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        papermill.execute_notebook(
            _unformatted(notebook),
            _unformatted(output),
            parameters=dict(parameters),
            engine_name=_engine(on_cell),
            kernel_name="python3",
            progress_bar=False,
            cwd=str(notebook.parent),
            execution_timeout=timeout,
            coalesce_streams=True,
        )
    except PapermillExecutionError as error:
        raise RunFailedError(_said(error), refused=error.ename in _names(_REFUSALS)) from None
    except CellTimeoutError:
        raise RunFailedError(
            f"a cell took longer than the report's timeout of {timeout} s: "
            "raise 'timeout' in reports/catalogue.yml, or make the cell quicker"
        ) from None
    except DeadKernelError:
        raise RunFailedError("the notebook's process died while a cell ran (out of memory?)") from None
    unrun = unrun_cells(json.loads(output.read_text("utf-8")))
    if unrun:
        raise RunFailedError(
            f"{len(unrun)} code cells did not run (the first is cell {unrun[0]}); "
            "a cell that ends the process, such as sys.exit(), cannot be part of a report"
        )


def _unformatted(path: Path) -> str:
    """Papermill formats paths as templates; a brace in a folder's name is only a brace."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _engine(on_cell: Callable[[int, int], None]) -> str:
    """Register a papermill engine that tells which cell starts, and return its name."""
    from papermill.engines import NBClientEngine, papermill_engines

    class Engine(NBClientEngine):  # type: ignore[misc]
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
            start, total = nb_man.cell_start, len(nb_man.nb.cells)

            def told(cell: Any, cell_index: int, **rest: Any) -> None:
                on_cell(cell_index + 1, total)
                start(cell, cell_index, **rest)

            nb_man.cell_start = told
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("loyalty", Engine)
    return "loyalty"


def _said(error: Any) -> str:
    """Return the error of a cell as one line; our own errors speak for themselves."""
    words = " ".join(_ANSI.sub("", error.evalue or "").split())
    text = (
        words if error.ename in _names((LoyaltyError,)) and words else f"{error.ename}: {words}".rstrip(": ")
    )
    return f"cell {error.cell_index + 1}: {text}"


def _names(kinds: tuple[type[Exception], ...]) -> set[str]:
    return {found.__name__ for kind in kinds for found in _kinds(kind)}


def _kinds(kind: type[Exception]) -> set[type[Exception]]:
    subclasses: list[type[Exception]] = kind.__subclasses__()
    return {kind}.union(*(_kinds(sub) for sub in subclasses))


def unrun_cells(notebook: Mapping[str, Any]) -> list[int]:
    """Return the numbers (1-based) of code cells that hold code and were not executed to their end.

    Args:
        notebook: The executed notebook's JSON.
    """
    unrun = []
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] != "code" or not "".join(cell["source"]).strip():
            continue
        ended = cell.get("execution_count") is not None
        raised = any(output["output_type"] == "error" for output in cell["outputs"])
        if not ended or raised:
            unrun.append(number)
    return unrun
