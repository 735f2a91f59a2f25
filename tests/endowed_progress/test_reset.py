import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.endowed_progress import CardExperiment
from loyalty_research.endowed_progress.cards import read_cards
from loyalty_research.endowed_progress.periods import card_periods
from loyalty_research.endowed_progress.reset import reward_gap
from loyalty_research.errors import DesignError


def experiment(customers, seed, **truth):
    dataset = lr.simulate("stamp-card", customers=customers, seed=seed, **truth)
    return CardExperiment.from_dataset(dataset, control="control")


def away(estimate, truth):
    """How many standard errors an estimate lies from the truth."""
    return (estimate.value - truth) / ((estimate.high - estimate.low) / 3.919927969)


def two_cards_in_a_row(second_days, *, issued=10, first_days=(3, 10)):
    """Events of one holder of a first card of two stamps and a second one, and of another arm's holder."""
    start = pd.Timestamp("2024-01-01")
    rows = [("a1", d, e, 1) for d, e in [(0, "issued"), *((d, "stamp") for d in first_days)]]
    rows += [("a2", issued, "issued", 2), *(("a2", d, "stamp", 2) for d in second_days)]
    frame = pd.DataFrame(rows, columns=["card_id", "day", "event", "cycle"]).assign(
        customer_id="a", arm="control"
    )
    other = pd.DataFrame([("b1", 0, "issued", 1)], columns=["card_id", "day", "event", "cycle"]).assign(
        customer_id="b", arm="endowed"
    )
    both = pd.concat([frame, other], ignore_index=True)
    both["occurred_date"] = start + pd.to_timedelta(both.pop("day"), unit="D")
    return both.assign(required_stamps=2, endowed_stamps=0)


def test_later_cards_follow_the_weeks_of_the_first():
    events = two_cards_in_a_row(
        [
            13,
            20,
        ],
        issued=10,
    )
    cards = read_cards(events, as_of="2024-02-06", control="control")
    periods = card_periods(cards, later=True)
    mine = periods.card == cards.table["customer"][0]
    rows = periods.cells.iloc[periods.cell[mine]].assign(
        trials=periods.trials[mine], visits=periods.visits[mine]
    )
    found = sorted(map(tuple, rows[["later", "stamps", "trials", "visits"]].to_numpy().tolist()))
    # weeks are days 1-7, 8-14, 15-21, ...: the first card fills in the second week; the next one is
    # issued in it, holds the stamp of day 13 when it starts in the third week, and fills there
    assert found == [(0, 0, 1, 1), (0, 1, 1, 1), (1, 1, 1, 1)]
    # without another visit the weeks after the reward count as visitless
    quiet = read_cards(two_cards_in_a_row([]), as_of="2024-02-06", control="control")
    periods = card_periods(quiet, later=True)
    empty = (periods.cells["later"].to_numpy()[periods.cell] == 1) & (periods.visits == 0)
    assert periods.trials[empty].tolist() == [3]


def test_a_card_that_replaces_a_lost_one_is_no_card_after_a_reward():
    events = two_cards_in_a_row([20], issued=15, first_days=(3,))
    lost = events.iloc[:1].assign(event="lost", occurred_date=pd.Timestamp("2024-01-13"))
    x = CardExperiment(pd.concat([events, lost], ignore_index=True), as_of="2024-02-06", control="control")
    with pytest.raises(DesignError, match="after a reward"):
        x.post_reward_reset()


def test_calendar_bins_add_up_to_the_plain_periods(simulated):
    cards = read_cards(simulated(3, stagger=50), as_of="2024-09-30", control="control")
    plain = card_periods(cards)
    for season in ("month", "week", "harmonic"):
        split = card_periods(cards, season=season)
        for name in ("trials", "visits"):
            totals = [
                pd.Series(getattr(p, name)).groupby([p.card, p.cells["stamps"].to_numpy()[p.cell]]).sum()
                for p in (plain, split)
            ]
            pd.testing.assert_series_equal(*totals)
    # the first week after an issue on 1 January 2024 has its middle on the 5th
    one = card_periods(read_cards(simulated(3), as_of="2024-09-30", control="control"), season="month")
    months = one.cells["season"].to_numpy()[one.cell]
    january = one.trials[months == np.datetime64("2024-01", "M").astype(int)].sum()
    assert january == 4 * 300


def test_a_reset_is_told_from_the_way_back_to_an_empty_card():
    result = experiment(1500, 11, scenario="both", reset=-0.6).post_reward_reset()
    for estimate, truth in (
        (result.later, -0.6),
        (result.slope, 2.0),
        (result.jump, -0.6 - 2.0 * 7 / 8),
        (result.arm_shifts[0], 0.4),
    ):
        assert abs(away(estimate, truth)) < 3.5
    assert result.sigma == pytest.approx(1.0, abs=0.08)
    assert result.gap.low > 0
    assert "slows down" in result.verdict()
    assert "remains at equal progress" in result.verdict()
    # the chances are those of an average customer in the simulator
    logit = [np.log(e.value / (1 - e.value)) for e in (result.before, result.after)]
    assert logit == pytest.approx([-3.132 + 2 * 7 / 8, -3.132 - 0.6], abs=0.15)
    assert result.cards["cards"].is_monotonic_decreasing


def test_nothing_is_found_where_nothing_happens():
    result = experiment(1500, 12, scenario="null").post_reward_reset()
    for estimate in (result.later, result.slope, result.jump, result.gap):
        assert abs(away(estimate, 0)) < 3.5
    assert "No change of pace" in result.verdict()
    assert {c.name: c.status for c in result.checks}["arms alike on later cards"] == "passed"


def test_season_looks_like_a_reset_until_it_is_in_the_model():
    x = experiment(1200, 13, scenario="null-season", cards=3)
    naive, seasonal = x.post_reward_reset(), x.post_reward_reset(season="harmonic")
    assert naive.later.high < -0.2
    assert abs(away(seasonal.later, 0)) < 3.5
    assert abs(away(seasonal.slope, 0)) < 3.5
    amplitude = np.hypot(*(e.value for _, e in seasonal.calendar))
    assert amplitude == pytest.approx(0.8, abs=0.1)


def test_both_links_agree_on_direction_and_rare_visits():
    x = experiment(800, 14, scenario="slope", reset=-0.5)
    logit, cloglog = x.post_reward_reset(), x.post_reward_reset(link="cloglog")
    assert cloglog.jump.value == pytest.approx(logit.jump.value, rel=0.2)
    assert cloglog.before.value == pytest.approx(logit.before.value, abs=0.03)


def test_the_paired_gap_is_a_paired_t_test():
    from scipy import stats

    dataset = lr.simulate("stamp-card", customers=500, seed=3, scenario="slope")
    events = dataset.frame("card_events")
    cards = read_cards(events, as_of=dataset.as_of, control="control")
    got = reward_gap(cards, level=0.95)
    stamps = events[events["event"] == "stamp"].sort_values(["card_id", "occurred_date", "event_no"])
    days = {c: d.tolist() for c, d in stamps.groupby("card_id")["occurred_date"]}
    done = set(events.loc[events["event"] == "completed", "card_id"])
    pairs = [
        ((days[f"{c}-02"][0] - days[f"{c}-01"][-1]).days, (days[f"{c}-01"][-1] - days[f"{c}-01"][-2]).days)
        for c in sorted({c[:-3] for c in done})
        if f"{c}-01" in done and f"{c}-02" in done
    ]
    after, before = np.log(np.maximum(np.array(pairs, dtype=float).T, 0.5))
    want = stats.ttest_rel(after, before)
    assert got.n == len(pairs)
    assert got.value == pytest.approx((after - before).mean())
    assert got.p_value == pytest.approx(want.pvalue)
    interval = want.confidence_interval(0.95)
    assert (got.low, got.high) == pytest.approx((interval.low, interval.high))


def test_one_card_each_has_no_reward_to_look_back_on(simulated):
    x = CardExperiment(simulated(1, per_arm=60), as_of="2024-12-31", control="control")
    with pytest.raises(DesignError, match="no customer was issued a card after a reward"):
        x.post_reward_reset()
    assert "Not available" in x.attempt("post_reward_reset").verdict()
    counts = CardExperiment.from_counts({"a": (5, 40), "b": (9, 40)}, control="a")
    with pytest.raises(DesignError, match="needs card events"):
        counts.post_reward_reset()


def test_the_picture_has_a_line_for_first_and_next_cards():
    result = experiment(300, 2, scenario="slope", required_visits=4).post_reward_reset()
    labels = [t.get_text() for t in result.plot().get_legend().get_texts()]
    assert labels == ["first card", "next cards"]
    assert result.to_frame()["estimate"].notna().all()
