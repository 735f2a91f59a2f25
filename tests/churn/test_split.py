import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import ChurnData, split_by_time
from loyalty_research.errors import ArgumentError, ContractError, ImmortalTimeError

COLUMNS = ["start", "stop", "event"]


def bought(*rows):
    frame = pd.DataFrame(rows, columns=["customer_id", "transacted_at"])
    return frame.assign(transacted_at=pd.to_datetime(frame["transacted_at"]), amount=10.0)


@pytest.fixture
def members():
    """Four members: one cancels before June, one after, one stays, one joins in July."""
    return pd.DataFrame(
        {
            "customer_id": [1, 2, 3, 4],
            "valid_from": pd.to_datetime(["2024-01-01", "2024-01-11", "2024-02-01", "2024-07-01"]),
            "valid_to": pd.to_datetime(["2024-03-01", "2024-08-01", None, None]),
        }
    )


def rows(data):
    return data.to_lifelines()[COLUMNS].to_numpy().tolist()


def test_training_stops_at_the_day_and_testing_starts_there(members):
    data = ChurnData.from_subscriptions(members, as_of="2024-12-31")
    train, test = split_by_time(data, "2024-06-01")
    assert rows(train) == [[0, 60, True], [0, 142, False], [0, 121, False]]
    assert rows(test) == [[142, 203, True], [121, 334, False]]
    assert train.audit()["customers"].tolist()[-2:] == [1, 3]
    assert test.audit()["customers"].tolist()[-2:] == [2, 2]


def test_newcomers_are_tested_from_their_first_day(members):
    data = ChurnData.from_subscriptions(members, as_of="2024-12-31")
    _, fresh = split_by_time(data, "2024-06-01", who="newcomers")
    assert rows(fresh) == [[0, 183, False]]
    _, both = split_by_time(data, "2024-06-01", who="both")
    assert len(both.stop) == 3


def test_both_sides_together_hold_every_customer_day_once(members):
    data = ChurnData.from_subscriptions(members, as_of="2024-12-31")
    train, test = split_by_time(data, "2024-06-01", who="both")
    days = [(d.stop - d.start).sum() for d in (data, train, test)]
    assert days[0] == days[1] + days[2]
    assert data.n_events == train.n_events + test.n_events


def test_covariates_are_those_in_force_on_the_day():
    frame = pd.DataFrame(
        {
            "who": [1, 1, 1, 2],
            "start": [0, 30, 80, 0],
            "stop": [30, 80, 120, 50],
            "event": [0, 0, 1, 1],
            "tier": ["basic", "silver", "gold", "basic"],
        }
    )
    data = ChurnData.from_intervals(frame, id="who")
    train, test = split_by_time(data, 60)
    assert rows(test) == [[60, 120, True]]
    assert test.covariates["tier"].tolist() == ["silver"]
    assert train.covariates["tier"].tolist() == ["basic", "silver", "basic"]
    assert train.stop.tolist() == [30, 60, 50]


def test_a_break_in_follow_up_ends_the_test():
    frame = pd.DataFrame({"who": [1, 1], "start": [0, 90], "stop": [70, 120], "event": [0, 1]})
    _, test = split_by_time(ChurnData.from_intervals(frame, id="who"), 60)
    assert rows(test) == [[60, 70, False]]


def test_buyers_say_when_their_labels_were_known():
    table = bought(
        (1, "2024-01-01"), (1, "2024-02-01"), (2, "2024-01-01"), (2, "2024-01-15"), (2, "2024-04-15")
    )
    data = ChurnData.from_transactions(table, inactivity_days=100, as_of="2024-12-31")
    train, test = data.split("2024-02-15")
    assert train.event.tolist() == [True, False]
    assert test.event.tolist() == [True]
    assert "100 days later" in train.checks[-1].detail


def test_a_value_from_after_the_split_is_refused(members):
    data = ChurnData.from_subscriptions(members, as_of="2024-12-31")
    when = pd.to_datetime(["2024-01-01", "2024-01-11", "2024-07-01", "2024-07-01"])
    data = data.with_covariates(
        pd.DataFrame({"customer_id": [1, 2, 3, 4], "score": [1.0, 2, 3, 4], "scored": when}), known_at="start"
    )
    with pytest.raises(ImmortalTimeError, match=r"score looks into the future: in 1 of 3 intervals"):
        split_by_time(data, "2024-06-01", known_at={"score": "scored"})


def test_bad_options_are_named(members):
    data = ChurnData.from_subscriptions(members, as_of="2024-12-31")
    with pytest.raises(ArgumentError, match="who must be"):
        split_by_time(data, "2024-06-01", who="all")
    with pytest.raises(ArgumentError, match="at must be a date"):
        split_by_time(data, "soon")
    with pytest.raises(ContractError, match="nothing to train on"):
        split_by_time(data, "2023-06-01")
    with pytest.raises(ContractError, match="nobody to test on"):
        split_by_time(data, "2025-06-01")
    plain = ChurnData.from_durations(pd.DataFrame({"duration": [5, 8], "event": [1, 1]}))
    with pytest.raises(ContractError, match="have no calendar"):
        split_by_time(plain, "2024-06-01")
    with pytest.raises(ArgumentError, match="between 0 and the last one, 8"):
        split_by_time(plain, 9)
    assert split_by_time(plain, 6.5)[1].start.tolist() == [6.5]
    assert np.issubdtype(split_by_time(plain, 6)[1].start.dtype, np.integer)


def test_causes_go_with_their_events():
    frame = pd.DataFrame({"duration": [5, 30, 40, 50], "event": ["moved", "price", None, "moved"]})
    data = ChurnData.from_durations(
        frame.assign(event=frame["event"].map({"moved": 1, "price": 2}).fillna(0).astype(int))
    )
    train, test = split_by_time(data, 10)
    assert train.causes.tolist() == [1, 0, 0, 0]
    assert test.causes.tolist() == [2, 0, 1]
