import pytest

from loyalty_research.errors import ContractError
from loyalty_research.report import preflight
from loyalty_research.report.preflight import check_inputs

CSV = "transaction_id,customer_id,transacted_at,amount,currency\nt,c,2024-01-31,3,EUR\n"


def test_good_data_pass_and_all_bad_data_are_named(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "datasets.yml").write_text("{}\n")
    for name, text in (
        ("good", CSV),
        ("bad", CSV.replace("amount", "amuont")),
        ("empty", CSV.splitlines()[0]),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "transactions.csv").write_text(text)
    check_inputs([("good", None), ("good", None)], folder=tmp_path)
    with pytest.raises(ContractError) as caught:
        check_inputs([("bad", None), ("good", None), ("empty", "2024-01-31")], folder=tmp_path)
    said = str(caught.value)
    assert "amount" in said
    assert "empty" in said


def test_nothing_to_open_starts_no_process(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight.subprocess, "run", None)
    check_inputs([], folder=tmp_path)


def test_a_process_that_breaks_down_is_an_error_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight.sys, "executable", "/bin/false")
    with pytest.raises(ContractError, match=r"^the data could not be opened: exit code 1$"):
        check_inputs([("x", None)], folder=tmp_path)
