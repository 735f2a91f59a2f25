"""Memberships: splitting and following."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import ChurnData, CoxPH, KaplanMeier
from loyalty_research.errors import ContractError

AS_OF = "2024-12-31"


def day(offset):
    return pd.Timestamp("2024-01-01") + pd.Timedelta(days=offset)


def spells(*rows):
    frame = pd.DataFrame(rows, columns=["customer_id", "from", "to"])
    return pd.DataFrame(
        {
            "customer_id": frame["customer_id"],
            "valid_from": [day(d) for d in frame["from"]],
            "valid_to": [pd.NaT if d is None or np.isnan(d) else day(d) for d in frame["to"]],
        }
    )


@pytest.fixture
def accounts():
    """Follow three accounts to day 100, day 200 and (still open) day 365."""
    return ChurnData.from_subscriptions(spells((1, 0, 100), (2, 0, 200), (3, 0, None)), as_of=AS_OF)


def test_accounts_are_followed_from_start_to_end(accounts):
    assert accounts.stop.tolist() == [100, 200, 365]
    assert accounts.event.tolist() == [True, True, False]


def test_intervals_split_where_a_status_begins_and_ends(accounts):
    data = accounts.time_varying(spells((1, 40, None), (2, 50, 80), (2, 120, 150)))
    frame = data.to_lifelines()
    assert frame[["id", "start", "stop", "event", "is_member"]].to_numpy().tolist() == [
        [0, 0, 40, False, False],
        [0, 40, 100, True, True],
        [1, 0, 50, False, False],
        [1, 50, 80, False, True],
        [1, 80, 120, False, False],
        [1, 120, 150, False, True],
        [1, 150, 200, True, False],
        [2, 0, 365, False, False],
    ]
    assert data.chosen == ("is_member",)


def test_a_status_from_before_the_start_counts_from_day_0(accounts):
    data = accounts.time_varying(spells((1, -30, 10), (2, 0, None), (3, 400, None)))
    frame = data.to_lifelines()
    assert frame.loc[frame["id"] == 0, ["start", "is_member"]].to_numpy().tolist() == [[0, True], [10, False]]
    assert frame.loc[frame["id"] == 1, "is_member"].tolist() == [True]
    assert frame.loc[frame["id"] == 2, "is_member"].tolist() == [False]


def test_tiers_carry_their_values(accounts):
    tiers = spells((1, 40, 60), (1, 60, None), (2, 10, None)).assign(tier=["silver", "gold", "silver"])
    data = accounts.time_varying(tiers, covariate="tier")
    assert data.covariates["tier"].tolist() == ["none", "silver", "gold", "none", "silver", "none"]


def test_splitting_twice_and_without_matches(accounts):
    data = accounts.time_varying(spells((9, 40, None)))
    assert len(data.stop) == 3
    assert not data.covariates["is_member"].any()
    with pytest.raises(ContractError, match="already have a column is_member"):
        data.time_varying(spells((1, 40, None)))


def test_splitting_leaves_curves_and_counts_as_they_were(accounts):
    data = accounts.time_varying(spells((1, 40, None), (2, 50, 80)))
    whole, split = (KaplanMeier().fit(d).survival_function_ for d in (accounts, data))
    assert whole.equals(split)


def test_splitting_many_customers_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    n = 300
    lives = spells(*[(i, 0, int(d)) for i, d in enumerate(rng.integers(5, 300, n))])
    joined = spells(*[(int(i), int(rng.integers(-20, 320)), None) for i in rng.choice(n, 150, replace=False)])
    base = ChurnData.from_subscriptions(lives, as_of="2030-01-01")
    data = base.time_varying(joined)
    want = []
    since = dict(zip(joined["customer_id"], (joined["valid_from"] - day(0)).dt.days, strict=True))
    for customer, key in enumerate(base.keys):
        stop, join = int(base.stop[customer]), since.get(key)
        if join is None or join >= stop:
            want.append((customer, 0, stop, True, False))
        elif join <= 0:
            want.append((customer, 0, stop, True, True))
        else:
            want += [(customer, 0, join, False, False), (customer, join, stop, True, True)]
    found = data.to_lifelines()[["id", "start", "stop", "event", "is_member"]]
    assert sorted(map(tuple, found.to_numpy().tolist())) == sorted(want)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (spells((1, 40, 80), (1, 70, 90)), r"overlap in 1 row \(at position 1\)"),
        (spells((1, 40, 40)), r"valid_to must be after valid_from; it is not in 1 row"),
        (spells((1, 40, 80)).assign(valid_from=pd.NaT), r"valid_from is missing in 1 row"),
        (spells((1, 40, 80)).assign(customer_id=None), r"customer_id is missing in 1 row"),
        (spells((1, 40, 80)).drop(columns="valid_from"), r"lacks the column valid_from"),
        (spells((1, 40, 80)).assign(valid_from=5), r"valid_from is int64, not a date"),
        (
            spells((1, 40, 80)).assign(valid_from=pd.Timestamp("2024-02-10", tz="UTC")),
            r"valid_from carries a time zone",
        ),
    ],
)
def test_bad_spells_are_refused(accounts, bad, said):
    with pytest.raises(ContractError, match=said):
        accounts.time_varying(bad)


def test_splitting_needs_a_calendar():
    plain = ChurnData.from_durations(pd.DataFrame({"duration": [5], "event": [1]}))
    with pytest.raises(ContractError, match="needs customers and calendar days"):
        plain.time_varying(spells((1, 40, 80)))


def test_upgrades_are_one_membership_and_returners_are_counted():
    rows = spells((1, 0, 50), (1, 50, 120), (2, 0, 60), (2, 90, None), (3, 400, None)).assign(
        tier=["base", "gold", "base", "base", "base"]
    )
    data = ChurnData.from_subscriptions(rows, as_of=AS_OF)
    frame = data.to_lifelines()
    assert frame[["id", "start", "stop", "event", "tier"]].to_numpy().tolist() == [
        [0, 0, 50, False, "base"],
        [0, 50, 120, True, "gold"],
        [1, 0, 60, True, "base"],
    ]
    assert data.audit().set_index("rule")["rows"].to_dict() == {
        "membership begins on or after the last day observed": 1,
        "later membership of somebody who had left": 1,
        "kept": 3,
    }


def test_late_entry_is_allowed_for_and_said():
    rows = spells((1, 0, 50), (2, 0, 200), (3, 80, 300))
    open_ended = ChurnData.from_subscriptions(rows, as_of=AS_OF)
    assert "not measurable" in [c.status for c in open_ended.checks]
    data = ChurnData.from_subscriptions(rows, as_of=AS_OF, observed_from=day(100).date())
    # customer 1 had left before records begin; the others enter 100 and 20 days into their clocks
    assert data.start.tolist() == [100, 20]
    assert data.stop.tolist() == [200, 220]
    check = next(c for c in data.checks if c.name == "Delayed entry")
    assert check.status == "warning"
    assert "100.0%" in check.detail


def test_date_columns_of_a_dataset_are_preferred():
    rows = spells((1, 0, 50)).assign(valid_from_date=day(1).normalize(), valid_to_date=day(51).normalize())
    data = ChurnData.from_subscriptions(rows, as_of=AS_OF)
    assert str(data.origin[0]) == "2024-01-02"
    assert data.stop.tolist() == [50]


def test_time_varying_tier_is_called_a_choice():
    rng = np.random.default_rng(1)
    lives = spells(*[(i, 0, int(d)) for i, d in enumerate(rng.integers(20, 300, 400))])
    joined = spells(*[(int(i), 10, None) for i in rng.choice(400, 200, replace=False)])
    data = ChurnData.from_subscriptions(lives, as_of=AS_OF).time_varying(joined)
    assert (
        "Customers choose this themselves (member)" in CoxPH().fit(data, covariates=["is_member"]).verdict()
    )


def test_identifiers_of_another_type_are_refused(accounts):
    with pytest.raises(ContractError, match="1 of 2 rows match only as text"):
        accounts.time_varying(spells(("1", 10, None), ("nobody", 10, None)))


def test_causes_of_ending_come_from_the_last_spell():
    spells = pd.DataFrame(
        {
            "customer_id": ["a", "a", "b", "c", "d"],
            "valid_from": pd.to_datetime(
                ["2024-01-01", "2024-02-01", "2024-01-01", "2024-01-05", "2024-01-09"]
            ),
            "valid_to": pd.to_datetime(["2024-02-01", "2024-04-01", "2024-03-01", None, "2025-01-01"]),
            "why": ["upgrade", "cancelled", "expired", None, "cancelled"],
        }
    )
    data = ChurnData.from_subscriptions(spells, as_of="2024-06-01", cause="why")
    assert data.cause_labels == ("cancelled", "expired")
    # the upgrade is no end, and what is cancelled after as_of has not happened yet
    assert data.causes.tolist() == [0, 1, 2, 0, 0]
    assert data.cause("expired").n_events == 1
    order = spells.astype({"why": pd.CategoricalDtype(["expired", "cancelled", "upgrade"])})
    ordered = ChurnData.from_subscriptions(order, as_of="2024-06-01", cause="why")
    assert ordered.cause_labels == ("expired", "cancelled")
    with pytest.raises(ContractError, match=r"memberships.why is missing in 1 row \(at position 2\), whose"):
        ChurnData.from_subscriptions(
            spells.assign(why=["x", "y", None, None, "x"]), as_of="2024-06-01", cause="why"
        )
    with pytest.raises(ContractError, match="memberships lacks the column reason"):
        ChurnData.from_subscriptions(spells, as_of="2024-06-01", cause="reason")
