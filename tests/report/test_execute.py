"""Papermill's traps, each reproduced in a real run of a small notebook."""

import json
import sys
from pathlib import Path

import pytest

from loyalty_research.report.execute import RunFailedError, execute, kernel_environment, unrun_cells

IMPORT = "import loyalty_research as lr"


@pytest.fixture
def run(tmp_path, monkeypatch, notebook):
    """Run cells as a notebook and return the executed notebook."""
    scratch = tmp_path / "scratch {x}"
    scratch.mkdir()
    for name, value in kernel_environment(scratch).items():
        monkeypatch.setenv(name, value)

    def run(*cells, parameters=None, timeout=60, **options):
        path, output = tmp_path / "n {braces}.ipynb", tmp_path / "out {braces}.ipynb"
        path.write_text(json.dumps(notebook(*cells, **options)))
        before, here = path.read_bytes(), Path.cwd()
        try:
            execute(path, output, parameters=parameters or {}, timeout=timeout, on_cell=lambda *_: None)
        finally:
            assert path.read_bytes() == before
            assert Path.cwd() == here
        return json.loads(output.read_text())

    return run


def text(done, cell=-1):
    return "".join(done["cells"][cell]["outputs"][0]["text"])


def test_parameters_interpreter_threads_and_folder(run, tmp_path, monkeypatch):
    """Also where the user's home has another kernel of the same name."""
    other = tmp_path / "home" / ".local" / "share" / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    (other / "kernel.json").write_text(
        json.dumps({"argv": ["false"], "display_name": "x", "language": "python"})
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    done = run(
        "import os, sys, json\nprint(json.dumps([size, label, sys.executable, os.getcwd(), "
        "os.environ['OMP_NUM_THREADS'], os.environ['PYTHONHASHSEED']]))",
        parameters={"size": 7, "label": "a 'quoted' {word}"},
    )
    assert json.loads(text(done)) == [7, "a 'quoted' {word}", sys.executable, str(tmp_path), "1", "0"]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (("1 / 0",), r"^cell 3: ZeroDivisionError: division by zero$"),
        (
            (IMPORT, "raise lr.ContractError('table t lacks\\n column c')"),
            r"^cell 4: table t lacks column c$",
        ),
        (("import sys; sys.exit(0)", "1"), r"^2 code cells did not run \(the first is cell 3\)"),
        (("import time; time.sleep(30)", "1"), r"^a cell took longer than the report's timeout of 1 s"),
        (("import os; os._exit(0)", "1"), r"^the notebook's process died while a cell ran"),
    ],
    ids=["error", "own error", "sys.exit", "timeout", "dead kernel"],
)
def test_a_run_that_did_not_reach_its_end_is_a_failure_in_one_line(run, cells, said, tmp_path):
    with pytest.raises(RunFailedError, match=said) as caught:
        run(*cells, timeout=1 if "sleep" in cells[0] else 60)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "out {braces}.ipynb").exists()


def test_unrun_cells_are_those_without_a_count_or_with_an_error(notebook):
    done = notebook("1", "", "2", "3", "4")
    for number, cell in enumerate(done["cells"][1:], start=1):
        cell["execution_count"] = number
    done["cells"][3]["execution_count"] = None  # holds nothing
    assert unrun_cells(done) == []
    done["cells"][4]["execution_count"] = None
    done["cells"][5]["outputs"] = [{"output_type": "error", "ename": "SystemExit"}]
    assert unrun_cells(done) == [5, 6]
