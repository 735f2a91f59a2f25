from __future__ import annotations

import os
import sys
from types import ModuleType

import duckdb
import pyarrow as pa
import pytest

from loyalty_research.data import check_dataset, open_dataset
from loyalty_research.data.servers import without_address
from loyalty_research.errors import ContractError

URL = "postgresql://me:hunter2@db.example:5432/shop"

DEFINITION = """
mine:
  timezone: Europe/Madrid
  currency: EUR
  sources: {crm: {kind: postgres, url_env: CRM_URL}}
  tables:
    transactions:
      from: crm:sales.Orders
      columns: {transaction_id: id, customer_id: who, transacted_at: placed, amount: total}
"""


class FakeServer:
    """Answers as Arrow's driver does, from a DuckDB table; numerics only as text, like the real one."""

    def __init__(self, *, wrong: str = "") -> None:
        self.wrong = wrong
        self.seen: list[str] = []
        self.con = duckdb.connect()
        self.con.execute("""
            CREATE SCHEMA sales;
            CREATE TABLE sales."Orders" AS
            SELECT 1 AS id, 'a' AS who, TIMESTAMPTZ '2024-06-30 22:30:00+00' AS placed, '10.50' AS total
            UNION ALL SELECT 2, 'b', TIMESTAMPTZ '2024-07-02 10:00:00+00', '3'
        """)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        return None

    def cursor(self):
        return self

    def execute(self, sql, parameters=()):
        self.seen.append(sql)
        if "information_schema" in sql:
            kinds = [
                ("id", "bigint"),
                ("who", "uuid"),
                ("placed", "timestamp with time zone"),
                ("total", "numeric"),
            ]
            self.found = kinds if parameters == ("sales", "Orders") else []
        elif sql.startswith("SELECT"):
            self.found = self.con.sql(sql.replace("::text", "::varchar")).to_arrow_table()

    def fetchall(self):
        return self.found

    def fetch_record_batch(self):
        return pa.RecordBatchReader.from_batches(self.found.schema, self.found.to_batches())


@pytest.fixture
def server(monkeypatch):
    """Put a fake driver in place and return the server behind it."""
    made = FakeServer()
    package, driver = ModuleType("adbc_driver_postgresql"), ModuleType("adbc_driver_postgresql.dbapi")

    class Error(Exception):
        pass

    def connect(url):
        assert url == URL
        if made.wrong:
            raise Error(made.wrong)
        return made

    driver.connect, driver.Error, package.dbapi = connect, Error, driver
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", package)
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql.dbapi", driver)
    monkeypatch.setenv("CRM_URL", URL)
    return made


def test_a_table_is_copied_and_typed(project, server):
    project.define(DEFINITION)
    orders = open_dataset("mine").frame("transactions")
    assert orders["amount"].tolist() == [10.5, 3.0]
    assert orders["transacted_date"].dt.strftime("%F").tolist() == ["2024-07-01", "2024-07-02"]
    assert server.seen[0] == "SET TRANSACTION READ ONLY"
    assert '"who"::text' in server.seen[2]
    assert '"total"::text' in server.seen[2]
    assert '"id",' in server.seen[2]


def test_a_server_has_no_positions_to_point_at(project, server):
    server.con.execute("""UPDATE sales."Orders" SET total = 'x' WHERE id = 2""")
    project.define(DEFINITION)
    (only,) = check_dataset("mine").violations
    assert (only.rule, only.count, only.first_rows) == ("not_a_decimal", 1, ())
    assert str(only).startswith("transactions.amount: not_a_decimal in 1 row; ")


def test_a_table_that_is_not_there(project, server):
    project.define(DEFINITION.replace("Orders", "orders"))
    with pytest.raises(ContractError, match=r"no table sales\.orders that this user may read"):
        open_dataset("mine")


def test_the_address_stays_out_of_messages(project, server):
    server.wrong = f"could not connect to {URL}: password hunter2 is wrong"
    project.define(DEFINITION)
    with pytest.raises(ContractError, match="could not connect to <address>") as raised:
        open_dataset("mine")
    assert "hunter2" not in str(raised.value)


def test_the_variable_must_be_set(project, server, monkeypatch):
    monkeypatch.delenv("CRM_URL")
    project.define(DEFINITION)
    with pytest.raises(ContractError, match="environment variable CRM_URL is not set"):
        open_dataset("mine")


def test_without_any_driver_the_message_names_both(project, monkeypatch):
    from loyalty_research.data import servers

    monkeypatch.setenv("CRM_URL", URL)
    monkeypatch.setattr(servers, "_extension", lambda connection, install: False)
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql.dbapi", None)
    project.define(DEFINITION)
    with pytest.raises(ContractError, match=r"postgres extension.*adbc-driver-postgresql"):
        open_dataset("mine")


@pytest.mark.parametrize(
    "text",
    [
        f"failed: {URL}",
        "host=x password=hunter2 user=me",
        "password authentication failed for hunter2",
        "FATAL: postgres://other:hunter2@h/d?sslmode=require down",
    ],
)
def test_secrets_are_taken_out(text):
    assert "hunter2" not in without_address(text, URL)


@pytest.mark.skipif("LOYALTY_TEST_POSTGRES" not in os.environ, reason="LOYALTY_TEST_POSTGRES names no server")
def test_a_real_server(project, monkeypatch):
    dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")
    url = os.environ["LOYALTY_TEST_POSTGRES"]
    with dbapi.connect(url) as con, con.cursor() as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS sales")
        cursor.execute('DROP TABLE IF EXISTS sales."Orders"')
        cursor.execute(
            'CREATE TABLE sales."Orders" AS SELECT i AS id, gen_random_uuid() AS who, '
            "timestamptz '2024-06-30 22:30+00' AS placed, i::numeric(10, 2) / 4 AS total "
            "FROM generate_series(1, 1000) AS i"
        )
        con.commit()
    monkeypatch.setenv("CRM_URL", url)
    project.define(DEFINITION)
    data = open_dataset("mine")
    orders = data.frame("transactions")
    assert len(orders) == 1000
    assert orders["amount"].sum() == pytest.approx(125_125, abs=3)
    assert set(orders["transacted_date"].dt.strftime("%F")) == {"2024-07-01"}
    assert open_dataset("mine").fingerprint == data.fingerprint
