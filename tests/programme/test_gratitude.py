import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme.gratitude import gratitude_latency


def world(seed, customers=300, *, mean=10.0, never=0.0, days=60):
    """Events spread over 60 days, thanks after an exponential time, seen up to the end only."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"c{i}" for i in range(customers)])
    at = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.uniform(0, days, customers), unit="D")
    wait = rng.exponential(mean, customers)
    wait[rng.random(customers) < never] = 10_000
    said = at + pd.to_timedelta(wait, unit="D")
    end = pd.Timestamp("2024-01-01") + pd.Timedelta(days=days)
    seen = said < end
    events = pd.DataFrame({"customer_id": ids, "occurred_at": at})
    return events, pd.DataFrame({"customer_id": ids[seen], "sent_at": said[seen]}), end - pd.Timedelta(days=1)


def test_the_curve_is_lifelines():
    lifelines = pytest.importorskip("lifelines")
    events, thanks, as_of = world(1)
    found = gratitude_latency(events, thanks, as_of=as_of)
    both = events.merge(thanks, how="left")
    end = as_of + pd.Timedelta(days=1)
    wait = (both["sent_at"].fillna(end) - both["occurred_at"]) / pd.Timedelta(days=1)
    peer = lifelines.KaplanMeierFitter().fit(wait, both["sent_at"].notna())
    assert found.median.value == pytest.approx(peer.median_survival_time_, rel=1e-9)
    assert found.thanked[7.0].value == pytest.approx(1 - peer.predict(7.0), abs=1e-9)
    limits = peer.confidence_interval_.asof(7.0)
    assert (found.thanked[7.0].low, found.thanked[7.0].high) == pytest.approx(
        (1 - limits.iloc[1], 1 - limits.iloc[0]), abs=1e-9
    )
    assert found.waiting == both["sent_at"].isna().sum()


def test_those_not_yet_thanked_are_not_left_out():
    covered = 0
    for seed in range(100):
        events, thanks, as_of = world(seed)
        found = gratitude_latency(events, thanks, as_of=as_of).median
        covered += found.low <= 10 * np.log(2) <= found.high
    assert covered / 100 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 100)


def test_a_programme_that_thanks_few_has_no_median():
    events, thanks, as_of = world(3, never=0.8)
    found = gratitude_latency(events, thanks, as_of=as_of)
    assert np.isnan(found.median.value)
    assert "Fewer than half" in found.verdict()
    # the mean wait of those who were thanked would say about ten days
    assert found.thanked[30.0].high < 0.35


def test_thanks_before_the_event_or_after_the_end_do_not_count():
    events = pd.DataFrame(
        {
            "customer_id": list("aabc"),
            "occurred_at": pd.to_datetime(["2024-05-10", "2024-05-20", "2024-05-10", "2024-05-10"]),
        }
    )
    thanks = pd.DataFrame(
        {
            "customer_id": list("aabz"),
            "sent_at": pd.to_datetime(["2024-05-01", "2024-05-12", "2024-06-15", "2024-05-11"]),
        }
    )
    found = gratitude_latency(events, thanks, as_of="2024-05-31", within_days=[1, 2, 40])
    assert found.waiting == 2
    assert found.thanked[1.0].value == 0.0
    assert found.thanked[2.0].value == pytest.approx(1 / 3)
    assert np.isnan(found.thanked[40.0].value)
    assert found.checks[0].status == "not measurable"


def test_bad_input_is_refused():
    events, thanks, as_of = world(4)
    with pytest.raises(ContractError, match="lacks the column occurred_at"):
        gratitude_latency(thanks, thanks, as_of=as_of)
    zoned = events.assign(occurred_at=events["occurred_at"].dt.tz_localize("UTC"))
    with pytest.raises(ContractError, match="without a time zone"):
        gratitude_latency(zoned, thanks, as_of=as_of)
    with pytest.raises(DesignError, match="no event"):
        gratitude_latency(events, thanks, as_of="2020-01-01")
    with pytest.raises(ArgumentError, match="positive"):
        gratitude_latency(events, thanks, as_of=as_of, within_days=[0])


def test_thanks_without_consent_are_refused_dropped_or_counted():
    events, thanks, as_of = world(5)
    marked = thanks.assign(has_consent=np.arange(len(thanks)) > 0)
    with pytest.raises(ContractError, match=r"thanks\.has_consent is false .* 1 row \(at position 0\)"):
        gratitude_latency(events, marked, as_of=as_of)
    left = gratitude_latency(events, marked, as_of=as_of, without_consent="leave-out")
    assert left.median == gratitude_latency(events, thanks.iloc[1:], as_of=as_of).median
    kept = gratitude_latency(events, marked, as_of=as_of, without_consent="count")
    assert kept.median == gratitude_latency(events, thanks, as_of=as_of).median
    assert any("1 message was sent without consent" in c.detail for c in kept.checks)
