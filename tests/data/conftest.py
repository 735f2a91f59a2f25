"""Fixtures for tests of data: a project of its own to write definitions and files in."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


class Project:
    """A folder with ``data/datasets.yml``, which is the working directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "data").mkdir()

    def define(self, text: str) -> None:
        """Write the definitions."""
        (self.root / "data" / "datasets.yml").write_text(textwrap.dedent(text), "utf-8")

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(data)
        return path


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project as the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOYALTY_DECLARED_INPUTS", raising=False)
    return Project(tmp_path)
