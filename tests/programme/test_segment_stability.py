import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ContractError, DesignError
from loyalty_research.programme.segment_stability import (
    segment_overlap,
    segment_sizes,
    segment_stability,
)


def test_everybody_staying_is_certain_and_has_no_limits():
    labels = pd.Series(["a"] * 50 + ["b"] * 50)
    found = segment_stability(labels, labels)
    assert found.stayed.value == 1.0
    assert found.association.value == pytest.approx(1.0)
    assert np.isnan(found.association.low)
    assert found.agreement.value == 1.0


def test_customers_are_matched_by_index_and_others_counted():
    before = pd.Series(["a"] * 20 + ["b"] * 20, index=range(40))
    after = pd.Series(["a"] * 10 + ["b"] * 40, index=range(50))
    found = segment_stability(before.iloc[::-1], after)
    assert found.stayed.value == 30 / 40
    assert found.by_segment["a"].value == 0.5
    assert (found.lost, found.new) == (0, 10)
    assert found.checks[1].status == "warning"


def test_small_cells_are_hidden_with_what_reveals_them():
    before = pd.Series(["a"] * 40 + ["b"] * 40)
    after = pd.Series(["a"] * 37 + ["b"] * 3 + ["b"] * 40)
    found = segment_stability(before, after)
    cell = found.transitions.set_index(["before", "after"])["customers"]
    assert cell["a", "b"] is None
    # the row's total is known, so the other cell of the row goes as well
    assert cell["a", "a"] is None
    # the share that stayed is known, so another cell of staying goes too
    assert cell["b", "b"] is None
    assert np.isnan(found.by_segment["a"].value)
    assert found.checks[0].status == "warning"
    sizes = segment_sizes(pd.Series(["a"] * 50 + ["b"] * 30 + ["c"] * 2)).sizes
    assert np.isnan(sizes["c"].value)
    assert np.isnan(sizes["b"].value)
    assert sizes["a"].value == 50 / 82


def test_segments_keep_their_declared_order():
    kind = pd.CategoricalDtype(["low", "high"], ordered=True)
    labels = pd.Series(["high"] * 10 + ["low"] * 20, dtype=kind)
    assert list(segment_sizes(labels).sizes) == ["low", "high"]


def test_overlap_counts_both_over_either():
    rules = pd.DataFrame({"a": [True] * 60 + [False] * 40, "b": [False] * 50 + [True] * 40 + [False] * 10})
    found = segment_overlap(rules.assign(c=[False] * 98 + [True] * 2))
    assert (found.shares["a", "b"].value, found.shares["a", "b"].n) == (10 / 90, 90)
    assert found.shares["a", "c"].value == 0.0
    assert found.nobody.value == 0.08
    assert "cannot be added up" in found.verdict()
    few = rules.assign(b=[False] * 58 + [True] * 32 + [False] * 10)
    assert np.isnan(segment_overlap(few).shares["a", "b"].value)


def test_bad_labels_are_refused():
    labels = pd.Series(["a", "b"] * 10)
    with pytest.raises(ContractError, match="no segment at 1 row"):
        segment_stability(labels.mask(labels.index == 3), labels)
    with pytest.raises(ContractError, match="twice"):
        segment_sizes(pd.Series(["a", "b"], index=[1, 1]))
    with pytest.raises(DesignError, match="nobody is placed"):
        segment_stability(labels, pd.Series(["a"], index=[99]))
    with pytest.raises(DesignError, match="same rules twice"):
        segment_stability(labels, labels.str.upper())
    with pytest.raises(ContractError, match="boolean"):
        segment_overlap(pd.DataFrame({"a": [True], "b": ["yes"]}))


def test_a_small_cell_is_protected_by_a_rectangle():
    """Four cells protect one, where mending margin after margin would take more."""
    kinds = ["a", "b", "c", "d"]
    table = np.array([[900, 60, 3, 40], [50, 700, 80, 30], [20, 90, 600, 70], [25, 35, 45, 500]])
    before = pd.Series([kinds[i] for i in range(4) for j in range(4) for _ in range(table[i, j])])
    after = pd.Series([kinds[j] for i in range(4) for j in range(4) for _ in range(table[i, j])])
    cells = segment_stability(before, after).transitions.set_index(["before", "after"])["customers"]
    hidden = {pair for pair, count in cells.items() if count is None}
    assert hidden == {("a", "c"), ("a", "b"), ("d", "c"), ("d", "b")}
