import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from loyalty_research.clv._frames import count_rows, fingerprint, group_rows

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


@given(rows=DAYS, scale=st.sampled_from([1.0, 7.0, 3.0]))
def test_counted_rows_are_the_distinct_ones_in_order(rows, scale):
    x, t, T = np.array(rows, dtype=float).T
    columns = [x, t / scale, T / scale]
    plain = pd.DataFrame(np.column_stack(columns)).groupby([0, 1, 2]).size()
    for weight in (None, np.ones(len(x))):
        found, count = count_rows(weight, *columns)
        np.testing.assert_array_equal(np.column_stack(found), np.array(plain.index.to_list()))
        np.testing.assert_array_equal(count, plain.to_numpy())
    doubled = count_rows(np.full(len(x), 2.5), *columns)[1]
    np.testing.assert_allclose(doubled, 2.5 * plain.to_numpy())


def test_wide_columns_are_counted_by_sorting():
    rng = np.random.default_rng(2)
    columns = [np.repeat(rng.integers(0, 4_000_000, 500), 3).astype(float) for _ in range(2)]
    found, count = count_rows(None, *columns)
    assert (count == 3).all()
    assert (np.diff(found[0]) >= 0).all()
    np.testing.assert_array_equal(np.sort(found[0]), np.sort(columns[0][::3]))


def test_fingerprint_sees_values_and_columns():
    a, b = np.array([1.0, 2, 3]), np.array([4.0, 5, 6])
    assert fingerprint(a, b) == fingerprint(a.copy(), b.copy())
    assert fingerprint(a, b) != fingerprint(a, b[::-1])
    assert fingerprint(a, b) != fingerprint(b, a)
