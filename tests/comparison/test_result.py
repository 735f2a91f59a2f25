import json

import numpy as np
import pytest

from loyalty_research.comparison import Comparison, Mean, Proportion, Ratio
from loyalty_research.comparison.result import slug
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import COLUMNS


@pytest.fixture(scope="module")
def results(invitations):
    table = invitations(3000, 1)
    metrics = [Mean("spend", unit="EUR"), Proportion("came"), Ratio("spend", "orders", role="secondary")]
    chance = {"assignment": "arm", "control": "control", "ratio": (1, 1), "covariates": ["pre_spend"]}
    return {
        "randomised": Comparison(metrics, design="randomised", **chance).analyse(table),
        "encouragement": Comparison(metrics, design="encouragement", received="joined", **chance).analyse(
            table
        ),
        "observational": Comparison(
            metrics,
            design="observational",
            assignment="joined",
            control=0,
            covariates=["pre_spend", "region"],
        ).analyse(table),
    }


DESIGNS = ("randomised", "encouragement", "observational")


@pytest.mark.parametrize("design", DESIGNS)
def test_every_row_says_design_and_estimand(results, design):
    frame = results[design].to_frame()
    assert tuple(frame.columns[: len(COLUMNS)]) == COLUMNS
    assert (frame["design"] == design).all()
    assert frame["estimand"].notna().all()
    assert frame["method"].str.len().min() > 0


@pytest.mark.parametrize("design", DESIGNS)
def test_results_print_and_are_json_safe(results, design):
    result = results[design]
    assert repr(result).startswith(f"{type(result).__name__}: Spend")
    json.dumps(result.to_dict(), allow_nan=False)
    html = result._repr_html_()
    assert "<table>" in html
    assert "EUR" in html


@pytest.mark.parametrize("design", DESIGNS)
def test_findings_have_stable_distinct_ids(results, design):
    ids = [f.id for f in results[design].findings(section="The answer", prefix="x")]
    assert len(set(ids)) == len(ids) >= 2
    assert all(i.startswith("x-") and i == slug(i) for i in ids)


def test_only_randomisation_and_invitation_are_called_findings(results):
    assert {f.status for f in results["randomised"].findings()} == {"finding"}
    assert {f.status for f in results["observational"].findings()} == {"caution"}


@pytest.mark.parametrize("design", DESIGNS)
def test_the_forest_and_its_words_show_the_same(results, design):
    result = results[design]
    ax = result.plot(metric="spend")
    text = result.plot_text(metric="spend")
    labels = [t.get_text().replace("\n", " ") for t in ax.get_yticklabels()]
    assert len(labels) == sum(r.metric == "spend" for r in result.rows)
    assert all(label in text for label in labels)


def test_several_metrics_share_an_axis_of_relative_change(results):
    result = results["randomised"]
    ax = result.plot()
    assert "%" in ax.get_xlabel()
    frame = result.to_frame()
    drawn = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(drawn, 100 * frame["relative"])


def test_looking_up_an_estimate(results):
    result = results["randomised"]
    assert result.estimate(metric="came").method == "Welch t, adjusted for pre_spend"
    with pytest.raises(ArgumentError, match="no estimate fits; there are"):
        result.estimate(estimand="ATE")
    with pytest.raises(ArgumentError, match="no metric 'visits'; there is"):
        result.plot(metric="visits")


def test_love_and_overlap_are_drawn(results):
    result = results["observational"]
    assert len(result.plot_balance().get_yticklabels()) == 3
    assert "1" in {t.get_text() for t in result.plot_overlap().texts}
