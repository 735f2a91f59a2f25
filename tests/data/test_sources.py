from __future__ import annotations

import gzip

import duckdb
import numpy as np
import pandas as pd
import pytest

from loyalty_research.data import check_dataset, open_dataset
from loyalty_research.data.raw import literal
from loyalty_research.errors import ContractError

UNITS = "arm,visits\na,1\nb,2\n"


def mine(project, body: str):
    """Define a table of units or tickets from a fragment and open it."""
    project.define("mine:\n  tables:\n" + "".join(f"    {line}\n" for line in body.splitlines()))
    return open_dataset("mine")


@pytest.mark.parametrize(
    "text",
    [
        "arm;visits\na;1\nb;2\n",
        "arm\tvisits\na\t1\nb\t2\n",
        "arm|visits\na|1\nb|2\n",
        '\ufeff"arm","visits"\n"a","1"\n"b","2"',
        "arm,visits\r\na,1\r\nb,2\r\n",
        "arm, visits\n a ,1\nb, 2\n",
        "arm,visits\n\na,1\n\nb,2\n\n",
    ],
)
def test_ways_of_writing_one_table(project, text):
    project.write("u.csv", text)
    units = open_dataset("u.csv").frame("units")
    assert units["arm"].tolist() == ["a", "b"]
    assert units["visits"].tolist() == [1, 2]


def test_compressed_and_other_encodings(project):
    project.write("u.csv.gz", gzip.compress(UNITS.encode()))
    assert len(open_dataset("u.csv.gz").frame("units")) == 2
    project.write("latin.csv", "arm,visits\nñ,1\nü,2\n".encode("latin-1"))
    made = mine(project, "units: {from: latin.csv, encoding: latin-1}")
    assert made.frame("units")["arm"].tolist() == ["ñ", "ü"]
    report = check_dataset("latin.csv")
    assert report.to_frame()["rule"].tolist()[:1] == ["wrong_encoding"]
    assert report.to_frame()["first_rows"][0] == (2, 3)


def test_lines_are_counted_in_every_way_of_storing_text(project):
    text = 'arm,x\na,1\nb\n"a\nb",2\nd,1,2\n'
    project.write("g.csv.gz", gzip.compress(text.encode()))
    project.write("u.csv", text.encode("utf-16"))
    project.define("""
        g: {tables: {units: {from: g.csv.gz}}}
        u: {tables: {units: {from: u.csv, encoding: utf-16}}}
        h: {tables: {tickets: {from: h.csv, header: [ticket_id, customer_id, opened_at]}}}
    """)
    assert check_dataset("g").to_frame()["first_rows"].tolist() == [(3, 6)]
    assert check_dataset("u").to_frame()["count"].tolist() == [2]
    # without a header the first row is line 1
    project.write("h.csv", "1,a,2024-01-01\n2,a,soon\n3,a\n4,a,later\n")
    report = check_dataset("h").to_frame().set_index("rule")["first_rows"].to_dict()
    assert report == {"malformed_line": (3,), "not_a_timestamp": (2, 4)}


def test_null_words_numbers_and_names_without_header(project):
    project.write("u.csv", "a;1.234,5;NA\nb;2,25;x\n")
    made = mine(
        project,
        "units: {from: u.csv, header: [arm, spend, note], decimal: ',', thousands: '.', null_values: [NA],\n"
        "  columns: {money: {expr: spend * 2}}}",
    )
    units = made.frame("units")
    assert units["money"].tolist() == [2469.0, 4.5]
    assert units["note"].tolist() == [None, "x"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no header line"),
        ("arm,arm\na,1\n", "names arm more than once"),
        ("arm,,x\na,1,2\n", "column 2 of u.csv has no name"),
    ],
)
def test_a_header_that_is_none_is_refused(project, text, words):
    project.write("u.csv", text)
    with pytest.raises(ContractError, match=words):
        open_dataset("u.csv")


def test_only_a_header_is_an_empty_table(project):
    project.write("u.csv", "arm,x\n")
    with pytest.raises(ContractError, match="units: empty_table"):
        open_dataset("u.csv")


def test_lines_that_are_no_rows_are_named(project):
    project.write("u.csv", 'arm,x\na,1\nb\n"c\nd",2\ne,2,3\n"f"g,5\nh,6\n')
    report = check_dataset("u.csv", quarantine="bad.parquet")
    (broken,) = report.violations
    assert (broken.rule, broken.count, broken.first_rows) == ("malformed_line", 3, (3, 6, 7))
    written = pd.read_parquet("bad.parquet").sort_values("row")
    assert written["row"].tolist() == [3, 6, 7]
    assert written["line"].tolist() == ["b", "e,2,3", '"f"g,5']
    (counts,) = report.quarantined
    assert (counts.rows, counts.kept, counts.set_aside) == (6, 3, 3)


def test_a_line_in_another_encoding_is_told_apart_and_mended_by_declaring_it(project):
    (project.root / "u.csv").write_bytes("arm,x\ncaf\u00e9,1\nb,2,3\nb,4\n".encode("latin-1"))
    report = check_dataset("u.csv", quarantine="bad.parquet")
    assert [(v.rule, v.count, v.first_rows) for v in report.violations] == [
        ("malformed_line", 1, (3,)),
        ("wrong_encoding", 1, (2,)),
    ]
    assert "latin-1" in report.violations[1].mend
    reasons = pd.read_parquet("bad.parquet").sort_values("row")["reasons"].map(list).tolist()
    assert reasons == [["wrong_encoding: invalid encoding"], ["malformed_line: too many columns"]]
    (project.root / "u.csv").write_bytes("arm,x\ncaf\u00e9,1\nb,4\n".encode("latin-1"))
    project.define("mine: {tables: {units: {from: u.csv, encoding: latin-1}}}")
    assert open_dataset("mine").frame("units")["arm"].tolist() == ["caf\u00e9", "b"]


def test_whitespace_separated_text(project):
    project.write("u.txt", "  arm  x \r\n a   1\r\nb\t2\r\n\r\nc\r\nd 4 5\r\n")
    project.define("mine: {tables: {units: {from: u.txt, delimiter: whitespace}}}")
    report = check_dataset("mine")
    (broken,) = report.violations
    assert (broken.rule, broken.first_rows) == ("malformed_line", (5, 6))
    project.write("u.txt", "  arm  x \r\n a   1\r\nb\t2\r\n")
    assert open_dataset("mine").frame("units")["x"].tolist() == [1, 2]


def test_a_glob_of_files_is_one_table_and_faults_name_the_file(project):
    project.write("sales/2023.csv", "ticket_id,customer_id,opened_at\n1,a,2023-01-01\n2,a,2023-01-02\n")
    project.write("sales/2024.csv", "ticket_id,customer_id,opened_at\n3,a,2024-01-01\n4,a,soon\n")
    project.define("mine: {tables: {tickets: {from: 'sales/*.csv'}}}")
    report = check_dataset("mine")
    assert report.to_frame()["first_rows"].tolist() == [("2024.csv:3",)]
    project.write("sales/2024.csv", "ticket_id,customer_id,opened_at\n3,a,2024-01-01\n")
    assert open_dataset("mine").frame("tickets")["ticket_id"].tolist() == ["1", "2", "3"]
    project.write("sales/2025.csv", "ticket_id,who,opened_at\n3,a,2024-01-01\n")
    with pytest.raises(ContractError, match=r"2025\.csv has other columns than 2023\.csv"):
        open_dataset("mine")
    project.define("mine: {tables: {tickets: {from: 'nothing/*.csv'}}}")
    with pytest.raises(ContractError, match="no file matches"):
        open_dataset("mine")


def parquet(project, name: str, frame: pd.DataFrame):
    path = project.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path)
    return path


def test_parquet_files_and_the_corrupt_one_by_name(project):
    frame = pd.DataFrame({"arm": ["a", "b"] * 50_000, "x": np.random.default_rng(1).normal(size=100_000)})
    parquet(project, "lake/1.parquet", frame)
    second = parquet(project, "lake/2.parquet", frame)
    project.define(
        "mine: {sources: {lake: {kind: parquet, path: lake}}, tables: {units: {from: 'lake:*.parquet'}}}"
    )
    data = open_dataset("mine")
    assert data.counts() == {"units": 200_000}
    assert data.frame("units")["unit_id"].nunique() == 200_000
    whole = second.read_bytes()
    # the footer is whole, a page in the middle is not
    second.write_bytes(whole[:2000] + bytes(400_000) + whole[402_000:])
    with pytest.raises(ContractError, match=r"lake/2\.parquet is no readable Parquet file") as raised:
        open_dataset("mine")
    assert "1.parquet" not in str(raised.value)
    for broken in (b"", b"not parquet", whole[:5000]):
        second.write_bytes(broken)
        with pytest.raises(ContractError, match=r"2\.parquet is no readable Parquet file"):
            open_dataset("mine")
    parquet(project, "lake/2.parquet", frame.rename(columns={"x": "y"}))
    with pytest.raises(ContractError, match=r"2\.parquet has other columns than 1\.parquet: x, y"):
        open_dataset("mine")


def test_positions_in_parquet_count_from_zero(project):
    parquet(project, "units.parquet", pd.DataFrame({"arm": ["a", None, "b", None]}))
    report = check_dataset("units.parquet")
    assert report.to_frame()["first_rows"].tolist() == [(1, 3)]
    assert "at positions 1, 3" in repr(report)


def test_a_table_of_a_duckdb_file(project):
    path = project.root / "shop.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute(
            """CREATE SCHEMA "odd name"; CREATE TABLE "odd name"."my units" AS SELECT 'a' AS arm, 1 AS x"""
        )
    project.define("""
        mine:
          sources: {shop: {kind: duckdb, path: shop.duckdb}}
          tables: {units: {from: "shop:odd name.my units"}}
        other: {tables: {units: {from: "shop.duckdb:odd name.my units"}}}
        wrong: {tables: {units: {from: "shop.duckdb:main.units"}}}
    """)
    assert open_dataset("mine").counts() == {"units": 1}
    assert open_dataset("other").counts() == {"units": 1}
    with pytest.raises(ContractError, match=r"no table 'main\.units'; it has odd name\.my units"):
        open_dataset("wrong")


def test_files_of_an_installed_package_need_no_import_of_it(project, tmp_path, monkeypatch):
    site = tmp_path / "site"
    (site / "toy_data").mkdir(parents=True)
    (site / "toy_data" / "__init__.py").write_text("raise RuntimeError('imported')", "utf-8")
    (site / "toy_data" / "u.csv").write_text(UNITS, "utf-8")
    (site / "toy_data-1.0.dist-info").mkdir()
    (site / "toy_data-1.0.dist-info" / "METADATA").write_text("Name: toy-data\nVersion: 1.0\n", "utf-8")
    monkeypatch.syspath_prepend(str(site))
    project.define("""
        mine:
          sources: {toy: {kind: package, package: toy-data, path: toy_data}}
          tables: {units: {from: "toy:u.csv"}}
    """)
    assert open_dataset("mine").counts() == {"units": 2}


def test_counts_become_units(project):
    made = mine(project, "units: {counts: {outcome: bought, arms: {yes: [2, 3], 'no': [0, 2]}}}")
    units = made.frame("units")
    assert units["arm"].tolist() == ["yes"] * 3 + ["no"] * 2
    assert units["bought"].tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("arms", ["{a: [3, 2]}", "{a: [1]}", "{a: x}", "{}", "{a: [-1, 2]}"])
def test_counts_that_do_not_add_up_are_refused(project, arms):
    with pytest.raises(ContractError, match=r"units(\.counts|: unreadable)"):
        mine(project, f"units: {{counts: {{arms: {arms}}}}}")


def test_distinct_rows_and_a_join(project):
    project.write("lines.csv", "who,article\nb,1\na,2\nb,3\nc,4\n")
    project.write("people.csv", "who,gender\na,f\nb,m\n")
    made = mine(
        project,
        "customers:\n  from: lines.csv\n  distinct: who\n  join: {from: people.csv, on: who}\n"
        "  columns: {customer_id: who}",
    )
    people = made.frame("customers")
    assert people["customer_id"].tolist() == ["a", "b", "c"]
    assert people["gender"].tolist() == ["f", "m", None]
    project.write("people.csv", "who,gender\na,f\na,m\n")
    with pytest.raises(ContractError, match="1 keys stand more than once"):
        open_dataset("mine")
    project.write("people.csv", "who,article,gender\na,f,m\n")
    project.define("mine: {tables: {units: {from: lines.csv, join: {from: people.csv, on: who}}}}")
    with pytest.raises(ContractError, match="both sides have the columns article"):
        open_dataset("mine")
    project.define("mine: {tables: {units: {from: lines.csv, distinct: whom}}}")
    with pytest.raises(ContractError, match="names whom; the source has who, article"):
        open_dataset("mine")


def test_names_and_values_cannot_break_out_of_a_query(project):
    odd = 'x"; DROP TABLE units; --'
    pd.DataFrame({"arm": ["a'b", "c"], odd: [1, 2]}).to_csv(project.root / "u.csv", index=False)
    units = open_dataset("u.csv").frame("units")
    assert units.columns.tolist() == ["unit_id", "arm", odd]
    assert units["arm"].tolist() == ["a'b", "c"]
    made = mine(project, 'units: {from: u.csv, columns: {note: {constant: "it\'s"}}}')
    assert made.frame("units")["note"].tolist() == ["it's", "it's"]
    assert duckdb.sql(f"SELECT {literal(odd)}").fetchall() == [(odd,)]
