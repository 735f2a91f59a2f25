"""Data: the contract, named datasets, checks and privacy.

Submodules load on first use, so that ``loyalty_research.data.catalogue`` costs neither DuckDB nor
pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loyalty_research.data.catalogue import describe_names, list_datasets, source_key
    from loyalty_research.data.check_report import CheckReport, Violation
    from loyalty_research.data.contract import TABLES
    from loyalty_research.data.datasets import Dataset, check_dataset, open_dataset
    from loyalty_research.data.privacy import keyed_hash, suppress_small_cells

_NAMES = {
    "CheckReport": "check_report",
    "Dataset": "datasets",
    "TABLES": "contract",
    "Violation": "check_report",
    "check_dataset": "datasets",
    "describe_names": "catalogue",
    "keyed_hash": "privacy",
    "list_datasets": "catalogue",
    "open_dataset": "datasets",
    "source_key": "catalogue",
    "suppress_small_cells": "privacy",
}

__all__ = [
    "TABLES",
    "CheckReport",
    "Dataset",
    "Violation",
    "check_dataset",
    "describe_names",
    "keyed_hash",
    "list_datasets",
    "open_dataset",
    "source_key",
    "suppress_small_cells",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(import_module(f"loyalty_research.data.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'loyalty_research.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
