import re
import subprocess
import sys

import pytest

from loyalty_research import __version__, cli

COMMANDS = ("report", "check", "datasets", "simulate", "summarise", "notebooks", "diff")
GOOD = (
    "transaction_id,customer_id,transacted_at,amount,currency\nt1,a,2024-01-31,3,EUR\nt2,b,2024-02-01,4,EUR\n"
)


@pytest.fixture
def orders(tmp_path, monkeypatch):
    """A folder with a CSV file of orders, in a project without named datasets."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "datasets.yml").write_text("{}\n")
    monkeypatch.chdir(tmp_path)

    def write(text=GOOD):
        (tmp_path / "transactions.csv").write_text(text)
        return "transactions.csv"

    return write


def test_help_names_every_command_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(re.search(rf"^\s+{command}\s", said, re.MULTILINE) for command in COMMANDS)
    assert "exit codes: 0 done; 1 a report failed or differs; 2 bad input or usage" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert re.search(rf"examples:\n  loyalty {command}", said)
    assert max(map(len, said.splitlines())) <= 110


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"loyalty {__version__}\n"


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["check"], ["report", "--outt", "x"], ["datasets", "extra"]]
)
def test_bad_usage_exits_with_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert "usage: loyalty" in capsys.readouterr().err


def test_check_prints_every_violation_and_exits_by_them(orders, capsys):
    assert cli.main(["check", orders()]) == 0
    assert "follows the contract" in capsys.readouterr().out
    assert cli.main(["check", orders(GOOD.replace("t2,b,2024-02-01,4", "t1,b,never,four"))]) == 2
    said = capsys.readouterr().out
    for words in ("transacted_at", "amount", "transaction_id"):
        assert words in said


def test_check_puts_bad_rows_into_quarantine(orders, tmp_path):
    import pandas as pd

    name = orders(GOOD.replace("2024-02-01", "never"))
    cli.main(["check", name, "--quarantine", str(tmp_path / "bad.parquet")])
    assert len(pd.read_parquet(tmp_path / "bad.parquet")) == 1


def test_an_error_is_one_message_and_with_debug_a_traceback(orders, capsys):
    assert cli.main(["check", "none.csv"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("loyalty: error: there is no file or folder 'none.csv'")
    assert said.err.count("\n") == 1
    for words in (["--debug", "check", "none.csv"], ["check", "--debug", "none.csv"]):
        with pytest.raises(ValueError, match=r"none\.csv"):
            cli.main(words)


def test_a_file_that_cannot_be_written_is_an_error(orders, capsys, tmp_path):
    name = orders()
    (tmp_path / "file").write_text("")
    assert cli.main(["summarise", name, "--out", "file/inside"]) == 2
    assert capsys.readouterr().err.startswith("loyalty: error: ")


def test_a_stop_by_the_user_is_no_traceback(monkeypatch, capsys):
    def stopped(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_notebooks", stopped)
    assert cli.main(["notebooks"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_datasets_lists_names_kinds_and_descriptions(root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    assert cli.main(["datasets"]) == 0
    said = capsys.readouterr().out
    for words in ("cdnow (real)\n    Real orders", "carwash (published)", "programme (simulated)"):
        assert words in said


def test_simulate_and_summarise_go_together(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["simulate", "none", "--customers", "50", "--seed", "1", "--out", "shop", "-p", "r=0.8"]
    assert cli.main(words) == 0
    assert '"r": 0.8' in (tmp_path / "shop" / "truth.json").read_text()
    assert cli.main(words) == 2
    assert cli.main(["summarise", "shop", "--out", "sums", "--summary", "cohorts"]) == 0
    assert [p.name for p in (tmp_path / "sums").iterdir()] == ["cohorts.parquet"]
    capsys.readouterr()
    assert cli.main([*words, "-p", "nonsense=1", "--force"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_ids_may_come_after_options(monkeypatch):
    from loyalty_research.report import run

    asked = []
    monkeypatch.setattr(run, "make_site", lambda request, console: asked.append(request) or 0)
    assert cli.main(["report", "a", "-p", "x=1", "b", "--jobs", "3", "c"]) == 0
    assert (asked[0].ids, asked[0].given, asked[0].jobs) == (("a", "b", "c"), {"x": "1"}, 3)


def test_starting_up_loads_nothing_heavy():
    code = (
        "import sys\nfrom loyalty_research import cli\nfrom loyalty_research.report import run\n"
        "print(*(m for m in ('numpy', 'pandas', 'duckdb', 'papermill', 'nbformat', 'nbconvert', 'jinja2', "
        "'matplotlib') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
