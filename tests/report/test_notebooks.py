import json

import pytest

from loyalty_research.report.notebooks import describe_notebooks, storage_faults


@pytest.fixture
def stored(project):
    """Store a notebook, changed by a function, and return its faults."""

    def stored(change=lambda document: None, **options):
        project.add("n", **options)
        path = project.root / "notebooks" / "n.ipynb"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
        return storage_faults(path)

    return stored


def test_a_clean_notebook_has_no_faults(stored):
    assert stored() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(nbformat_minor=4), "older than 4.5"),
        (lambda d: d["cells"].extend([d["cells"][0]] * 20), "more than 24"),
        (lambda d: d["metadata"].clear(), "its kernel is None"),
        (lambda d: d["cells"][1].update(execution_count=3), "1 cells are stored with outputs"),
        (lambda d: d["cells"][1].update(outputs=[{}]), "1 cells are stored with outputs"),
        (lambda d: d["cells"].pop(0), "not a heading"),
        (lambda d: d["cells"].pop(1), "exactly one code cell tagged"),
    ],
)
def test_each_fault_of_storage_is_seen(stored, change, said):
    (fault,) = stored(change)
    assert said in fault


def test_a_parameter_needs_a_comment(stored):
    assert stored(parameters="size: int = 3\n") == ["parameter size has no comment that explains it"]


def test_the_list_has_questions_types_defaults_and_faults(project, monkeypatch):
    monkeypatch.setenv("LOYALTY_PROJECT", str(project.root))
    project.add("good")
    said = []
    assert describe_notebooks(said.append) == 0
    assert said == [
        "notebooks/good.ipynb: Who came back?",
        "    size   int  3        how many",
        '    label  str  "plain"  a word',
    ]
    project.add("bad", parameters=None)
    assert describe_notebooks(said.append) == 1
    assert "  ! bad.ipynb needs exactly one code cell tagged 'parameters'; it has 0" in said


def test_the_projects_own_notebooks_are_stored_as_they_should_be(root):
    found = {path.name: storage_faults(path) for path in (root / "notebooks").glob("*.ipynb")}
    assert not any(found.values()), found
