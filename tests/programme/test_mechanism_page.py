"""The page of mechanisms: answers first, every figure from the result behind it, no case left out."""

from __future__ import annotations

import math

import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import KINDS, PRESETS
from loyalty_research.programme import mechanism_study

LINES = [
    "boloco-card reward_value=7 reward_cost=2.5",
    "starbucks-2015 point_value=0.02 point_cost=0.01",
    "flying-club lines=0/300/700 point_value=0.01",
    "amazon-prime order_saving=5 order_cost=4",
    "yummy-rummy prize_value=10 prize_cost=4",
    "car-wash-8 reward_value=20 reward_cost=8",
    "car-wash-10-with-2 reward_value=20 reward_cost=8",
    "fourteen-points",
    "coalition partners=shop:1/fuel:2 point_value=0.01 issue_price=0.009",
    "non-monetary benefit=early-access member_cost=1",
]
SHOP = {"seeds": 3, "customers": 100, "draws": 20, "margin": 0.3}


@pytest.fixture(scope="module")
def study():
    return mechanism_study(LINES, currency="EUR", **SHOP)


def test_every_preset_and_kind_can_be_on_the_page(study):
    labels = {s.label for s in study.programmes}
    assert set(PRESETS) <= labels
    assert {s.mechanism.kind for s in study.programmes} == set(KINDS) - {"none"}


def test_the_answer_says_which_pays_how_sure_and_what_it_hangs_on(study):
    which, sure, hangs, takes = study.findings()
    assert [f.id for f in study.findings()] == ["which-pays", "how-sure", "hangs-on", "what-it-takes"]
    assert all(f.status == "caution" for f in study.findings())  # all of it rests on assumptions
    assert study.best == study.comparison.ranking[0 if study.comparison.ranking[0] != "none" else 1]
    assert which.estimate == study.comparison.difference(study.best)
    assert which.estimate.unit == "EUR"
    assert sure.estimate == study.odds[study.best].pays
    shares = {label: odds.pays.value for label, odds in study.odds.items()}
    surest = max(shares.values())
    assert ("Surest to pay is" in sure.headline) == (surest > shares[study.best])
    assert hangs.estimate == study.tornado.centre
    assert takes.headline


def test_tables_have_a_line_for_every_mechanism_in_the_order_of_profit(study):
    labels = [s.label for s in study.programmes]
    gains = [study.comparison.difference(label).value for label in labels]
    assert gains == sorted(gains, reverse=True)
    for table in (study.outcomes(), study.sure(), study.takes(), study.promises()):
        assert table.iloc[:, 0].tolist() == labels
        assert not table.isna().any(axis=None)
    assert list(study.assumed().columns[1:]) == labels
    assert study.assumed().iloc[-1, 1:].tolist() == ["convention"] * len(labels)
    assert study.outcomes().iloc[0, 1].startswith(study.comparison.difference(labels[0]).format(signed=True))


def test_promises_carry_their_sources(study):
    promises = study.promises().set_index("Mechanism")
    assert "Nunes and Dreze (2006)" in promises.loc["car-wash-8", "Source"]
    assert promises.loc["coalition", "Source"] == "figures of this page"
    assert promises.loc["car-wash-8", "Promise"].startswith("A card of 8 stamps starts empty")


def test_rules_are_applied_to_the_sales_there_are(study):
    source = lr.simulate("none", customers=150, seed=2)
    table, said = study.applied(source)
    table = table.set_index("Mechanism")
    assert table.index.tolist() == [s.label for s in study.programmes]
    card = next(s for s in study.programmes if s.label == "boloco-card")
    rebate = card.mechanism.cost(source.frame("transactions"), redeemed=0.8)["effective rebate"]
    assert table.loc["boloco-card", "Effective rebate"].startswith(rebate.format())
    assert "hard to work out" in table.loc["fourteen-points", "What its audit says"]
    assert (
        "not measurable because transactions lacks partner_id"
        in table.loc["coalition", "What its audit says"]
    )
    assert "as they were" in said


def test_data_without_sales_say_so(study):
    units = pd.DataFrame({"unit_id": ["1", "2"], "arm": ["a", "b"], "spend": [1.0, 2.0]})
    source = lr.Dataset.from_frames("arms", {"units": units}, description="Made up.", kind="user")
    table, said = study.applied(source)
    assert table is None
    assert "no transactions" in said


def test_cards_of_the_same_paid_visits_come_to_the_same(study):
    outcomes = study.outcomes().set_index("Mechanism")
    assert outcomes.loc["car-wash-8"].tolist() == outcomes.loc["car-wash-10-with-2"].tolist()


def test_the_rules_alone_say_what_their_break_even_says(study):
    by_label = {s.label: s for s in study.programmes}
    card = by_label["boloco-card"].mechanism
    assert study.by_rules["boloco-card"] == card.break_even(margin=0.3, redeemed=0.8).value
    assert all(rise is None or rise >= 0 for rise in study.by_rules.values())


def test_pictures_are_told_in_words(study):
    for axes, alt, caption in (*study.gains(), *study.hangs_on()):
        assert len(axes.get_yticks()) > 3
        assert len(alt) > 60
        assert caption.endswith(".")
    assert study.checks()
    assert len(study.limits()) == 4
    assert study.n == 300


def test_a_fee_that_nobody_would_pay_is_said_to_be_one():
    study = mechanism_study(["paid fee=100000 order_saving=1"], **SHOP)
    assert study.needed["paid"] is None
    assert study.by_rules["paid"] is None
    assert "Nobody is assumed to join paid" in study.findings()[3].headline
    assert study.takes().iloc[0, 2] == "nobody joins"


def test_what_can_never_pay_is_said():
    study = mechanism_study(["points points_per_unit=100 reward_points=1 reward_value=0.005"], **SHOP)
    assert math.isinf(study.needed["points"].value)
    assert "Not even four times" in study.findings()[3].headline
    assert study.findings()[3].estimate is None
    assert study.takes().iloc[0, 2:].tolist() == ["over 300%", "no rise would do"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "one line or more"),
        ("boloco-card", "one line or more"),
        (["none"], "leave the line"),
        (["boloco-card reward_value=7"] * 2, "different names"),
        (["boloco-card"], "reward_value"),
    ],
)
def test_unusable_lines_are_refused(lines, said):
    with pytest.raises(ArgumentError, match=said):
        mechanism_study(lines, **SHOP)
