# ruff: noqa: S608  # names pass through expressions.quote and values through sources.literal
"""Tables of a PostgreSQL server, copied into the embedded DuckDB.

DuckDB's own extension is used where it is installed; else Arrow's driver
(``adbc-driver-postgresql``), since DuckDB publishes extensions per release and fetches them from
its own server, which many networks do not reach.
"""

from __future__ import annotations

import importlib
import os
import re
from typing import TYPE_CHECKING, Any

import duckdb

from loyalty_research.data.expressions import quote
from loyalty_research.data.raw import FILE, ROW, Raw, literal
from loyalty_research.errors import ContractError

if TYPE_CHECKING:
    from loyalty_research.data.definitions import Source

__all__ = ["postgres_table", "without_address"]

# types that Arrow's driver hands over as they are; all other are asked for as text
_NATIVE = (
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "boolean",
    "date",
    "timestamp without time zone",
    "timestamp with time zone",
    "text",
    "character varying",
)


def without_address(text: str, url: str = "") -> str:
    """Return a message without the address of a database, which may hold a password.

    Examples:
        >>> print(without_address("cannot reach postgres://me:secret@host/db now"))
        cannot reach <address> now
    """
    password = re.search(r"://[^:/@]*:([^@]+)@|password=(\S+)", url)
    for secret in [url, *(password.groups() if password else ())]:
        if secret:
            text = text.replace(secret, "<address>")
    return re.sub(r"\w+://\S+|password=\S+", "<address>", text)


def postgres_table(
    connection: duckdb.DuckDBPyConnection, source: Source, table: str, name: str, where: str
) -> Raw:
    """Copy a table or view of a PostgreSQL server into DuckDB.

    Args:
        connection: Where the copy goes.
        source: Names the environment variable that holds the address.
        table: ``schema.table``, or a table of the schema ``public``.
        name: Name of the copy.
        where: Dataset and table, for messages.

    Raises:
        ContractError: When the variable is not set, no driver can be loaded, the server cannot be
            reached, or it has no such table. The address never appears in the message.
    """
    url = os.environ.get(source.url_env, "")
    if not url:
        raise ContractError(
            f"{where}: the environment variable {source.url_env} is not set; it holds the address of the "
            "database, such as postgresql://user:password@host:5432/name"
        )
    schema, _, plain = table.rpartition(".")
    schema = schema or "public"
    if _extension(connection, install=False):
        _copy_by_extension(connection, url, schema, plain, name, where)
    elif (driver := _driver()) is not None:
        _copy_by_driver(connection, driver, url, schema, plain, name, where)
    elif _extension(connection, install=True):
        _copy_by_extension(connection, url, schema, plain, name, where)
    else:
        raise ContractError(
            f"{where}: neither DuckDB's postgres extension (which its server could not provide) nor the "
            "package adbc-driver-postgresql is here; the extra brings it: pip install 'loyalty-research[postgres]'"
        )
    described = connection.execute(f"DESCRIBE {quote(name)}").fetchall()
    types = {str(row[0]): str(row[1]) for row in described}
    listed = ", ".join(quote(column) for column in types)
    # a server has no order of rows, so positions would point nowhere
    return Raw(f"SELECT {listed}, 0 AS {FILE}, rowid AS {ROW} FROM {quote(name)}", types, positional=False)


def _extension(connection: duckdb.DuckDBPyConnection, *, install: bool) -> bool:
    try:
        if install:
            connection.execute("INSTALL postgres")
        connection.execute("LOAD postgres")
    except duckdb.Error:
        return False
    return True


def _driver() -> Any | None:
    try:
        return importlib.import_module("adbc_driver_postgresql.dbapi")
    except ImportError:
        return None


def _copy_by_extension(
    connection: duckdb.DuckDBPyConnection, url: str, schema: str, table: str, name: str, where: str
) -> None:
    alias = quote(f"pg_{name}")
    try:
        connection.execute(f"ATTACH {literal(url)} AS {alias} (TYPE postgres, READ_ONLY)")
        full = f"{alias}.{quote(schema)}.{quote(table)}"
        connection.execute(f"CREATE TEMP TABLE {quote(name)} AS SELECT * FROM {full} ORDER BY ALL")
        connection.execute(f"DETACH {alias}")
    except duckdb.Error as error:
        raise ContractError(f"{where}: {without_address(str(error), url)}") from None


def _copy_by_driver(
    connection: duckdb.DuckDBPyConnection,
    driver: Any,
    url: str,
    schema: str,
    table: str,
    name: str,
    where: str,
) -> None:
    try:
        with driver.connect(url) as server, server.cursor() as cursor:
            # one snapshot, and nothing written by mistake
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(
                "SELECT column_name::text, data_type::text FROM information_schema.columns "
                "WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position",
                (schema, table),
            )
            columns = cursor.fetchall()
            if not columns:
                raise ContractError(
                    f"{where}: the server has no table {schema}.{table} that this user may read"
                )
            listed = ", ".join(
                quote(column) if kind in _NATIVE else f"{quote(column)}::text AS {quote(column)}"
                for column, kind in columns
            )
            cursor.execute(f"SELECT {listed} FROM {quote(schema)}.{quote(table)}")
            connection.register("incoming", cursor.fetch_record_batch())
            connection.execute(f"CREATE TEMP TABLE {quote(name)} AS SELECT * FROM incoming ORDER BY ALL")
            connection.unregister("incoming")
    except (driver.Error, duckdb.Error) as error:
        raise ContractError(f"{where}: {without_address(str(error), url)}") from None
