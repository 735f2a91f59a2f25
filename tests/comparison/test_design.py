import pandas as pd
import pytest

from loyalty_research.comparison import DESIGNS, Comparison, Mean, Proportion
from loyalty_research.errors import ArgumentError, ContractError, DesignError

GIVEN = {"assignment": "arm", "control": "a"}
TABLE = pd.DataFrame({"arm": list("aabb"), "y": [1.0, 2.0, 2.0, 4.0], "u": [1, 2, 3, 4]})


def test_there_is_no_default_design_and_the_message_lists_them():
    with pytest.raises(DesignError) as refused:
        Comparison(Mean("y"), **GIVEN)
    assert all(name in str(refused.value) for name in DESIGNS)


def test_an_unknown_design_is_refused_with_those_there_are():
    with pytest.raises(DesignError, match="unknown design 'matched'"):
        Comparison(Mean("y"), design="matched", **GIVEN)
    assert set(DESIGNS) == {"randomised", "encouragement", "observational", "panel", "threshold"}


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"design": "randomised", "received": "joined"}, DesignError, "per-protocol"),
        ({"design": "encouragement"}, DesignError, "needs received="),
        ({"design": "observational"}, DesignError, "needs covariates="),
        ({"design": "observational", "covariates": ["x"], "ratio": (1, 1)}, DesignError, "ratio= belongs"),
        ({"design": "observational", "covariates": ["x"], "strata": "s"}, DesignError, "strata= belongs"),
        ({"design": "observational", "covariates": ["x"], "received": "r"}, DesignError, "received= belongs"),
        ({"design": "randomised", "placebo": "x"}, DesignError, "placebo= belongs"),
        ({"design": "randomised", "covariates": ["y"]}, ArgumentError, "y cannot be a covariate"),
        ({"design": "randomised", "covariates": ["arm"]}, ArgumentError, "arm cannot be a covariate"),
        ({"design": "randomised", "level": 95}, ArgumentError, "level"),
    ],
)
def test_options_must_fit_the_design(options, error, said):
    with pytest.raises(error, match=said):
        Comparison(Mean("y"), **GIVEN, **options)


def test_metrics_must_be_metrics():
    for bad in ([], ["mean:y"], [Mean("y"), "y"]):
        with pytest.raises(ArgumentError, match="Mean, Proportion, Ratio and Quantile"):
            Comparison(bad, design="randomised", **GIVEN)


def test_a_unit_in_two_arms_is_refused_with_the_count():
    plan = Comparison(Mean("y"), design="randomised", unit="u", **GIVEN)
    assert plan.analyse(TABLE).n == 4
    with pytest.raises(ContractError, match=r"2 units of units\.u are in more than one arm of arm"):
        plan.analyse(TABLE.assign(u=[1, 2, 1, 2]))
    with pytest.raises(ContractError, match=r"1 units of units\.u have more than one row"):
        plan.analyse(TABLE.assign(u=[1, 1, 3, 4]))
    with pytest.raises(ContractError, match=r"units\.u is missing in 1 rows"):
        plan.analyse(TABLE.assign(u=[1.0, None, 3.0, 4.0]))
    with pytest.raises(ContractError, match="no column 'u'"):
        plan.analyse(TABLE.drop(columns="u"))


def test_no_message_holds_an_identifier():
    plan = Comparison(Mean("y"), design="randomised", unit="u", **GIVEN)
    with pytest.raises(ContractError) as refused:
        plan.analyse(TABLE.assign(u=["secret-1", "x", "secret-1", "y"]))
    assert "secret" not in str(refused.value)


def test_one_metric_needs_no_list_and_labels_may_be_any_type():
    table = TABLE.assign(arm=[0, 0, 1, 1], z=[0, 1, 1, 1])
    for control in (0, "0", 0.0):
        result = Comparison(Proportion("z"), design="randomised", assignment="arm", control=control).analyse(
            table
        )
        assert (result.control, result.arms) == ("0", ("1",))
    flags = table.assign(arm=[False, False, True, True])
    assert Comparison(Mean("y"), design="randomised", assignment="arm", control=False).analyse(
        flags
    ).arms == ("True",)
