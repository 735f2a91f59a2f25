import pandas as pd
import pytest

from loyalty_research.endowed_progress import published, published_for
from loyalty_research.errors import ArgumentError


def test_both_readings_give_the_printed_percentages():
    carwash = published("nunes-dreze-2006")
    assert set(carwash.readings) == {"28", "29"}
    for counts in carwash.readings.values():
        printed = {arm: round(100 * x / n) for arm, (x, n) in counts.items()}
        assert printed == {"control": 19, "endowed": 34}
    assert "2006" in carwash.citation


def test_arms_ask_for_the_same_paid_stamps():
    carwash = published("nunes-dreze-2006")
    paid = {a: carwash.required[a] - carwash.endowed[a] for a in carwash.required}
    assert paid == {"control": 8, "endowed": 8}


def test_first_reading_is_the_default():
    carwash = published("nunes-dreze-2006")
    assert carwash.experiment().completion().outcomes.completed == (28, 51)
    assert carwash.experiment("29").completion().outcomes.completed == (29, 51)


def test_unknown_names_list_the_known():
    with pytest.raises(ArgumentError, match="nunes-dreze-2006"):
        published("kivetz")
    with pytest.raises(ArgumentError, match="28, 29"):
        published("nunes-dreze-2006").experiment("30")


def test_a_dataset_of_the_same_counts_is_recognised():
    import loyalty_research as lr

    assert published_for(lr.open_dataset("carwash")) is published("nunes-dreze-2006")


def test_other_data_are_not_taken_for_the_paper():
    class Units:
        kind = "published"

        def has(self, table, *columns):
            return table == "units"

        def frame(self, table):
            return pd.DataFrame({"arm": ["control", "endowed"] * 5, "completed": [0, 1] * 5})

    assert published_for(Units()) is None
    Units.kind = "user"
    assert published_for(Units()) is None


def test_readings_are_set_side_by_side(oracle):
    frame = published("nunes-dreze-2006").readings_frame().set_index("reading")
    want = oracle("carwash_exact_tests")["expected"]["fisher_two_sided_p"]
    assert frame.loc["28", "p_value"] == pytest.approx(want, abs=2e-8)
    assert frame.loc["29", "difference"] == pytest.approx(22 / 150)
    assert (frame["low"] > 0).all()
