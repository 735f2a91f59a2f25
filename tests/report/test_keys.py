import subprocess

import pytest

from loyalty_research.report import keys
from loyalty_research.report.catalogue import Report


@pytest.fixture
def asked(tmp_path):
    notebook = tmp_path / "n.ipynb"
    notebook.write_text("{}")
    base = {
        "report": Report("r", "n.ipynb", "Why?", "all"),
        "notebook": notebook,
        "parameters": {"weeks": 52},
        "inputs": {"cdnow": "abc"},
        "machinery": "m",
    }

    def key(**changes):
        asked = {**base, **changes}
        return keys.content_key(asked.pop("report"), **asked)

    return key


def test_the_key_changes_with_each_thing_a_report_depends_on(asked, tmp_path):
    other = tmp_path / "other.ipynb"
    other.write_text("{ }")
    found = [
        asked(),
        asked(report=Report("r", "n.ipynb", "Why not?", "all")),
        asked(notebook=other),
        asked(parameters={"weeks": 53}),
        asked(parameters={"weeks": 52.0}),
        asked(inputs={"cdnow": "abd"}),
        asked(machinery="n"),
    ]
    assert len(set(found)) == len(found)
    assert asked() == found[0]


def test_data_that_cannot_be_compared_give_no_key(asked):
    assert asked(inputs={"cdnow": "abc", "crm": None}) is None


def test_the_machinery_key_sees_code_templates_the_lock_and_the_language(tmp_path, monkeypatch):
    package = tmp_path / "package"
    (package / "templates").mkdir(parents=True)
    (package / "a.py").write_text("x = 1")
    (package / "templates" / "style.css").write_text("p {}")
    monkeypatch.setattr(keys, "PACKAGE", package)
    found = [keys.machinery_key(tmp_path)]
    (package / "notes.txt").write_text("not code")
    assert keys.machinery_key(tmp_path) == found[0]
    (package / "a.py").write_text("x = 2")
    found.append(keys.machinery_key(tmp_path))
    (package / "templates" / "style.css").write_text("p { margin: 0 }")
    found.append(keys.machinery_key(tmp_path))
    (tmp_path / "uv.lock").write_text("locked")
    found.append(keys.machinery_key(tmp_path))
    monkeypatch.setenv("LOYALTY_LANGUAGE", "vi")
    found.append(keys.machinery_key(tmp_path))
    assert len(set(found)) == 5


def test_git_state_knows_the_commit_and_whether_it_is_dirty(tmp_path):
    assert keys.git_state(tmp_path) is None

    def git(*words):
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    git("init", "-q")
    assert keys.git_state(tmp_path) is None
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "first")
    clean = keys.git_state(tmp_path)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "untracked").write_text("1")
    assert keys.git_state(tmp_path) == clean
    (tmp_path / "a").write_text("2")
    assert keys.git_state(tmp_path) == {**clean, "dirty": True}
    (tmp_path / "inner").mkdir()
    assert keys.git_state(tmp_path / "inner") is None


def test_without_git_there_is_no_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert keys.git_state(tmp_path) is None
