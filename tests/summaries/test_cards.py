import datetime as dt

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research import summaries
from loyalty_research.endowed_progress.cards import NEVER, read_cards
from loyalty_research.errors import ArgumentError, ContractError

AS_OF = "2023-11-30"


@pytest.fixture(scope="module")
def events():
    """Simulated cards with everything that can happen to one, and a paid value of each stamp."""
    dataset = lr.simulate(
        "stamp-card", customers=120, seed=5, required_visits=4, loss=0.01, expiry_weeks=20, cards=3
    )
    frame = dataset.frame("card_events")
    value = np.where(frame["event"] == "stamp", 2.5 + np.arange(len(frame)) % 7, np.nan)
    return frame.assign(paid_value=value)


def test_engines_agree(engines, events):
    wanted = summaries.cards(events, as_of=AS_OF, cluster="cluster_id")
    stamped = summaries.stamps(events, as_of=AS_OF)
    assert set(wanted["status"]) == {"completed", "lost", "expired", "open"}
    for name, move in engines.items():
        got = summaries.cards(move(events), as_of=AS_OF, cluster="cluster_id")
        pd.testing.assert_frame_equal(got, wanted, obj=name)
        assert got.attrs == wanted.attrs
        pd.testing.assert_frame_equal(summaries.stamps(move(events), as_of=AS_OF), stamped, obj=name)


@pytest.mark.parametrize("without", [[], ["cycle"], ["cycle", "customer_id"]])
def test_cards_are_those_of_the_experiment(engines, events, without):
    table = events.drop(columns=without)
    cards = read_cards(table, as_of=AS_OF, control="control", cluster="cluster_id")
    names = pd.unique(table["card_id"])[: len(cards.table)]  # in the order of the rows, as cards are coded
    ours = cards.table.set_index(names)
    for move in (engines["pandas"], engines["duckdb"]):
        got = summaries.cards(move(table), as_of=AS_OF, cluster="cluster_id").reindex(names)
        assert len(got) == len(ours)
        for column, theirs in (
            ("arm", "arm"),
            ("cycle", "cycle"),
            ("stamps", "stamps"),
            ("required_stamps", "required"),
            ("endowed_stamps", "endowed"),
        ):
            assert got[column].tolist() == ours[theirs].tolist(), column
        for kind in ("issued", "completed", "redeemed", "expired", "lost"):
            days = (got[f"{kind}_date"] - pd.Timestamp("1970-01-01")).dt.days
            theirs = ours[kind].where(ours[kind] < NEVER)
            assert days.fillna(-1).tolist() == theirs.fillna(-1).tolist(), kind
        stamps = summaries.stamps(move(table), as_of=AS_OF)
        first = cards.table["issued"].to_numpy()[cards.stamp_card]
        order = np.lexsort((cards.stamp_day, np.asarray(names)[cards.stamp_card]))
        assert stamps["days"].tolist() == (cards.stamp_day - first)[order].tolist()


def test_by_hand():
    rows = [
        ("a", "2024-01-01", "issued", 0),
        ("a", "2024-01-01", "stamp", 3),
        ("a", "2024-01-11", "stamp", 4),
        ("a", "2024-01-11", "redeemed", 0),
        ("b", "2024-01-12", "issued", 0),
        ("b", "2024-01-20", "stamp", 5),
        ("b", "2024-02-20", "expired", 0),
        ("c", "2024-03-02", "issued", 0),
    ]
    frame = pd.DataFrame(rows, columns=["card_id", "occurred_date", "event", "paid_value"]).assign(
        occurred_date=lambda d: pd.to_datetime(d["occurred_date"]),
        customer_id=lambda d: np.where(d["card_id"] == "c", None, "k"),
        required_stamps=2,
        endowed_stamps=0,
    )
    got = summaries.cards(frame, as_of="2024-02-25")
    assert got.index.tolist() == ["a", "b"]
    assert got["status"].tolist() == ["completed", "expired"]
    assert got["cycle"].tolist() == [1, 2]
    assert got["days_to_first_stamp"].tolist() == [0, 8]
    assert got["days_to_completion"].tolist() == [10, pytest.approx(np.nan, nan_ok=True)]
    assert got["days_to_redemption"].tolist()[0] == 0
    assert got["mean_gap"].tolist() == [10, pytest.approx(np.nan, nan_ok=True)]
    assert got["paid_value"].tolist() == [7, 5]
    assert got.attrs == {
        "as_of": "2024-02-25",
        "rows": 8,
        "dropped": {"rows after the last day observed": 1},
    }
    assert "arm" not in got
    gaps = summaries.stamps(frame)
    assert gaps[["stamp", "days", "gap"]].to_numpy().tolist() == [[1, 0, 0], [2, 10, 10], [1, 8, 8]]


def change(events, mask, **values):
    out = events.copy()
    for column, value in values.items():
        out.loc[mask, column] = value
    return out


@pytest.mark.parametrize("engine", ["pandas", "polars", "duckdb"])
def test_faults_are_counted_on_every_engine(engines, events, engine):
    move = engines[engine]
    stamp = events["event"] == "stamp"
    early = stamp & ~events.loc[stamp].duplicated("card_id").reindex(events.index, fill_value=False)
    faults = {
        "a card is in two arms": change(events, events.index == 3, arm="other"),
        "nothing is left to earn: 1 cards": change(
            events, events["card_id"] == events["card_id"][0], endowed_stamps=9
        ),
        "paid_value is negative": change(events, stamp, paid_value=-1.0),
        "before the card was issued": change(events, early, occurred_date=pd.Timestamp("2020-01-01")),
        "after the card was expired": change(
            events, events["event"] == "expired", occurred_date=pd.Timestamp("2023-01-04")
        ),
        "more stamps than it holds": change(events, events.index >= 0, required_stamps=3, endowed_stamps=0),
        "a card has no issued event": events[events["event"] != "issued"],
        "event is none of issued": change(events, events.index == 7, event="eaten"),
        r"card_id is null at 1 row \(at position 4\)": change(events, events.index == 4, card_id=None),
        "changes within a card": change(events, events.index == 3, cluster_id="elsewhere"),
    }
    for said, frame in faults.items():
        with pytest.raises(ContractError, match=said):
            summaries.cards(move(frame), cluster="cluster_id")


def test_options_and_columns_are_checked(events):
    with pytest.raises(ContractError, match="lacks the column required_stamps"):
        summaries.cards(events.drop(columns="required_stamps"))
    with pytest.raises(ContractError, match="lacks the column cashier"):
        summaries.cards(events, cluster="cashier")
    with pytest.raises(ArgumentError, match="before the first day"):
        summaries.stamps(events, as_of=dt.date(2001, 1, 1))
    with pytest.raises(ContractError, match="is empty"):
        summaries.cards(events.head(0))
    with pytest.raises(ContractError, match="stamps and no issued event"):
        summaries.stamps(events[events["event"] != "issued"])
