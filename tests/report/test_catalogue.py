import pytest

from loyalty_research.errors import ArgumentError
from loyalty_research.report.catalogue import find_root, load_catalogue


@pytest.fixture
def two(project):
    project.add("one")
    project.add("two", entry={"default": False, "sensitivity": "public"})
    return project


def test_entries_keep_their_order_and_defaults(two):
    catalogue = load_catalogue(two.root)
    assert list(catalogue.reports) == ["one", "two"]
    assert catalogue.reports["one"].sensitivity == "internal"
    assert [r.id for r in catalogue.choose()] == ["one"]
    assert [r.id for r in catalogue.choose(everything=True)] == ["one", "two"]
    assert [r.id for r in catalogue.choose(["two", "one", "two"])] == ["two", "one"]


def test_an_unknown_report_lists_the_known_ones(two):
    with pytest.raises(ArgumentError, match=r"no report is called 'tow'.*one, two; did you mean 'two'\?"):
        load_catalogue(two.root).choose(["tow"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"titel": "x"}, r"report one: unknown key 'titel'; did you mean 'title'\?"),
        (
            {"notebook": "notebooks/none.ipynb"},
            "report one: the notebook notebooks/none.ipynb does not exist",
        ),
        ({"sensitivity": "secret"}, "must be one of public, internal, restricted; got 'secret'"),
        ({"id": "Not Kebab"}, "kebab case"),
        ({"id": "index"}, "kebab case"),
        ({"id": ["x"]}, "'id' must be a name"),
        ({"parameters": [1]}, "'parameters' must be a mapping"),
        ({"needs": "cdnow"}, "'needs' must be a list"),
        ({"needs": [1]}, "'needs' must be a list"),
        ({"timeout": 0}, "at least 1 second"),
        ({"timeout": True}, "'timeout' must be seconds"),
        ({"default": "yes"}, "'default' must be true or false"),
    ],
)
def test_a_bad_entry_says_what_is_wrong(two, change, said):
    two.entries[0].update(change)
    two.save()
    with pytest.raises(ArgumentError, match=said):
        load_catalogue(two.root)


def test_all_faults_come_at_once(two):
    two.entries.append({**two.entries[0]})
    two.entries[1].pop("audience")
    two.save()
    with pytest.raises(
        ArgumentError, match=r"report two: 'audience' is missing; report one: the id is there twice"
    ):
        load_catalogue(two.root)


@pytest.mark.parametrize("text", ["", "reports: {}", "reports: []", "- 1", "reports: [", "reports: [1]"])
def test_a_file_without_reports_is_an_error(two, text):
    (two.root / "reports" / "catalogue.yml").write_text(text)
    with pytest.raises(ArgumentError, match=r"reports/catalogue\.yml"):
        load_catalogue(two.root)


def test_needs_are_filled_from_parameters(two):
    two.add("three", entry={"needs": ["{label}", "cdnow", "{label}"]})
    report = load_catalogue(two.root).reports["three"]
    assert report.inputs({"label": "grocery"}) == ("grocery", "cdnow")
    for wrong in ({}, {"label": 3}):
        with pytest.raises(ArgumentError, match=r"'needs' names \{label\}"):
            report.inputs(wrong)


def test_the_root_is_found_upwards_or_named(two, monkeypatch, tmp_path):
    monkeypatch.chdir(two.root / "notebooks")
    assert find_root() == two.root
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOYALTY_PROJECT", str(two.root))
    assert find_root() == two.root
    monkeypatch.setenv("LOYALTY_PROJECT", str(tmp_path))
    with pytest.raises(ArgumentError, match="LOYALTY_PROJECT"):
        find_root()


def test_the_projects_own_catalogue_is_right(root):
    catalogue = load_catalogue(root)
    default = [report.id for report in catalogue.choose()]
    assert default == ["churn", "members-vs-nonmembers", "endowed-progress", "lifetime-value"]
    assert all(report.title.endswith("?") for report in catalogue.reports.values())
