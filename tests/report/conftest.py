"""A small project in a temporary folder, with notebooks made on the spot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import loyalty_research

PARAMETERS = 'size: int = 3  # how many\nlabel: str = "plain"  # a word\n'
IMPORT = "import loyalty_research as lr"
FINDING = (
    'lr.Finding("share", f"{size} of 10 came back.", lr.Estimate(size / 10, 0.1, 0.6, 0.95, "wilson", 10, '
    '"fraction"))'
)
PROVENANCE = (
    'lr.Provenance(dataset="tiny", data="Ten made-up rows.", kind="simulated", as_of="2024-01-31", '
    'currency=None, fingerprint="f00d", design="randomised", estimand="share", n=10)'
)


def notebook_of(*cells, parameters=PARAMETERS, question="# Who came back?\n\nTen rows, one question."):
    """Return the JSON of a notebook; a cell that starts with '#' and a space is markdown."""
    made = [{"cell_type": "markdown", "id": "question", "metadata": {}, "source": question}]
    if parameters is not None:
        made.append(_code(parameters, "parameters", ["parameters"]))
    for number, source in enumerate(cells):
        if source.startswith("# "):
            made.append({"cell_type": "markdown", "id": f"m{number}", "metadata": {}, "source": "#" + source})
        else:
            made.append(_code(source, f"c{number}", []))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _code(source, name, tags):
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": name,
        "metadata": {"tags": tags} if tags else {},
        "outputs": [],
        "source": source,
    }


GOOD = (IMPORT, "# The answer", FINDING, "# Provenance", PROVENANCE)


class Project:
    """A project folder: notebooks, a catalogue, named datasets.

    Commands run from a copy of the package, so that an edit while tests run makes no page stale.
    """

    def __init__(self, root, package):
        self.root = root
        self.env = {**os.environ, "PYTHONPATH": str(package)}
        self.site = root / "reports" / "site"
        (root / "reports").mkdir(parents=True)
        (root / "notebooks").mkdir()
        (root / "data").mkdir()
        (root / "data" / "datasets.yml").write_text("{}\n")
        self.entries = []

    def add(self, name, *cells, entry=None, **options):
        path = self.root / "notebooks" / f"{name}.ipynb"
        path.write_text(json.dumps(notebook_of(*(cells or GOOD), **options)))
        known = {"id": name, "notebook": f"notebooks/{name}.ipynb", "title": f"Who came back ({name})?"}
        known |= {"audience": "the team", "needs": [], **(entry or {})}
        places = [place for place, e in enumerate(self.entries) if e["id"] == name]
        if places:
            self.entries[places[0]] = known
        else:
            self.entries.append(known)
        self.save()

    def save(self):
        (self.root / "reports" / "catalogue.yml").write_text(json.dumps({"reports": self.entries}))

    def run(self, *words, env=None, cwd=None, debug=False):
        """Run the command in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "loyalty_research.cli", *(["--debug"] if debug else []), *words],
            cwd=cwd or self.root,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def manifest(self, site=None):
        return json.loads(((site or self.site) / "manifest.json").read_text())

    def files(self, site=None):
        folder = site or self.site
        return {
            p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
        }


@pytest.fixture
def notebook():
    """Make the JSON of a notebook from the sources of its cells."""
    return notebook_of


@pytest.fixture
def good():
    """Cells of a notebook that makes a page."""
    return GOOD


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """A copy of the package, to import from."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(Path(loyalty_research.__file__).parent, folder / "loyalty_research")
    return folder


@pytest.fixture
def project(tmp_path, package):
    return Project(tmp_path / "my project", package)


@pytest.fixture(scope="session")
def built(tmp_path_factory, package):
    """A project with two good reports that were made once; tests read it and leave it as it is."""
    project = Project(tmp_path_factory.mktemp("built") / "my project", package)
    project.add("first")
    project.add("second", entry={"sensitivity": "restricted", "parameters": {"size": 5}})
    done = project.run("report", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    project.said = done.stdout
    return project


@pytest.fixture
def copied(built, tmp_path):
    """A copy of the project that was made, to change and to run again."""
    shutil.copytree(built.root, tmp_path / "my project")
    project = Project.__new__(Project)
    project.root, project.entries = tmp_path / "my project", [dict(e) for e in built.entries]
    project.site, project.env = project.root / "reports" / "site", built.env
    return project
