"""Sales before and after a day: known changes found, errors against Newey and West's formula, coverage."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import interrupted_time_series
from loyalty_research.programme._autoregression import restricted_ar1
from loyalty_research.programme.interrupted_series import segmented_design

LAUNCH = "2023-07-03"  # a Monday


def weekly(outcome, before):
    """Return one sale a week, on its third day, ``before`` of them ahead of the launch."""
    first = pd.Timestamp(LAUNCH) - pd.Timedelta(weeks=before)
    when = first + pd.to_timedelta(7 * np.arange(len(outcome)) + 2, "D")
    table = pd.DataFrame({"transacted_at": when, "amount": outcome})
    edge = pd.DataFrame(
        {"transacted_at": [first, first + pd.Timedelta(days=7 * len(outcome) - 1)], "amount": 0.0}
    )
    return pd.concat([table, edge], ignore_index=True)


def line(before, after, *, jump=0.0, slope=0.0, trend=0.0, start=5.0):
    time = np.arange(-before, after)
    return start + trend * time + (time >= 0) * (jump + slope * time)


def test_a_clean_break_is_found_exactly():
    level = np.exp(line(30, 20, jump=0.1, slope=0.01, trend=0.002))
    found = interrupted_time_series(weekly(level, 30), launch=LAUNCH)
    assert (found.before, found.after) == (30, 20)
    assert found.level_change.value == pytest.approx(np.expm1(0.1))
    assert found.slope_change.value == pytest.approx(np.expm1(0.01))
    assert found.average_change.value == pytest.approx(np.expm1(0.1 + 0.01 * 9.5))
    assert found.series["date"].iloc[30] == pd.Timestamp(LAUNCH)
    after = found.series.iloc[30:]
    np.testing.assert_allclose(after["without"], np.exp(5 + 0.002 * np.arange(20)))
    np.testing.assert_allclose(found.series["fitted"], level)
    linear = interrupted_time_series(
        weekly(line(30, 20, jump=7, trend=0.2), 30), launch=LAUNCH, scale="linear", currency="EUR"
    )
    assert linear.level_change.value == pytest.approx(7.0)
    assert linear.level_change.unit == "EUR"


def test_days_of_the_week_take_no_part_in_the_change():
    time = np.arange(-70, 49)
    busy = np.array([0.0, 0.1, 0.2, 0.1, 0.5, 0.9, -0.4])[time % 7]
    days = pd.Timestamp(LAUNCH) + pd.to_timedelta(time, "D")
    table = pd.DataFrame({"transacted_date": days, "amount": np.exp(4 + busy + 0.2 * (time >= 0))})
    found = interrupted_time_series(table, launch=LAUNCH, period="D")
    assert found.level_change.value == pytest.approx(np.expm1(0.2))
    assert found.slope_change.value == pytest.approx(0.0, abs=1e-9)


def test_weeks_that_are_not_whole_are_left_out_and_rows_add_up():
    table = weekly(np.exp(line(30, 20, jump=0.1)), 30)
    odd = pd.DataFrame(
        {"transacted_at": pd.to_datetime(["2022-12-01", "2023-11-21"]), "amount": [9.0, 9.0]}
    )  # three days before the first week, and two after the last
    more = interrupted_time_series(pd.concat([table, odd]), launch=LAUNCH, as_of="2023-11-21")
    assert more.before == 31 - 1 + (pd.Timestamp(LAUNCH) - pd.Timestamp("2022-12-05")).days // 7 - 30
    halves = pd.concat([table.assign(amount=table["amount"] / 2)] * 2)
    once, twice = (interrupted_time_series(t, launch=LAUNCH) for t in (table, halves))
    assert once.level_change.value == pytest.approx(twice.level_change.value)
    polars = interrupted_time_series(pl.from_pandas(table), launch=LAUNCH)
    assert polars.level_change.value == once.level_change.value


def test_errors_are_newey_and_west():
    rng = np.random.default_rng(1)
    outcome = line(40, 30, jump=0.1) + 0.1 * rng.standard_normal(70)
    found = interrupted_time_series(weekly(np.exp(outcome), 40), launch=LAUNCH, errors="newey-west", lags=3)
    design = segmented_design(np.arange(-40, 30), launch=0, weekdays=False)
    inverse = np.linalg.inv(design.T @ design)
    rest = outcome - design @ (inverse @ design.T @ outcome)
    score = design * rest[:, None]
    meat = score.T @ score
    for lag in range(1, 4):
        cross = score[lag:].T @ score[:-lag]
        meat += (1 - lag / 4) * (cross + cross.T)
    covariance = inverse @ meat @ inverse * 70 / 66
    half = np.log1p(found.level_change.high) - np.log1p(found.level_change.value)
    assert half == pytest.approx(
        1.99656441895231 * np.sqrt(covariance[2, 2]), rel=1e-6
    )  # t, 66 degrees of freedom


def test_a_control_takes_off_what_moved_both():
    rng = np.random.default_rng(2)
    season = 0.3 * np.sin(np.arange(80) / 8)
    other = 4 + season + 0.01 * rng.standard_normal(80)
    own = line(50, 30, jump=0.1) + season + 0.01 * rng.standard_normal(80)
    alone = interrupted_time_series(weekly(np.exp(own), 50), launch=LAUNCH)
    both = interrupted_time_series(weekly(np.exp(own), 50), launch=LAUNCH, control=weekly(np.exp(other), 50))
    assert both.level_change.low < np.expm1(0.1) < both.level_change.high
    assert both.level_change.high - both.level_change.low < 0.2 * (
        alone.level_change.high - alone.level_change.low
    )
    assert both.control_change is not None
    assert "control series" in both.to_frame()["group"].tolist()
    scaled = interrupted_time_series(
        weekly(np.exp(own), 50), launch=LAUNCH, control=weekly(np.exp(own) / 9, 50), scale="linear"
    )
    assert scaled.level_change.value == pytest.approx(0.0, abs=1e-9)


def test_verdicts_claim_no_effect_and_checks_say_what_is_missing():
    rng = np.random.default_rng(3)
    noise = 0.02 * rng.standard_normal(70)
    moved = interrupted_time_series(weekly(np.exp(line(40, 30, jump=0.3) + noise), 40), launch=LAUNCH)
    assert "consistent with an effect" in moved.verdict()
    assert "does not prove it" in moved.verdict()
    still = interrupted_time_series(weekly(np.exp(line(40, 30) + noise), 40), launch=LAUNCH)
    assert "no change of sales can be told from chance" in still.verdict()
    states = {c.name: c.status for c in moved.checks}
    assert states["Season of the year"] == states["Nothing else began then"] == "not measurable"
    assert states["No jump before the launch"] == "passed"
    # the same jump looked for twenty weeks late stands in the middle of the time before
    late = interrupted_time_series(
        weekly(np.exp(line(20, 50, jump=0.3) + noise), 20),
        launch=(pd.Timestamp(LAUNCH) + pd.Timedelta(weeks=20)).date(),
    )
    assert {c.name: c.status for c in late.checks}["No jump before the launch"] == "warning"
    assert "does not pass: No jump before the launch" in late.verdict()
    bent = np.exp(line(60, 40) - 0.0004 * np.arange(-60, 40) ** 2 + np.tile(noise[:50], 2))
    curve = interrupted_time_series(weekly(bent, 60), launch=LAUNCH)
    assert "Straight lines, and errors that remember one period" in curve.verdict()


def test_what_cannot_be_is_refused():
    table = weekly(np.exp(line(30, 20)), 30)
    with pytest.raises(DesignError, match="11 whole periods before"):
        interrupted_time_series(weekly(np.ones(40), 11), launch=LAUNCH)
    with pytest.raises(DesignError, match="2 periods without positive sales"):
        interrupted_time_series(weekly(np.r_[np.zeros(2), np.ones(48)], 30), launch=LAUNCH)
    with pytest.raises(DesignError, match="must cover the same days"):
        interrupted_time_series(table, launch=LAUNCH, control=table.iloc[5:25])
    with pytest.raises(ContractError, match=r"missing at 1 row .at position 3"):
        interrupted_time_series(table.assign(amount=table["amount"].mask(table.index == 3)), launch=LAUNCH)
    with pytest.raises(ContractError, match=r"sales.amount is .*, not a number"):
        interrupted_time_series(table.assign(amount=table["amount"].astype(str)), launch=LAUNCH)
    for options in ({"period": "M"}, {"scale": "root"}, {"lags": -1}, {"errors": "ols"}):
        with pytest.raises(ArgumentError):
            interrupted_time_series(table, launch=LAUNCH, **options)


def test_the_picture_shows_both_lines():
    found = interrupted_time_series(weekly(np.exp(line(30, 20, jump=0.1)), 30), launch=LAUNCH)
    axes = found.plot()
    assert {t.get_text() for t in axes.texts} == {"fitted", "as before"}
    assert axes.get_ylabel() == "sales per week"


def test_a_memory_of_one_period_is_fitted_as_nlme_does(oracle):
    case = oracle("regression with ar(1) errors by reml, as in nlme::gls")
    time = np.arange(-20, 20.0)
    after = (time >= 0).astype(float)
    outcome = 5 + 0.002 * time + 0.1 * after + 0.004 * after * time
    outcome = outcome + 0.06 * np.sin(0.9 * time + 0.3 * time**2) + 0.05 * np.cos(time / 3)
    design = segmented_design(np.arange(-20, 20), launch=0, weekdays=False)
    found = restricted_ar1(outcome, design)
    errors = [found.error(contrast)[0] for contrast in np.eye(4)]
    expected, close = case["expected"], case["tolerance"]
    np.testing.assert_allclose(found.params, expected["coefficients"], rtol=close)
    np.testing.assert_allclose(errors, expected["standard_errors"], rtol=close)
    assert found.rho == pytest.approx(expected["phi"], rel=close)
    sigma = np.sqrt(found.variance / (1 - found.rho**2))
    assert sigma == pytest.approx(expected["sigma"], rel=close)
    jump = interrupted_time_series(weekly(outcome, 20), launch=LAUNCH, scale="linear").level_change
    assert jump.value == pytest.approx(expected["coefficients"][2], rel=close)


def test_degrees_of_freedom_say_how_uncertain_the_error_is():
    """The squared error of a contrast varies from series to series like a chi-squared over its degrees of freedom."""
    rng = np.random.default_rng(5)
    design = segmented_design(np.arange(-40, 30), launch=0, weekdays=False)
    contrast = np.array([0.0, 0, 1, 0])
    squares, freedom = [], []
    for _ in range(300):
        noise = rng.standard_normal(90)
        for t in range(1, 90):
            noise[t] += 0.3 * noise[t - 1]
        error, own = restricted_ar1(noise[20:], design).error(contrast)
        squares.append(error**2)
        freedom.append(own)
    assert 2 * np.mean(squares) ** 2 / np.var(squares) == pytest.approx(np.median(freedom), rel=0.5)
    assert 1 <= min(freedom) <= max(freedom) <= 66


def test_a_series_without_chance_has_no_limits():
    found = interrupted_time_series(
        weekly(line(30, 20, jump=7, trend=0.25), 30), launch=LAUNCH, scale="linear"
    )
    assert found.level_change.value == pytest.approx(7.0)
    assert np.isnan(found.level_change.low)


def simulated(replicates, seed=4, *, before=100, after=60, memory=0.3, errors="ar1"):
    """Return how often jump, slope and average are held on a series whose noise remembers."""
    rng = np.random.default_rng(seed)
    truth, held = (np.expm1(0.08), np.expm1(0.002), np.expm1(0.08 + 0.002 * (after - 1) / 2)), np.zeros(3)
    clean = line(before, after, jump=0.08, slope=0.002, trend=0.001)
    for _ in range(replicates):
        shock = 0.05 * rng.standard_normal(before + after + 50)
        noise = np.zeros(shock.size)
        for t in range(1, shock.size):
            noise[t] = memory * noise[t - 1] + shock[t]
        table = weekly(np.exp(clean + noise[50:]), before)
        found = interrupted_time_series(table, launch=LAUNCH, errors=errors)
        for j, e in enumerate((found.level_change, found.slope_change, found.average_change)):
            held[j] += e.low <= truth[j] <= e.high
    return held / replicates


def test_intervals_cover_the_truth():
    assert (simulated(40) > 0.84).all()
    assert (simulated(40, before=24, after=16, memory=0.5) > 0.84).all()


@pytest.mark.slow
def test_intervals_cover_the_truth_at_length(published):
    """On short series Satterthwaite's degrees of freedom err to the wide side."""
    for what, options in (("160 weeks", {}), ("50 weeks", {"before": 30, "after": 20, "memory": 0.5})):
        share = simulated(2000, **options)
        names = [f"interrupted series of {what}: {change}" for change in ("jump", "slope", "average")]
        published(zip(names, share, strict=True), 2000)
        assert (share > 0.93).all(), share
        assert (share < 0.985).all(), share


@pytest.mark.slow
def test_newey_and_west_are_too_narrow_on_short_series():
    """Why their errors are not the default."""
    share = simulated(2000, before=30, after=20, memory=0.5, errors="newey-west")
    assert (share < 0.88).all(), share
