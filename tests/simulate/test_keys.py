import numpy as np
import pytest

from loyalty_research.simulate._keys import constant, labelled, numbered, numbered_rows
from loyalty_research.simulate._population import stable_order


@pytest.mark.parametrize(
    "numbers", [[], [0], [7, 9_999_999], [10_000_000, 99_999_999], [9_999_999, 10_000_000], [10_000_000, 3]]
)
def test_keys_are_a_letter_and_seven_digits_or_eight(numbers):
    assert numbered("t", np.array(numbers, dtype=int)).tolist() == [f"t{i:07d}" for i in numbers]


def test_rows_are_numbered_from_one():
    assert numbered_rows("k", 3).tolist() == ["k0000001", "k0000002", "k0000003"]
    with pytest.raises(OverflowError, match="eight digits at most; got 100,000,000"):
        numbered("c", np.array([10**8]))


def test_labels_repeat():
    assert labelled(np.array([1, 0, 1]), ["a", "b"]).tolist() == ["b", "a", "b"]
    assert constant("EUR", 2).tolist() == ["EUR", "EUR"]


@pytest.mark.parametrize("levels", [3, 4000, 10**9])
def test_the_quick_order_is_the_stable_one(levels):
    values = np.random.default_rng(1).integers(0, levels, 5000).astype(float)
    np.testing.assert_array_equal(stable_order(values), np.argsort(values, kind="stable"))
