"""The way from a bare machine to a working one: make, the bootstrap, CI, conda, workflows."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TARGETS = (
    "help",
    "setup",
    "report",
    "report-all",
    "check-fresh",
    "test",
    "test-all",
    "test-lowest",
    "lint",
    "lab",
    "bench",
    "clean",
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(folder, *arguments, **environment):
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={**os.environ, "MAKEFLAGS": "", "MAKELEVEL": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


# --- make --------------------------------------------------------------------------------------


@needs_make
def test_help_is_the_default_and_lists_every_target():
    said = make(ROOT)
    assert said.returncode == 0
    listed = [line.split()[1] for line in said.stdout.splitlines() if line.startswith("make ")]
    assert listed == list(TARGETS)
    assert all(len(line.split(maxsplit=2)) == 3 for line in said.stdout.splitlines())


@needs_make
@pytest.mark.parametrize("target", TARGETS)
def test_targets_work_on_a_path_with_spaces(tmp_path, target):
    folder = tmp_path / "a path; with 'odd' names"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    said = make(folder, "--dry-run", target, ARGS="-p dataset=mine")
    assert said.returncode == 0, said.stderr
    assert "odd" not in said.stdout, "a recipe spells the folder, which then needs quoting"


@needs_make
def test_a_home_that_cannot_be_written_is_replaced(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    probe = tmp_path / "probe.mk"
    probe.write_text('include Makefile\nhome:\n\t@echo "$$HOME"\n')
    for home, expected in [
        (str(tmp_path), str(tmp_path)),
        (str(tmp_path / "none"), str(tmp_path / ".venv/home")),
        ("", str(tmp_path / ".venv/home")),
    ]:
        assert make(tmp_path, "-f", "probe.mk", "home", HOME=home).stdout.strip() == expected


# --- the bootstrap, against a pretended Python, pip and uv -------------------------------------

PRETENDED_PYTHON = """#!/bin/sh
# what bootstrap.sh asks of a Python: its version, venv, pip
case "$*" in
*"sys.version_info < (3, 11)"*) [ "$PRETEND_VERSION" != old ] ;;
*"import ensurepip, venv"*) [ "$PRETEND_VERSION" != bare ] ;;
--version) echo "Python 3.$PRETEND_VERSION" ;;
"-m venv .venv")
    echo venv >>"$PRETEND_LOG"
    mkdir -p .venv/bin && cp "$0" .venv/bin/python
    [ "$PRETEND_FAULT" != venv ] ;;
"-m pip --version") true ;;
"-m pip install "*)
    echo pip >>"$PRETEND_LOG"
    version=${*##*uv==}
    printf '#!/bin/sh\\n[ "$1" = --version ] && { echo "uv %s"; exit; }\\n' "$version" >.venv/bin/uv
    printf 'echo "$*" >>"$PRETEND_LOG"\\n[ "$PRETEND_FAULT" != sync ]\\n' >>.venv/bin/uv
    chmod +x .venv/bin/uv
    [ "$PRETEND_FAULT" != pip ] ;;
*) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""


class Pretended:
    """A folder with the bootstrap, and a machine whose only Python is pretended."""

    def __init__(self, folder):
        self.folder, self.tools, self.log = folder / "a project", folder / "bin", folder / "log"
        (self.folder / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "bootstrap.sh", self.folder / "tools")
        (self.folder / "pyproject.toml").write_text("[project]")
        (self.folder / "uv.lock").write_text("version = 1")
        self.tools.mkdir()
        for name in ("sh", "cat", "cksum", "cut", "cp", "mkdir", "rm", "chmod", "dirname", "flock"):
            if found := shutil.which(name):
                (self.tools / name).symlink_to(found)
        (self.tools / "python3").write_text(PRETENDED_PYTHON)
        (self.tools / "python3").chmod(0o755)

    def run(self, *extras, version="12.1", fault=""):
        self.log.write_text("")
        environment = {"PATH": str(self.tools), "PRETEND_LOG": str(self.log)}
        said = subprocess.run(
            ["sh", "tools/bootstrap.sh", *extras],
            cwd=self.folder,
            env={**environment, "PRETEND_VERSION": version, "PRETEND_FAULT": fault},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "unexpected" not in said.stderr, said.stderr
        self.done = [line.split()[0] for line in self.log.read_text().splitlines()]
        return said


@pytest.fixture
def machine(tmp_path):
    return Pretended(tmp_path)


def test_the_first_run_builds_and_the_second_adds_nothing(machine):
    assert machine.run("datasets", "dev").returncode == 0
    assert machine.done == ["venv", "pip", "sync"]
    sync = machine.log.read_text().splitlines()[-1]
    assert "--frozen --inexact" in sync
    assert sync.endswith("--extra datasets --extra dev")
    second = machine.run("datasets")
    assert (second.returncode, second.stdout, machine.done) == (0, "", [])


@pytest.mark.parametrize("name", ["pyproject.toml", "uv.lock"])
def test_a_changed_project_or_lock_installs_again(machine, name):
    machine.run("datasets")
    (machine.folder / name).write_text("changed")
    machine.run("datasets")
    assert machine.done == ["sync"]


def test_another_extra_is_added(machine):
    machine.run("datasets")
    machine.run("datasets", "lab")
    assert machine.done == ["sync"]
    machine.run("lab")
    assert machine.done == []


@pytest.mark.parametrize(
    ("fault", "then"), [("venv", ["venv", "pip", "sync"]), ("pip", ["sync"]), ("sync", ["sync"])]
)
def test_an_interrupted_bootstrap_is_mended_by_the_next(machine, fault, then):
    assert machine.run("datasets", fault=fault).returncode != 0
    assert machine.run("datasets").returncode == 0
    assert machine.done == then
    # packages that were half installed look installed, so they are laid down again
    assert ("--reinstall" in machine.log.read_text()) == (fault == "sync")
    machine.run("datasets")
    assert machine.done == []


def test_a_moved_folder_gets_a_new_environment(machine):
    machine.run("datasets")
    machine.folder = machine.folder.rename(machine.folder.with_name("moved"))
    assert machine.run("datasets").returncode == 0
    assert machine.done == ["venv", "pip", "sync"]


def test_an_environment_that_is_not_ours_is_never_removed(machine):
    (machine.folder / ".venv").mkdir()
    (machine.folder / ".venv" / "precious").write_text("")
    said = machine.run("datasets")
    assert said.returncode == 2
    assert "did not make it" in said.stderr
    assert (machine.folder / ".venv" / "precious").exists()


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("old", "Python 3.11 or newer is needed, but python3 is not: Python 3.old"),
        ("bare", "apt install python3-venv"),
    ],
)
def test_an_unfit_python_is_named_with_its_mend(machine, version, said):
    result = machine.run("datasets", version=version)
    assert result.returncode == 2
    assert said in result.stderr
    assert not (machine.folder / ".venv").exists()


# --- scripts, hooks, workflows -----------------------------------------------------------------


@pytest.mark.parametrize(("shell", "script"), [("bash", ".ci/run"), ("sh", "tools/bootstrap.sh")])
def test_scripts_parse(shell, script):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    said = subprocess.run([shell, "-n", ROOT / script], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")


def test_ci_requires_the_browser_and_runs_the_tests():
    text = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "export CI=true" in text
    assert text.rstrip().endswith("exec make test")


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.stem for path in WORKFLOWS])
def test_workflows_are_least_privileged_and_call_make_targets_that_exist(path):
    flow = yaml.safe_load(path.read_text("utf-8"))
    assert flow["permissions"] == {"contents": "read"}
    assert "group" in flow["concurrency"]
    for job in flow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 120
        for step in job["steps"]:
            assert re.fullmatch(r"[\w/-]+@v\d+", step.get("uses", "a/b@v1")), step
            for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", "")):
                assert target in TARGETS


def test_workflows_test_every_supported_python():
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8"))
    declared = {c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d", c)}
    assert set(flow["jobs"]["tests"]["strategy"]["matrix"]["python"]) == declared


def test_pre_commit_hooks_call_what_is_installed():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    for hook in hooks:
        command = shlex.split(hook["entry"])[0]
        if hook["language"] == "system":
            assert command.startswith(".venv/bin/")
            assert shutil.which(Path(command).name, path=Path(sys.executable).parent), hook["id"]


# --- conda -------------------------------------------------------------------------------------

CONDA_NAMES = {"duckdb": "python-duckdb", "matplotlib": "matplotlib-base", "tzdata": "python-tzdata"}
"""PyPI name to conda-forge name where they differ."""


def bounds(requirement):
    """Split 'name >=1,<2' into its name and its set of bounds."""
    name, rest = re.fullmatch(r"([\w.-]+)\s*(.*)", requirement).groups()
    return name.lower(), {part.strip() for part in rest.split(",") if part.strip()}


def disagreements(environment, project):
    """Return where a conda environment and a project's metadata differ, in names and bounds."""
    wanted = {"python": {project["requires-python"]}, "pip": set()}
    for requirement in [*project["dependencies"], *project["optional-dependencies"]["lab"]]:
        name, limits = bounds(requirement)
        wanted[CONDA_NAMES.get(name, name)] = limits
    listed = environment["dependencies"]
    stated = dict(bounds(entry) for entry in listed if isinstance(entry, str))
    pip = [entry["pip"] for entry in listed if isinstance(entry, dict)]
    found = [f"{name} is missing" for name in sorted(wanted.keys() - stated.keys())]
    found += [f"{name} is not in pyproject.toml" for name in sorted(stated.keys() - wanted.keys())]
    found += [
        f"{name}: {sorted(stated[name])} but pyproject.toml says {sorted(wanted[name])}"
        for name in sorted(wanted.keys() & stated.keys())
        if stated[name] != wanted[name]
    ]
    if pip != [["--editable .[datasets,lab]"]]:
        found.append("the pip section must be: --editable .[datasets,lab]")
    return found


def test_conda_environment_agrees_with_the_project():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    assert disagreements(environment, PROJECT) == []
    assert environment["channels"] == ["conda-forge"]


def test_a_conda_environment_that_disagrees_is_caught():
    project = {
        "requires-python": ">=3.11",
        "dependencies": ["duckdb>=2.0", "pandas>=2.2,<3", "scipy>=1.15"],
        "optional-dependencies": {"lab": ["jupyterlab>=4.4"]},
    }
    listed = ["python >=3.11", "pip", "duckdb >=2.0", "pandas <3,>=2.2", "scipy >=1.14", "jupyterlab >=4.4"]
    assert disagreements({"dependencies": listed}, project) == [
        "python-duckdb is missing",
        "duckdb is not in pyproject.toml",
        "scipy: ['>=1.14'] but pyproject.toml says ['>=1.15']",
        "the pip section must be: --editable .[datasets,lab]",
    ]


def test_the_lock_was_made_from_this_project():
    """`uv sync --frozen` does not look, so a forgotten `uv lock` would go unnoticed."""
    packages = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    (own,) = [p for p in packages if p["name"] == PROJECT["name"]]
    locked = {
        (entry["name"], frozenset(bounds("x" + entry.get("specifier", ""))[1]), entry.get("marker", ""))
        for entry in own["metadata"]["requires-dist"]
    }
    extras = PROJECT["optional-dependencies"]
    declared = {(r, "") for r in PROJECT["dependencies"]}
    declared |= {(r, f"extra == '{extra}'") for extra, listed in extras.items() for r in listed}
    assert locked == {(bounds(r)[0], frozenset(bounds(r)[1]), marker) for r, marker in declared}


def test_the_console_script_is_installed():
    module, function = PROJECT["scripts"]["loyalty"].split(":")
    assert callable(getattr(importlib.import_module(module), function))


# --- a machine without a browser ---------------------------------------------------------------

BROWSER_TEST = """
import pytest

@pytest.mark.browser
def test_page(): ...

@pytest.mark.browser
def test_rules(axe_source): ...

def test_other(): ...
"""


def run_without_browser(folder, **environment):
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")
    (folder / "tests" / "test_page.py").write_text(BROWSER_TEST)
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "LOYALTY_REQUIRE_BROWSER")}
    kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=folder,
        env={**kept, "LOYALTY_BROWSER": "no-such-browser", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_browser_the_last_lines_say_what_was_skipped(tmp_path):
    said = run_without_browser(tmp_path)
    assert said.returncode == 0
    last = said.stdout.strip().splitlines()[-2:]
    assert last[0] == (
        "SKIPPED 2 browser tests for want of a Chromium browser "
        "(install chromium, or name one in LOYALTY_BROWSER)"
    )
    assert last[1].startswith("1 passed, 2 skipped")


@pytest.mark.parametrize("setting", [{"CI": "true"}, {"LOYALTY_REQUIRE_BROWSER": "1"}])
def test_where_the_browser_is_required_its_lack_fails(tmp_path, setting):
    said = run_without_browser(tmp_path, **setting)
    assert said.returncode == 1
    assert "2 errors" in said.stdout.splitlines()[-1] or "2 failed" in said.stdout.splitlines()[-1]
