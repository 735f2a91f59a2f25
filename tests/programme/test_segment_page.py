"""Segments as a page shows them: one day, one window later, and what cannot be made."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research import clv
from loyalty_research.data import Dataset
from loyalty_research.errors import ArgumentError, ConvergenceError
from loyalty_research.programme.segment_page import segment_study


@pytest.fixture(scope="module")
def source():
    return lr.open_dataset("cdnow-sample")


@pytest.fixture(scope="module")
def study(source):
    return segment_study(source, window=180, outlook=clv.outlook, seed=1)


def test_segments_are_made_before_the_days_they_are_judged_by(source, study):
    """What happened after the split moves no label."""
    early = source.frame("transactions")
    early = early[early["transacted_date"] <= pd.Timestamp(study.split)]
    last = pd.DataFrame({"customer_id": ["none"], "transacted_at": pd.Timestamp("1998-06-30"), "amount": 1.0})
    lines = pd.concat([early[["customer_id", "transacted_at", "amount"]], last]).assign(currency="USD")
    cut = Dataset.from_frames(
        "cut",
        {"transactions": lines.assign(transaction_id=[str(i) for i in range(len(lines))])},
        description="Made for a test.",
        kind="simulated",
        as_of=dt.date(1998, 6, 30),
    )
    blind = segment_study(cut, window=180, outlook=clv.outlook, seed=1)
    assert blind.split == study.split
    assert blind.placed.labels.equals(study.placed.labels)
    assert blind.main.outcomes.later["loyal"].purchases.value == 0.0


def test_the_model_comes_first_and_all_divide_the_same_customers(study):
    assert study.main.name == "what the model expects"
    totals = {d.name: d.outcomes.later[s].share.n for d in study.divisions for s in d.outcomes.later}
    assert len(set(totals.values())) == 1
    assert study.compared().iloc[:, 2].notna().all()


def test_the_tables_hold_what_was_found(study):
    table = study.table().set_index("Segment")
    loyal = study.main.outcomes.later["loyal"]
    assert table.loc["loyal", "Share of revenue after"].startswith(loyal.share.format())
    assert table.index[0] == "loyal"
    moves = study.moves()
    assert moves["From"].tolist() == table.index.tolist()
    kept = study.main.stability.by_segment["one-time"]
    assert moves.set_index("From").loc["one-time", "one-time"] in ("–", f"{100 * kept.value:.0f}%")
    assert study.others()["Divided by"].nunique() >= 2


def test_the_saying_is_held_against_later_days_under_each_meaning_of_loyal(study):
    model, rules = study.claim()
    assert model.startswith("By what the model expects:")
    assert rules.startswith("By declared rules on purchases:")
    (found,) = study.findings()
    assert found.estimate == study.main.outcomes.later["loyal"].share


def test_what_cannot_be_made_has_a_reason(study):
    missing = {c.name: c.detail for c in study.missing}
    assert "no table customers" in missing["age"]
    assert "no surveys" in missing["promoters to detractors"]
    assert "two kinds" in missing["short and long purchase cycle"]
    assert study.consent is None


def test_without_a_model_declared_rules_lead(source):
    found = segment_study(source, window=180)
    assert found.placed is None
    assert found.main.name == "declared rules on purchases"
    assert found.table().columns[1] == "Customers"


def test_a_model_that_fails_is_a_reason(source):
    def fails(*_, **__):
        raise ConvergenceError("the fit has no maximum")

    found = segment_study(source, window=180, outlook=fails)
    assert found.main.name == "declared rules on purchases"
    assert found.missing[0].detail == "Not measurable because the fit has no maximum."


def test_data_without_transactions_have_no_segments():
    found = segment_study(lr.open_dataset("carwash"), window=90, outlook=clv.outlook)
    assert found.divisions == found.findings() == ()
    assert "no table transactions" in found.claim()[0]
    assert found.table().empty
    assert found.moves().empty
    assert found.overlaps().empty
    assert list(found.pictures()) == []


def test_options_are_checked(source):
    with pytest.raises(ArgumentError, match="loyal_purchases"):
        segment_study(source, window=180, loyal_purchases=1)
    with pytest.raises(ArgumentError, match="window"):
        segment_study(source, window=0)
    short = segment_study(source, window=2000)
    assert "nobody had bought" in short.reasons()[0]


def test_pictures_say_what_they_show(study):
    ((drawn, alt, caption),) = study.pictures()
    assert lr.display.figure(drawn, alt=alt, caption=caption).html.count("<img") == 1
    assert "loyal" in alt
    assert "expected" in caption


def test_people_columns_make_divisions():
    """Age, legal form and answers divide customers where the data have them."""
    rng = np.random.default_rng(7)
    people = pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(300)],
            "age": rng.integers(10, 80, 300).astype(float),
            "is_organisation": np.arange(300) % 3 == 0,
        }
    )
    who = np.repeat(people["customer_id"].to_numpy(), 6)
    lines = pd.DataFrame(
        {
            "transaction_id": [str(i) for i in range(1800)],
            "customer_id": who,
            "transacted_at": pd.Timestamp("2023-01-01")
            + pd.to_timedelta(rng.integers(0, 360, 1800), unit="D"),
            "amount": 10.0,
            "currency": "EUR",
        }
    )
    asked = pd.DataFrame(
        {
            "response_id": [str(i) for i in range(200)],
            "customer_id": people["customer_id"][:200],
            "answered_at": pd.Timestamp("2023-05-01"),
            "instrument": "nps",
            "value": rng.choice([3.0, 8.0, 10.0], 200),
            "scale_min": 0.0,
            "scale_max": 10.0,
        }
    )
    made = Dataset.from_frames(
        "made",
        {"transactions": lines, "customers": people, "surveys": asked},
        description="Made up for a test.",
        kind="simulated",
        as_of=dt.date(2023, 12, 31),
    )
    found = {d.name: d for d in segment_study(made, window=120).divisions}
    assert set(found["persons and organisations"].outcomes.later) == {"person", "organisation"}
    assert list(found["age"].outcomes.later) == ["0 to 14", "15 to 21", "22 to 49", "50 or more"]
    assert set(found["promoters to detractors"].outcomes.later) == {
        "promoter",
        "passive",
        "detractor",
        "not known",
    }
    assert found["age"].stability is None
