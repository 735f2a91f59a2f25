import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from loyalty_research.clv import BetaGeoNBD, GammaGamma, ModifiedBetaGeoNBD, ParetoNBD, to_pymc_marketing
from loyalty_research.clv.bayes import BAYESIAN_MODELS
from loyalty_research.errors import ArgumentError, ContractError, MissingExtraError


@pytest.fixture
def peer(monkeypatch):
    """Stand in for PyMC-Marketing: each model keeps what it is given."""
    package, module = ModuleType("pymc_marketing"), ModuleType("pymc_marketing.clv")
    for name in BAYESIAN_MODELS.values():
        setattr(module, name, lambda _kind=name, **given: SimpleNamespace(kind=_kind, **given))
    package.clv = module
    monkeypatch.setitem(sys.modules, "pymc_marketing", package)
    monkeypatch.setitem(sys.modules, "pymc_marketing.clv", module)


@pytest.mark.parametrize("model", ["BG/NBD", "MBG/NBD", "Pareto/NBD"])
def test_histories_are_handed_over_without_identifiers(peer, small, model):
    config = {"a": 1}
    found = to_pymc_marketing(small, model=model, model_config=config)
    assert found.kind == BAYESIAN_MODELS[model]
    assert found.data.columns.tolist() == ["customer_id", "frequency", "recency", "T"]
    assert found.data["customer_id"].tolist() == list(range(10))
    for column in ("frequency", "recency", "T"):
        np.testing.assert_array_equal(found.data[column], small[column])
    assert found.model_config == config
    assert found.sampler_config is None


def test_spend_is_of_those_who_bought_again_and_paid(peer, small):
    found = to_pymc_marketing(small, model="Gamma-Gamma")
    assert found.data.columns.tolist() == ["customer_id", "frequency", "monetary_value"]
    assert found.data["monetary_value"].tolist() == [20, 35, 28, 40, 22, 31]
    with pytest.raises(ContractError, match="0 of 10 customers bought again"):
        to_pymc_marketing(small.assign(monetary_value=0.0), model="Gamma-Gamma")


def test_bad_input_is_refused_before_anything_is_loaded(small):
    with pytest.raises(ArgumentError, match="model must be one of BG/NBD, MBG/NBD, Pareto/NBD, Gamma-Gamma"):
        to_pymc_marketing(small, model="BG/BB")
    with pytest.raises(ContractError, match="recency greater than T"):
        to_pymc_marketing(small.assign(T=1.0))


def test_without_the_extra_its_name_is_said(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymc_marketing", None)
    with pytest.raises(MissingExtraError, match="the extra 'bayes'"):
        to_pymc_marketing(small)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("BG/NBD", BetaGeoNBD), ("MBG/NBD", ModifiedBetaGeoNBD)])
def test_modes_under_flat_priors_are_our_estimates(sample, name, kind):
    pytest.importorskip("pymc_marketing")
    from pymc_extras.prior import Prior

    flat = {key: Prior("HalfFlat") for key in ("r", "alpha", "a", "b")}
    model = to_pymc_marketing(sample, model=name, model_config=flat)
    model.fit(method="map", progressbar=False)
    mode = {key: float(model.fit_result[key].to_numpy().squeeze()) for key in ("r", "alpha", "a", "b")}
    assert mode == pytest.approx(kind().fit(sample).params_.to_dict(), rel=2e-3)


@pytest.mark.slow
def test_spend_and_pareto_modes_are_our_estimates(sample):
    pytest.importorskip("pymc_marketing")
    from pymc_extras.prior import Prior

    for name, kind in (("Pareto/NBD", ParetoNBD), ("Gamma-Gamma", GammaGamma)):
        ours = kind().fit(sample)
        flat = {key: Prior("HalfFlat") for key in ours.names}
        model = to_pymc_marketing(sample, model=name, model_config=flat)
        model.fit(method="map", progressbar=False)
        mode = pd.Series({key: float(model.fit_result[key].to_numpy().squeeze()) for key in ours.names})
        assert mode.to_dict() == pytest.approx(ours.params_.to_dict(), rel=0.02)
