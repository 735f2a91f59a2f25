from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research.data import keyed_hash, suppress_small_cells
from loyalty_research.errors import ArgumentError


def cells(*counts: int, **columns) -> pd.DataFrame:
    return pd.DataFrame({"n": counts, **columns})


def hidden(frame: pd.DataFrame) -> list[bool]:
    return frame["n"].isna().tolist()


def test_a_lone_small_cell_takes_the_next_one_with_it():
    made = suppress_small_cells(cells(3, 50, 7, 90), count="n")
    assert hidden(made) == [True, False, True, False]
    assert made.attrs["suppressed"] == 2
    assert made["n"][1] == 50


def test_small_cells_that_stay_small_together_take_another_one():
    # their total would say that fewer than five customers are in the two of them
    assert hidden(suppress_small_cells(cells(1, 2, 6, 90), count="n")) == [True, True, True, False]
    assert hidden(suppress_small_cells(cells(4, 4, 6, 90), count="n")) == [True, True, False, False]


def test_a_cell_of_nobody_stays_and_protects_nobody():
    assert hidden(suppress_small_cells(cells(0, 3, 9), count="n")) == [False, True, True]
    assert hidden(suppress_small_cells(cells(0, 3, 0), count="n")) == [False, True, False]
    assert hidden(suppress_small_cells(cells(0, 0, 9), count="n")) == [False] * 3


def test_values_go_with_their_count():
    frame = cells(3, 50, 7, rate=[0.1, 0.2, 0.3], word=["a", "b", "c"])
    made = suppress_small_cells(frame, count="n", values=["rate", "word"])
    assert made["rate"].isna().tolist() == made["word"].isna().tolist() == [True, False, True]
    assert frame["n"].tolist() == [3, 50, 7]


def test_nothing_small_changes_nothing():
    frame = cells(5, 50)
    made = suppress_small_cells(frame, count="n")
    assert made.equals(frame)
    assert made["n"].dtype == frame["n"].dtype
    assert made.attrs["suppressed"] == 0


def test_each_margin_is_protected():
    frame = cells(3, 20, 30, 40, 50, 60, row=list("aaabbb"), column=list("xyzxyz"))
    one = suppress_small_cells(frame, count="n", by="row")
    assert hidden(one) == [True, True, False, False, False, False]
    both = suppress_small_cells(frame, count="n", by=["row", "column"])
    assert hidden(both) == [True, True, False, True, True, False]
    pair = suppress_small_cells(frame, count="n", by=[["row", "column"]])
    assert hidden(pair) == [True, False, False, False, False, False]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=4, max_size=12), st.integers(2, 3), st.integers(2, 6))
def test_no_margin_gives_a_hidden_cell_away(counts, width, minimum):
    frame = pd.DataFrame({"n": counts, "row": [i // width for i in range(len(counts))]})
    frame["column"] = [i % width for i in range(len(counts))]
    made = suppress_small_cells(frame, count="n", minimum=minimum, by=["row", "column"])
    gone = made["n"].isna().to_numpy()
    n = np.array(counts)
    assert gone[(n > 0) & (n < minimum)].all()
    assert not gone[n == 0].any()
    for margin in ("row", "column"):
        for value in frame[margin].unique():
            inside = (frame[margin] == value).to_numpy()
            blank = n[inside & gone]
            others = n[inside & ~gone & (n > 0)]
            # either safe, or there is nothing left to hide
            assert len(blank) == 0 or (len(blank) > 1 and blank.sum() >= minimum) or len(others) == 0


def test_a_reader_with_the_total_cannot_tell_the_cell():
    made = suppress_small_cells(cells(2, 9, 30), count="n")
    remainder = 41 - sum(v for v in made["n"] if v is not None)
    ways = [pair for pair in itertools.product(range(1, 40), repeat=2) if sum(pair) == remainder]
    assert len({first for first, _ in ways if first < 5}) == 4


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (cells(1, 2), {"count": "m"}, "no column 'm'"),
        (cells(1, 2), {"count": "n", "values": ["x"]}, "no column 'x'"),
        (cells(1, 2), {"count": "n", "by": "x"}, "no column 'x'"),
        (cells(1, 2), {"count": "n", "minimum": 0}, "at least 1"),
        (cells(1, -2), {"count": "n"}, "whole counts from 0"),
        (pd.DataFrame({"n": [1.5]}), {"count": "n"}, "first at position 0"),
        (pd.DataFrame({"n": [1.0, np.nan]}), {"count": "n"}, "first at position 1"),
    ],
)
def test_wrong_input_is_refused(frame, options, words):
    with pytest.raises(ArgumentError, match=words):
        suppress_small_cells(frame, **options)


def test_a_keyed_hash_needs_its_key(monkeypatch):
    ids = pd.Series(["a", None, "b"], index=[5, 6, 7], name="who")
    monkeypatch.delenv("HASH_KEY", raising=False)
    with pytest.raises(ArgumentError, match="HASH_KEY"):
        keyed_hash(ids, "HASH_KEY")
    monkeypatch.setenv("HASH_KEY", "short")
    with pytest.raises(ArgumentError, match="at least 16"):
        keyed_hash(ids, "HASH_KEY")
    monkeypatch.setenv("HASH_KEY", "0123456789abcdef")
    first = keyed_hash(ids, "HASH_KEY")
    assert first.index.tolist() == [5, 6, 7]
    assert first.isna().tolist() == [False, True, False]
    # RFC 2104 by hand: hmac-sha256 of "a" under this key
    import hashlib

    key = b"0123456789abcdef".ljust(64, b"\0")
    inner = hashlib.sha256(bytes(k ^ 0x36 for k in key) + b"a").digest()
    assert first[5] == hashlib.sha256(bytes(k ^ 0x5C for k in key) + inner).hexdigest()[:32]
    monkeypatch.setenv("HASH_KEY", "fedcba9876543210")
    assert keyed_hash(ids, "HASH_KEY")[5] != first[5]


def test_cells_named_are_blanked_too_and_protected():
    cells = pd.DataFrame({"tier": ["a", "b", "c"], "members": [30, 20, 10], "chosen": [True, False, False]})
    found = suppress_small_cells(cells, count="members", also="chosen")
    assert found["members"].tolist() == [None, 20, None]
    assert list(found.columns) == ["tier", "members"]
    with pytest.raises(ArgumentError, match="no column 'other'"):
        suppress_small_cells(cells, count="members", also="other")
