import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.endowed_progress import CardExperiment
from loyalty_research.endowed_progress.cards import read_cards
from loyalty_research.endowed_progress.gradient import gap_slope
from loyalty_research.endowed_progress.periods import card_periods
from loyalty_research.errors import ArgumentError, DesignError


def experiment(events, **options):
    return CardExperiment(events, **{"as_of": "2024-12-31", "control": "control", **options})


def spans(days, *, required=3, end=None, how="expired", as_of="2024-12-31"):
    """Periods of one card with stamps on these days after issue, as (stamps, trials, visits)."""
    start = pd.Timestamp("2024-01-01")
    rows = [(start, "issued"), *((start + pd.Timedelta(days=d), "stamp") for d in days)]
    rows += [(start + pd.Timedelta(days=end), how)] if end else []
    card = pd.DataFrame(rows, columns=["occurred_date", "event"]).assign(
        card_id="x", arm="control", required_stamps=required, endowed_stamps=0
    )
    other = card[card["event"] != how].assign(card_id="y", arm="endowed")
    cards = read_cards(pd.concat([card, other], ignore_index=True), as_of=as_of, control="control")
    periods = card_periods(cards)
    mine = periods.card == 0
    rows = zip(
        periods.cells["stamps"].to_numpy()[periods.cell[mine]],
        periods.trials[mine],
        periods.visits[mine],
        strict=True,
    )
    return sorted((int(a), int(b), int(c)) for a, b, c in rows)


def test_periods_by_hand():
    # weeks 1-7, 8-14, 15-21 after issue; visits in the first, third and fourth week; then full
    assert spans([3, 20, 22]) == [(0, 1, 1), (1, 2, 1), (2, 1, 1)]
    # one visit in the second week, expired after six whole weeks and a bit
    assert spans([10], end=45) == [(0, 2, 1), (1, 4, 0)]
    # two stamps in one week are one visit, and count as two afterwards
    assert spans([8, 9], end=28) == [(0, 2, 1), (2, 2, 0)]
    # stamps of the day of issue are held at the start
    assert spans([0, 12], end=21) == [(1, 2, 1), (2, 1, 0)]
    # never seen again; lost in the third week
    assert spans([0], end=17, how="lost") == [(1, 2, 0)]


def test_a_last_incomplete_week_is_cut_whether_or_not_it_held_the_visit():
    assert spans([3, 10], as_of="2024-01-18") == [(0, 1, 1), (1, 1, 1)]
    assert spans([3, 16], as_of="2024-01-18") == [(0, 1, 1), (1, 1, 0)]
    # also when that visit filled the card
    assert spans([3, 16], required=2, as_of="2024-01-18") == [(0, 1, 1), (1, 1, 0)]


def test_pooled_hazard_rises_without_any_gradient(simulated, oracle):
    want = oracle("null_goal_gradient_selection_artifact")
    frame = experiment(simulated(30, per_arm=20_000)).hazard_by_stamps().hazard
    both = frame.groupby("stamps")[["periods", "visits"]].sum()
    rates = (both["visits"] / both["periods"]).tolist()
    assert rates == pytest.approx(
        want["expected"]["marginal_hazard_by_stamps"], abs=want["tolerance"]["marginal_hazard_by_stamps"]
    )


def test_within_cards_there_is_none(simulated):
    result = experiment(simulated(31, per_arm=4000)).goal_gradient(arm_level=False)
    error = (result.slope.high - result.slope.low) / 3.92
    assert abs(result.slope.value) < 3.5 * error
    assert result.pooled.value == pytest.approx(1.716, abs=0.15)
    assert abs(result.gaps.value) < 3.5 * (result.gaps.high - result.gaps.low) / 3.92
    assert result.sigma == pytest.approx(1.0, abs=0.08)
    naive = result.naive[result.naive["arm"] == "control"]["estimate"].to_numpy()
    assert naive[-1] > 2.5 * naive[0]


def test_level_and_slope_are_told_apart(simulated):
    level = experiment(simulated(32, shift=0.5, per_arm=3000)).goal_gradient()
    assert level.arm_shifts[0].value == pytest.approx(0.5, abs=0.13)
    assert level.slope.value == pytest.approx(0, abs=0.2)
    both = experiment(simulated(33, alpha=-3.132, beta=2.0, shift=0.5, per_arm=3000)).goal_gradient()
    assert both.arm_shifts[0].value == pytest.approx(0.5, abs=0.13)
    assert both.slope.value == pytest.approx(2.0, abs=0.2)
    assert both.gaps.high < 0


def test_verdicts_follow_the_slope_within_cards(simulated):
    found = experiment(simulated(34, alpha=-3.132, beta=2.0)).goal_gradient()
    assert "consistent with a goal gradient" in found.verdict()
    none = experiment(simulated(40)).goal_gradient()
    assert "No goal gradient is established" in none.verdict()
    slower = experiment(simulated(36, alpha=-1.5, beta=-3.0)).goal_gradient()
    assert "slower" in slower.verdict()
    assert "no evidence of a goal gradient" in experiment(simulated(36)).hazard_by_stamps().verdict()


def test_slope_per_stamp_is_the_slope_per_share_over_the_stamps(simulated):
    events = simulated(37, per_arm=400, beta=1.0)
    ten = events.assign(required_stamps=8, endowed_stamps=0)  # cards of one size: shares are eighths
    share = experiment(ten).goal_gradient(progress="share")
    stamps = experiment(ten).goal_gradient(progress="stamps")
    assert stamps.slope.value == pytest.approx(share.slope.value / 8, rel=1e-4)
    assert stamps.log_likelihood == pytest.approx(share.log_likelihood, abs=1e-6)
    assert stamps.gaps.value == pytest.approx(share.gaps.value / 8)


def test_corrected_curve_is_the_model_at_an_average_card(simulated):
    result = experiment(simulated(38, beta=1.0)).goal_gradient(link="cloglog")
    frame = result.corrected
    assert (frame["low"] < frame["estimate"]).all()
    assert (frame["estimate"] < frame["high"]).all()
    rows = frame[frame["arm"] == "control"].set_index("stamps")["estimate"]
    log_hazard = np.log(-np.log1p(-rows))
    assert np.diff(log_hazard) == pytest.approx(result.slope.value / 8, rel=1e-6)


def test_gap_slope_equals_a_regression_with_card_dummies(simulated):
    import statsmodels.api as sm

    cards = read_cards(simulated(39, beta=2.0, alpha=-2.5), as_of="2024-12-31", control="control")
    got = gap_slope(cards, progress="share", level=0.95)
    table = cards.table
    x, y, owner = [], [], []
    for card in table.index[table["completed"] <= cards.as_of]:
        days = cards.stamp_day[cards.stamp_card == card]
        y += np.log(np.diff(days)).tolist()
        share = (np.arange(1, len(days)) + table["endowed"][card]) / table["required"][card]
        x += share.tolist()
        owner += [card] * (len(days) - 1)
    dummies = pd.get_dummies(owner).to_numpy(dtype=float)
    fit = sm.OLS(y, np.column_stack([x, dummies])).fit()
    assert got.value == pytest.approx(fit.params[0], rel=1e-9)
    assert got.n == dummies.shape[1]


def test_few_completed_cards_have_no_gap_slope(simulated):
    cards = read_cards(simulated(1, alpha=-5, per_arm=60), as_of="2024-12-31", control="control")
    assert gap_slope(cards, progress="share", level=0.95) is None


def test_options_and_data_are_checked(simulated):
    events = simulated(1, per_arm=60)
    x = experiment(events)
    with pytest.raises(ArgumentError, match="share, stamps"):
        x.goal_gradient(progress="time")
    with pytest.raises(ArgumentError, match="logit, cloglog"):
        x.goal_gradient(link="probit")
    with pytest.raises(ArgumentError, match="period"):
        x.goal_gradient(period=0)
    with pytest.raises(DesignError, match="no stamp events"):
        experiment(events[events["event"] != "stamp"]).goal_gradient()
    with pytest.raises(DesignError, match="whole period"):
        experiment(events, as_of="2024-01-03").hazard_by_stamps()
    one = events.assign(required_stamps=1, endowed_stamps=0)
    one = one[~one.duplicated(["card_id", "event"]) & (one["event"] != "completed")]
    with pytest.raises(DesignError, match="does not vary within arms"):
        experiment(one).goal_gradient()


@pytest.mark.parametrize("season", ["harmonic", "month", "week"])
def test_season_looks_like_a_gradient_until_it_is_in_the_model(season):
    dataset = lr.simulate("stamp-card", customers=1000, seed=4, scenario="null-season", cards=1)
    x = CardExperiment.from_dataset(dataset, control="control")
    result = x.goal_gradient(season=season)
    error = (result.slope.high - result.slope.low) / 3.92
    assert abs(result.slope.value) < 3 * error
    # with first cards of the spring, the summer's slack looks like slowing down
    assert result.without_calendar.high < -0.5
    assert result.without_calendar == x.goal_gradient().slope
    assert result.pooled.low > 1
    assert result.log_likelihood > x.goal_gradient().log_likelihood + 50
    if season == "harmonic":
        wave = np.hypot(*(e.value for _, e in result.calendar))
        assert wave == pytest.approx(0.8, abs=0.12)
    names = [c.status for c in result.checks if c.name == "pace follows the calendar"]
    assert names == ["passed"]
    plain = [c.status for c in x.goal_gradient().checks if c.name == "pace follows the calendar"]
    assert plain == ["not measurable"]


def daily_cards(seed, pattern, *, cards=500, days=84, alpha=-2.0):
    """Cards of six stamps visited by the day with log odds by weekday; a closed day is -inf."""
    rng = np.random.default_rng(seed)
    issued = rng.integers(0, 28, cards)
    u, earned = rng.normal(0, 0.8, cards), np.zeros(cards, dtype=int)
    rows = [pd.DataFrame({"card_id": np.arange(cards), "day": issued, "event": "issued"})]
    for day in range(days):
        odds = alpha + u + np.asarray(pattern)[day % 7]  # 2024-01-01 is a Monday
        visit = (rng.random(cards) < 1 / (1 + np.exp(-odds))) & (earned < 6) & (day > issued)
        earned = earned + visit
        rows.append(pd.DataFrame({"card_id": np.flatnonzero(visit), "day": day, "event": "stamp"}))
    events = pd.concat(rows, ignore_index=True)
    events["occurred_date"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(events["day"], unit="D")
    return events.assign(
        arm=np.where(events["card_id"] % 2 == 0, "control", "endowed"), required_stamps=6, endowed_stamps=0
    )


def test_weekdays_are_found_and_closed_days_left_out():
    pattern = [0.0, 0.2, -0.3, 0.0, 0.6, 1.0, -np.inf]
    events = daily_cards(2, pattern)
    x = CardExperiment(events, as_of="2024-03-24", control="control")
    result = x.goal_gradient(period=1, weekday=True, arm_level=False)
    assert [name for name, _ in result.calendar] == ["Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
    for (_, estimate), truth in zip(result.calendar, pattern[1:6], strict=True):
        assert abs(estimate.value - truth) < 3.5 * (estimate.high - estimate.low) / 3.92
    assert abs(result.slope.value) < 3.5 * (result.slope.high - result.slope.low) / 3.92
    details = [c.detail for c in result.checks if c.name == "pace follows the calendar"]
    assert "left out" in details[0]
    with pytest.raises(ArgumentError, match="period=1"):
        x.goal_gradient(weekday=True)
    with pytest.raises(ArgumentError, match="harmonic, month or week"):
        x.goal_gradient(season="year")


def test_clusters_widen_the_level_of_an_arm_drawn_by_cluster():
    given = {"scenario": "level", "assign_by": "cluster", "clusters": 20, "cluster_sd": 0.8, "cards": 2}
    dataset = lr.simulate("stamp-card", customers=600, seed=5, **given)
    plain = CardExperiment.from_dataset(dataset, control="control")
    robust = CardExperiment.from_dataset(dataset, control="control", cluster="cluster_id")
    one, two = plain.goal_gradient(), robust.goal_gradient()
    assert two.arm_shifts[0].value == one.arm_shifts[0].value
    widths = [r.arm_shifts[0].high - r.arm_shifts[0].low for r in (one, two)]
    assert widths[1] > 1.4 * widths[0]
    assert "20 clusters" in two.slope.method
    resets = [x.post_reward_reset() for x in (plain, robust)]
    assert resets[0].later.value == resets[1].later.value
    assert "20 clusters" in resets[1].later.method


def test_pictures_leave_out_what_few_cards_reached(simulated):
    result = experiment(simulated(3, alpha=-3.9, per_arm=60)).goal_gradient()
    shown = result.naive[result.naive["cards"] >= 5]
    assert len(shown) < len(result.naive)
    lines = [line for line in result.plot().get_lines() if "pooled" in str(line.get_label())]
    assert sum(len(line.get_xdata()) for line in lines) == len(shown)
