"""Every table that cannot be analysed is refused before analysis, with counts and positions."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.endowed_progress import CardExperiment
from loyalty_research.errors import ContractError, DesignError


@pytest.fixture(scope="module")
def events(simulated):
    return simulated(90, per_arm=40)


def moved(events, kind, days):
    date = events["occurred_date"]
    return events.assign(occurred_date=date.where(events["event"] != kind, date + pd.Timedelta(days=days)))


CASES = {
    "more stamps than the card holds": (
        lambda e: e.assign(required_stamps=e["required_stamps"] - 2),
        r"more stamps than it holds \(required less endowed\): \d+ rows? \((first )?at position",
    ),
    "a visit before issue": (
        lambda e: moved(e, "stamp", -900),
        r"before the card was issued: \d+ rows \(first at positions",
    ),
    "a visit after expiry": (
        lambda e: moved(e, "expired", -200),
        r"a stamp lies after the card was expired: \d+ rows",
    ),
    "a card in two arms": (
        lambda e: e.assign(arm=np.where(np.arange(len(e)) % 7 == 0, "control", e["arm"])),
        r"a card is in two arms: \d+ rows",
    ),
    "nothing left to earn": (
        lambda e: e.assign(endowed_stamps=e["required_stamps"]),
        r"required_stamps is not above endowed_stamps, so nothing is left to earn: \d+ rows",
    ),
    "a negative paid value": (
        lambda e: e.assign(paid_value=[-1.0] + [3.0] * (len(e) - 1)),
        r"paid_value is negative: 1 row \(at position 0\)",
    ),
    "a paid value that is no number": (
        lambda e: e.assign(paid_value=["a lot", "3", *[None] * (len(e) - 2)]),
        r"paid_value is no number: 1 row \(at position 0\)",
    ),
    "stamps that are no number": (
        lambda e: e.assign(required_stamps=["ten", *e["required_stamps"].astype(str)[1:]]),
        r"required_stamps is no whole number >= 1: 1 row \(at position 0\)",
    ),
    "a card of no arm": (
        lambda e: e.assign(arm=e["arm"].where(e["arm"] == "control", None)),
        r"arm is missing: \d+ rows",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_that_break_the_contract_are_counted(events, case):
    spoil, said = CASES[case]
    with pytest.raises(ContractError, match=said) as caught:
        CardExperiment(spoil(events), as_of="2024-12-31", control="control")
    assert "-holder" not in str(caught.value)


def test_arms_without_cards(events):
    with pytest.raises(DesignError, match="the only arm is 'control'"):
        CardExperiment(events[events["arm"] == "control"], as_of="2024-12-31", control="control")
    later = events["occurred_date"] + pd.Timedelta(days=900)
    late = events.assign(occurred_date=events["occurred_date"].where(events["arm"] == "control", later))
    with pytest.raises(DesignError, match="no card of the arm endowed was issued by as_of"):
        CardExperiment(late, as_of="2024-12-31", control="control")
    with pytest.raises(DesignError, match="control 'gold' is no arm"):
        CardExperiment(events, as_of="2024-12-31", control="gold")


def test_customers_in_two_arms_are_counted(events):
    crossed = events.assign(customer_id=(events["card_id"] % 40).astype(str), cycle=1)
    with pytest.raises(DesignError, match="40 customers hold first cards of two arms"):
        CardExperiment(crossed, as_of="2024-12-31", control="control")


def engines(events):
    import duckdb
    import polars as pl

    table = pl.from_pandas(events)
    yield "polars", table
    yield "lazy", table.lazy()
    yield "arrow", table.to_arrow()
    yield "duckdb", duckdb.sql("select * from events")
    numbers = {c: events[c].astype(str) for c in ("required_stamps", "endowed_stamps")}
    yield "text", events.assign(**numbers)
    yield "days as text", events.assign(occurred_date=events["occurred_date"].astype(str))
    yield "categories", events.assign(arm=events["arm"].astype("category"))
    yield "small integers", events.assign(required_stamps=events["required_stamps"].astype("int8"))


def test_tables_of_any_engine_give_the_same(events):
    want = CardExperiment(events, as_of="2024-12-31", control="control").completion().to_frame()
    for name, table in engines(events):
        got = CardExperiment(table, as_of="2024-12-31", control="control").completion().to_frame()
        pd.testing.assert_frame_equal(got, want, obj=name)


def test_what_is_no_table_is_named():
    for value, kind in (([1, 2], "list"), (None, "NoneType"), ({"a": 1}, "dict")):
        with pytest.raises(ContractError, match=f"card_events is a {kind}, not a table"):
            CardExperiment(value, as_of="2024-12-31", control="control")
        with pytest.raises(ContractError, match=f"units is a {kind}"):
            CardExperiment.from_units(value, control="control")
