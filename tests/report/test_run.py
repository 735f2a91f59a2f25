"""Whole runs of the command on a small project, each in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loyalty_research.report.keys import file_hash

IMPORT = "import loyalty_research as lr"


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(true, *, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def pages(files):
    """The files a reader downloads; the manifest holds times."""
    return {name: data for name, data in files.items() if name != "manifest.json"}


def test_a_run_makes_pages_index_metrics_and_manifest(built):
    names = [f"{r}{end}" for r in ("first", "second") for end in (".html", ".ipynb", ".metrics.json")]
    assert sorted(built.files()) == sorted([*names, "index.html", "manifest.json"])
    manifest = built.manifest()
    assert list(manifest["reports"]) == ["first", "second"]
    second = manifest["reports"]["second"]
    assert second["parameters"] == {"size": 5, "label": "plain"}
    assert second["changed"] == []
    assert second["failure"] is None
    assert second["duration"] > 0
    assert second["provenance"]["fingerprint"] == "f00d"
    assert manifest["packages"]["numpy"]
    for name, digest in second["files"].items():
        assert file_hash(built.site / name) == digest
    metrics = json.loads(built.files()["second.metrics.json"])
    assert (metrics["report"], metrics["dataset"], metrics["as_of"]) == ("second", "tiny", "2024-01-31")
    assert metrics["findings"][0]["value"] == 0.5
    assert "5 of 10 came back." in (built.site / "second.html").read_text()
    assert "2 reports are up to date" in built.said
    assert not (built.site / ".staging").exists()


def test_the_index_tells_of_every_report(built):
    index = (built.site / "index.html").read_text()
    for words in (
        '<a href="first.html">Who came back (first)?</a>',
        "5 of 10 came back.",
        "Simulated data",
        "Observed until 2024-01-31",
        "Restricted: do not pass on",
    ):
        assert words in index, words
    assert index.count("Up to date") == 2


def test_downloaded_notebooks_hold_code_results_and_nothing_of_the_machine(built):
    import nbformat

    text = built.files()["second.ipynb"].decode()
    done = nbformat.reads(text, as_version=4)
    nbformat.validate(done)
    injected = next(c for c in done.cells if c.id == "injected-parameters")
    assert "size = 5" in injected.source
    assert all(c.execution_count for c in done.cells if c.cell_type == "code")
    everything = b"".join(built.files().values()).decode()
    for place in (built.root, Path.home(), sys.prefix, "ipykernel_", "papermill"):
        assert str(place) not in everything, place


def test_nothing_changed_costs_next_to_nothing_and_changes_nothing(built):
    before = built.files()
    code = "import resource, subprocess, sys\ndone = subprocess.run([sys.executable, '-m', 'loyalty_research.cli', 'report'], capture_output=True, text=True, check=True)\nused = resource.getrusage(resource.RUSAGE_CHILDREN)\nprint(used.ru_utime + used.ru_stime)\nprint(done.stdout)\n"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=built.root, env=built.env, capture_output=True, text=True, check=True)
    seconds, *lines = done.stdout.splitlines()
    assert lines[:2] == ["first: unchanged", "second: unchanged"]
    assert float(seconds) < 1
    assert built.files() == before
    assert built.run("report", "--check").returncode == 0


def test_the_same_inputs_give_the_same_bytes(built, tmp_path):
    out = tmp_path / "again"
    done = built.run("report", "--out", str(out), "--jobs", "1", env={"PYTHONHASHSEED": "77"})
    assert done.returncode == 0, done.stderr
    assert pages(built.files(out)) == pages(built.files())


def test_damaged_pages_are_mended_and_given_parameters_are_prominent(copied):
    """One run, since the second report's given value is the catalogue's own."""
    before = copied.files()
    (copied.site / "second.html").write_text("damaged")
    (copied.site / "index.html").unlink()
    done = copied.run("report", "first", "-p", "size=5", "second")
    assert done.returncode == 0, done.stderr
    after = copied.files()
    assert after["second.html"] == before["second.html"]
    page = after["first.html"].decode()
    assert "Not the catalogue" in page
    assert "<code>size = 5</code>" in page
    assert "loyalty report first -p size=5" in page
    assert copied.manifest()["reports"]["first"]["changed"] == ["size"]
    assert "<code>size = 5</code>" in after["index.html"].decode()
    check = copied.run("report", "--check")
    assert check.returncode == 1
    assert check.stdout == "first: out of date\nsecond: up to date\n"


def test_a_failure_leaves_the_others_and_its_last_good_page(copied):
    before = copied.files()
    size = "table t has no column c"
    copied.add("first", IMPORT, f"raise lr.ContractError({size!r} + ' in ' + __import__('os').getcwd())")
    copied.add("third")
    (copied.root / "data" / "datasets.yml").write_text("carwash: {}\n")
    copied.add("undeclared", IMPORT, "lr.open_dataset('carwash')")
    copied.entries = [e for e in copied.entries if e["id"] != "second"]  # retired
    copied.save()
    done = copied.run("report")
    assert done.returncode == 1
    assert done.stderr == ""
    assert f"first: FAILED: cell 4: {size} in [project]/notebooks\n" in done.stdout
    assert "third: made in" in done.stdout
    assert (
        "undeclared: FAILED: cell 4: this report opens the dataset 'carwash' but declares none" in done.stdout
    )
    after = copied.files()
    assert {name: after[name] for name in ("first.html", "first.metrics.json")} == {
        name: before[name] for name in ("first.html", "first.metrics.json")
    }
    assert not any(name.startswith("second") for name in after)
    failed = json.loads(after["failed/first.ipynb"])
    assert any(o["output_type"] == "error" for c in failed["cells"] for o in c.get("outputs", []))
    assert str(copied.root) not in after["failed/first.ipynb"].decode()
    index = after["index.html"].decode()
    day = copied.manifest()["reports"]["first"]["generated_at"][:10]
    assert f"The last run failed. The page is the last good one, of {day}." in index
    assert size in index
    assert 'href="failed/first.ipynb"' in index
    check = copied.run("report", "--check")
    assert check.returncode == 1
    assert f"first: failed: cell 4: {size}" in check.stdout
    assert "third: up to date" in check.stdout


def test_kill_in_the_middle_leaves_the_last_good_site(copied, tmp_path):
    before = copied.files()
    mark = tmp_path / "running"
    copied.add(
        "first",
        f"import os, pathlib, time\npathlib.Path({str(mark)!r}).write_text(f'{{os.getpid()}} {{os.getppid()}}')\n"
        "time.sleep(120)",
    )
    words = [sys.executable, "-m", "loyalty_research.cli", "report"]
    with subprocess.Popen(words, cwd=copied.root, env=copied.env, stdout=subprocess.DEVNULL) as running:
        wait_for(lambda: mark.exists() and len(mark.read_text().split()) == 2)
        second = copied.run("report")
        assert second.returncode == 2
        assert "another run is writing to" in second.stderr
        running.send_signal(signal.SIGKILL)
        running.wait()

    def site():
        return {name: data for name, data in copied.files().items() if not name.startswith(".staging")}

    assert site() == before
    pids = [int(pid) for pid in mark.read_text().split()]
    wait_for(lambda: not any(map(alive, pids)))
    copied.add("first")  # as it was
    done = copied.run("report")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("first: unchanged\nsecond: unchanged\n")
    assert copied.files() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "sise=3"], "unknown parameter 'sise' (command line); did you mean 'size'?"),
        (["-p", "size=many"], "parameter size must be int; got 'many'"),
        (["-p", "size"], "a parameter is given as name=value; got 'size'"),
        (["-p", "size=1", "-p", "size=2"], "parameter 'size' is given twice"),
        (["none"], "no report is called 'none'"),
        (["first", "--all"], "name the reports or give --all, not both"),
        (["--out", "reports/catalogue.yml"], "is not a folder"),
        (["--jobs", "0"], "must be at least 1"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_bad_usage_ends_in_one_message_with_nothing_written(project, words, said):
    project.add("first")
    done = project.run("report", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not project.site.exists()


def test_bad_data_end_in_one_message_with_nothing_written(project):
    """A corrupt file, a missing column, an empty table, an unknown dataset, all before a notebook starts."""
    project.add("first", parameters='dataset: str = "x"  # what\n', entry={"needs": ["{dataset}"]})
    data = project.root / "data"
    header = "transaction_id,customer_id,transacted_at,amount,currency\n"
    (data / "empty").mkdir()
    (data / "empty" / "transactions.csv").write_text(header)
    (data / "lacking").mkdir()
    (data / "lacking" / "transactions.csv").write_text("transaction_id,customer_id,amount\nt,c,3\n")
    (data / "corrupt").mkdir()
    (data / "corrupt" / "transactions.parquet").write_bytes(b"PAR1 no, not at all")
    for name, said in (("empty", "empty"), ("lacking", "transacted_at"), ("corrupt", "transactions.parquet")):
        done = project.run("report", "-p", f"dataset=data/{name}")
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    done = project.run("report", "-p", "dataset=missing")
    assert done.returncode == 2
    assert "there is no dataset 'missing'" in done.stderr
    assert not project.site.exists()


def test_a_parameter_that_the_notebook_refuses_writes_nothing(project, good):
    refuse = "if days < 1:\n    raise lr.ArgumentError(f'days must be at least 1; got {days}')"
    project.add(
        "first", IMPORT, refuse, *good[1:], parameters="days: int = 5  # how many\nsize: int = 5  # rows\n"
    )
    done = project.run("report", "-p", "days=-5")
    assert done.returncode == 2
    assert "days must be at least 1; got -5" in done.stderr
    assert not project.site.exists()
    assert project.run("report").returncode == 0
    before = project.files()
    assert project.run("report", "-p", "days=-5").returncode == 2
    assert project.files() == before


def test_a_live_terminal_shows_one_line_that_is_written_over(copied):
    import pty

    (copied.site / "second.metrics.json").unlink()
    parent, child = pty.openpty()
    words = [sys.executable, "-m", "loyalty_research.cli", "report"]
    env = {**copied.env, "TERM": "xterm"}
    with subprocess.Popen(words, cwd=copied.root, stdout=child, stderr=child, env=env) as running:
        os.close(child)
        said = b""
        while True:
            try:
                part = os.read(parent, 4096)
            except OSError:
                break
            if not part:
                break
            said += part
        assert running.wait() == 0
    os.close(parent)
    assert b"0 of 1 done" in said
    assert b"second (cell " in said
    assert b"\x1b[K" in said
    lines = [line.rsplit(b"\x1b[K", 1)[-1].strip() for line in said.splitlines()]
    assert [line for line in lines if line][-1].startswith(b"2 reports are up to date")
