from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from loyalty_research.data import catalogue, open_dataset
from loyalty_research.data.catalogue import define, find_project, list_datasets, source_key
from loyalty_research.data.definitions import as_date
from loyalty_research.errors import ArgumentError, ContractError, MissingExtraError

MINE = """
mine:
  timezone: Europe/Madrid
  currency: EUR
  observation: {end: 2024-12-31, calibration_end: 2024-06-30}
  engine: {kind: duckdb, memory_limit: 2GB, threads: 2}
  sources:
    lake: {kind: parquet, path: data/raw/}
    crm: {kind: postgres, url_env: CRM_URL}
  tables:
    transactions:
      from: lake:sales/*.parquet
      columns: {customer_id: CustomerID, transacted_at: InvoiceDate, amount: {expr: Quantity * UnitPrice}}
      datetime_format: "%d/%m/%Y %H:%M"
      on_bad_rows: quarantine
"""


def test_the_specified_definition_is_read(project):
    project.define(MINE)
    found = define("mine")
    assert found.as_of == dt.date(2024, 12, 31)
    assert found.calibration_end == dt.date(2024, 6, 30)
    assert found.sources["crm"].url_env == "CRM_URL"
    table = found.tables["transactions"]
    assert (table.on_bad_rows, table.max_bad_share) == ("quarantine", 0.01)
    assert table.parts[0].columns["amount"] == {"expr": "Quantity * UnitPrice"}


def test_the_project_is_found_from_below(project):
    project.define("a: {tables: {units: {from: u.csv}}}")
    below = project.root / "notebooks" / "deep"
    below.mkdir(parents=True)
    assert find_project(below) == project.root
    assert list_datasets(below) == ["a"]


def test_without_a_project_the_editable_install_is_used(tmp_path, root):
    assert find_project(tmp_path) == root
    assert {"cdnow", "cdnow-sample", "grocery", "carwash", "programme", "stamp-cards"} <= set(
        list_datasets(tmp_path)
    )


def test_shipped_definitions_are_sound(root):
    for name in list_datasets(root):
        found = define(name, root)
        assert found.kind != "user", name
        assert found.description.endswith("."), name
    assert "imulated" in define("grocery", root).description
    assert "real" in define("cdnow", root).description.lower()


@pytest.mark.parametrize("name", [None, 3, ["cdnow"]])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ArgumentError, match="a dataset's name or a path; got"):
        open_dataset(name)


def test_an_unknown_name_lists_the_known_ones_and_the_close_one(project):
    project.define("shop: {tables: {units: {from: u.csv}}}\nbank: {tables: {units: {from: u.csv}}}")
    with pytest.raises(ContractError, match=r"'shpo'.*Did you mean shop\?.*has: shop, bank"):
        define("shpo")
    with pytest.raises(ContractError, match="no file or folder"):
        define("missing.csv")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("a: {tabels: {}}", "unknown entry 'tabels'; did you mean tables"),
        ("a: {}", "needs tables: or generator:"),
        ("a: {tables: {transaction: {from: x.csv}}}", "did you mean transactions"),
        ("a: {tables: {units: {}}}", "needs either from:"),
        ("a: {tables: {units: {from: x.csv, counts: {arms: {}}}}}", "needs either from:"),
        ("a: {timezone: Mars/Base, tables: {units: {from: x.csv}}}", "no time zone"),
        ("a: {kind: made-up, tables: {units: {from: x.csv}}}", "kind must be one of"),
        ("a: {tables: {units: {from: x.csv, on_bad_rows: drop}}}", "fail or quarantine"),
        ("a: {tables: {units: {from: x.csv, max_bad_share: 3}}}", "fraction from 0 to 1"),
        ("a: {observation: {end: soon}, tables: {units: {from: x.csv}}}", "must be a day"),
        (
            "a: {observation: {end: 2024-01-01, calibration_end: 2024-02-01}, tables: {units: {from: x.csv}}}",
            "must lie before end",
        ),
        ("a: {engine: {kind: spark}, tables: {units: {from: x.csv}}}", "must be duckdb"),
        ("a: {sources: {s: {kind: ftp}}, tables: {units: {from: x.csv}}}", "needs kind: one of"),
        (
            "a: {sources: {s: {kind: postgres, url: 'postgres://u:p@h/d'}}, tables: {units: {from: 's:t'}}}",
            "does not belong in a file",
        ),
        ("a: {sources: {s: {kind: postgres}}, tables: {units: {from: 's:t'}}}", "needs url_env"),
        ("a: {tables: {units: {from: x.csv}}}\na: {tables: {units: {from: y.csv}}}", "stands twice"),
        ("a: [1, 2]", "must be a mapping"),
        ("- a", "must map names"),
        ("a: {tables: {units: {from: x.csv, join: {from: y.csv}}}}", "needs from: and on:"),
        ("a: {tables: {units: {parts: []}}}", "list of sources"),
        ("a: {tables: {units: {from: x.csv}}", "cannot be read"),
    ],
)
def test_a_wrong_definition_is_refused_in_words(project, entry, words):
    project.define(entry)
    with pytest.raises((ContractError, ArgumentError), match=words):
        define("a")


def test_a_secret_never_reaches_the_message(project):
    project.define(
        "a: {sources: {s: {kind: postgres, url: 'postgres://u:hunter2@h/d'}}, tables: {units: {from: 's:t'}}}"
    )
    with pytest.raises(ContractError) as raised:
        define("a")
    assert "hunter2" not in str(raised.value)


def test_words_that_yaml_1_1_takes_for_booleans_stay_words(project):
    project.define("""
        a:
          tables:
            contacts:
              from: c.csv
              join: {from: d.csv, on: campaign_id}
              columns: {channel: {constant: no}}
    """)
    part = define("a").tables["contacts"].parts[0]
    assert part.join["on"] == ("campaign_id",)
    assert part.columns["channel"] == {"constant": "no"}


def test_source_key_changes_with_bytes_definition_and_view(project):
    project.define("a: {tables: {units: {from: u.csv}}}")
    project.write("u.csv", "arm,x\na,1\n")
    first = source_key("a")
    assert len(first) == 64
    assert source_key("a") == first
    assert source_key("a", as_of="2024-01-01") != first
    project.write("u.csv", "arm,x\na,2\n")
    second = source_key("a")
    assert second != first
    project.define("a: {currency: EUR, tables: {units: {from: u.csv}}}")
    assert source_key("a") != second
    assert source_key("u.csv") != source_key("a")


def test_source_key_of_a_folder_sees_files_below_it(project):
    project.define("{}")
    project.write("mine/transactions/1.csv", "transaction_id\n1\n")
    first = source_key("mine")
    project.write("mine/transactions/2.csv", "transaction_id\n2\n")
    assert source_key("mine") != first


def test_source_key_of_a_server_is_not_known(project):
    project.define("""
        a:
          sources: {crm: {kind: postgres, url_env: CRM_URL}}
          tables: {units: {from: "crm:public.units"}}
    """)
    assert source_key("a") is None


def test_source_key_follows_the_code_of_a_generator(project, monkeypatch, tmp_path):
    project.define("a: {generator: {name: toy, arguments: {seed: 1}}}")
    module = project.write("toy_generator.py", "def make(seed): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    class Point:
        name, module = "toy", "toy_generator"

    monkeypatch.setattr(catalogue.metadata, "entry_points", lambda group: [Point])
    first = source_key("a")
    module.write_text("def make(seed): return seed\n", "utf-8")
    assert source_key("a") != first
    project.define("a: {generator: {name: toy, arguments: {seed: 2}}}")
    assert source_key("a") != first
    project.define("a: {generator: {name: other}}")
    with pytest.raises(ContractError, match="no generator 'other'; registered: toy"):
        source_key("a")


def test_a_package_that_is_not_installed_names_the_extra(project):
    project.define("""
        a:
          sources: {p: {kind: package, package: no-such-distribution, path: x, extra: datasets}}
          tables: {units: {from: "p:u.csv"}}
    """)
    with pytest.raises(MissingExtraError, match="'datasets'"):
        source_key("a")


def test_the_key_of_shipped_data_needs_nothing_heavy(root):
    code = (
        "import sys; from loyalty_research.data.catalogue import source_key; "
        "print(source_key('cdnow')); "
        "print([m for m in ('duckdb', 'pandas', 'numpy', 'narwhals', 'lifetimes') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    key, heavy = done.stdout.split("\n")[:2]
    assert len(key) == 64
    assert heavy == "[]"


def test_only_declared_inputs_can_be_opened(project, monkeypatch):
    catalogue.check_declared("anything")
    monkeypatch.setenv("LOYALTY_DECLARED_INPUTS", "cdnow,data/my file, a.csv,b.csv")
    catalogue.check_declared("cdnow")
    catalogue.check_declared("data/my file, a.csv")
    catalogue.check_declared(str(Path("data") / ".." / "b.csv"))
    with pytest.raises(ContractError, match=r"opens the dataset 'grocery' but declares cdnow.*needs:"):
        catalogue.check_declared("grocery")
    monkeypatch.setenv("LOYALTY_DECLARED_INPUTS", "")
    with pytest.raises(ContractError, match="declares none"):
        catalogue.check_declared("cdnow")


@pytest.mark.parametrize("value", ["2024-02-30", "31/12/2024", 5, None])
def test_a_day_is_a_day(value):
    with pytest.raises(ArgumentError, match="must be a day"):
        as_date(value)
    assert as_date(pd.Timestamp("2024-02-29 23:59")) == dt.date(2024, 2, 29)
