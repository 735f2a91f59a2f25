"""Keeps the cells of a notebook in order when tests are shuffled."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run notebooks last, each cell after the one before it, on which it depends."""
    cells = [item for item in items if item.path.suffix == ".ipynb"]
    others = [item for item in items if item.path.suffix != ".ipynb"]
    items[:] = [*others, *sorted(cells, key=lambda cell: (cell.path, getattr(cell, "cell_num", 0)))]
