import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest

from loyalty_research import summaries
from loyalty_research.clv import BetaGeoNBD, GammaGamma, ParetoNBD, customer_lifetime_value, study
from loyalty_research.errors import ArgumentError, ContractError

OPTIONS = {"horizon": 52, "annual_discount_rate": 0.1, "currency": "USD", "seed": 1, "draws": 200}
SPLIT = {"calibration_end": "1997-09-30", "observation_end": "1998-06-30"}


@pytest.fixture(scope="module")
def done(sample_orders):
    return study(sample_orders, **OPTIONS, **SPLIT)


def test_the_parts_are_those_made_by_hand(done, sample, sample_orders):
    pd.testing.assert_frame_equal(done.calibration, sample)
    whole = summaries.purchases(sample_orders, unit="W", observation_end="1998-06-30")
    model = BetaGeoNBD().fit(whole)
    assert done.model.params_.equals(model.params_)
    by_hand = customer_lifetime_value(
        model, GammaGamma().fit(whole), whole, horizon=52, annual_discount_rate=0.1, currency="USD"
    )
    pd.testing.assert_series_equal(done.value.expected_value, by_hand.expected_value)
    assert done.outcome == by_hand.outcome_interval(seed=1, draws=200)
    assert done.accuracy.total_actual == sample["frequency_holdout"].sum()
    assert done.tracking.actual == sample["frequency_holdout"].sum()
    assert done.calibration_end == dt.date(1997, 9, 30)
    assert done.lift.groups["share"].sum() == pytest.approx(1)
    assert done.lift.measure == "revenue"


def test_every_model_is_shown_beside_the_chosen_one(done):
    table = done.alternatives.set_index("model")
    assert table.index.tolist() == ["BG/NBD", "MBG/NBD", "Pareto/NBD"]
    assert (table["note"] == "").all()
    assert table.loc["BG/NBD", "total"] == pytest.approx(done.outcome.value)
    assert table.loc["BG/NBD", "still_buying"] > table.loc["MBG/NBD", "still_buying"] + 0.3
    assert table.loc["BG/NBD", "bias"] == pytest.approx(done.accuracy.bias.value)
    assert "Expected totals lie between" in done.alternatives_words()


def test_findings_lead_with_value_and_mark_what_the_holdout_refutes(done):
    found = {f.id: f for f in done.findings()}
    assert list(found)[:3] == ["total-value", "value-per-customer", "holdout-revenue"]
    assert found["total-value"].estimate == done.outcome
    assert done.missed
    assert found["total-value"].status == "caution"
    assert found["total-if-missed-again"].estimate.value > done.outcome.value
    assert found["one-time-buyers"].status == "caution"
    assert "bought once" in found["one-time-buyers"].headline
    for finding in found.values():
        json.dumps(finding.to_dict(), allow_nan=False)
    assert "total-value" in found
    assert done.verdict().startswith("The 2,357 customers are expected to bring")
    assert "held out" in done.verdict()
    assert len(done.to_frame()) == 6
    json.dumps(done.to_dict(), allow_nan=False)
    assert len(done.limits()) == 6


def test_portraits_show_the_model_that_values(done):
    again = done.summary[done.summary["frequency"] > 0]
    pace = (again["recency"] / again["frequency"]).median()
    history = done.history()
    np.testing.assert_allclose(history.purchases, pace * np.arange(1, 6))
    assert history.curve["time"].iloc[-1] == pytest.approx(max(done.summary["T"].max(), 8 * pace))
    assert done.expectations().ahead == 26
    longest = done.summary["T"].max()
    assert done.expectations().grid.columns[-1] == longest


def test_a_model_that_holds_is_not_marked(draw_orders):
    done = study(draw_orders(3_000, 2), **OPTIONS)
    assert not done.missed
    found = {f.id: f for f in done.findings()}
    assert found["total-value"].status == "finding"
    assert "total-if-missed-again" not in found
    assert done.accuracy.beats_benchmark


def test_the_interval_method_is_that_of_the_chosen_model(sample_orders, done):
    drawn = study(sample_orders, **OPTIONS, **SPLIT, intervals="draws")
    assert drawn.value.mean.method.startswith("parametric draws")
    assert drawn.value.mean.value == done.value.mean.value
    assert (drawn.value.mean.low, drawn.value.mean.high) == pytest.approx(
        (done.value.mean.low, done.value.mean.high), rel=0.02
    )
    pd.testing.assert_frame_equal(drawn.alternatives, done.alternatives)


def test_two_thirds_are_the_calibration_by_default(draw_orders):
    orders = draw_orders(400, 3)
    done = study(orders, **OPTIONS)
    first, last = orders["transacted_date"].min(), orders["transacted_date"].max()
    assert done.observation_end == last.date()
    assert abs((pd.Timestamp(done.calibration_end) - first) / (last - first) - 2 / 3) < 0.01


def test_days_and_weeks_tell_the_same(done, sample_orders):
    days = study(sample_orders, **{**OPTIONS, "horizon": 364}, **SPLIT, unit="D")
    # a year is 52 weeks (364 days) in weeks and 365.25 days in days, so discounting differs a little
    assert days.outcome.value == pytest.approx(done.outcome.value, rel=5e-4)
    assert "over the next 364 days" in days.verdict()


def test_a_model_without_a_maximum_gives_way_and_the_page_says_so(draw_orders):
    loyal = draw_orders(150, 5, leave=0.0)
    done = study(loyal, **OPTIONS, model="Pareto/NBD")
    check = done.checks[0]
    assert check.name == "Model asked for"
    assert check.status == "warning"
    assert "ParetoNBD did not converge" in check.detail
    if isinstance(done.model, ParetoNBD):
        assert done.model.penalizer > 0
        assert "weak penalty" in check.detail
    assert "did not converge" in done.alternatives_words()


def test_what_is_left_out_is_counted(sample_orders, done):
    late = pd.DataFrame(
        {"customer_id": ["new"], "transacted_date": [pd.Timestamp("1998-02-01")], "amount": [5.0]}
    )
    again = study(pd.concat([sample_orders, late]), **OPTIONS, **SPLIT)
    key = next(k for k in again.dropped if k.startswith("customers first seen after calibration"))
    assert again.dropped[key] == 1
    assert done.dropped[key] == 0
    assert len(again.summary) == len(done.summary) + 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "Pareto"}, "model must be one of BG/NBD, MBG/NBD, Pareto/NBD"),
        ({"unit": "M"}, "unit must be one of"),
        ({"margin": 2}, "margin"),
        ({"calibration_end": "1998-06-30"}, "holdout must come after calibration"),
        ({"horizon": -1}, "horizon"),
    ],
)
def test_bad_options_are_refused(sample_orders, change, said):
    with pytest.raises(ArgumentError, match=said):
        study(sample_orders, **{**OPTIONS, **SPLIT, **change})


def test_currencies_are_never_mixed(sample_orders):
    orders = sample_orders.assign(currency="USD")
    orders.iloc[:7, orders.columns.get_loc("currency")] = "EUR"
    with pytest.raises(ContractError, match=r"holds EUR in 7 rows, USD in [\d,]+ rows and USD was asked for"):
        study(orders, **OPTIONS, **SPLIT)
    with pytest.raises(ContractError, match=r"GBP in .* and USD was asked for"):
        study(sample_orders.assign(currency="GBP"), **OPTIONS, **SPLIT)
    one = study(sample_orders.assign(currency="USD").head(4_000), **OPTIONS, **SPLIT)
    assert one.outcome.unit == "USD"


def test_a_model_that_loses_to_the_last_period_is_not_trusted(draw_orders):
    """Customers with a strict rhythm: the last period says all, a model of chance knows less."""
    rows = [(f"c{k}", day) for k in range(200) for day in range(k % 30, 720, 14 if k % 2 else 60)]
    orders = pd.DataFrame(rows, columns=["customer_id", "day"])
    orders["transacted_date"] = pd.Timestamp("2023-01-01") + pd.to_timedelta(orders.pop("day"), "D")
    rng = np.random.default_rng(1)
    usual = pd.Series(1 / rng.gamma(4, 1 / 60, 200), [f"c{k}" for k in range(200)])
    orders["amount"] = rng.gamma(5, 1, len(orders)) * usual[orders["customer_id"]].to_numpy()
    done = study(
        orders, **OPTIONS, calibration_end="2023-12-31", observation_end="2024-12-20", model="MBG/NBD"
    )
    assert done.accuracy.beats_benchmark is False
    assert "loses to simply carrying each customer's last period forward" in done.verdict()
    found = {f.id: f for f in done.findings()}
    assert found["total-value"].status == "caution"
    assert found["loses-to-benchmark"].estimate == done.accuracy.gain
    check = next(c for c in done.checks if c.name == "Better than carrying the last period forward")
    assert check.status == "failed"


@pytest.fixture
def draw_orders():
    def draw(customers, seed, *, leave=None):
        rng = np.random.default_rng(seed)
        rows = []
        for name in range(customers):
            day = float(rng.integers(0, 180))
            gap, going = 1 / rng.gamma(0.9, 1 / 25), rng.beta(0.8, 2.5) if leave is None else leave
            scale = 1 / rng.gamma(4, 1 / 80)
            while day < 540:
                rows.append((f"c{name}", day, 0.01 + rng.gamma(5, 1 / scale)))
                if rng.random() < going:
                    break
                day += 1 + rng.exponential(gap)
        frame = pd.DataFrame(rows, columns=["customer_id", "day", "amount"])
        frame["transacted_date"] = pd.Timestamp("2023-01-01") + pd.to_timedelta(
            frame.pop("day").astype(int), "D"
        )
        return frame

    return draw
