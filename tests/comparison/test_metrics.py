import pytest

from loyalty_research.comparison import FORMS, Mean, Metric, Proportion, Ratio, parse_metric
from loyalty_research.errors import ArgumentError


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("mean:spend", Mean("spend")),
        (" proportion : came ", Proportion("came")),
        ("ratio:spend/orders", Ratio("spend", "orders")),
        (
            "mean:spend, cap=0.99, role=secondary, direction=down, margin=2.5, name=Spend, unit=EUR",
            Mean("spend", cap=0.99, role="secondary", direction="down", margin=2.5, name="Spend", unit="EUR"),
        ),
    ],
)
def test_text_becomes_the_metric(text, metric):
    assert parse_metric(text) == metric


def test_covariates_are_passed_on():
    assert parse_metric("mean:spend", covariates=("pre",)).covariates == ("pre",)


@pytest.mark.parametrize(
    "text", ["spend", "median:spend", "mean:", "ratio:spend", "ratio:spend/", "ratio:a/b/c", "", "mean spend"]
)
def test_another_form_is_refused_with_the_forms(text):
    with pytest.raises(ArgumentError) as refused:
        parse_metric(text)
    assert all(form in str(refused.value) for form in FORMS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mean:spend, cap", "name=value"),
        ("mean:spend, top=3", "unknown option 'top'; options are cap, direction"),
        ("mean:spend, cap=high", "cap must be a number"),
        ("mean:spend, cap=2", "cap is a percentile"),
        ("mean:spend, role=main", "role is one of primary, secondary, guardrail"),
    ],
)
def test_bad_options_are_named(text, said):
    with pytest.raises(ArgumentError, match=said):
        parse_metric(text)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Mean("spend", cap=1.0), "cap"),
        (lambda: Mean("spend", direction="left"), "direction"),
        (lambda: Mean("spend", margin=-1.0), "margin"),
        (lambda: Mean("spend", covariates=("spend",)), "named twice"),
        (lambda: Mean("spend", covariates=("pre", "pre")), "named twice"),
        (lambda: Proportion("came", cap=0.9), "no cap"),
        (lambda: Ratio("spend", "spend"), "itself"),
    ],
)
def test_bad_declarations_are_refused(make, said):
    with pytest.raises(ArgumentError, match=said):
        make()


def test_a_bare_metric_declares_nothing():
    with pytest.raises(TypeError, match="use Mean, Proportion, Ratio or Quantile"):
        Metric()


def test_declarations_are_frozen_and_adjust_without_repeating():
    metric = Mean("spend", covariates="pre")
    assert metric.covariates == ("pre",)
    assert metric.adjusted_for(("pre", "age", "spend")).covariates == ("pre", "age")
    with pytest.raises(AttributeError):
        metric.column = "other"
