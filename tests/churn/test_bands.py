"""Simultaneous bands of survival curves and cumulative hazards."""

import numpy as np
import pandas as pd
import pytest
from lifelines.datasets import load_lung

from loyalty_research.churn import ChurnData, KaplanMeier, NelsonAalen
from loyalty_research.errors import ArgumentError
from loyalty_research.stats.bands import equal_precision_critical, hall_wellner_critical


@pytest.fixture(scope="module")
def lung():
    return ChurnData.from_durations(load_lung(), duration="time", event="status")


def test_equal_precision_is_the_pointwise_interval_with_a_larger_multiple(lung):
    curves = KaplanMeier(interval="plain").fit(lung)
    band = curves.simultaneous_band(between=(30, 700))
    pointwise = curves.survival_at([100, 300, 600])
    found = band.band_at([100, 300, 600])
    row = band.ranges.iloc[0]
    critical = equal_precision_critical(row["low_share"], row["high_share"])
    assert row["critical_value"] == pytest.approx(critical)
    ratio = (found["high"] - found["low"]) / (pointwise["high"] - pointwise["low"])
    assert np.allclose(ratio, critical / 1.959963984540054)
    assert np.allclose(found["estimate"], pointwise["estimate"])


def test_hall_wellner_follows_its_formula(lung):
    curves = KaplanMeier(interval="plain").fit(lung)
    band = curves.simultaneous_band(kind="hall-wellner")
    row = band.ranges.iloc[0]
    assert (row["first_day"], row["customers"]) == (5, 228)
    critical = hall_wellner_critical(row["low_share"], row["high_share"])
    _, curve = curves.groups[0]
    at = np.searchsorted(curve.times, 300, side="right") - 1
    s, v = curve.survival[at], curve.log_variance[at]
    reach = critical * (1 + 228 * v) / np.sqrt(228) * s
    found = band.band_at([300]).iloc[0]
    assert found["low"] == pytest.approx(s - reach)
    assert found["high"] == pytest.approx(s + reach)


@pytest.mark.parametrize("kind", ["equal-precision", "hall-wellner"])
def test_the_band_is_wider_than_the_interval_and_known_in_its_range_only(lung, kind):
    curves = KaplanMeier().fit(lung, by="sex")
    band = curves.simultaneous_band(kind=kind)
    for row in band.ranges.itertuples():
        times = np.linspace(row.first_day, row.last_day, 9)
        inside = band.band_at(times).query("group == @row.group")
        point = curves.survival_at(times).query("group == @row.group")
        assert (inside["low"].to_numpy() < point["low"].to_numpy()).all()
        assert (inside["high"].to_numpy() > point["high"].to_numpy()).all()
        outside = band.band_at([row.first_day - 1, row.last_day + 1]).query("group == @row.group")
        assert outside[["estimate", "low", "high"]].isna().all(axis=None)
    assert "With 95% confidence the band holds the whole curve at once" in band.verdict()
    assert band.to_frame()["estimand"].eq("the whole curve").all()


def test_hazard_band_on_the_log_scale(lung):
    hazards = NelsonAalen().fit(lung)
    band = hazards.simultaneous_band(between=(30, 700))
    found = band.band_at([365]).iloc[0]
    point = hazards.cumulative_hazard_at([365]).iloc[0]
    critical = band.ranges["critical_value"].iloc[0]
    reach = critical * point["se"] / point["estimate"]
    assert [found["low"], found["high"]] == pytest.approx(
        [point["estimate"] * np.exp(-reach), point["estimate"] * np.exp(reach)]
    )
    assert band.plot().get_ylabel().startswith("Cumulative hazard")


def test_weight_k_is_k_copies():
    frame = load_lung()[["time", "status"]].assign(w=np.arange(228) % 3 + 1)
    copies = frame.loc[frame.index.repeat(frame["w"])]
    one, two = (
        KaplanMeier().fit(ChurnData.from_durations(f, duration="time", event="status", weights=w))
        for f, w in ((frame, "w"), (copies, None))
    )
    for kind in ("equal-precision", "hall-wellner"):
        steps = [c.simultaneous_band(kind=kind).steps.drop(columns="group") for c in (one, two)]
        assert np.allclose(*steps)


def test_the_band_is_drawn_on_the_curve(lung):
    plain, banded = (KaplanMeier().fit(lung).plot(band=b) for b in (None, "hall-wellner"))
    assert len(banded.lines) == len(plain.lines) + 2
    assert "for the whole curve" in banded.get_ylabel()
    band = KaplanMeier().fit(lung).simultaneous_band()
    assert "for the whole curve" in band.plot().get_ylabel()


def test_bad_ranges_are_refused(lung):
    curves = KaplanMeier().fit(lung)
    with pytest.raises(ArgumentError, match="kind must be"):
        curves.simultaneous_band(kind="scheffe")
    with pytest.raises(ArgumentError, match="from the first day somebody left"):
        curves.simultaneous_band(between=(0, 300))
    with pytest.raises(ArgumentError, match="from the first day somebody left"):
        curves.simultaneous_band(between=(30, 5000))
    with pytest.raises(ArgumentError, match="the first before the second"):
        curves.simultaneous_band(between=(300, 30))
    gap = pd.DataFrame({"duration": [100, 150, 300, 400], "event": [1, 1, 1, 0]})
    with pytest.raises(ArgumentError, match="nobody left between day 200"):
        KaplanMeier().fit(ChurnData.from_durations(gap)).simultaneous_band(between=(200, 290))
    few = ChurnData.from_durations(pd.DataFrame({"duration": [3, 5], "event": [1, 0]}))
    with pytest.raises(ArgumentError, match="too few days"):
        KaplanMeier().fit(few).simultaneous_band()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "interval"), [("equal-precision", "log-log"), ("hall-wellner", "plain")])
def test_the_whole_curve_is_covered(kind, interval):
    """Exponential times, a quarter censored, 200 customers, 1,000 draws: Monte Carlo error .007."""
    rng = np.random.default_rng(11)
    covered = []
    for _ in range(1000):
        left, seen = rng.exponential(100, 200), rng.uniform(0, 400, 200)
        frame = pd.DataFrame({"duration": np.minimum(left, seen), "event": left <= seen})
        band = (
            KaplanMeier(interval=interval).fit(ChurnData.from_durations(frame)).simultaneous_band(kind=kind)
        )
        time = band.steps["time"].to_numpy()
        truth = np.exp(-time / 100)
        before = np.exp(-np.append(time[1:], time[-1]) / 100)
        low, high = band.steps["low"].to_numpy(), band.steps["high"].to_numpy()
        covered.append(((truth <= high) & (before >= low)).all())
    assert np.mean(covered) == pytest.approx(0.95, abs=0.022)
