import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty_research import summaries
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.summaries import _frames


@pytest.fixture
def lines():
    return pd.DataFrame(
        {
            "customer_id": ["secret-1", "secret-1", "secret-2"],
            "transacted_at": pd.to_datetime(["2024-01-01", "2024-01-09", "2024-01-04"]),
            "amount": [1.0, 2.0, 3.0],
        }
    )


def failure(table):
    with pytest.raises(ContractError) as caught:
        summaries.purchases(table)
    assert "secret" not in str(caught.value)
    return str(caught.value)


def test_a_missing_column_is_named(lines, engines):
    for move in engines.values():
        assert "transactions lacks the column amount; it has customer_id" in failure(
            move(lines.drop(columns="amount"))
        )
        assert "lacks the column transacted_at" in failure(move(lines.drop(columns="transacted_at")))
        assert "lacks the column customer_id" in failure(move(lines.drop(columns="customer_id")))


def test_an_empty_table_is_refused(lines, engines):
    for move in engines.values():
        assert failure(move(lines.head(0))) == "transactions is empty: there is nothing to summarise"


def test_nulls_are_counted_and_placed(lines, engines):
    undated = lines.assign(transacted_at=lines["transacted_at"].where([True, False, False]))
    unpaid = lines.assign(amount=[1.0, np.nan, 2.0])
    for move in engines.values():
        assert "transacted_at is null at 2 rows (first at positions 1, 2)" in failure(move(undated))
        assert "amount is null or not finite at 1 row (at position 1)" in failure(move(unpaid))
    endless = lines.assign(amount=[1.0, 2.0, np.inf])
    for move in engines.values():
        assert "at position 2" in failure(move(endless))


def test_text_is_not_a_number_or_a_date(lines, engines):
    for move in engines.values():
        assert "amount" in failure(move(lines.assign(amount=["1", "2", "x"])))
        assert "transacted_at" in failure(move(lines.assign(transacted_at=["01/02/2024"] * 3)))
    mixed = lines.assign(amount=pd.Series([1.0, "2 EUR", Decimal("3.5")], dtype=object))
    assert "values that are not numbers at 1 row (at position 1)" in failure(mixed)
    assert "not dates at 1 row (at position 2)" in failure(
        lines.assign(
            transacted_at=pd.Series([dt.date(2024, 1, 1), dt.date(2024, 1, 2), "soon"], dtype=object)
        )
    )


def test_a_time_zone_is_refused_because_the_day_depends_on_it(lines):
    zoned = lines.assign(transacted_at=lines["transacted_at"].dt.tz_localize("UTC"))
    for table in (zoned, pl.from_pandas(zoned)):
        assert "carries the time zone UTC" in failure(table)
    dated = zoned.assign(transacted_date=lines["transacted_at"] + pd.Timedelta(days=1))
    assert summaries.daily(dated)["transacted_date"].min() == pd.Timestamp("2024-01-02")


def test_decimals_and_plain_dates_are_read(lines):
    exact = lines.assign(
        amount=pd.Series([Decimal("1.10"), Decimal("2.20"), Decimal("3.30")], dtype=object),
        transacted_at=pd.Series(
            [dt.date(2024, 1, 1), dt.date(2024, 1, 9), dt.date(2024, 1, 4)], dtype=object
        ),
    )
    assert summaries.daily(exact)["amount"].tolist() == [1.1, 2.2, 3.3]
    columns = pl.from_pandas(lines).with_columns(
        pl.col("amount").cast(pl.Decimal(18, 2)), pl.col("transacted_at").cast(pl.Date)
    )
    assert summaries.daily(columns)["amount"].tolist() == [1.0, 2.0, 3.0]


def test_a_table_without_known_buyers_says_why(lines):
    nobody = lines.assign(customer_id=[None, None, "secret-1"], amount=[1.0, 1.0, -1.0])
    assert "2 rows without a customer, 1 refund rows" in failure(nobody)


def test_what_is_no_table_is_refused():
    assert "got list" in failure([1, 2])


@given(st.dates(dt.date(1900, 1, 1), dt.date(2199, 12, 31)))
def test_day_numbers_are_python_ordinals(day):
    frame = pl.DataFrame({"d": [day]})
    found = _frames.collect(_frames.as_lazy(frame, "x").select(n=_frames.day_number(_frames.nw.col("d"))))
    assert found["n"].tolist() == [day.toordinal()]
    assert _frames.to_dates(found["n"]).dt.date.tolist() == [day]


@pytest.mark.parametrize(
    "value",
    [
        dt.date(2024, 6, 30),
        dt.datetime(2024, 6, 30, 5),  # noqa: DTZ001 - the contract's moments are naive UTC
        "2024-06-30",
        pd.Timestamp("2024-06-30"),
        np.datetime64("2024-06-30"),
    ],
)
def test_dates_of_every_kind_are_options(value):
    assert _frames.as_ordinal(value, "as_of") == dt.date(2024, 6, 30).toordinal()


@pytest.mark.parametrize("value", ["30/06/2024", 20240630, pd.NaT, np.datetime64("NaT", "D")])
def test_what_is_no_date_is_refused(value):
    with pytest.raises(ArgumentError, match="as_of must be a date such as"):
        _frames.as_ordinal(value, "as_of")
