import datetime as dt

import numpy as np
import pandas as pd
import pytest

from loyalty_research.endowed_progress.cards import NEVER, day_number, read_cards
from loyalty_research.errors import ArgumentError, ContractError, DesignError


def read(events, **options):
    return read_cards(events, **{"as_of": "2024-12-31", "control": "plain", **options})


def test_cards_are_one_row_each(two_cards):
    cards = read(two_cards.sample(frac=1, random_state=3))
    table = cards.table.sort_values("issued").reset_index(drop=True)
    assert cards.arms == ("plain", "given")
    assert table["arm"].tolist() == ["plain", "given"]
    assert table["stamps"].tolist() == [2, 1]
    assert (table["completed"] - table["issued"]).tolist()[0] == 8
    assert table["completed"][1] == NEVER
    assert (table["expired"] - table["issued"]).tolist()[1] == 60
    # the card that filled would have lived as long as the one that expired
    assert sorted((cards.expires - cards.table["issued"]).tolist()) == [60, 60]


def test_a_full_card_is_complete_without_the_event(two_cards):
    silent = two_cards[two_cards["event"] != "completed"]
    assert read(silent).table["completed"].min() == read(two_cards).table["completed"].min()


def test_dates_may_be_timestamps(two_cards):
    stamped = two_cards.assign(occurred_at=pd.to_datetime(two_cards["occurred_date"]) + pd.Timedelta("13h"))
    pd.testing.assert_frame_equal(read(stamped.drop(columns="occurred_date")).table, read(two_cards).table)


def test_later_events_are_left_out_and_counted(two_cards):
    cards = read(two_cards, as_of=dt.date(2024, 1, 6))
    assert cards.table["stamps"].tolist() == [1, 0]
    assert cards.dropped == {"events after the last day observed": 5}


def test_cycles_follow_the_issue_days_where_they_are_not_told(two_cards):
    again = two_cards.assign(customer_id="same", arm="plain")
    other = two_cards.assign(card_id=two_cards["card_id"] + "2", customer_id="other", arm="given")
    cards = read(pd.concat([again, other], ignore_index=True))
    assert cards.table["cycle"].tolist() == [1, 2, 1, 2]


def broken(events, at, **changes):
    events = events.copy()
    for column, value in changes.items():
        events[column] = events[column].astype(object)
        events.loc[at, column] = value
    return events


def added(events, *rows):
    more = pd.DataFrame([{**events.iloc[5].to_dict(), **row} for row in rows])
    return pd.concat([events, more], ignore_index=True)


BAD = {
    "arms": (lambda e: broken(e, 6, arm="plain"), r"a card is in two arms: 1 row \(at position 6\)"),
    "more stamps": (
        lambda e: added(e, *({"event": "stamp", "occurred_date": f"2024-02-0{i}"} for i in (1, 2, 3))),
        r"more stamps than it holds.*2 rows \(first at positions 9, 10\)",
    ),
    "before issue": (
        lambda e: broken(e, 6, occurred_date="2023-12-31"),
        r"before the card was issued: 1 row \(at position 6\)",
    ),
    "after expiry": (
        lambda e: added(e, {"event": "stamp", "occurred_date": "2024-03-03"}),
        r"a stamp lies after the card was expired: 1 row \(at position 8\)",
    ),
    "after loss": (
        lambda e: added(e, {"event": "lost", "occurred_date": "2024-01-04"}),
        r"a stamp lies after the card was lost: 1 row \(at position 6\)",
    ),
    "nothing to earn": (
        lambda e: e.assign(endowed_stamps=3),
        r"required_stamps is not above endowed_stamps.*8 rows",
    ),
    "not issued": (lambda e: e.drop(index=0), r"a card has no issued event: 1 row"),
    "issued twice": (
        lambda e: added(e, {"event": "issued"}),
        r"a card is issued twice: 1 row \(at position 8\)",
    ),
    "completed early": (lambda e: e.drop(index=2), r"completed without all its stamps"),
    "redeemed for nothing": (
        lambda e: added(e, {"event": "redeemed", "occurred_date": "2024-02-01"}),
        r"redeemed that was never completed: 1 row \(at position 8\)",
    ),
    "redeemed first": (
        lambda e: broken(e, 4, occurred_date="2024-01-08"),
        r"redeemed before completion: 1 row",
    ),
    "requirement": (lambda e: broken(e, 6, required_stamps=9), r"required_stamps changes within a card"),
    "unknown event": (
        lambda e: broken(e, 1, event="punch"),
        r"event is none of issued, stamp.*1 row \(at position 1\)",
    ),
    "no arm": (lambda e: broken(e, 1, arm=None), r"arm is missing: 1 row"),
    "no number": (lambda e: broken(e, 1, required_stamps="two"), r"required_stamps is no whole number"),
    "negative": (lambda e: e.assign(endowed_stamps=-1), r"endowed_stamps is no whole number >= 0: 8 rows"),
    "no date": (
        lambda e: broken(e, 1, occurred_date="soon"),
        r"occurred_date holds no date in 1 row \(at position 1\)",
    ),
    "no column": (lambda e: e.drop(columns=["event", "arm"]), r"lacks the columns event, arm"),
    "no time": (lambda e: e.drop(columns="occurred_date"), r"lacks the columns occurred_at"),
    "empty": (lambda e: e.iloc[:0], r"card_events is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_contract_is_told_with_counts_and_rows(two_cards, name):
    breaks, said = BAD[name]
    with pytest.raises(ContractError, match=said) as caught:
        read(breaks(two_cards))
    assert "'a'" not in str(caught.value)


def test_several_faults_are_told_at_once(two_cards):
    bad = broken(broken(two_cards, 6, arm="plain"), 4, occurred_date="2024-01-08")
    with pytest.raises(ContractError) as caught:
        read(bad)
    assert "two arms" in str(caught.value)
    assert "before completion" in str(caught.value)


def test_designs_that_cannot_be_compared(two_cards):
    with pytest.raises(DesignError, match=r"control 'none' is no arm.*given, plain"):
        read(two_cards, control="none")
    with pytest.raises(DesignError, match="only arm"):
        read(two_cards.assign(arm="plain"))
    with pytest.raises(DesignError, match="no card of the arm given"):
        read(two_cards, as_of="2024-01-01")
    with pytest.raises(DesignError, match="no card was issued"):
        read(two_cards, as_of="2023-01-01")
    with pytest.raises(DesignError, match="1 customers hold first cards of two arms"):
        read(two_cards.assign(customer_id="same", cycle=1))


def test_dates_that_are_none():
    for bad in ("soon", None, float("nan")):
        with pytest.raises(ArgumentError, match="as_of must be a date"):
            day_number(bad, "as_of")
    assert day_number(np.datetime64("1970-01-03T23:00"), "as_of") == 2


def test_time_zones_are_refused(two_cards):
    zoned = two_cards.assign(
        occurred_date=pd.to_datetime(two_cards["occurred_date"]).dt.tz_localize("Asia/Tokyo")
    )
    with pytest.raises(ContractError, match="time zone"):
        read(zoned)
