import numpy as np
import pytest

import loyalty_research as lr
from loyalty_research.mechanisms import Sweepstakes
from loyalty_research.simulate._sweepstakes import SweepstakesScheme, SweepstakesTruth


@pytest.fixture(scope="module")
def shop():
    return lr.simulate("sweepstakes", customers=6000, seed=3)


@pytest.fixture(scope="module")
def plays(shop):
    ledger = shop.frame("points_ledger")
    return ledger[ledger["type"] == "redeem"].sort_values("occurred_at")


def test_plays_are_those_of_the_rules_and_odds_those_promised(shop, plays):
    lines = shop.frame("transactions").merge(shop.frame("memberships"), on="customer_id")
    mine = lines[lines["transacted_at"] >= lines["valid_from"]]
    rules = SweepstakesScheme.default_rules(SweepstakesTruth())
    found = rules.earn(mine[["customer_id", "transacted_at", "amount"]])
    assert found["earned"].sum() == len(plays) == shop.truth["plays"]
    wins = int(plays["is_win"].sum())
    assert wins == shop.truth["wins"]
    assert rules.audit(plays=len(plays), wins=wins).checks[0].status == "passed"
    assert shop.truth["prize_cost"] == 6 * wins


def test_the_chance_of_any_win_in_four_is_its_closed_form(shop, plays):
    four = (
        plays[plays.groupby("customer_id").cumcount() < 4]
        .groupby("customer_id")["is_win"]
        .agg(["size", "sum"])
    )
    four = four[four["size"] == 4]
    share = (four["sum"] > 0).mean()
    chance = shop.truth["any_win_in_4"]
    # who plays on depends on having won, a little
    assert share == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / len(four)) + 0.01)


def test_first_plays_are_an_experiment_that_finds_the_effect():
    truth = {"rate_effect": 0.2, "win_effect": 1.0, "win_days": 90, "join_invited": 0.9, "join_control": 0.9}
    made = lr.simulate("sweepstakes", customers=10_000, seed=4, **truth)
    first = made.frame("assignments").query("experiment_id == 'first play'")
    assert set(first["arm"]) == {"won", "lost"}
    assert set(first["assignment_probability"]) == {0.25, 0.75}
    lines = made.frame("transactions").merge(first, on="customer_id")
    wait = (lines["transacted_at"] - lines["assigned_at"]).dt.total_seconds() / 86400
    inside = lines[(wait > 0) & (wait < 90)].groupby("customer_id").size()
    early = first[first["assigned_at"] < "2024-10-01"].set_index("customer_id")
    count = inside.reindex(early.index, fill_value=0)
    groups = count.groupby(early["arm"])
    gap = groups.mean()["won"] - groups.mean()["lost"]
    error = np.sqrt((groups.var() / groups.size()).sum())
    assert made.truth["win_effect_orders"] > 1
    assert gap == pytest.approx(made.truth["win_effect_orders"], abs=4 * error)
    invitation = made.frame("assignments").query("experiment_id == 'invitation'")
    assert len(invitation) == 10_000
    assert invitation["strata"].notna().all()


def test_no_effect_of_winning_is_none():
    truth = lr.simulate("sweepstakes", customers=800, seed=1, win_effect=0.0).truth
    assert truth["win_effect_orders"] == truth["win_effect_spend"] == 0


@pytest.mark.parametrize("win_effect", [-0.6, 0.8])
def test_rates_after_a_win_are_what_they_should_be(win_effect):
    truth = SweepstakesTruth(win_effect=win_effect, win_days=40, rate_effect=0.25, beta=1e5)
    rules = Sweepstakes(win_probability=0.5, orders_per_play=2, prize_value=1)
    scheme = SweepstakesScheme(truth, rules, 6000, 6)
    joined = np.full(6000, 365.0)
    course = scheme.play(joined, 731)
    who, when = course.orders.customer, course.orders.moment
    member = when >= 365
    until = np.full(6000, -np.inf)
    inside = np.zeros(len(who), dtype=bool)
    exposed = np.zeros(6000)
    for row in np.flatnonzero(member):
        person, moment = who[row], when[row]
        inside[row] = moment < until[person]
        if course.wins[row]:
            end = min(moment + 40, 731.0, course.gone[person])
            exposed[person] += max(end - max(moment, min(until[person], end)), 0.0)
            until[person] = moment + 40
    rate = scheme.world.people.rate
    expected = 1.25 * (1 + win_effect) * rate @ exposed
    assert inside.sum() == pytest.approx(expected, abs=4 * np.sqrt(expected))
    rest = 1.25 * rate @ (np.clip(course.gone, 365, 731) - 365 - exposed)
    assert (member & ~inside).sum() == pytest.approx(rest, abs=4 * np.sqrt(rest))
