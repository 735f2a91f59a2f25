import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from loyalty_research.clv._frames import fingerprint, group_rows

DAYS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=60
)


def check(columns):
    first, where = group_rows(*columns)
    table = np.column_stack(columns)
    # equal rows share a group, different rows do not, and each group is shown by its first row
    np.testing.assert_allclose(table[first][where], table, rtol=0, atol=1e-9)
    assert len(first) == len(pd.DataFrame(table).round(9).drop_duplicates())
    assert (where[first] == np.arange(len(first))).all()


@given(rows=DAYS, scale=st.sampled_from([1.0, 7.0]))
def test_whole_days_and_days_as_weeks(rows, scale):
    x, t, T = np.array(rows, dtype=float).T
    check([x, t / scale, T / scale])


@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=40)
)
def test_any_times(rows):
    x, t, T = np.array(rows, dtype=float).T
    check([x, np.round(t, 3), np.round(T, 3)])


def test_many_wide_columns_do_not_overflow():
    rng = np.random.default_rng(1)
    columns = [rng.integers(0, 4_000_000, 2000).astype(float) for _ in range(4)]
    check([np.concatenate([c, c]) for c in columns])


def test_fingerprint_ignores_order_and_sees_values():
    a, b = np.array([1.0, 2, 3]), np.array([4.0, 5, 6])
    assert fingerprint(a, b) == fingerprint(a[::-1], b[::-1])
    assert fingerprint(a, b) != fingerprint(a, b[::-1])
    assert fingerprint(a, b) != fingerprint(b, a)
