"""Fixtures that every test may use."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ORACLES = Path(__file__).parent / "oracles"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def oracle():
    """Return a numeric truth by name from tests/oracles/*.json, each with its source."""
    cases = {}
    for path in sorted(ORACLES.glob("*.json")):
        for case in json.loads(path.read_text("utf-8")):
            assert case["name"] not in cases, f"two oracles are called {case['name']}"
            cases[case["name"]] = case
    return cases.__getitem__


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
