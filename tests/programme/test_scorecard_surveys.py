"""Survey lines of the scorecard: who was asked, who answered, and weights that follow from it."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.errors import ArgumentError
from loyalty_research.programme import net_promoter_score, response_weights, scorecard

DAY = dt.date(2024, 12, 31)
ASKED = pd.Timestamp("2024-12-01")


def survey(values, *, start=0, when=ASKED, instrument="nps"):
    """Return one row a customer who was asked; NaN where nothing came back."""
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{start + i}" for i in range(len(values))],
            "invited_at": when,
            "answered_at": when + pd.Timedelta(days=2),
            "instrument": instrument,
            "value": values,
            "scale_min": 0.0,
            "scale_max": 10.0,
        }
    )
    return frame.assign(response_id=[f"{instrument}{when.date()}-{start + i}" for i in frame.index])


def orders(often):
    """Return five purchase days of the first customers and one of the others."""
    rows = [(f"c{i}", day) for i, often_ in enumerate(often) for day in range(5 if often_ else 1)]
    frame = pd.DataFrame(rows, columns=["customer_id", "day"])
    frame["transacted_at"] = pd.Timestamp("2024-11-01") + pd.to_timedelta(frame.pop("day"), "D")
    old = pd.DataFrame({"customer_id": ["old"], "transacted_at": [pd.Timestamp("2022-01-01")]})
    frame = pd.concat([old, frame], ignore_index=True).assign(amount=10.0, currency="EUR")
    return frame.assign(transaction_id=[f"t{i}" for i in frame.index])


def line(surveys, *, key="net_promoter_score", often=(True,) * 100 + (False,) * 100, **options):
    source = lr.Dataset.from_frames(
        "made up",
        {"transactions": orders(often), "surveys": surveys},
        description="Made-up customers.",
        kind="simulated",
        currency="EUR",
        as_of=DAY,
    )
    return scorecard(source, as_of=DAY, window=90, resamples=100, **options).line(key)


def test_invitations_without_an_answer_give_the_response_rate():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 11, 60).astype(float)
    found = line(pd.concat([survey(values), survey(np.full(140, np.nan), start=60)], ignore_index=True))
    assert found.estimate == net_promoter_score(values).score
    assert found.denominator == (
        "customers who answered in the last 90 days, 30.0% of 200 asked; the silent may think otherwise"
    )


def test_without_them_it_is_said_that_the_rate_is_not_known():
    found = line(survey(np.arange(60.0) % 11))
    assert "how many were asked is not known" in found.denominator


def test_earlier_invitations_are_another_wave():
    old = survey(np.full(50, np.nan), start=60, when=pd.Timestamp("2024-06-01"))
    now = pd.concat([survey(np.arange(60.0) % 11), survey([np.nan] * 20, start=150)], ignore_index=True)
    assert "75.0% of 80 asked" in line(pd.concat([old, now], ignore_index=True)).denominator


def test_weights_give_answers_the_purchase_days_of_those_asked():
    # of the frequent 40 in 100 answered and like it, of the others 10 in 100, who do not
    values = np.r_[np.full(40, 10.0), np.full(60, np.nan), np.full(10, 2.0), np.full(90, np.nan)]
    values[0] = 2.0
    plain = line(survey(values))
    even = line(survey(values), options={"survey_weights": (0, 2)})
    assert plain.estimate.value == pytest.approx(100 * (39 - 11) / 50)
    groups = pd.Series(["often"] * 100 + ["seldom"] * 100, index=np.arange(200))
    weights = response_weights(groups, np.flatnonzero(~np.isnan(values))).weights
    peer = net_promoter_score(values[~np.isnan(values)], weights=weights.to_numpy()).score
    assert even.estimate.value == pytest.approx(peer.value)
    assert (even.estimate.low, even.estimate.high) == pytest.approx((peer.low, peer.high))
    assert even.denominator.endswith("25.0% of 200 asked, weighted to those asked")


def test_without_invitations_weights_go_to_the_customers_of_the_window():
    answered = pd.concat([survey(np.full(40, 10.0)), survey(np.full(10, 2.0), start=100)], ignore_index=True)
    found = line(answered, options={"survey_weights": (0, 2)})
    assert found.estimate.value == pytest.approx(0, abs=1e-9)
    assert "weighted to the customers of these days" in found.denominator
    thin = line(answered.iloc[:43], options={"survey_weights": (0, 2)})
    assert "take wider groups" in thin.reason
    with pytest.raises(ArgumentError, match="edges of purchase days"):
        line(answered, options={"survey_weights": (2, 0)})


def test_changes_of_weighted_scores_have_intervals():
    waves = [
        survey(np.random.default_rng(seed).integers(0, 11, 80).astype(float), when=when, start=start)
        for seed, (when, start) in enumerate(
            (when, start) for when in (pd.Timestamp("2024-09-01"), ASKED) for start in (0, 100)
        )
    ]
    silent = survey([np.nan] * 20, start=80)
    surveys = pd.concat([*waves, silent], ignore_index=True)
    plain = line(surveys, compare_to="2024-10-01").change
    even = line(surveys, compare_to="2024-10-01", options={"survey_weights": (0, 2)}).change
    # the frequent count for more in the second wave, since some of them were silent
    assert even.value != plain.value
    assert even.high - even.low == pytest.approx(plain.high - plain.low, rel=0.1)
