import pytest

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.report.catalogue import load_catalogue
from loyalty_research.report.plan import Keys, command, make_plans, parse_assignments

CELL = 'dataset: str = "one"  # data\nas_of: str | None = None  # last day\nweeks: int = 4  # horizon\n'
CSV = "transaction_id,customer_id,transacted_at,amount,currency\nt,c,2024-01-31,3,EUR\n"


@pytest.fixture
def plans(project, monkeypatch):
    monkeypatch.chdir(project.root)
    (project.root / "data" / "one.csv").write_text(CSV)
    (project.root / "data" / "datasets.yml").write_text(
        "one: {tables: {transactions: {from: data/one.csv}}}\n"
    )
    project.add("r", parameters=CELL, entry={"needs": ["{dataset}"], "parameters": {"weeks": 8}})

    def plans(**given):
        catalogue = load_catalogue(project.root)
        return make_plans(catalogue, catalogue.choose(), given, keys_of=Keys(project.root))[0]

    return plans


def test_a_plan_knows_its_values_inputs_and_what_was_changed(plans):
    plan = plans()
    assert plan.parameters == {"dataset": "one", "as_of": None, "weeks": 8}
    assert plan.overrides == {"weeks": 8}
    assert plan.inputs == ("one",)
    assert (plan.changed, plan.as_of) == ((), None)
    assert command(plan) == "loyalty report r"
    other = plans(as_of="2024-01-31", weeks="8")
    assert (other.changed, other.as_of) == (("as_of",), "2024-01-31")
    assert other.key != plan.key
    assert command(other) == "loyalty report r -p as_of=2024-01-31"


def test_the_key_follows_the_data(plans, project):
    before = plans().key
    assert plans().key == before
    (project.root / "data" / "one.csv").write_text(CSV.replace(",3,", ",4,"))
    assert plans().key != before


def test_a_path_typed_at_the_prompt_means_that_file_to_the_notebook(plans, project, monkeypatch, tmp_path):
    inside, outside = project.root / "data" / "my file.csv", tmp_path / "elsewhere.csv"
    for path in (inside, outside):
        path.write_text(CSV)
    monkeypatch.chdir(project.root / "data")
    plan = plans(dataset="my file.csv")
    assert plan.parameters["dataset"] == "data/my file.csv"
    assert command(plan) == "loyalty report r -p 'dataset=data/my file.csv'"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOYALTY_PROJECT", str(project.root))
    assert plans(dataset="elsewhere.csv").parameters["dataset"] == str(outside)
    assert plans(dataset="one").parameters["dataset"] == "one"


def test_missing_data_are_an_error_before_anything_runs(plans):
    with pytest.raises(ContractError, match="there is no dataset 'two'"):
        plans(dataset="two")


@pytest.mark.parametrize("texts", [["a"], ["=1"], ["a=1", "a=2"]])
def test_assignments_have_a_name_and_come_once(texts):
    with pytest.raises(ArgumentError):
        parse_assignments(texts)
