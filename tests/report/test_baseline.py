import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty_research.errors import ArgumentError
from loyalty_research.report import baseline
from loyalty_research.report.baseline import Tolerance, Tolerances, differences, load_tolerances

EXACT = Tolerances(Tolerance(), {})


def finding(**changes):
    base = {"id": "f", "headline": "12.3% of 1,000 left.", "value": 0.123, "low": 0.1, "high": None}
    return {
        **base,
        "level": 0.95,
        "method": "wilson",
        "n": 1000,
        "unit": "fraction",
        "status": "finding",
        **changes,
    }


def metrics(*findings, **changes):
    return {
        "report": "r",
        "as_of": "2024-01-31",
        "dataset": "d",
        "fingerprint": "f",
        "findings": [*findings],
        **changes,
    }


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(min_value=0, max_value=1e-7))
def test_a_number_within_the_tolerance_is_the_same(value, share):
    moved = value * (1 + share)
    if math.isfinite(moved):
        assert Tolerance().holds(value, moved)
    assert not Tolerance().holds(value, value + max(abs(value) * 1e-4, 1e-3))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"value": 0.1231}, "value"),
        ({"value": None}, "value"),
        ({"high": 0.2}, "high"),
        ({"n": 1001}, "n"),
        ({"method": "wald"}, "method"),
        ({"status": "caution"}, "status"),
        ({"headline": "12.3% of 1,000 stayed."}, "headline"),
    ],
)
def test_what_a_reader_would_notice_is_a_difference(change, what):
    (found,) = differences("r", metrics(finding()), metrics(finding(**change)), EXACT)
    assert (found.report, found.finding, found.what) == ("r", "f", what)


def test_what_a_reader_would_not_notice_is_none():
    moved = finding(value=0.123 * (1 + 1e-8), headline="12.4% of 1,001 left.")
    assert differences("r", metrics(finding()), metrics(moved, fingerprint="g"), EXACT) == []
    assert (
        differences("r", metrics(finding(headline="−0.5 days")), metrics(finding(headline="0.5 days")), EXACT)
        == []
    )


def test_findings_that_come_or_go_and_other_data_are_differences():
    old = metrics(finding(id="a"), finding(id="b"))
    new = metrics(finding(id="b"), finding(id="c"), as_of="2024-02-29")
    found = differences("r", old, new, EXACT)
    assert [(d.finding, d.what, d.new) for d in found] == [
        ("(report)", "as_of", "2024-02-29"),
        ("a", "finding", "missing"),
        ("c", "finding", "there"),
    ]


def test_a_finding_may_have_a_tolerance_of_its_own(tmp_path):
    (tmp_path / "tolerances.yml").write_text(
        "default: {relative: 1.0e-3}\nreports: {r: {f: {absolute: 0.5}, g: {relative: 0}}}\n"
    )
    found = load_tolerances(tmp_path)
    assert found.of("r", "f") == Tolerance(1e-3, 0.5)
    assert found.of("r", "g") == Tolerance(0, 1e-9)
    assert found.of("other", "f") == Tolerance(1e-3, 1e-9)
    assert differences("r", metrics(finding()), metrics(finding(value=0.5)), found) == []
    assert load_tolerances(tmp_path / "none") == EXACT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defaults: {}", "has the keys 'default' and 'reports'"),
        ("default: {relativ: 1}", r"unknown key 'relativ'; did you mean 'relative'\?"),
        ("default: {relative: -1}", "must be a number from 0 up"),
        ("default: {relative: true}", "must be a number from 0 up"),
        ("reports: {r: {f: 3}}", "r.f: must be a mapping"),
        ("{", "cannot be read"),
    ],
)
def test_bad_tolerances_say_what_is_wrong(tmp_path, text, said):
    (tmp_path / "tolerances.yml").write_text(text)
    with pytest.raises(ArgumentError, match=said):
        load_tolerances(tmp_path)


@pytest.fixture
def site(project, monkeypatch):
    """A site with the metrics of one report, and what comparing it says."""
    monkeypatch.setenv("LOYALTY_PROJECT", str(project.root))
    project.add("r")
    project.site.mkdir()

    def write(document):
        (project.site / "r.metrics.json").write_text(json.dumps(document))

    def run(act, **options):
        said = []
        return act((), out=None, say=said.append, **options), said

    return project, write, run


def test_compare_and_update(site):
    project, write, run = site
    write(metrics(finding()))
    with pytest.raises(ArgumentError, match=r"no r\.metrics\.json in baseline/: run loyalty diff --update r"):
        run(baseline.compare)
    assert run(baseline.update) == (0, ["r: reports/baseline/r.metrics.json"])
    assert run(baseline.compare) == (0, ["1 report as in the baseline"])
    write(metrics(finding(value=0.246)))
    code, said = run(baseline.compare)
    assert code == 1
    assert said[0].split() == ["report", "finding", "what", "baseline", "site", "relative", "change"]
    assert said[1].split() == ["r", "f", "value", "0.123", "0.246", "+1.00e+00"]
    assert said[-1] == "1 difference from the baseline in 1 report"
    (project.root / "reports" / "baseline" / "tolerances.yml").write_text(
        "reports: {other: {f: {relative: 1}}}"
    )
    with pytest.raises(ArgumentError, match="names 'other', which is not in the catalogue"):
        run(baseline.compare)


def test_a_report_without_a_page_cannot_be_compared(site):
    project, write, run = site
    write(metrics(finding()))
    run(baseline.update)
    (project.site / "r.metrics.json").write_text("{")
    with pytest.raises(ArgumentError, match=r"damaged: run loyalty report r"):
        run(baseline.compare)
    (project.site / "r.metrics.json").unlink()
    for act in (baseline.compare, baseline.update):
        with pytest.raises(ArgumentError, match="run loyalty report r"):
            run(act)
