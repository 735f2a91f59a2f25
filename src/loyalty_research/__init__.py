"""Measure loyalty programmes honestly.

``import loyalty_research as lr`` loads nothing heavy; submodules and the names below load on
first use.

Examples:
    >>> import loyalty_research as lr
    >>> lr.Estimate(0.5, 0.4, 0.6, level=0.95, method="wilson", n=100, unit="fraction")
    50.0% (95% interval 40.0% to 60.0%; wilson; n = 100)
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loyalty_research import (
        churn,
        clv,
        comparison,
        data,
        display,
        endowed_progress,
        mechanisms,
        plots,
        programme,
        report,
        stats,
        summaries,
    )
    from loyalty_research.data import CheckReport, Dataset, open_dataset
    from loyalty_research.errors import (
        ArgumentError,
        ContractError,
        ConvergenceError,
        DesignError,
        ImmortalTimeError,
        LoyaltyError,
        MissingExtraError,
    )
    from loyalty_research.estimates import Check, Estimate, Finding, Result
    from loyalty_research.provenance import Provenance, provenance
    from loyalty_research.simulate import simulate

__version__ = "0.1.0"

_MODULES = (
    "churn",
    "clv",
    "comparison",
    "data",
    "display",
    "endowed_progress",
    "mechanisms",
    "plots",
    "programme",
    "report",
    "stats",
    "summaries",
)
_NAMES = {
    "CheckReport": "data",
    "Dataset": "data",
    "open_dataset": "data",
    "ArgumentError": "errors",
    "ContractError": "errors",
    "ConvergenceError": "errors",
    "DesignError": "errors",
    "ImmortalTimeError": "errors",
    "LoyaltyError": "errors",
    "MissingExtraError": "errors",
    "Check": "estimates",
    "Estimate": "estimates",
    "Finding": "estimates",
    "Result": "estimates",
    "Provenance": "provenance",
    "provenance": "provenance",
    "simulate": "simulate",
}

__all__ = [
    "ArgumentError",
    "Check",
    "CheckReport",
    "ContractError",
    "ConvergenceError",
    "Dataset",
    "DesignError",
    "Estimate",
    "Finding",
    "ImmortalTimeError",
    "LoyaltyError",
    "MissingExtraError",
    "Provenance",
    "Result",
    "churn",
    "clv",
    "comparison",
    "data",
    "display",
    "endowed_progress",
    "mechanisms",
    "open_dataset",
    "plots",
    "programme",
    "provenance",
    "report",
    "simulate",
    "stats",
    "summaries",
]


class _Package(ModuleType):
    """A package whose functions win over submodules of the same name.

    Importing ``loyalty_research.provenance`` anywhere sets the attribute ``provenance`` to that
    module, and ``lr.provenance(...)`` would then call a module.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and _NAMES.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"loyalty_research.{_NAMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"loyalty_research.{name}")
    raise AttributeError(f"module 'loyalty_research' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
