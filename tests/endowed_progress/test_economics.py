import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.endowed_progress import CardExperiment
from loyalty_research.endowed_progress.economics import cost, decide
from loyalty_research.endowed_progress.visits import count_visits
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.simulate import simulate

ARMS = ("plain", "given")


def visits(seed=3, n=120):
    rng = np.random.default_rng(seed)
    arm_of = np.repeat([0, 1], n)
    return rng.poisson(rng.gamma(1.5, 2, 2 * n) * (1 + 0.4 * arm_of)).astype(float), arm_of


def counted(values, arm_of, cluster=None):
    return count_visits(values, arm_of, arms=ARMS, cluster=cluster, horizon="so far", level=0.95)


def economics(values, rewards, arm_of, margin=4.0, reward_cost=9.0):
    return cost(
        values, rewards, arm_of, arms=ARMS, cluster=None, margin=margin, reward_cost=reward_cost,
        currency="USD", horizon="so far", level=0.95,
    )  # fmt: skip


def test_net_is_margin_less_rewards():
    values, arm_of = visits()
    rewards = (values >= 8).astype(float)
    result = economics(values, rewards, arm_of)
    net = 4 * values - 9 * rewards
    want = counted(net, arm_of).differences[0]
    got = result.net[0]
    assert (got.value, got.low, got.high) == pytest.approx((want.value, want.low, want.high))


def test_break_even_limits_are_where_the_net_stops_being_told_from_nothing():
    values, arm_of = visits(n=2000)
    rewards = (values >= 6).astype(float)
    even = economics(values, rewards, arm_of).break_even[0]
    assert even.low < even.value < even.high
    at_value = economics(values, rewards, arm_of, margin=even.value).net[0]
    assert at_value.value == pytest.approx(0, abs=1e-9)
    # Fieller: at the upper limit the net's lower limit touches nothing, and conversely
    assert economics(values, rewards, arm_of, margin=even.high).net[0].low == pytest.approx(0, abs=1e-9)
    assert economics(values, rewards, arm_of, margin=even.low).net[0].high == pytest.approx(0, abs=1e-9)


def test_break_even_is_not_bounded_without_extra_visits():
    values, arm_of = visits(n=20)
    even = economics(values, values * 0.1, 1 - arm_of).break_even[0]
    assert np.isnan([even.value, even.low]).any()


def test_verdicts_of_the_economics():
    values, arm_of = visits(n=2000)
    rewards = (values >= 6).astype(float)
    assert "earns +" in economics(values, rewards, arm_of, margin=20).verdict()
    assert "loses" in economics(values, rewards, arm_of, margin=0).verdict()
    even = economics(values, rewards, arm_of).break_even[0].value
    assert "not known whether it pays" in economics(values, rewards, arm_of, margin=even).verdict()


def test_prices_are_checked(simulated):
    x = CardExperiment(simulated(1, per_arm=30), as_of="2024-12-31", control="control")
    with pytest.raises(ArgumentError, match="reward_cost"):
        x.economics(margin=2, reward_cost=-1)
    for bad in (float("nan"), "4", None):
        with pytest.raises(ArgumentError, match="margin"):
            x.economics(margin=bad, reward_cost=1)
    with pytest.raises(ArgumentError, match="card_cost of endowed"):
        x.economics(margin=1, reward_cost=1, card_cost={"control": 0, "endowed": -1})
    with pytest.raises(ArgumentError, match="names the arms control, endowed"):
        x.economics(margin=1, reward_cost=1, card_cost={"control": 0})


def test_break_even_uplift_is_the_visits_that_pay_for_the_rewards():
    values, arm_of = visits(n=500)
    rewards = (values >= 6).astype(float)
    result = economics(values, rewards, arm_of)
    even, extra, net = result.break_even_uplift[0], result.extra_visits[0], result.net[0]
    assert net.value == pytest.approx(4 * (extra.value - even.value))
    assert even.value == pytest.approx(9 / 4 * result.extra_rewards[0].value)
    assert even.low == pytest.approx(9 / 4 * result.extra_rewards[0].low)
    assert math.isnan(economics(values, rewards, arm_of, margin=0).break_even_uplift[0].value)


def test_dearer_cards_of_one_arm_lower_its_net_and_raise_its_break_even(simulated):
    x = CardExperiment(simulated(2, per_arm=60), as_of="2024-12-31", control="control")
    free = x.economics(margin=4, reward_cost=8)
    dear = x.economics(margin=4, reward_cost=8, card_cost={"control": 0.1, "endowed": 0.5})
    assert dear.net[0].value == pytest.approx(free.net[0].value - 0.4)
    assert dear.break_even_uplift[0].value == pytest.approx(free.break_even_uplift[0].value + 0.1)
    assert dear.decision.net_values[0].value == pytest.approx(free.decision.net_values[0].value - 0.1)
    same = x.economics(margin=4, reward_cost=8, card_cost=0.5)
    assert same.net[0].value == pytest.approx(free.net[0].value)


def test_a_share_of_what_was_paid_is_a_margin_too(simulated):
    events = simulated(4, per_arm=60)
    flat = events.assign(paid_value=np.where(events["event"] == "stamp", 5.0, np.nan))
    x = CardExperiment(flat, as_of="2024-12-31", control="control")
    by_visit, by_value = x.economics(margin=2, reward_cost=8), x.economics(margin_rate=0.4, reward_cost=8)
    assert by_value.net[0].value == pytest.approx(by_visit.net[0].value)
    assert by_value.net[0].low == pytest.approx(by_visit.net[0].low)
    assert by_value.extra_visits[0].value == pytest.approx(by_visit.extra_visits[0].value)
    assert by_value.break_even_uplift[0].value == pytest.approx(5 * by_visit.break_even_uplift[0].value)
    assert by_value.fan["estimate"].tolist() == pytest.approx(by_visit.fan["estimate"].tolist())
    assert "break-even share of margin" in set(by_value.to_frame()["metric"])
    uneven = events.assign(paid_value=np.arange(len(events), dtype=float))
    y = CardExperiment(uneven, as_of="2024-12-31", control="control").economics(margin_rate=1, reward_cost=0)
    stamps = uneven[uneven["event"] == "stamp"]
    paid = stamps.groupby("arm")["paid_value"].sum() / 60
    assert y.net[0].value == pytest.approx(paid["endowed"] - paid["control"])
    for bad in ({"margin": 1, "margin_rate": 0.5}, {}):
        with pytest.raises(ArgumentError, match="not both"):
            x.economics(reward_cost=1, **bad)
    with pytest.raises(DesignError, match="paid_value"):
        CardExperiment(events, as_of="2024-12-31", control="control").economics(
            margin_rate=0.4, reward_cost=1
        )


def test_chance_of_being_best_equals_the_normal():
    values, covariance = np.array([0.0, 0.3]), np.array([[0.02, 0.004], [0.004, 0.03]])
    chances, losses = decide(values, covariance)
    sd = math.sqrt(0.05 - 0.008)
    assert chances[1] == pytest.approx(stats.norm.cdf(0.3 / sd), abs=0.003)
    z = 0.3 / sd
    regret = sd * stats.norm.pdf(z) - 0.3 * stats.norm.sf(z)
    assert losses[1] == pytest.approx(regret, abs=0.001)
    assert losses[0] == pytest.approx(regret + 0.3, abs=0.001)
    wide, _ = decide(values, covariance, degrees=3)
    assert wide[1] == pytest.approx(stats.t.cdf(0.3 / sd, 3), abs=0.004)
    three, _ = decide(np.zeros(3), np.eye(3))
    assert three == pytest.approx([1 / 3] * 3, abs=0.004)
    assert (decide(values, covariance)[0] == chances).all()


def test_which_arm_to_roll_out_is_told_with_its_doubt():
    values, arm_of = visits(n=2000)
    rewards = (values >= 6).astype(float)
    sure = economics(values, rewards, arm_of, margin=20)
    assert sure.decision.best == "given"
    assert "roll out given" in sure.roll_out()
    frame = sure.decision_frame()
    assert frame["chance"].sum() == pytest.approx(1)
    assert frame["arm"].tolist() == list(ARMS)
    even = economics(values, rewards, arm_of).break_even[0].value
    open_ = economics(values, rewards, arm_of, margin=even)
    assert "Not settled" in open_.roll_out()
    assert {f.id: f.status for f in open_.findings()}["roll-out"] == "caution"
    json.dumps(sure.to_dict(), allow_nan=False)


def test_the_fan_ends_at_the_net_value(simulated):
    x = CardExperiment(simulated(63, per_arm=100), as_of="2024-12-31", control="control", level=0.9)
    result = x.economics(margin=4, reward_cost=8, card_cost=0.2, currency="EUR")
    last = result.fan.groupby("arm").last()
    for arm, value in zip(result.arms, result.decision.net_values, strict=True):
        assert last.loc[arm, "estimate"] == pytest.approx(value.value)
        assert (last.loc[arm, "low_90"], last.loc[arm, "high_90"]) == pytest.approx((value.low, value.high))
    first = result.fan.groupby("arm").first()
    assert first["estimate"].tolist() == pytest.approx([-0.2, -0.2])
    assert (result.fan["low_90"] <= result.fan["low_50"]).all()
    ax = result.plot()
    assert {"control", "endowed"} <= {t.get_text() for t in ax.texts}
    assert "EUR" in ax.get_ylabel()


def card(name, arm, issued, *days, customer, cycle=1):
    rows = [(issued, "issued"), *((d, "stamp") for d in days)]
    return pd.DataFrame(rows, columns=["occurred_date", "event"]).assign(
        card_id=name, arm=arm, required_stamps=2, endowed_stamps=0, customer_id=customer, cycle=cycle
    )


def test_what_was_pulled_forward_is_counted():
    early, late = ("2024-01-05", "2024-01-10"), ("2024-02-20", "2024-02-25")
    events = pd.concat(
        [
            # the arm fills its card early and stops; the control fills the same card later
            card("a1", "a", "2024-01-01", *late, customer="1"),
            card("a2", "a", "2024-01-01", *late, customer="2"),
            card("b1", "b", "2024-01-01", *early, customer="3"),
            card("b2", "b", "2024-01-01", *early, customer="4"),
            card("b2x", "b", "2024-02-01", "2024-02-02", customer="4", cycle=2),
        ],
        ignore_index=True,
    )
    x = CardExperiment(events, as_of="2024-04-30", control="a")
    found = x.pulled_forward(by_day=30, until_day=90, margin=4, reward_cost=3, currency="EUR")
    assert found.gains[0].value == 2
    assert found.given_back[0].value == 1.5  # the control catches up by 2, the arm went on by .5
    assert found.kept[0].value == 0.5
    assert found.rewards_given_back[0].value == 1
    assert found.cost_pulled_forward[0].value == 3
    assert (found.net_early[0].value, found.net_late[0].value) == (4 * 2 - 3, 4 * 0.5)
    assert "only came sooner" in found.verdict()
    assert x.pulled_forward(by_day=30, until_day=90).cost_pulled_forward is None


def test_a_lasting_gain_is_not_called_pulled_forward():
    data = simulate("stamp-card", customers=3000, seed=4, scenario="level", level=0.8, expiry_weeks=80)
    x = CardExperiment.from_dataset(data, control="control")
    found = x.pulled_forward(by_day=60, until_day=180)
    assert found.given_back[0].high < 0
    assert "go on gaining" in found.verdict()
    assert found.gains[0].value - found.given_back[0].value == pytest.approx(found.kept[0].value)
    assert found.checks[-1].status == "passed"
    short = simulate("stamp-card", customers=400, seed=4, scenario="level", level=0.8, expiry_weeks=20)
    early = CardExperiment.from_dataset(short, control="control").pulled_forward(by_day=60, until_day=180)
    assert early.checks[-1].status == "warning"
    assert "first cards expired or were lost before" in early.checks[-1].detail
    json.dumps(found.to_dict(), allow_nan=False)


def test_what_pulled_forward_needs(simulated):
    x = CardExperiment(simulated(3, per_arm=30), as_of="2024-12-31", control="control")
    with pytest.raises(DesignError, match="no card follows a full one"):
        x.pulled_forward(by_day=30, until_day=90)
    with pytest.raises(ArgumentError, match="after by_day"):
        x.pulled_forward(by_day=30, until_day=30)
    with pytest.raises(ArgumentError, match="margin and reward_cost"):
        x.pulled_forward(by_day=30, until_day=60, margin=3)
    assert "follows a full one" in x.attempt("pulled_forward", by_day=30, until_day=90).verdict()


@pytest.mark.slow
def test_net_values_cover():
    """Four hundred experiments: the interval of the net value holds its expectation at the nominal rate."""
    truth = [
        simulate("stamp-card", customers=20_000, seed=900 + s, scenario="level", expiry_weeks=26, cards=1)
        for s in range(4)
    ]
    means = []
    for data in truth:
        x = CardExperiment.from_dataset(data, control="control")
        means.append(x.economics(margin=4, reward_cost=8).net[0].value)
    goal, inside = np.mean(means), []
    for s in range(400):
        data = simulate("stamp-card", customers=300, seed=s, scenario="level", expiry_weeks=26, cards=1)
        net = CardExperiment.from_dataset(data, control="control").economics(margin=4, reward_cost=8).net[0]
        inside.append(net.low <= goal <= net.high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.036)
