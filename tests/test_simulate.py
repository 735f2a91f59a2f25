import hashlib
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research import summaries
from loyalty_research.errors import ArgumentError
from loyalty_research.simulate import KINDS, _cards, _points, _population
from loyalty_research.simulate._card_truth import PRESETS, CardTruth, exact_card, preset
from loyalty_research.simulate._points import PointsTruth, points_tables
from loyalty_research.simulate._population import HORIZON, LAUNCH, PopulationTruth
from loyalty_research.simulate._truth import read_truth


def digest(dataset):
    text = repr(sorted(dataset.truth.items()))
    for name in sorted(dataset.tables):
        text += name + dataset.frame(name).to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()


def cards(customers, seed, **given):
    return _cards.card_tables(read_truth(CardTruth, "stamp-card", preset(given)), customers, seed)


@pytest.fixture(scope="module")
def shop():
    return lr.simulate("points", customers=3000, seed=7)


@pytest.fixture(scope="module")
def tables(shop):
    return {name: shop.frame(name) for name in shop.tables}


# what every kind promises


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_bytes(kind):
    first = digest(lr.simulate(kind, customers=60, seed=3))
    assert digest(lr.simulate(kind, customers=60, seed=3)) == first
    assert digest(lr.simulate(kind, customers=60, seed=4)) != first


def test_bytes_do_not_depend_on_the_process():
    program = (
        "import hashlib; from loyalty_research.simulate._points import *; "
        "from loyalty_research.simulate._cards import *; from loyalty_research.simulate._card_truth import *; "
        "parts = [points_tables(PointsTruth(), 50, 1), card_tables(CardTruth(), 50, 1)]; "
        "text = ''.join(repr(f) + ''.join(k + t.to_csv() for k, t in ts.items()) for ts, f in parts); "
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    parts = [points_tables(PointsTruth(), 50, 1), _cards.card_tables(CardTruth(), 50, 1)]
    text = "".join(repr(f) + "".join(k + t.to_csv() for k, t in ts.items()) for ts, f in parts)
    assert other.stdout.strip() == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
def test_datasets_follow_the_contract_and_say_what_they_are(kind):
    made = lr.simulate(kind, customers=300, seed=1)
    assert made.check().to_frame().empty
    assert made.kind == "simulated"
    assert made.currency == "EUR"
    assert made.timezone == "Europe/Madrid"
    assert str(made.as_of) == "2024-12-31"
    assert made.truth


def test_unknown_kinds_and_parameters_list_the_known_ones():
    with pytest.raises(ArgumentError, match="'tiers' to simulate; there is points, none, stamp-card"):
        lr.simulate("tiers", customers=100, seed=1)
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


def test_the_module_is_the_function_too():
    assert sys.modules["loyalty_research.simulate"]("none", customers=20, seed=1).kind == "simulated"


# the customers


def test_purchases_and_lifetimes_have_their_closed_forms():
    truth = PopulationTruth(engagement_stay=0.0)
    people = _population.draw_population(truth, 40_000, 5)
    world = _points.make_world(truth, _points.Effects(), 40_000, 5)
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
    for seed in range(40):
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
    error = {name: np.std(values, ddof=1) / np.sqrt(40) for name, values in errors.items()}
    assert abs(mean["itt"]) < 4 * error["itt"]
    assert abs(mean["itt_orders"]) < 4 * error["itt_orders"]
    assert mean["naive"] > 200
    assert mean["naive"] > 20 * error["naive"]
    spend, share, itt, complier = np.sum(wald, axis=0)
    assert share == pytest.approx(complier, rel=0.03)
    assert spend / share == pytest.approx(itt / complier, abs=4 * error["itt"] * 40 / share)


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
    null = {"rate_effect": 0.0, "spend_effect": 0.0, "hazard_ratio": 1.0}
    tables, truth = points_tables(PointsTruth(**null), 2000, 9)
    effects = ("itt", "effect_per_member", "att", "ate")
    assert [truth[f"{e}{o}"] for e in effects for o in ("", "_orders", "_converted")] == [0.0] * 12
    assert truth["naive_gap"] == truth["selection"] > 150
    alone = lr.simulate("none", customers=2000, seed=9).frame("transactions")
    columns = ["transaction_id", "customer_id", "amount", "store_id"]
    pd.testing.assert_frame_equal(alone[columns], tables["transactions"][columns], check_dtype=False)


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
    world = _points.make_world(truth, _points.Effects(rate_effect, 0.25, 0.5), 30_000, 4)
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
    world = _points.make_world(truth, _points.Effects(0.15, 0.05, 0.8), 20_000, 6)
    people, never = world.people, world.never()
    joined = np.where(people.engagement > 0, float(LAUNCH), np.inf)
    course = world.play(joined)
    facts = _points._future(world, course, joined, truth)
    rng = np.random.default_rng(1)
    hazard = people.hazard * np.where(joined < HORIZON, 0.8, 1.0)
    lives = np.minimum(rng.exponential(size=people.size) / hazard, 365) * (course.gone >= HORIZON)
    orders = rng.poisson(people.rate * np.where(joined < HORIZON, 1.15, 1.0) * lives)
    assert facts["future_orders_365"] == pytest.approx(
        orders.mean(), abs=4 * orders.std() / np.sqrt(people.size)
    )
    assert facts["active_share"] > _points._future(world, world.play(never), never, truth)["active_share"]


# the cards


def test_exact_completion_and_hazards_are_the_published_ones(oracle):
    case = oracle("stamp_card_null_exact")
    for given in (0, 2):
        got = exact_card(CardTruth(scenario="null"), given)
        assert got["completion"] == pytest.approx(
            case["expected"]["completion"], abs=case["tolerance"]["completion"]
        )
        np.testing.assert_allclose(
            got["hazards"], case["expected"]["hazards"], atol=case["tolerance"]["hazards"], rtol=0
        )


def weeks_of(events):
    """Add the week since issue in which each event of a card fell, 1-based."""
    issue = events[events["event"] == "issued"].set_index("card_id")["occurred_at"]
    days = (events["occurred_at"].dt.normalize() - events["card_id"].map(issue).dt.normalize()).dt.days
    return events.assign(week=np.ceil(days / 7).astype(int))


@pytest.mark.parametrize(
    "given", [{"scenario": "null"}, {"scenario": "slope", "abandon": 0.03, "loss": 0.03}]
)
def test_simulated_cards_have_the_exact_hazards(given):
    tables, truth = cards(12_000, 5, cards=1, endowed_stamps=1, **given)
    events = weeks_of(tables["card_events"])
    events = events[events["arm"] == "control"]
    ends = events[events["event"].isin(["completed", "expired", "lost"])].set_index("card_id")
    # a lost card is gone before the visit of its week
    ends = ends["week"] - ends["event"].eq("lost")
    stamps = events[events["event"] == "stamp"]
    table = stamps.pivot_table(index="card_id", columns="event_no", values="week").reindex(ends.index)
    begun = pd.Series(0.0, index=ends.index)
    for stamp in range(1, 9):
        reached = table[stamp]
        weeks = (reached.fillna(ends) - begun).dropna()
        visited = reached.notna().reindex(weeks.index)
        share = visited.sum() / weeks.sum()
        # weeks of one card are alike, so the error is taken over cards
        error = np.sqrt(((visited - share * weeks) ** 2).sum()) / weeks.sum()
        assert share == pytest.approx(truth["hazards_control"][stamp - 1], abs=4 * error), stamp
        begun = reached


@pytest.mark.parametrize(
    "given",
    [
        {"scenario": "both", "abandon": 0.02, "loss": 0.01, "season": 0.5, "issue_weeks": 8},
        {"scenario": "slope", "required_visits": 5, "endowed_stamps": 3, "expiry_weeks": 20},
        {"scenario": "level", "cluster_sd": 0.7, "clusters": 3000, "sigma": 0.5},
        {"scenario": "null"},
        {"scenario": "null-season", "season": 3, "issue_weeks": 10, "expiry_weeks": 14, "required_visits": 3},
    ],
)
def test_simulated_completion_is_the_exact_one(given):
    tables, truth = cards(12_000, 8, cards=1, **given)
    events = tables["card_events"]
    for arm, frame in events.groupby("arm"):
        count = frame["event"].eq("issued").sum()
        share = frame["event"].eq("completed").sum() / count
        exact = truth[f"completion_{arm}"]
        assert share == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / count)), arm
    null = given["scenario"].startswith("null")
    assert (truth["completion_difference"] == 0) == null
    assert (truth["visits_difference"] == 0) == null
    assert truth["completion_difference_sample"] == pytest.approx(truth["completion_difference"], abs=0.015)


def test_simulated_days_and_visits_are_the_exact_ones():
    tables, truth = cards(12_000, 9, cards=1, scenario="both", abandon=0.01, season=0.4)
    events = tables["card_events"]
    issued = events[events["event"] == "issued"].set_index("card_id")
    visits = events[events["event"] == "stamp"].groupby("card_id").size().reindex(issued.index, fill_value=0)
    done = events[events["event"] == "completed"].set_index("card_id")["occurred_at"]
    days = (done.dt.normalize() - issued["occurred_at"].dt.normalize()).dt.days.reindex(issued.index)
    days = days.fillna(7 * truth["expiry_weeks"])
    gaps = {}
    for arm, rows in issued.groupby("arm"):
        for values, exact in ((days, truth[f"mean_days_{arm}"]), (visits, None)):
            mine = values[rows.index]
            error = mine.std() / np.sqrt(len(mine))
            gaps[arm, exact is None] = (mine.mean(), error)
            assert exact is None or mine.mean() == pytest.approx(exact, abs=4 * error), arm
    error = np.hypot(gaps["endowed", True][1], gaps["control", True][1])
    assert gaps["endowed", True][0] - gaps["control", True][0] == pytest.approx(
        truth["card_visits_difference"], abs=4 * error
    )
    lost = cards(50, 1, cards=1, scenario="both", abandon=0.01, season=0.4, loss=0.05)[1]
    assert lost["mean_days_difference"] == truth["mean_days_difference"]
    assert lost["completion_difference"] < truth["completion_difference"]


def test_chosen_cards_differ_without_an_effect():
    tables, truth = cards(12_000, 2, scenario="self-selection", cards=1)
    events = tables["card_events"]
    share = events.groupby("arm")["event"].agg(lambda e: e.eq("completed").sum() / e.eq("issued").sum())
    gap = share["endowed"] - share["control"]
    assert gap == pytest.approx(truth["naive_completion_difference"], abs=4 * np.sqrt(2 * 0.15 / 6000))
    assert truth["naive_completion_difference"] > 0.2
    assert truth["completion_difference"] == 0


def test_cards_keep_their_rules():
    tables, truth = cards(1500, 4, abandon=0.01, loss=0.01, required_visits=4, expiry_weeks=30, cards=3)
    events = tables["card_events"].sort_values(["card_id", "event_no"])
    assert not events.duplicated(["card_id", "event_no"]).any()
    by_card = events.groupby("card_id")
    assert by_card["event"].first().eq("issued").all()
    assert (by_card["occurred_at"].diff().dropna() >= pd.Timedelta(0)).all()
    counts = pd.crosstab(events["card_id"], events["event"])
    assert set(counts.columns) == {"issued", "stamp", "completed", "redeemed", "expired", "lost"}
    assert (counts["issued"] == 1).all()
    assert (counts[["completed", "expired", "lost"]].sum(axis=1) <= 1).all()
    assert ((counts["completed"] == 1) == (counts["stamp"] == 4)).all()
    assert (counts["redeemed"] <= counts["completed"]).all()
    assert counts["redeemed"].sum() / counts["completed"].sum() == pytest.approx(0.95, abs=0.03)
    later = events["cycle"] > 1
    assert (events.loc[later, "endowed_stamps"] == 0).all()
    assert (events["required_stamps"] - events["endowed_stamps"] == 4).all()
    assert events["cycle"].max() == 3
    weeks = weeks_of(events)
    # weeks are the customer's own, so a later card, issued within one, may last up to 6 days longer
    assert weeks[~later]["week"].max() == 30
    assert weeks[later]["week"].max() == 31
    assert (events.groupby("customer_id")["arm"].unique().map(len) == 1).all()
    issued, completed = (
        events[events["event"] == e].pivot_table(index="customer_id", columns="cycle", values="occurred_at")
        for e in ("issued", "completed")
    )
    wait = (issued[2] - completed[1]).dropna()
    assert len(wait) > 100
    assert (wait == pd.Timedelta(minutes=1)).all()
    assert truth["horizon_weeks"] == 30


def test_cards_can_be_given_out_by_cluster():
    frame = cards(2000, 3, assign_by="cluster", clusters=10)[0]["card_events"]
    arms = frame.groupby("cluster_id")["arm"].unique()
    assert (arms.map(len) == 1).all()
    assert sum(a[0] == "endowed" for a in arms) == 5


def test_later_cards_come_without_stamps_and_their_effect():
    tables, _ = cards(6000, 1, scenario="level", sigma=0, alpha=-1, level=1.5, cards=2, required_visits=4)
    events = weeks_of(tables["card_events"])
    ends = events[events["event"].isin(["completed", "expired"])].groupby(["arm", "cycle"])["week"].sum()
    rate = events[events["event"] == "stamp"].groupby(["arm", "cycle"]).size() / ends
    plain, endowed = 1 / (1 + np.exp(1)), 1 / (1 + np.exp(-0.5))
    # later cards are issued within a week and the count of their weeks is rounded up
    assert rate["control", 1] == pytest.approx(plain, abs=0.01)
    assert rate["endowed", 1] == pytest.approx(endowed, abs=0.01)
    assert rate["endowed", 2] == pytest.approx(rate["control", 2], abs=0.01)
    assert rate["endowed", 2] == pytest.approx(plain, abs=0.02)


def test_a_reset_and_the_empty_card_slow_visits_after_a_reward():
    rate = {}
    for reset in (0.0, -1.0):
        events = weeks_of(cards(4000, 6, scenario="slope", reset=reset, cards=2)[0]["card_events"])
        ends = events[events["event"].isin(["completed", "expired"])]
        rate[reset] = (
            events[events["event"] == "stamp"].groupby("cycle").size() / ends.groupby("cycle")["week"].sum()
        )
    assert rate[-1.0][1] == rate[0.0][1]
    assert rate[-1.0][2] < 0.8 * rate[0.0][2]


def test_scenarios_set_what_is_not_given():
    assert preset({"scenario": "slope", "slope": 1.0}) == {"scenario": "slope", "alpha": -3.132, "slope": 1.0}
    assert preset({}) == PRESETS["both"]
    tables, truth = cards(100, 1)
    assert truth["scenario"] == "both"
    assert truth["level"] > 0
    assert truth["slope"] > 0
    assert list(tables) == ["customers", "card_events"]
