from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty_research.errors import ArgumentError
from loyalty_research.stats.multiplicity import MULTIPLICITY_METHODS, adjust_p_values


def test_rejections_of_benjamini_and_hochberg_1995(oracle):
    case = oracle("bh_1995")
    p = case["inputs"]["p"]
    found = [
        int((adjust_p_values(p, method=m) <= 0.05).sum())
        for m in ("bonferroni", "holm", "benjamini-hochberg")
    ]
    assert found == case["expected"]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("holm", "holm"),
        ("hochberg", "simes-hochberg"),
        ("benjamini-hochberg", "fdr_bh"),
        ("bonferroni", "bonferroni"),
    ],
)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_equals_statsmodels(ours, theirs, p):
    from statsmodels.stats.multitest import multipletests

    with mock.patch("gc.collect"):  # statsmodels collects garbage on every call, a quarter of a second each
        expected = multipletests(p, method=theirs)[1]
    np.testing.assert_allclose(adjust_p_values(p, method=ours), expected, rtol=1e-12)


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_order_of_strictness(p):
    bonferroni, holm, hochberg, bh = (
        adjust_p_values(p, method=m) for m in ("bonferroni", "holm", "hochberg", "benjamini-hochberg")
    )
    slack = 1e-12
    assert np.all(bonferroni >= holm - slack)
    assert np.all(holm >= hochberg - slack)
    assert np.all(hochberg >= bh - slack)
    assert np.all(bh >= np.asarray(p) - slack)


def test_an_empty_family_stays_empty():
    assert adjust_p_values([]).shape == (0,)


@pytest.mark.parametrize("p", [[0.1, 1.2], [float("nan")], [[0.1, 0.2]]])
def test_bad_values_are_refused(p):
    with pytest.raises(ArgumentError):
        adjust_p_values(p)


def test_an_unknown_method_lists_the_known():
    with pytest.raises(ArgumentError, match=", ".join(MULTIPLICITY_METHODS)):
        adjust_p_values([0.1], method="sidak")
