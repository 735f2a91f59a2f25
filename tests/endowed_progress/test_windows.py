import pandas as pd
import pytest

from loyalty_research.endowed_progress import CardExperiment
from loyalty_research.errors import ArgumentError, DesignError


def card(name, arm, issued, *days, lost=None, expired=None, customer=None, cycle=1):
    rows = [(issued, "issued"), *((d, "stamp") for d in days)]
    rows += [(lost, "lost")] if lost else []
    rows += [(expired, "expired")] if expired else []
    return pd.DataFrame(rows, columns=["occurred_date", "event"]).assign(
        card_id=name, arm=arm, required_stamps=2, endowed_stamps=0, customer_id=customer or name, cycle=cycle
    )


@pytest.fixture
def events():
    return pd.concat(
        [
            card("a1", "a", "2024-01-01", "2024-01-05", "2024-01-20"),
            card("a2", "a", "2024-01-01", "2024-01-05", expired="2024-03-01"),
            card("a3", "a", "2024-02-20", "2024-02-21", "2024-02-22"),
            card("b1", "b", "2024-01-01", "2024-01-05", "2024-02-10"),
            card("b2", "b", "2024-01-03", lost="2024-01-20"),
            card("b3", "b", "2024-02-20", "2024-02-21"),
        ],
        ignore_index=True,
    )


def counts(events, **options):
    by_day = options.pop("by_day", None)
    result = CardExperiment(events, as_of="2024-03-10", control="a", **options).completion(by_day=by_day)
    return result.outcomes.completed, result.outcomes.n, result


def test_by_a_fixed_day_young_cards_are_left_out_of_every_arm(events):
    completed, n, result = counts(events, by_day=30)
    # a3 and b3 were followed for 19 days only, though a3 is complete
    assert (completed, n) == ((1, 0), (2, 2))
    assert "2 cards were issued too late" in next(
        c.detail for c in result.checks if c.name == "followed to the end"
    )
    assert counts(events, by_day=15)[:2] == ((1, 0), (3, 3))
    assert counts(events, by_day=60)[:2] == ((1, 1), (2, 2))


def test_before_expiry_cards_are_judged_when_their_time_has_run_out(events):
    completed, n, result = counts(events)
    assert (completed, n) == ((1, 1), (2, 2))
    assert result.horizon == "before expiry"


def test_without_expiry_the_rates_are_those_so_far(events):
    completed, n, result = counts(events[events["event"] != "expired"])
    assert (completed, n) == ((2, 1), (3, 3))
    assert result.horizon == "so far"
    open_cards = next(c for c in result.checks if c.name == "followed to the end")
    assert open_cards.status == "warning"
    assert "2 of 6 cards are still open" in open_cards.detail


def test_lost_cards_count_as_not_completed_and_are_varied(events):
    _, _, result = counts(events, by_day=60)
    assert result.outcomes.lost == (0, 1)
    values = [row.estimate.value for row in result.sensitivity]
    # as given 1/2 - 1/2; lost left out 1/1 - 1/2; had it been completed 2/2 - 1/2; no loss in the control
    assert result["b"].difference.value == 0
    assert values == pytest.approx([0.5, 0.5, 0.0])


def test_only_the_first_card_of_a_customer_is_compared(events):
    again = card("a1-2", "a", "2024-01-21", "2024-01-25", "2024-01-30", customer="a1", cycle=2)
    both = pd.concat([events, again], ignore_index=True)
    completed, n, _ = counts(both, by_day=60)
    assert (completed, n) == ((1, 1), (2, 2))
    x = CardExperiment(both, as_of="2024-03-10", control="a")
    assert x.dropped_["later cards of the same customer"] == 1
    # but visits on it count: 4 + 1 over two holders against 2 + 0
    assert [m.value for m in x.visits(by_day=60).means] == [2.5, 1.0]


def test_visits_stop_at_the_day(events):
    x = CardExperiment(events, as_of="2024-03-10", control="a")
    assert [m.value for m in x.visits(by_day=10).means] == pytest.approx([(1 + 1 + 2) / 3, (1 + 0 + 1) / 3])


def test_customers_with_several_first_cards_are_the_clusters(events):
    # the same customer was handed two cards of the first cycle
    both = events.replace({"customer_id": {"a2": "a1"}})
    result = CardExperiment(both, as_of="2024-03-10", control="a").completion(by_day=15)
    assert "5 clusters" in result["b"].difference.method


def test_rewards_cost_when_redeemed(events):
    redeemed = events.iloc[[2]].assign(event="redeemed", occurred_date="2024-02-01")
    x = CardExperiment(pd.concat([events, redeemed], ignore_index=True), as_of="2024-03-10", control="a")
    result = x.economics(margin=3, reward_cost=5, by_day=60, currency="EUR")
    # a: 2 and 1 visits, 1 reward among two; b: 2 and 0 visits, none redeemed
    assert result.extra_visits[0].value == pytest.approx(-0.5)
    assert result.extra_rewards[0].value == pytest.approx(-0.5)
    assert result.net[0].value == pytest.approx(3 * -0.5 + 5 * 0.5)
    assert result.net[0].unit == "EUR"
    without = CardExperiment(events, as_of="2024-03-10", control="a").economics(
        margin=3, reward_cost=5, by_day=60
    )
    assert without.extra_rewards[0].value == 0  # one completed card on either side


def test_impossible_windows(events):
    x = CardExperiment(events, as_of="2024-03-10", control="a")
    with pytest.raises(DesignError, match="no card of the arm a was followed to the end"):
        x.completion(by_day=300)
    for bad in (0, 2.5, -3):
        with pytest.raises(ArgumentError, match="by_day"):
            x.completion(by_day=bad)


def test_cards_of_the_last_day_are_left_out_of_times_and_said(events):
    late = card("b4", "b", "2024-03-10")
    x = CardExperiment(pd.concat([events, late], ignore_index=True), as_of="2024-03-10", control="a")
    result = x.time_to_completion()
    check = next(c for c in result.checks if c.name == "followed for a day")
    assert check.status == "warning"
    assert check.detail.startswith("1 card ")
    assert result.means[1].n == 3


def test_a_card_filled_on_the_day_of_issue_takes_half_a_day(events):
    quick = card("b5", "b", "2024-01-01", "2024-01-01", "2024-01-01")
    x = CardExperiment(pd.concat([events, quick], ignore_index=True), as_of="2024-03-10", control="a")
    assert x.time_to_completion().curves[1].times[0] == 0.5
