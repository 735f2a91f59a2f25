"""The customers table as the measures of growth read it."""

import pandas as pd
import polars as pl
import pytest

from loyalty_research.errors import ContractError
from loyalty_research.programme._customer_rows import acquired_days, customer_channels, has_acquired

PEOPLE = pd.DataFrame(
    {
        "customer_id": ["a", "b", "c"],
        "acquired_at": pd.to_datetime(["2024-01-01 23:59", None, "2024-01-03 00:00"]),
        "acquisition_channel": ["friend", None, "advert"],
    }
)


@pytest.mark.parametrize("made", [PEOPLE, pl.from_pandas(PEOPLE)], ids=["pandas", "polars"])
def test_days_and_channels_are_the_same_on_every_engine(made):
    days = acquired_days(made)
    assert days.loc[["a", "c"]].tolist() == [738886.0, 738888.0]
    assert days.isna().tolist() == [False, True, False]
    assert customer_channels(made).isna().tolist() == [False, True, False]
    assert has_acquired(made)


def test_the_date_of_the_business_wins_over_the_moment():
    dated = PEOPLE.assign(acquired_date=pd.Timestamp("2024-01-02"))
    assert acquired_days(dated).tolist() == [738887.0] * 3


def test_rows_that_cannot_be_told_are_errors():
    with pytest.raises(ContractError, match="repeat a customer_id"):
        acquired_days(pd.concat([PEOPLE, PEOPLE]))
    with pytest.raises(ContractError, match=r"customer_id is null at 1 row .at position 1"):
        customer_channels(PEOPLE.assign(customer_id=["a", None, "c"]))
    with pytest.raises(ContractError, match="carries the time zone"):
        acquired_days(PEOPLE.assign(acquired_at=PEOPLE["acquired_at"].dt.tz_localize("UTC")))
    with pytest.raises(ContractError, match="not a date"):
        acquired_days(PEOPLE.assign(acquired_at=["yesterday", "today", "now"]))
    assert not has_acquired(PEOPLE[["customer_id"]])
