"""The page of what is promised: ledger and liability passed on whole, tiers recorded or derived, reasons."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.data import Dataset
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.programme import grace_period_what_if, promises_study, redemption_liability

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


# --- deferral, tail, grace and the loss of a tier --------------------------------------------------


def test_a_tail_and_a_price_add_to_the_page(source):
    study = promises_study(source, value_per_point=0.02, point_price=0.02, tail="exponential", period="Q")
    owed, broken, *_ = study.findings()
    assert "later than any seen" in owed.headline
    assert "never be redeemed" in broken.headline
    table, said = study.schedule()
    assert said == study.deferral.verdict()
    assert study.deferral.allocated
    start, added, taken, end = (table[c].to_numpy() for c in table.columns[2:])
    assert start + added - taken == pytest.approx(end)
    assert float(study.deferral.closing) in end
    assert next(f for f in study.findings() if f.id == "deferred").status == "finding"
    (drawn, alt, _) = next(iter(study.deferred()))
    assert drawn.get_ylabel().endswith("EUR")
    assert str(study.deferral.closing)[:1] in alt
    assert any("a curve that was chosen" in line for line in study.limits())


def test_without_a_price_nothing_is_deferred(study):
    table, said = study.schedule()
    assert table is None
    assert "no stand-alone price" in said
    assert not list(study.deferred())


def test_nobody_lost_a_tier_that_does_not_exist(source):
    study = promises_study(
        source, tier_lines=LINES, grace_days=[30], benefit_cost={"silver": 0.5, "gold": 1.5}, margin=0.4
    )
    assert study.demotion is None
    assert "do not exist" in study.fall_words()[0]
    table, said = study.graces()
    assert table.iloc[:, 0].tolist() == [30]
    assert len(table.columns) == 5
    assert "deadline" in said
    found = next(f for f in study.findings() if f.id == "grace")
    assert found.headline.startswith("Had there been such tiers: with 30 days")


def falling(seed, customers, effect):
    """Return members of two tiers over nine quarters whose spend falls by ``effect`` after a loss."""
    rng = np.random.default_rng(seed)
    starts = pd.period_range("2022Q1", periods=10, freq="Q").start_time
    own, rows, lines = 120 * rng.lognormal(0, 0.25, customers), [], []
    gold, fell = np.ones(customers, dtype=bool), np.zeros(customers, dtype=bool)
    for t in range(9):
        spend = np.maximum(own * rng.gamma(10, 0.1, customers) - effect * fell, 1).round(2)
        rows.append(pd.DataFrame({"who": range(customers), "tier": np.where(gold, "gold", "base"), "t": t}))
        for month in range(3):
            day = starts[t] + pd.Timedelta(days=31 * month)
            lines.append(pd.DataFrame({"who": range(customers), "at": day, "amount": (spend / 3).round(2)}))
        now = 3 * (spend / 3).round(2) >= 100
        fell, gold = gold & ~now, now
    spells, orders = pd.concat(rows), pd.concat(lines, ignore_index=True)
    tables = {
        "memberships": pd.DataFrame(
            {
                "customer_id": "c" + spells["who"].astype(str),
                "programme_id": "p",
                "tier": spells["tier"],
                "valid_from": starts[spells["t"]],
                "valid_to": starts[spells["t"] + 1],
                "reason": "enrol",
            }
        ).reset_index(drop=True),
        "transactions": pd.DataFrame(
            {
                "transaction_id": orders.index.astype(str),
                "customer_id": "c" + orders["who"].astype(str),
                "transacted_at": orders["at"],
                "amount": orders["amount"],
                "currency": "EUR",
            }
        ),
    }
    return Dataset.from_frames(
        "falling",
        tables,
        description="Made up for a test.",
        kind="simulated",
        currency="EUR",
        as_of=dt.date(2024, 3, 31),
    )


def test_the_loss_of_a_recorded_tier_is_studied_at_its_line():
    study = promises_study(
        falling(1, 700, 45.0),
        tiers=["base", "gold"],
        tier_lines={"gold": 100.0},
        grace_days=[20, 40],
        benefit_cost={"gold": 2.0},
        margin=0.5,
    )
    assert study.demotion.line.by_rule
    assert study.demotion.main.value == pytest.approx(-15, abs=6)
    found = next(f for f in study.findings() if f.id == "loss-of-a-tier")
    assert found.status == "caution"
    assert "Right at the line" in found.headline
    for drawn, alt, caption in study.falls():
        assert lr.display.figure(drawn, alt=alt, caption=caption).html.count("<img") == 1
    assert len(list(study.falls())) == 2
    assert "line" in study.design
    assert (study.grace.policies["avoided"] >= 5).all()
    said = study.graces()[1]
    assert study.grace.spend_needed(40).format() in said
    assert study.demotion.main.interval(signed=True) in said


def test_fewer_than_five_falls_avoided_are_not_shown():
    found, asked = falling(2, 3, 0.0), {"tiers": ["base", "gold"], "grace_days": [1]}
    plain = grace_period_what_if(
        found.frame("memberships"),
        found.frame("transactions"),
        lines={"gold": 100.0},
        as_of=found.as_of,
        **asked,
    )
    assert 0 < plain.policies["avoided"].item() < 5
    study = promises_study(found, tier_lines={"gold": 100.0}, **asked)
    assert study.grace is None
    assert "too few to show" in study.graces()[1]


def test_points_of_finer_decimals_are_booked_exactly(source):
    frame = source.frame("points_ledger")
    frame = frame.assign(points=frame["points"] * 1.0005)
    fine = Dataset.from_frames(
        "fine",
        {"points_ledger": frame.round({"points": 4})},
        description="Made up.",
        kind="simulated",
        as_of=source.as_of,
    )
    assert promises_study(fine).ledger.decimals == 4
