from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research.data import Dataset, check_dataset, open_dataset
from loyalty_research.errors import ContractError

LINES = """InvoiceNo;StockCode;Quantity;InvoiceDate;UnitPrice;CustomerID
A1;85123;6;01/12/2024 08:26;2,55;17850
A1;71053;6;01/12/2024 08:28;3,39;17850
A2;84406;8;31/03/2024 02:30;2,75;13047
A3;22752;-1;30/06/2024 23:45;7,65;
"""

DEFINITION = """
mine:
  timezone: Europe/Madrid
  currency: EUR
  observation: {end: 2024-12-31}
  tables:
    transactions:
      from: lines.csv
      group_by: transaction_id
      datetime_format: "%d/%m/%Y %H:%M"
      decimal: ","
      columns:
        transaction_id: InvoiceNo
        customer_id: CustomerID
        transacted_at: InvoiceDate
        amount: {expr: Quantity * UnitPrice}
        pieces: {expr: Quantity}
        lines: {count: true}
"""


def test_order_lines_in_another_zone_and_notation(project):
    project.define(DEFINITION)
    project.write("lines.csv", LINES)
    data = open_dataset("mine")
    orders = data.frame("transactions").set_index("transaction_id")
    assert orders["amount"].to_dict() == {"A1": 35.64, "A2": 22.0, "A3": -7.65}
    assert orders["pieces"].to_dict() == {"A1": 12.0, "A2": 8.0, "A3": -1.0}
    assert orders["lines"].to_dict() == {"A1": 2, "A2": 1, "A3": 1}
    assert orders.loc["A1", "transacted_at"] == pd.Timestamp("2024-12-01 07:26")
    # the last evening of June is July nowhere in Spain, though it is past ten in UTC
    assert orders.loc["A3", "transacted_at"] == pd.Timestamp("2024-06-30 21:45")
    assert orders.loc["A3", "transacted_date"] == pd.Timestamp("2024-06-30")
    # columns of the articles do not become columns of the order unless asked for
    assert not {"StockCode", "UnitPrice"} & set(orders.columns)
    rules = data.check().to_frame()
    assert dict(zip(rules["rule"], rules["first_rows"], strict=True)) == {
        "refund": (5,),
        "no_such_local_time": (4,),
        "anonymous": (5,),
    }


def test_lines_that_disagree_and_lines_without_a_figure(project):
    project.define(DEFINITION)
    project.write(
        "lines.csv",
        "InvoiceNo;StockCode;Quantity;InvoiceDate;UnitPrice;CustomerID\n"
        "A1;1;1;01/12/2024 08:26;2,00;17850\n"
        "A1;2;1;01/12/2024 08:26;2,00;99999\n"
        "A2;1;1;01/12/2024 08:26;2,00;1\n"
        "A2;2;1;01/12/2024 08:26;2,00;\n"
        "A3;1;1;01/12/2024 08:26;2,00;1\n"
        "A3;2;1;01/12/2024 08:26;;1\n"
        ";2;1;01/12/2024 08:26;1;1\n"
        ";3;1;01/12/2024 08:26;1;1\n",
    )
    report = check_dataset("mine")
    rules = {v.rule: (v.column, v.first_rows) for v in report.violations}
    assert rules == {
        "lines_disagree": ("customer_id", (2, 4)),
        "null_required": ("amount", (6,)),
    } | {"null_required": rules["null_required"]}
    frame = report.to_frame()
    nulls = frame[frame["rule"] == "null_required"].set_index("column")["first_rows"].to_dict()
    assert nulls == {"transaction_id": (8, 9), "amount": (6,)}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(-3, 9), st.integers(0, 10_000), st.integers(0, 400)),
        min_size=1,
        max_size=40,
    )
)
def test_grouping_equals_pandas(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("lines")
    (folder / "data").mkdir()
    table = pd.DataFrame(lines, columns=["order", "pieces", "cents", "day"])
    table["price"] = table["cents"] / 100
    table["at"] = pd.Timestamp("2023-01-01") + pd.to_timedelta(table["day"], unit="D")
    table.to_parquet(folder / "lines.parquet")
    (folder / "data" / "datasets.yml").write_text(
        "mine:\n  currency: EUR\n  tables:\n    transactions:\n      from: lines.parquet\n"
        "      group_by: transaction_id\n"
        "      columns: {transaction_id: order, customer_id: {constant: a}, transacted_at: at,\n"
        "        amount: {expr: pieces * price}, pieces: {expr: pieces}}\n",
        "utf-8",
    )
    from loyalty_research.data.catalogue import define
    from loyalty_research.data.datasets import _read

    got = _read(define("mine", folder)).frame("transactions").set_index("transaction_id").sort_index()
    table["money"] = (table["pieces"] * table["cents"]) / 100
    expected = table.groupby("order").agg(amount=("money", "sum"), pieces=("pieces", "sum"), at=("at", "min"))
    assert got.index.tolist() == [str(i) for i in expected.index]
    np.testing.assert_allclose(got["amount"], expected["amount"], atol=1e-9)
    np.testing.assert_array_equal(got["pieces"], expected["pieces"])
    assert got["transacted_at"].tolist() == expected["at"].tolist()


ISO = [
    ("2024-03-05", "2024-03-05 00:00"),
    ("2024-03-05 07:08", "2024-03-05 07:08"),
    ("2024-03-05T07:08:09", "2024-03-05 07:08:09"),
    ("2024-03-05T07:08:09.125", "2024-03-05 07:08:09.125"),
    ("2024-03-05T07:08:09Z", "2024-03-05 07:08:09"),
    ("2024-03-05T07:08:09+02:00", "2024-03-05 05:08:09"),
    ("2024-03-05 07:08-0530", "2024-03-05 12:38"),
    ("2024-03-05 23:30:00 UTC", "2024-03-05 23:30"),
]
NOT_ISO = [
    "05/03/2024",
    "3/5/24",
    "2024-3-5",
    "2024/03/05",
    "20240305",
    "2024-13-01",
    "2024-02-30",
    "24:00",
    "now",
]


def test_iso_8601_is_read_and_nothing_else_is_guessed(project):
    texts = [text for text, _ in ISO] + NOT_ISO
    project.write(
        "tickets.csv",
        "ticket_id,customer_id,opened_at\n" + "".join(f"{i},a,{text}\n" for i, text in enumerate(texts)),
    )
    report = check_dataset("tickets.csv")
    (only,) = report.violations
    assert (only.rule, only.count, only.first_rows[0]) == ("not_a_timestamp", len(NOT_ISO), len(ISO) + 2)
    project.write(
        "tickets.csv",
        "ticket_id,customer_id,opened_at\n" + "".join(f"{i},a,{text}\n" for i, (text, _) in enumerate(ISO)),
    )
    got = open_dataset("tickets.csv").frame("tickets")["opened_at"]
    assert got.tolist() == [pd.Timestamp(utc) for _, utc in ISO]


def opened(project, texts, options: str, zone: str = "UTC") -> pd.DataFrame:
    project.define(
        f"mine: {{timezone: {zone}, tables: {{tickets: {{from: t.csv, {options}}}}}}}",
    )
    project.write(
        "t.csv", "ticket_id,customer_id,opened_at\n" + "".join(f"{i},a,{t}\n" for i, t in enumerate(texts))
    )
    return open_dataset("mine").frame("tickets")


def test_a_declared_format_decides_day_and_month(project):
    got = opened(project, ["05/03/2024", "13/12/2024"], 'datetime_format: "%d/%m/%Y"', "America/Sao_Paulo")
    assert got["opened_date"].tolist() == [pd.Timestamp("2024-03-05"), pd.Timestamp("2024-12-13")]
    assert got["opened_at"].tolist()[0] == pd.Timestamp("2024-03-05 03:00")
    with pytest.raises(ContractError, match="not_a_timestamp in 1 row"):
        opened(project, ["05/03/2024", "13/12/2024"], 'datetime_format: "%m/%d/%Y"')


def test_formats_with_offsets_lists_and_abbreviations(project):
    got = opened(project, ["05.03.2024 23:30 +0900"], 'datetime_format: "%d.%m.%Y %H:%M %z"', "Europe/Madrid")
    assert got["opened_at"][0] == pd.Timestamp("2024-03-05 14:30")
    assert got["opened_date"][0] == pd.Timestamp("2024-03-05")
    got = opened(
        project, ["05.03.2024", "05.03.2024 10:00"], 'datetime_format: ["%d.%m.%Y %H:%M", "%d.%m.%Y"]'
    )
    assert got["opened_at"].dt.hour.tolist() == [0, 10]
    with pytest.raises(ContractError, match="cannot use %Z"):
        opened(project, ["x"], 'datetime_format: "%d.%m.%Y %Z"')
    with pytest.raises(ContractError, match="every datetime_format has %z or none"):
        opened(project, ["x"], 'datetime_format: ["%d.%m.%Y %z", "%d.%m.%Y"]')


def test_a_source_may_keep_another_zone_than_the_dataset(project):
    got = opened(project, ["2024-06-30 23:30", "2024-06-30"], "timezone: UTC", "Europe/Madrid")
    # the moment moves into the next local day; the day without a time stays what it says
    assert got["opened_date"].dt.strftime("%F").tolist() == ["2024-07-01", "2024-06-30"]
    assert got["opened_at"].tolist() == [pd.Timestamp("2024-06-30 23:30"), pd.Timestamp("2024-06-29 22:00")]


def test_one_tz_aware_parquet_gives_the_same_days_as_its_text(project):
    local = ["2024-03-31 01:59", "2024-03-31 03:00", "2024-10-27 00:30", "2024-12-31 23:59"]
    aware = pd.Series(pd.to_datetime(local)).dt.tz_localize("Europe/Madrid")
    for unit in ("us", "ns"):
        frame = pd.DataFrame(
            {
                "ticket_id": range(4),
                "customer_id": "a",
                "opened_at": aware.dt.tz_convert("Asia/Tokyo").dt.as_unit(unit),
            }
        )
        frame.to_parquet(project.root / "t.parquet")
        project.define("mine: {timezone: Europe/Madrid, tables: {tickets: {from: t.parquet}}}")
        from_parquet = open_dataset("mine").frame("tickets")
        from_text = opened(project, [t.isoformat() for t in aware], "timezone: Asia/Tokyo", "Europe/Madrid")
        assert from_parquet["opened_at"].tolist() == from_text["opened_at"].tolist()
        assert from_parquet["opened_date"].dt.strftime("%F").tolist() == [t[:10] for t in local]
        assert from_text["opened_date"].tolist() == from_parquet["opened_date"].tolist()


def test_numbers_as_days_need_a_format(project):
    frame = pd.DataFrame({"ticket_id": [1, 2], "customer_id": ["a", "b"], "opened_at": [20240305, 20241213]})
    frame.to_parquet(project.root / "t.parquet")
    project.define('mine: {tables: {tickets: {from: t.parquet, datetime_format: "%Y%m%d"}}}')
    assert open_dataset("mine").frame("tickets")["opened_date"][1] == pd.Timestamp("2024-12-13")
    project.define("mine: {tables: {tickets: {from: t.parquet}}}")
    with pytest.raises(ContractError, match="not_a_timestamp in 2 rows"):
        open_dataset("mine")


def test_mapping_names_constants_and_what_is_left_out(project):
    project.write("t.csv", "no,who,age,channel,opened_at\n1,a,65+,web,2024-01-01\n")
    project.define("""
        mine:
          tables:
            tickets:
              from: t.csv
              columns: {ticket_id: no, customer_id: who, age_band: age, channel: null, source: {constant: crm}}
    """)
    got = open_dataset("mine").frame("tickets")
    assert got.columns.tolist() == [
        "ticket_id",
        "customer_id",
        "opened_at",
        "opened_date",
        "age_band",
        "source",
    ]
    assert got.loc[0, "age_band"] == "65+"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("{ticket_id: nr}", "reads the column 'nr', which the source lacks; it has no, who, at"),
        ("{ticket_id: {expr: no * price}}", "reads price, which the source lacks"),
        ("{ticket_id: {expr: 'no; DROP TABLE x'}}", "cannot be read from '; DROP"),
        ("{ticket_id: {sql: 'SELECT 1'}}", "must be a column name"),
        ("{ticket_id: {row: false}}", "must be a column name"),
        ("{ticket_id: 5}", "must be a column name"),
        ("{__row: no}", "names that begin with __ are taken"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(project, columns, words):
    project.write("t.csv", "no,who,at\n1,a,2024-01-01\n")
    project.define(f"mine: {{tables: {{tickets: {{from: t.csv, columns: {columns}}}}}}}")
    with pytest.raises(ContractError, match=words):
        open_dataset("mine")


def test_keys_from_rows_stay_unique_over_files_and_parts(project):
    for name in ("a1", "a2", "b"):
        project.write(f"{name}.csv", "customer_id,opened_at\nx,2024-01-01\ny,2024-01-02\n")
    project.define("""
        mine:
          tables:
            tickets:
              columns: {ticket_id: {row: true}}
              parts:
                - {from: "a*.csv", columns: {ticket_id: {row: true}, channel: {constant: web}}}
                - {from: b.csv}
    """)
    got = open_dataset("mine").frame("tickets")
    assert got["ticket_id"].tolist() == ["1-1-1", "1-1-2", "1-2-1", "1-2-2", "2-1", "2-2"]
    assert got["channel"].tolist() == ["web"] * 4 + [None] * 2


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["1", "2"], "int64", [1, 2]),
        (["1", ""], "float64", [1, np.nan]),
        (["1.5", "-2e3"], "float64", [1.5, -2000]),
        (["01", "2"], "object", ["01", "2"]),
        (["1", "x"], "object", ["1", "x"]),
        (["1234567890123456789012", "1"], "float64", [1234567890123456789012.0, 1]),
        (["nan", "1"], "object", ["nan", "1"]),
    ],
)
def test_types_of_extra_columns(project, values, kind, expected):
    project.write("units.csv", "arm,x\n" + "".join(f"a,{value}\n" for value in values))
    got = open_dataset("units.csv").frame("units")["x"]
    assert got.dtype == kind
    if kind == "object":
        assert got.tolist() == expected
    else:
        np.testing.assert_array_equal(got.to_numpy(), expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", 1.0), ("1e2", 100.0), (" 7.10 ", 7.1), ("-0.005", -0.01), ("9999999999999.99", 9999999999999.99)],
)
def test_money_is_kept_to_cents(value, expected):
    got = money(value).frame("transactions")["amount"][0]
    assert got == expected


def money(value) -> Dataset:
    table = pd.DataFrame(
        {
            "transaction_id": ["1"],
            "customer_id": ["a"],
            "transacted_at": [dt.date(2024, 1, 1)],
            "amount": [value],
        }
    )
    return Dataset.from_frames("t", {"transactions": table}, description="x", kind="user", currency="EUR")


@pytest.mark.parametrize("value", ["1,5", "1 000", "$3", "1e20", "inf", "NaN", "0x10", np.inf, 1e16])
def test_what_is_no_money_is_an_error(value):
    with pytest.raises(ContractError, match=r"amount: (not_a_decimal|null_required)"):
        money(value)


def test_rows_stand_in_the_order_of_their_file(project):
    n = 300_000  # more than one row group, so that several threads read
    made = pd.DataFrame({"arm": np.where(np.arange(n) % 3, "a", "b"), "place": np.arange(n)})
    made.to_parquet(project.root / "units.parquet", index=False)
    project.define("mine:\n  engine: {threads: 4}\n  tables: {units: {from: units.parquet}}\n")
    for source in (
        open_dataset("mine"),
        Dataset.from_frames("m", {"units": made}, description="x", kind="user"),
    ):
        np.testing.assert_array_equal(source.frame("units")["place"], np.arange(n))
