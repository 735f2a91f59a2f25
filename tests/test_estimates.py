import json

import pytest

import loyalty_research as lr
from loyalty_research.estimates import COLUMNS, Row


class Two(lr.Result):
    title = "Two rows"

    def _rows(self):
        yield Row("rate", lr.Estimate(0.2, 0.1, float("nan"), 0.95, "wilson", 50, "fraction"), group="a")
        yield Row("gap", lr.Estimate(1.5, 1.0, 2.0, 0.95, "welch", 90, p_value=0.01), extra={"cap": 3})

    def _verdict(self):
        return "The rate is a fifth."


def test_frame_has_the_shared_columns_first():
    frame = Two().to_frame()
    assert tuple(frame.columns[: len(COLUMNS)]) == COLUMNS
    assert frame["estimate"].tolist() == [0.2, 1.5]
    assert frame["cap"].tolist()[1] == 3


def test_dictionary_is_json_safe():
    text = json.dumps(Two().to_dict(), allow_nan=False)
    assert json.loads(text)["estimates"][0]["high"] is None


def test_a_failed_gate_suppresses_the_verdict_and_says_why():
    gate = lr.Check("sample ratio", "failed", "p = 0.0002", gate=True)
    said = Two(checks=(gate,)).verdict()
    assert said.startswith("No verdict")
    assert "p = 0.0002" in said
    assert "fifth" not in Two(checks=(gate,))._repr_html_()


def test_a_warning_leaves_the_verdict():
    assert Two(checks=(lr.Check("overlap", "warning", "3% trimmed"),)).verdict() == "The rate is a fifth."


def test_results_are_frozen():
    with pytest.raises(AttributeError):
        Two().checks = ()


def test_finding_carries_its_number_and_escapes_its_headline():
    bundle = lr.Finding("x", "a < b", lr.Estimate(2, 1, 3, 0.95, "wald", 10))._repr_mimebundle_()
    assert "a &lt; b" in bundle["text/html"]
    assert bundle["application/vnd.loyalty.finding+json"]["value"] == 2
