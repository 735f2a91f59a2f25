"""Engines and random transactions that every summary test shares."""

import datetime as dt

import duckdb
import narwhals as nw
import pandas as pd
import polars as pl
import pytest
from hypothesis import strategies as st

START = dt.date(2023, 12, 20)


@pytest.fixture(scope="session")
def native():
    """Name to a function that moves a pandas frame to that engine."""
    return {"pandas": lambda frame: frame, "polars": pl.from_pandas, "duckdb": duckdb.connect().from_df}


@pytest.fixture(scope="session")
def engines(native):
    """The engines, and what else a table may come as."""
    return native | {
        "polars lazy": lambda frame: pl.from_pandas(frame).lazy(),
        "narwhals": lambda frame: nw.from_native(native["duckdb"](frame)),
    }


@pytest.fixture(scope="session")
def to_frame():
    """Make a transactions frame of (customer, day offset, hour, cents, type) rows."""

    def build(rows):
        moments = [
            dt.datetime.combine(START, dt.time(hour)) + dt.timedelta(days=day) for _, day, hour, _, _ in rows
        ]
        return pd.DataFrame(
            {
                "customer_id": pd.Series([r[0] for r in rows], dtype=object),
                "transacted_at": pd.Series(moments, dtype="datetime64[us]"),
                "amount": [r[3] / 100 for r in rows],
                "type": pd.Series([r[4] for r in rows], dtype=object),
            }
        )

    return build


def _sale(row):
    return row[0] is not None and row[4] != "refund" and row[3] >= 0


@pytest.fixture(scope="session")
def is_sale():
    """Whether a row is a purchase of a known customer."""
    return _sale


@pytest.fixture(scope="session")
def random_rows():
    """Strategy of rows for ``to_frame``: sales, refunds, anonymous rows, several a day."""
    return st.lists(
        st.tuples(
            st.sampled_from(["ann", "bob", "cyd", "dee", None]),
            st.integers(0, 120),
            st.integers(0, 23),
            st.integers(-500, 20_000),
            st.sampled_from(["sale", "sale", "sale", "refund", None]),
        ),
        min_size=1,
        max_size=40,
    )
