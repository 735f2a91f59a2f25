import numpy as np
import pandas as pd
import pytest

from loyalty_research.simulate import _cards
from loyalty_research.simulate._card_truth import PRESETS, CardTruth, exact_card, preset
from loyalty_research.simulate._truth import read_truth


def cards(customers, seed, **given):
    return _cards.card_tables(read_truth(CardTruth, "stamp-card", preset(given)), customers, seed)


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
