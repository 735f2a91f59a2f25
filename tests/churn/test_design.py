import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn.design import encode, from_columns, from_formula
from loyalty_research.churn.words import term_words
from loyalty_research.errors import ArgumentError, ContractError


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "region": rng.choice(["north", "south", "east"], 200),
            "tier": pd.Categorical(
                rng.choice(["base", "gold"], 200), ["base", "gold", "black"], ordered=True
            ),
            "is_member": rng.integers(0, 2, 200).astype(bool),
            "age": rng.integers(20, 24, 200),
            "spend": rng.gamma(2, 10, 200),
        }
    )


def plain(design):
    """Return the shift and scale that leave columns as they are."""
    return np.zeros(len(design.terms)), np.ones(len(design.terms))


def test_numbers_stay_and_categories_are_coded_against_their_first_level(frame):
    design = from_columns(frame, ["region", "tier", "is_member", "age"])
    assert design.terms == ("region[T.north]", "region[T.south]", "tier[T.gold]", "is_member", "age")
    made = design.matrix(frame)
    assert np.array_equal(made[:, 0], frame["region"] == "north")
    assert np.array_equal(made[:, 2], frame["tier"] == "gold")
    assert np.array_equal(made[:, 4], frame["age"])


def test_few_patterns_stand_for_many_rows(frame):
    design = from_columns(frame, ["region", "tier", "age"])
    encoded = encode(design, frame)
    assert encoded.pattern is not None
    assert len(encoded.z) == len(frame[["region", "tier", "age"]].drop_duplicates())
    assert np.array_equal(encoded.rows(*plain(design)), design.matrix(frame))
    many = encode(from_columns(frame, ["region", "spend"]), frame)
    assert many.pattern is None


def test_formulas_replay_what_they_learnt(frame):
    design = from_formula(frame, "region + center(spend) + is_member:age")
    one = design.matrix(frame.iloc[:1])
    assert one[0, design.terms.index("center(spend)")] == pytest.approx(
        frame["spend"].iloc[0] - frame["spend"].mean()
    )
    patterned = from_formula(frame, "region * center(age)")
    encoded = encode(patterned, frame)
    assert encoded.pattern is not None
    assert np.allclose(encoded.rows(*plain(patterned)), patterned.matrix(frame))


def test_terms_read_as_words(frame):
    design = from_columns(frame, ["region", "is_member"])
    assert [term_words(design, t) for t in design.terms] == [
        "region north against east",
        "region south against east",
        "member",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spend": np.inf}, "spend is infinite in 200 rows"),
        ({"region": "north"}, "region has one level only in all 200 rows"),
        ({"age": 30}, "age has one value only"),
        ({"region": None}, "region is missing in 200 rows"),
    ],
)
def test_bad_columns_are_refused(frame, change, said):
    with pytest.raises(ContractError, match=said):
        from_columns(frame.assign(**change), ["region", "age", "spend"])
    with pytest.raises(ContractError, match=said):
        from_formula(frame.assign(**change), "region + age + spend")


def test_bad_formulas_are_refused(frame):
    bad = ["age ~ region", "1", "region - 1", "region + (", "age +", "log(age", "np.logg(age)", "log(region)"]
    for formula in bad:
        with pytest.raises(ArgumentError) as caught:
            from_formula(frame, formula)
        said = str(caught.value)
        assert formula in said or "intercept" in said
        assert said.isprintable()
    with pytest.raises(ContractError, match="lack the column shoe"):
        from_formula(frame, "shoe")
