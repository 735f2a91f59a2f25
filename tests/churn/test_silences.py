import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn.silences import silences
from loyalty_research.churn.transactions import first_gaps, one_per_day
from loyalty_research.errors import ArgumentError


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(2)
    day = pd.Timestamp("2023-01-01") + pd.to_timedelta(np.floor(rng.exponential(150, 3000)), unit="D")
    return one_per_day(
        pd.DataFrame({"customer_id": rng.integers(0, 700, 3000), "transacted_date": day, "amount": 1.0})
    )[0]


@pytest.mark.parametrize("window", [1, 7, 30, 90, 400])
@pytest.mark.parametrize("as_of", ["2023-08-31", "2026-12-31"])
def test_any_window_gives_what_the_summary_gives(table, window, as_of):
    ours, theirs = silences(table, as_of).first_gaps(window), first_gaps(table, window, as_of)
    assert ours.keys.equals(theirs.keys)
    assert (ours.end, ours.window) == (theirs.end, theirs.window)
    np.testing.assert_array_equal(ours.gone, theirs.gone)
    np.testing.assert_array_equal(ours.gap_start[ours.gone], theirs.gap_start[ours.gone])
    np.testing.assert_array_equal(ours.left, theirs.left)
    np.testing.assert_array_equal(ours.stop, theirs.stop)
    np.testing.assert_array_equal(ours.returned, theirs.returned)


@pytest.mark.parametrize("window", [0, -3, 2.5, True])
def test_windows_are_whole_days(table, window):
    with pytest.raises(ArgumentError, match="whole number of days, at least 1"):
        silences(table, "2026-12-31").first_gaps(window)
