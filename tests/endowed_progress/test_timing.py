import numpy as np
import pandas as pd
import pytest

from loyalty_research.endowed_progress import CardExperiment
from loyalty_research.endowed_progress.timing import (
    Spells,
    common_horizon,
    compare_times,
    restricted_mean_influence,
)
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.stats.survival import kaplan_meier, restricted_mean


def weeks_as_cards(case):
    """The oracle's weeks as cards of one stamp: completed, lost, or expired in week 39."""
    rows = []
    for arm, key in (("control", "control_weeks_event"), ("treated", "treated_weeks_event")):
        for k, (week, event) in enumerate(case["inputs"][key]):
            end = pd.Timestamp("2024-01-01") + pd.Timedelta(days=7 * week)
            ended = ["stamp", "completed"] if event else ["expired" if week == 39 else "lost"]
            rows += [(f"{arm}{k}", "2024-01-01", "issued", arm), *((f"{arm}{k}", end, e, arm) for e in ended)]
    frame = pd.DataFrame(rows, columns=["card_id", "occurred_date", "event", "arm"])
    frame["occurred_date"] = pd.to_datetime(frame["occurred_date"])
    return frame.assign(required_stamps=1, endowed_stamps=0)


def test_time_to_completion_to_the_oracle(oracle):
    case = oracle("card_expiry_km_rmst")
    want, near = case["expected"], {"abs": case["tolerance"], "rel": 0}
    result = CardExperiment(weeks_as_cards(case), as_of="2025-01-01", control="control").time_to_completion()
    assert result.tau == 7 * 39
    assert [s.value for s in result.shares] == pytest.approx(
        [want["completed_by_39_control"], want["completed_by_39_treated"]], **near
    )
    means = [m.value / 7 for m in result.means]
    assert means == pytest.approx([want["rmst_control"], want["rmst_treated"]], **near)
    z = 1.959963984540054
    errors = [(m.high - m.value) / z / 7 for m in result.means]
    assert errors == pytest.approx([want["se_control"], want["se_treated"]], **near)
    (d,) = result.differences
    assert (d.value / 7, d.low / 7, d.high / 7) == pytest.approx(
        (want["rmst_diff"], *want["rmst_diff_ci95"]), **near
    )
    from scipy import stats

    assert result.logrank_p == pytest.approx(stats.chi2.sf(want["logrank_chi2"], 1), abs=1e-6)
    assert "not told apart" in result.verdict()


def test_influence_is_the_derivative_of_the_restricted_mean():
    rng = np.random.default_rng(5)
    days = rng.integers(1, 40, 60).astype(float)
    event, tau = rng.random(60) < 0.6, 30.0
    influence = restricted_mean_influence(days, event, tau)
    assert influence.sum() == pytest.approx(0, abs=1e-10)
    step = 1e-6
    for i in (0, 11, 37, 59):
        moved = []
        for sign in (-1, 1):
            weights = np.ones(60)
            weights[i] += sign * step
            moved.append(restricted_mean(kaplan_meier(days, event, weights=weights), tau)[0])
        assert influence[i] == pytest.approx((moved[1] - moved[0]) / (2 * step), abs=1e-5)


def test_cards_alone_as_clusters_near_greenwood(simulated):
    events = simulated(8, per_arm=300, beta=1.0)
    plain = CardExperiment(events, as_of="2024-12-31", control="control").time_to_completion()
    robust = CardExperiment(
        events, as_of="2024-12-31", control="control", cluster="card_id"
    ).time_to_completion()
    assert robust.differences[0].value == pytest.approx(plain.differences[0].value)
    widths = [r.differences[0].high - r.differences[0].low for r in (plain, robust)]
    assert widths[1] == pytest.approx(widths[0], rel=0.02)
    assert robust.logrank_p is None


def test_staggered_issue_is_censored_at_the_end_of_the_data(simulated):
    events = simulated(9, stagger=200)
    result = CardExperiment(events, as_of="2024-09-01", control="control").time_to_completion(tau=40)
    reference = CardExperiment(events, as_of="2026-01-01", control="control").time_to_completion(tau=40)
    assert sum(m.n for m in result.means) == 300
    for early, late in zip(result.means, reference.means, strict=True):
        assert early.value == pytest.approx(late.value, abs=1.0)
    # most cards issued late leave before day 240
    young = CardExperiment(events, as_of="2024-09-01", control="control").time_to_completion()
    assert young.tau < 273
    at_risk = young.at_risk_frame([0, 100])
    assert at_risk.loc[at_risk["time"] == 0, "at_risk"].tolist() == [150, 150]
    issued = events[events["event"] == "issued"]
    followed = (pd.Timestamp("2024-09-01") - issued["occurred_date"]).dt.days >= 100
    assert at_risk.loc[at_risk["time"] == 100, "at_risk"].sum() <= followed.sum()


def test_first_gap_counts_from_the_day_after_issue(two_cards):
    extra = pd.DataFrame(
        [
            ("c", "2024-01-01", "issued", "plain", 2, 0),
            ("c", "2024-01-01", "stamp", "plain", 2, 0),
            ("c", "2024-01-11", "stamp", "plain", 2, 0),
            ("d", "2024-01-01", "issued", "given", 3, 1),
            ("d", "2024-03-01", "expired", "given", 3, 1),
        ],
        columns=["card_id", "occurred_date", "event", "arm", "required_stamps", "endowed_stamps"],
    )
    events = pd.concat([two_cards, extra], ignore_index=True)
    result = CardExperiment(events, as_of="2024-12-31", control="plain").first_gap(tau=20)
    # plain: back after 4 and 10 days; given: after 6 and not within 20
    assert result.means[0].value == pytest.approx((4 + 10) / 2)
    assert result.means[1].value == pytest.approx((6 + 20) / 2)
    assert "return" in result.verdict()


def test_first_gap_finds_the_faster_arm(simulated):
    events = simulated(11, shift=0.8, per_arm=400)
    result = CardExperiment(events, as_of="2024-12-31", control="control").first_gap(tau=60)
    assert "sooner" in result.verdict()
    completion = CardExperiment(events, as_of="2024-12-31", control="control").time_to_completion()
    assert "fewer days uncompleted" in completion.verdict()


def test_horizon_stays_within_what_is_known():
    spells = Spells(np.array([5.0, 9.0, 4.0, 7.0]), np.array([1, 0, 0, 1], bool), np.array([0, 0, 1, 1]))
    # arm 0 is known to day 9; arm 1 ends in an event at day 7, so its curve is known from there on
    assert common_horizon(spells, 2) == 9
    assert common_horizon(spells, 2, longest=6) == 6
    with pytest.raises(ArgumentError, match="up to 9 days"):
        compare_times(spells, arms=("a", "b"), what="completion", tau=10, longest=30, level=0.95)
    nothing = Spells(spells.days, np.zeros(4, bool), spells.arm_of)
    with pytest.raises(DesignError, match="no card saw its completion"):
        compare_times(nothing, arms=("a", "b"), what="completion", tau=None, longest=30, level=0.95)


def test_curves_are_drawn_with_the_cards_still_followed(simulated):
    result = CardExperiment(simulated(2), as_of="2024-12-31", control="control").time_to_completion()
    frame = result.curves_frame()
    assert (frame["low"] <= frame["estimate"]).all()
    assert (frame["estimate"] <= frame["high"]).all()
    assert frame.groupby("group")["estimate"].last().tolist() == pytest.approx(
        [s.value for s in result.shares]
    )
    words = [t.get_text() for t in result.plot().texts]
    assert "Cards still followed" in words
    assert "150" in words


@pytest.mark.slow
def test_restricted_mean_difference_covers(simulated):
    """Both arms alike but for chance: the truth is 0."""
    inside, clustered = [], []
    for seed in range(400):
        events = simulated(seed, beta=1.0, stagger=60, lost=0.05)
        x = CardExperiment(events, as_of="2024-10-15", control="control")
        # equal distance left in each arm needs equal progress, so the given stamps are ignored here
        d = x.first_gap(tau=100).differences[0]
        inside.append(d.low <= _first_gap_truth() <= d.high)
        day = simulated(seed, cluster_sd=0.7, per_arm=200)
        c = CardExperiment(day, as_of="2024-12-31", control="control", cluster="cluster_id")
        e = c.time_to_completion().differences[0]
        clustered.append(e.low <= 0 <= e.high)
    # Monte Carlo error of 400 trials is .011
    assert np.mean(inside) == pytest.approx(0.95, abs=0.033)
    assert np.mean(clustered) == pytest.approx(0.95, abs=0.033)


def _first_gap_truth():
    """Difference in mean days to the first visit up to day 100, weekly draws, days uniform in the week."""
    from scipy import special

    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    means = []
    for start in (0.0, 0.2):
        p = special.expit(-2.391 + 1.0 * start + nodes)
        survival = np.ones((101, len(nodes)))
        for day in range(1, 101):
            week, within = (day - 1) // 7, (day - 1) % 7 + 1
            survival[day] = (1 - p) ** week * (1 - p * within / 7)
        means.append(float(weights @ survival[:100].sum(axis=0)))
    return means[1] - means[0]
