import hashlib
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research import summaries
from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import NoProgramme, Points, StampCard
from loyalty_research.simulate import KINDS, _cards, _population, _scheme, _world
from loyalty_research.simulate._card_truth import CardTruth
from loyalty_research.simulate._kinds import _KINDS
from loyalty_research.simulate._points import PointsScheme, PointsTruth
from loyalty_research.simulate._population import HORIZON, LAUNCH, PopulationTruth
from loyalty_research.simulate._truth import disclosed


def digest(dataset):
    text = repr(sorted(dataset.truth.items()))
    for name in sorted(dataset.tables):
        text += name + dataset.frame(name).to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()


NULL = {"rate_effect": 0.0, "spend_effect": 0.0, "hazard_ratio": 1.0}
NO_MORE = {
    "tiers": {"tier_effect": 0.0, "demotion_effect": 0.0, "pull_share": 0.0},
    "sweepstakes": {"win_effect": 0.0},
}
MEMBERS = [kind for kind in KINDS if kind not in ("none", "stamp-card")]


def points_tables(truth, customers, seed):
    return PointsScheme(truth, PointsScheme.default_rules(truth), customers, seed).build()


@pytest.fixture(scope="module")
def shop():
    return lr.simulate("points", customers=3000, seed=7)


@pytest.fixture(scope="module")
def tables(shop):
    return {name: shop.frame(name) for name in shop.tables}


# what every kind promises


@pytest.mark.parametrize("kind", ["points", "none", "stamp-card"])
def test_same_seed_same_bytes(kind):
    first = digest(lr.simulate(kind, customers=60, seed=3))
    assert digest(lr.simulate(kind, customers=60, seed=3)) == first
    assert digest(lr.simulate(kind, customers=60, seed=4)) != first


def built(seed=1):
    """All kinds as built, before they become datasets."""
    text = ""
    for kind in KINDS:
        if kind in MEMBERS:
            scheme, parameters = _KINDS[kind].scheme, _KINDS[kind].parameters()
            tables, facts = scheme(parameters, scheme.default_rules(parameters), 200, seed).build()
        elif kind == "stamp-card":
            tables, facts = _cards.card_tables(CardTruth(), 50, seed)
        else:
            tables, facts = {}, {}
        text += repr(facts) + "".join(name + table.to_csv() for name, table in tables.items())
    return hashlib.sha256(text.encode()).hexdigest()


def test_bytes_do_not_depend_on_the_process():
    program = (
        f"import importlib.util as u; s = u.spec_from_file_location('t', {__file__!r}); m = u.module_from_spec(s); "
        "s.loader.exec_module(m); print(m.built())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == built()
    assert built(2) != built()


@pytest.mark.parametrize("kind", KINDS)
def test_datasets_follow_the_contract_and_say_what_they_are(kind):
    made = lr.simulate(kind, customers=300, seed=1)
    assert made.check().to_frame().empty
    assert made.kind == "simulated"
    assert made.currency == "EUR"
    assert made.timezone == "Europe/Madrid"
    assert str(made.as_of) == f"{2022 + made.truth.get('years', 2)}-12-31"
    assert made.truth


def test_unknown_kinds_and_parameters_list_the_known_ones():
    with pytest.raises(ArgumentError, match="'tires' to simulate; there is points, tiers"):
        lr.simulate("tires", customers=100, seed=1)
    with pytest.raises(
        ArgumentError, match="'none' has no parameter rate_effect; its parameters are r, alpha"
    ):
        lr.simulate("none", customers=100, seed=1, rate_effect=0.1)
    with pytest.raises(ArgumentError, match="scenario must be one of null, level, slope, both"):
        lr.simulate("stamp-card", customers=100, seed=1, scenario="x")
    with pytest.raises(ArgumentError, match=r"hazard_ratio must be a number in \(0, 100\]; got 0"):
        lr.simulate("points", customers=100, seed=1, hazard_ratio=0)
    with pytest.raises(ArgumentError, match="stores must be a whole number in"):
        lr.simulate("points", customers=100, seed=1, stores=4.5)
    with pytest.raises(ArgumentError, match="customers must be a whole number, at least 20; got 3"):
        lr.simulate("points", customers=3, seed=1)
    with pytest.raises(ArgumentError, match=r"join_control 0.5 is above join_invited 0.35"):
        lr.simulate("points", customers=100, seed=1, join_control=0.5)


def test_what_nobody_does_leaves_no_table_and_no_number():
    made = lr.simulate("points", customers=50, seed=1, join_invited=0, join_control=0)
    assert "memberships" not in made.tables
    assert "points_ledger" not in made.tables
    assert made.truth["effect_per_member"] is None
    assert made.truth["itt"] == 0
    json.dumps(made.truth, allow_nan=False)
    lost = lr.simulate("stamp-card", customers=50, seed=1, loss=1)
    assert lost.truth["hazards_control"] == [None] * 8


@pytest.mark.parametrize("kind", MEMBERS)
@pytest.mark.parametrize(
    "given",
    [
        {"join_invited": 0, "join_control": 0},
        {"join_invited": 1, "join_control": 1, "rate_effect": -1.0, "years": 3},
        {"beta": 1.0, "survey_share": 0, "cases_per_year": 0, "cart_abandonment": 0, "on_time_share": 0},
    ],
)
def test_extremes_leave_what_there_is(kind, given):
    parameters = _KINDS[kind].parameters(**given)
    scheme = _KINDS[kind].scheme
    tables, facts = scheme(parameters, scheme.default_rules(parameters), 40, 1).build()
    assert len(tables["customers"]) == 40
    json.dumps(disclosed(facts), allow_nan=False)


def test_the_module_is_the_function_too():
    assert sys.modules["loyalty_research.simulate"]("none", customers=20, seed=1).kind == "simulated"


# the customers


def test_purchases_and_lifetimes_have_their_closed_forms():
    truth = PopulationTruth(engagement_stay=0.0)
    people = _population.draw_population(truth, 40_000, 5)
    world = _world.make_world(truth, _world.Effects(), 40_000, 5)
    np.testing.assert_array_equal(world.people.rate, people.rate)
    facts = _population.population_facts(truth)
    assert people.rate.mean() == pytest.approx(facts["mean_orders_per_day"], rel=0.02)
    assert np.median(people.gone - people.born) == pytest.approx(facts["median_lifetime_days"], rel=0.03)
    assert (truth.p / people.value_rate).mean() == pytest.approx(facts["mean_order_value"], rel=0.02)
    orders = world.play(world.never()).orders
    within = orders.moment < people.born[orders.customer] + 365
    repeat = np.bincount(orders.customer[within], minlength=people.size) - 1
    error = repeat.std() / np.sqrt(people.size)
    assert abs(repeat.mean() - facts["expected_orders_365"]) < 4 * error
    assert np.corrcoef(people.rate, people.hazard)[0, 1] == pytest.approx(0, abs=0.02)
    tied = _population.draw_population(PopulationTruth(), 40_000, 5)
    assert np.corrcoef(tied.engagement, np.log(tied.rate))[0, 1] > 0.6
    assert np.corrcoef(tied.engagement, np.log(tied.hazard))[0, 1] < -0.2


# the programme


def test_units_are_what_the_event_tables_say(shop, tables):
    built = summaries.units(shop, window_days=180, pre_days=90)
    ready = tables["units"].sort_values("unit_id", ignore_index=True)
    assert not built["was_member"].any()
    assert (ready["converted"] == (ready["orders"] > 0)).all()
    shared = [c for c in ready.columns if c in built.columns]
    assert len(shared) == 11
    pd.testing.assert_frame_equal(built[shared], ready[shared], rtol=1e-9, atol=1e-6)


def test_members_buy_until_they_leave_and_never_before_they_join(tables):
    spells = tables["memberships"]
    assert (spells["valid_from_date"] >= pd.Timestamp("2024-01-01")).all()
    ended = spells.dropna(subset="valid_to")
    assert 0.05 < len(ended) / len(spells) < 0.5
    lines = tables["transactions"].merge(spells, on="customer_id")
    assert (lines["valid_to"].isna() | (lines["transacted_at"] < lines["valid_to"])).all()
    ledger = tables["points_ledger"].sort_values(["customer_id", "entry_id"])
    assert (ledger.groupby("customer_id")["points"].cumsum() >= 0).all()
    earned = ledger[ledger["type"] == "earn"]
    bought = lines[lines["transacted_at"] >= lines["valid_from"]]
    assert earned["points"].sum() == np.floor(bought["amount"]).sum()
    assert set(earned["customer_id"]) <= set(spells["customer_id"])
    redeemed = ledger[ledger["type"] == "redeem"]
    assert len(redeemed) > 50
    assert (redeemed["points"] % 300 == 0).all()
    assert (redeemed["points"] < 0).all()


def test_everybody_who_redeems_does_so_with_points_of_earlier_orders(tables):
    ledger = tables["points_ledger"].sort_values(["customer_id", "entry_id"])
    balance = ledger.groupby("customer_id")["points"].cumsum()
    assert (balance[ledger["type"] == "redeem"] < 300).all()


@pytest.mark.parametrize("assign_by", ["customer", "store"])
def test_invitations_are_drawn_in_their_shares(assign_by):
    frame = points_tables(PointsTruth(assign_by=assign_by, invited_share=0.4), 4000, 2)[0]["assignments"]
    invited = frame["arm"] == "invited"
    assert (frame["assignment_probability"] == np.where(invited, 0.4, 0.6)).all()
    per_store = invited.groupby(frame["cluster_id"]).mean()
    counts = invited.groupby(frame["strata"]).agg(["sum", "size"])
    if assign_by == "store":
        assert per_store.isin([0, 1]).all()
        assert per_store.sum() == 16
        assert len(counts) == 4
    else:
        assert per_store.between(0.05, 0.9).all()
        assert len(counts) == 8
        assert (abs(counts["sum"] - 0.4 * counts["size"]) <= 1).all()


def test_the_randomised_estimates_find_the_truth_and_the_naive_gap_does_not():
    errors = {"itt": [], "itt_orders": [], "naive": []}
    wald = []
    for seed in range(25):
        tables, truth = points_tables(PointsTruth(), 1500, 1000 + seed)
        units = tables["units"]
        arms = units.groupby("arm")[["spend", "orders", "is_member"]].mean()
        gap = arms.loc["invited"] - arms.loc["control"]
        errors["itt"].append(gap["spend"] - truth["itt"])
        errors["itt_orders"].append(gap["orders"] - truth["itt_orders"])
        wald.append((gap["spend"], gap["is_member"], truth["itt"], truth["complier_share"]))
        naive = units.groupby("is_member")["spend"].mean().diff().iloc[-1]
        assert naive == pytest.approx(truth["naive_gap"], abs=0.01)
        errors["naive"].append(naive - truth["effect_per_member"])
    mean = {name: np.mean(values) for name, values in errors.items()}
    error = {name: np.std(values, ddof=1) / np.sqrt(25) for name, values in errors.items()}
    assert abs(mean["itt"]) < 4 * error["itt"]
    assert abs(mean["itt_orders"]) < 4 * error["itt_orders"]
    assert mean["naive"] > 200
    assert mean["naive"] > 20 * error["naive"]
    spend, share, itt, complier = np.sum(wald, axis=0)
    assert share == pytest.approx(complier, rel=0.03)
    assert spend / share == pytest.approx(itt / complier, abs=4 * error["itt"] * 25 / share)


def test_the_truth_fits_together(shop):
    truth = shop.truth
    assert truth["itt"] == pytest.approx(truth["effect_per_member"] * truth["complier_share"], rel=1e-9)
    assert truth["itt_orders"] == pytest.approx(truth["effect_per_member_orders"] * truth["complier_share"])
    assert truth["naive_gap"] == pytest.approx(truth["att"] + truth["selection"])
    assert truth["selection"] > 3 * truth["att"] > 0
    assert truth["member_share"] == pytest.approx(
        truth["always_taker_share"] + truth["complier_share"] / 2, abs=0.02
    )


def test_without_an_effect_there_is_none_but_members_still_buy_more():
    tables, truth = points_tables(PointsTruth(**NULL), 2000, 9)
    effects = ("itt", "effect_per_member", "att", "ate")
    assert [truth[f"{e}{o}"] for e in effects for o in ("", "_orders", "_converted")] == [0.0] * 12
    assert truth["naive_gap"] == truth["selection"] > 150
    alone = lr.simulate("none", customers=2000, seed=9).frame("transactions")
    columns = ["transaction_id", "customer_id", "amount", "store_id"]
    pd.testing.assert_frame_equal(alone[columns], tables["transactions"][columns], check_dtype=False)


@pytest.mark.parametrize("kind", MEMBERS)
def test_without_an_effect_all_kinds_have_the_same_orders(kind):
    alone = lr.simulate("none", customers=400, seed=9).frame("transactions")
    made = lr.simulate(kind, customers=400, seed=9, **NULL, **NO_MORE.get(kind, {}))
    orders = made.frame("transactions")
    columns = ["transaction_id", "customer_id", "transacted_at", "amount", "store_id"]
    orders = orders[orders["transacted_date"] < "2025-01-01"]
    pd.testing.assert_frame_equal(orders[columns], alone[columns], check_dtype=False)
    assert [made.truth[f"{e}_orders"] for e in ("itt", "att", "ate")] == [0.0] * 3


@pytest.mark.parametrize("kind", MEMBERS)
def test_the_draw_of_invitations_finds_the_truth_of_every_kind(kind):
    made = lr.simulate(kind, customers=5000, seed=21, join_invited=0.8, rate_effect=0.4, hazard_ratio=0.5)
    units = made.frame("units")
    groups = units.groupby("arm")
    for column, truth in (("spend", "itt"), ("orders", "itt_orders"), ("converted", "itt_converted")):
        gap = groups[column].mean()["invited"] - groups[column].mean()["control"]
        error = np.sqrt((groups[column].var() / groups.size()).sum())
        assert gap == pytest.approx(made.truth[truth], abs=4 * error)
    assert made.truth["itt_orders"] > 0
    assert made.truth["att_active"] > 0
    share = groups["is_member"].mean()
    assert share["invited"] - share["control"] == pytest.approx(made.truth["complier_share"], abs=0.04)


def test_rules_are_of_the_kind_and_stated_once():
    rules = Points(reward_points=50, points_per_unit=2)
    with pytest.raises(ArgumentError, match=r"'tiers' is simulated with mechanism\('tiers'"):
        lr.simulate("tiers", customers=100, seed=1, mechanism=rules)
    with pytest.raises(ArgumentError, match="reward_points is stated by the mechanism"):
        lr.simulate("points", customers=100, seed=1, mechanism=rules, reward_points=10)
    with pytest.raises(ArgumentError, match="state how many are given"):
        lr.simulate("stamp-card", customers=100, seed=1, mechanism=StampCard(stamps=8, expiry_days=70))
    card = StampCard(stamps=8, given=2, expiry_days=71)
    with pytest.raises(ArgumentError, match="whole weeks; got 71"):
        lr.simulate("stamp-card", customers=100, seed=1, mechanism=card)
    card = StampCard(stamps=8, given=2, expiry_days=70)
    with pytest.raises(ArgumentError, match="endowed_stamps is stated by the mechanism"):
        lr.simulate("stamp-card", customers=100, seed=1, mechanism=card, endowed_stamps=2)
    card = lr.simulate(
        "stamp-card", customers=50, seed=1, mechanism=StampCard(stamps=7, given=3, expiry_days=70)
    )
    figures = [card.truth[name] for name in ("required_visits", "endowed_stamps", "expiry_weeks")]
    assert figures == [4, 3, 10]
    none = lr.simulate("none", customers=50, seed=1, mechanism=NoProgramme())
    assert digest(none) == digest(lr.simulate("none", customers=50, seed=1))


def test_the_default_rules_of_points_are_the_parameters():
    rules = Points(reward_points=120, reward_value=5.0, expiry_days=90)
    given = lr.simulate("points", customers=300, seed=2, mechanism=rules)
    assert digest(given) == digest(
        lr.simulate("points", customers=300, seed=2, reward_points=120, expiry_days=90)
    )
    assert given.truth["mechanism"] == rules.sentence()


def test_without_selection_members_are_like_others_who_are_still_there():
    open_door = {"selection_engagement": 0.0, "selection_spend": 0.0, "early_joining": 0.0, "join_delay": 0.0}
    immortal = {"beta": 1e5, "rate_effect": 0.0, "spend_effect": 0.0, "hazard_ratio": 1.0}
    units = points_tables(PointsTruth(**open_door, **immortal), 20_000, 3)[0]["units"]
    groups = units.groupby("is_member")["spend"]
    gap, error = groups.mean().diff().iloc[-1], np.sqrt((groups.var() / groups.size()).sum())
    assert abs(gap) < 4 * error


@pytest.mark.parametrize("rate_effect", [0.4, -0.4])
def test_membership_changes_rates_values_and_dropout_by_what_it_says(rate_effect):
    truth = PointsTruth(rate_effect=rate_effect, spend_effect=0.25, hazard_ratio=0.5, beta=300.0)
    world = _world.make_world(truth, _world.Effects(rate_effect, 0.25, 0.5), 30_000, 4)
    people = world.people
    joined = np.where(people.gone > LAUNCH, LAUNCH + np.arange(people.size) % 60, np.inf).astype(float)
    joined[::3] = np.inf
    course = world.play(joined)
    stop = np.minimum(course.gone, HORIZON)
    since = np.clip(joined, None, stop)
    for member, begin, end, factor in ((True, since, stop, 1.0), (False, people.born, since, 0.0)):
        time = end - begin
        left = (course.gone < HORIZON) & ((joined < course.gone) == member)
        expected = people.hazard @ time * (1 - 0.5 * factor)
        assert left.sum() == pytest.approx(expected, abs=4 * np.sqrt(expected))
        mine = course.member if member else ~course.member
        first = course.orders.moment == people.born[course.orders.customer]
        orders = (mine & ~first).sum()
        expected = people.rate @ time * (1 + rate_effect * factor)
        assert orders == pytest.approx(expected, abs=5 * np.sqrt(expected))
        relative = course.orders.amount[mine] * people.value_rate[course.orders.customer[mine]] / truth.p
        assert relative.mean() == pytest.approx(
            1 + 0.25 * factor, abs=4 * relative.std() / np.sqrt(len(relative))
        )


def test_expected_future_orders_are_what_the_future_brings():
    truth = PointsTruth()
    world = _world.make_world(truth, _world.Effects(0.15, 0.05, 0.8), 20_000, 6)
    people, never = world.people, world.never()
    joined = np.where(people.engagement > 0, float(LAUNCH), np.inf)
    course = world.play(joined)
    shop = SimpleNamespace(people=people, world=world, course=course, joined=joined)
    facts = _scheme._future(shop, truth)
    rng = np.random.default_rng(1)
    hazard = people.hazard * np.where(joined < HORIZON, 0.8, 1.0)
    lives = np.minimum(rng.exponential(size=people.size) / hazard, 365) * (course.gone >= HORIZON)
    orders = rng.poisson(people.rate * np.where(joined < HORIZON, 1.15, 1.0) * lives)
    assert facts["future_orders_365"] == pytest.approx(
        orders.mean(), abs=4 * orders.std() / np.sqrt(people.size)
    )
    shop = SimpleNamespace(people=people, world=world, course=world.play(never), joined=never)
    assert facts["future_orders_365"] > _scheme._future(shop, truth)["future_orders_365"]
