"""The page of what is promised: ledger and liability passed on whole, tiers recorded or derived, reasons."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.data import Dataset
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.programme import promises_study, redemption_liability

LINES = {"silver": 150.0, "gold": 300.0}


@pytest.fixture(scope="module")
def source():
    return lr.open_dataset("programme")


@pytest.fixture(scope="module")
def study(source):
    return promises_study(source, value_per_point=0.02, expires_after=[3, 9, 40], tier_lines=LINES)


def test_the_ledger_is_what_members_hold(source, study):
    assert float(study.ledger.outstanding) == pytest.approx(source.frame("points_ledger")["points"].sum())
    (totals, _), (ages, _) = study.ledger_tables()
    assert totals["Points"].sum() == pytest.approx(float(study.ledger.outstanding))
    assert ages["Points"].sum() == pytest.approx(float(study.ledger.outstanding))


def test_money_is_points_at_their_value(study):
    fit = study.liability
    assert fit.liability.value == pytest.approx(0.02 * redemption_liability(study.ledger).points.value)
    owed = study.findings()[0]
    assert owed.estimate.unit == "EUR"
    assert fit.liability.format(0.02 * fit.cohorts["held"].sum()) in owed.headline
    assert owed.status == "caution"  # the programme is a year old


def test_without_a_value_no_money_is_named(source):
    found = promises_study(source)
    owed = found.findings()[0]
    assert owed.estimate.unit is None
    assert "no value per point was named" in owed.headline
    assert "EUR" not in owed.headline


def test_rules_never_seen_are_left_out(source, study):
    table, said = study.rules()
    assert table.iloc[:, 0].tolist() == [3, 9]
    assert "only a trial" in said
    none, reason = promises_study(source, expires_after=[40]).rules()
    assert none is None
    assert "never seen" in reason


def test_shorter_expiry_leaves_more_unredeemed(study):
    broken = study.expiry.policies.set_index("expires_after")["breakage"]
    assert broken[3] > broken[9] > study.liability.breakage.value - 1e-9


def test_derived_tiers_are_said_to_be_so(study):
    assert study.derived
    found = next(f for f in study.findings() if f.id == "tiers")
    assert found.status == "caution"
    assert found.headline.startswith("Had there been such tiers")
    assert "do not exist" in study.tier_words()[0]
    assert study.ways()["Tier"].tolist() == ["base", "silver", "gold"]
    assert sum(e.value for e in study.settled.values()) == pytest.approx(1.0)


def test_pictures_say_what_they_show(study):
    for drawn, alt, caption in (*study.cohorts(), *study.moves()):
        assert lr.display.figure(drawn, alt=alt, caption=caption).html.count("<img") == 1
        assert any(c.isdigit() for c in alt)


def test_what_the_data_lack_has_a_reason():
    study = promises_study(lr.open_dataset("cdnow-sample"))
    (nothing,) = study.findings()
    assert nothing.status == "suppressed"
    assert "points_ledger" in nothing.headline
    assert "no lines were named" in study.tier_words()[0]
    assert study.rules()[0] is None
    assert not list(study.ledger_tables()) + list(study.cohorts()) + list(study.moves())
    assert study.n == 0


# --- tiers that are recorded ---------------------------------------------------------------------


def recorded(heap=0):
    """Return members of two tiers, half of whom move up in spring; ``heap`` of them spend just above 300."""
    spend = np.concatenate([np.arange(20.0, 620.0, 0.5), np.full(heap, 301.0)])
    people = [f"c{i}" for i in range(len(spend))]
    lines = pd.DataFrame(
        {
            "transaction_id": people,
            "customer_id": people,
            "transacted_at": pd.Timestamp("2024-02-01"),
            "amount": spend,
            "currency": "EUR",
        }
    )
    move = pd.Timestamp("2024-04-01")
    up = [i for i in range(len(people)) if i % 2]
    spells = pd.DataFrame(
        {
            "customer_id": people + [people[i] for i in up],
            "programme_id": "p",
            "tier": ["base"] * len(people) + ["gold"] * len(up),
            "valid_from": [pd.Timestamp("2024-01-05")] * len(people) + [move] * len(up),
            "valid_to": [move if i % 2 else pd.NaT for i in range(len(people))] + [pd.NaT] * len(up),
            "reason": ["enrol"] * len(people) + ["upgrade"] * len(up),
        }
    )
    return Dataset.from_frames(
        "tiers",
        {"transactions": lines, "memberships": spells},
        description="Made up for a test.",
        kind="simulated",
        currency="EUR",
        as_of=dt.date(2024, 6, 30),
    )


def test_recorded_tiers_are_followed_as_they_were():
    study = promises_study(recorded(), tiers=["base", "gold"])
    assert not study.derived
    assert study.migration.counts.tolist() == [[600, 600], [0, 0]]
    assert next(f for f in study.findings() if f.id == "tiers").status == "finding"


def test_the_pull_of_a_line_is_looked_at_where_tiers_exist():
    flat = promises_study(recorded(), tiers=["base", "gold"], tier_lines={"gold": 300.0})
    pulled = promises_study(recorded(150), tiers=["base", "gold"], tier_lines={"gold": 300.0})
    assert flat.bunching[0].excess.low <= 0 <= flat.bunching[0].excess.high
    assert pulled.bunching[0].excess.value == pytest.approx(150, abs=15)
    assert pulled.bunching[0].excess.low > 0
    assert len(list(pulled.moves())) == 2


def test_the_order_of_recorded_tiers_must_be_named():
    study = promises_study(recorded())
    assert study.migration is None
    assert "name them, the lowest first" in study.tier_words()[0]


def test_bad_options_and_ledgers_are_errors(source):
    with pytest.raises(ArgumentError, match="tier_period"):
        promises_study(source, tier_period="W")
    frame = source.frame("points_ledger")
    frame.loc[frame.index[frame["type"] == "redeem"][0], "points"] = -1e6
    broken = Dataset.from_frames(
        "broken", {"points_ledger": frame}, description="Made up.", kind="simulated", as_of=source.as_of
    )
    with pytest.raises(ContractError, match="overdrawn"):
        promises_study(broken)
